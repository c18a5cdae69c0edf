"""Energy of one GPU: the driver's counter against its mark, else power integrated over the tick."""

from dataclasses import dataclass, replace
from typing import Final

from exporter.cost.state import GpuState
from exporter.readings import GpuReading
from exporter.units import (
    MILLIWATTS_PER_WATT,
    NANOSECONDS_PER_MINUTE,
    NANOSECONDS_PER_SECOND,
    Millijoules,
    Nanoseconds,
    seconds,
)

FALLS_UNTIL_RESET: Final = 3
"""Reads in a row below the mark that are a reset (driver reload, GPU reset); fewer are bad reads."""

PLAUSIBLE_LIMIT_RATIO: Final = 1.2
"""A delta above this part of power limit x elapsed is implausible."""

ASSUMED_LIMIT_WATTS: Final = 2000.0
"""The power limit where NVML reports none: above every board of 2026."""

IDLE_UTILIZATION_MAX: Final = 0.01
"""At most this busy, a tick's mean power is a candidate for the idle power."""

MEAN_POWER_TIME: Final[Nanoseconds] = 5 * NANOSECONDS_PER_MINUTE
"""The time of the mean power of a rate, and the longest time that one sample of power covers."""

COUNTER_GONE_AFTER: Final[Nanoseconds] = NANOSECONDS_PER_MINUTE
"""A counter that is missing for longer is replaced by power: well before failed reads could make the time
longer than one sample of power may cover."""

Recent = tuple[tuple[Nanoseconds, Millijoules], ...]
"""Duration and energy of ticks, newest last."""


@dataclass(frozen=True, slots=True)
class EnergyUse:
    """Energy of one GPU that arrived in one tick."""

    energy: Millijoules
    over: Nanoseconds = 0
    """The time it was used in: more than the tick where reads before it had failed."""
    implausible: bool = False
    """Whether the counter's delta was refused."""


def advance(
    state: GpuState,
    reading: GpuReading | None,
    elapsed: Nanoseconds | None,
    busy_ratio: float | None,
    *,
    observed: bool = True,
) -> tuple[GpuState, EnergyUse]:
    """Advance one GPU's energy. With no `elapsed` the tick has no start: marks are set, nothing counts.

    Energy that a failed read missed arrives with the counter's next good value.
    Across a gap (not `observed`) only the counter counts; power has no samples there.
    """
    if not elapsed:
        if elapsed is None and reading is not None:
            mark = reading.energy
            state = replace(state, energy_mark=mark, energy_age=0, falls=0, recent=())
        return state, EnergyUse(0)
    age = state.energy_age + elapsed
    if not observed and (reading is None or reading.energy is None or state.energy_mark is None):
        mark = reading.energy if reading is not None and state.energy_mark is None else state.energy_mark
        return replace(state, energy_mark=mark, energy_age=age, recent=()), EnergyUse(0)
    if reading is None or reading.energy is None:
        # A counter with a mark catches up later, unless it is gone for long.
        gone = state.energy_mark is None or age > COUNTER_GONE_AFTER
        if reading is not None and reading.power_watts is not None and gone:
            state = replace(state, energy_mark=None, energy_age=age)
            return _integrate(state, reading, elapsed, busy_ratio)
        recent = () if age > MEAN_POWER_TIME else state.recent  # old power is not the present power
        return replace(state, energy_age=age, recent=recent), EnergyUse(0)
    if state.energy_mark is None:
        state, used = _integrate(replace(state, energy_age=age), reading, elapsed, busy_ratio)
        return replace(state, energy_mark=reading.energy), used
    if reading.energy < state.energy_mark and state.falls + 1 < FALLS_UNTIL_RESET:
        return replace(state, energy_age=age, falls=state.falls + 1), EnergyUse(0)
    reset = reading.energy < state.energy_mark
    delta = reading.energy if reset else reading.energy - state.energy_mark
    limit_watts = reading.power_limit_watts or ASSUMED_LIMIT_WATTS
    if delta > PLAUSIBLE_LIMIT_RATIO * limit_watts * MILLIWATTS_PER_WATT * seconds(age):
        used = EnergyUse(0)
        if observed:
            state, used = _integrate(replace(state, energy_age=age), reading, elapsed, busy_ratio)
        state = replace(state, energy_mark=reading.energy, energy_age=0, falls=0)
        return state, replace(used, implausible=True)
    if age == elapsed and not reset:
        state = _idle(state, delta, elapsed, busy_ratio)
    # Power in a gap is not the present power.
    recent = _recent(state, age, delta) if observed else ()
    state = replace(state, energy_mark=reading.energy, energy_age=0, falls=0, recent=recent)
    return state, EnergyUse(delta, age)


def idle_ratio(state: GpuState, used: EnergyUse) -> float | None:
    """Energy of an idle GPU over the energy used; `None` until both are known."""
    if state.idle_watts is None or used.energy <= 0:
        return None
    return state.idle_watts * MILLIWATTS_PER_WATT * seconds(used.over) / used.energy


def mean_watts(state: GpuState) -> float | None:
    """Mean power of the last five minutes; `None` before anything was measured."""
    duration = sum(lasted for lasted, _ in state.recent)
    energy = sum(used for _, used in state.recent)
    if duration == 0:
        return None
    return energy / MILLIWATTS_PER_WATT / seconds(duration)


def _integrate(
    state: GpuState, reading: GpuReading, elapsed: Nanoseconds, busy_ratio: float | None
) -> tuple[GpuState, EnergyUse]:
    """Power over the tick. It covers failed reads before it as well: a missing sample is not 0 W."""
    over = max(elapsed, min(state.energy_age, MEAN_POWER_TIME))
    state = replace(state, energy_age=0)
    if reading.power_watts is None:
        return state, EnergyUse(0)
    milliwatts = round(reading.power_watts * MILLIWATTS_PER_WATT)
    energy, carry = divmod(milliwatts * over + state.power_carry, NANOSECONDS_PER_SECOND)
    if over == elapsed:
        state = _idle(state, energy, elapsed, busy_ratio)
    recent = _recent(state, over, energy)
    return replace(state, power_carry=carry, recent=recent), EnergyUse(energy, over)


def _idle(state: GpuState, energy: Millijoules, elapsed: Nanoseconds, busy_ratio: float | None) -> GpuState:
    """Learn the idle power. A tick of 0 J is a stuck counter, not a GPU without power."""
    if busy_ratio is None or busy_ratio > IDLE_UTILIZATION_MAX or energy == 0:
        return state
    watts = energy / MILLIWATTS_PER_WATT / seconds(elapsed)
    if state.idle_watts is not None and state.idle_watts <= watts:
        return state
    return replace(state, idle_watts=watts)


def _recent(state: GpuState, elapsed: Nanoseconds, energy: Millijoules) -> Recent:
    """The ticks that the mean power is taken over: the fewest last that fill its time."""
    recent = (*state.recent, (elapsed, energy))
    duration = sum(lasted for lasted, _ in recent)
    first = 0
    while first < len(recent) - 1 and duration - recent[first][0] >= MEAN_POWER_TIME:
        duration -= recent[first][0]
        first += 1
    return recent[first:]

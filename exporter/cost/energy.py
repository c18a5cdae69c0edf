"""Energy of one GPU: the driver's counter against its mark, else power integrated over the tick. Pure.

The mark is the counter's last good value. `advance` counts by what the counter shows in the tick:

    missing, with a mark up to a minute old    nothing: the counter catches up later
    missing, without such a mark               power x time
    present, without a mark                    power x time
    below the mark, once or twice in a row     nothing: a bad read
    below the mark, three times in a row       the whole counter: a reset began it at zero
    above the mark, implausibly far            power x time
    above the mark                             the counter less the mark

Power has no samples in a gap, so that the counter alone counts there.
"""

from dataclasses import dataclass, replace
from typing import Final, NamedTuple

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

RecentEnergy = tuple[tuple[Nanoseconds, Millijoules], ...]
"""Duration and energy of ticks, newest last."""


@dataclass(frozen=True, slots=True)
class EnergyUse:
    """Energy of one GPU that arrived in one tick."""

    energy: Millijoules
    over: Nanoseconds = 0
    """The time that the GPU used the energy in: more than the tick where reads before it had failed."""
    implausible: bool = False
    """Whether the counter's delta was refused."""


class AdvancedEnergy(NamedTuple):
    """The slot of a GPU whose energy was metered in a tick, and that energy."""

    slot_metered: GpuState
    """The slot with the mark, the recent energy and the idle power that the next tick begins with."""
    use: EnergyUse = EnergyUse(0)
    """The energy that arrived in the tick."""


def advance(
    slot: GpuState,
    reading: GpuReading | None,
    *,
    elapsed: Nanoseconds | None,
    busy_ratio: float | None,
    is_gap: bool = False,
) -> AdvancedEnergy:
    """Advance the energy of one GPU by a tick of this length.

    `elapsed` is `None` for a tick without a start, which only sets the mark. `busy_ratio` is how busy the GPU
    was, `None` where that is unobserved.
    """
    counter = None if reading is None else reading.energy
    mark = slot.energy_mark
    if elapsed is None and reading is not None:
        return AdvancedEnergy(replace(slot, energy_mark=counter, energy_age=0, falls=0, recent=()))
    if not elapsed:
        return AdvancedEnergy(slot)
    age = slot.energy_age + elapsed
    aged = replace(slot, energy_age=age)
    if is_gap and (counter is None or mark is None):
        return AdvancedEnergy(replace(aged, energy_mark=counter if mark is None else mark, recent=()))

    if reading is None or counter is None:
        is_counter_gone = mark is None or age > COUNTER_GONE_AFTER
        if is_counter_gone and reading is not None and reading.power_watts is not None:
            return _integrate(replace(aged, energy_mark=None), reading, elapsed, busy_ratio)
        recent = () if age > MEAN_POWER_TIME else aged.recent  # old power is not the present power
        return AdvancedEnergy(replace(aged, recent=recent))
    if mark is None:
        power = _integrate(aged, reading, elapsed, busy_ratio)
        return AdvancedEnergy(replace(power.slot_metered, energy_mark=counter), power.use)

    is_below = counter < mark
    if is_below and aged.falls + 1 < FALLS_UNTIL_RESET:
        return AdvancedEnergy(replace(aged, falls=aged.falls + 1))
    delta = counter if is_below else counter - mark
    limit_watts = reading.power_limit_watts or ASSUMED_LIMIT_WATTS
    if delta > PLAUSIBLE_LIMIT_RATIO * limit_watts * MILLIWATTS_PER_WATT * seconds(age):
        power = AdvancedEnergy(aged) if is_gap else _integrate(aged, reading, elapsed, busy_ratio)
        marked = replace(power.slot_metered, energy_mark=counter, energy_age=0, falls=0)
        return AdvancedEnergy(marked, replace(power.use, implausible=True))
    marked = replace(aged, energy_mark=counter, energy_age=0, falls=0)
    if age == elapsed and not is_below:  # the delta is of this tick alone
        marked = _with_idle_watts(marked, delta, elapsed, busy_ratio)
    recent = () if is_gap else _recent(marked, age, delta)  # power in a gap is not the present power
    return AdvancedEnergy(replace(marked, recent=recent), EnergyUse(delta, age))


def idle_ratio(slot: GpuState, use: EnergyUse) -> float | None:
    """Energy of an idle GPU over the energy used; `None` until both are known."""
    if slot.idle_watts is None or use.energy <= 0:
        return None
    return slot.idle_watts * MILLIWATTS_PER_WATT * seconds(use.over) / use.energy


def mean_watts(slot: GpuState) -> float | None:
    """Mean power of the last five minutes; `None` before anything was measured."""
    duration = sum(lasted for lasted, _ in slot.recent)
    energy = sum(used for _, used in slot.recent)
    if duration == 0:
        return None
    return energy / MILLIWATTS_PER_WATT / seconds(duration)


def _integrate(
    aged: GpuState, reading: GpuReading, elapsed: Nanoseconds, busy_ratio: float | None
) -> AdvancedEnergy:
    """Integrate power over the tick, and over failed reads before it: a missing sample is not 0 W."""
    over = max(elapsed, min(aged.energy_age, MEAN_POWER_TIME))
    slot = replace(aged, energy_age=0)
    if reading.power_watts is None:
        return AdvancedEnergy(slot)
    milliwatts = round(reading.power_watts * MILLIWATTS_PER_WATT)
    energy, carry = divmod(milliwatts * over + slot.power_carry, NANOSECONDS_PER_SECOND)
    if over == elapsed:
        slot = _with_idle_watts(slot, energy, elapsed, busy_ratio)
    integrated = replace(slot, power_carry=carry, recent=_recent(slot, over, energy))
    return AdvancedEnergy(integrated, EnergyUse(energy, over))


def _with_idle_watts(
    slot: GpuState, energy: Millijoules, elapsed: Nanoseconds, busy_ratio: float | None
) -> GpuState:
    """Learn the idle power from a tick. A tick of 0 J is a stuck counter, not a GPU without power."""
    if busy_ratio is None or busy_ratio > IDLE_UTILIZATION_MAX or energy == 0:
        return slot
    watts = energy / MILLIWATTS_PER_WATT / seconds(elapsed)
    if slot.idle_watts is not None and slot.idle_watts <= watts:
        return slot
    return replace(slot, idle_watts=watts)


def _recent(slot: GpuState, elapsed: Nanoseconds, energy: Millijoules) -> RecentEnergy:
    """The ticks that the mean power is taken over: the fewest last that fill its time."""
    recent = (*slot.recent, (elapsed, energy))
    duration = sum(lasted for lasted, _ in recent)
    first = 0
    while first < len(recent) - 1 and duration - recent[first][0] >= MEAN_POWER_TIME:
        duration -= recent[first][0]
        first += 1
    return recent[first:]

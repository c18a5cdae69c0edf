"""Which slots one GPU's time and money go to in one tick, as integer weights."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby

from exporter.cost.attribution import OUTSIDE_INSTANCES, UNALLOCATED_KEY, GpuShare, ShareMethod
from exporter.cost.money import WHOLE
from exporter.cost.policy import CostPolicy
from exporter.cost.postings import OwnerPhase, Phase
from exporter.cost.servers import ServerTick, owner_shares
from exporter.readings import GpuReading, ServerKey

Ticks = Mapping[ServerKey, ServerTick]


@dataclass(frozen=True, slots=True)
class ShareUsage:
    """One share of one GPU in one tick. `busy` is in parts of `money.WHOLE`, `None`: nobody could tell.

    Where the holders of a GPU (of an instance) were not equally busy, each share's two parts are the same.
    """

    share: GpuShare
    busy: int | None


def share_usage(
    parts: Iterable[GpuShare], reading: GpuReading | None, ticks: Ticks, *, lost: bool, gap: bool
) -> tuple[ShareUsage, ...]:
    """How busy each share of a GPU was.

    NVML tells, averaged over the tick: of a card that is cut, for each instance. Where it cannot, or says 0
    while tokens moved, a share was busy if its server had requests running, and what it holds while idle is
    what it holds. With no server to ask it is unobserved; idle is only what is known to be: what no instance
    covers, and what nobody holds and no process runs on.

    Args:
        parts: the GPU's shares.
        reading: what NVML said of it; `None` if nothing.
        ticks: what the servers did.
        lost: it is known to be off the bus, also while NVML is silent; a missing reading alone says nothing.
        gap: the tick is too long to have been observed.
    """
    if gap:
        return tuple(ShareUsage(_settled(share), None) for share in parts)
    if lost:
        return tuple(ShareUsage(_settled(share), 0) for share in parts)
    found: list[ShareUsage] = []
    for instance, together in groupby(parts, lambda share: share.instance):
        found += _used(tuple(together), instance, reading, ticks)
    return tuple(found)


def _used(
    parts: tuple[GpuShare, ...], instance: str, reading: GpuReading | None, ticks: Ticks
) -> Iterator[ShareUsage]:
    """The shares of one GPU that is not cut, of one instance, or of what no instance covers."""
    if reading is not None and reading.instances is not None and instance == OUTSIDE_INSTANCES:
        yield from (ShareUsage(_settled(share), 0) for share in parts)
        return
    told = None if reading is None else utilization_ratio(reading, instance)
    moved = any(ticks[share.key].moved for share in parts if share.key in ticks)
    if told is not None and (told > 0 or not moved):
        yield from (ShareUsage(share, round(told * WHOLE)) for share in parts)
        return
    for share in parts:
        if share.key == UNALLOCATED_KEY and reading is not None and _deserted(reading, instance):
            yield ShareUsage(share, 0)
        else:
            yield ShareUsage(_settled(share), _asked(ticks.get(share.key)))


def _settled(share: GpuShare) -> GpuShare:
    """A share whose every second is divided as idle ones are."""
    return replace(share, busy_part=share.idle_part, busy_method=share.idle_method)


def utilization_ratio(reading: GpuReading, instance: str = OUTSIDE_INSTANCES) -> float | None:
    """How busy a GPU that is not cut was, or one instance of a card that is; `None` where NVML cannot say."""
    if reading.instances is None:
        return reading.utilization_ratio
    told = (one.utilization_ratio for one in reading.instances if one.uuid == instance)
    return next(told, None)


def _deserted(reading: GpuReading, instance: str) -> bool:
    """Whether NVML tells who computes, and nobody does there."""
    return reading.processes is not None and all(one.instance != instance for one in reading.processes)


def held_shares(gpu: Iterable[ShareUsage]) -> dict[tuple[ServerKey, ShareMethod], float]:
    """The part of a GPU's time in one tick that each server held, by the method that gave it.

    They sum to 1. Where busy and idle time were divided by two methods, a server has a part by each.
    """
    parts: dict[tuple[ServerKey, ShareMethod], int] = {}
    for use in gpu:
        share, busy = use.share, use.busy or 0
        for method, part in (
            (share.busy_method, share.busy_part * busy),
            (share.idle_method, share.idle_part * (WHOLE - busy)),
        ):
            parts[share.key, method] = parts.get((share.key, method), 0) + part
    return {key: part / (WHOLE * WHOLE) for key, part in parts.items()}


def busy_ratio(gpu: Iterable[ShareUsage]) -> float | None:
    """How busy the whole GPU was; `None` when a share of it is unobserved."""
    total = 0
    for use in gpu:
        if use.busy is None:
            return None
        total += use.share.busy_part * use.busy
    return total / (WHOLE * WHOLE)


def phase_weights(
    gpu: Iterable[ShareUsage], ticks: Ticks, terms: CostPolicy, idle: int | None = None
) -> dict[OwnerPhase, int]:
    """Weights of the slots of one GPU, by time.

    By energy where `idle` is given: what idling throughout would have used of what was used, in parts of
    `money.WHOLE`. A share that rested in between pays its idle time at that rate, at most all it used.
    The energy of a card is divided as its time is: no instance is told what another one drew.
    """
    weights: dict[OwnerPhase, int] = {}

    def add(tick: ServerTick, model: str, phase: Phase, weight: int) -> None:
        if weight > 0:
            for who, part in owner_shares(terms, tick, model).items():
                slot = OwnerPhase(who, phase)
                weights[slot] = weights.get(slot, 0) + weight * part

    for use in gpu:
        key, worked, rested = use.share.key, use.share.busy_part, use.share.idle_part
        tick = ticks.get(key) or ServerTick(key)
        if use.busy is None:
            for model, portion in tick.idle_models.items():
                add(tick, model, "unobserved", rested * portion * WHOLE * WHOLE)
            continue
        resting = WHOLE - use.busy
        if idle is not None and use.busy > 0:
            resting = min(WHOLE, resting * idle // WHOLE)
        for model, portion in tick.idle_models.items():
            add(tick, model, "idle", rested * portion * resting * WHOLE)
        for model, portion in tick.busy_models.items():
            working = worked * portion * (WHOLE - resting)
            told = tick.splits.get(model)
            if told is None or told.prefill_ratio is None:
                add(tick, model, "other", working * WHOLE)
                continue
            prefill = round(told.prefill_ratio * WHOLE)
            add(tick, model, "prefill", working * prefill)
            add(tick, model, "decode", working * (WHOLE - prefill))
    return weights


def _asked(tick: ServerTick | None) -> int | None:
    if tick is None or not tick.up or tick.key == UNALLOCATED_KEY or tick.running is None:
        return None
    return WHOLE if tick.running else 0

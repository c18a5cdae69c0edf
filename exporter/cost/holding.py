"""Which slots one GPU's time and money go to in one tick, as integer weights."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from exporter.cost.attribution import NOBODY, Share
from exporter.cost.money import WHOLE
from exporter.cost.policy import Terms
from exporter.cost.postings import Phase, Slot
from exporter.cost.servers import ServerTick, party
from exporter.readings import GpuReading, ServerKey

Ticks = Mapping[ServerKey, ServerTick]


@dataclass(frozen=True, slots=True)
class Use:
    """One share of one GPU in one tick. `busy` is in parts of `money.WHOLE`, `None`: nobody could tell."""

    share: Share
    busy: int | None


def uses(
    parts: Iterable[Share], reading: GpuReading | None, ticks: Ticks, *, lost: bool, gap: bool
) -> tuple[Use, ...]:
    """How busy each share of a GPU was.

    NVML tells, averaged over the tick. Where it cannot, or says 0 while tokens moved, a share was busy if its
    server had requests running. With no server to ask it is unobserved; idle is only what is known to be.

    Args:
        parts: the GPU's shares.
        reading: what NVML said of it; `None` if nothing.
        ticks: what the servers did.
        lost: it is known to be off the bus, also while NVML is silent; a missing reading alone says nothing.
        gap: the tick is too long to have been observed.
    """
    parts = tuple(parts)
    if gap:
        return tuple(Use(share, None) for share in parts)
    if lost:
        return tuple(Use(share, 0) for share in parts)
    told = reading.utilization_ratio if reading is not None else None
    moved = any(ticks[share.key].moved for share in parts if share.key in ticks)
    if told is not None and (told > 0 or not moved):
        return tuple(Use(share, round(told * WHOLE)) for share in parts)
    return tuple(Use(share, _asked(ticks.get(share.key))) for share in parts)


def busy_ratio(gpu: Iterable[Use]) -> float | None:
    """How busy the whole GPU was; `None` when a share of it is unobserved."""
    total = 0
    for use in gpu:
        if use.busy is None:
            return None
        total += use.share.part * use.busy
    return total / (WHOLE * WHOLE)


def slots(gpu: Iterable[Use], ticks: Ticks, terms: Terms, idle: int | None = None) -> dict[Slot, int]:
    """Weights of the slots of one GPU, by time.

    By energy where `idle` is given: what idling throughout would have used of what was used, in parts of
    `money.WHOLE`. A share that rested in between pays its idle time at that rate, at most all it used.
    """
    weights: dict[Slot, int] = {}

    def add(key: ServerKey, model: str, phase: Phase, weight: int) -> None:
        if weight > 0:
            slot = Slot(party(terms, key, model), phase)
            weights[slot] = weights.get(slot, 0) + weight

    for use in gpu:
        key, part = use.share.key, use.share.part
        tick = ticks.get(key) or ServerTick(key)
        if use.busy is None:
            for model, portion in tick.idle_models.items():
                add(key, model, "unobserved", part * portion * WHOLE * WHOLE)
            continue
        resting = WHOLE - use.busy
        if idle is not None and use.busy > 0:
            resting = min(WHOLE, resting * idle // WHOLE)
        for model, portion in tick.idle_models.items():
            add(key, model, "idle", part * portion * resting * WHOLE)
        for model, portion in tick.busy_models.items():
            working = part * portion * (WHOLE - resting)
            told = tick.splits.get(model)
            if told is None or told.prefill_ratio is None:
                add(key, model, "other", working * WHOLE)
                continue
            prefill = round(told.prefill_ratio * WHOLE)
            add(key, model, "prefill", working * prefill)
            add(key, model, "decode", working * (WHOLE - prefill))
    return weights


def _asked(tick: ServerTick | None) -> int | None:
    if tick is None or not tick.up or tick.key == NOBODY or tick.running is None:
        return None
    return WHOLE if tick.running else 0

"""Time without a price, kept by the hour the plain way, as the ledger keeps it."""

from collections.abc import Iterable
from dataclasses import replace

from exporter.cost.postings import GpuUse, OwnerPhase, Postings, UnpricedTime
from tests.cost.bench import HOUR


def by_hour(ticks: Iterable[Postings]) -> list[UnpricedTime]:
    """What these ticks left without a price: one stretch for each GPU and hour of a day."""
    actual: dict[tuple[str, str, int], UnpricedTime] = {}
    for postings in ticks:
        for segment in postings.segments:
            for unpriced in segment.unpriced:
                key = (unpriced.gpu.uuid, unpriced.day, unpriced.start // HOUR)
                before = actual.get(key)
                actual[key] = unpriced if before is None else joined(before, unpriced)
    return list(actual.values())


def joined(one: UnpricedTime, other: UnpricedTime) -> UnpricedTime:
    """Two stretches as one."""
    usage: dict[OwnerPhase, GpuUse] = dict(one.slots)
    for owner_phase, used in other.slots.items():
        had = usage.get(owner_phase, GpuUse(0, 0, 0))
        usage[owner_phase] = GpuUse(had.time + used.time, had.up + used.up, had.energy + used.energy)
    return replace(one, start=min(one.start, other.start), end=max(one.end, other.end), slots=usage)

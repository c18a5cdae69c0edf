"""GPU time that waits for a price, on its way to the file."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from exporter.cost.postings import Postings, Unpriced, Usage
from exporter.ledger.totals import MINUTES_KEPT, hour_of
from exporter.readings import Gpu
from exporter.units import NANOSECONDS_PER_MINUTE, Instant, Nanoseconds

STRETCHES_WAITING: Final = 2000
"""Stretches that may be in memory: of 8 GPUs, those of ten days."""

STRETCHES: Final = 64
"""How many are told at a time: a tick that charges them takes some 15 ms longer."""

RECENT: Final[Nanoseconds] = MINUTES_KEPT * NANOSECONDS_PER_MINUTE
"""How far back quotients look, with room for the edges."""

Cursor = tuple[int, int]
"""How far a walk through everything that waits has come."""

FIRST: Final[Cursor] = (0, 0)


@dataclass(frozen=True, slots=True)
class Batch:
    """A part of what waits, and where the next one begins; `None`: this was the last."""

    unpriced: tuple[Unpriced, ...]
    after: Cursor | None


@dataclass(slots=True)
class Backlog:
    """Stretches as they are to be in the file, and those that go on.

    A stretch ends with its hour, its day, or when its GPU is priced for a minute. `last` is the number of the
    latest one. `kept` is everything that waits, for books in memory.
    While the disk refuses writes for long, a stretch goes on for its day, so that memory stays bounded.
    """

    last: int = 0
    unwritten: dict[int, Unpriced] = field(default_factory=dict)
    kept: dict[int, Unpriced] = field(default_factory=dict)
    _open: dict[Gpu, Unpriced] = field(default_factory=dict)

    def copy(self) -> "Backlog":
        """The same, to add to."""
        return Backlog(self.last, dict(self.unwritten), self.kept, dict(self._open))

    def add(self, postings: Postings) -> None:
        """Add one tick: what was charged first, then what passed without a price."""
        for left in postings.late.left:
            self._replace(left)
        for segment in postings.segments:
            for unpriced in segment.unpriced:
                self._extend(unpriced)

    def committed(self, *, persistent: bool) -> "Backlog":
        """This after what was unwritten is in the file; books in memory keep the latest of it."""
        kept = self.kept
        if not persistent and self.unwritten:
            both = {**kept, **self.unwritten}
            waiting = sorted(number for number, stretch in both.items() if stretch.slots)
            kept = {number: both[number] for number in waiting[-STRETCHES_WAITING:]}
        return Backlog(self.last, {}, kept, self._open)

    def batch(self, place: Cursor) -> Batch:
        """A part of what books in memory keep."""
        numbers = sorted(number for number in self.kept if number > place[1])
        found = tuple(self.kept[number] for number in numbers[:STRETCHES])
        return Batch(found, (0, numbers[STRETCHES - 1]) if len(numbers) > STRETCHES else None)

    def _replace(self, left: Unpriced) -> None:
        going_on = self._open.get(left.gpu)
        if going_on is not None and going_on.number == left.number:
            self._open[left.gpu] = left
            if not left.slots:
                del self._open[left.gpu]
        if left.number:
            self.unwritten[left.number] = left
        elif left.slots:
            self._begin(left)

    def _extend(self, unpriced: Unpriced) -> None:
        before = self._open.get(unpriced.gpu)
        if before is None or not self._goes_on(before, unpriced):
            self._open[unpriced.gpu] = self._begin(unpriced)
            return
        slots = dict(before.slots)
        for slot, used in unpriced.slots.items():
            slots[slot] = _sum(slots.get(slot), used)
        after = replace(before, end=max(before.end, unpriced.end), slots=slots)
        self._open[unpriced.gpu] = self.unwritten[before.number] = after

    def _begin(self, unpriced: Unpriced) -> Unpriced:
        self.last += 1
        begun = self.unwritten[self.last] = replace(unpriced, number=self.last)
        return begun

    def _goes_on(self, before: Unpriced, after: Unpriced) -> bool:
        if (before.hourly_only, before.down_counted) != (after.hourly_only, after.down_counted):
            return False
        near = abs(after.start - before.end) <= NANOSECONDS_PER_MINUTE
        if len(self.unwritten) >= STRETCHES_WAITING:
            return before.day == after.day and after.start > before.start
        return near and before.day == after.day and hour_of(before.start) == hour_of(after.start)


def recent(
    before: Mapping[int, Unpriced], written: Mapping[int, Unpriced], end: Instant
) -> dict[int, Unpriced]:
    """What waits of the last `RECENT` time up to a tick's end, after some was written anew."""
    return {
        number: stretch
        for number, stretch in {**before, **written}.items()
        if stretch.slots and stretch.end > end - RECENT
    }


def _sum(before: Usage | None, used: Usage) -> Usage:
    if before is None:
        return used
    return Usage(before.time + used.time, before.up + used.up, before.energy + used.energy)

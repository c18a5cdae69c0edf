"""Unpriced GPU time: in memory until it is written, then rows in the file."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from exporter.cost.postings import GpuUse, OwnerPhase, Postings, UnpricedTime
from exporter.ledger.schema import Keys, Names, bounded, day_name, day_number, references
from exporter.ledger.totals import MINUTES_KEPT
from exporter.readings import Gpu
from exporter.units import NANOSECONDS_PER_MINUTE, Instant, Nanoseconds, hour_of

RANGES_MAX: Final = 2000
"""Most ranges in memory: ten days of 8 GPUs."""

BATCH_RANGES: Final = 64
"""Ranges in a batch: a tick that charges them takes some 15 ms longer."""

RECENT_TIME: Final[Nanoseconds] = MINUTES_KEPT * NANOSECONDS_PER_MINUTE
"""Time range of the quotients, with room for the edges."""

_NO_USE: Final = GpuUse(0, 0, 0)

Cursor = int
"""Position of a walk through all unpriced time: the number of the last range that was read."""

FIRST: Final[Cursor] = 0


@dataclass(frozen=True, slots=True)
class UnpricedBatch:
    """A part of the unpriced time, and the position of the next part; `None` after the last."""

    unpriced: tuple[UnpricedTime, ...]
    after: Cursor | None


@dataclass(slots=True)
class UnpricedBuffer:
    """Ranges of unpriced time that are not in the file yet, and those that are still open.

    A range ends with its hour, its day, or when its GPU has a price for a minute.
    While writes fail for long, a range goes on for its day, so that memory stays bounded.
    """

    last: int = 0
    """Number of the latest range."""
    unwritten: dict[int, UnpricedTime] = field(default_factory=dict)
    """Ranges that changed since the last commit, by number."""
    in_memory: dict[int, UnpricedTime] = field(default_factory=dict)
    """All ranges of a ledger without a file, by number."""
    _open: dict[Gpu, UnpricedTime] = field(default_factory=dict)
    """Ranges that go on, by GPU."""

    def copy(self) -> "UnpricedBuffer":
        """A copy to add to."""
        return UnpricedBuffer(self.last, dict(self.unwritten), self.in_memory, dict(self._open))

    def add(self, postings: Postings) -> None:
        """Add one tick: first what was charged late, then what passed without a price."""
        for left in postings.late.left:
            going_on = self._open.get(left.gpu)
            if going_on is not None and going_on.number == left.number:
                self._open[left.gpu] = left
                if not left.usage:
                    del self._open[left.gpu]
            if left.number:
                self.unwritten[left.number] = left
            elif left.usage:
                self._begin(left)
        for segment in postings.segments:
            for unpriced in segment.unpriced:
                before = self._open.get(unpriced.gpu)
                if before is None or not self._goes_on(before, unpriced):
                    self._open[unpriced.gpu] = self._begin(unpriced)
                    continue
                usage = dict(before.usage)
                for owner_phase, used in unpriced.usage.items():
                    earlier = usage.get(owner_phase, _NO_USE)
                    usage[owner_phase] = GpuUse(
                        earlier.time + used.time, earlier.up + used.up, earlier.energy + used.energy
                    )
                after = replace(before, end=max(before.end, unpriced.end), usage=usage)
                self._open[unpriced.gpu] = after
                self.unwritten[before.number] = after

    def committed(self, *, persistent: bool) -> "UnpricedBuffer":
        """The buffer after a commit. Without a file the latest ranges stay in memory."""
        in_memory = self.in_memory
        if not persistent and self.unwritten:
            both = {**in_memory, **self.unwritten}
            unpriced = sorted(number for number, time in both.items() if time.usage)
            in_memory = {number: both[number] for number in unpriced[-RANGES_MAX:]}
        return UnpricedBuffer(self.last, {}, in_memory, self._open)

    def batch(self, cursor: Cursor) -> UnpricedBatch:
        """A part of the unpriced time of a ledger without a file."""
        numbers = sorted(number for number in self.in_memory if number > cursor)
        unpriced = tuple(self.in_memory[number] for number in numbers[:BATCH_RANGES])
        return UnpricedBatch(unpriced, unpriced[-1].number if len(numbers) > BATCH_RANGES else None)

    def _begin(self, unpriced: UnpricedTime) -> UnpricedTime:
        self.last += 1
        begun = replace(unpriced, number=self.last)
        self.unwritten[self.last] = begun
        return begun

    def _goes_on(self, before: UnpricedTime, after: UnpricedTime) -> bool:
        if before.hourly_only != after.hourly_only:
            return False
        near = abs(after.start - before.end) <= NANOSECONDS_PER_MINUTE
        if len(self.unwritten) >= RANGES_MAX:
            return before.day == after.day and after.start > before.start
        return near and before.day == after.day and hour_of(before.start) == hour_of(after.start)


def recent_ranges(
    before: Mapping[int, UnpricedTime], written: Mapping[int, UnpricedTime], end: Instant
) -> dict[int, UnpricedTime]:
    """Unpriced time of the last `RECENT_TIME` nanoseconds up to a tick's end, after a write."""
    return {
        number: time
        for number, time in {**before, **written}.items()
        if time.usage and time.end > end - RECENT_TIME
    }


def write_unpriced(connection: sqlite3.Connection, keys: Keys, unpriced: Mapping[int, UnpricedTime]) -> None:
    """Write whole ranges inside the running transaction, and delete those that are empty.

    Raises:
        OverflowError: an amount passes what the file holds.
    """
    for number, time in unpriced.items():
        connection.execute("DELETE FROM unpriced_use WHERE number = ?", (number,))
        if not time.usage:
            connection.execute("DELETE FROM unpriced_range WHERE number = ?", (number,))
            continue
        connection.execute(
            "INSERT OR REPLACE INTO unpriced_range (number, day, gpu, start, until, hourly_only)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (
                number,
                day_number(time.day),
                keys.of(time.gpu),
                time.start,
                time.end,
                int(time.hourly_only),
            ),
        )
        connection.executemany(
            "INSERT INTO unpriced_use (number, owner, phase, nanoseconds, up, millijoules)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            [
                (
                    number,
                    keys.of(owner_phase.owner),
                    keys.of(owner_phase.phase),
                    *(bounded(amount, "unpriced_use") for amount in (used.time, used.up, used.energy)),
                )
                for owner_phase, used in time.usage.items()
            ],
        )


def last_number(connection: sqlite3.Connection) -> int:
    """Number of the latest range; 0 without any."""
    return int(connection.execute("SELECT coalesce(max(number), 0) FROM unpriced_range").fetchone()[0])


def prune_unpriced(connection: sqlite3.Connection, days_floor: int) -> None:
    """Delete expired days."""
    connection.execute(
        "DELETE FROM unpriced_use WHERE number IN (SELECT number FROM unpriced_range WHERE day < ?)",
        (days_floor,),
    )
    connection.execute("DELETE FROM unpriced_range WHERE day < ?", (days_floor,))


def read_batch(connection: sqlite3.Connection, cursor: Cursor) -> UnpricedBatch:
    """Ranges after a position.

    Raises:
        DamagedError: a row refers to what is not there.
        sqlite3.Error: it cannot be read.
    """
    with references():
        rows = connection.execute(
            f"{_SELECT} WHERE number > ? ORDER BY number LIMIT ?", (cursor, BATCH_RANGES)
        ).fetchall()
        unpriced = tuple(_read_ranges(connection, Names(connection), rows))
    return UnpricedBatch(unpriced, unpriced[-1].number if len(unpriced) == BATCH_RANGES else None)


def read_recent(connection: sqlite3.Connection, end: Instant) -> dict[int, UnpricedTime]:
    """Ranges of the last `RECENT_TIME` nanoseconds up to an instant, by number.

    Raises:
        DamagedError: a row refers to what is not there.
        sqlite3.Error: it cannot be read.
    """
    with references():
        numbered = connection.execute(f"{_SELECT} WHERE until > ?", (end - RECENT_TIME,)).fetchall()
        if not numbered:
            return {}
        return {time.number: time for time in _read_ranges(connection, Names(connection), numbered)}


_SELECT: Final = "SELECT number, day, gpu, start, until, hourly_only FROM unpriced_range"


def _read_ranges(
    connection: sqlite3.Connection, names: Names, numbered: Iterable[tuple[int, int, int, int, int, int]]
) -> Iterator[UnpricedTime]:
    for number, day, gpu, start, until, hourly_only in numbered:
        usage = {
            OwnerPhase(names.owner(owner), names.label(phase)): GpuUse(time, up, energy)  # type: ignore[arg-type]
            for owner, phase, time, up, energy in connection.execute(
                "SELECT owner, phase, nanoseconds, up, millijoules FROM unpriced_use WHERE number = ?",
                (number,),
            )
        }
        yield UnpricedTime(
            gpu=names.gpu(gpu),
            day=day_name(day),
            start=start,
            end=until,
            usage=usage,
            number=number,
            hourly_only=hourly_only != 0,
        )

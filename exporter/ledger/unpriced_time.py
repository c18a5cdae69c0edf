"""Unpriced GPU time: in memory until it is written, then rows in the file."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from typing import Any, Final
from zoneinfo import ZoneInfo

from exporter.cost.money import add
from exporter.cost.postings import GpuUse, OwnerPhase, Postings, UnpricedTime
from exporter.frozen import dataclass, replace
from exporter.ledger import schema
from exporter.ledger.schema import Keys, Names, bounded, day_name, day_number, references, tables
from exporter.ledger.totals import MINUTES_KEPT, hour_of
from exporter.readings import Gpu
from exporter.tariff.calendar import Day, day_of, first_instant
from exporter.units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_MINUTE, Instant, Nanoseconds

RANGES_MAX: Final = 2000
"""Most ranges in memory: ten days of 8 GPUs."""

BATCH_RANGES: Final = 64
"""Ranges in a batch: a tick that charges them takes some 15 ms longer."""

RECENT_TIME: Final[Nanoseconds] = MINUTES_KEPT * NANOSECONDS_PER_MINUTE
"""Time range of the quotients, with room for the edges."""

Cursor = tuple[int, int]
"""Position of a walk through all unpriced time."""

FIRST: Final[Cursor] = (0, 0)


@dataclass(frozen=True, slots=True)
class UnpricedBatch:
    """A part of the unpriced time, and the position of the next part; `None` after the last."""

    unpriced: tuple[UnpricedTime, ...]
    after: Cursor | None


@dataclass(slots=True)
class UnpricedBuffer:
    """Ranges of unpriced time that are not in the file yet, and those that are still open.

    A range ends with its hour, its day, or when its GPU has a price for a minute. `last` is the number of the
    latest one. `in_memory` are all ranges of a ledger without a file.
    While writes fail for long, a range goes on for its day, so that memory stays bounded.
    """

    last: int = 0
    unwritten: dict[int, UnpricedTime] = field(default_factory=dict)
    in_memory: dict[int, UnpricedTime] = field(default_factory=dict)
    _open: dict[Gpu, UnpricedTime] = field(default_factory=dict)

    def copy(self) -> "UnpricedBuffer":
        """A copy to add to."""
        return UnpricedBuffer(self.last, dict(self.unwritten), self.in_memory, dict(self._open))

    def add(self, postings: Postings) -> None:
        """Add one tick: first what was charged late, then what passed without a price."""
        for left in postings.late.left:
            self._replace(left)
        for segment in postings.segments:
            for unpriced in segment.unpriced:
                self._extend(unpriced)

    def committed(self, *, persistent: bool) -> "UnpricedBuffer":
        """The buffer after a commit. Without a file the latest ranges stay in memory."""
        in_memory = self.in_memory
        if not persistent and self.unwritten:
            both = {**in_memory, **self.unwritten}
            waiting = sorted(number for number, time in both.items() if time.usage)
            in_memory = {number: both[number] for number in waiting[-RANGES_MAX:]}
        return UnpricedBuffer(self.last, {}, in_memory, self._open)

    def batch(self, cursor: Cursor) -> UnpricedBatch:
        """A part of the unpriced time of a ledger without a file."""
        numbers = sorted(number for number in self.in_memory if number > cursor[1])
        unpriced = tuple(self.in_memory[number] for number in numbers[:BATCH_RANGES])
        return UnpricedBatch(
            unpriced, (0, numbers[BATCH_RANGES - 1]) if len(numbers) > BATCH_RANGES else None
        )

    def _replace(self, left: UnpricedTime) -> None:
        going_on = self._open.get(left.gpu)
        if going_on is not None and going_on.number == left.number:
            self._open[left.gpu] = left
            if not left.usage:
                del self._open[left.gpu]
        if left.number:
            self.unwritten[left.number] = left
        elif left.usage:
            self._begin(left)

    def _extend(self, unpriced: UnpricedTime) -> None:
        before = self._open.get(unpriced.gpu)
        if before is None or not self._goes_on(before, unpriced):
            self._open[unpriced.gpu] = self._begin(unpriced)
            return
        usage = dict(before.usage)
        for owner_phase, used in unpriced.usage.items():
            usage[owner_phase] = _use_sum(usage.get(owner_phase), used)
        after = replace(before, end=max(before.end, unpriced.end), usage=usage)
        self._open[unpriced.gpu] = self.unwritten[before.number] = after

    def _begin(self, unpriced: UnpricedTime) -> UnpricedTime:
        self.last += 1
        begun = self.unwritten[self.last] = replace(unpriced, number=self.last)
        return begun

    def _goes_on(self, before: UnpricedTime, after: UnpricedTime) -> bool:
        if (before.hourly_only, before.down_counted) != (after.hourly_only, after.down_counted):
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


def _use_sum(before: GpuUse | None, used: GpuUse) -> GpuUse:
    if before is None:
        return used
    return GpuUse(before.time + used.time, before.up + used.up, before.energy + used.energy)


BATCH_DAYS: Final = 10
"""Days in a batch of unpriced time of an earlier release."""

_TimeByKey = dict[tuple[int, int], int]
"""Nanoseconds by the keys of GPU and owner."""


def write_unpriced(connection: sqlite3.Connection, keys: Keys, unpriced: Mapping[int, UnpricedTime]) -> None:
    """Write whole ranges inside the running transaction, and delete those that are empty.

    Raises:
        OverflowError: an amount passes what the file holds.
    """
    for number, time in unpriced.items():
        connection.execute("DELETE FROM waiting WHERE stretch = ?", (number,))
        if not time.usage:
            connection.execute("DELETE FROM stretch WHERE number = ?", (number,))
            continue
        connection.execute(
            "INSERT OR REPLACE INTO stretch (number, day, gpu, start, until, hourly_only, down_counted)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                number,
                day_number(time.day),
                keys.of(time.gpu),
                time.start,
                time.end,
                int(time.hourly_only),
                int(time.down_counted),
            ),
        )
        connection.executemany(
            "INSERT INTO waiting (stretch, party, phase, nanoseconds, up, millijoules)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            [
                (
                    number,
                    keys.of(owner_phase.owner),
                    keys.of(owner_phase.phase),
                    *(bounded(amount, "waiting") for amount in (used.time, used.up, used.energy)),
                )
                for owner_phase, used in time.usage.items()
            ],
        )


def last_number(connection: sqlite3.Connection) -> int:
    """Number of the latest range; 0 without any."""
    if "stretch" not in tables(connection):
        return 0
    return int(connection.execute("SELECT coalesce(max(number), 0) FROM stretch").fetchone()[0])


def prune_unpriced(connection: sqlite3.Connection, days_floor: int) -> None:
    """Delete expired days."""
    connection.execute(
        "DELETE FROM waiting WHERE stretch IN (SELECT number FROM stretch WHERE day < ?)", (days_floor,)
    )
    connection.execute("DELETE FROM stretch WHERE day < ?", (days_floor,))


def read_batch(
    connection: sqlite3.Connection, cursor: Cursor, zone: ZoneInfo, until: Instant
) -> UnpricedBatch:
    """Ranges after a position; after the last of them, unpriced time of a release without ranges.

    Args:
        connection: to the file.
        cursor: where the batch before ended.
        zone: in which a day's hours lie.
        until: the end of the last tick: no time is later.

    Raises:
        DamagedError: a row refers to what is not there.
        sqlite3.Error: it cannot be read.
    """
    present = tables(connection)
    with references():
        names = Names(connection)
        if cursor[0] == 0 and "stretch" in present:
            numbered = connection.execute(
                f"{_select(connection)} WHERE number > ? ORDER BY number LIMIT ?", (cursor[1], BATCH_RANGES)
            ).fetchall()
            unpriced = tuple(_read_ranges(connection, names, numbered))
            if len(unpriced) == BATCH_RANGES:
                return UnpricedBatch(unpriced, (0, unpriced[-1].number))
            return UnpricedBatch(unpriced, (1, 0))
        if "daily_unpriced" not in present:
            return UnpricedBatch((), None)
        days = [
            day
            for (day,) in connection.execute(
                "SELECT DISTINCT day FROM daily_unpriced WHERE day > ? ORDER BY day LIMIT ?",
                (cursor[1], BATCH_DAYS),
            )
        ]
        older = tuple(
            time for day in days for time in _unpriced_of_day(connection, names, present, day, zone, until)
        )
    return UnpricedBatch(older, (1, days[-1]) if len(days) == BATCH_DAYS else None)


def read_recent(connection: sqlite3.Connection, end: Instant) -> dict[int, UnpricedTime]:
    """Ranges of the last `RECENT_TIME` nanoseconds up to an instant, by number.

    Raises:
        DamagedError: a row refers to what is not there.
        sqlite3.Error: it cannot be read.
    """
    if "stretch" not in tables(connection):
        return {}
    with references():
        numbered = connection.execute(
            f"{_select(connection)} WHERE until > ?", (end - RECENT_TIME,)
        ).fetchall()
        if not numbered:
            return {}
        return {time.number: time for time in _read_ranges(connection, Names(connection), numbered)}


def _select(connection: sqlite3.Connection) -> str:
    down_counted = schema.added_column(connection, "stretch", "down_counted")
    return f"SELECT number, day, gpu, start, until, hourly_only, {down_counted} FROM stretch"  # noqa: S608 - constants


def _read_ranges(
    connection: sqlite3.Connection, names: Names, numbered: Iterable[tuple[int, int, int, int, int, int, int]]
) -> Iterator[UnpricedTime]:
    for number, day, gpu, start, until, hourly_only, down_counted in numbered:
        usage = {
            OwnerPhase(names.owner(owner), names.label(phase)): GpuUse(time, up, energy)  # type: ignore[arg-type]
            for owner, phase, time, up, energy in connection.execute(
                "SELECT party, phase, nanoseconds, up, millijoules FROM waiting WHERE stretch = ?", (number,)
            )
        }
        kinds = hourly_only != 0, down_counted != 0
        yield UnpricedTime(names.gpu(gpu), day_name(day), start, until, usage, number, *kinds)


def _unpriced_of_day(
    connection: sqlite3.Connection,
    names: Names,
    present: frozenset[str],
    number: int,
    zone: ZoneInfo,
    until: Instant,
) -> Iterator[UnpricedTime]:
    """Unpriced time in a day's history, less what was charged since and what is in ranges.

    Such time has no phase and no energy. It lies in its hours while the file has them, then in its day.
    """
    in_history = _unsettled(connection, present, "daily", "day", number)
    in_ranges = _waiting(connection, present, "day = ?", (number,))
    left = _difference(in_history, in_ranges)
    if not left:
        return
    day = _day(number, zone)
    for hour in range(hour_of(day.start), hour_of(day.end - 1) + 1):
        start = hour * NANOSECONDS_PER_HOUR
        bounds = (number, start, start + NANOSECONDS_PER_HOUR)
        of_hour = _difference(
            _unsettled(connection, present, "hourly", "hour", hour),
            _waiting(connection, present, "day = ? AND start >= ? AND start < ?", bounds),
        )
        here = {key: min(time, left[key]) for key, time in of_hour.items() if left.get(key)}
        for key, time in here.items():
            left[key] -= time
        end = min(start + NANOSECONDS_PER_HOUR, day.end)
        yield from _unobserved(names, day, max(start, day.start), min(end, max(until, start + 1)), here)
    yield from _unobserved(names, day, day.start, min(day.end, max(until, day.start + 1)), left)


def _unobserved(
    names: Names, day: Day, start: Instant, end: Instant, durations: _TimeByKey
) -> Iterator[UnpricedTime]:
    by_gpu: dict[Gpu, dict[OwnerPhase, GpuUse]] = {}
    for (gpu_key, owner_key), time in durations.items():
        if time > 0:
            owner_phase = OwnerPhase(names.owner(owner_key), "unobserved")
            by_gpu.setdefault(names.gpu(gpu_key), {})[owner_phase] = GpuUse(time, time, 0)
    for gpu, usage in by_gpu.items():
        yield UnpricedTime(gpu, day.name, start, end, usage, down_counted=True)


def _unsettled(
    connection: sqlite3.Connection, present: frozenset[str], grain: str, period: str, number: int
) -> _TimeByKey:
    durations: _TimeByKey = {}
    for family, sign in (("unpriced", 1), ("settled", -1)):
        if f"{grain}_{family}" in present:
            rows = connection.execute(
                f"SELECT gpu, party, nanoseconds FROM {grain}_{family} WHERE {period} = ?",  # noqa: S608 - constants
                (number,),
            )
            for gpu, owner, time in rows:
                add(durations, (gpu, owner), sign * time)
    return durations


def _waiting(
    connection: sqlite3.Connection, present: frozenset[str], where: str, values: tuple[Any, ...]
) -> _TimeByKey:
    if "stretch" not in present:
        return {}
    rows = connection.execute(
        "SELECT stretch.gpu, party, sum(nanoseconds) FROM stretch JOIN waiting ON stretch = number"  # noqa: S608 - constants
        f" WHERE {where} GROUP BY stretch.gpu, party",
        values,
    )
    return {(gpu, owner): time for gpu, owner, time in rows}


def _difference(durations: _TimeByKey, others: _TimeByKey) -> _TimeByKey:
    rest = {key: time - others.get(key, 0) for key, time in durations.items()}
    return {key: time for key, time in rest.items() if time > 0}


def _day(number: int, zone: ZoneInfo) -> Day:
    return day_of(first_instant(number // 10000, number // 100 % 100, number % 100, zone), zone)

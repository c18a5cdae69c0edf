"""Unpriced GPU time: kept in memory, written to the file, read back."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final
from zoneinfo import ZoneInfo

from exporter.cost.postings import GpuUse, OwnerPhase, Postings, UnpricedTime
from exporter.ledger import schema
from exporter.ledger.rows import Keys, Names, bounded, references, tables
from exporter.ledger.totals import MINUTES_KEPT, hour_of
from exporter.readings import Gpu
from exporter.tariff.calendar import Day, day_of, first_instant
from exporter.units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_MINUTE, Instant, Nanoseconds

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
class UnpricedBatch:
    """A part of what waits, and where the next one begins; `None`: this was the last."""

    unpriced: tuple[UnpricedTime, ...]
    after: Cursor | None


@dataclass(slots=True)
class UnpricedBuffer:
    """Stretches as they are to be in the file, and those that go on.

    A stretch ends with its hour, its day, or when its GPU is priced for a minute. `last` is the number of the
    latest one. `kept` is everything that waits, for books in memory.
    While the disk refuses writes for long, a stretch goes on for its day, so that memory stays bounded.
    """

    last: int = 0
    unwritten: dict[int, UnpricedTime] = field(default_factory=dict)
    kept: dict[int, UnpricedTime] = field(default_factory=dict)
    _open: dict[Gpu, UnpricedTime] = field(default_factory=dict)

    def copy(self) -> "UnpricedBuffer":
        """The same, to add to."""
        return UnpricedBuffer(self.last, dict(self.unwritten), self.kept, dict(self._open))

    def add(self, postings: Postings) -> None:
        """Add one tick: what was charged first, then what passed without a price."""
        for left in postings.late.left:
            self._replace(left)
        for segment in postings.segments:
            for unpriced in segment.unpriced:
                self._extend(unpriced)

    def committed(self, *, persistent: bool) -> "UnpricedBuffer":
        """This after what was unwritten is in the file; books in memory keep the latest of it."""
        kept = self.kept
        if not persistent and self.unwritten:
            both = {**kept, **self.unwritten}
            waiting = sorted(number for number, stretch in both.items() if stretch.slots)
            kept = {number: both[number] for number in waiting[-STRETCHES_WAITING:]}
        return UnpricedBuffer(self.last, {}, kept, self._open)

    def batch(self, place: Cursor) -> UnpricedBatch:
        """A part of what books in memory keep."""
        numbers = sorted(number for number in self.kept if number > place[1])
        found = tuple(self.kept[number] for number in numbers[:STRETCHES])
        return UnpricedBatch(found, (0, numbers[STRETCHES - 1]) if len(numbers) > STRETCHES else None)

    def _replace(self, left: UnpricedTime) -> None:
        going_on = self._open.get(left.gpu)
        if going_on is not None and going_on.number == left.number:
            self._open[left.gpu] = left
            if not left.slots:
                del self._open[left.gpu]
        if left.number:
            self.unwritten[left.number] = left
        elif left.slots:
            self._begin(left)

    def _extend(self, unpriced: UnpricedTime) -> None:
        before = self._open.get(unpriced.gpu)
        if before is None or not self._goes_on(before, unpriced):
            self._open[unpriced.gpu] = self._begin(unpriced)
            return
        slots = dict(before.slots)
        for slot, used in unpriced.slots.items():
            slots[slot] = _sum(slots.get(slot), used)
        after = replace(before, end=max(before.end, unpriced.end), slots=slots)
        self._open[unpriced.gpu] = self.unwritten[before.number] = after

    def _begin(self, unpriced: UnpricedTime) -> UnpricedTime:
        self.last += 1
        begun = self.unwritten[self.last] = replace(unpriced, number=self.last)
        return begun

    def _goes_on(self, before: UnpricedTime, after: UnpricedTime) -> bool:
        if (before.hourly_only, before.down_counted) != (after.hourly_only, after.down_counted):
            return False
        near = abs(after.start - before.end) <= NANOSECONDS_PER_MINUTE
        if len(self.unwritten) >= STRETCHES_WAITING:
            return before.day == after.day and after.start > before.start
        return near and before.day == after.day and hour_of(before.start) == hour_of(after.start)


def recent(
    before: Mapping[int, UnpricedTime], written: Mapping[int, UnpricedTime], end: Instant
) -> dict[int, UnpricedTime]:
    """What waits of the last `RECENT` time up to a tick's end, after some was written anew."""
    return {
        number: stretch
        for number, stretch in {**before, **written}.items()
        if stretch.slots and stretch.end > end - RECENT
    }


def _sum(before: GpuUse | None, used: GpuUse) -> GpuUse:
    if before is None:
        return used
    return GpuUse(before.time + used.time, before.up + used.up, before.energy + used.energy)


DAYS: Final = 10
"""How many days are looked through at a time for what another release left."""

_Holding = dict[tuple[int, int], int]
"""Nanoseconds by GPU and party."""


def write_unpriced(connection: sqlite3.Connection, keys: Keys, stretches: Mapping[int, UnpricedTime]) -> None:
    """Write stretches whole, inside the running transaction; those that nothing is left of go.

    Raises:
        OverflowError: an amount passes what the file holds.
    """
    for number, stretch in stretches.items():
        connection.execute("DELETE FROM waiting WHERE stretch = ?", (number,))
        if not stretch.slots:
            connection.execute("DELETE FROM stretch WHERE number = ?", (number,))
            continue
        connection.execute(
            "INSERT OR REPLACE INTO stretch (number, day, gpu, start, until, hourly_only, down_counted)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                number,
                int(stretch.day.replace("-", "")),
                keys.of(stretch.gpu),
                stretch.start,
                stretch.end,
                int(stretch.hourly_only),
                int(stretch.down_counted),
            ),
        )
        connection.executemany(
            "INSERT INTO waiting (stretch, party, phase, nanoseconds, up, millijoules)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            [
                (
                    number,
                    keys.of(slot.owner),
                    keys.of(slot.phase),
                    *(bounded(amount, "waiting") for amount in (used.time, used.up, used.energy)),
                )
                for slot, used in stretch.slots.items()
            ],
        )


def last_number(connection: sqlite3.Connection) -> int:
    """The number of the latest stretch; 0 without any."""
    if "stretch" not in tables(connection):
        return 0
    return int(connection.execute("SELECT coalesce(max(number), 0) FROM stretch").fetchone()[0])


def prune_unpriced(connection: sqlite3.Connection, days_floor: int) -> None:
    """Let go of days that are past their time."""
    connection.execute(
        "DELETE FROM waiting WHERE stretch IN (SELECT number FROM stretch WHERE day < ?)", (days_floor,)
    )
    connection.execute("DELETE FROM stretch WHERE day < ?", (days_floor,))


def read_batch(
    connection: sqlite3.Connection, place: Cursor, zone: ZoneInfo, until: Instant
) -> UnpricedBatch:
    """The stretches after a place; after the last of them, time that a release without stretches kept.

    Args:
        connection: to the file.
        place: where the batch before ended.
        zone: in which a day's hours lie.
        until: the end of the last tick: no time is later.

    Raises:
        DamagedError: a row refers to what is not there.
        sqlite3.Error: it cannot be read.
    """
    there = tables(connection)
    with references():
        names = Names(connection)
        if place[0] == 0 and "stretch" in there:
            numbered = connection.execute(
                f"{_select(connection)} WHERE number > ? ORDER BY number LIMIT ?", (place[1], STRETCHES)
            ).fetchall()
            found = tuple(_stretches(connection, names, numbered))
            if len(found) == STRETCHES:
                return UnpricedBatch(found, (0, found[-1].number))
            return UnpricedBatch(found, (1, 0))
        if "daily_unpriced" not in there:
            return UnpricedBatch((), None)
        days = [
            day
            for (day,) in connection.execute(
                "SELECT DISTINCT day FROM daily_unpriced WHERE day > ? ORDER BY day LIMIT ?", (place[1], DAYS)
            )
        ]
        older = tuple(
            stretch for day in days for stretch in _of_a_day(connection, names, there, day, zone, until)
        )
    return UnpricedBatch(older, (1, days[-1]) if len(days) == DAYS else None)


def read_recent(connection: sqlite3.Connection, end: Instant) -> dict[int, UnpricedTime]:
    """The stretches of the last `RECENT` time up to an instant, by number.

    Raises:
        DamagedError: a row refers to what is not there.
        sqlite3.Error: it cannot be read.
    """
    if "stretch" not in tables(connection):
        return {}
    with references():
        numbered = connection.execute(f"{_select(connection)} WHERE until > ?", (end - RECENT,)).fetchall()
        if not numbered:
            return {}
        return {stretch.number: stretch for stretch in _stretches(connection, Names(connection), numbered)}


def _select(connection: sqlite3.Connection) -> str:
    down_counted = schema.added_column(connection, "stretch", "down_counted")
    return f"SELECT number, day, gpu, start, until, hourly_only, {down_counted} FROM stretch"  # noqa: S608 - constants


def _stretches(
    connection: sqlite3.Connection, names: Names, numbered: Iterable[tuple[int, int, int, int, int, int, int]]
) -> Iterator[UnpricedTime]:
    for number, day, gpu, start, until, hourly_only, down_counted in numbered:
        slots = {
            OwnerPhase(names.party(party), names.label(phase)): GpuUse(time, up, energy)  # type: ignore[arg-type]
            for party, phase, time, up, energy in connection.execute(
                "SELECT party, phase, nanoseconds, up, millijoules FROM waiting WHERE stretch = ?", (number,)
            )
        }
        kinds = hourly_only != 0, down_counted != 0
        yield UnpricedTime(names.gpu(gpu), _named(day), start, until, slots, number, *kinds)


def _of_a_day(
    connection: sqlite3.Connection,
    names: Names,
    there: frozenset[str],
    number: int,
    zone: ZoneInfo,
    until: Instant,
) -> Iterator[UnpricedTime]:
    """What a day's history says had no price, less what was charged since and what waits in stretches.

    Such time knows no phase and no energy. It lies in its hours while they are kept, then in its day.
    """
    told = _unsettled(connection, there, "daily", "day", number)
    known = _waiting(connection, there, "day = ?", (number,))
    left = _less(told, known)
    if not left:
        return
    day = _day(number, zone)
    for hour in range(hour_of(day.start), hour_of(day.end - 1) + 1):
        start = hour * NANOSECONDS_PER_HOUR
        bounds = (number, start, start + NANOSECONDS_PER_HOUR)
        of_hour = _less(
            _unsettled(connection, there, "hourly", "hour", hour),
            _waiting(connection, there, "day = ? AND start >= ? AND start < ?", bounds),
        )
        here = {key: min(time, left[key]) for key, time in of_hour.items() if left.get(key)}
        for key, time in here.items():
            left[key] -= time
        end = min(start + NANOSECONDS_PER_HOUR, day.end)
        yield from _unobserved(names, day, max(start, day.start), min(end, max(until, start + 1)), here)
    yield from _unobserved(names, day, day.start, min(day.end, max(until, day.start + 1)), left)


def _unobserved(
    names: Names, day: Day, start: Instant, end: Instant, holding: _Holding
) -> Iterator[UnpricedTime]:
    by_gpu: dict[Gpu, dict[OwnerPhase, GpuUse]] = {}
    for (gpu, party), time in holding.items():
        if time > 0:
            slot = OwnerPhase(names.party(party), "unobserved")
            by_gpu.setdefault(names.gpu(gpu), {})[slot] = GpuUse(time, time, 0)
    for gpu_, slots in by_gpu.items():
        yield UnpricedTime(gpu_, day.name, start, end, slots, down_counted=True)


def _unsettled(
    connection: sqlite3.Connection, there: frozenset[str], grain: str, period: str, number: int
) -> _Holding:
    found: _Holding = {}
    for family, sign in (("unpriced", 1), ("settled", -1)):
        if f"{grain}_{family}" in there:
            rows = connection.execute(
                f"SELECT gpu, party, nanoseconds FROM {grain}_{family} WHERE {period} = ?",  # noqa: S608 - constants
                (number,),
            )
            for gpu, party, time in rows:
                found[gpu, party] = found.get((gpu, party), 0) + sign * time
    return found


def _waiting(
    connection: sqlite3.Connection, there: frozenset[str], where: str, values: tuple[Any, ...]
) -> _Holding:
    if "stretch" not in there:
        return {}
    rows = connection.execute(
        "SELECT stretch.gpu, party, sum(nanoseconds) FROM stretch JOIN waiting ON stretch = number"  # noqa: S608 - constants
        f" WHERE {where} GROUP BY stretch.gpu, party",
        values,
    )
    return {(gpu, party): time for gpu, party, time in rows}


def _less(told: _Holding, known: _Holding) -> _Holding:
    rest = {key: time - known.get(key, 0) for key, time in told.items()}
    return {key: time for key, time in rest.items() if time > 0}


def _named(day: int) -> str:
    return f"{day // 10000:04d}-{day // 100 % 100:02d}-{day % 100:02d}"


def _day(number: int, zone: ZoneInfo) -> Day:
    return day_of(first_instant(number // 10000, number // 100 % 100, number % 100, zone), zone)

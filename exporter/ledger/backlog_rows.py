"""GPU time that waits for a price, to rows and back."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from zoneinfo import ZoneInfo

from exporter.cost.postings import Slot, Unpriced, Usage
from exporter.ledger import schema
from exporter.ledger.backlog import RECENT, STRETCHES, Batch, Cursor
from exporter.ledger.rows import Keys, Names, bounded, references, tables
from exporter.ledger.totals import hour_of
from exporter.readings import Gpu
from exporter.tariff.calendar import Day, day_of, first_instant
from exporter.units import NANOSECONDS_PER_HOUR, Instant

DAYS: Final = 10
"""How many days are looked through at a time for what another release left."""

_Holding = dict[tuple[int, int], int]
"""Nanoseconds by GPU and party."""


def write(connection: sqlite3.Connection, keys: Keys, stretches: Mapping[int, Unpriced]) -> None:
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
                    keys.of(slot.party),
                    keys.of(slot.phase),
                    *(bounded(amount, "waiting") for amount in (used.time, used.up, used.energy)),
                )
                for slot, used in stretch.slots.items()
            ],
        )


def last(connection: sqlite3.Connection) -> int:
    """The number of the latest stretch; 0 without any."""
    if "stretch" not in tables(connection):
        return 0
    return int(connection.execute("SELECT coalesce(max(number), 0) FROM stretch").fetchone()[0])


def prune(connection: sqlite3.Connection, days_floor: int) -> None:
    """Let go of days that are past their time."""
    connection.execute(
        "DELETE FROM waiting WHERE stretch IN (SELECT number FROM stretch WHERE day < ?)", (days_floor,)
    )
    connection.execute("DELETE FROM stretch WHERE day < ?", (days_floor,))


def batch(connection: sqlite3.Connection, place: Cursor, zone: ZoneInfo, until: Instant) -> Batch:
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
                return Batch(found, (0, found[-1].number))
            return Batch(found, (1, 0))
        if "daily_unpriced" not in there:
            return Batch((), None)
        days = [
            day
            for (day,) in connection.execute(
                "SELECT DISTINCT day FROM daily_unpriced WHERE day > ? ORDER BY day LIMIT ?", (place[1], DAYS)
            )
        ]
        older = tuple(
            stretch for day in days for stretch in _of_a_day(connection, names, there, day, zone, until)
        )
    return Batch(older, (1, days[-1]) if len(days) == DAYS else None)


def recent(connection: sqlite3.Connection, end: Instant) -> dict[int, Unpriced]:
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
) -> Iterator[Unpriced]:
    for number, day, gpu, start, until, hourly_only, down_counted in numbered:
        slots = {
            Slot(names.party(party), names.label(phase)): Usage(time, up, energy)  # type: ignore[arg-type]
            for party, phase, time, up, energy in connection.execute(
                "SELECT party, phase, nanoseconds, up, millijoules FROM waiting WHERE stretch = ?", (number,)
            )
        }
        kinds = hourly_only != 0, down_counted != 0
        yield Unpriced(names.gpu(gpu), _named(day), start, until, slots, number, *kinds)


def _of_a_day(
    connection: sqlite3.Connection,
    names: Names,
    there: frozenset[str],
    number: int,
    zone: ZoneInfo,
    until: Instant,
) -> Iterator[Unpriced]:
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
) -> Iterator[Unpriced]:
    by_gpu: dict[Gpu, dict[Slot, Usage]] = {}
    for (gpu, party), time in holding.items():
        if time > 0:
            slot = Slot(names.party(party), "unobserved")
            by_gpu.setdefault(names.gpu(gpu), {})[slot] = Usage(time, time, 0)
    for gpu_, slots in by_gpu.items():
        yield Unpriced(gpu_, day.name, start, end, slots, down_counted=True)


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

"""History to rows and back. Only the rows of the latest hour and day are known in memory."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal

from exporter.ledger import adjustments, schema, unpriced_time
from exporter.ledger.contents import meta_of
from exporter.ledger.history import (
    FAMILIES,
    Chronicle,
    GpuOwner,
    History,
    HistorySums,
    MonthRecord,
    Rows,
    day_number,
)
from exporter.ledger.rows import SHAPES, Keys, Names, RowLayout, bounded, references, tables
from exporter.ledger.totals import LARGEST
from exporter.report import MonthKey, ServerOwner

Grain = Literal["hourly", "daily"]

DAYS_KEPT: Final = 13 * 31
"""Days that stay: this month and the twelve before it. Days that were lived, as hours are."""

_OF_OWNER: Final = RowLayout(tuple, lambda n, k: GpuOwner(n.gpu(k[0]), n.label(k[1]), n.label(k[2])))

_SHAPES: Final[Mapping[str, RowLayout]] = {
    **{family: SHAPES[family] for family in ("cost", "held", "gpu_cost", "tokens", "unpriced")},
    "server_cost": RowLayout(
        lambda key: (key[0].product, key[0].team, key[0].namespace, key[0].server, key[1], key[2]),
        lambda n, k: (ServerOwner(*map(n.label, k[:4])), n.label(k[4]), n.label(k[5])),
    ),
    "gpu_held": SHAPES["energy"],
    "gpu_down": SHAPES["energy"],
    "gpu_unowed": SHAPES["energy"],
    "owner_held": _OF_OWNER,
    "owner_down": _OF_OWNER,
    "settled": SHAPES["unpriced"],
    "covered": RowLayout(tuple, lambda _names, _key: ()),
}

Key = tuple[int, ...]
Place = tuple[str, int]
"""A table, and an hour or a day."""


class Chronicler:
    """Writes history as the totals are written: whole rows, so that one written twice counts once.

    What a row held at the last commit is read from the file once, and kept while its hour or day goes on:
    in that commit's chronicle, never here, so that it is believed with that commit or not at all.
    """

    def __init__(self) -> None:
        self._pruning = True
        self._made = False

    def write(
        self,
        connection: sqlite3.Connection,
        keys: Keys,
        before: Chronicle,
        history: History,
        hours_floor: int,
    ) -> Chronicle:
        """Write what waits, inside the running transaction, and let go of what is past its time.

        Returns what the file's history holds once the transaction is committed.
        At most one hour and one day go from each table at a time.

        Raises:
            OverflowError: a sum passes what the file holds.
        """
        if not self._made:
            for statement in schema.HISTORY_DDL:
                connection.execute(statement)
            schema.add_columns(connection, "stretch")
        written: dict[Place, Rows] = {}
        for (day, hour), sums in sorted(history.cells.items()):
            for family in FAMILIES:
                flat = _SHAPES[family].flat
                added = [
                    (tuple(map(keys.of, flat(key))), value)
                    for key, value in getattr(sums, family).items()
                    if value
                ]
                if added and family in schema.HOURLY and hour >= hours_floor:
                    _add(connection, before, written, (f"hourly_{family}", hour), added)
                if added:
                    _add(connection, before, written, (f"daily_{family}", day), added)
        for (table, period), rows in written.items():
            connection.executemany(
                schema.upsert(table), [(period, *key, value) for key, value in rows.items()]
            )
        if self._pruning or any(before.latest.get(table) != period for table, period in written):
            self._pruning = _prune(connection, hours_floor)
        return _after(before, written)

    def failed(self) -> None:
        """Believe nothing of the write that failed: it may have reached the disk, or not."""
        self._made, self._pruning = False, True

    def committed(self) -> None:
        """The tables are there."""
        self._made = True


def _add(
    connection: sqlite3.Connection,
    before: Chronicle,
    written: dict[Place, Rows],
    place: Place,
    added: Iterable[tuple[Key, int]],
) -> None:
    table, period = place
    known = before.known.get(place)
    if known is None:
        found = connection.execute(schema.select_period(table), (period,))
        known = before.known[place] = {tuple(key): value for *key, value in found}
    rows = written.setdefault(place, {})
    counts = table.endswith("_tokens")
    for key, value in added:
        total = rows.get(key, known.get(key, 0)) + value
        rows[key] = min(total, LARGEST) if counts else bounded(total, table)


def _after(before: Chronicle, written: Mapping[Place, Rows]) -> Chronicle:
    """Of the past, nothing is kept."""
    latest = {**before.latest, **dict(written.keys())}
    whole = {place: {**before.known[place], **rows} for place, rows in written.items()}
    known = {
        place: whole.get(place, rows)
        for place, rows in before.known.items()
        if latest.get(place[0]) == place[1]
    }
    return Chronicle(known, latest)


def _prune(connection: sqlite3.Connection, hours_floor: int) -> bool:
    """Delete the oldest hour and day of each table that are past their time; whether there were any."""
    newest = connection.execute(
        "SELECT day FROM daily_covered ORDER BY day DESC LIMIT 1 OFFSET ?", (DAYS_KEPT - 1,)
    ).fetchone()
    floors = {"hour": hours_floor, "day": newest[0] if newest else 0}
    gone = 0
    for table, (period, *_columns) in schema.HISTORY.items():
        oldest = f"SELECT min({period}) FROM {table}"  # noqa: S608 - constants
        outside = f"DELETE FROM {table} WHERE {period} = ({oldest}) AND {period} < ?"  # noqa: S608 - constants
        gone += connection.execute(outside, (floors[period],)).rowcount
    unpriced_time.prune_unpriced(connection, floors["day"])
    return gone > 0


def read(
    connection: sqlite3.Connection, grain: Grain, first: int, last: int
) -> dict[int, HistorySums] | None:
    """The sums of each hour or day from the first to the last, inside the running transaction.

    `None` where the file keeps no history. Hours are counted since 1970 and do not tell `covered`; days are
    numbers like 20261130.

    Raises:
        DamagedError: a row refers to what is not there.
    """
    if not _kept(connection):
        return None
    found: dict[int, HistorySums] = {}
    with references():
        names = Names(connection)
        for family, period, key, value in _rows(connection, grain, first, last):
            sums: dict[Any, int] = getattr(found.setdefault(period, HistorySums()), family)
            sums[_SHAPES[family].built(names, key)] = value
    return found


def _kept(connection: sqlite3.Connection) -> bool:
    return "daily_covered" in tables(connection)


def _rows(
    connection: sqlite3.Connection, grain: Grain, first: int, last: int
) -> Iterator[tuple[str, int, Key, int]]:
    there = tables(connection)
    for family in FAMILIES:
        table = f"{grain}_{family}"
        if table in schema.HISTORY and table in there:
            for period, *key, value in connection.execute(schema.select_periods(table), (first, last)):
                yield family, period, tuple(key), value


def read_month(connection: sqlite3.Connection, month: str) -> MonthRecord:
    """One month like 2026-11, inside the running transaction.

    Raises:
        DamagedError: a row refers to what is not there.
    """
    with references():
        names = Names(connection)
        cells: dict[MonthKey, int] = {
            SHAPES["months"].built(names, tuple(key)): amount
            for *key, amount in connection.execute(schema.select("months"))
        }
        known = {cell.month for cell in cells}
        if _kept(connection):
            metered = connection.execute("SELECT DISTINCT day / 100 FROM daily_covered").fetchall()
            known.update(f"{number // 100:04d}-{number % 100:02d}" for (number,) in metered)
        first, last = day_number(f"{month}-01"), day_number(f"{month}-31")
        days = read(connection, "daily", first, last)
        entered = adjustments.read(connection, names, first, last)
        meta = meta_of(connection)
    sums = None
    if days is not None:
        sums = HistorySums()
        for added in days.values():
            sums.add(added)
    committed = meta.get("committed")
    return MonthRecord(
        ledger=str(meta.get("ledger")),
        last_commit=committed if isinstance(committed, int) else None,
        month=month,
        months=tuple(sorted(known.union(each.month for each in entered))),
        cells={cell: amount for cell, amount in cells.items() if cell.month == month},
        sums=sums,
        adjustments=entered,
        days=days or {},
    )

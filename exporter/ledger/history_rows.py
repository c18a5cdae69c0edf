"""History as rows. Only the rows of the latest hour and day stay in memory."""

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final, Literal

from exporter.ledger import adjustments, schema, unpriced_time
from exporter.ledger.adjustments import Adjustment
from exporter.ledger.contents import meta_of
from exporter.ledger.history import (
    FAMILIES,
    GpuOwner,
    History,
    HistoryCache,
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
"""Days that stay: this month and the twelve before it. Only metered days count, as for hours."""

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
PeriodKey = tuple[str, int]
"""A table, and an hour or a day."""


class HistoryWriter:
    """Writes history as the totals are written: whole rows, so that one written twice counts once.

    Rows of the last commit are read once, and stay in that commit's cache while their hour or day lasts.
    They are never kept here: a failed commit takes its cache with it.
    """

    def __init__(self) -> None:
        self._pruning = True
        self._made = False

    def write(
        self,
        connection: sqlite3.Connection,
        keys: Keys,
        before: HistoryCache,
        history: History,
        hours_floor: int,
    ) -> HistoryCache:
        """Write the history of a tick inside the running transaction, and delete what expired.

        Returns the cache for the file once the transaction is committed.
        At most one hour and one day of each table are deleted at a time.

        Raises:
            OverflowError: a sum passes what the file holds.
        """
        if not self._made:
            for statement in schema.HISTORY_DDL:
                connection.execute(statement)
            schema.add_columns(connection, "stretch")
        written: dict[PeriodKey, Rows] = {}
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
        """Assume nothing after a failed write: it may have reached the disk, or not."""
        self._made, self._pruning = False, True

    def committed(self) -> None:
        """Note that the tables exist."""
        self._made = True


def _add(
    connection: sqlite3.Connection,
    before: HistoryCache,
    written: dict[PeriodKey, Rows],
    period_key: PeriodKey,
    added: Iterable[tuple[Key, int]],
) -> None:
    table, period = period_key
    earlier = before.rows.get(period_key)
    if earlier is None:
        selected = connection.execute(schema.select_period(table), (period,))
        earlier = before.rows[period_key] = {tuple(key): value for *key, value in selected}
    rows = written.setdefault(period_key, {})
    counts = table.endswith("_tokens")
    for key, value in added:
        total = rows.get(key, earlier.get(key, 0)) + value
        rows[key] = min(total, LARGEST) if counts else bounded(total, table)


def _after(before: HistoryCache, written: Mapping[PeriodKey, Rows]) -> HistoryCache:
    """Rows of the latest hour or day of each table."""
    latest = {**before.latest, **dict(written.keys())}
    whole = {key: {**before.rows[key], **rows} for key, rows in written.items()}
    rows = {
        key: whole.get(key, earlier) for key, earlier in before.rows.items() if latest.get(key[0]) == key[1]
    }
    return HistoryCache(rows, latest)


def _prune(connection: sqlite3.Connection, hours_floor: int) -> bool:
    """Delete the oldest expired hour and day of each table. Returns whether there were any."""
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
    connection: sqlite3.Connection,
    grain: Grain,
    first: int,
    last: int,
    families: Collection[str] = FAMILIES,
) -> dict[int, HistorySums] | None:
    """Sums of each hour or day from the first to the last, inside the running transaction.

    `None` where the file has no history. Hours are counted since 1970 and have no `covered`; days are numbers
    like 20261130.

    Raises:
        DamagedError: a row refers to what is not there.
    """
    if not _has_history(connection):
        return None
    history: dict[int, HistorySums] = {}
    with references():
        names = Names(connection)
        for family in families:
            built: dict[Key, Any] = {}  # each day has the same owners and GPUs
            sums: dict[int, dict[Any, int]] = {}
            for period, key, value in _rows(connection, f"{grain}_{family}", first, last):
                if key not in built:
                    built[key] = _SHAPES[family].built(names, key)
                if period not in sums:
                    sums[period] = getattr(history.setdefault(period, HistorySums()), family)
                sums[period][built[key]] = value
    return history


def _has_history(connection: sqlite3.Connection) -> bool:
    return "daily_covered" in tables(connection)


def _rows(
    connection: sqlite3.Connection, table: str, first: int, last: int
) -> Iterator[tuple[int, Key, int]]:
    if table in schema.HISTORY and table in tables(connection):
        for row in connection.execute(schema.select_periods(table), (first, last)):
            yield row[0], row[1:-1], row[-1]


def months(
    connection: sqlite3.Connection, cells: Iterable[MonthKey], adjusted: Iterable[Adjustment]
) -> set[str]:
    """Months of these cells, of the history, and of these adjustments."""
    available = {cell.month for cell in cells} | {each.month for each in adjusted}
    if _has_history(connection):
        metered = connection.execute("SELECT DISTINCT day / 100 FROM daily_covered").fetchall()
        available.update(f"{number // 100:04d}-{number % 100:02d}" for (number,) in metered)
    return available


def key_of(family: str, names: Names, key: Key) -> Any:
    """The key of a family of history from a row's integer keys.

    Raises:
        KeyError: the row refers to what is not there.
    """
    return _SHAPES[family].built(names, key)


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
        first, last = day_number(f"{month}-01"), day_number(f"{month}-31")
        days = read(connection, "daily", first, last)
        adjusted = adjustments.read(connection, names, first, last)
        available = months(connection, cells, adjusted)
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
        months=tuple(sorted(available)),
        cells={cell: amount for cell, amount in cells.items() if cell.month == month},
        sums=sums,
        adjustments=adjusted,
        days=days or {},
    )

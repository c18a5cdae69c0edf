"""History: sums by hour and local day, in memory until they are written, then rows in the file."""

import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

from exporter.cost.money import add, add_all
from exporter.cost.postings import CostOwner, OwnerPhase
from exporter.ledger import adjustments, peak_memory, schema, unpriced_time
from exporter.ledger.adjustments import Adjustment
from exporter.ledger.peak_memory import PeakMemory
from exporter.ledger.schema import (
    LARGEST,
    Keys,
    Names,
    RowLayout,
    check_totals,
    day_number,
    meta_of,
    month_days,
    references,
)
from exporter.ledger.totals import LAYOUTS, SegmentSums, ServerCost, TickSums, hour_of
from exporter.readings import UNCOUNTED, Gpu, ServerKey, TokenKind
from exporter.report import MonthKey, ServerOwner
from exporter.tariff.rate import PriceBasis
from exporter.units import NANOSECONDS_PER_MINUTE, Instant, Nanoseconds, Picodollars

ESTIMATE: Final[PriceBasis] = "estimate"

CELLS_WAITING: Final = 200
"""Hours that may wait while writes fail: a week, and a day."""


class GpuOwner(NamedTuple):
    """A GPU and the product and team that held it."""

    gpu: Gpu
    product: str
    team: str


@dataclass(slots=True)
class HistorySums:
    """Sums of one time range.

    Money is by the time that its tick covers, tokens by that since the read before, or by a short tick's end.
    Each of `cost`, `server_cost` and `gpu_cost` sums to the same money.
    `held` is GPU time that is owed: dollars over it are the price. `gpu_held` is all GPU time that passed,
    and `gpu_unowed` the part of it that is not owed. `held` sums to their difference.
    `gpu_down` is the part of `gpu_held` without hourly rent, whether or not rent is by the hour.
    `owner_held` is the part of `gpu_held` that has a price, by its holder, and `owner_down` the part of that
    in `gpu_down`.
    `unpriced` is the part of `gpu_held` that had no price, by its holder. `settled` is the part of that which
    was charged since: the rest waits.
    `covered` is the wall time of ticks, under the one key `()`.
    """

    cost: dict[OwnerPhase, Picodollars] = field(default_factory=dict)
    held: dict[OwnerPhase, Nanoseconds] = field(default_factory=dict)
    server_cost: dict[ServerCost, Picodollars] = field(default_factory=dict)
    gpu_cost: dict[tuple[Gpu, str], Picodollars] = field(default_factory=dict)
    gpu_held: dict[Gpu, Nanoseconds] = field(default_factory=dict)
    tokens: dict[tuple[CostOwner, TokenKind], int] = field(default_factory=dict)
    unpriced: dict[tuple[Gpu, CostOwner], Nanoseconds] = field(default_factory=dict)
    covered: dict[tuple[()], Nanoseconds] = field(default_factory=dict)
    settled: dict[tuple[Gpu, CostOwner], Nanoseconds] = field(default_factory=dict)
    gpu_down: dict[Gpu, Nanoseconds] = field(default_factory=dict)
    gpu_unowed: dict[Gpu, Nanoseconds] = field(default_factory=dict)
    owner_held: dict[GpuOwner, Nanoseconds] = field(default_factory=dict)
    owner_down: dict[GpuOwner, Nanoseconds] = field(default_factory=dict)

    def copy(self) -> "HistorySums":
        """A copy to add to."""
        return HistorySums(**{family: dict(getattr(self, family)) for family in FAMILIES})

    def add(self, later: "HistorySums") -> None:
        """Add the sums of another time range."""
        for family in FAMILIES:
            add_all(getattr(self, family), getattr(later, family))

    def waiting(self) -> dict[tuple[Gpu, CostOwner], Nanoseconds]:
        """GPU time that still has no price, by its holder."""
        rest = {key: time - self.settled.get(key, 0) for key, time in self.unpriced.items()}
        return {key: time for key, time in rest.items() if time > 0}

    def uncounted(self) -> Nanoseconds:
        """Time of hosts, not of GPUs, that waits since the number or the price of their GPUs is not known."""
        return sum(time for (gpu, _), time in self.waiting().items() if gpu == UNCOUNTED)

    def before_service(self) -> Nanoseconds:
        """Time of owned GPUs before they were in service: nothing is owed for it though the host was up."""
        return sum(max(0, time - self.gpu_down.get(gpu, 0)) for gpu, time in self.gpu_unowed.items())

    def host_down(self) -> Nanoseconds:
        """GPU time for which nothing is owed because the host was down."""
        return sum(min(time, self.gpu_down.get(gpu, 0)) for gpu, time in self.gpu_unowed.items())

    def unobserved(self) -> Nanoseconds:
        """GPU time that no daemon watched, whether it is charged or the host was down."""
        charged = (time for owner_phase, time in self.held.items() if owner_phase.phase == "unobserved")
        return sum(charged) + self.host_down()

    def gpu_owed(self) -> dict[Gpu, Nanoseconds]:
        """GPU time that is owed, by GPU."""
        return {gpu: time - self.gpu_unowed.get(gpu, 0) for gpu, time in self.gpu_held.items()}

    def by_component(self, basis: PriceBasis | None = None) -> dict[tuple[ServerKey, str], Picodollars]:
        """Money by server and component, over all owners; at prices of one basis, or of all."""
        sums: dict[tuple[ServerKey, str], Picodollars] = {}
        for (owner, component, basis_of_money), amount in self.server_cost.items():
            if basis is None or basis_of_money == basis:
                add(sums, (ServerKey(owner.namespace, owner.server), component), amount)
        return sums

    def add_segment(self, sums: SegmentSums) -> None:
        """Add the money and the GPU time of one segment."""
        add(self.covered, (), sums.segment.end - sums.segment.start)
        self._add_money(sums)
        add_all(self.held, sums.held)
        add_all(self.gpu_held, sums.gpu_held)
        add_all(self.gpu_unowed, sums.gpu_unowed)
        add_all(self.gpu_down, sums.gpu_down)
        add_all(self.unpriced, sums.unpriced)

    def add_late(self, sums: SegmentSums) -> None:
        """Add the money of time that was added when it passed, without a price."""
        self._add_money(sums)
        add_all(self.settled, sums.owner_held)
        for time in sums.segment.gpu_times:
            if time.chargeable:  # beyond the GPU time that was counted when it passed
                add(self.held, time.owner_phase, time.chargeable)
                add(self.gpu_unowed, time.gpu, -time.chargeable)

    def _add_money(self, sums: SegmentSums) -> None:
        """Add the money of a segment, and the GPU time that it pays for."""
        add_all(self.cost, sums.cost)
        add_all(self.server_cost, sums.server_cost)
        add_all(self.gpu_cost, sums.gpu_cost)
        for family, by_owner in ((self.owner_held, sums.owner_held), (self.owner_down, sums.owner_down)):
            for (gpu, owner), duration in by_owner.items():
                add(family, GpuOwner(gpu, owner.product, owner.team), duration)


FAMILIES: Final = tuple(item.name for item in fields(HistorySums))


@dataclass(slots=True)
class History:
    """Sums since the last commit, by (day, hour): an hour in which a local day ends is two cells.

    A day is a number like 20261130, an hour is counted since 1970.
    While writes fail for longer than `CELLS_WAITING` hours, the oldest are added to a later hour of their
    day, so that memory stays bounded. Days stay exact.
    """

    cells: dict[tuple[int, int], HistorySums] = field(default_factory=dict)
    memory: PeakMemory = field(default_factory=dict)

    def copy(self) -> "History":
        """A copy to add to."""
        return History(
            {cell: sums.copy() for cell, sums in self.cells.items()},
            {hour: dict(peaks) for hour, peaks in self.memory.items()},
        )

    def add(self, tick: TickSums) -> None:
        """Add one tick. Tokens of a tick without a day are in no history.

        Those of a tick within a minute are of its end: a server that begins to serve at the hour rested in
        the one before.
        """
        unwritten = bool(self.cells)  # a gap alone may be of more hours, and is written at once
        for sums in tick.segments:
            self._cell(sums.segment.day, hour_of(sums.segment.start)).add_segment(sums)
        for sums in tick.late:
            self._cell(sums.segment.day, hour_of(sums.segment.start)).add_late(sums)
        postings = tick.postings
        segments = postings.segments
        short = bool(segments) and segments[-1].end - segments[0].start < NANOSECONDS_PER_MINUTE
        at_end: dict[tuple[CostOwner, TokenKind], int] = {}
        for moved, times in tick.tokens:
            if short and moved.since is None:
                add(at_end, (moved.owner, moved.kind), moved.count)
                continue
            for at, day, count in times:
                if day:
                    add(self._cell(day, hour_of(at)).tokens, (moved.owner, moved.kind), count)
        if at_end and postings.day:
            add_all(self._cell(postings.day, hour_of(postings.end - 1)).tokens, at_end)
        if postings.memory:
            peak_memory.add_peaks(self.memory, postings.memory, postings.end, CELLS_WAITING)
        if unwritten and len(self.cells) > CELLS_WAITING:
            self._fold()

    def _cell(self, day: str, hour: int) -> HistorySums:
        key = day_number(day), hour
        cell = self.cells.get(key)
        if cell is None:
            cell = self.cells[key] = HistorySums()
        return cell

    def _fold(self) -> None:
        for (day, hour), later in list(pairwise(sorted(self.cells))):
            if day == later[0]:
                self.cells[later].add(self.cells.pop((day, hour)))
                if len(self.cells) <= CELLS_WAITING:
                    return


Rows = dict[tuple[int, ...], int]
"""Rows of one hour or day of one table, by integer keys."""


@dataclass(frozen=True, slots=True)
class HistoryCache:
    """Rows that the file's history had at one commit, by table and hour or day.

    Rows of the latest hour or day of each table stay; others are read when they are written to.
    A later write makes another cache: this one stays right if that write fails.
    """

    rows: dict[tuple[str, int], Rows] = field(default_factory=dict)
    latest: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MonthRecord:
    """One month in the file, as of one commit.

    `month` may also be the name of another period, like 2026-Q3, and the record the sum of several ledgers,
    whose `ledger` is empty. `months` are all months in the ledger, with or without this one.
    `cells` are posted amounts; `sums` is their history, which is less where days expired. `None`: not read.
    `adjustments` are those dated in the month, in the order of their entry. Posted ones are in `cells` and
    never in `sums`; the others wait for the daemon and are in neither.
    `days` are the parts of `sums` by local day, a number like 20261130.
    `undivided` is money of ledgers that have no `sums`, in the sum of several.
    `undated` is set for a part of a month: money of its months without a known day, which is not in `cells`.
    """

    ledger: str
    last_commit: Instant | None
    month: str
    months: tuple[str, ...]
    cells: Mapping[MonthKey, Picodollars]
    sums: HistorySums | None
    adjustments: tuple[Adjustment, ...] = ()
    days: Mapping[int, HistorySums] = field(default_factory=dict)
    undated: Picodollars = 0
    undivided: Picodollars = 0

    @property
    def adjusted(self) -> Picodollars:
        """Sum of the posted adjustments in `cells`."""
        return sum(each.amount for each in self.adjustments if each.posted is not None)

    @property
    def estimated(self) -> Picodollars:
        """The part of `cells` at estimated prices."""
        return sum(amount for cell, amount in self.cells.items() if cell.price_basis == ESTIMATE)


Grain = Literal["hourly", "daily"]

DAYS_KEPT: Final = 13 * 31
"""Days that stay: this month and the twelve before it. Only metered days count, as for hours."""

_OF_OWNER: Final = RowLayout(tuple, lambda n, k: GpuOwner(n.gpu(k[0]), n.label(k[1]), n.label(k[2])))

_LAYOUTS: Final[Mapping[str, RowLayout]] = {
    **{family: LAYOUTS[family] for family in ("cost", "held", "gpu_cost", "tokens", "unpriced")},
    "server_cost": RowLayout(
        lambda key: (key[0].product, key[0].team, key[0].namespace, key[0].server, key[1], key[2]),
        lambda n, k: (ServerOwner(*map(n.label, k[:4])), n.label(k[4]), n.label(k[5])),
    ),
    "gpu_held": LAYOUTS["energy"],
    "gpu_down": LAYOUTS["energy"],
    "gpu_unowed": LAYOUTS["energy"],
    "owner_held": _OF_OWNER,
    "owner_down": _OF_OWNER,
    "settled": LAYOUTS["unpriced"],
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
        written: dict[PeriodKey, Rows] = {}
        for (day, hour), sums in sorted(history.cells.items()):
            for family in FAMILIES:
                row = keys.rows(_LAYOUTS[family])
                added = [(row(key), value) for key, value in getattr(sums, family).items() if value]
                if added and family in schema.HOURLY and hour >= hours_floor:
                    _add(connection, before, written, (f"hourly_{family}", hour), added)
                if added:
                    _add(connection, before, written, (f"daily_{family}", day), added)
        for hour, peaks in history.memory.items():
            if hour >= hours_floor:
                of_hour = peak_memory.TABLE, hour
                earlier = _earlier(connection, before, of_hour)
                peak_memory.raise_rows(earlier, written.setdefault(of_hour, {}), peaks, keys)
        for (table, period), rows in written.items():
            schema.write_rows(connection, table, rows, rows.values(), period)
        if self._pruning or any(before.latest.get(table) != period for table, period in written):
            self._pruning = _prune(connection, hours_floor)
        return _after(before, written)

    def failed(self) -> None:
        """Assume nothing after a failed write: it may have reached the disk, or not."""
        self._pruning = True


def _add(
    connection: sqlite3.Connection,
    before: HistoryCache,
    written: dict[PeriodKey, Rows],
    period_key: PeriodKey,
    added: Iterable[tuple[Key, int]],
) -> None:
    table, _period = period_key
    earlier, rows = _earlier(connection, before, period_key), written.get(period_key)
    sums = earlier if rows is None else {**earlier, **rows}  # two hours of one day
    totals = {key: sums.get(key, 0) + value for key, value in added}
    if table.endswith("_tokens"):
        totals = {key: min(total, LARGEST) for key, total in totals.items()}
    check_totals(totals.values(), table)
    written[period_key] = totals if rows is None else {**rows, **totals}


def _earlier(connection: sqlite3.Connection, before: HistoryCache, period_key: PeriodKey) -> Rows:
    """The rows of the last commit."""
    earlier = before.rows.get(period_key)
    if earlier is None:
        table, period = period_key
        selected = connection.execute(schema.select_period(table), (period,))
        earlier = before.rows[period_key] = {tuple(key): value for *key, value in selected}
    return earlier


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


def read_history(
    connection: sqlite3.Connection,
    grain: Grain,
    first: int,
    last: int,
    families: Collection[str] = FAMILIES,
    fold: Mapping[str, Callable[[Any], Any]] = MappingProxyType({}),
) -> dict[int, HistorySums]:
    """Sums of each hour or day from the first to the last, inside the running transaction.

    Hours are counted since 1970 and have no `covered`; days are numbers
    like 20261130. `fold` maps keys of a family to fewer ones, whose rows are added up, so that all of them
    are never in memory.

    Raises:
        DamagedError: a row refers to what is not there.
    """
    history: dict[int, HistorySums] = {}
    with references():
        names = Names(connection)
        for family in families:
            built: dict[Key, Any] = {}  # each day has the same owners and GPUs
            sums: dict[int, dict[Any, int]] = {}
            for period, key, value in _rows(connection, f"{grain}_{family}", first, last):
                if key not in built:
                    whole = _LAYOUTS[family].built(names, key)
                    built[key] = fold[family](whole) if family in fold else whole
                if period not in sums:
                    sums[period] = getattr(history.setdefault(period, HistorySums()), family)
                add(sums[period], built[key], value)
    return history


def _rows(
    connection: sqlite3.Connection, table: str, first: int, last: int
) -> Iterator[tuple[int, Key, int]]:
    if table in schema.HISTORY:
        for row in connection.execute(schema.select_periods(table), (first, last)):
            yield row[0], row[1:-1], row[-1]


def months(
    connection: sqlite3.Connection, cells: Iterable[MonthKey], adjusted: Iterable[Adjustment]
) -> set[str]:
    """Months of these cells, of the history, and of these adjustments."""
    available = {cell.month for cell in cells} | {each.month for each in adjusted}
    metered = connection.execute("SELECT DISTINCT day / 100 FROM daily_covered").fetchall()
    available.update(f"{number // 100:04d}-{number % 100:02d}" for (number,) in metered)
    return available


def key_of(family: str, names: Names, key: Key) -> Any:
    """The key of a family of history from a row's integer keys.

    Raises:
        KeyError: the row refers to what is not there.
    """
    return _LAYOUTS[family].built(names, key)


def read_month(connection: sqlite3.Connection, month: str) -> MonthRecord:
    """One month like 2026-11, inside the running transaction.

    Raises:
        DamagedError: a row refers to what is not there.
    """
    with references():
        names = Names(connection)
        cells: dict[MonthKey, int] = {
            LAYOUTS["months"].built(names, tuple(key)): amount
            for *key, amount in connection.execute(schema.select("months"))
        }
        first, last = month_days(month)
        days = read_history(connection, "daily", first, last)
        adjusted = adjustments.read(connection, names, first, last)
        available = months(connection, cells, adjusted)
        meta = meta_of(connection)
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
        days=days,
    )

"""History: sums by hour and local day, in memory until they are written, then rows in the file."""

import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

from exporter.cost.money import add, add_all
from exporter.cost.postings import CostOwner, OwnerPhase, Postings, Segment, TokenPosting
from exporter.ledger import adjustments, families, schema
from exporter.ledger.adjustments import Adjustment
from exporter.ledger.families import Family, GpuOwner, Peak, ServerCost
from exporter.ledger.schema import Keys, Names, RowKey, day_number, meta_of, month_days, references
from exporter.ledger.token_times import TokenTime, times_of_tokens
from exporter.readings import UNCOUNTED, Gpu, ServerKey, TokenKind
from exporter.report import MonthKey, ServerOwner
from exporter.tariff.rate import PriceBasis
from exporter.units import NANOSECONDS_PER_MINUTE, Instant, Nanoseconds, Picodollars, hour_of

ESTIMATE: Final[PriceBasis] = "estimate"

CELLS_WAITING: Final = 200
"""Hours that may wait while writes fail: a week, and a day."""


DAYS_KEPT: Final = 13 * 31
"""Days that stay: this month and the twelve before it. Only metered days count, as for hours."""

PeakMemory = dict[int, Peak[tuple[Gpu, ServerKey], int]]
"""Bytes by hour since 1970, GPU and server."""


@dataclass(slots=True)
class HistorySums:
    """Sums of one time range. Each field has the sums of the family of its name in `families.DAILY`.

    Money is by the time that its tick covers, tokens by that since the read before, or by a short tick's end.
    Each of `cost`, `server_cost` and `gpu_cost` sums to the same money.
    """

    cost: dict[OwnerPhase, Picodollars] = field(default_factory=dict)
    held: dict[OwnerPhase, Nanoseconds] = field(default_factory=dict)
    """Chargeable GPU time, which dollars are divided by. It sums to `gpu_held` less `gpu_unowed`."""
    server_cost: dict[ServerCost, Picodollars] = field(default_factory=dict)
    gpu_cost: dict[tuple[Gpu, str], Picodollars] = field(default_factory=dict)
    gpu_held: dict[Gpu, Nanoseconds] = field(default_factory=dict)
    """All GPU time that passed, by GPU."""
    tokens: dict[tuple[CostOwner, TokenKind], int] = field(default_factory=dict)
    unpriced: dict[tuple[Gpu, CostOwner], Nanoseconds] = field(default_factory=dict)
    """GPU time of `gpu_held` that had no price when it passed, by its holder."""
    covered: dict[families.NoKey, Nanoseconds] = field(default_factory=dict)
    """Wall time of ticks."""
    settled: dict[tuple[Gpu, CostOwner], Nanoseconds] = field(default_factory=dict)
    """GPU time of `unpriced` that was charged since. The rest is still unpriced."""
    gpu_down: dict[Gpu, Nanoseconds] = field(default_factory=dict)
    """GPU time of `gpu_held` without hourly rent, whether or not rent is by the hour."""
    gpu_unowed: dict[Gpu, Nanoseconds] = field(default_factory=dict)
    """GPU time of `gpu_held` that is not chargeable."""
    owner_held: dict[GpuOwner, Nanoseconds] = field(default_factory=dict)
    """GPU time of `gpu_held` that has a price, by its holder."""
    owner_down: dict[GpuOwner, Nanoseconds] = field(default_factory=dict)
    """GPU time of `owner_held` without hourly rent, by its holder."""

    def copy(self) -> "HistorySums":
        """A copy to add to."""
        return replace(self, **{name: dict(getattr(self, name)) for name in families.DAILY})

    def add(self, posted: "HistorySums") -> None:
        """Add other sums, each by the rule of its family."""
        for name, family in families.DAILY.items():
            sums = getattr(self, name)
            sums.update(family.history_rule.new_values(sums, getattr(posted, name)))

    def still_unpriced(self) -> dict[tuple[Gpu, CostOwner], Nanoseconds]:
        """GPU time that still has no price, by its holder."""
        rest = {key: time - self.settled.get(key, 0) for key, time in self.unpriced.items()}
        return {key: time for key, time in rest.items() if time > 0}

    def uncounted(self) -> Nanoseconds:
        """Unpriced time of hosts, not of GPUs: the number or the price of their GPUs is not known."""
        return sum(time for (gpu, _), time in self.still_unpriced().items() if gpu == UNCOUNTED)

    def before_service(self) -> Nanoseconds:
        """Time of owned GPUs before they were in service: it is not chargeable though the host was up."""
        return sum(max(0, time - self.gpu_down.get(gpu, 0)) for gpu, time in self.gpu_unowed.items())

    def host_down(self) -> Nanoseconds:
        """GPU time that is not chargeable because the host was down."""
        return sum(min(time, self.gpu_down.get(gpu, 0)) for gpu, time in self.gpu_unowed.items())

    def unobserved(self) -> Nanoseconds:
        """GPU time that no daemon watched, whether it is charged or the host was down."""
        charged = (time for owner_phase, time in self.held.items() if owner_phase.phase == "unobserved")
        return sum(charged) + self.host_down()

    def gpu_chargeable(self) -> dict[Gpu, Nanoseconds]:
        """Chargeable GPU time, by GPU."""
        return {gpu: time - self.gpu_unowed.get(gpu, 0) for gpu, time in self.gpu_held.items()}

    def by_component(self, basis: PriceBasis | None = None) -> dict[tuple[ServerKey, str], Picodollars]:
        """Money by server and component, over all owners; at prices of one basis, or of all."""
        sums: dict[tuple[ServerKey, str], Picodollars] = {}
        for (owner, component, basis_of_money), amount in self.server_cost.items():
            if basis is None or basis_of_money == basis:
                add(sums, (ServerKey(owner.namespace, owner.server), component), amount)
        return sums

    @classmethod
    def of(cls, segment: Segment) -> "HistorySums":
        """Sums of a segment, each key of money in the order in which it first came."""
        sums = cls()
        add(sums.covered, families.NO_KEY, segment.end - segment.start)
        sums._add_money(segment)
        for time in segment.gpu_times:
            add(sums.held, time.owner_phase, time.chargeable)
            add(sums.gpu_held, time.gpu, time.duration)
            if time.chargeable != time.duration:
                add(sums.gpu_unowed, time.gpu, time.duration - time.chargeable)
            if time.down:
                add(sums.gpu_down, time.gpu, time.down)
            if time.unpriced:
                add(sums.unpriced, (time.gpu, time.owner_phase.owner), time.duration)
        return sums

    @classmethod
    def of_late(cls, segment: Segment) -> "HistorySums":
        """Sums of late charges, whose time was added when it passed, without a price."""
        sums = cls()
        sums._add_money(segment)
        for time in segment.gpu_times:
            if not time.unpriced:
                add(sums.settled, (time.gpu, time.owner_phase.owner), time.duration)
            if time.chargeable:  # beyond the GPU time that was counted when it passed
                add(sums.held, time.owner_phase, time.chargeable)
                add(sums.gpu_unowed, time.gpu, -time.chargeable)
        return sums

    def _add_money(self, segment: Segment) -> None:
        """Add the money of a segment, and the GPU time that has a price."""
        for money in segment.money:
            owner = money.owner_phase.owner
            server_owner = ServerOwner(owner.product, owner.team, owner.namespace, owner.server)
            add(self.cost, money.owner_phase, money.amount)
            add(
                self.server_cost,
                ServerCost(server_owner, money.component, money.price_basis),
                money.amount,
            )
            add(self.gpu_cost, (money.gpu, money.component), money.amount)
        for time in segment.gpu_times:
            if not time.unpriced:
                owner = time.owner_phase.owner
                holder = GpuOwner(time.gpu, owner.product, owner.team)
                add(self.owner_held, holder, time.duration)
                if time.down:
                    add(self.owner_down, holder, time.down)


class SegmentSums(NamedTuple):
    """A segment of a tick and its sums."""

    segment: Segment
    sums: HistorySums


class TickSums(NamedTuple):
    """Postings of one tick, and the sums of their segments."""

    postings: Postings
    segments: tuple[SegmentSums, ...]
    """Sums of the tick's own segments."""
    late: tuple[SegmentSums, ...]
    """Sums of late charges."""
    tokens: tuple[tuple[TokenPosting, tuple[TokenTime, ...]], ...]
    """Tokens of the tick, with the times that they are of."""

    @classmethod
    def of(cls, postings: Postings) -> "TickSums":
        """Sum up the segments of a tick."""
        late = postings.late.segments
        return cls(
            postings=postings,
            segments=tuple(SegmentSums(part, HistorySums.of(part)) for part in postings.segments),
            late=tuple(SegmentSums(part, HistorySums.of_late(part)) for part in late),
            tokens=tuple(times_of_tokens(postings)),
        )

    def owners_posted_to(self) -> Iterator[CostOwner]:
        """The owners to whom anything is posted: money, GPU time as it passes, tokens or requests.

        An owner comes once for each posting. Late charges are money alone: their time has passed.
        """
        for segment, sums in self.segments:
            yield from (owner_phase.owner for owner_phase in sums.cost)
            yield from (time.owner_phase.owner for time in segment.gpu_times)
        for _segment, sums in self.late:
            yield from (owner_phase.owner for owner_phase in sums.cost)
        yield from (posting.owner for posting, _times in self.tokens)
        counted = (*self.postings.requests, *self.postings.preemptions)
        yield from (posting.owner for posting in counted if posting.count)


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
            cells={cell: sums.copy() for cell, sums in self.cells.items()},
            memory={hour: peaks.copy() for hour, peaks in self.memory.items()},
        )

    def add(self, tick: TickSums) -> None:
        """Add one tick. Tokens of a tick without a day are in no history.

        Those of a tick within a minute are of its end: a server that begins to serve at the hour rested in
        the one before.
        """
        unwritten = bool(self.cells)  # a gap alone may be of more hours, and is written at once
        for segment, sums in (*tick.segments, *tick.late):
            self._cell(segment.day, hour_of(segment.start)).add(sums)
        postings = tick.postings
        segments = postings.segments
        short = bool(segments) and segments[-1].end - segments[0].start < NANOSECONDS_PER_MINUTE
        at_end: dict[tuple[CostOwner, TokenKind], int] = {}
        for tokens, times in tick.tokens:
            key = tokens.owner, tokens.kind
            if short and tokens.since is None:
                add(at_end, key, tokens.count)
                continue
            for time in times:
                if time.day:
                    add(self._cell(time.day, hour_of(time.at)).tokens, key, time.tokens)
        if at_end and postings.day:
            add_all(self._cell(postings.day, hour_of(postings.end - 1)).tokens, at_end)
        if postings.memory:
            peaks = self.memory.setdefault(hour_of(postings.end - 1), Peak())
            for gpu, server, memory_bytes in postings.memory:
                peaks.post((gpu, server), memory_bytes)
        while len(self.memory) > CELLS_WAITING:  # writes failed for long: the oldest peaks are forgotten
            del self.memory[min(self.memory)]
        if not unwritten:
            return
        for cell, later_cell in list(pairwise(sorted(self.cells))):
            if len(self.cells) <= CELLS_WAITING:
                return
            day, _hour = cell
            if day == later_cell[0]:
                self.cells[later_cell].add(self.cells.pop(cell))

    def _cell(self, day: str, hour: int) -> HistorySums:
        return self.cells.setdefault((day_number(day), hour), HistorySums())


HistoryCache = dict[tuple[Family, int], dict[RowKey, int]]
"""Rows that the file had at one commit, by family and hour or day.

Rows of the latest hour or day of each table stay; others are read when they are written to, and only once:
a write that fails may have reached the disk. A later write makes another cache.
"""


@dataclass(frozen=True, slots=True)
class MonthRecord:
    """One month in the file, as of one commit."""

    ledger: str
    """Id of the ledger, empty where the record is the sum of several."""
    last_commit: Instant | None
    month: str
    """Like 2026-11, or the name of another period, like 2026-Q3."""
    months: tuple[str, ...]
    """All months in the ledger, with or without this one."""
    cells: Mapping[MonthKey, Picodollars]
    """Posted amounts, with posted adjustments."""
    sums: HistorySums | None
    """History of the month, less than `cells` where days expired. `None`: not read."""
    adjustments: tuple[Adjustment, ...] = ()
    """Adjustments dated in the month, in the order of their entry. None of them is in `sums`."""
    days: Mapping[int, HistorySums] = field(default_factory=dict)
    """The parts of `sums` by local day, a number like 20261130."""
    undated: Picodollars = 0
    """In a part of a month, money of its months without a known day, which is not in `cells`."""
    undivided: Picodollars = 0
    """In a sum of several ledgers, money of those that have no `sums`."""

    @property
    def adjusted(self) -> Picodollars:
        """Sum of the posted adjustments in `cells`."""
        return sum(item.amount for item in self.adjustments if item.posted is not None)

    @property
    def estimated(self) -> Picodollars:
        """The part of `cells` at estimated prices."""
        return sum(amount for cell, amount in self.cells.items() if cell.price_basis == ESTIMATE)


Grain = Literal["hourly", "daily"]


def write_history(
    connection: sqlite3.Connection, keys: Keys, before: HistoryCache, history: History, hours_floor: int
) -> HistoryCache:
    """Write the history of a tick inside the running transaction, in hours from the floor on.

    Rows are written whole, as totals are, so that one written twice counts once. Those before are read once.
    Returns the cache for the file once the transaction is committed.

    Raises:
        OverflowError: a sum passes what the file holds.
    """
    posted: dict[tuple[Family, int], dict[RowKey, int]] = {}
    for (day, hour), sums in sorted(history.cells.items()):
        for name in FAMILIES:
            daily = families.DAILY[name]
            values = {keys.row(daily, key): value for key, value in getattr(sums, name).items() if value}
            if not values:
                continue
            add_all(posted.setdefault((daily, day), {}), values)
            if name in families.HOURLY and hour >= hours_floor:
                add_all(posted.setdefault((families.HOURLY[name], hour), {}), values)
    for hour, peaks in history.memory.items():
        if hour >= hours_floor:
            rows = {keys.row(families.MEMORY, key): peak for key, peak in peaks.items()}
            posted[families.MEMORY, hour] = rows
    latest = {family: (period, rows) for (family, period), rows in before.items()}
    for (family, period), values in posted.items():
        if (family, period) not in before:
            before[family, period] = schema.rows_of_period(connection, family, period)
        earlier = before[family, period]
        changed = family.history_rule.new_values(earlier, values)
        schema.write_rows(connection, family, period, changed)
        latest[family] = period, {**earlier, **changed}
    return {(family, period): rows for family, (period, rows) in latest.items()}


def days_floor(connection: sqlite3.Connection) -> int:
    """The first day that stays, inside the running transaction: 0 for all."""
    newest = connection.execute(
        "SELECT day FROM daily_covered ORDER BY day DESC LIMIT 1 OFFSET ?", (DAYS_KEPT - 1,)
    ).fetchone()
    return int(newest[0]) if newest else 0


def read_history(
    connection: sqlite3.Connection,
    grain: Grain,
    first: int,
    last: int,
    names: Collection[str] = FAMILIES,
    fold: Mapping[str, Callable[[Any], Any]] = MappingProxyType({}),
) -> dict[int, HistorySums]:
    """Sums of each hour or day from the first to the last, inside the running transaction.

    Hours are counted since 1970 and have no `covered`; days are numbers like 20261130.
    `fold` maps keys of a family to fewer ones, whose rows are added up.

    Raises:
        DamagedError: a row refers to what is not there.
    """
    tables = families.HOURLY if grain == "hourly" else families.DAILY
    history: dict[int, HistorySums] = {}
    with references():
        labels = Names(connection)
        for name in names:
            if name not in tables:
                continue
            rows = schema.read_rows(connection, labels, tables[name], first, last, fold.get(name))
            for period, key, value in rows:
                if period not in history:
                    history[period] = HistorySums()
                add(getattr(history[period], name), key, value)
    return history


def read_peaks(connection: sqlite3.Connection, first: int, last: int) -> PeakMemory:
    """Peak memory of the hours from the first to the last, inside the running transaction.

    Raises:
        DamagedError: a row refers to what is not there.
    """
    peaks: PeakMemory = {}
    with references():
        rows = schema.read_rows(connection, Names(connection), families.MEMORY, first, last)
        for hour, key, memory_bytes in rows:
            peaks.setdefault(hour, Peak())[key] = memory_bytes
    return peaks


def read_months(connection: sqlite3.Connection, names: Names) -> dict[MonthKey, Picodollars]:
    """Posted amounts of all months.

    Raises:
        KeyError: a row refers to what is not there.
    """
    rows = schema.read_rows(connection, names, families.COUNTERS["months"])
    return {cell: amount for _, cell, amount in rows}


def months(
    connection: sqlite3.Connection, cells: Iterable[MonthKey], adjusted: Iterable[Adjustment]
) -> set[str]:
    """Months of these cells, of the history, and of these adjustments."""
    available = {cell.month for cell in cells} | {adjustment.month for adjustment in adjusted}
    metered = connection.execute("SELECT DISTINCT day / 100 FROM daily_covered").fetchall()
    available.update(f"{number // 100:04d}-{number % 100:02d}" for (number,) in metered)
    return available


def read_month(connection: sqlite3.Connection, month: str) -> MonthRecord:
    """One month like 2026-11, inside the running transaction.

    Raises:
        DamagedError: a row refers to what is not there.
    """
    with references():
        names = Names(connection)
        cells = read_months(connection, names)
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

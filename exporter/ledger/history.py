"""Sums by hour and local day, in memory until they are written."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import pairwise
from typing import Any, Final, NamedTuple

from exporter.cost.postings import CostOwner, OwnerPhase
from exporter.ledger.accumulator import SegmentSums, ServerCost, TickSums, add, add_all
from exporter.ledger.adjustments import Adjustment
from exporter.ledger.totals import Totals, hour_of
from exporter.readings import Gpu, Kind, ServerKey
from exporter.report import Hour, MonthKey, RecentHistory
from exporter.tariff.rate import PriceBasis
from exporter.units import NANOSECONDS_PER_HOUR, Instant, Nanoseconds, Picodollars

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
    """Sums of one time range: money by the time that it covers, tokens at the end of their tick.

    Each of `cost`, `server_cost` and `gpu_cost` sums to the same money.
    `held` is GPU time that is owed: dollars over it are the price. `gpu_held` is all GPU time that passed,
    and `gpu_unowed` the part of it that is not owed. `held` sums to their difference.
    `gpu_down` is the part of `gpu_held` without hourly rent, whether or not rent is by the hour.
    `owner_held` is the part of `gpu_held` that has a price, by its holder, and `owner_down` the part of that
    in `gpu_down`. Files of earlier releases lack both.
    `unpriced` is the part of `gpu_held` that had no price, by its holder. `settled` is the part of that which
    was charged since: the rest waits.
    `covered` is the wall time of ticks, under the one key `()`.
    """

    cost: dict[OwnerPhase, Picodollars] = field(default_factory=dict)
    held: dict[OwnerPhase, Nanoseconds] = field(default_factory=dict)
    server_cost: dict[ServerCost, Picodollars] = field(default_factory=dict)
    gpu_cost: dict[tuple[Gpu, str], Picodollars] = field(default_factory=dict)
    gpu_held: dict[Gpu, Nanoseconds] = field(default_factory=dict)
    tokens: dict[tuple[CostOwner, Kind], int] = field(default_factory=dict)
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

    def before_service(self) -> Nanoseconds:
        """Time of owned GPUs before they were in service: nothing is owed for it though the host was up."""
        return sum(max(0, time - self.gpu_down.get(gpu, 0)) for gpu, time in self.gpu_unowed.items())

    def gpu_owed(self) -> dict[Gpu, Nanoseconds]:
        """GPU time that is owed, by GPU."""
        return {gpu: time - self.gpu_unowed.get(gpu, 0) for gpu, time in self.gpu_held.items()}

    def by_component(self) -> dict[tuple[ServerKey, str], Picodollars]:
        """Money by server and component, over all owners and price bases."""
        sums: dict[tuple[ServerKey, str], Picodollars] = {}
        for (owner, component, _basis), amount in self.server_cost.items():
            add(sums, (ServerKey(owner.namespace, owner.server), component), amount)
        return sums

    def add_segment(self, sums: SegmentSums) -> None:
        """Add the money and the GPU time of one segment."""
        add(self.covered, (), sums.segment.end - sums.segment.start)
        self._add_money(sums)
        add_all(self.held, sums.gpu_time)
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

    A day is the number of its digits: 2026-11-30 is 20261130. An hour is counted since 1970.
    While writes fail for longer than `CELLS_WAITING` hours, the oldest are added to a later hour of their
    day, so that memory stays bounded. Days stay exact.
    """

    cells: dict[tuple[int, int], HistorySums] = field(default_factory=dict)

    def copy(self) -> "History":
        """A copy to add to."""
        return History({cell: sums.copy() for cell, sums in self.cells.items()})

    def add(self, tick: TickSums) -> None:
        """Add one tick. Tokens of a tick without a day are in no history."""
        unwritten = bool(self.cells)  # a gap alone may be of more hours, and is written at once
        for sums in tick.segments:
            self._cell(sums.segment.day, hour_of(sums.segment.start)).add_segment(sums)
        for sums in tick.late:
            self._cell(sums.segment.day, hour_of(sums.segment.start)).add_late(sums)
        postings = tick.postings
        if postings.tokens and postings.day:
            cell = self._cell(postings.day, hour_of(postings.end - 1))
            for moved in postings.tokens:
                add(cell.tokens, (moved.owner, moved.kind), moved.count)
        if unwritten and len(self.cells) > CELLS_WAITING:
            self._fold()

    def _cell(self, day: str, hour: int) -> HistorySums:
        return self.cells.setdefault((day_number(day), hour), HistorySums())

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
    `cells` are posted amounts; `sums` is their history, which is less where an earlier release posted a part,
    or where days expired. `None`: the file has no history.
    `adjustments` are those dated in the month, in the order of their entry. Posted ones are in `cells` and
    never in `sums`; the others wait for the daemon and are in neither.
    `days` are the parts of `sums` by local day, a number like 20261130.
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

    @property
    def adjusted(self) -> Picodollars:
        """Sum of the posted adjustments in `cells`."""
        return sum(each.amount for each in self.adjustments if each.posted is not None)

    @property
    def estimated(self) -> Picodollars:
        """The part of `cells` at estimated prices."""
        return sum(amount for cell, amount in self.cells.items() if cell.price_basis == ESTIMATE)


def day_number(day: str) -> int:
    """A day like 2026-11-30 as a number that sorts: 20261130."""
    return int(day.replace("-", ""))


DAY_HOURS: Final = 24
MIX_HOURS: Final = 2
"""Hours in which the last 60 minutes lie."""
MONTH_HOURS: Final = 32 * 24
"""Hours that a month may have, and a day."""


@dataclass(slots=True)
class _HourSums:
    money: dict[str, Picodollars] = field(default_factory=dict)
    tokens: dict[tuple[CostOwner, Kind], int] = field(default_factory=dict)
    components: dict[str, Picodollars] = field(default_factory=dict)
    mix: dict[tuple[ServerKey, str], Picodollars] = field(default_factory=dict)
    """Components by server, of the latest hours only, to save memory."""

    def copy(self) -> "_HourSums":
        return _HourSums(dict(self.money), dict(self.tokens), dict(self.components), dict(self.mix))

    def add(self, sums: HistorySums) -> None:
        for owner_phase, amount in sums.cost.items():
            add(self.money, owner_phase.phase, amount)
        add_all(self.tokens, sums.tokens)
        for (server, component), amount in sums.by_component().items():
            add(self.components, component, amount)
            add(self.mix, (server, component), amount)


class LastDay:
    """Committed sums of the current hour and the 24 before it, and the cost of every hour of a month.

    `fill` reads the file once; then each commit makes another one. The month is summed again after each hour,
    and when something was posted to an earlier hour.
    """

    def __init__(self) -> None:
        self._hours: dict[int, _HourSums] = {}
        self._month: tuple[int, tuple[Picodollars, ...]] | None = None

    def fill(self, hours: Mapping[int, HistorySums]) -> None:
        """Begin with these hours of the file."""
        for hour, sums in hours.items():
            self._hours.setdefault(hour, _HourSums()).add(sums)

    def after(self, committed: History, end: Instant) -> "LastDay":
        """The last day after a commit, up to the end of its last tick. This one stays as it is."""
        latest = hour_of(end - 1)
        later = LastDay()
        later._month = self._month
        for hour, sums_of in self._hours.items():
            if latest - DAY_HOURS <= hour <= latest:
                past = hour <= latest - MIX_HOURS and sums_of.mix
                later._hours[hour] = replace(sums_of, mix={}) if past else sums_of
        copied: set[int] = set()
        for (_day, hour), sums in committed.cells.items():
            if hour != latest:
                later._month = None
            if not latest - DAY_HOURS <= hour <= latest:
                continue
            if hour not in copied:
                later._hours[hour] = later._hours.get(hour, _HourSums()).copy()
                copied.add(hour)
            later._hours[hour].add(sums)
        return later

    def recent(self, totals: Totals, now: Instant) -> RecentHistory:
        """The recent history at an instant."""
        latest = hour_of(now)
        hours = [(hour, self._hours.get(hour, _HourSums())) for hour in range(latest - DAY_HOURS, latest + 1)]
        if self._month is None or self._month[0] != latest:
            self._month = (latest, _hourly_cost(totals, latest))
        return RecentHistory(
            hours=tuple(
                Hour(hour * NANOSECONDS_PER_HOUR, dict(sums.money), totals.hour_covered.get(hour, 0))
                for hour, sums in hours
            ),
            tokens=_merged(sums.tokens for _, sums in hours),
            components=_merged(sums.components for _, sums in hours),
            mix=_merged(sums.mix for _, sums in hours[-MIX_HOURS:]),
            before=self._month[1],
        )


def _hourly_cost(totals: Totals, latest: int) -> tuple[Picodollars, ...]:
    """Cost of each whole hour, from the first one of the last month to the one before the latest."""
    hours: dict[int, Picodollars] = {}
    for (hour, _product), amount in totals.hour_cost.items():
        if latest - MONTH_HOURS <= hour < latest:
            add(hours, hour, amount)
    return tuple(hours.get(hour, 0) for hour in range(min(hours), latest)) if hours else ()


def _merged(parts: Iterable[Mapping[Any, int]]) -> Mapping[Any, int]:
    sums: dict[Any, int] = {}
    for part in parts:
        add_all(sums, part)
    return sums

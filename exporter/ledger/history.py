"""What each hour and each local day added to the books, summed in memory until it is written."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import pairwise
from typing import Any, Final, NamedTuple, TypeVar

from exporter.cost.postings import CostOwner, GpuTimePosting, OwnerPhase, Postings, Segment
from exporter.ledger.adjustments import Adjustment
from exporter.ledger.totals import Totals, hour_of
from exporter.readings import Gpu, Kind, ServerKey
from exporter.report import Hour, MonthKey, RecentHistory, ServerOwner
from exporter.tariff.rate import PriceBasis
from exporter.units import NANOSECONDS_PER_HOUR, Instant, Nanoseconds, Picodollars

ESTIMATE: Final[PriceBasis] = "estimate"

CELLS_WAITING: Final = 200
"""Hours that may wait for a disk that refuses: a week, and a day."""

K = TypeVar("K")

ServerCost = tuple[ServerOwner, str, str]
"""Owner, component, price basis."""


class GpuOwner(NamedTuple):
    """A GPU and the product and team that held it."""

    gpu: Gpu
    product: str
    team: str


@dataclass(slots=True)
class HistorySums:
    """What a stretch of time added: money by the time that it covers, tokens where their tick ended.

    Each of `cost`, `server_cost` and `gpu_cost` sums to the same money.
    `held` is GPU time that is owed, by what dollars are divided to get the price; `gpu_held` is all time that
    passed, `gpu_unowed` the part of it that is not owed, and the two agree: `held` sums to their difference.
    `gpu_down` is the part of `gpu_held` that hourly rent is not owed for, whether or not rent is by the hour.
    `owner_held` is the part of `gpu_held` that waits for no price, by who held it, and `owner_down` the part
    of that which is in `gpu_down`. An earlier release kept neither.
    `unpriced` is the part of `gpu_held` that had no price, by who held it; `settled` is the part of that
    which was charged since: the rest waits.
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
        """The same, to add to."""
        return HistorySums(**{family: dict(getattr(self, family)) for family in FAMILIES})

    def add(self, later: "HistorySums") -> None:
        """Take in what another stretch added."""
        for family in FAMILIES:
            mine: dict[Any, int] = getattr(self, family)
            for key, value in getattr(later, family).items():
                _sum(mine, key, value)

    def waiting(self) -> dict[tuple[Gpu, CostOwner], Nanoseconds]:
        """GPU time that has no price to this day, by who held it."""
        rest = {key: time - self.settled.get(key, 0) for key, time in self.unpriced.items()}
        return {key: time for key, time in rest.items() if time > 0}

    def before_service(self) -> Nanoseconds:
        """Time of owned GPUs that were not in service yet: nothing is owed for it though the host was up."""
        return sum(max(0, time - self.gpu_down.get(gpu, 0)) for gpu, time in self.gpu_unowed.items())

    def gpu_owed(self) -> dict[Gpu, Nanoseconds]:
        """GPU time that is owed, by GPU."""
        return {gpu: time - self.gpu_unowed.get(gpu, 0) for gpu, time in self.gpu_held.items()}

    def by_component(self) -> dict[tuple[ServerKey, str], Picodollars]:
        """Money by server and component, whoever owns the server and whatever the price's basis."""
        found: dict[tuple[ServerKey, str], Picodollars] = {}
        for (owner, component, _basis), amount in self.server_cost.items():
            _sum(found, (ServerKey(owner.namespace, owner.server), component), amount)
        return found

    def add_segment(self, segment: Segment) -> None:
        """Add the money and the GPU time of one segment."""
        _sum(self.covered, (), segment.end - segment.start)
        self._add_money(segment)
        for held in segment.held:
            _sum(self.held, held.owner_phase, held.owed)
            _sum(self.gpu_held, held.gpu, held.duration)
            if held.unowed:
                _sum(self.gpu_unowed, held.gpu, held.unowed)
            if held.down:
                _sum(self.gpu_down, held.gpu, held.down)
            if held.priced:
                self._add_owner(held)
            else:
                _sum(self.unpriced, (held.gpu, held.owner_phase.owner), held.duration)

    def add_late(self, segment: Segment) -> None:
        """Add the money of time that was added when it passed, without a price."""
        self._add_money(segment)
        for held in segment.held:
            _sum(self.settled, (held.gpu, held.owner_phase.owner), held.duration)
            self._add_owner(held)
            if held.owed:  # what it is owed for beyond what was counted when it passed
                _sum(self.held, held.owner_phase, held.owed)
                _sum(self.gpu_unowed, held.gpu, -held.owed)

    def _add_owner(self, held: GpuTimePosting) -> None:
        party = held.owner_phase.owner
        owner = GpuOwner(held.gpu, party.product, party.team)
        _sum(self.owner_held, owner, held.duration)
        if held.down:
            _sum(self.owner_down, owner, held.down)

    def _add_money(self, segment: Segment) -> None:
        purposes: dict[tuple[CostOwner, str, PriceBasis], Picodollars] = {}
        for gpu, component, basis, slot, amount in segment.money:
            _sum(self.cost, slot, amount)
            _sum(purposes, (slot.owner, component, basis), amount)
            _sum(self.gpu_cost, (gpu, component), amount)
        for (party, component, basis), amount in purposes.items():
            owner = ServerOwner(party.product, party.team, party.namespace, party.server)
            _sum(self.server_cost, (owner, component, basis), amount)


FAMILIES: Final = tuple(item.name for item in fields(HistorySums))


@dataclass(slots=True)
class History:
    """Sums since the last commit, by (day, hour): an hour in which a local day ends is two cells.

    A day is the number that its digits make, 2026-11-30 is 20261130; an hour is counted since 1970.
    While the disk refuses writes for longer than `CELLS_WAITING` hours, the oldest are told in a later hour
    of their day, so that memory stays bounded; days stay exact.
    """

    cells: dict[tuple[int, int], HistorySums] = field(default_factory=dict)

    def copy(self) -> "History":
        """The same, to add to."""
        return History({cell: sums.copy() for cell, sums in self.cells.items()})

    def add(self, postings: Postings) -> None:
        """Add one tick. Tokens of a tick that names no day are in no history."""
        refused = bool(self.cells)  # a gap alone may be of more hours, and is written at once
        for segment in postings.segments:
            self._cell(segment.day, hour_of(segment.start)).add_segment(segment)
        for segment in postings.late.segments:
            self._cell(segment.day, hour_of(segment.start)).add_late(segment)
        if postings.tokens and postings.day:
            sums = self._cell(postings.day, hour_of(postings.end - 1))
            for moved in postings.tokens:
                _sum(sums.tokens, (moved.owner, moved.kind), moved.count)
        if refused and len(self.cells) > CELLS_WAITING:
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
class Chronicle:
    """Rows that the file's history held at one commit, by table and hour or day, as far as they are known.

    Of each table those of the latest hour or day stay known; others are read when they are written to.
    What a later write leaves is another chronicle: this one stays right if that write fails.
    """

    known: dict[tuple[str, int], Rows] = field(default_factory=dict)
    latest: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MonthRecord:
    """One month as the file tells it, as of one commit.

    `months` are those that the ledger has anything of, this one or not.
    `cells` are what was posted; `sums` is what history keeps of it, which is less where an earlier release
    posted a part, or where days are past their time. `None`: the file keeps no history.
    `adjustments` are those dated in the month, in the order they were entered. Posted ones are in `cells` and
    never in `sums`; the others wait for the daemon and are in neither.
    `days` are what `sums` is made of, by local day, a number like 20261130.
    """

    ledger: str
    last_commit: Instant | None
    month: str
    months: tuple[str, ...]
    cells: Mapping[MonthKey, Picodollars]
    sums: HistorySums | None
    adjustments: tuple[Adjustment, ...] = ()
    days: Mapping[int, HistorySums] = field(default_factory=dict)

    @property
    def adjusted(self) -> Picodollars:
        """What posted adjustments add to `cells`."""
        return sum(each.amount for each in self.adjustments if each.posted is not None)

    @property
    def estimated(self) -> Picodollars:
        """The part of `cells` at estimated prices."""
        return sum(amount for cell, amount in self.cells.items() if cell.price_basis == ESTIMATE)


def day_number(day: str) -> int:
    """A day like 2026-11-30 as a number that sorts: 20261130."""
    return int(day.replace("-", ""))


def _sum(sums: dict[K, int], key: K, amount: int) -> None:
    sums[key] = sums.get(key, 0) + amount


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
    """The same by server, of the latest hours alone: memory that the others need none of."""

    def copy(self) -> "_HourSums":
        return _HourSums(dict(self.money), dict(self.tokens), dict(self.components), dict(self.mix))

    def add(self, sums: HistorySums) -> None:
        for slot, amount in sums.cost.items():
            _last_day_sum(self.money, slot.phase, amount)
        for key, count in sums.tokens.items():
            _last_day_sum(self.tokens, key, count)
        for (server, component), amount in sums.by_component().items():
            _last_day_sum(self.components, component, amount)
            _last_day_sum(self.mix, (server, component), amount)


class LastDay:
    """The current hour and the 24 before it, as they were committed, and what every hour of a month came to.

    `fill` begins with the file, once; from then on each commit makes another of it. The month is summed anew
    when an hour has passed, or when something was posted to one that had.
    """

    def __init__(self) -> None:
        self._hours: dict[int, _HourSums] = {}
        self._month: tuple[int, tuple[Picodollars, ...]] | None = None

    def fill(self, hours: Mapping[int, HistorySums]) -> None:
        """Begin with what the file keeps of these hours."""
        for hour, sums in hours.items():
            self._hours.setdefault(hour, _HourSums()).add(sums)

    def after(self, committed: History, end: Instant) -> "LastDay":
        """This with what a commit wrote, up to the end of its last tick. This itself stays as it is."""
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

    def course(self, totals: Totals, now: Instant) -> RecentHistory:
        """The course of things at an instant."""
        latest = hour_of(now)
        hours = [(hour, self._hours.get(hour, _HourSums())) for hour in range(latest - DAY_HOURS, latest + 1)]
        if self._month is None or self._month[0] != latest:
            self._month = (latest, _month(totals, latest))
        return RecentHistory(
            hours=tuple(
                Hour(hour * NANOSECONDS_PER_HOUR, dict(sums.money), totals.hour_covered.get(hour, 0))
                for hour, sums in hours
            ),
            tokens=_together(sums.tokens for _, sums in hours),
            components=_together(sums.components for _, sums in hours),
            mix=_together(sums.mix for _, sums in hours[-MIX_HOURS:]),
            before=self._month[1],
        )


def _month(totals: Totals, latest: int) -> tuple[Picodollars, ...]:
    """What each whole hour came to, the last of them the one before this; from the first that is known."""
    found: dict[int, Picodollars] = {}
    for (hour, _product), amount in totals.hour_cost.items():
        if latest - MONTH_HOURS <= hour < latest:
            _last_day_sum(found, hour, amount)
    return tuple(found.get(hour, 0) for hour in range(min(found), latest)) if found else ()


def _together(parts: Iterable[Mapping[Any, int]]) -> Mapping[Any, int]:
    found: dict[Any, int] = {}
    for part in parts:
        for key, amount in part.items():
            found[key] = found.get(key, 0) + amount
    return found


def _last_day_sum(sums: dict[Any, int], key: object, amount: int) -> None:
    sums[key] = sums.get(key, 0) + amount

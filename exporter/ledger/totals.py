"""Running totals, sums by minute and sums by hour: those of the last commit, those since it, and their rows.

`Totals.add` adds ticks to totals that are not committed yet; `Totals.with_added` adds these to the committed
ones, and tells which values changed. Committed totals never change: a commit makes others.
A sum is added by the rule of its table in `families`: it is the sum, the latest or the earliest value.
"""

import sqlite3
from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import ClassVar, Final, NamedTuple, TypeVar

from exporter.cost.postings import CostOwner, LatencyPosting, OwnerPhase, Postings
from exporter.cost.projection import energy_by_product
from exporter.ledger import schema
from exporter.ledger.families import (
    COUNTERS,
    HOURS,
    MINUTES,
    NO_KEY,
    Change,
    Families,
    NoKey,
    Sums,
)
from exporter.ledger.history import SegmentSums, TickSums
from exporter.readings import Gpu, TokenKind
from exporter.report import MonthKey, OwnerLatency, ServerComponent
from exporter.units import (
    Instant,
    Millijoules,
    Nanoseconds,
    Picodollars,
    hour_of,
    minute_of,
)

MINUTES_KEPT: Final = 62
"""Minutes before the latest one that stay: 60 for the window, and room for its edges."""

HOURS_KEPT: Final = 40 * 24 + 1
"""Hours that stay: 40 days, and the current one."""

USAGE_HOURS_KEPT: Final = 26
"""Hours of GPU use by product that stay: the last 24, and room for their edges."""

S = TypeVar("S", bound=Sums)


@dataclass(slots=True)
class Counters(Sums):
    """Running totals by key."""

    grain: ClassVar[Families] = COUNTERS
    cost: dict[OwnerPhase, Picodollars] = field(default_factory=dict)
    held: dict[OwnerPhase, Nanoseconds] = field(default_factory=dict)
    """Chargeable GPU time."""
    server_cost: dict[ServerComponent, Picodollars] = field(default_factory=dict)
    gpu_cost: dict[tuple[Gpu, str], Picodollars] = field(default_factory=dict)
    tokens: dict[tuple[CostOwner, TokenKind], int] = field(default_factory=dict)
    requests: dict[CostOwner, int] = field(default_factory=dict)
    preemptions: dict[CostOwner, int] = field(default_factory=dict)
    """Requests that were preempted."""
    energy: dict[Gpu, Millijoules] = field(default_factory=dict)
    unpriced: dict[tuple[Gpu, CostOwner], Nanoseconds] = field(default_factory=dict)
    """GPU time that had no price when it passed, by its holder."""
    months: dict[MonthKey, Picodollars] = field(default_factory=dict)
    first_held: dict[str, Instant] = field(default_factory=dict)
    """When each product first held a GPU."""
    equivalents: dict[tuple[CostOwner, str], Picodollars] = field(default_factory=dict)
    """Price of the tokens by owner and hosted offer, which is no part of the cost."""
    latencies: dict[OwnerLatency, int] = field(default_factory=dict)
    """Counts of `LatencyPosting`s."""
    last_token: dict[CostOwner, Instant] = field(default_factory=dict)
    changed: dict[CostOwner, Instant] = field(default_factory=dict)
    """When anything was last posted to an owner, or it was first served. All owners are in it."""


@dataclass(slots=True, eq=False)
class MinuteSums(Sums):
    """Sums of one minute, by the time that money and tokens are of.

    They are compared by identity (`eq=False`): `last_hour` adds the same minutes up once.
    """

    grain: ClassVar[Families] = MINUTES
    cost: dict[OwnerPhase, Picodollars] = field(default_factory=dict)
    tokens: dict[tuple[CostOwner, TokenKind], int] = field(default_factory=dict)
    latencies: dict[OwnerLatency, int] = field(default_factory=dict)


@dataclass(slots=True)
class HourSums(Sums):
    """Sums of one hour, by the time that money is of."""

    grain: ClassVar[Families] = HOURS
    cost: dict[str, Picodollars] = field(default_factory=dict)
    """Money by product."""
    covered: dict[NoKey, Nanoseconds] = field(default_factory=dict)
    """Wall time of segments, once for all products."""
    down: dict[NoKey, Nanoseconds] = field(default_factory=dict)
    """Wall time of segments without hourly rent."""
    usage: dict[tuple[Gpu, str], Nanoseconds] = field(default_factory=dict)
    """GPU time by GPU and product."""
    energy: dict[tuple[Gpu, str], Millijoules] = field(default_factory=dict)
    """Energy by GPU and product."""


class Retained(NamedTuple):
    """Periods that stay after a tick."""

    first_minute: int
    last_minute: int
    """Later minutes are of a wall clock that stepped back."""
    first_hour: int
    first_brief_hour: int
    """The first hour of families that are kept for a day."""

    @classmethod
    def after(cls, hours: Collection[int], end: Instant) -> "Retained":
        """What stays after a tick's end, of these metered hours.

        Only metered hours count, so that a wall clock a year ahead for a moment costs no history.
        """
        latest = minute_of(end)
        return cls(
            first_minute=latest - MINUTES_KEPT,
            last_minute=latest + 1,
            first_hour=_first_of_last(HOURS_KEPT, hours),
            first_brief_hour=_first_of_last(USAGE_HOURS_KEPT, hours),
        )

    def minutes_of(self, minutes: Mapping[int, MinuteSums]) -> dict[int, MinuteSums]:
        """The minutes that stay."""
        return {
            minute: sums
            for minute, sums in minutes.items()
            if self.first_minute <= minute <= self.last_minute
        }

    def hours_of(self, hours: Mapping[int, HourSums]) -> dict[int, HourSums]:
        """The hours that stay: those of more than a day ago without the brief families."""
        return {
            hour: sums if hour >= self.first_brief_hour else sums.without_brief()
            for hour, sums in hours.items()
            if hour >= self.first_hour
        }


def _first_of_last(count: int, hours: Collection[int]) -> int:
    """The first of the last hours of this number, 0 if there are fewer.

    Then none expires: money that is charged late may be of an hour before all of them.
    """
    return sorted(hours)[-count] if len(hours) >= count else 0


class Committed(NamedTuple):
    """Outcome of a commit."""

    totals: "Totals"
    """Totals after the commit."""
    changes: list[Change]
    """Values that the commit changed."""
    retained: Retained
    """Periods that stay after the commit."""


@dataclass(slots=True)
class Totals:
    """Every sum of the ledger but its history."""

    accrued: Picodollars = 0
    """What the GPUs accrued, from segments, before anything was split."""
    counters: Counters = field(default_factory=Counters)
    minutes: dict[int, MinuteSums] = field(default_factory=dict)
    """Sums by minute since 1970."""
    hours: dict[int, HourSums] = field(default_factory=dict)
    """Sums by hour since 1970."""

    def add(self, tick: TickSums, known_owners: Container[CostOwner]) -> None:
        """Add one tick to totals that are not committed yet.

        `known_owners` are those of the committed totals, which know when something was last posted to them.
        """
        postings = tick.postings
        for segment_sums in tick.segments:
            self._add_time(segment_sums)
            self._add_money(segment_sums)
        for segment_sums in tick.late:
            self._add_money(segment_sums)
        self._add_counts(tick)
        self._add_latencies(postings.latencies, postings.end)
        self._add_energy(postings)
        self._note_owners(tick, known_owners)
        # While writes fail, ticks are added up: their minutes and hours expire as committed ones do.
        retained = Retained.after(self.metered_hours(), postings.end)
        self.minutes = retained.minutes_of(self.minutes)
        self.hours = retained.hours_of(self.hours)

    def _add_time(self, segment_sums: SegmentSums) -> None:
        """Add the time of a segment, which is counted once, when it passes."""
        segment = segment_sums.segment
        hour = self._hour(segment.start)
        hour.post("covered", NO_KEY, segment.end - segment.start)
        if segment.down:
            hour.post("down", NO_KEY, segment.down)
        self.counters.post_all("unpriced", segment_sums.sums.unpriced)
        for time in segment.gpu_times:
            product = time.owner_phase.owner.product
            hour.post("usage", (time.gpu, product), time.duration)
            self.counters.post("first_held", product, segment.start)

    def _add_money(self, segment_sums: SegmentSums) -> None:
        """Add money at the time that it covers, whenever it is posted, and chargeable GPU time."""
        segment = segment_sums.segment
        sums = segment_sums.sums
        counters = self.counters
        self.accrued += segment.accrued
        counters.post_all("held", sums.held)
        counters.post_all("gpu_cost", sums.gpu_cost)
        counters.post_all("cost", sums.cost)
        if sums.cost:
            self._minute(segment.start).post_all("cost", sums.cost)
        for (server_owner, component, basis), amount in sums.server_cost.items():
            month = MonthKey(server_owner.product, server_owner.team, basis, segment.month)
            counters.post("months", month, amount)
            counters.post("server_cost", ServerComponent(server_owner, component), amount)
            self._hour(segment.start).post("cost", server_owner.product, amount)

    def _add_counts(self, tick: TickSums) -> None:
        """Add what servers counted in a tick: tokens, their equivalents, and requests."""
        postings = tick.postings
        counters = self.counters
        for tokens in postings.tokens:
            counters.post("tokens", (tokens.owner, tokens.kind), tokens.count)
        for tokens, parts in tick.tokens:
            counters.post("last_token", tokens.owner, postings.end)
            for part in parts:
                self._minute(part.at).post("tokens", (tokens.owner, tokens.kind), part.tokens)
        for equivalent in postings.equivalents:
            counters.post("equivalents", (equivalent.owner, equivalent.reference), equivalent.amount)
        for requests in postings.requests:
            counters.post("requests", requests.owner, requests.count)
        for preempted in postings.preemptions:
            counters.post("preemptions", preempted.owner, preempted.count)

    def _add_latencies(self, latencies: Iterable[LatencyPosting], end: Instant) -> None:
        """Add the latencies that servers observed in a tick, up to its end."""
        # They came before the end: a tick that ends with a minute observed them in that minute.
        minute = self._minute(end - 1)
        for latency in latencies:
            counts = {
                OwnerLatency(latency.owner, latency.objective, latency.basis, part): count
                for part, count in latency.by_part().items()
            }
            self.counters.post_all("latencies", counts)
            if latency.total:
                minute.post_all("latencies", counts)

    def _add_energy(self, postings: Postings) -> None:
        """Add the energy of GPUs, and what of it each product used by hour."""
        for energy in postings.energy:
            self.counters.post("energy", energy.gpu, energy.energy)
        for at, gpu, product, used in energy_by_product(postings):
            self._hour(at).post("energy", (gpu, product), used)

    def _note_owners(self, tick: TickSums, known_owners: Container[CostOwner]) -> None:
        """Note when something was last posted to each owner, and when a new one was first served.

        An owner is served from its first tick, whether or not anything is posted to it.
        """
        postings = tick.postings
        self.counters.post_all("changed", dict.fromkeys(tick.owners_posted_to(), postings.end))
        served = set(postings.owners)
        served.update(tokens.owner for tokens in postings.tokens)
        served.update(requests.owner for requests in postings.requests)
        for owner in served:
            if owner not in known_owners:
                self.counters.changed.setdefault(owner, postings.end)

    def _minute(self, at: Instant) -> MinuteSums:
        return self.minutes.setdefault(minute_of(at), MinuteSums())

    def _hour(self, at: Instant) -> HourSums:
        return self.hours.setdefault(hour_of(at), HourSums())

    def metered_hours(self) -> set[int]:
        """Hours that ticks covered."""
        return {hour for hour, sums in self.hours.items() if sums.covered}

    def copy(self) -> "Totals":
        """A copy to add to."""
        return Totals(
            accrued=self.accrued,
            counters=self.counters.copy(),
            minutes={minute: sums.copy() for minute, sums in self.minutes.items()},
            hours={hour: sums.copy() for hour, sums in self.hours.items()},
        )

    def put(self, change: Change) -> None:
        """Put values of the file in their place, while the totals are read."""
        sums: Sums = self.counters
        if change.family.period == "minute":
            sums = self.minutes.setdefault(change.period, MinuteSums())
        elif change.family.period == "hour":
            sums = self.hours.setdefault(change.period, HourSums())
        getattr(sums, change.family.name).update(change.values)

    def with_added(self, later: "Totals", end: Instant) -> Committed:
        """Totals after more was added, up to a tick's end, without the minutes and hours that expired.

        The totals before stay as they are. Families without an addition are shared.
        """
        retained = Retained.after(self.metered_hours() | later.metered_hours(), end)
        # What expired is not written, whether it was added or was there before: the writer deletes its rows.
        counter_changes = self.counters.changes(later.counters, period=0)
        minute_changes = _changes(self.minutes, retained.minutes_of(later.minutes))
        hour_changes = _changes(self.hours, retained.hours_of(later.hours))
        minutes = _with_changes(self.minutes, minute_changes, MinuteSums)
        hours = _with_changes(self.hours, hour_changes, HourSums)
        totals = Totals(
            accrued=self.accrued + later.accrued,
            counters=self.counters.with_changes(counter_changes),
            minutes=retained.minutes_of(minutes),
            hours=retained.hours_of(hours),
        )
        return Committed(totals, [*counter_changes, *minute_changes, *hour_changes], retained)


def _changes(before: Mapping[int, S], added: Mapping[int, S]) -> list[Change]:
    """New values of the minutes or hours that were added to, one period after the other."""
    changes: list[Change] = []
    for period, sums in added.items():
        earlier = before.get(period) or type(sums)()
        changes += earlier.changes(sums, period)
    return changes


def _with_changes(before: Mapping[int, S], changes: Iterable[Change], new_sums: type[S]) -> dict[int, S]:
    """Sums by minute or hour after changes, in the order of `_changes`. The sums before stay as they are."""
    after = dict(before)
    for period, changes_of_period in groupby(changes, key=attrgetter("period")):
        earlier = before.get(period) or new_sums()
        after[period] = earlier.with_changes(changes_of_period)
    return after


def write_totals(connection: sqlite3.Connection, keys: schema.Keys, changes: Iterable[Change]) -> None:
    """Write each value that changed as a whole: writing it twice changes nothing.

    Raises:
        OverflowError: a total passes what the file holds.
    """
    for family, period, values in changes:
        rows = {keys.row(family, key): value for key, value in values.items()}
        schema.write_rows(connection, family, period, rows)


def read_totals(connection: sqlite3.Connection) -> Totals:
    """All totals of the file.

    Raises:
        DamagedError: a row refers to what is not there.
    """
    totals = Totals()
    with schema.references():
        names = schema.Names(connection)
        for family in (*COUNTERS.values(), *MINUTES.values(), *HOURS.values()):
            for period, key, value in schema.read_rows(connection, names, family):
                totals.put(Change(family, period, {key: value}))
    return totals

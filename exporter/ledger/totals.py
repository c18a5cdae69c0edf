"""Running totals: sums of the last commit and since it, and their rows in the file."""

import sqlite3
from collections.abc import Callable, Collection, Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, ClassVar, Final, NamedTuple, TypeVar

from exporter.cost.money import add, add_all
from exporter.cost.postings import CostOwner, LatencyPart, OwnerPhase
from exporter.cost.projection import energy_by_product
from exporter.ledger import schema
from exporter.ledger.families import COUNTERS, HOURS, MINUTES, Families, Family, Sums
from exporter.ledger.history import SegmentSums, TickSums
from exporter.readings import Gpu, LatencyBasis, Objective, TokenKind
from exporter.report import MonthKey, OwnerLatency, ServerComponent, Window
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
    """GPU time that is owed."""
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
    """When anything was last posted to an owner; its keys are all owners ever posted to."""


@dataclass(slots=True, eq=False)
class MinuteSums(Sums):
    """Sums of one minute, by the time that money and tokens are of. Not changed once they are committed."""

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
    covered: dict[tuple[()], Nanoseconds] = field(default_factory=dict)
    """Wall time of segments, once for all products, under the only key `()`."""
    down: dict[tuple[()], Nanoseconds] = field(default_factory=dict)
    """Wall time of segments without hourly rent, under the only key `()`."""
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
        ordered = sorted(hours)
        # With fewer hours none expires: money that is charged late may be of an hour before all of them.
        return cls(
            first_minute=latest - MINUTES_KEPT,
            last_minute=latest + 1,
            first_hour=ordered[-HOURS_KEPT] if len(ordered) >= HOURS_KEPT else 0,
            first_brief_hour=ordered[-USAGE_HOURS_KEPT] if len(ordered) >= USAGE_HOURS_KEPT else 0,
        )


class Change(NamedTuple):
    """Values of one table, and of one period, that a commit changes. They are whole."""

    family: Family
    period: int
    """The minute or hour; 0 for running totals."""
    values: Mapping[Any, int]


class Advance(NamedTuple):
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

    def add(self, tick: TickSums, listed: Container[CostOwner]) -> None:
        """Add one tick. Owners that are `listed` already get no first entry in `changed`."""
        postings = tick.postings
        end = postings.end
        for posted in tick.segments:
            self._add_segment(posted, end)
        for posted in tick.late:
            self._add_money(posted, end)
        self._add_counts(tick)
        for energy in postings.energy:
            add(self.counters.energy, energy.gpu, energy.energy)
        for at, gpu, product, used in energy_by_product(postings):
            add(self._hour(at).energy, (gpu, product), used)

        # An owner is served from its first tick, whether or not anything is posted to it.
        new_owners = {tokens.owner for tokens in postings.tokens}
        new_owners.update(requests.owner for requests in postings.requests)
        new_owners.update(postings.owners)
        for owner in new_owners:
            if owner not in listed:
                self.counters.changed.setdefault(owner, end)
        # While writes fail, ticks are added up: their minutes and hours expire as committed ones do.
        self.prune(Retained.after(self.metered_hours(), end))

    def _add_counts(self, tick: TickSums) -> None:
        """Add what servers counted in a tick: tokens, their equivalents, requests and latencies."""
        postings = tick.postings
        counters = self.counters
        end = postings.end
        for tokens in postings.tokens:
            COUNTERS["tokens"].post(counters.tokens, (tokens.owner, tokens.kind), tokens.count)
        for tokens, times in tick.tokens:
            COUNTERS["last_token"].post(counters.last_token, tokens.owner, end)
            COUNTERS["changed"].post(counters.changed, tokens.owner, end)
            for time in times:
                minute_tokens = self._minute(time.at).tokens
                MINUTES["tokens"].post(minute_tokens, (tokens.owner, tokens.kind), time.tokens)
        for equivalent in postings.equivalents:
            key = equivalent.owner, equivalent.reference
            COUNTERS["equivalents"].post(counters.equivalents, key, equivalent.amount)
        for requests in postings.requests:
            COUNTERS["requests"].post(counters.requests, requests.owner, requests.count)
        for preempted in postings.preemptions:
            COUNTERS["preemptions"].post(counters.preemptions, preempted.owner, preempted.count)
        for requests in (*postings.requests, *postings.preemptions):
            if requests.count:
                COUNTERS["changed"].post(counters.changed, requests.owner, end)

        # A tick's counts came before its end: at the end of a minute they are of that minute.
        last_minute = self._minute(end - 1)
        for latency in postings.latencies:
            parts: dict[LatencyPart, int] = {
                "lower": latency.lower,
                "upper": latency.upper,
                "total": latency.total,
            }
            for part, count in parts.items():
                latency_key = OwnerLatency(latency.owner, latency.objective, latency.basis, part)
                COUNTERS["latencies"].post(counters.latencies, latency_key, count)
                if latency.total:
                    MINUTES["latencies"].post(last_minute.latencies, latency_key, count)

    def _minute(self, at: Instant) -> MinuteSums:
        return self.minutes.setdefault(minute_of(at), MinuteSums())

    def _hour(self, at: Instant) -> HourSums:
        return self.hours.setdefault(hour_of(at), HourSums())

    def _add_segment(self, posted: SegmentSums, end: Instant) -> None:
        """Add the time of a segment, when it passes, and its money."""
        segment = posted.segment
        counters = self.counters
        hour = self._hour(segment.start)
        add(hour.covered, (), segment.end - segment.start)
        if segment.down:
            add(hour.down, (), segment.down)
        self._add_money(posted, end)
        add_all(counters.unpriced, posted.sums.unpriced)
        for time in segment.gpu_times:
            owner = time.owner_phase.owner
            add(hour.usage, (time.gpu, owner.product), time.duration)
            COUNTERS["first_held"].post(counters.first_held, owner.product, segment.start)
            COUNTERS["changed"].post(counters.changed, owner, end)

    def _add_money(self, posted: SegmentSums, end: Instant) -> None:
        """Add money at the time that it covers, whenever it is posted, and the GPU time that is owed."""
        segment = posted.segment
        sums = posted.sums
        counters = self.counters
        self.accrued += segment.accrued
        add_all(counters.held, sums.held)
        add_all(counters.gpu_cost, sums.gpu_cost)
        add_all(counters.cost, sums.cost)
        if sums.cost:
            add_all(self._minute(segment.start).cost, sums.cost)
        for owner_phase in sums.cost:
            COUNTERS["changed"].post(counters.changed, owner_phase.owner, end)
        for (server_owner, component, basis), amount in sums.server_cost.items():
            cell = MonthKey(server_owner.product, server_owner.team, basis, segment.month)
            add(counters.server_cost, ServerComponent(server_owner, component), amount)
            add(counters.months, cell, amount)
            add(self._hour(segment.start).cost, server_owner.product, amount)

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

    def advanced(self, later: "Totals", end: Instant) -> Advance:
        """Totals after more was added, up to a tick's end, without the minutes and hours that expired.

        The totals before stay as they are. Families without an addition are shared.
        """
        retained = Retained.after(self.metered_hours() | later.metered_hours(), end)
        staying = replace(later, minutes=dict(later.minutes), hours=dict(later.hours))
        staying.prune(retained)

        counters, changes = _advanced(self.counters, staying.counters, 0)
        minutes = dict(self.minutes)
        for minute, posted in staying.minutes.items():
            before = minutes.get(minute, MinuteSums())
            minutes[minute], minute_changes = _advanced(before, posted, minute)
            changes += minute_changes
        hours = dict(self.hours)
        for hour, posted_hour in staying.hours.items():
            hour_before = hours.get(hour, HourSums())
            hours[hour], hour_changes = _advanced(hour_before, posted_hour, hour)
            changes += hour_changes
        totals = Totals(self.accrued + later.accrued, counters, minutes, hours)
        totals.prune(retained)
        return Advance(totals, changes, retained)

    def prune(self, retained: Retained) -> None:
        """Delete minutes and hours that expired."""
        for minute in list(self.minutes):
            if not retained.first_minute <= minute <= retained.last_minute:
                del self.minutes[minute]
        for hour, sums in list(self.hours.items()):
            if hour < retained.first_hour:
                del self.hours[hour]
            elif hour < retained.first_brief_hour:
                self.hours[hour] = sums.without_brief()


def _advanced(before: S, posted: S, period: int) -> tuple[S, list[Change]]:
    """Sums after more was posted, and what that changes. Families without an addition are shared."""
    changed = before.changed_by(posted)
    after = {family.name: {**getattr(before, family.name), **values} for family, values in changed.items()}
    return replace(before, **after), [Change(family, period, values) for family, values in changed.items()]


def sum_minutes(totals: Totals, minutes: Iterable[int]) -> Mapping[CostOwner, Window]:
    """Sums by owner over these minutes, without unpriced time."""
    return _windows(tuple(totals.minutes[minute] for minute in minutes if minute in totals.minutes))


@lru_cache(maxsize=1)
def _windows(minutes: tuple[MinuteSums, ...]) -> Mapping[CostOwner, Window]:
    """Sums over minutes. They change once a minute: a host of 64 servers has 23,000 sums of minutes."""
    sums = MinuteSums()
    for minute in minutes:
        sums.add(minute)
    money: dict[CostOwner, dict[str, Picodollars]] = {}
    for owner_phase, amount in sums.cost.items():
        money.setdefault(owner_phase.owner, {})[owner_phase.phase] = amount
    tokens: dict[CostOwner, dict[TokenKind, int]] = {}
    for (owner, kind), count in sums.tokens.items():
        tokens.setdefault(owner, {})[kind] = count
    latencies: dict[CostOwner, dict[tuple[Objective, LatencyBasis, LatencyPart], int]] = {}
    for key, count in sums.latencies.items():
        latencies.setdefault(key.owner, {})[key.objective, key.basis, key.part] = count
    return {
        owner: Window(money.get(owner, {}), tokens.get(owner, {}), 0, latencies.get(owner, {}))
        for owner in {**money, **tokens, **latencies}
    }


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
    grains: tuple[tuple[Families, Callable[[int], Sums]], ...] = (
        (COUNTERS, lambda _period: totals.counters),
        (MINUTES, lambda minute: totals.minutes.setdefault(minute, MinuteSums())),
        (HOURS, lambda hour: totals.hours.setdefault(hour, HourSums())),
    )
    with schema.references():
        names = schema.Names(connection)
        for grain, sums_of in grains:
            for name, family in grain.items():
                for period, key, value in schema.read_rows(connection, names, family):
                    getattr(sums_of(period), name)[key] = value
    return totals

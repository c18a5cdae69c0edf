"""Running totals, sums by minute and sums by hour: how ticks are added to them, and their rows in the file.

`Totals.add` adds a tick to pending totals, which are not committed yet. `Totals.with_added` adds pending
totals to committed ones, and returns which values changed. Committed totals never change: a commit makes
others.

The type of a field is the rule by which a posting changes a value. A `Sum` adds, a `CappedSum` adds up to the
largest integer of the file, a `Latest` keeps the last instant, and an `Earliest` the first.
"""

import sqlite3
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final, Generic, NamedTuple, Self, TypeVar

from exporter.cost.postings import CostOwner, LatencyPosting, OwnerPhase, Postings
from exporter.cost.projection import energy_by_product
from exporter.ledger import families, schema
from exporter.ledger.families import (
    NO_KEY,
    CappedSum,
    Earliest,
    Families,
    Family,
    FamilyValues,
    Latest,
    NoKey,
    Sum,
)
from exporter.ledger.history import SegmentSums, TickSums
from exporter.readings import Gpu, TokenKind
from exporter.report import MonthKey, OwnerLatency, ServerComponent
from exporter.units import Instant, Millijoules, Nanoseconds, Picodollars, hour_of, minute_of

MINUTES_KEPT: Final = 62
"""Minutes before the latest one that stay: 60 for the window, and room for its edges."""

HOURS_KEPT: Final = 40 * 24 + 1
"""Hours that stay: 40 days, and the current one."""

USAGE_HOURS_KEPT: Final = 26
"""Hours of GPU use by product that stay: the last 24, and room for their edges."""

BEGINNING: Final = 0
"""The first hour that there is: none is before it."""


class Change(NamedTuple):
    """New values of one table in one period: whole values, not what was added."""

    family: Family
    period: int
    """The minute or hour; 0 for running totals."""
    values: Mapping[Any, int]
    """The values by key, as the sums have them after the change."""


@dataclass(slots=True, eq=False)
class Sums:
    """Sums of one period. The family of a field's name in `grain` has the table of its values."""

    grain: ClassVar[Families]
    """The families of the fields, by name."""

    def values_of(self, family: Family) -> FamilyValues[Any, Any]:
        """The field of a family."""
        values: FamilyValues[Any, Any] = getattr(self, family.name)
        return values

    def copy(self) -> Self:
        """A copy to add to."""
        return replace(self, **{name: self.values_of(family).copy() for name, family in self.grain.items()})

    def add(self, posted: Self) -> None:
        """Add other sums, each by its rule."""
        for family in self.grain.values():
            self.values_of(family).post_all(posted.values_of(family))

    def changes(self, added: Self, period: int) -> list[Change]:
        """New values of the keys that other sums of the same period change or add, by family."""
        changes: list[Change] = []
        for family in self.grain.values():
            before = self.values_of(family)
            new_values = before.new_values(before, added.values_of(family))
            if new_values:
                changes.append(Change(family, period, new_values))
        return changes

    def with_changes(self, changes: Iterable[Change]) -> Self:
        """These sums after changes of their period. Families without a change are shared with these sums."""
        changed: dict[str, Any] = {}
        for change in changes:
            after = self.values_of(change.family).copy()
            after.update(change.values)
            changed[change.family.name] = after
        return replace(self, **changed)


S = TypeVar("S", bound=Sums)


@dataclass(slots=True)
class Counters(Sums):
    """Running totals by key."""

    grain: ClassVar[Families] = families.COUNTERS
    cost: Sum[OwnerPhase, Picodollars] = field(default_factory=Sum)
    """Money, as in `server_cost` and `gpu_cost`: each sums to all of it."""
    held: Sum[OwnerPhase, Nanoseconds] = field(default_factory=Sum)
    """Chargeable GPU time."""
    server_cost: Sum[ServerComponent, Picodollars] = field(default_factory=Sum)
    gpu_cost: Sum[tuple[Gpu, str], Picodollars] = field(default_factory=Sum)
    """Money by GPU and component."""
    tokens: CappedSum[tuple[CostOwner, TokenKind], int] = field(default_factory=CappedSum)
    requests: CappedSum[CostOwner, int] = field(default_factory=CappedSum)
    preemptions: CappedSum[CostOwner, int] = field(default_factory=CappedSum)
    """Requests that were preempted."""
    energy: Sum[Gpu, Millijoules] = field(default_factory=Sum)
    unpriced: Sum[tuple[Gpu, CostOwner], Nanoseconds] = field(default_factory=Sum)
    """GPU time that had no price when it passed, by its holder."""
    months: Sum[MonthKey, Picodollars] = field(default_factory=Sum)
    """Money by month, with posted adjustments."""
    first_held: Earliest[str, Instant] = field(default_factory=Earliest)
    """When each product first held a GPU."""
    equivalents: CappedSum[tuple[CostOwner, str], Picodollars] = field(default_factory=CappedSum)
    """Price of the tokens by owner and hosted offer, which is no part of the cost."""
    latencies: CappedSum[OwnerLatency, int] = field(default_factory=CappedSum)
    """Counts of `LatencyPosting`s."""
    last_token: Latest[CostOwner, Instant] = field(default_factory=Latest)
    """The end of the last tick in which each owner had tokens."""
    changed: Latest[CostOwner, Instant] = field(default_factory=Latest)
    """The end of the last tick that posted to each owner, or that first served it. All owners are in it."""


@dataclass(slots=True, eq=False)
class MinuteSums(Sums):
    """Sums of one minute. Money is in the minute that it covers, also if it is posted later.

    Minutes are compared by identity (`eq=False`): `last_hour` adds the same minutes up once.
    """

    grain: ClassVar[Families] = families.MINUTES
    cost: Sum[OwnerPhase, Picodollars] = field(default_factory=Sum)
    tokens: CappedSum[tuple[CostOwner, TokenKind], int] = field(default_factory=CappedSum)
    latencies: CappedSum[OwnerLatency, int] = field(default_factory=CappedSum)


@dataclass(slots=True)
class HourSums(Sums):
    """Sums of one hour. Money is in the hour that it covers, also if it is posted later."""

    grain: ClassVar[Families] = families.HOURS
    cost: Sum[str, Picodollars] = field(default_factory=Sum)
    """Money by product."""
    covered: Sum[NoKey, Nanoseconds] = field(default_factory=Sum)
    """Wall time of segments, once for all products."""
    down: Sum[NoKey, Nanoseconds] = field(default_factory=Sum)
    """Wall time of segments without hourly rent. It stays for a day."""
    usage: Sum[tuple[Gpu, str], Nanoseconds] = field(default_factory=Sum)
    """GPU time by GPU and product. It stays for a day."""
    energy: Sum[tuple[Gpu, str], Millijoules] = field(default_factory=Sum)
    """Energy by GPU and product. It stays for a day."""

    def without_brief(self) -> "HourSums":
        """These sums without the `brief` families, which stay for a day; the same ones if these are empty."""
        if not (self.down or self.usage or self.energy):
            return self
        return replace(self, down=Sum(), usage=Sum(), energy=Sum())


class Retained(NamedTuple):
    """Periods that stay after a tick. Minutes expire by the clock, hours by the number of later ones."""

    first_minute: int
    """The first minute that stays."""
    last_minute: int
    """The last minute that stays: later ones are of a wall clock that stepped back."""
    first_hour: int
    """The first hour that stays."""
    first_brief_hour: int
    """The first hour that stays whole: earlier ones are `HourSums.without_brief`."""

    @classmethod
    def after(cls, metered_hours: Iterable[int], end: Instant) -> "Retained":
        """What stays after a tick's end.

        Only hours that ticks metered are counted: a wall clock that is a year ahead for a moment meters one
        hour, and costs no history.
        """
        latest_minute = minute_of(end)
        hours = sorted(metered_hours)
        return cls(
            first_minute=latest_minute - MINUTES_KEPT,
            last_minute=latest_minute + 1,
            # While there are fewer, none expires: a late charge may be of an hour before all of them.
            first_hour=hours[-HOURS_KEPT] if len(hours) >= HOURS_KEPT else BEGINNING,
            first_brief_hour=hours[-USAGE_HOURS_KEPT] if len(hours) >= USAGE_HOURS_KEPT else BEGINNING,
        )

    def of(self, totals: "Totals") -> "Totals":
        """Totals without the minutes and hours that expired. The totals before stay as they are."""
        minutes = {
            minute: sums
            for minute, sums in totals.minutes.items()
            if self.first_minute <= minute <= self.last_minute
        }
        hours = {
            hour: sums if hour >= self.first_brief_hour else sums.without_brief()
            for hour, sums in totals.hours.items()
            if hour >= self.first_hour
        }
        return replace(totals, minutes=minutes, hours=hours)


class Committed(NamedTuple):
    """Outcome of a commit."""

    totals: "Totals"
    """Totals after the commit."""
    changes: list[Change]
    """Values that the commit changed, to be written."""
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
        """Add one tick to these pending totals.

        `known_owners` are the owners in the committed totals.
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
        # While writes fail, ticks are added up here: their minutes and hours expire as committed ones do.
        retained = Retained.after(self.metered_hours(), postings.end)
        unexpired = retained.of(self)
        self.minutes = unexpired.minutes
        self.hours = unexpired.hours

    def _add_time(self, segment_sums: SegmentSums) -> None:
        """Add the time of a segment to the hour in which it passes. Late charges add none again."""
        segment = segment_sums.segment
        hour = self._hour(segment.start)
        hour.covered.post(NO_KEY, segment.end - segment.start)
        if segment.down:
            hour.down.post(NO_KEY, segment.down)
        self.counters.unpriced.post_all(segment_sums.sums.unpriced)
        for time in segment.gpu_times:
            product = time.owner_phase.owner.product
            hour.usage.post((time.gpu, product), time.duration)
            self.counters.first_held.post(product, segment.start)

    def _add_money(self, segment_sums: SegmentSums) -> None:
        """Add money to the month, hour and minute that it covers, and the chargeable GPU time."""
        segment = segment_sums.segment
        sums = segment_sums.sums
        counters = self.counters
        self.accrued += segment.accrued
        counters.held.post_all(sums.held)
        counters.gpu_cost.post_all(sums.gpu_cost)
        counters.cost.post_all(sums.cost)
        if sums.cost:
            self._minute(segment.start).cost.post_all(sums.cost)
        for (server_owner, component, basis), amount in sums.server_cost.items():
            month = MonthKey(server_owner.product, server_owner.team, basis, segment.month)
            counters.months.post(month, amount)
            counters.server_cost.post(ServerComponent(server_owner, component), amount)
            self._hour(segment.start).cost.post(server_owner.product, amount)

    def _add_counts(self, tick: TickSums) -> None:
        """Add what servers counted in a tick: tokens, their equivalents, and requests."""
        postings = tick.postings
        counters = self.counters
        for tokens in postings.tokens:  # zeros too: the counter of a new owner begins at zero
            counters.tokens.post((tokens.owner, tokens.kind), tokens.count)
        for tokens, times in tick.tokens:  # without zeros, which are of no time
            counters.last_token.post(tokens.owner, postings.end)
            for time in times:
                self._minute(time.at).tokens.post((tokens.owner, tokens.kind), time.tokens)
        for equivalent in postings.equivalents:
            counters.equivalents.post((equivalent.owner, equivalent.reference), equivalent.amount)
        for requests in postings.requests:
            counters.requests.post(requests.owner, requests.count)
        for preempted in postings.preemptions:
            counters.preemptions.post(preempted.owner, preempted.count)

    def _add_latencies(self, latencies: Iterable[LatencyPosting], end: Instant) -> None:
        """Add the latencies that servers observed in a tick, up to its end."""
        for latency in latencies:
            counts = {
                OwnerLatency(latency.owner, latency.objective, latency.basis, part): count
                for part, count in latency.by_part().items()
            }
            self.counters.latencies.post_all(counts)
            if latency.total:
                # They came before the end: a tick that ends with a minute observed them in that minute.
                self._minute(end - 1).latencies.post_all(counts)

    def _add_energy(self, postings: Postings) -> None:
        """Add the energy of GPUs, and what of it each product used by hour."""
        for energy in postings.energy:
            self.counters.energy.post(energy.gpu, energy.energy)
        for at, gpu, product, used in energy_by_product(postings):
            self._hour(at).energy.post((gpu, product), used)

    def _note_owners(self, tick: TickSums, known_owners: Container[CostOwner]) -> None:
        """Note when something was last posted to each owner, and when a new one was first served.

        An owner is served from its first tick, whether or not anything is posted to it.
        """
        end = tick.postings.end
        self.counters.changed.post_all(dict.fromkeys(tick.owners_posted_to(), end))
        served = set(tick.postings.owners)
        served.update(tokens.owner for tokens in tick.postings.tokens)
        served.update(requests.owner for requests in tick.postings.requests)
        for owner in served:
            # Not `post`, whose rule is the latest: an owner that has a time of posting keeps it.
            if owner not in known_owners:
                self.counters.changed.setdefault(owner, end)

    def _minute(self, at: Instant) -> MinuteSums:
        """The sums of the minute of an instant, which is added if it is missing."""
        return self.minutes.setdefault(minute_of(at), MinuteSums())

    def _hour(self, at: Instant) -> HourSums:
        """The sums of the hour of an instant, which is added if it is missing."""
        return self.hours.setdefault(hour_of(at), HourSums())

    def metered_hours(self) -> set[int]:
        """Hours that ticks covered, since 1970. Others have late money alone."""
        return {hour for hour, sums in self.hours.items() if sums.covered}

    def copy(self) -> "Totals":
        """A copy to add to."""
        return Totals(
            accrued=self.accrued,
            counters=self.counters.copy(),
            minutes={minute: sums.copy() for minute, sums in self.minutes.items()},
            hours={hour: sums.copy() for hour, sums in self.hours.items()},
        )

    def with_added(self, pending: "Totals", end: Instant) -> Committed:
        """These committed totals after pending ones were added, up to a tick's end.

        These totals stay as they are. The totals after them share the families to which nothing was added.
        """
        retained = Retained.after(self.metered_hours() | pending.metered_hours(), end)
        # Expired periods are neither kept nor written: the writer deletes their rows.
        before = retained.of(self)
        added = retained.of(pending)
        counter_changes = before.counters.changes(added.counters, period=0)
        minutes = _merge(before.minutes, added.minutes, MinuteSums)
        hours = _merge(before.hours, added.hours, HourSums)
        totals = Totals(
            accrued=before.accrued + added.accrued,
            counters=before.counters.with_changes(counter_changes),
            minutes=minutes.after,
            hours=hours.after,
        )
        return Committed(totals, [*counter_changes, *minutes.changes, *hours.changes], retained)


class _Merged(NamedTuple, Generic[S]):
    """Minutes or hours after others were added."""

    after: dict[int, S]
    """Sums by minute or hour. Periods to which nothing was added share theirs with those before."""
    changes: list[Change]
    """Values that the addition changed, one period after the other."""


def _merge(before: Mapping[int, S], added: Mapping[int, S], new_sums: type[S]) -> _Merged[S]:
    """Add minutes or hours to others, which stay as they are."""
    after = dict(before)
    changes: list[Change] = []
    for period, sums in added.items():
        earlier = before.get(period, new_sums())
        changes_of_period = earlier.changes(sums, period)
        if changes_of_period:
            after[period] = earlier.with_changes(changes_of_period)
            changes += changes_of_period
    return _Merged(after, changes)


def write_totals(connection: sqlite3.Connection, keys: schema.Keys, changes: Iterable[Change]) -> None:
    """Write each value that changed as a whole: writing it twice changes nothing.

    Raises:
        OverflowError: a total passes what the file holds.
    """
    for family, period, values in changes:
        rows = {keys.row(family, key): value for key, value in values.items()}
        schema.write_rows(connection, family, period, rows)


def _read_periods(connection: sqlite3.Connection, names: schema.Names, new_sums: type[S]) -> dict[int, S]:
    """Sums of the file by minute or hour."""
    periods: dict[int, S] = {}
    for family in new_sums.grain.values():
        for period, key, value in schema.read_rows(connection, names, family):
            if period not in periods:
                periods[period] = new_sums()
            periods[period].values_of(family)[key] = value
    return periods


def read_totals(connection: sqlite3.Connection) -> Totals:
    """All sums of the file. `accrued` stays zero here: it is among the file's single values.

    Raises:
        DamagedError: a row refers to what is not there.
    """
    counters = Counters()
    with schema.references():
        names = schema.Names(connection)
        for family in counters.grain.values():
            values = counters.values_of(family)
            for _period, key, value in schema.read_rows(connection, names, family):
                values[key] = value  # not posted: a row has the whole value
        minutes = _read_periods(connection, names, MinuteSums)
        hours = _read_periods(connection, names, HourSums)
    return Totals(counters=counters, minutes=minutes, hours=hours)

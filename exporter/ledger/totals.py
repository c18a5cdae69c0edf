"""Running totals in memory: those that are served, and those that wait to be written."""

from collections.abc import Collection, Container, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, TypeVar

from exporter.cost.postings import CostOwner, OwnerPhase, Postings, Segment
from exporter.cost.projection import energy_use
from exporter.readings import Gpu, Kind
from exporter.report import MonthKey, ServerOwner
from exporter.tariff.rate import PriceBasis
from exporter.units import (
    NANOSECONDS_PER_HOUR,
    NANOSECONDS_PER_MINUTE,
    Instant,
    Millijoules,
    Nanoseconds,
    Picodollars,
)

MINUTES_KEPT: Final = 62
"""Minutes behind the latest one that stay: 60 for the window, and room for its edges."""

HOURS_KEPT: Final = 40 * 24 + 1
"""Hours that stay: 40 days, and the current one."""

USAGE_HOURS_KEPT: Final = 26
"""Hours of GPU use by product that stay: the last 24, and room for their edges."""

LARGEST: Final = 2**63 - 1
"""The largest integer that SQLite holds."""

WITH_CEILING: Final = frozenset({"tokens", "requests", "minute_tokens", "equivalents"})
"""Totals that a server tells, or that are made of what it tells."""

K = TypeVar("K")


class LastHour:
    """Money and tokens by party over whole minutes before one, added up anew only when they are others.

    A day-old host of 64 servers has 23,000 sums of minutes, and most ticks move none before the last minute.
    """

    def __init__(self) -> None:
        self._minutes: range | None = None
        self._money: dict[CostOwner, dict[str, Picodollars]] = {}
        self._tokens: dict[CostOwner, dict[Kind, int]] = {}

    def moved(self, later: "Totals") -> None:
        """Note what came to the minutes."""
        minutes = {key[0] for key in (*later.minute_cost, *later.minute_tokens)}
        if self._minutes is not None and not minutes.isdisjoint(self._minutes):
            self._minutes = None

    def sums(
        self, totals: "Totals", minutes: range
    ) -> tuple[Mapping[CostOwner, Mapping[str, Picodollars]], Mapping[CostOwner, Mapping[Kind, int]]]:
        """Money by phase, and tokens by kind, of these minutes."""
        if minutes != self._minutes:
            money: dict[CostOwner, dict[str, Picodollars]] = {}
            tokens: dict[CostOwner, dict[Kind, int]] = {}
            for (minute, slot), amount in totals.minute_cost.items():
                if minute in minutes:
                    _sum(money.setdefault(slot.owner, {}), slot.phase, amount)
            for (minute, party, kind), count in totals.minute_tokens.items():
                if minute in minutes:
                    _sum(tokens.setdefault(party, {}), kind, count)
            # In one step: memory may run out amid a sum.
            self._minutes, self._money, self._tokens = minutes, money, tokens
        return self._money, self._tokens


@dataclass(slots=True)
class Totals:
    """Every sum of the books. Keys of minutes and hours begin with their number since 1970.

    `changed` is when a party last got anything, and the list of all parties ever seen.
    `unpriced` is GPU time that had no price when it passed, by who held it.
    `equivalents` are by party and hosted offer, and no part of the money.
    `hour_covered` is the wall time that segments covered, counted once for all products, and `hour_down` the
    part of it that hourly rent is not owed for. `hour_usage` and `hour_energy` are what products used of each
    GPU, `first_held` is when each first held one.
    Sums of money, time and energy are exact; counts of tokens and requests, and what tokens would have cost
    elsewhere, stand still at `LARGEST`, so that a server that lies cannot stop the books.
    """

    accrued: Picodollars = 0
    cost: dict[OwnerPhase, Picodollars] = field(default_factory=dict)
    held: dict[OwnerPhase, Nanoseconds] = field(default_factory=dict)
    server_cost: dict[tuple[ServerOwner, str], Picodollars] = field(default_factory=dict)
    gpu_cost: dict[tuple[Gpu, str], Picodollars] = field(default_factory=dict)
    tokens: dict[tuple[CostOwner, Kind], int] = field(default_factory=dict)
    requests: dict[CostOwner, int] = field(default_factory=dict)
    energy: dict[Gpu, Millijoules] = field(default_factory=dict)
    unpriced: dict[tuple[Gpu, CostOwner], Nanoseconds] = field(default_factory=dict)
    months: dict[MonthKey, Picodollars] = field(default_factory=dict)
    minute_cost: dict[tuple[int, OwnerPhase], Picodollars] = field(default_factory=dict)
    minute_tokens: dict[tuple[int, CostOwner, Kind], int] = field(default_factory=dict)
    hour_cost: dict[tuple[int, str], Picodollars] = field(default_factory=dict)
    hour_covered: dict[int, Nanoseconds] = field(default_factory=dict)
    hour_down: dict[int, Nanoseconds] = field(default_factory=dict)
    hour_usage: dict[tuple[int, Gpu, str], Nanoseconds] = field(default_factory=dict)
    hour_energy: dict[tuple[int, Gpu, str], Millijoules] = field(default_factory=dict)
    first_held: dict[str, Instant] = field(default_factory=dict)
    equivalents: dict[tuple[CostOwner, str], Picodollars] = field(default_factory=dict)
    last_token: dict[CostOwner, Instant] = field(default_factory=dict)
    changed: dict[CostOwner, Instant] = field(default_factory=dict)
    last_hour: LastHour = field(default_factory=LastHour, compare=False)
    pruned: int = field(default=-1, compare=False)
    """The minute in which what is past its time was last let go of."""

    def add(self, postings: Postings, known: Container[CostOwner]) -> None:
        """Add one tick. `known` are the parties that need no first sight any more."""
        for segment in postings.segments:
            self._add_segment(segment, postings.end)
        for segment in postings.late.segments:
            self._add_money(segment, postings.end)
            for held in segment.held:
                _sum(self.held, held.owner_phase, held.owed)
        # A tick's tokens came before its end: at the stroke of a minute they are of the one that ends.
        minute = minute_of(postings.end - 1)
        for tokens in postings.tokens:
            party, kind, count = tokens.owner, tokens.kind, tokens.count
            _count(self.tokens, (party, kind), count)
            if count:
                _count(self.minute_tokens, (minute, party, kind), count)
                self.last_token[party] = self.changed[party] = postings.end
        for told in postings.equivalents:
            _count(self.equivalents, (told.owner, told.reference), told.amount)
        for requests in postings.requests:
            _count(self.requests, requests.owner, requests.count)
            if requests.count:
                self.changed[requests.owner] = postings.end
        for energy in postings.energy:
            _sum(self.energy, energy.gpu, energy.energy)
        for at, gpu, product, used in energy_use(postings):
            _sum(self.hour_energy, (hour_of(at), gpu, product), used)
        named = {moved.owner for moved in postings.tokens} | {done.owner for done in postings.requests}
        for party in named.union(postings.seen):
            if party not in known:
                self.changed.setdefault(party, postings.end)
        self.prune(postings.end)

    def _add_segment(self, segment: Segment, end: Instant) -> None:
        hour = hour_of(segment.start)
        _sum(self.hour_covered, hour, segment.end - segment.start)
        if segment.down:
            _sum(self.hour_down, hour, segment.down)
        self._add_money(segment, end)
        for held in segment.held:
            _sum(self.held, held.owner_phase, held.owed)
            product = held.owner_phase.owner.product
            _sum(self.hour_usage, (hour, held.gpu, product), held.duration)
            self.first_held[product] = min(self.first_held.get(product, segment.start), segment.start)
            if not held.priced:
                _sum(self.unpriced, (held.gpu, held.owner_phase.owner), held.duration)
            self.changed[held.owner_phase.owner] = end

    def _add_money(self, segment: Segment, end: Instant) -> None:
        """Money falls where the time that it covers lies, whenever it is posted."""
        minute, hour = minute_of(segment.start), hour_of(segment.start)
        kept = hour > hour_of(end) - HOURS_KEPT
        self.accrued += segment.accrued
        # First by the few slots and purposes that there are: each then goes to many families at once.
        slots: dict[OwnerPhase, Picodollars] = {}
        purposes: dict[tuple[CostOwner, str, PriceBasis], Picodollars] = {}
        for gpu, component, basis, slot, amount in segment.money:
            _sum(slots, slot, amount)
            _sum(purposes, (slot.owner, component, basis), amount)
            _sum(self.gpu_cost, (gpu, component), amount)
        for slot, amount in slots.items():
            _sum(self.cost, slot, amount)
            _sum(self.minute_cost, (minute, slot), amount)
            if kept:
                _sum(self.hour_cost, (hour, slot.owner.product), amount)
            self.changed[slot.owner] = end
        for (party, component, basis), amount in purposes.items():
            owner = ServerOwner(party.product, party.team, party.namespace, party.server)
            _sum(self.server_cost, (owner, component), amount)
            _sum(self.months, MonthKey(party.product, party.team, basis, segment.month), amount)

    def after(self, later: "Totals", end: Instant) -> "Totals":
        """These with what was added later, up to a tick's end, of which nothing is past its time then.

        These themselves stay as they are. What is not added to is shared.
        """
        prunes = self.pruned != minute_of(end) or not later.hour_covered.keys() <= self.hour_covered.keys()
        moved = [name for name in SUMS if getattr(later, name) or (prunes and name in PRUNED)]
        copies: dict[str, Any] = {name: dict(getattr(self, name)) for name in moved}
        for name, mine in copies.items():
            for key, value in getattr(later, name).items():
                mine[key] = combined(name, mine.get(key), value)
        found = replace(self, accrued=self.accrued + later.accrued, **copies)
        found.last_hour.moved(later)
        if prunes:
            found.prune(end)
        return found

    def copy(self) -> "Totals":
        """The same, to add to."""
        copies: dict[str, Any] = {name: dict(getattr(self, name)) for name in SUMS}
        return replace(self, **copies)

    def prune(self, end: Instant) -> None:
        """Let go of minutes and hours that are past their time."""
        self.pruned = minute_of(end)
        first, last = minutes_kept(end)
        for of_cost in [key for key in self.minute_cost if not first <= key[0] <= last]:
            del self.minute_cost[of_cost]
        for of_tokens in [key for key in self.minute_tokens if not first <= key[0] <= last]:
            del self.minute_tokens[of_tokens]
        floor = hours_floor(self.hour_covered)
        for hour in [hour for hour in self.hour_covered if hour < floor]:
            del self.hour_covered[hour]
            for of_hour in [key for key in self.hour_cost if key[0] == hour]:
                del self.hour_cost[of_hour]
        recent = hours_floor(self.hour_covered, USAGE_HOURS_KEPT)
        for used in (self.hour_usage, self.hour_energy):
            for of_use in [key for key in used if key[0] < recent]:
                del used[of_use]
        for hour in [hour for hour in self.hour_down if hour < recent]:
            del self.hour_down[hour]


USAGE: Final = frozenset({"hour_usage", "hour_energy", "hour_down"})
"""Totals of the last day alone."""

PRUNED: Final = USAGE | {"minute_cost", "minute_tokens", "hour_covered", "hour_cost"}
"""Totals that lose keys as time goes on."""

SUMS: Final = tuple(item.name for item in fields(Totals) if item.default_factory is dict)
"""The totals that have keys."""


def combined(name: str, earlier: int | None, later: int) -> int:
    """One total after more came: what servers tell has a ceiling, instants are replaced, the rest sums."""
    if name in {"last_token", "changed"}:
        return later
    if name == "first_held":
        return later if earlier is None else min(earlier, later)
    total = (earlier or 0) + later
    return min(total, LARGEST) if name in WITH_CEILING else total


def minute_of(instant: Instant) -> int:
    """The minute that holds an instant, since 1970."""
    return instant // NANOSECONDS_PER_MINUTE


def hour_of(instant: Instant) -> int:
    """The hour that holds an instant, since 1970."""
    return instant // NANOSECONDS_PER_HOUR


def minutes_kept(end: Instant) -> tuple[int, int]:
    """First and last minute that stay when a tick ends; later ones are of a wall clock that stepped back."""
    latest = minute_of(end)
    return latest - MINUTES_KEPT, latest + 1


def hours_floor(hours: Collection[int], kept: int | None = None) -> int:
    """The first hour that stays of so many, `HOURS_KEPT` unless it is said.

    Counted in hours that were lived, so that a wall clock a year ahead for a moment costs no history.
    """
    return sorted(hours)[-(kept or HOURS_KEPT) :][0] if hours else 0


def _sum(sums: dict[K, int], key: K, amount: int) -> None:
    sums[key] = sums.get(key, 0) + amount


def _count(counts: dict[K, int], key: K, count: int) -> None:
    counts[key] = min(counts.get(key, 0) + count, LARGEST)

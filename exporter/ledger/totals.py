"""Running totals: sums of a tick, of the last commit and since it, and their rows in the file."""

import sqlite3
from collections.abc import Collection, Container, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, NamedTuple, TypeVar

from exporter.cost.money import add, add_all
from exporter.cost.postings import (
    LATENCY_PARTS,
    CostOwner,
    LatencyPart,
    OwnerPhase,
    Postings,
    Segment,
    TokenPosting,
)
from exporter.cost.projection import UsageHour, energy_by_product
from exporter.ledger import schema
from exporter.ledger.schema import LARGEST, Keys, Names, RowLayout
from exporter.ledger.token_times import TokenTime, times_of_tokens
from exporter.readings import Gpu, LatencyBasis, Objective, TokenKind
from exporter.report import MonthKey, ServerOwner, Window
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
"""Minutes before the latest one that stay: 60 for the window, and room for its edges."""

HOURS_KEPT: Final = 40 * 24 + 1
"""Hours that stay: 40 days, and the current one."""

USAGE_HOURS_KEPT: Final = 26
"""Hours of GPU use by product that stay: the last 24, and room for their edges."""

WITH_CEILING: Final = frozenset(
    {"tokens", "requests", "preemptions", "minute_tokens", "equivalents", "latencies", "minute_latencies"}
)
"""Totals that come from what a server reports."""

K = TypeVar("K")

ServerCost = tuple[ServerOwner, str, str]
"""Owner, component, price basis."""


@dataclass(slots=True)
class SegmentSums:
    """Money and GPU time of one segment by key, each key of money in the order in which it first came.

    The families have the names and meanings of those in `HistorySums`, but `owner_held` and `owner_down` are
    by GPU and cost owner. `usage` is all GPU time by GPU and product.
    """

    segment: Segment
    cost: dict[OwnerPhase, Picodollars] = field(default_factory=dict)
    server_cost: dict[ServerCost, Picodollars] = field(default_factory=dict)
    gpu_cost: dict[tuple[Gpu, str], Picodollars] = field(default_factory=dict)
    held: dict[OwnerPhase, Nanoseconds] = field(default_factory=dict)
    usage: dict[tuple[Gpu, str], Nanoseconds] = field(default_factory=dict)
    gpu_held: dict[Gpu, Nanoseconds] = field(default_factory=dict)
    gpu_unowed: dict[Gpu, Nanoseconds] = field(default_factory=dict)
    gpu_down: dict[Gpu, Nanoseconds] = field(default_factory=dict)
    owner_held: dict[tuple[Gpu, CostOwner], Nanoseconds] = field(default_factory=dict)
    owner_down: dict[tuple[Gpu, CostOwner], Nanoseconds] = field(default_factory=dict)
    unpriced: dict[tuple[Gpu, CostOwner], Nanoseconds] = field(default_factory=dict)

    @classmethod
    def of(cls, segment: Segment) -> "SegmentSums":
        """Sum up the postings of a segment."""
        sums = cls(segment)
        # First by owner, of which there are few: a tick has hundreds of postings, and a call of each is slow.
        purposes: dict[tuple[CostOwner, str, PriceBasis], Picodollars] = {}
        cost, gpu_cost, held = sums.cost, sums.gpu_cost, sums.held
        for gpu, component, basis, owner_phase, amount in segment.money:
            cost[owner_phase] = cost.get(owner_phase, 0) + amount
            purpose = owner_phase.owner, component, basis
            purposes[purpose] = purposes.get(purpose, 0) + amount
            of_gpu = gpu, component
            gpu_cost[of_gpu] = gpu_cost.get(of_gpu, 0) + amount
        for (owner, component, basis), amount in purposes.items():
            server_owner = ServerOwner(owner.product, owner.team, owner.namespace, owner.server)
            add(sums.server_cost, (server_owner, component, basis), amount)
        for time in segment.gpu_times:
            gpu, owner_phase, duration, priced, down, unowed, _ = time
            held[owner_phase] = held.get(owner_phase, 0) + time.chargeable
            holder, passed = (gpu, owner_phase.owner), sums.owner_held if priced else sums.unpriced
            passed[holder] = passed.get(holder, 0) + duration
            if unowed:
                add(sums.gpu_unowed, gpu, unowed)
            if down:
                add(sums.gpu_down, gpu, down)
                if priced:
                    add(sums.owner_down, holder, down)
        for (gpu, owner), duration in (*sums.owner_held.items(), *sums.unpriced.items()):
            add(sums.usage, (gpu, owner.product), duration)
            add(sums.gpu_held, gpu, duration)
        return sums


class TickSums(NamedTuple):
    """Postings of one tick, and the sums of their segments: those of the tick, and late charges.

    `tokens` are its tokens with the times that they are of.
    """

    postings: Postings
    segments: tuple[SegmentSums, ...]
    late: tuple[SegmentSums, ...]
    tokens: tuple[tuple[TokenPosting, tuple[TokenTime, ...]], ...]

    @classmethod
    def of(cls, postings: Postings) -> "TickSums":
        """Sum up the segments of a tick."""
        return cls(
            postings,
            tuple(SegmentSums.of(segment) for segment in postings.segments),
            tuple(SegmentSums.of(segment) for segment in postings.late.segments),
            tuple(times_of_tokens(postings)),
        )


class LastHour:
    """Sums by owner over the whole minutes before one; summed again, into a new mapping, when these change.

    A day-old host of 64 servers has 23,000 sums of minutes, and most ticks add only to the last minute.
    """

    def __init__(self) -> None:
        self._minutes: range | None = None
        self._windows: Mapping[CostOwner, Window] = {}

    def invalidate(self, later: "Totals") -> None:
        """Forget the sums when something was added to their minutes."""
        minutes = {key[0] for key in (*later.minute_cost, *later.minute_tokens, *later.minute_latencies)}
        if self._minutes is not None and not minutes.isdisjoint(self._minutes):
            self._minutes = None

    def windows(self, totals: "Totals", minutes: range) -> Mapping[CostOwner, Window]:
        """The sums of these minutes, without unpriced time."""
        if minutes != self._minutes:
            money: dict[CostOwner, dict[str, Picodollars]] = {}
            tokens: dict[CostOwner, dict[TokenKind, int]] = {}
            latencies: dict[CostOwner, dict[tuple[Objective, LatencyBasis, LatencyPart], int]] = {}
            # First over the minutes: there are sixty times as many sums as owners and phases.
            first, end = minutes.start, minutes.stop
            costs: dict[OwnerPhase, Picodollars] = {}
            for (minute, owner_phase), amount in totals.minute_cost.items():
                if first <= minute < end:
                    costs[owner_phase] = costs.get(owner_phase, 0) + amount
            for owner_phase, amount in costs.items():
                money.setdefault(owner_phase.owner, {})[owner_phase.phase] = amount
            for (minute, owner, kind), count in totals.minute_tokens.items():
                if first <= minute < end:
                    counts = tokens.get(owner)
                    if counts is None:
                        counts = tokens[owner] = {}
                    counts[kind] = counts.get(kind, 0) + count
            for (minute, owner, objective, basis, part), count in totals.minute_latencies.items():
                if minute in minutes:
                    add(latencies.setdefault(owner, {}), (objective, basis, part), count)
            self._minutes, self._windows = (
                minutes,
                {
                    owner: Window(money.get(owner, {}), tokens.get(owner, {}), 0, latencies.get(owner, {}))
                    for owner in {**money, **tokens, **latencies}
                },
            )
        return self._windows


HourUse = Mapping[tuple[int, Gpu, str], int]
"""Time or energy by hour, GPU and product."""


def _usage_hours(totals: "Totals", hours: range, times: HourUse, energies: HourUse) -> tuple[UsageHour, ...]:
    """Use of GPUs in those of these hours that were metered."""
    time, energy = _by_hour(times, hours), _by_hour(energies, hours)
    return tuple(
        UsageHour(
            hour * NANOSECONDS_PER_HOUR,
            totals.hour_covered.get(hour, 0),
            totals.hour_down.get(hour, 0),
            time.get(hour, {}),
            energy.get(hour, {}),
        )
        for hour in sorted(time.keys() | (totals.hour_down.keys() & set(hours)))
    )


def _by_hour(sums: HourUse, hours: range) -> dict[int, dict[Gpu, dict[str, int]]]:
    by_hour: dict[int, dict[Gpu, dict[str, int]]] = {}
    for (hour, gpu, product), amount in sums.items():
        if hour in hours:
            by_hour.setdefault(hour, {}).setdefault(gpu, {})[product] = amount
    return by_hour


class HourlyUsage:
    """Use of GPUs in the hours before one, made again when these change or expire, and in that one.

    Of that one only the amounts change in most ticks: which keys are of it is looked up in those of a day
    when others come.
    """

    def __init__(self) -> None:
        self._range: range | None = None
        self._past: tuple[UsageHour, ...] = ()
        self._hour: int | None = None
        self._keys: tuple[HourUse, HourUse] = {}, {}
        """Those of the hour in time and in energy, without amounts."""

    def invalidate(self, later: "Totals", *, expired: bool) -> None:
        """Forget what something was added to, and all when hours expired."""
        added = {key[0] for key in (*later.hour_usage, *later.hour_energy)}
        added.update(later.hour_covered, later.hour_down)
        if expired or (self._range is not None and not added.isdisjoint(self._range)):
            self._range = None
        times, energies = self._keys
        known = later.hour_usage.keys() <= times.keys() and later.hour_energy.keys() <= energies.keys()
        if expired or not known:
            self._hour = None

    def until(self, totals: "Totals", hour: int, before: int) -> tuple[UsageHour, ...]:
        """Those of an hour and of so many before it that were metered."""
        times, energies = totals.hour_usage, totals.hour_energy
        past = range(hour - before, hour)
        if past != self._range:
            self._range, self._past = past, _usage_hours(totals, past, times, energies)
        if hour != self._hour:
            self._hour, self._keys = hour, (_keys_of(times, hour), _keys_of(energies, hour))
        of_time, of_energy = self._keys
        running = _usage_hours(
            totals,
            range(hour, hour + 1),
            {key: times[key] for key in of_time},
            {key: energies[key] for key in of_energy},
        )
        return (*self._past, *running)


def _keys_of(sums: HourUse, hour: int) -> HourUse:
    return dict.fromkeys([key for key in sums if key[0] == hour], 0)


@dataclass(slots=True)
class Totals:
    """Every sum of the ledger. Keys of minutes and hours begin with their number since 1970.

    `changed` is the last time that anything was posted to an owner; its keys are all owners ever posted to.
    `unpriced` is GPU time that had no price when it passed, by its holder.
    `equivalents` are by owner and hosted offer. They are not part of the cost.
    `hour_covered` is the wall time that segments covered, counted once for all products. `hour_down` is the
    part of it without hourly rent. `hour_usage` and `hour_energy` are the use of each GPU by product.
    `latencies` are the counts of `LatencyPosting`s.
    `first_held` is when each product first held a GPU.
    `preemptions` are requests that were preempted.
    Sums of money, time and energy are exact. What servers report (`WITH_CEILING`) stops at `LARGEST`: absurd
    counts cannot stop the ledger.
    """

    accrued: Picodollars = 0
    cost: dict[OwnerPhase, Picodollars] = field(default_factory=dict)
    held: dict[OwnerPhase, Nanoseconds] = field(default_factory=dict)
    server_cost: dict[tuple[ServerOwner, str], Picodollars] = field(default_factory=dict)
    gpu_cost: dict[tuple[Gpu, str], Picodollars] = field(default_factory=dict)
    tokens: dict[tuple[CostOwner, TokenKind], int] = field(default_factory=dict)
    requests: dict[CostOwner, int] = field(default_factory=dict)
    preemptions: dict[CostOwner, int] = field(default_factory=dict)
    energy: dict[Gpu, Millijoules] = field(default_factory=dict)
    unpriced: dict[tuple[Gpu, CostOwner], Nanoseconds] = field(default_factory=dict)
    months: dict[MonthKey, Picodollars] = field(default_factory=dict)
    minute_cost: dict[tuple[int, OwnerPhase], Picodollars] = field(default_factory=dict)
    minute_tokens: dict[tuple[int, CostOwner, TokenKind], int] = field(default_factory=dict)
    hour_cost: dict[tuple[int, str], Picodollars] = field(default_factory=dict)
    hour_covered: dict[int, Nanoseconds] = field(default_factory=dict)
    hour_down: dict[int, Nanoseconds] = field(default_factory=dict)
    hour_usage: dict[tuple[int, Gpu, str], Nanoseconds] = field(default_factory=dict)
    hour_energy: dict[tuple[int, Gpu, str], Millijoules] = field(default_factory=dict)
    first_held: dict[str, Instant] = field(default_factory=dict)
    equivalents: dict[tuple[CostOwner, str], Picodollars] = field(default_factory=dict)
    latencies: dict[tuple[CostOwner, Objective, LatencyBasis, LatencyPart], int] = field(default_factory=dict)
    minute_latencies: dict[tuple[int, CostOwner, Objective, LatencyBasis, LatencyPart], int] = field(
        default_factory=dict
    )
    last_token: dict[CostOwner, Instant] = field(default_factory=dict)
    changed: dict[CostOwner, Instant] = field(default_factory=dict)
    last_hour: LastHour = field(default_factory=LastHour, compare=False)
    usage: HourlyUsage = field(default_factory=HourlyUsage, compare=False)
    pruned: int = field(default=-1, compare=False)
    """The minute of the latest pruning."""

    def add(self, tick: TickSums, listed: Container[CostOwner]) -> None:
        """Add one tick. Owners that are `listed` already get no first entry in `changed`."""
        postings = tick.postings
        end = postings.end
        for sums in tick.segments:
            self._add_segment(sums, end)
        for sums in tick.late:
            self._add_money(sums, end)
            add_all(self.held, sums.held)
        # A tick's counts came before its end: at the end of a minute they are of that minute.
        minute = minute_of(end - 1)
        for tokens in postings.tokens:
            _count(self.tokens, (tokens.owner, tokens.kind), tokens.count)
        for moved, times in tick.tokens:
            owner, kind = moved.owner, moved.kind
            for at, _, count in times:
                _count(self.minute_tokens, (minute_of(at), owner, kind), count)
        served = dict.fromkeys([moved.owner for moved, _ in tick.tokens], end)
        self.last_token.update(served)
        self.changed.update(served)
        for equivalent in postings.equivalents:
            _count(self.equivalents, (equivalent.owner, equivalent.reference), equivalent.amount)
        for counts, rows in ((self.requests, postings.requests), (self.preemptions, postings.preemptions)):
            for requests in rows:
                _count(counts, requests.owner, requests.count)
                if requests.count:
                    self.changed[requests.owner] = end
        for latency in postings.latencies:
            owner, objective, basis = latency.owner, latency.objective, latency.basis
            for part in LATENCY_PARTS:
                count = getattr(latency, part)
                _count(self.latencies, (owner, objective, basis, part), count)
                if latency.total:
                    _count(self.minute_latencies, (minute, owner, objective, basis, part), count)
        for energy in postings.energy:
            add(self.energy, energy.gpu, energy.energy)
        for at, gpu, product, used in energy_by_product(postings):
            add(self.hour_energy, (hour_of(at), gpu, product), used)
        posted = {moved.owner for moved in postings.tokens} | {done.owner for done in postings.requests}
        for owner in posted.union(postings.owners):
            if owner not in listed:
                self.changed.setdefault(owner, end)
        self.prune(end)

    def _add_segment(self, sums: SegmentSums, end: Instant) -> None:
        segment = sums.segment
        hour = hour_of(segment.start)
        add(self.hour_covered, hour, segment.end - segment.start)
        if segment.down:
            add(self.hour_down, hour, segment.down)
        self._add_money(sums, end)
        add_all(self.held, sums.held)
        add_all(self.unpriced, sums.unpriced)
        for (gpu, product), duration in sums.usage.items():
            add(self.hour_usage, (hour, gpu, product), duration)
            self.first_held[product] = min(self.first_held.get(product, segment.start), segment.start)
        self.changed.update(dict.fromkeys([owner for _, owner in (*sums.owner_held, *sums.unpriced)], end))

    def _add_money(self, sums: SegmentSums, end: Instant) -> None:
        """Add money at the time that it covers, whenever it is posted."""
        segment = sums.segment
        minute, hour = minute_of(segment.start), hour_of(segment.start)
        hour_stays = hour > hour_of(end) - HOURS_KEPT
        self.accrued += segment.accrued
        add_all(self.cost, sums.cost)
        add_all(self.gpu_cost, sums.gpu_cost)
        add_all(self.minute_cost, {(minute, key): amount for key, amount in sums.cost.items()})
        self.changed.update(dict.fromkeys([owner_phase.owner for owner_phase in sums.cost], end))
        # First by product, team and basis, of which there are few.
        months: dict[tuple[str, str, str], Picodollars] = {}
        for (server_owner, component, basis), amount in sums.server_cost.items():
            add(self.server_cost, (server_owner, component), amount)
            add(months, (server_owner.product, server_owner.team, basis), amount)
        for (product, team, basis), amount in months.items():
            add(self.months, MonthKey(product, team, basis, segment.month), amount)
            if hour_stays:
                add(self.hour_cost, (hour, product), amount)

    def after(self, later: "Totals", end: Instant) -> "Totals":
        """Totals after more was added, up to a tick's end, as `advanced`."""
        return self.advanced(later, end)[0]

    def advanced(self, later: "Totals", end: Instant) -> "tuple[Totals, Changed]":
        """Totals after more was added, up to a tick's end, without the minutes and hours that expired.

        The totals before stay as they are. Families without an addition are shared.

        Returns:
            The totals, and those of them that changed.
        """
        prunes = self.pruned != minute_of(end) or not later.hour_covered.keys() <= self.hour_covered.keys()
        changed: Changed = {
            name: _changed(name, getattr(self, name), moved)
            for name in SUMS
            if (moved := getattr(later, name))
        }
        copies: dict[str, Any] = {
            name: {**getattr(self, name), **changed.get(name, {})}
            for name in SUMS
            if changed.get(name) or (prunes and name in PRUNED)
        }
        totals = replace(self, accrued=self.accrued + later.accrued, **copies)
        totals.last_hour.invalidate(later)
        totals.usage.invalidate(later, expired=prunes and totals.prune(end))
        if prunes:
            for name in PRUNED & changed.keys():
                stays = getattr(totals, name)
                changed[name] = {key: total for key, total in changed[name].items() if key in stays}
        return totals, changed

    def copy(self) -> "Totals":
        """A copy to add to."""
        copies: dict[str, Any] = {name: dict(getattr(self, name)) for name in SUMS}
        return replace(self, **copies)

    def prune(self, end: Instant) -> bool:
        """Delete minutes and hours that expired. Returns whether there were such hours."""
        self.pruned = minute_of(end)
        first, last = minutes_kept(end)
        for of_cost in [key for key in self.minute_cost if not first <= key[0] <= last]:
            del self.minute_cost[of_cost]
        for of_tokens in [key for key in self.minute_tokens if not first <= key[0] <= last]:
            del self.minute_tokens[of_tokens]
        for of_latency in [key for key in self.minute_latencies if not first <= key[0] <= last]:
            del self.minute_latencies[of_latency]
        floor = hours_floor(self.hour_covered)
        expired = [hour for hour in self.hour_covered if hour < floor]
        for hour in expired:
            del self.hour_covered[hour]
            for of_hour in [key for key in self.hour_cost if key[0] == hour]:
                del self.hour_cost[of_hour]
        recent = hours_floor(self.hour_covered, USAGE_HOURS_KEPT)
        for used in (self.hour_usage, self.hour_energy):
            for of_use in [key for key in used if key[0] < recent]:
                del used[of_use]
                expired.append(of_use[0])
        for hour in [hour for hour in self.hour_down if hour < recent]:
            del self.hour_down[hour]
            expired.append(hour)
        return bool(expired)


USAGE: Final = frozenset({"hour_usage", "hour_energy", "hour_down"})
"""Totals of the last day alone."""

PRUNED: Final = USAGE | {"minute_cost", "minute_tokens", "minute_latencies", "hour_covered", "hour_cost"}
"""Totals that lose keys as time goes on."""

SUMS: Final = tuple(item.name for item in fields(Totals) if item.default_factory is dict)
"""The totals that have keys."""


Changed = dict[str, dict[Any, int]]
"""Totals that changed, by family."""


def _changed(name: str, earlier: Mapping[Any, int], later: Mapping[Any, int]) -> dict[Any, int]:
    """Totals of one family that an addition changes: instants are replaced, counts stop at a ceiling."""
    total_of = earlier.get
    if name in {"last_token", "changed"}:
        return {key: instant for key, instant in later.items() if total_of(key) != instant}
    if name == "first_held":
        return {key: instant for key, instant in later.items() if instant < total_of(key, LARGEST)}
    totals = {key: total_of(key, 0) + added for key, added in later.items() if added or key not in earlier}
    if name in WITH_CEILING and totals and max(totals.values()) > LARGEST:
        return {key: min(total, LARGEST) for key, total in totals.items()}
    return totals


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


def hours_floor(hours: Collection[int], most: int | None = None) -> int:
    """The first of the latest hours that stay: `most` of them, `HOURS_KEPT` by default.

    Only metered hours count, so that a wall clock a year ahead for a moment costs no history.
    """
    return sorted(hours)[-(most or HOURS_KEPT) :][0] if hours else 0


def _count(counts: dict[K, int], key: K, count: int) -> None:
    counts[key] = min(counts.get(key, 0) + count, LARGEST)


def _owner_phase(names: Names, key: tuple[int, ...]) -> OwnerPhase:
    return OwnerPhase(names.owner(key[0]), names.label(key[1]))  # type: ignore[arg-type]


_BY_OWNER_PHASE: Final = RowLayout(lambda key: (key.owner, key.phase), _owner_phase)
_BY_OWNER: Final = RowLayout(lambda owner: (owner,), lambda n, k: n.owner(k[0]))

LAYOUTS: Final[dict[str, RowLayout]] = {
    "cost": _BY_OWNER_PHASE,
    "held": _BY_OWNER_PHASE,
    "server_cost": RowLayout(
        lambda key: (key[0].product, key[0].team, key[0].namespace, key[0].server, key[1]),
        lambda n, k: (ServerOwner(*map(n.label, k[:4])), n.label(k[4])),
    ),
    "gpu_cost": RowLayout(tuple, lambda n, k: (n.gpu(k[0]), n.label(k[1]))),
    "tokens": RowLayout(tuple, lambda n, k: (n.owner(k[0]), n.label(k[1]))),
    "requests": _BY_OWNER,
    "preemptions": _BY_OWNER,
    "energy": RowLayout(lambda gpu: (gpu,), lambda n, k: n.gpu(k[0])),
    "unpriced": RowLayout(tuple, lambda n, k: (n.gpu(k[0]), n.owner(k[1]))),
    "months": RowLayout(
        lambda key: (key.month, key.product, key.team, key.price_basis),
        lambda n, k: MonthKey(n.label(k[1]), n.label(k[2]), n.label(k[3]), n.label(k[0])),
    ),
    "minute_cost": RowLayout(
        lambda key: (key[0], key[1].owner, key[1].phase), lambda n, k: (k[0], _owner_phase(n, k[1:]))
    ),
    "minute_tokens": RowLayout(tuple, lambda n, k: (k[0], n.owner(k[1]), n.label(k[2]))),
    "hour_cost": RowLayout(tuple, lambda n, k: (k[0], n.label(k[1]))),
    "hour_covered": RowLayout(lambda hour: (hour,), lambda _, k: k[0]),
    "hour_down": RowLayout(lambda hour: (hour,), lambda _, k: k[0]),
    "hour_usage": RowLayout(tuple, lambda n, k: (k[0], n.gpu(k[1]), n.label(k[2]))),
    "hour_energy": RowLayout(tuple, lambda n, k: (k[0], n.gpu(k[1]), n.label(k[2]))),
    "first_held": RowLayout(lambda product: (product,), lambda n, k: n.label(k[0])),
    "equivalents": RowLayout(tuple, lambda n, k: (n.owner(k[0]), n.label(k[1]))),
    "latencies": RowLayout(tuple, lambda n, k: (n.owner(k[0]), n.label(k[1]), n.label(k[2]), n.label(k[3]))),
    "minute_latencies": RowLayout(tuple, lambda n, k: (k[0], n.owner(k[1]), *map(n.label, k[2:]))),
    "last_token": _BY_OWNER,
    "changed": _BY_OWNER,
}


def write_totals(connection: sqlite3.Connection, keys: Keys, changed: Changed) -> None:
    """Write each total that changed as a whole: writing it twice changes nothing.

    Raises:
        OverflowError: a total passes what the file holds.
    """
    for name, totals in changed.items():
        if totals:
            schema.check_totals(totals.values(), name)
            row = keys.rows(LAYOUTS[name], lasting=name not in PRUNED)
            schema.write_rows(connection, name, map(row, totals), totals.values())


def read_totals(connection: sqlite3.Connection) -> Totals:
    """All totals of the file.

    Raises:
        DamagedError: a row refers to what is not there.
    """
    totals = Totals()
    with schema.references():
        names = Names(connection)
        for name in SUMS:
            layout, sums = LAYOUTS[name], getattr(totals, name)
            for *key, value in connection.execute(schema.select(name)):
                sums[layout.built(names, tuple(key))] = value
    return totals

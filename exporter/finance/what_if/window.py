"""The load and the cost of the last hours of all hosts, for comparing choices. Pure.

An hour in which GPU time waits for a price, or was before owned hardware was in service, is left out: what
it costs is not known.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final, Literal, NamedTuple

from exporter.advice import LEAST_HOURS
from exporter.cost.money import add, add_all
from exporter.cost.postings import BUSY_PHASES
from exporter.ledger.history import ESTIMATE, HistorySums
from exporter.readings import ServerKey, TokenKind
from exporter.tariff.tariff import ENERGY, HARDWARE, RENT
from exporter.units import NANOSECONDS_PER_HOUR, Nanoseconds, Picodollars

FAMILIES: Final = (
    "server_cost",
    "held",
    "tokens",
    "gpu_cost",
    "gpu_held",
    "gpu_unowed",
    "gpu_down",
    "unpriced",
    "settled",
)
"""Families of history that are needed."""


class ServedModel(NamedTuple):
    """A model of a server."""

    server: ServerKey
    model: str


class RentedTime(NamedTuple):
    """Rent of GPUs of one model in an hour, and the GPU time that it is for."""

    rent: Picodollars
    gpu_time: Nanoseconds


class NotComparableError(Exception):
    """There is too little to compare; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class WindowHour:
    """One hour of all hosts: `covered` is how much of it was metered.

    `money` is by server and component, and `estimated` the part of it at estimated prices. `gpu_time` is what
    is owed, and `busy` the part in which GPUs worked.
    `moved` is what `tokens` lack, or have too much, of what was served in the hour: see `_spread`.
    `rented` is by GPU model. `unpriced` is GPU time that waits for a price, by server, and `before_service`
    that of owned hardware before its service.
    """

    covered: Nanoseconds = 0
    before_service: Nanoseconds = 0
    money: dict[tuple[ServerKey, str], Picodollars] = field(default_factory=dict)
    estimated: dict[tuple[ServerKey, str], Picodollars] = field(default_factory=dict)
    gpu_time: dict[ServerKey, Nanoseconds] = field(default_factory=dict)
    busy: dict[ServerKey, Nanoseconds] = field(default_factory=dict)
    tokens: dict[tuple[ServedModel, TokenKind], int] = field(default_factory=dict)
    moved: dict[tuple[ServedModel, TokenKind], int] = field(default_factory=dict)
    rented: dict[str, RentedTime] = field(default_factory=dict)
    unpriced: dict[ServerKey, Nanoseconds] = field(default_factory=dict)

    @property
    def servers(self) -> AbstractSet[ServerKey]:
        """Those that held a GPU or served."""
        return {*self.gpu_time, *self.unpriced, *(model.server for model, _ in self.tokens)}


Hours = Mapping[int, WindowHour]
"""By hours since 1970."""


def host_hours(history: Mapping[int, HistorySums], covered: Mapping[int, Nanoseconds]) -> Hours:
    """The hours of one ledger."""
    hours = {hour: _host_hour(sums, covered.get(hour, 0)) for hour, sums in history.items()}
    unobserved = {
        hour: {owner.key for (owner, phase), time in sums.held.items() if phase == "unobserved" and time > 0}
        for hour, sums in history.items()
    }
    _spread(hours, unobserved)
    return hours


def _spread(hours: Hours, unobserved: Mapping[int, Collection[ServerKey]]) -> None:
    """Move tokens that were counted after hours without observation into these, evenly.

    A server that was not read for some hours has the tokens of all of them in the hour in which it is read
    again. An hour in which some of its tokens were counted was observed, if not for all of the time.
    """
    waiting: dict[ServerKey, list[int]] = {}
    for number, hour in sorted(hours.items()):
        served = {key.server for (key, _), count in hour.tokens.items() if count > 0}
        before = {server: since for server, since in waiting.items() if since[-1] == number - 1}
        for (model, kind), count in hour.tokens.items():
            since = before.get(model.server, [])
            each = count // (len(since) + 1)
            if since and each > 0:
                for earlier in since:
                    add(hours[earlier].moved, (model, kind), each)
                add(hour.moved, (model, kind), -each * len(since))
        waiting = {
            server: [*before.get(server, []), number]
            for server in unobserved.get(number, ())
            if server not in served
        }


def _host_hour(sums: HistorySums, covered: Nanoseconds) -> WindowHour:
    hour = WindowHour(
        min(covered, NANOSECONDS_PER_HOUR),
        sums.before_service(),
        sums.by_component(),
        sums.by_component(ESTIMATE),
    )
    for (owner, phase), time in sums.held.items():
        add(hour.gpu_time, owner.key, time)
        if phase in BUSY_PHASES:
            add(hour.busy, owner.key, time)
    for (owner, kind), count in sums.tokens.items():
        add(hour.tokens, (ServedModel(owner.key, owner.model), kind), count)
    gpu_time = sums.gpu_owed()
    for (gpu, component), amount in sums.gpu_cost.items():
        if component == RENT:
            before = hour.rented.get(gpu.gpu_model, RentedTime(0, 0))
            time = before.gpu_time + gpu_time.get(gpu, 0)
            hour.rented[gpu.gpu_model] = RentedTime(before.rent + amount, time)
    for (_gpu, owner), time in sums.waiting().items():
        add(hour.unpriced, owner.key, time)
    return hour


def fleet_hours(hosts: Iterable[Hours]) -> Hours:
    """The hours of all hosts together; an hour is as long as it was metered on the host that metered most."""
    fleet: dict[int, WindowHour] = {}
    for hours in hosts:
        for number, hour in hours.items():
            before = fleet.get(number)
            fleet[number] = hour if before is None else _together(before, hour)
    return fleet


def _together(one: WindowHour, other: WindowHour) -> WindowHour:
    both = WindowHour(max(one.covered, other.covered), one.before_service + other.before_service)
    for hour in (one, other):
        add_all(both.money, hour.money)
        add_all(both.estimated, hour.estimated)
        add_all(both.gpu_time, hour.gpu_time)
        add_all(both.busy, hour.busy)
        add_all(both.tokens, hour.tokens)
        add_all(both.moved, hour.moved)
        add_all(both.unpriced, hour.unpriced)
        for model, (rent, time) in hour.rented.items():
            before = both.rented.get(model, RentedTime(0, 0))
            both.rented[model] = RentedTime(before.rent + rent, before.gpu_time + time)
    return both


@dataclass(frozen=True, slots=True)
class LoadHour:
    """One hour of the servers that are compared.

    `owned` is the part of `paid` that is owed unused too, `estimated` the part at estimated prices.
    """

    hour: int
    covered: Nanoseconds
    paid: Picodollars
    owned: Picodollars
    estimated: Picodollars
    gpu_time: Nanoseconds
    busy: Nanoseconds
    by_server: Mapping[ServerKey, Picodollars]
    tokens: Mapping[tuple[ServedModel, TokenKind], int]
    moved: Mapping[tuple[ServedModel, TokenKind], int]
    rented: Mapping[str, RentedTime]

    @property
    def all_tokens(self) -> int:
        """Tokens of all kinds."""
        return sum(self.tokens.values())

    def demand(self, counts: Literal["all", "generation"]) -> int:
        """Tokens that were served in the hour, rather than counted in it; of all kinds or generated ones."""
        return sum(
            count
            for tokens in (self.tokens, self.moved)
            for (_, kind), count in tokens.items()
            if counts in ("all", kind)
        )


@dataclass(frozen=True, slots=True)
class MeasuredLoad:
    """What was served and paid: hardware and electricity. `overheads` stay whatever is chosen.

    `wall_hours` are those of the window but for the `left_out`; some of them may not have been metered.
    `servers` is the pattern of the servers, empty for all and unallocated GPUs.
    """

    hours: tuple[LoadHour, ...]
    wall_hours: int
    left_out: int
    overheads: Picodollars
    servers: str = ""

    @property
    def paid(self) -> Picodollars:
        """The money of the window."""
        return sum(hour.paid for hour in self.hours)

    @property
    def owned(self) -> Picodollars:
        """The part of it that is owed unused too."""
        return sum(hour.owned for hour in self.hours)

    @property
    def estimated(self) -> Picodollars:
        """The part of it at estimated prices."""
        return sum(hour.estimated for hour in self.hours)

    @property
    def covered(self) -> Nanoseconds:
        """Metered time."""
        return sum(hour.covered for hour in self.hours)

    @property
    def tokens(self) -> dict[ServedModel, dict[TokenKind, int]]:
        """Tokens of the window by model and kind; models without any are left out."""
        sums: dict[ServedModel, dict[TokenKind, int]] = {}
        for hour in self.hours:
            for (served, kind), count in hour.tokens.items():
                if count > 0:
                    add(sums.setdefault(served, {}), kind, count)
        return sums

    @property
    def all_tokens(self) -> int:
        """Tokens of all kinds."""
        return sum(hour.all_tokens for hour in self.hours)

    def paid_for(self, servers: Collection[ServerKey]) -> Picodollars:
        """The money of some servers."""
        return sum(amount for hour in self.hours for key, amount in hour.by_server.items() if key in servers)

    def per_day(self, amount: Fraction | int) -> Fraction:
        """An amount of the window on a mean day."""
        return Fraction(amount) * 24 / self.wall_hours


OWNED_COMPONENTS: Final = frozenset(HARDWARE) - {RENT}
COMPARED_COMPONENTS: Final = frozenset((*HARDWARE, ENERGY))


def measured_load(
    hours: Hours, first: int, last: int, servers: str, matches: Callable[[ServerKey], bool]
) -> MeasuredLoad:
    """The hours from the first to the last that can be compared; of some servers, from their own first.

    Raises:
        NotComparableError: they are too few, or no GPU time is owed in them.
    """
    listed: list[LoadHour] = []
    overheads = left_out = 0
    if servers:
        metered = (number for number in range(first, last + 1) if number in hours)
        first = next((number for number in metered if any(map(matches, hours[number].servers))), first)
    for number in range(first, last + 1):
        hour = hours.get(number)
        if hour is None:
            continue
        if hour.before_service or any(time > 0 and matches(key) for key, time in hour.unpriced.items()):
            left_out += 1
            continue
        by_server: dict[ServerKey, int] = {}
        owned = 0
        for (key, component), amount in hour.money.items():
            if not matches(key):
                continue
            if component in COMPARED_COMPONENTS:
                add(by_server, key, amount)
            else:
                overheads += amount
            owned += amount if component in OWNED_COMPONENTS else 0
        listed.append(
            LoadHour(
                number,
                hour.covered,
                sum(by_server.values()),
                owned,
                sum(
                    amount
                    for (key, component), amount in hour.estimated.items()
                    if matches(key) and component in COMPARED_COMPONENTS
                ),
                sum(time for key, time in hour.gpu_time.items() if matches(key)),
                sum(time for key, time in hour.busy.items() if matches(key)),
                by_server,
                {key: count for key, count in hour.tokens.items() if matches(key[0].server)},
                {key: count for key, count in hour.moved.items() if matches(key[0].server)},
                hour.rented,
            )
        )
    load = MeasuredLoad(tuple(listed), last + 1 - first - left_out, left_out, overheads, servers)
    _check(load)
    return load


def _check(load: MeasuredLoad) -> None:
    if load.wall_hours < LEAST_HOURS:
        unpriced = f" and {load.left_out} in which GPU time has no price" if load.left_out else ""
        raise NotComparableError(
            f"hours of history: {max(0, load.wall_hours)}{unpriced}; a comparison needs {LEAST_HOURS}"
        )
    if load.servers and not any(hour.gpu_time or hour.tokens for hour in load.hours):
        raise NotComparableError(f"no server of the window is called {load.servers}; `explain` lists them")
    if load.paid <= 0:
        raise NotComparableError("nothing was paid for hardware or electricity; price the hardware first")

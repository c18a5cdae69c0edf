"""The load and the cost of the last hours of all hosts, for comparing choices. Pure.

An hour in which GPU time is unpriced, or was before owned hardware was in service, is left out: what
it costs is not known.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Final, Literal, NamedTuple

from exporter.advice.hours import LEAST_HOURS
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


OWNED_COMPONENTS: Final = frozenset(HARDWARE) - {RENT}
COMPARED_COMPONENTS: Final = frozenset((*HARDWARE, ENERGY))

ServerMoney = dict[tuple[ServerKey, str], Picodollars]
"""By server and component."""
ModelTokens = dict[tuple[ServedModel, TokenKind], int]


@dataclass(frozen=True, slots=True)
class LoadHour:
    """One hour of one host or of all, or several hours together."""

    covered: Nanoseconds = 0
    """Metered time of the hour: on the host that metered most."""
    before_service: Nanoseconds = 0
    """GPU time of owned hardware before its service."""
    money: ServerMoney = field(default_factory=dict)
    """Money of all components."""
    estimated: ServerMoney = field(default_factory=dict)
    """The part of the money at estimated prices."""
    gpu_time: dict[ServerKey, Nanoseconds] = field(default_factory=dict)
    """Chargeable GPU time."""
    busy: dict[ServerKey, Nanoseconds] = field(default_factory=dict)
    """GPU time in which GPUs worked."""
    tokens: ModelTokens = field(default_factory=dict)
    """Tokens that were counted in the hour."""
    moved: ModelTokens = field(default_factory=dict)
    """Tokens that `tokens` lack, or have too much, of what was served in the hour."""
    rented: dict[str, RentedTime] = field(default_factory=dict)
    """Rent by GPU model, whichever servers hold the GPUs."""
    unpriced: dict[ServerKey, Nanoseconds] = field(default_factory=dict)
    """Unpriced GPU time."""

    @property
    def servers(self) -> AbstractSet[ServerKey]:
        """Servers that held a GPU or served."""
        return {*self.gpu_time, *self.unpriced, *(model.server for model, _ in self.tokens)}

    @property
    def paid(self) -> Picodollars:
        """Money of hardware and electricity."""
        return sum_of(self.money, COMPARED_COMPONENTS)

    def paid_for(self, servers: Collection[ServerKey]) -> Picodollars:
        """Money of hardware and electricity of some servers."""
        return self.only(servers.__contains__).paid

    @property
    def owned(self) -> Picodollars:
        """Money of owned hardware, which is owed unused too."""
        return sum_of(self.money, OWNED_COMPONENTS)

    @property
    def estimated_paid(self) -> Picodollars:
        """The part of the money of hardware and electricity that is at estimated prices."""
        return sum_of(self.estimated, COMPARED_COMPONENTS)

    @property
    def overheads(self) -> Picodollars:
        """Other money, which stays whatever is chosen."""
        return sum(self.money.values()) - self.paid

    @property
    def all_gpu_time(self) -> Nanoseconds:
        """Chargeable GPU time of all servers."""
        return sum(self.gpu_time.values())

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

    def only(self, matches: Callable[[ServerKey], bool]) -> "LoadHour":
        """The part of some servers."""
        return replace(
            self,
            money={key: amount for key, amount in self.money.items() if matches(key[0])},
            estimated={key: amount for key, amount in self.estimated.items() if matches(key[0])},
            gpu_time={key: time for key, time in self.gpu_time.items() if matches(key)},
            busy={key: time for key, time in self.busy.items() if matches(key)},
            tokens={key: count for key, count in self.tokens.items() if matches(key[0].server)},
            moved={key: count for key, count in self.moved.items() if matches(key[0].server)},
            unpriced={key: time for key, time in self.unpriced.items() if matches(key)},
        )


def sum_of(money: Mapping[tuple[ServerKey, str], Picodollars], components: Collection[str]) -> Picodollars:
    """Money of some components."""
    return sum(amount for (_, component), amount in money.items() if component in components)


def combined(hours: Iterable[LoadHour], covered: Nanoseconds) -> LoadHour:
    """Hours together, of which so much time was metered."""
    whole = LoadHour(covered)
    before_service = 0
    for hour in hours:
        before_service += hour.before_service
        add_all(whole.money, hour.money)
        add_all(whole.estimated, hour.estimated)
        add_all(whole.gpu_time, hour.gpu_time)
        add_all(whole.busy, hour.busy)
        add_all(whole.tokens, hour.tokens)
        add_all(whole.moved, hour.moved)
        add_all(whole.unpriced, hour.unpriced)
        for model, time in hour.rented.items():
            before = whole.rented.get(model, RentedTime(0, 0))
            whole.rented[model] = RentedTime(before.rent + time.rent, before.gpu_time + time.gpu_time)
    return replace(whole, before_service=before_service)


Hours = Mapping[int, LoadHour]
"""By hours since 1970."""


def host_hours(history: Mapping[int, HistorySums], covered: Mapping[int, Nanoseconds]) -> Hours:
    """The hours of one ledger."""
    hours = {number: _load_hour(sums, covered.get(number, 0)) for number, sums in history.items()}
    unobserved = {
        number: {
            owner.key for (owner, phase), time in sums.held.items() if phase == "unobserved" and time > 0
        }
        for number, sums in history.items()
    }
    moved = _moved_tokens(hours, unobserved)
    return {number: replace(hour, moved=moved.get(number, {})) for number, hour in hours.items()}


def _load_hour(sums: HistorySums, covered: Nanoseconds) -> LoadHour:
    """One hour of a ledger, with its tokens where they were counted."""
    hour = LoadHour(
        covered=min(covered, NANOSECONDS_PER_HOUR),
        before_service=sums.before_service(),
        money=sums.by_component(),
        estimated=sums.by_component(ESTIMATE),
    )
    for (owner, phase), time in sums.held.items():
        add(hour.gpu_time, owner.key, time)
        if phase in BUSY_PHASES:
            add(hour.busy, owner.key, time)
    for (owner, kind), count in sums.tokens.items():
        add(hour.tokens, (ServedModel(owner.key, owner.model), kind), count)
    gpu_time = sums.gpu_chargeable()
    for (gpu, component), amount in sums.gpu_cost.items():
        if component == RENT:
            before = hour.rented.get(gpu.gpu_model, RentedTime(0, 0))
            time = before.gpu_time + gpu_time.get(gpu, 0)
            hour.rented[gpu.gpu_model] = RentedTime(before.rent + amount, time)
    for (_gpu, owner), time in sums.still_unpriced().items():
        add(hour.unpriced, owner.key, time)
    return hour


def _moved_tokens(hours: Hours, unobserved: Mapping[int, Collection[ServerKey]]) -> dict[int, ModelTokens]:
    """Tokens that were counted after hours without observation, moved into these evenly.

    A server that was not read for some hours has the tokens of all of them in the hour in which it is read
    again: 3,001 after two such hours are 1,000 in each of them, and 1,001 there. An hour in which some of its
    tokens were counted was observed, if not for all of the time.
    """
    moved: dict[int, ModelTokens] = {}
    waiting: dict[ServerKey, list[int]] = {}
    for number, hour in sorted(hours.items()):
        served = {key.server for (key, _), count in hour.tokens.items() if count > 0}
        before = {server: since for server, since in waiting.items() if since[-1] == number - 1}
        for (model, kind), count in hour.tokens.items():
            since = before.get(model.server, [])
            share = count // (len(since) + 1)
            if since and share > 0:
                for earlier in since:
                    add(moved.setdefault(earlier, {}), (model, kind), share)
                add(moved.setdefault(number, {}), (model, kind), -share * len(since))
        waiting = {
            server: [*before.get(server, []), number]
            for server in unobserved.get(number, ())
            if server not in served
        }
    return moved


def fleet_hours(hosts: Iterable[Hours]) -> Hours:
    """The hours of all hosts together."""
    fleet: dict[int, LoadHour] = {}
    for hours in hosts:
        for number, hour in hours.items():
            both = [fleet[number], hour] if number in fleet else [hour]
            fleet[number] = combined(both, covered=max(part.covered for part in both))
    return fleet


@dataclass(frozen=True, slots=True)
class MeasuredLoad:
    """What was served and paid in a window. What hardware and electricity cost is compared."""

    hours: Hours
    """Hours of the servers that are compared, without those left out."""
    whole: LoadHour
    """All of the compared hours together."""
    wall_hours: int
    """Hours of the window but for those left out; some of them may not have been metered."""
    left_out: int
    """Hours in which GPU time has no price."""
    servers: str = ""
    """The pattern of the servers, empty for all and unallocated GPUs."""

    @property
    def tokens(self) -> dict[ServedModel, dict[TokenKind, int]]:
        """Tokens of the window by model and kind; models without any are left out."""
        sums: dict[ServedModel, dict[TokenKind, int]] = {}
        for (served, kind), count in self.whole.tokens.items():
            if count > 0:
                sums.setdefault(served, {})[kind] = count
        return sums

    def per_day(self, amount: Fraction | int) -> Fraction:
        """An amount of the window on a mean day."""
        return Fraction(amount) * 24 / self.wall_hours


def measured_load(
    hours: Hours, first: int, last: int, servers: str, matches: Callable[[ServerKey], bool]
) -> MeasuredLoad:
    """The hours from the first to the last that can be compared; of some servers, from their own first.

    Raises:
        NotComparableError: they are too few, or no GPU time is chargeable in them.
    """
    if servers:
        metered = (number for number in range(first, last + 1) if number in hours)
        first = next((number for number in metered if any(map(matches, hours[number].servers))), first)
    window = {number: hours[number].only(matches) for number in range(first, last + 1) if number in hours}
    compared = {
        number: hour
        for number, hour in window.items()
        if not hour.before_service and not any(time > 0 for time in hour.unpriced.values())
    }
    left_out = len(window) - len(compared)
    load = MeasuredLoad(
        hours=compared,
        whole=combined(compared.values(), covered=sum(hour.covered for hour in compared.values())),
        wall_hours=last + 1 - first - left_out,
        left_out=left_out,
        servers=servers,
    )
    if load.wall_hours < LEAST_HOURS:
        unpriced = f" and {left_out} in which GPU time has no price" if left_out else ""
        raise NotComparableError(
            f"hours of history: {max(0, load.wall_hours)}{unpriced}; a comparison needs {LEAST_HOURS}"
        )
    if servers and not load.whole.all_gpu_time and not load.whole.tokens:
        raise NotComparableError(f"no server of the window is called {servers}; `explain` lists them")
    if load.whole.paid <= 0:
        raise NotComparableError("nothing was paid for hardware or electricity; price the hardware first")
    return load

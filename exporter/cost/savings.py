"""Savings: GPU time of the last days that could have been spared, at present prices. Pure.

Nothing here is posted. Each GPU-hour belongs to one finding, so that findings can be added up.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Final, Literal, NamedTuple
from zoneinfo import ZoneInfo

from exporter.cost.attribution import UNALLOCATED_KEY
from exporter.cost.money import add
from exporter.cost.policy import SAVING_KINDS, IgnoredSaving, SavingKind
from exporter.cost.postings import CostOwner, OwnerPhase
from exporter.readings import Gpu, Kind, ServerKey
from exporter.tariff.hosted import HostedPrice, equivalent
from exporter.tariff.rate import PRICE_BASES, PriceBasis
from exporter.units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_SECOND, Instant, Nanoseconds, Picodollars

LEAST_HOURS: Final = 24
"""Hours of history from which anything is judged, and hours after which a silent server is deserted."""

WEEK_HOURS: Final = 168
SCHEDULE_HOURS: Final = 2 * WEEK_HOURS
"""History from which a schedule is judged: each hour of the week twice."""

LEAST_REST: Final = 4
"""Hours in a row that are worth a stop and a start."""

OFFER_DAYS: Final = 366
"""Age from which the price of an offer is not compared."""

RESTING_PARTS: Final = 100
"""An hour rests if less than one part in so many was busy or unobserved."""

FREE_PARTS: Final = 20
"""A GPU counts as free in an hour if it was held for less than one part in so many."""

FREE_HOURS: Final = 10
"""A GPU counts as free if it was held in less than one of so many hours of the last day."""

Release = Literal["gpu", "host", "owned", "lease", "unknown"]
"""The unit that can be given back, or why none can: the hardware is owned, or rented at all hours.

unknown: the terms of the price are not known, as in a ledger without its configuration.
"""

Obstacle = Literal["", "host", "owned", "lease", "unknown", "shared"]
"""Why a saving is capacity and not cash; empty for cash.

host: the price is that of a whole host, and others of its GPUs are in use.
shared: other servers hold the same GPU.
"""

LackReason = Literal["history", "silent", "weeks", "unpriced", "tokens", "partial", "offer", "capacity"]
"""What is missing for a judgment.

history: fewer than `LEAST_HOURS`. silent: the host stopped reporting. weeks: fewer than `SCHEDULE_HOURS`.
unpriced: a GPU has no price now. tokens: a server is busy, and no token of it is known.
partial: others compute for the tokens of a server. offer: the date of an offer is not of the last year.
capacity: an offer costs less, and the server's GPUs cannot be given back.
"""


class HourUsage(NamedTuple):
    """GPU time and tokens of one hour."""

    gpu_time: Mapping[OwnerPhase, Nanoseconds]
    tokens: Mapping[tuple[CostOwner, Kind], int]


class PricedGpu(NamedTuple):
    """A GPU of a host now: who holds it, and the price of an hour of its hardware, `None` without one.

    `price_basis` is `None` where it is unknown, as in a ledger without its configuration.
    """

    gpu: Gpu
    holders: frozenset[ServerKey]
    per_hour: Picodollars | None
    release: Release
    price_basis: PriceBasis | None = None


@dataclass(frozen=True, slots=True)
class HostUsage:
    """The last hours of one host, and its GPUs now.

    `first` and `last` are hours since 1970. `partial` are servers whose tokens are computed elsewhere too.
    `reported`: the host still reports.
    """

    name: str
    first: int
    last: int
    hours: Mapping[int, HourUsage]
    gpus: tuple[PricedGpu, ...]
    partial: frozenset[ServerKey] = frozenset()
    reported: bool = True

    @property
    def length(self) -> int:
        """Hours of the window, those without ticks included."""
        return max(0, self.last + 1 - self.first)


@dataclass(frozen=True, slots=True)
class SavingsPolicy:
    """Everything besides usage that savings depend on."""

    now: Instant
    zone: ZoneInfo
    hours_per_month: Decimal
    offers: tuple[HostedPrice, ...] = ()
    ignored: tuple[IgnoredSaving, ...] = ()


class Rest(NamedTuple):
    """Hours of the week in a row: hour 0 begins on Monday at midnight."""

    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Saving:
    """One finding: `claimed` GPU time, its `amount`, and the same per month.

    `window_hours` are the hours up to now that it rests on: since the GPUs are free, or the server deserted.
    `obstacle` is empty for cash. `gpus` are GPUs that it frees, and `gpu_models` their kinds.
    `silent_hours`: hours without a token up to now, of a deserted server. `rests`: of a schedule.
    `reference`, `offer_amount` and `tokens` are of a hosted offer; its amount is a price difference.
    `price_basis` is that of the least sure of its prices. `ignored` is the entry of the configuration that
    mutes it.
    """

    kind: SavingKind
    host: str
    server: ServerKey
    claimed: Nanoseconds
    amount: Picodollars
    per_month: Picodollars
    obstacle: Obstacle
    gpus: int
    gpu_models: tuple[str, ...]
    window_hours: int
    silent_hours: int = 0
    rests: tuple[Rest, ...] = ()
    reference: str = ""
    offer_amount: Picodollars = 0
    tokens: int = 0
    price_basis: PriceBasis | None = None
    ignored: IgnoredSaving | None = None

    @property
    def cash(self) -> bool:
        """Whether the bill falls, else capacity for other work is gained."""
        return not self.obstacle

    @property
    def difference(self) -> Picodollars:
        """The part of the amount that is a price difference, beyond idle and unallocated time."""
        return self.amount if self.kind == "hosted" else 0


class Lack(NamedTuple):
    """Something that could not be judged: a reason, and what it is about."""

    reason: LackReason
    host: str = ""
    subject: str = ""
    hours: int = 0


@dataclass(frozen=True, slots=True)
class Advice:
    """Findings, the largest first, and what could not be judged.

    `idle` is idle and unallocated GPU time of the window, all hosts together.
    """

    savings: tuple[Saving, ...] = ()
    lacks: tuple[Lack, ...] = ()
    idle: Nanoseconds = 0

    @property
    def counted(self) -> tuple[Saving, ...]:
        """Findings that are not muted."""
        return tuple(saving for saving in self.savings if saving.ignored is None)


def advice(hosts: Sequence[HostUsage], policy: SavingsPolicy) -> Advice:
    """Findings of hosts, which are judged one by one."""
    offers, dated = _current_offers(policy)
    judged = [_judge(host, replace(policy, offers=offers)) for host in hosts]
    savings = [saving for each in judged for saving in each.savings]
    savings.sort(key=lambda each: (-each.per_month, each.host, SAVING_KINDS.index(each.kind), each.server))
    lacks = [Lack("offer", subject=offer.reference) for offer in dated]
    lacks += [lack for each in judged for lack in each.lacks]
    return Advice(tuple(savings), tuple(lacks), sum(each.idle for each in judged))


def _muted(saving: Saving, policy: SavingsPolicy) -> Saving:
    for ignored in policy.ignored:
        if policy.now < ignored.until and ignored.covers(saving.kind, saving.server):
            return replace(saving, ignored=ignored)
    return saving


def _current_offers(policy: SavingsPolicy) -> tuple[tuple[HostedPrice, ...], tuple[HostedPrice, ...]]:
    """Offers with a price of the last year or without a date, and the others."""
    today = datetime.fromtimestamp(policy.now // NANOSECONDS_PER_SECOND, UTC).date()
    current: list[HostedPrice] = []
    dated: list[HostedPrice] = []
    for offer in policy.offers:
        try:
            age = (today - date.fromisoformat(offer.as_of[:10])).days if offer.as_of else 0
        except ValueError:
            age = OFFER_DAYS + 1
        (current if -1 <= age <= OFFER_DAYS else dated).append(offer)
    return tuple(current), tuple(dated)


class _ServerHour(NamedTuple):
    """One hour of one server. `active` is busy or unobserved time."""

    idle: Nanoseconds
    active: Nanoseconds
    tokens: int

    @property
    def works(self) -> bool:
        return self.active * RESTING_PARTS > self.idle + self.active

    @property
    def rests(self) -> bool:
        return self.idle > 0 and not self.tokens and not self.works


_Hours = Mapping[int, _ServerHour]


@dataclass(frozen=True, slots=True)
class _ServerGpus:
    """The GPUs that a server holds now. `per_hour` is the lowest of their prices."""

    gpus: tuple[PricedGpu, ...]
    per_hour: Picodollars | None

    @property
    def exclusive(self) -> bool:
        return all(len(gpu.holders) == 1 for gpu in self.gpus)


def _judge(host: HostUsage, policy: SavingsPolicy) -> Advice:
    servers = _by_server(host)
    idle = sum(hour.idle for hours in servers.values() for hour in hours.values())
    if not host.reported:
        return Advice(lacks=(Lack("silent", host.name),), idle=idle)
    if host.length < LEAST_HOURS:
        return Advice(lacks=(Lack("history", host.name, hours=host.length),), idle=idle)
    savings: list[Saving] = []
    free = frozenset[str]()
    if unallocated := _unallocated(host, servers.get(UNALLOCATED_KEY, {})):
        saving, free = unallocated
        savings.append(_muted(saving, policy))
    present = sorted({key for gpu in host.gpus for key in gpu.holders} - host.partial)
    judged = {key: (servers.get(key, {}), _server_gpus(host, key)) for key in present}
    judged = {key: each for key, each in judged.items() if each[0] and each[1].per_hour is not None}
    deserted = {key for key, (hours, _) in judged.items() if _silent(host, hours) >= LEAST_HOURS}
    savings += [_muted(_deserted(host, key, *judged[key]), policy) for key in sorted(deserted)]
    # What a muted finding is about stays.
    stopped = {each.server for each in savings if each.kind == "deserted" and each.ignored is None}
    freed = frozenset(gpu.gpu.uuid for gpu in host.gpus if gpu.holders and gpu.holders <= stopped)
    if any(each.kind == "unallocated" and each.ignored is None for each in savings):
        freed |= free
    savings = [replace(each, obstacle=_freed_obstacle(host, each, free, freed, stopped)) for each in savings]
    lacks = [*_host_lacks(host)]
    for key, (hours, server_gpus) in judged.items():
        if key in deserted:
            continue
        if not any(hour.tokens for hour in hours.values()) and any(hour.works for hour in hours.values()):
            lacks.append(Lack("tokens", host.name, key.name))
        obstacle = _obstacle(host, server_gpus, freed)
        schedule = _schedule(host, key, hours, server_gpus, policy.zone)
        if schedule is not None:
            savings.append(_muted(replace(schedule, obstacle=obstacle), policy))
        hosted = _hosted(host, key, hours, server_gpus, policy, schedule)
        if hosted is not None and obstacle:
            lacks.append(Lack("capacity", host.name, f"{key.name} at {hosted.reference}"))
        elif hosted is not None:
            savings.append(_muted(hosted, policy))
    priced = [_per_month(saving, policy) for saving in savings]
    return Advice(tuple(saving for saving in priced if saving.per_month > 0), tuple(lacks), idle)


def _host_lacks(host: HostUsage) -> Iterator[Lack]:
    for gpu in host.gpus:
        if gpu.per_hour is None:
            yield Lack("unpriced", host.name, f"{gpu.gpu.gpu_model} {gpu.gpu.uuid}")
    for key in sorted(host.partial & {key for gpu in host.gpus for key in gpu.holders}):
        yield Lack("partial", host.name, key.name)
    if host.length < SCHEDULE_HOURS:
        yield Lack("weeks", host.name, hours=host.length)


def _by_server(host: HostUsage) -> dict[ServerKey, _Hours]:
    """Hours of each server, and those of unallocated GPUs."""
    servers: dict[ServerKey, dict[int, _ServerHour]] = {}
    for hour, usage in host.hours.items():
        if not host.first <= hour <= host.last:
            continue
        idle: dict[ServerKey, int] = {}
        active: dict[ServerKey, int] = {}
        tokens: dict[ServerKey, int] = {}
        for (owner, phase), time in usage.gpu_time.items():
            add(idle if phase == "idle" else active, owner.key, time)
        for (owner, _kind), count in usage.tokens.items():
            add(tokens, owner.key, count)
        for key in {*idle, *active, *tokens}:
            servers.setdefault(key, {})[hour] = _ServerHour(
                max(0, idle.get(key, 0)), max(0, active.get(key, 0)), tokens.get(key, 0)
            )
    return {**servers}


def _server_gpus(host: HostUsage, key: ServerKey) -> _ServerGpus:
    gpus = tuple(gpu for gpu in host.gpus if key in gpu.holders)
    prices = [gpu.per_hour for gpu in gpus if gpu.per_hour is not None]
    return _ServerGpus(gpus, min(prices) if len(prices) == len(gpus) else None)


def _unallocated(host: HostUsage, hours: _Hours) -> tuple[Saving, frozenset[str]] | None:
    """GPUs that were free in the last day, but for a tenth of its hours, and are free now.

    The window is as long as that holds. Each hour claims the cheapest free GPUs first.
    """
    free = sorted(
        (gpu for gpu in host.gpus if not gpu.holders and gpu.per_hour is not None),
        key=lambda gpu: (gpu.per_hour or 0, gpu.gpu),
    )
    day = range(host.last + 1 - LEAST_HOURS, host.last + 1)
    idle = sorted(hours[hour].idle if hour in hours else 0 for hour in day)
    steady = idle[LEAST_HOURS // FREE_HOURS] + NANOSECONDS_PER_HOUR // FREE_PARTS
    freed = free[: steady // NANOSECONDS_PER_HOUR]
    if not freed:
        return None
    window = _free_hours(host, hours, len(freed))
    claimed = amount = 0
    for hour in range(host.last + 1 - window, host.last + 1):
        left = hours[hour].idle if hour in hours else 0
        for gpu in freed:
            part = min(left, NANOSECONDS_PER_HOUR)
            claimed, amount, left = claimed + part, amount + part * (gpu.per_hour or 0), left - part
    saving = Saving(
        "unallocated",
        host.name,
        UNALLOCATED_KEY,
        claimed,
        amount // NANOSECONDS_PER_HOUR,
        0,
        "",
        len(freed),
        _models(freed),
        window,
        price_basis=least_sure(gpu.price_basis for gpu in freed),
    )
    return saving, frozenset(gpu.gpu.uuid for gpu in freed)


def _free_hours(host: HostUsage, hours: _Hours, gpus: int) -> int:
    """The most hours up to now in which so many GPUs were free, but for a tenth of them."""
    free = gpus * NANOSECONDS_PER_HOUR - NANOSECONDS_PER_HOUR // FREE_PARTS
    window = occupied = 0
    for count in range(1, host.length + 1):
        hour = host.last + 1 - count
        if hour not in hours or hours[hour].idle < free:
            occupied += 1
        elif occupied * FREE_HOURS <= count:
            window = count
    return window


def _models(gpus: Sequence[PricedGpu]) -> tuple[str, ...]:
    return tuple(sorted({gpu.gpu.gpu_model for gpu in gpus}))


def least_sure(bases: Iterable[PriceBasis | None]) -> PriceBasis | None:
    """The basis of prices together; `None` with an unknown one, and without any."""
    known: list[PriceBasis] = []
    for basis in bases:
        if basis is None:
            return None
        known.append(basis)
    return max(known, key=PRICE_BASES.index, default=None)


def _silent(host: HostUsage, hours: _Hours) -> int:
    """Hours in a row, up to the last one, in which a server rested."""
    count = 0
    while host.last - count in hours and hours[host.last - count].rests:
        count += 1
    return count


def _claim(
    kind: SavingKind, host: HostUsage, key: ServerKey, claimed: Nanoseconds, server_gpus: _ServerGpus
) -> Saving:
    return Saving(
        kind,
        host.name,
        key,
        claimed,
        claimed * (server_gpus.per_hour or 0) // NANOSECONDS_PER_HOUR,
        0,
        "",
        len(server_gpus.gpus),
        _models(server_gpus.gpus),
        host.length,
        price_basis=least_sure(gpu.price_basis for gpu in server_gpus.gpus),
    )


def _deserted(host: HostUsage, key: ServerKey, hours: _Hours, server_gpus: _ServerGpus) -> Saving:
    silent = _silent(host, hours)
    claimed = sum(hours[hour].idle for hour in range(host.last + 1 - silent, host.last + 1))
    claim = _claim("deserted", host, key, claimed, server_gpus)
    return replace(claim, window_hours=silent, silent_hours=silent)


def _schedule(
    host: HostUsage, key: ServerKey, hours: _Hours, server_gpus: _ServerGpus, zone: ZoneInfo
) -> Saving | None:
    """Hours of the week in which a server rested every time, in rows of `LEAST_REST` or more."""
    if host.length < SCHEDULE_HOURS:
        return None
    slots: dict[int, list[int]] = {}
    for hour in hours:
        slots.setdefault(hour_of_week(hour, zone), []).append(hour)
    resting = {
        slot for slot, same in slots.items() if len(same) > 1 and all(hours[hour].rests for hour in same)
    }
    rests = tuple(_rests(resting))
    covered = {(rest.start + offset) % WEEK_HOURS for rest in rests for offset in range(rest.length)}
    claimed = sum(hours[hour].idle for slot in covered for hour in slots[slot])
    return replace(_claim("schedule", host, key, claimed, server_gpus), rests=rests) if claimed else None


def hour_of_week(hour: int, zone: ZoneInfo) -> int:
    """The hour of the local week, from Monday's midnight, in which an hour since 1970 begins."""
    local = datetime.fromtimestamp(hour * 3600, zone)
    return local.weekday() * 24 + local.hour


def _rests(resting: set[int]) -> Iterator[Rest]:
    """Rows of hours, around the end of the week too."""
    if len(resting) == WEEK_HOURS:
        yield Rest(0, WEEK_HOURS)
        return
    for start in sorted(resting):
        if (start - 1) % WEEK_HOURS in resting:
            continue
        length = 1
        while (start + length) % WEEK_HOURS in resting:
            length += 1
        if length >= LEAST_REST:
            yield Rest(start, length)


def _hosted(
    host: HostUsage,
    key: ServerKey,
    hours: _Hours,
    server_gpus: _ServerGpus,
    policy: SavingsPolicy,
    schedule: Saving | None,
) -> Saving | None:
    """The cost of the hours that are left, less that of the window's tokens at the cheapest offers."""
    tokens: dict[str, dict[Kind, int]] = {}
    for hour, usage in host.hours.items():
        if host.first <= hour <= host.last:
            for (owner, kind), count in usage.tokens.items():
                if owner.key == key:
                    add(tokens.setdefault(owner.model, {}), kind, count)
    served = {model: counts for model, counts in tokens.items() if any(counts.values())}
    references: set[str] = set()
    elsewhere = 0
    for model, counts in sorted(served.items()):
        offers = [
            (equivalent(offer, counts), offer.reference)
            for offer in policy.offers
            if offer.covers(key.server, model)
        ]
        if not offers:
            return None
        amount, reference = min(offers)
        elsewhere += amount
        references.add(reference)
    left = sum(hour.idle + hour.active for hour in hours.values()) - (schedule.claimed if schedule else 0)
    claim = _claim("hosted", host, key, left, server_gpus)
    if not served or claim.amount <= elsewhere:
        return None
    return replace(
        claim,
        amount=claim.amount - elsewhere,
        reference=", ".join(sorted(references)),
        offer_amount=elsewhere,
        tokens=sum(sum(counts.values()) for counts in served.values()),
    )


def _obstacle(host: HostUsage, server_gpus: _ServerGpus, freed: frozenset[str]) -> Obstacle:
    """Why the GPUs of a server cannot be given back, with those that are freed anyway; empty if they can."""
    if not server_gpus.exclusive:
        return "shared"
    return _unit_obstacle(host, server_gpus.gpus, freed)


def _freed_obstacle(
    host: HostUsage, saving: Saving, free: frozenset[str], freed: frozenset[str], stopped: set[ServerKey]
) -> Obstacle:
    """As `_obstacle`, for a finding that frees GPUs: those that are `free`, or of a server that stops."""
    if saving.kind == "unallocated":
        gpus = tuple(gpu for gpu in host.gpus if gpu.gpu.uuid in free)
    else:
        gpus = tuple(gpu for gpu in host.gpus if saving.server in gpu.holders)
        if not all(gpu.holders <= stopped | {saving.server} for gpu in gpus):
            return "shared"
    return _unit_obstacle(host, gpus, freed)


def _unit_obstacle(host: HostUsage, gpus: Sequence[PricedGpu], freed: frozenset[str]) -> Obstacle:
    whole = {gpu.gpu.uuid for gpu in host.gpus} <= freed | {gpu.gpu.uuid for gpu in gpus}
    for gpu in gpus:
        if gpu.release == "host" and not whole:
            return "host"
        if gpu.release != "gpu" and gpu.release != "host":  # noqa: PLR1714 - narrows the type
            return gpu.release
    return ""


def _per_month(saving: Saving, policy: SavingsPolicy) -> Saving:
    factor = Fraction(policy.hours_per_month) / saving.window_hours
    return replace(saving, per_month=int(saving.amount * factor))

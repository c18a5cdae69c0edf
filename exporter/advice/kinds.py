"""Kinds of savings: what each claims, in which words, and what stops cash; and the advice of them all. Pure.

Names in sentences are as they came from outside: whoever shows them makes them fit.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction
from typing import Final, NamedTuple

from exporter.advice.cheaper_gpus import cheaper_gpus
from exporter.advice.claims import SCHEDULE_HOURS, Claim, HostClaims, host_claims
from exporter.advice.consolidation import consolidations
from exporter.advice.hours import (
    LEAST_HOURS,
    ODD_HOURS,
    WEEK_HOURS,
    HostUsage,
    gpu_models,
    hour_of_week,
    least_sure,
    local_minute,
)
from exporter.advice.saving import (
    SAVING_KINDS,
    Advice,
    Lack,
    Obstacle,
    Rest,
    Saving,
    SavingKind,
    SavingsPolicy,
    names,
)
from exporter.cost.attribution import UNALLOCATED_KEY
from exporter.cost.money import add
from exporter.readings import ServerKey, TokenKind
from exporter.tariff.hosted import equivalent, is_current
from exporter.units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_SECOND, Nanoseconds, Picodollars

FREE_PARTS: Final = 20
"""A GPU counts as free in an hour if it was held for less than one part in so many."""

LEAST_REST: Final = 4
"""Hours in a row that are worth a stop and a start."""

RESTS_LISTED: Final = 3
GIBIBYTE: Final = 2**30
DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

ESTIMATED: Final = "Price: an estimate, neither configured nor a list price."
OBSTACLES: Final[Mapping[Obstacle, str]] = {
    "": "Cash: the bill falls when the GPUs are given back.",
    "host": "Capacity, not cash: the price is that of the whole host, and other GPUs of it stay in use.",
    "owned": "Capacity, not cash: the hardware is owned, and costs the same unused.",
    "lease": "Capacity, not cash: the rent is owed at all hours until the lease ends.",
    "shared": "Capacity, not cash: other servers hold the same GPUs.",
    "unknown": "Counted as capacity: the ledger has no terms of its prices.",
}

DollarsText = Callable[[Picodollars], str]
"""Writes an amount."""


FleetClaims = Callable[[Sequence[HostClaims], list[Lack]], Iterator[tuple[HostClaims, Claim]]]
"""Claims by host, one by one, so that each sees what those before it have taken; and what is missing."""


class SavingRow(NamedTuple):
    """One kind of finding."""

    claims: FleetClaims
    """What it claims, after the kinds before it."""
    release: Callable[[HostClaims, Claim], None]
    """What a claim that is not muted takes from later kinds."""
    obstacle: Callable[[HostClaims, Claim], Obstacle]
    """Why it is capacity and not cash, once all kinds have claimed."""
    predicate: Callable[[Saving], str]
    """What was found of the subject: the rest of the sentence."""
    evidence: Callable[[Saving, DollarsText], str] = lambda _saving, _dollars_text: ""
    """What it rests on besides its hours."""


def advice(hosts: Sequence[HostUsage], policy: SavingsPolicy) -> Advice:
    """Findings of hosts, which are judged one by one, but for cheaper GPUs elsewhere in the fleet."""
    today = datetime.fromtimestamp(policy.now // NANOSECONDS_PER_SECOND, UTC).date()
    current = tuple(offer for offer in policy.offers if is_current(offer.as_of, today))
    lacks = [Lack("offer", subject=offer.reference) for offer in policy.offers if offer not in current]
    fleet: list[HostClaims] = []
    idle = 0
    for host in hosts:
        claims, idle_of_host = host_claims(host, replace(policy, offers=current))
        fleet.append(claims)
        idle += idle_of_host
    fleet_lacks: list[Lack] = []
    judged = [claims for claims in fleet if claims.judged]
    for kind in SAVING_KINDS:
        row = KINDS[kind]
        for claims, claim in row.claims(judged, fleet_lacks):
            ignored = policy.ignored_by(kind, claim.saving.server)
            claims.claims.append(claim._replace(saving=replace(claim.saving, ignored=ignored)))
            if ignored is None:
                row.release(claims, claim)
    savings: list[Saving] = []
    for claims in fleet:
        lacks += claims.lacks
        for claim in claims.claims:
            saving = claim.saving
            factor = Fraction(policy.hours_per_month) / saving.window_hours
            per_month = int(saving.amount * factor)
            obstacle = KINDS[saving.kind].obstacle(claims, claim)
            if per_month > 0:
                savings.append(replace(saving, per_month=per_month, obstacle=obstacle))
    savings.sort(key=lambda each: (-each.per_month, each.host, SAVING_KINDS.index(each.kind), each.server))
    return Advice(tuple(savings), (*lacks, *fleet_lacks), idle)


def _by_host(claims_of: Callable[[HostClaims], Iterator[Claim]]) -> FleetClaims:
    """Claims of a kind that looks at one host after the other."""

    def of_fleet(fleet: Sequence[HostClaims], _: list[Lack]) -> Iterator[tuple[HostClaims, Claim]]:
        for claims in fleet:
            for claim in claims_of(claims):
                yield claims, claim

    return of_fleet


def headline(saving: Saving) -> str:
    """A finding in a sentence."""
    return f"{subject(saving)} {predicate(saving)}"


def subject(saving: Saving) -> str:
    """What a finding is about: a server, or GPUs that none held."""
    if saving.kind == "unallocated":
        what = _gpus(saving)
    else:
        what = saving.server.name if saving.fewer is None else _names(saving.fewer.servers)
    return f"{what} on {saving.host}" if saving.host else what


def predicate(saving: Saving) -> str:
    """What was found of the subject: the rest of the sentence."""
    return KINDS[saving.kind].predicate(saving)


def evidence(saving: Saving, dollars_text: DollarsText) -> str:
    """What a finding rests on; `dollars_text` writes an amount."""
    hours = f"{saving.claimed / NANOSECONDS_PER_HOUR:,.1f}"
    words = f"{hours} GPU-hours in {saving.window_hours} hours"
    more = KINDS[saving.kind].evidence(saving, dollars_text)
    return f"{words}; {more}" if more else words


def _gpus(saving: Saving) -> str:
    return f"{saving.gpus} GPU{'s' if saving.gpus > 1 else ''} ({', '.join(saving.gpu_models)})"


def _names(servers: Sequence[ServerKey]) -> str:
    return ", ".join(key.name for key in servers)


# Unallocated GPUs: those that no server and no other process held.


def _unallocated(claims: HostClaims) -> Iterator[Claim]:
    """GPUs that were free in the last day, but for a tenth of its hours, and are free now.

    The window is as long as that holds. Each hour claims the cheapest free GPUs first.
    Free time is known for the host, not by GPU. An hour of each other GPU with some is not counted: of those
    without a price, of cards in MIG mode, whose parts may be free, and of GPUs that NVML does not show.
    """
    host, hours = claims.host, claims.unallocated
    free = [gpu for gpu in host.gpus if not gpu.holders and gpu.per_hour is not None]
    free.sort(key=lambda gpu: (gpu.price, gpu.gpu))
    others = host.absent + sum(gpu.divided if gpu.holders else gpu.per_hour is None for gpu in host.gpus)

    def idle(hour: int) -> Nanoseconds:
        return max(0, hours[hour].idle - others * NANOSECONDS_PER_HOUR) if hour in hours else 0

    tolerance = NANOSECONDS_PER_HOUR // FREE_PARTS
    usual = sorted(map(idle, host.last_hours(LEAST_HOURS)))[LEAST_HOURS // ODD_HOURS]
    gpus = tuple(free[: (usual + tolerance) // NANOSECONDS_PER_HOUR])
    if not gpus:
        return
    window = host.longest(lambda hour: idle(hour) >= len(gpus) * NANOSECONDS_PER_HOUR - tolerance)
    claimed = amount = 0
    for hour in host.last_hours(window):
        left = idle(hour)
        for gpu in gpus:
            part = min(left, NANOSECONDS_PER_HOUR)
            claimed += part
            amount += part * gpu.price
            left -= part
    saving = Saving(
        kind="unallocated",
        host=host.name,
        server=UNALLOCATED_KEY,
        claimed=claimed,
        amount=amount // NANOSECONDS_PER_HOUR,
        per_month=0,
        obstacle="",
        gpus=len(gpus),
        gpu_models=gpu_models(gpus),
        window_hours=window,
        price_basis=least_sure(gpu.price_basis for gpu in gpus),
    )
    yield Claim(saving, gpus)


# Deserted servers: those that hold GPUs and have served nothing for a day or more.


def _deserted(claims: HostClaims) -> Iterator[Claim]:
    """The hours since each server fell silent."""
    for server in claims.silent.values():
        claimed = sum(server.hours[hour].idle for hour in claims.host.last_hours(server.silent))
        silent = {"window_hours": server.silent, "silent_hours": server.silent}
        yield Claim(claims.saving("deserted", server, claimed, **silent), server.gpus)


def _stop(claims: HostClaims, claim: Claim) -> None:
    claims.stopped.add(claim.saving.server)
    claims.freed |= {gpu.gpu.uuid for gpu in claim.gpus if gpu.holders <= claims.stopped}


def _deserted_words(saving: Saving) -> str:
    days = saving.silent_hours >= 2 * LEAST_HOURS
    duration = f"{saving.silent_hours // 24} days" if days else f"{saving.silent_hours} hours"
    return f"served nothing for {duration} on {_gpus(saving)}"


# Consolidations, whose claims are in a file of their own.


def _move(claims: HostClaims, claim: Claim) -> None:
    fewer = claim.saving.fewer
    if fewer is not None:
        claims.settled.update(fewer.servers)
        for key in fewer.onto:
            claims.guests.setdefault(key, set()).update(fewer.servers)
    claims.freed |= {gpu.gpu.uuid for gpu in claim.gpus}
    _take(claims, claim)


def _move_obstacle(claims: HostClaims, claim: Claim) -> Obstacle:
    servers = () if claim.saving.fewer is None else claim.saving.fewer.servers
    emptied = [gpu for gpu in claim.gpus if gpu.holders - claims.stopped]
    return claims.obstacle(emptied, claims.stopped.union(servers))


def _move_words(saving: Saving) -> str:
    onto = () if saving.fewer is None else saving.fewer.onto
    return f"would fit beside {_names(onto)}, freeing {_gpus(saving)}"


def _move_evidence(saving: Saving, _: DollarsText) -> str:
    fewer = saving.fewer
    if fewer is None:
        return ""
    return (
        f"together at most {fewer.busiest / NANOSECONDS_PER_HOUR:.0%} busy in an hour, and "
        f"{fewer.memory_bytes / GIBIBYTE:,.1f} of {fewer.memory_total_bytes / GIBIBYTE:,.1f} GiB of memory"
    )


# Schedules: hours of the week in which a server rests each week.


def _schedule(claims: HostClaims) -> Iterator[Claim]:
    """Hours of the week in which a server rested every time, in rows of `LEAST_REST` or more.

    A server younger than two weeks has none: of some days it has two, and of others one.
    """
    host, zone = claims.host, claims.policy.zone
    young = [server for server in claims.serving.values() if server.age < SCHEDULE_HOURS]
    if young and host.length >= SCHEDULE_HOURS:
        claims.lack("weeks", names([server.key for server in young]), min(server.age for server in young))
    for key, server in claims.serving.items():
        hours = server.hours
        counted = any(hour.tokens for hour in hours.values())
        if not counted and any(hour.works for hour in hours.values()):
            claims.lack("tokens", key.name)
        if key in claims.settled or server.age < SCHEDULE_HOURS:
            continue
        slots: dict[int, list[int]] = {}
        for hour in hours:
            slots.setdefault(hour_of_week(hour, zone), []).append(hour)
        resting = {
            slot for slot, same in slots.items() if len(same) > 1 and all(hours[hour].rests for hour in same)
        }
        minute = local_minute(host.last, zone)
        rests = tuple(Rest(start, length, minute) for start, length in _rows(resting))
        covered = {(rest.start + offset) % WEEK_HOURS for rest in rests for offset in range(rest.length)}
        before = claims.taken.get(key, {})
        taken = {hour: hours[hour].idle - before.get(hour, 0) for slot in covered for hour in slots[slot]}
        claimed = sum(taken.values())
        if claimed:
            yield Claim(claims.saving("schedule", server, claimed, rests=rests), server.gpus, {key: taken})


def _rows(resting: set[int]) -> Iterator[tuple[int, int]]:
    """Start and length of rows of hours, around the end of the week too."""
    if len(resting) == WEEK_HOURS:
        yield 0, WEEK_HOURS
        return
    for start in sorted(resting):
        if (start - 1) % WEEK_HOURS in resting:
            continue
        length = 1
        while (start + length) % WEEK_HOURS in resting:
            length += 1
        if length >= LEAST_REST:
            yield start, length


def _take(claims: HostClaims, claim: Claim) -> None:
    for key, hours in claim.taken.items():
        of_server = claims.taken.setdefault(key, {})
        for hour, time in hours.items():
            add(of_server, hour, time)


def _schedule_obstacle(claims: HostClaims, claim: Claim) -> Obstacle:
    """As of its GPUs, unless a server that moves onto them works in these hours."""
    key = claim.saving.server
    for guest in claims.guests.get(key, ()):
        for hour in claim.taken[key]:
            usage = claims.serving[guest].hours.get(hour)
            if usage is not None and not usage.rests:
                return _own_obstacle(claims, claim) or "shared"
    return _own_obstacle(claims, claim)


def _own_obstacle(claims: HostClaims, claim: Claim) -> Obstacle:
    return claims.obstacle(claim.gpus, {claim.saving.server})


def _schedule_words(saving: Saving) -> str:
    hours = sum(rest.length for rest in saving.rests)
    return f"rests {hours} of {WEEK_HOURS} hours of the week on {_gpus(saving)}"


def rests_text(rests: Sequence[Rest]) -> str:
    """The longest rests, like Mon 20:00 to Tue 06:00."""
    longest = sorted(rests, key=lambda rest: (-rest.length, rest.start))[:RESTS_LISTED]
    listed = ", ".join(
        f"{_time(rest.start, rest.minute)} to {_time((rest.start + rest.length) % WEEK_HOURS, rest.minute)}"
        for rest in longest
    )
    return f"{listed}, and {len(rests) - RESTS_LISTED} more" if len(rests) > RESTS_LISTED else listed


def _time(slot: int, minute: int) -> str:
    return f"{DAYS[slot // 24]} {slot % 24:02d}:{minute:02d}"


# Hosted offers: servers that cost more than their tokens do elsewhere.


def _hosted(claims: HostClaims) -> Iterator[Claim]:
    """The cost of the hours that are left, less that of the window's tokens at the cheapest offers."""
    for key, server in claims.serving.items():
        if key in claims.settled:
            continue
        tokens: dict[str, dict[TokenKind, int]] = {}
        for usage in server.hours.values():
            for (model, kind), count in usage.model_tokens.items():
                add(tokens.setdefault(model, {}), kind, count)
        served = {model: counts for model, counts in sorted(tokens.items()) if any(counts.values())}
        cheapest: list[tuple[int, str]] = []
        for model, counts in served.items():
            offers = [offer for offer in claims.policy.offers if offer.covers(key.server, model)]
            if offers:
                cheapest.append(min((equivalent(offer, counts), offer.reference) for offer in offers))
        elsewhere = sum(amount for amount, _ in cheapest)
        reference = ", ".join(sorted({reference for _, reference in cheapest}))
        saving = claims.saving("hosted", server, claims.left(server))
        if not served or len(cheapest) < len(served) or saving.amount <= elsewhere:
            continue
        claim = Claim(
            replace(
                saving,
                amount=saving.amount - elsewhere,
                reference=reference,
                offer_amount=elsewhere,
                tokens=sum(sum(counts.values()) for counts in served.values()),
            ),
            server.gpus,
        )
        if server.age < LEAST_HOURS:
            claims.lack("history", key.name, server.age)
        elif key in claims.guests or _own_obstacle(claims, claim):
            claims.lack("capacity", f"{key.name} at {reference}")
        else:
            yield claim


def _settle(claims: HostClaims, claim: Claim) -> None:
    claims.settled.add(claim.saving.server)


# Cheaper GPUs, whose claims are in a file of their own.


def _use(_: HostClaims, claim: Claim) -> None:
    for claims, gpu in claim.used:
        claims.used.add(gpu.gpu.uuid)


def _cheaper_words(saving: Saving) -> str:
    cheaper = saving.cheaper
    if cheaper is None:
        return ""
    hosts = ", ".join(filter(None, cheaper.hosts))
    where = f" on {hosts}" if hosts else ""
    return f"would run on {cheaper.gpus} {cheaper.gpu_model}{where} instead of {_gpus(saving)}"


def _cheaper_evidence(saving: Saving, dollars_text: DollarsText) -> str:
    cheaper = saving.cheaper
    if cheaper is None:
        return ""
    measured = f"{cheaper.server.name}{f' on {cheaper.host}' if cheaper.host else ''}"
    ratio = cheaper.need / (cheaper.gpus * NANOSECONDS_PER_HOUR)
    return (
        f"{measured} took {cheaper.busy / NANOSECONDS_PER_HOUR:,.1f} busy GPU-hours for "
        f"{cheaper.tokens:,} tokens of {cheaper.model}; the busiest hour would be {ratio:.0%} busy; "
        f"{cheaper.gpus} {cheaper.gpu_model} cost {dollars_text(cheaper.per_hour)} an hour"
    )


KINDS: Final[Mapping[SavingKind, SavingRow]] = {
    "unallocated": SavingRow(
        claims=_by_host(_unallocated),
        release=lambda claims, claim: claims.freed.update(gpu.gpu.uuid for gpu in claim.gpus),
        obstacle=lambda claims, claim: claims.obstacle(claim.gpus),
        predicate=lambda _: "had no server",
    ),
    "deserted": SavingRow(
        claims=_by_host(_deserted),
        release=_stop,
        obstacle=lambda claims, claim: claims.obstacle(claim.gpus, claims.stopped | {claim.saving.server}),
        predicate=_deserted_words,
    ),
    "consolidation": SavingRow(
        claims=_by_host(consolidations),
        release=_move,
        obstacle=_move_obstacle,
        predicate=_move_words,
        evidence=_move_evidence,
    ),
    "schedule": SavingRow(
        claims=_by_host(_schedule),
        release=_take,
        obstacle=_schedule_obstacle,
        predicate=_schedule_words,
        evidence=lambda saving, _: rests_text(saving.rests),
    ),
    "hosted": SavingRow(
        claims=_by_host(_hosted),
        release=_settle,
        obstacle=_own_obstacle,
        predicate=lambda saving: f"costs more than its tokens at {saving.reference}",
        evidence=lambda saving, text: f"{saving.tokens:,} tokens cost {text(saving.offer_amount)} there",
    ),
    "gpu_model": SavingRow(
        claims=cheaper_gpus,
        release=_use,
        obstacle=_own_obstacle,
        predicate=_cheaper_words,
        evidence=_cheaper_evidence,
    ),
}
"""By name, in the order of `SAVING_KINDS`. Another kind is a name there and a row here."""

"""Kinds of savings: what each claims, in which words, and what stops cash; and the advice of them all. Pure.

Names in sentences are as they came from outside: whoever shows them makes them fit.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from exporter.advice.cheaper_gpus import cheaper_gpus
from exporter.advice.claims import SCHEDULE_HOURS, Claim, HostClaims
from exporter.advice.consolidation import consolidations
from exporter.advice.hours import (
    LEAST_HOURS,
    ODD_HOURS,
    WEEK_HOURS,
    HostUsage,
    JudgedServer,
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
from exporter.readings import TokenKind
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


def advice(hosts: Sequence[HostUsage], policy: SavingsPolicy) -> Advice:
    """Findings of hosts, which are judged one by one, but for cheaper GPUs elsewhere in the fleet."""
    today = datetime.fromtimestamp(policy.now // NANOSECONDS_PER_SECOND, UTC).date()
    current = tuple(offer for offer in policy.offers if is_current(offer.as_of, today))
    fleet = [HostClaims.of(host, replace(policy, offers=current)) for host in hosts]
    judged = [claims for claims in fleet if claims.judged]
    for kind in SAVING_KINDS:
        for claim in KINDS[kind](judged):
            claim.host.add(claim)
    savings = [saving for claims in fleet for saving in claims.savings()]
    savings.sort(key=lambda each: (-each.per_month, each.host, SAVING_KINDS.index(each.kind), each.server))
    lacks = [Lack("offer", subject=offer.reference) for offer in policy.offers if offer not in current]
    for claims in fleet:
        lacks += claims.lacks
    return Advice(tuple(savings), tuple(lacks), idle=sum(claims.idle for claims in fleet))


def _unallocated(fleet: Sequence[HostClaims]) -> Iterator[Claim]:
    """GPUs that were free in the last day, but for a tenth of its hours, and are free now.

    The window is as long as that holds. Each hour claims the cheapest free GPUs first.
    Free time is known for the host, not by GPU. An hour of each other GPU with some is not counted: of those
    without a price, of cards in MIG mode, whose parts may be free, and of GPUs that NVML does not show.
    """
    tolerance = NANOSECONDS_PER_HOUR // FREE_PARTS
    for claims in fleet:
        host = claims.host
        free = [gpu for gpu in host.gpus if not gpu.holders and gpu.per_hour is not None]
        free.sort(key=lambda gpu: (gpu.price, gpu.gpu))
        others = host.absent + sum(gpu.divided if gpu.holders else gpu.per_hour is None for gpu in host.gpus)
        idle = {
            hour: max(0, usage.idle - others * NANOSECONDS_PER_HOUR)
            for hour, usage in claims.unallocated.items()
        }
        last_day = sorted(idle.get(hour, 0) for hour in host.last_hours(LEAST_HOURS))
        usual = last_day[LEAST_HOURS // ODD_HOURS]
        gpus = tuple(free[: (usual + tolerance) // NANOSECONDS_PER_HOUR])
        if not gpus:
            continue
        least = len(gpus) * NANOSECONDS_PER_HOUR - tolerance
        window = host.longest({hour for hour, time in idle.items() if time >= least})
        claimed = amount = 0
        for hour in host.last_hours(window):
            left = idle.get(hour, 0)
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
            gpus=len(gpus),
            gpu_models=gpu_models(gpus),
            window_hours=window,
            price_basis=least_sure(gpu.price_basis for gpu in gpus),
        )
        yield Claim(claims, saving, gpus)


def _deserted(fleet: Sequence[HostClaims]) -> Iterator[Claim]:
    """The hours since a server fell silent, of each that holds GPUs and served nothing for a day or more."""
    for claims in fleet:
        for server in claims.silent.values():
            claimed = sum(server.hours[hour].idle for hour in claims.host.last_hours(server.silent))
            yield claims.claim(
                "deserted", server, claimed, window_hours=server.silent, silent_hours=server.silent
            )


def _schedule(fleet: Sequence[HostClaims]) -> Iterator[Claim]:
    """Hours of the week in which a server rested every time, in rows of `LEAST_REST` or more.

    A server younger than two weeks has none: of some days it has two, and of others one.
    """
    for claims in fleet:
        serving = claims.serving.values()
        young = [server for server in serving if server.age < SCHEDULE_HOURS]
        if young and claims.host.length >= SCHEDULE_HOURS:
            claims.lack("weeks", names([server.key for server in young]), min(server.age for server in young))
        for server in serving:
            hours = server.hours.values()
            if any(hour.works for hour in hours) and not any(hour.tokens for hour in hours):
                claims.lack("tokens", server.key.name)
            if server.key in claims.settled or server.age < SCHEDULE_HOURS:
                continue
            rests, taken = _weekly_rests(claims, server)
            claimed = sum(taken.values())
            if not claimed:
                continue
            guests = [claims.serving[guest].hours for guest in claims.guests.get(server.key, ())]
            shared = any(hour in usage and not usage[hour].rests for usage in guests for hour in taken)
            yield claims.claim("schedule", server, claimed, taken=taken, shared=shared, rests=rests)


def _weekly_rests(
    claims: HostClaims, server: JudgedServer
) -> tuple[tuple[Rest, ...], dict[int, Nanoseconds]]:
    """Rests of a server, and its idle time in their hours that no other finding has taken."""
    zone = claims.policy.zone
    slots: dict[int, list[int]] = {}
    for hour in server.hours:
        slots.setdefault(hour_of_week(hour, zone), []).append(hour)
    resting = {
        slot
        for slot, same in slots.items()
        if len(same) > 1 and all(server.hours[hour].rests for hour in same)
    }
    # A week of rest begins anywhere; other rows begin after an hour of work, and may pass the week's end.
    starts = [slot for slot in sorted(resting) if (slot - 1) % WEEK_HOURS not in resting]
    minute = local_minute(claims.host.last, zone)
    rests: list[Rest] = []
    before = claims.taken.get(server.key, {})
    taken: dict[int, Nanoseconds] = {}
    for start in starts if len(resting) < WEEK_HOURS else [0]:
        length = 1
        while length < WEEK_HOURS and (start + length) % WEEK_HOURS in resting:
            length += 1
        if length < LEAST_REST:
            continue
        rests.append(Rest(start, length, minute))
        for offset in range(length):
            for hour in slots[(start + offset) % WEEK_HOURS]:
                taken[hour] = server.hours[hour].idle - before.get(hour, 0)
    return tuple(rests), taken


def _hosted(fleet: Sequence[HostClaims]) -> Iterator[Claim]:
    """The cost of the hours that are left, less that of the window's tokens at the cheapest offers."""
    for claims in fleet:
        for key, server in claims.serving.items():
            if key in claims.settled:
                continue
            tokens: dict[str, dict[TokenKind, int]] = {}
            for usage in server.hours.values():
                for (model, kind), count in usage.model_tokens.items():
                    add(tokens.setdefault(model, {}), kind, count)
            served = {model: counts for model, counts in tokens.items() if any(counts.values())}
            cheapest: list[tuple[Picodollars, str]] = []
            for model, counts in served.items():
                offers = [offer for offer in claims.policy.offers if offer.covers(key.server, model)]
                if offers:
                    cheapest.append(min((equivalent(offer, counts), offer.reference) for offer in offers))
            elsewhere = sum(amount for amount, _ in cheapest)
            reference = ", ".join(sorted({reference for _, reference in cheapest}))
            left = claims.left(server)
            own = left * server.per_hour // NANOSECONDS_PER_HOUR
            if not served or len(cheapest) < len(served) or own <= elsewhere:
                continue
            if server.age < LEAST_HOURS:
                claims.lack("history", key.name, server.age)
            elif key in claims.guests or claims.obstacle(server.gpus, {key}):
                claims.lack("capacity", f"{key.name} at {reference}")
            else:
                yield claims.claim(
                    "hosted",
                    server,
                    left,
                    amount=own - elsewhere,
                    reference=reference,
                    offer_amount=elsewhere,
                    tokens=sum(sum(counts.values()) for counts in served.values()),
                )


KINDS: Final[Mapping[SavingKind, Callable[[Sequence[HostClaims]], Iterator[Claim]]]] = {
    "unallocated": _unallocated,
    "deserted": _deserted,
    "consolidation": consolidations,
    "schedule": _schedule,
    "hosted": _hosted,
    "gpu_model": cheaper_gpus,
}
"""What each kind claims of a fleet, one by one, so that each sees what those before it have taken.

By name, in the order of `SAVING_KINDS`. Another kind is a name there, a row here, and its sentence below.
"""


def headline(saving: Saving) -> str:
    """A finding in a sentence."""
    return f"{subject(saving)} {predicate(saving)}"


def subject(saving: Saving) -> str:
    """What a finding is about: a server, or GPUs that none held."""
    if saving.kind == "unallocated":
        what = _gpus(saving)
    else:
        servers = (saving.server,) if saving.fewer is None else saving.fewer.servers
        what = ", ".join(key.name for key in servers)
    return f"{what} on {saving.host}" if saving.host else what


def predicate(saving: Saving) -> str:
    """What was found of the subject: the rest of the sentence."""
    if saving.fewer is not None:
        beside = ", ".join(key.name for key in saving.fewer.onto)
        return f"would fit beside {beside}, freeing {_gpus(saving)}"
    if saving.cheaper is not None:
        cheaper = saving.cheaper
        hosts = ", ".join(filter(None, cheaper.hosts))
        where = f" on {hosts}" if hosts else ""
        return f"would run on {cheaper.gpus} {cheaper.gpu_model}{where} instead of {_gpus(saving)}"
    if saving.kind == "deserted":
        days = saving.silent_hours >= 2 * LEAST_HOURS
        duration = f"{saving.silent_hours // 24} days" if days else f"{saving.silent_hours} hours"
        return f"served nothing for {duration} on {_gpus(saving)}"
    if saving.kind == "schedule":
        hours = sum(rest.length for rest in saving.rests)
        return f"rests {hours} of {WEEK_HOURS} hours of the week on {_gpus(saving)}"
    if saving.kind == "hosted":
        return f"costs more than its tokens at {saving.reference}"
    return "had no server"


def evidence(saving: Saving, dollars_text: DollarsText) -> str:
    """What a finding rests on; `dollars_text` writes an amount."""
    parts = [f"{saving.claimed / NANOSECONDS_PER_HOUR:,.1f} GPU-hours in {saving.window_hours} hours"]
    fewer, cheaper = saving.fewer, saving.cheaper
    if fewer is not None:
        memory = f"{fewer.memory_bytes / GIBIBYTE:,.1f} of {fewer.memory_total_bytes / GIBIBYTE:,.1f} GiB"
        busiest = fewer.busiest / NANOSECONDS_PER_HOUR
        parts.append(f"together at most {busiest:.0%} busy in an hour, and {memory} of memory")
    if cheaper is not None:
        host = f" on {cheaper.host}" if cheaper.host else ""
        hours = f"{cheaper.busy / NANOSECONDS_PER_HOUR:,.1f} busy GPU-hours"
        served = f"{cheaper.tokens:,} tokens of {cheaper.model}"
        ratio = cheaper.need / (cheaper.gpus * NANOSECONDS_PER_HOUR)
        price = dollars_text(cheaper.per_hour)
        parts.append(f"{cheaper.server.name}{host} took {hours} for {served}")
        parts.append(f"the busiest hour would be {ratio:.0%} busy")
        parts.append(f"{cheaper.gpus} {cheaper.gpu_model} cost {price} an hour")
    if saving.kind == "schedule":
        parts.append(rests_text(saving.rests))
    if saving.kind == "hosted":
        parts.append(f"{saving.tokens:,} tokens cost {dollars_text(saving.offer_amount)} there")
    return "; ".join(parts)


def rests_text(rests: Sequence[Rest]) -> str:
    """The longest rests, like Mon 20:00 to Tue 06:00."""
    longest = sorted(rests, key=lambda rest: (-rest.length, rest.start))
    listed: list[str] = []
    for rest in longest[:RESTS_LISTED]:
        slots = rest.start, (rest.start + rest.length) % WEEK_HOURS
        start, end = (f"{DAYS[slot // 24]} {slot % 24:02d}:{rest.minute:02d}" for slot in slots)
        listed.append(f"{start} to {end}")
    if len(rests) > RESTS_LISTED:
        listed.append(f"and {len(rests) - RESTS_LISTED} more")
    return ", ".join(listed)


def _gpus(saving: Saving) -> str:
    return f"{saving.gpus} GPU{'s' if saving.gpus > 1 else ''} ({', '.join(saving.gpu_models)})"

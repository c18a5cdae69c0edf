"""Cheaper GPUs: servers whose load free GPUs of a cheaper kind would carry, as measured. Pure.

What a kind of GPU can do is taken only from a server of the fleet that serves the same model on it: its
prompt tokens by GPU time of prefill, its generated tokens by that of decode. Nothing is from data sheets.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import NamedTuple

from exporter.advice.claims import Claim, FreeGpu, HostClaims
from exporter.advice.consolidation import BUSY_LIMIT
from exporter.advice.hours import (
    LEAST_HOURS,
    WEEK_HOURS,
    JudgedServer,
    ServerHour,
    gpu_models,
    least_sure,
)
from exporter.advice.saving import CheaperGpus, LackReason, names
from exporter.cost.admission import is_other
from exporter.cost.money import add_all
from exporter.cost.postings import BUSY_PHASES, OTHER
from exporter.readings import ServerKey, TokenKind
from exporter.units import NANOSECONDS_PER_HOUR, Nanoseconds, Picodollars


class _Load(NamedTuple):
    """Tokens to compute, by phase of the GPU."""

    prompt: int
    generation: int

    @classmethod
    def of(cls, hour: ServerHour) -> "_Load":
        """Tokens that a server computed in an hour."""
        counts: dict[TokenKind, int] = {"prompt": 0, "generation": 0}
        for (_model, kind), count in hour.model_tokens.items():
            counts[kind] = counts.get(kind, 0) + count
        return cls(counts["prompt"], counts["generation"])


class _Candidate(NamedTuple):
    """A server alone on whole GPUs of one kind, with the only model that it serves."""

    claims: HostClaims
    server: JudgedServer
    model: str
    gpu_model: str
    """The model of its GPUs."""


@dataclass(frozen=True, slots=True)
class _Measurement:
    """The tokens of a server alone on one kind of GPU, and the GPU time that these took."""

    claims: HostClaims
    server: JudgedServer
    tokens: _Load
    prefill: Nanoseconds
    decode: Nanoseconds
    busy: Nanoseconds

    def need(self, load: _Load) -> Fraction | None:
        """GPU time that a load takes, `None` where one of its kinds of tokens was not measured.

        Busy time of no known phase takes part in proportion.
        """
        known = self.prefill + self.decode
        time = Fraction(0)
        for count, tokens, phase in (
            (load.prompt, self.tokens.prompt, self.prefill),
            (load.generation, self.tokens.generation, self.decode),
        ):
            if count and not (tokens and phase):
                return None
            if count:
                time += Fraction(count * phase * self.busy, tokens * known)
        return time


class _Need(NamedTuple):
    """What a load takes of a measured kind of GPU."""

    gpus: int
    """Replicas, each of as many GPUs as were measured."""
    time: Nanoseconds
    """GPU time of its busiest hour."""
    measurement: _Measurement


def cheaper_gpus(fleet: Sequence[HostClaims]) -> Iterator[Claim]:
    """Findings of a fleet, the dearest servers first.

    Each free GPU is used once: whoever takes a claim that counts marks its GPUs as used before the next.
    """
    prices: dict[str, Picodollars] = {}
    for claims in fleet:
        for gpu in claims.host.gpus:
            if gpu.per_hour is not None:
                kind = gpu.gpu.gpu_model
                prices[kind] = min(gpu.per_hour, prices.get(kind, gpu.per_hour))
    if len(prices) <= 1:
        return
    servers = [candidate for claims in fleet for candidate in _candidates(claims)]
    measurements: dict[str, dict[str, list[_Measurement]]] = {}
    for candidate in servers:
        measurement = _measured(candidate)
        if measurement is not None:
            of_model = measurements.setdefault(candidate.model, {})
            of_model.setdefault(candidate.gpu_model, []).append(measurement)

    def order(candidate: _Candidate) -> tuple[Picodollars, str, ServerKey]:
        claims, server = candidate.claims, candidate.server
        return -claims.left(server) * server.per_hour, claims.host.name, server.key

    not_judged: dict[LackReason, list[_Candidate]] = {}
    for candidate in sorted(servers, key=order):
        claims, server = candidate.claims, candidate.server
        if server.key in claims.settled or server.key in claims.guests or claims.left(server) <= 0:
            continue
        answer = _best_claim(candidate, fleet, prices, measurements.get(candidate.model, {}))
        if isinstance(answer, Claim):
            yield answer
        elif answer is not None:
            not_judged.setdefault(answer, []).append(candidate)
    for reason, candidates in sorted(not_judged.items()):
        for claims in fleet:
            servers_here = [candidate.server for candidate in candidates if candidate.claims is claims]
            if servers_here:
                subject = names(sorted(server.key for server in servers_here))
                age = min(server.age for server in servers_here) if reason == "days" else 0
                claims.lack(reason, subject, age)


def _best_claim(
    candidate: _Candidate,
    fleet: Sequence[HostClaims],
    prices: Mapping[str, Picodollars],
    measurements: Mapping[str, Sequence[_Measurement]],
) -> Claim | LackReason | None:
    """The claim that saves most, else what is missing for one; `None` where no kind of GPU is cheaper.

    `prices` and the `measurements` of the candidate's model are by kind of GPU.
    """
    server = candidate.server
    cheaper = sorted(kind for kind, price in prices.items() if price < server.per_hour)
    if cheaper and server.age < WEEK_HOURS:
        return "days"
    loads = {_Load.of(hour) for hour in server.hours.values()}
    choices: list[Claim] = []
    missing: set[LackReason] = set()
    for kind in cheaper:
        need = _needed(measurements.get(kind, ()), loads)
        if need is None:
            missing.add("rate")
            continue
        if need.gpus * prices[kind] >= server.per_hour * len(server.gpus):
            continue
        gpus = _chosen(fleet, kind, need)
        if gpus is None:
            missing.add("room")
            continue
        claim = _claim(candidate, need, gpus)
        if claim.saving.amount > 0:
            choices.append(claim)
    if choices:
        return max(choices, key=lambda claim: claim.saving.amount)
    if "room" in missing:
        return "room"
    return "rate" if missing else None


def _candidates(claims: HostClaims) -> Iterator[_Candidate]:
    """What limits add up as `other` is neither one server nor one model."""
    for key, server in sorted(claims.serving.items()):
        hours = server.hours.values()
        models = {model for hour in hours for (model, _), count in hour.model_tokens.items() if count}
        whole = all(len(gpu.holders) == 1 and not gpu.divided for gpu in server.gpus)
        kinds = gpu_models(server.gpus)
        if whole and len(kinds) == 1 and len(models) == 1 and not is_other(key):
            (model,) = models
            if model not in {"", OTHER}:
                yield _Candidate(claims, server, model, kinds[0])


def _measured(candidate: _Candidate) -> _Measurement | None:
    """What a server did in its window; `None` of fewer than `LEAST_HOURS` with tokens, and without busy time.

    Tokens of a gap are counted at its end: hours with unobserved time are left out, and those after them.
    So are hours on GPUs of another kind than now, which the window may have, too: by the memory that was read
    there, else by all GPUs of the host.
    """
    claims, server = candidate.claims, candidate.server
    memory = claims.host.memory
    gaps = {hour for hour, usage in server.hours.items() if usage.unobserved}
    of_host = {*gpu_models(claims.host.gpus), *(gpu.gpu_model for rows in memory.values() for gpu, _ in rows)}
    loads: list[_Load] = []
    times: dict[str, Nanoseconds] = {}
    for hour, usage in server.hours.items():
        held_kinds = {gpu.gpu_model for gpu, holder in memory.get(hour, {}) if holder == server.key}
        on_kind = (held_kinds or of_host) == {candidate.gpu_model}
        if hour not in gaps and hour - 1 not in gaps and on_kind:
            loads.append(_Load.of(usage))
            add_all(times, usage.phases)
    prefill, decode = times.get("prefill", 0), times.get("decode", 0)
    if sum(1 for load in loads if any(load)) < LEAST_HOURS or prefill + decode <= 0:
        return None
    return _Measurement(
        claims=claims,
        server=server,
        tokens=_Load(sum(load.prompt for load in loads), sum(load.generation for load in loads)),
        prefill=prefill,
        decode=decode,
        busy=sum(times.get(phase, 0) for phase in BUSY_PHASES),
    )


def _needed(measurements: Collection[_Measurement], loads: Collection[_Load]) -> _Need | None:
    """What loads by hour take of one kind of GPU; `None` where none of its measurements has all of them.

    Of several measurements it is the smallest promise: one may be fast with prompts, and another with
    generated tokens.
    """
    needs: list[_Need] = []
    for measurement in sorted(measurements, key=lambda each: (each.claims.host.name, each.server.key)):
        times = [measurement.need(load) for load in loads]
        known = [time for time in times if time is not None]
        if not known or len(known) < len(times):
            continue
        busiest = max(known)
        size = len(measurement.server.gpus)
        replicas = max(1, ceil(busiest / (BUSY_LIMIT * NANOSECONDS_PER_HOUR * size)))
        needs.append(_Need(replicas * size, ceil(busiest), measurement))
    return max(needs, key=lambda need: (need.gpus, need.time), default=None)


def _chosen(fleet: Sequence[HostClaims], kind: str, need: _Need) -> tuple[FreeGpu, ...] | None:
    """The cheapest free GPUs, those of a replica on one host; `None` if there are too few.

    A card in MIG mode has no room for what was measured on a whole one.
    """
    size = len(need.measurement.server.gpus)
    replicas: list[list[FreeGpu]] = []
    for claims in fleet:
        whole = (gpu for gpu in claims.free_gpus if gpu.gpu.gpu_model == kind and not gpu.divided)
        free = [FreeGpu(claims, gpu) for gpu in sorted(whole, key=lambda gpu: (gpu.price, gpu.gpu))]
        replicas += [free[first : first + size] for first in range(0, len(free) - size + 1, size)]
    count = need.gpus // size
    if len(replicas) < count:
        return None
    replicas.sort(key=lambda replica: (sum(free.gpu.price for free in replica), replica[0].claims.host.name))
    return tuple(free for replica in replicas[:count] for free in replica)


def _claim(candidate: _Candidate, need: _Need, used: tuple[FreeGpu, ...]) -> Claim:
    """The price of the hours that are left, less that of the cheaper GPUs in as many hours."""
    claims, server = candidate.claims, candidate.server
    left = claims.left(server)
    gpus = [free.gpu for free in used]
    per_hour = sum(gpu.price for gpu in gpus)
    own = left * server.per_hour // NANOSECONDS_PER_HOUR
    elsewhere = left * per_hour // (len(server.gpus) * NANOSECONDS_PER_HOUR)
    return claims.claim(
        "gpu_model",
        server,
        left,
        used=used,
        amount=own - elsewhere,
        price_basis=least_sure(gpu.price_basis for gpu in (*server.gpus, *gpus)),
        cheaper=CheaperGpus(
            gpu_model=gpus[0].gpu.gpu_model,
            gpus=len(gpus),
            hosts=tuple(sorted({free.claims.host.name for free in used})),
            per_hour=per_hour,
            model=candidate.model,
            host=need.measurement.claims.host.name,
            server=need.measurement.server.key,
            tokens=sum(need.measurement.tokens),
            busy=need.measurement.busy,
            need=need.time,
        ),
    )

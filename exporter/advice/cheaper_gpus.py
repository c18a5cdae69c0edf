"""Cheaper GPUs: servers whose load free GPUs of a cheaper kind would carry, as measured. Pure.

What a kind of GPU can do is taken only from a server of the fleet that serves the same model on it: its
prompt tokens by GPU time of prefill, its generated tokens by that of decode. Nothing is from data sheets.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from exporter.advice.claims import Claim, HostClaims
from exporter.advice.consolidation import BUSY_LIMIT
from exporter.advice.hours import (
    LEAST_HOURS,
    WEEK_HOURS,
    HostUsage,
    JudgedServer,
    PricedGpu,
    gpu_models,
    least_sure,
)
from exporter.advice.saving import CheaperGpus, Lack, LackReason, names
from exporter.cost.admission import is_other
from exporter.cost.money import add_all
from exporter.cost.postings import BUSY_PHASES, OTHER
from exporter.readings import ServerKey
from exporter.units import NANOSECONDS_PER_HOUR, Nanoseconds, Picodollars


class _Load(NamedTuple):
    """Tokens to compute, by phase of the GPU."""

    prompt: int
    generation: int


@dataclass(frozen=True, slots=True)
class _Measurement:
    """One model of one server on one kind of GPU: its tokens, and the GPU time that these took."""

    host: str
    server: ServerKey
    gpus: int
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


class _Candidate(NamedTuple):
    """A server alone on whole GPUs of one kind, with the only model that it serves."""

    claims: HostClaims
    server: JudgedServer
    model: str

    @property
    def kind(self) -> str:
        """The model of its GPUs."""
        return self.server.gpus[0].gpu.gpu_model

    @property
    def order(self) -> tuple[int, str, ServerKey]:
        """The dearest first."""
        left = self.claims.left(self.server)
        return -left * self.server.per_hour, self.claims.host.name, self.server.key


class _Choice(NamedTuple):
    """Free GPUs of a cheaper kind, and their price."""

    amount: Picodollars
    kind: str
    need: _Need
    gpus: tuple[tuple[HostClaims, PricedGpu], ...]
    per_hour: Picodollars


def cheaper_gpus(fleet: Sequence[HostClaims], lacks: list[Lack]) -> Iterator[tuple[HostClaims, Claim]]:
    """Findings of a fleet, the dearest servers first. What is missing for a judgment is added to `lacks`.

    Each free GPU is used once: whoever takes a claim that counts marks its GPUs as used before the next.
    """
    prices: dict[str, int] = {}
    """The lowest price of each kind of GPU in the fleet."""
    for gpu in (gpu for claims in fleet for gpu in claims.host.gpus):
        if gpu.per_hour is not None:
            kind = gpu.gpu.gpu_model
            prices[kind] = min(gpu.per_hour, prices.get(kind, gpu.per_hour))
    if len(prices) <= 1:
        return
    servers = [candidate for claims in fleet for candidate in _candidates(claims)]
    measurements: dict[tuple[str, str], list[_Measurement]] = {}
    for each in servers:
        measurement = _measured(each.claims.host, each.server)
        if measurement is not None:
            measurements.setdefault((each.model, each.kind), []).append(measurement)
    without: dict[tuple[str, LackReason], list[JudgedServer]] = {}
    movable = [each for each in servers if _may_move(each)]
    for candidate in sorted(movable, key=lambda each: each.order):
        claims, server, model = candidate
        name = claims.host.name
        cheaper = sorted(kind for kind, price in prices.items() if price < server.per_hour)
        if cheaper and server.age < WEEK_HOURS:
            without.setdefault((name, "days"), []).append(server)
            continue
        loads = _loads(server).values()
        choices: list[_Choice] = []
        missing: set[LackReason] = set()
        for kind in cheaper:
            known = sorted(measurements.get((model, kind), ()), key=lambda m: (m.host, m.server))
            needs = [need for each in known if (need := _needed(each, loads)) is not None]
            if not needs:
                missing.add("rate")
                continue
            # Of several measurements, the smallest promise: one may be fast with prompts, and another with
            # generated tokens.
            need = max(needs, key=lambda each: (each.gpus, each.time))
            if need.gpus * prices[kind] >= server.per_hour * len(server.gpus):
                continue
            gpus = _chosen(fleet, kind, need)
            if gpus is None:
                missing.add("room")
                continue
            left = claims.left(server)
            per_hour = sum(gpu.price for _, gpu in gpus)
            own = left * server.per_hour // NANOSECONDS_PER_HOUR
            elsewhere = left * per_hour // (len(server.gpus) * NANOSECONDS_PER_HOUR)
            if own > elsewhere:
                choices.append(_Choice(own - elsewhere, kind, need, gpus, per_hour))
        if choices:
            choice = max(choices, key=lambda each: each.amount)
            yield claims, _claim(candidate, choice)
        elif missing:
            without.setdefault((name, "room" if "room" in missing else "rate"), []).append(server)
    for (name, reason), servers_without in sorted(without.items(), key=lambda item: item[0]):
        age = min(server.age for server in servers_without) if reason == "days" else 0
        lacks.append(Lack(reason, name, names(sorted(server.key for server in servers_without)), age))


def _candidates(claims: HostClaims) -> Iterator[_Candidate]:
    """What limits add up as `other` is neither one server nor one model."""
    for key, server in sorted(claims.serving.items()):
        hours = server.hours.values()
        models = {model for hour in hours for (model, _), count in hour.model_tokens.items() if count}
        whole = all(len(gpu.holders) == 1 and not gpu.divided for gpu in server.gpus)
        if whole and len(gpu_models(server.gpus)) == 1 and len(models) == 1 and not is_other(key):
            (model,) = models
            if model not in {"", OTHER}:
                yield _Candidate(claims, server, model)


def _may_move(candidate: _Candidate) -> bool:
    claims, server, _ = candidate
    stays = server.key in claims.settled or server.key in claims.guests
    return not stays and claims.left(server) > 0


def _loads(server: JudgedServer) -> dict[int, _Load]:
    loads: dict[int, _Load] = {}
    for number, hour in server.hours.items():
        prompt = sum(count for (_, kind), count in hour.model_tokens.items() if kind == "prompt")
        generation = sum(count for (_, kind), count in hour.model_tokens.items() if kind == "generation")
        loads[number] = _Load(prompt, generation)
    return loads


def _measured(host: HostUsage, server: JudgedServer) -> _Measurement | None:
    """What a server did in its window; `None` of fewer than `LEAST_HOURS` with tokens, and without busy time.

    Tokens of a gap are counted at its end: hours with unobserved time are left out, and those after them.
    So are hours on GPUs of another kind than now, which the window may have, too: by the memory that was read
    there, else by all GPUs of the host.
    """
    gaps = {hour for hour, usage in server.hours.items() if usage.unobserved}
    kinds = set(gpu_models(server.gpus))
    of_host = {*gpu_models(host.gpus), *(gpu.gpu_model for rows in host.memory.values() for gpu, _ in rows)}
    loads: dict[int, _Load] = {}
    for hour, load in _loads(server).items():
        held_kinds = {gpu.gpu_model for gpu, holder in host.memory.get(hour, {}) if holder == server.key}
        on_kind = (held_kinds or of_host) == kinds
        if hour not in gaps and hour - 1 not in gaps and on_kind:
            loads[hour] = load
    times: dict[str, int] = {}
    for hour in loads:
        add_all(times, server.hours[hour].phases)
    prefill, decode = times.get("prefill", 0), times.get("decode", 0)
    if sum(1 for load in loads.values() if any(load)) < LEAST_HOURS or prefill + decode <= 0:
        return None
    return _Measurement(
        host=host.name,
        server=server.key,
        gpus=len(server.gpus),
        tokens=_Load(
            sum(load.prompt for load in loads.values()), sum(load.generation for load in loads.values())
        ),
        prefill=prefill,
        decode=decode,
        busy=sum(times.get(phase, 0) for phase in BUSY_PHASES),
    )


def _needed(measurement: _Measurement, loads: Iterable[_Load]) -> _Need | None:
    """What loads by hour take; `None` if one of them was not measured."""
    most = Fraction(-1)
    for load in loads:
        need = measurement.need(load)
        if need is None:
            return None
        most = max(most, need)
    if most < 0:
        return None
    replica = BUSY_LIMIT * NANOSECONDS_PER_HOUR * measurement.gpus
    replicas = max(1, -int(-most // replica))
    return _Need(replicas * measurement.gpus, -int(-most // 1), measurement)


def _chosen(
    fleet: Iterable[HostClaims], kind: str, need: _Need
) -> tuple[tuple[HostClaims, PricedGpu], ...] | None:
    """The cheapest free GPUs, those of a replica on one host; `None` if there are too few.

    A card in MIG mode has no room for what was measured on a whole one.
    """
    size = need.measurement.gpus
    groups: list[tuple[HostClaims, list[PricedGpu]]] = []
    for claims in fleet:
        free = [gpu for gpu in claims.free_gpus if gpu.gpu.gpu_model == kind and not gpu.divided]
        free.sort(key=lambda gpu: (gpu.price, gpu.gpu))
        groups += [(claims, free[first : first + size]) for first in range(0, len(free) - size + 1, size)]
    replicas = need.gpus // size
    if len(groups) < replicas:
        return None
    groups.sort(key=lambda group: (sum(gpu.price for gpu in group[1]), group[0].host.name))
    return tuple((claims, gpu) for claims, gpus in groups[:replicas] for gpu in gpus)


def _claim(candidate: _Candidate, choice: _Choice) -> Claim:
    """The price of the hours that are left, less that of the cheaper GPUs in as many hours."""
    claims, server, model = candidate
    measurement = choice.need.measurement
    chosen = [gpu for _, gpu in choice.gpus]
    saving = claims.saving(
        "gpu_model",
        server,
        claims.left(server),
        amount=choice.amount,
        price_basis=least_sure(gpu.price_basis for gpu in (*server.gpus, *chosen)),
        cheaper=CheaperGpus(
            gpu_model=choice.kind,
            gpus=len(chosen),
            hosts=tuple(sorted({host.host.name for host, _ in choice.gpus})),
            per_hour=choice.per_hour,
            model=model,
            host=measurement.host,
            server=measurement.server,
            tokens=sum(measurement.tokens),
            busy=measurement.busy,
            need=choice.need.time,
        ),
    )
    return Claim(saving, server.gpus, used=choice.gpus)

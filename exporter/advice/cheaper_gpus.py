"""Cheaper GPUs: servers whose load free GPUs of a cheaper kind would carry, as measured. Pure.

What a kind of GPU can do is taken only from a server of the fleet that serves the same model on it: its
prompt tokens by GPU time of prefill, its generated tokens by that of decode. Nothing is from data sheets.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from exporter.advice.consolidation import BUSY_LIMIT
from exporter.advice.finding import (
    CheaperGpus,
    Lack,
    LackReason,
    Obstacle,
    Saving,
    SavingsPolicy,
    claim,
    muted,
    names,
)
from exporter.advice.hours import (
    LEAST_HOURS,
    WEEK_HOURS,
    HostUsage,
    JudgedServer,
    PricedGpu,
    gpu_models,
    least_sure,
)
from exporter.cost.admission import is_other
from exporter.cost.money import add
from exporter.cost.postings import BUSY_PHASES, OTHER
from exporter.frozen import dataclass, replace
from exporter.readings import ServerKey
from exporter.units import NANOSECONDS_PER_HOUR, Nanoseconds, Picodollars


@dataclass(frozen=True, slots=True)
class JudgedHost:
    """A host after its own findings. `left` is GPU time of servers that no finding claims, with its obstacle.

    `free` are GPUs that are free, or that counted findings free.
    """

    host: HostUsage
    servers: Mapping[ServerKey, JudgedServer]
    left: Mapping[ServerKey, tuple[Nanoseconds, Obstacle]]
    free: tuple[PricedGpu, ...]


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


_HostGpu = tuple[str, str]
"""Host and UUID."""

_Measurements = Mapping[tuple[str, str], Sequence[_Measurement]]
"""By model and kind of GPU."""


class _Candidate(NamedTuple):
    """A server that may move, with its load by hour."""

    judged: JudgedHost
    key: ServerKey
    server: JudgedServer
    model: str
    loads: Sequence[_Load]

    @property
    def age(self) -> int:
        """Hours since its first."""
        return self.server.age(self.judged.host)


def cheaper_gpus(hosts: Sequence[JudgedHost], policy: SavingsPolicy) -> tuple[list[Saving], list[Lack]]:
    """Findings of a fleet, the dearest servers first, and what is missing for a judgment.

    Each free GPU is used once. A muted finding uses none.
    """
    prices = _prices(hosts)
    if len(prices) <= 1:
        return [], []
    measurements = _measurements(hosts)
    used: set[_HostGpu] = set()
    age: dict[str, int] = {}
    savings: list[Saving] = []
    without: dict[tuple[str, LackReason], list[ServerKey]] = {}
    for candidate in sorted(_candidates(hosts), key=_order):
        name, per_hour = candidate.judged.host.name, candidate.server.gpus.per_hour or 0
        choices: list[tuple[Saving, frozenset[_HostGpu]]] = []
        missing: set[LackReason] = set()
        cheaper = sorted(kind for kind, price in prices.items() if price < per_hour)
        if cheaper and candidate.age < WEEK_HOURS:
            age[name] = min(candidate.age, age.get(name, WEEK_HOURS))
            without.setdefault((name, "days"), []).append(candidate.key)
            continue
        for kind in cheaper:
            most = _most_needed(measurements.get((candidate.model, kind), ()), candidate.loads)
            if most is None:
                missing.add("rate")
                continue
            measured, (need, replicas) = most
            if replicas * measured.gpus * prices[kind] >= per_hour * len(candidate.server.gpus.gpus):
                continue
            chosen = _chosen(hosts, kind, measured.gpus, replicas, used)
            if chosen is None:
                missing.add("room")
                continue
            saving = _saving(candidate, measured, kind, need, chosen)
            if saving.amount > 0:
                gpus = frozenset((host, gpu.gpu.uuid) for host, gpu in chosen)
                choices.append((muted(saving, policy), gpus))
        if choices:
            saving, gpus = max(choices, key=lambda each: each[0].amount)
            savings.append(saving)
            if saving.ignored is None:
                used |= gpus
        elif missing:
            without.setdefault((name, "room" if "room" in missing else "rate"), []).append(candidate.key)
    return savings, [
        Lack(reason, name, names(sorted(keys)), age[name] if reason == "days" else 0)
        for (name, reason), keys in sorted(without.items())
    ]


def _order(candidate: _Candidate) -> tuple[int, str, ServerKey]:
    left, _ = candidate.judged.left[candidate.key]
    return -left * (candidate.server.gpus.per_hour or 0), candidate.judged.host.name, candidate.key


def _prices(hosts: Iterable[JudgedHost]) -> dict[str, Picodollars]:
    """The lowest price of each kind of GPU in the fleet."""
    prices: dict[str, int] = {}
    for judged in hosts:
        for gpu in judged.host.gpus:
            if gpu.per_hour is not None:
                kind = gpu.gpu.gpu_model
                prices[kind] = min(gpu.per_hour, prices.get(kind, gpu.per_hour))
    return prices


def _models(judged: JudgedHost) -> Iterator[tuple[ServerKey, JudgedServer, str]]:
    """Servers alone on whole GPUs of one kind, with the only model that they serve.

    What limits add up as `other` is neither one server nor one model.
    """
    served: dict[ServerKey, set[str]] = {}
    for usage in judged.host.hours.values():
        for (owner, _kind), count in usage.tokens.items():
            if count:
                served.setdefault(owner.key, set()).add(owner.model)
    for key, server in sorted(judged.servers.items()):
        gpus = server.gpus
        whole = gpus.exclusive and not any(gpu.divided for gpu in gpus.gpus)
        if whole and len(gpu_models(gpus.gpus)) == 1 and len(served.get(key, ())) == 1:
            (model,) = served[key]
            if model not in {"", OTHER} and not is_other(key):
                yield key, server, model


def _loads(host: HostUsage, key: ServerKey) -> dict[int, _Load]:
    loads: dict[int, _Load] = {}
    for hour, usage in host.hours.items():
        if host.first <= hour <= host.last:
            sums = {"prompt": 0, "generation": 0}
            for (owner, kind), count in usage.tokens.items():
                if owner.key == key and kind in sums:
                    sums[kind] += count
            loads[hour] = _Load(sums["prompt"], sums["generation"])
    return loads


def _candidates(hosts: Iterable[JudgedHost]) -> Iterator[_Candidate]:
    for judged in hosts:
        for key, server, model in _models(judged):
            left, _ = judged.left.get(key, (0, ""))
            if left > 0:
                yield _Candidate(judged, key, server, model, tuple(_loads(judged.host, key).values()))


def _measurements(hosts: Iterable[JudgedHost]) -> _Measurements:
    """In the order of hosts and servers."""
    by_kind: dict[tuple[str, str], list[_Measurement]] = {}
    for judged in hosts:
        for key, server, model in _models(judged):
            measurement = _measured(judged.host, key, server)
            if measurement is not None:
                (kind,) = gpu_models(server.gpus.gpus)
                by_kind.setdefault((model, kind), []).append(measurement)
    return {each: sorted(measured, key=lambda m: (m.host, m.server)) for each, measured in by_kind.items()}


def _hours_on_kind(host: HostUsage, key: ServerKey, server: JudgedServer) -> frozenset[int]:
    """Hours in which a server held GPUs of its present kind only, by the memory that was read there.

    Where none was read, the host must have had GPUs of this kind only.
    """
    kinds = set(gpu_models(server.gpus.gpus))
    of_host = {*gpu_models(host.gpus), *(gpu.gpu_model for rows in host.memory.values() for gpu, _ in rows)}
    hours = set()
    for hour in server.hours:
        held_kinds = {gpu.gpu_model for gpu, holder in host.memory.get(hour, {}) if holder == key}
        if (held_kinds or of_host) == kinds:
            hours.add(hour)
    return frozenset(hours)


def _measured(host: HostUsage, key: ServerKey, server: JudgedServer) -> _Measurement | None:
    """What a server did in its window; `None` of fewer than `LEAST_HOURS` with tokens, and without busy time.

    Tokens of a gap are counted at its end: hours with unobserved time are left out, and those after them.
    So are hours on GPUs of another kind than now, which the window may have, too.
    """
    gaps = {hour for hour, usage in server.hours.items() if usage.unobserved}
    on_kind = _hours_on_kind(host, key, server)
    loads = {
        hour: load
        for hour, load in _loads(host, key).items()
        if hour in server.hours and hour not in gaps and hour - 1 not in gaps and hour in on_kind
    }
    times: dict[str, int] = {}
    for hour in loads:
        for (owner, phase), time in host.hours[hour].gpu_time.items():
            if owner.key == key:
                add(times, phase, time)
    busy = sum(times.get(phase, 0) for phase in BUSY_PHASES)
    prefill, decode = times.get("prefill", 0), times.get("decode", 0)
    if sum(1 for load in loads.values() if any(load)) < LEAST_HOURS or prefill + decode <= 0:
        return None
    tokens = _Load(*map(sum, zip(*loads.values(), strict=True)))
    return _Measurement(host.name, key, len(server.gpus.gpus), tokens, prefill, decode, busy)


def _needed(measurement: _Measurement, loads: Iterable[_Load]) -> tuple[Nanoseconds, int] | None:
    """GPU time of the busiest hour, and replicas of the measured size; `None` if that was not measured."""
    needs = [measurement.need(load) for load in loads]
    known = [need for need in needs if need is not None]
    if len(known) < len(needs) or not known:
        return None
    most = max(known)
    replica = BUSY_LIMIT * NANOSECONDS_PER_HOUR * measurement.gpus
    return -int(-most // 1), max(1, -int(-most // replica))


def _most_needed(
    measurements: Sequence[_Measurement], loads: Sequence[_Load]
) -> tuple[_Measurement, tuple[Nanoseconds, int]] | None:
    """The measurement by which a load needs most: of several, the smallest promise. `None` without any.

    Which one is slow depends on the load: one may be fast with prompts, and another with generated tokens.
    """
    known = [(each, needed) for each in measurements if (needed := _needed(each, loads)) is not None]
    return max(known, key=lambda most: (most[1][1] * most[0].gpus, most[1][0]), default=None)


def _chosen(
    hosts: Iterable[JudgedHost], kind: str, size: int, replicas: int, used: set[_HostGpu]
) -> list[tuple[str, PricedGpu]] | None:
    """The cheapest free GPUs, those of a replica on one host; `None` if there are too few.

    A card in MIG mode has no room for what was measured on a whole one.
    """
    groups: list[tuple[Picodollars, str, tuple[PricedGpu, ...]]] = []
    for judged in hosts:
        free = sorted(
            (
                gpu
                for gpu in judged.free
                if gpu.gpu.gpu_model == kind
                and not gpu.divided
                and (judged.host.name, gpu.gpu.uuid) not in used
            ),
            key=lambda gpu: (gpu.per_hour or 0, gpu.gpu),
        )
        for start in range(0, len(free) - size + 1, size):
            group = tuple(free[start : start + size])
            groups.append((sum(gpu.per_hour or 0 for gpu in group), judged.host.name, group))
    if len(groups) < replicas:
        return None
    return [
        (name, gpu)
        for _, name, group in sorted(groups, key=lambda each: each[:2])[:replicas]
        for gpu in group
    ]


def _saving(
    candidate: _Candidate,
    measurement: _Measurement,
    kind: str,
    need: Nanoseconds,
    chosen: Sequence[tuple[str, PricedGpu]],
) -> Saving:
    """The price of the hours that are left, less that of the cheaper GPUs in as many hours."""
    host, own = candidate.judged.host, candidate.server.gpus
    left, obstacle = candidate.judged.left[candidate.key]
    saving = claim("gpu_model", host, candidate.key, left, candidate.server)
    per_hour = sum(gpu.per_hour or 0 for _, gpu in chosen)
    elsewhere = left * per_hour // (len(own.gpus) * NANOSECONDS_PER_HOUR)
    return replace(
        saving,
        amount=saving.amount - elsewhere,
        obstacle=obstacle,
        price_basis=least_sure(gpu.price_basis for gpu in (*own.gpus, *(gpu for _, gpu in chosen))),
        cheaper=CheaperGpus(
            kind,
            len(chosen),
            tuple(sorted(Counter(name for name, _ in chosen))),
            per_hour,
            candidate.model,
            measurement.host,
            measurement.server,
            sum(measurement.tokens),
            measurement.busy,
            need,
        ),
    )

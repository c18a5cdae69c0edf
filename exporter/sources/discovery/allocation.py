"""Who holds which GPU, by who computes on it and who was given it. Pure."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from exporter.readings import GpuProcess, GpuReading, Holder, ServerKey
from exporter.sources.discovery.naming import UNSEEN, NamedServer, stood_for


@dataclass(frozen=True, slots=True)
class Evidence:
    """What can be known at a look.

    `processes`: processes could be looked at. `given`: what the kubelet gave out is known, or there is none.
    """

    processes: bool = True
    given: bool = True


@dataclass(slots=True)
class _HolderClaim:
    """What one server was seen to use of one GPU, or of one instance of it."""

    computes: bool = False
    replica: bool = True
    sm: list[float | None] = field(default_factory=list)
    memory: list[int | None] = field(default_factory=list)
    share_ratio: float | None = None


Claims = dict[tuple[ServerKey, str], _HolderClaim]


def holders(
    gpus: Iterable[GpuReading], named: Iterable[NamedServer], taken: Collection[str], evidence: Evidence
) -> tuple[tuple[Holder, ...], frozenset[str]]:
    """Who holds each GPU, and the GPUs of which nobody can tell.

    A process that computes holds its GPU, and so does a pod that was given one, whether it computes or not.
    A process of which nothing is seen belongs to whoever was given the GPU, else to nobody that is known.

    Args:
        gpus: and who computes on them.
        named: everybody on the host.
        taken: UUIDs of GPUs that the configuration says the holders of.
        evidence: what can be known this time.
    """
    everybody = tuple(named)
    by_pid = {member.pid: one for one in everybody if one.group is not None for member in one.group.computing}
    found: list[Holder] = []
    unknown_gpus: set[str] = set()
    for gpu in gpus:
        uuid = gpu.gpu.uuid
        if uuid in taken or not gpu.up:
            continue
        claims: Claims = {}
        strangers: list[GpuProcess] = []
        told = gpu.processes is not None and evidence.processes
        for process in gpu.processes or ():
            one = by_pid.get(process.pid) if told else None
            if one is None:
                strangers.append(process)
            else:
                _add(claims, one, process)
        hidden = {process.instance for process in strangers}
        _add_given(claims, gpu, everybody, hidden if told else None)
        if told and strangers:
            given = _given(gpu, everybody)
            for process in strangers:
                if process.instance not in given:
                    _add(claims, None, process)
        if not claims and not (told and evidence.given):
            unknown_gpus.add(uuid)
        found += _held(uuid, claims)
    return tuple(found), frozenset(unknown_gpus)


def _add(claims: Claims, one: NamedServer | None, process: GpuProcess) -> None:
    key = UNSEEN if one is None else one.key
    claim = claims.setdefault((key, process.instance), _HolderClaim(share_ratio=_ratio(one)))
    claim.computes = True
    claim.sm.append(process.sm_ratio)
    claim.memory.append(process.memory_bytes)


def _add_given(
    claims: Claims, gpu: GpuReading, everybody: Iterable[NamedServer], hidden: Collection[str] | None
) -> None:
    """Pods that were given a part of a GPU on which none of their processes was seen.

    They used nothing, unless it is not known who computes: on the parts that are `hidden`, on all for `None`.
    """
    computing = {key: claim for key, claim in claims.items() if claim.computes}
    idle: Claims = {}
    for one in _first_of_each(everybody):
        for allocation in one.tenant.allocations:
            for _, instance in stood_for(allocation.device, gpu):
                mine = {other.key for other in everybody if other.tenant is one.tenant}
                if any((key, instance) in computing for key in mine):
                    continue
                claim = idle.setdefault((one.key, instance), _HolderClaim(share_ratio=_ratio(one)))
                claim.replica &= allocation.device.replica is not None
                known = hidden is not None and instance not in hidden
                claim.sm, claim.memory = ([0.0], [0]) if known else ([], [])
    for (key, instance), claim in idle.items():
        used = any(where == instance for _, where in computing)
        if claim.replica or not used:  # else it was given the GPU before, and has ended
            claims[key, instance] = claim


def _given(gpu: GpuReading, everybody: Iterable[NamedServer]) -> frozenset[str]:
    """The parts of a GPU that somebody was given."""
    return frozenset(
        instance
        for one in everybody
        for allocation in one.tenant.allocations
        for _, instance in stood_for(allocation.device, gpu)
    )


def _first_of_each(everybody: Iterable[NamedServer]) -> Iterator[NamedServer]:
    """One server of each tenant that was given something: one that serves, if any does."""
    seen: set[int] = set()
    for one in sorted(everybody, key=lambda one: one.launch is None):
        if one.tenant.allocations and id(one.tenant) not in seen:
            seen.add(id(one.tenant))
            yield one


def _ratio(one: NamedServer | None) -> float | None:
    if one is None or one.rule is None or one.rule.gpu_share_ratio is None:
        return None
    return float(one.rule.gpu_share_ratio)


def _held(uuid: str, claims: Mapping[tuple[ServerKey, str], _HolderClaim]) -> Iterator[Holder]:
    for (key, instance), claim in claims.items():
        sm = [ratio for ratio in claim.sm if ratio is not None]
        memory = [amount for amount in claim.memory if amount is not None]
        yield Holder(
            key,
            uuid,
            claim.share_ratio,
            instance,
            sm_ratio=math.fsum(sm) if sm else None,
            memory_bytes=sum(memory) if memory else None,
        )

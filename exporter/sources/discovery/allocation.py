"""GPU allocation: the holders of each GPU, by the processes on it and the kubelet's allocations. Pure."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from exporter.cost.money import divide
from exporter.readings import GpuProcess, GpuReading, Holder, ServerKey
from exporter.sources.discovery.naming import UNSEEN, NamedServer
from exporter.sources.discovery.tenants import stood_for


@dataclass(slots=True)
class _HolderClaim:
    """Use of one GPU, or of one instance of it, by one server."""

    share_ratio: float | None = None
    """By configuration."""
    computes: bool = False
    replica: bool = True
    """Whether all its devices there are replicas, which others share."""
    sm: list[float | None] = field(default_factory=list)
    """SM utilization of each process."""
    memory: list[int | None] = field(default_factory=list)


Claims = dict[tuple[ServerKey, str], _HolderClaim]
"""By server and MIG instance."""


def holders(
    gpus: Iterable[GpuReading],
    named_servers: Iterable[NamedServer],
    configured_gpus: Collection[str],
    *,
    processes_known: bool = True,
    allocations_known: bool = True,
) -> tuple[tuple[Holder, ...], frozenset[str]]:
    """The holders of each GPU, and the GPUs whose holders are unknown.

    A process that computes holds its GPU, and so does a pod to which one is allocated, computing or not.
    What a go-between uses there is its clients'.
    A process that is not visible belongs to the pod with the GPU, else to `UNSEEN`.

    `configured_gpus` are the UUIDs of GPUs whose holders the configuration names. `allocations_known` is true
    where the kubelet answered, or there is none.
    """
    servers = tuple(named_servers)
    by_pid = {
        member.pid: server
        for server in servers
        if server.group is not None
        for member in server.group.computing
    }
    result: list[Holder] = []
    unknown_gpus: set[str] = set()
    for gpu in gpus:
        uuid = gpu.gpu.uuid
        if uuid in configured_gpus or not gpu.up:
            continue
        are_known = gpu.processes is not None and processes_known
        claims = _claims_of(gpu, servers, by_pid if are_known else None)
        if not claims and not (are_known and allocations_known):
            unknown_gpus.add(uuid)
        for (key, instance), claim in claims.items():
            sm = [ratio for ratio in claim.sm if ratio is not None]
            memory = [amount for amount in claim.memory if amount is not None]
            result.append(
                Holder(
                    key,
                    uuid,
                    claim.share_ratio,
                    instance,
                    sm_ratio=math.fsum(sm) if sm else None,
                    memory_bytes=sum(memory) if memory else None,
                )
            )
    return tuple(result), frozenset(unknown_gpus)


def _claims_of(
    gpu: GpuReading, servers: tuple[NamedServer, ...], by_pid: Mapping[int, NamedServer] | None
) -> Claims:
    """The use of one GPU. `by_pid` are the servers of processes, `None` where those are unknown."""
    claims: Claims = {}
    known = by_pid or {}
    processes = gpu.processes or ()
    attributed = [(known[process.pid], process) for process in processes if process.pid in known]
    unattributed = [process for process in processes if process.pid not in known]
    for server, process in attributed:
        for payer, part in _divided(server, process, attributed):
            _add_process(claims, payer, part)
    unattributed_parts = {process.instance for process in unattributed}
    _add_allocated(claims, gpu, servers, None if by_pid is None else unattributed_parts)
    if by_pid is None or not unattributed:
        return claims
    allocated = {
        instance
        for server in servers
        for allocation in server.tenant.allocations
        for _, instance in stood_for(allocation.device, gpu)
    }
    for process in unattributed:
        if process.instance not in allocated:
            _add_process(claims, None, process)
    return claims


def _divided(
    server: NamedServer, process: GpuProcess, attributed: Iterable[tuple[NamedServer, GpuProcess]]
) -> Iterator[tuple[NamedServer, GpuProcess]]:
    """A process by who pays for it: a go-between's use goes to its clients, by their memory, else equally.

    Without a client it pays for itself, as any other process does.
    """
    clients = [
        (client, other)
        for client, other in attributed
        if other.instance == process.instance
        and server.group is not None
        and client.group is not None
        and client.group.may_compute_through(server.group)
    ]
    if not clients:
        yield server, process
        return
    weights = {number: other.memory_bytes or 0 for number, (_, other) in enumerate(clients)}
    if any(other.memory_bytes is None for _, other in clients) or not any(weights.values()):
        weights = dict.fromkeys(weights, 1)
    memory = {} if process.memory_bytes is None else divide(process.memory_bytes, weights)
    for number, weight in weights.items():
        sm = None if process.sm_ratio is None else process.sm_ratio * weight / sum(weights.values())
        yield clients[number][0], process._replace(memory_bytes=memory.get(number), sm_ratio=sm)


def _add_process(claims: Claims, server: NamedServer | None, process: GpuProcess) -> None:
    """Add a process of a server; of an unknown one for `None`."""
    key = UNSEEN if server is None else server.key
    ratio = None if server is None else server.share_ratio
    claim = claims.setdefault((key, process.instance), _HolderClaim(ratio))
    claim.computes = True
    claim.sm.append(process.sm_ratio)
    claim.memory.append(process.memory_bytes)


def _add_allocated(
    claims: Claims,
    gpu: GpuReading,
    servers: Iterable[NamedServer],
    unattributed_parts: Collection[str] | None,
) -> None:
    """Add pods with a part of a GPU on which none of their processes is visible.

    They use nothing, except where the processes are unknown: on `unattributed_parts`, on all for `None`.
    """
    computing = {key: claim for key, claim in claims.items() if claim.computes}
    # One server of each tenant with an allocation: one that serves, if any does.
    of_tenants: dict[int, list[NamedServer]] = {}
    for server in sorted(servers, key=lambda server: server.launch is None):
        if server.tenant.allocations:
            of_tenants.setdefault(id(server.tenant), []).append(server)
    idle: Claims = {}
    for first, *others in of_tenants.values():
        keys = {server.key for server in (first, *others)}
        for allocation in first.tenant.allocations:
            for _, instance in stood_for(allocation.device, gpu):
                if any((key, instance) in computing for key in keys):
                    continue
                claim = idle.setdefault((first.key, instance), _HolderClaim(first.share_ratio))
                claim.replica &= allocation.device.replica is not None
                is_idle = unattributed_parts is not None and instance not in unattributed_parts
                claim.sm, claim.memory = ([0.0], [0]) if is_idle else ([], [])
    for (key, instance), claim in idle.items():
        used = any(part == instance for _, part in computing)
        if claim.replica or not used:  # else its allocation is an old one, of a pod that has ended
            claims[key, instance] = claim

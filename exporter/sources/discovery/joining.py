"""Puts together what was read of a host: who holds which GPU, where they are read, who pays. Pure."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlsplit

from exporter.config.settings import Config, Server
from exporter.readings import GpuReading, Holder, Owned, ServerKey, UnreadReason, UnreadServer, label, masked
from exporter.sources.discovery.addresses import (
    CLAIMED,
    Address,
    Listening,
    Moment,
    address,
    identity_of,
)
from exporter.sources.discovery.found import Found, Sight
from exporter.sources.discovery.holding import Evidence, holders
from exporter.sources.discovery.naming import Named, named
from exporter.sources.discovery.parts import Part, computed_on, stood_for
from exporter.sources.discovery.pods import Pod
from exporter.sources.discovery.tenants import tenants
from exporter.sources.endpoints import Target
from exporter.sources.kubelet import Allocation
from exporter.sources.processes import ProcessGroup

LOOPBACK: Final = "127.0.0.1"
PORTS: Final = {"http": 80, "https": 443}

GO_BETWEENS: Final = frozenset({"nvidia-cuda-mps-server"})
"""Programs that NVML lists as computing, and that compute for the clients that it lists beside them (MPS)."""

TARGETS_MAX: Final = 256
"""Endpoints that are found on one host; more are not read."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the sources said. `None` is one that could not say, `()` one that has nothing to say."""

    groups: tuple[ProcessGroup, ...] | None = ()
    given: tuple[Allocation, ...] | None = ()
    pods: tuple[Pod, ...] | None = ()


def found(
    config: Config,
    gpus: tuple[GpuReading, ...],
    seen: Seen,
    moment: Moment,
    before: Collection[Target] = (),
) -> Found:
    """Who is here. Servers that the configuration names are left to it, and so are the GPUs they hold.

    A server is read if it holds a GPU, if its pod or the configuration says where, or if it was read before:
    one that sleeps may let go of its GPU. What holds none and was never told of may be a router, whose tokens
    its engines count already. Of two that are read at one address, it is the one that listens there.
    """
    seen, gpus = _without_go_betweens(seen, gpus)
    tenancies = tenants(seen.groups or (), seen.given or (), seen.pods or (), gpus)
    everybody, refused = named(tenancies, config.server_rules)
    computing = computed_on(gpus)
    taken = _taken(config.servers, gpus)
    evidence = Evidence(processes=seen.groups is not None, given=seen.given is not None)
    held, unsure = holders(gpus, everybody, taken, evidence)
    nameless = [one for one in everybody if seen.pods is None and _is_nameless(one)]
    unsure |= {holder.uuid for holder in held if holder.key in {one.key for one in nameless}}
    computes = {holder.key for holder in held}
    held = tuple(holder for holder in held if holder.uuid not in unsure)
    configured = {_place(server.url) for server in config.servers}
    known = {target.about.identity: target for target in before}
    holding = {holder.key for holder in held}
    listening = _listening(everybody)
    targets: dict[str, Target] = {}
    sights: dict[int, Sight] = {}
    unread: list[UnreadServer] = []
    for number, one in sorted(enumerate(everybody), key=lambda pair: not _listens(pair[1])):
        where = _address(one, moment, known, listening)
        serves = where.skip_reason is not UnreadReason.NO_SERVER
        if one in nameless:
            where = Address(skip_reason=UnreadReason.NO_POD_NAME)
        elif _is_configured(one, gpus, computing, taken) or (
            where.target is not None and not configured.isdisjoint(_places(one, where.target))
        ):
            where = Address(skip_reason=UnreadReason.CONFIGURED)
        elif where.target is not None and not _is_read(one, where.target, holding, known):
            where = Address(skip_reason=UnreadReason.NO_GPU)
        elif where.target is not None and where.target.url in targets:
            where = Address(skip_reason=UnreadReason.ADDRESS_TAKEN)
        elif where.target is not None and len(targets) == TARGETS_MAX:
            where = Address(skip_reason=UnreadReason.TOO_MANY)
        elif where.target is not None:
            targets[where.target.url] = where.target
        if serves and _is_read(one, None, computes, known):
            unread += _unread(one, where.skip_reason)
        sights[number] = _sight(one, where, held)
    return Found(
        holders=held,
        unsure=unsure,
        owners=tuple(_owners(everybody)),
        targets=tuple(targets.values()),
        sights=tuple(sights[number] for number in range(len(everybody))),
        unread=tuple(unread[:TARGETS_MAX]),
        refused=refused,
    )


def _without_go_betweens(seen: Seen, gpus: tuple[GpuReading, ...]) -> tuple[Seen, tuple[GpuReading, ...]]:
    """What is left without processes that compute for others, who are listed themselves."""
    between = {group.id for group in seen.groups or () if group.name in GO_BETWEENS and group.server is None}
    if not between or seen.groups is None:
        return seen, gpus
    pids = {member.pid for group in seen.groups if group.id in between for member in group.computing}
    left = tuple(
        gpu
        if gpu.processes is None
        else replace(gpu, processes=tuple(one for one in gpu.processes if one.pid not in pids))
        for gpu in gpus
    )
    return replace(seen, groups=tuple(group for group in seen.groups if group.id not in between)), left


def _place(url: str) -> tuple[str, int | None]:
    """The host and the port of a URL, by which it is the same server, whatever its path."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or PORTS.get(parts.scheme)
    return (LOOPBACK if host in ("localhost", "::1") else host), port


def _places(one: Named, target: Target) -> set[tuple[str, int | None]]:
    """Where a server is read, and where the router is that started it: one of them may be configured."""
    server = None if one.group is None else one.group.server
    places = {_place(target.url)}
    if server is not None and (router := server.router) is not None:
        places |= {(LOOPBACK if host == "::1" else host, router.port) for host in router.hosts}
    return places


def _taken(servers: Iterable[Server], gpus: Iterable[GpuReading]) -> frozenset[str]:
    """The GPUs that the configuration says the holders of."""
    servers = tuple(servers)
    return frozenset(
        gpu.gpu.uuid
        for gpu in gpus
        if any(
            server.gpus is None or gpu.index in server.gpus or gpu.gpu.uuid in server.gpus
            for server in servers
        )
    )


def _is_configured(
    one: Named, gpus: Iterable[GpuReading], computing: Mapping[int, frozenset[Part]], taken: Collection[str]
) -> bool:
    """Whether it has GPUs of configured servers only: it is one of them, by another address maybe."""
    pids = () if one.group is None else tuple(member.pid for member in one.group.computing)
    parts = {part for pid in pids for part in computing.get(pid, ())}
    for allocation in one.tenant.allocations:
        parts.update(part for gpu in gpus for part in stood_for(allocation.device, gpu))
    return bool(parts) and {part.uuid for part in parts} <= set(taken)


def _listens(one: Named) -> bool:
    """Whether its own socket was found."""
    server = None if one.group is None else one.group.server
    return server is not None and server.port is not None


def _listening(everybody: Iterable[Named]) -> Listening:
    """Who holds which port of which network."""
    return {
        (server.network, port): one.group.id
        for one in everybody
        if one.group is not None and (server := one.group.server) is not None and server.network
        for port in (server.metrics_port, server.port)
        if port is not None
    }


def _address(one: Named, moment: Moment, known: Mapping[str, Target], listening: Listening) -> Address:
    """Where a server is read: where it was, while nothing tells another place. A look may miss a socket."""
    where = address(one, moment, listening)
    identity = _identity(one)
    if where.skip_reason is UnreadReason.NOT_LISTENING and identity and (before := known.get(identity)):
        return Address(replace(before, key=one.key))
    return where


def _identity(one: Named) -> str:
    """What a server's process is, empty where it is not seen; of no target then."""
    server = None if one.group is None else one.group.server
    return "" if server is None else identity_of(server.process)


def _unread(one: Named, reason: UnreadReason | None) -> Iterator[UnreadServer]:
    """The server, where that reason is none of those that are as they should be."""
    if reason is not None and reason.remedy:
        engine = "" if one.launch is None else one.launch.engine
        yield UnreadServer(one.key, reason, engine=engine, identity=_identity(one))


def _is_nameless(one: Named) -> bool:
    """Whether it is of a pod of which only the uid is known: as soon as its cluster answers it has a name."""
    return one.group is not None and bool(one.group.pod) and not one.tenant.workload


def _is_read(
    one: Named, target: Target | None, holding: Collection[ServerKey], known: Mapping[str, Target]
) -> bool:
    """Whether a server is to be read, at a target or at all."""
    identity = _identity(one) if target is None else target.about.identity
    before = known.get(identity) if identity else None
    # The name of a program is a claim: without a GPU its page would be counted for whom the entry means.
    computes = one.group is not None and bool(one.group.computing)
    ruled = one.rule is not None and (one.rule.match.binds or one.rule.match.port is not None or computes)
    told = ruled or (one.tenant.pod is not None and one.tenant.pod.wishes.port is not None)
    again = before is not None and (target is None or before.url == target.url)
    return told or one.key in holding or again


def _owners(everybody: Iterable[Named]) -> Iterable[Owned]:
    """What pods say of who pays: their wishes, else their labels. Of replicas the first is heard."""
    told: dict[ServerKey, Owned] = {}
    for one in everybody:
        if (pod := one.tenant.pod) is not None:
            product, team = pod.wishes.product or pod.product, pod.wishes.team or pod.team
            told.setdefault(one.key, Owned(one.key, label(product), label(team)))
    return told.values()


def _sight(one: Named, where: Address, held: Iterable[Holder]) -> Sight:
    group, start = one.group, one.launch
    tenant = one.tenant
    place = f"{tenant.namespace}/{tenant.workload}" if tenant.workload else ""
    if group is not None and not place:
        place = group.unit or (
            f"{group.runtime or 'container'} {group.container[:12]}" if group.container else ""
        )
    claim = None if group is None or group.server is None else CLAIMED.get(group.server.claim)
    return Sight(
        key=one.key,
        engine="" if start is None else start.engine,
        model="" if start is None else label(start.model),
        program="" if group is None else group.name,
        where=place,
        gpus=tuple(dict.fromkeys(holder.uuid for holder in held if holder.key == one.key)),
        url="" if where.target is None else masked(where.target.url),
        skip_reason=where.skip_reason,
        rule="" if one.rule is None else one.rule.source,
        refused=one.refused or ("" if claim is None else f"{claim.problem}. {claim.remedy}"),
    )

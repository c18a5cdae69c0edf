"""Servers found on a host: GPU holders, endpoints and owners, joined. Pure."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from exporter.config.settings import Config
from exporter.readings import (
    FailureReason,
    GpuReading,
    Holder,
    PodOwnership,
    ServerKey,
    UnreadServer,
    endpoint_id,
    label,
    masked,
)
from exporter.sources import configured
from exporter.sources.discovery.allocation import holders
from exporter.sources.discovery.endpoint_address import (
    Address,
    PortHolders,
    ScanTime,
    SkipServerError,
    address_of,
    holders_of_ports,
    metrics_target,
)
from exporter.sources.discovery.naming import LOOPBACK, NamedServer, name_servers
from exporter.sources.discovery.tenants import stood_for, tenants
from exporter.sources.gather import Gathered
from exporter.sources.kubelet import Allocation
from exporter.sources.kubernetes import Pod
from exporter.sources.processes import ApiServer, ProcessGroup
from exporter.sources.server import ServerContext, Target
from exporter.units import Nanoseconds

TARGETS_MAX: Final = 256
"""Endpoints discovered on one host; more are not read."""


@dataclass(frozen=True, slots=True)
class HostSnapshot:
    """Answers of the sources; `None` is a source that failed, `()` one without anything to report."""

    groups: tuple[ProcessGroup, ...] | None = ()
    given: tuple[Allocation, ...] | None = ()
    """The kubelet's allocations."""
    pods: tuple[Pod, ...] | None = ()
    listed: Nanoseconds | None = None
    """The boot time as of which the pods are known: one that began later may be missing."""


@dataclass(frozen=True, slots=True)
class DiscoveredServer:
    """One discovered server, or other holder, for `doctor`."""

    key: ServerKey
    engine: str = ""
    model: str = ""
    program: str = ""
    where: str = ""
    """Its workload, unit or container."""
    gpus: tuple[str, ...] = ()
    """The UUIDs of the GPUs that it holds a part of."""
    url: str = ""
    """Where it is read, empty with a `skip_reason`."""
    skip_reason: FailureReason | None = None
    rule: str = ""
    """The entry of `servers` that matches it, also where it does not get that."""
    refused: str = ""
    """The fault of a name, address or entry that it claims and does not get."""


@dataclass(frozen=True, slots=True)
class DiscoveryResult:
    """Result of one scan: GPU holders, targets to read, and cost owners by pod labels."""

    holders: tuple[Holder, ...] = ()
    unknown_gpus: frozenset[str] = frozenset()
    """GPUs whose holders no source could name in this scan."""
    owners: tuple[PodOwnership, ...] = ()
    targets: tuple[Target, ...] = ()
    gathered: tuple[Gathered, ...] = ()
    """The answers of the sources that this scan read."""
    servers: tuple[DiscoveredServer, ...] = ()
    unread: tuple[UnreadServer, ...] = ()
    """The servers that should be read and are not."""
    refused: int = 0
    """Pods whose annotation claims the name of another workload."""
    incomplete: bool = False
    """Processes or pods could not be listed, so that there may be other servers."""
    problems: tuple[tuple[str, str], ...] = ()
    """Sources with an incomplete answer, each with its problem."""
    unasked: tuple[tuple[str, str], ...] = ()
    """Sources to which access is denied and that the configuration does not require."""
    unmatched: frozenset[ServerKey] = frozenset()
    """The keys of holders that are no known server."""
    users: Mapping[ServerKey, int] = field(default_factory=dict)
    """The user ids of servers whose processes are visible."""
    listeners: Mapping[str, ServerContext] = field(default_factory=dict)
    """What is known of the processes that listen at configured URLs, by the name of the endpoint."""


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """Where one server answers, and why it is not read."""

    server: NamedServer
    target: Target | None = None
    """The target of its metrics, read or not."""
    reason: FailureReason | None = None
    """Why it is not read, `None` where it is."""
    is_server: bool = True
    """Whether it is a server, read or not."""

    @property
    def router(self) -> ApiServer | None:
        """The router that started the server."""
        return None if self.server.api is None else self.server.api.router

    def is_uncertain(self) -> bool:
        """Whether the socket of the server is unknown: others of one URL are read first."""
        return self.server.api is None or self.server.api.port is None

    @property
    def addresses(self) -> Iterator[Address]:
        """The addresses by which it may be configured: its target's, and its router's for all models."""
        if self.target is not None:
            yield address_of(self.target.url)
            if self.router is not None:
                for host in self.router.hosts:
                    yield (LOOPBACK if host == "::1" else host), self.router.port


@dataclass(frozen=True, slots=True)
class _Host:
    """What decides which servers of a host are read."""

    gpus: tuple[GpuReading, ...]
    snapshot: HostSnapshot
    moment: ScanTime
    """The time of the scan."""
    port_holders: PortHolders
    holder_keys: Collection[ServerKey]
    """The servers that hold a GPU."""
    configured_gpus: Collection[str]
    """The UUIDs of GPUs whose holders the configuration names."""
    configured_addresses: frozenset[Address]
    """The addresses of servers that the configuration names by URL."""
    before: Mapping[str, Target]
    """The targets of the last scan, by the identity of their process; without those of unknown processes."""

    def endpoints(self, servers: Iterable[NamedServer]) -> list[_Endpoint]:
        """Where each server is read, or why it is not; a URL is read for one server."""
        candidates = [self.judged(self.answering(server)) for server in servers]
        read: dict[str, Target] = {}
        for candidate in sorted(candidates, key=_Endpoint.is_uncertain):
            if candidate.target and candidate.reason is None and len(read) < TARGETS_MAX:
                read.setdefault(candidate.target.url, candidate.target)
        endpoints: list[_Endpoint] = []
        for candidate in candidates:
            reason = candidate.reason
            if candidate.target and reason is None and candidate.target.url not in read:
                reason = FailureReason.TOO_MANY
            elif candidate.target and reason is None and read[candidate.target.url] is not candidate.target:
                reason = FailureReason.ADDRESS_TAKEN
            endpoints.append(replace(candidate, reason=reason))
        return endpoints

    def answering(self, server: NamedServer) -> _Endpoint:
        """Where a server answers, or why that is unknown."""
        try:
            target = metrics_target(server, self.moment, self.port_holders)
        except SkipServerError as skipped:
            last = self.before.get(server.identity)
            if skipped.reason is FailureReason.NOT_LISTENING and last is not None:
                # A scan may miss its socket: the last target then stays.
                return _Endpoint(server, replace(last, key=server.key))
            is_server = skipped.reason is not FailureReason.NO_SERVER
            return _Endpoint(server, reason=skipped.reason, is_server=is_server)
        return _Endpoint(server, target)

    def judged(self, endpoint: _Endpoint) -> _Endpoint:
        """An endpoint, with the reason for which it is not to be read, whatever others are."""
        server = endpoint.server
        members = () if server.group is None else server.group.computing
        pids = {member.pid for member in members}
        gpu_uuids = {
            gpu.gpu.uuid
            for gpu in self.gpus
            if not pids.isdisjoint(process.pid for process in gpu.processes or ())
            or any(stood_for(allocation.device, gpu) for allocation in server.tenant.allocations)
        }
        # With GPUs of configured servers only it is one of them, perhaps elsewhere.
        is_configured = bool(gpu_uuids) and gpu_uuids.issubset(self.configured_gpus)
        if _is_nameless(server, self.snapshot):
            return replace(endpoint, reason=FailureReason.NO_POD_NAME)
        if is_configured or not self.configured_addresses.isdisjoint(endpoint.addresses):
            return replace(endpoint, reason=FailureReason.CONFIGURED)
        if endpoint.target is not None and not _is_read(
            server, endpoint.target, self.holder_keys, self.before
        ):
            return replace(endpoint, reason=FailureReason.NO_GPU)
        return endpoint

    def unread(
        self, endpoints: Iterable[_Endpoint], computing: Collection[ServerKey]
    ) -> Iterator[UnreadServer]:
        """The servers that should be read and are not, for a reason that somebody can remedy."""
        for endpoint in endpoints:
            server, reason = endpoint.server, endpoint.reason
            if reason is None or not reason.remedy or not endpoint.is_server:
                continue
            if _is_read(server, None, computing, self.before):
                engine = "" if server.launch is None else server.launch.engine
                yield UnreadServer(server.key, reason, engine=engine, identity=server.identity)


def find_servers(
    config: Config,
    gpus: tuple[GpuReading, ...],
    snapshot: HostSnapshot,
    moment: ScanTime,
    before: Collection[Target] = (),
) -> DiscoveryResult:
    """Servers of this host, without those that the configuration names by URL, and without their GPUs.

    A server is read if it holds a GPU, if its pod or the configuration gives its address, or if it was read
    before: a sleeping server may release its GPU. Any other server without a GPU may be a router, whose
    tokens its engines count. Of two servers at one address, the one that listens there is read.
    """
    tenancies = tenants(snapshot.groups or (), snapshot.given or (), snapshot.pods or (), gpus)
    servers, refused_names = name_servers(tenancies, config.server_rules)
    configured_gpus = {holder.uuid for holder in configured.holders(config.servers, gpus)}
    held_parts, unknown_gpus = holders(
        gpus,
        servers,
        configured_gpus,
        processes_known=snapshot.groups is not None,
        allocations_known=snapshot.given is not None,
    )
    nameless = {server.key for server in servers if _is_nameless(server, snapshot)}
    unknown_gpus |= {holder.uuid for holder in held_parts if holder.key in nameless}
    computing = {holder.key for holder in held_parts}
    held_parts = tuple(holder for holder in held_parts if holder.uuid not in unknown_gpus)
    last_targets = {target.server_context.identity: target for target in before}
    host = _Host(
        gpus=gpus,
        snapshot=snapshot,
        moment=moment,
        port_holders=holders_of_ports(servers),
        holder_keys={holder.key for holder in held_parts},
        configured_gpus=configured_gpus,
        configured_addresses=frozenset(address_of(entry.url) for entry in config.servers),
        before={identity: target for identity, target in last_targets.items() if identity},
    )
    endpoints = host.endpoints(servers)
    by_certainty = sorted(endpoints, key=_Endpoint.is_uncertain)
    # The first replica of a server comes last, and says whose it is.
    owners = {
        server.key: PodOwnership(server.key, label(server.pod.product), label(server.pod.team))
        for server in reversed(servers)
        if server.pod is not None
    }
    users = {server.key: server.user for server in reversed(servers) if server.user is not None}
    return DiscoveryResult(
        holders=held_parts,
        unknown_gpus=unknown_gpus,
        owners=tuple(owners.values()),
        targets=tuple(read.target for read in by_certainty if read.target and read.reason is None),
        servers=tuple(_discovered(endpoint, held_parts) for endpoint in endpoints),
        unread=tuple(host.unread(endpoints, computing))[:TARGETS_MAX],
        refused=refused_names,
        unmatched=frozenset(server.key for server in servers if not server.matched),
        users=users,
        listeners=_listeners(by_certainty, [entry.url for entry in config.servers]),
    )


def _listeners(by_certainty: Sequence[_Endpoint], urls: Iterable[str]) -> Mapping[str, ServerContext]:
    """The processes that listen at URLs, by the name of the endpoint; of several the most certain."""
    by_address = {
        address_of(endpoint.target.url): endpoint.target.server_context
        for endpoint in reversed(by_certainty)
        if endpoint.target is not None and endpoint.server.api is not None and endpoint.router is None
    }
    return {endpoint_id(url): by_address[address_of(url)] for url in urls if address_of(url) in by_address}


def _is_nameless(server: NamedServer, snapshot: HostSnapshot) -> bool:
    """Whether only the uid of its pod is known: it has a name as soon as its cluster answers."""
    group = server.group
    if group is None or not group.pod or server.tenant.workload:
        return False
    return snapshot.pods is None or (snapshot.listed is not None and group.started >= snapshot.listed)


def _is_read(
    server: NamedServer,
    target: Target | None,
    holder_keys: Collection[ServerKey],
    targets_before: Mapping[str, Target],
) -> bool:
    """Whether a server is to be read, at a target or at all."""
    identity = server.identity if target is None else target.server_context.identity
    before = targets_before.get(identity)
    # The name of a program is a claim: without a GPU its page would be counted for whom the entry means.
    computes = server.group is not None and bool(server.group.computing)
    ruled = server.rule is not None and (
        server.rule.match.binds or server.rule.match.port is not None or computes
    )
    is_named = ruled or (server.pod is not None and server.pod.pod_annotations.port is not None)
    again = before is not None and (target is None or before.url == target.url)
    return is_named or server.key in holder_keys or again


def _discovered(endpoint: _Endpoint, holders: Iterable[Holder]) -> DiscoveredServer:
    server = endpoint.server
    group, start, tenant = server.group, server.launch, server.tenant
    where = ""
    port_fault = None
    if group is not None:
        where = group.unit
        if not where and group.container:
            where = f"{group.runtime or 'container'} {group.container[:12]}"
        port_fault = None if group.server is None else group.server.port_fault
    return DiscoveredServer(
        key=server.key,
        engine="" if start is None else start.engine,
        model="" if start is None else label(start.model),
        program="" if group is None else group.name,
        where=f"{tenant.namespace}/{tenant.workload}" if tenant.workload else where,
        gpus=tuple(dict.fromkeys(holder.uuid for holder in holders if holder.key == server.key)),
        url=masked(endpoint.target.url) if endpoint.target is not None and endpoint.reason is None else "",
        skip_reason=endpoint.reason,
        rule=server.denied if server.rule is None else server.rule.source,
        refused=server.refused
        or ("" if port_fault is None else f"{port_fault.problem}. {port_fault.remedy}"),
    )

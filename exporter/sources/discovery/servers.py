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
    ScanTime,
    SkipServerError,
    address_of,
    metrics_target,
)
from exporter.sources.discovery.naming import LOOPBACK, NamedServer, name_servers
from exporter.sources.discovery.tenants import computed_on, stood_for, tenants
from exporter.sources.gather import Gathered
from exporter.sources.kubelet import Allocation
from exporter.sources.kubernetes import Pod
from exporter.sources.processes import ProcessGroup
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


@dataclass(slots=True)
class _EndpointDecision:
    """Where one server is read, or why it is not."""

    server: NamedServer
    endpoint: Target | None = None
    """Where it answers, read or not."""
    reason: FailureReason | None = None
    """Why it is not read, `None` where it is."""
    is_server: bool = True
    """Whether it is a server, read or not."""


@dataclass(frozen=True, slots=True)
class _Host:
    """What decides which servers of a host are read."""

    gpus: tuple[GpuReading, ...]
    snapshot: HostSnapshot
    configured_gpus: Collection[str]
    """The UUIDs of GPUs whose holders the configuration names."""
    configured_addresses: Collection[Address]
    """The addresses of servers that the configuration names by URL."""
    before: Mapping[str, Target]
    """The targets of the last scan, by the identity of their process."""


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
    servers, refused = name_servers(tenancies, config.server_rules)
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
    host = _Host(
        gpus=gpus,
        snapshot=snapshot,
        configured_gpus=configured_gpus,
        configured_addresses={address_of(entry.url) for entry in config.servers},
        before={target.server_context.identity: target for target in before},
    )
    reads = [_EndpointDecision(server) for server in servers]
    # Those come first whose own socket is known.
    by_certainty = sorted(reads, key=lambda read: read.server.api is None or read.server.api.port is None)
    listeners = _read_where(by_certainty, host, moment, {holder.key for holder in held_parts})
    # The first replica of a server says whose it is.
    owners: dict[ServerKey, PodOwnership] = {}
    users: dict[ServerKey, int] = {}
    for server in servers:
        if server.pod is not None:
            product = label(server.pod.product)
            owners.setdefault(server.key, PodOwnership(server.key, product, label(server.pod.team)))
        if server.group is not None and server.group.user is not None:
            users.setdefault(server.key, server.group.user)
    return DiscoveryResult(
        holders=held_parts,
        unknown_gpus=unknown_gpus,
        owners=tuple(owners.values()),
        targets=tuple(read.endpoint for read in by_certainty if read.endpoint and read.reason is None),
        servers=tuple(_discovered(read, held_parts) for read in reads),
        unread=tuple(_unread(reads, computing, host.before))[:TARGETS_MAX],
        refused=refused,
        unmatched=frozenset(server.key for server in servers if not server.matched),
        users=users,
        listeners={
            endpoint_id(entry.url): listeners[address_of(entry.url)]
            for entry in config.servers
            if address_of(entry.url) in listeners
        },
    )


def _read_where(
    reads: Sequence[_EndpointDecision], host: _Host, moment: ScanTime, holder_keys: Collection[ServerKey]
) -> dict[Address, ServerContext]:
    """Find where each server is read, or why it is not; the process that listens at each address."""
    listeners: dict[Address, ServerContext] = {}
    listening: set[tuple[int, int, str]] = set()
    for read in reads:
        group = read.server.group
        if group is not None and group.server is not None and group.network is not None:
            ports = (group.server.metrics_port, group.server.port)
            listening |= {(group.network, port, group.id) for port in ports if port is not None}
    computing = computed_on(host.gpus)
    urls: set[str] = set()
    for read in reads:
        server = read.server
        try:
            read.endpoint = metrics_target(server, moment, frozenset(listening))
        except SkipServerError as skipped:
            read.reason = skipped.reason
        if read.reason is FailureReason.NOT_LISTENING and server.identity in host.before:
            # A scan may miss its socket: the last target then stays.
            read.endpoint = replace(host.before[server.identity], key=server.key)
            read.reason = None
        read.is_server = read.reason is not FailureReason.NO_SERVER
        addresses: set[Address] = set() if read.endpoint is None else {address_of(read.endpoint.url)}
        router = None if server.api is None else server.api.router
        if read.endpoint is not None and router is not None:  # it may be configured in place of its models
            addresses |= {(LOOPBACK if at == "::1" else at, router.port) for at in router.hosts}
        elif read.endpoint is not None and server.api is not None:
            listeners.setdefault(address_of(read.endpoint.url), read.endpoint.server_context)
        # With GPUs of configured servers only it is one of them, perhaps elsewhere.
        members = () if server.group is None else server.group.computing
        parts = {part for member in members for part in computing.get(member.pid, ())}
        for allocation in server.tenant.allocations:
            parts.update(part for gpu in host.gpus for part in stood_for(allocation.device, gpu))
        is_configured = bool(parts) and all(part.uuid in host.configured_gpus for part in parts)
        if _is_nameless(server, host.snapshot):
            read.reason = FailureReason.NO_POD_NAME
        elif is_configured or not addresses.isdisjoint(host.configured_addresses):
            read.reason = FailureReason.CONFIGURED
        elif read.endpoint is None:
            continue
        elif not _is_read(server, read.endpoint, holder_keys, host.before):
            read.reason = FailureReason.NO_GPU
        elif read.endpoint.url in urls:
            read.reason = FailureReason.ADDRESS_TAKEN
        elif len(urls) == TARGETS_MAX:
            read.reason = FailureReason.TOO_MANY
        else:
            urls.add(read.endpoint.url)
    return listeners


def _unread(
    reads: Iterable[_EndpointDecision], computing: Collection[ServerKey], before: Mapping[str, Target]
) -> Iterator[UnreadServer]:
    """The servers that should be read and are not, for a reason that somebody can remedy."""
    for read in reads:
        server, reason = read.server, read.reason
        if reason is None or not reason.remedy or not read.is_server:
            continue
        if _is_read(server, None, computing, before):
            engine = "" if server.launch is None else server.launch.engine
            yield UnreadServer(server.key, reason, engine=engine, identity=server.identity)


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
    before = targets_before.get(identity) if identity else None
    # The name of a program is a claim: without a GPU its page would be counted for whom the entry means.
    computes = server.group is not None and bool(server.group.computing)
    ruled = server.rule is not None and (
        server.rule.match.binds or server.rule.match.port is not None or computes
    )
    is_named = ruled or (server.pod is not None and server.pod.pod_annotations.port is not None)
    again = before is not None and (target is None or before.url == target.url)
    return is_named or server.key in holder_keys or again


def _discovered(read: _EndpointDecision, holders: Iterable[Holder]) -> DiscoveredServer:
    server = read.server
    group, start, tenant = server.group, server.launch, server.tenant
    where = ""
    claim = None
    if group is not None:
        where = group.unit
        if not where and group.container:
            where = f"{group.runtime or 'container'} {group.container[:12]}"
        claim = None if group.server is None else group.server.claim
    return DiscoveredServer(
        key=server.key,
        engine="" if start is None else start.engine,
        model="" if start is None else label(start.model),
        program="" if group is None else group.name,
        where=f"{tenant.namespace}/{tenant.workload}" if tenant.workload else where,
        gpus=tuple(dict.fromkeys(holder.uuid for holder in holders if holder.key == server.key)),
        url=masked(read.endpoint.url) if read.endpoint is not None and read.reason is None else "",
        skip_reason=read.reason,
        rule=server.denied if server.rule is None else server.rule.source,
        refused=server.refused or ("" if claim is None else f"{claim.problem}. {claim.remedy}"),
    )

"""Servers found on a host: GPU holders, endpoints and owners, joined. Pure."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import urlencode, urlsplit

from exporter.config.settings import Config
from exporter.engines.catalogue import ENGINES, UNCOUNTED
from exporter.readings import (
    FailureReason,
    GpuReading,
    Holder,
    PodOwnership,
    RoleClaim,
    ServerKey,
    UnreadServer,
    endpoint_id,
    label,
    masked,
)
from exporter.sources import configured
from exporter.sources.discovery.allocation import holders
from exporter.sources.discovery.naming import NamedServer, computed_on, name_servers, stood_for, tenants
from exporter.sources.gather import Gathered
from exporter.sources.kubelet import Allocation
from exporter.sources.kubernetes import NO_ANNOTATIONS, Pod
from exporter.sources.processes import ApiServer, Claim, ProcessGroup
from exporter.sources.processes.listener import ExpectedListener
from exporter.sources.server import ServerContext, Target
from exporter.sources.server.fetch import EndpointAccess
from exporter.units import Instant, Nanoseconds

METRICS_PATH: Final = "/metrics"

_PATH: Final = re.compile(r"/[!-~]{0,1023}")
"""What may follow a port: no blank, nothing that is not printed."""

LOOPBACK: Final = "127.0.0.1"
PORTS: Final = {"http": 80, "https": 443}

TARGETS_MAX: Final = 256
"""Endpoints discovered on one host; more are not read."""

Listening = frozenset[tuple[int, int, str]]
"""Network, port and group of each server that listens."""

CLAIMED: Final[Mapping[Claim, FailureReason]] = {
    "taken": FailureReason.PORT_TAKEN,
    "contested": FailureReason.PORT_CONTESTED,
}
"""Reasons by the fault of a port claim."""


@dataclass(frozen=True, slots=True)
class ScanTime:
    """Time of a scan on both clocks, by which boot times become wall times."""

    elapsed: Nanoseconds
    wall: Instant

    def wall_of(self, elapsed: Nanoseconds) -> Instant:
        """The wall time of an instant of boot time."""
        return self.wall - (self.elapsed - elapsed)


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


class SkipServerError(Exception):
    """A server is not read, for `reason`."""

    def __init__(self, reason: FailureReason) -> None:
        super().__init__(reason)
        self.reason = reason


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
    computes = {holder.key for holder in held_parts}
    held_parts = tuple(holder for holder in held_parts if holder.uuid not in unknown_gpus)
    targets_before = {target.server_context.identity: target for target in before}
    reads = _reads(
        servers,
        snapshot,
        moment,
        holder_keys={holder.key for holder in held_parts},
        only_configured=_servers_on(servers, gpus, configured_gpus),
        configured_addresses={_address_of_url(entry.url) for entry in config.servers},
        before=targets_before,
    )
    owners: dict[ServerKey, PodOwnership] = {}
    unread: list[UnreadServer] = []
    for number, server in enumerate(servers):
        if (pod := server.pod) is not None:  # of replicas the first counts
            owners.setdefault(server.key, PodOwnership(server.key, label(pod.product), label(pod.team)))
        reason = reads.reasons.get(number)
        should_be_read = number in reads.serving and _is_read(server, None, computes, targets_before)
        if should_be_read and reason is not None and reason.remedy:
            engine = "" if server.launch is None else server.launch.engine
            unread.append(UnreadServer(server.key, reason, engine=engine, identity=server.identity))
    return DiscoveryResult(
        holders=held_parts,
        unknown_gpus=unknown_gpus,
        owners=tuple(owners.values()),
        targets=tuple(reads.targets.values()),
        servers=tuple(
            _discovered(server, reads.targets.get(number), reads.reasons.get(number), held_parts)
            for number, server in enumerate(servers)
        ),
        unread=tuple(unread[:TARGETS_MAX]),
        refused=refused,
        unmatched=frozenset(server.key for server in servers if not server.matched),
        users={
            server.key: server.group.user
            for server in servers
            if server.group is not None and server.group.user is not None
        },
        listeners={
            endpoint_id(entry.url): reads.listeners[address]
            for entry in config.servers
            if (address := _address_of_url(entry.url)) in reads.listeners
        },
    )


@dataclass(frozen=True, slots=True)
class _Reads:
    """Where the servers of a scan are read, and why the others are not, by their number."""

    targets: dict[int, Target]
    reasons: dict[int, FailureReason]
    serving: set[int]
    """Those that are servers, whether they are read or not."""
    listeners: dict[tuple[str, int | None], ServerContext]
    """The process that listens at each address."""


def _reads(
    servers: tuple[NamedServer, ...],
    snapshot: HostSnapshot,
    moment: ScanTime,
    *,
    holder_keys: Collection[ServerKey],
    only_configured: Collection[int],
    configured_addresses: Collection[tuple[str, int | None]],
    before: Mapping[str, Target],
) -> _Reads:
    """The target of each server, or the reason that it has none.

    `only_configured` are the numbers of servers that hold GPUs of configured ones alone. `before` are the
    targets of the last scan, by the identity of their process.
    """
    listening = frozenset(
        (group.network, port, group.id)
        for group in (server.group for server in servers)
        if group is not None and group.server is not None and group.network is not None
        for port in (group.server.metrics_port, group.server.port)
        if port is not None
    )
    reads = _Reads({}, {}, set(), {})
    urls: set[str] = set()
    # Those come first whose own socket is known.
    numbered = sorted(enumerate(servers), key=lambda pair: pair[1].api is None or pair[1].api.port is None)
    for number, server in numbered:
        target: Target | None = None
        reason: FailureReason | None = None
        try:
            target = _metrics_target(server, moment, listening)
        except SkipServerError as skipped:
            reason = skipped.reason
        if reason is FailureReason.NOT_LISTENING and server.identity in before:
            # A scan may miss its socket: the last target then stays.
            target, reason = replace(before[server.identity], key=server.key), None
        if reason is not FailureReason.NO_SERVER:
            reads.serving.add(number)
        addresses: set[tuple[str, int | None]] = set()
        if target is not None:
            address = _address_of_url(target.url)
            addresses.add(address)
            router = None if server.api is None else server.api.router
            if router is not None:  # it may be configured in place of its models
                addresses |= {(LOOPBACK if host == "::1" else host, router.port) for host in router.hosts}
            elif server.api is not None:
                reads.listeners.setdefault(address, target.server_context)
        if _is_nameless(server, snapshot):
            reason = FailureReason.NO_POD_NAME
        elif number in only_configured or not addresses.isdisjoint(configured_addresses):
            reason = FailureReason.CONFIGURED
        elif target is not None and not _is_read(server, target, holder_keys, before):
            reason = FailureReason.NO_GPU
        elif target is not None and target.url in urls:
            reason = FailureReason.ADDRESS_TAKEN
        elif target is not None and len(urls) == TARGETS_MAX:
            reason = FailureReason.TOO_MANY
        if reason is not None:
            reads.reasons[number] = reason
        elif target is not None:
            urls.add(target.url)
            reads.targets[number] = target
    return reads


def _metrics_target(server: NamedServer, moment: ScanTime, listening: Listening) -> Target:
    """The target of a server's metrics.

    A server that a router started is read through it where it listens on loopback in a network of its own.

    Raises:
        SkipServerError: it is not to be read, or has no address.
    """
    rule, launch, group, pod = server.rule, server.launch, server.group, server.pod
    pod_annotations = pod.pod_annotations if pod is not None else NO_ANNOTATIONS
    # An entry makes a program a server, whatever its command line.
    is_named = rule is not None and any((rule.metrics_port, rule.match.port, rule.engine))
    if launch is None and pod_annotations.port is None and not is_named:
        raise SkipServerError(FailureReason.NO_SERVER)
    if launch is not None and not launch.serves:
        raise SkipServerError(FailureReason.FOLLOWER)
    if launch is not None and launch.routes:
        raise SkipServerError(FailureReason.ROUTED)
    api = server.api
    wanted = (rule and rule.metrics_port) or pod_annotations.port
    router = None if api is None else api.router
    if router is not None and wanted == router.port:  # the port of all of its models
        wanted = None
    if wanted is not None or api is None or api.reach != "loopback":
        router = None
    port = wanted or _port(server, router or api)
    if group is not None and router is None:
        there = {name for network, at, name in listening if (network, at) == (group.network, port)}
        is_own = api is None and port == _port_of_a_rule(server)
        if there and group.id not in there and not is_own:
            raise SkipServerError(FailureReason.ADDRESS_TAKEN)
    host = _host(server, router or api, port)
    path = (rule and rule.metrics_path) or pod_annotations.path
    path = path or (launch and launch.metrics_path) or METRICS_PATH
    if router is not None and launch is not None:
        # Of this model, which is never loaded for it.
        query = urlencode({"model": launch.model, "autoload": "false"})
        path += f"{'&' if '?' in path else '?'}{query}"
    if not _PATH.fullmatch(path):  # `@example.org` behind a port would be another host
        raise SkipServerError(FailureReason.PATH)
    listener = _listener(server, host, port)
    access = EndpointAccess(listener=listener)
    if rule is not None:
        access = EndpointAccess(rule.bearer_token_file, rule.ca_file, rule.server_name or "", listener)
    start = launch if router is None else router.launch  # of the process that listens there
    scheme = (rule and rule.metrics_scheme) or (start and start.scheme) or "http"
    # A token goes over https, to this host's own socket, or to the pod of this node.
    is_pod = pod is not None and host in pod.ips
    is_here = group is not None and group.sockets is not None and group.sockets.network.own
    is_safe = scheme == "https" or is_pod or (is_here and listener is not None)
    if access.bearer_token_file is not None and not is_safe:
        raise SkipServerError(FailureReason.TOKEN_IN_THE_CLEAR)
    engine = rule.engine if rule is not None and rule.engine else None
    if engine is None and launch is not None and launch.engine in ENGINES:
        engine = launch.engine
    address = f"[{host}]" if ":" in host else host
    url = f"{scheme}://{address}:{port}{path}"
    return Target(server.key, url, engine, access, _server_context(server, moment))


def _server_context(server: NamedServer, moment: ScanTime) -> ServerContext:
    rule, launch, pod, api = server.rule, server.launch, server.pod, server.api
    claims = [] if launch is None or not launch.role else [RoleClaim(launch.role, "its command line")]
    claims += [] if pod is None else pod.role_claims
    metrics_off = launch is not None and launch.metrics is False
    return ServerContext(
        pod="" if pod is None else pod.name,
        identity=server.identity,
        started=None if api is None else moment.wall_of(api.process.started),
        spans_hosts=(rule is not None and rule.spans_hosts) or (pod is not None and pod.spans_hosts),
        role="" if rule is None else rule.role,
        role_claims=tuple(claims),
        world_size=None if launch is None else launch.world_size,
        max_running=None if launch is None else launch.max_running,
        metrics_off=metrics_off and (rule is None or not rule.metrics_port),
        division=None if rule is None or rule.divide is None else rule.divide.division,
        slo=(rule and rule.slo) or (None if pod is None else pod.pod_annotations.slo),
    )


def _port(server: NamedServer, api: ApiServer | None) -> int:
    """The port of the metrics.

    Raises:
        SkipServerError: there is none.
    """
    launch = server.launch
    if launch is not None and launch.engine in UNCOUNTED:
        raise SkipServerError(FailureReason.NO_TOKENS)
    if launch is None:
        port, reason = _port_of_a_rule(server) or None, FailureReason.NO_PORT
    elif api is None:
        port, reason = launch.metrics_port or launch.port, FailureReason.NOT_LISTENING
    else:
        port, reason = api.metrics_port, CLAIMED.get(api.claim, FailureReason.NOT_LISTENING)
    if port is None:
        raise SkipServerError(reason)
    return port


def _port_of_a_rule(server: NamedServer) -> int | None:
    """The port of a program that is no known server, by its entry and its own sockets."""
    rule = server.rule
    if rule is None or server.group is None or server.group.sockets is None:
        return None
    ports = {listener.port for listener in server.group.sockets.listening}
    default = ENGINES[rule.engine].default_port if rule.engine in ENGINES else rule.engine_port
    meant = next((port for port in (rule.match.port, default) if port in ports), None)
    return ports.pop() if meant is None and len(ports) == 1 else meant


def _host(server: NamedServer, api: ApiServer | None, port: int) -> str:
    """The best address to connect to.

    Raises:
        SkipServerError: there is none.
    """
    pod, group = server.pod, server.group
    # A port of a pod annotation or a rule is of another listener, which may use all addresses.
    is_its_port = api is not None and port in (api.port, api.metrics_port)
    if api is not None and api.reach == "loopback" and is_its_port:
        raise SkipServerError(FailureReason.LOOPBACK)
    if group is not None and group.sockets is not None and not is_its_port:
        reach, hosts = group.sockets.reach(port)
        if reach == "here" or (hosts and pod is None):
            return hosts[0]
    if pod is not None and pod.ips and (api is None or api.reach != "here"):
        return pod.ips[0]
    if api is not None and api.hosts:
        return api.hosts[0]
    if api is None and (server.tenant.workload or (group is not None and group.pod)):
        raise SkipServerError(FailureReason.NO_POD_ADDRESS)
    raise SkipServerError(FailureReason.NO_ADDRESS)


def _listener(server: NamedServer, host: str, port: int) -> ExpectedListener | None:
    """Who may answer there; `None` at the address of a pod, which is its kubelet's word, and without sockets.

    Raises:
        SkipServerError: nothing of the server listens there.
    """
    sockets = None if server.group is None else server.group.sockets
    if sockets is None or sockets.network.number is None:
        return None
    if not sockets.network.on_host and server.pod is not None and host in server.pod.ips:
        return None
    listener = sockets.listener(host, port)
    if listener is None:
        raise SkipServerError(FailureReason.NOT_LISTENING)
    return listener


def _address_of_url(url: str) -> tuple[str, int | None]:
    """Host and port of a URL: URLs that share them are of one server, whatever the path."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or PORTS.get(parts.scheme)
    return (LOOPBACK if host in ("localhost", "::1") else host), port


def _servers_on(
    servers: Iterable[NamedServer], gpus: Iterable[GpuReading], uuids: Collection[str]
) -> set[int]:
    """The numbers of servers that have these GPUs only: each is a configured one, perhaps elsewhere."""
    gpus = tuple(gpus)
    computing = computed_on(gpus)
    numbers: set[int] = set()
    for number, server in enumerate(servers):
        members = () if server.group is None else server.group.computing
        parts = {part for member in members for part in computing.get(member.pid, ())}
        for allocation in server.tenant.allocations:
            parts.update(part for gpu in gpus for part in stood_for(allocation.device, gpu))
        if parts and all(part.uuid in uuids for part in parts):
            numbers.add(number)
    return numbers


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


def _discovered(
    server: NamedServer, target: Target | None, reason: FailureReason | None, holders: Iterable[Holder]
) -> DiscoveredServer:
    group, start, tenant = server.group, server.launch, server.tenant
    where, claim = "", None
    if group is not None:
        where = group.unit
        if not where and group.container:
            where = f"{group.runtime or 'container'} {group.container[:12]}"
        claim = None if group.server is None else CLAIMED.get(group.server.claim)
    return DiscoveredServer(
        key=server.key,
        engine="" if start is None else start.engine,
        model="" if start is None else label(start.model),
        program="" if group is None else group.name,
        where=f"{tenant.namespace}/{tenant.workload}" if tenant.workload else where,
        gpus=tuple(dict.fromkeys(holder.uuid for holder in holders if holder.key == server.key)),
        url="" if target is None else masked(target.url),
        skip_reason=reason,
        rule=server.denied if server.rule is None else server.rule.source,
        refused=server.refused or ("" if claim is None else f"{claim.problem}. {claim.remedy}"),
    )

"""Servers found on a host: GPU holders, endpoints and owners, joined. Pure."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import urlencode, urlsplit

from exporter.config.settings import Config, ConfiguredServer, ServerRule
from exporter.engines.catalogue import ENGINES, UNCOUNTED
from exporter.engines.launch import Launch
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
from exporter.sources.discovery.allocation import Evidence, holders
from exporter.sources.discovery.naming import (
    GpuPart,
    NamedServer,
    computed_on,
    name_servers,
    stood_for,
    tenants,
)
from exporter.sources.endpoints import Target
from exporter.sources.gather import Gathered
from exporter.sources.kubelet import Allocation
from exporter.sources.kubernetes import NO_ANNOTATIONS, Pod
from exporter.sources.processes import ApiServer, Claim, ProcessGroup, ProcessId
from exporter.sources.processes.listener import ExpectedListener
from exporter.sources.server import ServerContext
from exporter.sources.server.fetch import EndpointAccess
from exporter.units import Instant, Nanoseconds

METRICS_PATH: Final = "/metrics"

_PATH: Final = re.compile(r"/[!-~]{0,1023}")
"""What may follow a port: no blank, nothing that is not printed."""

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
class ServerAddress:
    """The target of one server, or the reason that it has none: one of the two."""

    target: Target | None = None
    skip_reason: FailureReason | None = None


class SkipServerError(Exception):
    """A server is not read, for `reason`."""

    def __init__(self, reason: FailureReason) -> None:
        super().__init__(reason)
        self.reason = reason


def identity_of(process: ProcessId) -> str:
    """Identity of a process, which no later one shares."""
    return f"{process.pid}:{process.started}"


def server_address(server: NamedServer, moment: ScanTime, listening: Listening) -> ServerAddress:
    """The address to read a server at, or the reason that it has none."""
    try:
        return ServerAddress(_metrics_target(server, moment, listening))
    except SkipServerError as skipped:
        return ServerAddress(skip_reason=skipped.reason)


def _metrics_target(server: NamedServer, moment: ScanTime, listening: Listening) -> Target:
    """The target of a server's metrics.

    A server that a router started is read through it where it listens on loopback in a network of its own.

    Raises:
        SkipServerError: it is not to be read, or has no address.
    """
    pod_annotations = server.pod.pod_annotations if server.pod is not None else NO_ANNOTATIONS
    if server.launch is None and pod_annotations.port is None and not _is_named_by(server.rule):
        raise SkipServerError(FailureReason.NO_SERVER)
    if server.launch is not None and not server.launch.serves:
        raise SkipServerError(FailureReason.FOLLOWER)
    if server.launch is not None and server.launch.routes:
        raise SkipServerError(FailureReason.ROUTED)
    api = server.api
    configured = (server.rule and server.rule.metrics_port) or pod_annotations.port
    router = None if api is None else api.router
    if router is not None and configured == router.port:  # the port of all of its models
        configured = None
    if configured is not None or api is None or api.reach != "loopback":
        router = None
    port = configured or _port(server, router or api)
    there = {
        group
        for network, at, group in listening
        if server.group is not None and (network, at) == (server.group.network, port)
    }
    is_taken = server.group is not None and bool(there) and server.group.id not in there
    is_own = api is None and port == _port_of_a_rule(server)
    if is_taken and not is_own and router is None:
        raise SkipServerError(FailureReason.ADDRESS_TAKEN)
    hosts = _hosts(server, router or api, port)
    path = (server.rule and server.rule.metrics_path) or pod_annotations.path
    path = path or (server.launch and server.launch.metrics_path) or METRICS_PATH
    if router is not None and server.launch is not None:
        # Of this model, which is never loaded for it.
        query = urlencode({"model": server.launch.model, "autoload": "false"})
        path += f"{'&' if '?' in path else '?'}{query}"
    if not _PATH.fullmatch(path):  # `@example.org` behind a port would be another host
        raise SkipServerError(FailureReason.PATH)
    start = server.launch if router is None else router.launch
    target = _target(server, f"{_host(hosts[0])}:{port}{path}", start, moment)
    access = replace(target.access, listener=_listener(server, hosts[0], port))
    target = replace(target, access=access)
    if target.bearer_token_file is not None and not _is_safe(server, target, hosts[0]):
        raise SkipServerError(FailureReason.TOKEN_IN_THE_CLEAR)
    return target


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


def _is_safe(server: NamedServer, target: Target, host: str) -> bool:
    """Whether a token may go there: over https, to this host's own socket, or to the pod of this node."""
    sockets = None if server.group is None else server.group.sockets
    own = target.access.listener is not None and sockets is not None and sockets.network.own
    return target.url.startswith("https:") or own or (server.pod is not None and host in server.pod.ips)


def _target(server: NamedServer, where: str, start: Launch | None, moment: ScanTime) -> Target:
    """The target at an address. `start` is the launch of the process that listens there."""
    rule, launch = server.rule, server.launch
    scheme = (rule and rule.metrics_scheme) or (start and start.scheme) or "http"
    engine = rule.engine if rule is not None and rule.engine else None
    if engine is None and launch is not None and launch.engine in ENGINES:
        engine = launch.engine
    return Target(
        server.key,
        f"{scheme}://{where}",
        engine,
        EndpointAccess()
        if rule is None
        else EndpointAccess(rule.bearer_token_file, rule.ca_file, rule.server_name or ""),
        server_context=_server_context(server, moment),
    )


def _server_context(server: NamedServer, moment: ScanTime) -> ServerContext:
    rule, launch, pod = server.rule, server.launch, server.pod
    api = server.api
    identity, started = "", None
    if api is not None:
        process = api.process
        identity, started = identity_of(process), moment.wall_of(process.started)
    return ServerContext(
        pod="" if pod is None else pod.name,
        identity=identity,
        started=started,
        spans_hosts=(rule is not None and rule.spans_hosts) or (pod is not None and pod.spans_hosts),
        role="" if rule is None else rule.role,
        role_claims=(
            *((RoleClaim(launch.role, "its command line"),) if launch is not None and launch.role else ()),
            *(() if pod is None else pod.role_claims),
        ),
        world_size=None if launch is None else launch.world_size,
        max_running=None if launch is None else launch.max_running,
        metrics_off=launch is not None
        and launch.metrics is False
        and (rule is None or not rule.metrics_port),
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


def _is_named_by(rule: ServerRule | None) -> bool:
    """Whether an entry makes a program a server, whatever its command line."""
    return rule is not None and any((rule.metrics_port, rule.match.port, rule.engine))


def _port_of_a_rule(server: NamedServer) -> int | None:
    """The port of a program that is no known server, by its entry and its own sockets."""
    rule = server.rule
    if rule is None or server.group is None or server.group.sockets is None:
        return None
    ports = {listener.port for listener in server.group.sockets.listening}
    default = ENGINES[rule.engine].default_port if rule.engine in ENGINES else rule.engine_port
    configured = next((port for port in (rule.match.port, default) if port in ports), None)
    return ports.pop() if configured is None and len(ports) == 1 else configured


def _hosts(server: NamedServer, api: ApiServer | None, port: int) -> tuple[str, ...]:
    """Addresses to connect to, best first.

    Raises:
        SkipServerError: there is none.
    """
    pod = server.pod
    # A port of a pod annotation or a rule is of another listener, which may use all addresses.
    if api is not None and api.reach == "loopback" and port in (api.port, api.metrics_port):
        raise SkipServerError(FailureReason.LOOPBACK)
    sockets = None if server.group is None else server.group.sockets
    if sockets is not None and (api is None or port not in (api.port, api.metrics_port)):
        reach, hosts = sockets.reach(port)
        if reach == "here" or (hosts and pod is None):
            return hosts
    if pod is not None and pod.ips and (api is None or api.reach != "here"):
        return pod.ips
    if api is not None and api.hosts:
        return api.hosts
    if api is None and (server.tenant.workload or (server.group is not None and server.group.pod)):
        raise SkipServerError(FailureReason.NO_POD_ADDRESS)
    raise SkipServerError(FailureReason.NO_ADDRESS)


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


@dataclass(frozen=True, slots=True)
class DiscoveredServer:
    """One discovered server, or other holder, for `doctor`.

    `gpus` are the UUIDs of the GPUs that it holds a part of. `url` is where it is read, empty with a
    `skip_reason`. `rule` is the entry of `servers` that matches it, also where it does not get that.
    `refused` is the fault of a name, address or entry that it claims and does not get.
    """

    key: ServerKey
    engine: str = ""
    model: str = ""
    program: str = ""
    where: str = ""
    gpus: tuple[str, ...] = ()
    url: str = ""
    skip_reason: FailureReason | None = None
    rule: str = ""
    refused: str = ""


@dataclass(frozen=True, slots=True)
class ListeningProcess:
    """The process that listens at an address."""

    identity: str
    started: Instant | None


@dataclass(frozen=True, slots=True)
class DiscoveryResult:
    """Result of one scan: GPU holders, targets to read, and cost owners by pod labels.

    `unknown_gpus` are GPUs whose holders no source could name in this scan.
    `unread` are the servers that should be read and are not.
    `gathered` are the answers of the sources that this scan read.
    `refused` counts pods whose annotation claims the name of another workload.
    `problems` are sources with an incomplete answer, each with its problem; `unasked` are sources to which
    access is denied and that the configuration does not require.
    `incomplete`: processes or pods could not be listed, so that there may be other servers.
    `unmatched` are the keys of holders that are no known server.
    `listeners` are the processes that listen at configured URLs, by the name of the endpoint.
    """

    holders: tuple[Holder, ...] = ()
    unknown_gpus: frozenset[str] = frozenset()
    owners: tuple[PodOwnership, ...] = ()
    targets: tuple[Target, ...] = ()
    gathered: tuple[Gathered, ...] = ()
    servers: tuple[DiscoveredServer, ...] = ()
    unread: tuple[UnreadServer, ...] = ()
    refused: int = 0
    incomplete: bool = False
    problems: tuple[tuple[str, str], ...] = ()
    unasked: tuple[tuple[str, str], ...] = ()
    unmatched: frozenset[ServerKey] = frozenset()
    users: Mapping[ServerKey, int] = field(default_factory=dict)
    """The user ids of servers whose processes are visible."""
    listeners: Mapping[str, ListeningProcess] = field(default_factory=dict)


LOOPBACK: Final = "127.0.0.1"
PORTS: Final = {"http": 80, "https": 443}

TARGETS_MAX: Final = 256
"""Endpoints discovered on one host; more are not read."""


@dataclass(frozen=True, slots=True)
class HostSnapshot:
    """Answers of the sources; `None` is a source that failed, `()` one without anything to report.

    `listed` is the boot time as of which the pods are known: one that began later may be missing.
    """

    groups: tuple[ProcessGroup, ...] | None = ()
    given: tuple[Allocation, ...] | None = ()
    pods: tuple[Pod, ...] | None = ()
    listed: Nanoseconds | None = None


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
    computing = computed_on(gpus)
    configured_gpus = _configured_gpus(config.servers, gpus)
    evidence = Evidence(processes=snapshot.groups is not None, given=snapshot.given is not None)
    held_parts, unknown_gpus = holders(gpus, servers, configured_gpus, evidence)
    nameless = [server for server in servers if _is_nameless(server, snapshot)]
    unknown_gpus |= {
        holder.uuid for holder in held_parts if holder.key in {server.key for server in nameless}
    }
    computes = {holder.key for holder in held_parts}
    held_parts = tuple(holder for holder in held_parts if holder.uuid not in unknown_gpus)
    configured = {_address_of_url(entry.url) for entry in config.servers}
    targets_before = {target.server_context.identity: target for target in before}
    holder_keys = {holder.key for holder in held_parts}
    listening = _listening(servers)
    targets: dict[str, Target] = {}
    listeners: dict[tuple[str, int | None], ListeningProcess] = {}
    discovered: dict[int, DiscoveredServer] = {}
    unread: list[UnreadServer] = []
    for number, server in sorted(enumerate(servers), key=lambda pair: not _listens(pair[1])):
        where = _address(server, moment, targets_before, listening)
        serves = where.skip_reason is not FailureReason.NO_SERVER
        # At the address of a router its own process listens, whichever model answers.
        if where.target is not None and server.api is not None and server.api.router is None:
            context = where.target.server_context
            listener = ListeningProcess(context.identity, context.started)
            listeners.setdefault(_address_of_url(where.target.url), listener)
        if server in nameless:
            where = ServerAddress(skip_reason=FailureReason.NO_POD_NAME)
        elif _is_configured(server, gpus, computing, configured_gpus) or (
            where.target is not None and not configured.isdisjoint(_addresses(server, where.target))
        ):
            where = ServerAddress(skip_reason=FailureReason.CONFIGURED)
        elif where.target is not None and not _is_read(server, where.target, holder_keys, targets_before):
            where = ServerAddress(skip_reason=FailureReason.NO_GPU)
        elif where.target is not None and where.target.url in targets:
            where = ServerAddress(skip_reason=FailureReason.ADDRESS_TAKEN)
        elif where.target is not None and len(targets) == TARGETS_MAX:
            where = ServerAddress(skip_reason=FailureReason.TOO_MANY)
        elif where.target is not None:
            targets[where.target.url] = where.target
        if serves and _is_read(server, None, computes, targets_before):
            unread += _unread(server, where.skip_reason)
        discovered[number] = _discovered(server, where, held_parts)
    return DiscoveryResult(
        holders=held_parts,
        unknown_gpus=unknown_gpus,
        owners=tuple(_owners(servers)),
        targets=tuple(targets.values()),
        servers=tuple(discovered[number] for number in range(len(servers))),
        unread=tuple(unread[:TARGETS_MAX]),
        refused=refused,
        unmatched=frozenset(server.key for server in servers if not server.matched),
        users={
            server.key: server.group.user
            for server in servers
            if server.group is not None and server.group.user is not None
        },
        listeners={
            endpoint_id(entry.url): listeners[address]
            for entry in config.servers
            if (address := _address_of_url(entry.url)) in listeners
        },
    )


def _address_of_url(url: str) -> tuple[str, int | None]:
    """Host and port of a URL: URLs that share them are of one server, whatever the path."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or PORTS.get(parts.scheme)
    return (LOOPBACK if host in ("localhost", "::1") else host), port


def _addresses(server: NamedServer, target: Target) -> set[tuple[str, int | None]]:
    """Addresses of a server and of the router that started it: one of them may be configured."""
    api = server.api
    addresses = {_address_of_url(target.url)}
    if api is not None and (router := api.router) is not None:
        addresses |= {(LOOPBACK if host == "::1" else host, router.port) for host in router.hosts}
    return addresses


def _configured_gpus(servers: Iterable[ConfiguredServer], gpus: Iterable[GpuReading]) -> frozenset[str]:
    """The GPUs whose holders the configuration names."""
    servers = tuple(servers)
    return frozenset(
        gpu.gpu.uuid
        for gpu in gpus
        if any(
            entry.gpus is None or gpu.index in entry.gpus or gpu.gpu.uuid in entry.gpus for entry in servers
        )
    )


def _is_configured(
    server: NamedServer,
    gpus: Iterable[GpuReading],
    computing: Mapping[int, frozenset[GpuPart]],
    configured_gpus: Collection[str],
) -> bool:
    """Whether it has GPUs of configured servers only: it is then one of them, perhaps by another address."""
    pids = () if server.group is None else tuple(member.pid for member in server.group.computing)
    parts = {part for pid in pids for part in computing.get(pid, ())}
    for allocation in server.tenant.allocations:
        parts.update(part for gpu in gpus for part in stood_for(allocation.device, gpu))
    return bool(parts) and {part.uuid for part in parts} <= set(configured_gpus)


def _listens(server: NamedServer) -> bool:
    """Whether its own socket is known."""
    api = server.api
    return api is not None and api.port is not None


def _listening(servers: Iterable[NamedServer]) -> Listening:
    """The groups that listen, by network and port."""
    return frozenset(
        (network, port, server.group.id)
        for server in servers
        if server.group is not None and (api := server.group.server) is not None
        if (network := server.group.network) is not None
        for port in (api.metrics_port, api.port)
        if port is not None
    )


def _address(
    server: NamedServer, moment: ScanTime, targets_before: Mapping[str, Target], listening: Listening
) -> ServerAddress:
    """Where a server is read. A scan may miss its socket: the last target then stays."""
    where = server_address(server, moment, listening)
    identity = _identity(server)
    if (
        where.skip_reason is FailureReason.NOT_LISTENING
        and identity
        and (before := targets_before.get(identity))
    ):
        return ServerAddress(replace(before, key=server.key))
    return where


def _identity(server: NamedServer) -> str:
    """Identity of a server's process; empty if it is not visible."""
    api = server.api
    return "" if api is None else identity_of(api.process)


def _unread(server: NamedServer, reason: FailureReason | None) -> Iterator[UnreadServer]:
    """The server, if the reason has a remedy."""
    if reason is not None and reason.remedy:
        engine = "" if server.launch is None else server.launch.engine
        yield UnreadServer(server.key, reason, engine=engine, identity=_identity(server))


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
    identity = _identity(server) if target is None else target.server_context.identity
    before = targets_before.get(identity) if identity else None
    # The name of a program is a claim: without a GPU its page would be counted for whom the entry means.
    computes = server.group is not None and bool(server.group.computing)
    ruled = server.rule is not None and (
        server.rule.match.binds or server.rule.match.port is not None or computes
    )
    configured = ruled or (server.pod is not None and server.pod.pod_annotations.port is not None)
    again = before is not None and (target is None or before.url == target.url)
    return configured or server.key in holder_keys or again


def _owners(servers: Iterable[NamedServer]) -> Iterable[PodOwnership]:
    """Product and team of each server, as its pods name them. Of replicas the first counts."""
    owners: dict[ServerKey, PodOwnership] = {}
    for server in servers:
        if (pod := server.pod) is not None:
            owners.setdefault(server.key, PodOwnership(server.key, label(pod.product), label(pod.team)))
    return owners.values()


def _discovered(server: NamedServer, where: ServerAddress, holders: Iterable[Holder]) -> DiscoveredServer:
    group, start = server.group, server.launch
    tenant = server.tenant
    workload_or_unit = f"{tenant.namespace}/{tenant.workload}" if tenant.workload else ""
    if group is not None and not workload_or_unit:
        workload_or_unit = group.unit or (
            f"{group.runtime or 'container'} {group.container[:12]}" if group.container else ""
        )
    claim = None if group is None or group.server is None else CLAIMED.get(group.server.claim)
    return DiscoveredServer(
        key=server.key,
        engine="" if start is None else start.engine,
        model="" if start is None else label(start.model),
        program="" if group is None else group.name,
        where=workload_or_unit,
        gpus=tuple(dict.fromkeys(holder.uuid for holder in holders if holder.key == server.key)),
        url="" if where.target is None else masked(where.target.url),
        skip_reason=where.skip_reason,
        rule=server.denied if server.rule is None else server.rule.source,
        refused=server.refused or ("" if claim is None else f"{claim.problem}. {claim.remedy}"),
    )

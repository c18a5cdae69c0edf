"""Where a discovered server is read, or why it is not. Pure."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode, urlsplit

from exporter.engines.catalogue import ENGINES, UNCOUNTED_SERVERS
from exporter.readings import FailureReason, RoleClaim
from exporter.sources.discovery.naming import LOOPBACK, NamedServer
from exporter.sources.kubernetes import NO_ANNOTATIONS
from exporter.sources.processes import ApiServer
from exporter.sources.processes.listener import ExpectedListener
from exporter.sources.processes.sockets import NetworkPort
from exporter.sources.server import ServerContext, Target
from exporter.sources.server.endpoint import EndpointAccess
from exporter.units import Instant, Nanoseconds

METRICS_PATH: Final = "/metrics"

_PATH: Final = re.compile(r"/[!-~]{0,1023}")
"""What may follow a port: no blank, nothing that is not printed."""

PORTS: Final = {"http": 80, "https": 443}

PortHolders = Mapping[NetworkPort, Collection[str]]
"""The groups whose servers listen at each port, by their ids."""

Address = tuple[str, int | None]
"""Host and port of a URL, any loopback as the one of IPv4."""


@dataclass(frozen=True, slots=True)
class ScanTime:
    """Time of a scan on both clocks, by which boot times become wall times."""

    elapsed: Nanoseconds
    """Time since boot."""
    wall: Instant
    """Calendar time."""

    def wall_of(self, elapsed: Nanoseconds) -> Instant:
        """The wall time of an instant of boot time."""
        return self.wall - (self.elapsed - elapsed)


class SkipServerError(Exception):
    """A server is not read, for `reason`."""

    def __init__(self, reason: FailureReason) -> None:
        super().__init__(reason)
        self.reason = reason


def address_of(url: str) -> Address:
    """Host and port of a URL: URLs that share them are of one server, whatever the path."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or PORTS.get(parts.scheme)
    return (LOOPBACK if host in ("localhost", "::1") else host), port


def holders_of_ports(servers: Iterable[NamedServer]) -> PortHolders:
    """The groups whose servers listen at each port of a known network."""
    holders: dict[NetworkPort, set[str]] = {}
    for server in servers:
        group, api = server.group, server.api
        if group is None or api is None or group.network_number is None:
            continue
        for port in (api.metrics_port, api.port):
            if port is not None:
                holders.setdefault(NetworkPort(group.network_number, port), set()).add(group.id)
    return holders


def metrics_target(server: NamedServer, moment: ScanTime, port_holders: PortHolders) -> Target:
    """The target of a server's metrics.

    A server that a router started is read through it where it listens on loopback in a network of its own.

    Raises:
        SkipServerError: it is not to be read, or has no address.
    """
    rule, launch, group, pod = server.rule, server.launch, server.group, server.pod
    annotations = NO_ANNOTATIONS if pod is None else pod.pod_annotations
    # An entry makes a program a server, whatever its command line.
    is_named = rule is not None and any((rule.metrics_port, rule.match.port, rule.engine))
    if launch is None and annotations.port is None and not is_named:
        raise SkipServerError(FailureReason.NO_SERVER)
    if launch is not None and not launch.serves:
        raise SkipServerError(FailureReason.FOLLOWER)
    if launch is not None and launch.routes:
        raise SkipServerError(FailureReason.ROUTED)

    configured_port = (rule and rule.metrics_port) or annotations.port
    starter = None if server.api is None else server.api.router
    # The port of a router is that of all its models.
    wanted = None if starter is not None and configured_port == starter.port else configured_port
    is_hidden = server.api is not None and server.api.reach == "loopback"
    router = starter if is_hidden and wanted is None else None
    api = router or server.api
    """The server that answers."""
    port = wanted or _port(server, api)
    if group is not None and router is None:
        holders = port_holders.get(NetworkPort(group.network_number, port), ())
        is_own = api is None and port == _port_of_a_rule(server)
        if holders and group.id not in holders and not is_own:
            raise SkipServerError(FailureReason.ADDRESS_TAKEN)
    host = _host(server, api, port)
    path = (
        (rule and rule.metrics_path) or annotations.path or (launch and launch.metrics_path) or METRICS_PATH
    )
    if router is not None and launch is not None:
        # The page is of this model, which is never loaded for it.
        query = urlencode({"model": launch.model, "autoload": "false"})
        path += f"{'&' if '?' in path else '?'}{query}"
    if not _PATH.fullmatch(path):  # `@example.org` behind a port would be another host
        raise SkipServerError(FailureReason.PATH)
    listening_launch = launch if router is None else router.launch
    scheme = (rule and rule.metrics_scheme) or (listening_launch and listening_launch.scheme) or "http"
    engine = rule.engine if rule is not None and rule.engine else None
    if engine is None and launch is not None and launch.engine in ENGINES:
        engine = launch.engine
    access = _access(server, scheme, host, port)
    bracketed = f"[{host}]" if ":" in host else host
    url = f"{scheme}://{bracketed}:{port}{path}"
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
    reason = FailureReason.NOT_LISTENING
    if launch is None:
        port = _port_of_a_rule(server) or None
        reason = FailureReason.NO_PORT
    elif launch.engine in UNCOUNTED_SERVERS:
        raise SkipServerError(FailureReason.NO_TOKENS)
    elif api is None:
        port = launch.metrics_port or launch.port
    else:
        port = api.metrics_port
        reason = api.port_fault or reason
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
    for port in (rule.match.port, default):
        if port in ports:
            return port
    return ports.pop() if len(ports) == 1 else None


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


def _access(server: NamedServer, scheme: str, host: str, port: int) -> EndpointAccess:
    """How the endpoint is requested, and who may answer.

    The address of a pod is its kubelet's word: no listener is expected there, and none without sockets.

    Raises:
        SkipServerError: nothing of the server listens there, or its token could be read on the way.
    """
    rule, pod = server.rule, server.pod
    sockets = None if server.group is None else server.group.sockets
    is_pods_address = pod is not None and host in pod.ips
    listener: ExpectedListener | None = None
    is_known = sockets is not None and sockets.network.number is not None
    if sockets is not None and is_known and (sockets.network.on_host or not is_pods_address):
        listener = sockets.listener(host, port)
        if listener is None:
            raise SkipServerError(FailureReason.NOT_LISTENING)
    if rule is None:
        return EndpointAccess(listener=listener)
    # A token goes over https, to this host's own socket, or to the pod of this node.
    is_own_socket = listener is not None and sockets is not None and sockets.network.own
    is_safe = scheme == "https" or is_pods_address or is_own_socket
    if rule.bearer_token_file is not None and not is_safe:
        raise SkipServerError(FailureReason.TOKEN_IN_THE_CLEAR)
    return EndpointAccess(
        bearer_token_file=rule.bearer_token_file,
        ca_file=rule.ca_file,
        server_name=rule.server_name or "",
        listener=listener,
    )

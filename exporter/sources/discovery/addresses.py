"""Where each server that was found is read, or why it is not. Pure.

The host is never told by a workload: it is an address of the network that the server listens in, or of its
pod as its cluster says. Only a port and a path may be.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from exporter.config.settings import ServerRule
from exporter.engines.catalogue import ENGINES
from exporter.engines.launch import Launch
from exporter.engines.ollama import OLLAMA
from exporter.readings import Role, UnreadReason
from exporter.sources.discovery.naming import Named
from exporter.sources.discovery.pods import Wishes
from exporter.sources.endpoints import Target
from exporter.sources.processes import ApiServer, Claim, Member
from exporter.sources.server import About
from exporter.units import Instant, Nanoseconds

METRICS_PATH: Final = "/metrics"

_PATH: Final = re.compile(r"/[!-~]{0,1023}")
"""What may follow a port: no blank, nothing that is not printed."""

Listening = Mapping[tuple[str, int], str]
"""The group that holds a port of a network, by its id."""

CLAIMED: Final[Mapping[Claim, UnreadReason]] = {
    "taken": UnreadReason.PORT_TAKEN,
    "contested": UnreadReason.PORT_CONTESTED,
}
"""Why a server that names a port does not get it."""

UNCOUNTED: Final = frozenset({OLLAMA.name})
"""Engines that tell no tokens to anybody, however they are asked."""


@dataclass(frozen=True, slots=True)
class Moment:
    """When a look was taken, by both clocks: what began at a boot time began at a wall time."""

    elapsed: Nanoseconds
    wall: Instant

    def wall_of(self, elapsed: Nanoseconds) -> Instant:
        """The wall time of an instant of boot time."""
        return self.wall - (self.elapsed - elapsed)


@dataclass(frozen=True, slots=True)
class Address:
    """Where one server is read, or why it is not: one of the two."""

    target: Target | None = None
    skip_reason: UnreadReason | None = None


def identity_of(process: Member) -> str:
    """What a process is and no later one will be."""
    return f"{process.pid}:{process.started}"


def address(one: Named, moment: Moment, listening: Listening) -> Address:
    """Where a server is read. `listening` are the groups that hold ports, by network and port.

    One that a router started is read through it where it listens on loopback in a network of its own.
    """
    wishes = one.tenant.pod.wishes if one.tenant.pod is not None else Wishes()
    if one.launch is None and wishes.port is None and not _is_told(one.rule):
        return Address(skip_reason=UnreadReason.NO_SERVER)
    if one.launch is not None and not one.launch.serves:
        return Address(skip_reason=UnreadReason.FOLLOWER)
    if one.launch is not None and one.launch.routes:
        return Address(skip_reason=UnreadReason.ROUTED)
    server = None if one.group is None else one.group.server
    told = (one.rule and one.rule.metrics_port) or wishes.port
    router = None if server is None else server.router
    if router is not None and told == router.port:  # where all of its models are
        told = None
    if told is not None or server is None or server.reach != "loopback":
        router = None
    where = told or _port(one, router or server)
    if isinstance(where, UnreadReason):
        return Address(skip_reason=where)
    others = one.group is not None and listening.get((_network(one), where), one.group.id) != one.group.id
    if others and router is None:
        return Address(skip_reason=UnreadReason.ADDRESS_TAKEN)
    hosts = _hosts(one, router or server, where)
    if isinstance(hosts, UnreadReason):
        return Address(skip_reason=hosts)
    path = (one.rule and one.rule.metrics_path) or wishes.path
    path = path or (one.launch and one.launch.metrics_path) or METRICS_PATH
    if router is not None and one.launch is not None:
        # Of this model, which is never loaded for it.
        query = urlencode({"model": one.launch.model, "autoload": "false"})
        path += f"{'&' if '?' in path else '?'}{query}"
    if not _PATH.fullmatch(path):  # `@example.org` behind a port would be another host
        return Address(skip_reason=UnreadReason.PATH)
    start = one.launch if router is None else router.launch
    target = _target(one, f"{_host(hosts[0])}:{where}{path}", start, moment)
    if target.bearer_token_file is not None and not _is_safe(one, target, where, hosts[0]):
        return Address(skip_reason=UnreadReason.TOKEN_IN_THE_CLEAR)
    return Address(target)


def _is_safe(one: Named, target: Target, port: int, host: str) -> bool:
    """Whether a token may go there: over https, to this host's own socket, or to the pod of this node."""
    server = None if one.group is None else one.group.server
    pod = one.tenant.pod
    own = server is not None and server.reach == "here" and any(at.port == port for at in server.listening)
    if one.group is not None and (sockets := one.group.sockets) is not None:
        own = own or (sockets.own and any(at.port == port for at in sockets.listening))
    return target.url.startswith("https:") or own or (pod is not None and host in pod.addresses)


def _target(one: Named, where: str, start: Launch | None, moment: Moment) -> Target:
    """What is read there. `start` is how that was started which listens there."""
    rule, launch = one.rule, one.launch
    scheme = (rule and rule.metrics_scheme) or (start and start.scheme) or "http"
    engine = rule.engine if rule is not None and rule.engine else None
    if engine is None and launch is not None and launch.engine in ENGINES:
        engine = launch.engine
    return Target(
        one.key,
        f"{scheme}://{where}",
        engine,
        bearer_token_file=None if rule is None else rule.bearer_token_file,
        ca_file=None if rule is None else rule.ca_file,
        server_name="" if rule is None else rule.server_name or "",
        about=_about(one, moment),
    )


def _about(one: Named, moment: Moment) -> About:
    rule, launch, pod = one.rule, one.launch, one.tenant.pod
    server = None if one.group is None else one.group.server
    identity, started = "", None
    if server is not None:
        process = server.process
        identity, started = identity_of(process), moment.wall_of(process.started)
    role: Role = (rule.role if rule is not None else "") or (pod.wishes.role if pod is not None else "")
    return About(
        pod="" if pod is None else pod.name,
        identity=identity,
        started=started,
        spans_hosts=(rule is not None and rule.spans_hosts) or (pod is not None and pod.spans_hosts),
        role=role,
        world_size=None if launch is None else launch.world,
        metrics_off=launch is not None
        and launch.metrics is False
        and (rule is None or not rule.metrics_port),
        division=None if rule is None or rule.divide is None else rule.divide.division,
    )


def _port(one: Named, server: ApiServer | None) -> int | UnreadReason:
    """The port of the metrics, or why there is none."""
    launch = one.launch
    if launch is None:
        return _port_of_a_rule(one) or UnreadReason.NO_PORT
    if launch.engine in UNCOUNTED:
        return UnreadReason.NO_TOKENS
    found = launch.metrics_port or launch.port if server is None else server.metrics_port
    if found is None:
        claim: Claim = "" if server is None else server.claim
        return CLAIMED.get(claim, UnreadReason.NOT_LISTENING)
    return found


def _network(one: Named) -> str:
    """The network that a server listens in, as far as it is known."""
    if one.group is None:
        return ""
    server, sockets = one.group.server, one.group.sockets
    return (server.network if server is not None else "") or (sockets.network if sockets is not None else "")


def _is_told(rule: ServerRule | None) -> bool:
    """Whether an entry says that a program is a server, whatever its command line."""
    return rule is not None and any((rule.metrics_port, rule.match.port, rule.engine))


def _port_of_a_rule(one: Named) -> int | None:
    """Where a program that is no known server is read, as its entry and its own sockets say."""
    rule = one.rule
    if rule is None or one.group is None or one.group.sockets is None:
        return None
    ports = {listener.port for listener in one.group.sockets.listening}
    default = None if rule.engine is None else ENGINES[rule.engine].default_port
    told = next((port for port in (rule.match.port, default) if port in ports), None)
    return ports.pop() if told is None and len(ports) == 1 else told


def _hosts(one: Named, server: ApiServer | None, port: int) -> tuple[str, ...] | UnreadReason:
    """Addresses to ask at, best first, or why there is none."""
    pod = one.tenant.pod
    # What else listens beside a server, where its pod or a rule says, may do so at all addresses.
    if server is not None and server.reach == "loopback" and port in (server.port, server.metrics_port):
        return UnreadReason.LOOPBACK
    sockets = None if one.group is None else one.group.sockets
    if sockets is not None and (server is None or port not in (server.port, server.metrics_port)):
        reach, hosts = sockets.reach(port)
        if reach == "here" or (hosts and pod is None):
            return hosts
    if pod is not None and pod.addresses and (server is None or server.reach != "here"):
        return pod.addresses
    if server is not None and server.hosts:
        return server.hosts
    if server is None and (one.tenant.workload or (one.group is not None and one.group.pod)):
        return UnreadReason.NO_POD_ADDRESS
    return UnreadReason.NO_ADDRESS


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address

"""Ports and addresses of the API servers of groups."""

from collections import Counter
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final, NamedTuple

from exporter.clock import Clock
from exporter.readings import FailureReason
from exporter.sources.processes import procfs
from exporter.sources.processes.groups import SERVING_MAX, ApiServer, ProcessGroup
from exporter.sources.processes.sockets import Network, NetworkPort, Networks, Sockets
from exporter.units import NANOSECONDS_PER_SECOND, Nanoseconds

DESCRIPTORS_MAX: Final = 4096
"""Open files of one process that are read; a busy server's connections are among them."""

BUDGET: Final[Nanoseconds] = NANOSECONDS_PER_SECOND
"""Time for all groups together; with every right it takes a fraction of a millisecond each."""

LAST_USERS_MAX: Final = 1024
"""Addresses whose last user is kept."""

LastUsers = MutableMapping[NetworkPort, int]
"""The last user that listened at each port: it reserves the name of a server that restarts."""


class Evidence(IntEnum):
    """Evidence that a server listens at a port where its user does, weakest first."""

    DEFAULT = 1
    """The port is its engine's default."""
    NAMED = 2
    """Its command line names the port."""
    SHOWN = 3
    """A descriptor of its own shows the socket."""


class _UserPort(NamedTuple):
    """A port as servers of one user claim it."""

    user: int | None
    at: NetworkPort


@dataclass(frozen=True, slots=True)
class _Port:
    """A port that a server may listen at."""

    number: int
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class _OpenGroup:
    """A group, and the sockets that its processes have open."""

    group: ProcessGroup
    process: int
    """Its server, else the first that computes: the network is of this process."""
    network: Network
    by_process: tuple[frozenset[int], ...] | None
    """The inodes of sockets of each process; `None` where descriptors may not be read."""

    @property
    def listening(self) -> tuple[procfs.ListeningSocket, ...]:
        """The listening sockets of the group; without descriptors, those of its user.

        A socket that root opened for a service of another user is visible by descriptors only.
        """
        if self.by_process is None:
            return self.network.sockets_of(self.group.user)
        inodes = frozenset[int]().union(*self.by_process)
        return tuple(socket for socket in self.network.listeners if socket.inode in inodes)

    def sockets(self, listening: tuple[procfs.ListeningSocket, ...]) -> Sockets:
        """The sockets of the group, of which these listen."""
        return Sockets(
            network=self.network,
            listening=listening,
            user=self.group.user,
            process=self.process,
            unprivileged=not self.network.on_host and (self.group.delegated or not self.group.container),
        )


@dataclass(frozen=True, slots=True)
class _OpenServer(_OpenGroup):
    """The same of a group with a server."""

    server: ApiServer

    @property
    def wanted(self) -> str:
        """The address that the command line names, as a socket shows it."""
        host = self.server.launch.host
        return procfs.LOOPBACKS[0] if host == "localhost" else host

    def port(self) -> _Port | None:
        """The port of the API by its own sockets; without descriptors by its command line and user."""
        launch = self.server.launch
        if not launch.serves or launch.port is None:
            return None
        if any(socket.port == launch.port for socket in self.listening):
            evidence = Evidence.DEFAULT if launch.named_port is None else Evidence.NAMED
            return _Port(launch.port, evidence if self.by_process is None else Evidence.SHOWN)
        if launch.named_port is not None:
            return None
        # A file or the environment sets another port: the only one of the first process with any, since
        # workers listen too, for each other.
        for inodes in self.by_process or ():
            ports = {socket.port for socket in self.network.listeners if socket.inode in inodes}
            if ports:
                return _Port(ports.pop(), Evidence.SHOWN) if len(ports) == 1 else None
        return None

    def last_port_left(self, owned_ports: set[int]) -> int | None:
        """The only port without another owner, in the network of a pod or container."""
        launch = self.server.launch
        is_known = self.by_process is not None or self.network.on_host
        if is_known or not launch.serves or launch.default_port is None:
            return None
        ports = {socket.port for socket in self.listening if not procfs.loopback(socket.host)}
        left = ports - owned_ports
        return left.pop() if len(left) == 1 else None

    def port_fault(self, last_users: LastUsers, *, is_contested: bool) -> FailureReason | None:
        """Why the port of its launch is not its own, `None` where nothing speaks against it."""
        if is_contested:
            return FailureReason.PORT_CONTESTED
        port = self.server.launch.port
        if port is None or any(socket.port == port for socket in self.listening):
            return None
        last_user = last_users.get(NetworkPort(self.network.number, port), self.group.user)
        others_listen = any(socket.port == port for socket in self.network.listeners)
        return FailureReason.PORT_TAKEN if others_listen or last_user != self.group.user else None

    def at(self, port: int | None, fault: FailureReason | None) -> ProcessGroup:
        """The group with its server at a port."""
        launch = self.server.launch
        metrics_port = launch.metrics_port
        if metrics_port is not None and metrics_port == launch.port:
            metrics_port = port
        # Ray's agent, which serves the metrics, is no descendant of the server, and of the same user.
        elif metrics_port not in {
            socket.port for socket in (*self.network.sockets_of(self.group.user), *self.listening)
        }:
            metrics_port = None
        sockets = self.sockets(self.listening)
        # The API may be at another port than its command line says, with the metrics at theirs.
        reach, hosts = sockets.reach(
            metrics_port if port is None else port, self.wanted if self.by_process is None else ""
        )
        server = replace(
            self.server, port=port, metrics_port=metrics_port, port_fault=fault, reach=reach, hosts=hosts
        )
        return replace(self.group, server=server, sockets=sockets)


def with_sockets(
    proc: procfs.Proc, clock: Clock, groups: Iterable[ProcessGroup], last_users: LastUsers
) -> tuple[ProcessGroup, ...]:
    """The groups with their sockets, and with the ports and addresses of their servers.

    Sockets are read for at most `BUDGET`, those of servers first. `last_users` is updated.
    """
    groups = tuple(groups)
    networks = Networks(proc)
    servers: list[_OpenServer] = []
    others: list[_OpenGroup] = []
    began = clock.elapsed()
    for group in sorted(groups, key=lambda group: group.server is None):
        if clock.elapsed() - began > BUDGET:
            proc.failures["time"] += 1
            break
        server = group.server
        pids = [member.pid for member in group.computing] if server is None else list(server.serving)
        by_process: tuple[frozenset[int], ...] | None = None
        first = proc.sockets(pids[0], DESCRIPTORS_MAX)
        if first is not None:
            rest = (proc.sockets(pid, DESCRIPTORS_MAX) or frozenset() for pid in pids[1:SERVING_MAX])
            by_process = (first, *rest)
        network = networks.network(pids[0])
        if server is None:
            others.append(_OpenGroup(group, pids[0], network, by_process))
        else:
            servers.append(_OpenServer(group, pids[0], network, by_process, server))
    placed = _with_ports(servers, proc, last_users)
    owned: dict[int | None, set[int]] = {}
    """The inodes of sockets that servers have, by network."""
    for opened_server in servers:
        api = placed[opened_server.group.id].server
        ports = set() if api is None else {api.port, api.metrics_port}
        owned.setdefault(opened_server.network.number, set()).update(
            socket.inode for socket in opened_server.listening if socket.port in ports
        )
    # Without descriptors a program that is no known server has the sockets of its user that no server has, if
    # it is the only one: an entry may name them.
    unread = Counter((other.network.number, other.group.user) for other in others if other.by_process is None)
    for other in others:
        number, listening = other.network.number, other.listening
        if other.by_process is None and unread[number, other.group.user] > 1:
            listening = ()
        elif other.by_process is None:
            listening = tuple(socket for socket in listening if socket.inode not in owned.get(number, ()))
        placed[other.group.id] = replace(other.group, sockets=other.sockets(listening))
    return tuple(placed.get(group.id, group) for group in groups)


def _with_ports(
    servers: Iterable[_OpenServer], proc: procfs.Proc, last_users: LastUsers
) -> dict[str, ProcessGroup]:
    """The groups of servers with the port of each, by their ids; a port that several claim is its owner's."""
    by_group = {server.group.id: server for server in servers}
    ports: dict[str, _Port] = {}
    for name, server in by_group.items():
        port = server.port()
        if port is not None:
            ports[name] = port
    contested = _contested(by_group, ports)
    proc.failures["contested"] += len(contested)
    for name in contested:
        del ports[name]
    # A port has a certain owner by more than a default: no other server of that network listens there.
    owners: dict[NetworkPort, str] = {}
    for name, port in ports.items():
        if port.evidence > Evidence.DEFAULT:
            owners[NetworkPort(by_group[name].network.number, port.number)] = name
    placed: dict[str, ProcessGroup] = {}
    for name, server in by_group.items():
        network, launch = server.network.number, server.server.launch
        others = {at.number for at, owner in owners.items() if at.network == network and owner != name}
        port = ports.get(name)
        if port is None or (port.evidence is Evidence.DEFAULT and port.number in others):
            number = server.last_port_left(others)
        else:
            number = port.number
        if number is None and launch.serves and launch.port is not None:
            proc.failures["not_listening"] += 1
        fault = server.port_fault(last_users, is_contested=name in contested)
        placed[name] = server.at(number, fault)
    by_pid: dict[int, ApiServer] = {}
    for name, server in by_group.items():
        api = placed[name].server or server.server
        by_pid[api.process.pid] = api
        if api.port is not None and server.network.number is not None and server.group.user is not None:
            at = NetworkPort(server.network.number, api.port)
            last_users.pop(at, None)  # the latest is last
            last_users[at] = server.group.user
    for at in list(last_users)[:-LAST_USERS_MAX]:
        del last_users[at]
    for name, group in placed.items():
        if group.server is not None and group.server.router_pid in by_pid:
            router = by_pid[group.server.router_pid]
            placed[name] = replace(group, server=replace(group.server, router=router))
    return placed


def _contested(servers: Mapping[str, _OpenServer], ports: Mapping[str, _Port]) -> set[str]:
    """Groups of one user and network that claim one port without a descriptor as evidence.

    A default is no claim: it yields to a group that names the port. Servers that each name an address of
    their own, at which their user listens, have one each.
    """
    claims: dict[_UserPort, list[str]] = {}
    for name, port in ports.items():
        at = NetworkPort(servers[name].network.number, port.number)
        claims.setdefault(_UserPort(servers[name].group.user, at), []).append(name)
    contested: set[str] = set()
    for claimed, names in claims.items():
        addresses = {
            (socket.host, socket.port)
            for name in names
            for socket in servers[name].listening
            if (socket.host, socket.port) == (servers[name].wanted, claimed.at.number)
        }
        if len(names) == 1 or len(names) == len(addresses):
            continue
        evidence = Counter(ports[name].evidence for name in names)
        if evidence[Evidence.SHOWN] or evidence[Evidence.NAMED] != 1:
            contested |= {name for name in names if ports[name].evidence < Evidence.SHOWN}
    return contested

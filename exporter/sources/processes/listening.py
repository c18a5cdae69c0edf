"""Ports and addresses of the API servers of groups."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, replace
from typing import Final

from exporter.clock import Clock
from exporter.sources.processes import procfs
from exporter.sources.processes.groups import SERVING_MAX, ApiServer, Claim, ProcessGroup
from exporter.sources.processes.sockets import Network, Networks, Sockets
from exporter.units import NANOSECONDS_PER_SECOND, Nanoseconds

DESCRIPTORS_MAX: Final = 4096
"""Open files of one process that are read; a busy server's connections are among them."""

BUDGET: Final[Nanoseconds] = NANOSECONDS_PER_SECOND
"""Time for all groups together; with every right it takes a fraction of a millisecond each."""

LAST_USERS_MAX: Final = 1024
"""Addresses whose last user is kept."""

LastUsers = MutableMapping[tuple[int, int], int]
"""The last user that listened, by network and port: it reserves the name of a server that restarts."""


@dataclass(frozen=True, slots=True)
class _Opened:
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
        return tuple(one for one in self.network.listeners if one.inode in inodes)

    def sockets(self, listening: tuple[procfs.ListeningSocket, ...]) -> Sockets:
        """The sockets of the group, of which these listen."""
        unprivileged = not self.network.on_host and (self.group.delegated or not self.group.container)
        return Sockets(self.network, listening, self.group.user, self.process, unprivileged)


@dataclass(frozen=True, slots=True)
class _Serving(_Opened):
    """The same of a group with a server."""

    server: ApiServer

    @property
    def wanted(self) -> str:
        """The address that the command line names, as a socket shows it."""
        host = self.server.launch.host
        return procfs.LOOPBACKS[0] if host == "localhost" else host

    def port(self) -> tuple[int | None, bool]:
        """The port of the API, and whether a descriptor shows it; else a command line names it."""
        launch = self.server.launch
        if not launch.serves or launch.port is None:
            return None, False
        if launch.port in {socket.port for socket in self.listening}:
            return launch.port, self.by_process is not None
        if launch.explicit_port:
            return None, False
        # A file or the environment sets another port: the only one of the first process with any, since
        # workers listen too, for each other.
        for inodes in self.by_process or ():
            ports = {socket.port for socket in self.network.listeners if socket.inode in inodes}
            if ports:
                return (ports.pop(), True) if len(ports) == 1 else (None, False)
        return None, False

    def last_port_left(self, others: Collection[int]) -> int | None:
        """The only port without another owner, in the network of a pod or container."""
        launch = self.server.launch
        if self.by_process is not None or self.network.on_host or launch.explicit_port:
            return None
        if not launch.serves or launch.port is None:
            return None
        left = {socket.port for socket in self.listening if not procfs.loopback(socket.host)}.difference(
            others
        )
        return left.pop() if len(left) == 1 else None

    def is_taken(self, last_users: LastUsers) -> bool:
        """Whether another user listens at the port that the command line names, or did last."""
        port, number = self.server.launch.port, self.network.number
        if port is None or any(socket.port == port for socket in self.listening):
            return False
        if any(socket.port == port for socket in self.network.listeners):
            return True
        return number is not None and last_users.get((number, port), self.group.user) != self.group.user

    def at(self, port: int | None, claim: Claim) -> ProcessGroup:
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
            self.server, port=port, metrics_port=metrics_port, claim=claim, reach=reach, hosts=hosts
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
    servers: dict[str, _Serving] = {}
    others: dict[str, _Opened] = {}
    began = clock.elapsed()
    for group in sorted(groups, key=lambda group: group.server is None):
        if clock.elapsed() - began > BUDGET:
            proc.failures["time"] += 1
            break
        server = group.server
        pids = [member.pid for member in group.computing] if server is None else [*server.serving]
        network, by_process = networks.network(pids[0]), _open_sockets(proc, pids[:SERVING_MAX])
        if server is None:
            others[group.id] = _Opened(group, pids[0], network, by_process)
        else:
            servers[group.id] = _Serving(group, pids[0], network, by_process, server)
    answer = _with_ports(servers, proc, last_users)
    owned = {
        (one.network.number, socket.inode)
        for name, one in servers.items()
        if (server := answer[name].server) is not None
        for socket in one.listening
        if socket.port in (server.port, server.metrics_port)
    }
    # Without descriptors a program that is no known server has the sockets of its user that no server has, if
    # it is the only one: an entry may name them.
    unread = Counter(
        (one.network.number, one.group.user) for one in others.values() if one.by_process is None
    )
    for name, one in others.items():
        listening = one.listening
        if one.by_process is None:
            number = one.network.number
            alone = unread[number, one.group.user] == 1
            listening = tuple(at for at in listening if alone and (number, at.inode) not in owned)
        answer[name] = replace(one.group, sockets=one.sockets(listening))
    return tuple(answer.get(group.id, group) for group in groups)


def _with_ports(
    servers: Mapping[str, _Serving], proc: procfs.Proc, last_users: LastUsers
) -> dict[str, ProcessGroup]:
    """The groups of servers with the port of each; of a port that several claim, its owner's alone."""
    ports = {name: one.port() for name, one in servers.items()}
    contested = _contested(servers, ports)
    proc.failures["contested"] += len(contested)
    ports.update(dict.fromkeys(contested, (None, False)))
    # Ports with a certain owner: no other server of that network listens there.
    owners = {
        (one.network.number, ports[name][0]): name
        for name, one in servers.items()
        if ports[name][0] is not None and (ports[name][1] or one.server.launch.explicit_port)
    }
    answer: dict[str, ProcessGroup] = {}
    for name, one in servers.items():
        launch = one.server.launch
        port, certain = ports[name]
        others = {
            at
            for (number, at), owner in owners.items()
            if at is not None and number == one.network.number and owner != name
        }
        if not certain and not launch.explicit_port and port in others:
            port = None
        if port is None:
            port = one.last_port_left(others)
        if port is None and launch.serves and launch.port is not None:
            proc.failures["not_listening"] += 1
        claim: Claim = ""
        if name in contested:
            claim = "contested"
        elif one.is_taken(last_users):
            claim = "taken"
        answer[name] = one.at(port, claim)
    for name, one in servers.items():
        server, user, number = answer[name].server, one.group.user, one.network.number
        if server is not None and server.port is not None and number is not None and user is not None:
            last_users.pop((number, server.port), None)  # the latest is last
            last_users[number, server.port] = user
    for address in list(last_users)[:-LAST_USERS_MAX]:
        del last_users[address]
    by_process = {one.server.process.pid: answer[name].server for name, one in servers.items()}
    for name, one in servers.items():
        router = by_process.get(one.server.started_by or 0)
        if router is not None:
            server = replace(answer[name].server or one.server, router=router)
            answer[name] = replace(answer[name], server=server)
    return answer


def _contested(servers: Mapping[str, _Serving], ports: Mapping[str, tuple[int | None, bool]]) -> set[str]:
    """Groups of one user and network that claim one port without a descriptor as evidence.

    An engine's default is a guess and no claim: it yields to a group that names the port. Servers that each
    name an address of their own, at which their user listens, are apart.
    """
    claims: dict[tuple[int | None, int | None, int], list[str]] = {}
    for name, one in servers.items():
        port, _ = ports[name]
        if port is not None:
            claims.setdefault((one.network.number, one.group.user, port), []).append(name)
    contested: set[str] = set()
    for (_, _, port), names in claims.items():
        addresses = {
            servers[name].wanted
            for name in names
            if any((at.host, at.port) == (servers[name].wanted, port) for at in servers[name].listening)
        }
        if len(names) in (1, len(addresses)):
            continue
        guesses = [name for name in names if not ports[name][1]]
        named = [name for name in guesses if servers[name].server.launch.explicit_port]
        if len(guesses) < len(names) or len(named) != 1:
            contested.update(guesses)
    return contested


def _open_sockets(proc: procfs.Proc, processes: Iterable[int]) -> tuple[frozenset[int], ...] | None:
    """The sockets that are open in each process; `None` where those of the first may not be read."""
    opened: list[frozenset[int]] = []
    for pid in processes:
        links = proc.descriptors(pid, DESCRIPTORS_MAX)
        if links is None and not opened:
            return None
        opened.append(
            frozenset(number for link in links or () if (number := procfs.socket(link)) is not None)
        )
    return tuple(opened)

"""Where the API servers of groups listen, and how they can be reached."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from exporter.clock import Clock
from exporter.engines.launch import Launch
from exporter.sources.processes.grouping import Grouped
from exporter.sources.processes.groups import ApiServer, Found, ProcessGroup, Reach
from exporter.sources.processes.proc import Proc
from exporter.sources.processes.sockets import (
    ADDRESS_BYTES,
    SOCKET_BYTES,
    Listener,
    addresses4,
    addresses6,
    listeners,
    loopback,
    past_listeners,
    socket,
)
from exporter.sources.processes.stat import STAT_BYTES, user
from exporter.units import NANOSECONDS_PER_SECOND, Nanoseconds

DESCRIPTORS_MAX: Final = 4096
"""Open files of one process that are looked at; a busy server's connections are among them."""

BUDGET: Final[Nanoseconds] = NANOSECONDS_PER_SECOND
"""Time for all servers together; with every right it takes a fraction of a millisecond each."""

HOSTS_MAX: Final = 4
LOOPBACK: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Network:
    """One network namespace, seen from a process in it.

    `id` is the kernel's name of it, or one of its listening sockets where that may not be read: sockets are
    numbered across namespaces. `shared` is true for this one and the host's: anybody's sockets are in it.
    """

    id: str = ""
    own: bool = False
    shared: bool = False
    listeners: tuple[Listener, ...] = ()
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is known of one server: its network, and the sockets open in each of its processes.

    `open` is `None` where that may not be read; `user` is whose it is, `None` where that is not told.
    """

    server: ApiServer
    network: Network
    open: tuple[frozenset[int], ...] | None
    user: int | None


def located(proc: Proc, clock: Clock, groups: Iterable[Grouped]) -> tuple[ProcessGroup, ...]:
    """The groups, with the ports, networks and hosts of their servers: of as many as `BUDGET` allows."""
    groups = tuple(groups)
    networks = _Networks(proc)
    seen = {}
    began = clock.elapsed()
    for one in groups:
        server = one.group.server
        if server is None:
            continue
        if clock.elapsed() - began > BUDGET:
            proc.failures["time"] += 1
            break
        pid = server.process.pid
        whose = user(proc.read(pid, "status", STAT_BYTES) or b"")
        seen[one.group.id] = _Seen(server, networks.of(pid), _open(proc, one.serving), whose)
    found = {name: _port(one) for name, one in seen.items()}
    # Whose port is certain: nobody else in that network is taken to listen there.
    taken = {
        (seen[name].network.id, port): name
        for name, (port, how) in found.items()
        if port is not None and (how == "descriptor" or seen[name].server.launch.port_told)
    }
    answer = []
    for one in groups:
        name = one.group.id
        if name not in seen:
            answer.append(one.group)
            continue
        port, how = found[name]
        others = {
            at for (network, at), who in taken.items() if network == seen[name].network.id and who != name
        }
        told = seen[name].server.launch.port_told
        if how == "command" and not told and port in others:
            port, how = None, ""
        if port is None:
            port, how = _last_one_left(seen[name], others)
        if port is None and seen[name].server.launch.serves and seen[name].server.launch.port is not None:
            proc.failures["not_listening"] += 1
        answer.append(replace(one.group, server=_located(seen[name], port, how)))
    return tuple(answer)


class _Networks:
    """The network namespaces of a host, read once each where they can be told apart."""

    def __init__(self, proc: Proc) -> None:
        self._proc = proc
        self._own = self._listeners("self")
        self._own_link = proc.link("self", "ns/net")
        self._init: tuple[Listener, ...] | None = None
        self._known: dict[str, Network] = {}

    def of(self, pid: int) -> Network:
        """The network of a process; an empty one where it is gone."""
        link = self._proc.link(pid, "ns/net")
        if link and link in self._known:
            return self._known[link]
        found = self._listeners(pid)
        own = link == self._own_link if link and self._own_link else _share(self._own, found)
        network = Network(
            id=link
            or self._own_link * own
            or (f"socket:[{min(one.inode for one in found)}]" if found else ""),
            own=own,
            shared=own or self._of_the_host(link, found),
            listeners=found,
            addresses=() if own else self._addresses(pid),
        )
        if network.id:
            self._known[network.id] = network
        return network

    def _of_the_host(self, link: str, found: tuple[Listener, ...]) -> bool:
        host = self._proc.link(1, "ns/net")
        if link and host:
            return link == host
        if self._init is None:
            self._init = self._listeners(1)
        return _share(self._init, found)

    def _listeners(self, process: int | str) -> tuple[Listener, ...]:
        found: dict[int, Listener] = {}
        for table in ("net/tcp", "net/tcp6"):
            content = self._proc.read(process, table, SOCKET_BYTES, past_listeners)
            if content is not None:
                if len(content) == SOCKET_BYTES:
                    self._proc.failures["truncated"] += 1
                found.update({one.inode: one for one in listeners(content)})
        return tuple(sorted(found.values(), key=lambda one: (one.port, one.inode)))

    def _addresses(self, pid: int) -> tuple[str, ...]:
        four = self._proc.read(pid, "net/fib_trie", ADDRESS_BYTES) or b""
        if len(four) == ADDRESS_BYTES:
            self._proc.failures["truncated"] += 1
        return (*addresses4(four), *addresses6(self._proc.read(pid, "net/if_inet6", ADDRESS_BYTES) or b""))


def _share(one: tuple[Listener, ...], other: tuple[Listener, ...]) -> bool:
    """Whether two processes see a socket in common, which is then the same network namespace."""
    return not {listener.inode for listener in one}.isdisjoint(listener.inode for listener in other)


def _open(proc: Proc, processes: Iterable[int]) -> tuple[frozenset[int], ...] | None:
    """The sockets that are open in each process; `None` where those of the first may not be read."""
    found: list[frozenset[int]] = []
    for pid in processes:
        links = proc.descriptors(pid, DESCRIPTORS_MAX)
        if links is None and not found:
            return None
        found.append(frozenset(number for link in links or () if (number := socket(link)) is not None))
    return tuple(found)


def _mine(one: _Seen) -> tuple[Listener, ...]:
    """The sockets that are a server's, or may be.

    Without descriptors that is its user's. A service manager may have opened the one that it is told for it.
    """
    if one.open is None:
        told = one.server.launch.port if one.server.launch.port_told else None
        return tuple(
            listener
            for listener in one.network.listeners
            if one.user in (None, listener.user) or (listener.user == 0 and listener.port == told)
        )
    own = frozenset[int]().union(*one.open)
    return tuple(listener for listener in one.network.listeners if listener.inode in own)


def _port(one: _Seen) -> tuple[int | None, Found]:
    """The port that a server's API is at, and how that is known."""
    launch = one.server.launch
    if not launch.serves or launch.port is None:
        return None, ""
    if launch.port in {listener.port for listener in _mine(one)}:
        return launch.port, "command" if one.open is None else "descriptor"
    if launch.port_told:
        return None, ""
    # A file or the environment says another one: the only one of the first process that has any, for workers
    # listen too, for each other.
    for sockets in one.open or ():
        ports = {listener.port for listener in one.network.listeners if listener.inode in sockets}
        if ports:
            return (ports.pop(), "descriptor") if len(ports) == 1 else (None, "")
    return None, ""


def _last_one_left(one: _Seen, others: set[int]) -> tuple[int | None, Found]:
    """The only port that nobody else has, in a network that is a pod's or a container's own."""
    launch = one.server.launch
    if one.open is not None or one.network.shared or launch.port_told:
        return None, ""
    if not launch.serves or launch.port is None:
        return None, ""
    left = {listener.port for listener in _mine(one) if not loopback(listener.host)} - others
    return (left.pop(), "namespace") if len(left) == 1 else (None, "")


def _located(one: _Seen, port: int | None, how: Found) -> ApiServer:
    reach, hosts = _reach(one, port)
    return replace(
        one.server,
        port=port,
        metrics_port=_metrics_port(one, port),
        found=how,
        listening=_mine(one),
        network=one.network.id,
        reach=reach,
        hosts=hosts,
    )


def _metrics_port(one: _Seen, port: int | None) -> int | None:
    launch: Launch = one.server.launch
    if launch.metrics_port is None or launch.metrics_port == launch.port:
        return port if launch.metrics_port is not None else None
    # Ray's agent, which serves the metrics, is no descendant of the server.
    here = {listener.port for listener in one.network.listeners}
    return launch.metrics_port if launch.metrics_port in here else None


def _reach(one: _Seen, port: int | None) -> tuple[Reach, tuple[str, ...]]:
    """From where a port can be reached. What listens on all addresses is asked by the nearest."""
    bound = [listener.host for listener in _mine(one) if listener.port == port]
    wanted = LOOPBACK if one.server.launch.host == "localhost" else one.server.launch.host
    if one.open is None and wanted in bound:  # somebody else may have the port at another address
        bound = [wanted]
    if not bound:
        return "unknown", ()
    everywhere = "" in bound
    if one.network.own:
        hosts = [LOOPBACK] if everywhere else sorted(bound, key=lambda host: not loopback(host))
        return "here", tuple(dict.fromkeys(hosts))[:HOSTS_MAX]
    hosts = [*one.network.addresses] if everywhere else [host for host in bound if not loopback(host)]
    if hosts:
        return "address", tuple(dict.fromkeys(hosts))[:HOSTS_MAX]
    return ("unknown" if everywhere else "loopback"), ()

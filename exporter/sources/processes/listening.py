"""Ports, networks and addresses of the API servers of groups."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from exporter.clock import Clock
from exporter.engines.launch import Launch
from exporter.sources.processes.groups import (
    SERVING_MAX,
    ApiServer,
    Claim,
    Grouped,
    PortEvidence,
    ProcessGroup,
    Sockets,
)
from exporter.sources.processes.proc import (
    ADDRESS_BYTES,
    LOOPBACKS,
    SOCKET_BYTES,
    ListeningSocket,
    Proc,
    addresses4,
    addresses6,
    listeners,
    loopback,
    own_loopbacks,
    past_listeners,
    socket,
)
from exporter.units import NANOSECONDS_PER_SECOND, Nanoseconds

DESCRIPTORS_MAX: Final = 4096
"""Open files of one process that are read; a busy server's connections are among them."""

BUDGET: Final[Nanoseconds] = NANOSECONDS_PER_SECOND
"""Time for all servers together; with every right it takes a fraction of a millisecond each."""


HOLDERS_MAX: Final = 1024
"""Addresses whose last holder is kept."""

Holders = MutableMapping[tuple[str, int], int]
"""The last user that listened, by network and port: it reserves the name of a server that restarts."""


@dataclass(frozen=True, slots=True)
class Network:
    """One network namespace, seen from a process in it.

    `id` is its number as text, empty where it is gone. `shared` is true for this one and the host's:
    anybody's sockets are in it.
    """

    id: str = ""
    own: bool = False
    shared: bool = False
    listeners: tuple[ListeningSocket, ...] = ()
    addresses: tuple[str, ...] = ()
    number: int | None = None

    def sockets(self, group: ProcessGroup, process: int, listening: Collection[ListeningSocket]) -> Sockets:
        """The sockets in it of a group that has these and this process, and of its user."""
        of_user = tuple(one for one in self.listeners if one.user == group.user)
        others = tuple(one for one in self.listeners if one.user != group.user and one not in listening)
        return Sockets(
            self.id,
            self.own,
            self.shared,
            tuple(listening),
            of_user,
            self.addresses,
            others,
            "self" if self.own else process,
            self.number,
            unprivileged=not self.shared and (group.delegated or not group.container),
        )


@dataclass(frozen=True, slots=True)
class _OpenSockets:
    """Network of one server, and the sockets open in each of its processes.

    `open` is `None` where they may not be read.
    """

    group: ProcessGroup
    server: ApiServer
    network: Network
    open: tuple[frozenset[int], ...] | None


def located(
    proc: Proc, clock: Clock, groups: Iterable[Grouped], holders: Holders | None = None
) -> tuple[ProcessGroup, ...]:
    """The groups with the ports, networks and hosts of their servers.

    Sockets are read for at most `BUDGET`. `holders` is updated.
    """
    groups = tuple(groups)
    networks = _Networks(proc)
    holders = {} if holders is None else holders
    open_sockets = {}
    began = clock.elapsed()
    for one in groups:
        server = one.group.server
        if server is None:
            continue
        if clock.elapsed() - began > BUDGET:
            proc.failures["time"] += 1
            break
        network = networks.of(server.process.pid)
        open_sockets[one.group.id] = _OpenSockets(one.group, server, network, _open(proc, one.serving))
    ports = {name: _port(one) for name, one in open_sockets.items()}
    contested = _contested(open_sockets, ports)
    proc.failures["contested"] += len(contested)
    ports.update(dict.fromkeys(contested, (None, "")))
    # Ports with a certain owner: no other server of that network listens there.
    taken = {
        (open_sockets[name].network.id, port): name
        for name, (port, how) in ports.items()
        if port is not None and (how == "descriptor" or open_sockets[name].server.launch.explicit_port)
    }
    answer = []
    for one in groups:
        name = one.group.id
        if name not in open_sockets:
            answer.append(one.group)
            continue
        port, how = ports[name]
        others = {
            at
            for (network, at), who in taken.items()
            if network == open_sockets[name].network.id and who != name
        }
        is_explicit = open_sockets[name].server.launch.explicit_port
        if how == "command" and not is_explicit and port in others:
            port, how = None, ""
        if port is None:
            port, how = _last_one_left(open_sockets[name], others)
        if (
            port is None
            and open_sockets[name].server.launch.serves
            and open_sockets[name].server.launch.port is not None
        ):
            proc.failures["not_listening"] += 1
        claim: Claim = (
            "contested" if name in contested else "taken" if _taken(open_sockets[name], holders) else ""
        )
        server = _located(open_sockets[name], port, how, claim)
        answer.append(replace(one.group, server=server, sockets=_sockets(open_sockets[name])))
    _remember(holders, answer)
    answer = [*_with_routers(groups, answer)]
    return tuple(_with_sockets(proc, clock, began, networks, answer))


def _with_routers(groups: Iterable[Grouped], located: Iterable[ProcessGroup]) -> Iterator[ProcessGroup]:
    """The groups, with the router of each server that one started."""
    located = tuple(located)
    by_process = {group.server.process.pid: group for group in located if group.server is not None}
    for one, group in zip(groups, located, strict=True):
        router = None if one.router is None else by_process.get(one.router)
        if group.server is None or router is None:
            yield group
        else:
            yield replace(group, server=replace(group.server, router=router.server))


def _sockets(one: _OpenSockets) -> Sockets:
    """The sockets of a server."""
    return one.network.sockets(one.group, one.server.process.pid, _mine(one))


def _with_sockets(
    proc: Proc, clock: Clock, began: Nanoseconds, networks: "_Networks", groups: list[ProcessGroup]
) -> Iterator[ProcessGroup]:
    """The groups, with the sockets of those that compute without a known server: an entry may name them.

    Without descriptors such a group has the sockets of its user that no server has, if it is the only one.
    """
    taken = {
        (group.server.network, listener.inode)
        for group in groups
        if group.server is not None
        for listener in group.server.listening
        if listener.port in (group.server.port, group.server.metrics_port)
    }
    unknown: Counter[tuple[str, int | None]] = Counter()
    networks_of: dict[str, tuple[Network, frozenset[int] | None]] = {}
    for group in groups:
        if group.server is None and group.computing and clock.elapsed() - began <= BUDGET:
            pids = [member.pid for member in group.computing]
            network, opened = networks.of(pids[0]), _open(proc, pids[:SERVING_MAX])
            networks_of[group.id] = network, None if opened is None else frozenset[int]().union(*opened)
            unknown[network.id, group.user] += opened is None
    for group in groups:
        if group.id not in networks_of:
            yield group
            continue
        network, own = networks_of[group.id]
        of_user = tuple(listener for listener in network.listeners if listener.user == group.user)
        alone = unknown[network.id, group.user] == 1
        listening = tuple(
            listener
            for listener in (of_user if own is None else network.listeners)
            if (own is not None and listener.inode in own)
            or (own is None and alone and (network.id, listener.inode) not in taken)
        )
        yield replace(group, sockets=network.sockets(group, group.computing[0].pid, listening))


def _contested(
    open_sockets: Mapping[str, _OpenSockets], ports: Mapping[str, tuple[int | None, PortEvidence]]
) -> set[str]:
    """Groups of one user and network that claim one port without a descriptor as evidence.

    An engine's default is a guess and no claim: it yields to a group that names the port.
    """
    claims: dict[tuple[str, int | None, int], list[str]] = {}
    for name, one in open_sockets.items():
        port, _ = ports[name]
        if port is not None:
            claims.setdefault((one.network.id, one.group.user, port), []).append(name)
    disputed: set[str] = set()
    for (_, _, port), names in claims.items():
        if _are_apart([_bound(open_sockets[name], port) for name in names]):
            continue
        guesses = [name for name in names if ports[name][1] != "descriptor"]
        named = [name for name in guesses if open_sockets[name].server.launch.explicit_port]
        if len(names) > 1 and (len(guesses) < len(names) or len(named) != 1):
            disputed.update(guesses)
    return disputed


def _bound(one: _OpenSockets, port: int) -> str | None:
    """The address that a server names, where its user listens there, empty for all; else `None`."""
    wanted = _wanted(one.server.launch)
    return wanted if any((at.host, at.port) == (wanted, port) for at in _mine(one)) else None


def _are_apart(bound: Sequence[str | None]) -> bool:
    """Whether servers of one port each name an address of their own, at which their user listens."""
    return None not in bound and len(set(bound)) == len(bound)


def _taken(one: _OpenSockets, holders: Holders) -> bool:
    """Whether another user listens at the port that a server names, or did last."""
    port = one.server.launch.port
    if port is None or any(listener.port == port for listener in _mine(one)):
        return False
    if any(listener.port == port for listener in one.network.listeners):
        return True
    return holders.get((one.network.id, port), one.group.user) != one.group.user


def _remember(holders: Holders, groups: Iterable[ProcessGroup]) -> None:
    for group in groups:
        server = group.server
        if server is not None and server.port is not None and server.network and group.user is not None:
            holders.pop(socket_key := (server.network, server.port), None)
            holders[socket_key] = group.user
    for socket_key in list(holders)[:-HOLDERS_MAX]:
        del holders[socket_key]


class _Networks:
    """The network namespaces of a host, read once each where they can be told apart."""

    def __init__(self, proc: Proc) -> None:
        self._proc = proc
        self._own = proc.network("self")
        self._host = proc.network(1)
        self._cache: dict[int, Network] = {}

    def of(self, pid: int) -> Network:
        """The network of a process; an empty one where it is gone."""
        number = self._proc.network(pid)
        if number is None:
            return Network()
        if number not in self._cache:
            own = number == self._own
            self._cache[number] = Network(
                id=f"network {number}",
                own=own,
                shared=own or number == self._host,
                listeners=self._listeners(pid),
                addresses=self._addresses(pid, own=own),
                number=number,
            )
        return self._cache[number]

    def _listeners(self, process: int | str) -> tuple[ListeningSocket, ...]:
        by_inode: dict[int, ListeningSocket] = {}
        for table in ("net/tcp", "net/tcp6"):
            content = self._proc.read(process, table, SOCKET_BYTES, past_listeners)
            if content is not None:
                if len(content) == SOCKET_BYTES:
                    self._proc.failures["truncated"] += 1
                by_inode.update({one.inode: one for one in listeners(content)})
        return tuple(sorted(by_inode.values(), key=lambda one: (one.port, one.inode)))

    def _addresses(self, pid: int, *, own: bool) -> tuple[str, ...]:
        """Where sockets that are bound to all addresses are reached: from its own network by loopback."""
        if own:
            return own_loopbacks()
        six = self._proc.read(pid, "net/if_inet6", ADDRESS_BYTES) or b""
        four = self._proc.read(pid, "net/fib_trie", ADDRESS_BYTES) or b""
        if len(four) == ADDRESS_BYTES:
            self._proc.failures["truncated"] += 1
        return (*addresses4(four), *addresses6(six))


def _open(proc: Proc, processes: Iterable[int]) -> tuple[frozenset[int], ...] | None:
    """The sockets that are open in each process; `None` where those of the first may not be read."""
    opened: list[frozenset[int]] = []
    for pid in processes:
        links = proc.descriptors(pid, DESCRIPTORS_MAX)
        if links is None and not opened:
            return None
        opened.append(frozenset(number for link in links or () if (number := socket(link)) is not None))
    return tuple(opened)


def _mine(one: _OpenSockets) -> tuple[ListeningSocket, ...]:
    """The sockets of a server; without descriptors, those of its user.

    A socket that root opened for a service of another user is visible by descriptors only.
    """
    if one.open is None:
        return tuple(listener for listener in one.network.listeners if listener.user == one.group.user)
    own = frozenset[int]().union(*one.open)
    return tuple(listener for listener in one.network.listeners if listener.inode in own)


def _port(one: _OpenSockets) -> tuple[int | None, PortEvidence]:
    """The port of a server's API, and its evidence."""
    launch = one.server.launch
    if not launch.serves or launch.port is None:
        return None, ""
    if launch.port in {listener.port for listener in _mine(one)}:
        return launch.port, "command" if one.open is None else "descriptor"
    if launch.explicit_port:
        return None, ""
    # A file or the environment sets another port: the only one of the first process with any, since workers
    # listen too, for each other.
    for sockets in one.open or ():
        ports = {listener.port for listener in one.network.listeners if listener.inode in sockets}
        if ports:
            return (ports.pop(), "descriptor") if len(ports) == 1 else (None, "")
    return None, ""


def _last_one_left(one: _OpenSockets, others: set[int]) -> tuple[int | None, PortEvidence]:
    """The only port without another owner, in the network of a pod or container."""
    launch = one.server.launch
    if one.open is not None or one.network.shared or launch.explicit_port:
        return None, ""
    if not launch.serves or launch.port is None:
        return None, ""
    left = {listener.port for listener in _mine(one) if not loopback(listener.host)} - others
    return (left.pop(), "namespace") if len(left) == 1 else (None, "")


def _located(one: _OpenSockets, port: int | None, how: PortEvidence, claim: Claim) -> ApiServer:
    metrics_port = _metrics_port(one, port)
    # The API may be at another port than its command line says, with the metrics at theirs.
    read_at = metrics_port if port is None else port
    reach, hosts = _sockets(one).reach(read_at, _wanted(one.server.launch) if one.open is None else "")
    return replace(
        one.server,
        port=port,
        metrics_port=metrics_port,
        evidence=how,
        listening=_mine(one),
        network=one.network.id,
        on_host=one.network.shared,
        claim=claim,
        reach=reach,
        hosts=hosts,
    )


def _metrics_port(one: _OpenSockets, port: int | None) -> int | None:
    launch: Launch = one.server.launch
    if launch.metrics_port is None or launch.metrics_port == launch.port:
        return port if launch.metrics_port is not None else None
    # Ray's agent, which serves the metrics, is no descendant of the server, and of the same user.
    here = {listener.port for listener in one.network.listeners if listener.user == one.group.user}
    here.update(listener.port for listener in _mine(one))
    return launch.metrics_port if launch.metrics_port in here else None


def _wanted(launch: Launch) -> str:
    """The address of a server's command line, as its socket shows it."""
    return LOOPBACKS[0] if launch.host == "localhost" else launch.host

"""Network namespaces of a host, and the listening sockets of process groups in them."""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

from exporter.sources.processes import procfs
from exporter.sources.processes.listener import ExpectedListener, takers

Reach: TypeAlias = Literal["here", "address", "loopback", "unknown"]
"""How a server can be reached: in this network namespace; by an address of its own namespace; only inside
that namespace, by loopback; or it is unknown where it listens."""

HOSTS_MAX: Final = 4


class NetworkPort(NamedTuple):
    """A port of one network namespace."""

    network: int | None
    """The number of the namespace, `None` if unknown."""
    number: int


@dataclass(frozen=True, slots=True)
class Network:
    """One network namespace."""

    number: int | None = None
    """Its inode; `None` where it is gone."""
    own: bool = False
    """It is the daemon's own."""
    on_host: bool = False
    """It is the daemon's own or the host's, in which anybody's sockets are."""
    listeners: tuple[procfs.ListeningSocket, ...] = ()
    addresses: tuple[str, ...] = ()
    """Where sockets that are bound to all addresses are reached."""

    def sockets_of(self, user: int | None) -> tuple[procfs.ListeningSocket, ...]:
        """The sockets that a user opened in it."""
        return tuple(socket for socket in self.listeners if socket.user == user)


@dataclass(frozen=True, slots=True)
class Sockets:
    """The listening sockets of a process group."""

    network: Network
    listening: tuple[procfs.ListeningSocket, ...] = ()
    """Its own, if its descriptors are readable, else those of its user that no other group is known to
    have."""
    user: int | None = None
    """Its user."""
    process: int | str = "self"
    """A process in that network."""
    unprivileged: bool = False
    """Whether users may have made that network."""

    def listener(self, host: str, port: int) -> ExpectedListener | None:
        """The listener at an address; `None` where nothing listens, or somebody else."""
        accepting = takers(self.network.listeners, host, port)
        others = [socket for socket in accepting if socket.user != self.user and socket not in self.listening]
        if not accepting or others:
            return None
        process = "self" if self.network.own else self.process
        return ExpectedListener(
            accepting, process=process, network=self.network.number, unprivileged=self.unprivileged
        )

    def reach(self, port: int | None, wanted: str = "") -> tuple[Reach, tuple[str, ...]]:
        """How a port is reached, and its addresses, nearest first.

        A socket at the address `wanted` takes precedence over others of the port.
        """
        if port is None:
            return "unknown", ()
        own = self.network.own
        bound = [socket.host for socket in self.listening if socket.port == port]
        bound = bound or [socket.host for socket in self.network.sockets_of(self.user) if socket.port == port]
        if wanted in bound:  # another process may have the port at another address
            bound = [wanted]
        everywhere = procfs.ANY4 in bound or procfs.ANY6 in bound
        hosts = [*self.network.addresses] if everywhere else bound
        if own:
            # A `::` socket may be for IPv6 only.
            hosts = sorted(
                hosts,
                key=lambda host: (not procfs.loopback(host), procfs.ANY4 not in bound and ":" not in host),
            )
        else:
            hosts = [host for host in hosts if not procfs.loopback(host)]
        hosts = [host for host in dict.fromkeys(hosts) if self.listener(host, port) is not None]
        if hosts:
            return ("here" if own else "address"), tuple(hosts[:HOSTS_MAX])
        return ("loopback" if bound and not own and not everywhere else "unknown"), ()


class Networks:
    """The network namespaces of a host, read once each."""

    def __init__(self, proc: procfs.Proc) -> None:
        self._proc = proc
        self._own = proc.network("self")
        self._host = proc.network(1)
        self._read: dict[int, Network] = {}

    def network(self, pid: int) -> Network:
        """The network of a process; an empty one where it is gone."""
        number = self._proc.network(pid)
        if number is None:
            return Network()
        if number in self._read:
            return self._read[number]
        sockets = self._proc.listeners(pid)
        own = number == self._own
        if own:
            addresses = procfs.own_loopbacks()
        else:
            six = self._proc.read(pid, "net/if_inet6", procfs.ADDRESS_BYTES) or b""
            four = self._proc.read(pid, "net/fib_trie", procfs.ADDRESS_BYTES) or b""
            self._proc.failures["truncated"] += len(four) == procfs.ADDRESS_BYTES
            addresses = (*procfs.addresses4(four), *procfs.addresses6(six))
        self._read[number] = Network(number, own, own or number == self._host, sockets, addresses)
        return self._read[number]

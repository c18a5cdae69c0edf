"""Connections: accepted, bounded in number, each on a thread of its own.

A failure while one is accepted or served costs that connection only.
"""

import contextlib
import errno
import fcntl
import ipaddress
import itertools
import logging
import re
import socket
import termios
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Final

from exporter.clock import Clock
from exporter.threads import KeptThreads, start
from exporter.units import NANOSECONDS_PER_SECOND, Nanoseconds, seconds


@dataclass(frozen=True, slots=True)
class WebLimits:
    """Bounds of the HTTP server."""

    connections: int = 128
    """Connections that are served at a time."""
    backlog: int = 1024
    """Further connections that the kernel holds ready."""
    head_bytes: int = 16 * 1024
    body_bytes: int = 8 * 1024
    send_bytes: int = 128 * 1024
    """The kernel's buffer of a response."""
    pages: int = 16
    """Requests for pages that are not rendered yet: scrapes and probes have the other connections."""
    request: Nanoseconds = 10 * NANOSECONDS_PER_SECOND
    """Longest time of a request's head, again of its body, and again for the client to take the response."""
    idle: Nanoseconds = 90 * NANOSECONDS_PER_SECOND
    """Longest time between requests: a scraper with the usual interval of a minute keeps its connection."""
    admission: Nanoseconds = NANOSECONDS_PER_SECOND
    """How long a new connection waits for the end of one that was cut for it."""


HIGHEST_PORT: Final = 65535
_FORM: Final = re.compile(
    r"(?:\[(?P<six>[0-9a-fA-F:.]+(?:%\w+)?)\]|(?P<host>[^\[\]:/\s]*)):(?P<port>[0-9]{1,5})"
)
_UNKNOWN_HOST: Final = "the host is not known; choose another --web.listen-address"


class AddressError(ValueError):
    """A malformed listen address; the message has the forms that are accepted."""


class ListenError(Exception):
    """An address that cannot be listened on; the message has the reason and the remedy."""


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """A host and a port. An empty host is every address of this machine; port 0 is any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_address(text: str) -> ListenAddress:
    """Read a listen address.

    Raises:
        AddressError: not `host:port`, `[IPv6]:port` or `:port`.
    """
    match = _FORM.fullmatch(text)
    if match is None or int(match["port"]) > HIGHEST_PORT:
        raise AddressError(
            f"listen address {text!r}: expected :9844, 127.0.0.1:9844 or [::1]:9844 "
            f"(host, colon, port from 0 to {HIGHEST_PORT}; an IPv6 host in brackets)"
        )
    return ListenAddress(match["six"] or match["host"] or "", int(match["port"]))


def listen(address: ListenAddress, backlog: int) -> socket.socket:
    """Open a listening socket. An empty host takes IPv6 and IPv4 where the machine has both.

    Raises:
        ListenError: it cannot be listened on.
    """
    try:
        if not address.host and _has_ipv6():
            return _listen(socket.AF_INET6, ("::", address.port), backlog)
        if not address.host:
            return _listen(socket.AF_INET, ("0.0.0.0", address.port), backlog)  # noqa: S104  # as asked for
        family, _, _, _, name = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return _listen(family, name, backlog)
    except (OSError, UnicodeError) as error:
        raise ListenError(f"cannot listen on {address}: {_problem(address, error)}") from error


def _has_ipv6() -> bool:
    """Whether IPv6 can be bound: with IPv6 compiled in and switched off, a socket opens but does not bind."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::", 0))
    except OSError:
        return False
    return True


def _listen(family: int, name: tuple[object, ...], backlog: int) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # "::" alone is every address, IPv4 included, whatever the machine's default says.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(name[0] != "::"))
        listener.bind(name)
        listener.listen(backlog)
    except OSError:
        listener.close()
        raise
    return listener


def _problem(address: ListenAddress, error: OSError | UnicodeError) -> str:
    """The reason of a failure to listen, and what to do."""
    if isinstance(error, socket.gaierror | UnicodeError):  # of Unicode: an empty or too long label
        return _UNKNOWN_HOST
    if error.errno == errno.EADDRINUSE:
        return (
            f"the port is in use. `ss -ltnp 'sport = :{address.port}'` shows by whom; "
            "stop it or choose another --web.listen-address"
        )
    if error.errno == errno.EACCES:
        return "ports below 1024 need privileges; choose another --web.listen-address"
    if error.errno == errno.EADDRNOTAVAIL:
        return "no interface of this machine has that address; choose another --web.listen-address"
    return error.strerror or str(error)


STACK_BYTES: Final = 512 * 1024
"""Stack of a connection's thread, instead of the system's 8 MiB: 128 of them fit a container's limits."""

_KEPT_SECONDS: Final = 20.0
"""How long one thread waits for the next client: longer than from one probe of a kubelet to the next."""

_ACCEPT_RETRY: Final[Nanoseconds] = NANOSECONDS_PER_SECOND // 10
"""Wait after a failed accept: the connection stays pending, and would fail again at once."""

_WARN_AGAIN: Final[Nanoseconds] = 60 * NANOSECONDS_PER_SECOND
"""Time after which a problem that has not come back is logged again."""

_SILENT_AFTER: Final[Nanoseconds] = NANOSECONDS_PER_SECOND // 50
"""Age from which a connection whose client has sent nothing gives way first."""

_MOST_CUT: Final = 16
"""Connections that gave way and whose threads have yet to end, in addition to those served."""

_CLOSE_SECONDS: Final = 2.0
"""Longest wait for threads at the stop, for each kind."""

_BUSY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"
)

_HEAD_BYTES: Final = 16 * 1024

_LOG = logging.getLogger(__name__)


class _Connection:
    """A connection that has a place."""

    __slots__ = ("born", "has_sent", "is_cut", "network", "peer", "since", "socket")

    def __init__(self, accepted: socket.socket, peer: str, since: int, born: Nanoseconds) -> None:
        self.socket = accepted
        self.peer = peer
        self.network = network(peer)
        self.since: int | None = since
        """Orders connections by when they began to wait for their clients; `None` during a response."""
        self.born = born
        self.has_sent = False
        """Whether its client has sent something."""
        self.is_cut = False
        """Whether it gave way, and its thread has yet to end."""


class Waiting(AbstractContextManager[None]):
    """A context in which a connection waits for its client, and may lose its place; entered many times."""

    __slots__ = ("_changed", "_connection", "_order")

    def __init__(self, connection: _Connection, changed: threading.Condition, order: Iterator[int]) -> None:
        self._connection = connection
        self._changed = changed
        self._order = order

    def __enter__(self) -> None:
        with self._changed:
            self._connection.since = next(self._order)
            self._changed.notify_all()

    def __exit__(self, *_: object) -> None:
        self._connection.since = None
        self._connection.has_sent = True


class Listener:
    """Accepts connections and serves each on a daemon thread of its own, `limits.connections` at a time.

    When all places are taken, a connection that waits for its client gives up its place: first one whose
    client never sent a byte, then, of the network with most places, the one that has waited longest.
    So clients that only hold connections, slow to send or slow to read, keep no other client out; and those
    of one address close their own first.
    """

    def __init__(
        self,
        listening: socket.socket,
        serve: Callable[[socket.socket, str, Waiting], None],
        clock: Clock,
        limits: WebLimits,
    ) -> None:
        self._listening = listening
        self._serve = serve
        self._clock = clock
        self._limits = limits
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._connections: set[_Connection] = set()
        self._leaving = 0
        """Connections that gave way."""
        self._shares: Counter[str] = Counter()
        """Connections of each network, without those that gave way."""
        self._order = itertools.count()
        self._threads = KeptThreads("web-client", STACK_BYTES, last_seconds=_KEPT_SECONDS)
        self._acceptor: threading.Thread | None = None
        self._problem = ""
        self._problem_at: Nanoseconds = 0

    def start(self) -> None:
        """Begin to accept.

        Raises:
            RuntimeError: the system has no thread for it.
        """
        self._acceptor = start(self._accept, "web")

    def close(self) -> None:
        """Stop accepting, cut every connection, and wait a moment for the threads of both."""
        self._stop.set()
        _cut(self._listening)  # wakes accept(2)
        if self._acceptor is not None:
            self._acceptor.join(_CLOSE_SECONDS)
        with contextlib.suppress(OSError):
            self._listening.close()
        with self._lock:
            for connection in self._connections:
                _cut(connection.socket)
            self._changed.wait_for(lambda: not self._connections, _CLOSE_SECONDS)
        self._threads.close()

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                self._accept_one()
            except Exception as error:  # noqa: BLE001  # logged; the next connection is accepted
                if not self._stop.is_set():
                    problem, now = str(error) or type(error).__name__, self._clock.elapsed()
                    if problem != self._problem or now - self._problem_at > _WARN_AGAIN:
                        _LOG.warning("connection not accepted", extra={"problem": problem})
                    self._problem, self._problem_at = problem, now
                    self._clock.wait(self._stop, _ACCEPT_RETRY)

    def _accept_one(self) -> None:
        """Accept one connection, and serve it or answer 503.

        It is served if a place is free, or if another connection gives way in time.
        """
        accepted, peer = self._listening.accept()
        connection = _Connection(accepted, str(peer[0]), next(self._order), self._clock.elapsed())

        def is_admitted() -> bool:
            if len(self._connections) - self._leaving >= self._limits.connections and not self._evict():
                return False
            if len(self._connections) >= self._limits.connections + _MOST_CUT:
                return False
            self._connections.add(connection)
            self._shares[connection.network] += 1
            return True

        try:
            with self._lock:
                admitted = self._changed.wait_for(is_admitted, seconds(self._limits.admission))
            if admitted:
                self._threads.run(partial(self._run, connection))
            else:
                _refuse(accepted)
        except Exception:
            self._remove(connection)
            _refuse(accepted)
            raise

    def _remove(self, connection: _Connection) -> None:
        with self._lock:
            if connection in self._connections:
                self._connections.remove(connection)
                if connection.is_cut:
                    self._leaving -= 1
                else:
                    self._leave(connection.network)
            self._changed.notify_all()

    def _leave(self, network: str) -> None:
        """Count one connection less of a network, under the lock."""
        self._shares[network] -= 1
        if not self._shares[network]:
            del self._shares[network]

    def _evict(self) -> bool:
        """Cut one connection that waits for its client, under the lock; false where none waits."""
        old = self._clock.elapsed() - _SILENT_AFTER
        first: _Connection | None = None
        first_rank: tuple[bool, int, int] | None = None
        for connection in self._connections:
            since = connection.since  # once: its thread may end the wait meanwhile
            if since is None or connection.is_cut:
                continue
            if not connection.has_sent:  # read or not (tcp(7), SIOCINQ)
                with contextlib.suppress(OSError, ValueError):  # closed by its thread in between
                    connection.has_sent = any(fcntl.ioctl(connection.socket, termios.FIONREAD, bytes(4)))
            is_spared = connection.born > old or connection.has_sent
            rank = (is_spared, -self._shares[connection.network], since)
            if first_rank is None or rank < first_rank:
                first, first_rank = connection, rank
        if first is None:
            return False
        first.is_cut = True
        self._leaving += 1
        self._leave(first.network)
        _cut(first.socket)
        return True

    def _run(self, connection: _Connection) -> None:
        try:
            waiting = Waiting(connection, self._changed, self._order)
            self._serve(connection.socket, connection.peer, waiting)
        except OSError as error:
            _LOG.debug("connection failed", extra={"peer": connection.peer, "problem": str(error)})
        except Exception:  # noqa: BLE001  # logged; the connection closes, and the next one is served
            _LOG.exception("connection failed", extra={"peer": connection.peer})
        finally:
            try:
                connection.socket.close()
            except OSError as error:  # close(2) lets go of the descriptor all the same
                _LOG.debug("connection failed", extra={"peer": connection.peer, "problem": str(error)})
            self._remove(connection)


@lru_cache(maxsize=64)
def network(peer: str) -> str:
    """The network of one client: its address, or of IPv6 the /64 that a host is given."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, 64), strict=False))


def _cut(connection: socket.socket) -> None:
    """Wake the thread that reads or accepts on a socket."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _refuse(connection: socket.socket) -> None:
    with connection, contextlib.suppress(OSError):
        connection.settimeout(0)
        connection.send(_BUSY)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(_HEAD_BYTES)  # closing with the request unread would reset it, and lose the answer

"""Connections: accepted, bounded in number, each on a thread of its own.

What fails while one is accepted or served costs that connection: the next one is served.
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
from functools import partial
from typing import Final

from exporter.clock import Clock
from exporter.threads import start
from exporter.units import NANOSECONDS_PER_SECOND, Nanoseconds, seconds


@dataclass(frozen=True, slots=True)
class WebLimits:
    """Bounds of the HTTP server.

    `request` is the time from a request's first byte to the last of its head, again for its body, and again
    for the client to take the response. `idle` is how long a connection may stay open between requests;
    longer than the usual scrape interval of a minute, so that a scraper keeps its connection.
    `backlog` is how many connections the kernel holds ready; `connections` how many are served at a time,
    and `admission` how long a new one waits until one that was cut for it has ended.
    `pages` is how many requests for a page that is not made yet are served at a time: scrapes and probes have
    the others. `send_bytes` is what the kernel buffers of a response.
    """

    connections: int = 128
    backlog: int = 1024
    head_bytes: int = 16 * 1024
    body_bytes: int = 8 * 1024
    send_bytes: int = 128 * 1024
    pages: int = 16
    request: Nanoseconds = 10 * NANOSECONDS_PER_SECOND
    idle: Nanoseconds = 90 * NANOSECONDS_PER_SECOND
    admission: Nanoseconds = NANOSECONDS_PER_SECOND


HIGHEST_PORT: Final = 65535
_FORM: Final = re.compile(
    r"(?:\[(?P<six>[0-9a-fA-F:.]+(?:%\w+)?)\]|(?P<host>[^\[\]:/\s]*)):(?P<port>[0-9]{1,5})"
)
_UNKNOWN_HOST: Final = "the host is not known; choose another --web.listen-address"


class AddressError(ValueError):
    """A listen address that is none; the message says what one looks like."""


class ListenError(Exception):
    """The address cannot be listened on; the message says why and what to do."""


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
        if not address.host:
            return _listen_everywhere(address.port, backlog)
        family, _, _, _, name = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return _listen(family, name, backlog)
    except UnicodeError as error:  # a name that cannot even be asked for: an empty or too long label
        raise ListenError(f"cannot listen on {address}: {_UNKNOWN_HOST}") from error
    except OSError as error:
        raise ListenError(_why(address, error)) from error


def _listen_everywhere(port: int, backlog: int) -> socket.socket:
    if _has_ipv6():
        return _listen(socket.AF_INET6, ("::", port), backlog)
    return _listen(socket.AF_INET, ("0.0.0.0", port), backlog)  # noqa: S104  # that is what was asked for


def _has_ipv6() -> bool:
    """Whether IPv6 can be bound: where it is compiled in and switched off, the socket opens all the same."""
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


def _why(address: ListenAddress, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        reason = (
            f"the port is in use. `ss -ltnp 'sport = :{address.port}'` shows by whom; "
            "stop it or choose another --web.listen-address"
        )
    elif error.errno == errno.EACCES:
        reason = "ports below 1024 need privileges; choose another --web.listen-address"
    elif error.errno == errno.EADDRNOTAVAIL:
        reason = "no interface of this machine has that address; choose another --web.listen-address"
    elif isinstance(error, socket.gaierror):
        reason = _UNKNOWN_HOST
    else:
        reason = error.strerror or str(error)
    return f"cannot listen on {address}: {reason}"


STACK_BYTES: Final = 512 * 1024
"""Of a connection's thread, instead of the system's 8 MiB: 128 of them are to fit a container's limits."""

_PAUSE: Final = NANOSECONDS_PER_SECOND // 10
_QUIET: Final[Nanoseconds] = 60 * NANOSECONDS_PER_SECOND
"""After so long without trouble, the same trouble is told again."""

_SILENT: Final[Nanoseconds] = NANOSECONDS_PER_SECOND // 50
"""A client that has said nothing for so long after it connected gives way first."""

_CUT_MAX: Final = 16
"""Connections that gave way and whose threads have yet to end, beside those that are served."""

_FAREWELL_SECONDS: Final = 2.0
_BUSY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"
)

_HEAD_BYTES: Final = 16 * 1024

_LOG = logging.getLogger(__name__)


Waiting = Callable[[], AbstractContextManager[None]]
"""While in there, the connection waits for its client and may lose its place to a new one."""


class _Connection:
    """A connection that is served.

    `since` orders connections by when they began to wait for their clients; `None` while one is being served.
    `has_spoken`: its client has sent something. `is_cut`: it gave way, and its thread has yet to end.
    """

    __slots__ = ("born", "has_spoken", "is_cut", "network", "peer", "since", "socket")

    def __init__(self, accepted: socket.socket, peer: str, since: int, born: Nanoseconds) -> None:
        self.socket = accepted
        self.peer = peer
        self.network = network(peer)
        self.since: int | None = since
        self.born = born
        self.has_spoken = False
        self.is_cut = False


class Listener:
    """Accepts connections and serves each on a daemon thread, `limits.connections` at a time.

    When all places are taken, a connection that waits for its client gives its place up: first one whose
    client never sent a byte, then of the network that holds most places the one that has waited longest.
    So clients that only hold connections, whether they are slow to ask or slow to read, keep nobody out; and
    from one address they close their own first.
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
        self._order = itertools.count()
        self._acceptor: threading.Thread | None = None
        self._trouble = ""
        self._troubled: Nanoseconds = 0

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
            self._acceptor.join(_FAREWELL_SECONDS)
        with contextlib.suppress(OSError):
            self._listening.close()
        with self._lock:
            for connection in self._connections:
                _cut(connection.socket)
            self._changed.wait_for(lambda: not self._connections, _FAREWELL_SECONDS)

    @contextlib.contextmanager
    def _waiting(self, connection: _Connection) -> Iterator[None]:
        """While in here, a connection waits for its client and may lose its place to a new one."""
        with self._lock:
            connection.since = next(self._order)
            self._changed.notify_all()
        try:
            yield
        finally:
            connection.since = None
            connection.has_spoken = True

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                self._accept_one()
            except Exception as error:  # noqa: BLE001  # whatever it is, the next one is to be answered
                if not self._stop.is_set():
                    self._warn(str(error) or type(error).__name__)
                    self._clock.wait(self._stop, _PAUSE)  # one that stays pending would be tried at once

    def _accept_one(self) -> None:
        """Accept one connection, and see that it is served or told to come again."""
        accepted, peer = self._listening.accept()
        connection = _Connection(accepted, str(peer[0]), next(self._order), self._clock.elapsed())
        try:
            if self._admit(connection):
                start(partial(self._run, connection), "web-client", STACK_BYTES)
            else:
                _refuse(accepted)
        except Exception:
            self._remove(connection)
            _refuse(accepted)
            raise

    def _warn(self, trouble: str) -> None:
        """Once, until it is another one or has been gone for a while."""
        now = self._clock.elapsed()
        if trouble != self._trouble or now - self._troubled > _QUIET:
            _LOG.warning("connection not accepted", extra={"problem": trouble})
        self._trouble, self._troubled = trouble, now

    def _admit(self, connection: _Connection) -> bool:
        """Count it in where there is room, or another one gives way in time."""

        def admitted() -> bool:
            staying = [each for each in self._connections if not each.is_cut]
            if len(staying) >= self._limits.connections and not self._evict(staying):
                return False
            if len(self._connections) >= self._limits.connections + _CUT_MAX:
                return False
            self._connections.add(connection)
            return True

        with self._lock:
            return self._changed.wait_for(admitted, seconds(self._limits.admission))

    def _remove(self, connection: _Connection) -> None:
        with self._lock:
            self._connections.discard(connection)
            self._changed.notify_all()

    def _evict(self, staying: list[_Connection]) -> bool:
        """Cut one connection that waits for its client, under the lock; false where each is being served."""
        share = Counter(each.network for each in staying)
        old = self._clock.elapsed() - _SILENT
        waiting = [
            (each.born > old or _has_spoken(each), -share[each.network], each.since, each)
            for each in staying
            if each.since is not None
        ]
        if not waiting:
            return False
        *_, longest = min(waiting, key=lambda each: each[:3])
        longest.is_cut = True
        _cut(longest.socket)
        return True

    def _run(self, connection: _Connection) -> None:
        try:
            self._serve(connection.socket, connection.peer, partial(self._waiting, connection))
        except OSError as error:
            _LOG.debug("connection failed", extra={"peer": connection.peer, "problem": str(error)})
        except Exception:  # noqa: BLE001  # logged; the connection closes, and the next one is served
            _LOG.exception("connection failed", extra={"peer": connection.peer})
        finally:
            _close(connection)
            self._remove(connection)


def network(peer: str) -> str:
    """The address of a client as far as it is one client's: IPv6 hands out whole /64 networks."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, 64), strict=False))


def _has_spoken(connection: _Connection) -> bool:
    """Whether a client has sent anything, read or not (tcp(7), SIOCINQ)."""
    if connection.has_spoken:
        return True
    with contextlib.suppress(OSError, ValueError):  # closed by its thread in between
        return any(fcntl.ioctl(connection.socket, termios.FIONREAD, bytes(4)))
    return False


def _close(connection: _Connection) -> None:
    """Close its socket. close(2) lets go of the descriptor even where it reports an error."""
    try:
        connection.socket.close()
    except OSError as error:
        _LOG.debug("connection failed", extra={"peer": connection.peer, "problem": str(error)})


def _cut(connection: socket.socket) -> None:
    """Wake whoever reads or accepts on a socket, from another thread."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _refuse(connection: socket.socket) -> None:
    with connection, contextlib.suppress(OSError):
        connection.settimeout(0)
        connection.send(_BUSY)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(_HEAD_BYTES)  # closed with its request unread it would be reset, the answer with it

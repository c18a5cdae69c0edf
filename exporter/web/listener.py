"""Connections: accepted, bounded in number, each on a thread of its own.

A failure while one is accepted or served costs that connection only.
"""

import contextlib
import fcntl
import ipaddress
import itertools
import logging
import socket
import sys
import termios
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import lru_cache, partial
from typing import Final, NamedTuple

from exporter.clock import Clock
from exporter.threads import KeptThreads, start
from exporter.units import NANOSECONDS_PER_SECOND, Nanoseconds, seconds
from exporter.web.limits import WebLimits

STACK_BYTES: Final = 512 * 1024
"""Stack of a connection's thread, instead of the system's 8 MiB: 128 of them fit a container's limits."""

_KEPT_SECONDS: Final = 20.0
"""How long one thread waits for the next client: longer than from one probe of a kubelet to the next."""

_ACCEPT_RETRY: Final[Nanoseconds] = NANOSECONDS_PER_SECOND // 10
"""Wait after a failed accept: the connection stays pending, and would fail again at once."""

_WARN_AGAIN: Final[Nanoseconds] = 60 * NANOSECONDS_PER_SECOND
"""Time after which a problem that goes on is logged again."""

_WARNINGS_MAX: Final = 8
"""How many problems are logged in the time of `_WARN_AGAIN`."""

_SILENT_AFTER: Final[Nanoseconds] = NANOSECONDS_PER_SECOND // 50
"""Age from which a connection whose client has sent nothing gives way first."""

_CUT_MAX: Final = 16
"""How many connections that gave way may still be ending, in addition to those served."""

_CLOSE_SECONDS: Final = 2.0
"""Longest wait for threads at the stop, for each kind."""

_BUSY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"
)

_HEAD_BYTES: Final = 16 * 1024

_LOG = logging.getLogger(__name__)


class _Connection:
    """A connection that was accepted."""

    __slots__ = ("accepted_at", "has_sent", "is_cut", "network", "peer", "stream", "turn")

    def __init__(self, stream: socket.socket, peer: str, turn: int, accepted_at: Nanoseconds) -> None:
        self.stream = stream
        self.peer = peer
        """The address of the client."""
        self.network = network(peer)
        self.turn: int | None = turn
        """Its number among the connections that wait for their clients, lower for one that has waited longer;
        `None` while its client waits for a response."""
        self.accepted_at = accepted_at
        self.has_sent = False
        """Whether its client is known to have sent something."""
        self.is_cut = False
        """Whether it gave its place to another connection. Its thread has yet to end."""

    def note_sent(self) -> None:
        """Note whether the client has sent bytes that its thread has not read yet (tcp(7), SIOCINQ)."""
        if self.has_sent:
            return
        # The thread may close the stream: ValueError before the call, OSError during it.
        with contextlib.suppress(OSError, ValueError):
            unread_bytes = fcntl.ioctl(self.stream, termios.FIONREAD, bytes(4))
            self.has_sent = int.from_bytes(unread_bytes, sys.byteorder) > 0


class _PlaceClaim(NamedTuple):
    """The claim of a waiting connection to its place: the least one gives way."""

    may_speak: bool
    """Whether its client has sent something, or has had no time to."""
    minus_network_count: int
    """Number of connections of its network, with a minus: the network with most gives way."""
    turn: int
    """The same as `_Connection.turn`: the connection that has waited longest gives way."""


class Waiting(AbstractContextManager[None]):
    """A context in which a connection waits for its client, and may lose its place; entered many times."""

    __slots__ = ("_changed", "_connection", "_order")

    def __init__(self, connection: _Connection, changed: threading.Condition, order: Iterator[int]) -> None:
        self._connection = connection
        self._changed = changed
        self._order = order

    def __enter__(self) -> None:
        with self._changed:
            self._connection.turn = next(self._order)
            self._changed.notify_all()

    def __exit__(self, *_: object) -> None:
        # Without the lock: a request need not wait while another connection's place is decided.
        # A connection that is cut right now loses its request, which the client repeats.
        self._connection.turn = None
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
        """The connections with a place, and those that gave theirs away and whose threads have yet to end."""
        self._order = itertools.count()
        self._threads = KeptThreads("web-client", STACK_BYTES, last_seconds=_KEPT_SECONDS)
        self._acceptor: threading.Thread | None = None
        self._logged_problems: dict[str, Nanoseconds] = {}
        """Problems that were logged within `_WARN_AGAIN`, each with the time of its record."""

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
                _cut(connection.stream)
            self._changed.wait_for(lambda: not self._connections, _CLOSE_SECONDS)
        self._threads.close()

    def _accept(self) -> None:
        """Accept until the stop. A failed accept is logged, and tried again after `_ACCEPT_RETRY`."""
        while not self._stop.is_set():
            try:
                self._accept_one()
            except Exception as error:  # noqa: BLE001  # logged; the next connection is accepted
                if self._stop.is_set():
                    return
                self._warn(str(error) or type(error).__name__)
                self._clock.wait(self._stop, _ACCEPT_RETRY)

    def _warn(self, problem: str) -> None:
        """Log a problem once in the time of `_WARN_AGAIN`, and at most `_WARNINGS_MAX` problems in it."""
        now = self._clock.elapsed()
        logged = {text: at for text, at in self._logged_problems.items() if now - at <= _WARN_AGAIN}
        if problem not in logged and len(logged) < _WARNINGS_MAX:
            _LOG.warning("connection not accepted", extra={"problem": problem})
            logged[problem] = now
        self._logged_problems = logged

    def _accept_one(self) -> None:
        """Accept one connection, and serve it or answer 503.

        It is served if a place is free, or if another connection gives way in time.
        """
        stream, address = self._listening.accept()
        peer = str(address[0])
        # From its birth on it waits for its client: `turn` has a number.
        connection = _Connection(stream, peer, turn=next(self._order), accepted_at=self._clock.elapsed())
        take_place = partial(self._take_place, connection)  # tried again whenever a connection ends or waits
        try:
            with self._lock:
                has_place = self._changed.wait_for(take_place, seconds(self._limits.admission))
            if has_place:
                self._threads.run(partial(self._run, connection))
            else:
                _refuse(stream)
        except Exception:
            self._remove(connection)
            _refuse(stream)
            raise

    def _take_place(self, connection: _Connection) -> bool:
        """Give a connection a place, under the lock. Returns whether a place could be had.

        Where all places are taken, another connection that waits for its client is cut, unless as many as
        `_CUT_MAX` are still ending. At the stop there are no places.
        """
        if self._stop.is_set():
            return False
        served = [other for other in self._connections if not other.is_cut]
        if len(served) >= self._limits.connections:
            ending = len(self._connections) - len(served)
            first = None if ending >= _CUT_MAX else self._first_to_give_way(served)
            if first is None:
                return False
            first.is_cut = True
            _cut(first.stream)
        self._connections.add(connection)
        return True

    def _first_to_give_way(self, served: list[_Connection]) -> _Connection | None:
        """The connection that is cut for another one; `None` where no connection waits for its client."""
        by_network = Counter(connection.network for connection in served)
        silent_before = self._clock.elapsed() - _SILENT_AFTER
        claims: dict[_Connection, _PlaceClaim] = {}
        for connection in served:
            turn = connection.turn  # read once: its thread may end the wait meanwhile
            if turn is not None:
                connection.note_sent()
                may_speak = connection.has_sent or connection.accepted_at > silent_before
                claims[connection] = _PlaceClaim(may_speak, -by_network[connection.network], turn)
        return min(claims, key=claims.__getitem__, default=None)

    def _remove(self, connection: _Connection) -> None:
        """Free the place of a connection, if it has one."""
        with self._lock:
            self._connections.discard(connection)
            self._changed.notify_all()

    def _run(self, connection: _Connection) -> None:
        """Serve a connection in this thread, and free its place."""
        try:
            waiting = Waiting(connection, self._changed, self._order)
            self._serve(connection.stream, connection.peer, waiting)
        except OSError as error:
            _LOG.debug("connection failed", extra={"peer": connection.peer, "problem": str(error)})
        except Exception:  # noqa: BLE001  # logged; the connection closes, and the next one is served
            _LOG.exception("connection failed", extra={"peer": connection.peer})
        finally:
            try:
                connection.stream.close()
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
    """Answer 503 without waiting for the client, and close."""
    with connection, contextlib.suppress(OSError):
        connection.settimeout(0)
        connection.send(_BUSY)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(_HEAD_BYTES)  # closing with the request unread would reset it, and lose the answer

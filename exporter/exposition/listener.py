"""Connections: accepted, bounded in number, each on a thread of its own.

Whatever runs out, memory or threads or descriptors, costs the connections of that moment: who waits is told
to come again or is cut off at once, and the next one is served.
"""

import contextlib
import fcntl
import ipaddress
import itertools
import logging
import socket
import termios
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Final

from exporter.clock import Clock
from exporter.exposition.limits import Limits
from exporter.threads import NoThreadError, Started, start
from exporter.units import NANOSECONDS_PER_SECOND, Nanoseconds, seconds

STACK_BYTES: Final = 512 * 1024
"""Of a connection's thread, instead of the system's 8 MiB: 128 of them are to fit a container's limits."""

_PAUSE: Final = NANOSECONDS_PER_SECOND // 10
_QUIET: Final[Nanoseconds] = 60 * NANOSECONDS_PER_SECOND
"""After so long without trouble, the same trouble is told again."""

_SILENT: Final[Nanoseconds] = NANOSECONDS_PER_SECOND // 50
"""A client that has said nothing for so long after it connected gives way first."""

_LEAVING: Final = 16
"""Connections that were cut and whose threads have yet to end, beside those that are served."""

_FAREWELL_SECONDS: Final = 2.0
_BUSY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"
)

_HEAD_BYTES: Final = 16 * 1024

_LOG = logging.getLogger(__name__)


Waiting = Callable[[], AbstractContextManager[None]]
"""While in there, the connection waits for its client and may lose its place to a new one."""


class _Place:
    """A connection that is served. Its thread alone holds it: where that cannot begin, it is gone.

    `since` orders connections by when they began to wait for their clients; `None` while one is being served.
    `heard`: its client has sent something. `leaving`: it was cut, and its thread has yet to end.
    """

    __slots__ = ("__weakref__", "born", "connection", "ended", "heard", "leaving", "network", "peer", "since")

    def __init__(self, connection: socket.socket, peer: str, since: int, born: Nanoseconds) -> None:
        self.connection = connection
        self.peer = peer
        self.network = network(peer)
        self.since: int | None = since
        self.born = born
        self.heard = False
        self.leaving = False
        self.ended = False


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
        limits: Limits,
    ) -> None:
        self._listening = listening
        self._serve = serve
        self._clock = clock
        self._limits = limits
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._places: list[weakref.ref[_Place]] = []
        self._order = itertools.count()
        self._acceptor: Started | None = None
        self._accepting = False
        self._trouble = ""
        self._troubled: Nanoseconds = 0

    def start(self) -> None:
        """Begin to accept.

        Raises:
            NoThreadError: there is no thread for it.
        """
        self._accepting = True
        self._acceptor = start(self._accept, "web")

    def revive(self) -> None:
        """Accept again, should the acceptor have come to its end: it may have begun without memory.

        Raises:
            NoThreadError: there is no thread for it.
        """
        if self._acceptor is not None and not self._acceptor.alive and not self._stop.is_set():
            self.start()

    def close(self) -> None:
        """Stop accepting, cut every connection, and wait a moment for their threads."""
        self._stop.set()
        _cut(self._listening)  # wakes accept(2)
        with self._lock:
            self._changed.wait_for(lambda: not self._accepts(), _FAREWELL_SECONDS)
        self._listening.close()
        with self._lock:
            for place in self._taken():
                _cut(place.connection)
            self._changed.wait_for(lambda: not self._taken(), _FAREWELL_SECONDS)

    @contextlib.contextmanager
    def _waiting(self, place: _Place) -> Iterator[None]:
        """While in here, a connection waits for its client and may lose its place to a new one."""
        with self._lock:
            place.since = next(self._order)
            self._changed.notify_all()
        try:
            yield
        finally:
            place.since = None
            place.heard = True

    def _accept(self) -> None:
        while True:
            try:
                if self._stop.is_set():
                    break
                self._accept_one()
            except Exception as error:  # noqa: BLE001  # whatever it is, the next one is to be answered
                self._hold_on(error)
        with self._lock:
            self._accepting = False
            self._changed.notify_all()

    def _accepts(self) -> bool:
        return self._accepting and self._acceptor is not None and self._acceptor.alive

    def _accept_one(self) -> None:
        """Accept one connection, and see that it is served or told to come again."""
        connection, peer = self._listening.accept()
        try:
            place = _Place(connection, str(peer[0]), next(self._order), self._clock.elapsed())
            if self._take(place):
                self._begin(place)
            else:
                _refuse(connection)
        except Exception:
            _refuse(connection)
            raise

    def _hold_on(self, error: Exception) -> None:
        """Tell of trouble, and wait a moment: a connection that stays pending would be tried at once."""
        try:
            if not self._stop.is_set():
                self._tell(f"cannot accept a connection: {str(error) or type(error).__name__}")
                self._clock.wait(self._stop, _PAUSE)
        except Exception:  # noqa: BLE001  # no memory to tell of it: a moment later there may be
            return

    def _tell(self, trouble: str) -> None:
        """Once, until it is another one or has been gone for a while."""
        now = self._clock.elapsed()
        if trouble != self._trouble or now - self._troubled > _QUIET:
            _LOG.warning("%s", trouble)
        self._trouble, self._troubled = trouble, now

    def _take(self, place: _Place) -> bool:
        def taken() -> bool:
            held = self._taken()
            staying = [each for each in held if not each.leaving]
            if len(staying) >= self._limits.connections and not self._evict(staying):
                return False
            if len(held) >= self._limits.connections + _LEAVING:
                return False
            self._places.append(weakref.ref(place))
            return True

        with self._lock:
            return self._changed.wait_for(taken, seconds(self._limits.place))

    def _evict(self, staying: list[_Place]) -> bool:
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
        longest.leaving = True
        _cut(longest.connection)
        return True

    def _taken(self) -> list[_Place]:
        """The places whose connections are served, under the lock. One whose thread died is not."""
        held = [(reference, place) for reference in self._places if (place := reference()) is not None]
        self._places = [reference for reference, place in held if not place.ended]
        return [place for _, place in held if not place.ended]

    def _begin(self, place: _Place) -> None:
        try:
            start(lambda: self._run(place), "web-client", STACK_BYTES)
        except (NoThreadError, MemoryError) as error:
            place.ended = True
            _refuse(place.connection)
            self._tell(f"cannot start a thread for a connection: {str(error) or 'out of memory'}")

    def _run(self, place: _Place) -> None:
        try:
            self._serve(place.connection, place.peer, partial(self._waiting, place))
        except OSError as error:
            _LOG.debug("connection from %s: %s", place.peer, error)
        except MemoryError:
            self._tell("a connection was given up: out of memory")
        except Exception:  # noqa: BLE001  # logged; a thread has nobody else to tell
            _LOG.exception("connection from %s", place.peer)
        finally:
            place.ended = True
            place.connection.close()
            with self._lock:
                self._changed.notify_all()


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


def _has_spoken(place: _Place) -> bool:
    """Whether a client has sent anything, read or not (tcp(7), SIOCINQ)."""
    if place.heard:
        return True
    with contextlib.suppress(OSError, ValueError):  # closed by its thread in between
        return any(fcntl.ioctl(place.connection, termios.FIONREAD, bytes(4)))
    return False


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

"""Connections: accepted, bounded in number, each on a thread of its own."""

import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Final

from exporter.clock import Clock
from exporter.exposition.limits import Limits
from exporter.units import NANOSECONDS_PER_SECOND, seconds

STACK_BYTES: Final = 512 * 1024
"""Of a connection's thread, instead of the system's 8 MiB: 128 of them are to fit a container's limits."""

_PAUSE: Final = NANOSECONDS_PER_SECOND // 10
_FAREWELL_SECONDS: Final = 2.0
_BUSY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"
)

_LOG = logging.getLogger(__name__)


class Listener:
    """Accepts connections and serves each on a daemon thread, `limits.connections` at a time.

    When all places are taken, the connection that has waited longest between requests gives its place up:
    clients that only hold connections cannot keep a scraper out.
    """

    def __init__(
        self,
        listening: socket.socket,
        serve: Callable[[socket.socket, object], None],
        clock: Clock,
        limits: Limits,
    ) -> None:
        self._listening = listening
        self._serve = serve
        self._clock = clock
        self._limits = limits
        self._stop = threading.Event()
        self._places = threading.BoundedSemaphore(limits.connections)
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._threads: dict[socket.socket, threading.Thread] = {}
        self._waiting: dict[socket.socket, None] = {}
        self._acceptor = threading.Thread(target=self._accept, name="web", daemon=True)

    def start(self) -> None:
        """Begin to accept."""
        self._acceptor.start()

    def close(self) -> None:
        """Stop accepting, cut every connection, and wait a moment for their threads."""
        self._stop.set()
        _cut(self._listening)  # wakes accept(2)
        if self._acceptor.ident is not None:
            self._acceptor.join(_FAREWELL_SECONDS)
        self._listening.close()
        with self._lock:
            threads = list(self._threads.values())
            for connection in self._threads:
                _cut(connection)
        for thread in threads:
            thread.join(_FAREWELL_SECONDS)

    @contextlib.contextmanager
    def waiting(self, connection: socket.socket) -> Iterator[None]:
        """While in here, a connection has no whole request and may lose its place to a new one."""
        with self._changed:
            self._waiting[connection] = None
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._lock:
                self._waiting.pop(connection, None)

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                connection, peer = self._listening.accept()
            except OSError as error:
                if not self._stop.is_set():
                    # Mostly out of file descriptors: the connection stays pending and would be tried at once.
                    _LOG.warning("cannot accept a connection: %s", error)
                    self._clock.wait(self._stop, _PAUSE)
                continue
            if self._take_place():
                self._start(connection, peer)
            else:
                _refuse(connection)

    def _take_place(self) -> bool:
        asked: list[socket.socket] = []

        def place() -> bool:
            if self._places.acquire(blocking=False):
                return True
            longest = next(iter(self._waiting), None)
            if longest is not None and not asked:
                asked.append(longest)
                del self._waiting[longest]
                _cut(longest)
            return False

        with self._changed:
            return self._changed.wait_for(place, seconds(self._limits.place))

    def _start(self, connection: socket.socket, peer: object) -> None:
        thread = threading.Thread(target=self._run, args=(connection, peer), name="web-client", daemon=True)
        with self._lock:
            self._threads[connection] = thread
        before = threading.stack_size(STACK_BYTES)
        try:
            thread.start()
        except RuntimeError as error:
            _LOG.warning("cannot start a thread for a connection: %s", error)
            self._let_go(connection)
        finally:
            threading.stack_size(before)

    def _run(self, connection: socket.socket, peer: object) -> None:
        try:
            self._serve(connection, peer)
        except OSError as error:
            _LOG.debug("connection from %s: %s", peer, error)
        except Exception:  # noqa: BLE001  # logged; a thread has nobody else to tell
            _LOG.exception("connection from %s", peer)
        finally:
            self._let_go(connection)

    def _let_go(self, connection: socket.socket) -> None:
        with self._changed:
            self._threads.pop(connection, None)
            connection.close()
            self._places.release()
            self._changed.notify_all()


def _cut(connection: socket.socket) -> None:
    """Wake whoever reads or accepts on a socket, from another thread."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _refuse(connection: socket.socket) -> None:
    with connection, contextlib.suppress(OSError):
        connection.settimeout(0)
        connection.send(_BUSY)

"""Clients that mean harm, by the hundred: each kind is slow in another part of its request."""

import contextlib
import resource
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from typing import Final, Self

KINDS: Final = {
    "silent": b"",
    "slow head": b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-slow: ",
    "slow body": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 8000\r\n\r\n",
    "slow body of a reload": b"POST /-/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 8000\r\n\r\n",
    "reads no scrape": b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 20,
    "reads no page": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 20,
}
"""What each sends at first."""

DRIPS: Final = frozenset({"slow head", "slow body", "slow body of a reload"})
"""Kinds that send a byte now and then after it."""

GREEDY: Final = frozenset({"reads no scrape", "reads no page"})
"""Kinds that read nothing."""

PATHS: Final = ("/-/healthy", "/metrics", "/-/ready")
"""What probes and scrapers ask for."""

_PAUSE_SECONDS: Final = 0.25


class Crowd:
    """So many sockets of one kind; one that the server closes is opened again at the next round."""

    def __init__(self, kind: str, size: int, port: int, host: str = "127.0.0.1") -> None:
        self._kind = kind
        self._size = size
        self._address = host, port
        self._sockets: set[socket.socket] = set()
        self._selector = selectors.DefaultSelector()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.rounds = 0
        self.opened = 0

    def __enter__(self) -> Self:
        self._thread.start()
        while self.rounds < 1 and self._thread.is_alive():
            self._stop.wait(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)
        for client in self._sockets:
            client.close()
        self._selector.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            for client in list(self._sockets):
                if self._kind in DRIPS:
                    self._send(client, b"x")
                elif self._kind in GREEDY:
                    self._send(client, b"\r\n")
            for key, _ in self._selector.select(0):
                if self._kind not in GREEDY and isinstance(key.fileobj, socket.socket):
                    self._look(key.fileobj)
            while len(self._sockets) < self._size and not self._stop.is_set():
                self._open()
            self.rounds += 1
            self._stop.wait(_PAUSE_SECONDS)

    def _open(self) -> None:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(5)
        try:
            client.connect(self._address)
        except OSError:
            client.close()
            return
        client.setblocking(False)
        self._sockets.add(client)
        self._selector.register(client, selectors.EVENT_READ)
        self.opened += 1
        self._send(client, KINDS[self._kind])

    def _look(self, client: socket.socket) -> None:
        try:
            gone = not client.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            gone = True
        if gone:
            self._forget(client)

    def _send(self, client: socket.socket, sent: bytes) -> None:
        if not sent:
            return
        try:
            client.send(sent)
        except BlockingIOError:
            return
        except OSError:
            self._forget(client)

    def _forget(self, client: socket.socket) -> None:
        self._selector.unregister(client)
        self._sockets.discard(client)
        client.close()


def seconds_to_answer(port: int, path: str, seconds: float) -> float | None:
    """How long one request on a connection of its own took, in seconds; `None` where it was not answered."""
    began = time.monotonic()
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=seconds) as client:
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: client.recv(65536), b""))
    except OSError:
        return None
    return time.monotonic() - began if answer.startswith(b"HTTP/1.1 200 ") else None


def answered_within(seconds: float, port: int, times: int) -> int:
    """How many of so many probes and scrapes, one after the other, are answered in time."""
    paths = (PATHS[number % len(PATHS)] for number in range(times))
    taken = [seconds_to_answer(port, path, max(5, seconds)) for path in paths]
    return sum(each is not None and each <= seconds for each in taken)


@contextlib.contextmanager
def descriptors(most: int) -> Iterator[None]:
    """Room for so many sockets in this process."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], min(most, before[1])), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)

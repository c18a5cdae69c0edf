"""HTTP on one connection: requests in, bounded; answers out, whole."""

import contextlib
import http.client
import logging
import socket
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, Final

from exporter.clock import Clock
from exporter.exposition.limits import Limits
from exporter.exposition.reading import BoundedReader
from exporter.units import NANOSECONDS_PER_SECOND, seconds

PLAIN: Final = "text/plain; charset=utf-8"

_DRAIN_BYTES: Final = 1024 * 1024

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked. `path` is without the query; header names are lower case, values joined by commas.

    `peer` is the address that it came from, `encrypted` whether by TLS.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    peer: str = ""
    encrypted: bool = False


@dataclass(frozen=True, slots=True)
class Response:
    """What is answered."""

    status: HTTPStatus
    body: bytes
    content_type: str = PLAIN
    headers: Mapping[str, str] = field(default_factory=dict)


def plain(status: HTTPStatus, text: str, **headers: str) -> Response:
    """An answer for people, one line or more."""
    return Response(status, f"{text}\n".encode(errors="replace"), headers=headers)


Answer = Callable[[Request], Response]
Waiting = Callable[[], AbstractContextManager[None]]
"""While in there, a connection has no whole request and may lose its place to a new one."""


class Conversation(BaseHTTPRequestHandler):
    """The standard library's reading of requests, within bounds; its answers and its log are not used."""

    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.1"
    server_version = "inference-cost-exporter"

    def __init__(
        self,
        connection: socket.socket,
        peer: Any,
        answer: Answer,
        waiting: Waiting,
        clock: Clock,
        limits: Limits,
        *,
        encrypted: bool,
    ) -> None:
        self._answer = answer
        self._waiting = waiting
        self._clock = clock
        self._limits = limits
        self._encrypted = encrypted
        self._reader = BoundedReader(connection, clock)
        self._begun = False
        self._refused = False
        self._answering = False
        # The parent's constructor holds the whole conversation; of its server it only keeps a reference.
        super().__init__(connection, peer, None)  # type: ignore[arg-type]

    def setup(self) -> None:
        """Read through the bounded reader; answers go to the socket, whole."""
        self.connection = self.request
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.rfile = self._reader  # type: ignore[assignment]  # lines are all that is read of it

    def finish(self) -> None:
        """Let a refused client read why: closing with its bytes unread would reset the connection."""
        if self._refused:
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_WR)
                self._reader.drain(_DRAIN_BYTES, min(self._limits.request, NANOSECONDS_PER_SECOND))

    def handle_one_request(self) -> None:
        """Read a request and answer it."""
        self.close_connection = True
        self.command = ""
        self._begun = self._answering = False
        try:
            with self._waiting():
                whole = self._read_head()
            request = self._request() if whole else None
            if request is not None:
                self._send(self._answered(request))
        except TimeoutError:
            self.close_connection = True
            if self._begun:
                self._refuse(HTTPStatus.REQUEST_TIMEOUT, "the request did not arrive in time")
        except http.client.LineTooLong:
            self._refuse(HTTPStatus.REQUEST_URI_TOO_LONG, "the request line is too long")
        except MemoryError:
            if self._answering:
                raise
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "out of memory; come again")

    def _read_head(self) -> bool:
        if not self._reader.wait(self._limits.idle):
            return False
        self._begun = True
        self._reader.bound(self._limits.head_bytes, self._limits.request)
        self.raw_requestline = self._reader.readline()
        if self.raw_requestline in (
            b"\r\n",
            b"\n",
        ):  # RFC 9112 2.2: an empty line before a request is skipped
            self.raw_requestline = self._reader.readline()
        return bool(self.raw_requestline) and self.parse_request()

    def _request(self) -> Request | None:
        """The request, its body read and dropped; `None` when that was refused."""
        headers: dict[str, str] = {}
        for name, value in self.headers.items():
            key = name.lower()
            headers[key] = f"{headers[key]},{value}" if key in headers else value
        size = headers.get("content-length", "0")
        if "transfer-encoding" in headers or not (size.isascii() and size.isdigit()):
            self._refuse(HTTPStatus.BAD_REQUEST, "a body needs one Content-Length")
            return None
        if len(size) > 9 or int(size) > self._limits.body_bytes:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is too large")
            return None
        self._reader.read(int(size))
        self._begun = False
        path = self.path.partition("?")[0]
        return Request(self.command, path, headers, str(self.client_address[0]), self._encrypted)

    def _answered(self, request: Request) -> Response:
        try:
            return self._answer(request)
        except MemoryError:
            raise  # its trace would take more
        except Exception:  # noqa: BLE001  # logged, and the connection goes on
            _LOG.exception("%s %s", request.method, request.path)
            return plain(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error; the log says more")

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        self.close_connection = self._refused = True
        self._send(plain(status, text))

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the parent says of a request that it cannot read."""
        del explain
        status = HTTPStatus(code)
        self._refuse(status, message or status.phrase)

    def handle_expect_100(self) -> bool:
        """Ask for the body that the client announced; its bounds are checked when it is read."""
        self.connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        return True

    def _send(self, response: Response) -> None:
        headers = {
            "Server": self.server_version,
            "Date": self.date_time_string(),
            "Content-Type": response.content_type,
            "Content-Length": str(len(response.body)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Connection": "close" if self.close_connection else "keep-alive",
            **response.headers,
        }
        lines = [f"HTTP/1.1 {response.status.value} {response.status.phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join([*lines, "", ""]).encode("latin-1", errors="replace")
        self._hand_over(head if self.command == "HEAD" else head + response.body)

    def _hand_over(self, answer: bytes) -> None:
        """Send all of it in the time that a request has: a client that does not read is cut off too.

        TLS gives each record of 16 KiB the whole timeout, so that `sendall` would not do.
        """
        deadline = self._clock.elapsed() + self._limits.request
        left = memoryview(answer)
        self._answering = True
        while left:
            time = deadline - self._clock.elapsed()
            if time <= 0:
                raise TimeoutError
            self.connection.settimeout(seconds(time))
            left = left[self.connection.send(left) :]

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the parent's name
        """Requests are not logged: a scrape every few seconds would be most of the log."""

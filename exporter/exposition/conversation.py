"""HTTP on one connection: bounded requests in, whole responses out.

Whatever waits for the client (a head, a body, room in its receive window) has a deadline, and gives way to a
new connection when all places are taken.
"""

import contextlib
import fcntl
import logging
import select
import socket
import sys
import termios
from email.utils import formatdate
from http import HTTPStatus
from typing import Final, Protocol

from exporter.clock import Clock
from exporter.exposition.limits import Limits
from exporter.exposition.listener import Waiting
from exporter.exposition.reading import BoundedReader, TooLongError
from exporter.exposition.request import (
    MOST_FIELDS,
    Request,
    RequestError,
    Response,
    parse,
    plain,
    request_line,
)
from exporter.units import NANOSECONDS_PER_SECOND, seconds

SERVER: Final = "inference-cost-exporter"

_DRAIN_BYTES: Final = 1024 * 1024
_JOINED_BYTES: Final = 16 * 1024
"""Bodies up to this size are sent with their head in one piece; larger ones are not copied for it."""

_POLL_MILLISECONDS: Final = 20

_LOG = logging.getLogger(__name__)


class Service(Protocol):
    """What a server answers."""

    def admit(self, request: Request) -> Response | None:
        """The refusal of a request whose body has not been read yet; `None` for one that is answered."""
        ...

    def answer(self, request: Request) -> Response:
        """The response to a request that was admitted."""
        ...


class Conversation:
    """The requests of one connection, one after the other."""

    def __init__(
        self,
        connection: socket.socket,
        peer: str,
        service: Service,
        waiting: Waiting,
        clock: Clock,
        limits: Limits,
        *,
        encrypted: bool,
    ) -> None:
        self._connection = connection
        self._peer = peer
        self._service = service
        self._waiting = waiting
        self._clock = clock
        self._limits = limits
        self._encrypted = encrypted
        self._reader = BoundedReader(connection, clock)
        self._keep_alive = True
        self._began = False
        self._sending = False
        self._refused = False
        self._answered_before = False

    def run(self) -> None:
        """Serve until either side closes.

        Raises:
            OSError: the client is gone, or did not take a response in time.
        """
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while self._keep_alive:
            self._keep_alive = self._began = self._sending = False
            try:
                self._exchange()
            except TimeoutError:
                self._keep_alive = False
                if self._began and not self._sending:
                    self._refuse(HTTPStatus.REQUEST_TIMEOUT, "the request did not arrive in time")
            except MemoryError:
                if self._sending:
                    raise
                self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "out of memory; come again")
        if self._refused:
            self._linger()

    def _exchange(self) -> None:
        """Read one request and answer it; after a refusal the connection closes where a body is unread."""
        try:
            with self._waiting():
                if not self._reader.wait(self._limits.idle):
                    return
            with self._waiting():
                request = self._read_head()
                if request is None or not self._has_taken():
                    return
            if (refusal := self._admitted(request)) is not None:
                self._refused = request.length > 0
                self._keep_alive = request.keep_alive and not self._refused
                self._send(refusal, request.method)
                return
            with self._waiting():
                whole = self._read_body(request)
            if whole:
                self._began = False
                self._keep_alive = request.keep_alive
                self._send(self._answered(request), request.method)
        except RequestError as error:
            self._refuse(error.status, str(error))

    def _has_taken(self) -> bool:
        """Wait until the client has taken the responses before this one; false when it is gone.

        A request that comes after a response acknowledges it. One that was sent ahead by a client that does
        not read would have the kernel buffer one response after the other.

        Raises:
            TimeoutError: it did not in time.
        """
        if not self._answered_before:
            return True
        ends = select.poll()
        ends.register(self._connection, 0)  # an end of the connection is told in any case
        deadline = self._clock.elapsed() + self._limits.request
        while _unacknowledged(self._connection):
            if self._clock.elapsed() >= deadline:
                self._sending = True  # what it does not take needs no answer
                raise TimeoutError
            if ends.poll(_POLL_MILLISECONDS):
                return False
        return True

    def _read_head(self) -> Request | None:
        """The request; `None` when the client has closed before its end."""
        self._began = True
        self._reader.bound(self._limits.head_bytes, self._limits.request)
        try:
            line = self._line()
            if line == b"":  # RFC 9112 2.2: an empty line before a request is skipped
                line = self._line()
        except TooLongError:
            raise RequestError(HTTPStatus.REQUEST_URI_TOO_LONG, "the request line is too long") from None
        if line is None:
            return None
        request_line(line)  # one that is malformed is refused before anything else is waited for
        fields: list[bytes] = []
        try:
            while (field := self._line()) and len(fields) <= MOST_FIELDS:
                fields.append(field)
        except TooLongError:
            field = b"more"
        if field is None:
            return None
        if field:
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            raise RequestError(status, "the header fields are too many or too long")
        return parse(line, fields, peer=self._peer, encrypted=self._encrypted)

    def _line(self) -> bytes | None:
        """The next line without its end; `None` when the client has closed before it."""
        line = self._reader.readline()
        if not line.endswith(b"\n"):
            return None
        return line[:-2] if line.endswith(b"\r\n") else line[:-1]

    def _read_body(self, request: Request) -> bool:
        """Read and drop a body; false when the client has closed before its end."""
        if request.length > self._limits.body_bytes:
            raise RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is too large")
        if request.length == 0:
            return True
        self._reader.bound(request.length, self._limits.request)
        if request.headers.get("expect", "").lower() == "100-continue":
            self._hand_over(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._sending = False
        return len(self._reader.read(request.length)) == request.length

    def _admitted(self, request: Request) -> Response | None:
        try:
            return self._service.admit(request)
        except MemoryError:
            raise  # its trace would take more
        except Exception:  # noqa: BLE001  # logged, and nothing is answered that may not be
            return _failed(request)

    def _answered(self, request: Request) -> Response:
        try:
            return self._service.answer(request)
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001  # logged, and the connection goes on
            return _failed(request)

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        self._keep_alive = False
        self._refused = True
        self._send(plain(status, text), "")

    def _send(self, response: Response, method: str) -> None:
        headers = {
            "Server": SERVER,
            "Date": formatdate(self._clock.wall() / NANOSECONDS_PER_SECOND, usegmt=True),
            "Content-Type": response.content_type,
            "Content-Length": str(len(response.body)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Connection": "keep-alive" if self._keep_alive else "close",
            **response.headers,
        }
        lines = [f"HTTP/1.1 {response.status.value} {response.status.phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join([*lines, "", ""]).encode("latin-1", errors="replace")
        body = b"" if method == "HEAD" else response.body
        with self._waiting():
            if len(body) <= _JOINED_BYTES:
                self._hand_over(head + body)
            else:
                self._hand_over(head, body)
        self._answered_before = True

    def _hand_over(self, *pieces: bytes) -> None:
        """Send all of it in the time that a request has: a client that does not read is cut off too.

        TLS gives each record of 16 KiB the whole timeout, so that `sendall` would not do.
        """
        deadline = self._clock.elapsed() + self._limits.request
        self._sending = True
        for piece in pieces:
            left = memoryview(piece)
            while left:
                time = deadline - self._clock.elapsed()
                if time <= 0:
                    raise TimeoutError
                self._connection.settimeout(seconds(time))
                left = left[self._connection.send(left) :]

    def _linger(self) -> None:
        """Let a refused client read why: closing with its bytes unread would reset the connection."""
        with contextlib.suppress(OSError), self._waiting():
            self._connection.shutdown(socket.SHUT_WR)
            self._reader.drain(_DRAIN_BYTES, min(self._limits.request, NANOSECONDS_PER_SECOND))


def _unacknowledged(connection: socket.socket) -> int:
    """Bytes that the peer has not acknowledged (tcp(7), SIOCOUTQ)."""
    return int.from_bytes(fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


def _failed(request: Request) -> Response:
    """500, with the reason in the log: for whoever operates it, not for whoever asks."""
    _LOG.exception("%s %s", request.method, request.path)
    return plain(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error; the log says more")

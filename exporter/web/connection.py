"""HTTP on one connection: bounded requests in, whole responses out.

Each wait for the client (for a head, a body, room in its receive window) has a deadline. Meanwhile the
connection gives way to a new one when all places are taken.
"""

import contextlib
import fcntl
import logging
import re
import select
import socket
import termios
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import Final, Protocol, TypeVar

from exporter.clock import Clock
from exporter.units import NANOSECONDS_PER_SECOND, Nanoseconds, seconds
from exporter.web.limits import WebLimits
from exporter.web.listener import Waiting

PLAIN: Final = "text/plain; charset=utf-8"

MOST_FIELDS: Final = 100
"""Header fields of one request."""

OPEN: Final = frozenset({"/-/healthy", "/-/ready"})
"""Paths without authentication or a check of the host, for the kubelet's probes. They have no figures."""

_LENGTH_DIGITS: Final = 9

_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_LINE: Final = re.compile(rb"(%b) ([!-~\x80-\xff]+) HTTP/(\d)\.(\d)" % _TOKEN)
_FIELD: Final = re.compile(rb"(%b):[ \t]*([\t -~\x80-\xff]*?)[ \t]*" % _TOKEN)
_ABSOLUTE: Final = re.compile(r"https?://(?P<authority>[^/?]+)(?P<path>[^?]*)(?:\?.*)?", re.IGNORECASE)
_HOST: Final = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%!$&'()*+,;=-]*)(?::[0-9]{0,5})?")


class RequestError(Exception):
    """A malformed request; `status` and the message are the response."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Request:
    """A request without its body."""

    method: str
    path: str
    """The path without the query."""
    headers: Mapping[str, str]
    """Values by name in lower case; those of one name are joined by commas."""
    peer: str = ""
    """The client's address."""
    encrypted: bool = False
    """Whether the request came by TLS."""
    host: str = ""
    """The name or address of the Host header without its port, in lower case; empty without one."""
    length: int = 0
    """The bytes of the body."""
    keep_alive: bool = False
    """Whether the connection stays open after the response."""


@dataclass(frozen=True, slots=True)
class Response:
    """A response, whole."""

    status: HTTPStatus
    body: bytes
    content_type: str = PLAIN
    headers: Mapping[str, str] = field(default_factory=dict)
    refused: str = ""
    """The reason of a refusal, as the metric names it; empty for none."""


def plain(status: HTTPStatus, text: str, *, refused: str = "", **headers: str) -> Response:
    """A response in plain text."""
    return Response(status, f"{text}\n".encode(errors="replace"), headers=headers, refused=refused)


def later(text: str, reason: str) -> Response:
    """429: the client may try again in a second."""
    return plain(HTTPStatus.TOO_MANY_REQUESTS, text, refused=reason, **{"Retry-After": "1"})


def request_line(line: bytes) -> tuple[str, str, tuple[int, int]]:
    """Method, target and version of a request line without its end.

    Raises:
        RequestError: it is malformed, or of another version than HTTP/1.
    """
    match = _LINE.fullmatch(line)
    if match is None:
        raise RequestError(HTTPStatus.BAD_REQUEST, "the request line is malformed")
    method, target, major, minor = match.groups()
    if int(major) != 1:
        raise RequestError(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "use HTTP/1.1")
    return method.decode("ascii"), target.decode("latin-1"), (int(major), int(minor))


def parse(line: bytes, fields: Sequence[bytes], *, peer: str = "", encrypted: bool = False) -> Request:
    """A request from its lines, without their ends and without the empty one.

    A field that is malformed, folded or has a space before its colon refuses the whole request: a proxy in
    front may read it differently.

    Raises:
        RequestError: it is malformed, lacks the Host of HTTP/1.1, or its body has no bound.
    """
    method, target, version = request_line(line)
    headers: dict[str, str] = {}
    hosts = 0
    for line_of_field in fields:
        match = _FIELD.fullmatch(line_of_field)
        if match is None:
            raise RequestError(HTTPStatus.BAD_REQUEST, "a header field is malformed")
        key, value = match[1].decode("ascii").lower(), match[2].decode("latin-1")
        hosts += key == "host"
        headers[key] = f"{headers[key]},{value}" if key in headers else value
    if hosts > 1 or (version >= (1, 1) and not hosts):
        raise RequestError(HTTPStatus.BAD_REQUEST, "a request needs one Host")
    path = target.partition("?")[0]
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is not None:  # as to a proxy: its host counts, not that of the header (RFC 9112, 3.2.2)
        headers["host"], path = absolute["authority"], absolute["path"] or "/"
    host = _HOST.fullmatch(headers.get("host", ""))
    if host is None:
        raise RequestError(HTTPStatus.BAD_REQUEST, "the Host is malformed")
    size = headers.get("content-length", "0")
    if "transfer-encoding" in headers or not (size.isascii() and size.isdigit()):
        raise RequestError(HTTPStatus.BAD_REQUEST, "a body needs one Content-Length")
    if len(size) > _LENGTH_DIGITS:
        raise RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is too large")
    options = {option.strip().lower() for option in headers.get("connection", "").split(",")}
    return Request(
        method,
        path,
        headers,
        peer=peer,
        encrypted=encrypted,
        host=host["name"].lower(),
        length=int(size),
        keep_alive=version >= (1, 1) and "close" not in options,
    )


_CHUNK: Final = 4096


class TooLongError(Exception):
    """A head with more bytes than are allowed."""


class BoundedReader:
    """Reads a connection line by line.

    The deadline is of a whole request, not of each packet: a client that sends a byte now and then is cut
    off like one that sends nothing.
    """

    def __init__(self, connection: socket.socket, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._buffer = bytearray()
        self._left = 0
        self._deadline: Nanoseconds = 0

    def wait(self, duration: Nanoseconds) -> bool:
        """Wait for the first byte of a request; false when the client has closed.

        Raises:
            TimeoutError: none arrived in time.
        """
        self.bound(_CHUNK, duration)
        return bool(self._buffer) or self._fill()

    def bound(self, size: int, duration: Nanoseconds) -> None:
        """Set the bound of the next reads: bytes, and time from now."""
        self._left = size
        self._deadline = self._clock.elapsed() + duration

    def readline(self) -> bytes:
        """Read up to a line feed; less when the client has closed.

        Raises:
            TooLongError: more bytes than are allowed.
            TimeoutError: not in time.
        """
        allowed = self._left
        while (end := self._buffer.find(b"\n")) < 0 and len(self._buffer) <= allowed:
            if not self._fill():
                end = len(self._buffer) - 1
                break
        if end >= allowed or (end < 0 and self._buffer):
            raise TooLongError
        return self._take(end + 1)

    def read(self, size: int) -> bytes:
        """Read so many bytes; less when the client has closed.

        Raises:
            TimeoutError: not in time.
        """
        while len(self._buffer) < size and self._fill():
            pass
        return self._take(min(size, len(self._buffer)))

    def drain(self, size: int, duration: Nanoseconds) -> None:
        """Read and drop the rest, up to a size.

        Raises:
            TimeoutError: the client has not closed in time.
        """
        self.bound(size, duration)
        while self._left > 0 and self._fill():
            self._take(len(self._buffer))

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._left -= size
        return taken

    def _fill(self) -> bool:
        left = self._deadline - self._clock.elapsed()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(seconds(left))
        chunk = self._connection.recv(_CHUNK)
        self._buffer += chunk
        return bool(chunk)


SERVER: Final = "inference-cost-exporter"

_DRAIN_BYTES: Final = 1024 * 1024
_JOINED_BYTES: Final = 16 * 1024
"""Bodies up to this size are sent with their head in one piece; larger ones are not copied for it."""

_POLL_MILLISECONDS: Final = 20
_LONGEST_POLL_MILLISECONDS: Final = 640
"""Each look is twice as late as the one before: a crowd that reads nothing would have 6,400 a second."""

_LOG = logging.getLogger(__name__)


Answer = TypeVar("Answer")


class RequestHandler(Protocol):
    """Responds to requests."""

    def admit(self, request: Request) -> Response | None:
        """The refusal of a request whose body is not read yet; `None` if it is served."""
        ...

    def respond(self, request: Request) -> Response:
        """The response to an admitted request."""
        ...


class HttpConnection:
    """Serves the requests of one connection, one after the other."""

    def __init__(
        self,
        connection: socket.socket,
        peer: str,
        service: RequestHandler,
        waiting: Waiting,
        clock: Clock,
        limits: WebLimits,
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
        self._has_responded = False

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
        if self._refused:
            # Closing with unread bytes would reset the connection before the client has read the response.
            with contextlib.suppress(OSError), self._waiting:
                self._connection.shutdown(socket.SHUT_WR)
                self._reader.drain(_DRAIN_BYTES, min(self._limits.request, NANOSECONDS_PER_SECOND))

    def _exchange(self) -> None:
        """Read one request and send its response. A refusal with an unread body closes the connection."""
        try:
            with self._waiting:
                if not self._reader.wait(self._limits.idle):
                    return
            with self._waiting:
                request = self._read_head()
                if request is None or not self._is_read():
                    return
            rejection = self._answered(self._service.admit, request)
            if rejection is not None:
                self._refused = request.length > 0
                self._keep_alive = request.keep_alive and not self._refused
                self._send(rejection, request.method)
                return
            if request.length > self._limits.body_bytes:
                self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is too large")
                return
            if request.length:  # the body is read and dropped
                with self._waiting:
                    self._reader.bound(request.length, self._limits.request)
                    if request.headers.get("expect", "").lower() == "100-continue":
                        self._hand_over(b"HTTP/1.1 100 Continue\r\n\r\n")
                        self._sending = False
                    if len(self._reader.read(request.length)) < request.length:
                        return
            self._began = False
            self._keep_alive = request.keep_alive
            self._send(self._answered(self._service.respond, request), request.method)
        except RequestError as error:
            self._refuse(error.status, str(error))

    def _is_read(self) -> bool:
        """Wait until the client has received the earlier responses; false when it is gone.

        A client that sends requests ahead and reads nothing would have the kernel buffer one response after
        the other.

        Raises:
            TimeoutError: it did not in time.
        """
        if not self._has_responded:
            return True
        ends = select.poll()
        ends.register(self._connection, 0)  # the end of the connection is reported in any case
        deadline = self._clock.elapsed() + self._limits.request
        pause = _POLL_MILLISECONDS
        # Bytes that the peer has not acknowledged (tcp(7), SIOCOUTQ).
        while any(fcntl.ioctl(self._connection, termios.TIOCOUTQ, bytes(4))):
            if self._clock.elapsed() >= deadline:
                self._sending = True  # a client that does not read gets no 408
                raise TimeoutError
            if ends.poll(pause):
                return False
            pause = min(2 * pause, _LONGEST_POLL_MILLISECONDS)
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
        request_line(line)  # refuses a malformed one before it waits for the fields
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

    def _answered(self, step: Callable[[Request], Answer], request: Request) -> Answer | Response:
        """What a step of the service answers; 500 where it fails: the connection goes on."""
        try:
            return step(request)
        except Exception:  # noqa: BLE001  # a request that cannot be checked is not served
            _LOG.exception("request failed", extra={"method": request.method, "path": request.path})
            return plain(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error; the log says more")

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        self._keep_alive = False
        self._refused = True
        self._send(plain(status, text), "")

    def _send(self, response: Response, method: str) -> None:
        headers = {
            "Server": SERVER,
            "Date": formatdate(self._clock.wall() // NANOSECONDS_PER_SECOND, usegmt=True),
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
        with self._waiting:
            if len(body) <= _JOINED_BYTES:
                self._hand_over(head + body)
            else:
                self._hand_over(head, body)
        self._has_responded = True

    def _hand_over(self, *pieces: bytes) -> None:
        """Send all of it within the deadline of a request: a client that does not read is cut off too.

        Not `sendall`: over TLS each record of 16 KiB would have the whole timeout.
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

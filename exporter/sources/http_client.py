"""HTTP client for untrusted servers: one deadline, bounded bytes, no redirects.

httptools parses the responses, as in uvicorn, in C. The sessions, proxies and TLS of httpx take 7 MiB of
memory, and more CPU than the read itself; `https_client` loads it at the first https request.
"""

import ipaddress
import re
import socket
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import SplitResult, urlsplit

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from exporter.clock import Clock
from exporter.readings import FailureReason, Peer, ReadFailedError
from exporter.sources.processes.listener import ExpectedListener, loopback_address
from exporter.units import Nanoseconds, nanoseconds, seconds
from exporter.version import VERSION

RATIO_MAX: Final = 100
"""Largest expansion of a body. Pages of engines expand 8 to 27 times, a bomb up to 1,032 times."""

RATIO_FREE: Final = 1 << 20
"""Bytes up to which a body may expand any number of times."""

PIECE_BYTES: Final = 1 << 16
"""Most that is expanded at a time."""


def expanded(received: Iterable[bytes], subject: str, limit: int) -> Iterator[bytes]:
    """The pieces of one gzip member, of which at most `limit` bytes are received.

    The caller bounds the expanded bytes: each piece is expanded on demand.
    `subject` names the server in errors.

    Raises:
        ReadFailedError: `encoding`, it is no gzip or not one whole member; `too_large`.
    """
    inflation = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    taken = made = 0
    for chunk in received:
        taken += len(chunk)
        if taken > limit:
            raise ReadFailedError(FailureReason.TOO_LARGE, f"{subject}: larger than {limit} bytes of gzip")
        rest = chunk
        while rest:
            try:
                piece = inflation.decompress(rest, PIECE_BYTES)
            except zlib.error as failure:
                raise ReadFailedError(FailureReason.ENCODING, f"{subject}: not gzip: {failure}") from failure
            if inflation.unused_data:
                raise ReadFailedError(FailureReason.ENCODING, f"{subject}: more after the end of its gzip")
            made += len(piece)
            if made > RATIO_FREE and made > RATIO_MAX * taken:
                raise ReadFailedError(
                    FailureReason.TOO_LARGE,
                    f"{subject}: gzip that expands to more than {RATIO_MAX} times its size",
                )
            rest = inflation.unconsumed_tail
            if piece:
                yield piece
    if not inflation.eof:
        raise ReadFailedError(FailureReason.ENCODING, f"{subject}: its gzip ends too early")


GZIP: Final = ("gzip", "x-gzip")
"""Encodings that a proxy may apply unasked. Requests do not ask for them: they would cost a server CPU."""


HEADERS: Final = {
    # Some servers write `_` for `:` when asked for OpenMetrics, and none refuses the classic text format.
    "Accept": "text/plain;version=0.0.4",
    "Accept-Encoding": "identity",
    # Servers close idle connections before the next tick; a connection each is cheaper than the race.
    "Connection": "close",
    "User-Agent": f"inference-cost-exporter/{VERSION}",
}
"""Headers of each request that has no others."""


def peer_of(server: tuple[Any, ...], client: tuple[Any, ...]) -> Peer:
    """The peer of a connection, by the addresses of both ends; a host connects to its own address from there.

    An IPv6 address may have a scope, as in `fe80::1%eth0`, which is none of its digits.
    """
    host, own = (str(address[0]).partition("%")[0] for address in (server, client))
    return Peer(host, int(server[1]), host == own or ipaddress.ip_address(host).is_loopback)


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A status, a body and its headers, names in lower case. Of a status other than 200 no body is read.

    `peer` is where it is from, `None` if unknown.
    """

    status: int
    body: bytes
    headers: Mapping[str, str]
    peer: Peer | None = field(default=None, compare=False)


class Deadline:
    """Time left for one read, of all its requests together."""

    def __init__(self, clock: Clock, timeout: float) -> None:
        self._clock = clock
        self._timeout = timeout
        self._end: Nanoseconds = clock.elapsed() + nanoseconds(timeout)

    def left(self) -> float:
        """Seconds left.

        Raises:
            ReadFailedError: `timeout`, none are.
        """
        left = self._end - self._clock.elapsed()
        if left <= 0:
            raise ReadFailedError(FailureReason.TIMEOUT, f"no whole answer within {self._timeout:g} s")
        return seconds(left)


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request without a body. `subject` names its server in errors."""

    url: str
    headers: Mapping[str, str]
    subject: str
    method: str = "GET"
    server_name: str = ""
    """The name that the certificate is verified for, in place of the address of the request."""
    listener: ExpectedListener | None = None
    """Who may get it, where that is known: the connection is checked before a byte is sent."""

    def judged(self) -> "HttpRequest":
        """It, with what is known of its listener before a connection."""
        if self.listener is None:
            return self
        parts = urlsplit(self.url)
        port = parts.port or PORTS[parts.scheme]
        return replace(self, listener=self.listener.judged(parts.hostname or "", port))

    def check(self, connection: socket.socket) -> None:
        """Check who is at the other end of a new connection.

        Raises:
            ReadFailedError: `not_listening`, somebody else than the `listener`.
        """
        fault = "" if self.listener is None else self.listener.fault(connection)
        if fault:
            raise ReadFailedError(FailureReason.NOT_LISTENING, f"{self.subject}: {fault}")


class CertificateError(ReadFailedError):
    """`tls`: a certificate that is not trusted, or, where `of_another` is true, that is for another name."""

    def __init__(self, message: str, *, of_another: bool) -> None:
        super().__init__(FailureReason.TLS, message)
        self.of_another = of_another


class HttpClientProtocol(Protocol):
    """Sends one request at a time: `HttpClient` by plain HTTP, `HttpsClient` by TLS."""

    def request(self, request: HttpRequest, deadline: Deadline, limit: int) -> HttpResponse:
        """Send one request, and read a body of at most `limit` bytes, expanded where it is gzip.

        Raises:
            ReadFailedError: `connection`, `not_listening`, `timeout`, `tls`, `redirect`, `encoding`,
                `too_large`.
        """
        ...

    def close(self) -> None:
        """Close open connections. Idempotent."""
        ...


def read_response(
    request: HttpRequest,
    response: HttpResponse,
    *,
    pieces: Iterable[bytes],
    deadline: Deadline,
    limit: int,
) -> HttpResponse:
    """The response with its body of these pieces, within the bounds of `HttpClientProtocol.request`.

    Raises:
        ReadFailedError: `timeout`, `redirect`, `encoding`, `too_large`; and whatever its pieces raise.
    """
    subject = request.subject
    status = response.status
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        raise ReadFailedError(FailureReason.REDIRECT, f"{subject}: answers with HTTP status {status}")
    if status != HTTPStatus.OK:
        return response
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding in GZIP:
        pieces = expanded(pieces, subject, limit)
    elif encoding not in ("", "identity"):
        raise ReadFailedError(
            FailureReason.ENCODING, f"{subject}: content encoding {encoding[:32]!r} was not asked for"
        )
    body = bytearray()  # pieces may be of a byte each
    for piece in pieces:
        if len(body) + len(piece) > limit:
            raise ReadFailedError(FailureReason.TOO_LARGE, f"{subject}: larger than {limit} bytes")
        body += piece
        deadline.left()
    return replace(response, body=bytes(body))


PORT: Final = 80
PORTS: Final = {"http": PORT, "https": 443}

READ_BYTES: Final = 63 * 1024
"""Most that is received at a time: just below what the C library takes from the kernel and gives back."""

HEAD_BYTES_MAX: Final = 100 * 1024
"""Longest status line and headers together, as httpx bounds them; so are the lines between chunks."""

NO_BODY: Final = (("Content-Length", "0"),)
"""Header of other methods than GET, since no request has a body."""


FRAMING: Final = frozenset({"content-length", "transfer-encoding"})
"""Headers of a body that has an end of its own."""


PERHAPS_TLS: Final = "if it speaks TLS, try https://"


class ProtocolError(Exception):
    """A response that is no HTTP, or not whole."""


class HttpClient:
    """Requests http URLs. Nothing stays between requests: no connections, no cookies."""

    def request(self, request: HttpRequest, deadline: Deadline, limit: int) -> HttpResponse:
        """As `HttpClientProtocol.request`; `tls`: the URL is https."""
        subject, reader, request = request.subject, _ResponseReader(), request.judged()
        step = "ConnectTimeout"
        try:
            parts = urlsplit(request.url)
            if parts.scheme != "http":
                raise ReadFailedError(FailureReason.TLS, f"{subject}: is not asked without TLS")
            host, port = parts.hostname, parts.port or PORT
            if host == "localhost":
                users = frozenset() if request.listener is None else request.listener.users
                host = loopback_address(port, users)
                if not host:
                    problem = f"{subject}: two users listen, at 127.0.0.1 and at ::1: write the address"
                    raise ReadFailedError(FailureReason.NOT_LISTENING, problem)
            with socket.create_connection((host, port), deadline.left()) as connection:
                request.check(connection)
                peer = peer_of(connection.getpeername(), connection.getsockname())
                step = "ReadTimeout"
                connection.settimeout(deadline.left())
                connection.sendall(_head(request, parts))
                reader.read_head(connection, connection.recv(READ_BYTES), deadline)
                # The deadline bounds each receive, so that a slow sender cannot keep the connection.
                response = HttpResponse(reader.status, b"", reader.headers, peer)
                pieces = reader.body(connection, deadline)
                return read_response(request, response, pieces=pieces, deadline=deadline, limit=limit)
        except _FAILURES as failure:
            timed_out = isinstance(failure, TimeoutError)
            reason = FailureReason.TIMEOUT if timed_out else FailureReason.CONNECTION
            raise ReadFailedError(reason, f"{subject}: {step if timed_out else failure}") from failure
        finally:
            reader.close()

    def close(self) -> None:
        """Nothing is open between requests."""


_FAILURES: Final = (OSError, UnicodeError, ProtocolError)
"""What a request may raise; the second one is of an invalid host name."""


_FIELD_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FIELD_VALUE: Final = re.compile(r"[\t -~\x80-\xff]*")
_TARGET: Final = re.compile(r"[!-~]+")


def _head(request: HttpRequest, parts: SplitResult) -> bytes:
    """The head of a request (RFC 9112): no part of it ends its line.

    Raises:
        ProtocolError: one would.
    """
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not _TARGET.fullmatch(path):
        raise ProtocolError("the path of the URL is not printable ASCII without spaces")
    lines = [f"{request.method} {path} HTTP/1.1"]
    length = () if request.method == "GET" else NO_BODY
    for name, value in (("Host", authority(parts)), *request.headers.items(), *length):
        if not _FIELD_NAME.fullmatch(name) or not _FIELD_VALUE.fullmatch(value):
            raise ProtocolError(f"the value of the header {name[:32]!r} cannot be sent")
        lines.append(f"{name}: {value}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


class _ResponseReader:
    """Reads one response from a connection, passing over those before it (status 1xx).

    The parser calls the methods that begin with `on_`.
    """

    __slots__ = ("_body", "_complete", "_lines", "_parser", "headers", "status")

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._complete = False
        self._lines = 0
        self._parser: HttpResponseParser | None = HttpResponseParser(self)

    def close(self) -> None:
        """Let go of the parser: both refer to each other."""
        self._parser = None

    def on_header(self, raw_name: bytes, raw_value: bytes) -> None:
        """Join the values of a name; a field after the body is no header."""
        if not self.status:
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1").strip()
            self.headers[name] = f"{self.headers[name]}, {value}" if name in self.headers else value

    def on_headers_complete(self) -> None:
        """Take the status; forget the headers of an interim response."""
        status = 0 if self._parser is None else self._parser.get_status_code()
        if self.status:
            return
        if status < HTTPStatus.OK:
            self.headers = {}
        else:
            self.status = status

    def on_body(self, piece: bytes) -> None:
        """Add to the body; what comes after it is ignored."""
        if not self._complete:
            self._body.append(piece)

    def on_message_complete(self) -> None:
        """Note the end, unless it is that of an interim response."""
        self._complete = bool(self.status)

    def read_head(self, connection: socket.socket, received: bytes, deadline: Deadline) -> None:
        """Take status and headers, which begin with `received`.

        Raises:
            ProtocolError: it is no HTTP, or its head is too long.
            OSError, ReadFailedError: it could not be received in time.
        """
        # A TLS server closes a plain request's connection, or sends an alert that is no HTTP.
        try:
            while received:
                self._feed(received)
                if self.status:
                    return
                received = self._receive(connection, deadline)
        except ProtocolError as failure:
            raise ProtocolError(f"no HTTP: {failure}; {PERHAPS_TLS}") from failure
        raise ProtocolError(f"Server disconnected without sending a response; {PERHAPS_TLS}")

    def body(self, connection: socket.socket, deadline: Deadline) -> Iterator[bytes]:
        """The body as it comes, by its length, in chunks, or until the connection is closed.

        Raises:
            ProtocolError: it is not whole, or malformed.
            OSError, ReadFailedError: it could not be received in time.
        """
        size = 0
        while True:
            piece, self._body = b"".join(self._body), []
            size += len(piece)
            if piece:
                yield piece
            if self._complete:
                return
            received = self._receive(connection, deadline)
            if not received:
                break
            self._feed(received)
        if not self.headers.keys().isdisjoint(FRAMING):
            expected = self.headers.get("content-length", "more")
            raise ProtocolError(
                "peer closed connection without sending complete message body "
                f"(received {size} bytes, expected {expected})"
            )

    @staticmethod
    def _receive(connection: socket.socket, deadline: Deadline) -> bytes:
        connection.settimeout(deadline.left())
        return connection.recv(READ_BYTES)

    def _feed(self, received: bytes) -> None:
        if self._parser is None:
            return
        try:
            self._parser.feed_data(received)
        except (HttpParserError, HttpParserUpgrade) as failure:
            if not self._complete:  # else of what comes after it
                raise ProtocolError(str(failure)) from failure
        self._lines = 0 if self._body else self._lines + len(received)
        if self._lines > HEAD_BYTES_MAX:
            raise ProtocolError(f"more than {HEAD_BYTES_MAX} bytes without any of the body")


def authority(parts: SplitResult) -> str:
    """The header Host, with the port unless that is HTTP's own."""
    host = parts.hostname or ""
    named = f"[{host}]" if ":" in host else host
    return named if parts.port in (None, PORT) else f"{named}:{parts.port}"


def shared_client() -> HttpClientProtocol:
    """The client that all http endpoints share. It sends no https requests."""
    return HttpClient()


def secure_client(ca_file: Path | None) -> HttpClientProtocol:
    """A client for one https endpoint, which trusts the authorities of `ca_file`, else the public ones.

    Raises:
        ReadFailedError: `tls`, the file cannot be used.
    """
    from exporter.sources import https_client  # noqa: PLC0415 - see above

    return https_client.trusting(ca_file)


def unverified_client() -> HttpClientProtocol:
    """A client that takes any certificate: only for an address of this host."""
    from exporter.sources import https_client  # noqa: PLC0415 - see above

    return https_client.unverified()

"""HTTP client for untrusted servers: one deadline, bounded bytes, no redirects.

h11 parses the responses, as in httpx. The sessions, proxies and TLS of httpx take 7 MiB of memory, and more
CPU than the read itself; `https_client` loads it at the first https request.
"""

import ipaddress
import socket
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field, replace
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import SplitResult, urlsplit

import h11

from exporter.clock import Clock
from exporter.frozen import dataclass
from exporter.readings import FailureReason, Peer, ReadFailedError
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


class CertificateError(ReadFailedError):
    """`tls`: a certificate that is not trusted, or, where `of_another` is true, that is for another name."""

    def __init__(self, message: str, *, of_another: bool) -> None:
        super().__init__(FailureReason.TLS, message)
        self.of_another = of_another


Sink = Callable[[bytes], None]
"""Takes a body piece by piece, so that it is never in memory as a whole."""


class HttpClientProtocol(Protocol):
    """Sends one request at a time: `HttpClient` by plain HTTP, `HttpsClient` by TLS."""

    def request(
        self, request: HttpRequest, deadline: Deadline, limit: int, sink: Sink | None = None
    ) -> HttpResponse:
        """Send one request, and read a body of at most `limit` bytes, expanded where it is gzip.

        With a `sink`, the body goes there and the response has none.

        Raises:
            ReadFailedError: `connection`, `timeout`, `tls`, `redirect`, `encoding`, `too_large`.
        """
        ...

    def close(self) -> None:
        """Close open connections. Idempotent."""
        ...


@dataclass(frozen=True, slots=True)
class HttpStream:
    """Status and headers of a response, and its body as it comes."""

    status: int
    headers: Mapping[str, str]
    pieces: Iterable[bytes]


def read_response(
    request: HttpRequest, response: HttpStream, deadline: Deadline, limit: int, sink: Sink | None
) -> HttpResponse:
    """The response with its body, within the bounds of `HttpClientProtocol.request`.

    Raises:
        ReadFailedError: `timeout`, `redirect`, `encoding`, `too_large`; and whatever its pieces raise.
    """
    status = response.status
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        raise ReadFailedError(FailureReason.REDIRECT, f"{request.subject}: answers with HTTP status {status}")
    body = b""
    if status == HTTPStatus.OK:
        body = _body(response, request.subject, deadline, limit, sink)
    return HttpResponse(status, body, response.headers)


def _body(response: HttpStream, subject: str, deadline: Deadline, limit: int, sink: Sink | None) -> bytes:
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    pieces = response.pieces
    if encoding in GZIP:
        pieces = expanded(pieces, subject, limit)
    elif encoding not in ("", "identity"):
        raise ReadFailedError(
            FailureReason.ENCODING, f"{subject}: content encoding {encoding[:32]!r} was not asked for"
        )
    body, size = bytearray(), 0
    take = body.extend if sink is None else sink
    for piece in pieces:
        size += len(piece)
        if size > limit:
            raise ReadFailedError(FailureReason.TOO_LARGE, f"{subject}: larger than {limit} bytes")
        take(piece)
        deadline.left()
    return bytes(body)


PORT: Final = 80

READ_BYTES: Final = 63 * 1024
"""Most that is received at a time: just below what the C library takes from the kernel and gives back."""

HEAD_BYTES_MAX: Final = 100 * 1024
"""Longest status line and headers together, as httpx bounds them."""


REQUESTS_CACHED: Final = 512
"""Requests that are kept: h11 takes half as long to check one as to read its response."""

NO_BODY: Final = (("Content-Length", "0"),)
"""Header of other methods than GET, since no request has a body."""


class HttpClient:
    """Requests http URLs. Nothing stays between requests: no connections, no cookies."""

    def request(
        self, request: HttpRequest, deadline: Deadline, limit: int, sink: Sink | None = None
    ) -> HttpResponse:
        """As `HttpClientProtocol.request`; `tls`: the URL is https.

        The deadline bounds each receive, so that a slow sender cannot keep the connection.
        """
        parts, subject = urlsplit(request.url), request.subject
        if parts.scheme != "http":
            raise ReadFailedError(FailureReason.TLS, f"{subject}: is not asked without TLS")
        address, step = (parts.hostname, parts.port or PORT), "ConnectTimeout"
        wire = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES_MAX)
        try:
            with socket.create_connection(address, deadline.left()) as connection:
                peer = peer_of(connection.getpeername(), connection.getsockname())
                step = "ReadTimeout"
                sent = _request_bytes(wire, request, parts)
                connection.settimeout(deadline.left())
                connection.sendall(sent)
                connection.settimeout(deadline.left())
                received = connection.recv(READ_BYTES)
                stream = _response(connection, wire, received, deadline)
                return replace(read_response(request, stream, deadline, limit, sink), peer=peer)
        except TimeoutError as failure:
            raise ReadFailedError(FailureReason.TIMEOUT, f"{subject}: {step}") from failure
        except (OSError, UnicodeError, h11.ProtocolError) as failure:  # the second: an invalid host name
            raise ReadFailedError(FailureReason.CONNECTION, f"{subject}: {failure}") from failure

    def close(self) -> None:
        """Nothing is open between requests."""


def _request_bytes(wire: h11.Connection, request: HttpRequest, parts: SplitResult) -> bytes:
    headers = tuple(request.headers.items())
    # One without a secret is the same at each tick, and kept.
    cacheable = request.method == "GET" and request.headers.keys() == HEADERS.keys()
    head = (_cached_head if cacheable else _head)(request.method, parts, headers)
    return (wire.send(head) or b"") + (wire.send(h11.EndOfMessage()) or b"")


def _head(method: str, parts: SplitResult, headers: tuple[tuple[str, str], ...]) -> h11.Request:
    return h11.Request(
        method=method,
        target=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        headers=[("Host", authority(parts)), *headers, *(() if method == "GET" else NO_BODY)],
    )


_cached_head: Final = lru_cache(maxsize=REQUESTS_CACHED)(_head)


def _response(
    connection: socket.socket, wire: h11.Connection, received: bytes, deadline: Deadline
) -> HttpStream:
    """The status and headers that begin with `received`, and the body as it comes."""
    try:
        _feed(wire, received)
        while isinstance(head := _next_event(connection, wire, deadline), h11.InformationalResponse):
            pass
    except h11.RemoteProtocolError as failure:
        # A TLS server closes a plain request's connection, or sends an alert that is no HTTP.
        problem = f"{failure}".removesuffix(".")
        raise h11.RemoteProtocolError(f"{problem}; if it speaks TLS, try https://") from failure
    if not isinstance(head, h11.Response):
        raise h11.RemoteProtocolError("Server disconnected without sending a response.")
    headers: dict[str, str] = {}
    for raw_name, raw_value in head.headers:
        name, value = raw_name.decode("ascii"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return HttpStream(head.status_code, headers, _body_pieces(connection, wire, deadline))


def _body_pieces(connection: socket.socket, wire: h11.Connection, deadline: Deadline) -> Iterator[bytes]:
    while isinstance(event := _next_event(connection, wire, deadline), h11.Data):
        yield event.data


def _next_event(
    connection: socket.socket, wire: h11.Connection, deadline: Deadline
) -> h11.Event | type[h11.NEED_DATA | h11.PAUSED]:
    while (event := wire.next_event()) is h11.NEED_DATA:
        connection.settimeout(deadline.left())
        _feed(wire, connection.recv(READ_BYTES))
    return event


def _feed(wire: h11.Connection, received: bytes) -> None:
    if not received and wire.their_state is h11.SEND_RESPONSE:
        raise h11.RemoteProtocolError("Server disconnected without sending a response.")
    wire.receive_data(received)


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

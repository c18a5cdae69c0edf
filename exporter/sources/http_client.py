"""HTTP client for untrusted servers: one deadline, bounded bytes, no redirects."""

import socket
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import SplitResult, urlsplit

import h11

from exporter import __version__
from exporter.clock import Clock
from exporter.readings import ReadFailedError
from exporter.units import Nanoseconds, nanoseconds, seconds

RATIO_MAX: Final = 100
"""How far a body may expand. Pages of engines expand 8 to 27 times, a bomb up to 1,032 times."""

RATIO_FREE: Final = 1 << 20
"""Bytes up to which a body may expand any number of times."""

PIECE_BYTES: Final = 1 << 16
"""Most that is expanded at a time."""


def expanded(received: Iterable[bytes], subject: str, limit: int) -> Iterator[bytes]:
    """The pieces of one gzip member, of which at most `limit` bytes are received.

    How many bytes come out is for the caller to bound: a piece is made once it is asked for.
    `subject` is how errors name who is asked.

    Raises:
        ReadFailedError: `encoding`, it is no gzip or not one whole member; `too_large`.
    """
    inflation = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    taken = made = 0
    for chunk in received:
        taken += len(chunk)
        if taken > limit:
            raise ReadFailedError("too_large", f"{subject}: larger than {limit} bytes of gzip")
        rest = chunk
        while rest:
            try:
                piece = inflation.decompress(rest, PIECE_BYTES)
            except zlib.error as failure:
                raise ReadFailedError("encoding", f"{subject}: not gzip: {failure}") from failure
            if inflation.unused_data:
                raise ReadFailedError("encoding", f"{subject}: more after the end of its gzip")
            made += len(piece)
            if made > RATIO_FREE and made > RATIO_MAX * taken:
                raise ReadFailedError(
                    "too_large", f"{subject}: gzip that expands to more than {RATIO_MAX} times its size"
                )
            rest = inflation.unconsumed_tail
            if piece:
                yield piece
    if not inflation.eof:
        raise ReadFailedError("encoding", f"{subject}: its gzip ends too early")


GZIP: Final = ("gzip", "x-gzip")
"""What a proxy may make of a body whether asked or not. Nobody asks for it: it would cost a server CPU."""


HEADERS: Final = {
    # Some servers write `_` for `:` when asked for OpenMetrics, and none refuses the classic text format.
    "Accept": "text/plain;version=0.0.4",
    "Accept-Encoding": "identity",
    # Servers close idle connections before the next tick; a connection each is cheaper than the race.
    "Connection": "close",
    "User-Agent": f"inference-cost-exporter/{__version__}",
}
"""What each request says, unless it asks for something else."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A status, a body and its headers, names in lower case. Of a status other than 200 no body is read."""

    status: int
    body: bytes
    headers: Mapping[str, str]


class Deadline:
    """What is left of the time for one read, however many requests it takes."""

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
            raise ReadFailedError("timeout", f"no whole answer within {self._timeout:g} s")
        return seconds(left)


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What is asked. `subject` is how errors name who is asked."""

    url: str
    headers: Mapping[str, str]
    subject: str
    method: str = "GET"
    server_name: str = ""
    """The name that the certificate is verified for, in place of the address that is asked."""


class CertificateError(ReadFailedError):
    """`tls`: a certificate that is not trusted, or, where `of_another` is true, that is for another name."""

    def __init__(self, message: str, *, of_another: bool) -> None:
        super().__init__("tls", message)
        self.of_another = of_another


Sink = Callable[[bytes], None]
"""Takes a body piece by piece, so that nobody has to hold all of it."""


class HttpClientProtocol(Protocol):
    """Asks servers: by plain HTTP (`plain`), or by whatever httpx can (`secure`)."""

    def ask(
        self, request: HttpRequest, deadline: Deadline, limit: int, sink: Sink | None = None
    ) -> HttpResponse:
        """Ask once, and read a body of at most `limit` bytes, expanded where it is gzip.

        Where it goes into a `sink`, the answer has none.

        Raises:
            ReadFailedError: `connection`, `timeout`, `tls`, `redirect`, `encoding`, `too_large`.
        """
        ...

    def close(self) -> None:
        """Let go of what is held between requests. Idempotent."""
        ...


@dataclass(frozen=True, slots=True)
class HttpStream:
    """What has come when the headers have, and the body as it comes."""

    status: int
    headers: Mapping[str, str]
    pieces: Iterable[bytes]


def answered(
    request: HttpRequest, response: HttpStream, deadline: Deadline, limit: int, sink: Sink | None
) -> HttpResponse:
    """The answer that a response makes, within the bounds of `Client.ask`.

    Raises:
        ReadFailedError: `timeout`, `redirect`, `encoding`, `too_large`; and whatever its pieces raise.
    """
    status = response.status
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        raise ReadFailedError("redirect", f"{request.subject}: answers with HTTP status {status}")
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
        raise ReadFailedError("encoding", f"{subject}: content encoding {encoding[:32]!r} was not asked for")
    body, size = bytearray(), 0
    take = body.extend if sink is None else sink
    for piece in pieces:
        size += len(piece)
        if size > limit:
            raise ReadFailedError("too_large", f"{subject}: larger than {limit} bytes")
        take(piece)
        deadline.left()
    return bytes(body)


PORT: Final = 80

READ_BYTES: Final = 63 * 1024
"""Most that is received at a time: just below what the C library takes from the kernel and gives back."""

HEAD_BYTES_MAX: Final = 100 * 1024
"""Longest status line and headers together, as httpx bounds them."""


NO_BODY: Final = (("Content-Length", "0"),)
"""What other methods than GET say, since none of ours brings a body."""


class HttpClient:
    """Asks http URLs. Nothing is held between requests: neither connections nor cookies."""

    def ask(
        self, request: HttpRequest, deadline: Deadline, limit: int, sink: Sink | None = None
    ) -> HttpResponse:
        """As `Client.ask`; `tls` means that an https URL was given."""
        parts, subject = urlsplit(request.url), request.subject
        if parts.scheme != "http":
            raise ReadFailedError("tls", f"{subject}: is not asked without TLS")
        try:
            with _connected(parts, deadline, subject) as connection:
                conversation = _HttpExchange(connection, deadline)
                conversation.send(request, parts)
                return answered(request, conversation.response(), deadline, limit, sink)
        except TimeoutError as failure:
            raise ReadFailedError("timeout", f"{subject}: ReadTimeout") from failure
        except (OSError, UnicodeError, h11.ProtocolError) as failure:  # the second: a host that is no name
            raise ReadFailedError("connection", f"{subject}: {failure}") from failure

    def close(self) -> None:
        """Nothing is held."""


def _connected(parts: SplitResult, deadline: Deadline, subject: str) -> socket.socket:
    try:
        return socket.create_connection((parts.hostname, parts.port or PORT), deadline.left())
    except TimeoutError as failure:
        raise ReadFailedError("timeout", f"{subject}: ConnectTimeout") from failure


class _HttpExchange:
    """One request and its answer. The deadline bounds each receive: a byte now and then keeps none alive."""

    def __init__(self, connection: socket.socket, deadline: Deadline) -> None:
        self._connection = connection
        self._deadline = deadline
        self._wire = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES_MAX)

    def send(self, request: HttpRequest, parts: SplitResult) -> None:
        head = h11.Request(
            method=request.method,
            target=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
            headers=[
                ("Host", authority(parts)),
                *request.headers.items(),
                *(() if request.method == "GET" else NO_BODY),
            ],
        )
        sent = (self._wire.send(head) or b"") + (self._wire.send(h11.EndOfMessage()) or b"")
        self._connection.settimeout(self._deadline.left())
        self._connection.sendall(sent)

    def response(self) -> HttpStream:
        try:
            while isinstance(head := self._event(), h11.InformationalResponse):
                pass
        except h11.RemoteProtocolError as failure:
            # What speaks TLS hangs up on a plain request, or answers it with an alert that is no HTTP.
            told = f"{failure}".removesuffix(".")
            raise h11.RemoteProtocolError(f"{told}; if it speaks TLS, try https://") from failure
        if not isinstance(head, h11.Response):
            raise h11.RemoteProtocolError("Server disconnected without sending a response.")
        headers: dict[str, str] = {}
        for raw_name, raw_value in head.headers:
            name, value = raw_name.decode("ascii"), raw_value.decode("latin-1")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return HttpStream(head.status_code, headers, self._pieces())

    def _pieces(self) -> Iterator[bytes]:
        while isinstance(event := self._event(), h11.Data):
            yield event.data

    def _event(self) -> h11.Event | type[h11.NEED_DATA | h11.PAUSED]:
        while (event := self._wire.next_event()) is h11.NEED_DATA:
            self._connection.settimeout(self._deadline.left())
            received = self._connection.recv(READ_BYTES)
            if not received and self._wire.their_state is h11.SEND_RESPONSE:
                raise h11.RemoteProtocolError("Server disconnected without sending a response.")
            self._wire.receive_data(received)
        return event


def authority(parts: SplitResult) -> str:
    """The header Host: the port is told where it is another one than HTTP's own."""
    host = parts.hostname or ""
    named = f"[{host}]" if ":" in host else host
    return named if parts.port in (None, PORT) else f"{named}:{parts.port}"


def lean_client() -> HttpClientProtocol:
    """The client that all http endpoints share. It asks nobody by https."""
    return HttpClient()


def secure_client(ca_file: Path | None) -> HttpClientProtocol:
    """A client for one https endpoint, which trusts the authorities of `ca_file`, else the public ones.

    Raises:
        ReadFailedError: `tls`, the file cannot be used.
    """
    from exporter.sources import https_client  # noqa: PLC0415 - see above

    return https_client.trusting(ca_file)


def unverified_client() -> HttpClientProtocol:
    """A client that takes any certificate: only to ask an address of this very host."""
    from exporter.sources import https_client  # noqa: PLC0415 - see above

    return https_client.unverified()

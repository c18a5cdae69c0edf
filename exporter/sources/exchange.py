"""One bounded exchange with an HTTP server that is not trusted: one deadline, bounded bytes, no redirects."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Protocol

from exporter import __version__
from exporter.clock import Clock
from exporter.readings import ReadFailedError
from exporter.sources.compression import expanded
from exporter.units import Nanoseconds, nanoseconds, seconds

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
class Answer:
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
class Request:
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


class Client(Protocol):
    """Asks servers: by plain HTTP (`plain`), or by whatever httpx can (`secure`)."""

    def ask(self, request: Request, deadline: Deadline, limit: int, sink: Sink | None = None) -> Answer:
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
class Response:
    """What has come when the headers have, and the body as it comes."""

    status: int
    headers: Mapping[str, str]
    pieces: Iterable[bytes]


def answered(
    request: Request, response: Response, deadline: Deadline, limit: int, sink: Sink | None
) -> Answer:
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
    return Answer(status, body, response.headers)


def _body(response: Response, subject: str, deadline: Deadline, limit: int, sink: Sink | None) -> bytes:
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

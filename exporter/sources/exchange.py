"""One bounded exchange with an HTTP server that is not trusted: one deadline, bounded bytes, no redirects."""

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx

from exporter.clock import Clock
from exporter.readings import ReadFailedError
from exporter.sources.compression import expanded
from exporter.units import Nanoseconds, nanoseconds, seconds

CONNECTED: Final = ("connection.connect_tcp.complete", "connection.start_tls.complete")
"""Events of httpcore's `trace` extension that hand out a fresh network stream."""

GZIP: Final = ("gzip", "x-gzip")
"""What a proxy may make of a body whether asked or not. Nobody asks for it: it would cost a server CPU."""

NO_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"})
"""What OpenSSL, in one version or another, makes of an answer that is no TLS."""


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

    url: httpx.URL | str
    headers: Mapping[str, str]
    subject: str
    method: str = "GET"


Sink = Callable[[bytes], None]
"""Takes a body piece by piece, so that nobody has to hold all of it."""


def exchange(
    client: httpx.Client, request: Request, deadline: Deadline, limit: int, sink: Sink | None = None
) -> Answer:
    """Ask once, and read a body of at most `limit` bytes, expanded where it is gzip.

    Where it goes into a `sink`, the answer has none.

    Raises:
        ReadFailedError: `timeout`, `redirect`, `encoding`, `too_large`.
        httpx.RequestError: no answer that is one; timeouts excepted.
    """
    try:
        with client.stream(
            request.method,
            request.url,
            headers=request.headers,
            timeout=deadline.left(),
            follow_redirects=False,
            extensions={"trace": _watch(deadline)},
        ) as response:
            if response.is_redirect:
                raise ReadFailedError(
                    "redirect", f"{request.subject}: answers with HTTP status {response.status_code}"
                )
            body = b""
            if response.status_code == httpx.codes.OK:
                body = _body(response, request.subject, deadline, limit, sink)
            return Answer(response.status_code, body, dict(response.headers))
    except httpx.TimeoutException as failure:
        raise ReadFailedError("timeout", f"{request.subject}: {type(failure).__name__}") from failure


def is_tls(failure: BaseException) -> bool:
    """Whether a failure is one of certificates or of TLS itself."""
    return _of_tls(failure) is not None


def words(failure: httpx.RequestError, scheme: str) -> str:
    """A failure for people. One that speaks the other of http and https than it was asked by is told so."""
    error = _of_tls(failure)
    if error is not None and error.reason in NO_TLS:
        return "it does not speak TLS: try http://"
    if scheme == "http" and isinstance(failure, httpx.RemoteProtocolError):
        # What speaks TLS hangs up on a plain request, or answers it with an alert that is no HTTP.
        return f"{failure}".removesuffix(".") + "; if it speaks TLS, try https://"
    return str(failure)


def _of_tls(failure: BaseException) -> ssl.SSLError | None:
    cause: BaseException | None = failure
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None


def _body(response: httpx.Response, subject: str, deadline: Deadline, limit: int, sink: Sink | None) -> bytes:
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    pieces = response.iter_raw()
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


def _watch(deadline: Deadline) -> Callable[[str, dict[str, Any]], None]:
    """A trace that bounds each receive of a new connection by what is left of the read.

    httpx bounds single receives only, so that a server which sends a byte now and then, in its headers
    say, would hold a reader for hours.
    """

    def trace(event: str, info: dict[str, Any]) -> None:
        if event in CONNECTED:
            stream = info["return_value"]
            receive = stream.read
            stream.read = lambda max_bytes, timeout=None: receive(  # noqa: ARG005 - the stream's signature
                max_bytes, timeout=deadline.left()
            )

    return trace

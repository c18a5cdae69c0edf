"""One endpoint of a server or a gateway: its addresses, and bounded GETs of its pages."""

import re
import threading
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from exporter.clock import Clock
from exporter.engines import Engine
from exporter.readings import ErrorCounts, FailureReason, ReadFailedError, endpoint_id, masked
from exporter.sources.http_client import (
    HEADERS,
    CertificateError,
    Deadline,
    HttpClientProtocol,
    HttpRequest,
    HttpResponse,
    secure_client,
)
from exporter.sources.processes.listener import ExpectedListener
from exporter.units import Nanoseconds

TIMEOUT_SECONDS: Final = 3.0
"""For one read, however many requests it takes."""

BODY_BYTES_MAX: Final = 8 * 1024 * 1024
"""Largest metrics page."""

TOKEN_BYTES_MAX: Final = 64 * 1024
"""Largest token file; the longest service account tokens have a few thousand bytes."""

LARGE_BYTES: Final = 128 * 1024
"""Smaller pages are parsed without the lock, so that they never wait for large ones."""

_parsing: Final = threading.Lock()
"""Held by the source that parses a large page."""

REASON_BY_STATUS: Final[Mapping[int, FailureReason]] = {
    HTTPStatus.UNAUTHORIZED: FailureReason.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN: FailureReason.UNAUTHORIZED,
    HTTPStatus.NOT_FOUND: FailureReason.NOT_FOUND,
    HTTPStatus.NOT_IMPLEMENTED: FailureReason.METRICS_OFF,  # llama.cpp
}
"""Why a page is not read, by HTTP status. Any other status is `http_status`."""

NO_ANSWER: Final = frozenset(
    {
        FailureReason.CONNECTION,
        FailureReason.NOT_LISTENING,
        FailureReason.TIMEOUT,
        FailureReason.TLS,
        FailureReason.CERTIFICATE,
        FailureReason.CERTIFICATE_NAME,
        FailureReason.TOKEN_FILE,
    }
)
"""Failures without an answer of the server."""


@dataclass(frozen=True, slots=True)
class EndpointAccess:
    """How an endpoint is requested, and who may answer."""

    bearer_token_file: Path | None = None
    ca_file: Path | None = None
    server_name: str = ""
    """The name that its certificate is verified for, empty for the address of the request."""
    listener: ExpectedListener | None = None
    """Who listens there; `None` where nothing is known of its sockets."""


DIRECT: Final = EndpointAccess()
"""Without a token, and whoever answers."""


class EndpointSession:
    """Requests pages of one endpoint, and has `errors` and `waited` of the last read.

    An https endpoint has a client of its own.

    Args:
        url: the endpoint as it was configured. Errors name it with its query masked.
        client: for http, shared and not closed here.
        clock: times the requests.
        access: how to request, and who may answer.
        timeout: of all requests of one read together, in seconds.
        body_bytes: the longest metrics page.
    """

    def __init__(
        self,
        url: str,
        client: HttpClientProtocol,
        clock: Clock,
        *,
        access: EndpointAccess = DIRECT,
        timeout: float = TIMEOUT_SECONDS,
        body_bytes: int = BODY_BYTES_MAX,
    ) -> None:
        self.id = endpoint_id(url)
        """The endpoint's name in readings: its URL, a query masked and replaced by a digest."""
        self.shown = masked(url)
        """The endpoint's name in errors: its URL, a query masked."""
        self.body_bytes = body_bytes
        self.waited: Nanoseconds = 0
        """Wait of the last read for the parsing of other large pages."""
        self.errors: ErrorCounts = ()
        """Lines and series that the last reading leaves out: `malformed`, `duplicate`, ..."""
        self._clock = clock
        self._timeout = timeout
        self._deadline = Deadline(clock, timeout)
        self._access = access
        self._shared = client
        self._secure: HttpClientProtocol | None = None
        """The endpoint's own client; `None` before its first https request."""
        self._ca_version: tuple[int, int] | None = None
        """Modification time and inode of the file of CAs that the own client has."""

    def begin_read(self) -> None:
        """Begin a read: forget the errors of the last one, and start the timeout."""
        self.errors = ()
        self.waited = 0
        self._deadline = Deadline(self._clock, self._timeout)

    def get(self, url: str, limit: int) -> HttpResponse:
        """Get one body of at most `limit` bytes.

        Raises:
            ReadFailedError: `connection`, `not_listening`, `timeout`, `tls`, `certificate`,
                `certificate_name`, `token_file`, `redirect`, `unauthorized`, `not_found`, `metrics_off`,
                `http_status`, `encoding`, `too_large`.
        """
        headers = dict(HEADERS)
        if self._access.bearer_token_file is not None:
            headers["Authorization"] = f"Bearer {bearer_token(self._access.bearer_token_file)}"
        request = HttpRequest(
            url,
            headers,
            self.shown,
            server_name=self._access.server_name,
            listener=self._access.listener,
        )
        try:
            response = self._client(url).request(request, self._deadline, limit)
        except CertificateError as failure:
            reason = FailureReason.CERTIFICATE_NAME if failure.of_another else FailureReason.CERTIFICATE
            raise ReadFailedError(reason, str(failure)) from failure
        if response.status != HTTPStatus.OK:
            # Some https servers, nginx and those in Go among them, answer a plain request with status 400.
            plain = url.startswith("http:") and response.status == HTTPStatus.BAD_REQUEST
            answers = "answers http:// (is it https://?)" if plain else "answers"
            raise ReadFailedError(
                REASON_BY_STATUS.get(response.status, FailureReason.HTTP_STATUS),
                f"{self.shown}: {answers} with HTTP status {response.status}",
            )
        if response.body.startswith(BOM_UTF8):  # its first name is another one
            raise ReadFailedError(FailureReason.ENCODING, f"{self.shown}: begins with a byte order mark")
        return response

    @contextmanager
    def parsing_turn(self, page: bytes) -> Iterator[None]:
        """Parse a page, a large one after those of other sources.

        Python threads in parallel would take as long, and more memory.
        """
        if len(page) < LARGE_BYTES:
            yield
            return
        began = self._clock.elapsed()
        with _parsing:
            self.waited += self._clock.elapsed() - began
            yield

    def note_errors(self, left_out: Mapping[str, int]) -> None:
        """Count what a reading leaves out of its page, by reason."""
        self.errors = tuple((reason, count) for reason, count in left_out.items() if count)

    def close(self) -> None:
        """Close the endpoint's own client, if it has one."""
        secure, self._secure = self._secure, None
        if secure is not None:
            secure.close()

    def _client(self, url: str) -> HttpClientProtocol:
        """The shared client; for https the own one, which is made again once its file of CAs has changed."""
        if not url.startswith("https:"):  # as `metrics_url` writes it
            return self._shared
        ca_file = self._access.ca_file
        version: tuple[int, int] | None = None
        if ca_file is not None:
            try:
                status = ca_file.stat()
            except OSError as failure:
                raise ReadFailedError(FailureReason.TLS, f"{ca_file}: {failure.strerror}") from failure
            version = status.st_mtime_ns, status.st_ino
        if self._secure is None or version != self._ca_version:
            self.close()
            self._secure = secure_client(ca_file)
            self._ca_version = version
        return self._secure


def bearer_token(path: Path) -> str:
    """The token that a file holds now. It appears in no message.

    Raises:
        ReadFailedError: `token_file`, there is none that could be sent.
    """
    try:
        with path.open("rb") as file:
            content = file.read(TOKEN_BYTES_MAX + 1)
    except OSError as failure:
        raise ReadFailedError(FailureReason.TOKEN_FILE, f"{path}: {failure.strerror}") from failure
    if len(content) > TOKEN_BYTES_MAX:
        raise ReadFailedError(FailureReason.TOKEN_FILE, f"{path}: larger than {TOKEN_BYTES_MAX} bytes")
    token = content.strip()
    if not token:
        raise ReadFailedError(FailureReason.TOKEN_FILE, f"{path}: empty")
    if any(not 0x21 <= byte <= 0x7E for byte in token):
        raise ReadFailedError(FailureReason.TOKEN_FILE, f"{path}: not one line of printable ASCII")
    return token.decode("ascii")


def metrics_url(url: str, engine: Engine | None) -> str:
    """The address of an endpoint's metrics, as it was configured.

    Without a path, or with one that is never read of this engine, it has the engine's own path.
    A llama.cpp router is never asked to load the model that is asked for.

    Raises:
        ValueError: what was configured is no address.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as failure:
        raise ValueError(f"{masked(url)!r} is no URL: {failure}") from failure
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{masked(url)!r} is no http or https URL")
    if "@" in parts.netloc:
        raise ValueError("a URL with credentials in it would show them; use bearer_token_file")
    if not re.fullmatch(r"[!-~]+", url):
        raise ValueError(f"{masked(url)!r} is no URL: write printable ASCII without spaces, percent-encoded")
    unread = () if engine is None else tuple(path for path, _ in engine.manual.never_read)
    if parts.path.rstrip("/") in ("", *unread):
        parts = parts._replace(path="/metrics" if engine is None else engine.default_path)
    query = parse_qsl(parts.query, keep_blank_values=True)
    if any(key == "model" for key, _ in query):
        others = [(key, value) for key, value in query if key != "autoload"]
        parts = parts._replace(query=urlencode([*others, ("autoload", "false")]))
    return parts._replace(fragment="").geturl()


def sibling_url(metrics: str, engine: Engine | None, path: str) -> str:
    """Another page of a server, behind the same prefix as its metrics and for the same model."""
    own = {"/metrics"} if engine is None else {"/metrics", engine.default_path}
    parts = urlsplit(metrics)
    here = parts.path
    # The longest first: one may end in another one.
    ending = next((end for end in sorted(own, key=len, reverse=True) if here.endswith(end)), None)
    root = here.rpartition("/")[0] if ending is None else here.removesuffix(ending)
    return parts._replace(path=root + path).geturl()


class MetricsAddress:
    """The URL of a server's metrics page: the configured one, or another one that its page led to.

    The other URL stays while the same server may answer. Each request of the configured one empties a queue
    of TensorRT-LLM that has other readers (see `Engine.mistaken`).
    """

    def __init__(self, configured: str) -> None:
        self._configured = configured
        self._was_read = False
        """Whether `url` has had a metrics page since it last changed."""
        self.url = configured
        """The URL to request."""

    def move(self, url: str) -> None:
        """Request another URL from now on."""
        self.url = url
        self._was_read = False

    def note_read(self) -> None:
        """Note that the URL has a metrics page."""
        self._was_read = True

    def note_failure(self, reason: FailureReason) -> None:
        """Go back to the configured URL where another server may have taken the place of this one.

        A server that is slow keeps its URL, as does one whose metrics were off from the start.
        """
        # No program listens any more. No other failure without an answer is a sign of another server.
        is_gone = reason == FailureReason.CONNECTION
        # A page that was read is refused now, or not recognized.
        is_replaced = self._was_read and reason not in NO_ANSWER
        if is_gone or is_replaced:
            self.move(self._configured)

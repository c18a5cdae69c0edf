"""Bounded GETs of one endpoint."""

import re
from codecs import BOM_UTF8
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from exporter.clock import Clock
from exporter.engines import Engine
from exporter.readings import FailureReason, ReadFailedError, masked
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

TOKEN_BYTES_MAX: Final = 64 * 1024
"""Largest token file; the longest service account tokens have a few thousand bytes."""


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


class Fetcher:
    """Gets pages of one endpoint: by the shared client, or by its own one where it is https.

    `timeout` bounds all requests of one read, in seconds.
    Errors name the endpoint as it was configured, its query masked.
    """

    def __init__(
        self,
        client: HttpClientProtocol,
        endpoint: str,
        clock: Clock,
        timeout: float,
        access: EndpointAccess,
    ) -> None:
        self._clock = clock
        self._timeout = timeout
        self._deadline = Deadline(clock, timeout)
        self._shared = client
        self._endpoint = masked(endpoint)
        self._secure: HttpClientProtocol | None = None
        self._access = access
        self._ca_version: tuple[int, int] | None = None

    def begin_read(self) -> None:
        """Begin a read: its requests together have the timeout."""
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
            self._endpoint,
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
                f"{self._endpoint}: {answers} with HTTP status {response.status}",
            )
        if response.body.startswith(BOM_UTF8):  # its first name is another one
            raise ReadFailedError(FailureReason.ENCODING, f"{self._endpoint}: begins with a byte order mark")
        return response

    def close(self) -> None:
        """Close the endpoint's own client, if it has one."""
        secure, self._secure = self._secure, None
        if secure is not None:
            secure.close()

    def _client(self, url: str) -> HttpClientProtocol:
        """The shared client, or an own one where the URL is https, anew where its file of CAs changed."""
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

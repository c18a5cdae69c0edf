"""One bounded GET after another to one endpoint."""

import re
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from exporter.clock import Clock
from exporter.engines import Engine, mistaken_engine
from exporter.engines.ollama import OLLAMA
from exporter.readings import ReadFailedError, UnreadReason, masked
from exporter.sources.http_client import (
    HEADERS,
    CertificateError,
    Deadline,
    HttpClientProtocol,
    HttpRequest,
    HttpResponse,
    secure_client,
)
from exporter.sources.server.probe import JSON_BYTES_MAX

TOKEN_BYTES_MAX: Final = 64 * 1024
"""Largest token file; the longest service account tokens have a few thousand bytes."""


class TokenFile:
    """Reads the token again when the file has changed. The token appears in no message."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._version: tuple[int, ...] = ()
        self._token = ""

    def token(self) -> str:
        """The token as the file holds it now.

        Raises:
            ReadFailedError: `token_file`, there is none that could be sent.
        """
        try:
            status = self._path.stat()
            version = (status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev)
            if version != self._version:
                with self._path.open("rb") as file:
                    self._token = self._checked(file.read(TOKEN_BYTES_MAX + 1))
                self._version = version
        except OSError as failure:
            self._version = ()
            raise ReadFailedError("token_file", f"{self._path}: {failure.strerror}") from failure
        return self._token

    def _checked(self, content: bytes) -> str:
        if len(content) > TOKEN_BYTES_MAX:
            raise ReadFailedError("token_file", f"{self._path}: larger than {TOKEN_BYTES_MAX} bytes")
        token = content.strip()
        if not token:
            raise ReadFailedError("token_file", f"{self._path}: empty")
        if any(not 0x21 <= byte <= 0x7E for byte in token):
            raise ReadFailedError("token_file", f"{self._path}: not one line of printable ASCII")
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
    asked = parse_qsl(parts.query, keep_blank_values=True)
    if any(key == "model" for key, _ in asked):
        others = [(key, value) for key, value in asked if key != "autoload"]
        parts = parts._replace(query=urlencode([*others, ("autoload", "false")]))
    return parts._replace(fragment="").geturl()


def sibling_url(metrics: str, engine: Engine | None, path: str) -> str:
    """Another page of a server, behind the same prefix as its metrics and for the same model."""
    own = {"/metrics"} if engine is None else {"/metrics", engine.default_path}
    parts = urlsplit(metrics)
    here = parts.path
    # The longest first: one may end in another one.
    ending = next((each for each in sorted(own, key=len, reverse=True) if here.endswith(each)), None)
    root = here.rpartition("/")[0] if ending is None else here.removesuffix(ending)
    return parts._replace(path=root + path).geturl()


REFUSALS: Final = {
    HTTPStatus.UNAUTHORIZED: UnreadReason.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN: UnreadReason.UNAUTHORIZED,
    HTTPStatus.NOT_FOUND: UnreadReason.NOT_FOUND,
    HTTPStatus.NOT_IMPLEMENTED: UnreadReason.METRICS_OFF,  # llama.cpp
}
"""Why a page is not read, by the status of its answer; of any other `http_status`."""


class Fetcher:
    """Reads bodies from one endpoint: by the shared client, or by its own one where it is https.

    `server_name` is the name that its certificate is verified for, empty for the address that is asked.
    Errors name the endpoint as it was configured, its query masked.
    """

    def __init__(
        self,
        client: HttpClientProtocol,
        endpoint: str,
        bearer_token_file: Path | None,
        ca_file: Path | None,
        server_name: str = "",
    ) -> None:
        self._shared = client
        self._endpoint = masked(endpoint)
        self._secure: HttpClientProtocol | None = None
        self._ca_file = ca_file
        self._server_name = server_name
        self._ca_version: tuple[int, int] | None = None
        self._token = None if bearer_token_file is None else TokenFile(bearer_token_file)

    def get(self, url: str, deadline: Deadline, limit: int) -> HttpResponse:
        """Read one body of at most `limit` bytes. Errors name the endpoint as it was configured.

        Raises:
            ReadFailedError: `connection`, `timeout`, `tls`, `certificate`, `certificate_name`, `token_file`,
                `redirect`, `unauthorized`, `not_found`, `metrics_off`, `http_status`, `encoding`,
                `too_large`.
        """
        headers = dict(HEADERS)
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token.token()}"
        request = HttpRequest(url, headers, self._endpoint, server_name=self._server_name)
        try:
            answer = self._client(url).ask(request, deadline, limit)
        except CertificateError as failure:
            reason = UnreadReason.CERTIFICATE_NAME if failure.of_another else UnreadReason.CERTIFICATE
            raise ReadFailedError(reason, str(failure)) from failure
        if answer.status != HTTPStatus.OK:
            # Some servers of https, nginx and those in Go among them, answer a plain request so.
            plain = urlsplit(url).scheme == "http" and answer.status == HTTPStatus.BAD_REQUEST
            asked = "answers http:// (is it https://?)" if plain else "answers"
            refusals = {int(status): word for status, word in REFUSALS.items()}
            raise ReadFailedError(
                refusals.get(answer.status, UnreadReason.HTTP_STATUS),
                f"{self._endpoint}: {asked} with HTTP status {answer.status}",
            )
        return answer

    def close(self) -> None:
        """Close the endpoint's own client, if it has one."""
        if self._secure is not None:
            self._secure.close()
            self._secure = None

    def _client(self, url: str) -> HttpClientProtocol:
        if urlsplit(url).scheme != "https":
            return self._shared
        version = self._ca_file_version()
        if self._secure is None or version != self._ca_version:
            self.close()
            self._secure = secure_client(self._ca_file)
            self._ca_version = version
        return self._secure

    def _ca_file_version(self) -> tuple[int, int] | None:
        """Changes with the file; `None` without one."""
        if self._ca_file is None:
            return None
        try:
            status = self._ca_file.stat()
        except OSError as failure:
            raise ReadFailedError("tls", f"{self._ca_file}: {failure.strerror}") from failure
        return status.st_mtime_ns, status.st_ino


ABSENT: Final = frozenset({UnreadReason.NOT_FOUND, UnreadReason.METRICS_OFF})
"""How a server answers that has no such page, or has switched it off."""

REFUSED: Final = frozenset({*REFUSALS.values(), UnreadReason.HTTP_STATUS})
"""How a read fails whose answer has another status than 200."""

GREETING_BYTES_MAX: Final = 4096

Seen = Callable[[str, HttpResponse], None]
"""Is told of each page that is got: its path from the root as it was asked for, empty for the metrics."""


class Pages:
    """Gets the pages of one endpoint.

    `body_bytes` bounds a page of metrics, `timeout` all requests of one read, in seconds.
    `engine` is what wrote the page, as far as that is known: it says where the others are.
    `seen` is told of each page but those that only tell what a server is not.
    `metrics_off`: its command line switches no metrics on.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        url: str,
        clock: Clock,
        engine: Engine | None,
        *,
        timeout: float,
        body_bytes: int,
        seen: Seen | None = None,
        metrics_off: bool = False,
    ) -> None:
        self._seen = seen
        self._metrics_off = metrics_off
        self._fetcher = fetcher
        self._shown = masked(url)
        self._address = self._configured = metrics_url(url, engine)
        self._clock = clock
        self._timeout = timeout
        self._body_bytes = body_bytes
        self.engine = engine
        self._deadline = Deadline(clock, timeout)

    def begin(self) -> None:
        """Begin a read."""
        self._deadline = Deadline(self._clock, self._timeout)

    def gone(self) -> None:
        """What listened there is gone, so that what comes is read as it was configured."""
        self._address = self._configured

    def metrics(self) -> HttpResponse:
        """The page of metrics.

        A page that must not be read is read once, if at all: then its server's own one, from now on.
        What has none may be a server that never has one, known by its root page.

        Raises:
            ReadFailedError: as a `Fetcher`; `no_tokens` of Ollama.
        """
        try:
            answer = self._fetcher.get(self._address, self._deadline, self._body_bytes)
            other = mistaken_engine(answer.body)
            if other is not None:
                self._address = sibling_url(self._address, self.engine, other.default_path)
                answer = self._fetcher.get(self._address, self._deadline, self._body_bytes)
        except ReadFailedError as failure:
            if failure.reason not in REFUSED:
                raise
            if self.engine is None and self._greets():
                raise ReadFailedError(
                    "no_tokens", f"{self._shown}: {OLLAMA.title}, {OLLAMA.what}: {OLLAMA.remedy}"
                ) from failure
            off = self._metrics_off or failure.reason == UnreadReason.METRICS_OFF
            if failure.reason not in ABSENT or not off:
                raise
            switch = "" if self.engine is None else self.engine.manual.switch
            more = f"; it serves metrics with {switch}" if switch else ""
            raise ReadFailedError(UnreadReason.METRICS_OFF, f"{failure}{more}") from failure
        if self._seen is not None:
            self._seen("", answer)
        return answer

    def ask(self, path: str) -> bytes:
        """Another page of the same server, behind the same prefix as its metrics.

        Raises:
            ReadFailedError: as a `Fetcher`.
        """
        address = sibling_url(self._address, self.engine, "/" + path)
        answer = self._fetcher.get(address, self._deadline, JSON_BYTES_MAX)
        if self._seen is not None:
            self._seen(path, answer)
        return answer.body

    def _greets(self) -> bool:
        """Whether the server's root page is the one by which Ollama is known."""
        root = urlsplit(self._address)._replace(path="/", query="").geturl()
        try:
            answer = self._fetcher.get(root, self._deadline, GREETING_BYTES_MAX)
        except ReadFailedError:
            return False
        return answer.body.strip() == OLLAMA.greeting

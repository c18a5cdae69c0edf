"""One bounded GET after another to one endpoint."""

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from exporter.clock import Clock
from exporter.readings import ReadFailedError
from exporter.sources.server.client import HEADERS, secure_client
from exporter.sources.server.token import TokenFile
from exporter.units import Nanoseconds, nanoseconds, seconds

CONNECTED: Final = ("connection.connect_tcp.complete", "connection.start_tls.complete")
"""Events of httpcore's `trace` extension that hand out a fresh network stream."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A body and its headers, names in lower case."""

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


class Fetcher:
    """Reads bodies from one endpoint: by the shared client, or by its own one where it is https."""

    def __init__(
        self, client: httpx.Client, endpoint: str, bearer_token_file: Path | None, ca_file: Path | None
    ) -> None:
        self._shared = client
        self._endpoint = endpoint
        self._secure: httpx.Client | None = None
        self._ca_file = ca_file
        self._ca_version: tuple[int, int] | None = None
        self._token = None if bearer_token_file is None else TokenFile(bearer_token_file)

    def get(self, url: httpx.URL, deadline: Deadline, limit: int) -> Answer:
        """Read one body of at most `limit` bytes. Errors name the endpoint as it was configured.

        Raises:
            ReadFailedError: `connection`, `timeout`, `tls`, `token_file`, `redirect`, `http_status`,
                `encoding`, `too_large`.
        """
        headers = dict(HEADERS)
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token.token()}"
        client = self._client(url)
        try:
            with client.stream(
                "GET",
                url,
                headers=headers,
                timeout=deadline.left(),
                follow_redirects=False,
                extensions={"trace": _watch(deadline)},
            ) as response:
                return Answer(_body(response, self._endpoint, deadline, limit), dict(response.headers))
        except httpx.TimeoutException as failure:
            raise ReadFailedError("timeout", f"{self._endpoint}: {type(failure).__name__}") from failure
        except httpx.RequestError as failure:
            reason = "tls" if _is_tls(failure) else "connection"
            raise ReadFailedError(reason, f"{self._endpoint}: {failure}") from failure

    def close(self) -> None:
        """Close the endpoint's own client, if it has one."""
        if self._secure is not None:
            self._secure.close()
            self._secure = None

    def _client(self, url: httpx.URL) -> httpx.Client:
        if url.scheme != "https":
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


def _body(response: httpx.Response, url: str, deadline: Deadline, limit: int) -> bytes:
    if response.status_code != httpx.codes.OK:
        reason = "redirect" if response.is_redirect else "http_status"
        raise ReadFailedError(reason, f"{url}: answers with HTTP status {response.status_code}")
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        # It was not asked for, and a small body may expand to any size.
        raise ReadFailedError("encoding", f"{url}: content encoding {encoding[:32]!r} was not asked for")
    body = bytearray()
    for chunk in response.iter_raw():
        body += chunk
        if len(body) > limit:
            raise ReadFailedError("too_large", f"{url}: larger than {limit} bytes")
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


def _is_tls(failure: BaseException) -> bool:
    cause: BaseException | None = failure
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False

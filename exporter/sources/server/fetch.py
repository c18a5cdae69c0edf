"""One bounded GET after another to one endpoint."""

from pathlib import Path

import httpx

from exporter.readings import ReadFailedError
from exporter.sources.exchange import Answer, Deadline, Request, exchange, is_tls, words
from exporter.sources.server.client import HEADERS, secure_client
from exporter.sources.server.token import TokenFile


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
        request = Request(url, headers, self._endpoint)
        try:
            answer = exchange(self._client(url), request, deadline, limit)
        except httpx.RequestError as failure:
            reason = "tls" if is_tls(failure) else "connection"
            raise ReadFailedError(reason, f"{self._endpoint}: {words(failure, url.scheme)}") from failure
        if answer.status != httpx.codes.OK:
            # Some servers of https, nginx and those in Go among them, answer a plain request so.
            plain = url.scheme == "http" and answer.status == httpx.codes.BAD_REQUEST
            asked = "answers http:// (is it https://?)" if plain else "answers"
            raise ReadFailedError(
                "http_status", f"{self._endpoint}: {asked} with HTTP status {answer.status}"
            )
        return answer

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

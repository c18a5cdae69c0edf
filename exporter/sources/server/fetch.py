"""One bounded GET after another to one endpoint."""

from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from exporter.readings import ReadFailedError, UnreadReason, masked
from exporter.sources.exchange import HEADERS, Answer, CertificateError, Client, Deadline, Request
from exporter.sources.server.client import secure_client
from exporter.sources.server.token import TokenFile

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
        client: Client,
        endpoint: str,
        bearer_token_file: Path | None,
        ca_file: Path | None,
        server_name: str = "",
    ) -> None:
        self._shared = client
        self._endpoint = masked(endpoint)
        self._secure: Client | None = None
        self._ca_file = ca_file
        self._server_name = server_name
        self._ca_version: tuple[int, int] | None = None
        self._token = None if bearer_token_file is None else TokenFile(bearer_token_file)

    def get(self, url: str, deadline: Deadline, limit: int) -> Answer:
        """Read one body of at most `limit` bytes. Errors name the endpoint as it was configured.

        Raises:
            ReadFailedError: `connection`, `timeout`, `tls`, `certificate`, `certificate_name`, `token_file`,
                `redirect`, `unauthorized`, `not_found`, `metrics_off`, `http_status`, `encoding`,
                `too_large`.
        """
        headers = dict(HEADERS)
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token.token()}"
        request = Request(url, headers, self._endpoint, server_name=self._server_name)
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

    def _client(self, url: str) -> Client:
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

"""Reads of a server for `record`: as the daemon reads it, with the pages."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from exporter.clock import Clock
from exporter.engines import Described
from exporter.readings import ServerKey, ServerReading
from exporter.sources.http_client import HttpResponse, shared_client
from exporter.sources.server.endpoint import EndpointAccess
from exporter.sources.server.page_reader import KnownEngines, Target
from exporter.sources.server.source import ServerSource


@dataclass(frozen=True, slots=True)
class RecordedRead:
    """One read: the reading, and its pages.

    `metrics` is `None` where the page was not read, since the server may be falling asleep.
    `answers` are bodies of other pages of this read, by path without the first slash.
    """

    reading: ServerReading
    metrics: HttpResponse | None
    answers: Mapping[str, bytes]


class RecordingReader:
    """Reads one endpoint again and again.

    Its GPUs are not read, so that a llama.cpp that may fall asleep is read as an idle one.

    Raises:
        ValueError: the URL is none, or no engine has this name.
    """

    def __init__(
        self,
        url: str,
        clock: Clock,
        *,
        engine: str | None = None,
        bearer_token_file: Path | None = None,
        ca_file: Path | None = None,
        described: Described = (),
    ) -> None:
        self._pages: dict[str, HttpResponse] = {}
        self._client = shared_client()
        self._source = ServerSource(
            Target(ServerKey("", "recorded"), url, engine, EndpointAccess(bearer_token_file, ca_file)),
            self._client,
            clock,
            engines=KnownEngines(described),
            busy=lambda: False,
            on_page=self._pages.__setitem__,
        )

    def close(self) -> None:
        """Close the connections."""
        try:
            self._source.close()
        finally:
            self._client.close()

    def read(self) -> RecordedRead:
        """Read once.

        Raises:
            ReadFailedError: as `ServerSource.read`.
        """
        self._pages.clear()
        reading = self._source.read()
        answers = {path: answer.body for path, answer in self._pages.items() if path}
        return RecordedRead(reading, self._pages.get(""), answers)

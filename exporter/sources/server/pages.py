"""The pages of one server: its metrics, and what is asked beside them. One deadline bounds a read."""

from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from exporter.clock import Clock
from exporter.engines import Engine, mistaken
from exporter.engines.ollama import OLLAMA
from exporter.readings import ReadFailedError, UnreadReason, masked
from exporter.sources.exchange import Answer, Deadline
from exporter.sources.server.address import beside, first
from exporter.sources.server.answers import JSON_BYTES_MAX
from exporter.sources.server.fetch import REFUSALS, Fetcher

ABSENT: Final = frozenset({UnreadReason.NOT_FOUND, UnreadReason.METRICS_OFF})
"""How a server answers that has no such page, or has switched it off."""

REFUSED: Final = frozenset({*REFUSALS.values(), UnreadReason.HTTP_STATUS})
"""How a read fails whose answer has another status than 200."""

GREETING_BYTES_MAX: Final = 4096

Seen = Callable[[str, Answer], None]
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
        self._address = self._configured = first(url, engine)
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

    def metrics(self) -> Answer:
        """The page of metrics.

        A page that must not be read is read once, if at all: then its server's own one, from now on.
        What has none may be a server that never has one, known by its root page.

        Raises:
            ReadFailedError: as a `Fetcher`; `no_tokens` of Ollama.
        """
        try:
            answer = self._fetcher.get(self._address, self._deadline, self._body_bytes)
            other = mistaken(answer.body)
            if other is not None:
                self._address = beside(self._address, self.engine, other.default_path)
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
        address = beside(self._address, self.engine, "/" + path)
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

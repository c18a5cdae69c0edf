"""One endpoint of an inference server: requests its pages, and has them recognized and read."""

from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from exporter.clock import Clock
from exporter.engines import UNCOUNTED_SERVERS, Engine, mistaken_engine
from exporter.engines.llamacpp import LLAMACPP
from exporter.readings import FailureReason, ReadFailedError, ServerKey, ServerReading
from exporter.sources.http_client import HttpClientProtocol, HttpResponse
from exporter.sources.server.endpoint import BODY_BYTES_MAX, TIMEOUT_SECONDS, EndpointSource
from exporter.sources.server.fetch import NO_ANSWER, REASON_BY_STATUS, metrics_url, sibling_url
from exporter.sources.server.llamacpp_sleep import SleepWatch
from exporter.sources.server.page_reader import PageReader, ServerInfo, Target, identity_of
from exporter.sources.server.probe import ServerProbe
from exporter.sources.server.recognition import NO_OTHERS, KnownEngines, Recognizer

PERMANENT_FAILURES: Final = frozenset(
    {
        FailureReason.NOT_FOUND,
        FailureReason.METRICS_OFF,
        FailureReason.NOT_RECOGNIZED,
        FailureReason.NO_TOKENS,
    }
)
"""Failures that stay as long as a server runs whose command line switches metrics off."""

REFUSED: Final = frozenset({*REASON_BY_STATUS.values(), FailureReason.HTTP_STATUS})
"""Failures by an HTTP status other than 200."""

GREETING_BYTES_MAX: Final = 4096
"""Largest root page by which a server without metrics is known; Ollama's has 17 bytes."""

JSON_BYTES_MAX: Final = 1 << 20
"""Largest JSON page; a chat template has tens of kilobytes."""

OnPage = Callable[[str, HttpResponse], None]
"""Gets each page of a read: its path from the root without a slash, empty for the metrics."""


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

        It may where no program listens any more, or where a page that was read is refused or unknown. A
        server that is slow keeps its URL, as does one whose metrics were off from the start.
        """
        is_gone = reason == FailureReason.CONNECTION
        is_replaced = self._was_read and reason not in NO_ANSWER
        if is_gone or is_replaced:
            self.move(self._configured)


class ServerSource(EndpointSource):
    """Reads one endpoint of a server.

    Its base class has the requests (`_fetcher`), the endpoint's name in errors (`_shown`), and the lock
    under which large pages are parsed one after the other (`_parsing_turn`).
    While a llama.cpp is not read, or asleep, its reading has its last counters. Tokens and restarts of that
    time show in the next read. One that sleeps and was never read fails as `asleep`, since its counters are
    not known to be zero.
    A server whose command line switches metrics off is read until it has refused once.
    The timeout does not bound the look-up of a host's name; addresses need no look-up.

    Args:
        target: the endpoint.
        client: for http, shared and not closed here.
        clock: times the requests.
        engines: engines that matter beside the endpoint's own.
        timeout: of one read, in seconds.
        body_bytes: the longest metrics page.
        busy: whether a GPU of this server was busy in the last tick, true while that is unknown: an idle
            llama.cpp is read ever less often, so that it may fall asleep (see `IdleBackoff`).
        on_page: gets each page of a read, but for the root page that identifies Ollama.
    """

    def __init__(
        self,
        target: Target,
        client: HttpClientProtocol,
        clock: Clock,
        *,
        engines: KnownEngines = NO_OTHERS,
        timeout: float = TIMEOUT_SECONDS,
        body_bytes: int = BODY_BYTES_MAX,
        busy: Callable[[], bool] = lambda: True,
        on_page: OnPage = lambda _path, _answer: None,
    ) -> None:
        super().__init__(
            target.url, client, clock, access=target.access, timeout=timeout, body_bytes=body_bytes
        )
        self._target = target
        self._busy = busy
        self._on_page = on_page
        self._recognizer = Recognizer(target.engine, engines, self._shown)
        self._reader = PageReader(target, self._shown)
        self._probe = ServerProbe(self._page_body)
        self._sleep = SleepWatch(self._shown)
        self._address = MetricsAddress(metrics_url(target.url, self._recognizer.configured))
        self._recognized: Engine | None = None
        """The engine of the last metrics page; `None` before the first, and if it was not recognized."""
        self._last: ServerReading | None = None
        """The last reading of the metrics page, however many reads failed since."""
        self._is_same_server = False
        """Whether no read failed since the last metrics page: the next answer is then of the same server."""
        self._permanent_failure: ReadFailedError | None = None
        """The failure of every read from now on, without a request; `None` while there is none."""

    @property
    def name(self) -> str:
        """The value of the `source` label: server:chat, or server:search/chat with a namespace."""
        key = self.key
        return f"server:{key.namespace}/{key.server}" if key.namespace else f"server:{key.server}"

    @property
    def key(self) -> ServerKey:
        """The server that the endpoint belongs to."""
        return self._target.key

    @property
    def _engine(self) -> Engine | None:
        """The engine of the last metrics page, else the configured one; `None` while it is unknown."""
        return self._recognizer.configured if self._recognized is None else self._recognized

    def read(self) -> ServerReading:
        """Read once.

        Raises:
            ReadFailedError: as a `Fetcher`; `not_recognized`, `gateway`, `counted_twice`, `no_tokens`;
                `router`, `asleep` of llama.cpp.
        """
        self._begin_read()
        if self._permanent_failure is not None:
            # A new error, since one that is raised again has a longer traceback each time.
            raise ReadFailedError(self._permanent_failure.reason, str(self._permanent_failure))
        try:
            reading = self._reading_at_rest()
            if reading is None:
                answer = self._metrics_page()
                reading = self._metrics_reading(answer)
        except ReadFailedError as failure:
            self._note_failure(failure)
            raise
        return reading

    def _note_failure(self, failure: ReadFailedError) -> None:
        """Note that a read failed: another server may answer the next one."""
        self._is_same_server = False
        self._probe.forget()
        self._sleep.note_failure()
        self._address.note_failure(failure.reason)
        # Metrics off by the command line may be on by a file or the environment, until a read shows it.
        if self._target.server_context.metrics_off and failure.reason in PERMANENT_FAILURES:
            self._permanent_failure = failure

    def _reading_at_rest(self) -> ServerReading | None:
        """The last reading of a llama.cpp that sleeps or is left alone; `None`: its metrics are due.

        Its `/props` tell whether it sleeps, and are read first, since a read of its metrics wakes it. A build
        that can sleep is asked before each read. Any server that may be a llama.cpp is asked before its first
        read, and before the first one after a failure.

        Raises:
            ReadFailedError: as a `Fetcher`; `router`, `asleep`.
        """
        may_be_llamacpp = self._engine in (None, LLAMACPP)
        is_unasked = may_be_llamacpp and not self._is_same_server
        if self._sleep.may_sleep or is_unasked:
            self._sleep.look(self._page_body)
        return self._sleep.idle_reading(self._last, self._clock.elapsed(), self._busy)

    def _metrics_page(self) -> HttpResponse:
        """The metrics page, at another address where its own has a page that is none.

        Raises:
            ReadFailedError: as a `Fetcher`, and why a page is refused, as far as other pages show it.
        """
        try:
            answer = self._fetcher.get(self._address.url, self._body_bytes)
            mistaken = mistaken_engine(answer.body)
            if mistaken is not None:
                # The address moves whatever the other page answers: this one must not be requested again.
                metrics = sibling_url(self._address.url, self._engine, mistaken.default_path)
                self._address.move(metrics)
                answer = self._fetcher.get(metrics, self._body_bytes)
        except ReadFailedError as failure:
            if failure.reason not in REFUSED:
                raise
            specific = self._without_tokens() or self._switched_off(failure)
            if specific is None:
                raise
            raise specific from failure
        self._on_page("", answer)
        return answer

    def _without_tokens(self) -> ReadFailedError | None:
        """The failure of a server that has no metrics, as Ollama, by its root page; `None` for others.

        A server whose engine is known is none of these, and its root page is not requested.
        """
        if self._engine is not None:
            return None
        root = urlsplit(self._address.url)._replace(path="/", query="").geturl()
        try:
            greeting = self._fetcher.get(root, GREETING_BYTES_MAX).body.strip()
        except ReadFailedError:
            return None
        for server in UNCOUNTED_SERVERS.values():
            if server.greeting == greeting:
                problem = f"{self._shown}: {server.title}, {server.what}: {server.remedy}"
                return ReadFailedError(FailureReason.NO_TOKENS, problem)
        return None

    def _switched_off(self, failure: ReadFailedError) -> ReadFailedError | None:
        """The failure of a server whose metrics are off by its answer, or by its command line."""
        is_off_by_answer = failure.reason == FailureReason.METRICS_OFF
        is_off_by_flags = (
            self._target.server_context.metrics_off and failure.reason == FailureReason.NOT_FOUND
        )
        if not (is_off_by_answer or is_off_by_flags):
            return None
        switch = "" if self._engine is None else self._engine.manual.switch
        remedy = f"; it serves metrics with {switch}" if switch else ""
        return ReadFailedError(FailureReason.METRICS_OFF, f"{failure}{remedy}")

    def _metrics_reading(self, answer: HttpResponse) -> ServerReading:
        """The reading of a metrics page, noted as the last one.

        Raises:
            ReadFailedError: the page is not recognized, or has no reading.
        """
        last_engine = self._engine
        self._recognized = None  # stays so where this page is not recognized
        with self._parsing_turn(answer.body):
            engine, page = self._recognizer.recognize(answer.body, last_engine)
        self._recognized = engine
        identity, _started = identity_of(engine, page, answer)
        # Outside the lock of large pages: the model may take a request.
        info = self._info(engine, identity or self._target.server_context.identity)
        with self._parsing_turn(answer.body):
            read_page = self._reader.read(engine, page, answer, info=info)
        self._note_errors(read_page.left_out)
        self._sleep.note(read_page.reading, self._last)
        self._last = read_page.reading
        self._is_same_server = True
        self._address.note_read()
        return read_page.reading

    def _info(self, engine: Engine, identity: str) -> ServerInfo:
        """Model and version of the process `identity`; a llama.cpp's by its `/props` where that was read."""
        props = self._sleep.props if engine is LLAMACPP else None
        if props is None:
            return self._probe.info(engine, identity)
        model = props.model or self._probe.info(engine, identity).model
        return ServerInfo(model, version=props.build, slots=props.slots)

    def _page_body(self, path: str) -> bytes:
        """Another page of the same server, behind the same prefix as its metrics."""
        url = sibling_url(self._address.url, self._engine, f"/{path}")
        answer = self._fetcher.get(url, JSON_BYTES_MAX)
        self._on_page(path, answer)
        return answer.body

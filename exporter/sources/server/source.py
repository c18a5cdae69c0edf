"""One endpoint of an inference server: requests its pages, and has them recognized and read."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from exporter.clock import Clock
from exporter.engines import UNCOUNTED, Engine, mistaken_engine
from exporter.engines.llamacpp import LLAMACPP
from exporter.readings import FailureReason, ReadFailedError, ServerKey, ServerReading
from exporter.sources.http_client import HttpClientProtocol, HttpResponse
from exporter.sources.server import probe
from exporter.sources.server.endpoint import BODY_BYTES_MAX, TIMEOUT_SECONDS, EndpointSource
from exporter.sources.server.fetch import REASON_BY_STATUS, metrics_url, sibling_url
from exporter.sources.server.page_reader import PageReader, ReadPage, ServerInfo, Target, identity_of
from exporter.sources.server.recognition import NO_OTHERS, KnownEngines, Recognizer

PERMANENT_FAILURES: Final = frozenset(
    {
        FailureReason.NOT_FOUND,
        FailureReason.METRICS_OFF,
        FailureReason.NOT_RECOGNIZED,
        FailureReason.NO_TOKENS,
    }
)
"""Failures that stay as long as the server runs."""

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

ABSENT: Final = frozenset({FailureReason.NOT_FOUND, FailureReason.METRICS_OFF})
"""Failures of a server that has no such page, or has switched it off."""

REFUSED: Final = frozenset({*REASON_BY_STATUS.values(), FailureReason.HTTP_STATUS})
"""Failures by an HTTP status other than 200."""

GREETING_BYTES_MAX: Final = 4096

OnPage = Callable[[str, HttpResponse], None]
"""Gets each page of a read: its path from the root without a slash, empty for the metrics."""


class ServerSource(EndpointSource):
    """Reads one endpoint of a server.

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
        self._clock = clock
        self._target = target
        self._busy = busy
        self._on_page = on_page
        self._recognizer = Recognizer(target.engine, engines, self._shown)
        self._reader = PageReader(target, self._shown)
        self._probe = probe.ServerProbe(self._fetch_body)
        self._idle = probe.IdleBackoff()
        self._engine = self._recognizer.configured
        """The engine of the last page."""
        self._address = metrics_url(target.url, self._engine)
        """Of the metrics; a page that is not them may name another one."""
        self._props: probe.LlamaCppProps | None = None
        """The last `/props` of a llama.cpp."""
        self._same_server = False
        """Whether the next answer is of the server that answered last."""
        self._last: ServerReading | None = None
        self._permanent_failure: ReadFailedError | None = None

    @property
    def name(self) -> str:
        """The value of the `source` label: server:chat, or server:search/chat with a namespace."""
        key = self.key
        return f"server:{key.namespace}/{key.server}" if key.namespace else f"server:{key.server}"

    @property
    def key(self) -> ServerKey:
        """The server that the endpoint belongs to."""
        return self._target.key

    def read(self) -> ServerReading:
        """Read once.

        Raises:
            ReadFailedError: as a `Fetcher`; `not_recognized`, `gateway`, `counted_twice`, `no_tokens`;
                `router`, `asleep` of llama.cpp.
        """
        self._reset()
        if self._permanent_failure is not None:
            raise ReadFailedError(self._permanent_failure.reason, str(self._permanent_failure))
        self._fetcher.begin_read()
        try:
            self._read_props()
            props = self._props
            reading = None
            if props is not None and props.sleeping is not None:
                reading = self._idle_reading(asleep=props.sleeping)
            if reading is None:
                try:
                    answer = self._fetcher.get(self._address, self._body_bytes)
                    other = mistaken_engine(answer.body)
                    if other is not None:  # from now on its real metrics page
                        self._address = sibling_url(self._address, self._engine, other.default_path)
                        answer = self._fetcher.get(self._address, self._body_bytes)
                except ReadFailedError as failure:
                    if failure.reason in REFUSED:
                        self._explain(failure)
                    raise
                self._on_page("", answer)
                with self._parse_lock.taken(answer.body):
                    page = self._read_page(answer)
                reading = self._last = self._noted(page)
        except ReadFailedError as failure:
            if self._target.server_context.metrics_off and failure.reason in PERMANENT_FAILURES:
                self._permanent_failure = failure
            self._same_server = False
            self._probe.forget()
            self._idle.was(active=True)
            if failure.reason == FailureReason.CONNECTION:
                self._address = metrics_url(self._target.url, self._recognizer.configured)
            raise
        return reading

    def _read_props(self) -> None:
        """Read whether a llama.cpp, or a new server, sleeps, before a read of its metrics may wake it."""
        may_sleep = not self._same_server and self._engine in (None, LLAMACPP)
        if not may_sleep and (self._props is None or self._props.sleeping is None):
            return
        try:
            body = self._page_body("props")
        except ReadFailedError as failure:
            if failure.reason in NO_ANSWER:
                raise
            self._props = None  # no such page, or a model that is not loaded: the metrics have the reason
            return
        self._props = probe.props(body)
        if self._props is not None and self._props.router:
            raise ReadFailedError(
                FailureReason.ROUTER,
                f"{self._shown}: a llama.cpp router: configure an endpoint for each model, with ?model=NAME",
            )

    def _idle_reading(self, *, asleep: bool) -> ServerReading | None:
        """The reading of a llama.cpp that sleeps or may fall asleep; `None`: read its metrics."""
        self._idle.sees(sleeping=asleep)
        last = self._last
        if not asleep:
            due = self._idle.due(self._clock.elapsed(), busy=self._busy())
            return None if due or last is None else replace(last, loads=())
        if last is None:
            raise ReadFailedError(
                FailureReason.ASLEEP, f"{self._shown}: asleep since before it was first read"
            )
        loads = (replace(load, running=0.0, waiting=0.0, kv_cache=None) for load in last.loads)
        return replace(last, loads=tuple(loads))

    def _explain(self, failure: ReadFailedError) -> None:
        """Raise a more specific failure of a refused metrics page, if there is one."""
        if self._engine is None:
            root = urlsplit(self._address)._replace(path="/", query="").geturl()
            try:
                greeting = self._fetcher.get(root, GREETING_BYTES_MAX).body.strip()
            except ReadFailedError:
                greeting = b""
            for engine in UNCOUNTED.values():
                if engine.greeting == greeting:
                    problem = f"{self._shown}: {engine.title}, {engine.what}: {engine.remedy}"
                    raise ReadFailedError(FailureReason.NO_TOKENS, problem) from failure
        off = self._target.server_context.metrics_off or failure.reason == FailureReason.METRICS_OFF
        if failure.reason in ABSENT and off:
            switch = "" if self._engine is None else self._engine.manual.switch
            more = f"; it serves metrics with {switch}" if switch else ""
            raise ReadFailedError(FailureReason.METRICS_OFF, f"{failure}{more}") from failure

    def _read_page(self, answer: HttpResponse) -> ReadPage:
        last, self._engine = self._engine, self._recognizer.configured
        self._engine, page = self._recognizer.recognize(answer.body, last)
        identity, _ = identity_of(self._engine, page, answer)
        info = self._info(self._engine, identity or self._target.server_context.identity)
        return self._reader.read(self._engine, page, answer, info)

    def _info(self, engine: Engine, identity: str) -> ServerInfo:
        """Model and version that the metrics lack; a llama.cpp has them in its `/props`."""
        props = self._props if engine is LLAMACPP else None
        if props is None:
            return self._probe.info(engine, identity)
        model = props.model or self._probe.info(engine, identity).model
        return ServerInfo(model, props.build, props.slots)

    def _noted(self, page: ReadPage) -> ServerReading:
        """The reading of a page, once it is known what it leaves out and whether the server was active."""
        self._note_errors(page.left_out)
        reading, last = page.reading, self._last
        if self._props is not None:
            moved = last is None or last.counters != reading.counters
            self._idle.was(active=moved or any(load.running or load.waiting for load in reading.loads))
        self._same_server = True
        return reading

    def _fetch_body(self, path: str) -> bytes:
        with self._parse_lock.left():
            return self._page_body(path)

    def _page_body(self, path: str) -> bytes:
        """Another page of the same server, behind the same prefix as its metrics."""
        answer = self._fetcher.get(sibling_url(self._address, self._engine, "/" + path), probe.JSON_BYTES_MAX)
        self._on_page(path, answer)
        return answer.body

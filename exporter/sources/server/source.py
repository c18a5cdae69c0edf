"""One endpoint of an inference server: requests its pages, and has them recognized and read."""

import json
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from exporter.clock import Clock
from exporter.engines import UNCOUNTED, Engine, Way, mistaken_engine
from exporter.engines.llamacpp import LLAMACPP
from exporter.readings import FailureReason, ReadFailedError, ServerKey, ServerReading, label
from exporter.sources.http_client import HttpClientProtocol, HttpResponse
from exporter.sources.server.endpoint import BODY_BYTES_MAX, TIMEOUT_SECONDS, EndpointSource
from exporter.sources.server.fetch import REASON_BY_STATUS, metrics_url, sibling_url
from exporter.sources.server.llamacpp_sleep import SleepWatch
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

ABSENT: Final = frozenset({FailureReason.NOT_FOUND, FailureReason.METRICS_OFF})
"""Failures of a server that has no such page, or has switched it off."""

REFUSED: Final = frozenset({*REASON_BY_STATUS.values(), FailureReason.HTTP_STATUS})
"""Failures by an HTTP status other than 200."""

GREETING_BYTES_MAX: Final = 4096

JSON_BYTES_MAX: Final = 1 << 20
"""Largest JSON page; a chat template has tens of kilobytes."""

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
        self._target = target
        self._busy = busy
        self._on_page = on_page
        self._recognizer = Recognizer(target.engine, engines, self._shown)
        self._reader = PageReader(target, self._shown)
        self._probe = ServerProbe(self._page_body)
        self._sleep = SleepWatch(self._shown)
        self._engine = self._recognizer.configured
        """The engine of the last page."""
        self._address = metrics_url(target.url, self._engine)
        """Of the metrics; a page that is not them may name another one."""
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
        self._begin_read()
        if self._permanent_failure is not None:
            raise ReadFailedError(self._permanent_failure.reason, str(self._permanent_failure))
        try:
            # Before a read of its metrics may wake a llama.cpp, or a new server that may be one.
            if self._sleep.may_sleep or (not self._same_server and self._engine in (None, LLAMACPP)):
                self._sleep.look(self._page_body)
            reading = self._sleep.idle_reading(self._last, self._clock.elapsed(), self._busy)
            if reading is None:
                answer = self._metrics_page()
                page = self._read_page(answer)
                reading = page.reading
                self._note_errors(page.left_out)
                self._sleep.note(reading, self._last)
                self._same_server = True
                self._last = reading
        except ReadFailedError as failure:
            if self._target.server_context.metrics_off and failure.reason in PERMANENT_FAILURES:
                self._permanent_failure = failure
            self._same_server = False
            self._probe.forget()
            self._sleep.note_failure()
            if failure.reason == FailureReason.CONNECTION:
                self._address = metrics_url(self._target.url, self._recognizer.configured)
            raise
        return reading

    def _metrics_page(self) -> HttpResponse:
        """The metrics.

        Raises:
            ReadFailedError: as a `Fetcher`, and why a page is refused, as far as other pages show it.
        """
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
        return answer

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
        last = self._engine
        self._engine = self._recognizer.configured  # where the page is not recognized
        with self._parsing_turn(answer.body):
            engine, page = self._recognizer.recognize(answer.body, last)
        self._engine = engine
        identity, _ = identity_of(engine, page, answer)
        identity = identity or self._target.server_context.identity
        props = self._sleep.props if engine is LLAMACPP else None
        if props is None:
            info = self._probe.info(engine, identity)
        else:
            model = props.model or self._probe.info(engine, identity).model
            info = ServerInfo(model, props.build, props.slots)
        with self._parsing_turn(answer.body):
            return self._reader.read(engine, page, answer, info)

    def _page_body(self, path: str) -> bytes:
        """Another page of the same server, behind the same prefix as its metrics."""
        answer = self._fetcher.get(sibling_url(self._address, self._engine, "/" + path), JSON_BYTES_MAX)
        self._on_page(path, answer)
        return answer.body


class ServerProbe:
    """Caches the answers of one server. `fetch` gets a path's body, or raises `ReadFailedError`.

    A missing model is requested again, since the server may be loading it; a missing version is not.
    """

    def __init__(self, fetch: Callable[[str], bytes]) -> None:
        self._fetch = fetch
        self._of: tuple[str, str] | None = None
        self._known = ServerInfo()

    def forget(self) -> None:
        """Empty the cache: another server may answer next."""
        self._of = None

    def info(self, engine: Engine, identity: str) -> ServerInfo:
        """Model and version of the process `identity`, requested where they are not cached."""
        same = self._of == (engine.name, identity)
        if not same:
            self._known = ServerInfo()
        self._of = engine.name, identity
        for question in engine.questions:
            model = question.model if not self._known.model else ()
            version = question.version if not self._known.version and not same else ()
            if model or version:
                try:
                    body = self._fetch(question.path)
                except ReadFailedError:
                    body = b""
                self._known = ServerInfo(
                    self._known.model or text(body, model), self._known.version or text(body, version)
                )
        return self._known


def text(body: bytes, way: Way) -> str:
    """The text at the end of a way into a JSON document; empty if there is none."""
    if not way:
        return ""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    for step in way:
        if isinstance(step, str):
            value = value.get(step) if isinstance(value, dict) else None
        else:
            value = value[step] if isinstance(value, list) and step < len(value) else None
    return label(value) if isinstance(value, str) else ""

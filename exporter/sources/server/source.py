"""One endpoint of an inference server: requests its pages, and has them recognized and read.

`ServerSource.read` is the key to this file. `endpoint` requests, `page_reader` reads the metrics page, and
`probe` has all other pages.

Three objects remember the server between two reads. An empty cell: the event leaves the state as it is.

    state                      the start    a metrics page had a reading    a read failed
    _known.engine              configured   of the page, even without one   configured, if the page was
                                                                            not recognized
    _known.reading             none         of the page
    _known.permanent_failure   none                                         this one, if the command line
                                                                            switches metrics off
    _known.address             configured                                   configured, if the server is
                                                                            gone or replaced
    _probe, process            none         of the page                     none: `/props` are due
    _probe, model, version     none         of the process
    _probe.props               none         of the process
    _sleep, activity           yes          if tokens moved, or requests    yes: the metrics are due
                                            run or wait

A read of `/props` sets `_probe.props`, and activity where they show that the server woke.
Another server may answer after a failed read. What it is asked for follows from what is configured, never
from the engine that answered before.
"""

from collections.abc import Callable
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from exporter.clock import Clock
from exporter.engines import UNCOUNTED_SERVERS, Engine, Uncounted, mistaken_engine
from exporter.engines.llamacpp import LLAMACPP
from exporter.readings import ErrorCounts, FailureReason, ReadFailedError, ServerKey, ServerReading
from exporter.sources.http_client import HttpClientProtocol, HttpResponse
from exporter.sources.server.endpoint import (
    BODY_BYTES_MAX,
    REASON_BY_STATUS,
    TIMEOUT_SECONDS,
    EndpointSession,
    MetricsAddress,
    metrics_url,
    sibling_url,
)
from exporter.sources.server.page_reader import NO_OTHERS, KnownEngines, PageReader, Target
from exporter.sources.server.probe import ServerProbe, SleepWatch
from exporter.units import Nanoseconds

PERMANENT_FAILURES: Final = frozenset(
    {
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


class _PermanentFailure(NamedTuple):
    """A failure that every later read repeats without a request."""

    reason: FailureReason
    problem: str


class _KnownServer:
    """What metrics pages and failures tell of a server. Each method is an event of the table above."""

    def __init__(self, target: Target, configured: Engine | None) -> None:
        self._metrics_off = target.server_context.metrics_off
        self.configured = configured
        """The engine that the endpoint is configured for; `None` where each page decides."""
        self.engine = configured
        """The engine of the last metrics page, else the configured one; `None` while it is unknown."""
        self.reading: ServerReading | None = None
        """The last reading of a metrics page, however many reads failed since."""
        self.permanent_failure: _PermanentFailure | None = None
        """The failure of every read from now on; `None` while there is none."""
        self.address = MetricsAddress(metrics_url(target.url, configured))

    def recognized(self, engine: Engine) -> None:
        """A metrics page was recognized. It may still have no reading."""
        self.engine = engine

    def not_recognized(self) -> None:
        """A metrics page was not recognized."""
        self.engine = self.configured

    def page_read(self, reading: ServerReading) -> None:
        """A metrics page had a reading."""
        self.reading = reading
        self.address.note_read()

    def failed(self, failure: ReadFailedError) -> None:
        """A read failed: another server may answer the next one.

        Metrics that the command line switches off may be on by a file or the environment. One refusal
        shows that they are off, and is permanent.
        """
        self.address.note_failure(failure.reason)
        if self._metrics_off and failure.reason in PERMANENT_FAILURES:
            self.permanent_failure = _PermanentFailure(failure.reason, str(failure))


class ServerSource:
    """Reads one endpoint of a server.

    While a llama.cpp is asleep, or left alone so that it may fall asleep, its reading has its last counters.
    Tokens and restarts of that time show in the next read of its metrics. A llama.cpp that sleeps and was
    never read fails as `asleep`, since its counters are not known to be zero.
    A server whose command line switches metrics off is read until it has refused once.

    Args:
        target: the endpoint.
        client: for http, shared and not closed here.
        clock: times the requests.
        engines: engines that matter beside the endpoint's own.
        timeout: of one read, in seconds.
        body_bytes: the longest metrics page.
        busy: whether a GPU of this server was busy in the last tick, true while that is unknown: an idle
            llama.cpp is read ever less often, so that it may fall asleep (see `SleepWatch`).
        on_page: gets each page of a read, but for the root page that identifies Ollama.
    """

    may_be_slow: Final = True
    """The endpoint may be slow, and other sources do not wait for it."""

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
        self._target = target
        self._clock = clock
        self._busy = busy
        self._on_page = on_page
        self._endpoint = EndpointSession(
            target.url, client, clock, access=target.access, timeout=timeout, body_bytes=body_bytes
        )
        self._page_reader = PageReader(target, engines, self._endpoint.shown)
        self._known = _KnownServer(target, self._page_reader.configured)
        self._probe = ServerProbe(self._other_page, self._endpoint.shown)
        self._sleep = SleepWatch(self._endpoint.shown)

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
    def url(self) -> str:
        """The endpoint's name: its URL, a query masked and replaced by a digest."""
        return self._endpoint.id

    @property
    def errors(self) -> ErrorCounts:
        """Lines and series that the last reading leaves out, by reason."""
        return self._endpoint.errors

    @property
    def waited(self) -> Nanoseconds:
        """How long the last read waited for the parsing of other large pages."""
        return self._endpoint.waited

    def close(self) -> None:
        """Close the endpoint's own client, if it has one."""
        self._endpoint.close()

    def read(self) -> ServerReading:
        """Read once.

        Raises:
            ReadFailedError: as `EndpointSession.get`; `not_recognized`, `gateway`, `counted_twice`,
                `no_tokens`; `router`, `asleep` of llama.cpp.
        """
        known = self._known
        self._endpoint.begin_read()
        if known.permanent_failure is not None:
            raise ReadFailedError(known.permanent_failure.reason, known.permanent_failure.problem)
        try:
            reading = self._read_at_rest()
            if reading is None:
                reading = self._metrics_reading(self._metrics_page())
        except ReadFailedError as failure:
            # The last column of the table above.
            known.failed(failure)
            self._probe.forget_process()
            self._sleep.note_failure()
            raise
        return reading

    def _read_at_rest(self) -> ServerReading | None:
        """The reading of a llama.cpp that sleeps or is left alone, by its last one and its `/props`.

        `None` where the metrics are to be read. A read of them wakes a llama.cpp; one of `/props` does not.

        Raises:
            ReadFailedError: as `EndpointSession.get`; `router`, `asleep`.
        """
        known = self._known
        may_be_llamacpp = known.configured is None or known.configured is LLAMACPP
        # Due before each read of a build that can sleep, and once of any other process.
        if may_be_llamacpp and self._probe.props_are_due:
            self._probe.read_props()
        last = known.reading
        if last is not None and last.engine != LLAMACPP.name:
            last = None  # of a server whose place a llama.cpp may have taken
        return self._sleep.reading_at_rest(
            self._probe.props, last, now=self._clock.elapsed(), busy=self._busy
        )

    def _metrics_page(self) -> HttpResponse:
        """Request the metrics page, at another address where its own has a page that is none.

        Raises:
            ReadFailedError: as `EndpointSession.get`, or by the `_diagnosis` of a page that is refused.
        """
        address = self._known.address
        try:
            answer = self._endpoint.get(address.url, self._endpoint.body_bytes)
            mistaken = mistaken_engine(answer.body)
            if mistaken is not None:
                # The address moves whatever the other page answers: this one must not be requested again.
                address.move(sibling_url(address.url, self._known.engine, mistaken.default_path))
                answer = self._endpoint.get(address.url, self._endpoint.body_bytes)
        except ReadFailedError as failure:
            diagnosis = self._diagnosis(failure)
            if diagnosis is None:
                raise
            raise diagnosis from failure
        self._on_page("", answer)
        return answer

    def _diagnosis(self, failure: ReadFailedError) -> ReadFailedError | None:
        """Why a metrics page is refused, by the root page or the command line; `None` if neither shows it."""
        if failure.reason not in REFUSED:
            return None
        server = self._uncounted_server()
        if server is None:
            return self._diagnosis_of_metrics_off(failure)
        problem = f"{self._endpoint.shown}: {server.title}, {server.what}: {server.remedy}"
        return ReadFailedError(FailureReason.NO_TOKENS, problem)

    def _uncounted_server(self) -> Uncounted | None:
        """Request the root page, and return the server without metrics that it greets as, such as Ollama.

        A server whose engine is configured is none of these, and its root page is not requested.
        """
        if self._known.configured is not None:
            return None
        root = urlsplit(self._known.address.url)._replace(path="/", query="").geturl()
        try:
            greeting = self._endpoint.get(root, GREETING_BYTES_MAX).body.strip()
        except ReadFailedError:
            return None
        return next((server for server in UNCOUNTED_SERVERS.values() if server.greeting == greeting), None)

    def _diagnosis_of_metrics_off(self, failure: ReadFailedError) -> ReadFailedError | None:
        """A refusal as `metrics_off` with its remedy; `None` if the metrics are not known to be off.

        They are off by the answer, or by the command line where there is no such page.
        """
        is_off = failure.reason == FailureReason.METRICS_OFF
        if failure.reason == FailureReason.NOT_FOUND:
            is_off = self._target.server_context.metrics_off
        if not is_off:
            return None
        engine = self._known.engine
        switch = "" if engine is None else engine.manual.switch
        remedy = f"; it serves metrics with {switch}" if switch else ""
        return ReadFailedError(FailureReason.METRICS_OFF, f"{failure}{remedy}")

    def _metrics_reading(self, answer: HttpResponse) -> ServerReading:
        """The reading of a metrics page, noted as the last one.

        Raises:
            ReadFailedError: the page is not recognized, or has no reading; as `ServerProbe.info`.
        """
        known = self._known
        with self._endpoint.parsing_turn(answer.body):
            try:
                page = self._page_reader.recognize(answer, known.engine)
            except ReadFailedError:
                known.not_recognized()
                raise
        known.recognized(page.engine)
        # Outside the turn: the model may take a request, for which no other source is to wait.
        info = self._probe.info(page.engine, self._page_reader.identity(page))
        with self._endpoint.parsing_turn(answer.body):
            read_page = self._page_reader.read(page, info)
        self._endpoint.note_errors(read_page.left_out)
        last = known.reading  # before `page_read` replaces it: activity is what has changed since
        known.page_read(read_page.reading)
        self._sleep.note_read(read_page.reading, last)
        return read_page.reading

    def _other_page(self, path: str) -> bytes:
        """Request another page of the same server, behind the same prefix as its metrics."""
        url = sibling_url(self._known.address.url, self._known.engine, f"/{path}")
        answer = self._endpoint.get(url, JSON_BYTES_MAX)
        self._on_page(path, answer)
        return answer.body

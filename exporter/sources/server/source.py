"""One endpoint of an inference server."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlsplit

from exporter.clock import Clock
from exporter.engines import (
    ENGINES,
    UNCOUNTED,
    Described,
    Engine,
    GatewaySpec,
    Interpretation,
    Page,
    Uncounted,
    announces,
    described,
    everything,
    interpret,
    latency_series,
    match,
    mistaken_engine,
    process_identity,
    read,
    wanted,
)
from exporter.engines.llamacpp import LLAMACPP
from exporter.engines.roles import agreed_role
from exporter.readings import (
    Division,
    FailureReason,
    Peer,
    ReadFailedError,
    Role,
    RoleClaim,
    SequenceLimit,
    ServerKey,
    ServerReading,
    ServiceLevel,
    endpoint_id,
)
from exporter.sources.http_client import HttpClientProtocol, HttpResponse
from exporter.sources.server import probe
from exporter.sources.server.endpoint import (
    BODY_BYTES_MAX,
    DIRECT,
    TIMEOUT_SECONDS,
    UNKNOWN_PAGE,
    EndpointSource,
)
from exporter.sources.server.fetch import REASON_BY_STATUS, EndpointAccess, metrics_url, sibling_url
from exporter.sources.server.probe import JSON_BYTES_MAX, ServerInfo, ServerProbe
from exporter.units import Instant


@dataclass(frozen=True, slots=True)
class ServerContext:
    """Facts about a server from other sources than its endpoint.

    `identity` and `started` are of the process that listens, for pages that have neither.
    `absent_at` is a moment at which it did not exist yet. `world_size` is the number of its GPUs.
    `max_running` is the largest number of sequences that it runs at once, by its command line.
    `division` is its division by a gateway. `metrics_off`: its command line switches metrics off, or not on;
    a file or its environment may do so, and it is read until it refuses.
    `role` is configured; without one `role_claims` are held against the page.
    `slo` is its service level: without one no latency histogram is read.
    """

    pod: str = ""
    identity: str = ""
    started: Instant | None = None
    absent_at: Instant | None = None
    spans_hosts: bool = False
    role: Role = ""
    role_claims: tuple[RoleClaim, ...] = ()
    world_size: int | None = None
    max_running: SequenceLimit | None = None
    division: Division | None = None
    metrics_off: bool = False
    slo: ServiceLevel | None = None


def repeated(engines: Iterable[str | None]) -> frozenset[str]:
    """Names of the engines whose tokens any of these counts again, which only built-in ones do."""
    return frozenset(name for engine in engines if engine in ENGINES for name in ENGINES[engine].repeats)


def engine_of_page(
    row: Engine | GatewaySpec | None,
    configured: Engine | None,
    counted_elsewhere: Collection[str],
    url: str,
) -> Engine:
    """The engine by which to read a page that matches `row`.

    It is the configured one but in three cases: a gateway's page is none, an engine that repeats others is
    read only if it is configured itself, and one that shows another's page as its own is that other one.
    `counted_elsewhere` are engines whose tokens another endpoint counts already.

    Raises:
        ReadFailedError: `gateway`, `counted_twice`, `not_recognized`.
    """
    if isinstance(row, GatewaySpec):
        raise ReadFailedError(
            FailureReason.GATEWAY, f"{url}: answers with the page of {row.title}, {row.what}: {row.remedy}"
        )
    if row is not None and row.repeats and row is not configured:
        counted = f"which counts what {' and '.join(row.repeats)} counts"
        raise ReadFailedError(
            FailureReason.GATEWAY,
            f"{url}: answers with the page of {row.manual.title}, {counted}: {row.instead}",
        )
    engine = configured
    if row is not None and (configured is None or row.name in configured.disguises):
        engine = row
    if engine is None:
        raise ReadFailedError(FailureReason.NOT_RECOGNIZED, f"{url}: answers with {UNKNOWN_PAGE}")
    for one in (engine, row):
        if one is not None and one.name in counted_elsewhere:
            counted = "whose tokens the configuration has counted at another endpoint: remove one of the two"
            raise ReadFailedError(
                FailureReason.COUNTED_TWICE,
                f"{url}: answers with the page of {one.manual.title or one.name}, {counted}",
            )
    return engine


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

    `engine` is a name of `engines.ENGINES` or of an engine `described` in the configuration; without one the
    page decides. `counted_elsewhere` are names of engines whose tokens another endpoint counts already (see
    `engine_of_page`).
    `busy` is whether a GPU of this server was busy in the last tick, true while that is unknown: an idle
    llama.cpp server is read ever less often, so that it may fall asleep (see `IdleBackoff`).
    While it is not read, or asleep, its reading has its last counters. Tokens and restarts of that time show
    in the next read.
    `on_page` gets each page of a read, but for the root page that identifies Ollama.
    A server whose command line switches metrics off is read until it has refused once (see `ServerContext`).
    A server that sleeps and was never read fails as `asleep`, since its counters are not known to be zero.

    The timeout does not bound the look-up of a host's name; addresses need no look-up.
    """

    def __init__(
        self,
        key: ServerKey,
        url: str,
        client: HttpClientProtocol,
        clock: Clock,
        *,
        engine: str | None = None,
        access: EndpointAccess = DIRECT,
        timeout: float = TIMEOUT_SECONDS,
        body_bytes: int = BODY_BYTES_MAX,
        busy: Callable[[], bool] | None = None,
        context: ServerContext | None = None,
        counted_elsewhere: Collection[str] = (),
        described: Described = (),
        on_page: OnPage | None = None,
    ) -> None:
        super().__init__(url, client, clock, access=access, timeout=timeout, body_bytes=body_bytes)
        self._key = key
        self._clock = clock
        self._busy = busy
        self._context = context or ServerContext()
        division = self._context.division
        self._division = division and replace(division, gateway=endpoint_id(division.gateway))
        self._counted_elsewhere = counted_elsewhere
        self._described = described
        self._configured = None if engine is None else _engine(engine, described)
        self._engine = self._configured
        self._address = self._configured_address = metrics_url(url, self._configured)
        self._on_page = on_page
        self._unrecognized = True
        self._props: probe.LlamaCppProps | None = None
        self._probe = ServerProbe(self._fetch_body)
        self._rest = probe.IdleBackoff()
        self._info = ServerInfo()
        self._last: ServerReading | None = None
        self._permanent_failure: ReadFailedError | None = None

    @property
    def name(self) -> str:
        """The value of the `source` label: server:chat, or server:search/chat with a namespace."""
        key = self._key
        return f"server:{key.namespace}/{key.server}" if key.namespace else f"server:{key.server}"

    @property
    def key(self) -> ServerKey:
        """The server that the endpoint belongs to."""
        return self._key

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
            reading = self._read_while_idle()
            if reading is None:
                try:
                    response = self._fetcher.get(self._address, self._body_bytes)
                    other = mistaken_engine(response.body)
                    if other is not None:  # from now on its real metrics page
                        self._address = sibling_url(self._address, self._engine, other.default_path)
                        response = self._fetcher.get(self._address, self._body_bytes)
                except ReadFailedError as failure:
                    self._explain(failure)
                    raise
                reading = self._read_response(response)
        except ReadFailedError as failure:
            if self._context.metrics_off and failure.reason in PERMANENT_FAILURES:
                self._permanent_failure = failure
            self._unrecognized = True  # the next answer may be another server's
            self._probe.forget()
            self._rest.was(active=True)
            if failure.reason == FailureReason.CONNECTION:
                self._address = self._configured_address
            raise
        return reading

    def _explain(self, failure: ReadFailedError) -> None:
        """Raise a more specific failure of the metrics page, if there is one."""
        if failure.reason not in REFUSED:
            return
        uncounted = self._uncounted() if self._engine is None else None
        if uncounted is not None:
            problem = f"{self._shown}: {uncounted.title}, {uncounted.what}: {uncounted.remedy}"
            raise ReadFailedError(FailureReason.NO_TOKENS, problem) from failure
        off = self._context.metrics_off or failure.reason == FailureReason.METRICS_OFF
        if failure.reason in ABSENT and off:
            switch = "" if self._engine is None else self._engine.manual.switch
            more = f"; it serves metrics with {switch}" if switch else ""
            raise ReadFailedError(FailureReason.METRICS_OFF, f"{failure}{more}") from failure

    def _uncounted(self) -> Uncounted | None:
        """The engine without metrics whose root page this is, if any."""
        root = urlsplit(self._address)._replace(path="/", query="").geturl()
        try:
            response = self._fetcher.get(root, GREETING_BYTES_MAX)
        except ReadFailedError:
            return None
        greeting = response.body.strip()
        return next((engine for engine in UNCOUNTED.values() if engine.greeting == greeting), None)

    def _page_body(self, path: str) -> bytes:
        """Another page of the same server, behind the same prefix as its metrics."""
        url = sibling_url(self._address, self._engine, "/" + path)
        response = self._fetcher.get(url, JSON_BYTES_MAX)
        if self._on_page is not None:
            self._on_page(path, response)
        return response.body

    def _read_while_idle(self) -> ServerReading | None:
        """The reading of a llama.cpp that sleeps or may fall asleep; `None`: read its metrics."""
        self._read_props()
        sleeping = None if self._props is None else self._props.sleeping
        if sleeping is None:
            return None
        self._rest.sees(sleeping=sleeping)
        if sleeping:
            return self._asleep()
        due = self._rest.due(self._clock.elapsed(), busy=self._busy is None or self._busy())
        return None if due or self._last is None else replace(self._last, loads=())

    def _read_response(self, response: HttpResponse) -> ServerReading:
        if self._on_page is not None:
            self._on_page("", response)
        with self._parse_lock.taken(response.body):
            reading = self._parse_page(response)
        if self._props is not None:
            self._rest.was(active=self._moved(reading))
        self._unrecognized = False
        self._last = reading
        return reading

    def _rematched(self, engine: Engine) -> bool:
        """Whether each page must be recognized: it may be another engine's."""
        return bool(engine.disguises) or engine.name in self._counted_elsewhere

    def _parse_page(self, answer: HttpResponse) -> ServerReading:
        page, engine = self._recognized(answer.body)
        interpretation = self._interpreted(engine, page, answer)
        bad = self._context.slo is not None and interpretation.latencies is None
        self._note_errors(page, implausible=interpretation.implausible, bad_histograms=int(bad))
        role, doubt = self._context.role, ""
        if not role:
            role, doubt = agreed_role(self._context.role_claims, engine, page, interpretation)
        return replace(self._reading(engine, interpretation, answer.peer), role=role, role_doubt=doubt)

    def _fetch_body(self, path: str) -> bytes:
        with self._parse_lock.left():
            return self._page_body(path)

    def _moved(self, reading: ServerReading) -> bool:
        """Whether counters moved since the last read, or requests are running or waiting."""
        if self._last is None or self._last.counters != reading.counters:
            return True
        return any(load.running or load.waiting for load in reading.loads)

    def _read_props(self) -> None:
        """Read whether a llama.cpp, or a new server, sleeps, before a read of its metrics may wake it."""
        may_sleep = self._unrecognized and self._engine in (None, LLAMACPP)
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

    def _asleep(self) -> ServerReading:
        if self._last is None:
            raise ReadFailedError(
                FailureReason.ASLEEP, f"{self._shown}: asleep since before it was first read"
            )
        return replace(
            self._last,
            loads=tuple(replace(load, running=0.0, waiting=0.0, kv_cache=None) for load in self._last.loads),
        )

    def _recognized(self, body: bytes) -> tuple[Page, Engine]:
        """The page, and its engine; one that no longer matches is recognized again."""
        engine = self._engine
        if engine is not None and not self._rematched(engine):
            page = self._page(body, engine)
            if engine.fingerprint.matches(page):
                return page, engine
        page = self._page(body, None)
        self._engine = self._configured
        self._engine = engine_of_page(
            match(page, self._described), self._configured, self._counted_elsewhere, self._shown
        )
        return page, self._engine

    def _page(self, body: bytes, engine: Engine | None) -> Page:
        names = everything(self._described) if engine is None else wanted(engine)
        page = read(body, names)
        if page.cut:
            raise ReadFailedError(FailureReason.TOO_LARGE, f"{self._shown}: more series than an engine has")
        return page

    def _interpreted(self, engine: Engine, page: Page, answer: HttpResponse) -> Interpretation:
        header = answer.headers.get(engine.identity_header, "") if engine.identity_header else ""
        process = process_identity(engine, page, header)
        self._info = self._server_info(engine, process[0] or self._context.identity)
        slo = self._context.slo
        interpretation = interpret(
            engine,
            page,
            model=self._info.model,
            process=process,
            limit=self._limit(engine),
            slo=slo,
            # Apart from the counters: whatever their number or faults, tokens are counted.
            histograms=None if slo is None else read(answer.body, latency_series(engine)),
        )
        tokens = any(counter.quantity in ("prompt", "generation") for counter in interpretation.counters)
        late = engine.creates_late or not engine.tokens
        if not tokens and not (late and self._fits(engine, page, answer)):
            raise ReadFailedError(
                FailureReason.NO_TOKENS, f"{self._shown}: no counter of tokens that {engine.name} has"
            )
        return interpretation

    def _limit(self, engine: Engine) -> SequenceLimit | None:
        """The largest number of running sequences: by the slots of a llama.cpp, else by the command line."""
        if engine is LLAMACPP and self._props is not None and self._props.slots:
            return SequenceLimit(self._props.slots, shared=True)
        return self._context.max_running

    def _fits(self, engine: Engine, page: Page, answer: HttpResponse) -> bool:
        """Whether a page without token counters is the engine's, before its first use."""
        if engine.fingerprint.matches(page) or not answer.body.strip() or announces(engine, answer.body):
            return True
        return not engine.tokens and not page.names.isdisjoint(engine.fingerprint.names)

    def _server_info(self, engine: Engine, identity: str) -> ServerInfo:
        """Model and version that the metrics lack; a llama.cpp has them in its `/props`."""
        props = self._props if engine is LLAMACPP else None
        if props is not None and props.model:
            return ServerInfo(props.model, props.build)
        info = self._probe.info(engine, identity)
        return info if props is None else replace(info, version=props.build)

    def _reading(self, engine: Engine, interpretation: Interpretation, peer: Peer | None) -> ServerReading:
        return ServerReading(
            key=self._key,
            url=self._id,
            up=True,
            engine=engine.name,
            engine_version=self._info.version,
            pod=self._context.pod,
            identity=interpretation.identity,
            started=interpretation.started,
            listener=self._context.identity,
            listener_started=self._context.started,
            absent_at=self._context.absent_at,
            spans_hosts=self._context.spans_hosts,
            world_size=self._context.world_size,
            division=self._division,
            slo=self._context.slo,
            latencies=interpretation.latencies,
            counters=interpretation.counters,
            loads=interpretation.loads,
            models=interpretation.models,
            peer=peer,
        )


def _engine(name: str, engines: Described) -> Engine:
    engine = described(name, engines)
    if engine is None:
        known = (*ENGINES, *(each.name for each in engines))
        raise ValueError(f"engine {name!r} is none of {', '.join(sorted(known))}")
    return engine

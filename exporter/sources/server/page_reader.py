"""A metrics page of a server: which engine it is of, and the reading that it makes."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from exporter.engines import (
    ENGINES,
    Described,
    Engine,
    GatewaySpec,
    Page,
    announces,
    described,
    everything,
    interpret,
    latency_series,
    match,
    process_identity,
    read,
    wanted,
)
from exporter.engines.roles import agreed_role
from exporter.readings import (
    Division,
    FailureReason,
    ReadFailedError,
    Role,
    RoleClaim,
    SequenceLimit,
    ServerKey,
    ServerReading,
    ServiceLevel,
    endpoint_id,
)
from exporter.sources.http_client import HttpResponse
from exporter.sources.server.endpoint import EndpointAccess
from exporter.units import Instant

UNKNOWN_PAGE: Final = "a page of no known engine"


@dataclass(frozen=True, slots=True)
class KnownEngines:
    """Engines that matter for an endpoint beside its own."""

    described: Described = ()
    """Engines that the configuration describes."""
    counted_elsewhere: Collection[str] = ()
    """Names of engines whose tokens another endpoint counts already."""


NO_OTHERS: Final = KnownEngines()


def repeated(engines: Iterable[str | None]) -> frozenset[str]:
    """Names of the engines whose tokens any of these engines counts again. Only built-in engines do."""
    return frozenset(name for engine in engines if engine in ENGINES for name in ENGINES[engine].repeats)


@dataclass(frozen=True, slots=True)
class ServerContext:
    """Facts about a server from other sources than its endpoint."""

    pod: str = ""
    identity: str = ""
    """The process that listens, for pages that do not identify their process."""
    started: Instant | None = None
    """Start of the process that listens."""
    absent_at: Instant | None = None
    """A moment at which the process that listens did not exist yet."""
    spans_hosts: bool = False
    role: Role = ""
    """The configured part of a disaggregated pair; without it `role_claims` are compared with the page."""
    role_claims: tuple[RoleClaim, ...] = ()
    world_size: int | None = None
    """Number of the server's GPUs."""
    max_running: SequenceLimit | None = None
    """Largest number of sequences that the server runs at once, by its command line."""
    division: Division | None = None
    """How a gateway divides the server."""
    metrics_off: bool = False
    """Whether the command line switches metrics off, or not on. The server is read until it refuses: a file
    or its environment may switch them on."""
    slo: ServiceLevel | None = None
    """The server's service level; without one no latency histogram is read."""


@dataclass(frozen=True, slots=True)
class Target:
    """One endpoint to read: its address, and what is known of the server."""

    key: ServerKey
    url: str
    engine: str | None = None
    """Name of its engine, built in or described in the configuration; `None` where the page decides."""
    access: EndpointAccess = field(default_factory=EndpointAccess)
    server_context: ServerContext = field(default_factory=ServerContext)


class ServerInfo(NamedTuple):
    """What other pages than the metrics say of a server; empty if unknown."""

    model: str = ""
    version: str = ""
    slots: int = 0
    """Number of requests that it runs at once."""


class RecognizedPage(NamedTuple):
    """A metrics page, and the engine that it is of."""

    engine: Engine
    page: Page
    answer: HttpResponse
    """The response that the page is the body of."""

    def process(self) -> tuple[str, Instant | None]:
        """Identity and start of the process that the page is of."""
        name = self.engine.identity_header
        header = self.answer.headers.get(name, "") if name else ""
        return process_identity(self.engine, self.page, header)

    def may_lack_tokens(self) -> bool:
        """Whether the page is the engine's without token counters: before its first use, or for good."""
        engine, page, body = self.engine, self.page, self.answer.body
        if engine.tokens and not engine.series_appear_late:
            return False
        if engine.fingerprint.matches(page) or not body.strip() or announces(engine, body):
            return True
        return not engine.tokens and not page.names.isdisjoint(engine.fingerprint.names)


class ReadPage(NamedTuple):
    """A reading, and how many parts of the page it leaves out, by reason."""

    reading: ServerReading
    left_out: Mapping[str, int]


class PageReader:
    """Recognizes and reads the metrics pages of one endpoint. `subject` names it in errors.

    `known` are engines that matter beside the endpoint's own.

    Raises:
        ValueError: no engine has the configured name.
    """

    def __init__(self, target: Target, known: KnownEngines, subject: str) -> None:
        self._known = known
        self._subject = subject
        self.configured = None if target.engine is None else described(target.engine, known.described)
        """The engine that the endpoint is configured for; `None` where the page decides."""
        if target.engine is not None and self.configured is None:
            names = sorted((*ENGINES, *(engine.name for engine in known.described)))
            raise ValueError(f"engine {target.engine!r} is none of {', '.join(names)}")
        self._context = target.server_context
        division = self._context.division
        self._blank = ServerReading(
            key=target.key,
            url=endpoint_id(target.url),
            up=True,
            pod=self._context.pod,
            listener=self._context.identity,
            listener_started=self._context.started,
            absent_at=self._context.absent_at,
            spans_hosts=self._context.spans_hosts,
            world_size=self._context.world_size,
            division=division and replace(division, gateway=endpoint_id(division.gateway)),
            slo=self._context.slo,
        )

    def recognize(self, answer: HttpResponse, last: Engine | None) -> RecognizedPage:
        """The page of a response, and the engine that it is of. `last` is the engine of the page before.

        Raises:
            ReadFailedError: `gateway`, `counted_twice`, `not_recognized`, `too_large`.
        """
        # A page that may be in disguise, or is counted elsewhere, is compared with all engines each time.
        if last is not None and not last.disguises and last.name not in self._known.counted_elsewhere:
            page = self._page(answer.body, last)
            if last.fingerprint.matches(page):
                return RecognizedPage(last, page, answer)
        page = self._page(answer.body, None)
        engine = self._engine_for(match(page, self._known.described))
        return RecognizedPage(engine, page, answer)

    def identity(self, recognized: RecognizedPage) -> str:
        """The process that a page is of; the process that listens where the page does not identify it."""
        by_page, _started = recognized.process()
        return by_page or self._context.identity

    def read(self, recognized: RecognizedPage, info: ServerInfo) -> ReadPage:
        """The reading of a page, with model and version by other pages.

        Raises:
            ReadFailedError: `no_tokens`.
        """
        context = self._context
        engine, page, answer = recognized
        interpretation = interpret(
            engine,
            page,
            model=info.model,
            process=recognized.process(),
            limit=SequenceLimit(info.slots, shared=True) if info.slots else context.max_running,
            slo=context.slo,
            # Apart from the counters: whatever their number or faults, tokens are counted.
            histograms=None if context.slo is None else read(answer.body, latency_series(engine)),
        )
        counts_tokens = any(
            counter.quantity in ("prompt", "generation") for counter in interpretation.counters
        )
        if not counts_tokens and not recognized.may_lack_tokens():
            problem = f"{self._subject}: no counter of tokens that {engine.name} has"
            raise ReadFailedError(FailureReason.NO_TOKENS, problem)
        role, doubt = context.role, ""
        if not role:
            role, doubt = agreed_role(context.role_claims, engine, page, interpretation)
        reading = replace(
            self._blank,
            engine=engine.name,
            engine_version=info.version,
            identity=interpretation.identity,
            started=interpretation.started,
            latencies=interpretation.latencies,
            counters=interpretation.counters,
            loads=interpretation.loads,
            models=interpretation.models,
            peer=answer.peer,
            role=role,
            role_doubt=doubt,
        )
        bad_histograms = context.slo is not None and interpretation.latencies is None
        return ReadPage(
            reading,
            {
                "malformed": page.malformed,
                "duplicate": page.duplicates,
                "implausible": interpretation.implausible,
                "bad_histograms": int(bad_histograms),
            },
        )

    def _page(self, body: bytes, engine: Engine | None) -> Page:
        """The series of a body that an engine counts; all that any engine counts without one."""
        page = read(body, everything(self._known.described) if engine is None else wanted(engine))
        if page.cut:
            raise ReadFailedError(FailureReason.TOO_LARGE, f"{self._subject}: more series than an engine has")
        return page

    def _engine_for(self, row: Engine | GatewaySpec | None) -> Engine:
        """The engine by which to read a page that matches `row`: the configured engine, else `row` itself.

        An engine that shows the page of another engine as its own is read as that other engine.

        Raises:
            ReadFailedError: `gateway`, the page is a gateway's, or of an engine that counts the tokens of
                others and is not configured here; `counted_twice`; `not_recognized`.
        """
        answers = f"{self._subject}: answers with"
        if isinstance(row, GatewaySpec):
            raise ReadFailedError(
                FailureReason.GATEWAY, f"{answers} the page of {row.title}, {row.what}: {row.remedy}"
            )
        engine = self.configured
        if row is not None and row.repeats and row is not engine:
            counted = f"which counts what {' and '.join(row.repeats)} counts"
            raise ReadFailedError(
                FailureReason.GATEWAY, f"{answers} the page of {row.manual.title}, {counted}: {row.instead}"
            )
        if row is not None and (engine is None or row.name in engine.disguises):
            engine = row
        if engine is None:
            raise ReadFailedError(FailureReason.NOT_RECOGNIZED, f"{answers} {UNKNOWN_PAGE}")
        for repeated_engine in (engine, row):
            if repeated_engine is not None and repeated_engine.name in self._known.counted_elsewhere:
                title = repeated_engine.manual.title or repeated_engine.name
                problem = (
                    f"{answers} the page of {title}, whose tokens the configuration has counted at another "
                    "endpoint: remove one of the two"
                )
                raise ReadFailedError(FailureReason.COUNTED_TWICE, problem)
        return engine

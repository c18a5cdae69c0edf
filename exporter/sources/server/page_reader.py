"""Readings of a server from a metrics page of a known engine."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from exporter.engines import (
    Engine,
    Page,
    announces,
    interpret,
    latency_series,
    process_identity,
    read,
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
from exporter.sources.server.fetch import EndpointAccess
from exporter.units import Instant


@dataclass(frozen=True, slots=True)
class ServerContext:
    """Facts about a server from other sources than its endpoint."""

    pod: str = ""
    identity: str = ""
    """The process that listens, for pages that do not identify it."""
    started: Instant | None = None
    """Start of that process."""
    absent_at: Instant | None = None
    """A moment at which it did not exist yet."""
    spans_hosts: bool = False
    role: Role = ""
    """Its configured part of a disaggregated pair; without one the claims are compared with the page."""
    role_claims: tuple[RoleClaim, ...] = ()
    world_size: int | None = None
    """Number of its GPUs."""
    max_running: SequenceLimit | None = None
    """Largest number of sequences that it runs at once, by its command line."""
    division: Division | None = None
    """Its division by a gateway."""
    metrics_off: bool = False
    """Whether its command line switches metrics off, or not on. It is read until it refuses: a file or its
    environment may switch them on."""
    slo: ServiceLevel | None = None
    """Its service level; without one no latency histogram is read."""


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


class ReadPage(NamedTuple):
    """A reading, and how many parts of the page it leaves out, by reason."""

    reading: ServerReading
    left_out: Mapping[str, int]


def identity_of(engine: Engine, page: Page, answer: HttpResponse) -> tuple[str, Instant | None]:
    """The process that a page is of, and its start."""
    header = answer.headers.get(engine.identity_header, "") if engine.identity_header else ""
    return process_identity(engine, page, header)


class PageReader:
    """Reads the pages of one endpoint. `subject` names it in errors."""

    def __init__(self, target: Target, subject: str) -> None:
        self._subject = subject
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

    def read(self, engine: Engine, page: Page, answer: HttpResponse, info: ServerInfo) -> ReadPage:
        """The reading of a page.

        Raises:
            ReadFailedError: `no_tokens`.
        """
        context = self._context
        interpretation = interpret(
            engine,
            page,
            model=info.model,
            process=identity_of(engine, page, answer),
            limit=SequenceLimit(info.slots, shared=True) if info.slots else context.max_running,
            slo=context.slo,
            # Apart from the counters: whatever their number or faults, tokens are counted.
            histograms=None if context.slo is None else read(answer.body, latency_series(engine)),
        )
        counts_tokens = any(
            counter.quantity in ("prompt", "generation") for counter in interpretation.counters
        )
        if not counts_tokens and not _may_lack_tokens(engine, page, answer):
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


def _may_lack_tokens(engine: Engine, page: Page, answer: HttpResponse) -> bool:
    """Whether a page without token counters is the engine's, before its first use or for good."""
    if engine.tokens and not engine.series_appear_late:
        return False
    if engine.fingerprint.matches(page) or not answer.body.strip() or announces(engine, answer.body):
        return True
    return not engine.tokens and not page.names.isdisjoint(engine.fingerprint.names)

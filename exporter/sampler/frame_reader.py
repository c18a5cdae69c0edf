"""One round of reads: every source once, put together into a frame."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from exporter.clock import Clock
from exporter.config.settings import Config
from exporter.cost.state import State
from exporter.readings import (
    FailureReason,
    Frame,
    GatewayReading,
    ServerKey,
    ServerReading,
    Source,
    UnreadServer,
    unread_reason,
)
from exporter.sources import configured as configured_gpus
from exporter.sources.discovery import Discovery
from exporter.sources.discovery.servers import DiscoveryResult
from exporter.sources.gather import Gather, Gathered
from exporter.sources.gpus import GpuAnswers, GpuSource, combine
from exporter.sources.pci import DisplayDevices
from exporter.sources.same_server import SameServers
from exporter.sources.server import GatewaySource, ServerContext
from exporter.units import Instant
from exporter.vendors import GpuVendor


class Endpoint(Source[ServerReading], Protocol):
    """Source of one server's counters; a server over HTTP, or a simulated one of the demo."""

    @property
    def key(self) -> ServerKey:
        """The server that the endpoint belongs to."""
        ...

    @property
    def url(self) -> str:
        """The address of the endpoint's metrics page."""
        ...


@dataclass(frozen=True, slots=True)
class FrameRead:
    """One frame, and the answers of the sources that it is made of."""

    frame: Frame
    gathered: list[Gathered]
    """The answers of all sources, of GPUs, gateways and servers included."""
    gpus: GpuAnswers
    gateways: tuple[Gathered, ...]
    """The answers of gateways, in the frame's order."""
    servers: tuple[Gathered, ...]
    """The answers of servers, in the frame's order."""
    discovered: DiscoveryResult

    def gathered_without_gpus(self) -> list[Gathered]:
        """All answers, those of the sources of GPUs as not expected: a host without GPUs misses nothing."""
        gpu_sources = {answer.health.source for answer in self.gpus.gathered}
        answers: list[Gathered] = []
        for answer in self.gathered:
            if answer.health.source in gpu_sources:
                answers.append(replace(answer, health=replace(answer.health, expected=False)))
            else:
                answers.append(answer)
        return answers


class _HostRead(NamedTuple):
    """Answers of the GPUs and of discovery's sources."""

    gpus: GpuAnswers
    discovery: list[Gathered]
    """Answers of discovery's sources."""
    discovered: DiscoveryResult


class _PagesRead(NamedTuple):
    """Answers of gateways and servers."""

    endpoints: tuple[Endpoint, ...]
    gateways: tuple[Gathered, ...]
    """Answers of the gateways, in their order."""
    servers: tuple[Gathered, ...]
    """Answers of the endpoints, in their order."""
    read_at: Mapping[str, str]
    """URLs of servers that another URL reads, each with that one."""


@dataclass(frozen=True, slots=True)
class FrameReader:
    """Reads the GPUs, discovery's sources, gateways and servers."""

    clock: Clock
    gather: Gather
    gpu_sources: tuple[GpuSource, ...]
    discovery: Discovery | None = None
    same_servers: SameServers = field(default_factory=SameServers)
    displays: Callable[[GpuVendor], DisplayDevices] = lambda _: DisplayDevices()
    """Counts a vendor's devices on the PCI bus, where its GPUs are not listed."""

    def read(
        self,
        config: Config,
        configured: tuple[Endpoint, ...],
        since: Instant | None,
        gateways: tuple[GatewaySource, ...] = (),
        remembered: State | None = None,
    ) -> FrameRead:
        """Read every source once.

        Args:
            config: servers and sources to read.
            configured: the endpoints that it names.
            since: when this host was last looked at, by this daemon or by the one before it.
            gateways: the gateways that it names.
            remembered: the state of the last tick: what each page answered last.

        Raises:
            MustRestartError: only a new process can read on.
        """
        # All clocks at one moment, before the sources take their time: else a slow one looks like suspend.
        elapsed = self.clock.elapsed()
        awake = self.clock.awake()
        wall = self.clock.wall()
        host = self._read_host(config, since)
        # After the host: the port of a server that has ended may be another program's by now.
        pages = self._read_pages(configured, gateways, remembered or State(), wall)
        gpus = host.gpus.gpus
        discovered = host.discovered
        of_host = (*host.gpus.gathered, *host.discovery)
        gathered = [*of_host, *pages.gateways, *pages.servers, *discovered.gathered]
        answered = tuple(zip(pages.endpoints, pages.servers, strict=True))
        unread = [
            UnreadServer(endpoint.key, unread_reason(answer.health.reason), endpoint.url)
            for endpoint, answer in answered
            if answer.reading is None
        ]
        frame = Frame(
            elapsed=elapsed,
            wall=wall,
            gpus=gpus,
            servers=tuple(
                _reading(endpoint, answer, pages.read_at.get(endpoint.url), discovered.listeners)
                for endpoint, answer in answered
            ),
            holders=(*configured_gpus.holders(config.servers, gpus or ()), *discovered.holders),
            unknown_gpus=discovered.unknown_gpus,
            owners=discovered.owners,
            users=discovered.users,
            health=tuple(answer.health for answer in gathered),
            awake=awake,
            boot=self.clock.boot(),
            incomplete=self.discovery is not None and (gpus is None or discovered.incomplete),
            gateways=tuple(
                answer.reading if answer.reading is not None else GatewayReading(gateway.url, up=False)
                for gateway, answer in zip(gateways, pages.gateways, strict=True)
            ),
            unread=(*discovered.unread, *unread),
            evidence=host.gpus.evidence,
        )
        return FrameRead(frame, gathered, host.gpus, pages.gateways, pages.servers, discovered)

    def _read_host(self, config: Config, since: Instant | None) -> _HostRead:
        """Read the GPUs and discovery's sources, and look for servers where there are GPUs."""
        sources = () if self.discovery is None else self.discovery.sources(config)
        answers = self.gather((*self.gpu_sources, *sources))
        gpu_count = len(self.gpu_sources)
        gpus = combine(self.gpu_sources, answers[:gpu_count], self.displays)
        of_discovery = answers[gpu_count:]
        discovered = DiscoveryResult()
        if self.discovery is not None and gpus.gpus is not None:
            discovered = self.discovery.look(config, gpus.gpus, of_discovery, self.gather, since)
        return _HostRead(gpus, of_discovery, discovered)

    def _read_pages(
        self,
        configured: tuple[Endpoint, ...],
        gateways: tuple[GatewaySource, ...],
        remembered: State,
        wall: Instant,
    ) -> _PagesRead:
        """Read gateways and servers. A server behind two addresses fails at the second."""
        named = {endpoint.url for endpoint in configured}
        others = () if self.discovery is None else self.discovery.endpoints
        # An endpoint that a reload has just named is read once.
        endpoints = (*configured, *(endpoint for endpoint in others if endpoint.url not in named))
        gathered = self.gather((*gateways, *endpoints))
        answers = [_of_one_process(answer, remembered, wall) for answer in gathered]
        of_servers = answers[len(gateways) :]
        readings = [answer.reading for answer in of_servers if answer.reading is not None]
        urls = (endpoint.url for endpoint in endpoints)
        read_at = self.same_servers.of(urls, readings, remembered.endpoints)
        servers: list[Gathered] = []
        for endpoint, answer in zip(endpoints, of_servers, strict=True):
            if answer.reading is None or endpoint.url not in read_at:
                servers.append(answer)
                continue
            other = f"the server that {read_at[endpoint.url]} reads, by another address"
            problem = f"{endpoint.url}: {other}: remove one of the two"
            servers.append(_failed(answer, FailureReason.COUNTED_TWICE, problem))
        return _PagesRead(endpoints, tuple(answers[: len(gateways)]), tuple(servers), read_at)


def _of_one_process(answer: Gathered, remembered: State, wall: Instant) -> Gathered:
    """An answer; a failure where several processes have answered at its address in the last day."""
    if answer.reading is None:
        return answer
    url = answer.reading.url
    states = remembered.endpoints.get(url), remembered.gateways.get(url)
    if not any(state is not None and state.marks.answers_of_several(wall) for state in states):
        return answer
    reason = FailureReason.SEVERAL_PROCESSES
    effect = f"{reason.problem}, and nothing is counted for a day. {reason.remedy}"
    return _failed(answer, reason, f"{url}: {effect}")


def _failed(answer: Gathered, reason: FailureReason, problem: str) -> Gathered:
    """An answer as a failure."""
    health = replace(answer.health, up=False, reason=reason)
    return replace(answer, reading=None, health=health, problem=problem)


def _reading(
    endpoint: Endpoint, answer: Gathered, first: str | None, listeners: Mapping[str, ServerContext]
) -> ServerReading:
    """The reading of an endpoint.

    Args:
        endpoint: what was read.
        answer: its answer, which may be none of its own.
        first: the URL that reads the same server.
        listeners: the processes that were seen to listen at configured URLs.
    """
    reading: ServerReading | None = answer.reading
    if reading is None:
        repeated = answer.health.reason == FailureReason.COUNTED_TWICE
        counted_at = "" if first is None and repeated else first
        return ServerReading(endpoint.key, endpoint.url, up=False, counted_at=counted_at)
    listener = listeners.get(reading.url)
    if listener is None or reading.listener:
        return reading
    return replace(reading, listener=listener.identity, listener_started=listener.started)

"""One round of reads: every source once, put together into a frame."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from exporter.clock import Clock
from exporter.config.settings import Config
from exporter.cost.state import EndpointState, State
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
        """Server that it belongs to."""
        ...

    @property
    def url(self) -> str:
        """Address of its metrics page."""
        ...


@dataclass(frozen=True, slots=True)
class FrameRead:
    """One frame, and the answers of the sources that it is made of."""

    frame: Frame
    gathered: list[Gathered]
    """All answers, the following ones included."""
    gpus: GpuAnswers
    gateways: tuple[Gathered, ...]
    """In the frame's order."""
    servers: tuple[Gathered, ...]
    """In the frame's order."""
    discovered: DiscoveryResult


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
        elapsed, awake, wall = self.clock.elapsed(), self.clock.awake(), self.clock.wall()
        sources = () if self.discovery is None else self.discovery.sources(config)
        answers = self.gather((*self.gpu_sources, *sources))
        gpu_count = len(self.gpu_sources)
        of_gpus = combine(self.gpu_sources, answers[:gpu_count], self.displays)
        of_discovery, gpus = answers[gpu_count:], of_gpus.gpus
        discovered = DiscoveryResult()
        if self.discovery is not None and gpus is not None:
            discovered = self.discovery.look(config, gpus, of_discovery, self.gather, since)
        # After the look: the port of a server that has ended may be another program's by now.
        named = {endpoint.url for endpoint in configured}
        others = () if self.discovery is None else self.discovery.endpoints
        # One that a reload has just named is read once.
        endpoints = (*configured, *(endpoint for endpoint in others if endpoint.url not in named))
        answers = self.gather((*gateways, *endpoints))
        remembered = remembered or State()
        answers = [_of_one_process(answer, remembered, wall) for answer in answers]
        of_gateways, of_servers = tuple(answers[: len(gateways)]), answers[len(gateways) :]
        first, of_servers = self._once(endpoints, of_servers, remembered.endpoints)
        gathered = [*of_gpus.gathered, *of_discovery, *of_gateways, *of_servers, *discovered.gathered]
        answered = tuple(zip(endpoints, of_servers, strict=True))
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
                _reading(endpoint, answer, first.get(endpoint.url), discovered.listeners)
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
                for gateway, answer in zip(gateways, of_gateways, strict=True)
            ),
            unread=(*discovered.unread, *unread),
            evidence=of_gpus.evidence,
        )
        return FrameRead(frame, gathered, of_gpus, of_gateways, tuple(of_servers), discovered)

    def _once(
        self,
        endpoints: tuple[Endpoint, ...],
        answers: list[Gathered],
        remembered: Mapping[str, EndpointState],
    ) -> tuple[dict[str, str], list[Gathered]]:
        """The endpoints whose server another one reads, each with it, and the answers without theirs."""
        readings = [answer.reading for answer in answers if answer.reading is not None]
        first = self.same_servers.of((endpoint.url for endpoint in endpoints), readings, remembered)
        once: list[Gathered] = []
        for endpoint, answer in zip(endpoints, answers, strict=True):
            if answer.reading is None or endpoint.url not in first:
                once.append(answer)
                continue
            other = f"the server that {first[endpoint.url]} reads, by another address"
            problem = f"{endpoint.url}: {other}: remove one of the two"
            once.append(_failed(answer, FailureReason.COUNTED_TWICE, problem))
        return first, once


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

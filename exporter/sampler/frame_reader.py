"""One round of reads: every source once, put together into a frame."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from exporter.clock import Clock
from exporter.config.settings import Config
from exporter.cost.state import EndpointState, State
from exporter.readings import (
    NO_EVIDENCE,
    NVML_LOADED,
    FailureReason,
    Frame,
    GatewayReading,
    GpuEvidence,
    GpuReading,
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
from exporter.sources.pci import DisplayDevices
from exporter.sources.same_server import SameServers
from exporter.sources.server import GatewaySource, ServerContext
from exporter.units import Instant


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
    """One frame, and the answers of the sources that it is made of.

    `gathered` are all answers. `nvml`, and `gateways` and `servers` in the frame's order, are among them.
    """

    frame: Frame
    gathered: list[Gathered]
    nvml: Gathered
    gateways: tuple[Gathered, ...]
    servers: tuple[Gathered, ...]
    discovered: DiscoveryResult


@dataclass(frozen=True, slots=True)
class FrameReader:
    """Reads NVML, discovery's sources, gateways and servers.

    `displays` are the display devices of the PCI bus, which are read where NVML lists no GPU.
    """

    clock: Clock
    gather: Gather
    nvml: Source[tuple[GpuReading, ...]]
    discovery: Discovery | None = None
    same_servers: SameServers = field(default_factory=SameServers)
    displays: Callable[[], DisplayDevices] = DisplayDevices

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
        nvml, *of_discovery = self.gather((self.nvml, *sources))
        gpus: tuple[GpuReading, ...] | None = nvml.reading
        discovered = DiscoveryResult()
        if self.discovery is not None and gpus is not None:
            discovered = self.discovery.look(config, gpus, of_discovery, self.gather, since)
        # After the look: the port of a server that has ended may be another program's by now.
        endpoints = self._endpoints(configured)
        answers = self.gather((*gateways, *endpoints))
        remembered = remembered or State()
        several = {
            url
            for pages in (remembered.endpoints, remembered.gateways)
            for url, state in pages.items()
            if state.marks.answers_of_several(wall)
        }
        answers = [_of_one_process(answer, several) for answer in answers]
        of_gateways, of_servers = tuple(answers[: len(gateways)]), answers[len(gateways) :]
        first, of_servers = self._once(endpoints, of_servers, remembered.endpoints)
        gathered = [nvml, *of_discovery, *of_gateways, *of_servers, *discovered.gathered]
        answered = tuple(zip(endpoints, of_servers, strict=True))
        frame = Frame(
            elapsed=elapsed,
            wall=wall,
            gpus=gpus,
            servers=tuple(
                _of_listener(answer.reading, discovered.listeners)
                if answer.reading is not None
                else _silent(endpoint, answer, first.get(endpoint.url))
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
            unread=(
                *discovered.unread,
                *(
                    UnreadServer(endpoint.key, unread_reason(answer.health.reason), endpoint.url)
                    for endpoint, answer in answered
                    if answer.reading is None
                ),
            ),
            evidence=NO_EVIDENCE if gpus else self._evidence(nvml),
        )
        return FrameRead(frame, gathered, nvml, of_gateways, tuple(of_servers), discovered)

    def _evidence(self, nvml: Gathered) -> GpuEvidence:
        """What the host shows of its GPUs where NVML lists none."""
        displays = self.displays()
        library = nvml.health.up or nvml.health.reason in NVML_LOADED
        return GpuEvidence(library, displays.here, displays.passed_through)

    def _once(
        self,
        endpoints: tuple[Endpoint, ...],
        answers: list[Gathered],
        remembered: Mapping[str, EndpointState],
    ) -> tuple[dict[str, str], list[Gathered]]:
        """The endpoints whose server another one reads, each with it, and the answers without theirs."""
        readings = [answer.reading for answer in answers if answer.reading is not None]
        first = self.same_servers.of((endpoint.url for endpoint in endpoints), readings, remembered)
        return first, [
            answer
            if answer.reading is None or endpoint.url not in first
            else _counted_twice(answer, endpoint.url, first[endpoint.url])
            for endpoint, answer in zip(endpoints, answers, strict=True)
        ]

    def _endpoints(self, configured: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
        """Configured and discovered endpoints. One that a reload has just named is read once."""
        if self.discovery is None:
            return configured
        named = {endpoint.url for endpoint in configured}
        discovered = (endpoint for endpoint in self.discovery.endpoints if endpoint.url not in named)
        return (*configured, *discovered)


def _of_listener(reading: ServerReading, listeners: Mapping[str, ServerContext]) -> ServerReading:
    """The reading of a configured URL with the process that was seen to listen there."""
    listener = listeners.get(reading.url)
    if listener is None or reading.listener:
        return reading
    return replace(reading, listener=listener.identity, listener_started=listener.started)


def _silent(endpoint: Endpoint, answer: Gathered, first: str | None) -> ServerReading:
    """The reading of an endpoint without an answer of its own. `first` reads the same server."""
    repeated = answer.health.reason == FailureReason.COUNTED_TWICE
    counted_at = "" if first is None and repeated else first
    return ServerReading(endpoint.key, endpoint.url, up=False, counted_at=counted_at)


def _of_one_process(answer: Gathered, several: Collection[str]) -> Gathered:
    """The answer of a page, as a failure where several processes are known to answer at its URL."""
    if answer.reading is None or answer.reading.url not in several:
        return answer
    health = replace(answer.health, up=False, reason=FailureReason.SEVERAL_PROCESSES)
    reason = FailureReason.SEVERAL_PROCESSES
    problem = f"{answer.reading.url}: {reason.problem}, and nothing is counted for a day. {reason.remedy}"
    return replace(answer, reading=None, health=health, problem=problem)


def _counted_twice(answer: Gathered, url: str, first: str) -> Gathered:
    """The answer of an endpoint as a failure: its tokens count at another one."""
    health = replace(answer.health, up=False, reason=FailureReason.COUNTED_TWICE)
    problem = f"{url}: the server that {first} reads, by another address: remove one of the two"
    return replace(answer, reading=None, health=health, problem=problem)

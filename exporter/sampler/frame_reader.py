"""One round of reading: every source once, put together to a frame."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from exporter.clock import Clock
from exporter.config.settings import Config
from exporter.readings import (
    Frame,
    GatewayReading,
    GpuReading,
    ServerKey,
    ServerReading,
    Source,
    UnreadServer,
    unread_reason,
)
from exporter.sources.configured import holders
from exporter.sources.discovery.servers import DiscoveryResult
from exporter.sources.gather import Gather, Gathered
from exporter.units import Instant


class Endpoint(Source[ServerReading], Protocol):
    """A source of one server's counters. It knows its server and address also when it cannot be read."""

    @property
    def key(self) -> ServerKey:
        """The server it belongs to."""
        ...

    @property
    def url(self) -> str:
        """Where it is read."""
        ...


class Gateway(Source[GatewayReading], Protocol):
    """A source of what a gateway counted. It knows its address also when it cannot be read."""

    @property
    def url(self) -> str:
        """Where it is read."""
        ...


class Discovery(Protocol):
    """Finds out which servers are here."""

    def sources(self, config: Config) -> tuple[Source[Any], ...]:
        """What a configuration has read beside NVML."""
        ...

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Where the servers are read that the last look found."""
        ...

    def look(
        self,
        config: Config,
        gpus: tuple[GpuReading, ...],
        answers: Iterable[Gathered],
        gather: Gather,
        since: Instant | None,
    ) -> DiscoveryResult:
        """Look at the host.

        Args:
            config: what is known without looking.
            gpus: who computes on them.
            answers: of `sources`, in their order.
            gather: reads more.
            since: when the host was last looked at, by this daemon or by the one before it.
        """
        ...


@dataclass(frozen=True, slots=True)
class FrameRead:
    """One frame, and what each source answered that it is made of.

    `gathered` are all answers; `nvml`, and `gateways` and `servers` in the order in which the frame has them,
    are among them. `found` is what discovery found.
    """

    frame: Frame
    gathered: list[Gathered]
    nvml: Gathered
    gateways: tuple[Gathered, ...]
    servers: tuple[Gathered, ...]
    found: DiscoveryResult


@dataclass(frozen=True, slots=True)
class FrameReader:
    """Reads NVML, the servers, and whatever tells who holds which GPU."""

    clock: Clock
    gather: Gather
    nvml: Source[tuple[GpuReading, ...]]
    discovery: Discovery | None = None

    def read(
        self,
        config: Config,
        configured: tuple[Endpoint, ...],
        since: Instant | None,
        gateways: tuple[Gateway, ...] = (),
    ) -> tuple[Frame, list[Gathered]]:
        """One frame, and how each source fared.

        Raises:
            MustRestartError: only a new process can read on.
        """
        told = self.round(config, configured, since, gateways)
        return told.frame, told.gathered

    def round(
        self,
        config: Config,
        configured: tuple[Endpoint, ...],
        since: Instant | None,
        gateways: tuple[Gateway, ...] = (),
    ) -> FrameRead:
        """The same, each answer where it belongs.

        Raises:
            MustRestartError: only a new process can read on.
        """
        # All clocks at one moment, before the sources take their time: else a slow one looks like suspend.
        elapsed, awake, wall = self.clock.elapsed(), self.clock.awake(), self.clock.wall()
        sources, endpoints = self._sources(config), self._endpoints(configured)
        nvml, *answers = self.gather((self.nvml, *sources, *gateways, *endpoints))
        gpus: tuple[GpuReading, ...] | None = nvml.reading
        told, answers = answers[: len(sources)], answers[len(sources) :]
        counted, read = answers[: len(gateways)], answers[len(gateways) :]
        found = DiscoveryResult()
        if self.discovery is not None and gpus is not None:
            found = self.discovery.look(config, gpus, told, self.gather, since)
            # What was found now is read now: its tokens are counted from here on. What answered for a server
            # that has ended may be the one after it.
            here = self._endpoints(configured)
            new = [one for one in here if one not in endpoints]
            kept = [pair for pair in zip(endpoints, read, strict=True) if pair[0] in here]
            kept += zip(new, self.gather(new), strict=True)
            endpoints, read = tuple(one for one, _ in kept), [answer for _, answer in kept]
        servers = tuple(
            answer.reading
            if answer.reading is not None
            else ServerReading(endpoint.key, endpoint.url, up=False)
            for endpoint, answer in zip(endpoints, read, strict=True)
        )
        gathered = [nvml, *told, *counted, *read, *found.gathered]
        frame = Frame(
            elapsed=elapsed,
            wall=wall,
            gpus=gpus,
            servers=servers,
            holders=(*holders(config.servers, gpus or ()), *found.holders),
            unknown_gpus=found.unknown_gpus,
            owners=found.owners,
            health=tuple(answer.health for answer in gathered),
            awake=awake,
            boot=self.clock.boot(),
            incomplete=self.discovery is not None and (gpus is None or found.incomplete),
            gateways=tuple(
                answer.reading if answer.reading is not None else GatewayReading(gateway.url, up=False)
                for gateway, answer in zip(gateways, counted, strict=True)
            ),
            unread=(
                *found.unread,
                *(
                    UnreadServer(endpoint.key, unread_reason(answer.health.reason), endpoint.url)
                    for endpoint, answer in zip(endpoints, read, strict=True)
                    if answer.reading is None
                ),
            ),
        )
        return FrameRead(frame, gathered, nvml, tuple(counted), tuple(read), found)

    def _sources(self, config: Config) -> tuple[Source[Any], ...]:
        return () if self.discovery is None else self.discovery.sources(config)

    def _endpoints(self, configured: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
        """All of them. One that a reload has just named is read once, whatever the last look found."""
        if self.discovery is None:
            return configured
        named = {endpoint.url for endpoint in configured}
        found = (endpoint for endpoint in self.discovery.endpoints if endpoint.url not in named)
        return (*configured, *found)

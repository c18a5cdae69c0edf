"""A host that is looked at every ten seconds, by a clock that stands until it is told."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from exporter.config.settings import Config
from exporter.readings import FailureReason, GpuReading, ReadFailedError, Source
from exporter.sources.discovery.discovery import Discovery
from exporter.sources.discovery.servers import DiscoveryResult
from exporter.sources.endpoints import EndpointSources
from exporter.sources.gather import Gathered, read_source
from exporter.sources.kubelet import Allocations, PodResourcesSource
from exporter.sources.kubernetes import Pod
from exporter.sources.processes import ProcessGroup, ProcessReading
from exporter.units import Instant, Nanoseconds
from tests.kit.clock import WaitingClock
from tests.kit.units import SECOND
from tests.sources.discovery.builders import BOOT, api, group

TICK = 10 * SECOND
BEGAN = 1000 * SECOND
URL = "http://127.0.0.1:8000/metrics"


@dataclass(eq=False)
class Processes:
    """What the proc tree says: the same reading again until there is another one."""

    reading: ProcessReading | None = field(default_factory=ProcessReading)
    requests: list[frozenset[int]] = field(default_factory=list)
    closed: bool = False
    name: str = "processes"
    errors: tuple[tuple[str, int], ...] = (("denied", 1),)
    problem: str = ""

    def read(self, pids: Iterable[int]) -> ProcessReading:
        self.requests.append(frozenset(pids))
        if self.reading is None:
            raise ReadFailedError(FailureReason.UNREADABLE, "/proc: No such file or directory")
        return self.reading

    def close(self) -> None:
        self.closed = True


@dataclass(eq=False)
class KubeletStub(PodResourcesSource):
    """What the kubelet says, or why it says nothing."""

    socket: Path
    allocated: Allocations = field(default_factory=Allocations)
    reason: str = ""
    closed: bool = False

    @property
    def path(self) -> Path:
        return self.socket

    @property
    def errors(self) -> tuple[tuple[str, int], ...]:
        return ()

    def read(self) -> Allocations:
        if self.reason:
            raise ReadFailedError(self.reason, "the kubelet says nothing")
        return self.allocated

    def close(self) -> None:
        self.closed = True


@dataclass
class ClusterStub:
    """What the cluster tells of this node's pods."""

    answer: tuple[Pod, ...] | None = ()
    source: None = None
    listed: None = None
    requests: list[tuple[str, Config]] = field(default_factory=list)

    def go_by(self, config: Config) -> None:
        self.requests.append(("go by", config))

    def pods(self, config: Config, _answers: Any) -> tuple[Pod, ...] | None:
        self.requests.append(("pods", config))
        return self.answer

    def has_ended(self, *_pod: Any) -> bool:
        return False

    def with_running(self, pods: tuple[Pod, ...], _groups: Any) -> tuple[Pod, ...]:
        return pods

    def outdated_by(self, *_answers: Any) -> None:
        """Its answer is always of now."""

    def close(self) -> None:
        """Nothing is held."""


class DiscoveryHost:
    """One daemon's discovery on a host, looked at every ten seconds."""

    def __init__(self, folder: Path) -> None:
        self.clock = WaitingClock(BEGAN, start=BOOT)
        self.processes = Processes()
        self.kubelet = KubeletStub(folder / "kubelet.sock")
        self.config = Config()
        self.since: Instant | None = None
        self.cluster = ClusterStub()
        self.discovery = Discovery(
            self.clock,
            EndpointSources(self.clock),
            self.processes,  # type: ignore[arg-type]
            self.kubelet,
            self.cluster,  # type: ignore[arg-type]
        )

    def runs(self, *groups: ProcessGroup) -> None:
        """From now on these do."""
        self.processes.reading = ProcessReading(groups)

    def gather(self, sources: Iterable[Source[Any]]) -> list[Gathered]:
        return [read_source(source, self.clock) for source in sources]

    def look(self, *gpus: GpuReading, after: Nanoseconds = TICK) -> DiscoveryResult:
        """A tick later."""
        self.clock.now += after
        answers = self.gather(self.discovery.sources(self.config))
        return self.discovery.look(self.config, gpus, answers, self.gather, self.since)


def vllm(pid: int, started: float, *computing: int) -> ProcessGroup:
    """A vLLM at port 8000 that began at a second of boot time."""
    one = api(pid)
    process = one.process._replace(started=int(started * SECOND))
    return group(*computing, server=replace(one, process=process))

"""Sampler with a fake clock, NVML, server and ledger around it."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal

from exporter.clock import Clock
from exporter.config.settings import Config, ConfiguredServer
from exporter.cost.policy import CostPolicy
from exporter.cost.postings import Postings
from exporter.cost.state import State
from exporter.ledger.ledger import Ledger
from exporter.ledger.unpriced_time import FIRST, Cursor, UnpricedBatch
from exporter.metrics.process import ProcessMetrics
from exporter.readings import (
    CounterReading,
    FailureReason,
    Gpu,
    GpuReading,
    LoadReading,
    Peer,
    QuickSource,
    ReadFailedError,
    ServerKey,
    ServerReading,
)
from exporter.report import Build, CommittedTotals, ConfigRow, Report, StandardFamily
from exporter.sampler.frame_reader import Endpoint
from exporter.sampler.report_builder import ReportContext
from exporter.sampler.sampler import Sampler, SamplerPlan
from exporter.sources.gather import Gather, Gathered, read_source
from exporter.tariff.tariff import Tariff
from exporter.tariff.terms import Hardware, HardwareMatch, Overhead, Rented, RentPrice
from exporter.units import NANOSECONDS_PER_SECOND
from exporter.vendors import NVIDIA
from tests.kit.clock import START, ManualClock
from tests.standard_process import standard_process

TICK = 10 * NANOSECONDS_PER_SECOND
PROCESS = standard_process(memory_bytes=40_000_000, cpu_seconds=1.5, started=START / 10**9)
CHAT = ServerKey("", "chat")
H100 = Gpu("GPU-0", "H100")


@dataclass(eq=False)
class FakeNvmlSource(QuickSource):
    """One GPU, half busy; or a failure."""

    vendor = NVIDIA
    name: str = "nvml"
    failure: str = ""
    reason: FailureReason = FailureReason.HUNG
    utilization: float | None = 0.5
    energy: int | None = None
    """Energy counter in millijoules."""

    def read(self) -> tuple[GpuReading, ...]:
        if self.failure:
            raise ReadFailedError(self.reason, self.failure)
        reading = GpuReading(H100, 0, utilization_ratio=self.utilization, power_watts=300.0)
        return (replace(reading, energy=self.energy),)


@dataclass(eq=False)
class FakeEndpoint(QuickSource):
    """One server with a count of generated tokens; or a failure."""

    key: ServerKey = CHAT
    url: str = "http://127.0.0.1:8000/metrics"
    name: str = "server:chat"
    generation: float = 0.0
    failure: str = ""
    peer: Peer | None = None
    identity: str = ""
    started: int | None = None

    def read(self) -> ServerReading:
        if self.failure:
            raise ReadFailedError(FailureReason.CONNECTION, self.failure)
        counters = (CounterReading("generation", "m", "generation", self.generation),)
        loads = (LoadReading("m", 1.0, 0.0),)
        reading = ServerReading(self.key, self.url, up=True, engine="vllm", counters=counters)
        return replace(
            reading, loads=loads, models=("m",), peer=self.peer, identity=self.identity, started=self.started
        )


@dataclass
class FakeLedger(Ledger):
    """Keeps what was posted, in memory."""

    posted: list[Postings] = field(default_factory=list)
    last_state: State = field(default_factory=State)
    served: CommittedTotals = field(default_factory=lambda: CommittedTotals("id", True, True, None, 0))
    months: tuple[str, ...] = ()
    problem: str = ""
    bound: list[tuple[str, frozenset[str]]] = field(default_factory=list)

    def remembered(self) -> State:
        return self.last_state

    def bind(self, machine: str, uuids: Collection[str]) -> bool:
        self.bound.append((machine, frozenset(uuids)))
        return True

    def unpriced(self, cursor: Cursor) -> UnpricedBatch:
        assert cursor == FIRST
        return UnpricedBatch((), None)

    def post(self, postings: Postings, state: State) -> None:
        self.posted.append(postings)
        self.last_state = state

    def totals(self, now: int, months: tuple[str, ...]) -> CommittedTotals:
        assert now >= START
        self.months = months
        return self.served


class FakeProcessMetrics(ProcessMetrics):
    """Process of a known size."""

    def __init__(self, families: tuple[StandardFamily, ...] = PROCESS) -> None:
        self._families = families

    def read(self) -> tuple[StandardFamily, ...]:
        return self._families


def inline(clock: Clock) -> Gather:
    """Read the sources one after the other, in this thread."""

    def gather(sources: Iterable[object]) -> list[Gathered]:
        return [read_source(source, clock) for source in sources]

    return gather


CONFIG = Config(servers=(ConfiguredServer("chat", "http://127.0.0.1:8000/metrics", (0,)),))
TARIFF = Tariff(
    "host",
    (Hardware(HardwareMatch(gpu_model="H100"), Rented((RentPrice(Decimal("3.60")),)), "hardware[0].rented"),),
    (Overhead("staff", Decimal(8766), "year", "fleet", "overheads[0]"),),
)


@dataclass
class SamplerFixture:
    """A sampler and everything around it."""

    clock: ManualClock
    nvml: FakeNvmlSource
    endpoint: FakeEndpoint
    ledger: FakeLedger
    sampler: Sampler

    def tick(self) -> Report:
        report = self.sampler.tick()
        self.clock.now += TICK
        return report


def plan(*endpoints: Endpoint, tariff: Tariff = TARIFF, config: Config = CONFIG) -> SamplerPlan:
    context = ReportContext(config, CostPolicy(tariff), Build("0", "", "3"), ConfigRow("abc", True, START))
    return SamplerPlan(context, endpoints)

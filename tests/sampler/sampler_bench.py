"""A sampler and everything around it, told what to say."""

import threading
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from zoneinfo import ZoneInfo

from exporter.config.settings import Config, ConfiguredServer
from exporter.cost.policy import CostPolicy
from exporter.cost.postings import Postings
from exporter.cost.state import State
from exporter.ledger.unpriced_time import FIRST, Cursor, UnpricedBatch
from exporter.readings import (
    CounterReading,
    Gpu,
    GpuReading,
    LoadReading,
    ReadFailedError,
    ServerKey,
    ServerReading,
)
from exporter.report import Build, CommittedTotals, ConfigRow, ProcessRow, Report
from exporter.sampler.report_builder import ReportContext
from exporter.sampler.sampler import Sampler, SamplerPlan
from exporter.sources.gather import Gather, Gathered, read
from exporter.tariff.tariff import Tariff
from exporter.tariff.terms import Hardware, HardwareMatch, Overhead, Rented, RentPrice
from exporter.units import NANOSECONDS_PER_SECOND

START = 1_795_564_800 * NANOSECONDS_PER_SECOND  # 2026-11-25T00:00:00Z
TICK = 10 * NANOSECONDS_PER_SECOND
CHAT = ServerKey("", "chat")
H100 = Gpu("GPU-0", "H100")


@dataclass
class Clock:
    """Stands still until it is told; waiting moves it on."""

    now: int = 0
    waited: list[int] = field(default_factory=list)
    stop_after: int = 10**9
    booted: str = "boot-1"
    in_step: bool = True
    uptime: int = 1_000 * NANOSECONDS_PER_SECOND
    """The time since boot at `now` 0; below zero where it boots later."""

    def elapsed(self) -> int:
        return self.uptime + self.now

    def wall(self) -> int:
        return START + self.now

    def awake(self) -> int:
        return self.elapsed()

    def boot(self) -> str:
        return self.booted

    def synchronized(self) -> bool:
        return self.in_step

    def wait(self, stop: threading.Event, duration: int) -> bool:
        self.waited.append(duration)
        self.now += duration
        if len(self.waited) >= self.stop_after:
            stop.set()
        return stop.is_set()


@dataclass(eq=False)
class Nvml:
    """One GPU, half busy, unless it is told to fail."""

    name: str = "nvml"
    errors: tuple[tuple[str, int], ...] = ()
    failure: str = ""
    utilization: float | None = 0.5

    def read(self) -> tuple[GpuReading, ...]:
        if self.failure:
            raise ReadFailedError("hung", self.failure)
        return (GpuReading(H100, 0, utilization_ratio=self.utilization, power_watts=300.0),)

    def close(self) -> None:
        """Nothing is held."""


@dataclass(eq=False)
class Endpoint:
    """A server that has served as many tokens as it is told."""

    key: ServerKey = CHAT
    url: str = "http://127.0.0.1:8000/metrics"
    name: str = "server:chat"
    errors: tuple[tuple[str, int], ...] = ()
    generation: float = 0.0
    failure: str = ""

    def read(self) -> ServerReading:
        if self.failure:
            raise ReadFailedError("connection", self.failure)
        counters = (CounterReading("generation", "m", "generation", self.generation),)
        loads = (LoadReading("m", 1.0, 0.0),)
        return ServerReading(
            self.key, self.url, up=True, engine="vllm", counters=counters, loads=loads, models=("m",)
        )

    def close(self) -> None:
        """Nothing is held."""


@dataclass
class Ledger:
    """Remembers what was posted, and when relative to what was published."""

    posted: list[Postings] = field(default_factory=list)
    kept: State = field(default_factory=State)
    served: CommittedTotals = field(default_factory=lambda: CommittedTotals("id", True, True, None, 0))
    months: tuple[str, ...] = ()
    problem: str = ""
    bound: list[tuple[str, frozenset[str]]] = field(default_factory=list)

    def remembered(self) -> State:
        return self.kept

    def bind(self, machine: str, uuids: Collection[str]) -> bool:
        self.bound.append((machine, frozenset(uuids)))
        return True

    def unpriced(self, zone: ZoneInfo, place: Cursor) -> UnpricedBatch:
        assert (zone.key, place) == ("UTC", FIRST)
        return UnpricedBatch((), None)

    def post(self, postings: Postings, state: State) -> None:
        self.posted.append(postings)
        self.kept = state

    def books(self, now: int, months: tuple[str, ...]) -> CommittedTotals:
        assert now >= START
        self.months = months
        return self.served


class Footprint:
    """A process of a known size."""

    def read(self) -> ProcessRow:
        return ProcessRow(40_000_000, 1.5, START)


def inline(clock: Clock) -> Gather:
    """Read the sources one after the other, in this thread."""

    def gather(sources: Iterable[object]) -> list[Gathered]:
        return [read(source, clock) for source in sources]

    return gather


CONFIG = Config(servers=(ConfiguredServer("chat", "http://127.0.0.1:8000/metrics", (0,)),))
TARIFF = Tariff(
    "host",
    (Hardware(HardwareMatch(gpu_model="H100"), Rented((RentPrice(Decimal("3.60")),)), "hardware[0].rented"),),
    (Overhead("staff", Decimal(8766), "year", "fleet", "overheads[0]"),),
)


@dataclass
class Bench:
    """A sampler and everything around it."""

    clock: Clock
    nvml: Nvml
    endpoint: Endpoint
    ledger: Ledger
    sampler: Sampler

    def tick(self) -> Report:
        report = self.sampler.tick()
        self.clock.now += TICK
        return report


def plan(*endpoints: Endpoint, tariff: Tariff = TARIFF, config: Config = CONFIG) -> SamplerPlan:
    setting = ReportContext(config, CostPolicy(tariff), Build("0", "", "3"), ConfigRow("abc", True, START))
    return SamplerPlan(setting, endpoints)

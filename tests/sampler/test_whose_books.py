"""A sampler that starts on a ledger of elsewhere: real files, made-up machines and GPUs."""

import logging
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest

from exporter.config.settings import Config
from exporter.cost.policy import CostPolicy
from exporter.ledger.ledger import Ledger
from exporter.readings import FailureReason, Gpu, GpuReading, QuickSource, ReadFailedError
from exporter.report import Build, ConfigRow, Report
from exporter.sampler.frame_reader import FrameReader
from exporter.sampler.report_builder import ReportContext
from exporter.sampler.sampler import Sampler, SamplerPlan
from exporter.sources.gather import Gathered, read_source
from exporter.tariff.tariff import Tariff
from exporter.tariff.terms import Hardware, HardwareMatch, Rented, RentPrice
from exporter.units import NANOSECONDS_PER_HOUR
from exporter.vendors import NVIDIA
from tests.kit.clock import START, ManualClock
from tests.kit.units import CENT
from tests.sampler.sampler_fixture import TICK, FakeProcessMetrics

HERE, THERE = "product:aaaa", "product:bbbb"
POLICY = CostPolicy(
    Tariff("host", (Hardware(HardwareMatch(), Rented((RentPrice(Decimal("3.60")),)), "hardware[0]"),), ())
)
PLAN = SamplerPlan(ReportContext(Config(), POLICY, Build("0", "", "3"), ConfigRow("abc", True, START)), ())


@dataclass(eq=False)
class GpusByUuid(QuickSource):
    """GPUs by UUID; silent while it has none."""

    uuids: tuple[str, ...]
    vendor = NVIDIA
    name: str = "nvml"

    def read(self) -> tuple[GpuReading, ...]:
        if not self.uuids:
            raise ReadFailedError(FailureReason.DRIVER_NOT_LOADED, "nvml: the driver is not loaded")
        return tuple(
            GpuReading(Gpu(uuid, "H100"), index, utilization_ratio=0.5)
            for index, uuid in enumerate(self.uuids)
        )


class Daemon:
    """One run on a ledger, on a machine with some GPUs."""

    def __init__(self, path: Path, clock: ManualClock, machine: str, *uuids: str) -> None:
        self.clock = clock
        self.nvml = GpusByUuid(uuids)
        self.ledger = Ledger.open(path, clock)

        def gather(sources: Iterable[object]) -> list[Gathered]:
            return [read_source(source, clock) for source in sources]

        self.sampler = Sampler(
            clock,
            FrameReader(clock, gather, (self.nvml,)),
            self.ledger,
            FakeProcessMetrics(),
            PLAN,
            machine=machine,
        )

    def ticks(self, count: int) -> Report:
        """The last report of some ticks, 10 s apart."""
        for _ in range(count):
            report = self.sampler.tick()
            self.clock.now += TICK
        return report


def posted(report: Report) -> dict[str, int]:
    """Picodollars by GPU; none where the report has no books."""
    amounts: dict[str, int] = {}
    if report.totals is None:
        return amounts
    for (gpu, _component), amount in report.totals.gpu_cost.items():
        amounts[gpu.uuid] = amounts.get(gpu.uuid, 0) + amount
    assert report.totals.residual == 0
    return amounts


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def disk(tmp_path: Path, clock: ManualClock) -> tuple[Path, str]:
    """A ledger after three ticks on a machine with GPU-0 and GPU-1, and its id."""
    daemon = Daemon(tmp_path / "ledger.db", clock, HERE, "GPU-0", "GPU-1")
    assert posted(daemon.ticks(3)) == {"GPU-0": 2 * CENT, "GPU-1": 2 * CENT}
    daemon.ledger.close()
    return tmp_path / "ledger.db", daemon.ledger.id


def test_a_clone_on_other_hardware_starts_books_of_its_own(
    tmp_path: Path, clock: ManualClock, disk: tuple[Path, str], caplog: pytest.LogCaptureFixture
) -> None:
    """An hour later elsewhere: new id, nothing charged for the hour, one line in the log."""
    path, old = disk
    (tmp_path / "clone").mkdir()
    clone = Path(shutil.copy(path, tmp_path / "clone"))
    clock.now += NANOSECONDS_PER_HOUR
    daemon = Daemon(clone, clock, THERE, "GPU-7")
    with caplog.at_level(logging.WARNING):
        first = daemon.ticks(1)
        second = daemon.ticks(1)
        daemon.ticks(3)
    daemon.ledger.close()

    assert (first.totals.ledger == old, sum(posted(first).values())) == (False, 0)
    assert {gpu.gpu.uuid for gpu in second.gpus} == {"GPU-7"}
    assert posted(second) == {"GPU-7": CENT}
    assert daemon.ledger.moved_aside == clone.with_name("ledger.db.foreign-1")
    assert [record.getMessage() for record in caplog.records] == ["ledger failed"]
    assert caplog.records[0].__dict__["problem"] == daemon.ledger.problem


def test_a_clone_with_one_of_the_gpus_goes_on(clock: ManualClock, disk: tuple[Path, str]) -> None:
    """A disk that moved with a GPU keeps its id and its totals."""
    path, old = disk
    daemon = Daemon(path, clock, THERE, "GPU-1", "GPU-7")
    first = posted(daemon.ticks(1))
    daemon.ledger.close()

    assert (daemon.ledger.id, daemon.ledger.moved_aside) == (old, None)
    assert first["GPU-0"] >= 2 * CENT
    assert first["GPU-1"] >= 2 * CENT


def test_nothing_is_posted_before_it_is_known_whose_the_books_are(
    clock: ManualClock, disk: tuple[Path, str], caplog: pytest.LogCaptureFixture
) -> None:
    """NVML silent on another machine: no money served, none posted; the first GPU settles it."""
    path, old = disk
    before = path.read_bytes()
    daemon = Daemon(path, clock, THERE)
    with caplog.at_level(logging.INFO, "exporter.sampler"):
        waiting = daemon.ticks(5)
        assert (posted(waiting), waiting.gpus, dict(waiting.rates)) == ({}, (), {})
        assert path.read_bytes() == before
        daemon.nvml.uuids = ("GPU-0",)
        settled = daemon.ticks(1)
    daemon.ledger.close()

    assert (settled.totals.ledger, daemon.ledger.problem) == (old, "")
    assert posted(settled)["GPU-0"] >= 2 * CENT
    messages = [record.getMessage() for record in caplog.records]
    assert [line for line in messages if "ledger" in line] == [
        "ledger failed",
        "ledger recovered",
    ]


def test_the_same_machine_needs_no_gpu_to_be_known(clock: ManualClock, disk: tuple[Path, str]) -> None:
    """A driver that is broken at the start holds nothing up: the lost GPUs are still paid for."""
    path, old = disk
    daemon = Daemon(path, clock, HERE)
    report = daemon.ticks(3)
    daemon.ledger.close()

    assert (report.totals.ledger, {gpu.gpu.uuid for gpu in report.gpus}) == (old, {"GPU-0", "GPU-1"})
    assert posted(report)["GPU-0"] >= 4 * CENT


def test_a_swap_of_all_gpus_while_it_runs_changes_no_books(
    clock: ManualClock, disk: tuple[Path, str]
) -> None:
    """Whose the books are is asked once a process."""
    path, old = disk
    daemon = Daemon(path, clock, HERE, "GPU-0", "GPU-1")
    daemon.ticks(1)
    daemon.nvml.uuids = ("GPU-8",)
    report = daemon.ticks(2)
    daemon.ledger.close()

    assert (report.totals.ledger, daemon.ledger.moved_aside) == (old, None)


def test_books_in_memory_go_on_anywhere(clock: ManualClock) -> None:
    """Without a file there is nothing that could be another machine's."""
    ledger = Ledger.open(None, clock)
    nvml = GpusByUuid(("GPU-0",))
    sampler = Sampler(
        clock,
        FrameReader(clock, lambda sources: [read_source(source, clock) for source in sources], (nvml,)),
        ledger,
        FakeProcessMetrics(),
        PLAN,
        machine=HERE,
    )
    sampler.tick()

    assert sampler.tick().totals.ledger == ledger.id

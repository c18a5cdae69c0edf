"""A host whose NVML is the fake library, with a clock that a test moves."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from exporter.readings import GpuReading, MustRestartError, ReadFailedError
from exporter.sources.nvml.source import NvmlSource
from exporter.units import nanoseconds
from tests.exporter_threads import ended, running
from tests.fake_nvml.library import FakeNvml
from tests.fake_nvml.scenario import Gpu, Hang, Return, Scenario, Slow
from tests.kit.clock import WaitingClock
from tests.kit.units import SECOND

A = Gpu(uuid="GPU-a", pci="00000000:1B:00.0")
B = Gpu(uuid="GPU-b", pci="00000000:43:00.0")
C = Gpu(uuid="GPU-c", pci="00000000:52:00.0")

SHORT = nanoseconds(0.02)
"""Patience with a call that is known to hang."""


class NvmlHost:
    """The fake library, the clock, and the source that reads it."""

    def __init__(self, fake: FakeNvml) -> None:
        self.fake = fake
        self.clock = WaitingClock(1_000_000 * SECOND)
        self.source = NvmlSource(self.clock)

    def set(
        self, *gpus: Gpu, rules: tuple[Return | Slow | Hang, ...] = (), driver: str = "570.148.08"
    ) -> None:
        """Change the world."""
        self.fake.set(Scenario(gpus, rules, driver))

    def read(self) -> tuple[GpuReading, ...]:
        """Read once, ten seconds after the read before."""
        self.clock.now += 10 * SECOND
        return self.source.read()

    def one(self) -> GpuReading:
        """Read the only GPU."""
        (reading,) = self.read()
        return reading

    def up(self) -> dict[str, bool]:
        """Which GPUs answer."""
        return {reading.gpu.uuid: reading.up for reading in self.read()}

    def failure_reason(self) -> str:
        """Why a read fails, at this very moment."""
        try:
            self.source.read()
        except ReadFailedError as error:
            return error.reason
        except MustRestartError:
            return "must restart"
        return ""

    def reached(self, call: str) -> None:
        """Wait until the library was called so."""
        bell = threading.Event()
        for _ in range(5_000):
            if call in self.fake.calls():
                return
            bell.wait(0.001)
        message = f"{call} was never called"
        raise AssertionError(message)

    def hang(self, function: str, *gpus: Gpu) -> None:
        """Read while a function of the first GPU hangs; the read gives up."""
        self.set(*gpus, rules=(Hang(function, gpu=0),))
        self.source._timeout = SHORT
        assert self.failure_reason() == "hung"
        self.source._timeout = nanoseconds(5)
        self.reached(f"{function} 0")

    def settle(self) -> None:
        """Wait until no call is in flight."""
        assert self.source._worker.settle(nanoseconds(5))

    def threads(self) -> int:
        """How many threads NVML has."""
        return running("nvml")


@contextmanager
def nvml_host(folder: Path, *, missing: tuple[str, ...] = ()) -> Iterator[NvmlHost]:
    """A host with an H100 in it."""
    with FakeNvml(folder, Scenario((A,)), missing_symbols=missing).loaded() as fake:
        host = NvmlHost(fake)
        try:
            yield host
        finally:
            host.set()
            host.source.close()
            assert ended("nvml")


def log_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Each log record as its event and the values of its keys."""
    keys = ("uuid", "pci_bus_id", "profile", "problem")
    return [
        ": ".join([record.message, *(getattr(record, key) for key in keys if hasattr(record, key))])
        for record in caplog.records
    ]

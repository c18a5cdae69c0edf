"""A call that hangs in the driver costs one reading at a time, one thread, and nothing at the end."""

import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.clock import SystemClock
from exporter.readings import ReadFailedError
from exporter.sources.nvml import source as nvml_module
from exporter.sources.nvml.library import LIB_RM_VERSION_MISMATCH, StuckError, Worker
from exporter.units import nanoseconds
from tests.exporter_threads import ended, running
from tests.fake_nvml.library import SOURCES, FakeNvml
from tests.fake_nvml.scenario import Gpm, Gpu, Hang, Mig, Process, Return, Sample, Scenario
from tests.kit.clock import WaitingClock
from tests.sources.nvml.nvml_host import SHORT, A, B, NvmlHost


@pytest.mark.parametrize(
    ("function", "gpu"),
    [
        ("nvmlDeviceGetComputeRunningProcesses_v3", A),
        ("nvmlDeviceGetMPSComputeRunningProcesses_v3", replace(A, processes=(Process(12),))),
        ("nvmlDeviceGetProcessUtilization", replace(A, processes=(Process(12), Process(13)))),
        ("nvmlGpmSampleGet", replace(A, gpm=(Gpm(1, 50.0),))),
        ("nvmlDeviceGetMigDeviceHandleByIndex", replace(A, mig_mode=True, mig=(Mig(0, "MIG-x", gi=1),))),
    ],
)
def test_any_call_may_hang_and_return(nvml: NvmlHost, function: str, gpu: Gpu) -> None:
    """The read is given up, the thread is the same, and once the driver lets go all is read again."""
    nvml.set(gpu)
    nvml.hang(function, gpu)
    assert nvml.failure_reason() == "hung"
    nvml.set(gpu)
    nvml.settle()
    reading = nvml.one()
    assert (reading.up, len(reading.processes or ())) == (True, len(gpu.processes))
    assert nvml.threads() == 1


def test_a_hung_call_fails_every_read_and_starts_no_thread(nvml: NvmlHost) -> None:
    """The first read waits its timeout, the others none, and the call is named."""
    nvml.set(A, B)
    nvml.read()
    threads = nvml.threads()
    nvml.hang("nvmlDeviceGetPowerUsage", A, B)
    calls = len(nvml.fake.calls())
    for _ in range(50):
        with pytest.raises(ReadFailedError, match="nvmlDeviceGetPowerUsage has not returned") as failed:
            nvml.source.read()
        assert failed.value.reason == "hung"
    assert nvml.threads() == threads
    assert len(nvml.fake.calls()) == calls


def test_whoever_waits_is_let_go_when_the_thread_is_stopped() -> None:
    """A process that ends does not sit out the timeout of a call that hangs."""
    hanging, release, stuck = threading.Event(), threading.Event(), threading.Event()
    worker = Worker("hung", SystemClock())

    def hang() -> None:
        hanging.set()
        release.wait(30)

    def request() -> None:
        with pytest.raises(StuckError):
            worker.run(hang, nanoseconds(20))
        stuck.set()

    asker = threading.Thread(target=request)
    asker.start()
    assert hanging.wait(5)
    assert not stuck.is_set()
    worker.stop()
    assert stuck.wait(5)
    release.set()
    asker.join()


def test_a_late_answer_is_not_told_later(nvml: NvmlHost) -> None:
    """When the call returns at last, the next read is of its own moment."""
    nvml.read()
    nvml.hang("nvmlDeviceGetTotalEnergyConsumption", A)
    nvml.set(replace(A, energy_mj=111))
    nvml.settle()
    nvml.set(replace(A, energy_mj=222))
    assert nvml.one().energy == 222


def test_a_late_answer_uses_up_no_samples(nvml: NvmlHost) -> None:
    """Utilization is the mean since the last read that was delivered."""
    nvml.set(replace(A, samples=(Sample(100, 50),)))
    nvml.read()
    late = (Sample(200, 20),)
    nvml.hang("nvmlDeviceGetMemoryInfo_v2", replace(A, samples=late))
    nvml.set(replace(A, samples=late))
    nvml.settle()
    nvml.set(replace(A, samples=(*late, Sample(300, 60))))
    assert nvml.one().utilization_ratio == 0.4


def test_opening_may_hang(nvml: NvmlHost) -> None:
    """A first call that hangs is watched as any other, and served once it returns."""
    nvml.set(A, rules=(Hang("nvmlInitWithFlags"),))
    nvml.source._timeout = SHORT
    assert [nvml.failure_reason() for _ in range(3)] == ["hung"] * 3
    nvml.reached("nvmlInitWithFlags")
    nvml.set(A)
    nvml.settle()
    nvml.source._timeout = nanoseconds(5)
    assert nvml.up() == {"GPU-a": True}


def test_a_replaced_driver_that_an_opening_reports_late_needs_a_new_process(nvml: NvmlHost) -> None:
    """The read that asked has given up; the next one has its answer, without another opening."""
    nvml.set(A, rules=(Hang("nvmlInitWithFlags"),))
    nvml.source._timeout = SHORT
    assert nvml.failure_reason() == "hung"
    nvml.reached("nvmlInitWithFlags")
    nvml.set(A, rules=(Return("nvmlInitWithFlags", LIB_RM_VERSION_MISMATCH),))
    nvml.settle()
    nvml.source._timeout = nanoseconds(5)
    assert nvml.failure_reason() == "must restart"
    assert nvml.fake.calls().count("nvmlInitWithFlags") == 1


def test_closing_shuts_nvml_down_once(nvml: NvmlHost) -> None:
    """The thread ends, a second close does nothing, and reads are refused."""
    nvml.read()
    nvml.source.close()
    nvml.source.close()
    assert nvml.fake.calls().count("nvmlShutdown") == 1
    assert ended("nvml")
    assert nvml.failure_reason() == "closed"


def test_closing_what_was_never_read(nvml: NvmlHost) -> None:
    """No thread is made and NVML is not touched."""
    nvml.source.close()
    assert not nvml.source._worker.began
    assert nvml.fake.calls() == []


def test_closing_without_nvml_open(nvml: NvmlHost) -> None:
    """What did not open is not shut down."""
    nvml.set(A, rules=(Return("nvmlInitWithFlags", 9),))
    assert nvml.failure_reason() == "driver_not_loaded"
    nvml.source.close()
    assert "nvmlShutdown" not in nvml.fake.calls()


def test_closing_waits_for_a_call_in_flight(nvml: NvmlHost) -> None:
    """A call that returns within the grace is followed by the shutdown."""
    nvml.read()
    nvml.hang("nvmlDeviceGetPowerUsage", A)
    closing = threading.Thread(target=nvml.source.close)
    closing.start()
    nvml.set(A)
    closing.join(5)
    assert not closing.is_alive()
    assert nvml.fake.calls()[-1] == "nvmlShutdown"


def test_closing_while_stuck_leaves_nvml_open(nvml: NvmlHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the grace nothing is called any more, not even when the call returns."""
    monkeypatch.setattr(nvml_module, "GRACE", SHORT)
    nvml.read()
    nvml.hang("nvmlDeviceGetPowerUsage", A)
    nvml.source.close()
    nvml.set(A)
    nvml.settle()
    assert "nvmlShutdown" not in nvml.fake.calls()


def test_a_shutdown_that_hangs_does_not_hold_the_close(
    nvml: NvmlHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The grace bounds the shutdown as well."""
    monkeypatch.setattr(nvml_module, "GRACE", SHORT)
    nvml.read()
    nvml.set(A, rules=(Hang("nvmlShutdown"),))
    nvml.source.close()
    nvml.reached("nvmlShutdown")


EXIT = """
from exporter.clock import SystemClock
from exporter.readings import ReadFailedError
from exporter.sources.nvml import source as nvml
nvml.GRACE = 20_000_000
source = nvml.NvmlSource(SystemClock(), timeout=200_000_000)
try:
    source.read()
except ReadFailedError as error:
    print(error.reason)
source.close()
"""


def test_a_process_ends_while_a_call_hangs(tmp_path: Path) -> None:
    """The thread is a daemon: exit status 0, and nobody waits for the driver."""
    fake = FakeNvml(tmp_path, Scenario((A,), (Hang("nvmlDeviceGetPowerUsage"),)))
    child = subprocess.run(
        [sys.executable, "-c", EXIT],
        cwd=SOURCES.parents[1],
        env={**os.environ, **fake.environment()},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert child.stdout == "hung\n"


def test_a_worker_hands_over_what_is_returned_and_raised() -> None:
    """Results and exceptions cross to the asking thread, whose own thread never runs the work."""
    worker = Worker("test-worker", WaitingClock())
    assert worker.run(threading.get_ident, nanoseconds(5)) != threading.get_ident()
    assert running("test-worker") == 1
    with pytest.raises(ZeroDivisionError):
        worker.run(lambda: 1 // 0, nanoseconds(5))
    worker.stop()


def test_a_busy_worker_refuses_at_once() -> None:
    """One request at a time; after the slow one is done the next is served."""
    worker = Worker("test-worker", WaitingClock())
    go = threading.Event()
    with pytest.raises(StuckError):
        worker.run(lambda: go.wait(5), SHORT)
    with pytest.raises(StuckError):
        worker.run(lambda: None, nanoseconds(60))
    assert not worker.settle(SHORT)
    go.set()
    assert worker.settle(nanoseconds(5))
    assert worker.run(lambda: "served", nanoseconds(5)) == "served"
    worker.stop()

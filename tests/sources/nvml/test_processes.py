"""NVML tells who computes on a GPU; a list that it does not tell is None and costs nothing else."""

import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

import exporter.sources.nvml.processes
from exporter.readings import GpuProcess
from tests.fake_nvml.scenario import NOT_AVAILABLE, Gpu, Process, ProcessUtilization, Return
from tests.sources.nvml.nvml_host import A, B, NvmlHost, log_lines, nvml_host

COMPUTE = "nvmlDeviceGetComputeRunningProcesses_v3"
MPS = "nvmlDeviceGetMPSComputeRunningProcesses_v3"


def computing(gpu: Gpu, *processes: Process) -> Gpu:
    """A GPU with these processes."""
    return replace(gpu, processes=processes)


def pids(nvml: NvmlHost) -> list[int] | None:
    """Who computes on the only GPU, after a read."""
    processes = nvml.one().processes
    return None if processes is None else [process.pid for process in processes]


def test_compute_processes_with_their_memory(nvml: NvmlHost) -> None:
    """Each GPU has its own, by pid; memory that the driver cannot tell is None; nobody is an answer."""
    nvml.set(computing(A, Process(90, NOT_AVAILABLE), Process(12, 5_000)), B)
    a, b = nvml.read()
    assert a.processes == (GpuProcess(12, 5_000), GpuProcess(90, None))
    assert b.processes == ()
    assert nvml.source.errors == ()


def test_graphics_processes_are_neither_told_nor_asked_for(nvml: NvmlHost) -> None:
    """Their list takes the driver's lock for milliseconds, and inference is not among them."""
    nvml.set(computing(A, Process(12, 5_000), Process(13, 7, "graphics")))
    assert pids(nvml) == [12]
    assert not [call for call in nvml.fake.calls() if "Graphics" in call]


def test_processes_come_and_go_with_each_read(nvml: NvmlHost) -> None:
    """An interval is charged to the holders read at its end, so the list of a whole card is never kept."""
    nvml.set(A)
    assert pids(nvml) == []
    nvml.set(computing(A, Process(12)))
    assert pids(nvml) == [12]
    nvml.set(computing(A, Process(13)))
    assert pids(nvml) == [13]


@pytest.mark.parametrize("pid", [0, 4_194_305, 2**32 - 1])
def test_pids_that_cannot_be_are_left_out(nvml: NvmlHost, pid: int) -> None:
    """A pid of another PID namespace reads as 0; others are a struct misread. They are counted."""
    nvml.set(computing(A, Process(12, 5), Process(pid, 6)))
    assert pids(nvml) == [12]
    assert nvml.source.errors == (("implausible", 1),)


def test_memory_that_cannot_be_is_none(nvml: NvmlHost) -> None:
    """A wrecked figure costs the figure, not the process."""
    nvml.set(computing(A, Process(12, 2**63)))
    assert nvml.one().processes == (GpuProcess(12, None),)


def test_more_processes_than_any_gpu_has_are_cut(nvml: NvmlHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those with the most memory stay; the others are counted."""
    monkeypatch.setattr(exporter.sources.nvml.processes, "LARGEST_COUNT", 2)
    nvml.set(computing(A, Process(1, 10), Process(2, 30), Process(3, NOT_AVAILABLE), Process(4, 20)))
    assert pids(nvml) == [2, 4]
    assert nvml.source.errors == (("too_many", 2),)


@pytest.mark.parametrize(("code", "why"), [(999, "unknown"), (10, "other")])
def test_a_list_that_fails_for_now_costs_that_list(nvml: NvmlHost, code: int, why: str) -> None:
    """None is not "nobody"; the GPU is up, its other fields stand, and the next read asks again."""
    gpu = computing(A, Process(12))
    nvml.set(gpu, rules=(Return(COMPUTE, code, times=1),))
    reading = nvml.one()
    assert (reading.up, reading.processes, reading.power_watts) == (True, None, 70.0)
    assert nvml.source.errors == ((why, 1),)
    assert pids(nvml) == [12]
    assert nvml.source.errors == ()


def test_a_list_that_grew_within_the_call_is_asked_again(nvml: NvmlHost) -> None:
    """The second of the two C calls fails as where the room has become too small."""
    nvml.set(computing(A, Process(12)), rules=(Return(COMPUTE, 7, after=1, times=1),))
    assert pids(nvml) is None
    assert nvml.source.errors == (("other", 1),)
    assert pids(nvml) == [12]


def test_a_list_that_is_not_allowed_is_asked_once(nvml: NvmlHost, caplog: pytest.LogCaptureFixture) -> None:
    """One log line, no error at every tick, and the other GPU still tells."""
    nvml.set(computing(A, Process(12)), computing(B, Process(13)), rules=(Return(COMPUTE, 4, gpu=0),))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert [reading.processes for reading in nvml.read()] == [None, (GpuProcess(13, 0),)]
            assert nvml.source.errors == ()
    assert log_lines(caplog) == [
        "nvml call unsupported: GPU-a: nvmlDeviceGetComputeRunningProcesses_v3 returned 4 (no_permission)"
    ]


def test_an_old_driver_tells_by_the_older_version(tmp_path: Path) -> None:
    """Before 510 there is no third version of the lists; without any they are None."""
    with nvml_host(tmp_path, missing=(COMPUTE, MPS)) as nvml:
        nvml.set(computing(A, Process(12, 5), Process(13, 6, "mps")))
        assert nvml.one().processes == (GpuProcess(12, 5), GpuProcess(13, 6))
        nvml.set(A, rules=(Return("nvmlDeviceGetComputeRunningProcesses_v2", 3),))
        assert nvml.one().processes is None
        assert nvml.source.errors == ()


def test_a_gpu_lost_while_its_list_is_read_is_down(nvml: NvmlHost) -> None:
    """Its processes are unknown, not none."""
    nvml.set(A, B)
    nvml.read()
    nvml.set(A, B, rules=(Return(COMPUTE, 15, gpu=1),))
    a, b = nvml.read()
    assert (a.up, a.processes) == (True, ())
    assert (b.up, b.processes, b.power_watts) == (False, None, None)


def test_clients_of_mps_are_processes_too(nvml: NvmlHost) -> None:
    """One process for each pid, whichever list tells it, with the larger memory; the server is one too."""
    nvml.set(
        computing(
            A,
            Process(50, 30),
            Process(51, 0),
            Process(51, 900, "mps"),
            Process(52, NOT_AVAILABLE, "mps"),
        )
    )
    assert nvml.one().processes == (GpuProcess(50, 30), GpuProcess(51, 900), GpuProcess(52, None))


def test_use_is_not_asked_for_under_mps(nvml: NvmlHost) -> None:
    """The driver accounts all of it to the server: the clients' own is not known."""
    use = (ProcessUtilization(50, 80, timestamp_us=100), ProcessUtilization(51, 1, timestamp_us=100))
    gpu = computing(A, Process(50, 30), Process(51, 900, "mps"))
    nvml.set(replace(gpu, process_utilization=use))
    for _ in range(3):
        processes = nvml.one().processes
        assert processes is not None
        assert [process.sm_ratio for process in processes] == [None, None]
    assert "nvmlDeviceGetProcessUtilization 0" not in nvml.fake.calls()


def test_mps_is_looked_for_rarely(nvml: NvmlHost) -> None:
    """Never where nothing computes; else every 30 s, when the processes changed, and while it serves."""

    def call_count(*processes: Process, ticks: int = 1) -> int:
        nvml.set(computing(A, *processes))
        nvml.fake.forget_calls()
        for _ in range(ticks):
            nvml.read()
        return Counter(nvml.fake.calls())[f"{MPS} 0"]

    nvml.read()
    assert call_count(ticks=5) == 0
    assert call_count(Process(12)) == 1
    assert call_count(Process(12), ticks=2) == 0
    assert call_count(Process(12)) == 1
    assert call_count(Process(12), Process(13)) == 1
    assert call_count(Process(12), Process(13), Process(14, 1, "mps"), ticks=2) == 0
    assert call_count(Process(12), Process(13), Process(14, 1, "mps")) == 2
    assert call_count(Process(12), Process(13), Process(14, 1, "mps"), ticks=4) == 8
    assert call_count(Process(12), Process(13)) == 1


def test_mps_that_is_not_supported_is_asked_once(nvml: NvmlHost) -> None:
    """The processes stand all the same."""
    nvml.set(
        computing(A, Process(12)),
        rules=(Return(MPS, 3), Return("nvmlDeviceGetMPSComputeRunningProcesses_v2", 3)),
    )
    for _ in range(8):
        assert pids(nvml) == [12]
        assert nvml.source.errors == ()
    assert nvml.fake.calls().count(f"{MPS} 0") == 1


def test_mps_that_fails_for_now_is_asked_again(nvml: NvmlHost) -> None:
    """A passing failure is counted and leaves the compute list."""
    nvml.set(computing(A, Process(12), Process(13, 1, "mps")), rules=(Return(MPS, 999, times=1),))
    assert pids(nvml) == [12]
    assert nvml.source.errors == (("unknown", 1),)
    assert pids(nvml) == [12, 13]


def test_the_minor_number_of_a_device_node(nvml: NvmlHost) -> None:
    """It outlives the GPU's loss; where there is no device node (WSL) it is None and no failure."""
    nvml.set(replace(A, lines=("minor 5",)), replace(B, lines=("minor 7",)))
    assert [reading.device for reading in nvml.read()] == ["nvidia5", "nvidia7"]
    nvml.set(replace(A, lines=("minor 5",)), replace(B, lost=True))
    for _ in range(4):
        assert [reading.device for reading in nvml.read()] == ["nvidia5", "nvidia7"]


@pytest.mark.parametrize(("code", "errors"), [(3, ()), (999, (("unknown", 1),))])
def test_a_minor_number_that_is_not_told(
    nvml: NvmlHost, code: int, errors: tuple[tuple[str, int], ...]
) -> None:
    """Absent, never zero."""
    nvml.set(A, rules=(Return("nvmlDeviceGetMinorNumber", code),))
    assert nvml.one().device == ""
    assert nvml.source.errors == errors


def test_a_minor_number_that_cannot_be_is_none(nvml: NvmlHost) -> None:
    """Linux has 20 bits for it."""
    nvml.set(replace(A, lines=(f"minor {2**20}",)))
    assert nvml.one().device == ""

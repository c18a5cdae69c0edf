"""How much each process used a GPU: each record once, none of another time, none of a process that ended."""

from collections import Counter
from dataclasses import replace

import pynvml
import pytest

from tests.fake_nvml.scenario import Process, ProcessUtilization, Return, h100s
from tests.kit.units import SECOND
from tests.sources.nvml.nvml_host import A, B, NvmlHost

CALL = "nvmlDeviceGetProcessUtilization"
NOW = 1_000_010_000_000
"""The clock at the first read, in microseconds; each read is ten seconds after the one before."""

Record = tuple[int, int, int]
"""A pid, its percentage, and when (microseconds)."""


def use(nvml: NvmlHost, *records: Record, pids: tuple[int, ...] = (11, 12)) -> list[float | None]:
    """What the processes of the only GPU used, as a read tells."""
    nvml.set(
        replace(
            A,
            processes=tuple(Process(pid, 1) for pid in pids),
            process_utilization=tuple(ProcessUtilization(pid, sm, 0, at) for pid, sm, at in records),
        )
    )
    processes = nvml.one().processes
    assert processes is not None
    return [process.sm_ratio for process in processes]


def test_use_since_the_read_before(nvml: NvmlHost) -> None:
    """The first read only finds where records stand: they may be hours old. Each counts once."""
    assert use(nvml, (11, 90, 100), (12, 10, 200)) == [None, None]
    assert use(nvml, (11, 90, 100), (12, 10, 200), (11, 40, 300), (12, 20, 400)) == [0.4, 0.2]
    assert use(nvml, (11, 40, 300), (12, 20, 400), (11, 70, 500), (12, 5, 600)) == [0.7, 0.05]


def test_what_was_never_recorded_before_is_new(nvml: NvmlHost) -> None:
    """A first read that finds no record has nothing that could be old."""
    assert use(nvml) == [None, None]
    assert use(nvml, (11, 40, 100)) == [0.4, 0.0]


def test_a_process_without_a_record_used_none_while_others_did(nvml: NvmlHost) -> None:
    """The driver leaves out who used nothing."""
    use(nvml)
    assert use(nvml, (12, 60, 100)) == [0.0, 0.6]


def test_no_new_record_is_no_answer(nvml: NvmlHost) -> None:
    """Nothing newer is not "all used 0", and no failure; the next records are used."""
    use(nvml, (11, 40, 100))
    assert use(nvml, (11, 40, 100)) == [None, None]
    assert nvml.source.errors == ()
    assert use(nvml, (11, 30, 200)) == [0.3, 0.0]


def test_several_records_of_a_process_are_averaged(nvml: NvmlHost) -> None:
    """Old drivers tell each sample."""
    use(nvml)
    assert use(nvml, (11, 20, 100), (11, 60, 200), (12, 10, 150)) == [0.4, 0.1]


def test_records_of_processes_that_ended_are_left_out(nvml: NvmlHost) -> None:
    """They move the mark, and alone they tell nothing about the living."""
    use(nvml)
    assert use(nvml, (99, 80, 100), (11, 20, 110)) == [0.2, 0.0]
    assert use(nvml, (99, 80, 200)) == [None, None]
    assert use(nvml, (99, 80, 200), (11, 20, 150)) == [None, None]


@pytest.mark.parametrize("percent", [101, 2**32 - 1])
def test_records_above_100_percent_are_left_out(nvml: NvmlHost, percent: int) -> None:
    """Zombies have read as millions; the rest of the answer stands."""
    use(nvml)
    assert use(nvml, (11, percent, 100), (12, 100, 100)) == [0.0, 1.0]
    assert use(nvml, (11, percent, 200)) == [None, None]


def test_records_of_the_future_are_left_out(nvml: NvmlHost) -> None:
    """Ahead of the clock by more than a second; they do not move the mark, which would hide what follows."""
    use(nvml)
    second = NOW + 10_000_000
    assert use(nvml, (11, 50, second + 1_000_001), (12, 20, second + 1_000_000)) == [0.0, 0.2]
    assert use(nvml, (11, 40, second + 10_000_000)) == [0.4, 0.0]


def test_a_clock_that_was_set_back_starts_anew(nvml: NvmlHost) -> None:
    """Records are then older than the mark for as long as the clock was ahead: one read finds them again."""
    use(nvml, (11, 40, NOW))
    nvml.clock.now += -3_600 * SECOND
    hour = 3_600_000_000
    assert use(nvml, (11, 40, NOW + 5_000_000 - hour)) == [None, None]
    assert use(nvml, (11, 30, NOW + 15_000_000 - hour)) == [0.3, 0.0]


def test_records_that_were_used_are_not_used_again(nvml: NvmlHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a driver makes of the timestamp that it is handed."""
    records = [
        pynvml.c_nvmlProcessUtilizationSample_t(11, at, percent) for at, percent in ((100, 90), (200, 30))
    ]
    use(nvml, (11, 90, 100))
    monkeypatch.setattr(pynvml, CALL, lambda _handle, _since: records)
    assert use(nvml) == [0.3, 0.0]
    assert use(nvml) == [None, None]


def test_a_list_that_fails_does_not_lose_the_mark(nvml: NvmlHost) -> None:
    """The next mean is of both ticks."""
    use(nvml, (11, 40, 100))
    nvml.set(A, rules=(Return("nvmlDeviceGetComputeRunningProcesses_v3", 999),))
    assert nvml.one().processes is None
    assert use(nvml, (11, 40, 100), (11, 30, 200)) == [0.3, 0.0]


def test_a_list_without_a_record_is_no_failure(nvml: NvmlHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a driver succeeds in telling the length 0, pynvml raises "Success"."""

    def empty(_handle: object, _since: int) -> list[object]:
        raise pynvml.NVMLError(0)

    use(nvml)
    monkeypatch.setattr(pynvml, CALL, empty)
    assert use(nvml, (11, 40, 100)) == [None, None]
    assert nvml.source.errors == ()


def test_a_failure_does_not_lose_the_mark(nvml: NvmlHost) -> None:
    """It costs this figure at this tick and is counted; the next mean is of both."""
    gpu = replace(A, processes=(Process(11), Process(12)))
    use(nvml, (11, 40, 100))
    nvml.set(gpu, rules=(Return(CALL, 999),))
    processes = nvml.one().processes
    assert processes is not None
    assert [(process.pid, process.sm_ratio) for process in processes] == [(11, None), (12, None)]
    assert nvml.source.errors == (("unknown", 1),)
    assert use(nvml, (11, 40, 100), (11, 30, 200)) == [0.3, 0.0]


@pytest.mark.parametrize("code", [3, 4])
def test_what_a_gpu_does_not_support_is_asked_once(nvml: NvmlHost, code: int) -> None:
    """As on a vGPU: None, and no call wasted on it."""
    nvml.set(replace(A, processes=(Process(11), Process(12))), rules=(Return(CALL, code),))
    for _ in range(3):
        processes = nvml.one().processes
        assert processes is not None
        assert [process.sm_ratio for process in processes] == [None, None]
        assert nvml.source.errors == ()
    assert nvml.fake.calls().count(f"{CALL} 0") == 1


def test_a_process_alone_is_not_asked_about(nvml: NvmlHost) -> None:
    """It has the GPU to itself; when another comes the marks are found first."""
    assert use(nvml, (11, 40, 100), pids=(11,)) == [None]
    assert use(nvml, (11, 40, 200), pids=(11,)) == [None]
    assert f"{CALL} 0" not in nvml.fake.calls()
    assert use(nvml, (11, 50, 300)) == [None, None]
    assert use(nvml, (11, 50, 300), (12, 60, 400)) == [0.0, 0.6]
    assert use(nvml, (11, 40, 500), pids=(11,)) == [None]
    assert use(nvml, (11, 50, 600)) == [None, None]


def test_each_gpu_has_its_own_mark(nvml: NvmlHost) -> None:
    """Records are compared within one GPU only."""
    processes = (Process(11), Process(12))

    def read(at_a: int, at_b: int) -> list[float | None]:
        nvml.set(
            replace(A, processes=processes, process_utilization=(ProcessUtilization(11, 30, 0, at_a),)),
            replace(B, processes=processes, process_utilization=(ProcessUtilization(11, 50, 0, at_b),)),
        )
        return [(reading.processes or ())[0].sm_ratio for reading in nvml.read()]

    assert read(900, 100) == [None, None]
    assert read(901, 101) == [0.3, 0.5]


def test_what_was_not_delivered_is_used_by_the_next_read(nvml: NvmlHost) -> None:
    """A read that gave up moves no mark: the records of its late answer belong to the next mean."""
    use(nvml, (11, 10, 100))
    gpu = replace(
        A,
        processes=(Process(11), Process(12)),
        process_utilization=(ProcessUtilization(11, 60, 0, 200),),
    )
    nvml.hang(CALL, gpu)
    nvml.set(gpu)
    nvml.settle()
    assert use(nvml, (11, 60, 200), (11, 20, 300)) == [0.4, 0.0]


def test_a_shared_gpu_costs_two_calls_more(nvml: NvmlHost) -> None:
    """The list and the records: two C calls each, the length first."""
    processes = (Process(11), Process(12))
    gpus = [replace(gpu, processes=processes) for gpu in h100s(2)]
    nvml.set(*gpus)
    nvml.read()
    nvml.set(*(replace(gpu, process_utilization=(ProcessUtilization(11, 9, 0, 100),)) for gpu in gpus))
    nvml.fake.forget_calls()
    nvml.read()
    calls = Counter(call.split()[0] for call in nvml.fake.calls())
    assert (calls["nvmlDeviceGetComputeRunningProcesses_v3"], calls[CALL]) == (4, 4)
    assert "nvmlDeviceGetMPSComputeRunningProcesses_v3" not in calls

"""The fake library tells the real `pynvml` what a scenario says, and changes with it."""

import threading
import time
from dataclasses import replace
from pathlib import Path

import pynvml
import pytest

from tests.fake_nvml.library import FakeNvml
from tests.fake_nvml.opening import A, B, C, code_of, opened
from tests.fake_nvml.scenario import (
    NOT_AVAILABLE,
    Hang,
    Process,
    ProcessUtilization,
    Return,
    Sample,
    Scenario,
    Slow,
    h100s,
)


def uuids() -> list[str]:
    """All GPUs in the order of their index."""
    return [
        pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(i))
        for i in range(pynvml.nvmlDeviceGetCount())
    ]


def test_a_gpu_tells_what_its_scenario_says(fake: FakeNvml) -> None:
    """Identity, memory, power, limits and utilization arrive in NVML's own units."""
    gpu = replace(
        A, memory_total=100, memory_used=30, memory_reserved=5, power_mw=350_000, enforced_limit_mw=600_000
    )
    (handle,) = opened(fake, replace(gpu, utilization=73, memory_utilization=20))
    assert pynvml.nvmlSystemGetDriverVersion() == "570.148.08"
    assert pynvml.nvmlDeviceGetUUID(handle) == "GPU-a"
    assert pynvml.nvmlDeviceGetName(handle) == "NVIDIA H100 80GB HBM3"
    assert pynvml.nvmlDeviceGetPciInfo(handle).busId == "00000000:1B:00.0"
    assert pynvml.nvmlDeviceGetPciInfo(handle).busIdLegacy == "0000:1B:00.0"
    assert pynvml.nvmlDeviceGetPciInfo(handle).bus == 0x1B
    assert pynvml.nvmlDeviceGetIndex(handle) == 0
    first = pynvml.nvmlDeviceGetMemoryInfo(handle)
    assert (first.total, first.used, first.free) == (100, 35, 65)
    second = pynvml.nvmlDeviceGetMemoryInfo(handle, pynvml.nvmlMemory_v2)
    assert (second.total, second.used, second.reserved, second.free) == (100, 30, 5, 65)
    assert pynvml.nvmlDeviceGetPowerUsage(handle) == 350_000
    assert pynvml.nvmlDeviceGetPowerManagementLimit(handle) == 700_000
    assert pynvml.nvmlDeviceGetEnforcedPowerLimit(handle) == 600_000
    rates = pynvml.nvmlDeviceGetUtilizationRates(handle)
    assert (rates.gpu, rates.memory) == (73, 20)
    assert (
        code_of("nvmlDeviceGetMemoryInfo", handle, 0x01000028) == pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH
    )


def test_gpus_are_found_by_index_uuid_and_pci_address(fake: FakeNvml) -> None:
    """All three ways lead to one GPU; an unknown name is NOT_FOUND, an unknown index INVALID_ARGUMENT."""
    opened(fake, A, B)
    assert uuids() == ["GPU-a", "GPU-b"]
    assert pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByUUID("GPU-b")) == "GPU-b"
    assert pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByPciBusId("00000000:1B:00.0")) == "GPU-a"
    assert code_of("nvmlDeviceGetHandleByUUID", "GPU-z") == pynvml.NVML_ERROR_NOT_FOUND
    assert code_of("nvmlDeviceGetHandleByIndex", 2) == pynvml.NVML_ERROR_INVALID_ARGUMENT


def test_gpus_appear_and_are_unplugged(fake: FakeNvml) -> None:
    """A GPU that is gone is no longer counted and those behind it move up; a stale handle is lost."""
    _, b = opened(fake, A, B)
    fake.set(Scenario((A, replace(B, gone=True), C)))
    assert uuids() == ["GPU-a", "GPU-c"]
    assert code_of("nvmlDeviceGetUUID", b) == pynvml.NVML_ERROR_GPU_IS_LOST


def test_a_gpu_falls_off_the_bus(fake: FakeNvml) -> None:
    """It is still counted; its handle is lost, its index is unknown, its UUID is lost; others answer."""
    a, b = opened(fake, A, B)
    fake.set(Scenario((A, replace(B, lost=True))))
    assert pynvml.nvmlDeviceGetCount() == 2
    assert code_of("nvmlDeviceGetPowerUsage", b) == pynvml.NVML_ERROR_GPU_IS_LOST
    assert code_of("nvmlDeviceGetHandleByIndex", 1) == pynvml.NVML_ERROR_UNKNOWN
    assert code_of("nvmlDeviceGetHandleByUUID", "GPU-b") == pynvml.NVML_ERROR_GPU_IS_LOST
    assert pynvml.nvmlDeviceGetPowerUsage(a) == 70_000


@pytest.mark.parametrize("code", [4, 9, 12, 18, 999])
def test_init_fails_as_told(fake: FakeNvml, code: int) -> None:
    """Each way in which NVML refuses to open, then a driver that has come."""
    fake.set(Scenario((A,), (Return("nvmlInitWithFlags", code, times=1),)))
    assert code_of("nvmlInit") == code
    assert code_of("nvmlDeviceGetCount") == pynvml.NVML_ERROR_UNINITIALIZED
    pynvml.nvmlInit()
    assert pynvml.nvmlDeviceGetCount() == 1


def test_a_function_fails_on_one_gpu_after_some_calls_for_some_calls(fake: FakeNvml) -> None:
    """The rule lets one call through, fails two, and is over; the other GPU never notices."""
    a, b = opened(fake, A, B, rules=(Return("nvmlDeviceGetPowerUsage", 999, gpu=0, after=1, times=2),))
    assert pynvml.nvmlDeviceGetPowerUsage(a) == 70_000
    assert [code_of("nvmlDeviceGetPowerUsage", a) for _ in range(2)] == [999, 999]
    assert pynvml.nvmlDeviceGetPowerUsage(a) == 70_000
    assert pynvml.nvmlDeviceGetPowerUsage(b) == 70_000


def test_a_rule_for_every_function(fake: FakeNvml) -> None:
    """`*` fails everything but shutdown, as when the driver is unloaded underneath."""
    (a,) = opened(fake, A)
    fake.set(Scenario((A,), (Return("*", 1),)))
    assert code_of("nvmlDeviceGetCount") == 1
    assert code_of("nvmlDeviceGetUUID", a) == 1
    pynvml.nvmlShutdown()


def test_handles_are_void_after_closing(fake: FakeNvml) -> None:
    """A handle of an earlier opening leads nowhere."""
    (a,) = opened(fake, A)
    pynvml.nvmlShutdown()
    pynvml.nvmlInit()
    assert code_of("nvmlDeviceGetPowerUsage", a) == pynvml.NVML_ERROR_INVALID_ARGUMENT
    assert uuids() == ["GPU-a"]


def test_a_call_hangs_until_the_scenario_changes(fake: FakeNvml) -> None:
    """The hung call blocks its own thread only: other calls answer, and a new scenario lets it go."""
    a, b = opened(fake, A, B, rules=(Hang("nvmlDeviceGetPowerUsage", gpu=0),))
    counts: list[int] = []
    thread = threading.Thread(target=lambda: counts.append(pynvml.nvmlDeviceGetPowerUsage(a)), daemon=True)
    thread.start()
    while "nvmlDeviceGetPowerUsage 0" not in fake.calls():
        thread.join(0.001)
    assert pynvml.nvmlDeviceGetPowerUsage(b) == 70_000
    assert counts == []
    fake.set(Scenario((replace(A, power_mw=1), B)))
    thread.join(5)
    assert counts == [1]


def test_a_call_is_slow(fake: FakeNvml) -> None:
    """The call takes the time that its rule says, and then tells the truth."""
    (a,) = opened(fake, A, rules=(Slow("nvmlDeviceGetPowerUsage", 30, times=1),))
    before = time.monotonic_ns()
    assert pynvml.nvmlDeviceGetPowerUsage(a) == 70_000
    assert time.monotonic_ns() - before >= 30_000_000


def test_energy_advances_with_time_and_resets(fake: FakeNvml) -> None:
    """The counter is `energy_mj` at its moment and grows by its rate; a smaller `energy_mj` is a reset."""
    an_hour_ago = time.time_ns() // 1000 - 3_600_000_000
    gpu = replace(A, energy_mj=5_000, energy_rate_mw=500_000, energy_since_us=an_hour_ago)
    (a,) = opened(fake, gpu)
    assert 5_000 + 1_800_000_000 <= pynvml.nvmlDeviceGetTotalEnergyConsumption(a) < 5_000 + 1_830_000_000
    fake.set(Scenario((replace(A, energy_mj=7, energy_rate_mw=0),)))
    assert pynvml.nvmlDeviceGetTotalEnergyConsumption(a) == 7
    fake.set(Scenario((replace(A, energy_mj=NOT_AVAILABLE),)))
    assert pynvml.nvmlDeviceGetTotalEnergyConsumption(a) == 0xFFFF_FFFF_FFFF_FFFF


def test_a_counter_without_a_moment_advances_from_its_writing(fake: FakeNvml) -> None:
    """Without `since` the counter stands at `energy_mj` when its scenario is written."""
    (a,) = opened(fake, replace(A, energy_mj=1_000, energy_rate_mw=1_000_000))
    assert 1_000 <= pynvml.nvmlDeviceGetTotalEnergyConsumption(a) < 60_000_000


def test_explicit_samples_are_the_ring(fake: FakeNvml) -> None:
    """Only entries newer than the timestamp are told; none newer is NOT_FOUND."""
    samples = (Sample(100, 10), Sample(200, 20), Sample(300, 30), Sample(100, 7, "power"))
    (a,) = opened(fake, replace(A, samples=samples))
    kind, ring = pynvml.nvmlDeviceGetSamples(a, pynvml.NVML_GPU_UTILIZATION_SAMPLES, 100)
    assert kind == pynvml.NVML_VALUE_TYPE_UNSIGNED_INT
    assert [(sample.timeStamp, sample.sampleValue.uiVal) for sample in ring] == [(200, 20), (300, 30)]
    _, power = pynvml.nvmlDeviceGetSamples(a, pynvml.NVML_TOTAL_POWER_SAMPLES, 0)
    assert [sample.sampleValue.uiVal for sample in power] == [7]
    assert code_of("nvmlDeviceGetSamples", a, pynvml.NVML_GPU_UTILIZATION_SAMPLES, 300) == 6


def test_a_live_ring_remembers_what_the_utilization_was(fake: FakeNvml) -> None:
    """A ring without explicit samples fills at its period with real time, across changes of the scenario."""
    ring = ("ring utilization period_us 1000 capacity 50",)
    (a,) = opened(fake, replace(A, utilization=10, lines=ring))
    _, before = pynvml.nvmlDeviceGetSamples(a, pynvml.NVML_GPU_UTILIZATION_SAMPLES, 0)
    assert {sample.sampleValue.uiVal for sample in before} == {10}
    assert len(before) == 50
    fake.set(Scenario((replace(A, utilization=90, lines=ring),)))
    values: set[int] = set()
    while 90 not in values:
        _, after = pynvml.nvmlDeviceGetSamples(a, pynvml.NVML_GPU_UTILIZATION_SAMPLES, 0)
        values = {sample.sampleValue.uiVal for sample in after}
    assert values <= {10, 90}


def test_process_lists(fake: FakeNvml) -> None:
    """Compute, graphics and MPS processes are told apart, by both versions of each call."""
    processes = (Process(11, 5), Process(12, NOT_AVAILABLE, "graphics"), Process(13, 6, "mps"))
    a, b = opened(fake, replace(A, processes=processes), B)
    for version in ("v2", "v3"):
        for kind, expected in (("Compute", (11, 5)), ("Graphics", (12, None)), ("MPSCompute", (13, 6))):
            call = getattr(pynvml, f"nvmlDeviceGet{kind}RunningProcesses_{version}")
            assert [(process.pid, process.usedGpuMemory) for process in call(a)] == [expected]
            assert call(b) == []


def test_process_utilization(fake: FakeNvml) -> None:
    """Records newer than the timestamp; none is NOT_FOUND; one without a timestamp is always of now."""
    usage = (ProcessUtilization(11, 40, 20, timestamp_us=100), ProcessUtilization(12, 60, timestamp_us=200))
    (a,) = opened(fake, replace(A, process_utilization=usage))
    records = pynvml.nvmlDeviceGetProcessUtilization(a, 100)
    assert [(record.pid, record.smUtil, record.timeStamp) for record in records] == [(12, 60, 200)]
    assert code_of("nvmlDeviceGetProcessUtilization", a, 200) == pynvml.NVML_ERROR_NOT_FOUND
    fake.set(Scenario((replace(A, process_utilization=(ProcessUtilization(13, 5),)),)))
    assert pynvml.nvmlDeviceGetProcessUtilization(a, time.time_ns() // 1000 - 1)[0].pid == 13


def test_events(fake: FakeNvml) -> None:
    """An event is told once to the set that listens; then waiting times out."""
    a, _ = opened(fake, replace(A, lines=("event 8 79",)), replace(B, lines=("event 8 13",)))
    listening = pynvml.nvmlEventSetCreate()
    pynvml.nvmlDeviceRegisterEvents(a, pynvml.nvmlEventTypeXidCriticalError, listening)
    assert pynvml.nvmlEventSetWait(listening, 100).eventData == 79
    assert code_of("nvmlEventSetWait", listening, 1) == pynvml.NVML_ERROR_TIMEOUT
    pynvml.nvmlEventSetFree(listening)


def test_field_values(fake: FakeNvml) -> None:
    """Fields carry their own codes; energy and power are known, others as the scenario says."""
    (a,) = opened(fake, replace(A, energy_mj=9, lines=("field 74 12",)))
    field_values = pynvml.nvmlDeviceGetFieldValues(a, [83, 74, (186, 0), 5])
    assert [(value.nvmlReturn, value.value.ullVal) for value in field_values] == [
        (0, 9),
        (0, 12),
        (0, 70_000),
        (3, 0),
    ]


def test_bytes_that_are_not_text(fake: FakeNvml) -> None:
    """A garbled name raises what the real one raises."""
    (a,) = opened(fake, replace(A, name=r"NVIDIA \xff\xfe"))
    with pytest.raises(UnicodeDecodeError):
        pynvml.nvmlDeviceGetName(a)


def test_an_old_driver_lacks_symbols(tmp_path: Path) -> None:
    """A missing symbol is FUNCTION_NOT_FOUND, for unversioned process lists another exception altogether."""
    missing = ("nvmlDeviceGetMemoryInfo_v2", "nvmlDeviceGetComputeRunningProcesses_v3")
    with FakeNvml(tmp_path, Scenario((A,)), missing_symbols=missing).loaded():
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        code = code_of("nvmlDeviceGetMemoryInfo", handle, pynvml.nvmlMemory_v2)
        assert code == pynvml.NVML_ERROR_FUNCTION_NOT_FOUND
        with pytest.raises(pynvml.NVMLLibraryMismatchError):
            pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
        assert pynvml.nvmlDeviceGetComputeRunningProcesses_v2(handle) == []


def test_the_trace_lists_calls_with_their_gpu(fake: FakeNvml) -> None:
    """One line for each C call, so that a test can count what a tick costs."""
    _, b = opened(fake, *h100s(2))
    fake.forget_calls()
    pynvml.nvmlDeviceGetCount()
    pynvml.nvmlDeviceGetPowerUsage(b)
    assert fake.calls() == ["nvmlDeviceGetCount_v2", "nvmlDeviceGetPowerUsage 1"]


def test_a_malformed_scenario_changes_nothing(fake: FakeNvml, capfd: pytest.CaptureFixture[str]) -> None:
    """The library names the line and goes on with the world it knew."""
    opened(fake, A, B)
    fake.set(Scenario(lines=("gpu 0 colour green",)))
    assert pynvml.nvmlDeviceGetCount() == 2
    assert capfd.readouterr().err.endswith("scenario:2: cannot read: gpu 0 colour green\n")


@pytest.mark.parametrize(
    "line",
    [
        "gpu",
        "gpu 0",
        "gpu 99 lost 1",
        "gpu x lost 1",
        "gpu 0 power_mw lots",
        "gpu 0 power_mw 1 2",
        "gpu 0 energy_mj 1 rate 2",
        "gpu 0 sample fan 1 2",
        "gpu 0 mig 0 size 3",
        "gpu 0 ring utilization period_us 0",
        "gpu 0 process compute",
        "return nvmlInitWithFlags *",
        "return nvmlInitWithFlags * 9 1 2 3",
        "hang nvmlInitWithFlags",
        "return nvmlDeviceGetUUID 0/16 9",
        "return nvmlDeviceGetUUID 0/card 9",
        "return nvmlDeviceGetUUID 32/0 9",
        "sleep 3",
    ],
)
def test_malformed_lines_are_told(fake: FakeNvml, capfd: pytest.CaptureFixture[str], line: str) -> None:
    """No line is half understood."""
    fake.set(Scenario(lines=(line,)))
    assert code_of("nvmlInit") == pynvml.NVML_ERROR_UNKNOWN
    assert f"cannot read: {line}\n" in capfd.readouterr().err

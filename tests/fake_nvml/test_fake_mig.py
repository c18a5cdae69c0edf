"""The fake library tells of cards cut into MIG instances, and of GPM."""

from dataclasses import replace

import pynvml
import pytest

from tests.fake_nvml.library import FakeNvml
from tests.fake_nvml.opening import A, B, code_of, opened
from tests.fake_nvml.scenario import Gpm, Mig, Process, Return, Scenario


def test_mig_instances(fake: FakeNvml) -> None:
    """Instances have handles, attributes, memory and processes; whole-GPU figures are not theirs."""
    gpu = replace(
        A,
        mig_mode=True,
        mig=(Mig(0, "MIG-x", gi=1, memory_used=4), Mig(2, "MIG-y", gi=5, gi_slices=3, ci_slices=2, sm=48)),
        processes=(Process(21, 3, gi=1, ci=0), Process(22, 8, gi=5, ci=0)),
    )
    (a,) = opened(fake, gpu)
    assert pynvml.nvmlDeviceGetMigMode(a) == [1, 1]
    x = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(a, 0)
    y = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(a, 2)
    assert code_of("nvmlDeviceGetMigDeviceHandleByIndex", a, 1) == pynvml.NVML_ERROR_NOT_FOUND
    assert pynvml.nvmlDeviceGetUUID(x) == "MIG-x"
    assert pynvml.nvmlDeviceGetName(x) == "NVIDIA H100 80GB HBM3 MIG 1g.10gb"
    assert pynvml.nvmlDeviceIsMigDeviceHandle(x).value == 1
    assert pynvml.nvmlDeviceGetMemoryInfo(x).used == 4
    attributes = pynvml.nvmlDeviceGetAttributes(y)
    assert (attributes.gpuInstanceSliceCount, attributes.computeInstanceSliceCount) == (3, 2)
    assert (attributes.multiprocessorCount, attributes.memorySizeMB) == (48, 10 * 1024)
    assert (pynvml.nvmlDeviceGetGpuInstanceId(y), pynvml.nvmlDeviceGetComputeInstanceId(y)) == (5, 0)
    assert [process.pid for process in pynvml.nvmlDeviceGetComputeRunningProcesses_v3(y)] == [22]
    assert [p.gpuInstanceId for p in pynvml.nvmlDeviceGetComputeRunningProcesses_v3(a)] == [1, 5]
    assert code_of("nvmlDeviceGetUtilizationRates", a) == pynvml.NVML_ERROR_NOT_SUPPORTED
    assert code_of("nvmlDeviceGetSamples", a, 1, 0) == pynvml.NVML_ERROR_NOT_SUPPORTED
    assert code_of("nvmlDeviceGetPowerUsage", x) == pynvml.NVML_ERROR_NOT_SUPPORTED
    parent = pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(x)
    assert pynvml.nvmlDeviceGetPowerUsage(parent) == 70_000
    assert pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByUUID("MIG-y")) == "MIG-y"


def test_a_compute_instance_is_named_by_its_part(fake: FakeNvml) -> None:
    """As NVIDIA names them: 2c.3g.10gb is two of three compute slices."""
    (a,) = opened(fake, replace(A, mig_mode=True, mig=(Mig(0, "MIG-x", gi=1, gi_slices=3, ci_slices=2),)))
    name = pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetMigDeviceHandleByIndex(a, 0))
    assert name == "NVIDIA H100 80GB HBM3 MIG 2c.3g.10gb"


def test_rules_and_the_trace_tell_a_card_from_its_instances(fake: FakeNvml) -> None:
    """A rule for a GPU is for its instances too, unless it names one of them or the card."""
    gpu = replace(A, mig_mode=True, mig=(Mig(0, "MIG-x", gi=1), Mig(1, "MIG-y", gi=2)))
    (a,) = opened(fake, gpu)
    card_and_parts = [a, *(pynvml.nvmlDeviceGetMigDeviceHandleByIndex(a, index) for index in (0, 1))]
    call = "nvmlDeviceGetComputeRunningProcesses_v3"

    def failing(target: int | str) -> list[bool]:
        fake.set(Scenario((gpu,), (Return(call, 4, gpu=target),)))
        failed = []
        for handle in card_and_parts:
            try:
                pynvml.nvmlDeviceGetComputeRunningProcesses_v3(handle)
            except pynvml.NVMLError:
                failed.append(True)
            else:
                failed.append(False)
        return failed

    fake.forget_calls()
    assert failing(0) == [True, True, True]
    assert fake.calls() == [f"{call} 0", f"{call} 0/0", f"{call} 0/1"]
    assert failing("0/whole") == [True, False, False]
    assert failing("0/1") == [False, False, True]
    assert failing("1/1") == [False, False, False]


def gpm_value(first: object, second: object, metric: int) -> tuple[int, float]:
    """One metric of the time between two samples: its own code and value."""
    get = pynvml.c_nvmlGpmMetricsGet_t()
    get.version = pynvml.NVML_GPM_METRICS_GET_VERSION
    get.numMetrics = 1
    get.sample1, get.sample2 = first, second
    get.metrics[0].metricId = metric
    read_metric = pynvml.nvmlGpmMetricsGet(get).metrics[0]
    return read_metric.nvmlReturn, read_metric.value


def test_gpm(fake: FakeNvml) -> None:
    """Two samples of one GPU or instance give its metrics; a metric that is not told has its own code."""
    gpu = replace(A, mig_mode=True, mig=(Mig(0, "MIG-x", gi=1),), gpm=(Gpm(2, 81.5), Gpm(2, 33.0, gi=1)))
    a, b = opened(fake, gpu, B)
    assert pynvml.nvmlGpmQueryDeviceSupport(a).isSupportedDevice == 1
    assert pynvml.nvmlGpmQueryDeviceSupport(b).isSupportedDevice == 0
    samples = [pynvml.nvmlGpmSampleAlloc() for _ in range(3)]
    assert code_of("nvmlGpmSampleGet", b, samples[0]) == pynvml.NVML_ERROR_NOT_SUPPORTED
    for sample in samples[:2]:
        pynvml.nvmlGpmSampleGet(a, sample)
    assert gpm_value(samples[0], samples[1], 2) == (pynvml.NVML_SUCCESS, 81.5)
    with pytest.raises(pynvml.NVMLError):
        gpm_value(samples[1], samples[0], 2)
    assert gpm_value(samples[0], samples[1], 5)[0] == pynvml.NVML_ERROR_NOT_SUPPORTED
    pynvml.nvmlGpmMigSampleGet(a, 1, samples[2])
    with pytest.raises(pynvml.NVMLError):
        gpm_value(samples[0], samples[2], 2)
    pynvml.nvmlGpmMigSampleGet(a, 1, samples[0])
    assert gpm_value(samples[2], samples[0], 2) == (pynvml.NVML_SUCCESS, 33.0)
    with pytest.raises(pynvml.NVMLError):
        pynvml.nvmlGpmMigSampleGet(a, 2, samples[0])
    for sample in samples:
        pynvml.nvmlGpmSampleFree(sample)

"""What NVML tells of a GPU becomes a reading; what it does not tell, or cannot be true, is None."""

import logging
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pynvml
import pytest

from exporter.readings import Gpu, GpuProcess, GpuReading
from tests.fake_nvml.scenario import NOT_AVAILABLE, Mig, Process, Return, Sample, h100s
from tests.kit.units import SECOND
from tests.sources.nvml.nvml_host import A, B, NvmlHost, log_lines, nvml_host


def samples(*entries: tuple[int, int]) -> tuple[Sample, ...]:
    """A utilization ring of (timestamp, percent)."""
    return tuple(Sample(timestamp, percent) for timestamp, percent in entries)


def test_a_gpu_that_tells_everything(nvml: NvmlHost) -> None:
    """Every field, in SI units, under the UUID."""
    gpu = replace(A, memory_total=80_000, memory_used=60_000, memory_reserved=500, power_mw=512_345)
    gpu = replace(
        gpu, energy_mj=123_456_789, enforced_limit_mw=650_000, samples=samples((100, 20), (200, 60))
    )
    gpu = replace(gpu, lines=("minor 3",), processes=(Process(4_194_304, NOT_AVAILABLE), Process(71, 50_000)))
    nvml.set(gpu)
    assert nvml.read() == (
        GpuReading(
            gpu=Gpu("GPU-a", "NVIDIA H100 80GB HBM3"),
            index=0,
            up=True,
            pci_bus_id="00000000:1B:00.0",
            driver_version="570.148.08",
            utilization_ratio=0.4,
            memory_used_bytes=60_000,
            memory_total_bytes=80_000,
            power_watts=512.345,
            power_limit_watts=650.0,
            energy=123_456_789,
            device="nvidia3",
            instances=None,
            processes=(GpuProcess(71, 50_000), GpuProcess(4_194_304, None)),
        ),
    )
    assert nvml.source.name == "nvml"
    assert nvml.source.errors == ()


def test_a_tick_costs_nine_calls_for_each_gpu_and_one_for_all(nvml: NvmlHost) -> None:
    """NVML's calls take a lock that serving needs too: the budget is exact, and NVML is opened once.

    A GPU with one process, as most inference servers have it.
    """
    one = (Process(71, 50_000),)
    nvml.set(*(replace(gpu, samples=samples((100, 60)), processes=one) for gpu in h100s(8)))
    nvml.read()
    assert nvml.fake.calls().count("nvmlInitWithFlags") == 1
    nvml.set(*(replace(gpu, samples=samples((200, 60)), processes=one) for gpu in h100s(8)))
    nvml.fake.forget_calls()
    nvml.read()
    each = {
        "nvmlDeviceGetUUID": 8,
        "nvmlDeviceGetMemoryInfo_v2": 8,
        "nvmlDeviceGetPowerUsage": 8,
        "nvmlDeviceGetEnforcedPowerLimit": 8,
        "nvmlDeviceGetTotalEnergyConsumption": 8,
        "nvmlDeviceGetSamples": 16,
        "nvmlDeviceGetComputeRunningProcesses_v3": 16,
    }
    assert Counter(call.split()[0] for call in nvml.fake.calls()) == {"nvmlDeviceGetCount_v2": 1, **each}


def test_no_gpus_is_a_reading(nvml: NvmlHost) -> None:
    """A host with a driver and without GPUs is well and has nothing to tell."""
    nvml.set()
    assert nvml.read() == ()
    assert nvml.source.errors == ()


def test_utilization_is_the_mean_since_the_read_before(nvml: NvmlHost) -> None:
    """Samples that were used do not count twice."""
    nvml.set(replace(A, samples=samples((100, 10), (200, 30))))
    assert nvml.one().utilization_ratio == 0.2
    nvml.set(replace(A, samples=samples((200, 30), (300, 50), (400, 100))))
    assert nvml.one().utilization_ratio == 0.75


def test_each_gpu_has_its_own_newest_sample(nvml: NvmlHost) -> None:
    """Timestamps are compared within one GPU only."""
    nvml.set(replace(A, samples=samples((900, 10))), replace(B, samples=samples((100, 40))))
    nvml.read()
    nvml.set(
        replace(A, samples=samples((900, 10), (950, 20))), replace(B, samples=samples((100, 40), (200, 80)))
    )
    assert [reading.utilization_ratio for reading in nvml.read()] == [0.2, 0.8]


def test_without_new_samples_the_current_rate_stands(nvml: NvmlHost) -> None:
    """A ring that has stood still since the last read leaves the rate of the driver's last period."""
    nvml.set(replace(A, utilization=35, samples=samples((100, 90))))
    assert [nvml.one().utilization_ratio for _ in range(2)] == [0.9, 0.35]


@pytest.mark.parametrize("code", [3, 6, 999])
def test_without_a_ring_the_current_rate_stands(nvml: NvmlHost, code: int) -> None:
    """Samples that a GPU does not have, has none of, or fails to tell leave the rate."""
    nvml.set(replace(A, utilization=35), rules=(Return("nvmlDeviceGetSamples", code),))
    assert [nvml.one().utilization_ratio for _ in range(2)] == [0.35, 0.35]


def test_an_empty_ring_is_no_error(nvml: NvmlHost) -> None:
    """An idle GPU's ring may be empty at every tick."""
    nvml.set(A, rules=(Return("nvmlDeviceGetSamples", 6),))
    nvml.read()
    assert nvml.source.errors == ()


def test_utilization_that_nothing_tells_is_none(nvml: NvmlHost) -> None:
    """Absent, never zero."""
    nvml.set(A, rules=(Return("nvmlDeviceGetSamples", 3), Return("nvmlDeviceGetUtilizationRates", 3)))
    assert nvml.one().utilization_ratio is None


def test_sample_timestamps_may_start_again(nvml: NvmlHost) -> None:
    """A driver whose clock went back (or that counts from boot) is compared with itself only."""
    nvml.set(replace(A, samples=samples((10_000, 10))))
    nvml.read()
    nvml.set(replace(A, samples=samples((5, 60), (7, 70))))
    assert nvml.one().utilization_ratio == 0.65
    nvml.set(replace(A, samples=samples((7, 70), (9, 90))))
    assert nvml.one().utilization_ratio == 0.9


def test_samples_carry_their_own_type(nvml: NvmlHost) -> None:
    """Double samples are read as doubles; a type that nvml.h does not know is not read at all."""
    nvml.set(replace(A, samples=samples((100, 25)), lines=("ring utilization type 0",)))
    assert nvml.one().utilization_ratio == 0.25
    nvml.set(replace(A, utilization=5, samples=samples((200, 25)), lines=("ring utilization type 9",)))
    assert nvml.one().utilization_ratio == 0.05


def test_garbage_in_the_ring_is_left_out(nvml: NvmlHost) -> None:
    """Samples above 100 percent are dropped; all garbage leaves the rate, unless it is garbage too."""
    nvml.set(replace(A, samples=samples((100, 40), (200, 4_294_967_295), (300, 101))))
    assert nvml.one().utilization_ratio == 0.4
    nvml.set(replace(A, utilization=7, samples=samples((400, 255))))
    assert nvml.one().utilization_ratio == 0.07
    nvml.set(replace(A, utilization=101, samples=samples((500, 255))))
    assert nvml.one().utilization_ratio is None


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"power_mw": 0}, "power_watts"),
        ({"power_mw": 7_000_001}, "power_watts"),
        ({"power_mw": NOT_AVAILABLE}, "power_watts"),
        ({"power_mw": 10_000_001, "power_limit_mw": 0}, "power_watts"),
        ({"power_limit_mw": 0}, "power_limit_watts"),
        ({"power_limit_mw": NOT_AVAILABLE}, "power_limit_watts"),
        ({"energy_mj": NOT_AVAILABLE}, "energy"),
        ({"energy_mj": 2**63}, "energy"),
        ({"energy_mj": 0}, "energy"),
        ({"memory_total": 0}, "memory_total_bytes"),
        ({"memory_total": NOT_AVAILABLE}, "memory_total_bytes"),
        ({"memory_total": 10, "memory_used": 11}, "memory_used_bytes"),
        ({"memory_total": 10, "memory_used": NOT_AVAILABLE}, "memory_used_bytes"),
    ],
)
def test_impossible_values_are_not_readings(nvml: NvmlHost, fields: dict[str, int], field: str) -> None:
    """Sentinels and nonsense are None, and the GPU is up all the same."""
    nvml.set(replace(A, **fields))
    reading = nvml.one()
    assert getattr(reading, field) is None
    assert reading.up


def test_the_highest_values_that_can_be_true(nvml: NvmlHost) -> None:
    """Ten times the limit, full memory and a busy ring are still readings."""
    nvml.set(replace(A, power_mw=7_000_000, memory_total=10, memory_used=10, samples=samples((1, 100))))
    reading = nvml.one()
    assert (reading.power_watts, reading.memory_used_bytes, reading.utilization_ratio) == (7000.0, 10, 1.0)


def test_the_power_limit_falls_back_to_what_the_user_set(nvml: NvmlHost) -> None:
    """The enforced limit where it is told, else the configured one."""
    nvml.set(A, rules=(Return("nvmlDeviceGetEnforcedPowerLimit", 3),))
    assert nvml.one().power_limit_watts == 700.0


def test_what_a_gpu_does_not_support_is_asked_once(nvml: NvmlHost) -> None:
    """Absent, never zero, and no call wasted on it; the other GPU still tells."""
    nvml.set(A, B, rules=(Return("nvmlDeviceGetTotalEnergyConsumption", 3, gpu=0),))
    for _ in range(3):
        assert [reading.energy for reading in nvml.read()] == [None, 1_000_000_000]
    calls = Counter(nvml.fake.calls())
    assert calls["nvmlDeviceGetTotalEnergyConsumption 0"] == 1
    assert calls["nvmlDeviceGetTotalEnergyConsumption 1"] == 3
    assert nvml.source.errors == ()


def test_what_needs_permission_is_told_once(nvml: NvmlHost, caplog: pytest.LogCaptureFixture) -> None:
    """One log line for each GPU and field, not one a tick."""
    nvml.set(A, rules=(Return("nvmlDeviceGetPowerUsage", 4),))
    with caplog.at_level(logging.WARNING):
        assert [nvml.one().power_watts for _ in range(3)] == [None, None, None]
    assert log_lines(caplog) == [
        "nvml call unsupported: GPU-a: nvmlDeviceGetPowerUsage returned 4 (no_permission)"
    ]


def test_what_was_refused_once_is_asked_again_in_an_hour(
    nvml: NvmlHost, caplog: pytest.LogCaptureFixture
) -> None:
    """It may work then: without its counter a GPU's energy is integrated power, of which a loss has none."""
    nvml.set(A, rules=(Return("nvmlDeviceGetTotalEnergyConsumption", 4),))
    with caplog.at_level(logging.WARNING):
        assert nvml.one().energy is None
        nvml.clock.now += 3590 * SECOND
        assert nvml.one().energy is None
        nvml.set(A)
        nvml.clock.now += 3580 * SECOND
        assert nvml.one().energy is None
        assert nvml.one().energy == 1_000_000_000
    assert nvml.source.errors == ()
    assert log_lines(caplog) == [
        "nvml call unsupported: GPU-a: nvmlDeviceGetTotalEnergyConsumption returned 4 (no_permission)"
    ]


@pytest.mark.parametrize(("code", "why"), [(999, "unknown"), (77, "other"), (10, "other")])
def test_a_field_that_fails_for_now_is_asked_again(nvml: NvmlHost, code: int, why: str) -> None:
    """Two bad ticks cost that field for two ticks and are counted."""
    nvml.set(A, rules=(Return("nvmlDeviceGetTotalEnergyConsumption", code, times=2),))
    for _ in range(2):
        reading = nvml.one()
        assert (reading.up, reading.energy, reading.power_watts) == (True, None, 70.0)
        assert nvml.source.errors == ((why, 1),)
    assert nvml.one().energy == 1_000_000_000
    assert nvml.source.errors == ()


def test_an_old_driver_lacks_symbols(tmp_path: Path) -> None:
    """Memory comes from the first version; what has no other source is None."""
    missing = (
        "nvmlDeviceGetMemoryInfo_v2",
        "nvmlDeviceGetTotalEnergyConsumption",
        "nvmlDeviceGetSamples",
        "nvmlDeviceGetEnforcedPowerLimit",
    )
    with nvml_host(tmp_path, missing=missing) as nvml:
        nvml.set(replace(A, memory_total=100, memory_used=30, memory_reserved=5, utilization=12))
        for _ in range(2):
            reading = nvml.one()
            assert (reading.memory_used_bytes, reading.memory_total_bytes) == (35, 100)
            assert (reading.energy, reading.utilization_ratio) == (None, 0.12)
            assert reading.power_limit_watts == 700.0
            assert nvml.source.errors == ()


def test_the_two_memory_versions_do_not_alternate(nvml: NvmlHost) -> None:
    """A passing failure of the second does not bring the first, whose sum holds the driver's part."""
    nvml.set(A, rules=(Return("nvmlDeviceGetMemoryInfo_v2", 999, times=1),))
    assert nvml.one().memory_used_bytes is None
    assert nvml.one().memory_used_bytes == 0
    assert not [call for call in nvml.fake.calls() if call.startswith("nvmlDeviceGetMemoryInfo ")]


def test_a_pynvml_without_a_function_is_an_old_driver(
    nvml: NvmlHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of pynvml's own age stops a read."""
    monkeypatch.delattr(pynvml, "nvmlDeviceGetEnforcedPowerLimit")
    assert nvml.one().power_limit_watts == 700.0


def test_a_library_mismatch_is_no_nvml_error(nvml: NvmlHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """The third exception is a plain Exception and costs one field only."""

    def mismatch(_handle: object) -> int:
        raise pynvml.NVMLLibraryMismatchError

    monkeypatch.setattr(pynvml, "nvmlDeviceGetPowerUsage", mismatch)
    assert nvml.one().power_watts is None


def test_text_that_is_not_text(nvml: NvmlHost) -> None:
    """A garbled name or version is empty, and the GPU is read under its UUID."""
    nvml.set(replace(A, name=r"NVIDIA \xff"), driver=r"\xfe")
    reading = nvml.one()
    assert (reading.gpu, reading.driver_version) == (Gpu("GPU-a", ""), "")
    assert reading.power_watts == 70.0
    assert nvml.source.errors == (("garbled", 1),)


def test_a_garbled_address_is_empty(nvml: NvmlHost) -> None:
    """The PCI address is decoded when it is looked at, not when it is asked for."""
    nvml.set(replace(A, pci=r"0000\xff"))
    assert nvml.one().pci_bus_id == ""


def test_a_gpu_cut_into_instances_is_read_as_a_whole(nvml: NvmlHost) -> None:
    """Power and energy are the card's; NVML tells no utilization of it."""
    nvml.set(replace(A, utilization=50, mig_mode=True, mig=(Mig(0, "MIG-x", gi=1),)))
    reading = nvml.one()
    assert reading.gpu.uuid == "GPU-a"
    assert reading.utilization_ratio is None
    assert (reading.power_watts, reading.energy) == (70.0, 1_000_000_000)


def test_the_whole_host_is_seen_under_mps(nvml: NvmlHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that makes NVML count as an MPS client does is taken out of our environment."""
    monkeypatch.setenv("NVML_MPS_DEVICE_ENUMERATION", "1")
    nvml.read()
    assert "NVML_MPS_DEVICE_ENUMERATION" not in os.environ

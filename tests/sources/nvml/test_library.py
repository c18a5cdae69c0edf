"""NVML that does not open, or ends: why is said, and it is tried again, or a new process is asked for."""

import ctypes
from dataclasses import replace

import pynvml
import pytest

from exporter.readings import MustRestartError, ReadFailedError
from tests.fake_nvml.scenario import Return
from tests.kit.units import MILLISECOND, SECOND
from tests.sources.nvml.nvml_host import A, NvmlHost

INIT = "nvmlInitWithFlags"


@pytest.mark.parametrize(
    ("code", "why", "words"),
    [
        (4, "no_permission", "device nodes"),
        (9, "driver_not_loaded", "upgraded"),
        (12, "library_missing", "NVIDIA_DRIVER_CAPABILITIES=utility"),
        (999, "unknown", "returned 999"),
        (29, "other", "returned 29"),
    ],
)
def test_nvml_that_does_not_open_is_tried_every_30_seconds(
    nvml: NvmlHost, code: int, why: str, words: str
) -> None:
    """Between tries the answer is the same without a call; when the driver comes it is read."""
    nvml.set(A, rules=(Return(INIT, code),))
    with pytest.raises(ReadFailedError, match=words) as first:
        nvml.source.read()
    assert first.value.reason == why
    nvml.clock.now += 29_900 * MILLISECOND
    assert nvml.failure_reason() == why
    assert nvml.fake.calls() == [INIT]
    nvml.clock.now += 100 * MILLISECOND
    assert nvml.failure_reason() == why
    assert nvml.fake.calls() == [INIT, INIT]
    nvml.set(A)
    assert nvml.failure_reason() == why
    nvml.clock.now += 30 * SECOND
    assert nvml.up() == {"GPU-a": True}


def test_a_missing_library_may_appear(nvml: NvmlHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dynamic linker is asked anew at each try."""

    def missing(name: str) -> ctypes.CDLL:
        message = f"{name}: cannot open shared object file"
        raise OSError(message)

    with monkeypatch.context() as patch:
        patch.setattr(pynvml, "nvmlLib", None)
        patch.setattr(pynvml, "CDLL", missing)
        assert nvml.failure_reason() == "library_missing"
    nvml.clock.now += 30 * SECOND
    assert nvml.up() == {"GPU-a": True}


def test_a_passing_unknown_error_is_survived(nvml: NvmlHost) -> None:
    """Two refusals, then it opens."""
    nvml.set(A, rules=(Return(INIT, 999, times=2),))
    for _ in range(2):
        assert nvml.failure_reason() == "unknown"
        nvml.clock.now += 30 * SECOND
    assert nvml.failure_reason() == ""


def test_lasting_unknown_errors_need_a_new_container(nvml: NvmlHost) -> None:
    """The twentieth in a row, after ten minutes, says what happened to the container's devices."""
    nvml.set(A, rules=(Return(INIT, 999),))
    for _ in range(19):
        assert nvml.failure_reason() == "unknown"
        nvml.clock.now += 30 * SECOND
    with pytest.raises(MustRestartError, match=r"20 times in 10 minutes.*daemon-reload.*new container"):
        nvml.source.read()


def test_only_unknown_errors_in_a_row_count(nvml: NvmlHost) -> None:
    """Another refusal in between starts the count anew."""
    for code, times, why in ((999, 19, "unknown"), (9, 1, "driver_not_loaded"), (999, 19, "unknown")):
        nvml.set(A, rules=(Return(INIT, code),))
        for _ in range(times):
            assert nvml.failure_reason() == why
            nvml.clock.now += 30 * SECOND


def test_an_opening_ends_a_row_of_unknown_errors(nvml: NvmlHost) -> None:
    """Nineteen refusals, a good reading, and nineteen more are no reason to restart."""
    for _ in range(2):
        nvml.set(A, rules=(Return("*", 999), Return(INIT, 999)))
        for _ in range(19):
            assert nvml.failure_reason() == "unknown"
            nvml.clock.now += 30 * SECOND
        nvml.set(A)
        assert nvml.up() == {"GPU-a": True}
        nvml.set(A, rules=(Return("*", 1),))
        assert nvml.failure_reason() == "uninitialized"
        nvml.clock.now += 30 * SECOND


@pytest.mark.parametrize("function", [INIT, "nvmlDeviceGetCount_v2", "nvmlDeviceGetPowerUsage"])
def test_a_replaced_driver_needs_a_new_process(nvml: NvmlHost, function: str) -> None:
    """Code 18, at opening or at any later call, says what to do."""
    if function != INIT:
        nvml.read()
    nvml.set(A, rules=(Return(function, 18),))
    with pytest.raises(MustRestartError, match="recreate the container"):
        nvml.source.read()


@pytest.mark.parametrize(("code", "why"), [(1, "uninitialized"), (9, "driver_not_loaded")])
def test_a_driver_that_goes_and_comes_back(nvml: NvmlHost, code: int, why: str) -> None:
    """NVML is closed, and opened again when it can be; the counter starts again and handles are new."""
    nvml.read()
    nvml.clock.now += 60 * SECOND
    nvml.set(A, rules=(Return("*", code),))
    assert nvml.failure_reason() == why
    assert nvml.failure_reason() == why
    calls = nvml.fake.calls()
    assert (calls.count("nvmlShutdown"), calls.count(INIT)) == (1, 2)
    nvml.set(replace(A, energy_mj=17), driver="580.1")
    assert nvml.failure_reason() == why
    nvml.clock.now += 30 * SECOND
    reading = nvml.one()
    assert (reading.energy, reading.driver_version) == (17, "580.1")


def test_nvml_that_ends_is_not_opened_again_at_once(nvml: NvmlHost) -> None:
    """Opening and closing in a loop leaks inside drivers: at most one opening each 30 s."""
    nvml.read()
    nvml.set(A, rules=(Return("nvmlDeviceGetPowerUsage", 1),))
    for _ in range(30):
        nvml.clock.now += 2 * SECOND
        nvml.failure_reason()
    assert nvml.fake.calls().count(INIT) == 3


def test_another_driver_is_asked_for_everything(nvml: NvmlHost) -> None:
    """What the old one did not support may be told by the new one."""
    nvml.set(A, rules=(Return("nvmlDeviceGetPowerUsage", 3),))
    assert nvml.one().power_watts is None
    nvml.set(A, rules=(Return("nvmlDeviceGetCount_v2", 1),))
    assert nvml.failure_reason() == "uninitialized"
    nvml.set(A)
    nvml.clock.now += 30 * SECOND
    assert nvml.one().power_watts == 70.0


def test_a_count_that_needs_nvml_reopened(nvml: NvmlHost) -> None:
    """Where no GPU can be counted before NVML is opened again, it is."""
    nvml.read()
    nvml.set(A, rules=(Return("nvmlDeviceGetCount_v2", 28, times=1),))
    assert nvml.failure_reason() == "gpu_not_found"
    nvml.clock.now += 30 * SECOND
    assert nvml.up() == {"GPU-a": True}
    assert nvml.fake.calls().count("nvmlShutdown") == 1


def test_a_failed_read_tells_no_partial_errors(nvml: NvmlHost) -> None:
    """Those of an earlier reading are not told twice."""
    nvml.set(A, rules=(Return("nvmlDeviceGetPowerUsage", 999),))
    nvml.read()
    assert nvml.source.errors == (("unknown", 1),)
    nvml.set(A, rules=(Return("nvmlDeviceGetCount_v2", 999),))
    assert nvml.failure_reason() == "unknown"
    assert nvml.source.errors == ()


def test_a_count_that_fails_costs_one_reading(nvml: NvmlHost) -> None:
    """Two transient errors, then all is well; NVML stays open."""
    nvml.read()
    nvml.set(A, rules=(Return("nvmlDeviceGetCount_v2", 999, times=2),))
    assert [nvml.failure_reason() for _ in range(3)] == ["unknown", "unknown", ""]
    assert "nvmlShutdown" not in nvml.fake.calls()

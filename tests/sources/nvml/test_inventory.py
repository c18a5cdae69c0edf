"""GPUs come, go, and fall off the bus; each keeps its identity, and none costs the others their readings."""

import logging
from dataclasses import replace

import pynvml
import pytest

import exporter.sources.nvml.inventory
from tests.fake_nvml.scenario import Return
from tests.kit.units import SECOND
from tests.sources.nvml.nvml_host import A, B, C, NvmlHost, log_lines

LOST_A = replace(A, lost=True)
LOST_B = replace(B, lost=True)


def test_a_lost_gpu_is_down_and_the_others_answer(nvml: NvmlHost, caplog: pytest.LogCaptureFixture) -> None:
    """It keeps its identity and tells nothing else; one line is logged for each change."""
    nvml.set(A, B, C)
    before = nvml.read()
    nvml.set(A, LOST_B, C)
    with caplog.at_level(logging.WARNING):
        for _ in range(9):
            after = nvml.read()
            assert (after[0], after[2]) == (before[0], before[2])
            assert (after[1].gpu, after[1].up, after[1].index) == (before[1].gpu, False, 1)
            assert (after[1].pci_bus_id, after[1].power_watts, after[1].energy) == (
                "00000000:43:00.0",
                None,
                None,
            )
    nvml.set(A, B, C)
    nvml.clock.now += 30 * SECOND
    assert nvml.read() == before
    assert log_lines(caplog) == [
        "gpu unreadable: GPU-b: 00000000:43:00.0: gpu_lost",
        "gpu readable again: GPU-b: 00000000:43:00.0",
    ]


def test_a_lost_gpu_is_left_alone_for_30_seconds(nvml: NvmlHost) -> None:
    """One look each 30 s, and no other call for it."""
    nvml.set(A, B)
    nvml.read()
    nvml.set(A, LOST_B)
    nvml.read()
    nvml.fake.forget_calls()
    for _ in range(6):
        assert nvml.up() == {"GPU-a": True, "GPU-b": False}
    assert [call for call in nvml.fake.calls() if call.endswith(" 1")] == [
        "nvmlDeviceGetHandleByIndex_v2 1"
    ] * 2


def test_losing_a_gpu_is_counted_when_it_is_noticed(nvml: NvmlHost) -> None:
    """The failed call is an error of that tick; afterwards the GPU's own series says it."""
    nvml.set(A, B)
    nvml.read()
    nvml.set(A, LOST_B)
    nvml.read()
    assert nvml.source.errors == (("gpu_lost", 1),)
    nvml.read()
    assert nvml.source.errors == ()


def test_a_gpu_lost_within_a_tick(nvml: NvmlHost) -> None:
    """A code 15 half way through leaves no half reading."""
    nvml.set(A, B)
    nvml.read()
    nvml.set(A, B, rules=(Return("nvmlDeviceGetTotalEnergyConsumption", 15, gpu=1),))
    _, b = nvml.read()
    assert (b.up, b.power_watts, b.memory_total_bytes) == (False, None, None)


def test_lost_gpus_are_told_apart(nvml: NvmlHost) -> None:
    """Two that do not answer keep their own identities, by their index, through a look."""
    nvml.set(A, B, C)
    nvml.read()
    nvml.set(LOST_A, LOST_B, C)
    nvml.read()
    nvml.clock.now += 30 * SECOND
    assert [(reading.gpu.uuid, reading.up) for reading in nvml.read()] == [
        ("GPU-a", False),
        ("GPU-b", False),
        ("GPU-c", True),
    ]


def test_a_lost_gpu_keeps_its_name_when_another_is_unplugged(nvml: NvmlHost) -> None:
    """The one that was lost before is still the lost one, though its index moved."""
    nvml.set(A, B, C)
    nvml.read()
    nvml.set(A, LOST_B, C)
    nvml.read()
    nvml.set(replace(A, gone=True), LOST_B, C)
    assert nvml.up() == {"GPU-b": False, "GPU-c": True}


def test_a_lost_gpu_keeps_its_name_when_another_is_exchanged(nvml: NvmlHost) -> None:
    """Where two known GPUs are missing at once, the index says which one does not answer."""
    nvml.set(A, B)
    nvml.read()
    nvml.set(C, LOST_B)
    assert nvml.up() == {"GPU-a": False, "GPU-b": False}
    nvml.clock.now += 30 * SECOND
    assert nvml.up() == {"GPU-c": True, "GPU-b": False}


def test_a_gpu_is_known_by_its_address(nvml: NvmlHost) -> None:
    """Where a handle tells its address and no UUID, that says which one it is."""
    nvml.set(A, B, C)
    nvml.read()
    nvml.set(replace(A, gone=True), B, C, rules=(Return("nvmlDeviceGetUUID", 999, gpu=2),))
    down = [reading for reading in nvml.read() if not reading.up]
    assert [(reading.gpu.uuid, reading.pci_bus_id) for reading in down] == [("GPU-c", "00000000:52:00.0")]


def test_a_gpu_that_never_answered_is_left_out(nvml: NvmlHost) -> None:
    """It has no identity yet; the failed call is counted and others are read. Later it may answer."""
    nvml.set(A, LOST_B)
    assert nvml.up() == {"GPU-a": True}
    assert nvml.source.errors == (("unknown", 1),)
    nvml.set(A, B)
    nvml.clock.now += 30 * SECOND
    assert nvml.up() == {"GPU-a": True, "GPU-b": True}


@pytest.mark.parametrize(("code", "why"), [(4, "no_permission"), (999, "unknown")])
def test_gpus_that_none_may_read_are_a_failure(nvml: NvmlHost, code: int, why: str) -> None:
    """Counted and never read is not "no GPUs"."""
    nvml.set(A, B, rules=(Return("nvmlDeviceGetHandleByIndex_v2", code),))
    assert nvml.failure_reason() == why
    assert nvml.failure_reason() == why
    nvml.set(A, B)
    nvml.clock.now += 30 * SECOND
    assert nvml.up() == {"GPU-a": True, "GPU-b": True}


def test_an_unplugged_gpu_is_absent_and_the_rest_keep_their_values(nvml: NvmlHost) -> None:
    """Indices shift; values follow the UUID."""
    b = replace(B, energy_mj=222)
    c = replace(C, energy_mj=333)
    nvml.set(A, b, c)
    nvml.read()
    nvml.set(replace(A, gone=True), b, c)
    assert [(reading.gpu.uuid, reading.index, reading.energy) for reading in nvml.read()] == [
        ("GPU-b", 0, 222),
        ("GPU-c", 1, 333),
    ]


def test_a_plugged_gpu_appears(nvml: NvmlHost) -> None:
    """The next read has it."""
    nvml.read()
    nvml.set(A, C)
    assert nvml.up() == {"GPU-a": True, "GPU-c": True}


def test_an_exchanged_gpu_is_found_by_a_look(nvml: NvmlHost) -> None:
    """The count is the same: the old one is down until the look, then the new one stands in its place."""
    nvml.set(A, B)
    nvml.read()
    nvml.set(A, replace(C, pci=B.pci))
    assert nvml.up() == {"GPU-a": True, "GPU-b": False}
    nvml.clock.now += 30 * SECOND
    assert nvml.up() == {"GPU-a": True, "GPU-c": True}


def test_a_handle_that_leads_elsewhere_is_noticed(nvml: NvmlHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """The UUID is asked at every read, so that no GPU is billed under another one's name."""
    nvml.set(A, B)
    nvml.read()
    uuids = iter(["GPU-d", "GPU-d", "GPU-e"])
    monkeypatch.setattr(pynvml, "nvmlDeviceGetUUID", lambda _handle: next(uuids))
    assert nvml.up() == {"GPU-d": True, "GPU-e": True}


def test_two_indices_with_one_uuid_are_one_gpu(nvml: NvmlHost) -> None:
    """A GPU is never billed twice."""
    nvml.set(A, replace(B, uuid=A.uuid))
    assert nvml.up() == {"GPU-a": True}
    assert nvml.source.errors == (("duplicate", 1),)


def test_a_gpu_without_a_uuid_has_no_identity(nvml: NvmlHost) -> None:
    """An answer of control characters is none."""
    nvml.set(replace(A, uuid=r"\x01\x02"), B)
    assert nvml.up() == {"GPU-b": True}


def test_an_absurd_count_is_not_a_reading(nvml: NvmlHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """The count bounds what is asked for."""
    monkeypatch.setattr(exporter.sources.nvml.inventory, "LARGEST_COUNT", 1)
    nvml.set(A, B)
    assert nvml.failure_reason() == "implausible"


@pytest.mark.parametrize("code", [16, 28])
def test_a_gpu_that_needs_nvml_reopened(nvml: NvmlHost, code: int) -> None:
    """NVML is closed and opened for it after 30 s, then every ten minutes: never in a loop."""
    nvml.set(A, B)
    nvml.read()
    nvml.set(A, B, rules=(Return("nvmlDeviceGetPowerUsage", code, gpu=1),))
    assert nvml.up() == {"GPU-a": True, "GPU-b": False}
    for _ in range(60):
        assert nvml.up() == {"GPU-a": True, "GPU-b": False}
    assert nvml.fake.calls().count("nvmlShutdown") == 1
    nvml.set(A, B)
    nvml.clock.now += 600 * SECOND
    assert nvml.up() == {"GPU-a": True, "GPU-b": True}


def test_a_gpu_whose_calls_take_too_long_is_down(nvml: NvmlHost) -> None:
    """A dead GPU that makes each call wait 45 s silences the host twice, not at every tick."""
    nvml.set(A, B)
    nvml.read()
    for _ in range(2):
        nvml.hang("nvmlDeviceGetPowerUsage", A, B)
        nvml.clock.now += 45 * SECOND
        nvml.set(A, B)
        nvml.settle()
    assert nvml.up() == {"GPU-a": False, "GPU-b": True}
    nvml.clock.now += 30 * SECOND
    assert nvml.up() == {"GPU-a": True, "GPU-b": True}


def test_one_stall_takes_no_gpu_down(nvml: NvmlHost) -> None:
    """A driver that stalled once, and once more after a good read, has lost nothing."""
    nvml.set(A, B)
    for _ in range(2):
        assert nvml.up() == {"GPU-a": True, "GPU-b": True}
        nvml.hang("nvmlDeviceGetPowerUsage", A, B)
        nvml.clock.now += 45 * SECOND
        nvml.set(A, B)
        nvml.settle()
    assert nvml.up() == {"GPU-a": True, "GPU-b": True}


def test_slow_looks_become_rare(nvml: NvmlHost) -> None:
    """While looking for a lost GPU takes its time, looks are ever further apart; a quick one ends that."""
    nvml.set(A, B)
    nvml.read()
    nvml.hang("nvmlDeviceGetUUID", LOST_A, B)
    nvml.set(LOST_A, B)
    nvml.settle()
    nvml.up()
    inventory = nvml.source._inventory
    inventory._patience = 4 * exporter.sources.nvml.inventory.RETRY
    nvml.clock.now += 600 * SECOND
    nvml.hang("nvmlDeviceGetHandleByIndex_v2", LOST_A, B)
    nvml.clock.now += 45 * SECOND
    nvml.set(LOST_A, B)
    nvml.settle()
    assert inventory._patience == 8 * exporter.sources.nvml.inventory.RETRY
    nvml.fake.forget_calls()
    for _ in range(23):
        nvml.read()
    assert "nvmlDeviceGetHandleByIndex_v2 0" not in nvml.fake.calls()
    nvml.read()
    assert "nvmlDeviceGetHandleByIndex_v2 0" in nvml.fake.calls()
    assert inventory._patience == exporter.sources.nvml.inventory.RETRY

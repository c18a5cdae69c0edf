"""A card that is cut into MIG instances: how it is cut, and who computes on which instance."""

import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

import exporter.sources.nvml.mig
from exporter.readings import GpuProcess, MigInstance
from tests.fake_nvml.scenario import NOT_AVAILABLE, Gpu, Mig, Process, Return
from tests.kit.units import GIB, SECOND
from tests.sources.nvml.nvml_host import A, B, NvmlHost, log_lines, nvml_host

COMPUTE = "nvmlDeviceGetComputeRunningProcesses_v3"
LARGE = Mig(0, "MIG-large", gi=2, gi_slices=3, ci_slices=3, memory_total=40 * GIB)
SMALL = Mig(1, "MIG-small", gi=9)
OTHER = Mig(2, "MIG-other", gi=10)


def cut(*instances: Mig, processes: tuple[Process, ...] = (), gpu: Gpu = A) -> Gpu:
    """A card in MIG mode with these instances."""
    return replace(gpu, mig_mode=True, mig=instances, processes=processes)


def uuids(nvml: NvmlHost) -> list[str] | None:
    """The instances of the only card, after a read."""
    instances = nvml.one().instances
    return None if instances is None else [instance.uuid for instance in instances]


def reopened(nvml: NvmlHost) -> int:
    """How often NVML was closed."""
    return nvml.fake.calls().count("nvmlShutdown")


def test_how_a_card_is_cut(nvml: NvmlHost) -> None:
    """Each instance with what it is of the card, by GPU instance; power and energy stay the card's."""
    nvml.set(replace(cut(OTHER, LARGE), utilization=50))
    reading = nvml.one()
    assert reading.instances == (
        MigInstance("MIG-large", 2, 0, "3g.40gb", 3, 3, 40 * GIB),
        MigInstance("MIG-other", 10, 0, "1g.10gb", 1, 1, 10 * GIB),
    )
    assert reading.mig_profile == "3g.40gb,1g.10gb"
    assert (reading.utilization_ratio, reading.power_watts, reading.energy) == (None, 70.0, 1_000_000_000)
    assert nvml.source.errors == ()


def test_alike_instances_are_counted_in_the_profile(nvml: NvmlHost) -> None:
    """The largest first; instances that share a GPU instance name their compute slices."""
    halves = [
        Mig(index, f"MIG-{index}", gi=1, ci=index, gi_slices=2, memory_total=20 * GIB) for index in (0, 1)
    ]
    nvml.set(cut(SMALL, OTHER, LARGE), cut(*halves, gpu=B))
    a, b = nvml.read()
    assert (a.mig_profile, b.mig_profile) == ("3g.40gb,2x1g.10gb", "2x1c.2g.20gb")
    assert [(one.gpu_instance, one.compute_instance) for one in b.instances or ()] == [(1, 0), (1, 1)]


def test_a_card_cut_into_nothing_is_not_a_whole_card(nvml: NvmlHost) -> None:
    """MIG mode without an instance: nobody can compute on it. A whole card has no instances at all."""
    nvml.set(cut(), B)
    a, b = nvml.read()
    assert (a.instances, a.mig_profile, a.processes) == ((), "none", ())
    assert (b.instances, b.mig_profile, b.processes) == (None, "", ())


@pytest.mark.parametrize("code", [3, 13])
def test_a_card_that_cannot_be_cut_is_asked_once(nvml: NvmlHost, code: int) -> None:
    """Before Ampere there is no MIG mode: no failure, no further call."""
    nvml.set(A, rules=(Return("nvmlDeviceGetMigMode", code),))
    for _ in range(8):
        assert uuids(nvml) is None
        assert nvml.source.errors == ()
    assert nvml.fake.calls().count("nvmlDeviceGetMigMode 0") == 1


def test_a_profile_that_no_name_tells_is_worked_out(nvml: NvmlHost) -> None:
    """As NVIDIA names them: slices, and memory rounded up."""
    part = Mig(0, "MIG-part", gi=1, gi_slices=3, ci_slices=1, memory_total=40_192 * 2**20)
    nvml.set(cut(part, replace(SMALL, memory_total=4_864 * 2**20)), rules=(Return("nvmlDeviceGetName", 3),))
    assert nvml.one().mig_profile == "1c.3g.40gb,1g.5gb"


def test_an_instance_that_tells_little_is_still_one(nvml: NvmlHost) -> None:
    """Slices and memory that are not told are None."""
    nvml.set(
        cut(SMALL),
        rules=(Return("nvmlDeviceGetAttributes_v2", 3), Return("nvmlDeviceGetName", 3, gpu="0/1")),
    )
    reading = nvml.one()
    assert reading.instances == (MigInstance("MIG-small", 9),)
    assert reading.mig_profile == "?"
    assert nvml.source.errors == ()


def test_a_layout_costs_calls_every_30_seconds(nvml: NvmlHost) -> None:
    """In between only the card's own five are made; afterwards what an instance is, is known."""
    nvml.set(cut(LARGE, SMALL, processes=(Process(12, 5, gi=2, ci=0),)))
    nvml.read()
    nvml.fake.forget_calls()
    nvml.read()
    nvml.read()
    card = {
        "nvmlDeviceGetCount_v2": 1,
        "nvmlDeviceGetUUID 0": 1,
        "nvmlDeviceGetMemoryInfo_v2 0": 1,
        "nvmlDeviceGetPowerUsage 0": 1,
        "nvmlDeviceGetEnforcedPowerLimit 0": 1,
        "nvmlDeviceGetTotalEnergyConsumption 0": 1,
    }
    assert Counter(nvml.fake.calls()) == dict.fromkeys(card, 2)
    nvml.fake.forget_calls()
    nvml.read()
    assert Counter(nvml.fake.calls()) == {
        **card,
        "nvmlDeviceGetMigMode 0": 1,
        "nvmlDeviceGetMaxMigDeviceCount 0": 1,
        "nvmlDeviceGetMigDeviceHandleByIndex 0": 7,
        "nvmlDeviceGetUUID 0/0": 1,
        "nvmlDeviceGetUUID 0/1": 1,
        f"{COMPUTE} 0/0": 2,
        f"{COMPUTE} 0/1": 1,
        "nvmlDeviceGetMPSComputeRunningProcesses_v3 0/0": 1,
    }


def test_another_layout_is_noticed_and_nvml_opened_again(
    nvml: NvmlHost, caplog: pytest.LogCaptureFixture
) -> None:
    """NVML may go on showing what was destroyed: it is opened again once, and each change is told."""
    nvml.set(cut(LARGE))
    with caplog.at_level(logging.INFO):
        nvml.read()
        nvml.set(cut(SMALL, OTHER))
        assert [uuids(nvml) for _ in range(2)] == [["MIG-large"]] * 2
        assert uuids(nvml) == ["MIG-small", "MIG-other"]
        for _ in range(20):
            assert uuids(nvml) == ["MIG-small", "MIG-other"]
        assert reopened(nvml) == 1
        nvml.clock.now += 600 * SECOND
        nvml.set(A)
        assert uuids(nvml) is None
    assert [line for line in log_lines(caplog) if "mig" in line] == [
        "mig layout changed: GPU-a: 3g.40gb",
        "mig layout changed: GPU-a: 2x1g.10gb",
        "mig layout changed: GPU-a: off",
    ]


def test_utilization_returns_when_a_card_is_whole_again(nvml: NvmlHost) -> None:
    """A card in MIG mode is not asked for its own, so that it is not remembered as unable."""
    nvml.set(replace(cut(SMALL), utilization=40))
    assert nvml.one().utilization_ratio is None
    assert "nvmlDeviceGetUtilizationRates 0" not in nvml.fake.calls()
    nvml.set(replace(A, utilization=40))
    nvml.clock.now += 30 * SECOND
    assert nvml.one().utilization_ratio == 0.4


def test_a_layout_that_fails_for_now_stays(nvml: NvmlHost) -> None:
    """A passing failure takes no instance away; it is counted, and the next read looks again."""
    nvml.set(cut(LARGE, SMALL))
    nvml.read()
    for function in ("nvmlDeviceGetMigMode", "nvmlDeviceGetMaxMigDeviceCount"):
        nvml.set(cut(LARGE, SMALL), rules=(Return(function, 999, times=1),))
        nvml.clock.now += 30 * SECOND
        assert uuids(nvml) == ["MIG-large", "MIG-small"]
        assert nvml.source.errors == (("unknown", 1),)
        assert uuids(nvml) == ["MIG-large", "MIG-small"]
        assert nvml.source.errors == ()
    nvml.set(cut(LARGE, SMALL), rules=(Return("nvmlDeviceGetMigDeviceHandleByIndex", 999, times=2),))
    nvml.clock.now += 30 * SECOND
    assert uuids(nvml) == ["MIG-large", "MIG-small"]
    assert nvml.source.errors == (("unknown", 2),)
    nvml.set(cut(LARGE, SMALL), rules=(Return("nvmlDeviceGetUUID", 999, gpu="0/1", times=1),))
    nvml.clock.now += 30 * SECOND
    assert uuids(nvml) == ["MIG-large", "MIG-small"]
    assert reopened(nvml) == 0


def test_a_first_look_takes_what_is_told(nvml: NvmlHost) -> None:
    """Where one instance does not say what it is, the others are read, and it is looked for at each read."""
    rules = (Return("nvmlDeviceGetGpuInstanceId", 999, gpu="0/1", times=2),)
    nvml.set(cut(LARGE, SMALL), rules=rules)
    for _ in range(2):
        assert uuids(nvml) == ["MIG-large"]
        assert nvml.source.errors == (("unknown", 1),)
    assert uuids(nvml) == ["MIG-large", "MIG-small"]
    nvml.clock.now += 600 * SECOND
    nvml.read()
    assert reopened(nvml) == 0


def test_an_instance_without_a_uuid_has_no_identity(nvml: NvmlHost) -> None:
    """An answer of control characters is none."""
    nvml.set(cut(LARGE, replace(SMALL, uuid="\x01\x02")))
    assert uuids(nvml) == ["MIG-large"]
    assert nvml.source.errors == (("garbled", 1),)


def test_a_mode_that_is_not_told_at_first_is_asked_again(nvml: NvmlHost) -> None:
    """Nothing is concluded from a passing failure, and NVML is not opened again for it."""
    nvml.set(cut(SMALL), rules=(Return("nvmlDeviceGetMigMode", 999, times=1),))
    assert uuids(nvml) is None
    assert uuids(nvml) == ["MIG-small"]
    nvml.clock.now += 600 * SECOND
    nvml.read()
    assert reopened(nvml) == 0


def test_an_absurd_count_is_not_a_layout(nvml: NvmlHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """The count bounds what is asked for."""
    monkeypatch.setattr(exporter.sources.nvml.mig, "LARGEST_COUNT", 6)
    nvml.set(cut(SMALL))
    assert uuids(nvml) is None
    assert "nvmlDeviceGetMigDeviceHandleByIndex 0" not in nvml.fake.calls()


def test_a_card_lost_while_its_layout_is_read_is_down(nvml: NvmlHost) -> None:
    """The code is the card's."""
    nvml.set(cut(SMALL), B)
    nvml.read()
    nvml.clock.now += 30 * SECOND
    nvml.set(cut(SMALL), B, rules=(Return("nvmlDeviceGetMigDeviceHandleByIndex", 15, gpu=0),))
    a, b = nvml.read()
    assert (a.up, a.instances, a.processes) == (False, None, None)
    assert b.up


def test_processes_of_each_instance(nvml: NvmlHost) -> None:
    """Each instance is asked, since a card tells its list to the privileged only; clients of MPS as well."""
    processes = (
        Process(12, 5, gi=9, ci=0),
        Process(13, NOT_AVAILABLE, gi=2, ci=0),
        Process(12, 6, gi=2, ci=0),
        Process(14, 7, "mps", gi=2, ci=0),
    )
    nvml.set(cut(LARGE, SMALL, processes=processes), rules=(Return(COMPUTE, 4, gpu="0/whole"),))
    assert nvml.one().processes == (
        GpuProcess(12, 6, None, "MIG-large"),
        GpuProcess(12, 5, None, "MIG-small"),
        GpuProcess(13, None, None, "MIG-large"),
        GpuProcess(14, 7, None, "MIG-large"),
    )
    assert nvml.source.errors == ()
    assert "nvmlDeviceGetProcessUtilization 0" not in nvml.fake.calls()


def test_processes_of_instances_are_kept_for_30_seconds(nvml: NvmlHost) -> None:
    """A call or two for each instance at every tick would be many; a new layout is read at once."""
    nvml.set(cut(SMALL, processes=(Process(12, gi=9, ci=0),)))
    nvml.read()
    nvml.set(cut(SMALL, processes=(Process(13, gi=9, ci=0),)))
    pids = [[process.pid for process in nvml.one().processes or ()] for _ in range(3)]
    assert pids == [[12], [12], [13]]


@pytest.mark.parametrize("code", [3, 4])
def test_where_instances_tell_no_list_the_card_does(nvml: NvmlHost, code: int) -> None:
    """As on a vGPU host. Its entries name their instance by number; one of no known instance names none."""
    processes = (Process(12, 5, gi=9, ci=0), Process(13, 6, gi=4, ci=0))
    rules = tuple(Return(COMPUTE, code, gpu=f"0/{index}") for index in (0, 1))
    nvml.set(cut(LARGE, SMALL, processes=processes), rules=rules)
    for _ in range(4):
        assert nvml.one().processes == (GpuProcess(12, 5, None, "MIG-small"), GpuProcess(13, 6))
        assert nvml.source.errors == ()
    assert nvml.fake.calls().count(f"{COMPUTE} 0/0") == 1


def test_a_list_of_an_instance_that_fails_costs_the_list(nvml: NvmlHost) -> None:
    """Half a list would hand one server's share to another; the next read asks again."""
    processes = (Process(12, 5, gi=2, ci=0),)
    nvml.set(
        cut(LARGE, SMALL, processes=processes),
        rules=(Return(COMPUTE, 999, gpu="0/1", times=1),),
    )
    reading = nvml.one()
    assert (reading.up, reading.processes, reading.mig_profile) == (True, None, "3g.40gb,1g.10gb")
    assert nvml.source.errors == (("unknown", 1),)
    assert nvml.one().processes == (GpuProcess(12, 5, None, "MIG-large"),)


def test_an_instance_that_is_gone_is_looked_for_at_once(nvml: NvmlHost) -> None:
    """Its handle leads nowhere; the card is not lost for it. NVML is opened again once for one layout."""
    nvml.set(cut(LARGE, SMALL), rules=(Return(COMPUTE, 2, gpu="0/1"),))
    for tick in range(80):
        reading = nvml.one()
        assert (reading.up, reading.processes) == (True, None)
        assert nvml.source.errors == (("other", 1),), tick
    assert reopened(nvml) == 1
    nvml.set(cut(LARGE))
    nvml.clock.now += 600 * SECOND
    assert (uuids(nvml), nvml.one().processes) == (["MIG-large"], ())


def test_an_older_driver_tells_by_the_older_version(tmp_path: Path) -> None:
    """The lists of instances have the same two versions."""
    with nvml_host(tmp_path, missing=(COMPUTE, "nvmlDeviceGetMPSComputeRunningProcesses_v3")) as nvml:
        nvml.set(cut(SMALL, processes=(Process(12, 5, gi=9, ci=0), Process(13, 6, "mps", gi=9, ci=0))))
        for _ in range(4):
            assert nvml.one().processes == (
                GpuProcess(12, 5, None, "MIG-small"),
                GpuProcess(13, 6, None, "MIG-small"),
            )
            assert nvml.source.errors == ()


def test_mps_that_instances_do_not_tell_is_asked_once(nvml: NvmlHost) -> None:
    """The compute list stands."""
    call = "nvmlDeviceGetMPSComputeRunningProcesses_v3"
    nvml.set(cut(SMALL, processes=(Process(12, 5, gi=9, ci=0),)), rules=(Return(call, 3),))
    for _ in range(8):
        assert nvml.one().processes == (GpuProcess(12, 5, None, "MIG-small"),)
    assert nvml.fake.calls().count(f"{call} 0/1") == 1


@pytest.mark.parametrize(
    "function",
    [
        "nvmlDeviceGetMigMode",
        "nvmlDeviceGetMigDeviceHandleByIndex",
        "nvmlDeviceGetGpuInstanceId",
        COMPUTE,
        "nvmlDeviceGetMPSComputeRunningProcesses_v3",
    ],
)
def test_nvml_that_ends_within_a_look_ends_the_read(nvml: NvmlHost, function: str) -> None:
    """The driver was unloaded: no half reading."""
    nvml.set(cut(SMALL, processes=(Process(12, 5, gi=9, ci=0),)), rules=(Return(function, 9),))
    assert nvml.failure_reason() == "driver_not_loaded"


def test_handles_of_an_earlier_opening_are_never_used(nvml: NvmlHost) -> None:
    """NVML was opened again and the layout is not told: the instances are known, and their lists are not."""
    nvml.set(cut(SMALL), B)
    nvml.read()
    nvml.set(cut(SMALL), B, rules=(Return("nvmlDeviceGetPowerUsage", 16, gpu=1),))
    nvml.read()
    nvml.set(cut(SMALL), B, rules=(Return("nvmlDeviceGetMaxMigDeviceCount", 999),))
    nvml.clock.now += 30 * SECOND
    a, _ = nvml.read()
    assert reopened(nvml) == 1
    assert ([one.uuid for one in a.instances or ()], a.processes) == (["MIG-small"], None)
    assert nvml.source.errors == (("unknown", 1),)  # of the layout: the void handle is not even tried
    nvml.set(cut(SMALL), B)
    a, _ = nvml.read()
    assert a.processes == ()

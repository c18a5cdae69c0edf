"""Utilization by GPM: exact where it works, said once where it fails, and nothing of it leaks."""

import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pynvml
import pytest

from exporter.readings import GpuProcess
from tests.fake_nvml.scenario import Gpm, Gpu, Mig, Process, Return, Sample
from tests.kit.units import MILLISECOND, SECOND
from tests.sources.nvml.nvml_host import A, B, NvmlHost, log_lines, nvml_host

SMALL = Mig(1, "MIG-small", gi=9)
LARGE = Mig(0, "MIG-large", gi=2, gi_slices=3, ci_slices=3)


def gpm(percent: float, gpu: Gpu = A) -> Gpu:
    """A whole card that GPM tells one utilization of, and its ring another, 35 percent."""
    return replace(gpu, utilization=35, gpm=(Gpm(1, percent),))


def cut(*instances: Mig, utilization: dict[int, float]) -> Gpu:
    """A card in MIG mode; utilizations by GPU instance."""
    return replace(
        A, mig_mode=True, mig=instances, gpm=tuple(Gpm(1, percent, gi) for gi, percent in utilization.items())
    )


def of_instances(nvml: NvmlHost) -> dict[str, float | None]:
    """The utilization of each instance of the only card, after a read."""
    return {one.uuid: one.utilization_ratio for one in nvml.one().instances or ()}


def allocated_samples(nvml: NvmlHost) -> int:
    """How many samples are allocated."""
    calls = Counter(nvml.fake.calls())
    return calls["nvmlGpmSampleAlloc"] - calls["nvmlGpmSampleFree"]


def test_a_card_of_hopper_is_told_by_gpm(nvml: NvmlHost) -> None:
    """From the second read on, for the time since the one before; until then by the ring."""
    nvml.set(gpm(62.5))
    assert [nvml.one().utilization_ratio for _ in range(3)] == [0.35, 0.625, 0.625]
    assert allocated_samples(nvml) == 2


def test_it_costs_two_calls_at_each_read(nvml: NvmlHost) -> None:
    """The ring is not asked for besides; support is asked once, and samples are allocated once."""
    nvml.set(gpm(62.5))
    nvml.read()
    nvml.fake.forget_calls()
    nvml.read()
    assert Counter(call.split()[0] for call in nvml.fake.calls()) == {
        "nvmlDeviceGetCount_v2": 1,
        "nvmlDeviceGetUUID": 1,
        "nvmlDeviceGetMemoryInfo_v2": 1,
        "nvmlDeviceGetPowerUsage": 1,
        "nvmlDeviceGetEnforcedPowerLimit": 1,
        "nvmlDeviceGetTotalEnergyConsumption": 1,
        "nvmlDeviceGetComputeRunningProcesses_v3": 1,
        "nvmlGpmSampleGet": 1,
        "nvmlGpmMetricsGet": 1,
    }


def test_a_card_before_hopper_is_told_by_its_ring(nvml: NvmlHost) -> None:
    """It is no failure, and asked once."""
    nvml.set(replace(A, utilization=35))
    for _ in range(3):
        assert nvml.one().utilization_ratio == 0.35
        assert nvml.source.errors == ()
    assert nvml.fake.calls().count("nvmlGpmQueryDeviceSupport 0") == 1
    assert allocated_samples(nvml) == 0


@pytest.mark.parametrize("missing", [("nvmlGpmQueryDeviceSupport",), ("nvmlGpmSampleGet",)])
def test_an_old_driver_is_told_by_its_ring(tmp_path: Path, missing: tuple[str, ...]) -> None:
    """Symbols came with driver 520; what was allocated meanwhile is given back."""
    with nvml_host(tmp_path, missing=missing) as nvml:
        nvml.set(gpm(62.5))
        assert [nvml.one().utilization_ratio for _ in range(3)] == [0.35] * 3
        assert allocated_samples(nvml) == 0


def test_a_pynvml_without_its_structure_is_an_old_driver(
    nvml: NvmlHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of pynvml's own age stops a read."""
    monkeypatch.delattr(pynvml, "c_nvmlGpmMetricsGet_t")
    nvml.set(gpm(62.5))
    assert [nvml.one().utilization_ratio for _ in range(3)] == [0.35] * 3
    assert allocated_samples(nvml) == 0


@pytest.mark.parametrize(
    ("percent", "ratio"),
    [(0.0, 0.0), (100.0, 1.0), (100.4, 1.0), (101.0, 0.35), (-1.0, 0.35), ("nan", 0.35), ("inf", 0.35)],
)
def test_values_that_cannot_be_leave_the_ring(nvml: NvmlHost, percent: float, ratio: float) -> None:
    """A rounding above 100 is 100."""
    nvml.set(gpm(percent))
    assert [nvml.one().utilization_ratio for _ in range(2)] == [0.35, ratio]
    assert nvml.source.errors == ()


def test_samples_too_near_or_too_far_make_no_mean(nvml: NvmlHost) -> None:
    """Under 100 ms NVML refuses them, and the older one stays; over 10 minutes it is not of this tick."""
    nvml.set(gpm(62.5))
    nvml.read()
    nvml.clock.now += 90 * MILLISECOND - 10 * SECOND
    assert nvml.one().utilization_ratio == 0.35
    assert nvml.fake.calls().count("nvmlGpmSampleGet 0") == 1
    assert nvml.one().utilization_ratio == 0.625
    nvml.clock.now += 591 * SECOND
    assert nvml.one().utilization_ratio == 0.35
    assert nvml.one().utilization_ratio == 0.625


@pytest.mark.parametrize("function", ["nvmlGpmSampleGet", "nvmlGpmMetricsGet"])
def test_two_failures_in_a_row_switch_it_off(
    nvml: NvmlHost, caplog: pytest.LogCaptureFixture, function: str
) -> None:
    """Said once; the ring tells from then on, and the samples are given back."""
    nvml.set(gpm(62.5), rules=(Return(function, 999),))
    with caplog.at_level(logging.WARNING):
        assert [nvml.one().utilization_ratio for _ in range(8)] == [0.35] * 8
    assert log_lines(caplog) == [f"gpm disabled: GPU-a: {function} returned 999 (unknown)"]
    assert allocated_samples(nvml) == 0
    nvml.fake.forget_calls()
    nvml.read()
    assert not [call for call in nvml.fake.calls() if "Gpm" in call]


def test_what_cannot_be_allocated_switches_it_off(nvml: NvmlHost, caplog: pytest.LogCaptureFixture) -> None:
    """The one of two samples that there was is given back."""
    nvml.set(gpm(62.5), rules=(Return("nvmlGpmSampleAlloc", 20, after=1),))
    assert [nvml.one().utilization_ratio for _ in range(3)] == [0.35] * 3
    assert len(caplog.records) == 1
    calls = Counter(nvml.fake.calls())
    assert (calls["nvmlGpmSampleAlloc"], calls["nvmlGpmSampleFree"]) == (3, 1)


def test_nvml_that_is_opened_again_may_have_it(nvml: NvmlHost) -> None:
    """Another driver was loaded, or profiling was allowed: neither the lack nor the failure is for good."""
    for before in (replace(A, utilization=35), gpm(62.5)):
        nvml.set(before, rules=(Return("nvmlGpmSampleGet", 4),))
        nvml.clock.now += 600 * SECOND
        assert [nvml.one().utilization_ratio for _ in range(3)] == [0.35] * 3
        nvml.set(gpm(62.5), rules=(Return("nvmlDeviceGetPowerUsage", 16, times=1),))
        nvml.clock.now += 600 * SECOND
        nvml.read()
        nvml.clock.now += 600 * SECOND
        assert [nvml.one().utilization_ratio for _ in range(2)] == [0.35, 0.625]


def test_a_failure_now_and_then_leaves_the_ring_for_a_tick(
    nvml: NvmlHost, caplog: pytest.LogCaptureFixture
) -> None:
    """It is counted; the sample before is not trusted any more."""
    nvml.set(gpm(62.5), rules=(Return("nvmlGpmSampleGet", 999, after=2, times=1),))
    assert [nvml.one().utilization_ratio for _ in range(3)] == [0.35, 0.625, 0.35]
    assert nvml.source.errors == (("unknown", 1),)
    assert [nvml.one().utilization_ratio for _ in range(2)] == [0.35, 0.625]
    assert caplog.records == []


@pytest.mark.parametrize(
    ("function", "code", "word"),
    [
        ("nvmlGpmQueryDeviceSupport", 4, "no_permission"),
        ("nvmlGpmSampleGet", 4, "no_permission"),
        ("nvmlGpmSampleGet", 3, "not_supported"),
    ],
)
def test_what_will_not_change_is_asked_once(
    nvml: NvmlHost, caplog: pytest.LogCaptureFixture, function: str, code: int, word: str
) -> None:
    """Where an administrator keeps profiling to root, or a vGPU says that it could."""
    nvml.set(gpm(62.5), rules=(Return(function, code),))
    with caplog.at_level(logging.WARNING):
        assert [nvml.one().utilization_ratio for _ in range(3)] == [0.35] * 3
    assert log_lines(caplog) == [f"gpm disabled: GPU-a: {function} returned {code} ({word})"]
    assert nvml.fake.calls().count(f"{function} 0") == 1
    assert allocated_samples(nvml) == 0


def test_a_metric_with_a_code_of_its_own_is_a_failure(nvml: NvmlHost) -> None:
    """The call succeeds and this metric does not."""
    nvml.set(replace(A, utilization=35, gpm=(Gpm(2, 50.0),)))
    assert [nvml.one().utilization_ratio for _ in range(3)] == [0.35] * 3
    assert allocated_samples(nvml) == 0


def test_each_gpu_fails_for_itself(nvml: NvmlHost) -> None:
    """The other one is told by GPM."""
    nvml.set(gpm(62.5), gpm(20.0, B), rules=(Return("nvmlGpmSampleGet", 3, gpu=0),))
    nvml.read()
    assert [reading.utilization_ratio for reading in nvml.read()] == [0.35, 0.2]


def test_the_ring_goes_on_where_gpm_left_off(nvml: NvmlHost) -> None:
    """Samples of the ring since its own last use, not since the last read."""
    nvml.set(replace(gpm(62.5), samples=(Sample(100, 10),)))
    assert [nvml.one().utilization_ratio for _ in range(2)] == [0.1, 0.625]
    nvml.set(
        replace(gpm(62.5), samples=(Sample(100, 10), Sample(200, 40))),
        rules=(Return("nvmlGpmSampleGet", 3),),
    )
    assert nvml.one().utilization_ratio == 0.4


def test_instances_have_their_own_utilization(nvml: NvmlHost) -> None:
    """By GPU instance: compute instances of one share its figure. The card has none."""
    half = Mig(2, "MIG-half", gi=9, ci=1)
    nvml.set(cut(LARGE, SMALL, half, utilization={2: 80.0, 9: 30.0}))
    assert set(of_instances(nvml).values()) == {None}
    assert of_instances(nvml) == {"MIG-large": 0.8, "MIG-small": 0.3, "MIG-half": 0.3}
    assert nvml.one().utilization_ratio is None
    assert allocated_samples(nvml) == 4
    nvml.fake.forget_calls()
    nvml.read()
    calls = Counter(call.split()[0] for call in nvml.fake.calls())
    assert (calls["nvmlGpmMigSampleGet"], calls["nvmlGpmMetricsGet"], calls["nvmlGpmSampleGet"]) == (2, 2, 0)


def test_instances_before_hopper_have_none(nvml: NvmlHost) -> None:
    """Absent, never zero."""
    nvml.set(cut(SMALL, utilization={}))
    assert [of_instances(nvml) for _ in range(2)] == [{"MIG-small": None}] * 2
    assert nvml.source.errors == ()


def test_one_instance_that_fails_switches_it_off_for_its_card(
    nvml: NvmlHost, caplog: pytest.LogCaptureFixture
) -> None:
    """Though another one answers in between: said once, for a figure of half a card misleads."""
    nvml.set(cut(LARGE, SMALL, utilization={2: 80.0}))
    with caplog.at_level(logging.WARNING):
        ratios = [of_instances(nvml)["MIG-large"] for _ in range(6)]
    assert ratios == [None, 0.8, None, None, None, None]
    assert log_lines(caplog) == ["gpm disabled: GPU-a: nvmlGpmMetricsGet returned 3 (not_supported)"]
    assert allocated_samples(nvml) == 0


def test_instances_that_all_fail_switch_it_off(nvml: NvmlHost) -> None:
    """Each for itself, twice in a row."""
    nvml.set(cut(LARGE, SMALL, utilization={2: 80.0, 9: 30.0}), rules=(Return("nvmlGpmMigSampleGet", 999),))
    for _ in range(3):
        nvml.read()
    nvml.fake.forget_calls()
    nvml.read()
    assert not [call for call in nvml.fake.calls() if "Gpm" in call]


def test_a_number_that_is_given_to_another_instance_starts_anew(nvml: NvmlHost) -> None:
    """A mean between samples of two instances would look right and be wrong."""
    nvml.set(cut(SMALL, utilization={9: 30.0}))
    nvml.read()
    nvml.set(cut(replace(SMALL, uuid="MIG-new"), utilization={9: 70.0}))
    nvml.clock.now += 30 * SECOND
    assert of_instances(nvml) == {"MIG-new": None}
    assert of_instances(nvml) == {"MIG-new": None}  # NVML was opened again for the new layout
    assert of_instances(nvml) == {"MIG-new": 0.7}
    assert allocated_samples(nvml) == 2


def test_an_instance_that_is_gone_does_not_switch_it_off(nvml: NvmlHost) -> None:
    """Its sample fails, the layout is looked at, and what is there now is told."""
    nvml.set(cut(SMALL, utilization={9: 30.0}))
    nvml.read()
    nvml.set(replace(cut(LARGE, utilization={2: 80.0}), processes=(Process(12, 5, gi=2, ci=0),)))
    assert of_instances(nvml) == {"MIG-small": None}
    assert nvml.source.errors == (("other", 1),)
    reading = nvml.one()
    assert [one.uuid for one in reading.instances or ()] == ["MIG-large"]
    assert reading.processes == (GpuProcess(12, 5, None, "MIG-large"),)
    nvml.read()  # NVML was opened again for the new layout
    assert of_instances(nvml) == {"MIG-large": 0.8}
    assert allocated_samples(nvml) == 2


def test_a_card_that_is_cut_and_whole_again_leaks_nothing(nvml: NvmlHost) -> None:
    """Samples of what is no more are given back, though NVML is opened again for the first change only."""
    for _ in range(5):
        nvml.set(gpm(62.5))
        nvml.clock.now += 30 * SECOND
        nvml.read()
        assert nvml.one().instances is None
        assert allocated_samples(nvml) == 2
        nvml.set(cut(LARGE, SMALL, utilization={2: 80.0, 9: 30.0}))
        nvml.clock.now += 30 * SECOND
        nvml.read()
        assert len(of_instances(nvml)) == 2
        assert allocated_samples(nvml) == 4


def test_samples_of_a_gpu_that_was_unplugged_are_given_back(nvml: NvmlHost) -> None:
    """Every memory has a bound."""
    nvml.set(gpm(62.5), gpm(20.0, B))
    nvml.read()
    assert allocated_samples(nvml) == 4
    nvml.set(gpm(62.5), replace(B, gone=True))
    nvml.read()
    assert allocated_samples(nvml) == 2


def test_samples_are_given_back_before_nvml_is_closed(nvml: NvmlHost) -> None:
    """Freeing them afterwards would reach into a library that is gone."""
    nvml.set(gpm(62.5))
    nvml.read()
    nvml.source.close()
    assert nvml.fake.calls()[-3:] == ["nvmlGpmSampleFree", "nvmlGpmSampleFree", "nvmlShutdown"]


def test_samples_of_an_earlier_opening_are_never_used(nvml: NvmlHost) -> None:
    """NVML is opened again: samples are given back, and the first read is by the ring."""
    nvml.set(gpm(62.5))
    assert [nvml.one().utilization_ratio for _ in range(2)] == [0.35, 0.625]
    nvml.set(gpm(62.5), rules=(Return("nvmlDeviceGetCount_v2", 1, times=1),))
    nvml.clock.now += 30 * SECOND
    assert nvml.failure_reason() == "uninitialized"
    assert allocated_samples(nvml) == 0
    nvml.set(gpm(62.5))
    nvml.clock.now += 30 * SECOND
    assert [nvml.one().utilization_ratio for _ in range(2)] == [0.35, 0.625]


def test_a_gpu_lost_while_it_is_sampled_is_down(nvml: NvmlHost) -> None:
    """The code is the GPU's; found again, it is told by GPM as before."""
    nvml.set(gpm(62.5), B)
    nvml.read()
    nvml.set(gpm(62.5), B, rules=(Return("nvmlGpmSampleGet", 15, gpu=0),))
    a, b = nvml.read()
    assert (a.up, a.utilization_ratio, b.up) == (False, None, True)
    nvml.set(gpm(62.5), B)
    nvml.clock.now += 30 * SECOND
    nvml.read()
    assert nvml.read()[0].utilization_ratio == 0.625

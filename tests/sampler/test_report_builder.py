"""What a report says of servers that are shared, and of those that are a part of something larger."""

from dataclasses import replace

import pytest

from exporter.cost.advance import advance
from exporter.cost.policy import CostPolicy
from exporter.cost.postings import UNASSIGNED, CostOwner
from exporter.cost.state import State
from exporter.readings import (
    Frame,
    Gpu,
    GpuReading,
    Holder,
    LoadReading,
    MigInstance,
    Occupancy,
    ServerKey,
    ServerReading,
    ServiceLevel,
)
from exporter.report import Build, CommittedTotals, ConfigRow, Report, Window
from exporter.sampler.report_builder import ReportContext, build_report
from exporter.units import PICODOLLARS_PER_DOLLAR
from tests.kit.clock import START
from tests.sampler.sampler_fixture import CHAT, CONFIG, TARIFF

GB = 10**9
BATCH = ServerKey("", "batch")
WINDOW = Window({"decode": 3 * PICODOLLARS_PER_DOLLAR}, {"generation": 1_000_000})
SETTING = ReportContext(CONFIG, CostPolicy(TARIFF), Build("0", "", "3"), ConfigRow("abc", True, START))


def report_of(
    server: ServerReading | None = None,
    gpu: GpuReading | None = None,
    holders: tuple[Holder, ...] = (Holder(CHAT, "GPU-0"),),
    window: Window = WINDOW,
) -> Report:
    """The report of one tick, with a million tokens and 3 dollars of chat in the window."""
    reading = gpu or GpuReading(Gpu("GPU-0", "H100"), 0, utilization_ratio=0.5)
    servers = () if server is None else (server,)
    frame = Frame(0, START, (reading,), servers, holders)
    outcome = advance(State(), frame, SETTING.policy)
    totals = CommittedTotals(
        "id", True, True, None, 0, window={CostOwner(UNASSIGNED, UNASSIGNED, "", "chat", "m"): window}
    )
    return build_report(SETTING, frame, outcome, totals, (), None)


ENDPOINT = ServerReading(CHAT, "http://127.0.0.1:8000/metrics", up=True, models=("m",))


def test_a_server_that_serves_alone_has_quotients() -> None:
    """3 dollars over a million."""
    assert {row.dollars_per_million_tokens for row in report_of(ENDPOINT).quotients} == {3.0}


@pytest.mark.parametrize(
    "part",
    [
        replace(ENDPOINT, role="decode"),
        replace(ENDPOINT, role="prefill"),
        replace(ENDPOINT, spans_hosts=True),
        replace(ENDPOINT, spans_hosts=True, up=False),
        replace(ENDPOINT, world_size=2),
    ],
)
def test_a_part_of_something_larger_has_none(part: ServerReading) -> None:
    """Its dollars and its tokens do not belong together; those of the fleet do."""
    assert report_of(part).quotients == ()


OBSERVED = replace(
    WINDOW,
    latencies={
        ("per_token", "requests", "lower"): 192,
        ("per_token", "requests", "upper"): 240,
        ("per_token", "requests", "total"): 256,
    },
)


def test_tokens_within_the_level_have_a_cost_where_each_objective_was_observed() -> None:
    """3 dollars a million over 0.9375, and over 0.75; unknown while no reading tells the objectives."""
    report = report_of(replace(ENDPOINT, slo=ServiceLevel(None, 0.05)), window=OBSERVED)
    assert [(row.measure, row.basis) for row in report.met] == [
        ("per_token", "requests"),
        ("all", "requests"),
    ]
    assert [(row.lower, row.upper) for row in report.met_costs] == [(3.2, 4.0)]

    for other in (
        replace(ENDPOINT, slo=ServiceLevel(0.75, 0.05)),
        replace(ENDPOINT, slo=ServiceLevel(0.75)),
        replace(ENDPOINT, up=False),
    ):
        report = report_of(other, window=OBSERVED)
        assert [(row.measure, row.basis) for row in report.met] == [("per_token", "requests")]
        assert report.met_costs == ()


def test_the_parts_of_a_shared_gpu_are_told_by_method() -> None:
    """Half busy: 0.7 and 0.3 of the busy half by utilization, 1/4 and 3/4 of the other one by memory."""
    holders = (
        Holder(CHAT, "GPU-0", sm_ratio=0.35, memory_bytes=20 * GB),
        Holder(BATCH, "GPU-0", sm_ratio=0.15, memory_bytes=60 * GB),
    )
    rows = {(row.key.server, row.method): row.share_ratio for row in report_of(holders=holders).shares}
    assert rows == {
        ("chat", "sm_utilization"): 0.35,
        ("chat", "memory"): 0.125,
        ("batch", "sm_utilization"): 0.15,
        ("batch", "memory"): 0.375,
    }


def test_what_no_instance_covers_is_nobodys_row() -> None:
    """Chat holds 2g.20gb of 80 GB, 2/7 of the card; the rest has no row."""
    instance = MigInstance("MIG-a", 1, gpu_slices=2, compute_slices=2, memory_bytes=20 * GB)
    card = GpuReading(Gpu("GPU-0", "A100"), 0, memory_total_bytes=80 * GB, instances=(instance,))
    (row,) = report_of(gpu=card, holders=(Holder(CHAT, "GPU-0", instance="MIG-a"),)).shares
    assert (row.key, row.uuid, row.method) == (CHAT, "GPU-0", "mig")
    assert row.share_ratio == pytest.approx(2 / 7)


@pytest.mark.parametrize(("used", "rests"), [(0.25, 0.75), (1.0, 0.0), (0.0, 1.0)])
def test_a_gpu_tells_how_much_it_rested(used: float, rests: float) -> None:
    """What it was not busy for, by whoever held it."""
    for holders in ((Holder(CHAT, "GPU-0"),), (Holder(CHAT, "GPU-0"), Holder(BATCH, "GPU-0")), ()):
        card = GpuReading(Gpu("GPU-0", "H100"), 0, utilization_ratio=used)
        (row,) = report_of(gpu=card, holders=holders).gpus
        assert row.idle_ratio == pytest.approx(rests, abs=1e-9)


def test_a_gpu_that_nobody_watched_tells_no_rest() -> None:
    """NVML is silent and there is no server to ask: whether it rested is not known."""
    reading = GpuReading(Gpu("GPU-0", "H100"), 0, utilization_ratio=0.0)
    holders = (Holder(CHAT, "GPU-0"),)
    observed = advance(State(), Frame(0, START, (reading,), (), holders), SETTING.policy)
    later = Frame(10 * GB, START + 10 * GB, None, (), holders)
    silent = build_report(SETTING, later, advance(observed.state, later, SETTING.policy), None, (), None)

    assert [row.idle_ratio for row in silent.gpus] == [None]


HOURLY = 3.6


def headroom_of(*loads: LoadReading, replicas: int = 1, up: bool = True) -> list[float]:
    """Headroom of chat in dollars per hour, half busy at 3.60 dollars an hour."""
    endpoints = [
        replace(ENDPOINT, url=f"http://127.0.0.1:{8000 + number}/metrics", loads=loads, up=up)
        for number in range(replicas)
    ]
    card = GpuReading(Gpu("GPU-0", "H100"), 0, utilization_ratio=0.5)
    frame = Frame(0, START, (card,), tuple(endpoints), (Holder(CHAT, "GPU-0"),))
    report = build_report(SETTING, frame, advance(State(), frame, SETTING.policy), None, (), None)
    assert sum(report.rates.values()) == HOURLY
    return list(report.headroom.values())


def test_headroom_is_the_busy_half_of_the_load_that_fits() -> None:
    """A quarter of the sequences run: 3/4 of what the busy half costs could serve more."""
    assert headroom_of(LoadReading("m", 16, 0, max_running=64)) == [HOURLY / 2 * 0.75]
    assert headroom_of(LoadReading("m", 16, 0, max_running=64), replicas=2) == [HOURLY / 2 * 0.75]


def test_a_full_server_has_no_headroom() -> None:
    """By its cache, or since requests wait."""
    assert headroom_of(LoadReading("m", 16, 0, max_running=64, kv_cache=Occupancy(1, 1))) == [0]
    assert headroom_of(LoadReading("m", 16, 2, max_running=64)) == [0]


def test_headroom_of_a_server_without_a_load_is_absent() -> None:
    """It reports no limit, or it did not answer."""
    assert headroom_of(LoadReading("m", 16, 2)) == []
    assert headroom_of() == []
    assert headroom_of(up=False) == []


def test_explanations_go_by_what_the_tick_went_by() -> None:
    """The terms and the state that made the other numbers, not copies that may differ."""
    basis = report_of(ENDPOINT).basis
    assert basis is not None
    assert basis.policy.tariff is TARIFF
    assert [gpu.holders for gpu in basis.state.gpus.values()] == [(Holder(CHAT, "GPU-0"),)]

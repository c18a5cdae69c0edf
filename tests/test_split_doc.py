"""docs/split.md tells what the simulation prints; the methods are as close as page and program say."""

import pytest

from benchmarks import batching, phases
from exporter.cost.split import MEANING, WORKLOADS_OFF_BY_25_PERCENT
from tests.nightly import daily

pytestmark = pytest.mark.xdist_group("split")  # simulated once, not once by each process of `pytest -n`


@pytest.fixture(scope="module")
def outcomes() -> tuple[tuple[phases.Outcome, ...], tuple[phases.Outcome, ...]]:
    """Every workload on both kinds of engine: some seconds of computing."""
    return phases.outcomes(mixes=True), phases.outcomes(mixes=False)


Outcomes = tuple[tuple[phases.Outcome, ...], tuple[phases.Outcome, ...]]


def test_the_page_tells_what_the_command_prints(outcomes: Outcomes) -> None:
    """`python -m benchmarks.phases --update` writes it."""
    _, printed, _ = phases.split_page(phases.PAGE.read_text(encoding="utf-8"))
    assert printed == phases.text(*outcomes)


def test_auto_is_within_a_quarter_of_the_truth_on_chat_and_light_load(outcomes: Outcomes) -> None:
    """By request seconds where prompts share iterations, by GPU seconds where they do not."""
    mixing, apart = ({row.workload.name: row for row in rows} for rows in outcomes)
    for name in ("chat", "light"):
        assert abs(mixing[name].shares["time"] / mixing[name].true - 1) < 0.25
        assert abs(apart[name].shares["engine"] / apart[name].true - 1) < 0.25


@pytest.mark.parametrize(
    ("arithmetic", "bandwidth"), daily(((0.3, 0.5), (0.3, 0.9), (0.7, 0.5), (0.7, 0.9)), {(0.3, 0.9)})
)
def test_that_does_not_hang_on_how_fast_the_gpu_is(
    arithmetic: float, bandwidth: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 989.4 TFLOPS and 3.35 TB/s."""
    flops = 989.4e12 * arithmetic
    monkeypatch.setattr(batching, "FLOPS", flops)
    monkeypatch.setattr(batching, "ATTENTION", 4 * 32 * 4096 / flops)
    monkeypatch.setattr(batching, "BANDWIDTH", 3.35e12 * bandwidth)
    for workload in phases.WORKLOADS:
        if workload.name in {"chat", "light"}:
            mixing, apart = (phases.outcome(workload, mixes=mixes) for mixes in (True, False))
            assert abs(mixing.shares["time"] / mixing.true - 1) < 0.25
            assert abs(apart.shares["engine"] / apart.true - 1) < 0.25


def test_where_a_method_is_far_from_the_truth_is_told(outcomes: Outcomes) -> None:
    """The loads that the program names are those on which it is more than a quarter off, and no others."""
    names = [workload.name for workload in phases.WORKLOADS]
    for method, far in WORKLOADS_OFF_BY_25_PERCENT.items():
        beyond = {
            row.workload.name
            for rows in outcomes
            for row in rows
            if abs(row.shares[method] / row.true - 1) > 0.25
        }
        assert tuple(name for name in names if name in beyond) == far
        assert f"loads: {', '.join(far)}" in MEANING[method]


def test_an_engine_that_computes_prompts_apart_times_them_exactly(outcomes: Outcomes) -> None:
    """Nothing but the trailing of the sums is between its share and the truth."""
    assert all(abs(row.shares["engine"] / row.true - 1) < 0.03 for row in outcomes[1])


def test_every_method_is_explained() -> None:
    """On the page about methods, each in a row of its own."""
    page = phases.PAGE.read_text(encoding="utf-8")
    assert all(f"| `{method}` |" in page for method in MEANING)

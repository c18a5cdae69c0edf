"""Two engines and a sheet of paper say the same: Prometheus, VictoriaMetrics with vmalert, and a reckoning.

Both engines have one history and scrape nothing, so that no scrape is a millisecond late.
vmalert evaluates the ten seconds after it; Prometheus goes on evaluating.
What counts its samples as minutes is left out, since here they are seconds: the sums of a week.
"""

import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from tests.e2e.fleet.compression import DEPLOY, RULES
from tests.e2e.fleet.conftest import FleetPast
from tests.e2e.fleet.fleets import BEGIN, FLEET
from tests.e2e.fleet.history import imported
from tests.e2e.fleet.programs import FleetPrometheus, Victoria, written
from tests.e2e.fleet.records import memory
from tests.e2e.fleet.seeded_prometheus import seeded
from tests.e2e.fleet.vmalert_replay import Rule, replay

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("fleet")]

CLOSE = 1e-9
"""Of the value: sums of floats in another order."""
LATE_DOLLARS = 0.05
"""What the fleet spends within the seconds by which two evaluations are apart; 21.50 an hour."""
SECONDS = 10
PATIENCE = 15
"""Seconds in which Prometheus catches up: on a busy machine its rules of a second are of two moments."""

TIMED = (
    "inference:month_hours_left",
    "inference:fleet_month_hours_left",
    "inference:fleet_mean_hours_left",
    "inference:month_projected_dollars",
    "inference:fleet_month_projected_dollars",
    "inference:budget_month_projected_dollars",
    "inference:budget_projected_ratio",
    "inference:budget_runs_out_timestamp_seconds",
    "inference:cluster_heartbeat_timestamp_seconds",
)
"""What goes by the clock, with all that begins so."""
ROUGH = (
    "inference:dollars_per_hour:1d:cluster",
    "inference:cluster_share_ratio",
    "inference:rest_at_first_price_dollars_per_hour:low",
    "inference:rest_at_first_price_dollars_per_hour:owner_low",
    "inference:rest_dollars_per_hour:low",
    "inference:rest_dollars_per_hour:owner_low",
    "inference:fleet_overhead_dollars_per_million_tokens:24h",
    "inference:observed_dollars_per_hour:server_1d",
    "inference:server_tokens:rate1d",
    "inference:waste_dollars_per_hour:server_1d",
)
"""Means of a day on which the spend changed: they have seconds beside the history's minutes."""
QUOTIENTS = "inference:server_slo_"
"""How names of shares begin: quotients of rates of which VictoriaMetrics stores fewer digits."""
DAILY = ("inference:month_projected_dollars", "low")
"""Projections with a mean of the last day in them, by how they end: a cluster's part, and lower bounds."""
COUNTED = (
    "inference:owner_cost_dollars:7d",
    "inference:owner_gpu_hours:7d",
    "inference:owner_tokens:7d",
    "inference:cost_dollars:week_ratio",
    "inference:gpu_hours:week_ratio",
    "inference:server_slo_observations:1h",
    "inference:server_slo_observations:24h",
    *(
        f"inference:model_{what}:1{span}"
        for what in ("cost_dollars", "tokens", "hosted_dollars")
        for span in "hd"
    ),
)
"""What counts samples: a Prometheus that starts late has fewer of them. Cases of the rules compare it."""


@pytest.fixture(scope="module")
def rules() -> list[Rule]:
    """Everything that is recorded, in the order of the files."""
    texts = [(DEPLOY / "prometheus" / name).read_text(encoding="utf-8") for name in RULES]
    groups = [group for text in texts for group in yaml.safe_load(text)["groups"]]
    return [rule for group in groups for rule in group["rules"] if "record" in rule]


@dataclass(frozen=True, slots=True)
class Engines:
    """Both over one history, which ends at `now`."""

    prometheus: FleetPrometheus
    victoria: Victoria
    now: int
    at: float
    """When Prometheus had evaluated everything, seconds since the epoch; what is compared is of then."""


@pytest.fixture(scope="module")
def engines(
    history: FleetPast, rules: list[Rule], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engines]:
    """Prometheus, and VictoriaMetrics with what vmalert recorded of the ten seconds after the history."""
    with Victoria(tmp_path_factory.mktemp("victoria")) as victoria, ThreadPoolExecutor() as beside:
        victoria.take(imported(history.samples))
        replayed = beside.submit(replay, rules, victoria, history.now + 1, history.now + SECONDS)
        folder = tmp_path_factory.mktemp("still")
        with seeded(folder, FLEET, BEGIN, now=history.now, ready=history.ready, scraping=False) as life:
            at = time.time()
            replayed.result()
            yield Engines(life.prometheus, victoria, history.now, at)


@pytest.fixture(scope="module")
def records(rules: list[Rule]) -> list[str]:
    return [rule["record"] for rule in rules]


def tolerance(name: str) -> float:
    """Of a recorded value."""
    if name.startswith(QUOTIENTS):
        return 10 * CLOSE
    return 0.1 if name.startswith(ROUGH) else CLOSE


def differing(engines: Engines, names: list[str], at: float) -> dict[str, tuple[Any, Any]]:
    """The records whose values in Prometheus at a moment are not those of VictoriaMetrics."""
    different = {}
    for name in names:
        ours, theirs = (
            engines.prometheus.query(name, at),
            engines.victoria.query(name, engines.now + SECONDS),
        )
        if theirs != pytest.approx(ours, rel=tolerance(name), abs=CLOSE):
            different[name] = ours, theirs
    return different


def test_both_engines_record_the_same(engines: Engines, records: list[str]) -> None:
    """Month, run-rate, spend, budgets, prices per million tokens: as many series, and the same values."""
    compared = [name for name in records if not name.startswith(TIMED) and name not in COUNTED]
    different = differing(engines, compared, engines.at)
    patience = time.monotonic() + PATIENCE
    while different and time.monotonic() < patience:
        time.sleep(1)
        different = differing(engines, compared, time.time())

    assert different == {}
    assert len(compared) > 75
    filled = {name for name in compared if engines.prometheus.query(name, engines.at)}
    assert {
        "inference:month_to_date_dollars",
        "inference:month_to_date_dollars:owner",
        "inference:monthly_run_rate_dollars",
        "inference:closed_month_dollars:owner",
        "inference:spend_dollars_per_hour:owner",
        "inference:rest_at_first_price_dollars_per_hour:owner",
        "inference:budget_usual_dollars_per_hour",
        "inference:cost_dollars_per_million_tokens:1h",
        "inference:server_busy_cost_dollars_per_million_tokens:24h",
        "inference:fleet_overhead_dollars_per_million_tokens:24h",
    } <= filled


def test_both_engines_project_the_same(engines: Engines, records: list[str]) -> None:
    """Projections go by the clock: they are alike but for what is spent between the two evaluations."""
    projected = [name for name in records if "month_projected_dollars" in name]
    assert len(projected) == 10
    for name in projected:
        ours, theirs = (
            engines.prometheus.query(name, engines.at),
            engines.victoria.query(name, engines.now + SECONDS),
        )
        waited = (
            engines.prometheus.value(f"max(timestamp({name}))", engines.at) - engines.now - SECONDS
        ) / 3600

        assert ours
        assert theirs.keys() == ours.keys()
        rough = 0.01 if name.endswith(DAILY) else 0
        for labels, dollars in ours.items():
            late = LATE_DOLLARS + rough * dollars
            assert -late < theirs[labels] - dollars < late + 40 * waited, name


def test_both_have_recorded_all_of_it_themselves(engines: Engines, records: list[str]) -> None:
    """Nothing that is compared is what the history brought."""
    at = engines.now + SECONDS
    old = [name for name in records if engines.victoria.query(f"timestamp({name}) != {at}", at)]

    assert old == []
    assert [
        name
        for name in records
        if engines.prometheus.query(f"timestamp({name}) <= {engines.now}", engines.at)
    ] == []


def test_the_projection_is_what_the_paper_says(engines: Engines) -> None:
    """14,381 dollars, and 21.50 an hour for 240 hours but ten seconds; 0.95 of the last day's 20.24, or 1.05.

    East: 12,642 are 6,120 + 156 h at 10, 3,480 + 156 h at 5, 52 + 80 + 22 + 2 h of spot machines at 2.50, and
    62 + 100 h at 2.50 of one that was gone before.
    West: 1,739 are 760 + 156 h at 2.40, 155 + 156 h at 1.60, and 250 h at 0.80 of one that was gone before.
    A cluster has its share of the last day in the fleet's rest: 22 hours at 15, then 2 hours and what the
    engine recorded since at 17.50, beside 4 of the other.
    """
    at, left = engines.now + SECONDS, 240 - SECONDS / 3600
    month = '{month="2026-07"}'
    fleet = "inference:fleet_month_projected_dollars"
    projected = 14_381 + 21.5 * left
    day = (22 * 19 + 2 * 21.5 + SECONDS * 21.5) / (24 + SECONDS)
    east = (22 * 15 + 2 * 17.5 + SECONDS * 17.5) / (24 + SECONDS)
    share = east / (east + 4)

    assert engines.victoria.query("inference:month_to_date_dollars", at) == pytest.approx(
        {'{cluster="east",month="2026-07"}': 12_642, '{cluster="west",month="2026-07"}': 1_739}
    )
    assert engines.victoria.query(fleet, at) == pytest.approx({month: projected}, rel=CLOSE)
    assert engines.victoria.query("inference:month_projected_dollars", at) == pytest.approx(
        {
            '{cluster="east",month="2026-07"}': 12_642 + share * 21.5 * left,
            '{cluster="west",month="2026-07"}': 1_739 + (1 - share) * 21.5 * left,
        },
        rel=1e-6,
    )
    low, high = 14_381 + 0.95 * day * left, 14_381 + 1.05 * 21.5 * left
    assert engines.victoria.query(f"{fleet}:low", at) == pytest.approx(
        {month: low - 0.01 * projected}, rel=1e-6
    )
    assert engines.victoria.query(f"{fleet}:high", at) == pytest.approx(
        {month: high + 0.01 * projected}, rel=1e-6
    )
    # 730 h at 21.50
    assert engines.victoria.value("sum(inference:monthly_run_rate_dollars)", at) == pytest.approx(
        15_695, rel=CLOSE
    )
    # 2.50 dollars an hour buy 1.6 million tokens of it
    price = engines.victoria.query("inference:cost_dollars_per_million_tokens:24h", at)
    assert price['{cluster="east",model="Llama-3.3-70B"}'] == pytest.approx(1.5625, rel=CLOSE)


def test_owners_sum_to_the_fleet(engines: Engines) -> None:
    """So do clusters, on both engines."""
    for engine, at in ((engines.prometheus, engines.at), (engines.victoria, engines.now + SECONDS)):
        fleet = engine.value("sum(inference:fleet_month_projected_dollars)", at)

        for parts in ("inference:month_projected_dollars", "inference:month_projected_dollars:owner"):
            assert engine.value(f"sum({parts})", at) == pytest.approx(fleet, abs=LATE_DOLLARS)


def test_the_rules_record_what_was_reckoned_without_them(engines: Engines) -> None:
    """The memory that the history brought is what the rules go on recording, series by series."""
    expected: dict[str, dict[str, float]] = {}
    for item in memory(FLEET, engines.now, BEGIN, 300, 300):
        if item.times and item.times[-1] == 0 and (value := item.at(0)) is not None:
            labels = written({key: text for key, text in item.labels.items() if text})
            expected.setdefault(item.name, {})[labels] = value
    compared = [name for name in expected if not name.startswith(TIMED) and name not in COUNTED]
    different = {}
    for name in compared:
        actual = engines.prometheus.query(name, engines.at)
        if actual != pytest.approx(expected[name], rel=tolerance(name), abs=CLOSE):
            different[name] = actual, expected[name]

    assert different == {}
    assert len(compared) > 20


def test_vmalert_accepts_the_files_as_they_are() -> None:
    """Alerts and the templates of their sentences too."""
    files = [f"-rule={DEPLOY / 'prometheus' / name}" for name in RULES]
    checked = subprocess.run(
        ["vmalert", "-dryRun", *files], capture_output=True, text=True, timeout=60, check=False
    )

    assert checked.returncode == 0, checked.stderr

"""Every query of every dashboard has an answer where a Prometheus has scraped the demo for a day.

The demo is replayed through the real pipeline by a clock that passes no time, its page is taken each minute
of the last day, and Prometheus's own engine asks the queries with the fleet rules loaded.
"""

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest

from exporter.demo.banner import Site, events
from exporter.demo.daemon import DemoDaemon, replay
from exporter.demo.timeline import Timeline
from exporter.metrics.exposition import TEXT, Exposition, Variant
from exporter.metrics.process import ProcessMetrics
from exporter.report import Build, Report, StandardFamily
from exporter.units import NANOSECONDS_PER_DAY, NANOSECONDS_PER_SECOND
from tests.kit.clock import noon
from tests.rules.dashboard_queries import Check, Samples, queries_by_board, wrong
from tests.standard_process import standard_process

# replayed and evaluated once, not once by each process of `pytest -n`
pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("demo day")]

BUILD = Build("0", "", "3")
NOON = noon().wall() // NANOSECONDS_PER_SECOND
"""At which the day of scrapes ends; seconds since the epoch."""
MINUTES = 24 * 60 + 1

FLEET_ONLY = "the demo's only budget is the fleet's"
FEW = "fewer products, servers or models than a graph has lines"
CONFIGURED = "the demo has configured its budget"
SAME = "the demo has the servers that it had a day ago"
FIRST = "a day ago the demo has one sample, and a rate takes two"
YOUNG = "two weeks are compared, and the demo is scraped for a day"
WEEKS = "weeks are looked back on, and the demo is scraped for a day"
STEADY = "nothing changes in the demo's last minutes"
WELL = "all is well in the demo"
MEMORY = "these books are in memory"
EMPTY = {
    "fleet: What could be saved: the first 30 findings: Saves per month": MEMORY,
    "waste: What could be saved: the first 50 findings: Saves per month": MEMORY,
    "chargeback: Budgets of products, by projected share: the first 100: Of": FLEET_ONLY,
    "chargeback: Budgets of products, by projected share: the first 100: Projected": FLEET_ONLY,
    "chargeback: Budgets of products, by projected share: the first 100: Projected share": FLEET_ONLY,
    "chargeback: Budgets of products, by projected share: the first 100: Runs out": FLEET_ONLY,
    "chargeback: Budgets of products, by projected share: the first 100: Spent": FLEET_ONLY,
    "chargeback: Hosts: silent": WELL,
    "chargeback: Month to date, by product: the first 10: all others {{month}}": FEW,
    "fleet: Clusters: Not yet posted": WELL,
    "fleet: Clusters: Silent hosts": WELL,
    "fleet: Dollars per hour, by product: the first 10: all others": FEW,
    "fleet: Dollars per hour: lost clusters": WELL,
    "fleet: Dollars per hour: silent hosts": WELL,
    "fleet: Spend of unreachable hosts, per hour: lost clusters": WELL,
    "fleet: Spend of unreachable hosts, per hour: silent hosts": WELL,
    "fleet: Projected share of the fleet's budgets: {{budget}}, the default": CONFIGURED,
    "fleet: Repair, per month": WELL,
    "fleet: Servers that cost more or less than a day ago: the first 30: Change in GPUs": FIRST,
    "fleet: Servers that cost more or less than a day ago: the first 30: Change in tokens per second": FIRST,
    "fleet: Servers that cost more or less than a day ago: the first 30: Gone, per hour": SAME,
    "fleet: Servers that cost more or less than a day ago: the first 30: New, per hour": SAME,
    "fleet: This week over the week before: Dollars": YOUNG,
    "fleet: This week over the week before: GPU-hours": YOUNG,
    "fleet: This week over the week before: Price of one": YOUNG,
    "fleet: This week over the week before: Tokens of one": YOUNG,
    "fleet: When: idle dollars per hour, by product: the first 10: all others": FEW,
    "gpus: Each GPU: Not readable": WELL,
    "mark: Configuration changed": STEADY,
    "mark: Exporter changed": STEADY,
    "mark: Month began": STEADY,
    "mark: Prices changed": STEADY,
    "meter: Exporters, the 50 whose last tick is oldest: Since last commit": "these books are in memory",
    "meter: Failing sources: Errors, 1 h": WELL,
    "meter: Failing sources: Since last success": WELL,
    "meter: GPU nodes without an exporter: Without": "the demo is no node of Kubernetes",
    "meter: GPUs without a price, estimated or not readable: Estimate, per hour": WELL,
    "meter: GPUs without a price, estimated or not readable: Not readable": WELL,
    "meter: GPUs without a price, estimated or not readable: Without a price": WELL,
    "meter: Hosts: clusters lost": WELL,
    "meter: Hosts: silent": WELL,
    "meter: Silent hosts, the 50 that are silent for longest: Last rate, per hour": WELL,
    "meter: Silent hosts, the 50 that are silent for longest: Never answered": WELL,
    "meter: Silent hosts, the 50 that are silent for longest: Silent for": WELL,
    "waste: Repair: down and paid for, per month": WELL,
    "waste: When: idle dollars per hour, by server: the first 10: all others": FEW,
}
"""What is empty, and why. The tests of the values have an answer for each of these."""


class FakeProcess(ProcessMetrics):
    """A daemon that takes 50 MB and no time."""

    def read(self) -> tuple[StandardFamily, ...]:
        return standard_process(memory_bytes=50_000_000, cpu_seconds=1, started=NOON - 86_400)


def lines_of(page: str) -> Iterator[tuple[str, float]]:
    """Series and value of each line; instants count from the day's beginning, as promtool's clock does."""
    for line in page.splitlines():
        if line.startswith("#"):
            continue
        series, _, value = line.rpartition(" ")
        name, shift = scraped(series)
        yield name, float(value) - shift


@cache
def scraped(series: str) -> tuple[str, int]:
    """A series of a page with the labels of its target, and when its clock begins."""
    name, _, labels = series.partition("{")
    shift = NOON - 86_400 if name.endswith(("_timestamp_seconds", "_start_time_seconds")) else 0
    return f'{name}{{cluster="c",instance="demo:9844",{labels or "}"}', shift


@pytest.fixture(scope="module")
def series() -> dict[str, str]:
    """The demo's pages of a day, in promtool's notation."""
    exposition = Exposition(BUILD)
    values: dict[str, list[str]] = {}

    def published() -> None:
        report: Report | None = daemon.current()
        assert report is not None
        minute = (report.wall // NANOSECONDS_PER_SECOND - NOON) // 60 + MINUTES - 1
        if minute < 0:
            return
        page = exposition.render(report, Variant(TEXT, gzip=False), stale=False).decode()
        for name, value in lines_of(page):
            values.setdefault(name, ["_"] * MINUTES)[minute] = repr(value)

    daemon = DemoDaemon(noon(), FakeProcess(), BUILD, published)
    replay(daemon, fine=NANOSECONDS_PER_DAY)
    daemon.sampler.tick()
    return {name: " ".join(minutes) for name, minutes in values.items()}


SILENT = {
    "inference:budget_saving_dollars_per_month": MEMORY,
    "inference:saving_dollars_per_month:owner": MEMORY,
    "inference:saving_dollars_per_month:server": MEMORY,
    "inference:budget_dollars:deviating": WELL,
    "inference:budget_dollars:lost": WELL,
    "inference:cluster_renamed": WELL,
    "inference:cluster_silent_since_timestamp_seconds": WELL,
    "inference:config_reload_failed": WELL,
    "inference:cost_dollars:week_ratio": WEEKS,
    "inference:dollars_per_hour:7d": WEEKS,
    "inference:dollars_per_hour:7d:owner": WEEKS,
    "inference:duplicate_targets": WELL,
    "inference:estimated_dollars_per_hour": WELL,
    "inference:exporter_stale_seconds": WELL,
    "inference:exporters_reconfigured": STEADY,
    "inference:exporters_upgraded": STEADY,
    "inference:gpu_hour_price:week_ratio": WEEKS,
    "inference:gpu_hours:week_ratio": WEEKS,
    "inference:gpu_nodes": "no kube-state-metrics is scraped",
    "inference:gpu_nodes_unmetered": "no kube-state-metrics is scraped",
    "inference:gpus_down": WELL,
    "inference:gpus_excess": WELL,
    "inference:gpus_metered_twice": WELL,
    "inference:gpus_repriced": STEADY,
    "inference:gpus_unpriced:model": WELL,
    "inference:growth:1w": WEEKS,
    "inference:growth:1w:owner": WEEKS,
    "inference:growth:2w": WEEKS,
    "inference:growth:2w:owner": WEEKS,
    "inference:host_silent_since_timestamp_seconds": WELL,
    "inference:hour_ratio:1w": WEEKS,
    "inference:hour_ratio:1w:owner": WEEKS,
    "inference:hour_ratio:2w": WEEKS,
    "inference:hour_ratio:2w:owner": WEEKS,
    "inference:idle_down_dollars_per_hour": WELL,
    "inference:labels_renamed": WELL,
    "inference:ledger_begun_anew": WELL,
    "inference:ledger_replaced": WELL,
    "inference:ledger_residual_dollars": WELL,
    "inference:ledger_targets": WELL,
    "inference:lost_dollars_per_hour:host": WELL,
    "inference:lost_dollars_per_hour:owner": WELL,
    "inference:model_unpriced": WELL,
    "inference:month_to_date_dollars:gone": WELL,
    "inference:month_unposted_dollars": WELL,
    "inference:month_unposted_dollars:owner": WELL,
    "inference:nodes": "no kube-state-metrics is scraped",
    "inference:owner_gone": WELL,
    "inference:server_one_sided": "no server of the demo has a role",
    "inference:server_unpriced": WELL,
    "inference:silent_dollars_per_hour:host": WELL,
    "inference:silent_dollars_per_hour:owner": WELL,
    "inference:source_down": WELL,
    "inference:tokens_per_gpu_hour:week_ratio": WEEKS,
    "inference:web_config_reload_failed": WELL,
}
"""Records that are empty, and why."""

FIRING = {
    "InferenceLedgerNotPersistent": "these books are in memory, to spare the disk a day of minutes",
    "InferenceServerServesNothing": "archive-13b has had no users for three days",
    "InferenceSpendProjectedOverBudget": "the low end of its projection is over the budget",
    "InferenceSpendUnassigned": "nobody owns trial-8b",
}
"""Alerts that fire within the day, and why; all of them tickets."""


MEAN_RENT = (
    'sum(inference_gpu_cost_dollars_total{component="rent"}) / sum(inference_gpu_seconds_total) * 3600'
)
ANSWERS: dict[str, tuple[str, Samples]] = {
    "one model is wasted": (
        'group by (server) (ALERTS{alertname="InferenceServerServesNothing",alertstate="firing"})',
        {'{server="archive-13b"}': 1},
    ),
    "a price rose": (
        f'{MEAN_RENT} < bool max(inference_gpu_price_dollars_per_hour{{component="rent"}})',
        {"{}": 1},
    ),
    "a server has no owner": (
        (
            "group by (server)"
            ' (inference:cost_dollars_per_hour:server{product="unassigned",server!="unallocated"})'
        ),
        {'{server="trial-8b"}': 1},
    ),
    "a spot node was lost": (
        'round(sum(inference_gpu_seconds_total{phase="unobserved"}) / 8)',
        {"{}": 60 + 2 * 5},  # its first minute, and two intervals after its last tick: the rest is not owed
    ),
    "a GPU had no price for a day": ("sum(inference_gpu_unpriced_seconds_total)", {"{}": 86_400}),
    "a server was restarted": (
        "min_over_time(inference_server_up[1d]) == 0",
        {'{cluster="c",instance="demo:9844",server="chat-70b",url="http://127.0.0.1:8000/metrics"}': 0},
    ),
    "days and weeks differ": (
        (
            "sum(max_over_time(inference:server_tokens:rate5m[1d]))"
            " > bool 3 * sum(min_over_time(inference:server_tokens:rate5m[1d]))"
        ),
        {"{}": 1},
    ),
}
"""What the demo says was planted, where Prometheus and the rules show it."""


def checks_of_queries() -> Iterator[Check]:
    """That each gives a finite number, or nothing where it is listed as empty."""
    for name, alike in queries_by_board().items():
        for query in alike:
            yield Check(name, f"group(abs({query}) < Inf)", MINUTES - 1, {} if name in EMPTY else {"{}": 1})


def checks_of_rules(rules: list[dict[str, Any]]) -> Iterator[Check]:
    """That records have values and alerts have reasons, and that what was planted is found."""
    records = {rule["record"] for rule in rules if "record" in rule}
    alerts = {rule["alert"] for rule in rules if "alert" in rule}
    for name in records:
        yield Check(name, f"group({name})", MINUTES - 1, {} if name in SILENT else {"{}": 1})
    for name in alerts:
        fired = f'group by (severity) (max_over_time(ALERTS{{alertname="{name}",alertstate="firing"}}[1d]))'
        samples = {'{severity="ticket"}': 1.0} if name in FIRING else {}
        yield Check(name, fired, MINUTES - 1, samples)
    for title, (expr, samples) in ANSWERS.items():
        yield Check(title, expr, MINUTES - 1, samples)
    passed = "sum(inference:budget_projected_ratio > bool 1)"
    yield Check("since the price rose, the month ends past the budget", passed, MINUTES - 1, {"{}": 1})


@pytest.fixture(scope="module")
def failed(
    series: dict[str, str],
    rules: list[dict[str, Any]],
    promtool: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> list[str]:
    """Whose checks fail: one run of promtool answers them all, since most of its time goes to the rules."""
    file = tmp_path_factory.mktemp("demo-day") / "checks.json"
    return wrong(promtool, file, series, [*checks_of_queries(), *checks_of_rules(rules)])


def test_every_query_has_an_answer_in_the_demo(failed: list[str]) -> None:
    """Each gives a finite number, or is listed with the reason why it has none, and has none."""
    queries = queries_by_board()
    assert set(EMPTY) - set(queries) == set()
    assert [name for name in failed if name in queries] == []


def test_records_have_values_alerts_have_reasons_and_what_was_planted_is_found(
    failed: list[str], rules: list[dict[str, Any]]
) -> None:
    """The rules fit what the exporter tells, not only what their own tests feed them.

    What the demo says was planted is found by them, or in what they are fed.
    """
    names = {rule["record"] for rule in rules if "record" in rule}
    alerts = {rule["alert"] for rule in rules if "alert" in rule}
    assert set(SILENT) - names == set(FIRING) - alerts == set()
    story = events(Timeline.before(noon().wall()), Site("", "", ""))
    assert set(re.findall(r"^  [0-9]\. (.*?)\. ", story, re.MULTILINE)) == set(ANSWERS)
    assert [name for name in failed if name not in queries_by_board()] == []

"""What panels are asked as Grafana asks them: variables, steps, and what an answer cost."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.fleet.__main__ import BOARDS
from benchmarks.fleet.panels import Panel, Query, filled, panels, timed
from benchmarks.fleet.prometheus import Prometheus, QueryCost

DAY = 86_400
BOARD = {
    "annotations": {"list": [{"name": "Prices", "expr": "inference:a"}, {"name": "Built in"}]},
    "templating": {
        "list": [
            {"name": "datasource", "type": "datasource"},
            {"name": "server", "type": "query", "includeAll": True, "allValue": ".*"},
            {"name": "instance", "type": "query", "includeAll": False},
            {"name": "servers", "type": "custom", "options": [{"value": "one"}, {"value": "two"}]},
        ]
    },
    "panels": [
        {"title": "Text"},
        {
            "title": "Row",
            "panels": [{"title": "In it", "targets": [{"expr": "inference:b", "instant": True}]}],
        },
        {
            "title": "Line",
            "interval": "5m",
            "maxDataPoints": 300,
            "targets": [{"expr": "inference:c"}, {"expr": ""}],
        },
    ],
}


class Recorder(Prometheus):
    """Answers each query with as many samples as it has steps, a hundred series each."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, int, int]] = []

    def cost(self, expression: str, end: int, span: int = 0, step: int = 0) -> QueryCost:  # noqa: ARG002
        """One step where it is asked for a moment."""
        self.requests.append((expression, span, step))
        return QueryCost(100 * (span // step + 1 if step else 1), 100, 0.1)


def test_everything_is_selected() -> None:
    """The longer of two names is filled in first, of choices the first, and one host where no more can be."""
    assert filled('a{x=~"$server",y="$servers",z="${server:regex}"}', BOARD) == 'a{x=~".*",y="one",z=".*"}'
    assert filled('a{instance="$instance"}', BOARD) == 'a{instance="host-0"}'


def test_marks_and_closed_rows_are_asked_too(tmp_path: Path) -> None:
    """What asks nothing is no panel."""
    (tmp_path / "fleet.json").write_text(json.dumps(BOARD))

    assert panels(tmp_path) == [
        Panel("fleet", "mark: Prices", (Query("inference:a", instant=False),), 60),
        Panel("fleet", "In it", (Query("inference:b", instant=True),), 60),
        Panel("fleet", "Line", (Query("inference:c", instant=False),), 300, 300),
    ]


def test_no_variable_is_left_in_our_dashboards() -> None:
    """Prometheus would refuse it."""
    left = [
        query.expr
        for panel in panels(BOARDS)
        for query in panel.queries
        if re.search(r"\$[a-z_{]", timed(query.expr, DAY, 60, 60))
    ]

    assert left == []


@pytest.mark.parametrize(
    ("span", "least", "points", "step"),
    [
        (3600, 60, 1000, 60),
        (DAY, 60, 1000, 60),
        (30 * DAY, 60, 1000, 1800),
        (3600, 300, 1000, 300),
        (DAY, 60, 300, 300),
        (30 * DAY, 60, 300, 7200),
    ],
)
def test_steps_are_those_of_grafana(span: int, least: int, points: int, step: int) -> None:
    """As many points as the panel says, rounded, and no closer than it says."""
    assert Panel("fleet", "a", (), least, points).step(span) == step


def test_a_rate_has_four_samples() -> None:
    """As Grafana reckons it from the step and the least one."""
    assert timed("[$__rate_interval] [$__range] $__range_s [$__interval]", 3600, 60, 60) == (
        "[240s] [3600s] 3600 [60s]"
    )
    assert timed("[$__rate_interval]", 30 * DAY, 1800, 60) == "[1860s]"


def test_a_panel_costs_what_its_queries_cost_together() -> None:
    """Those for a moment are asked for it, the others at the steps of the range."""
    prometheus = Recorder()
    panel = Panel("fleet", "a", (Query("one", instant=True), Query("two", instant=False)), 60)

    cost = panel.cost(prometheus, "1h", 0)

    assert (cost.samples, cost.samples_read, cost.peak) == (6200, 6200, 100)
    assert cost.seconds == pytest.approx(0.2)
    assert ("two", 3600, 60) in prometheus.requests
    assert {request[1:] for request in prometheus.requests if request[0] == "one"} == {(0, 0)}


def test_a_past_that_is_not_there_costs_as_much() -> None:
    """What two steps load beyond one is loaded at each step, and the rest once."""

    class Young(Recorder):
        def cost(self, expression: str, end: int, span: int = 0, step: int = 0) -> QueryCost:
            """Seven samples once, and a hundred for each of the three steps that there are."""
            steps = min(span // step + 1 if step else 1, 3)
            return replace(super().cost(expression, end, span, step), samples=7 + 100 * steps)

    cost = Panel("fleet", "a", (Query("two", instant=False),), 60).cost(Young(), "1h", 0)

    assert (cost.samples, cost.samples_read) == (7 + 6100, 307)
    assert replace(cost, samples=20_001, samples_read=18_001).within
    assert not replace(cost, samples=20_001, samples_read=17_999).within


def test_only_panels_that_move_are_asked_at_ranges() -> None:
    """A moment costs the same at each."""
    panel = Panel("fleet", "a", (Query("one", instant=True), Query("two", instant=False)), 60)

    assert list(panel.ranges()) == ["1h", "24h", "30d"]
    assert list(Panel("fleet", "a", (Query("one", instant=True),), 60).ranges()) == ["now"]

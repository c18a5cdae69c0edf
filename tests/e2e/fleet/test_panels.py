"""Every query of every dashboard has an answer where a real Prometheus scrapes a fleet, rules and all.

The same is asked of Prometheus's engine after a day of the demo (tests/rules); here are the hosts, clusters,
failures and weeks that the demo has not, so that nearly nothing is left to be empty.
"""

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.fleet.compression import ROOT
from tests.e2e.fleet.seeded_prometheus import Life
from tests.rules.dashboard_queries import filled, queries_by_board

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("fleet")]

BOARDS = sorted((ROOT / "dashboards").glob("*.json"))
WELL = "every host of this fleet answers, and every cluster sends"
FEW = "fewer products and servers than a graph has lines"
SAME = "the fleet has the servers that it had a day ago"
YOUNG = "the history has no GPUs of a day ago"
EMPTY = {
    "chargeback: Hosts: silent": WELL,
    "chargeback: Month to date, by product: the first 10: all others {{month}}": FEW,
    "fleet: Clusters: Not yet posted": WELL,
    "fleet: Clusters: Silent hosts": WELL,
    "fleet: Dollars per hour, by product: the first 10: all others": FEW,
    "fleet: Dollars per hour: lost clusters": WELL,
    "fleet: Dollars per hour: silent hosts": WELL,
    "fleet: Spend of unreachable hosts, per hour: lost clusters": WELL,
    "fleet: Spend of unreachable hosts, per hour: silent hosts": WELL,
    "fleet: Projected share of the fleet's budgets: {{budget}}, the default": "its budgets are configured",
    "fleet: Servers that cost more or less than a day ago: the first 30: Change in GPUs": YOUNG,
    "fleet: Servers that cost more or less than a day ago: the first 30: Gone, per hour": SAME,
    "fleet: Servers that cost more or less than a day ago: the first 30: New, per hour": SAME,
    "fleet: The fleet's budget runs out": "the month ends within the fleet's budget",
    "fleet: When: idle dollars per hour, by product: the first 10: all others": FEW,
    "mark: Month began": "the fleet's month began three weeks ago, and its history a week ago",
    "meter: Hosts: clusters lost": WELL,
    "meter: Hosts: silent": WELL,
    "meter: Silent hosts, the 50 that are silent for longest: Last rate, per hour": WELL,
    "meter: Silent hosts, the 50 that are silent for longest: Never answered": WELL,
    "meter: Silent hosts, the 50 that are silent for longest: Silent for": WELL,
    "waste: When: idle dollars per hour, by server: the first 10: all others": FEW,
}
"""What is empty, and why."""

WATCHED = 8
"""Seconds for which a graph is asked: the rules have recorded since the history ended, each second."""


def queries_of(board: dict[str, Any]) -> Iterator[str]:
    """Queries of panels."""
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]


def ranges(board: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Queries for which Grafana asks for the shown time, each with its name in `queries_by_board`."""
    names = {text: name for name, texts in queries_by_board().items() for text in texts}
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            if not target.get("instant"):
                yield names[next(filled(target["expr"], board))], target["expr"]


@pytest.fixture(scope="module", params=BOARDS, ids=lambda file: file.stem)
def board(request: pytest.FixtureRequest) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(request.param.read_text())
    return parsed


def test_every_query_of_a_panel_has_a_value_now(life: Life) -> None:
    """With every choice of basis and tokens and everything selected, each yields finite numbers."""
    panels = {name: queries for name, queries in queries_by_board().items() if not name.startswith("mark: ")}
    empty = {
        name
        for name, queries in panels.items()
        for query in queries
        if not any(map(math.isfinite, life.prometheus.query(query).values()))
    }

    assert len(panels) > 100
    assert empty == {name for name in EMPTY if name in panels}


def test_every_mark_is_somewhere_in_the_last_day(life: Life) -> None:
    """Prices, a configuration and a version changed a minute before the history's end, and alerts fire."""
    marks = {name: queries for name, queries in queries_by_board().items() if name.startswith("mark: ")}
    end = life.now + life.at()
    empty = {
        name
        for name, queries in marks.items()
        for query in queries
        if not life.prometheus.range(query, end - 86_400, end, 60)
    }

    assert len(marks) == 5
    assert empty == set(EMPTY) & set(marks)


def test_every_graph_has_a_line(life: Life, board: dict[str, Any]) -> None:
    """Asked for a range of time as Grafana asks, a graph has more than one point."""
    end = life.now + life.at()
    short = []
    for name, query in ranges(board):
        if name in EMPTY:
            continue
        for text in filled(query.replace("$__rate_interval", "5m"), board):
            lines = life.prometheus.range(text, end - WATCHED, end, 2)
            if max((len(points) for points in lines.values()), default=0) < 2:
                short.append(name)

    assert short == []


def test_every_choice_is_offered_and_each_of_them_can_be_asked(life: Life, board: dict[str, Any]) -> None:
    """A variable offers values that the fleet has; with one of each chosen, no query is refused."""
    chosen: dict[str, str] = {}
    for item in board["templating"]["list"]:
        if item["type"] != "query":
            continue
        selector, _, label = item["query"].removeprefix("label_values(").removesuffix(")").rpartition(", ")
        for name, value in chosen.items():
            selector = selector.replace(f"${name}", value)
        offered = life.prometheus.query(f"group by ({label}) ({selector})")
        values = sorted(labels.removeprefix(f'{{{label}="').removesuffix('"}') for labels in offered)
        values = [value for value in values if value != "{}"]

        assert values, item["query"]
        chosen[item["name"]] = values[0]
        item["allValue"] = values[0]
    for query in queries_of(board):
        for text in filled(query, board):
            life.prometheus.query(text)

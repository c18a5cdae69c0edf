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
from tests.e2e.fleet.seeded import Life
from tests.rules.dashboard_queries import asked, filled

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("fleet")]

BOARDS = sorted((ROOT / "dashboards").glob("*.json"))
EMPTY = {"mark: Month began": "the fleet's month began three weeks ago, and its history a week ago"}
"""What is empty, and why."""

POINTS = 100
"""Of a time series, as many as a narrow panel has."""
UNITS = {"m": 60, "h": 3600, "d": 86_400}


def window(board: dict[str, Any]) -> float:
    """Seconds that a dashboard shows."""
    begin = board["time"]["from"].removeprefix("now-")
    return float(int(begin[:-1]) * UNITS[begin[-1]])


def instants(board: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    """Queries of panels, and whether Grafana asks for this moment only or for the time that is shown."""
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"], bool(target.get("instant"))


@pytest.fixture(scope="module", params=BOARDS, ids=lambda file: file.stem)
def board(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(request.param.read_text())
    return found


def test_every_query_of_a_panel_has_a_value_now(life: Life) -> None:
    """With every choice of basis and tokens and everything selected, each yields finite numbers."""
    panels = {name: queries for name, queries in asked().items() if not name.startswith("mark: ")}
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
    marks = {name: queries for name, queries in asked().items() if name.startswith("mark: ")}
    end = life.now + life.at()
    empty = {
        name
        for name, queries in marks.items()
        for query in queries
        if not life.prometheus.range(query, end - 86_400, end, 60)
    }

    assert len(marks) == 5
    assert empty == set(EMPTY) & set(marks)


def test_every_graph_has_a_line_in_the_time_that_it_shows(life: Life, board: dict[str, Any]) -> None:
    """Asked as Grafana asks, for the dashboard's own time, a graph has more than one point."""
    end = life.now + life.at()
    seconds = window(board)
    rate = f"{max(300, round(seconds / POINTS) + 60)}s"
    ranges = [query.replace("$__rate_interval", rate) for query, instant in instants(board) if not instant]
    short = []
    for query in ranges:
        for text in filled(query, board):
            lines = life.prometheus.range(text, end - seconds, end, seconds / POINTS)
            if max((len(points) for points in lines.values()), default=0) < 2:
                short.append(text)

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
    for query, _ in instants(board):
        for text in filled(query, board):
            life.prometheus.query(text)

"""The checked-in dashboards: up to date, readable without an explanation, and honest about absence."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SCREEN = 26
"""Rows of the grid that a screen shows."""
Panel = dict[str, Any]


def test_the_checked_in_json_is_what_the_code_writes() -> None:
    """Whoever changes a query also regenerates the file that users import; compared byte for byte."""
    command = [sys.executable, "dashboards/generate.py", "--check"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_a_stale_file_is_named_and_left_alone(tmp_path: Path) -> None:
    """`--check` says which file is out of date and how to write it, and changes nothing."""
    shutil.copytree(ROOT / "dashboards", tmp_path / "dashboards")
    shutil.copytree(ROOT / "deploy" / "prometheus", tmp_path / "deploy" / "prometheus")
    stale = tmp_path / "dashboards" / "fleet.json"
    stale.write_text("{}")
    command = [sys.executable, str(tmp_path / "dashboards" / "generate.py"), "--check"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert result.returncode == 1
    expected = "dashboards/fleet.json is out of date: python dashboards/generate.py\n"
    assert result.stdout == expected
    assert stale.read_text() == "{}"


def test_a_part_of_the_fleet_is_not_compared_with_its_budget(dashboards: dict[str, Panel]) -> None:
    """No query about a budget or in the section of the budget follows the chosen cluster."""
    panels = dashboards["fleet.json"]["panels"]
    (second,) = [panel["gridPos"]["y"] for panel in panels if panel["title"].startswith("2. ")]
    queries = [
        target["expr"]
        for name, board in dashboards.items()
        for panel in board["panels"]
        for target in panel.get("targets", ())
        if "inference:budget_" in target["expr"] or (name == "fleet.json" and panel["gridPos"]["y"] < second)
    ]

    assert len(queries) > 20
    assert [query for query in queries if "$cluster" in query] == []


def test_numbers_are_of_this_moment(every_panel: list[Panel]) -> None:
    """The last value of a range would stand there for as long as the range lasts, whatever died meanwhile."""
    numbers = [panel for panel in every_panel if panel["type"] in {"stat", "bargauge", "table"}]

    assert numbers
    for panel in numbers:
        assert [target["instant"] for target in panel["targets"]] == [True] * len(panel["targets"])


def test_lines_have_few_points_and_many_series_are_cut(every_panel: list[Panel]) -> None:
    """At most 200 points of at least a minute; of products, servers and models only the largest ones."""
    for panel in every_panel:
        if panel["type"] != "timeseries":
            continue
        assert panel["maxDataPoints"] <= 200
        assert panel["interval"] == "1m"
        for target in panel["targets"]:
            if re.search(r"{{(product|server|model)}}", target["legendFormat"]):
                assert "topk(" in target["expr"], target["expr"]


RAW = re.compile(r"\b(?:inference_|process_)\w+")
RAW_BOARDS = {"inference-cost-gpus", "inference-cost-meter"}


def test_dashboards_of_the_fleet_read_records(dashboard: Panel, every_panel: list[Panel]) -> None:
    """Exporters have a thousand series each: only the dashboards of one host and of the meter ask for them.

    Those of one host have one host; the meter's lines are records, too.
    """
    queries = [
        (panel["type"], target["expr"])
        for panel in every_panel
        for target in panel["targets"]
        if RAW.search(target["expr"])
    ]
    queries += [
        ("mark", mark["expr"]) for mark in dashboard["annotations"]["list"] if RAW.search(mark["expr"])
    ]
    hosts = [item for item in dashboard["templating"]["list"] if item["name"] == "instance"]

    if dashboard["uid"] not in RAW_BOARDS:
        assert queries == []
    if dashboard["uid"] == "inference-cost-meter":
        assert [query for kind, query in queries if kind == "timeseries"] == []
    if dashboard["uid"] == "inference-cost-gpus":
        assert [(host["multi"], host["includeAll"]) for host in hosts] == [(False, False)]
        assert [query for _, query in queries if 'instance=~"$instance"' not in query] == []


def test_a_month_has_the_configured_hours_and_a_day_is_a_mean_of_records(every_panel: list[Panel]) -> None:
    """730 is a default, and the rate of a counter over a day is wrong for what is younger than a day."""
    queries = [target["expr"] for panel in every_panel for target in panel["targets"]]

    assert [query for query in queries if re.search(r"\b7[23]\d\b", query)] == []
    assert [query for query in queries if re.search(r"(rate|increase|delta)\([^)]*\[\d*[dw]", query)] == []


def test_titles_tell_panels_apart(every_panel: list[Panel]) -> None:
    """Two panels of a dashboard are not called the same."""
    titles = [panel["title"] for panel in every_panel]

    assert len(titles) == len(set(titles))


def test_every_panel_says_what_absence_means(every_panel: list[Panel]) -> None:
    """A blank panel is explained where it is blank."""
    words = re.compile(r"Absent:|A gap:|No row:|No `silent`:|An empty")

    assert [panel["title"] for panel in every_panel if not words.search(panel["description"])] == []


def test_no_query_turns_absence_into_zero(every_panel: list[Panel]) -> None:
    """`or vector(0)` would show an unmetered fleet as a free one."""
    queries = [target["expr"] for panel in every_panel for target in panel["targets"]]

    assert [query for query in queries if re.search(r"vector\(|\bor\b", query)] == []
    assert [panel["title"] for panel in every_panel if "noValue" in panel["fieldConfig"]["defaults"]] == []


def columns(panel: Panel) -> list[Panel]:
    """What a table shows of each query, in their order; the links of keys are left out."""
    shown = [
        {item["id"]: item["value"] for item in override["properties"]}
        for override in panel["fieldConfig"]["overrides"]
    ]
    return [part for part in shown if "unit" in part]


def steps(panel: Panel) -> list[tuple[str, list[float | None]]]:
    """Each unit that a panel shows, with the values from which its color changes."""
    shown = [panel["fieldConfig"]["defaults"]]
    shown += [
        {item["id"]: item["value"] for item in override["properties"]}
        for override in panel["fieldConfig"]["overrides"]
    ]
    return [
        (part["unit"], [step["value"] for step in part["thresholds"]["steps"]])
        for part in shown
        if "unit" in part and "thresholds" in part
    ]


def test_thresholds_on_money_come_from_the_exported_budget(every_panel: list[Panel]) -> None:
    """Steps are set on shares, ages and counts; no amount of dollars is written here, a budget least."""
    for panel in every_panel:
        for unit, values in steps(panel):
            if unit == "currencyUSD" and panel["title"] != "Books residual":
                assert values == [None], panel["title"]


def test_what_is_colored_as_a_budget_is_divided_by_one(dashboards: dict[str, Panel]) -> None:
    """The steps 80 % and 100 % stand where the query is a share of the budget series, and nowhere else."""
    colored = set()
    for board in dashboards.values():
        for panel in (panel for panel in board["panels"] if panel["type"] != "row"):
            shown = [panel["fieldConfig"]["defaults"]] * len(panel["targets"])
            if panel["type"] == "table":
                shown = columns(panel)
            for part, target in zip(shown, panel["targets"], strict=True):
                share = re.match(
                    r"(topk\(3, |max by \(budget, product\) \()?inference:budget_\w+_ratio", target["expr"]
                )
                values = [step["value"] for step in part.get("thresholds", {}).get("steps", ())]
                assert (values == [None, 0.8, 1]) == bool(share), target["expr"]
                if share:
                    assert part["unit"] == "percentunit"
                    colored.add(panel["title"])

    assert colored == {
        "Projected share of the fleet's budgets",
        "Budgets, by projected share: the first 30",
        "Budgets of products, by projected share: the first 100",
    }


def test_half_idle_is_not_green(every_panel: list[Panel]) -> None:
    """Orange from a fifth, which peaks and failures need; red from a half."""
    for panel in every_panel:
        shown = [(panel["title"], panel["fieldConfig"]["defaults"])]
        if panel["type"] == "table":
            headings = [override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]]
            shown = list(zip(headings, columns(panel), strict=False))
        for title, part in shown:
            if title.startswith("Idle share"):
                values = [(step["value"], step["color"]) for step in part["thresholds"]["steps"]]
                assert values == [(None, "green"), (0.2, "orange"), (0.5, "red")]


def test_a_row_is_as_wide_as_the_screen_and_nothing_overlaps(dashboard: Panel) -> None:
    """Rows of panels fill the 24 columns; a dashboard is about one screen, but for the fleet's four parts."""
    positions = [panel["gridPos"] for panel in dashboard["panels"]]
    cells = [
        (x, y)
        for position in positions
        for x in range(position["x"], position["x"] + position["w"])
        for y in range(position["y"], position["y"] + position["h"])
    ]

    assert len(cells) == len(set(cells))
    assert {x for x, _ in cells} == set(range(24))
    height = max(y for _, y in cells) + 1
    assert len(cells) == 24 * height
    assert height <= (80 if dashboard["uid"] == "inference-cost" else SCREEN + 8)


def test_table_columns_are_renamed_from_the_queries_they_show(every_panel: list[Panel], names: Any) -> None:
    """Each query of a table has one heading, one unit, and the same keys to be merged by."""
    for panel in every_panel:
        if panel["type"] != "table":
            continue
        merge, organize = panel["transformations"]
        headings = organize["options"]["renameByName"]
        several = len(panel["targets"]) > 1  # Grafana calls a column by its query's letter only then
        values = [
            headings[f"Value #{target['refId']}" if several else "Value"] for target in panel["targets"]
        ]

        assert merge["id"] == "merge"
        overrides = panel["fieldConfig"]["overrides"]
        assert values == [override["matcher"]["options"] for override in overrides][: len(values)]
        assert len(columns(panel)) == len(values)
        assert [(target["format"], target["instant"]) for target in panel["targets"]] == [
            ("table", True)
        ] * len(values)
        keys = [name for name in headings if not name.startswith("Value")]
        for target in panel["targets"]:
            assert names.labels(target["expr"]) == set(keys), target["expr"]

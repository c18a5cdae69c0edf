"""The checked-in dashboard: up to date, importable, and honest about units and absence."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
Panel = dict[str, Any]


def test_the_checked_in_json_is_what_the_code_writes() -> None:
    """Whoever changes a query also regenerates the file that users import; compared byte for byte."""
    command = [sys.executable, "dashboards/generate.py", "--check"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_a_stale_file_is_named_and_left_alone(tmp_path: Path) -> None:
    """`--check` says which file is out of date and how to write it, and changes nothing."""
    for file in (ROOT / "dashboards").iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    stale = tmp_path / "inference-cost.json"
    stale.write_text("{}")
    command = [sys.executable, str(tmp_path / "generate.py"), "--check"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert result.returncode == 1
    expected = "dashboards/inference-cost.json is out of date: python dashboards/generate.py\n"
    assert result.stdout == expected
    assert stale.read_text() == "{}"


def test_links_to_the_dashboard_keep_working(dashboard: Panel) -> None:
    """The uid is part of the alerts' annotations, and an id would tie the file to one Grafana."""
    assert dashboard["uid"] == "inference-cost"
    assert dashboard.get("id") is None
    assert dashboard["schemaVersion"] == 41


def test_the_reader_chooses_data_source_cluster_and_servers(dashboard: Panel) -> None:
    """Three variables; "All" also matches series that lack the label."""
    variables = {item["name"]: item for item in dashboard["templating"]["list"]}

    assert list(variables) == ["datasource", "cluster", "server"]
    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == ("datasource", "prometheus")
    for name in ("cluster", "server"):
        assert variables[name]["allValue"] == ".*"
        assert variables[name]["includeAll"]
        assert variables[name]["multi"]


def test_no_panel_is_tied_to_one_data_source(every_panel: list[Panel]) -> None:
    """Panels and queries ask the chosen data source."""
    chosen = {"type": "prometheus", "uid": "${datasource}"}

    for panel in every_panel:
        assert panel["datasource"] == chosen
        assert [target["datasource"] for target in panel["targets"]] == [chosen] * len(panel["targets"])


def test_the_dashboard_answers_the_questions_it_is_for(every_panel: list[Panel]) -> None:
    """Spend now, the month against the budget, the price of tokens, idleness, servers, and trust."""
    assert [panel["title"] for panel in every_panel] == [
        "Spend now, dollars per hour",
        "Fleet overheads, per hour",
        "Month to date",
        "Projected at month end",
        "Of the monthly budget",
        "Idle share, last hour",
        "GPUs without a price",
        "Spend by server, dollars per hour",
        "The month against its budget",
        "Dollars per million tokens by model, last hour",
        "Dollars per million tokens by model, last 24 h",
        "What the money was for",
        "Servers",
        "Hosts",
        "Books residual",
        "Sources failing",
        "GPUs not readable",
        "Failing sources",
        "GPUs without a price, estimated or not readable",
    ]


def test_every_panel_says_what_absence_means(every_panel: list[Panel]) -> None:
    """A blank panel is explained where it is blank."""
    words = re.compile(r"Absent:|A gap:|No row:|No red line:|No `missing`:|An empty")

    assert [panel["title"] for panel in every_panel if not words.search(panel["description"])] == []


def test_no_query_turns_absence_into_zero(every_panel: list[Panel]) -> None:
    """`or vector(0)` would show an unmetered fleet as a free one."""
    queries = [target["expr"] for panel in every_panel for target in panel["targets"]]

    assert [query for query in queries if re.search(r"vector\(|\bor\b", query)] == []
    assert [panel["title"] for panel in every_panel if "noValue" in panel["fieldConfig"]["defaults"]] == []


def test_thresholds_on_money_come_from_the_exported_budget(every_panel: list[Panel]) -> None:
    """Steps are set on shares, counts and the residual; no amount of dollars is written here."""
    for panel in every_panel:
        defaults = panel["fieldConfig"]["defaults"]
        steps = (
            [step["value"] for step in defaults["thresholds"]["steps"]]
            if "thresholds" in defaults
            else [None]
        )

        if defaults.get("unit") == "currencyUSD" and panel["title"] != "Books residual":
            assert steps == [None]
    budget = next(panel for panel in every_panel if panel["title"] == "Of the monthly budget")
    assert budget["fieldConfig"]["defaults"]["unit"] == "percentunit"
    assert all("inference:budget_dollars" in target["expr"] for target in budget["targets"])


UNITS = {
    "currencyUSD": ("dollars",),
    "percentunit": ("dollars",),
    "short": ("gpus", "priced", "up", "info", "errors_total", "missing"),
    "s": ("timestamp_seconds", "seconds_total"),
    "cps": ("tokens_total",),
}
"""Grafana's unit, and what the names of the metrics that feed it may speak of."""


def test_units_match_what_is_asked(every_panel: list[Panel]) -> None:
    """Dollars are shown as dollars, shares of dollars as percent, ages as time, and counts as they are."""
    shown: list[tuple[str, str]] = []
    for panel in every_panel:
        if panel["type"] != "table":
            shown += [
                (panel["fieldConfig"]["defaults"]["unit"], target["expr"]) for target in panel["targets"]
            ]
            continue
        columns = [
            {item["id"]: item["value"] for item in override["properties"]}
            for override in panel["fieldConfig"]["overrides"]
        ]
        pairs = zip(columns, panel["targets"], strict=True)
        shown += [(column["unit"], target["expr"]) for column, target in pairs]

    for unit, expression in shown:
        first = re.findall(r"inference[_:][a-z_:0-9]+", expression)[0]
        assert any(word in first for word in UNITS[unit]), (unit, expression)
        assert (unit == "percentunit") == (" / " in expression and "tokens" not in expression), expression


def test_a_row_is_as_wide_as_the_screen_and_nothing_overlaps(dashboard: Panel) -> None:
    """Rows of panels fill the 24 columns, and the open part fits about one screen."""
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    cells = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]

    assert len(cells) == len(set(cells))
    assert {x for x, _ in cells} == set(range(24))
    height = max(y for _, y in cells) + 1
    assert len(cells) == 24 * height
    assert height <= 26


def test_table_columns_are_renamed_from_the_queries_they_show(every_panel: list[Panel]) -> None:
    """Each query of a table has one heading, one unit, and the same keys to be merged by."""
    for panel in every_panel:
        if panel["type"] != "table":
            continue
        merge, organize = panel["transformations"]
        headings = organize["options"]["renameByName"]
        values = [headings[f"Value #{target['refId']}"] for target in panel["targets"]]

        assert merge["id"] == "merge"
        assert values == [override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]]
        assert [(target["format"], target["instant"]) for target in panel["targets"]] == [
            ("table", True)
        ] * len(values)
        keys = [name for name in headings if not name.startswith("Value #")]
        for target in panel["targets"]:
            (grouped, *rest) = {
                frozenset(labels.split(", ")) for labels in re.findall(r"by \(([^)]*)\)", target["expr"])
            }
            assert rest == []
            assert grouped == set(keys)

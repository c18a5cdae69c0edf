"""The checked-in dashboards: up to date, readable without an explanation, and honest about absence."""

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
    stale = tmp_path / "fleet.json"
    stale.write_text("{}")
    command = [sys.executable, str(tmp_path / "generate.py"), "--check"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert result.returncode == 1
    expected = "dashboards/fleet.json is out of date: python dashboards/generate.py\n"
    assert result.stdout == expected
    assert stale.read_text() == "{}"


FIRST_ROW = {
    "inference-cost": [
        "Spend now, dollars per hour",
        "Month to date",
        "Projected at month end",
        "Of the monthly budgets",
        "Fleet overheads, per hour",
        "Alerts",
    ],
    "inference-cost-chargeback": [
        "Last month",
        "This month so far",
        "Since last month ended",
        "GPUs without a price",
        "Hosts",
        "What last month rests on",
    ],
    "inference-cost-gpus": [
        "GPUs",
        "GPUs not readable",
        "Utilization, mean",
        "Memory in use",
        "Power",
        "Dollars per hour, all components",
    ],
    "inference-cost-meter": [
        "Hosts",
        "Books residual",
        "Sources failing",
        "GPUs without a price",
        "GPUs not readable",
        "Oldest tick",
    ],
    "inference-cost-models": [
        "Dollars per million tokens by model, last 24 h",
        "Ours or hosted, last 24 h",
    ],
    "inference-cost-waste": [
        "Switch off: saves per month",
        "Give back: held by nobody, per month",
        "Repair: down and paid for, per month",
        "Shrink: idle while held, per month",
        "Idle share, last 24 h",
    ],
}


def test_the_first_row_answers_the_question(dashboard: Panel, every_panel: list[Panel]) -> None:
    """Whoever reads only the top of the screen has the answer; what is below says why."""
    first = [panel["title"] for panel in every_panel if panel["gridPos"]["y"] == 0]

    assert first == FIRST_ROW[dashboard["uid"]]


def test_titles_tell_panels_apart(every_panel: list[Panel]) -> None:
    """Two panels of a dashboard are not called the same."""
    titles = [panel["title"] for panel in every_panel]

    assert len(titles) == len(set(titles))


def test_every_panel_says_what_absence_means(every_panel: list[Panel]) -> None:
    """A blank panel is explained where it is blank."""
    words = re.compile(r"Absent:|A gap:|No row:|No red line:|No `missing`:|An empty")

    assert [panel["title"] for panel in every_panel if not words.search(panel["description"])] == []


def test_no_query_turns_absence_into_zero(every_panel: list[Panel]) -> None:
    """`or vector(0)` would show an unmetered fleet as a free one."""
    queries = [target["expr"] for panel in every_panel for target in panel["targets"]]

    assert [query for query in queries if re.search(r"vector\(|\bor\b", query)] == []
    assert [panel["title"] for panel in every_panel if "noValue" in panel["fieldConfig"]["defaults"]] == []


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
    """The steps 80 % and 100 % stand where the query divides by the budget series."""
    budgets = [
        panel
        for board in dashboards.values()
        for panel in board["panels"]
        if (panel["fieldConfig"]["defaults"].get("max"), panel["type"]) == (1.2, "bargauge")
    ]

    assert {panel["title"] for panel in budgets} == {
        "Of the monthly budgets",
        "Of the products' budgets, this month",
    }
    for panel in budgets:
        assert steps(panel) == [("percentunit", [None, 0.8, 1])]
        assert all(target["expr"].startswith("inference:budget_") for target in panel["targets"])


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
        assert values == [override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]]
        assert [(target["format"], target["instant"]) for target in panel["targets"]] == [
            ("table", True)
        ] * len(values)
        keys = [name for name in headings if not name.startswith("Value")]
        for target in panel["targets"]:
            assert names.labels(target["expr"]) == set(keys), target["expr"]

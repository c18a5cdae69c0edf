"""What carries a reader from one dashboard to another: uids, links, variables; and the marks on all."""

import re
from typing import Any

from exporter.exposition.documentation import LABELS

Board = dict[str, Any]

UIDS = {
    "chargeback.json": "inference-cost-chargeback",
    "fleet.json": "inference-cost",
    "gpus.json": "inference-cost-gpus",
    "meter.json": "inference-cost-meter",
    "models.json": "inference-cost-models",
    "waste.json": "inference-cost-waste",
}
VARIABLES = [
    "datasource",
    "cluster",
    "product",
    "team",
    "namespace",
    "server",
    "model",
    "instance",
    "basis",
    "tokens",
]
USED = re.compile(r'"\$(\w+)\|?"')


def test_uids_never_change(dashboards: dict[str, Board]) -> None:
    """Bookmarks and the alerts' annotations hold them, and an id would tie a file to one Grafana."""
    assert {name: board["uid"] for name, board in dashboards.items()} == UIDS
    assert [board.get("id") for board in dashboards.values()] == [None] * len(UIDS)
    assert {board["schemaVersion"] for board in dashboards.values()} == {41}


def test_alerts_lead_to_a_dashboard_that_exists(dashboards: dict[str, Board], rules: list[Board]) -> None:
    """`dashboard` of every alert is the path of one of these."""
    paths = {f"/d/{board['uid']}" for board in dashboards.values()}
    linked = {rule["annotations"]["dashboard"].partition("?")[0] for rule in rules if "alert" in rule}

    assert linked
    assert linked - paths == set()


def test_links_keep_time_and_variables(dashboard: Board, dashboards: dict[str, Board]) -> None:
    """Each dashboard links to all that carry its tag, with what the reader had chosen."""
    (link,) = dashboard["links"]

    assert (link["type"], link["keepTime"], link["includeVars"]) == ("dashboards", True, True)
    assert not link["targetBlank"]
    assert all(set(link["tags"]) <= set(board["tags"]) for board in dashboards.values())


def test_every_dashboard_carries_every_variable(dashboard: Board) -> None:
    """What one of them has no use for survives a visit; "All" also matches series that lack the label."""
    variables = dashboard["templating"]["list"]

    assert [item["name"] for item in variables] == VARIABLES
    assert (variables[0]["type"], variables[0]["query"]) == ("datasource", "prometheus")
    for item in variables:
        assert not item["skipUrlSync"]
        if item["type"] == "query":
            assert (item["allValue"], item["includeAll"], item["multi"]) == (".*", True, True)


def test_a_variable_is_shown_where_it_selects_something(dashboard: Board) -> None:
    """A choice that changes nothing is hidden, and one that changes something is not."""
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    used = {name for query in queries for name in USED.findall(query)}
    shown = {item["name"] for item in dashboard["templating"]["list"] if item.get("hide", 0) == 0}

    assert shown == used | {"datasource"}


def test_basis_and_tokens_are_the_exporters_words(dashboard: Board) -> None:
    """The choices are called as the labels' values, and select what those words mean."""
    variables = {item["name"]: item for item in dashboard["templating"]["list"]}
    chosen = {
        name: {option["text"]: option["value"] for option in variables[name]["options"]}
        for name in ("basis", "tokens")
    }

    assert chosen == {
        "basis": {"full": ".*", "busy": "prefill|decode"},
        "tokens": {"all": ".*", "computed": "prompt|generation"},
    }
    for name, choices in chosen.items():
        assert variables[name]["query"] == ",".join(f"{text} : {value}" for text, value in choices.items())
        assert variables[name]["current"]["value"] == ".*"
        assert not variables[name].get("multi")
    documented = "".join(LABELS[name] for name in ("basis", "kind", "phase"))
    words = {
        word
        for choices in chosen.values()
        for text in (*choices, *choices.values())
        for word in text.split("|")
    }
    assert {word for word in words - {".*"} if word not in documented} == set()


def test_no_panel_is_tied_to_one_data_source(dashboard: Board, every_panel: list[Board]) -> None:
    """Panels, queries, variables and marks ask the chosen data source."""
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    asked = [panel["datasource"] for panel in every_panel]
    asked += [target["datasource"] for panel in every_panel for target in panel["targets"]]
    asked += [item["datasource"] for item in dashboard["templating"]["list"] if item["type"] == "query"]
    asked += [mark["datasource"] for mark in dashboard["annotations"]["list"]]

    assert [source for source in asked if source != chosen] == []


def test_the_time_axis_tells_what_happened(dashboard: Board, names: Any) -> None:
    """Five marks, each of its own color, with a title from labels that its events have."""
    marks = dashboard["annotations"]["list"]

    assert [mark["name"] for mark in marks] == [
        "Prices changed",
        "Configuration changed",
        "Exporter changed",
        "Month began",
        "Alerts",
    ]
    assert len({mark["iconColor"] for mark in marks}) == len(marks)
    for mark in marks:
        assert mark["enable"]
        assert mark["step"] == "60s"
        labels = re.findall(r"{{(\w+)}}", mark["titleFormat"])
        assert labels
        assert [fault for label in labels for fault in names.label_fault(mark["expr"], label)] == []

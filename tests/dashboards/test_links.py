"""What carries a reader from one dashboard to another: uids, links, variables; and the marks on all."""

import re
from pathlib import Path
from typing import Any

from generators.metrics import LABELS

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
    addresses = [rule["annotations"]["dashboard"] for rule in rules if "alert" in rule]
    linked = {match[0] for address in addresses if (match := re.match(r"/d/[a-z-]+", address))}

    assert len(linked) > 1
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
        if (dashboard["uid"], item["name"]) == ("inference-cost-gpus", "instance"):
            assert (item["includeAll"], item["multi"]) == (False, False)
        elif item["type"] == "query":
            assert (item["allValue"], item["includeAll"], item["multi"]) == (".*", True, True)


def test_a_variable_is_shown_where_it_selects_something(dashboard: Board) -> None:
    """A choice that changes nothing is hidden, and one that changes something is not."""
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
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
    datasources = [panel["datasource"] for panel in every_panel]
    datasources += [target["datasource"] for panel in every_panel for target in panel["targets"]]
    datasources += [item["datasource"] for item in dashboard["templating"]["list"] if item["type"] == "query"]
    datasources += [mark["datasource"] for mark in dashboard["annotations"]["list"]]

    assert [source for source in datasources if source != chosen] == []


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


ROOT = Path(__file__).parents[2]
RUNBOOK = "https://git.example/inference-cost-exporter/blob/main/docs/runbooks/${__data.fields.alertname:percentencode}.md"
LABEL = re.compile(r"\$\{__(?:data\.fields|field\.labels)\.(\w+):percentencode\}")


def data_links(panel: Board) -> list[tuple[str, Board]]:
    """Each link of a panel, with the column that has it; of what is no table the column is empty."""
    located = [("", link) for link in panel["fieldConfig"]["defaults"].get("links") or ()]
    for override in panel["fieldConfig"]["overrides"]:
        for item in override["properties"]:
            if item["id"] == "links":
                located += [(override["matcher"]["options"], link) for link in item["value"]]
    return located


def target_of(url: str) -> tuple[str, dict[str, str]]:
    """The dashboard that an address leads to, and the variables that it chooses."""
    path, _, query = url.partition("?")
    chosen = dict(part.partition("=")[::2] for part in query.split("&") if part.startswith("var-"))
    return path.removeprefix("/d/"), chosen


def test_every_row_and_line_leads_on(every_panel: list[Board]) -> None:
    """A panel whose series are servers, products, models, clusters, hosts, GPUs or alerts has links."""
    lasting = {"server", "product", "model", "cluster", "instance", "uuid", "alertname", "budget"}
    without = []
    for panel in every_panel:
        linked = {column for column, _ in data_links(panel)}
        if panel["type"] == "table":
            organized = panel["transformations"][1]["options"]
            order = sorted(organized["renameByName"], key=organized["indexByName"].get)
            first = next(name for name in order if name in lasting)
            if organized["renameByName"][first] not in linked:
                without.append(panel["title"])
        elif panel["type"] in {"timeseries", "bargauge"}:
            legends = " ".join(target["legendFormat"] for target in panel["targets"])
            labels = set(re.findall(r"{{(\w+)}}", legends))
            if labels & (lasting - {"budget"}) and not linked:
                without.append(panel["title"])

    assert without == []


def test_data_links_lead_to_dashboards_and_variables_that_exist(
    dashboards: dict[str, Board], every_panel: list[Board], names: Any
) -> None:
    """An address names one of these, and variables that select something there, from labels of the row."""
    shown = {
        board["uid"]: {item["name"] for item in board["templating"]["list"] if item.get("hide", 0) == 0}
        for board in dashboards.values()
    }
    for panel in every_panel:
        labels = (
            set(panel["transformations"][1]["options"]["renameByName"]) if panel["type"] == "table" else set()
        )
        if panel["type"] != "table":
            labels = set().union(*(names.labels(target["expr"]) for target in panel["targets"]))
        for column, link in data_links(panel):
            url = link["url"]
            assert link["title"]
            assert set(LABEL.findall(url)) <= labels, (panel["title"], column, url)
            if url == RUNBOOK:
                continue
            uid, chosen = target_of(url)
            if uid.startswith("$"):
                assert uid == "${__data.fields.board:percentencode}"
            else:
                assert set(chosen) <= {f"var-{name}" for name in shown[uid]}, (panel["title"], url)
            assert "${datasource:queryparam}&${__url_time_range}" in url
            assert all(
                LABEL.fullmatch(value) and name == f"var-{LABEL.findall(value)[0]}"
                for name, value in chosen.items()
            )


def test_an_alert_leads_to_its_runbook_and_to_its_dashboard(
    dashboards: dict[str, Board], rules: list[Board]
) -> None:
    """The query gives each alert the uid that its rule names, and its runbook has the alert's name."""
    (panel,) = [panel for panel in dashboards["fleet.json"]["panels"] if panel["title"] == "Alerts"]
    links: dict[str, list[str]] = {}
    for column, link in data_links(panel):
        links.setdefault(column, []).append(link["url"])
    (target,) = panel["targets"]
    named = {
        alert: uid
        for uid, alerts in re.findall(r'"board", "([\w-]+)", "alertname", "([\w|]+)"', target["expr"])
        for alert in alerts.split("|")
    }
    alerts = {
        rule["alert"]: re.sub(r"^/d/([a-z-]+).*", r"\1", rule["annotations"]["dashboard"])
        for rule in rules
        if "alert" in rule
    }

    assert RUNBOOK in links["Alert"]
    assert any(url.startswith("/d/${__data.fields.board") for url in links["Dashboard"])
    assert named == alerts
    assert [alert for alert in alerts if not (ROOT / "docs" / "runbooks" / f"{alert}.md").is_file()] == []


def test_months_and_days_are_in_one_time_zone(dashboard: Board) -> None:
    """Colleagues in other time zones see the same days, which are those of the exporter's default."""
    assert dashboard["timezone"] == "utc"


def test_what_is_asked_again_is_bearable(dashboard: Board) -> None:
    """A minute where something is watched, five where nothing changes sooner; choices once."""
    watched = {"inference-cost", "inference-cost-gpus", "inference-cost-meter"}

    assert dashboard["refresh"] == ("1m" if dashboard["uid"] in watched else "5m")
    assert {item["refresh"] for item in dashboard["templating"]["list"] if item["type"] == "query"} == {1}

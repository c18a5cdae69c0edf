"""No dashboard, rule or runbook uses a name or a label that the table of metrics does not have."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
REPLICA = re.compile(r',?prometheus_replica="\d"')
"""An external label, added by Prometheus to what it sends on; only the tests of the rules show it."""


def test_every_query_of_a_dashboard_uses_names_that_exist(
    names: Any, every_panel: list[dict[str, Any]]
) -> None:
    """A panel asks for metrics, recorded names and labels that somebody exports."""
    queries = [target["expr"] for panel in every_panel for target in panel["targets"]]

    assert len(queries) > 8
    assert {query: names.faults(query) for query in queries if names.faults(query)} == {}


def test_every_annotation_uses_names_that_exist(names: Any, dashboard: dict[str, Any]) -> None:
    """A mark on the time axis comes from a metric that somebody exports."""
    queries = [mark["expr"] for mark in dashboard["annotations"]["list"]]

    assert {query: names.faults(query) for query in queries if names.faults(query)} == {}


def test_every_variable_asks_for_labels_that_exist(
    names: Any, dashboard: dict[str, Any], variable_query: Callable[[str], tuple[str, str]]
) -> None:
    """The choices of a variable come from a label that its metric has."""
    queries = [item["query"] for item in dashboard["templating"]["list"] if item["type"] == "query"]

    assert queries
    assert [fault for query in queries for fault in names.label_fault(*variable_query(query))] == []


def test_every_rule_uses_names_that_exist(names: Any, rules: list[dict[str, Any]]) -> None:
    """A rule on a metric that nothing emits never fires, and nobody notices."""
    assert {rule["expr"]: names.faults(rule["expr"]) for rule in rules if names.faults(rule["expr"])} == {}


def test_every_query_of_a_notification_uses_names_that_exist(names: Any, rules: list[dict[str, Any]]) -> None:
    """A label that a record does not have would leave "None is known" in the notification, at night."""
    words = [
        text
        for rule in rules
        for text in (*rule.get("annotations", {}).values(), *rule.get("labels", {}).values())
    ]
    queries = {
        query.replace("%q", '"x"')
        for text in words
        for query in re.findall(r"(?:query|printf) `(.*?)`", text)
        if "ALERTS_FOR_STATE" not in query
    }

    assert len(queries) > 15
    assert {query: names.faults(query) for query in queries if names.faults(query)} == {}


def test_since_when_asks_for_labels_that_the_alert_has(names: Any, rules: list[dict[str, Any]]) -> None:
    """Prometheus keeps the beginning of an alert under its labels; another one would find nothing."""
    for rule in rules:
        if "alert" in rule:
            labels_asked = set(re.findall(r"(\w+)=%q", rule["annotations"]["since"]))

            assert [fault for label in labels_asked for fault in names.label_fault(rule["expr"], label)] == []


def test_the_rules_are_tested_on_series_that_exist(names: Any) -> None:
    """A rule proven on a label that the exporter does not have proves nothing."""
    files = sorted((ROOT / "deploy" / "prometheus").glob("*_test.yml"))
    cases = [case for file in files for case in yaml.safe_load(file.read_text())["tests"]]
    series = {REPLICA.sub("", item["series"]) for case in cases for item in case["input_series"]}

    assert {text: names.faults(text) for text in series if names.faults(text)} == {}


def test_every_query_of_a_runbook_uses_names_that_exist(names: Any) -> None:
    """Whoever pastes a query from a runbook at night gets an answer."""
    texts = [page.read_text() for page in sorted((ROOT / "docs" / "runbooks").glob("*.md"))]
    queries = [span for text in texts for span in re.findall(r"`([^`]*inference[_:][^`]*)`", text)]

    assert queries
    assert {query: names.faults(query) for query in queries if names.faults(query)} == {}


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("inference_cost_dollar_total", "no metric inference_cost_dollar_total"),
        ("inference:month_to_date", "no metric inference:month_to_date"),
        ('inference_tokens_total{phase="idle"}', "inference_tokens_total has no label phase"),
        (
            "rate(inference_tokens_total{gpu=~'$server'}[$__rate_interval])",
            "inference_tokens_total has no label gpu",
        ),
        ("sum by (component) (inference_tokens_total)", "nothing below sum has a label component"),
        ("sum without (uuid) (inference_tokens_total)", "nothing below sum has a label uuid"),
        ("sum by (model) (sum by (server) (inference_tokens_total))", "nothing below sum has a label model"),
        ("inference_tokens_total / on (uuid) inference_requests_total", "one side of / has no label uuid"),
        (
            "inference_gpu_up * on (uuid) group_left (pod) inference_gpu_info",
            "one side of * has no label pod",
        ),
        ('inference:cost_dollars:rate5m{server="x"}', "inference:cost_dollars:rate5m has no label server"),
        ("max_over_time(inference_gpu_upp[1h:1m])", "no metric inference_gpu_upp"),
        ("inference_gpu_up and on (cluster) (-inference_gpu_x)", "no metric inference_gpu_x"),
    ],
)
def test_a_wrong_name_is_found_wherever_it_stands(names: Any, query: str, fault: str) -> None:
    """Selectors, matchers, aggregations, joins, subqueries and recorded names are all looked into."""
    assert fault in names.faults(query)


@pytest.mark.parametrize(
    "query",
    [
        'sum by (node, server) (rate(inference_cost_dollars_total{phase="idle",cluster=~"$cluster"}[5m]))',
        "inference_gpu_up * on (uuid, instance) group_left (gpu) inference_gpu_info",
        "inference:month_to_date_dollars / on () group_left () min(inference:budget_dollars{product=''})",
        'sum by (model) (inference:cost_dollars_per_million_tokens:1h{cluster=~"$cluster"})',
    ],
)
def test_a_right_name_is_left_alone(names: Any, query: str) -> None:
    """Labels of a metric, of a target, carried over by a join or left by a recording rule are no faults."""
    assert names.faults(query) == []


def test_a_query_that_does_not_parse_is_an_error(names: Any) -> None:
    """A typo in the syntax is not taken for a query without names."""
    with pytest.raises(ValueError, match=r".+"):
        names.faults("sum by (model (inference_tokens_total)")

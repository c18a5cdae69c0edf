"""Which labels an expression may use: derived from the one table of metrics, through rules and operators."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml

from exporter.metrics.table import METRICS

ROOT = Path(__file__).parents[2]
TARGET_LABELS = frozenset({"cluster", "exported_namespace", "instance", "job", "node"})
"""Set by whoever scrapes; no metric of ours has them."""
FOREIGN = {
    "kube_node_info": frozenset({"node"}),
    "kube_node_status_capacity": frozenset({"node", "resource", "unit"}),
    "up": frozenset[str](),
    "process_cpu_seconds_total": frozenset[str](),
    "process_resident_memory_bytes": frozenset[str](),
    "process_start_time_seconds": frozenset[str](),
}
"""Of kube-state-metrics: the nodes, and those with GPUs; what Prometheus says of each target, and what its
client library of each process."""
ALERTS = frozenset({"cluster", "product", "alertname", "alertstate", "severity"})
"""Labels of Prometheus's own series of alerts, as far as ours have them."""
SENT_ON = {"inference:cluster_heartbeat_timestamp_seconds": frozenset({"cluster"})}
"""Has no label where it is recorded; the external label of its Prometheus comes on the way."""
IMPORTED = ("ledger", "")
"""Label and value of a selector that leaves out records of `history`, which have a ledger of their own."""
CHOOSING = ("topk", "bottomk")
"""Aggregations that keep series as they are."""
FILES = sorted((ROOT / "dashboards").glob("*.json"))

GRAFANA = (
    (re.compile(r"\$__(rate_interval|interval|range)"), "5m"),
    (re.compile(r"\$\{?[a-z]+(:[a-z]+)?\}?"), "x"),
)
"""Macros first: durations; then variables, which stand in label matchers only."""

ALL_LABELS = re.compile(r"label_values\((?P<selector>.*), (?P<label>\w+)\)")


class Names:
    """The names that exist: metrics of the table, and what the rules record with the labels that remain."""

    def __init__(self, metrics: dict[str, frozenset[str]], rules: dict[str, str]) -> None:
        self._labels = metrics | dict.fromkeys(rules, frozenset()) | SENT_ON
        before = None
        while before != self._labels:  # rules remember each other's last values: until no label is added
            before = dict(self._labels)
            for name, expression in rules.items():
                self._labels[name] |= self._flow(promql.parse(expression), [])

    def faults(self, expression: str) -> list[str]:
        """Name each metric and label of a query that exists nowhere. Raises where it does not parse."""
        for pattern, value in GRAFANA:
            expression = pattern.sub(value, expression)
        faulty: list[str] = []
        self._flow(promql.parse(expression), faulty)
        return faulty

    def labels(self, expression: str) -> frozenset[str]:
        """The labels that a query's series may carry."""
        for pattern, value in GRAFANA:
            expression = pattern.sub(value, expression)
        return self._flow(promql.parse(expression), [])

    def label_fault(self, expression: str, label: str) -> list[str]:
        """The same of `label_values(expression, label)`."""
        return self.faults(f"group by ({label}) ({expression})")

    def _flow(self, node: Any, faulty: list[str]) -> frozenset[str]:
        """The labels that the node's value may carry; what is wrong below it goes to `found`."""
        match node:
            case promql.VectorSelector():
                return self._selector(node, faulty)
            case promql.MatrixSelector():
                return self._selector(node.vector_selector, faulty)
            case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
                return self._flow(node.expr, faulty)
            case promql.Call() if node.func.name == "label_replace":
                return self._flow(node.args[0], faulty) | {node.args[1].val}
            case promql.Call():
                return frozenset().union(*(self._flow(argument, faulty) for argument in node.args))
            case promql.AggregateExpr():
                return self._aggregation(node, faulty)
            case promql.BinaryExpr():
                return self._operation(node, faulty)
        return frozenset()

    def _selector(self, node: Any, faulty: list[str]) -> frozenset[str]:
        """Of one metric; or of several that a pattern names, each label of which some of them have."""
        matchers = [matcher for matcher in node.matchers.matchers if matcher.name != "__name__"]
        name = node.name
        several = [m.value.split("|") for m in node.matchers.matchers if m.name == "__name__"]
        labels: frozenset[str] = frozenset()
        for each in several[0] if several and name is None else [name]:
            own = self._labels.get(each)
            if own is None:
                faulty.append(f"no metric {each}")
                return frozenset()
            labels |= own if ":" in each else own | TARGET_LABELS
        faulty.extend(
            f"{name} has no label {m.name}"
            for m in matchers
            if m.name not in labels and not (":" in name and (m.name, m.value) == IMPORTED)
        )
        return labels

    def _aggregation(self, node: Any, faulty: list[str]) -> frozenset[str]:
        inner = self._flow(node.expr, faulty)
        if str(node.op) in CHOOSING:
            return inner
        if node.modifier is None:
            return frozenset()
        named = frozenset(node.modifier.labels)
        faulty.extend(f"nothing below {node.op} has a label {label}" for label in sorted(named - inner))
        return named & inner if node.modifier.type == promql.AggModifierType.By else inner - named

    def _operation(self, node: Any, faulty: list[str]) -> frozenset[str]:
        sides = self._flow(node.lhs, faulty), self._flow(node.rhs, faulty)
        left, right = sides
        operator = str(node.op)
        matching = node.modifier.matching if node.modifier is not None else None
        card = str(node.modifier.card) if node.modifier is not None else ""
        if matching is not None:
            for side in sides:
                absent = sorted(frozenset(matching.labels) - side)
                faulty.extend(f"one side of {operator} has no label {label}" for label in absent)
        if operator == "or":
            return left | right
        if operator in {"and", "unless"}:
            return left
        many, one = (right, left) if card.endswith("OneToMany") else (left, right)
        if card.endswith(("OneToMany", "ManyToOne")):
            carried = frozenset(node.modifier.group_labels or ())
            faulty.extend(f"one side of {operator} has no label {label}" for label in sorted(carried - one))
            return many | carried
        if matching is not None and matching.type == promql.LabelModifierType.Include:
            return frozenset(matching.labels)
        return left or right


@pytest.fixture(scope="session")
def rules() -> list[dict[str, Any]]:
    files = sorted((ROOT / "deploy" / "prometheus").glob("*rules.yml"))
    groups = [
        group for file in files for group in yaml.load(file.read_text(), Loader=yaml.CSafeLoader)["groups"]
    ]
    return [rule for group in groups for rule in group["rules"]]


@pytest.fixture(scope="session")
def names(rules: list[dict[str, Any]]) -> Names:
    return Names(
        {metric.name: frozenset(metric.labels) for metric in METRICS} | FOREIGN | {"ALERTS": ALERTS},
        {rule["record"]: rule["expr"] for rule in rules if "record" in rule},
    )


@pytest.fixture(scope="session", params=FILES, ids=lambda file: file.stem)
def dashboard(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Each of the checked-in dashboards."""
    return dict(json.loads(request.param.read_text()))


@pytest.fixture(scope="session")
def dashboards() -> dict[str, dict[str, Any]]:
    """All of them, by file name."""
    return {file.name: json.loads(file.read_text()) for file in FILES}


@pytest.fixture(scope="session")
def every_panel(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """All panels, those inside a collapsed row included, rows themselves left out."""

    def every_panel(panels: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for panel in panels:
            if panel["type"] == "row":
                yield from every_panel(panel["panels"])
            else:
                yield panel

    return list(every_panel(dashboard["panels"]))


@pytest.fixture(scope="session")
def variable_query() -> Callable[[str], tuple[str, str]]:
    """Split `label_values(selector, label)`, the only form of query that our variables have."""

    def split(query: str) -> tuple[str, str]:
        parts = ALL_LABELS.fullmatch(query)
        assert parts is not None, query
        return parts["selector"], parts["label"]

    return split

"""The unit that a panel shows is the one that its query yields, reckoned from the names of its metrics."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import promql_parser as promql
import pytest

from tests.dashboards.conftest import GRAFANA

Panel = dict[str, Any]
Dimension = Mapping[str, int]
"""Powers of dollar, token, joule, byte, second and thing, without those of 0. Hours are seconds: no scale."""

NONE: Dimension = MappingProxyType({})
THING: Dimension = MappingProxyType({"thing": 1})
SUFFIXES: tuple[tuple[str, Dimension], ...] = (
    ("hours_per_month", NONE),
    ("dollars_per_million_tokens", {"dollar": 1, "token": -1}),
    ("dollars_per_hour", {"dollar": 1, "second": -1}),
    ("dollars_per_month", {"dollar": 1, "second": -1}),
    ("dollars", {"dollar": 1}),
    ("tokens", {"token": 1}),
    ("joules", {"joule": 1}),
    ("watts", {"joule": 1, "second": -1}),
    ("bytes", {"byte": 1}),
    ("seconds", {"second": 1}),
    ("hours", {"second": 1}),
    ("ratio", NONE),
)
"""What the name of a metric ends in, `_total` left out; what ends otherwise counts things."""

SHOWN: dict[str, tuple[Dimension, ...]] = {
    "currencyUSD": (
        {"dollar": 1},
        {"dollar": 1, "second": -1},
        {"dollar": 1, "second": -1, "thing": -1},
        {"dollar": 1, "token": -1},
    ),
    "percentunit": (NONE,),
    "locale": (THING,),
    "short": (THING, {"token": 1, "second": -1}, {"thing": 1, "second": -1}),
    "s": ({"second": 1},),
    "h": ({"second": 1},),
    "time:YYYY-MM-DD": ({"second": 1},),
    "time:YYYY-MM-DD HH:mm": ({"second": 1},),
    "bytes": ({"byte": 1},),
    "watt": ({"joule": 1, "second": -1},),
}
"""Grafana's unit, and what may be shown in it. Of dollars and of rates the title says per what."""

COUNTED = ("count", "group")
KEEPS_UNIT = ("sum", "avg", "min", "max", "topk", "bottomk")
PER_SECOND = ("rate", "irate")
UNCHANGED = ("increase", "abs", "last_over_time", "avg_over_time", "max_over_time")


def of_metric(name: str) -> Dimension:
    """The unit that a metric or a recorded name speaks of."""
    _, quantity, level = [*name.split(":"), ""][:3] if ":" in name else ("", name, "")
    rule = next(
        (unit for end, unit in SUFFIXES if quantity.removesuffix("_total").endswith(f"_{end}")), THING
    )
    if level.endswith("ratio"):
        return NONE
    if quantity.endswith("_gpus"):  # GPU time a second
        return THING
    return product(rule, {"second": -1}, 1) if level.startswith("rate") else rule


def product(left: Dimension, right: Dimension, sign: int) -> Dimension:
    """Of two units; with -1 their quotient."""
    powers = {unit: left.get(unit, 0) + sign * right.get(unit, 0) for unit in {*left, *right}}
    return {unit: power for unit, power in powers.items() if power}


def dimension(node: Any) -> Dimension:
    """The unit of a node's value. Raises where what is added or compared is not alike."""
    match node:
        case promql.NumberLiteral():
            return NONE
        case promql.VectorSelector():
            return of_metric(node.name)
        case promql.MatrixSelector():
            return of_metric(node.vector_selector.name)
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            return dimension(node.expr)
        case promql.AggregateExpr():
            operator = str(node.op)
            if operator in COUNTED:
                return THING
            assert operator in KEEPS_UNIT, operator
            return dimension(node.expr)
        case promql.Call():
            return of_call(node)
        case promql.BinaryExpr():
            return of_operation(node)
    raise AssertionError(f"{node} has no unit")


def of_call(node: Any) -> Dimension:
    """Of a function; `time` and the timestamps that it is compared with are seconds."""
    name = node.func.name
    if name == "time":
        return {"second": 1}
    if name == "label_replace":
        return dimension(node.args[0])
    (argument,) = node.args
    if name in PER_SECOND:
        return product(dimension(argument), {"second": -1}, 1)
    assert name in UNCHANGED, name
    return dimension(argument)


def of_operation(node: Any) -> Dimension:
    """Of two sides; a bare number is added to, and compared with, anything."""
    left, right = dimension(node.lhs), dimension(node.rhs)
    operator = str(node.op)
    if operator in {"*", "/"}:
        return product(left, right, 1 if operator == "*" else -1)
    if operator in {"and", "unless"}:
        return left
    if isinstance(node.lhs, promql.NumberLiteral):
        return right
    if not isinstance(node.rhs, promql.NumberLiteral):
        assert left == right, f"{left} {operator} {right}"
    return left


def unit_of(query: str) -> Dimension:
    """The unit that a query yields."""
    for pattern, value in GRAFANA:
        query = pattern.sub(value, query)
    return dict(dimension(promql.parse(query)))


def test_units_are_those_of_the_metrics(every_panel: list[Panel]) -> None:
    """Dollars are shown as dollars, shares as percent, ages as time, and counts as they are."""
    shown: list[tuple[str, str]] = []
    for panel in every_panel:
        units = [panel["fieldConfig"]["defaults"].get("unit")] * len(panel["targets"])
        if panel["type"] == "table":
            units = [
                item["value"]
                for override in panel["fieldConfig"]["overrides"]
                for item in override["properties"]
                if item["id"] == "unit"
            ]
        shown += [(unit, target["expr"]) for unit, target in zip(units, panel["targets"], strict=True)]

    assert shown
    assert [(unit, query) for unit, query in shown if unit_of(query) not in SHOWN[unit]] == []


def test_titles_say_per_what_dollars_are(every_panel: list[Panel]) -> None:
    """A rate in dollars says per hour or per month in its title, and a price per million tokens."""
    words = {
        "second": re.compile(r"per hour|an hour|per month|Spend now"),
        "token": re.compile(r"per million"),
    }
    for panel in every_panel:
        titles = [panel["title"]] * len(panel["targets"])
        if panel["type"] == "table":
            overrides = panel["fieldConfig"]["overrides"][: len(panel["targets"])]
            headings = [override["matcher"]["options"] for override in overrides]
            titles = [f"{panel['title']}: {heading}" for heading in headings]
        for title, target in zip(titles, panel["targets"], strict=True):
            unit = unit_of(target["expr"])
            for base, pattern in words.items():
                if "dollar" in unit and base in unit:
                    assert pattern.search(title), (title, unit)
            if unit.get("second") == -1 and not {"dollar", "joule"} & set(unit):
                assert re.search(r"per second|per hour", title), (title, unit)


def test_dates_are_in_milliseconds(every_panel: list[Panel]) -> None:
    """As Grafana's units of time take them; Prometheus has seconds."""
    for panel in every_panel:
        units = [panel["fieldConfig"]["defaults"].get("unit")] * len(panel["targets"])
        if panel["type"] == "table":
            units = [
                item["value"]
                for override in panel["fieldConfig"]["overrides"]
                for item in override["properties"]
                if item["id"] == "unit"
            ]
        for unit, target in zip(units, panel["targets"], strict=True):
            assert target["expr"].startswith("1000 * ") == unit.startswith("time:"), target["expr"]


@pytest.mark.parametrize(
    ("query", "unit"),
    [
        ("sum(rate(inference_gpu_energy_joules_total[5m]))", {"joule": 1, "second": -1}),
        ("time() - max by (source) (inference_source_last_success_timestamp_seconds)", {"second": 1}),
        ("sum(1 - inference_gpu_priced)", {"thing": 1}),
        ("1e6 * sum(inference_cost_dollars_total) / sum(inference_tokens_total)", {"dollar": 1, "token": -1}),
        ("inference:cost_dollars:rate5m", {"dollar": 1, "second": -1}),
        (
            "sum(inference:waste_dollars_per_hour) * on () group_left () inference:fleet_hours_per_month",
            {"dollar": 1, "second": -1},
        ),
        ("topk(3, inference:month_unmetered_hours)", {"second": 1}),
        ("inference:cost_dollars_per_million_tokens:1h", {"dollar": 1, "token": -1}),
        ("sum(inference_gpu_memory_used_bytes) / sum(inference_gpu_memory_total_bytes)", {}),
        ("count(inference_gpu_up == 0)", {"thing": 1}),
    ],
)
def test_units_are_reckoned_through_operators(query: str, unit: dict[str, int]) -> None:
    """Worked by hand: rates, ages, complements, prices, recorded rates, shares and counts."""
    assert unit_of(query) == unit


def test_dollars_and_tokens_are_not_added() -> None:
    """What is not alike is found out."""
    with pytest.raises(AssertionError, match="dollar"):
        unit_of("sum(inference_cost_dollars_total) + sum(inference_tokens_total)")

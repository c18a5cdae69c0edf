"""The rows of a table's queries become one row each: nothing but their keys may tell them apart."""

from typing import Any

import promql_parser as promql
import pytest

from tests.dashboards.conftest import GRAFANA

KEEPING = ("last_over_time", "sort", "sort_desc")
"""Functions whose series keep their names."""
ARITHMETIC = ("+", "-", "*", "/", "%", "^")


def named(node: Any) -> bool:
    """Whether a query's series carry the name of a metric, which Grafana shows as a column."""
    match node:
        case promql.VectorSelector():
            return True
        case promql.ParenExpr():
            return named(node.expr)
        case promql.Call():
            return str(node.func.name) in KEEPING
        case promql.BinaryExpr():
            if str(node.op) in ARITHMETIC:
                return False
            return named(node.lhs) or (str(node.op) == "or" and named(node.rhs))
    return False


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("inference_gpu_up", True),
        ("inference_gpu_up > 0", True),
        ("last_over_time(inference:server_unpriced[70m])", True),
        ("(inference_gpu_up) and on (uuid) inference_gpu_priced", True),
        ("sum by (uuid) (inference_gpu_up) or inference_gpu_up", True),
        ("sum by (uuid) (inference_gpu_up)", False),
        ("1 - inference_gpu_up", False),
        ("rate(inference_tokens_total[5m])", False),
        ("sum by (uuid) (inference_gpu_up) unless inference_gpu_up", False),
    ],
)
def test_which_queries_keep_a_name(expression: str, *, expected: bool) -> None:
    """As Prometheus does it: aggregation, arithmetic and most functions drop the name."""
    assert named(promql.parse(expression)) is expected


def test_no_query_of_a_table_keeps_the_name_of_its_metric(every_panel: list[dict[str, Any]]) -> None:
    """Two queries with names would never share a row, and the name would be a column of its own."""
    faults = []
    for panel in every_panel:
        for target in panel["targets"] if panel["type"] == "table" else ():
            expression = target["expr"]
            for pattern, value in GRAFANA:
                expression = pattern.sub(value, expression)
            if named(promql.parse(expression)):
                faults.append((panel["title"], target["expr"]))

    assert faults == []

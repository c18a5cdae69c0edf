"""The queries of the dashboards as Grafana sends them, and Prometheus's own engine to ask them."""

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
RULES = sorted((ROOT / "deploy" / "prometheus").glob("*rules.yml"))

CLUSTER_RULES = [file for file in RULES if file.stem == "cluster-rules"]
"""Without those of the place that sees all clusters, whose records a test writes itself."""

Samples = Mapping[str, float]
"""By labels, like `{server="chat"}`: what a query yields."""


@dataclass(frozen=True, slots=True)
class Check:
    """What an expression yields at a minute; `name` says whose it is."""

    name: str
    expr: str
    minute: int
    samples: Samples


def filled(query: str, board: dict[str, Any]) -> Iterator[str]:
    """A query with everything selected, once for each choice of basis and tokens, the default first."""
    query = query.replace("$__rate_interval", "5m")
    variables = board["templating"]["list"]
    for item in variables:
        if item["type"] == "query":
            query = query.replace(f"${item['name']}", item.get("allValue", ".*"))
    choices = {
        item["name"]: [option["value"] for option in item["options"]]
        for item in variables
        if item["type"] == "custom"
    }
    for values in itertools.product(*choices.values()):
        text = query
        for name, value in zip(choices, values, strict=True):
            text = text.replace(f"${name}", value)
        assert "$" not in text, text
        yield text


def queries_by_board() -> dict[str, list[str]]:
    """The queries of all panels and marks, by dashboard, panel, and heading or legend (none: the panel)."""
    by_name: dict[str, list[str]] = {}
    for file in sorted((ROOT / "dashboards").glob("*.json")):
        board = json.loads(file.read_text())
        named = [(f"mark: {mark['name']}", mark["expr"]) for mark in board["annotations"]["list"]]
        for panel in (panel for panel in board["panels"] if panel["type"] != "row"):
            headings = [override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]]
            for number, target in enumerate(panel["targets"]):
                name = headings[number] if panel["type"] == "table" else target["legendFormat"]
                alone = len(panel["targets"]) == 1 and panel["type"] != "table"
                title = f"{file.stem}: {panel['title']}"
                named.append((title if alone else f"{title}: {name}", target["expr"]))
        for name, query in named:
            queries = list(dict.fromkeys(filled(query, board)))
            assert by_name.setdefault(name, queries) == queries, name
    return by_name


def close(name: str, query: str, minute: int, samples: Samples) -> Iterator[Check]:
    """Checks that a query yields these samples and none beside."""
    yield Check(name, f"count({query})", minute, {"{}": len(samples)} if samples else {})
    for value in set(samples.values()):
        # promtool compares exactly and a rate is not exact: what is close enough becomes 0
        near = f"0 * (abs(({query}) - {value!r}) < {1e-9 * max(1, abs(value))!r})"
        yield Check(name, near, minute, {labels: 0 for labels in samples if samples[labels] == value})


def wrong(
    promtool: Any,
    file: Path,
    series: Mapping[str, str],
    checks: Iterable[Check],
    loaded: Sequence[Path] = RULES,
) -> list[str]:
    """Whose checks fail, with rules loaded and a minute between samples; `file` is written."""
    groups = [
        group["name"]
        for rules in loaded
        for group in yaml.load(rules.read_text(), Loader=yaml.CSafeLoader)["groups"]
    ]
    results = list(checks)
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": check.expr,
                "eval_time": f"{check.minute}m",
                "exp_samples": [
                    {"labels": labels, "value": value} for labels, value in check.samples.items()
                ],
            }
            for check in results
        ],
    }
    file.write_text(
        json.dumps(
            {
                "rule_files": [str(rules) for rules in loaded],
                "evaluation_interval": "5m",  # a fifth of the work; no name asked for counts minutes
                "group_eval_order": sorted(groups, key=lambda name: name.startswith("inference-alerts")),
                "tests": [test],
            }
        )
    )
    result = promtool("test", "rules", str(file))
    output = result.stdout + result.stderr
    failed = [check.name for check in results if json.dumps(check.expr, ensure_ascii=False) in output]
    assert bool(failed) == (result.returncode != 0), output
    print(output)  # pytest shows it where the names are not enough
    return list(dict.fromkeys(failed))

"""Groups of rules that every engine evaluates alike: Prometheus, Thanos, Mimir, and vmalert."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / "deploy" / "prometheus"

MOST_RULES: Final = 20
"""`-ruler.max-rules-per-rule-group` of Mimir, unless it is configured."""
MOST_GROUPS: Final = 70
"""`-ruler.max-rule-groups-per-tenant` of Mimir, unless it is configured."""
LOOKBACK_SECONDS: Final = 240
"""What is written less often may be too old for an instant selector, which sees the last five minutes."""
LONGEST_CHAIN: Final = 6
"""vmalert shows a rule the earlier ones of its group one evaluation later, so a chain takes its time."""

UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
NAME: Final = re.compile(r"inference:[\w:]+")
READ: Final = re.compile(r"(inference:[\w:]+)(?:\{[^}]*\})?(?:\[([\dsmhdw]+)\])?")
RATE: Final = re.compile(
    r"\b(?:rate|increase|delta|deriv|irate|idelta|predict_linear)\(\s*\w[\w:]*(?:\{[^}]*\})?\[(\w+)\]"
)
OVER_TIME: Final = re.compile(r"(?:sum|avg)_over_time\((inference:[\w:]+)(?:\{[^}]*\})?\[\w+\]\)")
UNLIKE: Final = re.compile(
    r"\b(?:changes|resets|absent_over_time|holt_winters|double_exponential_smoothing)\("
)
"""Functions that count a series' first sample, or that engines define in different ways."""
METRICSQL: Final = re.compile(r"\b(?:default|if|ifnot|keep_metric_names|WITH)\b")
QUOTED: Final = re.compile(r'"(?:\\.|[^"\\])*"')


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule with its group."""

    group: str
    interval: int
    """Seconds."""
    name: str
    records: bool
    expr: str
    queries: tuple[str, ...]
    """All PromQL of it: the expression, and what labels and annotations ask."""


def seconds(duration: str) -> int:
    """Of a duration such as 1d or 1h30m."""
    return sum(int(number) * UNITS[unit] for number, unit in re.findall(r"(\d+)([smhdw])", duration))


def templates(rule: dict[str, Any]) -> Iterator[str]:
    """The queries of a rule's labels and annotations."""
    for text in (*rule.get("labels", {}).values(), *rule.get("annotations", {}).values()):
        yield from re.findall(r"\{\{(.*?)\}\}", text)


def panels(part: object) -> Iterator[str]:
    """The queries of a dashboard's panels and marks."""
    if isinstance(part, list):
        for item in part:
            yield from panels(item)
    elif isinstance(part, dict):
        for key, value in part.items():
            if key == "expr" and isinstance(value, str):
                yield value
            yield from panels(value)


@pytest.fixture(scope="module")
def groups() -> list[dict[str, Any]]:
    files = ("cluster-rules.yml", "fleet-rules.yml")
    return [group for name in files for group in yaml.safe_load((FOLDER / name).read_text())["groups"]]


@pytest.fixture(scope="module")
def evaluated(groups: list[dict[str, Any]]) -> list[Rule]:
    return [
        Rule(
            group["name"],
            seconds(group["interval"]),
            rule.get("record") or rule["alert"],
            "record" in rule,
            rule["expr"],
            (rule["expr"], *templates(rule)),
        )
        for group in groups
        for rule in group["rules"]
    ]


def late(query: str, slow: dict[str, int]) -> Iterator[str]:
    """Records that are written less often than an instant selector looks back, and are read by one."""
    for name, window in READ.findall(query):
        if name in slow and seconds(window) <= slow[name]:
            yield name


def test_groups_fit_a_ruler_that_nobody_configured(groups: list[dict[str, Any]]) -> None:
    """Mimir refuses larger ones; every group has a name of its own and an interval."""
    assert [group["name"] for group in groups if len(group["rules"]) > MOST_RULES] == []
    assert len({group["name"] for group in groups}) == len(groups) <= MOST_GROUPS
    assert [group["name"] for group in groups if "interval" not in group] == []


def test_no_rule_uses_what_engines_answer_otherwise(evaluated: list[Rule]) -> None:
    """No function that counts first samples, and no word of MetricsQL's own."""
    assert [rule.name for rule in evaluated if any(map(UNLIKE.search, rule.queries))] == []
    assert [rule.name for rule in evaluated if METRICSQL.search(QUOTED.sub('""', rule.expr))] == []


def test_rates_are_of_minutes(evaluated: list[Rule]) -> None:
    """A rate over a day is too small for what is younger than a day: days are means of recorded rates."""
    long = [
        rule.name
        for rule in evaluated
        for query in rule.queries
        for window in RATE.findall(query)
        if seconds(window) > 3600
    ]

    assert long == []


def test_slow_records_are_read_over_a_time(evaluated: list[Rule]) -> None:
    """Rules, notifications and dashboards read what is recorded every ten minutes by its last value."""
    slow = {
        rule.name: rule.interval for rule in evaluated if rule.records and rule.interval > LOOKBACK_SECONDS
    }
    by_rules = {
        f"{rule.name}: {name}" for rule in evaluated for query in rule.queries for name in late(query, slow)
    }
    by_panels = {
        f"{file.stem}: {name}"
        for file in (ROOT / "dashboards").glob("*.json")
        for query in panels(json.loads(file.read_text()))
        for name in late(query, slow)
    }

    assert len(slow) > 30
    assert by_rules == set()
    assert by_panels == set()


def test_what_is_divided_over_a_time_is_of_one_group(evaluated: list[Rule]) -> None:
    """A missed evaluation is missing on both sides: of two groups, it makes a price that nobody paid."""
    group = {rule.name: rule.group for rule in evaluated if rule.records}
    quotients = []
    for rule in evaluated:
        parts = OVER_TIME.split(rule.expr)  # text, record, text, record, ..., text
        pairs = zip(parts[1::2], parts[2::2], parts[3::2], strict=False)
        quotients += [
            (rule.name, above, below) for above, text, below in pairs if re.search(r"/[\s(]*$", text)
        ]

    assert len(quotients) >= 10
    assert [one for one in quotients if group[one[1]] != group[one[2]]] == []


def test_chains_within_a_group_are_short(evaluated: list[Rule]) -> None:
    """Month, spend and projection are on VictoriaMetrics within minutes of the first sample."""
    depth: dict[str, int] = {}
    for rule in evaluated:
        own = {other.name for other in evaluated if other.group == rule.group and other.records}
        read = (set(NAME.findall(rule.expr)) & own) - {rule.name}
        depth[rule.name] = 1 + max((depth.get(name, 0) for name in read), default=0)

    assert {name: links for name, links in depth.items() if links > LONGEST_CHAIN} == {}


def test_groups_read_no_alert_of_another(evaluated: list[Rule]) -> None:
    """ALERTS has a label more on VictoriaMetrics, and engines differ in which group ran before."""
    assert [rule.name for rule in evaluated if re.search(r"\bALERTS\b", rule.expr)] == []

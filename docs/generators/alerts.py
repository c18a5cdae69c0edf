"""The table of docs/alerts.md and that of each runbook: from the rules and from alerts.csv."""

import csv
import re
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import yaml

from generators.tables import table

RULES: Final = Path(__file__).parents[2] / "deploy" / "prometheus" / "fleet-rules.yml"
TEXTS: Final = Path(__file__).with_name("alerts.csv")
UNITS: Final = {"m": "min", "h": "h"}


@cache
def alert_rules() -> dict[str, list[dict[str, Any]]]:
    """The rules of each alert, in the order of the rule file."""
    document = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    rules: dict[str, list[dict[str, Any]]] = {}
    for group in document["groups"]:
        for rule in group["rules"]:
            if "alert" in rule:
                rules.setdefault(rule["alert"], []).append(rule)
    return rules


def duration(text: str) -> str:
    """`15m` as `15 min`."""
    return f"{text[:-1]} {UNITS[text[-1]]}"


def case_links(tests: str) -> str:
    """`budget: spend runaway` with a link to the file that has the case."""
    return re.sub(r"(\w+): ([^;]+)", r"[\1](../../deploy/prometheus/\1_test.yml): \2", tests)


def described() -> dict[str, dict[str, str]]:
    """What alerts.csv says of each alert.

    Raises:
        ValueError: an alert is not described, or a description has no alert.
    """
    with TEXTS.open(encoding="utf-8", newline="") as file:
        texts = {row["alert"]: row for row in csv.DictReader(file)}
    if set(texts) != set(alert_rules()):
        raise ValueError(f"{TEXTS.name}: {sorted(set(texts) ^ set(alert_rules()))}")
    return texts


def severities(name: str) -> str:
    """`page`, `ticket` or both."""
    return ", ".join(sorted({rule["labels"]["severity"] for rule in alert_rules()[name]}))


def alerts() -> str:
    """A row for each alert."""
    rows = [
        [f"[{name}](runbooks/{name}.md)", severities(name), text["fires"]]
        for name, text in described().items()
    ]
    return table(["alert", "severity", "fires when"], rows)


def rule(name: str) -> str:
    """What a runbook says of its rule."""
    text = described()[name]
    rows = [
        ["Fires when", text["fires"]],
        ["For", duration(alert_rules()[name][0]["for"])],
        ["Silent", text["silent"]],
        ["Tests", case_links(text["tests"])],
    ]
    return table(["Severity", severities(name)], rows)


REGIONS: Final[dict[tuple[str, str], Callable[[], str]]] = {
    ("alerts.md", "alerts"): alerts,
    **{(f"runbooks/{name}.md", "rule"): partial(rule, name) for name in described()},
}

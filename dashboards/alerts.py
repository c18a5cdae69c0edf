"""The dashboard of each alert, by its annotation."""

import re
from pathlib import Path
from typing import Final

import queries as q
import yaml

UID: Final = re.compile(r"^/d/([a-z-]+)")
RULES: Final = Path(__file__).parents[1] / "deploy" / "prometheus" / "fleet-rules.yml"


def boards() -> dict[str, list[str]]:
    """By the uid of a dashboard, the names of the alerts that lead to it."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    by_alert: dict[str, set[str]] = {}
    for rule in (rule for group in groups for rule in group["rules"] if "alert" in rule):
        (uid,) = UID.findall(rule["annotations"]["dashboard"])
        by_alert.setdefault(uid, set()).add(rule["alert"])
    return {uid: sorted(names) for uid, names in sorted(by_alert.items())}


def firing() -> str:
    """Alerts that fire, each with the uid of its dashboard in the label `board`.

    An alert of the whole fleet has the cluster `All`, which an address turns into all of them.
    """
    expr = f'label_replace({q.FIRING}, "cluster", "All", "cluster", "")'
    for uid, names in boards().items():
        expr = f'label_replace({expr}, "board", "{uid}", "alertname", "{"|".join(names)}")'
    return expr

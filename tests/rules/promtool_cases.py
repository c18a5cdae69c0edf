"""The cases of promtool's files, each with the rules it depends on; a file's shortest case may have them all.

promtool evaluates every rule of a file at every step of every case, and most cases ask a tenth of them.
A rule that no case asks for may still fail on its input, as when two series would become one.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.rules.victoriametrics import document_of, end_of, loaded, seconds

FEW_STEPS: Final = 60
"""Evaluations of a case in which CI evaluates every rule, too."""


def shortest_steps(file: Path) -> int:
    """How often the rules are evaluated in the shortest case of a file."""
    document = document_of(file)
    return min(map(end_of, document["tests"])) // seconds(document["evaluation_interval"])


def split_cases(file: Path, folder: Path, *, every_rule: bool) -> Iterator[str]:
    """Write one file for each case, and yield their names; groups and rules keep their order.

    With `every_rule`, the shortest case has all of them.
    """
    document = document_of(file)
    groups = [group for name in document["rule_files"] for group in document_of(file.parent / name)["groups"]]
    shortest = min(document["tests"], key=end_of)
    for number, case in enumerate(document["tests"], 1):
        checks, alerts = case.get("promql_expr_test", []), case.get("alert_rule_test", [])
        needed = {
            id(rule) for rule in loaded(file.parent, document, [check["expr"] for check in checks], alerts)
        }
        smaller = [
            group
            | {
                "rules": [
                    one for one in group["rules"] if id(one) in needed or (every_rule and case is shortest)
                ]
            }
            for group in groups
        ]
        chosen = [group for group in smaller if group["rules"]]
        names = {group["name"] for group in chosen}
        rules, name = f"{file.stem}-{number}-rules.yml", f"{file.stem}-{number}.yml"
        order = [group for group in document.get("group_eval_order", []) if group in names]
        alone = document | {"rule_files": [rules], "tests": [case], "group_eval_order": order}
        # JSON is YAML, and written in a tenth of the time.
        (folder / rules).write_text(json.dumps({"groups": chosen}), encoding="utf-8")
        (folder / name).write_text(json.dumps(alone), encoding="utf-8")
        yield name

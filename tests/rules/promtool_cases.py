"""The cases of promtool's files, each with the rules it depends on; a file's shortest case may have them all.

promtool evaluates every rule of a file at every step of every case, and most cases ask a tenth of them.
A rule that no case asks for may still fail on its input, as when two series would become one.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tests.rules.victoriametrics import Case, document_of, end_of, loaded, seconds

FEW_STEPS: Final = 60
"""Evaluations of a case in which CI evaluates every rule, too."""


def steps(case: Case) -> int:
    """How often the rules are evaluated in it."""
    document = document_of(case.file)
    return end_of(document["tests"][case.index]) // seconds(document["evaluation_interval"])


def shortest(cases: Iterable[Case]) -> set[Case]:
    """The shortest case of each file."""
    files: dict[Path, Case] = {}
    for case in cases:
        files[case.file] = min(files.get(case.file, case), case, key=steps)
    return set(files.values())


def split(case: Case, folder: Path, *, every_rule: bool) -> str:
    """Write a case and the rules that it depends on, or all rules, and return its file's name.

    Groups and rules keep their order.
    """
    document = document_of(case.file)
    files = [document_of(case.file.parent / name) for name in document["rule_files"]]
    test_case = document["tests"][case.index]
    checks, alerts = test_case.get("promql_expr_test", []), test_case.get("alert_rule_test", [])
    wanted = loaded(case.file.parent, document, [check["expr"] for check in checks], alerts)
    needed = {id(rule) for rule in wanted}
    groups = [
        group | {"rules": [rule for rule in group["rules"] if every_rule or id(rule) in needed]}
        for file in files
        for group in file["groups"]
    ]
    chosen = [group for group in groups if group["rules"]]
    names = {group["name"] for group in chosen}
    order = [group for group in document.get("group_eval_order", []) if group in names]
    rules, name = f"{case}-rules.yml", f"{case}.yml"
    alone = document | {"rule_files": [rules], "tests": [test_case], "group_eval_order": order}
    # JSON is YAML, and written in a tenth of the time.
    (folder / rules).write_text(json.dumps({"groups": chosen}), encoding="utf-8")
    (folder / name).write_text(json.dumps(alone), encoding="utf-8")
    return name

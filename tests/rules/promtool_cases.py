"""The cases of promtool's files, each with the rules that it depends on; a file's shortest case has them all.

promtool evaluates every rule of a file at every step of every case, and most cases ask a tenth of them.
A rule that no case asks for may still fail on its input, as when two series would become one.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from tests.rules.victoriametrics import document_of, end_of, loaded


def split_cases(file: Path, folder: Path) -> Iterator[str]:
    """Write one file for each case, and yield their names; groups and rules keep their order."""
    document = document_of(file)
    groups = [group for name in document["rule_files"] for group in document_of(file.parent / name)["groups"]]
    shortest = min(document["tests"], key=end_of)
    for number, case in enumerate(document["tests"], 1):
        checks, alerts = case.get("promql_expr_test", []), case.get("alert_rule_test", [])
        needed = {
            id(rule) for rule in loaded(file.parent, document, [check["expr"] for check in checks], alerts)
        }
        smaller = [
            group | {"rules": [one for one in group["rules"] if id(one) in needed or case is shortest]}
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

"""The families of series that the central place takes from each cluster, and the files that name them.

Its rules and the dashboards of the fleet read them, and the cluster's own rules record them. The dashboards
of one host read raw series, which stay in the cluster.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from statement import Group, Record, query_texts

ROOT: Final = Path(__file__).parents[2]
NAMING: Final = tuple(
    ROOT / "deploy/prometheus" / name for name in ("cluster.yml", "federation.yml", "operator-values.yaml")
)

NAME: Final = re.compile(r"\b(?:inference[_:][a-z0-9_:]+|kube_[a-z0-9_]+|up\b(?=\s*[{\[)=]))")

LISTED: Final = re.compile(r"inference:[\w:]+(?:\|\\\n( +)inference:[\w:]+)+")
"""The names as one regular expression in YAML."""


def of_rules(groups: tuple[Group, ...]) -> set[str]:
    """What expressions and the queries of annotations and labels read and no rule of these groups records."""
    rules = [rule for group in groups for rule in group.rules]
    mentioned = {name for text in query_texts(rules) for name in NAME.findall(text)}
    return mentioned - {rule.name for rule in rules if isinstance(rule, Record)}


def of_dashboards() -> set[str]:
    """What the panels, marks and variables of the dashboards read."""
    boards = (json.loads(file.read_text("utf-8")) for file in (ROOT / "dashboards").glob("*.json"))
    return {name for board in boards for query in queries(board) for name in NAME.findall(query)}


def queries(part: object) -> Iterator[str]:
    """Every query of a dashboard, wherever in it."""
    if isinstance(part, list):
        for item in part:
            yield from queries(item)
    elif isinstance(part, dict):
        for key, value in part.items():
            if key in {"expr", "query", "definition"} and isinstance(value, str):
                yield value
            else:
                yield from queries(value)


def families(cluster: tuple[Group, ...], fleet: tuple[Group, ...]) -> list[str]:
    """The names, sorted.

    Raises:
        ValueError: the central place would need a series that no cluster records.
    """
    recorded = {rule.name for group in cluster for rule in group.rules if isinstance(rule, Record)}
    needed = of_rules(fleet)
    if raw := sorted(needed - recorded):
        raise ValueError(f"fleet-rules.yml reads what cluster-rules.yml does not record: {', '.join(raw)}")
    return sorted(needed | (of_dashboards() & recorded))


def files(cluster: tuple[Group, ...], fleet: tuple[Group, ...]) -> dict[Path, str]:
    """The files of deploy/prometheus that name them, one on each line, as they are to be."""
    names = families(cluster, fleet)
    written = {}
    for file in NAMING:
        text = file.read_text(encoding="utf-8")
        if not LISTED.search(text):
            raise ValueError(f"{file}: no list of families")
        written[file] = LISTED.sub(lambda found: f"|\\\n{found[1]}".join(names), text)
    return written

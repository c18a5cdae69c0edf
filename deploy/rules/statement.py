"""What a rule file is made of, checked against the table of metrics before it is written."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from exporter.finance.history.past_records import NAMES as PAST
from exporter.metrics.table import METRICS

FOREIGN: Final = frozenset({"kube_node_info", "kube_node_status_capacity"})
"""Series of kube-state-metrics: the nodes that exist, and those with GPUs. `up` is Prometheus's own."""

MOST: Final = 20
"""Rules in a group: what Mimir's ruler takes unless it is configured otherwise."""

NAME: Final = re.compile(r"\b(?:inference[_:]|kube_|process_)[a-z0-9_:]+")

OWN: Final = 'ledger=""'
"""Of a record that has a past: what the verb `history` wrote of the time before has a ledger, and no rule reads it."""


@dataclass(frozen=True, slots=True)
class Record:
    """A recording rule: what its value means, on which labels, and why it is computed so."""

    name: str
    expr: str
    why: str = ""
    meaning: str = ""
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Alert:
    """An alerting rule, with labels and annotations in the order in which they are written."""

    name: str
    expr: str
    wait: str
    labels: dict[str, str]
    annotations: dict[str, str]
    keep: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that are evaluated one after the other, every `interval`."""

    name: str
    interval: str
    rules: tuple[Record | Alert, ...] = ()
    why: str = ""
    title: str = ""
    """What a reader of docs/records.md looks for."""


def crowded(groups: tuple[Group, ...]) -> list[str]:
    """Groups that a ruler with Mimir's default limit refuses."""
    return [f"{group.name} ({len(group.rules)})" for group in groups if len(group.rules) > MOST]


def query_texts(rules: Iterable[Record | Alert]) -> Iterator[str]:
    """Expressions, and the templates in annotations and labels."""
    for rule in rules:
        yield rule.expr
        if isinstance(rule, Alert):
            sentences = " ".join((*rule.annotations.values(), *rule.labels.values()))
            yield from re.findall(r"\{\{(.*?)\}\}", sentences)


def unknown(groups: tuple[Group, ...], pending: frozenset[str] = frozenset()) -> list[str]:
    """Names in expressions and in the queries of annotations that no table and no rule has."""
    rules = [rule for group in groups for rule in group.rules]
    defined = {metric.name for metric in METRICS} | FOREIGN | pending
    defined |= {rule.name for rule in rules if isinstance(rule, Record)}
    return sorted({name for text in query_texts(rules) for name in NAME.findall(text)} - defined)


def text(header: str, groups: tuple[Group, ...]) -> str:
    """The file that Prometheus loads."""
    lines = [*comment(header, ""), "groups:"]
    for group in groups:
        lines += ["", *comment(group.why, ""), f"- name: {group.name}"]
        lines += [f"  interval: {group.interval}", "  rules:"]
        for rule in group.rules:
            if isinstance(rule, Record):
                lines += comment(rule.meaning, "  ")
            lines += comment(rule.why, "  ")
            lines += record(rule) if isinstance(rule, Record) else alert(rule)
    return "\n".join(lines) + "\n"


def comment(words: str, indent: str) -> list[str]:
    """Lines of a comment, none for no words."""
    return [f"{indent}# {line}".rstrip() for line in words.strip().splitlines()]


def own(expr: str) -> str:
    """An expression that reads no past: budgets and alerts are of what was metered."""
    names = "|".join(sorted(PAST, key=len, reverse=True))
    selected = rf"(?<![\w:])({names})(?![\w:])(\{{)?"
    return re.sub(selected, lambda found: f"{found[1]}{{{OWN}{',' if found[2] else '}'}", expr)


def record(rule: Record) -> list[str]:
    """The lines of a recording rule."""
    return [f"  - record: {rule.name}", *expression(own(rule.expr))]


def alert(rule: Alert) -> list[str]:
    """The lines of an alert."""
    lines = [f"  - alert: {rule.name}", *expression(own(rule.expr)), f"    for: {rule.wait}"]
    if rule.keep:
        lines.append(f"    keep_firing_for: {rule.keep}")
    for title, entries in (("labels", rule.labels), ("annotations", rule.annotations)):
        lines.append(f"    {title}:")
        lines += [f"      {key}: {scalar(value)}" for key, value in entries.items()]
    return lines


def expression(expr: str) -> list[str]:
    """One line where it fits, a block where it has several."""
    stripped = expr.strip("\n")
    if "\n" not in stripped:
        return [f"    expr: {scalar(stripped)}"]
    mark = "|2" if stripped.startswith(" ") else "|"  # YAML takes the first line's indent for that of all
    return [f"    expr: {mark}", *(f"      {line}".rstrip() for line in stripped.splitlines())]


def scalar(value: str) -> str:
    """A plain word or a dashboard's path, which the header's sed replaces; or a string in single quotes."""
    plain = re.fullmatch(r"[A-Za-z/][\w/.-]*|/d/[^:#']*", value)
    return value if plain else "'" + value.replace("'", "''") + "'"

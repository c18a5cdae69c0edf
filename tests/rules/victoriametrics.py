"""The cases of promtool's files on VictoriaMetrics' engine, by `vmalert-tool unittest`.

vmalert shows a rule the earlier rules of its own group only at the next evaluation; the tool makes what is
recorded visible after each group. So the rules that a case depends on are regrouped in waves: each reads only
earlier waves, in the order in which promtool evaluates them, and both engines owe the same values.
"""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

Labels = frozenset[tuple[str, str]]
Samples = Mapping[Labels, float]

NAME: Final = re.compile(r"\binference:[\w:]+|\bALERTS\b")
ALERT: Final = re.compile(r'ALERTS\{[^}]*alertname="(\w+)"')
SERIES: Final = re.compile(
    r'\s*(?P<name>[a-zA-Z_:][\w:]*)?(?:\{(?P<labels>(?:[^"}]|"(?:\\.|[^"\\])*")*)\})?\s*'
)
LABEL: Final = re.compile(r'(\w+)="((?:\\.|[^"\\])*)"')
POWER: Final = re.compile(r"\d+(?:\.\d+)?[eE][+-]?\d+")
ANSWER: Final = re.compile(
    r'expr: "(?:\\.|[^"\\])*?check-(\d+)\\"\)", time: [^\n]*\n +exp: [^\n]*\n +got: ([^\n]*)'
)
SAMPLE: Final = re.compile(r'(\{(?:[^"}]|"(?:\\.|[^"\\])*")*\}) ([-+.\w]+)')
IMPOSSIBLE: Final = {"labels": '{impossible="yes"}', "value": 0}
"""Expected of every query, so that the tool prints what it got: it compares floats exactly itself."""
CLOSE: Final = 1e-6
MEMORY: Final = {"GOGC": "off", "GOMEMLIMIT": "512MiB"}
"""Go collects garbage when this much is used, not at each doubling: a third of the tool's time else."""
UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


@dataclass(frozen=True, slots=True)
class Case:
    """One case of a file of promtool's tests."""

    file: Path
    index: int
    name: str

    def __str__(self) -> str:
        return f"{self.file.stem}-{self.index + 1}"


@cache
def document_of(file: Path) -> Any:
    """A file's YAML, which is read once: every case needs the rules."""
    return yaml.load(file.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)


def cases(folder: Path) -> list[Case]:
    """All cases of a folder's tests."""
    return [
        Case(file, index, case["name"])
        for file in sorted(folder.glob("*_test.yml"))
        for index, case in enumerate(document_of(file)["tests"])
    ]


def differences(case: Case, skipped: Mapping[str, str]) -> list[str]:
    """Checks that VictoriaMetrics' engine answers otherwise; `skipped` are queries and alerts left out."""
    binary = shutil.which("vmalert-tool")
    assert binary is not None, "vmalert-tool is not on PATH: apt-get install victoria-metrics"
    document = document_of(case.file)
    test_case = document["tests"][case.index]
    checks = [check for check in test_case.get("promql_expr_test", []) if check["expr"] not in skipped]
    alerts = [check for check in test_case.get("alert_rule_test", []) if check["alertname"] not in skipped]
    rules = loaded(case.file.parent, document, [check["expr"] for check in checks], alerts)
    waved = list(waves(rules))
    memory = Path("/dev/shm")  # noqa: S108
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as made:
        folder = Path(made)
        (folder / "rules.yml").write_text(json.dumps({"groups": waved}), encoding="utf-8")  # JSON is YAML
        unit = {
            "rule_files": ["rules.yml"],
            "evaluation_interval": document["evaluation_interval"],
            "group_eval_order": [wave["name"] for wave in waved],
            "tests": [
                {
                    "interval": test_case["interval"],
                    "input_series": [
                        {"series": line["series"], "values": POWER.sub(plain, line["values"])}
                        for line in test_case["input_series"]
                    ],
                    "alert_rule_test": alerts,
                    "metricsql_expr_test": [query_of(index, check) for index, check in enumerate(checks)],
                }
            ],
        }
        (folder / "unit.yml").write_text(json.dumps(unit), encoding="utf-8")
        command = [binary, "unittest", "--disableAlertgroupLabel", "--files", "unit.yml"]
        done = subprocess.run(
            alone(command),
            cwd=folder,
            env=MEMORY | os.environ | {"TMPDIR": made},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
    answers = {int(index): samples(actual) for index, actual in ANSWER.findall(done.stdout)}
    wrong = [
        f"{check['expr']} at {check['eval_time']}: {shown(answers.get(index))}, not {shown(expected(check))}"
        for index, check in enumerate(checks)
        if not same(answers.get(index), expected(check))
    ]
    rest = ANSWER.sub("", done.stdout)
    if "alertname: " in rest or "err: " in rest or ("SUCCESS" not in rest and "FAILED" not in rest):
        wrong.append(rest + done.stderr)
    return wrong


def loaded(
    folder: Path, document: Mapping[str, Any], queries: Sequence[str], alerts: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The rules of a file of tests that some queries and alerts depend on, as promtool evaluates them."""
    files = [document_of(folder / name) for name in document["rule_files"]]
    groups = [group for file in files for group in file["groups"]]
    rules = ordered(groups, document.get("group_eval_order", []))
    return needed(rules, queries, {check["alertname"] for check in alerts})


@dataclass(frozen=True, slots=True)
class Extent:
    """How much a case evaluates, and what it holds against its expectations."""

    flushes: int
    """Evaluations of a wave: the tool shows what each recorded after two milliseconds."""
    covered: frozenset[tuple[str, str, bool]]
    """Rules that are evaluated, and records and alerts that are asked for, with and without an answer."""


def extent(case: Case, skipped: Mapping[str, str]) -> Extent:
    """The extent of a case without the queries and alerts that are left out."""
    document = document_of(case.file)
    test_case = document["tests"][case.index]
    checks = [check for check in test_case.get("promql_expr_test", []) if check["expr"] not in skipped]
    alerts = [check for check in test_case.get("alert_rule_test", []) if check["alertname"] not in skipped]
    rules = loaded(case.file.parent, document, [check["expr"] for check in checks], alerts)
    steps = end_of(test_case) // seconds(document["evaluation_interval"]) + 1
    covered = {("rule", rule["expr"], True) for rule in rules}
    covered |= {("alert", check["alertname"], bool(check["exp_alerts"])) for check in alerts}
    covered |= {
        (kind, name, bool(check["exp_samples"]))
        for check in checks
        for kind, pattern in (("record", NAME), ("alert", ALERT))
        for name in pattern.findall(check["expr"])
    }
    return Extent(steps * len(list(waves(rules))), frozenset(covered))


def cover(extents: Mapping[Case, Extent], most: int) -> set[Case]:
    """Cases of up to `most` flushes that cover what all of these do: those that add most for their time."""
    short = {case: one for case, one in extents.items() if one.flushes <= most}
    missing = {item for one in short.values() for item in one.covered}
    chosen = set()
    while missing:
        best = max(short, key=lambda case: len(short[case].covered & missing) / (short[case].flushes + 20))
        chosen.add(best)
        missing -= short[best].covered
    return chosen


def end_of(test_case: Mapping[str, Any]) -> int:
    """The second of a case at which its last query or alert is asked for."""
    checks = (*test_case.get("promql_expr_test", []), *test_case.get("alert_rule_test", []))
    return max(seconds(check["eval_time"]) for check in checks)


def seconds(duration: str) -> int:
    """Of a duration such as 90s or 1h30m."""
    return sum(int(number) * UNITS[unit] for number, unit in re.findall(r"(\d+)([smhdw])", str(duration)))


def alone(command: Sequence[str]) -> list[str]:
    """The command in a network of its own: vmalert-tool of 1.112 listens on one fixed port."""
    inside = ["sh", "-c", 'ip link set lo up && exec "$@"', "sh", *command]
    return ["unshare", "--map-root-user", "--net", *inside]


def query_of(index: int, check: Mapping[str, Any]) -> dict[str, Any]:
    """A query of promtool's for MetricsQL, which keeps names that PromQL drops; ALERTS have a group there."""
    unnamed = all("__name__" not in dict(labels) for labels in expected(check))
    dropped = ["alertgroup", *(["__name__"] if unnamed else []), f"check-{index}"]
    return {
        "expr": f"label_del(({check['expr']}), {', '.join(map(json.dumps, dropped))})",
        "eval_time": check["eval_time"],
        "exp_samples": [IMPOSSIBLE],
    }


def plain(match: re.Match[str]) -> str:
    """A number without a power of ten, which vmalert-tool of 1.112 misreads."""
    return format(Decimal(match.group()), "f")


def texts(rule: Mapping[str, Any]) -> str:
    """All of a rule that may hold a query."""
    return "\n".join([rule["expr"], *rule.get("labels", {}).values(), *rule.get("annotations", {}).values()])


def ordered(groups: Sequence[dict[str, Any]], order: Sequence[str]) -> list[dict[str, Any]]:
    """The rules as promtool evaluates them."""
    index = {name: number for number, name in enumerate(order)}
    return [
        rule
        for group in sorted(groups, key=lambda group: index.get(group["name"], 0))
        for rule in group["rules"]
    ]


def needed(rules: Sequence[dict[str, Any]], queries: Sequence[str], alerts: set[str]) -> list[dict[str, Any]]:
    """The rules on which queries and alerts depend: an evaluation of each of them takes a millisecond."""
    chosen: set[int] = set()
    open_texts = list(queries)
    wanted = set(alerts)
    while True:
        names = {name for text in open_texts for name in NAME.findall(text)}
        for text in open_texts:
            wanted |= set(ALERT.findall(text))
            if len(ALERT.findall(text)) < text.count("ALERTS"):
                wanted |= {rule["alert"] for rule in rules if "alert" in rule}
        fresh = {
            number
            for number, rule in enumerate(rules)
            if rule.get("record") in names or rule.get("alert") in wanted
        } - chosen
        if not fresh:
            return [rule for number, rule in enumerate(rules) if number in chosen]
        chosen |= fresh
        open_texts = [texts(rules[number]) for number in fresh]


def waves(rules: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Groups of rules of which none reads what its own group records in the same evaluation."""
    levels: list[int] = []
    reads = [set(NAME.findall(texts(rule))) for rule in rules]
    for number, rule in enumerate(rules):
        after = [levels[n] + 1 for n in range(number) if rules[n].get("record", "ALERTS") in reads[number]]
        beside = [levels[n] for n in range(number) if rule.get("record", "ALERTS") in reads[n]]
        levels.append(max([0, *after, *beside]))
    for level in range(max(levels, default=-1) + 1):
        wave = [rule for rule, actual in zip(rules, levels, strict=True) if actual == level]
        if wave:
            yield {"name": f"wave-{level}", "interval": "1m", "rules": wave}


def labels_of(text: str) -> Labels:
    """The labels of a series as written, its name among them; an empty label is none."""
    actual = SERIES.fullmatch(text)
    assert actual is not None, text
    pairs = {
        key: value.replace('\\"', '"').replace("\\\\", "\\")
        for key, value in LABEL.findall(actual["labels"] or "")
    }
    if actual["name"]:
        pairs["__name__"] = actual["name"]
    return frozenset((key, value) for key, value in pairs.items() if value)


def expected(check: Mapping[str, Any]) -> Samples:
    """What a case says a query yields."""
    return {labels_of(sample["labels"] or "{}"): float(sample["value"]) for sample in check["exp_samples"]}


def samples(text: str) -> Samples:
    """What the tool says a query yields."""
    return {labels_of(labels): float(value) for labels, value in SAMPLE.findall(text)}


def same(actual: Samples | None, wanted: Samples) -> bool:
    """Whether two vectors are alike within what sums of floats in another order may differ."""
    return (
        actual is not None
        and actual.keys() == wanted.keys()
        and all(abs(actual[key] - value) <= CLOSE * max(1.0, abs(value)) for key, value in wanted.items())
    )


def shown(actual: Samples | None) -> str:
    """A vector in one line."""
    if actual is None:
        return "no answer"
    rows = (f"{dict(sorted(labels))} {value!r}" for labels, value in actual.items())
    return "; ".join(sorted(rows)) or "nothing"

"""Rules of production in promtool: many fleets at once, no server, no clock.

A test that expects the wrong is answered with the right.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

RULES: Final = Path(__file__).parents[2] / "deploy" / "rules"
if str(RULES) not in sys.path:
    sys.path.insert(0, str(RULES))

Labels = frozenset[tuple[str, str]]
Answer = Mapping[Labels, float]

HEAD: Final = re.compile(r'\s+expr: "(.*)", time: (\S+),$')
SAMPLE: Final = re.compile(r"(?:\{([^{}]*)\}|[\w:]+) ([-+]?(?:\d[\d.]*(?:E[-+]\d+)?|NaN|Inf))(?=,|$|\s)")
UNITS: Final = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}


@dataclass(frozen=True, slots=True)
class InputSeries:
    """An input series in promtool's notation."""

    selector: str
    values: str


@dataclass(frozen=True, slots=True)
class Question:
    """A query and when it is asked, in seconds."""

    expr: str
    at: int


def evaluate_series(
    rules: str,
    series: Sequence[InputSeries],
    questions: Sequence[Question],
    folder: Path,
    *,
    interval: int = 3600,
    evaluation: int = 3600,
    order: Sequence[str] = (),
) -> list[Answer]:
    """The answer to each question; empty where there is none. `interval` and `evaluation` are seconds.

    Raises:
        RuntimeError: promtool is not on PATH, or did not answer every question.
    """
    binary = shutil.which("promtool")
    if binary is None:
        raise RuntimeError("promtool is not on PATH: apt-get install prometheus")
    (folder / "rules.yml").write_text(rules, encoding="utf-8")
    lines = ["rule_files: [rules.yml]", f"evaluation_interval: {evaluation}s"]
    if order:
        lines.append(f"group_eval_order: [{', '.join(order)}]")
    lines += ["tests:", f"- interval: {interval}s", "  input_series:"]
    lines += [f"  - {{series: '{one.selector}', values: '{one.values}'}}" for one in series]
    lines.append("  promql_expr_test:")
    lines += [
        f"  - {{expr: '{one.expr}', eval_time: {one.at}s, "
        "exp_samples: [{labels: '{never=\"expected\"}', value: 0}]}"
        for one in questions
    ]
    (folder / "test.yml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    result = subprocess.run(
        [binary, "test", "rules", "test.yml"],
        cwd=folder,
        env={"GOGC": "off", "GOMEMLIMIT": "1000MiB"} | os.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    answers = parse(result.stdout + result.stderr)
    missing = [one for one in questions if (one.expr, one.at) not in answers]
    if missing:
        raise RuntimeError(f"promtool did not answer {missing[0]}: {(result.stderr or result.stdout)[:2000]}")
    return [answers[one.expr, one.at] for one in questions]


def parse(output: str) -> dict[tuple[str, int], Answer]:
    """Answers by query and second, from the complaints that they are not the expected ones."""
    answers: dict[tuple[str, int], Answer] = {}
    question = None
    for line in output.splitlines():
        if head := HEAD.match(line):
            question = head[1].replace('\\"', '"'), seconds(head[2])
        elif question and line.lstrip().startswith("got:"):
            text = line.partition("got:")[2]
            answers[question] = {
                frozenset(re.findall(r'(\w+)="([^"]*)"', labels or "")): float(value)
                for labels, value in SAMPLE.findall(text)
            }
            question = None
    return answers


def seconds(duration: str) -> int:
    """Seconds of a duration: 1d6h."""
    return sum(int(number) * UNITS[unit] for number, unit in re.findall(r"(\d+)(w|d|h|m(?!s)|s)", duration))

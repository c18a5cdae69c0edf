"""The rules of production in promtool, many fleets at once: each is a value of one more label.

Evaluated each hour, not each 15 minutes: four times as fast, and tests/rules/test_projection.py holds both to the same.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

RULES: Final = Path(__file__).parents[2] / "deploy" / "rules"
sys.path.insert(0, str(RULES))

from projection import Estimate, rests  # noqa: E402
from statement import Group, Record, text  # noqa: E402

LABEL: Final = "fleet"
INPUT: Final = "inference:spend_at_first_price_dollars_per_hour"
ASKED: Final = {
    "rest": "inference:rest_dollars_per_hour",
    "low": "inference:rest_dollars_per_hour:low",
    "high": "inference:rest_dollars_per_hour:high",
    "before": "inference:usual_dollars_per_hour",
}

BEFORE: Final = Record(
    ASKED["before"],
    f"(avg_over_time({INPUT}[7d]) and on ({LABEL}) last_over_time({INPUT}[1d] offset 6d))\n"
    f"or avg_over_time({INPUT}[24h])",
)
"""The rule that this one replaced: the mean of seven days, of 24 h until there are seven."""

SAMPLE: Final = re.compile(rf'\{{{LABEL}="(\d+)"\}} ([-+.\dEeNa]+)')


def rules() -> str:
    """The fleet's records of production under one more label, and the rule before."""
    fleet = Estimate((LABEL,)).records()
    now = tuple(record for record in rests((LABEL,)) if record.name in ASKED.values())
    return text("Simulated fleets.", (Group("fleet", "15m", fleet), Group("now", "15m", (*now, BEFORE))))


def values(hours: Iterable[float | None], pace: int) -> str:
    """Hourly values as samples in the middle of the pace, so that a window's ends fall between two."""
    return " ".join(" ".join(["_", "_" if value is None else f"{value:.6g}"] * pace) for value in hours)


def test_file(fleets: Sequence[Sequence[float | None]], hours: Sequence[int], pace: int = 1) -> str:
    """A test that asks for all records at the end of each hour, and expects nothing."""
    step = 30 // pace
    length = 2 * pace * len(fleets[0])
    lines = [
        "rule_files: [rules.yml]",
        f"evaluation_interval: {2 * step}m",
        "tests:",
        f"- interval: {step}m",
        "  input_series:",
    ]
    for number, series in enumerate(fleets):
        lines += [
            f"  - {{series: '{INPUT}{{{LABEL}=\"{number}\"}}', values: '{values(series, pace)}'}}",
            f"  - {{series: 'inference:rest_price_ratio{{{LABEL}=\"{number}\"}}', values: '1x{length}'}}",
            f'  - {{series: \'inference:fleet_month_hours_left{{{LABEL}="{number}",month="m"}}\', '
            f"values: '{len(series)}-{step / 60}x{length}'}}",
        ]
    lines.append("  promql_expr_test:")
    lines += [
        f"  - {{expr: 'sum by ({LABEL}) ({name})', eval_time: {hour + 1}h, exp_samples: [{{labels: '{{}}', value: 0}}]}}"
        for hour in hours
        for name in ASKED.values()
    ]
    return "\n".join(lines) + "\n"


def evaluate(
    fleets: Sequence[Sequence[float | None]], hours: Sequence[int], folder: Path, pace: int = 1
) -> Mapping[str, list[dict[int, float]]]:
    """What each record is at the end of each hour asked for, of each fleet; absent where the engine has nothing.

    Raises:
        RuntimeError: promtool is not on PATH, or did not answer every question.
    """
    binary = shutil.which("promtool")
    if binary is None:
        raise RuntimeError("promtool is not on PATH: apt-get install prometheus")
    (folder / "rules.yml").write_text(rules(), encoding="utf-8")
    (folder / "test.yml").write_text(test_file(fleets, hours, pace), encoding="utf-8")
    result = subprocess.run(
        [binary, "test", "rules", "test.yml"],
        cwd=folder,
        env={"GOGC": "off", "GOMEMLIMIT": "1500MiB"} | os.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    return parse(result.stdout + result.stderr, len(fleets))


def parse(output: str, fleets: int) -> Mapping[str, list[dict[int, float]]]:
    """The answers, from promtool's complaints that they are not the expected ones."""
    names = {f"sum by ({LABEL}) ({name})": key for key, name in ASKED.items()}
    found: dict[str, list[dict[int, float]]] = {key: [{} for _ in range(fleets)] for key in ASKED}
    asked, answers = None, 0
    for line in output.splitlines():
        if head := re.match(r'\s+expr: "(.*)", time: (\S+),$', line):
            asked = names[head[1]], hours_of(head[2]) - 1
        elif asked and "got:" in line:
            answers += 1
            key, hour = asked
            for number, value in SAMPLE.findall(line):
                found[key][int(number)][hour] = float(value)
            asked = None
        elif "error" in line.lower() or "failed to" in line:
            raise RuntimeError(line.strip())
    if not answers:
        raise RuntimeError(f"promtool gave no answer: {output[:500]}")
    return found


def hours_of(duration: str) -> int:
    """Hours of a Go duration in whole hours: 1d6h, 720h."""
    units = {"w": 168, "d": 24, "h": 1}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)([wdh])", duration))

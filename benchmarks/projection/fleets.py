"""Many simulated fleets in one engine: the records of production, each fleet under one more label."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks.projection.engine import InputSeries, Question, evaluate_series

from projection import Estimate, rests  # isort: skip  # deploy/rules, which the engine puts on the path
from reader import groups  # isort: skip
from statement import Group, Record, text  # isort: skip

LABEL: Final = "fleet"
INPUT: Final = "inference:spend_at_first_price_dollars_per_hour"
RECORDS: Final = {
    "rest": "inference:rest_dollars_per_hour",
    "low": "inference:rest_dollars_per_hour:low",
    "high": "inference:rest_dollars_per_hour:high",
    "before": "inference:usual_dollars_per_hour",
}

BEFORE: Final = Record(
    RECORDS["before"],
    f"(avg_over_time({INPUT}[7d]) and on ({LABEL}) last_over_time({INPUT}[1d] offset 6d))\n"
    f"or avg_over_time({INPUT}[24h])",
)
"""The rule that this one replaced: the mean of seven days, of 24 h until there are seven."""


def rules() -> str:
    """The fleet's records of production, and the rule before."""
    fleet = Estimate((LABEL,)).records()
    fleet_group, now = groups(f"rules fleet every 15m\n{fleet}rules now every 15m\n{rests((LABEL,))}")
    scored = tuple(record for record in now.rules if record.name in RECORDS.values())
    return text("Simulated fleets.", (fleet_group, Group("now", "15m", (*scored, BEFORE))))


def values(hours: Iterable[float | None], per_hour: int = 1) -> str:
    """Hourly values as samples between two evaluations, so that the ends of a window do not count twice."""
    return " ".join(" ".join(["_", "_" if value is None else f"{value:.6g}"] * per_hour) for value in hours)


def evaluate(
    fleets: Sequence[Sequence[float | None]], hours: Sequence[int], folder: Path, per_hour: int = 1
) -> Mapping[str, list[dict[int, float]]]:
    """Each record at the end of each hour, of each fleet; absent where the engine has nothing.

    `pace`: evaluations an hour. 4 in production; 1 is four times as fast and comes to the same.
    """
    step = 1800 // per_hour
    series = []
    for number, spend in enumerate(fleets):
        label, length = f'{{{LABEL}="{number}"}}', 2 * per_hour * len(spend)
        series += [
            InputSeries(f"{INPUT}{label}", values(spend, per_hour)),
            InputSeries(f"inference:rest_price_ratio{label}", f"1x{length}"),
            InputSeries(
                f'inference:fleet_month_hours_left{{{LABEL}="{number}",month="m"}}',
                f"{len(spend)}-{step / 3600}x{length}",
            ),
        ]
    questions = [
        (key, hour, Question(f"sum by ({LABEL}) ({name})", 3600 * (hour + 1)))
        for hour in hours
        for key, name in RECORDS.items()
    ]
    answers = evaluate_series(
        rules(), series, [one for _, _, one in questions], folder, interval=step, evaluation=2 * step
    )
    values_by_record: dict[str, list[dict[int, float]]] = {key: [{} for _ in fleets] for key in RECORDS}
    for (key, hour, _), answer in zip(questions, answers, strict=True):
        for labels, value in answer.items():
            values_by_record[key][int(dict(labels)[LABEL])][hour] = value
    return values_by_record

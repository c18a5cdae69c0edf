"""Many simulated fleets in one engine: the records of production, each fleet under one more label."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks.projection.engine import Question, Series, ask

from projection import Estimate, rests  # isort: skip  # deploy/rules, which the engine puts on the path
from statement import Group, Record, text  # isort: skip

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


def rules() -> str:
    """The fleet's records of production, and the rule before."""
    fleet = Estimate((LABEL,)).records()
    now = tuple(record for record in rests((LABEL,)) if record.name in ASKED.values())
    return text("Simulated fleets.", (Group("fleet", "15m", fleet), Group("now", "15m", (*now, BEFORE))))


def values(hours: Iterable[float | None], pace: int = 1) -> str:
    """Hourly values as samples between two evaluations, so that the ends of a window do not count twice."""
    return " ".join(" ".join(["_", "_" if value is None else f"{value:.6g}"] * pace) for value in hours)


def evaluate(
    fleets: Sequence[Sequence[float | None]], hours: Sequence[int], folder: Path, pace: int = 1
) -> Mapping[str, list[dict[int, float]]]:
    """Each record at the end of each hour, of each fleet; absent where the engine has nothing.

    `pace`: evaluations an hour. 4 in production; 1 is four times as fast and comes to the same.
    """
    step = 1800 // pace
    series = []
    for number, spend in enumerate(fleets):
        label, length = f'{{{LABEL}="{number}"}}', 2 * pace * len(spend)
        series += [
            Series(f"{INPUT}{label}", values(spend, pace)),
            Series(f"inference:rest_price_ratio{label}", f"1x{length}"),
            Series(
                f'inference:fleet_month_hours_left{{{LABEL}="{number}",month="m"}}',
                f"{len(spend)}-{step / 3600}x{length}",
            ),
        ]
    asked = [
        (key, hour, Question(f"sum by ({LABEL}) ({name})", 3600 * (hour + 1)))
        for hour in hours
        for key, name in ASKED.items()
    ]
    answers = ask(rules(), series, [one for _, _, one in asked], folder, interval=step, evaluation=2 * step)
    found: dict[str, list[dict[int, float]]] = {key: [{} for _ in fleets] for key in ASKED}
    for (key, hour, _), answer in zip(asked, answers, strict=True):
        for labels, value in answer.items():
            found[key][int(dict(labels)[LABEL])][hour] = value
    return found

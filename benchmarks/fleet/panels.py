"""What the panels of the dashboards ask of Prometheus, as Grafana asks it: steps, variables, and the cost."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.fleet.prometheus import Prometheus, QueryCost, seconds

RANGES: Final = {"1h": 3600, "24h": 86_400, "30d": 30 * 86_400}
NOW: Final = "now"
"""The range of a panel that asks for one moment alone."""

POINTS: Final = 1000
"""Of a panel as wide as half a screen; Grafana rounds the step that they need."""

LEAST_STEP: Final = "1m"
STEPS: Final = (
    *((45, 30), (90, 60), (210, 120), (450, 300), (750, 600), (1050, 900), (1500, 1200), (2700, 1800)),
    *((5400, 3600), (9000, 7200), (16_200, 10_800), (32_400, 21_600)),
)
"""Where a step up to the first is needed, Grafana takes the second; in seconds."""

ONE: Final = {"instance": "host-0"}
"""What is selected of a variable that allows one alone."""

SAMPLES: Final = 2_000_000
SECONDS: Final = 1.0
TRIES: Final = 3
SAMPLES_FOUND_MIN: Final = 0.9
"""Of the samples that a steady fleet has, so many must be found, or the seconds say nothing."""

FEW: Final = 20_000
"""Samples that take no time, found or not."""


@dataclass(frozen=True, slots=True)
class Query:
    """An expression with the variables of its dashboard filled in; `instant` where it asks for one moment."""

    expr: str
    instant: bool


@dataclass(frozen=True, slots=True)
class Panel:
    """What a panel or a mark of a dashboard asks at each refresh.

    A range has at most `points`, and they are at least `least` seconds apart.
    """

    board: str
    title: str
    queries: tuple[Query, ...]
    least: int
    points: int = POINTS

    def ranges(self) -> Iterator[str]:
        """The ranges at which it costs something else."""
        moves = any(not query.instant or "$__range" in query.expr for query in self.queries)
        yield from RANGES if moves else (NOW,)

    def step(self, span: int) -> int:
        """Seconds between the points of a range of so many seconds, as Grafana rounds them."""
        needed = span / self.points
        return max(self.least, next((taken for upto, taken in STEPS if needed <= upto), 43_200))

    def cost(self, prometheus: Prometheus, name: str, now: int) -> "Cost":
        """What its queries cost together at a range."""
        span = RANGES.get(name, 0)
        step = self.step(span)
        steps = span // step + 1
        answers, steady = [], []
        for query in self.queries:
            expr = timed(query.expr, span, step, self.least)
            reach = (0, 0) if query.instant else (span, step)
            tries = [prometheus.cost(expr, now, *reach) for _ in range(TRIES)]
            answers.append(sorted(tries, key=_seconds)[TRIES // 2])
            steady.append(0 if query.instant else _steady(prometheus, expr, now, steps))
        return Cost(
            board=self.board,
            title=self.title,
            range=name,
            samples=sum(max(answer.samples, least) for answer, least in zip(answers, steady, strict=True)),
            samples_read=sum(answer.samples for answer in answers),
            peak=max(answer.peak for answer in answers),
            seconds=sum(answer.seconds for answer in answers),
            refused=next((answer.refused for answer in answers if answer.refused), ""),
        )


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one panel at one range.

    `samples` are those that it loads over all its steps, and `found` those that were there to be loaded;
    `peak` those held at once. `refused` is what Prometheus says where it does not answer.
    """

    board: str
    title: str
    range: str
    samples: int
    samples_read: int
    peak: int
    seconds: float
    refused: str = ""

    @property
    def within(self) -> bool:
        """It is answered within both bounds, and from a past that was there."""
        there = self.samples <= FEW or self.samples_read >= SAMPLES_FOUND_MIN * self.samples
        return there and not self.refused and self.samples <= SAMPLES and self.seconds <= SECONDS


def panels(folder: Path) -> list[Panel]:
    """Of all dashboards of a folder: their marks and panels, those in closed rows too."""
    read = []
    for file in sorted(folder.glob("*.json")):
        board = json.loads(file.read_text(encoding="utf-8"))
        listed = [
            *({"title": f"mark: {mark['name']}", "targets": [mark]} for mark in board["annotations"]["list"]),
            *_flat(board["panels"]),
        ]
        for panel in listed:
            queries = tuple(
                Query(filled(target["expr"], board), bool(target.get("instant")))
                for target in panel.get("targets", ())
                if target.get("expr")
            )
            if queries:
                least = seconds(panel.get("interval") or LEAST_STEP)
                points = min(panel.get("maxDataPoints") or POINTS, POINTS)
                read.append(Panel(file.stem, panel["title"], queries, least, points))
    return read


def filled(expr: str, board: dict[str, Any]) -> str:
    """A query with everything selected, and the first of each choice."""
    for variable in sorted(board["templating"]["list"], key=lambda one: -len(one["name"])):
        match variable["type"]:
            case "query":
                value = (
                    (variable.get("allValue") or ".*")
                    if variable.get("includeAll")
                    else ONE[variable["name"]]
                )
            case "custom":
                value = variable["options"][0]["value"]
            case "textbox" | "constant":
                value = variable["query"]
            case _:
                continue
        name = variable["name"]
        for form in (f"${{{name}:regex}}", f"${{{name}}}", f"${name}"):
            expr = expr.replace(form, value)
    return expr


def timed(expr: str, span: int, step: int, least: int) -> str:
    """A query with the range, the step, and what a rate needs of a panel."""
    for name, value in (
        ("$__rate_interval", max(step + least, 4 * least)),
        ("$__interval", step),
        ("$__range", span),
    ):
        expr = expr.replace(f"{name}_s", str(value)).replace(name, f"{value}s")
    return expr


def costs(prometheus: Prometheus, listed: Sequence[Panel], now: int) -> list[Cost]:
    """What every panel costs at every range."""
    return [panel.cost(prometheus, name, now) for panel in listed for name in panel.ranges()]


def _steady(prometheus: Prometheus, expr: str, now: int, steps: int) -> int:
    """Samples of so many steps of a fleet that never changed; some are loaded once for all steps."""
    one, two = (prometheus.cost(expr, now, span, 60).samples for span in (0, 60))
    return one + max(two - one, 0) * (steps - 1)


def _flat(listed: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for panel in listed:
        yield panel
        yield from _flat(panel.get("panels", ()))


def _seconds(answer: QueryCost) -> float:
    return answer.seconds

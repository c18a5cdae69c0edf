"""Geometry of the charts of the last day and of the month.

Lengths along the axis of time are percentages and those across it are pixels, so that a chart takes the
width that there is and its text keeps its size.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from exporter.report import Hour
from exporter.units import NANOSECONDS_PER_DAY, NANOSECONDS_PER_HOUR, Instant, dollars
from exporter.web.summary import Summary
from exporter.web.wording import ABSENT, amount, local

HEIGHT: Final = 210
TOP: Final = 10
BOTTOM: Final = 22
CURVE: Final = 1000
"""Width of a curve's own coordinates, which are stretched to the chart's width."""

MOST_POINTS: Final = 120
"""Points of a curve: a month by the hour has six times as many, and looks the same."""

MOST_DIGITS: Final = 6
"""Decimals of dollars on an axis."""

FIRST_LABEL: Final = 4
LAST_LABEL: Final = 96
"""Percentages between which the label of a time is written whole."""


class PhaseGroup(NamedTuple):
    """A part of a bar."""

    name: str
    label: str
    phases: tuple[str, ...]


KINDS: Final = (
    PhaseGroup("work", "prefill and decode", ("prefill", "decode")),
    PhaseGroup("other", "busy, no tokens counted", ("other",)),
    PhaseGroup("idle", "idle", ("idle",)),
    PhaseGroup("unobserved", "not observed", ("unobserved",)),
)


class ChartScale:
    """Coordinates of times and dollars in a chart."""

    def __init__(self, first: Instant, last: Instant, most: float) -> None:
        size = 10.0 ** math.floor(math.log10(most / 5))
        # The smallest round number of which at most five reach the maximum.
        step = next(size * times for times in (1, 2, 2.5, 5, 10) if size * times * 5 >= most - 1e-9)
        steps = max(1, math.ceil(most / step - 1e-9))
        self._first = first
        self._span = max(1, last - first)
        self._most = step * steps
        amounts = [number * step for number in range(steps + 1)]
        self.grid = [_short(self.y(dollars)) for dollars in amounts]
        """The height of each step of dollars, from the axis up."""
        self.money_labels = [(_axis(dollars, step), _short(self.y(dollars) + 4)) for dollars in amounts]
        self.widest_label = max((word for word, _ in self.money_labels), key=len)
        """The label that makes the room for all."""

    def x(self, at: Instant) -> float:
        """Percent of the width."""
        return 100 * (at - self._first) / self._span

    def y(self, value: float) -> float:
        """Pixels from the top."""
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / self._most

    def time_labels(self, labels: Iterable[tuple[Instant, str]]) -> list[tuple[str, str]]:
        """Labels below the axis, without those that would be cut."""
        placed = ((self.x(at), word) for at, word in labels)
        return [(_percent(x), word) for x, word in placed if FIRST_LABEL <= x <= LAST_LABEL]


@dataclass(frozen=True, slots=True)
class Bar:
    """A part of an hour's bar."""

    x: str
    y: float
    width: str
    height: float
    kind: str
    title: str


@dataclass(frozen=True, slots=True)
class DayChart:
    """Dollars of each hour by phase, as bars and as a table."""

    scale: ChartScale
    bars: tuple[Bar, ...]
    time_labels: list[tuple[str, str]]
    kinds: tuple[PhaseGroup, ...]
    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, ...], ...]


def day(summary: Summary) -> DayChart | None:
    """Dollars of each hour by phase; `None` without any."""
    hours = summary.hours
    if not any(sum(hour.money.values()) > 0 for hour in hours):
        return None
    last = hours[-1].start + NANOSECONDS_PER_HOUR
    most = max(sum(map(dollars, hour.money.values())) for hour in hours)
    scale = ChartScale(hours[0].start, last, most)
    labels = (
        (hour.start, local(hour.start, summary.zone, "%H:%M"))
        for hour in hours
        if int(local(hour.start, summary.zone, "%H")) % 6 == 0
    )
    used = tuple(kind for kind in KINDS if any(_of(hour, kind.phases) for hour in hours))
    rows = []
    bars: list[Bar] = []
    """The stacked parts of each hour, each with a tooltip."""
    for hour in hours:
        below = 0.0
        left, right = scale.x(hour.start), scale.x(hour.start + NANOSECONDS_PER_HOUR)
        for kind in KINDS:
            money = dollars(_of(hour, kind.phases))
            if money <= 0:
                continue
            top = scale.y(below + money)
            bar = Bar(
                x=_percent(left),
                y=_short(top),
                width=_percent(right - left),
                height=_short(scale.y(below) - top),
                kind=f"{kind.name} so-far" if hour == hours[-1] else kind.name,
                title=f"{local(hour.start, summary.zone, '%H:%M')}: {amount(money)} {kind.label}",
            )
            bars.append(bar)
            below += money
        known = hour.covered > 0 or any(hour.money.values())
        amounts = [sum(hour.money.values()), *(_of(hour, kind.phases) for kind in used)]
        written = [amount(dollars(spent)) if known else ABSENT for spent in amounts]
        rows.append((local(hour.start, summary.zone, "%a %H:%M"), *written))
    return DayChart(
        scale=scale,
        bars=tuple(bars),
        time_labels=scale.time_labels(labels),
        kinds=used,
        columns=(("Hour", ""), ("$", "number"), *((kind.label, "number") for kind in used)),
        rows=tuple(rows),
    )


@dataclass(frozen=True, slots=True)
class BudgetLine:
    """The budget of a month as a line across its chart."""

    y: float
    label: str
    label_y: float


@dataclass(frozen=True, slots=True)
class MonthChart:
    """Month to date, projection and budget, as a curve."""

    label: str
    scale: ChartScale
    area: str
    """Points of the area below the curve."""
    curve: str
    """Points of the curve."""
    now_x: str
    now_y: float
    projected_y: float | None
    """Where the projection ends; `None` without one."""
    budget: BudgetLine | None
    time_labels: list[tuple[str, str]]


def month(summary: Summary) -> MonthChart | None:
    """Month to date, projection and budget; `None` without any."""
    line = summary.month
    if line is None or line.start is None or not line.points:
        return None
    spent, end, budget = line.points[-1].dollars, summary.projected_dollars, summary.budget_dollars
    most = max(spent, end or 0.0, budget or 0.0)
    if most <= 0:
        return None
    scale = ChartScale(line.start, line.end, most)
    points = [
        (round(scale.x(point.at) * CURVE / 100), scale.y(max(0.0, point.dollars))) for point in line.points
    ]
    every = max(1, len(points) // MOST_POINTS)
    curve = " ".join(f"{x},{_short(y)}" for x, y in (*points[:-1:every], points[-1]))
    base = _short(scale.y(0))
    now = line.points[-1]
    middays = [
        line.start + number * NANOSECONDS_PER_DAY + NANOSECONDS_PER_DAY // 2 for number in range(1, 28, 7)
    ]
    budget_line = None
    if budget is not None and budget > 0:
        y = scale.y(budget)
        money = _axis(budget, 1 if budget == round(budget) else 0.01)
        budget_line = BudgetLine(
            y=_short(y),
            label=f"{'' if summary.budget_configured else 'default '}budget {money}",
            label_y=_short(y - 4 if y > TOP + 14 else y + 13),
        )
    label = f"The month {line.name}: {amount(spent)} so far"
    if end is not None:
        label += f", {amount(end)} projected for its end"
    if budget is not None:
        label += f", budget {amount(budget)}"
    return MonthChart(
        label=label,
        scale=scale,
        area=f"{points[0][0]},{base} {curve} {points[-1][0]},{base}",
        curve=curve,
        now_x=_percent(scale.x(now.at)),
        now_y=_short(scale.y(max(0.0, now.dollars))),
        projected_y=None if end is None else _short(scale.y(end)),
        budget=budget_line,
        time_labels=scale.time_labels((at, local(at, summary.zone, "%d %b").lstrip("0")) for at in middays),
    )


def _of(hour: Hour, phases: Iterable[str]) -> int:
    return sum(hour.money.get(phase, 0) for phase in phases)


def _axis(value: float, step: float) -> str:
    """Dollars of an axis, with the decimals of its steps: cents at least unless these are whole."""
    digits = 0
    while digits < MOST_DIGITS and abs(step - round(step, digits)) > step / 1000:
        digits += 1
    return f"${value:,.{max(digits, 2) if digits and value else 0}f}"


def _short(coordinate: float) -> float:
    return round(coordinate, 1)


def _percent(ratio: float) -> str:
    return f"{ratio:.4g}%"

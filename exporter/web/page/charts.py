"""Charts of the last day and of the month as SVG, without a script, each with a table.

Lengths along the axis of time are percentages and those across it are pixels, so that a chart takes the
width that there is and its text keeps its size.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from exporter.report import Hour
from exporter.units import NANOSECONDS_PER_DAY, NANOSECONDS_PER_HOUR, Instant, dollars
from exporter.web.month import MonthLine
from exporter.web.page.layout import Content, Element, element, table
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

KINDS: Final = (
    ("work", "prefill and decode", ("prefill", "decode")),
    ("other", "busy, no tokens counted", ("other",)),
    ("idle", "idle", ("idle",)),
    ("unobserved", "not observed", ("unobserved",)),
)
"""Parts of a bar: class, label, phases."""


class _ChartScale:
    """Coordinates of times and dollars in a chart."""

    def __init__(self, first: Instant, last: Instant, most: float) -> None:
        self.step = _step(most)
        self.steps = max(1, math.ceil(most / self.step - 1e-9))
        self._first, self._span = first, max(1, last - first)
        self._most = self.step * self.steps

    def x(self, at: Instant) -> float:
        """Percent of the width."""
        return 100 * (at - self._first) / self._span

    def y(self, value: float) -> float:
        """Pixels from the top."""
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / self._most

    def grid(self) -> Iterator[Element]:
        """A line for each step of dollars."""
        for number in range(self.steps + 1):
            y = _short(self.y(number * self.step))
            yield element("line", x1=0, x2="100%", y1=y, y2=y, class_="grid" if number else "axis")

    def money_labels(self) -> Element:
        """A label for each step of dollars; the widest, unseen, makes the room for all."""
        words = [_axis(number * self.step, self.step) for number in range(self.steps + 1)]
        labels = (
            element("text", word, x="100%", y=_short(self.y(number * self.step) + 4), text_anchor="end")
            for number, word in enumerate(words)
        )
        return element(
            "div",
            element("span", max(words, key=len), aria_hidden="true"),
            element("svg", labels, height=HEIGHT),
            class_="money",
        )

    def time_label(self, at: Instant, text: str) -> Element | None:
        """A label below the axis; `None` where it would be cut."""
        x = self.x(at)
        if not FIRST_LABEL <= x <= LAST_LABEL:
            return None
        return element("text", text, x=_percent(x), y=HEIGHT - 6, text_anchor="middle")


def day(summary: Summary) -> Element | None:
    """Dollars of each hour by phase, as bars and as a table; `None` without any."""
    hours = summary.hours
    if not any(sum(hour.money.values()) > 0 for hour in hours):
        return None
    last = hours[-1].start + NANOSECONDS_PER_HOUR
    most = max(sum(map(dollars, hour.money.values())) for hour in hours)
    scale = _ChartScale(hours[0].start, last, most)
    bars = (bar for hour in hours for bar in _bars(scale, hour, summary))
    marks = (
        scale.time_label(hour.start, local(hour.start, summary.zone, "%H:%M"))
        for hour in hours
        if int(local(hour.start, summary.zone, "%H")) % 6 == 0
    )
    used = [kind for kind in KINDS if any(_of(hour, kind[2]) for hour in hours)]
    return element(
        "figure",
        _drawing(
            "Cost per hour by phase, last 24 hours and the current hour",
            scale,
            (*scale.grid(), *bars, *marks),
        ),
        _legend(used),
        element("p", "Dollars per hour. The current hour is incomplete.", class_="quiet"),
        _day_table(summary, used),
    )


def month(summary: Summary) -> Element | None:
    """Month to date, projection and budget, as a curve; `None` without any."""
    line = summary.month
    if line is None or line.start is None or not line.points:
        return None
    spent, end, budget = line.points[-1].dollars, summary.projected_dollars, summary.budget_dollars
    most = max(spent, end or 0.0, budget or 0.0)
    if most <= 0:
        return None
    scale = _ChartScale(line.start, line.end, most)
    now = line.points[-1]
    now_x, now_y = _percent(scale.x(now.at)), _short(scale.y(max(0.0, now.dollars)))
    ahead = None
    if end is not None:
        ahead = element("line", x1=now_x, y1=now_y, x2="100%", y2=_short(scale.y(end)), class_="ahead")
    return element(
        "figure",
        _drawing(
            _month_words(line, spent, end, budget),
            scale,
            (
                *scale.grid(),
                _curve(scale, line),
                ahead,
                *_budget(scale, budget, configured=summary.budget_configured),
                element("circle", cx=now_x, cy=now_y, r=3, class_="dot"),
                *_days(scale, line, summary),
            ),
        ),
        element(
            "p",
            "Solid: spent. Dashed: projected at the current tariff."
            if end is not None
            else "Solid: spent so far.",
            class_="quiet",
        ),
    )


def _curve(scale: _ChartScale, line: MonthLine) -> Element:
    points = [
        (round(scale.x(point.at) * CURVE / 100), scale.y(max(0.0, point.dollars))) for point in line.points
    ]
    path = " ".join(f"{x},{_short(y)}" for x, y in _thinned(points))
    base = _short(scale.y(0))
    return element(
        "svg",
        element("polygon", points=f"{points[0][0]},{base} {path} {points[-1][0]},{base}", class_="fill"),
        element("polyline", points=path, class_="spent"),
        viewBox=f"0 0 {CURVE} {HEIGHT}",
        preserveAspectRatio="none",
        width="100%",
        height=HEIGHT,
    )


def _bars(scale: _ChartScale, hour: Hour, summary: Summary) -> Iterator[Element]:
    """The stacked parts of an hour's bar, each with a tooltip."""
    below = 0.0
    left, right = scale.x(hour.start), scale.x(hour.start + NANOSECONDS_PER_HOUR)
    when = local(hour.start, summary.zone, "%H:%M")
    for kind, label, phases in KINDS:
        money = dollars(_of(hour, phases))
        if money <= 0:
            continue
        top = scale.y(below + money)
        yield element(
            "rect",
            element("title", f"{when}: {amount(money)} {label}"),
            x=_percent(left),
            y=_short(top),
            width=_percent(right - left),
            height=_short(scale.y(below) - top),
            class_=f"{kind} so-far" if hour == summary.hours[-1] else kind,
        )
        below += money


def _day_table(summary: Summary, used: Sequence[tuple[str, str, tuple[str, ...]]]) -> Element:
    def cells(hour: Hour) -> Iterator[Content]:
        known = hour.covered > 0 or any(hour.money.values())
        yield local(hour.start, summary.zone, "%a %H:%M")
        yield amount(dollars(sum(hour.money.values()))) if known else ABSENT
        for _kind, _word, phases in used:
            yield amount(dollars(_of(hour, phases))) if known else ABSENT

    return element(
        "details",
        element("summary", "Hourly table"),
        table(
            "Dollars of each hour",
            (("Hour", False), ("$", True), *((word, True) for _, word, _ in used)),
            map(cells, summary.hours),
            caption=False,
        ),
    )


def _budget(scale: _ChartScale, budget: float | None, *, configured: bool) -> Iterator[Element]:
    if budget is None or budget <= 0:
        return
    y = scale.y(budget)
    yield element("line", x1=0, x2="100%", y1=_short(y), y2=_short(y), class_="budget")
    yield element(
        "text",
        f"{'' if configured else 'default '}budget {_axis(budget, 1 if budget == round(budget) else 0.01)}",
        x=4,
        y=_short(y - 4 if y > TOP + 14 else y + 13),
        class_="budget-word",
    )


def _days(scale: _ChartScale, line: MonthLine, summary: Summary) -> Iterator[Element | None]:
    if line.start is None:
        return
    for number in range(1, 28, 7):
        at = line.start + number * NANOSECONDS_PER_DAY + NANOSECONDS_PER_DAY // 2
        yield scale.time_label(at, local(at, summary.zone, "%d %b").lstrip("0"))


def _month_words(line: MonthLine, spent: float, end: float | None, budget: float | None) -> str:
    words = f"The month {line.name}: {amount(spent)} so far"
    words += "" if end is None else f", {amount(end)} projected for its end"
    return words + ("" if budget is None else f", budget {amount(budget)}")


def _drawing(label: str, scale: _ChartScale, content: Iterable[Content]) -> Element:
    return element(
        "div",
        scale.money_labels(),
        element("svg", content, height=HEIGHT, class_="plot"),
        class_="chart",
        role="img",
        aria_label=label,
    )


def _legend(used: Iterable[tuple[str, str, tuple[str, ...]]]) -> Element:
    return element(
        "ul",
        (
            element(
                "li",
                element(
                    "svg",
                    element("rect", width=10, height=10, rx=2, class_=kind),
                    viewBox="0 0 10 10",
                    aria_hidden="true",
                ),
                word,
            )
            for kind, word, _ in used
        ),
        class_="legend",
    )


def _of(hour: Hour, phases: Iterable[str]) -> int:
    return sum(hour.money.get(phase, 0) for phase in phases)


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    every = max(1, len(points) // MOST_POINTS)
    return [*points[:-1:every], points[-1]]


def _step(most: float) -> float:
    """The smallest round number of which at most five reach the maximum."""
    size = 10.0 ** math.floor(math.log10(most / 5))
    return next(size * times for times in (1, 2, 2.5, 5, 10) if size * times * 5 >= most - 1e-9)


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

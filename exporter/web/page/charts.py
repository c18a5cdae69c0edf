"""Charts of the last day and of the month as SVG, without a script, each with a table."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from exporter.report import Hour
from exporter.units import NANOSECONDS_PER_DAY, NANOSECONDS_PER_HOUR, Instant, dollars
from exporter.web.page.layout import Content, Element, element, table
from exporter.web.summary import MonthLine, Summary
from exporter.web.wording import amount, local

WIDTH: Final = 400
HEIGHT: Final = 190
LEFT: Final = 54
RIGHT: Final = 6
TOP: Final = 10
BOTTOM: Final = 22
MOST_POINTS: Final = 240
"""Points of a curve: a month by the hour has three times as many, and looks the same."""

MOST_DIGITS: Final = 6
"""Decimals of dollars on an axis."""

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
        return LEFT + (WIDTH - LEFT - RIGHT) * (at - self._first) / self._span

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / self._most

    def grid(self) -> Iterator[Element]:
        """A line and a label for each step of dollars."""
        for number in range(self.steps + 1):
            value = number * self.step
            y = _short(self.y(value))
            kind = "grid" if number else "axis"
            yield element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_=kind)
            yield element(
                "text", _axis(value, self.step), x=LEFT - 6, y=_short(self.y(value) + 4), text_anchor="end"
            )

    def time_label(self, at: Instant, text: str) -> Element:
        """A label below the axis."""
        return element("text", text, x=_short(self.x(at)), y=HEIGHT - 6, text_anchor="middle")


def day(summary: Summary) -> Element | None:
    """Dollars of each hour by phase, as bars and as a table; `None` without any."""
    hours = summary.hours
    if not any(sum(hour.money.values()) > 0 for hour in hours):
        return None
    last = hours[-1].start + NANOSECONDS_PER_HOUR
    most = max(sum(map(dollars, hour.money.values())) for hour in hours)
    plot = _ChartScale(hours[0].start, last, most)
    bars = (bar for hour in hours for bar in _bars(plot, hour, summary))
    marks = (
        plot.time_label(hour.start, local(hour.start, summary.zone, "%H:%M"))
        for hour in hours
        if int(local(hour.start, summary.zone, "%H")) % 6 == 0
    )
    used = [kind for kind in KINDS if any(_of(hour, kind[2]) for hour in hours)]
    return element(
        "figure",
        _drawing(
            "Cost per hour by phase, last 24 hours and the current hour",
            (*plot.grid(), *bars, *marks),
        ),
        _legend(used),
        element("p", "Dollars per hour. The current hour is incomplete.", class_="quiet"),
        _day_table(summary, used),
    )


def month(summary: Summary) -> Element | None:
    """Month to date, projection and budget, as a curve and as a table; `None` without any."""
    line = summary.month
    if line is None or line.start is None or not line.points:
        return None
    spent, end, budget = line.points[-1].dollars, summary.projected_dollars, summary.budget_dollars
    most = max(spent, end or 0.0, budget or 0.0)
    if most <= 0:
        return None
    plot = _ChartScale(line.start, line.end, most)
    curve = _thinned([(plot.x(point.at), plot.y(max(0.0, point.dollars))) for point in line.points])
    now_x, now_y = curve[-1]
    start, base = _short(curve[0][0]), _short(plot.y(0))
    path = " ".join(f"{_short(x)},{_short(y)}" for x, y in curve)
    ahead = None
    if end is not None:
        ahead = element(
            "line",
            x1=_short(now_x),
            y1=_short(now_y),
            x2=_short(plot.x(line.end)),
            y2=_short(plot.y(end)),
            class_="ahead",
        )
    return element(
        "figure",
        _drawing(
            _month_words(line, spent, end, budget),
            (
                *plot.grid(),
                element(
                    "polygon",
                    points=f"{start},{base} {path} {_short(now_x)},{base}",
                    class_="fill",
                ),
                element("polyline", points=path, class_="spent"),
                ahead,
                *_budget(plot, budget, configured=summary.budget_configured),
                element("circle", cx=_short(now_x), cy=_short(now_y), r=3, class_="dot"),
                *_days(plot, line, summary),
            ),
        ),
        element(
            "p",
            "Solid: spent. Dashed: projected at the current tariff."
            if end is not None
            else "Solid: spent so far.",
            class_="quiet",
        ),
        element(
            "details",
            element("summary", "The month by day"),
            table(
                "Month to date at the end of each day",
                (("Day", False), ("$ so far", True)),
                (
                    (local(point.at - 1, summary.zone, "%a %d %b"), amount(point.dollars))
                    for point in line.days(summary.zone)
                ),
                caption=False,
            ),
        ),
    )


def _bars(plot: _ChartScale, hour: Hour, summary: Summary) -> Iterator[Element]:
    """The stacked parts of an hour's bar, each with a tooltip."""
    below = 0.0
    left, width = plot.x(hour.start) + 1, plot.x(hour.start + NANOSECONDS_PER_HOUR) - plot.x(hour.start) - 2
    when = local(hour.start, summary.zone, "%H:%M")
    for kind, label, phases in KINDS:
        money = dollars(_of(hour, phases))
        if money <= 0:
            continue
        top = plot.y(below + money)
        yield element(
            "rect",
            element("title", f"{when}: {amount(money)} {label}"),
            x=_short(left),
            y=_short(top),
            width=_short(width),
            height=_short(plot.y(below) - top),
            class_=f"{kind} so-far" if hour == summary.hours[-1] else kind,
        )
        below += money


def _day_table(summary: Summary, used: Sequence[tuple[str, str, tuple[str, ...]]]) -> Element:
    def cells(hour: Hour) -> Iterator[Content]:
        yield local(hour.start, summary.zone, "%a %H:%M")
        yield amount(dollars(sum(hour.money.values())))
        for _kind, _word, phases in used:
            yield amount(dollars(_of(hour, phases)))

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


def _budget(plot: _ChartScale, budget: float | None, *, configured: bool) -> Iterator[Element]:
    if budget is None or budget <= 0:
        return
    y = plot.y(budget)
    yield element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=_short(y), y2=_short(y), class_="budget")
    yield element(
        "text",
        f"{'' if configured else 'default '}budget {_axis(budget, 1 if budget == round(budget) else 0.01)}",
        x=LEFT + 4,
        y=_short(y - 4 if y > TOP + 14 else y + 13),
        class_="budget-word",
    )


def _days(plot: _ChartScale, line: MonthLine, summary: Summary) -> Iterator[Element]:
    if line.start is None:
        return
    for number in (0, 7, 14, 21, 28):
        at = line.start + number * NANOSECONDS_PER_DAY + NANOSECONDS_PER_DAY // 2
        if at < line.end:
            yield plot.time_label(at, local(at, summary.zone, "%d %b").lstrip("0"))


def _month_words(line: MonthLine, spent: float, end: float | None, budget: float | None) -> str:
    words = f"The month {line.name}: {amount(spent)} so far"
    words += "" if end is None else f", {amount(end)} projected for its end"
    return words + ("" if budget is None else f", budget {amount(budget)}")


def _drawing(label: str, content: Iterable[Content]) -> Element:
    return element(
        "svg", element("title", label), content, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=label
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

"""The days of the month as a calendar, and as a table with what is in no day."""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Final

from exporter.units import NANOSECONDS_PER_HOUR, dollars
from exporter.web.month import MonthDay, MonthLine
from exporter.web.page.layout import Content, Element, element, table
from exporter.web.summary import Summary
from exporter.web.wording import ABSENT, amount, local, rounded

WEEK: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
SHADES: Final = 4
CENTS_BELOW: Final = 10
"""Dollars from which a cell has no cents: seven of them fit a phone."""

THOUSANDS_FROM: Final = 100_000


def month_days(summary: Summary) -> Element | None:
    """The calendar; `None` where the month is unknown."""
    line = summary.month
    if line is None or not line.days:
        return None
    known = {day.day.name: day for day in line.days}
    most = max((day.amount or 0 for day in line.days), default=0)
    first = date.fromisoformat(f"{line.name}-01")
    weeks = (
        element("tr", (_cell(monday + timedelta(days=number), line, known, most) for number in range(7)))
        for monday in _mondays(first)
    )
    return element(
        "figure",
        element(
            "table",
            element("caption", f"Dollars of each day, {first:%B %Y}"),
            element("thead", element("tr", (element("th", word, scope="col") for word in WEEK))),
            element("tbody", weeks),
            class_="calendar",
        ),
        element("p", _words(summary, line), class_="quiet"),
        _day_table(summary, line),
    )


def _mondays(first: date) -> Iterator[date]:
    monday = first - timedelta(days=first.weekday())
    while monday <= first or monday.month == first.month:
        yield monday
        monday += timedelta(days=7)


def _cell(day: date, line: MonthLine, known: dict[str, MonthDay], most: int) -> Element:
    if f"{day:%Y-%m}" != line.name:
        return element("td")
    of_day = known.get(day.isoformat())
    spent = None if of_day is None else of_day.amount
    ahead = line.days[-1].day.name < day.isoformat()
    shade = 0 if not spent or spent < 0 or most <= 0 else -(-SHADES * spent // most)
    names = [f"shade-{shade}"] if shade else []
    if of_day is line.days[-1]:
        names.append("today")
    return element(
        "td",
        element("small", str(day.day)),
        None if ahead else " ",
        None if ahead else (ABSENT if spent is None else _short_amount(dollars(spent))),
        class_=" ".join(names) or None,
    )


def _short_amount(money: float) -> str:
    """A day's dollars in a narrow cell: cents below ten, thousands from a hundred thousand."""
    if abs(money) < CENTS_BELOW:
        return amount(money)
    if abs(money) < THOUSANDS_FROM:
        return f"{'-' if money < 0 else ''}${rounded(abs(money), 0):,}"
    return f"{'-' if money < 0 else ''}${rounded(abs(money) / 1000, 0):,}k"


def _words(summary: Summary, line: MonthLine) -> Iterator[Content]:
    yield "The outlined day is incomplete."
    if any(day.amount is None for day in line.days):
        yield f" {ABSENT}: not metered."
    if any(day.day.start % NANOSECONDS_PER_HOUR for day in line.days):
        yield " An hour counts for the day in which it ends: hours here are whole in UTC."
    if summary.month_estimated_dollars:
        yield f" {amount(summary.month_estimated_dollars)} of the month is by estimated prices."


def _day_table(summary: Summary, line: MonthLine) -> Element:
    def rows() -> Iterator[tuple[Content, ...]]:
        if line.rest:
            rest = amount(dollars(line.rest))
            yield "Adjustments, late charges", rest, rest
        for day in line.days:
            spent = ABSENT if day.amount is None else amount(dollars(day.amount))
            yield local(day.until - 1, summary.zone, "%a %d %b"), spent, amount(day.to_date)

    return element(
        "details",
        element("summary", "Daily table"),
        table(
            "Dollars of each day",
            (("Day", False), ("$", True), ("$ so far", True)),
            rows(),
            caption=False,
        ),
    )

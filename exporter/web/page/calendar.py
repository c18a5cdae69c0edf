"""The days of the month as a calendar, and as a table with what is in no day."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from exporter.units import NANOSECONDS_PER_HOUR, dollars
from exporter.web.month import MonthLine
from exporter.web.summary import Summary
from exporter.web.wording import ABSENT, amount, local, rounded

SHADES: Final = 4
CENTS_BELOW: Final = 10
"""Dollars from which a cell has no cents: seven of them fit a phone."""

THOUSANDS_FROM: Final = 100_000


@dataclass(frozen=True, slots=True)
class CalendarDay:
    """One cell of the calendar."""

    number: int
    amount: str
    """What the day cost, in few characters; empty for a day to come."""
    classes: str


@dataclass(frozen=True, slots=True)
class Calendar:
    """The weeks of a month, of seven days each; `None` is a day of another month."""

    caption: str
    weeks: tuple[tuple[CalendarDay | None, ...], ...]
    words: str
    rows: tuple[tuple[str, str, str], ...]


def month_days(summary: Summary) -> Calendar | None:
    """The calendar; `None` where the month is unknown."""
    line = summary.month
    if line is None or not line.days:
        return None
    first = date.fromisoformat(f"{line.name}-01")
    monday = first - timedelta(days=first.weekday())
    weeks = []
    while monday <= first or monday.month == first.month:
        weeks.append(tuple(_cell(monday + timedelta(days=number), line) for number in range(7)))
        monday += timedelta(days=7)
    return Calendar(
        caption=f"Dollars of each day, {first:%B %Y}",
        weeks=tuple(weeks),
        words=" ".join(_words(summary, line)),
        rows=tuple(_rows(summary, line)),
    )


def _cell(day: date, line: MonthLine) -> CalendarDay | None:
    if f"{day:%Y-%m}" != line.name:
        return None
    of_day = next((known for known in line.days if known.day.name == day.isoformat()), None)
    spent = None if of_day is None else of_day.amount
    most = max(known.amount or 0 for known in line.days)
    is_ahead = line.days[-1].day.name < day.isoformat()
    shade = -(-SHADES * spent // most) if spent and spent > 0 else 0
    names = [f"shade-{shade}"] if shade else []
    if of_day is line.days[-1]:
        names.append("today")
    written = ABSENT if spent is None else _short_amount(dollars(spent))
    return CalendarDay(day.day, "" if is_ahead else written, " ".join(names))


def _short_amount(money: float) -> str:
    """A day's dollars in a narrow cell: cents below ten, thousands from a hundred thousand."""
    if abs(money) < CENTS_BELOW:
        return amount(money)
    if abs(money) < THOUSANDS_FROM:
        return f"{'-' if money < 0 else ''}${rounded(abs(money), 0):,}"
    return f"{'-' if money < 0 else ''}${rounded(abs(money) / 1000, 0):,}k"


def _words(summary: Summary, line: MonthLine) -> Iterator[str]:
    yield "The outlined day is incomplete."
    if any(day.amount is None for day in line.days):
        yield f"{ABSENT}: not metered."
    if any(day.day.start % NANOSECONDS_PER_HOUR for day in line.days):
        yield "An hour counts for the day in which it ends: hours here are whole in UTC."
    if summary.month_estimated_dollars:
        yield f"{amount(summary.month_estimated_dollars)} of the month is by estimated prices."


def _rows(summary: Summary, line: MonthLine) -> Iterator[tuple[str, str, str]]:
    if line.rest:
        rest = amount(dollars(line.rest))
        yield "Adjustments, late charges", rest, rest
    for day in line.days:
        spent = ABSENT if day.amount is None else amount(dollars(day.amount))
        yield local(day.until - 1, summary.zone, "%a %d %b"), spent, amount(day.to_date)

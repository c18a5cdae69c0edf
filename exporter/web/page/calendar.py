"""The days of the month as a calendar."""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from exporter.units import dollars
from exporter.web.month import MonthLine
from exporter.web.summary import Summary
from exporter.web.wording import ABSENT, amount, rounded

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

    @classmethod
    def of(cls, day: date, line: MonthLine) -> "CalendarDay":
        """The cell of a day of the month."""
        of_day = next((known for known in line.days if known.day.name == day.isoformat()), None)
        spent = None if of_day is None else of_day.amount
        most = max(known.amount or 0 for known in line.days)
        is_ahead = line.days[-1].day.name < day.isoformat()
        shade = -(-SHADES * spent // most) if spent and spent > 0 else 0
        names = [f"shade-{shade}"] if shade else []
        if of_day is line.days[-1]:
            names.append("today")
        # A narrow cell has cents below ten dollars only, and thousands from a hundred thousand.
        money = dollars(spent or 0)
        sign = "-" if money < 0 else ""
        if is_ahead:
            written = ""
        elif spent is None:
            written = ABSENT
        elif abs(money) < CENTS_BELOW:
            written = amount(money)
        elif abs(money) < THOUSANDS_FROM:
            written = f"{sign}${rounded(abs(money), 0):,}"
        else:
            written = f"{sign}${rounded(abs(money) / 1000, 0):,}k"
        return cls(day.day, written, " ".join(names))


@dataclass(frozen=True, slots=True)
class Calendar:
    """The weeks of a month, of seven days each; `None` is a day of another month."""

    caption: str
    weeks: tuple[tuple[CalendarDay | None, ...], ...]
    line: MonthLine
    """The month with its days."""


def month_days(summary: Summary) -> Calendar | None:
    """The calendar; `None` where the month is unknown."""
    line = summary.month
    if line is None or not line.days:
        return None
    first = date.fromisoformat(f"{line.name}-01")
    monday = first - timedelta(days=first.weekday())
    weeks = []
    while monday <= first or monday.month == first.month:
        week = [monday + timedelta(days=number) for number in range(7)]
        weeks.append(tuple(CalendarDay.of(day, line) if day.month == first.month else None for day in week))
        monday += timedelta(days=7)
    return Calendar(
        caption=f"Dollars of each day, {first:%B %Y}",
        weeks=tuple(weeks),
        line=line,
    )

"""Months, quarters and days as periods."""

import re
from datetime import date
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.tariff.calendar import first_instant, month_of
from exporter.tariff.period import Period
from tests.kit.units import HOUR

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("name", "first", "last", "months", "hours"),
    [
        ("2026-10", date(2026, 10, 1), date(2026, 10, 31), ("2026-10",), 745),
        ("2024-02", date(2024, 2, 1), date(2024, 2, 29), ("2024-02",), 696),
        ("2026-Q1", date(2026, 1, 1), date(2026, 3, 31), ("2026-01", "2026-02", "2026-03"), 2159),
        ("2026-Q4", date(2026, 10, 1), date(2026, 12, 31), ("2026-10", "2026-11", "2026-12"), 2209),
        ("2026-12-31/2027-01-01", date(2026, 12, 31), date(2027, 1, 1), ("2026-12", "2027-01"), 48),
        ("2026-03-29/2026-03-29", date(2026, 3, 29), date(2026, 3, 29), ("2026-03",), 23),
    ],
)
def test_a_period_of_each_kind(
    name: str, first: date, last: date, months: tuple[str, ...], hours: int
) -> None:
    """Hours are those of Berlin, whose clocks change in March and in October."""
    period = Period.named(name)
    start, end = period.bounds(BERLIN)

    assert (period.name, period.first, period.last, period.months) == (name, first, last, months)
    assert (end - start, len(list(period.days))) == (hours * HOUR, (last - first).days + 1)
    assert period.whole_months == ("/" not in name)


def test_days_that_are_a_month_or_a_quarter_have_its_name() -> None:
    """Four months have none."""
    assert Period.between(date(2026, 10, 1), date(2026, 10, 31)).name == "2026-10"
    assert Period.between(date(2026, 7, 1), date(2026, 9, 30)).name == "2026-Q3"
    assert Period.between(date(2026, 8, 1), date(2026, 10, 31)).name == "2026-08-01/2026-10-31"
    assert Period.between(date(2026, 8, 1), date(2026, 10, 31)).whole_months


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("2026-Q5", "'2026-Q5' is no period: expected one like 2026-10, 2026-Q3 or 2026-10-05/2026-10-11"),
        ("2026-13", "'2026-13' is no period"),
        ("2026-10-31/2026-10-01", "2026-10-01 is before 2026-10-31"),
        ("2026-02-30/2026-03-01", "day is out of range for month"),
        ("0001-01", "0001-01: years are from 1971 to 9998"),
    ],
)
def test_a_name_of_no_period_is_refused(name: str, message: str) -> None:
    """With what is wrong about it."""
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        Period.named(name)


@given(st.dates(date(2000, 1, 1), date(2100, 1, 1)), st.integers(0, 400))
def test_a_name_names_its_period(first: date, length: int) -> None:
    """And a month has the bounds of the calendar."""
    period = Period.between(first, date.fromordinal(first.toordinal() + length))
    month = Period.named(f"{first:%Y-%m}")
    calendar = month_of(first_instant(first.year, first.month, first.day, BERLIN), BERLIN)

    assert Period.named(period.name) == period
    assert month.bounds(BERLIN) == (calendar.start, calendar.end)
    assert month.name == calendar.name

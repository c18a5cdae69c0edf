"""Numbers, instants and dates as bills write them."""

import re
from zoneinfo import ZoneInfo

import pytest

from exporter.finance.bill.charges import calendar_day, moment, money, period
from tests.kit.units import HOUR, NOVEMBER

UTC = ZoneInfo("UTC")


@pytest.mark.parametrize(
    ("text", "picodollars"),
    [
        ("1320.96", 1_320_960_000_000_000),
        ("-55.04", -55_040_000_000_000),
        ("6.123E-7", 612_300),
        ("1.2e2", 120 * 10**12),
        (" 7 ", 7 * 10**12),
        (".5", 5 * 10**11),
        ("0.0000000000005", 0),  # half a picodollar goes to the even one
        ("0.0000000000015", 2),
        ("1E-400", 0),
        ("1000000000", 10**21),
    ],
)
def test_money_is_exact(text: str, picodollars: int) -> None:
    """From the digits; a float never sees it."""
    assert picodollars == money(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", '"" is no number: expected digits with a point, like -1234.56'),
        ("12,50", '"12,50" is no number: expected digits with a point, like -1234.56'),
        ("$5", '"$5" is no number: expected digits with a point, like -1234.56'),
        ("NaN", '"NaN" is no number: expected digits with a point, like -1234.56'),
        ("inf", '"inf" is no number: expected digits with a point, like -1234.56'),
        ("1_0", '"1_0" is no number: expected digits with a point, like -1234.56'),
        ("\u0661", '"\u0661" is no number: expected digits with a point, like -1234.56'),
        (
            "1" * 61,
            f'"{"1" * 40}..." is no number: expected digits with a point, like -1234.56',
        ),
        ("1E9999", '"1E9999" is out of range: at most 1000000000 either way in one row'),
        ("-1000000001", '"-1000000001" is out of range: at most 1000000000 either way in one row'),
    ],
)
def test_what_is_no_money_is_refused(text: str, message: str) -> None:
    """By what it is and what is expected."""
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        money(text)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-01T00:00:00Z",
        "2026-11-01T00:00:00.000Z",
        "2026-11-01T00:00Z",
        "2026-11-01 00:00:00 UTC",
        "2026-11-01 00:00:00",
        "2026-11-01 00:00:00.123456+00",
        "2026-11-01T00:00:00+00:00",
        "2026-11-01",
    ],
)
def test_instants_of_each_provider(text: str) -> None:
    """AWS, Azure, BigQuery and databases write the same instant in their own ways."""
    assert moment(text) == NOVEMBER


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2026-11-31T00:00:00Z", '"2026-11-31T00:00:00Z" does not exist in the calendar'),
        ("2026-02-29", '"2026-02-29T00:00:00Z" does not exist in the calendar'),
        (
            "2026-11-01T00:00:00+02:00",
            '"2026-11-01T00:00:00+02:00" is no time of UTC: expected one like 2026-10-01T00:00:00Z',
        ),
        ("0001-01-01", '"0001-01-01T00:00:00Z" is out of range: years are from 1972 to 9997'),
        ("9999-12-31", '"9999-12-31T00:00:00Z" is out of range: years are from 1972 to 9997'),
        ("11/01/2026", '"11/01/2026" is no time of UTC: expected one like 2026-10-01T00:00:00Z'),
        ("", '"" is no time of UTC: expected one like 2026-10-01T00:00:00Z'),
    ],
)
def test_what_is_no_instant_is_refused(text: str, message: str) -> None:
    """An offset other than zero is none that FOCUS knows."""
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        moment(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2026-02-30", '"2026-02-30" does not exist in the calendar'),
        ("2026-1-5", '"2026-1-5" is no date: expected one like 2026-10-31'),
        ("0000-01-01", '"0000-01-01" does not exist in the calendar'),
        ("9999-12-31", '"9999-12-31" is out of range: years are from 1972 to 9997'),
        ("1971-12-31", '"1971-12-31" is out of range: years are from 1972 to 9997'),
    ],
)
def test_what_is_no_date_is_refused(text: str, message: str) -> None:
    """By what it is and what is expected."""
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        calendar_day(text, UTC)


def test_a_day_of_a_zone_has_23_or_25_hours_where_clocks_change() -> None:
    """Berlin: 25 October 2026 has 25 hours, 29 March 23."""
    berlin = ZoneInfo("Europe/Berlin")
    autumn, spring = calendar_day("2026-10-25", berlin), calendar_day("2026-03-29", berlin)
    assert (autumn.end - autumn.start, spring.end - spring.start) == (25 * HOUR, 23 * HOUR)


def test_an_hour_lies_in_a_day_of_both_calendars() -> None:
    """Five in the morning of UTC is ten in the evening before in Los Angeles, in summer."""
    start = moment("2026-10-02T05:00:00Z")
    invoice_period = period(start, start + HOUR, ZoneInfo("America/Los_Angeles"))
    assert (invoice_period.local, invoice_period.utc, invoice_period.month) == (
        "2026-10-01",
        "2026-10-02",
        None,
    )


def test_a_day_of_utc_lies_in_no_one_day_of_another_zone() -> None:
    """It is a day of UTC alone; half an hour of Kolkata's offset cuts even an hour."""
    start = moment("2026-10-02")
    day = period(start, start + 24 * HOUR, ZoneInfo("America/Los_Angeles"))
    hour = period(start + 18 * HOUR, start + 19 * HOUR, ZoneInfo("Asia/Kolkata"))
    assert (day.local, day.utc, day.month) == (None, "2026-10-02", None)
    assert (hour.local, hour.utc) == (None, "2026-10-02")


def test_a_longer_period_is_of_its_month_or_of_none() -> None:
    """A month's tax; and 30 days that begin in the middle of one."""
    october, middle = moment("2026-10-01"), moment("2026-10-15")
    assert period(october, NOVEMBER, UTC).month == "2026-10"
    crossing = period(middle, middle + 30 * 24 * HOUR, UTC)
    assert (crossing.local, crossing.utc, crossing.month) == (None, None, None)


def test_a_local_day_of_25_hours_is_a_day() -> None:
    """A row of it, as an export in local days would have it."""
    berlin = ZoneInfo("Europe/Berlin")
    day = calendar_day("2026-10-25", berlin)
    invoice_period = period(day.start, day.end, berlin)
    assert (invoice_period.local, invoice_period.month) == ("2026-10-25", None)

"""Where a tick is cut."""

from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cost.intervals import split_interval
from exporter.tariff.tariff import Tariff
from exporter.tariff.terms import Hardware, HardwareMatch, Rented, RentPrice
from tests.cost.readings import moment
from tests.kit.units import HOUR, MINUTE, SECOND

UTC = ZoneInfo("UTC")
TURN = moment("2026-12-01T00:00:00+00:00")


def dated(*since: int) -> Tariff:
    prices = tuple(RentPrice(Decimal(1), since=instant) for instant in since)
    return Tariff("h", (Hardware(HardwareMatch(), Rented(prices), "x"),))


def test_a_tick_inside_a_minute_is_whole() -> None:
    """Nothing changes in it."""
    assert split_interval(TURN + 5 * SECOND, TURN + 15 * SECOND, Tariff(), UTC) == [
        (TURN + 5 * SECOND, TURN + 15 * SECOND)
    ]


def test_a_tick_is_cut_at_a_minute() -> None:
    """The window of prices is of whole minutes."""
    assert split_interval(TURN + 55 * SECOND, TURN + 65 * SECOND, Tariff(), UTC) == [
        (TURN + 55 * SECOND, TURN + MINUTE),
        (TURN + MINUTE, TURN + 65 * SECOND),
    ]


def test_a_tick_that_begins_and_ends_on_minutes_is_not_cut_there() -> None:
    """No stretch has no length."""
    assert split_interval(TURN, TURN + MINUTE, Tariff(), UTC) == [(TURN, TURN + MINUTE)]


def test_a_tick_is_cut_where_a_price_begins() -> None:
    """To the nanosecond."""
    change = TURN + 7 * SECOND + 1
    assert split_interval(TURN + SECOND, TURN + 11 * SECOND, dated(change), UTC) == [
        (TURN + SECOND, change),
        (change, TURN + 11 * SECOND),
    ]


def test_a_long_tick_is_cut_by_the_hour() -> None:
    """What is shorter than an hour goes by the minute; an hour, and anything longer, by the hour."""
    assert len(split_interval(TURN, TURN + HOUR - 1, Tariff(), UTC)) == 60
    assert split_interval(TURN, TURN + HOUR, Tariff(), UTC) == [(TURN, TURN + HOUR)]
    assert split_interval(TURN + 30 * MINUTE, TURN + 2 * HOUR, Tariff(), UTC) == [
        (TURN + 30 * MINUTE, TURN + HOUR),
        (TURN + HOUR, TURN + 2 * HOUR),
    ]


@pytest.mark.parametrize(
    ("zone", "turn"),
    [
        ("UTC", "2026-12-01T00:00:00+00:00"),
        ("Europe/Berlin", "2026-12-01T00:00:00+01:00"),
        ("America/New_York", "2026-12-01T00:00:00-05:00"),
        ("Asia/Kathmandu", "2026-12-01T00:00:00+05:45"),
    ],
)
def test_a_tick_is_cut_at_the_end_of_the_local_month(zone: str, turn: str) -> None:
    """Also in a tick that is cut by the hour only, where the month ends at a quarter past."""
    end = moment(turn)
    cuts = {start for start, _ in split_interval(end - 3 * HOUR, end + 3 * HOUR, Tariff(), ZoneInfo(zone))}
    assert end in cuts


def test_a_tick_of_months_is_cut_at_each() -> None:
    """A machine that slept over new year."""
    zone = ZoneInfo("Asia/Kathmandu")
    reported = split_interval(TURN - 40 * 24 * HOUR, TURN + 40 * 24 * HOUR, Tariff(), zone)
    turns = [moment(f"{month}-01T00:00:00+05:45") for month in ("2026-11", "2026-12", "2027-01")]
    assert {start for start, _ in reported} >= set(turns)


@pytest.mark.parametrize(
    ("zone", "begin", "turns"),
    [
        # Clocks go back an hour on this day in New York, and forward on that one in Auckland.
        ("America/New_York", "2026-11-01T00:00:00-04:00", ["2026-11-02T00:00:00-05:00"]),
        ("Pacific/Auckland", "2026-09-27T00:00:00+12:00", ["2026-09-28T00:00:00+13:00"]),
        # Midnight itself is skipped: the day begins at one.
        ("Africa/Cairo", "2026-04-23T00:00:00+02:00", ["2026-04-24T01:00:00+03:00"]),
        ("UTC", "2028-02-28T00:00:00+00:00", ["2028-02-29T00:00:00+00:00", "2028-03-01T00:00:00+00:00"]),
        ("Asia/Kathmandu", "2026-11-30T00:00:00+05:45", ["2026-12-01T00:00:00+05:45"]),
    ],
)
def test_a_tick_is_cut_at_local_midnights(zone: str, begin: str, turns: list[str]) -> None:
    """Also where the day has 23 or 25 hours, and in a leap year; no later midnight is one."""
    start = moment(begin)
    end = moment(turns[-1]) + HOUR
    reported = split_interval(start, end, Tariff(), ZoneInfo(zone))
    hours = set(range(start - start % HOUR, end, HOUR))
    assert {since for since, _ in reported} - hours - {start} == {moment(turn) for turn in turns} - hours
    assert {moment(turn) for turn in turns} <= {since for since, _ in reported}


@given(
    st.integers(0, 3 * HOUR),
    st.integers(1, 3 * HOUR),
    st.lists(st.integers(0, 6 * HOUR), max_size=4),
)
def test_stretches_cover_the_tick_once(start: int, length: int, changes: list[int]) -> None:
    """No gap, no overlap, nothing empty; each price's beginning inside is a cut."""
    begin = TURN - 2 * HOUR + start
    reported = split_interval(
        begin, begin + length, dated(*(TURN - 2 * HOUR + change for change in changes)), UTC
    )
    assert reported[0][0] == begin
    assert reported[-1][1] == begin + length
    assert all(since < until for since, until in reported)
    assert [until for _, until in reported[:-1]] == [since for since, _ in reported[1:]]
    inside = {TURN - 2 * HOUR + change for change in changes if start < change < start + length}
    assert inside <= {since for since, _ in reported}

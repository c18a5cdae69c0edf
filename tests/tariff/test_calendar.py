"""Months and days of real time zones, against instants looked up in the zones' own rules."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from exporter.tariff.calendar import day_of, first_instant, month_before, month_of
from tests.kit.units import HOUR, SECOND


def instant(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * SECOND


@pytest.mark.parametrize(
    ("zone", "inside", "name", "start", "end", "hours"),
    [
        ("UTC", "2026-02-14T00:00+00:00", "2026-02", "2026-02-01T00:00+00:00", "2026-03-01T00:00+00:00", 672),
        ("UTC", "2028-02-29T23:59+00:00", "2028-02", "2028-02-01T00:00+00:00", "2028-03-01T00:00+00:00", 696),
        ("UTC", "2026-12-31T12:00+00:00", "2026-12", "2026-12-01T00:00+00:00", "2027-01-01T00:00+00:00", 744),
        # 31 days less the hour that daylight saving takes; plus the hour that it gives back
        (
            "Europe/Berlin",
            "2026-03-29T12:00+02:00",
            "2026-03",
            "2026-03-01T00:00+01:00",
            "2026-04-01T00:00+02:00",
            743,
        ),
        (
            "Europe/Berlin",
            "2026-10-03T12:00+02:00",
            "2026-10",
            "2026-10-01T00:00+02:00",
            "2026-11-01T00:00+01:00",
            745,
        ),
        (
            "America/New_York",
            "2026-03-01T00:00-05:00",
            "2026-03",
            "2026-03-01T00:00-05:00",
            "2026-04-01T00:00-04:00",
            743,
        ),
        (
            "America/New_York",
            "2026-11-30T23:59-05:00",
            "2026-11",
            "2026-11-01T00:00-04:00",
            "2026-12-01T00:00-05:00",
            721,
        ),
        # the southern half of the year: April gives the hour back, September takes it
        (
            "Pacific/Auckland",
            "2026-04-20T12:00+12:00",
            "2026-04",
            "2026-04-01T00:00+13:00",
            "2026-05-01T00:00+12:00",
            721,
        ),
        (
            "Pacific/Auckland",
            "2026-09-20T12:00+12:00",
            "2026-09",
            "2026-09-01T00:00+12:00",
            "2026-10-01T00:00+13:00",
            719,
        ),
    ],
)
def test_a_month_has_its_true_length(
    zone: str, inside: str, name: str, start: str, end: str, hours: int
) -> None:
    """A month runs from local midnight to local midnight; daylight saving changes its length."""
    month = month_of(instant(inside), ZoneInfo(zone))
    assert (month.name, month.start, month.end) == (name, instant(start), instant(end))
    assert month.length == hours * HOUR


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Pacific/Auckland", "America/Sao_Paulo"])
def test_months_follow_one_another_without_gap_or_overlap(zone: str) -> None:
    """The nanosecond before a month's end is in it, the end is in the next one, and back again."""
    where = ZoneInfo(zone)
    month = month_of(instant("2015-06-15T00:00+00:00"), where)
    names = [month.name]
    for _ in range(40):
        assert month_of(month.end - 1, where) == month
        following = month_of(month.end, where)
        assert following.start == month.end
        assert month_before(following, where) == month
        month = following
        names.append(month.name)
    assert len(set(names)) == 41
    assert names == sorted(names)


def test_another_zone_is_in_another_month_at_the_same_instant() -> None:
    """New year comes 13 hours earlier to Auckland than to UTC."""
    turn = instant("2026-12-31T11:30+00:00")
    assert month_of(turn, ZoneInfo("Pacific/Auckland")).name == "2027-01"
    assert month_of(turn, ZoneInfo("UTC")).name == "2026-12"


@pytest.mark.parametrize(
    ("zone", "day", "first"),
    [
        ("America/Sao_Paulo", (2018, 11, 4), "2018-11-04T01:00-02:00"),  # midnight is skipped
        ("Africa/Cairo", (2026, 4, 24), "2026-04-24T01:00+03:00"),  # midnight is skipped
        ("America/Havana", (2026, 11, 1), "2026-11-01T00:00-04:00"),  # midnight comes twice: the first one
        ("America/Sao_Paulo", (2018, 2, 18), "2018-02-18T00:00-03:00"),  # 23 h to 24 h come twice before it
        ("Europe/Berlin", (2026, 3, 29), "2026-03-29T00:00+01:00"),  # the change comes after midnight
        ("Pacific/Apia", (2011, 12, 31), "2011-12-31T00:00+14:00"),  # the day before did not exist
        ("UTC", (2028, 2, 29), "2028-02-29T00:00+00:00"),
    ],
)
def test_the_first_instant_of_a_day(zone: str, day: tuple[int, int, int], first: str) -> None:
    """A date begins at its first instant, also where midnight does not exist or occurs twice."""
    actual = first_instant(*day, ZoneInfo(zone))
    assert actual == instant(first)
    before = datetime.fromtimestamp(actual // SECOND - 1, ZoneInfo(zone)).date()
    assert before < datetime(*day, tzinfo=UTC).date()


def test_a_month_may_begin_at_a_midnight_that_comes_twice() -> None:
    """Cuba sets its clocks back on 1 November 2020: the month has 721 hours, both midnights among them."""
    month = month_of(instant("2020-11-15T00:00+00:00"), ZoneInfo("America/Havana"))
    assert month.length == (30 * 24 + 1) * HOUR
    twice = [month.start, month.start + HOUR]
    assert [month_of(each, ZoneInfo("America/Havana")).name for each in twice] == ["2020-11", "2020-11"]
    assert timedelta(seconds=month.length / SECOND) == timedelta(days=30, hours=1)


@pytest.mark.parametrize("day", [(2026, 2, 29), (2026, 13, 1), (2026, 4, 31)])
def test_a_date_that_does_not_exist_is_refused(day: tuple[int, int, int]) -> None:
    """There is no first instant of 29 February 2026."""
    with pytest.raises(ValueError, match=r"day|month"):
        first_instant(*day, ZoneInfo("UTC"))


@pytest.mark.parametrize(
    ("zone", "inside", "name", "start", "hours"),
    [
        ("UTC", "2028-02-29T23:59+00:00", "2028-02-29", "2028-02-29T00:00+00:00", 24),
        # Clocks go back in New York, forward in Auckland, and forward at midnight in Cairo.
        ("America/New_York", "2026-11-01T23:00-05:00", "2026-11-01", "2026-11-01T00:00-04:00", 25),
        ("Pacific/Auckland", "2026-09-27T12:00+13:00", "2026-09-27", "2026-09-27T00:00+12:00", 23),
        ("Africa/Cairo", "2026-04-24T01:00+03:00", "2026-04-24", "2026-04-24T01:00+03:00", 23),
        ("Asia/Kathmandu", "2026-12-31T12:00+05:45", "2026-12-31", "2026-12-31T00:00+05:45", 24),
        # There was no 30 December in Samoa.
        ("Pacific/Apia", "2011-12-29T12:00-10:00", "2011-12-29", "2011-12-29T00:00-10:00", 24),
        ("Pacific/Apia", "2011-12-31T00:00+14:00", "2011-12-31", "2011-12-31T00:00+14:00", 24),
    ],
)
def test_a_day_is_the_local_one(zone: str, inside: str, name: str, start: str, hours: int) -> None:
    """From its first instant to the next day's, by the zone's own rules."""
    day = day_of(instant(inside), ZoneInfo(zone))
    assert (day.name, day.start, day.end) == (name, instant(start), instant(start) + hours * HOUR)

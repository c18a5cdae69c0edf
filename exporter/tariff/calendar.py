"""Months and days of the configured time zone, as instants."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from exporter.units import NANOSECONDS_PER_SECOND, Instant, Nanoseconds

MONTHS_PER_YEAR = 12


@dataclass(frozen=True, slots=True)
class Month:
    """A calendar month: [start, end) on the wall clock. Its length includes daylight saving."""

    name: str
    start: Instant
    end: Instant

    @property
    def length(self) -> Nanoseconds:
        """The month's true length."""
        return self.end - self.start


def month_of(instant: Instant, zone: ZoneInfo) -> Month:
    """The month that holds an instant."""
    local = datetime.fromtimestamp(instant // NANOSECONDS_PER_SECOND, zone)
    return _month(local.year, local.month, zone)


@dataclass(frozen=True, slots=True)
class Day:
    """A calendar day: [start, end) on the wall clock, 23 or 25 hours where daylight saving changes."""

    name: str
    start: Instant
    end: Instant


def day_of(instant: Instant, zone: ZoneInfo) -> Day:
    """The local day that holds an instant; its name is like 2026-11-30."""
    local = datetime.fromtimestamp(instant // NANOSECONDS_PER_SECOND, zone)
    return _day(local.year, local.month, local.day, zone)


def month_before(month: Month, zone: ZoneInfo) -> Month:
    """The month that ended where this one starts."""
    return month_of(month.start - 1, zone)


@lru_cache(maxsize=32)
def _month(year: int, month: int, zone: ZoneInfo) -> Month:
    carry, following = divmod(month, MONTHS_PER_YEAR)
    return Month(
        name=f"{year:04d}-{month:02d}",
        start=first_instant(year, month, 1, zone),
        end=first_instant(year + carry, following + 1, 1, zone),
    )


@lru_cache(maxsize=32)
def _day(year: int, month: int, day: int, zone: ZoneInfo) -> Day:
    following = date(year, month, day) + timedelta(days=1)
    return Day(
        name=f"{year:04d}-{month:02d}-{day:02d}",
        start=first_instant(year, month, day, zone),
        end=first_instant(following.year, following.month, following.day, zone),
    )


def first_instant(year: int, month: int, day: int, zone: ZoneInfo) -> Instant:
    """The first instant of a local day, also where daylight saving skips midnight.

    Raises:
        ValueError: no such date.
    """
    # A midnight that does not exist is read with the offset before the change (PEP 495, fold 0), which lands
    # on the same instant as the first one after the gap; one that occurs twice is read as the first (fold 0).
    midnight = datetime(year, month, day, tzinfo=zone)
    return int(midnight.astimezone(UTC).timestamp()) * NANOSECONDS_PER_SECOND

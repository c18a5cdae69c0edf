"""Values as bills write them: numbers, instants, days. Pure."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from exporter import units
from exporter.config.problems import shown
from exporter.finance.invoice import InvoicePeriod
from exporter.tariff.calendar import Day, day_of, first_instant, month_of

UTC_ZONE: Final = ZoneInfo("UTC")

MOST_DOLLARS: Final = 10**9
"""The largest amount of one row."""
MOST_DIGITS: Final = 60
FINEST: Final = -30
"""The exponent below which a number is nothing: a picodollar is 1e-12."""

NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)
DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_INSTANT: Final = re.compile(
    r"(\d{4}-\d{2}-\d{2})[T ](\d{2}):(\d{2})(?::(\d{2})(?:\.\d{1,9})?)?(?:Z| ?UTC|\+00(?::?00)?)?", re.ASCII
)


@lru_cache(maxsize=4096)
def number(text: str) -> Decimal:
    """A number as bills write it, exact. Exports of AWS have costs like `6.123E-7`.

    Raises:
        ValueError: it is none; the message says what is expected.
    """
    text = text.strip()
    if len(text) > MOST_DIGITS or not NUMBER.fullmatch(text):
        raise ValueError(f"{shown(text)} is no number: expected digits with a point, like -1234.56")
    value = Decimal(text)
    if not value or value.adjusted() < FINEST:
        return Decimal(0)
    if value.adjusted() > len(str(MOST_DOLLARS)) or abs(value) > MOST_DOLLARS:
        raise ValueError(f"{shown(text)} is out of range: at most {MOST_DOLLARS} either way in one row")
    return value


@lru_cache(maxsize=4096)
def money(text: str) -> units.Picodollars:
    """Dollars as `number`, rounded half to even below a picodollar."""
    return units.picodollars(number(text))


@lru_cache(maxsize=4096)
def moment(text: str) -> units.Instant:
    """An instant of UTC as bills write it, by the FOCUS specification (1.0 to 1.2) and by exports.

    AWS writes `2026-10-01T00:00:00.000Z`, BigQuery (GCP) `2026-10-01 00:00:00 UTC`, and Azure's first release
    `2026-10-01T00:00Z`.

    Raises:
        ValueError: it is none; the message says what is expected.
    """
    match = _INSTANT.fullmatch(text)
    if match is None:
        if DATE.fullmatch(text):
            return moment(f"{text}T00:00:00Z")
        raise ValueError(f"{shown(text)} is no time of UTC: expected one like 2026-10-01T00:00:00Z")
    day, hour, minute, second = match.groups(default="00")
    try:
        instant = datetime.fromisoformat(f"{day}T{hour}:{minute}:{second}+00:00")
    except ValueError:
        raise ValueError(f"{shown(text)} does not exist in the calendar") from None
    return int(instant.timestamp()) * units.NANOSECONDS_PER_SECOND


@lru_cache(maxsize=4096)
def period(start: units.Instant, end: units.Instant, zone: ZoneInfo) -> InvoicePeriod:
    """The days that [start, end) lies in, or its month."""
    local, utc = day_of(start, zone), day_of(start, UTC_ZONE)
    month = month_of(start, UTC_ZONE)
    long = end - start > units.NANOSECONDS_PER_DAY and end > local.end
    return InvoicePeriod(
        start,
        end,
        local.name if end <= local.end else None,
        utc.name if end <= utc.end else None,
        month.name if long and end <= month.end else None,
    )


@lru_cache(maxsize=1024)
def calendar_day(text: str, zone: ZoneInfo) -> Day:
    """A day of a zone by its name.

    Raises:
        ValueError: it is none; the message says what is expected.
    """
    if not DATE.fullmatch(text):
        raise ValueError(f"{shown(text)} is no date: expected one like 2026-10-31")
    try:
        year, month, day = map(int, text.split("-"))
        noon = datetime(year, month, day, 12, tzinfo=UTC)
        following = (noon + timedelta(days=1)).date()
        start = first_instant(year, month, day, zone)
        end = first_instant(following.year, following.month, following.day, zone)
    except (ValueError, OverflowError):
        raise ValueError(f"{shown(text)} does not exist in the calendar") from None
    return Day(text, start, end)


def cell_text(row: Sequence[str], index: int | None) -> str:
    """A value that may be absent, which some write as NULL or as quotes."""
    text = "" if index is None else row[index].strip()
    return "" if text in {"NULL", "null", '""'} else text

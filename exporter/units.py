"""Unit types and the only conversion constants.

In the ledger money is an integer count of picodollars and time of nanoseconds, so that sums are exact.
SQLite's 64-bit integer then holds 9.2 million dollars per total.
Floats appear at the edges only: in readings, ratios, and what is exported.
"""

from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final, TypeAlias

Picodollars: TypeAlias = int
"""Money: 1e-12 dollars."""

Nanoseconds: TypeAlias = int
"""A duration."""

Instant: TypeAlias = int
"""A moment on the wall clock: nanoseconds since 1970-01-01T00:00:00Z."""

Millijoules: TypeAlias = int
"""Energy, in the unit of the driver's counter."""

PICODOLLARS_PER_DOLLAR: Final = 10**12
NANOSECONDS_PER_MICROSECOND: Final = 1000
NANOSECONDS_PER_SECOND: Final = 10**9
NANOSECONDS_PER_MINUTE: Final = 60 * NANOSECONDS_PER_SECOND
NANOSECONDS_PER_HOUR: Final = 3600 * NANOSECONDS_PER_SECOND
NANOSECONDS_PER_DAY: Final = 24 * NANOSECONDS_PER_HOUR
HOURS_PER_YEAR: Final = 8766
"""365.25 days; amounts per year accrue over it."""
NANOSECONDS_PER_YEAR: Final = HOURS_PER_YEAR * NANOSECONDS_PER_HOUR
MILLIJOULES_PER_JOULE: Final = 1000
MILLIWATTS_PER_WATT: Final = 1000
WATTS_PER_KILOWATT: Final = 1000
MILLIJOULES_PER_KILOWATT_HOUR: Final = 3_600_000 * MILLIJOULES_PER_JOULE
TOKENS_PER_MILLION: Final = 1_000_000
BYTES_PER_MEBIBYTE: Final = 2**20
BYTES_PER_GIBIBYTE: Final = 2**30
LARGEST_COUNT: Final = 2.0**53
"""Largest float that counts by one; a value above it, below 0 or not finite is no count."""


def minute_of(instant: Instant) -> int:
    """The minute that holds an instant, since 1970."""
    return instant // NANOSECONDS_PER_MINUTE


def hour_of(instant: Instant) -> int:
    """The hour that holds an instant, since 1970."""
    return instant // NANOSECONDS_PER_HOUR


def picodollars(dollars: Decimal) -> Picodollars:
    """Convert a configured amount of dollars, rounding half to even below a picodollar."""
    return int((dollars * PICODOLLARS_PER_DOLLAR).to_integral_value(ROUND_HALF_EVEN))


def dollars(amount: Picodollars) -> float:
    """Convert money for export, with a float's relative error of 1e-16."""
    return amount / PICODOLLARS_PER_DOLLAR


def plain_dollars(amount: Picodollars) -> str:
    """Exact money for people: two decimals or more where needed, like -12.34 and 0.000000000001."""
    whole, rest = divmod(abs(amount), PICODOLLARS_PER_DOLLAR)
    cents = f"{rest:012d}".rstrip("0").ljust(2, "0")
    return f"{'-' if amount < 0 else ''}{whole}.{cents}"


def joules(energy: Millijoules) -> float:
    """Convert energy for export."""
    return energy / MILLIJOULES_PER_JOULE


def seconds(duration: Nanoseconds) -> float:
    """Convert a duration or an instant for export."""
    return duration / NANOSECONDS_PER_SECOND


def nanoseconds(duration_seconds: float) -> Nanoseconds:
    """Convert seconds to the nearest nanosecond."""
    return round(duration_seconds * NANOSECONDS_PER_SECOND)

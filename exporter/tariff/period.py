"""Periods of whole local days: a month, a quarter, or any days."""

import re
from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from exporter.tariff.calendar import MONTHS_PER_YEAR, day_of, first_instant
from exporter.units import Instant

MONTHS_PER_QUARTER: Final = 3

_NAME: Final = re.compile(
    r"(?P<year>[0-9]{4})-(?:(?P<month>0[1-9]|1[0-2])|Q(?P<quarter>[1-4]))"
    r"|(?P<first>[0-9]{4}-[0-9]{2}-[0-9]{2})/(?P<last>[0-9]{4}-[0-9]{2}-[0-9]{2})"
)

FIRST_YEAR: Final = 1971
LAST_YEAR: Final = 9998
"""An instant of any zone exists in these years."""


@dataclass(frozen=True, slots=True)
class Period:
    """Whole local days from the first to the last.

    `name` is like 2026-10, 2026-Q3, or 2026-10-05/2026-10-11 (an interval of ISO 8601).
    """

    name: str
    first: date
    last: date

    @classmethod
    def named(cls, name: str) -> "Period":
        """The period of a name.

        Raises:
            ValueError: the name is none of a period; the message says why.
        """
        match = _NAME.fullmatch(name)
        if match is None:
            raise ValueError(
                f"{name!r} is no period: expected one like 2026-10, 2026-Q3 or 2026-10-05/2026-10-11"
            )
        if match["first"]:
            return cls.between(date.fromisoformat(match["first"]), date.fromisoformat(match["last"]))
        year = int(match["year"])
        first = int(match["month"] or MONTHS_PER_QUARTER * (int(match["quarter"]) - 1) + 1)
        last = first if match["month"] else first + MONTHS_PER_QUARTER - 1
        return cls._checked(name, date(year, first, 1), date(year, last, monthrange(year, last)[1]))

    @classmethod
    def between(cls, first: date, last: date) -> "Period":
        """The days from the first to the last; a whole month or quarter has its name.

        Raises:
            ValueError: the last is before the first.
        """
        if last < first:
            raise ValueError(f"{last} is before {first}")
        months = MONTHS_PER_YEAR * (last.year - first.year) + last.month - first.month + 1
        whole = first.day == 1 and last.day == monthrange(last.year, last.month)[1]
        name = f"{first}/{last}"
        if whole and months == 1:
            name = f"{first:%Y-%m}"
        elif whole and months == MONTHS_PER_QUARTER and first.month % MONTHS_PER_QUARTER == 1:
            name = f"{first:%Y}-Q{first.month // MONTHS_PER_QUARTER + 1}"
        return cls._checked(name, first, last)

    @classmethod
    def _checked(cls, name: str, first: date, last: date) -> "Period":
        if not FIRST_YEAR <= first.year <= last.year <= LAST_YEAR:
            raise ValueError(f"{name}: years are from {FIRST_YEAR} to {LAST_YEAR}")
        return cls(name, first, last)

    @property
    def whole_months(self) -> bool:
        """Whether it begins and ends with a month."""
        return self.first.day == 1 and (self.last + timedelta(days=1)).day == 1

    @property
    def months(self) -> tuple[str, ...]:
        """Names of the months that it lies in, like 2026-10."""
        first = MONTHS_PER_YEAR * self.first.year + self.first.month - 1
        last = MONTHS_PER_YEAR * self.last.year + self.last.month - 1
        return tuple(
            f"{number // MONTHS_PER_YEAR:04d}-{number % MONTHS_PER_YEAR + 1:02d}"
            for number in range(first, last + 1)
        )

    @property
    def days(self) -> Iterator[date]:
        """Each of its days."""
        for number in range(self.first.toordinal(), self.last.toordinal() + 1):
            yield date.fromordinal(number)

    def bounds(self, zone: ZoneInfo) -> tuple[Instant, Instant]:
        """Its first instant in a time zone, and the first one after it."""
        start = first_instant(self.first.year, self.first.month, self.first.day, zone)
        last = first_instant(self.last.year, self.last.month, self.last.day, zone)
        return start, day_of(last, zone).end

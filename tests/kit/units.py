"""Units of time, money and memory, and months that tests live in: stated here, not taken from `exporter`."""

from datetime import datetime
from typing import Final

MILLISECOND: Final = 10**6
"""Nanoseconds, as each duration here."""

SECOND: Final = 10**9
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

DOLLAR: Final = 10**12
"""Picodollars."""

CENT: Final = DOLLAR // 100

GIB: Final = 2**30


def moment(text: str) -> int:
    """Nanoseconds since the epoch of an ISO time with an offset."""
    time = datetime.fromisoformat(text)
    assert time.tzinfo is not None
    return round(time.timestamp()) * SECOND


OCTOBER: Final = 1_790_812_800 * SECOND
"""2026-10-01T00:00:00Z."""

NOVEMBER: Final = 1_793_491_200 * SECOND
"""2026-11-01T00:00:00Z."""

DECEMBER: Final = 1_796_083_200 * SECOND
"""2026-12-01T00:00:00Z."""

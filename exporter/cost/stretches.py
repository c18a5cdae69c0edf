"""Cutting a tick where its price, its month or its minute changes."""

from collections.abc import Iterator
from itertools import pairwise
from zoneinfo import ZoneInfo

from exporter.tariff.calendar import month_of
from exporter.tariff.tariff import Tariff
from exporter.units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_MINUTE, Instant


def stretches(start: Instant, end: Instant, tariff: Tariff, zone: ZoneInfo) -> list[tuple[Instant, Instant]]:
    """Consecutive stretches of [start, end), each inside one month, one price, and one whole minute.

    A tick longer than an hour is cut by the hour: nobody prices a minute of it.
    """
    grain = NANOSECONDS_PER_MINUTE if end - start <= NANOSECONDS_PER_HOUR else NANOSECONDS_PER_HOUR
    cuts = {start, end, *tariff.changes(start, end), *_months(start, end, zone)}
    cuts.update(range(start - start % grain + grain, end, grain))
    ordered = sorted(cuts)
    return list(pairwise(ordered))


def _months(start: Instant, end: Instant, zone: ZoneInfo) -> Iterator[Instant]:
    cut = month_of(start, zone).end
    while cut < end:
        yield cut
        cut = month_of(cut, zone).end

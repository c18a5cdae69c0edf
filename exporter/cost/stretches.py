"""Cutting a tick where its price, its day or its minute changes."""

from collections.abc import Iterator
from itertools import pairwise
from zoneinfo import ZoneInfo

from exporter.tariff.calendar import day_of
from exporter.tariff.tariff import Tariff
from exporter.units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_MINUTE, Instant


def stretches(
    start: Instant, end: Instant, tariff: Tariff, zone: ZoneInfo, booted: Instant | None = None
) -> list[tuple[Instant, Instant]]:
    """Consecutive stretches of [start, end), each inside one local day (and so one month), one price, and one
    whole minute; cut where the host `booted`, too.

    A tick of an hour or longer is cut by the hour: nobody prices a minute of it.
    """
    grain = NANOSECONDS_PER_MINUTE if end - start < NANOSECONDS_PER_HOUR else NANOSECONDS_PER_HOUR
    cuts = {start, end, *tariff.changes(start, end), *_midnights(start, end, zone)}
    if booted is not None and start < booted < end:
        cuts.add(booted)
    cuts.update(range(start - start % grain + grain, end, grain))
    ordered = sorted(cuts)
    return list(pairwise(ordered))


def _midnights(start: Instant, end: Instant, zone: ZoneInfo) -> Iterator[Instant]:
    cut = day_of(start, zone).end
    while cut < end:
        yield cut
        cut = day_of(cut, zone).end

"""The hours of a local day. Where a zone's days begin within an hour, two of them are of two days. Pure."""

from collections.abc import Mapping
from fractions import Fraction

from exporter.cost.money import add_all
from exporter.ledger.history import FAMILIES, HistorySums
from exporter.tariff.calendar import Day
from exporter.units import NANOSECONDS_PER_HOUR, Instant

Hour = tuple[Instant, Instant, HistorySums]
"""The begin and the end of an hour, or of its part in a day, and its sums."""


def hours_of_day(day: Day, sums: HistorySums, by_hour: Mapping[int, HistorySums]) -> list[Hour]:
    """The hours of a day with the sums that they have in it.

    What the whole hours leave of the day's sums is of the two others. Of the one with more of a key, the part
    is that of its time: most hours are used evenly. The other has the rest, and neither more than it has.

    Args:
        day: the day.
        sums: those of the day.
        by_hour: those of its hours, by number since 1970.
    """
    hours: list[Hour] = []
    edges: list[Hour] = []
    for number, of_hour in sorted(by_hour.items()):
        since, until = number * NANOSECONDS_PER_HOUR, (number + 1) * NANOSECONDS_PER_HOUR
        inside = max(since, day.start), min(until, day.end)
        (hours if inside == (since, until) else edges).append((*inside, of_hour))
    if not edges:
        return hours
    parts = [(since, until, HistorySums()) for since, until, _ in edges]
    for family in FAMILIES:
        left = dict(getattr(sums, family))
        for _, _, of_hour in hours:
            add_all(left, {key: -amount for key, amount in getattr(of_hour, family).items()})
        for key, amount in left.items():
            amounts = [getattr(of_hour, family).get(key, 0) for _, _, of_hour in edges]
            most = amounts.index(max(amounts))
            since, until, _ = edges[most]
            by_time = int(amounts[most] * Fraction(until - since, NANOSECONDS_PER_HOUR))
            others = sum(amounts) - amounts[most]
            part = min(amounts[most], amount, max(by_time, amount - others))
            for number, (_, _, of_part) in enumerate(parts):
                taken = part if number == most else min(others, amount - part)
                if taken > 0:
                    getattr(of_part, family)[key] = taken
    return sorted((*hours, *parts), key=lambda hour: hour[0])

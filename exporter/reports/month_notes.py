"""What is said below a month's numbers. Pure."""

from collections.abc import Iterator
from zoneinfo import ZoneInfo

from exporter.ledger.adjustments import Adjustment
from exporter.ledger.history import MonthRecord
from exporter.reports.rounding import hundredths, rounded, ten_thousandths
from exporter.tariff.calendar import first_instant, month_of
from exporter.units import (
    NANOSECONDS_PER_HOUR,
    PICODOLLARS_PER_DOLLAR,
    Nanoseconds,
    Picodollars,
    plain_dollars,
)


def notes(
    record: MonthRecord, missing: Picodollars, zone: ZoneInfo, *, by_owner: bool, by_phase: bool
) -> tuple[str, ...]:
    """Sentences without their stop: what the numbers of a month leave open, and of how much.

    Args:
        record: the month.
        missing: money that its days do not itemize.
        zone: the one that months are of.
        by_owner: whether lines are by product or team, which all money has.
        by_phase: whether lines tell their idle part.
    """
    return (
        *_notes(record, missing, zone, by_owner=by_owner, by_phase=by_phase),
        *map(_correction, record.adjustments),
    )


def _notes(
    record: MonthRecord, missing: Picodollars, zone: ZoneInfo, *, by_owner: bool, by_phase: bool
) -> Iterator[str]:
    total, estimated = sum(record.cells.values()), record.estimated
    if estimated:
        yield (f"{_dollars(estimated)} of {_dollars(total)} dollars come from estimated prices")
    if missing and not by_owner:
        yield (
            f"{_dollars(missing)} dollars are known by product and team only: they were posted "
            "by an earlier release, or their days are past the 13 months that are kept"
        )
    elif missing:
        yield (
            f"{_dollars(missing)} dollars have no idle part, GPU-hours or tokens here: they were posted "
            "by an earlier release, or their days are past the 13 months that are kept"
        )
    phased = sum(record.sums.cost.values()) if record.sums is not None else 0
    if by_phase and phased and phased != total:
        posted = any(each.posted is not None for each in record.adjustments)
        without = ": adjustments have none" if posted else ""
        yield f"idle % is of the {_dollars(phased)} dollars that are known by phase{without}"
    sums = record.sums
    if sums is not None:
        owed = sum(sums.held.values())
        # Both are kept as time that passed, of which a part may not be owed.
        settled, unpriced = min(owed, sum(sums.settled.values())), sum(sums.waiting().values())
        every = max(owed, unpriced)
        if settled:
            yield f"{_hours(settled)} of {_hours(every)} GPU-hours were charged when their price came"
        if unpriced:
            yield f"{_hours(unpriced)} of {_hours(every)} GPU-hours have no price: they cost nothing here"
        year, number = map(int, record.month.split("-"))
        length = month_of(first_instant(year, number, 1, zone), zone).length
        covered = sum(sums.covered.values())
        yield (f"{_hours(covered)} of the {_hours(length)} hours of the whole month are metered")


def _correction(adjustment: Adjustment) -> str:
    state = "" if adjustment.posted is not None else " waits for the daemon and is in no sum"
    return (
        f"adjustment {adjustment.number}{state}: {plain_dollars(adjustment.amount)} dollars of "
        f"{adjustment.day} to product {adjustment.product}, team {adjustment.team}: "
        f'"{adjustment.reason}"'
    )


def _dollars(amount: Picodollars) -> str:
    return hundredths(*rounded([amount], PICODOLLARS_PER_DOLLAR // 100))


def _hours(duration: Nanoseconds) -> str:
    return ten_thousandths(*rounded([duration], NANOSECONDS_PER_HOUR // 10_000))

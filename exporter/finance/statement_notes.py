"""Notes of a statement: what its numbers leave open, and how much that is. Pure.

A note is a sentence without its stop. A function yields the notes on one subject, or none.
"""

from collections.abc import Collection, Iterator
from typing import Final
from zoneinfo import ZoneInfo

from exporter.finance import facts
from exporter.finance.facts import Fact
from exporter.finance.fleet.overheads import FleetOverheads
from exporter.ledger.adjustments import Adjustment
from exporter.ledger.history import HistorySums, MonthRecord
from exporter.readings import UNSEEN
from exporter.reports.rounding import dollars_text, hours_text
from exporter.tariff.period import Period
from exporter.units import NANOSECONDS_PER_DAY, Picodollars, plain_dollars

YEAR: Final = 365 * NANOSECONDS_PER_DAY
"""A ledger keeps days of this month and the twelve before it: older ones may have expired."""


def statement_notes(
    record: MonthRecord,
    all_facts: list[Fact],
    *,
    zone: ZoneInfo,
    overheads: FleetOverheads | None,
    columns: Collection[str],
    keeps_idle: bool,
) -> Iterator[str]:
    """All notes of a statement, in the order in which they are printed.

    Args:
        record: the period.
        all_facts: its facts, with idle cost where it accrued.
        zone: the time zone of months.
        overheads: overheads of the fleet; `None` where they were not read.
        columns: the columns that lines are by.
        keeps_idle: whether lines show idle cost, and show it where it accrued.
    """
    money = facts.measured(all_facts, "money of owners")
    phased = [fact for fact in money if fact.phase is not None]
    phased_amount = sum(fact.value for fact in phased)
    if "day" in columns:
        yield from notes_on_days(phased)
    if overheads is not None:
        yield from notes_on_overheads(overheads)
    yield from notes_on_money(record)
    yield from notes_on_missing_history(record, phased_amount, zone, columns)
    if keeps_idle:
        yield from notes_on_idle_ratio(record, phased_amount)
    if record.sums is not None:
        yield from notes_on_unpriced_time(record.sums)
        yield from notes_on_unseen_gpus(record.sums)
        yield note_on_coverage(record, record.sums, zone)
    for adjustment in record.adjustments:
        yield note_on_adjustment(adjustment)


def notes_on_days(phased: list[Fact]) -> Iterator[str]:
    """Of lines by day: money whose phase is known, and whose day is not."""
    undated = sum(fact.value for fact in phased if not fact.day)
    if undated:
        yield (
            f"{dollars_text(undated)} dollars have no day: they are of hosts that only a statement "
            "or Prometheus has"
        )


def notes_on_overheads(overheads: FleetOverheads) -> Iterator[str]:
    """Overheads of the fleet that lines carry, by name, and the rule by which they are spread."""
    if overheads.total:
        total = dollars_text(overheads.total)
        names = ", ".join(f"{name} {dollars_text(amount)}" for name, amount in overheads.amounts.items())
        yield f"{total} dollars are overheads of the fleet ({names}), spread {overheads.rule}"


def notes_on_money(record: MonthRecord) -> Iterator[str]:
    """Money at estimated prices, and money that a part of a month lacks."""
    if record.estimated:
        total = dollars_text(sum(record.cells.values()))
        yield f"{dollars_text(record.estimated)} of {total} dollars come from estimated prices"
    if record.undated:
        months = " and ".join(Period.named(record.month).months)
        undated = dollars_text(record.undated)
        yield f"{undated} dollars of {months} have no known day and are not in this report"


def notes_on_missing_history(
    record: MonthRecord, phased_amount: Picodollars, zone: ZoneInfo, columns: Collection[str]
) -> Iterator[str]:
    """Posted money of which no history tells a phase, by cause: it has neither GPU time nor tokens."""
    unphased = sum(record.cells.values()) - record.adjusted - phased_amount
    if not unphased:
        return
    # Lines by product and team have all money, and lack only what history would tell of it.
    unknown = "are known by product and team only"
    if set(columns) <= {"product", "team"}:
        unknown = "have no idle part, GPU-hours or tokens here"
    if record.undivided:
        yield f"{dollars_text(record.undivided)} dollars {unknown}: only Prometheus has their hosts"
    lost = unphased - record.undivided
    if lost:
        _, end = Period.named(record.month).bounds(zone)
        has_expired = end + YEAR < (record.last_commit or 0)
        gone = (
            "are past the 13 months that are kept" if has_expired else "were lost with a part of the ledger"
        )
        yield f"{dollars_text(lost)} dollars {unknown}: their days {gone}"


def notes_on_idle_ratio(record: MonthRecord, phased_amount: Picodollars) -> Iterator[str]:
    """The money that idle percentages are of, where it is not all money."""
    if phased_amount and phased_amount != sum(record.cells.values()):
        any_posted = any(adjustment.posted is not None for adjustment in record.adjustments)
        because = ": adjustments have none" if any_posted else ""
        yield f"idle % is of the {dollars_text(phased_amount)} dollars that are known by phase{because}"


def notes_on_unpriced_time(sums: HistorySums) -> Iterator[str]:
    """GPU time that was charged late or is still unpriced, and time of hosts without counted GPUs."""
    gpu_time = sum(sums.held.values())
    uncounted = sums.uncounted()
    # GPU time is what is chargeable. What was charged late and what is unpriced are times that passed, of
    # which a part may not be chargeable. No part may exceed the whole: the first is cut to it, and the
    # second makes it larger.
    charged_late = min(gpu_time, sum(sums.settled.values()))
    unpriced = sum(sums.still_unpriced().values()) - uncounted
    all_hours = hours_text(max(gpu_time, unpriced))
    if charged_late:
        yield f"{hours_text(charged_late)} of {all_hours} GPU-hours were charged when their price came"
    if unpriced:
        yield f"{hours_text(unpriced)} of {all_hours} GPU-hours have no price: they cost nothing here"
    if uncounted:
        yield (
            f"{hours_text(uncounted)} host-hours are not metered: the number or price of the GPUs was "
            "not known, and they cost nothing until one is read"
        )


def notes_on_unseen_gpus(sums: HistorySums) -> Iterator[str]:
    """GPU time and money of GPUs that NVML never listed."""
    unseen = sum(time for gpu, time in sums.gpu_chargeable().items() if gpu.uuid == UNSEEN)
    if unseen:
        money = sum(amount for (gpu, _), amount in sums.gpu_cost.items() if gpu.uuid == UNSEEN)
        yield (
            f"{hours_text(unseen)} GPU-hours, {dollars_text(money)} dollars, are of GPUs that were never "
            "listed (unseen)"
        )


def note_on_coverage(record: MonthRecord, sums: HistorySums, zone: ZoneInfo) -> str:
    """The metered time of hosts and its unobserved part; of one host, beside the whole period."""
    metered = sum(sums.covered.values()) - sums.uncounted()
    passed = sum(sums.gpu_held.values())
    unobserved = metered * sums.unobserved() // passed if passed else 0
    unobserved_part = f", {hours_text(unobserved)} of them unobserved" if unobserved else ""
    if not record.ledger:
        return f"{hours_text(metered)} host-hours are metered{unobserved_part}"
    period = Period.named(record.month)
    start, end = period.bounds(zone)
    whole = "the whole month" if period.months == (period.name,) else period.name
    hours = hours_text(end - start)
    return f"{hours_text(metered)} of the {hours} hours of {whole} are metered{unobserved_part}"


def note_on_adjustment(adjustment: Adjustment) -> str:
    """A correction of the period, with its reason, and whether it is posted."""
    ledger = f" of ledger {adjustment.ledger}" if adjustment.ledger else ""
    waits = "" if adjustment.posted is not None else " waits for the daemon and is in no sum"
    return (
        f"adjustment {adjustment.number}{ledger}{waits}: {plain_dollars(adjustment.amount)} dollars of "
        f'{adjustment.day} to product {adjustment.product}, team {adjustment.team}: "{adjustment.reason}"'
    )

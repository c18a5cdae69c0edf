"""What the numbers of a reconciliation leave open, in sentences. Pure."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Literal
from zoneinfo import ZoneInfo

from exporter.ledger.history import MonthRecord
from exporter.reports.invoice import Counted, Invoice
from exporter.reports.reconciliation.books import Book
from exporter.reports.reconciliation.parts import Compared
from exporter.reports.rounding import hundredths, rounded
from exporter.units import (
    NANOSECONDS_PER_HOUR,
    NANOSECONDS_PER_SECOND,
    PICODOLLARS_PER_DOLLAR,
    Instant,
    Nanoseconds,
    Picodollars,
)


def dollars(amount: Picodollars) -> str:
    """Whole cents, like 1,234.50."""
    return hundredths(*rounded([amount], PICODOLLARS_PER_DOLLAR // 100))


def hours(time: Nanoseconds) -> str:
    """Hundredths of an hour."""
    return hundredths(*rounded([time], NANOSECONDS_PER_HOUR // 100))


def hourly(amount: Picodollars, time: Nanoseconds) -> str:
    """Dollars an hour, in hundredths of a cent, as prices are."""
    whole = (2 * amount * NANOSECONDS_PER_HOUR * 10_000 + time * PICODOLLARS_PER_DOLLAR) // (
        2 * time * PICODOLLARS_PER_DOLLAR
    )
    sign = "-" if whole < 0 else ""
    return f"{sign}{abs(whole) // 10_000:,}.{abs(whole) % 10_000:04d}"


def instant(moment: Instant) -> str:
    """An instant of UTC for people."""
    return datetime.fromtimestamp(moment // NANOSECONDS_PER_SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def notes(
    invoice: Invoice,
    record: MonthRecord,
    zone: ZoneInfo,
    calendar: Literal["local", "utc", "shifted"],
    rows: Sequence[Compared],
    books: Book,
    outside: Picodollars,
    uncut: Sequence[str],
) -> Iterator[str]:
    """All of them. `books` sums what is compared; `outside` is money of the month that the bill is not about.

    `uncut` are days in which the bill begins or ends, and whose books are whole.
    """
    yield from _of_rows(invoice)
    yield from _of_time(invoice, record, calendar, zone, outside, uncut)
    yield from _of_prices(invoice, rows)
    yield from _of_books(record, books)


def _of_rows(invoice: Invoice) -> Iterator[str]:
    named = sum(1 for resource in invoice.resources if resource)
    if invoice.left.rows:
        yield f"{_counted(invoice.left)} of other resources: not compared"
        if invoice.unnamed.rows:
            yield (
                f"of them, {_counted(invoice.unnamed)} name no resource, as taxes, purchases and credits "
                "often do: a part may be this host's"
            )
    elif named > 1 and not invoice.filtered:
        yield (
            f"all rows count, of {named} resources: if they are not all of this host, name its own with "
            "--resource"
        )
    if invoice.loose.rows:
        yield f"{_counted(invoice.loose)} of periods that cross the end of a day or month: not compared"


def _of_time(
    invoice: Invoice,
    record: MonthRecord,
    calendar: str,
    zone: ZoneInfo,
    outside: Picodollars,
    uncut: Sequence[str],
) -> Iterator[str]:
    if calendar == "utc":
        yield (
            "the bill is by UTC, so that the books are too, from their history by the hour; reports of the "
            f"month are by {zone.key}"
        )
        if invoice.local_only.rows:
            yield f"{_counted(invoice.local_only)} of no one day of UTC: not compared"
    elif calendar == "shifted":
        yield (
            f"the bill is by UTC and the books by days of {zone.key}: hours of that month are no "
            "longer kept, so that each day is compared with one that begins and ends at other hours"
        )
    elif zone.key != "UTC" and invoice.form == "dates":
        yield f"dates of the bill are taken for days of {zone.key}"
    elif zone.key != "UTC":
        yield f"the rows of the bill were put into days of {zone.key}"
    for month, amount in _other_months(invoice, record.month, calendar):
        yield f"{dollars(amount)} dollars of {month} are on this bill and not compared"
    if outside and invoice.first is not None and invoice.last is not None:
        yield (
            f"the bill is about {instant(invoice.first)} to {instant(invoice.last)}: {dollars(outside)} "
            "dollars that the books have of the rest of the month are not compared"
        )
    if uncut:
        yield (
            f"the bill begins or ends within {_days(uncut)}, whose hours are no longer kept: the books are "
            "of the whole day"
        )


def _other_months(invoice: Invoice, month: str, calendar: str) -> list[tuple[str, Picodollars]]:
    found: dict[str, Picodollars] = {}
    for tallies in (invoice.local if calendar == "local" else invoice.utc, invoice.months):
        for name, tally in tallies.items():
            if not name.startswith(month):
                found[name[:7]] = found.get(name[:7], 0) + tally.total
    return sorted((name, amount) for name, amount in found.items() if amount)


def _of_prices(invoice: Invoice, rows: Sequence[Compared]) -> Iterator[str]:
    if invoice.crowded:
        yield "the bill has so many resources that its hours were not summed: name this host with --resource"
    machines = [row.name for row in rows if row.machines]
    if machines:
        yield (
            f"on {_days(machines)} the bill has several machines at once, so that the hours and the price of "
            "this one are not known: name it with --resource"
        )
    meters = [row.name for row in rows if row.meters]
    if meters:
        yield (
            f"on {_days(meters)} the bill charges a machine by several SKUs at once (cores, memory, GPUs), "
            "so that it tells no price per hour"
        )
    both = [row for row in rows if row.metered and row.usage and row.timed is None]
    if not invoice.crowded and not machines and both:
        metered = sum(row.metered for row in both)
        yield (
            "where the bill tells no hours, a difference of price cannot be told from one of time: over the "
            f"{hours(metered)} hours that are metered, it comes to "
            f"{hourly(sum(row.usage for row in both), metered)} an hour and the books to "
            f"{hourly(sum(row.books for row in both), metered)}"
        )


def _of_books(record: MonthRecord, books: Book) -> Iterator[str]:
    if record.month not in record.months:
        yield f"the ledger has nothing of {record.month}: if this host ran then, it was not metered"
    for basis, words in (("estimate", "estimated prices"), ("catalogue", "prices of the catalogue")):
        if books.money.get(basis):
            yield f"{dollars(books.money[basis])} dollars of the books come from {words}"
    if books.unpriced:
        yield f"{hours(books.unpriced)} hours in the books had no price: they cost nothing there"
    if books.unobserved:
        yield (
            f"{hours(books.unobserved)} hours in the books nobody watched (a stopped daemon, a reboot, a "
            "host that was down): of these the bill tells how long the host was up"
        )
    sums = record.sums
    missing = sum(record.cells.values()) - record.adjusted - (sum(sums.cost.values()) if sums else 0)
    if missing:
        yield f"{dollars(missing)} dollars of the month are in no day of the books and are not compared"
    waiting = [each for each in record.adjustments if each.posted is None]
    if waiting:
        amount = sum(each.amount for each in waiting)
        yield f"adjustments of {dollars(amount)} dollars wait for the daemon and are in no sum"


def _counted(counted: Counted) -> str:
    rows = "1 row" if counted.rows == 1 else f"{counted.rows:,} rows"
    return f"{rows} ({dollars(counted.cost)} dollars)"


def _days(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"

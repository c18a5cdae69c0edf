"""Books against bill: which days are compared, what differs and why, and what would make them agree. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo

from exporter import units
from exporter.cost.money import split
from exporter.cost.postings import UNASSIGNED
from exporter.finance.invoice import Counted, Invoice, InvoiceError, InvoiceSums
from exporter.finance.reconciliation.differences import (
    KINDS,
    Book,
    ComparedDay,
    Difference,
    ProductTeam,
    compare,
    hourly_books,
    hours_kept,
    local_books,
)
from exporter.finance.render import instant_text
from exporter.ledger.history import HistorySums, MonthRecord
from exporter.ledger.totals import HOURS_KEPT
from exporter.reports.rounding import CENT, dollars_text, hundredths, rounded
from exporter.tariff.calendar import Day, Month, day_of, first_instant, month_of


def hours(time: units.Nanoseconds) -> str:
    """Hundredths of an hour."""
    return hundredths(*rounded([time], units.NANOSECONDS_PER_HOUR // 100))


def hourly(amount: units.Picodollars, time: units.Nanoseconds) -> str:
    """Dollars an hour, in hundredths of a cent, as prices are."""
    whole = (2 * amount * units.NANOSECONDS_PER_HOUR * 10_000 + time * units.PICODOLLARS_PER_DOLLAR) // (
        2 * time * units.PICODOLLARS_PER_DOLLAR
    )
    sign = "-" if whole < 0 else ""
    return f"{sign}{abs(whole) // 10_000:,}.{abs(whole) % 10_000:04d}"


def notes(
    invoice: Invoice,
    record: MonthRecord,
    zone: ZoneInfo,
    calendar: Literal["local", "utc", "shifted"],
    rows: Sequence[ComparedDay],
    whole: Book,
    outside: units.Picodollars,
    uncut: Sequence[str],
) -> Iterator[str]:
    """All of them. `books` sums what is compared; `outside` is money of the month that the bill is not about.

    `uncut` are days in which the bill begins or ends, and whose books are whole.
    """
    yield from _of_rows(invoice)
    yield from _of_time(invoice, record, calendar, zone, outside, uncut)
    yield from _of_prices(invoice, rows)
    yield from _of_books(record, whole)


def _of_rows(invoice: Invoice) -> Iterator[str]:
    named = sum(1 for resource in invoice.resources if resource)
    if invoice.left.rows:
        yield f"{rows_text(invoice.left)} of other resources: not compared"
        if invoice.unnamed.rows:
            yield (
                f"of them, {rows_text(invoice.unnamed)} name no resource, as taxes, purchases and credits "
                "often do: a part may be this host's"
            )
    elif named > 1 and not invoice.filtered:
        yield (
            f"all rows count, of {named} resources: if they are not all of this host, name its own with "
            "--resource"
        )
    if invoice.loose.rows:
        yield f"{rows_text(invoice.loose)} of periods that cross the end of a day or month: not compared"


def _of_time(
    invoice: Invoice,
    record: MonthRecord,
    calendar: str,
    zone: ZoneInfo,
    outside: units.Picodollars,
    uncut: Sequence[str],
) -> Iterator[str]:
    if calendar == "utc":
        yield (
            "the bill is by UTC, so that the books are too, from their history by the hour; reports of the "
            f"month are by {zone.key}"
        )
        if invoice.local_only.rows:
            yield f"{rows_text(invoice.local_only)} of no one day of UTC: not compared"
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
        yield f"{dollars_text(amount)} dollars of {month} are on this bill and not compared"
    if outside and invoice.first is not None and invoice.last is not None:
        yield (
            f"the bill is about {instant_text(invoice.first)} to {instant_text(invoice.last)}: "
            f"{dollars_text(outside)} dollars that the books have of the rest of the month are not compared"
        )
    elif outside:
        yield (
            f"the bill has no usage: {dollars_text(outside)} dollars that the books have of the month are "
            "not compared"
        )
    if uncut:
        yield (
            f"the bill begins or ends within {_days(uncut)}, whose hours are no longer kept: the books are "
            "of the whole day"
        )


def _other_months(invoice: Invoice, month: str, calendar: str) -> list[tuple[str, units.Picodollars]]:
    months: dict[str, units.Picodollars] = {}
    for tallies in (invoice.local if calendar == "local" else invoice.utc, invoice.months):
        for name, tally in tallies.items():
            if not name.startswith(month):
                months[name[:7]] = months.get(name[:7], 0) + tally.total
    return sorted((name, amount) for name, amount in months.items() if amount)


def _of_prices(invoice: Invoice, rows: Sequence[ComparedDay]) -> Iterator[str]:
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
            "so that it has no price per hour"
        )
    both = [row for row in rows if row.metered and row.usage and row.timed is None]
    if not invoice.crowded and not machines and both:
        metered = sum(row.metered for row in both)
        yield (
            "the bill has no hours, so price and time differences cannot be separated: over the "
            f"{hours(metered)} hours that are metered, it comes to "
            f"{hourly(sum(row.usage for row in both), metered)} an hour and the books to "
            f"{hourly(sum(row.posted for row in both), metered)}"
        )


def _of_books(record: MonthRecord, whole: Book) -> Iterator[str]:
    if record.month not in record.months:
        yield f"the ledger has nothing of {record.month}: if this host ran then, it was not metered"
    for basis, words in (("estimate", "estimated prices"), ("catalogue", "prices of the catalogue")):
        if whole.money.get(basis):
            yield f"{dollars_text(whole.money[basis])} dollars of the books come from {words}"
    if whole.unpriced:
        yield f"{hours(whole.unpriced)} hours in the books had no price: they cost nothing there"
    if whole.unobserved:
        yield (
            f"{hours(whole.unobserved)} hours in the ledger are unobserved (a stopped daemon, a reboot, a "
            "host that was down): the bill has how long the host was up"
        )
    sums = record.sums
    missing = sum(record.cells.values()) - record.adjusted - (sum(sums.cost.values()) if sums else 0)
    if missing:
        yield f"{dollars_text(missing)} dollars of the month are in no day of the books and are not compared"
    if other_days := record.adjusted - whole.adjusted:
        yield (
            f"adjustments of {dollars_text(other_days)} dollars are of days that the bill is not about, "
            "and not compared"
        )
    waiting = [each for each in record.adjustments if each.posted is None]
    if waiting:
        amount = sum(each.amount for each in waiting)
        yield f"adjustments of {dollars_text(amount)} dollars wait for the daemon and are in no sum"


def rows_text(counted: Counted) -> str:
    """A number of rows and their dollars, for a sentence."""
    rows = "1 row" if counted.rows == 1 else f"{counted.rows:,} rows"
    return f"{rows} ({dollars_text(counted.cost)} dollars)"


def _days(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


UTC_ZONE: Final = ZoneInfo("UTC")
DEFAULT_COMPONENTS: Final = frozenset({"rent"})

Calendar = Literal["local", "utc", "shifted"]
"""`shifted`: the bill's days are of UTC and the books' of the configured time zone."""


@dataclass(frozen=True, slots=True)
class LedgerMonth:
    """A month of the ledger. `hours` are those of the month by UTC and of a day before and after it."""

    record: MonthRecord
    hours: Mapping[int, HistorySums]
    zone: ZoneInfo
    now: units.Instant
    components: frozenset[str] = DEFAULT_COMPONENTS


@dataclass(frozen=True, slots=True)
class Suggestion:
    """An adjustment that a person may enter; with all of them the month agrees to the cent."""

    amount: units.Picodollars
    day: str
    product: str
    team: str


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """Bill against books. `rows` are days, or the month where the bill tells no days; `(month)` is what a
    bill charges for a month beside its days. `total` sums them.

    `others` are components of the books that are not compared, of the same days.
    """

    invoice: Invoice
    record: MonthRecord
    zone: ZoneInfo
    components: frozenset[str]
    calendar: Calendar
    by: Literal["day", "month"]
    to_date: bool
    rows: tuple[ComparedDay, ...]
    total: ComparedDay
    others: Mapping[str, units.Picodollars]
    suggestions: tuple[Suggestion, ...]
    notes: tuple[str, ...]


def month_billed(invoice: Invoice) -> str:
    """The month that a bill is of, by most of its rows' dollars.

    Raises:
        InvoiceError: it is of several to the same extent, or of none.
    """
    totals: dict[str, units.Picodollars] = {}
    for tallies in (invoice.utc if invoice.shifted.rows else invoice.local, invoice.months):
        for name, tally in tallies.items():
            turnover = abs(tally.usage) + sum(map(abs, tally.apart.values()))
            totals[name[:7]] = totals.get(name[:7], 0) + turnover
    most = [name for name, total in totals.items() if total == max(totals.values())]
    if len(most) != 1:
        extent = f"of {', '.join(sorted(totals))}" if totals else "of no day and no month"
        raise InvoiceError(f"its rows are {extent}: say which month with --month")
    return most[0]


def month_named(name: str, zone: ZoneInfo) -> Month:
    """A month like 2026-10 of a time zone."""
    return month_of(first_instant(int(name[:4]), int(name[5:]), 1, zone), zone)


def hours_wanted(name: str) -> tuple[int, int]:
    """The hours since 1970 that `Books.hours` needs for a month."""
    month = month_named(name, UTC_ZONE)
    first, end = month.start // units.NANOSECONDS_PER_HOUR, month.end // units.NANOSECONDS_PER_HOUR
    return first - 24, end + 24


def reconcile(invoice: Invoice, ledger_month: LedgerMonth) -> Reconciliation:
    """Set a month of the books against a bill.

    Raises:
        InvoiceError: the bill has nothing of that month.
    """
    record = ledger_month.record
    _check(invoice, record.month)
    calendar = _calendar(invoice, ledger_month)
    zone = UTC_ZONE if calendar == "utc" else ledger_month.zone
    days = _comparison_days(month_named(record.month, zone), zone, ledger_month.now)
    books_by_day = _books_by_day(calendar, days, ledger_month)
    before = sum(book.compared for book in books_by_day.values())
    cut = [] if calendar == "shifted" else _cut(books_by_day, days, invoice, ledger_month)
    inside = {day.name: day for day in days if _inside(day, invoice, calendar)}
    tallies = invoice.local if calendar == "local" else invoice.utc
    billed = {name: tally for name, tally in tallies.items() if name.startswith(record.month)}
    ahead = [Book(name, 0) for name in sorted(billed) if name not in books_by_day]
    named = inside.keys() | billed.keys()
    shown = [
        # Of a day without usage near it, a credit or a refund says nothing of what the host cost.
        book if book.name in inside else Book(book.name, 0, adjusted=book.adjusted)
        for book in (*books_by_day.values(), *ahead)
        if book.name in named
    ]
    month = invoice.months.get(record.month, InvoiceSums())
    by: Literal["day", "month"] = "month" if month.usage or month.meters else "day"
    if by == "month":
        pairs = [_whole(record.month, shown, (*billed.values(), month))]
    else:
        pairs = [(book, billed.get(book.name, InvoiceSums())) for book in shown]
        if month.total:
            pairs.append((Book("(month)", 0), month))
    rows = tuple(
        row for book, tally in pairs if _any(row := compare(book, tally, crowded=invoice.crowded), book)
    )
    total = _total(rows)
    whole = Book(record.month, 0)
    for book in shown:
        whole.add(book)
    return Reconciliation(
        invoice=invoice,
        record=record,
        zone=ledger_month.zone,
        components=ledger_month.components,
        calendar=calendar,
        by=by,
        to_date=record.month == month_of(ledger_month.now, ledger_month.zone).name,
        rows=rows,
        total=total,
        others=whole.others,
        suggestions=tuple(
            _suggestions(total.difference_in_cents * CENT, whole.owners, _date(shown, ledger_month))
        ),
        notes=tuple(
            notes(invoice, record, ledger_month.zone, calendar, rows, whole, before - whole.compared, cut)
        ),
    )


def _check(invoice: Invoice, month: str) -> None:
    names = {name[:7] for name in (*invoice.local, *invoice.utc, *invoice.months)}
    if month not in names:
        available = f"it has {', '.join(sorted(names))}" if names else "it has no day and no month"
        raise InvoiceError(f"has nothing of {month}: {available}")


def _calendar(invoice: Invoice, ledger_month: LedgerMonth) -> Calendar:
    month = invoice.months.get(ledger_month.record.month, InvoiceSums())
    if not invoice.shifted.rows and (not month.usage or ledger_month.zone.key == "UTC"):
        return "local"
    local = month_named(ledger_month.record.month, ledger_month.zone)
    first = month_named(ledger_month.record.month, UTC_ZONE).start // units.NANOSECONDS_PER_HOUR
    if first > ledger_month.now // units.NANOSECONDS_PER_HOUR - HOURS_KEPT:
        return "utc"  # no hour since then can be past its time
    if first < min(ledger_month.hours, default=first) <= local.start // units.NANOSECONDS_PER_HOUR:
        return "shifted"  # whether hours are gone, or the host began then, no local day of the month tells
    days = _comparison_days(local, ledger_month.zone, ledger_month.now)
    return "utc" if hours_kept(days, ledger_month.record.days, ledger_month.hours) else "shifted"


def _books_by_day(calendar: Calendar, days: list[Day], ledger_month: LedgerMonth) -> dict[str, Book]:
    scope = ledger_month.record.adjustments, ledger_month.components, ledger_month.now
    if calendar == "utc":
        return hourly_books(days, ledger_month.hours, *scope)
    return local_books(days, ledger_month.record.days, *scope)


def _cut(
    books_by_day: dict[str, Book], days: list[Day], invoice: Invoice, ledger_month: LedgerMonth
) -> list[str]:
    """Cut the days in which a bill begins or ends to what it is about, where hours tell.

    Returns:
        The days that should be cut and cannot be: their hours are gone.
    """
    whole: list[str] = []
    if invoice.first is None or invoice.last is None:
        return whole
    for day in days:
        part = Day(day.name, max(day.start, invoice.first), min(day.end, invoice.last))
        if part == day or part.start >= part.end or not books_by_day[day.name].metered:
            continue
        if hours_kept([day], ledger_month.record.days, ledger_month.hours):
            scope = ledger_month.record.adjustments, ledger_month.components, ledger_month.now
            books_by_day.update(hourly_books([part], ledger_month.hours, *scope))
        else:
            whole.append(day.name)
    return whole


def _comparison_days(month: Month, zone: ZoneInfo, now: units.Instant) -> list[Day]:
    """The days of a month that have begun."""
    days = []
    start = month.start
    while start < min(month.end, now):
        days.append(day_of(start, zone))
        start = days[-1].end
    return days


def _inside(day: Day, invoice: Invoice, calendar: Calendar) -> bool:
    """Whether the time that a bill is about has some of a day."""
    if invoice.first is None or invoice.last is None:
        return False
    if calendar == "shifted":
        return _name(invoice.first) <= day.name <= _name(invoice.last - 1)
    return day.end > invoice.first and day.start < invoice.last


def _name(instant: units.Instant) -> str:
    return datetime.fromtimestamp(instant // units.NANOSECONDS_PER_SECOND, UTC).date().isoformat()


def _whole(name: str, days: Iterable[Book], tallies: Iterable[InvoiceSums]) -> tuple[Book, InvoiceSums]:
    book, billed = Book(name, 0), InvoiceSums()
    for each in days:
        book.add(each)
    for tally in tallies:
        billed.add(tally)
    return book, billed


def _any(row: ComparedDay, book: Book) -> bool:
    return bool(row.bill or row.posted or row.adjusted or row.parts or book.metered)


def _total(rows: Iterable[ComparedDay]) -> ComparedDay:
    """The sums of all rows; parts of one kind are one part."""
    rows = tuple(rows)
    timed = [row.timed for row in rows if row.timed is not None]
    return ComparedDay(
        name="total",
        bill=sum(row.bill for row in rows),
        posted=sum(row.posted for row in rows),
        adjusted=sum(row.adjusted for row in rows),
        parts=tuple(_summed([part for row in rows for part in row.parts])),
        usage=sum(row.usage for row in rows),
        metered=sum(row.metered for row in rows),
        timed=(sum(cost for cost, _time in timed), sum(time for _cost, time in timed)) if timed else None,
        machines=any(row.machines for row in rows),
        meters=any(row.meters for row in rows),
    )


def _summed(parts: list[Difference]) -> Iterator[Difference]:
    for kind in KINDS:
        ours = [part for part in parts if part.kind == kind]
        if ours:
            times = [part.time for part in ours if part.time is not None]
            posted = [part.posted for part in ours if part.posted is not None]
            yield Difference(
                kind,
                sum(part.amount for part in ours),
                sum(times) if len(times) == len(ours) else None,
                sum(posted) if posted else None,
            )


def _date(shown: list[Book], ledger_month: LedgerMonth) -> str:
    """The last day that was compared, and not ahead of the books' own calendar."""
    today = day_of(ledger_month.now, ledger_month.zone).name
    first = date.fromisoformat(f"{ledger_month.record.month}-01")
    end = (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
    last = max((book.name for book in shown), default=end.isoformat())
    return min(last, today)


def _suggestions(
    difference: units.Picodollars, owners: Mapping[ProductTeam, units.Picodollars], day: str
) -> Iterator[Suggestion]:
    """A difference of whole cents over those who pay for what was compared, by what they pay."""
    paying = {owner: amount for owner, amount in owners.items() if amount > 0}
    amounts, _carry = split(abs(difference), paying or {(UNASSIGNED, UNASSIGNED): 1})
    whose = sorted(amounts)
    for (product, team), cents in zip(whose, rounded([amounts[who] for who in whose], CENT), strict=True):
        if cents:
            yield Suggestion(cents * CENT if difference > 0 else -cents * CENT, day, product, team)

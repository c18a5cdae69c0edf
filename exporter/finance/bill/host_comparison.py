"""The books of a host against its bill: which days are compared, and what would make them agree. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from zoneinfo import ZoneInfo

from exporter import units
from exporter.cost.money import add, divide
from exporter.cost.postings import UNASSIGNED
from exporter.finance.bill.charges import UTC_ZONE, InvoiceError
from exporter.finance.bill.differences import Book, ComparedDay, ProductTeam, compare
from exporter.finance.bill.host_bill import Counted, Invoice, InvoiceSums
from exporter.finance.render import counted, few, instant_text
from exporter.ledger.history import HistorySums, MonthRecord
from exporter.ledger.schema import day_number
from exporter.ledger.totals import HOURS_KEPT
from exporter.reports.rounding import CENT, dollars_text, hundredths, rounded, ten_thousandths
from exporter.tariff.calendar import Day, day_of, month_of
from exporter.tariff.period import Period

Calendar = Literal["local", "utc", "shifted"]
"""`shifted`: the bill's days are of UTC and the books' of the configured time zone."""


def hours(time: units.Nanoseconds) -> str:
    """Hundredths of an hour."""
    return hundredths(*rounded([time], units.NANOSECONDS_PER_HOUR // 100))


def hourly(amount: units.Picodollars, time: units.Nanoseconds) -> str:
    """Dollars an hour, in hundredths of a cent, as prices are."""
    whole = (2 * amount * units.NANOSECONDS_PER_HOUR * 10_000 + time * units.PICODOLLARS_PER_DOLLAR) // (
        2 * time * units.PICODOLLARS_PER_DOLLAR
    )
    return ten_thousandths(whole)


def rows_text(rows: Counted) -> str:
    """A number of rows and their dollars, for a sentence."""
    return f"{counted(rows.rows, 'row')} ({dollars_text(rows.cost)} dollars)"


def notes_of_bases(whole: Book) -> Iterator[str]:
    """Sentences on money of the books whose price nobody configured."""
    for basis, words in (("estimate", "estimated prices"), ("catalogue", "prices of the catalogue")):
        if amount := whole.money.get(basis):
            yield f"{dollars_text(amount)} dollars of the books come from {words}"


@dataclass(frozen=True, slots=True)
class LedgerMonth:
    """A month of the ledger."""

    record: MonthRecord
    """Its money and its days, which are of `zone`."""
    hours: Mapping[int, HistorySums]
    """Those of the month by UTC and of a day before and after it."""
    zone: ZoneInfo
    """The configured time zone."""
    now: units.Instant
    """The end of what can be known of a month that goes on."""
    components: frozenset[str]
    """The components that are compared."""

    def daily(self, day: Day) -> HistorySums:
        """The history of a local day."""
        return self.record.days.get(day_number(day.name), HistorySums())

    def hourly(self, day: Day) -> HistorySums:
        """The history of a day of UTC, or of a part of a day, by hours. Those in it in part count whole."""
        sums = HistorySums()
        for hour in range(day.start // units.NANOSECONDS_PER_HOUR, -(-day.end // units.NANOSECONDS_PER_HOUR)):
            if hour in self.hours:
                sums.add(self.hours[hour])
        return sums

    def keeps_hours(self, days: Iterable[Day]) -> bool:
        """Whether the hours of local days are all kept: the oldest are deleted first."""
        for day in days:
            daily_held = sum(self.daily(day).gpu_held.values())
            if daily_held:
                return daily_held <= sum(self.hourly(day).gpu_held.values())
        return True

    def book(self, day: Day, sums: HistorySums) -> Book:
        """The books of a day, or of a part of it. Adjustments keep the day that they name."""
        posted = [each for each in self.record.adjustments if each.posted is not None]
        return Book.of(
            day.name,
            passed=min(day.end, self.now) - day.start,
            # Hours do not tell what they cover; a GPU is held by somebody whenever a tick covers it.
            covered=max(sums.gpu_held.values(), default=0),
            sums=sums,
            components=self.components,
            adjusted=sum(each.amount for each in posted if each.day == day.name),
        )

    def days(self, zone: ZoneInfo) -> list[Day]:
        """The days of the month in a time zone that have begun."""
        start, end = Period.named(self.record.month).bounds(zone)
        days = []
        while start < min(end, self.now):
            days.append(day_of(start, zone))
            start = days[-1].end
        return days


@dataclass(frozen=True, slots=True)
class Suggestion:
    """An adjustment that a person may enter; with all of them the month agrees to the cent."""

    amount: units.Picodollars
    """Whole cents; less than nothing where the books have more than the bill."""
    day: str
    """The last day that was compared, and not ahead of the books' own calendar."""
    product: str
    """The product that it is entered to."""
    team: str
    """The team that it is entered to."""


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """Bill against books of a host."""

    invoice: Invoice
    """The bill."""
    ledger_month: LedgerMonth
    """The month of the books, whole."""
    calendar: Calendar
    """The calendar by which days are compared."""
    by: Literal["day", "month"]
    """What each row is."""
    to_date: bool
    """Whether the month goes on."""
    rows: tuple[ComparedDay, ...]
    """Days, or the month where the bill has no days. `(month)` is what a bill charges for a month beside
    its days."""
    total: ComparedDay
    """The sum of the rows."""
    others: Mapping[str, units.Picodollars]
    """Components of the books that are not compared, of the same days."""
    suggestions: tuple[Suggestion, ...]
    """Adjustments that would make the books agree with the bill."""
    notes: tuple[str, ...]
    """Sentences, without their stop, on what is not compared."""


def hours_wanted(name: str) -> tuple[int, int]:
    """The hours since 1970 that `LedgerMonth.hours` needs for a month."""
    first, end = (edge // units.NANOSECONDS_PER_HOUR for edge in Period.named(name).bounds(UTC_ZONE))
    return first - 24, end + 24


def reconcile(invoice: Invoice, ledger_month: LedgerMonth) -> Reconciliation:
    """Set a month of the books against a bill.

    Raises:
        InvoiceError: the bill has nothing of that month.
    """
    record, month_name = ledger_month.record, ledger_month.record.month
    names = {name[:7] for name in (*invoice.local, *invoice.utc, *invoice.months)}
    if month_name not in names:
        available = f"it has {', '.join(sorted(names))}" if names else "it has no day and no month"
        raise InvoiceError(f"has nothing of {month_name}: {available}")
    calendar = _calendar(invoice, ledger_month)
    billed_days = invoice.local if calendar == "local" else invoice.utc
    billed = {name: sums for name, sums in billed_days.items() if name.startswith(month_name)}
    day_books = _day_books(invoice, ledger_month, calendar, billed)
    whole = Book.sum_of(month_name, day_books.days)
    month = invoice.months.get(month_name, InvoiceSums())
    by: Literal["day", "month"] = "month" if month.usage or month.meters else "day"
    pairs = [(book, billed.get(book.name, InvoiceSums())) for book in day_books.days]
    if by == "month":
        billed_month = InvoiceSums()
        for sums in (*billed.values(), month):
            billed_month.add(sums)
        pairs = [(whole, billed_month)]
    elif month.total:
        pairs.append((Book("(month)", 0), month))
    compared = [compare(book, sums, crowded=invoice.crowded) for book, sums in pairs]
    rows = tuple(
        row for row in compared if row.bill or row.posted or row.adjusted or row.parts or row.metered
    )
    total = ComparedDay.sum_of(rows)
    today = day_of(ledger_month.now, ledger_month.zone).name
    _start, end = Period.named(month_name).bounds(UTC_ZONE)
    last_day = max((book.name for book in day_books.days), default=_date(end - 1))
    return Reconciliation(
        invoice=invoice,
        ledger_month=ledger_month,
        calendar=calendar,
        by=by,
        to_date=month_name == month_of(ledger_month.now, ledger_month.zone).name,
        rows=rows,
        total=total,
        others=whole.others,
        suggestions=tuple(_suggestions(total.difference_in_cents * CENT, whole.owners, min(last_day, today))),
        notes=(
            *_notes_of_bill(invoice),
            *_notes_of_time(invoice, ledger_month, calendar, day_books),
            *_notes_of_prices(invoice, rows),
            *_notes_of_books(record, whole),
        ),
    )


def _calendar(invoice: Invoice, ledger_month: LedgerMonth) -> Calendar:
    month = invoice.months.get(ledger_month.record.month, InvoiceSums())
    if not invoice.shifted.rows and (not month.usage or ledger_month.zone.key == "UTC"):
        return "local"
    period = Period.named(ledger_month.record.month)
    local_start, _end = period.bounds(ledger_month.zone)
    first = period.bounds(UTC_ZONE)[0] // units.NANOSECONDS_PER_HOUR
    if first > ledger_month.now // units.NANOSECONDS_PER_HOUR - HOURS_KEPT:
        return "utc"  # no hour since then can be past its time
    if first < min(ledger_month.hours, default=first) <= local_start // units.NANOSECONDS_PER_HOUR:
        return "shifted"  # whether hours are gone, or the host began then, no local day of the month tells
    return "utc" if ledger_month.keeps_hours(ledger_month.days(ledger_month.zone)) else "shifted"


@dataclass(frozen=True, slots=True)
class _ComparedBooks:
    """The books of a month, cut to what a bill is about."""

    days: list[Book]
    """Books of the days that the bill is about, and of those that it charges besides."""
    outside: units.Picodollars
    """Money of the month that the bill is not about."""
    uncut: list[str]
    """Days of which the bill is about a part and the books are whole: their hours are gone."""


def _day_books(
    invoice: Invoice, ledger_month: LedgerMonth, calendar: Calendar, billed: Mapping[str, InvoiceSums]
) -> _ComparedBooks:
    """Books of the days of a bill. Those in which it begins or ends are cut to it, where hours tell."""
    days = ledger_month.days(UTC_ZONE if calendar == "utc" else ledger_month.zone)
    history = ledger_month.hourly if calendar == "utc" else ledger_month.daily
    by_day = {day.name: ledger_month.book(day, history(day)) for day in days}
    booked = sum(book.compared for book in by_day.values())
    inside: set[str] = set()
    uncut: list[str] = []
    for day in days:
        if invoice.first is None or invoice.last is None:
            break
        if calendar == "shifted":
            if _date(invoice.first) <= day.name <= _date(invoice.last - 1):
                inside.add(day.name)
            continue
        if day.end > invoice.first and day.start < invoice.last:
            inside.add(day.name)
        part = Day(day.name, max(day.start, invoice.first), min(day.end, invoice.last))
        if part == day or part.start >= part.end or not by_day[day.name].metered:
            continue
        if ledger_month.keeps_hours([day]):
            by_day[day.name] = ledger_month.book(part, ledger_month.hourly(part))
        else:
            uncut.append(day.name)
    compared: list[Book] = []
    ahead = [Book(name, 0) for name in sorted(billed) if name not in by_day]
    for book in (*by_day.values(), *ahead):
        if book.name in inside:
            compared.append(book)
        elif book.name in billed:
            # Of a day without usage near it, a credit or a refund says nothing of what the host cost.
            compared.append(Book(book.name, 0, adjusted=book.adjusted))
    return _ComparedBooks(compared, booked - sum(book.compared for book in compared), uncut)


def _date(instant: units.Instant) -> str:
    """The day of UTC that an instant is in."""
    return day_of(instant, UTC_ZONE).name


def _suggestions(
    difference: units.Picodollars, owners: Mapping[ProductTeam, units.Picodollars], day: str
) -> Iterator[Suggestion]:
    """A difference of whole cents over those who pay for what was compared, by what they pay."""
    paying = {owner: amount for owner, amount in owners.items() if amount > 0}
    amounts = divide(abs(difference), paying or {(UNASSIGNED, UNASSIGNED): 1})
    sign = 1 if difference > 0 else -1
    whose = sorted(amounts)
    parts = rounded([amounts[owner] for owner in whose], CENT)
    for (product, team), cents in zip(whose, parts, strict=True):
        if cents:
            yield Suggestion(sign * cents * CENT, day, product, team)


def _notes_of_bill(invoice: Invoice) -> Iterator[str]:
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


def _notes_of_time(
    invoice: Invoice, ledger_month: LedgerMonth, calendar: Calendar, day_books: _ComparedBooks
) -> Iterator[str]:
    zone = ledger_month.zone.key
    outside = day_books.outside
    if calendar == "utc":
        yield (
            "the bill is by UTC, so that the books are too, from their history by the hour; reports of the "
            f"month are by {zone}"
        )
        if invoice.local_only.rows:
            yield f"{rows_text(invoice.local_only)} of no one day of UTC: not compared"
    elif calendar == "shifted":
        yield (
            f"the bill is by UTC and the books by days of {zone}: hours of that month are no "
            "longer kept, so that each day is compared with one that begins and ends at other hours"
        )
    elif zone != "UTC" and invoice.form == "dates":
        yield f"dates of the bill are taken for days of {zone}"
    elif zone != "UTC":
        yield f"the rows of the bill were put into days of {zone}"
    months: dict[str, units.Picodollars] = {}
    billed_days = invoice.local if calendar == "local" else invoice.utc
    for name, sums in (*billed_days.items(), *invoice.months.items()):
        if not name.startswith(ledger_month.record.month):
            add(months, name[:7], sums.total)
    for month, amount in sorted(months.items()):
        if amount:
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
    if day_books.uncut:
        yield (
            f"the bill begins or ends within {few(day_books.uncut, 1)}, whose hours are no longer kept: the "
            "books are of the whole day"
        )


def _notes_of_prices(invoice: Invoice, rows: Sequence[ComparedDay]) -> Iterator[str]:
    if invoice.crowded:
        yield "the bill has so many resources that its hours were not summed: name this host with --resource"
    machines = [row.name for row in rows if row.machines]
    if machines:
        yield (
            f"on {few(machines, 1)} the bill has several machines at once, so that the hours and the price "
            "of this one are not known: name it with --resource"
        )
    meters = [row.name for row in rows if row.meters]
    if meters:
        yield (
            f"on {few(meters, 1)} the bill charges a machine by several SKUs at once (cores, memory, GPUs), "
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


def _notes_of_books(record: MonthRecord, whole: Book) -> Iterator[str]:
    if record.month not in record.months:
        yield f"the ledger has nothing of {record.month}: if this host ran then, it was not metered"
    yield from notes_of_bases(whole)
    if whole.unpriced:
        yield f"{hours(whole.unpriced)} hours in the books had no price: they cost nothing there"
    if whole.unobserved:
        yield (
            f"{hours(whole.unobserved)} hours in the ledger are unobserved (a stopped daemon, a reboot, a "
            "host that was down): the bill has how long the host was up"
        )
    dated = sum(record.sums.cost.values()) if record.sums else 0
    undated = sum(record.cells.values()) - record.adjusted - dated
    if undated:
        yield f"{dollars_text(undated)} dollars of the month are in no day of the books and are not compared"
    if other_days := record.adjusted - whole.adjusted:
        yield (
            f"adjustments of {dollars_text(other_days)} dollars are of days that the bill is not about, "
            "and not compared"
        )
    waiting = [each.amount for each in record.adjustments if each.posted is None]
    if waiting:
        yield f"adjustments of {dollars_text(sum(waiting))} dollars wait for the daemon and are in no sum"

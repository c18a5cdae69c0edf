"""Books against bill: which days are compared, what differs and why, and what would make them agree. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo

from exporter.cost.money import split
from exporter.cost.postings import UNASSIGNED
from exporter.ledger.history import MonthRecord, Sums
from exporter.ledger.totals import HOURS_KEPT
from exporter.reports.invoice import Invoice, InvoiceError, Tally
from exporter.reports.reconciliation.books import (
    Book,
    ProductTeam,
    hourly_books,
    hours_kept,
    local_books,
)
from exporter.reports.reconciliation.notes import notes
from exporter.reports.reconciliation.parts import CENT, KINDS, Compared, Part, compare
from exporter.reports.rounding import rounded
from exporter.tariff.calendar import Day, Month, day_of, first_instant, month_of
from exporter.units import (
    NANOSECONDS_PER_HOUR,
    NANOSECONDS_PER_SECOND,
    Instant,
    Picodollars,
)

UTC_ZONE: Final = ZoneInfo("UTC")
DEFAULT_COMPONENTS: Final = frozenset({"rent"})

Calendar = Literal["local", "utc", "shifted"]
"""`shifted`: the bill's days are of UTC and the books' of the configured time zone."""


@dataclass(frozen=True, slots=True)
class Books:
    """What the ledger tells. `hours` are those of the month by UTC and of a day before and after it."""

    record: MonthRecord
    hours: Mapping[int, Sums]
    zone: ZoneInfo
    now: Instant
    components: frozenset[str] = DEFAULT_COMPONENTS


@dataclass(frozen=True, slots=True)
class Suggestion:
    """An adjustment that a person may enter; with all of them the month agrees to the cent."""

    amount: Picodollars
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
    rows: tuple[Compared, ...]
    total: Compared
    others: Mapping[str, Picodollars]
    suggestions: tuple[Suggestion, ...]
    notes: tuple[str, ...]


def month_billed(invoice: Invoice) -> str:
    """The month that a bill is of, by most of its rows' dollars.

    Raises:
        InvoiceError: it is of several to the same extent, or of none.
    """
    totals: dict[str, Picodollars] = {}
    for tallies in (invoice.utc if invoice.shifted.rows else invoice.local, invoice.months):
        for name, tally in tallies.items():
            totals[name[:7]] = totals.get(name[:7], 0) + abs(tally.total)
    most = [name for name, total in totals.items() if total == max(totals.values())]
    if len(most) != 1:
        told = f"of {', '.join(sorted(totals))}" if totals else "of no day and no month"
        raise InvoiceError(f"its rows are {told}: say which month with --month")
    return most[0]


def month_named(name: str, zone: ZoneInfo) -> Month:
    """A month like 2026-10 of a time zone."""
    return month_of(first_instant(int(name[:4]), int(name[5:]), 1, zone), zone)


def hours_wanted(name: str) -> tuple[int, int]:
    """The hours since 1970 that `Books.hours` needs for a month."""
    month = month_named(name, UTC_ZONE)
    first, end = month.start // NANOSECONDS_PER_HOUR, month.end // NANOSECONDS_PER_HOUR
    return first - 24, end + 24


def reconcile(invoice: Invoice, books: Books) -> Reconciliation:
    """Set a month of the books against a bill.

    Raises:
        InvoiceError: the bill has nothing of that month.
    """
    record = books.record
    _check(invoice, record.month)
    calendar = _calendar(invoice, books)
    zone = UTC_ZONE if calendar == "utc" else books.zone
    days = _days(month_named(record.month, zone), zone, books.now)
    kept = _books(calendar, days, books)
    before = sum(book.compared for book in kept.values())
    cut = [] if calendar == "shifted" else _cut(kept, days, invoice, books)
    inside = {day.name: day for day in days if _inside(day, invoice, calendar)}
    tallies = invoice.local if calendar == "local" else invoice.utc
    billed = {name: tally for name, tally in tallies.items() if name.startswith(record.month)}
    ahead = [Book(name, 0) for name in sorted(billed) if name not in kept]
    named = inside.keys() | billed.keys()
    shown = [book for book in (*kept.values(), *ahead) if book.name in named]
    month = invoice.months.get(record.month, Tally())
    by: Literal["day", "month"] = "month" if month.usage or month.meters else "day"
    if by == "month":
        pairs = [_whole(record.month, shown, (*billed.values(), month))]
    else:
        pairs = [(book, billed.get(book.name, Tally())) for book in shown]
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
        zone=books.zone,
        components=books.components,
        calendar=calendar,
        by=by,
        to_date=record.month == month_of(books.now, books.zone).name,
        rows=rows,
        total=total,
        others=whole.others,
        suggestions=tuple(_suggestions(total.difference_in_cents * CENT, whole.owners, _date(shown, books))),
        notes=tuple(notes(invoice, record, books.zone, calendar, rows, whole, before - whole.compared, cut)),
    )


def _check(invoice: Invoice, month: str) -> None:
    names = {name[:7] for name in (*invoice.local, *invoice.utc, *invoice.months)}
    if month not in names:
        found = f"it has {', '.join(sorted(names))}" if names else "it has no day and no month"
        raise InvoiceError(f"has nothing of {month}: {found}")


def _calendar(invoice: Invoice, books: Books) -> Calendar:
    month = invoice.months.get(books.record.month, Tally())
    if not invoice.shifted.rows and (not month.usage or books.zone.key == "UTC"):
        return "local"
    local = month_named(books.record.month, books.zone)
    first = month_named(books.record.month, UTC_ZONE).start // NANOSECONDS_PER_HOUR
    if first > books.now // NANOSECONDS_PER_HOUR - HOURS_KEPT:
        return "utc"  # no hour since then can be past its time
    if first < min(books.hours, default=first) <= local.start // NANOSECONDS_PER_HOUR:
        return "shifted"  # whether hours are gone, or the host began then, no local day of the month tells
    days = _days(local, books.zone, books.now)
    return "utc" if hours_kept(days, books.record.days, books.hours) else "shifted"


def _books(calendar: Calendar, days: list[Day], books: Books) -> dict[str, Book]:
    told = books.record.adjustments, books.components, books.now
    if calendar == "utc":
        return hourly_books(days, books.hours, *told)
    return local_books(days, books.record.days, *told)


def _cut(kept: dict[str, Book], days: list[Day], invoice: Invoice, books: Books) -> list[str]:
    """Cut the days in which a bill begins or ends to what it is about, where hours tell.

    Returns:
        The days that should be cut and cannot be: their hours are gone.
    """
    whole: list[str] = []
    if invoice.first is None or invoice.last is None:
        return whole
    for day in days:
        part = Day(day.name, max(day.start, invoice.first), min(day.end, invoice.last))
        if part == day or part.start >= part.end or not kept[day.name].metered:
            continue
        if hours_kept([day], books.record.days, books.hours):
            told = books.record.adjustments, books.components, books.now
            kept.update(hourly_books([part], books.hours, *told))
        else:
            whole.append(day.name)
    return whole


def _days(month: Month, zone: ZoneInfo, now: Instant) -> list[Day]:
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


def _name(instant: Instant) -> str:
    return datetime.fromtimestamp(instant // NANOSECONDS_PER_SECOND, UTC).date().isoformat()


def _whole(name: str, books: Iterable[Book], tallies: Iterable[Tally]) -> tuple[Book, Tally]:
    book, billed = Book(name, 0), Tally()
    for each in books:
        book.add(each)
    for tally in tallies:
        billed.add(tally)
    return book, billed


def _any(row: Compared, book: Book) -> bool:
    return bool(row.bill or row.books or row.adjusted or row.parts or book.metered)


def _total(rows: Iterable[Compared]) -> Compared:
    """The sums of all rows; parts of one kind are one part."""
    rows = tuple(rows)
    timed = [row.timed for row in rows if row.timed is not None]
    return Compared(
        name="total",
        bill=sum(row.bill for row in rows),
        books=sum(row.books for row in rows),
        adjusted=sum(row.adjusted for row in rows),
        parts=tuple(_summed([part for row in rows for part in row.parts])),
        usage=sum(row.usage for row in rows),
        metered=sum(row.metered for row in rows),
        timed=(sum(cost for cost, _time in timed), sum(time for _cost, time in timed)) if timed else None,
        machines=any(row.machines for row in rows),
        meters=any(row.meters for row in rows),
    )


def _summed(parts: list[Part]) -> Iterator[Part]:
    for kind in KINDS:
        ours = [part for part in parts if part.kind == kind]
        if ours:
            times = [part.time for part in ours if part.time is not None]
            books = [part.books for part in ours if part.books is not None]
            yield Part(
                kind,
                sum(part.amount for part in ours),
                sum(times) if len(times) == len(ours) else None,
                sum(books) if books else None,
            )


def _date(shown: list[Book], books: Books) -> str:
    """The last day that was compared, and not ahead of the books' own calendar."""
    today = day_of(books.now, books.zone).name
    first = date.fromisoformat(f"{books.record.month}-01")
    end = (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
    last = max((book.name for book in shown), default=end.isoformat())
    return min(last, today)


def _suggestions(
    difference: Picodollars, owners: Mapping[ProductTeam, Picodollars], day: str
) -> Iterator[Suggestion]:
    """A difference of whole cents over those who pay for what was compared, by what they pay."""
    paying = {owner: amount for owner, amount in owners.items() if amount > 0}
    amounts, _owed = split(abs(difference), paying or {(UNASSIGNED, UNASSIGNED): 1})
    whose = sorted(amounts)
    for (product, team), cents in zip(whose, rounded([amounts[who] for who in whose], CENT), strict=True):
        if cents:
            yield Suggestion(cents * CENT if difference > 0 else -cents * CENT, day, product, team)

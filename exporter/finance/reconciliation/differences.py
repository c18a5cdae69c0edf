"""Why a bill and the books differ on a day: named parts that sum to the difference, to the picodollar. Pure.

Where a bill tells for how long it charges, its price is cost by time, and every second is either on both
sides, on the bill alone or in the books alone. Where it does not, time that the books lack is worth what an
hour of that day costs in the books, and explains at most what is left to explain.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from exporter.cost.money import split
from exporter.finance.invoice import APART, Apart, InvoiceSums
from exporter.ledger.adjustments import Adjustment
from exporter.ledger.history import HistorySums
from exporter.ledger.schema import day_number
from exporter.reports.rounding import CENT, rounded
from exporter.tariff.calendar import Day
from exporter.units import NANOSECONDS_PER_HOUR, Instant, Nanoseconds, Picodollars

ProductTeam = tuple[str, str]


@dataclass(slots=True)
class Book:
    """A day, or a month that days were added to.

    `length` is how much of it has passed, `metered` how much of that is in the books; of `metered`,
    `unobserved` is what nobody watched, as far as GPU time tells, and `unpriced` what has no price yet.
    `down` is the part of `unobserved` for which nothing is owed, as the host was taken for down.
    `money`, by price basis, and `owners` are of the components that are compared; `others` are the others.
    `adjusted` is what posted adjustments add.
    """

    name: str
    length: Nanoseconds
    metered: Nanoseconds = 0
    unobserved: Nanoseconds = 0
    unpriced: Nanoseconds = 0
    money: dict[str, Picodollars] = field(default_factory=dict)
    owners: dict[ProductTeam, Picodollars] = field(default_factory=dict)
    others: dict[str, Picodollars] = field(default_factory=dict)
    adjusted: Picodollars = 0
    down: Nanoseconds = 0

    @property
    def compared(self) -> Picodollars:
        """The money that is compared, without adjustments."""
        return sum(self.money.values())

    def add(self, other: "Book") -> None:
        """Take in another day."""
        self.length += other.length
        self.metered += other.metered
        self.unobserved += other.unobserved
        self.unpriced += other.unpriced
        self.down += other.down
        self.adjusted += other.adjusted
        for basis, amount in other.money.items():
            self.money[basis] = self.money.get(basis, 0) + amount
        for owner, amount in other.owners.items():
            self.owners[owner] = self.owners.get(owner, 0) + amount
        for component, amount in other.others.items():
            self.others[component] = self.others.get(component, 0) + amount


def local_books(
    days: list[Day],
    history: Mapping[int, HistorySums],
    adjustments: tuple[Adjustment, ...],
    components: frozenset[str],
    now: Instant,
) -> dict[str, Book]:
    """The books by local day."""
    sums_by_day = ((day, history.get(day_number(day.name), HistorySums())) for day in days)
    return {day.name: _book(day, sums, adjustments, components, now) for day, sums in sums_by_day}


def hourly_books(
    days: list[Day],
    history: Mapping[int, HistorySums],
    adjustments: tuple[Adjustment, ...],
    components: frozenset[str],
    now: Instant,
) -> dict[str, Book]:
    """The books of days of UTC, or of parts of days, from history by hour since 1970.

    An hour of which only a part belongs to a day is taken whole. Adjustments keep the day that they name.
    """
    by_day = {}
    for day in days:
        sums = HistorySums()
        for hour in _hours(day):
            if hour in history:
                sums.add(history[hour])
        by_day[day.name] = _book(day, sums, adjustments, components, now)
    return by_day


def hours_kept(days: list[Day], daily: Mapping[int, HistorySums], hourly: Mapping[int, HistorySums]) -> bool:
    """Whether the hours of local days are all kept: the oldest are deleted first."""
    for day in days:
        daily_held = sum(daily.get(day_number(day.name), HistorySums()).gpu_held.values())
        if daily_held:
            hourly_held = [hourly[hour].gpu_held.values() for hour in _hours(day) if hour in hourly]
            return daily_held <= sum(map(sum, hourly_held))
    return True


def _hours(day: Day) -> range:
    return range(day.start // NANOSECONDS_PER_HOUR, -(-day.end // NANOSECONDS_PER_HOUR))


def _book(
    day: Day, sums: HistorySums, adjustments: tuple[Adjustment, ...], components: frozenset[str], now: Instant
) -> Book:
    # Hours do not tell what they cover; a GPU is held by somebody whenever a tick covers it.
    metered = sums.covered.get((), max(sums.gpu_held.values(), default=0))
    book = book_of(day.name, max(0, min(day.end, now) - day.start), metered, sums, components)
    book.adjusted = sum(
        each.amount for each in adjustments if each.posted is not None and each.day == day.name
    )
    return book


def book_of(
    name: str, passed: Nanoseconds, metered: Nanoseconds, sums: HistorySums, components: frozenset[str]
) -> Book:
    """The books of a day or month of which `passed` is over, without adjustments."""
    gpu_time = sum(sums.gpu_held.values())
    book = Book(name, max(passed, metered), metered)
    if gpu_time:
        book.unobserved = min(metered, metered * sums.unobserved() // gpu_time)
        book.down = min(metered, metered * sums.host_down() // gpu_time)
        book.unpriced = min(metered, metered * sum(sums.waiting().values()) // gpu_time)
    for (owner, component, basis), amount in sums.server_cost.items():
        if component in components:
            payer = owner.product, owner.team
            book.money[basis] = book.money.get(basis, 0) + amount
            book.owners[payer] = book.owners.get(payer, 0) + amount
        else:
            book.others[component] = book.others.get(component, 0) + amount
    return book


Named = Literal[
    "not_metered",
    "uncovered",
    "beyond",
    "not_billed",
    "unpriced",
    "unobserved",
    "price",
    "price_catalogue",
    "price_estimate",
    "other_usage",
]
DifferenceKind = Named | Apart | Literal["adjusted", "unexplained"]

KINDS: Final[tuple[DifferenceKind, ...]] = (*get_args(Named), *APART, "adjusted", "unexplained")
"""In the order of the report."""

_DRIFTS: Final[dict[str, DifferenceKind]] = {"catalogue": "price_catalogue", "estimate": "price_estimate"}
"""Kinds by the ledger's price basis; any other basis is configured."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A part of bill minus books. `time` is what it is for; `None`: it is not by time.

    `posted` is set for prices alone: what the ledger posted for that time.
    """

    kind: DifferenceKind
    amount: Picodollars
    time: Nanoseconds | None = None
    posted: Picodollars | None = None


@dataclass(frozen=True, slots=True)
class ComparedDay:
    """One day, or a month. `posted` is without adjustments; `parts` sum to `difference`.

    `usage` is the part of the bill that is neither of `APART`, `metered` the time in the books.
    `timed` is what the bill charges by time, and for how long; `None`: it does not tell this day.
    `machines`: the bill has several, side by side; `meters`: it has several SKUs by time for one.
    """

    name: str
    bill: Picodollars
    posted: Picodollars
    adjusted: Picodollars
    parts: tuple[Difference, ...]
    usage: Picodollars
    metered: Nanoseconds
    timed: tuple[Picodollars, Nanoseconds] | None
    machines: bool = False
    meters: bool = False

    @property
    def difference(self) -> Picodollars:
        """Bill minus books, adjustments counted as books."""
        return self.bill - self.posted - self.adjusted

    @property
    def difference_in_cents(self) -> int:
        """The difference of bill and books as they are shown: each rounded to a cent."""
        ((bill,), (posted,)) = (
            rounded([amount], CENT) for amount in (self.bill, self.posted + self.adjusted)
        )
        return bill - posted


def compare(
    book: Book, tally: InvoiceSums, *, crowded: bool = False, common_hours: bool = False
) -> ComparedDay:
    """Set one day of a bill against the books. `crowded`: the bill's times are not whole.

    `common_hours`: prices are compared over hours that both have, and hours that the bill lacks are worth
    what the books have of them, not the bill's price.
    """
    machines, meters = _several(tally, book.length)
    timed = None if crowded or machines or meters else _timed(tally)
    parts: list[Difference] = []
    if timed is not None:
        parts = _by_time(book, *timed, common_hours=common_hours)
        parts.append(Difference("other_usage", tally.usage - timed[0]))
    elif not machines:  # which of several is this host is not known, and so neither what its time is worth
        parts = _by_hour_of_the_books(book, tally)
    parts += [Difference(apart, tally.apart.get(apart, 0)) for apart in APART]
    parts.append(Difference("adjusted", -book.adjusted))
    difference = tally.total - book.compared - book.adjusted
    parts.append(Difference("unexplained", difference - sum(part.amount for part in parts)))
    return ComparedDay(
        name=book.name,
        bill=tally.total,
        posted=book.compared,
        adjusted=book.adjusted,
        parts=tuple(part for part in parts if part.amount),
        usage=tally.usage,
        metered=book.metered,
        timed=timed,
        machines=machines,
        meters=meters,
    )


def _several(tally: InvoiceSums, length: Nanoseconds) -> tuple[bool, bool]:
    """Whether several machines ran side by side, and whether one is charged by several meters."""
    resources = [resource for resource, _sku in tally.meters]
    apart = len(set(resources)) > 1 and sum(each.time for each in tally.meters.values()) > length
    return apart, len(set(resources)) < len(resources)


def _timed(tally: InvoiceSums) -> tuple[Picodollars, Nanoseconds] | None:
    cost = sum(each.cost for each in tally.meters.values())
    time = sum(each.time for each in tally.meters.values())
    return (cost, time) if time > 0 else None


def _by_time(book: Book, cost: Picodollars, time: Nanoseconds, *, common_hours: bool) -> list[Difference]:
    """Differences of a bill that has times. Each piece has its share of the cost; they sum to the cost."""
    # In a gap the host was down or up; the books do not tell which, so the bill is believed that far.
    counted = min(max(time, book.metered - book.unobserved), book.metered)
    not_in_ledger = max(0, time - counted)
    uncovered = min(not_in_ledger, book.length - book.metered)
    unpriced = counted * book.unpriced // book.metered if book.metered else 0
    not_billed = max(0, counted - time)
    if common_hours:
        unpriced = min(unpriced, counted - not_billed)
    billed_as_up = min(max(0, counted - (book.metered - book.down)), counted - unpriced)
    pieces: list[tuple[DifferenceKind, Nanoseconds]] = [
        ("uncovered" if book.metered else "not_metered", uncovered),
        ("beyond", not_in_ledger - uncovered),
        ("not_billed", 0 if common_hours else -not_billed),
        ("unpriced", unpriced),
        ("unobserved", billed_as_up),
    ]
    parts = []
    passed = assigned = 0
    for kind, length in pieces:
        passed += length
        worth = cost * passed // time - assigned
        assigned += worth
        parts.append(Difference(kind, worth, abs(length)))
    priced = counted - unpriced - billed_as_up
    posted = book.compared
    if common_hours and not_billed:
        in_books_alone = posted * not_billed // priced
        parts.append(Difference("not_billed", -in_books_alone, not_billed))
        priced, posted = priced - not_billed, posted - in_books_alone
    if priced:
        parts += _drift(book, cost - assigned - posted, priced)
    return parts


def _drift(book: Book, drift: Picodollars, time: Nanoseconds) -> list[Difference]:
    """A difference of price, over what each kind of price has of the books' money."""
    weights = {basis: amount for basis, amount in book.money.items() if amount > 0}
    if not weights:
        return [Difference("price", drift, time, 0)]
    sign = -1 if drift < 0 else 1
    amounts, _carry = split(abs(drift), weights)
    times, _carry = split(time, weights)
    return [
        Difference(_DRIFTS.get(basis, "price"), sign * amounts[basis], times[basis], amount)
        for basis, amount in weights.items()
    ]


def _by_hour_of_the_books(book: Book, tally: InvoiceSums) -> list[Difference]:
    """Differences of a bill without times, or with the periods of its rows alone."""
    usage, span = tally.usage, tally.span
    if usage == 0:
        return [Difference("not_billed", -book.compared, book.metered)]
    billed = book.length if span is None else min(span, book.length)
    if book.metered == 0:
        return [Difference("not_metered", usage - book.compared, billed)]
    left = max(0, usage - book.compared)
    times: dict[DifferenceKind, Nanoseconds] = {
        "uncovered": max(0, billed - book.metered),
        "unpriced": book.unpriced,
        "unobserved": book.down,
    }
    priced = book.metered - book.unpriced - book.down
    if priced <= 0:
        worths, _carry = split(left, times) if any(times.values()) else ({}, 0)
        return [Difference(kind, worth, times[kind]) for kind, worth in worths.items()]
    parts: list[Difference] = []
    for kind, time in times.items():
        worth = min(left, book.compared * time // priced)
        left -= worth
        parts.append(Difference(kind, worth, worth * priced // book.compared if book.compared else time))
    # Of time that nobody watched the books charge what the bill may not.
    worth = min(max(0, book.compared - usage), book.compared * (book.unobserved - book.down) // priced)
    if worth:
        parts.append(Difference("unobserved", -worth, worth * priced // book.compared))
    return parts

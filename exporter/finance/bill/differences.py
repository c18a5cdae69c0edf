"""Why a bill and the books differ on a day: named parts that sum to the difference, to the picodollar. Pure.

Where a bill tells for how long it charges, its price is cost by time, and every second is either on both
sides, on the bill alone or in the books alone. Where it does not, time that the books lack is worth what an
hour of that day costs in the books, and explains at most what is left to explain.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from exporter.cost.money import add, add_all, divide
from exporter.finance.bill.charges import APART, Apart
from exporter.finance.bill.host_bill import InvoiceSums, Metered
from exporter.ledger.history import HistorySums
from exporter.reports.rounding import CENT, rounded
from exporter.units import Nanoseconds, Picodollars

ProductTeam = tuple[str, str]


@dataclass(slots=True)
class Book:
    """The books of a day, of a month that days were added to, or of a machine."""

    name: str
    length: Nanoseconds
    """How much of it has passed."""
    metered: Nanoseconds = 0
    """How much of that is in the books."""
    unobserved: Nanoseconds = 0
    """Metered time that nobody watched, as far as GPU time tells."""
    unpriced: Nanoseconds = 0
    """Metered time that has no price yet."""
    money: dict[str, Picodollars] = field(default_factory=dict)
    """Money of the components that are compared, by price basis."""
    owners: dict[ProductTeam, Picodollars] = field(default_factory=dict)
    """The same money by product and team."""
    others: dict[str, Picodollars] = field(default_factory=dict)
    """Money of other components."""
    adjusted: Picodollars = 0
    """What posted adjustments add."""
    down: Nanoseconds = 0
    """The part of `unobserved` that is not chargeable, as the host was taken for down."""

    @classmethod
    def of(
        cls,
        name: str,
        *,
        passed: Nanoseconds,
        covered: Nanoseconds,
        sums: HistorySums,
        components: frozenset[str],
        adjusted: Picodollars,
    ) -> "Book":
        """The books of a time of which `passed` is over; `covered` is metered where sums do not tell it."""
        metered = sums.covered.get((), covered)
        book = cls(name, max(passed, metered), metered, adjusted=adjusted)
        gpu_time = sum(sums.gpu_held.values())
        if gpu_time:
            book.unobserved = min(metered, metered * sums.unobserved() // gpu_time)
            book.down = min(metered, metered * sums.host_down() // gpu_time)
            book.unpriced = min(metered, metered * sum(sums.still_unpriced().values()) // gpu_time)
        for (owner, component, basis), amount in sums.server_cost.items():
            if component in components:
                add(book.money, basis, amount)
                add(book.owners, (owner.product, owner.team), amount)
            else:
                add(book.others, component, amount)
        return book

    @classmethod
    def sum_of(cls, name: str, added: Iterable["Book"]) -> "Book":
        """Several added up."""
        total = cls(name, 0)
        for book in added:
            total.length += book.length
            total.metered += book.metered
            total.unobserved += book.unobserved
            total.unpriced += book.unpriced
            total.down += book.down
            total.adjusted += book.adjusted
            add_all(total.money, book.money)
            add_all(total.owners, book.owners)
            add_all(total.others, book.others)
        return total

    @property
    def compared(self) -> Picodollars:
        """The money that is compared, without adjustments."""
        return sum(self.money.values())


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
    """A part of bill minus books."""

    kind: DifferenceKind
    amount: Picodollars
    time: Nanoseconds | None = None
    """What it is for; `None`: it is not by time."""
    posted: Picodollars | None = None
    """Of prices alone: what the ledger posted for that time."""


def summed(parts: Iterable[Difference]) -> tuple[Difference, ...]:
    """One part of each kind, in the order of the report."""
    by_kind: dict[DifferenceKind, list[Difference]] = {}
    for part in parts:
        by_kind.setdefault(part.kind, []).append(part)
    sums = []
    for kind in KINDS:
        if same := by_kind.get(kind):
            times = [part.time for part in same if part.time is not None]
            posted = [part.posted for part in same if part.posted is not None]
            amount = sum(part.amount for part in same)
            time = sum(times) if len(times) == len(same) else None
            sums.append(Difference(kind, amount, time, sum(posted) if posted else None))
    return tuple(sums)


@dataclass(frozen=True, slots=True)
class ComparedDay:
    """One day, month or machine."""

    name: str
    """The day or month like 2026-10-31, or the names of the machine's hosts."""
    bill: Picodollars
    """Everything that the bill charges."""
    posted: Picodollars
    """The books, without adjustments."""
    adjusted: Picodollars
    """Posted adjustments of the books."""
    parts: tuple[Difference, ...]
    """Causes of the difference, which sum to it."""
    usage: Picodollars
    """The part of the bill that is neither of `APART`."""
    metered: Nanoseconds
    """Time in the books."""
    timed: Metered | None
    """What the bill charges by time; `None`: it does not say for how long."""
    machines: bool = False
    """Whether the bill has several machines, side by side."""
    meters: bool = False
    """Whether the bill has several SKUs by time for one machine."""

    @classmethod
    def sum_of(cls, days: Sequence["ComparedDay"]) -> "ComparedDay":
        """The sums of some days; parts of one kind are one part."""
        timed = Metered()
        for day in days:
            if day.timed is not None:
                timed.add(day.timed.cost, day.timed.time)
        return cls(
            name="total",
            bill=sum(day.bill for day in days),
            posted=sum(day.posted for day in days),
            adjusted=sum(day.adjusted for day in days),
            parts=summed(part for day in days for part in day.parts),
            usage=sum(day.usage for day in days),
            metered=sum(day.metered for day in days),
            timed=timed if timed.time else None,
            machines=any(day.machines for day in days),
            meters=any(day.meters for day in days),
        )

    @property
    def booked(self) -> Picodollars:
        """The books with adjustments."""
        return self.posted + self.adjusted

    @property
    def difference(self) -> Picodollars:
        """Bill minus books, adjustments counted as books."""
        return self.bill - self.booked

    @property
    def difference_in_cents(self) -> int:
        """The difference of bill and books as they are shown: each rounded to a cent."""
        (bill,), (booked,) = rounded([self.bill], CENT), rounded([self.booked], CENT)
        return bill - booked


def compare(
    book: Book, billed: InvoiceSums, *, crowded: bool = False, common_hours: bool = False
) -> ComparedDay:
    """Set one day of a bill against the books. `crowded`: the bill's times are not whole.

    `common_hours`: prices are compared over hours that both have, and hours that the bill lacks are worth
    what the books have of them, not the bill's price.
    """
    resources = [meter.resource for meter in billed.meters]
    time = sum(each.time for each in billed.meters.values())
    machines = len(set(resources)) > 1 and time > book.length
    meters = len(set(resources)) < len(resources)
    timed = None
    if time > 0 and not (crowded or machines or meters):
        timed = Metered(sum(each.cost for each in billed.meters.values()), time)
    parts: list[Difference] = []
    if timed is not None:
        parts = _by_time(book, timed, common_hours=common_hours)
        parts.append(Difference("other_usage", billed.usage - timed.cost))
    elif not machines:  # which of several is this host is not known, and so neither what its time is worth
        parts = _by_hour_of_the_books(book, billed)
    parts += [Difference(apart, billed.apart.get(apart, 0)) for apart in APART]
    parts.append(Difference("adjusted", -book.adjusted))
    difference = billed.total - book.compared - book.adjusted
    parts.append(Difference("unexplained", difference - sum(part.amount for part in parts)))
    return ComparedDay(
        name=book.name,
        bill=billed.total,
        posted=book.compared,
        adjusted=book.adjusted,
        parts=tuple(part for part in parts if part.amount),
        usage=billed.usage,
        metered=book.metered,
        timed=timed,
        machines=machines,
        meters=meters,
    )


def _by_time(book: Book, timed: Metered, *, common_hours: bool) -> list[Difference]:
    """Differences of a bill that has times. Each piece has its share of the cost; they sum to the cost."""
    cost, time = timed.cost, timed.time
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
    # A difference of price, over what each kind of price has of the books' money.
    drift = cost - assigned - posted
    weights = {basis: amount for basis, amount in book.money.items() if amount > 0}
    if priced and not weights:
        parts.append(Difference("price", drift, priced, 0))
    elif priced:
        sign = -1 if drift < 0 else 1
        amounts = divide(abs(drift), weights)
        times = divide(priced, weights)
        for basis, amount in weights.items():
            kind = _DRIFTS.get(basis, "price")
            parts.append(Difference(kind, sign * amounts[basis], times[basis], amount))
    return parts


def _by_hour_of_the_books(book: Book, billed_sums: InvoiceSums) -> list[Difference]:
    """Differences of a bill without times, or with the periods of its rows alone."""
    usage, span = billed_sums.usage, billed_sums.span
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
        worths = divide(left, times) if any(times.values()) else {}
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

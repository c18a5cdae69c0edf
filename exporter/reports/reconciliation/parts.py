"""Why a bill and the books differ on a day: named parts that sum to the difference, to the picodollar. Pure.

Where a bill tells for how long it charges, its price is cost by time, and every second is either on both
sides, on the bill alone or in the books alone. Where it does not, time that the books lack is worth what an
hour of that day costs in the books, and explains at most what is left to explain.
"""

from dataclasses import dataclass
from typing import Final, Literal, get_args

from exporter.cost.money import split
from exporter.reports.invoice import APART, Apart, Tally
from exporter.reports.reconciliation.books import Book
from exporter.reports.rounding import rounded
from exporter.units import PICODOLLARS_PER_DOLLAR, Nanoseconds, Picodollars

CENT: Final = PICODOLLARS_PER_DOLLAR // 100

Named = Literal[
    "not_metered",
    "uncovered",
    "beyond",
    "not_billed",
    "unpriced",
    "price",
    "price_catalogue",
    "price_estimate",
    "other_usage",
]
Kind = Named | Apart | Literal["adjusted", "unexplained"]

KINDS: Final[tuple[Kind, ...]] = (*get_args(Named), *APART, "adjusted", "unexplained")
"""In the order in which they are told."""

_DRIFTS: Final[dict[str, Kind]] = {"catalogue": "price_catalogue", "estimate": "price_estimate"}
"""By the price basis of the books; any other was configured."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of bill minus books. `time` is what it is for; `None`: it is not by time.

    `books` is set for prices alone: what the books have for that time.
    """

    kind: Kind
    amount: Picodollars
    time: Nanoseconds | None = None
    books: Picodollars | None = None


@dataclass(frozen=True, slots=True)
class Compared:
    """One day, or a month. `books` are without adjustments; `parts` sum to `difference`.

    `usage` is the part of the bill that is neither of `APART`, `metered` the time in the books.
    `timed` is what the bill charges by time, and for how long; `None`: it does not tell this day.
    `machines`: the bill has several, side by side; `meters`: it has several SKUs by time for one.
    """

    name: str
    bill: Picodollars
    books: Picodollars
    adjusted: Picodollars
    parts: tuple[Part, ...]
    usage: Picodollars
    metered: Nanoseconds
    timed: tuple[Picodollars, Nanoseconds] | None
    machines: bool = False
    meters: bool = False

    @property
    def difference(self) -> Picodollars:
        """Bill minus books, adjustments counted as books."""
        return self.bill - self.books - self.adjusted

    @property
    def difference_in_cents(self) -> int:
        """The difference of bill and books as they are shown: each rounded to a cent."""
        ((bill,), (books,)) = (rounded([amount], CENT) for amount in (self.bill, self.books + self.adjusted))
        return bill - books


def compare(book: Book, tally: Tally, *, crowded: bool = False) -> Compared:
    """Set one day of a bill against the books. `crowded`: the bill's times are not whole."""
    machines, meters = _several(tally, book.length)
    timed = None if crowded or machines or meters else _timed(tally)
    parts: list[Part] = []
    if timed is not None:
        parts = _by_time(book, *timed)
        parts.append(Part("other_usage", tally.usage - timed[0]))
    elif not machines:  # which of several is this host is not known, and so neither what its time is worth
        parts = _by_hour_of_the_books(book, tally)
    parts += [Part(apart, tally.apart.get(apart, 0)) for apart in APART]
    parts.append(Part("adjusted", -book.adjusted))
    difference = tally.total - book.compared - book.adjusted
    parts.append(Part("unexplained", difference - sum(part.amount for part in parts)))
    return Compared(
        name=book.name,
        bill=tally.total,
        books=book.compared,
        adjusted=book.adjusted,
        parts=tuple(part for part in parts if part.amount),
        usage=tally.usage,
        metered=book.metered,
        timed=timed,
        machines=machines,
        meters=meters,
    )


def _several(tally: Tally, length: Nanoseconds) -> tuple[bool, bool]:
    """Whether several machines ran side by side, and whether one is charged by several meters."""
    resources = [resource for resource, _sku in tally.meters]
    apart = len(set(resources)) > 1 and sum(each.time for each in tally.meters.values()) > length
    return apart, len(set(resources)) < len(resources)


def _timed(tally: Tally) -> tuple[Picodollars, Nanoseconds] | None:
    cost = sum(each.cost for each in tally.meters.values())
    time = sum(each.time for each in tally.meters.values())
    return (cost, time) if time > 0 else None


def _by_time(book: Book, cost: Picodollars, time: Nanoseconds) -> list[Part]:
    """Where the bill tells a time. Each piece of it is worth its share of the cost; they sum to the cost."""
    # In a gap the host was down or up; the books do not tell which, so the bill is believed that far.
    counted = min(max(time, book.metered - book.unobserved), book.metered)
    lacking = max(0, time - counted)
    uncovered = min(lacking, book.length - book.metered)
    unpriced = counted * book.unpriced // book.metered if book.metered else 0
    pieces: list[tuple[Kind, Nanoseconds]] = [
        ("uncovered" if book.metered else "not_metered", uncovered),
        ("beyond", lacking - uncovered),
        ("not_billed", min(0, time - counted)),
        ("unpriced", unpriced),
    ]
    parts = []
    passed = told = 0
    for kind, length in pieces:
        passed += length
        worth = cost * passed // time - told
        told += worth
        parts.append(Part(kind, worth, abs(length)))
    priced = counted - unpriced
    if priced:
        parts += _drift(book, cost - told - book.compared, priced)
    return parts


def _drift(book: Book, drift: Picodollars, time: Nanoseconds) -> list[Part]:
    """A difference of price, over what each kind of price has of the books' money."""
    weights = {basis: amount for basis, amount in book.money.items() if amount > 0}
    if not weights:
        return [Part("price", drift, time, 0)]
    sign = -1 if drift < 0 else 1
    amounts, _owed = split(abs(drift), weights)
    times, _owed = split(time, weights)
    return [
        Part(_DRIFTS.get(basis, "price"), sign * amounts[basis], times[basis], amount)
        for basis, amount in weights.items()
    ]


def _by_hour_of_the_books(book: Book, tally: Tally) -> list[Part]:
    """Where the bill tells no time, but at most the periods that its rows are for."""
    usage, span = tally.usage, tally.span
    if usage == 0:
        return [Part("not_billed", -book.compared, book.metered)]
    if book.metered == 0:
        return [Part("not_metered", usage - book.compared, book.length)]
    left = max(0, usage - book.compared)
    billed = book.length if span is None else min(span, book.length)
    missing, priced = max(0, billed - book.metered), book.metered - book.unpriced
    if priced == 0:
        uncovered = left * missing // (missing + book.unpriced)
        return [Part("uncovered", uncovered, missing), Part("unpriced", left - uncovered, book.unpriced)]
    parts: list[Part] = []
    lacking: tuple[tuple[Kind, Nanoseconds], ...] = (("uncovered", missing), ("unpriced", book.unpriced))
    for kind, time in lacking:
        worth = min(left, book.compared * time // priced)
        left -= worth
        parts.append(Part(kind, worth, worth * priced // book.compared if book.compared else time))
    return parts

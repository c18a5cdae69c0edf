"""What a bill says, by day: its rows summed as they are read, in memory that does not grow with the file.

Costs are picodollars, times nanoseconds. Words follow FOCUS (the FinOps Open Cost and Usage Specification).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from exporter.units import Instant, Nanoseconds, Picodollars

Apart = Literal["refunds", "credits", "taxes", "purchases", "corrections"]
"""What a bill has beside usage. `refunds` are usage below zero or of an earlier bill; `corrections` are what
the provider calls adjustments."""
APART: Final[tuple[Apart, ...]] = get_args(Apart)

CostColumn = Literal["billed", "effective"]
"""`billed` is what the invoice asks for; `effective` spreads commitments over what used them."""

InvoiceForm = Literal["focus", "dates"]
"""A FOCUS export, or a list of dates and dollars."""

MOST_DAYS: Final = 800
MOST_RESOURCES: Final = 1000
USAGE_PERIODS_MAX: Final = 100
"""Periods of a day that are kept apart: rows by the hour have 24, or 25."""
MOST_METERS: Final = 50_000
"""Sums by day, resource and SKU; beyond them nobody asked for one host."""

NO_RESOURCE: Final = ""


class InvoiceError(Exception):
    """A bill that cannot be used; the message says where and what to do."""


@dataclass(frozen=True, slots=True)
class InvoicePeriod:
    """The time [start, end) that a charge is for.

    `local` and `utc` name the day that it lies in, of the configured time zone and of UTC; `None`: it lies in
    no single one. `month` is set where it is longer than a day and lies in one month of UTC.
    """

    start: Instant
    end: Instant
    local: str | None
    utc: str | None
    month: str | None


@dataclass(frozen=True, slots=True)
class CommitmentCharge:
    """The commitment, or the reservation of capacity, that a row is of.

    `used` is the status of its usage; `None`: the row is a fee. `effective` is what the provider spread to
    the row; `None`: the bill does not say. `quantities` are how much of it was used, in billionths of each
    column that has one, the most fitting first; `None` where a column has none.
    """

    identifier: str
    name: str
    kind: str
    used: bool | None
    effective: Picodollars | None
    quantities: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class InvoiceCharge:
    """One row. `apart` is `None` for usage. `time` is how long it was used; `None`: it is not by time.

    `own` is the column that marks a row of the books themselves, as `report focus` writes them; else empty.
    `commitment` and `support` are set where the bill is one of a fleet.
    """

    period: InvoicePeriod
    cost: Picodollars
    apart: Apart | None = None
    resource: str = NO_RESOURCE
    name: str = ""
    service: str = ""
    sku: str = ""
    time: Nanoseconds | None = None
    own: str = ""
    commitment: CommitmentCharge | None = None
    support: bool = False


@dataclass(slots=True)
class Metered:
    """Usage by time of one resource and SKU."""

    cost: Picodollars = 0
    time: Nanoseconds = 0


def span_of(periods: Iterable[tuple[Instant, Instant]]) -> Nanoseconds:
    """How long periods last together, those that overlap once. They are in the order of their starts."""
    span, reached = 0, 0
    for start, end in periods:
        span += max(0, end - max(start, reached))
        reached = max(reached, end)
    return span


@dataclass(slots=True)
class InvoiceSums:
    """The charges of one day or month. `usage` is all of it, by time or not.

    `stretches` are the periods of usage; `None`: too many to be kept.
    """

    usage: Picodollars = 0
    usage_periods: set[tuple[Instant, Instant]] | None = field(default_factory=set)
    meters: dict[tuple[str, str], Metered] = field(default_factory=dict)
    apart: dict[Apart, Picodollars] = field(default_factory=dict)

    @property
    def total(self) -> Picodollars:
        """The sum of usage and other charges."""
        return self.usage + sum(self.apart.values())

    @property
    def span(self) -> Nanoseconds | None:
        """The longest time of usage; `None`: not known."""
        return None if self.usage_periods is None else span_of(sorted(self.usage_periods))

    def used(self, start: Instant, end: Instant) -> None:
        """There was usage in [start, end)."""
        if self.usage_periods is not None:
            self.usage_periods.add((start, end))
            if len(self.usage_periods) > USAGE_PERIODS_MAX:
                self.usage_periods = None

    def add(self, other: "InvoiceSums") -> None:
        """Take in another."""
        self.usage += other.usage
        self.usage_periods = None  # a month of them is too many
        for key, metered in other.meters.items():
            mine = self.meters.setdefault(key, Metered())
            mine.cost += metered.cost
            mine.time += metered.time
        for apart, cost in other.apart.items():
            self.apart[apart] = self.apart.get(apart, 0) + cost


@dataclass(slots=True)
class Counted:
    """A number of rows and the sum of their costs."""

    rows: int = 0
    cost: Picodollars = 0

    def count(self, cost: Picodollars) -> None:
        """Add one row."""
        self.rows += 1
        self.cost += cost


@dataclass(slots=True)
class Resource:
    """The charges of one resource on a bill. `chosen`: it is compared."""

    name: str
    service: str
    chosen: bool
    counted: Counted = field(default_factory=Counted)


@dataclass(slots=True)
class Invoice:
    """The rows of a file. `filtered`: somebody chose resources.

    Only chosen rows are in `local`, `utc` and `months`; `left` are the others, and `unnamed` those of them
    that are of no resource. `first` and `last` are the instants that all usage lies between.
    `shifted` are rows of a day of UTC and of no local one, `local_only` the reverse, `loose` those of no day
    and no month. `crowded`: times are not told.
    `dates`: the file names days and no instants.
    """

    form: InvoiceForm
    cost: CostColumn = "billed"
    filtered: bool = False
    rows: int = 0
    chosen: Counted = field(default_factory=Counted)
    left: Counted = field(default_factory=Counted)
    unnamed: Counted = field(default_factory=Counted)
    local: dict[str, InvoiceSums] = field(default_factory=dict)
    utc: dict[str, InvoiceSums] = field(default_factory=dict)
    months: dict[str, InvoiceSums] = field(default_factory=dict)
    shifted: Counted = field(default_factory=Counted)
    local_only: Counted = field(default_factory=Counted)
    loose: Counted = field(default_factory=Counted)
    crowded: bool = False
    first: Instant | None = None
    last: Instant | None = None
    resources: dict[str, Resource] = field(default_factory=dict)
    unlisted: Counted = field(default_factory=Counted)
    _meters: int = 0

    def add(self, charge: InvoiceCharge, *, chosen: bool) -> None:
        """Take one row in.

        Raises:
            InvoiceError: the rows are of more days than a bill has.
        """
        self.rows += 1
        self._list(charge, chosen=chosen)
        period = charge.period
        if charge.apart is None:
            self.first = period.start if self.first is None else min(self.first, period.start)
            self.last = period.end if self.last is None else max(self.last, period.end)
        if not chosen:
            self.left.count(charge.cost)
            if charge.resource == NO_RESOURCE:
                self.unnamed.count(charge.cost)
            return
        self.chosen.count(charge.cost)
        if period.local is not None:
            self._tally(self.local, period.local, charge)
        if period.utc is not None:
            self._tally(self.utc, period.utc, charge)
        if period.month is not None:
            self._tally(self.months, period.month, charge)
        elif period.local is None and period.utc is None:
            self.loose.count(charge.cost)
        elif period.local is None:
            self.shifted.count(charge.cost)
        elif period.utc is None:
            self.local_only.count(charge.cost)

    def _tally(self, tallies: dict[str, InvoiceSums], name: str, charge: InvoiceCharge) -> None:
        tally = tallies.get(name)
        if tally is None:
            if len(tallies) == MOST_DAYS:
                raise InvoiceError(f"has rows of more than {MOST_DAYS} days: export one month")
            tally = tallies[name] = InvoiceSums()
        if charge.apart is not None:
            tally.apart[charge.apart] = tally.apart.get(charge.apart, 0) + charge.cost
            return
        tally.usage += charge.cost
        tally.used(charge.period.start, charge.period.end)
        if charge.time is None or self.crowded:
            return
        key = charge.resource, charge.sku
        metered = tally.meters.get(key)
        if metered is None:
            if self._meters == MOST_METERS:
                self.crowded = True
                return
            self._meters += 1
            metered = tally.meters[key] = Metered()
        metered.cost += charge.cost
        metered.time += charge.time

    def _list(self, charge: InvoiceCharge, *, chosen: bool) -> None:
        listed = self.resources.get(charge.resource)
        if listed is None:
            if len(self.resources) == MOST_RESOURCES:
                self.unlisted.count(charge.cost)
                return
            listed = self.resources[charge.resource] = Resource(charge.name, charge.service, chosen)
        listed.counted.count(charge.cost)

"""What a bill says by day: its rows summed as they are read, in memory that does not grow with the file."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from exporter.config.problems import shown
from exporter.cost.money import add, add_all
from exporter.finance.bill.bill_file import InvoiceForm, Reading, matches, read_rows
from exporter.finance.bill.charges import Apart, CostColumn, InvoiceCharge, InvoiceError
from exporter.units import Instant, Nanoseconds, Picodollars

MOST_DAYS: Final = 800
MOST_RESOURCES: Final = 1000
USAGE_PERIODS_MAX: Final = 100
"""Periods of a day that are kept apart: rows by the hour have 24, or 25."""
MOST_METERS: Final = 50_000
"""Sums by day, resource and SKU; beyond them nobody asked for one host."""
MOST_LISTED: Final = 10
"""Resources of a bill that are named to a person, the dearest first."""


@dataclass(slots=True)
class Metered:
    """Usage by time of one resource and SKU."""

    cost: Picodollars = 0
    time: Nanoseconds = 0

    def add(self, cost: Picodollars, time: Nanoseconds) -> None:
        """Add usage."""
        self.cost += cost
        self.time += time


class MeterKey(NamedTuple):
    """The resource and the SKU that usage by time is charged for."""

    resource: str
    sku: str


class UsagePeriod(NamedTuple):
    """The time [start, end) of usage."""

    start: Instant
    end: Instant


def span_of(periods: Iterable[UsagePeriod]) -> Nanoseconds:
    """How long periods last together, those that overlap once. They are in the order of their starts."""
    span, reached = 0, 0
    for start, end in periods:
        span += max(0, end - max(start, reached))
        reached = max(reached, end)
    return span


@dataclass(slots=True)
class InvoiceSums:
    """The charges of one day, month or machine."""

    usage: Picodollars = 0
    """All usage, by time or not."""
    usage_periods: set[UsagePeriod] | None = field(default_factory=set)
    """The periods of usage; `None`: too many to be kept."""
    meters: dict[MeterKey, Metered] = field(default_factory=dict)
    """Usage by time."""
    apart: dict[Apart, Picodollars] = field(default_factory=dict)
    """What is no usage."""

    @property
    def total(self) -> Picodollars:
        """The sum of usage and other charges."""
        return self.usage + sum(self.apart.values())

    @property
    def span(self) -> Nanoseconds | None:
        """The longest time of usage; `None`: not known."""
        return None if self.usage_periods is None else span_of(sorted(self.usage_periods))

    def used(self, period: UsagePeriod) -> None:
        """There was usage in a period."""
        if self.usage_periods is not None:
            self.usage_periods.add(period)
            if len(self.usage_periods) > USAGE_PERIODS_MAX:
                self.usage_periods = None

    def add(self, other: "InvoiceSums") -> None:
        """Take in another."""
        self.usage += other.usage
        self.usage_periods = None  # a month of them is too many
        for key, metered in other.meters.items():
            self.meters.setdefault(key, Metered()).add(metered.cost, metered.time)
        add_all(self.apart, other.apart)


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
    """The charges of one resource on a bill."""

    name: str
    service: str
    chosen: bool
    """Whether it is compared."""
    counted: Counted = field(default_factory=Counted)


@dataclass(slots=True)
class Invoice:
    """The rows of a file. Only chosen ones are in its sums."""

    form: InvoiceForm
    cost: CostColumn = "billed"
    filtered: bool = False
    """Whether somebody chose resources."""
    rows: int = 0
    chosen: Counted = field(default_factory=Counted)
    left: Counted = field(default_factory=Counted)
    """Rows that are not chosen."""
    unnamed: Counted = field(default_factory=Counted)
    """Rows that are not chosen and name no resource."""
    local: dict[str, InvoiceSums] = field(default_factory=dict)
    """By day of the configured time zone."""
    utc: dict[str, InvoiceSums] = field(default_factory=dict)
    """By day of UTC."""
    months: dict[str, InvoiceSums] = field(default_factory=dict)
    """By month of UTC, of rows that are longer than a day."""
    shifted: Counted = field(default_factory=Counted)
    """Rows of a day of UTC and of no local one."""
    local_only: Counted = field(default_factory=Counted)
    """Rows of a local day and of none of UTC."""
    loose: Counted = field(default_factory=Counted)
    """Rows of no day and no month."""
    crowded: bool = False
    """Whether there are too many meters, so that times are not whole."""
    first: Instant | None = None
    """Start of the first usage, chosen or not."""
    last: Instant | None = None
    """End of the last usage, chosen or not."""
    resources: dict[str, Resource] = field(default_factory=dict)
    unlisted: Counted = field(default_factory=Counted)
    """Rows of resources beyond the listed ones."""
    _meters: int = 0

    def add(self, charge: InvoiceCharge, *, chosen: bool) -> None:
        """Take one row in.

        Raises:
            InvoiceError: the rows are of more days than a bill has.
        """
        self.rows += 1
        resource = self.resources.get(charge.resource)
        if resource is None and len(self.resources) < MOST_RESOURCES:
            resource = self.resources[charge.resource] = Resource(charge.name, charge.service, chosen)
        (self.unlisted if resource is None else resource.counted).count(charge.cost)
        period = charge.period
        if charge.apart is None:
            self.first = period.start if self.first is None else min(self.first, period.start)
            self.last = period.end if self.last is None else max(self.last, period.end)
        if not chosen:
            self.left.count(charge.cost)
            if not charge.resource:
                self.unnamed.count(charge.cost)
            return
        self.chosen.count(charge.cost)
        for by_name, name in (
            (self.local, period.local),
            (self.utc, period.utc),
            (self.months, period.month),
        ):
            if name is None:
                continue
            if name not in by_name and len(by_name) == MOST_DAYS:
                raise InvoiceError(f"has rows of more than {MOST_DAYS} days: export one month")
            sums = by_name.setdefault(name, InvoiceSums())
            if charge.apart is not None:
                add(sums.apart, charge.apart, charge.cost)
                continue
            sums.usage += charge.cost
            sums.used(UsagePeriod(period.start, period.end))
            if charge.time is None:
                continue
            key = MeterKey(charge.resource, charge.sku)
            if key not in sums.meters:
                self.crowded |= self._meters == MOST_METERS
                self._meters += not self.crowded
            if not self.crowded:
                sums.meters.setdefault(key, Metered()).add(charge.cost, charge.time)
        if period.month is None and period.local is None:
            (self.loose if period.utc is None else self.shifted).count(charge.cost)
        elif period.month is None and period.utc is None:
            self.local_only.count(charge.cost)

    def dearest(self, most: int) -> list[tuple[str, Resource]]:
        """The dearest resources of all rows, by their ids."""
        return sorted(self.resources.items(), key=lambda item: (-item[1].counted.cost, item[0]))[:most]


def read_invoice(path: Path, reading: Reading) -> Invoice:
    """Read a bill once, from the first row to the last.

    Raises:
        InvoiceError: it cannot be read, or a row cannot be used. What a bill says is whole or not at all.
    """
    invoice = Invoice("focus", reading.cost, filtered=bool(reading.resources))
    invoice.form = read_rows(
        path, reading, lambda charge: invoice.add(charge, chosen=reading.compares(charge))
    )
    chosen_resources = [(key, each.name) for key, each in invoice.resources.items() if each.chosen]
    unmatched = [
        shown(wanted)
        for wanted in reading.resources
        if not any(matches(wanted, key, name) for key, name in chosen_resources)
    ]
    if unmatched:
        named = [(key, each.name) for key, each in invoice.dearest(MOST_LISTED + 1) if key][:MOST_LISTED]
        listed = ", ".join(f"{key} ({name})" if name else key for key, name in named)
        dearest = f"its dearest are {listed}" if named else "the bill names none"
        raise InvoiceError(f"{path}: no row is of the resource {', '.join(unmatched)}; {dearest}")
    return invoice


def month_billed(invoice: Invoice) -> str:
    """The month that a bill is of, by most of its rows' dollars.

    Raises:
        InvoiceError: it is of several to the same extent, or of none.
    """
    totals: dict[str, Picodollars] = {}
    for sums_by_name in (invoice.utc if invoice.shifted.rows else invoice.local, invoice.months):
        for name, sums in sums_by_name.items():
            add(totals, name[:7], abs(sums.usage) + sum(map(abs, sums.apart.values())))
    most = [name for name, total in totals.items() if total == max(totals.values())]
    if len(most) != 1:
        extent = f"of {', '.join(sorted(totals))}" if totals else "of no day and no month"
        raise InvoiceError(f"its rows are {extent}: say which month with --month")
    return most[0]

"""Rows of a bill as charges: a FOCUS export of any cloud, or a list of dates and dollars. Pure.

Costs are picodollars, times nanoseconds. Words follow FOCUS (the FinOps Open Cost and Usage Specification).
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache, partial
from typing import Final, Literal, TypeVar, get_args
from zoneinfo import ZoneInfo

from exporter import units
from exporter.config.problems import shown
from exporter.finance.focus.dataset import PROVIDER
from exporter.tariff.calendar import Day, day_of, first_instant, month_of
from exporter.tariff.period import FIRST_YEAR, LAST_YEAR

T = TypeVar("T")

Apart = Literal["refunds", "credits", "taxes", "purchases", "corrections"]
"""What a bill has beside usage. `refunds` are usage below zero or of an earlier bill; `corrections` are what
the provider calls adjustments."""
APART: Final[tuple[Apart, ...]] = get_args(Apart)

CostColumn = Literal["billed", "effective"]
"""`billed` is what the invoice asks for; `effective` spreads commitments over what used them."""

COSTS: Final = {"billed": "BilledCost", "effective": "EffectiveCost"}

CATEGORIES: Final[dict[str, Apart | None]] = {
    "usage": None,
    "purchase": "purchases",
    "tax": "taxes",
    "credit": "credits",
    "adjustment": "corrections",
}
SKUS: Final = ("skuid", "skupriceid", "skumeter", "x_skumetername", "x_usagetype")
PROVIDERS: Final = ("providername", "serviceprovidername")
"""Columns of the provider: FOCUS 1.4 has the second only."""
USED: Final = (("consumedquantity", "consumedunit"), ("usagequantity", "usageunit"))
"""Columns of quantities. Oracle writes the second pair, which earlier FOCUS releases had."""
COMMITTED_QUANTITIES: Final = ("commitmentdiscountquantity", "consumedquantity", "pricingquantity")
SECONDS: Final = {
    **dict.fromkeys(("hour", "hours", "hr", "hrs", "h", "1 hour"), 3600),
    **dict.fromkeys(("minute", "minutes"), 60),
    **dict.fromkeys(("second", "seconds"), 1),
    **dict.fromkeys(("day", "days"), 86_400),
}
OVER_TIME: Final = ("-seconds", "-hours", " seconds", " hours", " second", " hour")
"""Ends of units that multiply a size by time."""

COMMITTED: Final = "committed"
"""Pricing category of usage that a commitment covers."""
UNNAMED: Final = "commitments"
"""Name of commitments whose rows have no id."""
_SUPPORT: Final = re.compile(r"\bsupport\b|^awssupport|premiumsupport", re.IGNORECASE)
"""Services and their categories by which providers sell support."""

DATES_HEADER: Final = (
    ("date", "day"),
    ("dollars", "amount", "cost", "usd"),
    ("host", "resource", "resourceid"),
)
"""Names of the columns of a list of dates; the last column may be absent."""

UTC_ZONE: Final = ZoneInfo("UTC")

MOST_DOLLARS: Final = 10**9
"""The largest amount of one row."""
MOST_DIGITS: Final = 60
FINEST: Final = -30
"""The exponent below which a number is nothing: a picodollar is 1e-12."""
BILLIONTHS: Final = 10**9

NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)
DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_INSTANT: Final = re.compile(
    r"(\d{4}-\d{2}-\d{2})[T ](\d{2}):(\d{2})(?::(\d{2})(?:\.\d{1,9})?)?(?:Z| ?UTC|\+00(?::?00)?)?", re.ASCII
)


class InvoiceError(Exception):
    """A bill that cannot be used; the message says where and what to do."""


class CellError(Exception):
    """A value that cannot be used, its column's number from 0, and the column's name."""

    def __init__(self, index: int, column: str, message: str) -> None:
        super().__init__(message)
        self.index = index
        self.column = column


@dataclass(frozen=True, slots=True)
class InvoicePeriod:
    """The time [start, end) that a charge is for."""

    start: units.Instant
    end: units.Instant
    local: str | None
    """The one day of the configured time zone that it lies in; `None`: there is no such day."""
    utc: str | None
    """The one day of UTC that it lies in; `None`: there is no such day."""
    month: str | None
    """The month of UTC that it lies in, where it is longer than a day."""


@dataclass(frozen=True, slots=True)
class CommitmentCharge:
    """The commitment, or the reservation of capacity, that a row is of."""

    identifier: str
    name: str
    kind: str
    used: bool | None
    """The status of its usage; `None`: the row is a fee."""
    effective: units.Picodollars | None
    """What the provider spread to the row; `None`: the bill does not say."""
    quantities: tuple[int | None, ...]
    """How much of it was used, in billionths of each column that has a quantity, the most fitting first."""


@dataclass(frozen=True, slots=True)
class InvoiceCharge:
    """One row of a bill."""

    period: InvoicePeriod
    cost: units.Picodollars
    apart: Apart | None = None
    """`None` for usage."""
    resource: str = ""
    name: str = ""
    service: str = ""
    sku: str = ""
    time: units.Nanoseconds | None = None
    """How long it was used; `None`: it is not charged by time. 0: as long as its machine, like memory."""
    own: str = ""
    """The column that marks a row of the books themselves, as `report focus` writes them."""
    commitment: CommitmentCharge | None = None
    support: bool = False
    """Whether it is for the provider's support."""


@lru_cache(maxsize=4096)
def number(text: str) -> Decimal:
    """A number as bills write it, exact. Exports of AWS have costs like `6.123E-7`.

    Raises:
        ValueError: it is none; the message says what is expected.
    """
    text = text.strip()
    if len(text) > MOST_DIGITS or not NUMBER.fullmatch(text):
        raise ValueError(f"{shown(text)} is no number: expected digits with a point, like -1234.56")
    value = Decimal(text)
    if not value or value.adjusted() < FINEST:
        return Decimal(0)
    if value.adjusted() > len(str(MOST_DOLLARS)) or abs(value) > MOST_DOLLARS:
        raise ValueError(f"{shown(text)} is out of range: at most {MOST_DOLLARS} either way in one row")
    return value


@lru_cache(maxsize=4096)
def money(text: str) -> units.Picodollars:
    """Dollars as `number`, rounded half to even below a picodollar."""
    return units.picodollars(number(text))


@lru_cache(maxsize=4096)
def moment(text: str) -> units.Instant:
    """An instant of UTC as bills write it, by the FOCUS specification (1.0 to 1.2) and by exports.

    AWS writes `2026-10-01T00:00:00.000Z`, BigQuery (GCP) `2026-10-01 00:00:00 UTC`, and Azure's first release
    `2026-10-01T00:00Z`.

    Raises:
        ValueError: it is none; the message says what is expected.
    """
    match = _INSTANT.fullmatch(text)
    if match is None:
        if DATE.fullmatch(text):
            return moment(f"{text}T00:00:00Z")
        raise ValueError(f"{shown(text)} is no time of UTC: expected one like 2026-10-01T00:00:00Z")
    day, hour, minute, second = match.groups(default="00")
    try:
        instant = datetime.fromisoformat(f"{day}T{hour}:{minute}:{second}+00:00")
    except ValueError:
        raise ValueError(f"{shown(text)} does not exist in the calendar") from None
    _check_year(instant.year, text)
    return int(instant.timestamp()) * units.NANOSECONDS_PER_SECOND


@lru_cache(maxsize=4096)
def period(start: units.Instant, end: units.Instant, zone: ZoneInfo) -> InvoicePeriod:
    """The days that [start, end) lies in, or its month."""
    local, utc = day_of(start, zone), day_of(start, UTC_ZONE)
    month = month_of(start, UTC_ZONE)
    long = end - start > units.NANOSECONDS_PER_DAY and end > local.end
    return InvoicePeriod(
        start,
        end,
        local.name if end <= local.end else None,
        utc.name if end <= utc.end else None,
        month.name if long and end <= month.end else None,
    )


@lru_cache(maxsize=1024)
def calendar_day(text: str, zone: ZoneInfo) -> Day:
    """A day of a zone by its name.

    Raises:
        ValueError: it is none; the message says what is expected.
    """
    if not DATE.fullmatch(text):
        raise ValueError(f"{shown(text)} is no date: expected one like 2026-10-31")
    try:
        named = date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{shown(text)} does not exist in the calendar") from None
    _check_year(named.year, text)
    following = named + timedelta(days=1)
    start = first_instant(named.year, named.month, named.day, zone)
    end = first_instant(following.year, following.month, following.day, zone)
    return Day(text, start, end)


def _check_year(year: int, text: str) -> None:
    # An instant of January of UTC is one of the year before in some zones, and must be in a month there, too.
    first, last = FIRST_YEAR + 1, LAST_YEAR - 1
    if not first <= year <= last:
        raise ValueError(f"{shown(text)} is out of range: years are from {first} to {last}")


def _dollars_only(currency: str) -> None:
    if currency.strip().upper() != "USD":
        raise ValueError(
            f"{shown(currency)}: the books are in dollars, so that only a bill in USD can be compared; "
            "export it in USD"
        )


def _category(text: str) -> Apart | None:
    if text.strip().lower() not in CATEGORIES:
        raise ValueError(f"{shown(text)} is none of Usage, Purchase, Tax, Credit or Adjustment")
    return CATEGORIES[text.strip().lower()]


@lru_cache(maxsize=4096)
def _is_support(service: str) -> bool:
    return _SUPPORT.search(service) is not None


@lru_cache(maxsize=4096)
def _billionths(text: str) -> int | None:
    if not text or len(text) > MOST_DIGITS or not NUMBER.fullmatch(text):
        return None
    value = Decimal(text)
    return round(value * BILLIONTHS) if abs(value.adjusted()) <= MOST_DIGITS else None


def _cell(row: Sequence[str], index: int, column: str, parse: Callable[[str], T]) -> T:
    try:
        return parse(row[index])
    except ValueError as error:
        raise CellError(index, column, str(error)) from None


class ExportRow:
    """A row of a FOCUS export, by the names of its columns in lower case."""

    def __init__(self, header: Sequence[str], columns: dict[str, int], row: Sequence[str]) -> None:
        self._header = header
        self._columns = columns
        self._row = row

    def text(self, name: str) -> str:
        """A value that may be absent, which some write as NULL or as quotes."""
        index = self._columns.get(name)
        text = "" if index is None else self._row[index].strip()
        return "" if text in {"NULL", "null", '""'} else text

    def first(self, names: Sequence[str]) -> str:
        """The first value that is not absent."""
        return next(filter(None, map(self.text, names)), "")

    def value(self, name: str, parse: Callable[[str], T]) -> T:
        """A value that a column has.

        Raises:
            CellError: it cannot be used.
        """
        index = self._columns[name]
        return _cell(self._row, index, self._header[index].strip(), parse)


class FocusRows:
    """Reads rows of a FOCUS export. `fleet`: commitments and support are read, too."""

    def __init__(self, header: Sequence[str], cost: CostColumn, zone: ZoneInfo, *, fleet: bool) -> None:
        self._header = header
        self._zone = zone
        self._fleet = fleet
        self._columns = {name.strip().lower(): index for index, name in enumerate(header)}
        needed = ("ChargePeriodStart", "ChargePeriodEnd", COSTS[cost], "ChargeCategory", "BillingCurrency")
        missing = [name for name in needed if name.lower() not in self._columns]
        if missing:
            raise InvoiceError(
                f"has no column {', '.join(missing)}: export it in FOCUS form, or write a CSV of date,dollars"
            )
        self._cost = COSTS[cost].lower()
        self._used = next((pair for pair in USED if self._columns.keys() >= {*pair}), None)

    def __call__(self, cells: Sequence[str]) -> InvoiceCharge:
        """The charge of one row.

        Raises:
            CellError: a value cannot be used.
        """
        row = ExportRow(self._header, self._columns, cells)
        row.value("billingcurrency", _dollars_only)
        apart = row.value("chargecategory", _category)
        cost = row.value(self._cost, money)
        if apart is None and (cost < 0 or row.text("chargeclass").lower() == "correction"):
            apart = "refunds"
        commitment = None
        support = False
        if self._fleet:
            sellers = ("servicesubcategory", "servicecategory", "servicename")
            support = any(_is_support(row.text(name)) for name in sellers)
            if apart in (None, "purchases"):
                commitment = _commitment(row, fee=apart is not None)
        own = next((name for name in PROVIDERS if row.text(name) == PROVIDER), "")
        start = row.value("chargeperiodstart", lambda text: moment(text.strip()))

        def end_of(text: str) -> units.Instant:
            end = moment(text.strip())
            if end < start:
                raise ValueError(f"{shown(text)} is before the start of the period")
            return end

        charged = period(start, row.value("chargeperiodend", end_of), self._zone)
        time: units.Nanoseconds | None = None
        if self._used is not None:
            quantity, unit_column = self._used
            unit = row.text(unit_column).lower()
            if unit in SECONDS and row.text(quantity):
                amount = row.value(quantity, number)
                time = round(amount * SECONDS[unit] * units.NANOSECONDS_PER_SECOND)
            elif self._fleet and unit.endswith(OVER_TIME):
                # Memory of a machine in byte-seconds is charged as long as the machine, and tells no hours.
                time = 0
        return InvoiceCharge(
            period=charged,
            cost=cost,
            apart=apart,
            resource=row.text("resourceid"),
            name=row.text("resourcename"),
            service=row.text("servicename"),
            sku=row.first(SKUS),
            time=time,
            own=self._header[self._columns[own]].strip() if own else "",
            commitment=commitment,
            support=support,
        )


def _commitment(row: ExportRow, *, fee: bool) -> CommitmentCharge | None:
    """The commitment of a row; `None`: it has none. A status is that of usage."""
    identifier = row.text("commitmentdiscountid")
    status = row.text("commitmentdiscountstatus")
    kind = row.first(("commitmentdiscounttype", "commitmentdiscountcategory"))
    if not identifier:
        identifier = row.text("capacityreservationid")
        status = row.text("capacityreservationstatus")
        kind = "Capacity Reservation"
    if not identifier and row.text("pricingcategory").lower() == COMMITTED:
        identifier = UNNAMED
        status = ""
        kind = "no id on the bill"
    if not identifier:
        return None
    return CommitmentCharge(
        identifier=identifier,
        name=row.text("commitmentdiscountname"),
        kind=kind or "Commitment",
        used=None if fee else status.lower() != "unused",
        effective=row.value("effectivecost", money) if row.text("effectivecost") else None,
        quantities=tuple(_billionths(row.text(name)) for name in COMMITTED_QUANTITIES),
    )


def _date_row(zone: ZoneInfo, row: Sequence[str]) -> InvoiceCharge:
    """The charge of a day, and of a host where there is a third column."""
    day = _cell(row, 0, "date", lambda text: calendar_day(text.strip(), zone))
    cost = _cell(row, 1, "dollars", money)
    return InvoiceCharge(
        period=InvoicePeriod(day.start, day.end, day.name, day.name, None),
        cost=cost,
        apart="refunds" if cost < 0 else None,
        resource="".join(row[2:]).strip(),
    )


ReadRow = Callable[[Sequence[str]], InvoiceCharge]
"""Reads one row. Raises `CellError`."""


def row_reader(
    header: Sequence[str], cost: CostColumn, zone: ZoneInfo, *, fleet: bool = False
) -> tuple[ReadRow, bool]:
    """The reader of a bill's rows by its first row, and whether that row is a header.

    Raises:
        InvoiceError: it is no form that is known.
    """
    names = [name.strip().lower() for name in header]
    repeated = next((name for at, name in enumerate(names) if name and name in names[:at]), None)
    if repeated is not None:
        raise InvoiceError(f"has the column {shown(header[names.index(repeated)].strip())} twice")
    if "chargeperiodstart" in names or "billedcost" in names:
        return FocusRows(header, cost, zone, fleet=fleet), True
    if len(names) in {2, 3}:
        if all(name in known for name, known in zip(names, DATES_HEADER, strict=False)):
            return partial(_date_row, zone), True
        if DATE.fullmatch(names[0]):
            return partial(_date_row, zone), False
    if len(names) == 1 and (";" in names[0] or "\t" in names[0]):
        raise InvoiceError("is not separated by commas: export it as CSV with commas")
    raise InvoiceError(
        f"begins with {shown(','.join(header))}: expected the columns of a FOCUS export, or date,dollars, "
        "or date,dollars,host"
    )

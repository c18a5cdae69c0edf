"""Rows of a bill to charges: FOCUS exports of AWS, GCP, Azure and others, and plain lists of dates.

Oracle calls consumed quantities usage quantities, as FOCUS once did.
"""

from collections.abc import Sequence
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from exporter.config.problems import shown
from exporter.reports.focus import PROVIDER
from exporter.reports.invoice import Apart, Charge, CostColumn, InvoiceError, Period
from exporter.reports.invoice_values import DATE, calendar_day, moment, money, number, period
from exporter.units import NANOSECONDS_PER_SECOND, Nanoseconds, Picodollars

COSTS: Final = {"billed": "BilledCost", "effective": "EffectiveCost"}
QUANTITIES: Final = (("ConsumedQuantity", "ConsumedUnit"), ("UsageQuantity", "UsageUnit"))
SKUS: Final = ("SkuId", "SkuPriceId", "SkuMeter", "x_SkuMeterName", "x_UsageType")
CATEGORIES: Final[dict[str, Apart | None]] = {
    "usage": None,
    "purchase": "purchases",
    "tax": "taxes",
    "credit": "credits",
    "adjustment": "corrections",
}
SECONDS: Final = {
    **dict.fromkeys(("hour", "hours", "hr", "hrs", "h", "1 hour"), 3600),
    **dict.fromkeys(("minute", "minutes"), 60),
    **dict.fromkeys(("second", "seconds"), 1),
    **dict.fromkeys(("day", "days"), 86_400),
}
DAYS: Final = ("date", "day")
DOLLARS: Final = ("dollars", "amount", "cost", "usd")
HOSTS: Final = ("host", "resource", "resourceid")
WITH_HOST: Final = 3


class CellError(Exception):
    """One value that cannot be used. `place` counts columns from 0; `None`: it is the whole row."""

    def __init__(self, place: int | None, column: str, message: str) -> None:
        super().__init__(message)
        self.place = place
        self.column = column


class Rows(Protocol):
    """One form of bill. Raises `CellError` for what cannot be used."""

    width: int

    def charge(self, row: Sequence[str]) -> Charge:
        """One row."""


class FocusRows:
    """A FOCUS export."""

    def __init__(self, header: Sequence[str], cost: CostColumn, zone: ZoneInfo) -> None:
        self.width = len(header)
        self._header = header
        self._zone = zone
        self._places = {name.strip().lower(): place for place, name in enumerate(header)}
        needed = ("ChargePeriodStart", "ChargePeriodEnd", COSTS[cost], "ChargeCategory", "BillingCurrency")
        missing = [name for name in needed if name.lower() not in self._places]
        if missing:
            raise InvoiceError(
                f"has no column {', '.join(missing)}: export it in FOCUS form, or write a CSV of date,dollars"
            )
        self._start, self._end, self._cost, self._category, self._currency = map(self._place, needed)
        self._class = self._places.get("chargeclass")
        self._resource = self._places.get("resourceid")
        self._name = self._places.get("resourcename")
        self._provider = self._places.get("providername")
        self._service = self._places.get("servicename")
        self._skus = [self._places[name.lower()] for name in SKUS if name.lower() in self._places]
        quantities: tuple[int | None, int | None] = next(
            (
                (self._place(quantity), self._place(unit))
                for quantity, unit in QUANTITIES
                if quantity.lower() in self._places and unit.lower() in self._places
            ),
            (None, None),
        )
        self._quantity, self._unit = quantities

    def _place(self, name: str) -> int:
        return self._places[name.lower()]

    def charge(self, row: Sequence[str]) -> Charge:
        """One row."""
        currency = row[self._currency].strip()
        if currency.upper() != "USD":
            raise self._refused(
                self._currency,
                f"{shown(currency)}: the books are in dollars, so that only a bill in USD can be compared; "
                "export it in USD",
            )
        category = row[self._category].strip().lower()
        if category not in CATEGORIES:
            known = "Usage, Purchase, Tax, Credit or Adjustment"
            raise self._refused(self._category, f"{shown(row[self._category])} is none of {known}")
        cost = self._money(self._cost, row)
        apart = CATEGORIES[category]
        if apart is None and (cost < 0 or _text(row, self._class).lower() == "correction"):
            apart = "refunds"
        return Charge(
            period=self._period(row),
            cost=cost,
            apart=apart,
            resource=_text(row, self._resource),
            name=_text(row, self._name),
            service=_text(row, self._service),
            sku=next(filter(None, (_text(row, place) for place in self._skus)), ""),
            time=self._time(row),
            own=_text(row, self._provider) == PROVIDER,
        )

    def _refused(self, place: int, message: str) -> CellError:
        return CellError(place, self._header[place].strip(), message)

    def _money(self, place: int, row: Sequence[str]) -> Picodollars:
        try:
            return money(row[place])
        except ValueError as error:
            raise self._refused(place, str(error)) from None

    def _time(self, row: Sequence[str]) -> Nanoseconds | None:
        if self._quantity is None or self._unit is None:
            return None
        seconds = SECONDS.get(_text(row, self._unit).lower())
        quantity = _text(row, self._quantity)
        if seconds is None or not quantity:
            return None
        try:
            return round(number(quantity) * seconds * NANOSECONDS_PER_SECOND)
        except ValueError as error:
            raise self._refused(self._quantity, str(error)) from None

    def _period(self, row: Sequence[str]) -> Period:
        moments = []
        for place in (self._start, self._end):
            try:
                moments.append(moment(row[place].strip()))
            except ValueError as error:
                raise self._refused(place, str(error)) from None
        start, end = moments
        if end < start:
            raise self._refused(self._end, f"{shown(row[self._end])} is before the start of the period")
        return period(start, end, self._zone)


class DateRows:
    """A list of dates and dollars, and of hosts where there is a third column."""

    def __init__(self, width: int, zone: ZoneInfo) -> None:
        self.width = width
        self._zone = zone

    def charge(self, row: Sequence[str]) -> Charge:
        """One row."""
        try:
            day = calendar_day(row[0].strip(), self._zone)
        except ValueError as error:
            raise CellError(0, "date", str(error)) from None
        try:
            cost = money(row[1])
        except ValueError as error:
            raise CellError(1, "dollars", str(error)) from None
        return Charge(
            period=Period(day.start, day.end, day.name, day.name, None),
            cost=cost,
            apart="refunds" if cost < 0 else None,
            resource=row[2].strip() if self.width == WITH_HOST else "",
        )


def rows_of(header: Sequence[str], cost: CostColumn, zone: ZoneInfo) -> tuple[Rows, bool]:
    """The form of a bill by its first row, and whether that row is a header.

    Raises:
        InvoiceError: it is no form that is known.
    """
    names = [name.strip().lower() for name in header]
    seen: set[str] = set()
    for name in names:
        if name and name in seen:
            raise InvoiceError(f"has the column {shown(header[names.index(name)].strip())} twice")
        seen.add(name)
    if "chargeperiodstart" in seen or "billedcost" in seen:
        return FocusRows(header, cost, zone), True
    if len(names) in {2, WITH_HOST}:
        if names[0] in DAYS and names[1] in DOLLARS and names[2:] in ([], *([host] for host in HOSTS)):
            return DateRows(len(names), zone), True
        if DATE.fullmatch(names[0]):
            return DateRows(len(names), zone), False
    if len(names) == 1 and (";" in names[0] or "\t" in names[0]):
        raise InvoiceError("is not separated by commas: export it as CSV with commas")
    raise InvoiceError(
        f"begins with {shown(','.join(header))}: expected the columns of a FOCUS export, or date,dollars, "
        "or date,dollars,host"
    )


def _text(row: Sequence[str], place: int | None) -> str:
    """A value that may be absent, which some write as NULL or as quotes."""
    text = "" if place is None else row[place].strip()
    return "" if text in {"NULL", "null", '""'} else text

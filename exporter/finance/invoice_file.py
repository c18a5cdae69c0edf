"""The file of a bill, read row by row: plain or gzip, UTF-8 or UTF-16, whatever its size."""

import csv
import gzip
import io
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import IO, Final, Protocol
from zoneinfo import ZoneInfo

from exporter.config.problems import shown
from exporter.finance.focus import PROVIDER
from exporter.finance.invoice import Apart, CostColumn, Invoice, InvoiceCharge, InvoiceError, InvoicePeriod
from exporter.tariff.calendar import Day, day_of, first_instant, month_of
from exporter.units import (
    NANOSECONDS_PER_DAY,
    NANOSECONDS_PER_SECOND,
    Instant,
    Nanoseconds,
    Picodollars,
    picodollars,
)

UTC_ZONE: Final = ZoneInfo("UTC")

MOST_DOLLARS: Final = 10**9
"""The largest amount of one row."""
MOST_DIGITS: Final = 60
FINEST: Final = -30
"""The exponent below which a number is nothing: a picodollar is 1e-12."""

_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)
DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_INSTANT: Final = re.compile(
    r"(\d{4}-\d{2}-\d{2})[T ](\d{2}):(\d{2})(?::(\d{2})(?:\.\d{1,9})?)?(?:Z| ?UTC|\+00(?::?00)?)?", re.ASCII
)


def number(text: str) -> Decimal:
    """A number as bills write it, exact. Exports of AWS have costs like `6.123E-7`.

    Raises:
        ValueError: it is none; the message says what is expected.
    """
    text = text.strip()
    if len(text) > MOST_DIGITS or not _NUMBER.fullmatch(text):
        raise ValueError(f"{shown(text)} is no number: expected digits with a point, like -1234.56")
    value = Decimal(text)
    if not value or value.adjusted() < FINEST:
        return Decimal(0)
    if value.adjusted() > len(str(MOST_DOLLARS)) or abs(value) > MOST_DOLLARS:
        raise ValueError(f"{shown(text)} is out of range: at most {MOST_DOLLARS} either way in one row")
    return value


def money(text: str) -> Picodollars:
    """Dollars as `number`, rounded half to even below a picodollar."""
    return picodollars(number(text))


@lru_cache(maxsize=4096)
def moment(text: str) -> Instant:
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
    return int(instant.timestamp()) * NANOSECONDS_PER_SECOND


@lru_cache(maxsize=4096)
def period(start: Instant, end: Instant, zone: ZoneInfo) -> InvoicePeriod:
    """The days that [start, end) lies in, or its month."""
    local, utc = day_of(start, zone), day_of(start, UTC_ZONE)
    month = month_of(start, UTC_ZONE)
    long = end - start > NANOSECONDS_PER_DAY and end > local.end
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
        year, month, day = map(int, text.split("-"))
        noon = datetime(year, month, day, 12, tzinfo=UTC)
        following = (noon + timedelta(days=1)).date()
        start = first_instant(year, month, day, zone)
        end = first_instant(following.year, following.month, following.day, zone)
    except (ValueError, OverflowError):
        raise ValueError(f"{shown(text)} does not exist in the calendar") from None
    return Day(text, start, end)


COSTS: Final = {"billed": "BilledCost", "effective": "EffectiveCost"}
QUANTITIES: Final = (("ConsumedQuantity", "ConsumedUnit"), ("UsageQuantity", "UsageUnit"))
"""Columns of quantities. Oracle writes the second pair, which earlier FOCUS releases had."""
PROVIDERS: Final = ("ProviderName", "ServiceProviderName")
"""Columns of the provider: FOCUS 1.4 has the second only."""
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
    """A value that cannot be used. `column_index` counts from 0; `None`: it is the whole row."""

    def __init__(self, column_index: int | None, column: str, message: str) -> None:
        super().__init__(message)
        self.column_index = column_index
        self.column = column


class Rows(Protocol):
    """A reader of one form of bill. Raises `CellError` for a value that cannot be used."""

    width: int

    def charge(self, row: Sequence[str]) -> InvoiceCharge:
        """The charge of one row."""


class FocusRows:
    """A FOCUS export."""

    def __init__(self, header: Sequence[str], cost: CostColumn, zone: ZoneInfo) -> None:
        self.width = len(header)
        self._header = header
        self._zone = zone
        self._columns = {name.strip().lower(): index for index, name in enumerate(header)}
        needed = ("ChargePeriodStart", "ChargePeriodEnd", COSTS[cost], "ChargeCategory", "BillingCurrency")
        missing = [name for name in needed if name.lower() not in self._columns]
        if missing:
            raise InvoiceError(
                f"has no column {', '.join(missing)}: export it in FOCUS form, or write a CSV of date,dollars"
            )
        self._start, self._end, self._cost, self._category, self._currency = map(self._column, needed)
        self._class = self._columns.get("chargeclass")
        self._resource = self._columns.get("resourceid")
        self._name = self._columns.get("resourcename")
        self._providers = [self._columns[name.lower()] for name in PROVIDERS if name.lower() in self._columns]
        self._service = self._columns.get("servicename")
        self._skus = [self._columns[name.lower()] for name in SKUS if name.lower() in self._columns]
        quantities: tuple[int | None, int | None] = next(
            (
                (self._column(quantity), self._column(unit))
                for quantity, unit in QUANTITIES
                if quantity.lower() in self._columns and unit.lower() in self._columns
            ),
            (None, None),
        )
        self._quantity, self._unit = quantities

    def _column(self, name: str) -> int:
        return self._columns[name.lower()]

    def charge(self, row: Sequence[str]) -> InvoiceCharge:
        """The charge of one row."""
        currency = row[self._currency].strip()
        if currency.upper() != "USD":
            raise self._refused(
                self._currency,
                f"{shown(currency)}: the books are in dollars, so that only a bill in USD can be compared; "
                "export it in USD",
            )
        category = row[self._category].strip().lower()
        if category not in CATEGORIES:
            categories = "Usage, Purchase, Tax, Credit or Adjustment"
            raise self._refused(self._category, f"{shown(row[self._category])} is none of {categories}")
        cost = self._money(self._cost, row)
        apart = CATEGORIES[category]
        if apart is None and (cost < 0 or _text(row, self._class).lower() == "correction"):
            apart = "refunds"
        return InvoiceCharge(
            period=self._period(row),
            cost=cost,
            apart=apart,
            resource=_text(row, self._resource),
            name=_text(row, self._name),
            service=_text(row, self._service),
            sku=next(filter(None, (_text(row, index) for index in self._skus)), ""),
            time=self._time(row),
            own=next(
                (self._header[index].strip() for index in self._providers if row[index] == PROVIDER), ""
            ),
        )

    def _refused(self, index: int, message: str) -> CellError:
        return CellError(index, self._header[index].strip(), message)

    def _money(self, index: int, row: Sequence[str]) -> Picodollars:
        try:
            return money(row[index])
        except ValueError as error:
            raise self._refused(index, str(error)) from None

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

    def _period(self, row: Sequence[str]) -> InvoicePeriod:
        moments = []
        for index in (self._start, self._end):
            try:
                moments.append(moment(row[index].strip()))
            except ValueError as error:
                raise self._refused(index, str(error)) from None
        start, end = moments
        if end < start:
            raise self._refused(self._end, f"{shown(row[self._end])} is before the start of the period")
        return period(start, end, self._zone)


class DateRows:
    """A list of dates and dollars, and of hosts where there is a third column."""

    def __init__(self, width: int, zone: ZoneInfo) -> None:
        self.width = width
        self._zone = zone

    def charge(self, row: Sequence[str]) -> InvoiceCharge:
        """The charge of one row."""
        try:
            day = calendar_day(row[0].strip(), self._zone)
        except ValueError as error:
            raise CellError(0, "date", str(error)) from None
        try:
            cost = money(row[1])
        except ValueError as error:
            raise CellError(1, "dollars", str(error)) from None
        return InvoiceCharge(
            period=InvoicePeriod(day.start, day.end, day.name, day.name, None),
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
    unique: set[str] = set()
    for name in names:
        if name and name in unique:
            raise InvoiceError(f"has the column {shown(header[names.index(name)].strip())} twice")
        unique.add(name)
    if "chargeperiodstart" in unique or "billedcost" in unique:
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


def _text(row: Sequence[str], index: int | None) -> str:
    """A value that may be absent, which some write as NULL or as quotes."""
    text = "" if index is None else row[index].strip()
    return "" if text in {"NULL", "null", '""'} else text


MOST_LINE: Final = 1024 * 1024
MOST_LINES_A_ROW: Final = 1000
MOST_LISTED: Final = 10

_OTHERS: Final = (
    (b"PK\x03\x04", "is a zip file: unpack it first"),
    (b"PAR1", "is a Parquet file: export it as CSV"),
    (b"%PDF", "is a PDF: a bill is compared by its CSV export"),
)
_SEPARATORS: Final = "/:"


@dataclass(frozen=True, slots=True)
class Reading:
    """Options of reading a bill: the time zone of its days, the cost column, and the resources."""

    zone: ZoneInfo
    cost: CostColumn = "billed"
    resources: tuple[str, ...] = ()


def read_invoice(path: Path, reading: Reading) -> Invoice:
    """Read a bill once, from the first row to the last.

    Raises:
        InvoiceError: it cannot be read, or a row cannot be used. What a bill says is whole or not at all.
    """
    with _opened(path) as text:
        lines = _InvoiceLines(path, text)
        invoice = _read(path, lines, reading)
    unmatched = [
        wanted
        for wanted in reading.resources
        if not any(
            matches((wanted,), key, resource.name)
            for key, resource in invoice.resources.items()
            if resource.chosen
        )
    ]
    if unmatched:
        resources = ", ".join(shown(each) for each in unmatched)
        raise InvoiceError(f"{path}: no row is of the resource {resources}; {_dearest(invoice)}")
    return invoice


def matches(wanted: Sequence[str], resource: str, name: str) -> bool:
    """Whether a row is of one of the resources: by its id, the last part of its id, or its name."""
    identifier = resource.casefold()
    for each in wanted:
        sought = each.casefold()
        if sought in {identifier, name.casefold()}:
            return True
        if identifier.endswith(sought) and identifier[-len(sought) - 1] in _SEPARATORS:
            return True
    return False


def _dearest(invoice: Invoice) -> str:
    named = sorted(
        (-resource.counted.cost, key, resource.name) for key, resource in invoice.resources.items() if key
    )
    if not named:
        return "the bill names none"
    listed = ", ".join(f"{key} ({name})" if name else key for _cost, key, name in named[:MOST_LISTED])
    return f"its dearest are {listed}"


def _read(path: Path, lines: "_InvoiceLines", reading: Reading) -> Invoice:
    rows = csv.reader(lines, strict=True)
    first = _next(path, rows, lines)
    while first is not None and not first:
        first = _next(path, rows, lines)
    if first is None:
        raise InvoiceError(f"{path}: is empty")
    try:
        form, is_header = rows_of(first, reading.cost, reading.zone)
    except InvoiceError as error:
        raise InvoiceError(f"{path}:{lines.row}: {error}") from None
    focus = isinstance(form, FocusRows)
    invoice = Invoice("focus" if focus else "dates", reading.cost, filtered=bool(reading.resources))
    row = _next(path, rows, lines) if is_header else first
    while row is not None:
        if row:
            if len(row) != form.width:
                raise InvoiceError(
                    f"{path}:{lines.row}: has {len(row)} values where there are {form.width} columns: "
                    "export it again, the file is cut or was edited"
                )
            try:
                charge = form.charge(row)
            except CellError as error:
                column = "" if error.column_index is None else f":{error.column_index + 1}"
                raise InvoiceError(f"{path}:{lines.row}{column}: {error.column}: {error}") from None
            _add(path, lines.row, invoice, charge, reading)
        row = _next(path, rows, lines)
    if invoice.rows == 0:
        raise InvoiceError(f"{path}: has a header and no rows")
    return invoice


def _add(path: Path, row: int, invoice: Invoice, charge: InvoiceCharge, reading: Reading) -> None:
    chosen = not reading.resources or matches(reading.resources, charge.resource, charge.name)
    if chosen and charge.own:
        raise InvoiceError(
            f"{path}:{row}: {charge.own}: {shown(PROVIDER)} is what report focus writes: books are set "
            "against what a provider charges you, so give its file, or choose its rows with --resource"
        )
    try:
        invoice.add(charge, chosen=chosen)
    except InvoiceError as error:
        raise InvoiceError(f"{path}: {error}") from None


def _next(path: Path, rows: Iterator[list[str]], lines: "_InvoiceLines") -> list[str] | None:
    lines.begin()
    try:
        return next(rows, None)
    except csv.Error as error:
        raise InvoiceError(f"{path}:{lines.row}: is no CSV: {error}") from None
    except UnicodeDecodeError as error:
        raise InvoiceError(f"{path}:{lines.row}: is no {error.encoding.upper()}: save it as UTF-8") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InvoiceError(f"{path}: its gzip is damaged ({error}): fetch it again") from None
    except OSError as error:
        raise InvoiceError(f"{path}: cannot be read: {error.strerror}") from None


class _InvoiceLines:
    """The lines of a file, each bounded; `row` is the line that the row began in."""

    def __init__(self, path: Path, text: IO[str]) -> None:
        self._path = path
        self._text = text
        self._number = 0
        self.row = 1

    def begin(self) -> None:
        """A row begins with the next line."""
        self.row = self._number + 1

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._text.readline(MOST_LINE)
        if not line:
            raise StopIteration
        self._number += 1
        if len(line) == MOST_LINE:
            raise InvoiceError(f"{self._path}:{self._number}: a line is longer than {MOST_LINE} characters")
        if self._number - self.row >= MOST_LINES_A_ROW:
            raise InvoiceError(f"{self._path}:{self.row}: a row has more than {MOST_LINES_A_ROW} lines")
        if "\0" in line:
            raise InvoiceError(
                f"{self._path}:{self._number}: has a NUL byte: it is no text, or it is UTF-16 without a mark"
            )
        return line


@contextmanager
def _opened(path: Path) -> Iterator[IO[str]]:
    """A bill as text; what is opened is closed."""
    if os.path.isdir(path):
        raise InvoiceError(f"{path}: is a directory: name one file of it")
    try:
        raw = path.open("rb")
    except OSError as error:
        raise InvoiceError(f"{path}: cannot be read: {error.strerror}") from None
    with raw:
        head = _peek(path, raw)
        if head.startswith(b"\x1f\x8b"):
            with gzip.GzipFile(fileobj=raw) as unpacked:
                yield io.TextIOWrapper(unpacked, _encoding(path, _peek(path, unpacked)), newline="")
        else:
            yield io.TextIOWrapper(raw, _encoding(path, head), newline="")


def _peek(path: Path, file: io.BufferedReader | gzip.GzipFile) -> bytes:
    try:
        return file.peek(4)[:4]
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InvoiceError(f"{path}: its gzip is damaged ({error}): fetch it again") from None
    except OSError as error:
        raise InvoiceError(f"{path}: cannot be read: {error.strerror}") from None


def _encoding(path: Path, head: bytes) -> str:
    for magic, message in _OTHERS:
        if head.startswith(magic):
            raise InvoiceError(f"{path}: {message}")
    return "utf-16" if head[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig"

"""The file of a bill, read row by row: plain or gzip, UTF-8 or UTF-16, whatever its size."""

import csv
import gzip
import io
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Protocol
from zoneinfo import ZoneInfo

from exporter.config.problems import shown
from exporter.finance.focus.dataset import PROVIDER
from exporter.finance.invoice import (
    Apart,
    CommitmentCharge,
    CostColumn,
    Invoice,
    InvoiceCharge,
    InvoiceError,
    InvoiceForm,
    InvoicePeriod,
)
from exporter.finance.invoice_commitments import CommitmentColumns
from exporter.finance.invoice_values import DATE, calendar_day, cell_text, moment, money, number, period
from exporter.units import NANOSECONDS_PER_SECOND, Nanoseconds, Picodollars

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
OVER_TIME: Final = ("-seconds", "-hours", " seconds", " hours", " second", " hour")
"""Ends of units that multiply a size by time."""
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
    """A FOCUS export. `fleet`: commitments and support are read, too."""

    def __init__(
        self, header: Sequence[str], cost: CostColumn, zone: ZoneInfo, *, fleet: bool = False
    ) -> None:
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
        self._commitments = CommitmentColumns(self._columns) if fleet else None

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
        if apart is None and (cost < 0 or cell_text(row, self._class).lower() == "correction"):
            apart = "refunds"
        return InvoiceCharge(
            period=self._period(row),
            cost=cost,
            apart=apart,
            resource=cell_text(row, self._resource),
            name=cell_text(row, self._name),
            service=cell_text(row, self._service),
            sku=next(filter(None, (cell_text(row, index) for index in self._skus)), ""),
            time=self._time(row),
            own=next(
                (
                    self._header[index].strip()
                    for index in self._providers
                    if cell_text(row, index) == PROVIDER
                ),
                "",
            ),
            commitment=self._commitment(row, apart),
            support=self._commitments is not None and self._commitments.is_support(row),
        )

    def _commitment(self, row: Sequence[str], apart: Apart | None) -> CommitmentCharge | None:
        if self._commitments is None or apart not in (None, "purchases"):
            return None
        try:
            return self._commitments.charge(row, fee=apart == "purchases")
        except ValueError as error:
            raise self._refused(self._commitments.effective or 0, str(error)) from None

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
        unit = cell_text(row, self._unit).lower()
        seconds = SECONDS.get(unit)
        quantity = cell_text(row, self._quantity)
        if seconds is None or not quantity:
            # Memory of a machine in byte-seconds is charged as long as the machine, and tells no hours.
            return 0 if self._commitments is not None and unit.endswith(OVER_TIME) else None
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


def rows_of(
    header: Sequence[str], cost: CostColumn, zone: ZoneInfo, *, fleet: bool = False
) -> tuple[Rows, bool]:
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
        return FocusRows(header, cost, zone, fleet=fleet), True
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
    """Options of reading a bill: the time zone of its days, the cost column, and the resources.

    `fleet`: the bill is of many hosts, so that commitments and support are read, too.
    """

    zone: ZoneInfo
    cost: CostColumn = "billed"
    resources: tuple[str, ...] = ()
    fleet: bool = False


@dataclass(frozen=True, slots=True)
class NumberedCharge:
    """A charge, the line that it begins in, and the form of its bill."""

    line: int
    charge: InvoiceCharge
    form: InvoiceForm


def read_charges(path: Path, reading: Reading) -> Iterator[NumberedCharge]:
    """The charges of a bill, one by one; at least one.

    Raises:
        InvoiceError: it cannot be read, or a row cannot be used.
    """
    with _opened(path) as text:
        yield from _charges(path, _InvoiceLines(path, text), reading)


def own_row_error(path: Path, line: int, column: str, remedy: str = "") -> InvoiceError:
    """The error of a row that this program wrote itself."""
    return InvoiceError(
        f"{path}:{line}: {column}: {shown(PROVIDER)} is what report focus writes: books are set "
        f"against what a provider charges you, so give its file{remedy}"
    )


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
    invoice: Invoice | None = None
    for each in _charges(path, lines, reading):
        if invoice is None:
            invoice = Invoice(each.form, reading.cost, filtered=bool(reading.resources))
        _add(path, each.line, invoice, each.charge, reading)
    assert invoice is not None  # noqa: S101  # a bill has a row
    return invoice


def _charges(path: Path, lines: "_InvoiceLines", reading: Reading) -> Iterator[NumberedCharge]:
    rows = csv.reader(lines, strict=True)
    first = _next(path, rows, lines)
    while first is not None and not first:
        first = _next(path, rows, lines)
    if first is None:
        raise InvoiceError(f"{path}: is empty")
    try:
        form, is_header = rows_of(first, reading.cost, reading.zone, fleet=reading.fleet)
    except InvoiceError as error:
        raise InvoiceError(f"{path}:{lines.row}: {error}") from None
    name: InvoiceForm = "focus" if isinstance(form, FocusRows) else "dates"
    row = _next(path, rows, lines) if is_header else first
    any_row = False
    while row is not None:
        if row:
            any_row = True
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
            yield NumberedCharge(lines.row, charge, name)
        row = _next(path, rows, lines)
    if not any_row:
        raise InvoiceError(f"{path}: has a header and no rows")


def _add(path: Path, row: int, invoice: Invoice, charge: InvoiceCharge, reading: Reading) -> None:
    chosen = not reading.resources or matches(reading.resources, charge.resource, charge.name)
    if chosen and charge.own:
        raise own_row_error(path, row, charge.own, ", or choose its rows with --resource")
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

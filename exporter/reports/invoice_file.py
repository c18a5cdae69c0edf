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
from typing import IO, Final
from zoneinfo import ZoneInfo

from exporter.config.problems import shown
from exporter.reports.focus import PROVIDER
from exporter.reports.invoice import Charge, CostColumn, Invoice, InvoiceError
from exporter.reports.invoice_rows import CellError, FocusRows, rows_of

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
    """How a bill is read: in which time zone a day is one, which cost, and of which resources."""

    zone: ZoneInfo
    cost: CostColumn = "billed"
    resources: tuple[str, ...] = ()


def read_invoice(path: Path, reading: Reading) -> Invoice:
    """Read a bill once, from the first row to the last.

    Raises:
        InvoiceError: it cannot be read, or a row cannot be used. What a bill says is whole or not at all.
    """
    with _opened(path) as text:
        lines = _Lines(path, text)
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
        told = ", ".join(shown(each) for each in unmatched)
        raise InvoiceError(f"{path}: no row is of the resource {told}; {_dearest(invoice)}")
    return invoice


def matches(wanted: Sequence[str], resource: str, name: str) -> bool:
    """Whether a row is of one of the resources: by its id, the last part of its id, or its name."""
    told = resource.casefold()
    for each in wanted:
        sought = each.casefold()
        if sought in {told, name.casefold()}:
            return True
        if told.endswith(sought) and told[-len(sought) - 1] in _SEPARATORS:
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


def _read(path: Path, lines: "_Lines", reading: Reading) -> Invoice:
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
                place = "" if error.place is None else f":{error.place + 1}"
                raise InvoiceError(f"{path}:{lines.row}{place}: {error.column}: {error}") from None
            _add(path, lines.row, invoice, charge, reading)
        row = _next(path, rows, lines)
    if invoice.rows == 0:
        raise InvoiceError(f"{path}: has a header and no rows")
    return invoice


def _add(path: Path, row: int, invoice: Invoice, charge: Charge, reading: Reading) -> None:
    chosen = not reading.resources or matches(reading.resources, charge.resource, charge.name)
    if chosen and charge.own:
        raise InvoiceError(
            f"{path}:{row}: ProviderName: {shown(PROVIDER)} is what report focus writes: books are set "
            "against what a provider charges you, so give its file, or choose its rows with --resource"
        )
    try:
        invoice.add(charge, chosen=chosen)
    except InvoiceError as error:
        raise InvoiceError(f"{path}: {error}") from None


def _next(path: Path, rows: Iterator[list[str]], lines: "_Lines") -> list[str] | None:
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


class _Lines:
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

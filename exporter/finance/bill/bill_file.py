"""The file of a bill, read row by row: plain or gzip, UTF-8 or UTF-16, whatever its size."""

import csv
import gzip
import io
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Literal
from zoneinfo import ZoneInfo

from exporter.config.problems import shown
from exporter.finance.bill.charges import (
    CellError,
    CostColumn,
    FocusRows,
    InvoiceCharge,
    InvoiceError,
    row_reader,
)
from exporter.finance.focus.dataset import PROVIDER

InvoiceForm = Literal["focus", "dates"]
"""A FOCUS export, or a list of dates and dollars."""

MOST_LINE: Final = 1024 * 1024
MOST_LINES_A_ROW: Final = 1000

_SEPARATORS: Final = "/:"

_OTHERS: Final = (
    (b"PK\x03\x04", "is a zip file: unpack it first"),
    (b"PAR1", "is a Parquet file: export it as CSV"),
    (b"%PDF", "is a PDF: a bill is compared by its CSV export"),
)


@dataclass(frozen=True, slots=True)
class Reading:
    """Options of reading a bill."""

    zone: ZoneInfo
    """The time zone of its days."""
    cost: CostColumn = "billed"
    resources: tuple[str, ...] = ()
    """The resources that are compared; without any, all are."""
    fleet: bool = False
    """Whether it is a bill of many hosts, so that commitments and support are read, too."""

    def compares(self, charge: InvoiceCharge) -> bool:
        """Whether the row of a charge is compared."""
        chosen = (matches(each, charge.resource, charge.name) for each in self.resources)
        return not self.resources or any(chosen)


def read_rows(path: Path, reading: Reading, take: Callable[[InvoiceCharge], None]) -> InvoiceForm:
    """Hand on the charges of a bill, one by one and at least one; returns its form.

    Raises:
        InvoiceError: it cannot be read, or a row cannot be used.
    """
    with _opened(path) as text:
        lines = _InvoiceLines(path, text)
        rows = _rows(path, lines)
        first = next(rows, None)
        if first is None:
            raise InvoiceError(f"{path}: is empty")
        try:
            read, is_header = row_reader(first, reading.cost, reading.zone, fleet=reading.fleet)
        except InvoiceError as error:
            raise InvoiceError(f"{path}:{lines.row}: {error}") from None
        row = next(rows, None) if is_header else first
        if row is None:
            raise InvoiceError(f"{path}: has a header and no rows")
        while row is not None:
            if len(row) != len(first):
                raise InvoiceError(
                    f"{path}:{lines.row}: has {len(row)} values where there are {len(first)} columns: "
                    "export it again, the file is cut or was edited"
                )
            try:
                charge = read(row)
            except CellError as error:
                where = f"{path}:{lines.row}:{error.index + 1}"
                raise InvoiceError(f"{where}: {error.column}: {error}") from None
            if charge.own and reading.compares(charge):
                raise InvoiceError(
                    f"{path}:{lines.row}: {charge.own}: {shown(PROVIDER)} is what report focus writes: books "
                    "are set against what a provider charges you, so give its file"
                    + ("" if reading.fleet else ", or choose its rows with --resource")
                )
            try:
                take(charge)
            except InvoiceError as error:
                raise InvoiceError(f"{path}: {error}") from None
            row = next(rows, None)
    return "focus" if isinstance(read, FocusRows) else "dates"


def matches(wanted: str, resource: str, name: str) -> bool:
    """Whether a row is of a resource: by its id, the last part of its id, or its name."""
    sought, identifier = wanted.casefold(), resource.casefold()
    if sought in {identifier, name.casefold()}:
        return True
    return identifier.endswith(sought) and identifier[-len(sought) - 1] in _SEPARATORS


def _rows(path: Path, lines: "_InvoiceLines") -> Iterator[list[str]]:
    """The rows that have values."""
    rows = csv.reader(lines, strict=True)
    row: list[str] | None = []
    while row is not None:
        lines.begin()
        try:
            with _readable(path):
                row = next(rows, None)
        except csv.Error as error:
            raise InvoiceError(f"{path}:{lines.row}: is no CSV: {error}") from None
        except UnicodeDecodeError as error:
            encoding = error.encoding.upper()
            raise InvoiceError(f"{path}:{lines.row}: is no {encoding}: save it as UTF-8") from None
        if row:
            yield row


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
        file: io.BufferedReader | gzip.GzipFile = raw
        with _readable(path):
            if raw.peek(2).startswith(b"\x1f\x8b"):
                file = gzip.GzipFile(fileobj=raw)
            head = file.peek(4)[:4]
        for magic, message in _OTHERS:
            if head.startswith(magic):
                raise InvoiceError(f"{path}: {message}")
        encoding = "utf-16" if head[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig"
        yield io.TextIOWrapper(file, encoding, newline="")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InvoiceError(f"{path}: its gzip is damaged ({error}): fetch it again") from None
    except OSError as error:
        raise InvoiceError(f"{path}: cannot be read: {error.strerror}") from None

"""The forms of every report: lines for people, JSON, CSV and XLSX, and tables of columns in all of them."""

import csv
import io
import json
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Any, Final, Literal

from exporter import units
from exporter.readings import printable
from exporter.reports import rounding
from exporter.units import Instant, Picodollars

Form = Literal["table", "json", "csv"]

WIDTH: Final = 80
"""Columns of a report for people."""

FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""First characters of a cell that a spreadsheet runs as a formula."""

WORKBOOK_ROWS: Final = 1_048_576
"""Rows of a sheet in XLSX."""

Measure = Literal["dollars", "cents", "picodollars", "hours", "seconds", "ratio", "count", "flag"]
"""What the values of a column are.

dollars: picodollars, in whole cents that sum to their total.
cents: whole cents.
hours, seconds: nanoseconds; hours of a text sum to their total.
ratio: pairs of a part and its whole, of which the total's are the sums.
"""


class WorkbookError(Exception):
    """A workbook cannot be written; the message says what to do."""


@dataclass(frozen=True, slots=True)
class ReportColumn:
    """One column of a table, in the words of each form."""

    name: str
    """The field of JSON and the heading of CSV."""
    measure: Measure
    values: Sequence[Any]
    """One for each row."""
    heading: str = ""
    """The heading of the table for people."""

    def with_total(self) -> list[Any]:
        """Its values and, last, the total's."""
        if self.measure == "flag":
            return [*self.values, False]
        if self.measure == "dollars":
            cents = rounding.rounded(self.values, rounding.CENT)
            return [*cents, sum(cents)]
        if self.measure == "ratio":
            total = sum(part for part, _whole in self.values), sum(whole for _part, whole in self.values)
            return [part / whole if whole else None for part, whole in (*self.values, total)]
        return [*self.values, sum(self.values)]

    def cells(self) -> list[str]:
        """Texts for people."""
        if self.measure == "hours":
            wholes = rounding.rounded(self.values, rounding.HOUR_FRACTION)
            return [rounding.ten_thousandths(whole) for whole in (*wholes, sum(wholes))]
        return [_TEXTS[self.measure](value) for value in self.with_total()]

    def plain_cells(self) -> list[str]:
        """Texts for spreadsheets: a ratio is no percentage, and unknown is empty."""
        if self.measure == "ratio":
            return ["" if value is None else f"{value:.4f}" for value in self.with_total()]
        return [cell.replace(",", "") for cell in self.cells()]

    def workbook_cells(self) -> list[Decimal | bool | str]:
        """Numbers of the texts for spreadsheets; unknown is empty, and so is the total of a flag."""
        if self.measure == "flag":
            return [*self.values, ""]
        return [Decimal(cell) if cell else "" for cell in self.plain_cells()]

    def json_values(self) -> list[Any]:
        """Values for programs."""
        divisor = _DIVISORS.get(self.measure)
        return [value if divisor is None else value / divisor for value in self.with_total()]


_TEXTS: Final[Mapping[Measure, Callable[[Any], str]]] = {
    "dollars": rounding.hundredths,
    "cents": rounding.hundredths,
    "ratio": lambda value: "-" if value is None else f"{100 * value:.1f}",
    "count": lambda value: f"{value:,}",
    "flag": lambda value: "true" if value else "false",
}

_NUMBER_FORMATS: Final[Mapping[Measure, str]] = {
    "dollars": '"$"#,##0.00',
    "cents": '"$"#,##0.00',
    "hours": "#,##0.0000",
    "ratio": "0.0%",
    "count": "#,##0",
    "flag": "General",
}
"""Formats of numbers in workbooks."""

_DIVISORS: Final[Mapping[Measure, int]] = {
    "dollars": 100,
    "cents": 100,
    "hours": units.NANOSECONDS_PER_HOUR,
    "seconds": units.NANOSECONDS_PER_SECOND,
}


@dataclass(frozen=True, slots=True)
class ReportTable:
    """Rows by their labels, and columns of numbers."""

    labels: Sequence[str]
    """Names of the columns of labels."""
    rows: Sequence[Sequence[str]]
    """Labels of each row."""
    columns: Sequence[ReportColumn]
    """A form writes those of its own list that are here, in the order of its list."""

    def text(self, names: Iterable[str], width: int | None = None) -> Iterator[str]:
        """Lines for people with a row of totals; a table wider than `width` is in parts."""
        columns = self._chosen(names)
        cells = [column.cells() for column in columns]
        rows = [
            [*(printable(label) or "-" for label in labels), *values]
            for labels, *values in zip(self.rows, *(column[:-1] for column in cells), strict=True)
        ]
        total = ["total", *("" for _ in self.labels[1:]), *(column[-1] for column in cells)]
        headings = [*self.labels, *(column.heading for column in columns)]
        return rounding.ruled_table(headings, rows, total, labels=len(self.labels), width=width)

    def csv(self, names: Iterable[str], first: Mapping[str, str], last: Mapping[str, object]) -> str:
        """Rows for spreadsheets and none for the total. `first` and `last` are the same in all rows."""
        columns = self._chosen(names)
        cells = [column.plain_cells()[:-1] for column in columns]
        rows = [
            [*first.values(), *map(safe_cell, labels), *values, *last.values()]
            for labels, *values in zip(self.rows, *cells, strict=True)
        ]
        return csv_text([[*first, *self.labels, *(column.name for column in columns), *last], *rows])

    def workbook(self, names: Iterable[str], first: Mapping[str, str], last: Mapping[str, object]) -> bytes:
        """The columns of CSV as XLSX, with numbers as numbers and a row of totals. A label stays text.

        Raises:
            WorkbookError: no library, too many rows for a sheet, or no place for temporary files.
        """
        try:
            import xlsxwriter  # noqa: PLC0415 - 12 MiB that only workbooks need
        except ImportError:
            remedy = 'pip install "inference-cost-exporter[xlsx]"'
            raise WorkbookError(f"a workbook needs the package xlsxwriter: {remedy}") from None
        if len(self.rows) + 2 > WORKBOOK_ROWS:
            raise WorkbookError(
                f"a sheet has {WORKBOOK_ROWS:,} rows, and this report has {len(self.rows):,}: use --csv"
            )
        # Rows go through a temporary file: memory has the compressed sheet alone.
        options = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
        file = io.BytesIO()
        workbook = xlsxwriter.Workbook(file, options)
        try:
            self._fill(workbook, names, first, last)
            workbook.close()
        except (OSError, xlsxwriter.exceptions.FileCreateError) as error:
            raise WorkbookError(
                f"the folder for temporary files cannot be written: {error}; TMPDIR names another one"
            ) from error
        return file.getvalue()

    def _fill(
        self, workbook: Any, names: Iterable[str], first: Mapping[str, str], last: Mapping[str, object]
    ) -> None:
        """Write the headings, the rows and the totals into a workbook's only sheet."""
        sheet = workbook.add_worksheet()
        columns = self._chosen(names)
        cells = [column.workbook_cells() for column in columns]
        texts = (*first, *self.labels)
        headings = [*texts, *(column.name for column in columns), *last]

        def formats(font: Mapping[str, bool]) -> list[Any]:
            text = workbook.add_format(font)
            numbers = [{**font, "num_format": _NUMBER_FORMATS[column.measure]} for column in columns]
            return [*(text for _ in texts), *map(workbook.add_format, numbers), *(text for _ in last)]

        def write(number: int, row: Iterable[object], row_formats: Sequence[Any]) -> None:
            for index, (cell, cell_format) in enumerate(zip(row, row_formats, strict=True)):
                sheet.write(number, index, cell, cell_format)

        plain_formats, bold_formats = formats({}), formats({"bold": True})
        sheet.freeze_panes(1, 0)
        sheet.set_column(0, len(headings) - 1, max(map(len, headings)))
        write(0, headings, bold_formats)
        lines = zip(self.rows, *(column[:-1] for column in cells), strict=True)
        for number, (labels, *values) in enumerate(lines, start=1):
            write(number, (*first.values(), *labels, *values, *last.values()), plain_formats)
        totals = ["total", *("" for _ in texts[1:]), *(column[-1] for column in cells), *("" for _ in last)]
        write(len(self.rows) + 1, totals, bold_formats)

    def json(self, names: Iterable[str]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Objects of the rows and of the total."""
        columns = self._chosen(names)
        fields = [column.name for column in columns]
        values = [column.json_values() for column in columns]
        *rows, total = [dict(zip(fields, row, strict=True)) for row in zip(*values, strict=True)]
        labels = [dict(zip(self.labels, row, strict=True)) for row in self.rows]
        return [named | numbers for named, numbers in zip(labels, rows, strict=True)], total

    def _chosen(self, names: Iterable[str]) -> list[ReportColumn]:
        columns = {column.name: column for column in self.columns}
        return [columns[name] for name in names if name in columns]


def lines_text(lines: Iterable[str]) -> str:
    """Lines as a text with one line end after the last line that is not empty."""
    return "\n".join(lines).rstrip("\n") + "\n"


def json_text(document: Mapping[str, Any]) -> str:
    """An object for programs."""
    return json.dumps(document, indent=2) + "\n"


def plain(value: Any) -> Any:
    """A record as an object for programs, with its fractions as numbers; other values as they are."""
    if isinstance(value, Fraction):
        return float(value)
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {name: plain(part) for name, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, tuple) else value


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Rows for spreadsheets."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def safe_cell(label: str) -> str:
    """A label as text in a spreadsheet: an apostrophe stands before what it would take for a formula."""
    line = label.replace("\r", " ")  # which the csv module of Python 3.11 leaves bare
    return f"'{line}" if line.startswith(FORMULA) else line


def wrapped(line: str, indent: str = "  ", width: int = WIDTH, *, lead: str = "") -> list[str]:
    """A sentence in lines of at most `width` columns: `lead` before the first, `indent` before the others."""
    return textwrap.wrap(
        printable(line), width, initial_indent=lead, subsequent_indent=indent, break_on_hyphens=False
    )


def shortened(name: str, width: int) -> str:
    """A name in at most so many columns; a tilde stands for the rest."""
    return name if len(name) <= width else f"{name[: width - 1]}~"


def few(names: Sequence[str], most: int) -> str:
    """The first names for a sentence, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def counted(count: int, what: str) -> str:
    """A number of things, like `1 row` and `2,000 rows`."""
    return f"1 {what}" if count == 1 else f"{count:,} {what}s"


@lru_cache(maxsize=1_000)  # FOCUS writes the bounds of a day in each of its rows
def instant_text(instant: Instant) -> str:
    """An instant like 2026-11-30T12:00:00Z."""
    return datetime.fromtimestamp(instant // units.NANOSECONDS_PER_SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def time_text(instant: Instant | None) -> str | None:
    """As `instant_text`; `None` where there is none."""
    return None if instant is None else instant_text(instant)


def money_json(amount: Picodollars) -> dict[str, Any]:
    """An amount for people and, exact, for programs."""
    return {"dollars": units.dollars(amount), "picodollars": amount}

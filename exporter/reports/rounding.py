"""Columns of rounded numbers that sum to their rounded total, and tables of them. Pure."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Final, TypeVar

from exporter.units import NANOSECONDS_PER_HOUR, PICODOLLARS_PER_DOLLAR, Nanoseconds, Picodollars

N = TypeVar("N", int, Fraction)

CENT: Final = PICODOLLARS_PER_DOLLAR // 100
"""Picodollars."""

HOUR_FRACTION: Final = NANOSECONDS_PER_HOUR // 10_000
"""Nanoseconds of a ten thousandth of an hour."""


def rounded(
    amounts: Sequence[N], unit: N, ceilings: Sequence[int] | None = None, total: int | None = None
) -> list[int]:
    """Amounts in whole units, summing to their total in whole units, rounded half up.

    Each is rounded down, and the units that are then missing go to those that lost most, the first of equals;
    before them to those that stay within their ceiling, so that no part is larger than its whole.
    None is a unit or more away from what it was. `total` is another total to sum to, less than a unit away
    from what they sum to.
    """
    wholes = [amount // unit for amount in amounts]
    nearest = (2 * sum(amounts) + unit) // (2 * unit)
    missing = (nearest if total is None else total) - sum(wholes)

    def priority(index: int) -> tuple[bool, bool, N, int]:
        lost = amounts[index] % unit
        full = ceilings is not None and wholes[index] >= ceilings[index]
        return lost == 0, full, -lost, index

    for index in sorted(range(len(amounts)), key=priority)[:missing]:
        wholes[index] += 1
    return wholes


def balanced(
    cells: Sequence[Sequence[int]], rows: Sequence[int], columns: Sequence[int], unit: int
) -> list[list[int]]:
    """A table in whole units that sums to the given totals of its rows and of its columns.

    Each cell is rounded down, and units are then moved to where most was lost, until both totals hold. The
    totals of the rows must sum to what those of the columns sum to.
    """
    wholes = [[cell // unit for cell in row] for row in cells]
    row_shortfalls = [total - sum(row) for total, row in zip(rows, wholes, strict=True)]
    column_shortfalls = [total - sum(row[at] for row in wholes) for at, total in enumerate(columns)]

    def lost(row: int, column: int) -> int:
        return cells[row][column] - wholes[row][column] * unit

    def move(row: int, column: int, by: int) -> None:
        wholes[row][column] += by
        row_shortfalls[row] -= by
        column_shortfalls[column] -= by

    for by in (1, -1):
        while pairs := [
            (by * lost(row, column), -row, -column)
            for row, missing in enumerate(row_shortfalls)
            for column, wanted in enumerate(column_shortfalls)
            if missing * by > 0 and wanted * by > 0
        ]:
            _, row, column = max(pairs)
            move(-row, -column, by)
    while any(row_shortfalls):  # the columns are right: a unit goes from one row to another within a column
        gaining = next(row for row, missing in enumerate(row_shortfalls) if missing > 0)
        losing = next(row for row, missing in enumerate(row_shortfalls) if missing < 0)
        column = max(range(len(columns)), key=lambda at: lost(gaining, at) - lost(losing, at))
        move(gaining, column, 1)
        move(losing, column, -1)
    while any(column_shortfalls):
        gaining = next(column for column, wanted in enumerate(column_shortfalls) if wanted > 0)
        losing = next(column for column, wanted in enumerate(column_shortfalls) if wanted < 0)
        row = max(range(len(rows)), key=lambda at: lost(at, gaining) - lost(at, losing))
        move(row, gaining, 1)
        move(row, losing, -1)
    return wholes


def hundredths(value: int) -> str:
    """A number of hundredths for people, like 1,234.50."""
    sign = "-" if value < 0 else ""
    return f"{sign}{abs(value) // 100:,}.{abs(value) % 100:02d}"


def ten_thousandths(value: int) -> str:
    """A number of ten thousandths for people, like 1,234.5000."""
    sign = "-" if value < 0 else ""
    return f"{sign}{abs(value) // 10_000:,}.{abs(value) % 10_000:04d}"


def dollars_text(amount: Picodollars) -> str:
    """Dollars to the cent for people, like 1,234.50."""
    return hundredths(*rounded([amount], CENT))


def hours_text(duration: Nanoseconds) -> str:
    """Hours to a ten thousandth for people, like 1,234.5000."""
    return ten_thousandths(*rounded([duration], HOUR_FRACTION))


def text_table(rows: Sequence[Sequence[str]], labels: int = 1, width: int | None = None) -> Iterator[str]:
    """Lines of a table for people: the first `labels` columns to the left, numbers to the right.

    A table wider than `width` goes on below itself, its labels repeated, after an empty line.
    """
    widths = _column_widths(rows)
    repeated = list(range(labels))
    # The columns of each part of the table: at least one besides the labels.
    parts = [[*repeated]]
    for column in range(labels, len(widths)):
        wider = [*parts[-1], column]
        fits = width is None or sum(widths[number] + 2 for number in wider) - 2 <= width
        if fits or len(parts[-1]) <= labels:
            parts[-1] = wider
        else:
            parts.append([*repeated, column])
    for number, columns in enumerate(parts):
        if number:
            yield ""
        for row in rows:
            cells = [
                row[column].ljust(widths[column]) if column < labels else row[column].rjust(widths[column])
                for column in columns
            ]
            yield "  ".join(cells).rstrip()


def ruled_table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    total: Sequence[str],
    labels: int = 1,
    width: int | None = None,
) -> Iterator[str]:
    """Lines of a table with a rule below its headings and above its total; `width` as of `text_table`."""
    rule = ["-" * width for width in _column_widths([headings, *rows, total])]
    return text_table([headings, rule, *rows, rule, total], labels, width)


def _column_widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """The width of the longest cell of each column."""
    return [max(map(len, column)) for column in zip(*rows, strict=True)]

"""Columns of rounded numbers that sum to their rounded total."""

from collections.abc import Sequence
from fractions import Fraction
from typing import TypeVar

N = TypeVar("N", int, Fraction)


def rounded(
    amounts: Sequence[N], unit: N, ceilings: Sequence[int] | None = None, total: int | None = None
) -> list[int]:
    """Amounts in whole units, summing to their total in whole units, rounded half up.

    Each is rounded down, and the units that are then missing go to those that lost most, the first of equals;
    before them to those that stay within their ceiling, so that a part is not told larger than its whole.
    None is a unit or more away from what it was. `total` is another total to sum to, less than a unit away
    from what they sum to.
    """
    wholes = [amount // unit for amount in amounts]
    nearest = (2 * sum(amounts) + unit) // (2 * unit)
    missing = (nearest if total is None else total) - sum(wholes)

    def turn(place: int) -> tuple[bool, bool, N, int]:
        lost = amounts[place] % unit
        full = ceilings is not None and wholes[place] >= ceilings[place]
        return lost == 0, full, -lost, place

    for place in sorted(range(len(amounts)), key=turn)[:missing]:
        wholes[place] += 1
    return wholes


def balanced(
    cells: Sequence[Sequence[int]], rows: Sequence[int], columns: Sequence[int], unit: int
) -> list[list[int]]:
    """A table in whole units that sums to the given totals of its rows and of its columns.

    Each cell is rounded down, and units are then moved to where most was lost, until both totals hold. The
    totals of the rows must sum to what those of the columns sum to.
    """
    wholes = [[cell // unit for cell in row] for row in cells]
    short = [total - sum(row) for total, row in zip(rows, wholes, strict=True)]
    lacking = [total - sum(row[at] for row in wholes) for at, total in enumerate(columns)]

    def lost(row: int, column: int) -> int:
        return cells[row][column] - wholes[row][column] * unit

    def move(row: int, column: int, by: int) -> None:
        wholes[row][column] += by
        short[row] -= by
        lacking[column] -= by

    for by in (1, -1):
        while pairs := [
            (by * lost(row, column), -row, -column)
            for row, missing in enumerate(short)
            for column, wanted in enumerate(lacking)
            if missing * by > 0 and wanted * by > 0
        ]:
            _, row, column = max(pairs)
            move(-row, -column, by)
    while any(short):  # the columns are right: a unit goes from one row to another within a column
        gaining = next(row for row, missing in enumerate(short) if missing > 0)
        losing = next(row for row, missing in enumerate(short) if missing < 0)
        column = max(range(len(columns)), key=lambda at: lost(gaining, at) - lost(losing, at))
        move(gaining, column, 1)
        move(losing, column, -1)
    while any(lacking):
        gaining = next(column for column, wanted in enumerate(lacking) if wanted > 0)
        losing = next(column for column, wanted in enumerate(lacking) if wanted < 0)
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

"""Columns of rounded numbers that sum to their rounded total."""

from collections.abc import Sequence
from fractions import Fraction
from typing import TypeVar

N = TypeVar("N", int, Fraction)


def rounded(amounts: Sequence[N], unit: N, ceilings: Sequence[int] | None = None) -> list[int]:
    """Amounts in whole units, summing to their total in whole units, rounded half up.

    Each is rounded down, and the units that are then missing go to those that lost most, the first of equals;
    before them to those that stay within their ceiling, so that a part is not told larger than its whole.
    None is a unit or more away from what it was.
    """
    wholes = [amount // unit for amount in amounts]
    missing = (2 * sum(amounts) + unit) // (2 * unit) - sum(wholes)

    def turn(place: int) -> tuple[bool, bool, N, int]:
        lost = amounts[place] % unit
        full = ceilings is not None and wholes[place] >= ceilings[place]
        return lost == 0, full, -lost, place

    for place in sorted(range(len(amounts)), key=turn)[:missing]:
        wholes[place] += 1
    return wholes


def hundredths(value: int) -> str:
    """A number of hundredths for people, like 1,234.50."""
    sign = "-" if value < 0 else ""
    return f"{sign}{abs(value) // 100:,}.{abs(value) % 100:02d}"


def ten_thousandths(value: int) -> str:
    """A number of ten thousandths for people, like 1,234.5000."""
    sign = "-" if value < 0 else ""
    return f"{sign}{abs(value) // 10_000:,}.{abs(value) % 10_000:04d}"

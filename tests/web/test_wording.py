"""How numbers are written for people."""

import math

import pytest

from exporter.web.wording import amount, count, share, six


@pytest.mark.parametrize(
    ("ratio", "written"),
    [
        (0.0, "0%"),
        (0.004, "<1%"),
        (0.005, "1%"),
        (0.125, "13%"),
        (0.285, "29%"),  # which floats hold as 0.28499999999999998
        (0.994, "99%"),
        (0.999, ">99%"),
        (1.0, "100%"),
        (1.25, "125%"),
    ],
)
def test_a_share_is_neither_nothing_nor_all_unless_it_is(ratio: float, written: str) -> None:
    """Halves up; what is left of nothing and what lacks of all is said."""
    assert share(ratio) == written


@pytest.mark.parametrize(
    ("tokens", "written"),
    [
        (0, "0"),
        (9_999, "9,999"),
        (10_000, "10.0 k"),
        (123_456, "123 k"),
        (12_345_678, "12.3 M"),
        (1_293_373_989, "1.3 B"),
        (5 * 10**15, "5,000 T"),
    ],
)
def test_counts_have_few_digits(tokens: int, written: str) -> None:
    """Exact while they are small."""
    assert count(tokens) == written


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_not_known(wrong: float) -> None:
    """It costs itself, and not the page that it stands on."""
    assert amount(wrong) == six(wrong) == six(None) == "not known"


def test_money_and_its_explanation_round_alike() -> None:
    """31 dollars an hour for 8 GPUs, as floats add it up: 3.875, which is 3.88 in cents."""
    assert (six(3.8749999999999996), amount(3.8749999999999996)) == ("3.875000", "$3.88")
    assert (six(1234.5), amount(1234.5)) == ("1,234.500000", "$1,234.50")

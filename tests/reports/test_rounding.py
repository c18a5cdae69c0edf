"""Rounded columns."""

from hypothesis import given
from hypothesis import strategies as st

from exporter.reports.rounding import balanced, rounded, ruled_table, text_table


def test_thirds_of_a_dollar_sum_to_a_dollar() -> None:
    """33.33 + 33.33 + 33.34: the missing cent goes to the first of those that lost as much."""
    assert rounded([3333, 3333, 3334], 100) == [33, 33, 34]
    assert rounded([33_333, 33_333, 33_333], 1000) == [34, 33, 33]


def test_the_cent_goes_to_whoever_lost_most() -> None:
    """0.4 + 0.9 + 0.7 = 2."""
    assert rounded([4, 9, 7], 10) == [0, 1, 1]


def test_a_total_is_rounded_half_up() -> None:
    """Also below zero, where up is towards zero."""
    assert (rounded([15], 10), rounded([14], 10), rounded([-15], 10), rounded([-16], 10)) == (
        [2],
        [1],
        [-1],
        [-2],
    )


def test_a_refund_is_rounded_with_the_rest() -> None:
    """10.06 - 3.17 = 6.89, in tenths 6.9."""
    assert rounded([1006, -317], 10) == [101, -32]


def test_a_part_is_not_told_larger_than_its_whole() -> None:
    """Of 0.6 and 0.4 the first got the unit; so does its part, though the other's part lost more."""
    assert rounded([6, 4], 10) == [1, 0]
    assert rounded([3, 4], 10, [1, 0]) == [1, 0]
    # Where all are full somebody has to take it.
    assert rounded([3, 4], 10, [0, 0]) == [0, 1]


def test_nothing_sums_to_nothing() -> None:
    """No line, no total."""
    assert rounded([], 100) == []


@given(st.lists(st.integers(-(10**18), 10**18), max_size=40), st.sampled_from([2, 100, 10**10]))
def test_a_column_sums_to_its_total_and_nobody_moves_by_a_unit(amounts: list[int], unit: int) -> None:
    """The total is the nearest unit; what was whole stays."""
    wholes = rounded(amounts, unit)
    assert -unit < 2 * (sum(wholes) * unit - sum(amounts)) <= unit
    assert all(abs(whole * unit - amount) < unit for whole, amount in zip(wholes, amounts, strict=True))


def test_rows_and_columns_sum_to_their_totals() -> None:
    """0.4 + 0.4 and 0.4 + 0.4: rows of 1 and 1, columns of 1 and 1, so that two opposite cells get a unit."""
    assert balanced([[4, 4], [4, 4]], [1, 1], [1, 1], 10) == [[1, 0], [0, 1]]


def test_a_total_that_is_smaller_than_its_parts_takes_a_unit_away() -> None:
    """2.0 and 3.0 in a row of 4: the first of equals gives, in a column of 1."""
    assert balanced([[20, 30]], [4], [1, 3], 10) == [[1, 3]]


def test_a_unit_moves_between_rows_and_between_columns() -> None:
    """Whole cells, and totals that were rounded apart from them: the totals hold."""
    assert balanced([[10], [10]], [2, 0], [2], 10) == [[2], [0]]
    assert balanced([[10, 10]], [2], [2, 0], 10) == [[2, 0]]


def test_a_table_without_columns_is_empty() -> None:
    """Two rows that agree have no parts."""
    assert balanced([[], []], [0, 0], [], 10) == [[], []]


@given(st.data(), st.integers(1, 6), st.integers(1, 5))
def test_a_table_adds_up_whatever_its_totals_were_rounded_to(
    data: st.DataObject, height: int, width: int
) -> None:
    """Rows to the nearest, columns to what these sum to: every sum holds, no cell moves by three units."""
    unit = 100
    row = st.lists(st.integers(-(10**6), 10**6), min_size=width, max_size=width)
    cells = data.draw(st.lists(row, min_size=height, max_size=height))
    rows = rounded([sum(row) for row in cells], unit)
    columns = rounded([sum(column) for column in zip(*cells, strict=True)], unit)
    wholes = balanced(cells, rows, columns, unit)

    assert [sum(row) for row in wholes] == rows
    assert [sum(column) for column in zip(*wholes, strict=True)] == columns
    assert all(
        abs(whole * unit - cell) < 3 * unit
        for one, other in zip(wholes, cells, strict=True)
        for whole, cell in zip(one, other, strict=True)
    )


def test_a_table_has_labels_to_the_left_and_numbers_to_the_right() -> None:
    """No line ends in spaces; rules stand below the headings and above the total."""
    table = ruled_table(
        ["team", "model", "$"], [["a", "", "10.00"], ["bcdef", "m", ""]], ["total", "", "10.00"], 2
    )
    assert list(table) == [
        "team   model      $",
        "-----  -----  -----",
        "a             10.00",
        "bcdef  m",
        "-----  -----  -----",
        "total         10.00",
    ]


def test_a_table_that_is_too_wide_goes_on_below() -> None:
    """Its labels are repeated; the first part has what fits the width, to the column."""
    rows = [["host", "paid", "idle", "tokens"], ["a", "1.00", "0.50", "123,456"]]

    assert list(text_table(rows, width=16)) == [
        "host  paid  idle",
        "a     1.00  0.50",
        "",
        "host   tokens",
        "a     123,456",
    ]
    assert list(text_table(rows, width=15)) == [
        "host  paid",
        "a     1.00",
        "",
        "host  idle",
        "a     0.50",
        "",
        "host   tokens",
        "a     123,456",
    ]
    assert list(text_table(rows, width=25)) == list(text_table(rows))


def test_a_column_that_is_wider_than_the_screen_stands_alone() -> None:
    """Nothing of it is left out."""
    assert list(text_table([["a", "b"], ["label", "123456789"]], width=5)) == [
        "a              b",
        "label  123456789",
    ]

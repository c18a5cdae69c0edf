"""Accrual and splits: exact, against rationals."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cost.accrual import accrue, accrue_energy
from exporter.cost.money import ROUNDING_SCALE, WHOLE, add, add_all, divide, divide_fairly, portions
from exporter.cost.state import Carry
from exporter.tariff.rate import EnergyPrice, Provenance, Rate
from exporter.units import dollars, picodollars
from tests.kit.units import HOUR

YEAR = 8766 * HOUR

amounts = st.integers(0, 10**16)
periods = st.one_of(
    st.sampled_from([HOUR, 8 * HOUR, 720 * HOUR, 743 * HOUR, YEAR, 24 * YEAR]), st.integers(1, YEAR)
)
durations = st.lists(st.integers(0, 20 * 10**9), min_size=1, max_size=30)


@given(amounts, periods, durations)
def test_what_accrues_in_pieces_is_what_accrues_at_once(amount: int, period: int, pieces: list[int]) -> None:
    """However time is cut, its pieces sum to what the whole time earns, to the picodollar."""
    rate = Rate(amount, period)
    carry: Carry | None = None
    posted = 0
    for piece in pieces:
        part, carry = accrue(rate, piece, carry)
        assert part >= 0
        posted += part
    exact = Fraction(amount * sum(pieces), period)
    assert posted == exact.__floor__()
    assert carry is not None
    assert posted + Fraction(carry.numerator, carry.period) == exact


@given(st.lists(st.tuples(amounts, periods, st.integers(0, 10**12)), min_size=1, max_size=20))
def test_a_carry_keeps_its_value_when_the_rate_changes(steps: list[tuple[int, int, int]]) -> None:
    """Through any changes of price and month what is posted and carried stays what accrued.

    Each change may round the carry down, by less than one part of the new period.
    """
    carry: Carry | None = None
    exact = Fraction(0)
    lost = Fraction(0)
    posted = 0
    for amount, period, duration in steps:
        part, carry = accrue(Rate(amount, period), duration, carry)
        posted += part
        exact += Fraction(amount * duration, period)
        lost += Fraction(1, period)
        assert 0 <= carry.numerator < carry.period == period
        assert exact - lost <= posted + Fraction(carry.numerator, period) <= exact


def test_a_carry_is_rescaled() -> None:
    """Half a picodollar over 10 is 3 parts of 7 and a bit: 5/10 becomes 3/7, rounded down."""
    assert accrue(Rate(0, 7), 1, Carry(5, 10)) == (0, Carry(3, 7))
    assert accrue(Rate(4, 7), 1, Carry(5, 10)) == (1, Carry(0, 7))


def test_energy_costs_its_kilowatt_hours() -> None:
    """1 kWh = 3.6 MJ at 0.12 dollars; 1 J = 0.12 / 3.6e6 dollars = 33,333.3 picodollars."""
    price = EnergyPrice(picodollars(Decimal("0.12")), Provenance("configured", "x"))
    assert accrue_energy(price, 3_600_000_000, None)[0] == 120_000_000_000
    first, carry = accrue_energy(price, 1000, None)
    second, carry = accrue_energy(price, 1000, carry)
    third, carry = accrue_energy(price, 1000, carry)
    assert (first, second, third) == (33_333, 33_333, 33_334)
    assert carry.numerator == 0


weights = st.dictionaries(st.text(max_size=3), st.integers(0, 10**36), min_size=1, max_size=60).filter(
    lambda weights_drawn: any(weights_drawn.values())
)


@given(st.integers(-(10**15), 10**18), weights)
def test_parts_sum_to_the_whole(amount: int, weights_drawn: dict[str, int]) -> None:
    """For any weights and any number of parties; each is within a unit of its due, none pays for nothing."""
    parts, debts = divide_fairly(amount, weights_drawn)
    assert sum(parts.values()) == amount
    assert set(parts) == {key for key, weight in weights_drawn.items() if weight}
    assert set(debts) == set(weights_drawn)
    for key, part in parts.items():
        assert abs(part - Fraction(amount * weights_drawn[key], sum(weights_drawn.values()))) < 1


@given(weights, st.lists(st.integers(0, 10**6), min_size=1, max_size=40))
def test_debts_tell_what_rounding_owes(weights_drawn: dict[str, int], sums: list[int]) -> None:
    """After any splits a party's debt is its due less what it was charged, and it stays small."""
    debts: dict[str, int] = {}
    charged = dict.fromkeys(weights_drawn, 0)
    for amount in sums:
        parts, debts = divide_fairly(amount, weights_drawn, debts)
        for key, part in parts.items():
            charged[key] += part
    total = sum(weights_drawn.values())
    for key, weight in weights_drawn.items():
        due = Fraction(weight * sum(sums), total) - charged[key]
        assert abs(due - Fraction(debts[key], ROUNDING_SCALE)) <= Fraction(len(sums), ROUNDING_SCALE)
        assert abs(due) < 2


def test_ties_go_by_sorted_key_whatever_the_order() -> None:
    """One unit among equals goes to the first key in order, however the weights were said."""
    assert divide_fairly(1, {"b": 1, "a": 1, "c": 1})[0] == {"a": 1, "b": 0, "c": 0}
    assert divide_fairly(1, {"c": 1, "a": 1, "b": 1})[0] == {"a": 1, "b": 0, "c": 0}


def test_an_amount_that_is_divided_once_has_parts_alone() -> None:
    """Ten over three equals: the unit that is left goes to the first; a weight of zero has no part."""
    assert divide(10, {"b": 2, "a": 2, "c": 2, "d": 0}) == {"a": 4, "b": 3, "c": 3}


def test_a_debt_goes_first() -> None:
    """Who was rounded down last time gets the unit that is left this time."""
    parts, debts = divide_fairly(1, {"a": 1, "b": 1})
    assert (parts, debts) == ({"a": 1, "b": 0}, {"a": -ROUNDING_SCALE // 2, "b": ROUNDING_SCALE // 2})
    parts, debts = divide_fairly(1, {"a": 1, "b": 1}, debts)
    assert (parts, debts) == ({"a": 0, "b": 1}, {"a": 0, "b": 0})


def test_a_key_without_weight_keeps_its_debt_and_pays_nothing() -> None:
    """A debt waits; it never becomes a charge to someone who held nothing."""
    parts, debts = divide_fairly(5, {"a": 3, "b": 0}, {"a": 0, "b": 7})
    assert (parts, debts) == ({"a": 5}, {"a": 0, "b": 7})


@pytest.mark.parametrize("weights_drawn", [{}, {"a": 0}])
def test_a_split_needs_someone_to_pay(weights_drawn: dict[str, int]) -> None:
    """Money without a payer is a bug of the caller, not a rounding."""
    with pytest.raises(ValueError, match="positive weight"):
        divide_fairly(1, weights_drawn)


def test_portions_sum_to_the_whole() -> None:
    """Thirds of 1e9 are 333,333,333 and one 333,333,334; without weights parts are equal."""
    assert portions({"a": 1, "b": 1, "c": 1}) == {"a": 333_333_334, "b": 333_333_333, "c": 333_333_333}
    assert portions({"a": 0, "b": 0}) == {"a": WHOLE // 2, "b": WHOLE // 2}
    assert portions({"a": 3, "b": 1}) == {"a": 750_000_000, "b": 250_000_000}


@given(st.decimals(0, 10**6, places=6))
def test_configured_dollars_are_exact(amount: Decimal) -> None:
    """An amount with up to twelve decimals loses nothing."""
    assert Fraction(picodollars(amount), 10**12) == Fraction(amount)
    assert dollars(picodollars(amount)) == pytest.approx(float(amount), rel=1e-15)


def test_an_amount_is_added_to_its_key() -> None:
    """A new key starts at the amount, and zeros make keys."""
    sums = {"a": 1}
    add(sums, "a", 2)
    add(sums, "b", 0)
    add_all(sums, {"a": -3, "c": 7})

    assert list(sums.items()) == [("a", 0), ("b", 0), ("c", 7)]

"""A commitment: how many GPUs, what it costs, and the load at which it turns."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.finance.options.choices import CommitmentChoice, Outcome, choice
from exporter.finance.options.commitment import RentedHour, commitment, turning_factor
from exporter.finance.options.load import MeasuredLoad, RentedTime
from tests.finance.options.window_builders import CHAT, MONDAY, day, hour, hours, measured, policy
from tests.kit.units import DOLLAR, HOUR


def outcome(load: MeasuredLoad, text: str) -> Outcome:
    parsed = choice(text)
    assert isinstance(parsed, CommitmentChoice)
    return commitment(load, parsed, policy())


def varying(gpus: list[int], tokens: int = 1000) -> MeasuredLoad:
    """So many GPUs in each hour, at 3 dollars."""
    return measured(hours(len(gpus), lambda number: hour(3 * gpus[number], gpus[number], tokens)))


HALF = [1] * 12 + [4] * 12
"""1 GPU at night, 4 by day: 60 GPU-hours, 180 dollars."""


def test_as_many_as_cost_least() -> None:
    """At 40 % less the first is used always, and three for half of the hours, too little: 1.

    24 x 1.80 = 43.20, and 12 x 3 x 3 = 108 beyond it: 151.20. The term: 43.20 x 730 / 24 x 12 = 15,768.
    """
    committed = outcome(varying(HALF), "commitment=1y:40%")

    assert committed.cost == Fraction(15_120, 100) * DOLLAR
    assert committed.figures == {
        "gpus": 1,
        "owed_dollars_of_term": 15_768,
        "used_gpu_hours": 24,
        "committed_gpu_hours": 24,
    }
    assert committed.evidence == (
        "1 x H100 at 1.8000 dollars an hour, 100.0 % of it used; now 3.0000.",
        "A GPU is worth it from 60.0 % of the hours on, or if it stays for 7.2 of 12 months.",
        "Owed for the whole term: 15,768.00 dollars in 12 months, whatever the load.",
    )


def test_half_of_the_hours_are_enough_for_more_than_half_off() -> None:
    """At 1.40 dollars all four: 24 x 4 x 1.40 = 134.40."""
    assert outcome(varying(HALF), "commitment=3y:1.40").cost == Fraction(13_440, 100) * DOLLAR
    assert outcome(varying(HALF), "commitment=3y:1.50").cost == 144 * DOLLAR  # 36 + 108: no better with all


def test_a_given_number() -> None:
    """Six at 1 dollar cost 144, used or not: 60 of 144 GPU-hours are."""
    committed = outcome(varying(HALF), "commitment=1y:1:6")

    assert committed.cost == 144 * DOLLAR
    assert committed.evidence[0] == "6 x H100 at 1.0000 dollars an hour, 41.7 % of it used; now 3.0000."


def test_where_it_turns() -> None:
    """All four at 1.40 are 134.40; 180 are paid for 24,000 tokens: at 134.40 / 180 of them both are one.

    There the day's hours rent 4 x 0.7467 GPUs, which is less than 4, so that rent follows the load.
    """
    turn = outcome(varying(HALF), "commitment=3y:1.40").turn

    assert turn is not None
    assert (turn.verdict, turn.tokens_per_day, turn.below) == ("at", 17_920, "now")


def test_the_load_put_back_costs_the_same() -> None:
    """At 3/4 of the GPUs of `HALF`, four committed at 1.40625 dollars are 135, as what is paid."""
    at = measured(hours(24, lambda number: hour(HALF[number] * Fraction(9, 4), HALF[number] * 0.75, 750)))
    committed = outcome(at, "commitment=3y:1.40625:4")

    assert committed.cost == at.whole.paid == 135 * DOLLAR
    assert committed.turn is not None
    assert committed.turn.tokens_per_day == 18_000


@given(
    st.lists(st.integers(0, 6), min_size=24, max_size=60).filter(any),
    st.integers(1, 6),
    st.integers(1, 300),
)
def test_any_load_put_back_costs_the_same(gpus: list[int], committed: int, cents: int) -> None:
    """Rent up to the committed GPUs at that many times the load is what the commitment costs, to the last."""
    rents = [RentedHour(Fraction(count), Fraction(300), committed) for count in gpus if count]
    due = Fraction(committed * cents * len(gpus))

    factor = turning_factor(rents, due)

    if factor is None:
        assert due > sum(300 * committed for _ in rents)
    else:
        assert sum(min(count * factor, committed) * 300 for count in gpus) == due


@given(st.lists(st.integers(0, 5), min_size=24, max_size=48).filter(any), st.integers(0, 99))
def test_no_other_number_costs_less(gpus: list[int], percent: int) -> None:
    """The chosen number is the best of all, and without a discount it costs what was paid."""
    load = varying(gpus)
    best = outcome(load, f"commitment=1y:{percent}%").cost

    assert best is not None
    assert best <= load.whole.paid
    for number in range(1, 7):
        other = outcome(load, f"commitment=1y:{percent}%:{number}").cost
        assert other is not None
        assert best <= other
    if percent == 0:
        assert best == load.whole.paid


def test_what_is_not_rent_stays() -> None:
    """Electricity of 24 dollars is paid all the same: 24 + 24 x 2 x 1.50."""
    window = hours(24, lambda _: hour(tokens=1))
    for each in window.values():
        each.money[CHAT, "energy"] = DOLLAR

    assert outcome(measured(window), "commitment=1y:50%").cost == 96 * DOLLAR


def test_hours_that_were_not_metered_are_owed() -> None:
    """A host that was off for the second day: 48 hours of 2 GPUs at 1 dollar are 96."""
    window = hours(24, lambda _: hour(tokens=1))
    window[MONDAY + 47] = hour(0, 0, component="energy")

    assert outcome(measured(window), "commitment=1y:1:2").cost == 96 * DOLLAR


def two_models() -> MeasuredLoad:
    """An H100 at 3 dollars, and an L4 at 1 by day."""
    window = hours(24, lambda _: hour(3, 1, 100))
    for number, each in window.items():
        if number >= MONDAY + 12:
            each.rented["L4"] = RentedTime(DOLLAR, HOUR)
            each.money[CHAT, "rent"] += DOLLAR
    return measured(window)


def test_a_discount_on_several_models() -> None:
    """At 40 % less the H100 alone: 24 x 1.80 + 12 x 1 = 55.20."""
    committed = outcome(two_models(), "commitment=1y:40%")

    assert committed.cost == Fraction(5520, 100) * DOLLAR
    assert "L4: none is committed; each was rented for too few hours." in committed.evidence


@pytest.mark.parametrize(
    ("load", "text", "message"),
    [
        (
            two_models(),
            "commitment=1y:2",
            "one price or number for 2 GPU models (H100, L4): give a discount alone",
        ),
        (two_models(), "commitment=1y:20%:1", "one price or number for 2 GPU models (H100, L4)"),
        (
            day(component="amortization"),
            "commitment=1y:20%",
            "no rent was paid: owned hardware needs no commitment",
        ),
        (
            measured(hours(24, lambda _: hour()), "chat-8b", of=[CHAT]),
            "commitment=1y:20%",
            "a commitment is for GPUs, whoever holds them: leave out --server",
        ),
    ],
)
def test_no_figure(load: MeasuredLoad, text: str, message: str) -> None:
    """It says why."""
    refused = outcome(load, text)

    assert refused.cost is None
    assert message in refused.lack


def test_none_that_pays() -> None:
    """At 1 % less, GPUs of half the hours stay as they are: what was paid, and no load turns it."""
    load = varying([0] * 12 + [2] * 12)
    committed = outcome(load, "commitment=1y:1%")

    assert committed.cost == load.whole.paid
    assert committed.turn is not None
    assert committed.turn.verdict == "never"

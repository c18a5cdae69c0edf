"""Dollars per million tokens: ratios of sums, absent where they would say something untrue."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cost.policy import Weights
from exporter.cost.quotients import per_million
from tests.kit.units import DOLLAR

WEIGHTS = Weights()
MONEY = {"prefill": 2 * DOLLAR, "decode": 6 * DOLLAR, "idle": 3 * DOLLAR, "unobserved": DOLLAR}
TOKENS: dict[Any, int] = {"prompt": 1_500_000, "cached_prompt": 5_000_000, "generation": 500_000}


def test_the_example_by_hand() -> None:
    """12 dollars, 8 of them busy, over 7 million tokens.

    Prefill: 2 dollars over 1.5 million x 1 + 5 million x 0.1 = 2 million weighted: 1 dollar a million
    computed, 0.10 cached. Decode: 6 dollars over 0.5 million = 12. On the full basis each times 12 / 8.
    """
    assert per_million(MONEY, TOKENS, WEIGHTS) == {
        ("all", "full"): pytest.approx(12 / 7),
        ("all", "busy"): pytest.approx(8 / 7),
        ("computed", "full"): pytest.approx(6.0),
        ("computed", "busy"): pytest.approx(4.0),
        ("prompt", "busy"): pytest.approx(1.0),
        ("prompt", "full"): pytest.approx(1.5),
        ("cached_prompt", "busy"): pytest.approx(0.1),
        ("cached_prompt", "full"): pytest.approx(0.15),
        ("generation", "busy"): pytest.approx(12.0),
        ("generation", "full"): pytest.approx(18.0),
    }


def test_an_idle_model_is_not_free() -> None:
    """Trap: cost per token 0, infinite or NaN when idle. No tokens, no quotient."""
    assert per_million({"idle": DOLLAR}, {}, WEIGHTS) == {}


@pytest.mark.parametrize("money", [{}, {"idle": 0, "decode": 0}])
def test_nothing_priced_is_no_quotient(money: dict[str, int]) -> None:
    """Tokens without dollars have an unknown cost, not a cost of 0."""
    assert per_million(money, TOKENS, WEIGHTS) == {}


def test_what_is_priced_in_part_is_no_quotient() -> None:
    """A nanosecond of a GPU without a price: 12 dollars are not all that the tokens cost."""
    assert per_million(MONEY, TOKENS, WEIGHTS, unpriced=1) == {}


def test_money_that_is_neither_prefill_nor_decode_has_no_busy_quotient() -> None:
    """All of it is `other` and idle: what a token cost while busy nobody knows; 0 would be a claim."""
    actual = per_million({"other": 3 * DOLLAR, "idle": 4 * DOLLAR}, TOKENS, WEIGHTS)
    assert actual == {("all", "full"): pytest.approx(1.0), ("computed", "full"): pytest.approx(3.5)}


def test_a_kind_below_a_thousand_tokens_is_absent() -> None:
    """999 tokens say nothing; 1000 do. The others keep their price."""
    few = per_million(MONEY, {**TOKENS, "generation": 999}, WEIGHTS)
    assert ("generation", "full") not in few
    assert few["prompt", "busy"] == pytest.approx(1.0)
    enough = per_million(MONEY, {**TOKENS, "generation": 1000}, WEIGHTS)
    assert enough["generation", "busy"] == pytest.approx(6000.0)


def test_all_needs_a_thousand_tokens_of_all() -> None:
    """400 and 600 make 1000."""
    actual = per_million(MONEY, {"prompt": 400, "generation": 600}, WEIGHTS)
    assert set(actual) == {("all", "full"), ("all", "busy"), ("computed", "full"), ("computed", "busy")}
    assert per_million(MONEY, {"prompt": 400, "generation": 599}, WEIGHTS) == {}


def test_computed_leaves_cached_tokens_out() -> None:
    """900 computed and a million cached: `all` is reported, `computed` is not."""
    actual = per_million(MONEY, {"prompt": 900, "cached_prompt": 1_000_000}, WEIGHTS)
    assert ("all", "full") in actual
    assert ("computed", "full") not in actual


def test_a_phase_without_tokens_joins_the_other() -> None:
    """Only prompts (an embedding server): decode's 6 dollars join prefill's 2 over 2 million weighted."""
    actual = per_million(MONEY, {"prompt": 2_000_000}, WEIGHTS)
    assert actual["prompt", "busy"] == pytest.approx(4.0)
    assert actual["prompt", "full"] == pytest.approx(6.0)


def test_prefill_without_prompts_joins_decode() -> None:
    """Only generation: all 8 dollars over 2 million tokens."""
    actual = per_million(MONEY, {"generation": 2_000_000}, WEIGHTS)
    assert actual["generation", "busy"] == pytest.approx(4.0)
    assert actual["generation", "full"] == pytest.approx(6.0)


def test_weights_of_zero_divide_evenly() -> None:
    """With no weight for either kind of prompt, both cost the same rather than nothing."""
    actual = per_million(MONEY, TOKENS, Weights(Decimal(0), Decimal(0), Decimal(3)))
    assert actual["prompt", "busy"] == actual["cached_prompt", "busy"] == pytest.approx(2 / 6.5)


def test_cached_tokens_may_be_free() -> None:
    """A weight of 0 is a decision: all of prefill's money is on computed prompts."""
    actual = per_million(MONEY, TOKENS, Weights(Decimal(1), Decimal(0), Decimal(3)))
    assert actual["prompt", "busy"] == pytest.approx(2 / 1.5)
    assert actual["cached_prompt", "busy"] == 0.0


@given(
    st.fixed_dictionaries(
        {phase: st.integers(0, 10**17) for phase in ("prefill", "decode", "other", "idle", "unobserved")}
    ),
    st.fixed_dictionaries(
        {kind: st.just(0) | st.integers(1000, 10**10) for kind in ("prompt", "cached_prompt", "generation")}
    ),
)
def test_price_times_tokens_is_the_money(money: dict[str, int], tokens: dict[Any, int]) -> None:
    """Over the three kinds, on both bases, whenever no kind with tokens is absent."""
    actual = per_million(money, tokens, WEIGHTS)
    busy = money["prefill"] + money["decode"]
    for basis, dollars in (("full", sum(money.values())), ("busy", busy)):
        kinds = [kind for kind in tokens if (kind, basis) in actual]
        reported = sum(actual[kind, basis] * tokens[kind] / 1e6 for kind in kinds)
        if kinds:
            assert sorted(kinds) == sorted(kind for kind, count in tokens.items() if count)
            assert reported == pytest.approx(dollars / 1e12, rel=1e-9, abs=1e-12)
        else:
            assert busy == 0 or not any(tokens.values())
        assert all(price >= 0 for price in actual.values())

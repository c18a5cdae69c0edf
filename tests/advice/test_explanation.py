"""What is said of a model's cost: each number names its money and its tokens."""

from dataclasses import replace
from decimal import Decimal

import pytest

from exporter.advice.explanation import ModelAccount, UnitCost, break_even, hosted_break_even, ladder, prices
from exporter.cost.policy import Weights
from exporter.cost.postings import Phase
from exporter.tariff.hosted import HostedPrice
from tests.kit.units import DOLLAR, HOUR

MONEY: dict[Phase, int] = {
    "prefill": 2 * DOLLAR,
    "decode": 6 * DOLLAR,
    "idle": 3 * DOLLAR,
    "unobserved": DOLLAR,
}
TOKENS = {"prompt": 1_500_000, "cached_prompt": 5_000_000, "generation": 500_000}
COMPONENTS = {"rent": 9 * DOLLAR, "storage": 2 * DOLLAR, "energy": DOLLAR}
ACCOUNT = ModelAccount("llama", MONEY, TOKENS, components=COMPONENTS)  # type: ignore[arg-type]


def test_each_quotient_says_its_dollars_and_its_tokens() -> None:
    """12 dollars, 8 of them busy; weighted prompt 1.5 + 0.5 = 2 million: prompt carries 3/4 of prefill.

    Busy: 2 x 1.5 / 2 = 1.5 and 2 x 0.5 / 2 = 0.5, decode 6. Full: each times 12 / 8.
    """
    reported = {
        (p.kind, p.basis): (p.dollars, p.tokens, p.dollars_per_million) for p in prices(ACCOUNT, Weights())
    }

    assert reported == {
        ("all", "full"): (12, 7_000_000, pytest.approx(12 / 7)),
        ("all", "busy"): (8, 7_000_000, pytest.approx(8 / 7)),
        ("computed", "full"): (12, 2_000_000, pytest.approx(6)),
        ("computed", "busy"): (8, 2_000_000, pytest.approx(4)),
        ("prompt", "full"): (pytest.approx(2.25), 1_500_000, pytest.approx(1.5)),
        ("prompt", "busy"): (pytest.approx(1.5), 1_500_000, pytest.approx(1)),
        ("cached_prompt", "full"): (pytest.approx(0.75), 5_000_000, pytest.approx(0.15)),
        ("cached_prompt", "busy"): (pytest.approx(0.5), 5_000_000, pytest.approx(0.1)),
        ("generation", "full"): (pytest.approx(9), 500_000, pytest.approx(18)),
        ("generation", "busy"): (6, 500_000, pytest.approx(12)),
    }


def test_the_ladder_goes_from_the_narrowest_number_to_the_widest() -> None:
    """Hardware is 9 of 12 dollars: 8 x 9 / 12 = 6 busy dollars of it, over 7 million tokens."""
    assert [(rung.dollars, rung.tokens) for rung in ladder(ACCOUNT)] == [
        (6, 7_000_000),
        (8, 7_000_000),
        (12, 7_000_000),
        (12, 2_000_000),
        (12, 500_000),
    ]
    assert ladder(ACCOUNT)[-1] == UnitCost(12, 500_000, 24, "everything over generated tokens alone")


def test_without_components_or_work_there_are_fewer_numbers() -> None:
    """Minutes know no components; a model that never worked has what idling cost over what it served."""
    minutes = ModelAccount("llama", MONEY, TOKENS)  # type: ignore[arg-type]
    rested = ModelAccount("llama", {"idle": DOLLAR}, {"prompt": 1_000_000}, components=COMPONENTS)

    assert len(ladder(minutes)) == 4
    assert [rung.dollars_per_million for rung in ladder(rested)] == [1, 1]
    assert ladder(ModelAccount("llama", {}, {"prompt": 1_000_000})) == ()
    assert ladder(ModelAccount("llama", {"idle": DOLLAR})) == ()


def test_nothing_is_divided_while_a_part_has_no_price() -> None:
    """Neither quotients nor the ladder nor a break-even: each would say that the priced part is the cost."""
    account = replace(ACCOUNT, unpriced=1)
    offer = HostedPrice("turbo", Decimal(1), Decimal(3))

    assert prices(account, Weights()) == ()
    assert ladder(account) == ()
    assert break_even(account, 6 * HOUR, 1.2, "your number") is None
    assert hosted_break_even(account, 6 * HOUR, offer) is None


def test_break_even_is_where_the_day_costs_the_same() -> None:
    """12 dollars in 6 hours are 48 a day: 40 million tokens at 1.20 each, where 28 million are served."""
    reported = break_even(ACCOUNT, 6 * HOUR, 1.2, "your number")

    assert reported is not None
    assert reported.own_dollars_per_million == pytest.approx(12 / 7)
    assert reported.tokens_per_day == pytest.approx(40_000_000)
    assert reported.served_per_day == pytest.approx(28_000_000)


def test_a_hosted_offer_is_held_against_at_the_mix_of_tokens() -> None:
    """1.5 x 1 + 5 x 0.1 + 0.5 x 3 = 3.5 dollars for 7 million tokens: 0.50 a million."""
    offer = HostedPrice("turbo", Decimal(1), Decimal(3), cached_prompt=Decimal("0.1"))
    reported = hosted_break_even(ACCOUNT, 24 * HOUR, offer)

    assert reported is not None
    assert (reported.reference, reported.dollars_per_million) == ("turbo", pytest.approx(0.5))
    assert reported.tokens_per_day == pytest.approx(24_000_000)


@pytest.mark.parametrize(
    ("account", "span", "price"),
    [
        (ModelAccount("llama", MONEY), HOUR, 1.0),
        (ModelAccount("llama", {}, {"prompt": 5}), HOUR, 1.0),
        (ACCOUNT, 0, 1.0),
        (ACCOUNT, HOUR, 0.0),
    ],
    ids=["no tokens", "no dollars", "no time", "free"],
)
def test_nothing_to_compare_is_nothing_said(account: ModelAccount, span: int, price: float) -> None:
    """Without tokens, dollars, time or a price there is no break-even."""
    assert break_even(account, span, price, "x") is None


def test_a_free_offer_and_an_idle_model_have_no_break_even() -> None:
    """Zero dollars buy any number of tokens; no token has no mix."""
    free = HostedPrice("free", Decimal(0), Decimal(0))

    assert hosted_break_even(ACCOUNT, HOUR, free) is None
    assert hosted_break_even(ModelAccount("llama", MONEY), HOUR, free) is None

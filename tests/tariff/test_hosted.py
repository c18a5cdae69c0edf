"""What tokens would have cost at a hosted offer."""

from datetime import date
from decimal import Decimal

import pytest

from exporter.tariff.hosted import HostedPrice, equivalent, is_current
from tests.kit.units import DOLLAR


def test_each_kind_is_paid_at_its_own_price() -> None:
    """3 million at 0.50, 1 million cached at 0.05 and 200,000 at 2.00: 1.50 + 0.05 + 0.40 dollars."""
    offer = HostedPrice("a", Decimal("0.50"), Decimal(2), cached_prompt=Decimal("0.05"))
    counts = {"prompt": 3_000_000, "cached_prompt": 1_000_000, "generation": 200_000}
    assert equivalent(offer, counts) == DOLLAR * 195 // 100  # type: ignore[arg-type]


def test_a_cached_token_without_a_price_of_its_own_is_a_prompt_token() -> None:
    """One million of each at 1.04: 2.08 dollars."""
    offer = HostedPrice("a", Decimal("1.04"), Decimal(9))
    assert equivalent(offer, {"prompt": 10**6, "cached_prompt": 10**6}) == DOLLAR * 208 // 100


def test_a_free_cache_is_free() -> None:
    """A price of zero is a price, not a missing one."""
    offer = HostedPrice("a", Decimal(1), Decimal(1), cached_prompt=Decimal(0))
    assert equivalent(offer, {"cached_prompt": 10**6}) == 0


def test_one_token_is_exact() -> None:
    """A millionth of a dollar for a million tokens is a picodollar for one."""
    assert equivalent(HostedPrice("a", Decimal("0.000001"), Decimal(0)), {"prompt": 1}) == 1


def test_patterns_say_whose_tokens_are_compared() -> None:
    """All patterns that are given must match; without any, everybody's are."""
    of_model = HostedPrice("a", Decimal(1), Decimal(1), model="*Llama-3.3-70B*")
    of_both = HostedPrice("a", Decimal(1), Decimal(1), model="*70B*", server="chat-*")

    assert of_model.covers("chat", "meta-llama/Llama-3.3-70B-Instruct")
    assert not of_model.covers("chat", "meta-llama/Llama-3.1-8B")
    assert of_both.covers("chat-1", "Llama-70B")
    assert not of_both.covers("batch", "Llama-70B")
    assert HostedPrice("a", Decimal(1), Decimal(1)).covers("", "")


@pytest.mark.parametrize(
    ("as_of", "current"),
    [
        ("2026-11-25", True),
        ("2026-11-26", True),  # a day ahead, in a zone to the east
        ("2026-11-27", False),
        ("2025-11-24", True),
        ("2025-11-23", False),
        ("2026-11-25T12:00:00Z", True),
        ("", True),
        ("last week", False),
    ],
)
def test_a_price_of_the_last_year(as_of: str, current: bool) -> None:  # noqa: FBT001 - of a table
    """366 days, and one without a date."""
    assert is_current(as_of, date(2026, 11, 25)) is current

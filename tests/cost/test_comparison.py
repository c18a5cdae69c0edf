"""Hosted equivalents of a tick: by party and offer, beside the money."""

from dataclasses import replace
from decimal import Decimal

from exporter.cost.postings import CostOwner, HostedEquivalent
from exporter.tariff.hosted import HostedPrice
from tests.cost.checked_meter import CheckedMeter
from tests.cost.readings import BATCH, CHAT, allocate, cost_policy, h100, page, rent
from tests.kit.units import DOLLAR

LLAMA = CostOwner("unassigned", "unassigned", "", "chat", "llama")
QWEN = CostOwner("unassigned", "unassigned", "", "batch", "qwen")
TURBO = HostedPrice("turbo", Decimal("1.04"), Decimal("1.04"), model="llama")
ANY = HostedPrice("any", Decimal("0.1"), Decimal("0.3"), cached_prompt=Decimal("0.02"))


def test_tokens_of_a_tick_are_held_against_each_offer_that_matches() -> None:
    """Llama moved 1000 prompt, 500 cached and 200 generated tokens; qwen 4000 prompt tokens.

    turbo: 1700 x 1.04 / 1e6 = 0.001768. any: (1000 x 0.1 + 500 x 0.02 + 200 x 0.3) / 1e6 = 0.00017;
    4000 x 0.1 / 1e6 = 0.0004.
    """
    meter = CheckedMeter(cost_policy(rent(1), compare=(TURBO, ANY)))
    allocated = (*allocate(CHAT, 0), *allocate(BATCH, 1))
    first = [page(prompt=0, cached_prompt=0, generation=0), page(BATCH, "qwen", prompt=0)]
    meter.tick(10, [h100(), h100(1)], first, allocated)
    moved = [page(prompt=1000, cached_prompt=500, generation=200), page(BATCH, "qwen", prompt=4000)]
    outcome = meter.tick(10, [h100(), h100(1)], moved, allocated)

    assert set(outcome.postings.equivalents) == {
        HostedEquivalent(LLAMA, "turbo", DOLLAR * 1768 // 10**6),
        HostedEquivalent(LLAMA, "any", DOLLAR * 17 // 10**5),
        HostedEquivalent(QWEN, "any", DOLLAR * 4 // 10**4),
    }


def test_a_series_begins_at_zero() -> None:
    """The tick that first sees a server's counters posts nothing of them, and says what will be compared."""
    meter = CheckedMeter(cost_policy(rent(1), compare=(TURBO,)))
    meter.tick(10, [h100()], [page(prompt=70)], allocate(CHAT, 0))
    outcome = meter.tick(10, [h100()], [page(prompt=70)], allocate(CHAT, 0))

    assert outcome.postings.equivalents == (HostedEquivalent(LLAMA, "turbo", 0),)


def test_a_price_holds_from_then_on() -> None:
    """A million tokens at 1 dollar, then another at 3: each at the price of its tick."""
    cheap = HostedPrice("turbo", Decimal(1), Decimal(1))
    meter = CheckedMeter(cost_policy(rent(1), compare=(cheap,)))
    meter.tick(10, [h100()], [page(prompt=0)], allocate(CHAT, 0))
    before = meter.tick(10, [h100()], [page(prompt=10**6)], allocate(CHAT, 0))
    meter.policy = replace(meter.policy, compare=(replace(cheap, prompt=Decimal(3)),))
    after = meter.tick(10, [h100()], [page(prompt=2 * 10**6)], allocate(CHAT, 0))

    amounts = [reported.amount for each in (before, after) for reported in each.postings.equivalents]
    assert amounts == [DOLLAR, 3 * DOLLAR]


def test_a_comparison_changes_no_money() -> None:
    """The same ticks with and without offers post the same segments."""
    posted = []
    for compare in ((), (TURBO, ANY)):
        meter = CheckedMeter(cost_policy(rent(1), compare=compare))
        meter.tick(10, [h100()], [page(prompt=0)], allocate(CHAT, 0))
        posted.append(meter.tick(10, [h100()], [page(prompt=9)], allocate(CHAT, 0)).postings.segments)

    assert posted[0] == posted[1]

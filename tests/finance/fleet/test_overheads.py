"""Overheads of the fleet: what a period owes, and who carries it."""

from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cost.postings import UNASSIGNED, CostOwner
from exporter.finance.fleet.overheads import (
    BASES,
    Basis,
    FleetOverheads,
    SpreadRule,
    fleet_amounts,
    spread,
)
from exporter.tariff.period import Period
from exporter.tariff.terms import Overhead
from tests.finance.fleet.host_months import CHAT, EMBED
from tests.kit.units import DOLLAR, HOUR, NOVEMBER, OCTOBER

UTC = ZoneInfo("UTC")
STAFF = Overhead("staff", Decimal(536_000), "year", "fleet", "ice.yaml:3")
STORAGE = Overhead("storage", Decimal(3100), "month", "fleet", "ice.yaml:4")
NETWORK = Overhead("network", Decimal("1.10"), "hour", "fleet", "ice.yaml:5")
PER_HOST = Overhead("rack", Decimal(50), "month", "host", "ice.yaml:6")
ALL = (STAFF, STORAGE, NETWORK, PER_HOST)
LATER = NOVEMBER + 3000 * HOUR


def test_a_month_of_each_kind_of_amount() -> None:
    """October has 744 of the 8,766 hours of a year: 536,000 x 744 / 8,766 = 45,492.128678986995 dollars."""
    assert fleet_amounts(ALL, Period.named("2026-10"), UTC, LATER) == {
        "staff": 45_492_128_678_986_995,
        "storage": 3100 * DOLLAR,
        "network": 818_400_000_000_000,
    }


def test_a_quarter_and_a_part_of_a_month() -> None:
    """A monthly amount is owed in each month: 9,300 for a quarter, a 31st of October's for each day of it."""
    assert fleet_amounts([STORAGE], Period.named("2026-Q4"), UTC, LATER + 10**18) == {
        "storage": 9300 * DOLLAR
    }
    assert fleet_amounts([STORAGE], Period.named("2026-10-30/2026-11-03"), UTC, LATER) == {
        "storage": 200 * DOLLAR + 310 * DOLLAR
    }


def test_a_month_that_goes_on_owes_up_to_now() -> None:
    """Noon of the first: half a day. Before it begins, nothing."""
    october = Period.named("2026-10")
    assert fleet_amounts([STORAGE], october, UTC, OCTOBER + 12 * HOUR) == {"storage": 50 * DOLLAR}
    assert fleet_amounts([STORAGE], october, UTC, OCTOBER) == {}


BATCH = CostOwner("batch", "research", "jobs", "r1", "r1")
GPU_TIME = {CHAT: 300 * HOUR, EMBED: 100 * HOUR, BATCH: 0}
DOLLARS = {CHAT: 20 * DOLLAR, EMBED: 60 * DOLLAR, BATCH: 20 * DOLLAR}


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (SpreadRule(), {CHAT: 750, EMBED: 250, BATCH: 0}),
        (SpreadRule("dollars"), {CHAT: 200, EMBED: 600, BATCH: 200}),
        (SpreadRule("equal"), {CHAT: 333, EMBED: 333, BATCH: 333}),
        (SpreadRule("shares", {"chat": 3, "batch": 1, "new": 1}), {CHAT: 600, BATCH: 200, "new": 200}),
    ],
    ids=["gpu-hours", "dollars", "equal", "shares"],
)
def test_each_rule(rule: SpreadRule, expected: dict[CostOwner | str, int]) -> None:
    """1,000 dollars; a product without GPU-hours carries its fixed or equal share all the same."""
    expected = {
        CostOwner(key, UNASSIGNED, "", "", "") if isinstance(key, str) else key: amount
        for key, amount in expected.items()
        if amount
    }
    parts = spread(FleetOverheads({"staff": 1000 * DOLLAR}, rule), GPU_TIME, DOLLARS)

    assert {owner: amount // DOLLAR for owner, amount in parts.items()} == expected
    assert sum(parts.values()) == 1000 * DOLLAR


def test_an_equal_share_is_not_for_unassigned_gpus() -> None:
    """Unless nothing is assigned."""
    free = CostOwner(UNASSIGNED, UNASSIGNED, "", "unallocated", "")
    overheads = FleetOverheads({"staff": 100}, SpreadRule("equal"))

    assert spread(overheads, {CHAT: 1, free: 9}, {CHAT: 1, free: 9}) == {CHAT: 100}
    assert spread(overheads, {free: 9}, {free: 9}) == {free: 100}


def test_what_nobody_can_carry_is_unassigned() -> None:
    """A month without a GPU."""
    assert spread(FleetOverheads({"staff": 7}), {}, {}) == {CostOwner(UNASSIGNED, UNASSIGNED, "", "", ""): 7}
    assert spread(FleetOverheads({}), {CHAT: 1}, {CHAT: 1}) == {}


@given(
    st.sampled_from(BASES),
    st.dictionaries(st.text(max_size=3), st.integers(0, 10**18), max_size=3),
    st.dictionaries(st.sampled_from([CHAT, EMBED, BATCH]), st.integers(-(10**15), 10**18)),
    st.dictionaries(st.sampled_from([CHAT, EMBED, BATCH]), st.integers(-(10**15), 10**18)),
)
def test_nothing_is_lost(
    basis: Basis, amounts: dict[str, int], times: dict[CostOwner, int], dollars: dict[CostOwner, int]
) -> None:
    """Whatever the weights, the parts sum to the amounts."""
    rule = SpreadRule(basis, {"chat": 2, "other": 1} if basis == "shares" else {})
    overheads = FleetOverheads(amounts, rule)

    assert sum(spread(overheads, times, dollars).values()) == overheads.total

"""What holds for every host whose GPUs are shared, cut, lost and found: no dollar and no second is lost.

The meter checks on each tick that parts sum to the whole and that no total falls.
"""

from collections import Counter
from fractions import Fraction
from typing import Any

from hypothesis import given

from exporter.cost.postings import Postings
from exporter.cost.state import State
from exporter.ledger.ledger import Ledger
from tests.cost.checked_meter import CheckedMeter
from tests.cost.readings import START
from tests.cost.shared_gpu_strategies import ExactShares, SharedGpuHost, SharedHostEvent, stories, tariff
from tests.depth import examples
from tests.kit.clock import clock_at
from tests.kit.units import HOUR, SECOND

KINDS = {"prefill": "busy", "decode": "busy", "other": "busy", "idle": "idle", "unobserved": "unobserved"}

HOURLY = {
    "GPU-0": {"amortization": Fraction(280_000, 3 * 8766), "storage": Fraction("0.25")},
    "GPU-1": {"rent": Fraction("3.67"), "storage": Fraction("0.25")},
    "GPU-2": {"storage": Fraction("0.25")},
}
"""Dollars an hour, by hand."""


def metered(story: list[SharedHostEvent]) -> tuple[CheckedMeter, list[tuple[Postings, State]]]:
    """The story through the meter, and every tick of it."""
    host, meter = SharedGpuHost(), CheckedMeter(tariff(), START - SECOND)
    outcomes = [meter.pass_by(SECOND, *host.first())]
    outcomes += [
        meter.pass_by(reported.duration, *host.then(reported), reported.holders) for reported in story
    ]
    return meter, [(outcome.postings, outcome.state) for outcome in outcomes]


@examples(100)
@given(stories)
def test_every_gpu_costs_its_price_whoever_holds_it(story: list[SharedHostEvent]) -> None:
    """Servers and `unallocated` are charged what the GPU accrued: not a picodollar more or less."""
    meter, _ = metered(story)
    elapsed = sum(reported.duration for reported in story)
    for gpu, rates in HOURLY.items():
        for component, rate in rates.items():
            assert meter.dollars(uuid=gpu, component=component) == int(rate * 10**12 * elapsed / HOUR)
        reported = {key[1] for key in meter.money if key[0] == gpu}
        assert reported - {"energy"} <= {*rates}
        joules = Fraction(meter.energy[gpu], 1000)
        paid = joules / 3_600_000 * Fraction("0.12") * Fraction("1.35") if gpu == "GPU-0" else Fraction(0)
        assert meter.dollars(uuid=gpu, component="energy") == int(paid * 10**12)


@examples(200)
@given(stories)
def test_every_second_is_where_the_contract_says(story: list[SharedHostEvent]) -> None:
    """Per GPU, server and kind of time what a reckoning in fractions gives; on each GPU together exactly."""
    meter, _ = metered(story)
    elapsed = sum(reported.duration for reported in story)
    allocated: Counter[Any] = Counter()
    for (uuid, owner, phase), duration in meter.gpu_time.items():
        allocated[uuid, owner.server, KINDS[phase]] += duration
    expected = ExactShares(story).due
    for gpu in HOURLY:
        assert sum(duration for key, duration in allocated.items() if key[0] == gpu) == elapsed
        assert sum(due for key, due in expected.items() if key[0] == gpu) == elapsed
    for key in {*allocated, *expected}:
        # parts, shares and busy are rounded to parts of 1e9 each; debts stay within some units
        assert abs(allocated[key] - expected.get(key, 0)) <= 4e-9 * elapsed + 8, key


@examples(40)
@given(stories)
def test_the_three_families_of_the_books_are_equal(story: list[SharedHostEvent]) -> None:
    """By server and phase, by server and component, by GPU and component; and the GPU time beside them."""
    meter, ticks = metered(story)
    ledger = Ledger.open(None, clock_at())
    for postings, state in ticks:
        ledger.post(postings, state)
    totals = ledger.totals(meter.wall, ())
    ledger.close()
    accrued = meter.state.accrued
    assert [sum(family.values()) for family in (totals.cost, totals.server_cost, totals.gpu_cost)] == [
        accrued
    ] * 3
    assert totals.residual == 0
    assert sum(totals.gpu_time.values()) == 3 * sum(reported.duration for reported in story)


@examples(40)
@given(stories)
def test_reported_shares_of_a_gpu_sum_to_it(story: list[SharedHostEvent]) -> None:
    """The parts by server and method sum to 1 on every GPU in every tick."""
    host, meter = SharedGpuHost(), CheckedMeter(tariff(), START - SECOND)
    meter.pass_by(SECOND, *host.first())
    for reported in story:
        outcome = meter.pass_by(reported.duration, *host.then(reported), reported.holders)
        for gpu in outcome.gpus:
            assert abs(sum(gpu.held_shares.values()) - 1) < 1e-9

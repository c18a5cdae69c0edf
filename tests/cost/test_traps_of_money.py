"""Mistakes that cost exporters have made with prices, GPUs and energy, each with a test that names it.

Read in the sources and issue trackers of other systems. Where a module's own tests go deeper, they say so.
"""

from dataclasses import replace
from decimal import Decimal

import pytest

from exporter.cost.policy import Weights
from exporter.cost.quotients import per_million
from exporter.readings import ServerKey, TokenKind
from exporter.tariff.terms import Electricity, Hardware, HardwareMatch, Rented, RentPrice
from tests.cost.checked_meter import CheckedMeter
from tests.cost.readings import BATCH, CHAT, START, allocate, cost_policy, h100, overhead, owned, page, rent
from tests.kit.units import DOLLAR, HOUR, SECOND

GENERATED = ("chat", "llama", "generation")


@pytest.fixture
def meter() -> CheckedMeter:
    """One GPU-second costs one dollar."""
    return CheckedMeter(cost_policy(rent(3600)))


def test_hourly_taken_for_monthly() -> None:
    """730 times too low: an hourly price divided by the hours of a month. An hour costs the hourly price."""
    meter = CheckedMeter(cost_policy(rent("3.67"), overheads=(overhead("storage", "730", "month", "gpu"),)))
    meter.tick(10, [h100()])
    meter.pass_by(HOUR, [h100()])
    assert meter.dollars(component="rent") == 3_670_000_000_000
    assert meter.dollars(component="storage") == 730 * DOLLAR // 720  # November has 720 hours


def test_percent_per_year_counted_once() -> None:
    """Support of 10 % a year over 3 years is 30 % of the purchase, not 10 %."""
    support = owned(support_dollars_per_year=Decimal(28_000))
    meter = CheckedMeter(cost_policy(support, gap_after=10**6 * HOUR), wall=1_767_225_600 * 10**9)
    meter.pass_by(0, [h100()])
    meter.pass_by(3 * 8766 * HOUR, [h100()])
    assert meter.dollars(component="support") == 3 * 28_000 * DOLLAR // 8


def test_the_price_of_an_instance_taken_for_that_of_a_gpu() -> None:
    """55.04 dollars an hour for 8 GPUs are 6.88 for each and 55.04 for all."""
    meter = CheckedMeter(cost_policy(rent("55.04", 8)))
    gpus = [h100(number) for number in range(8)]
    meter.tick(10, gpus)
    meter.pass_by(HOUR, gpus)
    assert meter.dollars(uuid="GPU-5") == 6_880_000_000_000
    assert meter.dollars() == 55_040_000_000_000


def test_a_silent_default_price() -> None:
    """Others assume 50 dollars a million, 0.95 an hour, or 0. It is unpriced, and so is its time."""
    meter = CheckedMeter(cost_policy(rent(1, match=HardwareMatch(gpu_model="*A100*"))))
    outcome = None
    for _ in range(2):
        outcome = meter.tick(10, [h100()], [page()], allocate(CHAT, 0))
    assert outcome is not None
    assert outcome.postings.segments[0].money == ()
    assert [allocated.unpriced for allocated in outcome.postings.segments[0].gpu_times] == [True]
    assert meter.seconds(server="chat") == 10
    assert per_million({}, {"generation": 10**6}, Weights()) == {}


def test_a_changed_price_reprices_the_past() -> None:
    """What has been accrued stays; a new tariff holds from the next tick on."""
    meter = CheckedMeter(cost_policy(rent(3600)))
    meter.tick(1, [h100()])
    meter.tick(10, [h100()])
    meter.policy = cost_policy(rent(7200))
    meter.tick(10, [h100()])
    assert meter.dollars() == (10 + 20) * DOLLAR


def test_a_tariff_with_a_price_that_begins_between_two_ticks() -> None:
    """A price that began just before a tick is not charged before it began."""
    prices = (RentPrice(Decimal(3600)), RentPrice(Decimal(0), since=START + 11 * SECOND))
    meter = CheckedMeter(cost_policy(Hardware(HardwareMatch(), Rented(prices), "x")))
    meter.tick(1, [h100()])
    meter.tick(30, [h100()])
    assert meter.dollars() == 10 * DOLLAR


def test_idle_is_free(meter: CheckedMeter) -> None:
    """A model without tokens looked free. Its dollars are idle dollars, and its quotient is absent, not 0."""
    for _ in range(2):
        meter.tick(10, [h100(utilization_ratio=0.0)], [page(running=0.0, generation=7)], allocate(CHAT, 0))
    assert meter.dollars(server="chat", phase="idle") == 10 * DOLLAR
    assert per_million({"idle": 10 * DOLLAR}, {"generation": 0}, Weights()) == {}


def test_idle_is_hidden_in_a_busy_price() -> None:
    """The full basis carries idle dollars; the busy basis says what it leaves out."""
    tokens: dict[TokenKind, int] = {"generation": 1_000_000}
    actual = per_million({"decode": DOLLAR, "idle": 3 * DOLLAR}, tokens, Weights())
    assert (actual["generation", "full"], actual["generation", "busy"]) == (4.0, 1.0)


def test_a_tensor_parallel_engine_charged_one_gpu() -> None:
    """All eight GPUs' dollars are the server's."""
    meter = CheckedMeter(cost_policy(rent(3600)))
    gpus = [h100(number) for number in range(8)]
    for _ in range(2):
        meter.tick(10, gpus, [page()], allocate(CHAT, *range(8)))
    assert meter.dollars(server="chat") == 80 * DOLLAR


def test_every_model_charged_the_whole(meter: CheckedMeter) -> None:
    """Two models of one server, and two servers of one GPU, share its dollars; none pays all of them."""
    holders = (*allocate(CHAT, 0), *allocate(BATCH, 0))
    server = replace(page(), models=("a", "b"), loads=())
    for _ in range(2):
        meter.tick(12, [h100(utilization_ratio=0.25)], [server], holders)
    assert meter.dollars(server="batch") == 6 * DOLLAR
    assert meter.dollars(server="chat", model="a") == meter.dollars(server="chat", model="b") == 3 * DOLLAR


@pytest.mark.parametrize("holders", [1, 2, 3, 7, 48])
def test_a_shared_gpu_copied_to_each(meter: CheckedMeter, holders: int) -> None:
    """Time-slicing and MIG gave each consumer the GPU's whole value. However many hold it, it is one GPU."""
    allocated = [holder for number in range(holders) for holder in allocate(ServerKey("", f"s{number}"), 0)]
    for tick in range(2):
        meter.tick(10, [h100(energy=5_000_000 * tick, power_limit_watts=700.0)], [], allocated)
    assert meter.dollars() == 10 * DOLLAR
    assert meter.seconds() == 10
    assert meter.energy == {"GPU-0": 5_000_000}


@pytest.mark.parametrize("utilization", [0.0, 0.333, 1.0])
def test_negative_idle(meter: CheckedMeter, utilization: float) -> None:
    """Idle is what is left of accrued money, never below zero: usage cannot exceed what was paid."""
    for generated in (0, 10**9):
        gpu = h100(utilization_ratio=utilization)
        meter.tick(10, [gpu], [page(generation=generated, running=500.0)], allocate(CHAT, 0))
    assert 0 <= meter.dollars(phase="idle") <= 10 * DOLLAR
    assert meter.dollars() == 10 * DOLLAR


def test_the_configured_interval_instead_of_the_elapsed_time(meter: CheckedMeter) -> None:
    """Late and early ticks cost what they lasted."""
    meter.tick(10, [h100()])
    for late in (10.004, 3.5, 41.0):
        meter.tick(late, [h100()])
    assert meter.dollars() == 54_504_000_000_000


def test_a_counter_reset_charged_as_energy() -> None:
    """The absolute difference after a driver reload was a charge for a year of power."""
    meter = CheckedMeter(cost_policy(rent(0, energy=Electricity(Decimal(3600)))))  # a dollar a kilojoule
    for joules in (900_000_000, 900_005_000, 1000, 6000, 11_000, 16_000):
        meter.tick(10, [h100(energy=joules * 1000, power_limit_watts=700.0)])
    assert meter.dollars() == (5 + 11 + 5) * DOLLAR


@pytest.mark.parametrize("sentinel", [2**64 - 1, 2**63, 2**32 - 1])
def test_a_sentinel_read_as_energy(sentinel: int) -> None:
    """`Not supported` as the largest number: refused and counted; power stands in, and nothing is lost."""
    meter = CheckedMeter(cost_policy(rent(0, energy=Electricity(Decimal(3600)))))
    counter = [10**9 + tick * 5_000_000 for tick in range(6)]
    counter[2] = sentinel
    for number, millijoules in enumerate(counter):
        gpu = h100(energy=millijoules, power_watts=500.0, power_limit_watts=700.0)
        outcome = meter.tick(10, [gpu])
        assert outcome.postings.implausible == (("energy", int(number in {2, 5})),)
    assert meter.dollars() == 25 * DOLLAR


def test_one_sample_of_electricity_missing() -> None:
    """A power reading that failed was 0 W. The next one stands for it."""
    meter = CheckedMeter(cost_policy(rent(0, energy=Electricity(Decimal(3600)))))
    for watts in (500.0, 500.0, None, 500.0):
        meter.tick(10, [h100(power_watts=watts)])
    assert meter.dollars() == 15 * DOLLAR


def test_idle_power_learned_under_load() -> None:
    """Only ticks at most 1 % busy teach it, and the lowest stays."""
    meter = CheckedMeter(cost_policy(rent(1)))
    joules = 0
    for watts, busy in ((400, 0.9), (70, 0.0), (650, 1.0), (80, 0.005)):
        joules += watts * 10
        gpu = h100(utilization_ratio=busy, energy=joules * 1000, power_limit_watts=700.0)
        meter.tick(10, [gpu], [], allocate(CHAT, 0))
    assert meter.state.gpus["GPU-0"].idle_watts == 70


def test_a_departed_gpu_is_forgotten(meter: CheckedMeter) -> None:
    """The bill for a GPU that fell off the bus goes on, and so do its dollars."""
    meter.tick(10, [h100(0), h100(1)])
    meter.tick(10, [h100(1)])
    assert meter.dollars(uuid="GPU-0", phase="idle") == 10 * DOLLAR


def test_an_empty_answer_taken_for_an_empty_host(meter: CheckedMeter) -> None:
    """NVML that does not answer is not a host without GPUs."""
    meter.tick(10, [h100()], [page()], allocate(CHAT, 0))
    meter.tick(10, None, [page()])
    assert meter.dollars(server="chat") == 10 * DOLLAR


def test_counters_in_memory_start_again() -> None:
    """Dollars restarted at 0 with the process. What is remembered goes on, to the picodollar."""
    meter = CheckedMeter(cost_policy(rent(1)))
    meter.tick(1, [h100()])
    for _ in range(100):
        meter.tick(0.0123, [h100()])
    state = meter.state
    again = meter.reread(state)
    again.tick(5, [h100()])
    for _ in range(100):
        again.tick(0.0123, [h100()])
    # 2.46 s at a dollar an hour: 683,333,333.33 picodollars; the carry went through the restart
    assert again.dollars() == 683_333_333

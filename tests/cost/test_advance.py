"""One tick of the cost model: what is charged, when, at which price and in which month."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest

from exporter.cost.advance import advance
from exporter.cost.policy import CostPolicy
from exporter.cost.postings import CostOwner, EnergyPosting
from exporter.cost.state import State
from exporter.readings import Frame
from exporter.tariff.tariff import Tariff
from exporter.tariff.terms import Electricity, Hardware, HardwareMatch, Rented, RentPrice
from tests.cost.checked_meter import CheckedMeter
from tests.cost.readings import (
    BATCH,
    CHAT,
    START,
    allocate,
    cost_policy,
    h100,
    moment,
    overhead,
    owned,
    page,
    rent,
)
from tests.kit.units import DOLLAR, HOUR, SECOND


def test_the_first_tick_charges_nothing() -> None:
    """It has no start; it sets marks and says who is there."""
    outcome = advance(State(), Frame(0, START, (h100(),), (page(),), allocate(CHAT, 0)), cost_policy(rent(1)))
    assert outcome.postings.segments == ()
    assert outcome.postings.energy == ()
    assert outcome.state.accrued == 0
    assert outcome.postings.owners == (CostOwner("unassigned", "unassigned", "", "chat", "llama"),)


def test_a_restarted_daemon_counts_tokens_from_its_marks_and_charges_from_now() -> None:
    """The time between belongs to the gap, which is charged apart; tokens are exact."""
    meter = CheckedMeter(cost_policy(rent(3600)))
    meter.tick(1, [h100()], [page(generation=5)], allocate(CHAT, 0))
    meter = meter.reread(meter.state)
    meter.tick(900, [h100()], [page(generation=25)], allocate(CHAT, 0))
    assert meter.tokens["chat", "llama", "generation"] == 20
    assert meter.dollars() == 0
    meter.tick(10, [h100()], [page(generation=25)], allocate(CHAT, 0))
    assert meter.dollars() == 10 * DOLLAR


def test_a_stepped_wall_clock_changes_no_money() -> None:
    """A tick is [now - elapsed, now]: an hour's step either way charges ten seconds."""
    meter = CheckedMeter(cost_policy(rent(3600)))
    meter.tick(1, [h100()])
    for step in (HOUR, -2 * HOUR):
        meter.wall += step
        outcome = meter.tick(10, [h100()])
        segments = outcome.postings.segments
        assert segments[-1].end - segments[0].start == 10 * SECOND
    assert meter.dollars() == 20 * DOLLAR


def test_a_boot_clock_that_goes_back_charges_nothing() -> None:
    """It cannot, and if it did no total would fall."""
    meter = CheckedMeter(cost_policy(rent(3600)))
    meter.tick(1, [h100()])
    meter.tick(-5, [h100()])
    assert meter.dollars() == 0


def test_elapsed_is_charged_not_the_interval() -> None:
    """Trap: the configured interval instead of the elapsed time. A late tick of 17.5 s costs 17.5 s."""
    meter = CheckedMeter(cost_policy(rent(3600)))
    meter.tick(1, [h100()])
    meter.tick(17.5, [h100()])
    assert meter.dollars() == 17_500_000_000_000


def test_a_price_holds_from_its_instant_on_within_a_tick() -> None:
    """`from` in the middle: 4 s at 3600 dollars an hour, 6 s at 7200, and the past is not repriced."""
    start = START + SECOND
    prices = (RentPrice(Decimal(3600)), RentPrice(Decimal(7200), since=start + 4 * SECOND))
    meter = CheckedMeter(cost_policy(Hardware(HardwareMatch(), Rented(prices), "x")))
    meter.tick(1, [h100()])
    meter.tick(10, [h100()])
    assert meter.dollars() == (4 + 12) * DOLLAR


def test_hardware_comes_into_service_within_a_tick() -> None:
    """Seconds before are not chargeable, cost nothing and are not unpriced; seconds after are amortized."""
    service = START + 5 * SECOND
    meter = CheckedMeter(
        cost_policy(owned(in_service=service, purchase_dollars=Decimal(3 * 8766 * 3600), gpus=1))
    )
    meter.tick(1, [h100()])
    outcome = meter.tick(10, [h100()])
    segments = outcome.postings.segments
    reported = [
        (allocated.unpriced, allocated.chargeable) for segment in segments for allocated in segment.gpu_times
    ]
    assert reported == [(False, 0), (False, 6 * SECOND)]
    assert [segment.unpriced for segment in segments] == [(), ()]
    assert meter.dollars() == 6 * DOLLAR


def test_an_unpriced_gpu_is_held_and_costs_nothing() -> None:
    """No silent default: its time is reported as unpriced."""
    meter = CheckedMeter(cost_policy(rent(1, match=HardwareMatch(uuid="GPU-7"))))
    meter.tick(1, [h100()])
    outcome = meter.tick(10, [h100()])
    (allocated,) = outcome.postings.segments[0].gpu_times
    assert (allocated.duration, allocated.unpriced) == (10 * SECOND, True)
    assert meter.dollars() == 0


def test_a_gpu_that_nobody_priced_is_charged_an_estimate_and_posted_as_one() -> None:
    """1,000 h of an H100 at the market's 3.875 dollars: 3,875 dollars, all of it of basis estimate."""
    meter = CheckedMeter(
        CostPolicy(Tariff("h", unmatched="estimate"), gap_after=2000 * HOUR, gap_max=2000 * HOUR)
    )
    meter.tick(1, [h100()])
    outcome = meter.tick(1000 * 3600, [h100()])
    money = [row for segment in outcome.postings.segments for row in segment.money]
    assert meter.dollars() == 3875 * DOLLAR
    assert {row.price_basis for row in money} == {"estimate"}


def test_energy_of_an_unpriced_gpu_is_counted_and_not_charged() -> None:
    """Joules are measured whatever they cost."""
    meter = CheckedMeter(
        cost_policy(rent(1, energy=Electricity(Decimal(1)), match=HardwareMatch(uuid="GPU-7")))
    )
    meter.tick(1, [h100(energy=0)])
    meter.tick(10, [h100(energy=5_000_000)])
    assert meter.energy == {"GPU-0": 5_000_000}
    assert meter.dollars() == 0


def test_a_gpu_that_reports_no_energy_has_no_energy_row() -> None:
    """Absent, never zero; one that reports it has a row also when nothing was used."""
    meter = CheckedMeter(cost_policy(rent(1)))
    meter.tick(1, [h100(0), h100(1, energy=7), h100(2, power_watts=0.0)])
    outcome = meter.tick(10, [h100(0), h100(1, energy=7), h100(2, power_watts=0.0)])
    names = [row.gpu.uuid for row in outcome.postings.energy]
    assert names == ["GPU-1", "GPU-2"]
    assert outcome.postings.energy[0] == EnergyPosting(h100(1).gpu, 0)


def test_implausible_energy_is_counted() -> None:
    """Two GPUs with an impossible delta in one tick."""
    meter = CheckedMeter(cost_policy(rent(1)))
    meter.tick(1, [h100(0, energy=0), h100(1, energy=0)])
    outcome = meter.tick(10, [h100(0, energy=10**12), h100(1, energy=10**12)])
    assert outcome.postings.implausible == (("energy", 2),)


def test_energy_is_spread_over_the_pieces_of_its_tick() -> None:
    """10 kJ in 10 s, cut at a month's end after 3 s: 3 kJ belong to November, to the last millijoule."""
    price = Electricity(Decimal(3600))  # a dollar a kilojoule
    meter = CheckedMeter(cost_policy(rent(0, energy=price)), wall=moment("2026-11-30T23:59:56+00:00"))
    meter.tick(1, [h100(energy=0)])
    meter.tick(10, [h100(energy=10_000_001, power_limit_watts=1000.0)])
    assert meter.months["2026-11", "GPU-0", "energy"] == pytest.approx(3 * DOLLAR, rel=1e-6)
    assert meter.dollars() == 10_000_001_000_000


def test_a_gpu_stays_when_it_is_not_reported() -> None:
    """A GPU that fell off the bus is paid for; one that comes is paid for from its first tick's end."""
    meter = CheckedMeter(cost_policy(rent(3600)))
    meter.tick(1, [h100(0)])
    meter.tick(10, [h100(0), h100(1)])
    meter.tick(10, [])
    assert meter.dollars(uuid="GPU-0") == 20 * DOLLAR
    # A GPU is charged for the tick at whose end it is first seen: an interval is charged as its end shows.
    assert meter.dollars(uuid="GPU-1") == 20 * DOLLAR


def test_no_gpu_is_no_money() -> None:
    """A host without GPUs, and one whose NVML never answered, post nothing."""
    meter = CheckedMeter(cost_policy(rent(1), overheads=(overhead("rack", "1", "hour", "host"),)))
    for gpus in ([], None, None):
        meter.tick(10, gpus, [page(generation=1)])
    assert meter.dollars() == 0


def test_an_overhead_of_the_host_is_divided_by_its_gpus() -> None:
    """1.10 dollars an hour over 8 GPUs for an hour: 1.10 in all, 0.1375 for each."""
    meter = CheckedMeter(cost_policy(rent(0), overheads=(overhead("network", "1.10", "hour", "host"),)))
    gpus = [h100(number) for number in range(8)]
    meter.tick(1, gpus)
    for _ in range(360):
        meter.tick(10, gpus)
    assert meter.dollars(component="network") == 1_100_000_000_000
    assert meter.dollars(component="network", uuid="GPU-3") == 137_500_000_000


@pytest.mark.parametrize(
    ("zone", "start", "hours"),
    [
        ("UTC", "2026-02-01T00:00:00+00:00", 672),
        ("UTC", "2028-02-01T00:00:00+00:00", 696),
        ("Europe/Berlin", "2026-03-01T00:00:00+01:00", 743),
        ("America/New_York", "2026-03-01T00:00:00-05:00", 743),
        ("America/New_York", "2026-11-01T00:00:00-04:00", 721),
        ("Pacific/Auckland", "2026-04-01T00:00:00+13:00", 721),
        ("Pacific/Auckland", "2026-09-01T00:00:00+12:00", 719),
    ],
)
def test_a_monthly_amount_accrues_to_exactly_itself(zone: str, start: str, hours: int) -> None:
    """To the picodollar, in every month whatever its length, in ticks that do not fit it."""
    amounts = (overhead("storage", "9.20", "month", "gpu"), overhead("network", "10", "month", "host"))
    meter = CheckedMeter(
        cost_policy(overheads=amounts, zone=ZoneInfo(zone), gap_after=24 * HOUR), moment(start) - HOUR
    )
    gpus = [h100(number) for number in range(3)]
    holders = (*allocate(CHAT, 0, 1, share=0.3), *allocate(BATCH, 1, 2, share=0.7))
    meter.tick(2599.9, gpus, [], holders)
    while meter.wall < moment(start) + hours * HOUR + 1000 * SECOND:
        meter.tick(9000.123456789, gpus, [], holders)
    for gpu in ("GPU-0", "GPU-1", "GPU-2"):
        assert meter.months[start[:7], gpu, "storage"] == 9_200_000_000_000
        # a third of 10 dollars is no whole number of picodollars: what is left below one is carried
        assert abs(meter.months[start[:7], gpu, "network"] - Fraction(10 * DOLLAR, 3)) < 1


def test_every_party_of_a_server_is_seen_from_its_first_sight() -> None:
    """A counter starts at 0, so that an increase can be seen; unallocated is a party as well."""
    meter = CheckedMeter(cost_policy(rent(1)))
    outcome = meter.tick(1, [h100()], [page(), replace(page(BATCH), models=("a", "b"), loads=())])
    observed = [(owner.server, owner.model) for owner in outcome.postings.owners]
    assert observed == [("batch", "a"), ("batch", "b"), ("chat", "llama"), ("unallocated", "")]


def test_rounding_debts_of_a_party_that_left_are_dropped() -> None:
    """What is remembered is bounded by who is here."""
    meter = CheckedMeter(cost_policy(rent("0.000000000003")))
    meter.tick(1, [h100()], [], (*allocate(CHAT, 0), *allocate(BATCH, 0)))
    for _ in range(7):
        meter.tick(3.3, [h100()], [], (*allocate(CHAT, 0), *allocate(BATCH, 0)))
    meter.tick(3.3, [h100()], [], allocate(CHAT, 0))
    due = meter.state.gpus["GPU-0"].rounding
    assert {owner_phase.owner.server for debts in due.values() for owner_phase in debts} == {"chat"}


def test_a_change_of_time_zone_at_a_months_edge_charges_each_hour_once() -> None:
    """At 2 dollars an hour: each hour is of the month that it has in the zone in force when it is charged.

    In Kiritimati, 14 hours ahead, two hours of October and two of November; then by UTC the last 12 of
    October and two of November. Postings say which zone their days are of.
    """
    meter = CheckedMeter(
        cost_policy(rent(2), zone=ZoneInfo("Pacific/Kiritimati")), moment("2026-10-31T07:00:00+00:00")
    )
    reported = [meter.tick(3600, [h100()]).postings.zone for _ in range(5)]
    meter.policy = replace(meter.policy, zone=ZoneInfo("UTC"))
    reported += [meter.tick(3600, [h100()]).postings.zone for _ in range(14)]
    assert reported == ["Pacific/Kiritimati"] * 5 + ["UTC"] * 14
    assert meter.months == {
        ("2026-10", "GPU-0", "rent"): 14 * 2 * DOLLAR,
        ("2026-11", "GPU-0", "rent"): 4 * 2 * DOLLAR,
    }

"""The time that nobody watched is charged once, to the last holders, by what the host was known to be.

Everything here is worked out by hand at 3.60 dollars an hour: a thousandth of a dollar a second.
"""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from exporter.cost.advance import TickOutcome, advance
from exporter.cost.intervals import ChargedInterval, IntervalKind, since_last
from exporter.cost.policy import CostPolicy
from exporter.cost.state import State
from exporter.readings import CounterReading, Frame, Gpu, GpuReading, Holder, ServerKey, ServerReading
from exporter.tariff.tariff import Tariff
from exporter.tariff.terms import (
    Billing,
    Electricity,
    Hardware,
    HardwareMatch,
    Overhead,
    Owned,
    Rented,
    RentPrice,
)
from exporter.units import NANOSECONDS_PER_SECOND as SECOND
from exporter.units import PICODOLLARS_PER_DOLLAR
from tests.kit.units import DAY, HOUR, MINUTE

NOON = 1_795_608_000 * SECOND  # 2026-11-25T12:00:00Z
UPTIME = 50 * DAY
GPU = Gpu("GPU-0", "H100")
CHAT, BATCH = ServerKey("", "chat"), ServerKey("", "batch")
MILLI = PICODOLLARS_PER_DOLLAR // 1000
FIRST = CounterReading("generation", "m", "generation", 1000.0)


def rented(billing: Billing) -> CostPolicy:
    return CostPolicy(Tariff("h", (rule(Rented((RentPrice(Decimal("3.60")),), billing)),)))


def rule(policy: Rented | Owned, energy: Electricity | None = None) -> Hardware:
    return Hardware(HardwareMatch(), policy, "hardware[0]", energy)


def frame(
    after: int,
    *,
    boot: str = "boot-1",
    elapsed: int | None = None,
    asleep: int = 0,
    wall: int | None = None,
    holder: ServerKey = CHAT,
    energy: int | None = None,
    tokens: float = 1000.0,
    gpus: tuple[Gpu, ...] = (GPU,),
) -> Frame:
    """A frame so long after noon, in the same boot unless another is given."""
    since_boot = UPTIME + after if elapsed is None else elapsed
    return Frame(
        elapsed=since_boot,
        wall=NOON + after if wall is None else wall,
        gpus=tuple(
            GpuReading(gpu, index, utilization_ratio=0.5, power_limit_watts=700.0, energy=energy)
            for index, gpu in enumerate(gpus)
        ),
        servers=(
            ServerReading(
                CHAT,
                "http://chat",
                up=True,
                identity="p1",
                counters=(replace(FIRST, value=tokens),),
                models=("m",),
            ),
        ),
        holders=tuple(Holder(holder, gpu.uuid) for gpu in gpus),
        awake=since_boot - asleep,
        boot=boot,
    )


def watched(policy: CostPolicy, first: Frame | None = None) -> State:
    """What is remembered after a first tick at noon."""
    return advance(State(), first or frame(0), policy).state


def charged(outcome: TickOutcome) -> float:
    """Thousandths of a dollar that accrued in one tick."""
    return sum(segment.accrued for segment in outcome.postings.segments) / MILLI


def phases(outcome: TickOutcome) -> set[tuple[str, str]]:
    """Who paid, and for what."""
    rows = [row for segment in outcome.postings.segments for row in segment.money]
    return {(row.owner_phase.owner.server, row.owner_phase.phase) for row in rows}


ALWAYS, WHILE_UP = rented("always"), rented("while_up")


@pytest.mark.parametrize("policy", [ALWAYS, WHILE_UP])
def test_a_daemon_that_was_down_charges_all_of_it(policy: CostPolicy) -> None:
    """The host was up: an hour without the daemon is an hour of rent, unobserved, and exact to its end."""
    outcome = advance(watched(policy), frame(HOUR), policy)

    assert charged(outcome) == 3600
    assert phases(outcome) == {("chat", "unobserved")}
    assert outcome.state.uncharged == 0


def test_a_short_stop_is_an_ordinary_tick() -> None:
    """A restart within a minute is observed: NVML reported how busy the GPU was."""
    outcome = advance(watched(WHILE_UP), frame(MINUTE), WHILE_UP)

    assert charged(outcome) == 60
    assert {phase for _, phase in phases(outcome)} == {"idle", "other"}


@pytest.mark.parametrize("policy", [ALWAYS, WHILE_UP])
def test_a_reboot_within_a_quarter_of_an_hour_charges_all_of_it(policy: CostPolicy) -> None:
    """Down for 10 minutes, up for 5: no cloud stops billing for a reboot."""
    outcome = advance(watched(policy), frame(15 * MINUTE, boot="boot-2", elapsed=5 * MINUTE), policy)

    assert charged(outcome) == 15 * 60


def test_a_host_that_was_down_longer_pays_rent_by_the_hour_only_while_it_was_up() -> None:
    """Down for 3 h 55 min of 4: 5 minutes since boot, and two intervals after the last tick."""
    back = frame(4 * HOUR, boot="boot-2", elapsed=5 * MINUTE)

    assert charged(advance(watched(WHILE_UP), back, WHILE_UP)) == 5 * 60 + 20
    assert charged(advance(watched(ALWAYS), back, ALWAYS)) == 4 * 3600


def test_a_suspended_host_pays_no_hourly_rent_for_it() -> None:
    """Asleep for 50 of 60 minutes, or for a second; less is the difference of two clocks."""
    for asleep, awake in ((50 * MINUTE, 600), (SECOND, 3599), (SECOND - 1, 3600)):
        back = frame(HOUR, asleep=asleep)

        assert charged(advance(watched(WHILE_UP), back, WHILE_UP)) == awake
        assert charged(advance(watched(ALWAYS), back, ALWAYS)) == 3600


def test_owned_hardware_and_overheads_cost_all_of_it() -> None:
    """31,557.60 dollars over a year is 3.60 an hour; 8.64 dollars an overhead's day 0.36: 4 hours down."""
    owned = Owned(Decimal("31557.60"), 1, NOON - DAY, "2026-11-24", Decimal(1))
    overhead = Overhead("network", Decimal("0.36"), "hour", "host", "overheads[0]")
    policy = CostPolicy(Tariff("h", (rule(owned),), (overhead,)))

    outcome = advance(watched(policy), frame(4 * HOUR, boot="boot-2", elapsed=MINUTE), policy)

    assert charged(outcome) == pytest.approx(4 * 3960, abs=1e-8)


def test_a_gap_longer_than_a_week_is_charged_for_a_week() -> None:
    """Ten days down: seven are charged, three are counted as not charged; so across a boot."""
    same = advance(watched(ALWAYS), frame(10 * DAY), ALWAYS)
    other = advance(watched(ALWAYS), frame(10 * DAY, boot="boot-2", elapsed=HOUR), ALWAYS)

    for outcome in (same, other):
        assert charged(outcome) == 7 * 86_400
        assert outcome.state.uncharged == 3 * DAY
        assert outcome.postings.segments[0].start == NOON + 3 * DAY


@pytest.mark.parametrize("policy", [ALWAYS, WHILE_UP])
@pytest.mark.parametrize("wall", [NOON - 365 * DAY, NOON - DAY, NOON, NOON + 3 * SECOND])
def test_a_clock_that_is_behind_across_a_boot_charges_the_time_since_boot(
    policy: CostPolicy, wall: int
) -> None:
    """The boot clock proves 43 seconds, whether the wall clock shows 3 of them or a year less."""
    back = frame(0, boot="boot-2", elapsed=43 * SECOND, wall=wall)

    outcome = advance(watched(policy), back, policy)

    assert charged(outcome) == 43
    first, *_, last = (outcome.postings.segments[0], *outcome.postings.segments)
    assert (first.start, last.end) == (wall - 43 * SECOND, wall)


@pytest.mark.parametrize(
    ("before", "boot"),
    [({"same_machine": False}, "boot-2"), ({"boot": ""}, "boot-2"), ({}, "")],
    ids=["adopted", "unknown then", "unknown now"],
)
def test_a_boot_that_may_have_begun_before_the_last_tick_proves_nothing(
    before: dict[str, Any], boot: str
) -> None:
    """The host is up for 50 days, and the ledger of another one was written 3 seconds ago."""
    state = replace(watched(ALWAYS), **before)
    back = frame(0, boot=boot, elapsed=50 * DAY, wall=NOON + 3 * SECOND)

    outcome = advance(state, back, ALWAYS)

    assert charged(outcome) == 3
    assert outcome.state.same_machine


def test_the_time_since_a_boot_has_the_bound_of_every_gap() -> None:
    """Ten days up with a clock that stands at the last tick: seven are charged, three are not."""
    back = frame(0, boot="boot-2", elapsed=10 * DAY, wall=NOON)

    outcome = advance(watched(ALWAYS), back, ALWAYS)

    assert charged(outcome) == 7 * 86_400
    assert outcome.state.uncharged == 3 * DAY


@pytest.mark.parametrize("step", [-DAY, DAY])
def test_a_wall_clock_that_is_stepped_changes_no_money_within_a_boot(step: int) -> None:
    """An hour by the boot clock is an hour."""
    outcome = advance(watched(ALWAYS), frame(HOUR, wall=NOON + HOUR + step), ALWAYS)

    assert charged(outcome) == 3600


def test_a_gap_is_paid_by_the_last_known_holder() -> None:
    """Who holds the GPU now was not seen to hold it then."""
    outcome = advance(watched(ALWAYS), frame(HOUR, holder=BATCH), ALWAYS)
    after = advance(outcome.state, frame(HOUR + 10 * SECOND, holder=BATCH), ALWAYS)

    assert phases(outcome) == {("chat", "unobserved")}
    assert {server for server, _ in phases(after)} == {"batch"}


def test_a_gpu_that_was_not_there_before_pays_nothing_for_it() -> None:
    """A second GPU is new after the gap: it pays from then on."""
    both = (GPU, Gpu("GPU-1", "H100"))
    outcome = advance(watched(ALWAYS), frame(HOUR, gpus=both), ALWAYS)
    after = advance(outcome.state, frame(HOUR + 10 * SECOND, gpus=both), ALWAYS)

    assert charged(outcome) == 3600
    assert charged(after) == 20


def test_tokens_across_a_gap_are_exact() -> None:
    """The marks tell what was served meanwhile, and it is counted once."""
    outcome = advance(watched(ALWAYS), frame(HOUR, tokens=1750.0), ALWAYS)

    assert [tokens.count for tokens in outcome.postings.tokens] == [750]


def test_the_months_of_a_gap_are_those_it_covers() -> None:
    """Down from noon of the 25th for 6 days: 5.5 days of November and half a day of December."""
    outcome = advance(watched(ALWAYS), frame(6 * DAY), ALWAYS)

    months: dict[str, int] = {}
    for segment in outcome.postings.segments:
        months[segment.month] = months.get(segment.month, 0) + segment.accrued
    assert months == {"2026-11": 5 * 86_400 * MILLI + 43_200 * MILLI, "2026-12": 43_200 * MILLI}


ELECTRIC = CostPolicy(
    Tariff("h", (rule(Rented((RentPrice(Decimal(0)),), "always"), Electricity(Decimal("0.36"))),))
)
"""0.36 dollars for 3.6 million joules: a ten-millionth of a dollar per joule, 0.0001 MILLI."""


def joules(outcome: TickOutcome) -> float:
    """Joules that arrived in one tick."""
    return sum(row.energy for row in outcome.postings.energy) / 1000


def test_energy_across_a_gap_is_the_counters_delta() -> None:
    """300 W for an hour is 1.08 million joules, and costs 0.108 dollars."""
    before = watched(ELECTRIC, frame(0, energy=5_000_000))
    outcome = advance(before, frame(HOUR, energy=5_000_000 + 1_080_000_000), ELECTRIC)

    assert joules(outcome) == 1_080_000
    assert charged(outcome) == 108


def test_energy_across_a_boot_is_the_counters_value() -> None:
    """The driver began at zero with the boot; what came before is not invented, a higher value no delta."""
    before = watched(ELECTRIC, frame(0, energy=5_000_000))
    for since_boot in (4_000_000, 9_000_000):
        back = frame(HOUR, boot="boot-2", elapsed=5 * MINUTE, energy=since_boot)

        assert joules(advance(before, back, ELECTRIC)) == since_boot / 1000


def test_energy_of_a_boot_whose_first_reads_fail_is_counted_later() -> None:
    """NVML comes up a tick after the daemon: the counter's value since the boot is still counted whole."""
    before = watched(ELECTRIC, frame(0, energy=5_000_000))
    silent = replace(frame(HOUR, boot="boot-2", elapsed=MINUTE), gpus=None)
    first = advance(before, silent, ELECTRIC)
    later = frame(HOUR + 10 * SECOND, boot="boot-2", elapsed=MINUTE + 10 * SECOND, energy=7_000_000)

    assert joules(first) == 0
    assert joules(advance(first.state, later, ELECTRIC)) == 7000


def test_a_gap_invents_no_energy() -> None:
    """Without a counter, the power of now says nothing about an hour ago."""
    powered = replace(frame(HOUR), gpus=(GpuReading(GPU, 0, utilization_ratio=0.5, power_watts=300.0),))
    outcome = advance(watched(ELECTRIC), powered, ELECTRIC)

    assert joules(outcome) == 0


def test_without_a_last_tick_there_is_nothing_to_charge() -> None:
    """A fresh ledger charges from now."""
    assert since_last(State(), frame(0), ALWAYS) is None


def test_hourly_rent_is_charged_by_what_of_a_stretch_the_host_was_up() -> None:
    """[0, 10) and [50, 60) are up: half of [5, 15), nothing of [20, 40), all of [50, 60)."""
    interval = ChargedInterval(0, 60, IntervalKind.GAP, up=((0, 10), (50, 60)))

    assert [interval.up_between(5, 15), interval.up_between(20, 40), interval.up_between(50, 60)] == [
        5,
        0,
        10,
    ]

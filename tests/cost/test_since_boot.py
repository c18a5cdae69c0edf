"""Books that are the first of a boot charge hourly rent since that boot, and nothing else.

Worked by hand at 3.60 dollars an hour: a thousandth of a dollar a second.
"""

from collections import Counter
from dataclasses import replace
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from exporter.cost.advance import TickOutcome, advance
from exporter.cost.late_accrual import charge_late
from exporter.cost.policy import CostPolicy
from exporter.cost.state import State
from exporter.readings import Frame, GpuReading
from exporter.tariff.tariff import Tariff
from exporter.tariff.terms import Electricity, Hardware, HardwareMatch, Rented, RentPrice
from tests.cost.readings import CHAT, allocate, cost_policy, h100, moment, overhead, owned, page, rent
from tests.kit.units import HOUR, MINUTE, SECOND

NOON = moment("2026-11-25T12:00:00+00:00")
MILLI = 10**9
"""A thousandth of a dollar in picodollars."""
FRESH = State(fresh_in="boot-1")
HOURLY = cost_policy(rent("3.60"))


def frame(
    elapsed: int = 20 * MINUTE,
    wall: int = NOON,
    *,
    boot: str = "boot-1",
    asleep: int = 0,
    gpus: tuple[GpuReading, ...] | None = (h100(0, energy=900_000_000, power_watts=300.0),),
    tokens: int = 5000,
) -> Frame:
    """What is read so long after the boot; a server holds the GPU."""
    return Frame(
        elapsed,
        wall,
        gpus,
        (page(generation=tokens),),
        allocate(CHAT, 0),
        awake=elapsed - asleep,
        boot=boot,
    )


def later(first: Frame, **changes: object) -> Frame:
    """The next tick, ten seconds on."""
    reported = {"elapsed": first.elapsed + 10 * SECOND, "wall": first.wall + 10 * SECOND, **changes}
    awake = reported["elapsed"] - (first.elapsed - (first.awake or 0))  # type: ignore[operator]
    return replace(first, awake=awake, **reported)  # type: ignore[arg-type]


def charged(outcome: TickOutcome) -> float:
    """Thousandths of a dollar, all of which went to somebody."""
    for segment in outcome.postings.segments:
        assert segment.accrued == sum(row.amount for row in segment.money)
        assert {row.gpu for row in segment.money} <= {row.gpu for row in segment.gpu_times}
    return sum(segment.accrued for segment in outcome.postings.segments) / MILLI


def months(outcome: TickOutcome) -> dict[str, float]:
    actual: Counter[str] = Counter()
    for segment in outcome.postings.segments:
        actual[segment.month] += segment.accrued // MILLI
    return dict(actual)


def components(outcome: TickOutcome) -> set[tuple[str, str, str]]:
    """Server, phase and component of all money."""
    rows = [row for segment in outcome.postings.segments for row in segment.money]
    return {(row.owner_phase.owner.server, row.owner_phase.phase, row.component) for row in rows}


def test_hourly_rent_is_charged_since_the_boot() -> None:
    """20 minutes are 1,200 s and 1.20 dollars, for nobody whom we saw; GPU time likewise."""
    outcome = advance(FRESH, frame(), HOURLY)

    assert charged(outcome) == 1200
    assert components(outcome) == {("unallocated", "unobserved", "rent")}
    allocated = [row for segment in outcome.postings.segments for row in segment.gpu_times]
    assert sum(row.duration for row in allocated) == 20 * MINUTE
    assert {row.unpriced for row in allocated} == {False}
    assert outcome.state.accrued == 1200 * MILLI


def test_it_is_charged_once() -> None:
    """The next tick is ten seconds of the server that holds the GPU."""
    first = advance(FRESH, frame(), HOURLY)
    second = advance(first.state, later(frame()), HOURLY)

    assert first.state.fresh_in == ""
    assert charged(second) == 10
    assert {server for server, _phase, _component in components(second)} == {"chat"}


def test_what_follows_a_gap_without_gpus_is_no_gap() -> None:
    """The daemon stands still for 20 minutes before a GPU is listed: the first page shows it busy."""
    empty = advance(FRESH, frame(gpus=()), HOURLY)
    listed = later(frame(), elapsed=40 * MINUTE, wall=NOON + 20 * MINUTE)
    outcome = advance(empty.state, listed, HOURLY)

    assert charged(outcome) == 2400
    assert [{key.phase for key in gpu.phase_weights} for gpu in outcome.gpus] == [{"other"}]


def test_all_other_books_begin_now() -> None:
    """Those that nothing is known of, and those of another boot."""
    assert charged(advance(State(), frame(), HOURLY)) == 0
    assert charged(advance(State(fresh_in="boot-0"), frame(), HOURLY)) == 0
    assert charged(advance(State(), frame(boot=""), HOURLY)) == 0


@pytest.mark.parametrize(("since_boot", "milli"), [(HOUR - 1, 3600), (HOUR, 0)])
def test_only_within_an_hour_of_the_boot(since_boot: int, milli: float) -> None:
    """A nanosecond less than an hour is an hour's 3.60 dollars, an hour is nothing."""
    assert charged(advance(FRESH, frame(since_boot), HOURLY)) == pytest.approx(milli, abs=1e-5)


def test_what_is_not_billed_by_the_hour_begins_now() -> None:
    """A lease, owned hardware, its energy and overheads: no money, no GPU time, no time that is metered."""
    leased = Hardware(HardwareMatch(), Rented((RentPrice(Decimal("3.60")),), "always"), "lease")
    power = Electricity(Decimal("0.36"))
    network = overhead("network", "3.60", "hour", "host")
    for reported in (
        cost_policy(leased, overheads=(network,)),
        cost_policy(owned(power)),
        cost_policy(overheads=(network,)),
    ):
        first = advance(FRESH, frame(), reported)
        assert first.postings.segments == ()
        assert first.postings.energy == ()
        assert first.state.fresh_in == ""


def test_with_hourly_rent_overheads_and_energy_begin_now() -> None:
    """20 minutes of rent alone; the tick after it has 10 s of each, and the joules since the first one."""
    reported = cost_policy(
        rent("3.60", energy=Electricity(Decimal("0.36"))),  # 1e-7 dollars a joule
        overheads=(overhead("network", "3.60", "hour", "host"),),
    )
    first = advance(FRESH, frame(), reported)
    more = (h100(0, energy=900_000_000 + 2_000_000),)
    second = advance(first.state, later(frame(), gpus=more), reported)

    assert (charged(first), components(first)) == (1200, {("unallocated", "unobserved", "rent")})
    # 10 s of rent, 10 s of network, and 2,000 J at a ten-thousandth of a thousandth each.
    assert charged(second) == 10 + 10 + 0.2


def test_on_a_host_of_both_only_the_gpus_that_are_rented_are_charged() -> None:
    """GPU-0 is rented, GPU-1 is owned."""
    reported = cost_policy(rent("3.60", match=HardwareMatch(uuid="GPU-0")), owned())
    outcome = advance(FRESH, frame(gpus=(h100(0), h100(1))), reported)

    allocated = [row for segment in outcome.postings.segments for row in segment.gpu_times]
    assert charged(outcome) == 1200
    assert {row.gpu.uuid for row in allocated} == {"GPU-0"}
    assert sum(row.duration for row in allocated) == 20 * MINUTE


def test_tokens_from_before_are_not_ours() -> None:
    """The first sight of a running server is a baseline as ever."""
    first = advance(FRESH, frame(tokens=5000), HOURLY)
    second = advance(first.state, later(frame(tokens=5700)), HOURLY)

    assert sum(row.count for row in first.postings.tokens) == 0
    assert sum(row.count for row in second.postings.tokens) == 700


def test_it_waits_for_the_first_gpu() -> None:
    """The driver comes up eight minutes after the daemon: 28 minutes since boot are 1.68 dollars."""
    state = FRESH
    for minute in range(20, 28):
        silent = None if minute % 2 else ()
        outcome = advance(state, frame(minute * MINUTE, NOON + (minute - 20) * MINUTE, gpus=silent), HOURLY)
        state = outcome.state
        assert (charged(outcome), state.fresh_in) == (0, "boot-1")
    outcome = advance(state, frame(28 * MINUTE, NOON + 8 * MINUTE), HOURLY)

    assert charged(outcome) == 1680
    assert outcome.state.fresh_in == ""
    # Power was not measured before, so none of it is taken for what it is now.
    assert outcome.postings.energy == ()


def test_a_host_that_slept_since_its_boot_was_not_billed_for_it() -> None:
    """5 of 20 minutes asleep: 900 s."""
    assert charged(advance(FRESH, frame(asleep=5 * MINUTE), HOURLY)) == 900


def test_it_is_posted_into_the_months_that_it_covers() -> None:
    """Booted at 23:50 of 30 November, first tick 20 minutes later: 600 s in each month."""
    outcome = advance(FRESH, frame(wall=moment("2026-12-01T00:10:00+00:00")), HOURLY)

    assert months(outcome) == {"2026-11": 600, "2026-12": 600}


def test_the_month_is_that_of_the_configured_zone() -> None:
    """In Auckland December begins at 11:00 UTC of 30 November (UTC+13): 5 and 15 minutes of 20."""
    reported = replace(HOURLY, zone=ZoneInfo("Pacific/Auckland"))
    outcome = advance(FRESH, frame(wall=moment("2026-11-30T11:15:00+00:00")), reported)

    assert months(outcome) == {"2026-11": 300, "2026-12": 900}


def test_a_price_that_begins_meanwhile_holds_from_its_instant() -> None:
    """3.60 until 11:52, then 7.20: 720 s and twice 480 s. Before the first price nothing is known."""
    cut = moment("2026-11-25T11:52:00+00:00")
    doubled = Rented((RentPrice(Decimal("3.60")), RentPrice(Decimal("7.20"), since=cut)))
    begun = Rented((RentPrice(Decimal("7.20"), since=cut),))
    outcomes = [
        advance(FRESH, frame(), cost_policy(Hardware(HardwareMatch(), each, "x")))
        for each in (doubled, begun)
    ]

    assert [charged(outcome) for outcome in outcomes] == [720 + 960, 960]
    assert outcomes[1].postings.segments[0].start == cut


def test_no_more_is_charged_than_is_believed() -> None:
    """With `gap.max_days` at five minutes, a quarter of an hour is counted as not charged."""
    outcome = advance(FRESH, frame(), cost_policy(rent("3.60"), gap_max=5 * MINUTE))

    assert (charged(outcome), outcome.state.uncharged) == (300, 15 * MINUTE)


def test_what_is_shown_of_the_first_tick_is_what_is_read() -> None:
    """The time before is nobody's, the GPU is the server's now."""
    (gpu,) = advance(FRESH, frame(), HOURLY).gpus

    assert [share.key for share in gpu.shares] == [CHAT]


def test_unpriced_hardware_is_not_counted_since_the_boot() -> None:
    """Nothing says that it is billed by the hour."""
    reported: CostPolicy = cost_policy()
    assert advance(FRESH, frame(), reported).postings.segments == ()


def test_hardware_whose_price_the_cloud_has_yet_to_tell_is_kept_for_it() -> None:
    """20 minutes, of which 5 asleep: GPU time without a price, for hourly rent alone.

    3.60 dollars an hour are 900 thousandths then; a lease, owned hardware and its energy have nothing of it.
    """
    power = Electricity(Decimal("0.36"))
    network = overhead("network", "3.60", "hour", "host")
    asking = CostPolicy(Tariff("host-1", (), (network,), location_pending=True))
    outcome = advance(FRESH, frame(asleep=5 * MINUTE), asking)
    waiting = [one for segment in outcome.postings.segments for one in segment.unpriced]

    assert (charged(outcome), outcome.state.fresh_in) == (0, "")
    allocated = [row for segment in outcome.postings.segments for row in segment.gpu_times]
    assert {(row.owner_phase.owner.server, row.owner_phase.phase, row.unpriced) for row in allocated} == {
        ("unallocated", "unobserved", True)
    }
    used = [usage for one in waiting for usage in one.usage.values()]
    assert {one.hourly_only for one in waiting} == {True}
    assert sum(usage.time for usage in used) == sum(row.duration for row in allocated) == 20 * MINUTE
    assert (sum(usage.up for usage in used), sum(usage.energy for usage in used)) == (15 * MINUTE, 0)
    leased = Hardware(HardwareMatch(), Rented((RentPrice(Decimal("3.60")),), "always"), "lease")
    for hardware, milli in ((rent("3.60", energy=power), 900), (leased, 0), (owned(power), 0)):
        _, late = charge_late(outcome.state, waiting, cost_policy(hardware), NOON)
        assert sum(segment.accrued for segment in late.segments) == milli * MILLI
        settled = [row for segment in late.segments for row in segment.gpu_times]
        assert sum(row.duration for row in settled) == 20 * MINUTE
        assert not any(left.usage for left in late.left)

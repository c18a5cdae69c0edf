"""Time without a price is charged when its price comes: once, for what it covers, to those who held it."""

from dataclasses import replace
from decimal import Decimal
from zoneinfo import ZoneInfo

from exporter.cost.advance import advance
from exporter.cost.late_accrual import charge_late
from exporter.cost.policy import OwnershipRule
from exporter.cost.postings import CostOwner, GpuUse, LateCharges, MoneyPosting, OwnerPhase, UnpricedTime
from exporter.cost.state import Carry, GpuState, State
from exporter.readings import UNSEEN, Frame, Gpu
from exporter.tariff.terms import Billing, Electricity, Hardware, HardwareMatch, Rented, RentPrice
from tests.cost.checked_meter import CheckedMeter
from tests.cost.exact_model import by_hour
from tests.cost.readings import BATCH, CHAT, START, allocate, cost_policy, h100, moment, overhead, owned, rent
from tests.kit.units import DOLLAR, HOUR, MINUTE, SECOND

GPU = Gpu("GPU-0", "NVIDIA H100")
ALICE = CostOwner("chat", "assistants", "", "chat", "llama")
BOB = CostOwner("search", "retrieval", "", "embed", "bge")
UNKNOWN = State(gpus={"GPU-0": GpuState(GPU, 0)})
LATER = START + 1000 * HOUR
"""Long after: nothing of it is by the minute."""


def dated(*prices: tuple[str, int | None], billing: Billing = "while_up") -> Hardware:
    """Rent by the hour from some instants on."""
    reported = tuple(RentPrice(Decimal(hourly), since=since) for hourly, since in prices)
    return Hardware(HardwareMatch(), Rented(reported, billing), "hardware[0]")


def hours(
    count: int, start: int = START, energy: int = 0, *, down: bool = False, day: str = "2026-11-10"
) -> list[UnpricedTime]:
    """Whole hours of one GPU: three quarters Alice's decoding, one quarter Bob's rest."""
    quarter = 15 * MINUTE
    usage = {
        OwnerPhase(ALICE, "decode"): GpuUse(3 * quarter, 0 if down else 3 * quarter, energy),
        OwnerPhase(BOB, "idle"): GpuUse(quarter, 0 if down else quarter, 0),
    }
    return [
        UnpricedTime(GPU, day, start + number * HOUR, start + (number + 1) * HOUR, usage, number + 1)
        for number in range(count)
    ]


def entries(late: LateCharges) -> list[MoneyPosting]:
    return [entry for segment in late.segments for entry in segment.money]


def paid(late: LateCharges, **fields: object) -> int:
    """Picodollars of a party, a component or all."""
    actual = 0
    for entry in entries(late):
        names = {
            "owner": entry.owner_phase.owner,
            "component": entry.component,
            "phase": entry.owner_phase.phase,
        }
        actual += entry.amount if fields.items() <= names.items() else 0
    return actual


def test_a_price_that_covers_two_of_three_hours_charges_two() -> None:
    """3 h without a price, then 3.60 dollars an hour from the second hour on: 7.20, by 3 to 1."""
    state, late = charge_late(UNKNOWN, hours(3), cost_policy(dated(("3.60", START + HOUR))), LATER)

    # 2 h x 3.60 = 7.20; three quarters are 5.40, one quarter is 1.80.
    assert (paid(late, owner=ALICE), paid(late, owner=BOB)) == (5_400_000_000_000, 1_800_000_000_000)
    assert (state.accrued, sum(segment.accrued for segment in late.segments)) == (72 * DOLLAR // 10,) * 2
    assert [(segment.start, segment.end, segment.day) for segment in late.segments] == [
        (START + HOUR, START + 2 * HOUR, "2026-11-10"),
        (START + 2 * HOUR, START + 3 * HOUR, "2026-11-10"),
    ]
    assert [(left.number, left.usage) for left in late.left] == [(2, {}), (3, {})]
    assert {(entry.owner_phase.phase, entry.component, entry.price_basis) for entry in entries(late)} == {
        ("decode", "rent", "configured"),
        ("idle", "rent", "configured"),
    }


def test_without_a_price_nothing_is_charged() -> None:
    """No rule, a rule of another GPU, a price that begins later: everything still waits."""
    other = rent(1, match=HardwareMatch(gpu_model="A100"))
    for hardware in ((), (other,), (dated(("3.60", START + 3 * HOUR)),)):
        assert charge_late(UNKNOWN, hours(3), cost_policy(*hardware), LATER) == (UNKNOWN, LateCharges())


def test_a_price_inside_an_hour_charges_the_part_that_it_covers() -> None:
    """3.60 dollars an hour from 00:40 on: a third of the hour is 1.20; 40 minutes still wait, by 3 to 1."""
    _, late = charge_late(UNKNOWN, hours(1), cost_policy(dated(("3.60", START + 40 * MINUTE))), LATER)

    (left,) = late.left
    assert paid(late) == 12 * DOLLAR // 10
    assert (left.start, left.end) == (START, START + 40 * MINUTE)
    assert left.usage == {
        OwnerPhase(ALICE, "decode"): GpuUse(30 * MINUTE, 30 * MINUTE, 0),
        OwnerPhase(BOB, "idle"): GpuUse(10 * MINUTE, 10 * MINUTE, 0),
    }


def test_an_earlier_price_that_comes_after_charges_only_what_still_waits() -> None:
    """From 00:40, again from 00:40, from 00:10, from always: 20, 0, 30 and 10 minutes at a cent a 10 s."""
    waiting = hours(1)
    state, reported = UNKNOWN, []
    for since in (START + 40 * MINUTE, START + 40 * MINUTE, START + 10 * MINUTE, None):
        state, late = charge_late(state, waiting, cost_policy(dated(("3.60", since))), LATER)
        waiting = list(late.left) or waiting
        reported.append(paid(late) * 60 // (36 * DOLLAR // 10))

    assert reported == [20, 0, 30, 10]
    assert [left.usage for left in waiting] == [{}]
    assert state.accrued == 36 * DOLLAR // 10


def test_prices_that_change_inside_an_hour_are_each_charged() -> None:
    """3.60 for 20 minutes, 7.20 for 40: 1.20 + 4.80."""
    _, late = charge_late(
        UNKNOWN, hours(1), cost_policy(dated(("3.60", None), ("7.20", START + 20 * MINUTE))), LATER
    )

    assert [segment.accrued for segment in late.segments] == [12 * DOLLAR // 10, 48 * DOLLAR // 10]
    assert late.left[0].usage == {}


def test_hourly_rent_is_not_owed_for_time_that_the_host_was_down() -> None:
    """A lease is; either way the time no longer waits."""
    requested = {
        billing: charge_late(
            UNKNOWN, hours(2, down=True), cost_policy(dated(("3.60", None), billing=billing)), LATER
        )[1]
        for billing in ("while_up", "always")
    }

    assert {billing: paid(late) for billing, late in requested.items()} == {
        "while_up": 0,
        "always": 72 * DOLLAR // 10,
    }
    assert [left.usage for late in requested.values() for left in late.left] == [{}] * 4


def test_owned_hardware_is_charged_with_its_energy() -> None:
    """8 GPUs for 280,000 dollars over 3 years and 28,000 a year of support, an hour of one, 0.7 kWh of it."""
    power = Electricity(Decimal("0.12"), pue_ratio=Decimal("1.4"), host_factor_ratio=Decimal("1.5"))
    hardware = owned(energy=power, support_dollars_per_year=Decimal(28_000))
    _, late = charge_late(UNKNOWN, hours(1, energy=2_520_000_000), cost_policy(hardware), LATER)

    # 280000 / (3 x 8766) / 8 = 1.330899688189...; 28000 / 8766 / 8 = 0.399269906456...
    # 0.7 kWh x 1.4 x 1.5 x 0.12 = 0.1764, all of it Alice's, whose work drew it.
    assert paid(late, component="amortization") == 1_330_899_688_189
    assert paid(late, component="support") == 399_269_906_456
    assert paid(late, component="energy", owner=ALICE) == 176_400_000_000
    assert paid(late, component="energy", owner=BOB) == 0


def test_energy_that_was_not_kept_is_not_invented() -> None:
    """Time of an earlier release knows none: everything but energy is charged."""
    power = Electricity(Decimal("0.12"))
    _, late = charge_late(UNKNOWN, hours(1), cost_policy(owned(energy=power)), LATER)

    assert {entry.component for entry in entries(late)} == {"amortization"}


def test_overheads_are_not_charged_again() -> None:
    """They accrued when the time passed, with a price of the hardware or without."""
    network = overhead("network", "1.10", "hour", "host")
    _, late = charge_late(UNKNOWN, hours(1), cost_policy(rent("3.60"), overheads=(network,)), LATER)

    assert {entry.component for entry in entries(late)} == {"rent"}


def test_money_goes_to_the_month_that_the_time_is_in() -> None:
    """A gap over a month's end in Auckland, charged later: what falls in December is December's."""
    zone = ZoneInfo("Pacific/Auckland")
    meter = CheckedMeter(cost_policy(zone=zone), moment("2026-11-30T22:00:00+13:00"))
    meter.tick(1, [h100()])
    gap = meter.pass_by(4 * HOUR, [h100()]).postings
    _, late = charge_late(meter.state, by_hour([gap]), cost_policy(rent("3.60"), zone=zone), LATER)

    months: dict[str, int] = {}
    for segment in late.segments:
        months[segment.month] = months.get(segment.month, 0) + segment.accrued
    # From 22:00:01 to midnight and from midnight to 02:00:01.
    assert months == {"2026-11": 7_199_000_000_000, "2026-12": 7_201_000_000_000}
    assert {entry.owner_phase.phase for entry in entries(late)} == {"unobserved"}


def test_money_goes_to_those_who_held_the_gpu_then() -> None:
    """Chat was assistants' when the time passed; that it is search's now moves nothing."""
    then = CheckedMeter(cost_policy(ownership=(OwnershipRule("chat", "assistants"),)))
    holders = (*allocate(CHAT, 0, share=0.7), *allocate(BATCH, 0, share=0.3))
    ticks = [then.tick(60, [h100(utilization_ratio=0.5)], [], holders).postings for _ in range(61)]
    now = cost_policy(rent("3.60"), ownership=(OwnershipRule("search", "retrieval"),))
    _, late = charge_late(then.state, by_hour(ticks), now, LATER)

    # An hour of one GPU, shared 0.7 to 0.3.
    by_server: dict[tuple[str, str], int] = {}
    for entry in entries(late):
        key = (entry.owner_phase.owner.product, entry.owner_phase.owner.server)
        by_server[key] = by_server.get(key, 0) + entry.amount
    assert by_server == {("chat", "chat"): 252 * DOLLAR // 100, ("chat", "batch"): 108 * DOLLAR // 100}


def test_the_last_hour_is_charged_by_the_minute() -> None:
    """Quotients look at whole minutes: each gets its 6 cents, and what is older falls by the hour."""
    _, late = charge_late(UNKNOWN, hours(3), cost_policy(rent("3.60")), START + 3 * HOUR + 30 * SECOND)

    lengths = [segment.end - segment.start for segment in late.segments]
    # Of the second hour the last whole minute is within 62 minutes.
    assert lengths == [HOUR, 59 * MINUTE, *[MINUTE] * 61]
    assert {segment.accrued for segment in late.segments[2:]} == {6 * DOLLAR // 100}


def test_what_accrual_leaves_is_carried_on() -> None:
    """A third of a picodollar an hour: the carry of the ticks before and three hours make one."""
    odd = Hardware(HardwareMatch(), Rented((RentPrice(Decimal("1e-12"), gpus=3),)), "hardware[0]")
    period = 3 * HOUR
    state = State(gpus={"GPU-0": GpuState(GPU, 0, carries={"rent": Carry(1, period)})})
    after, late = charge_late(state, hours(3), cost_policy(odd), LATER)

    assert [segment.accrued for segment in late.segments] == [0, 0, 1]
    assert after.gpus["GPU-0"].carries == {"rent": Carry(1, period)}


def test_what_accrual_leaves_stays_with_its_gpu() -> None:
    """A third of a picodollar an hour: one model's two thirds and another's third are no picodollar."""
    odd = Hardware(HardwareMatch(), Rented((RentPrice(Decimal("1e-12"), gpus=3),)), "hardware[0]")
    models = ("NVIDIA H100", "NVIDIA H100", "NVIDIA A100")
    waiting = [replace(hour, gpu=Gpu(UNSEEN, model)) for hour, model in zip(hours(3), models, strict=True)]
    _, late = charge_late(State(), waiting, cost_policy(odd), LATER)

    assert [segment.accrued for segment in late.segments] == [0, 0, 0]


def test_no_party_is_favored_by_rounding() -> None:
    """A picodollar an hour over ten hours, for two who used the same: five each."""
    usage = {OwnerPhase(owner, "idle"): GpuUse(HOUR // 2, HOUR // 2, 0) for owner in (ALICE, BOB)}
    waiting = [replace(hour, usage=usage) for hour in hours(10)]
    _, late = charge_late(UNKNOWN, waiting, cost_policy(rent("1e-12")), LATER)

    assert (paid(late, owner=ALICE), paid(late, owner=BOB)) == (5, 5)


def test_a_gpu_that_is_gone_is_charged_all_the_same() -> None:
    """Nothing is remembered of it but the time that waits."""
    state, late = charge_late(State(accrued=5), hours(1), cost_policy(rent("3.60")), LATER)

    assert paid(late) == 36 * DOLLAR // 10
    assert state == State(accrued=5 + 36 * DOLLAR // 10)


def test_free_hardware_settles_its_time() -> None:
    """A price of nothing is a price."""
    _, late = charge_late(UNKNOWN, hours(1), cost_policy(rent(0)), LATER)

    assert (paid(late), [left.usage for left in late.left]) == (0, [{}])
    assert sum(allocated.duration for segment in late.segments for allocated in segment.gpu_times) == HOUR


def test_a_stretch_of_no_length_is_charged_whole() -> None:
    """Wall clocks that were set back leave such; its time is real."""
    (hour,) = hours(1)
    _, late = charge_late(UNKNOWN, [replace(hour, end=hour.start)], cost_policy(rent("3.60")), LATER)

    assert paid(late) == 36 * DOLLAR // 10


def used(meter: CheckedMeter) -> dict[tuple[str, str], GpuUse]:
    """What the last tick says was used without a price, by server and phase."""
    assert meter.outcome is not None
    return {
        (owner_phase.owner.server, owner_phase.phase): usage
        for segment in meter.outcome.postings.segments
        for unpriced in segment.unpriced
        for owner_phase, usage in unpriced.usage.items()
    }


def test_a_tick_posts_the_usage_of_a_gpu_without_a_price() -> None:
    """Time by time and joules by what drew them: 100 W of idling for 7.5 s are 750 J of 4 kJ."""
    meter = CheckedMeter(cost_policy())
    for joules, busy in ((0, 0.0), (1000, 0.0), (5000, 0.25)):
        gpu = h100(utilization_ratio=busy, energy=joules * 1000, power_limit_watts=700.0)
        meter.tick(10, [gpu], [], allocate(CHAT, 0))

    assert used(meter) == {
        ("chat", "idle"): GpuUse(7_500_000_000, 7_500_000_000, 750_000),
        ("chat", "other"): GpuUse(2_500_000_000, 2_500_000_000, 3_250_000),
    }


def test_a_tick_with_a_price_leaves_nothing_that_waits() -> None:
    """Overheads are no price of the hardware."""
    for hardware, waits in (((rent(1),), False), ((), True)):
        meter = CheckedMeter(cost_policy(*hardware, overheads=(overhead("network", "1.10", "hour", "host"),)))
        for _ in range(2):
            meter.tick(10, [h100()])
        assert bool(used(meter)) == waits


def test_a_gap_without_a_price_keeps_the_time_that_the_host_was_up() -> None:
    """Down for 3 h 55 min of 4 h: up for two intervals after the last tick, and since the boot."""
    requested = cost_policy()
    last = Frame(elapsed=9 * HOUR, wall=START, gpus=(h100(),), boot="one")
    back = Frame(elapsed=5 * MINUTE, wall=START + 4 * HOUR, gpus=(h100(),), boot="two")
    outcome = advance(advance(State(), last, requested).state, back, requested)
    stored = by_hour([outcome.postings])
    _, late = charge_late(outcome.state, stored, cost_policy(rent("3.60")), LATER)

    usages = [usage for unpriced in stored for usage in unpriced.usage.values()]
    assert sum(usage.time for usage in usages) == 4 * HOUR
    assert sum(usage.up for usage in usages) == 5 * MINUTE + 20 * SECOND
    # 320 s at 3.60 an hour, as on the page about the cost model.
    assert paid(late) == 32 * DOLLAR // 100

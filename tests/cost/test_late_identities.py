"""Metered without a price and priced later is metered with the price, whatever happened."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from exporter.cost.late_accrual import charge_late
from exporter.cost.postings import GpuUse, LateCharges, OwnerPhase, UnpricedTime
from exporter.cost.state import State
from exporter.tariff.rate import Rate
from tests.cost.checked_meter import CheckedMeter
from tests.cost.exact_model import by_hour
from tests.cost.host_strategies import KILOWATT_HOUR, OVERHEADS, HostTimeline, StrategyHost, priced, timelines
from tests.cost.readings import cost_policy
from tests.depth import examples
from tests.kit.units import HOUR, MINUTE, SECOND

LATEST = 10**19
DEAREST = 81
"""Picodollars that a millijoule costs in these worlds, rounded up: 0.12 x 1.35 x 1.8 dollars a kWh. A
nanosecond costs 2 at most."""


def unpriced(timeline: HostTimeline) -> HostTimeline:
    return replace(timeline, policy=cost_policy(overheads=OVERHEADS))


def metered(timeline: HostTimeline) -> tuple[CheckedMeter, list[UnpricedTime]]:
    """The world's story through a meter, and what waited for a price after it, by the hour."""
    host, ticks = StrategyHost(timeline), []
    meter = CheckedMeter(timeline.policy, timeline.start - SECOND)
    meter.pass_by(SECOND, *host.first(), timeline.holders)
    for event in timeline.events:
        outcome = meter.pass_by(event.duration, *host.then(event), timeline.holders)
        ticks.append(outcome.postings)
    return meter, by_hour(ticks)


def settle(meter: CheckedMeter, late: LateCharges) -> None:
    """Add what was charged late to a meter's money."""
    for segment in late.segments:
        assert segment.accrued == sum(entry.amount for entry in segment.money)
        assert all(entry.amount > 0 for entry in segment.money)
        for entry in segment.money:
            meter.money[
                entry.gpu.uuid, entry.component, entry.owner_phase.owner, entry.owner_phase.phase
            ] += entry.amount
            meter.months[segment.month, entry.gpu.uuid, entry.component] += entry.amount


@examples(150)
@given(timelines(), st.data())
def test_late_is_the_same_money_in_total(timeline: HostTimeline, data: st.DataObject) -> None:
    """By GPU and component, to the picodollar: also where the rent changes inside an hour, in any batches."""
    at_once, _ = metered(timeline)
    meter, waiting = metered(unpriced(timeline))
    cut = data.draw(st.integers(0, len(waiting)))
    now = data.draw(st.sampled_from([meter.wall, meter.wall + 30 * MINUTE, LATEST]))
    state = meter.state
    for batch in (waiting[:cut], waiting[cut:]):
        state, late = charge_late(state, batch, timeline.policy, now)
        assert all(left.usage == {} for left in late.left)
        settle(meter, late)

    totals = [{}, {}]  # type: ignore[var-annotated]
    for total, one in zip(totals, (at_once, meter), strict=True):
        for (uuid, component, _owner, _phase), amount in one.money.items():
            total[uuid, component] = total.get((uuid, component), 0) + amount
    # A price that changes converts the carry: up to a picodollar a change.
    assert totals[0].keys() == totals[1].keys()
    for key, amount in totals[0].items():
        assert abs(amount - totals[1][key]) <= (1 if key[1] == "rent" else 0)
    assert state.accrued == sum(meter.money.values())


@examples(100)
@given(timelines())
def test_each_party_pays_the_same_within_what_a_cut_rounds(timeline: HostTimeline) -> None:
    """Under a price that does not change: a picodollar, a nanosecond and a millijoule for each tick's cut."""
    flat = replace(timeline, policy=priced(timeline.start - HOUR))
    at_once, _ = metered(flat)
    meter, waiting = metered(unpriced(timeline))
    assert meter.outcome is not None
    cuts = (
        sum(1 + event.duration // MINUTE for event in timeline.events) + len(timeline.events) + len(waiting)
    )
    _, late = charge_late(meter.state, waiting, flat.policy, meter.wall + 2 * HOUR)
    settle(meter, late)

    for key in {*at_once.money, *meter.money}:
        assert abs(at_once.money[key] - meter.money[key]) <= cuts * (1 + 2 + DEAREST), key


amounts = st.integers(0, 2 * HOUR)
usages = st.builds(GpuUse, amounts, amounts, st.integers(0, 10**9))


@examples(200)
@given(timelines(), st.lists(st.integers(-MINUTE, 4 * HOUR), min_size=1, max_size=4), st.data())
def test_whatever_prices_come_in_whatever_order_no_time_is_lost_or_charged_twice(
    timeline: HostTimeline, froms: list[int], data: st.DataObject
) -> None:
    """What is settled and what still waits is what waited, slot by slot, after each price."""
    _, waiting = metered(unpriced(timeline))
    waiting_times = [
        replace(
            waiting_time,
            usage={owner_phase: data.draw(usages) for owner_phase in waiting_time.usage},
            number=number,
        )
        for number, waiting_time in enumerate(waiting, 1)
    ]
    state = State()
    waited = total(waiting_times)
    for offset in froms:
        requested = priced(timeline.start, gap_max=LATEST)
        rule = requested.tariff.hardware[1]
        since = replace(
            rule.pricing, prices=(replace(rule.pricing.prices[0], since=timeline.start + offset),)
        )  # type: ignore[call-arg,union-attr]
        tariff = replace(requested.tariff, hardware=(replace(rule, pricing=since),))
        state, late = charge_late(state, waiting_times, replace(requested, tariff=tariff), LATEST)
        settled: dict[tuple[str, OwnerPhase], int] = {}
        for segment in late.segments:
            assert segment.accrued == sum(entry.amount for entry in segment.money)
            assert segment.start >= timeline.start + offset
            for allocated in segment.gpu_times:
                key = (allocated.gpu.uuid, allocated.owner_phase)
                settled[key] = settled.get(key, 0) + allocated.duration
        left = {waiting_time.number: waiting_time for waiting_time in late.left}
        waiting_times = [left.get(waiting_time.number, waiting_time) for waiting_time in waiting_times]
        still = total(waiting_times)
        for key, time in waited.items():
            assert time == still.get(key, 0) + settled.get(key, 0)
        waited = still


def total(waiting_times: list[UnpricedTime]) -> dict[tuple[str, OwnerPhase], int]:
    actual: dict[tuple[str, OwnerPhase], int] = {}
    for waiting_time in waiting_times:
        for owner_phase, used in waiting_time.usage.items():
            actual[waiting_time.gpu.uuid, owner_phase] = (
                actual.get((waiting_time.gpu.uuid, owner_phase), 0) + used.time
            )
    return actual


def test_the_bounds_of_these_worlds_are_right() -> None:
    """0.12 x 1.35 x 1.8 dollars for 3.6e9 millijoules are 81 picodollars each; 6.88 an hour 1.9 a ns."""
    price = (
        KILOWATT_HOUR.dollars_per_kilowatt_hour * KILOWATT_HOUR.pue_ratio * KILOWATT_HOUR.host_factor_ratio
    )
    assert 80 < float(price) * 1e12 / 3.6e9 <= DEAREST
    assert Rate(6_880_000_000_000, HOUR).amount / HOUR < 2

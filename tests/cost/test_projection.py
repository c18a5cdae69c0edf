"""Where the month ends, and what is being spent now."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cost.advance import GpuOutcome
from exporter.cost.policy import CostPolicy
from exporter.cost.postings import (
    PHASES,
    CostOwner,
    EnergyPosting,
    GpuTimePosting,
    MoneyPosting,
    OwnerPhase,
    Postings,
    Segment,
)
from exporter.cost.projection import (
    Projection,
    RecentUsage,
    UsageHour,
    current_prices,
    energy_by_product,
    energy_dollars_per_hour,
    first_prices,
    project,
    rates,
)
from exporter.readings import Gpu
from exporter.tariff.terms import Electricity, Hardware, HardwareMatch, Rented, RentPrice, Retirement
from tests.cost.checked_meter import CheckedMeter
from tests.cost.readings import BATCH, CHAT, allocate, cost_policy, h100, moment, overhead, owned, page, rent
from tests.kit.units import DAY, DOLLAR, HOUR, MINUTE, SECOND

ON_THE_15TH = moment("2026-11-15T00:00:00+00:00")
"""14 days into a month of 30: 384 hours are left."""


def now(meter: CheckedMeter) -> dict[str, float]:
    """Dollars per hour by server."""
    assert meter.outcome is not None
    prices = current_prices(meter.outcome.gpus, meter.wall, meter.policy)
    return {owner.server: rate for owner, rate in rates(meter.outcome.gpus, prices).total.items()}


def gpu(number: int = 0) -> Gpu:
    return Gpu(f"GPU-{number}", "NVIDIA H100")


def held_by(product: str = "chat", number: int = 0) -> GpuOutcome:
    """A GPU that a product holds now."""
    owner_phase = OwnerPhase(CostOwner(product, "team", "", "server", ""), "other")
    return GpuOutcome(gpu(number), number, h100(number), (), {}, {owner_phase: 1}, None)


def day(
    now: int,
    owners: Mapping[int, Iterable[tuple[str, int, int]]],
    *,
    down: Iterable[tuple[int, int]] = (),
    watts: Mapping[str, int] | None = None,
    first_held: Mapping[str, int] | None = None,
    begun: int | None = None,
    intermittent: Iterable[str] = (),
) -> RecentUsage:
    """The hours of a day, from who held each GPU from when until when."""
    begun = now - DAY if begun is None else begun
    hours = []
    for start in range(begun // HOUR * HOUR, now, HOUR):
        span = max(start, begun), min(start + HOUR, now)
        time: dict[Gpu, dict[str, int]] = {}
        energy: dict[Gpu, dict[str, int]] = {}
        for number, spells in owners.items():
            for product, since, until in spells:
                allocated = max(0, min(until, span[1]) - max(since, span[0]))
                if allocated:
                    one = time.setdefault(gpu(number), {})
                    one[product] = one.get(product, 0) + allocated
                    used = (watts or {}).get(product, 0) * allocated * 1000 // SECOND
                    joules = energy.setdefault(gpu(number), {})
                    joules[product] = joules.get(product, 0) + used
        off = sum(max(0, min(until, span[1]) - max(since, span[0])) for since, until in down)
        hours.append(UsageHour(start, span[1] - span[0], off, time, energy))
    return RecentUsage(tuple(hours), first_held or {}, frozenset(intermittent))


def rented(*prices: tuple[str | None, str], gpus: int = 1, **fields: Any) -> Hardware:
    """Rent at these prices, each from its date on."""
    dated = tuple(
        RentPrice(Decimal(dollars), gpus, None if since is None else moment(f"{since}T00:00:00+00:00"))
        for since, dollars in prices
    )
    return Hardware(HardwareMatch(), Rented(dated, **fields), "hardware[0]")


def projected(
    by: CostPolicy,
    usage: RecentUsage,
    now: int = ON_THE_15TH,
    to_date: Mapping[str, int] | None = None,
    gpus: Iterable[GpuOutcome] | None = None,
) -> Projection:
    actual = project(gpus or [held_by()], usage, to_date or {}, now, by)
    assert actual is not None
    return actual


def ends(projection: Projection) -> dict[str, float]:
    """Dollars at the month's end by product."""
    return {product: amount / DOLLAR for product, amount in projection.totals().items()}


def whole_day(now: int = ON_THE_15TH, product: str = "chat", gpus: int = 1) -> RecentUsage:
    """The same product on each GPU all day."""
    return day(now, {number: [(product, now - DAY, now)] for number in range(gpus)})


def test_a_projection_is_the_month_to_date_and_the_hours_left_by_the_tariff() -> None:
    """1000 dollars so far, 10 dollars an hour for 100 hours: 2000."""
    now = moment("2026-11-26T20:00:00+00:00")
    actual = projected(cost_policy(rent(10)), whole_day(now), now, {"chat": 1000 * DOLLAR})
    assert ends(actual) == {"chat": 2000.0}
    assert actual.price_change_ratio == 1.0


def test_a_price_that_falls_on_the_16th() -> None:
    """From the 12th at noon on the host was charged 55.04: 60 h, then 24 h more, then 360 h at 10.

    60 x 55.04 = 3,302.40 so far; 24 x 55.04 = 1,320.96; 15 x 24 x 10 = 3,600 would make 8,223.36.
    """
    by = cost_policy(rented((None, "55.04"), ("2026-11-16", "10")))
    actual = projected(by, whole_day(), to_date={"chat": 330240 * DOLLAR // 100})
    assert ends(actual) == {"chat": pytest.approx(3302.40 + 1320.96 + 3600)}
    assert [(period.end - period.start) // HOUR for period in actual.periods] == [24, 360]
    assert [period.dollars_per_hour for period in actual.periods] == [pytest.approx(55.04), 10.0]
    assert actual.price_change_ratio == pytest.approx((1320.96 + 3600) / (384 * 55.04))


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        # 12 h at the old price until the 16th, 24 h before it are in the month: (24 + 12) h and 15 days.
        ("55.04", "10", 36 * 55.04 + 360 * 10),  # 5,581.44
        ("10", "55.04", 36 * 10 + 360 * 55.04),  # 20,174.40
    ],
)
def test_a_dated_change_at_noon_of_the_15th(before: str, after: str, expected: float) -> None:
    """A host metered for 24 hours, 12 hours before the change: the table of the issue."""
    now = ON_THE_15TH + 12 * HOUR
    so_far = int(Decimal(before) * 24 * DOLLAR)
    by = cost_policy(rented((None, before), ("2026-11-16", after)))
    actual = projected(by, whole_day(now), now, {"chat": so_far})
    assert ends(actual) == {"chat": pytest.approx(expected)}


def test_a_life_that_ends_in_the_month() -> None:
    """2,800,000 dollars over 4 years of 8,766 hours are 79.854 an hour, and nothing after the 15th at noon.

    24 hours are in the month and 12 are left of its life: 36 hours, 2,874.74 dollars.
    """
    hardware = owned(
        purchase_dollars=Decimal(2_800_000),
        gpus=1,
        in_service=ON_THE_15TH + 12 * HOUR - 4 * 8766 * HOUR,
        life_years=Decimal(4),
    )
    so_far = 24 * 2_800_000 * DOLLAR // (4 * 8766)
    assert ends(projected(cost_policy(hardware), whole_day(), to_date={"chat": so_far})) == {
        "chat": pytest.approx(2874.74, abs=0.01)
    }


def test_an_hour_that_changes_after_its_end_counts_as_it_is_now() -> None:
    """All day the GPU was of one product, and by what was posted late half of it of another."""
    now = ON_THE_15TH
    noon = now - DAY // 2
    spells = [("chat", now - DAY, noon), ("search", noon, now)]
    late = day(now, {0: spells}, intermittent=["chat"])
    for usage, expected in ((whole_day(), {"chat": 1.0}), (late, {"chat": 0.5, "search": 0.5})) * 2:
        actual = projected(cost_policy(rent(10)), usage)
        left = sum(period.amount for period in actual.periods)
        assert {product: amount / left for product, amount in actual.rest.items()} == expected


def test_a_product_that_is_an_hour_old_counts_by_its_own_hour() -> None:
    """10 dollars so far and 467 hours left at 10: 4,680, though nobody held its GPU for 23 hours."""
    now = moment("2026-11-11T13:00:00+00:00")
    usage = day(
        now,
        {0: [("unassigned", now - DAY, now - HOUR), ("chat", now - HOUR, now)]},
        first_held={"unassigned": 0, "chat": now - HOUR},
    )
    actual = projected(cost_policy(rent(10)), usage, now, {"chat": 10 * DOLLAR, "unassigned": 230 * DOLLAR})
    assert ends(actual) == {"chat": 4680.0, "unassigned": 230.0}


def test_a_product_that_arrives_inside_an_hour() -> None:
    """At half past: of the hour that it began in, the half hour before it is another's."""
    now = moment("2026-11-11T13:40:00+00:00")
    arrived = now - 70 * MINUTE
    usage = day(
        now,
        {0: [("old", now - DAY, arrived), ("new", arrived, now)]},
        first_held={"old": 0, "new": arrived},
    )
    left = (moment("2026-12-01T00:00:00+00:00") - now) / HOUR
    actual = projected(cost_policy(rent(10)), usage, now, {"old": DOLLAR})
    assert ends(actual) == {"new": pytest.approx(10 * left), "old": 1.0}


def test_a_newcomer_that_shares_a_gpu_takes_its_part() -> None:
    """A quarter of an hour in each half hour since it came, 90 minutes ago inside an hour: half of it."""
    now = moment("2026-11-11T14:00:00+00:00")
    arrived = now - 90 * MINUTE
    spells = [("old", now - DAY, arrived)]
    for start in range(arrived, now, 30 * MINUTE):
        spells += [("new", start, start + 15 * MINUTE), ("old", start + 15 * MINUTE, start + 30 * MINUTE)]
    usage = day(now, {0: spells}, first_held={"old": 0, "new": arrived})
    actual = projected(cost_policy(rent(10)), usage, now)
    assert actual.rest["new"] == actual.rest["old"] == sum(period.amount for period in actual.periods) // 2


def test_a_product_that_was_renamed_is_not_projected_on() -> None:
    """Ten minutes after the new name appeared, its GPU is its own; month to date stays the old one's."""
    now = ON_THE_15TH
    usage = day(
        now,
        {0: [("old", now - DAY, now - 10 * MINUTE), ("new", now - 10 * MINUTE, now)]},
        first_held={"old": 0, "new": now - 10 * MINUTE},
    )
    actual = projected(cost_policy(rent(10)), usage, to_date={"old": 500 * DOLLAR})
    assert ends(actual) == {"new": 3840.0, "old": 500.0}


def test_a_product_that_left_two_hours_ago_is_not_projected_on() -> None:
    """Nobody holds its GPU any more: the rest is unassigned. A product that comes and goes keeps its part."""
    now = ON_THE_15TH
    spells = {0: [("batch", now - DAY, now - 6 * HOUR), ("unassigned", now - 6 * HOUR, now)]}
    gone = projected(cost_policy(rent(10)), day(now, spells))
    assert ends(gone) == {"unassigned": 3840.0}
    comes_and_goes = projected(cost_policy(rent(10)), day(now, spells, intermittent=["batch"]))
    assert ends(comes_and_goes) == {"batch": 2880.0, "unassigned": 960.0}


def test_a_server_that_restarts_keeps_its_part() -> None:
    """Half an hour without its GPU out of 24 hours: 47 of 48."""
    now = ON_THE_15TH
    usage = day(now, {0: [("chat", now - DAY, now - HOUR // 2), ("unassigned", now - HOUR // 2, now)]})
    assert ends(projected(cost_policy(rent(10)), usage)) == {"chat": 3760.0, "unassigned": 80.0}


@pytest.mark.parametrize(
    ("hours", "expected"),
    [(1, {"chat": 3680.0, "unassigned": 160.0}), (2, {"unassigned": 3840.0})],
)
def test_a_product_has_left_after_two_hours_without_a_gpu(hours: int, expected: dict[str, float]) -> None:
    """After one hour it has its 23 of 24."""
    now = ON_THE_15TH
    ended = now - hours * HOUR
    usage = day(now, {0: [("chat", now - DAY, ended), ("unassigned", ended, now)]})
    assert ends(projected(cost_policy(rent(10)), usage)) == expected


def test_a_host_that_is_up_for_8_of_24_hours_goes_on_so() -> None:
    """Hourly rent for a third of the 384 hours; a lease and an overhead for all of them."""
    now = ON_THE_15TH
    usage = day(now, {0: [("chat", now - DAY, now)]}, down=[(now - DAY, now - 8 * HOUR)])
    hourly = projected(cost_policy(rent(6)), usage)
    assert ends(hourly) == {"chat": 768.0}
    assert hourly.up_ratio == pytest.approx(1 / 3)
    lease = projected(cost_policy(rented((None, "6"), billing="always")), usage)
    assert ends(lease) == {"chat": 2304.0}
    with_storage = cost_policy(rent(6), overheads=(overhead("storage", "1", "hour", "gpu"),))
    assert ends(projected(with_storage, usage)) == {"chat": 768.0 + 384}


def test_the_hour_that_24_hours_cut_counts_by_its_part() -> None:
    """At half past, half of the oldest hour: a host that was down in all of it was down for half an hour."""
    now = ON_THE_15TH + HOUR // 2
    usage = day(
        now,
        {0: [("chat", now - 25 * HOUR, now)]},
        begun=now - DAY - HOUR // 2,
        down=[(ON_THE_15TH - DAY, ON_THE_15TH - DAY + HOUR)],
    )
    assert projected(cost_policy(rent(6)), usage, now).up_ratio == pytest.approx(23.5 / 24)


def test_energy_goes_on_at_its_mean() -> None:
    """500 W at 0.2 dollars a kWh: 0.10 an hour for 384 hours beside the rent, each by what it used."""
    now = ON_THE_15TH
    price = rent(1, energy=Electricity(Decimal("0.1"), Decimal(2)))
    spells = {0: [("chat", now - DAY, now - 12 * HOUR), ("batch", now - 12 * HOUR, now)]}
    usage = day(now, spells, watts={"chat": 750, "batch": 250}, intermittent=["chat"])
    actual = projected(cost_policy(price), usage)
    assert ends(actual) == {
        "chat": pytest.approx(192 + 384 * 0.1 * 0.75),
        "batch": pytest.approx(192 + 384 * 0.1 * 0.25),
    }


def test_the_energy_of_a_gpu_that_was_off_for_hours_is_a_mean_over_them() -> None:
    """1 kW for 8 of 24 hours at 0.3 dollars: 0.1 an hour. Hours of which no GPU time is owed count too."""
    now = ON_THE_15TH
    price = owned(Electricity(Decimal("0.3")), purchase_dollars=Decimal(0))
    usage = day(
        now,
        {0: [("chat", now - DAY, now - 20 * HOUR), ("chat", now - 4 * HOUR, now)]},
        watts={"chat": 1000},
        down=[(now - 20 * HOUR, now - 4 * HOUR)],
    )
    assert ends(projected(cost_policy(price), usage)) == {"chat": pytest.approx(38.4)}


def test_half_a_millijoule_of_the_hour_that_24_hours_cut_counts() -> None:
    """At half past, half of the oldest hour: 1.5 mJ in 1 s. 1.5 mW for 383.5 hours at 1000 dollars a kWh.

    0.0000015 x 383.5 x 1000 = 0.57525.
    """
    now = ON_THE_15TH + HOUR // 2
    price = owned(Electricity(Decimal(1000)), purchase_dollars=Decimal(0))
    time, energy = {gpu(): {"chat": 2 * SECOND}}, {gpu(): {"chat": 3}}
    usage = RecentUsage((UsageHour(ON_THE_15TH - DAY, 2 * SECOND, 0, time, energy),))
    usage = replace(usage, intermittent=frozenset({"chat"}))
    assert ends(projected(cost_policy(price), usage, now)) == {"chat": 0.57525}


def test_a_millijoule_of_the_hour_that_a_product_arrived_in_counts_by_its_part() -> None:
    """Of the old product's 3 s and 4 mJ, 2 s are after the new one came with 1 s and 1 mJ: 11/3 mJ in 3 s.

    11/9 mW for 384 hours at 9000 dollars a kWh: 0.000011 x 384 x 1000 = 4.224, 3/11 of it the new one's.
    """
    now = ON_THE_15TH
    price = owned(Electricity(Decimal(9000)), purchase_dollars=Decimal(0))
    time, energy = {gpu(): {"old": 3 * SECOND, "new": SECOND}}, {gpu(): {"old": 4, "new": 1}}
    usage = RecentUsage(
        (UsageHour(now - HOUR, 4 * SECOND, 0, time, energy),), {"old": 0, "new": now - 3 * SECOND}
    )
    assert ends(projected(cost_policy(price), usage, now)) == {
        "new": pytest.approx(1.152, abs=1e-11),
        "old": pytest.approx(3.072, abs=1e-11),
    }


def test_a_gpu_that_retires_in_the_month_ends_with_it() -> None:
    """Two GPUs share 2 dollars an hour of the host; the second leaves after 84 hours with its 10."""
    by = cost_policy(rent(10), overheads=(overhead("rack", "2", "hour", "host"),))
    leaves = Retirement("GPU-1", ON_THE_15TH + 84 * HOUR)
    by = replace(by, tariff=replace(by.tariff, retired=(leaves,)))
    usage = day(
        ON_THE_15TH,
        {0: [("chat", ON_THE_15TH - DAY, ON_THE_15TH)], 1: [("batch", ON_THE_15TH - DAY, ON_THE_15TH)]},
    )
    actual = projected(by, usage, gpus=[held_by(), held_by("batch", 1)])
    assert ends(actual) == {"batch": 84 * 11.0, "chat": 84 * 11.0 + 300 * 12}
    # One that is said to have left before and is here is charged on.
    by = replace(by, tariff=replace(by.tariff, retired=(replace(leaves, since=ON_THE_15TH - DAY),)))
    assert ends(projected(by, usage, gpus=[held_by(), held_by("batch", 1)])) == {
        "batch": 384 * 11.0,
        "chat": 384 * 11.0,
    }


def test_monthly_amounts_end_at_their_amount() -> None:
    """720 dollars a month of 720 hours: 384 in the 384 hours left."""
    by = cost_policy(overheads=(overhead("storage", "720", "month", "gpu"),))
    assert ends(projected(by, whole_day(), to_date={"chat": 336 * DOLLAR})) == {"chat": 720.0}


def test_a_gpu_without_a_price_adds_nothing() -> None:
    """Nothing costs anything: no product has a projection, and there is no ratio."""
    actual = projected(cost_policy(), whole_day())
    assert actual.totals() == {}
    assert actual.price_change_ratio is None


def test_a_price_that_begins_later_in_the_month() -> None:
    """Nothing until the 16th, then 10 dollars an hour: the ratio to nothing is absent."""
    actual = projected(cost_policy(rented(("2026-11-16", "10"))), whole_day())
    assert ends(actual) == {"chat": 3600.0}
    assert actual.price_change_ratio is None


def test_a_gpu_that_nobody_has_metered_yet_is_whose_it_is_now() -> None:
    """A GPU of this tick beside one that was metered all day."""
    actual = projected(cost_policy(rent(10)), whole_day(), gpus=[held_by(), held_by("batch", 1)])
    assert ends(actual) == {"batch": 3840.0, "chat": 3840.0}


def test_a_gpu_that_is_gone_is_not_projected() -> None:
    """GPU-1 was used all day and is not here any more."""
    usage = day(ON_THE_15TH, {n: [("chat", ON_THE_15TH - DAY, ON_THE_15TH)] for n in range(2)})
    assert ends(projected(cost_policy(rent(10)), usage)) == {"chat": 3840.0}


def test_nothing_metered_is_no_projection() -> None:
    """Absent, not the month to date."""
    assert project([held_by()], RecentUsage(), {"chat": DOLLAR}, ON_THE_15TH, cost_policy(rent(1))) is None


def test_an_adjustment_is_not_projected() -> None:
    """A product that has nothing but a correction ends with it."""
    actual = projected(cost_policy(rent(10)), whole_day(), to_date={"chat": 10 * DOLLAR, "ads": -4 * DOLLAR})
    assert ends(actual) == {"ads": -4.0, "chat": 3850.0}


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(1, 900)), min_size=1, max_size=20),
    st.integers(0, 59),
    st.dictionaries(st.sampled_from(["a", "b", "c"]), st.integers(-1000, 2000)),
    st.integers(0, 24),
)
def test_products_sum_to_the_host(
    reported: list[tuple[str, int]], minute: int, starts: dict[str, int], off: int
) -> None:
    """Whoever came and went: exactly the tariff over the rest, and never more than the host costs."""
    now = ON_THE_15TH + minute * MINUTE
    spells, until = [], now
    for product, minutes in reported:
        since = until - minutes * MINUTE
        spells.append((product, since, until))
        until = since
    usage = day(
        now,
        {0: spells},
        down=[(now - off * HOUR, now)],
        watts={"a": 700, "b": 70},
        first_held={product: now - ago * MINUTE for product, ago in starts.items()},
    )
    by = cost_policy(
        rented((None, "6.88"), ("2026-11-16", "3")), overheads=(overhead("x", "7", "month", "host"),)
    )
    actual = projected(by, usage, now)
    whole = sum(period.amount for period in actual.periods)
    assert sum(actual.rest.values()) == whole
    assert all(amount >= 0 for amount in actual.rest.values())
    left = (moment("2026-12-01T00:00:00+00:00") - now) / HOUR
    assert whole / DOLLAR <= 6.88 * left + 7


def test_energy_goes_to_owners_as_its_cost_does_and_falls_where_it_was_used() -> None:
    """Three segments of 1, 2 and 1 minutes: 4,000 mJ a minute; by cost where there is one, else by time."""
    chat, batch = (OwnerPhase(CostOwner(name, "t", "", "s", ""), "other") for name in ("chat", "batch"))
    start = ON_THE_15TH - MINUTE

    def segment(
        since: int, until: int, *paid: tuple[OwnerPhase, int], allocated: Iterable[tuple[OwnerPhase, int]]
    ) -> Segment:
        money = tuple(
            MoneyPosting(gpu(), "energy", "configured", owner_phase, amount) for owner_phase, amount in paid
        )
        rows = tuple(
            GpuTimePosting(gpu(), owner_phase, time, chargeable=time) for owner_phase, time in allocated
        )
        total = sum(amount for _, amount in paid)
        return Segment(since, until, "2026-11", "2026-11-15", total, money, rows)

    postings = Postings(
        start + 4 * MINUTE,
        (
            segment(start, start + MINUTE, (chat, 30), (batch, 10), allocated=[(chat, MINUTE)]),
            segment(start + MINUTE, start + 3 * MINUTE, allocated=[(chat, MINUTE), (batch, MINUTE)]),
            segment(start + 3 * MINUTE, start + 4 * MINUTE, allocated=[]),
        ),
        energy=(EnergyPosting(gpu(), 16_000), EnergyPosting(gpu(1), 5)),
    )
    assert list(energy_by_product(postings)) == [
        (start, gpu(), "chat", 3000),
        (start, gpu(), "batch", 1000),
        (start + MINUTE, gpu(), "chat", 4000),
        (start + MINUTE, gpu(), "batch", 4000),
    ]
    assert list(energy_by_product(Postings(start, energy=(EnergyPosting(gpu(), 1),)))) == []


@pytest.mark.parametrize(
    ("hardware", "expected"),
    [
        (rented((None, "8"), ("2026-11-01", "2")), 8.0),
        (rented(("2026-01-01", "0"), ("2026-11-01", "2"), ("2026-11-05", "3")), 2.0),
        (rented(("2027-01-01", "5")), 5.0),
        (rent(4), 4.0),
    ],
)
def test_the_first_price_is_the_first_that_is_not_zero(hardware: Hardware, expected: float) -> None:
    """Of dated prices the earliest, whether or not it has begun; without dates the one of now."""
    (price,) = first_prices([held_by()], ON_THE_15TH, cost_policy(hardware))
    assert [rate.rate.dollars_per_hour() for rate in price.rates] == [expected]


def test_the_first_price_of_owned_hardware_is_that_of_its_service() -> None:
    """8,766 dollars over a year that is long over: a dollar an hour."""
    hardware = owned(
        purchase_dollars=Decimal(8766),
        gpus=1,
        life_years=Decimal(1),
        in_service=moment("2020-01-01T00:00:00+00:00"),
    )
    (price,) = first_prices([held_by()], ON_THE_15TH, cost_policy(hardware))
    assert price.rates[0].rate.dollars_per_hour() == 1.0


def test_rates_are_by_time_and_by_the_mean_power_of_five_minutes() -> None:
    """8 dollars of rent, 0.5 of storage and 500 W x 0.2 dollars a kWh, half of it each: 4.30."""
    price = rent(8, energy=Electricity(Decimal("0.1"), Decimal(2)))
    meter = CheckedMeter(cost_policy(price, overheads=(overhead("storage", "0.5", "hour", "gpu"),)))
    holders = (*allocate(CHAT, 0), *allocate(BATCH, 0))
    for tick in range(4):
        meter.tick(10, [h100(energy=tick * 5_000_000)], [page()], holders)
    assert now(meter) == {"chat": pytest.approx(4.3), "batch": pytest.approx(4.3)}


def test_rates_do_not_wait_for_power() -> None:
    """Before energy was measured the other components are reported."""
    meter = CheckedMeter(cost_policy(rent(8, energy=Electricity(Decimal("0.1")))))
    meter.tick(10, [h100()], [], allocate(CHAT, 0))
    assert now(meter) == {"chat": 8.0}


def of_phases(server: str, number: int = 0, **weights: int) -> GpuOutcome:
    """A GPU of one server, by the weights of its phases."""
    owner = CostOwner("product", "team", "", server, "m")
    by_phase = {OwnerPhase(owner, phase): weights[phase] for phase in PHASES if phase in weights}
    return GpuOutcome(gpu(number), number, h100(number), (), {}, by_phase, None)


def test_busy_rates_are_those_of_phases_with_work() -> None:
    """8 dollars an hour, 3/8 of prefill and decode, and another GPU that is idle; an idle owner pays 0."""
    gpus = [of_phases("chat", 0, prefill=1, decode=2, idle=5), of_phases("chat", 1, idle=1)]
    gpus.append(of_phases("batch", 2, idle=1))
    prices = current_prices(gpus, ON_THE_15TH, cost_policy(rent(8)))
    busy = {owner.server: hourly for owner, hourly in rates(gpus, prices).busy.items()}
    assert busy == {"chat": 3.0, "batch": 0.0}


def test_busy_rates_of_a_gpu_that_nobody_watched_are_unknown() -> None:
    """Not 0: it may have worked. The neighbor's are known."""
    gpus = [of_phases("chat", 0, other=1), of_phases("chat", 1, unobserved=1), of_phases("batch", 2, other=1)]
    prices = current_prices(gpus, ON_THE_15TH, cost_policy(rent(8)))
    assert {owner.server for owner in rates(gpus, prices).busy} == {"batch"}


def test_an_unpriced_gpu_has_no_rate() -> None:
    """An owner with nothing priced is absent, not at 0 dollars an hour; a priced neighbor is reported."""
    meter = CheckedMeter(cost_policy(rent(2, match=HardwareMatch(uuid="GPU-1"))))
    meter.tick(10, [h100(0), h100(1)], [], (*allocate(CHAT, 0), *allocate(BATCH, 1)))
    assert now(meter) == {"batch": 2.0}


def test_a_host_amount_is_divided_in_rates_as_in_the_books() -> None:
    """1 dollar an hour over two GPUs."""
    meter = CheckedMeter(cost_policy(overheads=(overhead("rack", "1", "hour", "host"),)))
    meter.tick(10, [h100(0), h100(1)], [], allocate(CHAT, 1))
    assert now(meter) == {"unallocated": 0.5, "chat": 0.5}


def test_the_energy_of_an_hour() -> None:
    """1 kW for an hour at 0.12 dollars x 1.5; absent without a price or a power."""
    price = price_now_of(rent(1, energy=Electricity(Decimal("0.12"), Decimal("1.5"))))
    assert energy_dollars_per_hour(price, 1000.0) == pytest.approx(0.18)
    assert energy_dollars_per_hour(price, None) is None
    assert energy_dollars_per_hour(price_now_of(rent(1)), 1000.0) is None


def price_now_of(hardware: object) -> object:
    meter = CheckedMeter(cost_policy(hardware))  # type: ignore[arg-type]
    outcome = meter.tick(10, [h100()])
    return current_prices(outcome.gpus, meter.wall, meter.policy)[0]

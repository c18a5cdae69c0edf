"""Where the month ends, and what is being spent now."""

from decimal import Decimal

import pytest

from exporter.cost.projection import energy_dollars_per_hour, price_now, projected_dollars, rates
from exporter.tariff.terms import Electricity, HardwareMatch
from tests.cost.bench import BATCH, CHAT, DOLLAR, HOUR, Meter, h100, holding, overhead, page, rent, terms


def now(meter: Meter) -> dict[str, float]:
    """Dollars per hour by server."""
    assert meter.outcome is not None
    prices = price_now(meter.outcome.gpus, meter.wall, meter.terms)
    return {party.server: rate for party, rate in rates(meter.outcome.gpus, prices).items()}


def test_a_projection_is_the_month_to_date_and_the_hours_left_at_the_recent_rate() -> None:
    """1000 dollars so far, 240 in the last 24 h, 100 h left: 1000 + 100 x 10."""
    assert projected_dollars(1000 * DOLLAR, 100 * HOUR, 240 * DOLLAR, 24 * HOUR) == 2000.0


def test_a_projection_from_half_an_hour() -> None:
    """A fresh ledger divides by the time that it covers, not by a day."""
    assert projected_dollars(0, 10 * HOUR, DOLLAR, HOUR // 2) == 20.0


def test_nothing_covered_is_no_projection() -> None:
    """Absent, not the month to date."""
    assert projected_dollars(DOLLAR, HOUR, 0, 0) is None


def test_a_month_that_is_over_projects_to_itself() -> None:
    """Nothing is left, and nothing is taken away."""
    assert projected_dollars(7 * DOLLAR, -HOUR, DOLLAR, HOUR) == 7.0


def test_rates_are_by_time_and_by_the_mean_power_of_five_minutes() -> None:
    """8 dollars of rent, 0.5 of storage and 500 W x 0.2 dollars a kWh, half of it each: 4.30."""
    price = rent(8, energy=Electricity(Decimal("0.1"), Decimal(2)))
    meter = Meter(terms(price, overheads=(overhead("storage", "0.5", "hour", "gpu"),)))
    holders = (*holding(CHAT, 0), *holding(BATCH, 0))
    for tick in range(4):
        meter.tick(10, [h100(energy=tick * 5_000_000)], [page()], holders)
    assert now(meter) == {"chat": pytest.approx(4.3), "batch": pytest.approx(4.3)}


def test_rates_do_not_wait_for_power() -> None:
    """Before energy was measured the other components are told."""
    meter = Meter(terms(rent(8, energy=Electricity(Decimal("0.1")))))
    meter.tick(10, [h100()], [], holding(CHAT, 0))
    assert now(meter) == {"chat": 8.0}


def test_an_unpriced_gpu_has_no_rate() -> None:
    """A party with nothing priced is absent, not at 0 dollars an hour; a priced neighbor is told."""
    meter = Meter(terms(rent(2, match=HardwareMatch(uuid="GPU-1"))))
    meter.tick(10, [h100(0), h100(1)], [], (*holding(CHAT, 0), *holding(BATCH, 1)))
    assert now(meter) == {"batch": 2.0}


def test_a_host_amount_is_divided_in_rates_as_in_the_books() -> None:
    """1 dollar an hour over two GPUs."""
    meter = Meter(terms(overheads=(overhead("rack", "1", "hour", "host"),)))
    meter.tick(10, [h100(0), h100(1)], [], holding(CHAT, 1))
    assert now(meter) == {"unallocated": 0.5, "chat": 0.5}


def test_the_energy_of_an_hour() -> None:
    """1 kW for an hour at 0.12 dollars x 1.5; absent without a price or a power."""
    price = price_now_of(rent(1, energy=Electricity(Decimal("0.12"), Decimal("1.5"))))
    assert energy_dollars_per_hour(price, 1000.0) == pytest.approx(0.18)
    assert energy_dollars_per_hour(price, None) is None
    assert energy_dollars_per_hour(price_now_of(rent(1)), 1000.0) is None


def price_now_of(hardware: object) -> object:
    meter = Meter(terms(hardware))  # type: ignore[arg-type]
    outcome = meter.tick(10, [h100()])
    return price_now(outcome.gpus, meter.wall, meter.terms)[0]

"""Which rule prices a GPU, from when on, and what accrues from it."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from exporter.readings import Gpu
from exporter.tariff.calendar import Month, month_of
from exporter.tariff.rate import HardwareStatus, Price, Provenance, Rate
from exporter.tariff.tariff import Tariff, annuity_dollars_per_year
from exporter.tariff.terms import Electricity, Hardware, HardwareMatch, Overhead, Owned, Rented, RentPrice
from tests.kit.units import HOUR, SECOND

YEAR_HOURS = 8766
H100 = Gpu("GPU-a", "NVIDIA H100 80GB HBM3")
L4 = Gpu("GPU-b", "NVIDIA L4")
SERVICE = 1_767_225_600 * SECOND  # 2026-01-01T00:00:00Z
NOVEMBER = month_of(1_795_564_800 * SECOND, ZoneInfo("UTC"))


def rule(policy: Rented | Owned, energy: Electricity | None = None, **match: str) -> Hardware:
    return Hardware(HardwareMatch(**match), policy, "hardware[0]", energy)


def flat(dollars: str, gpus: int = 1) -> Rented:
    return Rented((RentPrice(Decimal(dollars), gpus),))


def machine(**fields: Any) -> Owned:
    base = Owned(Decimal(280_000), 8, SERVICE, "2026-01-01", Decimal(3))
    return replace(base, **fields)


def hourly(rate: Rate) -> Fraction:
    """Dollars an hour, exactly."""
    return Fraction(rate.amount, 10**12) * Fraction(HOUR, rate.period)


def by_component(price: Price) -> dict[str, Fraction]:
    return {rate.component: hourly(rate.rate) for rate in price.rates}


def price(
    tariff: Tariff, gpu: Gpu = H100, at: int = SERVICE, month: Month = NOVEMBER, gpus: int = 8
) -> Price:
    return tariff.price(gpu, at, month, gpus)


def test_the_first_rule_that_matches_prices_a_gpu() -> None:
    """Later rules do not add to it; patterns cover the whole name; every pattern of a rule must match."""
    tariff = Tariff(
        "dc1-host-7",
        (
            rule(flat("9"), host="dc2-*"),
            rule(flat("8"), host="dc1-*", gpu_model="H100"),
            rule(flat("7"), uuid="GPU-z"),
            rule(flat("3.67"), host="dc1-*", gpu_model="*H100*"),
            rule(flat("0.70")),
        ),
    )
    assert by_component(price(tariff)) == {"rent": Fraction("3.67")}
    assert by_component(price(tariff, L4)) == {"rent": Fraction("0.70")}


def test_hardware_that_no_rule_covers_has_no_price() -> None:
    """No silent default: it is unpriced, and what is configured beside the hardware accrues all the same."""
    staff = Overhead("storage", Decimal("9.20"), "month", "gpu", "overheads[0]")
    actual = price(Tariff("h", (rule(flat("3"), gpu_model="*A100*"),), (staff,)))
    assert not actual.priced
    assert actual.energy is None
    assert by_component(actual) == {"storage": Fraction("9.20") / 720}


def test_no_rule_at_all_is_no_price_and_no_rate() -> None:
    """An empty tariff knows nothing; it does not say zero."""
    assert price(Tariff()) == Price((), None, HardwareStatus.UNPRICED)


def test_rent_by_date_holds_from_its_first_instant_on() -> None:
    """Each dated price holds until the next; before the first there is none."""
    dated = Rented(
        (
            RentPrice(Decimal("55.04"), 8, SERVICE, "2026-01-01"),
            RentPrice(Decimal("41.28"), 8, SERVICE + 10 * HOUR, "2026-01-01T10:00", "EDP 25 %"),
        )
    )
    tariff = Tariff("h", (rule(dated),))
    assert not price(tariff, at=SERVICE - 1).priced
    assert price(tariff, at=SERVICE - 1).rates == ()
    assert by_component(price(tariff, at=SERVICE)) == {"rent": Fraction("6.88")}
    assert by_component(price(tariff, at=SERVICE + 10 * HOUR - 1)) == {"rent": Fraction("6.88")}
    after = price(tariff, at=SERVICE + 10 * HOUR)
    assert by_component(after) == {"rent": Fraction("5.16")}
    assert after.rates[0].provenance == Provenance("configured", "hardware[0]", "2026-01-01T10:00")
    assert sorted(tariff.changes(SERVICE - HOUR, SERVICE + 11 * HOUR)) == [SERVICE, SERVICE + 10 * HOUR]


def test_changes_are_strictly_inside() -> None:
    """A change at either end of a stretch cuts nothing off it; a price without a date never changes."""
    tariff = Tariff("h", (rule(Rented((RentPrice(Decimal(1)), RentPrice(Decimal(2), since=SERVICE)))),))
    assert list(tariff.changes(SERVICE, SERVICE + HOUR)) == []
    assert list(tariff.changes(SERVICE - HOUR, SERVICE)) == []
    assert list(tariff.changes(SERVICE - 1, SERVICE + 1)) == [SERVICE]


def test_a_price_per_host_is_divided_exactly() -> None:
    """A host's 10 dollars over 3 GPUs loses nothing: the three rates sum to 10 dollars."""
    actual = price(Tariff("h", (rule(flat("10", 3)),)), gpus=8)
    assert by_component(actual)["rent"] * 3 == 10


def test_straight_line_returns_the_purchase_over_its_life() -> None:
    """280,000 / (3 x 8766 h) / 8 = 1.3309 dollars an hour for each GPU."""
    actual = price(Tariff("h", (rule(machine()),)))
    assert by_component(actual) == {"amortization": Fraction(280_000, 3 * YEAR_HOURS * 8)}
    assert float(by_component(actual)["amortization"]) == pytest.approx(1.3309, abs=5e-5)


def test_adders_and_residual_change_what_is_returned() -> None:
    """280,000 x (1 + 0.15) - 28,000 = 294,000 over 4 x 8766 h and 8 GPUs = 1.0481 dollars an hour."""
    policy = machine(adders_ratio=Decimal("0.15"), residual_ratio=Decimal("0.10"), life_years=Decimal(4))
    actual = by_component(price(Tariff("h", (rule(policy),))))["amortization"]
    assert actual == Fraction(294_000, 4 * YEAR_HOURS * 8)
    assert float(actual) == pytest.approx(1.0481, abs=5e-5)


@pytest.mark.parametrize(
    ("years", "straight", "annuity"),
    # Published for 8760 hours a year: 1.398 1.727, 1.049 1.363, 0.839 1.147, 0.699 1.003; x 8760 / 8766 here.
    [(3, 1.398, 1.727), (4, 1.049, 1.363), (5, 0.839, 1.147), (6, 0.699, 1.003)],
)
def test_capital_of_a_known_machine(years: int, straight: float, annuity: float) -> None:
    """8 H100 for 280,000 dollars, 15 % adders, 10 % residual: straight line, and the annuity at 10 %."""
    base = machine(adders_ratio=Decimal("0.15"), residual_ratio=Decimal("0.10"), life_years=Decimal(years))
    for policy, published in (
        (base, straight),
        (replace(base, cost_of_capital_ratio=Decimal("0.10")), annuity),
    ):
        actual = by_component(price(Tariff("h", (rule(policy),))))["amortization"]
        assert float(actual) * YEAR_HOURS / 8760 == pytest.approx(published, abs=6e-4)


def test_the_annuity_pays_back_purchase_and_interest() -> None:
    """A debt of the purchase that grows by 10 % a year and is paid the annuity ends at the residual."""
    policy = machine(
        adders_ratio=Decimal("0.15"), residual_ratio=Decimal("0.10"), cost_of_capital_ratio=Decimal("0.10")
    )
    due = Fraction(280_000) * Fraction(115, 100)
    for _ in range(3):
        due = due * Fraction(11, 10) - Fraction(annuity_dollars_per_year(policy))
    assert float(due) == pytest.approx(28_000, abs=1e-9)
    # by hand: (322,000 - 28,000 / 1.331) x 0.1 / (1 - 1 / 1.331) = 300,963.185575 x 0.402114803625
    assert float(annuity_dollars_per_year(policy)) == pytest.approx(121_021.752266, abs=1e-6)


def test_an_annuity_over_part_of_a_year() -> None:
    """2.5 years at 8 % on 100,000: the yearly A with 8,000 / A = 1 - 1.08^-2.5, that is 45,707.67 dollars."""
    policy = machine(
        purchase_dollars=Decimal(100_000), life_years=Decimal("2.5"), cost_of_capital_ratio=Decimal("0.08")
    )
    yearly = float(annuity_dollars_per_year(policy))
    assert yearly == pytest.approx(45_707.67, abs=5e-3)
    # 1.08^-2.5 squared is 1 / 1.4693280768
    assert (1 - 8_000 / yearly) ** 2 == pytest.approx(1 / 1.4693280768, rel=1e-12)


@pytest.mark.parametrize("interest", [None, Decimal(0)])
def test_no_cost_of_capital_is_the_straight_line(interest: Decimal | None) -> None:
    """At 0 % the annuity is the straight line, and nothing is divided by zero."""
    policy = machine(
        purchase_dollars=Decimal(90_000), residual_ratio=Decimal("0.1"), cost_of_capital_ratio=interest
    )
    assert annuity_dollars_per_year(policy) == 27_000  # (90,000 - 9,000) / 3
    actual = by_component(price(Tariff("h", (rule(policy),))))
    assert actual == {"amortization": Fraction(27_000, YEAR_HOURS * 8)}


def test_owned_hardware_has_no_price_before_it_is_in_service() -> None:
    """In its last nanosecond before service it costs nothing, then and later; then support begins, too."""
    tariff = Tariff("h", (rule(machine(support_dollars_per_year=Decimal(28_000))),))
    assert price(tariff, at=SERVICE - 1) == Price((), None, HardwareStatus.NOT_IN_SERVICE)
    assert set(by_component(price(tariff, at=SERVICE))) == {"amortization", "support"}


def test_after_its_life_hardware_is_paid_off_and_supported_still() -> None:
    """Nothing is left to amortize; support and insurance are per year, every year."""
    policy = machine(support_dollars_per_year=Decimal(28_000), insurance_dollars_per_year=Decimal(8766))
    tariff = Tariff("h", (rule(policy),))
    end = SERVICE + 3 * YEAR_HOURS * HOUR
    yearly = {"support": Fraction(28_000, YEAR_HOURS * 8), "insurance": Fraction(1, 8)}
    assert by_component(price(tariff, at=end - 1))["amortization"] > 0
    after = price(tariff, at=end)
    assert after.priced
    assert by_component(after) == {"amortization": 0, **yearly}
    assert list(tariff.changes(SERVICE - 1, end + 1)) == [SERVICE, end]


def test_the_annuity_ends_with_the_life_as_well() -> None:
    """After its life nothing is paid, whatever the cost of capital."""
    tariff = Tariff("h", (rule(machine(cost_of_capital_ratio=Decimal("0.08"))),))
    assert by_component(price(tariff, at=SERVICE + 3 * YEAR_HOURS * HOUR)) == {"amortization": 0}


def test_electricity_is_joules_times_pue_times_host_factor_times_price() -> None:
    """0.12 dollars x 1.35 x 1.8 = 0.2916 dollars for a kilowatt-hour at the GPU."""
    power = Electricity(Decimal("0.12"), Decimal("1.35"), Decimal("1.8"))
    actual = price(Tariff("h", (rule(machine(), power),))).energy
    assert actual is not None
    assert actual.per_kilowatt_hour == 291_600_000_000
    assert actual.provenance.price_basis == "configured"


def test_rent_includes_power_unless_configured() -> None:
    """A rented GPU has no energy component of its own."""
    assert price(Tariff("h", (rule(flat("3.67")),))).energy is None
    assert price(Tariff("h", (rule(flat("3.67"), Electricity(Decimal("0.1"))),))).energy is not None


@pytest.mark.parametrize(
    ("period", "per", "hourly_dollars"),
    [
        ("hour", "gpu", Fraction("9.20")),
        ("hour", "host", Fraction("9.20") / 8),
        ("month", "gpu", Fraction("9.20") / 720),
        ("month", "host", Fraction("9.20") / 720 / 8),
        ("year", "gpu", Fraction("9.20") / YEAR_HOURS),
        ("year", "host", Fraction("9.20") / YEAR_HOURS / 8),
    ],
)
def test_overheads_by_period(period: Any, per: Any, hourly_dollars: Fraction) -> None:
    """An hour is an hour, a month the calendar's (November: 720 h), a year 8766 h; a host's is divided."""
    storage = Overhead("storage", Decimal("9.20"), period, per, "overheads[3]")
    actual = price(Tariff("h", (rule(flat("1")),), (storage,)))
    assert by_component(actual) == {"rent": 1, "storage": hourly_dollars}
    assert actual.rates[1].provenance == Provenance("configured", "overheads[3]")


def test_a_monthly_amount_is_never_taken_for_an_hourly_one() -> None:
    """Trap: hourly and monthly mixed, 730 times off. 730 dollars a month are about a dollar an hour."""
    monthly = Overhead("network", Decimal(730), "month", "gpu", "overheads[0]")
    actual = by_component(price(Tariff("h", (), (monthly,))))
    assert actual == {"network": Fraction(730, 720)}


def test_overheads_of_other_hosts_stay_there() -> None:
    """`match: {host}` covers the whole host name."""
    network = Overhead("network", Decimal(1), "hour", "host", "overheads[0]", "dc1-*")
    assert by_component(price(Tariff("dc1-a", (), (network,)))) == {"network": Fraction(1, 8)}
    assert price(Tariff("edge-dc1-a", (), (network,))).rates == ()


def test_fleet_overheads_never_enter_a_host() -> None:
    """They are rates for the fleet's rules, and no GPU accrues them."""
    tariff = Tariff(
        "h",
        (rule(flat("1")),),
        (
            Overhead("staff", Decimal(536_000), "year", "fleet", "overheads[0]"),
            Overhead("storage", Decimal(720), "month", "fleet", "overheads[1]"),
            Overhead("network", Decimal(1), "hour", "host", "overheads[2]"),
        ),
    )
    assert set(by_component(price(tariff))) == {"rent", "network"}
    fleet = {name: hourly(rate) for name, rate in tariff.fleet_overheads(NOVEMBER)}
    assert fleet == {"staff": Fraction(536_000, YEAR_HOURS), "storage": 1}


def test_a_rate_is_exported_by_the_hour() -> None:
    """3.67 dollars an hour, said as 29.36 dollars in 8 hours."""
    assert Rate(29_360_000_000_000, 8 * HOUR).dollars_per_hour() == pytest.approx(3.67, rel=1e-15)


def test_energy_is_taken_as_measured_unless_factors_are_given() -> None:
    """No PUE and no fans: 1 kWh of the GPU is 1 kWh of the bill."""
    electricity = Electricity(Decimal("0.12"))

    assert (electricity.pue_ratio, electricity.host_factor_ratio) == (1, 1)

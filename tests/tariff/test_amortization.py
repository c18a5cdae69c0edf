"""What a year of owned hardware costs."""

from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from exporter.readings import Gpu
from exporter.tariff.calendar import month_of
from exporter.tariff.tariff import Tariff, amortization_dollars_per_year, annuity_dollars_per_year
from exporter.tariff.terms import Hardware, HardwareMatch, Owned
from exporter.units import NANOSECONDS_PER_YEAR, PICODOLLARS_PER_DOLLAR


def owned(**policy: str) -> Owned:
    """8 H100 at 280,000 dollars for 3 years."""
    given = {key: Decimal(value) for key, value in policy.items()}
    return Owned(Decimal(280_000), 8, 0, "", Decimal(3), **given)


def test_straight_line_is_exact() -> None:
    """280,000 x (1 + 0.15 - 0.10) / 3 = 98,000; a third of 280,000 has no last digit and loses none."""
    assert amortization_dollars_per_year(owned(adders_ratio="0.15", residual_ratio="0.10")) == 98_000
    assert amortization_dollars_per_year(owned()) == Fraction(280_000, 3)
    assert amortization_dollars_per_year(owned(cost_of_capital_ratio="0")) == Fraction(280_000, 3)


def test_annuity() -> None:
    """121,021.75, as worked out on the page about the cost model."""
    policy = owned(adders_ratio="0.15", residual_ratio="0.10", cost_of_capital_ratio="0.10")
    assert round(float(amortization_dollars_per_year(policy)), 2) == 121021.75


def test_what_is_written_off() -> None:
    """280,000 x 1.15 = 322,000 are paid, and 28,000 are left at the end: 294,000 are written off."""
    policy = owned(adders_ratio="0.15", residual_ratio="0.10")
    assert (policy.capital_dollars, policy.residual_dollars) == (322_000, 28_000)
    assert policy.written_off_dollars == 294_000


RATIOS = st.decimals("0", "1", places=30)


@given(
    purchase=st.decimals("0", "100000000", places=12),
    adders=RATIOS.map(lambda ratio: ratio * 10),
    residual=RATIOS,
    life=st.integers(1, 40).map(lambda quarters: Decimal(quarters) / 4),
)
def test_the_straight_line_is_one(
    purchase: Decimal, adders: Decimal, residual: Decimal, life: Decimal
) -> None:
    """The yearly amount, the annuity at no interest and what accrues over the life agree to a picodollar."""
    policy = Owned(purchase, 8, 0, "", life, residual_ratio=residual, adders_ratio=adders)
    by_hand = Fraction(purchase) * (1 + Fraction(adders) - Fraction(residual))
    tariff = Tariff("h", (Hardware(HardwareMatch(), policy, "hardware[0].owned"),))
    (accrued,) = tariff.price(Gpu("GPU-a", ""), 0, month_of(0, ZoneInfo("UTC")), 8).rates

    assert amortization_dollars_per_year(policy) == by_hand / Fraction(life)
    picodollar = Fraction(1, PICODOLLARS_PER_DOLLAR)
    assert abs(Fraction(annuity_dollars_per_year(policy)) * Fraction(life) - by_hand) < picodollar
    assert accrued.rate.period == life * NANOSECONDS_PER_YEAR * 8
    assert abs(accrued.rate.amount * picodollar - by_hand) <= picodollar / 2

"""What a year of owned hardware costs."""

from decimal import Decimal
from fractions import Fraction

from exporter.tariff.tariff import amortization_dollars_per_year
from exporter.tariff.terms import Owned


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

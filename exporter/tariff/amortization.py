"""What owned hardware costs in a year of its life, as an exact fraction. Pure."""

from fractions import Fraction

from exporter.tariff.tariff import annuity_dollars_per_year
from exporter.tariff.terms import Owned
from exporter.units import PICODOLLARS_PER_DOLLAR, picodollars


def amortization_dollars_per_year(terms: Owned) -> Fraction:
    """Straight line, exact; with `cost_of_capital_ratio` the annuity, to the picodollar as in the books."""
    if terms.cost_of_capital_ratio:
        return Fraction(picodollars(annuity_dollars_per_year(terms)), PICODOLLARS_PER_DOLLAR)
    written_off = 1 + Fraction(terms.adders_ratio) - Fraction(terms.residual_ratio)
    return Fraction(terms.purchase_dollars) * written_off / Fraction(terms.life_years)

"""What a bought host costs, is paid for, and is worth, month by month. Pure.

Months are counted from 0 over the horizon. The yearly amount is the tariff's own: straight line or annuity.
"""

from dataclasses import dataclass
from fractions import Fraction

from exporter.reports.tco.scenario import MONTHS_PER_YEAR, OwnedHosts
from exporter.tariff.amortization import amortization_dollars_per_year

NOTHING = Fraction(0)


@dataclass(frozen=True, slots=True)
class Capital:
    """The capital of one host at the price of the first year; `prices` are times that, by year."""

    monthly: Fraction
    purchase: Fraction
    residual: Fraction
    life_months: int
    refresh: bool
    prices: tuple[Fraction, ...]

    def cost(self, since: int, place: int) -> Fraction:
        """What a host bought in one month costs in another."""
        lives = (place - since) // self.life_months
        if lives and not self.refresh:
            return NOTHING
        return self.monthly * self._price(since + lives * self.life_months)

    def paid(self, since: int, place: int) -> Fraction:
        """What is paid for it in a month: the purchase, less what its worn-out forerunner brings."""
        lives, age = divmod(place - since, self.life_months)
        if age or (lives and not self.refresh):
            return NOTHING
        paid = self.purchase * self._price(place)
        return paid - self.residual * self._price(place - self.life_months) if lives else paid

    def worth(self, since: int, end: int) -> Fraction:
        """What it is worth after the last month: its purchase less what was written off by straight line."""
        lives, age = divmod(end - since - 1, self.life_months)
        if lives and not self.refresh:
            return self.residual * self._price(since)
        left = self.purchase - (self.purchase - self.residual) * (age + 1) / self.life_months
        return left * self._price(since + lives * self.life_months)

    def _price(self, place: int) -> Fraction:
        """What a price of the first year has come to in the year of a month."""
        return self.prices[place // MONTHS_PER_YEAR]


def capital(owned: OwnedHosts, prices: tuple[Fraction, ...]) -> Capital:
    """The capital of an option's hosts."""
    purchase = Fraction(owned.terms.purchase_dollars)
    return Capital(
        monthly=amortization_dollars_per_year(owned.terms) / MONTHS_PER_YEAR,
        purchase=purchase * (1 + Fraction(owned.terms.adders_ratio)),
        residual=purchase * Fraction(owned.terms.residual_ratio),
        life_months=owned.life_months,
        refresh=owned.refresh,
        prices=prices,
    )

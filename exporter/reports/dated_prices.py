"""Prices by date, and the time in which posted money is compared with them. Pure."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Final, NamedTuple

from exporter.readings import Gpu
from exporter.tariff.rate import ComponentRate
from exporter.tariff.tariff import Tariff
from exporter.units import Instant


class ComponentAccrual(NamedTuple):
    """The money of one component over time."""

    per_nanosecond: Fraction
    """Picodollars."""
    while_up: bool
    """Whether it accrues only while the host is up."""


NO_ACCRUAL: Final = ComponentAccrual(Fraction(0), while_up=False)

Accruals = Mapping[str, ComponentAccrual]
"""Accruals by component; a component of nothing is left out."""


def dated(rates: Iterable[ComponentRate]) -> bool:
    """Whether the configuration dates these rates; a catalogue's date is the day it was read."""
    return all(rate.provenance.price_basis == "configured" and rate.provenance.as_of for rate in rates)


def accruals_of(rates: Iterable[ComponentRate]) -> Accruals:
    """The accruals of rates."""
    return {
        rate.component: ComponentAccrual(Fraction(rate.rate.amount, rate.rate.period), rate.while_up)
        for rate in rates
        if rate.rate.amount
    }


class _StatedPrice(NamedTuple):
    """The price of a GPU that a tariff states at an instant."""

    accruals: Accruals | None
    """`None` without a price."""
    by_date: bool
    """Whether the configuration dates the price."""

    @classmethod
    def of(cls, tariff: Tariff, gpu: Gpu, at: Instant) -> "_StatedPrice":
        """The price of the hardware alone. A GPU that has left costs nothing, by date."""
        if tariff.is_retired(gpu, at):
            return cls({}, by_date=True)
        price = tariff.hardware_price(gpu, at)
        if not price.priced:
            return cls(None, by_date=False)
        return cls(accruals_of(price.rates), dated(price.rates))


class ComparedPrice(NamedTuple):
    """The price of a GPU from one change of a price to the next."""

    accruals: Accruals | None
    """The accruals that should be posted if compared, else those taken as posted; `None`: no price says."""
    by_date: bool
    """Whether the configuration dates the price that holds."""
    compared: bool
    """Whether posted money is compared with the price."""


class DatedPrices:
    """Prices between their changes, each looked up once for each GPU.

    Time is compared where prices have a date and, with the tariff before them, where that said something
    else; and wherever a correction was entered, from `corrected` on.
    """

    def __init__(
        self, old: Tariff | None, new: Tariff, *, begin: Instant, now: Instant, corrected: Instant | None
    ) -> None:
        self._old = old
        self._new = new
        self._begin = begin
        self._corrected = corrected
        cuts = {begin, *new.changes(begin, now)}
        if old is not None:
            cuts.update(old.changes(begin, now))
        if corrected is not None:
            cuts.add(max(begin, corrected))
        self.cuts = sorted(cuts)
        self._cache: dict[tuple[Gpu, int], ComparedPrice] = {}

    def price(self, gpu: Gpu, at: Instant) -> ComparedPrice:
        """The price of a GPU at an instant."""
        key = gpu, bisect_right(self.cuts, at)
        if key in self._cache:
            return self._cache[key]
        new = _StatedPrice.of(self._new, gpu, at)
        old = new if self._old is None else _StatedPrice.of(self._old, gpu, at)
        corrected = self._corrected is not None and at >= self._corrected
        changed = self._old is None or old.accruals != new.accruals
        price = ComparedPrice(old.accruals, new.by_date, compared=False)
        if at >= self._begin and (corrected or (new.by_date and changed)):
            price = ComparedPrice(new.accruals or {}, new.by_date, compared=True)
        self._cache[key] = price
        return price

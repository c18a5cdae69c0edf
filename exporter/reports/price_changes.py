"""Prices by date, and where they may differ from those at which time was posted. Pure."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from exporter.readings import Gpu
from exporter.tariff.rate import ComponentRate
from exporter.tariff.tariff import Tariff
from exporter.units import Instant

Amounts = Mapping[str, tuple[Fraction, bool]]
"""Picodollars a nanosecond by component, and whether only while the host is up."""


def dated(rates: Iterable[ComponentRate]) -> bool:
    """Whether people said since when these hold; a catalogue's date is that of its reading."""
    return all(rate.provenance.price_basis == "configured" and rate.provenance.as_of for rate in rates)


def amounts_of(rates: Iterable[ComponentRate]) -> Amounts:
    """The amounts of rates; those of nothing are left out."""
    return {
        rate.component: (Fraction(rate.rate.amount, rate.rate.period), rate.while_up)
        for rate in rates
        if rate.rate.amount
    }


@dataclass(frozen=True, slots=True)
class Due:
    """What a GPU costs from one change of a price to the next.

    `compared`: what is posted is set against it. `by_date` is false where the price has no date, or is none.
    `assumed` is what is taken to be posted where nothing is compared; `None`: no price says.
    """

    amounts: Amounts = field(default_factory=dict)
    by_date: bool = False
    compared: bool = False
    assumed: Amounts | None = None


class PriceChanges:
    """Prices between their changes, each asked once for each GPU.

    Time is compared where prices have a date and, with the tariff before them, where that said something
    else; and wherever a correction was entered, from `corrected` on.
    """

    def __init__(
        self, old: Tariff | None, new: Tariff, begin: Instant, now: Instant, corrected: Instant | None
    ) -> None:
        self._old, self._new, self._begin, self._corrected = old, new, begin, corrected
        own = {begin} if corrected is None else {begin, max(begin, corrected)}
        before = () if old is None else old.changes(begin, now)
        self.cuts = sorted({*own, *before, *new.changes(begin, now)})
        self._known: dict[tuple[Gpu, int], Due] = {}

    def of(self, gpu: Gpu, at: Instant) -> Due:
        """What a GPU costs at an instant."""
        key = gpu, bisect_right(self.cuts, at)
        if key not in self._known:
            self._known[key] = self._due(gpu, at)
        return self._known[key]

    def corrects(self, at: Instant) -> bool:
        """Whether a correction that was entered may be about an instant."""
        return self._corrected is not None and at >= self._corrected

    def _due(self, gpu: Gpu, at: Instant) -> Due:
        amounts, priced, by_date = _priced(self._new, gpu, at)
        assumed, was_priced = amounts, priced
        if self._old is not None:
            assumed, was_priced, _ = _priced(self._old, gpu, at)
        compared = at >= self._begin and (by_date or self.corrects(at))
        if compared and self._old is not None and not self.corrects(at):
            compared = not was_priced or assumed != amounts
        return Due(amounts, by_date, compared, assumed if was_priced else None)


def _priced(tariff: Tariff, gpu: Gpu, at: Instant) -> tuple[Amounts, bool, bool]:
    """Amounts, whether there is a price, and whether by date. A GPU that has left costs nothing, by date."""
    if tariff.has_left(gpu, at):
        return {}, True, True
    price = tariff.hardware_price(gpu, at)
    return amounts_of(price.rates), price.priced, price.priced and dated(price.rates)

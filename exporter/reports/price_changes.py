"""Where a new tariff says something else of past time than the one before. Pure."""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from exporter.readings import Gpu
from exporter.tariff.rate import ComponentRate
from exporter.tariff.tariff import Tariff
from exporter.units import Instant


def dated(rates: Iterable[ComponentRate]) -> bool:
    """Whether people said since when these hold; a catalogue's date is that of its reading."""
    return all(rate.provenance.price_basis == "configured" and rate.provenance.as_of for rate in rates)


def amounts_of(rates: Iterable[ComponentRate]) -> dict[str, tuple[Fraction, bool]]:
    """Picodollars a nanosecond by component, and whether only while the host is up."""
    return {
        rate.component: (Fraction(rate.rate.amount, rate.rate.period), rate.while_up)
        for rate in rates
        if rate.rate.amount
    }


@dataclass(frozen=True, slots=True)
class Due:
    """What `amounts_of` tells of a GPU, whether it has a price, and whether that is by date."""

    amounts: dict[str, tuple[Fraction, bool]]
    priced: bool
    by_date: bool


class PriceChanges:
    """Both tariffs between their changes, each asked once for each GPU."""

    def __init__(
        self, old: Tariff, new: Tariff, begin: Instant, now: Instant, corrected: Instant | None
    ) -> None:
        self._old, self._new, self._corrected = old, new, corrected
        own = {begin} if corrected is None else {begin, max(begin, corrected)}
        self.cuts = sorted({*own, *old.changes(begin, now), *new.changes(begin, now)})
        self._known: dict[tuple[Gpu, int], Due | None] = {}

    def of(self, gpu: Gpu, at: Instant) -> Due | None:
        """What the new prices say; `None` where that is nothing new."""
        place = bisect_right(self.cuts, at) - 1
        if place < 0:
            return None
        key = gpu, place
        if key not in self._known:
            self._known[key] = self._changed(gpu, self.cuts[place])
        return self._known[key]

    def _changed(self, gpu: Gpu, at: Instant) -> Due | None:
        due = _due(self._new, gpu, at)
        if self._corrected is not None and at >= self._corrected:
            return due
        if not due.by_date:
            return None
        before = _due(self._old, gpu, at)
        return None if before.priced and before.amounts == due.amounts else due


def _due(tariff: Tariff, gpu: Gpu, at: Instant) -> Due:
    """A GPU that has left costs nothing, by the date on which it did."""
    if tariff.has_left(gpu, at):
        return Due({}, priced=True, by_date=True)
    price = tariff.hardware_price(gpu, at)
    return Due(amounts_of(price.rates), priced=price.priced, by_date=price.priced and dated(price.rates))

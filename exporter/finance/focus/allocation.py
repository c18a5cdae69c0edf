"""Split cost allocation of FOCUS 1.3: GPU time of a host as an origin charge, and its parts. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final, NamedTuple

from exporter.finance.focus.charges import FocusCharge, PricingCategory, dealt

RATIO_PARTS: Final = 10**12
"""Parts of an origin charge that ratios count."""


class AllocatedCharge(NamedTuple):
    """A charge, and for GPU time the parts of `RATIO_PARTS` that it is of its origin charge.

    An origin charge is the GPU time of one host in one charge period and one pricing category. FOCUS wants
    allocated charges to share all dimensions, and the pricing category is the only one that differs.
    """

    charge: FocusCharge
    ratio: int | None


def allocated(charges: Iterable[FocusCharge]) -> Iterator[AllocatedCharge]:
    """Charges of one host in their order, with ratios. One charge period at a time is in memory."""
    for (what, _period), group in groupby(charges, key=lambda charge: (charge.what, charge.period)):
        if what == "gpu time":
            yield from _split(list(group))
        else:
            for charge in group:
                yield AllocatedCharge(charge, None)


def _split(charges: Sequence[FocusCharge]) -> Iterator[AllocatedCharge]:
    by_category: dict[PricingCategory, list[FocusCharge]] = {}
    for charge in charges:
        by_category.setdefault(charge.pricing_category, []).append(charge)
    ratios = {
        category: iter(dealt(RATIO_PARTS, _weights(origin))) for category, origin in by_category.items()
    }
    for charge in charges:
        yield AllocatedCharge(charge, next(ratios[charge.pricing_category]))


def _weights(origin: Sequence[FocusCharge]) -> list[int]:
    """Cost, or GPU time where nothing costs anything yet. A ratio is never negative."""
    costs = [charge.cost for charge in origin]
    if min(costs) >= 0 and any(costs):
        return costs
    return [charge.gpu_time for charge in origin]

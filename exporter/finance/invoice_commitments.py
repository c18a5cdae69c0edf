"""Columns of a FOCUS export that say which commitment or reservation of capacity a row is of."""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Final

from exporter.finance.invoice import CommitmentCharge
from exporter.finance.invoice_values import MOST_DIGITS, NUMBER, cell_text, money

BILLIONTHS: Final = 10**9
COMMITTED: Final = "committed"
"""Pricing category of usage that a commitment covers."""
UNNAMED: Final = "commitments"
"""Name of commitments whose rows have no id."""
_SUPPORT: Final = re.compile(r"\bsupport\b|^awssupport|premiumsupport", re.IGNORECASE)
"""Services and their categories by which providers sell support."""


class CommitmentColumns:
    """The columns of commitments, and of reserved capacity."""

    _QUANTITIES: Final = ("CommitmentDiscountQuantity", "ConsumedQuantity", "PricingQuantity")

    def __init__(self, columns: Mapping[str, int]) -> None:
        def of(name: str) -> int | None:
            return columns.get(name.lower())

        self._identifier, self._name = of("CommitmentDiscountId"), of("CommitmentDiscountName")
        self._kind, self._category = of("CommitmentDiscountType"), of("CommitmentDiscountCategory")
        self._status = of("CommitmentDiscountStatus")
        self._reservation, self._reserved = of("CapacityReservationId"), of("CapacityReservationStatus")
        self._pricing, self._effective = of("PricingCategory"), of("EffectiveCost")
        self._quantities = tuple(map(of, self._QUANTITIES))
        self._support = tuple(map(of, ("ServiceSubcategory", "ServiceCategory", "ServiceName")))

    def charge(self, row: Sequence[str], *, fee: bool) -> CommitmentCharge | None:
        """The commitment of a row; `None`: it has none. A status is that of usage.

        Raises:
            ValueError: the effective cost is no number.
        """
        identifier, status = cell_text(row, self._identifier), cell_text(row, self._status)
        kind = cell_text(row, self._kind) or cell_text(row, self._category)
        if not identifier:
            identifier, status = cell_text(row, self._reservation), cell_text(row, self._reserved)
            kind = "Capacity Reservation"
        if not identifier and cell_text(row, self._pricing).lower() == COMMITTED:
            identifier, status, kind = UNNAMED, "", "no id on the bill"
        if not identifier:
            return None
        effective = cell_text(row, self._effective)
        return CommitmentCharge(
            identifier,
            cell_text(row, self._name),
            kind or "Commitment",
            None if fee else status.lower() != "unused",
            money(effective) if effective else None,
            tuple(_billionths(cell_text(row, index)) for index in self._quantities),
        )

    def is_support(self, row: Sequence[str]) -> bool:
        """Whether a row is for the provider's support."""
        return any(_sells_support(cell_text(row, index)) for index in self._support)

    @property
    def effective(self) -> int | None:
        """The column of the effective cost."""
        return self._effective


@lru_cache(maxsize=4096)
def _sells_support(service: str) -> bool:
    return _SUPPORT.search(service) is not None


@lru_cache(maxsize=4096)
def _billionths(text: str) -> int | None:
    if not text or len(text) > MOST_DIGITS or not NUMBER.fullmatch(text):
        return None
    value = Decimal(text)
    return round(value * BILLIONTHS) if abs(value.adjusted()) <= MOST_DIGITS else None

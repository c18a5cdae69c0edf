"""A cloud's bill against the books: where they differ, why, and what would make them agree. Pure.

`books` has what the ledger holds against a bill, by day; `parts` names why the two differ on a day, to the
picodollar; `comparison` takes a month of both and suggests what would make them agree; `notes` says what the
numbers leave open, and `sheet` says all of it.
"""

from exporter.finance.reconciliation.comparison import (
    LedgerMonth,
    Reconciliation,
    Suggestion,
    hours_wanted,
    month_billed,
    reconcile,
)
from exporter.finance.reconciliation.sheet import as_json, as_text

__all__ = [
    "LedgerMonth",
    "Reconciliation",
    "Suggestion",
    "as_json",
    "as_text",
    "hours_wanted",
    "month_billed",
    "reconcile",
]

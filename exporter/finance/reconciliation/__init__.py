"""A cloud's bill against the books: where they differ, why, and what would make them agree. Pure.

`differences` has the books of a day, and names why a bill differs from them, to the picodollar;
`comparison` takes a month of both and suggests what would make them agree; `sheet` says all of it.
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

"""A month as a dataset of FOCUS 1.2 (https://focus.finops.org), the FinOps Foundation's form of bills. Pure.

`docs/focus.md` says what each column means here, and why.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

from exporter.ledger.history import MonthRecord
from exporter.reports.charges import Charge, Period, What, billing_period, charges
from exporter.reports.month import refuse_unknown
from exporter.units import (
    NANOSECONDS_PER_HOUR,
    NANOSECONDS_PER_SECOND,
    PICODOLLARS_PER_DOLLAR,
    Instant,
)

PROVIDER: Final = "Self-hosted inference"
"""Who provides, publishes and charges: whoever runs the exporter. The three must be one and the same, or
BilledCost would have to be 0."""

ACCOUNT: Final = "self-hosted-inference"

DECIMALS: Final = 12
"""Digits after the point: the last is a picodollar, or 3.6 nanoseconds of an hour."""

_UNITS: Final[Mapping[What, str]] = {"gpu time": "GPU-Hours", "tokens": "Tokens"}

_PREDETERMINED: Final = ("configured", "catalogue", "mixed")
"""Price bases of an agreed rate."""


@dataclass(frozen=True, slots=True)
class _Bill:
    """What all rows of one file share."""

    ledger: str
    period: Period


_FORMULA: Final = re.compile(r'((?:^|,)")([=+\-@\t\r])')
"""A cell that begins as a formula does; inside a cell, quotation marks are doubled."""

_Cell = Callable[[Charge, _Bill], str]


def focus(record: MonthRecord, zone: ZoneInfo, *, guarded: bool = False) -> Iterator[str]:
    """The lines of a CSV file: its header, then a row for each charge of the month.

    Text is in quotation marks, numbers and instants are bare, and nothing at all is null. `guarded` puts an
    apostrophe before text that a spreadsheet would take for a formula; a warehouse wants labels unaltered.

    Raises:
        ReportError: the ledger has nothing of that month; before the first line.
    """
    refuse_unknown(record)
    lines = _lines(record, _Bill(record.ledger, billing_period(record.month, zone)), zone)
    return (_FORMULA.sub(r"\1'\2", line) for line in lines) if guarded else lines


def _lines(record: MonthRecord, bill: _Bill, zone: ZoneInfo) -> Iterator[str]:
    yield ",".join(COLUMNS) + "\n"
    for charge in charges(record, zone):
        yield ",".join([cell(charge, bill) for cell in COLUMNS.values()]) + "\n"


def text(label: str) -> str:
    """A text as it is; none is null.

    The marks tell a reader that guesses types that a server named `8000` is no number.
    """
    return '"' + label.replace('"', '""') + '"' if label else ""


def formulas(line: str) -> bool:
    """Whether a spreadsheet would take a cell of a line for a formula.

    Labels stay as they are unless guarded: FOCUS wants them unaltered, and warehouses join by them.
    """
    return _FORMULA.search(line) is not None


def decimal(amount: int, unit: int) -> str:
    """A number of units, at most 12 digits after the point and at least one, so that no column looks whole.

    Exact where a unit is a power of ten up to 10**12, else rounded half to even.
    """
    scaled, rest = divmod(amount * 10**DECIMALS, unit)
    scaled += 2 * rest > unit or (2 * rest == unit and scaled % 2)
    whole, below = divmod(abs(scaled), 10**DECIMALS)
    digits = f"{below:0{DECIMALS}d}".rstrip("0") or "0"
    return f"{'-' if scaled < 0 else ''}{whole}.{digits}"


def instant(moment: Instant) -> str:
    """A moment in UTC, to the second."""
    return datetime.fromtimestamp(moment // NANOSECONDS_PER_SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _always(value: str) -> _Cell:
    return lambda _charge, _bill: value


def _label(name: str) -> _Cell:
    return lambda charge, _bill: text(getattr(charge, name))


def _cost(charge: Charge, _bill: _Bill) -> str:
    return decimal(charge.cost, PICODOLLARS_PER_DOLLAR)


def _quantity(charge: Charge, _bill: _Bill) -> str:
    if charge.what == "gpu time":
        return decimal(charge.gpu_time, NANOSECONDS_PER_HOUR)
    return decimal(charge.tokens, 1) if charge.what == "tokens" else ""


def _unit(charge: Charge, _bill: _Bill) -> str:
    return text(_UNITS.get(charge.what, ""))


def _category(charge: Charge, _bill: _Bill) -> str:
    return text("Usage" if charge.what in _UNITS else "Adjustment")


def _frequency(charge: Charge, _bill: _Bill) -> str:
    return text("Usage-Based" if charge.what in _UNITS else "One-Time")


def _pricing(charge: Charge, _bill: _Bill) -> str:
    return text("Standard" if charge.price_basis in _PREDETERMINED else "Other")


def _description(charge: Charge, _bill: _Bill) -> str:
    # No labels: the validator refuses letters beyond ASCII in it.
    match charge.what:
        case "gpu time":
            return text(f"GPU time: {charge.phase}")
        case "tokens":
            return text(f"Tokens: {charge.kind}; the GPU time that made them carries their cost")
        case "adjustment":
            return text("Adjustment: its reason is in x_Reason")
        case "not itemized":
            return text("GPU time that is known by product and team only")


def _unpriced(charge: Charge, _bill: _Bill) -> str:
    return decimal(charge.unpriced, NANOSECONDS_PER_HOUR) if charge.what == "gpu time" else ""


COLUMNS: Final[Mapping[str, _Cell]] = {
    "BilledCost": _cost,
    "BillingAccountId": _always(text(ACCOUNT)),
    "BillingAccountName": _always(text(PROVIDER)),
    "BillingCurrency": _always(text("USD")),
    "BillingPeriodEnd": lambda _charge, bill: instant(bill.period.end),
    "BillingPeriodStart": lambda _charge, bill: instant(bill.period.start),
    "ChargeCategory": _category,
    "ChargeClass": _always(""),
    "ChargeDescription": _description,
    "ChargeFrequency": _frequency,
    "ChargePeriodEnd": lambda charge, _bill: instant(charge.period.end),
    "ChargePeriodStart": lambda charge, _bill: instant(charge.period.start),
    "CommitmentDiscountStatus": _always(""),  # the validator asks for it where quantities are told
    "ConsumedQuantity": _quantity,
    "ConsumedUnit": _unit,
    "ContractedCost": _cost,
    "EffectiveCost": _cost,
    "InvoiceId": _always(""),
    "InvoiceIssuerName": _always(text(PROVIDER)),
    "ListCost": _cost,
    "PricingCategory": _pricing,
    "PricingQuantity": _quantity,
    "PricingUnit": _unit,
    "ProviderName": _always(text(PROVIDER)),
    "PublisherName": _always(text(PROVIDER)),
    "ServiceCategory": _always(text("AI and Machine Learning")),
    "ServiceName": _always(text("LLM inference")),
    "ServiceSubcategory": _always(text("Generative AI")),
    "x_Product": _label("product"),
    "x_Team": _label("team"),
    "x_Namespace": _label("namespace"),
    "x_Server": _label("server"),
    "x_Model": _label("model"),
    "x_Phase": _label("phase"),
    "x_TokenKind": _label("kind"),
    "x_PriceBasis": _label("price_basis"),
    "x_EstimatedCost": lambda charge, _bill: decimal(charge.estimated, PICODOLLARS_PER_DOLLAR),
    "x_UnpricedQuantity": _unpriced,
    "x_Reason": _label("reason"),
    "x_LedgerId": lambda _charge, bill: text(bill.ledger),
}
"""The columns in their order, and what stands in them; those of FOCUS first, ours after them."""

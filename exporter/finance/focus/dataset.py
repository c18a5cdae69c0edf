"""A month as CSV of FOCUS (https://focus.finops.org), the FinOps Foundation's form of bills. Pure.

`docs/focus.md` says what each column means here, and why.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, NamedTuple, get_args
from zoneinfo import ZoneInfo

from exporter.cost.postings import UNALLOCATED
from exporter.finance.focus.charges import (
    RATIO_PARTS,
    ChargePeriod,
    FocusCharge,
    What,
    allocated,
    charge_period,
    charges,
)
from exporter.finance.render import FORMULA, instant_text
from exporter.finance.statements import refuse_unknown
from exporter.ledger.history import MonthRecord
from exporter.tariff.period import Period
from exporter.units import NANOSECONDS_PER_HOUR, PICODOLLARS_PER_DOLLAR

FocusVersion = Literal["1.2", "1.3", "1.4"]
VERSIONS: Final[tuple[FocusVersion, ...]] = get_args(FocusVersion)
NEWEST: Final = VERSIONS[-1]
"""The newest version that is ratified."""

PROVIDER: Final = "Self-hosted inference"
"""Who provides, publishes and charges: whoever runs the exporter. They must be one and the same, or
BilledCost would have to be 0."""

ACCOUNT: Final = "self-hosted-inference"

METHOD: Final = "gpu-time"
"""The allocation method that `docs/focus.md` describes."""

TAG_PREFIX: Final = "inference/"
"""Of keys in tags: FOCUS wants one for tags that the data generator defines."""

DECIMALS: Final = 12
"""Digits after the point: the last is a picodollar, or 3.6 nanoseconds of an hour."""

_UNITS: Final[Mapping[What, str]] = {"gpu time": "GPU-Hours", "tokens": "Tokens"}


@dataclass(frozen=True, slots=True)
class FocusHost:
    """The values that all rows of one ledger share."""

    ledger: str
    period: ChargePeriod
    """The month."""
    name: str = ""
    """Of the host; empty where unknown."""


class FocusRow(NamedTuple):
    """What a row is made from."""

    charge: FocusCharge
    host: FocusHost


Cell = Callable[[FocusRow], str]


@lru_cache(maxsize=1_000)  # rows have the same labels
def text(label: str) -> str:
    """A text as it is; none is null.

    The marks tell a reader that guesses types that a server named `8000` is no number.
    """
    return '"' + label.replace('"', '""') + '"' if label else ""


@lru_cache(maxsize=1_000)  # several columns of a row have the same number
def decimal(amount: int, unit: int) -> str:
    """A number of units, at most 12 digits after the point and at least one, so that no column looks whole.

    Exact where a unit is a power of ten up to 10**12, else rounded half to even.
    """
    scaled, rest = divmod(amount * 10**DECIMALS, unit)
    scaled += 2 * rest > unit or (2 * rest == unit and scaled % 2)
    whole, below = divmod(abs(scaled), 10**DECIMALS)
    digits = f"{below:0{DECIMALS}d}".rstrip("0") or "0"
    return f"{'-' if scaled < 0 else ''}{whole}.{digits}"


def _always(value: str) -> Cell:
    """The cell of a column that has one value."""
    return lambda _row: value


def _label(name: str) -> Cell:
    """The cell of a label."""
    return lambda row: text(getattr(row.charge, name))


def _cost(row: FocusRow) -> str:
    return decimal(row.charge.cost, PICODOLLARS_PER_DOLLAR)


def _quantity(row: FocusRow) -> str:
    if row.charge.what == "gpu time":
        return decimal(row.charge.gpu_time, NANOSECONDS_PER_HOUR)
    return decimal(row.charge.tokens, 1) if row.charge.what == "tokens" else ""


def _unit(row: FocusRow) -> str:
    return text(_UNITS.get(row.charge.what, ""))


def _description(row: FocusRow) -> str:
    # No labels: the validator refuses letters beyond ASCII in it.
    match row.charge.what:
        case "gpu time":
            return text("GPU time of a host, allocated to servers")
        case "tokens":
            return text(f"Tokens: {row.charge.kind}; the GPU time that made them carries their cost")
        case "adjustment":
            return text("Adjustment: its reason is in x_Reason")
        case "not itemized":
            return text("GPU time that is known by product and team only")


def _description_by_phase(row: FocusRow) -> str:
    # From 1.3 on, parts of one origin charge share all dimensions, the description among them.
    return text(f"GPU time: {row.charge.phase}") if row.charge.what == "gpu time" else _description(row)


def _resource(row: FocusRow) -> str:
    return "" if row.charge.what == "adjustment" else text(row.host.ledger)


def _resource_name(row: FocusRow) -> str:
    # FOCUS wants no name that is the id once more.
    return text(row.host.name) if _resource(row) and row.host.name != row.host.ledger else ""


def _method_details(row: FocusRow) -> str:
    if row.charge.ratio is None:
        return ""
    return text(
        f'{{"Elements":[{{"AllocatedRatio":{decimal(row.charge.ratio, RATIO_PARTS)},'
        f'"UsageUnit":"{_UNITS["gpu time"]}","UsageQuantity":{_quantity(row)}}}]}}'
    )


def _holder(row: FocusRow) -> str:
    """The server that a part of an origin charge is allocated to; empty where there is none."""
    return "" if row.charge.ratio is None or row.charge.server == UNALLOCATED else row.charge.server


def _allocated_resource(row: FocusRow) -> str:
    server, namespace = _holder(row), row.charge.namespace
    return text(f"{namespace}/{server}" if server and namespace else server)


def _tags_of(charge: FocusCharge) -> str:
    return text(_tags_json(charge.product, charge.team, charge.namespace, charge.model))


@lru_cache(maxsize=1_000)
def _tags_json(product: str, team: str, namespace: str, model: str) -> str:
    labels = {"product": product, "team": team, "namespace": namespace, "model": model}
    tags = {f"{TAG_PREFIX}{name}": label for name, label in labels.items() if label}
    return json.dumps(tags, ensure_ascii=False, separators=(",", ":")) if tags else ""


@dataclass(frozen=True, slots=True)
class FocusColumn:
    """A column: the versions that have it, and its cells, which `in_1_2` replaces in that version."""

    cell: Cell
    versions: tuple[FocusVersion, ...] = VERSIONS
    in_1_2: Cell | None = None


def _from_1_3(cell: Cell) -> FocusColumn:
    return FocusColumn(cell, ("1.3", "1.4"))


COLUMNS: Final[Mapping[str, FocusColumn]] = {
    "AllocatedMethodDetails": _from_1_3(_method_details),
    "AllocatedMethodId": _from_1_3(lambda row: "" if row.charge.ratio is None else text(METHOD)),
    "AllocatedResourceId": _from_1_3(_allocated_resource),
    "AllocatedResourceName": _from_1_3(lambda row: text(_holder(row))),
    "AllocatedTags": _from_1_3(lambda row: _tags_of(row.charge) if _holder(row) else ""),
    "BilledCost": FocusColumn(_cost),
    "BillingAccountId": FocusColumn(_always(text(ACCOUNT))),
    "BillingAccountName": FocusColumn(_always(text(PROVIDER))),
    "BillingCurrency": FocusColumn(_always(text("USD"))),
    "BillingPeriodEnd": FocusColumn(lambda row: instant_text(row.host.period.end)),
    "BillingPeriodStart": FocusColumn(lambda row: instant_text(row.host.period.start)),
    "ChargeCategory": FocusColumn(lambda row: text("Usage" if row.charge.what in _UNITS else "Adjustment")),
    "ChargeClass": FocusColumn(_always("")),
    "ChargeDescription": FocusColumn(_description, in_1_2=_description_by_phase),
    "ChargeFrequency": FocusColumn(
        lambda row: text("Usage-Based" if row.charge.what in _UNITS else "One-Time")
    ),
    "ChargePeriodEnd": FocusColumn(lambda row: instant_text(row.charge.period.end)),
    "ChargePeriodStart": FocusColumn(lambda row: instant_text(row.charge.period.start)),
    "CommitmentDiscountStatus": FocusColumn(_always("")),  # the validator asks for it where quantities are
    "ConsumedQuantity": FocusColumn(_quantity),
    "ConsumedUnit": FocusColumn(_unit),
    "ContractedCost": FocusColumn(_cost),
    "EffectiveCost": FocusColumn(_cost),
    "HostProviderName": _from_1_3(_always(text(PROVIDER))),
    "InvoiceDetailId": FocusColumn(_always(""), ("1.4",)),
    "InvoiceId": FocusColumn(_always("")),
    "InvoiceIssuerName": FocusColumn(_always(text(PROVIDER))),
    "ListCost": FocusColumn(_cost),
    "PricingCategory": FocusColumn(lambda row: text(row.charge.pricing_category)),
    "PricingQuantity": FocusColumn(_quantity),
    "PricingUnit": FocusColumn(_unit),
    "ProviderName": FocusColumn(_always(text(PROVIDER)), ("1.2", "1.3")),
    "PublisherName": FocusColumn(_always(text(PROVIDER)), ("1.2", "1.3")),
    "ResourceId": _from_1_3(_resource),
    "ResourceName": _from_1_3(_resource_name),
    "ResourceType": _from_1_3(lambda row: text("GPU Host") if _resource(row) else ""),
    "ServiceCategory": FocusColumn(_always(text("AI and Machine Learning"))),
    "ServiceName": FocusColumn(_always(text("LLM inference"))),
    "ServiceProviderName": _from_1_3(_always(text(PROVIDER))),
    "ServiceSubcategory": FocusColumn(_always(text("Generative AI"))),
    # Parts of an origin charge share its tags, and a host has none.
    "Tags": _from_1_3(lambda row: _tags_of(row.charge) if row.charge.ratio is None else ""),
    "x_Product": FocusColumn(_label("product")),
    "x_Team": FocusColumn(_label("team")),
    "x_Namespace": FocusColumn(_label("namespace")),
    "x_Server": FocusColumn(_label("server")),
    "x_Model": FocusColumn(_label("model")),
    "x_Phase": FocusColumn(_label("phase")),
    "x_TokenKind": FocusColumn(_label("kind")),
    "x_PriceBasis": FocusColumn(_label("price_basis")),
    "x_EstimatedCost": FocusColumn(lambda row: decimal(row.charge.estimated, PICODOLLARS_PER_DOLLAR)),
    "x_UnpricedQuantity": FocusColumn(
        lambda row: (
            decimal(row.charge.unpriced, NANOSECONDS_PER_HOUR) if row.charge.what == "gpu time" else ""
        )
    ),
    "x_Reason": FocusColumn(_label("reason")),
    "x_LedgerId": FocusColumn(lambda row: text(row.host.ledger)),
}
"""All columns; those of FOCUS first, ours after them, which 1.2 has in this order."""


def cells(version: FocusVersion) -> dict[str, Cell]:
    """The columns of a version in their order: from 1.3 on ours are sorted too, as FOCUS 1.4 recommends."""
    of_version = {
        name: column.in_1_2 if version == "1.2" and column.in_1_2 else column.cell
        for name, column in COLUMNS.items()
        if version in column.versions
    }
    return of_version if version == "1.2" else dict(sorted(of_version.items()))


_FORMULAS: Final = tuple(f'"{first}' for first in FORMULA)
"""Beginnings of cells that a spreadsheet runs."""

_FORMULA: Final = re.compile(r'((?:^|,)")([=+\-@\t\r])')
"""A cell that begins as a formula does; inside a cell, quotation marks are doubled."""


@dataclass(frozen=True, slots=True)
class FocusForm:
    """How a dataset is written."""

    version: FocusVersion = NEWEST
    columns: tuple[str, ...] = ()
    """Those to write, in the order of the version; without any it is all of them."""
    guarded: bool = False
    """An apostrophe stands before text that a spreadsheet would take for a formula. A warehouse wants labels
    unaltered."""

    @property
    def unknown(self) -> tuple[str, ...]:
        """Columns that the version does not have."""
        return tuple(name for name in self.columns if name not in cells(self.version))

    @property
    def cells(self) -> dict[str, Cell]:
        """The cells to write, by their column."""
        every = cells(self.version).items()
        return {name: cell for name, cell in every if not self.columns or name in self.columns}


ALL_COLUMNS: Final = FocusForm()


def focus(record: MonthRecord, zone: ZoneInfo, form: FocusForm = ALL_COLUMNS) -> Iterator[str]:
    """The lines of a CSV file: its header, then a row for each charge of the month.

    Text is in quotation marks, numbers and instants are bare, and nothing at all is null.

    Raises:
        UnknownMonthError: the ledger has nothing of that month; before the first line.
    """
    refuse_unknown(record)

    def lines() -> Iterator[str]:
        yield header(form)
        yield from rows(record, zone, form)

    return lines()


def header(form: FocusForm) -> str:
    """The first line of a file."""
    return ",".join(form.cells) + "\n"


def rows(record: MonthRecord, zone: ZoneInfo, form: FocusForm, host_name: str = "") -> Iterator[str]:
    """A line for each charge of one host's month. One day at a time is in memory."""
    host = FocusHost(record.ledger, charge_period(Period.named(record.month), zone), host_name)
    chosen = list(form.cells.values())
    for charge in allocated(charges(record, zone)):
        row = FocusRow(charge, host)
        line = ",".join([cell(row) for cell in chosen]) + "\n"
        yield _FORMULA.sub(r"\1'\2", line) if form.guarded else line


def formulas(line: str) -> bool:
    """Whether a spreadsheet would take a cell of a line for a formula.

    Labels stay as they are unless guarded: FOCUS wants them unaltered, and warehouses join by them.
    """
    return line.startswith(_FORMULAS) or any(f",{formula}" in line for formula in _FORMULAS)

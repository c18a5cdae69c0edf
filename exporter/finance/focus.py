"""A month as a dataset of FOCUS 1.2 (https://focus.finops.org), the FinOps Foundation's form of bills. Pure.

`docs/focus.md` says what each column means here, and why.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate, groupby, pairwise
from typing import Final, Literal, TypeVar
from zoneinfo import ZoneInfo

from exporter.cost.postings import PHASES, CostOwner, OwnerPhase
from exporter.finance.month import refuse_unknown
from exporter.ledger.adjustments import Adjustment
from exporter.ledger.history import HistorySums, MonthRecord
from exporter.ledger.schema import day_number
from exporter.readings import KINDS
from exporter.report import MonthKey, ServerOwner
from exporter.tariff.calendar import day_of, first_instant, month_of
from exporter.units import (
    NANOSECONDS_PER_HOUR,
    NANOSECONDS_PER_SECOND,
    PICODOLLARS_PER_DOLLAR,
    Instant,
    Nanoseconds,
    Picodollars,
)

K = TypeVar("K")

What = Literal["gpu time", "tokens", "adjustment", "not itemized"]

MIXED: Final = "mixed"
"""The price basis of a server's day that was paid by several."""

ESTIMATE: Final = "estimate"


@dataclass(frozen=True, slots=True)
class ChargePeriod:
    """A stretch [start, end) on the wall clock."""

    start: Instant
    end: Instant


@dataclass(frozen=True, slots=True)
class FocusCharge:
    """What one party owes for one thing in one local day, or in the month where no day is known.

    A label is empty where there is none. `reason` is an adjustment's. `phase` is set for GPU time, `kind` and
    `tokens` for tokens, which carry no money: it is all in the GPU time that made them. `gpu_time` is what is
    owed: `cost` over it is the price.
    `price_basis` is empty where nothing was paid. `estimated` is the part of `cost` that comes from estimated
    prices, and `unpriced` time that has no price yet, as it passed.
    """

    what: What
    period: ChargePeriod
    product: str
    team: str
    namespace: str = ""
    server: str = ""
    model: str = ""
    phase: str = ""
    kind: str = ""
    cost: Picodollars = 0
    gpu_time: Nanoseconds = 0
    tokens: int = 0
    price_basis: str = ""
    estimated: Picodollars = 0
    unpriced: Nanoseconds = 0
    reason: str = ""


def billing_period(month: str, zone: ZoneInfo) -> ChargePeriod:
    """The calendar month, a name like 2026-10, in a time zone."""
    year, number = map(int, month.split("-"))
    calendar_month = month_of(first_instant(year, number, 1, zone), zone)
    return ChargePeriod(calendar_month.start, calendar_month.end)


def charges(record: MonthRecord, zone: ZoneInfo) -> Iterator[FocusCharge]:
    """All charges of a month: by day and party, then adjustments, then what no history tells more of.

    They sum to the month's cells to the picodollar, also where history is gone.
    Adjustments that wait for the daemon are in no sum yet, and are left out.
    """
    for number, sums in sorted(record.days.items()):
        period = _day(number, zone)
        yield from _gpu_time(sums, period)
        yield from _tokens(sums, period)
    for each in _posted(record):
        yield _adjusted(each, _day(day_number(each.day), zone))
    yield from _not_itemized(record, billing_period(record.month, zone))


def _day(number: int, zone: ZoneInfo) -> ChargePeriod:
    """The local day of a number like 20261130."""
    day = day_of(first_instant(number // 10_000, number // 100 % 100, number % 100, zone), zone)
    return ChargePeriod(day.start, day.end)


def _posted(record: MonthRecord) -> list[Adjustment]:
    return [each for each in record.adjustments if each.posted is not None]


def _adjusted(each: Adjustment, period: ChargePeriod) -> FocusCharge:
    return FocusCharge(
        what="adjustment",
        period=period,
        product=each.product,
        team=each.team,
        cost=each.amount,
        price_basis=each.cell.price_basis,
        reason=each.reason,
    )


def _gpu_time(sums: HistorySums, period: ChargePeriod) -> Iterator[FocusCharge]:
    paid, unpriced = _paid(sums), _unpriced(sums)
    present = {
        owner_phase
        for owner_phase in (*sums.cost, *sums.held)
        if sums.cost.get(owner_phase) or sums.held.get(owner_phase)
    }
    # Of a day in which the host was down, time may wait of which nothing is owed yet.
    present |= {
        OwnerPhase(cost_owner, "unobserved")
        for cost_owner in unpriced.keys() - {owner_phase.owner for owner_phase in present}
    }
    owner_phases = sorted(
        present, key=lambda owner_phase: (owner_phase.owner, _turn(owner_phase.phase, PHASES))
    )
    for owner, of_owner in groupby(owner_phases, key=lambda owner_phase: _owner(owner_phase.owner)):
        held_here = list(of_owner)
        bases = paid.get(owner, {})
        estimated = dealt(
            bases.get(ESTIMATE, 0), [sums.cost.get(owner_phase, 0) for owner_phase in held_here]
        )
        estimates = dict(zip(held_here, estimated, strict=True))
        for cost_owner, of_party in groupby(held_here, key=lambda owner_phase: owner_phase.owner):
            phases = list(of_party)
            without = dealt(
                unpriced.get(cost_owner, 0), [sums.held.get(owner_phase, 0) for owner_phase in phases]
            )
            for owner_phase, missing in zip(phases, without, strict=True):
                yield _charge(sums, period, owner_phase, _basis(bases), estimates[owner_phase], missing)


def _charge(
    sums: HistorySums,
    period: ChargePeriod,
    owner_phase: OwnerPhase,
    basis: str,
    estimated: Picodollars,
    unpriced: Nanoseconds,
) -> FocusCharge:
    cost_owner, cost = owner_phase.owner, sums.cost.get(owner_phase, 0)
    return FocusCharge(
        what="gpu time",
        period=period,
        product=cost_owner.product,
        team=cost_owner.team,
        namespace=cost_owner.namespace,
        server=cost_owner.server,
        model=cost_owner.model,
        phase=owner_phase.phase,
        cost=cost,
        gpu_time=sums.held.get(owner_phase, 0),
        price_basis=basis if cost else "",
        estimated=estimated,
        unpriced=unpriced,
    )


def _tokens(sums: HistorySums, period: ChargePeriod) -> Iterator[FocusCharge]:
    for owner, kind in sorted(sums.tokens, key=lambda key: (key[0], _turn(key[1], KINDS))):
        count = sums.tokens[owner, kind]
        if count:
            yield FocusCharge(
                what="tokens",
                period=period,
                product=owner.product,
                team=owner.team,
                namespace=owner.namespace,
                server=owner.server,
                model=owner.model,
                kind=kind,
                tokens=count,
            )


def _not_itemized(record: MonthRecord, period: ChargePeriod) -> Iterator[FocusCharge]:
    """Charges for money that months have and history does not: of earlier releases, or of expired days."""
    missing = dict(record.cells)
    for each in _posted(record):
        missing[each.cell] = missing.get(each.cell, 0) - each.amount
    uneven: dict[tuple[str, str], Picodollars] = {}
    for sums in record.days.values():
        for (owner, _component, basis), amount in sums.server_cost.items():
            cell = MonthKey(owner.product, owner.team, basis, record.month)
            missing[cell] = missing.get(cell, 0) - amount
            _add(uneven, (owner.product, owner.team), amount)
        for owner_phase, amount in sums.cost.items():
            _add(uneven, (owner_phase.owner.product, owner_phase.owner.team), -amount)
    for cell, amount in sorted(missing.items(), key=lambda item: _labels(item[0])):
        if amount:
            estimated = amount if cell.price_basis == ESTIMATE else 0
            yield _rest(period, cell.product, cell.team, amount, cell.price_basis, estimated)
    # Both families are of the same postings. Should a file have lost rows of one, money still adds up.
    for (product, team), amount in sorted(uneven.items()):
        if amount:
            yield _rest(period, product, team, amount, MIXED, 0)


def _rest(
    period: ChargePeriod, product: str, team: str, amount: Picodollars, basis: str, estimated: Picodollars
) -> FocusCharge:
    return FocusCharge(
        "not itemized", period, product, team, cost=amount, price_basis=basis, estimated=estimated
    )


def dealt(amount: int, weights: Sequence[int]) -> list[int]:
    """An amount in parts by weight that sum to it exactly, each less than one away from its share.

    Where the weights sum to nothing, the first part is all of it.
    """
    total = sum(weights)
    if not total:
        return [amount if index == 0 else 0 for index in range(len(weights))]
    ends = [0, *(amount * reached // total for reached in accumulate(weights))]
    return [end - start for start, end in pairwise(ends)]


def _basis(bases: Mapping[str, Picodollars]) -> str:
    paid = [basis for basis, amount in bases.items() if amount]
    return MIXED if len(paid) > 1 else "".join(paid)


def _paid(sums: HistorySums) -> dict[ServerOwner, dict[str, Picodollars]]:
    """Money of each server by price basis."""
    paid: dict[ServerOwner, dict[str, Picodollars]] = {}
    for (owner, _component, basis), amount in sums.server_cost.items():
        _add(paid.setdefault(owner, {}), basis, amount)
    return paid


def _unpriced(sums: HistorySums) -> dict[CostOwner, Nanoseconds]:
    durations: dict[CostOwner, Nanoseconds] = {}
    for (_gpu, owner), duration in sums.waiting().items():
        _add(durations, owner, duration)
    return durations


def _owner(owner: CostOwner) -> ServerOwner:
    return ServerOwner(owner.product, owner.team, owner.namespace, owner.server)


def _labels(cell: MonthKey) -> tuple[str, str, str]:
    return cell.product, cell.team, cell.price_basis


def _turn(name: str, order: Sequence[str]) -> tuple[int, str]:
    """A sort key: the given order, then names that a later release added."""
    return order.index(name) if name in order else len(order), name


def _add(sums: dict[K, int], key: K, amount: int) -> None:
    sums[key] = sums.get(key, 0) + amount


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
    """The values that all rows of one file share."""

    ledger: str
    period: ChargePeriod


_FORMULA: Final = re.compile(r'((?:^|,)")([=+\-@\t\r])')
"""A cell that begins as a formula does; inside a cell, quotation marks are doubled."""

_Cell = Callable[[FocusCharge, _Bill], str]


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


def _cost(charge: FocusCharge, _bill: _Bill) -> str:
    return decimal(charge.cost, PICODOLLARS_PER_DOLLAR)


def _quantity(charge: FocusCharge, _bill: _Bill) -> str:
    if charge.what == "gpu time":
        return decimal(charge.gpu_time, NANOSECONDS_PER_HOUR)
    return decimal(charge.tokens, 1) if charge.what == "tokens" else ""


def _unit(charge: FocusCharge, _bill: _Bill) -> str:
    return text(_UNITS.get(charge.what, ""))


def _category(charge: FocusCharge, _bill: _Bill) -> str:
    return text("Usage" if charge.what in _UNITS else "Adjustment")


def _frequency(charge: FocusCharge, _bill: _Bill) -> str:
    return text("Usage-Based" if charge.what in _UNITS else "One-Time")


def _pricing(charge: FocusCharge, _bill: _Bill) -> str:
    return text("Standard" if charge.price_basis in _PREDETERMINED else "Other")


def _description(charge: FocusCharge, _bill: _Bill) -> str:
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


def _focus_unpriced(charge: FocusCharge, _bill: _Bill) -> str:
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
    "x_UnpricedQuantity": _focus_unpriced,
    "x_Reason": _label("reason"),
    "x_LedgerId": lambda _charge, bill: text(bill.ledger),
}
"""The columns in their order, and what stands in them; those of FOCUS first, ours after them."""

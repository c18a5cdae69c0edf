"""Charges of a month, as FOCUS (https://focus.finops.org) divides them: by local day and owner. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise
from typing import Final, Literal
from zoneinfo import ZoneInfo

from exporter.cost.money import add
from exporter.cost.postings import PHASES, CostOwner, OwnerPhase
from exporter.ledger.adjustments import Adjustment
from exporter.ledger.history import HistorySums, MonthRecord
from exporter.ledger.schema import day_number
from exporter.readings import KINDS
from exporter.report import MonthKey, ServerOwner
from exporter.tariff.calendar import day_of, first_instant, month_of
from exporter.units import Instant, Nanoseconds, Picodollars

What = Literal["gpu time", "tokens", "adjustment", "not itemized"]

PricingCategory = Literal["Standard", "Other"]

MIXED: Final = "mixed"
"""The price basis of a server's day that was paid by several."""

ESTIMATE: Final = "estimate"

_PREDETERMINED: Final = ("configured", "catalogue", MIXED)
"""Price bases of an agreed rate."""


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

    @property
    def pricing_category(self) -> PricingCategory:
        """The pricing model: a rate that was agreed on, or another one."""
        return "Standard" if self.price_basis in _PREDETERMINED else "Other"


def billing_period(month: str, zone: ZoneInfo) -> ChargePeriod:
    """The calendar month, a name like 2026-10, in a time zone."""
    year, number = map(int, month.split("-"))
    calendar_month = month_of(first_instant(year, number, 1, zone), zone)
    return ChargePeriod(calendar_month.start, calendar_month.end)


def charges(record: MonthRecord, zone: ZoneInfo) -> Iterator[FocusCharge]:
    """All charges of a month: by day and party, then adjustments, then what no history tells more of.

    They sum to the month's cells to the picodollar, also where history is gone.
    Where the record has sums and no days, as a closed month has, their period is the month.
    Adjustments that wait for the daemon are in no sum yet, and are left out.
    """
    parts = list(_parts(record, zone))
    for period, sums in parts:
        yield from _gpu_time(sums, period)
        yield from _tokens(sums, period)
    for each in _posted(record):
        yield _adjusted(each, _day(day_number(each.day), zone))
    yield from _not_itemized(record, [sums for _period, sums in parts], billing_period(record.month, zone))


def _parts(record: MonthRecord, zone: ZoneInfo) -> Iterator[tuple[ChargePeriod, HistorySums]]:
    """The history of a month by charge period."""
    if record.sums is not None and not record.days:
        yield billing_period(record.month, zone), record.sums
    for number, sums in sorted(record.days.items()):
        yield _day(number, zone), sums


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


def _not_itemized(
    record: MonthRecord, parts: Sequence[HistorySums], period: ChargePeriod
) -> Iterator[FocusCharge]:
    """Charges for money that months have and history does not: of earlier releases, or of expired days."""
    missing = dict(record.cells)
    for each in _posted(record):
        missing[each.cell] = missing.get(each.cell, 0) - each.amount
    uneven: dict[tuple[str, str], Picodollars] = {}
    for sums in parts:
        for (owner, _component, basis), amount in sums.server_cost.items():
            cell = MonthKey(owner.product, owner.team, basis, record.month)
            missing[cell] = missing.get(cell, 0) - amount
            add(uneven, (owner.product, owner.team), amount)
        for owner_phase, amount in sums.cost.items():
            add(uneven, (owner_phase.owner.product, owner_phase.owner.team), -amount)
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
        add(paid.setdefault(owner, {}), basis, amount)
    return paid


def _unpriced(sums: HistorySums) -> dict[CostOwner, Nanoseconds]:
    durations: dict[CostOwner, Nanoseconds] = {}
    for (_gpu, owner), duration in sums.waiting().items():
        add(durations, owner, duration)
    return durations


def _owner(owner: CostOwner) -> ServerOwner:
    return ServerOwner(owner.product, owner.team, owner.namespace, owner.server)


def _labels(cell: MonthKey) -> tuple[str, str, str]:
    return cell.product, cell.team, cell.price_basis


def _turn(name: str, order: Sequence[str]) -> tuple[int, str]:
    """A sort key: the given order, then names that a later release added."""
    return order.index(name) if name in order else len(order), name

"""A month as charges: by day and whom, what GPU time cost and which tokens it made. Pure.

They sum to the month's cells to the picodollar, whatever history still knows of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise
from typing import Final, Literal, TypeVar
from zoneinfo import ZoneInfo

from exporter.cost.postings import PHASES, Party, Slot
from exporter.ledger.adjustments import Adjustment
from exporter.ledger.history import MonthRecord, Sums, day_number
from exporter.readings import KINDS
from exporter.report import MonthKey, Owner
from exporter.tariff.calendar import day_of, first_instant, month_of
from exporter.units import Instant, Nanoseconds, Picodollars

K = TypeVar("K")

What = Literal["gpu time", "tokens", "adjustment", "not itemized"]

MIXED: Final = "mixed"
"""The price basis of a server's day that was paid by several."""

ESTIMATE: Final = "estimate"


@dataclass(frozen=True, slots=True)
class Period:
    """A stretch [start, end) on the wall clock."""

    start: Instant
    end: Instant


@dataclass(frozen=True, slots=True)
class Charge:
    """What one party owes for one thing in one local day, or in the month where no day is known.

    A label is empty where there is none. `reason` is an adjustment's. `phase` is set for GPU time, `kind` and
    `tokens` for tokens, which carry no money: it is all in the GPU time that made them. `gpu_time` is what is
    owed: `cost` over it is the price.
    `price_basis` is empty where nothing was paid. `estimated` is the part of `cost` that comes from estimated
    prices, and `unpriced` time that has no price yet, as it passed.
    """

    what: What
    period: Period
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


def billing_period(month: str, zone: ZoneInfo) -> Period:
    """The calendar month, a name like 2026-10, in a time zone."""
    year, number = map(int, month.split("-"))
    found = month_of(first_instant(year, number, 1, zone), zone)
    return Period(found.start, found.end)


def charges(record: MonthRecord, zone: ZoneInfo) -> Iterator[Charge]:
    """All charges of a month: by day and party, then adjustments, then what no history tells more of.

    Adjustments that wait for the daemon are in no sum yet, and are left out.
    """
    for number, sums in sorted(record.days.items()):
        period = _day(number, zone)
        yield from _gpu_time(sums, period)
        yield from _tokens(sums, period)
    for each in _posted(record):
        yield _adjusted(each, _day(day_number(each.day), zone))
    yield from _not_itemized(record, billing_period(record.month, zone))


def _day(number: int, zone: ZoneInfo) -> Period:
    """The local day of a number like 20261130."""
    day = day_of(first_instant(number // 10_000, number // 100 % 100, number % 100, zone), zone)
    return Period(day.start, day.end)


def _posted(record: MonthRecord) -> list[Adjustment]:
    return [each for each in record.adjustments if each.posted is not None]


def _adjusted(each: Adjustment, period: Period) -> Charge:
    return Charge(
        what="adjustment",
        period=period,
        product=each.product,
        team=each.team,
        cost=each.amount,
        price_basis=each.cell.price_basis,
        reason=each.reason,
    )


def _gpu_time(sums: Sums, period: Period) -> Iterator[Charge]:
    paid, unpriced = _paid(sums), _unpriced(sums)
    told = {slot for slot in (*sums.cost, *sums.held) if sums.cost.get(slot) or sums.held.get(slot)}
    # Of a day in which the host was down, time may wait of which nothing is owed yet.
    told |= {Slot(party, "unobserved") for party in unpriced.keys() - {slot.party for slot in told}}
    slots = sorted(told, key=lambda slot: (slot.party, _turn(slot.phase, PHASES)))
    for owner, of_owner in groupby(slots, key=lambda slot: _owner(slot.party)):
        held_here = list(of_owner)
        bases = paid.get(owner, {})
        estimated = dealt(bases.get(ESTIMATE, 0), [sums.cost.get(slot, 0) for slot in held_here])
        estimates = dict(zip(held_here, estimated, strict=True))
        for party, of_party in groupby(held_here, key=lambda slot: slot.party):
            phases = list(of_party)
            without = dealt(unpriced.get(party, 0), [sums.held.get(slot, 0) for slot in phases])
            for slot, missing in zip(phases, without, strict=True):
                yield _charge(sums, period, slot, _basis(bases), estimates[slot], missing)


def _charge(
    sums: Sums, period: Period, slot: Slot, basis: str, estimated: Picodollars, unpriced: Nanoseconds
) -> Charge:
    party, cost = slot.party, sums.cost.get(slot, 0)
    return Charge(
        what="gpu time",
        period=period,
        product=party.product,
        team=party.team,
        namespace=party.namespace,
        server=party.server,
        model=party.model,
        phase=slot.phase,
        cost=cost,
        gpu_time=sums.held.get(slot, 0),
        price_basis=basis if cost else "",
        estimated=estimated,
        unpriced=unpriced,
    )


def _tokens(sums: Sums, period: Period) -> Iterator[Charge]:
    for party, kind in sorted(sums.tokens, key=lambda told: (told[0], _turn(told[1], KINDS))):
        count = sums.tokens[party, kind]
        if count:
            yield Charge(
                what="tokens",
                period=period,
                product=party.product,
                team=party.team,
                namespace=party.namespace,
                server=party.server,
                model=party.model,
                kind=kind,
                tokens=count,
            )


def _not_itemized(record: MonthRecord, period: Period) -> Iterator[Charge]:
    """What the cells hold beyond history: posted by an earlier release, or in days past their time."""
    missing = dict(record.cells)
    for each in _posted(record):
        missing[each.cell] = missing.get(each.cell, 0) - each.amount
    uneven: dict[tuple[str, str], Picodollars] = {}
    for sums in record.days.values():
        for (owner, _component, basis), amount in sums.server_cost.items():
            cell = MonthKey(owner.product, owner.team, basis, record.month)
            missing[cell] = missing.get(cell, 0) - amount
            _add(uneven, (owner.product, owner.team), amount)
        for slot, amount in sums.cost.items():
            _add(uneven, (slot.party.product, slot.party.team), -amount)
    for cell, amount in sorted(missing.items(), key=lambda item: _labels(item[0])):
        if amount:
            estimated = amount if cell.price_basis == ESTIMATE else 0
            yield _rest(period, cell.product, cell.team, amount, cell.price_basis, estimated)
    # Both families are of the same postings. Should a file have lost rows of one, money still adds up.
    for (product, team), amount in sorted(uneven.items()):
        if amount:
            yield _rest(period, product, team, amount, MIXED, 0)


def _rest(
    period: Period, product: str, team: str, amount: Picodollars, basis: str, estimated: Picodollars
) -> Charge:
    return Charge("not itemized", period, product, team, cost=amount, price_basis=basis, estimated=estimated)


def dealt(amount: int, weights: Sequence[int]) -> list[int]:
    """An amount in parts by weight that sum to it exactly, each less than one away from its share.

    Where the weights sum to nothing, the first part is all of it.
    """
    total = sum(weights)
    if not total:
        return [amount if place == 0 else 0 for place in range(len(weights))]
    ends = [0, *(amount * reached // total for reached in accumulate(weights))]
    return [end - start for start, end in pairwise(ends)]


def _basis(bases: Mapping[str, Picodollars]) -> str:
    paid = [basis for basis, amount in bases.items() if amount]
    return MIXED if len(paid) > 1 else "".join(paid)


def _paid(sums: Sums) -> dict[Owner, dict[str, Picodollars]]:
    """What each server paid, by price basis."""
    paid: dict[Owner, dict[str, Picodollars]] = {}
    for (owner, _component, basis), amount in sums.server_cost.items():
        _add(paid.setdefault(owner, {}), basis, amount)
    return paid


def _unpriced(sums: Sums) -> dict[Party, Nanoseconds]:
    found: dict[Party, Nanoseconds] = {}
    for (_gpu, party), held in sums.waiting().items():
        _add(found, party, held)
    return found


def _owner(party: Party) -> Owner:
    return Owner(party.product, party.team, party.namespace, party.server)


def _labels(cell: MonthKey) -> tuple[str, str, str]:
    return cell.product, cell.team, cell.price_basis


def _turn(name: str, order: Sequence[str]) -> tuple[int, str]:
    """In the order that is known; what a later release added comes last."""
    return order.index(name) if name in order else len(order), name


def _add(sums: dict[K, int], key: K, amount: int) -> None:
    sums[key] = sums.get(key, 0) + amount

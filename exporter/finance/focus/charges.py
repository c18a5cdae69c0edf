"""Charges of a month, as FOCUS (https://focus.finops.org) divides them: by local day and owner. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from itertools import accumulate, groupby, pairwise
from operator import attrgetter
from typing import Final, Literal, NamedTuple
from zoneinfo import ZoneInfo

from exporter.cost.money import add
from exporter.cost.postings import PHASES, CostOwner
from exporter.finance import facts
from exporter.finance.facts import Fact, Measure
from exporter.ledger.history import ESTIMATE, MonthRecord
from exporter.readings import KINDS
from exporter.tariff.period import Period
from exporter.units import Instant, Nanoseconds, Picodollars

What = Literal["gpu time", "tokens", "adjustment", "not itemized"]

PricingCategory = Literal["Standard", "Other"]

MIXED: Final = "mixed"
"""The price basis of a server's day that was paid by several."""

_PREDETERMINED: Final = ("configured", "catalogue", MIXED)
"""Price bases of an agreed rate."""

RATIO_PARTS: Final = 10**12
"""Parts of an origin charge that ratios count."""


class ChargePeriod(NamedTuple):
    """A range [start, end) of the wall clock."""

    start: Instant
    end: Instant


class FocusCharge(NamedTuple):
    """What one owner owes for one thing in one local day, or in the month where no day is known.

    A label is empty where there is none.
    """

    what: What
    period: ChargePeriod
    product: str
    team: str
    namespace: str = ""
    server: str = ""
    model: str = ""
    phase: str = ""
    """Of GPU time."""
    kind: str = ""
    """Of tokens, which carry no money: it is all in the GPU time that made them."""
    cost: Picodollars = 0
    gpu_time: Nanoseconds = 0
    """Chargeable GPU time: `cost` over it is the price."""
    tokens: int = 0
    price_basis: str = ""
    """Empty where nothing was paid."""
    estimated: Picodollars = 0
    """The part of `cost` that comes from estimated prices."""
    unpriced: Nanoseconds = 0
    """Time that has no price yet, as it passed."""
    reason: str = ""
    """Of an adjustment."""
    ratio: int | None = None
    """For GPU time, the parts of `RATIO_PARTS` that it is of its origin charge."""

    @property
    def pricing_category(self) -> PricingCategory:
        """The pricing model: a rate that was agreed on, or another one."""
        return "Standard" if self.price_basis in _PREDETERMINED else "Other"


def charge_period(period: Period, zone: ZoneInfo) -> ChargePeriod:
    """A month or a day in a time zone."""
    return ChargePeriod(*period.bounds(zone))


def charges(record: MonthRecord, zone: ZoneInfo) -> Iterator[FocusCharge]:
    """All charges of a month: by day and owner, then adjustments, then what no history tells more of.

    They sum to the month's cells to the picodollar, also where history is gone.
    Where the record has sums and no days, as a closed month has, their period is the month.
    Adjustments that wait for the daemon are in no sum yet, and are left out.
    """
    every = facts.facts_of(replace(record, sums=None) if record.days else record, by_day=True)
    month = charge_period(Period.named(record.month), zone)
    by_day: dict[str, dict[Measure, list[Fact]]] = {}
    for fact in every:
        if fact.server is not None:
            by_day.setdefault(fact.day or "", {}).setdefault(fact.measure, []).append(fact)
    for day, of_day in sorted(by_day.items()):
        period = _day(day, zone) if day else month
        yield from _gpu_time(of_day, period)
        tokens = facts.sums_by(of_day.get("tokens", []), lambda fact: (fact.owner, fact.kind or ""))
        for owner, kind in sorted(tokens, key=lambda key: (key[0], _turn(key[1], KINDS))):
            if tokens[owner, kind]:
                yield FocusCharge("tokens", period, *owner, kind=kind, tokens=tokens[owner, kind])
    for each in record.adjustments:
        if each.posted is not None:
            yield FocusCharge(
                what="adjustment",
                period=_day(each.day, zone),
                product=each.product,
                team=each.team,
                cost=each.amount,
                price_basis=each.cell.price_basis,
                reason=each.reason,
            )
    # Money that months have and history does not: of days that expired.
    uneven: dict[tuple[str, str], Picodollars] = {}
    rest = [fact for fact in every if fact.server is None and not fact.is_adjustment]
    for fact in facts.measured(rest, "money of owners"):
        add(uneven, (fact.product or "", fact.team or ""), fact.value)
    by_basis = facts.sums_by(facts.measured(rest, "money of components"), lambda fact: fact.key(_BASIS))
    for (product, team, basis), amount in sorted(by_basis.items()):
        add(uneven, (product, team), -amount)
        estimated = amount if basis == ESTIMATE else 0
        yield FocusCharge(
            "not itemized", month, product, team, cost=amount, price_basis=basis, estimated=estimated
        )
    # Both views are of the same postings. Should a file have lost rows of one, money still adds up.
    for (product, team), amount in sorted(uneven.items()):
        if amount:
            yield FocusCharge("not itemized", month, product, team, cost=amount, price_basis=MIXED)


_BASIS: Final = facts.VIEWS["money of components"]
_SERVER: Final = attrgetter("product", "team", "namespace", "server")


def _day(name: str, zone: ZoneInfo) -> ChargePeriod:
    day = date.fromisoformat(name)
    return charge_period(Period.between(day, day), zone)


def _gpu_time(of_day: Mapping[Measure, list[Fact]], period: ChargePeriod) -> Iterator[FocusCharge]:
    """GPU time of a period and its cost, by owner and phase."""
    key = attrgetter("owner", "phase")
    cost: dict[tuple[CostOwner, str], Picodollars] = facts.sums_by(of_day.get("money of owners", []), key)
    gpu_time: dict[tuple[CostOwner, str], Nanoseconds] = facts.sums_by(of_day.get("GPU time", []), key)
    unpriced_gpus = [fact for fact in of_day.get("unpriced time", []) if not fact.is_time_of_host]
    unpriced = facts.sums_by(unpriced_gpus, attrgetter("owner"))
    paid: dict[tuple[str, ...], dict[str, Picodollars]] = {}
    for fact in of_day.get("money of components", []):
        add(paid.setdefault(_SERVER(fact), {}), fact.basis or "", fact.value)
    present = {each for each in (*cost, *gpu_time) if cost.get(each) or gpu_time.get(each)}
    # Of a day in which the host was down, unpriced time may have nothing chargeable yet.
    present |= {(owner, "unobserved") for owner in unpriced.keys() - {owner for owner, _phase in present}}
    ordered = sorted(present, key=lambda each: (each[0], _turn(each[1], PHASES)))
    for server, of_server in groupby(ordered, key=lambda each: _SERVER(each[0])):
        rows = list(of_server)
        amounts = paid.get(server, {})
        bases = [basis for basis, amount in amounts.items() if amount]
        basis = MIXED if len(bases) > 1 else "".join(bases)
        estimated = dealt(amounts.get(ESTIMATE, 0), [cost.get(each, 0) for each in rows])
        unpriced_parts: list[Nanoseconds] = []
        for owner, of_owner in groupby(rows, key=lambda each: each[0]):
            unpriced_parts += dealt(unpriced.get(owner, 0), [gpu_time.get(each, 0) for each in of_owner])
        for each, estimate, unpriced_part in zip(rows, estimated, unpriced_parts, strict=True):
            owner, phase = each
            yield FocusCharge(
                "gpu time",
                period,
                *owner,
                phase=phase,
                cost=cost.get(each, 0),
                gpu_time=gpu_time.get(each, 0),
                price_basis=basis if cost.get(each) else "",
                estimated=estimate,
                unpriced=unpriced_part,
            )


def allocated(every: Iterable[FocusCharge]) -> Iterator[FocusCharge]:
    """Charges of one host in their order, with ratios. One charge period at a time is in memory.

    An origin charge is the GPU time of one host in one charge period and one pricing category. FOCUS wants
    allocated charges to share all dimensions, and the pricing category is the only one that differs.
    """
    for (what, _period), group in groupby(every, key=attrgetter("what", "period")):
        if what != "gpu time":
            yield from group
            continue
        of_period = list(group)
        by_category: dict[PricingCategory, list[FocusCharge]] = {}
        for charge in of_period:
            by_category.setdefault(charge.pricing_category, []).append(charge)
        ratios: dict[PricingCategory, Iterator[int]] = {}
        for category, origin in by_category.items():
            weights = [charge.cost for charge in origin]
            if min(weights) < 0 or not any(weights):  # a ratio is never negative
                weights = [charge.gpu_time for charge in origin]
            ratios[category] = iter(dealt(RATIO_PARTS, weights))
        for charge in of_period:
            yield charge._replace(ratio=next(ratios[charge.pricing_category]))


def dealt(amount: int, weights: Sequence[int]) -> list[int]:
    """An amount in parts by weight that sum to it exactly, each less than one away from its share.

    Where the weights sum to nothing, the first part is all of it.
    """
    total = sum(weights)
    if not total:
        return [amount if index == 0 else 0 for index in range(len(weights))]
    ends = [0, *(amount * reached // total for reached in accumulate(weights))]
    return [end - start for start, end in pairwise(ends)]


def _turn(name: str, order: Sequence[str]) -> tuple[int, str]:
    """A sort key: the given order, then names that a later release added."""
    return order.index(name) if name in order else len(order), name

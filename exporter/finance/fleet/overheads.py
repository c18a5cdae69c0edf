"""Amounts of the whole fleet, like staff and shared storage: what a period owes, and who carries it. Pure."""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final, Literal, TypeVar, get_args
from zoneinfo import ZoneInfo

from exporter.cost.money import add, divide
from exporter.cost.postings import UNASSIGNED, CostOwner
from exporter.tariff.calendar import month_of
from exporter.tariff.period import Period
from exporter.tariff.tariff import Tariff
from exporter.tariff.terms import Overhead
from exporter.units import Instant, Nanoseconds, Picodollars

K = TypeVar("K", bound=Hashable)

Basis = Literal["gpu-hours", "dollars", "equal", "shares"]
BASES: Final[tuple[Basis, ...]] = get_args(Basis)

SHARE_PARTS: Final = 10**9
"""Parts of one in which a share may be given."""

_WORDS: Final[Mapping[Basis, str]] = {
    "gpu-hours": "in proportion to GPU-hours",
    "dollars": "in proportion to dollars",
    "equal": "equally over all assigned products, and within a product in proportion to GPU-hours",
    "shares": "by fixed shares, and within a product in proportion to GPU-hours",
}


@dataclass(frozen=True, slots=True)
class SpreadRule:
    """Who carries overheads. `shares` are the weights of products, for the basis of that name."""

    basis: Basis = "gpu-hours"
    shares: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        """The rule in words."""
        return _WORDS[self.basis]


BY_GPU_HOURS: Final = SpreadRule()


@dataclass(frozen=True, slots=True)
class FleetOverheads:
    """Overheads of a period by name, and the rule by which they are spread."""

    amounts: Mapping[str, Picodollars]
    rule: SpreadRule = BY_GPU_HOURS

    @property
    def total(self) -> Picodollars:
        """Their sum."""
        return sum(self.amounts.values())


def fleet_amounts(
    overheads: Iterable[Overhead], period: Period, zone: ZoneInfo, now: Instant
) -> dict[str, Picodollars]:
    """What overheads `per: fleet` come to in a period, up to now, each rounded to the picodollar.

    A monthly amount is that amount in each month, whatever its length. A yearly one accrues by the hour.
    """
    tariff = Tariff(overheads=tuple(overheads))
    start, end = period.bounds(zone)
    end = min(end, now)
    sums: dict[str, Fraction] = {}
    at = start
    while at < end:
        month = month_of(at, zone)
        elapsed = min(end, month.end) - at
        for name, rate in tariff.fleet_overheads(month):
            sums[name] = sums.get(name, Fraction(0)) + Fraction(rate.amount * elapsed, rate.period)
        at = month.end
    return {name: int(amount + Fraction(1, 2)) for name, amount in sums.items()}


def spread(
    overheads: FleetOverheads,
    gpu_time: Mapping[CostOwner, Nanoseconds],
    dollars: Mapping[CostOwner, Picodollars],
) -> dict[CostOwner, Picodollars]:
    """Divide all overheads among cost owners, to the picodollar.

    What nobody can carry by the rule, since no weight is positive, is unassigned.

    Args:
        overheads: the amounts and the rule.
        gpu_time: chargeable GPU time, by owner.
        dollars: cost of all owners.
    """
    total, rule = overheads.total, overheads.rule
    if not total:
        return {}
    if rule.basis in {"gpu-hours", "dollars"}:
        return _divided(total, gpu_time if rule.basis == "gpu-hours" else dollars, UNASSIGNED)
    products = {owner.product for owner in (*dollars, *gpu_time)}
    products = products - {UNASSIGNED} or products
    shares = rule.shares if rule.basis == "shares" else dict.fromkeys(products, 1)
    parts = positive_split(total, shares) or {UNASSIGNED: total}
    sums: dict[CostOwner, Picodollars] = {}
    for product, part in parts.items():
        weights = {owner: time for owner, time in gpu_time.items() if owner.product == product}
        if not any(time > 0 for time in weights.values()):
            weights = {owner: amount for owner, amount in dollars.items() if owner.product == product}
        for owner, amount in _divided(part, weights, product).items():
            add(sums, owner, amount)
    return sums


def _divided(amount: Picodollars, weights: Mapping[CostOwner, int], product: str) -> dict[CostOwner, int]:
    """Parts by weight; all of it to an owner without a server where no weight is positive."""
    return positive_split(amount, weights) or {CostOwner(product, UNASSIGNED, "", "", ""): amount}


def positive_split(amount: int, weights: Mapping[K, int]) -> dict[K, int]:
    """Parts of an amount by the weights that are positive, summing to it exactly; none without any."""
    positive = {key: weight for key, weight in weights.items() if weight > 0}
    return divide(amount, positive) if positive else {}

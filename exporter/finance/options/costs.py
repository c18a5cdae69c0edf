"""What an option costs, month by month. Pure; exact fractions of dollars throughout.

Cost is what accrues: hardware is written off over its life, as the ledger does it. Paid is what leaves the
bank: hardware is paid when it is bought, and its residual comes back when it is replaced. Everything else
is paid as it accrues. Load, fleets and prices change at the beginning of a year and stay for the year.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from exporter.finance.options.option import (
    MONTHS_PER_YEAR,
    ZERO,
    AsMeasured,
    Hosted,
    Hybrid,
    Option,
    OwnedHosts,
    RentedHosts,
    Tokens,
    scaled,
)
from exporter.finance.options.scenario import HOSTED, OWN_COMPONENTS, Scenario
from exporter.tariff import tariff
from exporter.units import TOKENS_PER_MILLION


@dataclass(slots=True)
class OptionMonth:
    """One month of an option."""

    cost: dict[str, Fraction] = field(default_factory=dict)
    """Dollars by component."""
    paid: Fraction = ZERO
    hosts: int = 0
    gpus: int = 0
    busy: Fraction | None = None
    """The part of the hosts' capacity that is used; `None` where it is not known."""

    def add(self, component: str, cost: Fraction, paid: Fraction | None = None) -> None:
        """Add money of one component, paid as it accrues unless said otherwise."""
        self.cost[component] = self.cost.get(component, ZERO) + cost
        self.paid += cost if paid is None else paid

    @property
    def total(self) -> Fraction:
        """The cost of the month."""
        return sum(self.cost.values(), ZERO)


@dataclass(frozen=True, slots=True)
class OptionCourse:
    """An option over the horizon."""

    option: str
    months: tuple[OptionMonth, ...]
    worth: Fraction
    """The hardware's value at the end, by straight line. There `paid - worth` is `total`; an annuity adds the
    cost of capital, which nobody is paid."""

    @property
    def total(self) -> Fraction:
        """The cost of the horizon."""
        return sum((month.total for month in self.months), ZERO)

    @property
    def paid(self) -> Fraction:
        """The payments of the horizon."""
        return sum((month.paid for month in self.months), ZERO)

    @property
    def years(self) -> tuple[tuple[OptionMonth, ...], ...]:
        """The months of each year."""
        return tuple(zip(*[iter(self.months)] * MONTHS_PER_YEAR, strict=True))

    @property
    def components(self) -> dict[str, Fraction]:
        """The horizon by component; those that cost nothing are left out."""
        return summed(self.months)

    def cumulated_paid(self) -> list[Fraction]:
        """Cumulated payments at the end of each month."""
        sums, so_far = [], ZERO
        for month in self.months:
            so_far += month.paid
            sums.append(so_far)
        return sums


def summed(months: Sequence[OptionMonth]) -> dict[str, Fraction]:
    """Some months by component, the program's own first; what costs nothing is left out."""
    sums: dict[str, Fraction] = dict.fromkeys(OWN_COMPONENTS, ZERO)
    for month in months:
        for component, amount in month.cost.items():
            sums[component] = sums.get(component, ZERO) + amount
    return {component: amount for component, amount in sums.items() if amount}


def course(scenario: Scenario, option: Option, hosts: int | None = None) -> OptionCourse:
    """An option over the horizon. With `hosts` its fleet is that, whatever the load.

    Raises:
        ValueError: it buys tokens, and the scenario has no load.
    """
    months, worth = _served(scenario, option, scenario.yearly_loads, hosts)
    for item in scenario.items:
        if not item.paid_by(option):
            continue
        prices = scenario.changes(item.price_change_ratio_per_year)
        for index, month in enumerate(months):
            units = {"option": 1, "host": month.hosts, "gpu": month.gpus}[item.per]
            dollars = item.due(index + 1)
            if dollars:
                month.add(item.component, dollars * units * prices[index // MONTHS_PER_YEAR])
    return OptionCourse(option.name, tuple(months), worth)


def _served(
    scenario: Scenario, option: Option, loads: Sequence[Tokens] | None, forced: int | None
) -> tuple[list[OptionMonth], Fraction]:
    """The months without items, and what the hardware is worth at the end."""
    serving, fleet, power = option.serving, option.fleet, option.power
    if loads is None and isinstance(serving, Hosted | Hybrid):
        raise ValueError("an option that buys tokens needs a load")
    if isinstance(serving, Hybrid):
        shares = [serving.base_share(load) for load in loads or ()]
        base = [scaled(load, share) for load, share in zip(loads or (), shares, strict=True)]
        rest = [scaled(load, 1 - share) for load, share in zip(loads or (), shares, strict=True)]
        served, worth = _served(scenario, scenario.option(serving.base), base, None)
        others, _ = _served(scenario, scenario.option(serving.rest), rest, None)
        for month, other in zip(served, others, strict=True):
            for component, cost in other.cost.items():
                month.add(component, cost)
        return served, worth
    months: list[OptionMonth] = []
    hosts = 0
    busy: Fraction | None = None
    for year, price in enumerate(scenario.changes(option.change_ratio_per_year)):
        tokens = None if loads is None else option.tokens(loads[year])
        costs: dict[str, Fraction] = {}
        if fleet is not None:
            needed = fleet.needed(tokens) if forced is None else forced
            # What was bought is kept when the load falls.
            hosts = max(hosts, needed) if isinstance(serving, OwnedHosts) else needed
            busy = fleet.busy(tokens, hosts)
            host_hours = scenario.hours_per_month * fleet.hours_ratio * hosts
            if isinstance(serving, RentedHosts):
                costs[tariff.RENT] = serving.dollars_per_host_hour * host_hours * price
            if power is not None:
                costs[tariff.ENERGY] = host_hours * power.dollars_per_hour(busy, year)
        if isinstance(serving, Hosted) and tokens is not None:
            a_day = sum((serving.dollars_per_million[kind] * count for kind, count in tokens.items()), ZERO)
            costs[HOSTED] = a_day / TOKENS_PER_MILLION * scenario.days_per_month * price
        elif isinstance(serving, AsMeasured):
            costs = {name: a_day * scenario.days_per_month for name, a_day in serving.dollars_per_day.items()}
        gpus = 0 if fleet is None else hosts * fleet.gpus
        paid = sum(costs.values(), ZERO)
        months += [OptionMonth(dict(costs), paid, hosts, gpus, busy) for _ in range(MONTHS_PER_YEAR)]
    if isinstance(serving, OwnedHosts):
        return months, _ownership(serving, months, scenario.changes(option.change_ratio_per_year))
    return months, ZERO


def _ownership(owned: OwnedHosts, months: Sequence[OptionMonth], prices: Sequence[Fraction]) -> Fraction:
    """Add what hosts cost and what is paid for them; returns what they are worth at the end."""
    ownership, life = owned.ownership, owned.life_months
    capital, residual = Fraction(ownership.capital_dollars), Fraction(ownership.residual_dollars)
    written_off = tariff.amortization_dollars_per_year(ownership) / MONTHS_PER_YEAR
    support, insurance = ownership.support_dollars_per_year, ownership.insurance_dollars_per_year
    bought: list[tuple[int, int]] = []
    """Month of the first purchase of some hosts, and their number."""
    hosts = 0
    for index, month in enumerate(months):
        if month.hosts > hosts:
            bought.append((index, month.hosts - hosts))
            hosts = month.hosts
        cost = paid = ZERO
        for since, count in bought:
            lives, age = divmod(index - since, life)
            if lives and not owned.refresh:
                continue
            latest = index - age
            cost += count * written_off * prices[latest // MONTHS_PER_YEAR]
            if not age:
                paid += count * capital * prices[latest // MONTHS_PER_YEAR]
                paid -= count * residual * prices[(latest - life) // MONTHS_PER_YEAR] if lives else 0
        month.add(tariff.AMORTIZATION, cost, paid)
        month.add(tariff.SUPPORT, hosts * Fraction(support) / MONTHS_PER_YEAR)
        month.add(tariff.INSURANCE, hosts * Fraction(insurance) / MONTHS_PER_YEAR)
    worth = ZERO
    for since, count in bought:
        lives, age = divmod(len(months) - since - 1, life)
        left = capital - (capital - residual) * (age + 1) / life
        if lives and not owned.refresh:
            lives, left = 0, residual
        worth += count * left * prices[(since + lives * life) // MONTHS_PER_YEAR]
    return worth

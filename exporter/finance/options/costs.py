"""What an option costs, month by month. Pure; exact fractions of dollars throughout.

Cost is what accrues: hardware is written off over its life, as the ledger does it. Paid is what leaves the
bank: hardware is paid when it is bought, and its residual comes back when it is replaced. Everything else
is paid as it accrues. Load, fleets and prices change at the beginning of a year and stay for the year.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import accumulate, pairwise
from typing import NamedTuple, Self

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


class Charge(NamedTuple):
    """Money of one component in a month."""

    component: str
    """The name of the component."""
    cost: Fraction
    """Dollars that accrue."""
    paid: Fraction
    """Dollars that leave the bank."""

    @classmethod
    def accrued(cls, component: str, dollars: Fraction) -> Self:
        """Money that is paid as it accrues."""
        return cls(component, dollars, dollars)


@dataclass(frozen=True, slots=True)
class OptionMonth:
    """One month of an option."""

    charges: tuple[Charge, ...] = ()
    """Money of the month; several charges may be of one component."""
    hosts: int = 0
    """Hosts that are there."""
    gpus: int = 0
    """GPUs of the hosts."""
    busy: Fraction | None = None
    """The part of the hosts' capacity that is used; `None` where it is not known."""

    @property
    def cost(self) -> dict[str, Fraction]:
        """Dollars by component."""
        sums: dict[str, Fraction] = {}
        for charge in self.charges:
            sums[charge.component] = sums.get(charge.component, ZERO) + charge.cost
        return sums

    @property
    def paid(self) -> Fraction:
        """The payments of the month."""
        return sum((charge.paid for charge in self.charges), ZERO)

    @property
    def total(self) -> Fraction:
        """The cost of the month."""
        return sum((charge.cost for charge in self.charges), ZERO)


@dataclass(frozen=True, slots=True)
class OptionCourse:
    """An option over the horizon."""

    option: str
    """The name of the option."""
    months: tuple[OptionMonth, ...]
    """The months of the horizon."""
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
    def yearly_totals(self) -> list[Fraction]:
        """The cost of each year."""
        return [sum((month.total for month in year), ZERO) for year in self.years]

    @property
    def components(self) -> dict[str, Fraction]:
        """The horizon by component; those that cost nothing are left out."""
        return summed(self.months)

    def cumulated_paid(self) -> list[Fraction]:
        """Cumulated payments at the end of each month."""
        return list(accumulate(month.paid for month in self.months))


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
    served = _served(scenario, option, scenario.yearly_loads, hosts)
    items = [item for item in scenario.items if item.paid_by(option)]
    months = []
    for index, month in enumerate(served.months):
        units = {"option": 1, "host": month.hosts, "gpu": month.gpus}
        charges = list(month.charges)
        for item in items:
            price = (1 + item.price_change_ratio_per_year) ** (index // MONTHS_PER_YEAR)
            dollars = item.due(index + 1)
            if dollars:
                charges.append(Charge.accrued(item.component, dollars * units[item.per] * price))
        months.append(replace(month, charges=tuple(charges)))
    return OptionCourse(option.name, tuple(months), served.worth)


def _served(
    scenario: Scenario, option: Option, loads: Sequence[Tokens] | None, forced: int | None
) -> OptionCourse:
    """An option over the horizon without items."""
    serving = option.serving
    if loads is None and isinstance(serving, Hosted | Hybrid):
        raise ValueError("an option that buys tokens needs a load")
    if isinstance(serving, Hybrid):
        return _hybrid(scenario, option.name, serving, loads or ())
    months: list[OptionMonth] = []
    hosts = 0
    for year in range(scenario.horizon_years):
        tokens = None if loads is None else option.tokens(loads[year])
        bare = OptionMonth()
        if option.fleet is not None:
            needed = option.fleet.needed(tokens) if forced is None else forced
            # What was bought is kept when the load falls.
            hosts = max(hosts, needed) if isinstance(serving, OwnedHosts) else needed
            busy = option.fleet.busy(tokens, hosts)
            bare = OptionMonth(hosts=hosts, gpus=hosts * option.fleet.gpus, busy=busy)
        charges = tuple(_running_charges(scenario, option, bare, tokens=tokens, year=year))
        months += [replace(bare, charges=charges)] * MONTHS_PER_YEAR
    if isinstance(serving, OwnedHosts):
        return _with_hardware(option, serving, tuple(months))
    return OptionCourse(option.name, tuple(months), ZERO)


def _hybrid(scenario: Scenario, name: str, hybrid: Hybrid, loads: Sequence[Tokens]) -> OptionCourse:
    """Both parts together, each at its part of the load; the hosts are those of the base."""
    shares = [hybrid.base_share(load) for load in loads]
    base_loads = [scaled(load, share) for load, share in zip(loads, shares, strict=True)]
    rest_loads = [scaled(load, 1 - share) for load, share in zip(loads, shares, strict=True)]
    base = _served(scenario, scenario.option(hybrid.base), base_loads, None)
    rest = _served(scenario, scenario.option(hybrid.rest), rest_loads, None)
    months = [
        replace(mine, charges=mine.charges + theirs.charges)
        for mine, theirs in zip(base.months, rest.months, strict=True)
    ]
    return OptionCourse(name, tuple(months), base.worth)


def _running_charges(
    scenario: Scenario, option: Option, month: OptionMonth, *, tokens: Tokens | None, year: int
) -> Iterator[Charge]:
    """Rent, electricity, tokens or measured cost of each month of a year, counted from 0."""
    price = option.price(year)
    host_hours = scenario.hours_per_month * month.hosts * (option.fleet.hours_ratio if option.fleet else 0)
    match option.serving:
        case RentedHosts(dollars_per_host_hour=rent):
            yield Charge.accrued(tariff.RENT, rent * host_hours * price)
        case Hosted(dollars_per_million=per_million) if tokens is not None:
            a_day = sum((per_million[kind] * count for kind, count in tokens.items()), ZERO)
            dollars = a_day / TOKENS_PER_MILLION * scenario.days_per_month * price
            yield Charge.accrued(HOSTED, dollars)
        case AsMeasured(dollars_per_day=per_day):
            for component, a_day in per_day.items():
                yield Charge.accrued(component, a_day * scenario.days_per_month * option.price_factor)
    if option.power is not None:
        yield Charge.accrued(tariff.ENERGY, host_hours * option.power.dollars_per_hour(month.busy, year))


@dataclass(frozen=True, slots=True)
class _BoughtHosts:
    """Hosts that were bought together, and are replaced together."""

    hosts: int
    """The number of hosts."""
    month: int
    """The month of the first purchase, counted from 0."""
    option: Option
    """The option whose price the hosts have."""
    owned: OwnedHosts
    """The terms of a host."""

    def price(self, month: int) -> Fraction:
        """Hosts times their price in a month, relative to the terms."""
        return self.hosts * self.option.price(month // MONTHS_PER_YEAR)

    def amortization(self, month: int) -> Charge:
        """What is written off in a month; a host that is replaced gives its residual back.

        A host of 36,000 dollars over 36 months costs 1,000 a month, and is paid whole in its first month.
        """
        ownership, life = self.owned.ownership, self.owned.life_months
        lives, age = divmod(month - self.month, life)
        if month < self.month or (lives and not self.owned.refresh):
            return Charge(tariff.AMORTIZATION, ZERO, ZERO)
        written_off = tariff.amortization_dollars_per_year(ownership) / MONTHS_PER_YEAR
        paid = ZERO
        if age == 0:
            paid = Fraction(ownership.capital_dollars) * self.price(month)
        if age == 0 and lives:
            paid -= Fraction(ownership.residual_dollars) * self.price(month - life)
        return Charge(tariff.AMORTIZATION, self.price(month - age) * written_off, paid)

    def worth(self, months: int) -> Fraction:
        """What the hosts are worth after so many months."""
        ownership, life = self.owned.ownership, self.owned.life_months
        capital, residual = Fraction(ownership.capital_dollars), Fraction(ownership.residual_dollars)
        lives, age = divmod(months - 1 - self.month, life)
        if lives and not self.owned.refresh:
            return residual * self.price(self.month)
        left = capital - (capital - residual) * (age + 1) / life
        return left * self.price(self.month + lives * life)


def _with_hardware(option: Option, owned: OwnedHosts, running: tuple[OptionMonth, ...]) -> OptionCourse:
    """Months with what their hosts cost, and what the hosts are worth at the end."""
    hosts = [0, *(month.hosts for month in running)]
    bought = [
        _BoughtHosts(hosts=after - before, month=index, option=option, owned=owned)
        for index, (before, after) in enumerate(pairwise(hosts))
        if after > before
    ]
    yearly = tariff.yearly_dollars(owned.ownership)
    months = []
    for index, month in enumerate(running):
        charges = [purchase.amortization(index) for purchase in bought]
        for component, dollars in yearly.items():
            a_month = Fraction(dollars) * option.price_factor / MONTHS_PER_YEAR
            charges.append(Charge.accrued(component, month.hosts * a_month))
        months.append(replace(month, charges=(*month.charges, *charges)))
    worth = sum((purchase.worth(len(months)) for purchase in bought), ZERO)
    return OptionCourse(option.name, tuple(months), worth)

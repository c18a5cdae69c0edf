"""What an option costs, month by month. Pure; exact fractions of dollars throughout.

Cost is what accrues: hardware is written off over its life, as the ledger does it. Paid is what leaves the
bank: hardware is paid when it is bought, and its residual comes back when it is replaced. Everything else
is paid as it accrues. Load, fleets and prices change at the beginning of a year and stay for the year.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

from exporter.finance.tco.scenario import (
    MONTHS_PER_YEAR,
    AsMeasured,
    Fleet,
    Hosted,
    Hybrid,
    Load,
    Option,
    OwnedHosts,
    Power,
    Scenario,
    ScenarioItem,
    Tokens,
    scaled,
    total,
)
from exporter.tariff import tariff
from exporter.units import TOKENS_PER_MILLION

ZERO: Final = Fraction(0)


@dataclass(frozen=True, slots=True)
class Capital:
    """The capital of one host at the price of the first year; `prices` are times that, by year."""

    monthly: Fraction
    purchase: Fraction
    residual: Fraction
    life_months: int
    refresh: bool
    prices: tuple[Fraction, ...]

    def cost(self, since: int, month: int) -> Fraction:
        """The cost in one month of a host bought in another."""
        lives = (month - since) // self.life_months
        if lives and not self.refresh:
            return ZERO
        return self.monthly * self._price(since + lives * self.life_months)

    def paid(self, since: int, month: int) -> Fraction:
        """The payment in a month: the purchase, less the residual of the host that it replaces."""
        lives, age = divmod(month - since, self.life_months)
        if age or (lives and not self.refresh):
            return ZERO
        paid = self.purchase * self._price(month)
        return paid - self.residual * self._price(month - self.life_months) if lives else paid

    def worth(self, since: int, end: int) -> Fraction:
        """The value after the last month: the purchase less straight-line depreciation."""
        lives, age = divmod(end - since - 1, self.life_months)
        if lives and not self.refresh:
            return self.residual * self._price(since)
        left = self.purchase - (self.purchase - self.residual) * (age + 1) / self.life_months
        return left * self._price(since + lives * self.life_months)

    def _price(self, month: int) -> Fraction:
        """The price factor of a month's year, relative to the first year."""
        return self.prices[month // MONTHS_PER_YEAR]


def capital(owned: OwnedHosts, prices: tuple[Fraction, ...]) -> Capital:
    """The capital of an option's hosts."""
    purchase = Fraction(owned.ownership.purchase_dollars)
    return Capital(
        monthly=tariff.amortization_dollars_per_year(owned.ownership) / MONTHS_PER_YEAR,
        purchase=purchase * (1 + Fraction(owned.ownership.adders_ratio)),
        residual=purchase * Fraction(owned.ownership.residual_ratio),
        life_months=owned.life_months,
        refresh=owned.refresh,
        prices=prices,
    )


HOSTED: Final = "hosted"
"""The component of tokens that are bought."""

OWN_COMPONENTS: Final = (*tariff.MACHINE, HOSTED, *tariff.HARDWARE[len(tariff.MACHINE) :], tariff.ENERGY)
"""Components that the arithmetic itself makes; items have names of their own."""


@dataclass(slots=True)
class OptionMonth:
    """One month. `cost` is by component. `busy` is `None` where it is not known."""

    cost: dict[str, Fraction] = field(default_factory=dict)
    paid: Fraction = ZERO
    hosts: int = 0
    gpus: int = 0
    busy: Fraction | None = None

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
    """An option over the horizon.

    `worth` is what the hardware is still worth at the end, by straight line. On the straight line,
    `paid - worth` is `total`; an annuity adds the cost of capital, which nobody is paid.
    """

    option: str
    months: tuple[OptionMonth, ...]
    worth: Fraction

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
        count = len(self.months) // MONTHS_PER_YEAR
        return tuple(self.months[MONTHS_PER_YEAR * y : MONTHS_PER_YEAR * (y + 1)] for y in range(count))

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


def yearly_loads(load: Load | None, years: int) -> tuple[Tokens, ...] | None:
    """The load of each year; `None` where none is known."""
    if load is None:
        return None
    return tuple(scaled(load.tokens, growth) for growth in changes(load.growth_ratio_per_year, years))


def changes(ratio_per_year: Fraction, years: int) -> tuple[Fraction, ...]:
    """The growth factor of each year."""
    return tuple((1 + ratio_per_year) ** year for year in range(years))


def course(scenario: Scenario, option: Option, hosts: int | None = None) -> OptionCourse:
    """An option over the horizon. With `hosts` its fleet is that, whatever the load.

    Raises:
        ValueError: it buys tokens, and the scenario has no load.
    """
    loads = yearly_loads(scenario.load, scenario.horizon_years)
    months, left = _served(scenario, option, loads, hosts)
    for item in scenario.items:
        if pays(item, option):
            _charge(item, months)
    return OptionCourse(option.name, tuple(months), left)


def pays(item: ScenarioItem, option: Option) -> bool:
    """Whether an option pays an item; a hybrid pays what its parts pay."""
    names = {option.name}
    if isinstance(option.serving, Hybrid):
        names |= {option.serving.base, option.serving.rest}
    return item.options is None or not names.isdisjoint(item.options)


def base_share(hybrid: Hybrid, tokens: Tokens) -> Fraction:
    """The part of a load that the base serves."""
    if hybrid.base_tokens_per_day is None:
        return hybrid.base_ratio or ZERO
    whole = total(tokens)
    return min(Fraction(1), hybrid.base_tokens_per_day / whole) if whole else Fraction(1)


def _served(
    scenario: Scenario, option: Option, loads: tuple[Tokens, ...] | None, hosts: int | None
) -> tuple[list[OptionMonth], Fraction]:
    """The months without items, and what the hardware is worth at the end."""
    serving = option.serving
    if isinstance(serving, Hybrid):
        return _hybrid(scenario, serving, _needed(loads))
    months = [OptionMonth() for _ in range(scenario.months)]
    if isinstance(serving, AsMeasured):
        for month in months:
            for component, dollars in serving.dollars_per_day.items():
                month.add(component, dollars * scenario.days_per_month)
        return months, ZERO
    processed = None if loads is None else tuple(map(option.tokens, loads))
    if isinstance(serving, Hosted):
        _tokens(scenario, option, serving, _needed(processed), months)
        return months, ZERO
    _hosts(serving.fleet, processed, hosts, months, keeps=isinstance(serving, OwnedHosts))
    left = ZERO
    if isinstance(serving, OwnedHosts):
        left = _ownership(serving, months, changes(option.change_ratio_per_year, scenario.horizon_years))
    else:
        prices = changes(option.change_ratio_per_year, scenario.horizon_years)
        hourly = serving.dollars_per_host_hour * scenario.hours_per_month * serving.fleet.hours_ratio
        for year, group in _years(months):
            cost = hourly * group[0].hosts * prices[year]
            for month in group:
                month.add(tariff.RENT, cost)
    if option.power is not None:
        _electricity(scenario, option.power, serving.fleet, months)
    return months, left


def _needed(loads: tuple[Tokens, ...] | None) -> tuple[Tokens, ...]:
    if loads is None:
        raise ValueError("an option that buys tokens needs a load")
    return loads


def _years(months: list[OptionMonth]) -> Iterator[tuple[int, list[OptionMonth]]]:
    """Each year, counted from 0, with its months: what stays the same through a year is calculated once."""
    for year in range(len(months) // MONTHS_PER_YEAR):
        yield year, months[MONTHS_PER_YEAR * year : MONTHS_PER_YEAR * (year + 1)]


def _hybrid(
    scenario: Scenario, hybrid: Hybrid, loads: tuple[Tokens, ...]
) -> tuple[list[OptionMonth], Fraction]:
    shares = [base_share(hybrid, load) for load in loads]
    base = tuple(scaled(load, share) for load, share in zip(loads, shares, strict=True))
    rest = tuple(scaled(load, 1 - share) for load, share in zip(loads, shares, strict=True))
    months, left = _served(scenario, scenario.option(hybrid.base), base, None)
    others, _none = _served(scenario, scenario.option(hybrid.rest), rest, None)
    for month, other in zip(months, others, strict=True):
        for component, cost in other.cost.items():
            month.add(component, cost)
    return months, left


def _tokens(
    scenario: Scenario, option: Option, hosted: Hosted, loads: tuple[Tokens, ...], months: list[OptionMonth]
) -> None:
    prices = changes(option.change_ratio_per_year, scenario.horizon_years)
    for year, group in _years(months):
        a_day = sum(
            (hosted.dollars_per_million[kind] * count for kind, count in loads[year].items()),
            ZERO,
        )
        cost = a_day / TOKENS_PER_MILLION * scenario.days_per_month * prices[year]
        for month in group:
            month.add(HOSTED, cost)


def _hosts(
    fleet: Fleet,
    loads: tuple[Tokens, ...] | None,
    forced: int | None,
    months: list[OptionMonth],
    *,
    keeps: bool,
) -> None:
    """Say how many hosts each month has; what was bought is kept when the load falls."""
    most = 0
    for year, group in _years(months):
        tokens = None if loads is None else loads[year]
        hosts = fleet.needed(tokens) if forced is None else forced
        most = max(most, hosts)
        hosts = most if keeps else hosts
        busy = fleet.busy(tokens, hosts)
        for month in group:
            month.hosts, month.gpus, month.busy = hosts, hosts * fleet.gpus, busy


def _ownership(hosts_bought: OwnedHosts, months: list[OptionMonth], prices: tuple[Fraction, ...]) -> Fraction:
    """Add what the hosts cost and what is paid for them; returns what they are worth at the end."""
    one = capital(hosts_bought, prices)
    support, insurance = (
        hosts_bought.ownership.support_dollars_per_year,
        hosts_bought.ownership.insurance_dollars_per_year,
    )
    bought: list[tuple[int, int]] = []
    hosts = 0
    for index, month in enumerate(months):
        if month.hosts > hosts:
            bought.append((index, month.hosts - hosts))
            hosts = month.hosts
        month.add(
            tariff.AMORTIZATION,
            sum((count * one.cost(since, index) for since, count in bought), ZERO),
            sum((count * one.paid(since, index) for since, count in bought), ZERO),
        )
        month.add(tariff.SUPPORT, hosts * Fraction(support) / MONTHS_PER_YEAR)
        month.add(tariff.INSURANCE, hosts * Fraction(insurance) / MONTHS_PER_YEAR)
    return sum((count * one.worth(since, len(months)) for since, count in bought), ZERO)


def _electricity(scenario: Scenario, power: Power, fleet: Fleet, months: list[OptionMonth]) -> None:
    prices = changes(power.change_ratio_per_year, scenario.horizon_years)
    price = Fraction(power.price.dollars_per_kilowatt_hour) * Fraction(power.price.pue_ratio)
    for year, group in _years(months):
        busy = Fraction(1) if group[0].busy is None else group[0].busy
        kilowatts = power.idle_kilowatts + (power.kilowatts - power.idle_kilowatts) * busy
        hours = scenario.hours_per_month * fleet.hours_ratio * group[0].hosts
        cost = kilowatts * hours * price * prices[year]
        for month in group:
            month.add(tariff.ENERGY, cost)


def _charge(item: ScenarioItem, months: list[OptionMonth]) -> None:
    prices = changes(item.change_ratio_per_year, len(months) // MONTHS_PER_YEAR)
    for index, month in enumerate(months):
        if item.period == "once":
            since = index + 1 - item.month
            due = since == 0 or (
                item.every_months is not None and since > 0 and since % item.every_months == 0
            )
            amount = item.dollars if due else ZERO
        else:
            amount = item.dollars / (MONTHS_PER_YEAR if item.period == "year" else 1)
        holders: Mapping[str, int] = {"option": 1, "host": month.hosts, "gpu": month.gpus}
        if amount:
            change = prices[index // MONTHS_PER_YEAR]
            month.add(item.component, amount * item.count * holders[item.per] * change)

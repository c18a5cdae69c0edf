"""A scenario: options to serve a load, over how long, and every amount that is assumed. Amounts are exact."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from math import ceil
from typing import Final, Literal, TypeAlias

from exporter.readings import KINDS, TokenKind
from exporter.tariff.terms import Electricity, Owned
from exporter.units import NANOSECONDS_PER_DAY, NANOSECONDS_PER_SECOND

MEASURED: Final = "measured"
"""The name of the option whose cost is from the ledger."""

MONTHS_PER_YEAR: Final = 12
HOURS_PER_DAY: Final = 24
SECONDS_PER_DAY: Final = NANOSECONDS_PER_DAY // NANOSECONDS_PER_SECOND

Tokens: TypeAlias = Mapping[TokenKind, Fraction]
"""Tokens a day by kind."""

Per = Literal["option", "host", "gpu"]
Period = Literal["once", "month", "year"]


@dataclass(frozen=True, slots=True)
class AmountSource:
    """The source of numbers; empty where not given."""

    text: str = ""
    as_of: str = ""
    """The day on which they were taken."""


@dataclass(frozen=True, slots=True)
class Load:
    """The load of a mean day of the first year."""

    tokens: Tokens
    growth_ratio_per_year: Fraction = Fraction(0)
    source: AmountSource = AmountSource()

    @property
    def total(self) -> Fraction:
        """Tokens a day of all kinds."""
        return total(self.tokens)


@dataclass(frozen=True, slots=True)
class Fleet:
    """Hosts of one kind: a capacity that grows with the load."""

    gpus: int
    """GPUs of a host."""
    hosts: int = 1
    """The least number of hosts."""
    tokens_per_second: Fraction | None = None
    """Throughput of one host at its best, in the mix of the load. A fleet without it never grows."""
    utilization_ratio: Fraction = Fraction(1)
    """The part of the throughput that is used on the mean of a day before another host is added."""
    hours_ratio: Fraction = Fraction(1)
    """The part of all hours in which the hosts are up."""

    @property
    def tokens_per_host_day(self) -> Fraction | None:
        """Tokens that one host serves in a day without a pause."""
        if self.tokens_per_second is None:
            return None
        return self.tokens_per_second * SECONDS_PER_DAY * self.hours_ratio

    @property
    def planned_tokens_per_host_day(self) -> Fraction | None:
        """Tokens that one host is planned to serve in a day."""
        most = self.tokens_per_host_day
        return None if most is None else most * self.utilization_ratio

    def needed(self, tokens: Tokens | None) -> int:
        """Hosts for so many tokens a day."""
        planned = self.planned_tokens_per_host_day
        if tokens is None or planned is None:
            return self.hosts
        return max(self.hosts, ceil(total(tokens) / planned))

    def busy(self, tokens: Tokens | None, hosts: int) -> Fraction | None:
        """The part of what so many hosts could serve that is served; `None` where it is not known."""
        most = self.tokens_per_host_day
        return None if tokens is None or most is None else total(tokens) / (most * hosts)


@dataclass(frozen=True, slots=True)
class Power:
    """Electricity of one host at the plug."""

    price: Electricity
    kilowatts: Fraction
    """Power under full load."""
    idle_kilowatts: Fraction
    change_ratio_per_year: Fraction = Fraction(0)
    source: AmountSource = AmountSource()


@dataclass(frozen=True, slots=True)
class OwnedHosts:
    """The price of bought hosts."""

    ownership: Owned
    """Terms of one host; its life is a whole number of months."""
    refresh: bool = True
    """Whether a host is sold at its residual at the end of its life, and bought again. Else it runs on
    without capital cost."""

    @property
    def life_months(self) -> int:
        """The life in months."""
        return int(self.ownership.life_years * MONTHS_PER_YEAR)

    def times(self, factor: Fraction) -> "OwnedHosts":
        """The same at so many times the purchase, support and insurance."""
        ownership, by = self.ownership, Decimal(factor.numerator) / Decimal(factor.denominator)
        dearer = replace(
            ownership,
            purchase_dollars=ownership.purchase_dollars * by,
            support_dollars_per_year=ownership.support_dollars_per_year * by,
            insurance_dollars_per_year=ownership.insurance_dollars_per_year * by,
        )
        return replace(self, ownership=dearer)


@dataclass(frozen=True, slots=True)
class RentedHosts:
    """The price of hosts by the hour."""

    dollars_per_host_hour: Fraction

    def times(self, factor: Fraction) -> "RentedHosts":
        """The same at so many times the rent."""
        return RentedHosts(self.dollars_per_host_hour * factor)


@dataclass(frozen=True, slots=True)
class Hosted:
    """The price of tokens that are bought by the million."""

    dollars_per_million: Tokens

    def times(self, factor: Fraction) -> "Hosted":
        """The same at so many times the price."""
        return Hosted(scaled(self.dollars_per_million, factor))


@dataclass(frozen=True, slots=True)
class AsMeasured:
    """The present cost of a day by component, from the ledger, for the whole horizon."""

    dollars_per_day: Mapping[str, Fraction]
    estimated_dollars_per_day: Fraction = Fraction(0)
    """The part at estimated prices."""

    def times(self, factor: Fraction) -> "AsMeasured":
        """The same at so many times all of it."""
        dearer = {component: dollars * factor for component, dollars in self.dollars_per_day.items()}
        return AsMeasured(dearer, self.estimated_dollars_per_day * factor)


@dataclass(frozen=True, slots=True)
class Hybrid:
    """An owned or rented option for the base load, and a hosted one for the rest, at their prices."""

    base: str
    rest: str
    base_ratio: Fraction | None = None
    """The part of the load that the base serves."""
    base_tokens_per_day: Fraction | None = None
    """Or so many tokens of it, and all of it while it is less."""

    def base_share(self, tokens: Tokens) -> Fraction:
        """The part of a load that the base serves."""
        if self.base_tokens_per_day is None:
            return self.base_ratio or Fraction(0)
        whole = total(tokens)
        return min(Fraction(1), self.base_tokens_per_day / whole) if whole else Fraction(1)

    def times(self, _factor: Fraction) -> "Hybrid":
        """Itself: its prices are those of its parts."""
        return self


@dataclass(frozen=True, slots=True)
class Option:
    """One way to serve the load: a price, and a capacity."""

    name: str
    serving: OwnedHosts | RentedHosts | Hosted | Hybrid | AsMeasured
    """The price."""
    fleet: Fleet | None = None
    """The capacity of owned and rented hosts."""
    power: Power | None = None
    prompt_ratio: Fraction = Fraction(1)
    """Prompt tokens that this option needs for one of the load."""
    generation_ratio: Fraction = Fraction(1)
    change_ratio_per_year: Fraction = Fraction(0)
    """Change of its own price from each year to the next."""
    source: AmountSource = AmountSource()

    def tokens(self, load: Tokens) -> Tokens:
        """Tokens that this option processes to serve a load."""
        return {
            kind: load.get(kind, Fraction(0))
            * (self.generation_ratio if kind == "generation" else self.prompt_ratio)
            for kind in KINDS
        }

    @property
    def parts(self) -> frozenset[str]:
        """The names of the options of which it has its prices."""
        hybrid = self.serving
        return frozenset({hybrid.base, hybrid.rest} if isinstance(hybrid, Hybrid) else {self.name})


@dataclass(frozen=True, slots=True)
class ScenarioItem:
    """A cost other than hardware and tokens: people, storage, network, data, fine-tuning."""

    component: str
    dollars: Fraction
    period: Period
    what: str = ""
    month: int = 1
    """The month of a payment that is made once, counted from 1."""
    every_months: int | None = None
    """Months after which that payment is made again."""
    count: Fraction = Fraction(1)
    per: Per = "option"
    change_ratio_per_year: Fraction = Fraction(0)
    options: tuple[str, ...] | None = None
    """The options that pay it; every option without."""
    source: AmountSource = AmountSource()

    def paid_by(self, option: Option) -> bool:
        """Whether an option pays it; a hybrid pays what its parts pay, each item once."""
        return self.options is None or not (option.parts | {option.name}).isdisjoint(self.options)


@dataclass(frozen=True, slots=True)
class Scenario:
    """Options to compare over years of twelve equal months."""

    name: str
    description: str
    horizon_years: int
    hours_per_month: Fraction
    load: Load | None
    options: tuple[Option, ...]
    items: tuple[ScenarioItem, ...] = ()

    @property
    def months(self) -> int:
        """The horizon in months."""
        return self.horizon_years * MONTHS_PER_YEAR

    @property
    def days_per_month(self) -> Fraction:
        """Days in a month."""
        return self.hours_per_month / HOURS_PER_DAY

    def option(self, name: str) -> Option:
        """The option of a name that is known to be there."""
        return next(option for option in self.options if option.name == name)

    def changes(self, ratio_per_year: Fraction) -> tuple[Fraction, ...]:
        """What changes at a ratio, in each year, relative to the first."""
        return tuple((1 + ratio_per_year) ** year for year in range(self.horizon_years))

    @property
    def yearly_loads(self) -> tuple[Tokens, ...] | None:
        """The load of each year; `None` where none is known."""
        load = self.load
        if load is None:
            return None
        return tuple(scaled(load.tokens, growth) for growth in self.changes(load.growth_ratio_per_year))


def total(tokens: Tokens) -> Fraction:
    """Tokens of all kinds."""
    return sum(tokens.values(), Fraction(0))


def scaled(tokens: Tokens, factor: Fraction) -> Tokens:
    """A multiple of the tokens, in the same mix."""
    return {kind: count * factor for kind, count in tokens.items()}

"""A scenario: what is compared, over how long, and every amount that is assumed. Amounts are exact."""

from collections.abc import Mapping
from dataclasses import dataclass
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
    """The source of numbers and the day on which they were taken; empty where not given."""

    text: str = ""
    as_of: str = ""


@dataclass(frozen=True, slots=True)
class Load:
    """The load: the mean of the first year, and its growth from each year to the next."""

    tokens: Tokens
    growth_ratio_per_year: Fraction = Fraction(0)
    source: AmountSource = AmountSource()

    @property
    def total(self) -> Fraction:
        """Tokens a day of all kinds."""
        return total(self.tokens)


@dataclass(frozen=True, slots=True)
class Fleet:
    """Hosts of one kind: at least `hosts`, and as many more as the load asks for.

    `tokens_per_second` is what one host serves when it does nothing else, prompt and generation together, in
    the mix of the load; `None` where nobody measured it: the fleet then never grows.
    `utilization_ratio` is how much of that may be used on the mean of a day before another host is added.
    `hours_ratio` is the part of all hours in which the hosts are up.
    """

    gpus: int
    hosts: int = 1
    tokens_per_second: Fraction | None = None
    utilization_ratio: Fraction = Fraction(1)
    hours_ratio: Fraction = Fraction(1)

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
    """Electricity: kilowatts of one host at the plug, at rest and when it serves all it can."""

    price: Electricity
    kilowatts: Fraction
    idle_kilowatts: Fraction
    change_ratio_per_year: Fraction = Fraction(0)
    source: AmountSource = AmountSource()


@dataclass(frozen=True, slots=True)
class OwnedHosts:
    """Bought hosts. `ownership` is of one host; its life is a whole number of months.

    `refresh`: at the end of its life a host is sold at its residual and the same one is bought again; without
    it the host runs on and costs no capital any more.
    """

    ownership: Owned
    fleet: Fleet
    refresh: bool = True

    @property
    def life_months(self) -> int:
        """The life in months."""
        return int(self.ownership.life_years * MONTHS_PER_YEAR)


@dataclass(frozen=True, slots=True)
class RentedHosts:
    """Hosts by the hour."""

    dollars_per_host_hour: Fraction
    fleet: Fleet


@dataclass(frozen=True, slots=True)
class Hosted:
    """Tokens bought by the million."""

    dollars_per_million: Tokens


@dataclass(frozen=True, slots=True)
class Hybrid:
    """One option (owned or rented) serves the base load, a hosted one the rest.

    The base is a part of the load, or so many tokens a day of it and all of it while it is less.
    """

    base: str
    rest: str
    base_ratio: Fraction | None = None
    base_tokens_per_day: Fraction | None = None


@dataclass(frozen=True, slots=True)
class AsMeasured:
    """The present cost by component, from the ledger, for the whole horizon; a part at estimated prices."""

    dollars_per_day: Mapping[str, Fraction]
    estimated_dollars_per_day: Fraction = Fraction(0)


@dataclass(frozen=True, slots=True)
class Option:
    """One way to serve the load.

    `prompt_ratio` and `generation_ratio`: how many tokens this way needs for one token of the load.
    `change_ratio_per_year` is how its own price changes from each year to the next.
    """

    name: str
    serving: OwnedHosts | RentedHosts | Hosted | Hybrid | AsMeasured
    power: Power | None = None
    prompt_ratio: Fraction = Fraction(1)
    generation_ratio: Fraction = Fraction(1)
    change_ratio_per_year: Fraction = Fraction(0)
    source: AmountSource = AmountSource()

    def tokens(self, load: Tokens) -> Tokens:
        """Tokens that this option processes to serve a load."""
        return {
            kind: load.get(kind, Fraction(0))
            * (self.generation_ratio if kind == "generation" else self.prompt_ratio)
            for kind in KINDS
        }


@dataclass(frozen=True, slots=True)
class ScenarioItem:
    """A cost other than hardware and tokens: people, storage, network, data, fine-tuning.

    `once` is paid in `month` (counted from 1), and every `every_months` after it where given.
    `options`: who pays it; `None` is every option. A hybrid pays what its two parts pay, each item once.
    """

    component: str
    dollars: Fraction
    period: Period
    what: str = ""
    month: int = 1
    every_months: int | None = None
    count: Fraction = Fraction(1)
    per: Per = "option"
    change_ratio_per_year: Fraction = Fraction(0)
    options: tuple[str, ...] | None = None
    source: AmountSource = AmountSource()


@dataclass(frozen=True, slots=True)
class Scenario:
    """Options to compare over years of twelve equal months of `hours_per_month`."""

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


def total(tokens: Tokens) -> Fraction:
    """Tokens of all kinds."""
    return sum(tokens.values(), Fraction(0))


def scaled(tokens: Tokens, factor: Fraction) -> Tokens:
    """A multiple of the tokens, in the same mix."""
    return {kind: count * factor for kind, count in tokens.items()}

"""What the answer would be at another load, and at another price. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import Final

from exporter.reports.tco.arithmetic import course
from exporter.reports.tco.breakeven import fleet_of, steady
from exporter.reports.tco.caveats import measured
from exporter.reports.tco.scenario import (
    AsMeasured,
    Hosted,
    Hybrid,
    Option,
    OwnedHosts,
    RentedHosts,
    Scenario,
    scaled,
    total,
)
from exporter.units import TOKENS_PER_MILLION

LOADS: Final = (Fraction(10, 100), Fraction(30, 100), Fraction(60, 100), Fraction(90, 100))
"""How busy the hardware is."""

PRICES: Final = (Fraction(1, 2), Fraction(4, 5), Fraction(1), Fraction(6, 5), Fraction(2))
"""Times the price."""


@dataclass(frozen=True, slots=True)
class Level:
    """One load: what each option costs over the horizon, and per million tokens of the load.

    What was measured has no price per million at a load that is more than was measured.
    """

    ratio: Fraction
    tokens_per_day: Fraction
    totals: Mapping[str, Fraction]
    per_million: Mapping[str, Fraction]


@dataclass(frozen=True, slots=True)
class Loads:
    """The levels. `reference` is the option whose first hosts are so busy; `None`: parts of the load."""

    reference: str | None
    levels: tuple[Level, ...]


@dataclass(frozen=True, slots=True)
class Repriced:
    """The horizon's total of an option where its own price is so many times as high.

    Its own price is that of the hardware (purchase, support and insurance), of the rent or of the tokens;
    electricity and items stay.
    """

    option: str
    totals: Mapping[Fraction, Fraction]


def loads(scenario: Scenario, first_hosts: Mapping[str, int]) -> Loads | None:
    """Every option at loads that make the reference 10, 30, 60 and 90 % busy; `None` without a load.

    The reference is the first option whose hosts have a known throughput. The load does not grow. No option
    has fewer hosts than in its first year, and none gets more before its hosts are fully busy.
    """
    load = scenario.load
    if load is None:
        return None
    reference = next((option for option in scenario.options if _capacity(option, first_hosts)), None)
    whole = Fraction(1)
    if reference is not None:
        whole = _capacity(reference, first_hosts) / total(reference.tokens(load.tokens))
    days = scenario.months * scenario.days_per_month
    loose = replace(scenario, options=tuple(_filled(option) for option in scenario.options))
    levels = []
    for ratio in LOADS:
        at = steady(loose, load, ratio * whole)
        totals = {
            option.name: course(at, _kept(option, first_hosts[option.name])).total for option in at.options
        }
        tokens_per_day = total(scaled(load.tokens, ratio * whole))
        millions = tokens_per_day * days / TOKENS_PER_MILLION
        # Whether its hosts serve more than they did is not known.
        unknown = None if ratio * whole <= 1 else measured(scenario)
        per_million = {
            name: amount / millions
            for name, amount in totals.items()
            if unknown is None or name != unknown.name
        }
        levels.append(Level(ratio, tokens_per_day, totals, per_million))
    return Loads(None if reference is None else reference.name, tuple(levels))


def _capacity(option: Option, first_hosts: Mapping[str, int]) -> Fraction:
    """What the first fleet serves in a day; 0 where that is not known."""
    fleet = fleet_of(option)
    a_host = None if fleet is None else fleet.tokens_per_host_day
    return Fraction(0) if a_host is None else a_host * first_hosts[option.name]


def _filled(option: Option) -> Option:
    """The option with hosts that may be fully busy."""
    if isinstance(option.terms, OwnedHosts | RentedHosts):
        fleet = replace(option.terms.fleet, utilization_ratio=Fraction(1))
        return replace(option, terms=replace(option.terms, fleet=fleet))
    return option


def _kept(option: Option, hosts: int) -> Option:
    """The option with at least so many hosts."""
    if isinstance(option.terms, OwnedHosts | RentedHosts):
        return replace(option, terms=replace(option.terms, fleet=replace(option.terms.fleet, hosts=hosts)))
    return option


def prices(scenario: Scenario) -> tuple[Repriced, ...]:
    """Every option at other prices of its own; a hybrid at those of both its parts."""
    return tuple(
        Repriced(option.name, {factor: _total_at(scenario, option, factor) for factor in PRICES})
        for option in scenario.options
    )


def _total_at(scenario: Scenario, option: Option, factor: Fraction) -> Fraction:
    names = {option.name}
    if isinstance(option.terms, Hybrid):
        names = {option.terms.base, option.terms.rest}
    options = tuple(repriced(other, factor) if other.name in names else other for other in scenario.options)
    changed = replace(scenario, options=options)
    return course(changed, changed.option(option.name)).total


def repriced(option: Option, factor: Fraction) -> Option:
    """The option at so many times its own price."""
    match option.terms:
        case OwnedHosts() as owned:
            times = Decimal(factor.numerator) / Decimal(factor.denominator)
            terms = replace(
                owned.terms,
                purchase_dollars=owned.terms.purchase_dollars * times,
                support_dollars_per_year=owned.terms.support_dollars_per_year * times,
                insurance_dollars_per_year=owned.terms.insurance_dollars_per_year * times,
            )
            return replace(option, terms=replace(owned, terms=terms))
        case RentedHosts() as rented:
            dearer = replace(rented, dollars_per_host_hour=rented.dollars_per_host_hour * factor)
            return replace(option, terms=dearer)
        case Hosted() as hosted:
            return replace(option, terms=Hosted(scaled(hosted.dollars_per_million, factor)))
        case AsMeasured() as spending:
            spent = {name: amount * factor for name, amount in spending.dollars_per_day.items()}
            return replace(option, terms=AsMeasured(spent))
        case Hybrid():
            return option

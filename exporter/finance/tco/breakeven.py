"""Break-even months and loads, and the sensitivity to load and price. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from itertools import combinations
from math import ceil
from typing import Final, Literal

from exporter.finance.tco.costs import OptionCourse, course
from exporter.finance.tco.measurement import compared_months, measured
from exporter.finance.tco.scenario import (
    AsMeasured,
    Fleet,
    Hosted,
    Hybrid,
    Load,
    Option,
    OwnedHosts,
    RentedHosts,
    Scenario,
    scaled,
    total,
)
from exporter.units import TOKENS_PER_MILLION

Verdict = Literal["at", "always", "never"]


@dataclass(frozen=True, slots=True)
class Crossing:
    """From this month on (counted from 1) the payments for an option so far are less than for the other."""

    month: int
    cheaper: str


@dataclass(frozen=True, slots=True)
class Race:
    """Two options over the horizon: which is cheaper first (`None` while equal), and where that changes.

    `months`: how many of the first months are compared; `None`: all of them.
    """

    options: tuple[str, str]
    first: str | None
    crossings: tuple[Crossing, ...]
    months: int | None = None


@dataclass(frozen=True, slots=True)
class BreakEven:
    """The least load at which an option with hosts costs no more than a hosted one.

    Accrued cost is compared, not payments: hardware that outlives the horizon is charged for its part only.
    `at`: at `tokens_per_day`, with so many hosts. `always`: at the smallest load already. `never`: at none.
    Another host costs before it earns, so that the hosted option may be cheaper again for a while beyond
    what the hosts serve: `lasting` is the load from which it never is, `None` where there is no such load.
    `served` is false where the hosts' throughput is not known, so that they may not be able to serve it.
    """

    option: str
    hosted: str
    verdict: Verdict
    tokens_per_day: Fraction | None = None
    hosts: int | None = None
    lasting: Fraction | None = None
    served: bool = True


def races(scenario: Scenario, courses: Sequence[OptionCourse]) -> tuple[Race, ...]:
    """Each pair of options, in order, for as long as they can be compared."""
    return tuple(
        _race(one, other, compared_months(scenario, (one.option, other.option)))
        for one, other in combinations(courses, 2)
    )


def _race(one: OptionCourse, other: OptionCourse, months: int) -> Race:
    first: str | None = None
    cheaper: str | None = None
    crossings = []
    paid = list(zip(one.cumulated_paid(), other.cumulated_paid(), strict=True))
    for index, (mine, theirs) in enumerate(paid[:months]):
        if mine == theirs:
            continue
        leader = one.option if mine < theirs else other.option
        if cheaper is None:
            first = leader
        elif leader != cheaper:
            crossings.append(Crossing(index + 1, leader))
        cheaper = leader
    compared = months if months < len(paid) else None
    return Race((one.option, other.option), first, tuple(crossings), compared)


@dataclass(frozen=True, slots=True)
class CostLine:
    """The horizon's cost at a steady load: `fixed + hosts x per_host + tokens a day x per_token`.

    `capacity` is what one host is planned to serve in a day, in tokens of the load; `None`: not known.
    """

    fixed: Fraction
    per_host: Fraction
    per_token: Fraction
    hosts: int
    capacity: Fraction | None


def steady(scenario: Scenario, load: Load, factor: Fraction = Fraction(1)) -> Scenario:
    """The scenario with so many times a load that does not grow."""
    return replace(scenario, load=Load(scaled(load.tokens, factor)))


def line(scenario: Scenario, option: Option, load: Load) -> CostLine:
    """An option's cost as a line over the load. Hybrids bend where the base ends, and have none."""
    fleet = fleet_of(option)
    hosts = 0 if fleet is None else fleet.hosts
    idle, loaded = steady(scenario, load, Fraction(0)), steady(scenario, load)
    at_rest = course(idle, option, hosts).total
    per_host = Fraction(0) if fleet is None else course(idle, option, hosts + 1).total - at_rest
    per_token = (course(loaded, option, hosts).total - at_rest) / load.total
    return CostLine(at_rest - hosts * per_host, per_host, per_token, hosts, _capacity(option, fleet, load))


def fleet_of(option: Option) -> Fleet | None:
    """The option's own hosts, if it has any."""
    return getattr(option.serving, "fleet", None)


def _capacity(option: Option, fleet: Fleet | None, load: Load) -> Fraction | None:
    planned = None if fleet is None else fleet.planned_tokens_per_host_day
    processed = sum(option.tokens(load.tokens).values(), Fraction(0))
    return None if planned is None or not processed else planned * load.total / processed


def break_evens(scenario: Scenario) -> tuple[BreakEven, ...]:
    """Each option with hosts of its own, and the measured one, against each hosted one."""
    load = scenario.load
    if load is None:
        return ()
    lines = {option.name: line(scenario, option, load) for option in scenario.options if _has_line(option)}
    return tuple(
        break_even(option.name, lines[option.name], hosted.name, lines[hosted.name])
        for option in scenario.options
        for hosted in scenario.options
        if option.name in lines
        and not isinstance(option.serving, Hosted)
        and isinstance(hosted.serving, Hosted)
    )


def _has_line(option: Option) -> bool:
    return fleet_of(option) is not None or isinstance(option.serving, Hosted | AsMeasured)


def break_even(name: str, mine: CostLine, hosted: str, theirs: CostLine) -> BreakEven:
    """The least load at which hosts cost no more than bought tokens.

    With n hosts both cost the same at `T(n) = (fixed + n x per_host - theirs) / (their per_token - mine)`,
    and n hosts serve `n x capacity`: the first n with `T(n) <= n x capacity` is it, and its T(n) is more
    than n - 1 hosts serve. It lasts from the first n on of which `T(n + 1) <= n x capacity` too.
    """
    ahead = mine.fixed - theirs.fixed
    saved = theirs.per_token - mine.per_token
    hosts = mine.hosts
    if ahead + hosts * mine.per_host <= 0:
        return BreakEven(name, hosted, "always")
    if saved <= 0:
        return BreakEven(name, hosted, "never")
    if mine.capacity is None:
        tokens = (ahead + hosts * mine.per_host) / saved
        return BreakEven(name, hosted, "at", tokens, hosts, tokens, served=False)
    gain = saved * mine.capacity - mine.per_host  # of one host more that is used as planned
    if ahead > gain * hosts:
        if gain <= 0:
            return BreakEven(name, hosted, "never")
        hosts = ceil(ahead / gain)
    lasting = None
    if gain > 0:
        last = max(hosts, ceil((ahead + mine.per_host) / gain))
        lasting = (ahead + last * mine.per_host) / saved
    tokens = (ahead + hosts * mine.per_host) / saved
    return BreakEven(name, hosted, "at", tokens, hosts, lasting)


LOADS: Final = (Fraction(10, 100), Fraction(30, 100), Fraction(60, 100), Fraction(90, 100))
"""Utilizations of the hardware."""

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
    reference = next((option for option in scenario.options if _throughput(option, first_hosts)), None)
    whole = Fraction(1)
    if reference is not None:
        whole = _throughput(reference, first_hosts) / total(reference.tokens(load.tokens))
    days = scenario.months * scenario.days_per_month
    fully_used = replace(scenario, options=tuple(_fully_used(option) for option in scenario.options))
    levels = []
    for ratio in LOADS:
        at = steady(fully_used, load, ratio * whole)
        totals = {
            option.name: course(at, _with_hosts_at_least(option, first_hosts[option.name])).total
            for option in at.options
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


def _throughput(option: Option, first_hosts: Mapping[str, int]) -> Fraction:
    """Tokens that an option's first hosts serve in a day at best; 0 where that is not known."""
    fleet = fleet_of(option)
    a_host = None if fleet is None else fleet.tokens_per_host_day
    return Fraction(0) if a_host is None else a_host * first_hosts[option.name]


def _fully_used(option: Option) -> Option:
    """The option with hosts that are planned to be fully busy."""
    if isinstance(option.serving, OwnedHosts | RentedHosts):
        fleet = replace(option.serving.fleet, utilization_ratio=Fraction(1))
        return replace(option, serving=replace(option.serving, fleet=fleet))
    return option


def _with_hosts_at_least(option: Option, hosts: int) -> Option:
    """The option with at least so many hosts."""
    if isinstance(option.serving, OwnedHosts | RentedHosts):
        return replace(
            option, serving=replace(option.serving, fleet=replace(option.serving.fleet, hosts=hosts))
        )
    return option


def prices(scenario: Scenario) -> tuple[Repriced, ...]:
    """Every option at other prices of its own; a hybrid at those of both its parts."""
    return tuple(
        Repriced(option.name, {factor: _total_at(scenario, option, factor) for factor in PRICES})
        for option in scenario.options
    )


def _total_at(scenario: Scenario, option: Option, factor: Fraction) -> Fraction:
    names = {option.name}
    if isinstance(option.serving, Hybrid):
        names = {option.serving.base, option.serving.rest}
    options = tuple(repriced(other, factor) if other.name in names else other for other in scenario.options)
    changed = replace(scenario, options=options)
    return course(changed, changed.option(option.name)).total


def repriced(option: Option, factor: Fraction) -> Option:
    """The option at so many times its own price."""
    match option.serving:
        case OwnedHosts() as owned:
            times = Decimal(factor.numerator) / Decimal(factor.denominator)
            ownership = replace(
                owned.ownership,
                purchase_dollars=owned.ownership.purchase_dollars * times,
                support_dollars_per_year=owned.ownership.support_dollars_per_year * times,
                insurance_dollars_per_year=owned.ownership.insurance_dollars_per_year * times,
            )
            return replace(option, serving=replace(owned, ownership=ownership))
        case RentedHosts() as rented:
            dearer = replace(rented, dollars_per_host_hour=rented.dollars_per_host_hour * factor)
            return replace(option, serving=dearer)
        case Hosted() as hosted:
            return replace(option, serving=Hosted(scaled(hosted.dollars_per_million, factor)))
        case AsMeasured() as spending:
            spent = {name: amount * factor for name, amount in spending.dollars_per_day.items()}
            estimated = spending.estimated_dollars_per_day * factor
            return replace(option, serving=AsMeasured(spent, estimated))
        case Hybrid():
            return option

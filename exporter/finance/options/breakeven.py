"""Break-even months and loads, and the sensitivity to load and price. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import combinations
from math import ceil
from typing import Final, Literal

from exporter.finance.options.costs import OptionCourse, course
from exporter.finance.options.measurement import compared_months, measured
from exporter.finance.options.option import Hosted, Hybrid, Load, Option, scaled, total
from exporter.finance.options.scenario import Scenario
from exporter.units import TOKENS_PER_MILLION

Verdict = Literal["at", "always", "never"]


@dataclass(frozen=True, slots=True)
class Crossing:
    """From a month on, the payments for one option so far are less than for the other."""

    month: int
    """Counted from 1."""
    cheaper: str


@dataclass(frozen=True, slots=True)
class Race:
    """Two options over the horizon."""

    options: tuple[str, str]
    first: str | None
    """The one that is cheaper first; `None` while equal."""
    crossings: tuple[Crossing, ...]
    months: int | None = None
    """The number of first months that are compared; `None`: all."""


@dataclass(frozen=True, slots=True)
class BreakEven:
    """The least load at which an option with hosts costs no more than a hosted one.

    Accrued cost is compared, not payments: hardware that outlives the horizon is charged for its part only.
    Another host costs before it earns, so that the hosted option may be cheaper again for a while beyond
    what the hosts serve.
    """

    option: str
    hosted: str
    verdict: Verdict
    """at: at some load. always: at the smallest load already. never: at none."""
    tokens_per_day: Fraction | None = None
    hosts: int | None = None
    lasting: Fraction | None = None
    """The load from which the hosted option is never cheaper again; `None` where there is no such load."""
    served: bool = True
    """Whether the hosts are known to serve that load."""


def races(scenario: Scenario, courses: Sequence[OptionCourse]) -> tuple[Race, ...]:
    """Each pair of options, in order, for as long as they can be compared."""
    pairs = []
    for one, other in combinations(courses, 2):
        months = compared_months(scenario, (one.option, other.option))
        first = cheaper = None
        crossings = []
        paid = zip(one.cumulated_paid(), other.cumulated_paid(), strict=True)
        for month, (mine, theirs) in enumerate(list(paid)[:months], 1):
            if mine == theirs:
                continue
            leader = one.option if mine < theirs else other.option
            if cheaper is None:
                first = leader
            elif leader != cheaper:
                crossings.append(Crossing(month, leader))
            cheaper = leader
        compared = months if months < scenario.months else None
        pairs.append(Race((one.option, other.option), first, tuple(crossings), compared))
    return tuple(pairs)


@dataclass(frozen=True, slots=True)
class CostLine:
    """The cost of a time at a steady load: `fixed + hosts x per_host + tokens a day x per_token`."""

    fixed: Fraction
    per_host: Fraction
    per_token: Fraction
    hosts: int
    """The least number of hosts."""
    capacity: Fraction | None
    """Tokens of the load that one host is planned to serve in a day; `None`: not known."""


def steady(scenario: Scenario, load: Load, factor: Fraction = Fraction(1)) -> Scenario:
    """The scenario with so many times a load that does not grow."""
    return replace(scenario, load=Load(scaled(load.tokens, factor)))


def line(scenario: Scenario, option: Option, load: Load) -> CostLine:
    """An option's cost over the horizon. Hybrids bend where the base ends, and have no line."""
    fleet = option.fleet
    hosts = 0 if fleet is None else fleet.hosts
    idle, loaded = steady(scenario, load, Fraction(0)), steady(scenario, load)
    at_rest = course(idle, option, hosts).total
    per_host = Fraction(0) if fleet is None else course(idle, option, hosts + 1).total - at_rest
    per_token = (course(loaded, option, hosts).total - at_rest) / load.total
    planned = None if fleet is None else fleet.planned_tokens_per_host_day
    processed = total(option.tokens(load.tokens))
    capacity = None if planned is None or not processed else planned * load.total / processed
    return CostLine(at_rest - hosts * per_host, per_host, per_token, hosts, capacity)


def break_evens(scenario: Scenario) -> tuple[BreakEven, ...]:
    """Each option with hosts of its own, and the measured one, against each hosted one."""
    load = scenario.load
    if load is None:
        return ()
    options = [option for option in scenario.options if not isinstance(option.serving, Hybrid)]
    lines = {option.name: line(scenario, option, load) for option in options}
    hosted = [option.name for option in options if isinstance(option.serving, Hosted)]
    return tuple(
        break_even(name, lines[name], offer, lines[offer])
        for name in lines
        for offer in hosted
        if name not in hosted
    )


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
    """The cost of the horizon at one load."""

    ratio: Fraction
    tokens_per_day: Fraction
    totals: Mapping[str, Fraction]
    """Dollars by option."""
    per_million: Mapping[str, Fraction]
    """Dollars per million tokens of the load, by option: what was measured has none at more than that."""


@dataclass(frozen=True, slots=True)
class Loads:
    """Costs at several loads."""

    reference: str | None
    """The option whose first hosts are so busy; `None`: the levels are parts of the load."""
    levels: tuple[Level, ...]


@dataclass(frozen=True, slots=True)
class Repriced:
    """An option's total by the number of times that its own price is as high.

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
    reference = None
    whole = Fraction(1)
    options = []
    for option in scenario.options:
        fleet, processed = option.fleet, total(option.tokens(load.tokens))
        if fleet is None:
            options.append(option)
            continue
        if reference is None and fleet.tokens_per_host_day is not None:
            reference = option.name
            whole = first_hosts[option.name] * fleet.tokens_per_host_day / processed
        # A hybrid has its base's fleet as the scenario gives it, but for the utilization.
        options.append(replace(option, fleet=replace(fleet, utilization_ratio=Fraction(1))))
    fully_used = replace(scenario, options=tuple(options))
    unknown = measured(scenario)
    levels = []
    for ratio in LOADS:
        factor = ratio * whole
        totals: dict[str, Fraction] = {}
        for option in options:
            least = option.fleet and replace(option.fleet, hosts=first_hosts[option.name])
            totals[option.name] = course(steady(fully_used, load, factor), replace(option, fleet=least)).total
        tokens_per_day = load.total * factor
        millions = tokens_per_day * scenario.months * scenario.days_per_month / TOKENS_PER_MILLION
        per_million = {name: amount / millions for name, amount in totals.items()}
        if unknown is not None and factor > 1:  # whether its hosts serve more than they did is not known
            del per_million[unknown.name]
        levels.append(Level(ratio, tokens_per_day, totals, per_million))
    return Loads(reference, tuple(levels))


def prices(scenario: Scenario) -> tuple[Repriced, ...]:
    """Every option at other prices of its own; a hybrid at those of both its parts."""
    repriced = []
    for option in scenario.options:
        totals = {}
        for factor in PRICES:
            options = tuple(
                replace(other, serving=other.serving.times(factor)) if other.name in option.parts else other
                for other in scenario.options
            )
            changed = replace(scenario, options=options)
            totals[factor] = course(changed, changed.option(option.name)).total
        repriced.append(Repriced(option.name, totals))
    return tuple(repriced)

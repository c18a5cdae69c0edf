"""Where one option becomes cheaper than another: by month, and by load. Pure.

By month: what has been paid so far, added up. The break-even month of A against B is the month at whose end
A has taken less from the bank than B for the first time, after it had taken more.

By load: tokens a day, of all kinds in the mix of the load, at which the horizon costs the same with both, if
the load stays what it is. Fleets of that many hosts are taken as the load needs. What accrues is compared,
not what is paid, so that hardware which outlives the horizon is charged for its part only.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import combinations
from math import ceil
from typing import Literal

from exporter.reports.tco.arithmetic import Course, course
from exporter.reports.tco.caveats import compared_months
from exporter.reports.tco.scenario import AsMeasured, Fleet, Hosted, Load, Option, Scenario, scaled

Verdict = Literal["at", "always", "never"]


@dataclass(frozen=True, slots=True)
class Crossing:
    """From this month on (counted from 1) an option has been paid less than the other."""

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


def races(scenario: Scenario, courses: Sequence[Course]) -> tuple[Race, ...]:
    """Each pair of options, in order, for as long as they can be compared."""
    return tuple(
        _race(one, other, compared_months(scenario, (one.option, other.option)))
        for one, other in combinations(courses, 2)
    )


def _race(one: Course, other: Course, months: int) -> Race:
    first: str | None = None
    cheaper: str | None = None
    crossings = []
    paid = list(zip(one.cumulated_paid(), other.cumulated_paid(), strict=True))
    for place, (mine, theirs) in enumerate(paid[:months]):
        if mine == theirs:
            continue
        leader = one.option if mine < theirs else other.option
        if cheaper is None:
            first = leader
        elif leader != cheaper:
            crossings.append(Crossing(place + 1, leader))
        cheaper = leader
    compared = months if months < len(paid) else None
    return Race((one.option, other.option), first, tuple(crossings), compared)


@dataclass(frozen=True, slots=True)
class Line:
    """The horizon's cost at a steady load: `fixed + hosts x per_host + tokens a day x per_token`.

    `capacity` is what one host is planned to serve in a day, in tokens of the load; `None`: not known.
    """

    fixed: Fraction
    per_host: Fraction
    per_token: Fraction
    hosts: int
    capacity: Fraction | None

    def hosts_for(self, tokens_per_day: Fraction) -> int:
        """Hosts for a load."""
        if self.capacity is None:
            return self.hosts
        return max(self.hosts, ceil(tokens_per_day / self.capacity))

    def cost(self, tokens_per_day: Fraction) -> Fraction:
        """What the horizon costs at a load."""
        hosts = self.hosts_for(tokens_per_day)
        return self.fixed + hosts * self.per_host + tokens_per_day * self.per_token


def steady(scenario: Scenario, load: Load, factor: Fraction = Fraction(1)) -> Scenario:
    """The scenario with so many times a load that does not grow."""
    return replace(scenario, load=Load(scaled(load.tokens, factor)))


def line(scenario: Scenario, option: Option, load: Load) -> Line:
    """An option's cost as a line over the load. Hybrids bend where the base ends, and have none."""
    fleet = fleet_of(option)
    hosts = 0 if fleet is None else fleet.hosts
    idle, loaded = steady(scenario, load, Fraction(0)), steady(scenario, load)
    at_rest = course(idle, option, hosts).total
    per_host = Fraction(0) if fleet is None else course(idle, option, hosts + 1).total - at_rest
    per_token = (course(loaded, option, hosts).total - at_rest) / load.total
    return Line(at_rest - hosts * per_host, per_host, per_token, hosts, _capacity(option, fleet, load))


def fleet_of(option: Option) -> Fleet | None:
    """The option's own hosts, if it has any."""
    return getattr(option.terms, "fleet", None)


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
        if option.name in lines and not isinstance(option.terms, Hosted) and isinstance(hosted.terms, Hosted)
    )


def _has_line(option: Option) -> bool:
    return fleet_of(option) is not None or isinstance(option.terms, Hosted | AsMeasured)


def break_even(name: str, mine: Line, hosted: str, theirs: Line) -> BreakEven:
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

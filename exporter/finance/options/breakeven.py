"""Break-even of options: the months in which one becomes cheaper, and the load at which hosts do. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import combinations, pairwise
from math import ceil
from typing import Literal

from exporter.finance.options.costs import OptionCourse, course
from exporter.finance.options.option import ZERO, Hosted, Hybrid, Load, Option, scaled, total
from exporter.finance.options.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Crossing:
    """From a month on, the payments for one option so far are less than for the other."""

    month: int
    """The month, counted from 1."""
    cheaper: str
    """The name of the option that is cheaper from then on."""


@dataclass(frozen=True, slots=True)
class Race:
    """Two options over the horizon, by the payments so far."""

    options: tuple[str, str]
    """The names of the two."""
    compared_months: int
    """The number of first months that are compared."""
    cheaper_first: str | None
    """The option that is cheaper first; `None` while equal."""
    crossings: tuple[Crossing, ...]
    """The months in which the cheaper one changes."""


@dataclass(frozen=True, slots=True)
class BreakEven:
    """The least load at which an option with hosts costs no more than a hosted one.

    Accrued cost is compared, not payments: hardware that outlives the horizon is charged for its part only.
    Another host costs before it earns, so that the hosted option may be cheaper again for a while beyond
    what the hosts serve.
    """

    option: str
    """The option with hosts."""
    hosted: str
    """The option that buys tokens."""
    verdict: Literal["at", "always", "never"]
    """at: at some load. always: at the smallest load already. never: at none."""
    tokens_per_day: Fraction | None = None
    """The load of the break-even."""
    hosts: int | None = None
    """The hosts that serve the load of the break-even."""
    lasting_tokens_per_day: Fraction | None = None
    """The load from which the hosted option is never cheaper again; `None` where there is no such load."""
    throughput_known: bool = True
    """Whether the hosts are known to serve the load of the break-even."""


def races(scenario: Scenario, courses: Sequence[OptionCourse]) -> tuple[Race, ...]:
    """Each pair of options, in order, for as long as they can be compared."""
    pairs = []
    for one, other in combinations(courses, 2):
        months = scenario.compared_months(one.option, other.option)
        paid = zip(one.cumulated_paid()[:months], other.cumulated_paid()[:months], strict=True)
        leaders = [
            Crossing(month, one.option if mine < theirs else other.option)
            for month, (mine, theirs) in enumerate(paid, 1)
            if mine != theirs
        ]
        crossings = [after for before, after in pairwise(leaders) if before.cheaper != after.cheaper]
        race = Race(
            options=(one.option, other.option),
            compared_months=months,
            cheaper_first=leaders[0].cheaper if leaders else None,
            crossings=tuple(crossings),
        )
        pairs.append(race)
    return tuple(pairs)


@dataclass(frozen=True, slots=True)
class CostLine:
    """The cost of a time at a steady load: `fixed + hosts x per_host + tokens a day x per_token`."""

    fixed: Fraction = ZERO
    """Dollars whatever the load."""
    per_host: Fraction = ZERO
    """Dollars of one host."""
    per_token: Fraction = ZERO
    """Dollars of a token a day."""
    hosts: int = 0
    """The least number of hosts."""
    capacity: Fraction | None = None
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
    fixed = at_rest - hosts * per_host
    return CostLine(fixed=fixed, per_host=per_host, per_token=per_token, hosts=hosts, capacity=capacity)


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
    if ahead + mine.hosts * mine.per_host <= 0:
        return BreakEven(name, hosted, "always")
    if saved <= 0:
        return BreakEven(name, hosted, "never")
    if mine.capacity is None:
        tokens = (ahead + mine.hosts * mine.per_host) / saved
        return BreakEven(
            option=name,
            hosted=hosted,
            verdict="at",
            tokens_per_day=tokens,
            hosts=mine.hosts,
            lasting_tokens_per_day=tokens,
            throughput_known=False,
        )
    gain = saved * mine.capacity - mine.per_host  # of one host more that is used as planned
    pays_at_once = ahead <= gain * mine.hosts
    if gain <= 0 and not pays_at_once:
        return BreakEven(name, hosted, "never")
    hosts = mine.hosts if pays_at_once else ceil(ahead / gain)
    lasting = None
    if gain > 0:
        last = max(hosts, ceil((ahead + mine.per_host) / gain))
        lasting = (ahead + last * mine.per_host) / saved
    return BreakEven(
        option=name,
        hosted=hosted,
        verdict="at",
        tokens_per_day=(ahead + hosts * mine.per_host) / saved,
        hosts=hosts,
        lasting_tokens_per_day=lasting,
    )

"""The results of a scenario, and how they depend on load and price. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final

from exporter.finance.options import breakeven
from exporter.finance.options.breakeven import BreakEven, Race, steady
from exporter.finance.options.costs import OptionCourse, course
from exporter.finance.options.measurement import Measurement, caveats, with_measurement
from exporter.finance.options.option import MONTHS_PER_YEAR, ONE, ZERO, total
from exporter.finance.options.scenario import Scenario
from exporter.units import TOKENS_PER_MILLION

LOADS: Final = (Fraction(10, 100), Fraction(30, 100), Fraction(60, 100), Fraction(90, 100))
"""Utilizations of the hardware."""

PRICES: Final = (Fraction(1, 2), Fraction(4, 5), Fraction(1), Fraction(6, 5), Fraction(2))
"""Times the price."""


@dataclass(frozen=True, slots=True)
class Level:
    """The cost of the horizon at one load."""

    ratio: Fraction
    """Utilization of the reference, or the part of the load."""
    tokens_per_day: Fraction
    """Tokens of the load a day."""
    dollars_per_million_tokens: Mapping[str, Fraction]
    """Dollars per million tokens of the load, by option: what was measured has none at more than that."""
    total_dollars: Mapping[str, Fraction]
    """Dollars of the horizon by option."""


@dataclass(frozen=True, slots=True)
class Loads:
    """Costs at several loads."""

    reference: str | None
    """The option whose first hosts are so busy; `None`: the levels are parts of the load."""
    levels: tuple[Level, ...]
    """The loads, the least first."""


@dataclass(frozen=True, slots=True)
class Repriced:
    """An option's total by the number of times that its own price is as high.

    Its own price is that of the hardware (purchase, support and insurance), of the rent or of the tokens;
    electricity and items stay.
    """

    option: str
    """The name of the option."""
    totals: Mapping[Fraction, Fraction]
    """Dollars of the horizon by the factor of the price."""


@dataclass(frozen=True, slots=True)
class TcoAnswer:
    """A scenario and its results."""

    scenario: Scenario
    """What is assumed; with a measurement, its load and first option are measured."""
    courses: tuple[OptionCourse, ...]
    """Each option over the horizon."""
    races: tuple[Race, ...]
    """Each pair of options by month."""
    break_evens: tuple[BreakEven, ...]
    """Each option with hosts against each hosted one."""
    loads: Loads | None
    """Costs at other loads; `None` without a load."""
    prices: tuple[Repriced, ...]
    """Costs at other prices."""
    measured: Measurement | None = None
    """The source of its load and of its first option."""

    @property
    def caveats(self) -> tuple[str, ...]:
        """Limits of the measured option, in sentences."""
        return tuple(caveats(self.scenario))

    @property
    def tokens_per_day(self) -> tuple[Fraction, ...] | None:
        """Tokens of the load a day, all kinds, in each year; `None` without a load."""
        loads = self.scenario.yearly_loads
        return None if loads is None else tuple(map(total, loads))

    def per_million(self, option_course: OptionCourse) -> Fraction | None:
        """Dollars per million tokens of the load; `None` without one, or if it may not be served."""
        a_day = self.tokens_per_day
        served = self.scenario.compared_months(option_course.option) == self.scenario.months
        if not a_day or not any(a_day) or not served:
            return None
        days_per_year = self.scenario.days_per_month * MONTHS_PER_YEAR
        return option_course.total * TOKENS_PER_MILLION / (sum(a_day, ZERO) * days_per_year)


def answer(scenario: Scenario, measurement: Measurement | None = None) -> TcoAnswer:
    """The results of a scenario; a measurement replaces its load and adds the present cost."""
    compared = scenario if measurement is None else with_measurement(scenario, measurement)
    courses = tuple(course(compared, option) for option in compared.options)
    first_hosts = {option_course.option: option_course.months[0].hosts for option_course in courses}
    return TcoAnswer(
        scenario=compared,
        courses=courses,
        races=breakeven.races(compared, courses),
        break_evens=breakeven.break_evens(compared),
        loads=loads(compared, first_hosts),
        prices=prices(compared),
        measured=measurement,
    )


def loads(scenario: Scenario, first_hosts: Mapping[str, int]) -> Loads | None:
    """Every option at loads that make the reference 10, 30, 60 and 90 % busy; `None` without a load.

    The reference is the first option whose hosts have a known throughput. The load does not grow. No option
    has fewer hosts than in its first year, and none gets more before its hosts are fully busy.
    """
    load = scenario.load
    if load is None:
        return None
    reference = None
    whole = ONE
    options = []
    for option in scenario.options:
        fleet = option.fleet
        if fleet is None:
            options.append(option)
            continue
        if reference is None and fleet.tokens_per_host_day is not None:
            reference = option.name
            most = first_hosts[option.name] * fleet.tokens_per_host_day
            whole = most / total(option.tokens(load.tokens))
        # A hybrid has its base's fleet as the scenario gives it, but for the utilization.
        options.append(replace(option, fleet=replace(fleet, utilization_ratio=ONE)))
    fully_used = replace(scenario, options=tuple(options))
    unknown = scenario.measured
    levels = []
    for ratio in LOADS:
        factor = ratio * whole
        at_load = steady(fully_used, load, factor)
        totals: dict[str, Fraction] = {}
        for option in options:
            least = option.fleet and replace(option.fleet, hosts=first_hosts[option.name])
            totals[option.name] = course(at_load, replace(option, fleet=least)).total
        tokens_per_day = load.total * factor
        millions = tokens_per_day * scenario.months * scenario.days_per_month / TOKENS_PER_MILLION
        per_million = {name: amount / millions for name, amount in totals.items()}
        if unknown is not None and factor > 1:  # whether its hosts serve more than they did is not known
            del per_million[unknown.name]
        level = Level(
            ratio=ratio,
            tokens_per_day=tokens_per_day,
            dollars_per_million_tokens=per_million,
            total_dollars=totals,
        )
        levels.append(level)
    return Loads(reference, tuple(levels))


def prices(scenario: Scenario) -> tuple[Repriced, ...]:
    """Every option at other prices of its own; a hybrid at those of both its parts."""
    repriced = []
    for option in scenario.options:
        totals = {}
        for factor in PRICES:
            options = tuple(
                replace(other, price_factor=factor) if other.name in option.parts else other
                for other in scenario.options
            )
            changed = replace(scenario, options=options)
            totals[factor] = course(changed, changed.option(option.name)).total
        repriced.append(Repriced(option.name, totals))
    return tuple(repriced)

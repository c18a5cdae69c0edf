"""The results of a scenario. Pure."""

from dataclasses import dataclass
from fractions import Fraction

from exporter.finance.options import breakeven
from exporter.finance.options.breakeven import BreakEven, Loads, Race, Repriced
from exporter.finance.options.costs import OptionCourse, course
from exporter.finance.options.measurement import Measurement, caveats, compared_months, with_measurement
from exporter.finance.options.option import MONTHS_PER_YEAR, total
from exporter.finance.options.scenario import Scenario
from exporter.units import TOKENS_PER_MILLION


@dataclass(frozen=True, slots=True)
class TcoAnswer:
    """A scenario and its results."""

    scenario: Scenario
    courses: tuple[OptionCourse, ...]
    races: tuple[Race, ...]
    break_evens: tuple[BreakEven, ...]
    loads: Loads | None
    prices: tuple[Repriced, ...]
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

    @property
    def millions_of_tokens(self) -> Fraction | None:
        """Millions of tokens of the load over the horizon; `None` without a load."""
        a_day = self.tokens_per_day
        if a_day is None:
            return None
        days = self.scenario.days_per_month * MONTHS_PER_YEAR
        return sum(a_day, Fraction(0)) * days / TOKENS_PER_MILLION

    def per_million(self, option_course: OptionCourse) -> Fraction | None:
        """Dollars per million tokens of the load; `None` without one, or if it may not be served."""
        if compared_months(self.scenario, (option_course.option,)) < self.scenario.months:
            return None
        millions = self.millions_of_tokens
        return None if not millions else option_course.total / millions


def answer(scenario: Scenario, measured: Measurement | None = None) -> TcoAnswer:
    """The results of a scenario; a measurement replaces its load and adds the present cost."""
    if measured is not None:
        scenario = with_measurement(scenario, measured)
    courses = tuple(course(scenario, option) for option in scenario.options)
    hosts = {option_course.option: option_course.months[0].hosts for option_course in courses}
    return TcoAnswer(
        scenario=scenario,
        courses=courses,
        races=breakeven.races(scenario, courses),
        break_evens=breakeven.break_evens(scenario),
        loads=breakeven.loads(scenario, hosts),
        prices=breakeven.prices(scenario),
        measured=measured,
    )

"""What the measured option leaves open, so that nobody takes its figures for those of the others. Pure.

The ledger tells what was spent on some days, for what they served. What its hosts would serve
beyond that, what their prices became since, and who else is paid, it does not tell.
"""

from collections.abc import Iterator

from exporter.reports.tco.arithmetic import changes, pays
from exporter.reports.tco.scenario import MONTHS_PER_YEAR, AsMeasured, Option, Scenario


def measured(scenario: Scenario) -> Option | None:
    """The option that the ledger tells of, if there is one."""
    return next((option for option in scenario.options if isinstance(option.terms, AsMeasured)), None)


def outgrown(scenario: Scenario) -> bool:
    """Whether the load comes to more than was measured within the horizon."""
    grows = scenario.load is not None and scenario.load.growth_ratio_per_year > 0
    return grows and scenario.horizon_years > 1


def compared_months(scenario: Scenario, names: tuple[str, ...]) -> int:
    """For how many months some options can be compared: as long as a measured one serves what it served."""
    option = measured(scenario)
    if option is None or option.name not in names or not outgrown(scenario):
        return scenario.months
    return MONTHS_PER_YEAR


def caveats(scenario: Scenario) -> Iterator[str]:
    """Sentences; none where nothing was measured."""
    option = measured(scenario)
    if option is None:
        return
    years = scenario.horizon_years
    every = "the year" if years == 1 else f"each of the {years} years"
    yield (
        f"{option.name} stands at the mean of its days and at their prices in {every}: "
        "what changed since, or will, is not in it."
    )
    if scenario.load is not None and outgrown(scenario):
        times = float(changes(scenario.load.growth_ratio_per_year, years)[-1])
        yield (
            f"The load comes to {times:.2f} times what was measured. Whether its hosts serve that is not "
            f"known, so {option.name} is compared for year 1 alone: its later years "
            "cost what year 1's load does."
        )
    unpaid = dict.fromkeys(item.component for item in scenario.items if not pays(item, option))
    if unpaid:
        yield (
            f"Paid by others and not in {option.name}: {', '.join(unpaid)}. "
            f"List `{option.name}` in the options of an item that it pays as well."
        )

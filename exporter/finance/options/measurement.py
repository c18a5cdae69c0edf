"""The measured option: load and cost of a mean day from one or more ledgers, and its caveats. Pure.

The ledger has the cost and the load of some days. It does not have the capacity of the hosts beyond that
load, later prices, or costs that others pay.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from exporter.cost.money import add
from exporter.finance.options.option import MEASURED, AsMeasured, Load, Option
from exporter.finance.options.scenario import Scenario
from exporter.ledger.history import ESTIMATE, HistorySums
from exporter.ledger.schema import day_name, day_number
from exporter.readings import KINDS
from exporter.reports.rounding import hundredths, rounded
from exporter.tariff.calendar import day_of
from exporter.units import (
    NANOSECONDS_PER_DAY,
    NANOSECONDS_PER_HOUR,
    PICODOLLARS_PER_DOLLAR,
    Nanoseconds,
    Picodollars,
)

CENT: Final = Fraction(1, 100)

DAYS: Final = 30
"""The number of latest days that are measured, with today."""

FAMILIES: Final = ("covered", "server_cost", "tokens", "unpriced", "settled", "gpu_unowed", "gpu_down")
"""Families of history that are needed by day."""


class NotMeasuredError(Exception):
    """The ledger has too little data; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """Tokens and dollars of a metered day, as the mean of some days of a ledger."""

    first_day: str
    """The first day that is taken, like 2026-11-30."""
    last_day: str
    """The last day that is taken."""
    covered: Nanoseconds
    """The time that was metered in the days that are taken."""
    unpriced: Nanoseconds
    """GPU time of the days that are left out: without a price, or before owned hardware's service."""
    left_out: int
    """Days in no number, since what they cost is not known."""
    load: Load
    """Tokens of the mean day."""
    option: Option
    """The present hosts at the cost of the mean day."""


class HostDays(NamedTuple):
    """History of a ledger by local day, and its metered time by hour since 1970."""

    days: Mapping[int, HistorySums]
    """History by days like 20261130."""
    covered_hours: Mapping[int, Nanoseconds]


def fleet_days(hosts: Iterable[HostDays], zone: ZoneInfo) -> dict[int, HistorySums]:
    """The days of all hosts together, as long as the hours in which any host was metered.

    An hour is as long as on the host that metered most of it. A day is no shorter than that of any host, and
    no longer than those of all.
    """
    days: dict[int, HistorySums] = {}
    longest: dict[int, Nanoseconds] = {}
    metered_hours: dict[int, Nanoseconds] = {}
    for host in hosts:
        for day, sums in host.days.items():
            days.setdefault(day, HistorySums()).add(sums)
            longest[day] = max(longest.get(day, 0), sum(sums.covered.values()))
        for hour, time in host.covered_hours.items():
            metered_hours[hour] = max(metered_hours.get(hour, 0), time)
    metered_days: dict[int, Nanoseconds] = {}
    for hour, time in metered_hours.items():
        add(metered_days, day_number(day_of(hour * NANOSECONDS_PER_HOUR, zone).name), time)
    for day, sums in days.items():
        if sums.covered:
            by_hours = min(metered_days.get(day, 0), sum(sums.covered.values()))
            sums.covered = {(): max(longest[day], by_hours)}
    return days


def measurement(days: Mapping[int, HistorySums] | None, *ledgers: str) -> Measurement:
    """The mean day of some days of history; days are numbers like 20261130.

    Args:
        days: of one ledger, or the `fleet_days` of several.
        ledgers: their ids.

    Raises:
        NotMeasuredError: less than a day was metered with a price for every GPU, or no token was counted, or
            no dollar was posted.
    """
    sums = HistorySums()
    metered: list[int] = []
    unpriced: list[Nanoseconds] = []
    for day, of_day in sorted((days or {}).items()):
        if not of_day.covered:
            continue
        not_charged = sum(of_day.still_unpriced().values()) + of_day.before_service()
        if not_charged > 0:
            unpriced.append(not_charged)
        else:
            metered.append(day)
            sums.add(of_day)
    covered = sum(sums.covered.values())
    if covered < NANOSECONDS_PER_DAY:
        raise NotMeasuredError(_too_few_hours(covered, unpriced))
    tokens = dict.fromkeys(KINDS, 0)
    for (_server, kind), count in sums.tokens.items():
        add(tokens, kind, count)
    if not any(tokens.values()):
        raise NotMeasuredError(f"no token was counted in the last {DAYS} days; there is no load to take")
    spent: dict[str, Picodollars] = {}
    estimated = 0
    for (_owner, component, basis), amount in sums.server_cost.items():
        add(spent, component, amount)
        estimated += amount if basis == ESTIMATE else 0
    if not any(spent.values()):
        raise NotMeasuredError(f"no dollar was posted in the last {DAYS} days; price the hardware first")
    a_day = Fraction(NANOSECONDS_PER_DAY, covered)
    dollars_a_day = a_day / PICODOLLARS_PER_DOLLAR
    dollars = {component: amount * dollars_a_day for component, amount in spent.items()}
    first, last = day_name(metered[0]), day_name(metered[-1])
    name = f"ledger {ledgers[0]}" if len(ledgers) == 1 else f"{len(ledgers)} ledgers"
    source = f"measured: {name}, {first} to {last}"
    return Measurement(
        first_day=first,
        last_day=last,
        covered=covered,
        unpriced=sum(unpriced),
        left_out=len(unpriced),
        load=Load({kind: count * a_day for kind, count in tokens.items()}, source=source, as_of=last),
        option=Option(MEASURED, AsMeasured(dollars, estimated * dollars_a_day), source=source, as_of=last),
    )


def _too_few_hours(covered: Nanoseconds, unpriced: Sequence[Nanoseconds]) -> str:
    """The reason and the remedy where less than a day was metered with a price for every GPU."""
    hours = f"{covered / NANOSECONDS_PER_HOUR:.1f} hours were metered in the last {DAYS} days"
    if not unpriced:
        return f"{hours}; --measured needs 24 at least"
    return (
        f"{hours} on which every GPU had a price; --measured needs 24 at least: "
        f"{sum(unpriced) / NANOSECONDS_PER_HOUR:.4f} GPU-hours of other days have none, and what those "
        "cost is not known; a price under `hardware` that covers them charges them"
    )


def with_measurement(scenario: Scenario, mean_day: Measurement) -> Scenario:
    """The scenario with the measured load, at the scenario's growth, and the measured option first."""
    growth = Fraction(0) if scenario.load is None else scenario.load.growth_ratio_per_year
    load = replace(mean_day.load, growth_ratio_per_year=growth)
    return replace(scenario, load=load, options=(mean_day.option, *scenario.options))


def caveats(scenario: Scenario) -> Iterator[str]:
    """Sentences; none where nothing was measured."""
    option = scenario.measured
    if option is None or not isinstance(option.serving, AsMeasured):
        return
    spending, years = option.serving, scenario.horizon_years
    every = "the year" if years == 1 else f"each of the {years} years"
    yield (
        f"{option.name} stands at the mean of its days and at their prices in {every}: "
        "what changed since, or will, is not in it."
    )
    if spending.estimated_dollars_per_day:
        amounts = spending.estimated_dollars_per_day, sum(spending.dollars_per_day.values(), Fraction(0))
        estimated, spent = (hundredths(*rounded([amount], CENT)) for amount in amounts)
        yield f"{estimated} of {spent} dollars a day of {option.name} come from estimated prices."
    if scenario.load is not None and scenario.outgrows_measured:
        times = float(scenario.changes(scenario.load.growth_ratio_per_year)[-1])
        yield (
            f"The load comes to {times:.2f} times what was measured. Whether its hosts serve that is not "
            f"known, so {option.name} is compared for year 1 alone: its later years "
            "cost what year 1's load does."
        )
    unpaid = dict.fromkeys(item.component for item in scenario.items if not item.paid_by(option))
    if unpaid:
        yield (
            f"Paid by others and not in {option.name}: {', '.join(unpaid)}. "
            f"List `{option.name}` in the options of an item that it pays as well."
        )

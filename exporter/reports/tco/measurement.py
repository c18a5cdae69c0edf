"""Load and cost as the ledger measured them. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final

from exporter.ledger.history import Sums
from exporter.readings import KINDS
from exporter.reports.tco.scenario import MEASURED, AsMeasured, Load, Option, Scenario, Source
from exporter.units import NANOSECONDS_PER_DAY, NANOSECONDS_PER_HOUR, PICODOLLARS_PER_DOLLAR, Nanoseconds

DAYS: Final = 30
"""How many of the latest days are looked at, today among them."""


class NotMeasuredError(Exception):
    """The ledger cannot say; the message says why."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a ledger metered from one day to another: tokens and dollars of a metered day.

    `covered` is the time that was metered in those days; `unpriced` GPU time had no price and is not in the
    dollars.
    """

    first_day: str
    last_day: str
    covered: Nanoseconds
    unpriced: Nanoseconds
    load: Load
    option: Option


def measurement(days: Mapping[int, Sums] | None, ledger: str) -> Measurement:
    """The mean day of some days of history; days are numbers like 20261130.

    Raises:
        NotMeasuredError: less than a day was metered, or no token was counted, or nothing had a price.
    """
    sums = Sums()
    metered = sorted(day for day, told in (days or {}).items() if told.covered)
    for day in metered:
        sums.add((days or {})[day])
    covered = sum(sums.covered.values())
    if covered < NANOSECONDS_PER_DAY:
        hours = Fraction(covered, NANOSECONDS_PER_HOUR)
        raise NotMeasuredError(
            f"{float(hours):.1f} hours were metered in the last {DAYS} days; --measured needs 24 at least"
        )
    tokens = dict.fromkeys(KINDS, 0)
    for (_party, kind), count in sums.tokens.items():
        tokens[kind] += count
    if not any(tokens.values()):
        raise NotMeasuredError(f"no token was counted in the last {DAYS} days; there is no load to take")
    a_day = Fraction(NANOSECONDS_PER_DAY, covered)
    spent: dict[str, Fraction] = {}
    for (_owner, component, _basis), amount in sums.server_cost.items():
        spent[component] = spent.get(component, Fraction(0)) + amount * a_day / PICODOLLARS_PER_DOLLAR
    if not any(spent.values()):
        raise NotMeasuredError(f"no dollar was posted in the last {DAYS} days; price the hardware first")
    first, last = _day(metered[0]), _day(metered[-1])
    source = Source(f"measured: ledger {ledger}, {first} to {last}", last)
    return Measurement(
        first_day=first,
        last_day=last,
        covered=covered,
        unpriced=sum(sums.unpriced.values()),
        load=Load({kind: count * a_day for kind, count in tokens.items()}, source=source),
        option=Option(MEASURED, AsMeasured(spent), source=source),
    )


def with_measurement(scenario: Scenario, found: Measurement) -> Scenario:
    """The scenario with the measured load, which grows as the scenario says, and what is spent now before
    its options.
    """
    growth = Fraction(0) if scenario.load is None else scenario.load.growth_ratio_per_year
    load = replace(found.load, growth_ratio_per_year=growth)
    return replace(scenario, load=load, options=(found.option, *scenario.options))


def _day(number: int) -> str:
    return f"{number // 10000:04d}-{number // 100 % 100:02d}-{number % 100:02d}"

"""An answer as JSON for machines. Pure.

Dollars are to the cent. Years and components of an option sum to its total; the components of one year sum to
that year within a cent.
"""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Final

from exporter.finance.options.costs import OptionCourse, summed
from exporter.finance.options.measurement import CENT
from exporter.finance.options.option import AsMeasured
from exporter.finance.options.tco import TcoAnswer
from exporter.finance.options.tco_text import assumptions, shares_of
from exporter.finance.render import json_text
from exporter.reports.rounding import rounded
from exporter.units import NANOSECONDS_PER_SECOND

CENTS: Final = 100


def as_json(answer: TcoAnswer) -> str:
    """The whole answer."""
    scenario, loads = answer.scenario, answer.scenario.yearly_loads
    document = {
        "report": "tco",
        "scenario": scenario.name,
        "about": scenario.description,
        "currency": "USD",
        "horizon_years": scenario.horizon_years,
        "hours_per_month": float(scenario.hours_per_month),
        "load": None
        if loads is None
        else {"tokens_per_day": [{"year": year, **_floats(load)} for year, load in enumerate(loads, 1)]},
        "measured": _measured(answer),
        "options": [_option(answer, result) for result in answer.courses],
        "caveats": answer.caveats,
        "break_even_months": [
            {
                "options": race.options,
                "compared_months": race.months or scenario.months,
                "cheaper_first": race.first,
                "crossings": [{"month": turn.month, "cheaper": turn.cheaper} for turn in race.crossings],
            }
            for race in answer.races
        ],
        "break_even_tokens_per_day": [
            {
                "option": result.option,
                "hosted": result.hosted,
                "verdict": result.verdict,
                "tokens_per_day": _float(result.tokens_per_day),
                "hosts": result.hosts,
                "lasting_tokens_per_day": _float(result.lasting),
                "throughput_known": result.served,
            }
            for result in answer.break_evens
        ],
        "load_sensitivity": None
        if answer.loads is None
        else {
            "busy_option": answer.loads.reference,
            "levels": [
                {
                    "ratio": float(level.ratio),
                    "tokens_per_day": float(level.tokens_per_day),
                    "dollars_per_million_tokens": _floats(level.per_million),
                    "total_dollars": {name: _dollars(amount) for name, amount in level.totals.items()},
                }
                for level in answer.loads.levels
            ],
        },
        "price_sensitivity": [
            {
                "option": result.option,
                "totals": [
                    {"factor": float(factor), "dollars": _dollars(amount)}
                    for factor, amount in result.totals.items()
                ],
            }
            for result in answer.prices
        ],
        "assumptions": [
            {"what": what, "value": value, "source": source or None, "as_of": as_of or None}
            for what, value, source, as_of in assumptions(scenario)
        ],
    }
    return json_text(document)


def _float(value: Fraction | None) -> float | None:
    return None if value is None else float(value)


def _floats(values: Mapping[Any, Fraction]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items()}


def _dollars(amount: Fraction) -> float:
    return rounded([amount], CENT)[0] / CENTS


def _measured(answer: TcoAnswer) -> dict[str, Any] | None:
    mean_day = answer.measured
    if mean_day is None:
        return None
    spending = mean_day.option.serving
    estimated = spending.estimated_dollars_per_day if isinstance(spending, AsMeasured) else Fraction(0)
    return {
        "first_day": mean_day.first_day,
        "last_day": mean_day.last_day,
        "covered_seconds": mean_day.covered / NANOSECONDS_PER_SECOND,
        "unpriced_gpu_seconds": mean_day.unpriced / NANOSECONDS_PER_SECOND,
        "days_left_out": mean_day.left_out,
        "estimated_dollars_per_day": _dollars(estimated),
    }


def _parts(parts: dict[str, Fraction]) -> dict[str, float]:
    cents = rounded(list(parts.values()), CENT)
    return {name: amount / CENTS for name, amount in zip(parts, cents, strict=True)}


def _option(answer: TcoAnswer, course: OptionCourse) -> dict[str, Any]:
    years = [sum((month.total for month in year), Fraction(0)) for year in course.years]
    cents = rounded(years, CENT)
    fleet = answer.scenario.option(course.option).fleet
    return {
        "name": course.option,
        "throughput_known": None if fleet is None else fleet.tokens_per_second is not None,
        "total_dollars": sum(cents) / CENTS,
        "paid_dollars": _dollars(course.paid),
        "worth_dollars": _dollars(course.worth),
        "dollars_per_million_tokens": _float(answer.per_million(course)),
        "components": _parts(course.components),
        "share_ratios": {name: share / 1000 for name, share in shares_of(course.components).items()},
        "years": [
            {
                "year": number,
                "dollars": amount / CENTS,
                "paid_dollars": _dollars(sum((month.paid for month in year), Fraction(0))),
                "hosts": year[0].hosts,
                "busy_ratio": _float(year[0].busy),
                "components": _parts(summed(year)),
            }
            for number, (amount, year) in enumerate(zip(cents, course.years, strict=True), 1)
        ],
        "paid_by_month_end_dollars": [_dollars(amount) for amount in course.cumulated_paid()],
    }

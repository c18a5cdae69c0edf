"""The scenarios that come with the program: each gives what the arithmetic on the page must give."""

from collections.abc import Callable
from fractions import Fraction
from typing import Final

from exporter.finance.options import scenario as scenario_file
from exporter.finance.options.option import Fleet
from exporter.finance.options.tco import TcoAnswer, answer


def _run(name: str) -> TcoAnswer:
    return answer(scenario_file.parsed(scenario_file.example(name), name))


def _totals(name: str) -> list[Fraction]:
    return [actual.total for actual in _run(name).courses]


def cloud_model() -> list[Fraction]:
    """A month and a year."""
    (year,) = _totals("cloud-model")
    return [year / 12, year]


def self_hosted() -> list[Fraction]:
    """The components in the page's order, the total, and the share of staff."""
    (actual,) = _run("self-hosted").courses
    parts = actual.components
    names = ("amortization", "support", "energy", "staff", "data", "network", "storage", "fine-tuning")
    assert set(names) == set(parts)
    return [*(parts[name] for name in names), actual.total, parts["staff"] / actual.total]


def owned_a100() -> list[Fraction]:
    """The totals, and where the straight lines of payments meet, in months."""
    courses = _run("owned-a100").courses
    months = []
    for actual in courses[:2]:
        at_once = actual.months[0].paid - actual.months[1].paid
        months.append(at_once / (courses[2].months[1].paid - actual.months[1].paid))
    return [*(actual.total for actual in courses), *months]


def fine_tuning() -> list[Fraction]:
    """A year of runs, and both totals."""
    courses = _run("fine-tuning").courses
    return [courses[0].components["fine-tuning"], *(actual.total for actual in courses)]


def smaller_model() -> list[Fraction]:
    """What a host is planned to serve, and the totals."""
    actual = _run("smaller-model")
    planned = [fleet.planned_tokens_per_host_day for fleet in _fleets(actual)]
    return [
        *(tokens for tokens in planned if tokens is not None),
        *(reported.total for reported in actual.courses),
    ]


def _fleets(actual: TcoAnswer) -> list[Fleet]:
    return [option.fleet for option in actual.scenario.options if option.fleet is not None]


def retrieval() -> list[Fraction]:
    """The totals."""
    return _totals("retrieval")


def four_ways() -> list[Fraction]:
    """The components of the owned option, the totals, its worth, and its break-even tokens a day."""
    actual = _run("four-ways")
    owned = actual.courses[0]
    names = ("amortization", "support", "energy", "staff", "network")
    assert set(names) == set(owned.components)
    tokens = actual.break_evens[0].tokens_per_day
    assert tokens is not None
    totals = [reported.total for reported in actual.courses]
    return [*(owned.components[name] for name in names), *totals, owned.worth, tokens]


TCO_EXAMPLES: Final[dict[str, Callable[[], list[Fraction]]]] = {
    "tco-cloud-model": cloud_model,
    "tco-self-hosted": self_hosted,
    "tco-owned-a100": owned_a100,
    "tco-fine-tuning": fine_tuning,
    "tco-smaller-model": smaller_model,
    "tco-retrieval": retrieval,
    "tco-four-ways": four_ways,
}

"""The projection of simulated fleets against months worked by hand: a run of promtool in CI, one each night.

A month of 30 days after 22 days of history; what happens happens on the third day.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate

import pytest

from benchmarks.projection.engine import Answer, InputSeries, Question, evaluate_series
from tests.nightly import daily

from projection import projections  # isort: skip  # deploy/rules, which the engine puts on the path
from reader import groups  # isort: skip
from statement import text  # isort: skip

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("projection"),  # evaluated once, not once by each process of `pytest -n`
]

HISTORY = 22 * 24
CHANGE = HISTORY + 48
HOURS = CHANGE + 8 * 24 + 1
MONTH = 30 * 24

Hourly = Callable[[int], float | None]
ALL = ("chat", "x")


@dataclass(frozen=True)
class Fleet:
    """Owners' hourly spend by the hour since the first of history; None before a fleet or owner is there."""

    owners: Mapping[tuple[str, str], Hourly]
    begins: int = HISTORY
    """The hour in which the month begins."""
    price: Callable[[int], float] = field(default=lambda _: 1.0)
    """Price of an hour over the first one."""

    def spend(self, hour: int) -> float:
        """Of all owners, at the price of the hour."""
        return sum(owner(hour) or 0.0 for owner in self.owners.values()) * self.price(hour)

    def month(self, hourly: Hourly | None = None) -> float:
        """What the month comes to, worked from each of its hours."""
        each = hourly or self.spend
        return sum((each(hour) or 0.0) for hour in range(self.begins, self.begins + MONTH))


def flat(level: float, change: float = 1.0, hours: float = float("inf"), first: int = 0) -> Hourly:
    """A level, times a change for some hours; nothing before the first hour."""
    return lambda hour: None if hour < first else level * (change if CHANGE <= hour < CHANGE + hours else 1.0)


def until(level: float, last: int) -> Hourly:
    """A level, and 0 from an hour on."""
    return lambda hour: level if hour < last else 0.0


def night(hour: int) -> float:
    """A third by night."""
    return 150.0 if 8 <= hour % 24 < 20 else 50.0


def week(hour: int) -> float:
    """Weekends at 40 %."""
    return 40.0 if hour // 24 % 7 >= 5 else 100.0


def office(hour: int) -> float:
    """Twice as much in office hours."""
    return 200.0 if 8 <= hour % 24 < 20 and hour // 24 % 7 < 5 else 100.0


def batch(hour: int) -> float:
    """One day in five."""
    return 200.0 if hour // 24 % 5 == 3 else 0.0


def after(hourly: Hourly, first: int) -> Hourly:
    """Nothing before an hour."""
    return lambda hour: None if hour < first else hourly(hour)


BORN = CHANGE + 8
"""Eight in the morning."""

FLEETS = {
    "doubles": Fleet({ALL: flat(100, 2)}),
    "quarter": Fleet({ALL: flat(100, 0.25)}),
    "burst": Fleet({ALL: flat(100, 3, 24)}),
    "burst, nine days": Fleet({ALL: flat(100, 3, 24, CHANGE - 9 * 24)}),
    "night": Fleet({ALL: night}),
    "week": Fleet({ALL: week}),
    "office": Fleet({ALL: office}),
    "renamed": Fleet(
        {("old", "x"): until(60, CHANGE), ("new", "x"): flat(60, first=CHANGE), ("other", "y"): flat(40)}
    ),
    "newcomer": Fleet({ALL: flat(60), ("new", "x"): flat(50, first=CHANGE), ("other", "y"): flat(40)}),
    "batch": Fleet({ALL: flat(60), ("batch", "x"): batch}),
    "installed by day": Fleet({ALL: after(night, BORN)}),
    "installed on the 28th": Fleet(
        {ALL: flat(62, first=CHANGE), ("b", "y"): flat(31, first=CHANGE)}, CHANGE - 27 * 24
    ),
    "cheaper": Fleet({ALL: flat(100)}, CHANGE - 15 * 24, lambda hour: 1 if hour < CHANGE + 4 * 24 else 0.75),
}

EACH_DAY = frozenset({"doubles", "week", "renamed", "installed by day", "cheaper"})
"""Fleets that CI takes: a change, a steady load, an owner that comes and goes, a beginning, a price."""

LATER = (30, 48, 96, 168, 192)
DAYS = tuple(range(-24, 193, 24))
SINCE = tuple(sorted({*LATER, *DAYS, 6, 7, 8, 12, 20, 27, 32, 36, 60}))
"""Hours since the change at which all is asked."""

RECORDS = {
    "fleet": "inference:fleet_month_projected_dollars",
    "low": "inference:fleet_month_projected_dollars:low",
    "high": "inference:fleet_month_projected_dollars:high",
    "cluster": "inference:month_projected_dollars",
    "owner": "inference:month_projected_dollars:owner",
    "owner_low": "inference:month_projected_dollars:owner_low",
    "owner_high": "inference:month_projected_dollars:owner_high",
}


def between(values: Iterable[float | None]) -> str:
    """Samples between the hours."""
    return "_ " + " _ ".join("_" if value is None else f"{value:.10g}" for value in values)


def at(values: Iterable[float]) -> str:
    """Samples at the hours."""
    return " _ ".join(f"{value:.10g}" for value in values)


def series(name: str, fleet: Fleet) -> list[InputSeries]:
    """What the other groups record of a fleet."""
    of = f'fleet="{name}"'
    hours = range(HOURS)

    def to_date(hourly: Hourly) -> list[float]:
        spent = [(hourly(hour) or 0.0) * fleet.price(hour) * (hour >= fleet.begins) for hour in hours]
        return [0.0, *accumulate(spent)]

    def rest(hour: int) -> float:
        left = range(hour, fleet.begins + MONTH)
        return sum(fleet.price(one) for one in left) / max(1, len(left))

    every = list(fleet.owners.values())

    def used(hour: int) -> float | None:
        owner_values = [value for owner in every if (value := owner(hour)) is not None]
        return sum(owner_values) if owner_values else None

    ratios = at(rest(hour) for hour in hours)
    left = f"{fleet.begins + MONTH}-0.5x{2 * HOURS}"
    month = 'cluster="c",month="m"'
    actual = [
        InputSeries(f"inference:spend_at_first_price_dollars_per_hour{{{of}}}", between(map(used, hours))),
        InputSeries(f'inference:spend_dollars_per_hour{{{of},cluster="c"}}', f"1x{2 * HOURS}"),
        InputSeries(f"inference:rest_price_ratio{{{of}}}", ratios),
        InputSeries(f"inference:month_to_date_dollars{{{of},{month}}}", at(to_date(used))),
        InputSeries(f"inference:month_hours_left{{{of},{month}}}", left),
        InputSeries(f'inference:fleet_month_hours_left{{{of},month="m"}}', left),
    ]
    for (product, team), owner in fleet.owners.items():
        keys = f'product="{product}",team="{team}"'
        actual += [
            InputSeries(
                f"inference:spend_at_first_price_dollars_per_hour:owner{{{of},{keys}}}",
                between(map(owner, hours)),
            ),
            InputSeries(f"inference:rest_price_ratio:owner{{{of},{keys}}}", ratios),
            InputSeries(f"inference:month_to_date_dollars:owner{{{of},{month},{keys}}}", at(to_date(owner))),
        ]
    return actual


Answers = Callable[[str], Mapping[tuple[str, int], Answer]]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """What each record is, so many hours after the change, where a fleet of some name is evaluated."""
    questions = [Question(expr, 3600 * (CHANGE + hour)) for hour in SINCE for expr in RECORDS.values()]
    keys = {expr: key for key, expr in RECORDS.items()}

    @cache
    def evaluated(*, each_day: bool) -> Mapping[tuple[str, int], Answer]:
        fleets = {name: fleet for name, fleet in FLEETS.items() if (name in EACH_DAY) is each_day}
        actual = evaluate_series(
            text("", groups(projections(("fleet",)))),
            [one for name, fleet in fleets.items() for one in series(name, fleet)],
            questions,
            tmp_path_factory.mktemp("projection"),
            interval=1800,
            order=[group.name for group in groups(projections())],
        )
        return {
            (keys[question.expr], question.at // 3600 - CHANGE): {
                frozenset(one for one in labels if one[0] != "__name__"): number
                for labels, number in answer.items()
            }
            for question, answer in zip(questions, actual, strict=True)
        }

    return lambda name: evaluated(each_day=name in EACH_DAY)


def value(answer: Answer, **labels: str) -> float:
    """The one sample that has these labels."""
    (actual,) = [number for keys, number in answer.items() if labels.items() <= dict(keys).items()]
    return actual


def errors(answers: Answers, name: str, hours: Sequence[int]) -> dict[int, float]:
    """How far a fleet's projection is from its month, as a part of it."""
    truth = FLEETS[name].month()
    return {hour: value(answers(name)["fleet", hour], fleet=name) / truth - 1 for hour in hours}


def beyond(actual: Mapping[int, float], most: float) -> dict[int, float]:
    """Errors that are greater."""
    return {hour: error for hour, error in actual.items() if abs(error) > most}


@pytest.mark.parametrize("name", daily(("doubles", "quarter"), EACH_DAY))
def test_a_fleet_that_changed(answers: Answers, name: str) -> None:
    """Within 5 % from 30 hours after it doubled or shrank to a quarter."""
    assert beyond(errors(answers, name, LATER), 0.05) == {}


@pytest.mark.nightly
@pytest.mark.parametrize(("name", "most"), [("burst", 0.05), ("burst, nine days", 0.15)])
def test_a_day_of_three_times_the_load(answers: Answers, name: str, most: float) -> None:
    """Within 5 % with three weeks of history and within 15 % with nine days, during it and after."""
    actual = errors(answers, name, [6, 12, 24, 30, 36, 48, *([96, 192] if most < 0.1 else [])])

    assert beyond(actual, most) == {}


@pytest.mark.parametrize("name", daily(("night", "week", "office"), EACH_DAY))
def test_steady_loads(answers: Answers, name: str) -> None:
    """Within 3 % at every hour, by day and by night, on weekdays and weekends."""
    assert beyond(errors(answers, name, SINCE), 0.03) == {}


@pytest.mark.parametrize("name", daily(FLEETS, EACH_DAY))
def test_owners_sum_to_the_fleet(answers: Answers, name: str) -> None:
    """To 1e-9, in every fleet at every hour; so do clusters."""
    actual = answers(name)
    for hour in SINCE:
        whole = [number for keys, number in actual["fleet", hour].items() if ("fleet", name) in keys]
        for kind in ("owner", "cluster"):
            parts = [number for keys, number in actual[kind, hour].items() if ("fleet", name) in keys]
            assert sum(parts) == pytest.approx(sum(whole), rel=1e-9), (kind, hour)


@pytest.mark.parametrize("hour", [7, 8, 12, 30, 48, 168])
def test_a_renamed_product(answers: Answers, hour: int) -> None:
    """After six hours the old name is projected at what it has spent, and the new one at the rest."""
    fleet = FLEETS["renamed"]
    for (product, team), owner in fleet.owners.items():
        actual = value(answers("renamed")["owner", hour], fleet="renamed", product=product, team=team)
        assert actual == pytest.approx(fleet.month(owner), rel=0.005), product


@pytest.mark.nightly
def test_a_newcomer_shrinks_no_other(answers: Answers) -> None:
    """In its first day the fleet's projection is not yet its own; from then on all are."""
    fleet = FLEETS["newcomer"]
    for hour in (6, 12, 24, 30, 48, 168):
        for (product, team), owner in fleet.owners.items():
            actual = value(answers("newcomer")["owner", hour], fleet="newcomer", product=product, team=team)
            if product != "new" or hour >= 30:
                assert actual == pytest.approx(fleet.month(owner), rel=0.03), (hour, product)


@pytest.mark.nightly
def test_a_batch_of_one_day_in_five(answers: Answers) -> None:
    """What is no owner's usual load goes to the one that spends it now and then."""
    fleet = FLEETS["batch"]
    for hour in (48, 96, 192):
        actual = value(answers("batch")["owner", hour], fleet="batch", product="chat")
        assert actual == pytest.approx(fleet.month(fleet.owners[ALL]), rel=0.12), hour


def test_the_first_hours(answers: Answers) -> None:
    """Eight hours of day alone may be a load that never rests: the band holds it. A day is right."""
    name = "installed by day"
    truth = FLEETS[name].month()
    for hour in (12, 20, 30, 32, 36, 48, 60, 96, 168):
        low, high = (value(answers(name)[kind, hour], fleet=name) for kind in ("low", "high"))
        assert low <= truth <= high, hour
    assert errors(answers, name, [12])[12] == pytest.approx(0.5, abs=0.01)
    assert beyond(errors(answers, name, [32, 36, 60, 96, 168]), 0.03) == {}


@pytest.mark.nightly
def test_installed_on_the_28th(answers: Answers) -> None:
    """Three days at 93 an hour, known at once; nothing is made up of the days before."""
    name = "installed on the 28th"
    actual = [value(answers(name)["fleet", hour], fleet=name) for hour in (6, 12, 48)]

    assert actual == pytest.approx([93 * 72] * 3, rel=1e-6)


def test_a_dated_price(answers: Answers) -> None:
    """A quarter cheaper from day 20 on: within 0.5 % on every day before and after, and so is the owner."""
    assert {
        hour: error for hour, error in errors(answers, "cheaper", DAYS).items() if abs(error) > 0.005
    } == {}


@pytest.mark.parametrize("name", daily(FLEETS, EACH_DAY))
def test_bands(answers: Answers, name: str) -> None:
    """The projection is in its band, and so is a doubled fleet's truth once a day has passed."""
    actual = answers(name)
    for hour in SINCE:
        if any(("fleet", name) in keys for keys in actual["fleet", hour]):
            low, middle, high = (value(actual[kind, hour], fleet=name) for kind in ("low", "fleet", "high"))
            assert low <= middle <= high, hour
        for keys, middle in actual["owner", hour].items():
            if ("fleet", name) in keys:
                assert actual["owner_low", hour][keys] <= middle * (1 + 1e-9)
                assert actual["owner_high", hour][keys] >= middle * (1 - 1e-9)
    if name in {"doubles", "quarter"}:
        truth = FLEETS[name].month()
        for hour in (27, 30, 48, 168):
            low, high = (value(actual[kind, hour], fleet=name) for kind in ("low", "high"))
            assert low <= truth <= high, hour

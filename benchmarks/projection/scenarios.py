"""Months of which the truth is known: hourly spend of a fleet, four weeks of history before it, 5 % noise."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, Literal

HISTORY: Final = 28 * 24
"""Hours before the month."""

MONTH: Final = 30 * 24
"""Hours of the month."""

VARIANTS: Final = 14
"""Seven weekdays on which the month begins, twice."""

LEVEL: Final = 100.0
"""Dollars an hour, where nothing happens."""

Truth = Literal["foreseen", "stays", "burst"]
"""What the right answer is.

The month as it came; from the change on as it came, and before it without it; or always without
it, but for its cost.
"""

SpendCurve = Callable[["Clock"], float]


@dataclass(frozen=True, slots=True)
class Clock:
    """An hour of a variant: `hour` since the month began (negative before), `weekday` from Monday 0."""

    hour: int
    weekday: int

    @property
    def day(self) -> float:
        """Days since the month began."""
        return self.hour / 24

    @property
    def daytime(self) -> bool:
        """From 8 to 20."""
        return 8 <= self.hour % 24 < 20


@dataclass(frozen=True, slots=True)
class SpendScenario:
    """What a fleet spends, and when something happens to it."""

    name: str
    curve: SpendCurve
    """Without the change."""
    change: Callable[[float], float] | None = None
    """Factor on the curve, by the hours since the change; 1 when it is over."""
    day: int = 0
    """Day of the month of the change, 1 for the first, at a random hour."""
    weekday: int | None = None
    """Or the second week's day on which it begins, at midnight."""
    truth: Truth = "foreseen"
    silent: int = 0
    """Hours from the change on in which the meter is dead: the fleet spends and nothing is recorded."""
    installed: bool = False
    """The change is the installation: nothing before it."""
    midnight: bool = False


@dataclass(frozen=True, slots=True)
class Trace:
    """A variant of a scenario, hour by hour."""

    scenario: str
    variant: int
    recorded: tuple[float | None, ...]
    """What is recorded."""
    spent: tuple[float, ...]
    """Month to date at the end of each hour."""
    truth: tuple[float, ...]
    """What the month comes to, as far as the end of each hour can know."""
    total: float
    """What it came to."""
    change: int | None
    """Index of the first hour of the change."""
    installed: bool

    @property
    def first(self) -> int:
        """Index of the first hour of the month with a meter."""
        return self.change if self.installed and self.change is not None else HISTORY


def flat(_: Clock) -> float:
    """Always the same."""
    return LEVEL


def daynight(clock: Clock) -> float:
    """By night a third of the day."""
    return LEVEL * (1.5 if clock.daytime else 0.5)


def weekly(clock: Clock) -> float:
    """Weekends at 40 %."""
    return LEVEL * (0.4 if clock.weekday >= 5 else 1)


def autoscaled(clock: Clock) -> float:
    """Twice as much by day, from Monday to Friday."""
    return LEVEL * (2 if clock.daytime and clock.weekday < 5 else 1)


def growing(clock: Clock) -> float:
    """3 % of the first day's level more each day, for eight weeks."""
    return LEVEL * (1 + 0.03 * (clock.day + 28))


def plateau(clock: Clock) -> float:
    """The same until the month begins."""
    return LEVEL * (1 + 0.03 * min(28, max(0, clock.day + 28)))


def times(factor: float, hours: float = float("inf")) -> Callable[[float], float]:
    """A change that stays, or is over."""
    return lambda since: factor if 0 <= since < hours else 1.0


def scenarios() -> tuple[SpendScenario, ...]:
    """The 29."""
    return (
        SpendScenario("steady", flat),
        SpendScenario("day and night", daynight),
        SpendScenario("weekends at 40 %", weekly),
        SpendScenario("autoscaled by day", autoscaled),
        SpendScenario("grows 3 % a day", growing),
        SpendScenario("doubles on day 15", flat, times(2), 15, truth="stays"),
        SpendScenario("doubles on day 15, autoscaled", autoscaled, times(2), 15, truth="stays"),
        SpendScenario("doubles on day 5, weekends", weekly, times(2), 5, truth="stays"),
        SpendScenario("shrinks to a quarter on day 15", flat, times(0.25), 15, truth="stays"),
        SpendScenario("shrinks to a quarter, weekends", weekly, times(0.25), 15, truth="stays"),
        SpendScenario("three times the load for a day", flat, times(3, 24), 12, truth="burst"),
        SpendScenario("three times for a day, weekends", weekly, times(3, 24), 12, truth="burst"),
        SpendScenario("five times the load for 4 h", flat, times(5, 4), 12, truth="burst"),
        SpendScenario("spot nodes of three hours", flat, truth="burst"),
        SpendScenario("outage of 12 h", daynight, times(0, 12), 12, truth="burst"),
        SpendScenario("meter dead for 12 h", daynight, times(1), 12, truth="burst", silent=12),
        SpendScenario("meter dead for 3 days", weekly, times(1), 12, truth="burst", silent=72),
        *(
            SpendScenario(
                f"installed on day {day}, day and night",
                daynight,
                times(1),
                day,
                installed=True,
                midnight=True,
            )
            for day in (3, 15, 28)
        ),
        SpendScenario("installed on day 15, weekends", weekly, times(1), 15, installed=True, midnight=True),
        SpendScenario(
            "migration: 10 % more each of 10 days",
            flat,
            lambda since: 1 + 0.1 * min(10, max(0, since / 24)),
            10,
            truth="stays",
        ),
        SpendScenario("freeze: half in the last 5 days", flat, times(0.5), 26, truth="stays", midnight=True),
        SpendScenario(
            "batch on Mondays, three times", lambda clock: LEVEL * (3 if clock.weekday == 0 else 1)
        ),
        SpendScenario("holiday: half for a week", weekly, times(0.5, 168), weekday=0, truth="burst"),
        SpendScenario("from nothing on day 15", flat, lambda since: float(since >= 0), 15, truth="stays"),
        SpendScenario("weekends off", lambda clock: LEVEL * (clock.weekday < 5)),
        SpendScenario(
            "batch every 10 days, ten times", lambda clock: LEVEL * (10 if clock.hour // 24 % 10 == 3 else 1)
        ),
        SpendScenario("growth ends as the month begins", plateau),
    )


def traces(scenario: SpendScenario, variants: int = VARIANTS) -> Iterator[Trace]:
    """The variants of a scenario; the same each time."""
    for variant in range(variants):
        yield trace(scenario, variant)


def trace(scenario: SpendScenario, variant: int) -> Trace:
    """One variant: its month begins on a weekday of its own, its change at an hour of its own."""
    chance = random.Random(f"{scenario.name} {variant}")  # noqa: S311
    change = begins(scenario, variant, chance)
    noise = [min(1.5, max(0.5, chance.gauss(1, 0.05))) for _ in range(HISTORY + MONTH)]
    plain = [
        scenario.curve(Clock(hour, (hour // 24 + variant) % 7)) * noise[hour + HISTORY]
        for hour in range(-HISTORY, MONTH)
    ]
    factor = scenario.change
    if scenario.name.startswith("spot"):
        actual = spot(noise, chance)
    elif factor is None or change is None:
        actual = plain
    else:
        actual = [
            value * factor(hour - change) for hour, value in zip(range(-HISTORY, MONTH), plain, strict=True)
        ]
    if scenario.name.startswith("from nothing"):
        plain = [0.0] * len(plain)
    recorded: list[float | None] = list(actual)
    if change is not None and scenario.silent:
        for hour in range(change, change + scenario.silent):
            recorded[hour + HISTORY] = None
    if change is not None and scenario.installed:
        for index in range(change + HISTORY):
            recorded[index] = None
            actual[index] = plain[index] = 0.0
    spent = [0.0] * HISTORY + list(accumulate(actual[HISTORY:]))
    usual = [0.0] * HISTORY + list(accumulate(plain[HISTORY:]))
    total = spent[-1]
    since = len(spent) if change is None else change + HISTORY
    return Trace(
        scenario.name,
        variant,
        tuple(recorded),
        tuple(spent),
        tuple(
            total
            if scenario.truth == "foreseen" or (scenario.truth == "stays" and index >= since)
            else spent[index] + usual[-1] - usual[index]
            for index in range(HISTORY + MONTH)
        ),
        total,
        None if change is None else since,
        scenario.installed,
    )


def begins(scenario: SpendScenario, variant: int, chance: random.Random) -> int | None:
    """The hour of the change, since the month began."""
    if scenario.weekday is not None:
        return ((scenario.weekday - variant) % 7 + 7) * 24
    if not scenario.day:
        return None
    hour = chance.randrange(24)
    if scenario.installed:
        hour = 12
    elif scenario.midnight:
        hour = 0
    return (scenario.day - 1) * 24 + hour


def spot(noise: list[float], chance: random.Random) -> list[float]:
    """Ten nodes at a time on the mean, each for three hours."""
    starts = [poisson(10 / 3, chance) for _ in range(len(noise) + 2)]
    return [
        10.0 * (starts[index] + starts[index + 1] + starts[index + 2]) * noise[index]
        for index in range(len(noise))
    ]


def poisson(mean: float, chance: random.Random) -> int:
    """A count of events: those whose waits fit into one hour."""
    count, waited = 0, chance.expovariate(mean)
    while waited < 1:
        count, waited = count + 1, waited + chance.expovariate(mean)
    return count

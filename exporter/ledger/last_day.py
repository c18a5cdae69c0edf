"""The last day and the month, hour by hour, kept in memory for the page: a few sums, never read twice."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from exporter.cost.postings import Party
from exporter.ledger.history import History, Sums
from exporter.ledger.totals import Totals, hour_of
from exporter.readings import Kind, ServerKey
from exporter.report import Course, Hour
from exporter.units import NANOSECONDS_PER_HOUR, Instant, Picodollars

DAY_HOURS: Final = 24
MIX_HOURS: Final = 2
"""Hours in which the last 60 minutes lie."""
MONTH_HOURS: Final = 32 * 24
"""Hours that a month may have, and a day."""


@dataclass(slots=True)
class _Sums:
    money: dict[str, Picodollars] = field(default_factory=dict)
    tokens: dict[tuple[Party, Kind], int] = field(default_factory=dict)
    components: dict[str, Picodollars] = field(default_factory=dict)
    mix: dict[tuple[ServerKey, str], Picodollars] = field(default_factory=dict)
    """The same by server, of the latest hours alone: memory that the others need none of."""

    def copy(self) -> "_Sums":
        return _Sums(dict(self.money), dict(self.tokens), dict(self.components), dict(self.mix))

    def add(self, sums: Sums) -> None:
        for slot, amount in sums.cost.items():
            _sum(self.money, slot.phase, amount)
        for key, count in sums.tokens.items():
            _sum(self.tokens, key, count)
        for (server, component), amount in sums.by_component().items():
            _sum(self.components, component, amount)
            _sum(self.mix, (server, component), amount)


class LastDay:
    """The current hour and the 24 before it, as they were committed, and what every hour of a month came to.

    `fill` begins with the file, once; from then on each commit makes another of it. The month is summed anew
    when an hour has passed, or when something was posted to one that had.
    """

    def __init__(self) -> None:
        self._hours: dict[int, _Sums] = {}
        self._month: tuple[int, tuple[Picodollars, ...]] | None = None

    def fill(self, hours: Mapping[int, Sums]) -> None:
        """Begin with what the file keeps of these hours."""
        for hour, sums in hours.items():
            self._hours.setdefault(hour, _Sums()).add(sums)

    def after(self, committed: History, end: Instant) -> "LastDay":
        """This with what a commit wrote, up to the end of its last tick. This itself stays as it is."""
        latest = hour_of(end - 1)
        later = LastDay()
        later._month = self._month
        for hour, sums_of in self._hours.items():
            if latest - DAY_HOURS <= hour <= latest:
                past = hour <= latest - MIX_HOURS and sums_of.mix
                later._hours[hour] = replace(sums_of, mix={}) if past else sums_of
        copied: set[int] = set()
        for (_day, hour), sums in committed.cells.items():
            if hour != latest:
                later._month = None
            if not latest - DAY_HOURS <= hour <= latest:
                continue
            if hour not in copied:
                later._hours[hour] = later._hours.get(hour, _Sums()).copy()
                copied.add(hour)
            later._hours[hour].add(sums)
        return later

    def course(self, totals: Totals, now: Instant) -> Course:
        """The course of things at an instant."""
        latest = hour_of(now)
        hours = [(hour, self._hours.get(hour, _Sums())) for hour in range(latest - DAY_HOURS, latest + 1)]
        if self._month is None or self._month[0] != latest:
            self._month = (latest, _month(totals, latest))
        return Course(
            hours=tuple(
                Hour(hour * NANOSECONDS_PER_HOUR, dict(sums.money), totals.hour_covered.get(hour, 0))
                for hour, sums in hours
            ),
            tokens=_together(sums.tokens for _, sums in hours),
            components=_together(sums.components for _, sums in hours),
            mix=_together(sums.mix for _, sums in hours[-MIX_HOURS:]),
            before=self._month[1],
        )


def _month(totals: Totals, latest: int) -> tuple[Picodollars, ...]:
    """What each whole hour came to, the last of them the one before this; from the first that is known."""
    found: dict[int, Picodollars] = {}
    for (hour, _product), amount in totals.hour_cost.items():
        if latest - MONTH_HOURS <= hour < latest:
            _sum(found, hour, amount)
    return tuple(found.get(hour, 0) for hour in range(min(found), latest)) if found else ()


def _together(parts: Iterable[Mapping[Any, int]]) -> Mapping[Any, int]:
    found: dict[Any, int] = {}
    for part in parts:
        for key, amount in part.items():
            found[key] = found.get(key, 0) + amount
    return found


def _sum(sums: dict[Any, int], key: object, amount: int) -> None:
    sums[key] = sums.get(key, 0) + amount

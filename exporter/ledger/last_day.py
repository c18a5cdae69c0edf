"""The last day of a ledger, as the page draws it: the running hour, 24 before it, and the month's hours."""

from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Any, Final, NamedTuple

from exporter.cost.money import add, add_all
from exporter.cost.postings import CostOwner
from exporter.frozen import dataclass, replace
from exporter.ledger.history import History, HistorySums
from exporter.ledger.totals import Totals, hour_of
from exporter.readings import Kind, ServerKey
from exporter.report import Hour, RecentHistory
from exporter.units import NANOSECONDS_PER_HOUR, Instant, Picodollars

DAY_HOURS: Final = 24
MIX_HOURS: Final = 2
"""Hours in which the last 60 minutes lie."""
MONTH_HOURS: Final = 32 * 24
"""Hours that a month may have, and a day."""


@dataclass(slots=True)
class _HourSums:
    money: dict[str, Picodollars] = field(default_factory=dict)
    tokens: dict[tuple[CostOwner, Kind], int] = field(default_factory=dict)
    components: dict[str, Picodollars] = field(default_factory=dict)
    mix: dict[tuple[ServerKey, str], Picodollars] = field(default_factory=dict)
    """Components by server, of the latest hours only, to save memory."""

    def copy(self) -> "_HourSums":
        return _HourSums(dict(self.money), dict(self.tokens), dict(self.components), dict(self.mix))

    def add(self, sums: HistorySums) -> None:
        for owner_phase, amount in sums.cost.items():
            add(self.money, owner_phase.phase, amount)
        add_all(self.tokens, sums.tokens)
        for (server, component), amount in sums.by_component().items():
            add(self.components, component, amount)
            add(self.mix, (server, component), amount)


class _BeforeHour(NamedTuple):
    """Sums of the 24 hours before the `latest` one, and the cost of each hour of a month before it."""

    latest: int
    tokens: Mapping[tuple[CostOwner, Kind], int]
    components: Mapping[str, Picodollars]
    month: tuple[Picodollars | None, ...]


class LastDay:
    """Committed sums of the current hour and the 24 before it, and the cost of every hour of a month.

    `fill` reads the file once; then each commit makes another one. What came before the hour is summed again
    after each hour, and when something was posted to an earlier one.
    """

    def __init__(self) -> None:
        self._hours: dict[int, _HourSums] = {}
        self._before: _BeforeHour | None = None

    def fill(self, hours: Mapping[int, HistorySums]) -> None:
        """Begin with these hours of the file."""
        for hour, sums in hours.items():
            self._hours.setdefault(hour, _HourSums()).add(sums)

    def after(self, committed: History, end: Instant) -> "LastDay":
        """The last day after a commit, up to the end of its last tick. This one stays as it is."""
        latest = hour_of(end - 1)
        later = LastDay()
        later._before = self._before
        for hour, sums_of in self._hours.items():
            if latest - DAY_HOURS <= hour <= latest:
                past = hour <= latest - MIX_HOURS and sums_of.mix
                later._hours[hour] = replace(sums_of, mix={}) if past else sums_of
        copied: set[int] = set()
        for (_day, hour), sums in committed.cells.items():
            if later._before is not None and hour < later._before.latest:
                later._before = None
            if not latest - DAY_HOURS <= hour <= latest:
                continue
            if hour not in copied:
                later._hours[hour] = later._hours.get(hour, _HourSums()).copy()
                copied.add(hour)
            later._hours[hour].add(sums)
        return later

    def recent(self, totals: Totals, now: Instant) -> RecentHistory:
        """The recent history at an instant."""
        latest = hour_of(now)
        hours = [(hour, self._hours.get(hour, _HourSums())) for hour in range(latest - DAY_HOURS, latest + 1)]
        before, now_sums = self._before, hours[-1][1]
        if before is None or before.latest != latest:
            self._before = before = _BeforeHour(
                latest,
                _merged(sums.tokens for _, sums in hours[:-1]),
                _merged(sums.components for _, sums in hours[:-1]),
                _hourly_cost(totals, latest),
            )
        return RecentHistory(
            hours=tuple(
                Hour(hour * NANOSECONDS_PER_HOUR, dict(sums.money), totals.hour_covered.get(hour, 0))
                for hour, sums in hours
            ),
            tokens=_merged((before.tokens, now_sums.tokens)),
            components=_merged((before.components, now_sums.components)),
            mix=_merged(sums.mix for _, sums in hours[-MIX_HOURS:]),
            before=before.month,
        )


def _hourly_cost(totals: Totals, latest: int) -> tuple[Picodollars | None, ...]:
    """Cost of each whole hour, from the first one of the last month to the one before the latest.

    `None`: nothing was posted to it.
    """
    hours: dict[int, Picodollars] = {}
    for (hour, _product), amount in totals.hour_cost.items():
        if latest - MONTH_HOURS <= hour < latest:
            add(hours, hour, amount)
    return tuple(map(hours.get, range(min(hours), latest))) if hours else ()


def _merged(parts: Iterable[Mapping[Any, int]]) -> Mapping[Any, int]:
    sums: dict[Any, int] = {}
    for part in parts:
        add_all(sums, part)
    return sums

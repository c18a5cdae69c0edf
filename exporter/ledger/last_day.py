"""The last day of a ledger, as the page draws it: the running hour, 24 before it, and the month's hours."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from exporter.cost.money import add, add_all
from exporter.cost.postings import CostOwner
from exporter.ledger.history import History, HistorySums
from exporter.ledger.totals import Totals, hour_of
from exporter.readings import ServerKey, TokenKind
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
    tokens: dict[tuple[CostOwner, TokenKind], int] = field(default_factory=dict)
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
    """The 24 hours before the `latest` one, their sums, and the cost of each hour of a month before it."""

    latest: int
    hours: tuple[Hour, ...]
    tokens: Mapping[tuple[CostOwner, TokenKind], int]
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
        before = self._before
        if before is None or before.latest != latest:
            self._before = before = self._before_hour(totals, latest)
        current = self._sums(latest)
        return RecentHistory(
            hours=(*before.hours, _hour(latest, current, totals)),
            tokens=_merged((before.tokens, current.tokens)),
            components=_merged((before.components, current.components)),
            mix=_merged(self._sums(hour).mix for hour in range(latest + 1 - MIX_HOURS, latest + 1)),
            before=before.month,
        )

    def _before_hour(self, totals: Totals, latest: int) -> _BeforeHour:
        hours = {hour: self._sums(hour) for hour in range(latest - DAY_HOURS, latest)}
        return _BeforeHour(
            latest,
            tuple(_hour(hour, sums, totals) for hour, sums in hours.items()),
            _merged(sums.tokens for sums in hours.values()),
            _merged(sums.components for sums in hours.values()),
            _hourly_cost(totals, latest),
        )

    def _sums(self, hour: int) -> _HourSums:
        return self._hours.get(hour) or _HourSums()


def _hour(hour: int, sums: _HourSums, totals: Totals) -> Hour:
    return Hour(hour * NANOSECONDS_PER_HOUR, dict(sums.money), totals.hour_covered.get(hour, 0))


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

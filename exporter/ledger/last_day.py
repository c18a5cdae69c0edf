"""The last day of a ledger, as the page draws it: the running hour, 24 before it, and the month's hours."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from exporter.cost.money import add, add_all
from exporter.cost.postings import CostOwner
from exporter.ledger.families import Sums
from exporter.ledger.history import History, HistorySums
from exporter.ledger.totals import Totals
from exporter.readings import ServerKey, TokenKind
from exporter.report import Hour, RecentHistory
from exporter.units import NANOSECONDS_PER_HOUR, Instant, Picodollars, hour_of

DAY_HOURS: Final = 24
MIX_HOURS: Final = 2
"""Hours in which the last 60 minutes lie."""
MONTH_HOURS: Final = 32 * 24
"""Hours that a month may have, and a day."""


@dataclass(slots=True)
class _HourSums(Sums):
    money: dict[str, Picodollars] = field(default_factory=dict)
    """By phase."""
    tokens: dict[tuple[CostOwner, TokenKind], int] = field(default_factory=dict)
    components: dict[str, Picodollars] = field(default_factory=dict)
    mix: dict[tuple[ServerKey, str], Picodollars] = field(default_factory=dict)
    """Components by server, of the latest hours only, to save memory."""

    def add_history(self, sums: HistorySums) -> None:
        for owner_phase, amount in sums.cost.items():
            add(self.money, owner_phase.phase, amount)
        add_all(self.tokens, sums.tokens)
        for (server, component), amount in sums.by_component().items():
            add(self.components, component, amount)
            add(self.mix, (server, component), amount)


class LastDay:
    """Committed sums of the current hour and the 24 before it.

    `fill` reads the file once; then each commit makes another one.
    """

    def __init__(self) -> None:
        self._hours: dict[int, _HourSums] = {}

    def fill(self, hours: Mapping[int, HistorySums]) -> None:
        """Begin with these hours of the file."""
        for hour, sums in hours.items():
            self._hours.setdefault(hour, _HourSums()).add_history(sums)

    def after(self, committed: History, end: Instant) -> "LastDay":
        """The last day after a commit, up to the end of its last tick. This one stays as it is."""
        latest = hour_of(end - 1)
        later = LastDay()
        for hour, sums in self._hours.items():
            if latest - DAY_HOURS <= hour <= latest:
                past = hour <= latest - MIX_HOURS and sums.mix
                later._hours[hour] = replace(sums, mix={}) if past else sums
        copied: set[int] = set()
        for (_day, hour), posted in committed.cells.items():
            if not latest - DAY_HOURS <= hour <= latest:
                continue
            if hour not in copied:
                later._hours[hour] = later._hours.get(hour, _HourSums()).copy()
                copied.add(hour)
            later._hours[hour].add_history(posted)
        return later

    def recent(self, totals: Totals, now: Instant) -> RecentHistory:
        """The recent history at an instant."""
        latest = hour_of(now)
        hours = {hour: self._hours.get(hour, _HourSums()) for hour in range(latest - DAY_HOURS, latest + 1)}
        day = _HourSums()
        for sums in hours.values():
            add_all(day.tokens, sums.tokens)
            add_all(day.components, sums.components)
        for hour in range(latest + 1 - MIX_HOURS, latest + 1):
            add_all(day.mix, hours[hour].mix)
        return RecentHistory(
            hours=tuple(
                Hour(
                    start=hour * NANOSECONDS_PER_HOUR,
                    money=dict(sums.money),
                    covered=totals.hours[hour].covered.get((), 0) if hour in totals.hours else 0,
                )
                for hour, sums in hours.items()
            ),
            tokens=day.tokens,
            components=day.components,
            mix=day.mix,
            before=_hourly_cost(totals, latest),
        )


def _hourly_cost(totals: Totals, latest: int) -> tuple[Picodollars | None, ...]:
    """Cost of each whole hour, from the first one of the last month to the one before the latest.

    `None`: nothing was posted to it.
    """
    hours = {
        hour: sum(sums.cost.values())
        for hour, sums in totals.hours.items()
        if sums.cost and latest - MONTH_HOURS <= hour < latest
    }
    return tuple(map(hours.get, range(min(hours), latest))) if hours else ()

"""The last day of a ledger, as the page draws it: the running hour, 24 before it, and the month's hours."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from exporter.cost.money import add, add_all
from exporter.ledger.history import History, HistorySums
from exporter.ledger.totals import Totals
from exporter.report import Hour, RecentHistory
from exporter.units import NANOSECONDS_PER_HOUR, Instant, Picodollars, hour_of

DAY_HOURS: Final = 24
MIX_HOURS: Final = 2
"""Hours in which the last 60 minutes lie."""
MONTH_HOURS: Final = 32 * 24
"""Hours that a month may have, and a day."""


FAMILIES: Final = ("cost", "tokens", "server_cost")
"""Families of history that the page draws."""


@dataclass(frozen=True, slots=True)
class LastDay:
    """Committed history of the current hour and the 24 before it."""

    hours: Mapping[int, HistorySums] = field(default_factory=dict)
    """Sums of the families that the page draws, by hour since 1970."""

    def after(self, committed: History, end: Instant) -> "LastDay":
        """The last day after a commit, up to the end of its last tick. This one stays as it is."""
        latest = hour_of(end - 1)
        first = latest - DAY_HOURS
        hours = {hour: sums for hour, sums in self.hours.items() if first <= hour <= latest}
        changed: dict[int, HistorySums] = {}
        for (_day, hour), posted in committed.cells.items():
            if not first <= hour <= latest:
                continue
            if hour not in changed:
                changed[hour] = hours.get(hour, HistorySums()).copy()
            for family in FAMILIES:
                add_all(getattr(changed[hour], family), getattr(posted, family))
        return LastDay({**hours, **changed})

    def recent(self, totals: Totals, now: Instant) -> RecentHistory:
        """The recent history at an instant."""
        latest = hour_of(now)
        day = HistorySums()
        mix = HistorySums()
        hours: list[Hour] = []
        for hour in range(latest - DAY_HOURS, latest + 1):
            sums = self.hours.get(hour, HistorySums())
            add_all(day.tokens, sums.tokens)
            add_all(day.server_cost, sums.server_cost)
            if hour > latest - MIX_HOURS:
                add_all(mix.server_cost, sums.server_cost)
            money: dict[str, Picodollars] = {}
            for owner_phase, amount in sums.cost.items():
                add(money, owner_phase.phase, amount)
            covered = totals.hours[hour].covered.get((), 0) if hour in totals.hours else 0
            hours.append(Hour(hour * NANOSECONDS_PER_HOUR, money, covered))

        components: dict[str, Picodollars] = {}
        for (_server, component), amount in day.by_component().items():
            add(components, component, amount)
        # Whole hours of the last month, from the first one with cost on.
        month = {
            hour: sum(hour_sums.cost.values())
            for hour, hour_sums in totals.hours.items()
            if hour_sums.cost and latest - MONTH_HOURS <= hour < latest
        }
        before = tuple(month.get(hour) for hour in range(min(month, default=latest), latest))
        return RecentHistory(tuple(hours), day.tokens, components, mix.by_component(), before)

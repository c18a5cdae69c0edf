"""Reader of a ledger for the verbs, while a daemon may write it."""

import sqlite3
from collections.abc import Collection, Mapping
from zoneinfo import ZoneInfo

from exporter.cost.state import State
from exporter.ledger import adjustments, contents
from exporter.ledger.adjustments import Adjustment
from exporter.ledger.history import (
    FAMILIES,
    HistorySums,
    MonthRecord,
    PeakMemory,
    read_history,
    read_month,
    read_peaks,
)
from exporter.ledger.read_only import ReadOnlyLedger
from exporter.ledger.schema import Names, references
from exporter.report import CommittedTotals
from exporter.units import Instant, Nanoseconds


class LedgerReader(ReadOnlyLedger):
    """A ledger with everything that is served of it."""

    def _read(self, connection: sqlite3.Connection) -> None:
        self._contents = contents.read(connection)
        self.id = self._contents.ledger
        self.dropped = self._contents.dropped

    def zone(self) -> ZoneInfo | None:
        """Time zone of the last tick; `None` before the first."""
        return self._zone_named(self._contents.zone)

    def state(self) -> State:
        """State of the cost model."""
        return self._contents.state

    def totals(self, now: Instant, months: tuple[str, ...]) -> CommittedTotals:
        """All totals, with rows that are no longer in a scrape."""
        return contents.committed_totals(self._contents, now, months, None)

    def month(self, name: str) -> MonthRecord:
        """A calendar month like 2026-11, current or past."""
        return self._answer(lambda connection: read_month(connection, name))

    def waiting(self) -> int:
        """How many adjustments wait for the daemon."""
        return self._answer(adjustments.waiting)

    def adjustments(self, first: int, last: int) -> tuple[Adjustment, ...]:
        """Adjustments dated from the first to the last day, numbers like 20261031, posted or waiting."""

        def read(connection: sqlite3.Connection) -> tuple[Adjustment, ...]:
            with references():
                return adjustments.read(connection, Names(connection), first, last)

        return self._answer(read)

    def hours(self, first: int, last: int, families: Collection[str] = FAMILIES) -> Mapping[int, HistorySums]:
        """These families of history by hour since 1970, from first to last. Hours have no `covered`."""
        return self._answer(lambda connection: read_history(connection, "hourly", first, last, families))

    def memory(self, first: int, last: int) -> PeakMemory:
        """Peak GPU memory of servers by hour since 1970, from the first to the last, where it was read."""
        return self._answer(lambda connection: read_peaks(connection, first, last))

    def days(self, first: int, last: int) -> Mapping[int, HistorySums]:
        """History by local day, a number like 20261130, from the first to the last."""
        return self._answer(lambda connection: read_history(connection, "daily", first, last))

    def covered_hours(self, first: int, last: int) -> dict[int, Nanoseconds]:
        """Wall time that ticks and gaps covered, by hour since 1970, from the first to the last."""
        hours = self._contents.totals.hours
        return {
            hour: sums.covered[()]
            for hour, sums in sorted(hours.items())
            if sums.covered and first <= hour <= last
        }

    def covered(self, first: int, last: int) -> Nanoseconds:
        """Wall time that ticks and gaps covered in the hours (since 1970) from the first to the last."""
        return sum(self.covered_hours(first, last).values())

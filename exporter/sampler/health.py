"""How the sources have fared since the daemon started; one log line per change of state."""

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from exporter.report import SourceRow
from exporter.sources.gather import Gathered
from exporter.units import Instant, Nanoseconds

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Record:
    up: bool | None = None
    duration: Nanoseconds = 0
    last_success: Instant | None = None
    problem: str = ""
    errors: Counter[str] = field(default_factory=Counter)


class Health:
    """Accumulates what each tick said of each source."""

    def __init__(self) -> None:
        self._records: dict[str, _Record] = {}

    def note(self, gathered: Iterable[Gathered], wall: Instant) -> None:
        """Take in one tick. Sources that are no longer read are forgotten."""
        kept: dict[str, _Record] = {}
        for answer in gathered:
            health = answer.health
            record = self._records.get(health.source, _Record())
            _tell(health.source, record, up=health.up, problem=answer.problem)
            record.up, record.duration, record.problem = health.up, health.duration, answer.problem
            if health.up:
                record.last_success = wall
            else:
                record.errors[health.reason] += 1
            record.errors.update(dict(health.errors))
            kept[health.source] = record
        self._records = kept

    def count(self, source: str, reason: str, times: int) -> None:
        """Count a partial failure that the books found, not the source."""
        if times and source in self._records:
            self._records[source].errors[reason] += times

    def rows(self) -> tuple[SourceRow, ...]:
        """The state of every source."""
        return tuple(
            SourceRow(name, bool(record.up), record.duration, record.last_success, dict(record.errors))
            for name, record in self._records.items()
        )


def _tell(source: str, record: _Record, *, up: bool, problem: str) -> None:
    if up and record.up is False:
        log.info("source is back", extra={"source": source})
    elif not up and (record.up is not False or record.problem != problem):
        log.warning("source failed", extra={"source": source, "problem": problem})

"""How the sources have fared since the daemon started; one log line per change of state."""

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from exporter.report import SourceRow
from exporter.sources.gather import Gathered
from exporter.units import Instant, Nanoseconds

log = logging.getLogger(__name__)

CLOCK: Final = "clock"
"""The source of calendar time, beside those that are read."""


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
        self._unasked: dict[str, str] = {}

    def note(self, gathered: Iterable[Gathered], wall: Instant) -> None:
        """Take in one tick. Sources that are no longer read are forgotten, as are those that may not ask."""
        by_source: dict[str, list[Gathered]] = {}
        unasked: dict[str, str] = {}
        for answer in gathered:
            if answer.health.expected:
                by_source.setdefault(answer.health.source, []).append(answer)
                continue
            source = answer.health.source
            unasked[source] = answer.problem
            if self._unasked.get(source) != answer.problem:
                log.info("source not asked", extra={"source": source, "problem": answer.problem})
        self._unasked = unasked
        clock = {CLOCK: self._records[CLOCK]} if CLOCK in self._records else {}
        noted = {source: self._noted(source, answers, wall) for source, answers in by_source.items()}
        self._records = noted | clock

    def note_clock(self, wall: Instant, *, synchronized: bool) -> None:
        """Whether the kernel holds the wall clock for right; it is needed across boots only."""
        record = self._records.get(CLOCK, _Record())
        record.up = synchronized
        if synchronized:
            record.last_success = wall
        self._records[CLOCK] = record

    def _noted(self, source: str, answers: list[Gathered], wall: Instant) -> _Record:
        """Replicas of one server are one source: it is up while all of them are."""
        record = self._records.get(source, _Record())
        failed = [answer for answer in answers if not answer.health.up]
        problem = "; ".join(answer.problem for answer in failed)
        _tell(source, record, up=not failed, problem=problem)
        record.up, record.problem = not failed, problem
        record.duration = max(answer.health.duration for answer in answers)
        if not failed:
            record.last_success = wall
        record.errors.update(answer.health.reason for answer in failed)
        for answer in answers:
            record.errors.update(dict(answer.health.errors))
        return record

    def count(self, source: str, reason: str, times: int) -> None:
        """Count a partial failure that the books found, not the source."""
        if times and source in self._records:
            self._records[source].errors[reason] += times

    def rows(self) -> tuple[SourceRow, ...]:
        """The state of every source."""
        return tuple(
            SourceRow(
                name,
                bool(record.up),
                record.duration,
                record.last_success,
                dict(record.errors),
                record.problem,
            )
            for name, record in self._records.items()
        )


def _tell(source: str, record: _Record, *, up: bool, problem: str) -> None:
    if up and record.up is False:
        log.info("source is back", extra={"source": source})
    elif not up and (record.up is not False or record.problem != problem):
        log.warning("source failed", extra={"source": source, "problem": problem})

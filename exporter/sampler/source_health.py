"""Health of the sources since the daemon started; one log line per change of state."""

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from exporter.cost.advance import TickOutcome
from exporter.report import SourceRow
from exporter.sampler.frame_reader import FrameRead
from exporter.sources.gather import Gathered
from exporter.units import Instant, Nanoseconds

log = logging.getLogger(__name__)

CLOCK: Final = "clock"
"""Name of the clock among the sources."""


@dataclass(slots=True)
class _Record:
    up: bool | None = None
    duration: Nanoseconds = 0
    last_success: Instant | None = None
    problem: str = ""
    errors: Counter[str] = field(default_factory=Counter)


class Health:
    """Accumulates the health of each source, tick by tick."""

    def __init__(self) -> None:
        self._records: dict[str, _Record] = {}
        self._skipped: dict[str, str] = {}

    def note(self, gathered: Iterable[Gathered], wall: Instant) -> None:
        """Take in one tick. Sources that are no longer read, or not permitted, are forgotten.

        Replicas of a server are one source, up while all are.
        """
        by_source: dict[str, list[Gathered]] = {}
        skipped: dict[str, str] = {}
        for answer in gathered:
            if answer.health.expected:
                by_source.setdefault(answer.health.source, []).append(answer)
                continue
            source = answer.health.source
            skipped[source] = answer.problem
            if self._skipped.get(source) != answer.problem:
                log.info("source skipped", extra={"source": source, "problem": answer.problem})
        self._skipped = skipped
        records: dict[str, _Record] = {}
        for source, answers in by_source.items():
            record = self._records.get(source, _Record())
            records[source] = record
            failed = [answer for answer in answers if not answer.health.up]
            problem = "; ".join(answer.problem for answer in failed)
            if failed and (record.up is not False or record.problem != problem):
                log.warning("source failed", extra={"source": source, "problem": problem})
            elif not failed and record.up is False:
                log.info("source recovered", extra={"source": source})
            record.up = not failed
            record.problem = problem
            record.duration = max(answer.health.duration for answer in answers)
            if not failed:
                record.last_success = wall
            for answer in failed:
                record.errors[answer.health.reason] += 1
            for answer in answers:
                for reason, times in answer.health.errors:
                    record.errors[reason] += times
        clock = {CLOCK: self._records[CLOCK]} if CLOCK in self._records else {}
        self._records = records | clock

    def note_clock(self, wall: Instant, *, synchronized: bool) -> None:
        """Take in whether the wall clock is right; that is needed across boots only."""
        record = self._records.get(CLOCK, _Record())
        record.up = synchronized
        if synchronized:
            record.last_success = wall
        self._records[CLOCK] = record

    def count_refused(self, read: FrameRead, outcome: TickOutcome) -> None:
        """Count the partial failures of a tick that the cost model detects, and no source."""
        for quantity, times in outcome.postings.implausible:  # readings of GPUs, such as of energy
            self.count(read.gpus.source, f"implausible_{quantity}", times)
        for answer in (*read.gateways, *read.servers):
            if answer.reading is None:
                continue
            # Implausible numbers, or a page of another process.
            for reason, times in outcome.errors.get(answer.reading.url, {}).items():
                self.count(answer.health.source, reason, times)
        for answer in read.servers:
            if answer.reading is None or answer.reading.key not in outcome.state.servers:
                continue
            # Tokens and money of models beyond the limit go under `other`.
            counted_models = outcome.state.servers[answer.reading.key].models.keys()
            if set(answer.reading.models) - counted_models:
                self.count(answer.health.source, "too_many_models", 1)

    def count(self, source: str, reason: str, times: int) -> None:
        """Count a partial failure of a source that the last tick read."""
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

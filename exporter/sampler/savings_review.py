"""Review of the daemon's own ledger for savings: once an hour, in a thread of its own."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from exporter import malloc
from exporter.advice.claims import SCHEDULE_HOURS
from exporter.advice.hours import LEAST_HOURS
from exporter.advice.kinds import advice
from exporter.advice.saving import SavingsPolicy
from exporter.clock import Clock
from exporter.config import Config
from exporter.ledger.errors import LedgerError
from exporter.ledger.host_usage import HourReader, host_usage
from exporter.report import HostSavings, Report, TickBasis
from exporter.tariff.tariff import Tariff
from exporter.threads import start
from exporter.units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_SECOND, Instant, Nanoseconds

log = logging.getLogger(__name__)

REVIEW_HOURS: Final = SCHEDULE_HOURS
"""The hours that are judged: each hour of the week twice."""

QUIET_START: Final[Nanoseconds] = 20 * NANOSECONDS_PER_SECOND
"""Time without a review after a start: discovery and the first scrapes come first."""


class SavingsReview:
    """Keeps the findings of the last review, for the next report.

    `ledger_path` returns the file of the ledger, `None` while there is none. `run` runs work in a thread.
    `trim` gives back what a review has freed.
    A review reads what the last commit left there. Ticks and scrapes never wait for it.
    """

    def __init__(
        self,
        clock: Clock,
        ledger_path: Callable[[], Path | None],
        run: Callable[[Callable[[], None], str], object] = start,
        quiet_start: Nanoseconds = QUIET_START,
        trim: Callable[[], None] = malloc.trim,
    ) -> None:
        self._ledger_path = ledger_path
        self._run = run
        self._trim = trim
        self._clock = clock
        self._earliest = clock.elapsed() + quiet_start
        self._running = False
        self._reviewed: tuple[int, str, Tariff] | None = None
        self._savings: HostSavings | None = None
        self._problem = ""

    def savings(self) -> HostSavings | None:
        """Findings of the last review; `None` before one, and where the ledger has less than a day."""
        return self._savings

    def look(self, report: Report, config: Config) -> None:
        """Begin another review if an hour has ended, or if the configuration or the tariff changed.

        For the sampler, after it has published a report. One review runs at a time.
        """
        basis, path = report.basis, self._ledger_path()
        if basis is None or report.totals is None or path is None:
            return
        due = (report.wall // NANOSECONDS_PER_HOUR, config.hash, basis.policy.tariff)
        if self._running or due == self._reviewed or self._clock.elapsed() < self._earliest:
            return
        self._reviewed, self._running = due, True
        try:
            self._run(lambda: self._review(basis, report.wall, config, path), "savings")
        except RuntimeError as error:  # no thread is left
            self._running = False
            self._note(str(error))

    def _review(self, basis: TickBasis, now: Instant, config: Config, path: Path) -> None:
        """Judge the whole hours before an instant, at the prices of the policy in force."""
        savings = None
        try:
            with HourReader.of_daemon(path, basis.state, config.compare) as ledger:
                host = host_usage(ledger, "", now, REVIEW_HOURS, basis.policy.tariff)
            policy = SavingsPolicy(
                now, basis.policy.zone, config.hours_per_month, config.compare, config.ignored_savings
            )
            if host.length >= LEAST_HOURS:
                findings = advice([host], policy).counted
                savings = HostSavings(now - now % NANOSECONDS_PER_HOUR, host.length, findings)
            self._note("")
        except LedgerError as error:
            self._note(str(error))
        finally:  # findings of before are not those of now
            self._savings = savings
            self._trim()  # before another may begin
            self._running = False

    def _note(self, problem: str) -> None:
        if problem and problem != self._problem:
            log.warning("savings unavailable", extra={"problem": problem})
        self._problem = problem

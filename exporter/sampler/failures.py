"""Ticks that could not be taken: told in the log when that begins and when it ends, and borne for a while."""

import logging
from typing import Final

from exporter.readings import MustRestartError
from exporter.units import NANOSECONDS_PER_MINUTE, Nanoseconds

log = logging.getLogger(__name__)

LONGEST: Final[Nanoseconds] = 10 * NANOSECONDS_PER_MINUTE
"""After so long without a tick only a new process may find what this one lacks."""


class Failures:
    """Remembers since when no tick could be taken, and why."""

    def __init__(self) -> None:
        self._since: Nanoseconds | None = None
        self._told = ""

    def note(self, failure: Exception, now: Nanoseconds) -> None:
        """A tick failed.

        Raises:
            MustRestartError: so did all of the last ten minutes.
        """
        if self._since is None:
            self._since = now
        problem = "out of memory" if isinstance(failure, MemoryError) else repr(failure)
        if now - self._since >= LONGEST:
            raise MustRestartError(f"no tick could be taken for ten minutes: {problem}")
        if problem != self._told:
            # Where in the program memory ran out is no news.
            trace = None if isinstance(failure, MemoryError) else failure
            log.error(
                "no tick can be taken: the report stands, the next tick charges the time",
                extra={"problem": problem},
                exc_info=trace,
            )
        self._told = problem

    def end(self) -> None:
        """A tick was taken."""
        if self._since is not None:
            log.info("ticks are taken again")
        self._since, self._told = None, ""

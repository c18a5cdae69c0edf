"""Asks where this host runs, in the background, and keeps the answer for the life of the process."""

import logging
import threading
from collections import Counter
from collections.abc import Callable
from typing import Final

from exporter.clock import Clock
from exporter.readings import Place, ReadFailedError
from exporter.report import SourceRow
from exporter.sources.cloud.source import CloudSource
from exporter.units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_SECOND, Instant, Nanoseconds

log = logging.getLogger(__name__)

FIRST_PAUSE: Final[Nanoseconds] = 5 * NANOSECONDS_PER_SECOND
LONGEST_PAUSE: Final[Nanoseconds] = NANOSECONDS_PER_HOUR
"""Pauses between attempts, doubled each time: a host's network may come up after the daemon, and some pods
are kept from the metadata service on purpose."""

UNEXPECTED: Final = "internal"


class Enquiry:
    """One thread that reads a source until it has told everything, and calls `changed` after each attempt.

    `place` is `None` while nothing was told yet: during the first attempt, which its timeout bounds. After a
    failure it is what is known without asking, and a later answer replaces it.
    """

    def __init__(self, source: CloudSource, clock: Clock, changed: Callable[[], None]) -> None:
        self._source = source
        self._clock = clock
        self._changed = changed
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._place: Place | None = None if source.known.cloud else source.known
        self._row: SourceRow | None = None
        self._problem = ""
        self._errors: Counter[str] = Counter()
        self._last_success: Instant | None = None

    @property
    def place(self) -> Place | None:
        """Where this host runs, as far as it is known; `None` while it is being asked for the first time."""
        return self._place

    @property
    def row(self) -> SourceRow | None:
        """The health of the source; `None` before the first attempt, and where nobody is asked."""
        return self._row

    def start(self) -> None:
        """Begin to ask, if there is anybody to ask. Idempotent."""
        if self._place is None and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="cloud", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Ask no more. An attempt under way ends by its own timeout, and changes nothing any more."""
        self._stop.set()

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while not self._attempt():
            if self._clock.wait(self._stop, pause):
                return
            pause = min(2 * pause, LONGEST_PAUSE)

    def _attempt(self) -> bool:
        """Ask once; true when there is nothing more to ask."""
        began = self._clock.elapsed()
        told: Place | None = None
        reasons: tuple[tuple[str, int], ...]
        try:
            told = self._source.read()
            reasons, problem = self._source.errors, self._source.problem
        except ReadFailedError as failure:
            reasons, problem = ((failure.reason, 1),), str(failure)
        except Exception as slip:  # noqa: BLE001 - a slip of ours must not leave the host without any price
            reasons, problem = ((UNEXPECTED, 1),), f"{type(slip).__name__}: {slip}"
        if self._stop.is_set():
            return True
        self._errors.update(dict(reasons))
        if told is not None:
            self._last_success = self._clock.wall()
        self._row = SourceRow(
            self._source.name,
            told is not None,
            self._clock.elapsed() - began,
            self._last_success,
            dict(self._errors),
        )
        self._settle(self._source.known if told is None else told, problem)
        self._changed()
        return not reasons

    def _settle(self, place: Place, problem: str) -> None:
        """Keep a place, and log what is new."""
        if problem and problem != self._problem:
            log.warning("source failed", extra={"source": self._source.name, "problem": problem})
        if place != self._place:
            log.info("place", extra=_fields(place))
        self._place, self._problem = place, problem


def _fields(place: Place) -> dict[str, str]:
    told = {
        "cloud": place.cloud,
        "instance_type": place.instance_type,
        "region": place.region,
        "zone": place.zone,
        "lifecycle": place.lifecycle,
        "told_by": place.source,
    }
    return {name: text for name, text in told.items() if text}

"""Asks a source in the background, beside every tick, and keeps what it told."""

import logging
import threading
from collections import Counter
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

from exporter.clock import Clock
from exporter.readings import ReadFailedError
from exporter.report import SourceRow
from exporter.threads import NoThreadError, Started, start
from exporter.units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_SECOND, Instant, Nanoseconds

log = logging.getLogger(__name__)

FIRST_PAUSE: Final[Nanoseconds] = 5 * NANOSECONDS_PER_SECOND
LONGEST_PAUSE: Final[Nanoseconds] = NANOSECONDS_PER_HOUR
"""Pauses between attempts, doubled each time: a host's network may come up after the daemon, and some pods
are kept from whom they ask on purpose."""

UNEXPECTED: Final = "internal"

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Asked(Protocol[T_co]):
    """A source whose answer holds for long, and what is known without it."""

    @property
    def name(self) -> str:
        """The value of the `source` label."""
        ...

    @property
    def asks(self) -> bool:
        """Whether there is anybody to ask."""
        ...

    @property
    def known(self) -> T_co:
        """What is known without asking."""
        ...

    @property
    def errors(self) -> tuple[tuple[str, int], ...]:
        """Why the last reading is not whole, by reason."""
        ...

    @property
    def problem(self) -> str:
        """What `errors` counts, for people."""
        ...

    def read(self) -> T_co:
        """Ask once, within a time of its own.

        Raises:
            ReadFailedError: nothing was told this time.
        """
        ...


class Enquiry(Generic[T]):
    """One thread that reads a source until it has told everything, and calls `changed` after each attempt.

    `told` is `None` while nothing was told yet: during the first attempt, which its timeout bounds. After a
    failure it is what is known without asking, and a later answer replaces it.
    With `renewal` it asks again so long after each answer; a failure then leaves what was told before.
    """

    def __init__(
        self,
        source: Asked[T],
        clock: Clock,
        changed: Callable[[], None],
        renewal: Nanoseconds | None = None,
    ) -> None:
        self._source = source
        self._clock = clock
        self._changed = changed
        self._renewal = renewal
        self._stop = threading.Event()
        self._thread: Started | None = None
        self._finished = False
        self._answered = False
        self._told: T | None = None if source.asks else source.known
        self._row: SourceRow | None = None
        self._problem = ""
        self._errors: Counter[str] = Counter()
        self._last_success: Instant | None = None

    @property
    def told(self) -> T | None:
        """What the source told, as far as it is known; `None` while it is being asked for the first time."""
        return self._told

    @property
    def row(self) -> SourceRow | None:
        """The health of the source; `None` before the first attempt, and where nobody is asked."""
        return self._row

    def start(self) -> None:
        """Begin to ask, if there is anybody to ask, or go on where memory ran out. Idempotent.

        Where no thread is to be had nothing begins; whoever calls this again tries again.
        """
        if not self._source.asks or self._finished or self._stop.is_set():
            return
        if self._thread is None or not self._thread.alive:
            try:
                self._thread = start(self._run, self._source.name)
            except NoThreadError as error:
                self._tell(f"no thread to ask in: {error}")

    def close(self) -> None:
        """Ask no more. An attempt under way ends by its own timeout, and changes nothing any more."""
        self._stop.set()

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while True:
            if not self._attempt():
                wait, pause = pause, min(2 * pause, LONGEST_PAUSE)
            elif self._renewal is None:
                self._finished = True
                return
            else:
                wait, pause = self._renewal, FIRST_PAUSE
            if self._clock.wait(self._stop, wait):
                return

    def _attempt(self) -> bool:
        """Ask once; true when everything was told."""
        began = self._clock.elapsed()
        told: T | None = None
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
        self._tell(problem)
        if told is not None:
            self._answered, self._told = True, told
        elif not self._answered:
            self._told = self._source.known
        self._changed()
        return not reasons

    def _tell(self, problem: str) -> None:
        if problem and problem != self._problem:
            log.warning("source failed", extra={"source": self._source.name, "problem": problem})
        self._problem = problem

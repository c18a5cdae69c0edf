"""Reads all sources of a tick at once, none waiting for another.

A source that is still busy when the next tick comes is reported as failed, and is not asked a second time
meanwhile: a hung one holds one worker, however long it hangs.
"""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Final

from exporter.clock import Clock
from exporter.readings import MustRestartError, NotAllowedError, ReadFailedError, Source, SourceHealth
from exporter.units import NANOSECONDS_PER_SECOND, Nanoseconds, seconds

WORKERS = 8
"""Sources read at the same time; each is bounded by its own timeout."""

GLANCE: Final[Nanoseconds] = NANOSECONDS_PER_SECOND // 10
"""How often a wait for sources looks whether the process is to stop."""

PATIENCE: Final[Nanoseconds] = NANOSECONDS_PER_SECOND // 2
"""How long a tick that is under way waits on for its sources, once the process is to stop."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """What one source said, `None` if nothing, its health, and the message of its failure."""

    source: Source[Any]
    reading: Any
    health: SourceHealth
    problem: str = ""


Gather = Callable[[Iterable[Source[Any]]], list[Gathered]]


def read(source: Source[Any], clock: Clock) -> Gathered:
    """Read one source in this thread.

    Raises:
        MustRestartError: only a new process can read it again.
    """
    began = clock.elapsed()
    try:
        reading = source.read()
    except ReadFailedError as failure:
        took = clock.elapsed() - began
        expected = not isinstance(failure, NotAllowedError)
        health = SourceHealth(source.name, up=False, duration=took, reason=failure.reason, expected=expected)
        return Gathered(source, None, health, str(failure))
    took = clock.elapsed() - began
    return Gathered(source, reading, SourceHealth(source.name, up=True, duration=took, errors=source.errors))


class Gatherer:
    """Reads sources in worker threads; `deadline` bounds all of them together.

    Once `stop` is set, `PATIENCE` does: what a source was about to say is told to the next process.
    """

    def __init__(self, clock: Clock, deadline: Nanoseconds) -> None:
        self._clock = clock
        self.deadline = deadline
        self.stop = threading.Event()
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="source")
        self._busy: dict[Source[Any], Future[Gathered]] = {}
        self._lock = threading.Lock()

    def __call__(self, sources: Iterable[Source[Any]]) -> list[Gathered]:
        """Read every source once; the answers are in the order of the sources.

        Raises:
            MustRestartError: a source can only be read by a new process.
        """
        with self._lock:
            asked = list(sources)
            self._busy = {source: future for source, future in self._busy.items() if not future.done()}
            started = {
                source: self._pool.submit(read, source, self._clock)
                for source in asked
                if source not in self._busy
            }
            self._wait(started.values())
            self._busy.update((source, future) for source, future in started.items() if not future.done())
            return [self._answer(source, started.get(source)) for source in asked]

    def close(self) -> None:
        """Start nothing more; a read in flight ends by its own timeout."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _wait(self, started: Iterable["Future[Gathered]"]) -> None:
        pending, left = set(started), self.deadline
        while pending and left > 0:
            if self.stop.is_set():
                left = min(left, PATIENCE)
            glance = min(left, GLANCE)
            pending = wait(pending, timeout=seconds(glance)).not_done
            left -= glance

    def _answer(self, source: Source[Any], future: "Future[Gathered] | None") -> Gathered:
        if future is None or not future.done():
            health = SourceHealth(source.name, up=False, duration=self.deadline, reason="busy")
            late = "when told to stop" if self.stop.is_set() else f"after {seconds(self.deadline):g} s"
            return Gathered(source, None, health, f"{source.name}: still reading {late}")
        failure = future.exception()
        if failure is None:
            return future.result()
        if isinstance(failure, MustRestartError):
            raise failure
        # A source promises to fail with ReadFailedError only. A slip must not take the meter down with it.
        health = SourceHealth(source.name, up=False, duration=0, reason="internal")
        return Gathered(source, None, health, f"{source.name}: {type(failure).__name__}: {failure}")

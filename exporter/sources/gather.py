"""Reads all sources of a tick at once, none waiting for another.

A source that is still busy when the next tick comes is reported as failed, and is not asked a second time
meanwhile: a hung one holds one worker, however long it hangs.
Where the system gives no thread, sources that none is left for fail, and are asked again in the next tick.
"""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, cast

from exporter.clock import Clock
from exporter.readings import MustRestartError, NotAllowedError, ReadFailedError, Source, SourceHealth
from exporter.sources.workers import Task, Workers
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
        self._workers = Workers("source", WORKERS)
        self._busy: dict[Source[Any], Task] = {}
        self._lock = threading.Lock()

    def __call__(self, sources: Iterable[Source[Any]]) -> list[Gathered]:
        """Read every source once; the answers are in the order of the sources.

        Raises:
            MustRestartError: a source can only be read by a new process.
        """
        with self._lock:
            asked = list(sources)
            self._busy = {
                source: task
                for source, task in self._busy.items()
                if not (task.done or self._workers.withdraw(task))
            }
            started = {
                source: Task(partial(read, source, self._clock))
                for source in asked
                if source not in self._busy
            }
            # First, for memory may run out from here on: what is under way is never asked a second time.
            self._busy.update(started)
            refused = self._workers.give(started.values())
            lost = self._wait(started.values())
            answers = [self._answer(source, started.get(source), lost, refused) for source in asked]
            self._busy = {source: task for source, task in self._busy.items() if not task.done}
            return answers

    def close(self) -> None:
        """Start nothing more; a read in flight ends by its own timeout."""
        self._workers.close()

    def _wait(self, started: Iterable[Task]) -> set[Task]:
        """Wait for what was started; what will never be done is told."""
        pending, lost, left = set(started), set[Task](), self.deadline
        while pending and left > 0:
            if self.stop.is_set():
                left = min(left, PATIENCE)
            glance = min(left, GLANCE)
            self._workers.wait(pending, glance)
            lost.update(task for task in pending if self._workers.lost(task))
            pending = {task for task in pending if not task.done} - lost
            left -= glance
        return lost

    def _answer(self, source: Source[Any], task: Task | None, lost: set[Task], refused: str) -> Gathered:
        if task in lost:
            why = refused or "its thread came to its end"
            return _failed(source, "no_thread", f"no thread to read it in: {why}")
        if task is None or not task.done:
            late = "when told to stop" if self.stop.is_set() else f"after {seconds(self.deadline):g} s"
            return _failed(source, "busy", f"still reading {late}", self.deadline)
        failure, task.failure = task.failure, None  # it holds its task, by its trace
        if failure is None:
            return cast("Gathered", task.result)
        if isinstance(failure, MustRestartError):
            raise failure
        if isinstance(failure, MemoryError):
            return _failed(source, "no_memory", "memory ran out while it was read")
        # A source promises to fail with ReadFailedError only. A slip must not take the meter down with it.
        return _failed(source, "internal", f"{type(failure).__name__}: {failure}")


def _failed(source: Source[Any], reason: str, problem: str, duration: Nanoseconds = 0) -> Gathered:
    health = SourceHealth(source.name, up=False, duration=duration, reason=reason)
    return Gathered(source, None, health, f"{source.name}: {problem}")

"""Reads all sources of a tick at once, none waiting for another.

A source that is still busy when the next tick comes is reported as failed, and is not asked a second time
meanwhile: a hung one holds one worker, however long it hangs.
Servers and gateways take turns: one that is slow, or was never read, has only the threads that are there for
such, whoever waited longest comes first, and one that fails slowly is asked ever more rarely.
Where the system gives no thread, sources that none is left for fail, and are asked again in the next tick.
"""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

from exporter.clock import Clock
from exporter.readings import MustRestartError, NotAllowedError, ReadFailedError, Source, SourceHealth
from exporter.sources.workers import Task, Workers
from exporter.units import NANOSECONDS_PER_SECOND, Nanoseconds, seconds

WORKERS: Final = 8
"""Sources read at the same time; each is bounded by its own timeout."""

SLOW_WORKERS: Final = 4
"""Slow ones that are read at the same time beside them."""

SLOW: Final[Nanoseconds] = NANOSECONDS_PER_SECOND
"""A read that takes so long is a slow one."""

FIRST_PAUSE: Final[Nanoseconds] = 5 * NANOSECONDS_PER_SECOND
LONGEST_PAUSE: Final[Nanoseconds] = 30 * NANOSECONDS_PER_SECOND
"""Pauses after the second slow failure in a row and later ones, doubled each time."""

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
        took = _took(source, clock, began)
        expected = not isinstance(failure, NotAllowedError)
        health = SourceHealth(source.name, up=False, duration=took, reason=failure.reason, expected=expected)
        return Gathered(source, None, health, str(failure))
    took = _took(source, clock, began)
    return Gathered(source, reading, SourceHealth(source.name, up=True, duration=took, errors=source.errors))


def _took(source: Source[Any], clock: Clock, began: Nanoseconds) -> Nanoseconds:
    """How long a source took, without what it waited for others of this process."""
    waited: Nanoseconds = getattr(source, "waited", 0)
    return max(0, clock.elapsed() - began - waited)


@dataclass(slots=True)
class _Turns:
    """How a source that takes turns fared, and when it may be read again.

    `slow` until a read has shown otherwise. `problem` is what was wrong with the last read, and `took` how
    long it was. `late` is what a read said that ended after its tick. None of it holds the source.
    """

    slow: bool = True
    failures: int = 0
    due: Nanoseconds = 0
    problem: str = ""
    took: Nanoseconds = 0
    late: tuple[Any, SourceHealth] | None = None

    def note(self, answer: Gathered, now: Nanoseconds) -> None:
        """A read came to its end."""
        self.problem, self.took = answer.problem, answer.health.duration
        self.slow = self.took >= SLOW
        self.failures = self.failures + 1 if self.slow and not answer.health.up else 0
        pause = FIRST_PAUSE << min(self.failures - 2, 8) if self.failures > 1 else 0
        self.due = now + min(pause, LONGEST_PAUSE)

    def waits(self, source: Source[Any], reason: str, problem: str) -> Gathered:
        """The answer for a source that was not read this time; what was wrong with it still is."""
        health = SourceHealth(source.name, up=False, duration=self.took, reason=reason)
        return Gathered(source, None, health, self.problem or f"{source.name}: {problem}")


class Gatherer:
    """Reads sources in worker threads; `deadline` bounds all of them together.

    Once `stop` is set, `PATIENCE` does: what a source was about to say is told to the next process.
    `slow_workers` are as many threads for slow sources.
    """

    def __init__(self, clock: Clock, deadline: Nanoseconds, slow_workers: int = SLOW_WORKERS) -> None:
        self._clock = clock
        self.deadline = deadline
        self.stop = threading.Event()
        self._workers = Workers("source", WORKERS, slow_workers)
        self._busy: dict[Source[Any], Task] = {}
        self._turns: WeakKeyDictionary[Source[Any], _Turns] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def __call__(self, sources: Iterable[Source[Any]]) -> list[Gathered]:
        """Read every source once; the answers are in the order of the sources.

        Raises:
            MustRestartError: a source can only be read by a new process.
        """
        with self._lock:
            asked = list(sources)
            self._sweep(asked)
            turns = {
                source: self._turns.setdefault(source, _Turns())
                for source in asked
                if getattr(source, "takes_turns", False)
            }
            started = {
                source: Task(partial(read, source, self._clock), slow=source in turns and turns[source].slow)
                for source in sorted(asked, key=lambda source: turns[source].due if source in turns else 0)
                if source not in self._busy and self._begins(turns.get(source))
            }
            # First, for memory may run out from here on: what is under way is never asked a second time.
            self._busy.update(started)
            refused = self._workers.give(started.values())
            lost = self._wait(started.values())
            return [
                self._answer(source, started.get(source), turns.get(source), lost, refused)
                for source in asked
            ]

    def close(self) -> None:
        """Start nothing more; a read in flight ends by its own timeout."""
        self._workers.close()

    def _sweep(self, asked: Iterable[Source[Any]]) -> None:
        """Let go of what ended since the last tick, and of what is asked again before it was begun.

        What a read said that ended meanwhile is as good as what one of now would.
        """
        again = set(asked)
        for source, task in list(self._busy.items()):
            if task.done:
                turns = self._turns.get(source)
                if turns is not None:
                    answer = self._result(source, task, set(), "")
                    turns.note(answer, self._clock.elapsed())
                    turns.late = answer.reading, answer.health
                del self._busy[source]
            elif source in again and self._workers.withdraw(task):
                del self._busy[source]

    def _begins(self, turns: _Turns | None) -> bool:
        return turns is None or (turns.late is None and turns.due <= self._clock.elapsed())

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

    def _answer(
        self, source: Source[Any], task: Task | None, turns: _Turns | None, lost: set[Task], refused: str
    ) -> Gathered:
        if task is not None and (task.done or task in lost):
            answer = self._result(source, task, lost, refused)
            self._busy.pop(source, None)
            if turns is not None and task not in lost:
                turns.note(answer, self._clock.elapsed())
            return answer
        if turns is None:
            return self._result(source, task, lost, refused)
        if turns.late is not None:
            (reading, health), turns.late = turns.late, None
            return Gathered(source, reading, health, turns.problem)
        if source not in self._busy:
            return turns.waits(source, "backoff", "was slow to fail")
        if task is not None and not task.begun:
            return turns.waits(source, "queued", "waits for its turn behind slow ones")
        turns.slow = True
        late = "when told to stop" if self.stop.is_set() else f"after {seconds(self.deadline):g} s"
        return turns.waits(source, "busy", f"still reading {late}")

    def _result(self, source: Source[Any], task: Task | None, lost: set[Task], refused: str) -> Gathered:
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

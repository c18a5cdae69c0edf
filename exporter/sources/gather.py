"""Reads all sources of a tick at once, none waiting for another.

A source that is still busy when the next tick comes is reported as failed, and is not asked a second time
meanwhile: a hung one holds one worker, however long it hangs.
Servers and gateways take turns: one that is slow, or was never read, has only the threads that are there for
such, whoever waited longest comes first, and one that fails slowly is asked ever more rarely.
Where the system gives no thread, sources that none is left for fail, and are asked again in the next tick.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

from exporter.clock import Clock
from exporter.readings import AccessDeniedError, MustRestartError, ReadFailedError, Source, SourceHealth
from exporter.threads import NoThreadError, Started, start
from exporter.units import NANOSECONDS_PER_SECOND, Nanoseconds, seconds


class Task:
    """Work, and what came of it once `done`; its `failure` is `None` where it returned a `result`.

    `slow`: it is expected to take long. `begun`: a thread has taken it.
    """

    __slots__ = ("_work", "begun", "done", "failure", "result", "slow")

    def __init__(self, work: Callable[[], Any], *, slow: bool = False) -> None:
        self._work = work
        self.slow = slow
        self.begun = False
        self.result: Any = None
        self.failure: BaseException | None = None
        self.done = False

    def run(self) -> None:
        """Do it; nothing is raised."""
        try:
            self.result = self._work()
        except BaseException as failure:  # noqa: BLE001 - whoever gave the task is told
            self.failure = failure
        finally:
            self.done = True


class _Hand:
    """One thread, and the task that it is at."""

    __slots__ = ("task", "thread")

    def __init__(self) -> None:
        self.task: Task | None = None
        self.thread: Started | None = None


class Workers:
    """Threads made when there is work for them; those that came to their end are made again.

    At most `most` are at tasks that are not slow, and at most `most_slow` at slow ones.
    """

    def __init__(self, name: str, most: int, most_slow: int = 0) -> None:
        self._name = name
        self._most = {False: most, True: most_slow}
        self._lock = threading.Lock()
        self._given = threading.Condition(self._lock)
        self._ended = threading.Condition(self._lock)
        self._waiting: deque[Task] = deque()
        self._hands: list[_Hand] = []
        self._closed = False

    def give(self, tasks: Iterable[Task]) -> str:
        """Have tasks run in their order; returns why fewer threads than wanted can be had, empty if they can.

        Without a single one the tasks wait, until `lost` takes them back.
        """
        with self._lock:
            self._waiting.extend(tasks)
            self._hands = self._alive()
            wanted = -len(self._hands)
            for slow, most in self._most.items():
                wanted += min(most, self._at_work(slow) + sum(task.slow is slow for task in self._waiting))
            self._given.notify_all()
        try:
            for _ in range(wanted):
                self._add()
        except (NoThreadError, MemoryError) as error:
            return str(error) or "out of memory"
        return ""

    def wait(self, tasks: Iterable[Task], patience: Nanoseconds) -> None:
        """Until all of them are done, no longer than told."""
        left = list(tasks)
        with self._lock:
            self._ended.wait_for(lambda: all(task.done for task in left), seconds(patience))

    def lost(self, task: Task) -> bool:
        """Whether nobody is at a task, nor ever will be: then it waits for no thread any more."""
        with self._lock:
            waits = task in self._waiting and any(self._alive())
            return not waits and self._withdrawn(task)

    def withdraw(self, task: Task) -> bool:
        """Take a task back, unless somebody is at it or has done it."""
        with self._lock:
            return self._withdrawn(task)

    def _withdrawn(self, task: Task) -> bool:
        if task in self._waiting:
            self._waiting.remove(task)
            return True
        return all(hand.task is not task for hand in self._alive()) and not task.done

    def _alive(self) -> list[_Hand]:
        return [hand for hand in self._hands if hand.thread is not None and hand.thread.alive]

    def close(self) -> None:
        """Run nothing more; a task under way ends by itself."""
        with self._lock:
            self._closed = True
            self._waiting.clear()
            self._given.notify_all()

    def _add(self) -> None:
        hand = _Hand()
        with self._lock:
            self._hands.append(hand)
        hand.thread = start(lambda: self._serve(hand), self._name)

    def _serve(self, hand: _Hand) -> None:
        try:
            while (task := self._take(hand)) is not None:
                task.run()
                del task  # a finished reading is not kept until the next one
                with self._lock:
                    hand.task = None
                    self._ended.notify_all()
        except MemoryError:
            return  # another thread is made when there is memory for it

    def _take(self, hand: _Hand) -> Task | None:
        with self._lock:
            while (task := self._next()) is None and not self._closed:
                self._given.wait()
            if task is None or self._closed:
                return None
            # In one step: a task is in the queue or at a hand, or it is done, or it is lost.
            hand.task = task
            self._waiting.remove(task)
            task.begun = True
            return task

    def _next(self) -> Task | None:
        """The first task that there is a thread for; who ends one looks for the next of its kind."""
        room = {slow: self._at_work(slow) < most for slow, most in self._most.items()}
        return next((task for task in self._waiting if room[task.slow]), None)

    def _at_work(self, slow: bool) -> int:  # noqa: FBT001 - the one kind or the other
        return sum(hand.task is not None and hand.task.slow is slow for hand in self._alive())


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
        expected = not isinstance(failure, AccessDeniedError)
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

"""Reads all sources of a tick at once, in one bounded pool of threads.

A read that has not ended by the next tick is reported as failed, and no second one begins beside it: a
hanging source occupies one thread, however long it hangs.
Servers and gateways may be slow. A slow or new one is read by the threads for slow reads only, the
longest-waiting first. After slow failures in a row it is read less and less often.
"""

import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal
from weakref import WeakKeyDictionary

from exporter.clock import Clock
from exporter.readings import (
    AccessDeniedError,
    FailureReason,
    MustRestartError,
    ReadFailedError,
    Source,
    SourceHealth,
)
from exporter.threads import start
from exporter.units import NANOSECONDS_PER_SECOND, Nanoseconds, seconds

WORKERS: Final = 8
"""Sources read at the same time; each is bounded by its own timeout."""

SLOW_WORKERS: Final = 4
"""Slow sources read at the same time, besides those."""

SLOW_READ: Final[Nanoseconds] = NANOSECONDS_PER_SECOND
"""Duration from which on a read is slow."""

BACKOFF_MIN: Final[Nanoseconds] = 5 * NANOSECONDS_PER_SECOND
BACKOFF_MAX: Final[Nanoseconds] = 30 * NANOSECONDS_PER_SECOND
"""Pauses after the second slow failure in a row and later ones, doubled each time."""

STOP_POLL: Final[Nanoseconds] = NANOSECONDS_PER_SECOND // 10
"""How often a wait for sources checks whether the process is to stop."""

STOP_GRACE: Final[Nanoseconds] = NANOSECONDS_PER_SECOND // 2
"""How long the tick under way still waits for its sources once the process is to stop."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """Reading of one source, `None` if it failed, with its health and the message of the failure."""

    source: Source[Any]
    reading: Any
    health: SourceHealth
    problem: str = ""


Gather = Callable[[Iterable[Source[Any]]], list[Gathered]]


def read_source(source: Source[Any], clock: Clock) -> Gathered:
    """Read one source in this thread. Its wait for other reads of this process is no part of its duration.

    A source raises ReadFailedError only. A bug in one fails its read, and must not stop the others.

    Raises:
        MustRestartError: only a new process can read it again.
    """
    began = clock.elapsed()
    reading: Any = None
    problem = ""
    reason: FailureReason | Literal[""] = ""
    expected = True
    try:
        reading = source.read()
    except ReadFailedError as failure:
        problem, reason = str(failure), failure.reason
        expected = not isinstance(failure, AccessDeniedError)
    except (MustRestartError, KeyboardInterrupt):
        raise
    except BaseException as failure:  # noqa: BLE001 - memory that runs out as well
        problem = f"{source.name}: {type(failure).__name__}: {failure}"
        reason = FailureReason.INTERNAL
    health = SourceHealth(
        source.name,
        up=not reason,
        duration=max(0, clock.elapsed() - began - source.waited),
        reason=reason,
        errors=() if reason else source.errors,
        expected=expected,
    )
    return Gathered(source, reading, health, problem)


def _failed(source: Source[Any], reason: FailureReason, problem: str, duration: Nanoseconds = 0) -> Gathered:
    health = SourceHealth(source.name, up=False, duration=duration, reason=reason)
    return Gathered(source, None, health, f"{source.name}: {problem}")


@dataclass(eq=False, slots=True)
class _Read:
    """One read of one source in the pool."""

    source: Source[Any]
    slow: bool
    """Whether threads for slow reads take it."""
    begun: bool = False
    """A thread has taken it."""
    done: bool = False
    """It has an answer or a failure."""
    answer: Gathered | None = None
    failure: BaseException | None = None
    """What was raised and is no `ReadFailedError`."""

    def outcome(self) -> Gathered:
        """The answer; an unexpected failure is one with the reason `internal`.

        Raises:
            MustRestartError: only a new process can read the source again.
        """
        if self.answer is not None:
            return self.answer
        failure, self.failure = self.failure, None  # it holds this read, by its trace
        if isinstance(failure, MustRestartError):
            raise failure
        # A source raises ReadFailedError only. A bug in one must not stop the others.
        return _failed(self.source, FailureReason.INTERNAL, f"{type(failure).__name__}: {failure}")


@dataclass(slots=True)
class _History:
    """Past reads of a source that may be slow. It has no reference to the source."""

    slow: bool = True
    """Until a read has shown otherwise."""
    failures: int = 0
    """Slow failures in a row."""
    due: Nanoseconds = 0
    """When it may be read again."""
    problem: str = ""
    """That of the last read."""
    duration: Nanoseconds = 0
    """That of the last read."""
    late: tuple[Any, SourceHealth] | None = None
    """The answer of a read that ended after its tick."""

    def note(self, answer: Gathered, now: Nanoseconds) -> None:
        """Take in the answer of a read that ended."""
        self.problem, self.duration = answer.problem, answer.health.duration
        self.slow = self.duration >= SLOW_READ
        self.failures = self.failures + 1 if self.slow and not answer.health.up else 0
        pause = BACKOFF_MIN << min(self.failures - 2, 8) if self.failures > 1 else 0
        self.due = now + min(pause, BACKOFF_MAX)

    def unread(self, source: Source[Any], reason: FailureReason, problem: str) -> Gathered:
        """Answer for a source that was not read in this tick; the problem of its last read still stands."""
        health = SourceHealth(source.name, up=False, duration=self.duration, reason=reason)
        return Gathered(source, None, health, self.problem or f"{source.name}: {problem}")


class Gatherer:
    """A bounded pool of threads that reads sources; `deadline` bounds each round of reads.

    The threads are made when they are first needed. Once `stop` is set, `STOP_GRACE` bounds the round: the
    next process reads what this one leaves.
    `slow_workers` is the number of threads for slow sources.
    """

    def __init__(self, clock: Clock, deadline: Nanoseconds, slow_workers: int = SLOW_WORKERS) -> None:
        self._clock = clock
        self.deadline = deadline
        self.stop = threading.Event()
        self._round = threading.Lock()
        self._unfinished: dict[Source[Any], _Read] = {}
        self._histories: WeakKeyDictionary[Source[Any], _History] = WeakKeyDictionary()
        self._lock = threading.Lock()
        self._queued = threading.Condition(self._lock)
        self._ended = threading.Condition(self._lock)
        self._queues: dict[bool, deque[_Read]] = {False: deque(), True: deque()}
        """Quick reads, and slow ones."""
        self._awaited: set[_Read] = set()
        self._limits = {False: WORKERS, True: slow_workers}
        self._running = {False: 0, True: 0}
        self._threads = 0
        self._closed = False

    def __call__(self, sources: Iterable[Source[Any]]) -> list[Gathered]:
        """Read every source once; the answers are in the order of the sources.

        Raises:
            MustRestartError: a source can only be read by a new process.
        """
        with self._round:
            sources = list(sources)
            self._settle(sources)
            now = self._clock.elapsed()
            histories = {
                source: self._histories.setdefault(source, _History())
                for source in sources
                if source.may_be_slow
            }
            reads: dict[Source[Any], _Read] = {}
            for source in sorted(sources, key=lambda one: histories[one].due if one in histories else 0):
                history = histories.get(source)
                is_due = history is None or (history.late is None and history.due <= now)
                if is_due and source not in self._unfinished:
                    reads[source] = _Read(source, slow=history is not None and history.slow)
            self._unfinished.update(reads)
            self._wait(reads.values())
            return [self._answer(source, reads.get(source), histories.get(source)) for source in sources]

    def close(self) -> None:
        """Begin no more reads; one under way ends by its own timeout."""
        with self._lock:
            self._closed = True
            self._queued.notify_all()

    def _settle(self, sources: Iterable[Source[Any]]) -> None:
        """Forget reads that ended since the last tick, and cancel those that are to be repeated unbegun.

        The answer of a read that ended meanwhile replaces that of a new read.
        """
        repeated = set(sources)
        for source, read in list(self._unfinished.items()):
            if read.done:
                history = self._histories.get(source)
                if history is not None:
                    answer = read.outcome()
                    history.note(answer, self._clock.elapsed())
                    history.late = answer.reading, answer.health
                del self._unfinished[source]
            elif source in repeated:
                with self._lock:
                    if not read.begun:
                        self._queues[read.slow].remove(read)
                        del self._unfinished[source]

    def _wait(self, reads: Collection[_Read]) -> None:
        """Have reads done, and wait for them until the deadline."""
        left = self.deadline
        with self._lock:
            for read in reads:
                self._queues[read.slow].append(read)
            self._awaited = set(reads)
            for slow, limit in self._limits.items():
                for _ in range(min(limit - self._running[slow], len(self._queues[slow]))):
                    self._queued.notify()
            needed = sum(
                min(limit, self._running[slow] + len(self._queues[slow]))
                for slow, limit in self._limits.items()
            )
            for _ in range(needed - self._threads):
                start(self._serve, "source")
                self._threads += 1
            while left > 0 and self._awaited:
                if self.stop.is_set():
                    left = min(left, STOP_GRACE)
                poll = min(left, STOP_POLL)
                began = self._clock.awake()
                self._ended.wait_for(lambda: not self._awaited, seconds(poll))
                left -= max(poll, self._clock.awake() - began)  # a busy host wakes it late

    def _serve(self) -> None:
        """Read one source after another, in a thread of the pool."""
        while (read := self._take()) is not None:
            try:
                read.answer = read_source(read.source, self._clock)
            except BaseException as failure:  # noqa: BLE001 - the round reports it
                read.failure = failure
            with self._lock:
                read.done = True
                self._running[read.slow] -= 1
                self._awaited.discard(read)
                if not self._awaited:
                    self._ended.notify_all()
            del read  # a finished reading is not kept until the next one

    def _take(self) -> _Read | None:
        """The next read that the limits allow, quick ones first; waits for one. `None` once closed."""
        with self._lock:
            while not self._closed:
                for slow, queue in self._queues.items():
                    if queue and self._running[slow] < self._limits[slow]:
                        self._running[slow] += 1
                        read = queue.popleft()
                        read.begun = True
                        return read
                self._queued.wait()
            return None

    def _answer(self, source: Source[Any], read: _Read | None, history: _History | None) -> Gathered:
        if read is not None and read.done:
            answer = read.outcome()
            self._unfinished.pop(source, None)
            if history is not None:
                history.note(answer, self._clock.elapsed())
            return answer
        late = "when told to stop" if self.stop.is_set() else f"after {seconds(self.deadline):g} s"
        if history is None:
            return _failed(source, FailureReason.BUSY, f"still reading {late}", self.deadline)
        if history.late is not None:
            (reading, health), history.late = history.late, None
            return Gathered(source, reading, health, history.problem)
        if source not in self._unfinished:
            return history.unread(source, FailureReason.BACKOFF, "was slow to fail")
        if read is not None and not read.begun:
            return history.unread(source, FailureReason.QUEUED, "waits for its turn behind slow ones")
        history.slow = True
        return history.unread(source, FailureReason.BUSY, f"still reading {late}")

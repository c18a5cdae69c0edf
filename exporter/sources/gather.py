"""Reads all sources of a tick at once, in two bounded pools of threads.

The bound is one of memory: of 100 hostile endpoints with pages of 8 MiB, 12 are held at a time.
A read that has not ended by the next tick is reported as failed, and no second one begins beside it: a
hanging source occupies one thread, however long it hangs.
Servers and gateways may be slow. A slow or new one is read by the pool for slow reads only, the
longest-waiting first. After slow failures in a row it is read less and less often.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Final, Literal, NamedTuple
from weakref import WeakKeyDictionary, WeakSet

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


class _Pool:
    """Threads that read sources, at most `limit`; each is made when it is first needed.

    One thread submits reads.
    """

    def __init__(self, clock: Clock, limit: int) -> None:
        self._clock = clock
        self._limit = limit
        self._threads = 0
        self._queue: SimpleQueue[tuple[Source[Any], Future[Gathered]] | None] = SimpleQueue()
        """Reads that wait for a thread; `None` wakes one that is to end."""
        self._reads: WeakSet[Future[Gathered]] = WeakSet()
        """Reads that wait or are under way, and ended ones whose answer is still in use."""
        self._closed = False

    def submit(self, sources: Sequence[Source[Any]]) -> dict[Source[Any], Future[Gathered]]:
        """Have sources read, each by a thread of its own as far as the limit goes.

        A read that no thread has begun can be canceled.

        Raises:
            RuntimeError: the system has no thread left; no source is read.
        """
        unfinished = sum(not read.done() for read in self._reads)
        while self._threads < min(self._limit, unfinished + len(sources)):
            start(self._serve, "source")
            self._threads += 1
        reads: dict[Source[Any], Future[Gathered]] = {source: Future() for source in sources}
        for source, read in reads.items():
            self._reads.add(read)
            self._queue.put((source, read))
        return reads

    def close(self) -> None:
        """Begin no more reads; one under way ends by its own timeout."""
        self._closed = True
        for _ in range(self._threads):
            self._queue.put(None)

    def _serve(self) -> None:
        """Read one source after another, in a thread of the pool."""
        while True:
            queued = self._queue.get()
            if queued is None or self._closed:
                return
            source, read = queued
            if read.set_running_or_notify_cancel():
                try:
                    read.set_result(read_source(source, self._clock))
                except BaseException as failure:  # noqa: BLE001 - the round raises it
                    read.set_exception(failure)
            del queued, source, read  # a finished reading is not kept until the next one


class _LateAnswer(NamedTuple):
    """Answer of a read that ended after its tick. It has no reference to the source."""

    reading: Any
    health: SourceHealth
    problem: str


@dataclass(slots=True)
class _History:
    """Past reads of a source. It has no reference to the source.

    A source that may not be slow is read in each round; nothing of its past counts.
    """

    slow: bool
    """Whether the pool for slow reads reads it: one that may be slow, until a read has shown otherwise."""
    failures: int = 0
    """Slow failures in a row."""
    due: Nanoseconds = 0
    """When it may be read again."""
    problem: str = ""
    """Problem of the last read."""
    duration: Nanoseconds = 0
    """Duration of the last read."""

    def note(self, answer: Gathered, now: Nanoseconds) -> None:
        """Take in the answer of a read that ended."""
        self.problem, self.duration = answer.problem, answer.health.duration
        self.slow = self.duration >= SLOW_READ
        self.failures = self.failures + 1 if self.slow and not answer.health.up else 0
        pause = BACKOFF_MIN << min(self.failures - 2, 8) if self.failures > 1 else 0
        self.due = now + min(pause, BACKOFF_MAX)


class Gatherer:
    """Reads sources in two pools of threads; `deadline` bounds each round of reads.

    Once `stop` is set, `STOP_GRACE` bounds the round: the next process reads what this one leaves.
    `slow_workers` is the number of threads for slow sources.
    """

    def __init__(self, clock: Clock, deadline: Nanoseconds, slow_workers: int = SLOW_WORKERS) -> None:
        self._clock = clock
        self.deadline = deadline
        self.stop = threading.Event()
        self._round = threading.Lock()
        self._quick = _Pool(clock, WORKERS)
        self._slow = _Pool(clock, slow_workers)
        self._unfinished: dict[Source[Any], Future[Gathered]] = {}
        """Reads of this round, and earlier ones that had not ended in theirs."""
        self._histories: WeakKeyDictionary[Source[Any], _History] = WeakKeyDictionary()
        self._late: WeakKeyDictionary[Source[Any], _LateAnswer] = WeakKeyDictionary()
        """Answers that take the place of a read in the next round of their source."""

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
                source: self._histories.setdefault(source, _History(slow=source.may_be_slow))
                for source in sources
            }
            quick: list[Source[Any]] = []
            slow: list[Source[Any]] = []
            for source in sorted(sources, key=lambda source: histories[source].due):
                history = histories[source]
                is_pending = source in self._unfinished or source in self._late
                if history.due <= now and not is_pending:
                    (slow if history.slow else quick).append(source)
            reads: dict[Source[Any], Future[Gathered]] = {}
            for pool, due in ((self._quick, quick), (self._slow, slow)):
                begun = pool.submit(due)
                self._unfinished |= begun
                reads |= begun
            left = self.deadline
            while left > 0 and not all(read.done() for read in reads.values()):
                if self.stop.is_set():
                    left = min(left, STOP_GRACE)
                poll = min(left, STOP_POLL)
                began = self._clock.awake()
                wait(reads.values(), seconds(poll))
                left -= max(poll, self._clock.awake() - began)  # a busy host wakes it late
            return [self._answer(source, reads, histories[source]) for source in sources]

    def close(self) -> None:
        """Begin no more reads; one under way ends by its own timeout."""
        self._quick.close()
        self._slow.close()

    def _settle(self, sources: Iterable[Source[Any]]) -> None:
        """Forget reads that ended since the last tick, and cancel those that are to be repeated unbegun.

        The late answer of a source that may be slow replaces a new read. Other sources are read at their
        tick's own moment, and their late readings are dropped.

        Raises:
            MustRestartError: a read that ended since was of a source that only a new process can read.
        """
        repeated = set(sources)
        for source, read in list(self._unfinished.items()):
            if read.done():
                del self._unfinished[source]
                answer = read.result()
                if source.may_be_slow:
                    self._histories[source].note(answer, self._clock.elapsed())
                    self._late[source] = _LateAnswer(answer.reading, answer.health, answer.problem)
            elif source in repeated and read.cancel():
                del self._unfinished[source]

    def _answer(
        self, source: Source[Any], reads: Mapping[Source[Any], Future[Gathered]], history: _History
    ) -> Gathered:
        """Answer of a source at the end of a round in which `reads` began."""
        if source in self._late:  # its read of an earlier round ended since, and no other one began
            late = self._late.pop(source)
            return Gathered(source, late.reading, late.health, late.problem)
        read = reads.get(source)
        is_running = read is not None and read.running()  # asked first: it may end meanwhile
        if read is not None and read.done():
            self._unfinished.pop(source, None)
            answer = read.result()
            if source.may_be_slow:
                history.note(answer, self._clock.elapsed())
            return answer
        if read is None and source not in self._unfinished:
            reason, problem = FailureReason.BACKOFF, "was slow to fail"
        elif read is not None and source.may_be_slow and not is_running:
            reason, problem = FailureReason.QUEUED, "waits for its turn behind slow ones"
        else:
            history.slow = source.may_be_slow
            when = "when told to stop" if self.stop.is_set() else f"after {seconds(self.deadline):g} s"
            reason, problem = FailureReason.BUSY, f"still reading {when}"
        # A source that may not be slow has no last read here: it has read for the whole round.
        duration = history.duration if source.may_be_slow else self.deadline
        health = SourceHealth(source.name, up=False, duration=duration, reason=reason)
        return Gathered(source, None, health, history.problem or f"{source.name}: {problem}")

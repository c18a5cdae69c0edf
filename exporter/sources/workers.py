"""Threads that run what they are given, as many as the system lets this process have.

Each task is run once, or never: one that no thread has taken can be withdrawn, and one whose thread came to
its end with it is known to be lost.
Slow tasks have threads of their own, so that others never wait for one of them.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from exporter.threads import NoThreadError, Started, start
from exporter.units import Nanoseconds, seconds


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

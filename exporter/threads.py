"""Daemon threads: none of them keeps the process from ending."""

import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

_STARTING: Final = threading.RLock()
"""Guards the stack size, which is set for the process. A signal handler may start a thread amid a start."""


def start(work: Callable[[], None], name: str, stack_bytes: int = 0) -> threading.Thread:
    """Run `work` in a daemon thread. An exception that it raises is logged (`cli.logs`).

    Args:
        work: what to do.
        name: name of the thread, for the log.
        stack_bytes: size of its stack; 0: the system's default.

    Raises:
        RuntimeError: the system has no thread left.
    """
    thread = threading.Thread(target=work, name=name, daemon=True)
    with _STARTING:
        before = threading.stack_size(stack_bytes)
        try:
            thread.start()
        finally:
            threading.stack_size(before)
    return thread


class KeptThreads:
    """Runs each piece of work in a thread of its own, and keeps that thread a moment for the next piece.

    To start a thread takes the starter several times as long as to hand work to one that is there: a crowd
    of clients would be accepted at a third of the rate.

    Args:
        name: name of the threads, for the log.
        stack_bytes: size of their stacks; 0: the system's default.
        seconds: how long a thread without work stays.
        last_seconds: how long it stays, if longer, while no other thread is without work.
    """

    def __init__(
        self, name: str, stack_bytes: int = 0, seconds: float = 0.5, last_seconds: float = 0.0
    ) -> None:
        self._name = name
        self._stack_bytes = stack_bytes
        self._seconds = seconds
        self._last_seconds = last_seconds
        self._closed = False
        # No SimpleQueue: its `get` of CPython 3.11 may wait for ever where its timeout passes amid a wakeup.
        self._handed_over = threading.Condition()
        self._work: deque[Callable[[], None]] = deque()
        self._idle = 0

    @property
    def idle(self) -> int:
        """Threads that wait for work."""
        with self._handed_over:
            return self._idle

    def run(self, work: Callable[[], None]) -> None:
        """Run `work`, which raises nothing, in a thread.

        Raises:
            RuntimeError: no thread is kept, and the system has none left.
        """
        with self._handed_over:
            if self._idle:
                self._idle -= 1
                self._work.append(work)
                self._handed_over.notify()
                return
        # In a list: the thread's own arguments would hold the first piece for as long as the thread lives.
        start(partial(self._run, [work]), self._name, self._stack_bytes)

    def close(self) -> None:
        """Let threads without work end, those that run when theirs is done."""
        with self._handed_over:
            self._closed = True
            self._handed_over.notify_all()

    def _run(self, first: list[Callable[[], None]]) -> None:
        work: Callable[[], None] | None = first.pop()
        while work is not None:
            work()
            work = None  # what it holds is free while this thread waits
            with self._handed_over:
                seconds = self._seconds if self._idle else max(self._seconds, self._last_seconds)
                self._idle += 1
                self._handed_over.wait_for(lambda: self._work or self._closed, seconds)
                if self._work:
                    work = self._work.popleft()
                else:
                    self._idle -= 1

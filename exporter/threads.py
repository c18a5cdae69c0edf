"""Threads where none may be to be had, and of which whoever started one can tell whether it still runs.

`threading.Thread.start` waits until the new thread has told that it began, and one that gets no memory for
that never does: whoever starts it would wait for ever. Here nobody waits.
"""

import _thread
import logging
import threading
import weakref
from collections.abc import Callable
from typing import Final

log = logging.getLogger(__name__)

_STARTING: Final = threading.RLock()
"""The size of a stack is set for the process. A signal's handler may start a thread amid another's start."""


class NoThreadError(Exception):
    """The system gives no thread now: too many processes and threads, or no address space for its stack."""


class _Run:
    """The work of one thread. The thread alone holds it: it is gone with one that never began."""

    __slots__ = ("__weakref__", "ended", "name", "work")

    def __init__(self, work: Callable[[], None], name: str) -> None:
        self.work = work
        self.name = name
        self.ended = False

    def __call__(self) -> None:
        try:
            self.work()
        except MemoryError:  # its trace would take more, and hold what the thread held
            log.error("a thread ended before its time", extra={"work": self.name, "problem": "out of memory"})  # noqa: TRY400
        except Exception:
            log.exception("a thread ended before its time", extra={"work": self.name})
        finally:
            self.ended = True


class Started:
    """A thread as whoever started it sees it."""

    __slots__ = ("_run",)

    def __init__(self, run: "weakref.ref[_Run]") -> None:
        self._run = run

    @property
    def alive(self) -> bool:
        """Whether its work goes on, or may yet begin."""
        run = self._run()
        return run is not None and not run.ended


def start(work: Callable[[], None], name: str, stack_bytes: int = 0) -> Started:
    """Run `work` in a daemon thread, and wait for nothing.

    Args:
        work: what to do. What it raises is logged.
        name: for the log.
        stack_bytes: the size of its stack; 0: the system's.

    Raises:
        NoThreadError: there is no thread to be had. A thread for which memory runs out later just ends.
    """
    run = _Run(work, name)
    started = Started(weakref.ref(run))
    with _STARTING:
        before = threading.stack_size(stack_bytes) if stack_bytes else 0
        try:
            _thread.start_new_thread(run, ())
        except BaseException as error:
            run.ended = True
            if isinstance(error, RuntimeError):
                raise NoThreadError(str(error)) from error
            raise
        finally:
            if stack_bytes:
                threading.stack_size(before)
    return started

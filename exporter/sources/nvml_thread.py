"""One thread for calls that may never return.

A call that hangs inside a driver cannot be ended: the thread is lost until the driver lets it go.
So there is one thread for all calls, it takes one request at a time, and nobody waits longer than told.
Only one that came to its end outside of a call, for want of memory, is followed by another.
"""

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from exporter.clock import Clock
from exporter.threads import NoThreadError, Started, start
from exporter.units import Nanoseconds

T = TypeVar("T")


class StuckError(Exception):
    """The thread is still busy with this request, or with an earlier one."""


class _Request(Generic[T]):
    """Work and its outcome, which is complete once `ran`. Nobody waits any longer once `done` is set."""

    def __init__(self, work: Callable[[], T]) -> None:
        self.done = threading.Event()
        self.ran = False
        self._work = work
        self._result: T | None = None
        self._error: Exception | None = None

    def run(self) -> None:
        try:
            self._result = self._work()
        except Exception as error:  # noqa: BLE001 - handed to whoever asked
            self._error = error
        finally:
            self.ran = True
            self.done.set()

    def outcome(self) -> T:
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]  # None only where T allows it


class Worker:
    """A daemon thread, made at the first request, and never a second one beside it."""

    def __init__(self, name: str, clock: Clock) -> None:
        self._name = name
        self._clock = clock
        self._requests: queue.SimpleQueue[_Request[object] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: Started | None = None
        self._done: threading.Event | None = None

    @property
    def began(self) -> bool:
        """Whether anything was ever asked."""
        return self._thread is not None

    def ask(self, work: Callable[[], T], patience: Nanoseconds) -> T:
        """What `work` returns or raises on the thread, within `patience`.

        A result that comes later is dropped; the next request after it is served as usual.

        Raises:
            StuckError: it took longer, or an earlier request is still running; the work may yet be done.
            NoThreadError: no thread can be made, or it came to its end before the request.
        """
        request = _Request(work)
        with self._lock:
            if self._alive and self._done is not None and not self._done.is_set():
                raise StuckError
            if not self._alive:
                self._requests = queue.SimpleQueue()  # what a thread that has ended left there is nobody's
                self._thread = start(self._serve, self._name)
            self._requests.put(request)  # type: ignore[arg-type]  # the queue does not care what it returns
            self._done = request.done
        self._clock.wait(request.done, patience)
        if request.ran:
            return request.outcome()
        if not self._alive:
            raise NoThreadError("its thread came to its end")
        raise StuckError

    @property
    def _alive(self) -> bool:
        return self._thread is not None and self._thread.alive

    def settle(self, patience: Nanoseconds) -> bool:
        """Wait for the request in flight; false where it is still running after `patience`."""
        done = self._done
        return done is None or self._clock.wait(done, patience)

    def stop(self) -> None:
        """Let the thread end once it is idle, and whoever waits for it go at once; ask nothing any more."""
        if self._done is not None:
            self._done.set()
        self._requests.put(None)

    def _serve(self) -> None:
        requests = self._requests
        while (request := requests.get()) is not None:
            request.run()
            del request  # a finished reading is not kept until the next one

"""One thread for calls that may never return.

A call that hangs inside a driver cannot be ended: the thread is lost until the driver lets it go.
So there is one thread for all calls, it takes one request at a time, and nobody waits longer than told.
"""

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from exporter.clock import Clock
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
    """A daemon thread, made at the first request and never a second time."""

    def __init__(self, name: str, clock: Clock) -> None:
        self._name = name
        self._clock = clock
        self._requests: queue.SimpleQueue[_Request[object] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
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
        """
        request = _Request(work)
        with self._lock:
            if self._done is not None and not self._done.is_set():
                raise StuckError
            self._done = request.done
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
                self._thread.start()
            self._requests.put(request)  # type: ignore[arg-type]  # the queue does not care what it returns
        if not (self._clock.wait(request.done, patience) and request.ran):
            raise StuckError
        return request.outcome()

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
        while (request := self._requests.get()) is not None:
            request.run()
            del request  # a finished reading is not kept until the next one

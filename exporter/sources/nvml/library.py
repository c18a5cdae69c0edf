"""The only importer of `pynvml`: guarded calls, and when NVML is opened, closed and opened again.

Codes and names are those of nvml.h.
NVML is kept open: where persistence mode is off, closing it unloads the GPUs and resets their counters.
"""

import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, TypeVar

import pynvml

from exporter.clock import Clock
from exporter.readings import FailureReason, MustRestartError, ReadFailedError
from exporter.threads import start
from exporter.units import NANOSECONDS_PER_MINUTE, NANOSECONDS_PER_SECOND, Nanoseconds

T = TypeVar("T")


class StuckError(Exception):
    """The thread is still busy with this request, or with an earlier one."""


class Worker:
    """One daemon thread for calls that may hang, started at the first request."""

    def __init__(self, name: str, clock: Clock) -> None:
        self._name = name
        self._clock = clock
        self._requests: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self.began = False
        """Whether there was a request."""
        self._done: threading.Event | None = None

    def run(self, work: Callable[[], T], patience: Nanoseconds) -> T:
        """What `work` returns or raises on the thread, within `patience`.

        A result that comes later is dropped; the next request after it is served as usual.

        Raises:
            StuckError: it took longer, or an earlier request is still running; the work may yet be done.
        """
        future: Future[T] = Future()
        done = threading.Event()

        def request() -> None:
            try:
                future.set_result(work())
            except Exception as error:  # noqa: BLE001 - handed to whoever asked
                future.set_exception(error)
            finally:
                done.set()

        with self._lock:
            if self._done is not None and not self._done.is_set():
                raise StuckError
            if not self.began:
                start(self._serve, self._name)
                self.began = True
            self._requests.put(request)
            self._done = done
        self._clock.wait(done, patience)
        if not future.done():
            raise StuckError
        return future.result()

    def settle(self, patience: Nanoseconds) -> bool:
        """Wait for the request in flight; false where it is still running after `patience`."""
        done = self._done
        return done is None or self._clock.wait(done, patience)

    def stop(self) -> None:
        """Let the thread end once it is idle, and end the wait of its caller at once."""
        if self._done is not None:
            self._done.set()
        self._requests.put(None)

    def _serve(self) -> None:
        while (request := self._requests.get()) is not None:
            request()
            del request  # a finished reading is not kept until the next one


SUCCESS: Final = 0
UNINITIALIZED: Final = 1
INVALID_ARGUMENT: Final = 2
NOT_SUPPORTED: Final = 3
NO_PERMISSION: Final = 4
NOT_FOUND: Final = 6
DRIVER_NOT_LOADED: Final = 9
LIBRARY_NOT_FOUND: Final = 12
FUNCTION_NOT_FOUND: Final = 13
GPU_IS_LOST: Final = 15
RESET_REQUIRED: Final = 16
LIB_RM_VERSION_MISMATCH: Final = 18
ARGUMENT_VERSION_MISMATCH: Final = 25
GPU_NOT_FOUND: Final = 28
UNKNOWN: Final = 999
GARBLED: Final = -1
"""Ours: the driver answered with text that is not UTF-8."""

ENDED: Final = frozenset({UNINITIALIZED, DRIVER_NOT_LOADED, LIB_RM_VERSION_MISMATCH})
"""Codes after which NVML as a whole is of no use."""

NEEDS_REOPENING: Final = frozenset({RESET_REQUIRED, GPU_NOT_FOUND})
"""This GPU will not answer before NVML is closed and opened; others may."""

RETRY: Final[Nanoseconds] = 30 * NANOSECONDS_PER_SECOND
"""Pause between attempts to open NVML, or to find a lost GPU."""

REOPEN: Final[Nanoseconds] = 10 * NANOSECONDS_PER_MINUTE
"""Pause between reopenings for single GPUs: the others answer meanwhile."""

UNKNOWN_OPENINGS: Final = 20
"""Refusals with "Unknown Error" in a row (10 minutes) after which only a new container helps."""

REASONS: Final = {
    UNINITIALIZED: FailureReason.UNINITIALIZED,
    NOT_SUPPORTED: FailureReason.NOT_SUPPORTED,
    NO_PERMISSION: FailureReason.NO_PERMISSION,
    DRIVER_NOT_LOADED: FailureReason.DRIVER_NOT_LOADED,
    LIBRARY_NOT_FOUND: FailureReason.LIBRARY_MISSING,
    FUNCTION_NOT_FOUND: FailureReason.FUNCTION_MISSING,
    GPU_IS_LOST: FailureReason.GPU_LOST,
    RESET_REQUIRED: FailureReason.RESET_REQUIRED,
    LIB_RM_VERSION_MISMATCH: FailureReason.VERSION_MISMATCH,
    ARGUMENT_VERSION_MISMATCH: FailureReason.VERSION_MISMATCH,
    GPU_NOT_FOUND: FailureReason.GPU_NOT_FOUND,
    UNKNOWN: FailureReason.UNKNOWN,
    GARBLED: FailureReason.GARBLED,
}

ADVICE: Final = {
    LIBRARY_NOT_FOUND: "libnvidia-ml.so.1 was not found; install the NVIDIA driver, or run the container "
    "with the NVIDIA runtime and NVIDIA_DRIVER_CAPABILITIES=utility",
    DRIVER_NOT_LOADED: "the NVIDIA kernel driver is not loaded; this is normal while it is being upgraded",
    NO_PERMISSION: "no access to the NVIDIA device nodes (/dev/nvidiactl, /dev/nvidia0, ...)",
}

MISMATCH: Final = (
    "the NVIDIA driver was replaced and this process still holds the old NVML library (version mismatch); "
    "restart it; in a container, recreate the container so that the new library is mounted"
)

NO_DEVICES: Final = (
    "NVML refused to open with Unknown Error {attempts} times in {minutes} minutes; in a container the "
    "device rules for /dev/nvidia* are most likely gone (systemctl daemon-reload drops them), and only a "
    "new container gets them back; to keep them, name the device nodes in its specification or use CDI"
)


class CallFailedError(Exception):
    """One NVML call returned `code`."""

    def __init__(self, function: str, code: int) -> None:
        super().__init__(f"{function} returned {code} ({reason(code)})")
        self.code = code


def reason(code: int) -> FailureReason:
    """The reason of a failure with this code."""
    return REASONS.get(code, FailureReason.OTHER)


class Library:
    """NVML in this process. Used by one thread; only `calling` is read by others."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._is_open = False
        self._retry_at: Nanoseconds | None = None
        self._reopen_at: Nanoseconds = 0
        self._last_failure = (FailureReason.OTHER, "")
        self._fatal = ""
        """Why this process will never open NVML; whoever asked first may have given up by then."""
        self._unknown_openings = 0
        self.wants_reopening = False
        """Set when a GPU will not answer before NVML is opened again."""
        self.calling = ""
        """The call that is running, or ran last."""
        self.closing: list[Callable[[], None]] = []
        """Called before NVML is closed: samples must be freed while it is open."""

    def call(self, function: str, *arguments: object) -> Any:
        """Call a function of `pynvml`.

        Raises:
            CallFailedError: it failed, in whichever of pynvml's ways.
        """
        self.calling = function
        try:
            return getattr(pynvml, function)(*arguments)
        except pynvml.NVMLError as error:
            raise CallFailedError(function, error.value) from None
        except (
            pynvml.NVMLLibraryMismatchError,
            AttributeError,
        ):  # the first is no NVMLError; an old pynvml lacks names
            raise CallFailedError(function, FUNCTION_NOT_FOUND) from None
        except UnicodeDecodeError:
            raise CallFailedError(function, GARBLED) from None

    def structure(self, name: str) -> Any:
        """An empty structure of `pynvml`.

        Raises:
            CallFailedError: it has none of that name, since it is older.
        """
        try:
            return getattr(pynvml, name)()
        except AttributeError:
            raise CallFailedError(name, FUNCTION_NOT_FOUND) from None

    def open(self) -> bool:
        """Make sure that NVML is open; true where this call opened it, so that nothing known before holds.

        Raises:
            ReadFailedError: it cannot be opened; tried every 30 s at most, else refused for the same reason.
            MustRestartError: this process will never be able to.
        """
        if self._fatal:
            raise MustRestartError(self._fatal)
        now = self._clock.elapsed()
        may_try = self._retry_at is None or now >= self._retry_at
        if self._is_open and self.wants_reopening and may_try and now >= self._reopen_at:
            self._reopen_at = now + REOPEN
            self.close()
        if self._is_open:
            return False
        if not may_try:
            raise ReadFailedError(*self._last_failure)
        self._retry_at = now + RETRY
        os.environ.pop(
            "NVML_MPS_DEVICE_ENUMERATION", None
        )  # would hide GPUs from NVML (driver 610 and newer)
        try:
            self.call("nvmlInit")
        except CallFailedError as error:
            self._unknown_openings = self._unknown_openings + 1 if error.code == UNKNOWN else 0
            raise self._refuse(error) from error
        self._is_open = True
        self._unknown_openings = 0
        self.wants_reopening = False
        return True

    def failure(self, error: CallFailedError) -> ReadFailedError | MustRestartError:
        """The failure of a whole read by a failed call; NVML is closed where it has ended."""
        self.wants_reopening |= error.code in NEEDS_REOPENING
        if error.code not in ENDED:
            return ReadFailedError(reason(error.code), str(error))
        self.close()
        return self._refuse(error)

    def close(self) -> None:
        """Close NVML if it is open."""
        if not self._is_open:
            return
        self._is_open = False
        for give_back in self.closing:
            give_back()
        try:
            self.call("nvmlShutdown")
        except CallFailedError:
            return  # the driver is gone, and with it what was to be closed

    def _refuse(self, error: CallFailedError) -> ReadFailedError | MustRestartError:
        if error.code == LIB_RM_VERSION_MISMATCH:
            self._fatal = MISMATCH
        elif self._unknown_openings >= UNKNOWN_OPENINGS:
            minutes = UNKNOWN_OPENINGS * RETRY // NANOSECONDS_PER_MINUTE
            self._fatal = NO_DEVICES.format(attempts=UNKNOWN_OPENINGS, minutes=minutes)
        if self._fatal:
            return MustRestartError(self._fatal)
        advice = ADVICE.get(error.code)
        self._last_failure = (reason(error.code), f"{error}: {advice}" if advice else str(error))
        return ReadFailedError(*self._last_failure)

"""Clock of the process: elapsed time, calendar time and waiting. Tests and the demo replace it."""

import ctypes
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from exporter.units import Instant, Nanoseconds, seconds

BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
"""proc_sys_kernel(5): generated once per boot."""

TIME_ERROR: Final = 5
"""adjtimex(2): the clock is not synchronized to a source."""

TIMEX_BYTES: Final = 256
"""More than the size of `struct timex`; all zeros read the clock without a change."""


class Clock(Protocol):
    """Durations, calendar time and waiting: separate methods, because they fail separately."""

    def elapsed(self) -> Nanoseconds:
        """Boot time: never jumps, and counts suspend. Meaningful as differences within one boot only."""
        ...

    def awake(self) -> Nanoseconds:
        """As `elapsed`, without the time that the host was suspended."""
        ...

    def boot(self) -> str:
        """Identifier of the boot that `elapsed` counts from; empty if unknown."""
        ...

    def wall(self) -> Instant:
        """Calendar time; an administrator or NTP may step it."""
        ...

    def synchronized(self) -> bool:
        """Whether calendar time is right, as far as the kernel knows."""
        ...

    def wait(self, stop: threading.Event, duration: Nanoseconds) -> bool:
        """Wait until `stop` is set (true) or `duration` has passed (false)."""
        ...


class SystemClock:
    """The host's clocks."""

    _boot = ""
    _library: ctypes.CDLL | None = None

    def elapsed(self) -> Nanoseconds:
        """CLOCK_BOOTTIME (clock_gettime(2)): monotonic, suspend included."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def awake(self) -> Nanoseconds:
        """CLOCK_MONOTONIC, which stands still in suspend."""
        return time.clock_gettime_ns(time.CLOCK_MONOTONIC)

    def boot(self) -> str:
        """The kernel's boot id, read until it could be: no process sees another boot."""
        with suppress(OSError, UnicodeError):
            self._boot = self._boot or BOOT_ID.read_text(encoding="ascii").strip()
        return self._boot

    def wall(self) -> Instant:
        """CLOCK_REALTIME."""
        return time.time_ns()

    def synchronized(self) -> bool:
        """adjtimex(2), which needs no privilege to read; true where it is forbidden."""
        try:
            if self._library is None:
                self._library = ctypes.CDLL(None)
            return int(self._library.adjtimex(ctypes.create_string_buffer(TIMEX_BYTES))) != TIME_ERROR
        except (OSError, AttributeError):
            return True

    def wait(self, stop: threading.Event, duration: Nanoseconds) -> bool:
        """Wait on the event; a negative duration checks it without waiting."""
        return stop.wait(max(0.0, seconds(duration)))

"""The only clock. Everything else is handed one, so that time can be told in tests and in the demo."""

import ctypes
import threading
import time
from pathlib import Path
from typing import Final, Protocol

from exporter.units import Instant, Nanoseconds, seconds

BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
"""proc_sys_kernel(5): generated once per boot."""

TIME_ERROR: Final = 5
"""adjtimex(2): the clock is not synchronized to a source."""

BREATH_SECONDS: Final = 0.1

TIMEX_BYTES: Final = 256
"""More than `struct timex` takes; all zeros ask without changing anything."""


class Clock(Protocol):
    """Durations, calendar time and waiting, kept apart because they fail apart."""

    def elapsed(self) -> Nanoseconds:
        """Boot time: never jumps, and counts suspend. Meaningful as differences within one boot only."""
        ...

    def awake(self) -> Nanoseconds:
        """As `elapsed`, without the time that the host was suspended."""
        ...

    def boot(self) -> str:
        """Names the boot that `elapsed` counts from; empty where nothing tells."""
        ...

    def wall(self) -> Instant:
        """The calendar's time; an administrator or NTP may step it."""
        ...

    def synchronized(self) -> bool:
        """False while the kernel knows that the calendar's time may be off."""
        ...

    def wait(self, stop: threading.Event, duration: Nanoseconds) -> bool:
        """Wait until `stop` is set (true) or `duration` has passed (false)."""
        ...


class SystemClock:
    """The host's clocks."""

    def elapsed(self) -> Nanoseconds:
        """CLOCK_BOOTTIME (clock_gettime(2)): monotonic, suspend included."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def awake(self) -> Nanoseconds:
        """CLOCK_MONOTONIC, which stands still in suspend."""
        return time.clock_gettime_ns(time.CLOCK_MONOTONIC)

    def boot(self) -> str:
        """The kernel's boot id."""
        try:
            return BOOT_ID.read_text(encoding="ascii").strip()
        except (OSError, UnicodeError):
            return ""

    def wall(self) -> Instant:
        """CLOCK_REALTIME."""
        return time.time_ns()

    def synchronized(self) -> bool:
        """adjtimex(2), asked without rights; where it is forbidden, nothing speaks against the clock."""
        try:
            return int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(TIMEX_BYTES))) != TIME_ERROR
        except (OSError, AttributeError):
            return True

    def wait(self, stop: threading.Event, duration: Nanoseconds) -> bool:
        """Wait on the event; a negative duration asks without waiting.

        The event makes a lock to wait on. Without memory for one it is looked at now and then instead.
        """
        left = max(0.0, seconds(duration))
        while True:
            try:
                return stop.wait(left)
            except MemoryError:
                time.sleep(min(left, BREATH_SECONDS))
                left -= BREATH_SECONDS
            if left <= 0:
                return stop.is_set()

"""The only clock. Everything else is handed one, so that time can be told in tests and in the demo."""

import threading
import time
from typing import Protocol

from exporter.units import Instant, Nanoseconds, seconds


class Clock(Protocol):
    """Durations, calendar time and waiting, kept apart because they fail apart."""

    def elapsed(self) -> Nanoseconds:
        """Boot time: never jumps, and counts suspend. Meaningful as differences within one boot only."""
        ...

    def wall(self) -> Instant:
        """The calendar's time; an administrator or NTP may step it."""
        ...

    def wait(self, stop: threading.Event, duration: Nanoseconds) -> bool:
        """Wait until `stop` is set (true) or `duration` has passed (false)."""
        ...


class SystemClock:
    """The host's clocks."""

    def elapsed(self) -> Nanoseconds:
        """CLOCK_BOOTTIME (clock_gettime(2)): monotonic, suspend included."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def wall(self) -> Instant:
        """CLOCK_REALTIME."""
        return time.time_ns()

    def wait(self, stop: threading.Event, duration: Nanoseconds) -> bool:
        """Wait on the event; a negative duration asks without waiting."""
        return stop.wait(max(0.0, seconds(duration)))

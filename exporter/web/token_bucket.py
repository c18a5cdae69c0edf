"""A request rate: a token bucket, kept as the time when the next request is due (GCRA)."""

from threading import Lock

from exporter.clock import Clock
from exporter.units import Nanoseconds


class TokenBucket:
    """Lets `burst` requests through at once, then one in each interval."""

    def __init__(self, interval: Nanoseconds, burst: int, clock: Clock) -> None:
        self._interval = interval
        self._slack = (burst - 1) * interval
        self._clock = clock
        self._lock = Lock()
        self._due: Nanoseconds = 0

    def allows(self) -> bool:
        """Whether one more request is served now."""
        now = self._clock.elapsed()
        with self._lock:
            due = max(self._due, now)
            if due - now > self._slack:
                return False
            self._due = due + self._interval
            return True

"""A clock that first replays the past as fast as it is turned, then follows the host's."""

import threading

from exporter.clock import Clock
from exporter.units import Instant, Nanoseconds


class ReplayClock:
    """Starts `back` before now and stands still until it is turned; caught up, it runs by itself."""

    def __init__(self, real: Clock, back: Nanoseconds) -> None:
        self._real = real
        self._behind = back
        self._began = real.elapsed()

    def turn(self, step: Nanoseconds) -> bool:
        """Move on by a step; false once the present is reached."""
        now = self._real.elapsed()
        # The past gets older while it is replayed: what was replayed counts from where the replay began.
        self._behind += now - self._began
        self._began = now
        if self._behind <= step:
            self._behind = 0
            return False
        self._behind -= step
        return True

    def elapsed(self) -> Nanoseconds:
        """Boot time, less what is still to be replayed."""
        return self._reading(self._real.elapsed())

    def wall(self) -> Instant:
        """Calendar time, less what is still to be replayed."""
        return self._reading(self._real.wall())

    def wait(self, stop: threading.Event, duration: Nanoseconds) -> bool:
        """Wait as the host's clock does."""
        return self._real.wait(stop, duration)

    def _reading(self, now: int) -> int:
        standing = self._real.elapsed() - self._began if self._behind else 0
        return now - self._behind - standing

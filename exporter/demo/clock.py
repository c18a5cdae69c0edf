"""A clock that first replays the past as fast as it is turned, then follows the host's."""

import threading

from exporter.clock import Clock
from exporter.units import Instant, Nanoseconds


class ReplayClock:
    """Starts `back` before now and stands still until it is turned; caught up, it runs by itself."""

    def __init__(self, real: Clock, back: Nanoseconds) -> None:
        self._real = real
        self._behind = True
        self._elapsed = real.elapsed() - back
        self._wall = real.wall() - back

    def turn(self, step: Nanoseconds) -> bool:
        """Move on by a step; false once the present is reached."""
        if self._elapsed + step >= self._real.elapsed():
            self._behind = False
            return False
        self._elapsed += step
        self._wall += step
        return True

    def elapsed(self) -> Nanoseconds:
        """Boot time as of the moment that is replayed."""
        return self._elapsed if self._behind else self._real.elapsed()

    def wall(self) -> Instant:
        """Calendar time as of the moment that is replayed."""
        return self._wall if self._behind else self._real.wall()

    def awake(self) -> Nanoseconds:
        """The replayed host never sleeps."""
        return self.elapsed()

    def boot(self) -> str:
        """The host's boot: the replay goes back before it without a reboot."""
        return self._real.boot()

    def synchronized(self) -> bool:
        """The story's clock is right."""
        return True

    def wait(self, stop: threading.Event, duration: Nanoseconds) -> bool:
        """Wait as the host's clock does."""
        return self._real.wait(stop, duration)

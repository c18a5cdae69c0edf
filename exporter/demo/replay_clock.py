"""Clock of the demo: set along the past first, then following the host's clock."""

import threading

from exporter.clock import Clock
from exporter.units import Instant, Nanoseconds


class ReplayClock:
    """Stands still at an instant of the past until `turn` moves it; after `catch_up` it runs by itself.

    `booted` is when the simulated host came up. Its boots are its own: the real host's may be younger.
    """

    def __init__(self, real: Clock, start: Instant, booted: Instant) -> None:
        self._real = real
        self._behind = True
        self._wall = start
        self._booted = booted
        self._boots = 1
        self._shift: Nanoseconds = 0

    def turn(self, instant: Instant) -> None:
        """Move on to an instant that is still to come in the past."""
        self._wall = max(self._wall, instant)

    def boot_at(self, instant: Instant) -> None:
        """Boot the simulated host at an instant."""
        self._booted = instant
        self._boots += 1

    def catch_up(self) -> None:
        """Follow the host's clock from now on; boot time goes on without a step."""
        self._behind = False
        self._shift = self._real.wall() - self._booted - self._real.elapsed()

    def elapsed(self) -> Nanoseconds:
        """Time since the simulated boot, as of the moment that is replayed."""
        return self._wall - self._booted if self._behind else self._real.elapsed() + self._shift

    def wall(self) -> Instant:
        """Calendar time as of the moment that is replayed."""
        return self._wall if self._behind else self._real.wall()

    def awake(self) -> Nanoseconds:
        """The simulated host never sleeps."""
        return self.elapsed()

    def boot(self) -> str:
        """The simulated host's boot."""
        return f"demo-{self._boots}"

    def synchronized(self) -> bool:
        """The replayed time is right."""
        return True

    def wait(self, stop: threading.Event, duration: Nanoseconds) -> bool:
        """Wait as the host's clock does."""
        return self._real.wait(stop, duration)

"""Clock that a test moves by hand."""

import threading
from dataclasses import dataclass, field
from typing import Final

from exporter.units import NANOSECONDS_PER_SECOND

START: Final = 1_795_564_800 * NANOSECONDS_PER_SECOND
"""2026-11-25T00:00:00Z, a Wednesday."""

NOON: Final = 1_795_608_000
"""Noon of that day; seconds since the epoch."""


@dataclass
class ManualClock:
    """Stands still until a test sets `now`; waiting moves it on.

    `now` counts from `start`. `uptime` is the time since boot at `now` 0; below zero if it boots later.
    After `stop_after` waits it sets the event that is waited for.
    """

    now: int = 0
    waited: list[int] = field(default_factory=list)
    stop_after: int = 10**9
    boot_id: str = "boot-1"
    is_synchronized: bool = True
    uptime: int = 1_000 * NANOSECONDS_PER_SECOND
    start: int = START

    def elapsed(self) -> int:
        return self.uptime + self.now

    def wall(self) -> int:
        return self.start + self.now

    def awake(self) -> int:
        return self.elapsed()

    def boot(self) -> str:
        return self.boot_id

    def synchronized(self) -> bool:
        return self.is_synchronized

    def wait(self, stop: threading.Event, duration: int) -> bool:
        self.waited.append(duration)
        self.now += duration
        if len(self.waited) >= self.stop_after:
            stop.set()
        return stop.is_set()


def noon(at: int = NOON) -> ManualClock:
    """Clock of a host that has been up for weeks, at a second since the epoch."""
    uptime = 5_000_000 * NANOSECONDS_PER_SECOND
    return ManualClock(
        (at - NOON) * NANOSECONDS_PER_SECOND, uptime=uptime, start=NOON * NANOSECONDS_PER_SECOND
    )

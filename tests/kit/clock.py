"""The clock of tests: it moves when a test says so. `clock_at(NOVEMBER)`, `clock.now += HOUR`."""

import threading
from dataclasses import dataclass, field
from typing import Final

from tests.kit.units import NOVEMBER, SECOND

START: Final = 1_795_564_800 * SECOND
"""2026-11-25T00:00:00Z, a Wednesday."""

NOON: Final = 1_795_608_000
"""Noon of that day; seconds since the epoch."""


@dataclass
class ManualClock:
    """Stands still until a test sets `now`; waiting moves it on.

    `now` counts from `start`. `uptime` is the time since boot at `now` 0; below zero if it boots later.
    After `stop_after` waits it sets the event that is waited for. Each look at `elapsed` takes `step`.
    """

    now: int = 0
    waited: list[int] = field(default_factory=list)
    stop_after: int = 10**9
    boot_id: str = "boot-1"
    is_synchronized: bool = True
    uptime: int = 1_000 * SECOND
    start: int = START
    step: int = 0

    def elapsed(self) -> int:
        self.now += self.step
        return self.uptime + self.now

    def wall(self) -> int:
        return self.start + self.now

    def awake(self) -> int:
        return self.uptime + self.now

    def boot(self) -> str:
        return self.boot_id

    def synchronized(self) -> bool:
        return self.is_synchronized

    def wait(self, stop: threading.Event, duration: int) -> bool:
        self.waited.append(duration)
        self.now += max(0, duration)
        if len(self.waited) >= self.stop_after:
            stop.set()
        return stop.is_set()


@dataclass
class WaitingClock(ManualClock):
    """Stands still as well, but to wait takes real time: for threads that a test lets run."""

    now: int = 1_000 * SECOND
    uptime: int = 0
    start: int = 0

    def wait(self, stop: threading.Event, duration: int) -> bool:
        return stop.wait(max(0, duration) / SECOND)


def clock_at(instant: int = NOVEMBER, step: int = 0) -> ManualClock:
    """A clock whose `now` is the calendar time and the time since boot."""
    return ManualClock(instant, uptime=0, start=0, step=step)


def noon(at: int = NOON) -> ManualClock:
    """Clock of a host that has been up for weeks, at a second since the epoch."""
    return ManualClock((at - NOON) * SECOND, uptime=5_000_000 * SECOND, start=NOON * SECOND)

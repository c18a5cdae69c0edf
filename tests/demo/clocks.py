"""Clocks that pass no time, for a demo that is told at a moment of the tests' choice."""

from dataclasses import dataclass

from exporter.units import NANOSECONDS_PER_SECOND

NOON = 1_795_608_000
"""Noon of 2026-11-25, a Wednesday, by UTC; seconds since the epoch."""


@dataclass
class Noon:
    """A host's clock at an instant, noon of 2026-11-25 unless told otherwise, that moves when `at` does."""

    at: int = NOON

    def elapsed(self) -> int:
        return (5_000_000 + self.at - NOON) * NANOSECONDS_PER_SECOND

    def wall(self) -> int:
        return self.at * NANOSECONDS_PER_SECOND

    def awake(self) -> int:
        return self.elapsed()

    def boot(self) -> str:
        return "boot-1"

    def synchronized(self) -> bool:
        return True

    def wait(self, stop: object, duration: int) -> bool:
        raise NotImplementedError


class Nothing:
    """No footprint."""

    def read(self) -> None:
        return None

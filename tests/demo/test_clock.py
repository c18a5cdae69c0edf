"""The replay clock tells the past exactly as it is turned, then the present."""

from dataclasses import dataclass

from exporter.demo.clock import ReplayClock
from exporter.units import NANOSECONDS_PER_HOUR as HOUR
from exporter.units import NANOSECONDS_PER_MINUTE as MINUTE


@dataclass
class Real:
    """A host's clock that moves when it is told."""

    now: int = 100 * HOUR

    def elapsed(self) -> int:
        return self.now

    def wall(self) -> int:
        return 10_000 * HOUR + self.now

    def awake(self) -> int:
        return self.now

    def boot(self) -> str:
        return "boot-1"

    def synchronized(self) -> bool:
        return False

    def wait(self, stop: object, duration: int) -> bool:
        raise NotImplementedError


def test_it_stands_still_until_it_is_turned() -> None:
    """However long a replayed tick takes, the tick lasts what it is told to."""
    real = Real()
    clock = ReplayClock(real, 2 * HOUR)
    real.now += 5 * MINUTE

    assert clock.elapsed() == 98 * HOUR
    assert clock.turn(MINUTE)
    assert clock.elapsed() == 98 * HOUR + MINUTE
    assert clock.wall() == 10_098 * HOUR + MINUTE


def test_it_catches_up_with_a_present_that_moved_on() -> None:
    """The last step leads to the present, which is later than where the replay began."""
    real = Real()
    clock = ReplayClock(real, 3 * MINUTE)

    assert clock.turn(MINUTE)
    real.now += MINUTE
    assert clock.turn(MINUTE)
    assert clock.turn(MINUTE)
    assert not clock.turn(MINUTE)
    assert clock.elapsed() == real.now
    real.now += HOUR
    assert clock.elapsed() == real.now

"""The replay clock tells the past exactly as it is turned, then the present."""

from exporter.demo.daemon import ReplayClock
from exporter.units import NANOSECONDS_PER_HOUR as HOUR
from exporter.units import NANOSECONDS_PER_MINUTE as MINUTE
from tests.kit.clock import ManualClock

NOON = 10_100 * HOUR


def real_clock() -> ManualClock:
    """A host's clock; the host came up an hour before the test begins."""
    return ManualClock(uptime=HOUR, start=NOON, is_synchronized=False)


def test_it_stands_still_until_it_is_turned() -> None:
    """However long a replayed tick takes, the tick lasts what it is told to."""
    real = real_clock()
    clock = ReplayClock(real, NOON - 2 * HOUR, NOON - 50 * HOUR)
    real.now += 5 * MINUTE

    assert (clock.wall(), clock.elapsed()) == (NOON - 2 * HOUR, 48 * HOUR)
    clock.turn(NOON - 2 * HOUR + MINUTE)
    assert (clock.wall(), clock.elapsed()) == (NOON - 2 * HOUR + MINUTE, 48 * HOUR + MINUTE)


def test_it_does_not_turn_back() -> None:
    """An instant that is past changes nothing."""
    clock = ReplayClock(real_clock(), NOON - 2 * HOUR, NOON - 50 * HOUR)
    clock.turn(NOON - 3 * HOUR)

    assert clock.wall() == NOON - 2 * HOUR


def test_a_boot_begins_at_zero_under_another_name() -> None:
    """Boot time counts from the simulated boot, and the two boots can be told apart."""
    clock = ReplayClock(real_clock(), NOON - 3 * HOUR, NOON - 50 * HOUR)
    before = clock.boot()
    clock.boot_at(NOON - 2 * HOUR)
    clock.turn(NOON - 2 * HOUR + MINUTE)

    assert clock.elapsed() == MINUTE
    assert clock.boot() != before


def test_caught_up_it_follows_the_host_without_a_step_in_boot_time() -> None:
    """The host itself came up an hour ago; the simulated one, fifty: its boot time goes on from there."""
    real = real_clock()
    clock = ReplayClock(real, NOON - 3 * MINUTE, NOON - 50 * HOUR)
    clock.turn(NOON)
    real.now = MINUTE
    clock.catch_up()

    assert (clock.wall(), clock.elapsed()) == (NOON + MINUTE, 50 * HOUR + MINUTE)
    real.now += HOUR
    assert (clock.wall(), clock.elapsed()) == (NOON + HOUR + MINUTE, 51 * HOUR + MINUTE)

"""A wall clock that is stepped by a day moves money to that day, and makes or loses none of it.

The GPU costs 3.60 dollars an hour, a cent in ten seconds.
"""

from pathlib import Path

import pytest

from tests.corners.simulated_host import SimulatedHost
from tests.kit.units import CENT, DAY, HOUR, SECOND

CONFIG = """
hardware: [{rented: {dollars_per_gpu_hour: 3.60, billing: always}}]
ownership: {rules: [{match: {server: chat}, product: chat, team: assistants}]}
servers: [{name: chat, url: "http://127.0.0.1:8000/metrics", gpus: [0]}]
"""
TICK = 10 * SECOND


@pytest.fixture
def host(tmp_path: Path) -> SimulatedHost:
    """Ticked three times up to noon of the last day of November: two cents."""
    host = SimulatedHost(tmp_path, CONFIG, "2026-11-30T11:59:40+00:00")
    for after in (0, TICK, TICK):
        host.tick(after)
    assert host.whole() == 2 * CENT
    return host


def test_a_day_forward_and_back_between_ticks(host: SimulatedHost) -> None:
    """2 ticks in November, 3 in what the clock calls December, 4 in November again: 9 cents."""
    host.clock.off = DAY
    for _ in range(3):
        host.tick(TICK)
    assert host.served("inference_month_to_date_dollars", product="chat", month="2026-11") == 0.02
    assert host.served("inference_month_to_date_dollars", product="chat", month="2026-12") == 0.03
    host.clock.off = 0
    for _ in range(4):
        host.tick(TICK)

    assert host.whole() == 9 * CENT
    assert host.months() == {"2026-11": 6 * CENT, "2026-12": 3 * CENT}
    assert host.days() == {20261130: 6 * CENT, 20261201: 3 * CENT}
    # The counter has all of it, the month that goes on its own part.
    assert host.served("inference_cost_dollars_total") == pytest.approx(0.09, rel=1e-12)
    assert host.served("inference_month_to_date_dollars", month="2026-11") == pytest.approx(0.06, rel=1e-12)
    assert host.rows("inference_month_to_date_dollars", month="2026-12") == {}


def test_a_day_back_and_forward_between_ticks(host: SimulatedHost) -> None:
    """3 ticks on what the clock calls the 29th, 4 on the 30th again: all in November."""
    host.clock.off = -DAY
    for _ in range(3):
        host.tick(TICK)
    host.clock.off = 0
    for _ in range(4):
        host.tick(TICK)

    assert host.whole() == 9 * CENT
    assert host.months() == {"2026-11": 9 * CENT}
    assert host.days() == {20261129: 3 * CENT, 20261130: 6 * CENT}


def test_december_comes_again_and_is_added_to(host: SimulatedHost) -> None:
    """A minute of a December that was told too early stays in it when the real one comes a day later."""
    host.clock.off = DAY
    for _ in range(6):
        host.tick(TICK)
    host.clock.off = 0
    host.tick(TICK)
    host.until("2026-12-01T12:00:00+00:00")

    # 24 h at 3.60 since noon of the 30th, and the 20 s before it.
    assert host.whole() == 8640 * CENT + 2 * CENT
    # From noon to midnight are 12 h, of which a minute was told as December's; then 12 h, and that minute.
    assert host.months() == {"2026-11": 4320 * CENT + 2 * CENT - 6 * CENT, "2026-12": 4320 * CENT + 6 * CENT}
    assert host.days() == {20261130: 4316 * CENT, 20261201: 4326 * CENT}


@pytest.mark.parametrize("step", [-DAY, DAY])
@pytest.mark.parametrize(("down", "cents"), [(20 * SECOND, 2), (2 * HOUR, 720)])
def test_a_step_while_the_daemon_is_down(host: SimulatedHost, step: int, down: int, cents: int) -> None:
    """Within one boot the boot clock tells how long it was, whatever the wall clock says before and after."""
    host.clock.off = step
    host.restart(down)
    host.tick()
    stepped = 20261201 if step > 0 else 20261129
    assert host.days() == {20261130: 2 * CENT, stepped: cents * CENT}
    host.clock.off = 0
    host.restart(20 * SECOND)
    host.tick()

    assert host.whole() == (2 + cents + 2) * CENT
    assert host.days() == {20261130: 4 * CENT, stepped: cents * CENT}
    assert host.served("inference_gap_uncharged_seconds_total") == 0


def test_a_step_and_its_correction_while_the_daemon_is_down(host: SimulatedHost) -> None:
    """Nobody saw the clock wrong: two hours are two hours."""
    host.restart(2 * HOUR)
    host.tick()

    assert host.whole() == 722 * CENT
    assert host.days() == {20261130: 722 * CENT}


@pytest.mark.parametrize("step", [-DAY, DAY])
def test_across_a_boot_a_wrong_clock_is_waited_for(host: SimulatedHost, step: int) -> None:
    """Ten minutes off; the clock comes up a day wrong and is set after 30 s: 10 min 30 s, and no day."""
    host.clock.off, host.clock.in_step = step, False
    host.reboot(10 * 60 * SECOND)
    for _ in range(3):
        report = host.tick(TICK)
        assert report.totals is None
        assert host.rows("inference_cost_dollars_total") == {}
    host.clock.off, host.clock.in_step = 0, True
    host.tick()

    # 600 s and 30 s at a thousandth of a dollar each are 63 cents.
    assert host.whole() == 65 * CENT
    assert host.days() == {20261130: 65 * CENT}

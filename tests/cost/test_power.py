"""Mean power of five minutes, and the power that a GPU idles at."""

import pytest

from exporter.cost import energy
from exporter.cost.energy import Used
from exporter.cost.state import GpuState
from exporter.readings import Gpu
from tests.cost.watts import TEN, Watts, counter, power


@pytest.fixture
def watts() -> Watts:
    return Watts()


def test_the_mean_power_is_of_five_minutes(watts: Watts) -> None:
    """30 ticks of 10 s; what came before is forgotten."""
    watts.joules(power(0.0), None)
    for _ in range(50):
        watts.joules(power(700.0))
    assert energy.mean_watts(watts.state) == 700
    for _ in range(15):
        watts.joules(power(100.0))
    assert energy.mean_watts(watts.state) == 400
    for _ in range(15):
        watts.joules(power(100.0))
    assert energy.mean_watts(watts.state) == 100
    assert len(watts.state.recent) == 30


def test_a_mean_power_is_forgotten_when_nothing_is_told_for_five_minutes(watts: Watts) -> None:
    """A lost GPU is not said to draw what it drew before."""
    watts.joules(power(700.0), None)
    watts.joules(power(700.0))
    for _ in range(30):
        watts.joules(None)
    assert energy.mean_watts(watts.state) == 700
    watts.joules(None)
    assert energy.mean_watts(watts.state) is None


def test_a_new_start_forgets_the_mean(watts: Watts) -> None:
    """After a restart of the daemon the mean is of what it has seen itself."""
    watts.joules(power(700.0), None)
    watts.joules(power(700.0))
    watts.joules(power(700.0), None)
    assert energy.mean_watts(watts.state) is None


def test_idle_power_is_the_lowest_mean_of_an_idle_tick(watts: Watts) -> None:
    """At most 1 % busy, kept per GPU. Trap: idle power learned under load."""
    watts.joules(counter(0), None)
    now = 0
    learned = []
    for drawn, busy in [(300, 0.5), (120, 0.01), (110, 0.0), (130, 0.0), (90, 0.011), (80, None)]:
        now += drawn * 10
        watts.joules(counter(now), busy=busy)
        learned.append(watts.state.idle_watts)
    assert learned == [None, 120, 110, 110, 110, 110]


def test_idle_power_is_learned_from_power_as_well(watts: Watts) -> None:
    """A GPU without a counter idles, too."""
    watts.joules(power(90.0), busy=0.0)
    assert watts.state.idle_watts == 90


def test_late_energy_does_not_teach_the_idle_power(watts: Watts) -> None:
    """Three ticks at once: how busy the first two were nobody knows."""
    watts.joules(counter(0), None)
    watts.joules(None)
    watts.joules(counter(1000), busy=0.0)
    assert watts.state.idle_watts is None
    gone = Watts()
    gone.joules(power(50.0), None)
    gone.joules(None)
    gone.joules(power(50.0), busy=0.0)
    assert gone.state.idle_watts is None


def test_a_counter_that_stands_still_does_not_teach_0_watts(watts: Watts) -> None:
    """A tick of 0 J is a counter that was not updated."""
    watts.joules(counter(100), None)
    watts.joules(counter(100), busy=0.0)
    assert watts.state.idle_watts is None


def test_the_idle_ratio_is_of_the_time_the_energy_was_used_in() -> None:
    """100 W idle over 20 s are 2 kJ: half of the 4 kJ that arrived."""
    state = GpuState(Gpu("GPU-0", "H100"), 0, idle_watts=100.0)
    assert energy.idle_ratio(state, Used(4_000_000, 2 * TEN)) == 0.5
    assert energy.idle_ratio(state, Used(0, TEN)) is None
    assert energy.idle_ratio(GpuState(state.gpu, 0), Used(4_000_000, TEN)) is None

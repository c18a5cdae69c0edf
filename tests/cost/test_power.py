"""Mean power of five minutes, and the power that a GPU idles at."""

import pytest

from exporter.cost import energy
from exporter.cost.energy import EnergyUse
from exporter.cost.state import GpuState
from exporter.readings import Gpu
from tests.cost.energy_meter import TEN, EnergyMeter, counter, power


@pytest.fixture
def meter() -> EnergyMeter:
    return EnergyMeter()


def test_the_mean_power_is_of_five_minutes(meter: EnergyMeter) -> None:
    """30 ticks of 10 s; what came before is forgotten."""
    meter.joules(power(0.0), None)
    for _ in range(50):
        meter.joules(power(700.0))
    assert energy.mean_watts(meter.state) == 700
    for _ in range(15):
        meter.joules(power(100.0))
    assert energy.mean_watts(meter.state) == 400
    for _ in range(15):
        meter.joules(power(100.0))
    assert energy.mean_watts(meter.state) == 100
    assert len(meter.state.recent) == 30


def test_a_mean_power_is_forgotten_when_nothing_is_reported_for_five_minutes(meter: EnergyMeter) -> None:
    """A lost GPU is not said to draw what it drew before."""
    meter.joules(power(700.0), None)
    meter.joules(power(700.0))
    for _ in range(30):
        meter.joules(None)
    assert energy.mean_watts(meter.state) == 700
    meter.joules(None)
    assert energy.mean_watts(meter.state) is None


def test_a_new_start_forgets_the_mean(meter: EnergyMeter) -> None:
    """After a restart of the daemon the mean is of what it has seen itself."""
    meter.joules(power(700.0), None)
    meter.joules(power(700.0))
    meter.joules(power(700.0), None)
    assert energy.mean_watts(meter.state) is None


def test_idle_power_is_the_lowest_mean_of_an_idle_tick(meter: EnergyMeter) -> None:
    """At most 1 % busy, kept per GPU. Trap: idle power learned under load."""
    meter.joules(counter(0), None)
    now = 0
    learned = []
    for drawn, busy in [(300, 0.5), (120, 0.01), (110, 0.0), (130, 0.0), (90, 0.011), (80, None)]:
        now += drawn * 10
        meter.joules(counter(now), busy=busy)
        learned.append(meter.state.idle_watts)
    assert learned == [None, 120, 110, 110, 110, 110]


def test_idle_power_is_learned_from_power_as_well(meter: EnergyMeter) -> None:
    """A GPU without a counter idles, too."""
    meter.joules(power(90.0), busy=0.0)
    assert meter.state.idle_watts == 90


def test_late_energy_does_not_teach_the_idle_power(meter: EnergyMeter) -> None:
    """Three ticks at once: how busy the first two were nobody knows."""
    meter.joules(counter(0), None)
    meter.joules(None)
    meter.joules(counter(1000), busy=0.0)
    assert meter.state.idle_watts is None
    gone = EnergyMeter()
    gone.joules(power(50.0), None)
    gone.joules(None)
    gone.joules(power(50.0), busy=0.0)
    assert gone.state.idle_watts is None


def test_a_counter_that_stands_still_does_not_teach_0_watts(meter: EnergyMeter) -> None:
    """A tick of 0 J is a counter that was not updated."""
    meter.joules(counter(100), None)
    meter.joules(counter(100), busy=0.0)
    assert meter.state.idle_watts is None


def test_the_idle_ratio_is_of_the_time_the_energy_was_used_in() -> None:
    """100 W idle over 20 s are 2 kJ: half of the 4 kJ that arrived."""
    state = GpuState(Gpu("GPU-0", "H100"), 0, idle_watts=100.0)
    assert energy.idle_ratio(state, EnergyUse(4_000_000, 2 * TEN)) == 0.5
    assert energy.idle_ratio(state, EnergyUse(0, TEN)) is None
    assert energy.idle_ratio(GpuState(state.gpu, 0), EnergyUse(4_000_000, TEN)) is None

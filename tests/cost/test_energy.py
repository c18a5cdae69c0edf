"""Joules: the counter against its mark, resets, bad reads, and power where there is no counter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cost import energy
from exporter.cost.energy import EnergyUse
from tests.cost.energy_meter import TEN, EnergyMeter, counter, power
from tests.cost.readings import h100
from tests.kit.units import SECOND


@pytest.fixture
def meter() -> EnergyMeter:
    return EnergyMeter()


def test_the_first_read_is_a_mark(meter: EnergyMeter) -> None:
    """A tick without a start charges nothing: what the counter shows was used before us."""
    assert meter.joules(counter(9_000_000), None) == 0
    assert meter.joules(counter(9_005_000)) == 5000
    assert energy.mean_watts(meter.state) == 500


def test_a_gpu_without_a_reading_in_the_first_tick_has_nothing_to_mark(meter: EnergyMeter) -> None:
    """NVML was silent when we started; what was remembered stays."""
    assert meter.joules(None, None) == 0
    assert meter.state.energy_mark is None


def test_a_tick_of_no_length_counts_nothing_and_keeps_the_mark(meter: EnergyMeter) -> None:
    """Its energy arrives with the next tick; nothing is divided by zero."""
    meter.joules(counter(100), None)
    assert meter.joules(counter(200), 0) == 0
    assert meter.joules(counter(300)) == 200


def test_a_gpu_that_appears_integrates_its_first_tick(meter: EnergyMeter) -> None:
    """No mark yet, so power stands for the tick; from then on the counter counts."""
    assert meter.joules(counter(9_000_000, power_watts=300.0)) == 3000
    assert meter.joules(counter(9_004_000, power_watts=300.0)) == 4000


def test_a_gpu_that_appears_with_a_counter_only_is_marked(meter: EnergyMeter) -> None:
    """Nothing measured means nothing, and no mean of 0 W."""
    assert meter.joules(counter(9_000_000)) == 0
    assert energy.mean_watts(meter.state) is None
    assert meter.joules(counter(9_001_000)) == 1000


def test_failed_reads_delay_energy(meter: EnergyMeter) -> None:
    """What they missed arrives with the next good value, reported with the time it was used in."""
    meter.joules(counter(0), None)
    assert [meter.joules(None) for _ in range(3)] == [0, 0, 0]
    assert meter.use(counter(20_000)) == EnergyUse(20_000_000, 4 * TEN)
    assert energy.mean_watts(meter.state) == 500


def test_a_counter_that_is_silent_for_a_while_catches_up(meter: EnergyMeter) -> None:
    """The driver had no value: power does not stand in, since the counter will tell the same joules."""
    meter.joules(counter(0), None)
    assert meter.joules(power(500.0)) == 0
    assert meter.joules(counter(10_000)) == 10_000


def test_a_counter_that_is_gone_for_a_minute_yields_to_power(meter: EnergyMeter) -> None:
    """From then on power is integrated, for the silent time too; a counter that returns gets a new mark."""
    meter.joules(counter(0), None)
    silent = [meter.joules(power(500.0)) for _ in range(6)]
    assert sum(silent) == 0
    assert meter.joules(power(500.0)) == 70 * 500
    assert meter.joules(power(500.0)) == 5000
    assert meter.joules(counter(400_000, power_watts=500.0)) == 5000
    assert meter.joules(counter(405_000)) == 5000


def test_a_silent_nvml_after_a_counter_that_is_gone_costs_nothing(meter: EnergyMeter) -> None:
    """Found by a plan of faults: four minutes without the counter, then 80 s in which NVML hung."""
    meter.joules(counter(0), None)
    reported = [meter.joules(power(500.0)) for _ in range(27)] + [meter.joules(None) for _ in range(8)]
    assert sum(reported) == 27 * 5000
    assert meter.joules(power(500.0)) == 9 * 5000


@pytest.mark.parametrize("falls", [1, 2])
def test_a_short_fall_is_a_bad_read(meter: EnergyMeter, falls: int) -> None:
    """It counts nothing; the true delta arrives later. Trap: the absolute difference is charged."""
    meter.joules(counter(1_000_000), None)
    assert [meter.joules(counter(3)) for _ in range(falls)] == [0] * falls
    assert meter.joules(counter(1_000_000 + 5000 * (falls + 1))) == 5000 * (falls + 1)


def test_a_fall_of_three_reads_is_a_reset(meter: EnergyMeter) -> None:
    """The driver was loaded again: everything since zero counts, from the first of the three reads on."""
    meter.joules(counter(1_000_000), None)
    assert [meter.joules(counter(value)) for value in (4000, 8000, 12_000, 16_000)] == [0, 0, 12_000, 4000]


def test_a_reset_does_not_teach_the_idle_power(meter: EnergyMeter) -> None:
    """What a counter shows after a reset was used in an unknown time."""
    meter.joules(counter(1_000_000), None)
    for value in (1, 2, 3):
        meter.joules(counter(value), busy=0.0)
    assert meter.state.idle_watts is None


def test_an_implausible_delta_is_refused(meter: EnergyMeter) -> None:
    """700 W x 1.2 x 10 s = 8400 J is the most that is believed; above, power stands in and it is reported."""
    meter.joules(counter(0), None)
    assert meter.use(counter(8400)) == EnergyUse(8_400_000, TEN)
    refused = meter.use(counter(8400 + 8400.001, power_watts=650.0))
    assert refused == EnergyUse(6_500_000, TEN, implausible=True)
    assert meter.joules(counter(8400 + 8400.001 + 5000)) == 5000


def test_an_implausible_delta_without_power_counts_nothing(meter: EnergyMeter) -> None:
    """It is refused and reported; the rest is not invented."""
    meter.joules(counter(0), None)
    assert meter.use(counter(10**9)) == EnergyUse(0, 0, implausible=True)


def test_the_limit_follows_the_time_since_the_mark(meter: EnergyMeter) -> None:
    """After three failed reads four ticks' worth is plausible."""
    meter.joules(counter(0), None)
    for _ in range(3):
        meter.joules(None)
    assert meter.use(counter(4 * 8400)) == EnergyUse(4 * 8_400_000, 4 * TEN)


@pytest.mark.parametrize("limit", [None, 0.0])
def test_a_limit_that_is_not_reported_is_2000_watts(meter: EnergyMeter, limit: float | None) -> None:
    """Above every board; 2000 W x 1.2 x 10 s = 24 kJ."""
    meter.joules(h100(energy=0), None)
    assert meter.use(h100(energy=24_000_000, power_limit_watts=limit)) == EnergyUse(24_000_000, TEN)
    assert meter.use(h100(energy=49_000_000, power_limit_watts=limit)).implausible


def test_a_sentinel_costs_no_energy(meter: EnergyMeter) -> None:
    """Trap: a sentinel read as data. 2^64 - 1 mJ is refused; afterwards the true counter is taken up again.

    Power stands in for every tick that the counter could not tell: none is charged twice, none is lost.
    """
    meter.joules(counter(1_000_000), None)
    values = [2**64 / 1000, 1_010_000, 1_015_000, 1_020_000, 1_025_000]
    used = [meter.use(counter(value, power_watts=500.0)) for value in values]
    assert [tick.energy // 1_000_000 for tick in used] == [5, 0, 0, 15, 5]
    assert [tick.implausible for tick in used] == [True, False, False, True, False]


def test_power_is_integrated_without_a_counter(meter: EnergyMeter) -> None:
    """Joules are watts x seconds, and the remainder below a millijoule is carried."""
    meter.joules(power(300.0), None)
    assert meter.joules(power(300.0)) == 3000
    third = SECOND // 3
    assert sum(meter.use(power(1.0), third).energy for _ in range(9)) == 2999  # 9 x 0.333333333 s


def test_a_missing_power_sample_is_not_zero(meter: EnergyMeter) -> None:
    """Trap: one electricity sample missing = 0 J. The next sample stands for the time it missed."""
    meter.joules(power(300.0), None)
    assert meter.joules(None) == 0
    assert meter.joules(power(None)) == 0
    assert meter.use(power(400.0)) == EnergyUse(12_000_000, 3 * TEN)


def test_a_power_sample_stands_for_five_minutes_at_most(meter: EnergyMeter) -> None:
    """A GPU that was off the bus for a day does not pay a day of power when it comes back."""
    meter.joules(power(300.0), None)
    meter.joules(None, 86_400 * SECOND)
    assert meter.joules(power(400.0)) == 400 * 300


def test_power_over_a_long_tick_covers_it(meter: EnergyMeter) -> None:
    """A tick of an hour is a tick all the same."""
    meter.joules(power(300.0), None)
    assert meter.joules(power(400.0), 3600 * SECOND) == 400 * 3600


@given(
    st.floats(0, 2000),
    st.lists(st.integers(1, 20 * SECOND), min_size=1, max_size=20),
)
def test_integrated_power_adds_up(watts_drawn: float, pieces: list[int]) -> None:
    """However time is cut, the energy is that of the whole, to the millijoule."""
    cut, whole = EnergyMeter(), EnergyMeter()
    total = sum(cut.use(power(watts_drawn), piece).energy for piece in pieces)
    assert total == whole.use(power(watts_drawn), sum(pieces)).energy
    assert total == round(watts_drawn * 1000) * sum(pieces) // SECOND


@given(st.lists(st.tuples(st.integers(0, 8_000_000), st.booleans()), min_size=1, max_size=30))
def test_dropped_reads_change_when_energy_arrives_not_how_much(ticks: list[tuple[int, bool]]) -> None:
    """Any subset of reads may fail; with the last one the sum is the counter's own difference."""
    reported, all_read = EnergyMeter(), EnergyMeter()
    for each in (reported, all_read):
        each.use(counter(50), None)
    total = dropped = 0
    now = 50_000
    for used, fails in [*ticks, (0, False)]:
        now += used
        reading = h100(energy=now, power_limit_watts=700.0)
        total += all_read.use(reading).energy
        dropped += reported.use(None if fails else reading).energy
    assert dropped == total == now - 50_000


def test_a_gpu_that_reports_neither_has_no_power(meter: EnergyMeter) -> None:
    """Absent, never zero: no mean of 0 W comes from readings that were never there."""
    meter.joules(power(None), None)
    assert [meter.joules(power(None)) for _ in range(40)] == [0.0] * 40
    assert energy.mean_watts(meter.state) is None

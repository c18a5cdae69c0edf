"""One GPU that is read again and again for its energy."""

from exporter.cost import energy
from exporter.cost.energy import EnergyUse
from exporter.cost.state import GpuState
from exporter.readings import Gpu, GpuReading
from tests.cost.readings import h100
from tests.kit.units import SECOND

TEN = 10 * SECOND


class EnergyMeter:
    """One GPU read again and again."""

    def __init__(self, state: GpuState | None = None) -> None:
        self.state = state or GpuState(Gpu("GPU-0", "NVIDIA H100"), 0)

    def use(
        self, reading: GpuReading | None, elapsed: int | None = TEN, busy: float | None = 1.0
    ) -> EnergyUse:
        self.state, used = energy.advance(self.state, reading, elapsed=elapsed, busy_ratio=busy)
        return used

    def joules(
        self, reading: GpuReading | None, elapsed: int | None = TEN, busy: float | None = 1.0
    ) -> float:
        return self.use(reading, elapsed, busy).energy / 1000


def counter(joules: float, **fields: float) -> GpuReading:
    return h100(energy=round(joules * 1000), **{"power_limit_watts": 700.0, **fields})


def power(watts: float | None) -> GpuReading:
    return h100(power_watts=watts)

"""A GPU that was taken out for good, from the alert to the books of later: page, ledger and months agree.

Each of two GPUs costs 3.60 dollars an hour, a cent in ten seconds.
"""

from dataclasses import dataclass
from pathlib import Path

import pytest

from exporter.readings import Gpu, GpuReading, QuickSource
from exporter.vendors import NVIDIA
from tests.corners.simulated_host import SimulatedHost
from tests.kit.units import CENT, HOUR, MINUTE, SECOND

FIRST_GPU, SECOND_GPU = UUIDS = (
    "GPU-0e000000-0000-4000-8000-000000000000",
    "GPU-1e000000-0000-4000-8000-000000000001",
)
CONFIG = "hardware: [{rented: {dollars_per_gpu_hour: 3.60, billing: always}}]\n"
SOLD = CONFIG + f'retired: [{{uuid: {SECOND_GPU}, from: "2026-11-25T12:10Z", note: sold}}]\n'
TICK = 10 * SECOND


@dataclass(eq=False)
class Two(QuickSource):
    """Two GPUs, until one is taken out."""

    vendor = NVIDIA
    name: str = "nvml"
    here: int = 2

    def read(self) -> tuple[GpuReading, ...]:
        return tuple(
            GpuReading(Gpu(UUIDS[number], "H100"), number, utilization_ratio=0.5)
            for number in range(self.here)
        )


def test_a_gpu_is_sold(tmp_path: Path) -> None:
    """Out at noon and told at 12:20 that it left at 12:10: the twenty minutes stay, and nothing comes after.

    The daemon is killed then, and the one after it does not know the GPU any more.
    """
    cards = Two()
    host = SimulatedHost(tmp_path, CONFIG, "2026-11-25T11:59:50+00:00", nvml=cards)
    host.tick()
    host.tick(TICK)
    cards.here = 1
    for _ in range(20):
        host.tick(MINUTE)
    assert host.rows("inference_gpu_up") == {("H100", FIRST_GPU): 1, ("H100", SECOND_GPU): 0}
    assert host.served("inference_gpu_cost_dollars_total", uuid=SECOND_GPU) == 1.21

    host.reload(SOLD)
    host.tick(MINUTE)
    assert host.rows("inference_gpu_up") == {("H100", FIRST_GPU): 1}
    assert host.rows("inference_gpu_priced") == {("H100", FIRST_GPU): 1}
    assert host.served("inference_cost_dollars_per_hour") == 3.60
    assert host.served("inference_gpu_cost_dollars_total", uuid=SECOND_GPU) == 1.21

    host.restart(2 * MINUTE)
    host.tick()
    assert host.report is not None
    assert [row.gpu.uuid for row in host.report.gpus] == [FIRST_GPU]
    rows = {row["uuid"]: row["picodollars"] for row in host.statement("2026-11", "gpu")["rows"]}
    assert rows == {FIRST_GPU: 139 * CENT, SECOND_GPU: 121 * CENT}
    assert host.whole() == 260 * CENT


def test_it_is_told_beforehand(tmp_path: Path) -> None:
    """It is out at noon, and its lease ends at ten past: until then it costs, though the tick is longer."""
    cards = Two()
    host = SimulatedHost(tmp_path, SOLD, "2026-11-25T11:59:50+00:00", nvml=cards)
    host.tick()
    host.tick(TICK)
    cards.here = 1
    host.restart(20 * MINUTE)
    host.tick()

    rows = {row["uuid"]: row["picodollars"] for row in host.statement("2026-11", "gpu")["rows"]}
    assert rows == {FIRST_GPU: 121 * CENT, SECOND_GPU: 61 * CENT}
    assert host.served("inference_gpu_up", uuid=SECOND_GPU) == 0
    assert host.rows("inference_gpu_up") == {("H100", FIRST_GPU): 1}


@pytest.mark.parametrize("listed", [False, True])
def test_what_waits_for_a_price_ends_where_it_left(tmp_path: Path, *, listed: bool) -> None:
    """Out at noon, and told at one with the first price: each GPU is charged its hour before noon.

    The other is charged the hour after it, too, and so is one that is still there: it did not leave.
    """
    cards = Two()
    host = SimulatedHost(tmp_path, "unmatched_hardware: unpriced\n", "2026-11-25T11:00:00+00:00", nvml=cards)
    host.tick()
    host.tick(HOUR)
    cards.here = 2 if listed else 1
    host.tick(HOUR)
    host.reload(SOLD.replace("12:10", "12:00"))
    for _ in range(3):
        host.tick()

    hours = 4 if listed else 3
    assert host.whole() == hours * 360 * CENT
    assert host.statement("2026-11")["total"]["unpriced_gpu_hours"] == 0

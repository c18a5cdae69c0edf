"""A day on which prices are reloaded, and its GPU changes hands: each owner is corrected for its own hours.

The GPU costs 3.60 dollars an hour, then 7.20, told at noon and from the day before on.
"""

from pathlib import Path

import pytest

from exporter.cli.adjust import AdjustFlags, adjust
from tests.corners.simulated_host import SimulatedHost
from tests.kit.units import HOUR

CONFIG = """
hardware:
  - rented: {{billing: always, prices: [{{from: 2026-11-01, dollars_per_gpu_hour: 3.60}}{raised}]}}
ownership: {{rules: [{{match: {{server: chat}}, product: {product}, team: {product}s}}]}}
servers: [{{name: chat, url: "http://127.0.0.1:8000/metrics", gpus: [0]}}]
"""
RAISED = ", {from: 2026-11-24, dollars_per_gpu_hour: 7.20}"


@pytest.mark.parametrize("after", ["day", "night"])
def test_a_morning_at_the_old_price(tmp_path: Path, capsys: pytest.CaptureFixture[str], after: str) -> None:
    """It is short of 12 hours at 3.60, which are all the day's, whoever has the GPU from noon on."""
    host = SimulatedHost(tmp_path, CONFIG.format(raised="", product="day"), "2026-11-25T00:00:00+00:00")
    host.tick()
    host.until("2026-11-25T12:00:00+00:00", every=HOUR)
    host.reload(CONFIG.format(raised=RAISED, product=after))
    host.until("2026-11-26T00:00:00+00:00", every=HOUR)
    assert adjust(AdjustFlags(host.file, host.path, proposals=True), host.clock) == 0

    (line,) = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("#")]
    assert "--amount=43.20 " in line
    assert "--product=day " in line

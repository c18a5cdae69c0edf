"""Servers that hold what was recorded: a Prometheus over blocks that promtool made, and a VictoriaMetrics."""

import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tests.e2e.backfill.exporter_series import Series, openmetrics_chunks, write_openmetrics
from tests.e2e.fleet.history import LONGEST_BLOCK
from tests.e2e.fleet.programs import FleetPrometheus, Victoria

RETENTION: Final = "10y"


def import_blocks(text: Path, data: Path) -> None:
    """Make blocks of a file of OpenMetrics, as its users are told to."""
    command = [
        "promtool",
        "tsdb",
        "create-blocks-from",
        "openmetrics",
        f"--max-block-duration={LONGEST_BLOCK}",
    ]
    made = subprocess.run(
        [*command, str(text), str(data)], capture_output=True, text=True, check=False, timeout=600
    )
    assert made.returncode == 0, made.stdout[-2000:] + made.stderr[-2000:]


def prometheus_of(recorded: Iterable[Series], folder: Path, config: str = "{}") -> FleetPrometheus:
    """A Prometheus, still to be started, that has these series."""
    program = FleetPrometheus(folder, config, retention=RETENTION)
    for text in write_openmetrics(recorded, folder / "text"):
        import_blocks(text, program.data)
        text.unlink()
    return program


def fill(victoria: Victoria, recorded: Iterable[Series]) -> None:
    """Import these series into a VictoriaMetrics that runs."""
    for chunk in openmetrics_chunks(recorded):
        victoria.request("/api/v1/import/prometheus", chunk)
    victoria.flush()

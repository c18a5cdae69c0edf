"""Write the dashboards: `python dashboards/generate.py`; `--check` reports those that are out of date."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from chargeback import chargeback
from fleet import fleet
from gpus import gpus
from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from meter import meter
from models import models
from waste import waste

from tools.generated import flags, update

FOLDER: Final = Path(__file__).parent
DASHBOARDS: Final[dict[str, Callable[[], Dashboard]]] = {
    "fleet.json": fleet,
    "chargeback.json": chargeback,
    "models.json": models,
    "waste.json": waste,
    "gpus.json": gpus,
    "meter.json": meter,
}


def rendered(builder: Dashboard) -> str:
    """The JSON that Grafana imports, with panels numbered in reading order."""
    board = builder.build()
    panels = [
        inner for panel in board.panels or [] for inner in (panel, *(getattr(panel, "panels", None) or []))
    ]
    for number, panel in enumerate(panels, start=1):
        panel.id_val = number
    return JSONEncoder(sort_keys=True, indent=2).encode(board) + "\n"


def main() -> int:
    """Return 0 when every file is written or up to date, 1 when `--check` finds one that is not."""
    check = flags(__doc__).parse_args().check
    wanted = {FOLDER / name: rendered(build()) for name, build in DASHBOARDS.items()}
    return update(wanted, Path(__file__), FOLDER.parent, check=check)


if __name__ == "__main__":
    sys.exit(main())

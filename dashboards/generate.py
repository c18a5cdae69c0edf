"""Write the dashboards: `python dashboards/generate.py`; `--check` writes nothing and reports stale files."""

import argparse
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit 1 when a file is out of date"
    )
    check = parser.parse_args().check
    stale = 0
    for name, build in DASHBOARDS.items():
        text = rendered(build())
        file = FOLDER / name
        if file.is_file() and file.read_text(encoding="utf-8") == text:
            continue
        if check:
            print(f"dashboards/{name} is out of date: python dashboards/generate.py")
            stale = 1
        else:
            file.write_text(text, encoding="utf-8")
            print(f"wrote dashboards/{name}")
    return stale


if __name__ == "__main__":
    sys.exit(main())

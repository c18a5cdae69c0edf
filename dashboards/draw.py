"""Draw every dashboard as a Prometheus answers it: `make images` writes docs/images.

    python dashboards/draw.py                                     of a simulated fleet of 40 hosts
    python dashboards/draw.py --hosts 2000 --back 30d --folder F  of another size, over another time
    python dashboards/draw.py --prometheus http://localhost:9090  of yours

Prints which panels are empty, and the most samples that a panel loads. Everything is selected, as when a
dashboard is opened, and the first host where one is always chosen.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Final

import simulated
from answers import Opened, Prometheus
from pictures import draw

FOLDER: Final = Path(__file__).parent
IMAGES: Final = FOLDER.parent / "docs" / "images"
DOCUMENTED_HOSTS: Final = 40


def drawn(url: str, folder: Path, at: float, back: str, names: list[str]) -> None:
    """Write a picture for each dashboard, and say what is empty and what the panels cost."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted(FOLDER.glob("*.json")):
        if names and file.stem not in names:
            continue
        board = json.loads(file.read_text(encoding="utf-8"))
        prometheus = Prometheus(url)
        hosts = Opened(board, prometheus, at, back).values_of("instance")
        opened = Opened(board, prometheus, at, back, {"instance": hosts[0] if hosts else ".+"})
        image = folder / f"{file.stem}.png"
        drawing = draw(opened, image)
        empty = f"; empty: {', '.join(drawing.empty)}" if drawing.empty else ""
        print(
            f"{image.name}: {len(board['panels'])} panels, {image.stat().st_size // 1000} kB;"
            f" at most {drawing.samples:,} samples ({drawing.dearest}), {drawing.seconds:.2f} s"
            f" ({drawing.slowest}){empty}"
        )


def spans(back: str) -> tuple[tuple[int, int], ...]:
    """The ranges of time of all dashboards and the steps of their lines; of `back` alone where it is."""
    ranges = set()
    for file in FOLDER.glob("*.json"):
        board = json.loads(file.read_text(encoding="utf-8"))
        opened = Opened(board, Prometheus(""), simulated.AT, back)
        for panel in board["panels"]:
            if panel["type"] == "timeseries":
                ranges.add((round(simulated.AT - opened.begin(panel)), opened.step(panel)))
    return tuple(sorted(ranges))


def main() -> int:
    """Return 0 when every picture is written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--prometheus", metavar="URL", help="draw what this one has")
    parser.add_argument("--folder", type=Path, default=IMAGES)
    parser.add_argument("--hosts", type=int, default=DOCUMENTED_HOSTS, help="of the simulated fleet")
    parser.add_argument("--back", default="", help="the shown time, as 1h or 30d; else each dashboard's own")
    parser.add_argument(
        "--board", action="append", default=[], help="only this one, as fleet; repeat for more"
    )
    options = parser.parse_args()
    if options.prometheus:
        drawn(options.prometheus, options.folder, time.time(), options.back, options.board)
        return 0
    with simulated.prometheus(simulated.Fleet(options.hosts), spans(options.back)) as url:
        drawn(url, options.folder, simulated.AT, options.back, options.board)
    return 0


if __name__ == "__main__":
    sys.exit(main())

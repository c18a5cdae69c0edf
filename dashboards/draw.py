"""Draw every dashboard as a Prometheus answers it: `make images` writes docs/images.

    python dashboards/draw.py                                    of the end-to-end tests' fleet
    python dashboards/draw.py --prometheus http://localhost:9090  of yours

Prints which panels are empty. Everything is selected, as when a dashboard is opened.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from answers import Opened, Prometheus
from pictures import draw

FOLDER: Final = Path(__file__).parent
IMAGES: Final = FOLDER.parent / "docs" / "images"
HOUR, DAY = 3600, 86_400
STEP: Final = 240
"""Seconds: less than the five minutes that Prometheus looks back for a sample."""


def months(fleet: Any, now: int, begin: int) -> Iterator[tuple[str, float, int]]:
    """What the rules would have recorded of the month, so densely that a line can be drawn through it."""
    for cluster in fleet.clusters():
        paces = [float(fleet.pace(at, cluster)) for at in range(begin, 1, DAY)]
        month = f'{{cluster="{cluster}",month="{fleet.month}"'
        usual = sum(paces) / len(paces)
        for at in range(begin + STEP // 2, 1, STEP):  # between the hours, at which there are samples already
            spent, left = float(fleet.spent(at, cluster)), (fleet.month_end - at) / HOUR
            yield f"inference:month_to_date_dollars{month}}}", spent, now + at
            for name, pace in (("", usual), (":low", min(paces)), (":high", max(paces))):
                yield f"inference:month_projected_dollars{name}{month}}}", spent + left * pace, now + at
            for product, team in sorted(fleet.owners(cluster)):
                owner = f'{month},product="{product}",team="{team}"}}'
                part = float(fleet.spent(at, cluster, (product, team)))
                yield f"inference:month_to_date_dollars:owner{owner}", part, now + at


@contextmanager
def simulated() -> Iterator[str]:
    """The address of a Prometheus that has the past of a simulated fleet, and scrapes it."""
    sys.path.append(str(FOLDER.parent))
    from tests.e2e.fleet.cast import BEGIN, FLEET  # noqa: PLC0415 - of no use to whoever draws a real fleet
    from tests.e2e.fleet.seeded import past, seeded  # noqa: PLC0415 - as above

    now = int(time.time())
    samples = past(FLEET, now, BEGIN, recent=120, old=600) + list(months(FLEET, now, BEGIN))
    samples.sort(key=lambda sample: (sample[0], sample[2]))
    with (
        tempfile.TemporaryDirectory() as folder,
        seeded(Path(folder) / "fleet", FLEET, BEGIN, now=now, samples=samples, interval=5) as life,
    ):
        yield life.prometheus.url


def drawn(url: str, folder: Path) -> None:
    """Write a picture for each dashboard, and tell what is empty."""
    folder.mkdir(parents=True, exist_ok=True)
    at = time.time()
    for file in sorted(FOLDER.glob("*.json")):
        board = json.loads(file.read_text(encoding="utf-8"))
        image = folder / f"{file.stem}.png"
        empty = draw(Opened(board, Prometheus(url), at), image)
        said = f"; empty: {', '.join(empty)}" if empty else ""
        print(f"{image.name}: {len(board['panels'])} panels, {image.stat().st_size // 1000} kB{said}")


def main() -> int:
    """Return 0 when every picture is written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--prometheus", metavar="URL", help="draw what this one has")
    parser.add_argument("--folder", type=Path, default=IMAGES)
    asked = parser.parse_args()
    if asked.prometheus:
        drawn(asked.prometheus, asked.folder)
    else:
        with simulated() as url:
            drawn(url, asked.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""How far the verb `history` is from the daemons' ledgers, by resolution, and what ninety days take.

Twenty hosts for thirty days, as real exporters' series and as real ledgers; then 200 GPUs for ninety days::

    python -m benchmarks.backfill [--folder FOLDER] [--only accuracy|scale]

A folder that is given keeps the ledgers and what Prometheus has for the next run: they take ten minutes.
Needs Debian's prometheus. VictoriaMetrics is compared by tests/e2e/backfill.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks.fleet_books import MeasuredVerb, run_measured
from benchmarks.results import machine, plain, version_of, write
from exporter.units import PICODOLLARS_PER_DOLLAR
from tests.e2e.backfill.comparison import FIGURES, Totals, differences, metered, period, reckoned, worst
from tests.e2e.backfill.exporter_series import recorded
from tests.e2e.backfill.proxy import FaultyProxy
from tests.e2e.backfill.recorded_fleet import HOUR, RecordedFleet
from tests.e2e.backfill.recorded_fleets import twenty_hosts, two_hundred_gpus
from tests.e2e.backfill.stores import RETENTION, prometheus_of
from tests.e2e.fleet.programs import FleetPrometheus

FEW: Final = frozenset({"n04", "n08", "w01", "n91", "b01"})
"""Hosts that are scraped often: all twenty would be 53 million samples."""

CASES: Final = ((300, 0.05), (30, 0.02))
"""Seconds between two scrapes, and the bound of dollars and GPU-hours."""

SMALLEST: Final = {"dollars": 1.0, "gpu_hours": 1.0, "busy_gpu_hours": 1.0, "tokens": 1e6}
"""A server's month below it is not told of: its error is of minutes at an edge."""

OFTEN: Final = 60
"""Seconds between scrapes below which `FEW` hosts are scraped."""

SCALE_SCRAPE: Final = 900
"""The verb reads by the hour: what it does depends on series and hours, and not on samples."""

SECONDS_MAX: Final = 300.0
MEBIBYTES_MAX: Final = 300.0


def measure(address: str, fleet: RecordedFleet, folder: Path) -> tuple[MeasuredVerb, FaultyProxy]:
    """The verb over a fleet's whole period, and the proxy that counted its queries."""
    config = folder / "history.yaml"
    config.write_text(fleet.config, encoding="utf-8")
    with FaultyProxy(address) as proxy:
        measured = run_measured("history", f"--from={proxy.url}", f"--config.file={config}", *period(fleet))
    return measured, proxy


def filled_store(fleet: RecordedFleet, scrape: int, folder: Path) -> FleetPrometheus:
    """A Prometheus, still to be started, with a fleet; a folder may have the blocks of an earlier run."""
    path = folder / f"prometheus-{scrape}-{len(fleet.hosts)}"
    if (path / "data").exists():
        return FleetPrometheus(path, "{}", retention=RETENTION)
    return prometheus_of(recorded(fleet, scrape), path)


def posted_by(fleet: RecordedFleet, folder: Path) -> Totals:
    """What the daemons posted; ledgers that the folder has already are read."""
    folder.mkdir(exist_ok=True)
    return metered(fleet, folder)


def accuracy(folder: Path) -> bool:
    """Compare, print and write it down; false if it misses its bounds."""
    rows, within = [], True
    for scrape, bound in CASES:
        fleet = twenty_hosts()
        if scrape < OFTEN:
            fleet = replace(fleet, hosts=tuple(host for host in fleet.hosts if host.name in FEW))
        posted = posted_by(fleet, folder / "ledgers")
        with filled_store(fleet, scrape, folder) as store:
            measured, proxy = measure(store.url, fleet, folder)
        every = [
            one
            for one in differences(posted, reckoned(measured.document))
            if max(one.posted, one.reckoned) >= SMALLEST[one.figure]
        ]
        furthest = {figure: worst(every, figure) for figure in FIGURES}
        for figure, one in furthest.items():
            print(f"{scrape} s: {figure} {one.ratio:.2%}: {one}", flush=True)
        within &= all(furthest[figure].ratio <= bound for figure in ("dollars", "gpu_hours"))
        within &= proxy.most == 1
        ratios = [f"{furthest[figure].ratio:.2%}" for figure in FIGURES]
        took = f"{measured.cpu_seconds:.0f} s", f"{measured.mebibytes:.0f} MiB"
        rows.append((f"every {scrape} s, {len(fleet.hosts)} hosts", *ratios, *took))
        headings = (
            "scraped",
            "dollars",
            "GPU-hours",
            "busy GPU-hours",
            "tokens",
            "CPU of the verb",
            "memory",
        )
        table = plain(headings, rows)
        print(table, flush=True)
        write("history-accuracy", f"{_where()}\n\n{table}")
    return within


def scale(folder: Path) -> bool:
    """Measure 200 GPUs over ninety days; false if it misses its bounds."""
    fleet = two_hundred_gpus()
    begin = time.perf_counter()
    with filled_store(fleet, SCALE_SCRAPE, folder) as store:
        print(f"made in {time.perf_counter() - begin:.0f} s", flush=True)
        measured, proxy = measure(store.url, fleet, folder)
    hours = sum(month["gpu_hours"] for month in measured.document["months"])
    dollars = sum(month["picodollars"] for month in measured.document["months"]) / PICODOLLARS_PER_DOLLAR
    expected = 200 * (fleet.end - fleet.begin) / HOUR
    print(f"{hours} GPU-hours of {expected}, {dollars} dollars", flush=True)
    days = (fleet.end - fleet.begin) // 86_400
    table = plain(
        ("what", "figure"),
        (
            (
                "GPUs, hosts, days, seconds between scrapes",
                f"200, {len(fleet.hosts)}, {days}, {SCALE_SCRAPE}",
            ),
            ("took", f"{measured.seconds:.0f} s"),
            ("CPU of the verb", f"{measured.cpu_seconds:.0f} s"),
            ("memory at its highest", f"{measured.mebibytes:.0f} MiB"),
            ("queries", str(proxy.requests)),
            ("queries at once, at most", str(proxy.most)),
        ),
    )
    print(table)
    write("history-scale", f"{_where()}\n\n{table}")
    return (
        measured.seconds <= SECONDS_MAX
        and measured.mebibytes <= MEBIBYTES_MAX
        and proxy.most == 1
        and abs(hours - expected) <= 0.005 * expected
    )


def _where() -> str:
    return f"{machine()}, Prometheus {version_of('prometheus')}."


def main() -> int:
    """Measure and write docs/benchmarks.md; 1 if it misses its bounds."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.backfill", description=__doc__)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--only", choices=["accuracy", "scale"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = options.folder or Path(made)
        within = options.only == "scale" or accuracy(folder)
        within &= options.only == "accuracy" or scale(folder)
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())

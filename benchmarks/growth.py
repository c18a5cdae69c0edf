"""How the cost of a tick and resident memory grow with servers and with GPUs: a line's slope and intercept.

Each point is a daemon of its own at an interval of one second; CPU is the kernel's count over its ticks.

    python -m benchmarks.growth [--ticks 30] [--runs 3]
"""

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Final

from benchmarks.host import host, used
from benchmarks.quiet import load_of_others
from benchmarks.results import figure, machine, plain, write

SERVERS: Final = (8, 64, 256)
GPUS: Final = (1, 8, 16)
MEBIBYTE: Final = 2**20

Point = tuple[float, float]
"""Milliseconds of CPU per tick and MiB resident."""


def point(folder: Path, gpus: int, servers: int, ticks: int) -> Point:
    """One daemon, after some ticks to warm up."""
    with host(folder, gpus=gpus, servers=servers, interval=1) as made:
        for _ in range(3):
            made.daemon.settled()
        before, first = used(made.daemon.pid), made.daemon.scrape().tick
        last = made.daemon.until(lambda page: page.tick >= first + ticks, "ticks", 20 * ticks, pause=1)
        after = used(made.daemon.pid)
        made.see_that_all_is_metered(last)
        took = round(last.tick - first)
        return (after.cpu_seconds - before.cpu_seconds) / took * 1000, after.resident_bytes / MEBIBYTE


def line(points: dict[int, list[Point]], which: int) -> tuple[float, float, float]:
    """Slope and intercept of the line through all points, and how much of their variance it explains."""
    xs = [float(number) for number, runs in points.items() for _ in runs]
    ys = [run[which] for runs in points.values() for run in runs]
    slope, intercept = statistics.linear_regression(xs, ys)
    return slope, intercept, statistics.correlation(xs, ys) ** 2


def section(name: str, points: dict[int, list[Point]]) -> str:
    """A table of the points and a sentence for each line."""
    rows = [
        [
            f"{number} {name}",
            *(
                f"{figure(statistics.median(run[which] for run in runs))} {unit}"
                for which, unit in ((0, "ms"), (1, "MiB"))
            ),
        ]
        for number, runs in points.items()
    ]
    text = plain(["on a host of", "CPU of a tick", "resident"], rows)
    for which, what, unit in ((0, "CPU of a tick", "ms"), (1, "resident memory", "MiB")):
        slope, intercept, fit = line(points, which)
        text += (
            f"\n{what[0].upper()}{what[1:]} is {figure(intercept)} {unit} and {figure(slope)} {unit} "
            f"for each of the {name}; the line explains {fit:.1%} of the variance.\n"
        )
    return text


def main(ticks: int, runs: int) -> None:
    """Measure, print and write it down."""
    load = load_of_others()
    with tempfile.TemporaryDirectory() as folder:
        servers: dict[int, list[Point]] = {count: [] for count in SERVERS}
        gpus: dict[int, list[Point]] = {count: [] for count in GPUS}
        for run in range(runs):
            for count in SERVERS:
                servers[count].append(point(Path(folder) / f"s{count}-{run}", 8, count, ticks))
            for count in GPUS:
                gpus[count].append(point(Path(folder) / f"g{count}-{run}", count, 8, ticks))
    text = f"{machine()}; {runs} runs of {ticks} ticks.\n\n"
    text += section("servers", servers) + "\n" + section("GPUs", gpus)
    print(text)
    if load is None:
        write("growth", text)
    else:
        print(f"not written: the machine has a load of {load:.1f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ticks", type=int, default=30)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    main(options.ticks, options.runs)

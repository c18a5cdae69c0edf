"""SIGKILL at random instants of a running daemon under load: what it leaves, and what its next start says.

A real process on a real file, with a fake NVML library and four servers whose counters grow by the clock.
From the root of the repository; needs a C compiler and takes about ten minutes::

    python -m benchmarks.kills [--times 500] [--gaps 3] [--seed 20261125] [--folder FOLDER]

FOLDER is where the ledger goes; its disk decides a commit's time.
After each kill a copy of file and log is opened, and the first page compared.
The files of a stopped daemon are copied as well, as after a power cut, and gaps of a minute are left.
Cost must be price x boot time, tokens those of one read; no counter may fall, and the residual must be 0.
Ends with an error at the first picodollar, token or nanosecond that is off; prints figures.
"""

import argparse
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from tests.e2e.expected_totals import PACES
from tests.e2e.killed_daemon import KillSeries, host
from tests.e2e.load_servers import Load

TELL_EVERY = 50


def main() -> int:
    """Kill, compare, print."""
    parser = argparse.ArgumentParser(description="SIGKILL at random instants, and what the ledger then says.")
    parser.add_argument("--times", type=int, default=500, help="how many processes are killed")
    parser.add_argument("--gaps", type=int, default=3, help="how many gaps of more than a minute")
    parser.add_argument("--seed", type=int, default=20261125, help="of the instants")
    parser.add_argument("--folder", type=Path, help="where the ledger goes")
    options = parser.parse_args()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        with Load(PACES) as load, closing(host(folder, load)) as daemon:
            series = KillSeries(daemon, load, folder / "copy", options.seed)
            series.begin()
            for number in range(1, options.times + 1):
                series.kill()
                if number % TELL_EVERY == 0:
                    print(f"{number} kills in {time.perf_counter() - began:.0f} s", flush=True)
            for _ in range(options.gaps):
                series.gap()
            series.end()
            size = daemon.ledger.stat().st_size
    figures, took = series.figures, time.perf_counter() - began
    print(f"{options.times} kills in {took:.0f} s, {figures.seconds / options.times:.2f} s each")
    print(", ".join(f"{count} {instant}" for instant, count in sorted(figures.kills.items())))
    print(f"{figures.advanced} processes had committed a tick")
    print(f"{figures.cut} died between the last read of a tick and its commit")
    print(f"{figures.pages} pages and {figures.copies} copies of a running ledger compared")
    print(f"gaps: {options.gaps}, {float(figures.gaps / 10**9):.1f} s together, all of it unobserved")
    print(f"{series.described()}; ledger {size / 1024:.0f} KiB")
    print("nothing is off: money, time, tokens, residual")
    return 0


if __name__ == "__main__":
    sys.exit(main())

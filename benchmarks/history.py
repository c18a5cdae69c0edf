"""What a whole history comes to: size of the file, time of a commit, time to read a month.

The host of `benchmarks/ledger.py`, one tick in each hour of 430 days::

    python benchmarks/history.py [FOLDER]
"""

import resource
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from ledger import SECOND, START, TICK, tick, timed

from exporter.clock import SystemClock
from exporter.ledger.ledger import Ledger
from exporter.ledger.reader import LedgerReader

HOUR = 3600 * SECOND
DAYS = 430


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        path = Path(folder) / "ledger.db"
        ledger = Ledger.open(path, SystemClock())
        postings, state = tick(1)
        (whole,) = postings.segments
        posts: list[float] = []
        for number in range(DAYS * 24):
            start = START + number * HOUR
            day = datetime.fromtimestamp(start // SECOND, UTC).strftime("%Y-%m-%d")
            segment = replace(whole, start=start, end=start + TICK, month=day[:7], day=day)
            posted = replace(postings, end=start + TICK, segments=(segment,), day=day)
            accrued = replace(state, wall=posted.end, accrued=(number + 1) * whole.accrued)
            timed(lambda: ledger.post(posted, accrued), posts)  # noqa: B023 - called at once
        ledger.close()
        reads: list[float] = []
        with LedgerReader.open(path) as reader:
            timed(lambda: reader.month(day[:7]), reads)
            counts = len(reader.days(0, 99_999_999) or {}), len(reader.hours(0, 10**7) or {})
        centiles = statistics.quantiles(posts, n=100)
        print(
            f"{DAYS * 24} ticks, each in an hour of its own; {counts[0]} days and {counts[1]} hours are kept"
        )
        print(f"commit at the turn of an hour: median {centiles[49]:.2f} ms, p99 {centiles[98]:.2f} ms")
        print(f"file: {path.stat().st_size / 1024**2:.1f} MiB; a month is read in {reads[0]:.0f} ms")
        begin = time.perf_counter()
        Ledger.open(path, SystemClock()).close()
        print(f"opening it: {(time.perf_counter() - begin) * 1000:.0f} ms")
        print(f"memory at its highest: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()

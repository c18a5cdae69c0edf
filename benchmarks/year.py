"""A year of one host at a tick every 10 s, kept in a real ledger and compared with an exact reckoning.

From the root of the repository; `make bench` runs the first::

    python -m benchmarks.year
    python -m benchmarks.year --rest 21600 --since 2026-03-28 --days 7

The second takes a tick every 6 hours where nothing happens, and every 10 s in one week and around events.
Prints figures for docs/ledger.md; ends with an error if a single picodollar, millijoule or token is off.
"""

import argparse
import statistics
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from exporter.ledger.ledger import Ledger
from exporter.report import Books
from tests.year import keeping, reckoning, story
from tests.year.reckoning import Reckoning


def differences(year: keeping.Year, books: Books) -> list[str]:
    """What of the books is not as reckoned."""
    expected = Reckoning(year.around)
    found = []
    for name, _ in story.STARTS:
        wanted = {owner: amount for owner, amount in expected.month(name, year.last).items() if amount}
        for when in [books, *(closed for month, (_, closed) in year.closed.items() if month == name)]:
            told = {(key.product, key.team): n for key, n in when.months.items() if key.month == name}
            if wanted != told:
                found.append(f"{name}: {wanted} != {told}")
    for (gpu, component), amount in books.gpu_cost.items():
        wanted_amount = expected.picodollars(int(gpu.uuid.removeprefix("GPU-")), component, year.last)
        if wanted_amount != amount:
            found.append(f"{gpu.uuid} {component}: {wanted_amount} != {amount}")
    for gpu, energy in books.energy.items():
        if expected.energy(int(gpu.uuid.removeprefix("GPU-")), year.last) != energy:
            found.append(f"{gpu.uuid}: energy {energy}")
    tokens: dict[tuple[str, str, str], int] = {}
    for (party, kind), count in books.tokens.items():
        key = party.server, party.model, kind
        tokens[key] = tokens.get(key, 0) + count
    if reckoning.tokens(year.last) != tokens:
        found.append(f"tokens: {tokens}")
    if books.residual:
        found.append(f"residual: {books.residual}")
    return found


def main() -> int:
    """Keep the year, compare, print."""
    parser = argparse.ArgumentParser(description="A year of one host, compared with an exact reckoning.")
    parser.add_argument("--rest", type=int, default=story.TICK, help="seconds a tick where nothing happens")
    parser.add_argument("--since", help="first of the days that are taken at 10 s whatever --rest says")
    parser.add_argument("--days", type=int, default=7, help="how many days --since begins")
    parser.add_argument("--folder", type=Path, help="where the ledger goes; its disk decides a commit's time")
    told = parser.parse_args()
    also = (story.END, story.END)
    if told.since:
        day = datetime.fromisoformat(told.since)
        since = story.at(day.month, day.day, year=day.year)
        also = since, since + told.days * story.DAY
    with tempfile.TemporaryDirectory(dir=told.folder) as folder:
        began, cpu = time.perf_counter(), time.process_time()
        year = keeping.keep(Path(folder) / "ledger.db", story.moments(told.rest, also), time.perf_counter)
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        with Ledger.read(year.path) as reader:
            books = reader.books(year.last * keeping.SECOND, tuple(name for name, _ in story.STARTS))
        size = year.path.stat().st_size
    centiles = statistics.quantiles(year.commits, n=100)
    print(f"{year.ticks} ticks in {took:.0f} s, {cpu:.0f} s of CPU, {1000 * cpu / year.ticks:.2f} ms a tick")
    print(f"commit: median {1000 * centiles[49]:.2f} ms, p99 {1000 * centiles[98]:.2f} ms")
    print(f"ledger at the year's end: {size / 1024:.0f} KiB")
    found = differences(year, books)
    print("\n".join(found) or "every month, GPU, component, token and joule is as reckoned")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

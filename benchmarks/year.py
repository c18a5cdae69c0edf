"""A year of one host at a tick every 10 s, kept in a real ledger and compared with an exact reckoning.

From the root of the repository::

    python -m benchmarks.year
    python -m benchmarks.year --together 6
    python -m benchmarks.year --rest 21600 --since 2026-03-28 --days 7

The second shares a commit between the ticks of a minute where no event is within five minutes.
The third takes a tick every 6 hours where nothing happens, and every 10 s in one week and around events.
Each month is compared at its close, and told: a run that is ended before its time has said how far it came.
Prints figures for docs/ledger.md; ends with an error if a single picodollar, millijoule or token is off.
"""

import argparse
import gc
import statistics
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from exporter.ledger.reader import LedgerReader
from exporter.report import CommittedTotals
from tests.year import keeping, reckoning, story
from tests.year.reckoning import Reckoning

EXACT = "every month, GPU, component, token and joule is as reckoned"


def differences(year: keeping.Year, books: CommittedTotals) -> list[str]:
    """What is not as reckoned: of the books, and of those at each month's close."""
    expected = Reckoning(year.around)
    found = of_months(expected, year, books, [name for name, _ in story.STARTS])
    for month, (moment, closed) in year.closed.items():
        found += of_months(expected, year, closed, [month]) + of_gpus(expected, closed, moment)
    found += of_gpus(expected, books, year.last)
    for gpu, energy in books.energy.items():
        if expected.energy(int(gpu.uuid.removeprefix("GPU-")), year.last) != energy:
            found.append(f"{gpu.uuid}: energy {energy}")
    tokens: dict[tuple[str, str, str], int] = {}
    for (party, kind), count in books.tokens.items():
        key = party.server, party.model, kind
        tokens[key] = tokens.get(key, 0) + count
    if reckoning.tokens(year.last) != tokens:
        found.append(f"tokens: {tokens}")
    return found


def of_months(expected: Reckoning, year: keeping.Year, books: CommittedTotals, names: list[str]) -> list[str]:
    """Months that are not as reckoned, by who pays."""
    found = []
    for name in names:
        wanted = {owner: amount for owner, amount in expected.month(name, year.last).items() if amount}
        told = {(key.product, key.team): n for key, n in books.months.items() if key.month == name}
        if wanted != told:
            found.append(f"{name}: {wanted} != {told}")
    return found


def of_gpus(expected: Reckoning, books: CommittedTotals, moment: int) -> list[str]:
    """GPUs and components that are not as reckoned through a tick, and a residual."""
    found = []
    for (gpu, component), amount in books.gpu_cost.items():
        wanted = expected.picodollars(int(gpu.uuid.removeprefix("GPU-")), component, moment)
        if wanted != amount:
            found.append(f"{gpu.uuid} {component}: {wanted} != {amount}")
    if books.residual:
        found.append(f"residual: {books.residual}")
    return found


class Progress:
    """Tells each month as it closes."""

    def __init__(self) -> None:
        self._began = time.perf_counter()

    def __call__(self, year: keeping.Year, name: str) -> None:
        """Compare one month at its close."""
        moment, books = year.closed[name]
        expected = Reckoning(year.around)
        found = of_months(expected, year, books, [name]) + of_gpus(expected, books, moment)
        total = sum(amount for key, amount in books.months.items() if key.month == name)
        size = year.path.stat().st_size
        took = time.perf_counter() - self._began
        exact = "; ".join(found) or "as reckoned"
        ticks = f"{year.ticks - year.skipped} ticks in {took:.0f} s"
        print(f"{name}: {total} picodollars, {exact}; {ticks}, {size / 1024:.0f} KiB", flush=True)


def main() -> int:
    """Keep the year, compare, print."""
    parser = argparse.ArgumentParser(description="A year of one host, compared with an exact reckoning.")
    parser.add_argument("--rest", type=int, default=story.TICK, help="seconds a tick where nothing happens")
    parser.add_argument("--together", type=int, default=1, help="ticks a commit where no event is near")
    parser.add_argument("--since", help="first of the days that are taken at 10 s whatever --rest says")
    parser.add_argument("--days", type=int, default=7, help="how many days --since begins")
    parser.add_argument("--folder", type=Path, help="where the ledger goes; its disk decides a commit's time")
    parser.add_argument("--ledger", type=Path, help="a file that stays; one that is there is gone on with")
    told = parser.parse_args()
    paces: list[story.Pace] = []
    if told.since:
        day = datetime.fromisoformat(told.since)
        since = story.at(day.month, day.day, year=day.year)
        paces.append((since, since + told.days * story.DAY, story.TICK))
    gc.set_threshold(100_000)  # a tick makes thousands of objects and no circles
    with tempfile.TemporaryDirectory(dir=told.folder) as folder:
        began, cpu = time.perf_counter(), time.process_time()
        year = keeping.keep(
            told.ledger or Path(folder) / "ledger.db",
            story.moments(told.rest, paces),
            time.perf_counter,
            told.together,
            Progress(),
        )
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        with LedgerReader.open(year.path) as reader:
            books = reader.books(year.last * keeping.SECOND, tuple(name for name, _ in story.STARTS))
        size = year.path.stat().st_size
    done = year.ticks - year.skipped
    centiles = statistics.quantiles(year.commits, n=100)
    print(
        f"{done} of {year.ticks} ticks in {took:.0f} s, {cpu:.0f} s of CPU, {1000 * cpu / done:.2f} ms a tick"
    )
    print(f"{done / took:.0f} ticks a second")
    print(
        f"commit: {len(year.commits)}, median {1000 * centiles[49]:.2f} ms, p99 {1000 * centiles[98]:.2f} ms"
    )
    print(f"ledger at the year's end: {size / 1024:.0f} KiB")
    found = differences(year, books)
    print("\n".join(found) or EXACT)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

"""A year of one host at a tick every 10 s, kept in a real ledger and compared with exact totals.

From the root of the repository::

    python -m benchmarks.year
    python -m benchmarks.year --together 6
    python -m benchmarks.year --rest 21600 --since 2026-03-28 --days 7

The second shares a commit between the ticks of a minute where no event is within five minutes.
The third takes a tick every 6 hours where nothing happens, and every 10 s in one week and around events.
The year has price changes, new owners, adjustments, restarts, reboots, suspends, days of downtime, a lost
GPU, counter resets and a renamed model. At each month's close every owner, GPU and component is compared.
Each month's comparison is printed: an interrupted run has shown how far it came.
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
from tests.year import events, expected_totals, run
from tests.year.expected_totals import ExpectedYear

EXACT = "every month, GPU, component, token and joule is as reckoned"


def differences(year: run.Year, totals: CommittedTotals) -> list[str]:
    """Differences of the totals from the expected ones, at each month's close and at the end."""
    expected = ExpectedYear(year.around)
    differing = of_months(expected, totals, [name for name, _ in events.STARTS], year.last)
    for month, (moment, closed) in year.closed.items():
        differing += of_months(expected, closed, [month], moment) + of_gpus(expected, closed, moment)
    differing += of_gpus(expected, totals, year.last)
    for gpu, energy in totals.energy.items():
        if expected.energy(int(gpu.uuid.removeprefix("GPU-")), year.last) != energy:
            differing.append(f"{gpu.uuid}: energy {energy}")
    tokens: dict[tuple[str, str, str], int] = {}
    for (served, kind), count in totals.tokens.items():
        key = served.server, served.model, kind
        tokens[key] = tokens.get(key, 0) + count
    if expected_totals.tokens(year.last) != tokens:
        differing.append(f"tokens: {tokens}")
    return differing


def of_months(expected: ExpectedYear, totals: CommittedTotals, names: list[str], last: int) -> list[str]:
    """Months that differ from the expected ones after a tick, by owner."""
    differing = []
    for name in names:
        wanted = {owner: amount for owner, amount in expected.month(name, last).items() if amount}
        posted = {(key.product, key.team): n for key, n in totals.months.items() if key.month == name}
        if wanted != posted:
            differing.append(f"{name}: {wanted} != {posted}")
    return differing


def of_gpus(expected: ExpectedYear, totals: CommittedTotals, moment: int) -> list[str]:
    """GPUs and components that differ from the expected ones through a tick, and a residual."""
    differing = []
    for (gpu, component), amount in totals.gpu_cost.items():
        wanted = expected.picodollars(int(gpu.uuid.removeprefix("GPU-")), component, moment)
        if wanted != amount:
            differing.append(f"{gpu.uuid} {component}: {wanted} != {amount}")
    if totals.residual:
        differing.append(f"residual: {totals.residual}")
    return differing


class Progress:
    """Prints each month as it closes."""

    def __init__(self) -> None:
        self._began = time.perf_counter()

    def __call__(self, year: run.Year, name: str) -> None:
        """Compare one month at its close."""
        moment, totals = year.closed[name]
        expected = ExpectedYear(year.around)
        differing = of_months(expected, totals, [name], moment) + of_gpus(expected, totals, moment)
        total = sum(amount for key, amount in totals.months.items() if key.month == name)
        size = year.path.stat().st_size
        took = time.perf_counter() - self._began
        exact = "; ".join(differing) or "as reckoned"
        ticks = f"{year.ticks - year.skipped} ticks in {took:.0f} s"
        print(f"{name}: {total} picodollars, {exact}; {ticks}, {size / 1024:.0f} KiB", flush=True)


def main() -> int:
    """Keep the year, compare, print."""
    parser = argparse.ArgumentParser(description="A year of one host, compared with exact totals.")
    parser.add_argument("--rest", type=int, default=events.TICK, help="seconds a tick where nothing happens")
    parser.add_argument("--together", type=int, default=1, help="ticks a commit where no event is near")
    parser.add_argument("--since", help="first of the days that are taken at 10 s whatever --rest says")
    parser.add_argument("--days", type=int, default=7, help="how many days --since begins")
    parser.add_argument("--folder", type=Path, help="where the ledger goes; its disk decides a commit's time")
    parser.add_argument("--ledger", type=Path, help="a file that stays; one that is there is gone on with")
    options = parser.parse_args()
    paces: list[events.TickSpan] = []
    if options.since:
        day = datetime.fromisoformat(options.since)
        since = events.at(day.month, day.day, year=day.year)
        paces.append((since, since + options.days * events.DAY, events.TICK))
    gc.set_threshold(100_000)  # a tick makes thousands of objects and no circles
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        began, cpu = time.perf_counter(), time.process_time()
        year = run.run_year(
            options.ledger or Path(folder) / "ledger.db",
            events.moments(options.rest, paces),
            time.perf_counter,
            options.together,
            Progress(),
        )
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        with LedgerReader.open(year.path) as reader:
            totals = reader.totals(year.last * run.SECOND, tuple(name for name, _ in events.STARTS))
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
    differing = differences(year, totals)
    print("\n".join(differing) or EXACT)
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())

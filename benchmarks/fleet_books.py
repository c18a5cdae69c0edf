"""The month of a fleet from its ledgers: time, memory and exactness.

Hosts of a whole month and spot nodes of three hours are metered through the ledger's own code. Each file is
then copied, with another id, other GPUs and another amount, up to the number of ledgers::

    python -m benchmarks.fleet_books [LEDGERS] [FOLDER]

The sum is compared with one that is reckoned apart, of what was posted.
"""

import contextlib
import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from benchmarks.host import OURS
from benchmarks.results import Row, machine, table, write
from exporter.cost.postings import (
    PHASES,
    CostOwner,
    GpuTimePosting,
    MoneyPosting,
    OwnerPhase,
    Postings,
    Segment,
    TokenPosting,
)
from exporter.cost.state import State
from exporter.ledger.ledger import Ledger
from exporter.readings import KINDS, Gpu

SECOND: Final = 10**9
HOUR: Final = 3600 * SECOND
OCTOBER: Final = 1_790_812_800 * SECOND
"""2026-10-01T00:00:00Z."""
MONTH_HOURS: Final = 744
GPUS: Final = 8
SERVERS: Final = 8
BUILT: Final = 6
SPOT_HOURS: Final = 3
SECONDS_MAX: Final = 10.0
MEBIBYTES_MAX: Final = 150.0
RUNS: Final = 3


@dataclass
class StandingClock:
    """A clock that a benchmark moves."""

    now: int = OCTOBER

    def elapsed(self) -> int:
        """Nanoseconds."""
        return self.now

    def wall(self) -> int:
        """Nanoseconds since 1970."""
        return self.now

    def wait(self, _stop: object, _duration: int) -> bool:
        """Wait for nothing."""
        return True


@dataclass
class BuiltLedger:
    """A file that was metered, and what was posted to it."""

    path: Path
    posted: int = 0
    hours: list[int] = field(default_factory=list)


def build(path: Path, number: int) -> BuiltLedger:
    """Meter a host: every second one for the month, the others for three hours."""
    spot = number % 2 == 1
    first = number * 37 % (MONTH_HOURS - SPOT_HOURS) if spot else 0
    built = BuiltLedger(path, hours=list(range(first, first + SPOT_HOURS) if spot else range(MONTH_HOURS)))
    clock = StandingClock()
    ledger = Ledger.open(path, clock)
    gpus = [Gpu(f"GPU-{number:08x}-{slot:04d}", "NVIDIA H100 80GB HBM3") for slot in range(GPUS)]
    owners = [
        CostOwner(f"product-{n % 5}", f"team-{n % 3}", "llm", f"server-{n}", f"model-{n % 4}")
        for n in range(SERVERS)
    ]
    for hour in built.hours:
        start = OCTOBER + hour * HOUR
        day = datetime.fromtimestamp(start // SECOND, UTC).strftime("%Y-%m-%d")
        money = tuple(
            MoneyPosting(gpu, component, basis, OwnerPhase(owner, phase), 10**9 + hour * 7 + number)
            for gpu, owner in zip(gpus, owners, strict=True)
            for component, basis in (("rent", "configured"), ("energy", "estimate"))
            for phase in PHASES
        )
        times = tuple(
            GpuTimePosting(gpu, OwnerPhase(owner, phase), HOUR // len(PHASES), priced=True)
            for gpu, owner in zip(gpus, owners, strict=True)
            for phase in PHASES
        )
        accrued = sum(entry.amount for entry in money)
        built.posted += accrued
        segment = Segment(start, start + HOUR, day[:7], day, accrued, money, times)
        tokens = tuple(TokenPosting(owner, kind, 1000) for owner in owners for kind in KINDS)
        clock.now = start + HOUR
        state = State(wall=clock.now, accrued=built.posted)
        ledger.post(Postings(clock.now, (segment,), tokens, owners=tuple(owners), day=day), state)
    ledger.close()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('timezone', 'UTC')")
    return built


def vary(built: BuiltLedger, path: Path, number: int) -> int:
    """Copy a file as the ledger of another host. Returns its money.

    One picodollar more for each number in the first cost of the month, in all families alike.
    """
    shutil.copy(built.path, path)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(
            "UPDATE meta SET value = ? WHERE key = 'ledger'", (f"00000000-0000-4000-8000-{number:012d}",)
        )
        connection.execute(
            "UPDATE label SET text = 'GPU-' || ? || substr(text, 13) WHERE text LIKE 'GPU-%'",
            (f"{number:08d}",),
        )
        for name in ("daily_cost", "daily_server_cost", "daily_gpu_cost", "months"):
            pragma = connection.execute(f"PRAGMA table_info({name})")
            keys = ", ".join(column for _, column, _, _, _, rank in pragma if rank)
            first = f"SELECT {keys} FROM {name} ORDER BY {keys} LIMIT 1"  # noqa: S608 - constants
            connection.execute(
                f"UPDATE {name} SET picodollars = picodollars + ? WHERE ({keys}) = ({first})",  # noqa: S608
                (number,),
            )
    return built.posted + number


def build_folder(folder: Path, count: int) -> int:
    """Make a folder of ledgers. Returns all money, reckoned apart."""
    with tempfile.TemporaryDirectory() as made:
        ledgers = [build(Path(made) / f"{n}.db", n) for n in range(min(BUILT, count))]
        total = 0
        for number in range(count):
            host = folder / f"host-{number:05d}"
            host.mkdir()
            total += vary(ledgers[number % len(ledgers)], host / "ledger.db", number)
    return total


MEASURE: Final = """\
import json, resource, sys, time
from exporter.cli import main
begin, cpu = time.perf_counter(), time.process_time()
status = main(sys.argv[1:])
assert status == 0, status
used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([time.perf_counter() - begin, time.process_time() - cpu, used]), file=sys.stderr)
"""


def measure(folder: Path, report: str) -> tuple[int, list[float]]:
    """Run the verb in a process of its own: picodollars, and seconds, CPU seconds and MiB."""
    verb = ["report", *report.split(), "--month=2026-10", f"--from={folder}", "--json"]
    done = subprocess.run([sys.executable, "-c", MEASURE, *verb], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["total"]["picodollars"], json.loads(done.stderr.splitlines()[-1])


def figures(folder: Path, expected: int) -> Iterator[tuple[str, float]]:
    """One run of each report: what and unit, and the value."""
    for report in ("month", "chargeback", "chargeback --by=day,product"):
        total, (seconds, cpu, used) = measure(folder, report)
        if total != expected:
            raise RuntimeError(f"{total} picodollars, and {expected} were posted")
        yield f"report {report}|s", seconds
        yield f"report {report}, CPU|s", cpu
        yield f"report {report}, memory at its highest|MiB", used


def main(count: int = 1000, folder: str | None = None) -> int:
    """Measure, print and write it down; 1 if it misses its bounds."""
    values: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(dir=folder) as made:
        begin = time.perf_counter()
        expected = build_folder(Path(made), count)
        size = sum(path.stat().st_size for path in Path(made).rglob("*.db"))
        print(f"{count} ledgers of {size / 2**20:.0f} MiB made in {time.perf_counter() - begin:.0f} s")
        for _ in range(RUNS):
            for name, value in figures(Path(made), expected):
                values.setdefault(name, []).append(value)
    rows = [
        Row(what, OURS, unit, tuple(each))
        for what, unit, each in ((*name.split("|"), each) for name, each in values.items())
    ]
    text = f"{machine()}; {count:,} ledgers, half of them of spot nodes.\n\n{table(rows, OURS)}"
    print(text)
    if count == 1000:
        write("fleet-books", text)
    missed = [row for row in rows if row.median > (MEBIBYTES_MAX if row.unit == "MiB" else SECONDS_MAX)]
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(*(int(word) for word in sys.argv[1:2]), *sys.argv[2:3]))

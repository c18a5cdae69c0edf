"""The month of a fleet, from its ledgers and from Prometheus: time, memory and exactness.

1,000 ledgers of last month, 800 of them of spot nodes, are made as files and as samples::

    python -m benchmarks.fleet_books [LEDGERS] [FOLDER]

Both sums are compared with one that is reckoned apart. Needs Debian's prometheus.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from benchmarks.fleet_ledgers import FleetLedger, fleet, samples, write_ledgers
from benchmarks.host import OURS
from benchmarks.results import Row, machine, table, version_of, write
from exporter.tariff.calendar import month_before, month_of
from exporter.units import NANOSECONDS_PER_SECOND, PICODOLLARS_PER_DOLLAR
from tests.e2e.daemon import ROOT
from tests.e2e.fleet.history import blocks
from tests.e2e.fleet.programs import FleetPrometheus

LEDGERS: Final = 1000
SECONDS_MAX: Final = 10.0
PROMETHEUS_SECONDS_MAX: Final = 20.0
MEBIBYTES_MAX: Final = 150.0
CENT: Final = Fraction(1, 100)
RUNS: Final = 3

FILE_REPORTS: Final = ("month", "chargeback", "chargeback --by=day,product")

MEASURE: Final = """\
import json, re, sys, time
from pathlib import Path
from exporter.cli import main
begin, cpu = time.perf_counter(), time.process_time()
status = main(sys.argv[1:])
assert status == 0, status
took = time.perf_counter() - begin, time.process_time() - cpu
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
print(json.dumps([*took, int(peak[1]) / 1024]), file=sys.stderr)
"""
"""Runs a verb as `python -m exporter` does. `ru_maxrss` would count the parent's memory as well."""


@dataclass(frozen=True, slots=True)
class MeasuredVerb:
    """What a verb printed as JSON, and what it took."""

    document: dict[str, Any]
    seconds: float
    cpu_seconds: float
    mebibytes: float

    @property
    def dollars(self) -> Fraction:
        """The total of a report."""
        return Fraction(self.document["total"]["picodollars"], PICODOLLARS_PER_DOLLAR)


def run_measured(*verb: str) -> MeasuredVerb:
    """Run a verb in a process of its own.

    Raises:
        RuntimeError: it fails; the message is its standard error.
    """
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *verb, "--json"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return MeasuredVerb(json.loads(done.stdout), *json.loads(done.stderr.splitlines()[-1]))


def measure(report: str, month: str, *sources: object) -> MeasuredVerb:
    """Run a report of sources."""
    return run_measured("report", *report.split(), f"--month={month}", *(f"--from={one}" for one in sources))


def last_month() -> str:
    """The name of the month before this one, in UTC."""
    utc = ZoneInfo("UTC")
    return month_before(month_of(time.time_ns(), utc), utc).name


def recorded(folder: Path, ledgers: Sequence[FleetLedger]) -> FleetPrometheus:
    """A Prometheus, still to be started, that holds what the rules recorded of ledgers."""
    program = FleetPrometheus(folder, "{}", retention="90d")
    blocks(samples(ledgers, time.time_ns() // NANOSECONDS_PER_SECOND), program.data)
    return program


def figures(folder: Path, address: str, ledgers: Sequence[FleetLedger]) -> Iterator[tuple[str, str, float]]:
    """One run of each report: what, its unit, and the value."""
    month, expected = ledgers[0].month, sum((ledger.dollars for ledger in ledgers), Fraction())
    runs: list[tuple[str, Path | str, str]] = [(report, folder, "files") for report in FILE_REPORTS]
    for report, source, origin in (*runs, ("month", address, "Prometheus")):
        measured = measure(report, month, source)
        if abs(measured.dollars - expected) >= (CENT if source is address else Fraction(1, 10**12)):
            raise RuntimeError(f"{origin}: {measured.dollars} dollars, and {expected} were posted")
        what = f"report {report}, from {origin}"
        yield what, "s", measured.seconds
        yield f"{what}, CPU", "s", measured.cpu_seconds
        yield f"{what}, memory at its highest", "MiB", measured.mebibytes


def within(row: Row) -> bool:
    """Whether the median keeps its bound."""
    if row.unit == "MiB":
        return row.median <= MEBIBYTES_MAX
    return row.median <= (PROMETHEUS_SECONDS_MAX if "Prometheus" in row.subject else SECONDS_MAX)


def main(count: int = LEDGERS, folder: str | None = None) -> int:
    """Measure, print and write it down; 1 if it misses its bounds."""
    values: dict[tuple[str, str], list[float]] = {}
    ledgers = fleet(last_month(), count)
    with tempfile.TemporaryDirectory(dir=folder) as made:
        begin = time.perf_counter()
        files = Path(made) / "files"
        files.mkdir()
        write_ledgers(files, ledgers)
        size = sum(path.stat().st_size for path in files.rglob("*.db"))
        print(f"{count} ledgers of {size / 2**20:.0f} MiB made in {time.perf_counter() - begin:.0f} s")
        with recorded(Path(made) / "prometheus", ledgers) as prometheus:
            for _ in range(RUNS):
                for what, unit, value in figures(files, prometheus.url, ledgers):
                    values.setdefault((what, unit), []).append(value)
    rows = [Row(what, OURS, unit, tuple(each)) for (what, unit), each in values.items()]
    spots = sum(ledger.spot for ledger in ledgers)
    where = f"{machine()}, Prometheus {version_of('prometheus')}"
    text = f"{where}; {count:,} ledgers, {spots:,} of them of spot nodes.\n\n{table(rows, OURS)}"
    print(text)
    if count == LEDGERS:
        write("fleet-books", text)
    return 0 if all(map(within, rows)) else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if sys.argv[1:] else LEDGERS, *sys.argv[2:3]))

"""The month of a fleet of ledgers by the real command line: from files, from real databases, from both."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import pytest

from benchmarks.fleet_books import (
    CENT,
    LEDGERS,
    MEBIBYTES_MAX,
    PROMETHEUS_SECONDS_MAX,
    SECONDS_MAX,
    MeasuredVerb,
    measure,
    recorded,
)
from benchmarks.fleet_ledgers import FleetLedger, add_picodollars, fleet, samples, write_ledgers
from tests.e2e.daemon import ROOT, until
from tests.e2e.fleet.history import imported
from tests.e2e.fleet.programs import FleetPrometheus, Queried, Victoria
from tests.e2e.fleet.test_books import MONTH, NOW
from tests.nightly import daily

pytestmark = [pytest.mark.xdist_group("fleet-books"), pytest.mark.timeout(900)]

LOADED = 10
"""Times the bound of an idle machine: other tests run at the same time. CPU time keeps the bound."""

PICODOLLAR = Fraction(1, 10**12)
Expected = Sequence[FleetLedger]


@pytest.fixture(scope="module", params=daily((LEDGERS // 10, LEDGERS), {LEDGERS // 10}))
def expected(request: pytest.FixtureRequest) -> Expected:
    """The fleet on paper: a tenth of it each day, all of it each night."""
    return fleet(MONTH.name, request.param)


@pytest.fixture(scope="module")
def folder(expected: Expected, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("ledgers")
    write_ledgers(made, expected)
    return made


@pytest.fixture(scope="module")
def prometheus(expected: Expected, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetPrometheus]:
    with recorded(tmp_path_factory.mktemp("prometheus"), expected) as program:
        yield program


@pytest.fixture(scope="module")
def victoria(expected: Expected, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victoria]:
    with Victoria(tmp_path_factory.mktemp("victoria")) as program:
        program.take(imported(samples(expected, NOW)))
        yield program


def total_of(ledgers: Expected) -> Fraction:
    """Dollars of all of them."""
    return sum((ledger.dollars for ledger in ledgers), Fraction())


def spots_of(ledgers: Expected) -> list[str]:
    """Ids of the spot nodes, sorted."""
    return sorted(ledger.id for ledger in ledgers if ledger.spot)


def by_ledger(report: MeasuredVerb) -> dict[str, Fraction]:
    """Dollars of each host's ledger."""
    return {host["ledger"]: Fraction(host["picodollars"], 10**12) for host in report.document["hosts"]}


def origins(report: MeasuredVerb) -> dict[str, str]:
    """Where each host's month was read."""
    return {host["ledger"]: host["origin"] for host in report.document["hosts"]}


def of_kind(report: MeasuredVerb, kind: str) -> list[str]:
    """Ledgers of which something of a kind is missing or doubtful."""
    return sorted(each["ledger"] for each in report.document["missing"] if each["kind"] == kind)


def test_the_fleet_is_what_the_reports_are_for() -> None:
    """200 hosts of a whole month, and 800 spot nodes of three hours."""
    whole = fleet(MONTH.name, LEDGERS)

    assert [sum(ledger.spot is spot for ledger in whole) for spot in (False, True)] == [200, 800]
    assert {len(ledger.hours) for ledger in whole if ledger.spot} == {3}
    assert len({ledger.id for ledger in whole}) == LEDGERS == 1000


def test_files_have_the_exact_total(
    expected: Expected, folder: Path, measured: Callable[[str], None]
) -> None:
    """Of the fleet and of each host; spot nodes are named, as they ended."""
    report = measure("month", MONTH.name, folder)
    measured(figures("files", expected, report))

    assert abs(report.dollars - total_of(expected)) < PICODOLLAR
    assert by_ledger(report) == {ledger.id: ledger.dollars for ledger in expected}
    assert of_kind(report, "silent") == spots_of(expected)
    assert report.cpu_seconds < SECONDS_MAX
    assert report.seconds < LOADED * SECONDS_MAX
    assert report.mebibytes < MEBIBYTES_MAX


@pytest.mark.parametrize("database", ["prometheus", "victoria"])
def test_a_database_has_the_total_to_the_cent(
    database: str, expected: Expected, request: pytest.FixtureRequest, measured: Callable[[str], None]
) -> None:
    """The same hosts as the files, each to the cent, and the same ones are named."""
    program: Queried = request.getfixturevalue(database)
    report = measure("month", MONTH.name, program.url)
    measured(figures(database, expected, report))

    assert abs(report.dollars - total_of(expected)) < CENT
    dollars = by_ledger(report)
    assert dollars.keys() == {ledger.id for ledger in expected}
    assert max(abs(dollars[ledger.id] - ledger.dollars) for ledger in expected) < CENT
    assert of_kind(report, "silent") == spots_of(expected)
    assert report.cpu_seconds < PROMETHEUS_SECONDS_MAX
    assert report.seconds < LOADED * PROMETHEUS_SECONDS_MAX
    assert report.mebibytes < MEBIBYTES_MAX


def figures(source: str, ledgers: Expected, report: MeasuredVerb) -> str:
    """What a report took, in a line."""
    return (
        f"month of {len(ledgers):,} ledgers from {source}: {report.seconds:.2f} s "
        f"({report.cpu_seconds:.2f} s CPU), {report.mebibytes:.1f} MiB"
    )


@pytest.mark.nightly
def test_both_sources_count_each_ledger_once(
    expected: Expected, folder: Path, prometheus: FleetPrometheus
) -> None:
    """The ledger counts; where both agree to the cent, nothing is said."""
    both = measure("month", MONTH.name, prometheus.url, folder)

    assert abs(both.dollars - total_of(expected)) < PICODOLLAR
    assert set(origins(both).values()) == {"ledger"}
    assert len(origins(both)) == len(expected)
    assert of_kind(both, "difference") == of_kind(both, "copy") == []


def test_a_ledger_counts_before_prometheus_and_the_difference_is_told(
    expected: Expected, folder: Path, tmp_path: Path, prometheus: FleetPrometheus
) -> None:
    """Two dollars were posted late to one of ten archived ledgers; the others are known to Prometheus."""
    archived = expected[:10]
    for ledger in archived:
        shutil.copytree(folder / ledger.node, tmp_path / ledger.node)
    late: FleetLedger = archived[3]
    add_picodollars(tmp_path / late.node / "ledger.db", 2 * 10**12)
    both = measure("month", MONTH.name, tmp_path, prometheus.url)

    assert abs(both.dollars - total_of(expected) - 2) < CENT
    assert by_ledger(both)[late.id] == late.dollars + 2
    assert sum(origin == "ledger" for origin in origins(both).values()) == len(archived)
    assert len(origins(both)) == len(expected)
    (difference,) = [each for each in both.document["missing"] if each["kind"] == "difference"]
    assert difference["ledger"] == late.id
    assert difference["location"] == prometheus.url
    assert round(difference["picodollars"] / 10**12, 2) == -2.0


@pytest.mark.nightly  # test_books_from_addresses.py interrupts another each day
def test_an_interrupted_run_prints_no_total(folder: Path) -> None:
    """Control-C while ledgers are read."""
    process = subprocess.Popen(
        [sys.executable, "-m", "exporter", "report", "month", f"--month={MONTH.name}", f"--from={folder}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        until(lambda: _reads(process.pid, folder), 60, "a ledger is open", pause=0.005)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait(10)

    assert out == ""
    assert process.returncode == 130
    assert "Traceback" not in err


def _reads(pid: int, folder: Path) -> bool:
    """Whether a process has a file of a folder open."""
    for file in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = file.readlink()
        except OSError:
            continue
        if target.is_relative_to(folder):
            return True
    return False

"""`report month|chargeback --from`: all ledgers of a folder as one fleet."""

import json
from pathlib import Path

import pytest

from exporter.cli import main
from exporter.cli.fleet_source import FleetSource
from exporter.cli.report import MonthOptions, report_month
from exporter.cost.postings import GpuTimePosting, OwnerPhase, Postings, Segment
from exporter.cost.state import State
from exporter.readings import UNCOUNTED
from tests.finance.fleet.host_months import CHAT
from tests.finance.fleet.ledger_files import MeteredHost, october
from tests.kit.clock import clock_at
from tests.kit.units import DOLLAR, HOUR, OCTOBER


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two whole hosts of 31 and 62 dollars, and a spot node of 6 that stopped on the 3rd."""
    october(tmp_path / "fleet" / "a" / "ledger.db", DOLLAR, "GPU-a")
    october(tmp_path / "fleet" / "b" / "ledger.db", 2 * DOLLAR, "GPU-b")
    MeteredHost(tmp_path / "fleet" / "spot.db", "GPU-c").meter(OCTOBER + 50 * HOUR, 3, 2 * DOLLAR).close()
    return tmp_path / "fleet"


def run(*arguments: str) -> int:
    return main(["report", *arguments])


@pytest.mark.parametrize("by", ["product", "team", "server", "model", "component", "gpu"])
def test_the_month_of_a_folder(by: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """99 dollars, whatever it is by, and the spot node before the table."""
    assert run("month", "--month=2026-10", f"--by={by}", f"--from={folder}") == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()

    assert lines[:2] == ["2026-10, 3 ledgers, time zone UTC, as of 2026-11-01T00:00:00Z", ""]
    assert lines[2] == "INCOMPLETE: 1 of 3 hosts"
    assert "last tick 2026-10-03T05:00:00Z, 691.0000 hours before the end" in lines[5]
    (total,) = [line for line in lines if line.startswith("total")]
    assert "99.00" in total.split()
    assert printed.err == ""


def test_a_chargeback_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exact sums by host and by row."""
    assert run("chargeback", "--month=2026-10", f"--from={folder}", "--json") == 0
    document = json.loads(capsys.readouterr().out)

    assert document["total"]["picodollars"] == 99 * DOLLAR
    assert [(host["host"], host["dollars"]) for host in document["hosts"]] == [
        ("a", 31.0),
        ("b", 62.0),
        ("spot", 6.0),
    ]
    assert [(each["kind"], each["host"], each["hours"]) for each in document["missing"]] == [
        ("silent", "spot", 691.0)
    ]


def test_csv_prints_what_is_missing_on_standard_error(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sheet stays a sheet."""
    assert run("chargeback", "--month=2026-10", f"--from={folder}", "--csv") == 0
    printed = capsys.readouterr()

    assert printed.out.splitlines()[1].startswith("2026-10,chat,assistants,99.00,2.00,")
    assert printed.out.splitlines()[1].endswith(",false,1,false,,0.0000,0.00")
    assert printed.err.startswith("INCOMPLETE: 1 of 3 hosts\n")


def test_several_sources(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two files by their names."""
    files = [f"--from={folder / 'a' / 'ledger.db'}", f"--from={folder / 'b' / 'ledger.db'}"]
    assert run("month", "--month=2026-10", *files, "--json") == 0
    assert json.loads(capsys.readouterr().out)["total"]["dollars"] == 93.0


def test_zones_that_differ_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the list; the flag adds them and names the host."""
    october(folder / "c.db", DOLLAR, "GPU-d", zone="Europe/Berlin")
    assert run("month", "--month=2026-10", f"--from={folder}") == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == (
        "the months of these hosts are of different time zones: UTC (3: a, b, spot), Europe/Berlin (1: c); "
        "--mixed-zones adds them all the same\n"
    )

    assert run("month", "--month=2026-10", f"--from={folder}", "--mixed-zones") == 0
    assert "Other time zones: these months begin and end at another instant (1)" in capsys.readouterr().out


def test_no_total_over_a_file_that_cannot_be_read(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Standard output stays empty; the flag names the file first."""
    (folder / "broken.db").write_bytes(b"SQLite format 3\0" + b"x" * 2000)
    assert run("month", "--month=2026-10", f"--from={folder}") == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "one file of 4 cannot be read, so there is no total" in printed.err
    assert "broken.db is no ledger that can be read: file is not a database" in printed.err

    assert run("month", "--month=2026-10", f"--from={folder}", "--skip-unreadable") == 0
    printed = capsys.readouterr()
    assert "INCOMPLETE: 2 of 4 hosts" in printed.out
    assert "Unreadable files: nothing of them is in the total (1)\n  " in printed.out


def test_a_month_that_no_ledger_has(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is no month of zero dollars."""
    assert run("month", "--month=2026-09", f"--from={folder}") == 1
    assert capsys.readouterr().err == f"{folder}: the ledgers have nothing of 2026-09: they have 2026-10\n"


def test_the_current_month_goes_on(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On the 20th of October all three are to date."""
    options = MonthOptions(form="json", fleet=FleetSource([folder]))
    assert report_month(options, clock_at(OCTOBER + 468 * HOUR)) == 0
    document = json.loads(capsys.readouterr().out)

    assert (document["month"], document["to_date"]) == ("2026-10", True)
    assert [(each["kind"], each["hours"]) for each in document["missing"]] == [("silent", 415.0)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from=a", "--ledger.path=/b"], "--from takes the place of --ledger.path: give one of them"),
        (["--mixed-zones"], "--mixed-zones needs --from"),
        (["--skip-unreadable"], "--skip-unreadable needs --from"),
    ],
)
def test_flags_that_clash(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 2."""
    with pytest.raises(SystemExit) as left:
        run("month", *arguments)

    assert left.value.code == 2
    assert message in capsys.readouterr().err


def test_json_has_overheads_and_both_together(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """1,488 dollars of staff in October beside 99 of hosts."""
    config = tmp_path / "ice.yaml"
    config.write_text("overheads: [{name: staff, dollars_per_month: 1488, per: fleet}]\n")
    assert run("month", "--month=2026-10", f"--from={folder}", f"--config.file={config}", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    names = ("dollars", "overhead_dollars", "dollars_with_overheads", "picodollars_with_overheads")

    for row in (*document["rows"], document["total"]):
        assert [row[name] for name in names] == [99.0, 1488.0, 1587.0, 1587 * DOLLAR]
    assert document["total"]["gpu_seconds"] == 1491 * 3600
    assert document["total"]["unpriced_gpu_hours"] == 0


def test_hours_in_which_the_gpus_were_not_known_are_not_metered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A host of 743 hours at 1 dollar, and one hour of 744 before in which no GPU was listed."""
    path = tmp_path / "fleet" / "late.db"
    host = MeteredHost(path)
    waiting = GpuTimePosting(UNCOUNTED, OwnerPhase(CHAT, "idle"), HOUR, unpriced=True, chargeable=HOUR)
    segment = Segment(OCTOBER, OCTOBER + HOUR, "2026-10", "2026-10-01", 0, (), (waiting,))
    host.clock.now = OCTOBER + HOUR
    host.ledger.post(Postings(host.clock.now, (segment,), day="2026-10-01"), State(wall=host.clock.now))
    host.meter(OCTOBER + HOUR, 743, DOLLAR).close()
    assert run("month", "--month=2026-10", f"--from={path.parent}", "--json") == 0
    document = json.loads(capsys.readouterr().out)

    assert document["total"]["dollars"] == 743.0
    assert document["hosts"][0]["metered_hours"] == 743
    assert [(each["kind"], each["hours"]) for each in document["missing"]] == [("uncounted", 1.0)]

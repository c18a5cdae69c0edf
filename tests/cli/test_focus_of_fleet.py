"""`report focus --from`: rows of all ledgers of a folder, each once, and nothing before all are read."""

import csv
import io
import json
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from exporter.cli import main
from exporter.cli.fleet_source import FleetSource
from exporter.cli.focus import HostRows
from exporter.finance.fleet.record import HostMonth
from exporter.finance.focus.dataset import FocusForm
from exporter.tariff.period import Period
from tests.finance.fleet.host_months import LENGTH
from tests.finance.fleet.ledger_files import MeteredHost, october
from tests.kit.units import DOLLAR, HOUR, OCTOBER

MONTH = "--month=2026-10"


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """Two hosts of the whole of October, at 1 and 2 dollars a day, and one that lived for three hours."""
    folder = tmp_path / "archive"
    october(folder / "node-1" / "ledger.db", DOLLAR, "GPU-1")
    october(folder / "node-2" / "ledger.db", 2 * DOLLAR, "GPU-2")
    MeteredHost(folder / "spot.db", "GPU-3").meter(OCTOBER + 5 * HOUR, 3, DOLLAR // 3).close()
    return folder


def written(text: str) -> list[dict[str, str]]:
    """The rows of a file."""
    return list(csv.DictReader(io.StringIO(text)))


def dollars(rows: list[dict[str, str]]) -> dict[str, Decimal]:
    """Cost by the host's name."""
    sums: Counter[str] = Counter()
    for row in rows:
        sums[row["ResourceName"]] += Decimal(row["BilledCost"])  # type: ignore[assignment]
    return dict(sums)  # type: ignore[arg-type]


HOSTS = {"node-1": Decimal(31), "node-2": Decimal(62), "spot": Decimal("0.999999999999")}


def test_rows_of_all_hosts(fleet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Under their names, to the picodollar as `report month` has them; what is missing is told beside."""
    assert main(["report", "focus", MONTH, f"--from={fleet}"]) == 0
    captured = capsys.readouterr()
    rows = written(captured.out)
    assert captured.out.count("AllocatedMethodDetails") == 1
    assert dollars(rows) == HOSTS
    assert len({(row["ResourceName"], row["x_LedgerId"]) for row in rows}) == 3
    assert [row["ResourceName"] for row in rows] == sorted(row["ResourceName"] for row in rows)
    assert "INCOMPLETE: 1 of 3 hosts" in captured.err
    assert "spot (" in captured.err

    output = tmp_path / "focus.csv"
    assert main(["report", "focus", MONTH, f"--from={fleet}", f"--output={output}"]) == 0
    assert capsys.readouterr() == ("", captured.err)
    assert output.read_text() == captured.out

    assert main(["report", "month", MONTH, f"--from={fleet}", "--json"]) == 0
    total = json.loads(capsys.readouterr().out)["total"]["picodollars"]
    assert sum(Decimal(row["BilledCost"]) for row in rows) * DOLLAR == total


def test_a_ledger_alone_has_the_same_rows(fleet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In each version; only the name of the host is known to the fleet alone."""
    ledger = fleet / "node-1" / "ledger.db"
    for version in ("1.2", "1.3", "1.4"):
        arguments = ["report", "focus", MONTH, f"--focus-version={version}"]
        assert main([*arguments, f"--from={ledger.parent}"]) == 0
        of_fleet = written(capsys.readouterr().out)
        assert main([*arguments, f"--ledger.path={ledger}"]) == 0
        alone = written(capsys.readouterr().out)
        assert ("ResourceName" in alone[0]) == (version != "1.2")
        if version != "1.2":
            assert {row.pop("ResourceName") for row in alone} == {""}
            assert {row.pop("ResourceName") for row in of_fleet} == {"ledger"}
        assert of_fleet == alone


def test_a_copy_counts_once(fleet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The earlier copy of a ledger adds no row."""
    (fleet / "copy.db").write_bytes((fleet / "node-1" / "ledger.db").read_bytes())
    assert main(["report", "focus", MONTH, f"--from={fleet}"]) == 0
    captured = capsys.readouterr()
    assert sum(dollars(written(captured.out)).values()) == sum(HOSTS.values())
    assert "Copies: a later copy of the same ledger is in the total" in captured.err


def test_a_statement_stands_for_its_ledger(
    fleet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its rows are of the month, with the same money, GPU-hours and tokens."""
    statement = tmp_path / "2026-10.json"
    assert main(["report", "month", MONTH, f"--from={fleet}", "--close", f"--output={statement}"]) == 0
    capsys.readouterr()
    of_source = {}
    for source in (fleet, statement):
        assert main(["report", "focus", MONTH, f"--from={source}"]) == 0
        sums: Counter[tuple[str, ...]] = Counter()
        rows = written(capsys.readouterr().out)
        for row in rows:
            key = row["x_LedgerId"], row["x_Phase"], row["ConsumedUnit"]
            sums[*key, "dollars"] += Decimal(row["BilledCost"])  # type: ignore[assignment]
            sums[*key, "quantity"] += Decimal(row["ConsumedQuantity"] or 0)  # type: ignore[assignment]
        of_source[source] = sums
    assert {row["ChargePeriodEnd"] for row in rows} == {"2026-11-01T00:00:00Z"}
    assert of_source[fleet] == of_source[statement]


def test_an_unreadable_ledger_leaves_no_rows(fleet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Unless it is skipped, and named."""
    (fleet / "node-9.db").write_bytes(b"no ledger at all")
    assert main(["report", "focus", MONTH, f"--from={fleet}"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "one file of 4 cannot be read, so there is no total" in captured.err

    assert main(["report", "focus", MONTH, f"--from={fleet}", "--skip-unreadable"]) == 0
    captured = capsys.readouterr()
    assert dollars(written(captured.out)) == HOSTS
    assert "Unreadable files: nothing of them is in the total (1)" in captured.err


def test_each_host_has_the_days_of_its_zone(fleet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Refused with the list, or allowed: then a billing period begins where its host's month does."""
    october(fleet / "node-3.db", DOLLAR, "GPU-4", zone="Asia/Tokyo")
    assert main(["report", "focus", MONTH, f"--from={fleet}"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "different time zones: UTC (3: node-1, node-2, spot), Asia/Tokyo (1: node-3)" in captured.err

    assert main(["report", "focus", MONTH, f"--from={fleet}", "--mixed-zones"]) == 0
    starts = {(row["ResourceName"], row["BillingPeriodStart"]) for row in written(capsys.readouterr().out)}
    assert ("node-3", "2026-09-30T15:00:00Z") in starts
    assert ("node-1", "2026-10-01T00:00:00Z") in starts


def test_a_month_that_no_ledger_has(fleet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 1, and the months that are there."""
    assert main(["report", "focus", "--month=2026-08", f"--from={fleet}"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"{fleet}: the ledgers have nothing of 2026-08: they have 2026-10")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--from=http://prometheus:9090"],
            "--from needs ledgers here: a Prometheus has no cost by day and server",
        ),
        (["--columns=BilledCost,Cost"], "FOCUS 1.4 has no column 'Cost' here"),
        (["--focus-version=1.2", "--columns=Tags"], "FOCUS 1.2 has no column 'Tags' here"),
        (["--focus-version=1.5"], "invalid choice: '1.5'"),
        (["--skip-unreadable"], "--skip-unreadable needs --from"),
    ],
)
def test_what_cannot_be_asked(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 2, before anything is read."""
    with pytest.raises(SystemExit) as left:
        main(["report", "focus", *flags])

    assert left.value.code == 2
    assert message in capsys.readouterr().err


def test_days_of_one_host_are_in_memory(fleet: Path) -> None:
    """The sum of the fleet has none, so that a thousand hosts take no more than one."""
    days: list[int] = []
    source = FleetSource((fleet,))
    period, now = Period.named("2026-10"), OCTOBER + LENGTH
    summed = source.read(
        period, ZoneInfo("UTC"), now, ("cost",), on_month=lambda host: days.append(len(host.record.days))
    )

    assert (sorted(days), summed.record.days) == ([1, 31, 31], {})
    assert len(source.read(period, ZoneInfo("UTC"), now, ("cost",)).record.days) == 31


def test_scaled_rows_are_not_itemized(fleet: Path) -> None:
    """Of a statement that rests on a Prometheus, products and teams are exact, and servers are not."""
    hosts: list[HostMonth] = []
    period, now = Period.named("2026-10"), OCTOBER + LENGTH
    summed = FleetSource((fleet / "spot.db",)).read(period, ZoneInfo("UTC"), now, on_month=hosts.append)
    with HostRows(FocusForm()) as rows:
        rows.add(replace(hosts[0], apportioned=True))
        (line,) = rows.of(summed)

    assert "GPU time that is known by product and team only" in line
    assert "0.999999999999" in line


def test_a_full_temporary_folder_is_told(
    fleet: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows wait in a file; the message says which folder, and how to name another."""

    def full(**_options: object) -> object:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    assert main(["report", "focus", MONTH, f"--from={fleet}"]) == 1
    assert capsys.readouterr().err == (
        "the folder for temporary files cannot be written: No space left on device; "
        "TMPDIR names another one\n"
    )

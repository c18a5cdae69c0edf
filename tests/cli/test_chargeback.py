"""`report chargeback` by any columns and over any days, of one ledger and of a fleet alike."""

import csv
import io
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from exporter.cli import main
from exporter.cli.report import ChargebackOptions, report_chargeback
from tests.finance.fleet.ledger_files import MeteredHost, october
from tests.kit.clock import clock_at
from tests.kit.units import DOLLAR, HOUR, NOVEMBER


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A dollar an hour for the last 30 hours of October and the first 20 of November; every second idle."""
    return MeteredHost(tmp_path / "one" / "ledger.db").meter(NOVEMBER - 30 * HOUR, 50, DOLLAR).close()


@pytest.fixture(params=["ledger", "fleet"])
def source(request: pytest.FixtureRequest, path: Path) -> str:
    """The flag of one ledger, and of the folder that has it alone."""
    return f"--ledger.path={path}" if request.param == "ledger" else f"--from={path.parent}"


def document(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main(["report", "chargeback", "--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def test_days_of_a_quarter(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    """6, 24 and 20 dollars."""
    printed = document(capsys, source, "--month=2026-Q4", "--by=day,model")

    assert printed["month"] == "2026-Q4"
    assert [(row["day"], row["model"], row["dollars"]) for row in printed["rows"]] == [
        ("2026-10-30", "llama-8b", 6.0),
        ("2026-10-31", "llama-8b", 24.0),
        ("2026-11-01", "llama-8b", 20.0),
    ]
    assert printed["total"]["picodollars"] == 50 * DOLLAR


@pytest.mark.parametrize(
    ("days", "name", "dollars"),
    [
        (["--since=2026-10-31", "--until=2026-11-01"], "2026-10-31/2026-11-01", 44.0),
        (["--since=2026-10-01", "--until=2026-10-31"], "2026-10", 30.0),
        (["--since=2026-11-01", "--until=2026-11-30"], "2026-11", 20.0),
    ],
)
def test_any_days(
    days: list[str], name: str, dollars: float, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Days that are a month are that month."""
    printed = document(capsys, source, *days)

    assert (printed["month"], printed["total"]["dollars"]) == (name, dollars)


@pytest.mark.parametrize(
    ("idle", "rows"),
    [("apart", [("(idle)", 25.0), ("chat", 25.0)]), ("spread", [("chat", 50.0)])],
)
def test_idle_cost(
    idle: str, rows: list[tuple[str, float]], source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half of it."""
    printed = document(capsys, source, "--month=2026-Q4", "--by=product", f"--idle={idle}")

    assert [(row["product"], row["dollars"]) for row in printed["rows"]] == rows
    assert printed["notes"][0].startswith("25.00 dollars of idle cost, unallocated GPUs included, are ")


def test_a_table_and_csv_by_day(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    """All three forms have the same rows."""
    arguments = ["report", "chargeback", source, "--since=2026-10-31", "--until=2026-11-01", "--by=day,team"]
    assert main(arguments) == 0
    table = capsys.readouterr().out
    assert main([*arguments, "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))

    assert "\n2026-10-31  assistants    24.00  12.00    50.0    24.0000 " in table
    assert "\n2026-11-01  assistants    20.00  10.00    50.0    20.0000 " in table
    assert [(row["month"], row["day"], row["dollars"]) for row in rows] == [
        ("2026-10-31/2026-11-01", "2026-10-31", "24.00"),
        ("2026-10-31/2026-11-01", "2026-11-01", "20.00"),
    ]


def test_a_period_that_goes_on(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Since a day, up to now: the metered part of its days."""
    options = ChargebackOptions(None, path)
    clock = clock_at(NOVEMBER + 20 * HOUR)
    assert report_chargeback(options, clock) == 0
    assert capsys.readouterr().out.startswith("2026-11 to date, ledger ")

    assert report_chargeback(ChargebackOptions(None, path, since=date(2026, 10, 31)), clock) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("2026-10-31/2026-11-01 to date, ledger ")
    assert "44.0000 of the 48.0000 hours of 2026-10-31/2026-11-01 are metered." in printed


def test_days_before_the_ledger(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    """No month of them is there."""
    assert main(["report", "chargeback", source, "--since=2026-08-01", "--until=2026-08-09"]) == 1
    assert "nothing of 2026-08-01/2026-08-09: " in capsys.readouterr().err


@pytest.fixture
def fleet(tmp_path: Path) -> list[str]:
    """Two hosts of October with 744 GPU-hours each, of 31 and 62 dollars, and staff of 1,488 dollars."""
    october(tmp_path / "fleet" / "a.db", DOLLAR, "GPU-a")
    october(tmp_path / "fleet" / "b.db", 2 * DOLLAR, "GPU-b")
    config = tmp_path / "ice.yaml"
    config.write_text("overheads:\n  - {name: staff, dollars_per_month: 1488, per: fleet}\n")
    return [f"--from={tmp_path / 'fleet'}", f"--config.file={config}", "--month=2026-10"]


@pytest.mark.parametrize("verb", [["month"], ["month", "--by=server"], ["month", "--by=gpu"], ["chargeback"]])
def test_overheads_of_the_fleet(
    verb: list[str], fleet: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """93 dollars without, 1,581 with."""
    assert main(["report", *verb, *fleet]) == 0
    printed = capsys.readouterr().out
    (total,) = [line for line in printed.splitlines() if line.startswith("total")]

    assert {"93.00", "1,488.00", "1,581.00"} <= set(total.split())
    assert "1,488.00 dollars are overheads of the fleet (staff 1,488.00), spread in proportion to" in printed


def test_overheads_have_components_and_can_be_left_out(
    fleet: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """By component they have lines of their own."""
    assert main(["report", "month", "--by=component", *fleet]) == 0
    assert "\nstaff         0.00   1,488.00        1,488.00\n" in capsys.readouterr().out
    assert main(["report", "month", *fleet, "--overheads=none"]) == 0
    assert "overheads" not in capsys.readouterr().out


def test_a_rule_of_the_operator(fleet: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A product of its own carries three quarters."""
    printed = document(capsys, *fleet, "--by=product", "--overheads=chat=0.25,platform=0.75")

    assert [(row["product"], row["overhead_dollars"]) for row in printed["rows"]] == [
        ("chat", 372.0),
        ("platform", 1116.0),
    ]


def test_a_rule_without_overheads(fleet: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The file is missing, or it has none."""
    assert main(["report", "month", fleet[0], fleet[2], "--overheads=equal"]) == 1
    assert "the configuration has no overhead `per: fleet`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            "gpu",
            "'gpu' is no rule: expected gpu-hours, dollars, equal, none, or shares like chat=60,search=40",
        ),
        ("chat=x", "'chat=x' is no rule"),
        ("chat=1,chat=2", "product 'chat' has two shares"),
        ("chat=0", "all shares are 0"),
        ("shares", "'shares' is no rule"),
    ],
)
def test_a_rule_that_is_none(
    rule: str, message: str, fleet: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 2 and what there is."""
    with pytest.raises(SystemExit):
        main(["report", "month", *fleet, f"--overheads={rule}"])

    assert message in capsys.readouterr().err

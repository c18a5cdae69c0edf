"""`report month --close` and `--against`: a month that stands, and what changed since, over real ledgers."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.cli import main
from exporter.cli.fleet_source import FleetSource
from exporter.cli.report import MonthOptions, report_month
from exporter.cost.postings import GpuTimePosting, LateCharges, MoneyPosting, OwnerPhase, Postings, Segment
from exporter.cost.state import State
from exporter.ledger.ledger import Ledger
from exporter.readings import Gpu
from tests.finance.fleet.host_months import CHAT
from tests.finance.fleet.ledger_files import MeteredHost, october
from tests.kit.clock import clock_at
from tests.kit.units import DOLLAR, HOUR, NOVEMBER, OCTOBER

IDLE = OwnerPhase(CHAT, "idle")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A host of 31 dollars, and one of 4 dollars with two hours of a GPU that has no price."""
    october(tmp_path / "fleet" / "a.db", DOLLAR, "GPU-a")
    host = MeteredHost(tmp_path / "fleet" / "b.db", "GPU-b").meter(NOVEMBER - 6 * HOUR, 4, DOLLAR)
    start = NOVEMBER - 2 * HOUR
    time = GpuTimePosting(host.gpu, IDLE, 2 * HOUR, unpriced=True, chargeable=2 * HOUR)
    segment = Segment(start, NOVEMBER, "2026-10", "2026-10-31", 0, (), (time,))
    host.clock.now = NOVEMBER
    host.ledger.post(
        Postings(NOVEMBER, (segment,), day="2026-10-31"), State(wall=NOVEMBER, accrued=4 * DOLLAR)
    )
    host.close()
    return tmp_path / "fleet"


def run(*arguments: str) -> int:
    return main(["report", "month", *arguments])


def close(folder: Path, output: Path) -> int:
    return run("--month=2026-10", f"--from={folder}", "--close", f"--output={output}")


def price_comes_late(file: Path) -> None:
    """The daemon charges the two hours with 6 dollars."""
    ledger = Ledger.open(file, clock_at(NOVEMBER + HOUR))
    unit = Gpu("GPU-b", "H100")
    start = NOVEMBER - 2 * HOUR
    money = (MoneyPosting(unit, "rent", "configured", IDLE, 6 * DOLLAR),)
    times = (GpuTimePosting(unit, IDLE, 2 * HOUR, chargeable=0),)
    late = Segment(start, NOVEMBER, "2026-10", "2026-10-31", 6 * DOLLAR, money, times)
    ledger.post(
        Postings(NOVEMBER + HOUR, (), day="2026-11-01", late=LateCharges((late,))),
        State(wall=NOVEMBER + HOUR, accrued=10 * DOLLAR),
    )
    ledger.close()


def adjustment_is_posted(file: Path) -> None:
    """A person enters a refund of 3 dollars, and the daemon posts it at its next tick."""
    arguments = ["--amount=-3", "--date=2026-10-31", "--product=chat", "--team=assistants"]
    assert main(["adjust", *arguments, "--reason=invoice 4711", f"--ledger.path={file}"]) == 0
    ledger = Ledger.open(file, clock_at(NOVEMBER + HOUR))
    ledger.post(Postings(NOVEMBER + HOUR, day="2026-11-01"), State(wall=NOVEMBER + HOUR, accrued=31 * DOLLAR))
    ledger.close()


def test_a_late_price_and_an_adjustment_are_named_and_nothing_else(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After the month was closed with 35 dollars it comes to 38."""
    statement = tmp_path / "2026-10.json"
    assert close(folder, statement) == 0
    printed = capsys.readouterr()
    assert printed.out == f"2026-10 is closed: 35.00 dollars of 2 ledgers in {statement}\n"
    assert "Unpriced GPU-hours: they cost nothing until a price covers them (1, 2.0000 hours)" in printed.err
    assert run(f"--from={folder}", f"--against={statement}") == 0
    assert capsys.readouterr().out.endswith("\n\nNothing changed since.\n")

    price_comes_late(folder / "b.db")
    adjustment_is_posted(folder / "a.db")
    capsys.readouterr()
    assert run(f"--from={folder}", f"--against={statement}", "--json") == 0
    document = json.loads(capsys.readouterr().out)

    assert sorted((each["kind"], each["host"], each["picodollars"]) for each in document["changes"]) == [
        ("adjustment", "a", -3 * DOLLAR),
        ("late price", "b", 6 * DOLLAR),
    ]
    assert (document["closed_picodollars"], document["read_picodollars"]) == (35 * DOLLAR, 38 * DOLLAR)
    assert run(f"--from={folder}", f"--against={statement}") == 0
    printed = capsys.readouterr()
    assert 'a: adjustment 1: "invoice 4711"' in printed.out
    assert "b: time that was unpriced got a price: 2.0000 GPU-hours" in printed.out
    assert printed.out.endswith("\n2026-10 is 38.00 dollars now.\n")


def test_a_statement_stands_for_ledgers_that_are_gone(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a folder with the statement and one of the two ledgers, both hosts count once."""
    statement = folder / "2026-10.json"
    assert close(folder, statement) == 0
    (folder / "a.db").unlink()
    capsys.readouterr()

    assert run("--month=2026-10", f"--from={folder}", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["total"]["picodollars"] == 35 * DOLLAR
    assert [(host["host"], host["origin"]) for host in document["hosts"]] == [
        ("a", "statement"),
        ("b", "ledger"),
    ]
    assert run(f"--from={folder / 'b.db'}", f"--against={statement}") == 0
    printed = capsys.readouterr()
    assert "a: not read now; the statement stands for it" in printed.out
    assert printed.out.endswith("\n2026-10 is 35.00 dollars now.\n")


def test_a_statement_does_not_stand_for_days_or_quarters(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has no days: without its ledgers there is no total that looks whole."""
    statement = folder / "2026-10.json"
    assert close(folder, statement) == 0
    days = (f"--from={folder}", "--since=2026-10-01", "--until=2026-10-30")
    assert run(*days) == 0
    assert run("--month=2026-Q4", f"--from={folder}") == 0
    (folder / "a.db").unlink()
    capsys.readouterr()

    for period, words in (("2026-10-01/2026-10-30", days), ("2026-Q4", ("--month=2026-Q4", days[0]))):
        assert run(*words) == 1
        printed = capsys.readouterr()
        assert printed.out == ""
        assert (
            f"{statement} is of a whole month, and stands for ledgers that are not here (1: a): "
            f"{period} needs the ledgers"
        ) in printed.err
        assert run(*words, "--skip-unreadable") == 0
        assert "Unreadable files: nothing of them is in the total (1)" in capsys.readouterr().out
    assert run("--since=2026-09-01", "--until=2026-09-30", days[0]) == 1
    assert "the ledgers have nothing of 2026-09" in capsys.readouterr().err


def test_one_host_closes_its_own_month(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --from it is the daemon's ledger."""
    ledger, statement = october(tmp_path / "ledger.db", DOLLAR), tmp_path / "2026-10.json"

    assert run("--month=2026-10", f"--ledger.path={ledger}", "--close", f"--output={statement}") == 0
    assert capsys.readouterr().out == f"2026-10 is closed: 31.00 dollars of 1 ledger in {statement}\n"
    assert json.loads(statement.read_text())["total_picodollars"] == 31 * DOLLAR


@pytest.mark.parametrize(("host", "name"), [("gpu-7", "gpu-7"), ("", "node-7")])
def test_a_statement_is_named_by_its_host(
    host: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the name that its daemon wrote, else by the last folder; a bill of that host is matched by it."""
    metered = MeteredHost(tmp_path / "srv" / "node-7" / "ledger.db")
    metered.ledger.host = host
    ledger = metered.meter(OCTOBER, 744, DOLLAR).close()
    statement, bill = tmp_path / "2026-10.json", tmp_path / "bill.csv"
    assert run("--month=2026-10", f"--ledger.path={ledger}", "--close", f"--output={statement}") == 0
    days = [f"2026-10-{day:02d},25.00,{name}" for day in range(1, 32)]
    bill.write_text("\n".join(["date,dollars,host", *days, ""]))
    capsys.readouterr()
    assert main(["reconcile", f"--invoice={bill}", f"--from={statement}", "--json"]) == 0
    reconciled = json.loads(capsys.readouterr().out)

    assert json.loads(statement.read_text())["hosts"][0]["name"] == name
    assert reconciled["hosts"][0]["host"] == name
    assert (reconciled["bill"]["dollars"], reconciled["unbilled_hosts"]["dollars"]) == (775.0, 0.0)


def test_a_closed_month_is_not_written_over(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The statement is what was billed."""
    statement = tmp_path / "2026-10.json"
    assert close(folder, statement) == 0
    before = statement.read_bytes()
    capsys.readouterr()

    assert close(folder, statement) == 1
    assert f"{statement} exists, and a closed month is not written over" in capsys.readouterr().err
    assert statement.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == [statement, folder]


def test_a_month_that_goes_on_is_not_closed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor one with an adjustment that waits."""
    options = MonthOptions(
        month="2026-10", fleet=FleetSource([folder]), close=True, output=tmp_path / "x.json"
    )
    assert report_month(options, clock_at(NOVEMBER - HOUR)) == 1
    assert "2026-10 is not over: close it from 2026-11-01T00:00:00Z on" in capsys.readouterr().err

    arguments = [
        "--amount=-3",
        "--date=2026-10-31",
        "--product=chat",
        "--team=assistants",
        "--reason=late fee",
    ]
    assert main(["adjust", *arguments, f"--ledger.path={folder / 'a.db'}"]) == 0
    capsys.readouterr()
    assert close(folder, tmp_path / "x.json") == 1
    assert "adjustments wait for their daemon, 1 in all: a (1: late fee)" in capsys.readouterr().err
    assert not (tmp_path / "x.json").exists()


def test_a_file_whose_name_is_no_text_is_closed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name of a file is bytes."""
    (folder / "a.db").rename(folder / os.fsdecode(b"a\xff.db"))
    statement = tmp_path / "2026-10.json"
    assert close(folder, statement) == 0
    assert [host["name"] for host in json.loads(statement.read_text())["hosts"]].count("a?") == 1
    capsys.readouterr()
    assert run(f"--from={folder}", f"--against={statement}") == 0
    assert capsys.readouterr().out.endswith("\n\nNothing changed since.\n")


def test_a_month_that_goes_on_in_one_of_its_zones_is_not_closed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """October in Los Angeles ends at 07:00 UTC, summer time included."""
    october(folder / "c.db", DOLLAR, "GPU-c", zone="America/Los_Angeles")
    statement = tmp_path / "x.json"
    source = FleetSource([folder], mixed_zones=True)
    options = MonthOptions(month="2026-10", fleet=source, close=True, output=statement)

    assert report_month(options, clock_at(NOVEMBER + 7 * HOUR - 1)) == 1
    assert "2026-10 is not over: close it from 2026-11-01T07:00:00Z on" in capsys.readouterr().err
    assert not statement.exists()
    assert report_month(options, clock_at(NOVEMBER + 7 * HOUR)) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--close", "--month=2026-10"], "--close needs --month and --output"),
        (["--close", "--output=x"], "--close needs --month and --output"),
        (["--output=x"], "--output needs --close"),
        (
            ["--close", "--month=2026-10", "--output=x", "--against=y"],
            "--close and --against exclude each other",
        ),
        (["--against=y", "--csv"], "--csv: a statement is JSON, and what changed is a table or --json"),
        (["--close", "--month=2026-10", "--output=x", "--csv"], "--csv: a statement is JSON"),
        (["--against=y", "--since=2026-10-01"], "--since: a statement is of one month"),
        (
            ["--close", "--month=2026-Q3", "--output=x"],
            "--month: a statement is of one month, not of 2026-Q3",
        ),
        (
            ["--against=y", "--from=z", "--overheads=dollars"],
            "--overheads: a statement has the cost of hosts alone",
        ),
    ],
)
def test_flags_that_clash_are_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is read."""
    with pytest.raises(SystemExit):
        run(*arguments)
    assert message in capsys.readouterr().err


def test_a_statement_of_another_month_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And one that is none."""
    statement = tmp_path / "2026-10.json"
    assert close(folder, statement) == 0
    capsys.readouterr()

    assert run("--month=2026-09", f"--from={folder}", f"--against={statement}") == 1
    assert f"{statement} is of 2026-10, not of 2026-09" in capsys.readouterr().err
    statement.write_text(statement.read_text().replace('"chat"', '"that"'))
    assert run(f"--from={folder}", f"--against={statement}") == 1
    assert "was edited" in capsys.readouterr().err
    assert run(f"--from={folder}", f"--against={tmp_path / 'none.json'}") == 1
    assert "cannot be read: No such file" in capsys.readouterr().err


def test_a_month_whose_late_prices_are_still_being_charged_says_so(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two hours the last tick charged one with 3 dollars; the next tick has none to charge."""
    ledger = Ledger.open(folder / "b.db", clock_at(NOVEMBER + HOUR))
    unit, start = Gpu("GPU-b", "H100"), NOVEMBER - 2 * HOUR
    money = (MoneyPosting(unit, "rent", "configured", IDLE, 3 * DOLLAR),)
    times = (GpuTimePosting(unit, IDLE, HOUR, chargeable=0),)
    late = Segment(start, start + HOUR, "2026-10", "2026-10-31", 3 * DOLLAR, money, times)
    state = State(wall=NOVEMBER + HOUR, accrued=7 * DOLLAR)
    ledger.post(Postings(NOVEMBER + HOUR, (), day="2026-11-01", late=LateCharges((late,))), state)
    charging = "1.0000 GPU-hours (a price came, and the daemon is still charging them: ask again after its"
    assert run("--month=2026-10", f"--from={folder}") == 0
    assert charging in capsys.readouterr().out
    assert close(folder, tmp_path / "early.json") == 0
    printed = capsys.readouterr()
    assert "38.00 dollars of 2 ledgers" in printed.out
    assert charging in printed.err
    assert charging in "".join(json.loads((tmp_path / "early.json").read_text())["findings"])

    ledger.post(Postings(NOVEMBER + 2 * HOUR, (), day="2026-11-01"), replace(state, wall=NOVEMBER + 2 * HOUR))
    ledger.close()
    assert run("--month=2026-10", f"--from={folder}") == 0
    printed = capsys.readouterr()
    assert "Unpriced GPU-hours: they cost nothing until a price covers them (1, 1.0000 hours)" in printed.out
    assert "still charging" not in printed.out

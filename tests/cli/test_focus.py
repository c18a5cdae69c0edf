"""`report focus` beside a daemon that writes: to standard output, to a file, and to where it cannot."""

import csv
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.cli import main
from exporter.cli.adjust import AdjustFlags, adjust
from exporter.cli.focus import FocusOptions, write_focus
from exporter.cli.report import MonthOptions, report_month
from exporter.cost.postings import CostOwner, MoneyPosting, OwnerPhase, Postings, Segment
from exporter.cost.state import State
from exporter.ledger.ledger import Ledger
from exporter.readings import Gpu
from tests.kit.clock import clock_at
from tests.kit.units import NOVEMBER, SECOND
from tests.ledger.ticks import accrued, money, tick, tokens

NOON = NOVEMBER + 12 * 3600 * SECOND
MONTH = "--month=2026-11"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Path]:
    """The ledger of a daemon that runs: 12.34 dollars of one phase, and some tokens."""
    path = tmp_path / "ledger.db"
    running = Ledger.open(path, clock_at(NOON))
    posted = tick(NOVEMBER + 10 * SECOND, money(12_340_000_000_000), tokens=(tokens(5000),))
    running.post(posted, accrued(posted))
    yield path
    running.close()


def rows(text: str) -> list[tuple[str, str, str, str]]:
    """What is charged, how much of which unit it was, and until when."""
    reader = csv.DictReader(io.StringIO(text))
    names = ("BilledCost", "ConsumedQuantity", "ConsumedUnit", "ChargePeriodEnd")
    return [tuple(row[name] for name in names) for row in reader]  # type: ignore[misc]


ROWS = [
    ("12.34", "0.0", "GPU-Hours", "2026-11-02T00:00:00Z"),
    ("0.0", "5000.0", "Tokens", "2026-11-02T00:00:00Z"),
]


def test_a_month_goes_to_standard_output(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Read only, while the daemon has the ledger."""
    assert main(["report", "focus", MONTH, f"--ledger.path={ledger}"]) == 0
    captured = capsys.readouterr()
    assert (rows(captured.out), captured.err) == (ROWS, "")


def test_the_month_that_goes_on_is_that_of_the_time_zone(
    ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At 14:00 of 31 October in UTC it is November in Kiritimati, 14 hours ahead; days end there."""
    file = tmp_path / "ice.yaml"
    file.write_text(f"timezone: Pacific/Kiritimati\nledger: {{path: {ledger}}}\n")
    clock = clock_at(NOVEMBER - 10 * 3600 * SECOND)
    assert write_focus(FocusOptions(file, None, None, None), clock) == 0
    assert rows(capsys.readouterr().out)[0] == ("12.34", "0.0", "GPU-Hours", "2026-11-01T10:00:00Z")

    file.write_text(f"ledger: {{path: {ledger}}}\n")
    assert write_focus(FocusOptions(file, None, None, None), clock) == 1
    assert capsys.readouterr().err == f"{ledger}: the ledger has nothing of 2026-10: it has 2026-11\n"


def test_a_file_is_replaced_whole(ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was there is gone, and nothing lies beside it."""
    output = tmp_path / "out" / "focus.csv"
    output.parent.mkdir()
    output.write_text("of last week\n" * 1000)
    assert main(["report", "focus", MONTH, f"--ledger.path={ledger}", f"--output={output}"]) == 0
    assert rows(output.read_text(encoding="utf-8")) == ROWS
    assert list(output.parent.iterdir()) == [output]
    assert capsys.readouterr().out == ""


def test_a_link_goes_on_leading_to_the_file(ledger: Path, tmp_path: Path) -> None:
    """What it leads to is replaced, not the link."""
    output, link = tmp_path / "focus.csv", tmp_path / "latest.csv"
    output.write_text("of last week\n")
    link.symlink_to(output)
    assert main(["report", "focus", MONTH, f"--ledger.path={ledger}", f"--output={link}"]) == 0
    assert link.is_symlink()
    assert rows(output.read_text(encoding="utf-8")) == ROWS


def test_a_file_stays_as_it_was_when_the_month_is_not_there(
    ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 1, as for the other reports, before anything is written."""
    output = tmp_path / "focus.csv"
    output.write_text("of last week\n")
    assert main(["report", "focus", "--month=2026-09", f"--ledger.path={ledger}", f"--output={output}"]) == 1
    assert capsys.readouterr().err == f"{ledger}: the ledger has nothing of 2026-09: it has 2026-11\n"
    assert output.read_text() == "of last week\n"


@pytest.mark.parametrize(
    ("name", "why"),
    [("missing/focus.csv", "No such file or directory"), ("folder", "Is a directory")],
)
def test_a_place_that_cannot_be_written_is_told(
    name: str, why: str, ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 1, the path and the system's reason."""
    (tmp_path / "folder").mkdir()
    output = tmp_path / name
    assert main(["report", "focus", MONTH, f"--ledger.path={ledger}", f"--output={output}"]) == 1
    assert capsys.readouterr().err == f"{output}: cannot be written: {why}\n"
    assert not list(tmp_path.glob("*.partial"))


def test_a_full_disk_leaves_the_file_as_it_was(
    ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was begun beside it goes."""
    output = tmp_path / "focus.csv"
    output.write_text("of last week\n")

    def full(_self: Path, _target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    assert main(["report", "focus", MONTH, f"--ledger.path={ledger}", f"--output={output}"]) == 1
    assert capsys.readouterr().err == f"{output}: cannot be written: No space left on device\n"
    assert output.read_text() == "of last week\n"
    assert not list(tmp_path.glob("*.partial"))


def test_a_device_is_written_to_and_stays_one(ledger: Path, tmp_path: Path) -> None:
    """No file takes the place of a pipe."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "exporter", "report", "focus", MONTH, f"--ledger.path={ledger}"]
    with subprocess.Popen([*command, f"--output={pipe}"]) as writing:
        content = pipe.read_text(encoding="utf-8")
    assert writing.returncode == 0
    assert rows(content) == ROWS
    assert pipe.is_fifo()


def test_a_reader_that_has_seen_enough_gets_no_traceback(tmp_path: Path) -> None:
    """`| head` ends the report with exit status 1 and silence."""
    path = tmp_path / "ledger.db"
    running = Ledger.open(path, clock_at(NOON))
    many = (money(1, CostOwner("p", "t", "n", f"server-{number}", "m")) for number in range(2000))
    posted = tick(NOVEMBER + 10 * SECOND, *many)
    running.post(posted, accrued(posted))
    running.close()
    command = [sys.executable, "-m", "exporter", "report", "focus", MONTH, f"--ledger.path={path}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as writing:
        assert writing.stdout is not None
        assert writing.stderr is not None
        assert writing.stdout.readline().startswith(b"AllocatedMethodDetails,")
        writing.stdout.close()
        assert writing.stderr.read() == b""
    assert writing.returncode == 1


def test_labels_like_formulas_are_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are written as they are; whoever opens the file in a spreadsheet has been told."""
    path = tmp_path / "ledger.db"
    running = Ledger.open(path, clock_at(NOON))
    owner_phase = OwnerPhase(CostOwner("p", "t", "n", "s", "=1+1"), "idle")
    paid = MoneyPosting(Gpu("GPU-0", "H100"), "rent", "configured", owner_phase, 10**12)
    segment = Segment(NOVEMBER, NOVEMBER + 10 * SECOND, "2026-11", "2026-11-01", 10**12, (paid,), ())
    running.post(Postings(NOVEMBER + 10 * SECOND, (segment,), day="2026-11-01"), State(accrued=10**12))
    running.close()
    assert main(["report", "focus", MONTH, f"--ledger.path={path}"]) == 0
    captured = capsys.readouterr()
    (row,) = csv.DictReader(io.StringIO(captured.out))
    assert row["x_Model"] == "=1+1"
    assert captured.err == (
        "labels starting with =, +, -, @ or a tab are not escaped. "
        "Use --spreadsheet before opening the file in a spreadsheet.\n"
    )
    assert main(["report", "focus", MONTH, "--spreadsheet", f"--ledger.path={path}"]) == 0
    captured = capsys.readouterr()
    (row,) = csv.DictReader(io.StringIO(captured.out))
    assert (row["x_Model"], captured.err) == ("'=1+1", "")


def test_an_adjustment_is_a_row_once_it_is_posted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Entered beside the daemon, it is in no sum until the next tick; then 12.34 - 2.34 = 10 dollars."""
    path, clock = tmp_path / "ledger.db", clock_at(NOON)
    running = Ledger.open(path, clock)
    first, second = (tick(NOVEMBER + end * SECOND, money(6_170_000_000_000)) for end in (10, 20))
    running.post(first, accrued(first))
    fields = ("-2.34", "2026-11-01", "chat", None, "credit note 7")
    assert adjust(AdjustFlags(None, path, *fields), clock) == 0
    capsys.readouterr()
    assert write_focus(FocusOptions(None, path, None, None), clock) == 0
    assert [cost for cost, *_rest in rows(capsys.readouterr().out)] == ["6.17"]

    running.post(second, accrued(first, second))
    running.close()
    assert write_focus(FocusOptions(None, path, None, None), clock) == 0
    assert rows(capsys.readouterr().out) == [
        ("12.34", "0.0", "GPU-Hours", "2026-11-02T00:00:00Z"),
        ("-2.34", "", "", "2026-11-02T00:00:00Z"),
    ]
    assert report_month(MonthOptions(None, path, form="csv"), clock) == 0
    assert "\n2026-11,chat,10.00," in capsys.readouterr().out


def test_without_a_ledger_there_is_nothing_to_tell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 1 and what to do."""
    path = tmp_path / "none.db"
    assert main(["report", "focus", f"--ledger.path={path}"]) == 1
    assert capsys.readouterr().err == (
        f"{path}: there is no ledger here; name the daemon's ledger with --ledger.path or --config.file\n"
    )


@pytest.mark.parametrize("flag", ["--json", "--csv", "--by=team"])
def test_it_has_one_form(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 2: what other reports take is unknown here."""
    with pytest.raises(SystemExit) as left:
        main(["report", "focus", flag])

    assert left.value.code == 2
    assert f"unknown here: {flag}" in capsys.readouterr().err

"""`report month` and `report chargeback` beside a daemon that writes."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.cli import main
from exporter.cli.report import MONTH_BYS, MonthOptions, report_month
from exporter.cost.postings import CostOwner, MoneyPosting, OwnerPhase, Postings, Segment, TokenPosting
from exporter.cost.state import State
from exporter.ledger.ledger import Ledger
from exporter.readings import Gpu
from tests.finance.workbook_reader import needs_library, read_workbook
from tests.kit.clock import clock_at
from tests.kit.units import HOUR, NOVEMBER, SECOND

CHAT = CostOwner("chat", "assistants", "llm", "chat-8b", "llama-8b")


NOON = NOVEMBER + 12 * HOUR
"""Noon of the first of November."""


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Path]:
    """The ledger of a daemon that runs: 12.34 dollars, most of them idle, and some tokens."""
    path = tmp_path / "ledger.db"
    running = Ledger.open(path, clock_at(NOON))
    paid = tuple(
        MoneyPosting(Gpu("GPU-0", "H100"), "rent", "configured", OwnerPhase(CHAT, phase), cents * 10**10)
        for phase, cents in (("decode", 234), ("idle", 1000))
    )
    total = 12_340_000_000_000
    segment = Segment(NOVEMBER, NOVEMBER + 10 * SECOND, "2026-11", "2026-11-01", total, paid, ())
    tokens = (TokenPosting(CHAT, "generation", 5000),)
    running.post(Postings(NOVEMBER + 10 * SECOND, (segment,), tokens, day="2026-11-01"), State(accrued=total))
    yield path
    running.close()


@pytest.mark.parametrize(
    "verb", [["month", "--by=server"], ["chargeback", "--by=team,model"], ["month", "--by=model"]]
)
def test_a_terminal_of_80_columns(
    verb: list[str],
    ledger: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The table goes on below itself, of one ledger and of a folder; a pipe gets it whole."""
    month = ["report", *verb, "--month=2026-11"]
    for source in (f"--ledger.path={ledger}", f"--from={tmp_path}"):
        monkeypatch.setattr("exporter.cli.report.columns", lambda: None)
        assert main([*month, source]) == 0
        whole = tables(capsys.readouterr().out)
        monkeypatch.setattr("exporter.cli.report.columns", lambda: 80)
        assert main([*month, source]) == 0
        parts = tables(capsys.readouterr().out)

        assert max(map(len, whole)) > 80
        assert max(map(len, parts)) <= 80
        assert {word for line in whole for word in line.split()} == {
            word for line in parts for word in line.split()
        }


def tables(printed: str) -> list[str]:
    """Lines of the tables: the heading, which stands above a rule, to the total."""
    lines = printed.splitlines()
    rules = [number for number, line in enumerate(lines) if line.startswith("---")]
    return [
        line
        for above, below in zip(rules[::2], rules[1::2], strict=True)
        for line in lines[above - 1 : below + 2]
    ]


@pytest.mark.parametrize("by", MONTH_BYS)
def test_a_month_is_told_beside_the_daemon(by: str, ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Read only, while the daemon has the ledger; the total is the same whatever it is by."""
    assert main(["report", "month", "--month=2026-11", f"--by={by}", f"--ledger.path={ledger}"]) == 0
    (total,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("total")]
    assert "12.34" in total.split()


def test_a_chargeback_as_csv(
    ledger: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """10 of 12.34 dollars were idle, in the month so far: the day of the test is noon of November's first."""
    monkeypatch.setattr("exporter.cli.report.SystemClock", lambda: clock_at(NOON))
    assert main(["report", "chargeback", "--month", "2026-11", "--csv", "--ledger.path", str(ledger)]) == 0
    assert capsys.readouterr().out == (
        "month,product,team,dollars,idle_dollars,idle_ratio,gpu_hours,"
        "prompt_tokens,cached_prompt_tokens,generation_tokens,"
        "estimated_dollars,adjustment_dollars,unpriced_gpu_hours,to_date\n"
        "2026-11,chat,assistants,12.34,10.00,0.8104,0.0000,0,0,5000,0.00,0.00,0.0000,true\n"
    )


@needs_library
@pytest.mark.parametrize("verb", ["month", "chargeback"])
def test_a_report_as_a_workbook(
    verb: str, ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """12.34 dollars, 10 of them idle, of one ledger and of a folder; an older workbook is replaced."""
    file = tmp_path / "november.xlsx"
    file.write_text("older")
    for source in (f"--ledger.path={ledger}", f"--from={ledger}"):
        assert main(["report", verb, "--month=2026-11", f"--xlsx={file}", source]) == 0
        chat, total = read_workbook(file.read_bytes()).values()
        assert [chat["product"], chat["dollars"], chat["idle_dollars"]] == ["chat", "12.34", "10.00"]
        assert [total["month"], total["dollars"], total["idle_dollars"]] == ["total", "12.34", "10.00"]
        assert capsys.readouterr().out == ""
    assert chat["until_end_dollars"] == "0.00"


def test_flags_that_a_workbook_excludes(
    ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It takes the place of other forms, is no statement, and goes into a file."""
    month = ["report", "month", f"--ledger.path={ledger}", "--month=2026-11"]
    file = tmp_path / "a.xlsx"
    for flags, message in (
        ([f"--xlsx={file}", "--csv"], "--xlsx and --csv exclude each other"),
        ([f"--xlsx={file}", "--close", "--output=a.json"], "--xlsx: a statement is JSON"),
        (["--xlsx=/dev/null"], "--xlsx: /dev/null is no file"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main([*month, *flags])
        assert message in capsys.readouterr().err
    assert not file.exists()


def test_a_workbook_without_its_package(
    ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file that was there stays."""
    monkeypatch.setitem(sys.modules, "xlsxwriter", None)
    file = tmp_path / "november.xlsx"
    file.write_text("older")
    assert main(["report", "month", "--month=2026-11", f"--xlsx={file}", f"--ledger.path={ledger}"]) == 1
    assert 'pip install "inference-cost-exporter[xlsx]"' in capsys.readouterr().err
    assert file.read_text() == "older"


def test_the_path_and_the_month_come_from_the_configuration(
    ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At 14:00 of 31 October in UTC it is November in Kiritimati, 14 hours ahead."""
    file = tmp_path / "ice.yaml"
    file.write_text(f"timezone: Pacific/Kiritimati\nledger: {{path: {ledger}}}\n")
    clock = clock_at(NOVEMBER - 10 * 3600 * SECOND)
    assert report_month(MonthOptions(file, form="json"), clock) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["month"], document["to_date"], document["total"]["dollars"]) == ("2026-11", True, 12.34)

    file.write_text(f"ledger: {{path: {ledger}}}\n")
    assert report_month(MonthOptions(file, form="json"), clock) == 1
    assert capsys.readouterr().err == f"{ledger}: the ledger has nothing of 2026-10: it has 2026-11\n"


@pytest.mark.parametrize("verb", ["month", "chargeback"])
def test_without_a_ledger_there_is_nothing_to_tell(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 1 and what to do; books in memory leave no file either."""
    path = tmp_path / "none.db"
    assert main(["report", verb, f"--ledger.path={path}"]) == 1
    assert capsys.readouterr().err == (
        f"{path}: there is no ledger here; name the daemon's ledger with --ledger.path or --config.file\n"
    )


def test_a_ledger_in_which_nothing_was_posted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is empty, which is no month of zero."""
    path = tmp_path / "ledger.db"
    Ledger.open(path, clock_at(NOON)).close()
    assert main(["report", "month", "--month=2026-11", f"--ledger.path={path}"]) == 1
    assert (
        capsys.readouterr().err
        == f"{path}: the ledger has nothing of 2026-11: it is empty: a daemon posts from its second tick on\n"
    )


@pytest.mark.parametrize("text", ["2026-13", "2026-00", "2026-1", "october", "2026-10-01", "2026-1\u0660"])
def test_a_month_that_is_none_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 2 and an example."""
    with pytest.raises(SystemExit) as left:
        main(["report", "month", f"--month={text}"])

    assert left.value.code == 2
    assert f"argument --month: {text!r} is no month: expected one like 2026-10" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["report"], "the following arguments are required: month|chargeback|focus"),
        (["report", "year"], "invalid choice: 'year'"),
        (["report", "month", "--by=phase"], "invalid choice: 'phase'"),
        (["report", "month", "--json", "--csv"], "argument --csv: not allowed with argument --json"),
        (["report", "focus", "--by=team"], "unknown here: --by=team"),
        (
            ["report", "chargeback", "--by=team,phase"],
            "argument --by: 'phase' is no column: choose from day, product, team, namespace, server, model",
        ),
        (["report", "chargeback", "--by=team,team"], "argument --by: 'team,team' has a column twice"),
        (["report", "chargeback", "--idle=hidden"], "argument --idle: invalid choice: 'hidden'"),
        (["report", "month", "--since=31.10.2026"], "'31.10.2026' is no date: expected one like 2026-10-31"),
        (["report", "month", "--since=2026-02-30"], "'2026-02-30' is no date: expected one like 2026-10-31"),
        (["report", "month", "--month=2026-Q1", "--since=2026-01-01"], "--month takes the place of --since"),
        (["report", "month", "--until=2026-01-01"], "--until needs --since"),
        (
            ["report", "month", "--since=2026-01-02", "--until=2026-01-01"],
            "--until=2026-01-01 is before --since=2026-01-02",
        ),
        (["report", "month", "--overheads=equal"], "--overheads needs --from"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 2 and a message."""
    with pytest.raises(SystemExit) as left:
        main(arguments)

    assert left.value.code == 2
    assert message in capsys.readouterr().err

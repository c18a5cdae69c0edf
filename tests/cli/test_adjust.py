"""`adjust` as people run it, beside a daemon that has the ledger."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from exporter.cli import main
from exporter.cli.adjust import AdjustFlags, adjust
from exporter.cost.postings import CostOwner, MoneyPosting, OwnerPhase, Postings, Segment
from exporter.cost.state import State
from exporter.ledger.ledger import Ledger
from exporter.ledger.reader import LedgerReader
from exporter.readings import Gpu
from tests.kit.clock import clock_at
from tests.kit.units import DAY, NOVEMBER, SECOND

ROOT = Path(__file__).parents[2]
CHAT = CostOwner("chat", "assistants", "llm", "chat-8b", "llama-8b")
INVOICE = "invoice 4711: 2 h of a host that never started"
NAME_IT = "; name the daemon's ledger with --ledger.path or --config.file\n"


NOW = NOVEMBER + 24 * DAY + DAY // 2
"""Noon of 25 November 2026."""


@dataclass
class Host:
    """A daemon's ledger, which it has open."""

    path: Path
    ledger: Ledger
    posted: list[Postings] = field(default_factory=list)

    def tick(self) -> None:
        """One of 10 s that accrues a dollar."""
        end = NOVEMBER + (len(self.posted) + 1) * 10 * SECOND
        spent = (
            MoneyPosting(Gpu("GPU-0", "H100"), "rent", "configured", OwnerPhase(CHAT, "decode"), 10**12),
        )
        segment = Segment(end - 10 * SECOND, end, "2026-11", "2026-11-01", 10**12, spent, ())
        self.posted.append(Postings(end, (segment,), day="2026-11-01"))
        self.ledger.post(self.posted[-1], State(accrued=len(self.posted) * 10**12))


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """A daemon that took one tick."""
    path = tmp_path / "ledger.db"
    host = Host(path, Ledger.open(path, clock_at(NOW)))
    host.tick()
    yield host
    host.ledger.close()


@pytest.fixture
def flags(host: Host) -> AdjustFlags:
    """What finance would write."""
    return AdjustFlags(None, host.path, "-12.34", "2026-10-31", "chat", None, INVOICE)


def amounts(path: Path, month: str = "2026-10") -> list[int]:
    with LedgerReader.open(path) as reader:
        return [each.amount for each in reader.month(month).adjustments]


def test_it_says_what_it_entered_and_when_it_counts(
    host: Host, flags: AdjustFlags, capsys: pytest.CaptureFixture[str]
) -> None:
    """The row's number, every field of it, and whose next tick posts it."""
    assert adjust(flags, clock_at(NOW)) == 0
    assert capsys.readouterr().out == (
        f"{host.path}: adjustment 1 is entered: -12.34 dollars, 2026-10-31, product chat, team assistants: "
        f'"{INVOICE}"\nThe daemon (process {os.getpid()}) posts it at its next tick; until then reports '
        "show it as waiting.\nWith all that waits, 2026-10 then comes to -12.34 dollars, product chat to "
        "-12.34.\n"
    )
    assert amounts(host.path) == [-12_340_000_000_000]


def test_without_a_daemon_it_says_that_too(
    host: Host, flags: AdjustFlags, capsys: pytest.CaptureFixture[str]
) -> None:
    """What waits is posted by the next one."""
    host.ledger.close()
    assert adjust(flags, clock_at(NOW)) == 0
    assert capsys.readouterr().out.splitlines()[1] == (
        "No daemon has this ledger now; the next one posts it at its first tick; until then reports show it "
        "as waiting."
    )


def test_from_the_command_line_to_the_report(
    host: Host, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A minus after a space is no flag; the report has it waiting, and after a tick posted."""
    monkeypatch.setattr("exporter.cli.adjust.SystemClock", lambda: clock_at(NOW))
    ledger = f"--ledger.path={host.path}"
    arguments = ["adjust", "--amount", "-0.25", "--date", "2026-11-01", "--product=chat", "--reason", "half"]
    month = ["report", "month", "--month=2026-11", "--by=component", ledger]
    assert main([*arguments, ledger]) == 0
    capsys.readouterr()
    assert main(month) == 0
    waiting = capsys.readouterr().out
    host.tick()
    assert main(month) == 0
    posted = capsys.readouterr().out
    assert main([*month, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)

    sentence = '-0.25 dollars of 2026-11-01 to product chat, team assistants: "half".\n'
    assert waiting.endswith(f"adjustment 1 waits for the daemon and is in no sum: {sentence}")
    assert [line.split() for line in waiting.splitlines() if line.startswith("total")] == [["total", "1.00"]]
    assert posted.endswith(f"adjustment 1: {sentence}")
    assert [line.split() for line in posted.splitlines() if line.startswith(("rent", "adj", "total"))] == [
        ["rent", "2.00"],
        ["adjustment", "-0.25"],
        ["total", "1.75"],
        ["adjustment", "1:", *sentence.split()],
    ]
    assert [row["picodollars"] for row in document["rows"]] == [2 * 10**12, -(10**12) // 4]


@pytest.mark.parametrize(
    ("text", "picodollars"),
    [
        ("-12.34", -12_340_000_000_000),
        ("+1", 10**12),
        ("0.000000000001", 1),
        (".5", 5 * 10**11),
        ("7.", 7 * 10**12),
        ("000001000000.000000000000000", 10**18),
        ("-1000000", -(10**18)),
        ("0.1", 10**11),
    ],
)
def test_an_amount_is_exact(host: Host, flags: AdjustFlags, text: str, picodollars: int) -> None:
    """To the picodollar, from its digits."""
    assert adjust(replace(flags, amount=text), clock_at(NOW)) == 0
    assert amounts(host.path) == [picodollars]


NO_AMOUNT = (
    "is no amount: write digits, with a point for cents and a minus for what is to be taken off, like -12.34"
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *(
            (text, f'"{text}" {NO_AMOUNT}')
            for text in (
                "",
                "-",
                ".",
                "nan",
                "inf",
                "-Infinity",
                "1e3",
                "1E-3",
                "12,50",
                "1_000",
                "$5",
                "0x10",
            )
        ),
        ("1 000", f'"1 000" {NO_AMOUNT}'),
        ("\u0661\u0662", f'"\u0661\u0662" {NO_AMOUNT}'),
        ("--5", f'"--5" {NO_AMOUNT}'),
        ("1\n", f'"1?" {NO_AMOUNT}'),
        ("1" * 60, f'"{"1" * 40}..." {NO_AMOUNT}'),
        ("0", '"0" would change nothing'),
        ("-0.000", '"-0.000" would change nothing'),
        ("0.0000000000001", '"0.0000000000001" has more than 12 decimals; round it'),
        ("1000000.000000000001", '"1000000.000000000001" is out of range: dollars, -1000000 to 1000000'),
        ("-1000001", '"-1000001" is out of range: dollars, -1000000 to 1000000'),
    ],
)
def test_an_amount_that_is_none(
    host: Host, flags: AdjustFlags, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 2, and nothing is entered."""
    assert adjust(replace(flags, amount=text), clock_at(NOW)) == 2
    assert capsys.readouterr().err == f"--amount: {message}\n"
    assert amounts(host.path) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2026-02-30", "2026-02-30 does not exist in the calendar"),
        ("2026-02-29", "2026-02-29 does not exist in the calendar"),
        ("2026-13-01", "2026-13-01 does not exist in the calendar"),
        ("0000-01-01", "0000-01-01 does not exist in the calendar"),
        ("2026-11-26", "2026-11-26 is in the future: today is 2026-11-25 in UTC"),
        ("9999-12-31", "9999-12-31 is in the future: today is 2026-11-25 in UTC"),
        ("2025-10-31", "2025-10-31 is before 2025-11-01, from where on history is kept (13 months)"),
        ("2026-1-1", '"2026-1-1" is no date: expected one like 2026-11-25'),
        ("31.10.2026", '"31.10.2026" is no date: expected one like 2026-11-25'),
        ("2026-W44-6", '"2026-W44-6" is no date: expected one like 2026-11-25'),
        ("20261031", '"20261031" is no date: expected one like 2026-11-25'),
        ("2026-10-31T00:00", '"2026-10-31T00:00" is no date: expected one like 2026-11-25'),
        ("2026-10-3\u0661", '"2026-10-3\u0661" is no date: expected one like 2026-11-25'),
        ("", '"" is no date: expected one like 2026-11-25'),
    ],
)
def test_a_date_that_is_none(
    host: Host, flags: AdjustFlags, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 2, and nothing is entered."""
    assert adjust(replace(flags, date=text), clock_at(NOW)) == 2
    assert capsys.readouterr().err == f"--date: {message}\n"
    assert amounts(host.path) == []


def test_the_first_and_the_last_date_that_are_taken(host: Host, flags: AdjustFlags, tmp_path: Path) -> None:
    """This month and the twelve before it; in Kiritimati, 14 hours ahead, it is tomorrow already."""
    assert adjust(replace(flags, date="2025-11-01"), clock_at(NOW)) == 0
    assert adjust(replace(flags, date="2026-11-25"), clock_at(NOW)) == 0
    file = tmp_path / "ice.yaml"
    file.write_text("timezone: Pacific/Kiritimati\n")
    assert adjust(replace(flags, date="2026-11-26", config_file=file), clock_at(NOW)) == 0
    assert [len(amounts(host.path, month)) for month in ("2025-11", "2026-11")] == [1, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is blank: give the reason of the correction"),
        (" \t\n", "is blank: give the reason of the correction"),
        ("two\nlines", "has characters that cannot be printed, or more than one line"),
        ("\x1b[2J", "has characters that cannot be printed, or more than one line"),
        ("right\u202eleft", "has characters that cannot be printed, or more than one line"),
        ("no text \udcff", "has characters that cannot be printed, or more than one line"),
        ("x" * 501, "has 501 characters, at most 500 are kept"),
    ],
)
def test_a_reason_that_is_none(
    host: Host, flags: AdjustFlags, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 2, and nothing is entered."""
    assert adjust(replace(flags, reason=text), clock_at(NOW)) == 2
    assert capsys.readouterr().err == f"--reason: {message}\n"
    assert amounts(host.path) == []


def test_a_reason_may_be_long_and_in_any_script(host: Host, flags: AdjustFlags) -> None:
    """500 characters, spaces around them aside."""
    assert adjust(replace(flags, reason=f"  {'ß' * 500} "), clock_at(NOW)) == 0
    with LedgerReader.open(host.path) as reader:
        (row,) = reader.month("2026-10").adjustments
    assert row.reason == "ß" * 500


@pytest.mark.parametrize("missing", ["--amount", "--date", "--product", "--reason"])
def test_what_must_be_said(missing: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 2 and the flag's name."""
    given = {"--amount": "1", "--date": "2026-11-01", "--product": "chat", "--reason": "why"}
    with pytest.raises(SystemExit) as left:
        main(["adjust", *(f"{flag}={value}" for flag, value in given.items() if flag != missing)])

    assert left.value.code == 2
    assert f"the following arguments are required: {missing}" in capsys.readouterr().err


def test_products_and_teams_are_those_of_the_ledger_and_the_configuration(
    flags: AdjustFlags, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rules and budgets name some; what is none is told with the nearest."""
    file = tmp_path / "ice.yaml"
    file.write_text(
        "ownership: {rules: [{match: {server: s}, product: search, team: retrieval},\n"
        "  {match: {server: t}, product: search, team: ranking}, {match: {server: u}, product: lab}]}\n"
        "budgets: [{name: b, match: {product: batch}, dollars_per_month: 5},"
        " {name: all, dollars_per_month: 9}]\n"
    )
    flags = replace(flags, config_file=file, amount="12.34", date="2026-11-01")
    results = [
        adjust(replace(flags, product="serach"), clock_at(NOW)),
        adjust(replace(flags, product="search"), clock_at(NOW)),
        adjust(replace(flags, product="search", team="rank"), clock_at(NOW)),
        adjust(replace(flags, product="search", team="ranking"), clock_at(NOW)),
        adjust(replace(flags, product="batch"), clock_at(NOW)),
        adjust(replace(flags, product="lab"), clock_at(NOW)),
    ]
    captured = capsys.readouterr()

    assert results == [2, 2, 2, 0, 0, 0]
    assert captured.err == (
        'neither the ledger nor the configuration knows product "serach"; did you mean search? '
        "they know: batch, chat, lab, search, unassigned\n"
        "product search has several teams, say which with --team: ranking, retrieval\n"
        'product search has no team "rank"; it has: ranking, retrieval\n'
    )
    assert "product search, team ranking: " in captured.out
    assert "product batch, team unassigned: " in captured.out
    assert "product lab, team unassigned: " in captured.out


def test_the_configuration_says_where_the_ledger_is(host: Host, flags: AdjustFlags, tmp_path: Path) -> None:
    """Without the flag, the daemon's own configuration is asked."""
    file = tmp_path / "ice.yaml"
    file.write_text(f"ledger: {{path: {host.path}}}\n")
    assert adjust(replace(flags, config_file=file, ledger_path=None), clock_at(NOW)) == 0
    assert amounts(host.path) == [-12_340_000_000_000]


def test_places_without_a_ledger(
    flags: AdjustFlags, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 1, and what to do."""
    none, notes = tmp_path / "none.db", tmp_path / "notes.txt"
    notes.write_text("these are no books\n")
    for path, message in (
        (none, f"{none}: there is no ledger here"),
        (tmp_path, f"{tmp_path} is a directory"),
        (notes, f"{notes} is no ledger that can be adjusted: file is not a database"),
    ):
        assert adjust(replace(flags, ledger_path=path), clock_at(NOW)) == 1
        assert capsys.readouterr().err == f"{message}{NAME_IT}"


def test_a_wrong_configuration(
    flags: AdjustFlags, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 2, with its place."""
    file = tmp_path / "ice.yaml"
    file.write_text("intervall: 10s\n")
    assert adjust(replace(flags, config_file=file), clock_at(NOW)) == 2
    assert capsys.readouterr().err.startswith(f"{file}:1:1: intervall: unknown key")


def test_a_relative_path_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """As by the other verbs."""
    with pytest.raises(SystemExit) as left:
        main(["adjust", "--ledger.path=ledger.db"])

    assert left.value.code == 2
    assert "argument --ledger.path: 'ledger.db' is no absolute path" in capsys.readouterr().err


def test_as_a_process_of_its_own(host: Host) -> None:
    """Text that is no UTF-8 on the command line is refused, not a trace."""
    today = datetime.now(UTC).date().isoformat()
    command = [
        *(sys.executable, "-m", "exporter", "adjust", "--amount=1", f"--date={today}", "--product=chat"),
        f"--ledger.path={host.path}",
    ]
    good = subprocess.run([*command, "--reason=why"], cwd=ROOT, capture_output=True, text=True, check=False)
    bad = subprocess.run([*command, b"--reason=\xff"], cwd=ROOT, capture_output=True, text=True, check=False)

    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.startswith(f"{host.path}: adjustment 1 is entered: 1.00 dollars, {today}, ")
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr == "--reason: has characters that cannot be printed, or more than one line\n"

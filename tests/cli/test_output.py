"""Verbs whose answer cannot be written: a full disk, an output that is closed, a reader that has gone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.clock import SystemClock
from exporter.cost.postings import CostOwner, MoneyPosting, OwnerPhase, Postings, Segment
from exporter.cost.state import State
from exporter.ledger.ledger import Ledger
from exporter.ledger.reader import LedgerReader
from exporter.readings import Gpu
from tests.kit.units import SECOND
from tests.nightly import daily

ROOT = Path(__file__).parents[2]
FULL = "standard output cannot be written: No space left on device\n"
CLOSED = "standard output cannot be written: Bad file descriptor\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with a dollar of November 2026 in it, of a product that is no ASCII; a file, and a bill."""
    folder = tmp_path_factory.mktemp("books")
    owner_phase, end = (
        OwnerPhase(CostOwner("caf\u00e9", "assistants", "", "chat", "m"), "decode"),
        1_793_491_201 * SECOND,
    )
    money = (MoneyPosting(Gpu("GPU-0", "H100"), "rent", "configured", owner_phase, 10**12),)
    segment = Segment(end - SECOND, end, "2026-11", "2026-11-01", 10**12, money, ())
    ledger = Ledger.open(folder / "ledger.db", SystemClock())
    ledger.post(Postings(end, (segment,), day="2026-11-01", zone="UTC"), State(accrued=10**12, wall=end))
    ledger.close()
    (folder / "ice.yaml").write_text(f"ledger: {{path: {folder}/ledger.db}}\n", encoding="utf-8")
    (folder / "bill.csv").write_text("2026-11-01,1\n", encoding="utf-8")
    return folder


def run(arguments: list[str], redirection: str, **environment: str) -> tuple[int, str, str]:
    """Status, output and errors of the exporter, called as a shell does."""
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" "$@" {redirection}', sys.executable, "-m", "exporter", *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


VERBS = {
    "help": ["report", "month", "--help"],
    "check-config": ["check-config", "--config.file={folder}/ice.yaml"],
    "report month": ["report", "month", "--month=2026-11", "--config.file={folder}/ice.yaml"],
    "report focus": ["report", "focus", "--month=2026-11", "--config.file={folder}/ice.yaml"],
    "reconcile": ["reconcile", "--invoice={folder}/bill.csv", "--config.file={folder}/ice.yaml"],
    "tco": ["tco", "--list"],
    "demo": ["demo", "--print-prometheus-config"],
}
EACH_DAY = {"report month", "tco"}
"""A long answer, and a short one."""


def arguments_of(verb: str, folder: Path) -> list[str]:
    return [word.format(folder=folder) for word in VERBS[verb]]


@pytest.mark.parametrize("verb", daily(VERBS, EACH_DAY))
def test_a_full_disk(verb: str, folder: Path) -> None:
    """Status 1 and one line, whether the answer is short or long."""
    assert run(arguments_of(verb, folder), "> /dev/full") == (1, "", FULL)


@pytest.mark.parametrize("verb", daily(("help", "report focus", "tco"), EACH_DAY))
def test_an_output_that_is_closed(verb: str, folder: Path) -> None:
    """As for a full disk."""
    assert run(arguments_of(verb, folder), ">&-") == (1, "", CLOSED)


@pytest.mark.parametrize("verb", daily(("check-config", "report month"), EACH_DAY))
def test_a_reader_that_has_gone(verb: str, folder: Path) -> None:
    """Status 1 and silence."""
    reading, writing = os.pipe()
    os.close(reading)
    with subprocess.Popen(
        [sys.executable, "-m", "exporter", *arguments_of(verb, folder)],
        cwd=ROOT,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        os.close(writing)
        assert running.communicate(timeout=120)[1] == ""
    assert running.returncode == 1


def test_what_was_entered_stays_entered(folder: Path) -> None:
    """The adjustment is in the ledger, though nobody could be told of it."""
    words = ["--amount=1", "--date=2026-11-01", "--product=unassigned", "--reason=why"]
    outcome = run(["adjust", *words, f"--ledger.path={folder}/ledger.db"], "> /dev/full")
    assert outcome == (1, "", FULL)
    with LedgerReader.open(folder / "ledger.db") as reader:
        assert [each.reason for each in reader.adjustments(20261101, 20261101)] == ["why"]


@pytest.mark.parametrize("redirection", daily(("2> /dev/full", "2>&-"), {"2>&-"}))
def test_errors_that_cannot_be_told_change_no_status(redirection: str, folder: Path) -> None:
    """It is the verb's own, and its answer is whole."""
    status, output, _ = run(arguments_of("report month", folder), redirection)
    assert (status, "caf\u00e9" in output) == (0, True)
    assert run(["report", "month", f"--ledger.path={folder}/none.db"], redirection) == (1, "", "")


def test_an_output_that_has_no_such_character(folder: Path) -> None:
    """A terminal of ASCII, as some containers have it: which one it is, and no traceback."""
    status, _, errors = run(
        arguments_of("report focus", folder), "", PYTHONIOENCODING="ascii", PYTHONUTF8="0"
    )
    assert (status, errors) == (
        1,
        "standard output cannot be written: its encoding ascii has no '\\xe9'\n",
    )

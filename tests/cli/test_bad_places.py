"""What is in the ledger's place and is no ledger: what each verb says to the letter; all stays as it was.

What the daemon says is told by the end-to-end tests.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from exporter.cli import main
from exporter.clock import SystemClock
from exporter.cost.postings import CostOwner, MoneyPosting, OwnerPhase, Postings, Segment
from exporter.cost.state import State
from exporter.ledger.ledger import Ledger
from exporter.readings import Gpu
from tests import unprivileged
from tests.nightly import daily

ROOT = Path(__file__).parents[2]
OTHERS = "a folder that cannot be entered"
SHUT = (OTHERS, "a read-only directory")
NAME_IT = "name the daemon's ledger with --ledger.path or --config.file"
DENIED = "cannot be read (Permission denied): run this as the user that the daemon runs as"
MEMORY = "the ledger would be in memory and end with the daemon"
MOVES = (
    "the daemon would move it to {path}.corrupt-1 and begin a new ledger at zero; "
    "put a copy of the ledger in its place, or set --ledger.path to the right file"
)


Outcome = tuple[int, str, str]
"""Status, output and errors of the exporter."""


def run(*arguments: str) -> Outcome:
    """It runs as a process of a user without rights."""
    done = subprocess.run(
        unprivileged.command(sys.executable, "-m", "exporter", *arguments),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def run_verb(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Runs it at a place: in this process, which is quicker, where rights make no difference."""

    def run_in(situation: str, *arguments: str) -> Outcome:
        if situation in SHUT:
            return run(*arguments)
        status = main(list(arguments))
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run_in


def make(situation: str, folder: Path) -> Path:
    """A path where something is wrong."""
    path = folder / "ledger.db"
    if situation == "a directory":
        path.mkdir()
    elif situation == "a corrupt file":
        path.write_bytes(b"these are no books\n" * 100)
    elif situation == "a torn file":
        Ledger.open(path, SystemClock()).close()
        path.write_bytes(path.read_bytes()[:5000])
    elif situation == "an empty file":
        path.touch()
    elif situation == "a read-only directory":
        (folder / "shut").mkdir()
        path = folder / "shut" / "ledger.db"
        Ledger.open(path, SystemClock()).close()
        path.with_name("ledger.db.lock").unlink()
        path.chmod(0o444)
        path.parent.chmod(0o555)
    elif situation == OTHERS:
        (folder / "shut").mkdir()
        path = folder / "shut" / "ledger.db"
        Ledger.open(path, SystemClock()).close()
        path.parent.chmod(0o000)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for shut in tmp_path.glob("shut"):
        shut.chmod(0o755)


def snapshot(folder: Path) -> dict[str, object]:
    """Everything in a folder."""
    return {str(file): file.read_bytes() if file.is_file() else None for file in folder.rglob("*")}


REPORTS = {
    "a directory": f"{{path}} is a directory; {NAME_IT}\n",
    "a corrupt file": f"{{path}} is no ledger that can be read: file is not a database; {NAME_IT}\n",
    "a torn file": f"{{path}} is no ledger that can be read: database disk image is malformed; {NAME_IT}\n",
    "an empty file": f"{{path}} is empty: no daemon has begun it; {NAME_IT}\n",
    OTHERS: f"{{path}} {DENIED}; {NAME_IT}\n",
    "nothing": f"{{path}}: there is no ledger here; {NAME_IT}\n",
}


@pytest.mark.parametrize("situation", REPORTS)
@pytest.mark.parametrize("verb", daily(("month", "chargeback"), {"month"}))
def test_a_report(verb: str, situation: str, folder: Path, run_verb: Callable[..., Outcome]) -> None:
    """Status 1 and one line."""
    path = make(situation, folder)
    before = snapshot(folder)

    assert run_verb(situation, "report", verb, f"--ledger.path={path}") == (
        1,
        "",
        REPORTS[situation].format(path=path),
    )
    assert snapshot(folder) == before


ADOPTING = {
    "a directory": f"{{path}} is a directory; {NAME_IT}\n",
    "a corrupt file": f"{{path}} is no ledger that can be adopted: file is not a database; {NAME_IT}\n",
    "an empty file": f"{{path}} is empty: no daemon has begun it; {NAME_IT}\n",
    "a read-only directory": (
        "{path} cannot be written (Permission denied): run this as the user that the daemon runs as\n"
    ),
    OTHERS: f"{{path}} {DENIED}; {NAME_IT}\n",
    "nothing": f"{{path}}: there is no ledger here; {NAME_IT}\n",
}


@pytest.mark.parametrize("situation", ADOPTING)
def test_adopting(situation: str, folder: Path, run_verb: Callable[..., Outcome]) -> None:
    """Status 1, one line, and no lock is left behind."""
    path = make(situation, folder)
    before = snapshot(folder)

    outcome = run_verb(situation, "ledger", "adopt", f"--ledger.path={path}")
    assert outcome == (1, "", ADOPTING[situation].format(path=path))
    assert snapshot(folder) == before


DOCTOR = {
    "a directory": f"{{path}} is a directory: {MEMORY}; name a file, such as {{path}}/ledger.db",
    "a corrupt file": f"{{path}} is no ledger that can be read: file is not a database: {MOVES}",
    "a torn file": f"{{path}} is no ledger that can be read: database disk image is malformed: {MOVES}",
    "a read-only directory": (
        f"{{path.parent}} cannot be written by this user (uid {os.geteuid()}): the daemon would serve these "
        "totals as they are, and lose what came since when it ends; make {path.parent} writable, set "
        "--ledger.path to a file elsewhere, or run this as the daemon's user"
    ),
    OTHERS: (
        f"{{path.parent}} cannot be written by this user (uid {os.geteuid()}): {MEMORY}; "
        "make {path.parent} writable, set --ledger.path to a file elsewhere, "
        "or run this as the daemon's user"
    ),
}


@pytest.mark.parametrize("situation", DOCTOR)
def test_the_doctor(situation: str, folder: Path, run_verb: Callable[..., Outcome]) -> None:
    """A finding with the remedy in it."""
    path = make(situation, folder)
    before = snapshot(folder)
    _status, output, errors = run_verb(situation, "doctor", f"--ledger.path={path}")
    findings = [line.strip() for line in output.splitlines() if line.strip().startswith("warning: ledger")]

    assert (findings, errors) == ([f"warning: ledger: {DOCTOR[situation].format(path=path)}"], "")
    assert snapshot(folder) == before


SCENARIO = """\
name: theirs
horizon_years: 1
options: [{name: b, hosted: {prompt_dollars_per_million_tokens: 1, generation_dollars_per_million_tokens: 1}}]
"""
ASKING = {
    "focus": ["report", "focus"],
    "explain": ["explain"],
    "reconcile": ["reconcile", "--invoice={folder}/bill.csv"],
    "adjust": ["adjust", "--amount=1", "--date=2026-10-31", "--product=chat", "--reason=why"],
    "tco": ["tco", "{folder}/scenario.yaml", "--measured"],
}


@pytest.mark.parametrize("verb", daily(ASKING, {"focus", "explain"}))
def test_the_books_of_others(verb: str, folder: Path) -> None:
    """Whatever is asked of a ledger in a folder that this user may not enter: status 1 and one line."""
    (folder / "bill.csv").write_text("2026-10-01,1\n", encoding="utf-8")
    (folder / "scenario.yaml").write_text(SCENARIO, encoding="utf-8")
    path = make(OTHERS, folder)
    words = [word.format(folder=folder) for word in ASKING[verb]]
    assert run(*words, f"--ledger.path={path}") == (1, "", f"{path} {DENIED}; {NAME_IT}\n")


WRITING = {
    "focus": (
        ["report", "focus", "--month=2026-11", "--ledger.path={folder}/own.db", "--output={file}"],
        "{file}: cannot be written: Permission denied\n",
    ),
    "record": (
        ["record", "--url=http://127.0.0.1:9", "--output={file}"],
        "{file}: cannot be written: Permission denied\n",
    ),
    "tco": (
        ["tco", "--example=four-ways", "--svg={file}"],
        "{file}: cannot be written: Permission denied\n",
    ),
    "reconcile": (
        ["reconcile", "--invoice={file}", "--ledger.path={folder}/own.db"],
        "{file}: cannot be read: Permission denied\n",
    ),
}


@pytest.mark.parametrize("verb", daily(WRITING, {"focus"}))
def test_a_file_that_is_named_in_a_folder_of_others(verb: str, folder: Path) -> None:
    """What is to be read or written there: status 1 and one line, which names it."""
    posted(folder / "own.db")
    file = make(OTHERS, folder).with_name("file")
    words, message = WRITING[verb]
    outcome = run(*(word.format(folder=folder, file=file) for word in words))
    assert outcome == (1, "", message.format(file=file))


def posted(path: Path) -> None:
    """A ledger of this user's with a second of November in it."""
    owner_phase, end = (
        OwnerPhase(CostOwner("chat", "assistants", "", "chat", "m"), "decode"),
        1_793_491_201 * 10**9,
    )
    money = (MoneyPosting(Gpu("GPU-0", "H100"), "rent", "configured", owner_phase, 10**12),)
    segment = Segment(end - 10**9, end, "2026-11", "2026-11-01", 10**12, money, ())
    ledger = Ledger.open(path, SystemClock())
    ledger.post(Postings(end, (segment,), day="2026-11-01"), State(accrued=10**12))
    ledger.close()


BAD_INPUT = {
    "hardware: [{rented: {dollars_per_gpu_hour: -2}}]\n": (
        '{file}:1:44: hardware[0].rented.dollars_per_gpu_hour: "-2" is out of range: '
        "dollars per hour, 0 to 10000\n"
    ),
    "hardware: [{rented: {prices: [{from: 2026-02-30, dollars_per_gpu_hour: 2}]}}]\n": (
        '{file}:1:38: hardware[0].rented.prices[0].from: "2026-02-30" does not exist: '
        "day is out of range for month\n"
    ),
}


VERBS = [("serve",), ("doctor",), ("report", "month"), ("ledger", "adopt"), ("check-config",)]


@pytest.mark.parametrize("content", BAD_INPUT)
@pytest.mark.parametrize("verb", VERBS)
def test_a_price_below_nothing_and_a_day_that_is_none(
    verb: tuple[str, ...], content: str, tmp_path: Path, run_verb: Callable[..., Outcome]
) -> None:
    """Every verb refuses with status 2, the place in the file and what is right; no ledger is touched."""
    file = tmp_path / "ice.yaml"
    file.write_text(content)

    assert run_verb("", *verb, f"--config.file={file}") == (2, "", BAD_INPUT[content].format(file=file))
    assert list(tmp_path.iterdir()) == [file]

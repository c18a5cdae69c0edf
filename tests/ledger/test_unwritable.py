"""Ledgers that can be read and not written: their id and totals are served, and no time is counted twice."""

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from exporter.cost.state import GpuState, State
from exporter.ledger import files
from exporter.ledger.ledger import Ledger
from exporter.ledger.open_file import FilePresence
from exporter.ledger.reader import LedgerReader
from tests import rights, tmpfs, unprivileged
from tests.kit.clock import ManualClock
from tests.ledger.ticks import GPU_0, accrued, expected_totals, numbered, post
from tests.nightly import daily

ROOT = Path(__file__).parents[2]
MONTHS = ("2026-11",)
STANDS_STILL = (
    "{} cannot be written ({}): totals stand still, metering goes on in memory and is written as soon as it "
    "can be; make the place writable, or set --ledger.path to one that is"
)


def made(path: Path, clock: ManualClock, ticks: int = 3) -> str:
    """A ledger of some ticks that was closed; its id."""
    ledger = Ledger.open(path, clock)
    post(ledger, *range(1, ticks + 1))
    ledger.close()
    return ledger.id


class Refusing:
    """Opens connections as a disk that nothing can be written to, until it can."""

    def __init__(self) -> None:
        self.writable = False

    def __call__(self, uri: str) -> sqlite3.Connection:
        if not self.writable and "mode=ro" not in uri:
            raise sqlite3.OperationalError("unable to open database file")
        return sqlite3.connect(uri, uri=True, isolation_level=None)


def test_totals_stand_still_under_the_id_of_the_file(path: Path, clock: ManualClock) -> None:
    """What is served is what is in the file, and the next tick has its state to go on from."""
    ledger_id = made(path, clock)
    ledger = Ledger.open(path, clock, connect=Refusing())
    before = ledger.remembered()
    assert ledger.problem == STANDS_STILL.format(path, "unable to open database file")
    post(ledger, 4, 5)
    totals = ledger.totals(0, MONTHS)
    ledger.close()

    assert (ledger.id, before.wall) == (ledger_id, numbered(3).end)
    assert (totals.persistent, totals.writable, totals.unread) == (True, False, False)
    assert expected_totals(3).differences(totals) == {}
    assert ledger.remembered() == accrued(*map(numbered, range(1, 6)))


def test_all_is_written_when_it_can_be(path: Path, clock: ManualClock) -> None:
    """The ticks since the start are in the file with the first one that can be written, once each."""
    ledger_id, disk = made(path, clock), Refusing()
    ledger = Ledger.open(path, clock, connect=disk)
    post(ledger, 4, 5)
    disk.writable = True
    post(ledger, 6)
    totals = ledger.totals(0, MONTHS)
    assert (ledger.writable, ledger.problem, expected_totals(6).differences(totals)) == (True, "", {})
    ledger.close()
    with LedgerReader.open(path) as reader:
        assert (reader.id, expected_totals(6).differences(reader.totals(0, MONTHS))) == (
            ledger_id,
            {},
        )


def test_marks_that_another_program_took_meanwhile_are_written_again(path: Path, clock: ManualClock) -> None:
    """A file that is not open may change: the first write replaces its marks, those that it read too."""
    state = State(gpus={"GPU-0": GpuState(GPU_0, 0, energy_mark=1)})
    first = Ledger.open(path, clock)
    first.post(numbered(1), state)
    first.close()
    disk = Refusing()
    ledger = Ledger.open(path, clock, connect=disk)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DELETE FROM state WHERE scope = 'gpu'")
    disk.writable = True
    ledger.post(numbered(2), state)
    ledger.close()
    again = Ledger.open(path, clock)
    gpus = again.state().gpus
    again.close()

    assert gpus["GPU-0"].energy_mark == 1


def test_a_restart_finds_the_file_as_it_was_read(path: Path, clock: ManualClock) -> None:
    """So the time since its last tick is charged once, as for a daemon that was down."""
    ledger_id = made(path, clock)
    ledger = Ledger.open(path, clock, connect=Refusing())
    post(ledger, 4, 5)
    ledger.close()
    again = Ledger.open(path, clock)
    assert (again.id, again.state().wall) == (ledger_id, numbered(3).end)
    assert expected_totals(3).differences(again.totals(0, MONTHS)) == {}
    again.close()


@pytest.mark.parametrize("content", [None, b""])
def test_a_ledger_in_memory_without_a_file_counts_nothing_twice(
    path: Path, clock: ManualClock, content: bytes | None
) -> None:
    """Nobody else counted that time: a new id, totals that rise, and no word of counting twice."""
    if content is not None:
        path.write_bytes(content)
    ledger = Ledger.open(path, clock, connect=Refusing())
    post(ledger, 1, 2)
    totals = ledger.totals(0, MONTHS)
    ledger.close()

    assert (totals.persistent, totals.writable, totals.unread) == (False, True, False)
    assert expected_totals(2).differences(totals) == {}
    assert "twice" not in ledger.problem


def test_a_ledger_that_cannot_be_read_either(path: Path, clock: ManualClock) -> None:
    """A new id, and a word that its time may be counted twice."""
    ledger_id = made(path, clock)

    def refuse(_uri: str) -> sqlite3.Connection:
        raise sqlite3.OperationalError("disk I/O error")

    ledger = Ledger.open(path, clock, connect=refuse)
    totals = ledger.totals(0, MONTHS)
    ledger.close()

    assert (ledger.id == ledger_id, totals.persistent, totals.unread) == (False, False, True)
    assert ledger.problem == (
        f"{path} cannot be written (disk I/O error) and cannot be read (disk I/O error): the ledger is in "
        "memory and ends with this process; once it can be read, what is counted meanwhile may be counted "
        "twice; make the place writable, or set --ledger.path to one that is"
    )


ON_A_READ_ONLY_DISK = """
import json, subprocess, sys
from pathlib import Path
from exporter.ledger.ledger import Ledger
from exporter.ledger.files import lock_holder
from tests.ledger.test_unwritable import MONTHS
from tests.kit.clock import clock_at
from tests.ledger.ticks import expected_totals, post

def remount(how):
    subprocess.run(["mount", "-o", f"remount,bind,{how}", sys.argv[1]], check=True)

path, states = Path(sys.argv[1]) / "ledger.db", []

def record(ledger, ticks):
    totals = ledger.totals(0, MONTHS)
    differences = [str(family) for family in expected_totals(ticks).differences(totals)]
    states.append([ledger.id, totals.persistent, totals.writable, differences])

remount("ro")
ledger = Ledger.open(path, clock_at())
problem = ledger.problem
record(ledger, 3)
post(ledger, 4)
record(ledger, 3)
remount("rw")
post(ledger, 5)
record(ledger, 5)
locked = Path(f"{path}.lock").exists()
ledger.close()
again = Ledger.open(path, clock_at())
record(again, 5)
again.close()
print(json.dumps([problem, locked, states]))
"""

KILLED = """
import os, sys
from pathlib import Path
from exporter.ledger.ledger import Ledger
from tests.ledger.test_unwritable import post
from tests.kit.clock import clock_at

ledger = Ledger.open(Path(sys.argv[1]), clock_at())
post(ledger, 1, 2, 3)
print(ledger.id, flush=True)
os._exit(0)
"""


@pytest.mark.parametrize("left", daily(("closed", "killed", "killed, without a lock"), {"killed"}))
def test_a_start_on_a_read_only_file_system(path: Path, clock: ManualClock, left: str) -> None:
    """A real one: with the log that a killed daemon left too. Writable again, it is locked and written."""
    if not tmpfs.mountable():
        pytest.skip(rights.MOUNTS)
    if left == "closed":
        ledger_id = made(path, clock)
    else:
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(path)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        ledger_id = done.stdout.strip()
        assert Path(f"{path}-wal").stat().st_size > 0
    if left.endswith("lock"):
        Path(f"{path}.lock").unlink()
    bind = 'mount --bind "$0" "$0" && exec "$@"'
    done = subprocess.run(
        [
            *tmpfs.namespace(),
            "sh",
            "-c",
            bind,
            str(path.parent),
            sys.executable,
            "-c",
            ON_A_READ_ONLY_DISK,
            str(path.parent),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    problem, locked, states = json.loads(done.stdout)

    assert "Read-only file system" in problem or "readonly database" in problem or "unable to open" in problem
    assert states == [
        [ledger_id, True, False, []],
        [ledger_id, True, False, []],
        [ledger_id, True, True, []],
        [ledger_id, True, True, []],
    ]
    assert locked


def test_a_ledger_of_another_user_goes_on_where_its_group_reads_it(clock: ManualClock) -> None:
    """A daemon that lost the right to write serves what is there, and does not count the time twice."""
    if os.geteuid() != 0:
        pytest.skip(rights.USERS)
    with tempfile.TemporaryDirectory() as folder:  # which others may enter, as they may not pytest's
        path = Path(folder) / "ledger.db"
        ledger_id = made(path, clock)
        path.parent.chmod(0o750)
        for file in (path.parent, *path.parent.iterdir()):
            os.chown(file, 0, unprivileged.STRANGER)
        done = subprocess.run(
            unprivileged.as_nobody(sys.executable, "-c", OPENED, str(path)),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.stdout.split() == [ledger_id, "False", "True"], done.stderr


OPENED = """
import sys
from pathlib import Path
from exporter.ledger.ledger import Ledger
from tests.kit.clock import clock_at

ledger = Ledger.open(Path(sys.argv[1]), clock_at())
print(ledger.id, ledger.writable, ledger.persistent)
"""


def test_a_folder_that_may_not_be_entered_any_more_is_no_loss(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The open file can be written: each tick is in it."""
    ledger = Ledger.open(path, clock)
    post(ledger, 1, 2, 3)

    def refuse(_path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(files, "identity", refuse)
        assert ledger._store is not None
        assert ledger._store.presence() is FilePresence.IN_PLACE
        post(ledger, 4)
    ledger.close()

    assert caplog.messages == []
    with LedgerReader.open(path) as reader:
        assert expected_totals(4).differences(reader.totals(0, MONTHS)) == {}

"""The ledger is readable by its owner and group, and by nobody else."""

import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from exporter.ledger import files
from exporter.ledger.ledger import Ledger
from tests import rights, unprivileged
from tests.kit.clock import ManualClock
from tests.ledger.ticks import accrued, numbered
from tests.nightly import daily

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    """The one of most systems, under which SQLite makes files that everybody reads."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    return {file.name: stat.S_IMODE(file.lstat().st_mode) for file in folder.iterdir()}


def test_everything_that_is_made_is_the_groups_to_read(tmp_path: Path, clock: ManualClock) -> None:
    """The folder, the file, what SQLite keeps beside it, and the lock."""
    path = tmp_path / "state" / "ledger.db"
    ledger = Ledger.open(path, clock)
    ledger.post(numbered(1), accrued(numbered(1)))
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o750
    assert modes(path.parent) == {
        "ledger.db": 0o640,
        "ledger.db-wal": 0o640,
        "ledger.db-shm": 0o640,
        "ledger.db.lock": 0o640,
    }
    ledger.close()


def test_a_stricter_mask_is_kept(path: Path, clock: ManualClock) -> None:
    """Under a mask of 077 the group reads nothing either."""
    os.umask(0o077)
    Ledger.open(path, clock).close()

    assert modes(path.parent) == {"ledger.db": 0o600, "ledger.db.lock": 0o600}


def test_a_folder_that_is_there_keeps_its_mode(path: Path, clock: ManualClock) -> None:
    """Others may share it, and its operator chose."""
    path.parent.chmod(0o755)
    Ledger.open(path, clock).close()

    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755


def test_a_ledger_of_the_release_before_is_tightened(path: Path, clock: ManualClock) -> None:
    """It was readable by everybody; what its group may do stays."""
    ledger = Ledger.open(path, clock)
    ledger.post(numbered(1), accrued(numbered(1)))
    for file in path.parent.iterdir():
        file.chmod(0o664)
    ledger.close()
    path.chmod(0o664)
    ledger = Ledger.open(path, clock)
    by_name = modes(path.parent)
    ledger.close()

    assert (by_name["ledger.db"], by_name["ledger.db-wal"], by_name["ledger.db-shm"]) == (0o660, 0o660, 0o660)
    assert by_name["ledger.db.lock"] == 0o640


def test_what_is_moved_aside_is_tightened(path: Path, clock: ManualClock) -> None:
    """A damaged ledger holds money too."""
    path.write_bytes(b"no books any more")
    Path(f"{path}-wal").write_bytes(b"log")
    Ledger.open(path, clock).close()

    by_name = modes(path.parent)
    assert (by_name["ledger.db.corrupt-1"], by_name["ledger.db.corrupt-1-wal"]) == (0o640, 0o640)


@pytest.mark.parametrize("lost", ["deleted", "replaced"])
def test_a_ledger_that_is_put_back_has_its_mode(path: Path, clock: ManualClock, lost: str) -> None:
    """The copy, and the lock and the logs beside it."""
    ledger = Ledger.open(path, clock)
    path.unlink()
    if lost == "replaced":
        path.write_bytes(b"notes")
    ledger.post(numbered(1), accrued(numbered(1)))
    name = "ledger.db" if lost == "deleted" else "ledger.db.displaced-1"
    by_name = modes(path.parent)
    ledger.close()

    assert {by_name[f"{name}{suffix}"] for suffix in ("", *files.LOGS, ".lock")} == {0o640}


def test_a_folder_that_is_made_again_is_the_groups_to_read(tmp_path: Path, clock: ManualClock) -> None:
    """As the one before it."""
    path = tmp_path / "state" / "ledger.db"
    ledger = Ledger.open(path, clock)
    path.parent.rename(tmp_path / "moved")
    ledger.post(numbered(1), accrued(numbered(1)))
    ledger.close()

    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o750


@pytest.mark.parametrize("running", daily((True, False), {True}))
def test_a_member_of_the_group_reports(clock: ManualClock, *, running: bool) -> None:
    """With a running daemon and without one; the error for any other user names the one who may."""
    if os.geteuid() != 0:
        pytest.skip(rights.USERS)
    with tempfile.TemporaryDirectory() as folder:  # pytest's own is closed to others
        path = Path(folder) / "state" / "ledger.db"
        path.parent.parent.chmod(0o755)
        ledger = Ledger.open(path, clock)
        ledger.post(numbered(1), accrued(numbered(1)))
        if not running:
            ledger.close()
        for file in (path.parent, *path.parent.iterdir()):
            os.chown(file, 0, 4711)
        verb = (
            sys.executable,
            "-m",
            "exporter",
            "report",
            "month",
            "--month=2026-11",
            f"--ledger.path={path}",
        )
        member, other = (
            subprocess.run(
                ["setpriv", f"--reuid={unprivileged.STRANGER}", f"--regid={group}", "--clear-groups", *verb],
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            for group in (4711, unprivileged.STRANGER)
        )
        ledger.close()
    assert (member.returncode, ledger.id in member.stdout) == (0, True), member.stderr
    assert (other.returncode, "cannot be read (Permission denied)" in other.stderr) == (1, True)


def test_views_for_people_are_read_by_a_plain_client(path: Path, clock: ManualClock) -> None:
    """The file's own views need no function that SQLite does not trust."""
    ledger = Ledger.open(path, clock)
    ledger.post(numbered(1), accrued(numbered(1)))
    ledger.close()
    with closing(sqlite3.connect(path)) as shell:
        shell.execute("PRAGMA trusted_schema = OFF")
        assert shell.execute("SELECT count(*) FROM cost_dollars").fetchone() == (2,)

"""Files that are deleted, moved or replaced under a daemon: it goes on with all that was committed."""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.ledger import files
from exporter.ledger.adjustment_entry import AdjustmentRequest, enter
from exporter.ledger.errors import LedgerError, LedgerLockedError
from exporter.ledger.ledger import Ledger
from exporter.ledger.maintenance import inspect
from exporter.ledger.reader import LedgerReader
from tests.depth import examples
from tests.kit.clock import ManualClock, clock_at
from tests.ledger.conftest import FailingDisk
from tests.ledger.ticks import expected_totals, numbered, post

MONTHS = ("2026-11",)
FULL = sqlite3.OperationalError("database or disk is full")


def begun(path: Path, clock: ManualClock, disk: Any = None) -> Ledger:
    """A ledger with three ticks, the last of which are in its log alone."""
    ledger = Ledger.open(path, clock) if disk is None else Ledger.open(path, clock, connect=disk)
    post(ledger, 1, 2, 3)
    return ledger


def killed(path: Path, folder: Path) -> Path:
    """What a kill at this instant leaves of a path: the files that are there by name."""
    folder.mkdir()
    for suffix in ("", "-wal"):
        if (present := Path(f"{path}{suffix}")).exists():
            shutil.copyfile(present, folder / f"{path.name}{suffix}")
    return folder / path.name


def remove(*paths: Path) -> None:
    for path in paths:
        path.unlink()


def everything(path: Path) -> None:
    """`rm ledger.db*`."""
    remove(*path.parent.glob(f"{path.name}*"))


def the_file_alone(path: Path) -> None:
    """Its log stays, and would be replayed into whatever takes its place."""
    path.unlink()


def the_logs(path: Path) -> None:
    remove(Path(f"{path}-wal"), Path(f"{path}-shm"))


def the_lock(path: Path) -> None:
    Path(f"{path}.lock").unlink()


def the_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


def the_folder_moved(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


LOSSES = [everything, the_file_alone, the_logs, the_lock, the_folder, the_folder_moved]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """In a folder that may go as well."""
    (tmp_path / "state").mkdir()
    return tmp_path / "state" / "ledger.db"


@pytest.mark.parametrize("lose", LOSSES, ids=lambda lose: lose.__name__)
def test_a_lost_file_is_back_with_the_next_tick(
    path: Path,
    clock: ManualClock,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    lose: Callable[[Path], None],
) -> None:
    """With its id and every tick, before and after the loss, whether the daemon is then killed or stopped."""
    ledger = begun(path, clock)
    lose(path)
    post(ledger, 4)
    assert (ledger.persistent, ledger.writable, ledger.displaced, ledger.problem) == (True, True, None, "")
    messages = {the_logs: ["ledger log restored"], the_lock: []}.get(lose, ["ledger restored"])
    assert caplog.messages == messages
    with LedgerReader.open(killed(path, tmp_path / "killed")) as reader:
        assert (reader.id, expected_totals(4).differences(reader.totals(0, MONTHS))) == (
            ledger.id,
            {},
        )
        record = reader.month("2026-11")
        assert record.sums is not None
        assert sum(record.sums.cost.values()) == sum(record.cells.values()) == 4 * 1_000_007 + 10

    post(ledger, 5)
    ledger.close()
    again = Ledger.open(path, clock)
    totals = again.totals(0, MONTHS)
    again.close()
    assert (again.id, expected_totals(5).differences(totals), totals.residual) == (ledger.id, {}, 0)
    assert sorted(file.name for file in path.parent.iterdir()) == ["ledger.db", "ledger.db.lock"]


@pytest.mark.parametrize("lose", LOSSES, ids=lambda lose: lose.__name__)
def test_a_lost_file_is_back_after_the_last_tick(
    path: Path, clock: ManualClock, lose: Callable[[Path], None]
) -> None:
    """A daemon that stops before its next tick puts it back as it ends."""
    ledger = begun(path, clock)
    lose(path)
    ledger.close()
    with LedgerReader.open(path) as reader:
        assert (reader.id, expected_totals(3).differences(reader.totals(0, MONTHS))) == (
            ledger.id,
            {},
        )


@pytest.mark.parametrize("lose", [everything, the_lock, the_folder], ids=lambda lose: lose.__name__)
def test_a_restored_ledger_takes_a_new_lock(
    path: Path, clock: ManualClock, lose: Callable[[Path], None]
) -> None:
    """A second daemon waits for it as for any."""
    ledger = begun(path, clock)
    lose(path)
    post(ledger, 4)
    with pytest.raises(LedgerLockedError, match=f"in use by process {os.getpid()}"):
        Ledger.open(path, clock)
    ledger.close()


def test_a_log_that_a_stranger_began_is_not_replayed(path: Path, clock: ManualClock) -> None:
    """A shell that wrote to the file after its log was deleted knows nothing of what was in that."""
    ledger = begun(path, clock)
    the_logs(path)
    # Another process: within one, SQLite shares a log's index by the file, whatever its name.
    shell = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('CREATE TABLE note (text)')"
    subprocess.run([sys.executable, "-c", shell, str(path)], check=True, timeout=60)
    assert Path(f"{path}-wal").stat().st_size > 0
    post(ledger, 4, 5)
    ledger.close()
    with LedgerReader.open(path) as reader:
        assert expected_totals(5).differences(reader.totals(0, MONTHS)) == {}
    assert path.with_name("ledger.db.stray-1").exists()


def test_a_reader_of_the_lost_log_is_waited_for(path: Path, clock: ManualClock) -> None:
    """While it reads, totals stand still and say why; then everything is written."""
    ledger = begun(path, clock)
    with closing(sqlite3.connect(path, isolation_level=None)) as shell:
        shell.execute("BEGIN")
        shell.execute("SELECT count(*) FROM cost").fetchone()
        post(ledger, 4)
        the_logs(path)
        post(ledger, 5)
        assert (ledger.writable, expected_totals(4).differences(ledger.totals(0, MONTHS))) == (
            False,
            {},
        )
        assert "its log was deleted, and a reader still uses it" in ledger.problem
        shell.execute("COMMIT")
    post(ledger, 6)
    assert (ledger.writable, expected_totals(6).differences(ledger.totals(0, MONTHS))) == (True, {})
    ledger.close()


def test_a_clock_that_is_set_back_makes_no_file_older(path: Path, clock: ManualClock, disk: Any) -> None:
    """After a commit that failed late, the file that is opened again was written an hour before."""
    ledger = begun(path, clock, disk)
    clock.now -= 3600 * 10**9
    disk.failure, disk.late = FULL, True
    post(ledger, 4)
    disk.failure = None
    post(ledger, 5)
    ledger.close()

    assert (ledger.displaced, ledger.problem) == (None, "")


def test_an_older_copy_is_known_where_the_file_was_closed(path: Path, clock: ManualClock, disk: Any) -> None:
    """A failure closed it; what is opened again has fewer commits, and lacks totals that did not move."""
    ledger = Ledger.open(path, clock, connect=disk)
    post(ledger, 1)
    copy = path.with_name("copy.db")
    with closing(sqlite3.connect(path)) as shell:
        shell.execute("VACUUM INTO ?", (str(copy),))
    post(ledger, 2)
    disk.failure = FULL
    post(ledger, 3)
    copy.replace(path)
    disk.failure = None
    post(ledger, 4)
    beside = ledger.displaced
    ledger.close()

    assert beside == path.with_name("ledger.db.displaced-1")
    with LedgerReader.open(beside) as reader:
        assert expected_totals(4).differences(reader.totals(0, MONTHS)) == {}


HOLDS_THE_LEDGER = """
import sys
from pathlib import Path
from tests.ledger.test_lost_files import begun, post
from tests.kit.clock import clock_at

ledger = begun(Path(sys.argv[1]), clock_at())
print("open", flush=True)
sys.stdin.readline()
post(ledger, 4)
print("posted", flush=True)
sys.stdin.readline()
ledger.close()
"""


def test_nothing_is_entered_next_to_a_lost_log(path: Path) -> None:
    """What `adjust` wrote there would go with it: it says so, and enters it a tick later."""
    entry = AdjustmentRequest(700, "2026-11-01", "chat", None, "invoice 7")
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS_THE_LEDGER, str(path)],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as daemon:
        assert daemon.stdin is not None
        assert daemon.stdout is not None
        assert daemon.stdout.readline() == "open\n"
        the_logs(path)
        with pytest.raises(LedgerError, match=f"the log of {path} was deleted; .*try again"):
            enter(path, entry, {}, numbered(3).end)
        print(file=daemon.stdin, flush=True)
        assert daemon.stdout.readline() == "posted\n"
        assert enter(path, entry, {}, numbered(3).end).adjustment.number == 1
        print(file=daemon.stdin, flush=True)
        assert daemon.wait(60) == 0
    with LedgerReader.open(path) as reader:
        assert (reader.waiting(), expected_totals(4).differences(reader.totals(0, MONTHS))) == (
            1,
            {},
        )


def other_ledger(path: Path, clock: ManualClock) -> bytes:
    """Another ledger put at the path; what it holds."""
    other = Ledger.open(path.with_name("other.db"), clock)
    other.close()
    path.with_name("other.db").replace(path)
    return path.read_bytes()


def older_copy(path: Path, _clock: ManualClock) -> bytes:
    """A copy of the same ledger, restored by its operator: another file of the same id."""
    copy = path.with_name("copy.db")
    with closing(sqlite3.connect(path)) as shell:
        shell.execute("VACUUM INTO ?", (str(copy),))
    copy.replace(path)
    return path.read_bytes()


def no_ledger(path: Path, _clock: ManualClock) -> bytes:
    path.unlink()
    path.write_bytes(b"notes of somebody\n")
    return path.read_bytes()


@pytest.mark.parametrize("take", [other_ledger, older_copy, no_ledger], ids=lambda take: take.__name__)
def test_another_file_in_its_place_is_left_alone(
    path: Path, clock: ManualClock, take: Callable[[Path, ManualClock], bytes]
) -> None:
    """The ledger goes on next to it, under a name that the problem and `doctor` say; nothing is lost."""
    ledger = begun(path, clock)
    content = take(path, clock)
    post(ledger, 4, 5)
    beside = path.with_name("ledger.db.displaced-1")

    assert path.read_bytes() == content
    assert (ledger.displaced, ledger.writable) == (beside, True)
    assert ledger.totals(0, MONTHS).displaced == "ledger.db.displaced-1"
    assert ledger.problem == (
        f"{path} was replaced by another file while the daemon ran: it is left alone, and the ledger "
        f"continues in {beside}; the next start takes {path}: before it, stop the daemon and put the right "
        "one of the two there"
    )
    assert inspect(path).problem == (
        f"process {os.getpid()} writes {beside}, since another file took the place of its ledger: stop the "
        f"daemon, put the right one of the two at {path}, and move the other out of the folder"
    )
    with pytest.raises(LedgerLockedError):
        Ledger.open(beside, clock)
    ledger.close()
    with LedgerReader.open(beside) as reader:
        assert (reader.id, expected_totals(5).differences(reader.totals(0, MONTHS))) == (
            ledger.id,
            {},
        )
    assert path.read_bytes() == content


def test_a_displaced_ledger_is_watched_too(path: Path, clock: ManualClock) -> None:
    """What is deleted or replaced there is put back as in the first place."""
    ledger = begun(path, clock)
    other_ledger(path, clock)
    post(ledger, 4)
    path.with_name("ledger.db.displaced-1").unlink()
    post(ledger, 5)
    assert ledger.displaced == path.with_name("ledger.db.displaced-1")
    no_ledger(path.with_name("ledger.db.displaced-1"), clock)
    post(ledger, 6)
    assert ledger.displaced == path.with_name("ledger.db.displaced-2")
    ledger.close()
    with LedgerReader.open(path.with_name("ledger.db.displaced-2")) as reader:
        assert expected_totals(6).differences(reader.totals(0, MONTHS)) == {}


def test_a_second_daemon_that_got_the_lock_has_the_ledger(path: Path, clock: ManualClock) -> None:
    """The first leaves the file as the second wrote it, and goes on beside with its own totals."""
    first = begun(path, clock)
    the_lock(path)
    second = Ledger.open(path, clock)
    post(second, 4)
    post(first, 4, 5)
    beside = path.with_name("ledger.db.displaced-1")

    assert (first.displaced, second.displaced) == (beside, None)
    assert first.problem.startswith(f"{path} is in use by process {os.getpid()}")
    post(second, 5, 6)
    assert expected_totals(6).differences(second.totals(0, MONTHS)) == {}
    first.close()
    second.close()
    for file, ticks in ((path, 6), (beside, 5)):
        with LedgerReader.open(file) as reader:
            totals = reader.totals(0, MONTHS)
            assert (expected_totals(ticks).differences(totals), totals.residual) == ({}, 0)


def test_a_second_daemon_that_wrote_is_not_copied(path: Path, clock: ManualClock) -> None:
    """What it posted is in its file: the first one's totals come from memory."""
    first = begun(path, clock)
    the_lock(path)
    second = Ledger.open(path, clock)
    post(second, 4, 5, 6)
    post(first, 4)
    first.close()
    second.close()
    with LedgerReader.open(path.with_name("ledger.db.displaced-1")) as reader:
        totals = reader.totals(0, MONTHS)
        assert (expected_totals(4).differences(totals), totals.residual) == ({}, 0)
    assert "history by hour and day" in first.problem


def test_a_second_daemon_that_wrote_what_cannot_be_read_is_not_copied(path: Path, clock: ManualClock) -> None:
    """The file is whole, but its number of commits is not known: the first one's totals come from memory."""
    first = begun(path, clock)
    the_lock(path)
    second = Ledger.open(path, clock)
    with closing(sqlite3.connect(path)) as shell, shell:
        shell.execute("INSERT INTO meta VALUES ('note', CAST(x'ff' AS TEXT))")
    post(first, 4)
    assert (first.writable, first.displaced) == (True, path.with_name("ledger.db.displaced-1"))
    first.close()
    second.close()
    with LedgerReader.open(path.with_name("ledger.db.displaced-1")) as reader:
        totals = reader.totals(0, MONTHS)
        assert (expected_totals(4).differences(totals), totals.residual) == ({}, 0)


def test_totals_survive_where_the_open_file_cannot_be_read(path: Path, clock: ManualClock, disk: Any) -> None:
    """They come from memory, with the id and the marks; that history is lost is said."""
    ledger = begun(path, clock, disk)
    state = ledger.state()
    the_folder(path)
    disk.failure, disk.at = sqlite3.OperationalError("disk I/O error"), ("VACUUM", "PRAGMA quick_check")
    post(ledger, 4)
    disk.failure = None
    post(ledger, 5)

    assert ledger.problem == (
        "the ledger's open file could not be copied: its id, totals and marks were written from memory; "
        "history by hour and day, and the list of corrections with those that waited, are lost"
    )
    assert (ledger.persistent, ledger.writable, ledger.displaced) == (True, True, None)
    begun_at = ledger.totals(0, MONTHS).begun
    ledger.close()
    again = Ledger.open(path, clock)
    totals = again.totals(0, MONTHS)
    assert (again.id, expected_totals(5).differences(totals), totals.residual) == (ledger.id, {}, 0)
    assert (totals.begun, again.state().wall) == (begun_at, numbered(5).end)
    assert state.gpus == again.state().gpus
    again.close()
    with LedgerReader.open(path) as reader:
        record = reader.month("2026-11")
        assert record.sums is not None
        # From the tick after the loss on: 4 and 5.
        assert sum(record.sums.cost.values()) == 2 * 1_000_007 + 4 + 5


def test_a_lost_log_that_cannot_be_read_loses_no_totals(
    path: Path, clock: ManualClock, disk: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The file is opened without it; what that lacks comes from memory."""
    ledger = begun(path, clock, disk)
    with closing(sqlite3.connect(path)) as shell:
        shell.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    post(ledger, 4)
    the_logs(path)
    disk.failure = sqlite3.OperationalError("disk I/O error")
    disk.at = ("PRAGMA wal_checkpoint", "PRAGMA quick_check")
    disk.watch = lambda sql: setattr(disk, "failure", None) if sql.startswith("PRAGMA journal_mode") else None
    post(ledger, 5)
    disk.failure = None
    post(ledger, 6)
    ledger.close()

    assert ledger.writable
    assert caplog.messages == []  # it is not said that the log was restored
    with LedgerReader.open(ledger.displaced or path) as reader:
        totals = reader.totals(0, MONTHS)
    assert (reader.id, expected_totals(6).differences(totals), totals.residual) == (ledger.id, {}, 0)


def test_a_target_that_cannot_be_written_is_tried_again(path: Path, clock: ManualClock, disk: Any) -> None:
    """Totals stand still while the copy has no room, and the open file is kept until it has."""
    ledger = begun(path, clock, disk)
    everything(path)
    disk.failure, disk.at = FULL, "VACUUM"
    post(ledger, 4, 5)
    assert (ledger.writable, expected_totals(3).differences(ledger.totals(0, MONTHS))) == (
        False,
        {},
    )
    assert f"({path} was deleted and cannot be put back: database or disk is full)" in ledger.problem
    assert not path.exists()
    disk.failure = None
    post(ledger, 6)
    assert (ledger.problem, expected_totals(6).differences(ledger.totals(0, MONTHS))) == ("", {})
    ledger.close()
    with LedgerReader.open(path) as reader:
        assert sum(reader.month("2026-11").cells.values()) == 6 * 1_000_007 + 21


def test_a_write_that_fails_after_the_loss_does_not_close_the_file(
    path: Path, clock: ManualClock, disk: Any
) -> None:
    """Closing would free it: it is copied first, and its history with it."""
    ledger = begun(path, clock, disk)
    disk.failure, disk.at = FULL, "COMMIT"
    disk.watch = lambda sql: everything(path) if sql == "COMMIT" and path.exists() else None
    post(ledger, 4)
    disk.failure = None
    disk.watch = lambda _sql: None
    post(ledger, 5)
    ledger.close()
    with LedgerReader.open(path) as reader:
        record = reader.month("2026-11")
        assert record.sums is not None
        assert sum(record.sums.cost.values()) == sum(record.cells.values()) == 5 * 1_000_007 + 15


@pytest.mark.parametrize("at", ["part", "rename"])
def test_a_kill_while_it_is_put_back_leaves_all_or_nothing(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """A file under the ledger's name is whole; what is left of the copy hinders nobody."""
    ledger = begun(path, clock)
    everything(path)

    class KilledError(BaseException):
        """The process ends here."""

    def kill(*_arguments: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        if at == "part":
            patch.setattr("exporter.ledger.files.put", kill)
        else:
            patch.setattr(Path, "rename", kill)
        with pytest.raises(KilledError):
            post(ledger, 4)
    assert not path.exists()
    post(ledger, 5)
    ledger.close()
    with LedgerReader.open(path) as reader:
        assert expected_totals(5).differences(reader.totals(0, MONTHS)) == {}


def test_what_an_earlier_kill_left_is_not_replayed(path: Path, clock: ManualClock) -> None:
    """A journal, or a log, under the name of the copy or of the ledger would be taken into either."""
    ledger = begun(path, clock)
    everything(path)
    for name in ("ledger.db.part", "ledger.db"):
        for suffix in ("-wal", "-journal"):
            path.with_name(f"{name}{suffix}").write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + bytes(2048))
    path.with_name("ledger.db.part").write_bytes(b"half a copy")
    post(ledger, 4)
    ledger.close()

    assert sorted(file.name for file in path.parent.iterdir()) == ["ledger.db", "ledger.db.lock"]
    with LedgerReader.open(path) as reader:
        assert expected_totals(4).differences(reader.totals(0, MONTHS)) == {}


def test_a_broken_file_is_left_and_the_totals_go_on_next_to_it(
    path: Path, clock: ManualClock, disk: Any
) -> None:
    """A page that was overwritten under the daemon does not stop the ledger until it is read."""
    ledger = begun(path, clock, disk)
    broken = sqlite3.DatabaseError("database disk image is malformed")
    broken.sqlite_errorcode = sqlite3.SQLITE_CORRUPT  # type: ignore[misc]
    disk.failure = broken
    post(ledger, 4)
    assert ledger.writable is False
    with path.open("r+b") as file:
        file.seek(2048)
        file.write(b"\xff" * 8192)
    disk.failure = None
    post(ledger, 5)

    assert (ledger.writable, ledger.displaced) == (True, path.with_name("ledger.db.displaced-1"))
    ledger.close()
    with LedgerReader.open(path.with_name("ledger.db.displaced-1")) as reader:
        totals = reader.totals(0, MONTHS)
        assert (reader.id, expected_totals(5).differences(totals), totals.residual) == (ledger.id, {}, 0)


def write_another(path: Path) -> None:
    """Somebody's file under the ledger's name, in a folder that may be gone."""
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(b"notes")


DEEDS = {
    "post": lambda _path: None,
    "remove everything": everything,
    "remove the file": lambda path: path.unlink(missing_ok=True),
    "remove the logs": lambda path: [Path(f"{path}{log}").unlink(missing_ok=True) for log in files.LOGS],
    "remove the lock": lambda path: Path(f"{path}.lock").unlink(missing_ok=True),
    "remove the folder": lambda path: shutil.rmtree(path.parent, ignore_errors=True),
    "write another file": write_another,
    "refuse writes": lambda _path: None,
    "refuse copies": lambda _path: None,
    "relent": lambda _path: None,
}


@examples(25)
@given(st.lists(st.sampled_from(sorted(DEEDS)), max_size=12))
def test_whatever_is_done_to_the_files_the_books_are_whole(deeds: list[str]) -> None:
    """Served totals never fall; in the end all ticks are in one file, once, under the same id."""
    with tempfile.TemporaryDirectory() as folder:
        path, disk, served = Path(folder) / "state" / "ledger.db", FailingDisk(), 0
        ledger = Ledger.open(path, clock_at(), connect=disk)
        number = 1
        post(ledger, number)
        for deed in [*deeds, "relent"]:
            DEEDS[deed](ledger.displaced or path)
            if deed.startswith("refuse"):
                disk.failure, disk.at = FULL, "COMMIT" if deed == "refuse writes" else "VACUUM"
            if deed == "relent":
                disk.failure = None
            number += 1
            post(ledger, number)
            totals = ledger.totals(0, MONTHS)
            money = sum(totals.cost.values())
            assert (money >= served, totals.residual) == (True, 0)
            served = money
        assert (ledger.writable, expected_totals(number).differences(totals)) == (True, {})
        ledger.close()
        with LedgerReader.open(ledger.displaced or path) as reader:
            totals = reader.totals(0, MONTHS)
        assert (reader.id, expected_totals(number).differences(totals), totals.residual) == (ledger.id, {}, 0)

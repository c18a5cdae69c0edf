"""Files that are none of ours, places that cannot be written, and ledgers that somebody else has."""

import contextlib
import os
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.cost.postings import OwnerPhase
from exporter.ledger import schema
from exporter.ledger.errors import LedgerError, LedgerLockedError
from exporter.ledger.ledger import Ledger
from tests.kit.clock import ManualClock
from tests.kit.units import HOUR, NOVEMBER, SECOND
from tests.ledger.ticks import CHAT, accrued, money, tick

MONTHS = ("2026-11",)
END = NOVEMBER + HOUR
MEMORY = "the ledger is in memory and ends with this process"
COPY = "if there is an intact copy of it, stop the daemon and put the copy in its place"
WRITABLE = "make the place writable, or set --ledger.path to one that is"


def made(path: Path, clock: ManualClock, amount: int = 700) -> str:
    """Make a ledger with one tick in it; its id."""
    posted = tick(END, money(amount))
    ledger = Ledger.open(path, clock)
    ledger.post(posted, accrued(posted))
    ledger.close()
    return ledger.id


def spent(ledger: Ledger) -> int:
    return ledger.totals(END, MONTHS).cost.get(OwnerPhase(CHAT, "decode"), 0)


def test_without_a_path_the_books_are_in_memory(clock: ManualClock) -> None:
    """No path is no error."""
    ledger = Ledger.open(None, clock)

    assert ledger.persistent is False
    assert ledger.problem == f"no ledger path is set: {MEMORY}; set --ledger.path to keep them"


def test_a_directory_in_the_files_place(tmp_path: Path, clock: ManualClock) -> None:
    """A directory is named as one, and left alone."""
    ledger = Ledger.open(tmp_path, clock)

    assert ledger.persistent is False
    assert ledger.problem == f"{tmp_path} is a directory: {MEMORY}; name a file, such as {tmp_path}/ledger.db"
    assert list(tmp_path.iterdir()) == []


def test_a_missing_parent_is_made(tmp_path: Path, clock: ManualClock) -> None:
    """A first start on a bare host needs no mkdir."""
    path = tmp_path / "var" / "lib" / "ledger.db"
    ledger = Ledger.open(path, clock)
    ledger.close()

    assert (ledger.persistent, ledger.problem, path.is_file()) == (True, "", True)


def test_a_path_below_a_file(tmp_path: Path, clock: ManualClock) -> None:
    """A place where nothing can be made: in memory, with the reason."""
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "ledger.db"
    ledger = Ledger.open(path, clock)

    assert ledger.problem == f"{path} cannot be written ({path.parent} is no folder): {MEMORY}; {WRITABLE}"


def test_a_directory_that_cannot_be_written(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read-only file system refuses the lock's file: in memory, with the reason."""

    def refuse(*_arguments: object) -> int:
        raise OSError(30, os.strerror(30))

    monkeypatch.setattr(os, "open", refuse)
    ledger = Ledger.open(path, clock)

    assert ledger.persistent is False
    assert ledger.problem == f"{path} cannot be written (Read-only file system): {MEMORY}; {WRITABLE}"


def test_a_file_that_sqlite_cannot_open(path: Path, clock: ManualClock) -> None:
    """The lock can be taken and the database not: in memory, and the lock is free again."""

    def refuse(_uri: str) -> sqlite3.Connection:
        raise sqlite3.OperationalError("unable to open database file")

    ledger = Ledger.open(path, clock, connect=refuse)
    made(path, clock)

    assert ledger.problem == f"{path} cannot be written (unable to open database file): {MEMORY}; {WRITABLE}"
    assert clock.waited == []


def test_a_disk_that_is_full_from_the_start(path: Path, clock: ManualClock) -> None:
    """No room for the tables: in memory, with SQLite's words."""

    class Full(sqlite3.Connection):
        def execute(self, sql: str, parameters: object = (), /) -> sqlite3.Cursor:
            if sql.startswith("CREATE"):
                raise sqlite3.OperationalError("database or disk is full")
            return super().execute(sql, parameters)  # type: ignore[arg-type]

    def connect(uri: str) -> sqlite3.Connection:
        return sqlite3.connect(uri, uri=True, isolation_level=None, factory=Full)

    ledger = Ledger.open(path, clock, connect=connect)
    assert ledger.problem == f"{path} cannot be written (database or disk is full): {MEMORY}; {WRITABLE}"
    # What was begun is no reason to move anything aside once there is room.
    again = Ledger.open(path, clock)
    again.close()
    assert (again.persistent, again.moved_aside) == (True, None)


@pytest.mark.parametrize(
    "content", [b"these are no books\n" * 100, b"no", b"SQLite format 3\0" + b"\xff" * 500]
)
def test_a_file_that_is_no_database(path: Path, clock: ManualClock, content: bytes) -> None:
    """It is moved aside as it was, and a new ledger begins."""
    path.write_bytes(content)
    ledger = Ledger.open(path, clock)
    ledger.close()
    aside = path.with_name("ledger.db.corrupt-1")

    assert (ledger.persistent, ledger.moved_aside, aside.read_bytes()) == (True, aside, content)
    assert ledger.problem == (
        f"{path} could not be used (file is not a database): it was moved to {aside}, and a new ledger was "
        f"created; {COPY}"
    )


@pytest.mark.parametrize("content", [b"", b"x"])
def test_an_empty_file_is_a_new_ledger(path: Path, clock: ManualClock, content: bytes) -> None:
    """Whoever made the file was stopped before the first page; to SQLite one byte is as good as none."""
    path.write_bytes(content)
    ledger = Ledger.open(path, clock)
    ledger.close()

    assert (ledger.persistent, ledger.moved_aside) == (True, None)


def test_another_programs_database(path: Path, clock: ManualClock) -> None:
    """It is moved aside whole and stays readable."""
    with contextlib.closing(sqlite3.connect(path)) as foreign:
        foreign.execute("CREATE TABLE recipe (name TEXT)")
        foreign.execute("INSERT INTO recipe VALUES ('soup')")
        foreign.commit()
    ledger = Ledger.open(path, clock)
    ledger.close()
    aside = path.with_name("ledger.db.corrupt-1")
    with contextlib.closing(sqlite3.connect(aside)) as moved:
        recipes = moved.execute("SELECT name FROM recipe").fetchall()

    assert recipes == [("soup",)]
    assert ledger.problem == (
        f"{path} could not be used (it is another program's database): it was moved to {aside}, and a new "
        f"ledger was created; {COPY}"
    )


@pytest.mark.parametrize("tenths", range(1, 10))
def test_a_truncated_file(path: Path, clock: ManualClock, tenths: int) -> None:
    """Wherever it was cut, it is not believed: moved aside, new id, books from zero."""
    old = made(path, clock)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * tenths // 10])
    ledger = Ledger.open(path, clock)
    ledger.close()

    assert ledger.moved_aside == path.with_name("ledger.db.corrupt-1")
    assert (ledger.persistent, spent(ledger), ledger.id == old) == (True, 0, False)
    assert ledger.totals(NOVEMBER, ()).moved_aside == "ledger.db.corrupt-1"
    assert re.fullmatch(
        r".+ could not be used \(.+\): it was moved to .+, and a new ledger was created; .+", ledger.problem
    )


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("DELETE FROM owner", "a row refers to key 1, which is missing"),
        ("DELETE FROM meta WHERE key = 'ledger'", "its id or what it accrued is missing"),
        ("UPDATE meta SET value = 'x' WHERE key = 'accrued'", "`accrued` in its meta table is no integer"),
        ("DROP TABLE months", "no such table: months"),
        ("DROP TABLE meta", "no such table: meta"),
    ],
)
def test_a_ledger_that_lacks_what_it_needs(path: Path, clock: ManualClock, damage: str, message: str) -> None:
    """A whole database whose rows do not fit together is moved aside."""
    made(path, clock)
    with contextlib.closing(sqlite3.connect(path)) as shell:
        shell.execute(damage)
        shell.commit()
    ledger = Ledger.open(path, clock)
    ledger.close()
    aside = path.with_name("ledger.db.corrupt-1")

    assert ledger.problem == (
        f"{path} could not be used ({message}): it was moved to {aside}, and a new ledger was created; {COPY}"
    )


def test_what_sqlite_keeps_next_to_the_file_moves_with_it(path: Path, clock: ManualClock) -> None:
    """A log is never replayed into the file that takes its place; a second one aside gets the next number."""
    for number in (1, 2):
        path.write_bytes(b"no books, for the sake of the test")
        Path(f"{path}-wal").write_bytes(b"log %d" % number)
        ledger = Ledger.open(path, clock)
        ledger.close()
        aside = path.with_name(f"ledger.db.corrupt-{number}")

        assert ledger.moved_aside == aside
        assert Path(f"{aside}-wal").read_bytes() == b"log %d" % number


def test_a_file_that_cannot_be_moved_aside(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays where it is, and the ledger is in memory."""
    path.write_bytes(b"no books")

    def refuse(_path: Path, _target: str) -> Path:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    ledger = Ledger.open(path, clock)

    assert ledger.problem == (
        f"{path} cannot be written (Permission denied) and cannot be read (file is not a database): "
        f"{MEMORY}; once it can be read, what is counted meanwhile may be counted twice; {WRITABLE}"
    )
    assert ledger.totals(NOVEMBER, ()).unread is True
    assert path.read_bytes() == b"no books"


def newer(path: Path, reader: int) -> None:
    """Turn a ledger into one of a later release that added a column and a table."""
    with contextlib.closing(sqlite3.connect(path)) as shell:
        shell.execute("ALTER TABLE cost ADD COLUMN novelty INTEGER NOT NULL DEFAULT 0")
        shell.execute("CREATE TABLE novelty (id INTEGER PRIMARY KEY)")
        shell.execute("UPDATE meta SET value = ? WHERE key = 'reader'", (reader,))
        shell.execute("PRAGMA user_version = 7")
        shell.commit()


def test_a_ledger_of_a_later_release_that_only_added(path: Path, clock: ManualClock) -> None:
    """It opens, goes on, and keeps its version and what was added."""
    made(path, clock)
    newer(path, reader=1)
    more = tick(END + SECOND, money(1))
    ledger = Ledger.open(path, clock)
    ledger.post(more, accrued(tick(END, money(700)), more))
    ledger.close()
    with contextlib.closing(sqlite3.connect(path)) as shell:
        version = shell.execute("PRAGMA user_version").fetchone()
        row = shell.execute("SELECT picodollars, novelty FROM cost").fetchone()

    assert (ledger.moved_aside, version, row) == (None, (7,), (701, 0))


def test_a_ledger_of_a_later_release_that_changed_more(path: Path, clock: ManualClock) -> None:
    """It is refused and left alone, and the lock is free again, on a disk that cannot be written as well."""

    def read_only(uri: str) -> sqlite3.Connection:
        if "mode=ro" not in uri:
            raise sqlite3.OperationalError("unable to open database file")
        return schema.connect(uri)

    made(path, clock)
    newer(path, reader=6)
    message = (
        f"{path} has schema 7, which releases before schema 6 must not use; this one knows {schema.VERSION}: "
        "upgrade the exporter, or give it a --ledger.path of its own"
    )
    for connect in (schema.connect, read_only, schema.connect):
        with pytest.raises(LedgerError, match=f"^{re.escape(message)}$"):
            Ledger.open(path, clock, connect=connect)
    assert clock.waited == []


HOLDS_THE_LEDGER = """
import sys
from pathlib import Path
from exporter.clock import SystemClock
from exporter.ledger.ledger import Ledger

ledger = Ledger.open(Path(sys.argv[1]), SystemClock())
print("open", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the ledger open."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS_THE_LEDGER, str(path)],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_second_daemon_waits_and_then_names_the_first(
    path: Path, clock: ManualClock, holder: subprocess.Popen[str], caplog: pytest.LogCaptureFixture
) -> None:
    """A warning at once; an error with the pid after thirty seconds. The first's ledger is untouched."""
    message = (
        f"{path} is in use by process {holder.pid}: "
        "stop that one, or give this one a --ledger.path of its own"
    )
    with pytest.raises(LedgerLockedError, match=f"^{re.escape(message)}$"):
        Ledger.open(path, clock)

    assert clock.waited == [SECOND] * 30
    (record,) = caplog.records
    assert record.getMessage() == "ledger locked"
    assert (vars(record)["holder_pid"], vars(record)["wait_seconds"]) == (str(holder.pid), 30)


def test_a_second_daemon_takes_over_when_the_first_dies(
    path: Path, clock: ManualClock, holder: subprocess.Popen[str]
) -> None:
    """The lock ends with its process, killed or not."""
    wait = clock.wait

    def killing(stop: threading.Event, duration: int) -> bool:
        holder.kill()
        holder.wait(timeout=30)
        return wait(stop, duration)

    clock.wait = killing  # type: ignore[method-assign]
    ledger = Ledger.open(path, clock)
    ledger.close()

    assert (ledger.persistent, len(clock.waited)) == (True, 1)


def test_a_daemon_that_is_stopped_waits_no_longer(
    path: Path, clock: ManualClock, holder: subprocess.Popen[str]
) -> None:
    """The stop event ends the wait for the lock, whose file is closed."""
    stop = threading.Event()
    stop.set()
    opened = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(LedgerLockedError, match=f"by process {holder.pid}:"):
        Ledger.open(path, clock, stop)

    assert (len(clock.waited), len(list(Path("/proc/self/fd").iterdir()))) == (1, opened)


def test_a_lock_without_a_pid_is_still_a_lock(path: Path, clock: ManualClock) -> None:
    """A pid that could not be written is reported as unknown."""
    first = Ledger.open(path, clock)
    Path(f"{path}.lock").write_text("")
    with pytest.raises(LedgerLockedError, match="by process unknown:"):
        Ledger.open(path, clock)
    first.close()


def test_a_database_that_a_shell_keeps_locked(path: Path, clock: ManualClock) -> None:
    """Books in memory for good would be the wrong answer to a lock that passes: it is refused."""
    made(path, clock)

    def hurried(uri: str) -> sqlite3.Connection:
        return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=0)

    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as shell:
        shell.execute("PRAGMA locking_mode = EXCLUSIVE")
        shell.execute("BEGIN EXCLUSIVE")
        shell.execute("UPDATE meta SET value = value WHERE key = 'wall'")
        shell.execute("COMMIT")
        message = f"{path} is locked by another program: close the shell or the backup that holds it"
        with pytest.raises(LedgerLockedError, match=f"^{re.escape(message)}$"):
            Ledger.open(path, clock, connect=hurried)
    again = Ledger.open(path, clock)
    again.close()

    assert spent(again) == 700

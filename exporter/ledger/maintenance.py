"""Ledger maintenance: inspection of a ledger, and its adoption by another machine."""

import glob
import os
import sqlite3
import threading
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from exporter.clock import Clock
from exporter.cost.state import State
from exporter.ledger import contents, files, schema
from exporter.ledger.errors import DamagedError, LedgerError
from exporter.ledger.files import BE_ITS_USER, Lock, see_a_file
from exporter.ledger.reader import LedgerReader


@dataclass(frozen=True, slots=True)
class Inspection:
    """`state` in words for people; `problem` says what is wrong and what to do, empty when nothing is.

    `remembered` is what the ledger's last tick left.
    """

    state: str
    problem: str = ""
    remembered: State = field(default_factory=State)


def inspect(path: Path) -> Inspection:
    """Look at a ledger, or at the place where there is none yet, as this process's user."""
    path = Path(os.path.realpath(path))
    if what := files.irregular(path):
        name = f"{path}/ledger.db" if os.path.isdir(path) else "ledger.db in a folder of its own"
        return _memory(path, what, f"name a file, such as {name}")
    if beside := _displaced(path):
        return Inspection(str(path), beside)
    if not os.path.lexists(path):
        folder = next((parent for parent in path.parents if os.path.lexists(parent)), Path("/"))
        problem = _unwritable(folder)
        if problem:
            return _memory(path, problem, _writable(folder))
        return Inspection(f"{path}: not there yet; the daemon makes it")
    remembered = State()
    try:
        # What a daemon that was killed while it began leaves behind is no problem.
        state = f"{path}: empty; the daemon begins it"
        if path.stat().st_size:
            state, remembered = _told(path)
    except (LedgerError, OSError) as error:
        return Inspection(str(path), f"{error}{_what_then(path, error)}")
    if process := files.holder(path):
        return Inspection(f"{state}, in use by process {process}", remembered=remembered)
    for needed in (path.parent, path, Path(f"{path}.lock")):
        if os.path.lexists(needed) and (problem := _unwritable(needed, folder=needed == path.parent)):
            return Inspection(
                state,
                f"{problem}: the daemon would serve these totals as they are, and lose what came since when "
                f"it ends; {_writable(needed)}",
                remembered,
            )
    return Inspection(state, remembered=remembered)


def _displaced(path: Path) -> str:
    """Books that a daemon wrote beside the file, since another one took their place while it ran."""
    found = sorted(path.parent.glob(f"{glob.escape(path.name)}.displaced-*"))
    books = [other for other in found if other.name.rpartition("-")[2].isdecimal()]
    if not books:
        return ""
    latest = books[-1]
    process = files.holder(latest)
    writer = f"process {process} writes" if process else "a daemon wrote"
    return (
        f"{writer} {latest}, since another file took the place of its ledger: stop the daemon, put the right "
        f"one of the two at {path}, and move the other out of the folder"
    )


def _waiting(count: int) -> str:
    """Told while there are some: beside a daemon that runs, for one interval."""
    if not count:
        return ""
    return f", {count} adjustment{'s wait' if count > 1 else ' waits'} for the daemon's next tick"


def _told(path: Path) -> tuple[str, State]:
    with LedgerReader.open(path) as ledger:
        return f"{path}: id {ledger.id}{_waiting(ledger.waiting())}", ledger.state()


def _what_then(path: Path, error: Exception) -> str:
    """What the daemon would do with a file that is no ledger, for people who can still prevent it."""
    if not isinstance(error.__cause__, DamagedError):
        return ""
    return (
        f": the daemon would move it to {files.free_name(path, 'corrupt')} and begin new books at zero; "
        "put a copy of the ledger in its place, or set --ledger.path to the right file"
    )


def _unwritable(path: Path, *, folder: bool = True) -> str:
    if folder and not os.path.isdir(path):
        return f"{path} is no folder"
    if not os.access(path, os.W_OK | (os.X_OK if folder else 0)):
        return f"{path} cannot be written by this user (uid {os.geteuid()})"
    return ""


def _writable(path: Path) -> str:
    return f"make {path} writable, set --ledger.path to a file elsewhere, or run this as the daemon's user"


def _memory(state: object, problem: str, advice: str) -> Inspection:
    """The daemon would go on without the file, and forget."""
    return Inspection(
        str(state), f"{problem}: the books would be in memory and end with the daemon; {advice}"
    )


STOP_FIRST: Final = "stop the daemon, adopt, and start it again"
NAME_IT: Final = "name the daemon's ledger with --ledger.path or --config.file"


@dataclass(frozen=True, slots=True)
class Adopted:
    """A ledger that the next start binds to whatever it finds; `bound` says whether it was bound before."""

    ledger: str
    bound: bool


def adopt(path: Path, clock: Clock) -> Adopted:
    """Let go of the machine that a ledger is bound to. Totals, marks and the id stay.

    Raises:
        LedgerError: there is no ledger here that can be adopted, or it is in use; it is as it was.
    """
    try:
        path = see_a_file(path)
    except LedgerError as error:
        raise LedgerError(f"{error}; {NAME_IT}") from error
    now = threading.Event()
    now.set()  # whoever holds the lock is a daemon: waiting for it to go would be waiting for good
    lock: Lock | None = None
    try:
        # Before a lock is made beside it.
        contents.refuse_other_files(path)
        lock = Lock.take(path, clock, now, STOP_FIRST)
        return _let_go(path, clock)
    except DamagedError as error:
        raise LedgerError(f"{path} is no ledger that can be adopted: {error}; {NAME_IT}") from error
    except (OSError, sqlite3.Error) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise LedgerError(f"{path} cannot be written ({why}): {BE_ITS_USER}") from error
    finally:
        if lock is not None:
            lock.release()


def _let_go(path: Path, clock: Clock) -> Adopted:
    with (
        contents.failures(path),
        closing(schema.connect(path.absolute().as_uri() + "?mode=rw")) as connection,
    ):
        contents.check(connection, path)
        connection.execute("PRAGMA synchronous = FULL")
        with contents.transaction(connection):
            meta = contents.meta_of(connection)
            ledger = meta.get("ledger")
            if not isinstance(ledger, str):
                raise DamagedError("its id is missing")
            connection.execute("DELETE FROM meta WHERE key = 'machine'")
            connection.execute(
                "INSERT OR REPLACE INTO meta (key, value) VALUES ('adopted', ?)", (clock.wall(),)
            )
    return Adopted(ledger, bound="machine" in meta)

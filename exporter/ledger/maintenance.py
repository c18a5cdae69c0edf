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
from exporter.ledger.files import RUN_AS_DAEMON_USER, Lock, ledger_file
from exporter.ledger.reader import LedgerReader


@dataclass(frozen=True, slots=True)
class Inspection:
    """What is at a ledger's path."""

    state: str
    """State of the ledger as text."""
    problem: str = ""
    """Its problem with a remedy, empty for none."""
    remembered: State = field(default_factory=State)
    """State of the cost model at the last tick."""


def inspect(path: Path) -> Inspection:
    """Inspect a ledger, or the path of a future one, as this process's user."""
    path = Path(os.path.realpath(path))
    irregular = files.irregular(path)
    if irregular:
        return _memory(path, irregular, files.other_name(path))
    displaced = sorted(path.parent.glob(f"{glob.escape(path.name)}.displaced-*"))
    displaced = [other for other in displaced if other.name.rpartition("-")[2].isdecimal()]
    if displaced:  # a daemon wrote them since another file had replaced its own
        latest = displaced[-1]
        process = files.lock_holder(latest)
        writer = f"process {process} writes" if process else "a daemon wrote"
        displaced_problem = (
            f"{writer} {latest}, since another file took the place of its ledger: stop the daemon, put the "
            f"right one of the two at {path}, and move the other out of the folder"
        )
        return Inspection(str(path), displaced_problem)
    if not os.path.lexists(path):
        folder = next((parent for parent in path.parents if os.path.lexists(parent)), Path("/"))
        why = _unwritable(folder)
        if why is not None:
            return _memory(path, why, _writable(folder))
        return Inspection(f"{path}: not there yet; the daemon makes it")
    remembered = State()
    try:
        # An empty file of a daemon that was killed at its start is no problem.
        state = f"{path}: empty; the daemon begins it"
        if path.stat().st_size:
            with LedgerReader.open(path) as ledger:
                state = f"{path}: id {ledger.id}"
                waiting = ledger.waiting()
                remembered = ledger.state()
            if waiting:  # for one interval, where a daemon runs
                subject = "adjustments wait" if waiting > 1 else "adjustment waits"
                state += f", {waiting} {subject} for the daemon's next tick"
    except (LedgerError, OSError) as error:
        problem = str(error)
        if isinstance(error.__cause__, DamagedError):
            aside = files.free_name(path, error.__cause__.aside)
            problem += (
                f": the daemon would move it to {aside} and begin a new ledger at zero; "
                "put a copy of the ledger in its place, or set --ledger.path to the right file"
            )
        return Inspection(str(path), problem)
    process = files.lock_holder(path)
    if process:
        return Inspection(f"{state}, in use by process {process}", remembered=remembered)
    for needed in (path.parent, path, Path(f"{path}.lock")):
        if not os.path.lexists(needed):
            continue
        why = _unwritable(needed, folder=needed == path.parent)
        if why is not None:
            return Inspection(
                state,
                f"{why}: the daemon would serve these totals as they are, and lose what came since when "
                f"it ends; {_writable(needed)}",
                remembered,
            )
    return Inspection(state, remembered=remembered)


def _unwritable(path: Path, *, folder: bool = True) -> str | None:
    """Why this user cannot write a path; `None` if it can."""
    if folder and not os.path.isdir(path):
        return f"{path} is no folder"
    if not os.access(path, os.W_OK | (os.X_OK if folder else 0)):
        return f"{path} cannot be written by this user (uid {os.geteuid()})"
    return None


def _writable(path: Path) -> str:
    return f"make {path} writable, set --ledger.path to a file elsewhere, or run this as the daemon's user"


def _memory(state: object, problem: str, advice: str) -> Inspection:
    """The daemon would run without a file, and lose the ledger at its end."""
    return Inspection(
        str(state), f"{problem}: the ledger would be in memory and end with the daemon; {advice}"
    )


STOP_FIRST: Final = "stop the daemon, adopt, and start it again"
NAME_IT: Final = "name the daemon's ledger with --ledger.path or --config.file"


@dataclass(frozen=True, slots=True)
class Adopted:
    """A ledger that the next start binds to its machine. `bound`: it was bound before."""

    ledger: str
    bound: bool


def adopt(path: Path, clock: Clock) -> Adopted:
    """Remove the binding of a ledger to its machine. Totals, marks and the id stay.

    Raises:
        LedgerError: no ledger here can be adopted, or it is in use; it is unchanged.
    """
    try:
        path = ledger_file(path)
    except LedgerError as error:
        raise LedgerError(f"{error}; {NAME_IT}") from error
    no_wait = threading.Event()
    no_wait.set()  # a daemon holds the lock until somebody stops it
    lock: Lock | None = None
    try:
        # Before a lock file is made next to it.
        contents.refuse_other_files(path)
        lock = Lock.take(path, clock, no_wait, STOP_FIRST)
        return _unbind(path, clock)
    except DamagedError as error:
        raise LedgerError(f"{path} is no ledger that can be adopted: {error}; {NAME_IT}") from error
    except (OSError, sqlite3.Error) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise LedgerError(f"{path} cannot be written ({why}): {RUN_AS_DAEMON_USER}") from error
    finally:
        if lock is not None:
            lock.release()


def _unbind(path: Path, clock: Clock) -> Adopted:
    with (
        contents.failures(path),
        closing(schema.connect(path.absolute().as_uri() + "?mode=rw")) as connection,
    ):
        contents.check(connection, path)
        connection.execute("PRAGMA synchronous = FULL")
        with contents.transaction(connection):
            meta = schema.meta_of(connection)
            ledger = meta.get("ledger")
            if not isinstance(ledger, str):
                raise DamagedError("its id is missing")
            connection.execute("DELETE FROM meta WHERE key = 'machine'")
            connection.execute(
                "INSERT OR REPLACE INTO meta (key, value) VALUES ('adopted', ?)", (clock.wall(),)
            )
    return Adopted(ledger, bound="machine" in meta)

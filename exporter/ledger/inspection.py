"""What the daemon would find at a ledger's path. Looks only: it makes nothing."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from exporter.cost.state import State
from exporter.ledger import lock, store
from exporter.ledger.errors import DamagedError, LedgerError
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
    if os.path.isdir(path):
        return _memory(path, f"{path} is a directory", f"name a file, such as {path}/ledger.db")
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
    if process := lock.holder(path):
        return Inspection(f"{state}, in use by process {process}", remembered=remembered)
    for needed in (path.parent, path, Path(f"{path}.lock")):
        if os.path.lexists(needed) and (problem := _unwritable(needed, folder=needed == path.parent)):
            return _memory(state, problem, _writable(needed))
    return Inspection(state, remembered=remembered)


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
        f": the daemon would move it to {store.free_name(path, 'corrupt')} and begin new books at zero; "
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

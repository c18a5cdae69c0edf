"""A ledger handed to another machine on purpose: a disk moved to a host without a GPU in common."""

import sqlite3
import threading
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exporter.clock import Clock
from exporter.ledger import contents, schema
from exporter.ledger.errors import DamagedError, LedgerError
from exporter.ledger.lock import Lock
from exporter.ledger.place import BE_ITS_USER, see_a_file

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

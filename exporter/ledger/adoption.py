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

STOP_FIRST: Final = "stop the daemon, adopt, and start it again"


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
    if not path.exists():
        raise LedgerError(f"{path}: there is no ledger here")
    if not path.is_file():
        raise LedgerError(f"{path} is no file")
    now = threading.Event()
    now.set()  # whoever holds the lock is a daemon: waiting for it to go would be waiting for good
    try:
        lock = Lock.take(path, clock, now, STOP_FIRST)
    except OSError as error:
        raise LedgerError(f"{path} cannot be written ({error.strerror})") from error
    try:
        return _let_go(path, clock)
    except DamagedError as error:
        raise LedgerError(f"{path} is no ledger that can be adopted: {error}") from error
    except (OSError, sqlite3.Error) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise LedgerError(f"{path} cannot be written ({why})") from error
    finally:
        lock.release()


def _let_go(path: Path, clock: Clock) -> Adopted:
    contents.refuse_other_files(path)
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

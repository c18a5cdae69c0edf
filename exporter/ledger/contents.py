"""What a ledger's file holds, read and checked."""

import sqlite3
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from exporter.cost.postings import Unpriced
from exporter.cost.state import State
from exporter.ledger import backlog_rows, marks, rows, schema
from exporter.ledger.errors import DamagedError, LedgerError, LedgerLockedError
from exporter.ledger.history import Chronicle
from exporter.ledger.last_day import LastDay
from exporter.ledger.totals import Totals
from exporter.units import Instant

_MAGIC: Final = b"SQLite format 3\0"

_DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
"""The last is a statement that the file's tables do not fit."""


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything in the file, as of one commit.

    `state` carries `wall` and `accrued`; `texts` are its known scopes as they are stored, unreadable ones
    included. `machine` is the identity of the one that they were last bound to, empty when there is none.
    `zone` is the name of the time zone that the last tick went by, empty where none has said so.
    `stretch` is the number of the latest stretch of time that waits for a price; `recent` are those of the
    last hour, by number. `day` is empty unless it was filled. `chronicle` is what is known of its history.
    """

    ledger: str
    totals: Totals
    state: State
    texts: Mapping[marks.Scope, str]
    machine: str = ""
    zone: str = ""
    dropped: tuple[str, ...] = ()
    last_commit: Instant | None = None
    begun: Instant | None = None
    stretch: int = 0
    recent: Mapping[int, Unpriced] = field(default_factory=dict)
    day: LastDay = field(default_factory=LastDay)
    chronicle: Chronicle = field(default_factory=Chronicle)


def empty() -> Contents:
    """New books, under an id of their own."""
    return Contents(str(uuid.uuid4()), Totals(), State(), {})


@contextmanager
def failures(path: Path) -> Iterator[None]:
    """SQLite's errors on opening, told apart: damaged, locked, and the rest as they are."""
    try:
        yield
    except UnicodeDecodeError as error:  # of SQLite's own message about a schema that it cannot read
        raise DamagedError("text in it is not UTF-8") from error
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _DAMAGED:
            raise DamagedError(str(error)) from error
        if code == sqlite3.SQLITE_BUSY:
            raise LedgerLockedError(
                f"{path} is locked by another program: close the shell or the backup that holds it"
            ) from error
        raise


@contextmanager
def transaction(
    connection: sqlite3.Connection, kind: str = "IMMEDIATE", *, keep: bool = True
) -> Iterator[sqlite3.Connection]:
    """One transaction: committed at the end if it is to be kept, rolled back when anything raises."""
    connection.execute(f"BEGIN {kind}")
    try:
        yield connection
        connection.execute("COMMIT" if keep else "ROLLBACK")
    except BaseException:
        # Some errors have rolled back already.
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def refuse_other_files(path: Path) -> None:
    """See by its first bytes that a file is a database, if there is one.

    Raises:
        DamagedError: it is none.
        OSError: it cannot be read.
    """
    # Before SQLite sees it: beside a file that is none of its own it deletes the log, which may be evidence.
    with suppress(FileNotFoundError), path.open("rb") as file:
        begin = file.read(len(_MAGIC))
        # A file of one byte is an empty one to SQLite.
        if len(begin) > 1 and begin != _MAGIC:
            raise DamagedError("file is not a database")


def check(connection: sqlite3.Connection, path: Path) -> None:
    """See that the file is a ledger, whole, and one that this release may use.

    Raises:
        DamagedError: it is not ours or not whole.
        LedgerError: a later release wrote it and says that this one must not use it.
        sqlite3.Error: it cannot be read.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != schema.APPLICATION_ID:
        raise DamagedError("it is another program's database")
    (first, *_rest) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if first != "ok":
        raise DamagedError(str(first).replace("\n", " "))
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    reader = _integer(meta_of(connection), "reader") or schema.VERSION
    if version > schema.VERSION and reader > schema.VERSION:
        raise LedgerError(
            f"{path} has schema {version}, which releases before schema {reader} must not use; "
            f"this one knows {schema.VERSION}: upgrade the exporter, or give it a --ledger.path of its own"
        )


def read(connection: sqlite3.Connection) -> Contents:
    """Read everything, inside the running transaction.

    Raises:
        DamagedError: what every ledger has is missing.
        sqlite3.Error: it cannot be read.
    """
    meta = meta_of(connection)
    totals = rows.read(connection)
    stretch = backlog_rows.last(connection)
    recent = backlog_rows.recent(connection, _integer(meta, "wall") or 0)
    stored = connection.execute("SELECT scope, key, body FROM state ORDER BY id").fetchall()
    state, dropped = marks.state(stored)
    accrued, by_state, ledger = (
        _integer(meta, "accrued"),
        _integer(meta, "accrued_by_state"),
        meta.get("ledger"),
    )
    if accrued is None or by_state is None or not isinstance(ledger, str):
        raise DamagedError("its id or what it accrued is missing")
    totals.accrued = accrued
    machine, zone, fresh_in = meta.get("machine"), meta.get("timezone"), meta.get("fresh_in")
    begun = totals.accrued != 0 or any(scope == "gpu" for scope, _key, _body in stored)
    return Contents(
        ledger=ledger,
        totals=totals,
        state=replace(
            state,
            wall=_integer(meta, "wall"),
            accrued=by_state,
            fresh_in=fresh_in if isinstance(fresh_in, str) and not begun else "",
        ),
        texts={(scope, key): body for scope, key, body in stored if scope in marks.SCOPES},
        machine=machine if isinstance(machine, str) else "",
        zone=zone if isinstance(zone, str) else "",
        dropped=dropped,
        last_commit=_integer(meta, "committed"),
        begun=_integer(meta, "begun"),
        stretch=stretch,
        recent=recent,
    )


def meta_of(connection: sqlite3.Connection) -> dict[str, object]:
    """The ledger's few single values."""
    return dict(connection.execute("SELECT key, value FROM meta").fetchall())


def _integer(meta: Mapping[str, object], key: str) -> int | None:
    value = meta.get(key)
    if value is None or isinstance(value, int):
        return value
    raise DamagedError(f"`{key}` in its meta table is no integer")

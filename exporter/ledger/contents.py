"""What a ledger's file holds, read and checked."""

import sqlite3
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from exporter.config.problems import shown
from exporter.cost.postings import Unpriced
from exporter.cost.state import State
from exporter.ledger import backlog_rows, marks, rows, schema
from exporter.ledger.errors import DamagedError, LedgerError, LedgerLockedError
from exporter.ledger.history import Chronicle
from exporter.ledger.last_day import LastDay
from exporter.ledger.totals import Totals
from exporter.units import Instant

_KEY_SHOWN: Final = 200
"""Characters of a row's key in a message."""

_MAGIC: Final = b"SQLite format 3\0"

_DAMAGED: Final = (
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_TOOBIG,
)
"""`ERROR` is a statement that the file's tables do not fit, `TOOBIG` a value that nobody here wrote."""

MARK_BYTES: Final = 4 * 1024 * 1024
"""Of the marks of one GPU, endpoint, gateway or server. Longer ones are neither read nor written."""

MARKS_BYTES: Final = 16 * 1024 * 1024
"""Of all marks together: in memory they take several times as much."""

_BOUNDED: Final = frozenset({"endpoint", "gateway"})
"""Marks of what others serve. The rest, which money hangs on, is read first."""


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything in the file, as of one commit.

    `state` carries `wall` and `accrued`; `texts` are its known scopes as they are stored, unreadable ones
    included. `machine` is the identity of the one that they were last bound to, empty when there is none.
    `commits` counts what was committed, by releases that count: an older copy of the file has fewer.
    `zone` is the name of the time zone that the last tick went by, empty where none has said so.
    `stretch` is the number of the latest stretch of time that waits for a price; `recent` are those of the
    last hour, by number. `day` is empty unless it was filled. `chronicle` is what is known of its history.
    `oversized` are the rows of `state` that were left out for their size.
    """

    ledger: str
    totals: Totals
    state: State
    texts: Mapping[marks.Scope, str]
    machine: str = ""
    zone: str = ""
    dropped: tuple[str, ...] = ()
    last_commit: Instant | None = None
    commits: int = 0
    begun: Instant | None = None
    stretch: int = 0
    recent: Mapping[int, Unpriced] = field(default_factory=dict)
    day: LastDay = field(default_factory=LastDay)
    chronicle: Chronicle = field(default_factory=Chronicle)
    oversized: tuple[int, ...] = ()


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

    The file is known to be a regular one (`place.irregular`).

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
    refuse_programs(connection)
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


def refuse_programs(connection: sqlite3.Connection) -> None:
    """Refuse a schema that would run SQL of its own: none that the exporter made does.

    A later release may add tables, columns, indexes and views, and views are for people: nothing here reads
    one, unless it has the name of a table.
    """
    found = connection.execute("SELECT type, name, sql LIKE 'CREATE VIRTUAL%' FROM sqlite_master")
    for kind, name, virtual in found:
        if kind == "trigger" or virtual:
            raise DamagedError(
                f"it has a {'trigger' if kind == 'trigger' else 'virtual table'}, {shown(name)}"
            )
        if kind == "view" and str(name).lower() in schema.TABLES:
            raise DamagedError(f"it has a view in the place of its table {shown(name)}")


def _marks(
    connection: sqlite3.Connection,
) -> tuple[list[tuple[str, str, str]], tuple[int, ...], tuple[str, ...]]:
    """The rows of `state`, in their order, the numbers of those that are too large, and a sentence on each.

    A row is measured before it is read: where the memory is short, one that is too large ends the process.
    """
    rows = connection.execute("SELECT id, scope, key FROM state ORDER BY id").fetchall()
    sizes = {number: _size(connection, number) for number, _scope, _key in rows}
    # Where not all fit, one endpoint with a large page is forgotten before many with small ones.
    by_worth = sorted(rows, key=lambda row: (row[1] in _BOUNDED, sizes[row[0]]))
    room, kept = MARKS_BYTES, set()
    for number, _scope, _key in by_worth:
        if sizes[number] <= min(MARK_BYTES, room):
            room -= sizes[number]
            kept.add(number)
    stored = [
        (scope, key, connection.execute("SELECT body FROM state WHERE id = ?", (number,)).fetchone()[0])
        for number, scope, key in rows
        if number in kept
    ]
    left_out = [(number, scope, key) for number, scope, key in rows if number not in kept]
    sentences = tuple(
        f"what was remembered of {scope} {key[:_KEY_SHOWN]} takes {sizes[number]} bytes and was dropped: "
        "its counters are counted from their next read on"
        for number, scope, key in left_out
    )
    return stored, tuple(number for number, _scope, _key in left_out), sentences


def _size(connection: sqlite3.Connection, number: int) -> int:
    with connection.blobopen("state", "body", number, readonly=True) as body:
        return len(body)


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
    stored, oversized, too_large = _marks(connection)
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
        dropped=(*too_large, *dropped),
        last_commit=_integer(meta, "committed"),
        commits=_integer(meta, "commits") or 0,
        begun=_integer(meta, "begun"),
        stretch=stretch,
        recent=recent,
        oversized=oversized,
    )


def meta_of(connection: sqlite3.Connection) -> dict[str, object]:
    """The ledger's few single values."""
    return dict(connection.execute("SELECT key, value FROM meta").fetchall())


def _integer(meta: Mapping[str, object], key: str) -> int | None:
    value = meta.get(key)
    if value is None or isinstance(value, int):
        return value
    raise DamagedError(f"`{key}` in its meta table is no integer")

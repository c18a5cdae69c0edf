"""The ledger's file: opened, checked, moved aside when it is not ours, written one tick at a time."""

import os
import sqlite3
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from exporter.cost.postings import Unpriced
from exporter.cost.state import State
from exporter.ledger import backlog_rows, history_rows, marks, rows, schema
from exporter.ledger.adjustments import Adjustment, Poster
from exporter.ledger.backlog import Batch, Cursor, recent
from exporter.ledger.contents import (
    Contents,
    check,
    failures,
    meta_of,
    read,
    refuse_other_files,
    transaction,
)
from exporter.ledger.errors import DamagedError
from exporter.ledger.history import Chronicle, History
from exporter.ledger.history_rows import Chronicler
from exporter.ledger.last_day import DAY_HOURS
from exporter.ledger.migration import migrate
from exporter.ledger.totals import USAGE, USAGE_HOURS_KEPT, Totals, hour_of, hours_floor, minutes_kept
from exporter.units import Instant

SIDECARS: Final = ("", "-wal", "-shm")
"""What SQLite keeps under one name."""


@dataclass(slots=True)
class Pending:
    """What is to be written: sums since the last commit, and the state and the end of the latest tick.

    `machine` is the one that the books are bound to, `zone` the time zone of their days, empty while unknown.
    `unpriced` are stretches of time without a price as they are to be, by number.
    Books in memory keep no more of its history than the last day.
    `adjusted` are the adjustments that a write took into the totals.
    """

    totals: Totals = field(default_factory=Totals)
    adjusted: dict[int, Adjustment] = field(default_factory=dict)
    history: History = field(default_factory=History)
    state: State = field(default_factory=State)
    texts: Mapping[marks.Scope, str] = field(default_factory=dict)
    end: Instant = 0
    machine: str = ""
    zone: str = ""
    unpriced: Mapping[int, Unpriced] = field(default_factory=dict)

    def copy(self) -> "Pending":
        """The same, to add to."""
        return replace(
            self, totals=self.totals.copy(), adjusted=dict(self.adjusted), history=self.history.copy()
        )


class Store:
    """A connection to the file, made again after each failure: one that met an I/O error may stay broken."""

    def __init__(self, path: Path, connect: schema.Connect, connection: sqlite3.Connection) -> None:
        self.path = path
        self.connect = connect
        self._uri = path.absolute().as_uri() + "?mode=rw"
        self._connection: sqlite3.Connection | None = connection
        self._keys = rows.Keys(connection)
        self._chronicler = Chronicler()
        self._poster = Poster()
        self._sure = True

    @classmethod
    def open(cls, path: Path, connect: schema.Connect, fresh_in: str = "") -> "tuple[Store, Contents]":
        """Open the file, making it if there is none, and read all of it.

        A file that is made remembers `fresh_in`, the boot that its books are the first of, if they are.

        Raises:
            DamagedError: the file is to be moved aside.
            LedgerLockedError: another program keeps it locked.
            LedgerError: a later release wrote it.
            sqlite3.Error: it cannot be used here.
        """
        refuse_other_files(path)
        with failures(path):
            connection = connect(path.absolute().as_uri())
            try:
                if _empty(connection):
                    connection.execute(f"PRAGMA page_size = {schema.PAGE_BYTES}")
                    _prepare(connection)
                    _create(connection, fresh_in)
                else:
                    check(connection, path)
                    migrate(connection, path)
                    _prepare(connection)
                with transaction(connection, "DEFERRED"):
                    opened = read(connection)
                    _fill(connection, opened)
                return cls(path, connect, connection), opened
            except BaseException:
                connection.close()
                raise

    def write(self, before: Contents, pending: Pending, now: Instant) -> Chronicle:
        """Commit everything that `pending` adds to what the file held, or nothing of it.

        Returns what its history then holds. Whatever is raised, and wherever, the same may be written again.

        Totals are written whole, never added in SQL: a commit that failed after it had reached the disk is
        written again without counting twice. For the same reason a failure makes the next write replace
        every scope of the state.

        Raises:
            sqlite3.Error: it could not be written.
            OverflowError: a total passes what the file holds.
            UnicodeError: a label is no text that the file holds.
        """
        sure, self._sure = self._sure, False
        if not sure:  # here, for memory may have run out where the write before this one was given up
            self._give_up()
        totals = pending.totals
        try:
            with transaction(self._connected(before.ledger)) as connection:
                totals.months, pending.adjusted = self._poster.take(
                    connection, before.totals.months, totals.months, pending.adjusted, now
                )
                rows.write(connection, self._keys, before.totals, totals)
                floor = _prune(connection, before.totals, pending)
                chronicle = self._chronicler.write(
                    connection, self._keys, before.chronicle, pending.history, floor
                )
                backlog_rows.write(connection, self._keys, pending.unpriced)
                _write_state(connection, before.texts if sure else None, pending.texts)
                meta = {
                    "accrued": rows.bounded(before.totals.accrued + totals.accrued, "accrued"),
                    "accrued_by_state": rows.bounded(pending.state.accrued, "accrued"),
                    "wall": pending.state.wall,
                    "committed": now,
                    "begun": now if before.last_commit is None else None,
                    "machine": pending.machine or None,
                    "timezone": pending.zone or None,
                }
                connection.executemany(
                    "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)",
                    [(key, value) for key, value in meta.items() if value is not None],
                )
        except BaseException:
            self._give_up()
            raise
        self._chronicler.committed()
        self._poster.committed(pending.adjusted.values())
        self._sure = True
        return chronicle

    def _give_up(self) -> None:
        self._chronicler.failed()
        self._poster.failed()
        self.close()

    def unpriced(self, ledger: str, place: Cursor, zone: ZoneInfo, until: Instant) -> Batch:
        """A part of the time that waits for a price, as it was committed.

        Raises:
            DamagedError: a row refers to what is not there.
            sqlite3.Error: it cannot be read.
        """
        return backlog_rows.batch(self._connected(ledger), place, zone, until)

    def _connected(self, ledger: str) -> sqlite3.Connection:
        if self._connection is None:
            connection = self.connect(self._uri)
            try:
                _prepare(connection)
                _same(connection, ledger)
            except BaseException:
                connection.close()
                raise
            self._connection, self._keys = connection, rows.Keys(connection)
        return self._connection

    def close(self) -> None:
        """Close the connection. Idempotent; the next write opens another one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()


def after(before: Contents, pending: Pending, now: Instant | None, chronicle: Chronicle) -> Contents:
    """What the books hold once what waited is written; those before stay as they are."""
    return replace(
        before,
        totals=before.totals.after(pending.totals, pending.end),
        day=before.day.after(pending.history, pending.end),
        chronicle=chronicle,
        state=pending.state,
        texts=pending.texts,
        last_commit=now,
        begun=now if before.last_commit is None else before.begun,
        recent=recent(before.recent, pending.unpriced, pending.end),
    )


def _fill(connection: sqlite3.Connection, opened: Contents) -> None:
    """Recall the last day. Where that cannot be read the books are right all the same."""
    last = hour_of(opened.state.wall or 0)
    with suppress(DamagedError):
        opened.day.fill(history_rows.read(connection, "hourly", last - DAY_HOURS, last) or {})


def set_aside(path: Path, why: str) -> Path:
    """Rename the file and what SQLite keeps beside it to `<name>.<why>-<number>`; the name it got.

    Raises:
        OSError: it cannot be renamed.
    """
    aside = free_name(path, why)
    # The file first: SQLite throws a log without its file away, but would replay it into a new one.
    for sidecar in SIDECARS:
        if os.path.lexists(present := f"{path}{sidecar}"):
            Path(present).rename(f"{aside}{sidecar}")
    return aside


def free_name(path: Path, why: str) -> Path:
    """The name that a file moved aside gets: the first number that is free."""
    number = 1
    while os.path.lexists(aside := path.with_name(f"{path.name}.{why}-{number}")):
        number += 1
    return aside


def _empty(connection: sqlite3.Connection) -> bool:
    """True for a file in which nothing was ever committed: new, or its maker was killed at once."""
    (objects,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    return bool(objects == 0 and application == 0)


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL").fetchone()
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA cache_size = {schema.CACHE_KIBIBYTES}")
    connection.execute(f"PRAGMA journal_size_limit = {schema.JOURNAL_BYTES}")


def _create(connection: sqlite3.Connection, fresh_in: str) -> None:
    meta = {"ledger": str(uuid.uuid4()), "reader": schema.READER, "accrued": 0, "accrued_by_state": 0}
    if fresh_in:
        meta["fresh_in"] = fresh_in
    with transaction(connection):
        connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {schema.VERSION}")
        for statement in schema.DDL:
            connection.execute(statement)
        connection.executemany("INSERT INTO meta (key, value) VALUES (?, ?)", meta.items())


def _prune(connection: sqlite3.Connection, served: Totals, pending: Pending) -> int:
    """Let go of minutes and hours that are past their time; the first hour that stays."""
    for table in ("minute_cost", "minute_tokens"):
        outside = f"DELETE FROM {table} WHERE minute < ? OR minute > ?"  # noqa: S608 - constants
        connection.execute(outside, minutes_kept(pending.end))
    lived = {*served.hour_covered, *pending.totals.hour_covered}
    floor = hours_floor(lived)
    for table in ("hour_cost", "hour_covered"):
        connection.execute(f"DELETE FROM {table} WHERE hour < ?", (floor,))  # noqa: S608 - constants
    recent = hours_floor(lived, USAGE_HOURS_KEPT)
    for table in sorted(USAGE):
        connection.execute(schema.create(table))
        connection.execute(f"DELETE FROM {table} WHERE hour < ?", (recent,))  # noqa: S608 - constants
    return floor


def _same(connection: sqlite3.Connection, ledger: str) -> None:
    if meta_of(connection).get("ledger") != ledger:
        raise sqlite3.OperationalError("another ledger was put in its place")


def _write_state(
    connection: sqlite3.Connection, before: Mapping[marks.Scope, str] | None, after: Mapping[marks.Scope, str]
) -> None:
    if before is None:
        connection.executemany("DELETE FROM state WHERE scope = ?", [(scope,) for scope in marks.SCOPES])
        before = {}
    connection.executemany(
        "INSERT INTO state (scope, key, body) VALUES (?, ?, ?)"
        " ON CONFLICT (scope, key) DO UPDATE SET body = excluded.body",
        [(*scope, text) for scope, text in after.items() if before.get(scope) != text],
    )
    connection.executemany(
        "DELETE FROM state WHERE scope = ? AND key = ?", [scope for scope in before if scope not in after]
    )

"""The ledger's file: opened, checked, written one tick at a time, and put back where it was deleted."""

import logging
import os
import sqlite3
import uuid
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal
from zoneinfo import ZoneInfo

from exporter.cost.postings import UnpricedTime
from exporter.cost.state import State
from exporter.ledger import files, history_rows, marks, rows, schema, unpriced_time
from exporter.ledger.adjustments import Adjustment, Poster
from exporter.ledger.contents import (
    MARK_BYTES,
    Contents,
    check,
    failures,
    meta_of,
    read,
    refuse_other_files,
    refuse_programs,
    transaction,
)
from exporter.ledger.errors import DamagedError
from exporter.ledger.files import begin_part
from exporter.ledger.history import DAY_HOURS, Chronicle, History
from exporter.ledger.history_rows import Chronicler
from exporter.ledger.totals import USAGE, USAGE_HOURS_KEPT, Totals, hour_of, hours_floor, minutes_kept
from exporter.ledger.unpriced_time import Cursor, UnpricedBatch, recent
from exporter.units import Instant


@dataclass(frozen=True, slots=True)
class Migration:
    """What makes schema `version` of the one before; releases below schema `reader` cannot use the result."""

    version: int
    reader: int
    statements: tuple[str, ...]


MIGRATIONS: Final[tuple[Migration, ...]] = ()
"""In the order of their versions."""


def migrate(
    connection: sqlite3.Connection, path: Path, migrations: tuple[Migration, ...] = MIGRATIONS
) -> Path | None:
    """Bring the file to the latest schema, all of it or not at all; where the copy from before lies.

    Raises:
        sqlite3.Error: the copy could not be made, or a statement failed; the file is as it was.
        OSError: the copy could not be put in its place.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    due = [migration for migration in migrations if migration.version > version]
    if not due:
        return None
    copy = path.with_name(f"{path.name}.backup-{version}")
    _back_up(connection, copy)
    with transaction(connection):
        for migration in due:
            for statement in migration.statements:
                connection.execute(statement)
            connection.execute("UPDATE meta SET value = ? WHERE key = 'reader'", (migration.reader,))
            connection.execute(f"PRAGMA user_version = {migration.version}")
    return copy


def _back_up(connection: sqlite3.Connection, copy: Path) -> None:
    """A copy that is whole or not there: an earlier one stays until this one can take its place."""
    part = begin_part(copy)
    with closing(sqlite3.connect(part)) as target:
        connection.backup(target)
    part.replace(copy)


log = logging.getLogger(__name__)

Presence = Literal["in place", "log gone", "gone", "replaced"]
"""What became of the file at its path; `log gone`: of what SQLite keeps beside it, while it is open."""

SPARE_BYTES: Final = 16 * 1024 * 1024
"""Free room inside the file that is given back to the disk at a start, where it is most of the file."""


_BROKEN: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


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
    unpriced: Mapping[int, UnpricedTime] = field(default_factory=dict)

    def copy(self) -> "Pending":
        """The same, to add to."""
        return replace(
            self, totals=self.totals.copy(), adjusted=dict(self.adjusted), history=self.history.copy()
        )


class Store:
    """A connection to the file, made again after each failure: one that met an I/O error may stay broken.

    The open file is known by device and inode, which no other file has while it is open. SQLite itself
    notices nothing while its file has lost its name: it goes on writing where no restart would look.
    """

    def __init__(self, path: Path, connect: schema.Connect, connection: sqlite3.Connection | None) -> None:
        self.path = path
        self.connect = connect
        self._connection: sqlite3.Connection | None = None
        self._identities: dict[str, files.Identity | None] = {}
        self._chronicler = Chronicler()
        self._poster = Poster()
        self._copy_made: files.Identity | None = None
        self._sure = connection is not None
        self._suspect = False
        if connection is not None:
            self._use(connection)

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
        with suppress(FileExistsError):
            files.make_file(path)
        files.see_it_opens(path)
        with failures(path):
            connection = connect(path.absolute().as_uri())
            try:
                if _empty(connection):
                    connection.execute(f"PRAGMA page_size = {schema.PAGE_BYTES}")
                    _prepare(connection)
                    _create(connection, str(uuid.uuid4()), fresh_in)
                else:
                    check(connection, path)
                    migrate(connection, path)
                    _prepare(connection)
                opened = _read(connection)
                _compact(connection, opened)
                files.tighten(path)
                return cls(path, connect, connection), opened
            except BaseException:
                connection.close()
                raise

    @classmethod
    def unwritten(cls, path: Path, connect: schema.Connect) -> "tuple[Store, Contents] | None":
        """Read a file that cannot be written, and make nothing; each write then tries to open it.

        `None` where there is no file, or none that was ever committed to.

        Raises:
            DamagedError: it is no ledger of ours, or a broken one.
            LedgerError: a later release wrote it, or another program keeps it locked.
            OSError, sqlite3.Error: it cannot be read either.
        """
        if files.identity(path) is None or path.stat().st_size == 0:
            return None
        refuse_other_files(path)
        # Without a log there is nothing to share with anybody, and SQLite would want to make one.
        mode = "?mode=ro" if os.path.lexists(f"{path}-wal") else "?mode=ro&immutable=1"
        with failures(path), closing(connect(path.absolute().as_uri() + mode)) as connection:
            if _empty(connection):
                return None
            check(connection, path)
            return cls(path, connect, None), _read(connection)

    def presence(self) -> Presence:
        """What became of the file at its path. Of one that is not open it is known whether any is there.

        A folder that may not be entered any more is taken for no change: what is open can be written.

        Raises:
            OSError: that cannot be seen.
        """
        try:
            found = files.identity(self.path)
        except PermissionError:
            return "in place"
        if found is None:
            return "gone"
        if self._connection is None:
            return "in place"
        if found != self._identities[""]:
            return "gone" if found == self._copy_made else "replaced"
        logs = (files.identity(f"{self.path}{log}") == self._identities[log] for log in files.LOGS)
        return "in place" if all(logs) else "log gone"

    def fold_log(self) -> None:
        """Bring the commits of a log that lost its name into the file, and close both.

        Where the log cannot be read any more it is let go: what the file then lacks shows when it is opened.

        Raises:
            OSError, sqlite3.Error: that cannot be done now; nothing is lost while this process lives.
        """
        connection = self._connection
        if connection is None:
            return
        try:
            (busy, *_frames) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error:
            if _whole(connection):
                raise
            self.close()
            return
        if busy:
            raise sqlite3.OperationalError("its log was deleted, and a reader still uses it")
        stray = Path(f"{self.path}-wal")
        found = files.identity(stray)
        if found not in {None, self._identities["-wal"]} and stray.stat().st_size:
            # Another program's commits to the file as it was: they do not fit what is in it now.
            stray.rename(files.free_name(self.path, "stray"))
        self.close()

    def restore(self, target: Path, contents: Contents, now: Instant, *, shared: bool) -> bool:
        """Write the books to a path where nothing is, whole or not at all, and go on with that file.

        They are copied from the open file, wherever its name went. Where it cannot be read, or where it is
        `shared` and another daemon has written to it, they are made of the totals in memory.

        Returns whether they were copied: else history by hour and day begins anew.

        Raises:
            OSError, sqlite3.Error: the target cannot be written.
        """
        copied = self._copy(target, contents, shared=shared)
        if not copied:
            _write_totals(target, self.connect, contents, now)
        # Closed only now: the file's last name may be gone. SQLite leaves alone what has its old path.
        self.close()
        self.path, self._sure, self._suspect = target, False, False
        return copied

    def _copy(self, target: Path, contents: Contents, *, shared: bool) -> bool:
        connection = self._connection
        if connection is None:
            return False
        if self._copy_made is not None and files.identity(target) == self._copy_made:
            return True  # memory ran out before this was known
        part = files.begin_part(target)
        self._copy_made = files.identity(part)
        try:
            if shared and meta_of(connection).get("commits", 0) != contents.commits:
                return False
            connection.execute("VACUUM INTO ?", (str(part),))
        except sqlite3.Error:
            if _whole(connection):
                raise
            return False
        files.put(part, target)
        return True

    def write(self, before: Contents, pending: Pending, now: Instant) -> Chronicle:
        """Commit everything that `pending` adds to what the file held, or nothing of it.

        Returns what its history then holds. Whatever is raised, and wherever, the same may be written again.

        Totals are written whole, never added in SQL: a commit that failed after it had reached the disk is
        written again without counting twice. For the same reason a failure makes the next write replace
        every scope of the state.

        Raises:
            DamagedError: the file had to be opened again, and another or a broken one lies at its path.
            OSError, sqlite3.Error: it could not be written.
            OverflowError: a total passes what the file holds.
            UnicodeError: a label is no text that the file holds.
        """
        sure, self._sure = self._sure, False
        if not sure:  # here, for memory may have run out where the write before this one was given up
            self._give_up()
        totals = pending.totals
        try:
            with transaction(self._connected(before)) as connection:
                totals.months, pending.adjusted = self._poster.take(
                    connection, before.totals.months, totals.months, pending.adjusted, now
                )
                rows.write(connection, self._keys, before.totals, totals)
                floor = _prune(connection, before.totals, pending)
                chronicle = self._chronicler.write(
                    connection, self._keys, before.chronicle, pending.history, floor
                )
                unpriced_time.write_unpriced(connection, self._keys, pending.unpriced)
                _write_state(connection, before.texts if sure else None, pending.texts)
                meta = {
                    "accrued": rows.bounded(before.totals.accrued + totals.accrued, "accrued"),
                    "accrued_by_state": rows.bounded(pending.state.accrued, "accrued"),
                    "wall": pending.state.wall,
                    "committed": now,
                    "commits": before.commits + 1,
                    "begun": now if before.last_commit is None else None,
                    "machine": pending.machine or None,
                    "timezone": pending.zone or None,
                }
                connection.executemany(
                    "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)",
                    [(key, value) for key, value in meta.items() if value is not None],
                )
        except BaseException as error:
            self._suspect = getattr(error, "sqlite_errorcode", 0) & 0xFF in _BROKEN
            self._give_up()
            raise
        self._chronicler.committed()
        self._poster.committed(pending.adjusted.values())
        self._sure = True
        return chronicle

    def _give_up(self) -> None:
        self._chronicler.failed()
        self._poster.failed()
        with suppress(OSError):
            if self._connection is not None and self.presence() != "in place":
                # It holds what has no name any more: closed, that is lost.
                self._keys = rows.Keys(self._connection)
                return
        self.close()

    def unpriced(self, before: Contents, cursor: Cursor, zone: ZoneInfo, until: Instant) -> UnpricedBatch:
        """A part of the time that waits for a price, as it was committed.

        Raises:
            DamagedError: a row refers to what is not there.
            sqlite3.Error: it cannot be read.
        """
        return unpriced_time.read_batch(self._connected(before), cursor, zone, until)

    def _connected(self, before: Contents) -> sqlite3.Connection:
        if self._connection is None:
            if what := files.irregular(self.path):
                raise DamagedError(what)
            refuse_other_files(self.path)
            with failures(self.path):
                connection = self.connect(self.path.absolute().as_uri() + "?mode=rw")
                try:
                    _same(connection, before)
                    if self._suspect:
                        check(connection, self.path)
                    _prepare(connection)
                    self._use(connection)
                except BaseException:
                    connection.close()
                    raise
            self._suspect = False
            return connection
        return self._connection

    def _use(self, connection: sqlite3.Connection) -> None:
        self._identities = {suffix: files.identity(f"{self.path}{suffix}") for suffix in files.SIDECARS}
        self._connection, self._keys = connection, rows.Keys(connection)

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
        commits=before.commits + 1,
        begun=now if before.last_commit is None else before.begun,
        recent=recent(before.recent, pending.unpriced, pending.end),
    )


def _read(connection: sqlite3.Connection) -> Contents:
    with transaction(connection, "DEFERRED"):
        opened = read(connection)
        last = hour_of(opened.state.wall or 0)
        # The last day is for the page: where it cannot be read the books are right all the same.
        with suppress(DamagedError):
            opened.day.fill(history_rows.read(connection, "hourly", last - DAY_HOURS, last) or {})
    return opened


def _compact(connection: sqlite3.Connection, opened: Contents) -> None:
    """Delete the marks that were too large to be read, and give back the room that they took.

    What is too large for this memory would be so at each start. Totals are never deleted.
    """
    if opened.oversized:
        with transaction(connection):
            connection.executemany("DELETE FROM state WHERE id = ?", [(row,) for row in opened.oversized])
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    if free * size < SPARE_BYTES or free * 2 < pages or (pages - free) * size > SPARE_BYTES:
        return
    try:
        # A container may have no folder for temporary files; what is left is known to be little.
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error as error:
        log.warning("ledger not compacted", extra={"problem": str(error)})
        return
    log.info("ledger compacted", extra={"freed_bytes": free * size})


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
    # Opens the log, which is known by its inode from here on.
    connection.execute("SELECT count(*) FROM sqlite_master").fetchone()


def _create(connection: sqlite3.Connection, ledger: str, fresh_in: str = "") -> None:
    meta = {"ledger": ledger, "reader": schema.READER, "accrued": 0, "accrued_by_state": 0}
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


def _same(connection: sqlite3.Connection, before: Contents) -> None:
    """See that a file which is opened again is the one that was: by id, and by its number of commits.

    Time would not tell, for a clock may be set back. Of a commit that failed after it had reached the disk
    the file is ahead.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != schema.APPLICATION_ID:
        raise DamagedError("it is another program's database")
    refuse_programs(connection)
    meta = meta_of(connection)
    if meta.get("ledger") != before.ledger:
        raise DamagedError("it is another ledger")
    commits = meta.get("commits", 0)
    if not isinstance(commits, int) or commits < before.commits:
        raise DamagedError("it is an older copy of this ledger")


def _whole(connection: sqlite3.Connection) -> bool:
    """Whether a file that has lost its name can still be read: else what failed was its reading."""
    try:
        (first, *_rest) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error:
        return False
    return bool(first == "ok")


def _write_totals(target: Path, connect: schema.Connect, contents: Contents, now: Instant) -> None:
    """Make a ledger of what memory has of one: the id, totals and marks; no history, no corrections.

    Of the time that waits for a price, the last hour's.
    """
    part = files.begin_part(target)
    with closing(connect(part.absolute().as_uri())) as connection:
        connection.execute(f"PRAGMA page_size = {schema.PAGE_BYTES}")
        _prepare(connection)
        _create(connection, contents.ledger)
        everything = Pending(
            totals=contents.totals,
            state=contents.state,
            texts=contents.texts,
            end=contents.state.wall or 0,
            machine=contents.machine,
            zone=contents.zone,
            unpriced=contents.recent,
        )
        nothing = replace(
            contents, totals=Totals(), texts={}, chronicle=Chronicle(), commits=contents.commits - 1
        )
        Store(part, connect, connection).write(nothing, everything, contents.last_commit or now)
        if contents.begun is not None:
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('begun', ?)", (contents.begun,))
    files.put(part, target)


def _write_state(
    connection: sqlite3.Connection, before: Mapping[marks.Scope, str] | None, after: Mapping[marks.Scope, str]
) -> None:
    # What a start would not read is not kept: its marks are forgotten with this process.
    after = {scope: text for scope, text in after.items() if len(text) <= MARK_BYTES}
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

"""The ledger's file: opened, checked, written one tick at a time, and restored after a deletion."""

import logging
import os
import sqlite3
import uuid
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Final, NamedTuple

from exporter.cost.postings import UnpricedTime
from exporter.cost.state import State
from exporter.ledger import families, files, marks, schema, unpriced_time
from exporter.ledger.adjustments import Adjustment, log_posted, take_waiting
from exporter.ledger.contents import (
    DAY_FAMILIES,
    DAY_HOURS,
    MARK_BYTES,
    Contents,
    LastDay,
    check,
    failures,
    read,
    refuse_foreign,
    refuse_other_files,
    transaction,
)
from exporter.ledger.errors import DamagedError
from exporter.ledger.history import History, HistoryCache, days_floor, read_history, write_history
from exporter.ledger.schema import Keys, bounded, meta_of
from exporter.ledger.totals import Retained, Totals, write_totals
from exporter.ledger.unpriced_time import Cursor, UnpricedBatch, recent_ranges
from exporter.units import Instant, Picodollars, hour_of

log = logging.getLogger(__name__)

SPARE_BYTES: Final = 16 * 1024 * 1024
"""Free space inside the file above which a start returns it to the disk."""

_BROKEN: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class FilePresence(Enum):
    """State of the open file at its path. `LOG_GONE`: a file that SQLite keeps next to it is missing."""

    IN_PLACE = "in place"
    LOG_GONE = "log gone"
    GONE = "gone"
    REPLACED = "replaced"


@dataclass(slots=True)
class Pending:
    """Sums since the last commit, and what the latest tick reported of the host."""

    totals: Totals = field(default_factory=Totals)
    history: History = field(default_factory=History)
    unpriced: Mapping[int, UnpricedTime] = field(default_factory=dict)
    """Changed ranges of unpriced time, by number."""
    state: State = field(default_factory=State)
    """State of the cost model after the latest tick."""
    texts: Mapping[marks.Scope, str] = field(default_factory=dict)
    """Marks of the state of the cost model, as the file holds them."""
    end: Instant = 0
    """End of the latest tick."""
    machine: str = ""
    """Identity of the ledger's machine, empty while unknown."""
    host: str = ""
    """Name of the host."""
    zone: str = ""
    """Time zone of the ledger's days, empty while unknown."""
    charges_late: bool = False
    """Whether the latest tick charged unpriced time whose price came."""
    host_end: Instant | None = None
    """When the host's cloud ends it, by its notice at the latest tick; `None` without one."""

    def copy(self) -> "Pending":
        """A copy to add to."""
        return replace(self, totals=self.totals.copy(), history=self.history.copy())


class WrittenTick(NamedTuple):
    """Outcome of a write."""

    totals: Totals
    """Totals after the commit."""
    history: HistoryCache
    """Cache of the file's history after the commit."""


class Store:
    """A connection to the file, opened again after each failure: an I/O error may leave one broken.

    The open file is identified by device and inode, which no other file has while it is open. SQLite does
    not notice that its file was deleted: it goes on writing where no restart would look.
    """

    path: Path
    connect: schema.Connect
    _connection: sqlite3.Connection | None
    _keys: Keys
    """Keys of labels, owners and GPUs that this connection wrote or looked up."""
    _identities: dict[str, files.Identity | None]
    """Device and inode of the open file and SQLite's files next to it, by suffix."""
    _texts_known: bool
    """Whether the file surely has the marks of the last commit. After a failed write it may have others."""
    _taken: Mapping[int, Adjustment]
    """Adjustments that a failed write posted, by number. It may have reached the disk: then none waits."""
    _suspect: bool
    """Whether the last write failed at a broken page: the file is checked when it is opened again."""
    _pruned: Retained | None
    """Periods that stayed when expired rows were last deleted."""

    def __init__(self, path: Path, connect: schema.Connect, connection: sqlite3.Connection | None) -> None:
        self.path = path
        self.connect = connect
        self._connection = None
        self._identities = {}
        self._texts_known = connection is not None
        self._taken = {}
        self._suspect = False
        self._pruned = None
        if connection is not None:
            self._use(connection)

    @classmethod
    def open(cls, path: Path, connect: schema.Connect, fresh_in: str = "") -> "tuple[Store, Contents]":
        """Open the file, or make it, and read all of it.

        A new file stores `fresh_in`, the id of the boot whose first ledger it is, if it is one.

        Raises:
            DamagedError: the file must be moved aside.
            LedgerLockedError: another program has locked it.
            LedgerError: a later release wrote it.
            sqlite3.Error: it cannot be used here.
        """
        refuse_other_files(path)
        with suppress(FileExistsError):
            files.make_file(path)
        files.check_writable(path)
        with failures(path):
            connection = connect(path.absolute().as_uri())
            try:
                if _empty(connection):
                    connection.execute(f"PRAGMA page_size = {schema.PAGE_BYTES}")
                    _prepare(connection)
                    _create(connection, str(uuid.uuid4()), fresh_in)
                else:
                    check(connection, path)
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
        """Read a file that cannot be written, and create nothing; each write then tries to open it.

        `None` without a file, or without a commit in it.

        Raises:
            DamagedError: it is no ledger of ours, or a broken one.
            LedgerError: a later release wrote it, or another program has locked it.
            OSError, sqlite3.Error: it cannot be read either.
        """
        if files.identity(path) is None or path.stat().st_size == 0:
            return None
        refuse_other_files(path)
        # SQLite would try to make the log of a file that has none.
        mode = "?mode=ro" if os.path.lexists(f"{path}-wal") else "?mode=ro&immutable=1"
        with failures(path), closing(connect(path.absolute().as_uri() + mode)) as connection:
            if _empty(connection):
                return None
            check(connection, path)
            return cls(path, connect, None), _read(connection)

    def presence(self) -> FilePresence:
        """State of the file at its path. Without a connection, any file there counts as in place.

        A folder that may not be entered any more counts as no change: the open file can be written.

        Raises:
            OSError: the path cannot be looked at.
        """
        try:
            identity = files.identity(self.path)
        except PermissionError:
            return FilePresence.IN_PLACE
        if identity is None:
            return FilePresence.GONE
        if self._connection is None:
            return FilePresence.IN_PLACE
        if identity != self._identities[""]:
            return FilePresence.REPLACED
        logs_in_place = all(
            files.identity(f"{self.path}{log}") == self._identities[log] for log in files.LOGS
        )
        return FilePresence.IN_PLACE if logs_in_place else FilePresence.LOG_GONE

    def fold_log(self) -> None:
        """Write the commits of a deleted log into the file, and close both.

        A log that cannot be read is closed: opening the file then shows what is missing.

        Raises:
            OSError, sqlite3.Error: it failed; nothing is lost while this process runs.
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
        identity = files.identity(stray)
        if identity not in {None, self._identities["-wal"]} and stray.stat().st_size:
            # Another program's commits to the earlier file: they do not fit the present one.
            stray.rename(files.free_name(self.path, "stray"))
        self.close()

    def restore(self, target: Path, contents: Contents, now: Instant, *, shared: bool) -> bool:
        """Write the whole ledger to a free path, or nothing, and continue with that file.

        The content is copied from the open file, which may have no name any more. If that cannot be read, or
        if it is `shared` and another daemon has written to it, the totals in memory are written.

        Returns whether the file was copied: else its history by hour and day is lost.

        Raises:
            OSError, sqlite3.Error: the target cannot be written.
        """
        part = files.make_part(target)
        copied = False
        if self._connection is not None:
            try:
                if not shared or meta_of(self._connection).get("commits", 0) == contents.commits:
                    self._connection.execute("VACUUM INTO ?", (str(part),))
                    copied = True
            except sqlite3.Error:
                if _whole(self._connection):
                    raise  # the target is what failed
        if not copied:
            part = files.make_part(target)  # without what is left of the copy
            _write_from_memory(part, self.connect, contents, now)
        files.put(part, target)
        # Closed only now: the open file may have no other name. SQLite leaves its old path alone.
        self.close()
        self.path = target
        self._texts_known = False
        self._suspect = False
        return copied

    def write(self, before: Contents, pending: Pending, now: Instant) -> WrittenTick:
        """Commit everything that `pending` adds to the file, or nothing of it.

        After any exception the same may be written again.

        Totals are written whole, never added in SQL: a commit that failed after it had reached the disk is
        written again without counting twice. For the same reason the write after a failure replaces every
        scope of the state.

        Raises:
            DamagedError: the file had to be opened again, and another or a broken one lies at its path.
            OSError, sqlite3.Error: it could not be written.
            OverflowError: a total passes what the file holds.
            UnicodeError: a label is no text that the file holds.
        """
        texts_known = self._texts_known
        if not texts_known:  # the connection of a failed write stayed open if its file had no name then
            self._give_up()
        self._texts_known = False
        try:
            written = self._commit(before, pending, now, texts_known=texts_known)
        except BaseException as error:
            self._suspect = getattr(error, "sqlite_errorcode", 0) & 0xFF in _BROKEN
            self._give_up()
            raise
        self._texts_known = True
        log_posted(self._taken.values())
        self._taken = {}
        return written

    def _commit(self, before: Contents, pending: Pending, now: Instant, *, texts_known: bool) -> WrittenTick:
        """Write one transaction."""
        with transaction(self._connected(before)) as connection:
            months, self._taken = take_waiting(
                connection,
                served=before.totals.counters.months,
                pending=pending.totals.counters.months,
                taken=self._taken,
                now=now,
            )
            counters = replace(pending.totals.counters, months=months)
            advance = before.totals.with_added(replace(pending.totals, counters=counters), pending.end)
            write_totals(connection, self._keys, advance.changes)
            first_hour = advance.retained.first_hour
            history = write_history(connection, self._keys, before.history, pending.history, first_hour)
            if advance.retained != self._pruned:
                _prune(connection, advance.retained)
            unpriced_time.write_unpriced(connection, self._keys, pending.unpriced)
            if not texts_known:
                connection.executemany(
                    "DELETE FROM state WHERE scope = ?", [(name,) for name in marks.SCOPES]
                )
            _write_texts(connection, before.texts if texts_known else {}, pending.texts)
            _write_meta(
                connection,
                pending,
                accrued=advance.totals.accrued,
                committed=now,
                commits=before.commits + 1,
                begun=now if before.last_commit is None else None,
            )
        self._pruned = advance.retained
        return WrittenTick(advance.totals, history)

    def _give_up(self) -> None:
        """Close the connection, unless its file has no name any more: closing it would lose that."""
        self._pruned = None
        if self._connection is None:
            return
        try:
            presence = self.presence()
        except OSError:
            presence = FilePresence.IN_PLACE
        if presence is FilePresence.IN_PLACE:
            self.close()
        else:
            self._keys = Keys(self._connection)

    def unpriced(self, before: Contents, cursor: Cursor) -> UnpricedBatch:
        """A part of the unpriced time at the last commit.

        Raises:
            DamagedError: a row refers to what is not there.
            sqlite3.Error: it cannot be read.
        """
        return unpriced_time.read_batch(self._connected(before), cursor)

    def _connected(self, before: Contents) -> sqlite3.Connection:
        """The connection, which is opened again after a failure."""
        if self._connection is not None:
            return self._connection
        irregular = files.irregular(self.path)
        if irregular:
            raise DamagedError(irregular)
        refuse_other_files(self.path)
        with failures(self.path):
            connection = self.connect(self.path.absolute().as_uri() + "?mode=rw")
            try:
                _refuse_another(connection, before)
                if self._suspect:
                    check(connection, self.path)
                _prepare(connection)
                self._use(connection)
            except BaseException:
                connection.close()
                raise
        self._suspect = False
        return connection

    def _use(self, connection: sqlite3.Connection) -> None:
        self._identities = {suffix: files.identity(f"{self.path}{suffix}") for suffix in files.SIDECARS}
        self._connection = connection
        self._keys = Keys(connection)

    def close(self) -> None:
        """Close the connection. Idempotent; the next write opens another one."""
        connection = self._connection
        self._connection = None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()


def after(before: Contents, pending: Pending, now: Instant | None, written: WrittenTick) -> Contents:
    """Contents after a commit. The contents before stay as they are."""
    return replace(
        before,
        totals=written.totals,
        day=before.day.after(pending.history, pending.end),
        history=written.history,
        state=pending.state,
        texts=pending.texts,
        last_commit=now,
        commits=before.commits + 1,
        begun=now if before.last_commit is None else before.begun,
        recent=recent_ranges(before.recent, pending.unpriced, pending.end),
    )


def _read(connection: sqlite3.Connection) -> Contents:
    with transaction(connection, "DEFERRED"):
        opened = read(connection)
        last = hour_of(opened.state.wall or 0)
        # The last day is for the page only: the totals are right without it.
        with suppress(DamagedError):
            hours = read_history(connection, "hourly", last - DAY_HOURS, last, DAY_FAMILIES)
            opened = replace(opened, day=LastDay(hours))
    return opened


def _compact(connection: sqlite3.Connection, opened: Contents) -> None:
    """Delete the marks that were too large to be read, and return free space to the disk.

    They would be too large at each start. Totals are never deleted.
    """
    if opened.oversized:
        with transaction(connection):
            connection.executemany("DELETE FROM state WHERE id = ?", [(row,) for row in opened.oversized])
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    if free * size < SPARE_BYTES or free * 2 < pages or (pages - free) * size > SPARE_BYTES:
        return
    try:
        # A container may have no folder for temporary files, and what remains is small.
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error as error:
        log.warning("ledger compaction failed", extra={"problem": str(error)})
        return
    log.info("ledger compacted", extra={"freed_bytes": free * size})


def _empty(connection: sqlite3.Connection) -> bool:
    """Whether nothing was ever committed to the file: it is new, or its maker was killed at once."""
    (objects,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    return bool(objects == 0 and application == 0)


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL").fetchone()
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA cache_size = {schema.CACHE_KIBIBYTES}")
    connection.execute(f"PRAGMA journal_size_limit = {schema.JOURNAL_BYTES}")
    # What is written is checked before it is bound: checking types again was a seventh of the time of rows.
    connection.execute("PRAGMA ignore_check_constraints = ON")
    # Opens the log, whose inode identifies it from here on.
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


def _prune(connection: sqlite3.Connection, retained: Retained) -> None:
    """Delete expired minutes, hours and days."""
    for family in families.MINUTES.values():
        schema.delete_before(connection, family, retained.first_minute)
        later = f"DELETE FROM {family.table} WHERE minute > ?"  # noqa: S608 - constants
        connection.execute(later, (retained.last_minute,))
    for family in (*families.HOURS.values(), *families.HOURLY.values(), families.MEMORY):
        floor = retained.first_brief_hour if family.brief else retained.first_hour
        schema.delete_before(connection, family, floor)
    first_day = days_floor(connection)
    for family in families.DAILY.values():
        schema.delete_before(connection, family, first_day)
    unpriced_time.prune_unpriced(connection, first_day)


def _refuse_another(connection: sqlite3.Connection, before: Contents) -> None:
    """Check by id and number of commits that a file is the one that was open before.

    Its time proves nothing, since a clock may be set back. After a commit that failed after it had reached
    the disk the file is ahead.
    """
    refuse_foreign(connection)
    meta = meta_of(connection)
    if meta.get("ledger") != before.ledger:
        raise DamagedError("it is another ledger")
    commits = meta.get("commits", 0)
    if not isinstance(commits, int) or commits < before.commits:
        raise DamagedError("it is an older copy of this ledger")


def _whole(connection: sqlite3.Connection) -> bool:
    """Whether a deleted file can still be read. If not, reading is what failed."""
    try:
        (first, *_rest) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error:
        return False
    return bool(first == "ok")


def _write_from_memory(part: Path, connect: schema.Connect, contents: Contents, now: Instant) -> None:
    """Fill a file from memory: the id, totals and marks, without history and adjustments.

    Unpriced time is that of the last hour.
    """
    with closing(connect(part.absolute().as_uri())) as connection:
        connection.execute(f"PRAGMA page_size = {schema.PAGE_BYTES}")
        _prepare(connection)
        _create(connection, contents.ledger)
        latest = Pending(
            state=contents.state,
            end=contents.state.wall or 0,
            machine=contents.machine,
            zone=contents.zone,
        )
        with transaction(connection):
            keys = Keys(connection)
            write_totals(connection, keys, Totals().with_added(contents.totals, latest.end).changes)
            unpriced_time.write_unpriced(connection, keys, contents.recent)
            _write_texts(connection, {}, contents.texts)
            _write_meta(
                connection,
                latest,
                accrued=contents.totals.accrued,
                committed=contents.last_commit or now,
                commits=contents.commits,
                begun=contents.begun,
            )


def _write_meta(
    connection: sqlite3.Connection,
    latest: Pending,
    *,
    accrued: Picodollars,
    committed: Instant,
    commits: int,
    begun: Instant | None,
) -> None:
    """Write the single values of a commit. Those that are `None` stay as they are."""
    meta = {
        "accrued": bounded(accrued, "accrued"),
        "accrued_by_state": bounded(latest.state.accrued, "accrued"),
        "wall": latest.state.wall,
        "committed": committed,
        "commits": commits,
        "begun": begun,
        "machine": latest.machine or None,
        "host": latest.host or None,
        "timezone": latest.zone or None,
        "late_charge": latest.end if latest.charges_late else None,
        "host_end": latest.host_end or 0,
    }
    connection.executemany(
        "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)",
        [(key, value) for key, value in meta.items() if value is not None],
    )


def _write_texts(
    connection: sqlite3.Connection, before: Mapping[marks.Scope, str], after: Mapping[marks.Scope, str]
) -> None:
    # A start would not read longer texts: their marks end with this process.
    fitting = {scope: text for scope, text in after.items() if len(text) <= MARK_BYTES}
    connection.executemany(
        "INSERT INTO state (scope, key, body) VALUES (?, ?, ?)"
        " ON CONFLICT (scope, key) DO UPDATE SET body = excluded.body",
        [(*scope, text) for scope, text in fitting.items() if before.get(scope) != text],
    )
    gone = before.keys() - fitting.keys()
    connection.executemany("DELETE FROM state WHERE scope = ? AND key = ?", gone)

"""The ledger's file: opened, checked, written one tick at a time, and restored after a deletion."""

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
from exporter.ledger import contents, database, files, marks, schema, unpriced_time
from exporter.ledger.adjustments import Adjustment, log_posted, take_waiting
from exporter.ledger.contents import Contents
from exporter.ledger.errors import DamagedError, primary_code
from exporter.ledger.history import History, HistoryCache, write_history
from exporter.ledger.totals import Retained, Totals, write_totals
from exporter.ledger.unpriced_time import Cursor, UnpricedBatch, recent_ranges
from exporter.units import Instant

_BROKEN: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
"""SQLite's codes of a page that is broken."""


class FilePresence(Enum):
    """State of the open file at its path."""

    IN_PLACE = "in place"
    """The path leads to the file: closed, it can be opened again."""
    LOG_GONE = "log gone"
    """A file that SQLite keeps next to it was deleted, and with it commits that only the connection has."""
    GONE = "gone"
    """Nothing is at the path: the file was deleted, or moved."""
    REPLACED = "replaced"
    """Another file is at the path."""


@dataclass(slots=True)
class Pending:
    """Sums since the last commit, and what the latest tick reported of the host."""

    totals: Totals = field(default_factory=Totals)
    history: History = field(default_factory=History)
    unpriced: Mapping[int, UnpricedTime] = field(default_factory=dict)
    """Changed ranges of unpriced time, by number."""
    state: State = field(default_factory=State)
    """State of the cost model after the latest tick."""
    texts: Mapping[marks.MarkScope, str] = field(default_factory=dict)
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

    def meta(self) -> dict[str, int | str | None]:
        """Single values of the latest tick, by name. The file keeps its own where one is `None`."""
        return {
            "accrued_by_state": schema.bounded(self.state.accrued, "accrued"),
            "wall": self.state.wall,
            "machine": self.machine or None,
            "host": self.host or None,
            "timezone": self.zone or None,
            "late_charge": self.end if self.charges_late else None,
            # 0, not `None`: a notice that the cloud withdrew leaves the file.
            "host_end": 0 if self.host_end is None else self.host_end,
        }


class CommitStamp(NamedTuple):
    """Number and times of a commit, the same in the file and in the contents in memory."""

    number: int
    """Number of commits up to this one. An older copy of the file has fewer."""
    written: Instant | None
    """Time of the commit; `None` in memory, where nothing is dated as written."""
    begun: Instant | None
    """Time of the first commit."""
    is_first: bool
    """Whether it is the first commit: only that one writes `begun` to the file."""

    @classmethod
    def after(cls, before: Contents, now: Instant | None) -> "CommitStamp":
        """The stamp of the commit that follows `before`. In memory `now` is `None`."""
        is_first = before.last_commit is None
        return cls(
            number=before.commits + 1,
            written=now,
            begun=now if is_first else before.begun,
            is_first=is_first,
        )

    def meta(self) -> dict[str, int | str | None]:
        """Single values of the commit, by name. The file keeps its own where one is `None`."""
        begun = self.begun if self.is_first else None
        return {"commits": self.number, "committed": self.written, "begun": begun}


class WrittenTick(NamedTuple):
    """Outcome of a write."""

    totals: Totals
    """Totals after the commit."""
    history: HistoryCache
    """Cache of the file's history after the commit."""
    stamp: CommitStamp

    @classmethod
    def in_memory(cls, before: Contents, pending: Pending) -> "WrittenTick":
        """The outcome where no file is: the sums are added, and there is no history."""
        committed = before.totals.with_added(pending.totals, pending.end)
        return cls(committed.totals, history={}, stamp=CommitStamp.after(before, now=None))


@dataclass(slots=True)
class _OpenFile:
    """A file that is open, and what is known of it as long as its connection lasts.

    The file is identified by device and inode, which no other file has while it is open. SQLite does not
    notice that its file was deleted: it goes on writing where no restart would look.
    """

    connection: sqlite3.Connection
    keys: schema.Keys
    """Keys of labels, owners and GPUs that this connection wrote or looked up."""
    identities: Mapping[str, files.Identity | None]
    """Device and inode of SQLite's files, by suffix; the suffix of the ledger itself is empty."""
    pruned: Retained | None = None
    """Periods that stayed when this connection last deleted expired rows; `None` before that."""

    @classmethod
    def of(cls, connection: sqlite3.Connection, path: Path) -> "_OpenFile":
        """The file that a connection has just opened at a path."""
        return cls(
            connection=connection,
            keys=schema.Keys(connection),
            identities={suffix: files.identity(f"{path}{suffix}") for suffix in files.SIDECARS},
        )

    @property
    def identity(self) -> files.Identity | None:
        """Device and inode of the ledger itself."""
        return self.identities[""]

    def forget_write(self) -> None:
        """Forget what a write that failed did: its keys and deletions were rolled back."""
        self.keys = schema.Keys(self.connection)
        self.pruned = None


@dataclass(slots=True)
class _Doubt:
    """What is not known of the file, mostly since a write failed: that write may have reached the disk.

    A field is a doubt, and says what the next write does because of it. A method is an event:

        event                     marks_unknown   taken            pages_broken
        the start, file open      no              none             no
        the start, file not open  yes             none             no
        took                                      what it took
        failed                    yes                              yes, if a page was met that is broken
        checked                                                    no
        restored                  yes                              no
        committed                 no              none

    An event leaves as they are the doubts whose column is empty.
    """

    marks_unknown: bool
    """Whether the file may have other marks than those of the last commit. The next write replaces all."""
    taken: Mapping[int, Adjustment] = field(default_factory=dict)
    """Adjustments that writes took since the last commit, by number. The next write posts them again.

    People enter adjustments in the file, where each waits until a write takes it. After a write that failed
    and reached the disk they wait there no more, and the totals in memory lack them.
    """
    pages_broken: bool = False
    """Whether SQLite met a broken page. The next opening checks the file; no other failure ends the doubt."""

    def took(self, adjustments: Mapping[int, Adjustment]) -> None:
        """A write that is not committed yet has these adjustments, with those of writes that failed."""
        self.taken = adjustments

    def failed(self, error: BaseException) -> None:
        """A write, or a read between writes, failed with this error."""
        self.marks_unknown = True
        if primary_code(error) in _BROKEN:
            self.pages_broken = True

    def checked(self) -> None:
        """The file was opened again, after a check if one was due."""
        self.pages_broken = False

    def restored(self) -> None:
        """The ledger was written to a new file, which is not open: others may write marks to it."""
        self.marks_unknown = True
        self.pages_broken = False

    def committed(self) -> None:
        """A write succeeded."""
        self.marks_unknown = False
        self.taken = {}


class Store:
    """A connection to the file, opened again after each failure: an I/O error may leave one broken.

    `_Doubt` tells what a write that failed leaves in doubt, and what ends that.
    """

    def __init__(self, path: Path, connect: schema.Connect, open_file: _OpenFile | None) -> None:
        self.path = path
        """Where the file is. Another one after `restore` to another path."""
        self.connect = connect
        self._open: _OpenFile | None = open_file
        """`None` after a failure, or where the file could only be read, until the next write opens it."""
        # A file that is not open may be written by others.
        self._doubt = _Doubt(marks_unknown=open_file is None)

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
        contents.refuse_other_files(path)
        with suppress(FileExistsError):
            files.make_file(path)
        files.check_writable(path)
        with contents.failures(path):
            connection = connect(path.absolute().as_uri())
            try:
                if database.is_new(connection):
                    database.create(connection, str(uuid.uuid4()), fresh_in)
                else:
                    contents.check(connection, path)
                    database.prepare(connection)
                opened = database.read_all(connection)
                database.compact(connection, opened)
                files.tighten(path)
                return cls(path, connect, _OpenFile.of(connection, path)), opened
            except BaseException:
                connection.close()
                raise

    @classmethod
    def read_unwritable(cls, path: Path, connect: schema.Connect) -> "tuple[Store, Contents] | None":
        """Read a file that cannot be written, and create nothing; each write then tries to open it.

        `None` without a file, or without a commit in it.

        Raises:
            DamagedError: it is no ledger of ours, or a broken one.
            LedgerError: a later release wrote it, or another program has locked it.
            OSError, sqlite3.Error: it cannot be read either.
        """
        if files.identity(path) is None or path.stat().st_size == 0:
            return None
        contents.refuse_other_files(path)
        # A file without a log is opened as immutable: else SQLite would try to make the log.
        mode = "?mode=ro" if os.path.lexists(f"{path}-wal") else "?mode=ro&immutable=1"
        with contents.failures(path), closing(connect(path.absolute().as_uri() + mode)) as connection:
            if database.is_new(connection):
                return None
            contents.check(connection, path)
            return cls(path, connect, open_file=None), database.read_all(connection)

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
        if self._open is None:
            return FilePresence.IN_PLACE
        if identity != self._open.identity:
            return FilePresence.REPLACED
        identities = self._open.identities
        logs_in_place = all(
            files.identity(f"{self.path}{suffix}") == identities[suffix] for suffix in files.LOGS
        )
        return FilePresence.IN_PLACE if logs_in_place else FilePresence.LOG_GONE

    def fold_log(self) -> None:
        """Write the commits of a deleted log into the file, and close both.

        A log that cannot be read is closed: opening the file then shows what is missing.

        Raises:
            OSError, sqlite3.Error: it failed; nothing is lost while this process runs.
        """
        open_file = self._open
        if open_file is None:
            return
        try:
            (busy, *_frames) = open_file.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error:
            if database.is_whole(open_file.connection):
                raise
            self.close()
            return
        if busy:
            raise sqlite3.OperationalError("its log was deleted, and a reader still uses it")
        log_at_path = Path(f"{self.path}-wal")
        identity = files.identity(log_at_path)
        is_foreign = identity is not None and identity != open_file.identities["-wal"]
        # Another program's commits to the earlier file do not fit the present one. An empty log has none.
        if is_foreign and log_at_path.stat().st_size:
            log_at_path.rename(files.free_name(self.path, "stray"))
        self.close()

    def restore(self, target: Path, before: Contents, now: Instant, *, shared: bool) -> bool:
        """Write the whole ledger to a free path, or nothing, and continue with that file.

        The content is copied from the open file, which may have no name any more. If that cannot be read, or
        if it is `shared` and another daemon has written to it, the totals in memory are written.

        Returns whether the file was copied: else its history by hour and day is lost.

        Raises:
            OSError, sqlite3.Error: the target cannot be written.
        """
        part = files.make_part(target)
        copied = self._copy_to(part, before, shared=shared)
        if not copied:
            part = files.make_part(target)  # without what is left of the copy
            database.write_from_memory(part, self.connect, before, now)
        files.put(part, target)
        # Closed only now: the open file may have no other name. SQLite leaves its old path alone.
        self.close()
        self.path = target
        self._doubt.restored()
        return copied

    def _copy_to(self, part: Path, before: Contents, *, shared: bool) -> bool:
        """Copy the open file as a whole. Returns whether there is one that can be read and is ours alone.

        Raises:
            sqlite3.Error: the copy cannot be written.
        """
        if self._open is None:
            return False
        connection = self._open.connection
        try:
            if shared and schema.meta_of(connection).get("commits", 0) != before.commits:
                return False
            connection.execute("VACUUM INTO ?", (str(part),))
        except sqlite3.Error:
            if database.is_whole(connection):
                raise  # the target is what failed
            return False
        return True

    def write(self, before: Contents, pending: Pending, now: Instant) -> WrittenTick:
        """Commit everything that `pending` adds to the file, or nothing of it.

        After any exception the same may be written again.

        Totals are written whole, never added in SQL: a commit that failed after it had reached the disk is
        written again without counting twice.

        Raises:
            DamagedError: the file had to be opened again, and another or a broken one lies at its path.
            OSError, sqlite3.Error: it could not be written.
            OverflowError: a total passes what the file holds.
            UnicodeError: a label is no text that the file holds.
        """
        if self._doubt.marks_unknown:
            # A write that failed while the file was not in place left it open. The file may be back by now.
            self._close_if_in_place()
        try:
            written = self._commit(before, pending, now)
        except BaseException as error:
            self._note_failure(error)
            raise
        posted = self._doubt.taken
        self._doubt.committed()
        log_posted(posted.values())
        return written

    def _commit(self, before: Contents, pending: Pending, now: Instant) -> WrittenTick:
        """Write one transaction: totals, history, unpriced time, marks and single values."""
        open_file = self._opened(before)
        keys = open_file.keys
        stamp = CommitStamp.after(before, now)
        with contents.transaction(open_file.connection) as connection:
            added = self._with_adjustments(connection, before=before, pending=pending, now=now)
            committed = before.totals.with_added(added, pending.end)
            retained = committed.retained
            write_totals(connection, keys, committed.changes)
            history = write_history(connection, keys, before.history, pending.history, retained.first_hour)
            if retained != open_file.pruned:
                database.prune(connection, retained)
            unpriced_time.write_unpriced(connection, keys, pending.unpriced)
            if self._doubt.marks_unknown:
                database.replace_texts(connection, pending.texts)
            else:
                database.write_texts(connection, before.texts, pending.texts)
            accrued = schema.bounded(committed.totals.accrued, "accrued")
            database.write_meta(connection, {**pending.meta(), **stamp.meta(), "accrued": accrued})
        open_file.pruned = retained
        return WrittenTick(committed.totals, history, stamp)

    def _with_adjustments(
        self, connection: sqlite3.Connection, *, before: Contents, pending: Pending, now: Instant
    ) -> Totals:
        """The pending sums, and the adjustments that wait in the file. The running transaction posts both."""
        counters = pending.totals.counters
        months, taken = take_waiting(
            connection,
            served=before.totals.counters.months,
            pending=counters.months,
            taken=self._doubt.taken,
            now=now,
        )
        self._doubt.took(taken)  # before the commit, which may fail and reach the disk
        return replace(pending.totals, counters=replace(counters, months=months))

    def _close_if_in_place(self) -> None:
        """Close the connection, so that the next write opens another one, unless that would lose the file.

        Of a file that is not in place, only the open connection has all commits.
        """
        try:
            presence = self.presence()
        except OSError:
            presence = FilePresence.IN_PLACE
        if presence is FilePresence.IN_PLACE:
            self.close()

    def unpriced(self, before: Contents, cursor: Cursor) -> UnpricedBatch:
        """A part of the unpriced time at the last commit.

        Raises:
            DamagedError: a row refers to what is not there.
            sqlite3.Error: it cannot be read.
        """
        try:
            return unpriced_time.read_batch(self._opened(before).connection, cursor)
        except BaseException as error:
            self._note_failure(error)
            raise

    def _note_failure(self, error: BaseException) -> None:
        """Note that a read or a write failed: the next one opens the file again where it is in place."""
        self._doubt.failed(error)
        if self._open is not None:
            self._open.forget_write()
        self._close_if_in_place()

    def _opened(self, before: Contents) -> _OpenFile:
        """The open file, which is opened again after a failure.

        Raises:
            DamagedError: another or a broken one lies at its path.
            OSError, LedgerError, sqlite3.Error: it cannot be opened.
        """
        if self._open is not None:
            return self._open
        irregular = files.irregular(self.path)
        if irregular:
            raise DamagedError(irregular)
        contents.refuse_other_files(self.path)
        with contents.failures(self.path):
            connection = self.connect(self.path.absolute().as_uri() + "?mode=rw")
            try:
                database.refuse_another(connection, before)
                if self._doubt.pages_broken:
                    contents.check(connection, self.path)
                database.prepare(connection)
                open_file = _OpenFile.of(connection, self.path)
            except BaseException:
                connection.close()
                raise
        self._open = open_file
        self._doubt.checked()
        return open_file

    def close(self) -> None:
        """Close the connection. Idempotent; the next write opens another one."""
        open_file = self._open
        self._open = None
        if open_file is not None:
            with suppress(sqlite3.Error):
                open_file.connection.close()


def contents_after(before: Contents, pending: Pending, written: WrittenTick) -> Contents:
    """Contents after a commit. The contents before stay as they are."""
    return replace(
        before,
        totals=written.totals,
        day=before.day.after(pending.history, pending.end),
        history=written.history,
        state=pending.state,
        texts=pending.texts,
        last_commit=written.stamp.written,
        commits=written.stamp.number,
        begun=written.stamp.begun,
        recent=recent_ranges(before.recent, pending.unpriced, pending.end),
    )

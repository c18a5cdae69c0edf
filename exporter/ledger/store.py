"""The ledger's file over the life of a daemon: opened, written one tick at a time, and restored.

`_Doubt` is the key to this module: it is what a failure leaves unknown of the file. `OpenFile` is the file as
long as one connection lasts, and `Pending` is what a commit adds.
"""

import os
import sqlite3
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from exporter.ledger import contents, database, files, schema, unpriced_time
from exporter.ledger.adjustments import Adjustment, log_posted, take_waiting
from exporter.ledger.commit import CommitStamp, Pending, contents_after, file_meta
from exporter.ledger.contents import Contents
from exporter.ledger.errors import DamagedError, primary_code
from exporter.ledger.history import write_history
from exporter.ledger.open_file import FilePresence, OpenFile
from exporter.ledger.totals import Totals, write_totals
from exporter.ledger.unpriced_time import Cursor, UnpricedBatch
from exporter.units import Instant

_BROKEN: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
"""SQLite's codes of a page that is broken."""


@dataclass(slots=True)
class _Doubt:
    """Facts of the file that a failure leaves unknown: a write that failed may still have reached the disk.

    A field is a doubt; its docstring says what the next write does because of it. A method is an event:

        event       marks_unknown   taken            pages_broken
        took                        what it took
        failed      yes                              yes, if SQLite met a broken page
        checked                                      no
        restored    yes                              no
        committed   no              none

    An empty cell: the event changes nothing. At the start only `marks_unknown` may be a doubt.
    """

    marks_unknown: bool
    """Whether the file may have other marks than the last commit had. The next write replaces all.

    At the start it is true of a file that could only be read: other programs may write to it.
    """
    taken: Mapping[int, Adjustment] = field(default_factory=dict)
    """Adjustments that writes took since the last commit, by number. The next write posts them again.

    People enter an adjustment as a row of the file, which waits there until a write takes it. After a write
    that failed and still reached the disk, the row waits no more, and the totals in memory lack its money.
    """
    pages_broken: bool = False
    """Whether SQLite met a broken page. The next opening checks the file; no other failure ends the doubt."""

    def took(self, adjustments: Mapping[int, Adjustment]) -> None:
        """A write that is not committed yet posts these adjustments, with those of writes that failed."""
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

    def committed(self) -> Mapping[int, Adjustment]:
        """A write succeeded. Returns the adjustments that it posted, by number."""
        posted = self.taken
        self.marks_unknown = False
        self.taken = {}
        return posted


class Store:
    """The ledger's file at a path, and its connection, which is opened again after each failure.

    `committed` is always the contents at the last commit. A write adds to these totals in memory, and writes
    each total whole. A file that is opened again must have the id and the commits of these contents.
    """

    def __init__(self, path: Path, connect: schema.Connect, open_file: OpenFile | None) -> None:
        self.path = path
        """Where the file is. Another one after `restore` to another path."""
        self.connect = connect
        self._open: OpenFile | None = open_file
        """`None` after a failure, or where the file could only be read, until the next write opens it."""
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
        contents.refuse_other_files(path)  # by the first bytes, before SQLite deletes a log next to it
        with suppress(FileExistsError):
            files.make_file(path)
        files.check_writable(path)
        with contents.failures(path):  # names SQLite's errors: damaged, locked
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
                return cls(path, connect, OpenFile.of(connection, path)), opened
            except BaseException:
                connection.close()
                raise

    @classmethod
    def read_unwritable(cls, path: Path, connect: schema.Connect) -> "tuple[Store, Contents] | None":
        """Read a file that cannot be written, and create nothing; each write then tries to open it.

        Returns `None` without a file, or with one that no daemon has begun.

        Raises:
            DamagedError: it is no ledger of ours, or a broken one.
            LedgerError: a later release wrote it, or another program has locked it.
            OSError, sqlite3.Error: it cannot be read either.
        """
        if files.is_missing_or_empty(path):
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
            if self._open is not None:
                return self._open.presence()
            return FilePresence.GONE if files.identity(self.path) is None else FilePresence.IN_PLACE
        except PermissionError:
            return FilePresence.IN_PLACE

    def fold_log(self) -> bool:
        """Write the commits of a deleted log into the file, and close both.

        Returns false if the log cannot be read: the next write then finds which commits the file lacks.

        Raises:
            OSError, sqlite3.Error: it failed; nothing is lost while this process runs.
        """
        if self._open is None:
            return False
        is_folded = self._open.fold_log()
        self.close()
        return is_folded

    def restore(self, target: Path, committed: Contents, now: Instant, *, shared: bool) -> bool:
        """Write the whole ledger to a free path, or nothing, and continue with that file.

        The content is copied from the open file, which may have no name any more. If that cannot be read, or
        if it is `shared` and another daemon may have written to it, the totals in memory are written.

        Returns whether the file was copied: else its history by hour and day is lost.

        Raises:
            OSError, sqlite3.Error: the target cannot be written.
        """
        part = files.make_part(target)
        copied = False
        # Of a shared file only a copy with this daemon's commits alone would fit the totals in memory.
        if self._open is not None and (not shared or self._open.has_commits(committed.commits)):
            copied = self._open.copy_to(part)
        if not copied:
            part = files.make_part(target)  # without what is left of the copy
            database.write_from_memory(part, self.connect, committed, now)
        files.put(part, target)
        # Closed only now: the open file may have no other name. SQLite leaves its old path alone.
        self.close()
        self.path = target
        self._doubt.restored()
        return copied

    def write(self, committed: Contents, pending: Pending, now: Instant) -> Contents:
        """Commit everything that `pending` adds to the file, or nothing of it. Returns the contents after it.

        After any exception the same may be written again.

        Totals are written whole, never added in SQL: a commit that failed after it had reached the disk is
        written again without counting twice.

        Raises:
            DamagedError: the file had to be opened again, and another or a broken one lies at its path.
            OSError, sqlite3.Error: it could not be written.
            OverflowError: a total passes what the file holds.
            UnicodeError: a label is no text that the file holds.
        """
        stamp = CommitStamp.after(committed, now)
        with (
            self._opened(committed) as open_file,
            contents.transaction(open_file.connection) as connection,
        ):
            added = self._take_adjustments(connection, committed=committed, pending=pending, now=now)
            after = committed.totals.with_added(added, pending.end)
            keys = open_file.keys
            write_totals(connection, keys, after.changes)
            first_hour = after.retained.first_hour
            history = write_history(connection, keys, committed.history, pending.history, first_hour)
            if after.retained != open_file.pruned:
                database.prune(connection, after.retained)
                open_file.pruned = after.retained
            unpriced_time.write_unpriced(connection, keys, pending.unpriced)
            if self._doubt.marks_unknown:
                database.replace_texts(connection, pending.texts)
            else:
                database.write_texts(connection, committed.texts, pending.texts)
            database.write_meta(connection, file_meta(pending, stamp, after.totals))
        posted = self._doubt.committed()
        log_posted(posted.values())
        return contents_after(committed, pending, totals=after.totals, history=history, stamp=stamp)

    def _take_adjustments(
        self, connection: sqlite3.Connection, *, committed: Contents, pending: Pending, now: Instant
    ) -> Totals:
        """Mark the adjustments that wait in the file as posted. Returns the pending sums with their money."""
        counters = pending.totals.counters
        taken = take_waiting(
            connection,
            committed=committed.totals.counters.months,
            pending=counters.months,
            taken_before=self._doubt.taken,
            now=now,
        )
        self._doubt.took(taken.adjustments)  # before the commit, which may fail and reach the disk
        return replace(pending.totals, counters=replace(counters, months=taken.months))

    def unpriced(self, committed: Contents, cursor: Cursor) -> UnpricedBatch:
        """A part of the unpriced time at the last commit.

        Raises:
            DamagedError: a row refers to what is not there.
            OSError, LedgerError, sqlite3.Error: it cannot be read.
        """
        with self._opened(committed) as open_file:
            return unpriced_time.read_batch(open_file.connection, cursor)

    @contextmanager
    def _opened(self, committed: Contents) -> Iterator[OpenFile]:
        """The open file for one write or read, opened again after a failure.

        A failure leaves the file in doubt. The connection is closed at once where the file is in place; else
        before the next write or read, if the file is back by then.

        Raises:
            DamagedError: another or a broken one lies at its path.
            OSError, LedgerError, sqlite3.Error: it cannot be opened.
        """
        if self._open is not None and self._open.has_failed:
            self._close_if_in_place()
        try:
            if self._open is None:
                self._open = self._reopened(committed)
                self._doubt.checked()
            yield self._open
        except BaseException as error:
            self._doubt.failed(error)
            if self._open is not None:
                self._open.fail()
                self._close_if_in_place()
            raise

    def _reopened(self, committed: Contents) -> OpenFile:
        """Open the file again, and check that it is the same ledger, no older than the last commit."""
        irregular = files.irregular(self.path)
        if irregular:
            raise DamagedError(irregular)
        contents.refuse_other_files(self.path)
        with contents.failures(self.path):
            connection = self.connect(self.path.absolute().as_uri() + "?mode=rw")
            try:
                database.refuse_another(connection, committed)  # by its id and number of commits
                if self._doubt.pages_broken:
                    contents.check(connection, self.path)
                database.prepare(connection)
                return OpenFile.of(connection, self.path)
            except BaseException:
                connection.close()
                raise

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

    def close(self) -> None:
        """Close the connection. Idempotent; the next write opens another one."""
        open_file = self._open
        self._open = None
        if open_file is not None:
            with suppress(sqlite3.Error):
                open_file.connection.close()

"""The ledger's file while it is open: whether it is still at its path, and how its commits leave it."""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from exporter.ledger import database, files, schema
from exporter.ledger.totals import Retained


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
class OpenFile:
    """A file that is open, and what is known of it as long as its connection lasts.

    The file is identified by device and inode, which no other file has while it is open. SQLite does not
    notice that its file was deleted: it goes on writing where no restart would look.
    """

    connection: sqlite3.Connection
    path: Path
    """Where the file was opened."""
    identities: Mapping[str, files.Identity | None]
    """Device and inode of SQLite's files at the opening, by suffix; the ledger's own suffix is empty."""
    keys: schema.Keys
    """Keys of labels, owners and GPUs that this connection wrote or looked up."""
    pruned: Retained | None = None
    """Periods that stayed when this connection last deleted expired rows; `None` before that."""
    has_failed: bool = False
    """Whether a write or a read failed on this connection: an I/O error may leave it broken."""

    @classmethod
    def of(cls, connection: sqlite3.Connection, path: Path) -> "OpenFile":
        """The file that a connection has just opened at a path."""
        return cls(
            connection=connection,
            path=path,
            identities={suffix: files.identity(f"{path}{suffix}") for suffix in files.SIDECARS},
            keys=schema.Keys(connection),
        )

    def fail(self) -> None:
        """Note that a write or a read failed. The keys and deletions of a write were rolled back."""
        self.has_failed = True
        self.keys = schema.Keys(self.connection)
        self.pruned = None

    def presence(self) -> FilePresence:
        """State of the file at its path.

        Raises:
            OSError: the path cannot be looked at.
        """
        identity = files.identity(self.path)
        if identity is None:
            return FilePresence.GONE
        if identity != self.identities[""]:
            return FilePresence.REPLACED
        for suffix in files.LOGS:
            if files.identity(f"{self.path}{suffix}") != self.identities[suffix]:
                return FilePresence.LOG_GONE
        return FilePresence.IN_PLACE

    def fold_log(self) -> bool:
        """Write the commits of a deleted log into the file. The connection is to be closed after it.

        Returns false if the log cannot be read: the file stays as it was before those commits.

        Raises:
            OSError, sqlite3.Error: it failed; nothing is lost while this process runs.
        """
        try:
            checkpoint = self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            busy, _frames_in_log, _frames_folded = checkpoint.fetchone()
        except sqlite3.Error:
            if database.is_whole(self.connection):
                raise
            return False
        if busy:
            raise sqlite3.OperationalError("its log was deleted, and a reader still uses it")
        self._set_stray_log_aside()
        return True

    def _set_stray_log_aside(self) -> None:
        """Rename the log that another program began at the path of the deleted one.

        Its commits follow the file without the folded ones. SQLite would replay them into the present file.
        """
        log = Path(f"{self.path}-wal")
        identity = files.identity(log)
        is_stray = identity is not None and identity != self.identities["-wal"]
        if is_stray and log.stat().st_size:  # an empty log has no commits
            log.rename(files.free_name(self.path, "stray"))

    def has_commits(self, commits: int) -> bool:
        """Whether the file has this number of commits; false if it cannot be read."""
        try:
            return schema.meta_of(self.connection).get("commits", 0) == commits
        except sqlite3.Error:
            return False

    def copy_to(self, part: Path) -> bool:
        """Copy the whole file, which may have no name any more. Returns false if it cannot be read.

        Raises:
            sqlite3.Error: the copy cannot be written.
        """
        try:
            self.connection.execute("VACUUM INTO ?", (str(part),))
        except sqlite3.Error:
            if database.is_whole(self.connection):
                raise  # the copy is what failed
            return False
        return True

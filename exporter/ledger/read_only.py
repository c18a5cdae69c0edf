"""A ledger's file, opened read-only beside a daemon that may write it."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar
from zoneinfo import ZoneInfo

from exporter.config.problems import shown
from exporter.config.times import zone_named
from exporter.ledger import contents, schema
from exporter.ledger.errors import DamagedError, LedgerError
from exporter.ledger.files import RUN_AS_DAEMON_USER, ledger_file

T = TypeVar("T")


class ReadOnlyLedger:
    """A ledger that is only read: all answers are as of the commit before it was opened.

    They stay so while the daemon writes or moves the file aside. The writer never waits for a reader, but its
    log grows until the reader is closed. Every method raises `LedgerError` when the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # A file without a log is not in use: SQLite takes no lock then, and would not notice a change.
        self._unlogged = None if os.path.exists(f"{path}-wal") else _stamp(path)
        with self._failures():
            self._connection = schema.connect(path.absolute().as_uri() + self._mode())
            try:
                self._connection.execute("BEGIN")
                self._check(self._connection)
                self._read(self._connection)
            except BaseException:
                self._connection.close()
                raise

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the ledger of a daemon that may be running.

        Raises:
            LedgerError: there is no ledger that can be read.
        """
        return cls(ledger_file(path))

    def _check(self, connection: sqlite3.Connection) -> None:
        """Refuse a file that is no whole ledger, or one of a later release."""
        contents.check(connection, self._path)

    def _read(self, connection: sqlite3.Connection) -> None:
        """Read what every answer needs."""

    def _zone_named(self, name: str) -> ZoneInfo | None:
        """Time zone of the last tick; `None` before the first."""
        if not name:
            return None
        zone = zone_named(name)
        if zone is None:
            raise LedgerError(
                f"{self._path}: its days are of the time zone {shown(name)}, which this machine does "
                "not know: install the IANA database (tzdata)"
            )
        return zone

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _mode(self) -> str:
        """Read only. SQLite would still create the files of a log, owned by this user."""
        return "?mode=ro" if self._unlogged is None else "?mode=ro&immutable=1"

    def _answer(self, read: Callable[[sqlite3.Connection], T]) -> T:
        with self._failures():
            return read(self._connection)

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            with contents.failures(self._path):
                yield
            self._check_unchanged()
        except DamagedError as error:
            self._check_unchanged()
            raise LedgerError(f"{self._path} is no ledger that can be read: {error}") from error
        except sqlite3.Error as error:
            raise LedgerError(f"{self._path} cannot be read ({error}): {RUN_AS_DAEMON_USER}") from error

    def _check_unchanged(self) -> None:
        if self._unlogged is not None and _stamp(self._path) != self._unlogged:
            raise LedgerError(f"{self._path} was changed while it was read: ask again")


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Inode, size and time of a file, which change with each write; `None` without a file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns

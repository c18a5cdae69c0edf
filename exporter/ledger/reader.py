"""Reader of a ledger for the verbs, while a daemon may write it."""

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar
from zoneinfo import ZoneInfo

from exporter.config.problems import shown
from exporter.config.times import zone_named
from exporter.cost.state import State
from exporter.ledger import adjustments, contents, schema
from exporter.ledger.adjustments import Adjustment
from exporter.ledger.errors import DamagedError, LedgerError
from exporter.ledger.files import RUN_AS_DAEMON_USER, ledger_file
from exporter.ledger.history import HistorySums, MonthRecord, read_history, read_month
from exporter.ledger.schema import Names, references
from exporter.report import CommittedTotals
from exporter.units import Instant, Nanoseconds

T = TypeVar("T")


class LedgerReader:
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
                contents.check(self._connection, path)
                self._contents = contents.read(self._connection)
            except BaseException:
                self._connection.close()
                raise
        self.id = self._contents.ledger
        self.dropped = self._contents.dropped

    @classmethod
    def open(cls, path: Path) -> "LedgerReader":
        """Open the ledger of a daemon that may be running.

        Raises:
            LedgerError: there is no ledger that can be read.
        """
        return cls(ledger_file(path))

    def zone(self) -> ZoneInfo | None:
        """Time zone of the last tick; `None` if an earlier release wrote it."""
        name = self._contents.zone
        if not name:
            return None
        zone = zone_named(name)
        if zone is None:
            raise LedgerError(
                f"{self._path}: its days are of the time zone {shown(name)}, which this machine does "
                "not know: install the IANA database (tzdata)"
            )
        return zone

    def state(self) -> State:
        """State of the cost model."""
        return self._contents.state

    def totals(self, now: Instant, months: tuple[str, ...]) -> CommittedTotals:
        """All totals, with rows that are no longer in a scrape."""
        return contents.committed_totals(self._contents, now, months, None, persistent=True, writable=True)

    def month(self, name: str) -> MonthRecord:
        """A calendar month like 2026-11, current or past."""
        return self._answer(lambda connection: read_month(connection, name))

    def waiting(self) -> int:
        """How many adjustments wait for the daemon."""
        return self._answer(adjustments.waiting)

    def adjustments(self, first: int, last: int) -> tuple[Adjustment, ...]:
        """Adjustments dated from the first to the last day, numbers like 20261031, posted or waiting."""

        def read(connection: sqlite3.Connection) -> tuple[Adjustment, ...]:
            with references():
                return adjustments.read(connection, Names(connection), first, last)

        return self._answer(read)

    def hours(self, first: int, last: int) -> Mapping[int, HistorySums] | None:
        """History by hour since 1970, from the first to the last; `None` if the file has none.

        Hours have no `covered`.
        """
        return self._answer(lambda connection: read_history(connection, "hourly", first, last))

    def days(self, first: int, last: int) -> Mapping[int, HistorySums] | None:
        """History by local day, a number like 20261130, from the first to the last; `None` as for hours."""
        return self._answer(lambda connection: read_history(connection, "daily", first, last))

    def covered(self, first: int, last: int) -> Nanoseconds:
        """Wall time that ticks and gaps covered in the hours (since 1970) from the first to the last."""
        hours = self._contents.totals.hour_covered
        return sum(duration for hour, duration in hours.items() if first <= hour <= last)

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

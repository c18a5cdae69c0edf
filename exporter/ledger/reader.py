"""The books read by a verb, beside a daemon that writes them."""

import sqlite3
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self

from exporter.cost.state import State
from exporter.ledger import contents, schema, snapshot
from exporter.ledger.contents import Contents
from exporter.ledger.errors import DamagedError, LedgerError
from exporter.report import Books
from exporter.units import Instant


class LedgerReader:
    """A ledger that is only read. Each answer is of one commit, and the writer never waits for it.

    Every method raises `LedgerError` when the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        found = self._contents()
        self.id = found.ledger
        self.dropped = found.dropped

    @classmethod
    def open(cls, path: Path) -> "LedgerReader":
        """Open the ledger of a daemon that may be running.

        Raises:
            LedgerError: there is no ledger that can be read.
        """
        if not path.exists():
            raise LedgerError(f"{path}: there is no ledger here")
        if not path.is_file():
            raise LedgerError(f"{path} is no file")
        return cls(path)

    def state(self) -> State:
        """What the cost model remembers, as of the last commit."""
        return self._contents().state

    def books(self, now: Instant, months: tuple[str, ...]) -> Books:
        """Everything in the ledger, rows included that a scrape no longer gets."""
        return snapshot.books(self._contents(), now, months, None, persistent=True, writable=True)

    def close(self) -> None:
        """Nothing stays open between answers."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _mode(self) -> str:
        """Read only. SQLite would still make the files of a log that nobody has open now, as this user's."""
        return "?mode=ro" if Path(f"{self._path}-wal").exists() else "?mode=ro&immutable=1"

    def _contents(self) -> Contents:
        try:
            with contents.failures(self._path):
                connection = schema.connect(self._path.absolute().as_uri() + self._mode())
                with closing(connection):
                    contents.check(connection, self._path)
                    return contents.read(connection)
        except DamagedError as error:
            raise LedgerError(f"{self._path} is no ledger that can be read: {error}") from error
        except sqlite3.Error as error:
            raise LedgerError(
                f"{self._path} cannot be read ({error}): run this as the user that the daemon runs as"
            ) from error

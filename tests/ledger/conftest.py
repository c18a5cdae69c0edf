"""A clock that stands still, and a connection that fails on demand."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kit.clock import ManualClock, clock_at


@pytest.fixture
def clock() -> ManualClock:
    return clock_at()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


class FailingDisk:
    """Opens connections; while `failure` is set, statements that begin with `at` raise it.

    With `late`, the statement is carried out first: a commit that reached the disk and still failed.
    """

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.at = "COMMIT"
        self.late = False
        self.watch: Callable[[str], None] = lambda _statement: None

    def __call__(self, uri: str) -> sqlite3.Connection:
        disk = self

        class FailingConnection(sqlite3.Connection):
            def execute(self, sql: str, parameters: object = (), /) -> sqlite3.Cursor:
                return self._carry_out(super().execute, sql, parameters)

            def executemany(self, sql: str, parameters: object, /) -> sqlite3.Cursor:
                return self._carry_out(super().executemany, sql, parameters)

            def _carry_out(
                self, carry_out: Callable[..., sqlite3.Cursor], sql: str, parameters: object
            ) -> sqlite3.Cursor:
                disk.watch(sql)
                fails = disk.failure is not None and sql.startswith(disk.at)
                if fails and not disk.late:
                    raise disk.failure  # type: ignore[misc]
                cursor = carry_out(sql, parameters)
                if fails:
                    raise disk.failure  # type: ignore[misc]
                return cursor

        return sqlite3.connect(uri, uri=True, isolation_level=None, factory=FailingConnection)


@pytest.fixture
def disk() -> FailingDisk:
    return FailingDisk()

"""A schema that changes: a copy first, then all of it or nothing."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.cost.postings import OwnerPhase
from exporter.ledger import schema, store
from exporter.ledger.ledger import Ledger
from exporter.ledger.reader import LedgerReader
from exporter.ledger.store import Migration, migrate
from tests.ledger.ticks import CHAT, HOUR, NOVEMBER, StillClock, accrued, money, tick

END = NOVEMBER + HOUR
NEXT = schema.VERSION + 1
RENAMES = Migration(NEXT, NEXT, ("ALTER TABLE held RENAME TO holding", "CREATE TABLE novelty (id INTEGER)"))
ADDS = Migration(NEXT + 1, NEXT, ("ALTER TABLE cost ADD COLUMN novelty INTEGER NOT NULL DEFAULT 0",))


@pytest.fixture
def connection(path: Path, clock: StillClock) -> Iterator[sqlite3.Connection]:
    """A ledger of one tick, by SQLite's own hand."""
    posted = tick(END, money(700))
    ledger = Ledger.open(path, clock)
    ledger.post(posted, accrued(posted))
    ledger.close()
    with contextlib.closing(schema.connect(path.as_uri())) as opened:
        yield opened


def schema_state(connection: sqlite3.Connection) -> tuple[int, int, set[str]]:
    """Schema version, oldest reader, tables."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (reader,) = connection.execute("SELECT value FROM meta WHERE key = 'reader'").fetchone()
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    return version, reader, tables


def test_a_migration_leaves_a_copy_that_the_earlier_release_reads(
    path: Path, connection: sqlite3.Connection
) -> None:
    """The file has the new schema, the copy beside it the old one and every total."""
    before = schema_state(connection)
    copy = migrate(connection, path, (RENAMES, ADDS))
    version, reader, tables = schema_state(connection)

    assert copy == path.with_name(f"ledger.db.backup-{schema.VERSION}")
    assert (version, reader, tables - before[2]) == (NEXT + 1, NEXT, {"holding", "novelty"})
    with LedgerReader.open(copy) as backup:
        assert backup.totals(END, ("2026-11",)).cost[OwnerPhase(CHAT, "decode")] == 700
    with contextlib.closing(sqlite3.connect(copy)) as shell:
        assert schema_state(shell) == before


def test_a_file_that_is_up_to_date_is_not_copied(path: Path, connection: sqlite3.Connection) -> None:
    """Nothing due, nothing done; what was done is not due again."""
    assert migrate(connection, path, ()) is None
    assert migrate(connection, path, (RENAMES,)) is not None
    path.with_name(f"ledger.db.backup-{schema.VERSION}").unlink()

    assert migrate(connection, path, (RENAMES,)) is None
    assert sorted(path.parent.glob("*backup*")) == []


def test_a_migration_that_fails_changes_nothing(path: Path, connection: sqlite3.Connection) -> None:
    """The earlier of two is undone with the later."""
    before = schema_state(connection)
    wrong = Migration(NEXT + 1, NEXT, ("ALTER TABLE nowhere RENAME TO somewhere",))
    with pytest.raises(sqlite3.OperationalError, match=r"^no such table: nowhere$"):
        migrate(connection, path, (RENAMES, wrong))

    assert schema_state(connection) == before


def test_without_a_copy_there_is_no_migration(path: Path, connection: sqlite3.Connection) -> None:
    """Where the copy cannot be made, the file stays as it was."""
    before = schema_state(connection)
    path.with_name(f"ledger.db.backup-{schema.VERSION}.part").mkdir()
    with pytest.raises(OSError, match=r"directory|permitted"):
        migrate(connection, path, (RENAMES,))

    assert schema_state(connection) == before


def test_the_leftover_of_a_copy_is_no_copy(path: Path, connection: sqlite3.Connection) -> None:
    """Killed while copying, the next start copies again and leaves nothing lying about."""
    path.with_name(f"ledger.db.backup-{schema.VERSION}.part").write_bytes(b"half a copy")
    copy = migrate(connection, path, (RENAMES,))

    assert copy is not None
    assert sorted(path.parent.glob("*backup*")) == [copy]
    with contextlib.closing(sqlite3.connect(copy)) as shell:
        assert shell.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_this_release_has_nothing_to_migrate(path: Path, clock: StillClock) -> None:
    """The schema only ever grew: opening a ledger makes no copy."""
    for _ in range(2):
        Ledger.open(path, clock).close()

    assert store.MIGRATIONS == ()
    assert sorted(path.parent.glob("*backup*")) == []

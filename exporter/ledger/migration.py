"""Schema changes to a file that an earlier release made, and the copy that is taken before them.

New tables and new keys of `meta` need none of this: they are made by the first write that needs them.
"""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exporter.ledger.contents import transaction
from exporter.ledger.place import begin_part


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

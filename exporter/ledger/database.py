"""Statements on a connection to the ledger's file: it is created, prepared, read, pruned and compacted."""

import logging
import sqlite3
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from exporter.ledger import contents, families, marks, schema, unpriced_time
from exporter.ledger.contents import Contents
from exporter.ledger.errors import DamagedError
from exporter.ledger.history import days_floor, read_history
from exporter.ledger.totals import Retained, Totals, write_totals
from exporter.units import Instant, Picodollars, hour_of

log = logging.getLogger(__name__)

SPARE_BYTES: Final = 16 * 1024 * 1024
"""Free space inside the file above which a start returns it to the disk."""

COMPACTED_BYTES_MAX: Final = 16 * 1024 * 1024
"""Largest content of a file that is compacted: SQLite copies it in memory."""


class FileMeta(NamedTuple):
    """Single values of a commit, a row of `meta` each. The file keeps its own value where one is `None`."""

    accrued: Picodollars
    """What the GPUs accrued, from segments, before anything was split."""
    accrued_by_state: Picodollars
    """The same money, as the cost model counts it from tick to tick."""
    wall: Instant | None
    """The wall clock's time of the latest tick."""
    committed: Instant | None
    """Time of the commit."""
    commits: int
    """Number of commits up to this one."""
    begun: Instant | None
    """Time of the first commit."""
    machine: str | None
    """Identity of the ledger's machine."""
    timezone: str | None
    """Time zone of the ledger's days."""
    host: str | None = None
    """Name of the host."""
    late_charge: Instant | None = None
    """End of the latest tick that charged unpriced time whose price came."""
    host_end: Instant = 0
    """When the host's cloud ends it; 0 without a notice, so that one that was withdrawn leaves the file."""


def is_new(connection: sqlite3.Connection) -> bool:
    """Whether nothing was ever committed to the file: it is new, or its maker was killed at once."""
    (objects,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    return bool(objects == 0 and application == 0)


def create(connection: sqlite3.Connection, ledger: str, fresh_in: str = "") -> None:
    """Make a new file a ledger with this id.

    It stores `fresh_in`, the id of the boot whose first ledger it is, if it is one.
    """
    connection.execute(f"PRAGMA page_size = {schema.PAGE_BYTES}")
    prepare(connection)
    meta = {"ledger": ledger, "reader": schema.READER, "accrued": 0, "accrued_by_state": 0}
    if fresh_in:
        meta["fresh_in"] = fresh_in
    with contents.transaction(connection):
        connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {schema.VERSION}")
        for statement in schema.DDL:
            connection.execute(statement)
        connection.executemany("INSERT INTO meta (key, value) VALUES (?, ?)", meta.items())


def prepare(connection: sqlite3.Connection) -> None:
    """Set what a connection that writes needs, and open SQLite's log."""
    connection.execute("PRAGMA journal_mode = WAL").fetchone()
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA cache_size = {schema.CACHE_KIBIBYTES}")
    connection.execute(f"PRAGMA journal_size_limit = {schema.JOURNAL_BYTES}")
    # What is written is checked before it is bound: checking types again was a seventh of the time of rows.
    connection.execute("PRAGMA ignore_check_constraints = ON")
    # Opens the log, whose inode identifies it from here on.
    connection.execute("SELECT count(*) FROM sqlite_master").fetchone()


def read_all(connection: sqlite3.Connection) -> Contents:
    """Read everything in one transaction, the last day of the history included.

    Raises:
        DamagedError: a part that every ledger has is missing.
        sqlite3.Error: it cannot be read.
    """
    with contents.transaction(connection, "DEFERRED"):
        opened = contents.read(connection)
        last = hour_of(opened.state.wall or 0)
        # The last day is for the page only: the totals are right without it.
        with suppress(DamagedError):
            first = last - contents.DAY_HOURS + 1
            hours = read_history(connection, "hourly", first, last, contents.DAY_FAMILIES)
            opened = replace(opened, day=contents.LastDay(hours))
    return opened


def refuse_another(connection: sqlite3.Connection, committed: Contents) -> None:
    """Check by id and number of commits that a file is the ledger whose contents were committed.

    Its time proves nothing, since a clock may be set back. After a commit that failed after it had reached
    the disk the file is ahead.

    Raises:
        DamagedError: it is another file, or an older copy.
    """
    contents.refuse_foreign(connection)
    meta = schema.meta_of(connection)
    if meta.get("ledger") != committed.ledger:
        raise DamagedError("it is another ledger")
    commits = meta.get("commits", 0)
    if not isinstance(commits, int) or commits < committed.commits:
        raise DamagedError("it is an older copy of this ledger")


def is_whole(connection: sqlite3.Connection) -> bool:
    """Whether all of an open file can still be read. It may have no name any more."""
    try:
        (first, *_rest) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error:
        return False
    return bool(first == "ok")


def compact(connection: sqlite3.Connection, opened: Contents) -> None:
    """Delete the marks that were too large to be read, and return free space to the disk.

    They would be too large at each start. Totals are never deleted.
    """
    if opened.oversized:
        with contents.transaction(connection):
            connection.executemany("DELETE FROM state WHERE id = ?", [(row,) for row in opened.oversized])
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    spare = free * page_bytes
    content = (pages - free) * page_bytes
    is_worth_it = spare >= SPARE_BYTES and spare >= content
    if not is_worth_it or content > COMPACTED_BYTES_MAX:
        return
    try:
        # A container may have no folder for temporary files, and what remains is small.
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error as error:
        log.warning("ledger compaction failed", extra={"problem": str(error)})
        return
    log.info("ledger compacted", extra={"freed_bytes": spare})


def prune(connection: sqlite3.Connection, retained: Retained) -> None:
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


def write_from_memory(part: Path, connect: schema.Connect, committed: Contents, now: Instant) -> None:
    """Fill a file with the last commit: the id, totals and marks, without history and adjustments.

    Unpriced time is that of the last hour.
    """
    wall = committed.state.wall
    with closing(connect(part.absolute().as_uri())) as connection:
        create(connection, committed.ledger)
        with contents.transaction(connection):
            keys = schema.Keys(connection)
            write_totals(connection, keys, Totals().with_added(committed.totals, wall or 0).changes)
            unpriced_time.write_unpriced(connection, keys, committed.recent)
            write_texts(connection, {}, committed.texts)
            meta = FileMeta(
                accrued=committed.totals.accrued,
                accrued_by_state=committed.state.accrued,
                wall=wall,
                committed=committed.last_commit or now,
                commits=committed.commits,
                begun=committed.begun,
                machine=committed.machine or None,
                timezone=committed.zone or None,
            )
            write_meta(connection, meta)


def write_meta(connection: sqlite3.Connection, meta: FileMeta) -> None:
    """Write the single values of a commit.

    Raises:
        OverflowError: an amount passes what the file holds.
    """
    rows = {name: value for name, value in meta._asdict().items() if value is not None}
    for name, value in rows.items():
        if isinstance(value, int):
            schema.bounded(value, name)
    connection.executemany("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", rows.items())


def replace_texts(connection: sqlite3.Connection, texts: Mapping[marks.MarkScope, str]) -> None:
    """Write all marks anew, whichever the file has. Those of kinds that this release does not know stay."""
    kinds = [(kind,) for kind in marks.KINDS]
    connection.executemany("DELETE FROM state WHERE scope = ?", kinds)
    write_texts(connection, {}, texts)


def write_texts(
    connection: sqlite3.Connection,
    in_file: Mapping[marks.MarkScope, str],
    texts: Mapping[marks.MarkScope, str],
) -> None:
    """Write the marks whose text in the file is another one, and delete the marks that are gone."""
    # A start would not read longer texts: their marks end with this process.
    fitting = {scope: text for scope, text in texts.items() if len(text) <= contents.MARK_BYTES}
    connection.executemany(
        "INSERT INTO state (scope, key, body) VALUES (?, ?, ?)"
        " ON CONFLICT (scope, key) DO UPDATE SET body = excluded.body",
        [(*scope, text) for scope, text in fitting.items() if in_file.get(scope) != text],
    )
    gone = in_file.keys() - fitting.keys()
    connection.executemany("DELETE FROM state WHERE scope = ? AND key = ?", gone)

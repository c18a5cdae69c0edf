"""Contents of a ledger's file: read, checked, and served as committed totals."""

import sqlite3
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

from exporter.config.problems import shown
from exporter.cost.money import add, add_all
from exporter.cost.postings import PHASES, CostOwner, OwnerPhase, UnpricedTime
from exporter.cost.projection import RecentUsage, UsageHour
from exporter.cost.server_states import FORGOTTEN_AFTER
from exporter.cost.state import State
from exporter.ledger import marks, schema, unpriced_time
from exporter.ledger.errors import (
    DamagedError,
    ForeignSchemaError,
    LedgerError,
    LedgerLockedError,
    primary_code,
)
from exporter.ledger.families import NO_KEY
from exporter.ledger.history import History, HistoryCache, HistorySums
from exporter.ledger.last_hour import window
from exporter.ledger.totals import HOURS_KEPT, HourSums, Totals, read_totals
from exporter.readings import Gpu, ServerKey
from exporter.report import CommittedTotals, Hour, RecentHistory
from exporter.units import (
    NANOSECONDS_PER_HOUR,
    Instant,
    Millijoules,
    Nanoseconds,
    Picodollars,
    hour_of,
)

_KEY_SHOWN: Final = 200
"""Characters of a row's key in a message."""

MAGIC: Final = b"SQLite format 3\0"

_DAMAGED: Final = (
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_TOOBIG,
)
"""`ERROR` is a statement that does not fit the file's tables, `TOOBIG` a value of another writer."""

CHECKS_TABLES: Final = (3, 33, 0)
"""The first version of SQLite that checks single tables."""

MARK_BYTES: Final = 4 * 1024 * 1024
"""Largest mark of one GPU, endpoint, gateway or server. Longer ones are neither read nor written."""

MARKS_BYTES: Final = 16 * 1024 * 1024
"""Limit of all marks together: in memory they take several times as much."""

_BOUNDED: Final = frozenset({"endpoint", "gateway"})
"""Marks of other programs' pages. The rest, which the cost depends on, is read first."""


DAY_HOURS: Final = 24
MIX_HOURS: Final = 2
"""Hours in which the last 60 minutes lie."""
MONTH_HOURS: Final = 32 * 24
"""Hours that a month may have, and a day."""

DAY_FAMILIES: Final = ("cost", "tokens", "server_cost")
"""Families of history that the page draws."""


@dataclass(frozen=True, slots=True)
class LastDay:
    """Committed history of the last 24 hours of the clock, the current one included."""

    hours: Mapping[int, HistorySums] = field(default_factory=dict)
    """Sums of the families that the page draws, by hour since 1970."""

    def after(self, committed: History, end: Instant) -> "LastDay":
        """The last day after a commit, up to the end of its last tick. This one stays as it is."""
        latest = hour_of(end - 1)
        first = latest - DAY_HOURS + 1
        hours = {hour: sums for hour, sums in self.hours.items() if first <= hour <= latest}
        changed: dict[int, HistorySums] = {}
        for (_day, hour), posted in committed.cells.items():
            if not first <= hour <= latest:
                continue
            if hour not in changed:
                changed[hour] = hours.get(hour, HistorySums()).copy()
            add_all(changed[hour].cost, posted.cost)
            add_all(changed[hour].tokens, posted.tokens)
            add_all(changed[hour].server_cost, posted.server_cost)
        return LastDay({**hours, **changed})

    def recent(self, totals: Totals, now: Instant) -> RecentHistory:
        """The recent history at an instant."""
        latest = hour_of(now)
        day = HistorySums()
        mix = HistorySums()
        hours: list[Hour] = []
        for hour in range(latest - DAY_HOURS + 1, latest + 1):
            sums = self.hours.get(hour, HistorySums())
            add_all(day.tokens, sums.tokens)
            add_all(day.server_cost, sums.server_cost)
            if hour > latest - MIX_HOURS:
                add_all(mix.server_cost, sums.server_cost)
            money: dict[str, Picodollars] = {}
            for owner_phase, amount in sums.cost.items():
                add(money, owner_phase.phase, amount)
            covered = totals.hours[hour].covered.get(NO_KEY, 0) if hour in totals.hours else 0
            hours.append(Hour(hour * NANOSECONDS_PER_HOUR, money, covered))

        components: dict[str, Picodollars] = {}
        for (_server, component), amount in day.by_component().items():
            add(components, component, amount)
        # Whole hours of the last month, from the first one with cost on.
        month = {
            hour: sum(hour_sums.cost.values())
            for hour, hour_sums in totals.hours.items()
            if hour_sums.cost and latest - MONTH_HOURS <= hour < latest
        }
        before = tuple(month.get(hour) for hour in range(min(month, default=latest), latest))
        return RecentHistory(tuple(hours), day.tokens, components, mix.by_component(), before)


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything in the file, as of one commit."""

    ledger: str
    """Id of the ledger."""
    totals: Totals
    """Every sum but the history."""
    state: State
    """State of the cost model, with `wall` and `accrued`."""
    texts: Mapping[marks.MarkScope, str]
    """Texts of the scopes of the cost model's state, unreadable ones included."""
    machine: str = ""
    """Identity of the machine that the ledger was last bound to, empty for none."""
    zone: str = ""
    """Time zone of the last tick, empty before the first."""
    dropped: tuple[str, ...] = ()
    """Sentences about marks that could not be read."""
    last_commit: Instant | None = None
    """Time of the last commit; `None` before the first one."""
    commits: int = 0
    """Number of commits: an older copy of the file has fewer."""
    begun: Instant | None = None
    """Time of the first commit."""
    last_unpriced: int = 0
    """Number of the latest range of unpriced time."""
    recent: Mapping[int, UnpricedTime] = field(default_factory=dict)
    """Ranges of unpriced time of the last hour, by number."""
    day: LastDay = field(default_factory=LastDay)
    """History of the last day for the page; empty where it could not be read."""
    history: HistoryCache = field(default_factory=dict)
    """Cache of rows of history."""
    oversized: tuple[int, ...] = ()
    """Rows of `state` that were left out for their size."""


def empty() -> Contents:
    """An empty ledger with a new id."""
    return Contents(str(uuid.uuid4()), Totals(), State(), {})


@contextmanager
def failures(path: Path) -> Iterator[None]:
    """Sort SQLite's errors on opening: damaged, locked, and the rest as they are."""
    try:
        yield
    except UnicodeDecodeError as error:  # of SQLite's own message about a schema that it cannot read
        raise DamagedError("text in it is not UTF-8") from error
    except sqlite3.Error as error:
        code = primary_code(error)
        if code in _DAMAGED:
            raise DamagedError(str(error)) from error
        if code == sqlite3.SQLITE_BUSY:
            raise LedgerLockedError(
                f"{path} is locked by another program: close the shell or the backup that holds it"
            ) from error
        raise


@contextmanager
def transaction(
    connection: sqlite3.Connection, kind: str = "IMMEDIATE", *, keep: bool = True
) -> Iterator[sqlite3.Connection]:
    """One transaction: committed at the end with `keep`, rolled back when anything raises."""
    connection.execute(f"BEGIN {kind}")
    try:
        yield connection
        connection.execute("COMMIT" if keep else "ROLLBACK")
    except BaseException:
        # Some errors have rolled back already.
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def refuse_other_files(path: Path) -> None:
    """Check by its first bytes that a file is a database, if there is one.

    The caller has checked that the file is a regular one (`files.irregular`).

    Raises:
        DamagedError: it is not a database.
        OSError: it cannot be read.
    """
    # Before SQLite opens it: SQLite deletes the log of a file that is not its own, and that may be evidence.
    with suppress(FileNotFoundError), path.open("rb") as file:
        begin = file.read(len(MAGIC))
        # A file of one byte is an empty one to SQLite.
        if len(begin) > 1 and begin != MAGIC:
            raise DamagedError("file is not a database")


def check(connection: sqlite3.Connection, path: Path, tables: Collection[str] = ()) -> None:
    """Check that the file is a whole ledger that this release may use.

    With `tables` only these are checked for damage: hours of a year are most of the file.

    Raises:
        DamagedError: it is not ours or not whole.
        LedgerError: a later release wrote it, and this one must not use it.
        sqlite3.Error: it cannot be read.
    """
    refuse_foreign(connection)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version < schema.VERSION:
        raise ForeignSchemaError(
            f"it has schema {version}, of before the first release; this one reads schema {schema.VERSION}"
        )
    checked: Iterable[str] = ("1",)  # one problem is enough
    if tables and sqlite3.sqlite_version_info >= CHECKS_TABLES:
        checked = [f"'{name}'" for name in sorted(tables)]
    for argument in checked:
        (first, *_rest) = connection.execute(f"PRAGMA quick_check({argument})").fetchone()
        if first != "ok":
            raise DamagedError(str(first).replace("\n", " "))
    reader = _integer(schema.meta_of(connection), "reader") or schema.VERSION
    if version > schema.VERSION and reader > schema.VERSION:
        raise LedgerError(
            f"{path} has schema {version}, which releases before schema {reader} must not use; "
            f"this one knows {schema.VERSION}: upgrade the exporter, or give it a --ledger.path of its own"
        )


def refuse_foreign(connection: sqlite3.Connection) -> None:
    """Refuse another program's database, and a schema that runs SQL of its own.

    A later release may add tables, columns, indexes and views. Views are for people: the exporter reads
    none, unless one has the name of a table.

    Raises:
        DamagedError: it is not ours.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    objects = connection.execute(
        "SELECT type, name, sql LIKE 'CREATE VIRTUAL%' FROM sqlite_master"
    ).fetchall()
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    if pages and application == 0 and not objects:
        raise DamagedError(
            "it has no tables, as a young ledger that was copied without its -wal: copy both files, or take "
            "a backup with VACUUM INTO"
        )
    if application != schema.APPLICATION_ID:
        raise DamagedError("it is another program's database")
    for kind, name, virtual in objects:
        if kind == "trigger" or virtual:
            raise DamagedError(
                f"it has a {'trigger' if kind == 'trigger' else 'virtual table'}, {shown(name)}"
            )
        if kind == "view" and str(name).lower() in schema.TABLES:
            raise DamagedError(f"it has a view in the place of its table {shown(name)}")


class _StoredMarks(NamedTuple):
    """Rows of `state` in their order."""

    rows: list[tuple[str, str, str]]
    """Scope, key and text of each row that was read."""
    oversized: tuple[int, ...]
    """Numbers of rows that are too large."""
    sentences: tuple[str, ...]
    """A sentence about each row that is too large."""


def _read_marks(connection: sqlite3.Connection) -> _StoredMarks:
    """Read the rows of `state` that fit the limits.

    A row is measured before it is read: a huge one could end a process with little memory.
    """
    rows = connection.execute("SELECT id, scope, key FROM state ORDER BY id").fetchall()
    sizes: dict[int, int] = {}
    for number, _scope, _key in rows:
        with connection.blobopen("state", "body", number, readonly=True) as body:
            sizes[number] = len(body)
    # Where not all fit, one endpoint with a large page is dropped before many with small ones.
    by_worth = sorted(rows, key=lambda row: (row[1] in _BOUNDED, sizes[row[0]]))
    room = MARKS_BYTES
    fitting: set[int] = set()
    for number, _scope, _key in by_worth:
        if sizes[number] <= min(MARK_BYTES, room):
            room -= sizes[number]
            fitting.add(number)
    stored: list[tuple[str, str, str]] = []
    oversized: list[int] = []
    sentences: list[str] = []
    for number, scope, key in rows:
        if number in fitting:
            (text,) = connection.execute("SELECT body FROM state WHERE id = ?", (number,)).fetchone()
            stored.append((scope, key, text))
            continue
        oversized.append(number)
        sentences.append(
            f"what was remembered of {scope} {key[:_KEY_SHOWN]} takes {sizes[number]} bytes and was dropped: "
            "its counters are counted from their next read on"
        )
    return _StoredMarks(stored, tuple(oversized), tuple(sentences))


def read(connection: sqlite3.Connection) -> Contents:
    """Read everything, inside the running transaction.

    Raises:
        DamagedError: a part that every ledger has is missing.
        sqlite3.Error: it cannot be read.
    """
    meta = schema.meta_of(connection)
    ledger = meta.get("ledger")
    accrued = _integer(meta, "accrued")
    accrued_by_state = _integer(meta, "accrued_by_state")
    if accrued is None or accrued_by_state is None or not isinstance(ledger, str):
        raise DamagedError("its id or what it accrued is missing")
    wall = _integer(meta, "wall")
    totals = read_totals(connection)
    totals.accrued = accrued
    stored = _read_marks(connection)
    state, dropped = marks.state_of(stored.rows)
    # The boot of which a ledger is the first counts until anything was metered.
    metered = accrued != 0 or any(scope in {"gpu", "unseen"} for scope, _key, _text in stored.rows)
    fresh_in = "" if metered else _text(meta, "fresh_in")
    return Contents(
        ledger=ledger,
        totals=totals,
        state=replace(state, wall=wall, accrued=accrued_by_state, fresh_in=fresh_in),
        texts={marks.MarkScope(kind, key): text for kind, key, text in stored.rows if kind in marks.KINDS},
        machine=_text(meta, "machine"),
        zone=_text(meta, "timezone"),
        dropped=(*stored.sentences, *dropped),
        last_commit=_integer(meta, "committed"),
        commits=_integer(meta, "commits") or 0,
        begun=_integer(meta, "begun"),
        last_unpriced=unpriced_time.last_number(connection),
        recent=unpriced_time.read_recent(connection, wall or 0),
        oversized=stored.oversized,
    )


def _text(meta: Mapping[str, object], key: str) -> str:
    value = meta.get(key)
    return value if isinstance(value, str) else ""


def _integer(meta: Mapping[str, object], key: str) -> int | None:
    value = meta.get(key)
    if value is None or isinstance(value, int):
        return value
    raise DamagedError(f"`{key}` in its meta table is no integer")


def committed_totals(
    committed: Contents, now: Instant, months: Collection[str], served_keys: Collection[ServerKey] | None
) -> CommittedTotals:
    """Totals of a file that could be written, as they are served at an instant.

    Args:
        committed: contents at the last commit.
        now: the wall clock's time.
        months: names of the months to include.
        served_keys: servers of the latest tick; with `None` no owner is retired.
    """
    totals = committed.totals  # of one commit: no later one changes them
    counters = totals.counters
    owners = frozenset(
        owner
        for owner, changed in counters.changed.items()
        if served_keys is None or now - changed < FORGOTTEN_AFTER or owner.key in served_keys
    )
    unpriced: dict[Gpu, Nanoseconds] = {}
    for (gpu, _owner), duration in counters.unpriced.items():
        add(unpriced, gpu, duration)
    # Instants of a clock that was ahead do not count.
    first_held = counters.first_held.values()
    metered = [instant for instant in (*first_held, committed.begun or now) if instant <= now]
    return CommittedTotals(
        ledger=committed.ledger,
        persistent=True,
        writable=True,
        last_commit=committed.last_commit,
        begun=committed.begun,
        residual=residual(totals, committed.state.accrued),
        cost=_by_phase(counters.cost, owners),
        gpu_time=_by_phase(counters.held, owners),
        server_cost=counters.server_cost,
        gpu_cost=counters.gpu_cost,
        tokens={key: count for key, count in counters.tokens.items() if key[0] in owners},
        requests={owner: count for owner, count in counters.requests.items() if owner in owners},
        latencies={key: count for key, count in counters.latencies.items() if key.owner in owners},
        preemptions={owner: count for owner, count in counters.preemptions.items() if owner in owners},
        equivalents={key: amount for key, amount in counters.equivalents.items() if key[0] in owners},
        energy=counters.energy,
        unpriced=unpriced,
        uncharged=committed.state.uncharged,
        replaced=committed.state.replaced,
        last_token={owner: at for owner, at in counters.last_token.items() if owner in owners},
        months={cell: amount for cell, amount in counters.months.items() if cell.month in months},
        window=window(totals, committed.recent.values(), now),
        usage=recent_usage(totals, now),
        metered_since=min(metered, default=None) if counters.first_held else None,
        history=committed.day.recent(totals, now),
    )


def residual(totals: Totals, accrued: Picodollars) -> Picodollars:
    """Accrued minus posted, by the family with the largest difference; anything but 0 is a bug.

    Accrued money is counted twice: here from the segments, and by the cost model from tick to tick.
    """
    families = (
        accrued,
        sum(totals.counters.cost.values()),
        sum(totals.counters.server_cost.values()),
        sum(totals.counters.gpu_cost.values()),
    )
    return max((totals.accrued - posted for posted in families), key=abs)


def recent_usage(totals: Totals, now: Instant) -> RecentUsage:
    """Use of GPUs by product in the metered hours that the last 24 hours touch."""
    latest = hour_of(now)
    hours: list[UsageHour] = []
    for hour in range(latest - DAY_HOURS, latest + 1):
        sums = totals.hours.get(hour, HourSums())
        if not sums.usage and not sums.down:
            continue
        time: dict[Gpu, dict[str, Nanoseconds]] = {}
        for (gpu, product), duration in sums.usage.items():
            time.setdefault(gpu, {})[product] = duration
        energy: dict[Gpu, dict[str, Millijoules]] = {}
        for (gpu, product), used in sums.energy.items():
            energy.setdefault(gpu, {})[product] = used
        start = hour * NANOSECONDS_PER_HOUR
        hours.append(UsageHour(start, sums.covered.get(NO_KEY, 0), sums.down.get(NO_KEY, 0), time, energy))
    last_hours: dict[str, int] = {}
    last_used = 0
    for used_hour in hours:
        if used_hour.time:
            last_used = hour_of(used_hour.start)
            last_hours.update(dict.fromkeys(used_hour.products, last_used))
    # Products without a GPU now that came back from an absence of the same length before.
    intermittent: set[str] = set()
    for product, last in last_hours.items():
        if last == last_used:
            continue
        hours_before = range(last - 1, last - HOURS_KEPT, -1)
        with_cost = [
            hour for hour in hours_before if hour in totals.hours and product in totals.hours[hour].cost
        ]
        if any(later - hour > last_used - last for later, hour in pairwise([last, *with_cost])):
            intermittent.add(product)
    return RecentUsage(tuple(hours), totals.counters.first_held, frozenset(intermittent))


def _by_phase(sums: dict[OwnerPhase, int], owners: frozenset[CostOwner]) -> dict[OwnerPhase, int]:
    """All phases of each owner, from its first tick, at 0."""
    return {key: sums.get(key, 0) for key in _owner_phases(owners)}


@lru_cache(maxsize=1)  # owners seldom come or go
def _owner_phases(owners: frozenset[CostOwner]) -> tuple[OwnerPhase, ...]:
    return tuple(OwnerPhase(owner, phase) for owner in sorted(owners) for phase in PHASES)

"""Contents of a ledger's file: read, checked, and served as committed totals."""

import sqlite3
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Final

from exporter.config.problems import shown
from exporter.cost.admission import RETIRED_AFTER
from exporter.cost.money import add
from exporter.cost.postings import PHASES, CostOwner, OwnerPhase, UnpricedTime
from exporter.cost.projection import RecentUsage, UsageHour
from exporter.cost.state import State
from exporter.ledger import marks, schema, unpriced_time
from exporter.ledger.errors import DamagedError, ForeignSchemaError, LedgerError, LedgerLockedError
from exporter.ledger.history import HistoryCache
from exporter.ledger.last_day import DAY_HOURS, LastDay
from exporter.ledger.totals import HOURS_KEPT, Totals, hour_of, minute_of, read_totals, sum_minutes
from exporter.readings import Gpu, ServerKey
from exporter.report import CommittedTotals, Window
from exporter.units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_MINUTE, Instant, Nanoseconds, Picodollars

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


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything in the file, as of one commit.

    `state` has `wall` and `accrued`. `texts` are the stored texts of its scopes, unreadable ones included.
    `machine` is the identity of the machine that the ledger was last bound to, empty for none.
    `commits` counts commits: an older copy of the file has fewer.
    `zone` is the name of the last tick's time zone, empty before the first tick.
    `last_unpriced` is the number of the latest range of unpriced time. `recent` are the ranges of the last
    hour, by number. `day` is empty unless it was filled. `history` is the cache of its history rows.
    `oversized` are the rows of `state` that were left out for their size.
    """

    ledger: str
    totals: Totals
    state: State
    texts: Mapping[marks.Scope, str]
    machine: str = ""
    zone: str = ""
    dropped: tuple[str, ...] = ()
    last_commit: Instant | None = None
    commits: int = 0
    begun: Instant | None = None
    last_unpriced: int = 0
    recent: Mapping[int, UnpricedTime] = field(default_factory=dict)
    day: LastDay = field(default_factory=LastDay)
    history: HistoryCache = field(default_factory=dict)
    oversized: tuple[int, ...] = ()


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
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
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


def _marks(
    connection: sqlite3.Connection,
) -> tuple[list[tuple[str, str, str]], tuple[int, ...], tuple[str, ...]]:
    """Rows of `state` in their order, numbers of rows that are too large, and a sentence on each of these.

    A row is measured before it is read: a huge one could end a process with little memory.
    """
    rows = connection.execute("SELECT id, scope, key FROM state ORDER BY id").fetchall()
    sizes = {number: _size(connection, number) for number, _scope, _key in rows}
    # Where not all fit, one endpoint with a large page is dropped before many with small ones.
    by_worth = sorted(rows, key=lambda row: (row[1] in _BOUNDED, sizes[row[0]]))
    room, fitting = MARKS_BYTES, set()
    for number, _scope, _key in by_worth:
        if sizes[number] <= min(MARK_BYTES, room):
            room -= sizes[number]
            fitting.add(number)
    stored = [
        (scope, key, connection.execute("SELECT body FROM state WHERE id = ?", (number,)).fetchone()[0])
        for number, scope, key in rows
        if number in fitting
    ]
    left_out = [(number, scope, key) for number, scope, key in rows if number not in fitting]
    sentences = tuple(
        f"what was remembered of {scope} {key[:_KEY_SHOWN]} takes {sizes[number]} bytes and was dropped: "
        "its counters are counted from their next read on"
        for number, scope, key in left_out
    )
    return stored, tuple(number for number, _scope, _key in left_out), sentences


def _size(connection: sqlite3.Connection, number: int) -> int:
    with connection.blobopen("state", "body", number, readonly=True) as body:
        return len(body)


def read(connection: sqlite3.Connection) -> Contents:
    """Read everything, inside the running transaction.

    Raises:
        DamagedError: a part that every ledger has is missing.
        sqlite3.Error: it cannot be read.
    """
    meta = schema.meta_of(connection)
    totals = read_totals(connection)
    last_unpriced = unpriced_time.last_number(connection)
    recent = unpriced_time.read_recent(connection, _integer(meta, "wall") or 0)
    stored, oversized, too_large = _marks(connection)
    state, dropped = marks.state_of(stored)
    accrued, by_state, ledger = (
        _integer(meta, "accrued"),
        _integer(meta, "accrued_by_state"),
        meta.get("ledger"),
    )
    if accrued is None or by_state is None or not isinstance(ledger, str):
        raise DamagedError("its id or what it accrued is missing")
    totals.accrued = accrued
    machine, zone, fresh_in = meta.get("machine"), meta.get("timezone"), meta.get("fresh_in")
    begun = totals.accrued != 0 or any(scope in {"gpu", "unseen"} for scope, _key, _body in stored)
    return Contents(
        ledger=ledger,
        totals=totals,
        state=replace(
            state,
            wall=_integer(meta, "wall"),
            accrued=by_state,
            fresh_in=fresh_in if isinstance(fresh_in, str) and not begun else "",
        ),
        texts={(scope, key): body for scope, key, body in stored if scope in marks.SCOPES},
        machine=machine if isinstance(machine, str) else "",
        zone=zone if isinstance(zone, str) else "",
        dropped=(*too_large, *dropped),
        last_commit=_integer(meta, "committed"),
        commits=_integer(meta, "commits") or 0,
        begun=_integer(meta, "begun"),
        last_unpriced=last_unpriced,
        recent=recent,
        oversized=oversized,
    )


def _integer(meta: Mapping[str, object], key: str) -> int | None:
    value = meta.get(key)
    if value is None or isinstance(value, int):
        return value
    raise DamagedError(f"`{key}` in its meta table is no integer")


WINDOW_MINUTES: Final = 60


def committed_totals(
    contents: Contents,
    now: Instant,
    months: Collection[str],
    served_keys: Collection[ServerKey] | None,
    *,
    persistent: bool,
    writable: bool,
    fleeting: bool = False,
    moved_aside: str = "",
    displaced: str = "",
    unread: bool = False,
) -> CommittedTotals:
    """Committed totals as they are served at an instant.

    Args:
        contents: the contents of the last commit.
        now: the wall clock's time.
        months: names of the months to include.
        served_keys: servers of the latest tick; with `None` no owner is retired.
        persistent: whether the ledger is on disk.
        writable: whether the last write succeeded.
        fleeting: whether the ledger ends with its pod.
        moved_aside: name of the earlier file if the ledger started from zero.
        displaced: name of the ledger's file since another one took its place.
        unread: whether the ledger is in memory since its file cannot be read.
    """
    totals = contents.totals  # of one commit: no later one changes them
    counters = totals.counters
    owners = _served_owners(totals, now, served_keys)
    month_cells = {key: amount for key, amount in counters.months.items() if key.month in months}
    last_token = {owner: at for owner, at in counters.last_token.items() if owner in owners}
    return CommittedTotals(
        ledger=contents.ledger,
        persistent=persistent,
        writable=writable,
        last_commit=contents.last_commit,
        begun=contents.begun,
        residual=residual(totals, contents.state.accrued),
        cost=_by_phase(totals.counters.cost, owners),
        gpu_time=_by_phase(totals.counters.held, owners),
        server_cost=totals.counters.server_cost,
        gpu_cost=totals.counters.gpu_cost,
        tokens={key: count for key, count in totals.counters.tokens.items() if key[0] in owners},
        requests={owner: count for owner, count in totals.counters.requests.items() if owner in owners},
        latencies={key: count for key, count in totals.counters.latencies.items() if key[0] in owners},
        preemptions={owner: count for owner, count in totals.counters.preemptions.items() if owner in owners},
        equivalents={key: amount for key, amount in totals.counters.equivalents.items() if key[0] in owners},
        energy=totals.counters.energy,
        unpriced=_unpriced(totals),
        uncharged=contents.state.uncharged,
        replaced=contents.state.replaced,
        last_token=last_token,
        months=month_cells,
        window=window(totals, contents.recent.values(), now),
        usage=recent_usage(totals, now),
        metered_since=_metered_since(contents, now),
        history=contents.day.recent(totals, now),
        fleeting=fleeting,
        moved_aside=moved_aside,
        displaced=displaced,
        unread=unread,
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


def window(totals: Totals, waiting: Iterable[UnpricedTime], now: Instant) -> Mapping[CostOwner, Window]:
    """Sums over the last 60 whole minutes, or over the time of a younger ledger.

    The same mapping until another minute or amount is in them, unless some time is unpriced.
    Unpriced time that lies partly in them counts as if it were spread evenly, since nothing finer is stored.
    A part is never rounded down to nothing.
    """
    end = minute_of(now)
    start = end - WINDOW_MINUTES
    windows = sum_minutes(totals, range(start, end))
    unpriced: dict[CostOwner, Nanoseconds] = {}
    for time in waiting:
        inside = min(time.end, end * NANOSECONDS_PER_MINUTE) - max(time.start, start * NANOSECONDS_PER_MINUTE)
        if inside > 0:
            for owner_phase, used in time.usage.items():
                part = -(-used.time * inside // (time.end - time.start))
                add(unpriced, owner_phase.owner, part)
    if not unpriced:
        return windows
    waits = {owner: replace(windows.get(owner, Window()), unpriced=part) for owner, part in unpriced.items()}
    return {**windows, **waits}


def recent_usage(totals: Totals, now: Instant) -> RecentUsage:
    """Use of GPUs by product in the metered hours that the last 24 hours touch."""
    last = hour_of(now)
    hours = tuple(_usage_hours(totals, range(last - DAY_HOURS, last + 1)))
    return RecentUsage(hours, totals.counters.first_held, frozenset(_intermittent(totals, hours)))


def _usage_hours(totals: Totals, hours: Iterable[int]) -> Iterator[UsageHour]:
    """Use of GPUs in those of these hours that have any, or in which the host was down."""
    for hour in hours:
        sums = totals.hours.get(hour)
        if sums is None or not (sums.usage or sums.down):
            continue
        time: dict[Gpu, dict[str, Nanoseconds]] = {}
        for (gpu, product), duration in sums.usage.items():
            time.setdefault(gpu, {})[product] = duration
        energy: dict[Gpu, dict[str, int]] = {}
        for (gpu, product), millijoules in sums.energy.items():
            energy.setdefault(gpu, {})[product] = millijoules
        yield UsageHour(
            start=hour * NANOSECONDS_PER_HOUR,
            covered=sums.covered.get((), 0),
            down=sums.down.get((), 0),
            time=time,
            energy=energy,
        )


def _intermittent(totals: Totals, hours: Iterable[UsageHour]) -> Iterator[str]:
    """Products without a GPU now that came back from an absence of the same length before."""
    last: dict[str, int] = {}
    latest = 0
    for used in hours:
        if used.time:
            latest = hour_of(used.start)
            last.update(dict.fromkeys(used.products, latest))
    for product, hour in last.items():
        absence = latest - hour
        if absence and _came_back(totals, product, hour, absence):
            yield product


def _came_back(totals: Totals, product: str, last: int, absence: int) -> bool:
    """Whether a product had no cost for this many hours before its last one, and then had cost again."""
    later = last
    for hour in range(last, last - HOURS_KEPT, -1):
        if hour in totals.hours and product in totals.hours[hour].cost:
            if later - hour > absence:
                return True
            later = hour
    return False


def _metered_since(contents: Contents, now: Instant) -> Instant | None:
    """Start of the first metered time. Instants of a clock that was ahead do not count."""
    if not contents.totals.counters.first_held:
        return None
    instants = [*contents.totals.counters.first_held.values(), contents.begun or now]
    return min((instant for instant in instants if instant <= now), default=None)


def _served_owners(
    totals: Totals, now: Instant, served_keys: Collection[ServerKey] | None
) -> frozenset[CostOwner]:
    """Owners that are served: those that changed within a day, and those whose server is in the last tick."""
    return frozenset(
        [
            owner
            for owner, changed in totals.counters.changed.items()
            if served_keys is None or now - changed < RETIRED_AFTER or owner.key in served_keys
        ]
    )


def _by_phase(sums: dict[OwnerPhase, int], owners: frozenset[CostOwner]) -> dict[OwnerPhase, int]:
    """All phases of each owner, from its first tick, at 0."""
    return {key: sums.get(key, 0) for key in _owner_phases(owners)}


@lru_cache(maxsize=1)  # owners seldom come or go
def _owner_phases(owners: frozenset[CostOwner]) -> tuple[OwnerPhase, ...]:
    return tuple(OwnerPhase(owner, phase) for owner in sorted(owners) for phase in PHASES)


def _unpriced(totals: Totals) -> dict[Gpu, Nanoseconds]:
    by_gpu: dict[Gpu, Nanoseconds] = {}
    for (gpu, _owner), duration in totals.counters.unpriced.items():
        add(by_gpu, gpu, duration)
    return by_gpu

"""Tables of the ledger's file. Labels are stored once and referred to by integer keys.

A later release adds tables and columns with defaults, and raises `reader` only when an older one could no
longer write correct totals. A file of a schema before the first release is foreign.
"""

import operator
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

from exporter.cost.postings import CostOwner
from exporter.ledger import families
from exporter.ledger.errors import DamagedError
from exporter.ledger.families import LARGEST, Family
from exporter.readings import Gpu

APPLICATION_ID: Final = 0x4943454C
"""`ICEL` in the file's header, which identifies a ledger."""

VERSION: Final = 2
"""The schema that this release writes (`PRAGMA user_version`). It is that of the first release."""

READER: Final = 2
"""The oldest schema version whose release may use the file (`meta.reader`)."""

PAGE_BYTES: Final = 1024
"""Small pages: a tick changes a few rows in each of a dozen tables, and every page of them is written."""

JOURNAL_BYTES: Final = 4 * 1024 * 1024
"""A write-ahead log that a slow reader made longer is cut back to this."""

CACHE_KIBIBYTES: Final = -256
"""SQLite counts pages of cache unless it is negative. A tick touches fewer; the default holds 2 MiB."""

BUSY_SECONDS: Final = 1.0
"""How long SQLite waits for another writer (a person's shell, a verb that appends)."""

RowKey = tuple[int, ...]
"""Integer keys of a row's labels, owners and GPUs, without its period."""

Connect = Callable[[str], sqlite3.Connection]
"""Opens a database by URI. Tests pass one that fails."""

STATEMENTS_KEPT: Final = 128
"""Compiled statements that stay: those of each table of totals and history."""


def write_rows(
    connection: sqlite3.Connection, family: Family, period: int, rows: Mapping[RowKey, int]
) -> None:
    """Insert or replace values of a family, inside the running transaction.

    Args:
        connection: in a transaction.
        family: the family.
        period: the minute, hour or day of all rows; 0 for running totals.
        rows: values by the integer keys of their columns.

    Raises:
        OverflowError: a value passes what the file holds.
    """
    if not rows:
        return
    for value in (max(rows.values()), min(rows.values())):
        bounded(value, family.table)
    common = (period,) if family.period else ()
    numbers = [(*common, *key, value) for key, value in rows.items()]
    connection.executemany(_upsert(family), numbers)


@cache
def _upsert(family: Family) -> str:
    keys = family.primary_key
    columns = [*keys, family.value]
    return (
        f"INSERT INTO {family.table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608 - constants
        f" ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {family.value} = excluded.{family.value}"
    )


def read_rows(
    connection: sqlite3.Connection,
    names: "Names",
    family: Family,
    first: int = 0,
    last: int = LARGEST,
    fold: Callable[[Any], Any] | None = None,
) -> Iterator[tuple[int, Any, int]]:
    """Period, key and value of each row of a family, of the periods from the first to the last.

    Args:
        connection: in a transaction.
        names: the file's labels, owners and GPUs.
        family: the family.
        first: the first minute, hour or day.
        last: the last one.
        fold: maps keys to fewer ones, so that all of them are never in memory.

    Raises:
        KeyError: a row refers to what is not there.
    """
    columns = ", ".join([*family.key, family.value])
    if family.period:
        where = f" WHERE {family.period} BETWEEN ? AND ?"
        statement = f"SELECT {family.period}, {columns} FROM {family.table}{where}"  # noqa: S608 - constants
        selected = connection.execute(statement, (first, last))
    else:
        selected = connection.execute(f"SELECT 0, {columns} FROM {family.table}")  # noqa: S608 - constants
    key_of = names.keys_of(family)
    built: dict[RowKey, Any] = {}  # each hour and day has the same owners and GPUs
    for row in selected:
        numbers = row[1:-1]
        if numbers not in built:
            key = key_of(numbers)
            built[numbers] = key if fold is None else fold(key)
        yield row[0], built[numbers], row[-1]


def rows_of_period(connection: sqlite3.Connection, family: Family, period: int) -> dict[RowKey, int]:
    """Values of one hour or day of a family, by the integer keys of their columns."""
    columns = ", ".join([*family.key, family.value])
    statement = f"SELECT {columns} FROM {family.table} WHERE {family.period} = ?"  # noqa: S608 - constants
    return {tuple(key): value for *key, value in connection.execute(statement, (period,))}


def delete_before(connection: sqlite3.Connection, family: Family, period: int) -> None:
    """Delete the rows of earlier minutes, hours or days."""
    connection.execute(f"DELETE FROM {family.table} WHERE {family.period} < ?", (period,))  # noqa: S608 - constants


def _table(family: Family) -> str:
    # STRICT needs SQLite 3.37, which some systems' Python 3.11 lacks; the check does the same for us.
    keys = family.primary_key
    columns = [*keys, family.value]
    declared = [f"{column} INTEGER NOT NULL" for column in columns]
    typed = [f"typeof({column}) = 'integer'" for column in columns]
    checked = f"CHECK ({' AND '.join(typed)})"
    key = f"PRIMARY KEY ({', '.join(keys)})"
    return f"CREATE TABLE {family.table} ({', '.join([*declared, checked, key])}) WITHOUT ROWID"


def _labels(name: str, columns: tuple[str, ...]) -> str:
    declared = [f"{column} INTEGER NOT NULL" for column in columns]
    unique = f"UNIQUE ({', '.join(columns)})"
    return f"CREATE TABLE {name} ({', '.join(['id INTEGER PRIMARY KEY', *declared, unique])})"


def _view(name: str, labels: dict[str, str], value: str, tables: str) -> str:
    spelled = [
        f"(SELECT text FROM label WHERE id = {table}.{column}) AS {column}"  # noqa: S608 - constants
        for column, table in labels.items()
    ]
    return f"CREATE VIEW {name} AS SELECT {', '.join([*spelled, value])} FROM {tables}"  # noqa: S608 - constants


_STATE: Final = (
    # Ordered by id: first come keeps its place.
    "CREATE TABLE state (id INTEGER PRIMARY KEY, scope TEXT NOT NULL, key TEXT NOT NULL, "
    "body TEXT NOT NULL, UNIQUE (scope, key))"
)

_UNPRICED: Final = (
    (
        "CREATE TABLE unpriced_range (number INTEGER PRIMARY KEY, day INTEGER NOT NULL, "
        "gpu INTEGER NOT NULL, start INTEGER NOT NULL, until INTEGER NOT NULL, "
        "hourly_only INTEGER NOT NULL)"
    ),
    "CREATE INDEX unpriced_range_by_day ON unpriced_range (day)",
    (
        "CREATE TABLE unpriced_use (number INTEGER NOT NULL, owner INTEGER NOT NULL, "
        "phase INTEGER NOT NULL, nanoseconds INTEGER NOT NULL, up INTEGER NOT NULL, "
        "millijoules INTEGER NOT NULL, PRIMARY KEY (number, owner, phase)) WITHOUT ROWID"
    ),
)
"""Ranges of unpriced GPU time, and their uses by owner and phase."""

_ADJUSTMENT: Final = """\
CREATE TABLE adjustment (
  id INTEGER PRIMARY KEY,
  day INTEGER NOT NULL CHECK (typeof(day) = 'integer' AND day BETWEEN 10000101 AND 99991231),
  product INTEGER NOT NULL CHECK (typeof(product) = 'integer'),
  team INTEGER NOT NULL CHECK (typeof(team) = 'integer'),
  picodollars INTEGER NOT NULL CHECK (typeof(picodollars) = 'integer'),
  reason TEXT NOT NULL CHECK (typeof(reason) = 'text'),
  entered INTEGER NOT NULL CHECK (typeof(entered) = 'integer'),
  posted INTEGER CHECK (typeof(posted) IN ('integer', 'null')),
  kind TEXT NOT NULL DEFAULT 'manual',
  key TEXT NOT NULL DEFAULT ''
)"""

_OWNER_LABELS: Final = dict.fromkeys(("product", "team", "namespace", "server", "model"), "owner")
_DOLLARS: Final = "picodollars / 1e12 AS dollars"

_VIEWS: Final = (
    _view(
        "cost_dollars",
        {**_OWNER_LABELS, "phase": "cost"},
        _DOLLARS,
        "cost JOIN owner ON owner.id = cost.owner",
    ),
    _view(
        "day_dollars",
        {**_OWNER_LABELS, "phase": "daily_cost"},
        f"day, {_DOLLARS}",
        "daily_cost JOIN owner ON owner.id = daily_cost.owner",
    ),
    _view(
        "token_counts",
        {**_OWNER_LABELS, "kind": "tokens"},
        "count",
        "tokens JOIN owner ON owner.id = tokens.owner",
    ),
    _view(
        "gpu_dollars",
        {"uuid": "gpu", "gpu_model": "gpu", "component": "gpu_cost"},
        _DOLLARS,
        "gpu_cost JOIN gpu ON gpu.id = gpu_cost.gpu",
    ),
    _view(
        "month_dollars",
        dict.fromkeys(("month", "product", "team", "price_basis"), "months"),
        _DOLLARS,
        "months",
    ),
    _view(
        "adjustment_dollars",
        dict.fromkeys(("product", "team"), "adjustment"),
        f"id AS number, day, {_DOLLARS}, reason, posted IS NOT NULL AS posted",
        "adjustment",
    ),
)
"""For people with a shell. Nothing in the exporter reads them."""

DDL: Final = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID",
    "CREATE TABLE label (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE)",
    _labels("owner", tuple(_OWNER_LABELS)),
    _labels("gpu", ("uuid", "gpu_model")),
    _STATE,
    *map(_table, families.ALL),
    *_UNPRICED,
    # A verb enters a row. The daemon sets the time at which it posted it.
    _ADJUSTMENT,
    # What each tick asks for: empty but for seconds.
    "CREATE INDEX adjustment_waiting ON adjustment (id) WHERE posted IS NULL",
    *_VIEWS,
)
"""Statements that make the tables of a new file."""

_MADE: Final = re.compile(r"CREATE TABLE (\w+)")

TABLES: Final = frozenset(made[1] for statement in DDL if (made := _MADE.match(statement)))
"""Every table of this release."""

LONGEST: Final = 8 * 1024 * 1024
"""Most bytes of one value: SQLite refuses a longer one before it allocates memory."""


def connect(uri: str) -> sqlite3.Connection:
    """A connection without implicit transactions, for use by one thread at a time.

    A file may be crafted: its schema cannot run functions with effects, and its values have a limit.
    """
    connection = sqlite3.connect(
        uri,
        uri=True,
        isolation_level=None,
        timeout=BUSY_SECONDS,
        check_same_thread=False,
        cached_statements=STATEMENTS_KEPT,
    )
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST)
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    return connection


def day_number(day: str) -> int:
    """A day like 2026-11-30 as the file has it, a number that sorts: 20261130."""
    return int(day.replace("-", ""))


def day_name(number: int) -> str:
    """A day like 2026-11-30 from its number, 20261130."""
    return f"{number // 10000:04d}-{number // 100 % 100:02d}-{number % 100:02d}"


def month_days(month: str) -> tuple[int, int]:
    """Numbers of the first and the last day that a month like 2026-11 may have."""
    return day_number(f"{month}-01"), day_number(f"{month}-31")


def bounded(total: int, name: str) -> int:
    """Check that SQLite can hold a total.

    Raises:
        OverflowError: it is past 2**63 - 1; for money that is 9.2 million dollars.
    """
    if -LARGEST <= total <= LARGEST:
        return total
    raise OverflowError(f"a total of `{name}` passes what the file holds (2**63, 9.2 million dollars)")


def meta_of(connection: sqlite3.Connection) -> dict[str, object]:
    """Single values of the ledger, by key."""
    return dict(connection.execute("SELECT key, value FROM meta").fetchall())


_LABEL_SQL: Final = ("SELECT id FROM label WHERE text = ?", "INSERT INTO label (text) VALUES (?)")
_OWNER_SQL: Final = (
    "SELECT id FROM owner WHERE (product, team, namespace, server, model) = (?, ?, ?, ?, ?)",
    "INSERT INTO owner (product, team, namespace, server, model) VALUES (?, ?, ?, ?, ?)",
)
_GPU_SQL: Final = (
    "SELECT id FROM gpu WHERE (uuid, gpu_model) = (?, ?)",
    "INSERT INTO gpu (uuid, gpu_model) VALUES (?, ?)",
)


class Keys:
    """Integer keys of labels, owners and GPUs, made inside the running transaction.

    After a failed transaction they must not be used again: the file may lack the new ones.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._keys: dict[object, int] = {}
        self._rows: dict[tuple[str, ...], dict[Any, RowKey]] = {}

    def of(self, part: object) -> int:
        """The key of a label, an owner or a GPU."""
        key = self._keys.get(part)
        if key is not None:
            return key
        if isinstance(part, CostOwner):
            words = (part.product, part.team, part.namespace, part.server, part.model)
            key = self._mint(_OWNER_SQL, tuple(self.of(word) for word in words))
        elif isinstance(part, Gpu):
            key = self._mint(_GPU_SQL, (self.of(part.uuid), self.of(part.gpu_model)))
        else:
            key = self._mint(_LABEL_SQL, (part,))
        self._keys[part] = key
        return key

    def row(self, family: Family, key: Any) -> RowKey:
        """The integer keys of a row from a key of the family. A tick asks for the same hundreds again."""
        rows = self._rows.setdefault(family.key, {})
        row = rows.get(key)
        if row is None:
            row = tuple(self.of(part) for part in family.form.parts(key))
            rows[key] = row
        return row

    def _mint(self, statements: tuple[str, str], values: tuple[object, ...]) -> int:
        find, insert = statements
        for (key,) in self._connection.execute(find, values):
            return int(key)
        return int(self._connection.execute(insert, values).lastrowid or 0)


class Names:
    """Labels, owners and GPUs of a file, by their integer keys."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        owners = "SELECT id, product, team, namespace, server, model FROM owner"
        gpus = "SELECT id, uuid, gpu_model FROM gpu"
        self._labels: dict[int, str] = dict(connection.execute("SELECT id, text FROM label"))
        self._owners = {key: CostOwner(*map(self.label, words)) for key, *words in connection.execute(owners)}
        self._gpus = {key: Gpu(*map(self.label, words)) for key, *words in connection.execute(gpus)}

    def label(self, key: int) -> str:
        """The text of a label."""
        return self._labels[key]

    def owner(self, key: int) -> CostOwner:
        """The cost owner of a key."""
        return self._owners[key]

    def gpu(self, key: int) -> Gpu:
        """The GPU of a key."""
        return self._gpus[key]

    def keys_of(self, family: Family) -> Callable[[RowKey], Any]:
        """Makes the key of a family from the integer keys of a row; `KeyError` for what is not there."""
        by_column: dict[str, Mapping[int, Any]] = {"owner": self._owners, "gpu": self._gpus}
        tables = [by_column.get(column, self._labels) for column in family.key]
        build = family.form.build
        return lambda row: build(*map(operator.getitem, tables, row))


@contextmanager
def references() -> Iterator[None]:
    """Turn a key that is missing from the file into `DamagedError`."""
    try:
        yield
    except KeyError as error:
        raise DamagedError(f"a row refers to key {error}, which is missing") from error

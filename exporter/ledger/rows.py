"""Totals as rows. Labels are stored once and referred to by integer keys."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from exporter.cost.postings import CostOwner, OwnerPhase
from exporter.ledger import schema
from exporter.ledger.errors import DamagedError
from exporter.ledger.totals import LARGEST, SUMS, Totals, combined
from exporter.readings import Gpu
from exporter.report import MonthKey, ServerOwner

_LABEL_SQL: Final = ("SELECT id FROM label WHERE text = ?", "INSERT INTO label (text) VALUES (?)")
_OWNER_SQL: Final = (
    "SELECT id FROM party WHERE (product, team, namespace, server, model) = (?, ?, ?, ?, ?)",
    "INSERT INTO party (product, team, namespace, server, model) VALUES (?, ?, ?, ?, ?)",
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

    def of(self, part: object) -> int:
        """The key of one part of a total's key; a number is its own."""
        if isinstance(part, int):
            return part
        key = self._keys.get(part)
        if key is None:
            key = self._keys[part] = self._find(part)
        return key

    def _find(self, part: object) -> int:
        if isinstance(part, CostOwner):
            words = (part.product, part.team, part.namespace, part.server, part.model)
            return self._mint(_OWNER_SQL, tuple(self.of(word) for word in words))
        if isinstance(part, Gpu):
            return self._mint(_GPU_SQL, (self.of(part.uuid), self.of(part.gpu_model)))
        return self._mint(_LABEL_SQL, (part,))

    def _mint(self, statements: tuple[str, str], values: tuple[object, ...]) -> int:
        find, insert = statements
        for (key,) in self._connection.execute(find, values):
            return int(key)
        return int(self._connection.execute(insert, values).lastrowid or 0)


NameRows = tuple[list[tuple[int, str]], list[tuple[int, ...]], list[tuple[int, ...]]]
"""Rows of labels, owners and GPUs."""


class Names:
    """Labels, owners and GPUs by their integer keys in the file."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._fill(
            (
                connection.execute("SELECT id, text FROM label").fetchall(),
                connection.execute(
                    "SELECT id, product, team, namespace, server, model FROM party"
                ).fetchall(),
                connection.execute("SELECT id, uuid, gpu_model FROM gpu").fetchall(),
            )
        )

    @classmethod
    def of(cls, rows: NameRows) -> "Names":
        """Names of rows that were read before."""
        names = cls.__new__(cls)
        names._fill(rows)  # noqa: SLF001 - of this class
        return names

    def _fill(self, rows: NameRows) -> None:
        labels, owners, gpus = self.rows = rows
        self._labels: dict[int, str] = dict(labels)
        self._owners = {key: CostOwner(*map(self.label, words)) for key, *words in owners}
        self._gpus = {key: Gpu(*map(self.label, words)) for key, *words in gpus}

    def label(self, key: int) -> str:
        """The text of a label."""
        return self._labels[key]

    def owner(self, key: int) -> CostOwner:
        """The cost owner of a key."""
        return self._owners[key]

    def gpu(self, key: int) -> Gpu:
        """The GPU of a key."""
        return self._gpus[key]


@dataclass(frozen=True, slots=True)
class RowLayout:
    """Columns of the key of one family of totals."""

    flat: Callable[[Any], tuple[object, ...]]
    built: Callable[[Names, tuple[int, ...]], Any]


def _owner_phase(names: Names, key: tuple[int, ...]) -> OwnerPhase:
    return OwnerPhase(names.owner(key[0]), names.label(key[1]))  # type: ignore[arg-type]


_BY_OWNER_PHASE: Final = RowLayout(lambda key: (key.owner, key.phase), _owner_phase)
_BY_OWNER: Final = RowLayout(lambda owner: (owner,), lambda n, k: n.owner(k[0]))

SHAPES: Final[dict[str, RowLayout]] = {
    "cost": _BY_OWNER_PHASE,
    "held": _BY_OWNER_PHASE,
    "server_cost": RowLayout(
        lambda key: (key[0].product, key[0].team, key[0].namespace, key[0].server, key[1]),
        lambda n, k: (ServerOwner(*map(n.label, k[:4])), n.label(k[4])),
    ),
    "gpu_cost": RowLayout(tuple, lambda n, k: (n.gpu(k[0]), n.label(k[1]))),
    "tokens": RowLayout(tuple, lambda n, k: (n.owner(k[0]), n.label(k[1]))),
    "requests": _BY_OWNER,
    "energy": RowLayout(lambda gpu: (gpu,), lambda n, k: n.gpu(k[0])),
    "unpriced": RowLayout(tuple, lambda n, k: (n.gpu(k[0]), n.owner(k[1]))),
    "months": RowLayout(
        lambda key: (key.month, key.product, key.team, key.price_basis),
        lambda n, k: MonthKey(n.label(k[1]), n.label(k[2]), n.label(k[3]), n.label(k[0])),
    ),
    "minute_cost": RowLayout(
        lambda key: (key[0], key[1].owner, key[1].phase), lambda n, k: (k[0], _owner_phase(n, k[1:]))
    ),
    "minute_tokens": RowLayout(tuple, lambda n, k: (k[0], n.owner(k[1]), n.label(k[2]))),
    "hour_cost": RowLayout(tuple, lambda n, k: (k[0], n.label(k[1]))),
    "hour_covered": RowLayout(lambda hour: (hour,), lambda _, k: k[0]),
    "hour_down": RowLayout(lambda hour: (hour,), lambda _, k: k[0]),
    "hour_usage": RowLayout(tuple, lambda n, k: (k[0], n.gpu(k[1]), n.label(k[2]))),
    "hour_energy": RowLayout(tuple, lambda n, k: (k[0], n.gpu(k[1]), n.label(k[2]))),
    "first_held": RowLayout(lambda product: (product,), lambda n, k: n.label(k[0])),
    "equivalents": RowLayout(tuple, lambda n, k: (n.owner(k[0]), n.label(k[1]))),
    "last_token": _BY_OWNER,
    "changed": _BY_OWNER,
}


def write(connection: sqlite3.Connection, keys: Keys, served: Totals, pending: Totals) -> None:
    """Write each total that `pending` changes as a whole: writing it twice changes nothing.

    Raises:
        OverflowError: a total passes what the file holds.
    """
    for name in SUMS:
        if name in schema.ADDED:
            if not getattr(pending, name):
                continue
            connection.execute(schema.create(name))
        connection.executemany(schema.upsert(name), _moved(name, keys, served, pending))


def _moved(name: str, keys: Keys, served: Totals, pending: Totals) -> Iterator[tuple[int, ...]]:
    flat, before = SHAPES[name].flat, getattr(served, name)
    for key, added in getattr(pending, name).items():
        earlier = before.get(key)
        total = combined(name, earlier, added)
        if total != earlier:
            yield *map(keys.of, flat(key)), bounded(total, name)


def bounded(total: int, name: str) -> int:
    """Check that SQLite can hold a total.

    Raises:
        OverflowError: it is past 2**63 - 1; for money that is 9.2 million dollars.
    """
    if -LARGEST <= total <= LARGEST:
        return total
    raise OverflowError(f"a total of `{name}` passes what the file holds (2**63, 9.2 million dollars)")


def read(connection: sqlite3.Connection) -> Totals:
    """All totals of the file.

    Raises:
        DamagedError: a row refers to what is not there.
    """
    totals = Totals()
    with references():
        names = Names(connection)
        there = tables(connection)
        for name in SUMS:
            if name in schema.ADDED and name not in there:
                continue
            layout, sums = SHAPES[name], getattr(totals, name)
            for *key, value in connection.execute(schema.select(name)):
                sums[layout.built(names, tuple(key))] = value
    return totals


@contextmanager
def references() -> Iterator[None]:
    """Turn a key that is missing from the file into `DamagedError`."""
    try:
        yield
    except KeyError as error:
        raise DamagedError(f"a row refers to key {error}, which is missing") from error


def tables(connection: sqlite3.Connection) -> frozenset[str]:
    """Tables of the file. One of an earlier release lacks some until it is written."""
    return frozenset(name for (name,) in connection.execute("SELECT name FROM sqlite_master"))

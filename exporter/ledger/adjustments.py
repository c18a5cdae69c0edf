"""Corrections that people entered: a row each, which waits until the daemon has posted it."""

import logging
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from exporter.ledger import schema
from exporter.ledger.rows import Names
from exporter.ledger.totals import LARGEST
from exporter.report import MonthKey
from exporter.units import Instant, Picodollars, plain_dollars

log = logging.getLogger(__name__)

COMPONENT: Final = "adjustment"
"""The component of money that is a correction."""

PRICE_BASIS: Final = "configured"
"""The basis of its cell: a person said the amount."""

REPRICING: Final = "repricing"
"""The kind of a correction of money that was posted at other prices. It has a key, and is entered once."""

MANUAL: Final = "manual"
"""The kind of all others."""


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A dated, signed correction of what a product and a team owe.

    `day` is like 2026-10-31, of the configured time zone; the money is of its month. `reason` is free text.
    `kind` is `MANUAL` or `REPRICING`, empty in a row of an earlier release; `key` is empty without one.
    `posted` is when the daemon posted it; `None`: it waits, and is in no sum.
    """

    number: int
    day: str
    product: str
    team: str
    amount: Picodollars
    reason: str
    entered: Instant
    posted: Instant | None
    kind: str = ""
    key: str = ""

    @property
    def month(self) -> str:
        """The month that it is of, like 2026-10."""
        return self.day[:7]

    @property
    def cell(self) -> MonthKey:
        """The cell of month to date that it is posted to."""
        return MonthKey(self.product, self.team, PRICE_BASIS, self.month)


class Poster:
    """Takes what waits into the transaction of a tick, once."""

    def __init__(self) -> None:
        self._made = False

    def take(
        self,
        connection: sqlite3.Connection,
        served: Mapping[MonthKey, Picodollars],
        pending: Mapping[MonthKey, Picodollars],
        taken: Mapping[int, Adjustment],
        now: Instant,
    ) -> tuple[dict[MonthKey, Picodollars], dict[int, Adjustment]]:
        """Add what waits to the month's cells that are to be written, and mark it posted.

        Returns both anew, to be kept together until a commit succeeds: one that failed after it had reached
        the disk finds nothing waiting and must write the same cells again.
        One that a cell cannot hold goes on waiting, rather than stopping the books.

        Args:
            connection: in the transaction that writes the cells.
            served: the cells at the last commit.
            pending: what is added to them.
            taken: what is in `pending`, by number.
            now: when it is posted.
        """
        if not self._made:
            create(connection)
        cells, numbered = dict(pending), dict(taken)
        for row in connection.execute(_WAITING).fetchall():
            adjustment = _built(row)
            cell = adjustment.cell
            added = cells.get(cell, 0) + adjustment.amount
            if adjustment.number not in numbered and abs(served.get(cell, 0) + added) <= LARGEST:
                cells[cell] = added
                numbered[adjustment.number] = adjustment
        connection.executemany(
            "UPDATE adjustment SET posted = ? WHERE id = ?", [(now, number) for number in numbered]
        )
        return cells, numbered

    def failed(self) -> None:
        """Believe nothing of the write that failed."""
        self._made = False

    def committed(self, taken: Iterable[Adjustment]) -> None:
        """Tell what was posted."""
        self._made = True
        for adjustment in taken:
            log.info(
                "adjustment posted",
                extra={
                    "number": adjustment.number,
                    "date": adjustment.day,
                    "product": adjustment.product,
                    "team": adjustment.team,
                    "dollars": plain_dollars(adjustment.amount),
                    "reason": adjustment.reason,
                },
            )


def create(connection: sqlite3.Connection) -> None:
    """Make the table where the file lacks it, inside the running transaction."""
    for statement in schema.ADJUSTMENT_DDL:
        connection.execute(statement)
    schema.add_columns(connection, "adjustment")


def read(connection: sqlite3.Connection, names: Names, first: int, last: int) -> tuple[Adjustment, ...]:
    """Those dated from the first to the last day, numbers like 20261031, in the order they were entered.

    Raises:
        KeyError: a row refers to what is not there.
    """
    if not _kept(connection):
        return ()
    kind, key = (schema.added_column(connection, "adjustment", name) for name in ("kind", "key"))
    found = connection.execute(_OF_DAYS.format(kind=kind, key=key), (first, last)).fetchall()
    return tuple(
        _built((number, day, names.label(product), names.label(team), *rest))
        for number, day, product, team, *rest in found
    )


def waiting(connection: sqlite3.Connection) -> int:
    """How many wait for the daemon."""
    if not _kept(connection):
        return 0
    (count,) = connection.execute("SELECT count(*) FROM adjustment WHERE posted IS NULL").fetchone()
    return int(count)


def _kept(connection: sqlite3.Connection) -> bool:
    found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'adjustment'").fetchone()
    return found is not None


def _built(row: Iterable[object]) -> Adjustment:
    number, day, *rest = row
    digits = f"{day:08d}"
    return Adjustment(number, f"{digits[:4]}-{digits[4:6]}-{digits[6:]}", *rest)  # type: ignore[arg-type]


_WAITING: Final = (
    "SELECT a.id, a.day, product.text, team.text, a.picodollars, a.reason, a.entered, a.posted, a.kind, a.key"
    " FROM adjustment AS a JOIN label AS product ON product.id = a.product"
    " JOIN label AS team ON team.id = a.team WHERE a.posted IS NULL ORDER BY a.id"
)
_OF_DAYS: Final = (
    "SELECT id, day, product, team, picodollars, reason, entered, posted, {kind}, {key}"
    " FROM adjustment WHERE day BETWEEN ? AND ? ORDER BY id"
)

"""Adjustments that people enter: a row each, which waits until the daemon posts it."""

import logging
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from exporter.ledger.families import LARGEST
from exporter.ledger.schema import Names, day_name
from exporter.report import MonthKey
from exporter.units import Instant, Picodollars, plain_dollars

log = logging.getLogger(__name__)

COMPONENT: Final = "adjustment"
"""The component of money of an adjustment."""

PRICE_BASIS: Final = "configured"
"""The price basis of its cell: a person set the amount."""

REPRICING: Final = "repricing"
"""The kind of an adjustment of money that was posted at other prices. It has a key, and is entered once."""

MANUAL: Final = "manual"
"""The kind of all other adjustments."""


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A dated, signed correction of the cost of a product and a team.

    `day` is like 2026-10-31 in the configured time zone. The money belongs to its month. `reason` is free
    text. `kind` is `MANUAL` or `REPRICING`. `key` is empty without one.
    `posted` is when the daemon posted it. `None`: it waits, and is in no sum.
    `ledger` is the id of its ledger where those of several are listed, else empty.
    """

    number: int
    day: str
    product: str
    team: str
    amount: Picodollars
    reason: str
    entered: Instant
    posted: Instant | None
    kind: str = MANUAL
    key: str = ""
    ledger: str = ""

    @property
    def month(self) -> str:
        """Its month, like 2026-10."""
        return self.day[:7]

    @property
    def cell(self) -> MonthKey:
        """Its cell of month to date."""
        return MonthKey(self.product, self.team, PRICE_BASIS, self.month)


class Poster:
    """Posts waiting adjustments in the transaction of a tick, each once."""

    def take(
        self,
        connection: sqlite3.Connection,
        served: Mapping[MonthKey, Picodollars],
        pending: Mapping[MonthKey, Picodollars],
        taken: Mapping[int, Adjustment],
        now: Instant,
    ) -> tuple[dict[MonthKey, Picodollars], dict[int, Adjustment]]:
        """Add waiting adjustments to the pending month cells, and mark them posted.

        Returns the cells and the adjustments in them. Both stay together until a commit succeeds: after a
        commit that failed but had reached the disk, nothing waits, and the same cells must be written again.
        An adjustment that would overflow its cell goes on waiting, so that it cannot stop the ledger.

        Args:
            connection: in the transaction that writes the cells.
            served: the cells at the last commit.
            pending: additions to them.
            taken: adjustments in `pending`, by number.
            now: the time of posting.
        """
        cells, numbered = dict(pending), dict(taken)
        for row in connection.execute(_WAITING_SQL).fetchall():
            adjustment = _built(row)
            cell = adjustment.cell
            added = cells.get(cell, 0) + adjustment.amount
            if adjustment.number not in numbered and abs(served.get(cell, 0) + added) <= LARGEST:
                cells[cell] = added
                numbered[adjustment.number] = adjustment
        if numbered:
            connection.executemany(
                "UPDATE adjustment SET posted = ? WHERE id = ?", [(now, number) for number in numbered]
            )
        return cells, numbered

    def committed(self, taken: Iterable[Adjustment]) -> None:
        """Log the posted adjustments."""
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


def read(connection: sqlite3.Connection, names: Names, first: int, last: int) -> tuple[Adjustment, ...]:
    """Adjustments dated from the first to the last day, numbers like 20261031, in the order of their entry.

    Raises:
        KeyError: a row refers to what is not there.
    """
    rows = connection.execute(_DAYS_SQL, (first, last)).fetchall()
    return tuple(
        _built((number, day, names.label(product), names.label(team), *rest))
        for number, day, product, team, *rest in rows
    )


def waiting(connection: sqlite3.Connection) -> int:
    """Number of adjustments that wait for the daemon."""
    (count,) = connection.execute("SELECT count(*) FROM adjustment WHERE posted IS NULL").fetchone()
    return int(count)


def _built(row: Iterable[Any]) -> Adjustment:
    number, day, *rest = row
    return Adjustment(number, day_name(day), *rest)


_WAITING_SQL: Final = (
    "SELECT a.id, a.day, product.text, team.text, a.picodollars, a.reason, a.entered, a.posted, a.kind, a.key"
    " FROM adjustment AS a JOIN label AS product ON product.id = a.product"
    " JOIN label AS team ON team.id = a.team WHERE a.posted IS NULL ORDER BY a.id"
)
_DAYS_SQL: Final = (
    "SELECT id, day, product, team, picodollars, reason, entered, posted, kind, key"
    " FROM adjustment WHERE day BETWEEN ? AND ? ORDER BY id"
)

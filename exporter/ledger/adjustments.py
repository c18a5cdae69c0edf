"""Adjustments that people enter: a row each, which waits until the daemon posts it."""

import logging
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from exporter.cost.money import add
from exporter.ledger.families import LARGEST, Sum
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
    """A dated, signed correction of the cost of a product and a team."""

    number: int
    day: str
    """Its date in the configured time zone, like 2026-10-31. The money belongs to its month."""
    product: str
    team: str
    amount: Picodollars
    reason: str
    """Free text."""
    entered: Instant
    posted: Instant | None
    """When the daemon posted it. `None`: it waits, and is in no sum."""
    kind: str = MANUAL
    """`MANUAL` or `REPRICING`."""
    key: str = ""
    """Key of a repricing, empty without one."""
    ledger: str = ""
    """Id of its ledger where those of several are listed, else empty."""

    @property
    def month(self) -> str:
        """Its month, like 2026-10."""
        return self.day[:7]

    @property
    def cell(self) -> MonthKey:
        """Its cell of month to date."""
        return MonthKey(self.product, self.team, PRICE_BASIS, self.month)


class TakenAdjustments(NamedTuple):
    """Adjustments that a write posts."""

    months: Sum[MonthKey, Picodollars]
    """Pending month cells, with the adjustments added."""
    adjustments: dict[int, Adjustment]
    """The adjustments, by number. The next write takes them again unless this one commits.

    After a commit that failed and reached the disk, none of them waits, and the same cells must be written.
    """


def take_waiting(
    connection: sqlite3.Connection,
    *,
    committed: Mapping[MonthKey, Picodollars],
    pending: Sum[MonthKey, Picodollars],
    taken_before: Mapping[int, Adjustment],
    now: Instant,
) -> TakenAdjustments:
    """Add waiting adjustments to the pending month cells, each once, and mark them posted.

    An adjustment that would overflow its cell goes on waiting, so that it cannot stop the ledger.

    Args:
        connection: in the transaction of the tick, which writes the cells.
        committed: the cells at the last commit.
        pending: additions to them.
        taken_before: adjustments of a write that failed, by number.
        now: the time of posting.
    """
    cells = pending.copy()
    adjustments = dict(taken_before)
    for adjustment in taken_before.values():
        add(cells, adjustment.cell, adjustment.amount)
    for row in connection.execute(_WAITING_SQL).fetchall():
        adjustment = _built(row)
        cell = adjustment.cell
        added = cells.get(cell, 0) + adjustment.amount
        fits = abs(committed.get(cell, 0) + added) <= LARGEST
        if adjustment.number not in adjustments and fits:
            cells[cell] = added
            adjustments[adjustment.number] = adjustment
    connection.executemany(
        "UPDATE adjustment SET posted = ? WHERE id = ?", [(now, number) for number in adjustments]
    )
    return TakenAdjustments(cells, adjustments)


def log_posted(adjustments: Iterable[Adjustment]) -> None:
    """Log adjustments whose posting is committed."""
    for adjustment in adjustments:
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

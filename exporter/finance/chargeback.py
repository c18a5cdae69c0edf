"""A chargeback: cost by product, team, namespace, server, model and day, in any combination. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args
from zoneinfo import ZoneInfo

from exporter.cost.money import add
from exporter.cost.postings import CostOwner
from exporter.finance.fleet.overheads import FleetOverheads, positive_split
from exporter.finance.month import (
    OwnerLines,
    Statement,
    StatementLine,
    not_itemized,
    notes,
    overhead_notes,
    refuse_unknown,
)
from exporter.ledger.history import MonthRecord
from exporter.reports.rounding import dollars_text
from exporter.units import Picodollars

Column = Literal["day", "product", "team", "namespace", "server", "model"]
COLUMNS: Final[tuple[Column, ...]] = get_args(Column)

Idle = Literal["apart", "spread"]
IDLE_FORMS: Final[tuple[Idle, ...]] = get_args(Idle)

IDLE: Final = "(idle)"
"""The name of idle cost that is shown apart."""

_OF_CELL: Final = frozenset({"product", "team"})
"""Columns that all money has, whatever its age."""


@dataclass(frozen=True, slots=True)
class ChargebackLayout:
    """Columns of a chargeback, and what becomes of idle cost.

    `idle`: `None` leaves it in the line of its owner, with its amount beside. "apart" collects it in one
    line. "spread" divides it among owners in proportion to their busy cost: prefill, decode and other.
    """

    by: tuple[Column, ...] = ("product", "team")
    idle: Idle | None = None


BY_PRODUCT_AND_TEAM: Final = ChargebackLayout()

_Key = tuple[int, CostOwner]
"""A day, 0 where lines are not by day, and an owner."""


def chargeback(
    record: MonthRecord,
    current: str,
    zone: ZoneInfo,
    layout: ChargebackLayout = BY_PRODUCT_AND_TEAM,
    overheads: FleetOverheads | None = None,
) -> Statement:
    """A month by owners, those included that no rule names. Lines sum to all money of the month.

    Args:
        record: the month; with its days where the layout is by day.
        current: the month that goes on now.
        zone: the one that months are of.
        layout: columns, and what becomes of idle cost.
        overheads: those of the fleet, which lines carry beside their own cost.

    Raises:
        ReportError: the ledger has nothing of that month.
    """
    refuse_unknown(record)
    book = OwnerLines(record, layout.by)
    sentences = [] if layout.idle is None else [*_move_idle(book, layout.idle)]
    without_day = sum(book.days[0].cost.values()) if "day" in layout.by else 0
    if without_day:
        sentences.append(
            f"{dollars_text(without_day)} dollars have no day: they are of hosts that only a statement "
            "or Prometheus has"
        )
    if overheads is not None:
        book.add_overheads(overheads)
    by_cell = _OF_CELL.issuperset(layout.by)
    lines = book.lines.ordered()
    if "day" in layout.by:
        at = layout.by.index("day")
        lines = tuple(sorted(lines, key=lambda line: line.labels[at]))
    return Statement(
        report="chargeback",
        month=record.month,
        columns=layout.by,
        ledger=record.ledger,
        last_commit=record.last_commit,
        to_date=record.month == current,
        lines=lines,
        idle=record.sums is not None and layout.idle != "apart",
        estimated=layout.idle is None and "model" not in layout.by,
        gpu_time=record.sums is not None,
        tokens=record.sums is not None,
        notes=(
            *sentences,
            *overhead_notes(overheads),
            *notes(record, not_itemized(record), zone, by_owner=by_cell, by_phase=layout.idle is None),
        ),
        adjustments=record.adjustments,
        overheads=overheads,
    )


def _move_idle(book: OwnerLines, idle: Idle) -> Iterator[str]:
    """Move idle cost as a layout says. Returns sentences about it."""
    busy_costs: dict[_Key, Picodollars] = {}
    idle_costs: dict[_Key, Picodollars] = {}
    for day, sums in book.days.items():
        for (owner, phase), amount in sums.cost.items():
            if phase == "idle":
                add(idle_costs, (day, owner), amount)
            elif phase != "unobserved":
                add(busy_costs, (day, owner), amount)
    total = sum(idle_costs.values())
    if not total:
        return
    parts = _by_busy_cost(total, busy_costs)
    if idle == "spread" and not parts:
        yield f"{dollars_text(total)} dollars of idle cost stay where they are: no owner has busy cost"
        return
    for (day, owner), amount in idle_costs.items():
        _add_idle(book.line(day, owner), -amount)
    if idle == "spread":
        for (day, owner), amount in parts.items():
            _add_idle(book.line(day, owner), amount)
        yield (
            f"{dollars_text(total)} dollars of idle cost, unallocated GPUs included, are spread in "
            "proportion to busy cost (prefill, decode and other)"
        )
        return
    for (day, _owner), amount in idle_costs.items():
        book.lines.of(book.labels(IDLE, day)).money += amount
    for day, sums in book.days.items():
        for (owner, phase), time in sums.held.items():
            if phase == "idle":
                book.line(day, owner).gpu_time -= time
                book.lines.of(book.labels(IDLE, day)).gpu_time += time
    yield f"{dollars_text(total)} dollars of idle cost, unallocated GPUs included, are apart"


def _add_idle(line: StatementLine, amount: Picodollars) -> None:
    line.money += amount
    line.itemized += amount
    line.idle += amount


def _by_busy_cost(total: Picodollars, busy: Mapping[_Key, Picodollars]) -> dict[_Key, Picodollars]:
    """Parts of idle cost: first by owner, so that a sum over days is that without days."""
    by_owner: dict[CostOwner, Picodollars] = {}
    for (_day, owner), amount in busy.items():
        add(by_owner, owner, amount)
    parts: dict[_Key, Picodollars] = {}
    for owner, amount in positive_split(total, by_owner).items():
        days = {key: weight for key, weight in busy.items() if key[1] == owner}
        parts |= positive_split(amount, days)
    return parts

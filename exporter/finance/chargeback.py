"""A chargeback: cost by product, team, namespace, server, model and day, in any combination. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args
from zoneinfo import ZoneInfo

from exporter.cost.money import add
from exporter.cost.postings import CostOwner
from exporter.finance.fleet.overheads import FleetOverheads, positive_split, spread
from exporter.finance.month import (
    ADJUSTED,
    NOT_ITEMIZED,
    Labels,
    Statement,
    StatementLine,
    StatementLines,
    notes,
    overhead_notes,
    owner_dollars,
    owner_gpu_time,
    refuse_unknown,
)
from exporter.ledger.history import ESTIMATE, HistorySums, MonthRecord
from exporter.ledger.schema import day_name, day_number
from exporter.reports.rounding import dollars_text
from exporter.units import Nanoseconds, Picodollars

Column = Literal["day", "product", "team", "namespace", "server", "model"]
COLUMNS: Final[tuple[Column, ...]] = get_args(Column)

Idle = Literal["apart", "spread"]
IDLE_FORMS: Final[tuple[Idle, ...]] = get_args(Idle)

IDLE: Final = "(idle)"
"""The name of idle cost that is shown apart."""

DAY_FAMILIES: Final = ("cost", "held", "server_cost", "tokens", "unpriced", "settled")
"""Families of history that a chargeback by day needs."""

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
    book = _Book(record, layout)
    book.add_history()
    book.add_rest()
    sentences = [*book.move_idle()]
    if book.without_day:
        sentences.append(
            f"{dollars_text(book.without_day)} dollars have no day: they are of hosts that only a statement "
            "or Prometheus has"
        )
    if overheads is not None:
        book.add_overheads(overheads)
    by_cell = _OF_CELL.issuperset(layout.by)
    missing = sum(record.cells.values()) - record.adjusted - book.itemized
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
            *notes(record, missing, zone, by_owner=by_cell, by_phase=layout.idle is None),
        ),
        adjustments=record.adjustments,
        overheads=overheads,
    )


class _Book:
    """Lines of a chargeback, as they are filled."""

    def __init__(self, record: MonthRecord, layout: ChargebackLayout) -> None:
        self._record, self._layout = record, layout
        self.lines = StatementLines()
        sums = record.sums or HistorySums()
        self._days: Mapping[int, HistorySums] = {0: sums}
        self.without_day: Picodollars = 0
        if "day" in layout.by:
            rest = _without_day(sums, record.days)
            self._days = {0: rest, **record.days}
            self.without_day = sum(rest.cost.values())
        self.itemized: Picodollars = sum(sums.cost.values())
        self._busy: dict[_Key, Picodollars] = {}
        self._idle: dict[_Key, Picodollars] = {}

    def _labels(self, name: str, day: int = 0, owner: CostOwner | None = None, **known: str) -> Labels:
        """Values of the columns. The first one that is not known has the name, and later ones are empty."""
        if day:
            known["day"] = day_name(day)
        if owner is not None:
            known |= owner._asdict()
        labels: list[str] = []
        for column in self._layout.by:
            labels.append(known.get(column, name))
            name = "" if column not in known else name
        return tuple(labels)

    def _line(self, day: int, owner: CostOwner) -> StatementLine:
        return self.lines.of(self._labels(NOT_ITEMIZED, day, owner))

    def add_history(self) -> None:
        """Add what is known by owner."""
        for day, sums in self._days.items():
            for (owner, phase), amount in sums.cost.items():
                line = self._line(day, owner)
                line.money += amount
                line.itemized += amount
                line.idle += amount if phase == "idle" else 0
                if phase == "idle":
                    add(self._idle, (day, owner), amount)
                elif phase != "unobserved":
                    add(self._busy, (day, owner), amount)
            for (owner, _phase), time in sums.held.items():
                self._line(day, owner).gpu_time += time
            for (owner, kind), count in sums.tokens.items():
                add(self._line(day, owner).tokens, kind, count)
            for (_gpu, owner), time in sums.waiting().items():
                self._line(day, owner).unpriced += time
            if "model" not in self._layout.by:
                for (server_owner, _component, basis), amount in sums.server_cost.items():
                    if basis == ESTIMATE:
                        self._line(day, CostOwner(*server_owner, "")).estimated += amount

    def add_rest(self) -> None:
        """Add adjustments, and what is known by product and team only."""
        record = self._record
        rest: dict[tuple[str, str], list[int]] = {}
        for cell, amount in record.cells.items():
            both = rest.setdefault((cell.product, cell.team), [0, 0])
            both[0] += amount
            both[1] += amount if cell.price_basis == ESTIMATE else 0
        sums = record.sums or HistorySums()
        for (owner, _phase), amount in sums.cost.items():
            rest.setdefault((owner.product, owner.team), [0, 0])[0] -= amount
        for (server_owner, _component, basis), amount in sums.server_cost.items():
            if basis == ESTIMATE:
                rest.setdefault((server_owner.product, server_owner.team), [0, 0])[1] -= amount
        for each in record.adjustments:
            if each.posted is None:
                continue
            rest.setdefault((each.product, each.team), [0, 0])[0] -= each.amount
            line = self.lines.of(
                self._labels(ADJUSTED, day_number(each.day), product=each.product, team=each.team)
            )
            line.money += each.amount
            line.adjusted += each.amount
        for (product, team), (amount, estimated) in rest.items():
            line = self.lines.of(self._labels(NOT_ITEMIZED, product=product, team=team))
            line.money += amount
            line.estimated += estimated

    def move_idle(self) -> Iterator[str]:
        """Move idle cost as the layout says. Returns sentences about it."""
        total = sum(self._idle.values())
        if self._layout.idle is None or not total:
            return
        spread_parts = _by_busy_cost(total, self._busy)
        if self._layout.idle == "spread" and not spread_parts:
            yield f"{dollars_text(total)} dollars of idle cost stay where they are: no owner has busy cost"
            return
        for (day, owner), amount in self._idle.items():
            self._add_idle(self._line(day, owner), -amount)
        if self._layout.idle == "apart":
            self._show_idle_apart()
            yield f"{dollars_text(total)} dollars of idle cost, unallocated GPUs included, are apart"
            return
        for (day, owner), amount in spread_parts.items():
            self._add_idle(self._line(day, owner), amount)
        yield (
            f"{dollars_text(total)} dollars of idle cost, unallocated GPUs included, are spread in "
            "proportion to busy cost (prefill, decode and other)"
        )

    @staticmethod
    def _add_idle(line: StatementLine, amount: Picodollars) -> None:
        line.money += amount
        line.itemized += amount
        line.idle += amount

    def _show_idle_apart(self) -> None:
        for (day, _owner), amount in self._idle.items():
            self.lines.of(self._labels(IDLE, day)).money += amount
        for day, sums in self._days.items():
            for (owner, phase), time in sums.held.items():
                if phase == "idle":
                    self._line(day, owner).gpu_time -= time
                    self.lines.of(self._labels(IDLE, day)).gpu_time += time

    def add_overheads(self, overheads: FleetOverheads) -> None:
        """Add to each owner the part of the fleet's overheads that it carries, by day as it had GPUs."""
        record = self._record
        times: dict[CostOwner, dict[int, Nanoseconds]] = {}
        for day, sums in self._days.items():
            for (owner, _phase), time in sums.held.items():
                add(times.setdefault(owner, {}), day, time)
        for owner, amount in spread(overheads, owner_gpu_time(record), owner_dollars(record)).items():
            for day, part in (positive_split(amount, times.get(owner, {})) or {0: amount}).items():
                self._line(day, owner).overhead += part


def _without_day(sums: HistorySums, days: Mapping[int, HistorySums]) -> HistorySums:
    """What is known by owner and not by day."""
    rest = HistorySums()
    for family in DAY_FAMILIES:
        left = dict(getattr(sums, family))
        for of_day in days.values():
            for key, value in getattr(of_day, family).items():
                add(left, key, -value)
        getattr(rest, family).update({key: value for key, value in left.items() if value})
    return rest


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

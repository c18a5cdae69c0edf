"""What a month cost, and whom: statements from the ledger that reconcile, whatever they are by. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from exporter.cost.postings import Party
from exporter.ledger.adjustments import COMPONENT, Adjustment
from exporter.ledger.history import MonthRecord, Sums
from exporter.readings import Kind
from exporter.report import MonthKey
from exporter.reports.rounding import hundredths, rounded
from exporter.units import (
    NANOSECONDS_PER_HOUR,
    PICODOLLARS_PER_DOLLAR,
    Instant,
    Nanoseconds,
    Picodollars,
    plain_dollars,
)

By = Literal["product", "team", "server", "model", "component", "gpu"]
BYS: Final[tuple[By, ...]] = get_args(By)

NOT_ITEMIZED: Final = "(not itemized)"
"""The name of money that the ledger has by product and team only."""

ADJUSTED: Final = f"({COMPONENT})"
"""The name of corrections where lines are by what a correction has none of: a server, a model, a GPU."""

Labels = tuple[str, ...]


class ReportError(Exception):
    """There is no such report; the message says what there is."""


@dataclass(slots=True)
class Line:
    """One row: who or what, and what it comes to.

    `itemized` is the part of the money that history knows the phases of, and `idle` the part of that for
    GPUs that did nothing.
    """

    labels: Labels
    money: Picodollars = 0
    itemized: Picodollars = 0
    idle: Picodollars = 0
    gpu_time: Nanoseconds = 0
    tokens: dict[Kind, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Statement:
    """A month by something. The money of `lines` sums to all that the ledger posted in that month.

    `columns` name the labels. `idle`, `gpu_time` and `tokens` say whether lines tell theirs.
    `to_date` says that the month goes on. `notes` are sentences on what the numbers leave open.
    `adjustments` are the month's corrections: posted ones are in `lines`, those that wait are not.
    """

    report: Literal["month", "chargeback"]
    month: str
    columns: Labels
    ledger: str
    last_commit: Instant | None
    to_date: bool
    lines: tuple[Line, ...]
    idle: bool
    gpu_time: bool
    tokens: bool
    notes: tuple[str, ...]
    adjustments: tuple[Adjustment, ...] = ()


@dataclass(frozen=True, slots=True)
class _Grouping:
    """What lines are by: how the keys of each family become labels; `None` where they cannot.

    `cell` takes the money from the month's cells, of which nothing is ever missing.
    """

    columns: Labels
    cell: Callable[[MonthKey], Labels] | None = None
    party: Callable[[Party], Labels] | None = None
    server_cost: Callable[[Any], Labels] | None = None
    gpu: Callable[[Any], Labels] | None = None


_GROUPINGS: Final[Mapping[By, _Grouping]] = {
    "product": _Grouping(("product",), lambda cell: (cell.product,), lambda party: (party.product,)),
    "team": _Grouping(("team",), lambda cell: (cell.team,), lambda party: (party.team,)),
    "server": _Grouping(("namespace", "server"), party=lambda party: (party.namespace, party.server)),
    "model": _Grouping(("model",), party=lambda party: (party.model,)),
    "component": _Grouping(("component",), server_cost=lambda key: (key[1],)),
    "gpu": _Grouping(("uuid", "gpu_model"), gpu=lambda gpu: (gpu.uuid, gpu.gpu_model)),
}
_CHARGEBACK: Final = _Grouping(
    ("product", "team"),
    lambda cell: (cell.product, cell.team),
    lambda party: (party.product, party.team),
)


def month(record: MonthRecord, by: By, current: str) -> Statement:
    """A month by one thing. `current` is the month that goes on now.

    Raises:
        ReportError: the ledger has nothing of that month.
    """
    return _statement("month", record, _GROUPINGS[by], current)


def chargeback(record: MonthRecord, current: str) -> Statement:
    """A month by product and team, those included that no rule names.

    Raises:
        ReportError: the ledger has nothing of that month.
    """
    return _statement("chargeback", record, _CHARGEBACK, current)


def refuse_unknown(record: MonthRecord) -> None:
    """See that the ledger has anything of a month.

    Raises:
        ReportError: it has not; the message says what it has.
    """
    if record.month not in record.months:
        known = f"it has {', '.join(record.months)}" if record.months else "it is empty"
        raise ReportError(f"the ledger has nothing of {record.month}: {known}")


def _statement(
    report: Literal["month", "chargeback"], record: MonthRecord, grouping: _Grouping, current: str
) -> Statement:
    refuse_unknown(record)
    sums = record.sums or Sums()
    lines = _Lines()
    total = sum(record.cells.values())
    missing = total - record.adjusted - sum(sums.cost.values())
    if grouping.cell is not None:
        for cell, amount in record.cells.items():
            lines.of(grouping.cell(cell)).money += amount
    else:
        corrected = COMPONENT if grouping.server_cost is not None else ADJUSTED
        for name, amount in ((NOT_ITEMIZED, missing), (corrected, record.adjusted)):
            lines.of((name, *("" for _ in grouping.columns[1:]))).money += amount
    _fill(lines, sums, grouping)
    return Statement(
        report=report,
        month=record.month,
        columns=grouping.columns,
        ledger=record.ledger,
        last_commit=record.last_commit,
        to_date=record.month == current,
        lines=lines.ordered(),
        idle=record.sums is not None and grouping.party is not None,
        gpu_time=record.sums is not None and grouping.server_cost is None,
        tokens=record.sums is not None and grouping.party is not None,
        notes=(*_notes(record, missing, grouping), *map(_correction, record.adjustments)),
        adjustments=record.adjustments,
    )


class _Lines:
    def __init__(self) -> None:
        self._lines: dict[Labels, Line] = {}

    def of(self, labels: Labels) -> Line:
        return self._lines.setdefault(labels, Line(labels))

    def ordered(self) -> tuple[Line, ...]:
        """The dearest first; what costs nothing and says nothing is left out."""
        told = [
            line for line in self._lines.values() if line.money or line.gpu_time or any(line.tokens.values())
        ]
        return tuple(sorted(told, key=lambda line: (-line.money, line.labels)))


def _fill(lines: _Lines, sums: Sums, grouping: _Grouping) -> None:
    if grouping.party is not None:
        for slot, amount in sums.cost.items():
            line = lines.of(grouping.party(slot.party))
            line.money += 0 if grouping.cell is not None else amount
            line.itemized += amount
            line.idle += amount if slot.phase == "idle" else 0
        for slot, held in sums.held.items():
            lines.of(grouping.party(slot.party)).gpu_time += held
        for (party, kind), count in sums.tokens.items():
            tokens = lines.of(grouping.party(party)).tokens
            tokens[kind] = tokens.get(kind, 0) + count
    if grouping.server_cost is not None:
        for key, amount in sums.server_cost.items():
            lines.of(grouping.server_cost(key)).money += amount
    if grouping.gpu is not None:
        for (gpu, _component), amount in sums.gpu_cost.items():
            lines.of(grouping.gpu(gpu)).money += amount
        for gpu, held in sums.gpu_held.items():
            lines.of(grouping.gpu(gpu)).gpu_time += held


def _notes(record: MonthRecord, missing: Picodollars, grouping: _Grouping) -> list[str]:
    notes = []
    estimated = sum(amount for cell, amount in record.cells.items() if cell.price_basis == "estimate")
    if estimated:
        notes.append(f"{_dollars(estimated)} dollars come from estimated prices")
    if missing and grouping.cell is None:
        notes.append(
            f"{_dollars(missing)} dollars are known by product and team only: they were posted "
            "by an earlier release, or their days are past the 13 months that are kept"
        )
    elif missing:
        notes.append(
            f"{_dollars(missing)} dollars have no idle part, GPU-hours or tokens here: they were posted "
            "by an earlier release, or their days are past the 13 months that are kept"
        )
    sums = record.sums
    if sums is not None:
        settled = sum(sums.settled.values())
        unpriced = sum(sums.unpriced.values()) - settled
        if settled:
            notes.append(f"{_hours(settled)} GPU-hours were charged when their price came")
        if unpriced > 0:
            notes.append(f"{_hours(unpriced)} GPU-hours had no price: they cost nothing here")
        covered = sum(sums.covered.values())
        notes.append(f"{_hours(covered)} hours of this month are metered")
    return notes


def _correction(adjustment: Adjustment) -> str:
    state = "" if adjustment.posted is not None else " waits for the daemon and is in no sum"
    return (
        f"adjustment {adjustment.number}{state}: {plain_dollars(adjustment.amount)} dollars of "
        f"{adjustment.day} to product {adjustment.product}, team {adjustment.team}: "
        f'"{adjustment.reason}"'
    )


def _dollars(amount: Picodollars) -> str:
    return hundredths(*rounded([amount], PICODOLLARS_PER_DOLLAR // 100))


def _hours(duration: Nanoseconds) -> str:
    return hundredths(*rounded([duration], NANOSECONDS_PER_HOUR // 100))

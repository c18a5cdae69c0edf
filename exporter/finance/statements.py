"""Statements of a period: a month by one thing, and a chargeback by any columns. Both sum to it. Pure.

A period is a list of facts. A fact is a value with its measure, such as "GPU time", and with what it is of,
such as a product and a server. A line of a statement adds up the facts that agree in its columns.
Money is there in three views, of owners, of components and of GPUs. Each view has all money.
The lines of a statement divide one of these views.

`_StatementLayout` decides which facts lines add up (`measures`), and which amounts are shown (`shown`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, get_args
from zoneinfo import ZoneInfo

from exporter.cost.money import add
from exporter.finance import facts
from exporter.finance.facts import Fact, Measure, MoneyView
from exporter.finance.fleet.overheads import FleetOverheads
from exporter.finance.redistribution import Idle, moved_idle, overhead_facts
from exporter.finance.statement_notes import statement_notes
from exporter.ledger.adjustments import Adjustment
from exporter.ledger.history import ESTIMATE, MonthRecord
from exporter.units import Instant, Nanoseconds, Picodollars

StatementKind = Literal["month", "chargeback"]

MonthBy = Literal["product", "team", "server", "model", "component", "gpu"]
"""What a month has lines by."""
MONTH_BYS: Final[tuple[MonthBy, ...]] = get_args(MonthBy)

Column = Literal["day", "product", "team", "namespace", "server", "model"]
"""What a chargeback may have columns of."""
COLUMNS: Final[tuple[Column, ...]] = get_args(Column)

Labels = tuple[str, ...]
"""Names of label columns, or the values of a line in them."""


class UnknownMonthError(Exception):
    """The ledger has nothing of a month; the message says which months it has."""


@dataclass(slots=True)
class StatementLine:
    """One row: who or what, and what it comes to."""

    labels: Labels
    money: Picodollars = 0
    itemized: Picodollars = 0
    """The part of `money` whose phases are known."""
    idle: Picodollars = 0
    """The part of `itemized` for GPUs that did nothing."""
    estimated: Picodollars = 0
    """The part of `money` at estimated prices."""
    adjusted: Picodollars = 0
    """The part of `money` that is posted corrections."""
    unpriced: Nanoseconds = 0
    """Unpriced GPU time. A later price decides which part of it is chargeable."""
    gpu_time: Nanoseconds = 0
    """Chargeable GPU time."""
    tokens: dict[str, int] = field(default_factory=dict)
    """Tokens by their kind."""
    overhead: Picodollars = 0
    """A part of the overheads of the fleet, which is not in `money`."""

    def add(self, fact: Fact, view: MoneyView) -> None:
        """Add a fact to the line, which divides a view of money."""
        match fact.measure:
            case "money of owners" | "money of components" | "money of GPUs":
                # Money of owners has no price basis. The same money of components has it.
                if fact.basis == ESTIMATE:
                    self.estimated += fact.value
                if fact.measure == view:
                    self.add_money(fact)
            case "GPU time" | "GPU time of GPUs":
                self.gpu_time += fact.value
            case "unpriced time":
                # A note has the hours of a host whose GPUs nobody counted: they are no GPU-hours.
                if not fact.is_time_of_host:
                    self.unpriced += fact.value
            case "overhead":
                self.overhead += fact.value
            case "tokens":
                add(self.tokens, fact.kind or "", fact.value)

    def add_money(self, fact: Fact) -> None:
        """Add money that lines divide, and count it in the parts that it belongs to."""
        self.money += fact.value
        if fact.is_adjustment:
            self.adjusted += fact.value
        if fact.phase is not None:
            self.itemized += fact.value
        if fact.phase == "idle":
            self.idle += fact.value

    @property
    def has_values(self) -> bool:
        """Whether any amount is not zero. Parts of money count, since they may cancel each other."""
        money = (self.money, self.itemized, self.idle, self.estimated, self.adjusted, self.overhead)
        return any((*money, self.gpu_time, self.unpriced, *self.tokens.values()))


class ShownAmounts(NamedTuple):
    """Which amounts a statement shows of each line, besides its money."""

    idle: bool
    """Idle cost and its ratio."""
    estimated: bool
    """The money at estimated prices."""
    gpu_time: bool
    """GPU time, chargeable and unpriced."""
    tokens: bool
    """Tokens by their kind."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A period by something. The money of `lines` sums to all that was posted in it."""

    kind: StatementKind
    month: str
    columns: Labels
    """Names of the labels."""
    ledger: str
    """Empty in a statement of several ledgers."""
    last_commit: Instant | None
    to_date: bool
    """Whether the period goes on."""
    lines: tuple[StatementLine, ...]
    shows: ShownAmounts
    notes: tuple[str, ...]
    """Sentences, without their stop, on what the numbers leave open."""
    adjustments: tuple[Adjustment, ...] = ()
    """Corrections of the period. Posted ones are in `lines`, those that wait are not."""
    overheads: FleetOverheads | None = None
    """Overheads of the fleet that lines carry; `None` where they were not read."""


@dataclass(frozen=True, slots=True)
class ChargebackLayout:
    """Columns of a chargeback, and what becomes of idle cost."""

    by: tuple[Column, ...] = ("product", "team")
    idle: Idle | None = None
    """`None` leaves idle cost in the line of its owner, with its amount beside."""


BY_PRODUCT_AND_TEAM: Final = ChargebackLayout()

_MEASURES: Final[Mapping[MoneyView, frozenset[Measure]]] = {
    # Money of components is here for the price basis alone, which makes the estimated part of a line.
    "money of owners": frozenset(
        {"money of owners", "money of components", "GPU time", "unpriced time", "tokens", "overhead"}
    ),
    # A component of cost has no GPU time.
    "money of components": frozenset({"money of components", "overhead"}),
    # No history has the price basis, the phases or the tokens of a GPU.
    "money of GPUs": frozenset({"money of GPUs", "GPU time of GPUs", "unpriced time", "overhead"}),
}
"""Measures of the facts that lines add up, by the view of money that they divide."""


@dataclass(frozen=True, slots=True)
class _StatementLayout:
    """The columns of a statement, and the money that its lines divide."""

    kind: StatementKind
    columns: Labels
    """Names of the labels."""
    view: MoneyView = "money of owners"
    """The money that lines divide."""
    idle: Idle | None = None
    """Where idle cost of owners goes.

    `None`: it stays in the line of its owner.
    spread: lines of owners carry it in proportion to their busy cost.
    apart: it has a line of its own.
    """

    @property
    def measures(self) -> frozenset[Measure]:
        """Measures of the facts that lines add up."""
        measures = _MEASURES[self.view]
        # The price basis is known neither by model nor of idle cost that moved to other lines.
        is_basis_known = "model" not in self.columns and self.idle is None
        return measures if is_basis_known else measures - {"money of components"}

    def shown(self, *, has_history: bool) -> ShownAmounts:
        """The amounts that a statement shows of each line.

        Args:
            has_history: whether phases, GPU time and tokens of the period are known. Without them its totals
                are known, by product, team and price basis.
        """
        measures = self.measures
        return ShownAmounts(
            # The idle line of `apart` is all idle cost, and the other lines have none.
            idle=has_history and self.view == "money of owners" and self.idle != "apart",
            # Totals have the price basis as well: this needs no history.
            estimated="money of components" in measures,
            gpu_time=has_history and "unpriced time" in measures,
            tokens=has_history and "tokens" in measures,
        )

    def lines(self, all_facts: Iterable[Fact]) -> tuple[StatementLine, ...]:
        """Lines by columns, the dearest of all or of each day first; a line without a value is left out."""
        measures = self.measures
        lines: dict[Labels, StatementLine] = {}
        for fact in all_facts:
            if fact.measure in measures:
                labels = fact.labels(self.columns)
                line = lines.setdefault(labels, StatementLine(labels))
                line.add(fact, self.view)
        ordered = sorted(lines.values(), key=lambda line: (-line.money, line.labels))
        if "day" in self.columns:
            day_column = self.columns.index("day")
            ordered.sort(key=lambda line: line.labels[day_column])  # stable: the dearest of a day stays first
        return tuple(line for line in ordered if line.has_values)


_MONTH_LAYOUTS: Final[Mapping[MonthBy, _StatementLayout]] = {
    "product": _StatementLayout("month", ("product",)),
    "team": _StatementLayout("month", ("team",)),
    "server": _StatementLayout("month", ("namespace", "server")),
    "model": _StatementLayout("month", ("model",)),
    "component": _StatementLayout("month", ("component",), "money of components"),
    "gpu": _StatementLayout("month", ("uuid", "gpu_model"), "money of GPUs"),
}


def month_statement(
    record: MonthRecord,
    by: MonthBy,
    *,
    current_month: str,
    zone: ZoneInfo,
    overheads: FleetOverheads | None = None,
) -> Statement:
    """A month by one thing.

    Args:
        record: the month.
        by: what lines are by.
        current_month: the month that goes on now.
        zone: the time zone of months.
        overheads: overheads of the fleet, which lines carry beside their own cost.

    Raises:
        UnknownMonthError: the ledger has nothing of that month.
    """
    layout = _MONTH_LAYOUTS[by]
    return _statement(record, layout, current_month=current_month, zone=zone, overheads=overheads)


def chargeback_statement(
    record: MonthRecord,
    layout: ChargebackLayout = BY_PRODUCT_AND_TEAM,
    *,
    current_month: str,
    zone: ZoneInfo,
    overheads: FleetOverheads | None = None,
) -> Statement:
    """A month by columns of owners; an owner that no rule names has lines too.

    Args:
        record: the month; with its days where the layout is by day.
        layout: columns, and what becomes of idle cost.
        current_month: the month that goes on now.
        zone: the time zone of months.
        overheads: overheads of the fleet, which lines carry beside their own cost.

    Raises:
        UnknownMonthError: the ledger has nothing of that month.
    """
    by_owner = _StatementLayout("chargeback", layout.by, idle=layout.idle)
    return _statement(record, by_owner, current_month=current_month, zone=zone, overheads=overheads)


def _statement(
    record: MonthRecord,
    layout: _StatementLayout,
    *,
    current_month: str,
    zone: ZoneInfo,
    overheads: FleetOverheads | None,
) -> Statement:
    """The statement of a period in a layout."""
    refuse_unknown(record)
    all_facts = facts.facts_of(record, by_day="day" in layout.columns)
    shows = layout.shown(has_history=record.sums is not None)
    # All facts again, with idle cost as facts of its new owners, or of none and with the name (idle).
    moved = moved_idle(all_facts, layout.idle)
    # Who carries overheads depends on the cost that accrued to each owner, before idle cost moved.
    carried = [] if overheads is None else overhead_facts(all_facts, layout.view, overheads)
    notes = statement_notes(
        record,
        all_facts,
        zone=zone,
        overheads=overheads,
        columns=layout.columns,
        keeps_idle=shows.idle and layout.idle is None,
    )
    return Statement(
        kind=layout.kind,
        month=record.month,
        columns=layout.columns,
        ledger=record.ledger,
        last_commit=record.last_commit,
        to_date=record.month == current_month,
        lines=layout.lines([*moved.facts, *carried]),
        shows=shows,
        notes=(*moved.notes, *notes),
        adjustments=record.adjustments,
        overheads=overheads,
    )


def refuse_unknown(record: MonthRecord) -> None:
    """Refuse a month of which the ledger has nothing.

    Raises:
        UnknownMonthError: the ledger has nothing of the month.
    """
    if record.month in record.months:
        return
    months = ", ".join(record.months)
    if record.ledger:
        available = f"it has {months}" if months else "it is empty: a daemon posts from its second tick on"
        raise UnknownMonthError(f"the ledger has nothing of {record.month}: {available}")
    available = f"they have {months}" if months else "they are empty"
    raise UnknownMonthError(f"the ledgers have nothing of {record.month}: {available}")

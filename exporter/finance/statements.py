"""Statements of a period: a month by one thing, and a chargeback by any columns. Both sum to it. Pure.

A period is a list of facts: values, each with what it measures and what it is of. A statement adds them up by
labels. All money is there in three views, by owner, component and GPU: lines divide one of them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, get_args
from zoneinfo import ZoneInfo

from exporter.cost.money import add
from exporter.finance import facts
from exporter.finance.facts import ADJUSTED, Fact, Measure, MoneyView
from exporter.finance.fleet.overheads import FleetOverheads
from exporter.finance.redistribution import Idle, moved_idle, overhead_facts
from exporter.finance.statement_notes import statement_notes
from exporter.ledger.adjustments import Adjustment
from exporter.ledger.history import ESTIMATE, MonthRecord
from exporter.units import Instant, Nanoseconds, Picodollars

Report = Literal["month", "chargeback"]

MonthBy = Literal["product", "team", "server", "model", "component", "gpu"]
"""What a month has lines by."""
MONTH_BYS: Final[tuple[MonthBy, ...]] = get_args(MonthBy)

Column = Literal["day", "product", "team", "namespace", "server", "model"]
"""What a chargeback may have columns of."""
COLUMNS: Final[tuple[Column, ...]] = get_args(Column)

Labels = tuple[str, ...]
"""Names of label columns, or the values of a line in them."""

_COLUMNS: Final[Mapping[MonthBy, Labels]] = {
    "product": ("product",),
    "team": ("team",),
    "server": ("namespace", "server"),
    "model": ("model",),
    "component": ("component",),
    "gpu": ("uuid", "gpu_model"),
}
"""Columns of the labels of a month's lines."""

_VIEWS: Final[Mapping[MonthBy, MoneyView]] = {"component": "money of components", "gpu": "money of GPUs"}
"""Views of money that a month by these divides; lines by something else divide the money of owners."""

_MEASURES: Final[Mapping[MoneyView, frozenset[Measure]]] = {
    "money of owners": frozenset(
        {"money of owners", "money of components", "GPU time", "waiting time", "tokens", "overhead"}
    ),
    "money of components": frozenset({"money of components", "overhead"}),
    "money of GPUs": frozenset({"money of GPUs", "GPU time of GPUs", "waiting time", "overhead"}),
}
"""Measures of the facts that add to lines of a view.

Money of owners has no price basis: their lines take the part at estimated prices from money of components.
"""


class ReportError(Exception):
    """There is no such report; the message says what there is."""


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
    """GPU time that passed and waits for a price, which will tell what part of it is owed."""
    gpu_time: Nanoseconds = 0
    """GPU time that is owed."""
    tokens: dict[str, int] = field(default_factory=dict)
    """Tokens by their kind."""
    overhead: Picodollars = 0
    """A part of the overheads of the fleet, which is not in `money`."""

    def add(self, fact: Fact, view: MoneyView) -> None:
        """Add a fact of one of the measures of a view."""
        if fact.measure == view:  # the other views have the same money again
            self._add_money(fact)
        match fact.measure:
            case "money of components":
                if fact.basis == ESTIMATE:
                    self.estimated += fact.value
            case "GPU time" | "GPU time of GPUs":
                self.gpu_time += fact.value
            case "waiting time":
                # The hours of a host whose GPUs nobody counted are no GPU-hours: a note has them.
                if not fact.is_time_of_host:
                    self.unpriced += fact.value
            case "overhead":
                self.overhead += fact.value
            case "tokens":
                add(self.tokens, fact.kind or "", fact.value)

    def _add_money(self, fact: Fact) -> None:
        """Add money that lines divide, and count the parts of it that are known apart."""
        self.money += fact.value
        if fact.name == ADJUSTED:
            self.adjusted += fact.value
        if fact.phase is not None:
            self.itemized += fact.value
        if fact.phase == "idle":
            self.idle += fact.value

    @property
    def has_values(self) -> bool:
        """Whether anything in it is not zero. Parts of money count, since they may cancel each other."""
        money = (self.money, self.adjusted, self.estimated, self.overhead)
        return any((*money, self.gpu_time, self.unpriced, *self.tokens.values()))


@dataclass(frozen=True, slots=True)
class Statement:
    """A period by something. The money of `lines` sums to all that was posted in it."""

    report: Report
    month: str
    columns: Labels
    """Names of the labels."""
    ledger: str
    """Empty in a statement of several ledgers."""
    last_commit: Instant | None
    to_date: bool
    """Whether the period goes on."""
    lines: tuple[StatementLine, ...]
    idle: bool
    """Whether lines tell their idle part."""
    estimated: bool
    """Whether lines tell their part at estimated prices."""
    gpu_time: bool
    """Whether lines tell their GPU time, and the GPU time that waits for a price."""
    tokens: bool
    """Whether lines tell their tokens."""
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


@dataclass(frozen=True, slots=True)
class _StatementLayout:
    """What a statement divides by what, and so what its lines can tell."""

    report: Report
    columns: Labels
    """Names of the labels."""
    view: MoneyView = "money of owners"
    """The money that lines divide."""
    idle: Idle | None = None
    """Where idle cost goes; `None` leaves it in the line of its owner."""

    @property
    def measures(self) -> frozenset[Measure]:
        """Measures of the facts that add to lines. The price basis of money is not known by model."""
        measures = _MEASURES[self.view]
        return measures - {"money of components"} if "model" in self.columns else measures

    @property
    def is_of_owners(self) -> bool:
        """Whether lines divide the money of owners, who alone have phases and tokens."""
        return self.view == "money of owners"

    @property
    def keeps_idle(self) -> bool:
        """Whether lines of owners have the idle cost that accrued to them."""
        return self.is_of_owners and self.idle is None

    @property
    def tells_idle(self) -> bool:
        """Whether lines tell their idle part: where it is apart, its own line does."""
        return self.is_of_owners and self.idle != "apart"

    @property
    def tells_estimated(self) -> bool:
        """Whether lines tell their part at estimated prices.

        The price basis is known by component and server: not by GPU or model, nor of idle cost that moves.
        """
        return self.idle is None and "model" not in self.columns and self.view != "money of GPUs"

    @property
    def tells_gpu_time(self) -> bool:
        """Whether lines tell GPU time, of which a component of cost has none."""
        return self.view != "money of components"


def month_statement(
    record: MonthRecord,
    by: MonthBy,
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
        ReportError: the ledger has nothing of that month.
    """
    layout = _StatementLayout("month", _COLUMNS[by], view=_VIEWS.get(by, "money of owners"))
    return _statement(record, layout, current_month, zone=zone, overheads=overheads)


def chargeback_statement(
    record: MonthRecord,
    current_month: str,
    zone: ZoneInfo,
    layout: ChargebackLayout = BY_PRODUCT_AND_TEAM,
    overheads: FleetOverheads | None = None,
) -> Statement:
    """A month by owners, those included that no rule names.

    Args:
        record: the month; with its days where the layout is by day.
        current_month: the month that goes on now.
        zone: the time zone of months.
        layout: columns, and what becomes of idle cost.
        overheads: overheads of the fleet, which lines carry beside their own cost.

    Raises:
        ReportError: the ledger has nothing of that month.
    """
    of_chargeback = _StatementLayout("chargeback", layout.by, idle=layout.idle)
    return _statement(record, of_chargeback, current_month, zone=zone, overheads=overheads)


def _statement(
    record: MonthRecord,
    layout: _StatementLayout,
    current_month: str,
    *,
    zone: ZoneInfo,
    overheads: FleetOverheads | None,
) -> Statement:
    """The statement of a period in a layout."""
    refuse_unknown(record)
    all_facts = facts.facts_of(record, by_day="day" in layout.columns)
    moved = moved_idle(all_facts, layout.idle)
    # Who carries overheads is decided by what accrued to whom, wherever idle cost is shown.
    carried = [] if overheads is None else overhead_facts(all_facts, layout.view, overheads)
    notes = statement_notes(
        record, all_facts, zone, overheads, columns=layout.columns, keeps_idle=layout.keeps_idle
    )
    has_history = record.sums is not None
    return Statement(
        report=layout.report,
        month=record.month,
        columns=layout.columns,
        ledger=record.ledger,
        last_commit=record.last_commit,
        to_date=record.month == current_month,
        lines=_lines([*moved.facts, *carried], layout),
        idle=has_history and layout.tells_idle,
        estimated=layout.tells_estimated,
        gpu_time=has_history and layout.tells_gpu_time,
        tokens=has_history and layout.is_of_owners,
        notes=(*moved.notes, *notes),
        adjustments=record.adjustments,
        overheads=overheads,
    )


def refuse_unknown(record: MonthRecord) -> None:
    """See that the ledger has anything of a month.

    Raises:
        ReportError: it has not; the message says what it has.
    """
    if record.month in record.months:
        return
    months = ", ".join(record.months)
    if record.ledger:
        available = f"it has {months}" if months else "it is empty: a daemon posts from its second tick on"
        raise ReportError(f"the ledger has nothing of {record.month}: {available}")
    available = f"they have {months}" if months else "they are empty"
    raise ReportError(f"the ledgers have nothing of {record.month}: {available}")


def _lines(all_facts: Iterable[Fact], layout: _StatementLayout) -> tuple[StatementLine, ...]:
    """Lines by columns, the dearest of all or of each day first; lines without a value are left out."""
    lines: dict[Labels, StatementLine] = {}
    for fact in all_facts:
        if fact.measure in layout.measures:
            labels = fact.labels(layout.columns)
            lines.setdefault(labels, StatementLine(labels)).add(fact, layout.view)
    ordered = sorted(lines.values(), key=lambda line: (-line.money, line.labels))
    if "day" in layout.columns:
        day_column = layout.columns.index("day")
        ordered.sort(key=lambda line: line.labels[day_column])
    return tuple(line for line in ordered if line.has_values)

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


@dataclass(frozen=True, slots=True)
class _View:
    """One division of all money, and what else is known of its rows."""

    money: MoneyView
    """The measure of the facts that lines divide; those of the other views are the same money again."""
    measures: frozenset[Measure]
    """Measures of the facts that add to lines.

    Unpriced time is GPU time without a price yet, and an overhead is beside all money.
    """
    has_phases: bool
    """Whether its money has a phase, such as idle, and its rows have tokens: those of owners alone."""
    has_gpu_time: bool
    """Whether its rows have GPU time: a component of cost has none."""
    has_price_basis: bool
    """Whether the part at estimated prices is known: not by GPU."""


_OWNERS: Final = _View(
    "money of owners",
    # Money of owners has no price basis: the part at estimated prices is taken from money of components.
    frozenset({"money of owners", "money of components", "GPU time", "unpriced time", "tokens", "overhead"}),
    has_phases=True,
    has_gpu_time=True,
    has_price_basis=True,
)
_COMPONENTS: Final = _View(
    "money of components",
    frozenset({"money of components", "overhead"}),
    has_phases=False,
    has_gpu_time=False,
    has_price_basis=True,
)
_GPUS: Final = _View(
    "money of GPUs",
    frozenset({"money of GPUs", "GPU time of GPUs", "unpriced time", "overhead"}),
    has_phases=False,
    has_gpu_time=True,
    has_price_basis=False,
)


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
    """Unpriced GPU time. Its price will tell what part of it is chargeable."""
    gpu_time: Nanoseconds = 0
    """Chargeable GPU time."""
    tokens: dict[str, int] = field(default_factory=dict)
    """Tokens by their kind."""
    overhead: Picodollars = 0
    """A part of the overheads of the fleet, which is not in `money`."""

    def add(self, fact: Fact, view: MoneyView) -> None:
        """Add a fact to lines that divide a view of money."""
        if fact.measure == view:
            self._add_money(fact)
        # Lines of owners divide other money, and take from this its part at estimated prices alone.
        if fact.measure == "money of components" and fact.basis == ESTIMATE:
            self.estimated += fact.value
        match fact.measure:
            case "GPU time" | "GPU time of GPUs":
                self.gpu_time += fact.value
            case "unpriced time":
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
        money = (self.money, self.itemized, self.idle, self.estimated, self.adjusted, self.overhead)
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
    tells_idle: bool
    """Whether lines tell their idle part."""
    tells_estimated: bool
    """Whether lines tell their part at estimated prices."""
    tells_gpu_time: bool
    """Whether lines tell their GPU time, and their unpriced GPU time."""
    tells_tokens: bool
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
    view: _View = _OWNERS
    """The money that lines divide."""
    idle: Idle | None = None
    """Where idle cost of owners goes.

    None: it stays in the line of its owner.
    spread: lines of owners carry it by their busy cost, each with its idle part.
    apart: it has a line of its own, so that no line has an idle part.
    """

    @property
    def has_price_basis(self) -> bool:
        """Whether the price basis of the money of a line is known: it is not by model."""
        return self.view.has_price_basis and "model" not in self.columns

    @property
    def measures(self) -> frozenset[Measure]:
        """Measures of the facts that add to lines."""
        measures = self.view.measures
        return measures if self.has_price_basis else measures - {"money of components"}

    @property
    def keeps_idle(self) -> bool:
        """Whether lines of owners have the idle cost that accrued to them."""
        return self.view.has_phases and self.idle is None

    @property
    def tells_idle(self) -> bool:
        """Whether lines tell their idle part."""
        return self.view.has_phases and self.idle != "apart"

    @property
    def tells_estimated(self) -> bool:
        """Whether lines tell their part at estimated prices: idle cost that moves has no price basis."""
        return self.has_price_basis and self.idle is None


_MONTH_LAYOUTS: Final[Mapping[MonthBy, _StatementLayout]] = {
    "product": _StatementLayout("month", ("product",)),
    "team": _StatementLayout("month", ("team",)),
    "server": _StatementLayout("month", ("namespace", "server")),
    "model": _StatementLayout("month", ("model",)),
    "component": _StatementLayout("month", ("component",), _COMPONENTS),
    "gpu": _StatementLayout("month", ("uuid", "gpu_model"), _GPUS),
}


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
    return _statement(record, _MONTH_LAYOUTS[by], current_month, zone=zone, overheads=overheads)


def chargeback_statement(
    record: MonthRecord,
    current_month: str,
    zone: ZoneInfo,
    layout: ChargebackLayout = BY_PRODUCT_AND_TEAM,
    overheads: FleetOverheads | None = None,
) -> Statement:
    """A month by columns of owners; an owner that no rule names has lines too.

    Args:
        record: the month; with its days where the layout is by day.
        current_month: the month that goes on now.
        zone: the time zone of months.
        layout: columns, and what becomes of idle cost.
        overheads: overheads of the fleet, which lines carry beside their own cost.

    Raises:
        ReportError: the ledger has nothing of that month.
    """
    statement_layout = _StatementLayout("chargeback", layout.by, idle=layout.idle)
    return _statement(record, statement_layout, current_month, zone=zone, overheads=overheads)


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
    carried = [] if overheads is None else overhead_facts(all_facts, layout.view.money, overheads)
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
        tells_idle=has_history and layout.tells_idle,
        tells_estimated=layout.tells_estimated,
        tells_gpu_time=has_history and layout.view.has_gpu_time,
        tells_tokens=has_history and layout.view.has_phases,
        notes=(*moved.notes, *notes),
        adjustments=record.adjustments,
        overheads=overheads,
    )


def refuse_unknown(record: MonthRecord) -> None:
    """Refuse a month of which the ledger has nothing.

    Raises:
        ReportError: it has nothing of it; the message says what it has.
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
            lines.setdefault(labels, StatementLine(labels)).add(fact, layout.view.money)
    ordered = sorted(lines.values(), key=lambda line: (-line.money, line.labels))
    if "day" in layout.columns:
        day_column = layout.columns.index("day")
        ordered.sort(key=lambda line: line.labels[day_column])  # stable: the dearest of a day stays first
    return tuple(line for line in ordered if line.has_values)

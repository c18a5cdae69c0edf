"""Statements of a period: a month by one thing, and a chargeback by any columns. Both sum to it. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, get_args
from zoneinfo import ZoneInfo

from exporter.cost.money import add
from exporter.cost.postings import CostOwner
from exporter.finance import facts
from exporter.finance.facts import ADJUSTED, Fact, Measure, MoneyView
from exporter.finance.fleet.overheads import FleetOverheads, positive_split, spread
from exporter.ledger.adjustments import Adjustment
from exporter.ledger.history import ESTIMATE, HistorySums, MonthRecord
from exporter.readings import UNSEEN
from exporter.reports.rounding import dollars_text, hours_text
from exporter.tariff.period import Period
from exporter.units import NANOSECONDS_PER_DAY, Instant, Nanoseconds, Picodollars, plain_dollars

YEAR: Final = 365 * NANOSECONDS_PER_DAY
"""Days that are older than that may have expired: a ledger keeps this month and twelve before it."""

By = Literal["product", "team", "server", "model", "component", "gpu"]
BYS: Final[tuple[By, ...]] = get_args(By)

Column = Literal["day", "product", "team", "namespace", "server", "model"]
COLUMNS: Final[tuple[Column, ...]] = get_args(Column)

Idle = Literal["apart", "spread"]
IDLE_FORMS: Final[tuple[Idle, ...]] = get_args(Idle)

EMPTY: Final = "it is empty: a daemon posts from its second tick on"

IDLE: Final = "(idle)"
"""The name of idle cost that is shown apart."""

OVERHEADS: Final = "(overheads)"
"""The name of overheads of the fleet where lines are by GPU."""

Report = Literal["month", "chargeback"]

Labels = tuple[str, ...]

_COLUMNS: Final[Mapping[By, Labels]] = {
    "product": ("product",),
    "team": ("team",),
    "server": ("namespace", "server"),
    "model": ("model",),
    "component": ("component",),
    "gpu": ("uuid", "gpu_model"),
}
"""Columns of the labels of a month's lines."""

_VIEWS: Final[Mapping[By, MoneyView]] = {"component": "money of components", "gpu": "money of GPUs"}
"""Views of money of a month; lines by something else are of owners."""

_MEASURES: Final[Mapping[MoneyView, frozenset[Measure]]] = {
    "money of owners": frozenset(
        {"money of owners", "money of components", "GPU time", "waiting time", "tokens", "overhead"}
    ),
    "money of components": frozenset({"money of components", "overhead"}),
    "money of GPUs": frozenset({"money of GPUs", "GPU time of GPUs", "waiting time", "overhead"}),
}
"""Measures of the facts that add to lines. Of components, lines by owner have their estimated part."""


class ReportError(Exception):
    """There is no such report; the message says what there is."""


@dataclass(slots=True)
class StatementLine:
    """One row: who or what, and what it comes to."""

    labels: Labels
    money: Picodollars = 0
    itemized: Picodollars = 0
    """The part of the money whose phases are known."""
    idle: Picodollars = 0
    """The part of that for GPUs that did nothing."""
    estimated: Picodollars = 0
    """The part of the money at estimated prices."""
    adjusted: Picodollars = 0
    """The part of the money that is posted corrections."""
    unpriced: Nanoseconds = 0
    """GPU time that waits for a price, as it passed: what of it is owed, that price will tell."""
    gpu_time: Nanoseconds = 0
    """GPU time that is owed."""
    tokens: dict[str, int] = field(default_factory=dict)
    """Tokens by their kind."""
    overhead: Picodollars = 0
    """A part of the overheads of the fleet, which is not in `money`."""

    def add(self, fact: Fact, view: MoneyView) -> None:
        """Add a fact of one of the measures of a view."""
        if fact.measure == view:
            self.money += fact.value
            self.adjusted += fact.value if fact.name == ADJUSTED else 0
            self.itemized += fact.value if fact.phase is not None else 0
            self.idle += fact.value if fact.phase == "idle" else 0
        match fact.measure:
            case "money of components":
                self.estimated += fact.value if fact.basis == ESTIMATE else 0
            case "GPU time" | "GPU time of GPUs":
                self.gpu_time += fact.value
            case "waiting time":
                self.unpriced += fact.value
            case "overhead":
                self.overhead += fact.value
            case "tokens":
                add(self.tokens, fact.kind or "", fact.value)


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
    """The period goes on."""
    lines: tuple[StatementLine, ...]
    idle: bool
    """Lines tell their idle part."""
    estimated: bool
    """Lines tell their part at estimated prices."""
    gpu_time: bool
    """Lines tell their GPU time, and what of it waits for a price."""
    tokens: bool
    """Lines tell their tokens."""
    notes: tuple[str, ...]
    """Sentences, without their stop, on what the numbers leave open."""
    adjustments: tuple[Adjustment, ...] = ()
    """Corrections of the period. Posted ones are in `lines`, those that wait are not."""
    overheads: FleetOverheads | None = None
    """Those of the fleet that lines carry; `None` where they were not looked at."""


@dataclass(frozen=True, slots=True)
class ChargebackLayout:
    """Columns of a chargeback, and what becomes of idle cost."""

    by: tuple[Column, ...] = ("product", "team")
    idle: Idle | None = None
    """`None` leaves it in the line of its owner, with its amount beside. "apart" collects it in one line.
    "spread" divides it among owners in proportion to their busy cost: prefill, decode and other."""


BY_PRODUCT_AND_TEAM: Final = ChargebackLayout()


def month(
    record: MonthRecord, by: By, current: str, zone: ZoneInfo, overheads: FleetOverheads | None = None
) -> Statement:
    """A month by one thing. `current` is the month that goes on now, `zone` the one that months are of.

    Raises:
        ReportError: the ledger has nothing of that month.
    """
    view = _VIEWS.get(by, "money of owners")
    return _statement(
        "month", record, current=current, zone=zone, columns=_COLUMNS[by], overheads=overheads, view=view
    )


def chargeback(
    record: MonthRecord,
    current: str,
    zone: ZoneInfo,
    layout: ChargebackLayout = BY_PRODUCT_AND_TEAM,
    overheads: FleetOverheads | None = None,
) -> Statement:
    """A month by owners, those included that no rule names.

    Args:
        record: the month; with its days where the layout is by day.
        current: the month that goes on now.
        zone: the one that months are of.
        layout: columns, and what becomes of idle cost.
        overheads: those of the fleet, which lines carry beside their own cost.

    Raises:
        ReportError: the ledger has nothing of that month.
    """
    return _statement(
        "chargeback",
        record,
        current=current,
        zone=zone,
        columns=layout.by,
        overheads=overheads,
        idle=layout.idle,
    )


def _statement(
    report: Report,
    record: MonthRecord,
    *,
    current: str,
    zone: ZoneInfo,
    columns: Labels,
    overheads: FleetOverheads | None,
    view: MoneyView = "money of owners",
    idle: Idle | None = None,
) -> Statement:
    refuse_unknown(record)
    of_owner = view == "money of owners"
    has_sums = record.sums is not None
    by_day = "day" in columns
    every = facts.facts_of(record, by_day=by_day)
    moved, sentences = _with_idle_moved(every, idle)
    carried = _overhead_facts(every, view, overheads)  # as if idle cost stayed
    lines = _lines([*moved, *carried], columns, view)
    if by_day:
        lines = tuple(sorted(lines, key=lambda line: line.labels[columns.index("day")]))
        money = facts.measured(every, view)
        undated = sum(fact.value for fact in money if fact.phase is not None and not fact.day)
        if undated:
            sentences.append(
                f"{dollars_text(undated)} dollars have no day: they are of hosts that only a statement "
                "or Prometheus has"
            )
    by_owner = {"product", "team"}.issuperset(columns)
    return Statement(
        report=report,
        month=record.month,
        columns=columns,
        ledger=record.ledger,
        last_commit=record.last_commit,
        to_date=record.month == current,
        lines=lines,
        idle=has_sums and of_owner and idle != "apart",
        estimated=idle is None and "model" not in columns and view != "money of GPUs",
        gpu_time=has_sums and view != "money of components",
        tokens=has_sums and of_owner,
        notes=(
            *sentences,
            *_notes(record, every, zone, overheads, by_owner=by_owner, by_phase=of_owner and idle is None),
        ),
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
        available = f"it has {months}" if months else EMPTY
        raise ReportError(f"the ledger has nothing of {record.month}: {available}")
    available = f"they have {months}" if months else "they are empty"
    raise ReportError(f"the ledgers have nothing of {record.month}: {available}")


def _lines(every: Iterable[Fact], columns: Labels, view: MoneyView) -> tuple[StatementLine, ...]:
    """Lines by columns, the dearest first; what costs nothing and says nothing is left out."""
    measures = _MEASURES[view]
    if "model" in columns:
        measures -= {"money of components"}  # of models no price basis is known
    lines: dict[Labels, StatementLine] = {}
    for fact in every:
        if fact.measure in measures and not fact.is_time_of_host:
            labels = fact.labels(columns)
            lines.setdefault(labels, StatementLine(labels)).add(fact, view)
    relevant = [
        line
        for line in lines.values()
        if any((line.money, line.adjusted, line.estimated, line.gpu_time, line.unpriced, line.overhead))
        or any(line.tokens.values())
    ]
    return tuple(sorted(relevant, key=lambda line: (-line.money, line.labels)))


def _overhead_facts(every: list[Fact], view: MoneyView, overheads: FleetOverheads | None) -> Iterator[Fact]:
    """Overheads of the fleet: by name, in one row, or in the rows of who carries them, as it had GPUs."""
    if overheads is None:
        return
    if view == "money of components":
        for name, amount in overheads.amounts.items():
            yield Fact("overhead", amount, component=name)
    elif view == "money of GPUs":
        yield Fact("overhead", overheads.total, name=OVERHEADS)
    else:
        dollars = facts.sums_by(facts.measured(every, view), lambda fact: fact.owner)
        gpu_time = facts.measured(every, "GPU time")
        times = facts.sums_by(gpu_time, lambda fact: fact.owner)
        days: dict[CostOwner, dict[str, Nanoseconds]] = {}
        for fact in gpu_time:
            add(days.setdefault(fact.owner, {}), fact.day or "", fact.value)
        costs = {owner: amount for owner, amount in dollars.items() if amount}
        for owner, amount in spread(overheads, times, costs).items():
            for day, part in (positive_split(amount, days.get(owner, {})) or {"": amount}).items():
                yield Fact("overhead", part, day or None, *owner)


def _with_idle_moved(every: list[Fact], idle: Idle | None) -> tuple[list[Fact], list[str]]:
    """Facts with idle cost where a layout has it, and sentences about it."""
    money = facts.measured(every, "money of owners")
    amount = sum(fact.value for fact in money if fact.phase == "idle")
    if idle is None or not amount:
        return every, []
    text = f"{dollars_text(amount)} dollars of idle cost"
    if idle == "apart":
        moved = [
            Fact(fact.measure, fact.value, fact.day, name=IDLE) if fact.phase == "idle" else fact
            for fact in every
        ]
        return moved, [f"{text}, unallocated GPUs included, are apart"]
    busy: dict[CostOwner, dict[str, Picodollars]] = {}
    for fact in money:
        if fact.phase not in (None, "idle", "unobserved"):
            add(busy.setdefault(fact.owner, {}), fact.day or "", fact.value)
    # First by owner, so that a sum over days is that without days.
    parts = positive_split(amount, {owner: sum(days.values()) for owner, days in busy.items()})
    if not parts:
        return every, [f"{text} stay where they are: no owner has busy cost"]
    moved = [fact for fact in every if not (fact.measure == "money of owners" and fact.phase == "idle")]
    for owner, part in parts.items():
        for day, of_day in positive_split(part, busy[owner]).items():
            moved.append(Fact("money of owners", of_day, day or None, *owner, phase="idle"))
    spread_out = f"{text}, unallocated GPUs included, are spread in proportion to busy cost"
    return moved, [f"{spread_out} (prefill, decode and other)"]


def _notes(
    record: MonthRecord,
    every: list[Fact],
    zone: ZoneInfo,
    overheads: FleetOverheads | None,
    *,
    by_owner: bool,
    by_phase: bool,
) -> Iterator[str]:
    """Sentences on what the numbers of a month leave open, and of how much.

    Args:
        record: the month.
        every: its facts.
        zone: the one that months are of.
        overheads: those of the fleet.
        by_owner: whether lines are by product or team, which all money has.
        by_phase: whether lines tell their idle part.
    """
    if overheads is not None and overheads.total:
        listed = ", ".join(f"{name} {dollars_text(amount)}" for name, amount in overheads.amounts.items())
        carried = dollars_text(overheads.total)
        yield f"{carried} dollars are overheads of the fleet ({listed}), spread {overheads.rule}"
    total = sum(record.cells.values())
    period = Period.named(record.month)
    if record.estimated:
        yield f"{dollars_text(record.estimated)} of {dollars_text(total)} dollars come from estimated prices"
    if record.undated:
        months = " and ".join(period.months)
        undated = dollars_text(record.undated)
        yield f"{undated} dollars of {months} have no known day and are not in this report"
    phased = sum(fact.value for fact in facts.measured(every, "money of owners") if fact.phase is not None)
    missing = total - record.adjusted - phased
    if missing:
        unknown = "have no idle part, GPU-hours or tokens here"
        if not by_owner:
            unknown = "are known by product and team only"
        expired = period.bounds(zone)[1] + YEAR < (record.last_commit or 0)
        gone = "are past the 13 months that are kept" if expired else "were lost with a part of the ledger"
        for amount, cause in (
            (record.undivided, "only Prometheus has their hosts"),
            (missing - record.undivided, f"their days {gone}"),
        ):
            if amount:
                yield f"{dollars_text(amount)} dollars {unknown}: {cause}"
    if by_phase and phased and phased != total:
        posted = any(each.posted is not None for each in record.adjustments)
        without = ": adjustments have none" if posted else ""
        yield f"idle % is of the {dollars_text(phased)} dollars that are known by phase{without}"
    if record.sums is not None:
        yield from _time_notes(record, record.sums, zone)
    for each in record.adjustments:
        state = "" if each.posted is not None else " waits for the daemon and is in no sum"
        of_ledger = f" of ledger {each.ledger}" if each.ledger else ""
        yield (
            f"adjustment {each.number}{of_ledger}{state}: {plain_dollars(each.amount)} dollars of "
            f'{each.day} to product {each.product}, team {each.team}: "{each.reason}"'
        )


def _time_notes(record: MonthRecord, sums: HistorySums, zone: ZoneInfo) -> Iterator[str]:
    """Sentences on time: without a price, charged late, never listed, unobserved; and on all metered time."""
    charged = sum(sums.held.values())
    # Both are kept as time that passed, of which a part may not be owed.
    uncounted = sums.uncounted()
    settled = min(charged, sum(sums.settled.values()))
    unpriced = sum(sums.waiting().values()) - uncounted
    all_hours = hours_text(max(charged, unpriced))
    if settled:
        yield f"{hours_text(settled)} of {all_hours} GPU-hours were charged when their price came"
    if unpriced:
        hours = hours_text(unpriced)
        yield f"{hours} of {all_hours} GPU-hours have no price: they cost nothing here"
    if uncounted:
        yield (
            f"{hours_text(uncounted)} host-hours are not metered: the number or price of the GPUs was "
            "not known, and they cost nothing until one is read"
        )
    unseen = sum(time for gpu, time in sums.gpu_owed().items() if gpu.uuid == UNSEEN)
    if unseen:
        money = sum(amount for (gpu, _), amount in sums.gpu_cost.items() if gpu.uuid == UNSEEN)
        yield (
            f"{hours_text(unseen)} GPU-hours, {dollars_text(money)} dollars, are of GPUs that were never "
            "listed (unseen)"
        )
    metered = sum(sums.covered.values()) - uncounted
    covered = hours_text(metered)
    passed = sum(sums.gpu_held.values())
    unobserved = metered * sums.unobserved() // passed if passed else 0
    of_them = f", {hours_text(unobserved)} of them unobserved" if unobserved else ""
    if not record.ledger:
        yield f"{covered} host-hours are metered{of_them}"
        return
    period = Period.named(record.month)
    start, end = period.bounds(zone)
    whole = "the whole month" if period.months == (period.name,) else period.name
    yield f"{covered} of the {hours_text(end - start)} hours of {whole} are metered{of_them}"

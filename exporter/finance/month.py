"""Statements of a month from the ledger; they reconcile, whatever they are grouped by. Pure."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args
from zoneinfo import ZoneInfo

from exporter.cost.money import add
from exporter.cost.postings import CostOwner
from exporter.finance.fleet.overheads import FleetOverheads, spread
from exporter.ledger.adjustments import COMPONENT, Adjustment
from exporter.ledger.history import ESTIMATE, HistorySums, MonthRecord
from exporter.readings import UNCOUNTED, UNSEEN, TokenKind
from exporter.report import MonthKey
from exporter.reports.rounding import dollars_text, hours_text
from exporter.tariff.period import Period
from exporter.units import (
    NANOSECONDS_PER_DAY,
    Instant,
    Nanoseconds,
    Picodollars,
    plain_dollars,
)


def notes(
    record: MonthRecord, missing: Picodollars, zone: ZoneInfo, *, by_owner: bool, by_phase: bool
) -> tuple[str, ...]:
    """Sentences without their stop: what the numbers of a month leave open, and of how much.

    Args:
        record: the month.
        missing: money that its days do not itemize.
        zone: the one that months are of.
        by_owner: whether lines are by product or team, which all money has.
        by_phase: whether lines tell their idle part.
    """
    return (
        *_notes(record, missing, zone, by_owner=by_owner, by_phase=by_phase),
        *map(_correction, record.adjustments),
    )


def overhead_notes(overheads: FleetOverheads | None) -> Iterator[str]:
    """Sentences on overheads of the fleet."""
    if overheads is not None and overheads.total:
        listed = ", ".join(f"{name} {dollars_text(amount)}" for name, amount in overheads.amounts.items())
        yield (
            f"{dollars_text(overheads.total)} dollars are overheads of the fleet ({listed}), spread "
            f"{overheads.rule}"
        )


def _notes(
    record: MonthRecord, missing: Picodollars, zone: ZoneInfo, *, by_owner: bool, by_phase: bool
) -> Iterator[str]:
    total, estimated = sum(record.cells.values()), record.estimated
    if estimated:
        yield (f"{dollars_text(estimated)} of {dollars_text(total)} dollars come from estimated prices")
    if record.undated:
        months = " and ".join(Period.named(record.month).months)
        undated = dollars_text(record.undated)
        yield f"{undated} dollars of {months} have no known day and are not in this report"
    if missing:
        unknown = (
            "are known by product and team only"
            if not by_owner
            else "have no idle part, GPU-hours or tokens here"
        )
        expired = Period.named(record.month).bounds(zone)[1] + YEAR < (record.last_commit or 0)
        gone = "are past the 13 months that are kept" if expired else "were lost with a part of the ledger"
        for amount, cause in (
            (record.undivided, "only Prometheus has their hosts"),
            (missing - record.undivided, f"their days {gone}"),
        ):
            if amount:
                yield f"{dollars_text(amount)} dollars {unknown}: {cause}"
    phased = sum(record.sums.cost.values()) if record.sums is not None else 0
    if by_phase and phased and phased != total:
        posted = any(each.posted is not None for each in record.adjustments)
        without = ": adjustments have none" if posted else ""
        yield f"idle % is of the {dollars_text(phased)} dollars that are known by phase{without}"
    sums = record.sums
    if sums is not None:
        charged = sum(sums.held.values())
        # Both are kept as time that passed, of which a part may not be owed.
        uncounted = sums.uncounted()
        settled = min(charged, sum(sums.settled.values()))
        unpriced = sum(sums.waiting().values()) - uncounted
        every = max(charged, unpriced)
        if settled:
            yield f"{hours_text(settled)} of {hours_text(every)} GPU-hours were charged when their price came"
        if unpriced:
            hours = hours_text(unpriced)
            yield f"{hours} of {hours_text(every)} GPU-hours have no price: they cost nothing here"
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
        covered, passed = hours_text(metered), sum(sums.gpu_held.values())
        unobserved = metered * sums.unobserved() // passed if passed else 0
        of_them = f", {hours_text(unobserved)} of them unobserved" if unobserved else ""
        if not record.ledger:
            yield f"{covered} host-hours are metered{of_them}"
            return
        period = Period.named(record.month)
        start, end = period.bounds(zone)
        whole = "the whole month" if period.months == (period.name,) else period.name
        yield f"{covered} of the {hours_text(end - start)} hours of {whole} are metered{of_them}"


def _correction(adjustment: Adjustment) -> str:
    state = "" if adjustment.posted is not None else " waits for the daemon and is in no sum"
    of_ledger = f" of ledger {adjustment.ledger}" if adjustment.ledger else ""
    return (
        f"adjustment {adjustment.number}{of_ledger}{state}: {plain_dollars(adjustment.amount)} dollars of "
        f"{adjustment.day} to product {adjustment.product}, team {adjustment.team}: "
        f'"{adjustment.reason}"'
    )


YEAR: Final = 365 * NANOSECONDS_PER_DAY
"""Days that are older than that may have expired: a ledger keeps this month and twelve before it."""

By = Literal["product", "team", "server", "model", "component", "gpu"]
BYS: Final[tuple[By, ...]] = get_args(By)

EMPTY: Final = "it is empty: a daemon posts from its second tick on"

NOT_ITEMIZED: Final = "(not itemized)"
"""The name of money that the ledger has by product and team only."""

ADJUSTED: Final = f"({COMPONENT})"
"""The name of corrections where lines are by what a correction has none of: a server, a model, a GPU."""

OVERHEADS: Final = "(overheads)"
"""The name of overheads of the fleet where lines are by GPU."""

Labels = tuple[str, ...]


class ReportError(Exception):
    """There is no such report; the message says what there is."""


@dataclass(slots=True)
class StatementLine:
    """One row: who or what, and what it comes to.

    `itemized` is the part of the money that history knows the phases of, and `idle` the part of that for
    GPUs that did nothing. `estimated` is the part at estimated prices, `adjusted` the part that is posted
    corrections. `gpu_time` is GPU time that is owed, `unpriced` what waits for a price, as it passed: what of
    it is owed while the host was down, that price will tell.
    `overhead` is a part of the overheads of the fleet, which is not in `money`.
    """

    labels: Labels
    money: Picodollars = 0
    itemized: Picodollars = 0
    idle: Picodollars = 0
    estimated: Picodollars = 0
    adjusted: Picodollars = 0
    unpriced: Nanoseconds = 0
    gpu_time: Nanoseconds = 0
    tokens: dict[TokenKind, int] = field(default_factory=dict)
    overhead: Picodollars = 0


@dataclass(frozen=True, slots=True)
class Statement:
    """A month by something. The money of `lines` sums to all that the ledger posted in that month.

    `ledger` is empty in a statement of several ledgers.

    `columns` name the labels. `idle`, `estimated`, `gpu_time` and `tokens` say whether lines tell theirs, and
    with `gpu_time` what of it waits for a price.
    `to_date` says that the month goes on. `notes` are sentences on what the numbers leave open.
    `adjustments` are the month's corrections: posted ones are in `lines`, those that wait are not.
    `overheads` are those of the fleet that lines carry; `None` where they were not looked at.
    """

    report: Literal["month", "chargeback"]
    month: str
    columns: Labels
    ledger: str
    last_commit: Instant | None
    to_date: bool
    lines: tuple[StatementLine, ...]
    idle: bool
    estimated: bool
    gpu_time: bool
    tokens: bool
    notes: tuple[str, ...]
    adjustments: tuple[Adjustment, ...] = ()
    overheads: FleetOverheads | None = None


@dataclass(frozen=True, slots=True)
class _Grouping:
    """What lines are by: how the keys of each family become labels; `None` where they cannot.

    `cell` takes the money from the month's cells, of which nothing is ever missing.
    """

    columns: Labels
    cell: Callable[[MonthKey], Labels] | None = None
    owner: Callable[[CostOwner], Labels] | None = None
    server_cost: Callable[[Any], Labels] | None = None
    gpu: Callable[[Any], Labels] | None = None


_GROUPINGS: Final[Mapping[By, _Grouping]] = {
    "product": _Grouping(("product",), lambda cell: (cell.product,), lambda owner: (owner.product,)),
    "team": _Grouping(("team",), lambda cell: (cell.team,), lambda owner: (owner.team,)),
    "server": _Grouping(
        ("namespace", "server"),
        owner=lambda owner: (owner.namespace, owner.server),
        server_cost=lambda key: (key[0].namespace, key[0].server),
    ),
    "model": _Grouping(("model",), owner=lambda owner: (owner.model,)),
    "component": _Grouping(("component",), server_cost=lambda key: (key[1],)),
    "gpu": _Grouping(("uuid", "gpu_model"), gpu=lambda gpu: (gpu.uuid, gpu.gpu_model)),
}


def month(
    record: MonthRecord, by: By, current: str, zone: ZoneInfo, overheads: FleetOverheads | None = None
) -> Statement:
    """A month by one thing. `current` is the month that goes on now, `zone` the one that months are of.

    Raises:
        ReportError: the ledger has nothing of that month.
    """
    return _statement(record, _GROUPINGS[by], current, zone, overheads)


def refuse_unknown(record: MonthRecord) -> None:
    """See that the ledger has anything of a month.

    Raises:
        ReportError: it has not; the message says what it has.
    """
    if record.month not in record.months:
        available = f"it has {', '.join(record.months)}" if record.months else EMPTY
        if record.ledger:
            raise ReportError(f"the ledger has nothing of {record.month}: {available}")
        available = f"they have {', '.join(record.months)}" if record.months else "they are empty"
        raise ReportError(f"the ledgers have nothing of {record.month}: {available}")


def _statement(
    record: MonthRecord,
    grouping: _Grouping,
    current: str,
    zone: ZoneInfo,
    overheads: FleetOverheads | None,
) -> Statement:
    refuse_unknown(record)
    sums = record.sums or HistorySums()
    lines = StatementLines()
    total = sum(record.cells.values())
    missing = total - record.adjusted - sum(sums.cost.values())
    if grouping.cell is not None:
        for cell, amount in record.cells.items():
            line = lines.of(grouping.cell(cell))
            line.money += amount
            line.estimated += amount if cell.price_basis == ESTIMATE else 0
    else:
        for name, amount in ((NOT_ITEMIZED, missing), (_corrected(grouping), record.adjusted)):
            lines.of((name, *("" for _ in grouping.columns[1:]))).money += amount
    _fill(lines, sums, grouping)
    _correct(lines, record, grouping)
    if grouping.server_cost is not None:
        itemized = sum(line.estimated for line in lines.lines())
        lines.of((NOT_ITEMIZED, *("" for _ in grouping.columns[1:]))).estimated += record.estimated - itemized
    if overheads is not None:
        _carry(lines, record, grouping, overheads)
    return Statement(
        report="month",
        month=record.month,
        columns=grouping.columns,
        ledger=record.ledger,
        last_commit=record.last_commit,
        to_date=record.month == current,
        lines=lines.ordered(),
        idle=record.sums is not None and grouping.owner is not None,
        estimated=grouping.cell is not None or grouping.server_cost is not None,
        gpu_time=record.sums is not None and (grouping.owner is not None or grouping.gpu is not None),
        tokens=record.sums is not None and grouping.owner is not None,
        notes=(
            *overhead_notes(overheads),
            *notes(
                record, missing, zone, by_owner=grouping.cell is not None, by_phase=grouping.owner is not None
            ),
        ),
        adjustments=record.adjustments,
        overheads=overheads,
    )


def owner_dollars(record: MonthRecord) -> dict[CostOwner, Picodollars]:
    """Cost by owner. What is known by product and team only has an owner without a server."""
    sums: dict[CostOwner, Picodollars] = {}
    for owner_phase, amount in (record.sums or HistorySums()).cost.items():
        add(sums, owner_phase.owner, amount)
    rest: dict[CostOwner, Picodollars] = {}
    for cell, amount in record.cells.items():
        add(rest, unitemized_owner(cell.product, cell.team), amount)
    for owner, amount in sums.items():
        add(rest, unitemized_owner(owner.product, owner.team), -amount)
    return {owner: amount for owner, amount in (sums | rest).items() if amount}


def unitemized_owner(product: str, team: str) -> CostOwner:
    """The owner of money that is known by product and team only."""
    return CostOwner(product, team, "", NOT_ITEMIZED, NOT_ITEMIZED)


def owner_gpu_time(record: MonthRecord) -> dict[CostOwner, Nanoseconds]:
    """GPU time that is owed, by owner."""
    times: dict[CostOwner, Nanoseconds] = {}
    for owner_phase, time in (record.sums or HistorySums()).held.items():
        add(times, owner_phase.owner, time)
    return times


class StatementLines:
    """Lines of a statement by their labels."""

    def __init__(self) -> None:
        self._lines: dict[Labels, StatementLine] = {}

    def of(self, labels: Labels) -> StatementLine:
        """The line with these labels, made if it is missing."""
        return self._lines.setdefault(labels, StatementLine(labels))

    def lines(self) -> Collection[StatementLine]:
        """All lines, in the order in which they were made."""
        return self._lines.values()

    def ordered(self) -> tuple[StatementLine, ...]:
        """The dearest first; what costs nothing and says nothing is left out."""
        relevant = [
            line
            for line in self._lines.values()
            if line.money
            or line.adjusted
            or line.estimated
            or line.gpu_time
            or line.unpriced
            or line.overhead
            or any(line.tokens.values())
        ]
        return tuple(sorted(relevant, key=lambda line: (-line.money, line.labels)))


def _fill(lines: StatementLines, sums: HistorySums, grouping: _Grouping) -> None:
    if grouping.owner is not None:
        for owner_phase, amount in sums.cost.items():
            line = lines.of(grouping.owner(owner_phase.owner))
            line.money += 0 if grouping.cell is not None else amount
            line.itemized += amount
            line.idle += amount if owner_phase.phase == "idle" else 0
        for owner_phase, duration in sums.held.items():
            lines.of(grouping.owner(owner_phase.owner)).gpu_time += duration
        for (owner, kind), count in sums.tokens.items():
            tokens = lines.of(grouping.owner(owner)).tokens
            tokens[kind] = tokens.get(kind, 0) + count
    if grouping.server_cost is not None:
        for key, amount in sums.server_cost.items():
            line = lines.of(grouping.server_cost(key))
            # Where a party is known too, its phases told the money already.
            line.money += amount if grouping.owner is None else 0
            line.estimated += amount if key[2] == ESTIMATE else 0
    if grouping.gpu is not None:
        for (gpu, _component), amount in sums.gpu_cost.items():
            lines.of(grouping.gpu(gpu)).money += amount
        for gpu, charged in sums.gpu_owed().items():
            lines.of(grouping.gpu(gpu)).gpu_time += charged
    for (gpu, owner), time in sums.waiting().items():
        if gpu == UNCOUNTED:
            continue
        if grouping.owner is not None:
            lines.of(grouping.owner(owner)).unpriced += time
        elif grouping.gpu is not None:
            lines.of(grouping.gpu(gpu)).unpriced += time


def _carry(
    lines: StatementLines, record: MonthRecord, grouping: _Grouping, overheads: FleetOverheads
) -> None:
    """Add overheads of the fleet to the lines that carry them."""
    if grouping.columns == ("component",):
        for name, amount in overheads.amounts.items():
            lines.of((name,)).overhead += amount
    elif grouping.owner is None:
        lines.of((OVERHEADS, *("" for _ in grouping.columns[1:]))).overhead += overheads.total
    else:
        parts = spread(overheads, owner_gpu_time(record), owner_dollars(record))
        for owner, amount in parts.items():
            lines.of(grouping.owner(owner)).overhead += amount


def _correct(lines: StatementLines, record: MonthRecord, grouping: _Grouping) -> None:
    """Tell posted corrections where their money is."""
    for each in record.adjustments:
        if each.posted is None:
            continue
        if grouping.cell is not None:
            labels = grouping.cell(each.cell)
        else:
            labels = (_corrected(grouping), *("" for _ in grouping.columns[1:]))
        lines.of(labels).adjusted += each.amount


def _corrected(grouping: _Grouping) -> str:
    """The name of corrections in a statement without products or teams."""
    return COMPONENT if grouping.columns == ("component",) else ADJUSTED

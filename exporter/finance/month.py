"""Statements of a month from the ledger; they reconcile, whatever they are grouped by. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, get_args
from zoneinfo import ZoneInfo

from exporter.cost.money import add
from exporter.cost.postings import CostOwner
from exporter.finance.fleet.overheads import FleetOverheads, positive_split, spread
from exporter.ledger.adjustments import COMPONENT, Adjustment
from exporter.ledger.history import ESTIMATE, HistorySums, MonthRecord
from exporter.ledger.schema import day_name, day_number
from exporter.readings import UNCOUNTED, UNSEEN, TokenKind
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

DAY_FAMILIES: Final = ("cost", "held", "server_cost", "tokens", "unpriced", "settled")
"""Families of history that lines by day need."""

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


_OWNER_COLUMNS: Final[Mapping[By, Labels]] = {
    "product": ("product",),
    "team": ("team",),
    "server": ("namespace", "server"),
    "model": ("model",),
}
"""Columns of lines by owner. Lines by component and by GPU have no owner."""


def month(
    record: MonthRecord, by: By, current: str, zone: ZoneInfo, overheads: FleetOverheads | None = None
) -> Statement:
    """A month by one thing. `current` is the month that goes on now, `zone` the one that months are of.

    Raises:
        ReportError: the ledger has nothing of that month.
    """
    refuse_unknown(record)
    of_owner = by in _OWNER_COLUMNS
    if of_owner:
        columns = _OWNER_COLUMNS[by]
        owner_lines = OwnerLines(record, columns)
        if overheads is not None:
            owner_lines.add_overheads(overheads)
        lines = owner_lines.lines
    elif by == "component":
        columns = ("component",)
        lines = _component_lines(record, overheads)
    else:
        columns = ("uuid", "gpu_model")
        lines = _gpu_lines(record, overheads)
    has_sums = record.sums is not None
    return Statement(
        report="month",
        month=record.month,
        columns=columns,
        ledger=record.ledger,
        last_commit=record.last_commit,
        to_date=record.month == current,
        lines=lines.ordered(),
        idle=has_sums and of_owner,
        estimated=by not in ("model", "gpu"),
        gpu_time=has_sums and by != "component",
        tokens=has_sums and of_owner,
        notes=(
            *overhead_notes(overheads),
            *notes(record, not_itemized(record), zone, by_owner=by in ("product", "team"), by_phase=of_owner),
        ),
        adjustments=record.adjustments,
        overheads=overheads,
    )


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


def not_itemized(record: MonthRecord) -> Picodollars:
    """Money that history does not tell more of than its product and team."""
    itemized = sum((record.sums or HistorySums()).cost.values())
    return sum(record.cells.values()) - record.adjusted - itemized


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


class OwnerLines:
    """Lines by columns of owners and, where the columns have `day`, of days. They sum to the month."""

    def __init__(self, record: MonthRecord, columns: Labels) -> None:
        self.lines = StatementLines()
        self._record = record
        self._columns = columns
        sums = record.sums or HistorySums()
        self.days: Mapping[int, HistorySums] = {0: sums}
        """History by day; 0 is what is known without its day."""
        if "day" in columns:
            self.days = {0: _without_day(sums, record.days), **record.days}
        for day, of_day in self.days.items():
            self._add_history(day, of_day)
        self._add_rest()

    def labels(self, name: str, day: int = 0, owner: CostOwner | None = None, **known: str) -> Labels:
        """Values of the columns. The first one that is not known has the name, and later ones are empty."""
        if day:
            known["day"] = day_name(day)
        if owner is not None:
            known |= owner._asdict()
        labels: list[str] = []
        placeholder = name
        for column in self._columns:
            labels.append(known.get(column, placeholder))
            if column not in known:
                placeholder = ""
        return tuple(labels)

    def line(self, day: int, owner: CostOwner) -> StatementLine:
        """The line of an owner on a day."""
        return self.lines.of(self.labels(NOT_ITEMIZED, day, owner))

    def _add_history(self, day: int, sums: HistorySums) -> None:
        """Add what is known by owner."""
        for (owner, phase), amount in sums.cost.items():
            line = self.line(day, owner)
            line.money += amount
            line.itemized += amount
            if phase == "idle":
                line.idle += amount
        for (owner, _phase), time in sums.held.items():
            self.line(day, owner).gpu_time += time
        for (owner, kind), count in sums.tokens.items():
            add(self.line(day, owner).tokens, kind, count)
        for (gpu, owner), time in sums.waiting().items():
            if gpu != UNCOUNTED:  # that is time of a host
                self.line(day, owner).unpriced += time
        if "model" not in self._columns:
            for (server_owner, _component, basis), amount in sums.server_cost.items():
                if basis == ESTIMATE:
                    self.line(day, CostOwner(*server_owner, "")).estimated += amount

    def _add_rest(self) -> None:
        """Add adjustments, and what is known by product and team only."""
        record = self._record
        money: dict[tuple[str, str], Picodollars] = {}
        estimated: dict[tuple[str, str], Picodollars] = {}
        for cell, amount in record.cells.items():
            add(money, (cell.product, cell.team), amount)
            if cell.price_basis == ESTIMATE:
                add(estimated, (cell.product, cell.team), amount)
        sums = record.sums or HistorySums()
        for (owner, _phase), amount in sums.cost.items():
            add(money, (owner.product, owner.team), -amount)
        for (server_owner, _component, basis), amount in sums.server_cost.items():
            if basis == ESTIMATE:
                add(estimated, (server_owner.product, server_owner.team), -amount)
        for adjustment in record.adjustments:
            if adjustment.posted is None:
                continue
            product, team = adjustment.product, adjustment.team
            add(money, (product, team), -adjustment.amount)
            day = day_number(adjustment.day)
            line = self.lines.of(self.labels(ADJUSTED, day, product=product, team=team))
            line.money += adjustment.amount
            line.adjusted += adjustment.amount
        for product, team in money.keys() | estimated.keys():
            line = self.lines.of(self.labels(NOT_ITEMIZED, product=product, team=team))
            line.money += money.get((product, team), 0)
            if "model" not in self._columns:  # the price basis of a model is not known
                line.estimated += estimated.get((product, team), 0)

    def add_overheads(self, overheads: FleetOverheads) -> None:
        """Add to each owner the part of the fleet's overheads that it carries, by day as it had GPUs."""
        record = self._record
        times: dict[CostOwner, dict[int, Nanoseconds]] = {}
        for day, sums in self.days.items():
            for (owner, _phase), time in sums.held.items():
                add(times.setdefault(owner, {}), day, time)
        for owner, amount in spread(overheads, owner_gpu_time(record), owner_dollars(record)).items():
            for day, part in (positive_split(amount, times.get(owner, {})) or {0: amount}).items():
                self.line(day, owner).overhead += part


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


def _component_lines(record: MonthRecord, overheads: FleetOverheads | None) -> StatementLines:
    """Lines by component; corrections and overheads of the fleet are components."""
    lines = StatementLines()
    itemized: Picodollars = 0
    for (_owner, component, basis), amount in (record.sums or HistorySums()).server_cost.items():
        line = lines.of((component,))
        line.money += amount
        if basis == ESTIMATE:
            line.estimated += amount
            itemized += amount
    rest = lines.of((NOT_ITEMIZED,))
    rest.money += not_itemized(record)
    rest.estimated += record.estimated - itemized
    corrections = lines.of((COMPONENT,))
    corrections.money += record.adjusted
    corrections.adjusted += record.adjusted
    if overheads is not None:
        for name, amount in overheads.amounts.items():
            lines.of((name,)).overhead += amount
    return lines


def _gpu_lines(record: MonthRecord, overheads: FleetOverheads | None) -> StatementLines:
    """Lines by GPU."""
    lines = StatementLines()
    sums = record.sums or HistorySums()
    for (gpu, _component), amount in sums.gpu_cost.items():
        lines.of((gpu.uuid, gpu.gpu_model)).money += amount
    for gpu, charged in sums.gpu_owed().items():
        lines.of((gpu.uuid, gpu.gpu_model)).gpu_time += charged
    for (gpu, _owner), time in sums.waiting().items():
        if gpu != UNCOUNTED:  # that is time of a host
            lines.of((gpu.uuid, gpu.gpu_model)).unpriced += time
    lines.of((NOT_ITEMIZED, "")).money += not_itemized(record)
    corrections = lines.of((ADJUSTED, ""))
    corrections.money += record.adjusted
    corrections.adjusted += record.adjusted
    if overheads is not None:
        lines.of((OVERHEADS, "")).overhead += overheads.total
    return lines

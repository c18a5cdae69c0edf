"""The figures of the page and of `/cost.json`, from a report."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from math import fsum, isfinite
from typing import Final
from zoneinfo import ZoneInfo

from exporter.cost.explanation import HARDWARE
from exporter.cost.postings import BUSY_PHASES, UNALLOCATED, CostOwner
from exporter.cost.savings import Saving
from exporter.metrics.rendering import is_stale
from exporter.readings import ServerKey, label
from exporter.report import ComponentPrice, GpuRow, HostSavings, Hour, RecentHistory, Report, SourceRow
from exporter.tariff.calendar import day_of
from exporter.units import (
    NANOSECONDS_PER_DAY,
    NANOSECONDS_PER_HOUR,
    NANOSECONDS_PER_MINUTE,
    Instant,
    Nanoseconds,
    dollars,
    seconds,
)
from exporter.web.notes import notes

UTC: Final = ZoneInfo("UTC")
UNALLOCATED_KEY: Final = ServerKey("", UNALLOCATED)

SHARE_DIGITS: Final = 9
"""Shares of a GPU are floats: a smaller part is a rounding error."""


@dataclass(frozen=True, slots=True)
class ServerSummary:
    """One server and model; `None` is unknown. `up` is false when no endpoint answered.

    `gpus` and `up` are of the whole server, also where it serves several models.
    Of `unallocated`, `gpus` are those that no server holds.
    """

    owner: CostOwner
    gpus: float | None
    up: bool | None
    dollars_per_hour: float | None
    busy_ratio: float | None
    """Share of its dollars of the last hour that busy GPUs cost."""
    tokens: int | None
    """Of the last day: the current hour and the 24 before it."""
    dollars_per_million_tokens: float | None
    """Everything accrued over all tokens, in the last hour."""
    dollars_per_million_computed_tokens: float | None
    """The same without cached prompt tokens."""
    last_token: Instant | None
    split_method: str | None
    """Method that split its busy dollars in the last tick; `None`: they were not split."""
    prefill_ratio: float | None
    """Prefill's share of them."""


@dataclass(frozen=True, slots=True)
class GpuSummary:
    """One GPU; `None` is unknown. `holders` are servers with the share that each holds."""

    row: GpuRow
    holders: tuple[tuple[ServerKey, float], ...]
    prices: tuple[ComponentPrice, ...]
    dollars_per_hour: float | None
    watts: float | None
    utilization_ratio: float | None
    idle_dollars_per_hour: float | None
    """Its price times its idle part of the last tick."""

    @property
    def price(self) -> ComponentPrice | None:
        """Price of the hardware itself; the first of several."""
        return next((price for price in self.prices if price.component in HARDWARE), None)


@dataclass(frozen=True, slots=True)
class ComponentSummary:
    """Dollars of one component: per hour now, and of the last day; `None` is unknown."""

    component: str
    dollars_per_hour: float | None
    dollars: float | None


@dataclass(frozen=True, slots=True)
class Idleness:
    """Idle dollars of the last day, and all of its dollars."""

    idle_dollars: float
    dollars: float

    @property
    def ratio(self) -> float:
        """The idle share."""
        return self.idle_dollars / self.dollars


@dataclass(frozen=True, slots=True)
class Point:
    """Month to date at an instant."""

    at: Instant
    dollars: float


@dataclass(frozen=True, slots=True)
class MonthLine:
    """The month so far. `points` are at the end of each whole hour, and now; none if it is unknown."""

    name: str
    start: Instant | None
    end: Instant
    points: tuple[Point, ...]

    def days(self, zone: ZoneInfo) -> tuple[Point, ...]:
        """The last point of each local day."""
        begun = self.start or 0
        last = {day_of(point.at - 1, zone).start: point for point in self.points if point.at > begun}
        return tuple(last.values())


@dataclass(frozen=True, slots=True)
class MeteredMonth:
    """A month's dollars, and the time for which the host was metered: of this month, up to now."""

    name: str
    dollars: float
    since: Instant
    until: Instant

    @property
    def dollars_per_day(self) -> float:
        """The mean of its days."""
        return self.dollars * NANOSECONDS_PER_DAY / (self.until - self.since)


@dataclass(frozen=True, slots=True)
class Summary:
    """One host; `None` is unknown. Dollars per hour of a stale report are unknown."""

    host: str | None
    """Its name, as `match: {host: ...}` matches it."""
    taken: Instant
    stale: bool
    zone: ZoneInfo
    ledger: str | None
    dollars_per_hour: float | None
    run_rate_dollars: float | None
    idle: Idleness | None
    month: MonthLine | None
    month_to_date_dollars: float | None
    compared_months: tuple[MeteredMonth, MeteredMonth] | None
    """The month before and this one; `None` if either is unknown or metered for less than an hour."""
    projected_dollars: float | None
    budget_dollars: float | None
    """The month's budget of the whole fleet."""
    budget_configured: bool
    """Whether that is configured, and not the default."""
    notes: tuple[str, ...]
    """Warnings about the figures, a sentence each."""
    servers: tuple[ServerSummary, ...]
    gpus: tuple[GpuSummary, ...]
    sources: tuple[SourceRow, ...]
    """What was read in the last tick; none of a stale report."""
    components: tuple[ComponentSummary, ...]
    fleet_dollars_per_hour: float
    """Overheads of the whole fleet, in none of this host's figures."""
    savings: HostSavings | None
    """Findings of the last review; `None` if there was none, and of a stale report."""
    hours: tuple[Hour, ...]
    """The last day: the 24 whole hours before now, and the current one."""
    first_money: float | None
    """Seconds until the tick that posts the first dollars; `None` after it, or without a price."""
    first_window: float | None
    """Seconds until the first whole minute gives prices per million tokens; `None` after it."""


def summarize(report: Report, elapsed: Nanoseconds) -> Summary:
    """The summary of a report at a moment of boot time."""
    stale = is_stale(report, elapsed)
    month = _current_month(report)
    projected = {} if stale or month is None else _projected(report, month)
    spent = None if month is None else _month_to_date(report, month)
    budget = next((row for row in report.budgets if not row.product), None)
    return Summary(
        host=None if report.basis is None else label(report.basis.policy.tariff.host) or None,
        taken=report.wall,
        stale=stale,
        zone=UTC if report.basis is None else report.basis.policy.zone,
        ledger=None if report.totals is None else report.totals.ledger,
        dollars_per_hour=None if stale else total(report.rates.values()),
        run_rate_dollars=None if stale else finite(report.run_rate),
        idle=_idle(report),
        month=None if month is None else _month_line(report, month, spent),
        month_to_date_dollars=spent,
        compared_months=None if month is None else _compared_months(report, month),
        projected_dollars=projected.get(""),
        budget_dollars=None if budget is None else finite(budget.dollars),
        budget_configured=budget is not None and budget.configured,
        notes=tuple(notes(report, month, projected, stale=stale)),
        servers=() if stale else tuple(_servers(report)),
        gpus=() if stale else tuple(_gpus(report)),
        sources=() if stale else report.sources,
        components=tuple(_components(report, stale=stale)),
        fleet_dollars_per_hour=total(report.fleet_overheads.values()) or 0.0,
        savings=None if stale else report.savings,
        hours=_history(report).hours,
        first_money=None if stale else _first_money(report, elapsed),
        first_window=None if stale else _first_window(report, elapsed),
    )


def per_month(findings: Iterable[Saving]) -> float:
    """Dollars a month of findings together."""
    return dollars(sum(finding.per_month for finding in findings))


def _servers(report: Report) -> Iterator[ServerSummary]:
    """By cost owner, in the order of their names."""
    gpus_held = _held_gpus(report)
    up: dict[ServerKey, bool] = {}
    for server in report.servers:
        up[server.key] = up.get(server.key, False) or server.up
    prices = {
        (quotient.owner, quotient.kind): quotient.dollars_per_million_tokens
        for quotient in report.quotients
        if quotient.basis == "full"
    }
    splits = {row.owner: row for row in report.splits}
    tokens = _tokens(report)
    last = {} if report.totals is None else report.totals.last_token
    priced = {owner for owner, kind in prices if kind in {"all", "computed"}}
    owners = {*report.rates, *priced, *(row.owner for row in report.loads)}
    without_owner = {*up, *gpus_held} - {owner.key for owner in owners}
    owners |= {CostOwner("", "", key.namespace, key.server, "") for key in without_owner}
    for owner in sorted(owners):
        split = splits.get(owner)
        yield ServerSummary(
            owner=owner,
            gpus=finite(gpus_held.get(owner.key)),
            up=up.get(owner.key),
            dollars_per_hour=finite(report.rates.get(owner)),
            busy_ratio=_busy_ratio(report, owner),
            tokens=tokens.get(owner),
            dollars_per_million_tokens=finite(prices.get((owner, "all"))),
            dollars_per_million_computed_tokens=finite(prices.get((owner, "computed"))),
            last_token=last.get(owner),
            split_method=None if split is None else split.method,
            prefill_ratio=None if split is None else finite(split.prefill_ratio),
        )


def _gpus(report: Report) -> Iterator[GpuSummary]:
    """In the order of the report."""
    for row in report.gpus:
        shares: dict[ServerKey, float] = {}
        for share in report.shares:
            if share.uuid == row.gpu.uuid:
                shares[share.key] = shares.get(share.key, 0.0) + share.share_ratio
        prices = tuple(price for price in report.prices if price.gpu == row.gpu)
        hourly = total(price.dollars_per_hour * price.count for price in prices)
        idle, reading = row.idle_ratio, row.reading
        yield GpuSummary(
            row=row,
            holders=tuple((key, ratio) for key, ratio in sorted(shares.items()) if isfinite(ratio)),
            prices=prices,
            dollars_per_hour=hourly,
            watts=None if reading is None else finite(reading.power_watts),
            utilization_ratio=None if reading is None else finite(reading.utilization_ratio),
            idle_dollars_per_hour=None if hourly is None or idle is None else hourly * idle,
        )


def _components(report: Report, *, stale: bool) -> Iterator[ComponentSummary]:
    """The most expensive per hour first; of a stale report only the last day."""
    hourly: dict[str, list[float]] = {}
    for price in () if stale else report.prices:
        hourly.setdefault(price.component, []).append(price.dollars_per_hour * price.count)
    spent = _history(report).components
    lines = [
        ComponentSummary(
            name,
            total(hourly.get(name, ())),
            dollars(spent[name]) if name in spent else None,
        )
        for name in sorted({*hourly, *spent})
    ]
    yield from sorted(lines, key=lambda line: (-(line.dollars_per_hour or 0.0), -(line.dollars or 0.0)))


def finite(figure: float | None) -> float | None:
    """A figure; `None` for infinity and not a number."""
    return figure if figure is not None and isfinite(figure) else None


def total(figures: Iterable[float]) -> float | None:
    """The sum of figures; `None` without any, and where the sum is not finite."""
    values = list(figures)
    try:
        return finite(fsum(values)) if values else None
    except (OverflowError, ValueError):  # beyond a float, and infinities of both signs
        return None


def _history(report: Report) -> RecentHistory:
    """The history of the totals, empty without totals."""
    return RecentHistory() if report.totals is None else report.totals.history


def _held_gpus(report: Report) -> Mapping[ServerKey, float]:
    """GPUs by server; those that no server holds are unallocated."""
    gpus_held: dict[ServerKey, float] = {}
    for row in report.shares:
        gpus_held[row.key] = gpus_held.get(row.key, 0.0) + row.share_ratio
    unallocated = round(sum(row.count for row in report.gpus) - sum(gpus_held.values()), SHARE_DIGITS)
    return {**gpus_held, UNALLOCATED_KEY: unallocated} if unallocated > 0 else gpus_held


def _tokens(report: Report) -> Mapping[CostOwner, int]:
    """Tokens of the last day; 0 for a server that has served tokens, and none in that day."""
    if report.totals is None:
        return {}
    tokens_by_owner = dict.fromkeys((owner for owner, _kind in report.totals.tokens), 0)
    for (owner, _kind), number in report.totals.history.tokens.items():
        tokens_by_owner[owner] = tokens_by_owner.get(owner, 0) + number
    return tokens_by_owner


def _busy_ratio(report: Report, owner: CostOwner) -> float | None:
    window = None if report.totals is None else report.totals.window.get(owner)
    spent = 0 if window is None else sum(window.money.values())
    if window is None or spent <= 0:
        return None
    return sum(window.money.get(phase, 0) for phase in BUSY_PHASES) / spent


def _current_month(report: Report) -> str | None:
    """The month that ends next."""
    ahead = [(end, month) for month, end in report.month_ends.items() if end > report.wall]
    return min(ahead)[1] if ahead else None


def _first_money(report: Report, elapsed: Nanoseconds) -> float | None:
    """A tick charges the time since the one before: the first tick of a new ledger charges none."""
    if report.totals is None or any(report.totals.months.values()) or not total(report.rates.values()):
        return None
    return max(0.0, seconds(report.elapsed + report.interval - elapsed))


def _first_window(report: Report, elapsed: Nanoseconds) -> float | None:
    """The window has whole minutes: it begins with the first tick after the first of them."""
    if report.totals is None or report.totals.window or not total(report.rates.values()):
        return None
    ticks = max(1, -(-(NANOSECONDS_PER_MINUTE - report.wall % NANOSECONDS_PER_MINUTE) // report.interval))
    return max(0.0, seconds(report.elapsed + ticks * report.interval - elapsed))


def _month_to_date(report: Report, month: str) -> float | None:
    """`None` without a posting to the month: its cost is then unknown, and not 0."""
    if report.totals is None:
        return None
    cells = [amount for key, amount in report.totals.months.items() if key.month == month]
    spent = sum(cells)
    if not cells or not (spent or any(row.priced for row in report.gpus)):
        return None
    return dollars(spent)


def _compared_months(report: Report, name: str) -> tuple[MeteredMonth, MeteredMonth] | None:
    past = [(end, month) for month, end in report.month_ends.items() if end <= report.wall]
    if not past:
        return None
    end, before = max(past)
    first, second = _metered_month(report, before, end), _metered_month(report, name, report.wall)
    return None if first is None or second is None else (first, second)


def _metered_month(report: Report, name: str, until: Instant) -> MeteredMonth | None:
    spent, since = _month_to_date(report, name), report.metered_since.get(name)
    if spent is None or since is None or until - since < NANOSECONDS_PER_HOUR:
        return None
    return MeteredMonth(name, spent, since, until)


def _month_line(report: Report, name: str, spent: float | None) -> MonthLine:
    """The curve ends at the month to date; it starts with what is in no hour, such as adjustments."""
    end = report.month_ends[name]
    start = max((past for past in report.month_ends.values() if past <= report.wall), default=None)
    points: tuple[Point, ...] = ()
    if report.totals is not None and spent is not None and start is not None:
        hour = report.wall // NANOSECONDS_PER_HOUR
        history = report.totals.history
        first = min(hour, max(hour - len(history.before), -(-start // NANOSECONDS_PER_HOUR)))
        whole = [dollars(amount) for amount in history.before[len(history.before) - (hour - first) :]]
        running = sum(dollars(sum(each.money.values())) for each in history.hours[-1:])
        before = spent - sum(whole) - running
        sums = accumulate(whole, initial=before)
        ends = range(first, hour + 1)
        points = (
            *(Point(at * NANOSECONDS_PER_HOUR, value) for at, value in zip(ends, sums, strict=True)),
            Point(report.wall, spent),
        )
    return MonthLine(name, start, end, points)


def _idle(report: Report) -> Idleness | None:
    hours = _history(report).hours
    spent = sum(sum(hour.money.values()) for hour in hours)
    if spent <= 0:
        return None
    return Idleness(dollars(sum(hour.money.get("idle", 0) for hour in hours)), dollars(spent))


def _projected(report: Report, month: str) -> dict[str, float]:
    """The month's end by product, and of all together under ""."""
    if report.totals is None:
        return {}
    ends = {product: end for (product, of), end in report.projected.items() if of == month}
    every = total(ends.values())
    values = {product: end for product, end in ends.items() if isfinite(end)}
    return values if every is None else {**values, "": every}

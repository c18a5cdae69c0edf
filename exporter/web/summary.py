"""The figures of the page and of `/cost.json`, from a report."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import fsum, isfinite
from typing import Final
from zoneinfo import ZoneInfo

from exporter.advice.saving import Saving
from exporter.cost.money import add
from exporter.cost.postings import BUSY_PHASES, UNALLOCATED, CostOwner
from exporter.metrics.exposition import is_stale
from exporter.readings import ServerKey, label
from exporter.report import ComponentPrice, GpuRow, HostSavings, Hour, Report, SourceRow, Window
from exporter.tariff.calendar import day_of
from exporter.tariff.tariff import HARDWARE
from exporter.units import (
    NANOSECONDS_PER_MINUTE,
    Instant,
    Nanoseconds,
    dollars,
    seconds,
)
from exporter.web.month import (
    MeteredMonth,
    MonthLine,
    budget_runs_out,
    compared_months,
    current_month,
    month_estimated,
    month_line,
    month_to_date,
    recent_history,
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
    """Of the last 24 hours, the current one included."""
    dollars_per_million_tokens: float | None
    """Everything accrued over all tokens, in the last hour."""
    dollars_per_million_computed_tokens: float | None
    """The same without cached prompt tokens."""
    last_token: Instant | None
    split_method: str | None
    """Method that split its busy dollars in the last tick; `None`: they were not split."""
    prefill_ratio: float | None
    """Prefill's share of them."""
    estimated: bool
    """Whether a GPU that it holds has an estimated price."""


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

    @classmethod
    def of(cls, row: GpuRow, report: Report) -> "GpuSummary":
        """A GPU of a report, with its prices and the shares of it."""
        shares: dict[ServerKey, float] = {}
        for share in report.shares:
            if share.uuid == row.gpu.uuid:
                shares[share.key] = shares.get(share.key, 0.0) + share.share_ratio
        prices = tuple(price for price in report.prices if price.gpu == row.gpu)
        hourly = total(map(_hourly, prices))
        idle, reading = row.idle_ratio, row.reading
        return cls(
            row=row,
            holders=tuple((key, ratio) for key, ratio in sorted(shares.items()) if isfinite(ratio)),
            prices=prices,
            dollars_per_hour=hourly,
            watts=None if reading is None else finite(reading.power_watts),
            utilization_ratio=None if reading is None else finite(reading.utilization_ratio),
            idle_dollars_per_hour=None if hourly is None or idle is None else hourly * idle,
        )

    @property
    def price(self) -> ComponentPrice | None:
        """Price of the hardware itself; the first of several."""
        return next((price for price in self.prices if price.component in HARDWARE), None)

    @property
    def estimated(self) -> bool:
        """Whether one of its prices is an estimate."""
        return any(map(_is_estimate, self.prices))


@dataclass(frozen=True, slots=True)
class ComponentSummary:
    """Dollars of one component: per hour now, and of the last day; `None` is unknown."""

    component: str
    dollars_per_hour: float | None
    dollars: float | None
    estimated: bool


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
class ServersTotal:
    """All servers together, with what no server holds; `None` is unknown."""

    servers: int
    gpus: float | None
    dollars_per_hour: float | None
    busy_ratio: float | None
    tokens: int | None

    @classmethod
    def of(cls, servers: Iterable[ServerSummary], report: Report, hourly: float | None) -> "ServersTotal":
        """Dollars per hour are the host's: the exact sum of the servers', rounded once."""
        gpus = {line.owner.key: line.gpus for line in servers if line.gpus is not None}
        tokens = [line.tokens for line in servers if line.tokens is not None]
        windows = () if report.totals is None else report.totals.window.values()
        return cls(
            servers=len({line.owner.key for line in servers} - {UNALLOCATED_KEY}),
            gpus=total(gpus.values()),
            dollars_per_hour=hourly,
            busy_ratio=_busy_ratio(windows),
            tokens=sum(tokens) if tokens else None,
        )


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
    estimated_dollars_per_hour: float | None
    """The part of it by estimated prices; `None` without one."""
    run_rate_dollars: float | None
    today_dollars: float | None
    """Since local midnight, without adjustments; `None` where no hour of it was metered."""
    idle: Idleness | None
    month: MonthLine | None
    month_to_date_dollars: float | None
    month_estimated_dollars: float | None
    """The part of it by estimated prices; `None` where it is unknown."""
    compared_months: tuple[MeteredMonth, MeteredMonth] | None
    """The month before and this one; `None` if either is unknown or metered for less than an hour."""
    projected_dollars: float | None
    budget_dollars: float | None
    """The month's budget of the whole fleet."""
    budget_configured: bool
    """Whether that is configured, and not the default."""
    budget_runs_out: Instant | None
    """When this host alone has spent it; `None`: not in this month, or unknown."""
    notes: tuple[str, ...]
    """Warnings about the figures, a sentence each."""
    servers: tuple[ServerSummary, ...]
    servers_total: ServersTotal | None
    """`None` without servers."""
    gpus: tuple[GpuSummary, ...]
    sources: tuple[SourceRow, ...]
    """What was read in the last tick; none of a stale report."""
    components: tuple[ComponentSummary, ...]
    fleet_dollars_per_hour: float
    """Overheads of the whole fleet, in none of this host's figures."""
    savings: HostSavings | None
    """Findings of the last review; `None` if there was none, and of a stale report."""
    hours: tuple[Hour, ...]
    """The last 24 hours, the current one included."""
    first_money: float | None
    """Seconds until the tick that posts the first dollars; `None` after it, or without a price."""
    first_window: float | None
    """Seconds until the first whole minute gives prices per million tokens; `None` after it."""


def summarize(report: Report, elapsed: Nanoseconds) -> Summary:
    """The summary of a report at a moment of boot time."""
    stale = is_stale(report, elapsed)
    totals = report.totals
    zone = UTC if report.basis is None else report.basis.policy.zone
    hourly = None if stale else total(report.rates.values())
    estimates = [price for price in report.prices if _is_estimate(price)]
    servers = () if stale else tuple(_servers(report))
    hours = recent_history(report).hours

    month = current_month(report)
    projected: dict[str, float] = {}  # the month's end by product, and of all together under ""
    if totals is not None and not stale:
        ends = {product: end for (product, of), end in report.projected.items() if of == month}
        projected = {product: end for product, end in ends.items() if isfinite(end)}
        host_end = total(ends.values())
        if host_end is not None:
            projected[""] = host_end
    spent = None if month is None else month_to_date(report, month)
    line = None if month is None else month_line(report, month, spent, zone)
    today = line.days[-1] if line is not None and line.days else None
    if today is not None and today.day != day_of(report.wall, zone):
        today = None
    budget = next((row for row in report.budgets if not row.product), None)
    budget_dollars = None if budget is None else finite(budget.dollars)
    runs_out = None
    if line is not None and budget_dollars is not None and not stale:
        runs_out = budget_runs_out(report, line, budget_dollars)

    spent_on_hours = sum(sum(hour.money.values()) for hour in hours)
    idle = None
    if spent_on_hours > 0:
        idle = Idleness(
            idle_dollars=dollars(sum(hour.money.get("idle", 0) for hour in hours)),
            dollars=dollars(spent_on_hours),
        )

    first_money = first_window = None
    if totals is not None and not stale and total(report.rates.values()):
        if not any(totals.months.values()):
            # A tick charges the time since the one before: the first tick of a new ledger charges none.
            first_money = max(0.0, seconds(report.elapsed + report.interval - elapsed))
        if not totals.window:
            # The window has whole minutes: it begins with the first tick after the first of them.
            rest_of_minute = NANOSECONDS_PER_MINUTE - report.wall % NANOSECONDS_PER_MINUTE
            ticks = max(1, -(-rest_of_minute // report.interval))
            first_window = max(0.0, seconds(report.elapsed + ticks * report.interval - elapsed))

    return Summary(
        host=None if report.basis is None else label(report.basis.policy.tariff.host) or None,
        taken=report.wall,
        stale=stale,
        zone=zone,
        ledger=None if totals is None else totals.ledger,
        dollars_per_hour=hourly,
        estimated_dollars_per_hour=None if hourly is None else total(map(_hourly, estimates)),
        run_rate_dollars=None if stale else finite(report.run_rate),
        today_dollars=None if today is None or today.amount is None else dollars(today.amount),
        idle=idle,
        month=line,
        month_to_date_dollars=None if spent is None else dollars(spent),
        month_estimated_dollars=None
        if spent is None or month is None
        else dollars(month_estimated(report, month)),
        compared_months=None if month is None else compared_months(report, month),
        projected_dollars=projected.get(""),
        budget_dollars=budget_dollars,
        budget_configured=budget is not None and budget.configured,
        budget_runs_out=runs_out,
        notes=tuple(notes(report, month, projected, stale=stale)),
        servers=servers,
        servers_total=ServersTotal.of(servers, report, hourly) if servers else None,
        gpus=() if stale else tuple(GpuSummary.of(row, report) for row in report.gpus),
        sources=() if stale else report.sources,
        components=tuple(_components(report, stale=stale)),
        fleet_dollars_per_hour=total(report.fleet_overheads.values()) or 0.0,
        savings=None if stale else report.savings,
        hours=hours,
        first_money=first_money,
        first_window=first_window,
    )


def per_month(findings: Iterable[Saving]) -> float:
    """Dollars a month of findings together."""
    return dollars(sum(finding.per_month for finding in findings))


def _servers(report: Report) -> Iterator[ServerSummary]:
    """By cost owner, in the order of their names."""
    estimated = _estimated_holders(report)
    gpus_held: dict[ServerKey, float] = {}
    for share in report.shares:
        gpus_held[share.key] = gpus_held.get(share.key, 0.0) + share.share_ratio
    unallocated = round(sum(row.count for row in report.gpus) - sum(gpus_held.values()), SHARE_DIGITS)
    if unallocated > 0:
        gpus_held[UNALLOCATED_KEY] = unallocated
    up: dict[ServerKey, bool] = {}
    for server in report.servers:
        up[server.key] = up.get(server.key, False) or server.up
    prices = {
        (quotient.owner, quotient.kind): quotient.dollars_per_million_tokens
        for quotient in report.quotients
        if quotient.basis == "full"
    }
    splits = {row.owner: row for row in report.splits}
    # 0 for a server that has served tokens, and none in the last day.
    served = {} if report.totals is None else report.totals.tokens
    tokens = dict.fromkeys((owner for owner, _kind in served), 0)
    for (owner, _kind), number in recent_history(report).tokens.items():
        add(tokens, owner, number)
    last = {} if report.totals is None else report.totals.last_token
    windows = {} if report.totals is None else report.totals.window
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
            busy_ratio=_busy_ratio(filter(None, [windows.get(owner)])),
            tokens=tokens.get(owner),
            dollars_per_million_tokens=finite(prices.get((owner, "all"))),
            dollars_per_million_computed_tokens=finite(prices.get((owner, "computed"))),
            last_token=last.get(owner),
            split_method=None if split is None else split.method,
            prefill_ratio=None if split is None else finite(split.prefill_ratio),
            estimated=owner.key in estimated,
        )


def _components(report: Report, *, stale: bool) -> Iterator[ComponentSummary]:
    """The most expensive per hour first; of a stale report only the last day."""
    hourly: dict[str, list[float]] = {}
    estimated: set[str] = set()
    for price in () if stale else report.prices:
        hourly.setdefault(price.component, []).append(_hourly(price))
        if _is_estimate(price):
            estimated.add(price.component)
    spent = recent_history(report).components
    lines = [
        ComponentSummary(
            name,
            total(hourly.get(name, ())),
            dollars(spent[name]) if name in spent else None,
            name in estimated,
        )
        for name in sorted({*hourly, *spent})
    ]
    yield from sorted(lines, key=lambda line: (-(line.dollars_per_hour or 0.0), -(line.dollars or 0.0)))


def _hourly(price: ComponentPrice) -> float:
    """Dollars per hour of all GPUs of a price."""
    return price.dollars_per_hour * price.count


def _is_estimate(price: ComponentPrice) -> bool:
    return price.provenance.price_basis == "estimate"


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


def _estimated_holders(report: Report) -> set[ServerKey]:
    """Servers that hold a GPU with an estimated price; unallocated, where such a GPU is not held whole."""
    estimated = {price.gpu.uuid: price.count for price in report.prices if _is_estimate(price)}
    shared = dict.fromkeys(estimated, 0.0)
    holders: set[ServerKey] = set()
    for row in report.shares:
        if row.uuid in shared:
            holders.add(row.key)
            shared[row.uuid] += row.share_ratio
    if any(round(count - shared[uuid], SHARE_DIGITS) > 0 for uuid, count in estimated.items()):
        holders.add(UNALLOCATED_KEY)
    return holders


def _busy_ratio(windows: Iterable[Window]) -> float | None:
    money = [window.money for window in windows]
    spent = sum(sum(phases.values()) for phases in money)
    if spent <= 0:
        return None
    return sum(phases.get(phase, 0) for phases in money for phase in BUSY_PHASES) / spent

"""The few figures that people ask first, drawn from a report: what the page and `/cost.json` show."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from math import fsum, isfinite
from typing import Final
from zoneinfo import ZoneInfo

from exporter.cost.explanation import HARDWARE
from exporter.cost.postings import UNALLOCATED, CostOwner
from exporter.metrics.rendering import is_stale
from exporter.readings import ServerKey, label
from exporter.report import ComponentPrice, GpuRow, Hour, Report
from exporter.tariff.calendar import day_of
from exporter.units import (
    NANOSECONDS_PER_HOUR,
    NANOSECONDS_PER_MINUTE,
    Instant,
    Nanoseconds,
    dollars,
    seconds,
)
from exporter.web.notes import notes

UNALLOCATED_KEY: Final = ServerKey("", UNALLOCATED)

SHARE_DIGITS: Final = 9
"""Shares of a GPU are floats: a part this small is what rounding left."""

BUSY: Final = ("prefill", "decode", "other")
"""Phases in which a GPU worked."""


@dataclass(frozen=True, slots=True)
class ServerSummary:
    """One server and model. `None` is what is not known; `up` is false when no endpoint answered.

    `gpus` and `up` are of the whole server, also where it serves several models.
    Of `unallocated`, `gpus` are those that no server holds.
    """

    owner: CostOwner
    gpus: float | None
    up: bool | None
    dollars_per_hour: float | None
    busy_ratio: float | None
    """The part of its dollars of the last hour in which GPUs worked."""
    tokens: int | None
    """Of the last day: the running hour and the 24 before it."""
    dollars_per_million_tokens: float | None
    """All tokens, everything accrued, over the last hour."""
    dollars_per_million_computed_tokens: float | None
    """The same without those that a cache answered."""
    last_token: Instant | None
    split_method: str | None
    """By what its busy dollars were split in the last tick; `None`: they were not."""
    prefill_ratio: float | None
    """Prefill's part of them; `None`: nothing ever told it."""


@dataclass(frozen=True, slots=True)
class GpuSummary:
    """One GPU. `None` is what is not known; `holders` are servers with the part that each holds."""

    row: GpuRow
    holders: tuple[tuple[ServerKey, float], ...]
    prices: tuple[ComponentPrice, ...]
    dollars_per_hour: float | None
    watts: float | None
    utilization_ratio: float | None
    idle_dollars_per_hour: float | None
    """Its price by the part of the last tick in which it rested."""

    @property
    def price(self) -> ComponentPrice | None:
        """That of the hardware itself, the first where there are several."""
        return next((price for price in self.prices if price.component in HARDWARE), None)


@dataclass(frozen=True, slots=True)
class ComponentSummary:
    """What money is for: per hour now, and of the last day. `None` is what is not known."""

    component: str
    dollars_per_hour: float | None
    dollars: float | None


def server_lines(report: Report) -> Iterator[ServerSummary]:
    """By party, in the order of their names."""
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
    priced = {payer for payer, kind in prices if kind in {"all", "computed"}}
    owners = {*report.rates, *priced, *(row.owner for row in report.loads)}
    values = {payer.key for payer in owners}
    unknown = {*up, *gpus_held} - values
    owners |= {CostOwner("", "", key.namespace, key.server, "") for key in unknown}
    for payer in sorted(owners):
        split = splits.get(payer)
        yield ServerSummary(
            owner=payer,
            gpus=finite(gpus_held.get(payer.key)),
            up=up.get(payer.key),
            dollars_per_hour=finite(report.rates.get(payer)),
            busy_ratio=_busy(report, payer),
            tokens=tokens.get(payer),
            dollars_per_million_tokens=finite(prices.get((payer, "all"))),
            dollars_per_million_computed_tokens=finite(prices.get((payer, "computed"))),
            last_token=last.get(payer),
            split_method=None if split is None else split.method,
            prefill_ratio=None if split is None else finite(split.prefill_ratio),
        )


def gpu_lines(report: Report) -> Iterator[GpuSummary]:
    """In the order of the report."""
    for row in report.gpus:
        shares: dict[ServerKey, float] = {}
        for gpus_held in report.shares:
            if gpus_held.uuid == row.gpu.uuid:
                shares[gpus_held.key] = shares.get(gpus_held.key, 0.0) + gpus_held.share_ratio
        prices = tuple(price for price in report.prices if price.gpu == row.gpu)
        hourly = total(price.dollars_per_hour * price.count for price in prices)
        rests, reading = row.idle_ratio, row.reading
        yield GpuSummary(
            row=row,
            holders=tuple((key, ratio) for key, ratio in sorted(shares.items()) if isfinite(ratio)),
            prices=prices,
            dollars_per_hour=hourly,
            watts=None if reading is None else finite(reading.power_watts),
            utilization_ratio=None if reading is None else finite(reading.utilization_ratio),
            idle_dollars_per_hour=None if hourly is None or rests is None else hourly * rests,
        )


def component_lines(report: Report, *, stale: bool) -> Iterator[ComponentSummary]:
    """The dearest per hour first; of an old report the last day alone."""
    hourly: dict[str, list[float]] = {}
    for price in () if stale else report.prices:
        hourly.setdefault(price.component, []).append(price.dollars_per_hour * price.count)
    spent = {} if report.totals is None else report.totals.course.components
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
    """A figure that went wrong is not known."""
    return figure if figure is not None and isfinite(figure) else None


def total(figures: Iterable[float]) -> float | None:
    """`None` without any, and where one is not known."""
    values = list(figures)
    try:
        return finite(fsum(values)) if values else None
    except (OverflowError, ValueError):  # beyond a float, and infinities of both signs
        return None


def _held_gpus(report: Report) -> Mapping[ServerKey, float]:
    """GPUs by who holds them; what no server holds is nobody's."""
    gpus_held: dict[ServerKey, float] = {}
    for row in report.shares:
        gpus_held[row.key] = gpus_held.get(row.key, 0.0) + row.share_ratio
    unallocated = round(sum(row.count for row in report.gpus) - sum(gpus_held.values()), SHARE_DIGITS)
    return {**gpus_held, UNALLOCATED_KEY: unallocated} if unallocated > 0 else gpus_held


def _tokens(report: Report) -> Mapping[CostOwner, int]:
    """Of the last day; a server that told some and served none then has none."""
    if report.totals is None:
        return {}
    tokens_by_owner = dict.fromkeys((payer for payer, _kind in report.totals.tokens), 0)
    for (payer, _kind), number in report.totals.course.tokens.items():
        tokens_by_owner[payer] = tokens_by_owner.get(payer, 0) + number
    return tokens_by_owner


def _busy(report: Report, owner: CostOwner) -> float | None:
    window = None if report.totals is None else report.totals.window.get(owner)
    spent = 0 if window is None else sum(window.money.values())
    if window is None or spent <= 0:
        return None
    return sum(window.money.get(phase, 0) for phase in BUSY) / spent


UTC: Final = ZoneInfo("UTC")


@dataclass(frozen=True, slots=True)
class Idleness:
    """What of the last day's dollars was spent on GPUs that rested."""

    idle_dollars: float
    dollars: float

    @property
    def ratio(self) -> float:
        """The idle part."""
        return self.idle_dollars / self.dollars


@dataclass(frozen=True, slots=True)
class Point:
    """What the month had come to at an instant."""

    at: Instant
    dollars: float


@dataclass(frozen=True, slots=True)
class MonthLine:
    """The month so far. `points` are at the end of each whole hour, and now; none where nothing is known."""

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
class Summary:
    """One host. `None` is what is not known; money per hour is not known from an old report."""

    host: str | None
    """Its name, as `match: {host: ...}` means it."""
    taken: Instant
    stale: bool
    zone: ZoneInfo
    ledger: str | None
    dollars_per_hour: float | None
    run_rate_dollars: float | None
    idle: Idleness | None
    month: MonthLine | None
    month_to_date_dollars: float | None
    projected_dollars: float | None
    budget_dollars: float | None
    """The month's budget of the whole fleet."""
    budget_configured: bool
    """Whether that is one of the configuration's, and not the default."""
    notes: tuple[str, ...]
    """What a reader must know before the figures, a sentence each."""
    servers: tuple[ServerSummary, ...]
    gpus: tuple[GpuSummary, ...]
    components: tuple[ComponentSummary, ...]
    fleet_dollars_per_hour: float
    """Configured for the whole fleet: in none of this host's figures."""
    hours: tuple[Hour, ...]
    """The last day: the 24 whole hours before now and the running one."""
    first_money: float | None
    """The seconds until the tick that posts the first money, `None` once there is some, or with no price."""
    first_window: float | None
    """The seconds until the first whole minute gives prices per million tokens, `None` once one did."""


def summarize(report: Report, elapsed: Nanoseconds) -> Summary:
    """The summary of a report at a moment of boot time."""
    stale = is_stale(report, elapsed)
    month = month_now(report)
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
        projected_dollars=projected.get(""),
        budget_dollars=None if budget is None else finite(budget.dollars),
        budget_configured=budget is not None and budget.configured,
        notes=tuple(notes(report, month, projected, stale=stale)),
        servers=() if stale else tuple(server_lines(report)),
        gpus=() if stale else tuple(gpu_lines(report)),
        components=tuple(component_lines(report, stale=stale)),
        fleet_dollars_per_hour=total(report.fleet_overheads.values()) or 0.0,
        hours=() if report.totals is None else report.totals.course.hours,
        first_money=None if stale else _first_money(report, elapsed),
        first_window=None if stale else _first_window(report, elapsed),
    )


def month_now(report: Report) -> str | None:
    """The month that ends next."""
    ahead = [(end, month) for month, end in report.month_ends.items() if end > report.wall]
    return min(ahead)[1] if ahead else None


def _first_money(report: Report, elapsed: Nanoseconds) -> float | None:
    """A tick charges the time since the one before it, so that the first of a new ledger charges none."""
    if report.totals is None or any(report.totals.months.values()) or not total(report.rates.values()):
        return None
    return max(0.0, seconds(report.elapsed + report.interval - elapsed))


def _first_window(report: Report, elapsed: Nanoseconds) -> float | None:
    """The window is of whole minutes: the first tick after the end of the first one brings it."""
    if report.totals is None or report.totals.window or not total(report.rates.values()):
        return None
    ticks = max(1, -(-(NANOSECONDS_PER_MINUTE - report.wall % NANOSECONDS_PER_MINUTE) // report.interval))
    return max(0.0, seconds(report.elapsed + ticks * report.interval - elapsed))


def _month_to_date(report: Report, month: str) -> float | None:
    """`None` without a cell of the month: nothing was posted, which is not the same as nothing spent."""
    if report.totals is None:
        return None
    cells = [amount for key, amount in report.totals.months.items() if key.month == month]
    spent = sum(cells)
    if not cells or not (spent or any(row.priced for row in report.gpus)):
        return None
    return dollars(spent)


def _month_line(report: Report, name: str, spent: float | None) -> MonthLine:
    """The curve ends at the month to date; what no hour tells, such as adjustments, it begins with."""
    end = report.month_ends[name]
    start = max((past for past in report.month_ends.values() if past <= report.wall), default=None)
    points: tuple[Point, ...] = ()
    if report.totals is not None and spent is not None and start is not None:
        hour = report.wall // NANOSECONDS_PER_HOUR
        course = report.totals.course
        first = min(hour, max(hour - len(course.before), -(-start // NANOSECONDS_PER_HOUR)))
        whole = [dollars(amount) for amount in course.before[len(course.before) - (hour - first) :]]
        running = sum(dollars(sum(each.money.values())) for each in course.hours[-1:])
        before = spent - sum(whole) - running
        sums = accumulate(whole, initial=before)
        ends = range(first, hour + 1)
        points = (
            *(Point(at * NANOSECONDS_PER_HOUR, value) for at, value in zip(ends, sums, strict=True)),
            Point(report.wall, spent),
        )
    return MonthLine(name, start, end, points)


def _idle(report: Report) -> Idleness | None:
    hours = () if report.totals is None else report.totals.course.hours
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

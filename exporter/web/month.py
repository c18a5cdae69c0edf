"""The month of a report: its curve, its days, its mean day, and when the budget runs out. Pure."""

from dataclasses import dataclass
from zoneinfo import ZoneInfo

from exporter.report import RecentHistory, Report
from exporter.tariff.calendar import Day, day_of
from exporter.units import (
    NANOSECONDS_PER_DAY,
    NANOSECONDS_PER_HOUR,
    PICODOLLARS_PER_DOLLAR,
    Instant,
    Picodollars,
    dollars,
)


@dataclass(frozen=True, slots=True)
class Point:
    """Month to date at an instant."""

    at: Instant
    dollars: float


@dataclass(frozen=True, slots=True)
class MonthDay:
    """A local day up to `until`, now at most; `amount` is `None` where no hour of it was metered.

    An hour belongs to the day in which it ends: where the zone's offset is no whole hour, a day here begins
    and ends up to an hour early.
    """

    day: Day
    until: Instant
    amount: Picodollars | None
    to_date: float
    """The month to date at its end."""


@dataclass(frozen=True, slots=True)
class MonthLine:
    """The month so far. `points` are at the end of each whole hour, and now; none if it is unknown.

    `rest` is what the month holds beside its days: adjustments, and money posted for hours long past.
    """

    name: str
    start: Instant | None
    end: Instant
    points: tuple[Point, ...] = ()
    days: tuple[MonthDay, ...] = ()
    rest: Picodollars = 0


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


def current_month(report: Report) -> str | None:
    """The month that ends next."""
    ahead = [(end, month) for month, end in report.month_ends.items() if end > report.wall]
    return min(ahead)[1] if ahead else None


def recent_history(report: Report) -> RecentHistory:
    """The history of the totals, empty without totals."""
    return RecentHistory() if report.totals is None else report.totals.history


def month_to_date(report: Report, month: str) -> Picodollars | None:
    """`None` without a posting to the month: its cost is then unknown, and not 0."""
    if report.totals is None:
        return None
    cells = [amount for key, amount in report.totals.months.items() if key.month == month]
    spent = sum(cells)
    if not cells or not (spent or any(row.priced for row in report.gpus)):
        return None
    return spent


def month_estimated(report: Report, month: str) -> Picodollars:
    """Money of the month that was posted by estimated prices."""
    months = {} if report.totals is None else report.totals.months
    return sum(
        amount for key, amount in months.items() if key.month == month and key.price_basis == "estimate"
    )


def compared_months(report: Report, name: str) -> tuple[MeteredMonth, MeteredMonth] | None:
    """The month before and this one; `None` if either is unknown or metered for less than an hour."""
    past = [(end, month) for month, end in report.month_ends.items() if end <= report.wall]
    if not past:
        return None
    end, before = max(past)
    first, second = _metered_month(report, before, end), _metered_month(report, name, report.wall)
    return None if first is None or second is None else (first, second)


def _metered_month(report: Report, name: str, until: Instant) -> MeteredMonth | None:
    spent, since = month_to_date(report, name), report.metered_since.get(name)
    if spent is None or since is None or until - since < NANOSECONDS_PER_HOUR:
        return None
    return MeteredMonth(name, dollars(spent), since, until)


def month_line(report: Report, name: str, spent: Picodollars | None, zone: ZoneInfo) -> MonthLine:
    """The curve ends at the month to date; it starts with what is in no hour, such as adjustments."""
    end = report.month_ends[name]
    start = max((past for past in report.month_ends.values() if past <= report.wall), default=None)
    if spent is None or start is None:
        return MonthLine(name, start, end)
    # The end and the cost of each hour of the month that is known, up to now.
    history = recent_history(report)
    running = report.wall // NANOSECONDS_PER_HOUR
    first = min(running, max(running - len(history.before), -(-start // NANOSECONDS_PER_HOUR)))
    whole = history.before[len(history.before) - (running - first) :]
    hours = [(hour * NANOSECONDS_PER_HOUR, amount) for hour, amount in enumerate(whole, start=first + 1)]
    money = history.hours[-1].money if history.hours else {}
    hours.append((report.wall, sum(money.values()) if money else None))
    rest = spent - sum(amount or 0 for _, amount in hours)
    so_far = rest
    points = [Point(first * NANOSECONDS_PER_HOUR, dollars(so_far))]
    days: dict[str, MonthDay] = {}
    for until, amount in hours:
        so_far += amount or 0
        points.append(Point(until, dollars(so_far)))
        if until <= start:
            continue
        day = day_of(until - 1, zone)
        of_day = days[day.name].amount if day.name in days else None
        if amount is not None:
            of_day = amount + (of_day or 0)
        days[day.name] = MonthDay(day, until, of_day, dollars(so_far))
    return MonthLine(name, start, end, tuple(points), tuple(days.values()), rest)


def budget_runs_out(report: Report, line: MonthLine, budget: float) -> Instant | None:
    """When this host alone has spent a budget, at the rates of its projection; `None`: not in this month.

    Of a budget that is spent it is the end of the hour that spent it.
    """
    spent = next((point.at for point in line.points if point.dollars >= budget), None)
    if spent is not None or report.projection is None or report.projection.month.name != line.name:
        return spent
    left = round(budget * PICODOLLARS_PER_DOLLAR) - sum(report.projection.to_date.values())
    for period in report.projection.periods:
        if period.amount >= left > 0:
            return period.start + (period.end - period.start) * left // period.amount
        left -= period.amount
    return None

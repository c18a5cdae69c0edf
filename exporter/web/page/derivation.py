"""Rows of the pages that explain: the figures of the host, and the cost of each server."""

from collections.abc import Iterator
from typing import Final

from exporter.advice.explanation import ModelAccount, ModelExplanation, ServerExplanation
from exporter.cost.postings import PHASES
from exporter.cost.projection import Projection
from exporter.readings import KINDS
from exporter.report import RecentHistory, Report
from exporter.units import NANOSECONDS_PER_HOUR, TOKENS_PER_MILLION, dollars
from exporter.web.month import MeteredMonth
from exporter.web.summary import GpuSummary, Summary
from exporter.web.wording import price_source, share, six, timestamp

Cells = tuple[str | None, ...]

PRICE_COLUMNS: Final = (
    ("What", "name"),
    ("$ per hour of one", "number"),
    ("$ per hour", "number"),
    ("From", "name"),
)


def prices(summary: Summary) -> Iterator[Cells]:
    """Each price in force, with the number of GPUs that have it."""
    gpus_by_price: dict[tuple[str, str, float, str], int] = {}
    for line in summary.gpus:
        for price in line.prices:
            source = f"{price.provenance.price_basis}: {price_source(price.provenance)}"
            key = (price.gpu.gpu_model, price.component, price.dollars_per_hour, source)
            gpus_by_price[key] = gpus_by_price.get(key, 0) + price.count
    for (model, component, hourly, source), gpus in gpus_by_price.items():
        yield f"{gpus} x {model} {component}", six(hourly), six(gpus * hourly), source


def month(report: Report, summary: Summary) -> Iterator[Cells]:
    """The dollars of this month by product, team and basis of the price."""
    if report.totals is None or summary.month is None:
        return
    for key, value in sorted(report.totals.months.items()):
        if key.month == summary.month.name:
            yield key.product, key.team, key.price_basis, six(dollars(value))


def months(compared: tuple[MeteredMonth, MeteredMonth]) -> Iterator[Cells]:
    """The mean day of both months."""
    for each in compared:
        span = timestamp(each.since), timestamp(each.until)
        yield each.name, *span, six(each.dollars), six(each.dollars_per_day)


def projected(projection: Projection) -> Iterator[Cells]:
    """The end of the month by product."""
    for product, end in projection.totals().items():
        to_date, ahead = projection.to_date.get(product, 0), projection.rest.get(product, 0)
        yield product, six(dollars(to_date)), six(dollars(ahead)), six(dollars(end))


def periods(projection: Projection) -> Iterator[Cells]:
    """The rest of the month by price."""
    for period in projection.periods:
        hours = f"{(period.end - period.start) / NANOSECONDS_PER_HOUR:,.4f}"
        money = six(period.dollars_per_hour), six(dollars(period.amount))
        yield timestamp(period.start), timestamp(period.end), hours, *money


def rest(projection: Projection) -> float:
    """Dollars of the rest of the month."""
    return dollars(sum(period.amount for period in projection.periods))


def phases(summary: Summary) -> Iterator[Cells]:
    """Dollars of the last 24 hours and of the running one, by phase."""
    if summary.idle is None:
        return
    for phase in PHASES:
        spent_on_phase = dollars(sum(hour.money.get(phase, 0) for hour in summary.hours))
        if spent_on_phase:
            yield phase, six(spent_on_phase), share(spent_on_phase / summary.idle.dollars)


def components(summary: Summary) -> Iterator[Cells]:
    """Dollars of the same hours by component."""
    for line in summary.components:
        if line.dollars is not None:
            yield line.component, six(line.dollars)


def components_of(line: GpuSummary) -> Iterator[Cells]:
    """The price of a GPU by component."""
    for price in line.prices:
        origin = price.provenance
        hourly = six(price.dollars_per_hour * price.count)
        yield price.component, hourly, origin.price_basis, origin.source, origin.as_of


def allocated(server: ServerExplanation) -> Iterator[Cells]:
    """The price of what a server holds now."""
    for line in server.allocated:
        hourly = six(line.dollars_per_hour), six(line.gpus * line.dollars_per_hour)
        what = f"{line.gpus:g} x {line.gpu_model} {line.component}"
        yield what, *hourly, f"{line.price_basis}: {line.source}"


def allocated_total(server: ServerExplanation) -> float:
    """Dollars per hour of what a server holds now."""
    return sum(line.gpus * line.dollars_per_hour for line in server.allocated)


def spent(account: ModelAccount) -> Iterator[Cells]:
    """What was spent on a model, by phase."""
    for phase in PHASES:
        money = account.money.get(phase)
        if money:
            yield phase, six(dollars(money)), share(money / account.spent) if account.spent else None


def tokens(account: ModelAccount) -> Iterator[Cells]:
    """What a model served, by kind of token."""
    for kind in KINDS:
        yield spelled(kind), f"{account.tokens.get(kind, 0):,}"


def quotients(model: ModelExplanation) -> Iterator[Cells]:
    """Dollars per million tokens."""
    for price in model.prices:
        figures = six(price.dollars), _millions(price.tokens), six(price.dollars_per_million)
        yield f"{spelled(price.kind)}, {price.basis}", *figures


def ladder(model: ModelExplanation) -> Iterator[Cells]:
    """What a token costs, item by item."""
    for rung in model.ladder:
        yield rung.meaning, six(rung.dollars), _millions(rung.tokens), six(rung.dollars_per_million)


DAY_COLUMNS: Final = (
    ("Model", "name"),
    *((kind.replace("_", " "), "number") for kind in KINDS),
    ("all", "number"),
    ("last token", "number"),
)


def day(server: ServerExplanation, history: RecentHistory) -> list[Cells]:
    """The tokens of a server's models in the last 24 hours and in the running one."""
    last = {model.account.model: model.account.last_token for model in server.models}
    owners = sorted({owner for owner, _ in history.tokens if owner.key == server.key})
    rows: list[Cells] = []
    for owner in owners:
        counts = [history.tokens.get((owner, kind), 0) for kind in KINDS]
        at = last.get(owner.model)
        figures = [f"{number:,}" for number in (*counts, sum(counts))]
        rows.append((owner.model, *figures, None if at is None else timestamp(at)))
    return rows


def spelled(kind: str) -> str:
    """A kind of token in words."""
    return kind.replace("_", " ")


def sentence(words: str) -> str:
    """Words that begin a sentence."""
    return f"{words[:1].upper()}{words[1:]}"


def _millions(count: int) -> str:
    return f"{count / TOKENS_PER_MILLION:,.6f}"

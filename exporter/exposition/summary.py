"""The few figures that people ask first, drawn from a report: what the page and `/cost.json` show."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import fsum

from exporter.cost.postings import Party
from exporter.exposition.rendering import is_stale
from exporter.readings import ServerKey
from exporter.report import Report
from exporter.units import Instant, Nanoseconds, dollars


@dataclass(frozen=True, slots=True)
class ServerLine:
    """One server and model. `None` is what is not known; `up` is false when no endpoint answered.

    `gpus` and `up` are of the whole server, also where it serves several models.
    """

    party: Party
    gpus: float | None
    up: bool | None
    dollars_per_hour: float | None
    dollars_per_million_tokens: float | None
    """All tokens, everything accrued, over the last hour."""


@dataclass(frozen=True, slots=True)
class Summary:
    """One host. `None` is what is not known; money per hour is not known from an old report."""

    taken: Instant
    stale: bool
    ledger: str | None
    dollars_per_hour: float | None
    month: str | None
    month_to_date_dollars: float | None
    projected_dollars: float | None
    budget_dollars: float | None
    """The month's budget of the whole fleet, where one is configured."""
    notes: tuple[str, ...]
    """What a reader must know before the figures, a sentence each."""
    servers: tuple[ServerLine, ...]


def summarize(report: Report, elapsed: Nanoseconds) -> Summary:
    """The summary of a report at a moment of boot time."""
    stale = is_stale(report, elapsed)
    month = _month(report)
    return Summary(
        taken=report.wall,
        stale=stale,
        ledger=None if report.books is None else report.books.ledger,
        dollars_per_hour=fsum(report.rates.values()) if report.rates and not stale else None,
        month=month,
        month_to_date_dollars=_month_to_date(report, month),
        projected_dollars=_projected(report, month) if not stale else None,
        budget_dollars=next((budget.dollars for budget in report.budgets if not budget.product), None),
        notes=tuple(_notes(report, stale=stale)),
        servers=() if stale else tuple(_lines(report)),
    )


def _month(report: Report) -> str | None:
    """The month that ends next."""
    ahead = [(end, month) for month, end in report.month_ends.items() if end > report.wall]
    return min(ahead)[1] if ahead else None


def _month_to_date(report: Report, month: str | None) -> float | None:
    if report.books is None or month is None:
        return None
    return dollars(sum(amount for key, amount in report.books.months.items() if key.month == month))


def _projected(report: Report, month: str | None) -> float | None:
    amounts = [amount for (_, of), amount in report.projected.items() if of == month]
    return fsum(amounts) if amounts else None


def _notes(report: Report, *, stale: bool) -> Iterator[str]:
    if stale:
        yield "No tick has been taken for more than three intervals: what is spent now is not known."
    if report.books is None:
        yield "The time since the last run has not been charged yet: no totals are shown."
    elif report.books.residual:
        yield "The books do not balance: what was accrued is not what was posted. This is a bug."
    elif not report.books.persistent:
        yield "The ledger is in memory: a restart loses the month."
    elif not report.books.writable:
        yield "The ledger cannot be written: totals stand still, and a restart loses what came since."
    all_gpus = len(report.gpus)
    if unpriced := sum(not row.priced for row in report.gpus):
        yield f"GPUs without a price: {unpriced} of {all_gpus}. What they cost is not in these figures."
    estimated = {price.gpu for price in report.prices if price.provenance.price_basis == "estimate"}
    if estimated:
        yield f"GPUs priced by an estimate: {len(estimated)} of {all_gpus}."
    if down := sum(not row.up for row in report.gpus):
        yield f"GPUs that are paid for and cannot be read: {down} of {all_gpus}."
    if not report.config.last_reload_success:
        yield "The last reload of the configuration failed: the one before is in force."


def _lines(report: Report) -> Iterator[ServerLine]:
    held: dict[ServerKey, float] = {}
    for share in report.shares:
        held[share.key] = held.get(share.key, 0.0) + share.share_ratio
    up: dict[ServerKey, bool] = {}
    for server in report.servers:
        up[server.key] = up.get(server.key, False) or server.up
    price = {
        quotient.party: quotient.dollars_per_million_tokens
        for quotient in report.quotients
        if quotient.kind == "all" and quotient.basis == "full"
    }
    parties = {*report.rates, *price, *(row.party for row in report.loads)}
    known = {party.key for party in parties}
    parties |= {Party("", "", key.namespace, key.server, "") for key in up if key not in known}
    for party in sorted(parties):
        yield ServerLine(
            party=party,
            gpus=held.get(party.key),
            up=up.get(party.key),
            dollars_per_hour=report.rates.get(party),
            dollars_per_million_tokens=price.get(party),
        )

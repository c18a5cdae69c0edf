"""The few figures that people ask first, drawn from a report: what the page and `/cost.json` show."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import fsum, isfinite
from typing import Final

from exporter.cost.postings import UNALLOCATED, Party
from exporter.exposition.notes import notes
from exporter.exposition.rendering import is_stale
from exporter.readings import ServerKey
from exporter.report import Report
from exporter.units import Instant, Nanoseconds, dollars

NOBODY: Final = ServerKey("", UNALLOCATED)

SHARE_DIGITS: Final = 9
"""Shares of a GPU are floats: a part this small is what rounding left."""


@dataclass(frozen=True, slots=True)
class ServerLine:
    """One server and model. `None` is what is not known; `up` is false when no endpoint answered.

    `gpus` and `up` are of the whole server, also where it serves several models.
    Of `unallocated`, `gpus` are those that no server holds.
    """

    party: Party
    gpus: float | None
    up: bool | None
    dollars_per_hour: float | None
    dollars_per_million_tokens: float | None
    """All tokens, everything accrued, over the last hour."""
    split_method: str | None
    """By what its busy dollars were split in the last tick; `None`: they were not."""
    prefill_ratio: float | None
    """Prefill's part of them; `None`: nothing ever told it."""


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
    projected = {} if stale or month is None else _projected(report, month)
    return Summary(
        taken=report.wall,
        stale=stale,
        ledger=None if report.books is None else report.books.ledger,
        dollars_per_hour=None if stale else _total(report.rates.values()),
        month=month,
        month_to_date_dollars=_month_to_date(report, month),
        projected_dollars=projected.get(""),
        budget_dollars=next(
            (_finite(budget.dollars) for budget in report.budgets if not budget.product), None
        ),
        notes=tuple(notes(report, month, projected, stale=stale)),
        servers=() if stale else tuple(_lines(report)),
    )


def _month(report: Report) -> str | None:
    """The month that ends next."""
    ahead = [(end, month) for month, end in report.month_ends.items() if end > report.wall]
    return min(ahead)[1] if ahead else None


def _month_to_date(report: Report, month: str | None) -> float | None:
    """`None` without a cell of the month: nothing was posted, which is not the same as nothing spent."""
    if report.books is None or month is None:
        return None
    cells = [amount for key, amount in report.books.months.items() if key.month == month]
    spent = sum(cells)
    if not cells or not (spent or any(row.priced for row in report.gpus)):
        return None
    return dollars(spent)


def _projected(report: Report, month: str) -> dict[str, float]:
    """The month's end by product, and of all together under ""."""
    if report.books is None:
        return {}
    ends = {product: end for (product, of), end in report.projected.items() if of == month}
    total = _total(ends.values())
    known = {product: end for product, end in ends.items() if isfinite(end)}
    return known if total is None else {**known, "": total}


def _finite(figure: float | None) -> float | None:
    """A figure that went wrong is not known."""
    return figure if figure is not None and isfinite(figure) else None


def _total(figures: Iterable[float]) -> float | None:
    """`None` without any, and where one is not known."""
    known = list(figures)
    try:
        return _finite(fsum(known)) if known else None
    except (OverflowError, ValueError):  # beyond a float, and infinities of both signs
        return None


def _held(report: Report) -> Mapping[ServerKey, float]:
    """GPUs by who holds them; what no server holds is nobody's."""
    held: dict[ServerKey, float] = {}
    for share in report.shares:
        held[share.key] = held.get(share.key, 0.0) + share.share_ratio
    nobody = round(len(report.gpus) - sum(held.values()), SHARE_DIGITS)
    return {**held, NOBODY: nobody} if nobody > 0 else held


def _lines(report: Report) -> Iterator[ServerLine]:
    held = _held(report)
    up: dict[ServerKey, bool] = {}
    for server in report.servers:
        up[server.key] = up.get(server.key, False) or server.up
    price = {
        quotient.party: quotient.dollars_per_million_tokens
        for quotient in report.quotients
        if quotient.kind == "all" and quotient.basis == "full"
    }
    splits = {row.party: row for row in report.splits}
    parties = {*report.rates, *price, *(row.party for row in report.loads)}
    known = {party.key for party in parties}
    unknown = {*up, *held} - known
    parties |= {Party("", "", key.namespace, key.server, "") for key in unknown}
    for party in sorted(parties):
        split = splits.get(party)
        yield ServerLine(
            party=party,
            gpus=_finite(held.get(party.key)),
            up=up.get(party.key),
            dollars_per_hour=_finite(report.rates.get(party)),
            dollars_per_million_tokens=_finite(price.get(party)),
            split_method=None if split is None else split.method,
            prefill_ratio=None if split is None else _finite(split.prefill_ratio),
        )

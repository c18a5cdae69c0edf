"""Sentences of the host's page: what was read, and what stands below its four figures."""

from collections.abc import Iterator
from math import ceil
from typing import Final

from exporter.web.notes import SERVER
from exporter.web.page.tables import ESTIMATE_SIGN
from exporter.web.summary import Summary
from exporter.web.wording import amount, local, share

FIRST_NOTES: Final = 3
FIRST_SAVINGS: Final = 3
"""Notes and savings on the first screen; the rest unfold."""


def read(summary: Summary) -> str:
    """How much of the host the last tick read; empty of a stale report."""
    gpus = [(row.row.up, row.row.count) for row in summary.gpus]
    servers = [row.up for row in summary.sources if row.source.startswith(SERVER)]
    words = []
    if gpus:
        words.append(f"{sum(count for up, count in gpus if up)} of {sum(count for _, count in gpus)} GPUs")
    if servers:
        words.append(f"{sum(servers)} of {len(servers)} servers")
    return f"Read: {', '.join(words)}." if words else ""


def is_over_budget(summary: Summary) -> bool:
    """Whether this host alone is projected above the budget of the fleet."""
    end, budget = summary.projected_dollars, summary.budget_dollars
    return end is not None and budget is not None and end > budget


def budget(summary: Summary) -> str:
    """The budget, and how far from it the projection ends."""
    end, dollars = summary.projected_dollars, summary.budget_dollars
    if dollars is None:
        return "no budget is configured"
    default = "" if summary.budget_configured else "default "
    words = f"{default}budget of the fleet {amount(dollars)}"
    if end is not None:
        side = "over" if end > dollars else "within"
        words = f"{amount(abs(end - dollars))} {side} the fleet's {default}budget of {amount(dollars)}"
    return f"{words}, as no budget is configured" if default else words


def runs_out(summary: Summary) -> str:
    """The day on which this host alone has spent the budget; empty without one."""
    at = summary.budget_runs_out
    if at is None:
        return ""
    past = at <= summary.taken
    day = local(at - 1 if past else at, summary.zone, "%a %d %b")
    return f"this host alone spent it on {day}" if past else f"this host alone spends it by {day}"


def awaited(summary: Summary) -> str:
    """When figures are known that need a first charge; empty if there was one."""
    if summary.first_money is None:
        return ""
    left = ceil(summary.first_money)
    return f"known after the next tick, in {left} s" if left else "known after the next tick, which is due"


def month_facts(summary: Summary) -> Iterator[str]:
    """How much of the month has passed, and its mean day against that of the month before."""
    line = summary.month
    if line is None:
        return
    if line.start is None:
        yield line.name
    else:
        passed = share((summary.taken - line.start) / (line.end - line.start))
        yield f"{local(line.end - 1, summary.zone, '%B %Y')}, {passed} of it passed"
    if summary.compared_months is not None:
        before, now = summary.compared_months
        earlier = local(before.until - 1, summary.zone, "%B")
        yield f"{amount(now.dollars_per_day)} a day; {earlier}: {amount(before.dollars_per_day)} a day"


def estimates(summary: Summary) -> str:
    """What the sign of estimates means here; empty without one."""
    parts = []
    if summary.estimated_dollars_per_hour is not None:
        parts.append(f"{amount(summary.estimated_dollars_per_hour)} an hour")
    if summary.month_estimated_dollars:
        parts.append(f"{amount(summary.month_estimated_dollars)} of the month")
    if not parts:
        return ""
    return (
        f"{ESTIMATE_SIGN}: includes estimated prices, neither configured nor listed: {' and '.join(parts)}."
    )

"""The host's page: notes, four figures, what could be saved, charts and tables."""

from collections.abc import Iterator
from math import ceil
from typing import Final

from exporter.cost.saving_text import ESTIMATED, OBSTACLES, evidence, predicate, subject
from exporter.cost.savings import Saving
from exporter.metrics.money import FINDINGS_MAX
from exporter.web.notes import SERVER
from exporter.web.page import charts, tables
from exporter.web.page.calendar import month_days
from exporter.web.page.layout import (
    ESTIMATE_SIGN,
    EXPLAIN,
    Content,
    Element,
    element,
    estimated_amount,
    figure,
    link,
    name,
)
from exporter.web.summary import Summary, per_month
from exporter.web.wording import UNKNOWN, amount, dollars_text, local, share, timestamp

FIRST_NOTES: Final = 3
FIRST_SAVINGS: Final = 3
"""Notes and savings on the first screen; the rest unfold."""


def overview(summary: Summary) -> Iterator[Content]:
    """The content of `main`."""
    yield _part("notes", _notes(summary))
    yield _part("figures", element("dl", _cards(summary), class_="cards"), _estimates(summary))
    yield _part("savings", _savings(summary))
    yield _part("charts", element("div", _charts(summary), class_="charts"))
    yield element(
        "section",
        element("h2", "Servers"),
        element("div", id="tools"),
        _part("servers", tables.servers(summary)),
    )
    yield _part("gpus", tables.gpus(summary))
    yield _part("components", tables.components(summary))
    if summary.ledger is not None:
        yield element("p", f"Ledger {summary.ledger}.", class_="quiet")


def host_facts(summary: Summary) -> Iterator[Content]:
    """The host, and the time of its report."""
    yield name(summary.host) if summary.host else "This host"
    yield " only, at "
    yield element(
        "time", local(summary.taken, summary.zone, "%Y-%m-%d %H:%M:%S %Z"), datetime=timestamp(summary.taken)
    )
    yield "."


def _part(of: str, *content: Content) -> Element:
    return element("div", *content, data_part=of)


def _notes(summary: Summary) -> Element:
    """What is wrong with the meter and the figures, the most severe first; or that nothing is."""
    read = _read(summary)
    if not summary.notes:
        return element("p", f"{read}No warning about these figures.".strip(), class_="well", role="status")
    first, others = summary.notes[:FIRST_NOTES], summary.notes[FIRST_NOTES:]
    return element(
        "div",
        element("ul", (element("li", note) for note in first)),
        element(
            "details",
            element("summary", f"{len(others)} more"),
            element("ul", (element("li", note) for note in others)),
        )
        if others
        else None,
        element("p", read, class_="quiet") if read else None,
        class_="notes",
        role="status",
    )


def _read(summary: Summary) -> str:
    """How much of the host the last tick read; empty of a stale report."""
    gpus = [(row.row.up, row.row.count) for row in summary.gpus]
    servers = [row.up for row in summary.sources if row.source.startswith(SERVER)]
    words = []
    if gpus:
        words.append(f"{sum(count for up, count in gpus if up)} of {sum(count for _, count in gpus)} GPUs")
    if servers:
        words.append(f"{sum(servers)} of {len(servers)} servers")
    return f"Read: {', '.join(words)}. " if words else ""


def _cards(summary: Summary) -> Iterator[Element]:
    rate, run_rate = summary.dollars_per_hour, summary.run_rate_dollars
    yield _card(
        "Now",
        _figure(rate, "rate", estimated=summary.estimated_dollars_per_hour is not None),
        None if rate is None else element("span", " per hour"),
        _today(summary),
        "" if run_rate is None else f"{amount(run_rate)} a month at this rate",
    )
    month = summary.month_to_date_dollars
    awaited = _awaited(summary) if month is None else ""
    yield _card(
        "This month so far",
        _figure(month, "month", estimated=bool(summary.month_estimated_dollars)),
        None,
        *((awaited,) if awaited else _month_facts(summary)),
    )
    yield _projection(summary)
    idle = summary.idle
    yield _card(
        "Idle, 24 h + this hour",
        UNKNOWN if idle is None else figure(share(idle.ratio), f"{EXPLAIN}#idle"),
        None,
        _awaited(summary) if idle is None else f"{amount(idle.idle_dollars)} of {amount(idle.dollars)}",
    )


def _card(term: str, big: Content, unit: Content, *more: Content, over: bool = False) -> Element:
    """A figure and what explains it; `over`: the first of that stands out."""
    return element(
        "div",
        element("dt", term),
        element("dd", big, unit, class_="big"),
        (
            element("dd", words, class_="over" if over and not number else "more")
            for number, words in enumerate(more)
            if words
        ),
        class_="card",
    )


def _today(summary: Summary) -> str:
    return "" if summary.today_dollars is None else f"{amount(summary.today_dollars)} today"


def _projection(summary: Summary) -> Element:
    end, budget = summary.projected_dollars, summary.budget_dollars
    over = end is not None and budget is not None and end > budget
    words = "no budget is configured"
    if budget is not None:
        default = "" if summary.budget_configured else "default "
        words = f"{default}budget of the fleet {amount(budget)}"
        if end is not None:
            apart = amount(abs(end - budget))
            words = f"{apart} {'over' if over else 'within'} the fleet's {default}budget of {amount(budget)}"
        if default:
            words += ", as no budget is configured"
    awaited = _awaited(summary) if end is None else ""
    estimated = bool(summary.month_estimated_dollars) or summary.estimated_dollars_per_hour is not None
    return _card(
        "Projected for the month",
        _figure(end, "projection", estimated=estimated),
        None,
        awaited or words,
        "" if awaited else _runs_out(summary),
        over=over,
    )


def _runs_out(summary: Summary) -> str:
    """The day on which this host alone has spent the budget."""
    at = summary.budget_runs_out
    if at is None:
        return ""
    past = at <= summary.taken
    day = local(at - 1 if past else at, summary.zone, "%a %d %b")
    return f"this host alone spent it on {day}" if past else f"this host alone spends it by {day}"


def _awaited(summary: Summary) -> str:
    """When figures are known that need a first charge; empty if there was one."""
    if summary.first_money is None:
        return ""
    left = ceil(summary.first_money)
    return f"known after the next tick, in {left} s" if left else "known after the next tick, which is due"


def _month_facts(summary: Summary) -> Iterator[str]:
    """How much of the month has passed, and its mean day against that of the month before."""
    line = summary.month
    if line is None:
        return
    yield (
        line.name
        if line.start is None
        else (
            f"{local(line.end - 1, summary.zone, '%B %Y')}, "
            f"{share((summary.taken - line.start) / (line.end - line.start))} of it passed"
        )
    )
    if summary.compared_months is not None:
        before, now = summary.compared_months
        earlier = local(before.until - 1, summary.zone, "%B")
        yield f"{amount(now.dollars_per_day)} a day; {earlier}: {amount(before.dollars_per_day)} a day"


def _figure(dollars: float | None, of: str, *, estimated: bool) -> Content:
    if dollars is None:
        return UNKNOWN
    return figure(estimated_amount(dollars, estimated=estimated), f"{EXPLAIN}#{of}")


def _estimates(summary: Summary) -> Element | None:
    """What the sign of estimates means here; `None` without one."""
    now, month = summary.estimated_dollars_per_hour, summary.month_estimated_dollars
    parts = [
        *((f"{amount(now)} an hour",) if now is not None else ()),
        *((f"{amount(month)} of the month",) if month else ()),
    ]
    if not parts:
        return None
    words = (
        f"{ESTIMATE_SIGN}: includes estimated prices, neither configured nor listed: {' and '.join(parts)}."
    )
    return element("p", words, class_="quiet")


def _savings(summary: Summary) -> Element | None:
    """A ranked list: no table, so that a sentence wraps on a phone."""
    savings = summary.savings
    if savings is None:
        return None
    first = savings.findings[:FIRST_SAVINGS]
    others, rest = savings.findings[FIRST_SAVINGS:FINDINGS_MAX], savings.findings[FINDINGS_MAX:]
    cash = per_month(finding for finding in savings.findings if finding.cash)
    capacity = per_month(finding for finding in savings.findings if not finding.cash)
    window = f"Measured: {savings.hours} hours up to {local(savings.end, summary.zone, '%Y-%m-%d %H:%M %Z')}."
    sums = f"{amount(cash)} a month in cash, {amount(capacity)} as capacity for other work."
    return element(
        "section",
        element("h2", "Largest savings" if first else "Savings"),
        element("p", sums if first else "No savings found.", f" {window}"),
        element("ol", map(_finding, first), class_="savings") if first else None,
        element(
            "details",
            element("summary", f"{len(others)} more: {amount(per_month(others))} a month"),
            element("ol", map(_finding, others), class_="savings", start=FIRST_SAVINGS + 1),
        )
        if others
        else None,
        element("p", f"{len(rest)} smaller ones: {amount(per_month(rest))} a month.") if rest else None,
        element("p", "Assumptions: ", element("code", "inference-cost-exporter advise"), class_="quiet"),
    )


def _finding(finding: Saving) -> Element:
    there = link(finding.server)
    money = estimated_amount(per_month((finding,)), estimated=finding.price_basis == "estimate")
    return element(
        "li",
        element("strong", money),
        " a month: ",
        element("a", name(subject(finding)), href=there),
        " ",
        name(predicate(finding)),
        element(
            "small",
            f"{OBSTACLES[finding.obstacle]} ",
            name(f"{evidence(finding, dollars_text)}."),
            f" {ESTIMATED}" if finding.price_basis == "estimate" else None,
            f" Kind: {finding.kind}.",
        ),
    )


def _charts(summary: Summary) -> Iterator[Element]:
    line = summary.month
    month = "The month" if line is None else local(line.end - 1, summary.zone, "%B %Y")
    for heading, drawing in (
        ("Last 24 hours and this one", charts.day(summary)),
        (month, charts.month(summary)),
        ("Daily cost", month_days(summary)),
    ):
        if drawing is not None:
            yield element("section", element("h2", heading), drawing)

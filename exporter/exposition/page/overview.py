"""The host's page: four figures, two drawings, three tables, and before them what to know."""

from collections.abc import Iterator
from math import ceil

from exporter.exposition.page import charts, tables
from exporter.exposition.page.element import Content, Element, element
from exporter.exposition.page.layout import EXPLAIN, figure, name
from exporter.exposition.summary import Summary
from exporter.exposition.wording import (
    UNKNOWN,
    amount,
    local,
    share,
    timestamp,
)


def overview(summary: Summary) -> Iterator[Content]:
    """What stands in `main`."""
    yield _part("notes", _notes(summary))
    yield _part("figures", element("dl", _cards(summary), class_="cards"))
    yield _part("charts", element("div", _charts(summary), class_="charts"))
    yield _part("servers", tables.servers(summary))
    yield _part("gpus", tables.gpus(summary))
    yield _part("components", tables.components(summary))
    if summary.ledger is not None:
        yield element("p", f"Ledger {summary.ledger}.", class_="quiet")


def about(summary: Summary) -> Iterator[Content]:
    """When, and of what."""
    yield name(summary.host) if summary.host else "This host"
    yield " alone, read at "
    yield element(
        "time", local(summary.taken, summary.zone, "%Y-%m-%d %H:%M:%S %Z"), datetime=timestamp(summary.taken)
    )
    yield "."


def _part(of: str, content: Content) -> Element:
    return element("div", content, data_part=of)


def _notes(summary: Summary) -> Element | None:
    if not summary.notes:
        return None
    return element(
        "div", element("ul", (element("li", note) for note in summary.notes)), class_="notes", role="status"
    )


def _cards(summary: Summary) -> Iterator[Element]:
    rate, run_rate = summary.dollars_per_hour, summary.run_rate_dollars
    yield _card(
        "Now",
        _figure(rate, "rate"),
        None if rate is None else element("span", " per hour"),
        "" if run_rate is None else f"{amount(run_rate)} a month at this rate",
    )
    month = summary.month_to_date_dollars
    awaited = _awaited(summary) if month is None else ""
    yield _card("This month so far", _figure(month, "month"), None, awaited or _passed(summary))
    yield _projection(summary)
    idle = summary.idle
    yield _card(
        "Idle, 24 h + this hour",
        UNKNOWN if idle is None else figure(share(idle.ratio), f"{EXPLAIN}#idle"),
        None,
        _awaited(summary) if idle is None else f"{amount(idle.idle_dollars)} of {amount(idle.dollars)}",
    )


def _card(term: str, big: Content, unit: Content, more: Content, *, over: bool = False) -> Element:
    return element(
        "div",
        element("dt", term),
        element("dd", big, unit, class_="big"),
        element("dd", more, class_="over" if over else "more") if more else None,
        class_="card",
    )


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
    return _card("Projected for the month", _figure(end, "projection"), None, awaited or words, over=over)


def _awaited(summary: Summary) -> str:
    """What figures wait for that no time was charged for yet."""
    if summary.first_money is None:
        return ""
    left = ceil(summary.first_money)
    return f"known after the next tick, in {left} s" if left else "known after the next tick, which is due"


def _passed(summary: Summary) -> str:
    line = summary.month
    if line is None:
        return ""
    if line.start is None:
        return line.name
    passed = share((summary.taken - line.start) / (line.end - line.start))
    return f"{local(line.end - 1, summary.zone, '%B %Y')}, {passed} of it passed"


def _figure(dollars: float | None, of: str) -> Content:
    return UNKNOWN if dollars is None else figure(amount(dollars), f"{EXPLAIN}#{of}")


def _charts(summary: Summary) -> Iterator[Element]:
    for heading, drawing in (
        ("The last 24 hours and this one", charts.day(summary)),
        ("The month", charts.month(summary)),
    ):
        if drawing is not None:
            yield element("section", element("h2", heading), drawing)

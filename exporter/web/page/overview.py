"""The host's page: notes, four figures, two charts, tables and what could be saved."""

from collections.abc import Callable, Iterator
from math import ceil
from typing import Final, TypeVar

from exporter.cost.postings import UNASSIGNED, CostOwner
from exporter.cost.quotients import FEWEST_TOKENS
from exporter.cost.saving_text import ESTIMATED, OBSTACLES, evidence, predicate, subject
from exporter.cost.savings import Saving
from exporter.cost.split import MEANING
from exporter.metrics.money import FINDINGS_MAX
from exporter.readings import ServerKey
from exporter.units import (
    NANOSECONDS_PER_DAY,
    NANOSECONDS_PER_HOUR,
    NANOSECONDS_PER_MINUTE,
    NANOSECONDS_PER_SECOND,
    Instant,
)
from exporter.web.page import charts
from exporter.web.page.layout import EXPLAIN, Content, Element, element, figure, link, name, table
from exporter.web.summary import (
    UNALLOCATED_KEY,
    ComponentSummary,
    GpuSummary,
    ServerSummary,
    Summary,
    per_month,
)
from exporter.web.wording import (
    ABSENT,
    UNKNOWN,
    amount,
    count,
    dollars_text,
    local,
    price_source,
    rounded,
    share,
    timestamp,
)

T = TypeVar("T")

UNITS: Final = (("d", NANOSECONDS_PER_DAY), ("h", NANOSECONDS_PER_HOUR), ("min", NANOSECONDS_PER_MINUTE))

SERVERS: Final = (
    ("Server", False),
    ("GPUs", True),
    ("$ per hour", True),
    ("Busy", True),
    ("Tokens, 24 h + this hour", True),
    ("$ per million, all", True),
    ("$ per million, computed", True),
    ("Last token", True),
    ("Prefill share of busy cost", True),
)
GPUS: Final = (
    ("GPU", False),
    ("Holder", False),
    ("$ per hour", True),
    ("Price source", False),
    ("Watts", True),
    ("Utilization", True),
    ("Idle $ per hour", True),
)
COMPONENTS: Final = (("Component", False), ("$ per hour", True), ("$, 24 h + this hour", True))


def _servers(summary: Summary) -> Element:
    """Servers and models, and the meaning of the methods that split their busy dollars."""
    lines = summary.servers
    content: Content = element("p", "No server found.")
    if lines:
        content = table(
            "Servers. Busy share and cost per million tokens cover the last hour.",
            SERVERS,
            (_server(line, summary) for line in lines),
        )
    methods = {_method(line) for line in lines}
    return element(
        "section",
        element("h2", "Servers"),
        content,
        (
            element("p", f"Busy dollars are split by {method}: {meaning}.", class_="quiet")
            for method, meaning in MEANING.items()
            if method in methods
        ),
    )


def _server(line: ServerSummary, summary: Summary) -> Iterator[Content]:
    there = link(line.owner.key)
    yield element(
        "span",
        _named(line.owner.key),
        element("small", name(line.owner.model)) if line.owner.model else None,
        element("small", "for ", *_product_and_team(line.owner)) if line.owner.product else None,
        element("small", "does not answer", class_="over") if line.up is False else None,
    )
    yield _cell(line.gpus, _plain, f"{there}#holds")
    yield _cell(line.dollars_per_hour, amount, f"{there}#holds")
    due = ABSENT
    if summary.first_window is not None and line.dollars_per_hour:
        due = _in(summary.first_window)
    yield _cell(line.busy_ratio, share, f"{there}#models", due)
    yield _cell(line.tokens, count, f"{there}#tokens")
    if (line.tokens or 0) < FEWEST_TOKENS:
        due = ABSENT
    yield _cell(line.dollars_per_million_tokens, amount, f"{there}#models", due)
    yield _cell(line.dollars_per_million_computed_tokens, amount, f"{there}#models", due)
    yield _cell(line.last_token, lambda last: _ago(summary.taken, last), f"{there}#tokens")
    method = _method(line)
    prefill = _cell(line.prefill_ratio, share, f"{there}#models")
    yield ABSENT if method is None else element("span", prefill, element("small", f"by {method}"))


def _method(line: ServerSummary) -> str | None:
    """Method that splits its busy dollars, if it had any."""
    return None if line.busy_ratio == 0 else line.split_method


def _product_and_team(owner: CostOwner) -> Iterator[Content]:
    """The product, and the team if it is another name."""
    yield name(owner.product)
    if owner.team not in {"", UNASSIGNED, owner.product}:
        yield ", "
        yield name(owner.team)


def _gpus(summary: Summary) -> Element | None:
    if not summary.gpus:
        return None
    return element(
        "section",
        element("h2", "GPUs"),
        table("GPUs with their holders and cost per hour", GPUS, map(_gpu, summary.gpus)),
    )


def _gpu(line: GpuSummary) -> Iterator[Content]:
    row, price = line.row, line.price
    there = f"{EXPLAIN}#{anchor(line)}"
    yield element(
        "span",
        str(row.index) if row.index >= 0 else name(row.gpu.uuid),
        None if row.count == 1 else f" x {row.count}",
        element("small", name(row.gpu.gpu_model)),
        None
        if row.up
        else element("small", "cannot be read" if row.index >= 0 else "not listed", class_="over"),
    )
    yield element("span", _holders(line))
    yield _cell(line.dollars_per_hour, amount, there)
    if not row.priced or price is None:
        yield element("span", "no price", class_="over") if not row.priced else ABSENT
    else:
        origin = price.provenance
        yield element(
            "span",
            f"{price.component}, {origin.price_basis}",
            element("small", name(price_source(origin))),
        )
    yield _cell(line.watts, lambda watts: f"{rounded(watts, 0):,}", there)
    yield _cell(line.utilization_ratio, share, there)
    yield _cell(line.idle_dollars_per_hour, amount, there)


def anchor(line: GpuSummary) -> str:
    """The anchor of a GPU's price in the explanation of the host."""
    return f"gpu-{line.row.index}" if line.row.index >= 0 else "gpus"


def _holders(line: GpuSummary) -> Iterator[Content]:
    if not line.holders:
        yield "unallocated"
    for number, (key, ratio) in enumerate(line.holders):
        yield ", " if number else None
        yield _named(key)
        yield f" {share(ratio)}" if ratio < 1 else None


def _components(summary: Summary) -> Element | None:
    if not summary.components:
        return None
    return element(
        "section",
        element("h2", "Cost by component"),
        table("Components, all GPUs together", COMPONENTS, map(_component, summary.components)),
        element(
            "p",
            f"Not included: {amount(summary.fleet_dollars_per_hour)} an hour of fleet overheads.",
            class_="quiet",
        )
        if summary.fleet_dollars_per_hour
        else None,
    )


def _component(line: ComponentSummary) -> Iterator[Content]:
    there = f"{EXPLAIN}#rate"
    yield name(line.component)
    yield _cell(line.dollars_per_hour, amount, there)
    yield _cell(line.dollars, amount, f"{EXPLAIN}#idle")


def _savings(summary: Summary) -> Element | None:
    """A ranked list: no table, so that a sentence wraps on a phone."""
    savings = summary.savings
    if savings is None:
        return None
    shown, others = savings.findings[:FINDINGS_MAX], savings.findings[FINDINGS_MAX:]
    cash = per_month(finding for finding in savings.findings if finding.cash)
    capacity = per_month(finding for finding in savings.findings if not finding.cash)
    window = f"By {savings.hours} hours up to {local(savings.end, summary.zone, '%Y-%m-%d %H:%M %Z')}."
    sums = (
        f"At present prices: {amount(cash)} a month in cash, {amount(capacity)} as capacity for other work."
    )
    return element(
        "section",
        element("h2", "Savings"),
        element("p", sums if shown else "Nothing to save was found.", f" {window}"),
        element("ol", map(_finding, shown), class_="savings") if shown else None,
        element("p", f"{len(others)} more: {amount(per_month(others))} a month.") if others else None,
        element(
            "p", "What each assumes: ", element("code", "inference-cost-exporter advise"), class_="quiet"
        ),
    )


def _finding(finding: Saving) -> Element:
    there = link(finding.server)
    return element(
        "li",
        element("a", name(subject(finding)), href=there),
        " ",
        name(predicate(finding)),
        ": ",
        figure(amount(per_month((finding,))), there),
        " a month",
        element("small", f"{finding.kind}. {OBSTACLES[finding.obstacle]}"),
        element("small", name(f"{evidence(finding, dollars_text)}.")),
        element("small", ESTIMATED, class_="over") if finding.price_basis == "estimate" else None,
    )


def _named(key: ServerKey) -> Element:
    """A server's name, linked to its explanation."""
    word = "unallocated" if key == UNALLOCATED_KEY else key.name
    return element("a", name(word), href=link(key))


def _cell(value: T | None, form: Callable[[T], str], href: str, absent: str = ABSENT) -> Content:
    """A figure linked to its explanation; `absent` if it is unknown."""
    return absent if value is None else figure(form(value), href)


def _in(seconds: float) -> str:
    """When a figure will be known."""
    return f"in {ceil(seconds)} s" if seconds > 0 else "due"


def _plain(gpus: float) -> str:
    return f"{gpus:.2f}".rstrip("0").rstrip(".")


def _ago(now: Instant, then: Instant) -> str:
    """How long ago, in one unit."""
    past = max(0, now - then)
    for unit, size in UNITS:
        if past >= size:
            return f"{past // size} {unit} ago"
    return f"{past // NANOSECONDS_PER_SECOND} s ago"


def overview(summary: Summary) -> Iterator[Content]:
    """The content of `main`."""
    yield _part("notes", _notes(summary))
    yield _part("figures", element("dl", _cards(summary), class_="cards"))
    yield _part("charts", element("div", _charts(summary), class_="charts"))
    yield _part("servers", _servers(summary))
    yield _part("savings", _savings(summary))
    yield _part("gpus", _gpus(summary))
    yield _part("components", _components(summary))
    if summary.ledger is not None:
        yield element("p", f"Ledger {summary.ledger}.", class_="quiet")


def host_facts(summary: Summary) -> Iterator[Content]:
    """The host, and the time of its report."""
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
    yield _card("This month so far", _figure(month, "month"), None, awaited or _month_facts(summary))
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
    """When figures are known that need a first charge; empty if there was one."""
    if summary.first_money is None:
        return ""
    left = ceil(summary.first_money)
    return f"known after the next tick, in {left} s" if left else "known after the next tick, which is due"


def _month_facts(summary: Summary) -> str:
    """How much of the month has passed, and its mean day against that of the month before."""
    if summary.compared_months is None:
        return _passed(summary)
    before, now = summary.compared_months
    earlier = local(before.until - 1, summary.zone, "%B")
    return (
        f"{_passed(summary)}; {amount(now.dollars_per_day)} a day, "
        f"{earlier} {amount(before.dollars_per_day)} a day"
    )


def _passed(summary: Summary) -> str:
    """The month, and how much of it has passed."""
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

"""The tables of the host's page: servers, GPUs and components, each with its sum."""

from collections.abc import Callable, Iterable, Iterator
from math import ceil
from typing import Final, TypeVar

from exporter.cost.postings import UNASSIGNED, CostOwner
from exporter.cost.quotients import FEWEST_TOKENS
from exporter.cost.split import MEANING
from exporter.readings import ServerKey
from exporter.units import (
    NANOSECONDS_PER_DAY,
    NANOSECONDS_PER_HOUR,
    NANOSECONDS_PER_MINUTE,
    NANOSECONDS_PER_SECOND,
    Instant,
)
from exporter.web.page.layout import EXPLAIN, Content, Element, element, estimated_amount, link, name, table
from exporter.web.summary import (
    UNALLOCATED_KEY,
    ComponentSummary,
    GpuSummary,
    ServerSummary,
    Summary,
    total,
)
from exporter.web.wording import ABSENT, amount, count, price_source, rounded, share

T = TypeVar("T")

UNITS: Final = (("d", NANOSECONDS_PER_DAY), ("h", NANOSECONDS_PER_HOUR), ("min", NANOSECONDS_PER_MINUTE))

AFTER_SERVERS: Final = "gpus"
"""Anchor of what follows the servers."""

SHOWN: Final = 10
"""Rows of servers above the fold, and links that need no way past them."""

FEWEST_FOLDED: Final = 3
"""Fewer rows than these are not worth a checkbox."""

SERVERS: Final = (
    ("Server", False),
    ("$ per hour", True),
    ("GPUs", True),
    ("Busy", True),
    ("Tokens", True),
    ("$ per million", True),
    ("$ per million computed", True),
    ("Last token", True),
    ("Prefill", True),
    ("Model", False),
    ("Product, team", False),
)
GPUS: Final = (
    ("GPU", False),
    ("$ per hour", True),
    ("Idle $ per hour", True),
    ("Utilization", True),
    ("Watts", True),
    ("Held by", False),
    ("Price", False),
)
COMPONENTS: Final = (("Component", False), ("$ per hour", True), ("$, last day", True))


def servers(summary: Summary) -> Element:
    """Servers and models by cost, and the meaning of the methods that split their busy dollars."""
    lines = sorted(
        summary.servers,
        key=lambda line: (line.dollars_per_hour is None, -(line.dollars_per_hour or 0.0), line.owner),
    )
    if not lines:
        return element("p", "No server found.")
    methods = {_method(line) for line in lines}
    folded = lines[SHOWN:] if len(lines) >= SHOWN + FEWEST_FOLDED else []
    return element(
        "div",
        element("a", "Skip the servers", href=f"#{AFTER_SERVERS}", class_="skip")
        if len(lines) > SHOWN and summary.gpus
        else None,
        table(
            "Servers by cost. Busy and $ per million tokens: last 60 minutes. Tokens: 24 hours and this one.",
            SERVERS,
            (_server(line, summary, several_methods=len(methods - {None}) > 1) for line in lines),
            total=_servers_total(summary),
            keys=map(_sort_key, lines),
            folded=SHOWN if folded else None,
        ),
        _fold(folded) if folded else None,
        (
            element("p", f"Prefill share of busy cost, split by {method}: {meaning}.", class_="quiet")
            for method, meaning in MEANING.items()
            if method in methods
        ),
    )


def _fold(lines: Iterable[ServerSummary]) -> Element:
    """The checkbox that shows the rows below the fold, with their number and cost; it needs no script."""
    lines = tuple(lines)
    hourly = _cell(
        _sum(line.dollars_per_hour for line in lines), _money(estimated=any(line.estimated for line in lines))
    )
    return element(
        "p",
        element(
            "label",
            element("input", type="checkbox", id="unfolded", data_above=SHOWN),
            f" Show {len(lines)} more rows, ",
            element("span", hourly),
            " per hour",
        ),
        class_="unfold",
    )


def _servers_total(summary: Summary) -> Iterator[Content]:
    every = summary.servers_total
    if every is None:
        return
    yield f"All {every.servers}" if every.servers > 1 else "Total"
    yield _cell(every.dollars_per_hour, _money(estimated=summary.estimated_dollars_per_hour is not None))
    yield _cell(every.gpus, _plain)
    yield _cell(every.busy_ratio, share)
    yield _cell(every.tokens, count)
    yield from [None] * (len(SERVERS) - 5)


def _server(line: ServerSummary, summary: Summary, *, several_methods: bool) -> Iterator[Content]:
    """Cells of a row; the method of its split where servers differ in it."""
    money = _money(estimated=line.estimated)
    yield element(
        "span",
        _named(line.owner.key),
        element("small", "no answer", class_="over") if line.up is False else None,
    )
    yield _cell(line.dollars_per_hour, money)
    yield _cell(line.gpus, _plain)
    due = ABSENT
    if summary.first_window is not None and line.dollars_per_hour:
        due = _in(summary.first_window)
    yield _cell(line.busy_ratio, share, due)
    yield _cell(line.tokens, count)
    if (line.tokens or 0) < FEWEST_TOKENS:
        due = ABSENT
    yield _cell(line.dollars_per_million_tokens, money, due)
    yield _cell(line.dollars_per_million_computed_tokens, money, due)
    yield _cell(line.last_token, lambda last: _ago(summary.taken, last))
    method = _method(line)
    by = f" by {method}" if several_methods else ""
    yield ABSENT if method is None else f"{_cell(line.prefill_ratio, share)}{by}"
    yield name(line.owner.model) if line.owner.model else ABSENT
    yield element("span", _product_and_team(line.owner))


def _sort_key(line: ServerSummary) -> str:
    """The figures of a row's columns, `-` for an unknown one; the script sorts and sums by them."""
    figures = (
        line.dollars_per_hour,
        line.gpus,
        line.busy_ratio,
        line.tokens,
        line.dollars_per_million_tokens,
        line.dollars_per_million_computed_tokens,
        None if line.last_token is None else line.last_token // NANOSECONDS_PER_SECOND,
        None if _method(line) is None else line.prefill_ratio,
    )
    return " ".join("-" if figure is None else f"{figure:.12g}" for figure in figures)


def _method(line: ServerSummary) -> str | None:
    """Method that splits its busy dollars, if it had any."""
    return None if line.busy_ratio == 0 else line.split_method


def _product_and_team(owner: CostOwner) -> Iterator[Content]:
    """The product, and the team if it is another name."""
    if owner.product in {"", UNASSIGNED}:
        yield ABSENT if not owner.product else UNASSIGNED
    else:
        yield name(owner.product)
    if owner.team not in {"", UNASSIGNED, owner.product}:
        yield ", "
        yield name(owner.team)


def gpus(summary: Summary) -> Element | None:
    """GPUs in the driver's order, with their sum; `None` without any."""
    lines = summary.gpus
    if not lines:
        return None
    number = sum(line.row.count for line in lines)
    hourly = _sum(line.dollars_per_hour for line in lines)
    idle = _sum(line.idle_dollars_per_hour for line in lines)
    watts = _sum(line.watts for line in lines)
    every = (
        f"All {number}" if number > 1 else "Total",
        _cell(hourly, _money(estimated=any(line.estimated for line in lines))),
        _cell(idle, _money(estimated=any(line.estimated for line in lines))),
        None,
        _cell(watts, _watts),
        None,
        None,
    )
    return element(
        "section",
        element("h2", "GPUs"),
        table("GPUs: cost now, idle part, and who holds them", GPUS, map(_gpu, lines), total=every),
        element("p", element("a", "Prices of each GPU", href=f"{EXPLAIN}#gpus"), class_="quiet"),
        id=AFTER_SERVERS,
    )


def _gpu(line: GpuSummary) -> Iterator[Content]:
    row, price = line.row, line.price
    money = _money(estimated=line.estimated)
    yield element(
        "span",
        str(row.index) if row.index >= 0 else name(row.gpu.uuid),
        None if row.count == 1 else f" x {row.count}",
        " ",
        element("small", name(row.gpu.gpu_model)),
        None
        if row.up
        else element("small", " cannot be read" if row.index >= 0 else " not listed", class_="over"),
    )
    yield _cell(line.dollars_per_hour, money)
    yield _cell(line.idle_dollars_per_hour, money)
    yield _cell(line.utilization_ratio, share)
    yield _cell(line.watts, _watts)
    yield element("span", _holders(line))
    if not row.priced or price is None:
        yield element("span", "no price", class_="over") if not row.priced else ABSENT
    else:
        origin = price.provenance
        yield element(
            "span",
            f"{price.component}, {origin.price_basis} ",
            element("small", name(price_source(origin))),
        )


def anchor(line: GpuSummary) -> str:
    """The anchor of a GPU's price in the explanation of the host."""
    return f"gpu-{line.row.index}" if line.row.index >= 0 else "gpus"


def _holders(line: GpuSummary) -> Iterator[Content]:
    if not line.holders:
        yield element("span", "unallocated", class_="over")
    for number, (key, ratio) in enumerate(line.holders):
        yield ", " if number else None
        yield name(_word(key))
        yield f" {share(ratio)}" if ratio < 1 else None


def components(summary: Summary) -> Element | None:
    """Components, the most expensive first; `None` without any."""
    if not summary.components:
        return None
    lines = summary.components
    hourly = _sum(line.dollars_per_hour for line in lines)
    return element(
        "section",
        element("h2", "Cost by component"),
        table(
            "Components of all GPUs. Last day: 24 hours and this one.",
            COMPONENTS,
            map(_component, lines),
            total=(
                "Total",
                _cell(hourly, _money(estimated=any(line.estimated for line in lines))),
                _cell(_sum(line.dollars for line in lines), amount),
            ),
        ),
        element(
            "p",
            f"Not included: {amount(summary.fleet_dollars_per_hour)} an hour of fleet overheads.",
            class_="quiet",
        )
        if summary.fleet_dollars_per_hour
        else None,
    )


def _component(line: ComponentSummary) -> Iterator[Content]:
    yield name(line.component)
    yield _cell(line.dollars_per_hour, _money(estimated=line.estimated))
    yield _cell(line.dollars, amount)


def _named(key: ServerKey) -> Element:
    """A server's name, linked to its explanation."""
    return element("a", name(_word(key)), href=link(key))


def _word(key: ServerKey) -> str:
    return "unallocated" if key == UNALLOCATED_KEY else key.name


def _cell(value: T | None, form: Callable[[T], str], absent: str = ABSENT) -> str:
    return absent if value is None else form(value)


def _sum(figures: Iterable[float | None]) -> float | None:
    """The sum of those that are known."""
    return total(figure for figure in figures if figure is not None)


def _money(*, estimated: bool) -> Callable[[float], str]:
    return lambda dollars: estimated_amount(dollars, estimated=estimated)


def _in(seconds: float) -> str:
    """When a figure will be known."""
    return f"in {ceil(seconds)} s" if seconds > 0 else "due"


def _plain(gpus: float) -> str:
    return f"{gpus:.2f}".rstrip("0").rstrip(".")


def _watts(watts: float) -> str:
    return f"{rounded(watts, 0):,}"


def _ago(now: Instant, then: Instant) -> str:
    """How long ago, in one unit."""
    past = max(0, now - then)
    for unit, size in UNITS:
        if past >= size:
            return f"{past // size} {unit} ago"
    return f"{past // NANOSECONDS_PER_SECOND} s ago"

"""The host's page, and the pages that explain its figures, by the templates beside this file.

Each page is one document with its style and script, and loads nothing else. Imported with the first request
of a page.
"""

from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from importlib.resources import files
from typing import Any, Final, TypeVar
from urllib.parse import quote, unquote_to_bytes

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from exporter.advice.explanation import Explanation, ExplanationError
from exporter.advice.kinds import ESTIMATED, OBSTACLES, evidence, predicate, subject
from exporter.cost.postings import PHASES, UNASSIGNED
from exporter.cost.quotients import FEWEST_TOKENS
from exporter.cost.split import MEANING
from exporter.metrics.money import FINDINGS_MAX
from exporter.readings import KINDS, ServerKey, printable
from exporter.report import Build, Report
from exporter.units import NANOSECONDS_PER_HOUR, TOKENS_PER_MILLION, Nanoseconds, dollars
from exporter.web import explanation as explanations
from exporter.web.explanation import explain_server
from exporter.web.notes import SERVER
from exporter.web.page import charts, tables
from exporter.web.page.calendar import month_days
from exporter.web.summary import UNALLOCATED_KEY, per_month, summarize
from exporter.web.wording import (
    ABSENT,
    UNKNOWN,
    amount,
    count,
    dollars_text,
    local,
    price_source,
    share,
    six,
    timestamp,
)

__all__ = ["HEADERS", "explanation", "page"]

NAME: Final = "Inference Cost Exporter"

EXPLAIN: Final = "explain/"
"""Path of explanations, relative to the page."""

UP: Final = "../"
"""Path from an explanation to the page: a proxy may serve both below another path."""

_TEMPLATES: Final = files("exporter.web.page") / "templates"
_STYLE: Final = (_TEMPLATES / "page.css").read_text(encoding="utf-8")
_SCRIPT: Final = (_TEMPLATES / "page.js").read_text(encoding="utf-8")
_ICON: Final = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
    "%3Crect width='16' height='16' rx='4' fill='%232b7a8c'/%3E"
    "%3Cpath d='M4 11V8m4 3V5m4 6V7' stroke='white' stroke-width='2'/%3E%3C/svg%3E"
)


def _hash(part: str) -> str:
    return f"'sha256-{b64encode(sha256(part.encode()).digest()).decode()}'"


HEADERS: Final = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src {_hash(_STYLE)}; script-src {_hash(_SCRIPT)}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}
"""Allow our style, our script and the icon in the page; nothing else is loaded, sent or framed."""


def page(report: Report | None, elapsed: Nanoseconds, build: Build) -> bytes:
    """The host's page at a moment of boot time; the report is `None` before the first tick."""
    if report is None:
        return _rendered("document.html", build=build, root="")
    summary = summarize(report, elapsed)
    return _rendered(
        "host.html",
        build=build,
        root="",
        summary=summary,
        day=charts.day(summary),
        month=charts.month(summary),
        weeks=month_days(summary),
    )


def explanation(report: Report, elapsed: Nanoseconds, wanted: str, build: Build) -> bytes | None:
    """The explanation of a server named in the address, or of the host if the name is empty.

    `None`: there is no such server.
    """
    try:
        server = unquote_to_bytes(wanted).decode(errors="surrogatepass")
    except UnicodeDecodeError:
        return None
    summary = summarize(report, elapsed)
    if not server:
        return _rendered("host_explained.html", build=build, root=UP, summary=summary, report=report)
    try:
        explained = explain_server(report, server)
    except ExplanationError:
        return None
    if report.totals is None:
        explained = None
    return _rendered(
        "server_explained.html",
        build=build,
        root=UP,
        summary=summary,
        server=server,
        explained=explained,
        history=None if report.totals is None else report.totals.history,
    )


def explanation_text(explained: Explanation) -> str:
    """An explanation for a terminal."""
    return _ENVIRONMENT.get_template("explanation.txt").render(explained=explained)


def link(key: ServerKey) -> str:
    """The address of a server's explanation, relative to the page."""
    name = key.name
    if name in {"", ".", ".."}:  # a browser would resolve it as a folder
        name = f"/{name}"
    return f"{EXPLAIN}{quote(name.encode(errors='surrogatepass'), safe='')}"


def _rendered(template: str, **context: Any) -> bytes:
    return _ENVIRONMENT.get_template(template).render(context).encode(errors="replace")


T = TypeVar("T")


def _known(form: Callable[[T], str]) -> Callable[..., str]:
    """A filter that writes a value, and what stands for an unknown one."""

    def written(value: T | None, absent: str = ABSENT) -> str:
        return absent if value is None else form(value)

    return written


_FILTERS: Final[dict[str, Callable[..., Any]]] = {
    "ago": tables.ago,
    "amount": _known(amount),
    "count": _known(count),
    "dollars": dollars,
    "due": tables.due,
    "evidence": lambda finding: evidence(finding, dollars_text),
    "gpus": _known(tables.plain),
    "hours": lambda duration, digits=2: f"{duration / NANOSECONDS_PER_HOUR:,.{digits}f}",
    "known_sum": tables.known_sum,
    "by_phase": tables.by_phase,
    "link": link,
    "local": local,
    "millions": lambda tokens: f"{tokens / TOKENS_PER_MILLION:,.6f}",
    "money": tables.money,
    "monthly": lambda finding: per_month((finding,)),
    "predicate": predicate,
    "of_servers": lambda sources: [row for row in sources if row.source.startswith(SERVER)],
    "phases": tables.phases,
    "price_source": price_source,
    "prices": tables.prices,
    "printable": printable,
    "sentence": lambda words: f"{words[:1].upper()}{words[1:]}",
    "server_word": lambda key: "unallocated" if key == UNALLOCATED_KEY else key.name,
    "servers_by_cost": tables.servers_by_cost,
    "share": _known(share),
    "six": six,
    "sort_key": tables.sort_key,
    "split_method": tables.split_method,
    "split_methods": lambda lines: {tables.split_method(line) for line in lines} - {None},
    "subject": subject,
    "sum_monthly": per_month,
    "timestamp": timestamp,
    "watts": _known(tables.watts),
}

_ENVIRONMENT: Final = Environment(
    loader=PackageLoader("exporter.web.page"),
    autoescape=select_autoescape(["html"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
_ENVIRONMENT.filters |= _FILTERS
_ENVIRONMENT.globals |= {
    "ABSENT": ABSENT,
    "CURVE": charts.CURVE,
    "ESTIMATED": ESTIMATED,
    "ESTIMATE_SIGN": tables.ESTIMATE_SIGN,
    "FEWEST_TOKENS": FEWEST_TOKENS,
    "FINDINGS_MAX": FINDINGS_MAX,
    "HEIGHT": charts.HEIGHT,
    "HOUR": NANOSECONDS_PER_HOUR,
    "ICON": _ICON,
    "MEANING": MEANING,
    "MILLION": TOKENS_PER_MILLION,
    "NAME": NAME,
    "NO_MODEL": explanations.NO_MODEL,
    "OBSTACLES": OBSTACLES,
    "KINDS": KINDS,
    "PHASES": PHASES,
    "SCRIPT": Markup(_SCRIPT),  # noqa: S704 - our own file
    "STYLE": Markup(_STYLE),  # noqa: S704 - our own file
    "UNASSIGNED": UNASSIGNED,
    "UNKNOWN": UNKNOWN,
    "explanations": explanations,
}

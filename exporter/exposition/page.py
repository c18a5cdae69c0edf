"""The page at `/`: one file, no script, nothing loaded from anywhere."""

from base64 import b64encode
from collections.abc import Collection, Iterable
from hashlib import sha256
from html import escape
from typing import Final

from exporter.cost.split import MEANING
from exporter.exposition.summary import ServerLine, Summary
from exporter.exposition.wording import amount, timestamp
from exporter.report import Build

NAME: Final = "Inference Cost Exporter"

_STYLE: Final = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 64rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; }
dl { display: flex; flex-wrap: wrap; gap: 1rem 3rem; }
dt { opacity: .75; }
dd { font-size: 1.8rem; margin: 0; }
table { border-collapse: collapse; min-width: 48rem; width: 100%; }
caption { font-weight: bold; padding: .5rem 0; text-align: left; }
th, td { border-bottom: 1px solid #8886; padding: .3rem .6rem; text-align: left; vertical-align: top; }
th, td { max-width: 20rem; overflow-wrap: break-word; }
dd, .number { font-variant-numeric: tabular-nums; }
.number { text-align: right; white-space: nowrap; }
.notes { border: 2px solid #b45309; border-radius: .3rem; margin: 1rem 0; padding: .5rem 1rem .5rem 2rem; }
.notes, footer { overflow-wrap: break-word; }
.over { border-bottom: .25rem solid #b45309; font-weight: bold; }
.table { overflow-x: auto; }
"""

_STYLE_HASH: Final = b64encode(sha256(_STYLE.encode()).digest()).decode()

HEADERS: Final = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}

_UNKNOWN: Final = "not known"
_COLUMNS: Final = (
    ("Server", False),
    ("Model", False),
    ("Product", False),
    ("State", False),
    ("GPUs", True),
    ("$ per hour", True),
    ("$ per million tokens", True),
    ("Prefill of busy $", True),
    ("Split by", False),
)


def page(summary: Summary | None, build: Build) -> bytes:
    """The whole document; `None` before the first tick. Every text from outside is escaped."""
    body = "<p>The first tick has not been taken yet.</p>\n" if summary is None else _host(summary)
    text = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{NAME}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{NAME}</h1>\n{body}</main>\n<footer>\n"
        f"<p>Version {escape(build.version)}, revision {escape(build.revision or 'unknown')}.</p>\n"
        '<p><a href="metrics">Metrics</a> <a href="cost.json">cost.json</a> '
        '<a href="-/healthy">Health</a> <a href="-/ready">Readiness</a></p>\n'
        "</footer>\n</body>\n</html>\n"
    )
    return text.encode(errors="replace")


def _host(summary: Summary) -> str:
    spent, end, budget = summary.month_to_date_dollars, summary.projected_dollars, summary.budget_dollars
    over = end is not None and budget is not None and end > budget
    terms = (
        _figure("Spend now", _dollars(summary.dollars_per_hour, " per hour"))
        + _figure(f"Month to date{_of(summary.month)}", _dollars(spent))
        + _figure("Projected for the month", _dollars(end, ", over budget" if over else ""), over=over)
        + _figure("Budget of the fleet", _dollars(budget))
    )
    return (
        f"{_notes(summary.notes)}<dl>\n{terms}</dl>\n"
        f"<p>This host alone, read at {timestamp(summary.taken)}.</p>\n{_table(summary.servers)}"
    )


def _figure(name: str, value: str, *, over: bool = False) -> str:
    emphasis = ' class="over"' if over else ""
    return f"<div><dt>{escape(name)}</dt><dd{emphasis}>{escape(value)}</dd></div>\n"


def _notes(notes: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(note)}</li>\n" for note in notes)
    return f'<ul class="notes" role="status">\n{items}</ul>\n' if items else ""


def _table(lines: Collection[ServerLine]) -> str:
    rows = "".join(map(_row, lines))
    if not rows:
        return "<p>No server is known now.</p>\n"
    head = "".join(f'<th scope="col"{_class(number)}>{name}</th>' for name, number in _COLUMNS)
    return (
        '<div class="table" role="region" aria-label="Servers" tabindex="0"><table>\n'
        "<caption>Servers, the last hour's price per million tokens</caption>\n"
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n"
        f"{_methods(lines)}"
    )


def _methods(lines: Iterable[ServerLine]) -> str:
    """What the methods that split these servers' busy dollars are worth."""
    used = {line.split_method for line in lines}
    return "".join(
        f"<p>Busy dollars are split by {escape(method)}: {escape(meaning)}.</p>\n"
        for method, meaning in MEANING.items()
        if method in used
    )


def _row(line: ServerLine) -> str:
    party = line.party
    name = f"{party.namespace}/{party.server}" if party.namespace else party.server
    state = {True: "up", False: "does not answer", None: ""}[line.up]
    cells = [
        party.model,
        party.product,
        state,
        "" if line.gpus is None else f"{line.gpus:.2f}".rstrip("0").rstrip("."),
        _dollars(line.dollars_per_hour),
        _dollars(line.dollars_per_million_tokens),
        "" if line.prefill_ratio is None else f"{line.prefill_ratio:.0%}",
        line.split_method or "",
    ]
    data = (
        f"<td{_class(number)}>{escape(cell)}</td>"
        for cell, (_, number) in zip(cells, _COLUMNS[1:], strict=True)
    )
    return f'<tr><th scope="row">{escape(name)}</th>{"".join(data)}</tr>\n'


def _class(number: bool) -> str:  # noqa: FBT001  # the column's own flag
    return ' class="number"' if number else ""


def _of(month: str | None) -> str:
    return f" ({month})" if month else ""


def _dollars(dollars: float | None, unit: str = "") -> str:
    return _UNKNOWN if dollars is None else amount(dollars) + unit

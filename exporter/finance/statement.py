"""A statement as a table for people, as JSON and as CSV. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from exporter.finance import render
from exporter.finance.month import Statement
from exporter.finance.render import Form, ReportColumn, ReportTable
from exporter.ledger.adjustments import Adjustment
from exporter.readings import KINDS, printable
from exporter.reports.rounding import CENT, rounded
from exporter.units import dollars

_TOKENS: Final = tuple(f"{kind}_tokens" for kind in KINDS)

TEXT_COLUMNS: Final = (
    "dollars",
    "idle_dollars",
    "idle_ratio",
    "overhead_dollars",
    "dollars_with_overheads",
    "gpu_hours",
    *_TOKENS,
)
"""Columns for people, who read in the notes where money comes from."""

CSV_COLUMNS: Final = (
    *TEXT_COLUMNS,
    "estimated_dollars",
    "adjustment_dollars",
    "unpriced_gpu_hours",
    "to_date",
)

JSON_FIELDS: Final = (
    "dollars",
    "picodollars",
    "overhead_dollars",
    "overhead_picodollars",
    "dollars_with_overheads",
    "picodollars_with_overheads",
    "estimated_dollars",
    "adjustment_dollars",
    "idle_dollars",
    "idle_picodollars",
    "idle_ratio",
    "gpu_seconds",
    "unpriced_gpu_hours",
    *_TOKENS,
)


def sheet(statement: Statement, form: Form, width: int | None = None) -> str:
    """A statement in one of its forms."""
    if form == "table":
        return text(statement, width)
    return as_json(statement) if form == "json" else as_csv(statement)


def text(statement: Statement, width: int | None = None) -> str:
    """For people. Cents and ten thousandths of an hour sum to the last row."""
    head = f"{title(statement)}, ledger {statement.ledger}, as of {as_of(statement)}"
    return render.lines_text([head, "", *table(statement, width)])


def title(statement: Statement) -> str:
    """The name of its month, and whether that goes on."""
    return f"{statement.month} to date" if statement.to_date else statement.month


def as_of(statement: Statement) -> str:
    """The time of its last commit."""
    return render.time_text(statement.last_commit) or "never"


def table(statement: Statement, width: int | None = None) -> Iterator[str]:
    """Lines of its table and its notes; a table wider than `width` is in parts."""
    yield from _table(statement).text(TEXT_COLUMNS, width)
    yield ""
    yield from (f"{printable(note)}." for note in statement.notes)


def as_json(statement: Statement) -> str:
    """For machines, as `document` is."""
    return render.json_text(document(statement))


def document(statement: Statement) -> dict[str, Any]:
    """For machines. `picodollars` are exact; `dollars` are whole cents and sum to the total's."""
    rows, total = _table(statement).json(JSON_FIELDS)
    overheads = {}
    if statement.overheads is not None:
        amounts = statement.overheads.amounts
        cents = rounded(list(amounts.values()), CENT)
        parts = [
            {"name": name, "dollars": whole / 100, "picodollars": amount}
            for (name, amount), whole in zip(amounts.items(), cents, strict=True)
        ]
        overheads = {"fleet_overheads": {"rule": str(statement.overheads.rule), "rows": parts}}
    return {
        "report": statement.report,
        "month": statement.month,
        "to_date": statement.to_date,
        "ledger": statement.ledger or None,
        "last_commit": render.time_text(statement.last_commit),
        "rows": rows,
        "total": total,
        "adjustments": [_adjustment(adjustment) for adjustment in statement.adjustments],
        **overheads,
        "notes": statement.notes,
    }


def as_csv(statement: Statement, last: Mapping[str, str] | None = None) -> str:
    """For spreadsheets: one row a line and none for the total, so that sums are sums.

    `last` are columns at the end that have one value in all rows.
    """
    return _table(statement).csv(CSV_COLUMNS, {"month": statement.month}, last or {})


def _table(statement: Statement) -> ReportTable:
    """Lines of a statement, with the columns that it has."""
    lines = statement.lines
    amounts = [line.money for line in lines]
    money = render.cents_of(amounts)
    idle_amounts = [line.idle for line in lines]
    itemized = [line.itemized for line in lines]
    overhead_amounts = [line.overhead for line in lines]
    overhead = render.cents_of(overhead_amounts)
    columns = [
        ReportColumn("dollars", "cents", money, "dollars"),
        ReportColumn("picodollars", "picodollars", _with_total(amounts)),
        ReportColumn("adjustment_dollars", "cents", render.cents_of([line.adjusted for line in lines])),
        ReportColumn("to_date", "flag", [statement.to_date] * (len(lines) + 1)),
    ]
    if statement.estimated:
        estimated = render.cents_of([line.estimated for line in lines])
        columns.append(ReportColumn("estimated_dollars", "cents", estimated))
    if statement.idle:
        exact = _with_total(idle_amounts)
        ratios = [
            part / whole if whole else None for part, whole in zip(exact, _with_total(itemized), strict=True)
        ]
        columns += [
            ReportColumn("idle_dollars", "cents", render.cents_of(idle_amounts, money), "idle"),
            ReportColumn("idle_picodollars", "picodollars", exact),
            ReportColumn("idle_ratio", "ratio", ratios, "idle %"),
        ]
    if statement.overheads is not None:
        cents = [own + part for own, part in zip(money, overhead, strict=True)]
        whole = [line.money + line.overhead for line in lines]
        columns += [
            ReportColumn("overhead_dollars", "cents", overhead, "overheads"),
            ReportColumn("overhead_picodollars", "picodollars", _with_total(overhead_amounts)),
            ReportColumn("dollars_with_overheads", "cents", cents, "with overheads"),
            ReportColumn("picodollars_with_overheads", "picodollars", _with_total(whole)),
        ]
    if statement.gpu_time:
        gpu_time = _with_total([line.gpu_time for line in lines])
        unpriced = _with_total([line.unpriced for line in lines])
        columns += [
            ReportColumn("gpu_hours", "hours", gpu_time, "GPU-hours"),
            ReportColumn("gpu_seconds", "seconds", gpu_time),
            ReportColumn("unpriced_gpu_hours", "hours", unpriced),
        ]
    if statement.tokens:
        for kind, name in zip(KINDS, _TOKENS, strict=True):
            counts = _with_total([line.tokens.get(kind, 0) for line in lines])
            columns.append(ReportColumn(name, "count", counts, name.replace("_", " ")))
    return ReportTable(
        labels=statement.columns,
        rows=[line.labels for line in lines],
        columns={column.name: column for column in columns},
    )


def _with_total(values: list[int]) -> list[int]:
    return [*values, sum(values)]


def _adjustment(adjustment: Adjustment) -> dict[str, Any]:
    """`posted` is null while it waits for the daemon; it is then in no row."""
    of_ledger = {"ledger": adjustment.ledger} if adjustment.ledger else {}
    return {
        **of_ledger,
        "number": adjustment.number,
        "date": adjustment.day,
        "product": adjustment.product,
        "team": adjustment.team,
        "dollars": dollars(adjustment.amount),
        "picodollars": adjustment.amount,
        "reason": adjustment.reason,
        "entered": render.time_text(adjustment.entered),
        "posted": render.time_text(adjustment.posted),
    }

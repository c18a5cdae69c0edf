"""A statement as a table, JSON, CSV and XLSX. Of a fleet, what is missing comes first. Pure."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

from exporter.finance import render
from exporter.finance.fleet import missing
from exporter.finance.fleet.record import FleetMonth, names_text
from exporter.finance.render import Form, ReportColumn, ReportTable
from exporter.finance.statements import Statement
from exporter.readings import KINDS, printable
from exporter.reports.rounding import CENT, dollars_text, hours_text, rounded
from exporter.units import NANOSECONDS_PER_HOUR, dollars

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


def sheet(statement: Statement, form: Form, width: int | None = None, fleet: FleetMonth | None = None) -> str:
    """A statement in one of its forms. `fleet` is the one whose record it is of.

    CSV has no place for what is missing of a fleet but a count in each row: print that elsewhere.
    """
    if form == "json":
        return as_json(statement, fleet)
    return text(statement, width, fleet) if form == "table" else as_csv(statement, fleet)


def text(statement: Statement, width: int | None = None, fleet: FleetMonth | None = None) -> str:
    """For people. Cents and ten thousandths of an hour sum to the last row; a wide table is in parts."""
    lines: list[str] = []
    title = f"{statement.month} to date" if statement.to_date else statement.month
    as_of = f"as of {render.time_text(statement.last_commit) or 'never'}"
    if fleet is None:
        lines.append(f"{title}, ledger {statement.ledger}, {as_of}")
    else:
        ledgers = "one ledger" if len(fleet.hosts) == 1 else f"{len(fleet.hosts):,} ledgers"
        without = f" ({fleet.without:,} more have nothing of it)" if fleet.without else ""
        lines.append(f"{title}, {ledgers}{without}, time zone {fleet.zone.key}, {as_of}")
        lines.append("")
        lines += missing.section(fleet)
    lines.append("")
    lines += _table(statement).text(TEXT_COLUMNS, width)
    lines.append("")
    lines += (f"{printable(note)}." for note in statement.notes)
    if fleet is None:
        return render.lines_text(lines)
    ended, hours, amount = missing.until_end(fleet)
    if ended:
        lines.append("")
        lines.append(
            f"until its end: {hours_text(hours)} hours of {ended:,} hosts, {dollars_text(amount)} dollars at "
            "their last rate, which are not in the total."
        )
    if count := fleet.apportioned:
        divided = "one ledger" if count == 1 else f"{count:,} ledgers"
        lines.append("")
        lines.append(f"APPORTIONED: {divided} known from Prometheus only, divided as counters rose;")
        lines.append("only dollars by product, team and price basis are to the cent there.")
    if remind := missing.reminder(fleet):
        lines.append("")
        lines.append(remind)
    return render.lines_text(lines)


def as_json(statement: Statement, fleet: FleetMonth | None = None) -> str:
    """For machines. `picodollars` are exact; `dollars` are whole cents and sum to the total's.

    `missing` names what is missing of a fleet or doubtful in it, and `hosts` sum to its total.
    """
    rows, total = _table(statement).json(JSON_FIELDS)
    document: dict[str, Any] = {
        "report": statement.kind,
        "month": statement.month,
        "to_date": statement.to_date,
    }
    if fleet is None:
        document["ledger"] = statement.ledger or None
    else:
        ended, hours, amount = missing.until_end(fleet)
        document |= {
            "time_zone": fleet.zone.key,
            "ledgers": len(fleet.hosts),
            "ledgers_without_the_month": fleet.without,
            "incomplete_hosts": missing.incomplete_hosts(fleet),
            "apportioned_hosts": fleet.apportioned,
            "until_end": {
                "hosts": ended,
                "hours": hours / NANOSECONDS_PER_HOUR,
                **render.money_json(amount),
            },
            "missing": missing.missing_json(fleet),
            "hosts": missing.hosts_json(fleet),
        }
    document |= {
        "last_commit": render.time_text(statement.last_commit),
        "rows": rows,
        "total": total,
        "adjustments": [
            {
                **({"ledger": each.ledger} if each.ledger else {}),
                "number": each.number,
                "date": each.day,
                "product": each.product,
                "team": each.team,
                "dollars": dollars(each.amount),
                "picodollars": each.amount,
                "reason": each.reason,
                "entered": render.time_text(each.entered),
                "posted": render.time_text(each.posted),  # null while it waits for the daemon
            }
            for each in statement.adjustments
        ],
    }
    if statement.overheads is not None:
        amounts = statement.overheads.amounts
        cents = rounded(list(amounts.values()), CENT)
        parts = [
            {"name": name, "dollars": whole / 100, "picodollars": amount}
            for (name, amount), whole in zip(amounts.items(), cents, strict=True)
        ]
        document["fleet_overheads"] = {"rule": str(statement.overheads.rule), "rows": parts}
    return render.json_text({**document, "notes": statement.notes})


def as_csv(statement: Statement, fleet: FleetMonth | None = None) -> str:
    """For spreadsheets: one row a line and none for the total, so that sums are sums."""
    return _table(statement).csv(CSV_COLUMNS, {"month": statement.month}, _missing_cells(fleet))


def as_workbook(statement: Statement, fleet: FleetMonth | None = None) -> bytes:
    """As XLSX: the columns of CSV, and a row of totals.

    Raises:
        WorkbookError: it cannot be made, for the reason that the message says.
    """
    return _table(statement).workbook(CSV_COLUMNS, {"month": statement.month}, _missing_cells(fleet))


def _missing_cells(fleet: FleetMonth | None) -> dict[str, Decimal | int | str]:
    """Columns of what is missing of a fleet, which have the same value in each row."""
    if fleet is None:
        return {}
    unread = missing.unread_files(fleet)
    _hosts, hours, amount = missing.until_end(fleet)
    return {
        "incomplete_hosts": missing.incomplete_hosts(fleet),
        "apportioned": "true" if fleet.apportioned else "false",
        "files_not_read": names_text(unread) if unread else "",
        "until_end_hours": Decimal(hours_text(hours).replace(",", "")),
        "until_end_dollars": Decimal(dollars_text(amount).replace(",", "")),
    }


def _table(statement: Statement) -> ReportTable:
    """Lines of a statement, with the columns that it has."""
    lines = statement.lines

    def values(name: str) -> list[int]:
        return [getattr(line, name) for line in lines]

    money, idle, overhead = values("money"), values("idle"), values("overhead")
    cents, overhead_cents = rounded(money, CENT), rounded(overhead, CENT)
    columns = [
        ReportColumn("dollars", "cents", cents, "dollars"),
        ReportColumn("picodollars", "picodollars", money),
        ReportColumn("adjustment_dollars", "dollars", values("adjusted")),
        ReportColumn("to_date", "flag", [statement.to_date] * len(lines)),
    ]
    if statement.shows.estimated:
        columns.append(ReportColumn("estimated_dollars", "dollars", values("estimated")))
    if statement.shows.idle:
        parts = list(zip(idle, values("itemized"), strict=True))
        columns += [
            ReportColumn("idle_dollars", "cents", rounded(idle, CENT, cents), "idle"),
            ReportColumn("idle_picodollars", "picodollars", idle),
            ReportColumn("idle_ratio", "ratio", parts, "idle %"),
        ]
    if statement.overheads is not None:
        columns += [
            ReportColumn("overhead_dollars", "cents", overhead_cents, "overheads"),
            ReportColumn("overhead_picodollars", "picodollars", overhead),
            ReportColumn("dollars_with_overheads", "cents", _both(cents, overhead_cents), "with overheads"),
            ReportColumn("picodollars_with_overheads", "picodollars", _both(money, overhead)),
        ]
    if statement.shows.gpu_time:
        columns += [
            ReportColumn("gpu_hours", "hours", values("gpu_time"), "GPU-hours"),
            ReportColumn("gpu_seconds", "seconds", values("gpu_time")),
            ReportColumn("unpriced_gpu_hours", "hours", values("unpriced")),
        ]
    if statement.shows.tokens:
        for kind, name in zip(KINDS, _TOKENS, strict=True):
            counts = [line.tokens.get(kind, 0) for line in lines]
            columns.append(ReportColumn(name, "count", counts, name.replace("_", " ")))
    return ReportTable(statement.columns, [line.labels for line in lines], columns)


def _both(one: Sequence[int], other: Sequence[int]) -> list[int]:
    return [own + part for own, part in zip(one, other, strict=True)]

"""A host's bill against its books as a table for people and as JSON. Pure."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final

from exporter.finance.bill.bill_file import InvoiceForm
from exporter.finance.bill.charges import COSTS, CostColumn
from exporter.finance.bill.differences import ComparedDay, Difference, DifferenceKind
from exporter.finance.bill.host_bill import MOST_LISTED
from exporter.finance.bill.host_comparison import Reconciliation, Suggestion, hourly, hours
from exporter.finance.render import json_text, lines_text, money_json, time_text
from exporter.readings import printable
from exporter.reports.rounding import CENT, balanced, dollars_text, hundredths, rounded, ruled_table
from exporter.units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_SECOND, Picodollars, plain_dollars

RESOURCES_MAX: Final = 100
LONGEST_NAME: Final = 200

HEADINGS: Final[dict[str, str]] = {
    "price_catalogue": "price (catalogue)",
    "price_estimate": "price (estimate)",
}
"""Headings of columns that are not the words of their kind."""

WORDS: Final[dict[DifferenceKind, str]] = {
    "not_metered": "days without books: the host was not metered",
    "uncovered": "billed before the first tick of a boot, or while nothing metered",
    "beyond": "billed beyond the length of a day",
    "not_billed": "metered, and not on the bill",
    "unpriced": "metered without a price",
    "unobserved": "likely of hours that nobody watched, in which the bill knows whether the host was up",
    "price": "another price than configured",
    "price_catalogue": "another price than the catalogue's",
    "price_estimate": "another price than the estimate",
    "other_usage": "usage that is not charged by the hour",
    "refunds": "refunds and corrections of earlier bills",
    "credits": "credits",
    "taxes": "taxes",
    "purchases": "purchases and commitments",
    "corrections": "adjustments by the provider",
    "adjusted": "adjustments that the books have already",
    "unexplained": "unexplained",
}


def form_text(form: InvoiceForm, cost: CostColumn) -> str:
    """The form of a bill, and the column that is compared."""
    return f"FOCUS, {COSTS[cost]}" if form == "focus" else "dates and dollars"


def invoice_json(file: str, form: InvoiceForm, cost: CostColumn, rows: int) -> dict[str, Any]:
    """The file of a bill."""
    return {"file": file, "form": form, "cost": COSTS[cost] if form == "focus" else "dollars", "rows": rows}


def others_json(others: Mapping[str, Picodollars]) -> dict[str, Any]:
    """Components of the books that are not on the bill."""
    return {name: money_json(amount) for name, amount in sorted(others.items()) if amount}


def others_text(others: Mapping[str, Picodollars]) -> str:
    """Components of the books that are not on the bill."""
    return ", ".join(f"{printable(name)} {dollars_text(amount)}" for name, amount in sorted(others.items()))


def part_json(part: Difference, words: Mapping[DifferenceKind, str]) -> dict[str, Any]:
    """A part of a difference, with its kind in words."""
    seconds = None if part.time is None else part.time / NANOSECONDS_PER_SECOND
    return {"kind": part.kind, "words": words[part.kind], **money_json(part.amount), "seconds": seconds}


def as_text(
    reconciliation: Reconciliation, file: str, flags: Sequence[str] = (), width: int | None = None
) -> str:
    """For people. Each column sums to its last row, to the cent.

    `flags` say where the books are, for commands that are to find the same ones. A table wider than `width`
    is in parts.
    """
    record = reconciliation.ledger_month.record
    when = f"{record.month} to date" if reconciliation.to_date else record.month
    zone = "UTC" if reconciliation.calendar == "utc" else reconciliation.ledger_month.zone.key
    invoice = reconciliation.invoice
    of_all = "" if invoice.chosen.rows == invoice.rows else f" of {invoice.rows:,}"
    form = form_text(invoice.form, invoice.cost)
    as_of = time_text(record.last_commit) or "never"
    lines = [
        f"{when} by {reconciliation.by} of {zone}, ledger {record.ledger}, as of {as_of}",
        f"invoice {printable(file)}: {form}, {invoice.chosen.rows:,}{of_all} rows",
        f"compared with: {', '.join(sorted(reconciliation.ledger_month.components))}",
        "",
    ]
    cents = _cents(reconciliation)
    columns = [[reconciliation.by, *(row.name for row in reconciliation.rows), "total"]]
    for name, column in cents.items():
        columns.append([HEADINGS.get(name, name.replace("_", " ")), *map(hundredths, column)])
    headings, *rows, total = zip(*columns, strict=True)
    lines += [*ruled_table(headings, rows, total, width=width), ""]
    parts = reconciliation.total.parts
    lines.append(f"bill minus books is {hundredths(cents['difference'][-1])} dollars{':' if parts else '.'}")
    amounts = [hundredths(cents[part.kind][-1]) for part in parts]
    longest = max(map(len, amounts), default=0)
    for part, amount in zip(parts, amounts, strict=True):
        arithmetic = ""
        if part.time and part.posted is not None:
            billed = hourly(part.posted + part.amount, part.time)
            booked = hourly(part.posted, part.time)
            arithmetic = f": {billed} billed and {booked} in the books an hour, over {hours(part.time)} h"
        elif part.time:
            arithmetic = f": {hours(part.time)} h at {hourly(abs(part.amount), part.time)} an hour"
        lines.append(f"  {amount.rjust(longest)}  {WORDS[part.kind]}{arithmetic}")
    lines.append("")
    if reconciliation.others:
        lines.append(f"in the books and not on this bill: {others_text(reconciliation.others)} dollars.")
    lines += [f"{printable(note)}." for note in reconciliation.notes]
    if len(invoice.resources) > 1:
        lines += ["", "resources of the bill, * those compared:"]
        for key, resource in invoice.dearest(MOST_LISTED):
            mark = "*" if resource.chosen else " "
            description = " ".join(filter(None, (resource.service, resource.name)))
            words = f"{key or '(no resource)'}{f' ({description})' if description else ''}"
            cost = dollars_text(resource.counted.cost).rjust(12)
            lines.append(f"  {mark} {cost}  {printable(words)}")
        more = len(invoice.resources) - MOST_LISTED
        if more > 0:
            lines.append(f"  and {'at least ' if invoice.unlisted.rows else ''}{more:,} more")
    if reconciliation.suggestions:
        lines += ["", "if the bill is right, this makes the books agree with it:"]
        lines += [f"  {_command(each, reconciliation, file, flags)}" for each in reconciliation.suggestions]
    return lines_text(lines)


def as_json(reconciliation: Reconciliation, file: str, flags: Sequence[str] = ()) -> str:
    """For machines. `picodollars` are exact: those of `parts` sum to those of `difference`."""
    invoice = reconciliation.invoice
    document = {
        "report": "reconcile",
        "month": reconciliation.ledger_month.record.month,
        "to_date": reconciliation.to_date,
        "calendar": reconciliation.calendar,
        "timezone": reconciliation.ledger_month.zone.key,
        "by": reconciliation.by,
        "components": sorted(reconciliation.ledger_month.components),
        "ledger": reconciliation.ledger_month.record.ledger,
        "last_commit": time_text(reconciliation.ledger_month.record.last_commit),
        "invoice": {
            **invoice_json(file, invoice.form, invoice.cost, invoice.rows),
            "compared_rows": invoice.chosen.rows,
            "from": time_text(invoice.first),
            "to": time_text(invoice.last),
            "resources": [
                {
                    "resource": key,
                    "name": resource.name,
                    "service": resource.service,
                    "compared": resource.chosen,
                    "rows": resource.counted.rows,
                    **money_json(resource.counted.cost),
                }
                for key, resource in invoice.dearest(RESOURCES_MAX)
            ],
        },
        "rows": [_row(row) for row in reconciliation.rows],
        "total": _row(reconciliation.total),
        "not_on_this_bill": others_json(reconciliation.others),
        "suggestions": [
            {
                "command": _command(each, reconciliation, file, flags),
                "date": each.day,
                "product": each.product,
                "team": each.team,
                **money_json(each.amount),
            }
            for each in reconciliation.suggestions
        ],
        "notes": reconciliation.notes,
    }
    return json_text(document)


def _cents(reconciliation: Reconciliation) -> dict[str, list[int]]:
    """Each column of the table in whole cents, its total last.

    Columns sum to their totals; in each row bill minus books is the difference, and the parts sum to it.
    """
    rows, total = reconciliation.rows, reconciliation.total
    bill = rounded([row.bill for row in rows], CENT)
    booked = rounded([row.booked for row in rows], CENT)
    difference = [cents - before for cents, before in zip(bill, booked, strict=True)]
    cells = [
        [sum(part.amount for part in row.parts if part.kind == column.kind) for column in total.parts]
        for row in rows
    ]
    totals = rounded([part.amount for part in total.parts], CENT, total=sum(difference))
    parts = balanced(cells, difference, totals, CENT)
    columns: dict[str, list[int]] = {"bill": bill, "books": booked, "difference": difference}
    columns |= {part.kind: [row[at] for row in parts] for at, part in enumerate(total.parts)}
    return {name: [*column, sum(column)] for name, column in columns.items()}


def _command(suggestion: Suggestion, reconciliation: Reconciliation, file: str, files: Sequence[str]) -> str:
    name = printable(file.rpartition("/")[2])[:LONGEST_NAME]
    total = reconciliation.total
    booked = dollars_text(total.booked)
    words = {
        "amount": plain_dollars(suggestion.amount),
        "date": suggestion.day,
        "product": suggestion.product,
        "team": suggestion.team,
        "reason": f"invoice {name}: {dollars_text(total.bill)} billed, {booked} in the books",
    }
    fields = (f"--{flag}={shlex.quote(value)}" for flag, value in words.items())
    return " ".join(("inference-cost-exporter adjust", *map(shlex.quote, files), *fields))


def _row(row: ComparedDay) -> dict[str, Any]:
    return {
        "name": row.name,
        "bill": money_json(row.bill),
        "books": money_json(row.posted),
        "adjusted": money_json(row.adjusted),
        "difference": money_json(row.difference),
        "billed_hours": None if row.timed is None else row.timed.time / NANOSECONDS_PER_HOUR,
        "parts": [part_json(part, WORDS) for part in row.parts],
    }

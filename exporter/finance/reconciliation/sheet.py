"""A reconciliation as a table for people and as JSON. Pure."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from exporter.finance import render
from exporter.finance.invoice import Resource
from exporter.finance.invoice_file import COSTS
from exporter.finance.reconciliation.comparison import (
    Reconciliation,
    Suggestion,
    hourly,
    hours,
)
from exporter.finance.reconciliation.differences import ComparedDay, Difference, DifferenceKind
from exporter.finance.render import money_json
from exporter.readings import printable
from exporter.reports.rounding import (
    CENT,
    balanced,
    dollars_text,
    hundredths,
    rounded,
    ruled_table,
)
from exporter.units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_SECOND, plain_dollars

MOST_LISTED: Final = 10
RESOURCES_MAX: Final = 100
LONGEST_NAME: Final = 200

HEADINGS: Final[dict[str, str]] = {
    "not_metered": "not metered",
    "uncovered": "uncovered",
    "beyond": "beyond",
    "not_billed": "not billed",
    "unpriced": "unpriced",
    "unobserved": "unobserved",
    "price": "price",
    "price_catalogue": "price (catalogue)",
    "price_estimate": "price (estimate)",
    "other_usage": "other usage",
    "adjusted": "adjusted",
}
"""Headings of columns that differ from the name of their kind."""

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


def as_text(
    reconciliation: Reconciliation, file: str, flags: Sequence[str] = (), width: int | None = None
) -> str:
    """For people. Each column sums to its last row, to the cent.

    `flags` say where the books are, for commands that are to find the same ones. A table wider than `width`
    is in parts.
    """
    return render.lines_text(_lines(reconciliation, file, flags, width))


def as_json(reconciliation: Reconciliation, file: str, flags: Sequence[str] = ()) -> str:
    """For machines. `picodollars` are exact: those of `parts` sum to those of `difference`."""
    invoice = reconciliation.invoice
    document = {
        "report": "reconcile",
        "month": reconciliation.record.month,
        "to_date": reconciliation.to_date,
        "calendar": reconciliation.calendar,
        "timezone": reconciliation.zone.key,
        "by": reconciliation.by,
        "components": sorted(reconciliation.components),
        "ledger": reconciliation.record.ledger,
        "last_commit": render.time_text(reconciliation.record.last_commit),
        "invoice": {
            "file": file,
            "form": invoice.form,
            "cost": COSTS[invoice.cost] if invoice.form == "focus" else "dollars",
            "rows": invoice.rows,
            "compared_rows": invoice.chosen.rows,
            "from": render.time_text(invoice.first),
            "to": render.time_text(invoice.last),
            "resources": [
                _resource(key, resource) for key, resource in _dearest(reconciliation, RESOURCES_MAX)
            ],
        },
        "rows": [_row(row) for row in reconciliation.rows],
        "total": _row(reconciliation.total),
        "not_on_this_bill": {
            name: money_json(amount) for name, amount in sorted(reconciliation.others.items()) if amount
        },
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
    return render.json_text(document)


def _lines(
    reconciliation: Reconciliation, file: str, flags: Sequence[str], width: int | None
) -> Iterator[str]:
    when = f"{reconciliation.record.month} to date" if reconciliation.to_date else reconciliation.record.month
    zone = "UTC" if reconciliation.calendar == "utc" else reconciliation.zone.key
    yield (
        f"{when} by {reconciliation.by} of {zone}, ledger {reconciliation.record.ledger}, "
        f"as of {render.time_text(reconciliation.record.last_commit) or 'never'}"
    )
    invoice = reconciliation.invoice
    form = f"FOCUS, {COSTS[invoice.cost]}" if invoice.form == "focus" else "dates and dollars"
    of_all = "" if invoice.chosen.rows == invoice.rows else f" of {invoice.rows:,}"
    yield f"invoice {printable(file)}: {form}, {invoice.chosen.rows:,}{of_all} rows"
    yield f"compared with: {', '.join(sorted(reconciliation.components))}"
    yield ""
    cents = _cents(reconciliation)
    yield from _table(reconciliation, cents, width)
    yield ""
    difference = hundredths(cents["difference"][-1])
    yield f"bill minus books is {difference} dollars{':' if reconciliation.total.parts else '.'}"
    amounts = [hundredths(cents[part.kind][-1]) for part in reconciliation.total.parts]
    longest = max(map(len, amounts), default=0)
    for part, amount in zip(reconciliation.total.parts, amounts, strict=True):
        yield f"  {amount.rjust(longest)}  {WORDS[part.kind]}{_arithmetic(part)}"
    yield ""
    others = ", ".join(
        f"{printable(name)} {dollars_text(amount)}" for name, amount in sorted(reconciliation.others.items())
    )
    if others:
        yield f"in the books and not on this bill: {others} dollars."
    yield from (f"{printable(note)}." for note in reconciliation.notes)
    yield from _resources(reconciliation)
    if reconciliation.suggestions:
        yield ""
        yield "if the bill is right, this makes the books agree with it:"
        yield from (f"  {_command(each, reconciliation, file, flags)}" for each in reconciliation.suggestions)


def _cents(reconciliation: Reconciliation) -> dict[str, list[int]]:
    """Each column of the table in whole cents, its total last.

    Columns sum to their totals; in each row bill minus books is the difference, and the parts sum to it.
    """
    bill = rounded([row.bill for row in reconciliation.rows], CENT)
    posted = rounded([row.posted + row.adjusted for row in reconciliation.rows], CENT)
    difference = [billed - booked for billed, booked in zip(bill, posted, strict=True)]
    kinds = [part.kind for part in reconciliation.total.parts]
    totals = [part.amount for part in reconciliation.total.parts]
    cells = [[_of(row, kind) for kind in kinds] for row in reconciliation.rows]
    parts = balanced(cells, difference, rounded(totals, CENT, total=sum(difference)), CENT)
    columns: dict[str, list[int]] = {"bill": bill, "books": posted, "difference": difference}
    columns |= {kind: [row[at] for row in parts] for at, kind in enumerate(kinds)}
    return {name: [*column, sum(column)] for name, column in columns.items()}


def _table(reconciliation: Reconciliation, cents: dict[str, list[int]], width: int | None) -> Iterator[str]:
    columns = [[reconciliation.by, *(row.name for row in reconciliation.rows), "total"]]
    for name, column in cents.items():
        columns.append([HEADINGS.get(name, name), *map(hundredths, column)])
    headings, *rows, total = zip(*columns, strict=True)
    return ruled_table(headings, rows, total, width=width)


def _of(row: ComparedDay, kind: DifferenceKind) -> int:
    return sum(part.amount for part in row.parts if part.kind == kind)


def _arithmetic(part: Difference) -> str:
    """The arithmetic of an amount that is by time."""
    if not part.time:
        return ""
    if part.posted is not None:
        billed = hourly(part.posted + part.amount, part.time)
        return f": {billed} billed and {hourly(part.posted, part.time)} in the books an hour, {_over(part)}"
    return f": {hours(part.time)} h at {hourly(abs(part.amount), part.time)} an hour"


def _over(part: Difference) -> str:
    return f"over {hours(part.time or 0)} h"


def _dearest(reconciliation: Reconciliation, most: int) -> list[tuple[str, Resource]]:
    resources = reconciliation.invoice.resources.items()
    return sorted(resources, key=lambda item: (-item[1].counted.cost, item[0]))[:most]


def _resources(reconciliation: Reconciliation) -> Iterator[str]:
    """The resources of the bill, from which a person may choose."""
    if len(reconciliation.invoice.resources) < 2:
        return
    yield ""
    yield "resources of the bill, * those compared:"
    for key, resource in _dearest(reconciliation, MOST_LISTED):
        mark = "*" if resource.chosen else " "
        description = " ".join(filter(None, (resource.service, resource.name)))
        words = f"{key or '(no resource)'}{f' ({description})' if description else ''}"
        yield f"  {mark} {dollars_text(resource.counted.cost).rjust(12)}  {printable(words)}"
    more = len(reconciliation.invoice.resources) - MOST_LISTED
    if more > 0 or reconciliation.invoice.unlisted.rows:
        many = "at least " if reconciliation.invoice.unlisted.rows else ""
        yield f"  and {many}{max(more, 1):,} more"


def _command(suggestion: Suggestion, reconciliation: Reconciliation, file: str, files: Sequence[str]) -> str:
    name = printable(file.rpartition("/")[2])[:LONGEST_NAME]
    reason = f"invoice {name}: {dollars_text(reconciliation.total.bill)} billed, "
    reason += f"{dollars_text(reconciliation.total.posted + reconciliation.total.adjusted)} in the books"
    flags = (
        ("amount", plain_dollars(suggestion.amount)),
        ("date", suggestion.day),
        ("product", suggestion.product),
        ("team", suggestion.team),
    )
    words = [f"--{flag}={shlex.quote(value)}" for flag, value in flags]
    words = [*map(shlex.quote, files), *words]
    return " ".join(("inference-cost-exporter adjust", *words, f"--reason={shlex.quote(reason)}"))


def _row(row: ComparedDay) -> dict[str, Any]:
    return {
        "name": row.name,
        "bill": money_json(row.bill),
        "books": money_json(row.posted),
        "adjusted": money_json(row.adjusted),
        "difference": money_json(row.difference),
        "billed_hours": None if row.timed is None else row.timed[1] / NANOSECONDS_PER_HOUR,
        "parts": [part_json(part, WORDS) for part in row.parts],
    }


def part_json(part: Difference, words: Mapping[DifferenceKind, str]) -> dict[str, Any]:
    """A part of a difference, with its kind in words."""
    return {
        "kind": part.kind,
        "words": words[part.kind],
        **money_json(part.amount),
        "seconds": None if part.time is None else part.time / NANOSECONDS_PER_SECOND,
    }


def _resource(key: str, resource: Resource) -> dict[str, Any]:
    return {
        "resource": key,
        "name": resource.name,
        "service": resource.service,
        "compared": resource.chosen,
        "rows": resource.counted.rows,
        **money_json(resource.counted.cost),
    }

"""A fleet against a bill as tables of 80 columns for people, and as JSON. Pure."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from exporter.finance import render
from exporter.finance.fleet.bill import Residue, ResidueAmount
from exporter.finance.fleet.bill_differences import ComparedMachine, FleetReconciliation
from exporter.finance.fleet.missing import incomplete_hosts, missing_json, reminder, section
from exporter.finance.invoice_file import COSTS
from exporter.finance.reconciliation.comparison import hours
from exporter.finance.reconciliation.differences import Difference, DifferenceKind
from exporter.finance.reconciliation.sheet import WORDS, part_json
from exporter.finance.render import WIDTH, counted, money_json, shortened, wrapped
from exporter.readings import printable
from exporter.reports.rounding import (
    CENT,
    balanced,
    dollars_text,
    hundredths,
    rounded,
    ruled_table,
)
from exporter.units import NANOSECONDS_PER_HOUR

HOSTS_MAX: Final = 20
"""Hosts that have a line of their own in the table."""
NAMES_MAX: Final = 5
"""Names of one kind of residue."""
NAME_CHARACTERS: Final = 24
JSON_NAMES_MAX: Final = 100

RESIDUE_WORDS: Final[Mapping[Residue, str]] = {
    "unused_commitments": "commitments and reserved capacity that nothing used",
    "prepaid_commitments": "fees of commitments less what the month used of them",
    "other_resources": "resources that are none of these hosts",
    "no_resource": "usage without a resource",
    "support": "support",
    "purchases": "purchases",
    "taxes": "taxes",
    "credits": "credits",
    "refunds": "refunds and corrections of earlier bills",
    "corrections": "adjustments by the provider",
}

PART_WORDS: Final[Mapping[DifferenceKind, str]] = {
    **WORDS,
    "not_metered": "billed for hosts that metered nothing",
    "uncovered": "billed while the host did not meter",
    "beyond": "billed beyond the length of the month",
}

TIME: Final[frozenset[DifferenceKind]] = frozenset(
    {"not_metered", "uncovered", "beyond", "not_billed", "unpriced", "unobserved"}
)
PRICE: Final[frozenset[DifferenceKind]] = frozenset({"price", "price_catalogue", "price_estimate"})

UNBILLED: Final = "hosts without a row of the bill"


def as_text(reconciliation: FleetReconciliation, file: str) -> str:
    """For people. The first table goes from the books to the bill; each table sums, to the cent."""
    return render.lines_text(_lines(reconciliation, file))


def _lines(reconciliation: FleetReconciliation, file: str) -> Iterator[str]:
    fleet, bill = reconciliation.fleet, reconciliation.bill
    when = f"{fleet.record.month} to date" if reconciliation.to_date else fleet.record.month
    yield from wrapped(
        f"{when}, {counted(len(fleet.hosts), 'ledger')} against one bill, time zone {fleet.zone.key}, "
        f"as of {render.time_text(fleet.record.last_commit) or 'never'}"
    )
    form = f"FOCUS, {COSTS[bill.cost]}" if bill.form == "focus" else "dates and dollars"
    yield from wrapped(f"invoice {printable(file)}: {form}, {counted(bill.rows, 'row')}")
    yield from wrapped(f"compared with: {', '.join(sorted(reconciliation.components))}")
    yield ""
    yield from section(fleet)
    yield ""
    yield from _steps(reconciliation)
    yield ""
    yield from _hosts(reconciliation)
    yield from _names(reconciliation)
    others = ", ".join(
        f"{printable(name)} {dollars_text(amount)}"
        for name, amount in sorted(reconciliation.others.items())
        if amount
    )
    notes = [f"in the books and not on this bill: {others} dollars"] if others else []
    notes += reconciliation.notes
    if notes:
        yield ""
    for note in notes:
        yield from wrapped(f"{note}.")
    if remind := reminder(fleet):
        yield ""
        yield remind


def _steps(reconciliation: FleetReconciliation) -> Iterator[str]:
    """From the books to the bill, one line for each cause."""
    steps = [(part.amount, f"{PART_WORDS[part.kind]}{_over(part)}") for part in reconciliation.parts]
    unbilled = reconciliation.unbilled
    if unbilled:
        amount = sum(each.compared.difference for each in unbilled)
        steps.append((amount, f"{UNBILLED}: {_listed([each.name for each in unbilled])}"))
    steps += [(each.amount, RESIDUE_WORDS[each.kind]) for each in reconciliation.residue]
    amounts = [reconciliation.posted, *(amount for amount, _words in steps)]
    cents = rounded(amounts, CENT)
    lines = [("books of these hosts", cents[0]), *zip((words for _, words in steps), cents[1:], strict=True)]
    lines.append(("bill", sum(cents)))
    width = max(len(hundredths(cent)) for _words, cent in lines)
    for number, (words, cent) in enumerate(lines):
        if number == len(lines) - 1:
            yield f"{'-' * width}  {'-' * (WIDTH - width - 2)}"
        wrapped = textwrap.wrap(words, WIDTH - width - 2, break_on_hyphens=False)
        yield f"{hundredths(cent).rjust(width)}  {wrapped[0]}"
        yield from (f"{' ' * width}  {rest}" for rest in wrapped[1:])


def _over(part: Difference) -> str:
    return f", {hours(part.time)} h" if part.time else ""


def _hosts(reconciliation: FleetReconciliation) -> Iterator[str]:
    """Books and bill of each host, those that differ most first."""
    ordered = sorted(reconciliation.machines, key=lambda each: (-abs(each.compared.difference), each.name))
    if not ordered:
        return
    rows = [_amounts(each) for each in ordered]
    names = [printable(each.name) for each in ordered]
    if len(rows) > HOSTS_MAX + 1:
        rest = rows[HOSTS_MAX:]
        rows = [*rows[:HOSTS_MAX], [sum(column) for column in zip(*rest, strict=True)]]
        names = [*names[:HOSTS_MAX], f"{len(rest):,} others"]
    bill = rounded([sum(row) for row in rows], CENT)
    columns = rounded([sum(column) for column in zip(*rows, strict=True)], CENT, total=sum(bill))
    cells = balanced(rows, bill, columns, CENT)
    texts = [
        [*map(hundredths, [*row, total])]
        for row, total in [*zip(cells, bill, strict=True), (columns, sum(bill))]
    ]
    headings = ["books", "time", "price", "other", "bill"]
    numbers = sum(max(map(len, column)) + 2 for column in zip(headings, *texts, strict=True))
    width = max(8, min(NAME_CHARACTERS, WIDTH - numbers))
    *lines, total = [
        [shortened(name, width), *row] for name, row in zip([*names, "total"], texts, strict=True)
    ]
    yield from ruled_table(["host", *headings], lines, total)


def _amounts(machine: ComparedMachine) -> list[int]:
    """Books, and the parts by which the bill differs: of time, of price, and others."""
    day = machine.compared
    time = sum(part.amount for part in day.parts if part.kind in TIME)
    price = sum(part.amount for part in day.parts if part.kind in PRICE)
    return [day.posted + day.adjusted, time, price, day.difference - time - price]


def _names(reconciliation: FleetReconciliation) -> Iterator[str]:
    """What the bill charges for no host, the largest first."""
    for each in reconciliation.residue:
        yield ""
        yield f"{RESIDUE_WORDS[each.kind]}:"
        amounts = [dollars_text(named.amount) for named in each.names[:NAMES_MAX]]
        width = max(map(len, amounts), default=0)
        for text, named in zip(amounts, each.names, strict=False):
            room = WIDTH - width - 4
            yield f"  {text.rjust(width)}  {shortened(printable(named.name), room)}"
        more = len(each.names) - NAMES_MAX
        if more > 0:
            yield f"  and {more:,} more"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMES_MAX:,} more" if len(names) > NAMES_MAX else ""
    return ", ".join(map(printable, names[:NAMES_MAX])) + more


def as_json(reconciliation: FleetReconciliation, file: str) -> str:
    """For machines. `picodollars` are exact: books, parts, unbilled and residue sum to the bill."""
    fleet, bill = reconciliation.fleet, reconciliation.bill
    document = {
        "report": "reconcile",
        "month": fleet.record.month,
        "to_date": reconciliation.to_date,
        "time_zone": fleet.zone.key,
        "components": sorted(reconciliation.components),
        "ledgers": len(fleet.hosts),
        "last_commit": render.time_text(fleet.record.last_commit),
        "incomplete_hosts": incomplete_hosts(fleet),
        "missing": missing_json(fleet),
        "invoice": {
            "file": file,
            "form": bill.form,
            "cost": COSTS[bill.cost] if bill.form == "focus" else "dollars",
            "rows": bill.rows,
            "rows_of_other_months": bill.others.rows,
        },
        "books": money_json(reconciliation.posted),
        "bill": money_json(bill.total),
        "difference": money_json(reconciliation.difference),
        "parts": [part_json(part, PART_WORDS) for part in reconciliation.parts],
        "unbilled_hosts": money_json(sum(each.compared.difference for each in reconciliation.unbilled)),
        "residue": [_residue(each) for each in reconciliation.residue],
        "hosts": [_machine(each) for each in reconciliation.machines],
        "not_on_this_bill": {
            name: money_json(amount) for name, amount in sorted(reconciliation.others.items()) if amount
        },
        "notes": reconciliation.notes,
    }
    return render.json_text(document)


def _machine(machine: ComparedMachine) -> dict[str, Any]:
    day = machine.compared
    return {
        "host": machine.name,
        "ledgers": machine.ledgers,
        "resources": machine.resources,
        "rows": machine.rows,
        "apportioned": machine.apportioned,
        "books": money_json(day.posted),
        "adjusted": money_json(day.adjusted),
        "bill": money_json(day.bill),
        "difference": money_json(day.difference),
        "metered_hours": day.metered / NANOSECONDS_PER_HOUR,
        "billed_hours": None if machine.time is None else machine.time / NANOSECONDS_PER_HOUR,
        "parts": [part_json(part, PART_WORDS) for part in day.parts],
    }


def _residue(each: ResidueAmount) -> dict[str, Any]:
    return {
        "kind": each.kind,
        "words": RESIDUE_WORDS[each.kind],
        **money_json(each.amount),
        "largest": [
            {"name": named.name, **money_json(named.amount)} for named in each.names[:JSON_NAMES_MAX]
        ],
    }

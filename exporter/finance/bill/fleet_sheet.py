"""A fleet against a bill as tables of 80 columns for people, and as JSON. Pure."""

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, Final

from exporter.finance import render
from exporter.finance.bill.differences import DifferenceKind
from exporter.finance.bill.fleet_bill import Residue
from exporter.finance.bill.fleet_comparison import ComparedMachine, FleetReconciliation
from exporter.finance.bill.host_comparison import hours
from exporter.finance.bill.host_sheet import (
    WORDS,
    form_text,
    invoice_json,
    others_json,
    others_text,
    part_json,
)
from exporter.finance.fleet import missing
from exporter.finance.render import WIDTH, counted, few, money_json, shortened, wrapped
from exporter.readings import printable
from exporter.reports.rounding import CENT, balanced, dollars_text, hundredths, rounded, ruled_table
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


def as_text(reconciliation: FleetReconciliation, file: str) -> str:
    """For people. The first table goes from the books to the bill; each table sums, to the cent."""
    fleet = reconciliation.fleet
    bill = reconciliation.bill
    when = f"{fleet.record.month} to date" if reconciliation.to_date else fleet.record.month
    lines = wrapped(
        f"{when}, {counted(len(fleet.hosts), 'ledger')} against one bill, time zone {fleet.zone.key}, "
        f"as of {render.time_text(fleet.record.last_commit) or 'never'}"
    )
    form = form_text(bill.form, bill.cost)
    lines += wrapped(f"invoice {printable(file)}: {form}, {counted(bill.rows, 'row')}")
    lines += wrapped(f"compared with: {', '.join(sorted(reconciliation.components))}")
    lines += ["", *missing.section(fleet), "", *_steps(reconciliation), ""]
    if reconciliation.machines:
        lines += _hosts(reconciliation)
    for residue in bill.residue:  # what the bill charges for no host, the largest first
        lines += ["", f"{RESIDUE_WORDS[residue.kind]}:"]
        amounts = [dollars_text(named.amount) for named in residue.names[:NAMES_MAX]]
        width = max(map(len, amounts), default=0)
        for text, named in zip(amounts, residue.names, strict=False):
            lines.append(f"  {text.rjust(width)}  {shortened(printable(named.name), WIDTH - width - 4)}")
        more = len(residue.names) - NAMES_MAX
        if more > 0:
            lines.append(f"  and {more:,} more")
    others = {name: amount for name, amount in reconciliation.others.items() if amount}
    notes = [f"in the books and not on this bill: {others_text(others)} dollars"] if others else []
    notes += reconciliation.notes
    if notes:
        lines.append("")
    for note in notes:
        lines += wrapped(f"{note}.")
    if remind := missing.reminder(fleet):
        lines += ["", remind]
    return render.lines_text(lines)


def _steps(reconciliation: FleetReconciliation) -> Iterator[str]:
    """From the books to the bill, one line for each cause."""
    steps = [("books of these hosts", reconciliation.booked)]
    for part in reconciliation.parts:
        over = f", {hours(part.time)} h" if part.time else ""
        steps.append((f"{PART_WORDS[part.kind]}{over}", part.amount))
    if unbilled := reconciliation.unbilled:
        names = few([printable(each.compared.name) for each in unbilled], NAMES_MAX)
        amount = sum(each.compared.difference for each in unbilled)
        steps.append((f"hosts without a row of the bill: {names}", amount))
    steps += [(RESIDUE_WORDS[each.kind], each.amount) for each in reconciliation.bill.residue]
    cents = rounded([amount for _words, amount in steps], CENT)
    amounts = [hundredths(cent) for cent in (*cents, sum(cents))]
    width = max(map(len, amounts))
    for text, (words, _amount) in zip(amounts, steps, strict=False):
        first, *rest = textwrap.wrap(words, WIDTH - width - 2, break_on_hyphens=False)
        yield f"{text.rjust(width)}  {first}"
        yield from (f"{' ' * width}  {line}" for line in rest)
    yield f"{'-' * width}  {'-' * (WIDTH - width - 2)}"
    yield f"{amounts[-1].rjust(width)}  bill"


def _hosts(reconciliation: FleetReconciliation) -> Iterator[str]:
    """Books and bill of each host, those that differ most first."""
    rows: list[list[int]] = []
    names: list[str] = []
    for machine in sorted(
        reconciliation.machines, key=lambda each: (-abs(each.compared.difference), each.compared.name)
    ):
        day = machine.compared
        time = sum(part.amount for part in day.parts if part.kind in TIME)
        price = sum(part.amount for part in day.parts if part.kind in PRICE)
        rows.append([day.booked, time, price, day.difference - time - price])
        names.append(printable(day.name))
    if len(rows) > HOSTS_MAX + 1:
        rest = rows[HOSTS_MAX:]
        rows = [*rows[:HOSTS_MAX], [sum(column) for column in zip(*rest, strict=True)]]
        names = [*names[:HOSTS_MAX], f"{len(rest):,} others"]
    bill = rounded([sum(row) for row in rows], CENT)
    columns = rounded([sum(column) for column in zip(*rows, strict=True)], CENT, total=sum(bill))
    cells = [*balanced(rows, bill, columns, CENT), columns]
    totals = [*bill, sum(bill)]
    texts = [[*map(hundredths, row), hundredths(of)] for row, of in zip(cells, totals, strict=True)]
    headings = ["books", "time", "price", "other", "bill"]
    numbers = sum(max(map(len, column)) + 2 for column in zip(headings, *texts, strict=True))
    width = max(8, min(NAME_CHARACTERS, WIDTH - numbers))
    *lines, total_line = (
        [shortened(name, width), *row] for name, row in zip([*names, "total"], texts, strict=True)
    )
    yield from ruled_table(["host", *headings], lines, total_line)


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
        "incomplete_hosts": missing.incomplete_hosts(fleet),
        "missing": missing.missing_json(fleet),
        "invoice": {
            **invoice_json(file, bill.form, bill.cost, bill.rows),
            "rows_of_other_months": bill.others.rows,
        },
        "books": money_json(reconciliation.booked),
        "bill": money_json(bill.total),
        "difference": money_json(bill.total - reconciliation.booked),
        "parts": [part_json(part, PART_WORDS) for part in reconciliation.parts],
        "unbilled_hosts": money_json(sum(each.compared.difference for each in reconciliation.unbilled)),
        "residue": [
            {
                "kind": each.kind,
                "words": RESIDUE_WORDS[each.kind],
                **money_json(each.amount),
                "largest": [
                    {"name": named.name, **money_json(named.amount)} for named in each.names[:JSON_NAMES_MAX]
                ],
            }
            for each in bill.residue
        ],
        "hosts": [_machine(each) for each in reconciliation.machines],
        "not_on_this_bill": others_json(reconciliation.others),
        "notes": reconciliation.notes,
    }
    return render.json_text(document)


def _machine(machine: ComparedMachine) -> dict[str, Any]:
    day = machine.compared
    return {
        "host": day.name,
        "ledgers": machine.ledgers,
        "resources": machine.resources,
        "rows": machine.rows,
        "apportioned": machine.apportioned,
        "books": money_json(day.posted),
        "adjusted": money_json(day.adjusted),
        "bill": money_json(day.bill),
        "difference": money_json(day.difference),
        "metered_hours": day.metered / NANOSECONDS_PER_HOUR,
        "billed_hours": None if day.timed is None else day.timed.time / NANOSECONDS_PER_HOUR,
        "parts": [part_json(part, PART_WORDS) for part in day.parts],
    }

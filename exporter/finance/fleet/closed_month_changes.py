"""What changed since a month was closed, as a table and as JSON. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from exporter.finance.fleet.closed_month import ChangeKind, ClosedMonth, ClosedMonthChange
from exporter.finance.render import instant_text, json_text
from exporter.readings import KINDS, printable
from exporter.reports.rounding import (
    CENT,
    dollars_text,
    hours_text,
    hundredths,
    rounded,
    ruled_table,
)
from exporter.units import Picodollars

_MEANINGS: Final[Mapping[ChangeKind, str]] = {
    "adjustment": "an adjustment was posted",
    "late price": "time that was unpriced got a price",
    "posted": "posted since the month was closed",
    "new ledger": "the statement lacks this ledger",
    "missing ledger": "not read now; the statement stands for it",
}


def text(closed: ClosedMonth, total: Picodollars, noted: Sequence[ClosedMonthChange], file: str) -> str:
    """For people. Cents sum to the last row."""
    closed_at = f"{instant_text(closed.closed)} with {dollars_text(closed.total)} dollars"
    head = f"{closed.month}, closed {closed_at} ({file})"
    if not noted:
        return f"{head}\n\nNothing changed since.\n"
    cents = rounded([each.amount for each in noted], CENT)
    rows = [
        [each.kind, each.name, each.product or "-", each.team or "-", hundredths(amount), _detail(each)]
        for each, amount in zip(noted, cents, strict=True)
    ]
    headings = ["change", "host", "product", "team", "dollars", "what"]
    table = ruled_table(
        headings[:5],
        [[printable(cell) for cell in row[:5]] for row in rows],
        ["total", "", "", "", hundredths(sum(cents))],
        labels=4,
    )
    details = [
        f"  {printable(f'{row[1]} ({row[2]}, {row[3]})' if each.tokens else row[1])}: {printable(row[5])}"
        for row, each in zip(rows, noted, strict=True)
    ]
    stands = sum(host.total for host in closed.hosts if _is_missing(host.record.ledger, noted))
    now = f"{closed.month} is {dollars_text(total + stands)} dollars now."
    return "\n".join([head, "", *table, "", *details, "", now]) + "\n"


def _is_missing(ledger: str, noted: Sequence[ClosedMonthChange]) -> bool:
    return any(each.kind == "missing ledger" and each.ledger == ledger for each in noted)


def _detail(each: ClosedMonthChange) -> str:
    meaning = _MEANINGS[each.kind]
    if each.kind == "adjustment":
        return f'adjustment {each.number}: "{each.text}"'
    if each.text:
        meaning = f"{meaning} ({each.text})"
    amounts = [f"{hours_text(each.duration)} GPU-hours"] if each.duration else []
    amounts += [f"{count:,} {kind.replace('_', ' ')} tokens" for kind, count in (each.tokens or {}).items()]
    return f"{meaning}: {', '.join(amounts)}" if amounts else meaning


def as_json(closed: ClosedMonth, total: Picodollars, noted: Sequence[ClosedMonthChange], file: str) -> str:
    """For machines. `picodollars` are exact; tokens that are not known are null."""
    document: dict[str, Any] = {
        "month": closed.month,
        "statement": file,
        "sha256": closed.digest,
        "closed": instant_text(closed.closed),
        "closed_picodollars": closed.total,
        "read_picodollars": total,
        "changed_picodollars": sum(each.amount for each in noted),
        "changes": [
            {
                "kind": each.kind,
                "ledger": each.ledger,
                "host": each.name,
                "product": each.product or None,
                "team": each.team or None,
                "picodollars": each.amount,
                "gpu_seconds": each.duration / 1e9 if each.duration else None,
                **{
                    f"{kind}_tokens": None if each.tokens is None else each.tokens.get(kind, 0)
                    for kind in KINDS
                },
                "adjustment": each.number or None,
                "text": each.text or None,
            }
            for each in noted
        ],
    }
    return json_text(document)

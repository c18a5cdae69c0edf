"""What changed since a month was closed, as a table and as JSON. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from exporter.finance.fleet.closed_month import ChangeKind, ClosedMonth, ClosedMonthChange
from exporter.finance.render import ReportColumn, ReportTable, instant_text, json_text, lines_text
from exporter.readings import KINDS, printable
from exporter.reports.rounding import dollars_text, hours_text
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
    lines = [f"{closed.month}, closed {closed_at} ({file})", ""]
    if not noted:
        return lines_text([*lines, "Nothing changed since."])
    lines += ReportTable(
        labels=("change", "host", "product", "team"),
        rows=[(change.kind, change.name, change.product, change.team) for change in noted],
        columns=[ReportColumn("dollars", "dollars", [change.amount for change in noted], "dollars")],
    ).text(("dollars",))
    lines.append("")
    for change in noted:
        owner = f" ({change.product or '-'}, {change.team or '-'})" if change.tokens else ""
        detail = _MEANINGS[change.kind]
        if change.kind == "adjustment":
            detail = f'adjustment {change.number}: "{change.text}"'
        elif change.text:
            detail += f" ({change.text})"
        tokens = change.tokens or {}
        amounts = [f"{hours_text(change.duration)} GPU-hours"] if change.duration else []
        amounts += [f"{count:,} {kind.replace('_', ' ')} tokens" for kind, count in tokens.items()]
        if amounts and change.kind != "adjustment":
            detail += f": {', '.join(amounts)}"
        lines.append(f"  {printable(f'{change.name}{owner}')}: {printable(detail)}")
    gone = {change.ledger for change in noted if change.kind == "missing ledger"}
    stands = sum(host.total for host in closed.hosts if host.record.ledger in gone)
    lines += ["", f"{closed.month} is {dollars_text(total + stands)} dollars now."]
    return lines_text(lines)


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

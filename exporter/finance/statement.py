"""A statement as a table for people, as JSON and as CSV. Pure."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal

from exporter.finance.month import Statement, StatementLine
from exporter.ledger.adjustments import Adjustment
from exporter.readings import KINDS, printable
from exporter.reports.rounding import (
    CENT,
    HOUR_FRACTION,
    hundredths,
    rounded,
    ruled_table,
    ten_thousandths,
)
from exporter.units import (
    NANOSECONDS_PER_HOUR,
    NANOSECONDS_PER_SECOND,
    Instant,
    dollars,
)

Form = Literal["table", "json", "csv"]

FORMULA: Final = ("=", "+", "-", "@", "\t")
"""First characters of a cell that a spreadsheet runs as a formula."""


def sheet(statement: Statement, form: Form, width: int | None = None) -> str:
    """A statement in one of its forms."""
    return text(statement, width) if form == "table" else _FORMS[form](statement)


def text(statement: Statement, width: int | None = None) -> str:
    """For people. Cents and ten thousandths of an hour sum to the last row."""
    lines = [
        f"{title(statement)}, ledger {statement.ledger}, as of {as_of(statement)}",
        "",
        *table(statement, width),
    ]
    return "\n".join(lines).rstrip("\n") + "\n"


def title(statement: Statement) -> str:
    """The name of its month, and whether that goes on."""
    return f"{statement.month} to date" if statement.to_date else statement.month


def as_of(statement: Statement) -> str:
    """The time of its last commit."""
    return _time(statement.last_commit) or "never"


def table(statement: Statement, width: int | None = None) -> Iterator[str]:
    """Lines of its table and its notes; a table wider than `width` is in parts."""
    headings = [*statement.columns, *(heading for heading, _values in _columns(statement))]
    columns = [values for _heading, values in _columns(statement)]
    rows = [
        [*(printable(label) or "-" for label in line.labels), *(column[row_number] for column in columns)]
        for row_number, line in enumerate(statement.lines)
    ]
    total = ["total", *("" for _ in statement.columns[1:]), *(column[-1] for column in columns)]
    yield from ruled_table(headings, rows, total, labels=len(statement.columns), width=width)
    yield ""
    yield from (f"{printable(note)}." for note in statement.notes)


def as_json(statement: Statement) -> str:
    """For machines, as `document` is."""
    return json.dumps(document(statement), indent=2) + "\n"


def document(statement: Statement) -> dict[str, Any]:
    """For machines. `picodollars` are exact; `dollars` are whole cents and sum to the total's."""
    cents = list(zip(*_cents(statement), *_origin_cents(statement), _overhead_cents(statement), strict=True))
    rows = [
        {**dict(zip(statement.columns, line.labels, strict=True)), **_amounts(statement, line, *amounts)}
        for line, amounts in zip(statement.lines, cents[:-1], strict=True)
    ]
    return {
        "report": statement.report,
        "month": statement.month,
        "to_date": statement.to_date,
        "ledger": statement.ledger or None,
        "last_commit": _time(statement.last_commit),
        "rows": rows,
        "total": _amounts(statement, _total(statement), *cents[-1]),
        "adjustments": [_adjustment(each) for each in statement.adjustments],
        **_overheads(statement),
        "notes": statement.notes,
    }


def _overheads(statement: Statement) -> dict[str, Any]:
    if statement.overheads is None:
        return {}
    amounts = statement.overheads.amounts
    cents = rounded(list(amounts.values()), CENT)
    rows = [
        {"name": name, "dollars": each / 100, "picodollars": amount}
        for (name, amount), each in zip(amounts.items(), cents, strict=True)
    ]
    return {"fleet_overheads": {"rule": str(statement.overheads.rule), "rows": rows}}


def as_csv(statement: Statement, last: Mapping[str, str] | None = None) -> str:
    """For spreadsheets: one row a line and none for the total, so that sums are sums.

    `last` are columns at the end that have one value in all rows.
    A text that a spreadsheet would take for a formula gets an apostrophe before it; numbers are numbers.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    columns = [
        (name, [value.replace(",", "") for value in values])
        for name, values in _columns(statement, plain=True)
    ]
    writer.writerow(["month", *statement.columns, *(name for name, _values in columns), *(last or {})])
    for row_number, line in enumerate(statement.lines):
        labels = [_cell(label) for label in line.labels]
        writer.writerow(
            [
                statement.month,
                *labels,
                *(values[row_number] for _name, values in columns),
                *(last or {}).values(),
            ]
        )
    return out.getvalue()


_FORMS: Final[Mapping[Form, Callable[[Statement], str]]] = {"json": as_json, "csv": as_csv}


def _columns(statement: Statement, *, plain: bool = False) -> Iterator[tuple[str, list[str]]]:
    """Headings, and the values of each line and, last, of the total. `plain` is for machines."""
    lines = statement.lines
    money, idle = _cents(statement)
    yield "dollars", [hundredths(cents) for cents in money]
    if statement.idle:
        yield "idle_dollars" if plain else "idle", [hundredths(cents) for cents in idle]
        ratios = [_idle_ratio(line) for line in (*lines, _total(statement))]
        if plain:
            yield "idle_ratio", ["" if ratio is None else f"{ratio:.4f}" for ratio in ratios]
        else:
            yield "idle %", ["-" if ratio is None else f"{100 * ratio:.1f}" for ratio in ratios]
    if statement.overheads is not None:
        overhead = _overhead_cents(statement)
        yield "overhead_dollars" if plain else "overheads", [hundredths(cents) for cents in overhead]
        whole = [hundredths(own + part) for own, part in zip(money, overhead, strict=True)]
        yield "dollars_with_overheads" if plain else "with overheads", whole
    if statement.gpu_time:
        yield "gpu_hours" if plain else "GPU-hours", _hours([line.gpu_time for line in lines])
    if statement.tokens:
        for kind in KINDS:
            counts = [line.tokens.get(kind, 0) for line in (*lines, _total(statement))]
            name = f"{kind}_tokens" if plain else f"{kind.replace('_', ' ')} tokens"
            yield name, [f"{count:,}" for count in counts]
    if plain:
        yield from _origins(statement)


def _origins(statement: Statement) -> Iterator[tuple[str, list[str]]]:
    """Columns for programs on where money comes from; people read it in the notes."""
    lines = statement.lines
    estimated, adjusted = _origin_cents(statement)
    if statement.estimated:
        yield "estimated_dollars", [hundredths(cents) for cents in estimated]
    yield "adjustment_dollars", [hundredths(cents) for cents in adjusted]
    if statement.gpu_time:
        yield "unpriced_gpu_hours", _hours([line.unpriced for line in lines])
    yield "to_date", ["true" if statement.to_date else "false"] * (len(lines) + 1)


def _cents(statement: Statement) -> tuple[list[int], list[int]]:
    """Cents of money, and of its idle part, of each line and, last, of the total."""
    money = rounded([line.money for line in statement.lines], CENT)
    idle = rounded([line.idle for line in statement.lines], CENT, money)
    return [*money, sum(money)], [*idle, sum(idle)]


def _overhead_cents(statement: Statement) -> list[int]:
    """Cents of overheads of the fleet, of each line and, last, of the total."""
    return _summed([line.overhead for line in statement.lines], CENT)


def _origin_cents(statement: Statement) -> tuple[list[int], list[int]]:
    """Cents at estimated prices, and of corrections, of each line and, last, of the total."""
    lines = statement.lines
    return _summed([line.estimated for line in lines], CENT), _summed([line.adjusted for line in lines], CENT)


def _hours(durations: list[int]) -> list[str]:
    return [ten_thousandths(value) for value in _summed(durations, HOUR_FRACTION)]


def _summed(amounts: list[int], unit: int) -> list[int]:
    wholes = rounded(amounts, unit)
    return [*wholes, sum(wholes)]


def _total(statement: Statement) -> StatementLine:
    total = StatementLine(())
    for line in statement.lines:
        total.money += line.money
        total.itemized += line.itemized
        total.idle += line.idle
        total.estimated += line.estimated
        total.adjusted += line.adjusted
        total.unpriced += line.unpriced
        total.gpu_time += line.gpu_time
        total.overhead += line.overhead
        for kind, count in line.tokens.items():
            total.tokens[kind] = total.tokens.get(kind, 0) + count
    return total


def _amounts(
    statement: Statement,
    line: StatementLine,
    cents: int,
    idle: int,
    estimated: int,
    adjusted: int,
    overhead: int,
) -> dict[str, Any]:
    amounts: dict[str, Any] = {"dollars": cents / 100, "picodollars": line.money}
    if statement.overheads is not None:
        amounts |= {
            "overhead_dollars": overhead / 100,
            "overhead_picodollars": line.overhead,
            "dollars_with_overheads": (cents + overhead) / 100,
            "picodollars_with_overheads": line.money + line.overhead,
        }
    if statement.estimated:
        amounts["estimated_dollars"] = estimated / 100
    amounts["adjustment_dollars"] = adjusted / 100
    if statement.idle:
        amounts |= {
            "idle_dollars": idle / 100,
            "idle_picodollars": line.idle,
            "idle_ratio": _idle_ratio(line),
        }
    if statement.gpu_time:
        amounts["gpu_seconds"] = line.gpu_time / NANOSECONDS_PER_SECOND
        amounts["unpriced_gpu_hours"] = line.unpriced / NANOSECONDS_PER_HOUR
    if statement.tokens:
        amounts |= {f"{kind}_tokens": line.tokens.get(kind, 0) for kind in KINDS}
    return amounts


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
        "entered": _time(adjustment.entered),
        "posted": _time(adjustment.posted),
    }


def _idle_ratio(line: StatementLine) -> float | None:
    """The part of a line's money that was idle; `None` where no money is known by phase."""
    return line.idle / line.itemized if line.itemized else None


def _cell(label: str) -> str:
    """A label as text in a spreadsheet, whatever it begins with."""
    line = label.replace("\r", " ")  # which the csv module of Python 3.11 leaves bare
    return f"'{line}" if line.startswith(FORMULA) else line


def _time(instant: Instant | None) -> str | None:
    if instant is None:
        return None
    return datetime.fromtimestamp(instant // NANOSECONDS_PER_SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

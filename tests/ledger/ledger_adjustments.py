"""Adjustments as people enter them, and what the books must then say."""

from pathlib import Path

from exporter.ledger.adjustment_entry import AdjustmentRequest, enter
from exporter.ledger.reader import LedgerReader
from exporter.report import MonthKey
from tests.ledger.ledger_ticks import NOVEMBER, Reckoning, numbered

MONTHS = ("2026-11", "2026-10")
CELL = MonthKey("chat", "assistants", "configured", "2026-11")
OCTOBER = MonthKey("chat", "assistants", "configured", "2026-10")


def correct(
    path: Path,
    amount: int,
    reason: str = "invoice 4711",
    day: str = "2026-11-01",
    product: str = "chat",
    team: str | None = None,
) -> int:
    """Enter an adjustment of product chat, whatever the ledger has of it; its number."""
    known = {"chat": frozenset({"assistants"})}
    return enter(
        path, AdjustmentRequest(amount, day, product, team, reason), known, NOVEMBER
    ).adjustment.number


def reckoned(ticks: int, *amounts: int, cell: MonthKey = CELL) -> Reckoning:
    """Ticks of the numbers from 1 on, and amounts in one cell that nothing else knows of."""
    reckoning = Reckoning()
    for number in range(1, ticks + 1):
        reckoning.add(numbered(number))
    if amounts:
        reckoning.months[cell] += sum(amounts)
    return reckoning


def states(path: Path) -> list[tuple[int, bool]]:
    """Amounts of November's adjustments as a reader finds them, and whether each is posted."""
    with LedgerReader.open(path) as reader:
        return [(each.amount, each.posted is not None) for each in reader.month("2026-11").adjustments]

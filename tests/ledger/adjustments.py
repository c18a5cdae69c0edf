"""Adjustments as people enter them, and the totals that the ledger must then have."""

from pathlib import Path

from exporter.ledger.adjustment_entry import AdjustmentRequest, enter
from exporter.ledger.reader import LedgerReader
from exporter.report import MonthKey
from tests.kit.units import NOVEMBER
from tests.ledger.ticks import ExpectedTotals, expected_totals

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
    products = {"chat": frozenset({"assistants"})}
    return enter(
        path, AdjustmentRequest(amount, day, product, team, reason), products, NOVEMBER
    ).adjustment.number


def adjusted_totals(ticks: int, *amounts: int, cell: MonthKey = CELL) -> ExpectedTotals:
    """Totals of the ticks from 1 on, and of amounts in one cell."""
    expected = expected_totals(ticks)
    if amounts:
        expected.months[cell] += sum(amounts)
    return expected


def states(path: Path) -> list[tuple[int, bool]]:
    """Amounts of November's adjustments as a reader finds them, and whether each is posted."""
    with LedgerReader.open(path) as reader:
        return [(each.amount, each.posted is not None) for each in reader.month("2026-11").adjustments]

"""Books and bills made by hand for the tests of `reconcile`."""

from pathlib import Path
from zoneinfo import ZoneInfo

from exporter.cost.postings import CostOwner, OwnerPhase, Phase
from exporter.finance.bill.bill_file import Reading
from exporter.finance.bill.differences import ComparedDay
from exporter.finance.bill.host_bill import Invoice, read_invoice
from exporter.finance.bill.host_comparison import LedgerMonth
from exporter.ledger.adjustments import Adjustment
from exporter.ledger.history import HistorySums, MonthRecord
from exporter.readings import Gpu
from exporter.report import MonthKey, ServerOwner
from tests.kit.units import DAY, HOUR, NOVEMBER, OCTOBER

INVOICES = Path(__file__).parents[1] / "invoices"
UTC = ZoneInfo("UTC")
CHAT = CostOwner("chat", "assistants", "llm", "chat-8b", "llama-8b")
OWNER = ServerOwner("chat", "assistants", "llm", "chat-8b")
SEARCH = ServerOwner("search", "retrieval", "llm", "embed")
GPU = Gpu("GPU-0", "H100")
HEADER = (
    "BilledCost,EffectiveCost,BillingCurrency,ChargeCategory,ChargePeriodStart,ChargePeriodEnd,"
    "ConsumedQuantity,ConsumedUnit,ResourceId,ResourceName,SkuId"
)
"""The columns of FOCUS that are read."""


def sums(
    metered: int,
    rent: int,
    *,
    unpriced: int = 0,
    settled: int = 0,
    unobserved: int = 0,
    basis: str = "configured",
    owner: ServerOwner = OWNER,
    **others: int,
) -> HistorySums:
    """A day, or an hour, of a host with one GPU."""
    rates = {"rent": rent, **others}
    phases: dict[Phase, int] = {"decode": metered - unobserved, "unobserved": unobserved}
    return HistorySums(
        cost={OwnerPhase(CHAT, "decode"): sum(rates.values())},
        held={OwnerPhase(CHAT, phase): time for phase, time in phases.items() if time},
        server_cost={(owner, component, basis): amount for component, amount in rates.items() if amount},
        gpu_held={GPU: metered},
        unpriced={(GPU, CHAT): unpriced} if unpriced else {},
        settled={(GPU, CHAT): settled} if settled else {},
        covered={(): metered},
    )


def ledger_month(
    days: dict[int, HistorySums],
    *,
    zone: ZoneInfo = UTC,
    month: str = "2026-10",
    now: int = NOVEMBER + DAY,
    hours: dict[int, HistorySums] | None = None,
    adjustments: tuple[Adjustment, ...] = (),
    components: frozenset[str] = frozenset({"rent"}),
) -> LedgerMonth:
    """A month of a ledger. Days are like 20261001."""
    whole = HistorySums()
    for day in days.values():
        whole.add(day)
    posted = sum(each.amount for each in adjustments if each.posted is not None)
    cells = {MonthKey("chat", "assistants", "configured", month): sum(whole.cost.values()) + posted}
    record = MonthRecord(
        ledger="11111111-2222-4333-8444-555555555555",
        last_commit=now,
        month=month,
        months=(month,) if days else (),
        cells=cells if days else {},
        sums=whole,
        adjustments=adjustments,
        days=days,
    )
    return LedgerMonth(record, hours or {}, zone, now, components)


def adjustment(amount: int, day: str = "2026-10-02", posted: int | None = NOVEMBER) -> Adjustment:
    """A correction that was entered at the month's end."""
    return Adjustment(1, day, "chat", "assistants", amount, "invoice 4711", NOVEMBER, posted)


def bill(text: str, folder: Path, reading: Reading | None = None) -> Invoice:
    """A bill from its text."""
    path = folder / "bill.csv"
    path.write_text(text, encoding="utf-8", newline="")
    return read_invoice(path, reading or Reading(UTC))


def usage(day: str, dollars: str, hours: str, resource: str = "i-1", sku: str = "p5") -> str:
    """A row of a day of UTC in October, which is followed by another of it."""
    following = f"{int(day) + 1:02d}"
    period = f"2026-10-{day}T00:00:00Z,2026-10-{following}T00:00:00Z"
    return f"{dollars},{dollars},USD,Usage,{period},{hours},Hours,{resource},,{sku}\n"


def named(row: ComparedDay) -> dict[str, int]:
    """The parts of a difference, by kind."""
    return {part.kind: part.amount for part in row.parts}


def by_utc(first: int, last: int, amount: int) -> dict[int, HistorySums]:
    """Hours of October by UTC, at an amount each."""
    start = OCTOBER // HOUR
    hourly = {hour: sums(HOUR, amount) for hour in range(start + first, start + last)}
    for hour in hourly.values():
        hour.covered.clear()  # as history by the hour is kept
    return hourly

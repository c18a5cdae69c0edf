"""Months of hosts made by hand."""

from dataclasses import replace
from datetime import UTC, datetime

from exporter.cost.postings import CostOwner, OwnerPhase
from exporter.finance.fleet.record import HostMonth, HostName
from exporter.ledger.adjustments import Adjustment
from exporter.ledger.history import HistorySums, MonthRecord
from exporter.readings import Gpu
from exporter.report import MonthKey, ServerOwner
from tests.kit.units import HOUR, NOVEMBER, OCTOBER, SECOND

LENGTH = 744 * HOUR
CHAT = CostOwner("chat", "assistants", "llm", "chat-8b", "llama-8b")
EMBED = CostOwner("search", "retrieval", "llm", "embed", "bge")
CHAT_CELL = MonthKey("chat", "assistants", "configured", "2026-10")
EMBED_CELL = MonthKey("search", "retrieval", "estimate", "2026-10")


def host_month(
    ledger: str,
    chat: int = 0,
    embed: int = 0,
    *,
    location: str = "",
    gpu: str = "",
    first: int = OCTOBER,
    last: int = NOVEMBER + HOUR,
    covered: int = LENGTH,
) -> HostMonth:
    """A host that was metered for all of October unless said otherwise: amounts in picodollars, one GPU."""
    device = Gpu(gpu or f"GPU-{ledger}", "H100")
    amounts = [(CHAT, CHAT_CELL, "decode", chat), (EMBED, EMBED_CELL, "idle", embed)]
    amounts = [each for each in amounts if each[3]]
    sums = HistorySums(
        cost={OwnerPhase(owner, phase): amount for owner, _, phase, amount in amounts},
        held={OwnerPhase(CHAT, "decode"): covered},
        server_cost={
            (ServerOwner(*owner[:4]), "rent", cell.price_basis): amount for owner, cell, _, amount in amounts
        },
        gpu_cost={(device, "rent"): chat + embed} if chat or embed else {},
        gpu_held={device: covered},
        tokens={(CHAT, "generation"): 1000},
        covered={(): covered},
    )
    record = MonthRecord(
        ledger=ledger,
        last_commit=last,
        month="2026-10",
        months=("2026-10",),
        cells={cell: amount for _, cell, _, amount in amounts},
        sums=sums,
    )
    days = [
        int(f"{datetime.fromtimestamp(at // SECOND, UTC):%Y%m%d}") for at in (first, min(last, NOVEMBER) - 1)
    ]
    return HostMonth(
        record=record,
        origin="ledger",
        location=location or f"{ledger}/ledger.db",
        zone="UTC",
        names=(HostName(node=ledger),),
        first=first,
        last=last,
        gpus={device.uuid: (days[0], days[1])},
    )


def with_adjustment(host: HostMonth, number: int, amount: int, *, posted: bool) -> HostMonth:
    """The same month with an adjustment of chat, in its cells if it is posted."""
    record = host.record
    adjustment = Adjustment(
        number,
        "2026-10-31",
        "chat",
        "assistants",
        amount,
        "late bill",
        NOVEMBER,
        NOVEMBER if posted else None,
    )
    cells = dict(record.cells)
    if posted:
        cells[CHAT_CELL] = cells.get(CHAT_CELL, 0) + amount
    return replace(host, record=replace(record, cells=cells, adjustments=(*record.adjustments, adjustment)))

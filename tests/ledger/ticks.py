"""Ticks made by hand, and the totals that they add up to, computed independently."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from exporter.cost.postings import (
    CostOwner,
    EnergyPosting,
    GpuTimePosting,
    MoneyPosting,
    OwnerPhase,
    Phase,
    Postings,
    RequestPosting,
    Segment,
    TokenPosting,
)
from exporter.cost.state import State
from exporter.ledger.ledger import Ledger
from exporter.readings import Gpu, TokenKind
from exporter.report import CommittedTotals, MonthKey, ServerOwner
from tests.kit.units import NOVEMBER, SECOND

CHAT = CostOwner("chat", "assistants", "llm", "chat-8b", "llama-8b")
SEARCH = CostOwner("search", "retrieval", "llm", "embed", "bge")
UNALLOCATED_OWNER = CostOwner("unassigned", "unassigned", "", "unallocated", "")
GPU_0 = Gpu("GPU-0", "NVIDIA H100 80GB HBM3")
GPU_1 = Gpu("GPU-1", "NVIDIA H100 80GB HBM3")


def money(
    amount: int, owner: CostOwner = CHAT, phase: Phase = "decode", gpu: Gpu = GPU_0, component: str = "rent"
) -> MoneyPosting:
    return MoneyPosting(gpu, component, "configured", OwnerPhase(owner, phase), amount)


def tick(
    end: int,
    *entries: MoneyPosting,
    length: int = 10 * SECOND,
    gpu_time: Iterable[GpuTimePosting] = (),
    tokens: Iterable[TokenPosting] = (),
    requests: Iterable[RequestPosting] = (),
    energy: Iterable[EnergyPosting] = (),
    owners: Iterable[CostOwner] = (),
    month: str = "2026-11",
    day: str = "2026-11-01",
) -> Postings:
    """One tick of one segment that accrued what its entries say."""
    total = sum(entry.amount for entry in entries)
    segment = Segment(end - length, end, month, day, total, tuple(entries), tuple(gpu_time))
    return Postings(
        end, (segment,), tuple(tokens), tuple(requests), tuple(energy), tuple(owners), day=segment.day
    )


def tokens(count: int, owner: CostOwner = CHAT, kind: TokenKind = "generation") -> TokenPosting:
    return TokenPosting(owner, kind, count)


def accrued(*ticks: Postings) -> State:
    """A state that accrued what these ticks did, and nothing else."""
    total = sum(segment.accrued for postings in ticks for segment in postings.segments)
    return State(wall=ticks[-1].end if ticks else None, accrued=total)


def numbered(number: int) -> Postings:
    """The tick of a number: its amounts show how many there were."""
    end = NOVEMBER + number * 10 * SECOND
    return tick(
        end,
        money(1_000_000 + number),
        money(7, SEARCH, "idle", GPU_1, "energy"),
        gpu_time=(GpuTimePosting(GPU_0, OwnerPhase(CHAT, "decode"), 10 * SECOND, chargeable=10 * SECOND),),
        tokens=(tokens(number),),
        requests=(RequestPosting(CHAT, 1),),
        energy=(EnergyPosting(GPU_0, 2),),
        owners=(CHAT, SEARCH),
    )


def filled(totals: dict[object, int]) -> dict[object, int]:
    """Totals that are not zero."""
    return {key: value for key, value in totals.items() if value}


@dataclass
class ExpectedTotals:
    """Sums by single postings, without any code of the ledger."""

    accrued: int = 0
    cost: Counter[object] = field(default_factory=Counter)
    gpu_time: Counter[object] = field(default_factory=Counter)
    server_cost: Counter[object] = field(default_factory=Counter)
    gpu_cost: Counter[object] = field(default_factory=Counter)
    tokens: Counter[object] = field(default_factory=Counter)
    requests: Counter[object] = field(default_factory=Counter)
    energy: Counter[object] = field(default_factory=Counter)
    unpriced: Counter[object] = field(default_factory=Counter)
    months: Counter[object] = field(default_factory=Counter)

    def add(self, postings: Postings) -> None:
        for segment in postings.segments:
            self.accrued += segment.accrued
            for entry in segment.money:
                who = entry.owner_phase.owner
                self.cost[entry.owner_phase] += entry.amount
                owner = ServerOwner(who.product, who.team, who.namespace, who.server)
                self.server_cost[owner, entry.component] += entry.amount
                self.gpu_cost[entry.gpu, entry.component] += entry.amount
                self.months[MonthKey(who.product, who.team, entry.price_basis, segment.month)] += entry.amount
            for time in segment.gpu_times:
                self.gpu_time[time.owner_phase] += time.chargeable
                if time.unpriced:
                    self.unpriced[time.gpu] += time.duration
        for moved in postings.tokens:
            self.tokens[moved.owner, moved.kind] += moved.count
        for finished in postings.requests:
            self.requests[finished.owner] += finished.count
        for used in postings.energy:
            self.energy[used.gpu] += used.energy

    def differences(self, totals: CommittedTotals) -> dict[str, tuple[object, object]]:
        """Families in which the ledger's totals differ from these, without zeros."""
        names = (
            "cost",
            "gpu_time",
            "server_cost",
            "gpu_cost",
            "tokens",
            "requests",
            "energy",
            "unpriced",
            "months",
        )
        pairs = {
            name: (filled(dict(getattr(totals, name))), filled(dict(getattr(self, name)))) for name in names
        }
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def expected_totals(last: int) -> ExpectedTotals:
    """Totals of the ticks of the numbers from 1 to the last."""
    expected = ExpectedTotals()
    for number in range(1, last + 1):
        expected.add(numbered(number))
    return expected


def post(ledger: Ledger, *numbers: int) -> None:
    """Post the ticks of these numbers, each with the state of all ticks from 1 on."""
    for number in numbers:
        ledger.post(numbered(number), accrued(*map(numbered, range(1, number + 1))))

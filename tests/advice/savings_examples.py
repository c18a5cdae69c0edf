"""Hosts with known waste, written by hand: GPU time and tokens by the hour."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from exporter.advice.hours import HostUsage, HourUsage, PricedGpu, Release
from exporter.advice.saving import SavingsPolicy
from exporter.cost.attribution import UNALLOCATED_KEY
from exporter.cost.postings import CostOwner, OwnerPhase, Phase
from exporter.readings import Gpu, ServerKey, TokenKind
from exporter.tariff.rate import PriceBasis
from tests.kit.units import GIB

DOLLAR, HOUR = 10**12, 3600 * 10**9
MONDAY = 1_793_577_600 // 3600
"""Hour of 2026-11-02T00:00:00Z, a Monday."""
WEEK = 168
CHAT = ServerKey("llm", "chat-8b")
ARCHIVE = ServerKey("llm", "archive-13b")
FREE = UNALLOCATED_KEY


@dataclass
class SavingsHost:
    """A host that a test writes: GPUs with their holders now, and usage by the hour from Monday on."""

    hours: int = 2 * WEEK
    name: str = "node-1"
    gpus: list[PricedGpu] = field(default_factory=list)
    gpu_time: dict[int, dict[OwnerPhase, int]] = field(default_factory=dict)
    tokens: dict[int, dict[tuple[CostOwner, TokenKind], int]] = field(default_factory=dict)
    memory: dict[int, dict[tuple[Gpu, ServerKey], int]] = field(default_factory=dict)

    def gpu(
        self,
        *holders: ServerKey,
        dollars: float | None = 4,
        release: Release = "gpu",
        basis: PriceBasis | None = "configured",
        model: str = "H100",
        gib: int | None = 80,
        divided: bool = False,
    ) -> "SavingsHost":
        """One more GPU, with its price an hour and its memory."""
        gpu = Gpu(f"GPU-{len(self.gpus)}", model)
        price = None if dollars is None else int(dollars * DOLLAR)
        memory = None if gib is None else gib * GIB
        self.gpus.append(PricedGpu(gpu, frozenset(holders), price, release, basis, memory, divided))
        return self

    def hold(self, server: ServerKey, gib: float, hours: Iterable[int] | None = None) -> "SavingsHost":
        """The most memory that a server holds on each of its GPUs, in all hours unless some are named."""
        for hour in range(self.hours) if hours is None else hours:
            rows = self.memory.setdefault(MONDAY + hour, {})
            rows.update({(gpu.gpu, server): int(gib * GIB) for gpu in self.gpus if server in gpu.holders})
        return self

    def use(
        self,
        server: ServerKey,
        hours: Iterable[int],
        gpus: int = 1,
        *,
        idle: float = 1.0,
        phase: Phase = "decode",
        tokens: int = 0,
        model: str = "llama",
    ) -> "SavingsHost":
        """Hours in which a server holds GPUs, a part of them idle, and serves tokens."""
        owner = CostOwner("p", "t", *server, model)
        whole = gpus * HOUR
        for hour in hours:
            rows = self.gpu_time.setdefault(MONDAY + hour, {})
            resting = round(whole * idle)
            for each, time in (("idle", resting), (phase, whole - resting)):
                key = OwnerPhase(owner, each)  # type: ignore[arg-type]
                rows[key] = rows.get(key, 0) + time
            if tokens:
                self.tokens.setdefault(MONDAY + hour, {})[owner, "generation"] = tokens
        return self

    def usage(self, **changes: Any) -> HostUsage:
        """The host, as savings take it."""
        hours = {
            hour: HourUsage(self.gpu_time.get(hour, {}), self.tokens.get(hour, {}))
            for hour in sorted({*self.gpu_time, *self.tokens})
        }
        values: dict[str, Any] = {
            "name": self.name,
            "first": MONDAY,
            "last": MONDAY + self.hours - 1,
            "hours": hours,
            "gpus": tuple(self.gpus),
            "memory": self.memory,
            **changes,
        }
        return HostUsage(**values)


def policy(**changes: Any) -> SavingsPolicy:
    """A month of 730 hours, in UTC, at noon of 2026-11-25."""
    values: dict[str, Any] = {
        "now": 1_795_608_000 * 10**9,
        "zone": ZoneInfo("UTC"),
        "hours_per_month": Decimal(730),
        **changes,
    }
    return SavingsPolicy(**values)

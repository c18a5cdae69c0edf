"""A host whose boards a test changes, read by a checked meter."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from exporter.cost.advance import TickOutcome
from exporter.cost.policy import CostPolicy
from exporter.readings import NO_EVIDENCE, Gpu, GpuEvidence, GpuReading, Holder, HostLocation
from exporter.tariff.terms import Hardware, HardwareMatch
from tests.cost.checked_meter import CheckedMeter
from tests.cost.readings import CHAT, cost_policy, owned, rent
from tests.kit.units import DOLLAR, HOUR, MINUTE, SECOND

H100, L4 = "NVIDIA H100 80GB HBM3", "NVIDIA L4"
HOST = 55_040_000_000_000
BOUGHT = owned(gpus=8, life_years=Decimal(4))
P5 = HostLocation("aws", "p5.48xlarge", "us-east-1", lifecycle="on_demand")
FOUR = HostLocation("aws", "g6.12xlarge", "us-east-1", lifecycle="on_demand")


@dataclass(frozen=True)
class Board:
    """A board as NVML lists it."""

    uuid: str
    bus: str = ""
    model: str = H100
    up: bool = True


def boards(generation: str, count: int = 8, *, model: str = H100, bus: bool = True) -> list[Board]:
    """Boards of one generation, each at its own address."""
    addresses = [f"00000000:{n + 1:02X}:00.0" if bus else "" for n in range(count)]
    return [Board(f"{generation}{n}", address, model) for n, address in enumerate(addresses)]


def near(one: float, other: float) -> bool:
    """Whether two sums in picodollars differ by no more than what eight GPUs carry below one, twice."""
    return abs(one - other) <= 16


class ChangingGpusHost:
    """A host whose boards a test changes, held whole by one server; each tick is an hour unless given."""

    def __init__(
        self,
        priced: CostPolicy,
        *listed: Board,
        boot: str = "boot-1",
        evidence: GpuEvidence = NO_EVIDENCE,
        silent: bool = False,
    ) -> None:
        self.meter = CheckedMeter(replace(priced, gap_after=24 * HOUR), evidence=evidence)
        self.boards = list(listed)
        self.boot = boot
        if silent:
            self.silent(1)
        else:
            self.tick(1)

    def tick(self, seconds: float = 3600, listed: Iterable[Board] | None = None) -> TickOutcome:
        """Let time pass and read."""
        self.boards = self.boards if listed is None else list(listed)
        readings = [
            GpuReading(Gpu(board.uuid, board.model), index, board.up, board.bus, utilization_ratio=0.5)
            for index, board in enumerate(self.boards)
        ]
        holders = [Holder(CHAT, board.uuid) for board in self.boards]
        return self.meter.pass_by(round(seconds * SECOND), readings, holders=holders, boot=self.boot)

    def silent(self, seconds: float = 3600) -> TickOutcome:
        """A tick in which NVML says nothing."""
        return self.meter.pass_by(round(seconds * SECOND), None, boot=self.boot)

    def restart(self, down: float, *listed: Board, up: float = 60) -> TickOutcome:
        """Stop the host and start it with these boards; the first tick comes a minute after the boot."""
        self.boot = f"boot-{int(self.boot[5:]) + 1}"
        self.meter.policy = replace(self.meter.policy, gap_after=MINUTE)
        # The next tick's clock counts from the boot.
        self.meter.elapsed = round((up - down - up) * SECOND)
        outcome = self.tick(down + up, listed)
        self.meter.policy = replace(self.meter.policy, gap_after=24 * HOUR)
        return outcome

    def hourly(self, **by: str) -> float:
        """Dollars that an hour costs now."""
        before = self.meter.dollars(**by)
        self.tick()
        return round((self.meter.dollars(**by) - before) / DOLLAR, 6)

    def lost(self) -> list[str]:
        """Slots that are paid for without a GPU that NVML lists."""
        return sorted(uuid for uuid, gpu in self.meter.state.gpus.items() if not gpu.up)

    def unseen(self) -> int:
        """GPUs that are paid for and were never listed."""
        return sum(gpu.count for gpu in self.meter.state.unseen.values())

    def uuids(self) -> list[str]:
        """UUIDs of all slots."""
        return sorted(self.meter.state.gpus)


def whole(*hardware: Hardware, location: HostLocation | None = None, **fields: Any) -> CostPolicy:
    """Terms of a host all of whose GPUs NVML lists here."""
    priced = cost_policy(*(hardware or (rent("55.04", 8),)), all_gpus=True, **fields)
    return priced if location is None else replace(priced, tariff=replace(priced.tariff, location=location))


def of_models(pattern: str, dollars: str, gpus: int) -> Hardware:
    """Rent per host for GPUs of a model."""
    rule = rent(dollars, gpus, match=HardwareMatch(gpu_model=pattern))
    return replace(rule, source=f"hardware of {pattern}")


PER_GPU = rent("6.88")

"""The doctor's answer, and what it is made from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from exporter.cost.state import State
from exporter.readings import FailureReason, GatewayReading, GpuReading, HostLocation, ServerReading
from exporter.sources.discovery import DiscoveredServer, DiscoveryResult

Severity = Literal["note", "warning", "error"]
EXIT_STATUS: Final[Mapping[Severity, int]] = {"note": 0, "warning": 1, "error": 2}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to know (`note`), to look at (`warning`), or that makes money wrong (`error`)."""

    severity: Severity
    text: str


@dataclass(frozen=True, slots=True)
class PriceLine:
    """What an hour of one GPU costs under one component, and where that comes from."""

    component: str
    dollars_per_hour: float | None
    source: str
    as_of: str
    note: str = ""
    price_basis: str = "configured"


@dataclass(frozen=True, slots=True)
class DoctorGpu:
    """One GPU: what it is, who holds it, what it costs."""

    index: int
    gpu_model: str
    uuid: str
    up: bool
    holders: tuple[str, ...]
    prices: tuple[PriceLine, ...]
    priced: bool
    utilization_ratio: float | None = None

    @property
    def dollars_per_hour(self) -> float:
        """All that is known of its price."""
        return sum(price.dollars_per_hour or 0.0 for price in self.prices)


@dataclass(frozen=True, slots=True)
class DoctorServer:
    """One endpoint: whether it answers, and the tokens its counters hold.

    `reason` and `problem` are those of the read that failed, empty where none did.
    """

    server: str
    url: str
    up: bool
    engine: str
    models: tuple[str, ...]
    tokens: Mapping[str, int]
    gpus: tuple[int, ...]
    reason: FailureReason | Literal[""]
    problem: str


@dataclass(frozen=True, slots=True)
class ServerAnswer:
    """Reading of one endpoint, with reason and problem of a failed read."""

    reading: ServerReading
    reason: FailureReason | Literal[""] = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class GatewayAnswer:
    """What one gateway said; `problem` is empty where it said enough."""

    reading: GatewayReading
    problem: str = ""


@dataclass(frozen=True, slots=True)
class DoctorGateway:
    """One gateway: what it is, and for each server and model that it divides, whom it names."""

    url: str
    up: bool
    title: str
    divides: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class DoctorInput:
    """What the doctor was told by the sources; problems are in words, empty where there was none.

    `discovery` is what a look at the host found beside what is configured.
    `synchronized` is false where the kernel knows that the wall clock may be off.
    `remembered` is what the ledger's last tick left.
    """

    gpus: tuple[GpuReading, ...] | None
    gpu_problem: str
    servers: tuple[ServerAnswer, ...]
    ledger: str
    ledger_problem: str
    location: HostLocation = field(default_factory=HostLocation)
    place_problem: str = ""
    synchronized: bool = True
    label_problem: str = ""
    discovery: DiscoveryResult = field(default_factory=DiscoveryResult)
    gateways: tuple[GatewayAnswer, ...] = ()
    remembered: State = field(default_factory=State)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The doctor's answer. `missing` are GPUs that are paid for and that NVML does not list."""

    gpus: tuple[DoctorGpu, ...]
    servers: tuple[DoctorServer, ...]
    sums: tuple[str, ...]
    findings: tuple[Finding, ...]
    ledger: str
    host: str = ""
    place: HostLocation = field(default_factory=HostLocation)
    sights: tuple[DiscoveredServer, ...] = ()
    gateways: tuple[DoctorGateway, ...] = ()
    missing: tuple[DoctorGpu, ...] = ()

    @property
    def status(self) -> int:
        """0 fine, 1 warnings, 2 money would be wrong."""
        return max((EXIT_STATUS[finding.severity] for finding in self.findings), default=0)

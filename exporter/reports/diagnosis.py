"""The doctor's input and its answer."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Literal

from exporter import readings
from exporter.config.settings import Config
from exporter.cost import attribution
from exporter.cost.inventory import GpuInventory
from exporter.cost.policy import CostPolicy
from exporter.cost.state import State
from exporter.sources.discovery import DiscoveredServer, DiscoveryResult
from exporter.units import Instant

Severity = Literal["note", "warning", "error"]
EXIT_STATUS: Final[Mapping[Severity, int]] = {"note": 0, "warning": 1, "error": 2}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to know (`note`), to look at (`warning`), or that makes money wrong (`error`)."""

    severity: Severity
    text: str


note: Final = partial(Finding, "note")
warning: Final = partial(Finding, "warning")
error: Final = partial(Finding, "error")

MOST_RULES: Final = 8
"""Rules that a finding names; a file for a fleet may have hundreds."""


def some_rules(texts: Sequence[str]) -> str:
    """The first rules, and the number of the others."""
    rest = len(texts) - MOST_RULES
    return "; ".join(texts[:MOST_RULES]) + (f"; and {rest} more" if rest > 0 else "")


@dataclass(frozen=True, slots=True)
class PriceLine:
    """The price of one GPU-hour under one component, and its origin."""

    component: str
    dollars_per_hour: float | None
    source: str
    as_of: str
    note: str = ""
    price_basis: str = "configured"


@dataclass(frozen=True, slots=True)
class DoctorGpu:
    """One GPU with its holders and prices."""

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
        """The sum of its known prices."""
        return sum(price.dollars_per_hour or 0.0 for price in self.prices)


@dataclass(frozen=True, slots=True)
class DoctorServer:
    """One endpoint: whether it answers, and the tokens its counters hold."""

    server: str
    url: str
    up: bool
    engine: str
    models: tuple[str, ...]
    tokens: Mapping[str, int]
    gpus: tuple[int, ...]
    """Indices of the GPUs that it holds."""
    reason: readings.FailureReason | Literal[""]
    """The reason of a failed read; empty after a good one."""
    problem: str
    """The failure in words; empty after a good read."""


@dataclass(frozen=True, slots=True)
class ServerAnswer:
    """The reading of one endpoint."""

    reading: readings.ServerReading
    reason: readings.FailureReason | Literal[""] = ""
    """The reason of a failed read; empty after a good one."""
    problem: str = ""
    """The failure in words; empty after a good read."""


@dataclass(frozen=True, slots=True)
class GatewayAnswer:
    """The reading of one gateway; `problem` is empty after a good read."""

    reading: readings.GatewayReading
    problem: str = ""


@dataclass(frozen=True, slots=True)
class DoctorGateway:
    """One gateway."""

    url: str
    up: bool
    title: str
    """The name of its software."""
    divides: tuple[tuple[str, tuple[str, ...]], ...]
    """Servers that it divides, with the owners that it names for them."""
    unlisted: tuple[str, ...] = ()
    """Some of its tenants that no configured tenant matches."""
    unlisted_count: int = 0
    """The number of all such tenants."""


@dataclass(frozen=True, slots=True)
class DoctorInput:
    """One reading of every source; problems are in words, empty where there was none."""

    gpus: tuple[readings.GpuReading, ...] | None
    gpu_problem: str
    servers: tuple[ServerAnswer, ...]
    ledger: str
    ledger_problem: str
    location: readings.HostLocation = field(default_factory=readings.HostLocation)
    location_problem: str = ""
    synchronized: bool = True
    """False where the kernel knows that the wall clock may be off."""
    label_problem: str = ""
    discovery: DiscoveryResult = field(default_factory=DiscoveryResult)
    """Servers of the host that are not configured."""
    gateways: tuple[GatewayAnswer, ...] = ()
    remembered: State = field(default_factory=State)
    """The state after the ledger's last tick."""
    evidence: readings.GpuEvidence = readings.NO_EVIDENCE
    """Signs of GPUs beside their list."""


def shares_of(
    reading: readings.GpuReading, allocation: Iterable[readings.Holder]
) -> tuple[attribution.GpuShare, ...]:
    """The parts of a GPU by who holds them."""
    holders = (holder for holder in allocation if holder.uuid == reading.gpu.uuid)
    return attribution.shares(holders, attribution.mig_slices(reading))


@dataclass(frozen=True, slots=True)
class ExaminedHost:
    """The host that each check of the doctor looks at."""

    config: Config
    policy: CostPolicy
    inputs: DoctorInput
    now: Instant
    inventory: GpuInventory
    """The GPUs that the daemon's next tick would charge."""
    gpus: tuple[DoctorGpu, ...] = ()
    """The listed GPUs, in the order of `readings`."""
    missing: tuple[DoctorGpu, ...] = ()
    """GPUs that are paid for and that NVML does not list."""
    servers: tuple[DoctorServer, ...] = ()
    allocation: tuple[readings.Holder, ...] = ()
    """Servers on GPUs, configured and discovered."""

    @property
    def paid_gpus(self) -> tuple[DoctorGpu, ...]:
        """GPUs that are paid for, listed or not."""
        return (*self.gpus, *self.missing)

    @property
    def readings(self) -> tuple[readings.GpuReading, ...]:
        """The readings of listed GPUs; none where NVML cannot be read."""
        return self.inputs.gpus or ()

    @property
    def indices(self) -> Mapping[str, int]:
        """The indices of listed GPUs, by UUID."""
        return {reading.gpu.uuid: reading.index for reading in self.readings}


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The doctor's answer."""

    gpus: tuple[DoctorGpu, ...]
    servers: tuple[DoctorServer, ...]
    sums: tuple[str, ...]
    """Lines that a person can check by hand."""
    findings: tuple[Finding, ...]
    ledger: str
    """The state of the ledger, in words."""
    host: str = ""
    place: readings.HostLocation = field(default_factory=readings.HostLocation)
    sights: tuple[DiscoveredServer, ...] = ()
    """Servers of the host that are not configured."""
    gateways: tuple[DoctorGateway, ...] = ()
    missing: tuple[DoctorGpu, ...] = ()
    """GPUs that are paid for and that NVML does not list."""

    @property
    def status(self) -> int:
        """0 fine, 1 warnings, 2 money would be wrong."""
        return max((EXIT_STATUS[finding.severity] for finding in self.findings), default=0)

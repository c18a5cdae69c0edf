"""State of the cost model from tick to tick: marks, carries, trailing sums. Pure.

Plain values, stored in the ledger.
"""

from collections.abc import Mapping
from dataclasses import field
from typing import Final

from exporter.cost.page_marks import PageMarks
from exporter.cost.postings import CostOwner, OwnerPhase
from exporter.frozen import dataclass
from exporter.readings import (
    Division,
    Gpu,
    Holder,
    Peer,
    PodOwnership,
    Quantity,
    Role,
    ServerKey,
)
from exporter.units import Instant, Millijoules, Nanoseconds, Picodollars


@dataclass(frozen=True, slots=True)
class Carry:
    """The fraction of a picodollar that an accrual left: `numerator / period`."""

    numerator: int
    period: int


@dataclass(frozen=True, slots=True)
class GpuState:
    """One GPU of the sticky inventory. `up` is false once it is known to be lost, until it is read again.

    `energy_mark` is the last good value of the driver's counter, `energy_age` the time since it was taken,
    `falls` the reads in a row below it. `power_carry` is millijoules x 1e9 left by integrated power.
    `idle_watts` is the lowest mean power seen while at most 1 % busy.
    `recent` holds (duration, energy) of the last ticks, newest last, for the mean power.
    `rounding` is what rounding took from each owner and phase, by component: a hint for fairness, never
    money; it is not kept on disk.
    `holders` are the last known ones, and `slices` the last known parts of its MIG instances by UUID, in
    parts of `money.WHOLE`; `None` for a card without MIG.
    `pci_bus_id` is its last known address, `boots_missed` the boots that began since NVML last listed it.
    `memory_bytes` is its last known memory, all of it, and `None` until it is read.
    `predecessor` is the UUID whose slot it took at `replaced_at`, empty for none, and `priced_as` the GPU
    whose rule priced that slot. `count` is above 1 for several GPUs that NVML never listed.
    """

    gpu: Gpu
    index: int
    up: bool = True
    energy_mark: Millijoules | None = None
    energy_age: Nanoseconds = 0
    falls: int = 0
    power_carry: int = 0
    idle_watts: float | None = None
    recent: tuple[tuple[Nanoseconds, Millijoules], ...] = ()
    carries: Mapping[str, Carry] = field(default_factory=dict)
    holders: tuple[Holder, ...] = ()
    rounding: Mapping[str, Mapping[OwnerPhase, int]] = field(default_factory=dict)
    slices: Mapping[str, int] | None = None
    pci_bus_id: str = ""
    boots_missed: int = 0
    predecessor: str = ""
    replaced_at: Instant = 0
    priced_as: Gpu | None = None
    count: int = 1
    memory_bytes: int | None = None
    recent_sums: tuple[Nanoseconds, Millijoules] | None = field(default=None, compare=False)
    """Those of `recent`, `None` where they are to be added up: 300 ticks of five minutes at one a second."""


@dataclass(frozen=True, slots=True)
class EndpointState:
    """Marks of one endpoint (by URL)."""

    key: ServerKey
    watched_since: Instant
    """Wall time of the first tick that asked for this endpoint."""
    marks: PageMarks = PageMarks()
    """Those of its counters and of its latency histograms."""
    requested: Mapping[str, Instant] = field(default_factory=dict)
    """Since when histograms are read, by objective and its seconds; 0 once a page was read for it."""
    engine: str = ""
    """That of the last page."""
    peer: Peer | None = None
    """The address that answered with it."""
    counted_at: str = ""
    """URL of the endpoint at which its tokens count."""
    own: PageMarks | None = None
    """Its marks of when they began to count there; `None` while it counts itself."""


GatewayConsumer = tuple[str, str, str]
"""Model, deployment and team, as a gateway reports them."""


@dataclass(frozen=True, slots=True)
class GatewayState:
    """Marks of one gateway (by URL)."""

    marks: PageMarks = PageMarks()
    counts: Mapping[GatewayConsumer, tuple[float, float]] = field(default_factory=dict)
    """Sums of prompts and of generation of the last page by consumer, and of consumers that left it."""
    selection: str = ""
    """That of its readings: the marks of other counters are none."""


@dataclass(frozen=True, slots=True)
class DivisionState:
    """Tokens of one model by weight and gateway consumer, with all that was served under `division.OWN`.

    `trailing` is halved every 15 minutes. `pending` are tokens since both sides were last read, which was
    `since` ago. `rounding` is what rounding took from each owner, by quantity; it is not kept on disk.
    """

    trailing: Mapping[str, float] = field(default_factory=dict)
    pending: Mapping[str, float] = field(default_factory=dict)
    since: Nanoseconds = 0
    rounding: Mapping[Quantity, Mapping[CostOwner, int]] = field(default_factory=dict)


UNDIVIDED: Final = DivisionState()
"""The sums of a model that no gateway divides."""


@dataclass(frozen=True, slots=True)
class ModelState:
    """Trailing sums of one model of one server, each halved every 15 minutes.

    `prefill_seconds`, `decode_seconds`: the engine's own GPU seconds by phase.
    `prefill_request_seconds`, `decode_request_seconds`: those of requests that finished, which overlap.
    `running_sum` over `running_time`: requests running in a batch, over ticks with any running.
    `weighted_prefill`, `weighted_decode`: tokens by weight.
    `since_finished` is the time since the last seconds of requests, `since_computed` since the last of the
    engine's own; `None`: never.
    `pending_subtraction` is by kind what is still to be subtracted from counts: a posting never is negative.
    """

    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    prefill_request_seconds: float = 0.0
    decode_request_seconds: float = 0.0
    running_sum: float = 0.0
    running_time: float = 0.0
    weighted_prefill: float = 0.0
    weighted_decode: float = 0.0
    since_finished: Nanoseconds | None = None
    since_computed: Nanoseconds | None = None
    pending_subtraction: Mapping[str, int] = field(default_factory=dict)
    division: DivisionState = UNDIVIDED


@dataclass(frozen=True, slots=True)
class ServerState:
    """One server: its models, first come first.

    `served` are the last reported ones. `partial`: others compute for its tokens (another role, other hosts),
    so that its money over its tokens is no price. `role` and `division` are those of its endpoints.
    """

    models: Mapping[str, ModelState] = field(default_factory=dict)
    served: tuple[str, ...] = ()
    partial: bool = False
    role: Role = ""
    division: Division | None = None
    principal: str = ""
    """Who runs it: a namespace or a user. Rows are bounded by it."""
    absent_since: Instant | None = None
    """Since when it holds no GPU and has no endpoint; `None` while it has."""


@dataclass(frozen=True, slots=True)
class State:
    """State of all parts after a tick.

    `elapsed`, `awake`, `boot` and `wall` are those of the last tick; `elapsed` is `None` when there was none.
    `uncharged` is time that no tick charged, of gaps beyond `gap_max`.
    `fresh_in` is the boot that this ledger is the first of, until a GPU was charged; empty for all others.
    `same_machine` is false where the last tick may have been another machine's: the ledger was adopted, or
    its machine is not known. It matters to the first tick of a process, and is in no file.
    """

    elapsed: Nanoseconds | None = None
    wall: Instant | None = None
    gpus: Mapping[str, GpuState] = field(default_factory=dict)
    endpoints: Mapping[str, EndpointState] = field(default_factory=dict)
    servers: Mapping[ServerKey, ServerState] = field(default_factory=dict)
    accrued: Picodollars = 0
    """Sum of everything accrued since the ledger began."""
    awake: Nanoseconds | None = None
    boot: str = ""
    uncharged: Nanoseconds = 0
    fresh_in: str = ""
    same_machine: bool = True
    owners: Mapping[ServerKey, PodOwnership] = field(default_factory=dict)
    """Product and team that present servers last reported."""
    gateways: Mapping[str, GatewayState] = field(default_factory=dict)
    """Those that are configured, by URL."""
    unseen: Mapping[str, GpuState] = field(default_factory=dict)
    """GPUs that are charged and that NVML never listed, by assumed model."""
    listed_in: str = ""
    """The boot in which NVML last listed the GPUs, empty where it is not known."""
    replaced: int = 0
    """UUIDs that took the slot of another since the ledger began."""
    retired: tuple[str, ...] = ()
    """GPUs of this host that were retired and whose slots are still empty."""
    former: Mapping[str, Gpu] = field(default_factory=dict)
    """As `priced_as`, of GPUs that are in no slot any more, by UUID: what they cost may be charged late."""

    @property
    def predecessors(self) -> tuple[tuple[str, Gpu], ...]:
        """As `Tariff.predecessors`."""
        present = {uuid: gpu.priced_as for uuid, gpu in self.gpus.items() if gpu.priced_as is not None}
        return tuple(sorted({**self.former, **present}.items()))

    @property
    def partial_servers(self) -> frozenset[ServerKey]:
        """Servers whose tokens are computed elsewhere too."""
        return frozenset(key for key, server in self.servers.items() if server.partial or server.role)

    @property
    def gpu_count(self) -> int:
        """GPUs that are charged."""
        return len(self.gpus) + sum(gpu.count for gpu in self.unseen.values())

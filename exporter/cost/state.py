"""State of the cost model from tick to tick: marks, carries, trailing sums. Pure.

Plain values, stored in the ledger.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from exporter.cost.page_marks import PageMarks
from exporter.cost.postings import CostOwner, OwnerPhase
from exporter.readings import (
    Division,
    Frame,
    Gpu,
    Holder,
    Peer,
    PodOwnership,
    Quantity,
    Role,
    ServerKey,
    ServerReading,
)
from exporter.units import Instant, Millijoules, Nanoseconds, Picodollars

GPUS_MAX: Final = 128
"""The most GPUs of a host. So many retired GPUs are remembered, and so many former ones."""


MEMORY_ONLY: Final = {"stored": False}
"""Metadata of a field that ends with the process: no text of the ledger has it."""


@dataclass(frozen=True, slots=True)
class Carry:
    """The fraction of a picodollar that an accrual left: `numerator / period`."""

    numerator: int
    period: int


@dataclass(frozen=True, slots=True)
class GpuState:
    """One GPU slot of the host, and the GPU that sits in it."""

    gpu: Gpu
    index: int
    up: bool = True
    """Whether the GPU is on the bus: a GPU that is known to be lost is not, until it is read again."""
    energy_mark: Millijoules | None = None
    """The last good value of the driver's energy counter."""
    energy_age: Nanoseconds = 0
    """Time since the energy mark was taken."""
    falls: int = 0
    """Reads in a row below the energy mark."""
    power_carry: int = 0
    """Millijoules x 1e9 that integrated power left."""
    idle_watts: float | None = None
    """The lowest mean power while at most 1 % busy."""
    recent: tuple[tuple[Nanoseconds, Millijoules], ...] = ()
    """Duration and energy of the last ticks, newest last, for the mean power."""
    carries: Mapping[str, Carry] = field(default_factory=dict)
    """Fractions of a picodollar that accruals left, by component."""
    holders: tuple[Holder, ...] = ()
    """The last known holders of the GPU."""
    rounding: Mapping[str, Mapping[OwnerPhase, int]] = field(default_factory=dict, metadata=MEMORY_ONLY)
    """What rounding took from each owner and phase, by component.

    A hint for fairness, never money; it is not kept on disk.
    """
    slices: Mapping[str, int] | None = None
    """The last known parts of its MIG instances by UUID, in parts of `money.WHOLE`; `None` without MIG."""
    pci_bus_id: str = ""
    """The last known PCI address of the GPU."""
    boots_missed: int = 0
    """Boots that began since NVML last listed the GPU."""
    predecessor: str = ""
    """UUID of the GPU whose slot this one took, empty for none."""
    replaced_at: Instant = 0
    """When the GPU took the slot of its predecessor."""
    priced_as: Gpu | None = None
    """The GPU whose rule priced the slot of the predecessor."""
    count: int = 1
    """The number of GPUs, above 1 for several that NVML never listed."""
    memory_bytes: int | None = None
    """All memory of the GPU, `None` until it is read."""

    def with_keys(self, renamed: Mapping[ServerKey, ServerKey]) -> "GpuState":
        """The slot with new keys of its holders."""
        holders = tuple(replace(holder, key=renamed.get(holder.key, holder.key)) for holder in self.holders)
        return replace(self, holders=holders)

    def with_rounding_of(self, owners: Collection[CostOwner]) -> "GpuState":
        """The slot without the rounding of other owners, which are not on the host any more."""
        rounding: dict[str, dict[OwnerPhase, int]] = {}
        for component, parts in self.rounding.items():
            rounding[component] = {key: part for key, part in parts.items() if key.owner in owners}
        return replace(self, rounding=rounding)

    def after_boot(self) -> "GpuState":
        """The slot after a boot, in which the driver's energy counter began at zero."""
        mark = None if self.energy_mark is None else 0
        return replace(self, energy_mark=mark, energy_age=0, falls=0)


@dataclass(frozen=True, slots=True)
class EndpointState:
    """Marks of one endpoint (by URL)."""

    key: ServerKey
    watched_since: Instant
    """Wall time of the first tick that asked for this endpoint."""
    marks: PageMarks = field(default_factory=PageMarks)
    """Marks of the endpoint's counters and latency histograms."""
    requested: Mapping[str, Instant | None] = field(default_factory=dict)
    """Since when histograms are asked for, by objective and its seconds; `None` once a page has answered."""
    engine: str = ""
    """The engine of the last page."""
    peer: Peer | None = None
    """The address that answered with the last page."""
    counted_at: str = ""
    """URL of the endpoint at which the tokens of this one count, empty where they count here."""
    own: PageMarks | None = None
    """Marks from when tokens began to count elsewhere; `None` while the endpoint counts itself."""

    def is_same_process(self, reading: ServerReading) -> bool:
        """Whether the process that last answered is that of a page: by its identity, else by who listens."""
        marks = self.marks
        if marks.identity and reading.identity:
            return marks.identity == reading.identity
        return bool(marks.listener) and marks.listener == reading.listener


GatewayConsumer = tuple[str, str, str]
"""Model, deployment and team, as a gateway reports them."""


@dataclass(frozen=True, slots=True)
class GatewayState:
    """Marks of one gateway (by URL)."""

    marks: PageMarks = field(default_factory=PageMarks)
    counts: Mapping[GatewayConsumer, tuple[float, float]] = field(default_factory=dict)
    """Sums of prompts and of generation of the last page by consumer, and of consumers that left it."""
    selection: str = ""
    """The selection of counters that the marks are of."""


@dataclass(frozen=True, slots=True)
class DivisionState:
    """Tokens of one model by weight and gateway consumer, with all that was served under `division.OWN`."""

    trailing: Mapping[str, float] = field(default_factory=dict)
    """Sums that are halved every 15 minutes."""
    pending: Mapping[str, float] = field(default_factory=dict)
    """Tokens since the server and its gateway were last read together."""
    since: Nanoseconds = 0
    """Time since the server and its gateway were last read together."""
    rounding: Mapping[Quantity, Mapping[CostOwner, int]] = field(default_factory=dict, metadata=MEMORY_ONLY)
    """What rounding took from each owner, by quantity; it is not kept on disk."""


UNDIVIDED: Final = DivisionState()
"""The sums of a model that no gateway divides."""


@dataclass(frozen=True, slots=True)
class ModelState:
    """Trailing sums of one model of one server, each halved every 15 minutes."""

    prefill_seconds: float = 0.0
    """The engine's own GPU seconds of prefill."""
    decode_seconds: float = 0.0
    """The engine's own GPU seconds of decode."""
    prefill_request_seconds: float = 0.0
    """Seconds of prefill of requests that finished, which overlap."""
    decode_request_seconds: float = 0.0
    """Seconds of decode of requests that finished, which overlap."""
    running_sum: float = 0.0
    """Requests running in a batch, times the seconds."""
    running_time: float = 0.0
    """Seconds with any request running."""
    weighted_prefill: float = 0.0
    """Tokens of prefill by weight."""
    weighted_decode: float = 0.0
    """Tokens of decode by weight."""
    since_finished: Nanoseconds | None = None
    """Time since the last seconds of requests; `None`: never."""
    since_computed: Nanoseconds | None = None
    """Time since the last of the engine's own seconds; `None`: never."""
    pending_subtraction: Mapping[str, int] = field(default_factory=dict)
    """By kind what is still to be subtracted from counts: a posting never is negative."""
    division: DivisionState = UNDIVIDED

    @property
    def weighted_tokens(self) -> float:
        """Weighted tokens of both phases."""
        return self.weighted_prefill + self.weighted_decode


@dataclass(frozen=True, slots=True)
class ServerState:
    """One server."""

    models: Mapping[str, ModelState] = field(default_factory=dict)
    """Sums of the server's models, first come first."""
    served: tuple[str, ...] = ()
    """The models that the server last reported to serve; empty where it never reported any."""
    partial: bool = False
    """Whether others compute for its tokens (another role, other hosts): money over tokens is no price."""
    role: Role = ""
    """The role of the server's endpoints."""
    division: Division | None = None
    """What divides the server over owners, `None` without a gateway."""
    principal: str = ""
    """Who runs the server: a namespace or a user. Rows are bounded by it."""
    absent_since: Instant | None = None
    """Since when the server holds no GPU and has no endpoint; `None` while it has."""

    @property
    def served_models(self) -> tuple[str, ...]:
        """The models in `served`, or all models where that is empty."""
        return tuple(model for model in self.models if not self.served or model in self.served)


@dataclass(frozen=True, slots=True)
class State:
    """State of all parts after a tick."""

    elapsed: Nanoseconds | None = None
    """Boot time of the last tick; `None` when there was none."""
    wall: Instant | None = None
    """Wall time of the last tick."""
    gpus: Mapping[str, GpuState] = field(default_factory=dict)
    """Slots with a GPU that NVML listed once, by its UUID."""
    endpoints: Mapping[str, EndpointState] = field(default_factory=dict)
    """The endpoints that are watched, by URL."""
    servers: Mapping[ServerKey, ServerState] = field(default_factory=dict)
    accrued: Picodollars = 0
    """Sum of everything accrued since the ledger began."""
    awake: Nanoseconds | None = None
    """Time without suspends at the last tick."""
    boot: str = ""
    """The boot of the last tick."""
    uncharged: Nanoseconds = 0
    """Time that no tick charged, of gaps beyond `gap_max`."""
    fresh_in: str = ""
    """The boot that this ledger is the first of, until a GPU was charged; empty for all others."""
    same_machine: bool = True
    """Whether this machine took the last tick for sure. Of a ledger that was adopted it is not known.

    It matters to the first tick of a process, and is in no file.
    """
    owners: Mapping[ServerKey, PodOwnership] = field(default_factory=dict)
    """Product and team that present servers last reported."""
    gateways: Mapping[str, GatewayState] = field(default_factory=dict)
    """The gateways that are configured, by URL."""
    unseen: Mapping[str, GpuState] = field(default_factory=dict)
    """GPUs that are charged and that NVML never listed, by assumed model."""
    listed_in: str = ""
    """The boot in which NVML last listed the GPUs, empty where it is not known."""
    replaced: int = 0
    """UUIDs that took the slot of another since the ledger began."""
    retired: tuple[str, ...] = ()
    """GPUs of this host that were retired and whose slots are still empty."""
    former: Mapping[str, Gpu] = field(default_factory=dict)
    """By UUID of a GPU without a slot, the GPU by whose rule it was priced: late charges need the price."""

    def rebooted(self, frame: Frame) -> bool:
        """Whether the last tick was in another boot, so that only wall clocks measure the time between."""
        return self.elapsed is not None and self.boot != frame.boot

    def as_of(self, frame: Frame) -> "State":
        """The state that the tick of a frame begins with.

        Servers have the names that they have now. After a boot energy marks are of the new counters.
        """
        renamed = self.renamed_servers(frame)
        slots = {uuid: slot.with_keys(renamed) for uuid, slot in self.gpus.items()}
        unseen = {model: slot.with_keys(renamed) for model, slot in self.unseen.items()}
        if self.rebooted(frame):
            slots = {uuid: slot.after_boot() for uuid, slot in slots.items()}
            unseen = {model: slot.after_boot() for model, slot in unseen.items()}
        owners = {**self.owners, **{owned.key: owned for owned in frame.owners}}
        return replace(self, owners=owners, gpus=slots, unseen=unseen)

    def renamed_servers(self, frame: Frame) -> dict[ServerKey, ServerKey]:
        """The new keys of servers that have another since the last tick, though their processes are the same.

        A server whose processes have several new keys has none of them: nothing shows which of the processes
        held its GPUs.
        """
        present = {reading.key for reading in frame.servers}
        new_keys: dict[ServerKey, set[ServerKey]] = {}
        for reading in frame.servers:
            last = self.endpoints.get(reading.url)
            if last is not None and last.key not in present and last.is_same_process(reading):
                new_keys.setdefault(last.key, set()).add(reading.key)
        return {key: min(keys) for key, keys in new_keys.items() if len(keys) == 1}

    @property
    def predecessors(self) -> tuple[tuple[str, Gpu], ...]:
        """As `Tariff.predecessors`."""
        return tuple(sorted(self._pricing_gpus().items()))

    def _pricing_gpus(self) -> dict[str, Gpu]:
        """By UUID of a GPU, the GPU by whose rule it is priced: first GPUs without a slot."""
        in_slots = {uuid: slot.priced_as for uuid, slot in self.gpus.items() if slot.priced_as is not None}
        return {**self.former, **in_slots}

    def former_after(self, present: Collection[str]) -> dict[str, Gpu]:
        """`former` after a tick that leaves GPUs of these UUIDs in slots; GPUs that left last come last."""
        gone = [(uuid, gpu) for uuid, gpu in self._pricing_gpus().items() if uuid not in present]
        return dict(gone[-GPUS_MAX:])

    @property
    def partial_servers(self) -> frozenset[ServerKey]:
        """Servers whose tokens are computed elsewhere too."""
        return frozenset(key for key, server in self.servers.items() if server.partial or server.role)

    @property
    def gpu_count(self) -> int:
        """GPUs that are charged."""
        return len(self.gpus) + sum(gpu.count for gpu in self.unseen.values())

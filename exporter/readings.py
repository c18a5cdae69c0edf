"""What a source may say. SI units; `None` where the source cannot say, never a stand-in value.

A frame is all readings of one tick. Data and health are kept apart: an absent reading says nothing about why.
"""

import math
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol, TypeVar

from exporter.units import Instant, Millijoules, Nanoseconds

Kind = Literal["prompt", "cached_prompt", "generation"]
KINDS: Final[tuple[Kind, ...]] = ("prompt", "cached_prompt", "generation")

Quantity = Literal[
    "prompt",
    "cached_prompt",
    "generation",
    "requests",
    "prefill_seconds",
    "decode_seconds",
    "decode_request_seconds",
]
"""What a server's counter counts.

`decode_request_seconds` overlap (all running requests tick at once) and are divided by the mean batch;
`decode_seconds` do not overlap, or overlap exactly as the prefill seconds beside them do.
"""

Role = Literal["", "prefill", "decode"]
"""What a server does of a disaggregated pair; empty for one that does both."""

LABEL_CHARACTERS: Final = 128
"""Longest label value that is exported."""


class Gpu(NamedTuple):
    """A GPU's lasting identity. An index changes at reboot and is none."""

    uuid: str
    gpu_model: str


NodeLabels = tuple[tuple[str, str], ...]
"""The labels of a Kubernetes node, sorted by name."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a host runs, as its cloud or its cluster says; empty strings where it cannot tell.

    `node_labels` are `None` while its cluster has labels for it and does not tell them: which is not "none".
    """

    cloud: str = ""  # aws, gcp, azure, oci, nebius
    instance_type: str = ""
    region: str = ""
    zone: str = ""
    lifecycle: str = ""  # on_demand, spot, reserved..., "" unknown
    source: str = ""  # who told: "dmi", "aws metadata", "node labels", "configuration"
    node_labels: NodeLabels | None = ()


NOWHERE: Final = Place()
"""Of a host of which nothing is known."""


@dataclass(frozen=True, slots=True)
class MigInstance:
    """One compute instance of a card in MIG mode, as NVML tells it; `uuid` is its own (`MIG-...`).

    `gpu_slices` and `memory_bytes` are those of its GPU instance, which other compute instances may share;
    `compute_slices` are its own.
    `utilization_ratio` is the mean since the previous read, where GPM tells it: that of its GPU instance too.
    """

    uuid: str
    gpu_instance: int
    compute_instance: int = 0
    profile: str = ""  # 1g.10gb
    gpu_slices: int | None = None
    compute_slices: int | None = None
    memory_bytes: int | None = None
    utilization_ratio: float | None = None


class GpuProcess(NamedTuple):
    """One process that computes on a GPU.

    `sm_ratio` is its mean SM utilization since the previous read: 0 where others used some and it did not,
    `None` where nothing tells, and on a GPU that it has to itself, where it is not asked for.
    A server of MPS is a process like its clients.
    `instance` is the UUID of the MIG instance that it runs on, empty on a whole GPU.
    """

    pid: int
    memory_bytes: int | None = None
    sm_ratio: float | None = None
    instance: str = ""


@dataclass(frozen=True, slots=True)
class GpuReading:
    """One GPU as NVML told it in one tick.

    `energy` is the driver's counter since it was loaded.
    `utilization_ratio` is the mean since the previous read, 0 to 1.
    `up` is false for a GPU that the driver still counts and cannot read: what it would measure is `None`.
    `minor` is the number of its device node (`/dev/nvidia0`), by which some clusters name it.
    `mig_profile` is how a card is cut, in a word: 3g.20gb,2x1g.5gb; "none" for nothing, empty if whole.
    `instances` are those of a card in MIG mode, `None` where that is off; `()` is a card cut into nothing.
    A card in MIG mode has no `utilization_ratio` of its own.
    `processes` is `None` where NVML does not tell who computes on it, which is not "nobody".
    """

    gpu: Gpu
    index: int
    up: bool = True
    pci_bus_id: str = ""
    driver_version: str = ""
    mig_profile: str = ""
    utilization_ratio: float | None = None
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    power_watts: float | None = None
    power_limit_watts: float | None = None
    energy: Millijoules | None = None
    minor: int | None = None
    instances: tuple[MigInstance, ...] | None = None
    processes: tuple[GpuProcess, ...] | None = None


@dataclass(frozen=True, slots=True)
class CounterReading:
    """One raw series of a server's page, with what it counts.

    `series` names the series within its server; deltas are taken per series, then summed.
    `sign` is -1 where an engine counts something inside another counter that must be taken out of it
    (cached tokens inside the prompt counter).
    """

    series: str
    model: str
    quantity: Quantity
    value: float
    sign: Literal[1, -1] = 1


@dataclass(frozen=True, slots=True)
class LoadReading:
    """Requests of one model at the moment of the read."""

    model: str
    running: float | None = None
    waiting: float | None = None


class ServerKey(NamedTuple):
    """A server as the operator thinks of it; its replicas on one host share the key."""

    namespace: str
    server: str


@dataclass(frozen=True, slots=True)
class ServerReading:
    """One endpoint of a server in one tick.

    `up` is false when it did not answer: the counters are then empty and nothing is known.
    `identity` changes when the process behind the endpoint is another one; empty where nothing tells.
    `started` is when that process started, where it can be told; `absent_at` is a moment at which it was
    looked for and was not there.
    `models` are the models it serves, loaded or not.
    `role` is its part of a disaggregated pair. `spans_hosts`: other hosts compute for it, too.
    `world_size` is on how many GPUs its engine says that it runs, on all hosts together (TP x PP x DP).
    """

    key: ServerKey
    url: str
    up: bool
    engine: str = ""
    engine_version: str = ""
    pod: str = ""
    identity: str = ""
    started: Instant | None = None
    absent_at: Instant | None = None
    counters: tuple[CounterReading, ...] = ()
    loads: tuple[LoadReading, ...] = ()
    models: tuple[str, ...] = ()
    role: Role = ""
    spans_hosts: bool = False
    world_size: int | None = None


@dataclass(frozen=True, slots=True)
class Holder:
    """One server holding one GPU, or one MIG instance of it where `instance` names one (`MIG-...`).

    `share_ratio` is its configured part, `None` where none is configured.
    `sm_ratio` and `memory_bytes`: what its processes together were seen to use, `None` where nothing tells.
    """

    key: ServerKey
    uuid: str
    share_ratio: float | None = None
    instance: str = ""
    sm_ratio: float | None = None
    memory_bytes: int | None = None


class Owned(NamedTuple):
    """Who pays for a server as the server's own labels say; empty strings where they do not."""

    key: ServerKey
    product: str = ""
    team: str = ""


@dataclass(frozen=True, slots=True)
class SourceHealth:
    """How one source fared in one tick. `reason` is a short fixed word, empty when `up`."""

    source: str
    up: bool
    duration: Nanoseconds
    reason: str = ""
    errors: tuple[tuple[str, int], ...] = ()
    """Partial failures that did not cost the reading, by reason."""


@dataclass(frozen=True, slots=True)
class Frame:
    """All readings of one tick, and when it was taken.

    `gpus` is `None` while NVML is silent (hung, upgrading): nothing is known, which is not "no GPUs".
    `servers` names every watched endpoint, those that did not answer included.
    `unsure` are the UUIDs of GPUs of which nobody could tell who holds them: their last holders hold on.
    `blind`: nobody could tell which servers are here, so that one that is not among `servers` may be.
    `owners` are told of servers whose labels were read; of others they are as they last were.
    `elapsed` counts from the boot that `boot` names; `awake` is it without suspended time, where known.
    """

    elapsed: Nanoseconds
    wall: Instant
    gpus: tuple[GpuReading, ...] | None
    servers: tuple[ServerReading, ...] = ()
    holders: tuple[Holder, ...] = ()
    unsure: frozenset[str] = frozenset()
    owners: tuple[Owned, ...] = ()
    health: tuple[SourceHealth, ...] = ()
    awake: Nanoseconds | None = None
    boot: str = ""
    blind: bool = False


class ReadFailedError(Exception):
    """A source could not read this time; the next tick tries again.

    `reason` is a short fixed word (a metric's label), the message is for people.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class MustRestartError(Exception):
    """A source found a state that only a new process can leave; the daemon exits with this message."""


T_co = TypeVar("T_co", covariant=True)


class Source(Protocol[T_co]):
    """Something that is read. Reading is bounded in time and never changes what is read."""

    @property
    def name(self) -> str:
        """The value of the `source` label."""
        ...

    @property
    def errors(self) -> tuple[tuple[str, int], ...]:
        """Failures that did not cost the last reading, by reason."""
        ...

    def read(self) -> T_co:
        """Read once.

        Raises:
            ReadFailedError: nothing could be read this time.
            MustRestartError: only a new process can read again.
        """
        ...

    def close(self) -> None:
        """Let go of what is held. Idempotent."""
        ...


def label(text: str) -> str:
    """A label value made of text from outside: no control characters, at most 128 characters."""
    return "".join(c for c in text if c.isprintable())[:LABEL_CHARACTERS]


def ratio(value: float | None) -> float | None:
    """A ratio in 0..1; anything else is not a reading."""
    if value is None or not math.isfinite(value) or not 0.0 <= value <= 1.0:
        return None
    return value

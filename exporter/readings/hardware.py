"""What is said of GPUs, and of where they are."""

from dataclasses import dataclass
from typing import Final, NamedTuple

from exporter.units import Millijoules


class Gpu(NamedTuple):
    """A GPU's lasting identity. An index changes at reboot and is none."""

    uuid: str
    gpu_model: str


NodeLabels = tuple[tuple[str, str], ...]
"""The labels of a Kubernetes node, sorted by name."""


@dataclass(frozen=True, slots=True)
class HostLocation:
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


UNKNOWN_LOCATION: Final = HostLocation()
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

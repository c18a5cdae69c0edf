"""Readings of GPUs, and the location of their host."""

from typing import Final, NamedTuple

from exporter.frozen import dataclass
from exporter.units import Millijoules


class Gpu(NamedTuple):
    """A GPU's lasting identity. An index is none, since it may change at reboot."""

    uuid: str
    gpu_model: str


UNSEEN: Final = "unseen"
"""The UUID of GPUs that are charged and that NVML never listed."""

UNCOUNTED: Final = Gpu(UNSEEN, "unknown")
"""All GPUs of a host together, while their number or price is not known. It is one, and has no price."""


@dataclass(frozen=True, slots=True)
class GpuEvidence:
    """What a host shows of its GPUs beside their list.

    `library`: NVML's library loads here, whether or not it lists a GPU.
    `devices` is the number of NVIDIA display devices on the PCI bus, without those of a VM (vfio-pci), which
    `passed_through` counts.
    `booted`: it booted since the read before, where no boot id says so. `gone` are GPUs that it is known to
    have no more: another host has them, or it was made anew.
    """

    library: bool = False
    devices: int = 0
    passed_through: int = 0
    booted: bool = False
    gone: frozenset[str] = frozenset()


NO_EVIDENCE: Final = GpuEvidence()
"""That of a host without a sign of a GPU, or of one whose GPUs are listed: they need none."""


NodeLabels = tuple[tuple[str, str], ...]
"""The labels of a Kubernetes node, sorted by name."""


@dataclass(frozen=True, slots=True)
class HostLocation:
    """Location of a host, from its cloud or its cluster; empty strings where unknown.

    `node_labels` are `None` while its cluster has labels that could not be read, which is not "none".
    """

    cloud: str = ""  # aws, gcp, azure, oci, nebius
    instance_type: str = ""
    region: str = ""
    zone: str = ""
    lifecycle: str = ""  # on_demand, spot, reserved..., "" unknown
    source: str = ""  # "dmi", "aws metadata", "node labels", "configuration"
    node_labels: NodeLabels | None = ()


UNKNOWN_LOCATION: Final = HostLocation()
"""Location of a host without any source for it."""


@dataclass(frozen=True, slots=True)
class MigInstance:
    """One compute instance of a card in MIG mode; `uuid` is its own (`MIG-...`).

    `gpu_slices` and `memory_bytes` are those of its GPU instance, which other compute instances may share;
    `compute_slices` are its own.
    `utilization_ratio` is the mean since the previous read, by GPM, for its whole GPU instance.
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

    `sm_ratio` is its mean SM utilization since the previous read: 0 if only other processes used any, `None`
    if unknown, and on a GPU with one process, for which it is not read.
    An MPS server is a process like its clients.
    `instance` is the UUID of its MIG instance, empty on a whole GPU.
    """

    pid: int
    memory_bytes: int | None = None
    sm_ratio: float | None = None
    instance: str = ""


@dataclass(frozen=True, slots=True)
class GpuReading:
    """One GPU in one tick, by NVML.

    `energy` is the driver's counter since it was loaded.
    `utilization_ratio` is the mean since the previous read, 0 to 1.
    `up` is false for a GPU that the driver counts and cannot read: its measured values are `None`.
    `minor` is the number of its device node (`/dev/nvidia0`), by which some clusters name it.
    `mig_profile` summarizes the instances: 3g.20gb,2x1g.5gb; "none" without any, empty for a whole card.
    `instances` are those of a card in MIG mode, `None` without MIG mode.
    A card in MIG mode has no `utilization_ratio` of its own.
    `processes` is `None` where NVML does not list the processes, which is not "none".
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

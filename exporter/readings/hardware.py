"""Readings of GPUs, and the location of their host."""

from dataclasses import dataclass
from typing import Final, NamedTuple

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
    """What a host shows of its GPUs beside their list."""

    library: bool = False
    """Whether a vendor's library loads here, whether or not it lists a GPU."""
    devices: int = 0
    """Number of GPUs on the PCI bus, without those of a VM (vfio-pci)."""
    passed_through: int = 0
    """Number of those of a VM."""
    booted: bool = False
    """Whether it booted since the read before, where no boot id says so."""
    gone: frozenset[str] = frozenset()
    """GPUs that it is known to have no more: another host has them, or it was made anew."""


NO_EVIDENCE: Final = GpuEvidence()
"""That of a host without a sign of a GPU, or of one whose GPUs are listed: they need none."""


NodeLabels = tuple[tuple[str, str], ...]
"""The labels of a Kubernetes node, sorted by name."""


@dataclass(frozen=True, slots=True)
class HostLocation:
    """Location of a host, from its cloud or its cluster; empty strings where unknown."""

    cloud: str = ""  # aws, gcp, azure, oci, nebius
    instance_type: str = ""
    region: str = ""
    zone: str = ""
    lifecycle: str = ""  # on_demand, spot, reserved..., "" unknown
    source: str = ""  # "dmi", "aws metadata", "node labels", "configuration"
    node_labels: NodeLabels | None = ()
    """`None` while its cluster has labels that could not be read, which is not "none"."""


UNKNOWN_LOCATION: Final = HostLocation()
"""Location of a host without any source for it."""


@dataclass(frozen=True, slots=True)
class MigInstance:
    """One compute instance of a card in MIG mode."""

    uuid: str
    """Its own UUID (`MIG-...`)."""
    gpu_instance: int
    compute_instance: int = 0
    profile: str = ""  # 1g.10gb
    gpu_slices: int | None = None
    """Slices of its GPU instance, which other compute instances may share."""
    compute_slices: int | None = None
    """Its own slices."""
    memory_bytes: int | None = None
    """Memory of its GPU instance."""
    utilization_ratio: float | None = None
    """Mean since the previous read, by GPM, for its whole GPU instance."""


class GpuProcess(NamedTuple):
    """One process that computes on a GPU. An MPS server is a process like its clients."""

    pid: int
    memory_bytes: int | None = None
    sm_ratio: float | None = None
    """Mean SM utilization since the previous read: 0 if only other processes used any, `None` if unknown, and
    on a GPU with one process, for which it is not read."""
    instance: str = ""
    """UUID of its MIG instance, empty on a whole GPU."""


@dataclass(frozen=True, slots=True)
class GpuReading:
    """One GPU in one tick, by its vendor's driver."""

    gpu: Gpu
    index: int
    up: bool = True
    """False for a GPU that the driver counts and cannot read: its measured values are `None`."""
    pci_bus_id: str = ""
    driver_version: str = ""
    mig_profile: str = ""
    """Summary of the instances: 3g.20gb,2x1g.5gb; "none" without any, empty for a whole card."""
    utilization_ratio: float | None = None
    """Mean since the previous read, 0 to 1; `None` of a card in MIG mode."""
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    power_watts: float | None = None
    power_limit_watts: float | None = None
    energy: Millijoules | None = None
    """The driver's counter since it was loaded."""
    device: str = ""
    """Name of its device file, by which some clusters name it: `nvidia0`, or a PCI address."""
    instances: tuple[MigInstance, ...] | None = None
    """Those of a card in MIG mode; `None` without MIG mode."""
    processes: tuple[GpuProcess, ...] | None = None
    """`None` where NVML does not list the processes, which is not "none"."""

    @property
    def measures_energy(self) -> bool:
        """Whether the driver reports the energy of the GPU, or its power."""
        return self.energy is not None or self.power_watts is not None

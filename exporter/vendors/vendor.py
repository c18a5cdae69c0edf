"""Description of a vendor: what everything but the source of its GPUs must know of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple


class Placement(NamedTuple):
    """A GPU instance as nvmlGpuInstanceInfo_t places it: the id of its profile, and its first slice."""

    profile: int
    start: int


@dataclass(frozen=True, slots=True)
class Device:
    """One GPU, or one part of a GPU, as far as the id that a cluster gave it says which."""

    uuid: str = ""
    """The GPU's; empty where the id has its `name`, or the UUID of a part."""
    name: str = ""
    """Of its device file, as in `GpuReading.device`."""
    mig_uuid: str = ""
    """The part's, as the vendor spells it."""
    gpu_instance: int | None = None
    """Id of the part on its GPU."""
    placement: Placement | None = None
    """Position of the part, where the id has neither."""
    replica: int | None = None
    """Distinguishes the shares of a shared device; `None` of one that is not shared."""
    every: bool = False
    """All GPUs of the host."""


@dataclass(frozen=True, slots=True)
class GpuVendor:
    """Names of one vendor's GPUs in configurations, clusters, rules and on the PCI bus."""

    library: str
    """What its GPUs are read by, for people."""
    source: str
    """Name of the source that reads its GPUs: the label `source` of metrics and rules."""
    spelled_uuid: Callable[[str], str | None]
    """The UUID of a whole GPU as the source spells it; `None` for a text that is none."""
    uuid_help: str
    """Where an operator finds a UUID, and its form."""
    id_prefixes: tuple[str, ...]
    """Beginnings of the UUIDs of its GPUs and their parts that no other vendor's have; empty without any."""
    resource_prefix: str
    """Beginning of its extended resources in Kubernetes."""
    gpu_resources: str
    """Pattern of the resources that are GPUs, as kube-state-metrics spells them."""
    plugin_device: Callable[[str, str], Device | None]
    """The device of a resource and an id of a device plugin; `None` if unknown."""
    dra_driver: str
    """Its driver of dynamic resource allocation; empty without one."""
    claimed_device: Callable[[str], Device | None]
    """The device of a name of that driver; `None` if unknown."""
    pci_vendor: str
    """Id of the vendor on the PCI bus, as sysfs has it."""
    pci_class: str
    """Beginning of the classes of its GPUs on the PCI bus."""

    def is_id(self, text: str) -> bool:
        """Whether a text can only be an id of one of its GPUs, or of a part."""
        return bool(self.id_prefixes) and text.startswith(self.id_prefixes)

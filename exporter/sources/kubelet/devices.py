"""Which GPU, or which part of one, the id of a device names."""

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

from exporter.readings import LABEL_CHARACTERS

UUID: Final = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
INDEX: Final = r"[0-9]{1,4}"

# NVIDIA's device plugin: `GPU-<uuid>` whatever its DEVICE_ID_STRATEGY, `::<n>` appended for each replica
# under time-slicing and MPS (rm.AnnotatedID). Before driver 470 a MIG device was `MIG-GPU-<uuid>/<gi>/<ci>`.
PLUGIN: Final = re.compile(
    rf"(?:(?P<gpu>GPU-{UUID})|(?P<mig>MIG-{UUID})|(?P<old>MIG-(?P<parent>GPU-{UUID})/(?P<gi>{INDEX})/{INDEX}))"
    rf"(?:::(?P<replica>{INDEX}))?"
)

# GKE's device plugin names device files, and shares them as `vgpu` (its gpusharing package).
GKE: Final = re.compile(rf"nvidia(?P<minor>{INDEX})(?:/gi(?P<gi>{INDEX}))?(?:/vgpu(?P<replica>{INDEX}))?")

# NVIDIA's DRA driver (mig.go): gpu-<minor>-mig-<profile, no dot>-<profile id>-<start>. Before, it had
# gpu-<minor>-mig-<profile id>-<start>-<size>. A card that is passed through to a machine is gpu-vfio-<n>, and
# not one that NVML sees.
DRA: Final = re.compile(
    rf"gpu-(?P<minor>{INDEX})(?:-mig-(?:(?:[0-9]c)?[0-9]{{1,2}}g[0-9]+gb[a-z0-9-]*-(?P<profile>{INDEX})-(?P<start>{INDEX})"
    rf"|(?P<old_profile>{INDEX})-(?P<old_start>{INDEX})-{INDEX}))?"
)

EVERY: Final = "all"
"""The one device that NVIDIA's plugin has on WSL."""

NVIDIA: Final = "nvidia.com/"
"""Prefix of the resources of NVIDIA's and Google's device plugins, and of network cards of NVIDIA's."""

DRA_DRIVER: Final = "gpu.nvidia.com"


class Placement(NamedTuple):
    """A GPU instance as nvmlGpuInstanceInfo_t places it: the id of its profile, and its first slice."""

    profile: int
    start: int


@dataclass(frozen=True, slots=True)
class Device:
    """One GPU, or one MIG device of one, as far as its id tells.

    `uuid` is the GPU's; empty where the id has only its `minor` number (/dev/nvidia<minor>, NVML's
    nvmlDeviceGetMinorNumber) or the UUID of a MIG device.
    Of a MIG device one of these is told: `mig_uuid` as NVML spells it, `gpu_instance` (the id on its GPU), or
    `placement`. `replica` tells apart the shares of a device that is shared, and is `None` for one that is
    not. `every` stands for all GPUs of the host.
    """

    uuid: str = ""
    minor: int | None = None
    mig_uuid: str = ""
    gpu_instance: int | None = None
    placement: Placement | None = None
    replica: int | None = None
    every: bool = False


def concerns_gpus(resource: str, identifier: str) -> bool:
    """Whether an id is one to understand, or a device of another kind."""
    return resource.startswith(NVIDIA) or identifier.startswith(("GPU-", "MIG-"))


def plugin_device(resource: str, identifier: str) -> Device | None:
    """What the id of a device plugin's device names; `None` where that is not known.

    UUIDs are understood under any resource, since plugins may be told to rename theirs.
    """
    if found := PLUGIN.fullmatch(identifier):
        return Device(
            uuid=found["gpu"] or found["parent"] or "",
            mig_uuid=found["mig"] or found["old"] or "",
            gpu_instance=_number(found["gi"]),
            replica=_number(found["replica"]),
        )
    if not resource.startswith(NVIDIA):
        return None
    if identifier == EVERY:
        return Device(every=True)
    if found := GKE.fullmatch(identifier):
        return Device(
            minor=int(found["minor"]),
            gpu_instance=_number(found["gi"]),
            replica=_number(found["replica"]),
        )
    return None


def claimed_device(name: str) -> Device | None:
    """What the name of a device of the driver `gpu.nvidia.com` names; `None` where that is not known."""
    found = DRA.fullmatch(name)
    if found is None:
        return None
    profile = _number(found["profile"] or found["old_profile"])
    start = _number(found["start"] or found["old_start"])
    placement = None if profile is None or start is None else Placement(profile, start)
    return Device(minor=int(found["minor"]), placement=placement)


def shown(identifier: str) -> str:
    """An id for people, bounded and on one line."""
    return "".join(c for c in identifier[: 2 * LABEL_CHARACTERS] if c.isprintable())[:LABEL_CHARACTERS]


def _number(digits: str | None) -> int | None:
    return None if digits is None else int(digits)

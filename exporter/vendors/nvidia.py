"""NVIDIA's GPUs by the names of NVML, of its device plugin and DRA driver, and of GKE's device plugin."""

import re
from typing import Final

from exporter.vendors.vendor import Device, GpuVendor, Placement

_UUID: Final = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_INDEX: Final = r"[0-9]{1,4}"

_GPU: Final = re.compile(f"GPU-{_UUID}", re.IGNORECASE | re.ASCII)

# NVIDIA's device plugin: `GPU-<uuid>` whatever its DEVICE_ID_STRATEGY, `::<n>` appended for each replica
# under time-slicing and MPS (rm.AnnotatedID). Before driver 470 a MIG device was `MIG-GPU-<uuid>/<gi>/<ci>`.
_PLUGIN: Final = re.compile(
    rf"(?:(?P<gpu>GPU-{_UUID})|(?P<mig>MIG-{_UUID})|(?P<old>MIG-(?P<parent>GPU-{_UUID})/(?P<gi>{_INDEX})/{_INDEX}))"
    rf"(?:::(?P<replica>{_INDEX}))?"
)

# GKE's device plugin names device files, and shares them as `vgpu` (its gpusharing package).
_GKE: Final = re.compile(rf"nvidia(?P<minor>{_INDEX})(?:/gi(?P<gi>{_INDEX}))?(?:/vgpu(?P<replica>{_INDEX}))?")

# NVIDIA's DRA driver (mig.go): gpu-<minor>-mig-<profile, no dot>-<profile id>-<start>. Before, it had
# gpu-<minor>-mig-<profile id>-<start>-<size>. A card that is passed through to a machine is gpu-vfio-<n>, and
# not one that NVML sees.
_DRA: Final = re.compile(
    rf"gpu-(?P<minor>{_INDEX})(?:-mig-(?:(?:[0-9]c)?[0-9]{{1,2}}g[0-9]+gb[a-z0-9-]*-(?P<profile>{_INDEX})-(?P<start>{_INDEX})"
    rf"|(?P<old_profile>{_INDEX})-(?P<old_start>{_INDEX})-{_INDEX}))?"
)

_EVERY: Final = "all"
"""The one device that NVIDIA's plugin has on WSL."""

_RESOURCES: Final = "nvidia.com/"
"""Prefix of the resources of NVIDIA's and Google's device plugins, and of network cards of NVIDIA's."""


def device_name(minor: int) -> str:
    """Name of the file below /dev of the GPU with this minor number."""
    return f"nvidia{minor}"


def _spelled_uuid(text: str) -> str | None:
    return f"GPU-{text[4:].lower()}" if _GPU.fullmatch(text) else None


def _plugin_device(resource: str, identifier: str) -> Device | None:
    """UUIDs are accepted under any resource, since plugins may rename theirs."""
    if match := _PLUGIN.fullmatch(identifier):
        return Device(
            uuid=match["gpu"] or match["parent"] or "",
            mig_uuid=match["mig"] or match["old"] or "",
            gpu_instance=_number(match["gi"]),
            replica=_number(match["replica"]),
        )
    if not resource.startswith(_RESOURCES):
        return None
    if identifier == _EVERY:
        return Device(every=True)
    if match := _GKE.fullmatch(identifier):
        return Device(
            name=device_name(int(match["minor"])),
            gpu_instance=_number(match["gi"]),
            replica=_number(match["replica"]),
        )
    return None


def _claimed_device(name: str) -> Device | None:
    match = _DRA.fullmatch(name)
    if match is None:
        return None
    profile = _number(match["profile"] or match["old_profile"])
    start = _number(match["start"] or match["old_start"])
    placement = None if profile is None or start is None else Placement(profile, start)
    return Device(name=device_name(int(match["minor"])), placement=placement)


def _number(digits: str | None) -> int | None:
    return None if digits is None else int(digits)


NVIDIA: Final = GpuVendor(
    library="NVML",
    source="nvml",
    spelled_uuid=_spelled_uuid,
    uuid_help=(
        "copy it from nvidia-smi -L, all of it: "
        "GPU-, then 8, 4, 4, 4 and 12 hexadecimal digits with - between them"
    ),
    id_prefixes=("GPU-", "MIG-"),
    resource_prefix=_RESOURCES,
    gpu_resources="nvidia_com_(gpu|mig_.+)",
    plugin_device=_plugin_device,
    dra_driver="gpu.nvidia.com",
    claimed_device=_claimed_device,
    pci_vendor="0x10de",
    pci_class="0x03",
)
"""A display device is of class 0x0300 with a display, 0x0302 without."""

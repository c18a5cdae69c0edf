"""GPUs on the PCI bus, by sysfs: the sign of a GPU host whose driver lists no GPU."""

import os
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from exporter.sources.machine import short_text
from exporter.vendors import GpuVendor

DEVICES: Final = "sys/bus/pci/devices"
"""A link for each device of the bus (Documentation/PCI/sysfs-pci.rst)."""

VM_DRIVER: Final = "vfio-pci"
"""The driver of a device that a VM has."""

DEVICES_MAX: Final = 4096
"""Devices looked at; a host with 8 GPUs has some 300."""


class DisplayDevices(NamedTuple):
    """GPUs of one vendor on the bus."""

    here: int = 0
    """Number of GPUs that this host has."""
    passed_through: int = 0
    """Number of GPUs that a VM has."""


def display_devices(vendor: GpuVendor, root: Path = Path("/")) -> DisplayDevices:
    """The GPUs of a vendor on the bus of this machine; none where sysfs cannot be read."""
    try:
        with os.scandir(root / DEVICES) as entries:
            devices = [Path(entry.path) for entry in islice(entries, DEVICES_MAX)]
    except OSError:
        devices = []
    here = passed_through = 0
    for device in devices:
        if short_text(device / "vendor") != vendor.pci_vendor:
            continue
        if not short_text(device / "class").startswith(vendor.pci_class):
            continue
        try:
            driver = (device / "driver").readlink().name
        except OSError:  # it has none
            driver = ""
        if driver == VM_DRIVER:
            passed_through += 1
        else:
            here += 1
    return DisplayDevices(here, passed_through)

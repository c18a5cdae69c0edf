"""GPUs on the PCI bus, by sysfs: the sign of a GPU host whose driver lists no GPU."""

import os
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from exporter.clock import Clock
from exporter.units import NANOSECONDS_PER_SECOND, Nanoseconds
from exporter.vendors import GpuVendor

DEVICES: Final = "sys/bus/pci/devices"
"""A link for each device of the bus (Documentation/PCI/sysfs-pci.rst)."""

VM_DRIVER: Final = "vfio-pci"
"""The driver of a device that a VM has."""

DEVICES_MAX: Final = 4096
"""Devices looked at; a host with 8 GPUs has some 300."""

BYTES_MAX: Final = 32
"""Bytes read of one file; a class takes 9."""

REREAD_AFTER: Final[Nanoseconds] = 30 * NANOSECONDS_PER_SECOND
"""How long an answer is reused."""


class DisplayDevices(NamedTuple):
    """GPUs of one vendor: those of this host, and those that a VM has."""

    here: int = 0
    passed_through: int = 0


class PciBus:
    """The GPUs on the bus of this machine, read every 30 s at most."""

    def __init__(self, clock: Clock, root: Path = Path("/")) -> None:
        self._clock = clock
        self._folder = root / DEVICES
        self._answers: dict[str, DisplayDevices] = {}
        self._read_at: Nanoseconds | None = None

    def __call__(self, vendor: GpuVendor) -> DisplayDevices:
        """The GPUs of a vendor; none where sysfs cannot be read."""
        now = self._clock.elapsed()
        if self._read_at is None or now - self._read_at >= REREAD_AFTER:
            self._answers, self._read_at = {}, now
        if vendor.pci_vendor not in self._answers:
            self._answers[vendor.pci_vendor] = self._count(vendor)
        return self._answers[vendor.pci_vendor]

    def _count(self, vendor: GpuVendor) -> DisplayDevices:
        try:
            with os.scandir(self._folder) as entries:
                devices = [Path(entry.path) for entry in islice(entries, DEVICES_MAX)]
        except OSError:
            devices = []
        here = passed_through = 0
        for device in devices:
            if _word(device / "vendor") != vendor.pci_vendor:
                continue
            if not _word(device / "class").startswith(vendor.pci_class):
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


def _word(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(BYTES_MAX).decode("ascii").strip().lower()
    except (OSError, UnicodeError):
        return ""

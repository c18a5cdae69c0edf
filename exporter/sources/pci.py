"""NVIDIA display devices on the PCI bus, by sysfs: the sign of a GPU host whose driver lists no GPU."""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from exporter.clock import Clock
from exporter.units import NANOSECONDS_PER_SECOND, Nanoseconds

DEVICES: Final = "sys/bus/pci/devices"
"""A link for each device of the bus (Documentation/PCI/sysfs-pci.rst)."""

NVIDIA: Final = "0x10de"
"""The vendor, as its file has it."""

DISPLAY: Final = "0x03"
"""The first byte of the class of a display device: 0x0300 with a display, 0x0302 without."""

VM_DRIVER: Final = "vfio-pci"
"""The driver of a device that a VM has."""

DEVICES_MAX: Final = 4096
"""Devices looked at; a host with 8 GPUs has some 300."""

BYTES_MAX: Final = 32
"""Bytes read of one file; a class takes 9."""

REREAD_AFTER: Final[Nanoseconds] = 30 * NANOSECONDS_PER_SECOND
"""How long an answer is reused."""


class DisplayDevices(NamedTuple):
    """NVIDIA display devices: those of this host, and those that a VM has."""

    here: int = 0
    passed_through: int = 0


def display_devices(root: Path = Path("/")) -> DisplayDevices:
    """The NVIDIA display devices of this machine; none where sysfs cannot be read.

    Args:
        root: the folder with the files of the host.
    """
    here = passed_through = 0
    for device in _devices(root / DEVICES):
        if _word(device / "vendor") != NVIDIA or not _word(device / "class").startswith(DISPLAY):
            continue
        if _driver(device) == VM_DRIVER:
            passed_through += 1
        else:
            here += 1
    return DisplayDevices(here, passed_through)


class PciBus:
    """The display devices of this machine, read every 30 s at most."""

    def __init__(self, clock: Clock, root: Path = Path("/")) -> None:
        self._clock = clock
        self._root = root
        self._answer = DisplayDevices()
        self._read_at: Nanoseconds | None = None

    def __call__(self) -> DisplayDevices:
        """As `display_devices`."""
        now = self._clock.elapsed()
        if self._read_at is None or now - self._read_at >= REREAD_AFTER:
            self._answer, self._read_at = display_devices(self._root), now
        return self._answer


def _devices(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            yield from [Path(entry.path) for entry in islice(entries, DEVICES_MAX)]
    except OSError:
        return


def _word(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(BYTES_MAX).decode("ascii").strip().lower()
    except (OSError, UnicodeError):
        return ""


def _driver(device: Path) -> str:
    """The driver that a device is bound to; empty for none."""
    try:
        return (device / "driver").readlink().name
    except OSError:
        return ""

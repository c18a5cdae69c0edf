"""NVIDIA display devices on the PCI bus, from a sysfs that a test makes up."""

from pathlib import Path

import pytest

from exporter.sources.pci import DEVICES, DEVICES_MAX, DisplayDevices, display_devices
from exporter.vendors import NVIDIA


def device(
    root: Path, name: str, vendor: bytes = b"0x10de\n", kind: bytes = b"0x030200\n", driver: str = ""
) -> None:
    """A device of the bus, bound to a driver or to none."""
    folder = root / DEVICES / name
    folder.mkdir(parents=True)
    (folder / "vendor").write_bytes(vendor)
    (folder / "class").write_bytes(kind)
    if driver:
        (folder / "driver").symlink_to(f"../../../bus/pci/drivers/{driver}")


def test_displays_are_counted_by_who_has_them(tmp_path: Path) -> None:
    """With a display and without one, driver or no driver; those of vfio-pci are a VM's."""
    device(tmp_path, "0000:1b:00.0", driver="nvidia")
    device(tmp_path, "0000:1c:00.0", kind=b"0x030000\n")
    device(tmp_path, "0000:1d:00.0", driver="vfio-pci")

    assert display_devices(NVIDIA, tmp_path) == DisplayDevices(here=2, passed_through=1)


@pytest.mark.parametrize(
    ("vendor", "kind"),
    [
        (b"0x1002\n", b"0x030000\n"),
        (b"0x10de\n", b"0x040300\n"),
        (b"0x10de\n", b"0x068000\n"),
        (b"\xff\xfe", b"0x030200\n"),
        (b"", b""),
        (b"0x10de" + b" " * 40_000, b"\x00" * 40_000),
    ],
    ids=["amd", "sound", "nvswitch", "no-text", "empty", "long"],
)
def test_other_devices_are_no_displays(tmp_path: Path, vendor: bytes, kind: bytes) -> None:
    """Of another vendor or class, and files that sysfs would not have."""
    device(tmp_path, "0000:1b:00.0", vendor, kind)

    assert display_devices(NVIDIA, tmp_path) == DisplayDevices()


def test_a_machine_without_a_bus_has_none(tmp_path: Path) -> None:
    """Nor has one whose files cannot be read: folders in their place."""
    assert display_devices(NVIDIA, tmp_path) == DisplayDevices()
    (tmp_path / DEVICES / "0000:1b:00.0" / "vendor").mkdir(parents=True)
    assert display_devices(NVIDIA, tmp_path) == DisplayDevices()


def test_the_number_of_devices_is_bounded(tmp_path: Path) -> None:
    """A folder of more is read up to the bound."""
    folder = tmp_path / DEVICES
    folder.mkdir(parents=True)
    device(tmp_path, "board")
    for number in range(DEVICES_MAX + 9):
        (folder / f"copy-{number}").symlink_to(folder / "board")

    assert display_devices(NVIDIA, tmp_path).here == DEVICES_MAX

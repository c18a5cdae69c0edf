"""Vendors of GPUs: how each names its GPUs, parts of them and its devices.

A new one is a description here, a source in a folder of `exporter.sources` that `exporter.sources.gpus`
names, and prices in `exporter/tariff/data`. Configuration, kubelet, PCI bus and rules go by the description.
"""

from typing import Final

from exporter.vendors.nvidia import NVIDIA
from exporter.vendors.vendor import Device, GpuVendor, Placement

VENDORS: Final[tuple[GpuVendor, ...]] = (NVIDIA,)
"""All known vendors."""

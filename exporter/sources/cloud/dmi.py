"""The cloud that a machine's firmware names, read without a network. Most containers see it too.

The signs are those by which cloud-init chooses whom to ask (tools/ds-identify). What firmware was told by a
cloud's hypervisor nobody inside the machine has written.
"""

from pathlib import Path
from typing import Final

from exporter.readings import Place
from exporter.sources.cloud.spelling import AWS, AZURE, GCP, NEBIUS, OCI, place

DMI: Final = "sys/class/dmi/id"
SOURCE: Final = "dmi"

LONGEST: Final = 128
"""Bytes read of one file."""

EC2_VENDOR: Final = "Amazon EC2"
"""`sys_vendor` of Nitro, whose `product_name` is the instance type."""

EC2_BIOS: Final = ".amazon"
"""How `bios_version` ends on the instances before Nitro, which are Xen guests: 4.11.amazon."""

GCP_PRODUCT: Final = "Google Compute Engine"
AZURE_TAG: Final = "7783-7084-3265-9085-8269-3286-77"
"""`chassis_asset_tag` of Azure; other Hyper-V hosts have others."""

OCI_TAG: Final = "OracleCloud.com"
NEBIUS_WORD: Final = "nebius"
"""Nebius documents no sign; a vendor or product that has its name in it is taken for one."""


def sign(root: Path = Path("/")) -> Place:
    """The cloud of this machine, on AWS with its instance type; an empty place without a sign of one.

    Args:
        root: where the files of the host are found.
    """

    def read(name: str) -> str:
        try:
            with (root / DMI / name).open("rb") as file:
                return file.read(LONGEST).decode("ascii").strip()
        except (OSError, UnicodeError):
            return ""

    vendor, product = read("sys_vendor"), read("product_name")
    if vendor == EC2_VENDOR:
        return _nitro(product)
    if read("bios_version").endswith(EC2_BIOS) or _is_ec2(read("product_uuid"), read("product_serial")):
        return Place(AWS, source=SOURCE)
    if product == GCP_PRODUCT:
        return Place(GCP, source=SOURCE)
    tag = read("chassis_asset_tag")
    if tag in (AZURE_TAG, OCI_TAG):
        return Place(AZURE if tag == AZURE_TAG else OCI, source=SOURCE)
    named = (vendor, product, read("product_family"), read("board_vendor"), read("chassis_vendor"))
    if any(NEBIUS_WORD in text.lower() for text in named):
        return Place(NEBIUS, source=SOURCE)
    return Place()


def _nitro(product: str) -> Place:
    try:
        return place(AWS, SOURCE, instance_type=product)
    except ValueError:
        return Place(AWS, source=SOURCE)


def _is_ec2(uuid: str, serial: str) -> bool:
    """Root alone may read them. One random UUID in 4,096 begins like this, so both have to be the same."""
    return uuid.lower().startswith("ec2") and uuid.lower() == serial.lower()

"""Identity of this machine, by its firmware, else by its installation; and short files of both."""

import re
from hashlib import sha256
from hmac import digest
from pathlib import Path
from typing import Final

PRODUCT_UUID: Final = "sys/class/dmi/id/product_uuid"
"""SMBIOS's UUID of the system, which root alone may read (drivers/firmware/dmi-id.c)."""

MACHINE_ID: Final = "etc/machine-id"
"""The installation's id (machine-id(5)); in a container it is the image's."""

PLACEHOLDERS: Final = frozenset(
    {
        "03000200-0400-0500-0006-000700080009",
        "00020003-0004-0005-0006-000700080009",  # the one above with its first fields in the other order
        "03020100-0504-0706-0809-0a0b0c0d0e0f",
        "00010203-0405-0607-0809-0a0b0c0d0e0f",
        "10000000-0000-8000-0040-000000000000",
        "12345678-1234-5678-90ab-cddeefaabbcc",
    }
)
"""UUIDs that whole series of boards share."""

BYTES_MAX: Final = 128
"""Bytes read of one file; a UUID takes 37."""

_APPLICATION: Final = b"inference-cost-exporter ledger"
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ID: Final = re.compile(r"[0-9a-f]{32}")


def identity(root: Path = Path("/")) -> str:
    """This machine's identity: `product:` or `installation:` and a hash; empty if both are unknown.

    Only a hash of each id is stored: the first is readable by root only, the second is confidential by
    machine-id(5), which requires a hash keyed by it.

    Args:
        root: the folder with the files of the host.
    """
    product = short_text(root / PRODUCT_UUID).lower()
    if _UUID.fullmatch(product) and product not in PLACEHOLDERS and not _blank(product):
        return f"product:{_hash(product)}"
    installation = short_text(root / MACHINE_ID).lower()
    # Before its first boot is over, an installation is called "uninitialized".
    if _ID.fullmatch(installation) and not _blank(installation):
        return f"installation:{_hash(installation)}"
    return ""


def short_text(path: Path) -> str:
    """The first bytes of a file without blanks around them; empty where it has no ASCII or cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(BYTES_MAX).decode("ascii").strip()
    except (OSError, UnicodeError):
        return ""


def _blank(text: str) -> bool:
    """Whether it is one byte repeated (00, ff, fe), as firmware without an id reports."""
    digits = text.replace("-", "")
    return digits == digits[:2] * (len(digits) // 2)


def _hash(text: str) -> str:
    return digest(text.encode(), _APPLICATION, sha256).hex()

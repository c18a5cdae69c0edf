"""How each cloud spells what it says of a host. What is spelled otherwise is no answer of that cloud."""

import re
from collections.abc import Mapping
from typing import Final

from exporter.readings import Place

LONGEST_WORD: Final = 128
"""Characters of a word from outside; a token of AWS has 56."""

LONGEST_NAME: Final = 64
"""Characters of an instance type, region or zone; the longest ones have about half."""

AWS: Final = "aws"
GCP: Final = "gcp"
AZURE: Final = "azure"
OCI: Final = "oci"
NEBIUS: Final = "nebius"

ON_DEMAND: Final = "on_demand"
SPOT: Final = "spot"

_INSTANCE_TYPES: Final[Mapping[str, re.Pattern[str]]] = {
    AWS: re.compile(r"[a-z][a-z0-9-]*\.[a-z0-9-]+"),  # p5.48xlarge, g4dn.metal, p6-b200.48xlarge
    GCP: re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)+"),  # a3-highgpu-8g, n1-custom-8-32768-ext
    AZURE: re.compile(r"(Standard|Basic)_[A-Za-z0-9]+([_-][A-Za-z0-9]+)*"),  # Standard_ND96isr_H100_v5
    OCI: re.compile(r"(BM|VM)(\.[A-Za-z0-9_-]+)+"),  # BM.GPU.H100.8
    # Platform and preset, put together as price lists do: gpu-h100-sxm_8gpu-128vcpu-1600gb
    NEBIUS: re.compile(r"[a-z]+(-[a-z0-9]+)+_[0-9]+[a-z]+(-[0-9]+[a-z]+)+"),
}
_REGION: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_ZONE: Final = re.compile(r"[A-Za-z][A-Za-z0-9]*(-[A-Za-z0-9]+)*")


def place(
    cloud: str, source: str, *, instance_type: str = "", region: str = "", zone: str = "", lifecycle: str = ""
) -> Place:
    """What a source told of a place; what is empty it did not tell.

    Raises:
        ValueError: a word is not spelled as that cloud spells it; the message says which.
    """
    for what, text, spelling in (
        ("instance type", instance_type, _INSTANCE_TYPES[cloud]),
        ("region", region, _REGION),
        ("zone", zone, _ZONE),
    ):
        if text and (len(text) > LONGEST_NAME or not spelling.fullmatch(text)):
            raise ValueError(f"no {what} of {cloud}")
    return Place(cloud, instance_type, region, zone, lifecycle, source)


def word(text: object) -> str:
    """One word of ASCII from outside, without spaces around it.

    Raises:
        ValueError: it is something else, or too long.
    """
    if not isinstance(text, str):
        raise ValueError("not text")  # noqa: TRY004 - callers treat all wrong content alike
    text = text.strip(" \r\n")
    if len(text) > LONGEST_WORD or not text.isascii() or not text.isprintable():
        raise ValueError("not one short word")
    return text

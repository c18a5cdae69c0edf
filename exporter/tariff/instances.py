"""What a cloud's instance type costs an hour, and how many GPUs it has. Pure but for the table it reads."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final, Literal

from exporter.tariff.table import Row

CLOUDS: Final = ("aws", "azure", "gcp", "nebius", "oci")
"""Those that the catalogue has."""

Lifecycle = Literal["on_demand", "spot"]

EVERYWHERE: Final = "*"
"""The region of a list price that is the same in all of them."""

REFERENCE: Final[Mapping[str, tuple[str, ...]]] = {
    "aws": ("us-east-1",),
    "azure": ("eastus", "eastus2", "westus2"),
    "gcp": ("us-central1", "us-east4"),
}
"""Regions whose price stands for one that the catalogue lacks, in order of preference."""

ELSEWHERE: Final = ("cn-", "china", "us-gov-", "usgov", "usdod")
"""Partitions with price lists (and, in China, a currency) of their own: no other region stands for them."""


@dataclass(frozen=True, slots=True)
class Listing:
    """An instance type in one region. Prices are of the whole instance; `None` where none is listed.

    `gpus` is below 1 for a slice of a GPU. `fallback` is true where another region's price stands in.
    """

    cloud: str
    instance_type: str
    gpu_model: str
    gpus: Fraction
    region: str
    on_demand: Decimal | None
    spot: Decimal | None
    source: str
    fallback: bool = False

    @property
    def devices(self) -> int:
        """How many GPUs NVML shows when all are well: a slice shows itself as one."""
        return max(1, int(self.gpus))


def spelled(cloud: str, instance_type: str) -> str:
    """The name as the catalogue spells it, but for case: Azure's prefix may be missing."""
    text = instance_type.strip().casefold()
    return f"standard_{text}" if cloud == "azure" and not text.startswith("standard_") else text


def listed(table: Iterable[Row], cloud: str, instance_type: str, region: str) -> Listing | None:
    """The instance type in a region, or at another's price; `None` where the catalogue does not have it.

    Args:
        table: rows of the cloud at least.
        cloud: one of `CLOUDS`.
        instance_type: whatever the case; Azure's with or without Standard_.
        region: as the cloud spells it; empty where it is not known.

    Raises:
        CatalogueError: the table is damaged.
    """
    wanted = spelled(cloud, instance_type)
    here = region.strip().casefold()
    found = {
        row["region"]: row
        for row in table
        if row["cloud"] == cloud and row["instance_type"].casefold() == wanted
    }
    if not found:
        return None
    for exact in (here, EVERYWHERE):
        if exact in found:
            return _listing(found[exact], fallback=False)
    if here.startswith(ELSEWHERE):
        row = next(iter(found.values()))
        return Listing(cloud, row["instance_type"], row["gpu_model"], row.count("gpus"), here, None, None, "")
    common = [name for name in found if not name.startswith(ELSEWHERE)] or list(found)
    stand_in = next((name for name in REFERENCE.get(cloud, ()) if name in found), min(common))
    return _listing(found[stand_in], fallback=True)


def _listing(row: Row, *, fallback: bool) -> Listing:
    return Listing(
        cloud=row["cloud"],
        instance_type=row["instance_type"],
        gpu_model=row["gpu_model"],
        gpus=row.count("gpus"),
        region=row["region"],
        on_demand=row.dollars("on_demand"),
        spot=row.dollars("spot"),
        source=row["source"],
        fallback=fallback,
    )

"""Instance types: what an hour costs on demand and spot, and how many GPUs each has. Pure.

A price is `listed` where a list has that very row; all others are derived from one and say how.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from os.path import commonprefix
from typing import Final, Literal, NamedTuple

from exporter.tariff.csv_tables import Row

CLOUDS: Final = ("aws", "azure", "gcp", "nebius", "oci")
"""Clouds of the catalogue."""

LARGE_CLOUDS: Final = frozenset({"aws", "azure", "gcp", "oci"})
"""Large clouds: a GPU costs about the same at each of them, and about half at a GPU cloud."""

Lifecycle = Literal["on_demand", "spot"]

Standing = Literal["listed", "scaled", "elsewhere"]
"""How a listing has its price.

listed: a list has it for this region.
scaled: it is another region's price times a ratio of both regions.
elsewhere: it is another region's price.
"""

ALL_REGIONS: Final = "*"
"""The region of a list price that is the same in all of them."""

REFERENCE_REGIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "aws": ("us-east-1",),
    "azure": ("eastus", "eastus2", "westus2"),
    "gcp": ("us-central1", "us-east4"),
}
"""Regions whose price replaces a missing one, in order of preference."""

SEPARATE_PARTITIONS: Final = ("cn-", "china", "us-gov-", "usgov", "usdod")
"""Partitions with price lists (and, in China, a currency) of their own: no other region replaces them."""

MICRODOLLAR: Final = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class Listing:
    """An instance type in one region. Prices are of the whole instance."""

    cloud: str
    instance_type: str
    gpu_model: str
    gpus: Fraction
    """Below 1 for a slice of a GPU."""
    region: str
    """The region whose list has the price, or is scaled to."""
    on_demand: Decimal | None
    """Dollars an hour; `None` where none is listed."""
    spot: Decimal | None
    """Dollars an hour; `None` where none is listed."""
    source: str
    as_of: str = ""
    standing: Standing = "listed"
    reference: str = ""
    """The region that a price was scaled from here; empty where the row itself has it."""

    @property
    def devices(self) -> int:
        """GPUs that NVML shows without failures: a slice counts as one."""
        return max(1, int(self.gpus))

    @property
    def dollars_per_gpu(self) -> Decimal | None:
        """An hour of one whole GPU on demand; `None` without a price, and for slices."""
        if self.on_demand is None or self.gpus < 1:
            return None
        return self.on_demand / self.devices


def catalogue_spelling(cloud: str, instance_type: str) -> str:
    """The name as the catalogue spells it, but for case: Azure's prefix may be missing."""
    text = instance_type.strip().casefold()
    return f"standard_{text}" if cloud == "azure" and not text.startswith("standard_") else text


def find_listing(table: Iterable[Row], cloud: str, instance_type: str, region: str) -> Listing | None:
    """The instance type in a region, or at another region's price; `None` where no row has the type.

    Args:
        table: rows of the type at least.
        cloud: one of `CLOUDS`.
        instance_type: whatever the case; Azure's with or without Standard_.
        region: as the cloud spells it; empty where it is not known.

    Raises:
        CatalogueError: the table is damaged.
    """
    wanted = catalogue_spelling(cloud, instance_type)
    here = region.strip().casefold()
    by_region = {
        row["region"]: row
        for row in table
        if row["cloud"] == cloud and row["instance_type"].casefold() == wanted
    }
    if not by_region:
        return None
    for exact in (here, ALL_REGIONS):
        if exact in by_region:
            return _listing(by_region[exact])
    if here.startswith(SEPARATE_PARTITIONS):
        # The type exists, without a price there.
        anywhere = _listing(next(iter(by_region.values())))
        return replace(
            anywhere, region=here, on_demand=None, spot=None, source="", as_of="", standing="listed"
        )
    common = [_listing(row) for name, row in by_region.items() if not name.startswith(SEPARATE_PARTITIONS)]
    regions = {each.region: each for each in common or map(_listing, by_region.values())}
    preferred = (regions[name] for name in REFERENCE_REGIONS.get(cloud, ()) if name in regions)
    priced = [each for each in regions.values() if each.on_demand is not None]
    cheapest = min(priced or regions.values(), key=lambda each: (each.on_demand or 0, each.region))
    return replace(next(preferred, cheapest), standing="elsewhere")


class _DatedPrice(NamedTuple):
    """A list price on demand of an instance type in a region."""

    dollars: Decimal
    as_of: str
    source: str


class _RegionRatio(NamedTuple):
    """The price of an instance type in a region, as a part of its price in another region."""

    ratio: Decimal
    as_of: str
    """The older date of both prices."""
    source: str
    """The list of the region."""


def scale_to_region(table: Iterable[Row], listing: Listing, region: str) -> Listing:
    """A listing of another region, scaled to a region; unchanged where that region has no row to scale by.

    The price is multiplied by the median ratio of both regions, of the types most alike by name.

    Args:
        table: rows of the cloud at least.
        listing: from `find_listing`.
        region: as the cloud spells it; empty where it is not known.

    Raises:
        CatalogueError: the table is damaged.
    """
    here = region.strip().casefold()
    if listing.standing != "elsewhere" or listing.on_demand is None or not here:
        return listing
    prices: dict[str, dict[str, _DatedPrice]] = {}
    """Prices of the cloud's types, by type and region."""
    for row in table:
        if row["cloud"] != listing.cloud or row["region"] not in {here, listing.region}:
            continue
        price = row.dollars("on_demand")
        if price is not None:
            by_region = prices.setdefault(row["instance_type"], {})
            by_region[row["region"]] = _DatedPrice(price, row["as_of"], row["source"])
    # Clouds price a region by families of types; members of a family begin alike.
    alike = {
        name: len(commonprefix([name, listing.instance_type]))  # noqa: RUF071 - of characters
        for name, by_region in prices.items()
        if len(by_region) > 1
    }
    ratios: list[_RegionRatio] = []
    for name, length in alike.items():
        if length == max(alike.values()):
            price_here, price_there = prices[name][here], prices[name][listing.region]
            ratio = price_here.dollars / price_there.dollars
            as_of = min(price_here.as_of, price_there.as_of)
            ratios.append(_RegionRatio(ratio, as_of, price_here.source))
    if not ratios:
        return listing
    median = sorted(ratios)[(len(ratios) - 1) // 2]
    is_same_list = median.source == listing.source
    return replace(
        listing,
        region=here,
        on_demand=(listing.on_demand * median.ratio).quantize(MICRODOLLAR),
        spot=None,
        source=listing.source if is_same_list else f"{listing.source}, {median.source}",
        as_of=min(listing.as_of, median.as_of),
        standing="scaled",
        reference=listing.region,
    )


def lowest_listings(table: Iterable[Row], gpu_model: str) -> dict[str, Listing]:
    """The listing with the lowest price of one GPU of a model at each large cloud that lists it.

    Each type at its first reference region; slices of a GPU, and types sold elsewhere only, are left out.

    Raises:
        CatalogueError: the table is damaged.
    """
    homes = {cloud: (ALL_REGIONS, *REFERENCE_REGIONS.get(cloud, ())) for cloud in LARGE_CLOUDS}
    nearest: dict[tuple[str, str], Listing] = {}
    for row in table:
        cloud = row["cloud"]
        if row["gpu_model"] != gpu_model or row["region"] not in homes.get(cloud, ()):
            continue
        listing = _listing(row)
        first = nearest.get((cloud, listing.instance_type), listing)
        if listing.dollars_per_gpu is not None:
            preference = homes[cloud].index
            nearest[cloud, listing.instance_type] = min(
                first, listing, key=lambda each: preference(each.region)
            )
    lowest: dict[str, Listing] = {}
    for (cloud, _), listing in sorted(nearest.items()):
        best = lowest.get(cloud, listing)
        lowest[cloud] = min(best, listing, key=lambda each: each.dollars_per_gpu or 0)
    return lowest


def _listing(row: Row) -> Listing:
    """A row of the catalogue, which may have a price that was scaled when the catalogue was made."""
    return Listing(
        cloud=row["cloud"],
        instance_type=row["instance_type"],
        gpu_model=row["gpu_model"],
        gpus=row.count("gpus"),
        region=row["region"],
        on_demand=row.dollars("on_demand"),
        spot=row.dollars("spot"),
        source=row["source"],
        as_of=row["as_of"],
        standing="scaled" if row["basis"] == "scaled" else "listed",
    )

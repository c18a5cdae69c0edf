"""Catalogue: list prices of instances, GPUs and hosted models, with a cache of recent look-ups.

Its instance prices are the bundled ones, or those of a price file that replaces them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from exporter.tariff.csv_tables import BUNDLED, COLUMNS, CatalogueError, Row, rows, rows_of
from exporter.tariff.gpu_models import GpuNameMatch, driver_names, match_name
from exporter.tariff.hosted import Offer, offers
from exporter.tariff.instances import (
    ALL_REGIONS,
    Listing,
    catalogue_spelling,
    find_listing,
    lowest_listings,
    scale_to_region,
)
from exporter.tariff.price_file import FILE, PriceFile, instant
from exporter.units import Instant

FAR_OFF_FACTOR: Final = 10
"""A price so many times off the market is a mistake: a month's price per hour is 730 times."""


@dataclass(frozen=True, slots=True)
class Market:
    """List prices of one GPU for an hour on demand, at the vendors that the catalogue knows."""

    gpu_model: str
    dollars: Decimal
    """The estimate for a GPU at no known cloud: the median of the GPU clouds, since machines of large clouds
    report theirs; without a GPU cloud, the lowest price of a large one."""
    vendors: tuple[str, ...]
    """The vendors of the estimate."""
    neocloud: bool
    """Whether the estimate is of GPU clouds."""
    low: Decimal
    """The lowest price of all vendors."""
    high: Decimal
    """The highest price of all vendors."""
    as_of: str
    """The oldest date of the prices in the estimate."""
    large: Listing | None = None
    """The listing with the lowest price of a large cloud; `None` where none lists the model."""

    def far_off(self, dollars_per_hour: Decimal) -> bool:
        """Whether a price is ten times below the lowest or above the highest of the market; 0 is not."""
        return dollars_per_hour != 0 and not (
            self.low / FAR_OFF_FACTOR <= dollars_per_hour <= self.high * FAR_OFF_FACTOR
        )


class _VendorPrice(NamedTuple):
    """An hour of one GPU at one vendor."""

    dollars: Decimal
    vendor: str
    as_of: str


def market(
    table: Iterable[Row], gpu_model: str, large: Mapping[str, Listing], dated: Callable[[str], str]
) -> Market | None:
    """The market of a model; `None` where no price of it is known.

    Args:
        table: prices of GPU clouds.
        gpu_model: by its name in the catalogue.
        large: as `instances.lowest_listings` of that model.
        dated: the date of a source of `table`.

    Raises:
        CatalogueError: the table is damaged.
    """
    of_neoclouds: list[_VendorPrice] = []
    for row in table:
        if row["gpu_model"] != gpu_model:
            continue
        price = row.dollars("dollars_per_gpu_hour")
        if price is None:
            raise CatalogueError(f"market.csv has no price for {gpu_model} at {row['vendor']}")
        of_neoclouds.append(_VendorPrice(price, row["vendor"], dated(row["source"])))
    of_large: list[_VendorPrice] = []
    for cloud, listing in large.items():
        if listing.dollars_per_gpu is not None:
            of_large.append(_VendorPrice(listing.dollars_per_gpu, cloud, listing.as_of))
    if not of_neoclouds and not of_large:
        return None
    lowest = min(of_large, default=None)
    basis = of_neoclouds or [min(of_large)]
    amounts = [price.dollars for price in (*of_neoclouds, *of_large)]
    return Market(
        gpu_model=gpu_model,
        dollars=median(price.dollars for price in basis),
        vendors=tuple(price.vendor for price in sorted(basis)),
        neocloud=bool(of_neoclouds),
        low=min(amounts),
        high=max(amounts),
        as_of=min(price.as_of for price in basis),
        large=None if lowest is None else large[lowest.vendor],
    )


HOURLY: Final = frozenset({"on_demand", "spot", "dollars_per_gpu_hour"})
AMOUNTS: Final = HOURLY | {"prompt", "cached_prompt", "generation", "watts", "purchase_low", "purchase_high"}
COUNTS: Final = frozenset({"gpus", "memory_gib"})
"""Columns of amounts and counts, in any file."""

LOOK_UPS_CACHED: Final = 64
"""Cached look-ups of each kind; a host needs one instance type and a few models."""


class Catalogue:
    """The tables in a folder. Each look-up reads its file; no table is cached.

    Every look-up raises `CatalogueError` where its file is damaged. Catalogues with equal prices are equal.
    """

    def __init__(self, folder: Path = BUNDLED, price_file: PriceFile | None = None) -> None:
        self._folder = folder
        self._price_file = price_file
        self.instance = lru_cache(LOOK_UPS_CACHED)(self._instance)
        self.gpu = lru_cache(LOOK_UPS_CACHED)(self._gpu)
        self.market = lru_cache(LOOK_UPS_CACHED)(self._market)
        self.source = lru_cache(LOOK_UPS_CACHED)(self._source)
        self.newest = lru_cache(1)(self._newest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Catalogue) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[Path, str]:
        return self._folder, "" if self._price_file is None else self._price_file.digest

    @property
    def bundled(self) -> bool:
        """Whether its instance prices are those of the package."""
        return self._price_file is None

    def instances(self, starts: str = "", *, has: str = "") -> Iterator[Row]:
        """The rows of instance prices in use, as `csv_tables.rows` selects them."""
        if self._price_file is None:
            return rows(self._folder, FILE, starts, has=has)
        return rows_of(self._price_file.text, FILE, starts, has=has)

    def _newest(self) -> str:
        """The date of the newest list of instance prices in use, like 2026-07-30; empty without a price."""
        if self._price_file is not None:
            return self._price_file.newest
        return max((row["as_of"] for row in self.instances() if row["on_demand"]), default="")

    def list_date(self) -> Instant | None:
        """The day of `newest`, `None` where there is none or the table is damaged."""
        try:
            return instant(self.newest())
        except CatalogueError:
            return None

    def _instance(self, cloud: str, instance_type: str, region: str) -> Listing | None:
        """As `instances.find_listing`, scaled to the region where it has no list price."""
        starts = f"{cloud},{catalogue_spelling(cloud, instance_type)},"
        listing = find_listing(self.instances(starts), cloud, instance_type, region)
        return listing and scale_to_region(self.instances(f"{cloud},"), listing, region)

    def _gpu(self, name: str, memory_bytes: int | None = None) -> GpuNameMatch | None:
        """As `gpu_models.match_name`."""
        return match_name(self.gpu_models(), name, memory_bytes)

    def _market(self, gpu_model: str) -> Market | None:
        """As `market`; the model by its name in the catalogue."""
        try:
            large = lowest_listings(self.instances(has=f",{gpu_model},"), gpu_model)
        except CatalogueError:  # costs the prices that would have come from it, not those of GPU clouds
            large = {}
        of_gpu_clouds = rows(self._folder, "market.csv", f"{gpu_model},")
        return market(of_gpu_clouds, gpu_model, large, lambda source: self.source(source)[1])

    def _source(self, source: str) -> tuple[str, str]:
        """The repository or package of a source, and the date that it is of."""
        for row in rows(self._folder, "sources.csv", f"{source},"):
            return row["name"].partition(":")[0], row["as_of"]
        raise CatalogueError(f"sources.csv has no row for {source}")

    def gpu_models(self) -> Iterator[Row]:
        """The rows of the models that have a name."""
        return rows(self._folder, "gpu_models.csv")

    def gpu_names(self) -> tuple[str, ...]:
        """The names of the models, as drivers report them."""
        names = (name for row in self.gpu_models() for name in row["names"].split("|"))
        return tuple(dict.fromkeys(driver_names(names)))

    def instance_types(self, cloud: str) -> tuple[str, ...]:
        """The instance types of a cloud, as it spells them."""
        table = self.instances(f"{cloud},")
        return tuple(dict.fromkeys(row["instance_type"] for row in table))

    def regions(self) -> frozenset[str]:
        """Every region whose spelling is known.

        `regions.csv` has those without instance prices, by hand from SDKs (botocore's partitions, OCI's
        region definitions) and the clouds' documentation, government and China included.
        """
        tables = (rows(self._folder, "regions.csv"), self.instances())
        return frozenset(row["region"] for table in tables for row in table) - {ALL_REGIONS}

    def gpus_per_host(self, gpu_model: str) -> tuple[int, ...]:
        """How many GPUs the instance types with several of a model have, ascending; by its catalogue name."""
        table = self.instances(has=f",{gpu_model},")
        counts = {row.count("gpus") for row in table if row["gpu_model"] == gpu_model}
        return tuple(sorted(int(count) for count in counts if count > 1))

    def hosted(self, model_name: str) -> tuple[Offer, ...]:
        """As `hosted.offers`, with the date of each."""
        matching = offers(rows(self._folder, "hosted.csv"), model_name)
        return tuple(replace(offer, as_of=self.source(offer.source)[1]) for offer in matching)

    def damage(self) -> str:
        """The first error in any row of any file; empty without errors."""
        try:
            for file, columns in COLUMNS.items():
                for row in rows(self._folder, file):
                    for column in AMOUNTS.intersection(columns):
                        row.dollars(column)
                    for column in COUNTS.intersection(columns):
                        row.count(column)
        except CatalogueError as error:
            return str(error)
        return ""


CATALOGUE: Final = Catalogue()
"""The bundled catalogue."""

"""Market: list prices of a GPU model at the vendors of the catalogue."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from exporter.tariff.csv_tables import CatalogueError, Row
from exporter.tariff.instances import Listing

MAGNITUDE: Final = 10
"""A price so many times off the market is a mistake: a month's price per hour is 730 times."""


@dataclass(frozen=True, slots=True)
class Market:
    """List prices of one GPU for an hour on demand, at the vendors that the catalogue knows.

    `dollars` is the estimate for a GPU at no known cloud: the median of the GPU clouds, since machines of
    large clouds report theirs; without a GPU cloud, the lowest price of a large one. `large` is the
    listing of that lowest price, `None` where no large cloud lists the model. `low` and `high` are of all
    vendors. `as_of` is the oldest date of the prices in `dollars`.
    """

    gpu_model: str
    dollars: Decimal
    vendors: tuple[str, ...]
    neocloud: bool
    low: Decimal
    high: Decimal
    as_of: str
    large: Listing | None = None

    def far_off(self, dollars_per_hour: Decimal) -> bool:
        """Whether a price is ten times below the lowest or above the highest of the market; 0 is not."""
        return dollars_per_hour != 0 and not (
            self.low / MAGNITUDE <= dollars_per_hour <= self.high * MAGNITUDE
        )


def market(
    table: Iterable[Row], gpu_model: str, large: Mapping[str, Listing], dated: Callable[[str], str]
) -> Market | None:
    """The market of a model; `None` where no price of it is known.

    Args:
        table: prices of GPU clouds.
        gpu_model: by its name in the catalogue.
        large: as `instances.lowest` of that model.
        dated: the date of a source of `table`.

    Raises:
        CatalogueError: the table is damaged.
    """
    offers = []
    for row in table:
        if row["gpu_model"] != gpu_model:
            continue
        price = row.dollars("dollars_per_gpu_hour")
        if price is None:
            raise CatalogueError(f"market.csv has no price for {gpu_model} at {row['vendor']}")
        offers.append((price, row["vendor"], dated(row["source"])))
    of_large = [
        (price, cloud, listing.as_of)
        for cloud, listing in large.items()
        if (price := listing.dollars_per_gpu) is not None
    ]
    if not offers and not of_large:
        return None
    all_prices = [price for price, *_ in offers + of_large]
    basis = offers or [min(of_large)]
    return Market(
        gpu_model=gpu_model,
        dollars=_median([price for price, *_ in basis]),
        vendors=tuple(vendor for _, vendor, _ in sorted(basis)),
        neocloud=bool(offers),
        low=min(all_prices),
        high=max(all_prices),
        as_of=min(as_of for *_, as_of in basis),
        large=large[min(of_large)[1]] if of_large else None,
    )


def _median(prices: list[Decimal]) -> Decimal:
    # `statistics` would do, and costs the daemon half a megabyte.
    ordered = sorted(prices)
    half = len(ordered) // 2
    return (ordered[half] + ordered[-half - 1]) / 2

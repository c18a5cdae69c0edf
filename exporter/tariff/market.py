"""What a GPU of a model is let for, where nothing tells whose it is. Pure but for the table it reads."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from exporter.tariff.table import CatalogueError, Row

NEOCLOUD: Final = "neocloud"

MAGNITUDE: Final = 10
"""A price so many times off the market is hardly meant: a month's where an hour's belongs is 730 times."""


@dataclass(frozen=True, slots=True)
class Market:
    """List prices of one GPU for an hour on demand, at the vendors that the catalogue knows.

    `dollars` is what an unknown GPU is estimated at: the median of the GPU clouds. Hardware that tells no
    instance type is not one of a large cloud, whose machines tell theirs; where no GPU cloud is known, it is
    the lowest price of a large one. `low` and `high` are of all vendors.
    """

    gpu_model: str
    dollars: Decimal
    vendors: tuple[str, ...]
    neocloud: bool
    low: Decimal
    high: Decimal
    sources: tuple[str, ...]

    def far_off(self, dollars_per_hour: Decimal) -> bool:
        """Whether a price is ten times below the lowest or above the highest of the market; 0 is not."""
        return dollars_per_hour != 0 and not (
            self.low / MAGNITUDE <= dollars_per_hour <= self.high * MAGNITUDE
        )


def market(table: Iterable[Row], gpu_model: str) -> Market | None:
    """The market of a model; `None` where no price of it is known.

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
        offers.append((price, row["vendor"], row["kind"], row["source"]))
    if not offers:
        return None
    all_prices = [price for price, *_ in offers]
    asked = [offer for offer in offers if offer[2] == NEOCLOUD] or [min(offers)]
    return Market(
        gpu_model=gpu_model,
        dollars=_median([price for price, *_ in asked]),
        vendors=tuple(vendor for _, vendor, _, _ in sorted(asked)),
        neocloud=asked[0][2] == NEOCLOUD,
        low=min(all_prices),
        high=max(all_prices),
        sources=tuple(sorted({source for *_, source in asked})),
    )


def _median(prices: list[Decimal]) -> Decimal:
    # `statistics` would do, and costs the daemon half a megabyte.
    ordered = sorted(prices)
    half = len(ordered) // 2
    return (ordered[half] + ordered[-half - 1]) / 2

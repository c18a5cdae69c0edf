"""Whether a price can be meant: a month's where an hour's belongs is 730 times the market's."""

from decimal import Decimal
from typing import Final

from exporter.config.values import plain
from exporter.tariff.catalogue import Catalogue
from exporter.tariff.market import Market
from exporter.tariff.table import CatalogueError

HOURS_PER_MONTH: Final = 730


def doubt(catalogue: Catalogue, gpu: str, dollars_per_hour: Decimal) -> str | None:
    """What makes a price of one GPU-hour doubtful, as the end of a sentence; `None` where nothing does.

    `gpu` is a name as NVML tells it, or a pattern of one. A model that the catalogue does not know, or has no
    market price of, is not doubted.
    """
    try:
        known = catalogue.gpu(gpu.strip("*"))
        market = known and catalogue.market(known.model.gpu_model)
    except CatalogueError:
        return None
    if not market or not market.far_off(dollars_per_hour):
        return None
    return f"{_how_far(market, dollars_per_hour)}: {_of_what(market, dollars_per_hour)}"


def _how_far(market: Market, price: Decimal) -> str:
    band = f"{plain(market.low)} to {plain(market.high)} dollars for {market.gpu_model}"
    if price > market.high:
        return f"more than ten times the list prices that are known ({band})"
    return f"less than a tenth of the list prices that are known ({band})"


def _of_what(market: Market, price: Decimal) -> str:
    hourly = price / HOURS_PER_MONTH
    if price > market.high and not market.far_off(hourly):
        return f"is it the price of a month? That is {hourly:.4f} dollars per hour"
    return "check its unit"

"""Whether a price can be meant: a month's where an hour's belongs, or a host's where a GPU's does."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from exporter.config.values import plain
from exporter.tariff.catalogue import Catalogue
from exporter.tariff.market import Market
from exporter.tariff.table import CatalogueError

HOURS_PER_MONTH: Final = 730

TWICE: Final = 2
"""A price so many times the highest list price may be a whole host's, where a host's part would fit."""

DEARER: Final = 3
"""A GPU costs in its host up to so many times what one costs alone: processors and disks are in it."""


def doubt(
    catalogue: Catalogue, gpu: str, dollars_per_hour: Decimal, hosts: Iterable[int] | None = ()
) -> str | None:
    """What makes a price of one GPU-hour doubtful, as the end of a sentence; `None` where nothing does.

    A model that the catalogue does not know, or has no market price of, is not doubted.

    Args:
        catalogue: whose market prices it is held against.
        gpu: a name as NVML tells it, or a pattern of one.
        dollars_per_hour: the price.
        hosts: how many GPUs the host may have that the price is meant for by mistake; none where the price
            is a host's part already, `None` where only the catalogue tells.
    """
    try:
        known = catalogue.gpu(gpu.strip("*"))
        market = known and catalogue.market(known.model.gpu_model)
        if not market:
            return None
        if dollars_per_hour > market.high * TWICE:
            counts = catalogue.gpus_per_host(market.gpu_model) if hosts is None else hosts
            if gpus := _of_host(market, dollars_per_hour, counts):
                return _how_far(market, dollars_per_hour) + _host_hint(dollars_per_hour, gpus)
    except CatalogueError:
        return None
    if not market.far_off(dollars_per_hour):
        return None
    return f"{_how_far(market, dollars_per_hour)}: {_of_what(market, dollars_per_hour)}"


def _how_far(market: Market, price: Decimal) -> str:
    band = f"{plain(market.low)} to {plain(market.high)} dollars for {market.gpu_model}"
    if price <= market.high:
        return f"less than a tenth of the list prices that are known ({band})"
    times = "ten times" if market.far_off(price) else "twice"
    return f"more than {times} the list prices that are known ({band})"


def _of_what(market: Market, price: Decimal) -> str:
    hourly = price / HOURS_PER_MONTH
    if price > market.high and not market.far_off(hourly):
        return f"is it the price of a month? Divide by {HOURS_PER_MONTH}: {hourly:.4f} dollars per hour"
    return "check its unit"


def _of_host(market: Market, price: Decimal, counts: Iterable[int]) -> int:
    """The GPUs of the host whose price it may be, 0 where it is nobody's: of several the likeliest."""

    def distance(gpus: int) -> Decimal:
        part = price / gpus
        return max(part / market.dollars, market.dollars / part)

    fitting = [n for n in counts if n > 1 and market.low / TWICE <= price / n <= market.high * DEARER]
    return min(fitting, key=distance, default=0)


def _host_hint(price: Decimal, gpus: int) -> str:
    return (
        f": is it the price of a host of {gpus}? Then write dollars_per_host_hour: {plain(price)} and "
        f"gpus_per_host: {gpus}, {price / gpus:.4f} dollars per GPU-hour"
    )

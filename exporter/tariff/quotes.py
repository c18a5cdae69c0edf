"""Quotes: catalogue prices of a GPU by the host's instance type, else by the GPU's model.

A `Quote` has the price and its source; a `NoQuote` has the reason why there is none. A damaged catalogue is a
reason too. The first of these that has a price:

1. a row of a list, for that type in that region on demand: basis `catalogue`; all that follow: `estimate`
2. the same type's price, scaled to the region, or of another region
3. where the hardware is of a large cloud: the lowest price of the same GPU at any of them
4. the market of the GPU
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal

from exporter.readings import HostLocation
from exporter.tariff.catalogue import Catalogue, Market
from exporter.tariff.csv_tables import CatalogueError
from exporter.tariff.gpu_models import GpuNameMatch
from exporter.tariff.instances import ALL_REGIONS, CLOUDS, LARGE_CLOUDS, Lifecycle, Listing
from exporter.tariff.rate import Derivation, PriceBasis
from exporter.tariff.terms import Listed

ANY: Final = "any"
"""The cloud of a rule that takes the host's own."""

SCALED: Final = "scaled"
"""The first word of a scaled price's source; an alert excludes these."""

StandIn = Literal["", "scaled", "region", "large_cloud", "market"]
"""The source of a price that no list has: empty where a list has it."""


@dataclass(frozen=True, slots=True)
class Quote:
    """A price of the catalogue: dollars for an hour of some GPUs together."""

    dollars_per_hour: Decimal
    devices: int
    """Number of the GPUs."""
    price_basis: PriceBasis
    source: str
    """Text for a label, with the name of the catalogue's source."""
    as_of: str
    """Date of the source, of two the older one."""
    caveat: str = ""
    """Limitation of the price; empty where there is none."""
    instance_gpu: str = ""
    """The GPU model of the instance by the catalogue; empty where the price is of no instance type."""
    stand_in: StandIn = ""

    @property
    def derivation(self) -> Derivation:
        """How it was derived."""
        return Derivation(self.stand_in) if self.stand_in else Derivation.LISTED


@dataclass(frozen=True, slots=True)
class NoQuote:
    """Why the catalogue has no price, as the rest of a sentence that begins with it."""

    reason: str


def find_quote(
    catalogue: Catalogue,
    location: HostLocation,
    listed: Listed | None = None,
    gpu_name: str = "",
    *,
    stand_ins: bool = True,
) -> Quote | NoQuote:
    """The price that a rule takes, of the instance type in the rule or of the host; or that of a GPU.

    For a rule, a type that is not known yet has none: an estimate would be posted where the cloud's answer is
    late.

    Args:
        catalogue: of prices.
        location: of the host, as far as it is known.
        listed: the price of the rule; `None` for a GPU without a rule.
        gpu_name: as in NVML; empty without a GPU.
        stand_ins: whether a price may be taken that no list has for this type and region.
    """
    pricing = listed or Listed()
    cloud = location.cloud if pricing.cloud == ANY else pricing.cloud
    instance_type = pricing.instance_type or location.instance_type
    region = pricing.region or location.region
    missing: list[str] = []
    listing = quote = None
    if not instance_type and listed is not None:
        return NoQuote("it is not known which instance type this host is")
    try:
        if instance_type and cloud not in CLOUDS:
            missing.append(f"it has no prices of the cloud {cloud or 'of this host, which is not known'}")
        elif instance_type:
            listing = catalogue.instance(cloud, instance_type, region)
            if listing is None:
                missing.append(f"it does not have the {cloud} instance type {instance_type}")
            else:
                quote = _of_listing(listing, region, location.lifecycle, pricing, missing)
    except CatalogueError as error:
        missing.append(f"it is damaged: {error}")
    if quote is not None and quote.stand_in and not stand_ins:
        return NoQuote(f"{quote.caveat} (unmatched_hardware: unpriced takes no estimate)")
    if quote is None and stand_ins and pricing.discount_of != "spot":
        try:
            quote = _of_gpu(catalogue, cloud, listing, pricing, gpu_name, missing)
        except CatalogueError as error:
            missing.append(f"it is damaged: {error}")
    return quote or NoQuote("; ".join(missing))


def _of_listing(
    listing: Listing, region: str, lifecycle: str, listed: Listed, missing: list[str]
) -> Quote | None:
    """The price of a listing; an estimate where it depends on more than a list (spot, commitments)."""
    wanted: Lifecycle = listed.discount_of or ("spot" if lifecycle == "spot" else "on_demand")
    price = listing.spot if wanted == "spot" else listing.on_demand
    kind = "spot" if wanted == "spot" else "on demand"
    caveat = "a spot price changes by the hour" if wanted == "spot" else ""
    if price is None and wanted == "spot" and listed.discount_of is None:
        price, kind = listing.on_demand, "on demand, the most that spot may cost"
        caveat = "it has no spot price of this instance type"
    committed = lifecycle not in {"", "on_demand", "spot"} and listed.discount_of is None
    if committed:
        caveat = f"what {lifecycle.replace('_', ' ')} capacity costs is in no list"
    if price is None:
        where = f" in {region}" if region else ""
        missing.append(f"it lists {listing.cloud} {listing.instance_type}{where} without a price {kind}")
        return None
    words = [listing.cloud, listing.instance_type]
    if listing.region != ALL_REGIONS:
        words.append(listing.region)
    words.append(kind)
    stand_in: StandIn = ""
    if listing.standing == "scaled":
        stand_in = "scaled"
        words.insert(0, SCALED)
        scaling = "another region's, scaled by an older list"
        if listing.reference:
            types = f"what {listing.region} costs for the types most alike"
            scaling = f"the price of {listing.reference}, scaled by {types}"
        caveat = caveat or f"no list has its price in {listing.region}: it is {scaling}"
    elif listing.standing == "elsewhere":
        stand_in = "region"
        words.append(f"for want of {region}" if region else "region unknown")
        caveat = caveat or f"the price of {listing.region} stands in for {region or 'a region not known'}"
    is_listed = not stand_in and not committed and wanted == "on_demand"
    dollars_per_hour = _less(price, listed, words)
    return Quote(
        dollars_per_hour=dollars_per_hour,
        devices=listing.devices,
        price_basis="catalogue" if is_listed else "estimate",
        source=f"{' '.join(words)} ({listing.source})",
        as_of=listing.as_of,
        caveat=caveat,
        instance_gpu=listing.gpu_model,
        stand_in=stand_in,
    )


def _of_gpu(
    catalogue: Catalogue,
    cloud: str,
    listing: Listing | None,
    listed: Listed,
    gpu_name: str,
    missing: list[str],
) -> Quote | None:
    """The price of the same GPU at the lowest large cloud, where the host is at one, else on the market."""
    match = catalogue.gpu(gpu_name) if gpu_name else None
    model = ""
    if match is not None:
        model = match.model.gpu_model
    elif listing is not None:
        model = listing.gpu_model
    if not model:
        if gpu_name:
            missing.append(f"it knows no GPU by the name {gpu_name}")
        return None
    if match and match.model.unit == "box":
        missing.append(f"{model} is sold as a whole machine, which has no market price per GPU")
        return None
    market = catalogue.market(model)
    if market is None:
        missing.append(f"it knows no market price of {model}")
        return None
    caveat = f"the catalogue does not help: {'; '.join(missing)}" if missing else ""
    if cloud in LARGE_CLOUDS and market.large is not None and market.large.dollars_per_gpu is not None:
        return _of_large_cloud(market.large, listing, match, listed, caveat)
    return _of_market(market, match, listed, caveat)


def _of_large_cloud(
    lowest: Listing, listing: Listing | None, match: GpuNameMatch | None, listed: Listed, caveat: str
) -> Quote:
    """The lowest price of a GPU at a large cloud: for all that the instance has, where its type is known."""
    words = [f"lowest large cloud's list price of {lowest.gpu_model}: {lowest.cloud} {lowest.instance_type}"]
    if lowest.region != ALL_REGIONS:
        words.append(lowest.region)
    price = lowest.dollars_per_gpu or Decimal(0)
    devices = 1
    if listing is not None:
        price = price * listing.gpus.numerator / listing.gpus.denominator
        devices = listing.devices
    elif match is not None:
        price = price * match.part.numerator / match.part.denominator
        words[-1] += _part(match)
    dollars_per_hour = _less(price, listed, words)
    return Quote(
        dollars_per_hour=dollars_per_hour,
        devices=devices,
        price_basis="estimate",
        source=f"{' '.join(words)} ({lowest.source})",
        as_of=lowest.as_of,
        caveat=caveat,
        instance_gpu="" if listing is None else listing.gpu_model,
        stand_in="large_cloud",
    )


def _of_market(market: Market, match: GpuNameMatch | None, listed: Listed, caveat: str) -> Quote:
    which = "median " if market.neocloud else "lowest "
    if len(market.vendors) == 1:
        which = ""
    words = [f"{which}list price of {market.gpu_model} at {', '.join(sorted(market.vendors))}"]
    price = market.dollars
    if match is not None:
        price = price * match.part.numerator / match.part.denominator
        words[-1] += _part(match)
    dollars_per_hour = _less(price, listed, words)
    return Quote(
        dollars_per_hour=dollars_per_hour,
        devices=1,
        price_basis="estimate",
        source=" ".join(words),
        as_of=market.as_of,
        caveat=caveat,
        stand_in="market",
    )


def _part(match: GpuNameMatch) -> str:
    return "" if match.part == 1 else f", {match.part} of it by memory"


def _less(price: Decimal, listed: Listed, words: list[str]) -> Decimal:
    """A price less the discount of a rule, which is added to the words."""
    if not listed.discount_ratio:
        return price
    percent = f"{listed.discount_ratio * 100:f}"
    if "." in percent:
        percent = percent.rstrip("0").rstrip(".")
    words.append(f"less {percent} %")
    return price * (1 - listed.discount_ratio)

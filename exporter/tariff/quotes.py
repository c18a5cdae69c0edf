"""What the catalogue says that a GPU costs: by the host's instance type, else by the GPU's model.

A `Quote` says which price it is; a `NoQuote` says why there is none. A damaged catalogue is a reason too.
The first of these that has an answer:

1. a row of a list, for that type in that region on demand: basis `catalogue`; all that follow: `estimate`
2. the same type's price, scaled to the region, or of another region
3. where the hardware is of a large cloud: the lowest price of the same GPU at any of them
4. the market of the GPU
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal

from exporter.readings import HostLocation
from exporter.tariff.catalogue import Catalogue
from exporter.tariff.csv_tables import CatalogueError
from exporter.tariff.gpu_models import GpuNameMatch
from exporter.tariff.instances import CLOUDS, EVERYWHERE, LARGE, Lifecycle, Listing
from exporter.tariff.market import Market
from exporter.tariff.rate import PriceBasis
from exporter.tariff.terms import Listed

ANY: Final = "any"
"""The cloud of terms that take the host's own."""

SCALED: Final = "scaled"
"""What the source of a scaled price begins with; an alert leaves these out."""

StandIn = Literal["", "scaled", "region", "large_cloud", "market"]
"""What stands in for a price that no list has: empty where one has it."""


@dataclass(frozen=True, slots=True)
class Quote:
    """An hour of `devices` GPUs together.

    `source` says in words which price it is, as a label may say it, and by which of the catalogue's sources;
    `as_of` is its date, of two the older one.

    `caveat` is what to know about it beyond that, empty where there is nothing. `instance_gpu` is the model
    that the catalogue says the instance has; empty where the price is of no instance type of the host's.
    """

    dollars_per_hour: Decimal
    devices: int
    price_basis: PriceBasis
    source: str
    as_of: str
    caveat: str = ""
    instance_gpu: str = ""
    stand_in: StandIn = ""


def is_scaled(source: str) -> bool:
    """Whether a price's source, with or without the rule before it, is of a scaled one."""
    return source.startswith(f"{SCALED} ") or f": {SCALED} " in source


@dataclass(frozen=True, slots=True)
class NoQuote:
    """Why the catalogue has no price, as the rest of a sentence that begins with it."""

    reason: str


def of_unmatched(catalogue: Catalogue, place: HostLocation, gpu_name: str) -> Quote | NoQuote:
    """The price of a GPU that no rule prices."""
    return _quote(catalogue, place, Listed(), gpu_name, stand_ins=True, ruled=False)


def of_listed(
    catalogue: Catalogue, place: HostLocation, terms: Listed, gpu_name: str = "", *, stand_ins: bool = True
) -> Quote | NoQuote:
    """The price that a rule takes, of the instance type in the rule or of the host.

    A type that is not known yet has none: an estimate would be posted where the cloud's answer is late.

    Args:
        catalogue: what is asked.
        place: where the host runs, as far as it is known.
        terms: what the rule says.
        gpu_name: as NVML has it; empty where no GPU is asked about.
        stand_ins: whether a price may be taken that no list has for this type and region.
    """
    return _quote(catalogue, place, terms, gpu_name, stand_ins=stand_ins, ruled=True)


def _quote(
    catalogue: Catalogue, place: HostLocation, terms: Listed, gpu_name: str, *, stand_ins: bool, ruled: bool
) -> Quote | NoQuote:
    cloud = place.cloud if terms.cloud == ANY else terms.cloud
    instance_type = terms.instance_type or place.instance_type
    region = terms.region or place.region
    missing: list[str] = []
    listing = found = None
    if not instance_type and ruled:
        return NoQuote("it is not known which instance type this host is")
    try:
        if instance_type and cloud not in CLOUDS:
            missing.append(f"it has no prices of the cloud {cloud or 'of this host, which is not known'}")
        elif instance_type:
            listing = catalogue.instance(cloud, instance_type, region)
            if listing is None:
                missing.append(f"it does not have the {cloud} instance type {instance_type}")
            else:
                found = _of_listing(listing, region, place.lifecycle, terms, missing)
    except CatalogueError as error:
        missing.append(f"it is damaged: {error}")
    if found is not None and found.stand_in and not stand_ins:
        return NoQuote(f"{found.caveat} (unmatched_hardware: unpriced takes no estimate)")
    if found is None and stand_ins and terms.discount_of != "spot":
        try:
            found = _of_gpu(catalogue, cloud, listing, terms, gpu_name, missing)
        except CatalogueError as error:
            missing.append(f"it is damaged: {error}")
    return found or NoQuote("; ".join(missing))


def _of_listing(
    listing: Listing, region: str, lifecycle: str, terms: Listed, missing: list[str]
) -> Quote | None:
    """The price of a listing; where it depends on more than a list (spot, commitments), an estimate."""
    wanted: Lifecycle = terms.discount_of or ("spot" if lifecycle == "spot" else "on_demand")
    price = listing.spot if wanted == "spot" else listing.on_demand
    kind = "spot" if wanted == "spot" else "on demand"
    caveat = "a spot price changes by the hour" if wanted == "spot" else ""
    if price is None and wanted == "spot" and terms.discount_of is None:
        price, kind = listing.on_demand, "on demand, the most that spot may cost"
        caveat = "it has no spot price of this instance type"
    committed = lifecycle not in {"", "on_demand", "spot"} and terms.discount_of is None
    if committed:
        caveat = f"what {lifecycle.replace('_', ' ')} capacity costs is in no list"
    if price is None:
        where = f" in {region}" if region else ""
        missing.append(f"it lists {listing.cloud} {listing.instance_type}{where} without a price {kind}")
        return None
    words = [listing.cloud, listing.instance_type]
    if listing.region != EVERYWHERE:
        words.append(listing.region)
    words.append(kind)
    stand_in: StandIn = ""
    if listing.standing == "scaled":
        stand_in = "scaled"
        words.insert(0, SCALED)
        caveat = caveat or _scaled(listing)
    elif listing.standing == "elsewhere":
        stand_in = "region"
        words.append(f"for want of {region}" if region else "region unknown")
        caveat = caveat or f"the price of {listing.region} stands in for {region or 'a region not known'}"
    listed = not stand_in and not committed and wanted == "on_demand"
    return Quote(
        _less(price, terms, words),
        listing.devices,
        "catalogue" if listed else "estimate",
        f"{' '.join(words)} ({listing.source})",
        listing.as_of,
        caveat,
        listing.gpu_model,
        stand_in,
    )


def _scaled(listing: Listing) -> str:
    if listing.reference:
        return (
            f"no list has its price in {listing.region}: it is the price of {listing.reference}, scaled by "
            f"what {listing.region} costs for the types most alike"
        )
    return f"no list has its price in {listing.region}: it is another region's, scaled by an older list"


def _of_gpu(
    catalogue: Catalogue,
    cloud: str,
    listing: Listing | None,
    terms: Listed,
    gpu_name: str,
    missing: list[str],
) -> Quote | None:
    """What the same GPU costs at the lowest large cloud, where the hardware is of one, else on the market."""
    known = catalogue.gpu(gpu_name) if gpu_name else None
    model = known.model.gpu_model if known else listing.gpu_model if listing else ""
    if not model:
        if gpu_name:
            missing.append(f"it knows no GPU by the name {gpu_name}")
        return None
    if known and known.model.unit == "box":
        missing.append(f"{model} is sold as a whole machine, which has no market price per GPU")
        return None
    market = catalogue.market(model)
    if market is None:
        missing.append(f"it knows no market price of {model}")
        return None
    caveat = f"the catalogue does not help: {'; '.join(missing)}" if missing else ""
    if cloud in LARGE and market.large is not None and market.large.dollars_per_gpu is not None:
        return _of_large_cloud(market.large, listing, known, terms, caveat)
    return _of_market(market, known, terms, caveat)


def _of_large_cloud(
    lowest: Listing, listing: Listing | None, known: GpuNameMatch | None, terms: Listed, caveat: str
) -> Quote:
    """The lowest price of a GPU at a large cloud: for all that the instance has, where its type is known."""
    words = [f"lowest large cloud's list price of {lowest.gpu_model}: {lowest.cloud} {lowest.instance_type}"]
    if lowest.region != EVERYWHERE:
        words.append(lowest.region)
    price = lowest.dollars_per_gpu or Decimal(0)
    devices = 1
    if listing is not None:
        price = price * listing.gpus.numerator / listing.gpus.denominator
        devices = listing.devices
    elif known is not None:
        price = price * known.part.numerator / known.part.denominator
        words[-1] += _part(known)
    return Quote(
        _less(price, terms, words),
        devices,
        "estimate",
        f"{' '.join(words)} ({lowest.source})",
        lowest.as_of,
        caveat,
        "" if listing is None else listing.gpu_model,
        "large_cloud",
    )


def of_model(catalogue: Catalogue, gpu_name: str) -> Quote | NoQuote:
    """The market price of a GPU's model: always an estimate, of one GPU."""
    missing: list[str] = []
    try:
        quote = _of_gpu(catalogue, "", None, Listed(), gpu_name, missing)
    except CatalogueError as error:
        return NoQuote(f"it is damaged: {error}")
    return quote or NoQuote("; ".join(missing))


def _of_market(market: Market, known: GpuNameMatch | None, terms: Listed, caveat: str) -> Quote:
    which = "" if len(market.vendors) == 1 else "median " if market.neocloud else "lowest "
    words = [f"{which}list price of {market.gpu_model} at {', '.join(sorted(market.vendors))}"]
    price = market.dollars
    if known is not None:
        price = price * known.part.numerator / known.part.denominator
        words[-1] += _part(known)
    return Quote(
        _less(price, terms, words), 1, "estimate", " ".join(words), market.as_of, caveat, stand_in="market"
    )


def _part(known: GpuNameMatch) -> str:
    return "" if known.part == 1 else f", {known.part} of it by memory"


def _less(price: Decimal, terms: Listed, words: list[str]) -> Decimal:
    """A price less the discount of the terms, which is added to the words."""
    if not terms.discount_ratio:
        return price
    words.append(f"less {_percent(terms.discount_ratio)} %")
    return price * (1 - terms.discount_ratio)


def _percent(ratio: Decimal) -> str:
    text = f"{ratio * 100:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text

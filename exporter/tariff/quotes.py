"""What the catalogue says that a GPU costs: by the host's instance type, else by the GPU's model.

A `Quote` is for everyone who asks; a `NoQuote` says why there is none. A damaged catalogue is a reason too.
"""

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from exporter.readings import Place
from exporter.tariff.catalogue import Catalogue
from exporter.tariff.instances import CLOUDS, Lifecycle, Listing
from exporter.tariff.rate import PriceBasis
from exporter.tariff.table import CatalogueError
from exporter.tariff.terms import Listed

ANY: Final = "any"
"""The cloud of terms that take the host's own."""


@dataclass(frozen=True, slots=True)
class Quote:
    """An hour of `devices` GPUs together.

    `source` says in words which price it is, as a label may say it, and by which of the catalogue's sources;
    `as_of` is its date.

    `caveat` is what to know about it beyond that, empty where there is nothing. `instance_gpu` is the model
    that the catalogue says the instance has; empty for a market price.
    """

    dollars_per_hour: Decimal
    devices: int
    price_basis: PriceBasis
    source: str
    as_of: str
    caveat: str = ""
    instance_gpu: str = ""


@dataclass(frozen=True, slots=True)
class NoQuote:
    """Why the catalogue has no price, as the rest of a sentence that begins with it."""

    reason: str


def of_unmatched(catalogue: Catalogue, place: Place, gpu_name: str) -> Quote | NoQuote:
    """A GPU that no rule prices: its instance's list price, else the market price of its model."""
    missing = NoQuote("")
    if place.instance_type:
        found = of_listed(catalogue, place, Listed())
        if isinstance(found, Quote):
            return found
        missing = found
    quote = of_model(catalogue, gpu_name)
    if isinstance(quote, NoQuote):
        return NoQuote("; ".join(filter(None, (missing.reason, quote.reason))))
    return replace(quote, caveat=f"the catalogue does not help: {missing.reason}" if missing.reason else "")


def of_listed(catalogue: Catalogue, place: Place, terms: Listed) -> Quote | NoQuote:
    """The list price of an instance type, told by the terms or by the host's place."""
    cloud = place.cloud if terms.cloud == ANY else terms.cloud
    instance_type = terms.instance_type or place.instance_type
    region = terms.region or place.region
    if not instance_type:
        return NoQuote("it is not known which instance type this host is")
    if cloud not in CLOUDS:
        return NoQuote(f"it has no prices of the cloud {cloud or 'of this host, which is not known'}")
    try:
        listing = catalogue.instance(cloud, instance_type, region)
        if listing is None:
            return NoQuote(f"it does not have the {cloud} instance type {instance_type}")
        return _quote(catalogue, listing, region, place.lifecycle, terms)
    except CatalogueError as error:
        return NoQuote(f"it is damaged: {error}")


def _quote(
    catalogue: Catalogue, listing: Listing, region: str, lifecycle: str, terms: Listed
) -> Quote | NoQuote:
    """The price of a listing. What depends on more than the list (spot, commitments) is an estimate."""
    wanted: Lifecycle = terms.discount_of or ("spot" if lifecycle == "spot" else "on_demand")
    price = listing.spot if wanted == "spot" else listing.on_demand
    basis: PriceBasis = "estimate" if wanted == "spot" else "catalogue"
    kind = "spot" if wanted == "spot" else "on demand"
    caveat = "a spot price changes by the hour" if wanted == "spot" else ""
    if price is None and wanted == "spot" and terms.discount_of is None:
        price, kind = listing.on_demand, "on demand, the most that spot may cost"
        caveat = "it has no spot price of this instance type"
    if lifecycle not in {"", "on_demand", "spot"} and terms.discount_of is None:
        basis = "estimate"
        caveat = f"what {lifecycle.replace('_', ' ')} capacity costs is in no list"
    if price is None:
        where = f" in {region}" if region else ""
        return NoQuote(f"it lists {listing.cloud} {listing.instance_type}{where} without a price {kind}")
    words = [listing.cloud, listing.instance_type]
    if listing.region != "*":
        words.append(listing.region)
    words.append(kind)
    if listing.fallback:
        words.append(f"for want of {region}" if region else "region unknown")
        caveat = caveat or f"the price of {listing.region} stands in for {region or 'a region not known'}"
    if terms.discount_ratio:
        words.append(f"less {_percent(terms.discount_ratio)} %")
        price *= 1 - terms.discount_ratio
    _, as_of = catalogue.source(listing.source)
    return Quote(
        price,
        listing.devices,
        basis,
        f"{' '.join(words)} ({listing.source})",
        as_of,
        caveat,
        listing.gpu_model,
    )


def of_model(catalogue: Catalogue, gpu_name: str) -> Quote | NoQuote:
    """The market price of a GPU's model: always an estimate, of one GPU."""
    try:
        known = catalogue.gpu(gpu_name)
        if known is None:
            return NoQuote(f"it knows no GPU by the name {gpu_name}")
        model = known.model
        if model.unit == "box":
            return NoQuote(f"{model.gpu_model} is sold as a whole machine, which has no market price per GPU")
        market = catalogue.market(model.gpu_model)
        if market is None:
            return NoQuote(f"it knows no market price of {model.gpu_model}")
        as_of = min(catalogue.source(source)[1] for source in market.sources)
    except CatalogueError as error:
        return NoQuote(f"it is damaged: {error}")
    which = "" if len(market.vendors) == 1 else "median " if market.neocloud else "lowest "
    part = "" if known.part == 1 else f", {known.part} of it by memory"
    return Quote(
        market.dollars * known.part.numerator / known.part.denominator,
        1,
        "estimate",
        f"{which}list price of {model.gpu_model} at {', '.join(sorted(market.vendors))}{part}",
        as_of,
    )


def _percent(ratio: Decimal) -> str:
    text = f"{ratio * 100:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text

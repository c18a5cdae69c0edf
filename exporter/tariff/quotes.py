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
from fractions import Fraction
from typing import Final, Literal, NamedTuple

from exporter.readings import HostLocation
from exporter.tariff.catalogue import Catalogue
from exporter.tariff.csv_tables import CatalogueError
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
    """Limitations of the price; empty where there are none."""
    instance_gpu: str = ""
    """The GPU model of the instance by the catalogue; empty where the price is of no instance type."""
    stand_in: StandIn = ""

    @property
    def derivation(self) -> Derivation:
        """How it was derived."""
        return Derivation(self.stand_in or "listed")


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
    if not location.instance_type and listed is not None and not listed.instance_type:
        return NoQuote("it is not known which instance type this host is")
    pricing = listed or Listed()
    cloud = location.cloud if pricing.cloud == ANY else pricing.cloud
    instance_type = pricing.instance_type or location.instance_type
    region = pricing.region or location.region
    listing: Listing | None = None
    try:
        listing = _listing_of(catalogue, cloud, instance_type, region)
        return _of_listing(listing, region, location.lifecycle, pricing, stand_ins=stand_ins)
    except (_NoPriceError, CatalogueError) as error:
        why = _reason(error)
    if not stand_ins or pricing.discount_of == "spot":
        return NoQuote(why)
    try:
        return _of_gpu(catalogue, cloud, listing, pricing, gpu_name, why=why)
    except (_NoPriceError, CatalogueError) as error:
        return NoQuote("; ".join(filter(None, (why, _reason(error)))))


class _NoPriceError(Exception):
    """The catalogue has no price of this kind; the message is as `NoQuote.reason`, empty without a reason."""


def _reason(error: _NoPriceError | CatalogueError) -> str:
    return f"it is damaged: {error}" if isinstance(error, CatalogueError) else str(error)


def _listing_of(catalogue: Catalogue, cloud: str, instance_type: str, region: str) -> Listing:
    """The listing of an instance type. No reason is given where no type is known."""
    if not instance_type:
        raise _NoPriceError
    if cloud not in CLOUDS:
        raise _NoPriceError(f"it has no prices of the cloud {cloud or 'of this host, which is not known'}")
    listing = catalogue.instance(cloud, instance_type, region)
    if listing is None:
        raise _NoPriceError(f"it does not have the {cloud} instance type {instance_type}")
    return listing


class _PriceChoice(NamedTuple):
    """One of the prices of a listing."""

    dollars: Decimal | None
    """Dollars per hour of the instance; `None` where the list has none of this kind."""
    kind: str
    """The kind of price, in words: spot or on demand."""
    caveat: str
    """A sentence on why it is an estimate; empty for a list price."""
    is_listed: bool
    """Whether the host pays this price by the list: on demand, without a commitment."""


def _chosen_price(listing: Listing, lifecycle: str, discount_of: Lifecycle | None) -> _PriceChoice:
    """The price of a listing that a host pays by its lifecycle, or the one that a discount is of."""
    wanted: Lifecycle = discount_of or ("spot" if lifecycle == "spot" else "on_demand")
    if discount_of is None and lifecycle not in {"", "on_demand", "spot"}:
        caveat = f"what {lifecycle.replace('_', ' ')} capacity costs is in no list"
        return _PriceChoice(listing.on_demand, "on demand", caveat, is_listed=False)
    if wanted == "on_demand":
        return _PriceChoice(listing.on_demand, "on demand", "", is_listed=True)
    if listing.spot is None and discount_of is None:
        kind = "on demand, the most that spot may cost"
        caveat = "it has no spot price of this instance type"
        return _PriceChoice(listing.on_demand, kind, caveat, is_listed=False)
    return _PriceChoice(listing.spot, "spot", "a spot price changes by the hour", is_listed=False)


class _Substitution(NamedTuple):
    """A price that takes the place of one that no list has."""

    stand_in: StandIn
    source: str
    """The text for a label."""
    caveat: str
    """A sentence on the price; empty where a list has it."""


def _substitution(listing: Listing, region: str, source: str) -> _Substitution:
    """What a listing stands in for; `source` is the text for a label of a price that a list has."""
    if listing.standing == "listed":
        return _Substitution("", source, "")
    if listing.standing == "elsewhere":
        because = f"for want of {region}" if region else "region unknown"
        missing = region or "a region not known"
        caveat = f"the price of {listing.region} stands in for {missing}"
        return _Substitution("region", f"{source} {because}", caveat)
    scaling = "another region's, scaled by an older list"
    if listing.reference:
        types = f"what {listing.region} costs for the types most alike"
        scaling = f"the price of {listing.reference}, scaled by {types}"
    caveat = f"no list has its price in {listing.region}: it is {scaling}"
    return _Substitution("scaled", f"{SCALED} {source}", caveat)


def _of_listing(listing: Listing, region: str, lifecycle: str, listed: Listed, *, stand_ins: bool) -> Quote:
    """The price of a listing; an estimate where it depends on more than a list (spot, commitments)."""
    choice = _chosen_price(listing, lifecycle, listed.discount_of)
    if choice.dollars is None:
        where = f" in {region}" if region else ""
        raise _NoPriceError(
            f"it lists {listing.cloud} {listing.instance_type}{where} without a price {choice.kind}"
        )
    source = f"{listing.cloud} {listing.instance_type}{_in_region(listing)} {choice.kind}"
    substitution = _substitution(listing, region, source)
    if substitution.stand_in and not stand_ins:
        raise _NoPriceError(f"{substitution.caveat} (unmatched_hardware: unpriced takes no estimate)")
    return Quote(
        dollars_per_hour=choice.dollars * (1 - listed.discount_ratio),
        devices=listing.devices,
        price_basis="catalogue" if choice.is_listed and not substitution.stand_in else "estimate",
        source=f"{substitution.source}{_discount(listed)} ({listing.source})",
        as_of=listing.as_of,
        caveat="; ".join(filter(None, (choice.caveat, substitution.caveat))),
        instance_gpu=listing.gpu_model,
        stand_in=substitution.stand_in,
    )


def _of_gpu(
    catalogue: Catalogue,
    cloud: str,
    listing: Listing | None,
    listed: Listed,
    gpu_name: str,
    *,
    why: str,
) -> Quote:
    """The price of the same GPU at the lowest large cloud, where the host is at one, else on the market.

    The price of a large cloud is for all GPUs that the instance has, where its type is known. `why` says
    what the catalogue lacks so far.
    """
    match = catalogue.gpu(gpu_name) if gpu_name else None
    model = "" if listing is None else listing.gpu_model
    if match is not None:
        model = match.model.gpu_model
    if not model:
        raise _NoPriceError(f"it knows no GPU by the name {gpu_name}" if gpu_name else "")
    if match and match.model.unit == "box":
        raise _NoPriceError(f"{model} is sold as a whole machine, which has no market price per GPU")
    market = catalogue.market(model)
    if market is None:
        raise _NoPriceError(f"it knows no market price of {model}")
    part = Fraction(1) if match is None else match.part
    of_part = "" if part == 1 else f", {part} of it by memory"
    caveat = f"the catalogue does not help: {why}" if why else ""
    lowest = market.large
    if cloud in LARGE_CLOUDS and lowest is not None and lowest.dollars_per_gpu is not None:
        gpus = part if listing is None else listing.gpus
        source = f"{lowest.gpu_model}: {lowest.cloud} {lowest.instance_type}{_in_region(lowest)}"
        if listing is None:
            source += of_part
        return Quote(
            dollars_per_hour=_part(lowest.dollars_per_gpu, gpus, listed),
            devices=1 if listing is None else listing.devices,
            price_basis="estimate",
            source=f"lowest large cloud's list price of {source}{_discount(listed)} ({lowest.source})",
            as_of=lowest.as_of,
            caveat=caveat,
            instance_gpu="" if listing is None else listing.gpu_model,
            stand_in="large_cloud",
        )
    which = "median " if market.neocloud else "lowest "
    if len(market.vendors) == 1:
        which = ""
    source = f"{which}list price of {market.gpu_model} at {', '.join(sorted(market.vendors))}"
    return Quote(
        dollars_per_hour=_part(market.dollars, part, listed),
        devices=1,
        price_basis="estimate",
        source=f"{source}{of_part}{_discount(listed)}",
        as_of=market.as_of,
        caveat=caveat,
        stand_in="market",
    )


def _in_region(listing: Listing) -> str:
    return "" if listing.region == ALL_REGIONS else f" {listing.region}"


def _part(price: Decimal, part: Fraction, listed: Listed) -> Decimal:
    """The price of a part of a GPU, or of several, less the discount of a rule."""
    return price * part.numerator / part.denominator * (1 - listed.discount_ratio)


def _discount(listed: Listed) -> str:
    if not listed.discount_ratio:
        return ""
    return f" less {(listed.discount_ratio * 100).normalize():f} %"

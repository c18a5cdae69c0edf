"""Quotes: catalogue prices of a GPU by the host's instance type, else by the GPU's model.

A `Quote` has the price and its source; a `NoQuote` has the reason why there is none. A damaged catalogue is a
reason too. The first of these that has a price:

1. a row of a list, for that type in that region on demand: basis `catalogue`; all that follow: `estimate`
2. the same type's price, scaled to the region, or of another region
3. where the hardware is of a large cloud: the lowest price of the same GPU at any of them
4. the market of the GPU
"""

from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import Final, NamedTuple

from exporter.readings import HostLocation
from exporter.tariff.catalogue import Catalogue, Market
from exporter.tariff.csv_tables import CatalogueError
from exporter.tariff.instances import ALL_REGIONS, CLOUDS, LARGE_CLOUDS, Lifecycle, Listing
from exporter.tariff.rate import Derivation, PriceBasis
from exporter.tariff.terms import Listed

ANY: Final = "any"
"""The cloud of a rule that takes the host's own."""

SCALED: Final = "scaled"
"""The first word of a scaled price's source; an alert excludes these."""


@dataclass(frozen=True, slots=True)
class Quote:
    """A price of the catalogue: dollars for an hour of some GPUs together."""

    dollars_per_hour: Decimal
    devices: int
    """Number of the GPUs."""
    price_basis: PriceBasis
    derivation: Derivation
    """Which of the steps has the price: a row of a list, or what stands in for it."""
    source: str
    """Text for a label, with the name of the catalogue's source."""
    as_of: str
    """Date of the source, of two the older one."""
    caveat: str = ""
    """Limitations of the price; empty where there are none."""
    instance_gpu: str = ""
    """The GPU model of the instance by the catalogue; empty where the price is of no instance type."""


@dataclass(frozen=True, slots=True)
class NoQuote:
    """Why the catalogue has no price, as the rest of a sentence that begins with it."""

    reason: str


class _Request(NamedTuple):
    """What a price is looked up for. What a rule does not name is the host's; empty texts are not known."""

    cloud: str
    instance_type: str
    region: str
    lifecycle: str
    gpu_name: str
    """As in NVML."""
    discount_of: Lifecycle | None
    """The price that the rule's discount is of; `None`: the one that the host pays by its lifecycle."""
    discount_ratio: Decimal

    def discounted(self, dollars: Decimal) -> Decimal:
        """A list price less the discount of the rule."""
        return dollars * (1 - self.discount_ratio)

    @property
    def discount_text(self) -> str:
        """The discount, in words that follow the source of a price; empty without a discount."""
        if not self.discount_ratio:
            return ""
        return f" less {(self.discount_ratio * 100).normalize():f} %"


def find_quote(
    catalogue: Catalogue,
    location: HostLocation,
    listed: Listed | None = None,
    gpu_name: str = "",
    *,
    stand_ins: bool = True,
) -> Quote | NoQuote:
    """The price that a rule takes, of the instance type in the rule or of the host; or that of a GPU.

    Args:
        catalogue: of prices.
        location: of the host, as far as it is known.
        listed: the price of the rule; `None` for a GPU without a rule.
        gpu_name: as in NVML; empty without a GPU.
        stand_ins: whether a price may be taken that no list has for this type and region.
    """
    rule = listed or Listed()
    request = _Request(
        cloud=location.cloud if rule.cloud == ANY else rule.cloud,
        instance_type=rule.instance_type or location.instance_type,
        region=rule.region or location.region,
        lifecycle=location.lifecycle,
        gpu_name=gpu_name,
        discount_of=rule.discount_of,
        discount_ratio=rule.discount_ratio,
    )
    if request.instance_type:
        return _of_instance(catalogue, request, stand_ins=stand_ins)
    # A rule waits for its type: an estimate would be posted where the cloud's answer is late.
    if listed is None and gpu_name and stand_ins:
        return _of_same_gpu(catalogue, request, None)
    return NoQuote("it is not known which instance type this host is")


def _of_instance(catalogue: Catalogue, request: _Request, *, stand_ins: bool) -> Quote | NoQuote:
    """The price of a known instance type, else of its GPU: all four steps."""
    looked_up = _listing_of(catalogue, request)
    listing: Listing | None = None
    quote: Quote | NoQuote
    if isinstance(looked_up, NoQuote):
        quote = looked_up
    else:
        listing = looked_up
        quote = _of_listing(listing, request, stand_ins=stand_ins)
    is_gpu_known = listing is not None or bool(request.gpu_name)
    # The last two steps have prices on demand alone: no spot discount is of them.
    may_estimate = stand_ins and request.discount_of != "spot" and is_gpu_known
    if isinstance(quote, Quote) or not may_estimate:
        return quote
    estimate = _of_same_gpu(catalogue, request, listing)
    if isinstance(estimate, Quote):
        return replace(estimate, caveat=f"the catalogue does not help: {quote.reason}")
    return NoQuote(f"{quote.reason}; {estimate.reason}")


def _listing_of(catalogue: Catalogue, request: _Request) -> Listing | NoQuote:
    """The listing of the instance type, in the region or as near as the catalogue has it."""
    if not request.cloud:
        return NoQuote("it has no prices of the cloud of this host, which is not known")
    if request.cloud not in CLOUDS:
        return NoQuote(f"it has no prices of the cloud {request.cloud}")
    try:
        listing = catalogue.instance(request.cloud, request.instance_type, request.region)
    except CatalogueError as error:
        return _damage(error)
    missing = NoQuote(f"it does not have the {request.cloud} instance type {request.instance_type}")
    return missing if listing is None else listing


def _damage(error: CatalogueError) -> NoQuote:
    """The reason of a look-up in a damaged table."""
    return NoQuote(f"it is damaged: {error}")


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

    @classmethod
    def of(cls, listing: Listing, request: _Request) -> "_PriceChoice":
        """The price that a discount is of, or that the host pays by its lifecycle."""
        on_demand = cls(listing.on_demand, "on demand", caveat="", is_listed=True)
        spot = cls(listing.spot, "spot", caveat="a spot price changes by the hour", is_listed=False)
        if request.discount_of is not None:
            return spot if request.discount_of == "spot" else on_demand
        if request.lifecycle in {"", "on_demand"}:
            return on_demand
        if request.lifecycle != "spot":
            capacity = request.lifecycle.replace("_", " ")
            caveat = f"what {capacity} capacity costs is in no list"
            return on_demand._replace(caveat=caveat, is_listed=False)
        if listing.spot is not None:
            return spot
        kind = "on demand, the most that spot may cost"
        caveat = "it has no spot price of this instance type"
        return cls(listing.on_demand, kind, caveat=caveat, is_listed=False)


class _Substitution(NamedTuple):
    """Whether the price of a listing takes the place of one that no list has, and how that is said."""

    derivation: Derivation
    source: str
    """The text for a label."""
    caveat: str
    """A sentence on the price; empty where a list has it."""

    @classmethod
    def of(cls, listing: Listing, region: str, source: str) -> "_Substitution":
        """What a listing stands in for; `source` is the text for a label of a price that a list has."""
        if listing.standing == "listed":
            return cls(Derivation.LISTED, source, caveat="")
        if listing.standing == "elsewhere":
            because = f"for want of {region}" if region else "region unknown"
            missing = region or "a region not known"
            caveat = f"the price of {listing.region} stands in for {missing}"
            return cls(Derivation.REGION, f"{source} {because}", caveat)
        scaling = "another region's, scaled by an older list"
        if listing.reference:
            types = f"what {listing.region} costs for the types most alike"
            scaling = f"the price of {listing.reference}, scaled by {types}"
        caveat = f"no list has its price in {listing.region}: it is {scaling}"
        return cls(Derivation.SCALED, f"{SCALED} {source}", caveat)


def _of_listing(listing: Listing, request: _Request, *, stand_ins: bool) -> Quote | NoQuote:
    """The price of a listing: an estimate unless the host pays that very row of a list."""
    choice = _PriceChoice.of(listing, request)
    instance_type = f"{listing.cloud} {listing.instance_type}"
    if choice.dollars is None:
        where = f" in {request.region}" if request.region else ""
        return NoQuote(f"it lists {instance_type}{where} without a price {choice.kind}")
    source = f"{instance_type}{_in_region(listing)} {choice.kind}"
    substitution = _Substitution.of(listing, request.region, source)
    is_stand_in = substitution.derivation is not Derivation.LISTED
    if is_stand_in and not stand_ins:
        return NoQuote(f"{substitution.caveat} (unmatched_hardware: unpriced takes no estimate)")
    caveats = [caveat for caveat in (choice.caveat, substitution.caveat) if caveat]
    return Quote(
        dollars_per_hour=request.discounted(choice.dollars),
        devices=listing.devices,
        price_basis="catalogue" if choice.is_listed and not is_stand_in else "estimate",
        derivation=substitution.derivation,
        source=f"{substitution.source}{request.discount_text} ({listing.source})",
        as_of=listing.as_of,
        caveat="; ".join(caveats),
        instance_gpu=listing.gpu_model,
    )


class _PricedGpus(NamedTuple):
    """What is priced by the GPU: a model, and how many GPUs of it."""

    gpu_model: str
    gpus: Fraction = Fraction(1)
    """Below 1 for a vGPU or a slice, by its memory."""

    def dollars(self, dollars_per_gpu: Decimal) -> Decimal:
        """An hour of all of it."""
        return dollars_per_gpu * self.gpus.numerator / self.gpus.denominator

    @property
    def part_text(self) -> str:
        """The part of a vGPU, in words that follow the source of a price; empty for a whole GPU."""
        return "" if self.gpus == 1 else f", {self.gpus} of it by memory"


def _of_same_gpu(catalogue: Catalogue, request: _Request, listing: Listing | None) -> Quote | NoQuote:
    """The price of the same GPU elsewhere: at a large cloud for hardware of one, else on the market.

    Args:
        catalogue: of prices.
        request: with the name of a GPU where there is no listing.
        listing: of the instance type, which has no price that serves; `None` where none is known.
    """
    try:
        gpu = _known_gpu(catalogue, request.gpu_name, listing)
        if isinstance(gpu, NoQuote):
            return gpu
        market = catalogue.market(gpu.gpu_model)
    except CatalogueError as error:
        return _damage(error)
    if market is None:
        return NoQuote(f"it knows no market price of {gpu.gpu_model}")
    lowest = market.large
    if request.cloud in LARGE_CLOUDS and lowest is not None and lowest.dollars_per_gpu is not None:
        return _of_large_cloud(lowest, gpu, listing, request, dollars_per_gpu=lowest.dollars_per_gpu)
    return _of_market(market, gpu, request)


def _known_gpu(catalogue: Catalogue, gpu_name: str, listing: Listing | None) -> _PricedGpus | NoQuote:
    """The GPU by its name, else by the instance type.

    Raises:
        CatalogueError: the table of models is damaged.
    """
    match = catalogue.gpu(gpu_name) if gpu_name else None
    if match is None:
        if listing is None:
            return NoQuote(f"it knows no GPU by the name {gpu_name}")
        return _PricedGpus(listing.gpu_model)
    gpu_model = match.model.gpu_model
    if match.model.unit == "box":
        return NoQuote(f"{gpu_model} is sold as a whole machine, which has no market price per GPU")
    return _PricedGpus(gpu_model, match.part)


def _of_large_cloud(
    lowest: Listing,
    gpu: _PricedGpus,
    listing: Listing | None,
    request: _Request,
    *,
    dollars_per_gpu: Decimal,
) -> Quote:
    """The lowest list price of a large cloud: of one GPU, or of all that a known instance type has."""
    instance_type = f"{lowest.cloud} {lowest.instance_type}{_in_region(lowest)}"
    source = f"lowest large cloud's list price of {lowest.gpu_model}: {instance_type}"
    origin = f"{request.discount_text} ({lowest.source})"
    of_one = Quote(
        dollars_per_hour=request.discounted(gpu.dollars(dollars_per_gpu)),
        devices=1,
        price_basis="estimate",
        derivation=Derivation.LARGE_CLOUD,
        source=f"{source}{gpu.part_text}{origin}",
        as_of=lowest.as_of,
    )
    if listing is None:
        return of_one
    of_all = _PricedGpus(listing.gpu_model, listing.gpus)
    return replace(
        of_one,
        dollars_per_hour=request.discounted(of_all.dollars(dollars_per_gpu)),
        devices=listing.devices,
        source=f"{source}{origin}",
        instance_gpu=listing.gpu_model,
    )


def _of_market(market: Market, gpu: _PricedGpus, request: _Request) -> Quote:
    """The market's price of one GPU, or of a part of one."""
    price = "median list price" if market.neocloud else "lowest list price"
    if len(market.vendors) == 1:
        price = "list price"
    source = f"{price} of {market.gpu_model} at {', '.join(sorted(market.vendors))}"
    return Quote(
        dollars_per_hour=request.discounted(gpu.dollars(market.dollars)),
        devices=1,
        price_basis="estimate",
        derivation=Derivation.MARKET,
        source=f"{source}{gpu.part_text}{request.discount_text}",
        as_of=market.as_of,
    )


def _in_region(listing: Listing) -> str:
    """The region of a list price, in words that follow the type; empty where it is the same in all."""
    return "" if listing.region == ALL_REGIONS else f" {listing.region}"

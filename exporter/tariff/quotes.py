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
from exporter.tariff.terms import ANY_CLOUD, Listed

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
    """Text for a label: what is priced, and the source of the list or the vendors of the market."""
    as_of: str
    """Date of the source, of two the older one."""
    caveat: str = ""
    """Limitations of the price; empty where there are none."""
    instance_gpu: str = ""
    """The GPU model of the instance by the catalogue; empty where the catalogue has no instance type."""


@dataclass(frozen=True, slots=True)
class NoQuote:
    """Why there is no price, as a clause for after a colon, in which "it" is the catalogue."""

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
    stand_ins: bool
    """Whether a price may be taken that no list has for this type and region."""

    @property
    def kind_paid(self) -> str:
        """The kind of price that applies, such as `spot`; `on_demand` where the lifecycle is not known."""
        return self.discount_of or self.lifecycle or "on_demand"

    @property
    def on_demand_caveat(self) -> str:
        """A clause on why a price on demand is not the one that applies; empty where it is."""
        if self.kind_paid == "on_demand":
            return ""
        if self.kind_paid == "spot":
            return "spot may cost less"
        return f"what {self.kind_paid.replace('_', ' ')} capacity costs is in no list"

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
        cloud=location.cloud if rule.cloud == ANY_CLOUD else rule.cloud,
        instance_type=rule.instance_type or location.instance_type,
        region=rule.region or location.region,
        lifecycle=location.lifecycle,
        gpu_name=gpu_name,
        discount_of=rule.discount_of,
        discount_ratio=rule.discount_ratio,
        stand_ins=stand_ins,
    )
    if request.instance_type:
        return _of_instance(catalogue, request)
    # With a rule, wait: the cloud may yet tell the type, and money posted by an estimate stays so.
    if listed is None and gpu_name and stand_ins:
        return _of_same_gpu(catalogue, request, None)
    return NoQuote("it is not known which instance type this host is")


def _of_instance(catalogue: Catalogue, request: _Request) -> Quote | NoQuote:
    """All four steps for an instance type: its own price, else that of its GPU."""
    listing = _find_listing(catalogue, request)
    if isinstance(listing, NoQuote):
        return _estimate(catalogue, request, None, missing=listing)
    quote = _of_listing(listing, request)
    if isinstance(quote, NoQuote):
        return _estimate(catalogue, request, listing, missing=quote)
    return quote


def _estimate(
    catalogue: Catalogue, request: _Request, listing: Listing | None, *, missing: NoQuote
) -> Quote | NoQuote:
    """Steps 3 and 4 for an instance type of which the first two have no price; `missing` says why."""
    is_gpu_known = listing is not None or bool(request.gpu_name)
    # These steps have prices on demand alone: no spot discount is of them.
    if not request.stand_ins or request.discount_of == "spot" or not is_gpu_known:
        return missing
    estimate = _of_same_gpu(catalogue, request, listing)
    if isinstance(estimate, NoQuote):
        return NoQuote(f"{missing.reason}; {estimate.reason}")
    reason = f"the catalogue does not help: {missing.reason}"
    return replace(estimate, caveat=_joined(reason, estimate.caveat))


def _find_listing(catalogue: Catalogue, request: _Request) -> Listing | NoQuote:
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


def _joined(*caveats: str) -> str:
    """One caveat of several clauses, of which some may be empty."""
    return "; ".join(caveat for caveat in caveats if caveat)


def _damage(error: CatalogueError) -> NoQuote:
    """The reason of a look-up in a damaged table."""
    return NoQuote(f"it is damaged: {error}")


class _PriceChoice(NamedTuple):
    """One of the prices of a listing: on demand or spot."""

    dollars: Decimal | None
    """Dollars per hour of the instance; `None` where the list has none of this kind."""
    kind: str
    """The kind of price, in words: spot or on demand."""
    caveat: str = ""
    """A clause on why it is an estimate; empty where the host pays this price by the list."""

    @classmethod
    def of(cls, listing: Listing, request: _Request) -> "_PriceChoice":
        """The price that a discount is of, or that the host pays by its lifecycle."""
        is_discount_of_spot = request.discount_of == "spot"
        match request.kind_paid:
            case "on_demand":
                return cls(listing.on_demand, "on demand")
            case "spot" if is_discount_of_spot or listing.spot is not None:
                return cls(listing.spot, "spot", caveat="a spot price changes by the hour")
            case "spot":
                kind = "on demand, the most that spot may cost"
                return cls(listing.on_demand, kind, caveat="it has no spot price of this instance type")
            case _:
                return cls(listing.on_demand, "on demand", caveat=request.on_demand_caveat)


class _StandIn(NamedTuple):
    """What the price of a listing stands in for, where no list has the one that was asked for."""

    derivation: Derivation
    """`LISTED` where a list has the price itself."""
    source: str
    """The text for a label."""
    caveat: str = ""
    """A clause on the price; empty where a list has it."""

    @classmethod
    def of(cls, listing: Listing, region: str, source: str) -> "_StandIn":
        """By the standing of a listing.

        Args:
            listing: in the region, or as near as the catalogue has it.
            region: the one that was asked for; empty where it is not known.
            source: text for the label of a listed price, which those of others extend.
        """
        match listing.standing:
            case "listed":
                return cls(Derivation.LISTED, source)
            case "elsewhere":
                reason = f"for want of {region}" if region else "region unknown"
                missing = region or "a region not known"
                caveat = f"the price of {listing.region} stands in for {missing}"
                return cls(Derivation.REGION, f"{source} {reason}", caveat)
            case "scaled":
                if listing.reference:
                    types = f"what {listing.region} costs for the types most alike"
                    scaling = f"the price of {listing.reference}, scaled by {types}"
                else:
                    scaling = "another region's, scaled by an older list"
                caveat = f"no list has its price in {listing.region}: it is {scaling}"
                return cls(Derivation.SCALED, f"{SCALED} {source}", caveat)


def _of_listing(listing: Listing, request: _Request) -> Quote | NoQuote:
    """Steps 1 and 2: the price of a listing, an estimate unless the host pays that very row of a list."""
    choice = _PriceChoice.of(listing, request)
    instance_type = f"{listing.cloud} {listing.instance_type}"
    if choice.dollars is None:
        where = f" in {request.region}" if request.region else ""
        return NoQuote(f"it lists {instance_type}{where} without a price {choice.kind}")
    source = f"{instance_type}{_in_region(listing)} {choice.kind}"
    stand_in = _StandIn.of(listing, request.region, source)
    if stand_in.caveat and not request.stand_ins:
        return NoQuote(f"{stand_in.caveat} (unmatched_hardware: unpriced takes no estimate)")
    caveat = _joined(choice.caveat, stand_in.caveat)
    return Quote(
        dollars_per_hour=request.discounted(choice.dollars),
        devices=listing.devices,
        price_basis="estimate" if caveat else "catalogue",
        derivation=stand_in.derivation,
        source=f"{stand_in.source}{request.discount_text} ({listing.source})",
        as_of=listing.as_of,
        caveat=caveat,
        instance_gpu=listing.gpu_model,
    )


class _PricedGpus(NamedTuple):
    """GPUs that are priced by their model: those of an instance type, else one GPU by its name."""

    gpu_model: str
    """By its name in the catalogue."""
    gpus: Fraction
    """Whole GPUs; below 1 for a vGPU or a slice, by its memory."""
    devices: int = 1
    """GPUs that NVML shows of them."""
    instance_gpu: str = ""
    """The model again where it is known by an instance type, else empty."""

    def dollars(self, dollars_per_gpu: Decimal) -> Decimal:
        """An hour of all of them."""
        # A Decimal and a Fraction do not multiply.
        return dollars_per_gpu * self.gpus.numerator / self.gpus.denominator

    @property
    def part_text(self) -> str:
        """The part of a vGPU, in words that follow the source of a price; empty for all others."""
        return "" if self.instance_gpu or self.gpus == 1 else f", {self.gpus} of it by memory"


class _GpuPrice(NamedTuple):
    """What one GPU of a model costs elsewhere for an hour on demand."""

    dollars: Decimal
    derivation: Derivation
    source: str
    """Whose price it is, as text for a label."""
    origin: str
    """The list that has it, in words that end the label; empty where `source` names the vendors."""
    as_of: str

    @classmethod
    def of_large_cloud(cls, market: Market) -> "_GpuPrice | None":
        """Step 3: the lowest list price of a large cloud; `None` where none lists the model."""
        lowest = market.large
        if lowest is None or lowest.dollars_per_gpu is None:
            return None
        instance_type = f"{lowest.cloud} {lowest.instance_type}{_in_region(lowest)}"
        return cls(
            dollars=lowest.dollars_per_gpu,
            derivation=Derivation.LARGE_CLOUD,
            source=f"lowest large cloud's list price of {lowest.gpu_model}: {instance_type}",
            origin=f" ({lowest.source})",
            as_of=lowest.as_of,
        )

    @classmethod
    def of_market(cls, market: Market) -> "_GpuPrice":
        """Step 4: the market's price."""
        price = "median list price" if market.neocloud else "lowest list price"
        if len(market.vendors) == 1:
            price = "list price"
        return cls(
            dollars=market.dollars,
            derivation=Derivation.MARKET,
            source=f"{price} of {market.gpu_model} at {', '.join(sorted(market.vendors))}",
            origin="",
            as_of=market.as_of,
        )


def _of_same_gpu(catalogue: Catalogue, request: _Request, listing: Listing | None) -> Quote | NoQuote:
    """Steps 3 and 4: the same GPU elsewhere, at a large cloud for hardware of one, else on the market.

    Args:
        catalogue: of prices.
        request: with the name of a GPU where there is no listing.
        listing: of the instance type, which has no price that serves; `None` where none is known.
    """
    try:
        gpus = _priced_gpus(catalogue, request.gpu_name, listing)
        if isinstance(gpus, NoQuote):
            return gpus
        market = catalogue.market(gpus.gpu_model)
    except CatalogueError as error:
        return _damage(error)
    if market is None:
        return NoQuote(f"it knows no market price of {gpus.gpu_model}")
    large_cloud = _GpuPrice.of_large_cloud(market) if request.cloud in LARGE_CLOUDS else None
    price = _GpuPrice.of_market(market) if large_cloud is None else large_cloud
    return Quote(
        dollars_per_hour=request.discounted(gpus.dollars(price.dollars)),
        devices=gpus.devices,
        price_basis="estimate",
        derivation=price.derivation,
        source=f"{price.source}{gpus.part_text}{request.discount_text}{price.origin}",
        as_of=price.as_of,
        caveat=request.on_demand_caveat,
        instance_gpu=gpus.instance_gpu,
    )


def _priced_gpus(catalogue: Catalogue, gpu_name: str, listing: Listing | None) -> _PricedGpus | NoQuote:
    """All GPUs of a known instance type, as prices of instances are; else one GPU by its name in NVML.

    A host that shows other GPUs than its type has still pays for the type.

    Raises:
        CatalogueError: the table of models is damaged.
    """
    if listing is not None:
        model = listing.gpu_model
        return _PricedGpus(model, listing.gpus, devices=listing.devices, instance_gpu=model)
    match = catalogue.gpu(gpu_name)
    if match is None:
        return NoQuote(f"it knows no GPU by the name {gpu_name}")
    gpu_model = match.model.gpu_model
    if match.model.unit == "box":
        return NoQuote(f"{gpu_model} is sold as a whole machine, which has no market price per GPU")
    return _PricedGpus(gpu_model, match.part)


def _in_region(listing: Listing) -> str:
    """The region of a list price, in words that follow the type; empty where it is the same in all."""
    return "" if listing.region == ALL_REGIONS else f" {listing.region}"

"""Quotes: catalogue prices of a GPU by the host's instance type, else by the GPU's model.

A `Quote` is a price with its source. A `NoQuote` is the reason why there is no price.
The first step that has a price decides:

1. `_price_listed`: a list has the instance type in the region.
2. `_price_of_region`: a list has the instance type in another region. Its price is scaled where possible.
3. `_price_of_large_cloud`: the lowest price of the same GPU at a large cloud, for hardware of a large cloud.
4. `_price_of_market`: the market price of the same GPU.

The price basis is `catalogue` where step 1 has the price that the host pays, else `estimate`.
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
    """The step that has the price; steps 1 to 4 give LISTED, REGION or SCALED, LARGE_CLOUD and MARKET."""
    source: str
    """Text for a label, like `aws p5.48xlarge us-east-1 on demand less 30 % (karpenter-aws)`."""
    as_of: str
    """Date of the source; the older date of two sources."""
    caveat: str = ""
    """Limitations of the price; empty where there are none."""
    instance_gpu: str = ""
    """The GPU model of the instance by the catalogue; empty where the catalogue has no instance type."""

    def without_type(self, by_type: "NoQuote") -> "Quote":
        """This price of a GPU, with the reason why its instance type has no price."""
        reason = f"the catalogue does not help: {by_type.reason}"
        return replace(self, caveat=_joined(reason, self.caveat))


@dataclass(frozen=True, slots=True)
class NoQuote:
    """Why there is no price, as a clause for after a colon, in which "it" is the catalogue."""

    reason: str

    def without_type(self, by_type: "NoQuote") -> "NoQuote":
        """This reason of a GPU, after the reason why its instance type has no price."""
        return NoQuote(f"{by_type.reason}; {self.reason}")


class _Request(NamedTuple):
    """What a price is looked up for. A rule's value replaces the host's value; an empty text is not known."""

    cloud: str
    instance_type: str
    region: str
    lifecycle: str
    """Like `on_demand`, `spot` or `reserved`."""
    gpu_name: str
    """As in NVML."""
    is_of_rule: bool
    """Whether a rule asks for a list price; a GPU without a rule asks for any price."""
    discount_of: Lifecycle | None
    """The list price that the rule names; `None` for the price that the host pays by its lifecycle."""
    discount_ratio: Decimal
    stand_ins: bool
    """Whether steps 2 to 4 may be taken. Their price stands in for one that no list has."""

    @property
    def kind_paid(self) -> str:
        """The kind of price that applies, such as `spot`; `on_demand` where the lifecycle is not known."""
        return self.discount_of or self.lifecycle or "on_demand"

    @property
    def on_demand_caveat(self) -> str:
        """A clause on why a price on demand is not the price that applies; empty where it applies."""
        if self.kind_paid == "on_demand":
            return ""
        if self.kind_paid == "spot":
            return "spot may cost less"
        return f"what {self.kind_paid.replace('_', ' ')} capacity costs is in no list"

    def takes_price_of_gpu(self, listing: Listing | NoQuote) -> bool:
        """Whether steps 3 and 4 may be taken, after steps 1 and 2 had no price.

        Args:
            listing: of the instance type, which names its GPU; or why there is none.
        """
        is_gpu_known = isinstance(listing, Listing) or bool(self.gpu_name)
        # A cloud may report the instance type later, and no later price replaces a posted estimate.
        waits_for_type = self.is_of_rule and not self.instance_type
        # Steps 3 and 4 have prices on demand alone.
        needs_spot = self.discount_of == "spot"
        return self.stand_ins and is_gpu_known and not waits_for_type and not needs_spot


def find_quote(
    catalogue: Catalogue,
    location: HostLocation,
    listed: Listed | None = None,
    gpu_name: str = "",
    *,
    stand_ins: bool = True,
) -> Quote | NoQuote:
    """The price of an instance type or of a GPU, by the first step that has one.

    Args:
        catalogue: of prices.
        location: of the host, as far as it is known.
        listed: the price that a rule asks for; `None` for a GPU without a rule.
        gpu_name: as in NVML; empty without a GPU.
        stand_ins: whether steps 2 to 4 may be taken. `False` keeps step 1 with all of its prices: a spot
            host without a listed spot price then costs its price on demand, which is an estimate.
    """
    rule = listed or Listed()  # without a rule, each value is the host's own
    request = _Request(
        cloud=location.cloud if rule.cloud == ANY_CLOUD else rule.cloud,
        instance_type=rule.instance_type or location.instance_type,
        region=rule.region or location.region,
        lifecycle=location.lifecycle,
        gpu_name=gpu_name,
        is_of_rule=listed is not None,
        discount_of=rule.discount_of,
        discount_ratio=rule.discount_ratio,
        stand_ins=stand_ins,
    )
    listing = _find_listing(catalogue, request)
    by_type = _quote_by_type(listing, request)  # steps 1 and 2
    if isinstance(by_type, Quote) or not request.takes_price_of_gpu(listing):
        return by_type
    by_gpu = _quote_by_gpu(catalogue, request, listing)  # steps 3 and 4
    return by_gpu.without_type(by_type) if request.instance_type else by_gpu


def _find_listing(catalogue: Catalogue, request: _Request) -> Listing | NoQuote:
    """The listing of the instance type, in the region or as near as the catalogue has it."""
    if not request.instance_type:
        return NoQuote("it is not known which instance type this host is")
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


def _joined(*caveats: str) -> str:
    """One caveat of several clauses, of which some may be empty."""
    return "; ".join(caveat for caveat in caveats if caveat)


class _PricedGpus(NamedTuple):
    """The GPUs that a quote is for: all of an instance type, else one GPU by its name."""

    gpu_model: str
    """By its name in the catalogue."""
    number: Fraction
    """Whole GPUs, like 8; a vGPU or a slice is a part of one by its memory, like 1/6."""
    devices: int
    """GPUs that NVML shows; a vGPU or a slice is one."""
    is_instance: bool
    """Whether they are the GPUs of an instance type."""

    @classmethod
    def of_instance(cls, listing: Listing) -> "_PricedGpus":
        """All GPUs of an instance type. A host that shows other GPUs still pays for the type."""
        return cls(listing.gpu_model, listing.gpus, listing.devices, is_instance=True)

    @classmethod
    def of_name(cls, catalogue: Catalogue, gpu_name: str) -> "_PricedGpus | NoQuote":
        """One GPU by its name in NVML.

        Raises:
            CatalogueError: the table of models is damaged.
        """
        match = catalogue.gpu(gpu_name)
        if match is None:
            return NoQuote(f"it knows no GPU by the name {gpu_name}")
        gpu_model = match.model.gpu_model
        if match.model.unit == "box":
            return NoQuote(f"{gpu_model} is sold as a whole machine, which has no market price per GPU")
        return cls(gpu_model, match.part, devices=1, is_instance=False)

    def dollars(self, dollars_per_gpu: Decimal) -> Decimal:
        """An hour of all of them."""
        # A Decimal and a Fraction do not multiply.
        return dollars_per_gpu * self.number.numerator / self.number.denominator


class _Price(NamedTuple):
    """The price that a step has, for an hour of all GPUs of a quote, before the discount of the rule."""

    dollars: Decimal
    derivation: Derivation
    subject: str
    """What costs that much, as the first words of a label: `aws p5.48xlarge us-east-1 on demand`."""
    list_name: str
    """The list that has the price, like `karpenter-aws`; empty where `subject` names the vendors."""
    as_of: str
    caveat: str
    """Clauses on why the price is an estimate; empty where the host pays this price by a list."""

    def quote(self, gpus: _PricedGpus, discount_ratio: Decimal) -> Quote:
        """The price less the discount of the rule."""
        is_paid_by_list = self.derivation is Derivation.LISTED and not self.caveat
        return Quote(
            dollars_per_hour=self.dollars * (1 - discount_ratio),
            devices=gpus.devices,
            price_basis="catalogue" if is_paid_by_list else "estimate",
            derivation=self.derivation,
            source=self.label(gpus, discount_ratio),
            as_of=self.as_of,
            caveat=self.caveat,
            instance_gpu=gpus.gpu_model if gpus.is_instance else "",
        )

    def label(self, gpus: _PricedGpus, discount_ratio: Decimal) -> str:
        """The text for a label: the subject, the part of a vGPU, the discount and the list.

        `aws p5.48xlarge us-east-1 on demand less 30 % (karpenter-aws)` is of an instance type.
        `list price of A10 at lambda, 1/6 of it by memory less 10 %` is of a vGPU on the market.
        """
        is_part = not gpus.is_instance and gpus.number != 1
        part = f", {gpus.number} of it by memory" if is_part else ""
        discount = f" less {(discount_ratio * 100).normalize():f} %" if discount_ratio else ""
        list_name = f" ({self.list_name})" if self.list_name else ""
        return f"{self.subject}{part}{discount}{list_name}"


def _quote_by_type(listing: Listing | NoQuote, request: _Request) -> Quote | NoQuote:
    """Steps 1 and 2: the price of an instance type; without a listing, the reason why there is none."""
    if isinstance(listing, NoQuote):
        return listing
    listed = _price_listed(listing, request)
    if isinstance(listed, NoQuote):
        return listed
    price = listed if listing.standing == "listed" else _price_of_region(listed, listing, request)
    if isinstance(price, NoQuote):
        return price
    return price.quote(_PricedGpus.of_instance(listing), request.discount_ratio)


class _ListPrice(NamedTuple):
    """One of the two prices of a listing, on demand or spot."""

    dollars: Decimal | None
    """Dollars per hour of the instance; `None` where the list has no price of this kind."""
    kind: str
    """`on demand` or `spot`."""
    relation: str = ""
    """Words that follow the kind in a label, like `, the most that spot may cost`."""
    caveat: str = ""
    """A clause on why the price is an estimate; empty where the host pays it by the list."""

    @classmethod
    def of(cls, listing: Listing, request: _Request) -> "_ListPrice":
        """The price that a rule names, else the one that the host pays by its lifecycle."""
        match request.kind_paid:
            case "spot" if listing.spot is None and request.discount_of is None:
                # The host pays a spot price that no list has. The price on demand is its upper bound.
                return cls(
                    listing.on_demand,
                    "on demand",
                    relation=", the most that spot may cost",
                    caveat="it has no spot price of this instance type",
                )
            case "spot":
                return cls(listing.spot, "spot", caveat="a spot price changes by the hour")
            case _:
                # The caveat is empty where the host pays on demand.
                return cls(listing.on_demand, "on demand", caveat=request.on_demand_caveat)


def _price_listed(listing: Listing, request: _Request) -> _Price | NoQuote:
    """Step 1: the price of a row of a list."""
    paid = _ListPrice.of(listing, request)
    instance_type = f"{listing.cloud} {listing.instance_type}"
    if paid.dollars is None:
        missing = "spot price" if paid.kind == "spot" else "price on demand"
        if listing.standing == "listed":
            where = f" in {request.region}" if request.region else ""
            return NoQuote(f"it lists {instance_type}{where} without a {missing}")
        return NoQuote(f"it has no {missing} of {instance_type} in {listing.region}")
    return _Price(
        dollars=paid.dollars,
        derivation=Derivation.LISTED,
        subject=f"{instance_type}{_in_region(listing)} {paid.kind}{paid.relation}",
        list_name=listing.source,
        as_of=listing.as_of,
        caveat=paid.caveat,
    )


def _price_of_region(listed: _Price, listing: Listing, request: _Request) -> _Price | NoQuote:
    """Step 2: the price of a listing that stands in for the region.

    Args:
        listed: the price of step 1 for this listing.
        listing: of another region, or scaled to the region.
        request: with the region that no list has.
    """
    caveat = _stand_in_caveat(listing, request.region)
    if not request.stand_ins:
        return NoQuote(f"{caveat} (unmatched_hardware: unpriced takes listed prices only)")
    if listing.standing == "scaled":
        derivation = Derivation.SCALED
        subject = f"{SCALED} {listed.subject}"
    else:
        reason = f"for want of {request.region}" if request.region else "region unknown"
        derivation = Derivation.REGION
        subject = f"{listed.subject} {reason}"
    return listed._replace(derivation=derivation, subject=subject, caveat=_joined(listed.caveat, caveat))


def _stand_in_caveat(listing: Listing, region: str) -> str:
    """A clause on what a listing stands in for, like `the price of us-east-1 stands in for eu-north-1`.

    Args:
        listing: of another region, or scaled to the region.
        region: the region that no list has; empty where it is not known.
    """
    if listing.standing == "elsewhere":
        return f"the price of {listing.region} stands in for {region or 'a region not known'}"
    scaling = "another region's, scaled by an older list"
    if listing.reference:
        types = f"what {listing.region} costs for the types most alike"
        scaling = f"the price of {listing.reference}, scaled by {types}"
    return f"no list has its price in {listing.region}: it is {scaling}"


def _quote_by_gpu(catalogue: Catalogue, request: _Request, listing: Listing | NoQuote) -> Quote | NoQuote:
    """Steps 3 and 4: the price of the same GPU elsewhere.

    Args:
        catalogue: of prices.
        request: with the name of a GPU where there is no listing.
        listing: of the instance type, in which steps 1 and 2 had no price; or why there is none.
    """
    try:
        if isinstance(listing, NoQuote):
            gpus = _PricedGpus.of_name(catalogue, request.gpu_name)
        else:
            gpus = _PricedGpus.of_instance(listing)
        if isinstance(gpus, NoQuote):
            return gpus
        market = catalogue.market(gpus.gpu_model)
    except CatalogueError as error:
        return _damage(error)
    if market is None:
        return NoQuote(f"it knows no market price of {gpus.gpu_model}")
    price = _price_of_large_cloud(market, gpus, request)
    if price is None:
        price = _price_of_market(market, gpus, request)
    return price.quote(gpus, request.discount_ratio)


def _price_of_large_cloud(market: Market, gpus: _PricedGpus, request: _Request) -> _Price | None:
    """Step 3: the lowest price at a large cloud.

    `None` for hardware of no large cloud, and for a GPU that no large cloud lists.
    """
    lowest = market.large if request.cloud in LARGE_CLOUDS else None
    if lowest is None or lowest.dollars_per_gpu is None:
        return None
    instance_type = f"{lowest.cloud} {lowest.instance_type}{_in_region(lowest)}"
    return _Price(
        dollars=gpus.dollars(lowest.dollars_per_gpu),
        derivation=Derivation.LARGE_CLOUD,
        subject=f"lowest large cloud's list price of {lowest.gpu_model}: {instance_type}",
        list_name=lowest.source,
        as_of=lowest.as_of,
        caveat=request.on_demand_caveat,
    )


def _price_of_market(market: Market, gpus: _PricedGpus, request: _Request) -> _Price:
    """Step 4: the market's price."""
    statistic = "median list price" if market.neocloud else "lowest list price"
    if len(market.vendors) == 1:
        statistic = "list price"
    return _Price(
        dollars=gpus.dollars(market.dollars),
        derivation=Derivation.MARKET,
        subject=f"{statistic} of {market.gpu_model} at {', '.join(sorted(market.vendors))}",
        list_name="",
        as_of=market.as_of,
        caveat=request.on_demand_caveat,
    )


def _in_region(listing: Listing) -> str:
    """The region of a list price, in words that follow the type; empty where it is the same in all."""
    return "" if listing.region == ALL_REGIONS else f" {listing.region}"

"""The keys of `hardware`: what each GPU costs, rented or owned, and its electricity."""

import re
from dataclasses import replace
from decimal import Decimal
from difflib import get_close_matches
from itertools import pairwise
from typing import Final

from exporter.config.kubernetes import MATCH_NODE_LABEL
from exporter.config.problems import BrokenError
from exporter.config.schema import (
    Context,
    Key,
    ListItem,
    ListOf,
    MappingNode,
    Table,
    exactly_one,
    missing,
    together,
)
from exporter.config.times import DateValue, TimeValue
from exporter.config.values import DOLLAR_DECIMALS, PERCENT, Choice, Label, Number, Pattern, Whole
from exporter.readings import HostLocation
from exporter.tariff import quotes
from exporter.tariff.catalogue import CATALOGUE as BUNDLED
from exporter.tariff.catalogue import Catalogue
from exporter.tariff.csv_tables import CatalogueError
from exporter.tariff.instances import CLOUDS
from exporter.tariff.terms import (
    Billing,
    DiscountOf,
    Electricity,
    Hardware,
    HardwareMatch,
    Listed,
    Owned,
    Rented,
    RentPrice,
    Unmatched,
)

CATALOGUE: Final = Key(
    "catalogue",
    Choice((quotes.ANY, *CLOUDS)),
    "Take the list price of the host's instance type from the bundled catalogue: of this cloud, or of any, "
    "the one that the host says it is in.",
)
INSTANCE_TYPE: Final = Key(
    "instance_type",
    Label("instance type", exact=True),
    "The instance type, where the host does not tell it; with catalogue only.",
)
REGION: Final = Key(
    "region",
    Label("region", exact=True),
    "The region whose list price it is, where the host does not tell it; with catalogue only.",
)
DISCOUNT: Final = Key(
    "discount_ratio",
    Number("ratio", Decimal(1), excess=PERCENT),
    "What your contract takes off the list price: 0.30 is 30 % less; with catalogue only.",
)
DISCOUNT_OF: Final[Key[DiscountOf]] = Key(
    "discount_of",
    Choice(("on_demand", "spot")),
    "Which list price is meant; with catalogue only. Without it the one of the host's lifecycle, and with a "
    "discount on_demand.",
)

WITH_CATALOGUE: Final = (INSTANCE_TYPE, REGION, DISCOUNT, DISCOUNT_OF)


def go_with_catalogue(block: MappingNode) -> bool:
    """A rule: what only a list price has a use for stands beside `catalogue`."""
    good = True
    if CATALOGUE not in block and CATALOGUE.name not in block.meant:
        for key in WITH_CATALOGUE:
            if key in block:
                block.refuse(key, "goes with catalogue only; remove it")
                good = False
    return good


def listed(block: MappingNode, billing: Billing) -> Listed:
    """The terms of a block that has `catalogue`."""
    discount = block.get(DISCOUNT)
    return Listed(
        cloud=block[CATALOGUE],
        instance_type=block.get(INSTANCE_TYPE) or "",
        region=block.get(REGION) or "",
        discount_ratio=discount or Decimal(0),
        discount_of=block.get(DISCOUNT_OF) or (None if discount is None else "on_demand"),
        billing=billing,
    )


def unknown(terms: Listed, match: HardwareMatch, catalogue: Catalogue = BUNDLED) -> str | None:
    """What is wrong with an instance type that the configuration itself names; `None` where nothing is.

    A catalogue that is damaged is no fault of the configuration: the doctor tells it.
    """
    try:
        place = named_place(terms, match, catalogue)
        if place is None:
            return None
        if not place.cloud:
            return _no_such(place.instance_type, _clouds(terms), catalogue)
    except CatalogueError:
        return None
    quote = quotes.of_listed(catalogue, place, terms)
    if isinstance(quote, quotes.NoQuote):
        return f"the catalogue has no price: {quote.reason}; give dollars_per_host_hour and gpus_per_host"
    return None


def named_place(terms: Listed, match: HardwareMatch, catalogue: Catalogue = BUNDLED) -> HostLocation | None:
    """Where hosts run that a rule names by instance type, `None` where the type is the host's own.

    The cloud is the first that has it, empty where none has; region and lifecycle are empty where the rule
    does not name one.

    Raises:
        CatalogueError: the catalogue is damaged.
    """
    named = terms.instance_type or exact(match.instance_type)
    if not named:
        return None
    region = terms.region or exact(match.region)
    homes = (cloud for cloud in _clouds(terms) if catalogue.instance(cloud, named, region) is not None)
    return HostLocation(
        cloud=next(homes, ""), instance_type=named, region=region, lifecycle=exact(match.lifecycle)
    )


def _clouds(terms: Listed) -> tuple[str, ...]:
    return CLOUDS if terms.cloud == quotes.ANY else (terms.cloud,)


def _no_such(named: str, clouds: tuple[str, ...], catalogue: Catalogue) -> str:
    types = [name for cloud in clouds for name in catalogue.instance_types(cloud)]
    alike = _alike(named, types, clouds, catalogue)
    hint = f"did you mean {' or '.join(alike)}?" if alike else "give dollars_per_host_hour and gpus_per_host"
    return f'"{named}" is not in the catalogue of {", ".join(clouds)}; {hint}'


def _alike(named: str, types: list[str], clouds: tuple[str, ...], catalogue: Catalogue) -> list[str]:
    """Up to two types of the series that is named, with one GPU model: another GPU is another price."""
    series = _series(named)
    near = [name for name in get_close_matches(named, types, n=8) if _series(name) == series]
    models = {}
    for name in near:
        found = (catalogue.instance(cloud, name, "") for cloud in clouds)
        models[name] = next(listing.gpu_model for listing in found if listing is not None)
    return [name for name in near if models[name] == models[near[0]]][:2]


def _series(instance_type: str) -> str:
    """The part of a name that its GPU goes by: p5, a3-ultragpu, or the h100 of Standard_ND96isr_H100_v5."""
    text = instance_type.strip().casefold().removeprefix("standard_")
    found = _FAMILY.match(text) or _GPU.search(text)
    return found[0] if found else ""


_FAMILY: Final = re.compile(r"[a-z]+\d+[a-z]*(?:-[a-z][a-z0-9]*)?(?=[.-])")
_GPU: Final = re.compile(r"(?<![a-z0-9])(?:gb|[abhltv])\d{2,3}s?(?![a-z0-9])|rtxpro\d+")


def exact(pattern: str | None) -> str:
    """A pattern that stands for one text only, empty where it does not."""
    return "" if pattern is None or any(c in pattern for c in "*?[") else pattern


# The books hold at most 9.2 million dollars per total (64 bits of picodollars); the bounds keep a misplaced
# amount (a month's where an hour's belongs) from filling a total within the week that a gap may last.
DOLLARS_PER_HOUR = Number(
    "dollars per hour",
    Decimal(10_000),
    decimals=DOLLAR_DECIMALS,
    excess="if it is the price of a month, divide it by 730",
)

GPUS_PER_HOST = Key(
    "gpus_per_host",
    Whole("GPUs", 1, 1024),
    "How many GPUs the host has when all are well: each carries that part of the host's price, also one that "
    "NVML does not list.",
)
PER_GPU_HOUR = Key(
    "dollars_per_gpu_hour",
    DOLLARS_PER_HOUR,
    "What one GPU costs per hour.",
    also=("price", "rate", "rent", "cost", "hourly", "per_hour"),
)
PER_HOST_HOUR = Key(
    "dollars_per_host_hour", DOLLARS_PER_HOUR, "What the whole host costs per hour, divided by gpus_per_host."
)

FROM = Key(
    "from",
    TimeValue(),
    "When the price begins: a date (the first instant of that local day), a local time that occurs exactly "
    "once (2026-11-01T09:30), or a time with its offset (2026-11-01T09:30+01:00).",
    required=True,
)
NOTE = Key("note", Label("note"), "A word for whoever asks where the price came from.", default=None)


PER_HOST: Final = 0
"""Stands for `gpus_per_host`, which is told once beside the list of prices, until it is known."""


def gpus_of(block: MappingNode) -> int:
    """How many GPUs an amount of a block is for."""
    return block.get(GPUS_PER_HOST) or 1


def _price(block: MappingNode) -> RentPrice:
    since = block[FROM]
    per_host = block.get(PER_HOST_HOUR)
    return RentPrice(
        dollars_per_hour=block[PER_GPU_HOUR] if per_host is None else per_host,
        gpus=1 if per_host is None else PER_HOST,
        since=since.instant,
        since_text=since.text,
        note=block.get(NOTE) or "",
    )


def _in_order(items: list[ListItem[RentPrice]], walk: Context) -> bool:
    good = True
    for earlier, later in pairwise(items):
        if (later.value.since or 0) <= (earlier.value.since or 0):
            message = (
                f"{later.value.since_text} is not after {earlier.value.since_text}; order prices by date"
            )
            later.refuse(FROM.name, message, walk)
            good = False
    return good


PRICES = Key(
    "prices",
    ListOf(
        Table((FROM, PER_GPU_HOUR, PER_HOST_HOUR, NOTE), _price, (exactly_one(PER_GPU_HOUR, PER_HOST_HOUR),)),
        (_in_order,),
        least=1,
        advice="one price without a date is dollars_per_gpu_hour or dollars_per_host_hour",
    ),
    "Dated prices, oldest first; each holds until the next begins, and before the first there is no price.",
)


def _hosts_say_their_gpus(block: MappingNode) -> bool:
    """A price per host needs the number of GPUs; a price per GPU has no use for it."""
    of_host = PER_HOST_HOUR in block
    if of_host and (PER_GPU_HOUR in block or PRICES in block):
        return True  # two prices, which has been told; which of them stays is not known
    read = block.get(PRICES)
    if read is not None:
        of_host = any(price.gpus == PER_HOST for price in read)
    elif PRICES in block:
        return True  # the prices are broken and have been told; whether they are per host is not known
    if of_host == (GPUS_PER_HOST in block):
        return True
    if not block.meant.isdisjoint({PER_HOST_HOUR.name, GPUS_PER_HOST.name, PRICES.name}):
        return False
    if of_host:
        block.refuse(None, missing(GPUS_PER_HOST))
    else:
        block.refuse(GPUS_PER_HOST, "goes with dollars_per_host_hour only; remove it")
    return False


BILLINGS: Choice[Billing] = Choice(("while_up", "always"))
BILLING = Key(
    "billing",
    BILLINGS,
    "When rent accrues while nobody watches: `while_up`, as hourly clouds bill, not while the host is down "
    "or suspended; `always`, as leases and reservations cost.",
    default="while_up",
)


def _rented(block: MappingNode) -> Rented | Listed:
    gpus = gpus_of(block)
    billing = block[BILLING]
    if CATALOGUE in block:
        return listed(block, billing)
    if PRICES in block:
        prices = block[PRICES]
        return Rented(
            tuple(replace(price, gpus=gpus) if price.gpus == PER_HOST else price for price in prices),
            billing,
        )
    per_host = block.get(PER_HOST_HOUR)
    price = RentPrice(block[PER_GPU_HOUR]) if per_host is None else RentPrice(per_host, gpus)
    return Rented((price,), billing)


RENTED = Key(
    "rented",
    Table(
        (PER_GPU_HOUR, PER_HOST_HOUR, GPUS_PER_HOST, PRICES, CATALOGUE, *WITH_CATALOGUE, BILLING),
        _rented,
        (
            exactly_one(PER_GPU_HOUR, PER_HOST_HOUR, PRICES, CATALOGUE),
            _hosts_say_their_gpus,
            go_with_catalogue,
        ),
    ),
    "Rented hardware: exactly one of dollars_per_gpu_hour, dollars_per_host_hour, prices and catalogue.",
)


DOLLARS_PER_YEAR = Number("dollars per year", Decimal(100_000_000), decimals=DOLLAR_DECIMALS)
PURCHASE = Number("dollars", Decimal(100_000_000), decimals=DOLLAR_DECIMALS)

MATCH_HOST = Key(
    "host", Pattern(), "The host's name, as the exporter is told it or the operating system says."
)
MATCH_GPU_MODEL = Key(
    "gpu_model",
    Pattern(),
    "The GPU's model as NVML says, like NVIDIA H100 80GB HBM3: the pattern covers the whole name.",
)
MATCH_UUID = Key("uuid", Pattern(), "The GPU's UUID as NVML says.")

MATCH_INSTANCE_TYPE = Key(
    "instance_type",
    Pattern(),
    "The host's instance type as its cloud says, like p5.48xlarge; Azure's with or without Standard_.",
)
MATCH_LIFECYCLE = Key(
    "lifecycle", Pattern(), "How the host is let, as its cloud says: on_demand, spot, reserved."
)
MATCH_REGION = Key("region", Pattern(), "The host's region as its cloud spells it, like us-east-1.")

MATCH = Table(
    (
        MATCH_HOST,
        MATCH_GPU_MODEL,
        MATCH_UUID,
        MATCH_INSTANCE_TYPE,
        MATCH_LIFECYCLE,
        MATCH_REGION,
        MATCH_NODE_LABEL,
    ),
    lambda block: HardwareMatch(
        host=block.get(MATCH_HOST),
        gpu_model=block.get(MATCH_GPU_MODEL),
        uuid=block.get(MATCH_UUID),
        instance_type=block.get(MATCH_INSTANCE_TYPE),
        lifecycle=block.get(MATCH_LIFECYCLE),
        region=block.get(MATCH_REGION),
        node_label=block.get(MATCH_NODE_LABEL) or (),
    ),
)

PURCHASE_PER_HOST = Key(
    "purchase_dollars_per_host",
    PURCHASE,
    "What the host cost, everything in it; the yearly amounts beside it are then per host too.",
)
PURCHASE_PER_GPU = Key(
    "purchase_dollars_per_gpu",
    PURCHASE,
    "What one GPU cost, with its part of the host; the yearly amounts beside it are then per GPU too.",
    also=("purchase", "price", "cost"),
)
IN_SERVICE = Key(
    "in_service", DateValue(), "The day on which amortization begins; before it there is none.", required=True
)
LIFE_YEARS = Key(
    "life_years",
    Number("years", Decimal(100), Decimal("0.1")),
    "Years over which the purchase is written off, of 8766 hours each; after them it costs nothing.",
    required=True,
)
RESIDUAL = Key(
    "residual_ratio",
    Number("ratio", Decimal(1), excess=PERCENT),
    "The part of the purchase that it is still worth at the end of its life.",
    default="0",
)
ADDERS = Key(
    "adders_ratio",
    Number("ratio", Decimal(10), excess=PERCENT),
    "What racks, network and installation added to the purchase, as a part of it.",
    default="0",
)
SUPPORT = Key(
    "support_dollars_per_year",
    DOLLARS_PER_YEAR,
    "The support contract, every year; component support.",
    default="0",
)
INSURANCE = Key(
    "insurance_dollars_per_year", DOLLARS_PER_YEAR, "Insurance, every year; component insurance.", default="0"
)
COST_OF_CAPITAL = Key(
    "cost_of_capital_ratio",
    Number("ratio per year", Decimal(1), excess=PERCENT),
    "What the money costs per year; with it the purchase is an annuity, without it or at 0 a straight line.",
)

OWNED_KEYS = (
    PURCHASE_PER_HOST,
    PURCHASE_PER_GPU,
    GPUS_PER_HOST,
    IN_SERVICE,
    LIFE_YEARS,
    RESIDUAL,
    ADDERS,
    SUPPORT,
    INSURANCE,
    COST_OF_CAPITAL,
)


def _owned(block: MappingNode) -> Owned:
    per_host = block.get(PURCHASE_PER_HOST)
    in_service = block[IN_SERVICE]
    owned = Owned(
        purchase_dollars=block[PURCHASE_PER_GPU] if per_host is None else per_host,
        gpus=gpus_of(block),
        in_service=in_service.instant,
        in_service_text=in_service.text,
        life_years=block[LIFE_YEARS],
        residual_ratio=block[RESIDUAL],
        adders_ratio=block[ADDERS],
        support_dollars_per_year=block[SUPPORT],
        insurance_dollars_per_year=block[INSURANCE],
        cost_of_capital_ratio=block.get(COST_OF_CAPITAL) or None,
    )
    if owned.purchase_dollars * (1 + owned.adders_ratio) > owned.life_years * DOLLARS_PER_YEAR.high:
        block.refuse(LIFE_YEARS, "the purchase comes to more than 100000000 dollars per year; check both")
        raise BrokenError
    return owned


OWNED = Key(
    "owned",
    Table(
        OWNED_KEYS,
        _owned,
        (
            exactly_one(PURCHASE_PER_HOST, PURCHASE_PER_GPU),
            together(PURCHASE_PER_HOST, GPUS_PER_HOST, PURCHASE_PER_GPU),
        ),
    ),
    "Owned hardware: its purchase written off over its life, support and insurance beside it.",
)

KILOWATT_HOUR = Key(
    "dollars_per_kilowatt_hour",
    Number("dollars", Decimal(100), decimals=DOLLAR_DECIMALS),
    "What a kilowatt-hour costs, grid fees included.",
    required=True,
)
PUE = Key(
    "pue_ratio",
    Number("ratio", Decimal(10), Decimal(1)),
    "Power usage effectiveness: the building's power over that of its machines.",
    default="1",
)
HOST_FACTOR = Key(
    "host_factor_ratio",
    Number("ratio", Decimal(10), Decimal(1)),
    "The host's power over that of its GPUs: processors, fans and power supplies.",
    default="1",
)
ENERGY = Key(
    "energy",
    Table(
        (KILOWATT_HOUR, PUE, HOST_FACTOR),
        lambda block: Electricity(block[KILOWATT_HOUR], block[PUE], block[HOST_FACTOR]),
    ),
    "What electricity costs; without it none is charged. Rent usually includes power: give it beside rented "
    "only where the landlord bills power on its own.",
)

RULE_MATCH = Key("match", MATCH, "Which GPUs; all patterns given must match. Without it: every GPU.")


def _hardware(block: MappingNode) -> Hardware:
    rented = block.get(RENTED)
    match = block.get(RULE_MATCH) or HardwareMatch()
    if isinstance(rented, Listed) and (problem := unknown(rented, match, block.walk.catalogue)):
        block.refuse(RENTED, problem)
        raise BrokenError
    return Hardware(
        match=match,
        terms=rented or block[OWNED],
        source=f"{block.path}.{RENTED.name if rented else OWNED.name}",
        energy=block.get(ENERGY),
    )


HARDWARE = Key(
    "hardware",
    ListOf(
        Table((RULE_MATCH, RENTED, OWNED, ENERGY), _hardware, (exactly_one(RENTED, OWNED),), words="rule")
    ),
    "What each GPU costs; the first rule that matches a GPU prices it, and one that none matches goes by "
    "unmatched_hardware.",
)

UNMATCHED_CHOICE: Choice[Unmatched] = Choice(("estimate", "unpriced"))
UNMATCHED = Key(
    "unmatched_hardware",
    UNMATCHED_CHOICE,
    "A GPU that no rule matches, and a rule's list price that no list has: `estimate` takes what comes "
    "nearest (the instance type in another region, the GPU at the lowest large cloud, its market price), "
    "marked as an estimate; `unpriced` takes none, and the cost is absent.",
    default="estimate",
)

"""The keys of `hardware`: the price of each GPU, rented or owned, and its electricity."""

import difflib
import re
from decimal import Decimal
from itertools import pairwise
from typing import Final, get_args

from exporter.config.kubernetes import MATCH_NODE_LABEL
from exporter.config.schema import (
    Key,
    ListItem,
    ListOf,
    MappingNode,
    Table,
    builds,
    exactly_one,
    goes_with,
    missing,
    together,
)
from exporter.config.settings import Config
from exporter.config.times import DateValue, TimeValue
from exporter.config.values import DOLLAR_DECIMALS, PERCENT, Choice, Label, Number, Pattern, Whole
from exporter.frozen import replace
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

SAME_TYPE_FROM: Final = 0.9
"""Similarity of two instance types that differ in their size alone."""

CATALOGUE: Final = Key(
    "catalogue",
    Choice((quotes.ANY, *CLOUDS)),
    "List price of the host's instance type from the bundled catalogue: of this cloud, or any, the host's "
    "own cloud.",
)
INSTANCE_TYPE: Final = Key(
    "instance_type",
    Label("instance type", exact=True),
    "The instance type, where the host does not report it; with catalogue only.",
    record=Listed,
)
REGION: Final = Key(
    "region",
    Label("region", exact=True),
    "The region of the list price, where the host does not report it; with catalogue only.",
    record=Listed,
)
DISCOUNT: Final = Key(
    "discount_ratio",
    Number("ratio", Decimal(1), excess=PERCENT),
    "Contract discount on the list price: 0.30 is 30 % off; with catalogue only.",
)
DISCOUNT_OF: Final[Key[DiscountOf]] = Key(
    "discount_of",
    Choice(get_args(DiscountOf)),
    "List price to use, with catalogue only. Default: that of the host's lifecycle, or on_demand with a "
    "discount.",
)

WITH_CATALOGUE: Final = (INSTANCE_TYPE, REGION, DISCOUNT, DISCOUNT_OF)


def _listed(mapping: MappingNode) -> Listed:
    discount = mapping.get(DISCOUNT)
    return Listed(
        cloud=mapping[CATALOGUE],
        discount_ratio=discount or Decimal(0),
        discount_of=mapping.get(DISCOUNT_OF) or (None if discount is None else "on_demand"),
        **mapping.filled(),
    )


def instance_type_problem(listed: Listed, match: HardwareMatch, catalogue: Catalogue = BUNDLED) -> str | None:
    """The problem of an instance type that the configuration names, if any.

    A damaged catalogue is no problem of the configuration: the doctor reports it.
    """
    try:
        location = named_place(listed, match, catalogue)
        if location is None:
            return None
        if not location.cloud:
            return _no_such(location.instance_type, _clouds(listed), catalogue)
    except CatalogueError:
        return None
    quote = quotes.find_quote(catalogue, location, listed)
    if isinstance(quote, quotes.NoQuote):
        return f"the catalogue has no price: {quote.reason}; give dollars_per_host_hour and gpus_per_host"
    return None


def named_place(listed: Listed, match: HardwareMatch, catalogue: Catalogue = BUNDLED) -> HostLocation | None:
    """The location of hosts whose instance type a rule names; `None` if it names none.

    The cloud is the first that has the type, empty if none has; region and lifecycle are empty if the rule
    does not name one.

    Raises:
        CatalogueError: the catalogue is damaged.
    """
    named = listed.instance_type or exact(match.instance_type)
    if not named:
        return None
    region = listed.region or exact(match.region)
    homes = (cloud for cloud in _clouds(listed) if catalogue.instance(cloud, named, region) is not None)
    return HostLocation(
        cloud=next(homes, ""), instance_type=named, region=region, lifecycle=exact(match.lifecycle)
    )


def _clouds(listed: Listed) -> tuple[str, ...]:
    return CLOUDS if listed.cloud == quotes.ANY else (listed.cloud,)


def _no_such(named: str, clouds: tuple[str, ...], catalogue: Catalogue) -> str:
    types = [name for cloud in clouds for name in catalogue.instance_types(cloud)]
    # The first word of a type, like p5, names its GPU: another GPU is another price.
    family = re.split("[^A-Za-z0-9]", named)[0]
    same = [name for name in types if re.split("[^A-Za-z0-9]", name)[0] == family]
    near = difflib.get_close_matches(named, same, 2, SAME_TYPE_FROM)
    hint = f"did you mean {' or '.join(near)}?" if near else "give dollars_per_host_hour and gpus_per_host"
    return f'"{named}" is not in the catalogue of {", ".join(clouds)}; {hint}'


def exact(pattern: str | None) -> str:
    """A pattern that matches one text only; empty for any other."""
    return "" if pattern is None or any(c in pattern for c in "*?[") else pattern


# A ledger holds at most 9.2 million dollars per total (64 bits of picodollars); the bounds keep a misplaced
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
    "GPUs of the host, including any that NVML does not list. Each carries its share of the host's price.",
)
PER_GPU_HOUR = Key(
    "dollars_per_gpu_hour",
    DOLLARS_PER_HOUR,
    "Price of one GPU per hour.",
)
PER_HOST_HOUR = Key(
    "dollars_per_host_hour", DOLLARS_PER_HOUR, "Price of the whole host per hour, divided by gpus_per_host."
)

FROM = Key(
    "from",
    TimeValue(),
    "When the price begins: a date, a local time (2026-11-01T09:30) or a time with its offset "
    "(2026-11-01T09:30+01:00). A date is the first instant of that local day; a local time must occur "
    "exactly once.",
    required=True,
)
NOTE = Key("note", Label("note"), "Note on the source of the price.", record=RentPrice)


PER_HOST: Final = 0
"""Stands for `gpus_per_host`, a key of the mapping around the list of prices, until that is read."""


def gpus_of(mapping: MappingNode) -> int:
    """The number of GPUs that an amount is for."""
    return mapping.get(GPUS_PER_HOST) or 1


def _price(mapping: MappingNode) -> RentPrice:
    since = mapping[FROM]
    per_host = mapping.get(PER_HOST_HOUR)
    return RentPrice(
        dollars_per_hour=mapping[PER_GPU_HOUR] if per_host is None else per_host,
        gpus=1 if per_host is None else PER_HOST,
        since=since.instant,
        since_text=since.text,
        **mapping.filled(),
    )


def _in_order(items: list[ListItem[RentPrice]]) -> None:
    for earlier, later in pairwise(items):
        if (later.value.since or 0) <= (earlier.value.since or 0):
            message = (
                f"{later.value.since_text} is not after {earlier.value.since_text}; order prices by date"
            )
            later.refuse(FROM.name, message)


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


def _host_prices_have_gpus(mapping: MappingNode) -> None:
    """A price per host needs the number of GPUs; a price per GPU has no use for it."""
    dated_per_host = any(price.gpus == PER_HOST for price in mapping.get(PRICES) or ())
    per_host = PER_HOST_HOUR in mapping or dated_per_host
    if per_host and GPUS_PER_HOST not in mapping:
        mapping.refuse(None, missing(GPUS_PER_HOST))
    if GPUS_PER_HOST in mapping and not per_host:
        mapping.refuse(GPUS_PER_HOST, "goes with dollars_per_host_hour only; remove it")


BILLING: Key[Billing] = Key(
    "billing",
    Choice(get_args(Billing)),
    "Rent during downtime: `while_up` charges only while the host runs, as hourly clouds bill; `always` "
    "charges all time, as leases and reservations do.",
    record=Rented,
)


def _rented(mapping: MappingNode) -> Rented | Listed:
    if CATALOGUE in mapping:
        return _listed(mapping)
    gpus = gpus_of(mapping)
    billing = mapping[BILLING]
    if PRICES in mapping:
        prices = mapping[PRICES]
        return Rented(
            tuple(replace(price, gpus=gpus) if price.gpus == PER_HOST else price for price in prices),
            billing,
        )
    per_host = mapping.get(PER_HOST_HOUR)
    price = RentPrice(mapping[PER_GPU_HOUR]) if per_host is None else RentPrice(per_host, gpus)
    return Rented((price,), billing)


RENTED = Key(
    "rented",
    Table(
        (PER_GPU_HOUR, PER_HOST_HOUR, GPUS_PER_HOST, PRICES, CATALOGUE, *WITH_CATALOGUE, BILLING),
        _rented,
        (
            exactly_one(PER_GPU_HOUR, PER_HOST_HOUR, PRICES, CATALOGUE),
            _host_prices_have_gpus,
            *(goes_with(key, CATALOGUE) for key in WITH_CATALOGUE),
        ),
    ),
    "Rented hardware: exactly one of dollars_per_gpu_hour, dollars_per_host_hour, prices and catalogue.",
)


DOLLARS_PER_YEAR = Number("dollars per year", Decimal(100_000_000), decimals=DOLLAR_DECIMALS)
PURCHASE = Number("dollars", Decimal(100_000_000), decimals=DOLLAR_DECIMALS)

MATCH_HOST = Key(
    "host",
    Pattern(),
    "The host's name, as configured for the exporter or else the operating system's.",
    record=HardwareMatch,
)
MATCH_GPU_MODEL = Key(
    "gpu_model",
    Pattern(),
    "The GPU's model as NVML reports it, like NVIDIA H100 80GB HBM3: the pattern covers the whole name.",
    record=HardwareMatch,
)
MATCH_UUID = Key("uuid", Pattern(), "The GPU's UUID as NVML reports it.", record=HardwareMatch)

MATCH_INSTANCE_TYPE = Key(
    "instance_type",
    Pattern(),
    "The host's instance type, like p5.48xlarge; Azure's with or without Standard_.",
    record=HardwareMatch,
)
MATCH_LIFECYCLE = Key(
    "lifecycle", Pattern(), "The host's lifecycle: on_demand, spot, reserved.", record=HardwareMatch
)
MATCH_REGION = Key(
    "region", Pattern(), "The host's region as its cloud spells it, like us-east-1.", record=HardwareMatch
)

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
    builds(HardwareMatch),
)

PURCHASE_PER_HOST = Key(
    "purchase_dollars_per_host",
    PURCHASE,
    "Price of the whole host; the yearly amounts are then per host too.",
)
PURCHASE_PER_GPU = Key(
    "purchase_dollars_per_gpu",
    PURCHASE,
    "Price of one GPU with its part of the host; the yearly amounts are then per GPU too.",
)
IN_SERVICE = Key(
    "in_service", DateValue(), "The day on which amortization begins; before it there is none.", required=True
)
LIFE_YEARS = Key(
    "life_years",
    Number("years", Decimal(100), Decimal("0.1")),
    "Years of amortization, of 8766 hours each; after them the hardware costs nothing.",
    record=Owned,
    required=True,
)
RESIDUAL = Key(
    "residual_ratio",
    Number("ratio", Decimal(1), excess=PERCENT),
    "Value at the end of its life, as a part of the purchase.",
    record=Owned,
)
ADDERS = Key(
    "adders_ratio",
    Number("ratio", Decimal(10), excess=PERCENT),
    "Racks, network and installation, as a part of the purchase.",
    record=Owned,
)
SUPPORT = Key(
    "support_dollars_per_year",
    DOLLARS_PER_YEAR,
    "Support contract per year; component support.",
    record=Owned,
)
INSURANCE = Key(
    "insurance_dollars_per_year", DOLLARS_PER_YEAR, "Insurance per year; component insurance.", record=Owned
)
COST_OF_CAPITAL = Key(
    "cost_of_capital_ratio",
    Number("ratio per year", Decimal(1), excess=PERCENT),
    "Cost of capital per year. With it the purchase is an annuity; without it or at 0 a straight line.",
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


def _owned(mapping: MappingNode) -> Owned:
    per_host = mapping.get(PURCHASE_PER_HOST)
    in_service = mapping[IN_SERVICE]
    owned = Owned(
        purchase_dollars=mapping[PURCHASE_PER_GPU] if per_host is None else per_host,
        gpus=gpus_of(mapping),
        in_service=in_service.instant,
        in_service_text=in_service.text,
        cost_of_capital_ratio=mapping.get(COST_OF_CAPITAL) or None,
        **mapping.filled(),
    )
    if owned.capital_dollars > owned.life_years * DOLLARS_PER_YEAR.high:
        mapping.refuse(LIFE_YEARS, "the purchase comes to more than 100000000 dollars per year; check both")
    return owned


OWNED = Key(
    "owned",
    Table(
        OWNED_KEYS,
        _owned,
        (
            exactly_one(PURCHASE_PER_HOST, PURCHASE_PER_GPU),
            together(PURCHASE_PER_HOST, GPUS_PER_HOST),
            goes_with(GPUS_PER_HOST, PURCHASE_PER_HOST),
        ),
    ),
    "Owned hardware: amortization of the purchase over its life, support and insurance.",
)

KILOWATT_HOUR = Key(
    "dollars_per_kilowatt_hour",
    Number("dollars", Decimal(100), decimals=DOLLAR_DECIMALS),
    "Price of a kilowatt-hour, grid fees included.",
    record=Electricity,
    required=True,
)
PUE = Key(
    "pue_ratio",
    Number("ratio", Decimal(10), Decimal(1)),
    "Power usage effectiveness: the building's power over that of its machines.",
    record=Electricity,
)
HOST_FACTOR = Key(
    "host_factor_ratio",
    Number("ratio", Decimal(10), Decimal(1)),
    "The host's power over that of its GPUs: processors, fans and power supplies.",
    record=Electricity,
)
ENERGY = Key(
    "energy",
    Table((KILOWATT_HOUR, PUE, HOST_FACTOR), builds(Electricity)),
    "Price of electricity; without it none is charged. Rent usually includes power: with rented, give it "
    "only where power is billed separately.",
    record=Hardware,
)

RULE_MATCH = Key("match", MATCH, "GPUs of the rule; all patterns given must match. Without it: every GPU.")


def _hardware(mapping: MappingNode) -> Hardware:
    rented = mapping.get(RENTED)
    match = mapping.get(RULE_MATCH) or HardwareMatch()
    if isinstance(rented, Listed) and (
        problem := instance_type_problem(rented, match, mapping.context.catalogue)
    ):
        mapping.refuse(RENTED, problem)
    return Hardware(
        match=match,
        pricing=rented or mapping[OWNED],
        source=f"{mapping.path}.{RENTED.name if rented else OWNED.name}",
        **mapping.filled(),
    )


HARDWARE = Key(
    "hardware",
    ListOf(
        Table((RULE_MATCH, RENTED, OWNED, ENERGY), _hardware, (exactly_one(RENTED, OWNED),), expected="rule")
    ),
    "Hardware prices. The first matching rule prices a GPU; unmatched_hardware decides for the rest.",
    record=Config,
)

UNMATCHED: Key[Unmatched] = Key(
    "unmatched_hardware",
    Choice(get_args(Unmatched)),
    "GPUs without a matching rule, and rules without a list price. `estimate`: the nearest price, marked as "
    "an estimate. It is that of the instance type in another region, of the GPU at the lowest large cloud, "
    "or of its market. `unpriced`: no price, and the cost is absent.",
    record=Config,
)

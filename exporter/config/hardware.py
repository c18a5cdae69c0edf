"""The keys of `hardware`: what each GPU costs, rented or owned, and its electricity."""

from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from typing import Final

from exporter.config.moments import Day, Moment
from exporter.config.problems import BrokenError
from exporter.config.schema import Block, Item, Key, ListOf, Table, Walk, exactly_one, missing, together
from exporter.config.values import DOLLAR_DECIMALS, Choice, Label, Number, Pattern, Whole
from exporter.tariff.terms import Billing, Electricity, Hardware, HardwareMatch, Owned, Rented, RentPrice

# The books hold at most 9.2 million dollars per total (64 bits of picodollars); the bounds keep a misplaced
# amount (a month's where an hour's belongs) from filling a total within the week that a gap may last.
DOLLARS_PER_HOUR = Number("dollars per hour", Decimal(10_000), decimals=DOLLAR_DECIMALS)
DOLLARS_PER_YEAR = Number("dollars per year", Decimal(100_000_000), decimals=DOLLAR_DECIMALS)
PURCHASE = Number("dollars", Decimal(100_000_000), decimals=DOLLAR_DECIMALS)

MATCH_HOST = Key(
    "host", Pattern(), "The host's name, as the exporter is told it or the operating system says."
)
MATCH_GPU_MODEL = Key("gpu_model", Pattern(), "The GPU's model as NVML says, like NVIDIA H100 80GB HBM3.")
MATCH_UUID = Key("uuid", Pattern(), "The GPU's UUID as NVML says.")

MATCH = Table(
    (MATCH_HOST, MATCH_GPU_MODEL, MATCH_UUID),
    lambda block: HardwareMatch(
        host=block.get(MATCH_HOST), gpu_model=block.get(MATCH_GPU_MODEL), uuid=block.get(MATCH_UUID)
    ),
)

GPUS_PER_HOST = Key(
    "gpus_per_host",
    Whole("GPUs", 1, 1024),
    "How many GPUs the host has when all are well: each carries that part of the host's price.",
)
PER_GPU_HOUR = Key("dollars_per_gpu_hour", DOLLARS_PER_HOUR, "What one GPU costs per hour.")
PER_HOST_HOUR = Key(
    "dollars_per_host_hour", DOLLARS_PER_HOUR, "What the whole host costs per hour, divided by gpus_per_host."
)

FROM = Key(
    "from",
    Moment(),
    "When the price begins: a date (the first instant of that local day), a local time that occurs exactly "
    "once (2026-11-01T09:30), or a time with its offset (2026-11-01T09:30+01:00).",
    required=True,
)
NOTE = Key("note", Label("note"), "A word for whoever asks where the price came from.", default=None)


PER_HOST: Final = 0
"""Stands for `gpus_per_host`, which is told once beside the list of prices, until it is known."""


def _gpus(block: Block) -> int:
    return block.get(GPUS_PER_HOST) or 1


def _price(block: Block) -> RentPrice:
    since = block[FROM]
    per_host = block.get(PER_HOST_HOUR)
    return RentPrice(
        dollars_per_hour=block[PER_GPU_HOUR] if per_host is None else per_host,
        gpus=1 if per_host is None else PER_HOST,
        since=since.instant,
        since_text=since.text,
        note=block.get(NOTE) or "",
    )


def _in_order(items: list[Item[RentPrice]], walk: Walk) -> bool:
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
    ),
    "Dated prices, oldest first; each holds until the next begins, and before the first there is no price.",
)


def _hosts_say_their_gpus(block: Block) -> bool:
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


def _rented(block: Block) -> Rented:
    gpus = _gpus(block)
    billing = block[BILLING]
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
        (PER_GPU_HOUR, PER_HOST_HOUR, GPUS_PER_HOST, PRICES, BILLING),
        _rented,
        (exactly_one(PER_GPU_HOUR, PER_HOST_HOUR, PRICES), _hosts_say_their_gpus),
    ),
    "Rented hardware: exactly one of dollars_per_gpu_hour, dollars_per_host_hour and prices.",
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
)
IN_SERVICE = Key(
    "in_service", Day(), "The day on which amortization begins; before it there is none.", required=True
)
LIFE_YEARS = Key(
    "life_years",
    Number("years", Decimal(100), Decimal("0.1")),
    "Years over which the purchase is written off, of 8766 hours each; after them it costs nothing.",
    required=True,
)
RESIDUAL = Key(
    "residual_ratio",
    Number("ratio", Decimal(1)),
    "The part of the purchase that it is still worth at the end of its life.",
    default="0",
)
ADDERS = Key(
    "adders_ratio",
    Number("ratio", Decimal(10)),
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
    Number("ratio per year", Decimal(1)),
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


def _owned(block: Block) -> Owned:
    per_host = block.get(PURCHASE_PER_HOST)
    in_service = block[IN_SERVICE]
    owned = Owned(
        purchase_dollars=block[PURCHASE_PER_GPU] if per_host is None else per_host,
        gpus=_gpus(block),
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


def _hardware(block: Block) -> Hardware:
    rented = block.get(RENTED)
    return Hardware(
        match=block.get(RULE_MATCH) or HardwareMatch(),
        terms=rented or block[OWNED],
        source=f"{block.path}.{RENTED.name if rented else OWNED.name}",
        energy=block.get(ENERGY),
    )


HARDWARE = Key(
    "hardware",
    ListOf(
        Table((RULE_MATCH, RENTED, OWNED, ENERGY), _hardware, (exactly_one(RENTED, OWNED),), words="rule")
    ),
    "What each GPU costs; the first rule that matches a GPU prices it, and a GPU without one has no price.",
)

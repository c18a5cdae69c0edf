"""The keys of `rented`: prices that people write down, or list prices of the bundled catalogue."""

from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from typing import Final

from exporter.config.catalogued import CATALOGUE, WITH_CATALOGUE, go_with_catalogue, listed
from exporter.config.moments import Moment
from exporter.config.rules import exactly_one
from exporter.config.schema import Block, Item, Key, ListOf, Table, Walk, missing
from exporter.config.values import DOLLAR_DECIMALS, Choice, Label, Number, Whole
from exporter.tariff.terms import Billing, Listed, Rented, RentPrice

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
    Moment(),
    "When the price begins: a date (the first instant of that local day), a local time that occurs exactly "
    "once (2026-11-01T09:30), or a time with its offset (2026-11-01T09:30+01:00).",
    required=True,
)
NOTE = Key("note", Label("note"), "A word for whoever asks where the price came from.", default=None)


PER_HOST: Final = 0
"""Stands for `gpus_per_host`, which is told once beside the list of prices, until it is known."""


def gpus_of(block: Block) -> int:
    """How many GPUs an amount of a block is for."""
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
        advice="one price without a date is dollars_per_gpu_hour or dollars_per_host_hour",
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


def _rented(block: Block) -> Rented | Listed:
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

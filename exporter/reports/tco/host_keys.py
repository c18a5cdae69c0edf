"""The keys of hosts: bought or rented, what they serve, and their electricity."""

from decimal import Decimal
from fractions import Fraction
from typing import Final, Literal

from exporter.config.hardware import (
    ADDERS,
    COST_OF_CAPITAL,
    DOLLARS_PER_YEAR,
    KILOWATT_HOUR,
    PUE,
    PURCHASE,
    RESIDUAL,
)
from exporter.config.rented import DOLLARS_PER_HOUR
from exporter.config.rules import exactly_one
from exporter.config.schema import Block, Key, Table, missing
from exporter.config.values import Choice, Number, Whole
from exporter.reports.tco.scenario import Fleet, OwnedHosts, Power, RentedHosts
from exporter.reports.tco.shapes import Life
from exporter.reports.tco.source_keys import AS_OF, CHANGE, SOURCE, source_of
from exporter.tariff.terms import Electricity, Owned

YesNo = Literal["true", "false"]
YES_NO: Choice[YesNo] = Choice(("true", "false"))

GPUS_PER_HOST = Key("gpus_per_host", Whole("GPUs", 1, 1024), "GPUs of one host.", required=True)
HOSTS = Key("hosts", Whole("hosts", 1, 10_000), "Hosts at least; the load may ask for more.", default="1")
THROUGHPUT: Final = Number("tokens per second", Decimal(10**9), above_low=True)
PER_HOST_SECOND = Key(
    "tokens_per_second_per_host",
    THROUGHPUT,
    "What one host serves at its best, prompt and generation together, in the mix of the load. Without it "
    "the hosts are taken to be enough, and how busy they are is not known.",
)
PER_GPU_SECOND = Key("tokens_per_second_per_gpu", THROUGHPUT, "The same for one GPU.")
UTILIZATION = Key(
    "utilization_ratio",
    Number("ratio", Decimal(1), above_low=True),
    "How much of its throughput may be used on the mean of a day before another host is added; the rest is "
    "for peaks.",
)
FLEET_KEYS: Final = (GPUS_PER_HOST, HOSTS, PER_HOST_SECOND, PER_GPU_SECOND, UTILIZATION)


def _throughput_and_utilization(block: Block) -> bool:
    given = [key for key in (PER_HOST_SECOND, PER_GPU_SECOND) if key in block]
    if len(given) > 1:
        block.refuse(given[1], f"cannot stand beside {given[0].name}; keep one of them")
        return False
    if bool(given) == (UTILIZATION in block) or not block.meant.isdisjoint(
        {key.name for key in (PER_HOST_SECOND, PER_GPU_SECOND, UTILIZATION)}
    ):
        return True
    if given:
        block.refuse(None, missing(UTILIZATION))
    else:
        block.refuse(UTILIZATION, f"goes with {PER_HOST_SECOND.name} only; remove it")
    return False


def _fleet(block: Block, hours_ratio: Decimal = Decimal(1)) -> Fleet:
    gpus = block[GPUS_PER_HOST]
    of_host, of_gpu = block.get(PER_HOST_SECOND), block.get(PER_GPU_SECOND)
    throughput = Fraction(of_host) if of_host is not None else None
    if of_gpu is not None:
        throughput = Fraction(of_gpu) * gpus
    return Fleet(
        gpus=gpus,
        hosts=block[HOSTS],
        tokens_per_second=throughput,
        utilization_ratio=Fraction(block.get(UTILIZATION) or 1),
        hours_ratio=Fraction(hours_ratio),
    )


PURCHASE_PER_HOST = Key(
    "purchase_dollars_per_host", PURCHASE, "What a host costs; the yearly amounts are then per host too."
)
PURCHASE_PER_GPU = Key(
    "purchase_dollars_per_gpu",
    PURCHASE,
    "What a GPU costs with its part of the host; the yearly amounts are then per GPU too.",
)
LIFE_YEARS = Key("life_years", Life(), "Years over which the purchase is written off.", required=True)
SUPPORT = Key("support_dollars_per_year", DOLLARS_PER_YEAR, "The support contract, every year.", default="0")
INSURANCE = Key("insurance_dollars_per_year", DOLLARS_PER_YEAR, "Insurance, every year.", default="0")
REFRESH = Key(
    "refresh",
    YES_NO,
    "Whether a host is replaced by the same one at the end of its life; with false it runs on without "
    "costing capital.",
    default="true",
)


def _owned(block: Block) -> OwnedHosts:
    gpus = block[GPUS_PER_HOST]
    per_host = block.get(PURCHASE_PER_HOST)
    units = 1 if per_host is not None else gpus
    terms = Owned(
        purchase_dollars=(block[PURCHASE_PER_GPU] if per_host is None else per_host) * units,
        gpus=gpus,
        in_service=0,
        in_service_text="",
        life_years=block[LIFE_YEARS],
        residual_ratio=block[RESIDUAL],
        adders_ratio=block[ADDERS],
        support_dollars_per_year=block[SUPPORT] * units,
        insurance_dollars_per_year=block[INSURANCE] * units,
        cost_of_capital_ratio=block.get(COST_OF_CAPITAL) or None,
    )
    return OwnedHosts(terms, _fleet(block), refresh=block[REFRESH] == "true")


OWNED = Key(
    "owned",
    Table(
        (
            PURCHASE_PER_HOST,
            PURCHASE_PER_GPU,
            *FLEET_KEYS,
            LIFE_YEARS,
            RESIDUAL,
            ADDERS,
            SUPPORT,
            INSURANCE,
            COST_OF_CAPITAL,
            REFRESH,
        ),
        _owned,
        (exactly_one(PURCHASE_PER_HOST, PURCHASE_PER_GPU), _throughput_and_utilization),
    ),
    "Hosts that are bought.",
)

PER_GPU_HOUR = Key("dollars_per_gpu_hour", DOLLARS_PER_HOUR, "What one GPU costs per hour.")
PER_HOST_HOUR = Key("dollars_per_host_hour", DOLLARS_PER_HOUR, "What one host costs per hour.")
HOURS_RATIO = Key(
    "hours_ratio",
    Number("ratio", Decimal(1), above_low=True),
    "The part of all hours in which the hosts are up and billed.",
    default="1",
)


def _rented(block: Block) -> RentedHosts:
    per_host = block.get(PER_HOST_HOUR)
    if per_host is None:
        per_host = block[PER_GPU_HOUR] * block[GPUS_PER_HOST]
    return RentedHosts(Fraction(per_host), _fleet(block, block[HOURS_RATIO]))


RENTED = Key(
    "rented",
    Table(
        (PER_GPU_HOUR, PER_HOST_HOUR, *FLEET_KEYS, HOURS_RATIO),
        _rented,
        (exactly_one(PER_GPU_HOUR, PER_HOST_HOUR), _throughput_and_utilization),
    ),
    "Hosts that are rented by the hour.",
)

KILOWATTS_SHAPE: Final = Number("kilowatts", Decimal(1000))
KILOWATTS = Key(
    "kilowatts_per_host",
    KILOWATTS_SHAPE,
    "What a host draws at the plug when it serves all it can.",
    required=True,
)
IDLE_KILOWATTS = Key(
    "idle_kilowatts_per_host",
    KILOWATTS_SHAPE,
    "What it draws when it serves nothing; as much as ever unless given. Between the two the draw follows "
    "how busy it is.",
)


def _power(block: Block) -> Power:
    full, idle = block[KILOWATTS], block.get(IDLE_KILOWATTS)
    return Power(
        price=Electricity(block[KILOWATT_HOUR], block[PUE]),
        kilowatts=Fraction(full),
        idle_kilowatts=Fraction(full if idle is None else idle),
        change_ratio_per_year=Fraction(block[CHANGE]),
        source=source_of(block),
    )


ENERGY = Key(
    "energy",
    Table((KILOWATT_HOUR, KILOWATTS, IDLE_KILOWATTS, PUE, CHANGE, SOURCE, AS_OF), _power),
    "Electricity of owned or rented hosts; without it none is charged.",
)

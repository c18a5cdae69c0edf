"""The keys of `hardware`: what each GPU costs, rented or owned, and its electricity."""

from decimal import Decimal

from exporter.config.catalogued import unknown
from exporter.config.kubernetes import MATCH_NODE_LABEL
from exporter.config.moments import Day
from exporter.config.problems import BrokenError
from exporter.config.rented import GPUS_PER_HOST, RENTED, gpus_of
from exporter.config.rules import exactly_one, together
from exporter.config.schema import Block, Key, ListOf, Table
from exporter.config.values import DOLLAR_DECIMALS, PERCENT, Choice, Number, Pattern
from exporter.tariff.terms import Electricity, Hardware, HardwareMatch, Listed, Owned, Unmatched

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


def _owned(block: Block) -> Owned:
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


def _hardware(block: Block) -> Hardware:
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

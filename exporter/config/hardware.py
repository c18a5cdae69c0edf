"""The keys of `hardware`: the price of each GPU, rented or owned, and its electricity.

Each class is a mapping of the file, and each of its fields a key. The docstring of a field is the meaning of
its key, in the reference and in errors. An example of what `config.schema` does with a file:

    hardware:
    - owned: {purchase_dollars_per_gpu: 30000, in_service: 2026-01-01, life_years: 5}

- The key `owned` is a field of `HardwareKeys`, of type `Annotated[Owned | None, OwnedKeys]`: its mapping is
  read as an `OwnedKeys`, and the field becomes the `Owned` that this one builds.
- `life_years` is a field of `OwnedKeys`, of type `Annotated[Decimal, YEARS]`: `YEARS` reads the 5, refuses
  more than 100, and the field becomes a `Decimal`.
- `purchase_dollars_per_gpu` is a key of options too: its type is the name `GpuPurchase`, whose last part is
  its meaning.
- `OwnedKeys.check` refuses keys that do not go together: `exactly_one` a price per host beside that per GPU,
  `goes_with` a key without the key that it belongs to, `needs` a key that is missing, `refuse` any other.
  Each of them ends the reading of the file with the line of a key. `has` tells whether a key is given.
- `OwnedKeys.build` makes the `Owned` of the tariff. A class with `builds` becomes that record field by field.
- `node` is the mapping in the file: the path of `HardwareKeys.node` is `hardware[0]`. `context` has the list
  prices in force.
"""

from decimal import Decimal
from itertools import pairwise
from typing import Annotated, ClassVar, NamedTuple, TypeVar

from exporter.config.instance_types import instance_type_problem
from exporter.config.kubernetes import NODE_LABEL
from exporter.config.schema import ListItem, ListOf, Model, Table, field
from exporter.config.times import DATE, TIME, DatedInstant
from exporter.config.values import (
    DOLLAR_DECIMALS,
    PERCENT,
    Choice,
    Label,
    Number,
    PatternText,
    Whole,
)
from exporter.tariff.instances import CLOUDS
from exporter.tariff.terms import (
    ANY_CLOUD,
    Billing,
    DiscountOf,
    Electricity,
    Hardware,
    HardwareMatch,
    LabelPatterns,
    Listed,
    Owned,
    Rented,
    RentPrice,
)

T = TypeVar("T")

# A ledger holds at most 9.2 million dollars per total (64 bits of picodollars); the bounds keep a misplaced
# amount (a month's where an hour's belongs) from filling a total within the week that a gap may last.
DOLLARS_PER_HOUR = Number(
    "dollars",
    Decimal(10_000),
    decimals=DOLLAR_DECIMALS,
    excess="if it is the price of a month, divide it by 730",
    per="hour",
)

DOLLARS_PER_YEAR = Number("dollars", Decimal(100_000_000), decimals=DOLLAR_DECIMALS, per="year")
PURCHASE = Number("dollars", Decimal(100_000_000), decimals=DOLLAR_DECIMALS)
GPUS = Whole("GPUs", 1, 1024)
YEARS = Number("years", Decimal(100), Decimal("0.1"))
RATIO = Number("ratio", Decimal(1), excess=PERCENT)
FACTOR = Number("ratio", Decimal(10), Decimal(1))

# Keys of `owned` and `energy` that the options of `tco` have too (`finance.options.option`).

HostPurchase = Annotated[
    Decimal | None, PURCHASE, "Price of the whole host; the yearly amounts are then per host too."
]
GpuPurchase = Annotated[
    Decimal | None,
    PURCHASE,
    "Price of one GPU with its part of the host; the yearly amounts are then per GPU too.",
]
SupportDollars = Annotated[Decimal, DOLLARS_PER_YEAR, "Support contract per year; component support."]
InsuranceDollars = Annotated[Decimal, DOLLARS_PER_YEAR, "Insurance per year; component insurance."]
ResidualRatio = Annotated[Decimal, RATIO, "Value at the end of its life, as a part of the purchase."]
AddersRatio = Annotated[
    Decimal,
    Number("ratio", Decimal(10), excess=PERCENT),
    "Racks, network and installation, as a part of the purchase.",
]
CostOfCapitalRatio = Annotated[
    Decimal | None,
    Number("ratio", Decimal(1), excess=PERCENT, per="year"),
    "Cost of capital per year. With it the purchase is an annuity; without it or at 0 a straight line.",
]
KilowattHourDollars = Annotated[
    Decimal,
    Number("dollars", Decimal(100), decimals=DOLLAR_DECIMALS),
    "Price of a kilowatt-hour, grid fees included.",
]
PueRatio = Annotated[
    Decimal, FACTOR, "Power usage effectiveness: the building's power over that of its machines."
]

# Keys that two mappings of this file have.

GpuHourDollars = Annotated[Decimal | None, DOLLARS_PER_HOUR, "Price of one GPU per hour."]
HostHourDollars = Annotated[
    Decimal | None, DOLLARS_PER_HOUR, "Price of the whole host per hour, divided by gpus_per_host."
]
GpusPerHost = Annotated[
    int | None,
    GPUS,
    "GPUs of the host, including any that NVML does not list. Each carries its share of the host's price.",
]


class UnitPrice(NamedTuple):
    """The price of a GPU, or that of a host."""

    dollars: Decimal
    """The price, by the hour or of a purchase."""
    gpus: int
    """The GPUs that share the price: 1 for the price of a GPU."""


def _given(value: T | None) -> T:
    """The value of a key that `check` found given."""
    if value is None:
        raise AssertionError("`check` lets no mapping pass without it")
    return value


def _unit_price(*, per_gpu: Decimal | None, per_host: Decimal | None, gpus_per_host: int | None) -> UnitPrice:
    """The price of a GPU where that is given, else the price of a host, with the number of its GPUs."""
    if per_gpu is not None:
        return UnitPrice(per_gpu, gpus=1)
    return UnitPrice(_given(per_host), _given(gpus_per_host))


def _check_gpus_per_host(keys: "RentedKeys | OwnedKeys", host_key: str, *, is_per_host: bool) -> None:
    """Refuse the price of a host without the number of its GPUs, and that number without such a price."""
    if is_per_host:
        keys.needs("gpus_per_host")
    else:
        keys.goes_with("gpus_per_host", host_key)


class DatedPrice(Model, kw_only=True):
    """One price of a list of dated ones."""

    since: Annotated[DatedInstant, TIME] = field(name="from")
    """When the price begins: a date, a local time (2026-11-01T09:30) or a time with its offset
    (2026-11-01T09:30+01:00). A date is the first instant of that local day; a local time must occur exactly
    once."""
    dollars_per_gpu_hour: GpuHourDollars = None
    dollars_per_host_hour: HostHourDollars = None
    note: Annotated[str, Label("note")] = ""
    """Note on the source of the price."""

    def check(self) -> None:
        """Refuse a date with two prices or none."""
        self.exactly_one("dollars_per_gpu_hour", "dollars_per_host_hour")

    def build_with(self, gpus_per_host: int | None) -> RentPrice:
        """The record, for `RentedKeys.build`: gpus_per_host is a key of the mapping around this one."""
        price = _unit_price(
            per_gpu=self.dollars_per_gpu_hour,
            per_host=self.dollars_per_host_hour,
            gpus_per_host=gpus_per_host,
        )
        return RentPrice(
            dollars_per_hour=price.dollars,
            gpus=price.gpus,
            since=self.since.instant,
            since_text=self.since.text,
            note=self.note,
        )


def _refuse_disorder(items: list[ListItem[DatedPrice]]) -> None:
    """Refuse a price that does not begin after the one before it."""
    for earlier, later in pairwise(items):
        if later.value.since.instant <= earlier.value.since.instant:
            begins = later.value.since.text
            before = earlier.value.since.text
            later.refuse("from", f"{begins} is not after {before}; order prices by date")


PRICES = ListOf(
    Table(DatedPrice),
    (_refuse_disorder,),
    least=1,
    advice="one price without a date is dollars_per_gpu_hour or dollars_per_host_hour",
)


class RentedKeys(Model, kw_only=True):
    """Rent, by one of four keys."""

    dollars_per_gpu_hour: GpuHourDollars = None
    dollars_per_host_hour: HostHourDollars = None
    gpus_per_host: GpusPerHost = None
    prices: Annotated[tuple[DatedPrice, ...], PRICES] = ()
    """Dated prices, oldest first; each holds until the next begins, and before the first there is no
    price."""
    catalogue: Annotated[str | None, Choice((ANY_CLOUD, *CLOUDS))] = None
    """List price of the host's instance type from the bundled catalogue: of this cloud, or any, the host's
    own cloud."""
    instance_type: Annotated[str, Label("instance type", exact=True)] = ""
    """The instance type, where the host does not report it; with catalogue only."""
    region: Annotated[str, Label("region", exact=True)] = ""
    """The region of the list price, where the host does not report it; with catalogue only."""
    discount_ratio: Annotated[Decimal | None, RATIO] = None
    """Contract discount on the list price: 0.30 is 30 % off; with catalogue only."""
    discount_of: DiscountOf | None = None
    """List price to use, with catalogue only. Default: that of the host's lifecycle, or on_demand with a
    discount."""
    billing: Billing = "while_up"
    """Rent during downtime: `while_up` charges only while the host runs, as hourly clouds bill; `always`
    charges all time, as leases and reservations do."""

    def check(self) -> None:
        """Refuse keys that do not go together."""
        self.exactly_one("dollars_per_gpu_hour", "dollars_per_host_hour", "prices", "catalogue")
        for name in ("instance_type", "region", "discount_ratio", "discount_of"):
            self.goes_with(name, "catalogue")
        host_key = "dollars_per_host_hour"
        is_per_host = self.has(host_key) or any(price.has(host_key) for price in self.prices)
        _check_gpus_per_host(self, host_key, is_per_host=is_per_host)

    def build(self) -> Rented | Listed:
        """The list price to look up, or the rent."""
        if self.catalogue is not None:
            return self._listed(self.catalogue)
        if self.prices:
            dated_prices = tuple(price.build_with(self.gpus_per_host) for price in self.prices)
            return Rented(dated_prices, self.billing)
        price = _unit_price(
            per_gpu=self.dollars_per_gpu_hour,
            per_host=self.dollars_per_host_hour,
            gpus_per_host=self.gpus_per_host,
        )
        undated_price = RentPrice(dollars_per_hour=price.dollars, gpus=price.gpus)
        return Rented((undated_price,), self.billing)

    def _listed(self, cloud: str) -> Listed:
        """The list price of a cloud."""
        discount_ratio = self.discount_ratio or Decimal(0)
        discount_of = self.discount_of
        if discount_of is None and discount_ratio:
            discount_of = "on_demand"
        return Listed(
            cloud=cloud,
            instance_type=self.instance_type,
            region=self.region,
            discount_ratio=discount_ratio,
            discount_of=discount_of,
            billing=self.billing,
        )


class OwnedKeys(Model, kw_only=True):
    """Purchase of a host or of a GPU, with yearly amounts of the same unit."""

    purchase_dollars_per_host: HostPurchase = None
    purchase_dollars_per_gpu: GpuPurchase = None
    gpus_per_host: GpusPerHost = None
    in_service: Annotated[DatedInstant, DATE]
    """The day on which amortization begins; before it there is none."""
    life_years: Annotated[Decimal, YEARS]
    """Years of amortization, of 8766 hours each; after them the hardware costs nothing."""
    residual_ratio: ResidualRatio = Decimal(0)
    adders_ratio: AddersRatio = Decimal(0)
    support_dollars_per_year: SupportDollars = Decimal(0)
    insurance_dollars_per_year: InsuranceDollars = Decimal(0)
    cost_of_capital_ratio: CostOfCapitalRatio = None

    def check(self) -> None:
        """Refuse keys that do not go together."""
        self.exactly_one("purchase_dollars_per_host", "purchase_dollars_per_gpu")
        host_key = "purchase_dollars_per_host"
        _check_gpus_per_host(self, host_key, is_per_host=self.has(host_key))

    def build(self) -> Owned:
        """The terms of the purchase."""
        purchase = _unit_price(
            per_gpu=self.purchase_dollars_per_gpu,
            per_host=self.purchase_dollars_per_host,
            gpus_per_host=self.gpus_per_host,
        )
        owned = Owned(
            purchase_dollars=purchase.dollars,
            gpus=purchase.gpus,
            in_service=self.in_service.instant,
            in_service_text=self.in_service.text,
            life_years=self.life_years,
            residual_ratio=self.residual_ratio,
            adders_ratio=self.adders_ratio,
            support_dollars_per_year=self.support_dollars_per_year,
            insurance_dollars_per_year=self.insurance_dollars_per_year,
            cost_of_capital_ratio=self.cost_of_capital_ratio or None,  # at 0 a straight line too
        )
        # Amortization is a yearly amount like support and insurance, and has their bound. It is refused here
        # and not in `check`, since the record computes it.
        if owned.capital_dollars > owned.life_years * DOLLARS_PER_YEAR.high:
            bound = f"{DOLLARS_PER_YEAR.high} dollars per year"
            self.refuse("life_years", f"the purchase comes to more than {bound}; check both")
        return owned


class EnergyKeys(Model, kw_only=True):
    """Price of electricity, and what the host draws beside its GPUs."""

    builds: ClassVar = Electricity
    dollars_per_kilowatt_hour: KilowattHourDollars
    pue_ratio: PueRatio = Decimal(1)
    host_factor_ratio: Annotated[Decimal, FACTOR] = Decimal(1)
    """The host's power over that of its GPUs: processors, fans and power supplies."""


class MatchKeys(Model, kw_only=True):
    """Patterns of a GPU and its host."""

    builds: ClassVar = HardwareMatch
    host: PatternText | None = None
    """The host's name, as configured for the exporter or else the operating system's."""
    gpu_model: PatternText | None = None
    """The GPU's model as NVML reports it, like NVIDIA H100 80GB HBM3: the pattern covers the whole name."""
    uuid: PatternText | None = None
    """The GPU's UUID as NVML reports it."""
    instance_type: PatternText | None = None
    """The host's instance type, like p5.48xlarge; Azure's with or without Standard_."""
    lifecycle: PatternText | None = None
    """The host's lifecycle: on_demand, spot, reserved."""
    region: PatternText | None = None
    """The host's region as its cloud spells it, like us-east-1."""
    node_label: Annotated[LabelPatterns, NODE_LABEL] = ()
    """Labels of the host's Kubernetes node, each with a pattern of its value. A label that the node lacks
    matches nothing. GPUs of such a rule are charged once the labels are read."""


class HardwareKeys(Model, kw_only=True):
    """One rule of prices."""

    match: Annotated[HardwareMatch, MatchKeys] = HardwareMatch()
    """GPUs of the rule; all patterns given must match. Without it: every GPU."""
    rented: Annotated[Rented | Listed | None, RentedKeys] = None
    """Rented hardware: exactly one of dollars_per_gpu_hour, dollars_per_host_hour, prices and catalogue."""
    owned: Annotated[Owned | None, OwnedKeys] = None
    """Owned hardware: amortization of the purchase over its life, support and insurance."""
    energy: Annotated[Electricity | None, EnergyKeys] = None
    """Price of electricity; without it none is charged. Rent usually includes power: with rented, give it
    only where power is billed separately."""

    def check(self) -> None:
        """Refuse keys that do not go together."""
        self.exactly_one("rented", "owned")
        if isinstance(self.rented, Listed):
            problem = instance_type_problem(self.rented, self.match, self.context.catalogue)
            if problem:
                self.refuse("rented", problem)

    def build(self) -> Hardware:
        """The rule."""
        if self.rented is not None:
            return self._rule("rented", self.rented)
        return self._rule("owned", _given(self.owned))

    def _rule(self, key: str, pricing: Rented | Listed | Owned) -> Hardware:
        """The rule, with the price of one of its keys."""
        source = f"{self.node.path}.{key}"
        return Hardware(match=self.match, pricing=pricing, source=source, energy=self.energy)

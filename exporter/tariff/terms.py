"""Price terms of the configuration: rent, purchase, electricity, overheads. Pure.

Amounts are exact decimals of dollars.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from exporter.readings import Gpu, HostLocation
from exporter.units import Instant

Per = Literal["gpu", "host", "fleet"]
Period = Literal["hour", "month", "year"]
Billing = Literal["while_up", "always"]
Unmatched = Literal["estimate", "unpriced"]
DiscountOf = Literal["on_demand", "spot"]

ANY_CLOUD: Final = "any"
"""The cloud of a list price that is looked up at the host's own cloud."""

CAPITAL_DIGITS: Final = 60
"""Decimal digits of a product of amount and ratio: 20 and 32 at most, so that none is lost."""

LabelPatterns = tuple[tuple[str, str], ...]
"""Names of labels, each with a shell-style pattern of its value."""


@lru_cache(maxsize=4096)
def matches(pattern: str | None, text: str) -> bool:
    """Whether a shell-style pattern covers the whole text; no pattern covers anything. Case counts."""
    return pattern is None or fnmatchcase(text, pattern)


class Mismatch(NamedTuple):
    """A pattern that does not match."""

    key: str
    """Key of the pattern in the file."""
    pattern: str
    text: str
    """Empty where the host reports none."""


@dataclass(frozen=True, slots=True)
class HardwareMatch:
    """Shell-style patterns; all that are given must match. `None` matches anything."""

    host: str | None = None
    gpu_model: str | None = None
    uuid: str | None = None
    instance_type: str | None = None
    lifecycle: str | None = None
    region: str | None = None
    node_label: LabelPatterns = ()
    """A label that the node does not have is not matched by any pattern."""

    def mismatches(self, host: str, location: HostLocation, gpu: Gpu) -> Iterator[Mismatch]:
        """The patterns that do not match a GPU of a host; none where all do."""
        labels = dict(location.node_labels or ())
        for key, pattern, text in (
            ("host", self.host, host),
            ("instance_type", self.instance_type, location.instance_type),
            ("lifecycle", self.lifecycle, location.lifecycle),
            ("region", self.region, location.region),
            *((f"node_label {label}", pattern, labels.get(label)) for label, pattern in self.node_label),
            ("gpu_model", self.gpu_model, gpu.gpu_model),
            ("uuid", self.uuid, gpu.uuid),
        ):
            if pattern is None or (text is not None and matches(pattern, text)):
                continue
            # Azure's metadata say Standard_ND96isr_H100_v5, people often leave the first word out.
            if key == "instance_type" and matches(pattern, location.instance_type.removeprefix("Standard_")):
                continue
            yield Mismatch(key, pattern, text or "")


@dataclass(frozen=True, slots=True)
class RentPrice:
    """Rent of an hour."""

    dollars_per_hour: Decimal
    gpus: int = 1
    """Number of GPUs that a host's price is divided by."""
    since: Instant | None = None
    """When the price begins; `None`: always."""
    since_text: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Rented:
    """Rented hardware. Before the first price, it has none."""

    prices: tuple[RentPrice, ...]
    """In ascending order of `since`."""
    billing: Billing = "while_up"
    """Hourly clouds bill a host while it is up; leases and reservations always."""

    def price_at(self, instant: Instant) -> RentPrice | None:
        """The rent in force at an instant; `None` before the first price."""
        begun = [price for price in self.prices if price.since is None or price.since <= instant]
        return begun[-1] if begun else None


@dataclass(frozen=True, slots=True)
class Listed:
    """Rented at a list price of the bundled catalogue, less a discount.

    A value that the rule does not name (`ANY_CLOUD`, an empty text) is the host's own.
    """

    cloud: str = ANY_CLOUD
    instance_type: str = ""
    region: str = ""
    discount_ratio: Decimal = Decimal(0)
    discount_of: DiscountOf | None = None
    """`None` is the price of the host's lifecycle: the spot price for spot, else on demand."""
    billing: Billing = "while_up"


@dataclass(frozen=True, slots=True)
class Owned:
    """Owned hardware.

    Straight line `(purchase x (1 + adders) - residual) / life` from `in_service`, or the annuity at
    `cost_of_capital_ratio`; nothing after its life. Support and insurance are per year, every year.
    """

    purchase_dollars: Decimal
    gpus: int
    """Number of GPUs that the amounts are for together."""
    in_service: Instant
    in_service_text: str
    life_years: Decimal
    residual_ratio: Decimal = Decimal(0)
    adders_ratio: Decimal = Decimal(0)
    support_dollars_per_year: Decimal = Decimal(0)
    insurance_dollars_per_year: Decimal = Decimal(0)
    cost_of_capital_ratio: Decimal | None = None

    @property
    def capital_dollars(self) -> Decimal:
        """What is paid when it is bought: the purchase with its adders."""
        with localcontext(prec=CAPITAL_DIGITS):
            return self.purchase_dollars * (1 + self.adders_ratio)

    @property
    def residual_dollars(self) -> Decimal:
        """What it is worth at the end of its life."""
        with localcontext(prec=CAPITAL_DIGITS):
            return self.purchase_dollars * self.residual_ratio

    @property
    def written_off_dollars(self) -> Decimal:
        """What it loses over its life."""
        with localcontext(prec=CAPITAL_DIGITS):
            return self.capital_dollars - self.residual_dollars


@dataclass(frozen=True, slots=True)
class Electricity:
    """Joules x PUE x host factor x price."""

    dollars_per_kilowatt_hour: Decimal
    pue_ratio: Decimal = Decimal(1)
    host_factor_ratio: Decimal = Decimal(1)
    """Covers fans, CPUs and power supplies."""

    @property
    def dollars_per_gpu_kilowatt_hour(self) -> Decimal:
        """The price of a kilowatt-hour measured at the GPU."""
        return self.dollars_per_kilowatt_hour * self.pue_ratio * self.host_factor_ratio


class PriceBegin(NamedTuple):
    """The instant from which a rule has a price."""

    key: str
    """The key of the instant, within the pricing of the rule."""
    instant: Instant
    text: str
    """The instant as the configuration has it."""


@dataclass(frozen=True, slots=True)
class Hardware:
    """One rule of `hardware`: the first that matches a GPU prices it."""

    match: HardwareMatch
    pricing: Rented | Listed | Owned
    source: str
    """Its key in the file."""
    energy: Electricity | None = None

    @property
    def begin(self) -> PriceBegin | None:
        """The begin of the first price; `None` where the price always held."""
        if isinstance(self.pricing, Owned):
            return PriceBegin("in_service", self.pricing.in_service, self.pricing.in_service_text)
        if isinstance(self.pricing, Rented):
            first = self.pricing.prices[0]
            if first.since is not None:
                return PriceBegin("prices[0].from", first.since, first.since_text)
        return None

    @property
    def depends_on_location(self) -> bool:
        """Whether its match or its price depends on the host's location."""
        match = self.match
        anywhere = match.instance_type is match.lifecycle is match.region is None and not match.node_label
        return not anywhere or isinstance(self.pricing, Listed)


@dataclass(frozen=True, slots=True)
class Retirement:
    """A GPU that was removed for good, and since when."""

    uuid: str
    since: Instant
    since_text: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Overhead:
    """A named amount besides the hardware. No host's ledger includes `fleet` amounts."""

    name: str
    amount_dollars: Decimal
    period: Period
    per: Per
    source: str
    host: str | None = None

"""Rates: exact amounts that accrue over time. Pure."""

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final, Literal, get_args

from exporter.units import NANOSECONDS_PER_HOUR, Nanoseconds, Picodollars, dollars

PriceBasis = Literal["configured", "catalogue", "estimate"]
PRICE_BASES: Final[tuple[PriceBasis, ...]] = get_args(PriceBasis)
"""The surest first."""


@dataclass(frozen=True, slots=True)
class Rate:
    """An amount that accrues evenly over a period.

    A price that several GPUs share is divided by lengthening the period, never by rounding the amount:
    55.04 dollars an hour for a host of 8 is 55.04 dollars per 8 hours for each GPU.
    """

    amount: Picodollars
    period: Nanoseconds

    def dollars_per_hour(self) -> float:
        """The rate for export."""
        return dollars(self.amount) * NANOSECONDS_PER_HOUR / self.period


class Derivation(StrEnum):
    """How a price was derived: from the configuration, a list, or a list price of something else."""

    CONFIGURED = "configured"
    LISTED = "listed"
    """The list price of the instance type in its region."""
    SCALED = "scaled"
    """The list price of another region, scaled to the region."""
    REGION = "region"
    """The list price of another region."""
    LARGE_CLOUD = "large_cloud"
    """The lowest list price of the GPU at the large clouds."""
    MARKET = "market"
    """The lowest or the median list price of the GPU at all vendors."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Source of a price."""

    price_basis: PriceBasis
    source: str
    """Text for a label."""
    as_of: str = ""
    """The date that the price holds from, or on which its list was read."""
    derivation: Derivation = Derivation.CONFIGURED


@dataclass(frozen=True, slots=True)
class ComponentRate:
    """Rate of one component of one GPU."""

    component: str
    rate: Rate
    provenance: Provenance
    while_up: bool = False
    """Whether it is hourly rent, which accrues only while the host is up."""


@dataclass(frozen=True, slots=True)
class EnergyPrice:
    """Price of a kilowatt-hour measured at the GPU."""

    per_kilowatt_hour: Picodollars
    """The price of electricity times the PUE ratio and the factor of the host."""
    provenance: Provenance


class HardwareStatus(Enum):
    """Whether the hardware of a GPU has a price at an instant. Overheads accrue in each case."""

    PRICED = "priced"
    """Some rate is the price of the hardware."""
    UNPRICED = "unpriced"
    """The hardware has no price yet. A late charge posts its cost once it has one."""
    NOT_IN_SERVICE = "not in service"
    """Owned hardware before it is in service costs nothing, and is never charged late."""


@dataclass(frozen=True, slots=True)
class Price:
    """Rates of one GPU at an instant."""

    rates: tuple[ComponentRate, ...]
    energy: EnergyPrice | None
    hardware: HardwareStatus
    """Whether the hardware has a price."""

    @property
    def priced(self) -> bool:
        """Whether the hardware is priced."""
        return self.hardware is HardwareStatus.PRICED

    @property
    def has_hourly_rent(self) -> bool:
        """Whether some rate accrues only while the host is up."""
        return any(rate.while_up for rate in self.rates)

    def hourly_rent_alone(self) -> "Price":
        """The price without energy and without rates that accrue while the host is down."""
        hourly_rent = tuple(rate for rate in self.rates if rate.while_up)
        return Price(hourly_rent, None, self.hardware)

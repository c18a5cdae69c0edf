"""Rates: what accrues, exactly."""

from dataclasses import dataclass
from typing import Literal

from exporter.units import NANOSECONDS_PER_HOUR, Nanoseconds, Picodollars, dollars

PriceBasis = Literal["configured", "catalogue", "estimate"]


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


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a number came from: its basis, the place in words, the date it holds from or was taken on."""

    price_basis: PriceBasis
    source: str
    as_of: str = ""


@dataclass(frozen=True, slots=True)
class ComponentRate:
    """What accrues on one GPU under one component; `while_up`: only while the host is up."""

    component: str
    rate: Rate
    provenance: Provenance
    while_up: bool = False


@dataclass(frozen=True, slots=True)
class EnergyPrice:
    """Picodollars for a kilowatt-hour measured at the GPU, with PUE and the host's share in it."""

    per_kilowatt_hour: Picodollars
    provenance: Provenance


@dataclass(frozen=True, slots=True)
class Price:
    """Everything an hour of one GPU costs at an instant.

    `priced` is false where nothing says what the hardware costs: its overheads accrue all the same.
    `in_service` is false before owned hardware is: it has no price then, and its time waits for none.
    """

    rates: tuple[ComponentRate, ...]
    energy: EnergyPrice | None
    priced: bool
    in_service: bool = True

    @property
    def waits(self) -> bool:
        """Whether time at it waits for a price."""
        return self.in_service and not self.priced

    @property
    def while_up(self) -> bool:
        """Whether rent is owed for the hours that the host is up, and so GPU time."""
        return any(rate.while_up for rate in self.rates)

    def hourly(self) -> "Price":
        """Its hourly rent alone."""
        hourly = tuple(rate for rate in self.rates if rate.while_up)
        return Price(hourly, None, self.priced, self.in_service)

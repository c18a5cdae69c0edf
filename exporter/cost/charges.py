"""Charges: what the time and energy of one GPU cost at a price, and the postings of that. Pure.

`accrual` charges the time that a tick covers, `late_accrual` time that passed before it had a price. Both add
the charges of GPU after GPU to the postings of a segment.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from exporter.cost.money import GpuRemainders, add_all
from exporter.cost.postings import GpuTimePosting, GpuUse, MoneyPosting, OwnerPhase, Segment, UnpricedTime
from exporter.cost.state import Carry
from exporter.readings import Gpu
from exporter.tariff.rate import EnergyPrice, HardwareStatus, Price, PriceBasis, Rate
from exporter.tariff.tariff import ENERGY
from exporter.units import MILLIJOULES_PER_KILOWATT_HOUR, Instant, Millijoules, Nanoseconds, Picodollars


def accrue(rate: Rate, elapsed: Nanoseconds, carry: Carry | None) -> tuple[Picodollars, Carry]:
    """Whole picodollars that accrued, and the fraction that is left.

    Accruing over [a, b] and then [b, c] is exactly accruing over [a, c] while the rate stays. At a dollar an
    hour, one second accrues 277,777,777 picodollars and carries 7/9; the next 277,777,778 and carries 5/9.
    """
    return _whole_and_carry(rate.amount * elapsed, rate.period, carry)


def accrue_energy(price: EnergyPrice, energy: Millijoules, carry: Carry | None) -> tuple[Picodollars, Carry]:
    """The cost of energy, as `accrue`."""
    return _whole_and_carry(price.per_kilowatt_hour * energy, MILLIJOULES_PER_KILOWATT_HOUR, carry)


def _whole_and_carry(numerator: int, period: int, carry: Carry | None) -> tuple[Picodollars, Carry]:
    """The whole picodollars of `numerator / period` and a carry, and the new carry."""
    if carry is not None:
        # Exact while the period stays. A carry of another period loses less than 1 / period of a picodollar.
        numerator += carry.numerator * period // carry.period
    posted, rest = divmod(numerator, period)
    return posted, Carry(rest, period)


@dataclass(frozen=True, slots=True)
class Usage:
    """Usage of one GPU by owner and phase. Owners that used nothing may be left out."""

    time: Mapping[OwnerPhase, Nanoseconds]
    """GPU time."""
    up: Mapping[OwnerPhase, Nanoseconds]
    """The part of the GPU time in which the host was up: hourly rent accrues in it."""
    energy: Mapping[OwnerPhase, Millijoules] = field(default_factory=dict)
    """Energy; empty where it is not divided over owners."""

    @classmethod
    def sum_of(cls, usages: Iterable["Usage"]) -> "Usage":
        """Several usages of the GPU together."""
        time: dict[OwnerPhase, Nanoseconds] = {}
        up: dict[OwnerPhase, Nanoseconds] = {}
        energy: dict[OwnerPhase, Millijoules] = {}
        for usage in usages:
            add_all(time, usage.time)
            add_all(up, usage.up)
            add_all(energy, usage.energy)
        return cls(time, up, energy)

    def by_owner_phase(self) -> dict[OwnerPhase, GpuUse]:
        """What each owner used in each phase, without those that used nothing."""
        used = {
            key: GpuUse(self.time.get(key, 0), self.up.get(key, 0), self.energy.get(key, 0))
            for key in {**self.time, **self.up, **self.energy}
        }
        return {key: use for key, use in used.items() if use.time or use.up or use.energy}

    def chargeable(self, price: Price) -> Mapping[OwnerPhase, Nanoseconds]:
        """The GPU time that is owed at a price: dollars over it are the price.

        Rent by the hour, and time that waits for a price, are owed for time with the host up. Nothing is owed
        for owned hardware before it is in service, nor for time since a boot at a price without hourly rent.
        """
        if price.hardware is HardwareStatus.UNPRICED or price.while_up:
            return self.up
        if price.priced and price.rates:
            return self.time
        return {}


class ChargedUse(NamedTuple):
    """GPU time or energy that is charged, and the weights that divide its cost."""

    amount: Nanoseconds | Millijoules
    """Time or energy of all owners together."""
    weights: Mapping[OwnerPhase, int]
    """Weights by owner and phase; empty only where the amount is zero."""


class GpuCharge(NamedTuple):
    """What one GPU is charged for at one price."""

    gpu: Gpu
    """The GPU, or `UNCOUNTED` for time of a host whose GPUs were not read."""
    price: Price
    """The price of this time."""
    time: ChargedUse
    """GPU time, whether the host was up or down."""
    up: ChargedUse
    """GPU time with the host up, which hourly rent is charged for."""
    energy: ChargedUse
    """Energy that the GPU used."""


@dataclass(slots=True)
class SegmentPostings:
    """Postings of one segment; GPU after GPU is added to them."""

    start: Instant
    end: Instant
    day: str
    """The local day that the segment lies in, like 2026-11-30."""
    accrued: Picodollars = 0
    """Money of all GPUs, summed before anything is split."""
    money: list[MoneyPosting] = field(default_factory=list)
    """Money by GPU, component, owner and phase."""
    gpu_times: list[GpuTimePosting] = field(default_factory=list)
    """GPU time by GPU, owner and phase."""
    unpriced: list[UnpricedTime] = field(default_factory=list)
    """Time of GPUs that waits for a price."""

    def charge(self, charge: GpuCharge, remainders: GpuRemainders) -> None:
        """Post what a GPU costs: by each rate of its price, then by its energy."""
        carries = remainders.carries
        for rate in charge.price.rates:
            used = charge.up if rate.while_up else charge.time
            cost, carries[rate.component] = accrue(rate.rate, used.amount, carries.get(rate.component))
            parts = remainders.split(rate.component, cost, used.weights)
            self.accrued += cost
            self._add_money(charge.gpu, rate.component, rate.provenance.price_basis, parts)
        energy = charge.price.energy
        if energy is not None:
            cost, carries[ENERGY] = accrue_energy(energy, charge.energy.amount, carries.get(ENERGY))
            parts = remainders.split(ENERGY, cost, charge.energy.weights)
            self.accrued += cost
            self._add_money(charge.gpu, ENERGY, energy.provenance.price_basis, parts)

    def _add_money(
        self, gpu: Gpu, component: str, price_basis: PriceBasis, parts: Mapping[OwnerPhase, Picodollars]
    ) -> None:
        for owner_phase, amount in parts.items():
            self.money.append(MoneyPosting(gpu, component, price_basis, owner_phase, amount))

    def add_time(
        self, gpu: Gpu, usage: Usage, chargeable: Mapping[OwnerPhase, Nanoseconds], *, unpriced: bool
    ) -> None:
        """Post the time of a GPU, and the part of it that is chargeable."""
        for owner_phase, duration in usage.time.items():
            posting = GpuTimePosting(
                gpu,
                owner_phase,
                duration=duration,
                unpriced=unpriced,
                chargeable=chargeable.get(owner_phase, 0),
                down=max(0, duration - usage.up.get(owner_phase, 0)),
            )
            self.gpu_times.append(posting)

    def add_unpriced(self, gpu: Gpu, usage: Usage, *, hourly_only: bool) -> None:
        """Post the usage of a GPU as waiting for a price: `hourly_only` for hourly rent alone."""
        waiting = UnpricedTime(
            gpu=gpu,
            day=self.day,
            start=self.start,
            end=self.end,
            usage=usage.by_owner_phase(),
            hourly_only=hourly_only,
        )
        self.unpriced.append(waiting)

    def segment(self, *, down: Nanoseconds = 0) -> Segment:
        """The segment of these postings, in which the host was `down` for so long."""
        return Segment(
            start=self.start,
            end=self.end,
            month=self.day[: len("2026-11")],
            day=self.day,
            accrued=self.accrued,
            money=tuple(self.money),
            gpu_times=tuple(self.gpu_times),
            unpriced=tuple(self.unpriced),
            down=down,
        )

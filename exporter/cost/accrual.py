"""Accrual: what GPUs cost in the interval that a tick charges. Pure.

`charge_interval`, in the second half of the file, finds the GPUs that pay for each part of the interval:

    observed      the GPUs on the host pay all rates
    gap           the GPUs on the host that are not new pay, and released GPUs as long as they were there
    since boot    the GPUs on the host pay hourly rent alone; their holders are not known

The first half posts one charge of a GPU. `late_accrual` uses it, too: it charges hardware that had no price
when its time passed, by `add_money` and `add_time`. What a charge posts:

    hardware                    GPU time   chargeable GPU time    unpriced usage   money
    priced at hourly rent       all        while the host is up   none             hardware, overheads
    priced otherwise            all        all                    none             hardware, overheads
    unpriced                    all        while the host is up   time, energy     overheads
    not in service              all        none                   none             overheads
    not counted (`UNCOUNTED`)   all        none                   time             none
    without hourly rent, late   all        none                   none             none

The last row is of time since a boot, whose hardware had no price and gets one without hourly rent. Money over
chargeable GPU time is the price of a GPU hour.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple, Self

from exporter.cost import gpu_usage
from exporter.cost.intervals import ChargedInterval, IntervalKind, IntervalPart
from exporter.cost.money import add_all, divide_fairly, part_between
from exporter.cost.policy import CostPolicy
from exporter.cost.postings import GpuTimePosting, GpuUse, MoneyPosting, OwnerPhase, Segment, UnpricedTime
from exporter.cost.state import Carry, GpuState
from exporter.readings import UNCOUNTED, Gpu
from exporter.tariff.calendar import day_of, month_of
from exporter.tariff.rate import EnergyPrice, HardwareStatus, Price, PriceBasis, Rate
from exporter.tariff.tariff import ENERGY, Tariff
from exporter.units import MILLIJOULES_PER_KILOWATT_HOUR, Instant, Millijoules, Nanoseconds, Picodollars

GPU_TIME: Final = "GPU time"
"""The key of GPU time in `GpuRemainders.rounding`. No component of cost has a space in its name."""

GPU_ENERGY: Final = "GPU energy"
"""The key of energy in `GpuRemainders.rounding`: energy in millijoules, not its cost."""


def accrue(rate: Rate, time: Nanoseconds, carry: Carry | None) -> tuple[Picodollars, Carry]:
    """Whole picodollars that accrued in a time of one or more GPUs, and the fraction that is left.

    Accruing over [a, b] and then [b, c] is exactly accruing over [a, c] while the rate stays. At a dollar an
    hour, one second accrues 277,777,777 picodollars and carries 7/9; the next 277,777,778 and carries 5/9.
    """
    return _whole_and_carry(rate.amount * time, rate.period, carry)


def accrue_energy(price: EnergyPrice, energy: Millijoules, carry: Carry | None) -> tuple[Picodollars, Carry]:
    """Whole picodollars that energy costs, and the fraction that is left, as `accrue`."""
    return _whole_and_carry(price.per_kilowatt_hour * energy, MILLIJOULES_PER_KILOWATT_HOUR, carry)


def _whole_and_carry(numerator: int, period: int, carry: Carry | None) -> tuple[Picodollars, Carry]:
    """The whole picodollars of `numerator / period` and a carry, and the new carry."""
    if carry is not None:
        # Exact while the period stays. A carry of another period loses less than 1 / period of a picodollar.
        numerator += carry.numerator * period // carry.period
    posted, rest = divmod(numerator, period)
    return posted, Carry(rest, period)


@dataclass(slots=True)
class GpuRemainders:
    """What the divisions of one GPU's money, time and energy leave to its next charge."""

    carries: dict[str, Carry] = field(default_factory=dict)
    """The fraction of a picodollar that accruing left, by component.

    It is money, and stored in the ledger. The next accrual of the component adds it, so that two short ticks
    accrue what a long one does.
    """
    rounding: dict[str, Mapping[OwnerPhase, int]] = field(default_factory=dict)
    """What rounding took from each owner and phase, by component, `GPU_TIME` and `GPU_ENERGY`.

    It is fairness, never money. A division is exact, but favors some owner by a unit. By the rounding the
    next division favors another owner.
    """

    @classmethod
    def of_slot(cls, slot: GpuState) -> "GpuRemainders":
        """What the charges of earlier ticks left in a slot."""
        return cls(dict(slot.carries), dict(slot.rounding))

    def divide(self, key: str, amount: int, weights: Mapping[OwnerPhase, int]) -> dict[OwnerPhase, int]:
        """The parts of an amount that are not zero. The rounding of the key changes for the next division.

        Owners without a weight keep their rounding.

        Raises:
            ValueError: an amount other than zero has no weights, and would be lost.
        """
        if amount == 0:
            return {}
        rounding_before = self.rounding.get(key, {})
        parts, rounding_after = divide_fairly(amount, weights, rounding_before)
        self.rounding[key] = {**rounding_before, **rounding_after}
        return {owner_phase: part for owner_phase, part in parts.items() if part}


@dataclass(frozen=True, slots=True)
class Usage:
    """Usage of one GPU by owner and phase. Owners that used nothing may be left out."""

    time: Mapping[OwnerPhase, Nanoseconds]
    """GPU time."""
    up: Mapping[OwnerPhase, Nanoseconds]
    """The part of the GPU time with the host up: hourly rent accrues in it."""
    energy: Mapping[OwnerPhase, Millijoules]
    """Energy."""

    @classmethod
    def sum_of(cls, usages: Iterable["Usage"]) -> "Usage":
        """The sum of several usages of the GPU."""
        time: dict[OwnerPhase, Nanoseconds] = {}
        up: dict[OwnerPhase, Nanoseconds] = {}
        energy: dict[OwnerPhase, Millijoules] = {}
        for usage in usages:
            add_all(time, usage.time)
            add_all(up, usage.up)
            add_all(energy, usage.energy)
        return cls(time, up, energy)

    def by_owner_phase(self) -> dict[OwnerPhase, GpuUse]:
        """What each owner used in each phase, without owners that used nothing."""
        used = {
            key: GpuUse(self.time.get(key, 0), self.up.get(key, 0), self.energy.get(key, 0))
            for key in {**self.time, **self.up, **self.energy}
        }
        return {key: use for key, use in used.items() if use.time or use.up or use.energy}

    def chargeable(self, price: Price) -> Mapping[OwnerPhase, Nanoseconds]:
        """The GPU time that counts in dollars per hour: each row of the table but that of `UNCOUNTED`."""
        if price.hardware is HardwareStatus.NOT_IN_SERVICE:
            return {}
        if price.hardware is HardwareStatus.UNPRICED or price.has_hourly_rent:
            return self.up
        if not price.rates:  # time since a boot costs hourly rent alone, and this hardware has none
            return {}
        return self.time


class ChargedUse(NamedTuple):
    """GPU time or energy that is charged, and the weights that divide its cost."""

    amount: Nanoseconds | Millijoules
    """Time or energy of all owners together."""
    weights: Mapping[OwnerPhase, int]
    """Weights by owner and phase; empty only where the amount is zero."""


class GpuCharge(NamedTuple):
    """What one GPU is charged for at one price, or several GPUs of one model that NVML never listed."""

    gpu: Gpu
    """The GPU, or `UNCOUNTED` for time of a host whose GPUs were not counted."""
    price: Price
    """The price of one GPU."""
    time: ChargedUse
    """GPU time, whether the host was up or down."""
    up: ChargedUse
    """GPU time with the host up, and the weights of its hourly rent. `usage` divides the time as `time`."""
    energy: ChargedUse
    """Energy that the GPU used."""

    def usage(self, remainders: GpuRemainders) -> Usage:
        """Divide time and energy over owners and phases. The remainders of the GPU change.

        Raises:
            ValueError: the charge has no time.
        """
        time = remainders.divide(GPU_TIME, self.time.amount, self.time.weights)
        # By the rounded times, not by weights: no owner has the host up for longer than its time.
        up, _rounding = divide_fairly(self.up.amount, time)
        energy = remainders.divide(GPU_ENERGY, self.energy.amount, self.energy.weights)
        return Usage(time, up, energy)


@dataclass(slots=True)
class SegmentPostings:
    """Postings of one segment; GPU after GPU is added to them."""

    start: Instant
    end: Instant
    day: str
    """The local day that the segment lies in, like 2026-11-30."""
    hourly_only: bool = False
    """Whether hourly rent alone is charged for the segment, as for time since a boot."""
    accrued: Picodollars = 0
    """Money of all GPUs, summed before it is divided over owners."""
    money: list[MoneyPosting] = field(default_factory=list)
    """Money by GPU, component, owner and phase."""
    gpu_times: list[GpuTimePosting] = field(default_factory=list)
    """GPU time by GPU, owner and phase."""
    unpriced: list[UnpricedTime] = field(default_factory=list)
    """Unpriced time and its energy, by GPU."""

    def add(self, charge: GpuCharge, remainders: GpuRemainders) -> None:
        """Post the time of a GPU, its unpriced usage and its money. The remainders of the GPU change."""
        usage = charge.usage(remainders)
        is_unpriced = charge.price.hardware is HardwareStatus.UNPRICED
        if is_unpriced:
            unpriced_time = UnpricedTime(
                gpu=charge.gpu,
                day=self.day,
                start=self.start,
                end=self.end,
                usage=usage.by_owner_phase(),
                hourly_only=self.hourly_only,
            )
            self.unpriced.append(unpriced_time)
        # `late_accrual` makes time of `UNCOUNTED` chargeable, once the number of GPUs is known.
        chargeable = {} if charge.gpu == UNCOUNTED else usage.chargeable(charge.price)
        self.add_time(charge.gpu, usage, chargeable, unpriced=is_unpriced)
        self.add_money(charge, remainders)

    def add_time(
        self, gpu: Gpu, usage: Usage, chargeable: Mapping[OwnerPhase, Nanoseconds], *, unpriced: bool
    ) -> None:
        """Post the time of a GPU, and the part of the time that this charge makes `chargeable`.

        A late charge leaves out what was posted as chargeable when the time passed.
        """
        for owner_phase, duration in usage.time.items():
            # A late charge spreads `time` and `up` apart over parts: `up` may be longer by rounding.
            down = max(0, duration - usage.up.get(owner_phase, 0))
            posting = GpuTimePosting(
                gpu,
                owner_phase,
                duration=duration,
                chargeable=chargeable.get(owner_phase, 0),
                unpriced=unpriced,
                down=down,
            )
            self.gpu_times.append(posting)

    def add_money(self, charge: GpuCharge, remainders: GpuRemainders) -> None:
        """Post the cost of a GPU: by each rate of its price, then of its energy. The remainders change."""
        for rate in charge.price.rates:
            used = charge.up if rate.while_up else charge.time
            cost, carry = accrue(rate.rate, used.amount, remainders.carries.get(rate.component))
            remainders.carries[rate.component] = carry
            self.accrued += cost
            parts = remainders.divide(rate.component, cost, used.weights)
            self._add_parts(charge.gpu, rate.component, rate.provenance.price_basis, parts)
        energy_price = charge.price.energy
        if energy_price is not None:
            used = charge.energy
            cost, carry = accrue_energy(energy_price, used.amount, remainders.carries.get(ENERGY))
            remainders.carries[ENERGY] = carry
            self.accrued += cost
            parts = remainders.divide(ENERGY, cost, used.weights)
            self._add_parts(charge.gpu, ENERGY, energy_price.provenance.price_basis, parts)

    def _add_parts(
        self, gpu: Gpu, component: str, price_basis: PriceBasis, parts: Mapping[OwnerPhase, Picodollars]
    ) -> None:
        """Post the parts of a cost."""
        for owner_phase, amount in parts.items():
            self.money.append(MoneyPosting(gpu, component, price_basis, owner_phase, amount))

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


@dataclass(frozen=True, slots=True)
class GpuToCharge:
    """A GPU that a tick may charge: which GPU pays, and what divides its cost."""

    slot: GpuState
    """The slot after the tick, still with what the charges of earlier ticks left."""
    payer: Gpu
    """The GPU that pays: for a gap the GPU in the slot before the gap, else the GPU in the slot now."""
    count: int
    """The number of GPUs, above 1 for several that NVML never listed: all of them pay."""
    is_new: bool
    """Whether the slot is in this tick for the first time."""
    is_listed: bool
    """Whether NVML lists the GPU in the tick."""
    by_time: Mapping[OwnerPhase, int]
    """Weights that divide the GPU's time over owners and phases; at least one is positive."""
    by_energy: Mapping[OwnerPhase, int]
    """Weights that divide the GPU's energy over owners and phases."""
    energy: Millijoules
    """Energy that the GPU drew in the tick; 0 for GPUs that NVML never listed."""

    def has_left(self, tariff: Tariff, at: Instant) -> bool:
        """Whether the GPU left the host with its retirement, and pays no more. A listed GPU stays."""
        return not self.is_listed and tariff.is_retired(self.payer, at)


class ReleasedGpus(NamedTuple):
    """GPUs that left the host in a gap, and pay for it as `intervals.charged_parts` says."""

    gpus: Sequence[GpuToCharge]
    """The GPUs, with their slots as before the gap."""
    until: Instant | None
    """Until when they pay; `None`: for all of the gap."""

    def pay_at(self, start: Instant) -> bool:
        """Whether they pay for a part of the gap that starts then."""
        return self.until is None or start < self.until


class IntervalCost(NamedTuple):
    """What the interval of a tick costs."""

    segments: tuple[Segment, ...]
    """A segment for each part of the interval, in order."""
    slots: Mapping[Gpu, GpuState]
    """The slots after the tick by the GPU in them, with what the charges of this tick left."""


class _PayingGpu(NamedTuple):
    """A GPU in the parts of one interval."""

    to_charge: GpuToCharge
    """Which GPU pays, and what divides its cost."""
    remainders: GpuRemainders
    """What the charges of earlier ticks left. The charge of each part changes it for the next part."""

    @classmethod
    def of(cls, gpu: GpuToCharge) -> Self:
        """A GPU before the first part, with what its slot has left of earlier charges."""
        return cls(gpu, GpuRemainders.of_slot(gpu.slot))

    def slot_after(self) -> GpuState:
        """The slot after the tick, with what the charges of the tick left."""
        return replace(
            self.to_charge.slot, carries=self.remainders.carries, rounding=self.remainders.rounding
        )


def charge_interval(
    interval: ChargedInterval,
    parts: Sequence[IntervalPart],
    policy: CostPolicy,
    *,
    gpus: Sequence[GpuToCharge],
    released: ReleasedGpus,
) -> IntervalCost:
    """Charge an interval to the GPUs of a host.

    Args:
        interval: the time that the tick charges.
        parts: the interval in order, each at one price of every GPU. Each becomes a segment.
        policy: prices, and the owners of servers.
        gpus: the GPUs on the host after the tick.
        released: GPUs that left the host in a gap, and pay for it.
    """
    staying = [_PayingGpu.of(gpu) for gpu in gpus]
    leaving = [_PayingGpu.of(gpu) for gpu in released.gpus]  # what their charges leave is dropped with them
    paying = staying
    if interval.kind is IntervalKind.GAP:  # nobody saw when a new GPU came: it pays from the next tick on
        paying = [gpu for gpu in staying if not gpu.to_charge.is_new]
    charging = _Charging(interval, policy)
    segments: list[Segment] = []
    for part in parts:
        paying_part = paying + leaving if released.pay_at(part.start) else paying
        segments.append(charging.charge_part(part, paying_part))
    if interval.kind is IntervalKind.SINCE_BOOT:
        # Time since a boot that no GPU is charged for is not metered.
        segments = [segment for segment in segments if segment.gpu_times]
    slots = {gpu.to_charge.slot.gpu: gpu.slot_after() for gpu in staying}
    return IntervalCost(tuple(segments), slots)


@dataclass(frozen=True, slots=True)
class _Charging:
    """Charges the parts of one interval, one after the other."""

    interval: ChargedInterval
    """The interval that the parts are of."""
    policy: CostPolicy
    """Prices, and the owners of servers."""

    def charge_part(self, part: IntervalPart, paying: Sequence[_PayingGpu]) -> Segment:
        """Charge a part of the interval to the GPUs that pay. The remainders of each GPU change."""
        tariff = self.policy.tariff
        gpus = [gpu for gpu in paying if not gpu.to_charge.has_left(tariff, part.start)]
        gpus_sharing = sum(gpu.to_charge.count for gpu in gpus)  # the overheads of the host
        postings = SegmentPostings(
            part.start,
            part.end,
            day=day_of(part.start, self.policy.zone).name,
            hourly_only=self.interval.kind is IntervalKind.SINCE_BOOT,
        )
        for gpu in gpus:
            price = self._price(gpu.to_charge.payer, part.start, gpus_sharing)
            if price is not None:
                postings.add(self._charge(gpu.to_charge, price, part), gpu.remainders)
        return postings.segment(down=part.end - part.start - part.up)

    def _price(self, gpu: Gpu, at: Instant, gpus_sharing: int) -> Price | None:
        """The price that a GPU is charged at; `None` for a GPU that is not charged for time since a boot."""
        tariff = self.policy.tariff
        price = tariff.price(gpu, at, month_of(at, self.policy.zone), gpus_sharing)  # with overheads
        if self.interval.kind is not IntervalKind.SINCE_BOOT:
            return price
        if price.has_hourly_rent:  # clouds bill it from the boot on
            return price.hourly_rent_alone()
        # Once the location of the host is known, it may give the GPU a price: a late charge takes the time.
        may_be_priced = price.hardware is HardwareStatus.UNPRICED and tariff.location_may_price(gpu)
        return price.hourly_rent_alone() if may_be_priced else None

    def _charge(self, gpu: GpuToCharge, price: Price, part: IntervalPart) -> GpuCharge:
        """What a GPU is charged for in a part of the interval."""
        by_time = gpu.by_time
        if self.interval.kind is IntervalKind.SINCE_BOOT:
            # The ledger began after this time: nobody knows its holders, and no energy of it was metered.
            by_time = gpu_usage.unallocated_weights(self.policy)
        # Energy is spread over the time in which it was drawn. The energies of all parts add up to all of it.
        energy = part_between(gpu.energy, part.drawn_before, part.drawn_until, part.drawn_in_all)
        return GpuCharge(
            gpu=gpu.payer,
            price=price,
            time=ChargedUse((part.end - part.start) * gpu.count, by_time),
            up=ChargedUse(part.up * gpu.count, by_time),
            energy=ChargedUse(energy, gpu.by_energy),
        )

"""Accrual: what GPUs cost in the interval that a tick charges. Pure.

The interval is the time since the last tick, a gap that no tick observed, or the time between a boot and the
first tick of a ledger. For each part of it and each GPU that pays for that part is posted:

    time       GPU time by owner and phase
    waiting    that time again, with its energy, where the hardware has no price yet
    money      hourly rent for the time with the host up, other rates for all of the time, and the energy

A price that waits for its hardware has overheads all the same, which accrue. `late_accrual` charges the
hardware for the time that waited, once it has a price.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from exporter.cost import gpu_usage
from exporter.cost.charges import ChargedUse, GpuCharge, SegmentPostings, Usage
from exporter.cost.intervals import ChargedInterval, IntervalKind, IntervalPart
from exporter.cost.money import GpuRemainders, divide
from exporter.cost.policy import CostPolicy
from exporter.cost.postings import OwnerPhase, Segment
from exporter.cost.state import GpuState
from exporter.readings import UNCOUNTED, Gpu
from exporter.tariff.calendar import day_of, month_of
from exporter.tariff.rate import HardwareStatus, Price
from exporter.tariff.tariff import Tariff
from exporter.units import Instant, Millijoules, Nanoseconds

GPU_TIME: Final = "GPU time"
"""The key of the rounding of GPU time, among those of components of cost, whose names have no space."""

UNPRICED_ENERGY: Final = "unpriced energy"
"""The key of the rounding of energy that waits for a price."""


@dataclass(frozen=True, slots=True)
class GpuToCharge:
    """A GPU that a tick may charge: who pays for it, and what its cost is divided by."""

    slot: GpuState
    """Its slot after the tick, still with the fractions of a picodollar that the last tick left."""
    payer: Gpu
    """The GPU that pays: in a gap the one that sat in the slot before it, else the one that sits there."""
    count: int
    """The number of GPUs, above 1 for several that NVML never listed: all of them pay."""
    seen_before: bool
    """False for a GPU that is new in the tick."""
    is_listed: bool
    """Whether NVML lists it in the tick."""
    by_time: Mapping[OwnerPhase, int]
    """Weights that divide its time over owners and phases; at least one is positive."""
    by_energy: Mapping[OwnerPhase, int]
    """Weights that divide its energy over owners and phases."""
    energy: Millijoules
    """Energy that it drew in the tick; 0 for GPUs that NVML never listed."""

    def has_left(self, tariff: Tariff, at: Instant) -> bool:
        """Whether it left the host with its retirement, and pays no more. A listed GPU stays."""
        return not self.is_listed and tariff.is_retired(self.payer, at)


class ReleasedGpus(NamedTuple):
    """GPUs that left the host in a gap, and pay for it."""

    gpus: Sequence[GpuToCharge]
    until: Instant | None
    """Until when they pay; `None`: for all of the gap."""

    def paying_at(self, start: Instant) -> Sequence[GpuToCharge]:
        """Those that pay for a part of the gap that starts then."""
        return self.gpus if self.until is None or start < self.until else ()


class IntervalCost(NamedTuple):
    """What the interval of a tick costs."""

    segments: tuple[Segment, ...]
    """The whole interval, in order."""
    slots: Mapping[Gpu, GpuState]
    """The slots after the tick by the GPU in them, with what the divisions of money left."""


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
        parts: the interval in order, each at one price of every GPU; it becomes a segment.
        policy: prices, and the owners of servers.
        gpus: GPUs that are on the host after the tick.
        released: GPUs that are charged, though they left the host in a gap.
    """
    # No two slots are of one GPU, whether they are on the host or released.
    remainders = {
        gpu.slot.gpu: GpuRemainders(dict(gpu.slot.carries), dict(gpu.slot.rounding))
        for gpu in (*gpus, *released.gpus)
    }
    charging = _Charging(interval, policy, remainders)
    # Nobody saw when in a gap a new GPU came, so that it pays from the next tick on.
    paying = [gpu for gpu in gpus if gpu.seen_before or interval.charges_new_gpus]
    segments = [charging.segment(part, [*paying, *released.paying_at(part.start)]) for part in parts]
    if interval.kind is IntervalKind.SINCE_BOOT:
        # Time since a boot that is charged to no GPU is not metered.
        segments = [segment for segment in segments if segment.gpu_times]
    slots: dict[Gpu, GpuState] = {}
    for gpu in gpus:
        left = remainders[gpu.slot.gpu]
        slots[gpu.slot.gpu] = replace(gpu.slot, carries=left.carries, rounding=left.rounding)
    return IntervalCost(tuple(segments), slots)


@dataclass(frozen=True, slots=True)
class _Charging:
    """Charges the parts of one interval, one after the other."""

    interval: ChargedInterval
    """The interval that the parts are of."""
    policy: CostPolicy
    """Prices, and the owners of servers."""
    remainders: Mapping[Gpu, GpuRemainders]
    """What divisions of money left, by the GPU in the slot; each part changes it for the next."""

    def segment(self, part: IntervalPart, paying: Sequence[GpuToCharge]) -> Segment:
        """Charge a part of the interval to the GPUs that pay for it, without those that were retired."""
        tariff = self.policy.tariff
        gpus = [gpu for gpu in paying if not gpu.has_left(tariff, part.start)]
        gpus_on_host = sum(gpu.count for gpu in gpus)  # an overhead of the host is divided by it
        day = day_of(part.start, self.policy.zone).name
        postings = SegmentPostings(part.start, part.end, day)
        for gpu in gpus:
            price = self._price(gpu.payer, part.start, gpus_on_host)
            if price is not None:
                self._post(gpu, price, part, postings)
        return postings.segment(down=part.length - part.up)

    def _price(self, gpu: Gpu, at: Instant, gpus_on_host: int) -> Price | None:
        """The price that a GPU is charged at; `None` where it is not charged.

        Time since a boot is charged hourly rent alone, as a cloud bills it from the boot on.
        """
        tariff = self.policy.tariff
        price = tariff.price(gpu, at, month_of(at, self.policy.zone), gpus_on_host)
        if self.interval.kind is not IntervalKind.SINCE_BOOT:
            return price
        hourly = price.hourly()
        if hourly.rates:
            return hourly
        # A GPU without a price may get hourly rent once the host's location is known: its time waits for it.
        may_become_hourly = not price.priced and tariff.waits_for_location(gpu)
        return hourly if may_become_hourly else None

    def _post(self, gpu: GpuToCharge, price: Price, part: IntervalPart, postings: SegmentPostings) -> None:
        """Post the time of a GPU in a part of the interval, and what it costs."""
        charge = self._charge(gpu, price, part)
        remainders = self.remainders[gpu.slot.gpu]
        time = remainders.split(GPU_TIME, charge.time.amount, charge.time.weights)
        # The host is up for all owners alike, so that their time divides it. Some owner has time: no part of
        # an interval is empty.
        usage = Usage(time, up=divide(charge.up.amount, time))
        if price.hardware is HardwareStatus.UNPRICED:  # the hardware has no price yet
            energy = remainders.split(UNPRICED_ENERGY, charge.energy.amount, charge.energy.weights)
            waiting = replace(usage, energy=energy)
            postings.add_unpriced(
                gpu.payer, waiting, hourly_only=self.interval.kind is IntervalKind.SINCE_BOOT
            )
        # Time that is owed, with or without its price yet. It is none before the GPUs are counted: a late
        # charge posts it once their number is known.
        chargeable: Mapping[OwnerPhase, Nanoseconds] = {}
        if gpu.payer != UNCOUNTED:
            chargeable = usage.chargeable(price)
        postings.add_time(gpu.payer, usage, chargeable, unpriced=price.hardware is HardwareStatus.UNPRICED)
        postings.charge(charge, remainders)

    def _charge(self, gpu: GpuToCharge, price: Price, part: IntervalPart) -> GpuCharge:
        """What a GPU is charged for in a part of the interval."""
        by_time = gpu.by_time
        if self.interval.kind is IntervalKind.SINCE_BOOT:
            # The ledger began after this time, so that nobody knows who held the GPU in it.
            by_time = gpu_usage.unallocated_weights(self.policy)
        return GpuCharge(
            gpu=gpu.payer,
            price=price,
            time=ChargedUse(part.length * gpu.count, by_time),
            up=ChargedUse(part.up * gpu.count, by_time),
            energy=ChargedUse(part.share_of_energy(gpu.energy), gpu.by_energy),
        )

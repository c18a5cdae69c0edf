"""Accrual: what GPUs cost in the interval that a tick charges. Pure.

Time of a GPU without a price is posted as time that waits; `late_accrual` charges it once it has one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from exporter.cost import gpu_usage
from exporter.cost.attribution import UNALLOCATED_SHARE
from exporter.cost.charges import ChargedUse, GpuCharge, SegmentPostings, Usage
from exporter.cost.gpu_usage import ShareUsage
from exporter.cost.intervals import ChargedInterval, IntervalPart
from exporter.cost.money import GpuRemainders, divide
from exporter.cost.policy import CostPolicy
from exporter.cost.postings import OwnerPhase, Segment
from exporter.cost.state import GpuState
from exporter.readings import UNCOUNTED, Gpu, GpuReading
from exporter.tariff.calendar import day_of, month_of
from exporter.tariff.rate import Price
from exporter.tariff.tariff import Tariff
from exporter.units import Instant, Millijoules

GPU_TIME: Final = "GPU time"
"""The key of the rounding of GPU time. No component has a name with a space."""

UNPRICED_ENERGY: Final = "unpriced energy"
"""The key of the rounding of energy that waits for a price."""


@dataclass(frozen=True, slots=True)
class GpuAccrual:
    """What one GPU is charged for in one tick."""

    slot: GpuState
    """Its slot after the tick, with the remainders of the last one."""
    charged: Gpu
    """The GPU in its slot at the time that the tick charges."""
    count: int
    """How many GPUs it stands for, which multiplies its time."""
    seen_before: bool
    """False for a GPU that is new in the tick."""
    reading: GpuReading | None
    """What NVML reports, `None` where it does not list the GPU."""
    by_time: Mapping[OwnerPhase, int]
    """Weights that divide its time."""
    by_energy: Mapping[OwnerPhase, int]
    """Weights that divide its energy."""
    energy: Millijoules
    """Energy that arrived in the tick."""
    energy_measured: bool
    """Whether its energy was measured."""
    implausible: bool
    """Whether its energy counter was refused."""

    def is_charged(self, at: Instant, tariff: Tariff) -> bool:
        """Whether it is charged at an instant: not once it is retired, unless NVML still lists it."""
        return self.reading is not None or not tariff.is_retired(self.charged, at)


class Accrued(NamedTuple):
    """What a tick costs."""

    segments: tuple[Segment, ...]
    """The whole interval, in order."""
    slots: Mapping[Gpu, GpuState]
    """The slots after the tick by the GPU in them, with what the divisions of money left."""


class Accrual:
    """Segments of one tick; remainders pass from each to the next."""

    def __init__(
        self,
        gpus: list[GpuAccrual],
        policy: CostPolicy,
        interval: ChargedInterval,
        parts: Sequence[IntervalPart],
        released: Sequence[GpuAccrual] = (),
        booted: Instant | None = None,
    ) -> None:
        """Charge an interval to the GPUs of a host.

        Args:
            gpus: GPUs that are on the host after the tick.
            policy: prices, and the owners of servers.
            interval: the time that the tick charges.
            parts: the interval in order, a segment each.
            released: GPUs that left the host in a gap, and are charged for it.
            booted: when `released` left the host; `None` where they are charged for the whole interval.
        """
        # No tick observed a gap: a GPU that came in it is charged from the next tick on. Nor did a tick
        # observe the time since a boot, but all GPUs are new then, and charged.
        charges_new = interval.observed or interval.hourly_only
        self._gpus = [gpu for gpu in gpus if gpu.seen_before or charges_new]
        self._released = released
        self._booted = booted
        self._policy = policy
        self._interval = interval
        self._parts = parts
        self._slots = [gpu.slot for gpu in gpus]
        self._remainders = {
            gpu.slot.gpu: GpuRemainders(dict(gpu.slot.carries), dict(gpu.slot.rounding))
            for gpu in (*gpus, *released)
        }
        unallocated = ShareUsage(UNALLOCATED_SHARE, busy=None)
        self._unallocated = gpu_usage.phase_weights([unallocated], {}, policy)
        """Weights of time since a boot: who held a GPU before the ledger began is not known."""

    def outcome(self) -> Accrued:
        """The segments, and the slots after them."""
        segments = [self._segment(part) for part in self._parts]
        if self._interval.hourly_only:
            # Time since a boot that is charged to no GPU is not metered.
            segments = [segment for segment in segments if segment.gpu_times]
        slots: dict[Gpu, GpuState] = {}
        for slot in self._slots:
            remainders = self._remainders[slot.gpu]
            slots[slot.gpu] = replace(slot, carries=remainders.carries, rounding=remainders.rounding)
        return Accrued(tuple(segments), slots)

    def _segment(self, part: IntervalPart) -> Segment:
        """Charge a part of the interval to the GPUs that the host has in it."""
        tariff = self._policy.tariff
        released = self._released if self._booted is None or part.start < self._booted else ()
        gpus = [gpu for gpu in (*self._gpus, *released) if gpu.is_charged(part.start, tariff)]
        gpus_on_host = sum(gpu.count for gpu in gpus)
        day = day_of(part.start, self._policy.zone).name
        postings = SegmentPostings(part.start, part.end, day)
        for gpu in gpus:
            price = self._price(gpu.charged, part.start, gpus_on_host)
            if price is not None:
                self._charge(gpu, price, part, postings)
        return postings.segment(down=part.length - part.up)

    def _price(self, gpu: Gpu, at: Instant, gpus_on_host: int) -> Price | None:
        """The price that a GPU is charged at; `None` where it is not charged.

        Time since a boot is charged hourly rent alone. Without a price it waits only where the location of
        the host may still bring such rent.
        """
        tariff = self._policy.tariff
        price = tariff.price(gpu, at, month_of(at, self._policy.zone), gpus_on_host)
        if not self._interval.hourly_only:
            return price
        hourly = price.hourly()
        may_become_hourly = not hourly.priced and tariff.waits_for_location(gpu)
        return hourly if hourly.rates or may_become_hourly else None

    def _charge(self, gpu: GpuAccrual, price: Price, part: IntervalPart, postings: SegmentPostings) -> None:
        """Post what a GPU costs in a part of the interval, and its time: also as unpriced without a price."""
        remainders = self._remainders[gpu.slot.gpu]
        by_time = self._unallocated if self._interval.hourly_only else gpu.by_time
        charge = GpuCharge(
            gpu=gpu.charged,
            price=price,
            time=ChargedUse(part.length * gpu.count, by_time),
            up=ChargedUse(part.up * gpu.count, by_time),  # within a tick a host is up for all owners alike
            energy=ChargedUse(part.share_of_energy(gpu.energy), gpu.by_energy),
        )
        time = remainders.split(GPU_TIME, charge.time.amount, by_time)
        usage = Usage(time, up=divide(charge.up.amount, time))
        postings.charge(charge, remainders)
        if price.waits:
            energy = remainders.split(UNPRICED_ENERGY, charge.energy.amount, gpu.by_energy)
            waiting = replace(usage, energy=energy)
            postings.add_unpriced(gpu.charged, waiting, hourly_only=self._interval.hourly_only)
        # What a host owes whose GPUs are not counted, a late charge posts once they are.
        chargeable = {} if gpu.charged == UNCOUNTED else usage.chargeable(price)
        postings.add_time(gpu.charged, usage, chargeable, priced=not price.waits)

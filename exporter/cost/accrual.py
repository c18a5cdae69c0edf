"""Accrual: what GPUs cost in an interval, at once or once a late price is known. Pure.

A late charge covers hardware only: overheads accrued when the time passed. It goes to the holders and phases
of that time.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Final, NamedTuple

from exporter.cost import gpu_usage
from exporter.cost.attribution import UNALLOCATED_SHARE
from exporter.cost.gpu_usage import ShareUsage
from exporter.cost.intervals import ChargedInterval, IntervalPart
from exporter.cost.money import add, add_all, divide, part_between, split
from exporter.cost.policy import CostPolicy
from exporter.cost.postings import (
    GpuTimePosting,
    GpuUse,
    LateCharges,
    MoneyPosting,
    OwnerPhase,
    Segment,
    UnpricedTime,
)
from exporter.cost.state import Carry, GpuState, State
from exporter.readings import UNCOUNTED, Gpu, GpuReading
from exporter.tariff.calendar import day_of, month_of
from exporter.tariff.rate import EnergyPrice, Price, Provenance, Rate
from exporter.tariff.tariff import ENERGY
from exporter.units import (
    MILLIJOULES_PER_KILOWATT_HOUR,
    NANOSECONDS_PER_MINUTE,
    Instant,
    Millijoules,
    Nanoseconds,
    Picodollars,
)


def accrue(rate: Rate, elapsed: Nanoseconds, carry: Carry | None) -> tuple[Picodollars, Carry]:
    """Whole picodollars that accrued, and the fraction that is left.

    Accruing over [a, b] and then [b, c] is exactly accruing over [a, c] while the rate stays. At a dollar an
    hour, one second accrues 277,777,777 picodollars and carries 7/9; the next 277,777,778 and carries 5/9.
    """
    return _divide(rate.amount * elapsed, rate.period, carry)


def accrue_energy(price: EnergyPrice, energy: Millijoules, carry: Carry | None) -> tuple[Picodollars, Carry]:
    """The cost of energy, as `accrue`."""
    return _divide(price.per_kilowatt_hour * energy, MILLIJOULES_PER_KILOWATT_HOUR, carry)


def _divide(numerator: int, period: int, carry: Carry | None) -> tuple[int, Carry]:
    if carry is not None:
        # A carry is a fraction of a picodollar: over another period it keeps its value.
        numerator += carry.numerator * period // carry.period
    posted, rest = divmod(numerator, period)
    return posted, Carry(rest, period)


GPU_TIME: Final = "GPU time"
"""The key of the rounding of GPU time. No component has a name with a space."""

UNPRICED_ENERGY: Final = "unpriced energy"
"""The key of the rounding of energy that waits for a price."""


@dataclass(slots=True)
class GpuRemainders:
    """Fractions of a picodollar that one GPU's postings leave.

    Money is whole picodollars, and two divisions leave a rest. An accrual (rate x time / period) leaves its
    carry, which the next accrual of the component adds: none is lost, so that two short ticks accrue what a
    long one does. A split over owners is exact, but favors somebody by a unit: the rounding of each owner
    remembers by how much, so that the next split favors another.
    """

    carries: dict[str, Carry] = field(default_factory=dict)
    """What accruals left, by component. It is money, and kept in the ledger."""
    rounding: dict[str, Mapping[OwnerPhase, int]] = field(default_factory=dict)
    """What splits took from each owner and phase, by component. It is fairness, never money."""

    def split(
        self,
        component: str,
        amount: int,
        weights: Mapping[OwnerPhase, int],
    ) -> dict[OwnerPhase, int]:
        """The parts of an amount that are not zero. Keys without a weight keep their rounding."""
        before = self.rounding.get(component, {})
        parts, after = split(amount, weights, before)
        self.rounding[component] = {**before, **after}
        return {key: part for key, part in parts.items() if part}


class _GpuCharge(NamedTuple):
    """Time and energy that one GPU is charged for, and the weights that divide its money.

    Without weights nothing accrues.
    """

    gpu: Gpu
    """The GPU, or `UNCOUNTED` for time of a host whose GPUs were not read."""
    price: Price
    """The price of this time."""
    time: Nanoseconds
    """GPU time of all owners."""
    up: Nanoseconds
    """GPU time of all owners in which hourly rent accrues."""
    energy: Millijoules
    """Energy that the GPU used."""
    by_time: Mapping[OwnerPhase, int]
    """Weights of what accrues over all time."""
    by_up: Mapping[OwnerPhase, int]
    """Weights of hourly rent."""
    by_energy: Mapping[OwnerPhase, int]
    """Weights of the cost of energy."""


def _chargeable(
    price: Price,
    time: Mapping[OwnerPhase, Nanoseconds],
    up: Mapping[OwnerPhase, Nanoseconds],
    *,
    hourly_only: bool,
) -> Mapping[OwnerPhase, Nanoseconds]:
    """The GPU time that is owed at a price, of all its time and the part with the host up.

    Rent by the hour, and time that waits for a price, are owed for time with the host up. Before owned
    hardware is in service nothing is owed.
    """
    if price.waits or price.while_up:
        return up
    return time if price.priced and not hourly_only else {}


@dataclass(slots=True)
class _SegmentPostings:
    """Postings of one segment, GPU by GPU."""

    accrued: Picodollars = 0
    """Money of all GPUs, summed before anything is split."""
    money: list[MoneyPosting] = field(default_factory=list)
    """Money by GPU, component, owner and phase."""
    time: list[GpuTimePosting] = field(default_factory=list)
    """GPU time by GPU, owner and phase."""

    def charge(self, charge: _GpuCharge, remainders: GpuRemainders) -> None:
        """Post each rate of a GPU, then its energy."""
        carries = remainders.carries
        for rate in charge.price.rates:
            duration = charge.up if rate.while_up else charge.time
            weights = charge.by_up if rate.while_up else charge.by_time
            accrued = accrue(rate.rate, duration, carries.get(rate.component))
            self._post(charge.gpu, rate.component, rate.provenance, accrued, weights, remainders)
        energy = charge.price.energy
        if energy is not None:
            accrued = accrue_energy(energy, charge.energy, carries.get(ENERGY))
            self._post(charge.gpu, ENERGY, energy.provenance, accrued, charge.by_energy, remainders)

    def add_time(
        self,
        gpu: Gpu,
        time: Mapping[OwnerPhase, Nanoseconds],
        up: Mapping[OwnerPhase, Nanoseconds],
        chargeable: Mapping[OwnerPhase, Nanoseconds],
        *,
        priced: bool,
    ) -> None:
        """Post GPU time, of which `up` is with the host up."""
        for key, duration in time.items():
            down = max(0, duration - up.get(key, 0))
            posting = GpuTimePosting(
                gpu, key, duration=duration, priced=priced, chargeable=chargeable.get(key, 0), down=down
            )
            self.time.append(posting)

    def _post(
        self,
        gpu: Gpu,
        component: str,
        provenance: Provenance,
        accrued: tuple[Picodollars, Carry],
        weights: Mapping[OwnerPhase, int],
        remainders: GpuRemainders,
    ) -> None:
        amount, remainders.carries[component] = accrued
        self.accrued += amount
        if amount or weights:
            basis = provenance.price_basis
            for key, part in remainders.split(component, amount, weights).items():
                self.money.append(MoneyPosting(gpu, component, basis, key, part))

    def segment(
        self,
        start: Instant,
        end: Instant,
        day: str,
        unpriced: Iterable[UnpricedTime] = (),
        down: Nanoseconds = 0,
    ) -> Segment:
        """The segment of these postings, inside one local day."""
        money, time = tuple(self.money), tuple(self.time)
        return Segment(start, end, day[:7], day, self.accrued, money, time, tuple(unpriced), down)


@dataclass(frozen=True, slots=True)
class GpuAccrual:
    """One GPU in one tick."""

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
        """Charge `gpus` and, until `booted` where that is given, GPUs of `released` slots."""
        # A GPU that is new after a gap pays from now on; a ledger that begins at the boot never saw one.
        any_gpu = interval.observed or interval.hourly_only
        self._gpus = [gpu for gpu in gpus if gpu.seen_before or any_gpu]
        self._released = released
        self._slots = {gpu.slot.gpu: gpu.slot for gpu in gpus}
        self._remainders = {
            gpu.slot.gpu: GpuRemainders(dict(gpu.slot.carries), dict(gpu.slot.rounding))
            for gpu in (*gpus, *released)
        }
        self._booted = booted
        self._policy = policy
        self._hourly_only = interval.hourly_only
        self._parts = parts
        unallocated = (ShareUsage(UNALLOCATED_SHARE, None),) if interval.hourly_only else ()
        self._unallocated = gpu_usage.phase_weights(unallocated, {}, policy)

    def outcome(self) -> Accrued:
        """The segments, and the slots after them."""
        segments = [self._segment(part) for part in self._parts]
        # Time since boot without hourly rent is not metered.
        metered = tuple(segment for segment in segments if segment.gpu_times or not self._hourly_only)
        slots: dict[Gpu, GpuState] = {}
        for gpu, slot in self._slots.items():
            remainders = self._remainders[gpu]
            slots[gpu] = replace(slot, carries=remainders.carries, rounding=remainders.rounding)
        return Accrued(metered, slots)

    def _segment(self, part: IntervalPart) -> Segment:
        tariff = self._policy.tariff
        start = part.start
        length = part.end - start
        until_boot = self._released if self._booted is None or start < self._booted else ()
        # A retirement holds until the GPU is read.
        gpus = [
            gpu
            for gpu in (*self._gpus, *until_boot)
            if gpu.reading is not None or not tariff.is_retired(gpu.charged, start)
        ]
        gpus_on_host = sum(gpu.count for gpu in gpus)
        month = month_of(start, self._policy.zone)
        day = day_of(start, self._policy.zone).name
        postings = _SegmentPostings()
        unpriced: list[UnpricedTime] = []
        for gpu in gpus:
            price = self._price(gpu.charged, tariff.price(gpu.charged, start, month, gpus_on_host))
            if price is None:
                continue
            remainders = self._remainders[gpu.slot.gpu]
            by_time = self._unallocated or gpu.by_time
            times = remainders.split(GPU_TIME, length * gpu.count, by_time)
            ups = times if part.up == length else divide(part.up * gpu.count, times)
            energy = part_between(gpu.energy, part.drawn_before, part.drawn_until, part.drawn_in_all)
            if price.waits:
                energies = remainders.split(UNPRICED_ENERGY, energy, gpu.by_energy)
                usage = {
                    key: GpuUse(times.get(key, 0), ups.get(key, 0), energies.get(key, 0))
                    for key in {**times, **energies}
                }
                unpriced.append(
                    UnpricedTime(gpu.charged, day, start, part.end, usage, hourly_only=self._hourly_only)
                )
            charge = _GpuCharge(
                gpu=gpu.charged,
                price=price,
                time=length * gpu.count,
                up=part.up * gpu.count,
                energy=energy,
                by_time=by_time,
                by_up=by_time,  # within a tick a host is up for all owners alike
                by_energy=gpu.by_energy,
            )
            postings.charge(charge, remainders)
            chargeable: Mapping[OwnerPhase, Nanoseconds] = {}
            if gpu.charged != UNCOUNTED:  # how many GPUs it is time of shows when they are charged
                chargeable = _chargeable(price, times, ups, hourly_only=self._hourly_only)
            postings.add_time(gpu.charged, times, ups, chargeable, priced=not price.waits)
        return postings.segment(start, part.end, day, unpriced=unpriced, down=length - part.up)

    def _price(self, gpu: Gpu, price: Price) -> Price | None:
        """The part of a price that this interval is charged at; `None` where it is not charged to the GPU."""
        if not self._hourly_only:
            return price
        hourly = price.hourly()
        # A location that is not known yet may bring a price by the hour; nothing else does.
        if not hourly.rates and (hourly.priced or not self._policy.tariff.waits_for_location(gpu)):
            return None
        return hourly


CHARGED_BY_MINUTE: Final = 62 * NANOSECONDS_PER_MINUTE
"""Late charges of the last so much time are by the minute, since quotients cover the last 60 minutes."""

NOTHING_OWED: Final = Price((), None, priced=False, in_service=False)
"""The price of a GPU after it was retired."""


@dataclass(slots=True)
class _Usage:
    """Usage of one GPU, or what is left of it."""

    time: dict[OwnerPhase, int] = field(default_factory=dict)
    """GPU time by owner and phase."""
    up: dict[OwnerPhase, int] = field(default_factory=dict)
    """GPU time with the host up, by owner and phase."""
    energy: dict[OwnerPhase, int] = field(default_factory=dict)
    """Energy by owner and phase."""

    def add(self, other: "_Usage") -> None:
        add_all(self.time, other.time)
        add_all(self.up, other.up)
        add_all(self.energy, other.energy)

    def by_key(self) -> dict[OwnerPhase, GpuUse]:
        """Usage of those that used anything."""
        used = {
            key: GpuUse(self.time.get(key, 0), self.up.get(key, 0), self.energy.get(key, 0))
            for key in {**self.time, **self.up, **self.energy}
        }
        return {key: use for key, use in used.items() if use.time or use.up or use.energy}


class _UsagePool:
    """An amount by owner and phase, taken out part by part. No rounding adds or loses any of it."""

    def __init__(self, amounts: dict[OwnerPhase, int], length: Nanoseconds) -> None:
        """Spread `amounts` evenly over a time of this length."""
        self._left = amounts
        self._total = sum(amounts.values())
        self._length = length
        self._taken = 0

    def take_until(self, end: Nanoseconds) -> dict[OwnerPhase, int]:
        """Take the part from the last end to this one, in proportion to what is left to each key."""
        amount = self._total * end // self._length - self._taken
        if amount <= 0:
            return {}
        self._taken += amount
        # At most what each has: a part is rounded up only where a remainder is left.
        parts = divide(amount, self._left)
        for key, part in parts.items():
            self._left[key] -= part
        return {key: part for key, part in parts.items() if part}


class _ChargedGpu(NamedTuple):
    """A GPU at whose price unpriced time is charged."""

    gpu: Gpu
    """The GPU, or the model that NVML never listed."""
    number: int
    """How many GPUs it stands for."""
    remainders: GpuRemainders
    """Remainders of its late postings."""


class _PricedGpu(NamedTuple):
    """A GPU at whose price a part of unpriced time is charged."""

    charged: _ChargedGpu
    price: Price
    """The price of one GPU in that part."""


class _Cut(NamedTuple):
    """A part of unpriced time with one price of each GPU."""

    start: Instant
    end: Instant
    gpus: list[_PricedGpu]
    """The GPUs that it is time of, empty where they are not counted yet."""

    @property
    def waits(self) -> bool:
        """Whether it goes on waiting: for a price, or for the number of GPUs."""
        return not self.gpus or any(gpu.price.waits for gpu in self.gpus)


def charge_late(
    state: State, unpriced: Iterable[UnpricedTime], policy: CostPolicy, now: Instant
) -> tuple[State, LateCharges]:
    """Charge unpriced time that has a price under this policy.

    The state gets the carries and `accrued`. Carries of a GPU that it does not know are dropped.
    A price that begins inside an unpriced time divides it evenly: nothing finer was recorded.

    Args:
        state: as of the tick that posts this.
        unpriced: times that wait; those that are charged from must not be given again.
        policy: prices; owners stay those that were recorded.
        now: the tick's wall time.
    """
    accrual = _LateAccrual(state, policy, now)
    for waiting in unpriced:
        accrual.charge(waiting)
    return accrual.outcome()


class _LateAccrual:
    """Segments of unpriced time, one time after the other; remainders pass from each to the next."""

    def __init__(self, state: State, policy: CostPolicy, now: Instant) -> None:
        self._state = state
        self._policy = policy
        self._now = now
        self._remainders: dict[str, GpuRemainders] = {}
        self._segments: list[Segment] = []
        self._left: list[UnpricedTime] = []

    def outcome(self) -> tuple[State, LateCharges]:
        gpus = {
            uuid: replace(gpu, carries=self._remainders[uuid].carries) if uuid in self._remainders else gpu
            for uuid, gpu in self._state.gpus.items()
        }
        accrued = self._state.accrued + sum(segment.accrued for segment in self._segments)
        state = replace(self._state, gpus=gpus, accrued=accrued)
        return state, LateCharges(tuple(self._segments), tuple(self._left))

    def charge(self, waiting: UnpricedTime) -> None:
        cuts = self._cuts(waiting)
        if all(cut.waits for cut in cuts):
            return
        length = max(1, waiting.end - waiting.start)
        time = _UsagePool({key: used.time for key, used in waiting.usage.items()}, length)
        up = _UsagePool({key: used.up for key, used in waiting.usage.items()}, length)
        energy = _UsagePool({key: used.energy for key, used in waiting.usage.items()}, length)
        left = _Usage()
        left_until = waiting.start
        for cut in cuts:
            end = length if cut.end >= waiting.end else cut.end - waiting.start
            part = _Usage(time.take_until(end), up.take_until(end), energy.take_until(end))
            if cut.waits:
                left_until = cut.end
                left.add(part)
            else:
                self._segments.append(self._segment(waiting, cut, part))
        self._left.append(replace(waiting, end=left_until, usage=left.by_key()))

    def _cuts(self, waiting: UnpricedTime) -> list[_Cut]:
        """The parts of unpriced time: each is at one price, and inside one minute where it is recent."""
        bounds = [(waiting.start, waiting.end)]
        if waiting.end > waiting.start:
            recent = max(waiting.start, self._now - CHARGED_BY_MINUTE)
            since_minute = recent % NANOSECONDS_PER_MINUTE
            first_minute = recent - since_minute + NANOSECONDS_PER_MINUTE if since_minute else recent
            minutes = range(first_minute, waiting.end, NANOSECONDS_PER_MINUTE)
            changes = self._policy.tariff.changes(waiting.start, waiting.end)
            bounds = list(pairwise(sorted({waiting.start, waiting.end, *changes, *minutes})))
        gpus = self._host if waiting.gpu == UNCOUNTED else [self._charged_gpu(waiting.gpu)]
        cuts: list[_Cut] = []
        for start, end in bounds:
            priced = [_PricedGpu(gpu, self._price(waiting, gpu.gpu, start)) for gpu in gpus]
            cuts.append(_Cut(start, end, priced))
        return cuts

    @cached_property
    def _host(self) -> list[_ChargedGpu]:
        """The GPUs of the host, which pay for time before their number was known; none until it is."""
        unseen = self._state.unseen
        if UNCOUNTED.gpu_model in unseen:
            return []
        slots = [*sorted(self._state.gpus.items()), *sorted(unseen.items())]
        return [_ChargedGpu(slot.gpu, slot.count, GpuRemainders()) for _, slot in slots]

    def _charged_gpu(self, gpu: Gpu) -> _ChargedGpu:
        """A GPU that pays its own time: its remainders go on."""
        if gpu.uuid not in self._remainders:
            slot = self._state.gpus.get(gpu.uuid)
            self._remainders[gpu.uuid] = GpuRemainders({} if slot is None else dict(slot.carries))
        return _ChargedGpu(gpu, 1, self._remainders[gpu.uuid])

    def _price(self, waiting: UnpricedTime, gpu: Gpu, at: Instant) -> Price:
        tariff = self._policy.tariff
        if waiting.gpu == UNCOUNTED:
            month = month_of(at, self._policy.zone)
            price = tariff.price(gpu, at, month, sum(charged.number for charged in self._host))
        elif gpu.uuid not in self._state.gpus and tariff.is_retired(gpu, at):
            return NOTHING_OWED
        else:
            price = tariff.hardware_price(gpu, at)
        return price.hourly() if waiting.hourly_only else price

    def _segment(self, waiting: UnpricedTime, cut: _Cut, usage: _Usage) -> Segment:
        """Charge a part of unpriced time to each GPU that it is time of."""
        postings = _SegmentPostings()
        chargeable: dict[OwnerPhase, Nanoseconds] = {}
        for charged, price in cut.gpus:
            charge = _GpuCharge(
                gpu=waiting.gpu,
                price=price,
                time=sum(usage.time.values()) * charged.number,
                up=sum(usage.up.values()) * charged.number,
                energy=sum(usage.energy.values()),
                by_time=usage.time,
                by_up=usage.up,
                by_energy=usage.energy,
            )
            postings.charge(charge, charged.remainders)
            of_gpu = _chargeable(price, usage.time, usage.up, hourly_only=waiting.hourly_only)
            for key, time in of_gpu.items():
                add(chargeable, key, time * charged.number)
        if waiting.gpu != UNCOUNTED:
            # While it waited, time with the host up was posted as owed. What is posted is never taken back.
            chargeable = {key: max(0, time - usage.up.get(key, 0)) for key, time in chargeable.items()}
        postings.add_time(waiting.gpu, usage.time, usage.up, chargeable, priced=True)
        return postings.segment(cut.start, cut.end, waiting.day)

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
from exporter.cost.money import add_all, part_between, split
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


TIME: Final = ""
"""The key, among components, of the rounding of GPU time."""

JOULES: Final = " "
"""The key of the rounding of energy that has no price."""


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
    time: Mapping[OwnerPhase, Nanoseconds]
    """GPU time by owner and phase."""
    up: Mapping[OwnerPhase, Nanoseconds]
    """The part of `time` that hourly rent accrues over."""
    energy: Millijoules
    """Energy that the GPU used."""
    by_time: Mapping[OwnerPhase, int]
    """Weights of what accrues over all time."""
    by_up: Mapping[OwnerPhase, int]
    """Weights of hourly rent."""
    by_energy: Mapping[OwnerPhase, int]
    """Weights of the cost of energy."""
    posted_before: Mapping[OwnerPhase, Nanoseconds]
    """The part of `time` that was posted as owed while it waited for a price."""


@dataclass(frozen=True, slots=True)
class _LateGpu:
    """One GPU, or several of a model, at the price of a late charge."""

    gpu: Gpu
    """The GPU, or the model that NVML never listed."""
    count: int
    """How many GPUs it stands for."""
    price: Price
    """The price of each."""


@dataclass(slots=True)
class _SegmentPostings:
    """Postings of one segment, GPU by GPU."""

    hourly_only: bool
    """Whether nothing but hourly rent is owed for it."""
    accrued: Picodollars = 0
    """Money of all GPUs, summed before anything is split."""
    money: list[MoneyPosting] = field(default_factory=list)
    """Money by GPU, component, owner and phase."""
    time: list[GpuTimePosting] = field(default_factory=list)
    """GPU time by GPU, owner and phase."""

    def charge(self, charge: _GpuCharge, remainders: GpuRemainders) -> None:
        """Post the time of a GPU, then each rate, then its energy."""
        price = charge.price
        for key, time in charge.time.items():
            down = time - min(time, charge.up.get(key, 0))
            if charge.gpu == UNCOUNTED:  # how many GPUs it is time of shows when they are charged
                unowed = time
            elif price.waits or price.while_up:
                unowed = down
            else:
                unowed = 0 if price.priced and not self.hourly_only else time
            posting = GpuTimePosting(
                charge.gpu,
                key,
                duration=time,
                priced=not price.waits,
                down=down,
                unowed=unowed,
                posted_before=min(time, charge.posted_before.get(key, 0)),
            )
            self.time.append(posting)
        self.charge_rates(charge, remainders)

    def charge_rates(self, charge: _GpuCharge, remainders: GpuRemainders) -> None:
        """Post each rate of a GPU, then its energy."""
        time = sum(charge.time.values())
        up = sum(charge.up.values())
        carries = remainders.carries
        for rate in charge.price.rates:
            duration = up if rate.while_up else time
            weights = charge.by_up if rate.while_up else charge.by_time
            accrued = accrue(rate.rate, duration, carries.get(rate.component))
            self._post(charge.gpu, rate.component, rate.provenance, accrued, weights, remainders)
        energy = charge.price.energy
        if energy is not None:
            accrued = accrue_energy(energy, charge.energy, carries.get(ENERGY))
            self._post(charge.gpu, ENERGY, energy.provenance, accrued, charge.by_energy, remainders)

    def charge_host_time(
        self,
        time: Mapping[OwnerPhase, Nanoseconds],
        up: Mapping[OwnerPhase, Nanoseconds],
        gpus: Iterable[tuple[_LateGpu, GpuRemainders]],
    ) -> None:
        """Post time of a host that waited for the number of its GPUs, at the price of each of them."""
        chargeable: dict[OwnerPhase, Nanoseconds] = {}
        for gpu, remainders in gpus:
            price = gpu.price
            times = {key: part * gpu.count for key, part in time.items()}
            ups = {key: part * gpu.count for key, part in up.items()}
            charge = _GpuCharge(
                gpu=UNCOUNTED,
                price=price,
                time=times,
                up=ups,
                energy=0,
                by_time=times,
                by_up=ups,
                by_energy={},
                posted_before={},
            )
            self.charge_rates(charge, remainders)
            if price.priced and price.rates:
                add_all(chargeable, ups if price.while_up else times)
        for key, passed in time.items():
            down = passed - min(passed, up.get(key, 0))
            # One hour of a host of 8 GPUs owes 8 GPU hours, which leaves -7.
            unowed = passed - chargeable.get(key, 0)
            self.time.append(
                GpuTimePosting(UNCOUNTED, key, duration=passed, priced=True, down=down, unowed=unowed)
            )

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

    state: GpuState
    """Its slot after the tick."""
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
    remainders: GpuRemainders
    """Remainders of its postings, which each segment advances."""


class Accrual:
    """Segments of one tick; remainders pass from each to the next."""

    def __init__(
        self,
        gpus: list[GpuAccrual],
        policy: CostPolicy,
        interval: ChargedInterval,
        parts: Sequence[IntervalPart],
        former: Sequence[GpuAccrual] = (),
        booted: Instant | None = None,
    ) -> None:
        """Charge `gpus` and, until `booted` where that is given, `former` ones that the host has no more."""
        # A GPU that is new after a gap pays from now on; a ledger that begins at the boot never saw one.
        any_gpu = interval.observed or interval.hourly_only
        self._gpus = [gpu for gpu in gpus if gpu.seen_before or any_gpu]
        self._former = former
        self._booted = booted
        self._policy = policy
        self._hourly_only = interval.hourly_only
        self._parts = parts
        unallocated = (ShareUsage(UNALLOCATED_SHARE, None),) if interval.hourly_only else ()
        self._unallocated = gpu_usage.phase_weights(unallocated, {}, policy)

    def segments(self) -> tuple[Segment, ...]:
        """The whole interval, in order."""
        segments = map(self._segment, self._parts)
        # Time since boot without hourly rent is not metered.
        return tuple(segment for segment in segments if segment.gpu_times or not self._hourly_only)

    def _segment(self, part: IntervalPart) -> Segment:
        tariff = self._policy.tariff
        start = part.start
        length = part.end - start
        former = self._former if self._booted is None or start < self._booted else ()
        # A retirement holds until the GPU is read.
        gpus = [
            gpu
            for gpu in (*self._gpus, *former)
            if gpu.reading is not None or not tariff.has_left(gpu.charged, start)
        ]
        gpus_on_host = sum(gpu.count for gpu in gpus)
        month = month_of(start, self._policy.zone)
        day = day_of(start, self._policy.zone).name
        postings = _SegmentPostings(self._hourly_only)
        unpriced: list[UnpricedTime] = []
        for gpu in gpus:
            price = self._price(gpu.charged, tariff.price(gpu.charged, start, month, gpus_on_host))
            if price is None:
                continue
            by_time = self._unallocated or gpu.by_time
            times = gpu.remainders.split(TIME, length * gpu.count, by_time)
            ups = times if part.up == length else split(part.up * gpu.count, times)[0]
            energy = part_between(gpu.energy, part.drawn_before, part.drawn_until, part.drawn_in_all)
            if price.waits:
                energies = gpu.remainders.split(JOULES, energy, gpu.by_energy)
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
                time=times,
                up=ups,
                energy=energy,
                by_time=by_time,
                by_up=by_time,  # within a tick a host is up for all owners alike
                by_energy=gpu.by_energy,
                posted_before={},
            )
            postings.charge(charge, gpu.remainders)
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

NO_USE: Final = GpuUse(0, 0, 0)

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
        return {key: use for key, use in used.items() if use != NO_USE}


class _UsagePool:
    """An amount by owner and phase, taken out part by part. No rounding adds or loses any of it."""

    def __init__(self, amounts: dict[OwnerPhase, int]) -> None:
        self._left = amounts
        self._total = sum(amounts.values())

    def take(self, start: Nanoseconds, end: Nanoseconds, length: Nanoseconds) -> dict[OwnerPhase, int]:
        """Take the part of [start, end), in proportion to what is left to each owner and phase."""
        amount = part_between(self._total, start, end, length)
        if amount <= 0:
            return {}
        # At most what each has: a part is rounded up only where a remainder is left.
        parts, _ = split(amount, self._left)
        for key, part in parts.items():
            self._left[key] -= part
        return {key: part for key, part in parts.items() if part}


class _Cut(NamedTuple):
    """A part of unpriced time with one price of each GPU."""

    start: Instant
    end: Instant
    gpus: list[_LateGpu]
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
        time = _UsagePool({key: used.time for key, used in waiting.usage.items()})
        up = _UsagePool({key: used.up for key, used in waiting.usage.items()})
        energy = _UsagePool({key: used.energy for key, used in waiting.usage.items()})
        length = max(1, waiting.end - waiting.start)
        left = _Usage()
        left_until = waiting.start
        for cut in cuts:
            start = cut.start - waiting.start
            end = length if cut.end >= waiting.end else cut.end - waiting.start
            part = _Usage(
                time.take(start, end, length), up.take(start, end, length), energy.take(start, end, length)
            )
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
            first_minute = recent + -recent % NANOSECONDS_PER_MINUTE
            minutes = range(first_minute, waiting.end, NANOSECONDS_PER_MINUTE)
            changes = self._policy.tariff.changes(waiting.start, waiting.end)
            bounds = list(pairwise(sorted({waiting.start, waiting.end, *changes, *minutes})))
        gpus = self._gpus_of_host if waiting.gpu == UNCOUNTED else ((waiting.gpu, 1),)
        cuts: list[_Cut] = []
        for start, end in bounds:
            priced = [_LateGpu(gpu, count, self._price(waiting, gpu, start)) for gpu, count in gpus]
            cuts.append(_Cut(start, end, priced))
        return cuts

    @cached_property
    def _gpus_of_host(self) -> tuple[tuple[Gpu, int], ...]:
        """The GPUs of a host, by the first read of them, and how many each stands for; none before."""
        unseen = self._state.unseen
        if UNCOUNTED.gpu_model in unseen:
            return ()
        listed = [gpu.gpu for _, gpu in sorted(self._state.gpus.items())]
        return (*((gpu, 1) for gpu in listed), *((gpu.gpu, gpu.count) for _, gpu in sorted(unseen.items())))

    @cached_property
    def _host_remainders(self) -> list[GpuRemainders]:
        """Remainders of the time that was uncounted, for each of the GPUs of the host."""
        return [GpuRemainders() for _ in self._gpus_of_host]

    def _price(self, waiting: UnpricedTime, gpu: Gpu, at: Instant) -> Price:
        tariff = self._policy.tariff
        if waiting.gpu == UNCOUNTED:
            month = month_of(at, self._policy.zone)
            price = tariff.price(gpu, at, month, sum(count for _, count in self._gpus_of_host))
        elif gpu.uuid not in self._state.gpus and tariff.has_left(gpu, at):
            return NOTHING_OWED
        else:
            price = tariff.hardware_price(gpu, at)
        return price.hourly() if waiting.hourly_only else price

    def _segment(self, waiting: UnpricedTime, cut: _Cut, usage: _Usage) -> Segment:
        postings = _SegmentPostings(waiting.hourly_only)
        if waiting.gpu == UNCOUNTED:
            gpus = zip(cut.gpus, self._host_remainders, strict=True)
            postings.charge_host_time(usage.time, usage.up, gpus)
        else:
            charge = _GpuCharge(
                gpu=waiting.gpu,
                price=cut.gpus[0].price,
                time=usage.time,
                up=usage.up,
                energy=sum(usage.energy.values()),
                by_time=usage.time,
                by_up=usage.up,
                by_energy=usage.energy,
                posted_before=usage.up,  # its up time was posted as owed while it waited
            )
            postings.charge(charge, self._remainders_of(waiting.gpu.uuid))
        return postings.segment(cut.start, cut.end, waiting.day)

    def _remainders_of(self, uuid: str) -> GpuRemainders:
        if uuid not in self._remainders:
            gpu = self._state.gpus.get(uuid)
            self._remainders[uuid] = GpuRemainders({} if gpu is None else dict(gpu.carries))
        return self._remainders[uuid]

"""Accrual: what GPUs cost in an interval, at once or once a late price is known. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final
from zoneinfo import ZoneInfo

from exporter.cost import gpu_usage
from exporter.cost.attribution import UNALLOCATED_SHARE
from exporter.cost.gpu_usage import ShareUsage
from exporter.cost.intervals import ChargedInterval
from exporter.cost.money import accrue, accrue_energy, split
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
from exporter.readings import Gpu, GpuReading
from exporter.tariff.calendar import day_of, month_of
from exporter.tariff.rate import Price, PriceBasis
from exporter.tariff.tariff import ENERGY, Tariff
from exporter.units import (
    NANOSECONDS_PER_HOUR,
    NANOSECONDS_PER_MINUTE,
    Instant,
    Millijoules,
    Nanoseconds,
    Picodollars,
)


def split_interval(
    start: Instant, end: Instant, tariff: Tariff, zone: ZoneInfo, booted: Instant | None = None
) -> list[tuple[Instant, Instant]]:
    """Consecutive stretches of [start, end), each inside one local day (and so one month), one price, and one
    whole minute; cut where the host `booted`, too.

    A tick of an hour or longer is cut by the hour: nobody prices a minute of it.
    """
    grain = NANOSECONDS_PER_MINUTE if end - start < NANOSECONDS_PER_HOUR else NANOSECONDS_PER_HOUR
    cuts = {start, end, *tariff.changes(start, end), *_midnights(start, end, zone)}
    if booted is not None and start < booted < end:
        cuts.add(booted)
    cuts.update(range(start - start % grain + grain, end, grain))
    ordered = sorted(cuts)
    return list(pairwise(ordered))


def _midnights(start: Instant, end: Instant, zone: ZoneInfo) -> Iterator[Instant]:
    cut = day_of(start, zone).end
    while cut < end:
        yield cut
        cut = day_of(cut, zone).end


TIME: Final = ""
"""The key, among components, under which the rounding of GPU time is remembered."""

JOULES: Final = " "
"""The same of energy that has no price."""


@dataclass(slots=True)
class GpuAccrual:
    """One GPU on its way through a tick. `known` is false for a GPU not seen before the tick.

    Its time is that of `charged`, the GPU in its slot then, `count` times.
    `carries` and `owed` are the state's own, moved on by each stretch.
    """

    state: GpuState
    charged: Gpu
    count: int
    known: bool
    reading: GpuReading | None
    uses: tuple[ShareUsage, ...]
    by_time: Mapping[OwnerPhase, int]
    by_energy: Mapping[OwnerPhase, int]
    energy: Millijoules
    counted: bool
    implausible: bool
    carries: dict[str, Carry]
    owed: dict[str, Mapping[OwnerPhase, int]]

    def after(self) -> GpuState:
        """What is remembered of it after the tick."""
        return replace(self.state, carries=self.carries, owed=self.owed)


class Accrual:
    """Posts a tick's stretches one after the other; carries and debts pass from each to the next."""

    def __init__(
        self,
        works: list[GpuAccrual],
        terms: CostPolicy,
        interval: ChargedInterval,
        former: list[GpuAccrual] | None = None,
        booted: Instant | None = None,
    ) -> None:
        """Charge `works` and, until `booted` where that is given, `former` ones that the host has no more."""
        # A GPU that is new after a gap pays from now on; books that begin at the boot never saw one.
        anyone = interval.observed or interval.hourly_only
        self._works = [work for work in works if work.known or anyone]
        self._former, self._booted = former or [], booted
        self._terms = terms
        self._interval = interval
        nobody = (ShareUsage(UNALLOCATED_SHARE, None),) if interval.hourly_only else ()
        self._nobody = gpu_usage.phase_weights(nobody, {}, terms)
        self._parties = {
            slot.owner for work in (*works, *self._former) for slot in (*work.by_time, *self._nobody)
        }

    def segments(self) -> tuple[Segment, ...]:
        """The whole interval, in order."""
        cuts = split_interval(
            self._interval.start, self._interval.end, self._terms.tariff, self._terms.zone, self._booted
        )
        told = (self._segment(since, until) for since, until in cuts)
        # Time since boot that nobody rents by the hour is not metered.
        return tuple(segment for segment in told if segment.held or not self._interval.hourly_only)

    def _segment(self, since: Instant, until: Instant) -> Segment:
        start, length = self._interval.start, self._interval.length
        up = self._interval.up_between(since, until)
        # Who says that a GPU has left is believed until it is seen.
        tariff = self._terms.tariff
        here = self._booted is None or since < self._booted
        works = [
            work
            for work in (*self._works, *(self._former if here else ()))
            if work.reading is not None or not tariff.has_left(work.charged, since)
        ]
        gpus_on_host = sum(work.count for work in works)
        month = month_of(since, self._terms.zone)
        day = day_of(since, self._terms.zone).name
        accrued = 0
        money: list[MoneyPosting] = []
        held: list[GpuTimePosting] = []
        unpriced: list[UnpricedTime] = []
        for work in works:
            gpu, count = work.charged, work.count
            price = tariff.price(gpu, since, month, gpus_on_host)
            if self._interval.hourly_only:
                price = price.hourly()
                # What the cloud has not told yet may be a price by the hour; else nothing says that it is.
                if not price.rates and (price.priced or not tariff.waits_for_place(gpu)):
                    continue
            by_time = self._nobody or work.by_time
            times = {slot: part for part, slot in self._split(work, TIME, (until - since) * count, by_time)}
            ups = times if up == until - since else split(up * count, times)[0]
            for slot, time in times.items():
                down = time - ups[slot]
                unowed = time
                if price.in_service:
                    unowed = down if price.while_up or not price.priced else 0
                held.append(GpuTimePosting(gpu, slot, time, not price.waits, down, unowed))
            if price.waits:
                joules = work.energy * (until - start) // length - work.energy * (since - start) // length
                used = self._used(work, times, ups, joules)
                hourly_only = self._interval.hourly_only
                unpriced.append(UnpricedTime(gpu, day, since, until, used, hourly_only=hourly_only))
            for rate in price.rates:
                owing = up if rate.while_up else until - since
                amount, carry = accrue(rate.rate, owing * count, work.carries.get(rate.component))
                work.carries[rate.component] = carry
                accrued += amount
                basis = rate.provenance.price_basis
                for part, slot in self._split(work, rate.component, amount, by_time):
                    money.append(MoneyPosting(gpu, rate.component, basis, slot, part))
            if price.energy is not None:
                joules = work.energy * (until - start) // length - work.energy * (since - start) // length
                amount, carry = accrue_energy(price.energy, joules, work.carries.get(ENERGY))
                work.carries[ENERGY] = carry
                accrued += amount
                basis = price.energy.provenance.price_basis
                for part, slot in self._split(work, ENERGY, amount, work.by_energy):
                    money.append(MoneyPosting(gpu, ENERGY, basis, slot, part))
        return Segment(
            since,
            until,
            month.name,
            day,
            accrued,
            tuple(money),
            tuple(held),
            tuple(unpriced),
            down=until - since - up,
        )

    def _used(
        self,
        work: GpuAccrual,
        times: Mapping[OwnerPhase, Nanoseconds],
        ups: Mapping[OwnerPhase, Nanoseconds],
        joules: Millijoules,
    ) -> dict[OwnerPhase, GpuUse]:
        """What each slot used of a GPU that has no price."""
        energies = {slot: part for part, slot in self._split(work, JOULES, joules, work.by_energy)}
        return {
            slot: GpuUse(times.get(slot, 0), ups.get(slot, 0), energies.get(slot, 0))
            for slot in (*times, *(slot for slot in energies if slot not in times))
        }

    def _split(
        self, work: GpuAccrual, component: str, amount: int, weights: Mapping[OwnerPhase, int]
    ) -> list[tuple[int, OwnerPhase]]:
        before = work.owed.get(component, {})
        parts, debts = split(amount, weights, before)
        # Debts of slots that this tick does not use wait for their turn, while their party is here.
        for slot, debt in before.items():
            if slot not in debts and slot.owner in self._parties:
                debts[slot] = debt
        work.owed[component] = debts
        return [(part, slot) for slot, part in parts.items() if part]


RECENT: Final = 62 * NANOSECONDS_PER_MINUTE
"""Time that is charged by the minute, since quotients look at the last 60."""

NOTHING: Final = GpuUse(0, 0, 0)


@dataclass(slots=True)
class _UsagePool:
    """What the slots of one GPU used, taken out part by part; nothing is lost or made by rounding."""

    time: dict[OwnerPhase, int] = field(default_factory=dict)
    up: dict[OwnerPhase, int] = field(default_factory=dict)
    energy: dict[OwnerPhase, int] = field(default_factory=dict)

    @classmethod
    def of(cls, slots: Mapping[OwnerPhase, GpuUse]) -> "_UsagePool":
        return cls(
            {slot: used.time for slot, used in slots.items()},
            {slot: used.up for slot, used in slots.items()},
            {slot: used.energy for slot, used in slots.items()},
        )

    def sums(self) -> tuple[int, int, int]:
        return sum(self.time.values()), sum(self.up.values()), sum(self.energy.values())

    def take(self, time: int, up: int, energy: int) -> "_UsagePool":
        """Move these amounts into a pool of their own, in proportion to what each slot has."""
        return _UsagePool(_taken(self.time, time), _taken(self.up, up), _taken(self.energy, energy))

    def add(self, other: "_UsagePool") -> None:
        for mine, theirs in ((self.time, other.time), (self.up, other.up), (self.energy, other.energy)):
            for slot, amount in theirs.items():
                mine[slot] = mine.get(slot, 0) + amount

    def slots(self) -> dict[OwnerPhase, GpuUse]:
        """Those that used anything."""
        every = {**self.time, **self.up, **self.energy}
        used = {
            slot: GpuUse(self.time.get(slot, 0), self.up.get(slot, 0), self.energy.get(slot, 0))
            for slot in every
        }
        return {slot: usage for slot, usage in used.items() if usage != NOTHING}


def _taken(have: dict[OwnerPhase, int], amount: int) -> dict[OwnerPhase, int]:
    if amount <= 0:
        return {}
    parts, _ = split(amount, have)  # at most what each has: it is rounded up only where a remainder is
    for slot, part in parts.items():
        have[slot] -= part
    return {slot: part for slot, part in parts.items() if part}


def charge_late(
    state: State, unpriced: Iterable[UnpricedTime], terms: CostPolicy, now: Instant
) -> tuple[State, LateCharges]:
    """Charge what has a price under these terms; the state carries on what accrual leaves, and `accrued`.

    Of a GPU that the state does not know, what is left below a picodollar is dropped.
    Where a price begins inside a stretch, its time is divided there: evenly, for nothing finer is kept.

    Args:
        state: as of the tick that posts this.
        unpriced: stretches that wait; those that are charged from must not be given again.
        terms: prices; holders stay those that were recorded.
        now: the tick's wall time.
    """
    desk = _LateAccrual(state, terms, now)
    for stretch in unpriced:
        desk.settle(stretch)
    return desk.outcome()


def _held(
    stretch: UnpricedTime, slot: OwnerPhase, duration: int, price: Price, part: _UsagePool
) -> GpuTimePosting:
    """What a slot held of time that waits no more."""
    up = min(duration, part.up.get(slot, 0))
    unowed = duration
    if price.priced and (price.while_up or not stretch.hourly_only):
        unowed = duration - up if price.while_up else 0
    counted = duration if stretch.down_counted else up
    return GpuTimePosting(stretch.gpu, slot, duration, True, duration - up, unowed, counted)


class _LateAccrual:
    """Charges one stretch after the other; carries and debts pass from each to the next."""

    def __init__(self, state: State, terms: CostPolicy, now: Instant) -> None:
        self._state = state
        self._terms = terms
        self._now = now
        self._carries: dict[str, dict[str, Carry]] = {}
        self._owed: dict[tuple[str, str], dict[OwnerPhase, int]] = {}
        self._segments: list[Segment] = []
        self._left: list[UnpricedTime] = []

    def outcome(self) -> tuple[State, LateCharges]:
        gpus = {
            uuid: replace(gpu, carries=self._carries.get(uuid, gpu.carries))
            for uuid, gpu in self._state.gpus.items()
        }
        accrued = self._state.accrued + sum(segment.accrued for segment in self._segments)
        state = replace(self._state, gpus=gpus, accrued=accrued)
        return state, LateCharges(tuple(self._segments), tuple(self._left))

    def settle(self, stretch: UnpricedTime) -> None:
        cuts = self._cuts(stretch)
        prices = [self._price(stretch, since) for since, _ in cuts]
        if all(price.waits for price in prices):
            return
        pool, left = _UsagePool.of(stretch.slots), _UsagePool()
        sums, length = pool.sums(), max(1, stretch.end - stretch.start)
        end = stretch.start
        for (since, until), price in zip(cuts, prices, strict=True):
            whole = until >= stretch.end
            time, up, energy = (
                (total if whole else total * (until - stretch.start) // length)
                - total * (since - stretch.start) // length
                for total in sums
            )
            part = pool.take(time, up, energy)
            if not price.waits:
                self._segments.append(self._segment(stretch, since, until, price, part))
            else:
                end = until
                left.add(part)
        self._left.append(replace(stretch, end=end, slots=left.slots()))

    def _price(self, stretch: UnpricedTime, at: Instant) -> Price:
        price = self._terms.tariff.hardware_price(stretch.gpu, at)
        return price.hourly() if stretch.hourly_only else price

    def _cuts(self, stretch: UnpricedTime) -> list[tuple[Instant, Instant]]:
        if stretch.end <= stretch.start:
            return [(stretch.start, stretch.end)]
        minute = NANOSECONDS_PER_MINUTE
        cuts = {stretch.start, stretch.end, *self._terms.tariff.changes(stretch.start, stretch.end)}
        recent = max(stretch.start, self._now - RECENT)
        cuts.update(range(recent + -recent % minute, stretch.end, minute))
        return list(pairwise(sorted(cuts)))

    def _segment(
        self, stretch: UnpricedTime, since: Instant, until: Instant, price: Price, part: _UsagePool
    ) -> Segment:
        gpu, accrued = stretch.gpu, 0
        money: list[MoneyPosting] = []
        time, up, energy = part.sums()
        for rate in price.rates:
            amount, carry = accrue(
                rate.rate, up if rate.while_up else time, self._carry(gpu.uuid, rate.component)
            )
            self._carries[gpu.uuid][rate.component] = carry
            accrued += amount
            weights = part.up if rate.while_up else part.time
            money.extend(self._money(stretch, rate.component, rate.provenance.price_basis, amount, weights))
        if price.energy is not None:
            amount, carry = accrue_energy(price.energy, energy, self._carry(gpu.uuid, ENERGY))
            self._carries[gpu.uuid][ENERGY] = carry
            accrued += amount
            basis = price.energy.provenance.price_basis
            money.extend(self._money(stretch, ENERGY, basis, amount, part.energy))
        held = tuple(_held(stretch, slot, duration, price, part) for slot, duration in part.time.items())
        return Segment(since, until, stretch.day[:7], stretch.day, accrued, tuple(money), held)

    def _carry(self, uuid: str, component: str) -> Carry | None:
        if uuid not in self._carries:
            known = self._state.gpus.get(uuid)
            self._carries[uuid] = {} if known is None else dict(known.carries)
        return self._carries[uuid].get(component)

    def _money(
        self,
        stretch: UnpricedTime,
        component: str,
        basis: PriceBasis,
        amount: Picodollars,
        weights: Mapping[OwnerPhase, int],
    ) -> Iterable[MoneyPosting]:
        if not amount:
            return
        before = self._owed.setdefault((stretch.gpu.uuid, component), {})
        parts, debts = split(amount, weights, before)
        before.update(debts)
        for slot, part in parts.items():
            if part:
                yield MoneyPosting(stretch.gpu, component, basis, slot, part)

"""Time without a price, charged once its price is known. Pure.

A price that comes late is charged for the time that it covers, to those who held the GPU then and for what
it was doing. What the hardware costs is charged; overheads accrued when the time passed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final

from exporter.cost.money import accrue, accrue_energy, split
from exporter.cost.policy import Terms
from exporter.cost.postings import Held, Late, Money, Segment, Slot, Unpriced, Usage
from exporter.cost.state import Carry, State
from exporter.tariff.rate import Price, PriceBasis
from exporter.tariff.tariff import ENERGY
from exporter.units import NANOSECONDS_PER_MINUTE, Instant, Picodollars

RECENT: Final = 62 * NANOSECONDS_PER_MINUTE
"""Time that is charged by the minute, since quotients look at the last 60."""

NOTHING: Final = Usage(0, 0, 0)


@dataclass(slots=True)
class _Pool:
    """What the slots of one GPU used, taken out part by part; nothing is lost or made by rounding."""

    time: dict[Slot, int] = field(default_factory=dict)
    up: dict[Slot, int] = field(default_factory=dict)
    energy: dict[Slot, int] = field(default_factory=dict)

    @classmethod
    def of(cls, slots: Mapping[Slot, Usage]) -> "_Pool":
        return cls(
            {slot: used.time for slot, used in slots.items()},
            {slot: used.up for slot, used in slots.items()},
            {slot: used.energy for slot, used in slots.items()},
        )

    def sums(self) -> tuple[int, int, int]:
        return sum(self.time.values()), sum(self.up.values()), sum(self.energy.values())

    def take(self, time: int, up: int, energy: int) -> "_Pool":
        """Move these amounts into a pool of their own, in proportion to what each slot has."""
        return _Pool(_taken(self.time, time), _taken(self.up, up), _taken(self.energy, energy))

    def add(self, other: "_Pool") -> None:
        for mine, theirs in ((self.time, other.time), (self.up, other.up), (self.energy, other.energy)):
            for slot, amount in theirs.items():
                mine[slot] = mine.get(slot, 0) + amount

    def slots(self) -> dict[Slot, Usage]:
        """Those that used anything."""
        every = {**self.time, **self.up, **self.energy}
        used = {
            slot: Usage(self.time.get(slot, 0), self.up.get(slot, 0), self.energy.get(slot, 0))
            for slot in every
        }
        return {slot: usage for slot, usage in used.items() if usage != NOTHING}


def _taken(have: dict[Slot, int], amount: int) -> dict[Slot, int]:
    if amount <= 0:
        return {}
    parts, _ = split(amount, have)  # at most what each has: it is rounded up only where a remainder is
    for slot, part in parts.items():
        have[slot] -= part
    return {slot: part for slot, part in parts.items() if part}


def charge(state: State, unpriced: Iterable[Unpriced], terms: Terms, now: Instant) -> tuple[State, Late]:
    """Charge what has a price under these terms; the state carries on what accrual leaves, and `accrued`.

    Of a GPU that the state does not know, what is left below a picodollar is dropped.
    Where a price begins inside a stretch, its time is divided there: evenly, for nothing finer is kept.

    Args:
        state: as of the tick that posts this.
        unpriced: stretches that wait; those that are charged from must not be given again.
        terms: prices; holders stay those that were recorded.
        now: the tick's wall time.
    """
    desk = _Desk(state, terms, now)
    for stretch in unpriced:
        desk.settle(stretch)
    return desk.outcome()


def _held(stretch: Unpriced, slot: Slot, duration: int, price: Price, part: _Pool) -> Held:
    """What a slot held of time that waits no more."""
    up = min(duration, part.up.get(slot, 0))
    unowed = duration
    if price.priced and (price.while_up or not stretch.hourly_only):
        unowed = duration - up if price.while_up else 0
    counted = duration if stretch.down_counted else up
    return Held(stretch.gpu, slot, duration, True, duration - up, unowed, counted)


class _Desk:
    """Charges one stretch after the other; carries and debts pass from each to the next."""

    def __init__(self, state: State, terms: Terms, now: Instant) -> None:
        self._state = state
        self._terms = terms
        self._now = now
        self._carries: dict[str, dict[str, Carry]] = {}
        self._owed: dict[tuple[str, str], dict[Slot, int]] = {}
        self._segments: list[Segment] = []
        self._left: list[Unpriced] = []

    def outcome(self) -> tuple[State, Late]:
        gpus = {
            uuid: replace(gpu, carries=self._carries.get(uuid, gpu.carries))
            for uuid, gpu in self._state.gpus.items()
        }
        accrued = self._state.accrued + sum(segment.accrued for segment in self._segments)
        state = replace(self._state, gpus=gpus, accrued=accrued)
        return state, Late(tuple(self._segments), tuple(self._left))

    def settle(self, stretch: Unpriced) -> None:
        cuts = self._cuts(stretch)
        prices = [self._price(stretch, since) for since, _ in cuts]
        if all(price.waits for price in prices):
            return
        pool, left = _Pool.of(stretch.slots), _Pool()
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

    def _price(self, stretch: Unpriced, at: Instant) -> Price:
        price = self._terms.tariff.hardware_price(stretch.gpu, at)
        return price.hourly() if stretch.hourly_only else price

    def _cuts(self, stretch: Unpriced) -> list[tuple[Instant, Instant]]:
        if stretch.end <= stretch.start:
            return [(stretch.start, stretch.end)]
        minute = NANOSECONDS_PER_MINUTE
        cuts = {stretch.start, stretch.end, *self._terms.tariff.changes(stretch.start, stretch.end)}
        recent = max(stretch.start, self._now - RECENT)
        cuts.update(range(recent + -recent % minute, stretch.end, minute))
        return list(pairwise(sorted(cuts)))

    def _segment(
        self, stretch: Unpriced, since: Instant, until: Instant, price: Price, part: _Pool
    ) -> Segment:
        gpu, accrued = stretch.gpu, 0
        money: list[Money] = []
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
        stretch: Unpriced,
        component: str,
        basis: PriceBasis,
        amount: Picodollars,
        weights: Mapping[Slot, int],
    ) -> Iterable[Money]:
        if not amount:
            return
        before = self._owed.setdefault((stretch.gpu.uuid, component), {})
        parts, debts = split(amount, weights, before)
        before.update(debts)
        for slot, part in parts.items():
            if part:
                yield Money(stretch.gpu, component, basis, slot, part)

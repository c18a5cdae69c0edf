"""What GPUs accrue in an interval, posted stretch by stretch to those who held them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from exporter.cost import holding
from exporter.cost.attribution import UNHELD
from exporter.cost.gap import Interval
from exporter.cost.holding import Use
from exporter.cost.money import accrue, accrue_energy, split
from exporter.cost.policy import Terms
from exporter.cost.postings import Held, Money, Segment, Slot, Unpriced, Usage
from exporter.cost.state import Carry, GpuState
from exporter.cost.stretches import stretches
from exporter.readings import Gpu, GpuReading
from exporter.tariff.calendar import day_of, month_of
from exporter.tariff.tariff import ENERGY
from exporter.units import Instant, Millijoules, Nanoseconds

TIME: Final = ""
"""The key, among components, under which the rounding of GPU time is remembered."""

JOULES: Final = " "
"""The same of energy that has no price."""


@dataclass(slots=True)
class Work:
    """One GPU on its way through a tick. `known` is false for a GPU not seen before the tick.

    Its time is that of `charged`, the GPU in its slot then, `count` times.
    `carries` and `owed` are the state's own, moved on by each stretch.
    """

    state: GpuState
    charged: Gpu
    count: int
    known: bool
    reading: GpuReading | None
    uses: tuple[Use, ...]
    by_time: Mapping[Slot, int]
    by_energy: Mapping[Slot, int]
    energy: Millijoules
    counted: bool
    implausible: bool
    carries: dict[str, Carry]
    owed: dict[str, Mapping[Slot, int]]

    def after(self) -> GpuState:
        """What is remembered of it after the tick."""
        return replace(self.state, carries=self.carries, owed=self.owed)


class Charging:
    """Posts a tick's stretches one after the other; carries and debts pass from each to the next."""

    def __init__(
        self,
        works: list[Work],
        terms: Terms,
        interval: Interval,
        former: list[Work] | None = None,
        booted: Instant | None = None,
    ) -> None:
        """Charge `works` and, until `booted` where that is given, `former` ones that the host has no more."""
        # A GPU that is new after a gap pays from now on; books that begin at the boot never saw one.
        anyone = interval.observed or interval.hourly_only
        self._works = [work for work in works if work.known or anyone]
        self._former, self._booted = former or [], booted
        self._terms = terms
        self._interval = interval
        nobody = (Use(UNHELD, None),) if interval.hourly_only else ()
        self._nobody = holding.slots(nobody, {}, terms)
        self._parties = {
            slot.party for work in (*works, *self._former) for slot in (*work.by_time, *self._nobody)
        }

    def segments(self) -> tuple[Segment, ...]:
        """The whole interval, in order."""
        cuts = stretches(
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
        money: list[Money] = []
        held: list[Held] = []
        unpriced: list[Unpriced] = []
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
                held.append(Held(gpu, slot, time, not price.waits, down, unowed))
            if price.waits:
                joules = work.energy * (until - start) // length - work.energy * (since - start) // length
                used = self._used(work, times, ups, joules)
                hourly_only = self._interval.hourly_only
                unpriced.append(Unpriced(gpu, day, since, until, used, hourly_only=hourly_only))
            for rate in price.rates:
                owing = up if rate.while_up else until - since
                amount, carry = accrue(rate.rate, owing * count, work.carries.get(rate.component))
                work.carries[rate.component] = carry
                accrued += amount
                basis = rate.provenance.price_basis
                for part, slot in self._split(work, rate.component, amount, by_time):
                    money.append(Money(gpu, rate.component, basis, slot, part))
            if price.energy is not None:
                joules = work.energy * (until - start) // length - work.energy * (since - start) // length
                amount, carry = accrue_energy(price.energy, joules, work.carries.get(ENERGY))
                work.carries[ENERGY] = carry
                accrued += amount
                basis = price.energy.provenance.price_basis
                for part, slot in self._split(work, ENERGY, amount, work.by_energy):
                    money.append(Money(gpu, ENERGY, basis, slot, part))
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
        work: Work,
        times: Mapping[Slot, Nanoseconds],
        ups: Mapping[Slot, Nanoseconds],
        joules: Millijoules,
    ) -> dict[Slot, Usage]:
        """What each slot used of a GPU that has no price."""
        energies = {slot: part for part, slot in self._split(work, JOULES, joules, work.by_energy)}
        return {
            slot: Usage(times.get(slot, 0), ups.get(slot, 0), energies.get(slot, 0))
            for slot in (*times, *(slot for slot in energies if slot not in times))
        }

    def _split(
        self, work: Work, component: str, amount: int, weights: Mapping[Slot, int]
    ) -> list[tuple[int, Slot]]:
        before = work.owed.get(component, {})
        parts, debts = split(amount, weights, before)
        # Debts of slots that this tick does not use wait for their turn, while their party is here.
        for slot, debt in before.items():
            if slot not in debts and slot.party in self._parties:
                debts[slot] = debt
        work.owed[component] = debts
        return [(part, slot) for slot, part in parts.items() if part]

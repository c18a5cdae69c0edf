"""One tick of the books: state and readings in, state and postings out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from exporter.cost import attribution, comparison, energy, gap, holding, servers
from exporter.cost.attribution import NOBODY, Share
from exporter.cost.gap import Interval
from exporter.cost.holding import Use
from exporter.cost.money import WHOLE, accrue, accrue_energy, split
from exporter.cost.policy import Terms
from exporter.cost.postings import Energy, Held, Money, Party, Postings, Segment, Slot, Unpriced, Usage
from exporter.cost.servers import Round, ServerTick
from exporter.cost.state import Carry, GpuState, ServerState, State
from exporter.cost.stretches import stretches
from exporter.readings import Frame, Gpu, GpuReading, Holder, ServerKey
from exporter.tariff.calendar import day_of, month_of
from exporter.tariff.rate import Price
from exporter.tariff.tariff import ENERGY
from exporter.units import Instant, Millijoules, Nanoseconds

TIME: Final = ""
"""The key, among components, under which the rounding of GPU time is remembered."""

JOULES: Final = " "
"""The same of energy that has no price."""


@dataclass(frozen=True, slots=True)
class GpuOutcome:
    """What one GPU did in one tick. `slots` are weights by time."""

    gpu: Gpu
    index: int
    reading: GpuReading | None
    shares: tuple[Share, ...]
    slots: Mapping[Slot, int]
    mean_watts: float | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """One tick's answer."""

    state: State
    postings: Postings
    gpus: tuple[GpuOutcome, ...]
    ticks: Mapping[ServerKey, ServerTick]


def advance(state: State, frame: Frame, terms: Terms) -> Outcome:
    """Advance the books by one tick.

    The tick charges the time since the last one (`gap` says which that is); without a last tick, nothing,
    or the time since boot.
    """
    interval = gap.since_last(state, frame, terms)
    elapsed = None if interval is None else interval.length
    unwatched = interval is not None and not interval.observed
    if interval is not None and interval.rebooted:
        state = _rebooted(state)
    round_ = servers.advance(state, frame, elapsed or 0, terms)
    known = dict(round_.servers)
    readings = {reading.gpu.uuid: reading for reading in frame.gpus or ()}
    inventory = dict(state.gpus)
    if frame.gpus is not None:
        inventory = _inventory(state, frame.gpus, frame.holders, terms, known)
    beginning = gap.since_boot(state, frame, terms)
    # Nothing but hourly rent begins before a GPU is read, energy neither.
    metered = elapsed if beginning is None else None
    works = [
        _work(gpu, state.gpus.get(uuid), readings.get(uuid), round_, terms, metered, unwatched=unwatched)
        for uuid, gpu in sorted(inventory.items())
    ]
    charged = beginning or interval
    segments = _Posting(works, terms, charged).segments() if charged is not None and charged.length else ()
    postings = Postings(
        end=frame.wall,
        segments=segments,
        tokens=round_.tokens,
        requests=round_.requests,
        equivalents=comparison.equivalents(round_.tokens, terms.compare),
        energy=tuple(Energy(work.state.gpu, work.energy) for work in works if work.counted),
        seen=tuple(sorted(_seen(works, round_, terms))),
        implausible=(("energy", sum(work.implausible for work in works)),),
        day=day_of(frame.wall - 1, terms.zone).name,
    )
    after = State(
        elapsed=frame.elapsed,
        awake=frame.awake,
        boot=frame.boot,
        wall=frame.wall,
        uncharged=state.uncharged + (0 if charged is None else charged.uncharged),
        gpus={work.state.gpu.uuid: work.after() for work in works},
        endpoints=round_.endpoints,
        servers=known,
        accrued=state.accrued + sum(segment.accrued for segment in segments),
        fresh_in="" if works else state.fresh_in,
    )
    return Outcome(after, postings, tuple(work.outcome() for work in works), round_.ticks)


@dataclass(slots=True)
class _Work:
    """One GPU on its way through a tick. `known` is false for a GPU not seen before the tick.

    `carries` and `owed` are the state's own, moved on by each stretch.
    """

    state: GpuState
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

    def outcome(self) -> GpuOutcome:
        return GpuOutcome(
            self.state.gpu,
            self.state.index,
            self.reading,
            tuple(use.share for use in self.uses),
            self.by_time,
            energy.mean_watts(self.state),
        )


def _inventory(
    state: State,
    readings: Iterable[GpuReading],
    holders: Iterable[Holder],
    terms: Terms,
    known: dict[ServerKey, ServerState],
) -> dict[str, GpuState]:
    """The sticky inventory: GPUs read now with their holders, and GPUs of before with their last ones."""
    read: dict[str, GpuState] = {}
    for reading in readings:
        uuid = reading.gpu.uuid
        held = []
        for holder in holders:
            if holder.uuid == uuid:
                key = servers.admit_server(known, holder.key, terms.limits)
                known.setdefault(key, ServerState())
                held.append(holder if key == holder.key else replace(holder, key=key))
        before = state.gpus.get(uuid) or GpuState(reading.gpu, reading.index)
        read[uuid] = replace(before, gpu=reading.gpu, index=reading.index, up=reading.up, holders=tuple(held))
    lost = {uuid: replace(gpu, up=False) for uuid, gpu in state.gpus.items() if uuid not in read}
    return lost | read


def _work(
    gpu: GpuState,
    before: GpuState | None,
    reading: GpuReading | None,
    round_: Round,
    terms: Terms,
    elapsed: Nanoseconds | None,
    *,
    unwatched: bool,
) -> _Work:
    # An interval is charged to the holders at its end, a gap to the last ones that were seen.
    holders = before.holders if unwatched and before is not None else gpu.holders
    uses = holding.uses(attribution.shares(holders), reading, round_.ticks, lost=not gpu.up, gap=unwatched)
    busy = holding.busy_ratio(uses)
    gpu, used = energy.use(gpu, reading, elapsed, busy, observed=not unwatched)
    by_time = holding.slots(uses, round_.ticks, terms)
    by_energy = by_time
    idle = energy.idle_ratio(gpu, used)
    if busy and idle is not None:
        by_energy = holding.slots(uses, round_.ticks, terms, round(idle * WHOLE))
    told = reading is not None and (reading.energy is not None or reading.power_watts is not None)
    counted = told and elapsed is not None
    return _Work(
        gpu,
        before is not None,
        reading,
        uses,
        by_time,
        by_energy,
        used.energy,
        counted,
        used.implausible,
        dict(gpu.carries),
        dict(gpu.owed),
    )


def _rebooted(state: State) -> State:
    """The driver was loaded anew: its counters began at zero."""
    gpus = {
        uuid: replace(gpu, energy_mark=None if gpu.energy_mark is None else 0, energy_age=0, falls=0)
        for uuid, gpu in state.gpus.items()
    }
    return replace(state, gpus=gpus)


def _seen(works: Iterable[_Work], round_: Round, terms: Terms) -> set[Party]:
    seen = {slot.party for work in works for slot in work.by_time}
    for key, tick in round_.ticks.items():
        seen.update(servers.party(terms, key, model) for model in (*tick.splits, *tick.idle_models))
    return seen


def _hourly(price: Price) -> Price:
    """Hourly rent alone."""
    return Price(tuple(rate for rate in price.rates if rate.while_up), None, price.priced)


class _Posting:
    """Posts a tick's stretches one after the other; carries and debts pass from each to the next."""

    def __init__(self, works: list[_Work], terms: Terms, interval: Interval) -> None:
        # A GPU that is new after a gap pays from now on; books that begin at the boot never saw one.
        anyone = interval.observed or interval.hourly_only
        self._works = [work for work in works if work.known or anyone]
        self._terms = terms
        self._interval = interval
        nobody = (Use(Share(NOBODY, WHOLE, "none"), None),) if interval.hourly_only else ()
        self._unseen = holding.slots(nobody, {}, terms)
        self._parties = {slot.party for work in works for slot in (*work.by_time, *self._unseen)}

    def segments(self) -> tuple[Segment, ...]:
        """The whole interval, in order."""
        cuts = stretches(self._interval.start, self._interval.end, self._terms.tariff, self._terms.zone)
        told = (self._segment(since, until) for since, until in cuts)
        # Time since boot that nobody rents by the hour is not metered.
        return tuple(segment for segment in told if segment.held or not self._interval.hourly_only)

    def _segment(self, since: Instant, until: Instant) -> Segment:
        start, length = self._interval.start, self._interval.length
        up = self._interval.up_between(since, until)
        month = month_of(since, self._terms.zone)
        day = day_of(since, self._terms.zone).name
        accrued = 0
        money: list[Money] = []
        held: list[Held] = []
        unpriced: list[Unpriced] = []
        for work in self._works:
            gpu = work.state.gpu
            price = self._terms.tariff.price(gpu, since, month, len(self._works))
            if self._interval.hourly_only:
                price = _hourly(price)
                if not price.rates:
                    continue
            by_time = self._unseen or work.by_time
            times = self._split(work, TIME, until - since, by_time)
            for part, slot in times:
                held.append(Held(gpu, slot, part, price.priced))
            if not price.priced:
                joules = work.energy * (until - start) // length - work.energy * (since - start) // length
                used = self._used(work, {slot: part for part, slot in times}, up, joules)
                unpriced.append(Unpriced(gpu, day, since, until, used))
            for rate in price.rates:
                owing = up if rate.while_up else until - since
                amount, carry = accrue(rate.rate, owing, work.carries.get(rate.component))
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
        self, work: _Work, times: Mapping[Slot, Nanoseconds], up: Nanoseconds, joules: Millijoules
    ) -> dict[Slot, Usage]:
        """What each slot used of a GPU that has no price."""
        ups = split(up, times)[0] if up < sum(times.values()) else times
        energies = {slot: part for part, slot in self._split(work, JOULES, joules, work.by_energy)}
        return {
            slot: Usage(times.get(slot, 0), ups.get(slot, 0), energies.get(slot, 0))
            for slot in (*times, *(slot for slot in energies if slot not in times))
        }

    def _split(
        self, work: _Work, component: str, amount: int, weights: Mapping[Slot, int]
    ) -> list[tuple[int, Slot]]:
        before = work.owed.get(component, {})
        parts, debts = split(amount, weights, before)
        # Debts of slots that this tick does not use wait for their turn, while their party is here.
        for slot, debt in before.items():
            if slot not in debts and slot.party in self._parties:
                debts[slot] = debt
        work.owed[component] = debts
        return [(part, slot) for slot, part in parts.items() if part]

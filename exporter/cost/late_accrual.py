"""Late accrual: what unpriced GPU time costs once it has a price. Pure.

A late charge goes to the owners and phases that were recorded when the time passed. It covers hardware only:
overheads accrued then. Time of a host whose GPUs were not counted (`UNCOUNTED`) is the exception: its
overheads waited for the number of GPUs, and are charged with the hardware.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from itertools import pairwise
from typing import Final, NamedTuple

from exporter.cost.charges import ChargedUse, GpuCharge, SegmentPostings, Usage
from exporter.cost.intervals import starts_within
from exporter.cost.money import GpuRemainders, add, divide
from exporter.cost.policy import CostPolicy
from exporter.cost.postings import LateCharges, OwnerPhase, Segment, UnpricedTime
from exporter.cost.state import State
from exporter.readings import UNCOUNTED, Gpu
from exporter.tariff.calendar import month_of
from exporter.tariff.rate import HardwareStatus, Price
from exporter.tariff.tariff import NOT_IN_SERVICE
from exporter.units import NANOSECONDS_PER_MINUTE, Instant, Nanoseconds

CHARGED_BY_MINUTE: Final = 62 * NANOSECONDS_PER_MINUTE
"""Late charges of the last so much time are by the minute, since quotients cover the last 60 minutes."""


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


class _ChargedGpu(NamedTuple):
    """A GPU that unpriced time is charged to, or several of one model that NVML never listed."""

    gpu: Gpu
    """The GPU, whose price it is."""
    number: int
    """How many GPUs it stands for."""
    remainders: GpuRemainders
    """What late charges of the GPU leave."""


class _PricedGpu(NamedTuple):
    """A GPU that a part of unpriced time is charged to, and its price in that part."""

    charged: _ChargedGpu
    """The GPU, or several of one model."""
    price: Price
    """The price of one GPU."""


class _Cut(NamedTuple):
    """A part of unpriced time with one price of each GPU."""

    start: Instant
    end: Instant
    gpus: list[_PricedGpu]
    """The GPUs that it is time of, empty where they are not counted yet."""

    @property
    def waits(self) -> bool:
        """Whether the part goes on waiting: for a price, or for the number of GPUs."""
        return not self.gpus or any(gpu.price.hardware is HardwareStatus.UNPRICED for gpu in self.gpus)

    def segment(self, waiting: UnpricedTime, usage: Usage) -> Segment:
        """The charges of this part of a time to each GPU that it is time of: `usage` is of one GPU."""
        postings = SegmentPostings(self.start, self.end, waiting.day)
        chargeable: dict[OwnerPhase, Nanoseconds] = {}
        for charged, price in self.gpus:
            charge = GpuCharge(
                gpu=waiting.gpu,
                price=price,
                time=_charged_use(usage.time, charged.number),
                up=_charged_use(usage.up, charged.number),
                energy=_charged_use(usage.energy, 1),  # GPUs that were not counted have no energy
            )
            postings.charge(charge, charged.remainders)
            for owner_phase, time in usage.chargeable(price).items():
                add(chargeable, owner_phase, time * charged.number)
        if waiting.gpu != UNCOUNTED:
            # While it waited, time with the host up was posted as owed. What is posted is never taken back.
            chargeable = {key: max(0, time - usage.up.get(key, 0)) for key, time in chargeable.items()}
        postings.add_time(waiting.gpu, usage, chargeable, unpriced=False)
        return postings.segment()


def _charged_use(amounts: Mapping[OwnerPhase, int], gpus: int) -> ChargedUse:
    """What so many GPUs that were used alike are charged for; what each owner used divides the cost."""
    return ChargedUse(sum(amounts.values()) * gpus, amounts)


class _EvenPool:
    """Amounts by owner and phase, spread evenly over a time and taken out part by part.

    No rounding adds or loses any of them: 10 nanoseconds over three equal parts are 3, 3 and 4.
    """

    def __init__(self, amounts: dict[OwnerPhase, int], length: Nanoseconds) -> None:
        """Spread `amounts` over a time of this length."""
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
        # No key gives more than it has left, since the amount is at most the sum of what is left.
        parts = divide(amount, self._left)
        for key, part in parts.items():
            self._left[key] -= part
        return {key: part for key, part in parts.items() if part}


class _UsagePool:
    """Usage of an unpriced time, taken out part by part."""

    def __init__(self, waiting: UnpricedTime) -> None:
        """Spread the usage of a time evenly over it."""
        usage = waiting.usage.items()
        self._waiting = waiting
        # A wall clock that was set back leaves a time without a length. It is taken whole.
        self._length = max(1, waiting.end - waiting.start)
        self._time = _EvenPool({key: use.time for key, use in usage}, self._length)
        self._up = _EvenPool({key: use.up for key, use in usage}, self._length)
        self._energy = _EvenPool({key: use.energy for key, use in usage}, self._length)

    def take_until(self, end: Instant) -> Usage:
        """Take the part from the last end to this one; at the end of the time, all that is left."""
        passed = self._length if end >= self._waiting.end else end - self._waiting.start
        return Usage(
            time=self._time.take_until(passed),
            up=self._up.take_until(passed),
            energy=self._energy.take_until(passed),
        )


class _LateAccrual:
    """Segments of unpriced time, one time after the other; carries pass from each to the next."""

    def __init__(self, state: State, policy: CostPolicy, now: Instant) -> None:
        self._state = state
        self._policy = policy
        self._now = now
        self._segments: list[Segment] = []
        self._left: list[UnpricedTime] = []
        # A GPU that is not on the host any more begins without carries.
        self._remainders: defaultdict[Gpu, GpuRemainders] = defaultdict(GpuRemainders)
        for slot in state.gpus.values():
            self._remainders[slot.gpu] = GpuRemainders(dict(slot.carries))

    def charge(self, waiting: UnpricedTime) -> None:
        """Charge the parts of a time that have a price; the others go on waiting."""
        cuts = self._cuts(waiting)
        if all(cut.waits for cut in cuts):
            return
        pool = _UsagePool(waiting)
        left: list[Usage] = []
        left_until = waiting.start
        for cut in cuts:
            usage = pool.take_until(cut.end)
            if cut.waits:
                left.append(usage)
                left_until = cut.end
            else:
                self._segments.append(cut.segment(waiting, usage))
        # Prices begin and never end, so that what goes on waiting is the beginning of the time.
        # The rest replaces the time of its number, also where nothing is left of it: that deletes the time.
        rest = Usage.sum_of(left).by_owner_phase()
        self._left.append(replace(waiting, end=left_until, usage=rest))

    def outcome(self) -> tuple[State, LateCharges]:
        """The state with what was charged, and the charges."""
        gpus = {
            uuid: replace(slot, carries=self._remainders[slot.gpu].carries)
            for uuid, slot in self._state.gpus.items()
        }
        accrued = self._state.accrued + sum(segment.accrued for segment in self._segments)
        state = replace(self._state, gpus=gpus, accrued=accrued)
        return state, LateCharges(tuple(self._segments), tuple(self._left))

    def _cuts(self, waiting: UnpricedTime) -> list[_Cut]:
        """The parts of unpriced time: each is at one price, and inside one minute where it is recent."""
        changes = self._policy.tariff.changes(waiting.start, waiting.end)
        recent = max(waiting.start, self._now - CHARGED_BY_MINUTE)
        minutes = starts_within(recent, waiting.end, NANOSECONDS_PER_MINUTE)
        inner = {*changes, *minutes} - {waiting.start}
        own = _ChargedGpu(waiting.gpu, 1, self._remainders[waiting.gpu])
        gpus = self._host if waiting.gpu == UNCOUNTED else [own]
        cuts: list[_Cut] = []
        for start, end in pairwise([waiting.start, *sorted(inner), waiting.end]):
            priced = [_PricedGpu(gpu, self._price(waiting, gpu.gpu, start)) for gpu in gpus]
            cuts.append(_Cut(start, end, priced))
        return cuts

    @cached_property
    def _host(self) -> list[_ChargedGpu]:
        """The GPUs of the host, which are charged for time before they were counted; none until they are.

        What such a charge leaves is dropped: the time is of no GPU that has carries.
        """
        unseen = self._state.unseen
        if UNCOUNTED.gpu_model in unseen:
            return []
        slots = [*sorted(self._state.gpus.items()), *sorted(unseen.items())]
        return [_ChargedGpu(slot.gpu, slot.count, GpuRemainders()) for _, slot in slots]

    def _price(self, waiting: UnpricedTime, gpu: Gpu, at: Instant) -> Price:
        """The price of a GPU at an instant of unpriced time; of time since a boot, hourly rent alone."""
        tariff = self._policy.tariff
        if waiting.gpu == UNCOUNTED:
            gpus_on_host = sum(charged.number for charged in self._host)
            price = tariff.price(gpu, at, month_of(at, self._policy.zone), gpus_on_host)
        elif gpu.uuid not in self._state.gpus and tariff.is_retired(gpu, at):
            price = NOT_IN_SERVICE  # the GPU left the host with its retirement
        else:
            price = tariff.hardware_price(gpu, at)
        return price.hourly() if waiting.hourly_only else price

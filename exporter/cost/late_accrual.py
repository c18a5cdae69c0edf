"""Late accrual: what unpriced GPU time costs once it has a price. Pure.

A late charge goes to the owners and phases that were recorded when the time passed. It covers hardware alone,
since `accrual` charged the overheads when the time passed. Only time of a host whose GPUs were not counted
(`UNCOUNTED`) has its overheads charged late, with the hardware of each GPU.

Each unpriced time is charged in these steps:

    _cuts        parts with one price of each GPU
    _UsagePool   the recorded usage, spread evenly over the parts: nothing finer was recorded
    _Cut         a segment for a part that is priced now
    the rest     the beginning of the time, which stays unpriced
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from itertools import pairwise
from typing import Final, NamedTuple

from exporter.cost.accrual import ChargedUse, GpuCharge, GpuRemainders, SegmentPostings, Usage
from exporter.cost.intervals import starts_within
from exporter.cost.money import add, divide
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

    Args:
        state: as of the tick that posts this.
        unpriced: unpriced times. A time that is charged from must not be given again: `LateCharges.left` has
            its rest.
        policy: prices; owners stay those that were recorded.
        now: the tick's wall time.
    """
    accrual = _LateAccrual(state, policy, now)
    for unpriced_time in unpriced:
        accrual.charge(unpriced_time)
    return accrual.outcome()


class _ChargedGpu(NamedTuple):
    """A GPU that unpriced time is charged to, or several of one model that NVML never listed."""

    gpu: Gpu
    """The GPU that the price is of."""
    number: int
    """The number of GPUs, above 1 for several that NVML never listed."""
    remainders: GpuRemainders
    """What late charges of the GPU left; each charge changes it."""


class _PricedGpu(NamedTuple):
    """A GPU that a part of unpriced time is charged to, and its price in that part."""

    charged: _ChargedGpu
    """The GPU, or several of one model, with what its charges left."""
    price: Price
    """The price of one GPU."""


class _Cut(NamedTuple):
    """A part of unpriced time with one price of each GPU."""

    start: Instant
    end: Instant
    gpus: list[_PricedGpu]
    """The GPUs that it is time of; empty while the GPUs of the host are not counted."""

    @property
    def is_unpriced(self) -> bool:
        """Whether the part stays unpriced: a GPU has no price, or the GPUs are not counted."""
        return not self.gpus or any(gpu.price.hardware is HardwareStatus.UNPRICED for gpu in self.gpus)

    def charge(self, unpriced: UnpricedTime, usage: Usage) -> Segment:
        """Charge this part of an unpriced time to each of its GPUs. The remainders of each GPU change.

        Args:
            unpriced: the whole time.
            usage: what one GPU used in this part.
        """
        postings = SegmentPostings(self.start, self.end, unpriced.day)
        chargeable: dict[OwnerPhase, Nanoseconds] = {}
        for gpu in self.gpus:
            count = gpu.charged.number
            charge = GpuCharge(
                gpu=unpriced.gpu,
                price=gpu.price,
                time=_charged_use(usage.time, count),
                up=_charged_use(usage.up, count),
                energy=_charged_use(usage.energy, 1),  # GPUs that were not counted have no energy
            )
            postings.add_money(charge, gpu.charged.remainders)
            for owner_phase, time in usage.chargeable(gpu.price).items():
                add(chargeable, owner_phase, time * count)
        if unpriced.gpu != UNCOUNTED:
            # Time with the host up was posted as chargeable when it passed. Postings are never taken back.
            chargeable = {key: max(0, time - usage.up.get(key, 0)) for key, time in chargeable.items()}
        postings.add_time(unpriced.gpu, usage, chargeable, unpriced=False)
        return postings.segment()


def _charged_use(amounts: Mapping[OwnerPhase, int], count: int) -> ChargedUse:
    """What several GPUs are charged for, each with these amounts. The amounts divide the cost, too."""
    return ChargedUse(sum(amounts.values()) * count, amounts)


class _EvenPool:
    """Amounts by owner and phase, spread evenly over a time and taken out part by part.

    The parts of an amount add up to it: 10 nanoseconds over three equal parts are 3, 3 and 4.
    """

    def __init__(self, amounts: dict[OwnerPhase, int], length: Nanoseconds) -> None:
        """Spread `amounts` over a time of this length."""
        self._left = amounts
        self._total = sum(amounts.values())
        self._length = length
        self._taken = 0

    def take_until(self, end: Nanoseconds) -> dict[OwnerPhase, int]:
        """Take the amounts from the last end to this one: of each key in proportion to what it has left."""
        amount = self._total * end // self._length - self._taken
        if amount <= 0:
            return {}
        self._taken += amount
        # The amount is at most the sum of what the keys have left, so that no key gives more than it has.
        parts = divide(amount, self._left)
        for key, part in parts.items():
            self._left[key] -= part
        return {key: part for key, part in parts.items() if part}


class _UsagePool:
    """Usage of an unpriced time, taken out part by part."""

    def __init__(self, unpriced: UnpricedTime) -> None:
        """Spread the usage of a time evenly over the time."""
        usage = unpriced.usage.items()
        self._unpriced = unpriced
        # A wall clock that was set back leaves a time without a length. Its usage is taken whole.
        self._length = max(1, unpriced.end - unpriced.start)
        self._time = _EvenPool({key: use.time for key, use in usage}, self._length)
        self._up = _EvenPool({key: use.up for key, use in usage}, self._length)
        self._energy = _EvenPool({key: use.energy for key, use in usage}, self._length)

    def take_until(self, end: Instant) -> Usage:
        """Take the usage from the last end to this one; at the end of the time, the whole rest."""
        passed = self._length if end >= self._unpriced.end else end - self._unpriced.start
        return Usage(
            time=self._time.take_until(passed),
            up=self._up.take_until(passed),
            energy=self._energy.take_until(passed),
        )


class _LateAccrual:
    """Charges one unpriced time after the other; the carries of each GPU pass from time to time."""

    def __init__(self, state: State, policy: CostPolicy, now: Instant) -> None:
        self._state = state
        self._policy = policy
        self._now = now
        self._segments: list[Segment] = []
        self._left: list[UnpricedTime] = []
        # A GPU that is not on the host any more begins without carries.
        self._remainders: defaultdict[Gpu, GpuRemainders] = defaultdict(GpuRemainders)
        for slot in state.gpus.values():
            # Without the slot's rounding, which is of splits over today's holders.
            self._remainders[slot.gpu] = GpuRemainders(dict(slot.carries))

    def charge(self, unpriced: UnpricedTime) -> None:
        """Charge the parts of a time that are priced now. The beginning, without a price, stays unpriced."""
        cuts = self._cuts(unpriced)
        if all(cut.is_unpriced for cut in cuts):
            return
        pool = _UsagePool(unpriced)
        rest: list[Usage] = []
        rest_end = unpriced.start
        for cut in cuts:
            usage = pool.take_until(cut.end)
            if cut.is_unpriced:  # before all priced cuts, since a price begins and never ends
                rest.append(usage)
                rest_end = cut.end
            else:
                self._segments.append(cut.charge(unpriced, usage))
        # The rest replaces the time of its number in the ledger. An empty rest deletes the time there.
        usage_of_rest = Usage.sum_of(rest).by_owner_phase()
        self._left.append(replace(unpriced, end=rest_end, usage=usage_of_rest))

    def outcome(self) -> tuple[State, LateCharges]:
        """The state with what was charged, and the charges."""
        gpus = {
            uuid: replace(slot, carries=self._remainders[slot.gpu].carries)
            for uuid, slot in self._state.gpus.items()
        }
        accrued = self._state.accrued + sum(segment.accrued for segment in self._segments)
        state = replace(self._state, gpus=gpus, accrued=accrued)
        return state, LateCharges(tuple(self._segments), tuple(self._left))

    def _cuts(self, unpriced: UnpricedTime) -> list[_Cut]:
        """The parts of unpriced time: each is at one price, and inside one minute where it is recent."""
        start, end = unpriced.start, unpriced.end
        minutes = starts_within(max(start, self._now - CHARGED_BY_MINUTE), end, NANOSECONDS_PER_MINUTE)
        inner = {*self._policy.tariff.changes(start, end), *minutes} - {start}
        gpus = self._host
        if unpriced.gpu != UNCOUNTED:
            gpus = [_ChargedGpu(unpriced.gpu, 1, self._remainders[unpriced.gpu])]
        cuts: list[_Cut] = []
        for since, until in pairwise([start, *sorted(inner), end]):
            priced = [_PricedGpu(gpu, self._price(unpriced, gpu.gpu, since)) for gpu in gpus]
            cuts.append(_Cut(since, until, priced))
        return cuts

    @cached_property
    def _host(self) -> list[_ChargedGpu]:
        """The GPUs of the host, which pay for time before they were counted; none until they are counted.

        What such a charge leaves, less than a picodollar for each component, is dropped.
        """
        unseen = self._state.unseen
        if UNCOUNTED.gpu_model in unseen:
            return []
        slots = [*sorted(self._state.gpus.items()), *sorted(unseen.items())]
        return [_ChargedGpu(slot.gpu, slot.count, GpuRemainders()) for _, slot in slots]

    def _price(self, unpriced: UnpricedTime, gpu: Gpu, at: Instant) -> Price:
        """The price of a GPU at an instant of unpriced time; of time since a boot, hourly rent alone."""
        tariff = self._policy.tariff
        if unpriced.gpu == UNCOUNTED:
            gpus_on_host = sum(charged.number for charged in self._host)
            price = tariff.price(gpu, at, month_of(at, self._policy.zone), gpus_on_host)
        elif gpu.uuid not in self._state.gpus and tariff.is_retired(gpu, at):
            price = NOT_IN_SERVICE  # the GPU left the host with its retirement, and costs nothing
        else:
            price = tariff.hardware_price(gpu, at)
        return price.hourly_rent_alone() if unpriced.hourly_only else price

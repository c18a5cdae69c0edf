"""Projection: current spend, and the cost of the month at its end. Pure.

The tariff prices the rest of the month: each GPU of the host, at each price that it will have, for the
products that held it in the last 24 hours.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Final, NamedTuple

from exporter.cost.advance import GpuOutcome
from exporter.cost.money import add, add_all, divide, part_between
from exporter.cost.policy import CostPolicy
from exporter.cost.postings import (
    BUSY_PHASES,
    UNASSIGNED,
    CostOwner,
    Postings,
    up_times,
)
from exporter.readings import Gpu
from exporter.tariff.calendar import Month, month_of
from exporter.tariff.rate import Price
from exporter.tariff.tariff import ENERGY
from exporter.units import (
    MILLIJOULES_PER_KILOWATT_HOUR,
    NANOSECONDS_PER_DAY,
    NANOSECONDS_PER_HOUR,
    WATTS_PER_KILOWATT,
    Instant,
    Millijoules,
    Nanoseconds,
    Picodollars,
    dollars,
)

LEFT_AFTER_HOURS: Final = 2
"""A product without GPUs in so many hours, the running one included, has left, unless it is intermittent."""

Product = str
Owners = Mapping[Product, int]
"""An amount by product: nanoseconds, millijoules, or weights."""


@dataclass(frozen=True, slots=True)
class UsageHour:
    """GPU time and energy of one hour, by GPU and product."""

    start: Instant
    covered: Nanoseconds = 0
    """The wall time that was metered."""
    down: Nanoseconds = 0
    """The part of it that costs no hourly rent."""
    time: Mapping[Gpu, Owners] = field(default_factory=dict)
    energy: Mapping[Gpu, Owners] = field(default_factory=dict)

    @property
    def end(self) -> Instant:
        """When it ends, or will."""
        return self.start + NANOSECONDS_PER_HOUR

    @property
    def products(self) -> set[Product]:
        """Those that had GPU time."""
        return {product for owners in self.time.values() for product in owners}


@dataclass(frozen=True, slots=True)
class RecentUsage:
    """GPU usage of the last 24 hours."""

    hours: tuple[UsageHour, ...] = ()
    """The hours that were metered, oldest first, the running one last."""
    first_held: Mapping[Product, Instant] = field(default_factory=dict)
    """When each product first held a GPU."""
    intermittent: frozenset[Product] = frozenset()
    """Products that came back from an absence as long as their present one."""


@dataclass(frozen=True, slots=True)
class PricePeriod:
    """A part of the rest of the month without a price change, and its cost."""

    start: Instant
    end: Instant
    amount: Picodollars

    @property
    def dollars_per_hour(self) -> float:
        """Its mean rate."""
        return dollars(self.amount) * NANOSECONDS_PER_HOUR / (self.end - self.start)


@dataclass(frozen=True, slots=True)
class Projection:
    """A month at its end: `to_date` and `rest` by product, which sum to the host's."""

    month: Month
    to_date: Mapping[Product, Picodollars]
    rest: Mapping[Product, Picodollars]
    periods: tuple[PricePeriod, ...]
    """The rest, divided at each change of a price."""
    up_ratio: float
    """The part of the last 24 hours that cost hourly rent."""
    rest_at_present_prices: Picodollars
    """The rest if no price changed."""

    def totals(self) -> dict[Product, Picodollars]:
        """Cost of each product at the end of the month; the host's is their sum."""
        products = sorted({*self.to_date, *(product for product, amount in self.rest.items() if amount)})
        return {product: self.to_date.get(product, 0) + self.rest.get(product, 0) for product in products}

    @property
    def price_change_ratio(self) -> float | None:
        """The rest over the rest at present prices; `None` while nothing costs anything."""
        if self.rest_at_present_prices <= 0:
            return None
        return sum(period.amount for period in self.periods) / self.rest_at_present_prices


def project(
    gpus: Iterable[GpuOutcome],
    usage: RecentUsage,
    to_date: Mapping[Product, Picodollars],
    now: Instant,
    policy: CostPolicy,
) -> Projection | None:
    """Month to date, and the rest of the month by the tariff; `None` before any time was metered.

    Hourly rent continues for the part of the day that the host was up in. A GPU belongs to the products that
    held it since the latest of them arrived, at most for 24 hours, without those that have left.
    Energy continues at its mean over the same time. A retirement ends a GPU's part.
    """
    gpus = tuple(gpus)
    metered_time = Fraction(0)
    up_time = Fraction(0)
    for hour in usage.hours:
        hour_inside = min(NANOSECONDS_PER_HOUR, hour.end - (now - NANOSECONDS_PER_DAY))
        part_inside = Fraction(hour_inside, NANOSECONDS_PER_HOUR)
        metered_time += hour.covered * part_inside
        up_time += (hour.covered - hour.down) * part_inside
    if not metered_time:
        return None
    up_ratio = up_time / metered_time
    month = month_of(now, policy.zone)
    departed = _departed(usage)
    gpu_uses = {outcome.gpu: _gpu_use(outcome, usage, now, departed) for outcome in gpus}
    by_time: dict[Gpu, Picodollars] = dict.fromkeys(gpu_uses, 0)
    by_energy: dict[Gpu, Picodollars] = dict.fromkeys(gpu_uses, 0)
    periods: list[PricePeriod] = []
    for start, end in pairwise(sorted({now, month.end, *policy.tariff.changes(now, month.end)})):
        amount = 0
        for gpu, count, price in _prices(gpus, start, now, month, policy):
            cost = _cost(price, gpu_uses[gpu], end - start, up_ratio)
            by_time[gpu] += cost.time * count
            by_energy[gpu] += cost.energy
            amount += cost.time * count + cost.energy
        periods.append(PricePeriod(start, end, amount))
    present = 0
    for gpu, count, price in _prices(gpus, now, now, month, policy):
        cost = _cost(price, gpu_uses[gpu], month.end - now, up_ratio)
        present += cost.time * count + cost.energy
    rest: dict[Product, Picodollars] = {}
    for gpu, use in gpu_uses.items():
        for amount, weights in ((by_time[gpu], use.time), (by_energy[gpu], use.energy)):
            if amount:
                add_all(rest, divide(amount, weights))
    return Projection(
        month, to_date, rest, tuple(periods), up_ratio=float(up_ratio), rest_at_present_prices=present
    )


def _departed(usage: RecentUsage) -> frozenset[Product]:
    """Products that have left: they hold nothing any more, and are not intermittent."""
    present_since = usage.hours[-1].start - (LEFT_AFTER_HOURS - 1) * NANOSECONDS_PER_HOUR
    all_products: set[Product] = set()
    present: set[Product] = set()
    for hour in usage.hours:
        all_products |= hour.products
        if hour.start >= present_since:
            present |= hour.products
    return frozenset(all_products - present - usage.intermittent - {UNASSIGNED})


class _GpuUse(NamedTuple):
    """Continued use of one GPU."""

    time: Owners
    """Weights of its products by time."""
    energy: Owners
    """Weights of its products by energy."""
    mean_power: Fraction
    """Millijoules per nanosecond; 0 before it was metered."""


def _gpu_use(outcome: GpuOutcome, usage: RecentUsage, now: Instant, departed: frozenset[Product]) -> _GpuUse:
    """Continued use of a GPU: by its products since the latest of them arrived, at most of 24 hours."""
    arrival = _latest_arrival(outcome.gpu, usage, now)
    time: dict[Product, Fraction] = {}
    energy: dict[Product, Fraction] = {}
    metered_time = Fraction(0)
    for hour in usage.hours:
        if hour.end <= arrival.instant:
            continue
        times = hour.time.get(outcome.gpu, {})
        energies = hour.energy.get(outcome.gpu, {})
        if hour.start < arrival.instant:
            parts = _parts_after(arrival, times, hour, now)
        else:
            parts = dict.fromkeys((*times, *energies), Fraction(1))
        time_in_hour = sum((amount * parts[product] for product, amount in times.items()), Fraction(0))
        # Of the hour in which a GPU appears its own time counts; after it, hours in which it was off too.
        metered_time += max(time_in_hour, Fraction(hour.covered)) if metered_time else time_in_hour
        for sums, amounts in ((time, times), (energy, energies)):
            for product, amount in amounts.items():
                sums[product] = sums.get(product, Fraction(0)) + amount * parts.get(product, 0)
    mean_power = sum(energy.values()) / metered_time if metered_time else Fraction(0)
    present: dict[Product, int] = {}
    for owner_phase, weight in outcome.phase_weights.items():
        add(present, owner_phase.owner.product, weight)
    by_time = _weights(time, departed)
    by_energy = _weights(energy, departed)
    # Without a history, or where its products have all left, the present ones count.
    time_weights = by_time if any(by_time.values()) else present
    return _GpuUse(
        time_weights, energy=by_energy if any(by_energy.values()) else time_weights, mean_power=mean_power
    )


class _Arrival(NamedTuple):
    """Arrival of products at a GPU."""

    instant: Instant
    """When they arrived, or 24 hours ago where none arrived since."""
    products: frozenset[Product]
    """The products that arrived then; empty where none arrived in the last 24 hours."""


def _latest_arrival(gpu: Gpu, usage: RecentUsage, now: Instant) -> _Arrival:
    day_ago = now - NANOSECONDS_PER_DAY
    holders = {product for hour in usage.hours for product in hour.time.get(gpu, ())} - {UNASSIGNED}
    first_held = {usage.first_held[product] for product in holders if product in usage.first_held}
    recent = {instant for instant in first_held if day_ago < instant <= now}
    if not recent:
        return _Arrival(day_ago, frozenset())
    latest = max(recent)
    newest = {product for product, first in usage.first_held.items() if first == latest}
    return _Arrival(latest, frozenset(newest - {UNASSIGNED}))


def _parts_after(arrival: _Arrival, times: Owners, hour: UsageHour, now: Instant) -> dict[Product, Fraction]:
    """The part of each product's time in an hour that lies after an arrival in it.

    Products that arrived have all of their time after it; the others share the time that is left.
    """
    if not arrival.products:
        return dict.fromkeys(times, Fraction(hour.end - arrival.instant, NANOSECONDS_PER_HOUR))
    newest_time = sum(time for product, time in times.items() if product in arrival.products)
    other_time = sum(times.values()) - newest_time
    time_left = max(0, min(hour.end, now) - arrival.instant - newest_time)
    part_of_others = Fraction(min(time_left, other_time), max(1, other_time))
    return {product: Fraction(1) if product in arrival.products else part_of_others for product in times}


def _weights(amounts: Mapping[Product, Fraction], departed: frozenset[Product]) -> dict[Product, int]:
    """Whole numbers in the ratios of amounts, without those of products that have left."""
    denominator = math.lcm(*(amount.denominator for amount in amounts.values()))
    return {
        product: int(amount * denominator) for product, amount in amounts.items() if product not in departed
    }


def _prices(
    gpus: Iterable[GpuOutcome], at: Instant, now: Instant, month: Month, policy: CostPolicy
) -> Iterator[tuple[Gpu, int, Price]]:
    """Prices of the GPUs of the host at an instant; one that is present after its retirement stays.

    The number is above 1 for several GPUs that NVML never listed; the price is of one of them.
    """
    tariff = policy.tariff
    present = [
        slot for slot in gpus if tariff.is_retired(slot.gpu, now) or not tariff.is_retired(slot.gpu, at)
    ]
    gpus_on_host = sum(slot.count for slot in present)
    for slot in present:
        yield slot.gpu, slot.count, tariff.price(slot.gpu, at, month, gpus_on_host)


class _Cost(NamedTuple):
    """Cost of one GPU over a time at one price."""

    time: Picodollars
    """Cost of its hours."""
    energy: Picodollars


def _cost(price: Price, use: _GpuUse, length: Nanoseconds, up_ratio: Fraction) -> _Cost:
    """Cost of a length of time, of which a part, the ratio, costs hourly rent."""
    time = 0
    for rate in price.rates:
        amount = rate.rate.amount * length
        time += int(amount * up_ratio // rate.rate.period) if rate.while_up else amount // rate.rate.period
    if price.energy is None:
        return _Cost(time, energy=0)
    energy = use.mean_power * length * price.energy.per_kilowatt_hour
    return _Cost(time, int(energy // MILLIJOULES_PER_KILOWATT_HOUR))


def energy_by_product(postings: Postings) -> Iterator[tuple[Instant, Gpu, Product, Millijoules]]:
    """Energy of one tick by start of segment, GPU and product: divided as its cost, else as GPU time."""
    if not postings.energy or not postings.segments:
        return
    times = up_times(postings.segments)
    length = sum(times)
    end = 0
    for segment, time in zip(postings.segments, times, strict=True):
        by_time: dict[Gpu, dict[Product, int]] = {}
        for gpu_time in segment.gpu_times:
            add(by_time.setdefault(gpu_time.gpu, {}), gpu_time.owner_phase.owner.product, gpu_time.duration)
        by_cost: dict[Gpu, dict[Product, int]] = {}
        for money in segment.money:
            if money.component == ENERGY:
                add(by_cost.setdefault(money.gpu, {}), money.owner_phase.owner.product, money.amount)
        weights = {**by_time, **by_cost}
        start, end = end, end + time
        for used in postings.energy:
            part = part_between(used.energy, start, end, length)
            owners = weights.get(used.gpu, {})
            if part and any(owners.values()):
                for product, amount in divide(part, owners).items():
                    yield segment.start, used.gpu, product, amount


class OwnerRates(NamedTuple):
    """Present dollars per hour by owner: all of them, and those that pay for work.

    `busy` is 0 for an idle owner. One of a GPU that was not observed is left out of it: whether it worked is
    unknown.
    """

    total: dict[CostOwner, float]
    busy: dict[CostOwner, float]


def rates(gpus: Iterable[GpuOutcome], prices: Iterable[Price]) -> OwnerRates:
    """Present dollars per hour by owner: rates by time, plus the mean power of five minutes."""
    total: dict[CostOwner, float] = {}
    busy: dict[CostOwner, float] = {}
    unobserved: set[CostOwner] = set()
    for gpu, price in zip(gpus, prices, strict=True):
        energy = energy_dollars_per_hour(price, gpu.mean_watts)
        if not price.rates and energy is None:
            continue
        hourly = sum(rate.rate.dollars_per_hour() for rate in price.rates) + (energy or 0.0)
        all_weights = sum(gpu.phase_weights.values())
        for (owner, phase), weight in gpu.phase_weights.items():
            part = hourly * gpu.count * weight / all_weights
            if phase == "unobserved" and part:
                unobserved.add(owner)
            total[owner] = total.get(owner, 0.0) + part
            works = part if phase in BUSY_PHASES else 0.0
            busy[owner] = busy.get(owner, 0.0) + works
    for owner in unobserved:
        del busy[owner]
    return OwnerRates(total, busy)


def energy_dollars_per_hour(price: Price, mean_watts: float | None) -> float | None:
    """Cost of an hour's energy at this power; `None` without a price or a power."""
    if price.energy is None or mean_watts is None:
        return None
    return dollars(price.energy.per_kilowatt_hour) * mean_watts / WATTS_PER_KILOWATT


def current_prices(gpus: Iterable[GpuOutcome], at: Instant, policy: CostPolicy) -> list[Price]:
    """Price of each GPU of the host at an instant."""
    return _prices_at([(gpu, at) for gpu in gpus], at, policy)


def first_prices(gpus: Iterable[GpuOutcome], at: Instant, policy: CostPolicy) -> list[Price]:
    """Price of each GPU of the host at the start of its first configured price."""
    return _prices_at([(gpu, policy.tariff.first_priced(gpu.gpu, at)) for gpu in gpus], at, policy)


def _prices_at(gpus: list[tuple[GpuOutcome, Instant]], now: Instant, policy: CostPolicy) -> list[Price]:
    month = month_of(now, policy.zone)
    count = sum(gpu.count for gpu, _ in gpus)
    return [policy.tariff.price(gpu.gpu, at, month, count) for gpu, at in gpus]

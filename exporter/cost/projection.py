"""Projection: current spend, and the cost of the month at its end. Pure.

The tariff prices the rest of the month: each GPU of the host, at each price that it will have, for the
products that held it in the last 24 hours.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import field
from functools import lru_cache
from itertools import pairwise
from operator import attrgetter
from typing import Final, NamedTuple

from exporter.cost.advance import GpuOutcome
from exporter.cost.money import add, add_all, split
from exporter.cost.policy import CostPolicy
from exporter.cost.postings import (
    BUSY_PHASES,
    UNASSIGNED,
    CostOwner,
    OwnerPhase,
    Postings,
    Segment,
    up_times,
)
from exporter.frozen import dataclass
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
    """GPU time and energy of one hour, by GPU and product.

    `covered` is the wall time that was metered, `down` the part of it that hourly rent is not owed for.
    `products` are those that had GPU time.
    """

    start: Instant
    covered: Nanoseconds = 0
    down: Nanoseconds = 0
    time: Mapping[Gpu, Owners] = field(default_factory=dict)
    energy: Mapping[Gpu, Owners] = field(default_factory=dict)
    products: frozenset[Product] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        products = frozenset(product for owners in self.time.values() for product in owners)
        object.__setattr__(self, "products", products)

    def __hash__(self) -> int:
        return hash(self.start)  # its mappings have none

    @property
    def end(self) -> Instant:
        """When it ends, or will."""
        return self.start + NANOSECONDS_PER_HOUR


@dataclass(frozen=True, slots=True)
class RecentUsage:
    """GPU usage of the last 24 hours.

    `hours` are the hours that were metered, oldest first, the running one last.
    `first_held` is when each product first held a GPU.
    `intermittent` are products that came back from an absence as long as their present one.
    """

    hours: tuple[UsageHour, ...] = ()
    first_held: Mapping[Product, Instant] = field(default_factory=dict)
    intermittent: frozenset[Product] = frozenset()


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
    """A month at its end: `to_date` and `rest` by product, which sum to the host's.

    `periods` divide the rest at each change of a price. `up_ratio` is the part of the last 24 hours that
    hourly rent was owed for. `rest_at_present_prices` is the rest if no price changed.
    """

    month: Month
    to_date: Mapping[Product, Picodollars]
    rest: Mapping[Product, Picodollars]
    periods: tuple[PricePeriod, ...]
    up_ratio: float
    rest_at_present_prices: Picodollars

    def totals(self) -> dict[Product, Picodollars]:
        """Cost of each product at the end of the month; the host's is their sum."""
        products = sorted({*self.to_date, *(product for product, amount in self.rest.items() if amount)})
        return {each: self.to_date.get(each, 0) + self.rest.get(each, 0) for each in products}

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
    day = _DayOfUsage(usage, now)
    covered, up = day.uptime()
    if not covered:
        return None
    month = month_of(now, policy.zone)
    departed = day.departed()
    gpu_uses = {outcome.gpu: _gpu_use(outcome, day, departed) for outcome in gpus}
    by_time: dict[Gpu, Picodollars] = dict.fromkeys(gpu_uses, 0)
    by_energy: dict[Gpu, Picodollars] = dict.fromkeys(gpu_uses, 0)
    periods = []
    for start, end in pairwise(sorted({now, month.end, *policy.tariff.changes(now, month.end)})):
        amount = 0
        for gpu, count, price in _prices(gpus, start, now, month, policy):
            time, energy = _cost(price, gpu_uses[gpu], end - start, covered, up)
            by_time[gpu] += time * count
            by_energy[gpu] += energy
            amount += time * count + energy
        periods.append(PricePeriod(start, end, amount))
    present = periods[0].amount
    if len(periods) > 1:
        present = 0
        for gpu, count, price in _prices(gpus, now, now, month, policy):
            time, energy = _cost(price, gpu_uses[gpu], month.end - now, covered, up)
            present += time * count + energy
    rest: dict[Product, Picodollars] = {}
    for gpu, use in gpu_uses.items():
        for amount, weights in ((by_time[gpu], use.time), (by_energy[gpu], use.energy)):
            if amount:
                add_all(rest, split(amount, weights)[0])
    return Projection(month, to_date, rest, tuple(periods), up / covered, present)


class _GpuUse(NamedTuple):
    """Weights of one GPU's products by time and by energy; its energy, and the time that it was used over.

    All are multiples of one fraction of a nanosecond and of a millijoule: only their ratios mean something.
    """

    time: Owners
    energy: Owners
    joules: int
    over: int


_NOTHING: Final[Owners] = {}


def _gpu_use(outcome: GpuOutcome, day: "_DayOfUsage", departed: frozenset[Product]) -> _GpuUse:
    """Continued use of a GPU: by its products since the latest of them arrived, at most of 24 hours."""
    gpu = outcome.gpu
    since, newest = day.latest_arrival(gpu)
    cut, whole, running = day.after(since)
    cut_time: dict[Product, int] = {}
    cut_energy: dict[Product, int] = {}
    denominator = 1
    for hour in cut:  # the oldest hour, if any
        if hour.end > since:
            times, energies = hour.time.get(gpu, _NOTHING), hour.energy.get(gpu, _NOTHING)
            parts, denominator = _parts_after(times, hour, since, day.now, newest)
            cut_time, cut_energy = _numerators(times, parts), _numerators(energies, parts)
    was_here = any(cut_time.values())
    sums = whole.of(gpu)
    time, energy, joules = dict(sums.time), dict(sums.energy), sums.joules
    over = sums.over_if_here if was_here else sums.over
    for hour in running:
        times, energies = hour.time.get(gpu, _NOTHING), hour.energy.get(gpu, _NOTHING)
        add_all(time, times)
        add_all(energy, energies)
        joules += sum(energies.values())
        over += _over(times, hour, was_here=was_here or over > 0)
    if cut_time or cut_energy:
        # Everything gets the denominator of the part: a mean over few minutes is exact too.
        time, energy = _sum(time, denominator, cut_time), _sum(energy, denominator, cut_energy)
        joules = joules * denominator + sum(cut_energy.values())
        over = over * denominator + sum(cut_time.values())
    for each in (time, energy):
        for product in departed.intersection(each):
            del each[product]
    if not any(time.values()):
        # It has no history yet, or its products have all left: its present ones count.
        time = _products(outcome)
    return _GpuUse(time, energy if any(energy.values()) else time, joules, over)


def _over(times: Owners, hour: UsageHour, *, was_here: bool) -> Nanoseconds:
    """The time of an hour that a GPU's energy was used over.

    Of the hour in which a GPU appears its own time counts; after it, hours in which it was off as well.
    """
    own = sum(times.values())
    return max(own, hour.covered) if was_here else own


class _GpuSums(NamedTuple):
    """One GPU in consecutive hours. `over` is the time of its energy where it was not here before them,
    `over_if_here` where it was.
    """

    time: Owners
    energy: Owners
    joules: Millijoules
    over: Nanoseconds
    over_if_here: Nanoseconds


class _WholeHours(NamedTuple):
    """Sums of consecutive hours: the metered time, its part without rent, each GPU, and when each product
    last held one.
    """

    covered: Nanoseconds
    down: Nanoseconds
    gpus: Mapping[Gpu, _GpuSums]
    last: Mapping[Product, Instant]

    def of(self, gpu: Gpu) -> _GpuSums:
        """Those of a GPU."""
        return self.gpus.get(gpu) or _GpuSums({}, {}, 0, 0, self.covered)


@lru_cache(maxsize=4)  # products came at few different hours; each entry keeps a day, 0.1 MB of 8 GPUs
def _whole_hours(hours: tuple[UsageHour, ...]) -> _WholeHours:
    last: dict[Product, Instant] = {}
    for hour in hours:
        last.update(dict.fromkeys(hour.products, hour.start))
    gpus: dict[Gpu, _GpuSums] = {}
    for gpu in {gpu: None for hour in hours for gpu in (*hour.time, *hour.energy)}:
        time: dict[Product, int] = {}
        energy: dict[Product, int] = {}
        over = over_if_here = 0
        for hour in hours:
            times = hour.time.get(gpu, _NOTHING)
            add_all(time, times)
            add_all(energy, hour.energy.get(gpu, _NOTHING))
            over += _over(times, hour, was_here=over > 0)
            over_if_here += _over(times, hour, was_here=True)
        gpus[gpu] = _GpuSums(time, energy, sum(energy.values()), over, over_if_here)
    covered, down = sum(hour.covered for hour in hours), sum(hour.down for hour in hours)
    return _WholeHours(covered, down, gpus, last)


class _DayOfUsage:
    """Usage of the last 24 hours up to `now`."""

    def __init__(self, usage: RecentUsage, now: Instant) -> None:
        self.now = now
        self._usage = usage
        self._since = now - NANOSECONDS_PER_DAY
        self._parts: dict[Instant, tuple[tuple[UsageHour, ...], _WholeHours, tuple[UsageHour, ...]]] = {}
        self._first_held = {
            product: at
            for product, at in usage.first_held.items()
            if self._since < at <= now and product != UNASSIGNED
        }

    def after(self, since: Instant) -> tuple[tuple[UsageHour, ...], _WholeHours, tuple[UsageHour, ...]]:
        """The hours that began before an instant, those after it that have ended, and the running one."""
        if since not in self._parts:  # the same for most GPUs
            hours = self._usage.hours
            first = bisect_left(hours, since, key=_start)
            self._parts[since] = hours[:first], _whole_hours(hours[first:-1]), hours[first:][-1:]
        return self._parts[since]

    def uptime(self) -> tuple[int, int]:
        """Metered time, and the part that hourly rent was owed for, as a ratio.

        Both are multiples of a fraction of a nanosecond.
        """
        cut, whole, running = self.after(self._since)
        covered, down = whole.covered * NANOSECONDS_PER_HOUR, whole.down * NANOSECONDS_PER_HOUR
        for hour in (*cut, *running):
            inside = min(NANOSECONDS_PER_HOUR, hour.end - self._since)
            covered += hour.covered * inside
            down += hour.down * inside
        return covered, covered - down

    def departed(self) -> frozenset[Product]:
        """Products that have left: they hold nothing any more, and are not intermittent."""
        cut, whole, running = self.after(self._since)
        last: dict[Product, Instant] = {}
        for hour in cut:
            last.update(dict.fromkeys(hour.products, hour.start))
        last.update(whole.last)
        for hour in running:
            last.update(dict.fromkeys(hour.products, hour.start))
        present = self._usage.hours[-1].start - (LEFT_AFTER_HOURS - 1) * NANOSECONDS_PER_HOUR
        gone = {product for product, start in last.items() if start < present}
        return frozenset(gone - self._usage.intermittent - {UNASSIGNED})

    def latest_arrival(self, gpu: Gpu) -> tuple[Instant, set[Product]]:
        """When the latest product of a GPU arrived, and which arrived then; 24 hours ago where none did."""
        since = self._since
        newest: set[Product] = set()
        if not self._first_held:
            return since, newest
        cut, whole, running = self.after(since)
        on_gpu = {
            *whole.of(gpu).time,
            *(product for hour in (*cut, *running) for product in hour.time.get(gpu, ())),
        }
        for product in on_gpu & self._first_held.keys():
            arrived = self._first_held[product]
            if since < arrived:
                since, newest = arrived, {product}
            elif newest and arrived == since:
                newest.add(product)
        return since, newest


_start: Final = attrgetter("start")


def _parts_after(
    times: Owners, hour: UsageHour, since: Instant, now: Instant, newest: Collection[Product]
) -> tuple[dict[Product, int], int]:
    """The part of each product's time in an hour that lies after an instant in it: numerators over one whole.

    Products that arrived at that instant have all of theirs after it; the others share the time that is left.
    """
    if not newest:
        return dict.fromkeys(times, hour.end - since), NANOSECONDS_PER_HOUR
    own = sum(time for product, time in times.items() if product in newest)
    others = sum(times.values()) - own
    left = max(0, min(hour.end, now) - since - own)
    whole = max(1, others)
    return {product: whole if product in newest else min(left, others) for product in times}, whole


def _numerators(amounts: Owners, parts: Owners) -> dict[Product, int]:
    return {product: amount * parts.get(product, 0) for product, amount in amounts.items()}


def _sum(amounts: Owners, whole: int, numerators: Owners) -> dict[Product, int]:
    """Amounts and fractions as multiples of one over a whole."""
    products = {**amounts, **numerators}
    return {each: amounts.get(each, 0) * whole + numerators.get(each, 0) for each in products}


def _products(outcome: GpuOutcome) -> dict[Product, int]:
    weights: dict[Product, int] = {}
    for owner_phase, weight in outcome.phase_weights.items():
        add(weights, owner_phase.owner.product, weight)
    return weights


def _prices(
    gpus: Iterable[GpuOutcome], at: Instant, now: Instant, month: Month, policy: CostPolicy
) -> Iterator[tuple[Gpu, int, Price]]:
    """Prices of the GPUs of the host at an instant; one that is present after its retirement stays.

    The number is above 1 for several GPUs that NVML never listed; the price is of one of them.
    """
    tariff = policy.tariff
    here = [each for each in gpus if tariff.has_left(each.gpu, now) or not tariff.has_left(each.gpu, at)]
    count = sum(each.count for each in here)
    for each in here:
        yield each.gpu, each.count, tariff.price(each.gpu, at, month, count)


def _cost(
    price: Price, use: _GpuUse, length: Nanoseconds, covered: int, up: int
) -> tuple[Picodollars, Picodollars]:
    """Cost of one GPU over a time at one price: of its hours, and of its energy."""
    time = 0
    for rate in price.rates:
        part, whole = (up, covered) if rate.while_up else (1, 1)
        time += rate.rate.amount * length * part // (rate.rate.period * whole)
    if price.energy is None or not use.over:
        return time, 0
    energy = price.energy.per_kilowatt_hour * use.joules * length
    return time, energy // (MILLIJOULES_PER_KILOWATT_HOUR * use.over)


def energy_by_product(postings: Postings) -> Iterator[tuple[Instant, Gpu, Product, Millijoules]]:
    """Energy of one tick by start of segment, GPU and product: divided as its cost, else as GPU time."""
    if not postings.energy or not postings.segments:
        return
    times = up_times(postings.segments)
    length = sum(times)
    after = 0
    for segment, time in zip(postings.segments, times, strict=True):
        weights = _energy_weights(segment)
        before, after = after, after + time
        for used in postings.energy:
            part = used.energy * after // length - used.energy * before // length
            if part and (owners := weights.get(used.gpu)):
                for product, amount in split(part, owners)[0].items():
                    yield segment.start, used.gpu, product, amount


def _energy_weights(segment: Segment) -> dict[Gpu, dict[Product, int]]:
    paid: dict[Gpu, dict[Product, int]] = {}
    times: dict[Gpu, dict[Product, int]] = {}
    for money in segment.money:
        if money.component == ENERGY:
            add(paid.setdefault(money.gpu, {}), money.owner_phase.owner.product, money.amount)
    for each in segment.gpu_times:
        add(times.setdefault(each.gpu, {}), each.owner_phase.owner.product, each.duration)
    return {gpu: owners for gpu, owners in {**times, **paid}.items() if any(owners.values())}


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
    for (owner, phase), part in _rate_parts(gpus, prices):
        if phase == "unobserved" and part:
            unobserved.add(owner)
        total[owner] = total.get(owner, 0.0) + part
        busy[owner] = busy.get(owner, 0.0) + (part if phase in BUSY_PHASES else 0.0)
    for owner in unobserved:
        del busy[owner]
    return OwnerRates(total, busy)


def _rate_parts(gpus: Iterable[GpuOutcome], prices: Iterable[Price]) -> Iterator[tuple[OwnerPhase, float]]:
    """Present dollars per hour of each priced GPU by owner and phase."""
    for gpu, price in zip(gpus, prices, strict=True):
        hourly = sum(rate.rate.dollars_per_hour() for rate in price.rates)
        energy = energy_dollars_per_hour(price, gpu.mean_watts)
        total = sum(gpu.phase_weights.values())
        if not price.rates and energy is None:
            continue
        for owner_phase, weight in gpu.phase_weights.items():
            yield owner_phase, (hourly + (energy or 0.0)) * gpu.count * weight / total


def energy_dollars_per_hour(price: Price, mean_watts: float | None) -> float | None:
    """Cost of an hour's energy at this power; `None` without a price or a power."""
    if price.energy is None or mean_watts is None:
        return None
    return dollars(price.energy.per_kilowatt_hour) * mean_watts / WATTS_PER_KILOWATT


def first_prices(gpus: Iterable[GpuOutcome], at: Instant, policy: CostPolicy) -> list[Price]:
    """Price of each GPU of the host at the start of its first configured price."""
    gpus = list(gpus)
    month = month_of(at, policy.zone)
    tariff = policy.tariff
    count = sum(gpu.count for gpu in gpus)
    return [tariff.price(gpu.gpu, tariff.first_priced(gpu.gpu, at), month, count) for gpu in gpus]


def current_prices(gpus: Iterable[GpuOutcome], at: Instant, policy: CostPolicy) -> list[Price]:
    """Price of each GPU of the host at an instant."""
    gpus = list(gpus)
    month = month_of(at, policy.zone)
    count = sum(gpu.count for gpu in gpus)
    return [policy.tariff.price(gpu.gpu, at, month, count) for gpu in gpus]

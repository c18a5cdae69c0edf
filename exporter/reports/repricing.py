"""What a change of prices would have made of money that is posted already, and how to correct it.

A reload never moves what is posted. Where the new configuration says by date that past time cost something
else, the difference is reckoned here from history: exactly for each GPU and component, by whole days, and by
hours in a day in which a price changes. Among products it is divided as that component was posted to them
then. Energy, overheads and adjustments that were made already are not in it.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from exporter.cost.money import split
from exporter.cost.postings import UNASSIGNED
from exporter.ledger.history import Sums, day_number
from exporter.readings import Gpu
from exporter.reports.rounding import rounded
from exporter.tariff.calendar import Day, day_of, month_before, month_of
from exporter.tariff.rate import ComponentRate
from exporter.tariff.tariff import AMORTIZATION, INSURANCE, RENT, SUPPORT, Tariff
from exporter.tariff.terms import Owned, Rented
from exporter.units import (
    NANOSECONDS_PER_HOUR,
    PICODOLLARS_PER_DOLLAR,
    Instant,
    Nanoseconds,
    Picodollars,
)

BY_TIME: Final = (RENT, AMORTIZATION, SUPPORT, INSURANCE)
"""Components of hardware that accrue by time."""

MONTHS_BEFORE: Final = 12
"""How far back it is looked, beside the month that goes on: an adjustment may be for these."""

CENT: Final = PICODOLLARS_PER_DOLLAR // 100

Payer = tuple[str, str]
"""Product and team."""


class History(Protocol):
    """What the ledger keeps of the past. Each answer is of one commit; `None` where nothing is kept."""

    def days(self, first: int, last: int) -> Mapping[int, Sums] | None:
        """By local day, a number like 20261130."""
        ...

    def hours(self, first: int, last: int) -> Mapping[int, Sums] | None:
        """By hour since 1970."""
        ...


@dataclass(frozen=True, slots=True)
class Correction:
    """What one product and team would be billed in addition; `day` is the last of a month that it is for."""

    day: str
    product: str
    team: str
    cents: int


@dataclass(frozen=True, slots=True)
class Repricing:
    """Money posted at other prices than the new ones, since the first of it, and what it would have been."""

    since: Instant
    gpus: int
    posted: Picodollars
    due: Picodollars
    corrections: tuple[Correction, ...]


@dataclass(slots=True)
class _Found:
    since: Instant | None = None
    gpus: set[str] = field(default_factory=set)
    posted: Fraction = Fraction(0)
    due: Fraction = Fraction(0)
    owed: dict[tuple[str, str, str], Picodollars] = field(default_factory=dict)
    """By month, product and team."""
    last: dict[str, str] = field(default_factory=dict)
    """The last day of each month."""


def repricing(old: Tariff, new: Tariff, history: History, zone: ZoneInfo, now: Instant) -> Repricing | None:
    """What is posted at other prices than the new ones say by date; `None` where it comes to no cent.

    Args:
        old: the prices until now.
        new: those from now on.
        history: what is posted, by time.
        zone: of its days.
        now: the end of what may be posted.
    """
    begin = _begin(new, now)
    if old.hardware == new.hardware or begin is None:
        return None
    earliest = month_of(now, zone)
    for _ in range(MONTHS_BEFORE):
        earliest = month_before(earliest, zone)
    begin = max(begin, earliest.start)
    prices = _Prices(old, new, begin, now)
    found = _Found()
    for days in _months(day_of(begin, zone), day_of(now, zone), zone):
        sums_by_day = history.days(day_number(days[0].name), day_number(days[-1].name)) or {}
        for day in days:
            sums = sums_by_day.get(day_number(day.name))
            if sums is not None:
                for since, until, part in _cells(day, sums, prices, history, now):
                    _reckon(found, day, since, until, part, prices)
    return _told(found)


def _begin(new: Tariff, now: Instant) -> Instant | None:
    """The first past instant from which something dated holds."""
    begins: list[Instant] = []
    for rule in new.hardware:
        if isinstance(rule.terms, Rented):
            begins.extend(price.since for price in rule.terms.prices if price.since is not None)
        elif isinstance(rule.terms, Owned):
            begins.append(rule.terms.in_service)
    return min((instant for instant in begins if instant < now), default=None)


def dated(rates: Iterable[ComponentRate]) -> bool:
    """Whether people said since when these hold; a catalogue's date is that of its reading."""
    return all(rate.provenance.price_basis == "configured" and rate.provenance.as_of for rate in rates)


def amounts_of(rates: Iterable[ComponentRate]) -> dict[str, tuple[Fraction, bool]]:
    """Picodollars a nanosecond by component, and whether only while the host is up."""
    return {
        rate.component: (Fraction(rate.rate.amount, rate.rate.period), rate.while_up)
        for rate in rates
        if rate.rate.amount
    }


class _Prices:
    """Both tariffs between their changes, each asked once for each GPU."""

    def __init__(self, old: Tariff, new: Tariff, begin: Instant, now: Instant) -> None:
        self._old, self._new = old, new
        self.cuts = sorted({begin, *old.changes(begin, now), *new.changes(begin, now)})
        self._known: dict[tuple[Gpu, int], dict[str, tuple[Fraction, bool]] | None] = {}

    def of(self, gpu: Gpu, at: Instant) -> dict[str, tuple[Fraction, bool]] | None:
        """What the new prices say by date, in picodollars a nanosecond; `None` where that is nothing new."""
        place = bisect_right(self.cuts, at) - 1
        if place < 0:
            return None
        key = gpu, place
        if key not in self._known:
            self._known[key] = self._changed(gpu, self.cuts[place])
        return self._known[key]

    def _changed(self, gpu: Gpu, at: Instant) -> dict[str, tuple[Fraction, bool]] | None:
        after = self._new.hardware_price(gpu, at)
        if not after.priced or not dated(after.rates):
            return None
        amounts = amounts_of(after.rates)
        before = self._old.hardware_price(gpu, at)
        return None if before.priced and amounts_of(before.rates) == amounts else amounts


def _months(first: Day, last: Day, zone: ZoneInfo) -> Iterator[list[Day]]:
    """The days from the first to the last, a month at a time: no more of history is in memory at once."""
    days: list[Day] = []
    day = first
    while day.start <= last.start:
        if days and day.name[:7] != days[0].name[:7]:
            yield days
            days = []
        days.append(day)
        day = day_of(day.end, zone)
    yield days


def _cells(
    day: Day, sums: Sums, prices: _Prices, history: History, now: Instant
) -> Iterator[tuple[Instant, Instant, tuple[Sums, Fraction]]]:
    """A day, or where a price changes in it its hours, and parts of an hour: with the part of the sums."""
    end = min(day.end, max(now, day.start + 1))
    inside = [cut for cut in prices.cuts if day.start < cut < end]
    if not inside:
        yield day.start, end, (sums, Fraction(1))
        return
    hour = NANOSECONDS_PER_HOUR
    found = history.hours(day.start // hour, (end - 1) // hour) or {}
    wholes = [(number * hour, (number + 1) * hour, of_hour) for number, of_hour in sorted(found.items())]
    for since, until, whole in wholes or [(day.start, day.end, sums)]:
        until_ = min(until, max(now, since + 1))
        cuts = sorted({since, until_, day.start, end, *inside})
        for start, stop in pairwise(cut for cut in cuts if since <= cut <= until_):
            if day.start <= start < day.end:
                yield start, stop, (whole, Fraction(stop - start, until_ - since))


def _reckon(
    found: _Found, day: Day, since: Instant, until: Instant, part: tuple[Sums, Fraction], prices: _Prices
) -> None:
    sums, fraction = part
    differences: dict[str, Fraction] = {}
    for gpu in sums.gpu_held:
        amounts = prices.of(gpu, since)
        time = _priced(sums, gpu)
        if amounts is None or not time or until <= since:
            continue
        up = max(0, time - sums.gpu_down.get(gpu, 0))
        for component in BY_TIME:
            rate, while_up = amounts.get(component, (Fraction(0), False))
            due = rate * (up if while_up else time) * fraction
            posted = sums.gpu_cost.get((gpu, component), 0) * fraction
            found.posted += posted
            found.due += due
            differences[component] = differences.get(component, Fraction(0)) + due - posted
        found.gpus.add(gpu.uuid)
        found.since = since if found.since is None else min(found.since, since)
    for component, difference in differences.items():
        amount = round(difference)
        if amount:
            month = day.name[:7]
            found.last[month] = day.name
            for (product, team), share in _divided(amount, sums, component).items():
                key = month, product, team
                found.owed[key] = found.owed.get(key, 0) + share


def _priced(sums: Sums, gpu: Gpu) -> Nanoseconds:
    """GPU time that is charged: what waits for a price is charged with the new one."""
    waits = sum(time for (whose, _), time in sums.unpriced.items() if whose == gpu)
    waits -= sum(time for (whose, _), time in sums.settled.items() if whose == gpu)
    return sums.gpu_held[gpu] - max(0, waits)


def _divided(amount: Picodollars, sums: Sums, component: str) -> dict[Payer, Picodollars]:
    """Among those that the component was posted to; else any money was; else those that held GPUs."""
    every: dict[Payer, int] = {}
    these: dict[Payer, int] = {}
    for (owner, name, _basis), posted in sums.server_cost.items():
        payer = owner.product, owner.team
        every[payer] = every.get(payer, 0) + max(0, posted)
        if name == component:
            these[payer] = these.get(payer, 0) + max(0, posted)
    held: dict[Payer, int] = {}
    for slot, time in sums.held.items():
        payer = slot.party.product, slot.party.team
        held[payer] = held.get(payer, 0) + time
    for weights in (these, every, held):
        if any(weights.values()):
            sign = 1 if amount > 0 else -1
            return {payer: sign * part for payer, part in split(abs(amount), weights)[0].items()}
    return {(UNASSIGNED, UNASSIGNED): amount}


def _told(found: _Found) -> Repricing | None:
    keys = sorted(found.owed)
    cents = rounded([found.owed[key] for key in keys], CENT)
    corrections = tuple(
        Correction(found.last[month], product, team, amount)
        for (month, product, team), amount in zip(keys, cents, strict=True)
        if amount
    )
    if not corrections or found.since is None:
        return None
    return Repricing(found.since, len(found.gpus), round(found.posted), round(found.due), corrections)

"""What a change of prices would have made of money that is posted already, and how to correct it.

A reload never moves what is posted. Where the new configuration says by date that past time cost something
else, the difference is reckoned here from history: exactly for each GPU and component, by whole days, and by
hours in a day in which a price changes. Among products it is divided as that component was posted to them
then. Corrections that were entered after an earlier reload are taken off; energy, overheads and other
adjustments are not in it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from exporter.cost.money import split
from exporter.cost.postings import UNASSIGNED
from exporter.ledger.adjustments import Adjustment
from exporter.ledger.history import Sums, day_number
from exporter.readings import Gpu
from exporter.reports.entered import Entered, entered
from exporter.reports.price_changes import PriceChanges
from exporter.reports.rounding import rounded
from exporter.tariff.calendar import Day, day_of, month_before, month_of
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

    def adjustments(self, first: int, last: int) -> Sequence[Adjustment]:
        """Those dated from the first to the last day, posted or waiting."""
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
    """Money posted at other prices than the new ones, since the first of it, and what it would have been.

    `entered` are corrections of changed prices that are in the ledger already, beside `posted`; `corrections`
    are what is missing then. `comparable` is false where those reach into time of which the new prices say
    nothing by date: how much of them is about the same money cannot be told, and there are no corrections.
    """

    since: Instant
    gpus: int
    posted: Picodollars
    due: Picodollars
    corrections: tuple[Correction, ...]
    entered: Picodollars = 0
    comparable: bool = True


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
    compared: set[str] = field(default_factory=set)
    """Months of which anything was."""
    undated: dict[str, Fraction] = field(default_factory=dict)
    """By GPU, what prices without a date would change in time that was corrected before."""


def repricing(old: Tariff, new: Tariff, history: History, zone: ZoneInfo, now: Instant) -> Repricing | None:
    """What is posted at other prices than the new ones say by date; `None` where nothing is to correct.

    Time of which a correction was entered is compared with the new prices whether or not these changed.

    Args:
        old: the prices until now.
        new: those from now on.
        history: what is posted, by time.
        zone: of its days.
        now: the end of what may be posted.
    """
    begin = _begin(new, now)
    if (old.hardware, old.retired) == (new.hardware, new.retired) or begin is None:
        return None
    earliest = month_of(now, zone)
    for _ in range(MONTHS_BEFORE):
        earliest = month_before(earliest, zone)
    first, last = day_of(earliest.start, zone), day_of(now, zone)
    made = entered(history.adjustments(day_number(first.name), day_number(last.name)), zone)
    begin = max(begin if made.since is None else min(begin, made.since), earliest.start)
    prices = PriceChanges(old, new, begin, now, made.since)
    found = _Found()
    for days in _months(day_of(begin, zone), day_of(now, zone), zone):
        sums_by_day = history.days(day_number(days[0].name), day_number(days[-1].name)) or {}
        for day in days:
            sums = sums_by_day.get(day_number(day.name))
            if sums is not None:
                for since, until, part in _cells(day, sums, prices, history, now):
                    _reckon(found, day, since, until, part, prices)
    return _told(found, made)


def _begin(new: Tariff, now: Instant) -> Instant | None:
    """The first past instant from which something dated holds."""
    begins: list[Instant] = []
    for rule in new.hardware:
        if isinstance(rule.terms, Rented):
            begins.extend(price.since for price in rule.terms.prices if price.since is not None)
        elif isinstance(rule.terms, Owned):
            begins.append(rule.terms.in_service)
    begins.extend(retirement.since for retirement in new.retired)
    return min((instant for instant in begins if instant < now), default=None)


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
    day: Day, sums: Sums, prices: PriceChanges, history: History, now: Instant
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
    found: _Found, day: Day, since: Instant, until: Instant, part: tuple[Sums, Fraction], prices: PriceChanges
) -> None:
    sums, fraction = part
    differences: dict[str, Fraction] = {}
    for gpu in sums.gpu_held:
        new = prices.of(gpu, since)
        time = _priced(sums, gpu)
        if new is None or not time or until <= since:
            continue
        up = max(0, time - sums.gpu_down.get(gpu, 0))
        for component in BY_TIME:
            rate, while_up = new.amounts.get(component, (Fraction(0), False))
            due = rate * (up if while_up else time) * fraction
            posted = sums.gpu_cost.get((gpu, component), 0) * fraction
            if not new.by_date:
                found.undated[gpu.uuid] = found.undated.get(gpu.uuid, Fraction(0)) + due - posted
                continue
            found.posted += posted
            found.due += due
            differences[component] = differences.get(component, Fraction(0)) + due - posted
        if not new.by_date:
            continue
        found.compared.add(day.name[:7])
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
    return sums.gpu_held[gpu] - sum(time for (whose, _), time in sums.waiting().items() if whose == gpu)


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


def _told(found: _Found, made: Entered) -> Repricing | None:
    known = {debt: amount for debt, amount in made.amounts.items() if debt[0] in found.compared}
    keys = sorted({*found.owed, *known})
    cents = rounded([found.owed.get(key, 0) - known.get(key, 0) for key in keys], CENT)
    corrections = tuple(
        Correction(found.last.get(month) or made.days[month], product, team, amount)
        for (month, product, team), amount in zip(keys, cents, strict=True)
        if amount
    )
    if not corrections or found.since is None:
        return None
    comparable = all(abs(difference) < CENT for difference in found.undated.values())
    return Repricing(
        found.since,
        len(found.gpus),
        round(found.posted),
        round(found.due),
        corrections if comparable else (),
        sum(known.values()),
        comparable,
    )

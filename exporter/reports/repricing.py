"""The difference between posted money and prices by date, and its corrections.

A reload never moves what is posted. Where the configuration says by date that past time cost something else,
the difference is calculated here from history: exactly, for each GPU and component, by whole days, and by
hours in a day in which a price changes or a GPU had several payers. It goes to the products and teams that
held that GPU in those hours.
Corrections that were entered before are taken off; energy, overheads and other adjustments are not in it.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from exporter.cost.money import add, add_all, split
from exporter.ledger.adjustments import REPRICING, Adjustment
from exporter.ledger.history import FAMILIES, HistorySums
from exporter.ledger.schema import day_number
from exporter.readings import Gpu
from exporter.reports.rounding import CENT, rounded
from exporter.tariff.calendar import Day, day_of, first_instant, month_before, month_of
from exporter.tariff.rate import ComponentRate
from exporter.tariff.tariff import HARDWARE, RENT, Tariff
from exporter.tariff.terms import Owned, Rented
from exporter.units import (
    NANOSECONDS_PER_HOUR,
    NANOSECONDS_PER_SECOND,
    Instant,
    Nanoseconds,
    Picodollars,
)

Amounts = Mapping[str, tuple[Fraction, bool]]
"""Picodollars a nanosecond by component, and whether only while the host is up."""


def dated(rates: Iterable[ComponentRate]) -> bool:
    """Whether the configuration dates these rates; a catalogue's date is the day it was read."""
    return all(rate.provenance.price_basis == "configured" and rate.provenance.as_of for rate in rates)


def amounts_of(rates: Iterable[ComponentRate]) -> Amounts:
    """The amounts of rates; those of nothing are left out."""
    return {
        rate.component: (Fraction(rate.rate.amount, rate.rate.period), rate.while_up)
        for rate in rates
        if rate.rate.amount
    }


@dataclass(frozen=True, slots=True)
class Due:
    """What a GPU costs from one change of a price to the next."""

    amounts: Amounts
    """The amounts by the prices that hold."""
    by_date: bool
    """Whether the configuration dates them; false without a price."""
    compared: bool
    """Whether posted money is compared with them."""
    assumed: Amounts | None
    """The amounts taken as posted where nothing is compared; `None` where no price says."""


class DatedPrices:
    """Prices between their changes, each asked once for each GPU.

    Time is compared where prices have a date and, with the tariff before them, where that said something
    else; and wherever a correction was entered, from `corrected` on.
    """

    def __init__(
        self, old: Tariff | None, new: Tariff, begin: Instant, now: Instant, corrected: Instant | None
    ) -> None:
        self._old, self._new, self._begin, self._corrected = old, new, begin, corrected
        own = {begin} if corrected is None else {begin, max(begin, corrected)}
        before = () if old is None else old.changes(begin, now)
        self.cuts = sorted({*own, *before, *new.changes(begin, now)})
        self._cache: dict[tuple[Gpu, int], Due] = {}

    def of(self, gpu: Gpu, at: Instant) -> Due:
        """The price of a GPU at an instant."""
        key = gpu, bisect_right(self.cuts, at)
        if key in self._cache:
            return self._cache[key]
        amounts, priced, by_date = _priced(self._new, gpu, at)
        assumed, was_priced = amounts, priced
        if self._old is not None:
            assumed, was_priced, _ = _priced(self._old, gpu, at)
        compared = at >= self._begin and (by_date or self.corrects(at))
        if compared and self._old is not None and not self.corrects(at):
            compared = not was_priced or assumed != amounts
        due = self._cache[key] = Due(amounts, by_date, compared, assumed if was_priced else None)
        return due

    def corrects(self, at: Instant) -> bool:
        """Whether an earlier correction may cover an instant."""
        return self._corrected is not None and at >= self._corrected


def _priced(tariff: Tariff, gpu: Gpu, at: Instant) -> tuple[Amounts, bool, bool]:
    """Amounts, whether there is a price, and whether by date. A GPU that has left costs nothing, by date."""
    if tariff.has_left(gpu, at):
        return {}, True, True
    price = tariff.hardware_price(gpu, at)
    return amounts_of(price.rates), price.priced, price.priced and dated(price.rates)


_KEY: Final = re.compile(r"repricing/(\d{4}-\d{2}-\d{2})/\d{1,9}", re.ASCII)

CorrectionOwner = tuple[str, str, str]
"""Month, product and team."""


@dataclass(frozen=True, slots=True)
class PostedCorrections:
    """Sums of earlier corrections, posted or waiting."""

    since: Instant | None
    """The earliest instant that they correct."""
    amounts: Mapping[CorrectionOwner, Picodollars]
    """Their sums."""
    days: Mapping[str, str]
    """The last day of a correction in each month."""
    counts: Mapping[CorrectionOwner, int]
    """The number of corrections."""


def reason(day: str) -> str:
    """The reason of a correction of prices since a day like 2026-11-10."""
    return f"prices since {day} were changed afterwards"


def key(day: str, number: int) -> str:
    """The key of a correction: the first day that it is about, and its number in its month for its owner."""
    return f"{REPRICING}/{day}/{number}"


def key_day(text: str) -> str | None:
    """The day of a key, like 2026-11-10; `None` for what is no key."""
    match = _KEY.fullmatch(text)
    return None if match is None else match[1]


def posted_corrections(adjustments: Iterable[Adjustment], zone: ZoneInfo) -> PostedCorrections:
    """The corrections of changed prices among adjustments."""
    since: Instant | None = None
    amounts: dict[CorrectionOwner, Picodollars] = {}
    days: dict[str, str] = {}
    counts: dict[CorrectionOwner, int] = {}
    for adjustment in adjustments:
        first_day = key_day(adjustment.key) if adjustment.kind == REPRICING else None
        if first_day is None:
            continue
        try:
            year, month, day = map(int, first_day.split("-"))
            start = first_instant(year, month, day, zone)
        except ValueError:  # a key of a day that the calendar lacks
            continue
        since = start if since is None else min(since, start)
        payer = adjustment.month, adjustment.product, adjustment.team
        add(amounts, payer, adjustment.amount)
        add(counts, payer, 1)
        days[adjustment.month] = max(days.get(adjustment.month, ""), adjustment.day)
    return PostedCorrections(since, amounts, days, counts)


MONTHS_BEFORE: Final = 12
"""Months before the current one that are compared: an adjustment may be for these."""

ROUNDING: Final[Picodollars] = 1000
"""The largest rounding of a day of one GPU and component."""

Payer = tuple[str, str]
"""Product and team."""


class PostedHistory(Protocol):
    """The ledger's history. All answers are of one commit; `None` where nothing is kept."""

    def days(self, first: int, last: int) -> Mapping[int, HistorySums] | None:
        """Sums by local day, a number like 20261130."""
        ...

    def hours(self, first: int, last: int) -> Mapping[int, HistorySums] | None:
        """Sums by hour since 1970."""
        ...

    def adjustments(self, first: int, last: int) -> Sequence[Adjustment]:
        """Those dated from the first to the last day, posted or waiting."""
        ...


@dataclass(frozen=True, slots=True)
class Correction:
    """What one product and team would be billed in addition."""

    day: str
    """The last day of a month that it is for."""
    product: str
    team: str
    cents: int
    key: str = ""
    """Its key in the ledger: with it, it is entered once."""


@dataclass(frozen=True, slots=True)
class GpuDifference:
    """Money posted for one GPU at other prices than those by date, and what it would have been."""

    gpu: Gpu
    posted: Picodollars
    due: Picodollars


@dataclass(frozen=True, slots=True)
class Repricing:
    """Money posted at other prices than those by date, and what it would have been."""

    since: Instant
    """The begin of that money."""
    gpus: tuple[GpuDifference, ...]
    corrections: tuple[Correction, ...]
    """What is missing after earlier corrections."""
    already_corrected: Picodollars = 0
    """The sum of earlier corrections of changed prices in the ledger, beside `posted`."""
    comparable: bool = True
    """False where earlier corrections reach into time that no price by date covers: what they correct is
    unknown, and there are no `corrections`."""

    @property
    def posted(self) -> Picodollars:
        """Posted money of all GPUs."""
        return sum(each.posted for each in self.gpus)

    @property
    def due(self) -> Picodollars:
        """Money of all GPUs at the prices by date."""
        return sum(each.due for each in self.gpus)


@dataclass(slots=True)
class _ChargedTime:
    """Charged time of one GPU in a cell by owner."""

    time: dict[Payer, Nanoseconds] = field(default_factory=dict)
    up: dict[Payer, Nanoseconds] = field(default_factory=dict)
    """The part that hourly rent is owed for."""

    def by(self, *, while_up: bool) -> dict[Payer, Nanoseconds]:
        return self.up if while_up else self.time


@dataclass(frozen=True, slots=True)
class _Cell:
    """A day, or an hour of one in which a price changes."""

    sums: HistorySums
    """Its sums."""
    length: Nanoseconds
    """Its duration."""
    parts: list[tuple[Instant, Fraction]]
    """The begin of each part that a change of price cuts it into, and that part's share of the cell."""


@dataclass(slots=True)
class _Differences:
    since: Instant | None = None
    gpus: dict[Gpu, list[Fraction]] = field(default_factory=dict)
    """Posted and due."""
    amounts: dict[tuple[str, str, str], Picodollars] = field(default_factory=dict)
    """By month, product and team."""
    last: dict[str, str] = field(default_factory=dict)
    """The last day of each month."""
    compared: set[str] = field(default_factory=set)
    """Months of which anything was."""
    undated: dict[str, Fraction] = field(default_factory=dict)
    """By GPU, what prices without a date would change in time that was corrected before."""


def repricing(
    old: Tariff | None, new: Tariff, history: PostedHistory, zone: ZoneInfo, now: Instant
) -> Repricing | None:
    """What is posted at other prices than these say by date; `None` where nothing is to correct.

    Time of which a correction was entered is compared with the new prices whether or not these changed.

    Args:
        old: the prices until now: time of which they say the same is not compared; `None` compares all.
        new: those that hold.
        history: what is posted, by time.
        zone: of its days.
        now: the end of what may be posted.
    """
    begin = _begin(new, now)
    same = old is not None and (old.hardware, old.retired) == (new.hardware, new.retired)
    if same or begin is None:
        return None
    earliest = month_of(now, zone)
    for _ in range(MONTHS_BEFORE):
        earliest = month_before(earliest, zone)
    first, last = day_of(earliest.start, zone), day_of(now, zone)
    made = posted_corrections(history.adjustments(day_number(first.name), day_number(last.name)), zone)
    begin = max(begin if made.since is None else min(begin, made.since), earliest.start)
    prices = DatedPrices(old, new, begin, now, made.since)
    differences = _Differences()
    for days in _months(day_of(begin, zone), day_of(now, zone), zone):
        sums_by_day = history.days(day_number(days[0].name), day_number(days[-1].name)) or {}
        for day in days:
            sums = sums_by_day.get(day_number(day.name))
            if sums is not None:
                for cell in _cells(day, sums, prices, history, now):
                    _reckon(differences, day, cell, prices)
    return _repricing_of(differences, made, zone)


def _begin(new: Tariff, now: Instant) -> Instant | None:
    """The first past instant from which something dated holds."""
    begins: list[Instant] = []
    for rule in new.hardware:
        if isinstance(rule.pricing, Rented):
            begins.extend(price.since for price in rule.pricing.prices if price.since is not None)
        elif isinstance(rule.pricing, Owned):
            begins.append(rule.pricing.in_service)
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
    day: Day, sums: HistorySums, prices: DatedPrices, history: PostedHistory, now: Instant
) -> Iterator[_Cell]:
    """A day whole, or by its hours: where a price changes in it, these by the parts of an hour.

    So is one of which several payers of a GPU are to be corrected: prices may have been reloaded in it.
    """
    end = min(day.end, max(now, day.start + 1))
    inside = [cut for cut in prices.cuts if day.start < cut < end]
    whole = _Cell(sums, end - day.start, [(day.start, Fraction(1))])
    if not inside and not _is_divided(whole, prices):
        yield whole
        return
    hour = NANOSECONDS_PER_HOUR
    sums_by_hour = history.hours(day.start // hour, (end - 1) // hour) or {}
    for since, until, of_hour in hours_of_day(day, sums, sums_by_hour) or [(day.start, day.end, sums)]:
        until_ = min(until, max(now, since + 1))
        spans = pairwise(sorted({since, until_, *(cut for cut in inside if since < cut < until_)}))
        length = until_ - since
        yield _Cell(of_hour, length, [(start, Fraction(stop - start, length)) for start, stop in spans])


Hour = tuple[Instant, Instant, HistorySums]
"""The begin and the end of an hour, or of its part in a day, and its sums."""


def hours_of_day(day: Day, sums: HistorySums, by_hour: Mapping[int, HistorySums]) -> list[Hour]:
    """The hours of a day with the sums that they have in it.

    Where a zone's days begin within an hour, two of them are of two days.
    What the whole hours leave of the day's sums is of these two. Of the one with more of a key, the part
    is that of its time: most hours are used evenly. The other has the rest, and neither more than it has.

    Args:
        day: the day.
        sums: those of the day.
        by_hour: those of its hours, by number since 1970.
    """
    hours: list[Hour] = []
    edges: list[Hour] = []
    for number, of_hour in sorted(by_hour.items()):
        since, until = number * NANOSECONDS_PER_HOUR, (number + 1) * NANOSECONDS_PER_HOUR
        inside = max(since, day.start), min(until, day.end)
        (hours if inside == (since, until) else edges).append((*inside, of_hour))
    if not edges:
        return hours
    parts = [(since, until, HistorySums()) for since, until, _ in edges]
    for family in FAMILIES:
        left = dict(getattr(sums, family))
        for _, _, of_hour in hours:
            add_all(left, {key: -amount for key, amount in getattr(of_hour, family).items()})
        for key, amount in left.items():
            amounts = [getattr(of_hour, family).get(key, 0) for _, _, of_hour in edges]
            most = amounts.index(max(amounts))
            since, until, _ = edges[most]
            by_time = int(amounts[most] * Fraction(until - since, NANOSECONDS_PER_HOUR))
            others = sum(amounts) - amounts[most]
            part = min(amounts[most], amount, max(by_time, amount - others))
            for number, (_, _, of_part) in enumerate(parts):
                taken = part if number == most else min(others, amount - part)
                if taken > 0:
                    getattr(of_part, family)[key] = taken
    return sorted((*hours, *parts), key=lambda hour: hour[0])


def _is_divided(cell: _Cell, prices: DatedPrices) -> bool:
    """Whether a GPU that several held in a cell has anything to correct in it."""
    for gpu, charged in _holders(cell.sums).items():
        parts = [(since, fraction, prices.of(gpu, since)) for since, fraction in cell.parts]
        if len(charged.time) > 1 and any(due.compared for _, _, due in parts):
            for component in HARDWARE:
                posted = cell.sums.gpu_cost.get((gpu, component), 0)
                if _difference(cell, posted, charged, component, parts) is not None:
                    return True
    return False


def _reckon(differences: _Differences, day: Day, cell: _Cell, prices: DatedPrices) -> None:
    sums = cell.sums
    month = day.name[:7]
    for gpu, charged in _holders(sums).items():
        parts = [(since, fraction, prices.of(gpu, since)) for since, fraction in cell.parts]
        if not any(due.compared for _, _, due in parts):
            continue
        differs = False
        for component in HARDWARE:
            amounts = _difference(cell, sums.gpu_cost.get((gpu, component), 0), charged, component, parts)
            if amounts is None:
                continue
            posted, due, while_up = amounts
            if not all(of.by_date for _, _, of in parts if of.compared):
                differences.undated[gpu.uuid] = differences.undated.get(gpu.uuid, Fraction(0)) + due - posted
                continue
            pair = differences.gpus.setdefault(gpu, [Fraction(0), Fraction(0)])
            pair[0] += posted
            pair[1] += due
            differs = True
            by_up = component == RENT and sums.gpu_unowed.get(gpu, 0) > 0
            for payer, share in (
                *_shares(round(due), charged.by(while_up=while_up), charged.time),
                *_shares(-round(posted), charged.by(while_up=by_up), charged.time),
            ):
                if share:
                    differences.last[month] = day.name
                    add(differences.amounts, (month, *payer), share)
        since = min(since for since, _, due in parts if due.compared)
        if any(due.by_date for _, _, due in parts if due.compared):
            differences.compared.add(month)
            if differs:
                differences.since = since if differences.since is None else min(differences.since, since)


def _difference(
    cell: _Cell,
    posted: Picodollars,
    charged: _ChargedTime,
    component: str,
    parts: list[tuple[Instant, Fraction, Due]],
) -> tuple[Fraction, Fraction, bool] | None:
    """What is posted for the compared parts of a cell, what is due for them, and whether only while up.

    `None` where they agree. What is posted for the other parts is what their price says.
    """
    due_sum = Fraction(0)
    rest = posted * sum((fraction for _, fraction, _ in parts), Fraction(0))
    at: list[Fraction] = []
    while_up = False
    whole = True
    for _, fraction, due in parts:
        assumed = due.amounts if due.compared else due.assumed
        if assumed is None:
            at.append(Fraction(posted))
            rest -= posted * fraction
            continue
        rate, only_up = assumed.get(component, (Fraction(0), False))
        time = sum(charged.by(while_up=only_up).values())
        whole = whole and time >= cell.length - NANOSECONDS_PER_SECOND
        at.append(rate * time)
        if due.compared:
            due_sum += rate * time * fraction
            while_up = while_up or only_up
        else:
            rest -= rate * time * fraction
    # In which of its parts a cell was metered, if only in part, is unknown.
    if len(parts) > 1 and not whole and min(at) - ROUNDING <= posted <= max(at) + ROUNDING:
        return None
    return None if abs(due_sum - rest) <= ROUNDING else (rest, due_sum, while_up)


def _holders(sums: HistorySums) -> dict[Gpu, _ChargedTime]:
    """Charged GPU time: what waits for a price is charged with the new one."""
    holders: dict[Gpu, _ChargedTime] = {}
    for owner, time in sums.owner_held.items():
        charged = holders.setdefault(owner.gpu, _ChargedTime())
        charged.time[owner.product, owner.team] = time
        charged.up[owner.product, owner.team] = max(0, time - sums.owner_down.get(owner, 0))
    return {gpu: charged for gpu, charged in holders.items() if any(charged.time.values())}


def _shares(
    amount: Picodollars, weights: Mapping[Payer, int], otherwise: Mapping[Payer, int]
) -> list[tuple[Payer, Picodollars]]:
    """A signed amount by weights; by others where these are nothing."""
    if not amount:
        return []
    sign = 1 if amount > 0 else -1
    parts, _ = split(abs(amount), weights if any(weights.values()) else otherwise)
    return [(payer, sign * part) for payer, part in parts.items()]


def _repricing_of(differences: _Differences, made: PostedCorrections, zone: ZoneInfo) -> Repricing | None:
    corrected = {payer: amount for payer, amount in made.amounts.items() if payer[0] in differences.compared}
    missing = {
        payer: differences.amounts.get(payer, 0) - corrected.get(payer, 0)
        for payer in sorted({*differences.amounts, *corrected})
    }
    # Less than a cent is left as it is: rounding would move it to and fro.
    missing = {payer: amount for payer, amount in missing.items() if abs(amount) >= CENT}
    cents = rounded(list(missing.values()), CENT)
    since = differences.since if differences.since is not None else made.since
    if not missing or since is None:
        return None
    day = day_of(since, zone).name
    corrections = tuple(
        Correction(
            differences.last.get(month) or made.days[month],
            product,
            team,
            amount,
            key(day, 1 + made.counts.get((month, product, team), 0)),
        )
        for (month, product, team), amount in zip(missing, cents, strict=True)
        if amount
    )
    if not corrections:
        return None
    comparable = all(abs(difference) < CENT for difference in differences.undated.values())
    return Repricing(
        since,
        tuple(
            GpuDifference(gpu, round(posted), round(due))
            for gpu, (posted, due) in sorted(differences.gpus.items())
        ),
        corrections if comparable else (),
        sum(corrected.values()),
        comparable,
    )

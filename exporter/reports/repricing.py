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
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby, pairwise
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


@dataclass(frozen=True, slots=True)
class _GpuCell:
    """Posted money and charged time of one GPU in a day, or in an hour of one in which a price changes."""

    gpu: Gpu
    day: str
    length: Nanoseconds
    """The duration of the cell."""
    sums: HistorySums
    """The sums of all GPUs in the cell."""
    time: Mapping[Payer, Nanoseconds]
    """The charged time of each payer."""
    up: Mapping[Payer, Nanoseconds]
    """The charged time of each payer that hourly rent is owed for."""
    parts: Sequence[tuple[Instant, Fraction, Due]]
    """The begin of each part that a change of price cuts the cell into, its share of the cell, its price."""

    @property
    def compared(self) -> list[tuple[Instant, Due]]:
        """The parts whose posted money is compared."""
        return [(since, due) for since, _, due in self.parts if due.compared]


@dataclass(frozen=True, slots=True)
class _Difference:
    """Posted money of one GPU and component in a cell, and the money by date."""

    posted: Fraction
    due: Fraction
    shares: Sequence[tuple[Payer, Picodollars]]
    """The money that each payer is to pay in addition."""


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
    return _repricing_of(_compared_cells(begin, now, zone, prices, history), made, zone)


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


def _compared_cells(
    begin: Instant, now: Instant, zone: ZoneInfo, prices: DatedPrices, history: PostedHistory
) -> Iterator[_GpuCell]:
    """All compared GPUs and times, a month at a time: no more of history is in memory at once."""
    last = day_of(now, zone)
    days = [day_of(begin, zone)]
    while days[-1].start < last.start:
        days.append(day_of(days[-1].end, zone))
    for _, days_of_month in groupby(days, key=lambda day: day.name[:7]):
        month = list(days_of_month)
        sums_by_day = history.days(day_number(month[0].name), day_number(month[-1].name)) or {}
        for day in month:
            sums = sums_by_day.get(day_number(day.name))
            if sums is not None:
                yield from _cells_of_day(day, sums, prices, history, now)


def _cells_of_day(
    day: Day, sums: HistorySums, prices: DatedPrices, history: PostedHistory, now: Instant
) -> Iterator[_GpuCell]:
    """A day whole, or by its hours where a price changes in it.

    So is one of which several payers of a GPU are to be corrected: prices may have been reloaded in it.
    """
    end = min(day.end, max(now, day.start + 1))
    if not any(day.start < cut < end for cut in prices.cuts):
        whole = list(_cells(day.name, sums, day.start, end, prices))
        if not any(len(cell.time) > 1 and any(_differences(cell)) for cell in whole):
            yield from whole
            return
    hour = NANOSECONDS_PER_HOUR
    sums_by_hour = history.hours(day.start // hour, (end - 1) // hour) or {}
    for since, until, of_hour in hours_of_day(day, sums, sums_by_hour) or [(day.start, day.end, sums)]:
        yield from _cells(day.name, of_hour, since, min(until, max(now, since + 1)), prices)


def _cells(
    day: str, sums: HistorySums, begin: Instant, end: Instant, prices: DatedPrices
) -> Iterator[_GpuCell]:
    """The charged GPUs of a time that is compared: what waits for a price is charged with the new one."""
    edges = [begin, *(cut for cut in prices.cuts if begin < cut < end), end]
    times: dict[Gpu, dict[Payer, Nanoseconds]] = {}
    up: dict[Gpu, dict[Payer, Nanoseconds]] = {}
    for owner, time in sums.owner_held.items():
        payer = owner.product, owner.team
        times.setdefault(owner.gpu, {})[payer] = time
        up.setdefault(owner.gpu, {})[payer] = max(0, time - sums.owner_down.get(owner, 0))
    for gpu, time_of_payers in times.items():
        parts = [
            (start, Fraction(stop - start, end - begin), prices.of(gpu, start))
            for start, stop in pairwise(edges)
        ]
        cell = _GpuCell(gpu, day, end - begin, sums, time_of_payers, up[gpu], parts)
        if cell.compared and any(time_of_payers.values()):
            yield cell


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


def _differences(cell: _GpuCell) -> Iterator[_Difference]:
    """The components of which other money is posted than is due."""
    for component in HARDWARE:
        difference = _difference(cell, component)
        if difference is not None:
            yield difference


def _difference(cell: _GpuCell, component: str) -> _Difference | None:
    """What is posted for the compared parts of a cell, and what is due for them; `None` where they agree.

    What is posted for the other parts is what their price says.
    """
    posted = cell.sums.gpu_cost.get((cell.gpu, component), 0)
    parts = cell.parts
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
        time = sum((cell.up if only_up else cell.time).values())
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
    if abs(due_sum - rest) <= ROUNDING:
        return None
    posted_while_up = component == RENT and cell.sums.gpu_unowed.get(cell.gpu, 0) > 0
    shares = (
        *_shares(round(due_sum), cell.up if while_up else cell.time, cell.time),
        *_shares(-round(rest), cell.up if posted_while_up else cell.time, cell.time),
    )
    return _Difference(rest, due_sum, shares)


def _shares(
    amount: Picodollars, weights: Mapping[Payer, int], otherwise: Mapping[Payer, int]
) -> list[tuple[Payer, Picodollars]]:
    """A signed amount by weights; by others where these are nothing."""
    if not amount:
        return []
    sign = 1 if amount > 0 else -1
    parts, _ = split(abs(amount), weights if any(weights.values()) else otherwise)
    return [(payer, sign * part) for payer, part in parts.items()]


def _repricing_of(cells: Iterable[_GpuCell], made: PostedCorrections, zone: ZoneInfo) -> Repricing | None:
    """The sum of the differences of cells, less earlier corrections."""
    since: Instant | None = None
    posted: dict[Gpu, Fraction] = {}
    due: dict[Gpu, Fraction] = {}
    amounts: dict[CorrectionOwner, Picodollars] = {}
    last_days: dict[str, str] = {}
    compared_months: set[str] = set()
    # By GPU, what prices without a date would change in time that was corrected before.
    undated: dict[str, Fraction] = {}
    for cell in cells:
        month = cell.day[:7]
        if any(price.by_date for _, price in cell.compared):
            compared_months.add(month)
        all_by_date = all(price.by_date for _, price in cell.compared)
        for difference in _differences(cell):
            if not all_by_date:
                changed = difference.due - difference.posted
                undated[cell.gpu.uuid] = undated.get(cell.gpu.uuid, Fraction(0)) + changed
                continue
            begin = cell.compared[0][0]
            since = begin if since is None else min(since, begin)
            posted[cell.gpu] = posted.get(cell.gpu, Fraction(0)) + difference.posted
            due[cell.gpu] = due.get(cell.gpu, Fraction(0)) + difference.due
            for payer, share in difference.shares:
                if share:
                    last_days[month] = cell.day
                    add(amounts, (month, *payer), share)
    corrected = {payer: amount for payer, amount in made.amounts.items() if payer[0] in compared_months}
    missing = {
        payer: amounts.get(payer, 0) - corrected.get(payer, 0) for payer in sorted({*amounts, *corrected})
    }
    # Less than a cent is left as it is: rounding would move it to and fro.
    missing = {payer: amount for payer, amount in missing.items() if abs(amount) >= CENT}
    cents = rounded(list(missing.values()), CENT)
    since = made.since if since is None else since
    if not missing or since is None:
        return None
    day = day_of(since, zone).name
    corrections = tuple(
        Correction(
            last_days.get(month) or made.days[month],
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
    comparable = all(abs(difference) < CENT for difference in undated.values())
    return Repricing(
        since,
        tuple(GpuDifference(gpu, round(posted[gpu]), round(due[gpu])) for gpu in sorted(posted)),
        corrections if comparable else (),
        sum(corrected.values()),
        comparable,
    )

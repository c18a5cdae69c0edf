"""The difference between posted money and prices by date, and its corrections.

A reload never moves what is posted. Where the configuration says by date that past time cost something else,
the difference is calculated here from history: exactly, for each GPU and component, by whole days, and by
hours in a day in which a price changes or a GPU had several payers. It goes to the products and teams that
held that GPU in those hours.
Corrections that were entered before are taken off; energy, overheads and other adjustments are not in it.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import groupby, pairwise
from typing import Any, Final, NamedTuple, Protocol
from zoneinfo import ZoneInfo

from exporter.cost.money import add, add_all, divide
from exporter.ledger.adjustments import REPRICING, Adjustment
from exporter.ledger.history import HistorySums
from exporter.ledger.schema import day_number
from exporter.readings import Gpu
from exporter.reports.dated_prices import NO_ACCRUAL, ComparedPrice, DatedPrices
from exporter.reports.rounding import CENT, rounded
from exporter.tariff.calendar import Day, day_of, first_instant, month_before, month_of
from exporter.tariff.tariff import BEFORE_CHANGES, HARDWARE, RENT, Tariff
from exporter.units import (
    NANOSECONDS_PER_HOUR,
    NANOSECONDS_PER_SECOND,
    Instant,
    Nanoseconds,
    Picodollars,
)

MONTHS_BEFORE: Final = 12
"""Months before the current one that are compared: an adjustment may be for these."""

ROUNDING: Final[Picodollars] = 1000
"""The largest rounding of a day of one GPU and component."""


class Payer(NamedTuple):
    """Who pays for time of a GPU."""

    product: str
    team: str


class CorrectedOwner(NamedTuple):
    """Whose cost of which month is corrected."""

    month: str
    payer: Payer


_KEY: Final = re.compile(r"repricing/(\d{4}-\d{2}-\d{2})/\d{1,9}", re.ASCII)


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


@dataclass(slots=True)
class PostedCorrections:
    """Sums of earlier corrections, posted or waiting."""

    since: Instant | None = None
    """The earliest instant that they correct."""
    amounts: dict[CorrectedOwner, Picodollars] = field(default_factory=dict)
    """Sums of corrections."""
    counts: dict[CorrectedOwner, int] = field(default_factory=dict)
    """Numbers of corrections."""
    last_days: dict[str, str] = field(default_factory=dict)
    """The last day of a correction in each month."""


def posted_corrections(adjustments: Iterable[Adjustment], zone: ZoneInfo) -> PostedCorrections:
    """The corrections of changed prices among adjustments."""
    posted = PostedCorrections()
    for adjustment in adjustments:
        first_day = key_day(adjustment.key) if adjustment.kind == REPRICING else None
        if first_day is None:
            continue
        try:
            year, month, day = map(int, first_day.split("-"))
            start = first_instant(year, month, day, zone)
        except ValueError:  # a key of a day that the calendar lacks
            continue
        posted.since = start if posted.since is None else min(posted.since, start)
        owner = CorrectedOwner(adjustment.month, Payer(adjustment.product, adjustment.team))
        add(posted.amounts, owner, adjustment.amount)
        add(posted.counts, owner, 1)
        last_day = posted.last_days.get(adjustment.month, "")
        posted.last_days[adjustment.month] = max(last_day, adjustment.day)
    return posted


class PostedHistory(Protocol):
    """The ledger's history. All answers are of one commit; `None` where nothing is kept."""

    def days(self, first: int, last: int) -> Mapping[int, HistorySums] | None:
        """Sums by local day, a number like 20261130."""
        ...

    def hours(self, first: int, last: int) -> Mapping[int, HistorySums] | None:
        """Sums by hour since 1970."""
        ...

    def adjustments(self, first: int, last: int) -> Sequence[Adjustment]:
        """Adjustments dated from the first to the last day, posted or waiting."""
        ...


@dataclass(frozen=True, slots=True)
class Correction:
    """What one product and team would be billed in addition."""

    day: str
    """The last day of the corrected month."""
    product: str
    team: str
    cents: int
    key: str = ""
    """Key of the line in the ledger, which takes each key once."""


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
        return sum(difference.posted for difference in self.gpus)

    @property
    def due(self) -> Picodollars:
        """Money of all GPUs at the prices by date."""
        return sum(difference.due for difference in self.gpus)


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
    first_change = min(new.changes(BEFORE_CHANGES, now), default=None)
    same = old is not None and (old.hardware, old.retired) == (new.hardware, new.retired)
    if same or first_change is None:
        return None
    earliest = month_of(now, zone)
    for _ in range(MONTHS_BEFORE):
        earliest = month_before(earliest, zone)
    first, last = day_of(earliest.start, zone), day_of(now, zone)
    adjustments = history.adjustments(day_number(first.name), day_number(last.name))
    made = posted_corrections(adjustments, zone)
    begin = first_change if made.since is None else min(first_change, made.since)
    begin = max(begin, earliest.start)
    prices = DatedPrices(old, new, begin=begin, now=now, corrected=made.since)
    differences = _Differences()
    for cell in _compared_cells(begin, now, zone, prices, history):
        differences.add(cell)
    return _repricing_of(differences, made, zone)


class _TimedSums(NamedTuple):
    """Sums of a time range."""

    start: Instant
    end: Instant
    sums: HistorySums

    def until(self, now: Instant) -> "_TimedSums":
        """These sums up to the present: nothing is posted after it."""
        return self._replace(end=min(self.end, max(now, self.start + 1)))


class _CellPart(NamedTuple):
    """A part of a cell between two changes of a price."""

    start: Instant
    fraction: Fraction
    """The share of the cell's time."""
    price: ComparedPrice


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
    """The charged time of each payer that costs hourly rent."""
    parts: Sequence[_CellPart]

    @property
    def compared(self) -> list[_CellPart]:
        """The parts whose posted money is compared."""
        return [part for part in self.parts if part.price.compared]

    def charged(self, *, while_up: bool) -> Mapping[Payer, Nanoseconds]:
        """The charged time of each payer, or only the time while the host was up."""
        return self.up if while_up else self.time


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
    whole_day = _TimedSums(day.start, day.end, sums)
    to_now = whole_day.until(now)
    if not any(day.start < cut < to_now.end for cut in prices.cuts):
        whole = list(_cells(day.name, to_now, prices))
        if not any(len(cell.time) > 1 and any(_differences(cell)) for cell in whole):
            yield from whole
            return
    first_hour = day.start // NANOSECONDS_PER_HOUR
    last_hour = (to_now.end - 1) // NANOSECONDS_PER_HOUR
    hours = _hours_of_day(whole_day, history.hours(first_hour, last_hour) or {})
    for hour in hours or [whole_day]:
        yield from _cells(day.name, hour.until(now), prices)


def _cells(day: str, timed: _TimedSums, prices: DatedPrices) -> Iterator[_GpuCell]:
    """The charged GPUs of a time that is compared: unpriced time is charged with the new one."""
    start, end, sums = timed
    edges = [start, *(cut for cut in prices.cuts if start < cut < end), end]
    times: dict[Gpu, dict[Payer, Nanoseconds]] = {}
    up: dict[Gpu, dict[Payer, Nanoseconds]] = {}
    for owner, time in sums.owner_held.items():
        payer = Payer(owner.product, owner.team)
        times.setdefault(owner.gpu, {})[payer] = time
        up.setdefault(owner.gpu, {})[payer] = max(0, time - sums.owner_down.get(owner, 0))
    for gpu, time_of_payers in times.items():
        parts = [
            _CellPart(begin, Fraction(stop - begin, end - start), prices.price(gpu, begin))
            for begin, stop in pairwise(edges)
        ]
        cell = _GpuCell(gpu, day, length=end - start, sums=sums, time=time_of_payers, up=up[gpu], parts=parts)
        if cell.compared and any(time_of_payers.values()):
            yield cell


_FAMILIES: Final[tuple[Callable[[HistorySums], dict[Any, int]], ...]] = (
    lambda sums: sums.gpu_cost,
    lambda sums: sums.gpu_unowed,
    lambda sums: sums.owner_held,
    lambda sums: sums.owner_down,
)
"""The families of history that a cell reads."""


def _hours_of_day(day: _TimedSums, by_hour: Mapping[int, HistorySums]) -> list[_TimedSums]:
    """The hours of a day with the sums that they have in it; `by_hour` has those since 1970.

    Where a zone's days begin within an hour, two hours are edges: each of them is of two days. What the whole
    hours leave of the day's sums is of the edges.
    """
    hours: list[_TimedSums] = []
    edges: list[_TimedSums] = []
    for number, sums in sorted(by_hour.items()):
        since, until = number * NANOSECONDS_PER_HOUR, (number + 1) * NANOSECONDS_PER_HOUR
        hour = _TimedSums(max(since, day.start), min(until, day.end), sums)
        is_whole = (hour.start, hour.end) == (since, until)
        (hours if is_whole else edges).append(hour)
    if not edges:
        return hours
    parts = [edge._replace(sums=HistorySums()) for edge in edges]
    for family in _FAMILIES:
        left = dict(family(day.sums))
        for hour in hours:
            for name, amount in family(hour.sums).items():
                add(left, name, -amount)
        for name, amount in left.items():
            edge_amounts = [
                _EdgeAmount(family(edge.sums).get(name, 0), edge.end - edge.start) for edge in edges
            ]
            for part, part_amount in zip(parts, _split_over_edges(amount, edge_amounts), strict=True):
                if part_amount > 0:
                    family(part.sums)[name] = part_amount
    return sorted((*hours, *parts), key=lambda hour: hour.start)


class _EdgeAmount(NamedTuple):
    """Amount of an hour in which a day begins or ends."""

    of_hour: int
    """The amount of the whole hour."""
    time_in_day: Nanoseconds
    """The time of the hour that is in the day."""


def _split_over_edges(amount: int, edges: list[_EdgeAmount]) -> list[int]:
    """The parts of a day's amount that its edges have; none has more than its hour.

    The larger edge has the part of its time, since most hours are used evenly; the other one has the rest.
    30 over half an hour with 50 and one with 20 is 25 and 5.
    """
    larger = max(edges, key=lambda edge: edge.of_hour)
    others = sum(edge.of_hour for edge in edges) - larger.of_hour
    by_time = larger.of_hour * larger.time_in_day // NANOSECONDS_PER_HOUR
    at_least = amount - others
    at_most = min(amount, larger.of_hour)
    part_of_larger = min(max(by_time, at_least), at_most)
    rest = min(others, amount - part_of_larger)
    return [part_of_larger if edge is larger else rest for edge in edges]


@dataclass(frozen=True, slots=True)
class _Difference:
    """Posted money of one GPU and component in a cell, and the money by date."""

    posted: Fraction
    due: Fraction
    shares: Mapping[Payer, Picodollars]
    """Money that each payer is to pay in addition; below 0, money to give back."""


def _differences(cell: _GpuCell) -> Iterator[_Difference]:
    """The components of which other money is posted for the compared parts of a cell than is due for them.

    What is posted for the other parts is what their price says.
    """
    for component in HARDWARE:
        posted = Fraction(cell.sums.gpu_cost.get((cell.gpu, component), 0))
        due = Fraction(0)
        compared_posted = posted
        whole_cells: list[Fraction] = []  # money of the whole cell at the price of each part
        due_while_up = False
        metered_whole = True
        for part in cell.parts:
            money = posted
            if part.price.accruals is not None:
                accrual = part.price.accruals.get(component, NO_ACCRUAL)
                time = sum(cell.charged(while_up=accrual.while_up).values())
                metered_whole = metered_whole and time >= cell.length - NANOSECONDS_PER_SECOND
                due_while_up = due_while_up or (part.price.compared and accrual.while_up)
                money = accrual.per_nanosecond * time
            whole_cells.append(money)
            if part.price.compared:
                due += money * part.fraction
            else:
                compared_posted -= money * part.fraction
        # In which of its parts a cell was metered, if only in part, is unknown.
        in_range = min(whole_cells) - ROUNDING <= posted <= max(whole_cells) + ROUNDING
        is_uncertain = len(cell.parts) > 1 and not metered_whole and in_range
        if is_uncertain or abs(due - compared_posted) <= ROUNDING:
            continue
        posted_while_up = component == RENT and cell.sums.gpu_unowed.get(cell.gpu, 0) > 0
        shares = _shares(round(due), cell, while_up=due_while_up)
        add_all(shares, _shares(-round(compared_posted), cell, while_up=posted_while_up))
        yield _Difference(compared_posted, due, shares)


def _shares(amount: Picodollars, cell: _GpuCell, *, while_up: bool) -> dict[Payer, Picodollars]:
    """A signed amount by charged time, of a host that was never up by all of it."""
    weights = cell.charged(while_up=while_up)
    parts = divide(abs(amount), weights if any(weights.values()) else cell.time)
    return {payer: part if amount > 0 else -part for payer, part in parts.items()}


@dataclass(slots=True)
class _Differences:
    """Sums of the differences of cells."""

    since: Instant | None = None
    """The begin of the earliest difference."""
    posted: dict[Gpu, Fraction] = field(default_factory=dict)
    due: dict[Gpu, Fraction] = field(default_factory=dict)
    amounts: dict[CorrectedOwner, Picodollars] = field(default_factory=dict)
    """Money that owners are to pay in addition."""
    last_days: dict[str, str] = field(default_factory=dict)
    """The last day with a difference in each month."""
    compared_months: set[str] = field(default_factory=set)
    """Months with a price by date."""
    undated: dict[str, Fraction] = field(default_factory=dict)
    """What prices without a date would change in time that was corrected before, by UUID."""

    def add(self, cell: _GpuCell) -> None:
        """Add the differences of a cell."""
        month = cell.day[:7]
        compared = cell.compared
        if any(part.price.by_date for part in compared):
            self.compared_months.add(month)
        all_by_date = all(part.price.by_date for part in compared)
        for difference in _differences(cell):
            if not all_by_date:
                changed = difference.due - difference.posted
                self.undated[cell.gpu.uuid] = self.undated.get(cell.gpu.uuid, Fraction(0)) + changed
                continue
            begin = compared[0].start
            self.since = begin if self.since is None else min(self.since, begin)
            self.posted[cell.gpu] = self.posted.get(cell.gpu, Fraction(0)) + difference.posted
            self.due[cell.gpu] = self.due.get(cell.gpu, Fraction(0)) + difference.due
            for payer, amount in difference.shares.items():
                if amount:
                    self.last_days[month] = cell.day
                    add(self.amounts, CorrectedOwner(month, payer), amount)


def _repricing_of(differences: _Differences, made: PostedCorrections, zone: ZoneInfo) -> Repricing | None:
    """The differences less earlier corrections; `None` where nothing is to correct."""
    corrected = {
        owner: amount for owner, amount in made.amounts.items() if owner.month in differences.compared_months
    }
    missing: dict[CorrectedOwner, Picodollars] = {}
    for owner in sorted({*differences.amounts, *corrected}):
        amount = differences.amounts.get(owner, 0) - corrected.get(owner, 0)
        # Less than a cent is left as it is: rounding would move it to and fro.
        if abs(amount) >= CENT:
            missing[owner] = amount
    since = made.since if differences.since is None else differences.since
    if not missing or since is None:
        return None
    since_day = day_of(since, zone).name
    corrections = tuple(
        Correction(
            day=differences.last_days.get(owner.month) or made.last_days[owner.month],
            product=owner.payer.product,
            team=owner.payer.team,
            cents=cents,
            key=key(since_day, 1 + made.counts.get(owner, 0)),
        )
        for owner, cents in zip(missing, rounded(list(missing.values()), CENT), strict=True)
        if cents
    )
    if not corrections:
        return None
    comparable = all(abs(change) < CENT for change in differences.undated.values())
    return Repricing(
        since,
        gpus=tuple(
            GpuDifference(gpu, round(posted), round(differences.due[gpu]))
            for gpu, posted in sorted(differences.posted.items())
        ),
        corrections=corrections if comparable else (),
        already_corrected=sum(corrected.values()),
        comparable=comparable,
    )

"""Forks of a ledger: two files of one id that both went on, as after a machine's image was cloned. Pure.

An early copy has nothing that its later file lacks. A fork has: GPU time of an hour in which the later file
has less of that GPU, or none. Each GPU counts once in an hour, for the most that a file has of it: what the
fork has beyond the later file is added. Where an hour is no longer kept by both, its day takes its place.
Time of the host, and of GPUs that it never listed, is of the machine: it goes with the GPUs that are listed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final
from zoneinfo import ZoneInfo

from exporter.cost.money import add, add_all
from exporter.finance.fleet.overheads import positive_split
from exporter.finance.fleet.record import HostMonth, date_of
from exporter.ledger.adjustments import Adjustment
from exporter.ledger.history import HistorySums
from exporter.ledger.schema import day_number
from exporter.readings import UNSEEN, Gpu
from exporter.report import MonthKey
from exporter.tariff.calendar import day_of
from exporter.tariff.period import Period
from exporter.units import NANOSECONDS_PER_HOUR, Instant, Nanoseconds, Picodollars

_OF_GPUS: Final = (
    *("gpu_cost", "gpu_held", "gpu_down", "gpu_unowed"),
    *("unpriced", "settled", "owner_held", "owner_down"),
)
"""Families of history whose keys begin with a GPU."""

Bucket = tuple[int, int]
"""A local day, a number like 20261130, and an hour of it since 1970; 0 for the whole day."""


@dataclass(frozen=True, slots=True)
class Fork:
    """What a file has beyond the later one of its ledger, from the hour at which they part.

    `days` are the sums of each local day, `cells` their money, and `adjustments` those that only it has.
    `goes_on`: it metered a GPU for longer than the later file did, so that its end says something.
    `own_machine`: it is of another machine, and not the lost end of the later one.
    """

    location: str
    name: str
    parted: Instant
    last: Instant | None
    goes_on: bool
    own_machine: bool
    days: Mapping[int, HistorySums]
    cells: Mapping[MonthKey, Picodollars]
    adjustments: tuple[Adjustment, ...] = ()

    @property
    def sums(self) -> HistorySums:
        """All its time."""
        sums = HistorySums()
        for day in self.days.values():
            sums.add(day)
        return sums

    @property
    def amount(self) -> Picodollars:
        """Its money."""
        return sum(self.cells.values())

    @property
    def covered(self) -> Nanoseconds:
        """Time of its host in which it reported."""
        return sum(sum(sums.covered.values()) for sums in self.days.values())

    @property
    def gpu_time(self) -> Nanoseconds:
        """GPU time that passed."""
        return sum(time for sums in self.days.values() for time in sums.gpu_held.values())


@dataclass(slots=True)
class FileHistory:
    """The history of one file in a period, by hour since 1970 and by local day."""

    zone: ZoneInfo
    days: Mapping[int, HistorySums]
    hours: Mapping[int, HistorySums]
    _by_day: dict[int, dict[int, HistorySums]] = field(default_factory=dict)

    def hours_of(self, day: int) -> Mapping[int, HistorySums] | None:
        """The hours of a day; `None` where the file no longer keeps all of them."""
        if not self._by_day:
            for hour, sums in self.hours.items():
                name = day_of(hour * NANOSECONDS_PER_HOUR, self.zone).name
                self._by_day.setdefault(day_number(name), {})[hour] = sums
        hours = self._by_day.get(day, {})
        hourly = sum(time for sums in hours.values() for time in sums.gpu_held.values())
        return hours if hourly == sum(self.days.get(day, HistorySums()).gpu_held.values()) else None

    def buckets(self, other: "FileHistory") -> dict[Bucket, HistorySums]:
        """Its hours on days of which both files keep all hours, and its other days."""
        buckets: dict[Bucket, HistorySums] = {}
        for day, sums in self.days.items():
            hours = self.hours_of(day)
            if hours is None or other.hours_of(day) is None:
                buckets[day, 0] = sums
            else:
                buckets |= {(day, hour): of_hour for hour, of_hour in hours.items()}
        return buckets

    def add(self, beyond: "Beyond") -> "FileHistory":
        """This history and what another file has beyond it."""
        days = {day: sums.copy() for day, sums in self.days.items()}
        hours = {hour: sums.copy() for hour, sums in self.hours.items()}
        for (day, hour), sums in beyond.buckets.items():
            days.setdefault(day, HistorySums()).add(sums)
            if hour:
                hours.setdefault(hour, HistorySums()).add(sums)
        return FileHistory(self.zone, days, hours)


@dataclass(frozen=True, slots=True)
class Beyond:
    """History of a file beyond that of another one."""

    buckets: Mapping[Bucket, HistorySums]
    parted: Instant
    """Start of the first hour that differs."""
    own_machine: bool = False
    """Whether the files list different GPUs in one hour, as those of two machines do."""

    @property
    def days(self) -> dict[int, HistorySums]:
        """It by day."""
        days: dict[int, HistorySums] = {}
        for (day, _hour), sums in self.buckets.items():
            days.setdefault(day, HistorySums()).add(sums)
        return days


def beyond(fork: FileHistory, later: FileHistory) -> Beyond | None:
    """What one file has and the later one lacks; `None` for an early copy."""
    of_fork, of_later = fork.buckets(later), later.buckets(fork)
    every = sorted(of_fork.keys() | of_later.keys())
    pairs = {
        bucket: (of_fork.get(bucket, HistorySums()), of_later.get(bucket, HistorySums())) for bucket in every
    }
    differing = [bucket for bucket, (here, there) in pairs.items() if here.gpu_held != there.gpu_held]
    own_machine = False
    for bucket in differing:
        here, there = pairs[bucket]
        listed = _listed(here).keys()
        listed_there = _listed(there).keys()
        own_machine |= bool(listed and listed_there) and listed.isdisjoint(listed_there)
    buckets: dict[Bucket, HistorySums] = {}
    for bucket, (here, there) in pairs.items():
        after_parting = own_machine and bucket >= differing[0]
        if more := _more(here, there, after_parting=after_parting):
            buckets[bucket] = _part(here, more)
    if not buckets:
        return None
    day, hour = differing[0]
    of_day = date_of(day)
    start = Period.between(of_day, of_day).bounds(fork.zone)[0]
    return Beyond(buckets, hour * NANOSECONDS_PER_HOUR or start, own_machine)


def _listed(sums: HistorySums) -> dict[Gpu, Nanoseconds]:
    """Time of GPUs that were listed."""
    return {gpu: time for gpu, time in sums.gpu_held.items() if gpu.uuid != UNSEEN}


def _more(here: HistorySums, there: HistorySums, *, after_parting: bool) -> dict[Gpu, Nanoseconds]:
    """Time of GPUs of one time range that another file of the ledger lacks.

    GPUs that were never listed have one name on each machine: of their time, the part that those listed have
    beyond the other file, and all of it where another machine listed none.
    """
    more = {gpu: time - there.gpu_held.get(gpu, 0) for gpu, time in here.gpu_held.items()}
    listed = _listed(here)
    beyond_listed = sum(max(0, more[gpu]) for gpu in listed)
    for gpu, time in here.gpu_held.items():
        if gpu in listed:
            continue
        if listed:
            more[gpu] = max(more[gpu], time * beyond_listed // sum(listed.values()))
        elif after_parting:
            more[gpu] = time
    return {gpu: time for gpu, time in more.items() if time > 0}


def _part(sums: HistorySums, times: Mapping[Gpu, Nanoseconds]) -> HistorySums:
    """The part of a time range that is of so much time of these GPUs.

    By GPU it is exact for a whole hour and in proportion for less. What is by server is divided as all of the
    range is, among those products and teams that held the GPUs.
    """
    if times == sums.gpu_held:
        return sums.copy()
    whole = sum(sums.gpu_held.values())
    part = HistorySums()
    part.covered = {key: time * sum(times.values()) // whole for key, time in sums.covered.items()}
    for family in _OF_GPUS:
        amounts = getattr(sums, family)
        for key, amount in amounts.items():
            gpu = key if isinstance(key, Gpu) else key[0]
            if gpu in times:
                getattr(part, family)[key] = amount * times[gpu] // sums.gpu_held[gpu]
    holders = {(holder.product, holder.team) for holder in part.owner_held}
    money = sum(part.gpu_cost.values())
    chargeable = sum(part.gpu_held.values()) - sum(part.gpu_unowed.values())
    for family, total in (("cost", money), ("server_cost", money), ("held", chargeable)):
        every = getattr(sums, family)
        owners = {key: getattr(key, "owner", key[0]) for key in every}
        of_holders = {
            key: every[key] for key, owner in owners.items() if (owner.product, owner.team) in holders
        }
        getattr(part, family).update(positive_split(total, of_holders) or positive_split(total, every))
    part.tokens = {key: count * sum(times.values()) // whole for key, count in sums.tokens.items()}
    return part


def fork_of(
    other: HostMonth, latest: HostMonth, more: Beyond, adjustments: tuple[Adjustment, ...], period: Period
) -> Fork:
    """What another file of a ledger has beyond the latest one."""
    days = more.days
    cells: dict[MonthKey, Picodollars] = {}
    for day, sums in days.items():
        month = f"{day // 10_000:04d}-{day // 100 % 100:02d}" if period.whole_months else period.name
        for (owner, _component, basis), amount in sums.server_cost.items():
            add(cells, MonthKey(owner.product, owner.team, basis, month), amount)
    for each in adjustments:
        if each.posted is not None:
            add(
                cells,
                each.cell if period.whole_months else each.cell._replace(month=period.name),
                each.amount,
            )
    return Fork(
        location=other.location,
        name=other.name,
        parted=more.parted,
        last=other.last,
        goes_on=any(other.gpus[gpu][1] > latest.gpus.get(gpu, (0, 0))[1] for gpu in other.gpus),
        own_machine=more.own_machine,
        days=days,
        cells=cells,
        adjustments=adjustments,
    )


def with_forks(month: HostMonth, forks: tuple[Fork, ...]) -> HostMonth:
    """A month and what other files of its ledger have beyond it. A header gets their money alone."""
    if not forks:
        return month
    record = month.record
    cells, days = dict(record.cells), dict(record.days)
    sums = None if record.sums is None else record.sums.copy()
    for fork in forks:
        add_all(cells, fork.cells)
        if sums is not None:
            sums.add(fork.sums)
        for day, added in fork.days.items() if days else ():
            days[day] = days[day].copy() if day in days else HistorySums()
            days[day].add(added)
    adjustments = (*record.adjustments, *(each for fork in forks for each in fork.adjustments))
    return replace(
        month,
        forks=forks,
        record=replace(record, cells=cells, sums=sums, days=days, adjustments=adjustments),
    )

"""Hours of one host, cut where GPUs came, went or changed their holders. Pure.

Samples are counted, so an hour needs no finer query: a pod whose series has a third of a GPU's samples held
it for a third of the hour, first if it held it before, last if it holds it in the next hour.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, pairwise
from math import isnan
from statistics import median
from typing import Final, NamedTuple

from exporter.finance.history.hourly import MEMORY, POWER, UTILIZATION, Chunk, GpuHours, GpuMean
from exporter.finance.history.kube_state import NodeKey, PodName
from exporter.finance.history.survey import GpuSeries
from exporter.finance.prometheus.hour_queries import HOUR
from exporter.units import Instant, Nanoseconds

WHOLE_RATIO: Final = 0.9
"""Part of the usual samples from which an hour counts as whole: scrapes fail now and then."""

SHARED_RATIO: Final = 1.5
"""Samples of several pods on one GPU, over the usual ones, from which they held it at once."""

AT_ONCE_RATIO: Final = 1.1
"""Parts of one hour that two scrapers have samples of, together, from which they had some at once."""

PARTS: Final = 60
"""An hour is cut to so many parts at most."""

DeviceKey = tuple[str, str]
"""A GPU's UUID, and the number of its MIG instance or nothing."""

_Scraper = tuple[int, str]
"""An exporter, and how it was scraped."""


class DeviceHour(NamedTuple):
    """A GPU, or one MIG instance of it, in a part of an hour. Measures are `None` where nothing has them."""

    series: GpuSeries
    holders: tuple[PodName, ...]
    """Pods; several held it at once."""
    utilization: float | None
    memory: float | None
    watts: float | None
    joules: float | None
    """Energy since the last hour with samples."""
    inside: float | None
    """Joules of this hour alone, where the last one with samples is not the one before."""


@dataclass(frozen=True, slots=True)
class HourPart:
    """A part of an hour in which the same GPUs had the same holders."""

    start: Instant
    end: Instant
    devices: tuple[DeviceHour, ...]


@dataclass(frozen=True, slots=True)
class HostHour:
    """The part of an hour in which a host was seen."""

    number: int
    """The hour, since 1970."""
    parts: tuple[HourPart, ...]
    """Its parts in order, at least one."""
    samples: float
    """The number of samples of one GPU."""
    usual: float
    """The usual number of them."""
    counts: Mapping[str, float]
    """The number of samples of each GPU, by UUID."""

    @classmethod
    def without_gpus(cls, number: int) -> "HostHour":
        """An hour of a host that has inference servers alone."""
        return cls(number, (HourPart(number * HOUR, (number + 1) * HOUR, ()),), 0.0, 0.0, {})

    @property
    def names_pods(self) -> bool:
        """Whether any GPU names a pod that holds it."""
        return any(device.holders for part in self.parts for device in part.devices)

    @property
    def start(self) -> Instant:
        """When it was first seen."""
        return self.parts[0].start

    @property
    def end(self) -> Instant:
        """When it was last seen."""
        return self.parts[-1].end

    @property
    def sampled(self) -> Nanoseconds:
        """How long samples cover."""
        return round((self.end - self.start) * min(1.0, self.samples / self.usual)) if self.usual else 0


@dataclass(frozen=True, slots=True)
class _Row:
    """One series in one hour."""

    series: GpuSeries
    hours: GpuHours
    count: float


def _scraper(series: GpuSeries) -> _Scraper:
    return series.exporter, series.scraper


@dataclass(slots=True)
class HostSeries:
    """All series of one host in a chunk, by GPU or MIG instance.

    `before` are the devices and holders at the end of the chunk before. `_naming` scrapers name pods.
    """

    devices: dict[DeviceKey, dict[GpuSeries, GpuHours]] = field(default_factory=dict)
    before: Mapping[DeviceKey, tuple[PodName, ...]] = field(default_factory=dict)
    _naming: set[_Scraper] = field(default_factory=set)
    _counted: dict[tuple[DeviceKey, int], list[_Row]] = field(default_factory=dict)

    def hours(self, chunk: Chunk) -> Iterator[HostHour]:
        """The hours in which the host was seen."""
        self._naming = {
            _scraper(series)
            for by_series in self.devices.values()
            for series in by_series
            if series.holder is not None
        }
        largest: list[float] = []
        for at in range(chunk.hours):
            of_series = [row.count for key in self.devices for row in self._rows(key, at)]
            largest += [max(of_series)] if of_series else []
        usual = median(largest) if largest else 0.0
        samples = [self._samples(at, usual) for at in range(chunk.hours)]
        counts = [max(by_scraper.values(), default=0.0) for by_scraper in samples]
        holders = dict(self.before)
        for at in range(1, chunk.hours):
            if not counts[at]:
                continue
            start, length, reference = self._extent(counts, at, usual)
            begun = chunk.number(at) * HOUR + start
            # In the hours beside one in which the host was there from its start to its end.
            around = samples[max(0, at - 1) : at + 2] if length == HOUR else [samples[at]]
            sequences = {
                key: sequence
                for key in self.devices
                if (sequence := self._sequence(key, at, samples[at], around, holders.get(key, ())))
            }
            parts = tuple(_parts(sequences, begun, length))
            of_gpus: dict[str, float] = {}
            for uuid, instance in sequences:
                count = sum(row.count for row in self._rows((uuid, instance), at))
                of_gpus[uuid] = max(count, of_gpus.get(uuid, 0.0))
            yield HostHour(chunk.number(at), parts, counts[at], reference, of_gpus)
            holders = {(d.series.gpu.uuid, d.series.instance): d.holders for d in parts[-1].devices}
        self.before = holders

    def _rows(self, key: DeviceKey, at: int) -> list[_Row]:
        """The series that count for a GPU in an hour: those of one scraper, or of two that took turns."""
        rows = self._counted.get((key, at))
        if rows is None:
            rows = self._counted[key, at] = self._count(key, at)
        return rows

    def _count(self, key: DeviceKey, at: int) -> list[_Row]:
        by_scraper: dict[_Scraper, list[_Row]] = {}
        for series, hours in self.devices[key].items():
            count = hours.count[at]
            if not isnan(count) and count > 0:
                by_scraper.setdefault(_scraper(series), []).append(_Row(series, hours, count))
        if len(by_scraper) < 2:
            return next(iter(by_scraper.values()), [])
        ended = [scraper for scraper, rows in by_scraper.items() if not _goes_on(rows, at, 1)]
        began = [scraper for scraper, rows in by_scraper.items() if not _goes_on(rows, at, -1)]
        if len(ended) == len(began) == 1 and ended != began and len(by_scraper) == 2:
            parts = [self._part(key, at, scraper) for scraper in by_scraper]
            if sum(parts) < AT_ONCE_RATIO:
                return [*by_scraper[ended[0]], *by_scraper[began[0]]]
        # One that names no pods would leave a GPU without its holder.
        best = min(
            by_scraper,
            key=lambda each: (each not in self._naming, -sum(row.count for row in by_scraper[each]), each),
        )
        return by_scraper[best]

    def _part(self, key: DeviceKey, at: int, scraper: _Scraper) -> float:
        """The part of an hour that a scraper has samples of, by its fullest hour."""
        sums: dict[int, float] = {}
        for series, hours in self.devices[key].items():
            if _scraper(series) == scraper:
                for hour, count in enumerate(hours.count):
                    if not isnan(count):
                        sums[hour] = sums.get(hour, 0.0) + count
        here = sums.pop(at)
        return here / max(here, max(sums.values(), default=here))

    def _samples(self, at: int, usual: float) -> dict[_Scraper, float]:
        """Samples of the GPU that has most in an hour, by each scraper of it."""
        most: dict[_Scraper, float] = {}
        for key in self.devices:
            rows = self._rows(key, at)
            total = sum(row.count for row in rows)
            if total > SHARED_RATIO * usual:
                total = max(row.count for row in rows)
            for scraper in {_scraper(row.series) for row in rows}:
                most[scraper] = max(total, most.get(scraper, 0.0))
        return most

    @staticmethod
    def _extent(counts: Sequence[float], at: int, usual: float) -> tuple[Nanoseconds, Nanoseconds, float]:
        """Where in its hour a host was seen: offset and length, and the samples of a whole hour there."""
        earlier = counts[at - 1]
        later = counts[at + 1] if at + 1 < len(counts) else None
        reference = max(earlier, later or 0.0) or usual
        if counts[at] >= WHOLE_RATIO * reference or (earlier and (later or later is None)):
            return 0, HOUR, max(reference, counts[at])
        length = round(HOUR * counts[at] / reference)
        offset = HOUR - length if not earlier and (later or later is None) else 0
        # Samples are a scrape apart: what they cover is whole.
        return offset, length, counts[at]

    def _sequence(
        self,
        key: DeviceKey,
        at: int,
        samples: Mapping[_Scraper, float],
        around: Sequence[Mapping[_Scraper, float]],
        before: tuple[PodName, ...],
    ) -> list[tuple[float, float, DeviceHour]]:
        """The holders of a GPU in an hour one after the other, each from one part of the hour to another."""
        rows = self._rows(key, at)
        if not rows:
            return []
        earlier = bool(self._rows(key, at - 1))
        by_holder: dict[PodName | None, list[_Row]] = {}
        for row in rows:
            by_holder.setdefault(row.series.holder, []).append(row)
        totals = {holder: sum(row.count for row in each) for holder, each in by_holder.items()}
        total = sum(totals.values())
        # A scraper may be slower than that of another GPU.
        whole = max(samples[_scraper(row.series)] for row in rows)
        began, ended = not _goes_on(rows, at, -1), not _goes_on(rows, at, 1)
        if began != ended:  # all GPUs of the host may have come or gone in this hour
            whole = max(whole, *(hour.get(_scraper(row.series), 0.0) for hour in around for row in rows))
        if len(by_holder) > 1 and total > SHARED_RATIO * whole:
            pods = tuple(sorted(holder for holder in by_holder if holder is not None))
            return [(0.0, 1.0, _device(rows, pods, at, earlier=earlier, shared=True))]

        def order(holder: PodName | None) -> tuple[int, PodName]:
            held_before = holder in before if holder is not None else not before
            stays = _goes_on(by_holder[holder], at, 1)
            return (0 if held_before else 2 if stays else 1), holder or PodName("", "", "")

        share = min(1.0, total / whole)
        offset = 0.0
        if share >= WHOLE_RATIO:
            share = 1.0
        elif not _goes_on(rows, at, -1):
            offset = 1.0 - share
        sequence = []
        for holder in sorted(by_holder, key=order):
            length = share * totals[holder] / total
            pods = () if holder is None else (holder,)
            sequence.append((offset, offset + length, _device(by_holder[holder], pods, at, earlier=earlier)))
            offset += length
        return sequence


def _goes_on(rows: Collection[_Row], at: int, by: int) -> bool:
    """Whether any of these series is there in the hour before or after; the end of a chunk is no end."""
    for row in rows:
        counts = row.hours.count
        if not 0 <= at + by < len(counts) or not isnan(counts[at + by]):
            return True
    return False


def _device(
    rows: Sequence[_Row], holders: tuple[PodName, ...], at: int, *, earlier: bool, shared: bool = False
) -> DeviceHour:
    """The means of several series, weighted by their samples.

    Their joules are added up, but for a GPU that is `shared`: each of its series has them all. Where it was
    there `earlier`, in the hour before, those of a series that was not there then are of this hour alone.
    """

    def mean(gpu_mean: GpuMean) -> float | None:
        known = [row for row in rows if not isnan(gpu_mean.column(row.hours)[at])]
        total = sum(row.count for row in known)
        return sum(gpu_mean.column(row.hours)[at] * row.count for row in known) / total if total else None

    joules = [
        row.hours.inside.get(at, row.hours.joules[at]) if earlier else row.hours.joules[at]
        for row in rows
        if not isnan(row.hours.joules[at])
    ]
    inside = [row.hours.inside[at] for row in rows if at in row.hours.inside]
    return DeviceHour(
        max(rows, key=lambda row: row.count).series,
        holders,
        mean(UTILIZATION),
        mean(MEMORY),
        mean(POWER),
        (max(joules) if shared else sum(joules)) if joules else None,
        (max(inside) if shared else sum(inside)) if inside else None,
    )


def _parts(
    sequences: Mapping[DeviceKey, Sequence[tuple[float, float, DeviceHour]]],
    start: Instant,
    length: Nanoseconds,
) -> Iterator[HourPart]:
    cuts = {0, PARTS}
    for sequence in sequences.values():
        for begin, end, _ in sequence:
            cuts |= {round(begin * PARTS), round(end * PARTS)}
    for first, last in pairwise(sorted(cuts)):
        middle = (first + last) / 2 / PARTS
        devices = tuple(
            device
            for _, sequence in sorted(sequences.items())
            for begin, end, device in sequence
            if round(begin * PARTS) / PARTS <= middle < round(end * PARTS) / PARTS
        )
        yield HourPart(start + length * first // PARTS, start + length * last // PARTS, devices)


def twice_named(chunk: Chunk) -> Iterator[dict[NodeKey, float]]:
    """Names of hosts, two at a time, that had one GPU in the same hours: they are one host. With its samples.

    A GPU that moved has samples on both in the hour of its move. Servers that send the same samples may name
    the cluster differently.
    """
    devices: dict[DeviceKey, dict[NodeKey, list[GpuHours]]] = {}
    for series, hours in chunk.gpus.items():
        key = series.gpu.uuid, series.instance
        devices.setdefault(key, {}).setdefault(series.host, []).append(hours)
    for by_name in devices.values():
        if len(by_name) < 2:
            continue
        hours_of = {name: _sampled(of_name) for name, of_name in by_name.items()}
        for pair in combinations(sorted(by_name), 2):
            together = hours_of[pair[0]] & hours_of[pair[1]]
            if len(together) > 1:
                yield {
                    name: sum(
                        each.count[at] for each in by_name[name] for at in together if each.count[at] > 0
                    )
                    for name in pair
                }


def has_namesake(devices: Mapping[DeviceKey, Mapping[GpuSeries, GpuHours]]) -> bool:
    """Whether two GPUs were in one slot of a host for hours: they are of two hosts of its name.

    One that replaces another is there with it in the hour of the change.
    """
    slots: dict[tuple[int, str], dict[str, list[GpuHours]]] = {}
    for by_series in devices.values():
        for series, hours in by_series.items():
            boards = slots.setdefault((series.exporter, series.address), {})
            boards.setdefault(series.gpu.uuid, []).append(hours)
    for (_, address), boards in slots.items():
        if address and len(boards) > 1:
            times = [_sampled(of_board) for of_board in boards.values()]
            if any(len(one & other) > 1 for one, other in combinations(times, 2)):
                return True
    return False


def _sampled(columns: Iterable[GpuHours]) -> set[int]:
    """The hours in which any of these series has samples."""
    return {at for each in columns for at, count in enumerate(each.count) if count > 0}


def by_host(
    chunk: Chunk, known_as: Callable[[NodeKey], NodeKey]
) -> dict[NodeKey, dict[DeviceKey, dict[GpuSeries, GpuHours]]]:
    """The series of a chunk by host, each `known_as` one name, and by GPU or MIG instance."""
    hosts: dict[NodeKey, dict[DeviceKey, dict[GpuSeries, GpuHours]]] = {}
    for series, hours in chunk.gpus.items():
        key = series.gpu.uuid, series.instance
        hosts.setdefault(known_as(series.host), {}).setdefault(key, {})[series] = hours
    return hosts

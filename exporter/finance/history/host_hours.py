"""Hours of one host, cut where GPUs came, went or changed their holders. Pure.

Samples are counted, so an hour needs no finer query: a pod whose series has a third of a GPU's samples held
it for a third of the hour, first if it held it before, last if it holds it in the next hour.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import isnan
from statistics import median
from typing import Final, NamedTuple

from exporter.finance.history.hourly import Chunk, GpuHours, GpuMean
from exporter.finance.history.kube_state import NodeKey, PodName
from exporter.finance.history.survey import GpuSeries
from exporter.finance.prometheus.hour_queries import HOUR
from exporter.units import Instant, Nanoseconds

WHOLE_RATIO: Final = 0.9
"""Part of the usual samples from which an hour counts as whole: scrapes fail now and then."""

SHARED_RATIO: Final = 1.5
"""Several pods held a GPU at once from so many times its usual samples on."""

AT_ONCE_RATIO: Final = 1.1
"""Two scrapers read a GPU at once if their parts of an hour sum to so much."""

PARTS: Final = 60
"""An hour is cut to so many parts at most."""


class DeviceKey(NamedTuple):
    """A GPU, or one MIG instance of it."""

    uuid: str
    instance: str
    """The number of the instance, empty for a whole GPU."""

    @classmethod
    def of(cls, series: GpuSeries) -> "DeviceKey":
        """The device of a series."""
        return cls(series.gpu.uuid, series.instance)


class Scraper(NamedTuple):
    """An exporter, and how it was scraped."""

    exporter: int
    labels: str

    @classmethod
    def of(cls, series: GpuSeries) -> "Scraper":
        """The scraper of a series."""
        return cls(series.exporter, series.scraper)


DeviceSeries = Mapping[DeviceKey, Mapping[GpuSeries, GpuHours]]
"""All series of one host in a chunk, by GPU or MIG instance."""


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
    """Joules of this hour alone, where the hour before it has no samples."""


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
    """Parts of the hour in order, at least one."""
    samples: float
    """The number of samples of one GPU."""
    usual: float
    """The usual number of samples of one GPU."""
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


class _Row(NamedTuple):
    """One series in one hour."""

    series: GpuSeries
    hours: GpuHours
    samples: float
    """The number of its samples."""


class _Span(NamedTuple):
    """A device as it was from one part of an hour to another, of 1."""

    begin: float
    end: float
    device: DeviceHour


class _Extent(NamedTuple):
    """Where in its hour a host was seen."""

    offset: Nanoseconds
    length: Nanoseconds
    usual: float
    """The samples of a whole hour there."""


class HostSeries:
    """All series of a host in a chunk. `before` are holders of its devices at the end of the chunk before."""

    def __init__(
        self, devices: DeviceSeries, before: Mapping[DeviceKey, tuple[PodName, ...]] | None = None
    ) -> None:
        self._devices = devices
        self.before = before or {}
        every = [series for by_series in devices.values() for series in by_series]
        self._naming = {Scraper.of(series) for series in every if series.holder is not None}
        """Scrapers that name pods."""
        self._counted: dict[DeviceKey, dict[int, list[_Row]]] = {}

    def hours(self, chunk: Chunk) -> Iterator[HostHour]:
        """The hours in which the host was seen."""
        by_hour = [[row for key in self._devices for row in self._rows(key, at)] for at in range(chunk.hours)]
        largest = [max(row.samples for row in rows) for rows in by_hour if rows]
        usual = median(largest) if largest else 0.0
        samples = [self._samples(at, usual) for at in range(chunk.hours)]
        counts = [max(by_scraper.values(), default=0.0) for by_scraper in samples]
        for at in range(1, chunk.hours):
            if not counts[at]:
                continue
            extent = _extent(counts, at, usual)
            # In the hours beside one in which the host was there from its start to its end.
            around = samples[max(0, at - 1) : at + 2] if extent.length == HOUR else [samples[at]]
            spans: dict[DeviceKey, list[_Span]] = {}
            of_gpus: dict[str, float] = {}
            for key in self._devices:
                rows = self._rows(key, at)
                if rows:
                    spans[key] = self._spans(key, at, samples[at], around)
                    count = sum(row.samples for row in rows)
                    of_gpus[key.uuid] = max(count, of_gpus.get(key.uuid, 0.0))
            parts = tuple(_parts(spans, chunk.number(at) * HOUR + extent.offset, extent.length))
            yield HostHour(chunk.number(at), parts, counts[at], extent.usual, of_gpus)
            self.before = {DeviceKey.of(device.series): device.holders for device in parts[-1].devices}

    def _rows(self, key: DeviceKey, at: int) -> list[_Row]:
        """The series that count for a GPU in an hour: those of one scraper, or of two that took turns."""
        rows = self._counted.setdefault(key, {})
        if at not in rows:
            rows[at] = self._count(key, at)
        return rows[at]

    def _count(self, key: DeviceKey, at: int) -> list[_Row]:
        by_scraper: dict[Scraper, list[_Row]] = {}
        for series, hours in self._devices[key].items():
            count = hours.count[at]
            if count > 0:
                by_scraper.setdefault(Scraper.of(series), []).append(_Row(series, hours, count))
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
            key=lambda each: (each not in self._naming, -sum(row.samples for row in by_scraper[each]), each),
        )
        return by_scraper[best]

    def _part(self, key: DeviceKey, at: int, scraper: Scraper) -> float:
        """The part of an hour that a scraper has samples of, by its fullest hour."""
        own = [hours.count for series, hours in self._devices[key].items() if Scraper.of(series) == scraper]
        sums: list[float] = [sum(count for count in counts if count > 0) for counts in zip(*own, strict=True)]
        return sums[at] / max(sums)

    def _samples(self, at: int, usual: float) -> dict[Scraper, float]:
        """The largest number of samples of any GPU in an hour, by scraper."""
        most: dict[Scraper, float] = {}
        for key in self._devices:
            rows = self._rows(key, at)
            total = sum(row.samples for row in rows)
            if total > SHARED_RATIO * usual:
                total = max(row.samples for row in rows)
            for scraper in {Scraper.of(row.series) for row in rows}:
                most[scraper] = max(total, most.get(scraper, 0.0))
        return most

    def _spans(
        self,
        key: DeviceKey,
        at: int,
        samples: Mapping[Scraper, float],
        around: Sequence[Mapping[Scraper, float]],
    ) -> list[_Span]:
        """The holders of a GPU in an hour, one after the other."""
        rows = self._rows(key, at)
        earlier = bool(self._rows(key, at - 1))
        by_holder: dict[PodName | None, list[_Row]] = {}
        for row in rows:
            by_holder.setdefault(row.series.holder, []).append(row)
        total = sum(row.samples for row in rows)
        # A scraper may be slower than that of another GPU.
        scrapers = {Scraper.of(row.series) for row in rows}
        whole = max(samples[scraper] for scraper in scrapers)
        began, ended = not _goes_on(rows, at, -1), not _goes_on(rows, at, 1)
        if began != ended:  # all GPUs of the host may have come or gone in this hour
            whole = max(whole, *(hour.get(scraper, 0.0) for hour in around for scraper in scrapers))
        if len(by_holder) > 1 and total > SHARED_RATIO * whole:
            pods = tuple(sorted(holder for holder in by_holder if holder is not None))
            return [_Span(0.0, 1.0, _device(rows, pods, at, earlier=earlier, shared=True))]

        share = min(1.0, total / whole)
        offset = 0.0
        if share >= WHOLE_RATIO:
            share = 1.0
        elif began:
            offset = 1.0 - share

        def rank(holder: PodName | None) -> tuple[int, PodName]:
            """Who held the GPU before is first, who holds it later is last."""
            before = self.before.get(key, ())
            held_before = holder in before if holder is not None else not before
            later = 2 if _goes_on(by_holder[holder], at, 1) else 1
            return 0 if held_before else later, holder or PodName("", "", "")

        spans = []
        for holder in sorted(by_holder, key=rank):
            of_holder = by_holder[holder]
            length = share * sum(row.samples for row in of_holder) / total
            pods = () if holder is None else (holder,)
            spans.append(_Span(offset, offset + length, _device(of_holder, pods, at, earlier=earlier)))
            offset += length
        return spans


def _extent(counts: Sequence[float], at: int, usual: float) -> _Extent:
    """Where in its hour a host was seen; the end of a chunk is no end of a host."""
    earlier = counts[at - 1]
    last = at + 1 == len(counts)
    later = 0.0 if last else counts[at + 1]
    reference = max(earlier, later) or usual
    goes_on = last or bool(later)
    if counts[at] >= WHOLE_RATIO * reference or (earlier and goes_on):
        return _Extent(0, HOUR, max(reference, counts[at]))
    length = round(HOUR * counts[at] / reference)
    offset = HOUR - length if goes_on and not earlier else 0
    # Samples are a scrape apart: what they cover is whole.
    return _Extent(offset, length, counts[at])


def _goes_on(rows: Collection[_Row], at: int, by: int) -> bool:
    """Whether any series is there in the hour before or after; the end of a chunk is no end."""
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

    def mean(name: GpuMean) -> float | None:
        known = [row for row in rows if not isnan(row.hours.means[name][at])]
        total = sum(row.samples for row in known)
        return sum(row.hours.means[name][at] * row.samples for row in known) / total if total else None

    joules = [
        row.hours.inside.get(at, row.hours.joules[at]) if earlier else row.hours.joules[at]
        for row in rows
        if not isnan(row.hours.joules[at])
    ]
    inside = [row.hours.inside[at] for row in rows if at in row.hours.inside]
    return DeviceHour(
        max(rows, key=lambda row: row.samples).series,
        holders,
        mean("utilization"),
        mean("memory"),
        mean("power"),
        (max(joules) if shared else sum(joules)) if joules else None,
        (max(inside) if shared else sum(inside)) if inside else None,
    )


def _parts(
    spans: Mapping[DeviceKey, Sequence[_Span]], start: Instant, length: Nanoseconds
) -> Iterator[HourPart]:
    """The parts of an hour between the ends of spans, which are rounded to `PARTS`."""
    every = [span for _, of_device in sorted(spans.items()) for span in of_device]
    bounds = [(round(span.begin * PARTS), round(span.end * PARTS), span.device) for span in every]
    cuts = {0, PARTS, *(begin for begin, _, _ in bounds), *(end for _, end, _ in bounds)}
    for first, last in pairwise(sorted(cuts)):
        devices = tuple(device for begin, end, device in bounds if begin <= first < end)
        yield HourPart(start + length * first // PARTS, start + length * last // PARTS, devices)


def twice_named(chunk: Chunk) -> Iterator[dict[NodeKey, float]]:
    """Samples of a GPU by two names of its host, for names that had it in the same hours: they are one host.

    A GPU that moved has samples on both in the hour of its move. Servers that send the same samples may name
    the cluster differently.
    """
    devices: dict[DeviceKey, dict[NodeKey, dict[int, float]]] = {}
    for series, hours in chunk.gpus.items():
        by_hour = devices.setdefault(DeviceKey.of(series), {}).setdefault(series.host, {})
        for at, count in hours.samples().items():
            by_hour[at] = by_hour.get(at, 0.0) + count
    for by_name in devices.values():
        for pair in combinations(sorted(by_name), 2):
            together = by_name[pair[0]].keys() & by_name[pair[1]].keys()
            if len(together) > 1:
                yield {name: sum(by_name[name][at] for at in together) for name in pair}


def has_namesake(devices: DeviceSeries) -> bool:
    """Whether two GPUs were in one slot of a host for hours: they are of two hosts of its name.

    One that replaces another is there with it in the hour of the change.
    """
    slots: dict[str, dict[str, set[int]]] = {}
    for by_series in devices.values():
        for series, hours in by_series.items():
            if series.address:
                boards = slots.setdefault(f"{series.exporter} {series.address}", {})
                boards.setdefault(series.gpu.uuid, set()).update(hours.samples())
    return any(
        len(first & second) > 1
        for boards in slots.values()
        for first, second in combinations(boards.values(), 2)
    )


def by_host(
    chunk: Chunk, known_as: Callable[[NodeKey], NodeKey]
) -> dict[NodeKey, dict[DeviceKey, dict[GpuSeries, GpuHours]]]:
    """The series of a chunk by host, each `known_as` one name, and by GPU or MIG instance."""
    hosts: dict[NodeKey, dict[DeviceKey, dict[GpuSeries, GpuHours]]] = {}
    for series, hours in chunk.gpus.items():
        devices = hosts.setdefault(known_as(series.host), {})
        devices.setdefault(DeviceKey.of(series), {})[series] = hours
    return hosts

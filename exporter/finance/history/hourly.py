"""Hours of GPUs and inference servers, chunk by chunk of time: what a server aggregates by the hour.

A query covers at most `POINTS_MAX` values and a week, and where it has more series, some instances at a time.
Counters are read as their last value of each hour, which no window's edge blurs; `increase` counts only hours
in which a series began or was reset.
"""

from array import array
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from math import isnan, nan
from typing import Final, Literal, NamedTuple, TypeAlias

from exporter.engines.exposition import Series
from exporter.finance.history.exporter_series import (
    GPU_EXPORTERS,
    IMPLAUSIBLE,
    WATTS_MAX,
    GpuExporter,
    Measure,
    engine_names,
    spellings,
)
from exporter.finance.history.kube_state import Labels, NodeKey, escaped
from exporter.finance.history.survey import EngineTarget, GpuSeries, Survey, target_of
from exporter.finance.prometheus.client import PrometheusClient, QuerySeries
from exporter.finance.prometheus.hour_queries import EDGE, HOUR, WINDOW, finest_resolution
from exporter.units import Instant, Nanoseconds

POINTS_MAX: Final = 100_000
"""Values of one query: series times hours."""

CHUNK_HOURS_MIN, CHUNK_HOURS_MAX = 6, 168
SERIES_MAX: Final = 4000
"""Series of one query; more are read some instances at a time."""

MARK_HOURS: Final = 24
"""Hours for which the last value of a counter that went is kept, as in the ledger."""

EXTRAPOLATED: Final = 0.9
"""Part of an `increase` that samples surely have: it says more where they begin within its window."""

RawSeries = frozenset[tuple[str, str]]
"""A series as the server has it: names and values of its labels."""

Column: TypeAlias = "array[float]"
"""A value for each hour of a chunk. NaN: there is none."""

MEAN: Final = f"avg_over_time({{0}}[{WINDOW}])"
COUNT: Final = f"count_over_time({{0}}[{WINDOW}])"
LAST: Final = f"last_over_time({{0}}[{WINDOW}])"
LARGEST: Final = f"max_over_time({{0}}[{WINDOW}])"
BEGAN_OR_RESET: Final = (
    f"(increase({{0}}[{WINDOW}]) unless last_over_time({{0}}[{WINDOW}] offset 1h))"
    f" or (increase({{0}}[{WINDOW}]) and (resets({{0}}[{WINDOW}]) > 0))"
)
"""Increases in an hour, of series alone that began in it or were reset."""

BOOT_TIME: Final = "node_boot_time_seconds"
"""When a host booted, by node_exporter, in seconds since 1970."""


def column(hours: int) -> Column:
    """An empty column."""
    return array("d", [nan]) * hours


GpuMean = Literal["utilization", "memory", "power"]
LARGEST_MEANS: Final[Mapping[GpuMean, float]] = {"utilization": 1.01, "memory": 2.0**42, "power": WATTS_MAX}
"""Means that a GPU may have, with room for rounding. Above: a blank of DCGM is among the samples."""


@dataclass(slots=True)
class GpuHours:
    """Means of one series of a GPU by the hour, in SI units."""

    count: Column
    """The number of its samples."""
    means: dict[GpuMean, Column]
    joules: Column
    """Energy since the last hour with samples."""
    inside: dict[int, float] = field(default_factory=dict)
    """Joules of an hour alone, where the hour before it has no samples."""

    @classmethod
    def empty(cls, hours: int) -> "GpuHours":
        """Columns without anything."""
        return cls(column(hours), {mean: column(hours) for mean in LARGEST_MEANS}, column(hours))

    def samples(self) -> dict[int, float]:
        """The number of samples by the place in a column, for hours with any."""
        return {at: count for at, count in enumerate(self.count) if count > 0}


class MeanQuery(NamedTuple):
    """A query of means of GPUs."""

    mean: GpuMean
    measure: Measure
    matchers: str
    counts: bool
    """Whether the number of samples is asked for as well."""


@dataclass(slots=True)
class PageColumn:
    """A series of a page by the hour: rises of a counter, or means of a gauge."""

    series: Series
    values: Column
    inside: dict[int, float] = field(default_factory=dict)
    """Rises within an hour, where the hour before it has no samples."""


@dataclass(slots=True)
class EngineHours:
    """One target by the hour."""

    labels: Labels
    """Labels of a raw series of the target."""
    rises: dict[str, PageColumn] = field(default_factory=dict)
    """How much its counters rose in each hour, by the key of their series on its page."""
    means: dict[str, PageColumn] = field(default_factory=dict)
    """The means of its gauges, by the key of their series on its page."""
    sampled: set[int] = field(default_factory=set)
    """The hours in which it had samples, as places in a column."""

    def names(self, hours: Iterable[int]) -> set[str]:
        """Names of its counters that have samples in these hours."""
        return {
            counter.series.name
            for counter in self.rises.values()
            if any(not isnan(counter.values[at]) for at in hours)
        }

    def there(self, at: int) -> bool:
        """Whether the target was there in an hour, read or not: between hours in which it was read."""
        return bool(self.sampled) and min(self.sampled) <= at <= max(self.sampled)


@dataclass(slots=True)
class Chunk:
    """Hours of columns, whose first one is the hour before: it has no rises."""

    first: int
    """The first hour, since 1970."""
    hours: int
    """The length of a column."""
    gpus: dict[GpuSeries, GpuHours] = field(default_factory=dict)
    engines: dict[EngineTarget, EngineHours] = field(default_factory=dict)
    alive: set[int] = field(default_factory=set)
    """Hours since 1970 at whose end the server scraped anything."""
    resolution: Nanoseconds = 0
    """The time between samples that Thanos made of scraped samples; 0 where it has these."""
    boots: dict[NodeKey, dict[int, float]] = field(default_factory=dict)
    """The latest boot of each host, in seconds since 1970, by the hour since 1970."""

    @property
    def numbers(self) -> range:
        """Its hours since 1970, without the one before the first."""
        return range(self.first, self.first - 1 + self.hours)

    def number(self, at: int) -> int:
        """The hour since 1970 of a place in a column."""
        return self.first - 1 + at

    def column(self, number: int) -> int:
        """The place in a column of an hour since 1970."""
        return number - self.first + 1

    def gpu(self, series: GpuSeries) -> GpuHours:
        """The columns of a series of a GPU."""
        return self.gpus.setdefault(series, GpuHours.empty(self.hours))

    def points(self, series: QuerySeries) -> Iterator[tuple[int, float]]:
        """Values of a series with their places in a column. What is no reading is left out.

        An hour is asked for just before its end.
        """
        for sample in series.samples:
            at, value = (sample.at + EDGE) // HOUR - self.first, sample.number
            if 0 <= at < self.hours and 0 <= value < IMPLAUSIBLE:
                yield at, value


class _Mark(NamedTuple):
    value: float
    hour: int


class Rises(NamedTuple):
    """How far a counter rose in each hour; NaN in hours without samples."""

    since_last: Column
    """Rises since the last hour with samples."""
    inside: dict[int, float]
    """Rises within an hour, where the hour before it has no samples."""
    values: Column
    """Last values of each hour."""


@dataclass(slots=True)
class RawCounter:
    """A raw series of a counter."""

    target: Hashable
    """The target of the series."""
    same: Hashable
    """What the series counts, by whatever labels of its target or its holder."""
    values: Column
    """Last values of each hour, and of the hour before the first."""
    increases: Column
    """Increases in hours in which the series began or was reset."""


class LastValues:
    """Last values of raw series from chunk to chunk."""

    def __init__(self) -> None:
        self._marks: dict[RawSeries, _Mark] = {}

    def rises(self, counters: Mapping[RawSeries, RawCounter], first: int) -> dict[RawSeries, Rises]:
        """How far each series rose in each hour, of which the first is a number since 1970.

        One without a mark began at zero if others of its target went on, since engines create series late.
        Else what it rose within the hour counts: it may have run for long, or have other labels than before.
        """
        on_target: dict[Hashable, set[int]] = {}
        as_same: dict[Hashable, set[int]] = {}
        for counter in counters.values():
            there = {at for at, value in enumerate(counter.values) if not isnan(value)}
            on_target.setdefault(counter.target, set()).update(there)
            as_same.setdefault(counter.same, set()).update(there)
        risen = {}
        for key, counter in counters.items():
            late = {at + 1 for at in on_target[counter.target] - as_same[counter.same]}
            risen[key] = self._rises_of(key, counter, late, first)
        last = max((mark.hour for mark in self._marks.values()), default=0)
        self._marks = {key: mark for key, mark in self._marks.items() if last - mark.hour <= MARK_HOURS}
        return risen

    def _rises_of(self, key: RawSeries, counter: RawCounter, late: set[int], first: int) -> Rises:
        """The rises of one series, which began at zero where it begins in one of the `late` hours."""
        rises = Rises(column(len(counter.values)), {}, counter.values)
        mark = self._marks.get(key)
        for at, value in enumerate(counter.values):
            hour = first - 1 + at
            # Comparisons with NaN are false.
            if not 0 <= value < IMPLAUSIBLE or (mark is not None and hour <= mark.hour):
                continue
            if mark is not None and hour - mark.hour > MARK_HOURS:
                mark = None
            increase = counter.increases[at]
            within = 0.0 if isnan(increase) else increase
            if mark is None:
                began = value if at in late else within
                rises.since_last[at] = began if at else nan
            elif hour == mark.hour + 1 and not isnan(increase):
                rises.since_last[at] = max(increase, value - mark.value)
            else:
                rises.since_last[at] = value - mark.value if value >= mark.value else value
                if hour > mark.hour + 1:
                    rises.inside[at] = within
            mark = _Mark(value, hour)
        if mark is not None:
            self._marks[key] = mark
        return rises


class HourlyReader:
    """Reads chunks, one query at a time or as many as `parallel` says."""

    def __init__(self, client: PrometheusClient, survey: Survey, parallel: int = 1) -> None:
        self._client = client
        self._survey = survey
        self._parallel = parallel
        self._gpu_marks = LastValues()
        self._engine_marks = LastValues()

    def chunk_hours(self) -> int:
        """Hours of a chunk: fewer where there are many series."""
        counts = [instances.total() for instances in self._survey.series.values()]
        largest = min(max(counts, default=1), SERIES_MAX)
        return max(CHUNK_HOURS_MIN, min(CHUNK_HOURS_MAX, POINTS_MAX // max(1, largest)))

    def chunks(self, since: Instant, until: Instant) -> Iterator[Chunk]:
        """All hours, oldest first.

        Raises:
            PrometheusError: there is no whole answer.
        """
        first, last, hours = since // HOUR, until // HOUR, self.chunk_hours()
        for start in range(first, last, hours):
            chunk = Chunk(start, min(hours, last - start) + 1)
            chunk.resolution, ends = finest_resolution(self._client, "count(up)", *self._instants(chunk))
            chunk.alive = {(end + EDGE) // HOUR - 1 for end in ends}
            for number, exporter in enumerate(GPU_EXPORTERS):
                self._read_means(chunk, number, exporter)
                self._read_energy(chunk, number, exporter)
            self._read_engines(chunk)
            for answer in self._ranges(chunk, BOOT_TIME, LARGEST):
                host = self._survey.host_of(target_of(answer.labels), answer.labels)
                if host is not None:
                    boots = chunk.boots.setdefault(host, {})
                    for at, booted in chunk.points(answer):
                        number = chunk.number(at)
                        boots[number] = max(booted, boots.get(number, 0.0))
            yield chunk

    def _read_means(self, chunk: Chunk, number: int, exporter: GpuExporter) -> None:
        """Read the means of an exporter's measures, and the number of samples of those that show a GPU."""
        present = self._survey.series
        whole = [measure for measure in exporter.utilization if measure.name in present]
        parts = [measure for measure in exporter.instance_utilization if measure.name in present]
        # Beside a utilization of whole GPUs, that of parts is read for MIG alone.
        of_parts = f'{exporter.instance}!=""' if whole else ""
        only_memory = not whole and not parts
        queries = [
            *(MeanQuery("utilization", measure, "", counts=True) for measure in whole),
            *(MeanQuery("utilization", measure, of_parts, counts=True) for measure in parts),
            *(MeanQuery("memory", measure, "", counts=only_memory) for measure in exporter.memory_used),
            *(MeanQuery("power", measure, "", counts=False) for measure in exporter.power),
        ]
        for mean, measure, matchers, counts in queries:
            if measure.name not in present:
                continue
            means = self._ranges(chunk, measure.name, MEAN, matchers)
            for hours, at, value in self._gpu_points(chunk, number, means):
                values = hours.means[mean]
                scaled = value * measure.scale
                if scaled <= LARGEST_MEANS[mean] and (isnan(values[at]) or values[at] == 0):
                    values[at] = scaled
            counted = self._ranges(chunk, measure.name, COUNT, matchers) if counts else ()
            for hours, at, count in self._gpu_points(chunk, number, counted):
                before = hours.count[at]
                hours.count[at] = count if isnan(before) else max(count, before)

    def _gpu_points(
        self, chunk: Chunk, number: int, answer: Iterable[QuerySeries]
    ) -> Iterator[tuple[GpuHours, int, float]]:
        """The values of an exporter's series, with the GPU's hours and the place in its columns."""
        for series in answer:
            gpu = self._survey.gpu_series(number, series.labels)
            if gpu is not None:
                hours = chunk.gpu(gpu)
                for at, value in chunk.points(series):
                    yield hours, at, value

    def _read_energy(self, chunk: Chunk, number: int, exporter: GpuExporter) -> None:
        """Read the first counter of energy that an exporter has."""
        present = self._survey.series
        energy = next((measure for measure in exporter.energy if measure.name in present), None)
        if energy is None:
            return

        def device(labels: Labels) -> Hashable:
            gpu = self._survey.gpu_series(number, labels)
            return None if gpu is None else (gpu.gpu.uuid, gpu.instance)

        # No series of a target is late: a card's counter is older than any series of it.
        for labels, rises in self._counter(chunk, energy.name, self._gpu_marks, device, device):
            gpu = self._survey.gpu_series(number, labels)
            if gpu is not None:
                hours = chunk.gpu(gpu)
                for at, rise in enumerate(rises.since_last):
                    if not isnan(rise):
                        hours.joules[at] = rise * energy.scale
                for at, rise in rises.inside.items():
                    hours.inside[at] = rise * energy.scale

    def _read_engines(self, chunk: Chunk) -> None:
        """Read the counters and gauges of inference servers."""
        survey = self._survey
        engines = survey.all_engines()
        present = survey.series.keys() & {
            name for engine in engines for name in spellings(engine_names(engine))
        }
        running = (gauge.name for engine in engines for gauge in engine.running)
        gauges = set(spellings(running))
        copies: dict[EngineTarget, dict[str, list[Rises]]] = {}
        for name in sorted(present - gauges):
            for labels, risen in self._counter(chunk, name, self._engine_marks, target_of, self._page_key):
                target = target_of(labels)
                if target in survey.engines:
                    hours = chunk.engines.setdefault(target, EngineHours(labels))
                    series = survey.page_series(survey.described(name), labels)
                    counter = hours.rises.setdefault(series.key, PageColumn(series, risen.since_last))
                    copies.setdefault(target, {}).setdefault(series.key, []).append(risen)
                    for at, rise in risen.inside.items():
                        counter.inside[at] = max(counter.inside.get(at, 0.0), rise)
        for target, by_key in copies.items():
            hours = chunk.engines[target]
            for key, of_series in by_key.items():
                values = hours.rises[key].values = merged(of_series)
                hours.sampled.update(at for at, rise in enumerate(values) if not isnan(rise))
        for name in sorted(present & gauges):
            for answer in self._ranges(chunk, name, MEAN):
                target = target_of(answer.labels)
                if target in survey.engines:
                    hours = chunk.engines.setdefault(target, EngineHours(answer.labels))
                    series = survey.page_series(survey.described(name), answer.labels)
                    gauge = hours.means.setdefault(series.key, PageColumn(series, column(chunk.hours)))
                    for at, value in chunk.points(answer):
                        before = gauge.values[at]
                        gauge.values[at] = value if isnan(before) else max(value, before)
                        hours.sampled.add(at)

    def _page_key(self, labels: Labels) -> Hashable:
        """What a series of an engine counts, by whatever labels of its target."""
        name = self._survey.described(labels["__name__"])
        return target_of(labels), self._survey.page_series(name, labels).key

    def _counter(
        self,
        chunk: Chunk,
        name: str,
        marks: LastValues,
        target: Callable[[Labels], Hashable],
        same: Callable[[Labels], Hashable],
    ) -> Iterator[tuple[Labels, Rises]]:
        """Rises of a counter's raw series by the hour."""
        increases = self._columns(chunk, name, BEGAN_OR_RESET)
        none = column(chunk.hours)
        counters = {}
        for key, values in self._columns(chunk, name, LAST).items():
            labels = dict(key)
            counters[key] = RawCounter(target(labels), same(labels), values, increases.get(key, none))
        for key, rises in marks.rises(counters, chunk.first).items():
            yield {label: value for label, value in key if label != "__name__"}, rises

    def _columns(self, chunk: Chunk, name: str, expression: str) -> dict[RawSeries, Column]:
        columns: dict[RawSeries, Column] = {}
        for series in self._ranges(chunk, name, expression):
            key = frozenset({**series.labels, "__name__": name}.items())
            values = columns.setdefault(key, column(chunk.hours))
            for at, value in chunk.points(series):
                values[at] = value
        return columns

    def _ranges(self, chunk: Chunk, name: str, expression: str, matchers: str = "") -> Iterator[QuerySeries]:
        """The answers of one expression over a chunk, and the hour before it."""
        start, end = self._instants(chunk)
        parts = [matchers]
        counts = self._survey.series.get(name, Counter())
        if counts.total() > SERIES_MAX:
            instances = sorted(counts)
            size = max(1, len(instances) * SERIES_MAX // counts.total())
            groups = [instances[at : at + size] for at in range(0, len(instances), size)]
            before = f"{matchers}," if matchers else ""
            parts = [f'{before}instance=~"{"|".join(map(escaped, group))}"' for group in groups]
        queries = [expression.format(f"{name}{{{part}}}" if part else name) for part in parts]

        def send(query: str) -> list[QuerySeries]:
            return list(self._client.range(query, start, end, HOUR, coarsest=chunk.resolution))

        if self._parallel == 1:
            for query in queries:
                yield from send(query)
            return
        with ThreadPoolExecutor(self._parallel) as pool:
            for answer in pool.map(send, queries):
                yield from answer

    @staticmethod
    def _instants(chunk: Chunk) -> tuple[Instant, Instant]:
        """The ends of the first hour and of the last, as they are asked for."""
        start = chunk.first * HOUR - EDGE
        return start, start + (chunk.hours - 1) * HOUR


def merged(copies: Sequence[Rises]) -> Column:
    """One column of copies of a series that have other labels.

    Scrapers of the same page count once: the larger rise since any of them was there last. Where one ends and
    another begins, as replicas do and labels that are renamed, that is how far the one is above the other.
    A counter that began anew adds its rise.
    """
    if len(copies) == 1:
        return copies[0].since_last
    hours = len(copies[0].since_last)
    rises = column(hours)
    last: int | None = None
    for at in range(hours):
        here = [copy for copy in copies if not isnan(copy.values[at])]
        if not here:
            continue
        if last is not None:
            rises[at] = _rise(copies, here, at, last)
        elif at:
            # All since before this chunk: the one that was there last knows best.
            away = [copy.since_last[at] for copy in here if at in copy.inside]
            rises[at] = min(away) if away else max(copy.since_last[at] for copy in here)
        last = at
    return rises


def _rise(copies: Sequence[Rises], here: Sequence[Rises], at: int, last: int) -> float:
    """How far one counter rose in an hour since the `last` one with any of its copies, which are `here`."""
    before = [copy for copy in here if not isnan(copy.values[last])]
    began = [copy for copy in here if isnan(copy.values[last])]
    rise = max((copy.since_last[at] for copy in before), default=0.0)
    known = at + 1 < len(here[0].values)  # what comes after, at all
    if not began or (known and any(not isnan(copy.values[at + 1]) for copy in before)):
        return rise
    newest = max(began, key=lambda copy: copy.values[at])
    within = newest.inside.get(at, newest.since_last[at])
    since = newest.values[at] - max(copy.values[last] for copy in copies if not isnan(copy.values[last]))
    # What rose in hours without samples is of no hour of a series that is new.
    unseen = not before and last < at - 1 and at not in newest.inside
    if unseen or since < 0 or ((known or not before) and since < EXTRAPOLATED * within):
        return rise + within
    return max(rise, since)

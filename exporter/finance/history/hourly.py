"""Hours of GPUs and inference servers, chunk by chunk of time: what a server aggregates by the hour.

A query covers at most `POINTS_MAX` values and a week, and where it has more series, some instances at a time.
Counters are read as their last value of each hour, which no window's edge blurs; `increase` counts only hours
in which a series began or was reset.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from math import isnan, nan
from typing import Final, NamedTuple

from exporter.engines.exposition import Series
from exporter.finance.history.engine_series import engine_names, spellings
from exporter.finance.history.gpu_exporters import GPU_EXPORTERS, IMPLAUSIBLE, WATTS_MAX
from exporter.finance.history.kube_state import NodeKey, escaped
from exporter.finance.history.survey import (
    EngineTarget,
    GpuSeries,
    Labels,
    Survey,
    target_of,
)
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

LARGEST: Final[Mapping[str, float]] = {"utilization": 1.01, "memory": 2.0**42, "power": WATTS_MAX}
"""Means that a GPU may have, with room for rounding. Above: a blank of DCGM is among the samples."""

Reading = Callable[[str], str]
"""Makes the expression of a selector."""

RawSeries = frozenset[tuple[str, str]]
"""A series as the server has it: names and values of its labels."""


_MEAN: Final = f"avg_over_time({{}}[{WINDOW}])".format
_COUNT: Final = f"count_over_time({{}}[{WINDOW}])".format
_LAST: Final = f"last_over_time({{}}[{WINDOW}])".format
_LARGEST: Final = f"max_over_time({{}}[{WINDOW}])".format

BOOT_TIME: Final = "node_boot_time_seconds"
"""When a host booted, by node_exporter, in seconds since 1970."""


def column(hours: int) -> "array[float]":
    """An empty column."""
    return array("d", [nan]) * hours


@dataclass(slots=True)
class GpuHours:
    """Means of one series of a GPU by the hour, in SI units. NaN: there is none."""

    count: "array[float]"
    """The number of its samples."""
    utilization: "array[float]"
    memory: "array[float]"
    power: "array[float]"
    joules: "array[float]"
    """Energy since the last hour with samples."""
    inside: dict[int, float] = field(default_factory=dict)
    """Joules of an hour alone, where the hour before it has no samples."""

    @classmethod
    def empty(cls, hours: int) -> "GpuHours":
        """Columns without anything."""
        return cls(column(hours), column(hours), column(hours), column(hours), column(hours))


@dataclass(slots=True)
class EngineHours:
    """One target by the hour: counters and gauges by the key of their series on its page."""

    labels: Labels
    """Labels of one of its raw series."""
    rises: dict[str, tuple[Series, "array[float]"]] = field(default_factory=dict)
    """How much its counters rose in each hour."""
    means: dict[str, tuple[Series, "array[float]"]] = field(default_factory=dict)
    """The means of its gauges."""
    sampled: set[int] = field(default_factory=set)
    """The hours in which it had samples, as places in a column."""
    inside: dict[tuple[str, int], float] = field(default_factory=dict)
    """Rises within an hour, where the hour before it has no samples."""

    def names(self, hours: Iterable[int]) -> set[str]:
        """Names of its counters that have samples in these hours."""
        return {
            series.name
            for series, rises in self.rises.values()
            if any(not isnan(rises[each]) for each in hours)
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
    """The time between samples that Thanos made of those that it has no more; 0 for scraped ones."""
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

    def points(self, series: QuerySeries) -> Iterator[tuple[int, float]]:
        """Values of a series with their places in a column, those left out that are no readings.

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

    since_last: "array[float]"
    """Rises since the last hour with samples."""
    inside: dict[int, float]
    """Rises within an hour, where the hour before it has no samples."""
    values: "array[float]"
    """Last values of each hour."""


class LastValues:
    """Last values of raw series from chunk to chunk."""

    def __init__(self) -> None:
        self._marks: dict[RawSeries, _Mark] = {}

    def rises(
        self,
        series: Mapping[RawSeries, "array[float]"],
        increases: Mapping[RawSeries, "array[float]"],
        target: Callable[[RawSeries], object],
        same: Callable[[RawSeries], object],
        first: int,
        hours: int,
    ) -> dict[RawSeries, "Rises"]:
        """How far each series rose in each hour.

        One without a mark began at zero if others of its target went on, since engines create series late.
        Else what it rose within the hour counts: it may have run for long, or have other labels than before.

        Args:
            series: last values by the hour, and those of the hour before the first.
            increases: of hours in which a series began or was reset.
            target: the target of a series.
            same: what a series counts, by whatever labels of its target or its holder.
            first: the number of the first hour.
            hours: how many there are, with the one before.
        """
        on_target: dict[object, set[int]] = {}
        as_same: dict[object, set[int]] = {}
        for key, values in series.items():
            there = {at for at in range(hours) if not isnan(values[at])}
            on_target.setdefault(target(key), set()).update(there)
            as_same.setdefault(same(key), set()).update(there)
        risen: dict[RawSeries, Rises] = {}
        for key, values in series.items():
            rises, inside, _ = risen[key] = Rises(column(hours), {}, values)
            mark = self._marks.get(key)
            if mark is not None and first - 1 - mark.hour > MARK_HOURS:
                mark = None
            increase = increases.get(key)
            for at, value in enumerate(values):
                if isnan(value) or not 0 <= value < IMPLAUSIBLE:
                    continue
                within = nan if increase is None else increase[at]
                hour = first - 1 + at
                if mark is None or hour - mark.hour > MARK_HOURS:
                    late = at - 1 in on_target[target(key)] and at - 1 not in as_same[same(key)]
                    if at and late:
                        rises[at] = value
                    elif at:
                        rises[at] = 0.0 if isnan(within) else within
                elif hour <= mark.hour:
                    continue
                elif not isnan(within) and hour == mark.hour + 1:
                    rises[at] = max(within, value - mark.value)
                else:
                    rises[at] = value - mark.value if value >= mark.value else value
                    if hour > mark.hour + 1:
                        inside[at] = 0.0 if isnan(within) else within
                mark = _Mark(value, hour)
            if mark is not None:
                self._marks[key] = mark
        last = first - 2 + hours
        for key in [key for key, mark in self._marks.items() if last - mark.hour > MARK_HOURS]:
            del self._marks[key]
        return risen


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
        largest = max((min(count, SERIES_MAX) for count in self._survey.counts.values()), default=1)
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
            self._read_gpus(chunk)
            self._read_engines(chunk)
            for answer in self._ranges(chunk, BOOT_TIME, _LARGEST):
                host = self._survey.host_of(target_of(answer.labels), answer.labels)
                if host is not None:
                    boots = chunk.boots.setdefault(host, {})
                    for at, booted in chunk.points(answer):
                        number = chunk.number(at)
                        boots[number] = max(booted, boots.get(number, 0.0))
            yield chunk

    def _read_gpus(self, chunk: Chunk) -> None:
        survey = self._survey
        for number, exporter in enumerate(GPU_EXPORTERS):
            names = survey.names.get(exporter.name, set())
            whole = [measure for measure in exporter.utilization if measure.name in names]
            parts = [measure for measure in exporter.instance_utilization if measure.name in names]
            memory = [measure for measure in exporter.memory_used if measure.name in names]
            # Beside a utilization of whole GPUs, that of parts is read for MIG alone.
            of_parts = f'{exporter.instance}!=""' if whole else ""
            reads = [
                *(("utilization", measure, "", True) for measure in whole),
                *(("utilization", measure, of_parts, True) for measure in parts),
                *(("memory", measure, "", not whole and not parts) for measure in memory),
                *(("power", measure, "", False) for measure in exporter.power if measure.name in names),
            ]
            for family, measure, matchers, counts in reads:
                means = self._ranges(chunk, measure.name, _MEAN, matchers)
                for hours, at, mean in self._gpu_points(chunk, number, means):
                    values = getattr(hours, family)
                    value = mean * measure.scale
                    if value <= LARGEST[family] and (isnan(values[at]) or values[at] == 0):
                        values[at] = value
                counted = self._ranges(chunk, measure.name, _COUNT, matchers) if counts else ()
                for hours, at, count in self._gpu_points(chunk, number, counted):
                    before = hours.count[at]
                    hours.count[at] = count if isnan(before) else max(count, before)
            energy = next((measure for measure in exporter.energy if measure.name in names), None)
            if energy is not None:
                # No series of a target is late: a card's counter is older than any series of it.
                device = partial(self._device, number)
                for labels, rises in self._counter(chunk, energy.name, self._gpu_marks, device, device):
                    gpu = survey.gpu_series(number, labels)
                    if gpu is not None:
                        hours = chunk.gpus.setdefault(gpu, GpuHours.empty(chunk.hours))
                        for at, rise in enumerate(rises.since_last):
                            if not isnan(rise):
                                hours.joules[at] = rise * energy.scale
                        for at, rise in rises.inside.items():
                            hours.inside[at] = rise * energy.scale

    def _device(self, number: int, labels: Labels) -> object:
        """The GPU or MIG instance of a series, whoever holds it."""
        gpu = self._survey.gpu_series(number, labels)
        return None if gpu is None else (gpu.gpu.uuid, gpu.instance)

    def _gpu_points(
        self, chunk: Chunk, number: int, answer: Iterable[QuerySeries]
    ) -> Iterator[tuple[GpuHours, int, float]]:
        """The values of an exporter's series, with the GPU's hours and the place in its columns."""
        for series in answer:
            gpu = self._survey.gpu_series(number, series.labels)
            if gpu is not None:
                hours = chunk.gpus.setdefault(gpu, GpuHours.empty(chunk.hours))
                for at, value in chunk.points(series):
                    yield hours, at, value

    def _read_engines(self, chunk: Chunk) -> None:
        survey = self._survey
        engines = survey.all_engines()
        names = {name for engine in engines for name in spellings(engine_names(engine))}
        gauges = {name for engine in engines for gauge in engine.running for name in spellings([gauge.name])}
        present = names & survey.names.get("engines", set())
        rises: dict[EngineTarget, dict[str, tuple[Series, list[Rises]]]] = {}
        for name in sorted(present - gauges):
            for labels, risen in self._counter(chunk, name, self._engine_marks, target_of, self._page_key):
                hours = self._engine_hours(chunk, labels)
                if hours is not None:
                    target = target_of(labels)
                    series = survey.page_series(survey.described(name), labels)
                    copies = rises.setdefault(target, {}).setdefault(series.key, (series, []))[1]
                    copies.append(risen)
                    for at, rise in risen.inside.items():
                        known = hours.inside.get((series.key, at), 0.0)
                        hours.inside[series.key, at] = max(known, rise)
        for target, by_key in rises.items():
            hours = chunk.engines[target]
            for key, (series, copies) in by_key.items():
                hours.rises[key] = series, merged(copies)
                hours.sampled.update(at for at, rise in enumerate(hours.rises[key][1]) if not isnan(rise))
        for name in sorted(present & gauges):
            for answer in self._ranges(chunk, name, _MEAN):
                hours = self._engine_hours(chunk, answer.labels)
                if hours is None:
                    continue
                series = survey.page_series(survey.described(name), answer.labels)
                values = hours.means.setdefault(series.key, (series, column(chunk.hours)))[1]
                for at, value in chunk.points(answer):
                    values[at] = max(value, values[at] if not isnan(values[at]) else 0.0)
                    hours.sampled.add(at)

    def _page_key(self, labels: Labels) -> object:
        """What a series of an engine counts, by whatever labels of its target."""
        name = self._survey.described(labels["__name__"])
        return target_of(labels), self._survey.page_series(name, labels).key

    def _engine_hours(self, chunk: Chunk, labels: Labels) -> EngineHours | None:
        target = target_of(labels)
        if target not in self._survey.engines:
            return None
        return chunk.engines.setdefault(target, EngineHours(labels))

    def _counter(
        self,
        chunk: Chunk,
        name: str,
        marks: LastValues,
        target: Callable[[Labels], object],
        same: Callable[[Labels], object],
    ) -> Iterator[tuple[Labels, Rises]]:
        """Rises of a counter's raw series by the hour."""
        # Only series that began or were reset are in this answer.
        began_or_reset = self._ranges(
            chunk,
            name,
            lambda each: (
                f"(increase({each}[{WINDOW}]) unless last_over_time({each}[{WINDOW}] offset 1h))"
                f" or (increase({each}[{WINDOW}]) and (resets({each}[{WINDOW}]) > 0))"
            ),
        )
        risen = marks.rises(
            self._columns(chunk, name, self._ranges(chunk, name, _LAST)),
            self._columns(chunk, name, began_or_reset),
            lambda key: target(dict(key)),
            lambda key: same(dict(key)),
            chunk.first,
            chunk.hours,
        )
        for key, rises in risen.items():
            yield {label: value for label, value in key if label != "__name__"}, rises

    def _columns(
        self, chunk: Chunk, name: str, answer: Iterable[QuerySeries]
    ) -> dict[RawSeries, "array[float]"]:
        columns: dict[RawSeries, array[float]] = {}
        for series in answer:
            key = frozenset({**series.labels, "__name__": name}.items())
            values = columns.setdefault(key, column(chunk.hours))
            for at, value in chunk.points(series):
                values[at] = value
        return columns

    def _ranges(self, chunk: Chunk, name: str, reading: Reading, matchers: str = "") -> Iterator[QuerySeries]:
        """The answers of one expression over a chunk, and the hour before it."""
        start, end = self._instants(chunk)
        matchers_of_parts = [matchers]
        count = self._survey.counts.get(name, 0)
        if count > SERIES_MAX:
            instances = sorted(self._survey.instances[name])
            size = max(1, len(instances) * SERIES_MAX // count)
            groups = [
                "|".join(map(escaped, instances[at : at + size])) for at in range(0, len(instances), size)
            ]
            matchers_of_parts = [
                f'{matchers},instance=~"{group}"' if matchers else f'instance=~"{group}"' for group in groups
            ]
        queries = [reading(f"{name}{{{part}}}" if part else name) for part in matchers_of_parts]

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


def merged(copies: Sequence[Rises]) -> "array[float]":
    """One column of several of the same series by other labels.

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
        if at and last is None:
            # All since before this chunk: the one that was there last knows best.
            away = [copy.since_last[at] for copy in here if at in copy.inside]
            rises[at] = min(away) if away else max(copy.since_last[at] for copy in here)
        elif last is not None:
            rises[at] = _rise(copies, here, at, last)
        last = at
    return rises


def _rise(copies: Sequence[Rises], here: Sequence[Rises], at: int, last: int) -> float:
    """How far one counter rose in an hour, in which these series are `here`, since any was there last."""
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

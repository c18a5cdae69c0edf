"""Readings of a page, given the engine that wrote it."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from exporter import readings
from exporter.engines import spec
from exporter.engines.exposition import Page, Sample, Series
from exporter.engines.latency import latency_readings
from exporter.engines.load import REQUESTS_MAX, CacheUse, Gauges, load_readings
from exporter.units import LARGEST_COUNT, Instant, nanoseconds

LATEST_SECONDS: Final = 1e11
"""Unix times beyond this (the year 5138) are none."""

MODELS_MAX: Final = 1000
"""Models that are distinguished on one page, in its order: the most that `limits.models` allows."""


@dataclass(frozen=True, slots=True)
class Interpretation:
    """Fields of a `ServerReading` from one page; `role` is empty where both roles are on the page.

    `implausible` is how many series of counters are ignored (see `implausible`).
    """

    counters: Sequence[readings.CounterReading]
    loads: tuple[readings.LoadReading, ...]
    models: tuple[str, ...]
    identity: str
    started: Instant | None
    role: readings.Role = ""
    latencies: tuple[readings.LatencyReading, ...] | None = None
    implausible: int = 0


def interpret(
    engine: spec.Engine,
    page: Page,
    *,
    model: str = "",
    header: str = "",
    limit: readings.SequenceLimit | None = None,
    slo: readings.ServiceLevel | None = None,
    histograms: Page | None = None,
    process: tuple[str, Instant | None] | None = None,
) -> Interpretation:
    """Read a page by its engine's names.

    `model` is the model of series that do not name one, from another page.
    `header` is the value of the engine's identity header, empty where there is none.
    `limit` is the largest number of running sequences, used where the page does not have it.
    `histograms` is the same page read for `latency_series`, for a server with a service level `slo`.
    `process` is its `process_identity`, where that is known already.
    A counter that is NaN, infinite or negative is not a reading.
    """
    # The model that the page names beside its counters.
    named = (
        sample.series.labels.get(named.label, "")
        for named in engine.named_by
        for sample in page.samples.get(named.name, ())
    )
    series = PageSeries(engine, page, model or next(filter(None, named), ""))
    counters = readings.counter_readings(series.counters())
    running, waiting = series.requests(engine.running), series.requests(engine.waiting)
    gauges = Gauges(running, waiting, series.requests(engine.max_running), series.caches())
    loads = load_readings(gauges, limit)
    latencies = None
    if slo is not None and histograms is not None:
        latencies = latency_readings(engine, histograms, slo, series.model_of)
    identity, started = process or process_identity(engine, page, header)
    models = series.models
    if models <= {""}:  # nothing has been counted yet
        models = {series.otherwise}
    return Interpretation(
        counters=counters,
        loads=loads,
        models=tuple(sorted(models - {""})),
        identity=identity,
        started=started,
        role=series.role(),
        latencies=latencies,
        implausible=implausible(engine, page),
    )


class PageSeries:
    """The series of one page by the names of its engine, and the models that their labels name.

    Models beyond `MODELS_MAX` are one. `otherwise` is the model of series that name none.
    """

    def __init__(self, engine: spec.Engine, page: Page, otherwise: str) -> None:
        self._engine = engine
        self._page = page
        self.otherwise = readings.label(otherwise)
        self.models: set[str] = set()
        self._by_label: dict[tuple[str, str], str] = {}

    def model_of(self, series: Series) -> str:
        """The model of a series."""
        name = self.otherwise
        for each in self._engine.model_labels:
            if each in series.labels:
                name = series.labels[each]
                break
        stage = series.labels.get(self._engine.stage_label, "") if self._engine.stage_label else ""
        known = self._by_label.get((name, stage))
        if known is None:
            known = self.otherwise if name in self._engine.nameless else readings.label(name)
            known = readings.label(f"{known}:{stage}") if stage else known
            if known in self.models or len(self.models) < MODELS_MAX:
                self.models.add(known)
            else:
                known = readings.OTHER_MODELS
            self._by_label[name, stage] = known
        return known

    def counters(self) -> Iterator[readings.CounterReading]:
        """The counters of each group, by the first alternative whose names are on the page."""
        engine, page = self._engine, self._page
        for group in engine.groups:
            present = (alternative for alternative in group if page.names.issuperset(alternative.requires))
            alternative = next(present, None)
            for count in () if alternative is None else alternative.counts:
                created = created_by_series(page, count.name) if engine.created else {}
                for sample in samples_of(engine, page, count):
                    yield readings.CounterReading(
                        series=sample.series.key.removeprefix(engine.prefix),
                        model=self.model_of(sample.series),
                        quantity=count.quantity,
                        value=sample.value * count.scale,
                        sign=count.sign,
                        created=created.get(sample.series.key),
                    )

    def requests(self, gauges: Iterable[spec.Gauge]) -> dict[str, list[float]]:
        """Requests per model by the first gauge on the page, a number for each rank."""
        requests: dict[str, list[float]] = {}
        gauge = next((gauge for gauge in gauges if gauge.name in self._page.names), None)
        if gauge is None:
            return requests
        for name in filter(None, (gauge.name, gauge.also)):
            for sample in _samples(self._engine, self._page, name, gauge.where, gauge.unless):
                if sample.value <= REQUESTS_MAX:
                    requests.setdefault(self.model_of(sample.series), []).append(sample.value)
        return requests

    def caches(self) -> dict[str, list[CacheUse]]:
        """Use of the KV cache per model by the first gauge on the page, one for each rank."""
        page = self._page
        gauge = next((gauge for gauge in self._engine.kv_cache if gauge.name in page.names), None)
        if gauge is None:
            return {}
        capacities = {
            sample.series.named(gauge.name): sample.value
            for sample in (_samples(self._engine, page, gauge.capacity, ()) if gauge.capacity else ())
        }
        caches: dict[str, list[CacheUse]] = {}
        for series, value in _samples(self._engine, page, gauge.name, gauge.where):
            capacity = capacities.get(series.key, 0.0) if gauge.capacity else None
            caches.setdefault(self.model_of(series), []).append(CacheUse(value, capacity))
        for series, value in page.samples.get(gauge.name, ()):
            if spec.chosen(series.labels, gauge.where) and not 0 <= value < math.inf:
                caches.setdefault(self.model_of(series), []).append(CacheUse(value, None))
        return caches

    def role(self) -> readings.Role:
        """The role that the labels of its series have; empty for both or none."""
        label = self._engine.role_label
        samples = (sample for of_name in self._page.samples.values() for sample in of_name)
        # Some series are of the process and not of the engine.
        roles = {sample.series.labels.get(label, "") for sample in samples} - {""} if label else set()
        if roles == {"prefill"}:
            return "prefill"
        return "decode" if roles == {"decode"} else ""


@cache
def _counts(engine: spec.Engine) -> frozenset[str]:
    """The names of all counters of an engine."""
    return frozenset(count.name for count in engine.counts())


def created_by_series(page: Page, name: str) -> dict[str, Instant]:
    """When the series of a counter began, by their keys, as far as the page has it."""
    return {
        sample.series.named(name): nanoseconds(sample.value)
        for sample in page.samples.get(spec.created_name(name), ())
        if 0 < sample.value < LATEST_SECONDS
    }


def samples_of(engine: spec.Engine, page: Page, count: spec.Count) -> Sequence[Sample]:
    """The plausible samples of a count."""
    return _samples(engine, page, count.name, count.where, count.unless)


def _samples(
    engine: spec.Engine, page: Page, name: str, where: spec.Choice, unless: spec.Choice = ()
) -> Sequence[Sample]:
    """The plausible samples of a choice. Of ranks that count the same work the largest, under a common name.

    So a series keeps its name and its mark when a rank leaves and another one has it.
    """
    samples = [
        sample
        for sample in page.samples.get(name, ())
        if math.isfinite(sample.value)
        and sample.value >= 0
        and spec.chosen(sample.series.labels, where)
        and not (unless and spec.chosen(sample.series.labels, unless))
    ]
    if not engine.repeated:
        return samples
    once: dict[str, Sample] = {}
    for sample in samples:
        series = sample.series.less(engine.repeated)
        known = once.get(series.key)
        if known is None or sample.value > known.value:
            once[series.key] = Sample(series, sample.value)
    return tuple(once.values())


def process_identity(engine: spec.Engine, page: Page, header: str) -> tuple[str, Instant | None]:
    """Identity and start of the process; none from a start that cannot be read.

    A changed identity is a restart, and a restart counts from zero.
    """
    identified = process_start(page, engine.created)
    return (readings.label(header), None) if identified is None else identified


def process_start(page: Page, created: str) -> tuple[str, Instant | None] | None:
    """Identity and start of the process by its page, else by its oldest series; `None` without."""
    for name in (spec.PROCESS_START, created):
        if name in page.names:
            moments = (sample.value for sample in page.samples.get(name, ()))
            oldest = min((moment for moment in moments if 0 < moment < LATEST_SECONDS), default=None)
            return ("", None) if oldest is None else (f"started {oldest!r}", nanoseconds(oldest))
    return None


def implausible(engine: spec.Engine, page: Page) -> int:
    """Number of series of an engine's counters that are negative, beyond 2**53, infinite or not a number.

    They are ignored: a series keeps its mark, and its tokens arrive with its next good value.
    """
    return sum(
        not 0 <= sample.value <= LARGEST_COUNT
        for name in _counts(engine)
        for sample in page.samples.get(name, ())
    )

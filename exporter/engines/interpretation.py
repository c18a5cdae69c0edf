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
    models = Models(engine, model or next(filter(None, named), ""))
    counters = readings.counter_readings(
        counter
        for group in engine.groups
        for alternative in [each for each in group if page.names.issuperset(each.requires)][:1]
        for counter in _counters(engine, alternative, page, models)
    )
    gauges = Gauges(
        _requests(engine, engine.running, page, models),
        _requests(engine, engine.waiting, page, models),
        _requests(engine, engine.max_running, page, models),
        _caches(engine, page, models),
    )
    loads = load_readings(gauges, limit)
    latencies = None
    if slo is not None and histograms is not None:
        latencies = latency_readings(engine, histograms, slo, models.of)
    identity, started = process or process_identity(engine, page, header)
    names = models.names
    if names <= {""}:  # nothing has been counted yet
        names = {models.otherwise}
    return Interpretation(
        counters=counters,
        loads=loads,
        models=tuple(sorted(names - {""})),
        identity=identity,
        started=started,
        role=_role(engine, page),
        latencies=latencies,
        implausible=implausible(engine, page),
    )


class Models:
    """The models of one page, as the labels of its series name them.

    Those beyond `MODELS_MAX` are one. `otherwise` is the model of series that name none.
    """

    def __init__(self, engine: spec.Engine, otherwise: str) -> None:
        self._engine = engine
        self.otherwise = readings.label(otherwise)
        self.names: set[str] = set()
        self._by_label: dict[tuple[str, str], str] = {}

    def of(self, series: Series) -> str:
        """The model of a series."""
        name = self.otherwise
        for each in self._engine.models:
            if each in series.labels:
                name = series.labels[each]
                break
        stage = series.labels.get(self._engine.stage, "") if self._engine.stage else ""
        known = self._by_label.get((name, stage))
        if known is None:
            known = self.otherwise if name in self._engine.nameless else readings.label(name)
            known = readings.label(f"{known}:{stage}") if stage else known
            if known in self.names or len(self.names) < MODELS_MAX:
                self.names.add(known)
            else:
                known = readings.OTHER_MODELS
            self._by_label[name, stage] = known
        return known


def _counters(
    engine: spec.Engine, alternative: spec.Alternative, page: Page, models: Models
) -> Iterator[readings.CounterReading]:
    for count in alternative.counts:
        created = created_by_series(page, count.name) if engine.created else {}
        for sample in samples_of(engine, page, count):
            yield readings.CounterReading(
                series=sample.series.key.removeprefix(engine.prefix),
                model=models.of(sample.series),
                quantity=count.quantity,
                value=sample.value * count.scale,
                sign=count.sign,
                created=created.get(sample.series.key),
            )


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


def _role(engine: spec.Engine, page: Page) -> readings.Role:
    if not engine.role:
        return ""
    roles = {
        sample.series.labels.get(engine.role, "") for samples in page.samples.values() for sample in samples
    }
    # Some series are of the process and not of the engine.
    match sorted(roles - {""}):
        case ["prefill"]:
            return "prefill"
        case ["decode"]:
            return "decode"
    return ""


def _caches(engine: spec.Engine, page: Page, models: Models) -> dict[str, list[CacheUse]]:
    """Use of the KV cache per model, by the first gauge on the page: what each rank's gauge says."""
    for gauge in engine.kv_cache:
        if gauge.name in page.names:
            caches: dict[str, list[CacheUse]] = {}
            for series, use in _cache_uses(engine, page, gauge):
                caches.setdefault(models.of(series), []).append(use)
            return caches
    return {}


def _cache_uses(engine: spec.Engine, page: Page, gauge: spec.CacheGauge) -> Iterator[tuple[Series, CacheUse]]:
    capacities = {
        sample.series.named(gauge.name): sample.value
        for sample in (_samples(engine, page, gauge.capacity, ()) if gauge.capacity else ())
    }
    for series, value in _samples(engine, page, gauge.name, gauge.where):
        yield series, (value, capacities.get(series.key, 0.0) if gauge.capacity else None)
    for series, value in page.samples.get(gauge.name, ()):
        if spec.chosen(series.labels, gauge.where) and not 0 <= value < math.inf:
            yield series, (value, None)


def _requests(
    engine: spec.Engine, gauges: Iterable[spec.Gauge], page: Page, models: Models
) -> dict[str, list[float]]:
    """Requests per model by the first gauge on the page, a number for each rank."""
    for gauge in gauges:
        if gauge.name in page.names:
            requests: dict[str, list[float]] = {}
            for name in filter(None, (gauge.name, gauge.also)):
                for sample in _samples(engine, page, name, gauge.where, gauge.unless):
                    if sample.value <= REQUESTS_MAX:
                        requests.setdefault(models.of(sample.series), []).append(sample.value)
            return requests
    return {}


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

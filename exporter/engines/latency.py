"""Latency histograms of a page, as far as the objectives of a service level need them.

Of each histogram three counters are kept: its buckets on both sides of the objective, and all observations.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from exporter.engines.exposition import Page, Series
from exporter.engines.layouts import PageOfLayout
from exporter.engines.spec import Engine, LatencyHistogram
from exporter.readings import LatencyBasis, LatencyReading, Objective, ServiceLevel
from exporter.units import LARGEST_COUNT

HISTOGRAMS_MAX: Final = 512
"""Histograms of one page, one for each rank and label set; those of 16 ranks are 32."""

BUCKETS_MAX: Final = 256
"""Buckets of one histogram; those of engines are up to 40."""

BUCKET: Final = frozenset({"le"})


def latency_readings(
    engine: Engine, page: Page, slo: ServiceLevel, model_of: Callable[[Series], str]
) -> tuple[LatencyReading, ...] | None:
    """The histograms of a page that was read for `latency_series`, by the first alternative on it.

    `None` where one of them cannot be right: a line is malformed, counts fall from bucket to bucket or are
    not numbers, the last bucket is missing, or there are too many. Nothing of the page is then used: what is
    left out now would count from zero when it is back.
    """
    if page.malformed or page.duplicates or page.cut:
        return None
    readings: list[LatencyReading] = []
    for name, histograms in _histograms_of(engine, page, slo):
        values = page.values_of(name) if isinstance(page, PageOfLayout) else None
        counts = values or [sample.value for sample in page.samples.get(name, ())]
        for histogram in histograms:
            reading = None if histogram is None else histogram.reading(counts, model_of)
            if reading is None or len(readings) >= HISTOGRAMS_MAX:
                return None
            readings.append(reading)
    return tuple(readings)


class _Histogram(NamedTuple):
    """One histogram of a page but for its counts.

    `order` are the indices of its buckets among those of its name, by their bounds. `lower` and `upper` are
    those of the buckets on both sides of the objective, `lower` `None` where there is none.
    """

    order: tuple[int, ...]
    lower: int | None
    upper: int
    labels: Series
    series: str
    objective: Objective
    basis: LatencyBasis
    floor: float
    ceiling: float

    def reading(self, counts: Sequence[float], model_of: Callable[[Series], str]) -> LatencyReading | None:
        """Its reading, by the counts of all buckets of its name; `None` where they cannot be right."""
        own = [counts[index] for index in self.order]
        rising = own[0] >= 0 and own == sorted(own) and own[-1] <= LARGEST_COUNT
        if not rising or math.isnan(sum(own)):  # NaN may stand anywhere in what is sorted
            return None
        return LatencyReading(
            self.series,
            model_of(self.labels),
            self.objective,
            self.basis,
            self.floor,
            self.ceiling,
            0.0 if self.lower is None else counts[self.lower],
            counts[self.upper],
            own[-1],
        )


_Histograms = tuple[tuple[str, list[_Histogram | None]], ...]
"""Histograms by the names of their buckets; `None` for one whose bounds cannot be right."""


class _LatencyPlan(NamedTuple):
    """The histograms of a layout."""

    engine: Engine
    slo: ServiceLevel
    histograms: _Histograms


def _histograms_of(engine: Engine, page: Page, slo: ServiceLevel) -> _Histograms:
    """The histograms of a page; those of a layout are found once."""
    if not isinstance(page, PageOfLayout):
        return _new_histograms(engine, page, slo)
    plan = page.layout.derived
    if not isinstance(plan, _LatencyPlan) or plan.engine is not engine or plan.slo != slo:
        plan = page.layout.derived = _LatencyPlan(engine, slo, _new_histograms(engine, page, slo))
    return plan.histograms


def _new_histograms(engine: Engine, page: Page, slo: ServiceLevel) -> _Histograms:
    histograms: list[tuple[str, list[_Histogram | None]]] = []
    for objective, seconds in slo.seconds().items():
        for one in engine.latencies()[objective]:
            if one.buckets in page.names:
                of_labels = _buckets(page, one).items()
                made = [
                    _histogram(key, buckets, objective, seconds, one, engine) for key, buckets in of_labels
                ]
                histograms.append((one.buckets, made))
                break
    return tuple(histograms)


def _buckets(page: Page, histogram: LatencyHistogram) -> Mapping[str, dict[int, Series]]:
    """The buckets of each histogram by their indices, by its name and labels without `le`."""
    histograms: dict[str, dict[int, Series]] = {}
    for index, sample in enumerate(page.samples.get(histogram.buckets, ())):
        histograms.setdefault(sample.series.less(BUCKET).key, {})[index] = sample.series
    return histograms


def _histogram(
    series: str,
    buckets: Mapping[int, Series],
    objective: Objective,
    seconds: float,
    histogram: LatencyHistogram,
    engine: Engine,
) -> _Histogram | None:
    """A histogram but for its counts; `None` where its bounds cannot be right."""
    index_by_bound = dict(_bounds(buckets))
    bounds = sorted(index_by_bound)
    # A bound that stands twice, or is not a number, leaves fewer buckets than lines.
    if len(bounds) != len(buckets) or len(bounds) > BUCKETS_MAX or bounds[-1] != math.inf:
        return None
    floor = max((bound for bound in bounds if bound <= seconds), default=-math.inf)
    ceiling = min(bound for bound in bounds if bound >= seconds)
    return _Histogram(
        order=tuple(index_by_bound[bound] for bound in bounds),
        lower=index_by_bound.get(floor),
        upper=index_by_bound[ceiling],
        labels=next(iter(buckets.values())),
        series=series.removeprefix(engine.prefix),
        objective=objective,
        basis=histogram.basis,
        floor=floor,
        ceiling=ceiling,
    )


def _bounds(buckets: Mapping[int, Series]) -> Iterator[tuple[float, int]]:
    """Bound and index of each bucket whose bound is a number."""
    for index, series in buckets.items():
        try:
            bound = float(series.labels.get("le", ""))
        except ValueError:
            continue
        if not math.isnan(bound):
            yield bound, index

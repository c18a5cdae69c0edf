"""Latency histograms of a page, as far as the objectives of a service level need them.

Of each histogram three counters are kept: its buckets on both sides of the objective, and all observations.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Final

from exporter.engines.exposition import Page, Sample, Series
from exporter.engines.spec import Engine, LatencyHistogram
from exporter.readings import LatencyReading, Objective, ServiceLevel
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
    for objective, seconds in slo.seconds().items():
        for histogram in engine.latencies()[objective]:
            if histogram.buckets in page.names:
                for series, buckets in _histograms(page, histogram).items():
                    reading = _reading(series, buckets, objective, seconds, histogram, engine, model_of)
                    if reading is None or len(readings) >= HISTOGRAMS_MAX:
                        return None
                    readings.append(reading)
                break
    return tuple(readings)


def _histograms(page: Page, histogram: LatencyHistogram) -> Mapping[str, list[Sample]]:
    """The buckets of each histogram, by its name and labels without `le`."""
    histograms: dict[str, list[Sample]] = {}
    for sample in page.samples.get(histogram.buckets, ()):
        histograms.setdefault(sample.series.less(BUCKET).key, []).append(sample)
    return histograms


def _reading(
    series: str,
    samples: list[Sample],
    objective: Objective,
    seconds: float,
    histogram: LatencyHistogram,
    engine: Engine,
    model_of: Callable[[Series], str],
) -> LatencyReading | None:
    buckets = dict(_buckets(samples))
    bounds = sorted(buckets)
    # A bound that stands twice, or is not a number, leaves fewer buckets than lines.
    if len(bounds) != len(samples) or len(bounds) > BUCKETS_MAX or bounds[-1] != math.inf:
        return None
    if any(buckets[low] > buckets[high] for low, high in pairwise(bounds)):
        return None
    floor = max((bound for bound in bounds if bound <= seconds), default=-math.inf)
    ceiling = min(bound for bound in bounds if bound >= seconds)
    return LatencyReading(
        series=series.removeprefix(engine.prefix),
        model=model_of(samples[0].series),
        objective=objective,
        basis=histogram.basis,
        floor=floor,
        ceiling=ceiling,
        lower=buckets.get(floor, 0.0),
        upper=buckets[ceiling],
        total=buckets[math.inf],
    )


def _buckets(samples: list[Sample]) -> Iterator[tuple[float, float]]:
    """Bound and count of each bucket whose two numbers are plausible."""
    for series, count in samples:
        try:
            bound = float(series.labels.get("le", ""))
        except ValueError:
            continue
        if not math.isnan(bound) and 0 <= count <= LARGEST_COUNT:
            yield bound, count

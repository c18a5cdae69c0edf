"""Latency histograms of a page, as far as the objectives of a service level need them.

Of each histogram three counters are kept: its buckets on both sides of the objective, and all observations.
"""

import math
from collections.abc import Callable, Sequence
from typing import Final

from exporter.engines.exposition import Page, Sample, Series
from exporter.engines.spec import Engine
from exporter.readings import LatencyReading, ServiceLevel
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
        choice = engine.latencies()[objective]
        histogram = next((each for each in choice if each.buckets in page.names), None)
        if histogram is None:
            continue
        by_series: dict[str, list[Sample]] = {}
        for sample in page.samples.get(histogram.buckets, ()):
            by_series.setdefault(sample.series.less(BUCKET).key, []).append(sample)
        for series, buckets in by_series.items():
            counts = _counts_by_bound(buckets)
            if counts is None or len(readings) >= HISTOGRAMS_MAX:
                return None
            floor = max((bound for bound in counts if bound <= seconds), default=-math.inf)
            ceiling = min(bound for bound in counts if bound >= seconds)
            reading = LatencyReading(
                series=series.removeprefix(engine.prefix),
                model=model_of(buckets[0].series),
                objective=objective,
                basis=histogram.basis,
                floor=floor,
                ceiling=ceiling,
                lower=counts.get(floor, 0.0),
                upper=counts[ceiling],
                total=counts[math.inf],
            )
            readings.append(reading)
    return tuple(readings)


def _counts_by_bound(buckets: Sequence[Sample]) -> dict[float, float] | None:
    """The counts of a histogram by the bounds of its buckets; `None` where they cannot be right."""
    counts: dict[float, float] = {}
    for sample in buckets:
        try:
            bound = float(sample.series.labels.get("le", ""))
        except ValueError:
            return None
        counts[bound] = sample.value
    rising = [counts[bound] for bound in sorted(counts)]
    # NaN may stand anywhere in what is sorted, and makes the sum none.
    if math.isnan(sum(counts)) or math.isnan(sum(rising)) or math.inf not in counts:
        return None
    # A bound that stands twice leaves fewer counts than lines.
    if len(counts) != len(buckets) or len(counts) > BUCKETS_MAX:
        return None
    is_histogram = rising == sorted(rising) and rising[0] >= 0 and rising[-1] <= LARGEST_COUNT
    return counts if is_histogram else None

"""Latency histograms among the counters of a page, and how many of their observations met an objective."""

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from exporter.cost.page_marks import Series
from exporter.readings import LatencyBasis, LatencyReading, Objective, digest


class LatencyCount(NamedTuple):
    """Observations: those that met an objective, at least and at most, and all."""

    lower: float = 0.0
    upper: float = 0.0
    total: float = 0.0

    def plus(self, other: "LatencyCount") -> "LatencyCount":
        """Both together."""
        return LatencyCount(self.lower + other.lower, self.upper + other.upper, self.total + other.total)


LatencyKey = tuple[str, Objective, LatencyBasis]
"""Model, objective, and what one observation is."""


class HistogramSeries(NamedTuple):
    """The three counters of a histogram as series of its page.

    Buckets of other bounds are other series. So a histogram whose bounds change has no marks of them.
    """

    lower: Series
    upper: Series
    total: Series

    @classmethod
    def of(cls, reading: LatencyReading) -> "HistogramSeries":
        """Those of a reading."""
        name = f"{reading.objective} {reading.series}"
        return cls(
            digest(f"{name} up to {reading.floor!r}, at least"),
            digest(f"{name} up to {reading.ceiling!r}, at most"),
            digest(f"{name} of all"),
        )


def latency_counts(
    readings: Iterable[LatencyReading], deltas: Mapping[Series, float], marked: Collection[Series]
) -> dict[LatencyKey, LatencyCount]:
    """What the histograms of a page counted, by the increases of its series. `marked` had marks before."""
    counts: dict[LatencyKey, LatencyCount] = {}
    for reading in readings:
        key = (reading.model, reading.objective, reading.basis)
        count = _count(reading, deltas, marked)
        counts[key] = counts.get(key, LatencyCount()).plus(count)
    return counts


def _count(
    reading: LatencyReading, deltas: Mapping[Series, float], marked: Collection[Series]
) -> LatencyCount:
    series = HistogramSeries.of(reading)
    total = deltas.get(series.total)
    if total is None:
        return LatencyCount()
    if total == reading.total:  # it began at zero, and so did its buckets
        return LatencyCount(reading.lower, reading.upper, reading.total)
    lower = deltas.get(series.lower, 0.0)
    upper = deltas.get(series.upper, 0.0)
    has_marks = series.lower in marked and series.upper in marked
    # Its buckets are of one moment, and each observation is in all buckets above it.
    if not has_marks or not 0 <= lower <= upper <= total:
        return LatencyCount()
    return LatencyCount(lower, upper, total)

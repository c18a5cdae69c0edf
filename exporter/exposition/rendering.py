"""A report as bytes: rendered once, by the table, and kept until the next one."""

import gzip
import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import Final, TypeAlias

from prometheus_client.core import CollectorRegistry, CounterMetricFamily, GaugeMetricFamily

from exporter.exposition.meter import EXPORTER_INFO, build_rows
from exporter.exposition.metric import Metric, Row
from exporter.exposition.negotiation import Variant
from exporter.exposition.table import METRICS
from exporter.readings import LABEL_CHARACTERS, label
from exporter.report import Build, Report
from exporter.units import Nanoseconds

STALE_INTERVALS: Final = 3

GZIP_LEVEL: Final = 4
"""Half the time of the default for a twelfth more bytes."""

PREPARED_REPORTS: Final = 12
"""For how many reports after a scrape its variant is rendered ahead: two minutes at the default interval."""

_COUNTED: Final = "counted in inference_exposition_errors_total, not logged"

_LOG = logging.getLogger(__name__)

_Family: TypeAlias = CounterMetricFamily | GaugeMetricFamily
_Plan: TypeAlias = Sequence[tuple[Metric, Callable[[], Iterable[Row]]]]


def is_stale(report: Report, elapsed: Nanoseconds) -> bool:
    """Whether ticks have been missed for so long that the report's gauges tell nothing any more."""
    return elapsed - report.elapsed > STALE_INTERVALS * report.interval


class Exposition:
    """Renders reports, each once per variant and staleness. Safe to share between threads.

    A row function that raises costs its family, never the page. Rows that must not be shown (a second one
    with the same labels, a value that is not a number) are left out. Either is counted in `faults`, by metric
    and kind, once per report, and logged the first time.

    Raises:
        ValueError: two metrics are of one family; a page with both would be refused whole.
    """

    def __init__(self, build: Build, metrics: Sequence[Metric] = METRICS) -> None:
        _refuse_twins(metrics)
        self._build = build
        self._metrics = metrics
        self._lock = Lock()
        self._report: Report | None = None
        self._stale = False
        self._pages: dict[Variant, bytes] = {}
        self._asked: dict[Variant, int] = {}
        self._faults: Counter[tuple[str, str]] = Counter()

    @property
    def faults(self) -> dict[tuple[str, str], int]:
        """How often something was left out, by metric and kind (`raised`, `duplicate`, `not_finite`)."""
        with self._lock:
            return dict(self._faults)

    def render(self, report: Report | None, variant: Variant, *, stale: bool) -> bytes:
        """The page of a report; without one, what is known before the first tick."""
        with self._lock:
            self._asked[variant] = PREPARED_REPORTS
            return self._page(report, variant, stale=stale)

    def prepare(self, report: Report) -> None:
        """Render a fresh report ahead, in each variant that was asked for during the last reports."""
        with self._lock:
            for variant in self._asked:
                self._page(report, variant, stale=False)
            self._asked = {variant: left - 1 for variant, left in self._asked.items() if left > 1}

    def _page(self, report: Report | None, variant: Variant, *, stale: bool) -> bytes:
        new = report is not self._report
        if new or stale != self._stale:
            self._report, self._stale = report, stale
            self._pages.clear()
        page = self._pages.get(variant)
        if page is None:
            faults = _Faults()
            registry = CollectorRegistry()
            registry.register(_TableCollector(self._plan(report, stale=stale), faults))
            page = variant.format.encode(registry)
            if variant.gzip:
                page = gzip.compress(page, GZIP_LEVEL, mtime=0)
            self._pages[variant] = page
            if new:
                self._note(faults)
        return page

    def _plan(self, report: Report | None, *, stale: bool) -> _Plan:
        if report is None:
            return [(EXPORTER_INFO, partial(build_rows, self._build))]
        return [
            (metric, partial(metric.rows, report)) for metric in self._metrics if metric.lasting or not stale
        ]

    def _note(self, faults: "_Faults") -> None:
        for (name, kind), count in faults.counts.items():
            if (name, kind) not in self._faults:
                why = f"{kind}: {faults.raised[name]}" if kind == "raised" else kind
                _LOG.error("%s: rows left out (%s); further ones are %s", name, why, _COUNTED)
            self._faults[name, kind] += count


@dataclass(slots=True)
class _Faults:
    """What one page lacks, by metric and kind, and what was raised, by metric."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    raised: dict[str, str] = field(default_factory=dict)


class _TableCollector:
    """The table's metrics of one report, as the client library asks for them."""

    def __init__(self, plan: _Plan, faults: _Faults) -> None:
        self._plan = plan
        self._faults = faults

    def describe(self) -> Iterator[_Family]:
        """Every family without rows, so that registering asks for none."""
        return (_family(metric) for metric, _ in self._plan)

    def collect(self) -> Iterator[_Family]:
        """Every family that has rows."""
        for metric, rows in self._plan:
            try:
                family = self._filled(metric, rows())
            except Exception as error:  # noqa: BLE001  # whatever a row function does, the others are served
                told = label(f"{type(error).__name__}: {error}")  # short and printable, whatever is in it
                self._faults.raised[metric.name] = told
                self._faults.counts[metric.name, "raised"] += 1
                continue
            if family.samples:
                yield family

    def _filled(self, metric: Metric, rows: Iterable[Row]) -> _Family:
        family = _family(metric)
        last: tuple[str, ...] | None = None
        for values, value in sorted((_labels(metric, row), row[1]) for row in rows):
            if values == last:
                self._faults.counts[metric.name, "duplicate"] += 1
            elif not math.isfinite(value):
                self._faults.counts[metric.name, "not_finite"] += 1
            else:
                last = values
                family.add_metric(values, value)
        return family


def _refuse_twins(metrics: Iterable[Metric]) -> None:
    # The registry compares collectors with each other, not one collector's families.
    families = Counter(_family(metric).name for metric in metrics)
    if twins := sorted(name for name, count in families.items() if count > 1):
        raise ValueError(f"these stand twice in the table of metrics: {', '.join(twins)}")


def _family(metric: Metric) -> _Family:
    kind = CounterMetricFamily if metric.type == "counter" else GaugeMetricFamily
    return kind(metric.name, metric.help, labels=metric.labels)


def _labels(metric: Metric, row: Row) -> tuple[str, ...]:
    """A row's label values, fit to be shown.

    Raises:
        ValueError: not one for each label. The library would cut them to fit.
        TypeError: one that is no text.
    """
    values = row[0]
    if len(values) != len(metric.labels):
        raise ValueError(f"{metric.name} has {len(metric.labels)} labels, its row {len(values)} values")
    return tuple(map(_text, values))


def _text(value: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"label value {value!r} is no text")
    fits = len(value) <= LABEL_CHARACTERS and value.isprintable()
    return value if fits else label(value)

"""Pages of a report by the table of metrics, written by prometheus_client: once per variant and report."""

import gzip
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from threading import Lock
from typing import Final, cast

import prometheus_client
import prometheus_client.openmetrics.exposition as openmetrics
from prometheus_client.core import Metric as Family
from prometheus_client.core import Sample
from prometheus_client.registry import Collector

from exporter.metrics import process
from exporter.metrics.meter import EXPORTER_INFO, build_rows
from exporter.metrics.metric import Metric, Row
from exporter.metrics.table import METRICS
from exporter.readings import LABEL_CHARACTERS, label
from exporter.report import Build, Report
from exporter.units import NANOSECONDS_PER_MINUTE, Nanoseconds


@dataclass(frozen=True, slots=True)
class Format:
    """One exposition format."""

    content_type: str
    write: Callable[[Collector], bytes]
    """Writes the families of a collector."""


TEXT: Final = Format("text/plain; version=0.0.4; charset=utf-8", prometheus_client.generate_latest)
OPENMETRICS: Final = Format(
    "application/openmetrics-text; version=1.0.0; charset=utf-8", openmetrics.generate_latest
)


@dataclass(frozen=True, slots=True)
class Variant:
    """One form of the page: there are four, for any `Accept` headers."""

    format: Format
    gzip: bool


_OPENMETRICS_TYPE: Final = "application/openmetrics-text"
_OPENMETRICS_VERSIONS: Final = ("", "1.0.0")
_TEXT_TYPES: Final = ("text/plain", "text/*", "*/*")


def variant(accept: str, accept_encoding: str) -> Variant:
    """The variant for two request headers.

    OpenMetrics 1.0.0 if it is named with at least the weight of text; else text 0.0.4, also for clients that
    accept neither, such as browsers.
    """
    text = metrics = 0.0
    for name, parameters in _items(accept):
        weight = _weight(parameters)
        if name == _OPENMETRICS_TYPE and parameters.get("version", "") in _OPENMETRICS_VERSIONS:
            metrics = max(metrics, weight)
        elif name in _TEXT_TYPES:
            text = max(text, weight)
    encodings = {name: _weight(parameters) for name, parameters in _items(accept_encoding)}
    return Variant(
        OPENMETRICS if metrics > 0 and metrics >= text else TEXT,
        gzip=encodings.get("gzip", encodings.get("*", 0.0)) > 0,
    )


def _items(header: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The comma-separated items of a header with their parameters, in lower case."""
    for item in header.lower().split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        pairs = (parameter.partition("=") for parameter in parameters)
        yield name, {key.strip(): value.strip().strip('"') for key, _, value in pairs}


def _weight(parameters: dict[str, str]) -> float:
    """The `q` of an item, 1 without one, 0 for a malformed one."""
    try:
        weight = float(parameters.get("q", "1"))
    except ValueError:
        return 0.0
    return weight if 0.0 <= weight <= 1.0 else 0.0


STALE_INTERVALS: Final = 3

GZIP_LEVEL: Final = 3
"""A third of the time of the default for an eighth more bytes: from 4 on, the slower of two algorithms."""

REQUESTED_FOR: Final[Nanoseconds] = 5 * NANOSECONDS_PER_MINUTE
"""How long after a scrape its variant is written with each report: longer than scrape intervals are."""

_COUNTED: Final = "counted in inference_exposition_errors_total, not logged"

_LOG = logging.getLogger(__name__)


def is_stale(report: Report, elapsed: Nanoseconds) -> bool:
    """Whether so many ticks were missed that the report's gauges are no longer valid."""
    return elapsed - report.elapsed > STALE_INTERVALS * report.interval


class Exposition:
    """Writes reports, each once per variant and staleness. Safe to share between threads.

    A row function that raises costs its family, never the page. Invalid rows (a second one with the same
    labels, a value that is not finite) are left out. Both are counted in `faults`, by metric and kind, once
    per report, and logged the first time. Out of memory there is no page.
    """

    def __init__(self, build: Build, metrics: Sequence[Metric] = METRICS) -> None:
        self._build = build
        self._metrics = metrics
        self._lock = Lock()
        self._report: Report | None = None
        self._stale = False
        self._pages: dict[Variant, bytes] = {}
        """The pages of the report that were written."""
        self._faults_counted = False
        """Whether the faults of the report are counted."""
        self._faults: Counter[tuple[str, str]] = Counter()
        self._requested: dict[Variant, Nanoseconds] = {}
        """When each variant was last requested."""

    @property
    def faults(self) -> dict[tuple[str, str], int]:
        """Rows and families left out, by metric and kind (`raised`, `duplicate`, `not_finite`)."""
        with self._lock:
            return dict(self._faults)

    def render(self, report: Report | None, variant: Variant, *, stale: bool) -> bytes:
        """The page of a report; without one, the page before the first tick."""
        with self._lock:
            if report is not None:
                self._requested[variant] = report.elapsed
            self._use(report, stale=stale)
            return self._page(variant)

    def prepare(self, report: Report) -> None:
        """Write a fresh report ahead, in each variant that was requested during the last five minutes."""
        with self._lock:
            self._use(report, stale=False)
            for variant, requested in self._requested.items():
                if report.elapsed - requested <= REQUESTED_FOR:
                    self._page(variant)

    def _use(self, report: Report | None, *, stale: bool) -> None:
        """Drop the pages of any other report."""
        if report is not self._report:
            self._faults_counted = False
        if report is not self._report or stale != self._stale:
            self._pages.clear()
        self._report = report
        self._stale = stale

    def _page(self, variant: Variant) -> bytes:
        if variant in self._pages:
            return self._pages[variant]
        if variant.gzip:
            plain = self._page(Variant(variant.format, gzip=False))
            self._pages[variant] = gzip.compress(plain, GZIP_LEVEL, mtime=0)
            return self._pages[variant]
        families = _Families(self._build, self._metrics, self._report, stale=self._stale)
        page = variant.format.write(families)
        if not self._faults_counted:
            self._faults_counted = True
            for (name, kind), count in families.faults.items():
                if (name, kind) not in self._faults:
                    problem = f"{kind}: {families.raised[name]}" if kind == "raised" else kind
                    _LOG.error(
                        "metric rows omitted", extra={"metric": name, "problem": problem, "further": _COUNTED}
                    )
                self._faults[name, kind] += count
        self._pages[variant] = page
        return page


class _Families(Collector):
    """The families of one page, as prometheus_client writes them, and what they lack."""

    def __init__(
        self, build: Build, metrics: Iterable[Metric], report: Report | None, *, stale: bool
    ) -> None:
        self._build = build
        self._metrics = metrics
        self._report = report
        self._stale = stale
        self.faults: Counter[tuple[str, str]] = Counter()
        """Rows and families left out, by metric and kind."""
        self.raised: dict[str, str] = {}
        """What the rows of a metric raised."""

    def collect(self) -> Iterator[Family]:
        """The families with a sample, in the order of the table; then those of the process."""
        report = self._report
        if report is None:
            yield self._family(EXPORTER_INFO, build_rows(self._build))
            return
        for metric in self._metrics:
            if self._stale and not metric.lasting:
                continue
            try:
                family = self._family(metric, metric.rows(report))
            except MemoryError:
                raise  # an incomplete page would look complete
            except Exception as error:  # noqa: BLE001  # the other families are served
                self.raised[metric.name] = label(f"{type(error).__name__}: {error}")  # short and printable
                self.faults[metric.name, "raised"] += 1
                continue
            if family.samples:
                yield family
        standard = process.lasting(report.process) if self._stale else report.process
        yield from cast("tuple[Family, ...]", standard)

    def _family(self, metric: Metric, rows: Iterable[Row]) -> Family:
        """The family of a metric, its rows in the order of their label values; of equal ones the first.

        Raises:
            ValueError: a row has more or fewer values than the metric has labels.
            TypeError: a label value is no text, or a value no number.
        """
        values: dict[tuple[str, ...], float] = {}
        for given, value in rows:
            labels = tuple(map(_text, given))
            if len(labels) != len(metric.labels):
                raise ValueError(
                    f"{metric.name} has {len(metric.labels)} labels, its row {len(labels)} values"
                )
            if not isinstance(value, (int, float)):
                raise TypeError(f"value {value!r} is no number")
            if labels in values:
                self.faults[metric.name, "duplicate"] += 1
            else:
                values[labels] = float(value)
        family = Family(_family_name(metric), metric.help, metric.type)
        for labels, value in sorted(values.items()):
            if isfinite(value):
                family.samples.append(
                    Sample(metric.name, dict(zip(metric.labels, labels, strict=True)), value)
                )
            else:
                self.faults[metric.name, "not_finite"] += 1
        return family


def _family_name(metric: Metric) -> str:
    """The name of a metric's family, as prometheus_client and OpenMetrics have it."""
    return metric.name.removesuffix("_total") if metric.type == "counter" else metric.name


def _text(value: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"label value {value!r} is no text")
    fits = len(value) <= LABEL_CHARACTERS and value.isprintable()
    return value if fits else label(value)

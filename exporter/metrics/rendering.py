"""Renders a report by the table of metrics: once per variant, kept until the next report."""

import gzip
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import field
from functools import lru_cache
from threading import Lock
from typing import Final

from exporter.frozen import dataclass
from exporter.metrics.meter import EXPORTER_INFO, build_rows
from exporter.metrics.metric import Columns, Metric, OfPart, Row
from exporter.metrics.table import METRICS
from exporter.metrics.writing import OPENMETRICS, TEXT, Arrangement, FamilyText, Format, Writer
from exporter.readings import LABEL_CHARACTERS, label
from exporter.report import Build, Report
from exporter.units import Nanoseconds


@dataclass(frozen=True, slots=True)
class Variant:
    """One form of the page: there are four, for any `Accept` headers."""

    format: Format
    gzip: bool


_OPENMETRICS_TYPE: Final = "application/openmetrics-text"
_OPENMETRICS_VERSIONS: Final = ("", "1.0.0")
_TEXT_TYPES: Final = ("text/plain", "text/*", "*/*")


@lru_cache(maxsize=8)
def variant(accept: str, accept_encoding: str) -> Variant:
    """The variant for two request headers, remembered: each scraper sends the same ones.

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
    chosen = OPENMETRICS if metrics > 0 and metrics >= text else TEXT
    return Variant(chosen, gzip=_gzip_accepted(accept_encoding))


def _gzip_accepted(accept_encoding: str) -> bool:
    weights = {name: _weight(parameters) for name, parameters in _items(accept_encoding)}
    return weights.get("gzip", weights.get("*", 0.0)) > 0


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

PREPARED_REPORTS: Final = 1
"""Reports after a scrape for which its variant is rendered ahead. More would go unread by who scrapes less
often than the exporter ticks; one who scrapes as often waits for none."""

_COUNTED: Final = "counted in inference_exposition_errors_total, not logged"

_LOG = logging.getLogger(__name__)


def is_stale(report: Report, elapsed: Nanoseconds) -> bool:
    """Whether so many ticks were missed that the report's gauges are no longer valid."""
    return elapsed - report.elapsed > STALE_INTERVALS * report.interval


class Exposition:
    """Renders reports, each once per variant and staleness. Safe to share between threads.

    A row function that raises costs its family, never the page. Invalid rows (a second one with the same
    labels, a value that is not finite) are left out. Both are counted in `faults`, by metric and kind, once
    per report, and logged the first time. Out of memory there is no page.

    Raises:
        ValueError: two metrics are of one family; a scraper would refuse the whole page.
    """

    def __init__(self, build: Build, metrics: Sequence[Metric] = METRICS) -> None:
        _check_unique(metrics)
        self._build = build
        self._metrics = metrics
        self._lasting = [metric for metric in metrics if metric.lasting]
        self._lock = Lock()
        self._report: Report | None = None
        self._stale = False
        self._pages: dict[Variant, bytes] = {}
        self._writers: dict[Format, Writer] = {}
        self._requested: dict[Variant, int] = {}
        self._faults: Counter[tuple[str, str]] = Counter()

    @property
    def faults(self) -> dict[tuple[str, str], int]:
        """Rows and families left out, by metric and kind (`raised`, `duplicate`, `not_finite`)."""
        with self._lock:
            return dict(self._faults)

    def render(self, report: Report | None, variant: Variant, *, stale: bool) -> bytes:
        """The page of a report; without one, the page before the first tick."""
        with self._lock:
            self._requested[variant] = PREPARED_REPORTS
            return self._page(report, variant, stale=stale)

    def prepare(self, report: Report) -> None:
        """Render a fresh report ahead, in each variant that was requested during the last reports."""
        with self._lock:
            for variant in self._requested:
                self._page(report, variant, stale=False)
            self._requested = {variant: left - 1 for variant, left in self._requested.items() if left > 1}

    def _page(self, report: Report | None, variant: Variant, *, stale: bool) -> bytes:
        new = report is not self._report
        if new or stale != self._stale:
            self._report, self._stale = report, stale
            self._pages.clear()
        page = self._pages.get(variant)
        if page is None:
            faults = _PageFaults()
            writer = self._writers.setdefault(variant.format, Writer(variant.format))
            if report is None:
                families = [_written(EXPORTER_INFO, build_rows(self._build), writer)]
            else:
                families = _families_of(self._lasting if stale else self._metrics, report, writer, faults)
            page = writer.page(families)
            if variant.gzip:
                page = gzip.compress(page, GZIP_LEVEL, mtime=0)
            self._pages[variant] = page
            if new:
                self._note(faults)
        return page

    def _note(self, faults: "_PageFaults") -> None:
        for (name, kind), count in faults.counts.items():
            if (name, kind) not in self._faults:
                problem = f"{kind}: {faults.raised[name]}" if kind == "raised" else kind
                _LOG.error(
                    "metric rows omitted", extra={"metric": name, "problem": problem, "further": _COUNTED}
                )
            self._faults[name, kind] += count


@dataclass(slots=True)
class _PageFaults:
    """Rows and families that one page lacks, by metric and kind; what was raised, by metric."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    raised: dict[str, str] = field(default_factory=dict)


def _families_of(
    metrics: Iterable[Metric], report: Report, writer: Writer, faults: _PageFaults
) -> list[FamilyText]:
    """The text of each metric, but of those that fail."""
    families: list[FamilyText] = []
    for metric in metrics:
        try:
            family = _family(metric, report, writer)
        except MemoryError:
            raise  # an incomplete page would look complete
        except Exception as error:  # noqa: BLE001  # the other families are served
            faults.raised[metric.name] = label(f"{type(error).__name__}: {error}")  # short and printable
            faults.counts[metric.name, "raised"] += 1
            continue
        if family.duplicates:
            faults.counts[metric.name, "duplicate"] += family.duplicates
        if family.not_finite:
            faults.counts[metric.name, "not_finite"] += family.not_finite
        families.append(family)
    return families


def _family(metric: Metric, report: Report, writer: Writer) -> FamilyText:
    """The text of one metric: that of the last page where what it is made of is the same.

    Raises:
        Exception: whatever its rows raise, or what is wrong with one of them.
    """
    source = metric.rows
    if isinstance(source, OfPart):
        part = source.part(report)
    elif isinstance(rows := source(report), Columns):
        return _written(metric, rows, writer)
    else:
        part = list(rows)
    last = writer.families.get(metric.name)
    if last is not None and last.part == part:
        return last
    family = _written(metric, source.rows(part) if isinstance(source, OfPart) else part, writer)
    family.part = part
    return family


def _written(metric: Metric, rows: Iterable[Row] | Columns, writer: Writer) -> FamilyText:
    if isinstance(rows, Columns):
        made = rows.labels
        family = writer.family(metric, rows.keys, lambda metric, _: _arranged(metric, list(made())))
        family.write(rows.values)
    else:
        given = list(rows)
        family = writer.family(metric, [labels for labels, _ in given], _arranged)
        family.write([value for _, value in given])
    return family


def _arranged(metric: Metric, given: list[tuple[str, ...]]) -> Arrangement:
    """Positions and label values of the rows to write, in the order of the labels; of equal ones the first.

    Raises:
        ValueError: a row has more or fewer values than the metric has labels.
        TypeError: one of them is no text.
    """
    positions: dict[tuple[str, ...], int] = {}
    for position, values in enumerate(given):
        positions.setdefault(_labels(metric, values), position)
    arranged = [(position, values) for values, position in sorted(positions.items())]
    return arranged, len(given) - len(arranged)


def _check_unique(metrics: Iterable[Metric]) -> None:
    families = Counter(OPENMETRICS.family(metric) for metric in metrics)
    if twins := sorted(name for name, count in families.items() if count > 1):
        raise ValueError(f"these stand twice in the table of metrics: {', '.join(twins)}")


def _labels(metric: Metric, values: tuple[str, ...]) -> tuple[str, ...]:
    """A row's label values, printable and bounded.

    Raises:
        ValueError: their number is not that of the labels.
        TypeError: one of them is no text.
    """
    if len(values) != len(metric.labels):
        raise ValueError(f"{metric.name} has {len(metric.labels)} labels, its row {len(values)} values")
    return tuple(map(_text, values))


def _text(value: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"label value {value!r} is no text")
    fits = len(value) <= LABEL_CHARACTERS and value.isprintable()
    return value if fits else label(value)

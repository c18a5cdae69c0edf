"""A report as bytes: rendered once, by the table, and kept until the next one."""

import gzip
import logging
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import Final, TypeAlias

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from exporter.metrics.meter import EXPORTER_INFO, build_rows
from exporter.metrics.metric import Metric, Row
from exporter.metrics.table import METRICS
from exporter.readings import LABEL_CHARACTERS, label
from exporter.report import Build, Report
from exporter.units import Nanoseconds


@dataclass(frozen=True, slots=True)
class Format:
    """One exposition format."""

    content_type: str
    encode: Callable[[Collector], bytes]


@dataclass(frozen=True, slots=True)
class Variant:
    """One form of the page. There are four, however many ways there are of asking."""

    format: Format
    gzip: bool


# Our names are valid in every scheme, so that escaping changes nothing; this scheme is the fastest, since it
# asks once whether a name is valid where the others look at each of its characters.
TEXT: Final = Format(CONTENT_TYPE_PLAIN_0_0_4, partial(generate_latest, escaping=openmetrics.ALLOWUTF8))
OPENMETRICS: Final = Format(
    openmetrics.CONTENT_TYPE_LATEST, partial(openmetrics.generate_latest, escaping=openmetrics.ALLOWUTF8)
)

_OPENMETRICS_TYPE: Final = "application/openmetrics-text"
_OPENMETRICS_VERSIONS: Final = ("", "1.0.0")
_TEXT_TYPES: Final = ("text/plain", "text/*", "*/*")


def variant(accept: str, accept_encoding: str) -> Variant:
    """The form that two request headers ask for.

    OpenMetrics 1.0.0 when it is named and liked at least as much as text, text 0.0.4 otherwise, also for
    clients that want something else: a browser gets to read it. The library's own choice is not used, since
    it ignores weights and puts what the client sent into the answer's header.
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
    """The `q` of an item, 1 without one; a malformed one refuses the item."""
    try:
        weight = float(parameters.get("q", "1"))
    except ValueError:
        return 0.0
    return weight if 0.0 <= weight <= 1.0 else 0.0


Family: TypeAlias = CounterMetricFamily | GaugeMetricFamily

_number: Callable[[float], str] = floatToGoString  # which has no types

_ZERO: Final = f" {_number(0)}"
"""How a line ends whose value is to be replaced."""


def family(metric: Metric, rows: Iterable[Row] = ()) -> Family:
    """A metric as the client library knows it, with these rows."""
    kind = CounterMetricFamily if metric.type == "counter" else GaugeMetricFamily
    made = kind(metric.name, metric.help, labels=metric.labels)
    for values, value in rows:
        made.add_metric(values, value)
    return made


@dataclass(frozen=True, slots=True)
class _Spelled:
    """What stands above a metric's rows, and each of these up to its value, by the values of its labels."""

    head: str
    series: dict[tuple[str, ...], str]


class Writer:
    """Writes pages in one format. Remembers the series of each metric as they were when a new one came.

    Names, labels and escapes take the client library two thirds of a page's time, and say what they said.
    """

    def __init__(self, form: Format) -> None:
        self._form = form
        self._end = self._written()
        self._spelled: dict[str, _Spelled] = {}

    def known_labels(self, metric: Metric) -> Collection[tuple[str, ...]]:
        """The labels of the series that are remembered; all of them have been found fit to be shown."""
        spelled = self._spelled.get(metric.name)
        return () if spelled is None else spelled.series.keys()

    def page(self, metrics: Iterable[tuple[Metric, Sequence[Row]]]) -> bytes:
        """The page of these metrics, each with the rows that it has, in this order."""
        return (
            "".join(piece for metric, rows in metrics for piece in self._lines(metric, rows)) + self._end
        ).encode()

    def _lines(self, metric: Metric, rows: Sequence[Row]) -> Iterator[str]:
        spelled = self._spelled.get(metric.name)
        if spelled is None or any(values not in spelled.series for values, _ in rows):
            spelled = self._spelled[metric.name] = self._spell(metric, rows)
        yield spelled.head
        for values, value in rows:
            yield f"{spelled.series[values]} {_number(value)}\n"

    def _spell(self, metric: Metric, rows: Sequence[Row]) -> _Spelled:
        head = self._written(family(metric)).removesuffix(self._end)
        whole = self._written(family(metric, ((values, 0) for values, _ in rows)))
        lines = whole.removeprefix(head).removesuffix(f"\n{self._end}").split("\n")
        series = {values: line.removesuffix(_ZERO) for (values, _), line in zip(rows, lines, strict=True)}
        return _Spelled(head, series)

    def _written(self, *families: Family) -> str:
        return self._form.encode(_FamilyCollector(families)).decode()


class _FamilyCollector(Collector):
    """Families, as the client library asks for them."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterable[Family]:
        """All of them."""
        return self._families


STALE_INTERVALS: Final = 3

GZIP_LEVEL: Final = 4
"""Half the time of the default for a twelfth more bytes."""

PREPARED_REPORTS: Final = 12
"""For how many reports after a scrape its variant is rendered ahead: two minutes at the default interval."""

_COUNTED: Final = "counted in inference_exposition_errors_total, not logged"

_LOG = logging.getLogger(__name__)

_Plan: TypeAlias = Sequence[tuple[Metric, Callable[[], Iterable[Row]]]]


def is_stale(report: Report, elapsed: Nanoseconds) -> bool:
    """Whether ticks have been missed for so long that the report's gauges tell nothing any more."""
    return elapsed - report.elapsed > STALE_INTERVALS * report.interval


class Exposition:
    """Renders reports, each once per variant and staleness. Safe to share between threads.

    A row function that raises costs its family, never the page. Rows that must not be shown (a second one
    with the same labels, a value that is not a number) are left out. Either is counted in `faults`, by metric
    and kind, once per report, and logged the first time. Where memory runs out there is no page.

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
        self._writers: dict[Format, Writer] = {}
        self._variants_asked: dict[Variant, int] = {}
        self._faults: Counter[tuple[str, str]] = Counter()

    @property
    def faults(self) -> dict[tuple[str, str], int]:
        """How often something was left out, by metric and kind (`raised`, `duplicate`, `not_finite`)."""
        with self._lock:
            return dict(self._faults)

    def render(self, report: Report | None, variant: Variant, *, stale: bool) -> bytes:
        """The page of a report; without one, what is known before the first tick."""
        with self._lock:
            self._variants_asked[variant] = PREPARED_REPORTS
            return self._page(report, variant, stale=stale)

    def prepare(self, report: Report) -> None:
        """Render a fresh report ahead, in each variant that was asked for during the last reports."""
        with self._lock:
            for variant in self._variants_asked:
                self._page(report, variant, stale=False)
            self._variants_asked = {
                variant: left - 1 for variant, left in self._variants_asked.items() if left > 1
            }

    def _page(self, report: Report | None, variant: Variant, *, stale: bool) -> bytes:
        new = report is not self._report
        if new or stale != self._stale:
            self._report, self._stale = report, stale
            self._pages.clear()
        page = self._pages.get(variant)
        if page is None:
            faults = _Faults()
            writer = self._writers.setdefault(variant.format, Writer(variant.format))
            page = writer.page(_rows_of(self._plan(report, stale=stale), writer, faults))
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
                problem = f"{kind}: {faults.raised[name]}" if kind == "raised" else kind
                _LOG.error(
                    "metric rows omitted", extra={"metric": name, "problem": problem, "further": _COUNTED}
                )
            self._faults[name, kind] += count


@dataclass(slots=True)
class _Faults:
    """What one page lacks, by metric and kind, and what was raised, by metric."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    raised: dict[str, str] = field(default_factory=dict)


def _rows_of(plan: _Plan, writer: Writer, faults: _Faults) -> Iterator[tuple[Metric, list[Row]]]:
    """Every metric that has rows, and these."""
    for metric, rows in plan:
        try:
            fit = _fit(metric, rows(), writer.known_labels(metric), faults.counts)
        except MemoryError:
            raise  # no page is better than one with a hole that nobody can tell from the truth
        except Exception as error:  # noqa: BLE001  # whatever a row function does, the others are served
            faults.raised[metric.name] = label(f"{type(error).__name__}: {error}")  # short and printable
            faults.counts[metric.name, "raised"] += 1
            continue
        if fit:
            yield metric, fit


def _fit(
    metric: Metric,
    rows: Iterable[Row],
    known_series: Collection[tuple[str, ...]],
    faults: Counter[tuple[str, str]],
) -> list[Row]:
    """The rows that may be shown, in the order of their labels."""
    fit: list[Row] = []
    last: tuple[str, ...] | None = None
    shown = ((values if values in known_series else _labels(metric, values), value) for values, value in rows)
    for values, value in sorted(shown):
        if values == last:
            faults[metric.name, "duplicate"] += 1
        elif not math.isfinite(value):
            faults[metric.name, "not_finite"] += 1
        else:
            last = values
            fit.append((values, value))
    return fit


def _refuse_twins(metrics: Iterable[Metric]) -> None:
    # The registry compares collectors with each other, not one collector's families.
    families = Counter(family(metric).name for metric in metrics)
    if twins := sorted(name for name, count in families.items() if count > 1):
        raise ValueError(f"these stand twice in the table of metrics: {', '.join(twins)}")


def _labels(metric: Metric, values: tuple[str, ...]) -> tuple[str, ...]:
    """A row's label values, fit to be shown.

    Raises:
        ValueError: not one for each label. The library would cut them to fit.
        TypeError: one that is no text.
    """
    if len(values) != len(metric.labels):
        raise ValueError(f"{metric.name} has {len(metric.labels)} labels, its row {len(values)} values")
    return tuple(map(_text, values))


def _text(value: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"label value {value!r} is no text")
    fits = len(value) <= LABEL_CHARACTERS and value.isprintable()
    return value if fits else label(value)

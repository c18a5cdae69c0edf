"""Metrics as text. The client library writes each series when it first comes; then only its value is new."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from exporter.exposition.metric import Metric, Row
from exporter.exposition.negotiation import Format

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

    def knows(self, metric: Metric) -> Collection[tuple[str, ...]]:
        """The labels of the series that are remembered; all of them have been found fit to be shown."""
        spelled = self._spelled.get(metric.name)
        return () if spelled is None else spelled.series.keys()

    def page(self, told: Iterable[tuple[Metric, Sequence[Row]]]) -> bytes:
        """The page of these metrics, each with the rows that it has, in this order."""
        return (
            "".join(piece for metric, rows in told for piece in self._lines(metric, rows)) + self._end
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
        return self._form.encode(_Told(families)).decode()


class _Told(Collector):
    """Families, as the client library asks for them."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterable[Family]:
        """All of them."""
        return self._families

"""Text of a page of metrics, in each format; each series is spelled once.

The formats are those of Prometheus (text 0.0.4) and of OpenMetrics 1.0.0. Pages are, byte for byte, what
prometheus_client 0.26 writes.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from exporter.metrics.metric import Metric, Row

_LARGE: Final = 7
"""Digits before the point from which on a number has an exponent, as in Go."""


@dataclass(frozen=True, slots=True)
class Format:
    """One exposition format: the name of a metric's family, what escapes a help text, and the last line."""

    content_type: str
    family: Callable[[Metric], str]
    help_text: Callable[[str], str]
    end: str


_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_ESCAPES_BUT_QUOTES: Final = str.maketrans({"\\": r"\\", "\n": r"\n"})

TEXT: Final = Format(
    "text/plain; version=0.0.4; charset=utf-8",
    family=lambda metric: metric.name,
    help_text=lambda text: text.translate(_ESCAPES_BUT_QUOTES),
    end="",
)
OPENMETRICS: Final = Format(
    "application/openmetrics-text; version=1.0.0; charset=utf-8",
    family=lambda metric: metric.name.removesuffix("_total") if metric.type == "counter" else metric.name,
    help_text=lambda text: text.translate(_ESCAPES),
    end="# EOF\n",
)


def _number(value: float) -> str:
    """A finite number: its shortest digits that read back the same."""
    text = repr(float(value))
    digits, point, fraction = text.partition(".")
    if value <= 0 or not point or len(digits) < _LARGE:
        return text
    mantissa = f"{digits[0]}.{digits[1:]}{fraction}".rstrip("0.")
    return f"{mantissa}e+{len(digits) - 1:02d}"


@dataclass(frozen=True, slots=True)
class _FamilyText:
    """The text above a metric's rows, and each of its series up to the value, by label values."""

    head: str
    series: dict[tuple[str, ...], str]


class Writer:
    """Writes pages in one format, and keeps the text of each metric's series.

    Names, labels and escapes take two thirds of a page's time, and seldom change.
    """

    def __init__(self, form: Format) -> None:
        self._form = form
        self._texts: dict[str, _FamilyText] = {}

    def known_labels(self, metric: Metric) -> Collection[tuple[str, ...]]:
        """The label values of the kept series, which have been checked."""
        text = self._texts.get(metric.name)
        return () if text is None else text.series.keys()

    def page(self, metrics: Iterable[tuple[Metric, Sequence[Row]]]) -> bytes:
        """The page of metrics with their rows, in this order."""
        pieces = [piece for metric, rows in metrics for piece in self._lines(metric, rows)]
        return ("".join(pieces) + self._form.end).encode()

    def _lines(self, metric: Metric, rows: Sequence[Row]) -> Iterator[str]:
        text = self._texts.get(metric.name)
        if text is None or any(values not in text.series for values, _ in rows):
            text = self._texts[metric.name] = _FamilyText(
                self._head(metric), {values: _series(metric, values) for values, _ in rows}
            )
        yield text.head
        for values, value in rows:
            yield f"{text.series[values]} {_number(value)}\n"

    def _head(self, metric: Metric) -> str:
        name, text = self._form.family(metric), self._form.help_text(metric.help)
        return f"# HELP {name} {text}\n# TYPE {name} {metric.type}\n"


def _series(metric: Metric, values: Sequence[str]) -> str:
    """The name and labels of a series, these in the order of their names."""
    return series_text(metric.name, sorted(zip(metric.labels, values, strict=True)))


def series_text(name: str, labels: Iterable[tuple[str, str]]) -> str:
    """A name and its labels, in their order, as both formats write a series."""
    text = ",".join(f'{label}="{value.translate(_ESCAPES)}"' for label, value in labels)
    return f"{name}{{{text}}}" if text else name

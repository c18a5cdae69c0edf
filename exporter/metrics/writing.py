"""Text of a page of metrics, in each format; each series is spelled once.

The formats are those of Prometheus (text 0.0.4) and of OpenMetrics 1.0.0. Pages are, byte for byte, what
prometheus_client 0.26 writes.
"""

from array import array
from collections.abc import Callable, Iterable, Sequence
from math import isfinite
from typing import Final, TypeAlias, TypeVar

from exporter.frozen import dataclass
from exporter.metrics.metric import Metric

_LARGE: Final = 1e6
"""Value from which on a number has an exponent, as in Go."""

_HUGE: Final = 1e16
"""Value from which on it has one in Python, too."""


@dataclass(frozen=True, slots=True)
class Format:
    """One exposition format: the name of a metric's family, what escapes a help text, and the last line."""

    content_type: str
    family: Callable[[Metric], str]
    help_text: Callable[[str], str]
    end: bytes


_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_ESCAPES_BUT_QUOTES: Final = str.maketrans({"\\": r"\\", "\n": r"\n"})

TEXT: Final = Format(
    "text/plain; version=0.0.4; charset=utf-8",
    family=lambda metric: metric.name,
    help_text=lambda text: text.translate(_ESCAPES_BUT_QUOTES),
    end=b"",
)
OPENMETRICS: Final = Format(
    "application/openmetrics-text; version=1.0.0; charset=utf-8",
    family=lambda metric: metric.name.removesuffix("_total") if metric.type == "counter" else metric.name,
    help_text=lambda text: text.translate(_ESCAPES),
    end=b"# EOF\n",
)


def _number(value: float) -> str:
    """A finite number: its shortest digits that read back the same."""
    text = repr(value)
    if not _LARGE <= value < _HUGE:
        return text
    digits, _, fraction = text.partition(".")
    mantissa = f"{digits[0]}.{digits[1:]}{fraction}".rstrip("0.")
    return f"{mantissa}e+{len(digits) - 1:02d}"


_UNKNOWN: Final = object()


@dataclass(slots=True)
class FamilyText:
    """The text of a metric, kept for the next page: most metrics have the values of the page before.

    The label values of its rows follow from `given`. `series` has the position of each row that is written
    and its text up to the value, in the order of the page; `duplicates` is the number of rows left out.
    `not_finite` is the number of values that `text` lacks. `part` is what of the report it was made of.
    """

    head: str
    given: Sequence[object]
    series: list[tuple[int, str]]
    duplicates: int
    not_finite: int = 0
    text: bytes = b""
    part: object = _UNKNOWN
    _values: bytes | None = None

    def write(self, values: Sequence[float]) -> None:
        """Write values of the rows; those of the last rows are 0 where there are fewer.

        Raises:
            TypeError: one is no number.
            OverflowError: one is larger than any float.
        """
        numbers = array("d", values)
        packed = numbers.tobytes()  # 0.0 equals -0.0, and is written otherwise
        if packed != self._values:
            numbers.extend([0.0] * (len(self.series) + self.duplicates - len(numbers)))
            lines = [
                f"{series} {_number(value)}\n"
                for position, series in self.series
                if isfinite(value := numbers[position])
            ]
            self.not_finite = len(self.series) - len(lines)
            self.text = "".join([self.head, *lines]).encode() if lines else b""
            self._values = packed
        self.part = _UNKNOWN


Given = TypeVar("Given", bound=Sequence[object])

Arrangement: TypeAlias = tuple[list[tuple[int, tuple[str, ...]]], int]
"""The position of each row that is written and its label values, in the order of the page; the number of
duplicates left out."""


class Writer:
    """Writes pages in one format, and keeps the text of each metric's series.

    Names, labels, their order and escapes take most of a page's time, and seldom change.
    """

    def __init__(self, form: Format) -> None:
        self._form = form
        self.families: dict[str, FamilyText] = {}
        """By metric name."""

    def family(
        self,
        metric: Metric,
        given: Given,
        arrange: Callable[[Metric, Given], Arrangement],
    ) -> FamilyText:
        """The text of a metric whose label values follow from `given`; `arrange` checks new ones."""
        family = self.families.get(metric.name)
        if family is None or family.given != given:
            arranged, duplicates = arrange(metric, given)
            series = [(position, _series(metric, values)) for position, values in arranged]
            family = FamilyText(self._head(metric), given, series, duplicates)
            self.families[metric.name] = family
        return family

    def page(self, families: Iterable[FamilyText]) -> bytes:
        """The page of families. Values that are not finite are left out."""
        return b"".join([*(family.text for family in families), self._form.end])

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

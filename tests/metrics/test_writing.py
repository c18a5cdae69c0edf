"""Pages are what prometheus_client writes, whatever came before."""

from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as some
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric as LibraryMetric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from exporter.metrics.metric import Metric, Row, counter, gauge
from exporter.metrics.writing import OPENMETRICS, TEXT, Arrangement, Format, Writer

DOLLARS = counter("inference_test_dollars_total", ("server", "phase"), 'Says "so"\\n, twice.', lambda _: ())
BUSY = gauge("inference_test_busy_ratio", ("server",), "For a test.", lambda _: ())
UP = gauge("inference_test_up", (), "For a test.", lambda _: ())
METRICS = (DOLLARS, BUSY, UP)

VALUES = some.floats(allow_nan=False, allow_infinity=False) | some.integers(-(2**70), 2**70)
TEXTS = some.sampled_from(["", "a", "b", " 0.0", '"', "\\", "\n", "\\n", "a} 0.0", "\u2028", "\r", "ü", "{"])
Page = tuple[tuple[Metric, tuple[Row, ...]], ...]


def rows(metric: Metric) -> some.SearchStrategy[tuple[Row, ...]]:
    """At least one row of a metric, no two with the same labels."""
    labels = some.tuples(*[TEXTS] * len(metric.labels))
    return some.dictionaries(labels, VALUES, min_size=1, max_size=5).map(
        lambda labels_of: tuple(labels_of.items())
    )


def as_given(_metric: Metric, labels: list[tuple[str, ...]]) -> Arrangement:
    """Every row, in its own place."""
    return list(enumerate(labels)), 0


def write(writer: Writer, page_of: Page) -> bytes:
    """The page of these rows."""
    families = []
    for metric, got in page_of:
        family = writer.family(metric, [labels for labels, _ in got], as_given)
        family.write([value for _, value in got])
        families.append(family)
    return writer.page(families)


PAGES = some.lists(
    some.tuples(*[some.none() | rows(metric) for metric in METRICS]).map(
        lambda page_of: tuple((metric, got) for metric, got in zip(METRICS, page_of, strict=True) if got)
    ),
    min_size=1,
    max_size=5,
)


class Library(Collector):
    """The same metrics, made anew for the client library."""

    def __init__(self, page_of: Page) -> None:
        self._page = page_of

    def collect(self) -> Iterable[LibraryMetric]:
        """All of them."""
        for metric, got in self._page:
            kind = CounterMetricFamily if metric.type == "counter" else GaugeMetricFamily
            made = kind(metric.name, metric.help, labels=metric.labels)
            for labels, value in got:
                made.add_metric(labels, value)
            yield made


@pytest.mark.parametrize(
    ("form", "encode"),
    [(TEXT, generate_latest), (OPENMETRICS, openmetrics.generate_latest)],
    ids=["text", "openmetrics"],
)
@given(pages=PAGES)
def test_every_page_is_what_the_library_writes(
    form: Format, encode: Callable[[Collector], bytes], pages: list[Page]
) -> None:
    """Byte for byte: series come, move, go and come again under names that mean something to the format."""
    writer = Writer(form)
    for page_of in pages:
        assert write(writer, page_of) == encode(Library(page_of))


def test_content_types_are_those_of_the_library() -> None:
    """Prometheus refuses a page whose type it does not know."""
    assert TEXT.content_type == CONTENT_TYPE_PLAIN_0_0_4
    assert OPENMETRICS.content_type == openmetrics.CONTENT_TYPE_LATEST


PRINTED = [
    *((0.0, "0.0"), (-0.0, "-0.0"), (3, "3.0"), (0.1, "0.1"), (1e-7, "1e-07"), (5e-324, "5e-324")),
    *((999_999.5, "999999.5"), (1_000_000, "1e+06"), (1_234_567.25, "1.23456725e+06"), (7 * 10**10, "7e+10")),
    *((1e15 + 0.5, "1.0000000000000005e+15"), (1e16, "1e+16"), (1.5e300, "1.5e+300")),
    (-12_345_678.5, "-12345678.5"),
]


@pytest.mark.parametrize(("value", "text"), PRINTED)
def test_numbers_are_printed_as_in_go(value: float, text: str) -> None:
    """With an exponent from seven digits before the point on; below 0 as Python does."""
    page = write(Writer(TEXT), ((UP, (((), value),)),)).decode()
    assert page.splitlines()[-1] == f"inference_test_up {text}"


def test_a_series_is_spelled_once_while_the_rows_have_its_labels() -> None:
    """What is remembered is at most one page of each metric, however many servers come and go."""
    writer = Writer(TEXT)
    spelled: list[list[tuple[str, ...]]] = []

    def spell(metric: Metric, labels: list[tuple[str, ...]]) -> Arrangement:
        spelled.append(labels)
        return as_given(metric, labels)

    for number in (1, 1, 2, 2, 1):
        family = writer.family(BUSY, [("chat-0",), (f"chat-{number}",)], spell)
        assert [text for _, text in family.series] == [
            'inference_test_busy_ratio{server="chat-0"}',
            f'inference_test_busy_ratio{{server="chat-{number}"}}',
        ]
    assert spelled == [[("chat-0",), (f"chat-{number}",)] for number in (1, 2, 1)]

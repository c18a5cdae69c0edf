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
from exporter.metrics.writing import OPENMETRICS, TEXT, Format, Writer

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
        assert writer.page(page_of) == encode(Library(page_of))


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
    assert Writer(TEXT).page([(UP, [((), value)])]).decode().splitlines()[-1] == f"inference_test_up {text}"


def test_series_that_are_gone_are_forgotten_when_one_comes() -> None:
    """What is remembered is at most one page of each metric, however many servers come and go."""
    writer = Writer(TEXT)
    for number in range(100):
        writer.page([(BUSY, [((f"chat-{number}",), 0.5), ((f"chat-{number + 1}",), 0.5)])])
    assert set(writer.known_labels(BUSY)) == {("chat-99",), ("chat-100",)}
    assert set(writer.known_labels(UP)) == set()

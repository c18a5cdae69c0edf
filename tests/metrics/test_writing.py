"""Pages are what the client library writes, whatever came before."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as some
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric as LibraryMetric
from prometheus_client.registry import Collector

from exporter.metrics.metric import Metric, Row, counter, gauge
from exporter.metrics.rendering import OPENMETRICS, TEXT, Format, Writer

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


@pytest.mark.parametrize("form", [TEXT, OPENMETRICS], ids=["text", "openmetrics"])
@given(pages=PAGES)
def test_every_page_is_what_the_library_writes(form: Format, pages: list[Page]) -> None:
    """Byte for byte: series come, move, go and come again under names that mean something to the format."""
    writer = Writer(form)
    for page_of in pages:
        assert writer.page(page_of) == form.encode(Library(page_of))


def test_series_that_are_gone_are_forgotten_when_one_comes() -> None:
    """What is remembered is at most one page of each metric, however many servers come and go."""
    writer = Writer(TEXT)
    for number in range(100):
        writer.page([(BUSY, [((f"chat-{number}",), 0.5), ((f"chat-{number + 1}",), 0.5)])])
    assert set(writer.known_labels(BUSY)) == {("chat-99",), ("chat-100",)}
    assert set(writer.known_labels(UP)) == set()

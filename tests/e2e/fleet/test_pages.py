"""The exporters on paper say what real ones do: every metric of the table, each with its labels."""

from exporter.exposition.table import METRICS
from tests.e2e.fleet.cast import FLEET
from tests.e2e.fleet.page import page


def test_the_pages_have_every_metric_of_the_table_with_its_labels() -> None:
    """A name or a label that no exporter has would prove nothing."""
    told: dict[str, set[frozenset[str]]] = {}
    for book in FLEET.books:
        for line in page(book, FLEET, 0):
            told.setdefault(line.name, set()).add(frozenset(line.labels))

    assert told == {metric.name: {frozenset(metric.labels)} for metric in METRICS}


def test_no_page_has_a_series_twice() -> None:
    """Prometheus would refuse it."""
    for book in FLEET.books:
        series = [line.series() for line in page(book, FLEET, 0)]

        assert len(series) == len(set(series))

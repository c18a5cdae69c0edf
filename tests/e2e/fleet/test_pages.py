"""The exporters on paper say what real ones do: every metric of the table, each with its labels."""

import pytest

from exporter.metrics.table import METRICS
from tests.e2e.fleet.fleets import FLEET
from tests.e2e.fleet.page import page

STANDARD = ("process_resident_memory_bytes", "process_cpu_seconds_total", "process_start_time_seconds")
"""Names of the client library, which no table of ours has."""


def test_the_pages_have_every_metric_of_the_table_with_its_labels() -> None:
    """A name or a label that no exporter has would prove nothing."""
    labels_of: dict[str, set[frozenset[str]]] = {}
    for host in FLEET.hosts:
        for line in page(host, FLEET, 0):
            labels_of.setdefault(line.name, set()).add(frozenset(line.labels))

    for name in STANDARD:
        del labels_of[name]
    assert labels_of == {metric.name: {frozenset(metric.labels)} for metric in METRICS}


def test_no_page_has_a_series_twice() -> None:
    """Prometheus would refuse it."""
    for host in FLEET.hosts:
        series = [line.series() for line in page(host, FLEET, 0)]

        assert len(series) == len(set(series))


def test_prices_of_tokens_are_told_where_an_exporter_tells_them() -> None:
    """Not by one that holds a GPU without a price, of a part of a pair, or of whom nobody asks for anything.

    An hour of chat-70b costs 2.50 dollars a GPU, for 1.6 million tokens of which it computes 1.3.
    """
    prices: dict[str, dict[tuple[str, str], float | None]] = {}
    for host in FLEET.hosts:
        for line in page(host, FLEET, 0):
            if line.name == "inference_cost_dollars_per_million_tokens":
                kind = line.labels["kind"], line.labels["basis"]
                prices.setdefault(line.labels["server"], {})[kind] = line.at(0)

    assert set(prices) == {"chat-70b", "search-8b"}
    assert prices["chat-70b"]["all", "full"] == pytest.approx(2.50 / 1.6)
    assert prices["chat-70b"]["computed", "busy"] == pytest.approx(2.50 * 0.6 / 1.3)
    assert {kind for kind, _ in prices["search-8b"]} == {"prompt", "generation", "all", "computed"}

"""The fast reader beside prometheus_client's parser, on whole pages."""

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporter.engines.exposition import WantedSeries, read

HERE = Path(__file__).parent
PAGES = sorted([*(HERE / "captures").glob("*.prom"), *(HERE.parents[1] / "benchmarks/pages").glob("*.prom")])


def parsed(body: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], str] | None:
    """Every series by prometheus_client, which ends all counters alike; `None` where it refuses the page."""
    try:
        return {
            (sample.name, frozenset(sample.labels.items())): repr(float(sample.value))
            for family in text_string_to_metric_families(body.decode())
            for sample in family.samples
        }
    except ValueError:
        return None


@pytest.mark.parametrize("path", PAGES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_series_of_a_page_is_read_as_prometheus_client_reads_it(path: Path) -> None:
    """Names, labels and values. Of a page that it refuses we count the lines that are no samples."""
    body = path.read_bytes()
    expected = parsed(body)
    if expected is None:
        first_words = re.findall(r"^[\w:]+", body.decode(), re.MULTILINE)
        assert read(body, WantedSeries(first_words)).malformed > 0
        return
    names = {name for name, _ in expected}
    samples = read(body, WantedSeries(names | {name.removesuffix("_total") for name in names})).samples
    actual = {
        (name if name in names else f"{name}_total", frozenset(sample.series.labels.items())): sample.value
        for name, listed in samples.items()
        for sample in listed
    }
    assert expected == {series: repr(value) for series, value in actual.items()}

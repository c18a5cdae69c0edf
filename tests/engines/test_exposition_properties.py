"""The reader against an independent writer, and against noise."""

import math

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from exporter.engines.exposition import Wanted, read

LABELS = st.dictionaries(st.sampled_from(["m", "n", "le"]), st.text(max_size=20), min_size=3, max_size=3)
SERIES = st.lists(
    st.tuples(LABELS, st.floats(0, 1e18)), max_size=8, unique_by=lambda row: str(sorted(row[0].items()))
)
WANTED = Wanted(["a:x_total"])
PIECES = st.sampled_from(
    [
        b"a:x_total",
        b"a_x_total",
        b"{",
        b"}",
        b'"',
        b"\\",
        b",",
        b"=",
        b" ",
        b"\t",
        b"\n",
        b"\r",
        b"m",
        b"1",
        b"#",
        b"\xff",
    ]
)


@given(SERIES)
def test_what_prometheus_client_writes_is_read_back(series: list[tuple[dict[str, str], float]]) -> None:
    """Any label values, in the text format and in OpenMetrics."""
    registry = CollectorRegistry()
    counter = Counter("a:x", "Help with \\ and\nlines", ["m", "n", "le"], registry=registry)
    for labels, value in series:
        counter.labels(**labels).inc(value)
    for text in (generate_latest(registry), generate_openmetrics(registry)):
        page = read(text, WANTED)
        found = [(dict(s.series.labels), s.value) for s in page.samples.get("a:x_total", ())]
        assert series == found
        assert (page.malformed, page.duplicates) == (0, 0)


@given(st.binary() | st.lists(PIECES, max_size=60).map(b"".join))
def test_no_bytes_make_the_reader_raise(noise: bytes) -> None:
    """Whatever a server sends, the page is read or its damage counted."""
    page = read(noise, WANTED)
    assert page.names <= WANTED.names
    assert page.malformed >= 0


@given(st.lists(PIECES, max_size=40).map(b"".join))
def test_noise_around_a_good_line_leaves_it_alone(noise: bytes) -> None:
    """Damage never spreads over the end of its line."""
    page = read(noise + b'\na:x_total{mark="good"} 5\n' + noise, WANTED)
    good = [s.value for s in page.samples["a:x_total"] if s.series.labels.get("mark") == "good"]
    assert good == [5.0]
    assert not any(math.isnan(s.value) for s in page.samples["a:x_total"])

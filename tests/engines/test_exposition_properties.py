"""The reader against an independent writer, and against noise."""

import math
import time
import tracemalloc

from hypothesis import assume, example, given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from exporter.engines.exposition import WantedSeries, read

LABELS = st.dictionaries(st.sampled_from(["m", "n", "le"]), st.text(max_size=20), min_size=3, max_size=3)
SERIES = st.lists(
    st.tuples(LABELS, st.floats(0, 1e18)), max_size=8, unique_by=lambda row: str(sorted(row[0].items()))
)
WANTED = WantedSeries(["a:x_total"])
MULTIPLE = 48
"""Memory, in sizes of the page, that a read may take. A page of the shortest different series takes 35."""
ALLOWANCE = 65_536
"""Bytes that a read may take whatever the page."""
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
NOISE = st.lists(PIECES, max_size=12).map(b"".join)


@st.composite
def rounds(draw: st.DrawFn) -> bytes:
    """Something short, over and over, mostly with a number in it that makes each a new one."""
    start, before, after, end = (draw(NOISE) for _ in range(4))
    times, numbered = draw(st.integers(1, 3000)), draw(st.integers(0, 3))
    return (
        start
        + b"".join(before + (b"%d" % number if numbered else b"") + after for number in range(times))
        + end
    )


def repeated(piece: bytes, start: bytes = b"") -> bytes:
    """As long as a line may be, or 5,000 different pieces, one for each `N`."""
    if b"N" in piece:
        return start + b"".join(piece.replace(b"N", b"%d" % number) for number in range(5000))
    return start + piece * (60_000 // len(piece))


@given(SERIES)
def test_what_prometheus_client_writes_is_read_back(series: list[tuple[dict[str, str], float]]) -> None:
    """Any label values, in the text format and in OpenMetrics."""
    registry = CollectorRegistry()
    counter = Counter("a:x", "Help with \\ and\nlines", ["m", "n", "le"], registry=registry)
    for labels, value in series:
        counter.labels(**labels).inc(value)
    for text in (generate_latest(registry), generate_openmetrics(registry)):
        page = read(text, WANTED)
        actual = [(dict(s.series.labels), s.value) for s in page.samples.get("a:x_total", ())]
        assert series == actual
        assert (page.malformed, page.duplicates) == (0, 0)


def is_of_the_name(line: bytes) -> bool:
    """Whether a line begins with the wanted name, in either spelling, and with no longer one."""
    head = line.lstrip(b" \t")
    after = head[len(b"a:x_total") :][:1]
    return head.startswith((b"a:x_total", b"a_x_total")) and after in (b"", b"{", b" ", b"\t", b"\r")


@given(st.binary() | st.lists(PIECES, max_size=60).map(b"".join))
def test_each_line_of_any_bytes_is_read_or_its_damage_counted(noise: bytes) -> None:
    """Whatever a server sends: each line of a wanted name is a sample, repeats one, or is malformed."""
    assume(not noise.startswith(b'"'))  # a page inside of a JSON string has its own lines
    page = read(noise, WANTED)
    lines = sum(map(is_of_the_name, noise.split(b"\n")))

    assert page.names == (WANTED.names if lines else frozenset())
    assert sum(map(len, page.samples.values())) + page.duplicates + page.malformed == lines


@given(st.lists(PIECES, max_size=40).map(b"".join))
def test_noise_around_a_good_line_leaves_it_alone(noise: bytes) -> None:
    """Damage never spreads over the end of its line."""
    page = read(noise + b'\na:x_total{mark="good"} 5\n' + noise, WANTED)
    good = [s.value for s in page.samples["a:x_total"] if s.series.labels.get("mark") == "good"]
    assert good == [5.0]
    assert not any(math.isnan(s.value) for s in page.samples["a:x_total"])


@given(rounds())
@example(repeated(b'a:x_total{mN=""} 1\n'))
@example(repeated(b'a:x_total{m="N"} 1\n'))
@example(repeated(b'mN="",', b"a:x_total{"))
@example(repeated(b'mN="",', b"a:x_total{") + b"} 1")
@example(repeated(b'a:x_total{m="\\nN\xf0\x9f\x98\x80"} 1\n'))
@example(repeated(b"a:x_total\n"))
@example(repeated(b'"', b"a:x_total{"))
@example(repeated(b"\\", b'a:x_total{m="'))
@example(repeated(b'"a', b"a:x_total{"))
@example(repeated(b" ", b"a:x_total{"))
@example(repeated(b" ", b"a:x_total "))
@example(repeated(b" # ", b"a:x_total 1"))
@example(repeated(b" \n"))
@example(repeated(b"a:x_totala"))
@example(repeated(b"\\ud83d\\ude00", b'"') + b'"')
@example(repeated(b"a", b'"\xf0\x9f\x98\x80') + b'"')
@example(repeated(b"[", b'"'))
def test_no_page_costs_more_than_a_multiple_of_its_size(page: bytes) -> None:
    """Neither memory nor time: a pattern that tried every way to read a page would not come back."""
    read(b"", WANTED)
    tracemalloc.start()
    try:
        began = time.process_time()
        page_read = read(page, WANTED)
        took = time.process_time() - began
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= MULTIPLE * len(page) + ALLOWANCE
    assert took <= 1 + len(page) / 100_000
    assert page_read.malformed + page_read.duplicates <= len(page)

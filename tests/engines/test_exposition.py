"""The fast reader, line by line."""

import math
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from exporter.engines.exposition import (
    KEY_CHARACTERS,
    LINE_BYTES,
    SERIES_MAX,
    WANTED_BYTES,
    Page,
    WantedSeries,
    read,
)

A = WantedSeries(["a:x_total"])


def readings(page: Page) -> list[tuple[str, dict[str, str], float]]:
    return [
        (sample.series.name, dict(sample.series.labels), sample.value)
        for samples in page.samples.values()
        for sample in samples
    ]


@pytest.mark.parametrize(
    ("line", "labels", "value"),
    [
        pytest.param(b"a:x_total 5", {}, 5.0, id="no-labels"),
        pytest.param(b"a:x_total{} 5", {}, 5.0, id="empty-labels"),
        pytest.param(b'a:x_total{m="q"} 5', {"m": "q"}, 5.0, id="labels"),
        pytest.param(b'a:x_total{m="q",} 5', {"m": "q"}, 5.0, id="trailing-comma"),
        pytest.param(b'a_x_total{m="q"} 5', {"m": "q"}, 5.0, id="underscore-for-colon"),
        pytest.param(b'a:x_total { m = "q" , n="r" }\t5', {"m": "q", "n": "r"}, 5.0, id="blanks-and-tabs"),
        pytest.param(b'  a:x_total{m="q"} 5  ', {"m": "q"}, 5.0, id="around"),
        pytest.param(b'a:x_total{m="q"}5', {"m": "q"}, 5.0, id="no-blank"),
        pytest.param(b'a:x_total{m="q"} 5\r', {"m": "q"}, 5.0, id="crlf"),
        pytest.param(b'a:x_total{m="q"} 5 1700000000000', {"m": "q"}, 5.0, id="timestamp"),
        pytest.param(b'a:x_total{m="q"} 5 1.7e9', {"m": "q"}, 5.0, id="openmetrics-timestamp"),
        pytest.param(b'a:x_total{m="q"} 5 # {trace_id="}a,"} 1 1.7e9', {"m": "q"}, 5.0, id="exemplar"),
        pytest.param(b'a:x_total{m="q"} 5 1.7e9 st@1.6e9 # {} 1', {"m": "q"}, 5.0, id="start-timestamp"),
        pytest.param(b'a:x_total{m="}"} 5', {"m": "}"}, 5.0, id="brace-in-value"),
        pytest.param(b'a:x_total{m="a,n=\\"b\\""} 5', {"m": 'a,n="b"'}, 5.0, id="comma-and-quotes"),
        pytest.param(b'a:x_total{m="\\\\"} 5', {"m": "\\"}, 5.0, id="backslash-at-end"),
        pytest.param(b'a:x_total{m="a\\nb\\\\n"} 5', {"m": "a\nb\\n"}, 5.0, id="newline"),
        pytest.param(b'a:x_total{m="a\\qb"} 5', {"m": "a\\qb"}, 5.0, id="unknown-escape-stays"),
        pytest.param(b'a:x_total{m=" # {"} 5', {"m": " # {"}, 5.0, id="hash-in-value"),
        pytest.param(b'a:x_total{"m.n"="q"} 5', {"m.n": "q"}, 5.0, id="quoted-label-name"),
        pytest.param(b'a:x_total{m="\xff"} 5', {"m": "\ufffd"}, 5.0, id="not-utf-8"),
        pytest.param('a:x_total{m="é"} 5'.encode(), {"m": "é"}, 5.0, id="utf-8"),
        pytest.param(b"a:x_total 2.864059e+06", {}, 2864059.0, id="exponent"),
        pytest.param(b"a:x_total -1", {}, -1.0, id="negative"),
        pytest.param(b"a:x_total +Inf", {}, math.inf, id="infinite"),
        pytest.param(b"a:x_total -inf", {}, -math.inf, id="minus-infinite"),
    ],
)
def test_a_wanted_line_is_read(line: bytes, labels: dict[str, str], value: float) -> None:
    """All the forms that text 0.0.4, 1.0.0 and OpenMetrics allow for a sample."""
    page = read(line, A)
    assert [("a:x_total", labels, value)] == readings(page)
    assert page.malformed == 0


@pytest.mark.parametrize("spelling", [b"NaN", b"Nan", b"nan"])
def test_nan_is_read_in_any_spelling(spelling: bytes) -> None:
    """Writers differ; what it means is for the reader of the value."""
    [(_, _, value)] = readings(read(b"a:x_total " + spelling, A))
    assert math.isnan(value)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"a:x_total", id="nothing"),
        pytest.param(b"a:x_total ", id="no-value"),
        pytest.param(b"a:x_total five", id="word"),
        pytest.param(b"a:x_total 1_000", id="python-number"),
        pytest.param(b"a:x_total 0x10", id="hexadecimal"),
        pytest.param(b"a:x_total 1" + b"0" * 64, id="endless-number"),
        pytest.param(b"a:x_total 5 6 7", id="too-many-numbers"),
        pytest.param(b'a:x_total{m="q" 5', id="open-brace"),
        pytest.param(b'a:x_total{m="q} 5', id="open-quote"),
        pytest.param(b'a:x_total{m="q\\"} 5', id="escaped-end"),
        pytest.param(b"a:x_total{m=q} 5", id="unquoted"),
        pytest.param(b'a:x_total{m="q" n="r"} 5', id="no-comma"),
        pytest.param(b'a:x_total{1m="q"} 5', id="label-name"),
        pytest.param(b'a:x_total{m="q",m="r"} 5', id="label-twice"),
        pytest.param(b'a:x_total{,m="q"} 5', id="leading-comma"),
        pytest.param(b'a:x_total{m="q"}} 5', id="brace-too-many"),
        pytest.param(b'a:x_total{m="%b"} 5' % (b"q" * 65_536), id="endless-line"),
        pytest.param(b"a:x_total 1,5", id="comma-of-a-locale"),
    ],
)
def test_a_damaged_line_costs_itself_only(line: bytes) -> None:
    """It is counted, its name was seen, and its neighbors are read."""
    page = read(b'a:x_total{m="before"} 1\n' + line + b'\na:x_total{m="after"} 2\n', A)
    assert readings(page) == [("a:x_total", {"m": "before"}, 1.0), ("a:x_total", {"m": "after"}, 2.0)]
    assert (1, frozenset({"a:x_total"})) == (page.malformed, page.names)


def test_what_is_not_wanted_is_not_looked_at() -> None:
    """Comments, other names, names that begin or end alike, and damage in them cost nothing."""
    page = read(
        b"# HELP a:x_total Words\n# TYPE a:x_total counter\n#a:x_total 1\n# a:x_total 1\n"
        b"a:x_total_bucket 1\nb:a:x_total 1\nx_total 1\na:x_total:rate 1\nother{{{ \n\n# EOF",
        A,
    )
    assert Page({}, frozenset()) == page


def test_a_huge_comment_is_skipped() -> None:
    """Help may be as long as a page."""
    page = read(b"# HELP a:x_total " + b"a:x_total 7 " * 100_000 + b"\na:x_total 5\n", A)
    assert readings(page) == [("a:x_total", {}, 5.0)]


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n", b"\n# EOF\n", b"\n\n"])
def test_the_last_line_is_read_however_it_ends(ending: bytes) -> None:
    """A newline at the end is the rule and not always kept."""
    assert readings(read(b"b 1\na:x_total 5" + ending, A)) == [("a:x_total", {}, 5.0)]


def test_a_page_of_crlf_lines_is_read() -> None:
    """Some writers end lines as mail does."""
    page = read(b'# HELP a:x_total X\r\na:x_total{m="1"} 5\r\na:x_total{m="2"} 6\r\n', A)
    assert [value for _, _, value in readings(page)] == [5.0, 6.0]


def test_the_first_of_two_equal_series_counts() -> None:
    """As in Prometheus, so that both say the same; the label order makes no difference."""
    page = read(b'a:x_total{m="1",n="2"} 5\na:x_total{n="2",m="1"} 6\n', A)
    assert readings(page) == [("a:x_total", {"m": "1", "n": "2"}, 5.0)]
    assert page.duplicates == 1


def test_a_series_has_one_name_in_any_label_order() -> None:
    """The books find their mark by it."""
    keys = {
        read(line, A).samples["a:x_total"][0].series.key
        for line in (b'a:x_total{m="1",n="2"} 5', b'a_x_total{ n="2",m="1",} 5')
    }
    assert {"a:x_total{m=1,n=2}"} == keys


def test_label_values_cannot_forge_another_series() -> None:
    """Separators inside of values are escaped."""
    page = read(b'a:x_total{m="1,n=2"} 5\na:x_total{m="1",n="2"} 6\n', A)
    assert [sample.series.key for sample in page.samples["a:x_total"]] == [
        "a:x_total{m=1\\,n\\=2}",
        "a:x_total{m=1,n=2}",
    ]


def test_a_long_series_has_a_short_name_of_its_own() -> None:
    """It is cut, and a digest keeps it apart from others that begin alike."""
    line = b'a:x_total{m="%b%b"} 5\n'
    page = read(line % (b"y" * 5000, b"1") + line % (b"y" * 5000, b"2"), A)
    keys = [sample.series.key for sample in page.samples["a:x_total"]]
    assert len(set(keys)) == 2
    assert [len(key) for key in keys] == [KEY_CHARACTERS, KEY_CHARACTERS]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param(b'a:x_total{m="q"} 5', [({"m": "q"}, 5.0)], id="the-same"),
        pytest.param(b'a:x_total{m="q"}  5', [({"m": "q"}, 5.0)], id="two-blanks"),
        pytest.param(b'a:x_total{m="q"} \t5', [({"m": "q"}, 5.0)], id="tab"),
        pytest.param(b'a:x_total{m="q"} 5\r', [({"m": "q"}, 5.0)], id="crlf"),
        pytest.param(b'a:x_total{m="q"} 5 17', [({"m": "q"}, 5.0)], id="timestamp"),
        pytest.param(b'a:x_total{m="q"} 5 # {m="q"} 1', [({"m": "q"}, 5.0)], id="exemplar"),
        pytest.param(b'a:x_total{m="q"}5', [({"m": "q"}, 5.0)], id="no-blank"),
        pytest.param(b"a:x_total 5 17", [({}, 5.0)], id="no-labels-timestamp"),
        pytest.param(b"a:x_total \t5", [({}, 5.0)], id="no-labels-tab"),
        pytest.param(b"a:x_total{}5", [({}, 5.0)], id="empty-labels-no-blank"),
        pytest.param(b'a:x_total{m="q"} 1_0', [], id="python-number"),
        pytest.param(b'a:x_total{m="q"} \v5', [], id="vertical-tab"),
        pytest.param(b'a:x_total{m="q"} 1' + b"0" * 64, [], id="endless-number"),
        pytest.param(b'a:x_total{m="q"} five', [], id="word"),
        pytest.param(b'a:x_total{m="q"} ', [], id="no-value"),
        pytest.param(b'a:x_total{m="q"} {} 5', [], id="labels-twice"),
    ],
)
def test_what_may_stand_between_labels_and_value(
    line: bytes, expected: list[tuple[dict[str, str], float]]
) -> None:
    """Blanks, and behind the value a timestamp and an exemplar; nothing else."""
    page = read(line, A)
    assert expected == [(labels, value) for _, labels, value in readings(page)]
    assert page.malformed == (not expected)


def test_a_page_with_more_wanted_bytes_than_any_engine_is_cut() -> None:
    """Labels cost memory in proportion to their bytes. A line too long to read counts as the longest."""
    lines = [b'a:x_total{m="%d%b"} 1\n' % (number, b"y" * 50_000) for number in range(50)]
    assert not read(b"".join(lines[: WANTED_BYTES // 51_000]), A).cut
    assert read(b"".join(lines), A).cut
    huge = b'a:x_total{m="%b"} 1\n' % (b"y" * 1_000_000)
    page = read(huge * (WANTED_BYTES // LINE_BYTES), A)
    assert (page.cut, page.malformed) == (False, WANTED_BYTES // LINE_BYTES)


def test_a_page_with_more_series_than_any_engine_is_cut() -> None:
    """And says so: half of a page must not be taken for all of it."""
    lines = b"".join(b'a:x_total{m="%d"} 1\n' % number for number in range(SERIES_MAX))
    assert not read(lines, A).cut
    assert read(lines + b'a:x_total{m="more"} 1\n', A).cut


def test_nothing_wanted_finds_nothing() -> None:
    """Not even an empty name."""
    assert Page({}, frozenset()) == read(b" 1\n{} 1\n\na 1", WantedSeries([]))


def test_names_are_matched_whole_and_literally() -> None:
    """A dot in a name is a dot, and of two names that begin alike each finds its own."""
    page = read(b"a 1\na_b 2\na.b 3\naxb 4\n", WantedSeries(["a", "a_b", "a.b"]))
    assert [(name, value) for name, _, value in readings(page)] == [("a", 1.0), ("a_b", 2.0), ("a.b", 3.0)]


def test_a_name_that_differs_in_the_colon_alone_is_its_own() -> None:
    """An underscore stands for a colon only where no wanted name is written so."""
    page = read(b"a:b 1\na_b 2\na:b_c 3\na_b_c 4\n", WantedSeries(["a:b", "a_b", "a:b_c"]))
    assert [(name, value) for name, _, value in readings(page)] == [
        ("a:b", 1.0),
        ("a_b", 2.0),
        ("a:b_c", 3.0),
    ]
    assert page.duplicates == 1


def test_only_the_first_colon_of_a_name_may_be_an_underscore() -> None:
    """Recording rules have more; no engine's name does."""
    page = read(b"a:b:c 1\na_b:d 2\na_b_c 3\na:b_d 4\n", WantedSeries(["a:b:c", "a:b:d"]))
    assert [(name, value) for name, _, value in readings(page)] == [("a:b:c", 1.0), ("a:b:d", 2.0)]


def test_trap_17384_a_page_inside_of_a_json_string_is_read() -> None:
    """Builds of llama.cpp of November 2025 sent their page so; what only looks like it is no page."""
    text = '"# HELP a:x_total \\"Words\\"\\n# TYPE a:x_total counter\\na:x_total 5\\n"'
    assert readings(read(text.encode(), A)) == [("a:x_total", {}, 5.0)]
    assert read(text[:-1].encode(), A) == Page({}, frozenset())
    assert read(b'"\\ud800\\na:x_total 6"', A).names == {"a:x_total"}


HOSTILE = {
    "quotes": b"{" + b'"' * 1_000_000,
    "backslashes": b'{m="' + b"\\" * 1_000_000,
    "braces": b"{" * 1_000_000,
    "blanks": b" " * 1_000_000,
    "labels": b"{" + b'm="",' * 13_000 + b"} 1",
}


@pytest.mark.parametrize("rest", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_line_costs_time_in_proportion_to_its_length(rest: bytes) -> None:
    """A pattern that tried every way to read it would not come back within this test's time limit."""
    page = read(b"a:x_total" + rest + b"\na:x_total 5\n", A)
    assert (page.malformed, len(page.samples["a:x_total"])) == (1, 1)


def test_servers_are_read_at_a_time_by_the_same_names() -> None:
    """The pattern is made for the first page, of which four are here at once."""
    wanted, together = WantedSeries({"up", "a:b"}), Barrier(4)

    def lines(_: int) -> list[tuple[str, bytes]]:
        together.wait(10)
        return list(wanted.lines(b"up 1\na_b 2\ndown 3\n"))

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lines, range(4))) == [[("up", b" 1"), ("a:b", b" 2")]] * 4

"""A page that differs from the one before in values only is read by its numbers, as if it were the first."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.engines import (
    ENGINES,
    Page,
    PageSequence,
    SeriesCache,
    WantedLine,
    WantedSeries,
    interpret,
    read,
    wanted,
)
from exporter.engines.layouts import NEAR, UNSEARCHED_MAX, PageOfLayout

VLLM = ENGINES["vllm"]
PAGE = (Path(__file__).parent / "captures" / "vllm-0.33.0-single.prom").read_bytes()
COUNTER = b'vllm:generation_tokens_total{engine="0",model_name="Qwen/Qwen3-32B"} 282021.0'
CREATED = b'vllm:generation_tokens_created{engine="0",model_name="Qwen/Qwen3-32B"} '
RUNNING = b'vllm:num_requests_running{engine="0",model_name="Qwen/Qwen3-32B"} 17.0'

CHANGES = {
    "a value": (COUNTER, COUNTER[:-8] + b"282022.0"),
    "no number": (COUNTER, COUNTER[:-8] + b"x"),
    "infinite": (COUNTER, COUNTER[:-8] + b"+Inf"),
    "negative": (COUNTER, COUNTER[:-8] + b"-1"),
    "not a number": (COUNTER, COUNTER[:-8] + b"NaN"),
    "a timestamp": (COUNTER, COUNTER + b" 1795560829"),
    "gone": (COUNTER + b"\n", b""),
    "twice": (COUNTER, COUNTER + b"\n" + COUNTER),
    "another label": (COUNTER, COUNTER.replace(b'engine="0"', b'engine="1"')),
    "one more series": (COUNTER, COUNTER + b"\n" + COUNTER.replace(b'engine="0"', b'engine="1"')),
    "another start of a series": (CREATED, CREATED + b"9"),
    "a gauge": (RUNNING, RUNNING[:-4] + b"3.0"),
    "a gauge that is no number": (RUNNING, RUNNING[:-4] + b"NaN"),
    "a row that nobody wants": (RUNNING, b"vllm:num_requests_running_max 1\n" + RUNNING),
    "another spelling": (COUNTER, COUNTER.replace(b":", b"_", 1)),
    "no end of the last line": (PAGE[-50:], PAGE[-50:-1]),
    "an empty page": (PAGE, b""),
}


def read_next(pages: PageSequence, page: bytes) -> Page:
    """Read as a source does."""
    return pages.read(pages.select(page, wanted(VLLM)))


@pytest.mark.parametrize("change", CHANGES)
def test_each_page_reads_as_it_would_without_those_before(change: str) -> None:
    """Before, after and again as before: counters, gauges and faults are those of a first read."""
    before, after = CHANGES[change]
    assert PAGE.count(before) == 1
    changed = PAGE.replace(before, after)
    pages = PageSequence(SeriesCache())
    for page in (*[PAGE] * 5, *[changed] * 5, *[PAGE] * 5):
        one, first = read_next(pages, page), read(page, wanted(VLLM))
        assert repr(one.samples) == repr(first.samples)  # NaN is not equal to itself
        assert (one.names, one.malformed, one.duplicates) == (first.names, first.malformed, first.duplicates)
        assert interpret(VLLM, one) == interpret(VLLM, first)
    assert pages.layout is not None


def test_a_changed_value_needs_no_new_layout() -> None:
    """Else each page of a busy server would be a new one."""
    pages = PageSequence(SeriesCache())
    for _ in range(2):
        read_next(pages, PAGE)
    layout = pages.layout
    page = read_next(pages, PAGE.replace(*CHANGES["a value"]))
    assert layout is not None
    assert isinstance(page, PageOfLayout)
    assert page.layout is layout


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The pages on which names are searched."""
    pages: list[bytes] = []
    lines = WantedSeries.lines

    def noted(self: WantedSeries, page: bytes) -> Iterator[WantedLine]:
        pages.append(page)
        return lines(self, page)

    monkeypatch.setattr(WantedSeries, "lines", noted)
    return pages


def test_from_the_third_page_on_offsets_are_read_and_nothing_is_searched(searched: list[bytes]) -> None:
    """But one page in 31."""
    pages = PageSequence(SeriesCache())
    values = [PAGE.replace(COUNTER, COUNTER[:-8] + b"%d" % number) for number in range(2 * UNSEARCHED_MAX)]
    for page in values:
        read_next(pages, page)

    assert searched == [*values[:2], values[2 + UNSEARCHED_MAX]]


NEARER = 26
"""Lines shorter than `NEAR` may be wanted: `vllm:kv_cache_usage_perc 0` has 27 bytes with its end."""


@pytest.mark.parametrize("bytes_more", [-NEARER - 1, -NEARER, NEARER, NEARER + 1])
@pytest.mark.parametrize("before", [b"# HELP", COUNTER, PAGE[-50:]])
def test_lines_that_nobody_wants_may_grow_and_shrink_by_digits(
    searched: list[bytes], before: bytes, bytes_more: int
) -> None:
    """Before the first wanted line, between two of them and after the last one."""
    at, comments = PAGE.index(before), [b"# " + b"9" * size + b"\n" for size in (80, 80, 80 + bytes_more)]
    pages = PageSequence(SeriesCache())
    for comment in comments:
        read_next(pages, PAGE[:at] + comment + PAGE[at:])

    assert len(searched) == (2 if abs(bytes_more) <= NEARER else 3)


def test_a_page_that_ends_within_its_last_line_is_searched(searched: list[bytes]) -> None:
    """Its last number may be cut."""
    pages, page = PageSequence(SeriesCache()), PAGE[: PAGE.index(COUNTER) + len(COUNTER)]
    for _ in range(5):
        read_next(pages, page)

    assert searched == [page] * 5


def test_offsets_that_changed_are_noted_again(searched: list[bytes]) -> None:
    """Of the same series, such as those of another spelling."""
    name = b"vllm:generation_tokens_total"
    pages, spelled = PageSequence(SeriesCache()), PAGE.replace(name, name.replace(b":", b"_"))
    for page in (*[PAGE] * 5, *[spelled] * 5):
        read_next(pages, page)

    assert searched == [PAGE, PAGE, spelled]


STATE = b'vllm:engine_sleep_state{engine="0",model_name="Qwen/Qwen3-32B",sleep_state="discard_all"} 0.0\n'
IN_ITS_PLACE = COUNTER.replace(b'engine="0"', b'engine="1"') + b"\n"


@pytest.mark.parametrize(("more", "waits"), [(b"", UNSEARCHED_MAX), (b"#" * NEAR + b"\n", 0)])
def test_a_line_in_place_of_another_one_as_long_waits(more: bytes, waits: int) -> None:
    """Its tokens count from the next page that is searched on, all of them."""
    pages = PageSequence(SeriesCache())
    for _ in range(2):
        read_next(pages, PAGE)
    assert PAGE.count(STATE) == 1
    changed = PAGE.replace(STATE, IN_ITS_PLACE) + more
    reads = [len(read_next(pages, changed).samples["vllm:generation_tokens_total"]) for _ in range(80)]

    assert reads == [1] * waits + [2] * (80 - waits)


def test_a_wanted_line_is_seen_at_once_however_short() -> None:
    """Else what it counts is late, and prompts are counted whole while what is subtracted is not seen."""
    names = WantedSeries(["acme_out_total", "acme_cached_total", "acme_queue"])
    for line in (b"acme_cached_total 7\n", b'acme_out_total{m="b"} 0\n', b"acme_queue 3\n"):
        pages = PageSequence(SeriesCache())
        before = b"# An engine.\nacme_out_total 70\n"
        for page in (*[before] * 3, before + line):
            one = pages.read(pages.select(page, names))

        assert sum(map(len, one.samples.values())) == 2, line


WANTED = WantedSeries(["a:x_total", "b:z"])
FAMILIES = st.lists(
    st.tuples(
        st.sampled_from(["a:x_total", "a_x_total", "a:y", "b:z", "b:z_created", "c"]),
        st.lists(st.sampled_from("123"), max_size=3, unique=True),
        st.sampled_from(["counter", "gauge"]),
    ),
    max_size=6,
    unique_by=lambda family: family[0],
)


@given(st.lists(st.tuples(FAMILIES, st.integers(1, 5)), min_size=1, max_size=5))
def test_of_pages_whose_families_come_and_go_nothing_wrong_is_read_and_all_in_the_end(
    lives: list[tuple[list[tuple[str, list[str], str]], int]],
) -> None:
    """Whatever place a family has, had, or takes over from another one."""
    pages, number = PageSequence(SeriesCache()), 0

    def both(families: list[tuple[str, list[str], str]]) -> tuple[Page, Page]:
        page = "".join(
            f"# TYPE {name} {kind}\n" + "".join(f'{name}{{m="{one}"}} {number}\n' for one in labels)
            for name, labels, kind in families
        ).encode()
        return pages.read(pages.select(page, WANTED)), read(page, WANTED)

    def texts(page: Page) -> set[str]:
        return set(map(repr, chain(*page.samples.values())))

    for families, times in lives:
        for _ in range(times):
            number += 1
            one, first = both(families)
            assert set(map(repr, chain(*one.samples.values()))) <= set(
                map(repr, chain(*first.samples.values()))
            )
            assert one.malformed == first.malformed
    for _ in range(UNSEARCHED_MAX):
        both(lives[-1][0])
    one, first = both(lives[-1][0])
    assert (repr(one.samples), one.names) == (repr(first.samples), first.names)

"""What a plan says of a page's values is what the page says, whatever the values."""

import re
from pathlib import Path

import pytest

from exporter.engines import (
    ENGINES,
    EVERYTHING,
    PageSequence,
    SeriesCache,
    interpret,
    latency_series,
    read,
    recognize,
    wanted,
)
from exporter.engines.layouts import PageOfLayout
from exporter.engines.plans import PagePlan
from exporter.readings import SequenceLimit, ServiceLevel
from tests.engines.test_captures import RECOGNIZED

VALUES = [
    b"0",
    b"1",
    b"0.25",
    b"7",
    b"1e5",
    b"1e6",
    b"1.5e6",
    b"1.7e9",
    b"1e16",
    b"NaN",
    b"-1",
    b"+Inf",
    b"1e308",
]
"""Plausible for all, for some, and for nothing."""

NUMBER = re.compile(rb"(?m)^([^#\n].*[ }])\S+$")


def with_value(page: bytes, every: int, value: bytes) -> bytes:
    """The page with another value in each n-th row."""
    rows = page.split(b"\n")
    for at in range(every // 2, len(rows), every):
        rows[at] = NUMBER.sub(rb"\g<1>" + value, rows[at])
    return b"\n".join(rows)


@pytest.mark.parametrize("limit", [None, SequenceLimit(64), SequenceLimit(64, shared=True)])
@pytest.mark.parametrize("path", RECOGNIZED, ids=lambda path: path.stem)
def test_a_page_of_any_values_is_interpreted_as_the_first(path: Path, limit: SequenceLimit | None) -> None:
    """Counters, loads, models, identity and what is left out."""
    page = path.read_bytes()
    engine = recognize(read(page, EVERYTHING))
    assert engine is not None
    pages = PageSequence(SeriesCache())
    changed = [with_value(page, every, value) for every in (1, 2, 7) for value in VALUES]
    for body in (*[page] * 4, *changed, page):
        one, first = pages.read(pages.select(body, wanted(engine))), read(body, wanted(engine))
        for _ in range(2):  # makes a plan, and uses it
            assert repr(interpret(engine, one, model="m", limit=limit)) == repr(
                interpret(engine, first, model="m", limit=limit)
            )


def test_captures_have_a_plan() -> None:
    """But one with tabs before its values, and one whose ranks repeat each other."""
    planned = set()
    for path in RECOGNIZED:
        page = path.read_bytes()
        engine = recognize(read(page, EVERYTHING))
        assert engine is not None
        pages = PageSequence(SeriesCache())
        for _ in range(3):
            one = pages.read(pages.select(page, wanted(engine)))
            interpret(engine, one)
        if isinstance(one, PageOfLayout) and isinstance(one.layout.derived, PagePlan):
            planned.add(path.stem)
    assert {path.stem for path in RECOGNIZED} - planned == {"mlc-llm-2026-07", "sglang-0.5.10-all-schedulers"}


@pytest.mark.parametrize("every", [1, 2, 3, 50])
def test_histograms_of_any_counts_are_read_as_the_first(every: int) -> None:
    """Those that fall, are no numbers or too many cost the reading of this page, and of no other."""
    engine, slo = ENGINES["vllm"], ServiceLevel(0.5, 0.05)
    page = (Path(__file__).parent / "captures" / "vllm-0.33.0-dp2-lora-spec.prom").read_bytes()
    names, pages = latency_series(engine), PageSequence(SeriesCache())
    counted = read(page, wanted(engine))
    unread = set()
    for body in (*[page] * 4, *(with_value(page, every, value) for value in VALUES), page):
        for level in (slo, ServiceLevel(1.0)):
            one, first = pages.read(pages.select(body, names)), read(body, names)
            expected = interpret(engine, counted, slo=level, histograms=first)
            assert repr(interpret(engine, counted, slo=level, histograms=one)) == repr(expected)
            unread.add(expected.latencies is None)
    assert unread == {False, True}

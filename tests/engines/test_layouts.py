"""A page that differs from the one before in values only is read by its numbers, as if it were the first."""

from pathlib import Path

import pytest

from exporter.engines import ENGINES, SeriesCache, interpret, read_lines, wanted

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
}


@pytest.mark.parametrize("change", CHANGES)
def test_each_page_reads_as_it_would_without_those_before(change: str) -> None:
    """Before, after and again as before: counters, gauges and faults are those of a first read."""
    before, after = CHANGES[change]
    assert PAGE.count(before) == 1
    changed = PAGE.replace(before, after)
    memory = SeriesCache()
    for page in (PAGE, PAGE, PAGE, changed, changed, changed, PAGE, PAGE):
        lines = tuple(wanted(VLLM).lines(page))
        one, first = read_lines(lines, memory), read_lines(lines, SeriesCache())
        assert repr(one.samples) == repr(first.samples)  # NaN is not equal to itself
        assert (one.names, one.malformed, one.duplicates) == (first.names, first.malformed, first.duplicates)
        assert interpret(VLLM, one) == interpret(VLLM, first)
    assert memory.layout is not None


def test_a_changed_value_needs_no_new_layout() -> None:
    """Else each page of a busy server would be a new one."""
    memory = SeriesCache()
    for _ in range(2):
        read_lines(tuple(wanted(VLLM).lines(PAGE)), memory)
    layout = memory.layout
    page = read_lines(tuple(wanted(VLLM).lines(PAGE.replace(*CHANGES["a value"]))), memory)
    assert layout is not None
    assert page.layout is layout

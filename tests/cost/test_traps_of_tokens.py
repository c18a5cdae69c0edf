"""Mistakes that cost exporters have made with counters and tokens, each with a test that names it.

Read in the sources and issue trackers of other systems. Where a module's own tests go deeper, they say so.
"""

from dataclasses import replace
from typing import Any

import pytest

from exporter.cost.policy import Weights
from exporter.cost.quotients import per_million
from exporter.readings import CounterReading, ServerReading
from tests.cost.checked_meter import CheckedMeter
from tests.cost.readings import CHAT, allocate, cost_policy, down, h100, page, rent
from tests.kit.units import DOLLAR

GENERATED = ("chat", "llama", "generation")


@pytest.fixture
def meter() -> CheckedMeter:
    """One GPU-second costs one dollar."""
    return CheckedMeter(cost_policy(rent(3600)))


def test_decode_time_is_wrong(meter: CheckedMeter) -> None:
    """A mean of time per token taken for the total decode time put nearly all of the cost on prompts.

    30 s of prefill; 37,675 s of decoding by requests that ran 64 at a time: decode is 95 %, not 0.1 %.
    """
    reported = [(0.0, 0.0, 0.0), (30.0, 37_675.0, 2_000_000.0)]
    for prefill, decode, generated in reported:
        server = page(
            running=64.0, prefill_seconds=prefill, decode_request_seconds=decode, generation=generated
        )
        meter.tick(10, [h100()], [server], allocate(CHAT, 0))
    assert meter.dollars(phase="decode") / meter.dollars() == pytest.approx(588.67 / 618.67, abs=1e-4)


def test_the_raw_ratio_of_overlapping_seconds(meter: CheckedMeter) -> None:
    """Decode seconds overlap: undivided they would leave 8 times too little on prefill here."""
    for prefill, decode in ((0.0, 0.0), (10.0, 1000.0)):
        server = page(running=100.0, prefill_seconds=prefill, decode_request_seconds=decode)
        meter.tick(10, [h100()], [server], allocate(CHAT, 0))
    assert meter.dollars(phase="prefill") == 5 * DOLLAR


def test_sum_then_clamp(meter: CheckedMeter) -> None:
    """One replica restarts: clamping the sum's delta at 0 swallows its sibling's tokens."""
    for a, b in ((1_000_000, 900_000), (1_100_000, 50_000)):
        pages = [page(url="http://a", generation=a), page(url="http://b", generation=b)]
        if b == 50_000:
            pages[1] = replace(pages[1], identity="2", started=meter.wall)
        meter.tick(10, [], pages)
    assert meter.tokens[GENERATED] == 150_000


def test_lifetime_tokens_in_one_window(meter: CheckedMeter) -> None:
    """A hole before the window counted a lifetime of tokens in it. First sight is a baseline."""
    meter.tick(10, [h100()], [page(generation=8_000_000_000)], allocate(CHAT, 0))
    meter.tick(10, [h100()], [page(generation=8_000_000_100)], allocate(CHAT, 0))
    assert meter.tokens[GENERATED] == 100


def test_a_hole_in_the_readings_is_no_new_start(meter: CheckedMeter) -> None:
    """A server that does not answer for an hour goes on from its mark."""
    meter.tick(10, [], [page(generation=1000)])
    for _ in range(360):
        meter.tick(10, [], [down(page())])
    meter.tick(10, [], [page(generation=1700)])
    assert meter.tokens[GENERATED] == 700


def test_restart_in_the_middle_of_a_window(meter: CheckedMeter) -> None:
    """A restart gave a wrong price: the new process passed the old mark before it was read again."""
    meter.tick(10, [], [page(generation=1000)])
    meter.tick(10, [], [replace(page(generation=1500), identity="2", started=meter.wall)])
    assert meter.tokens[GENERATED] == 1500


def test_restart_without_an_identity(meter: CheckedMeter) -> None:
    """Where nothing distinguishes processes, a fall of a minute does; nothing is counted twice."""
    for generated in (1000, 40, 60, 80, 100, 120, 140, 160):
        meter.tick(10, [], [replace(page(generation=generated), identity="")])
    assert meter.tokens[GENERATED] == 160


def test_replicas_that_share_a_page(meter: CheckedMeter) -> None:
    """One of two replicas behind a page restarts: the lifetime of the other is not counted again."""

    def counted(a: float, b: float) -> ServerReading:
        series = (
            CounterReading("a", "llama", "generation", a),
            CounterReading("b", "llama", "generation", b),
        )
        return replace(page(), counters=series)

    for a, b in ((9e9, 500), (9e9 + 10, 1), (9e9 + 20, 2), (9e9 + 30, 3)):
        meter.tick(10, [], [counted(a, b)])
    assert meter.tokens[GENERATED] == 33


def test_the_last_replica_wins(meter: CheckedMeter) -> None:
    """Replicas overwrote one gauge. They add up."""
    for a, b in ((0, 0), (30, 12)):
        meter.tick(10, [], [page(url="http://a", generation=a), page(url="http://b", generation=b)])
    assert meter.tokens[GENERATED] == 42


def test_cached_tokens_counted_twice(meter: CheckedMeter) -> None:
    """Adding cached tokens to a prompt counter that holds them counts them twice."""

    def counted(prompt: float, hits: float) -> ServerReading:
        series = (
            CounterReading("prompt", "llama", "prompt", prompt),
            CounterReading("hits", "llama", "prompt", hits, -1),
            CounterReading("hits", "llama", "cached_prompt", hits),
        )
        return replace(page(), counters=series)

    for prompt, hits in ((5000, 1000), (15_000, 9000)):
        meter.tick(10, [], [counted(prompt, hits)])
    assert sum(meter.tokens.values()) == 10_000
    assert meter.tokens["chat", "llama", "cached_prompt"] == 8000


def test_hits_before_prompts_across_a_restart(meter: CheckedMeter) -> None:
    """What was taken out of the old process's prompts in advance is not taken out of the new one's."""

    def counted(prompt: float, hits: float, process: str) -> ServerReading:
        series = (
            CounterReading("prompt", "llama", "prompt", prompt),
            CounterReading("hits", "llama", "prompt", hits, -1),
        )
        started = meter.wall if process == "2" else None
        return replace(page(), identity=process, counters=series, started=started)

    for prompt, hits, process in ((100, 0, "1"), (100, 90, "1"), (60, 10, "2")):
        meter.tick(10, [], [counted(prompt, hits, process)])
    assert meter.tokens["chat", "llama", "prompt"] == 50


def test_names_with_colons(meter: CheckedMeter) -> None:
    """A key split at the first colon broke `qwen2.5:7b`."""
    for generated in (0, 9):
        meter.tick(10, [], [page(model="qwen2.5:7b", generation=generated)])
    assert meter.tokens == {("chat", "qwen2.5:7b", "generation"): 9}


def test_a_model_that_no_gpu_is_matched_to(meter: CheckedMeter) -> None:
    """A join by name that failed showed tokens at 0 dollars. The money is unallocated, the price absent."""
    for generated in (0, 10**6):
        meter.tick(10, [h100()], [page(generation=generated)])
    assert meter.dollars(server="unallocated") == 10 * DOLLAR
    spent: dict[Any, int] = {"decode": meter.dollars(server="chat")}
    assert per_million(spent, {"generation": 10**6}, Weights()) == {}


def test_an_unbounded_model_label() -> None:
    """Names from outside are bounded: the first two of a server and 50 of the host, the rest together."""
    meter = CheckedMeter(cost_policy(rent(1)))
    names = tuple(f"m{number}" for number in range(500))
    for value in (0, 1):
        series = tuple(CounterReading(name, name, "generation", value) for name in names)
        meter.tick(10, [], [replace(page(), counters=series, models=names, loads=())])
    assert len({model for _, model, _ in meter.tokens}) == 53
    assert meter.tokens["chat", "other", "generation"] == 448

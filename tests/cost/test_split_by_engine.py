"""An engine's own GPU seconds by phase, which is asked for what, and what holds of any split."""

from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cost import split
from exporter.cost.policy import SplitMethod, SplitRule
from exporter.cost.split import ModelDelta, PhaseSeconds, PhaseSplit
from exporter.cost.state import ModelState
from tests.cost.checked_meter import CheckedMeter
from tests.cost.readings import CHAT, allocate, cost_policy, h100, page, rent
from tests.kit.units import DOLLAR, MINUTE, SECOND

TEN = 10 * SECOND
METHODS: tuple[SplitMethod, ...] = ("auto", "engine", "time", "weights")


def advanced(
    ticks: Iterable[ModelDelta], rule: SplitRule | None = None, elapsed: int = TEN
) -> tuple[ModelState, PhaseSplit]:
    """The state and the split after ticks of equal length."""
    state, result = ModelState(), PhaseSplit("", None, 0.0, 0.0)
    for tick in ticks:
        state, result = split.advance_phases(state, tick, elapsed, rule or SplitRule())
    return state, result


def of(**values: Any) -> ModelDelta:
    """One tick of a model."""
    return ModelDelta(**{"tokens": {}, **values})


def test_gpu_seconds_do_not_overlap_and_are_not_divided_by_the_batch() -> None:
    """2 s of prefill and 6 s of decode: 2 / (2 + 6) = 0.25, with 40 requests running."""
    _, result = advanced([of(engine_seconds=PhaseSeconds(2.0, 6.0), running=40.0)])
    assert (result.method, result.prefill_ratio) == ("engine", 0.25)


def test_auto_takes_gpu_seconds_before_request_seconds_before_weights() -> None:
    """The order of the methods, each with data of its own: 0.25, 0.5 and, of 1 + 3 x 3, 0.1."""
    everything = {
        "tokens": {"prompt": 1, "generation": 3},
        "request_seconds": PhaseSeconds(4.0, 8.0),
        "running": 2.0,
        "engine_seconds": PhaseSeconds(2.0, 6.0),
    }
    results = [advanced([of(**everything)])[1]]
    results.append(advanced([of(**{**everything, "engine_seconds": None})])[1])
    results.append(advanced([of(tokens=everything["tokens"])])[1])
    assert [(one.method, one.prefill_ratio) for one in results] == [
        ("engine", 0.25),
        ("time", 0.5),
        ("weights", pytest.approx(0.1)),
    ]


@pytest.mark.parametrize(
    ("configured", "expected"),
    [("auto", "engine"), ("engine", "engine"), ("time", "time"), ("weights", "weights")],
)
def test_a_method_that_is_asked_for_is_taken(configured: SplitMethod, expected: str) -> None:
    """Where the server reports its data, whatever else it reports."""
    tick = of(
        tokens={"prompt": 1}, request_seconds=PhaseSeconds(1.0, 1.0), engine_seconds=PhaseSeconds(1.0, 1.0)
    )
    assert advanced([tick], SplitRule(method=configured))[1].method == expected


@pytest.mark.parametrize("configured", ["engine", "time"])
def test_a_method_that_cannot_be_had_gives_way_to_the_next(configured: SplitMethod) -> None:
    """Request seconds stand in for GPU seconds that are not reported; never the other way round."""
    rule = SplitRule(method=configured)
    assert advanced([of(request_seconds=PhaseSeconds(1.0, 1.0))], rule)[1].method == "time"
    assert advanced([of(tokens={"prompt": 1})], rule)[1].method == "weights"
    own = of(tokens={"prompt": 1}, engine_seconds=PhaseSeconds(1.0, 1.0))
    assert advanced([own], SplitRule(method="time"))[1].method == "weights"


def test_gpu_seconds_trail_with_a_half_life_of_15_minutes() -> None:
    """8 s of prefill, then 4 s of decode a quarter of an hour later: 4 / (4 + 4)."""
    ticks = [of(engine_seconds=PhaseSeconds(8.0, 0.0)), of(engine_seconds=PhaseSeconds(0.0, 4.0))]
    assert advanced(ticks, elapsed=15 * MINUTE)[1].prefill_ratio == pytest.approx(0.5)


def test_after_45_minutes_without_gpu_seconds_the_next_method_is_taken() -> None:
    """An engine that was started without its timer reports request seconds only; both are there in time."""
    state, _ = advanced([of(engine_seconds=PhaseSeconds(3.0, 1.0), request_seconds=PhaseSeconds(1.0, 1.0))])
    requests = of(request_seconds=PhaseSeconds(1.0, 1.0))
    state, last = split.advance_phases(state, requests, 45 * MINUTE, SplitRule())
    assert (last.method, last.prefill_ratio) == ("engine", pytest.approx(0.75))
    state, over = split.advance_phases(state, requests, 1, SplitRule())
    assert (over.method, over.prefill_ratio) == ("time", pytest.approx(0.5))
    assert (
        split.advance_phases(state, of(engine_seconds=PhaseSeconds(0.0, 1.0)), 1, SplitRule())[1].method
        == "engine"
    )


def test_prefill_seconds_are_of_the_kind_of_the_decode_seconds_of_their_endpoint() -> None:
    """One replica has GPU seconds, 1 of 4 prefill; the other request seconds, 9 of 10: a dollar a second."""
    meter = CheckedMeter(cost_policy(rent(3600)))
    own = {"prefill_seconds": 0.0, "decode_seconds": 0.0, "generation": 0.0}
    other = {"prefill_seconds": 0.0, "decode_request_seconds": 0.0}
    meter.tick(1, [h100()], [page(url="http://a", **own), page(url="http://b", **other)], allocate(CHAT, 0))
    own |= {"prefill_seconds": 1.0, "decode_seconds": 3.0, "generation": 5.0}
    other |= {"prefill_seconds": 9.0, "decode_request_seconds": 1.0}
    pages = [page(url="http://a", **own), page(url="http://b", **other)]
    outcome = meter.tick(10, [h100()], pages, allocate(CHAT, 0))
    assert meter.dollars(phase="prefill") == 2.5 * DOLLAR
    assert outcome.activity[CHAT].phases["llama"].method == "engine"
    state = meter.state.servers[CHAT].models["llama"]
    assert (state.prefill_seconds, state.decode_seconds) == (1.0, 3.0)
    assert (state.prefill_request_seconds, state.decode_request_seconds) == (9.0, 1.0)


def test_each_replica_has_a_batch_of_its_own() -> None:
    """Two replicas of 16 each: P = 40, D = 640 in batches of 16 is 0.5. In one of 32 it would be 0.667."""
    meter = CheckedMeter(cost_policy(rent(3600)))
    urls = ("http://a", "http://b", "http://quiet")
    none = {"prefill_seconds": 0.0, "decode_request_seconds": 0.0, "generation": 0.0}
    meter.tick(1, [h100()], [page(url=url, running=0.0, **none) for url in urls], allocate(CHAT, 0))
    some = {"prefill_seconds": 20.0, "decode_request_seconds": 320.0, "generation": 9.0}
    busy = [page(url=url, running=16.0, **some) for url in urls[:2]]
    outcome = meter.tick(10, [h100()], [*busy, page(url=urls[2], running=0.0, **none)])
    assert outcome.activity[CHAT].phases["llama"].prefill_ratio == pytest.approx(0.5)


def test_each_data_parallel_rank_has_a_batch_of_its_own() -> None:
    """One page of 4 ranks with 64 running: P = 20, D = 320 in batches of 16 is 0.5. In one of 64: 0.8."""
    meter = CheckedMeter(cost_policy(rent(3600)))
    none = page(running=0.0, prefill_seconds=0.0, decode_request_seconds=0.0, generation=0.0)
    meter.tick(1, [h100()], [none], allocate(CHAT, 0))
    some = page(running=64.0, prefill_seconds=20.0, decode_request_seconds=320.0, generation=9.0)
    some = replace(some, loads=(replace(some.loads[0], batches=4),))
    outcome = meter.tick(10, [h100()], [some])
    assert outcome.activity[CHAT].phases["llama"].prefill_ratio == pytest.approx(0.5)


seconds = st.builds(PhaseSeconds, *[st.floats(0, 1e6, allow_subnormal=False)] * 2)
ticks = st.builds(
    ModelDelta,
    st.dictionaries(st.sampled_from(["prompt", "cached_prompt", "generation"]), st.integers(0, 10**9)),
    st.none() | seconds,
    st.none() | st.floats(0, 4096, allow_subnormal=False),
    st.integers(1, 16),
    st.none() | seconds,
)


@given(st.lists(ticks, min_size=1, max_size=8), st.sampled_from(METHODS), st.integers(0, 3600 * SECOND))
def test_a_share_is_a_share(deltas: list[ModelDelta], method: SplitMethod, elapsed: int) -> None:
    """Prefill and decode have 0 to 1 of the busy money each, and all of it together, or neither has any."""
    result = advanced(deltas, SplitRule(method=method), elapsed)[1]
    assert result.prefill_ratio is None or 0.0 <= result.prefill_ratio <= 1.0
    assert result.method in {"engine", "time", "weights"}


@given(st.lists(seconds, min_size=1, max_size=8), st.integers(0, 3600))
def test_what_trails_is_the_sum_of_what_came_by_age(durations: list[PhaseSeconds], elapsed: int) -> None:
    """Halved every 900 s: each tick's seconds times 2 to the minus its age over 900, summed apart."""
    state, result = advanced([of(engine_seconds=one) for one in durations], elapsed=elapsed * SECOND)
    ages = [Fraction(elapsed * (len(durations) - 1 - index), 900) for index in range(len(durations))]
    prefill = sum(one.prefill * 2.0 ** -float(age) for one, age in zip(durations, ages, strict=True))
    decode = sum(one.decode * 2.0 ** -float(age) for one, age in zip(durations, ages, strict=True))
    assert state.prefill_seconds == pytest.approx(prefill, rel=1e-9)
    assert state.decode_seconds == pytest.approx(decode, rel=1e-9)
    if result.method == "engine":
        assert result.prefill_ratio == pytest.approx(prefill / (prefill + decode), rel=1e-9)


@given(st.lists(ticks, min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_what_comes_at_once_does_not_matter(deltas: list[ModelDelta], random: Any) -> None:
    """Ticks of no length, in any order, leave the same sums."""
    shuffled = deltas.copy()
    random.shuffle(shuffled)
    one, other = advanced(deltas, elapsed=0)[0], advanced(shuffled, elapsed=0)[0]
    for name in ("prefill_seconds", "decode_seconds", "prefill_request_seconds", "decode_request_seconds"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-9)
    assert split.phase_ratio(one, SplitRule())[1] == pytest.approx(split.phase_ratio(other, SplitRule())[1])

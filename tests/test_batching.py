"""The simulated engine takes the time that its iterations come to, worked by hand, and loses nothing."""

from random import Random

import pytest

from benchmarks.batching import (
    ATTENTION,
    BANDWIDTH,
    BYTES_PER_TOKEN,
    LAUNCH,
    MOST_RUNNING,
    Engine,
    Request,
    Tick,
    Workload,
    iteration,
    request_arrivals,
)

WEIGHTS = 16.06e9 / 2.345e12
"""Seconds in which 8.03e9 parameters of two bytes are read at 0.7 of 3.35 TB/s: 6.85 ms."""

TOKEN = 16.06e9 / 494.7e12
"""Seconds of a token's 2 x 8.03e9 operations at half of 989.4 TFLOPS: 32.5 us."""

READ = 131072 / 2.345e12
"""Seconds in which keys and values of one token are read: 2 x 32 layers x 8 heads x 128 x 2 bytes."""

SMALL = Workload("small", 0.5, 300, 40)


def alone(prompt: int, generation: int, *, mixes: bool = True) -> Tick:
    """One request on an idle engine."""
    engine = Engine(mixes)
    engine.waiting.append(Request(prompt, generation, prompt))
    return next(engine.run(Workload("none", 1e-9, 1, 1), 10.0, 1))


def test_few_tokens_take_the_reading_of_the_weights_and_many_their_arithmetic() -> None:
    """Up to 6.85 ms / 32.5 us = 210 tokens an iteration is bound by memory."""
    assert iteration(1) == iteration(200) == pytest.approx(LAUNCH + WEIGHTS)
    assert iteration(2000) == pytest.approx(LAUNCH + 2000 * TOKEN)
    assert pytest.approx(READ) == BYTES_PER_TOKEN / BANDWIDTH
    assert pytest.approx(4 * 32 * 4096 / 494.7e12) == ATTENTION


@pytest.mark.parametrize("mixes", [True, False])
def test_a_request_alone(mixes: bool) -> None:  # noqa: FBT001  # both kinds of engine
    """A prompt of 1000 in one iteration, then three more tokens that read 1000, 1001 and 1002."""
    outcome = alone(1000, 4, mixes=mixes)
    prefill = 1e-3 + 1000 * TOKEN + ATTENTION * 1000 * 500
    decode = 3 * (1e-3 + WEIGHTS) + (1000 + 1001 + 1002) * READ
    assert (outcome.prompt, outcome.generation) == (1000, 4)
    assert outcome.truly_prefill == outcome.prefill == outcome.request_prefill == pytest.approx(prefill)
    assert outcome.added_by_prefill == pytest.approx(prefill)
    assert outcome.decode == outcome.request_decode == pytest.approx(decode)
    assert outcome.busy == pytest.approx(prefill + decode)


def test_a_long_prompt_is_computed_in_chunks() -> None:
    """5000 tokens are 2048, 2048 and 904; each token attends to those before it."""
    outcome = alone(5000, 1)
    assert outcome.prefill == pytest.approx(3e-3 + 5000 * TOKEN + ATTENTION * 5000 * 2500)
    assert outcome.decode == 0.0


def test_a_shared_iteration_is_divided_by_tokens() -> None:
    """99 prompt tokens beside one that decodes: 99 of 100 parts of what reading the weights takes.

    Neither makes it longer, so that by what it adds the prompt has its attention alone.
    """
    engine = Engine(mixes=True)
    engine.waiting.extend([Request(100, 2, 100), Request(99, 1, 99)])
    engine._admit()
    engine.prefilling.pop()
    engine._advance(0.0)
    engine.prefilling.append(Request(99, 1, 99))
    before, engine.moved.truly_prefill, engine.moved.added_by_prefill = engine.now, 0.0, 0.0
    engine._advance(0.0)
    attention = ATTENTION * 99 * 49.5
    assert engine.now - before == pytest.approx(LAUNCH + WEIGHTS + attention + 100 * READ)
    assert engine.moved.truly_prefill == pytest.approx((LAUNCH + WEIGHTS) * 0.99 + attention)
    assert engine.moved.added_by_prefill == pytest.approx(attention)


@pytest.mark.parametrize("mixes", [True, False])
def test_every_token_is_served_and_every_second_is_somebodys(mixes: bool) -> None:  # noqa: FBT001
    """After the last request nothing is held; busy seconds are those of both phases."""
    random = Random(4)  # noqa: S311  # the last request of this seed ends in time
    came = [request for _, request in request_arrivals(SMALL, 600.0, random)]
    ticks = list(Engine(mixes).run(SMALL, 600.0, 4))
    assert ticks[-1].running == 0
    assert sum(tick.prompt for tick in ticks) == sum(request.prompt for request in came)
    assert sum(tick.generation for tick in ticks) == sum(request.generation for request in came)
    for tick in ticks:
        assert tick.busy == pytest.approx(tick.prefill + tick.decode)
        assert 0.0 <= tick.added_by_prefill <= tick.truly_prefill * (1 + 1e-9)
        assert tick.truly_prefill <= tick.prefill * (1 + 1e-9)


def test_a_batch_has_an_end_and_the_rest_waits() -> None:
    """More than it can serve: 256 run, others queue, and it is never idle."""
    ticks = list(Engine(mixes=True).run(Workload("flood", 100.0, 100, 1000), 60.0, 5))
    assert max(tick.running for tick in ticks) == MOST_RUNNING
    assert sum(tick.busy for tick in ticks[1:]) == pytest.approx(50.0, abs=0.1)


def test_a_seed_gives_the_same_again() -> None:
    """And another one something else."""
    one, again, other = (list(Engine(mixes=True).run(SMALL, 100.0, seed)) for seed in (1, 1, 2))
    assert one == again != other

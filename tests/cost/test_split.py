"""Prefill and decode: by request seconds with the batch taken out, by weights, by what trails.

An engine's own seconds have a file of their own.
"""

from decimal import Decimal
from typing import Any

import pytest

from exporter.cost import split
from exporter.cost.policy import SplitRule, Weights
from exporter.cost.split import ModelDelta, PhaseSeconds, PhaseSplit
from exporter.cost.state import ModelState
from tests.kit.units import MINUTE, SECOND

TEN = 10 * SECOND
AUTO = SplitRule()


class Model:
    """One model, tick by tick."""

    def __init__(self, rule: SplitRule = AUTO) -> None:
        self.rule = rule
        self.state = ModelState()

    def tick(
        self,
        tokens: dict[Any, int] | None = None,
        requests: tuple[float, float] | None = None,
        running: float | None = None,
        elapsed: int = TEN,
    ) -> PhaseSplit:
        """`requests` are their seconds of prefill and of decode."""
        tick = ModelDelta(tokens or {}, PhaseSeconds(*requests) if requests else None, running)
        self.state, result = split.advance_phases(self.state, tick, elapsed, self.rule)
        return result


def test_weights_are_one_a_tenth_and_three() -> None:
    """600 computed, 1000 cached, 100 generated: 600 + 100 to prefill, 300 to decode: 0.7."""
    result = Model().tick({"prompt": 600, "cached_prompt": 1000, "generation": 100})
    assert (result.method, result.prefill_ratio) == ("weights", pytest.approx(0.7))
    assert result.tick_tokens == pytest.approx(1000)


def test_weights_are_configurable() -> None:
    """At 1 to 1 to 1: 1600 of 1700."""
    even = Weights(Decimal(1), Decimal(1), Decimal(1))
    result = Model(SplitRule(weights=even)).tick({"prompt": 600, "cached_prompt": 1000, "generation": 100})
    assert result.prefill_ratio == pytest.approx(1600 / 1700)


def test_nothing_ever_reported_is_no_ratio() -> None:
    """The busy part of such a model is `other`, neither half."""
    result = Model().tick(running=1.0)
    assert result == PhaseSplit("weights", None, 0.0, 0.0)


def test_a_busy_tick_without_tokens_goes_by_what_trails() -> None:
    """The ratio of the last quarter hours stands in, and does not change while nothing comes."""
    model = Model()
    model.tick({"prompt": 100, "generation": 100})
    assert [model.tick().prefill_ratio for _ in range(3)] == [pytest.approx(0.25)] * 3


def test_what_trails_is_halved_in_15_minutes() -> None:
    """1200 prompt tokens 15 minutes ago weigh as 600 now: 600 of 600 + 3 x 200."""
    model = Model()
    model.tick({"prompt": 1200})
    result = model.tick({"generation": 200}, elapsed=15 * MINUTE)
    assert result.trailing_tokens == pytest.approx(1200)
    assert result.prefill_ratio == 0.0  # this tick's own tokens come first
    assert model.tick(elapsed=0).prefill_ratio == pytest.approx(0.5)


def test_time_takes_the_batch_out_of_decode_seconds() -> None:
    """P = 20 s, D = 320 s over a batch of 16: p = 20 / (20 + 320 / 16) = 0.5; the raw ratio says 0.059."""
    result = Model().tick(
        {"prompt": 1, "generation": 1},
        (20.0, 320.0),
        running=16.0,
    )
    assert (result.method, result.prefill_ratio) == ("time", pytest.approx(0.5))


def test_the_batch_is_a_mean_over_ticks_with_any_running() -> None:
    """30 running for 10 s, then none for 10 s: b = 30, not 15; decay takes both sums alike."""
    model = Model()
    model.tick({}, (10.0, 300.0), running=30.0)
    model.tick(running=0.0)
    assert model.tick(running=None).prefill_ratio == pytest.approx(0.5)


def test_a_mean_batch_weighs_recent_ticks_more() -> None:
    """8 running 15 minutes ago, 2 now: (8 x 1/2 + 2) / (1/2 + 1) = 4; P = 5 + 0, D = 20 / 4."""
    model = Model()
    model.tick({}, (10.0, 40.0), running=8.0)
    result = model.tick(running=2.0, elapsed=15 * MINUTE)
    # the second tick is 90 times as long as the first: (8 x 10 x 1/2 + 2 x 900) / (10 x 1/2 + 900)
    batch = (40 + 1800) / 905
    assert result.prefill_ratio == pytest.approx(5 / (5 + 20 / batch))


def test_a_batch_below_one_is_one() -> None:
    """Half a request on average still decodes alone."""
    result = Model().tick({}, (1.0, 3.0), running=0.5)
    assert result.prefill_ratio == pytest.approx(0.25)


def test_an_unknown_batch_is_one() -> None:
    """A server that reports no running requests is taken at its word, undivided."""
    result = Model().tick({}, (1.0, 3.0))
    assert result.prefill_ratio == pytest.approx(0.25)


@pytest.mark.parametrize("method", ["auto", "time"])
def test_after_45_minutes_without_a_finished_request_weights_are_used(method: Any) -> None:
    """Request seconds come when a request ends; when none does, they say nothing about now."""
    model = Model(SplitRule(method=method))
    model.tick({"prompt": 100}, (9.0, 1.0), running=1.0)
    last = model.tick({"generation": 50}, running=1.0, elapsed=45 * MINUTE)
    assert (last.method, last.prefill_ratio) == ("time", pytest.approx(0.9))
    over = model.tick({"generation": 50}, running=1.0, elapsed=1)
    assert (over.method, over.prefill_ratio) == ("weights", 0.0)
    again = model.tick({}, (1.0, 0.0), running=1.0)
    assert again.method == "time"


def test_a_server_that_never_reported_seconds_goes_by_weights() -> None:
    """There is nothing to divide by; `time` cannot make it up."""
    result = Model(SplitRule(method="time")).tick({"prompt": 100, "generation": 100}, running=4.0)
    assert (result.method, result.prefill_ratio) == ("weights", pytest.approx(0.25))


def test_seconds_that_are_all_zero_go_by_weights() -> None:
    """Nothing finished, though the series are there."""
    result = Model().tick({"prompt": 1}, (0.0, 0.0))
    assert result == PhaseSplit("weights", 1.0, 1.0, 1.0)


def test_weights_may_be_asked_for() -> None:
    """A server that reports seconds is split by tokens where the configuration says so."""
    result = Model(SplitRule(method="weights")).tick({"prompt": 1, "generation": 1}, (20.0, 20.0))
    assert (result.method, result.prefill_ratio) == ("weights", pytest.approx(0.25))


def test_a_sum_of_seconds_never_falls_below_zero() -> None:
    """Prefill reported as a difference of two counters can dip; it is no negative share."""
    result = Model().tick({}, (-5.0, 3.0), running=1.0)
    assert result.prefill_ratio == 0.0


def test_seconds_of_nothing_are_no_ratio() -> None:
    """Something finished and took no time at all: there is no time to split by."""
    model = Model()
    model.tick({}, (1.0, 0.0))
    result = model.tick({"prompt": 1}, (-9.0, 0.0), elapsed=0)
    assert result.method == "weights"

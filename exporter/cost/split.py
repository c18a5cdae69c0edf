"""How the busy money of one model is split between prefill and decode, and what trails from tick to tick."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from exporter.cost.policy import SplitRule, Weights
from exporter.cost.state import ModelState
from exporter.readings import Kind, Quantity, Role
from exporter.units import NANOSECONDS_PER_MINUTE, Nanoseconds, seconds

HALF_LIFE: Final[Nanoseconds] = 15 * NANOSECONDS_PER_MINUTE
"""What trailing sums are halved over."""

FINISHED_WITHIN: Final[Nanoseconds] = 45 * NANOSECONDS_PER_MINUTE
"""With nothing finished for this long, request seconds say nothing about now."""


@dataclass(frozen=True, slots=True)
class ModelTick:
    """What one model did in one tick, summed over its endpoints."""

    tokens: Mapping[Kind, int]
    seconds: Mapping[Quantity, float]
    running: float | None


@dataclass(frozen=True, slots=True)
class PhaseSplit:
    """The prefill share of a model's busy money, and the method that gave it.

    `prefill_ratio` is `None` when nothing was ever told: the busy money is then `other`.
    `weight` is this tick's tokens by weight, `trailing` that of the last quarter hours.
    """

    method: str
    prefill_ratio: float | None
    weight: float
    trailing: float


def advance(
    state: ModelState, tick: ModelTick, elapsed: Nanoseconds, rule: SplitRule, role: Role = ""
) -> tuple[ModelState, PhaseSplit]:
    """Move a model's trailing sums on by one tick and split its busy money.

    One of a disaggregated pair has nothing to split, whatever is configured or measured.
    """
    prefill, decode = weigh(tick.tokens, rule.weights)
    after = _trail(state, tick, elapsed, prefill, decode)
    trailing = after.weighted_prefill + after.weighted_decode
    if role:
        return after, PhaseSplit("role", 1.0 if role == "prefill" else 0.0, prefill + decode, trailing)
    by_time = _by_time(after) if rule.method != "weights" else None
    if by_time is not None:
        return after, PhaseSplit("time", by_time, prefill + decode, trailing)
    if prefill + decode > 0:
        by_weights: float | None = prefill / (prefill + decode)
    else:
        by_weights = after.weighted_prefill / trailing if trailing > 0 else None
    return after, PhaseSplit("weights", by_weights, prefill + decode, trailing)


def weigh(tokens: Mapping[Kind, int], weights: Weights) -> tuple[float, float]:
    """Tokens by weight: those of prefill and those of decode."""
    prefill = tokens.get("prompt", 0) * float(weights.prompt)
    prefill += tokens.get("cached_prompt", 0) * float(weights.cached_prompt)
    return prefill, tokens.get("generation", 0) * float(weights.generation)


def _trail(
    state: ModelState, tick: ModelTick, elapsed: Nanoseconds, prefill: float, decode: float
) -> ModelState:
    decay = 0.5 ** (elapsed / HALF_LIFE)
    running = tick.running or 0.0
    duration = seconds(elapsed)
    finished = any(value > 0 for value in tick.seconds.values())
    if finished:
        since_finished: Nanoseconds | None = 0
    else:
        since_finished = None if state.since_finished is None else state.since_finished + elapsed
    return replace(
        state,
        prefill_seconds=_add(state.prefill_seconds, decay, tick.seconds.get("prefill_seconds")),
        decode_seconds=_add(state.decode_seconds, decay, tick.seconds.get("decode_seconds")),
        decode_request_seconds=_add(
            state.decode_request_seconds, decay, tick.seconds.get("decode_request_seconds")
        ),
        running_sum=state.running_sum * decay + running * duration,
        running_time=state.running_time * decay + (duration if running > 0 else 0.0),
        weighted_prefill=state.weighted_prefill * decay + prefill,
        weighted_decode=state.weighted_decode * decay + decode,
        since_finished=since_finished,
    )


def _add(sum_before: float, decay: float, moved: float | None) -> float:
    # A fallback that subtracts (time to first token less queueing) can dip below zero for a tick.
    return max(0.0, sum_before * decay + (moved or 0.0))


def _by_time(state: ModelState) -> float | None:
    """P / (P + D / b): requests decode side by side, so their seconds are divided by the mean batch."""
    if state.since_finished is None or state.since_finished > FINISHED_WITHIN:
        return None
    batch = max(1.0, state.running_sum / state.running_time) if state.running_time > 0 else 1.0
    decode = state.decode_seconds + state.decode_request_seconds / batch
    total = state.prefill_seconds + decode
    return state.prefill_seconds / total if total > 0 else None

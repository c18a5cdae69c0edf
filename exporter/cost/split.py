"""Split of a model's busy money between prefill and decode, with the trailing sums that it needs.

docs/split.md has the error of each method on a simulated engine.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from exporter.cost.policy import SplitRule, Weights
from exporter.cost.state import ModelState
from exporter.readings import Quantity, Role, TokenKind
from exporter.units import NANOSECONDS_PER_MINUTE, Nanoseconds, seconds

HALF_LIFE: Final[Nanoseconds] = 15 * NANOSECONDS_PER_MINUTE
"""Half-life of trailing sums."""

SECONDS_STALE_AFTER: Final[Nanoseconds] = 45 * NANOSECONDS_PER_MINUTE
"""Age beyond which seconds are not used: no request finished, or the engine stopped reporting them."""

WORKLOADS_OFF_BY_25_PERCENT: Final[Mapping[str, tuple[str, ...]]] = {
    "engine": ("saturated", "retrieval", "long generation"),
    "time": ("retrieval", "long generation"),
    "weights": ("chat", "heavy chat", "light", "retrieval", "long generation"),
}
"""Workloads of the simulation (docs/split.md) on which a method was more than 25 % off the true share, on
either kind of engine: `engine` only where prompts are computed in iterations in which others decode."""

MEANING: Final[Mapping[str, str]] = {
    "engine": (
        "the engine's own GPU seconds of each. Exact where prompts have iterations of their own; else an "
        "estimate, typically within 25 %, less accurate on these loads: "
        f"{', '.join(WORKLOADS_OFF_BY_25_PERCENT['engine'])}"
    ),
    "time": (
        "an estimate from the seconds of its requests, typically within 25 %; less accurate on these "
        f"loads: {', '.join(WORKLOADS_OFF_BY_25_PERCENT['time'])}"
    ),
    "weights": (
        "an assumption about what a token of each kind weighs, often more than 25 % off "
        f"on these loads: {', '.join(WORKLOADS_OFF_BY_25_PERCENT['weights'])}"
    ),
    "role": "nothing to split, since the server only prefills, or only decodes",
}
"""Accuracy of each method, as the page and `explain` print it."""


@dataclass(frozen=True, slots=True)
class PhaseSeconds:
    """Seconds of prefill and of decode. A difference of two counters may be negative for a tick."""

    prefill: float = 0.0
    decode: float = 0.0

    def __add__(self, other: "PhaseSeconds") -> "PhaseSeconds":
        return PhaseSeconds(self.prefill + other.prefill, self.decode + other.decode)


_NO_SECONDS: Final = PhaseSeconds()


@dataclass(frozen=True, slots=True)
class ModelDelta:
    """Deltas of one model of a server in one tick, summed over its endpoints; `None` is not reported."""

    tokens: Mapping[TokenKind, int]
    request_seconds: PhaseSeconds | None = None
    """Seconds of requests, which overlap."""
    running: float | None = None
    """Requests running."""
    batches: int = 1
    """Batches that the requests run in: each engine has its own."""
    engine_seconds: PhaseSeconds | None = None
    """GPU seconds of the engine."""
    requests: int | None = None
    """Requests that finished."""
    pending_subtraction: Mapping[str, int] = field(default_factory=dict)
    """Tokens that remain to be subtracted from later ticks, by kind."""
    preemptions: int | None = None
    """Requests that were preempted."""

    def weighted_prefill(self, weights: Weights) -> float:
        """Weighted tokens of prefill."""
        computed = self.tokens.get("prompt", 0) * float(weights.prompt)
        return computed + self.tokens.get("cached_prompt", 0) * float(weights.cached_prompt)

    def weighted_decode(self, weights: Weights) -> float:
        """Weighted tokens of decode."""
        return self.tokens.get("generation", 0) * float(weights.generation)

    def amounts(self) -> dict[Quantity, int]:
        """Tokens by kind, requests and preemptions, each only where the server counts it."""
        amounts: dict[Quantity, int] = dict(self.tokens.items())
        if self.requests is not None:
            amounts["requests"] = self.requests
        if self.preemptions is not None:
            amounts["preemptions"] = self.preemptions
        return amounts


@dataclass(frozen=True, slots=True)
class PhaseSplit:
    """The prefill share of a model's busy money, and the method that gave it."""

    method: str
    prefill_ratio: float | None
    """`None` when nothing was ever reported: the busy money is then `other`."""
    tick_tokens: float
    """Weighted tokens of this tick."""
    trailing_tokens: float
    """Trailing sum of weighted tokens, this tick's included."""


class PhaseRatio(NamedTuple):
    """The prefill share of a model's busy money by its trailing sums, and the method that gave it."""

    method: str
    prefill_ratio: float | None
    """`None` when nothing was ever reported."""


class AdvancedPhases(NamedTuple):
    """One model after a tick."""

    state: ModelState
    """The state of the model, with the trailing sums of this tick."""
    phases: PhaseSplit
    """The split of its busy money in this tick."""


def advance_phases(
    before: ModelState, delta: ModelDelta, elapsed: Nanoseconds, rule: SplitRule, role: Role = ""
) -> AdvancedPhases:
    """Advance a model's trailing sums by one tick and split its busy money.

    A server of a disaggregated pair has one phase, whatever is configured or measured.
    """
    prefill = delta.weighted_prefill(rule.weights)
    decode = delta.weighted_decode(rule.weights)
    decay = 0.5 ** (elapsed / HALF_LIFE)
    duration = seconds(elapsed)
    running = delta.running or 0.0
    running_time = delta.batches * duration if running > 0 else 0.0
    requests = delta.request_seconds or _NO_SECONDS
    engine = delta.engine_seconds or _NO_SECONDS
    trailing_prefill = before.weighted_prefill * decay + prefill
    trailing_decode = before.weighted_decode * decay + decode
    state = replace(
        before,
        prefill_request_seconds=_add(before.prefill_request_seconds, decay, requests.prefill),
        decode_request_seconds=_add(before.decode_request_seconds, decay, requests.decode),
        prefill_seconds=_add(before.prefill_seconds, decay, engine.prefill),
        decode_seconds=_add(before.decode_seconds, decay, engine.decode),
        running_sum=before.running_sum * decay + running * duration,
        running_time=before.running_time * decay + running_time,
        weighted_prefill=trailing_prefill,
        weighted_decode=trailing_decode,
        since_finished=_since(before.since_finished, requests, elapsed),
        since_computed=_since(before.since_computed, engine, elapsed),
    )
    method, ratio = phase_ratio(state, rule, role)
    if method == "weights" and prefill + decode > 0:
        ratio = prefill / (prefill + decode)
    phases = PhaseSplit(
        method, ratio, tick_tokens=prefill + decode, trailing_tokens=trailing_prefill + trailing_decode
    )
    return AdvancedPhases(state, phases)


def phase_ratio(state: ModelState, rule: SplitRule, role: Role = "") -> PhaseRatio:
    """The prefill share by the role of a server that has one, else by the first method that has data.

    The methods are tried in the order `engine`, `time`, `weights`, from the method of the rule on.
    A rule of `auto` tries all three.
    """
    if role:
        return PhaseRatio("role", 1.0 if role == "prefill" else 0.0)
    if rule.method in {"auto", "engine"}:
        # P / (P + D): an engine's own seconds do not overlap.
        ratio = _share(state.since_computed, state.prefill_seconds, state.decode_seconds)
        if ratio is not None:
            return PhaseRatio("engine", ratio)
    if rule.method != "weights":
        # P / (P + D / b): requests decode in parallel, so their seconds are divided by the mean batch.
        batch = max(1.0, state.running_sum / state.running_time) if state.running_time > 0 else 1.0
        decode = state.decode_request_seconds / batch
        ratio = _share(state.since_finished, state.prefill_request_seconds, decode)
        if ratio is not None:
            return PhaseRatio("time", ratio)
    total = state.weighted_prefill + state.weighted_decode
    return PhaseRatio("weights", state.weighted_prefill / total if total > 0 else None)


def _add(sum_before: float, decay: float, delta: float) -> float:
    """A trailing sum after a tick, never negative.

    Seconds that are a difference (time to first token less queue time) can be negative for a tick.
    """
    return max(0.0, sum_before * decay + delta)


def _since(before: Nanoseconds | None, delta: PhaseSeconds, elapsed: Nanoseconds) -> Nanoseconds | None:
    """Time since seconds were last counted, after a tick; `None`: never."""
    if delta.prefill > 0 or delta.decode > 0:
        return 0
    return None if before is None else before + elapsed


def _share(since: Nanoseconds | None, prefill: float, decode: float) -> float | None:
    """The share of prefill; `None` where no seconds were reported lately."""
    if since is None or since > SECONDS_STALE_AFTER or prefill + decode <= 0:
        return None
    return prefill / (prefill + decode)

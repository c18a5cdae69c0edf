"""Dollars per million tokens: ratios of sums over a window, on the full and the busy basis."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final, Literal

from exporter.cost.policy import Weights
from exporter.readings import KINDS, TokenKind
from exporter.units import TOKENS_PER_MILLION, Nanoseconds, Picodollars, dollars

QuotientKind = Literal["prompt", "cached_prompt", "generation", "all", "computed"]
Basis = Literal["full", "busy"]

FEWEST_TOKENS: Final = 1000
"""A quotient of fewer tokens has no meaning and is absent."""


def per_million(
    money: Mapping[str, Picodollars],
    tokens: Mapping[TokenKind, int],
    weights: Weights,
    unpriced: Nanoseconds = 0,
) -> dict[tuple[QuotientKind, Basis], float]:
    """Dollars per million tokens by (kind, basis): `carried_dollars` over the tokens of the kind.

    A quotient that does not exist is absent, and so is one of fewer than `FEWEST_TOKENS`.
    With `unpriced` GPU time there is none: the cost is incomplete.
    """
    if unpriced:
        return {}
    counts = token_counts(tokens)
    return {
        (kind, basis): amount * TOKENS_PER_MILLION / counts[kind]
        for (kind, basis), amount in carried_dollars(money, tokens, weights).items()
        if counts[kind] >= FEWEST_TOKENS
    }


def token_counts(tokens: Mapping[TokenKind, int]) -> dict[QuotientKind, int]:
    """Tokens that each kind of quotient divides by: `all` is every one, `computed` those not from a cache."""
    counts: dict[QuotientKind, int] = {kind: tokens.get(kind, 0) for kind in KINDS}
    return {**counts, "all": sum(tokens.values()), "computed": counts["prompt"] + counts["generation"]}


def carried_dollars(
    money: Mapping[str, Picodollars], tokens: Mapping[TokenKind, int], weights: Weights
) -> dict[tuple[QuotientKind, Basis], float]:
    """Dollars that the tokens of each kind carry, by (kind, basis); absent where there is nothing to carry.

    `full` is everything accrued, `busy` prefill and decode only. `all` and `computed` each carry the whole of
    it. Of the single kinds, `prompt` and `cached_prompt` carry the prefill money by weight, `generation` the
    decode money; on the full basis each phase's money is scaled up to everything accrued. A phase whose kinds
    had no token joins the other's. What the three kinds carry sums to the whole.

    Args:
        money: by phase.
        tokens: by kind.
        weights: only the ratio of `cached_prompt` to `prompt` is used.
    """
    everything = dollars(sum(money.values()))
    if everything == 0:
        return {}  # nothing is priced: zero would be wrong
    prefill, decode = dollars(money.get("prefill", 0)), dollars(money.get("decode", 0))
    parts: dict[tuple[QuotientKind, Basis], float] = {}
    bases: dict[Basis, float] = {"full": everything}
    if prefill + decode > 0:
        bases["busy"] = prefill + decode
    counts = token_counts(tokens)
    for basis, amount in bases.items():
        for kind in ("all", "computed"):
            if counts[kind]:
                parts[kind, basis] = amount
        if prefill + decode > 0:
            scale = amount / (prefill + decode)
            for single, part in _by_kind(prefill, decode, tokens, weights).items():
                parts[single, basis] = part * scale
    return parts


def _by_kind(
    prefill: float, decode: float, tokens: Mapping[TokenKind, int], weights: Weights
) -> dict[TokenKind, float]:
    """Dollars of prefill and decode, by the kind that carries them."""
    counts = {kind: tokens.get(kind, 0) for kind in KINDS}
    input_weights = {"prompt": weights.prompt, "cached_prompt": weights.cached_prompt}
    if not any(input_weights.values()):
        input_weights = {"prompt": Decimal(1), "cached_prompt": Decimal(1)}
    prompt = counts["prompt"] * float(input_weights["prompt"])
    cached = counts["cached_prompt"] * float(input_weights["cached_prompt"])
    if prompt + cached == 0:
        decode += prefill
        prefill = 0.0
    if counts["generation"] == 0:
        prefill += decode
        decode = 0.0
    parts: dict[TokenKind, float] = {}
    if prompt + cached > 0:
        parts["prompt"] = prefill * prompt / (prompt + cached)
        parts["cached_prompt"] = prefill * cached / (prompt + cached)
    if counts["generation"] > 0:
        parts["generation"] = decode
    return parts

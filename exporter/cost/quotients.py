"""Dollars per million tokens: ratios of sums over a window, on the full and the busy basis."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final, Literal

from exporter.cost.policy import Weights
from exporter.readings import KINDS, Kind
from exporter.units import TOKENS_PER_MILLION, Picodollars, dollars

TokenKind = Literal["prompt", "cached_prompt", "generation", "all", "computed"]
Basis = Literal["full", "busy"]

FEWEST_TOKENS: Final = 1000
"""Below this many tokens of its own a quotient says nothing and is absent."""


def per_million(
    money: Mapping[str, Picodollars], tokens: Mapping[Kind, int], weights: Weights
) -> dict[tuple[TokenKind, Basis], float]:
    """Dollars per million tokens by (kind, basis); a quotient that does not exist is absent.

    `full` is everything accrued, `busy` prefill and decode only. `all` divides by every token, `computed` by
    those that were computed. For the single kinds prefill money divides over `prompt` and `cached_prompt` by
    weight, decode money over `generation`; on the full basis each phase's money is scaled up to everything
    accrued. A phase whose kinds had no token joins the other's.

    Args:
        money: by phase.
        tokens: by kind.
        weights: only the ratio of `cached_prompt` to `prompt` is used.
    """
    everything = dollars(sum(money.values()))
    if everything == 0:
        return {}  # nothing is priced: a cost of zero would be a claim
    prefill, decode = dollars(money.get("prefill", 0)), dollars(money.get("decode", 0))
    found: dict[tuple[TokenKind, Basis], float] = {}
    totals: dict[TokenKind, int] = {
        "all": sum(tokens.values()),
        "computed": tokens.get("prompt", 0) + tokens.get("generation", 0),
    }
    for kind, count in totals.items():
        if count >= FEWEST_TOKENS:
            found[kind, "full"] = everything * TOKENS_PER_MILLION / count
            if prefill + decode > 0:
                found[kind, "busy"] = (prefill + decode) * TOKENS_PER_MILLION / count
    if prefill + decode > 0:
        scale = everything / (prefill + decode)
        for kind, price in _by_kind(prefill, decode, tokens, weights).items():
            if tokens.get(kind, 0) >= FEWEST_TOKENS:
                found[kind, "busy"] = price * TOKENS_PER_MILLION
                found[kind, "full"] = price * scale * TOKENS_PER_MILLION
    return found


def _by_kind(
    prefill: float, decode: float, tokens: Mapping[Kind, int], weights: Weights
) -> dict[Kind, float]:
    """Dollars a token, by kind."""
    counts = {kind: tokens.get(kind, 0) for kind in KINDS}
    told = {"prompt": weights.prompt, "cached_prompt": weights.cached_prompt}
    if not any(told.values()):
        told = {"prompt": Decimal(1), "cached_prompt": Decimal(1)}
    read = counts["prompt"] * float(told["prompt"]) + counts["cached_prompt"] * float(told["cached_prompt"])
    if read == 0:
        decode, prefill = decode + prefill, 0.0
    if counts["generation"] == 0:
        prefill, decode = prefill + decode, 0.0
    prices: dict[Kind, float] = {}
    if read > 0:
        prices["prompt"] = prefill * float(told["prompt"]) / read
        prices["cached_prompt"] = prefill * float(told["cached_prompt"]) / read
    if counts["generation"] > 0:
        prices["generation"] = decode / counts["generation"]
    return prices

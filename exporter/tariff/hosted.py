"""What the same tokens cost at a hosted API, as configured: a comparison, no part of the money."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Final

from exporter.readings import Kind
from exporter.units import PICODOLLARS_PER_DOLLAR, TOKENS_PER_MILLION, Picodollars

PRICE_DECIMALS: Final = 6
"""Decimals of dollars per million tokens: a token then costs a whole number of picodollars."""


@dataclass(frozen=True, slots=True)
class HostedPrice:
    """One hosted offer, in dollars per million tokens, and whose tokens it is compared with.

    `server` and `model` are shell-style patterns; all that are given must match. `as_of` is the date on which
    the price was read, as it was written. Without a price of its own a cached prompt token costs what any
    prompt token does.
    """

    reference: str
    prompt: Decimal
    generation: Decimal
    cached_prompt: Decimal | None = None
    server: str | None = None
    model: str | None = None
    as_of: str = ""

    def covers(self, server: str, model: str) -> bool:
        """Whether a server's model is compared with it."""
        return all(
            pattern is None or fnmatchcase(text, pattern)
            for pattern, text in ((self.server, server), (self.model, model))
        )

    def by_kind(self) -> Mapping[Kind, Decimal]:
        """Dollars per million tokens of each kind."""
        cached = self.prompt if self.cached_prompt is None else self.cached_prompt
        return {"prompt": self.prompt, "cached_prompt": cached, "generation": self.generation}


def equivalent(price: HostedPrice, tokens: Mapping[Kind, int]) -> Picodollars:
    """What tokens would have cost there, exactly."""
    each = PICODOLLARS_PER_DOLLAR // TOKENS_PER_MILLION
    return sum(int(price.by_kind()[kind] * each) * count for kind, count in tokens.items())

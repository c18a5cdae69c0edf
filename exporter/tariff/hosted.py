"""Hosted offers: what the same tokens cost at a hosted API. A comparison, no part of any cost."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import groupby
from typing import Final

from exporter.readings import TokenKind
from exporter.tariff.csv_tables import CatalogueError, Row
from exporter.tariff.terms import matches
from exporter.units import PICODOLLARS_PER_DOLLAR, TOKENS_PER_MILLION, Picodollars

PRICE_DECIMALS: Final = 6
"""Decimals of dollars per million tokens: a token then costs a whole number of picodollars."""

CURRENT_DAYS: Final = 366
"""Age up to which the price of an offer is compared."""


@dataclass(frozen=True, slots=True)
class HostedPrice:
    """One hosted offer in dollars per million tokens, and the servers and models to compare it with.

    All patterns that are given must match.
    """

    reference: str
    prompt: Decimal
    generation: Decimal
    cached_prompt: Decimal | None = None
    """`None` where a cached prompt token costs what any prompt token does."""
    server: str | None = None
    """Shell-style pattern."""
    model: str | None = None
    """Shell-style pattern."""
    as_of: str = ""
    """The date on which the price was read, as it was written."""

    def covers(self, server: str, model: str) -> bool:
        """Whether a server's model is compared with it."""
        return matches(self.server, server) and matches(self.model, model)

    def by_kind(self) -> Mapping[TokenKind, Decimal]:
        """Dollars per million tokens of each kind."""
        cached = self.prompt if self.cached_prompt is None else self.cached_prompt
        return {"prompt": self.prompt, "cached_prompt": cached, "generation": self.generation}


def is_current(as_of: str, today: date) -> bool:
    """Whether a price that was read on a date is of the last year; one without a date is."""
    try:
        age = (today - date.fromisoformat(as_of[:10])).days if as_of else 0
    except ValueError:
        return False
    return -1 <= age <= CURRENT_DAYS


def equivalent(price: HostedPrice, tokens: Mapping[TokenKind, int]) -> Picodollars:
    """The cost of tokens at a hosted offer, exactly."""
    each = PICODOLLARS_PER_DOLLAR // TOKENS_PER_MILLION
    return sum(int(price.by_kind()[kind] * each) * count for kind, count in tokens.items())


_NOISE = re.compile(
    r"amazon|chat|fast|fw|google|hf|instant|instruct|it|latest|maas|meta|microsoft|moonshot|moonshotai|nvidia|"
    r"openai|quantized|turbo|v|versatile|zai"
)
"""Words for how or by whom a model is served, not which it is."""

_PRECISION = re.compile(r"\b((nv|mx|b)?(fp|f|int|q)\d+( k m)?|w\d+a\d+|awq|gptq|gguf|exl2)\b")

_REVISION = re.compile(r"(-v?\d+)?:\d+$")
"""The end of Amazon's names: openai.gpt-oss-120b-1:0."""

_BETWEEN = re.compile(r"[^a-z0-9.]+")

_VERSION = re.compile(r"(?<=\d)p(?=\d)")
"""Fireworks writes 3.1 as 3p1."""

_WORD = re.compile(r"[a-z]+\d+b\b|\d+b\b|[a-z]+|\d+")
"""A size (70b, a22b) is one word; versions are cut at their points."""


@dataclass(frozen=True, slots=True)
class Offer:
    """The price of one model at one provider, in dollars per million tokens."""

    provider: str
    model: str
    prompt: Decimal
    cached_prompt: Decimal | None
    """`None` without a discount: cached tokens then cost what others do."""
    generation: Decimal
    source: str
    as_of: str = ""
    """Date of its source, from another table."""


def offers(table: Iterable[Row], model_name: str) -> tuple[Offer, ...]:
    """Offers of the same weights, dearest last; empty where none is known.

    Names are compared without what says how a model is served: organization, precision, instruct, turbo. A
    model of another version, size or date is another one. People choose among the offers: a quantized
    variant has the same name.

    Raises:
        CatalogueError: the table is damaged.
    """
    wanted = words(model_name)
    if not wanted:
        return ()
    matching: list[Offer] = []
    for row in table:
        if words(row["model"]) != wanted:
            continue
        prompt, generation = row.dollars("prompt"), row.dollars("generation")
        if prompt is None or generation is None:
            raise CatalogueError(f"hosted.csv has no price for {row['model']} at {row['provider']}")
        matching.append(
            Offer(
                provider=row["provider"],
                model=row["model"],
                prompt=prompt,
                cached_prompt=row.dollars("cached_prompt"),
                generation=generation,
                source=row["source"],
            )
        )
    return tuple(sorted(matching, key=lambda offer: (offer.prompt + 3 * offer.generation, offer.provider)))


def words(model_name: str) -> tuple[str, ...]:
    """The words of a name that identify the weights: Meta-Llama-3.1-8B-Instruct is llama 3 1 8b."""
    text = _REVISION.sub("", model_name.casefold()).rsplit("/", maxsplit=1)[-1]
    text = _PRECISION.sub(" ", _BETWEEN.sub(" ", _VERSION.sub(".", text)))
    parts = (word for word in _WORD.findall(text) if not _NOISE.fullmatch(word))
    # qwen.qwen3-32b: the maker's name, then the model's. Numbers may repeat: llama 3 3 70b.
    return tuple(word for word, run in groupby(parts) for _ in (run if word.isdigit() else (word,)))

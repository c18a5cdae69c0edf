"""From what a model cost and served to each number that is said of it. Pure.

Two people with different numbers usually divide different money by different tokens. Each number here names
its money and its tokens, so that both can see which of them they mean.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from exporter.cost.policy import Weights
from exporter.cost.quotients import Basis, TokenKind, carried, counted, per_million
from exporter.readings import Kind
from exporter.tariff.hosted import HostedPrice, equivalent
from exporter.tariff.tariff import AMORTIZATION, INSURANCE, RENT, SUPPORT
from exporter.units import (
    NANOSECONDS_PER_DAY,
    TOKENS_PER_MILLION,
    Instant,
    Nanoseconds,
    Picodollars,
    dollars,
)

HARDWARE: Final = frozenset({RENT, AMORTIZATION, SUPPORT, INSURANCE})
"""Components that are the price of the hardware itself."""


@dataclass(frozen=True, slots=True)
class Account:
    """What one model of a server cost and served in a stretch of time.

    `money` and `held` (GPU time) are by phase; `held` is empty where the books do not tell it.
    `components` is the money by what it was for, of all models of the server together; empty where not told.
    `unpriced` is GPU time that waits for a price: with any, what it cost is not known whole, and nothing is
    divided.
    `mix` stands for `components` where these are not told: what the server paid for in the hours around.
    `last_token` is when a token of it last moved, in that stretch or before.
    """

    model: str
    money: Mapping[str, Picodollars] = field(default_factory=dict)
    tokens: Mapping[Kind, int] = field(default_factory=dict)
    held: Mapping[str, Nanoseconds] = field(default_factory=dict)
    components: Mapping[str, Picodollars] = field(default_factory=dict)
    unpriced: Nanoseconds = 0
    mix: Mapping[str, Picodollars] = field(default_factory=dict)
    last_token: Instant | None = None

    @property
    def spent(self) -> Picodollars:
        """All of its money."""
        return sum(self.money.values())

    @property
    def worked(self) -> Picodollars:
        """The part of its money in which it is known to have computed tokens."""
        return self.money.get("prefill", 0) + self.money.get("decode", 0)


@dataclass(frozen=True, slots=True)
class PerMillion:
    """One quotient: `dollars` that `tokens` of a kind carry, and what a million of them cost."""

    kind: TokenKind
    basis: Basis
    dollars: float
    tokens: int
    dollars_per_million: float


@dataclass(frozen=True, slots=True)
class Rung:
    """A number that people say, what it divides, and what it leaves out or puts in."""

    dollars: float
    tokens: int
    dollars_per_million: float
    meaning: str


@dataclass(frozen=True, slots=True)
class BreakEven:
    """Own cost against a price per million tokens: both come to the same at `tokens_per_day`.

    At today's money a day, whatever the traffic; `served_per_day` is today's.
    """

    reference: str
    dollars_per_million: float
    own_dollars_per_million: float
    tokens_per_day: float
    served_per_day: float


def prices(account: Account, weights: Weights) -> tuple[PerMillion, ...]:
    """Every quotient that exists, as the metrics tell them: by kind, the full basis before the busy."""
    counts = counted(account.tokens)
    parts = carried(account.money, account.tokens, weights)
    found = per_million(account.money, account.tokens, weights, account.unpriced)
    return tuple(
        PerMillion(kind, basis, parts[kind, basis], counts[kind], found[kind, basis])
        for kind in ("all", "computed", "prompt", "cached_prompt", "generation")
        for basis in ("full", "busy")
        if (kind, basis) in found
    )


def ladder(account: Account) -> tuple[Rung, ...]:
    """The numbers that people say of one and the same model, the narrowest first.

    None without dollars, and none while a part of its time has no price.

    Hardware alone is told where the components are, or their mix in the hours around: each model is taken to
    have its server's mix of them.
    """
    if account.unpriced:
        return ()
    counts = counted(account.tokens)
    rungs: list[tuple[float, int, str]] = []
    everything, worked = dollars(account.spent), dollars(account.worked)
    mix = account.components or account.mix
    total = sum(mix.values())
    if total and worked:
        hardware = sum(amount for name, amount in mix.items() if name in HARDWARE)
        rungs.append(
            (worked * hardware / total, counts["all"], "hardware alone, and only while it computed tokens")
        )
    if worked:
        rungs.append((worked, counts["all"], "energy and overheads too (all, busy)"))
    rungs += [
        (everything, counts["all"], "idle and unobserved time too (all, full)"),
        (everything, counts["computed"], "cached tokens not counted (computed, full)"),
        (everything, counts["generation"], "everything over generated tokens alone"),
    ]
    return tuple(
        Rung(amount, count, amount * TOKENS_PER_MILLION / count, meaning)
        for amount, count, meaning in rungs
        if count and amount
    )


def against(account: Account, span: Nanoseconds, price: float, reference: str) -> BreakEven | None:
    """An account of a stretch of time against one price for any million tokens.

    `None` without either, and while a part of the account's time has no price.
    """
    served = sum(account.tokens.values())
    if span <= 0 or price <= 0 or not served or not account.spent or account.unpriced:
        return None
    a_day = dollars(account.spent) * NANOSECONDS_PER_DAY / span
    return BreakEven(
        reference,
        price,
        dollars(account.spent) * TOKENS_PER_MILLION / served,
        a_day * TOKENS_PER_MILLION / price,
        served * NANOSECONDS_PER_DAY / span,
    )


def hosted(account: Account, span: Nanoseconds, offer: HostedPrice) -> BreakEven | None:
    """An account against a hosted offer, at the mix of tokens that it has; `None` where nothing compares."""
    served = sum(account.tokens.values())
    if not served:
        return None
    there = dollars(equivalent(offer, account.tokens)) * TOKENS_PER_MILLION / served
    return against(account, span, there, offer.reference)

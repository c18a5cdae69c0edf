"""The cost of an hour of a ledger, divided over the requests that ended in it. Pure.

In an hour the servers of a model are one pool: a request says which model, not which server. The pool's money
of prefill is divided over tokens of the prompt, cached ones by their weight, and its money of decode over
tokens of the answer. A phase without tokens joins the other one. Tokens are those that the ledger counted, or
those of the requests where these are more. What a log does not tell of cached tokens is as in the ledger.

What is left is not in the file: tokens beyond it, models that it has no request of, and busy time for which
nothing counted a token. Idle cost, and cost of time in which nothing was read, is apart.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from math import lcm
from typing import Final, NamedTuple

from exporter.cost.policy import Weights
from exporter.cost.postings import BUSY_PHASES
from exporter.finance.facts import Fact, history_facts, measured
from exporter.finance.requests.forms import LoggedRequest
from exporter.finance.requests.log_file import ModelTokens
from exporter.ledger.history import ESTIMATE, HistorySums
from exporter.units import Picodollars

FAMILIES: Final = ("cost", "server_cost", "tokens", "unpriced", "settled")
"""Families of history that facts of an hour need."""

PROMPT_KINDS: Final = ("prompt", "cached_prompt")

WeightsOf = Callable[[str, str], Weights]
"""Weights of the tokens of a server's model."""


class TokenShares(NamedTuple):
    """Prices of tokens in picodollars over a common denominator."""

    prompt: int
    cached: int
    undivided: int
    """The price of a token of a prompt of which the log does not tell what was cached."""
    answer: int
    whole: int
    """The denominator of all prices."""

    def of(self, request: LoggedRequest) -> int:
        """The share of a request."""
        answer = request.output * self.answer
        if request.cached is None:
            return request.input * self.undivided + answer
        return (request.input - request.cached) * self.prompt + request.cached * self.cached + answer


@dataclass
class ModelPool:
    """The servers of one model in one hour."""

    model: str
    weights: Weights
    money: Counter[str] = field(default_factory=Counter)
    """The money that tokens carry, by phase: prefill and decode."""
    counted: Counter[str] = field(default_factory=Counter)
    """Tokens that the ledger counted, by kind."""
    given: Counter[str] = field(default_factory=Counter)
    """Tokens of requests, by kind."""
    undivided: int = 0
    """Tokens of prompts of which the log does not tell what was cached."""
    requests: Picodollars = 0
    """Cost of the requests until now."""
    _sum: int = 0
    """Shares of the requests until now."""

    def add_tokens(self, tokens: ModelTokens) -> None:
        """Add tokens of requests, before the first cost."""
        self.given["prompt"] += tokens.prompt
        self.given["cached_prompt"] += tokens.cached
        self.given["generation"] += tokens.answer
        self.undivided += tokens.undivided

    def cost(self, request: LoggedRequest) -> Picodollars:
        """The cost of the next request.

        Costs are differences of rounded sums: each is less than a picodollar off, and so is their sum.
        """
        self._sum += self._shares.of(request)
        before = self.requests
        self.requests = self._sum // self._shares.whole
        return self.requests - before

    def excess(self) -> dict[str, int]:
        """Tokens of requests beyond those that the ledger counted, of prompts and of answers."""
        prompts = self.undivided + sum(self.given[kind] - self.counted[kind] for kind in PROMPT_KINDS)
        answers = self.given["generation"] - self.counted["generation"]
        return {"prompt": max(0, prompts), "generation": max(0, answers)}

    @cached_property
    def _shares(self) -> TokenShares:
        """Prices of tokens: 100 for 60 tokens of prompts and 400 cached ones of weight 0.1 are 1 and 0.1."""
        prompt_weight, cached_weight = Fraction(self.weights.prompt), Fraction(self.weights.cached_prompt)
        if not prompt_weight and not cached_weight:
            prompt_weight = cached_weight = Fraction(1)
        # Undivided tokens are as the ledger's.
        inputs = sum(self.counted[kind] for kind in PROMPT_KINDS)
        cached_part = Fraction(self.counted["cached_prompt"], inputs) if inputs else Fraction(0)
        given = self.given["prompt"] + self.undivided * (1 - cached_part)
        given_cached = self.given["cached_prompt"] + self.undivided * cached_part
        prompts = max(Fraction(self.counted["prompt"]), given) * prompt_weight
        prompts += max(Fraction(self.counted["cached_prompt"]), given_cached) * cached_weight
        answers = max(self.counted["generation"], self.given["generation"])

        prefill, decode = self.money["prefill"], self.money["decode"]
        of_prompts = prefill if answers else prefill + decode
        of_answers = decode if prompts else prefill + decode
        per_prompt = of_prompts / prompts if prompts else Fraction(0)
        prompt, cached = per_prompt * prompt_weight, per_prompt * cached_weight
        undivided = prompt * (1 - cached_part) + cached * cached_part
        answer = Fraction(of_answers, answers) if answers else Fraction(0)
        whole = lcm(*(price.denominator for price in (prompt, cached, undivided, answer)))
        return TokenShares(
            prompt=int(prompt * whole),
            cached=int(cached * whole),
            undivided=int(undivided * whole),
            answer=int(answer * whole),
            whole=whole,
        )


@dataclass(slots=True)
class RequestHour:
    """An hour of all ledgers."""

    dollars: Picodollars = 0
    """All cost."""
    estimated: Picodollars = 0
    """Cost at estimated prices."""
    idle: Picodollars = 0
    """Cost that no request is for."""
    unpriced: bool = False
    """Whether GPU time is unpriced."""
    pools: dict[str, ModelPool] = field(default_factory=dict)
    """Pools by model."""

    @property
    def requests(self) -> Picodollars:
        """Cost of the requests until now."""
        return sum(pool.requests for pool in self.pools.values())

    @property
    def not_in_file(self) -> Picodollars:
        """Cost of what was served beyond the requests until now."""
        return self.dollars - self.idle - self.requests

    def pool(self, names: Iterable[str]) -> ModelPool | None:
        """The pool of the first of these models that has a cost which tokens carry."""
        pools = [self.pools[name] for name in names if name in self.pools]
        return next((pool for pool in pools if sum(pool.money.values())), None)

    def add(self, fact: Fact, weights_of: WeightsOf) -> None:
        """Add a fact."""
        model = fact.model or ""
        if fact.measure in ("money of owners", "tokens") and model not in self.pools:
            self.pools[model] = ModelPool(model, weights_of(fact.server or "", model))
        match fact.measure:
            case "money of owners":
                self.dollars += fact.value
                if fact.phase in ("prefill", "decode"):
                    self.pools[model].money[fact.phase] += fact.value
                elif fact.phase not in BUSY_PHASES:
                    self.idle += fact.value
            case "money of components" if fact.basis == ESTIMATE:
                self.estimated += fact.value
            case "unpriced time":
                self.unpriced = True
            case "tokens":
                self.pools[model].counted[fact.kind or ""] += fact.value


Hours = dict[int, RequestHour]
"""By hours since 1970."""


def add_history(hours: Hours, history: Mapping[int, HistorySums], weights_of: WeightsOf) -> None:
    """Add the hours of a ledger. A model's weights are those of its first server."""
    for number, sums in sorted(history.items()):
        hour = hours.setdefault(number, RequestHour())
        facts = list(history_facts(sums))
        money = measured(facts, "money of owners")
        for fact in sorted(money, key=lambda fact: fact.owner):
            hour.add(fact, weights_of)
        for fact in facts:
            if fact.measure != "money of owners":
                hour.add(fact, weights_of)


def served(hours: Hours) -> frozenset[str]:
    """Models that a server had in any of the hours."""
    return frozenset(model for hour in hours.values() for model in hour.pools if model)

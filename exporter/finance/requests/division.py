"""The cost of an hour of a ledger, divided over the requests that ended in it. Pure.

In an hour the servers of a model are one pool: a request says which model, not which server. The pool's money
of prefill is divided over tokens of the prompt, cached ones by their weight, and its money of decode over
tokens of the answer. A phase without tokens joins the other one. Tokens are those that the ledger counted, or
those of the requests where these are more. What a log does not tell of cached tokens is as in the ledger.

What is left is not in the file: tokens beyond it, models that it has no request of, and busy time for which
nothing counted a token. Idle cost, and cost of time in which nothing was read, is apart.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import lcm
from typing import Final, NamedTuple

from exporter.cost.money import add
from exporter.cost.policy import Weights
from exporter.cost.postings import BUSY_PHASES
from exporter.finance.facts import Fact, history_facts, measured
from exporter.finance.requests.forms import LoggedRequest
from exporter.finance.requests.log_file import ModelTokens
from exporter.ledger.history import ESTIMATE, HistorySums
from exporter.readings import KINDS
from exporter.units import Picodollars

FAMILIES: Final = ("cost", "server_cost", "tokens", "unpriced", "settled")
"""Families of history that facts of an hour need."""

WeightsOf = Callable[[str, str], Weights]
"""Weights of the tokens of a server's model."""


class TokenShares(NamedTuple):
    """What a token costs in picodollars, over the common denominator `whole`."""

    prompt: int
    cached: int
    undivided: int
    """Of a token of a prompt of which the log does not tell what was cached."""
    answer: int
    whole: int
    """0 without tokens."""

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
    money: dict[str, Picodollars] = field(default_factory=dict)
    """The money that tokens carry, by phase: prefill and decode."""
    counted: dict[str, int] = field(default_factory=dict)
    """Tokens that the ledger counted, by kind."""
    given: dict[str, int] = field(default_factory=dict)
    """Tokens of requests, by kind."""
    undivided: int = 0
    """Tokens of prompts of which the log does not tell what was cached."""
    requests: Picodollars = 0
    """Cost of the requests until now."""
    _sum: int = 0
    """Shares of the requests until now."""

    def add_tokens(self, tokens: ModelTokens) -> None:
        """Add tokens of requests, before the first cost."""
        add(self.given, "prompt", tokens.prompt)
        add(self.given, "cached_prompt", tokens.cached)
        add(self.given, "generation", tokens.answer)
        self.undivided += tokens.undivided

    def cost(self, request: LoggedRequest) -> Picodollars:
        """The cost of the next request.

        Costs are differences of rounded sums: each is less than a picodollar off, and so is their sum.
        """
        if self._shares.whole == 0:
            return 0
        self._sum += self._shares.of(request)
        before = self.requests
        self.requests = self._sum // self._shares.whole
        return self.requests - before

    def excess(self) -> dict[str, int]:
        """Tokens of requests beyond those that the ledger counted, of prompts and of answers."""
        prompts = self.undivided + sum(self.given.get(kind, 0) for kind in ("prompt", "cached_prompt"))
        counted = self.counted.get("prompt", 0) + self.counted.get("cached_prompt", 0)
        answers = self.given.get("generation", 0) - self.counted.get("generation", 0)
        return {"prompt": max(0, prompts - counted), "generation": max(0, answers)}

    @cached_property
    def _shares(self) -> TokenShares:
        # Weights of a token of a prompt, and of a cached one, as integers of the same ratio.
        ratios = [weight.as_integer_ratio() for weight in (self.weights.prompt, self.weights.cached_prompt)]
        scale = lcm(*(denominator for _, denominator in ratios))
        prompt, cached = (numerator * (scale // denominator) for numerator, denominator in ratios)
        if not prompt and not cached:
            prompt, cached = 1, 1
        counted = [self.counted.get(kind, 0) for kind in KINDS]
        given = [self.given.get(kind, 0) for kind in KINDS]
        # Undivided tokens are as the ledger's: of `inputs`, so many of each kind.
        inputs = counted[0] + counted[1]
        mix = (counted[0], counted[1]) if inputs else (1, 0)
        inputs = inputs or 1
        most = [max(counted[at] * inputs, given[at] * inputs + self.undivided * mix[at]) for at in (0, 1)]
        prompts = most[0] * prompt + most[1] * cached
        answers = max(counted[2], given[2])
        prefill, decode = self.money.get("prefill", 0), self.money.get("decode", 0)
        if not prompts:
            prefill, decode = 0, prefill + decode
        elif not answers:
            prefill, decode = prefill + decode, 0
        # A token costs prefill x weight / prompts, or decode / answers.
        per_prompt = prefill * max(1, answers)
        return TokenShares(
            prompt=per_prompt * prompt * inputs,
            cached=per_prompt * cached * inputs,
            undivided=per_prompt * (prompt * mix[0] + cached * mix[1]),
            answer=decode * max(1, prompts),
            whole=max(1, prompts) * max(1, answers) if prompts or answers else 0,
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
    """Whether GPU time waits for a price."""
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
                    add(self.pools[model].money, fact.phase, fact.value)
                elif fact.phase not in BUSY_PHASES:
                    self.idle += fact.value
            case "money of components" if fact.basis == ESTIMATE:
                self.estimated += fact.value
            case "waiting time":
                self.unpriced = True
            case "tokens":
                add(self.pools[model].counted, fact.kind or "", fact.value)


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

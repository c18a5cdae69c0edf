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
from math import lcm
from typing import Final

from exporter.cost.money import add
from exporter.cost.policy import Weights
from exporter.cost.postings import BUSY_PHASES, CostOwner
from exporter.finance.requests.forms import LoggedRequest
from exporter.finance.requests.log_file import ModelTokens
from exporter.ledger.history import ESTIMATE, HistorySums
from exporter.readings import KINDS, TokenKind
from exporter.units import Picodollars

FAMILIES: Final = ("cost", "server_cost", "tokens", "unpriced", "settled")
"""The history that is needed."""

WeightsOf = Callable[[str, str], Weights]
"""Weights of the tokens of a server's model."""


@dataclass(slots=True)
class ModelPool:
    """The servers of one model in one hour: busy money by phase, and tokens.

    `money` has what tokens carry. `given` are tokens of requests by kind, `undivided` those of prompts
    of which the log does not tell what was cached.
    """

    model: str
    weights: Weights
    money: dict[str, Picodollars] = field(default_factory=dict)
    counted: dict[TokenKind, int] = field(default_factory=dict)
    given: dict[TokenKind, int] = field(default_factory=dict)
    undivided: int = 0
    requests: Picodollars = 0
    """Cost of the requests until now."""
    _shares: "_Shares | None" = field(default=None, init=False)
    _sum: int = field(default=0, init=False)

    @property
    def prefill_and_decode(self) -> Picodollars:
        """The money that tokens carry."""
        return self.money.get("prefill", 0) + self.money.get("decode", 0)

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
        if self._shares is None:
            self._shares = _Shares.of_pool(self)
        shares = self._shares
        if shares.whole == 0:
            return 0
        self._sum += shares.of(request)
        before = self.requests
        self.requests = self._sum // shares.whole
        return self.requests - before

    def excess(self) -> dict[str, int]:
        """Tokens of requests beyond those that the ledger counted, of prompts and of answers."""
        prompts = self.undivided + sum(self.given.get(kind, 0) for kind in ("prompt", "cached_prompt"))
        counted = self.counted.get("prompt", 0) + self.counted.get("cached_prompt", 0)
        answers = self.given.get("generation", 0) - self.counted.get("generation", 0)
        return {"prompt": max(0, prompts - counted), "generation": max(0, answers)}


@dataclass(frozen=True, slots=True)
class _Shares:
    """What a token costs in picodollars, over the common denominator `whole`, which is 0 without tokens."""

    prompt: int
    cached: int
    undivided: int
    answer: int
    whole: int

    def of(self, request: LoggedRequest) -> int:
        answer = request.output * self.answer
        if request.cached is None:
            return request.input * self.undivided + answer
        return (request.input - request.cached) * self.prompt + request.cached * self.cached + answer

    @classmethod
    def of_pool(cls, pool: ModelPool) -> "_Shares":
        # Weights of a token of a prompt, and of a cached one, as integers of the same ratio.
        ratios = [weight.as_integer_ratio() for weight in (pool.weights.prompt, pool.weights.cached_prompt)]
        scale = lcm(*(denominator for _, denominator in ratios))
        prompt, cached = (numerator * (scale // denominator) for numerator, denominator in ratios)
        if not prompt and not cached:
            prompt, cached = 1, 1
        counted = [pool.counted.get(kind, 0) for kind in KINDS]
        given = [pool.given.get(kind, 0) for kind in KINDS]
        # Undivided tokens are as the ledger's: of `inputs`, so many of each kind.
        inputs = counted[0] + counted[1]
        mix = (counted[0], counted[1]) if inputs else (1, 0)
        inputs = inputs or 1
        most = [max(counted[at] * inputs, given[at] * inputs + pool.undivided * mix[at]) for at in (0, 1)]
        prompts = most[0] * prompt + most[1] * cached
        answers = max(counted[2], given[2])
        prefill, decode = pool.money.get("prefill", 0), pool.money.get("decode", 0)
        if not prompts:
            prefill, decode = 0, prefill + decode
        elif not answers:
            prefill, decode = prefill + decode, 0
        # A token costs prefill x weight / prompts, or decode / answers.
        per_prompt = prefill * max(1, answers)
        return cls(
            prompt=per_prompt * prompt * inputs,
            cached=per_prompt * cached * inputs,
            undivided=per_prompt * (prompt * mix[0] + cached * mix[1]),
            answer=decode * max(1, prompts),
            whole=max(1, prompts) * max(1, answers) if prompts or answers else 0,
        )


@dataclass(slots=True)
class RequestHour:
    """An hour of all ledgers: `dollars` is its cost, `idle` the part of it that no request is for.

    `estimated` is the part at estimated prices. `other` is busy money without tokens. `unpriced`: GPU time of
    it waits for a price.
    """

    dollars: Picodollars = 0
    estimated: Picodollars = 0
    idle: Picodollars = 0
    other: Picodollars = 0
    unpriced: bool = False
    pools: dict[str, ModelPool] = field(default_factory=dict)

    @property
    def requests(self) -> Picodollars:
        """Cost of the requests until now."""
        return sum(pool.requests for pool in self.pools.values())

    @property
    def not_in_file(self) -> Picodollars:
        """Cost of what was served beyond the requests until now."""
        return self.other + sum(pool.prefill_and_decode - pool.requests for pool in self.pools.values())

    def pool(self, names: Iterable[str]) -> ModelPool | None:
        """The pool of the first of these models that has a cost which tokens carry."""
        for name in names:
            pool = self.pools.get(name)
            if pool is not None and pool.prefill_and_decode:
                return pool
        return None


Hours = dict[int, RequestHour]
"""By hours since 1970."""


def add_history(hours: Hours, history: Mapping[int, HistorySums], weights_of: WeightsOf) -> None:
    """Add the hours of a ledger. A model's weights are those of its first server."""
    for number, sums in sorted(history.items()):
        hour = hours.setdefault(number, RequestHour())
        hour.unpriced = hour.unpriced or bool(sums.waiting())
        hour.estimated += sum(sums.by_component(ESTIMATE).values())
        for (owner, phase), amount in sorted(sums.cost.items()):
            hour.dollars += amount
            pool = _pool(hour, owner, weights_of)
            if phase in {"prefill", "decode"}:
                add(pool.money, phase, amount)
            elif phase in BUSY_PHASES:
                hour.other += amount
            else:
                hour.idle += amount
        for (owner, kind), count in sums.tokens.items():
            add(_pool(hour, owner, weights_of).counted, kind, count)


def _pool(hour: RequestHour, owner: CostOwner, weights_of: WeightsOf) -> ModelPool:
    pool = hour.pools.get(owner.model)
    if pool is None:
        pool = hour.pools[owner.model] = ModelPool(owner.model, weights_of(owner.server, owner.model))
    return pool


def served(hours: Hours) -> frozenset[str]:
    """Models that a server had in any of the hours."""
    return frozenset(model for hour in hours.values() for model in hour.pools if model)

"""Gateway division: the cost and tokens of a server's model, divided by a gateway's counts.

Prompt tokens weigh the same whether cached or not, unless the gateway counts cached ones. What the gateway
did not count stays with the server's owner.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Final, NamedTuple

from exporter.cost.money import WHOLE, add, portions, split
from exporter.cost.policy import CostPolicy, Weights
from exporter.cost.postings import OTHER, CostOwner
from exporter.cost.server_deltas import ServerDelta, ServerDeltas
from exporter.cost.split import HALF_LIFE
from exporter.cost.state import DivisionState, GatewayState, ServerState
from exporter.readings import Division, GatewayCount, GatewayCounter, Quantity, Role, ServerKey, TokenKind
from exporter.tariff.terms import matches
from exporter.units import Nanoseconds


class PoolMember(NamedTuple):
    """One model of one server, which a gateway sends requests to."""

    server: ServerKey
    model: str


class GatewayPools:
    """Servers and models that are compared with a gateway's counts together."""

    def __init__(self, deltas: ServerDeltas) -> None:
        self._servers = {server.key: server for server in deltas.servers}
        self._deployments: dict[str, set[str]] = {}
        divided = [(server, server.state.division) for server in deltas.servers]
        for _, division in divided:
            if division is not None:
                self._deployments.setdefault(division.gateway, set()).update(division.deployments)
        pools: dict[tuple[str, str, str], set[PoolMember]] = {}
        for server, division in divided:
            if division is None:
                continue
            url = division.gateway
            for model, deployment, _ in deltas.gateways.get(url, GatewayState()).counts:
                served = served_model(division, model, deployment, server.served, self.deployments(url))
                if served is not None:
                    member = PoolMember(server.key, served)
                    pools.setdefault((url, model, deployment), set()).add(member)
        self._pools: dict[PoolMember, set[PoolMember]] = {}
        for pool in pools.values():
            for member in pool:
                self._pools.setdefault(member, set()).update(pool)

    def deployments(self, gateway: str) -> Collection[str]:
        """The deployments of a gateway that the configuration of some server names."""
        return self._deployments.get(gateway, ())

    def peer_tokens(self, key: ServerKey, model: str) -> list[Mapping[TokenKind, int]]:
        """Tokens of this tick of the others in the pool of a server's model."""
        served = PoolMember(key, model)
        others = self._pools.get(served, set()) - {served}
        return [self._servers[other.server].tokens(other.model) for other in sorted(others)]


def served_model(
    division: Division, model: str, deployment: str, served: Collection[str], named: Collection[str]
) -> str | None:
    """The model of a server that gets the requests of a gateway's model and deployment; `None`: none.

    Args:
        division: what the server is divided by.
        model: its name at the gateway.
        deployment: its id, empty where the gateway reports none.
        served: the models that the server serves.
        named: deployments that some server names. They lead to no server that names none.
    """
    if deployment not in division.deployments if division.deployments else deployment in named:
        return None
    if model in served:
        return model
    if len(served) == 1 and any(matches(pattern, model) for pattern in division.models):
        return next(iter(served))
    return None


OWN: Final = ""
"""The name of the server's own owner: in sums all tokens served, in shares what no gateway named."""

TRAILING_WEIGHT_MIN: Final = 2.0**-96
"""Smallest part of a trailing sum that keeps its place: a day of half-lives leaves it."""


class OwnerQuota:
    """Places left for cost owners that gateways add to a host."""

    def __init__(self, limit: int, servers: Iterable[ServerState]) -> None:
        divisions = (model.division for server in servers for model in server.models.values())
        self.left = limit - sum(len({*state.trailing, *state.pending} - {OWN, OTHER}) for state in divisions)

    def admit(self, name: str, known: Collection[str]) -> str:
        """The name that is counted: its own, first come first served, else `other`."""
        if name in known or name == OTHER:
            return name
        self.left -= 1
        return name if self.left >= 0 else OTHER


class Divider:
    """Division of all servers in one tick.

    Args:
        policy: who owns a server, and the weights of its tokens.
        elapsed: since the last tick.
        deltas: what servers and gateways counted in the tick.
        quota: places left for owners.
    """

    def __init__(
        self, policy: CostPolicy, elapsed: Nanoseconds, deltas: ServerDeltas, quota: OwnerQuota
    ) -> None:
        self._policy = policy
        self._elapsed = elapsed
        self._pools = GatewayPools(deltas)
        self._ticks = deltas.gateway_ticks
        self._quota = quota
        self._gateway_tokens = {
            server.key: self._tokens_of(server, server.state.division)
            for server in deltas.servers
            if server.state.division is not None
        }

    def advance(
        self, server: ServerDelta, division: Division, model: str, state: DivisionState
    ) -> tuple[DivisionState, dict[CostOwner, int]]:
        """Advance the sums of one model of a divided server by one tick.

        Returns:
            The sums, and the parts of `money.WHOLE` by cost owner.
        """
        key = server.key
        weights = self._policy.split_rule(key.server, model).weights
        served = (server.tokens(model), *self._pools.peer_tokens(key, model))
        prompt = sum(tokens.get("prompt", 0) + tokens.get("cached_prompt", 0) for tokens in served)
        generation = sum(tokens.get("generation", 0) for tokens in served)
        cached = sum(tokens.get("cached_prompt", 0) for tokens in served) if division.cached else 0
        weighted = {OWN: _weigh(prompt, generation, cached, weights, server.state.role)}
        names = {*state.trailing, *state.pending}
        for name, weight in self._gateway_tokens[key].get(model, {}).items():
            admitted = self._quota.admit(name, names)
            names.add(admitted)
            weighted[admitted] = weighted.get(admitted, 0.0) + weight
        tick = self._ticks.get(division.gateway)
        read = tick is not None and tick.counts is not None and server.up
        first = tick is not None and tick.first
        after = _trail(state, weighted, self._elapsed, read=read, first=first)
        return after, owner_parts(after, division, key, model=model, policy=self._policy)

    def _tokens_of(self, server: ServerDelta, division: Division) -> dict[str, dict[str, float]]:
        """Weighted tokens that the gateway counted for a server in this tick, by model and owner name."""
        url = division.gateway
        tick = self._ticks.get(url)
        tokens: dict[str, dict[str, float]] = {}
        for count in (tick and tick.counts) or ():
            consumer = consumer_of(division, count, server.served, self._pools.deployments(url))
            if consumer is not None:
                model, name = consumer
                weights = self._policy.split_rule(server.key.server, model).weights
                by_name = tokens.setdefault(model, {})
                weight = _weigh(count.prompt, count.generation, count.cached, weights, server.state.role)
                by_name[name] = by_name.get(name, 0.0) + weight
        return tokens


def shares(state: DivisionState) -> dict[str, int]:
    """The parts of `money.WHOLE` by owner name: of the tokens served, or of all that are named if more.

    A gateway can count more than its servers: it counts requests as they end, and has other servers.
    Before the first comparison all is the server's own.
    """
    served = state.trailing.get(OWN, 0.0)
    named = {name: weight for name, weight in state.trailing.items() if name != OWN}
    named_sum = sum(named.values())
    whole = max(served, named_sum)
    if whole <= 0:
        return {OWN: WHOLE}
    weights = {**named, OWN: max(0.0, served - named_sum)}
    parts = portions({name: round(weight / whole * WHOLE) for name, weight in weights.items()})
    return {name: part for name, part in parts.items() if part > 0}


def owner_parts(
    state: DivisionState, division: Division, server: ServerKey, *, model: str, policy: CostPolicy
) -> dict[CostOwner, int]:
    """The parts of `money.WHOLE` of a server's model by cost owner, as its trailing sums divide it."""
    parts: dict[CostOwner, int] = {}
    for name, part in shares(state).items():
        if name == OWN:
            owner = policy.owner_of(server, model)
        elif division.by == "adapter":
            owner = policy.owner_of(server, name)
        else:
            owner = policy.owner_of(server, model, name)
        add(parts, owner, part)
    return parts


def divide_counts(
    amounts: Mapping[Quantity, int],
    parts: Mapping[CostOwner, int],
    rounding: Mapping[Quantity, Mapping[CostOwner, int]],
) -> tuple[dict[Quantity, dict[CostOwner, int]], dict[Quantity, Mapping[CostOwner, int]]]:
    """Counts by owner that sum to `amounts`, and the rounding that each owner carries to the next ones."""
    counts: dict[Quantity, dict[CostOwner, int]] = {}
    after = dict(rounding)
    for quantity, amount in amounts.items():
        counts[quantity], after[quantity] = split(amount, parts, rounding.get(quantity))
    return counts, after


def consumer_of(
    division: Division, count: GatewayCount | GatewayCounter, served: Collection[str], named: Collection[str]
) -> tuple[str, str] | None:
    """The server's model and the owner name of a gateway's count; `None` where it has neither.

    `named` are the deployments that servers of this gateway name.
    """
    model = served_model(division, count.model, count.deployment, served, named)
    if model is None:
        return None
    name = count.team
    if division.by == "adapter":
        name = count.model if count.model not in served else OWN
    return (model, name) if name != OWN else None


def _weigh(prompt: float, generation: float, cached: float, weights: Weights, role: Role) -> float:
    """Weighted tokens, without those of the other server of a disaggregated pair.

    `cached` are those of `prompt` that weigh as cached ones.
    """
    computed = max(0.0, prompt - cached) * float(weights.prompt)
    prefill = 0.0 if role == "decode" else computed + min(prompt, cached) * float(weights.cached_prompt)
    return prefill + (0.0 if role == "prefill" else generation * float(weights.generation))


def _trail(
    state: DivisionState, tokens: Mapping[str, float], elapsed: Nanoseconds, *, read: bool, first: bool
) -> DivisionState:
    """Add tokens to the trailing sums. While one side is not read they wait for its next good read."""
    since = state.since + elapsed
    pending = dict(state.pending)
    for name, weight in tokens.items():
        pending[name] = pending.get(name, 0.0) + weight
    if first:
        return replace(state, pending={}, since=since)
    if not read or not any(pending.values()):
        return replace(state, pending={name: w for name, w in pending.items() if w}, since=since)
    decay = 0.5 ** (since / HALF_LIFE)
    summed = {name: weight * decay for name, weight in state.trailing.items()}
    for name, weight in pending.items():
        summed[name] = summed.get(name, 0.0) + weight
    least = max(summed.values()) * TRAILING_WEIGHT_MIN
    trailing = {name: weight for name, weight in summed.items() if weight > least}
    return replace(state, trailing=trailing, pending={}, since=0)

"""Gateway division: the cost and tokens of a server's model, divided by a gateway's counts.

A gateway counts tokens by tenant: a team, or an adapter where `Division.by` is `adapter`. Two sides are
compared for each model, as trailing sums of weighted tokens:

    served     what the server counted, and the other servers that get requests of the same gateway model
    by tenant  what the gateway counted for these requests

Tokens that the gateway did not count stay with the server's own owner. Prompt tokens weigh the same whether
cached or not, unless the gateway counts cached ones.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Final, NamedTuple

from exporter.cost.money import WHOLE, add, portions
from exporter.cost.policy import CostPolicy, Weights
from exporter.cost.postings import OTHER, CostOwner
from exporter.cost.server_deltas import ServerDelta, ServerDeltas
from exporter.cost.split import HALF_LIFE
from exporter.cost.state import UNDIVIDED, DivisionState, GatewayState, ServerState
from exporter.readings import Division, GatewayCount, GatewayCounter, Role, ServerKey, TokenKind
from exporter.tariff.terms import matches
from exporter.units import Nanoseconds

OWN: Final = ""
"""The server's own owner: its sum has all tokens served, its share those that no tenant got."""

TRAILING_WEIGHT_MIN: Final = 2.0**-96
"""Smallest part of a trailing sum that keeps its place: a day of half-lives leaves it."""


class OwnerShares(NamedTuple):
    """The cost owners of one model of a server after a tick."""

    sums: DivisionState
    """Trailing sums by tenant, with the tokens of this tick; `UNDIVIDED` without a gateway."""
    by_owner: Mapping[CostOwner, int]
    """Parts of `money.WHOLE` by cost owner."""


class PoolMember(NamedTuple):
    """One model of one server, which a gateway sends requests to."""

    server: ServerKey
    model: str


class GatewayPools:
    """Servers and models that are compared with a gateway's counts together."""

    def __init__(self, deltas: ServerDeltas) -> None:
        self._servers = {server.key: server for server in deltas.servers}
        self._deployments: dict[str, set[str]] = {}
        divided = [(server, server.division) for server in deltas.servers]
        for _, division in divided:
            if division is not None:
                self._deployments.setdefault(division.gateway, set()).update(division.deployments)
        pools: dict[tuple[str, str, str], set[PoolMember]] = {}
        for server, division in divided:
            if division is None:
                continue
            url = division.gateway
            for model, deployment, _ in deltas.gateways.get(url, GatewayState()).counts:
                served = served_model(
                    division, model, deployment, server.served_models, self.deployments(url)
                )
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
    elsewhere = deployment not in division.deployments if division.deployments else deployment in named
    if elsewhere:
        return None
    if model in served:
        return model
    if len(served) == 1 and any(matches(pattern, model) for pattern in division.models):
        return next(iter(served))
    return None


class OwnerQuota:
    """Places left for tenants that gateways add to a host: each is a cost owner."""

    def __init__(self, limit: int, servers: Iterable[ServerState]) -> None:
        divisions = (model.division for server in servers for model in server.models.values())
        self.left = limit - sum(len({*sums.trailing, *sums.pending} - {OWN, OTHER}) for sums in divisions)

    def admit(self, tenant: str, known: Collection[str]) -> str:
        """The name that a tenant is counted under: its own, first come first served, else `other`."""
        if tenant in known or tenant == OTHER:
            return tenant
        self.left -= 1
        return tenant if self.left >= 0 else OTHER


def divide_servers(
    servers: Mapping[ServerKey, ServerState],
    deltas: ServerDeltas,
    *,
    elapsed: Nanoseconds,
    policy: CostPolicy,
) -> dict[ServerKey, dict[str, OwnerShares]]:
    """The shares of every model of every server in a tick. Without a gateway a model has one cost owner.

    `policy` bounds the tenants of a host. Tenants in the states before the tick, `servers`, have places.
    New tenants get the places left, in the order of servers and models.
    """
    quota = OwnerQuota(policy.limits.parties, servers.values())
    divider = _Divider(deltas, quota, elapsed=elapsed, policy=policy)
    return {
        server.key: {model: divider.admit_and_advance(server, model) for model in server.models}
        for server in deltas.servers
    }


class _Divider:
    """Division of all servers in one tick."""

    def __init__(
        self, deltas: ServerDeltas, quota: OwnerQuota, *, elapsed: Nanoseconds, policy: CostPolicy
    ) -> None:
        self._policy = policy
        self._elapsed = elapsed
        self._pools = GatewayPools(deltas)
        self._gateway_ticks = deltas.gateway_ticks
        self._quota = quota
        self._tenant_tokens = {
            server.key: self._tenant_tokens_of(server, server.division)
            for server in deltas.servers
            if server.division is not None
        }

    def admit_and_advance(self, server: ServerDelta, model: str) -> OwnerShares:
        """Advance the trailing sums of one model by one tick. New tenants take places of the quota."""
        division = server.division
        if division is None:
            return OwnerShares(UNDIVIDED, {self._policy.owner_of(server.key, model): WHOLE})
        before = server.models_before[model].division
        weights = self._policy.split_rule(server.key.server, model).weights
        served = (server.tokens(model), *self._pools.peer_tokens(server.key, model))
        prompt = sum(tokens.get("prompt", 0) + tokens.get("cached_prompt", 0) for tokens in served)
        generation = sum(tokens.get("generation", 0) for tokens in served)
        cached = sum(tokens.get("cached_prompt", 0) for tokens in served) if division.cached else 0
        weighted = {OWN: _weigh(prompt, generation, cached, weights, server.role)}
        known = {*before.trailing, *before.pending}
        for tenant, weight in self._tenant_tokens[server.key].get(model, {}).items():
            admitted = self._quota.admit(tenant, known)
            known.add(admitted)
            weighted[admitted] = weighted.get(admitted, 0.0) + weight
        gateway = self._gateway_ticks.get(division.gateway)
        both_read = gateway is not None and gateway.counts is not None and server.up
        sets_marks = gateway is not None and gateway.first
        sums = _trail(before, weighted, self._elapsed, both_read=both_read, sets_marks=sets_marks)
        parts = owner_parts(sums, division, server.key, model=model, policy=self._policy)
        return OwnerShares(sums, parts)

    def _tenant_tokens_of(self, server: ServerDelta, division: Division) -> dict[str, dict[str, float]]:
        """Weighted tokens that the gateway counted for a server in this tick, by model and tenant."""
        gateway = self._gateway_ticks.get(division.gateway)
        counts = None if gateway is None else gateway.counts
        named = self._pools.deployments(division.gateway)
        tokens: dict[str, dict[str, float]] = {}
        for count in counts or ():
            consumer = consumer_of(division, count, server.served_models, named)
            if consumer is not None:
                weights = self._policy.split_rule(server.key.server, consumer.model).weights
                weight = _weigh(count.prompt, count.generation, count.cached, weights, server.role)
                by_tenant = tokens.setdefault(consumer.model, {})
                by_tenant[consumer.tenant] = by_tenant.get(consumer.tenant, 0.0) + weight
        return tokens


def tenant_parts(sums: DivisionState) -> dict[str, int]:
    """The parts of `money.WHOLE` by tenant: of the tokens served, or of all that tenants have if more.

    A gateway can count more than its servers: it counts requests as they end, and has other servers.
    Before the first comparison all is the server's own.
    """
    served = sums.trailing.get(OWN, 0.0)
    tenants = {tenant: weight for tenant, weight in sums.trailing.items() if tenant != OWN}
    tenant_sum = sum(tenants.values())
    whole = max(served, tenant_sum)
    if whole <= 0:
        return {OWN: WHOLE}
    weights = {**tenants, OWN: max(0.0, served - tenant_sum)}
    parts = portions({tenant: round(weight / whole * WHOLE) for tenant, weight in weights.items()})
    return {tenant: part for tenant, part in parts.items() if part > 0}


def owner_parts(
    sums: DivisionState, division: Division | None, server: ServerKey, *, model: str, policy: CostPolicy
) -> dict[CostOwner, int]:
    """The parts of `money.WHOLE` of a server's model by cost owner, as its trailing sums divide it.

    Without a gateway the server's own owner has all.
    """
    if division is None:
        return {policy.owner_of(server, model): WHOLE}
    parts: dict[CostOwner, int] = {}
    for tenant, part in tenant_parts(sums).items():
        if tenant == OWN:
            owner = policy.owner_of(server, model)
        elif division.by == "adapter":
            owner = policy.owner_of(server, tenant)
        else:
            owner = policy.owner_of(server, model, tenant)
        add(parts, owner, part)
    return parts


class Consumer(NamedTuple):
    """Whom a gateway counts tokens for, at a server."""

    model: str
    """The model of the server."""
    tenant: str
    """A team or an adapter."""


def consumer_of(
    division: Division, count: GatewayCount | GatewayCounter, served: Collection[str], named: Collection[str]
) -> Consumer | None:
    """Whom a gateway's count is for at a server; `None` where it has no model there, or no tenant.

    `served` are the models of the server, `named` the deployments that servers of this gateway name.
    """
    model = served_model(division, count.model, count.deployment, served, named)
    if model is None:
        return None
    tenant = count.team
    if division.by == "adapter":
        tenant = count.model if count.model not in served else OWN
    return Consumer(model, tenant) if tenant != OWN else None


def _weigh(prompt: float, generation: float, cached: float, weights: Weights, role: Role) -> float:
    """Weighted tokens, without those of the other server of a disaggregated pair.

    `cached` are those of `prompt` that weigh as cached ones.
    """
    computed = max(0.0, prompt - cached) * float(weights.prompt)
    prefill = 0.0 if role == "decode" else computed + min(prompt, cached) * float(weights.cached_prompt)
    return prefill + (0.0 if role == "prefill" else generation * float(weights.generation))


def _trail(
    before: DivisionState,
    tokens: Mapping[str, float],
    elapsed: Nanoseconds,
    *,
    both_read: bool,
    sets_marks: bool,
) -> DivisionState:
    """Add the weighted tokens of a tick to the trailing sums, once server and gateway were `both_read`.

    Until then tokens are pending. A read of the gateway that only `sets_marks` drops pending tokens: the
    gateway has no count of them.
    """
    since = before.since + elapsed
    pending = dict(before.pending)
    for tenant, weight in tokens.items():
        pending[tenant] = pending.get(tenant, 0.0) + weight
    if sets_marks:
        return replace(before, pending={}, since=since)
    if not both_read or not any(pending.values()):
        nonzero = {tenant: weight for tenant, weight in pending.items() if weight}
        return replace(before, pending=nonzero, since=since)
    decay = 0.5 ** (since / HALF_LIFE)
    summed = {tenant: weight * decay for tenant, weight in before.trailing.items()}
    for tenant, weight in pending.items():
        summed[tenant] = summed.get(tenant, 0.0) + weight
    least = max(summed.values()) * TRAILING_WEIGHT_MIN
    trailing = {tenant: weight for tenant, weight in summed.items() if weight > least}
    return replace(before, trailing=trailing, pending={}, since=0)

"""Gateway division: how a gateway's counts divide what a model of a server cost and served."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from exporter.cost.counters import GatewayTick
from exporter.cost.money import WHOLE, portions, split
from exporter.cost.policy import CostPolicy, Weights, matches
from exporter.cost.postings import OTHER, CostOwner
from exporter.cost.split import HALF_LIFE
from exporter.cost.state import DivisionState, GatewayState, ServerState
from exporter.readings import Division, GatewayCount, GatewayCounter, Kind, Quantity, Role, ServerKey
from exporter.units import Nanoseconds


@dataclass(frozen=True, slots=True)
class PoolMember:
    """A server that a gateway divides, in one tick: the models that it serves, and its tokens of each."""

    key: ServerKey
    division: Division
    served: Collection[str]
    tokens: Mapping[str, Mapping[Kind, int]]


class GatewayPools:
    """Who is compared together with whom in one tick."""

    def __init__(self, members: Iterable[PoolMember], gateways: Mapping[str, GatewayState]) -> None:
        self._members = {member.key: member for member in members}
        self._named: dict[str, set[str]] = {}
        by_gateway: dict[str, list[PoolMember]] = {}
        for member in self._members.values():
            url = member.division.gateway
            self._named.setdefault(url, set()).update(member.division.deployments)
            by_gateway.setdefault(url, []).append(member)
        self._together: dict[tuple[ServerKey, str], set[tuple[ServerKey, str]]] = {}
        for url, here in by_gateway.items():
            if len(here) > 1:
                self._join(here, gateways.get(url, GatewayState()))

    def named(self, gateway: str) -> Collection[str]:
        """The deployments of a gateway that some server's entry names as its own."""
        return self._named.get(gateway, ())

    def beside(self, key: ServerKey, model: str) -> list[Mapping[Kind, int]]:
        """What the others counted in this tick that a server's model is compared together with."""
        others = self._together.get((key, model), set()) - {(key, model)}
        return [self._members[other].tokens.get(name, {}) for other, name in sorted(others)]

    def _join(self, members: Iterable[PoolMember], gateway: GatewayState) -> None:
        named = self.named(next(iter(members)).division.gateway)
        for model, deployment in sorted({(model, deployment) for model, deployment, _ in gateway.counts}):
            led = set()
            for member in members:
                found = served_model(member.division, model, deployment, member.served, named)
                if found is not None:
                    led.add((member.key, found))
            for one in led:
                self._together.setdefault(one, set()).update(led)


def served_model(
    division: Division, model: str, deployment: str, served: Collection[str], named: Collection[str]
) -> str | None:
    """The model of a server that requests for a gateway's model and deployment come to, `None`: none.

    Args:
        division: what the server is divided by.
        model: as the gateway calls it.
        deployment: its id, empty where none is told.
        served: the models that the server serves.
        named: deployments that servers name as theirs; they lead to no server that names none.
    """
    if deployment not in division.deployments if division.deployments else deployment in named:
        return None
    if model in served:
        return model
    if len(served) == 1 and any(matches(pattern, model) for pattern in division.models):
        return next(iter(served))
    return None


OWN: Final = ""
"""Who is nobody that a gateway names: among sums what its servers served, among shares a server's owner."""

FORGOTTEN: Final = 2.0**-96
"""The part of a trailing sum that a day of half-lives leaves: who has less of it gives its place away."""


class OwnerQuota:
    """The places that are left for parties that gateways add to a host."""

    def __init__(self, limit: int, servers: Iterable[ServerState]) -> None:
        taken = (model.division for server in servers for model in server.models.values())
        self.left = limit - sum(len({*one.trailing, *one.pending} - {OWN, OTHER}) for one in taken)

    def admit(self, name: str, known: Collection[str]) -> str:
        """The name that is counted: its own, first come first served, else `other`."""
        if name in known or name == OTHER:
            return name
        self.left -= 1
        return name if self.left >= 0 else OTHER


@dataclass(frozen=True, slots=True)
class ServerDivision:
    """How one server is divided in one tick.

    `named` are the tokens by weight that the gateway counted, by model and by whom it names. `read`: it and
    the server were both read. `first`: nothing is known of what came before this read of the gateway.
    `pools` know what other servers counted that the gateway leads to as well.
    """

    key: ServerKey
    division: Division | None
    terms: CostPolicy
    elapsed: Nanoseconds
    role: Role
    places: OwnerQuota
    pools: GatewayPools
    named: Mapping[str, Mapping[str, float]]
    read: bool
    first: bool

    def advance(
        self, model: str, state: DivisionState, counts: Mapping[Kind, int]
    ) -> tuple[DivisionState, dict[CostOwner, int]]:
        """Move a model's sums on by one tick.

        Returns:
            The sums, and the parties of the model with their parts of `money.WHOLE`.
        """
        owner = self.terms.party(self.key, model)
        if self.division is None:
            return DivisionState(), {owner: WHOLE}
        weights = self.terms.split_rule(self.key.server, model).weights
        served = (counts, *self.pools.beside(self.key, model))
        prompt = sum(told.get("prompt", 0) + told.get("cached_prompt", 0) for told in served)
        generation = sum(told.get("generation", 0) for told in served)
        tokens = {OWN: _weigh(prompt, generation, weights, self.role)}
        known = {*state.trailing, *state.pending}
        for name, weight in self.named.get(model, {}).items():
            counted = self.places.admit(name, known)
            known.add(counted)
            tokens[counted] = tokens.get(counted, 0.0) + weight
        after = _trail(state, tokens, self.elapsed, read=self.read, first=self.first)
        parts: dict[CostOwner, int] = {}
        for name, part in shares(after).items():
            who = owner if name == OWN else self._party(self.division, model, name)
            parts[who] = parts.get(who, 0) + part
        return after, parts

    def _party(self, division: Division, model: str, name: str) -> CostOwner:
        if division.by == "adapter":
            return self.terms.party(self.key, name)
        return self.terms.party(self.key, model, name)


def server_division(
    key: ServerKey,
    division: Division | None,
    ticks: Mapping[str, GatewayTick],
    served: Collection[str],
    terms: CostPolicy,
    elapsed: Nanoseconds,
    role: Role,
    places: OwnerQuota,
    pools: GatewayPools,
    *,
    up: bool,
) -> ServerDivision:
    """How a server is divided in this tick.

    Args:
        key: the server.
        division: what it is divided by, `None` for what it is not.
        ticks: of the gateways that were read.
        served: the models that the server serves.
        terms: who owns it, and what tokens weigh.
        elapsed: since the last tick.
        role: its part of a pair.
        places: that are left for parties.
        pools: which servers one count leads to.
        up: it was read.
    """
    tick = None if division is None else ticks.get(division.gateway)
    named: dict[str, dict[str, float]] = {}
    if division is not None and tick is not None:
        for count in tick.moved:
            found = consumer_of(division, count, served, pools.named(division.gateway))
            if found is not None:
                model, name = found
                weights = terms.split_rule(key.server, model).weights
                of_model = named.setdefault(model, {})
                weight = _weigh(count.prompt, count.generation, weights, role)
                of_model[name] = of_model.get(name, 0.0) + weight
    first = tick is not None and tick.first
    read = tick is not None and up
    return ServerDivision(key, division, terms, elapsed, role, places, pools, named, read, first)


def shares(state: DivisionState) -> dict[str, int]:
    """The part of each in parts of `money.WHOLE`: of what was served, or of all that is named if more.

    A gateway that counts more than its servers (it tells requests as they end, and leads elsewhere too)
    divides all of it; one that was never compared, nothing.
    """
    served = state.trailing.get(OWN, 0.0)
    named = {name: weight for name, weight in state.trailing.items() if name != OWN}
    told = sum(named.values())
    whole = max(served, told)
    if whole <= 0:
        return {OWN: WHOLE}
    weights = {**named, OWN: max(0.0, served - told)}
    parts = portions({name: round(weight / whole * WHOLE) for name, weight in weights.items()})
    return {name: part for name, part in parts.items() if part > 0}


def divide_counts(
    amounts: Mapping[Quantity, int],
    parts: Mapping[CostOwner, int],
    owed: Mapping[Quantity, Mapping[CostOwner, int]],
) -> tuple[dict[Quantity, dict[CostOwner, int]], dict[Quantity, Mapping[CostOwner, int]]]:
    """Counts by party that sum to what was counted, and what rounding owes each for the next ones."""
    found: dict[Quantity, dict[CostOwner, int]] = {}
    after = dict(owed)
    for what, amount in amounts.items():
        found[what], after[what] = split(amount, parts, owed.get(what))
    return found, after


def consumer_of(
    division: Division, count: GatewayCount | GatewayCounter, served: Collection[str], named: Collection[str]
) -> tuple[str, str] | None:
    """The model of the server that a count is about, and whom it names; `None`: neither is known.

    `named` are the deployments that servers of this gateway name as theirs.
    """
    model = served_model(division, count.model, count.deployment, served, named)
    if model is None:
        return None
    name = count.team
    if division.by == "adapter":
        name = count.model if count.model not in served else OWN
    return (model, name) if name != OWN else None


def _weigh(prompt: float, generation: float, weights: Weights, role: Role) -> float:
    """Tokens by weight; those of a pair's other half are not counted."""
    read = 0.0 if role == "decode" else prompt * float(weights.prompt)
    return read + (0.0 if role == "prefill" else generation * float(weights.generation))


def _trail(
    state: DivisionState, tokens: Mapping[str, float], elapsed: Nanoseconds, *, read: bool, first: bool
) -> DivisionState:
    """While only one side is read, both wait: what the other missed arrives with its next good read."""
    since = state.since + elapsed
    waiting = dict(state.pending)
    for name, weight in tokens.items():
        waiting[name] = waiting.get(name, 0.0) + weight
    if first:
        return replace(state, pending={}, since=since)
    if not read or not any(waiting.values()):
        return replace(state, pending={name: w for name, w in waiting.items() if w}, since=since)
    decay = 0.5 ** (since / HALF_LIFE)
    summed = {name: weight * decay for name, weight in state.trailing.items()}
    for name, weight in waiting.items():
        summed[name] = summed.get(name, 0.0) + weight
    least = max(summed.values()) * FORGOTTEN
    kept = {name: weight for name, weight in summed.items() if weight > least}
    return replace(state, trailing=kept, pending={}, since=0)

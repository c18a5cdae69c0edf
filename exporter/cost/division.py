"""How a gateway's counts divide what one model of a server cost and served.

Of what the servers that the gateway leads to served lately, each one whom it names has the part that it
counted for it, and what it did not see stays with the server's owner. Tokens are compared by weight. Prompts
weigh the same whether they were cached or not, since a gateway cannot tell.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from exporter.cost.money import WHOLE, portions, split
from exporter.cost.policy import Terms, Weights
from exporter.cost.pools import Pools, leads
from exporter.cost.postings import OTHER, Party
from exporter.cost.split import HALF_LIFE
from exporter.cost.state import DivisionState, ServerState
from exporter.cost.tallies import GatewayTick
from exporter.readings import Division, GatewayCount, GatewayCounter, Kind, Quantity, Role, ServerKey
from exporter.units import Nanoseconds

OWN: Final = ""
"""Who is nobody that a gateway names: among sums what its servers served, among shares a server's owner."""

FORGOTTEN: Final = 2.0**-96
"""The part of a trailing sum that a day of half-lives leaves: who has less of it gives its place away."""


class Places:
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
class Dividing:
    """How one server is divided in one tick.

    `named` are the tokens by weight that the gateway counted, by model and by whom it names. `read`: it and
    the server were both read. `first`: nothing is known of what came before this read of the gateway.
    `pools` know what other servers counted that the gateway leads to as well.
    """

    key: ServerKey
    division: Division | None
    terms: Terms
    elapsed: Nanoseconds
    role: Role
    places: Places
    pools: Pools
    named: Mapping[str, Mapping[str, float]]
    read: bool
    first: bool

    def advance(
        self, model: str, state: DivisionState, counts: Mapping[Kind, int]
    ) -> tuple[DivisionState, dict[Party, int]]:
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
        parts: dict[Party, int] = {}
        for name, part in shares(after).items():
            who = owner if name == OWN else self._party(self.division, model, name)
            parts[who] = parts.get(who, 0) + part
        return after, parts

    def _party(self, division: Division, model: str, name: str) -> Party:
        if division.by == "adapter":
            return self.terms.party(self.key, name)
        return self.terms.party(self.key, model, name)


def dividing(
    key: ServerKey,
    division: Division | None,
    ticks: Mapping[str, GatewayTick],
    served: Collection[str],
    terms: Terms,
    elapsed: Nanoseconds,
    role: Role,
    places: Places,
    pools: Pools,
    *,
    up: bool,
) -> Dividing:
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
            found = whom(division, count, served, pools.named(division.gateway))
            if found is not None:
                model, name = found
                weights = terms.split_rule(key.server, model).weights
                of_model = named.setdefault(model, {})
                weight = _weigh(count.prompt, count.generation, weights, role)
                of_model[name] = of_model.get(name, 0.0) + weight
    first = tick is not None and tick.first
    read = tick is not None and up
    return Dividing(key, division, terms, elapsed, role, places, pools, named, read, first)


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


def divided(
    amounts: Mapping[Quantity, int], parts: Mapping[Party, int], owed: Mapping[Quantity, Mapping[Party, int]]
) -> tuple[dict[Quantity, dict[Party, int]], dict[Quantity, Mapping[Party, int]]]:
    """Counts by party that sum to what was counted, and what rounding owes each for the next ones."""
    found: dict[Quantity, dict[Party, int]] = {}
    after = dict(owed)
    for what, amount in amounts.items():
        found[what], after[what] = split(amount, parts, owed.get(what))
    return found, after


def whom(
    division: Division, count: GatewayCount | GatewayCounter, served: Collection[str], named: Collection[str]
) -> tuple[str, str] | None:
    """The model of the server that a count is about, and whom it names; `None`: neither is known.

    `named` are the deployments that servers of this gateway name as theirs.
    """
    model = leads(division, count.model, count.deployment, served, named)
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

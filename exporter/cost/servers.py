"""Servers of one tick: what they add to the totals, and how their money divides over models and owners. Pure.

`advance_servers` calls, and hands on what each returns:

    server_deltas.collect_deltas        what all endpoints counted in the tick, by server and model
    then for each model of each server:
      Divider.advance, divide_counts    its cost owners, where a gateway divides the server
      split.advance_model               its trailing sums, and the phases of its busy money

`server_states` keeps what the next tick begins with. Parts are integers that sum to `money.WHOLE`, 10**9.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from exporter.cost import split
from exporter.cost.division import Divider, OwnerQuota, divide_counts, owner_parts
from exporter.cost.intervals import TickTime
from exporter.cost.money import WHOLE, portions
from exporter.cost.policy import CostPolicy
from exporter.cost.postings import (
    CostOwner,
    HostedEquivalent,
    LatencyPosting,
    RequestPosting,
    TokenPosting,
    equivalents,
)
from exporter.cost.server_deltas import NEW_MODEL, ServerDelta, ServerDeltas, collect_deltas
from exporter.cost.split import PhaseSplit
from exporter.cost.state import UNDIVIDED, ModelState, ServerState, State
from exporter.readings import KINDS, Frame, LoadReading, ServerKey

NO_MODEL: Final = ""
"""The model of a server that never reported one."""


@dataclass(frozen=True, slots=True)
class ServerActivity:
    """What one server did in a tick, and by whom the GPU time that it held is paid."""

    key: ServerKey
    up: bool = False
    """Whether some endpoint answered."""
    running: bool | None = None
    """Whether requests were running when the server was read, `None` where that is unknown."""
    moved: bool = False
    """Whether tokens moved."""
    busy_models: Mapping[str, int] = field(default_factory=lambda: {NO_MODEL: WHOLE})
    """Parts of the server's busy time by model."""
    idle_models: Mapping[str, int] = field(default_factory=lambda: {NO_MODEL: WHOLE})
    """Parts of the server's idle time by model."""
    splits: Mapping[str, PhaseSplit] = field(default_factory=dict)
    """The split of busy money between prefill and decode, by model."""
    loads: tuple[LoadReading, ...] = ()
    """The load of each model that reports any."""
    world_size: int = 0
    """The largest number of GPUs that an endpoint of the server reported, 0 where none did."""
    owner_shares: Mapping[str, Mapping[CostOwner, int]] = field(default_factory=dict)
    """Parts of each model by cost owner; empty without a gateway, where the server's own owner pays."""

    def owners(self, policy: CostPolicy) -> Iterable[CostOwner]:
        """The owners of the server's models, and the parties that a gateway divides them over."""
        for model in (*self.splits, *self.idle_models):
            yield policy.owner_of(self.key, model)
        for parts in self.owner_shares.values():
            yield from parts


@dataclass(frozen=True, slots=True)
class AdvancedServers:
    """All servers after a tick: their states, what they did in it, and what they add to the totals."""

    deltas: ServerDeltas
    """What endpoints and gateways counted, and their states after the tick."""
    states: Mapping[ServerKey, ServerState]
    """The state of every server after the tick, also of those that were not watched in it."""
    activity: Mapping[ServerKey, ServerActivity]
    """What the servers did that were watched in the tick."""
    tokens: tuple[TokenPosting, ...]
    requests: tuple[RequestPosting, ...]
    """Requests that finished."""
    preemptions: tuple[RequestPosting, ...]
    """Requests that were preempted."""
    latencies: tuple[LatencyPosting, ...]
    owners: frozenset[CostOwner]
    """The owners of watched servers, also those with nothing to post."""
    hosted: tuple[HostedEquivalent, ...]
    """What the tokens cost at hosted offers."""


def advance_servers(state: State, frame: Frame, time: TickTime, policy: CostPolicy) -> AdvancedServers:
    """Advance every watched endpoint, and the servers that they make up, by the charged time of a tick."""
    deltas = collect_deltas(state, frame, policy.limits)
    quota = OwnerQuota(policy.limits.parties, state.servers.values())
    divider = Divider(policy, time.elapsed, deltas, quota)
    states: dict[ServerKey, ServerState] = dict(state.servers)
    activity: dict[ServerKey, ServerActivity] = {}
    advanced: list[_AdvancedModel] = []
    # The order decides: places for a gateway's parties are given first come, first served.
    for server in deltas.servers:
        models = {
            model: _advance_model(server, model, divider, time=time, policy=policy) for model in server.models
        }
        # A delta has the server's state after the tick, but for the sums of its models.
        states[server.key] = replace(
            server.state, models={model: advanced_model.state for model, advanced_model in models.items()}
        )
        activity[server.key] = _activity(server, models)
        advanced += models.values()
    tokens = tuple(posting for model in advanced for posting in model.tokens)
    return AdvancedServers(
        deltas=deltas,
        states=states,
        activity=activity,
        tokens=tokens,
        requests=tuple(posting for model in advanced for posting in model.requests),
        preemptions=tuple(posting for model in advanced for posting in model.preemptions),
        latencies=tuple(_latencies(deltas.servers, policy)),
        owners=frozenset(owner for server in activity.values() for owner in server.owners(policy)),
        hosted=equivalents(tokens, policy.compare),
    )


class _AdvancedModel(NamedTuple):
    """One model of a server after a tick."""

    state: ModelState
    """Its trailing sums, with this tick's."""
    split: PhaseSplit
    """What divides its busy money over phases, and what weighs it among the server's models."""
    owner_shares: Mapping[CostOwner, int]
    """Its parts by cost owner."""
    tokens: list[TokenPosting]
    requests: list[RequestPosting]
    """Requests that finished."""
    preemptions: list[RequestPosting]
    """Requests that were preempted."""


def _advance_model(
    server: ServerDelta, model: str, divider: Divider, *, time: TickTime, policy: CostPolicy
) -> _AdvancedModel:
    """Divide what a model counted over cost owners, and its busy money over phases."""
    before = server.state.models.get(model, NEW_MODEL)
    delta = server.models[model]
    amounts = delta.amounts()
    if server.state.division is None:  # no gateway divides the server: its own owner has all
        owner = policy.owner_of(server.key, model)
        owner_shares = {owner: WHOLE}
        counts = {quantity: {owner: amount} for quantity, amount in amounts.items()}
        sums = UNDIVIDED
    else:
        trailing, owner_shares = divider.advance(server, server.state.division, model, before.division)
        counts, rounding = divide_counts(amounts, owner_shares, trailing.rounding)
        sums = replace(trailing, rounding=rounding)
    counted = replace(before, pending_subtraction=delta.pending_subtraction, division=sums)
    rule = policy.split_rule(server.key.server, model)
    state, phases = split.advance_model(counted, delta, time.elapsed, rule, role=server.state.role)
    # Tokens of a server that answers again are since its last read, all others since the tick's tokens began.
    since = time.tokens_since if server.since is None else server.since
    finished = counts.get("requests", {})
    preempted = counts.get("preemptions", {})
    return _AdvancedModel(
        state=state,
        split=phases,
        owner_shares=owner_shares,
        tokens=[
            TokenPosting(owner, kind, count, since)
            for kind in KINDS
            for owner, count in counts.get(kind, {}).items()
        ],
        requests=[RequestPosting(owner, count) for owner, count in finished.items()],
        preemptions=[RequestPosting(owner, count) for owner, count in preempted.items()],
    )


def _activity(server: ServerDelta, models: Mapping[str, _AdvancedModel]) -> ServerActivity:
    """What a server did; busy money divides over its models by tokens of the tick, idle by trailing ones.

    A model that is no longer served pays no idle money. Where no tokens moved, busy money divides as idle
    money does.
    """
    splits = {model: advanced.split for model, advanced in models.items()}
    trailing = {model: splits[model].trailing_tokens for model in server.served if model in splits}
    idle_models = _model_parts(trailing)
    moving = {model: phases.tick_tokens for model, phases in splits.items()}
    moved = any(tokens > 0 for tokens in moving.values())
    busy_models = _model_parts(moving) if moved else idle_models
    owner_shares: dict[str, Mapping[CostOwner, int]] = {}
    if server.state.division is not None:
        owner_shares = {model: advanced.owner_shares for model, advanced in models.items()}
    return ServerActivity(
        server.key,
        up=server.up,
        running=_is_running(server, moved=moved),
        moved=moved,
        busy_models=busy_models,
        idle_models=idle_models,
        splits=splits,
        loads=server.loads,
        world_size=server.world_size,
        owner_shares=owner_shares,
    )


def _is_running(server: ServerDelta, *, moved: bool) -> bool | None:
    """Whether requests were running when a server was read, `None` where that is unknown.

    For a server that does not report them, `moved` tokens tell that some were.
    """
    reported = [delta.running for delta in server.models.values() if delta.running is not None]
    if reported:
        return any(requests > 0 for requests in reported)
    return True if moved else None


def last_known(
    servers: Mapping[ServerKey, ServerState], policy: CostPolicy
) -> dict[ServerKey, ServerActivity]:
    """Servers as the last tick left them, for a gap in which they ended.

    Each pays under the models that it last served, and a gateway's parties by their last shares.
    """
    activity: dict[ServerKey, ServerActivity] = {}
    for key, server in servers.items():
        reported = server.served or tuple(server.models)
        served = {model: server.models[model] for model in reported if model in server.models}
        weights = {model: sums.weighted_prefill + sums.weighted_decode for model, sums in served.items()}
        parts = _model_parts(weights)
        owner_shares: dict[str, Mapping[CostOwner, int]] = {}
        if server.division is not None:  # the gateway by which the sums of each model divide it
            for model, sums in served.items():
                owner_shares[model] = owner_parts(
                    sums.division, server.division, key, model=model, policy=policy
                )
        activity[key] = ServerActivity(key, busy_models=parts, idle_models=parts, owner_shares=owner_shares)
    return activity


def _model_parts(weights: Mapping[str, float]) -> dict[str, int]:
    """The parts of models by their weights in tokens, equal where none has any; `NO_MODEL` for no models.

    Weights are scaled to the largest first: as integers up to 10**9 they keep their ratio, however small or
    large they are.
    """
    if len(weights) <= 1:  # nearly every server has one
        return dict.fromkeys(weights or (NO_MODEL,), WHOLE)
    largest = max(weights.values()) or 1.0  # without any weight `portions` makes the parts equal
    return portions({model: round(weight / largest * WHOLE) for model, weight in weights.items()})


def _latencies(servers: Iterable[ServerDelta], policy: CostPolicy) -> Iterable[LatencyPosting]:
    """What servers observed of their latencies. No gateway divides it: the owner is the server's own."""
    for server in servers:
        for (model, objective, basis), count in server.latencies.items():
            yield LatencyPosting(
                owner=policy.owner_of(server.key, model),
                objective=objective,
                basis=basis,
                lower=round(count.lower),
                upper=round(count.upper),
                total=round(count.total),
            )

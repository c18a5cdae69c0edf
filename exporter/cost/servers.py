"""Servers in one tick: what they add to the totals, and how their money divides over models and owners. Pure.

`advance_servers` calls, and hands on what each returns:

    server_deltas.collect_deltas    what all endpoints counted in the tick, by server and model
    division.divide_servers         the cost owners of each model: a gateway's tenants, else the server's own
    split.advance_phases            for each model, its trailing sums and the phases of its busy money

`server_states` completes the states for the next tick, and `gpu_usage` divides GPU time by what servers did.
Parts are integers that sum to `money.WHOLE`, 10**9.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Final, NamedTuple, Self

from exporter.cost.division import OwnerShares, divide_servers, owner_parts
from exporter.cost.intervals import TickTime
from exporter.cost.money import WHOLE, divide_fairly, portions
from exporter.cost.policy import CostPolicy, SplitRule
from exporter.cost.postings import (
    CostOwner,
    HostedEquivalent,
    LatencyPosting,
    RequestPosting,
    TokenPosting,
    equivalents,
)
from exporter.cost.server_deltas import ServerDelta, ServerDeltas, collect_deltas
from exporter.cost.split import PhaseSplit, advance_phases
from exporter.cost.state import ModelState, ServerState, State
from exporter.readings import KINDS, Frame, LoadReading, Quantity, ServerKey
from exporter.units import Instant

NO_MODEL: Final = ""
"""The model of a server that never reported one."""


@dataclass(frozen=True, slots=True)
class ServerActivity:
    """What one server did in a tick, and who pays for the GPU time that it held.

    The defaults are of a server that no endpoint watches: its own owner pays for one model without a name.
    """

    key: ServerKey
    up: bool = False
    """Whether some endpoint answered."""
    running: bool | None = None
    """Whether requests were running when the server was read, `None` where that is unknown."""
    moved: bool = False
    """Whether the server counted tokens."""
    busy_models: Mapping[str, int] = field(default_factory=lambda: {NO_MODEL: WHOLE})
    """Parts of the server's busy time by model."""
    idle_models: Mapping[str, int] = field(default_factory=lambda: {NO_MODEL: WHOLE})
    """Parts of the server's idle time by model."""
    phases: Mapping[str, PhaseSplit] = field(default_factory=dict)
    """The split of busy money between prefill and decode, by model."""
    loads: tuple[LoadReading, ...] = ()
    """The load of each model that reports any."""
    world_size: int = 0
    """The largest number of GPUs that an endpoint of the server reported, 0 where none did."""
    owner_shares: Mapping[str, Mapping[CostOwner, int]] = field(default_factory=dict)
    """Parts of each model by cost owner. The server's own owner pays for models that are not in it."""

    def owners(self, policy: CostPolicy) -> Iterable[CostOwner]:
        """The server's own owner of each model, and the cost owners that a gateway divides models over."""
        for model in (*self.phases, *self.idle_models):  # `NO_MODEL` is in `idle_models` alone
            yield policy.owner_of(self.key, model)
        for parts in self.owner_shares.values():
            yield from parts


@dataclass(frozen=True, slots=True)
class AdvancedServers:
    """All servers after a tick: their states, what they did in it, and what they add to the totals."""

    deltas: ServerDeltas
    """What endpoints and gateways counted, and their states after the tick."""
    states: Mapping[ServerKey, ServerState]
    """The state after the tick of every watched server, and the state before it of all other servers."""
    activity: Mapping[ServerKey, ServerActivity]
    """What each watched server did in the tick."""
    tokens: tuple[TokenPosting, ...]
    """Tokens that the servers counted."""
    requests: tuple[RequestPosting, ...]
    """Requests that finished."""
    preemptions: tuple[RequestPosting, ...]
    """Requests that were preempted."""
    latencies: tuple[LatencyPosting, ...]
    """Latencies that the servers observed."""
    owners: frozenset[CostOwner]
    """The owners of watched servers, also owners with nothing to post."""
    hosted: tuple[HostedEquivalent, ...]
    """What the tokens would cost at hosted offers."""


def advance_servers(state: State, frame: Frame, time: TickTime, policy: CostPolicy) -> AdvancedServers:
    """Advance every watched endpoint, and the servers that they make up, by the charged time of a tick."""
    deltas = collect_deltas(state, frame, policy.limits)
    shares = divide_servers(state.servers, deltas, elapsed=time.elapsed, policy=policy)
    advanced: list[_AdvancedServer] = []
    for server in deltas.servers:
        models: dict[str, _AdvancedModel] = {}
        for model, model_shares in shares[server.key].items():
            rule = policy.split_rule(server.key.server, model)
            models[model] = _AdvancedModel.of(server, model, model_shares, rule=rule, time=time)
        advanced.append(_AdvancedServer.of(server, models))
    postings = [model.postings for server in advanced for model in server.models.values()]
    tokens = tuple(chain.from_iterable(each_model.tokens for each_model in postings))
    activity = {server.activity.key: server.activity for server in advanced}
    return AdvancedServers(
        deltas=deltas,
        states={**state.servers, **{server.activity.key: server.state for server in advanced}},
        activity=activity,
        tokens=tokens,
        requests=tuple(chain.from_iterable(each_model.requests for each_model in postings)),
        preemptions=tuple(chain.from_iterable(each_model.preemptions for each_model in postings)),
        latencies=tuple(_latencies(deltas.servers, policy)),
        owners=frozenset(owner for server in activity.values() for owner in server.owners(policy)),
        hosted=equivalents(tokens, policy.compare),
    )


class _ModelPostings(NamedTuple):
    """What one model of a server counted in a tick, as postings of its cost owners."""

    tokens: list[TokenPosting]
    requests: list[RequestPosting]
    """Requests that finished."""
    preemptions: list[RequestPosting]
    """Requests that were preempted."""

    @classmethod
    def of(cls, counts: Mapping[Quantity, Mapping[CostOwner, int]], tokens_since: Instant | None) -> Self:
        """Postings of counts by quantity and owner. A quantity that the server does not count has none."""
        finished = counts.get("requests", {})
        preempted = counts.get("preemptions", {})
        return cls(
            tokens=[
                TokenPosting(owner, kind, count, tokens_since)
                for kind in KINDS
                for owner, count in counts.get(kind, {}).items()
            ],
            requests=[RequestPosting(owner, count) for owner, count in finished.items()],
            preemptions=[RequestPosting(owner, count) for owner, count in preempted.items()],
        )


class _AdvancedModel(NamedTuple):
    """One model of a server after a tick."""

    state: ModelState
    """The trailing sums of the model, with the counts of the tick."""
    phases: PhaseSplit
    """The split of the model's busy money, and its tokens, which weigh it among the server's models."""
    owner_shares: Mapping[CostOwner, int]
    """Parts of the model by cost owner."""
    postings: _ModelPostings

    @classmethod
    def of(
        cls, server: ServerDelta, model: str, shares: OwnerShares, *, rule: SplitRule, time: TickTime
    ) -> Self:
        """Split a model's busy money into phases, and divide what it counted over its cost owners."""
        delta = server.models[model]
        model_after = advance_phases(server.models_before[model], delta, time.elapsed, rule, role=server.role)

        # Counts by owner sum to what the server counted. An owner that rounding took from gets more later.
        counts: dict[Quantity, Mapping[CostOwner, int]] = {}
        rounding = dict(shares.sums.rounding)  # a quantity that this tick does not count keeps its own
        for quantity, amount in delta.amounts().items():
            parts, taken = divide_fairly(amount, shares.by_owner, rounding.get(quantity))
            counts[quantity] = parts
            rounding[quantity] = taken  # without owners that have no share any more
        # A sole owner has nothing rounded, and nothing is remembered of it.
        remembered = {quantity: taken for quantity, taken in rounding.items() if any(taken.values())}

        tokens_since = time.tokens_since
        if server.unread_since is not None:  # it answers again: its tokens began at its last read
            tokens_since = server.unread_since
        state = replace(
            model_after.state,
            pending_subtraction=delta.pending_subtraction,
            division=replace(shares.sums, rounding=remembered),
        )
        return cls(
            state=state,
            phases=model_after.phases,
            owner_shares=shares.by_owner,
            postings=_ModelPostings.of(counts, tokens_since),
        )


class _AdvancedServer(NamedTuple):
    """One server after a tick."""

    state: ServerState
    """The state that the next tick begins with, before `server_states` completes it."""
    activity: ServerActivity
    """What the server did, and who pays for the GPU time that it held."""
    models: Mapping[str, _AdvancedModel]
    """Its models, by admitted name."""

    @classmethod
    def of(cls, server: ServerDelta, models: Mapping[str, _AdvancedModel]) -> Self:
        """A server of these models after a tick."""
        state = ServerState(
            models={model: advanced.state for model, advanced in models.items()},
            served=server.served,
            partial=server.partial,
            role=server.role,
            division=server.division,
            principal=server.principal,
        )
        return cls(state, _activity(server, models), models)


def _activity(server: ServerDelta, advanced: Mapping[str, _AdvancedModel]) -> ServerActivity:
    """What a server did in a tick.

    Idle money divides over its models by trailing tokens, busy money by tokens of the tick. Where the tick
    has no tokens, busy money divides as idle money does.
    """
    phases = {model: each.phases for model, each in advanced.items()}
    # A model that is no longer served pays no idle money, but busy money for tokens that it still counts.
    served = {model: each for model, each in phases.items() if model in server.served_models}
    idle_models = _model_parts({model: each.trailing_tokens for model, each in served.items()})
    busy_tokens = {model: each.tick_tokens for model, each in phases.items()}
    moved = any(tokens > 0 for tokens in busy_tokens.values())
    return ServerActivity(
        server.key,
        up=server.up,
        running=_is_running(server, moved=moved),
        moved=moved,
        busy_models=_model_parts(busy_tokens) if moved else idle_models,
        idle_models=idle_models,
        phases=phases,
        loads=server.loads,
        world_size=server.world_size,
        owner_shares={model: each.owner_shares for model, each in advanced.items()},
    )


def _is_running(server: ServerDelta, *, moved: bool) -> bool | None:
    """Whether requests were running when a server was read, `None` where that is unknown.

    A server that does not report running requests had some where its tokens `moved`.
    """
    reported = [delta.running for delta in server.models.values() if delta.running is not None]
    if reported:
        return any(requests > 0 for requests in reported)
    return True if moved else None


def last_known(
    servers: Mapping[ServerKey, ServerState], policy: CostPolicy
) -> dict[ServerKey, ServerActivity]:
    """Servers as the last tick left them, for a gap in which they ended.

    Each server pays under the models that it last served, and each model by its last shares.
    """
    activity: dict[ServerKey, ServerActivity] = {}
    for key, server in servers.items():
        models = {model: server.models[model] for model in server.served_models}
        parts = _model_parts({model: state.weighted_tokens for model, state in models.items()})
        owner_shares = {
            model: owner_parts(state.division, server.division, key, model=model, policy=policy)
            for model, state in models.items()
        }
        activity[key] = ServerActivity(key, busy_models=parts, idle_models=parts, owner_shares=owner_shares)
    return activity


def _model_parts(weights: Mapping[str, float]) -> dict[str, int]:
    """Parts of `money.WHOLE` by model, in proportion to weights in tokens, equal where no model has any.

    Without models `NO_MODEL` has all. Weights are scaled to the largest first: as integers up to 10**9 they
    keep their ratio, however small or large they are.
    """
    if len(weights) <= 1:  # nearly every server has one model
        return dict.fromkeys(weights or (NO_MODEL,), WHOLE)
    largest = max(weights.values())
    if not largest:
        return portions(dict.fromkeys(weights, 1))
    return portions({model: round(weight / largest * WHOLE) for model, weight in weights.items()})


def _latencies(servers: Iterable[ServerDelta], policy: CostPolicy) -> Iterable[LatencyPosting]:
    """Latencies that servers observed. A gateway divides none of them: the server's own owner has all."""
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

"""Servers of one tick: what they add to the totals, and how their busy money divides over models. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from exporter.cost import split
from exporter.cost.division import Divider, OwnerQuota, divide_counts
from exporter.cost.money import WHOLE, portions
from exporter.cost.policy import CostPolicy
from exporter.cost.postings import CostOwner, LatencyPosting, RequestPosting, TokenPosting
from exporter.cost.server_deltas import NEW_MODEL, ServerDelta, ServerDeltas, collect_deltas
from exporter.cost.split import PhaseSplit
from exporter.cost.state import UNDIVIDED, ModelState, ServerState, State
from exporter.readings import (
    Frame,
    LoadReading,
    Quantity,
    ServerKey,
)
from exporter.units import Nanoseconds

NO_MODEL: Final = ""
"""The model of a server that never reported one."""


@dataclass(frozen=True, slots=True)
class ServerTick:
    """One server in one tick."""

    key: ServerKey
    up: bool = False
    """Whether some endpoint answered."""
    running: bool | None = None
    """Whether requests were running when the server was read, `None` where that is unknown.

    For a server that does not report them, moved tokens tell.
    """
    moved: bool = False
    """Whether tokens moved."""
    busy_models: Mapping[str, int] = field(default_factory=lambda: {NO_MODEL: WHOLE})
    """Parts of the server's busy time by model, which sum to `money.WHOLE`."""
    idle_models: Mapping[str, int] = field(default_factory=lambda: {NO_MODEL: WHOLE})
    """Parts of the server's idle time by model, which sum to `money.WHOLE`."""
    splits: Mapping[str, PhaseSplit] = field(default_factory=dict)
    """The split of busy money between prefill and decode, by model."""
    loads: tuple[LoadReading, ...] = ()
    """The load of each model that reports any."""
    world_size: int = 0
    """The largest number of GPUs that an endpoint of the server reported, 0 where none did."""
    owner_shares: Mapping[str, Mapping[CostOwner, int]] = field(default_factory=dict)
    """Parts of each model by cost owner, which sum to `money.WHOLE`; empty without a gateway."""


@dataclass(frozen=True, slots=True)
class ServersTick:
    """All servers of one tick: their states after it, and what they add to the totals."""

    deltas: ServerDeltas
    """What endpoints and gateways counted, and their states after the tick."""
    servers: Mapping[ServerKey, ServerState]
    """The state of every server after the tick."""
    ticks: Mapping[ServerKey, ServerTick]
    """The servers that were watched in the tick."""
    tokens: tuple[TokenPosting, ...]
    requests: tuple[RequestPosting, ...]
    """Requests that finished."""
    preemptions: tuple[RequestPosting, ...]
    """Requests that were preempted."""
    latencies: tuple[LatencyPosting, ...]


def advance(state: State, frame: Frame, elapsed: Nanoseconds, policy: CostPolicy) -> ServersTick:
    """Advance every watched endpoint and the servers they make up."""
    deltas = collect_deltas(state, frame, policy.limits)
    quota = OwnerQuota(policy.limits.parties, state.servers.values())
    divider = Divider(policy, elapsed, deltas, quota)
    servers: dict[ServerKey, ServerState] = dict(state.servers)
    ticks: dict[ServerKey, ServerTick] = {}
    tokens: list[TokenPosting] = []
    requests: list[RequestPosting] = []
    preemptions: list[RequestPosting] = []
    for server in deltas.servers:
        models = {model: _advance_model(server, model, divider, elapsed, policy) for model in server.models}
        for tick in models.values():
            tokens += tick.tokens
            requests += tick.requests
            preemptions += tick.preemptions
        states = {model: tick.state for model, tick in models.items()}
        servers[server.key] = replace(server.state, models=states)
        ticks[server.key] = _server_tick(server, models)
    latencies = tuple(
        LatencyPosting(
            owner=policy.owner_of(server.key, model),
            objective=objective,
            basis=basis,
            lower=round(count.lower),
            upper=round(count.upper),
            total=round(count.total),
        )
        for server in deltas.servers
        for (model, objective, basis), count in server.latencies.items()
    )
    return ServersTick(
        deltas=deltas,
        servers=servers,
        ticks=ticks,
        tokens=tuple(tokens),
        requests=tuple(requests),
        preemptions=tuple(preemptions),
        latencies=latencies,
    )


def last_known(servers: Mapping[ServerKey, ServerState]) -> dict[ServerKey, ServerTick]:
    """Servers as the last ticks knew them, for a gap: each pays it under its last models."""
    ticks: dict[ServerKey, ServerTick] = {}
    for key, server in servers.items():
        served = [name for name in server.served or server.models if name in server.models]
        if served:
            models = {name: server.models[name] for name in served}
            weighed = {name: model.weighted_prefill + model.weighted_decode for name, model in models.items()}
            parts = _parts(weighed)
            ticks[key] = ServerTick(key, busy_models=parts, idle_models=parts)
    return ticks


class _ModelTick(NamedTuple):
    """One model of a server after one tick: its state, its parts by cost owner, and what it posts."""

    state: ModelState
    split: PhaseSplit
    shares: Mapping[CostOwner, int]
    tokens: list[TokenPosting]
    requests: list[RequestPosting]
    preemptions: list[RequestPosting]


def _advance_model(
    server: ServerDelta, model: str, divider: Divider, elapsed: Nanoseconds, policy: CostPolicy
) -> _ModelTick:
    """Divide a model's tokens over cost owners, and its time over phases."""
    before = server.state.models.get(model, NEW_MODEL)
    delta = server.models[model]
    amounts: dict[Quantity, int] = {kind: delta.tokens[kind] for kind in delta.tokens}
    if delta.requests is not None:
        amounts["requests"] = delta.requests
    if delta.preemptions is not None:
        amounts["preemptions"] = delta.preemptions
    if server.state.division is None:
        sums = UNDIVIDED
        owner = policy.owner_of(server.key, model)
        shares: Mapping[CostOwner, int] = {owner: WHOLE}
        counts = {quantity: {owner: amount} for quantity, amount in amounts.items()}
    else:
        trailing, shares = divider.advance(server, server.state.division, model, before.division)
        counts, rounding = divide_counts(amounts, shares, trailing.rounding)
        sums = replace(trailing, rounding=rounding)
    divided = replace(before, pending_subtraction=delta.pending_subtraction, division=sums)
    rule = policy.split_rule(server.key.server, model)
    state, phases = split.advance(divided, delta, elapsed, rule, server.state.role)
    return _ModelTick(
        state=state,
        split=phases,
        shares=shares,
        tokens=[
            TokenPosting(owner, kind, count, server.since)
            for kind in delta.tokens
            for owner, count in counts[kind].items()
        ],
        requests=[RequestPosting(owner, count) for owner, count in counts.get("requests", {}).items()],
        preemptions=[RequestPosting(owner, count) for owner, count in counts.get("preemptions", {}).items()],
    )


def _server_tick(server: ServerDelta, models: Mapping[str, _ModelTick]) -> ServerTick:
    splits = {model: tick.split for model, tick in models.items()}
    # A model that is no longer served pays no idle money.
    current = {model: splits[model] for model in server.served if model in splits}
    if not current:
        current = {NO_MODEL: PhaseSplit("none", None, 0.0, 0.0)}
    idle = _parts({name: model.trailing for name, model in current.items()})
    moved = any(model.weight > 0 for model in splits.values())
    busy = _parts({name: model.weight for name, model in splits.items()}) if moved else idle
    reported = [delta.running for delta in server.models.values() if delta.running is not None]
    if reported:
        running: bool | None = any(requests > 0 for requests in reported)
    else:
        running = True if moved else None  # without a load only moved tokens tell
    divided = server.state.division is not None
    return ServerTick(
        server.key,
        up=server.up,
        running=running,
        moved=moved,
        busy_models=busy,
        idle_models=idle,
        splits=splits,
        loads=server.loads,
        world_size=server.world_size,
        owner_shares={model: tick.shares for model, tick in models.items()} if divided else {},
    )


def _parts(weights: Mapping[str, float]) -> dict[str, int]:
    """Weights of models as parts of `money.WHOLE`: one model, as nearly all servers have, is all of it."""
    if len(weights) == 1:
        return dict.fromkeys(weights, WHOLE)
    largest = max(weights.values()) or 1.0
    return portions({name: round(weight / largest * WHOLE) for name, weight in weights.items()})

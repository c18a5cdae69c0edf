"""Servers of one tick: what they add to the totals, and how their money divides over models and owners. Pure.

`advance_servers` calls for each model of each server, and hands on what each returns:

    server_deltas.collect_deltas    what its endpoints counted in the tick, of all servers at once
    division.Divider                its parts by cost owner, where a gateway divides it
    split.advance_model             its trailing sums, and the phases of its busy money

Parts are integers that sum to `money.WHOLE`, 10**9.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from exporter.cost import split
from exporter.cost.admission import principal_of
from exporter.cost.division import Divider, OwnerQuota, divide_counts, owner_parts
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
from exporter.cost.state import UNDIVIDED, DivisionState, GpuState, ModelState, ServerState, State
from exporter.readings import KINDS, Frame, LoadReading, ServerKey
from exporter.units import NANOSECONDS_PER_HOUR, Instant, Nanoseconds

NO_MODEL: Final = ""
"""The model of a server that never reported one."""

FORGOTTEN_AFTER: Final[Nanoseconds] = 24 * NANOSECONDS_PER_HOUR
"""How long a server is absent, and its rows unchanged, until they leave the page."""


@dataclass(frozen=True, slots=True)
class ServerTick:
    """What a tick tells of one server: how it was used, and by whom the GPU time that it held is paid."""

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
class ServersTick:
    """All servers of one tick: their states after it, and what they add to the totals."""

    deltas: ServerDeltas
    """What endpoints and gateways counted, and their states after the tick."""
    servers: Mapping[ServerKey, ServerState]
    """The state of every server after the tick, also of those that were not watched in it."""
    ticks: Mapping[ServerKey, ServerTick]
    """The servers that were watched in the tick."""
    tokens: tuple[TokenPosting, ...]
    requests: tuple[RequestPosting, ...]
    """Requests that finished."""
    preemptions: tuple[RequestPosting, ...]
    """Requests that were preempted."""
    latencies: tuple[LatencyPosting, ...]
    owners: frozenset[CostOwner]
    """The owners of watched servers, also those with nothing to post."""
    equivalents: tuple[HostedEquivalent, ...]
    """What the tokens cost at hosted offers."""


def advance_servers(state: State, frame: Frame, elapsed: Nanoseconds, policy: CostPolicy) -> ServersTick:
    """Advance every watched endpoint, and the servers that they make up, by the charged time of a tick."""
    deltas = collect_deltas(state, frame, policy.limits)
    quota = OwnerQuota(policy.limits.parties, state.servers.values())
    divider = Divider(policy, elapsed, deltas, quota)
    servers: dict[ServerKey, ServerState] = dict(state.servers)
    ticks: dict[ServerKey, ServerTick] = {}
    advanced: list[_ModelTick] = []
    for server in deltas.servers:
        models: dict[str, _ModelTick] = {}
        for model in server.models:
            models[model] = _model_tick(server, model, divider, elapsed=elapsed, policy=policy)
        states = {model: tick.state for model, tick in models.items()}
        servers[server.key] = replace(server.state, models=states)
        ticks[server.key] = _server_tick(server, models)
        advanced += models.values()
    tokens = tuple(posting for tick in advanced for posting in tick.divided.tokens)
    return ServersTick(
        deltas=deltas,
        servers=servers,
        ticks=ticks,
        tokens=tokens,
        requests=tuple(posting for tick in advanced for posting in tick.divided.requests),
        preemptions=tuple(posting for tick in advanced for posting in tick.divided.preemptions),
        latencies=tuple(_latencies(deltas.servers, policy)),
        owners=frozenset(owner for tick in ticks.values() for owner in tick.owners(policy)),
        equivalents=equivalents(tokens, policy.compare),
    )


class _Divided(NamedTuple):
    """What one model counted in a tick, by the owners that pay for the model."""

    sums: DivisionState
    """Sums by consumer of the gateway, with what the division of counts rounded off; empty without one."""
    shares: Mapping[CostOwner, int]
    """Parts of the model by cost owner."""
    tokens: list[TokenPosting]
    requests: list[RequestPosting]
    """Requests that finished."""
    preemptions: list[RequestPosting]
    """Requests that were preempted."""


class _ModelTick(NamedTuple):
    """One model of a server after a tick."""

    state: ModelState
    """Its trailing sums, with this tick's."""
    split: PhaseSplit
    """What divides its busy money over phases, and what weighs it among the server's models."""
    divided: _Divided
    """What it counted, by cost owner."""


def _model_tick(
    server: ServerDelta, model: str, divider: Divider, *, elapsed: Nanoseconds, policy: CostPolicy
) -> _ModelTick:
    """Divide a model's counts over cost owners, and its time over phases."""
    before = server.state.models.get(model, NEW_MODEL)
    delta = server.models[model]
    divided = _divided(server, model, before.division, divider=divider, policy=policy)
    state, phases = split.advance_model(
        replace(before, pending_subtraction=delta.pending_subtraction, division=divided.sums),
        delta,
        elapsed,
        rule=policy.split_rule(server.key.server, model),
        role=server.state.role,
    )
    return _ModelTick(state, phases, divided)


def _divided(
    server: ServerDelta, model: str, before: DivisionState, *, divider: Divider, policy: CostPolicy
) -> _Divided:
    """Divide what a model counted by a gateway's counts; without a gateway all is the server's owner's."""
    amounts = server.models[model].amounts()
    if server.state.division is None:  # no gateway divides the server
        sums = UNDIVIDED
        shares = {policy.owner_of(server.key, model): WHOLE}
        counts = {quantity: dict.fromkeys(shares, amount) for quantity, amount in amounts.items()}
    else:
        trailing, shares = divider.advance(server, server.state.division, model, before)
        counts, rounding = divide_counts(amounts, shares, trailing.rounding)
        sums = replace(trailing, rounding=rounding)
    finished = counts.get("requests", {})
    preempted = counts.get("preemptions", {})
    return _Divided(
        sums=sums,
        shares=shares,
        tokens=[
            TokenPosting(owner, kind, count, server.since)
            for kind in KINDS
            for owner, count in counts.get(kind, {}).items()
        ],
        requests=[RequestPosting(owner, count) for owner, count in finished.items()],
        preemptions=[RequestPosting(owner, count) for owner, count in preempted.items()],
    )


def _server_tick(server: ServerDelta, models: Mapping[str, _ModelTick]) -> ServerTick:
    """A server whose busy money divides over models by tokens of the tick, its idle money by trailing ones.

    A model that is no longer served pays no idle money. Where no tokens moved, busy money divides as idle
    money does.
    """
    splits = {model: tick.split for model, tick in models.items()}
    trailing = {model: splits[model].trailing for model in server.served if model in splits}
    idle_models = _model_parts(trailing) if trailing else {NO_MODEL: WHOLE}
    busy_models = idle_models
    moved = any(phases.weight > 0 for phases in splits.values())
    if moved:
        busy_models = _model_parts({model: phases.weight for model, phases in splits.items()})
    owner_shares: dict[str, Mapping[CostOwner, int]] = {}
    if server.state.division is not None:
        owner_shares = {model: tick.divided.shares for model, tick in models.items()}
    return ServerTick(
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


def last_known(servers: Mapping[ServerKey, ServerState], policy: CostPolicy) -> dict[ServerKey, ServerTick]:
    """Servers as the last tick left them, for a gap in which they ended.

    Each pays under the models that it last served, and a gateway's parties by their last shares.
    """
    ticks: dict[ServerKey, ServerTick] = {}
    for key, server in servers.items():
        reported = server.served or tuple(server.models)
        served = {model: server.models[model] for model in reported if model in server.models}
        if not served:
            continue
        weights = {model: sums.weighted_prefill + sums.weighted_decode for model, sums in served.items()}
        parts = _model_parts(weights)
        owner_shares: dict[str, Mapping[CostOwner, int]] = {}
        if server.division is not None:
            for model, sums in served.items():
                division = sums.division
                owner_shares[model] = owner_parts(division, server.division, key, model=model, policy=policy)
        ticks[key] = ServerTick(key, busy_models=parts, idle_models=parts, owner_shares=owner_shares)
    return ticks


def _model_parts(weights: Mapping[str, float]) -> dict[str, int]:
    """The parts of models by their weights in tokens, equal where no model has any.

    Weights are scaled to the largest first: as integers up to 10**9 they keep their ratio, however small or
    large they are.
    """
    if len(weights) == 1:  # as nearly every server has
        return dict.fromkeys(weights, WHOLE)
    largest = max(weights.values()) or 1.0
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


def with_holders(
    served: ServersTick, frame: Frame, slots: Mapping[str, GpuState], listed: Collection[str]
) -> dict[ServerKey, ServerState]:
    """The state of every server after a tick, those included that hold a listed GPU and were never watched.

    A server that declares more GPUs than it holds here is partial: others compute for its tokens, too.

    Args:
        served: the servers after the tick.
        frame: of the tick.
        slots: the slots of the host by UUID, with the holders of the tick.
        listed: the UUIDs of GPUs that NVML lists.
    """
    states = dict(served.servers)
    for holder in frame.holders:
        key = served.deltas.beyond.get(holder.key, holder.key)
        if holder.uuid in listed and key not in states:
            states[key] = ServerState(principal=principal_of(holder.key, frame.users))
    holders = [holder for slot in slots.values() for holder in slot.holders]
    devices = {(holder.key, holder.uuid, holder.instance) for holder in holders}
    devices_held = Counter(key for key, _, _ in devices)
    for key, server in served.ticks.items():
        if server.world_size > devices_held[key]:
            states[key] = replace(states[key], partial=True)
    return states


def without_absent(
    states: Mapping[ServerKey, ServerState], present: Collection[ServerKey], wall: Instant
) -> dict[ServerKey, ServerState]:
    """Servers that are present or were lately; one that was absent for a day leaves its rows to others.

    Args:
        states: servers after a tick.
        present: those that hold a GPU or have an endpoint.
        wall: wall time of the tick.
    """
    states_after: dict[ServerKey, ServerState] = {}
    for key, server in states.items():
        if key in present:
            states_after[key] = replace(server, absent_since=None)
            continue
        absent_since = wall if server.absent_since is None else server.absent_since
        if wall - absent_since < FORGOTTEN_AFTER:
            states_after[key] = replace(server, absent_since=absent_since)
    return states_after

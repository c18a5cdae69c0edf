"""Server deltas of one tick: tokens, requests, preemptions, and how busy money divides over models."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from exporter.cost import counters, split
from exporter.cost.admission import ModelAdmission, principal_of, servers_beyond
from exporter.cost.counters import (
    CounterDeltas,
    EndpointTick,
    GatewayTick,
    LatencyCount,
    LatencyKey,
    PageErrors,
)
from exporter.cost.division import DividedServer, Divider, OwnerQuota, divide_counts
from exporter.cost.money import WHOLE, portions
from exporter.cost.policy import CardinalityLimits, CostPolicy
from exporter.cost.postings import CostOwner, LatencyPosting, RequestPosting, TokenPosting
from exporter.cost.split import ModelDelta, PhaseSeconds, PhaseSplit
from exporter.cost.state import UNDIVIDED, EndpointState, GatewayState, ModelState, ServerState, State
from exporter.readings import (
    KINDS,
    Division,
    Frame,
    LoadReading,
    Occupancy,
    Quantity,
    Role,
    ServerKey,
    ServerReading,
    TokenKind,
)
from exporter.units import NANOSECONDS_PER_SECOND, Instant, Nanoseconds

COUNTED_BY_PEER: Final[Mapping[Role, tuple[Quantity, ...]]] = {
    "": (),
    "prefill": ("generation",),
    "decode": ("prompt", "cached_prompt"),
}
"""What a role's engine counts that its peer counts as well. Each token is counted once."""


@dataclass(frozen=True, slots=True)
class ServerDelta:
    """Deltas of one server in one tick, summed over its endpoints, before they are divided over owners."""

    key: ServerKey
    before: ServerState
    """Its state after the last tick."""
    principal: str
    """Who runs it."""
    up: bool
    partial: bool
    """Whether it does a part of what it serves, a role or one host of several."""
    role: Role
    division: Division | None
    reported: tuple[str, ...]
    """The models it serves, as last reported: one that sleeps or loads keeps those it had."""
    models: Mapping[str, ModelDelta]
    """Every model that it ever served, by admitted name."""
    loads: tuple[LoadReading, ...]
    world_size: int
    """The largest that one of its endpoints reported, 0 where none did."""
    latencies: Mapping[LatencyKey, LatencyCount]
    since: Instant | None = None
    """The last read before the tick before, of an endpoint that answers again with more tokens."""

    @property
    def served(self) -> tuple[str, ...]:
        """The models it serves; before any was reported, those that it counted."""
        return self.reported or tuple(self.models)

    @property
    def divided(self) -> DividedServer | None:
        """The part of it that division needs; `None` where no gateway divides it."""
        if self.division is None:
            return None
        tokens = {model: delta.tokens for model, delta in self.models.items()}
        return DividedServer(self.key, self.division, self.served, tokens, self.role, self.up)


class ServerDeltas(NamedTuple):
    """Deltas of all servers and gateways of a frame."""

    servers: list[ServerDelta]
    endpoints: dict[str, EndpointState]
    """The state of every watched endpoint, by URL."""
    gateways: dict[str, GatewayState]
    gateway_ticks: dict[str, GatewayTick]
    """Deltas of the gateways that were read, by URL."""
    errors: dict[str, PageErrors]
    """What a page left out, by URL and reason."""
    beyond: Mapping[ServerKey, ServerKey]
    """The servers beyond the limit, each with the key that counts it."""


class _ServerRead(NamedTuple):
    """The endpoints of one server in one tick."""

    readings: list[ServerReading]
    ticks: list[EndpointTick]
    """What their counters and histograms moved by."""
    late: list[Instant]
    """The last reads of those that answer again after others failed, with more tokens."""

    @property
    def up(self) -> bool:
        """Whether some endpoint answered."""
        return any(reading.up for reading in self.readings)

    def is_partial(self, before: ServerState) -> bool:
        """Whether the server does a part of what it serves; where no endpoint answers, it is what it was."""
        for reading in self.readings:
            if reading.role or reading.spans_hosts:
                return True
        return before.partial and not self.up

    def role(self, before: ServerState) -> Role:
        """The role that all endpoints have, or had where none answers; a server with both does both."""
        roles = {reading.role for reading in self.readings if reading.up or reading.role}
        if not roles:
            return before.role
        return roles.pop() if len(roles) == 1 else ""

    def division(self, before: ServerState) -> Division | None:
        """What divides the server; where no endpoint answers, what did before."""
        for reading in self.readings:
            if reading.division is not None:
                return reading.division
        return None if self.up else before.division

    def models(self) -> Iterator[str]:
        """Every model that it names, those that it serves first."""
        for reading in self.readings:
            yield from reading.models
        for tick in self.ticks:
            yield from (model for model, _ in tick.deltas)
        for reading in self.readings:
            yield from (load.model for load in reading.loads)
        for tick in self.ticks:
            yield from (model for model, _, _ in tick.latencies)


def collect_deltas(state: State, frame: Frame, limits: CardinalityLimits) -> ServerDeltas:
    """Advance every endpoint and gateway of a frame, and add up the deltas of each server."""
    # In an incomplete frame, endpoints that are not in it stay, or their tokens were lost.
    endpoints: dict[str, EndpointState] = dict(state.endpoints) if frame.incomplete else {}
    errors: dict[str, PageErrors] = {}
    step = clock_step(state, frame)
    answering = {reading.url: reading for reading in frame.servers if reading.up}
    beyond = servers_beyond(state.servers, frame, limits.servers)
    reads: dict[ServerKey, _ServerRead] = {}
    principals: dict[ServerKey, str] = {}
    for reading in frame.servers:
        key = beyond.get(reading.key, reading.key)
        principals[key] = principal_of(reading.key, frame.users)
        read = reads.setdefault(key, _ServerRead([], [], []))
        last = state.endpoints.get(reading.url)
        if last is not None and reading.up:
            last = counters.counts_again(last, reading, answering)
        tick = counters.endpoint_deltas(last, reading, frame.wall, step, state.endpoints)
        endpoints[reading.url] = tick.state
        errors[reading.url] = counters.page_errors(tick)
        read.readings.append(reading)
        read.ticks.append(tick)
        counted = any(tick.deltas.values()) and not tick.restarted
        if counted and last is not None and last.marks.read and last.marks.answered != state.wall:
            read.late.append(last.marks.answered)
    gateways, gateway_ticks = counters.gateway_deltas(state.gateways, frame.gateways, frame.wall, step)
    for url, gateway_tick in gateway_ticks.items():
        errors[url] = counters.page_errors(gateway_tick)
    named = {key: tuple(dict.fromkeys(read.models())) for key, read in reads.items()}
    admission = ModelAdmission(state.servers, named, principals, limits.models)
    servers = [
        _server_delta(key, state.servers.get(key), principals[key], read, admission.admit(key, named[key]))
        for key, read in reads.items()
    ]
    for reading in frame.servers:
        if reading.counted_at is not None:
            before = state.endpoints.get(reading.url)
            endpoints[reading.url] = counters.marks_elsewhere(before, reading, endpoints, frame.wall)
    return ServerDeltas(
        servers,
        endpoints=endpoints,
        gateways=gateways,
        gateway_ticks=gateway_ticks,
        errors=errors,
        beyond=beyond,
    )


def clock_step(state: State, frame: Frame) -> Nanoseconds:
    """By how much the wall clock was stepped since the last tick of this boot; 0 where that is unknown."""
    if state.wall is None or state.elapsed is None or state.boot != frame.boot:
        return 0
    step = (frame.wall - state.wall) - (frame.elapsed - state.elapsed)
    return step if abs(step) >= NANOSECONDS_PER_SECOND else 0


def _server_delta(
    key: ServerKey, before: ServerState | None, principal: str, read: _ServerRead, names: Mapping[str, str]
) -> ServerDelta:
    """Add up the endpoints of one server. `names` are those under which its models are counted."""
    before = before or ServerState()
    readings = read.readings
    reported = tuple(dict.fromkeys([names[model] for reading in readings for model in reading.models]))
    sums: CounterDeltas = {}
    request_seconds: dict[str, PhaseSeconds] = {}
    engine_seconds: dict[str, PhaseSeconds] = {}
    restarted = any(tick.restarted for tick in read.ticks)
    for reading, tick in zip(readings, read.ticks, strict=True):
        counted_by_peer = COUNTED_BY_PEER[reading.role]
        for (model, quantity), value in tick.deltas.items():
            if quantity in counted_by_peer:
                continue
            name = names[model]
            counted = name, quantity
            sums[counted] = sums.get(counted, 0.0) + value
            # The prefill seconds of one endpoint are of the kind of the decode seconds of that endpoint.
            if quantity in {"decode_seconds", "decode_request_seconds"}:
                seconds = engine_seconds if quantity == "decode_seconds" else request_seconds
                of_endpoint = PhaseSeconds(tick.deltas.get((model, "prefill_seconds"), 0.0), value)
                seconds[name] = seconds[name] + of_endpoint if name in seconds else of_endpoint
    loads, batches = _load_sums(readings, names)
    observed: dict[LatencyKey, LatencyCount] = {}
    for tick in read.ticks:
        for (model, objective, basis), count in tick.latencies.items():
            latency_key = (names[model], objective, basis)
            observed[latency_key] = observed.get(latency_key, LatencyCount()).plus(count)
    models: dict[str, ModelDelta] = {}
    for name in dict.fromkeys(names.values()):
        # After a restart counters begin at zero: nothing is left to subtract.
        pending = {} if restarted else before.models.get(name, NEW_MODEL).pending_subtraction
        tokens, pending = _subtract(name, sums, pending)
        models[name] = ModelDelta(
            tokens,
            request_seconds=request_seconds.get(name),
            running=loads[name].running if name in loads else None,
            batches=batches.get(name, 0),
            engine_seconds=engine_seconds.get(name),
            requests=_count(sums, name, "requests"),
            pending_subtraction=pending,
            preemptions=_count(sums, name, "preemptions"),
        )
    return ServerDelta(
        key,
        before,
        principal=principal,
        up=read.up,
        partial=read.is_partial(before),
        role=read.role(before),
        division=read.division(before),
        reported=reported or before.served,
        models=models,
        loads=tuple(loads.values()),
        world_size=max((reading.world_size or 0 for reading in readings), default=0),
        latencies=observed,
        since=min(read.late, default=None),
    )


def _load_sums(
    readings: Sequence[ServerReading], names: Mapping[str, str]
) -> tuple[dict[str, LoadReading], dict[str, int]]:
    """Load of each model over the endpoints that report any, and in how many batches its requests run.

    Limits are unknown while an endpoint may serve the model and does not report its load.
    """
    by_model: dict[str, list[LoadReading]] = {}
    batches: dict[str, int] = {}
    silent = []
    for reading in readings:
        if not reading.loads:
            silent.append(reading)
        for load in reading.loads:
            name = names[load.model]
            by_model.setdefault(name, []).append(load)
            if load.running is not None:
                batches[name] = batches.get(name, 0) + (load.batches if load.running > 0 else 0)
    for name, loads in by_model.items() if silent else ():
        if any(not reading.up or name in map(names.__getitem__, reading.models) for reading in silent):
            loads.append(LoadReading(name))
    return {name: combined(name, loads) for name, loads in by_model.items()}, batches


def combined(model: str, loads: Sequence[LoadReading]) -> LoadReading:
    """Load of replicas together: their sums, so that a ratio is a mean by their maximum.

    A limit that one replica does not report is unknown for all of them.
    """
    if len(loads) == 1:
        (load,) = loads
        known = None if load.running is None else load.max_running
        return LoadReading(model, load.running, load.waiting, max_running=known, kv_cache=load.kv_cache)
    maxima = [load.max_running for load in loads if load.running is not None and load.max_running is not None]
    caches = [load.kv_cache for load in loads if load.kv_cache is not None]
    return LoadReading(
        model,
        _sum(load.running for load in loads),
        _sum(load.waiting for load in loads),
        max_running=sum(maxima) if maxima and len(maxima) == len(loads) else None,
        kv_cache=Occupancy(sum(cache.used for cache in caches), sum(cache.capacity for cache in caches))
        if caches and len(caches) == len(loads)
        else None,
    )


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _count(sums: CounterDeltas, model: str, quantity: Quantity) -> int | None:
    """A whole number of requests of one model; `None` where nothing counts them."""
    count = sums.get((model, quantity))
    return None if count is None else max(0, round(count))


def _subtract(
    model: str, sums: CounterDeltas, before: Mapping[str, int]
) -> tuple[dict[TokenKind, int], dict[str, int]]:
    """Tokens of one model by kind, and what remains to be subtracted from later ones.

    A counter that is subtracted can move before the one that it is subtracted from.
    """
    pending = dict(before)
    tokens: dict[TokenKind, int] = {}
    for kind in KINDS:
        count = sums.get((model, kind))
        if count is None:
            continue
        net = round(count) + pending.pop(kind, 0)
        if net < 0:
            pending[kind] = net
        tokens[kind] = max(0, net)
    return tokens, pending


NEW_MODEL: Final = ModelState()
"""A model without a tick before."""

NO_MODEL: Final = ""
"""The model of a server that never reported one."""


@dataclass(frozen=True, slots=True)
class ServerTick:
    """One server in one tick."""

    key: ServerKey
    up: bool = False
    """Whether some endpoint answered."""
    running: bool | None = None
    """Whether requests were running at its read, or tokens moved where it reports none; `None`: unknown."""
    moved: bool = False
    """Whether tokens moved."""
    busy_models: Mapping[str, int] = field(default_factory=lambda: {NO_MODEL: WHOLE})
    """Parts of `money.WHOLE` of its busy time, by model."""
    idle_models: Mapping[str, int] = field(default_factory=lambda: {NO_MODEL: WHOLE})
    """Parts of `money.WHOLE` of its idle time, by model."""
    splits: Mapping[str, PhaseSplit] = field(default_factory=dict)
    loads: tuple[LoadReading, ...] = ()
    world_size: int = 0
    """The largest that one of its endpoints reported, 0 where none did."""
    owner_shares: Mapping[str, Mapping[CostOwner, int]] = field(default_factory=dict)
    """Parts of `money.WHOLE` of a model by cost owner, where a gateway divides it."""


@dataclass(frozen=True, slots=True)
class ServersTick:
    """All servers of one tick: their states after it, and what they add to the totals."""

    gateways: Mapping[str, GatewayState]
    endpoints: Mapping[str, EndpointState]
    servers: Mapping[ServerKey, ServerState]
    ticks: Mapping[ServerKey, ServerTick]
    tokens: tuple[TokenPosting, ...]
    requests: tuple[RequestPosting, ...]
    preemptions: tuple[RequestPosting, ...]
    latencies: tuple[LatencyPosting, ...] = ()
    errors: Mapping[str, PageErrors] = field(default_factory=dict)
    """What a page left out, by URL and reason."""
    beyond: Mapping[ServerKey, ServerKey] = field(default_factory=dict)
    """Servers beyond the limit, each with the key that counts it."""


def advance(state: State, frame: Frame, elapsed: Nanoseconds, policy: CostPolicy) -> ServersTick:
    """Advance every watched endpoint and the servers they make up."""
    deltas = collect_deltas(state, frame, policy.limits)
    divided = [server.divided for server in deltas.servers]
    members = [member for member in divided if member is not None]
    divider = None
    if members:
        quota = OwnerQuota(policy.limits.parties, state.servers.values())
        divider = Divider(policy, elapsed, members, deltas.gateways, deltas.gateway_ticks, quota)
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
        states = {**server.before.models, **{model: tick.state for model, tick in models.items()}}
        servers[server.key] = ServerState(
            states,
            served=server.reported,
            partial=server.partial,
            role=server.role,
            division=server.division,
            principal=server.principal,
        )
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
        gateways=deltas.gateways,
        endpoints=deltas.endpoints,
        servers=servers,
        ticks=ticks,
        tokens=tuple(tokens),
        requests=tuple(requests),
        preemptions=tuple(preemptions),
        latencies=latencies,
        errors=deltas.errors,
        beyond=deltas.beyond,
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
    server: ServerDelta, model: str, divider: Divider | None, elapsed: Nanoseconds, policy: CostPolicy
) -> _ModelTick:
    """Divide a model's tokens over cost owners, and its time over phases."""
    before = server.before.models.get(model, NEW_MODEL)
    delta = server.models[model]
    amounts: dict[Quantity, int] = {kind: delta.tokens[kind] for kind in delta.tokens}
    if delta.requests is not None:
        amounts["requests"] = delta.requests
    if delta.preemptions is not None:
        amounts["preemptions"] = delta.preemptions
    division = UNDIVIDED
    if server.division is None or divider is None:
        owner = policy.owner_of(server.key, model)
        shares: Mapping[CostOwner, int] = {owner: WHOLE}
        counts = {quantity: {owner: amount} for quantity, amount in amounts.items()}
    else:
        if server.division == server.before.division:
            division = before.division
        division, shares = divider.advance(server.key, model, division)
        counts, rounding = divide_counts(amounts, shares, division.rounding)
        division = replace(division, rounding=rounding)
    before = replace(before, pending_subtraction=delta.pending_subtraction, division=division)
    rule = policy.split_rule(server.key.server, model)
    state, phases = split.advance(before, delta, elapsed, rule, server.role)
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
    divided = server.division is not None
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

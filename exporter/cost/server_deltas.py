"""Deltas of servers in one tick: what their endpoints counted, summed by server and model. Pure.

`collect_deltas` reads the endpoints of a frame, and groups them by server. `_server_delta` adds up one group.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from exporter.cost import counters
from exporter.cost.admission import ModelAdmission, principal_of, servers_beyond
from exporter.cost.counters import (
    CounterDeltas,
    EndpointTick,
    GatewayTick,
    LatencyCount,
    LatencyKey,
    PageErrors,
)
from exporter.cost.policy import CardinalityLimits
from exporter.cost.split import ModelDelta, PhaseSeconds
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
    up: bool
    """Whether some endpoint answered."""
    models: Mapping[str, ModelDelta]
    """Deltas of every model that the server ever served, by admitted name."""
    models_before: Mapping[str, ModelState]
    """The state of each of these models before the tick."""
    served: tuple[str, ...]
    """The models that the server last reported to serve, as `ServerState.served` after the tick."""
    served_models: tuple[str, ...]
    """The models in `served`, or all models where that is empty."""
    partial: bool
    """Whether others compute for the server's tokens, as `ServerState.partial`."""
    role: Role
    """The role of the server after the tick."""
    division: Division | None
    """What divides the server over owners after the tick, `None` without a gateway."""
    principal: str
    """Who runs the server: a namespace or a user."""
    loads: tuple[LoadReading, ...]
    """Load of each model that reports any."""
    world_size: int
    """The largest number of GPUs that an endpoint reported, 0 where none did."""
    latencies: Mapping[LatencyKey, LatencyCount]
    """Observed latencies, by admitted name of the model, objective and basis."""
    unread_since: Instant | None = None
    """The last read of an endpoint that answers again, with more tokens, after failed reads; else `None`."""

    def tokens(self, model: str) -> Mapping[TokenKind, int]:
        """Tokens of one model in the tick."""
        return self.models[model].tokens if model in self.models else {}


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
    """What the counters and histograms of each reading moved by."""
    unread_since: list[Instant]
    """The last read of each endpoint that answers again, with more tokens, after failed reads."""

    @property
    def up(self) -> bool:
        """Whether some endpoint answered."""
        return any(reading.up for reading in self.readings)

    def is_partial(self, before: ServerState) -> bool:
        """Whether others compute for the server's tokens, or did where no endpoint answers."""
        for reading in self.readings:
            if reading.role or reading.spans_hosts:
                return True
        return before.partial and not self.up

    def role(self, before: ServerState) -> Role:
        """The role that all endpoints have, or had where none answers; empty for a server with both roles."""
        roles = {reading.role for reading in self.readings if reading.up or reading.role}
        if not roles:
            return before.role
        return roles.pop() if len(roles) == 1 else ""

    def division(self, before: ServerState) -> Division | None:
        """What divides the server, or did where no endpoint answers."""
        for reading in self.readings:
            if reading.division is not None:
                return reading.division
        return None if self.up else before.division

    def models(self) -> Iterator[str]:
        """Every model that the endpoints name, the models that they serve first."""
        for reading in self.readings:
            yield from reading.models
        for tick in self.ticks:
            yield from (model for model, _ in tick.deltas)
        for reading in self.readings:
            yield from (load.model for load in reading.loads)
        for tick in self.ticks:
            yield from (model for model, _, _ in tick.latencies)

    def counter_sums(self, names: Mapping[str, str]) -> CounterDeltas:
        """Counter deltas by admitted model and quantity, without what a peer counts as well."""
        sums: CounterDeltas = {}
        for reading, tick in zip(self.readings, self.ticks, strict=True):
            for (model, quantity), value in tick.deltas.items():
                if quantity in COUNTED_BY_PEER[reading.role]:
                    continue
                counted = names[model], quantity
                sums[counted] = sums.get(counted, 0.0) + value
        return sums

    def phase_seconds(self, decode: Quantity, names: Mapping[str, str]) -> dict[str, PhaseSeconds]:
        """Seconds of prefill and decode by admitted model, of endpoints that count these decode seconds.

        The prefill seconds of one endpoint are of the kind of the decode seconds of that endpoint.
        """
        sums: dict[str, PhaseSeconds] = {}
        for tick in self.ticks:
            for (model, quantity), value in tick.deltas.items():
                if quantity == decode:
                    seconds = PhaseSeconds(tick.deltas.get((model, "prefill_seconds"), 0.0), value)
                    name = names[model]
                    sums[name] = sums[name] + seconds if name in sums else seconds
        return sums

    def latency_sums(self, names: Mapping[str, str]) -> dict[LatencyKey, LatencyCount]:
        """Observed latencies by admitted model, objective and basis."""
        sums: dict[LatencyKey, LatencyCount] = {}
        for tick in self.ticks:
            for (model, objective, basis), count in tick.latencies.items():
                key = (names[model], objective, basis)
                sums[key] = sums.get(key, LatencyCount()).plus(count)
        return sums


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
        has_more = any(tick.deltas.values()) and not tick.restarted
        # An endpoint answers again if its last answer is older than the last tick.
        if has_more and last is not None and last.marks.read and last.marks.answered != state.wall:
            read.unread_since.append(last.marks.answered)
    gateways, gateway_ticks = counters.gateway_deltas(state.gateways, frame.gateways, frame.wall, step)
    for url, gateway_tick in gateway_ticks.items():
        errors[url] = counters.page_errors(gateway_tick)
    named = {key: tuple(dict.fromkeys(read.models())) for key, read in reads.items()}
    admission = ModelAdmission(state.servers, named, principals, limits.models)
    servers = [
        _server_delta(
            key,
            read,
            before=state.servers.get(key, ServerState()),
            principal=principals[key],
            names=admission.admit(key, named[key]),  # takes rows that models of the host share
        )
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
    key: ServerKey, read: _ServerRead, *, before: ServerState, principal: str, names: Mapping[str, str]
) -> ServerDelta:
    """Add up the endpoints of one server. `names` has the admitted name of each of its models."""
    sums = read.counter_sums(names)
    request_seconds = read.phase_seconds("decode_request_seconds", names)
    engine_seconds = read.phase_seconds("decode_seconds", names)
    loads, batches = _load_sums(read.readings, names)
    restarted = any(tick.restarted for tick in read.ticks)
    division = read.division(before)
    models: dict[str, ModelDelta] = {}
    models_before: dict[str, ModelState] = {}
    for name in dict.fromkeys(names.values()):
        model_before = before.models.get(name, ModelState())
        if division != before.division:  # the sums of one division mean nothing to another
            model_before = replace(model_before, division=UNDIVIDED)
        models_before[name] = model_before
        # After a restart counters begin at zero: nothing is left to subtract.
        pending = {} if restarted else model_before.pending_subtraction
        tokens, pending_after = _subtract(name, sums, pending)
        models[name] = ModelDelta(
            tokens,
            request_seconds=request_seconds.get(name),
            running=loads[name].running if name in loads else None,
            batches=batches.get(name, 0),
            engine_seconds=engine_seconds.get(name),
            requests=_count(sums, name, "requests"),
            pending_subtraction=pending_after,
            preemptions=_count(sums, name, "preemptions"),
        )
    served_now = [names[model] for reading in read.readings for model in reading.models]
    served = tuple(dict.fromkeys(served_now)) or before.served
    return ServerDelta(
        key,
        up=read.up,
        models=models,
        models_before=models_before,
        served=served,
        served_models=served or tuple(models),
        partial=read.is_partial(before),
        role=read.role(before),
        division=division,
        principal=principal,
        loads=tuple(loads.values()),
        world_size=max((reading.world_size or 0 for reading in read.readings), default=0),
        latencies=read.latency_sums(names),
        unread_since=min(read.unread_since, default=None),
    )


class _LoadSums(NamedTuple):
    """Load of a server, by admitted model."""

    loads: dict[str, LoadReading]
    batches: dict[str, int]
    """The number of batches that requests run in."""


def _load_sums(readings: Sequence[ServerReading], names: Mapping[str, str]) -> _LoadSums:
    """Add up the load of each model over the endpoints that report any.

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
    return _LoadSums({name: combined(name, loads) for name, loads in by_model.items()}, batches)


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
    kv_cache = Occupancy(sum(cache.used for cache in caches), sum(cache.capacity for cache in caches))
    return LoadReading(
        model,
        _sum(load.running for load in loads),
        _sum(load.waiting for load in loads),
        max_running=sum(maxima) if maxima and len(maxima) == len(loads) else None,
        kv_cache=kv_cache if caches and len(caches) == len(loads) else None,
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
    """Tokens of one model by kind, and what remains to be subtracted from its later tokens, by kind.

    Cached tokens are subtracted from a count that holds them, and their counter can move first.
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

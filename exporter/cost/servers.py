"""Server deltas of one tick: tokens, requests, and how busy money divides over models."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from exporter.cost import counters, split
from exporter.cost.counters import CounterDeltas
from exporter.cost.division import (
    GatewayPools,
    OwnerQuota,
    PoolMember,
    ServerDivision,
    divide_counts,
    server_division,
)
from exporter.cost.money import WHOLE, portions
from exporter.cost.policy import CardinalityLimits, CostPolicy
from exporter.cost.postings import OTHER, CostOwner, RequestPosting, TokenPosting
from exporter.cost.split import ModelTick, PhaseSeconds, PhaseSplit
from exporter.cost.state import DivisionState, EndpointState, GatewayState, ModelState, ServerState, State
from exporter.readings import (
    KINDS,
    Division,
    Frame,
    Kind,
    LoadReading,
    Quantity,
    Role,
    ServerKey,
    ServerReading,
)
from exporter.units import Nanoseconds


@dataclass(frozen=True, slots=True)
class ServerSums:
    """What the endpoints of one server told together, under admitted model names."""

    models: tuple[str, ...]
    served: tuple[str, ...]
    moved: CounterDeltas
    requests: Mapping[str, PhaseSeconds]
    engine: Mapping[str, PhaseSeconds]
    running: Mapping[str, float]
    batches: Mapping[str, int]
    loads: tuple[LoadReading, ...]

    @classmethod
    def of(
        cls, server: ServerState, readings: list[ServerReading], moves: list[CounterDeltas], room: int
    ) -> "ServerSums":
        """Add up what endpoints read and moved. `room` is how many more models have a place."""
        names: dict[str, str] = {model: model for model in server.models}

        def admit(model: str) -> str:
            nonlocal room
            if model not in names:
                names[model] = model if room > 0 else OTHER
                room -= 1
            return names[model]

        served = dict.fromkeys(admit(model) for reading in readings for model in reading.models)
        summed: CounterDeltas = {}
        requests: dict[str, PhaseSeconds] = {}
        engine: dict[str, PhaseSeconds] = {}
        for moved in moves:
            for (model, quantity), value in moved.items():
                counted = admit(model), quantity
                summed[counted] = summed.get(counted, 0.0) + value
                # The prefill seconds of one endpoint are of the kind of the decode seconds beside them.
                if quantity in {"decode_seconds", "decode_request_seconds"}:
                    told = PhaseSeconds(moved.get((model, "prefill_seconds"), 0.0), value)
                    seconds = engine if quantity == "decode_seconds" else requests
                    seconds[counted[0]] = seconds.get(counted[0], PhaseSeconds()) + told
        running: dict[str, float] = {}
        batches: dict[str, int] = {}
        waiting: dict[str, float] = {}
        for load in (load for reading in readings for load in reading.loads):
            model = admit(load.model)
            if load.running is not None:
                running[model] = running.get(model, 0.0) + load.running
                batches[model] = batches.get(model, 0) + (load.batches if load.running > 0 else 0)
            if load.waiting is not None:
                waiting[model] = waiting.get(model, 0.0) + load.waiting
        models = dict.fromkeys([*server.models, *names.values()])
        loads = tuple(
            LoadReading(model, running.get(model), waiting.get(model))
            for model in dict.fromkeys([*running, *waiting])
        )
        return cls(tuple(models), tuple(served), summed, requests, engine, running, batches, loads)

    def tick(self, model: str, tokens: Mapping[Kind, int]) -> ModelTick:
        """What one model did."""
        return ModelTick(
            tokens,
            self.requests.get(model),
            self.running.get(model),
            self.batches.get(model, 0),
            self.engine.get(model),
        )


ELSEWHERE: Mapping[Role, tuple[Quantity, ...]] = {
    "": (),
    "prefill": ("generation",),
    "decode": ("prompt", "cached_prompt"),
}
"""What a role's engine counts that the other one of its pair counts as well: each token is counted once."""


@dataclass(frozen=True, slots=True)
class ServerDelta:
    """What one server told in one tick, before anything is divided.

    `counts` are its tokens by model, `debts` what remains to be taken from later ones. `served` are its
    models: a server that sleeps or loads has those that it had.
    """

    key: ServerKey
    server: ServerState
    readings: list[ServerReading]
    told: ServerSums
    role: Role
    served: tuple[str, ...]
    division: Division | None
    counts: Mapping[str, Mapping[Kind, int]]
    debts: Mapping[str, Mapping[str, int]]

    @classmethod
    def of(
        cls,
        key: ServerKey,
        server: ServerState,
        readings: list[ServerReading],
        told: ServerSums,
        *,
        restarted: bool,
    ) -> "ServerDelta":
        """Settle what was told. `restarted`: some endpoint counts from zero, so that no debt holds."""
        counts: dict[str, Mapping[Kind, int]] = {}
        debts: dict[str, Mapping[str, int]] = {}
        for model in told.models:
            known = server.models.get(model, ModelState()).pending_subtraction
            counts[model], debts[model] = _net(model, told, {} if restarted else dict(known))
        role, division = _role(server, readings), _division(server, readings)
        served = told.served or server.served or told.models
        return cls(key, server, readings, told, role, served, division, counts, debts)

    @property
    def partial(self) -> bool:
        """It does a part of what it serves: a role, or a host of several."""
        if any(reading.role or reading.spans_hosts for reading in self.readings):
            return True
        # One that does not answer may not tell; it is what it was.
        return self.server.partial and not self.up

    @property
    def up(self) -> bool:
        """Some endpoint answered."""
        return any(reading.up for reading in self.readings)

    @property
    def member(self) -> PoolMember | None:
        """As one of those that a gateway leads to."""
        if self.division is None:
            return None
        return PoolMember(self.key, self.division, self.served, self.counts)


def collect_deltas(
    state: State, frame: Frame, limits: CardinalityLimits
) -> tuple[list[ServerDelta], dict[str, EndpointState], dict[str, int]]:
    """What the servers of a frame told.

    Returns:
        It, what is remembered of every watched endpoint, and the implausible series of each, by URL.
    """
    # While nobody knows which servers are here, those that are not read are kept, or their tokens were lost.
    endpoints: dict[str, EndpointState] = dict(state.endpoints) if frame.incomplete else {}
    heard: list[ServerDelta] = []
    implausible: dict[str, int] = {}
    room = limits.models - sum(len(known.models) for known in state.servers.values())
    for key, readings in _by_server(state.servers, frame.servers, limits).items():
        server = state.servers.get(key) or ServerState()
        moves: list[CounterDeltas] = []
        restarted = False
        for reading in readings:
            before = state.endpoints.get(reading.url)
            tick = counters.endpoint_deltas(before, reading, frame.wall)
            endpoints[reading.url] = tick.state
            restarted |= tick.restarted
            if tick.implausible:
                implausible[reading.url] = tick.implausible
            moves.append({key: n for key, n in tick.moved.items() if key[1] not in ELSEWHERE[reading.role]})
        told = ServerSums.of(server, readings, moves, room)
        room -= len(told.models) - len(server.models)
        heard.append(ServerDelta.of(key, server, readings, told, restarted=restarted))
    return heard, endpoints, implausible


def admit_server(known: Mapping[ServerKey, object], key: ServerKey, limits: CardinalityLimits) -> ServerKey:
    """The key under which a server is counted: its own, first come first served, else `other`."""
    if key in known or len(known) < limits.servers:
        return key
    return ServerKey("", OTHER)


def _net(model: str, told: ServerSums, debt: dict[str, int]) -> tuple[dict[Kind, int], dict[str, int]]:
    """What a model counted by kind, and the debt after it."""
    counts: dict[Kind, int] = {}
    for kind in KINDS:
        if (model, kind) not in told.moved:
            continue
        # What is taken out of a counter can come before what it is taken from: it waits as a debt.
        net = round(told.moved[model, kind]) + debt.pop(kind, 0)
        if net < 0:
            debt[kind] = net
        counts[kind] = max(0, net)
    return counts, debt


def _by_server(
    known: Mapping[ServerKey, object], readings: Iterable[ServerReading], limits: CardinalityLimits
) -> dict[ServerKey, list[ServerReading]]:
    admitted = dict(known)
    grouped: dict[ServerKey, list[ServerReading]] = {}
    for reading in readings:
        key = admit_server(admitted, reading.key, limits)
        admitted[key] = None
        grouped.setdefault(key, []).append(reading)
    return grouped


def _role(server: ServerState, readings: Iterable[ServerReading]) -> Role:
    """The role that all endpoints of a server have; a server that has both does both."""
    roles = {reading.role for reading in readings if reading.up or reading.role}
    if not roles:
        return server.role  # those that do not answer may not tell; it is what it was
    return roles.pop() if len(roles) == 1 else ""


def _division(server: ServerState, readings: Iterable[ServerReading]) -> Division | None:
    """What divides a server; where none of its endpoints answers to tell, what it was."""
    readings = tuple(readings)
    told = next((reading.division for reading in readings if reading.division is not None), None)
    return told if told is not None or any(reading.up for reading in readings) else server.division


NO_MODEL = ""
"""The model of a server that never told one."""


@dataclass(frozen=True, slots=True)
class ServerTick:
    """One server in one tick.

    `up`: some endpoint answered. `moved`: tokens moved.
    `running`: it had requests running at its read, or moved tokens where it does not tell; `None`: unknown.
    `busy_models` and `idle_models` are parts of `money.WHOLE` by model, `parties` those of a model by who
    pays, where a gateway divides it.
    `world_size` is the largest that one of its endpoints told, 0 where none did.
    """

    key: ServerKey
    up: bool = False
    running: bool | None = None
    moved: bool = False
    busy_models: Mapping[str, int] = field(default_factory=lambda: {NO_MODEL: WHOLE})
    idle_models: Mapping[str, int] = field(default_factory=lambda: {NO_MODEL: WHOLE})
    splits: Mapping[str, PhaseSplit] = field(default_factory=dict)
    loads: tuple[LoadReading, ...] = ()
    world_size: int = 0
    parties: Mapping[str, Mapping[CostOwner, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServersTick:
    """All servers of one tick, what is remembered of them, and what they add to the books.

    `implausible` are the series that moved by more than any server counts, by URL: nothing is made of them.
    """

    gateways: Mapping[str, GatewayState]
    endpoints: Mapping[str, EndpointState]
    servers: Mapping[ServerKey, ServerState]
    ticks: Mapping[ServerKey, ServerTick]
    tokens: tuple[TokenPosting, ...]
    requests: tuple[RequestPosting, ...]
    implausible: Mapping[str, int] = field(default_factory=dict)


def party(terms: CostPolicy, key: ServerKey, model: str) -> CostOwner:
    """The party of a server's model, owned as the rules say now: a change never moves posted money."""
    return terms.party(key, model)


def owner_shares(terms: CostPolicy, tick: ServerTick, model: str) -> Mapping[CostOwner, int]:
    """Who pays for a server's model, in parts of `money.WHOLE`."""
    return tick.parties.get(model) or {party(terms, tick.key, model): WHOLE}


def advance(state: State, frame: Frame, elapsed: Nanoseconds, terms: CostPolicy) -> ServersTick:
    """Advance every watched endpoint and the servers they make up."""
    heard, endpoints, implausible = collect_deltas(state, frame, terms.limits)
    gateways, asked = counters.gateway_deltas(state.gateways, frame.gateways, frame.wall)
    implausible |= {url: tick.implausible for url, tick in asked.items() if tick.implausible}
    places = OwnerQuota(terms.limits.parties, state.servers.values())
    pools = GatewayPools([one.member for one in heard if one.member is not None], gateways)
    servers: dict[ServerKey, ServerState] = dict(state.servers)
    ticks: dict[ServerKey, ServerTick] = {}
    tokens: list[TokenPosting] = []
    requests: list[RequestPosting] = []
    for one in heard:
        by = server_division(
            one.key, one.division, asked, one.served, terms, elapsed, one.role, places, pools, up=one.up
        )
        models = {model: _advanced(one, model, by, elapsed, terms) for model in one.told.models}
        for did in models.values():
            tokens += did.tokens
            requests += did.requests
        remembered = {**one.server.models, **{model: did.state for model, did in models.items()}}
        served = one.told.served or one.server.served
        servers[one.key] = ServerState(remembered, served, one.partial, one.role, one.division)
        ticks[one.key] = _tick(one, models)
    return ServersTick(gateways, endpoints, servers, ticks, tuple(tokens), tuple(requests), implausible)


class _ModelDelta(NamedTuple):
    """What one model of a server did in one tick: what is remembered of it, and what it adds to the books."""

    state: ModelState
    split: PhaseSplit
    parties: Mapping[CostOwner, int]
    tokens: list[TokenPosting]
    requests: list[RequestPosting]


def _advanced(
    one: ServerDelta, model: str, by: ServerDivision, elapsed: Nanoseconds, terms: CostPolicy
) -> _ModelDelta:
    """Divide what a model counted over who pays, and its time over phases."""
    remembered, counts = one.server.models.get(model, ModelState()), one.counts[model]
    trailed = remembered.division if one.division == one.server.division else DivisionState()
    trail, parties = by.advance(model, trailed, counts)
    amounts: dict[Quantity, int] = {kind: counts[kind] for kind in counts}
    if (model, "requests") in one.told.moved:
        amounts["requests"] = max(0, round(one.told.moved[model, "requests"]))
    found, owed = divide_counts(amounts, parties, trail.rounding)
    if one.division is not None:
        trail = replace(trail, rounding=owed)
    debt = one.debts[model]
    if debt != remembered.pending_subtraction or trail != remembered.division:
        remembered = replace(remembered, pending_subtraction=debt, division=trail)
    rule = terms.split_rule(one.key.server, model)
    state, phases = split.advance(remembered, one.told.tick(model, counts), elapsed, rule, one.role)
    return _ModelDelta(
        state,
        phases,
        parties,
        [TokenPosting(who, kind, n) for kind in counts for who, n in found[kind].items()],
        [RequestPosting(who, n) for who, n in found.get("requests", {}).items()],
    )


def _tick(one: ServerDelta, models: Mapping[str, _ModelDelta]) -> ServerTick:
    splits = {model: did.split for model, did in models.items()}
    # A model that is no longer served pays no idle money.
    current = {model: splits[model] for model in one.served if model in splits}
    if not current:
        current = {NO_MODEL: PhaseSplit("none", None, 0.0, 0.0)}
    largest = max(model.trailing for model in current.values())
    trailing = {
        name: round(model.trailing / largest * WHOLE) if largest > 0 else 0 for name, model in current.items()
    }
    heaviest = max((model.weight for model in splits.values()), default=0.0)
    idle = portions(trailing)
    busy = idle
    if heaviest > 0:
        busy = portions({name: round(model.weight / heaviest * WHOLE) for name, model in splits.items()})
    told = one.told.running
    running = any(value > 0 for value in told.values()) if told else heaviest > 0 or None
    return ServerTick(
        one.key,
        up=one.up,
        running=running,
        moved=heaviest > 0,
        busy_models=busy,
        idle_models=idle,
        splits=splits,
        loads=one.told.loads,
        world_size=max((reading.world_size or 0 for reading in one.readings), default=0),
        parties={} if one.division is None else {model: did.parties for model, did in models.items()},
    )

"""What each server did in one tick: tokens, requests, and how its busy money divides over models."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from exporter.cost import deltas, split
from exporter.cost.deltas import Moved
from exporter.cost.money import WHOLE, portions
from exporter.cost.policy import Limits, Terms
from exporter.cost.postings import OTHER, Party, Requests, Tokens
from exporter.cost.split import ModelTick, PhaseSeconds, PhaseSplit
from exporter.cost.state import EndpointState, ModelState, ServerState, State
from exporter.readings import KINDS, Frame, Kind, LoadReading, Quantity, Role, ServerKey, ServerReading
from exporter.units import Nanoseconds

ELSEWHERE: Mapping[Role, tuple[Quantity, ...]] = {
    "": (),
    "prefill": ("generation",),
    "decode": ("prompt", "cached_prompt"),
}
"""What a role's engine counts that the other one of its pair counts as well: each token is counted once."""

NO_MODEL = ""
"""The model of a server that never told one."""


@dataclass(frozen=True, slots=True)
class ServerTick:
    """One server in one tick.

    `up`: some endpoint answered. `moved`: tokens moved.
    `running`: it had requests running at its read, or moved tokens where it does not tell; `None`: unknown.
    `busy_models` and `idle_models` are parts of `money.WHOLE` by model.
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


@dataclass(frozen=True, slots=True)
class Round:
    """All servers of one tick, what is remembered of them, and what they add to the books."""

    endpoints: Mapping[str, EndpointState]
    servers: Mapping[ServerKey, ServerState]
    ticks: Mapping[ServerKey, ServerTick]
    tokens: tuple[Tokens, ...]
    requests: tuple[Requests, ...]


def party(terms: Terms, key: ServerKey, model: str) -> Party:
    """The party of a server's model, owned as the rules say now: a change never moves posted money."""
    return terms.party(key, model)


def admit_server(known: Mapping[ServerKey, object], key: ServerKey, limits: Limits) -> ServerKey:
    """The key under which a server is counted: its own, first come first served, else `other`."""
    if key in known or len(known) < limits.servers:
        return key
    return ServerKey("", OTHER)


def advance(state: State, frame: Frame, elapsed: Nanoseconds, terms: Terms) -> Round:
    """Advance every watched endpoint and the servers they make up."""
    # While nobody knows which servers are here, those that are not read are kept, or their tokens were lost.
    endpoints: dict[str, EndpointState] = dict(state.endpoints) if frame.blind else {}
    servers: dict[ServerKey, ServerState] = dict(state.servers)
    ticks: dict[ServerKey, ServerTick] = {}
    tokens: list[Tokens] = []
    requests: list[Requests] = []
    for key, readings in _by_server(servers, frame.servers, terms.limits).items():
        server = servers.setdefault(key, ServerState())
        moves: list[Moved] = []
        restarted = False
        for reading in readings:
            before = state.endpoints.get(reading.url)
            after, delta, anew = deltas.endpoint(before, reading, frame.wall)
            endpoints[reading.url] = after
            restarted |= anew
            moves.append({key: n for key, n in delta.items() if key[1] not in ELSEWHERE[reading.role]})
        room = terms.limits.models - sum(len(known.models) for known in servers.values())
        told = _Told.of(server, readings, moves, room)
        role = _role(server, readings)
        models: dict[str, ModelState] = {}
        splits: dict[str, PhaseSplit] = {}
        for model in told.models:
            remembered = server.models.get(model, ModelState())
            debt = {} if restarted else dict(remembered.debt)
            who = party(terms, key, model)
            counts = {}
            for kind in KINDS:
                if (model, kind) not in told.moved:
                    continue
                # What is taken out of a counter can come before what it is taken from: it waits as a debt.
                net = round(told.moved[model, kind]) + debt.pop(kind, 0)
                if net < 0:
                    debt[kind] = net
                counts[kind] = max(0, net)
                tokens.append(Tokens(who, kind, counts[kind]))
            if (model, "requests") in told.moved:
                requests.append(Requests(who, max(0, round(told.moved[model, "requests"]))))
            models[model], splits[model] = split.advance(
                remembered if debt == remembered.debt else replace(remembered, debt=debt),
                told.tick(model, counts),
                elapsed,
                terms.split_rule(key.server, model),
                role,
            )
        # A server that sleeps or loads has the models that it had.
        served = told.served or server.served
        partial = _partial(server, readings)
        servers[key] = ServerState({**server.models, **models}, served, partial, role)
        ticks[key] = _tick(key, readings, told, splits, served or told.models)
    return Round(endpoints, servers, ticks, tuple(tokens), tuple(requests))


@dataclass(frozen=True, slots=True)
class _Told:
    """What the endpoints of one server told together, under admitted model names."""

    models: tuple[str, ...]
    served: tuple[str, ...]
    moved: Moved
    requests: Mapping[str, PhaseSeconds]
    engine: Mapping[str, PhaseSeconds]
    running: Mapping[str, float]
    batches: Mapping[str, int]
    loads: tuple[LoadReading, ...]

    @classmethod
    def of(cls, server: ServerState, readings: list[ServerReading], moves: list[Moved], room: int) -> "_Told":
        names: dict[str, str] = {model: model for model in server.models}

        def admit(model: str) -> str:
            nonlocal room
            if model not in names:
                names[model] = model if room > 0 else OTHER
                room -= 1
            return names[model]

        served = dict.fromkeys(admit(model) for reading in readings for model in reading.models)
        summed: Moved = {}
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


def _by_server(
    known: Mapping[ServerKey, object], readings: Iterable[ServerReading], limits: Limits
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


def _partial(server: ServerState, readings: Iterable[ServerReading]) -> bool:
    readings = tuple(readings)
    if any(reading.role or reading.spans_hosts for reading in readings):
        return True
    # One that does not answer may not tell; it is what it was.
    return server.partial and not any(reading.up for reading in readings)


def _tick(
    key: ServerKey,
    readings: list[ServerReading],
    told: _Told,
    splits: Mapping[str, PhaseSplit],
    served: Iterable[str],
) -> ServerTick:
    # A model that is no longer served pays no idle money.
    current = {model: splits[model] for model in served if model in splits}
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
    running = any(value > 0 for value in told.running.values()) if told.running else heaviest > 0 or None
    return ServerTick(
        key,
        up=any(reading.up for reading in readings),
        running=running,
        moved=heaviest > 0,
        busy_models=busy,
        idle_models=idle,
        splits=splits,
        loads=told.loads,
        world_size=max((reading.world_size or 0 for reading in readings), default=0),
    )

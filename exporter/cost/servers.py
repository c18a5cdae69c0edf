"""What each server did in one tick: tokens, requests, and how its busy money divides over models."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from exporter.cost import deltas, split, tallies
from exporter.cost.deltas import Moved
from exporter.cost.division import Places, divided, dividing
from exporter.cost.money import WHOLE, portions
from exporter.cost.policy import Limits, Terms
from exporter.cost.pools import Member, Pools
from exporter.cost.postings import OTHER, Party, Requests, Tokens
from exporter.cost.split import PhaseSplit
from exporter.cost.state import DivisionState, EndpointState, GatewayState, ModelState, ServerState, State
from exporter.cost.told import Told
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
    parties: Mapping[str, Mapping[Party, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Round:
    """All servers of one tick, what is remembered of them, and what they add to the books."""

    gateways: Mapping[str, GatewayState]
    endpoints: Mapping[str, EndpointState]
    servers: Mapping[ServerKey, ServerState]
    ticks: Mapping[ServerKey, ServerTick]
    tokens: tuple[Tokens, ...]
    requests: tuple[Requests, ...]


def party(terms: Terms, key: ServerKey, model: str) -> Party:
    """The party of a server's model, owned as the rules say now: a change never moves posted money."""
    return terms.party(key, model)


def payers(terms: Terms, tick: ServerTick, model: str) -> Mapping[Party, int]:
    """Who pays for a server's model, in parts of `money.WHOLE`."""
    return tick.parties.get(model) or {party(terms, tick.key, model): WHOLE}


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
    gateways, asked = tallies.advance(state.gateways, frame.gateways)
    places = Places(terms.limits.parties, servers.values())
    heard: list[_Heard] = []
    room = terms.limits.models - sum(len(known.models) for known in servers.values())
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
        told = Told.of(server, readings, moves, room)
        room -= len(told.models) - len(server.models)
        heard.append(_Heard.of(key, server, readings, told, restarted=restarted))
    pools = Pools([one.member for one in heard if one.member is not None], gateways)
    for one in heard:
        by = dividing(
            one.key, one.division, asked, one.served, terms, elapsed, one.role, places, pools, up=one.up
        )
        models: dict[str, ModelState] = {}
        splits: dict[str, PhaseSplit] = {}
        parties: dict[str, Mapping[Party, int]] = {}
        for model in one.told.models:
            remembered = one.server.models.get(model, ModelState())
            counts = one.counts[model]
            trailed = remembered.division if one.division == one.server.division else DivisionState()
            trail, parties[model] = by.advance(model, trailed, counts)
            amounts: dict[Quantity, int] = {kind: counts[kind] for kind in counts}
            if (model, "requests") in one.told.moved:
                amounts["requests"] = max(0, round(one.told.moved[model, "requests"]))
            found, owed = divided(amounts, parties[model], trail.owed)
            tokens += [Tokens(who, kind, n) for kind in counts for who, n in found[kind].items()]
            requests += [Requests(who, n) for who, n in found.get("requests", {}).items()]
            if one.division is not None:
                trail = replace(trail, owed=owed)
            debt = one.debts[model]
            if debt != remembered.debt or trail != remembered.division:
                remembered = replace(remembered, debt=debt, division=trail)
            models[model], splits[model] = split.advance(
                remembered,
                one.told.tick(model, counts),
                elapsed,
                terms.split_rule(one.key.server, model),
                one.role,
            )
        partial = _partial(one.server, one.readings)
        served = one.told.served or one.server.served
        servers[one.key] = ServerState(
            {**one.server.models, **models}, served, partial, one.role, one.division
        )
        tick = _tick(one.key, one.readings, one.told, splits, one.served)
        ticks[one.key] = tick if one.division is None else replace(tick, parties=parties)
    return Round(gateways, endpoints, servers, ticks, tuple(tokens), tuple(requests))


@dataclass(frozen=True, slots=True)
class _Heard:
    """What one server told in one tick, before anything is divided.

    `counts` are its tokens by model, `debts` what remains to be taken from later ones. `served` are its
    models: a server that sleeps or loads has those that it had.
    """

    key: ServerKey
    server: ServerState
    readings: list[ServerReading]
    told: Told
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
        told: Told,
        *,
        restarted: bool,
    ) -> "_Heard":
        counts: dict[str, Mapping[Kind, int]] = {}
        debts: dict[str, Mapping[str, int]] = {}
        for model in told.models:
            known = server.models.get(model, ModelState()).debt
            counts[model], debts[model] = _net(model, told, {} if restarted else dict(known))
        role, division = _role(server, readings), _division(server, readings)
        served = told.served or server.served or told.models
        return cls(key, server, readings, told, role, served, division, counts, debts)

    @property
    def up(self) -> bool:
        """Some endpoint answered."""
        return any(reading.up for reading in self.readings)

    @property
    def member(self) -> Member | None:
        """As one of those that a gateway leads to."""
        if self.division is None:
            return None
        return Member(self.key, self.division, self.served, self.counts)


def _net(model: str, told: Told, debt: dict[str, int]) -> tuple[dict[Kind, int], dict[str, int]]:
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


def _division(server: ServerState, readings: Iterable[ServerReading]) -> Division | None:
    """What divides a server; where none of its endpoints answers to tell, what it was."""
    readings = tuple(readings)
    told = next((reading.division for reading in readings if reading.division is not None), None)
    return told if told is not None or any(reading.up for reading in readings) else server.division


def _partial(server: ServerState, readings: Iterable[ServerReading]) -> bool:
    readings = tuple(readings)
    if any(reading.role or reading.spans_hosts for reading in readings):
        return True
    # One that does not answer may not tell; it is what it was.
    return server.partial and not any(reading.up for reading in readings)


def _tick(
    key: ServerKey,
    readings: list[ServerReading],
    told: Told,
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

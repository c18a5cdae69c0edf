"""What each server did in one tick: tokens, requests, and how its busy money divides over models."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from exporter.cost import split, tallies
from exporter.cost.division import Dividing, Places, divided, dividing
from exporter.cost.heard import Heard, hear
from exporter.cost.money import WHOLE, portions
from exporter.cost.policy import Terms
from exporter.cost.pools import Pools
from exporter.cost.postings import Party, Requests, Tokens
from exporter.cost.split import PhaseSplit
from exporter.cost.state import DivisionState, EndpointState, GatewayState, ModelState, ServerState, State
from exporter.readings import Frame, LoadReading, Quantity, ServerKey
from exporter.units import Nanoseconds

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
    """All servers of one tick, what is remembered of them, and what they add to the books.

    `implausible` are the series that moved by more than any server counts, by URL: nothing is made of them.
    """

    gateways: Mapping[str, GatewayState]
    endpoints: Mapping[str, EndpointState]
    servers: Mapping[ServerKey, ServerState]
    ticks: Mapping[ServerKey, ServerTick]
    tokens: tuple[Tokens, ...]
    requests: tuple[Requests, ...]
    implausible: Mapping[str, int] = field(default_factory=dict)


def party(terms: Terms, key: ServerKey, model: str) -> Party:
    """The party of a server's model, owned as the rules say now: a change never moves posted money."""
    return terms.party(key, model)


def payers(terms: Terms, tick: ServerTick, model: str) -> Mapping[Party, int]:
    """Who pays for a server's model, in parts of `money.WHOLE`."""
    return tick.parties.get(model) or {party(terms, tick.key, model): WHOLE}


def advance(state: State, frame: Frame, elapsed: Nanoseconds, terms: Terms) -> Round:
    """Advance every watched endpoint and the servers they make up."""
    heard, endpoints, implausible = hear(state, frame, terms.limits)
    gateways, asked = tallies.advance(state.gateways, frame.gateways, frame.wall)
    implausible |= {url: tick.implausible for url, tick in asked.items() if tick.implausible}
    places = Places(terms.limits.parties, state.servers.values())
    pools = Pools([one.member for one in heard if one.member is not None], gateways)
    servers: dict[ServerKey, ServerState] = dict(state.servers)
    ticks: dict[ServerKey, ServerTick] = {}
    tokens: list[Tokens] = []
    requests: list[Requests] = []
    for one in heard:
        by = dividing(
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
    return Round(gateways, endpoints, servers, ticks, tuple(tokens), tuple(requests), implausible)


class _Model(NamedTuple):
    """What one model of a server did in one tick: what is remembered of it, and what it adds to the books."""

    state: ModelState
    split: PhaseSplit
    parties: Mapping[Party, int]
    tokens: list[Tokens]
    requests: list[Requests]


def _advanced(one: Heard, model: str, by: Dividing, elapsed: Nanoseconds, terms: Terms) -> _Model:
    """Divide what a model counted over who pays, and its time over phases."""
    remembered, counts = one.server.models.get(model, ModelState()), one.counts[model]
    trailed = remembered.division if one.division == one.server.division else DivisionState()
    trail, parties = by.advance(model, trailed, counts)
    amounts: dict[Quantity, int] = {kind: counts[kind] for kind in counts}
    if (model, "requests") in one.told.moved:
        amounts["requests"] = max(0, round(one.told.moved[model, "requests"]))
    found, owed = divided(amounts, parties, trail.owed)
    if one.division is not None:
        trail = replace(trail, owed=owed)
    debt = one.debts[model]
    if debt != remembered.debt or trail != remembered.division:
        remembered = replace(remembered, debt=debt, division=trail)
    rule = terms.split_rule(one.key.server, model)
    state, phases = split.advance(remembered, one.told.tick(model, counts), elapsed, rule, one.role)
    return _Model(
        state,
        phases,
        parties,
        [Tokens(who, kind, n) for kind in counts for who, n in found[kind].items()],
        [Requests(who, n) for who, n in found.get("requests", {}).items()],
    )


def _tick(one: Heard, models: Mapping[str, _Model]) -> ServerTick:
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

"""What each server told in one tick, all its endpoints together, before anything is divided."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from exporter.cost import deltas
from exporter.cost.deltas import Moved
from exporter.cost.policy import Limits
from exporter.cost.pools import Member
from exporter.cost.postings import OTHER
from exporter.cost.state import EndpointState, ModelState, ServerState, State
from exporter.cost.told import Told
from exporter.readings import KINDS, Division, Frame, Kind, Quantity, Role, ServerKey, ServerReading

ELSEWHERE: Mapping[Role, tuple[Quantity, ...]] = {
    "": (),
    "prefill": ("generation",),
    "decode": ("prompt", "cached_prompt"),
}
"""What a role's engine counts that the other one of its pair counts as well: each token is counted once."""


@dataclass(frozen=True, slots=True)
class Heard:
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
    ) -> "Heard":
        """Settle what was told. `restarted`: some endpoint counts from zero, so that no debt holds."""
        counts: dict[str, Mapping[Kind, int]] = {}
        debts: dict[str, Mapping[str, int]] = {}
        for model in told.models:
            known = server.models.get(model, ModelState()).debt
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
    def member(self) -> Member | None:
        """As one of those that a gateway leads to."""
        if self.division is None:
            return None
        return Member(self.key, self.division, self.served, self.counts)


def hear(
    state: State, frame: Frame, limits: Limits
) -> tuple[list[Heard], dict[str, EndpointState], dict[str, int]]:
    """What the servers of a frame told.

    Returns:
        It, what is remembered of every watched endpoint, and the implausible series of each, by URL.
    """
    # While nobody knows which servers are here, those that are not read are kept, or their tokens were lost.
    endpoints: dict[str, EndpointState] = dict(state.endpoints) if frame.blind else {}
    heard: list[Heard] = []
    implausible: dict[str, int] = {}
    room = limits.models - sum(len(known.models) for known in state.servers.values())
    for key, readings in _by_server(state.servers, frame.servers, limits).items():
        server = state.servers.get(key) or ServerState()
        moves: list[Moved] = []
        restarted = False
        for reading in readings:
            before = state.endpoints.get(reading.url)
            tick = deltas.endpoint(before, reading, frame.wall)
            endpoints[reading.url] = tick.state
            restarted |= tick.restarted
            if tick.implausible:
                implausible[reading.url] = tick.implausible
            moves.append({key: n for key, n in tick.moved.items() if key[1] not in ELSEWHERE[reading.role]})
        told = Told.of(server, readings, moves, room)
        room -= len(told.models) - len(server.models)
        heard.append(Heard.of(key, server, readings, told, restarted=restarted))
    return heard, endpoints, implausible


def admit_server(known: Mapping[ServerKey, object], key: ServerKey, limits: Limits) -> ServerKey:
    """The key under which a server is counted: its own, first come first served, else `other`."""
    if key in known or len(known) < limits.servers:
        return key
    return ServerKey("", OTHER)


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

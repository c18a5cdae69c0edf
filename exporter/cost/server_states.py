"""States of servers from tick to tick: which servers get one, which are partial or forgotten. Pure."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Final

from exporter.cost.admission import principal_of
from exporter.cost.servers import AdvancedServers, ServerActivity
from exporter.cost.state import GpuState, ServerState
from exporter.readings import Frame, ServerKey
from exporter.units import NANOSECONDS_PER_HOUR, Instant, Nanoseconds

FORGOTTEN_AFTER: Final[Nanoseconds] = 24 * NANOSECONDS_PER_HOUR
"""How long a server is absent, and its rows unchanged, until its rows leave the page."""

ServerStates = Mapping[ServerKey, ServerState]


def states_after(
    servers: AdvancedServers,
    frame: Frame,
    *,
    slots: Iterable[GpuState],
    listed: Collection[str],
    present: Collection[ServerKey],
) -> ServerStates:
    """The states of servers that the next tick begins with.

    Args:
        servers: all servers after the tick.
        frame: of the tick.
        slots: the slots of the host, with the holders of the tick.
        listed: the UUIDs of GPUs that NVML lists.
        present: servers that hold a GPU or have an endpoint.
    """
    states = with_unwatched(servers.states, frame, listed=listed, beyond=servers.deltas.beyond)
    states = with_partial(states, servers.activity, slots)
    if frame.incomplete:  # only a complete frame shows who is absent
        return states
    return without_absent(states, present, frame.wall)


def with_unwatched(
    states: ServerStates, frame: Frame, *, listed: Collection[str], beyond: Mapping[ServerKey, ServerKey]
) -> ServerStates:
    """The states, and a new one for each server that holds a listed GPU and was never watched.

    `beyond` has the servers beyond the limit, each with the key that counts it.
    """
    with_holders = dict(states)
    for holder in frame.holders:
        key = beyond.get(holder.key, holder.key)
        if holder.uuid in listed and key not in with_holders:
            with_holders[key] = ServerState(principal=principal_of(holder.key, frame.users))
    return with_holders


def with_partial(
    states: ServerStates, activity: Mapping[ServerKey, ServerActivity], slots: Iterable[GpuState]
) -> ServerStates:
    """The states, partial where a server declares more GPUs than it holds here: other hosts compute for it.

    Servers that are partial by their role or their hosts are so in `states` already, by `server_deltas`.
    """
    devices = {(holder.key, holder.uuid, holder.instance) for slot in slots for holder in slot.holders}
    gpus_held = Counter(key for key, _uuid, _instance in devices)
    partial = {
        key: replace(states[key], partial=True)
        for key, server in activity.items()
        if server.world_size > gpus_held[key]
    }
    return {**states, **partial}


def without_absent(states: ServerStates, present: Collection[ServerKey], wall: Instant) -> ServerStates:
    """The states, without servers that were absent for a day: other servers get their places of the limit.

    `present` are the servers that hold a GPU or have an endpoint at the `wall` time of the tick.
    """
    remaining: dict[ServerKey, ServerState] = {}
    for key, server in states.items():
        if key in present:
            remaining[key] = replace(server, absent_since=None)
            continue
        absent_since = wall if server.absent_since is None else server.absent_since
        if wall - absent_since < FORGOTTEN_AFTER:
            remaining[key] = replace(server, absent_since=absent_since)
    return remaining

"""Consolidation: servers whose busy time and memory fit on GPUs of others on their host. Pure.

GPUs that share a server are one group: a server on several GPUs is never split. A group moves as a whole,
each of its GPUs onto another one of the same model on the same host; other hosts have other disks and
networks. Large groups stay and small ones move, in one order: the same hours give the same answer.
"""

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Final, NamedTuple

from exporter.advice.claims import Claim, HostClaims
from exporter.advice.hours import WEEK_HOURS, PricedGpu, ServerHour, gpu_models, least_sure
from exporter.advice.saving import FewerGpus, Saving, names
from exporter.cost.money import add, add_all
from exporter.readings import ServerKey
from exporter.units import NANOSECONDS_PER_HOUR, Nanoseconds

BUSY_LIMIT: Final = Fraction(7, 10)
"""The most of an hour that a shared GPU may be busy, in every hour of the window."""

MEMORY_RESERVE: Final = Fraction(1, 10)
"""The part of a GPU's memory that peaks of its servers leave free."""

UNSEEN_PARTS: Final = 20
"""An hour is not judged if one part in so many of a server's time was unobserved."""


@dataclass(slots=True)
class _GpuLoad:
    """Load of one GPU, all its servers together. One that stays gets that of those that move onto it."""

    gpu: PricedGpu
    window: int
    """Hours up to now in which usage and memory of its servers are known."""
    measured: bool
    """Whether it can be judged: memory is known, for a week."""
    memory: int
    """Peaks of its servers together; 0 where one is not known."""
    busy: dict[int, Nanoseconds] = field(default_factory=dict)
    idle: dict[ServerKey, dict[int, Nanoseconds]] = field(default_factory=dict)
    """Idle time of its own servers that no move has taken, by hour."""

    def has_room(self, other: "_GpuLoad") -> bool:
        """Whether another load fits beside its own."""
        if self.gpu.gpu.gpu_model != other.gpu.gpu.gpu_model:
            return False
        whole = self.gpu.memory_bytes
        if whole and self.memory + other.memory > whole * (1 - MEMORY_RESERVE):
            return False
        limit = NANOSECONDS_PER_HOUR * BUSY_LIMIT
        return all(time + self.busy.get(hour, 0) <= limit for hour, time in other.busy.items())


class _GpuGroup(NamedTuple):
    """GPUs that servers connect."""

    servers: tuple[ServerKey, ...]
    loads: tuple[_GpuLoad, ...]

    @property
    def order(self) -> tuple[int, int, str]:
        """Large ones first."""
        busy = sum(sum(load.busy.values()) for load in self.loads)
        return -len(self.loads), -busy, self.loads[0].gpu.gpu.uuid


class _Move(NamedTuple):
    group: _GpuGroup
    targets: tuple[_GpuLoad, ...]
    """For each GPU of the group the one that its load moves onto."""
    window: int


def consolidations(fleet: Sequence[HostClaims]) -> Iterator[Claim]:
    """Servers that fit on fewer GPUs of their host.

    Servers of muted findings neither move nor get company; what they would save is listed.
    """
    for claims in fleet:
        standby = claims.silent.keys() - claims.stopped
        alone = {key for key in claims.serving if claims.policy.ignored_by("consolidation", key)}
        groups = _groups(claims, standby | alone)
        moves = _moves(group for group in groups if group.loads[0].measured)
        for move in moves:
            yield _claim(claims, move)
        if alone:
            for move in _moves(group for group in _groups(claims, standby) if group.loads[0].measured):
                claim = _claim(claims, move)
                for key in sorted(alone.intersection(move.group.servers)):
                    yield claim._replace(saving=replace(claim.saving, server=key))
        # Servers that would move if what is not known of their memory and of a week were small.
        moving = {move.group.servers for move in moves}
        unknown = [
            move
            for move in _moves(groups)
            if move.group.servers not in moving and not all(target.measured for target in move.targets)
        ]
        if not unknown:
            continue
        subject = names(sorted({key for move in unknown for key in move.group.servers}))
        if claims.host.length < WEEK_HOURS:
            claims.lack("days", subject, claims.host.length)
        else:
            claims.lack("memory", subject, min(move.window for move in unknown))


def _groups(claims: HostClaims, excluded: AbstractSet[ServerKey]) -> list[_GpuGroup]:
    """Groups of held GPUs that share a server, of which all servers are judged and serve.

    A silent process may be anything. Excluded servers neither move nor get company.
    """
    connected: list[list[PricedGpu]] = []
    for gpu in sorted((gpu for gpu in claims.host.gpus if gpu.holders), key=lambda gpu: gpu.gpu):
        near = [group for group in connected if any(gpu.holders & other.holders for other in group)]
        connected = [group for group in connected if group not in near]
        connected.append([*(other for group in near for other in group), gpu])
    working = {
        key
        for key, server in claims.serving.items()
        if key not in excluded and any(hour.tokens for hour in server.hours.values())
    }
    groups: list[_GpuGroup] = []
    for gpus in connected:
        servers = {key for gpu in gpus for key in gpu.holders} - claims.stopped
        alike = len(gpu_models(gpus)) == 1 and not any(gpu.divided for gpu in gpus)
        if servers and servers <= working and alike:
            groups.append(_group(claims, sorted(gpus, key=lambda gpu: gpu.gpu), tuple(sorted(servers))))
    return groups


def _group(claims: HostClaims, gpus: Sequence[PricedGpu], servers: tuple[ServerKey, ...]) -> _GpuGroup:
    host = claims.host
    pairs = [(gpu.gpu, key) for gpu in gpus for key in servers if key in gpu.holders]

    def is_known(hour: int) -> bool:
        if hour not in host.hours:
            return True  # the host was off
        usages = [claims.serving[key].hours.get(hour) for key in servers]
        if any(usage is None or _is_unseen(usage) for usage in usages):
            return False
        return all(pair in host.memory.get(hour, {}) for pair in pairs)

    window = host.longest({hour for hour in host.last_hours(host.length) if is_known(hour)})
    peaks: dict[str, int] = {}
    memory_known = all(gpu.memory_bytes for gpu in gpus)
    for pair in pairs:
        amounts = [host.memory.get(hour, {}).get(pair) for hour in host.last_hours(window)]
        known = [amount for amount in amounts if amount is not None]
        memory_known = memory_known and bool(known)
        add(peaks, pair[0].uuid, max(known, default=0))
    loads: list[_GpuLoad] = []
    for gpu in gpus:
        memory = peaks.get(gpu.gpu.uuid, 0) if memory_known else 0
        load = _GpuLoad(gpu, window, measured=memory_known and window >= WEEK_HOURS, memory=memory)
        for key in servers:
            if key in gpu.holders:
                server = claims.serving[key]
                idle = load.idle[key] = {}
                for hour, usage in server.hours.items():
                    if not _is_unseen(usage):
                        add(load.busy, hour, -(-usage.active // len(server.gpus)))
                        idle[hour] = usage.idle // len(server.gpus)
        loads.append(load)
    return _GpuGroup(servers, tuple(loads))


def _is_unseen(usage: ServerHour) -> bool:
    return usage.unobserved * UNSEEN_PARTS > usage.gpu_time


def _moves(groups: Iterable[_GpuGroup]) -> list[_Move]:
    """First fit: each group moves if it fits on GPUs that stay, else its own stay. Unknown memory is none."""
    moves: list[_Move] = []
    staying: list[_GpuLoad] = []
    for group in sorted(groups, key=lambda group: group.order):
        free = list(staying)
        targets: list[_GpuLoad] = []
        for load in group.loads:
            room = next((target for target in free if target.has_room(load)), None)
            if room is not None:
                free.remove(room)
                targets.append(room)
        if len(targets) < len(group.loads):
            idle_of = ({key: dict(hours) for key, hours in load.idle.items()} for load in group.loads)
            for load, idle in zip(group.loads, idle_of, strict=True):
                staying.append(replace(load, busy=dict(load.busy), idle=idle))
            continue
        for load, target in zip(group.loads, targets, strict=True):
            add_all(target.busy, load.busy)
            target.memory += load.memory
            target.window = min(target.window, load.window)
            target.measured = target.measured and load.measured
        moves.append(_Move(group, tuple(targets), min(target.window for target in targets)))
    return moves


def _claim(claims: HostClaims, move: _Move) -> Claim:
    """A move claims the idle time of what moves, and its busy time out of the idle time of the others."""
    servers, loads = move.group
    own = borrowed = 0
    taken: dict[ServerKey, dict[int, int]] = {}
    for load, target in zip(loads, move.targets, strict=True):
        for hour in claims.host.last_hours(move.window):
            own += sum(hours.get(hour, 0) for hours in load.idle.values())
            left = load.busy.get(hour, 0)
            for key, idle in target.idle.items():
                part = min(left, idle.get(hour, 0))
                if part:
                    idle[hour] -= part
                    add(taken.setdefault(key, {}), hour, part)
                    borrowed += part
                    left -= part
    gpus = tuple(load.gpu for load in loads)
    involved = [*gpus, *(target.gpu for target in move.targets)]
    fullest = max(move.targets, key=lambda target: target.memory)
    claimed = own + borrowed
    saving = Saving(
        kind="consolidation",
        host=claims.host.name,
        server=servers[0],
        claimed=claimed,
        amount=claimed * min(gpu.price for gpu in involved) // NANOSECONDS_PER_HOUR,
        gpus=len(gpus),
        gpu_models=gpu_models(gpus),
        window_hours=move.window,
        price_basis=least_sure(gpu.price_basis for gpu in involved),
        fewer=FewerGpus(
            servers=servers,
            onto=tuple(sorted({key for target in move.targets for key in target.idle})),
            busiest=max((time for target in move.targets for time in target.busy.values()), default=0),
            memory_bytes=fullest.memory,
            memory_total_bytes=fullest.gpu.memory_bytes or 0,
            borrowed=borrowed,
        ),
    )
    emptied = tuple(gpu for gpu in gpus if gpu.holders - claims.stopped)
    return Claim(claims, saving, emptied, frozenset(servers), taken)

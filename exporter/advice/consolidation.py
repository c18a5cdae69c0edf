"""Consolidation: servers whose busy time and memory fit on GPUs of others on their host. Pure.

GPUs that share a server are one group: a server on several GPUs is never split. A group moves as a whole,
each of its GPUs onto another one of the same model on the same host; other hosts have other disks and
networks. Large groups stay and small ones move, in one order: the same hours give the same answer.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import field
from fractions import Fraction
from typing import Final, NamedTuple

from exporter.advice.finding import FewerGpus, Lack, Saving, names
from exporter.advice.hours import (
    WEEK_HOURS,
    HostUsage,
    JudgedServer,
    PricedGpu,
    ServerHour,
    gpu_models,
    least_sure,
)
from exporter.cost.money import add, add_all
from exporter.frozen import dataclass
from exporter.readings import ServerKey
from exporter.units import NANOSECONDS_PER_HOUR, Nanoseconds

BUSY_LIMIT: Final = Fraction(7, 10)
"""The most of an hour that a shared GPU may be busy, in every hour of the window."""

MEMORY_RESERVE: Final = Fraction(1, 10)
"""The part of a GPU's memory that peaks of its servers leave free."""

UNSEEN_PARTS: Final = 20
"""An hour is not judged if one part in so many of a server's time was unobserved."""

ByHour = Mapping[int, Nanoseconds]


@dataclass(frozen=True, slots=True)
class _GpuGroup:
    """GPUs that servers connect. `busy` and `memory` are by UUID, all servers of the GPU together.

    `window` are the hours up to now in which its usage and memory are known; `memory` is empty where that of
    a server or a GPU is not.
    """

    gpus: tuple[PricedGpu, ...]
    servers: tuple[ServerKey, ...]
    busy: Mapping[str, ByHour]
    idle: Mapping[tuple[str, ServerKey], ByHour]
    memory: Mapping[str, int]
    window: int

    @property
    def order(self) -> tuple[int, int, str]:
        """Large ones first."""
        busy = sum(sum(hours.values()) for hours in self.busy.values())
        return -len(self.gpus), -busy, self.gpus[0].gpu.uuid

    @property
    def measured(self) -> bool:
        """Whether it can be judged."""
        return bool(self.memory) and self.window >= WEEK_HOURS


@dataclass(slots=True)
class _SharedGpu:
    """A GPU that stays, with what was moved onto it.

    `idle` is idle time of its own servers that no move has taken.
    """

    gpu: PricedGpu
    servers: tuple[ServerKey, ...]
    busy: dict[int, Nanoseconds]
    idle: dict[ServerKey, dict[int, Nanoseconds]]
    memory: int
    window: int
    measured: bool


class _Move(NamedTuple):
    group: _GpuGroup
    pairs: tuple[tuple[PricedGpu, _SharedGpu], ...]
    window: int


@dataclass(frozen=True, slots=True)
class Consolidations:
    """Findings of a host, and what they claim.

    `moved` are servers that leave their GPUs, and `freed` these GPUs. By server onto whose GPUs they move,
    `guests` are those that come, and `taken` is its idle time by hour in which these would work.
    """

    savings: tuple[Saving, ...] = ()
    moved: frozenset[ServerKey] = frozenset()
    freed: frozenset[str] = frozenset()
    taken: Mapping[ServerKey, Mapping[int, Nanoseconds]] = field(default_factory=dict)
    guests: Mapping[ServerKey, frozenset[ServerKey]] = field(default_factory=dict)


def consolidations(
    host: HostUsage,
    judged: Mapping[ServerKey, JudgedServer],
    stopped: AbstractSet[ServerKey],
    excluded: AbstractSet[ServerKey],
) -> tuple[Consolidations, tuple[Lack, ...]]:
    """Servers that fit on fewer GPUs, and what is missing for a judgment.

    Args:
        host: the host.
        judged: its servers whose GPUs have a price.
        stopped: servers that stop anyway: they take neither time nor memory.
        excluded: servers that neither move nor get company.
    """
    groups = [
        _group(host, gpus, judged, stopped)
        for gpus in _connected(host.gpus)
        if _may_move(gpus, judged, stopped, excluded)
    ]
    moves = _moves(group for group in groups if group.measured)
    return _claims(host, moves), tuple(_lacks(host, groups, moves))


def _connected(gpus: Iterable[PricedGpu]) -> list[tuple[PricedGpu, ...]]:
    """Held GPUs, those together that share a server."""
    groups: list[list[PricedGpu]] = []
    for gpu in sorted((gpu for gpu in gpus if gpu.holders), key=lambda each: each.gpu):
        near = [group for group in groups if any(gpu.holders & other.holders for other in group)]
        groups = [group for group in groups if group not in near]
        groups.append([*(other for group in near for other in group), gpu])
    return [tuple(sorted(group, key=lambda each: each.gpu)) for group in groups]


def _may_move(
    gpus: Sequence[PricedGpu],
    judged: Mapping[ServerKey, JudgedServer],
    stopped: AbstractSet[ServerKey],
    excluded: AbstractSet[ServerKey],
) -> bool:
    """Whether all servers of a group are judged and serve: a silent process may be anything."""
    holders = {key for gpu in gpus for key in gpu.holders} - stopped
    return (
        bool(holders)
        and not holders & excluded
        and len(gpu_models(gpus)) == 1
        and not any(gpu.divided for gpu in gpus)
        and all(key in judged and any(hour.tokens for hour in judged[key].hours.values()) for key in holders)
    )


def _group(
    host: HostUsage,
    gpus: tuple[PricedGpu, ...],
    judged: Mapping[ServerKey, JudgedServer],
    stopped: AbstractSet[ServerKey],
) -> _GpuGroup:
    servers = tuple(sorted({key for gpu in gpus for key in gpu.holders} - stopped))
    busy: dict[str, dict[int, int]] = {gpu.gpu.uuid: {} for gpu in gpus}
    idle: dict[tuple[str, ServerKey], dict[int, int]] = {}
    for key in servers:
        hours, own = judged[key]
        count = len(own.gpus)
        for gpu in own.gpus:
            uuid = gpu.gpu.uuid
            mine = idle.setdefault((uuid, key), {})
            for hour, usage in hours.items():
                if not _unseen(usage):
                    add(busy[uuid], hour, -(-usage.active // count))
                    mine[hour] = usage.idle // count
    pairs = [(gpu.gpu, key) for gpu in gpus for key in gpu.holders - stopped]

    def is_known(hour: int) -> bool:
        if hour not in host.hours:
            return True  # the host was off
        usages = [judged[key].hours.get(hour) for key in servers]
        if any(usage is None or _unseen(usage) for usage in usages):
            return False
        return all(pair in host.memory.get(hour, {}) for pair in pairs)

    window = host.longest(is_known)
    peaks: dict[str, int] = {}
    measured = all(each.memory_bytes for each in gpus)
    for pair in pairs:
        of_hours = [host.memory.get(hour, {}).get(pair) for hour in _last(host, window)]
        known = [peak for peak in of_hours if peak is not None]
        measured = measured and bool(known)
        add(peaks, pair[0].uuid, max(known, default=0))
    return _GpuGroup(gpus, servers, busy, idle, peaks if measured else {}, window)


def _unseen(usage: ServerHour) -> bool:
    return usage.unobserved * UNSEEN_PARTS > usage.gpu_time


def _last(host: HostUsage, window: int) -> range:
    return range(host.last + 1 - window, host.last + 1)


def _moves(groups: Iterable[_GpuGroup]) -> list[_Move]:
    """First fit: each group moves if it fits on GPUs that stay, else its own stay. Unknown memory is none."""
    moves: list[_Move] = []
    targets: list[_SharedGpu] = []
    for group in sorted(groups, key=lambda each: each.order):
        pairs = _pairs(group, targets)
        if pairs:
            for gpu, target in pairs:
                _put(group, gpu, target)
            moves.append(_Move(group, pairs, min(target.window for _, target in pairs)))
        else:
            targets += [_shared_gpu(group, gpu) for gpu in group.gpus]
    return moves


def _shared_gpu(group: _GpuGroup, gpu: PricedGpu) -> _SharedGpu:
    uuid = gpu.gpu.uuid
    servers = tuple(key for key in group.servers if key in gpu.holders)
    return _SharedGpu(
        gpu,
        servers,
        dict(group.busy[uuid]),
        {key: dict(group.idle[uuid, key]) for key in servers},
        group.memory.get(uuid, 0),
        group.window,
        group.measured,
    )


def _pairs(group: _GpuGroup, targets: Iterable[_SharedGpu]) -> tuple[tuple[PricedGpu, _SharedGpu], ...]:
    """Each GPU of a group with another that has room for it; empty if one finds none."""
    free = list(targets)
    pairs: list[tuple[PricedGpu, _SharedGpu]] = []
    for gpu in group.gpus:
        room = next((each for each in free if _fits(group, gpu, each)), None)
        if room is None:
            return ()
        free.remove(room)
        pairs.append((gpu, room))
    return tuple(pairs)


def _fits(group: _GpuGroup, gpu: PricedGpu, target: _SharedGpu) -> bool:
    if gpu.gpu.gpu_model != target.gpu.gpu.gpu_model:
        return False
    whole = target.gpu.memory_bytes
    memory = target.memory + group.memory.get(gpu.gpu.uuid, 0)
    if whole and memory > whole * (1 - MEMORY_RESERVE):
        return False
    limit = NANOSECONDS_PER_HOUR * BUSY_LIMIT
    return all(time + target.busy.get(hour, 0) <= limit for hour, time in group.busy[gpu.gpu.uuid].items())


def _put(group: _GpuGroup, gpu: PricedGpu, target: _SharedGpu) -> None:
    add_all(target.busy, group.busy[gpu.gpu.uuid])
    target.memory += group.memory.get(gpu.gpu.uuid, 0)
    target.window = min(target.window, group.window)
    target.measured = target.measured and group.measured


def _claims(host: HostUsage, moves: Iterable[_Move]) -> Consolidations:
    """Each move claims the idle time of what moves, and its busy time out of the idle time of the others."""
    savings: list[Saving] = []
    moved: set[ServerKey] = set()
    freed: set[str] = set()
    taken: dict[ServerKey, dict[int, int]] = {}
    guests: dict[ServerKey, frozenset[ServerKey]] = {}
    for group, pairs, window in moves:
        own = borrowed = 0
        for gpu, target in pairs:
            for hour in _last(host, window):
                own += sum(
                    hours.get(hour, 0) for (uuid, _), hours in group.idle.items() if uuid == gpu.gpu.uuid
                )
                left = group.busy[gpu.gpu.uuid].get(hour, 0)
                for key in target.servers:
                    part = min(left, target.idle[key].get(hour, 0))
                    if part:
                        target.idle[key][hour] -= part
                        add(taken.setdefault(key, {}), hour, part)
                    borrowed, left = borrowed + part, left - part
        onto = tuple(sorted({key for _, target in pairs for key in target.servers}))
        for key in onto:
            guests[key] = guests.get(key, frozenset()) | set(group.servers)
        moved.update(group.servers)
        freed.update(gpu.gpu.uuid for gpu in group.gpus)
        involved = [*group.gpus, *(target.gpu for _, target in pairs)]
        fullest = max((target for _, target in pairs), key=lambda each: each.memory)
        per_hour = min(gpu.per_hour or 0 for gpu in involved)
        savings.append(
            Saving(
                "consolidation",
                host.name,
                group.servers[0],
                own + borrowed,
                (own + borrowed) * per_hour // NANOSECONDS_PER_HOUR,
                0,
                "",
                len(group.gpus),
                gpu_models(group.gpus),
                window,
                price_basis=least_sure(gpu.price_basis for gpu in involved),
                fewer=FewerGpus(
                    group.servers,
                    onto,
                    max((time for _, target in pairs for time in target.busy.values()), default=0),
                    fullest.memory,
                    fullest.gpu.memory_bytes or 0,
                    borrowed,
                ),
            )
        )
    return Consolidations(tuple(savings), frozenset(moved), frozenset(freed), taken, guests)


def _lacks(host: HostUsage, groups: Iterable[_GpuGroup], moves: Iterable[_Move]) -> Iterator[Lack]:
    """Servers that would move if what is not known of their memory and of a week were small."""
    moving = {move.group.gpus for move in moves}
    unknown = [
        move
        for move in _moves(groups)
        if move.group.gpus not in moving and not all(target.measured for _, target in move.pairs)
    ]
    if unknown:
        subject = names(sorted({key for move in unknown for key in move.group.servers}))
        if host.length < WEEK_HOURS:
            yield Lack("days", host.name, subject, host.length)
        else:
            yield Lack("memory", host.name, subject, min(move.window for move in unknown))

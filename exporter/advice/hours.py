"""Usage of a host's last hours, by server. Pure."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from datetime import datetime
from typing import Final, Literal, NamedTuple
from zoneinfo import ZoneInfo

from exporter.cost.money import add
from exporter.cost.postings import CostOwner, OwnerPhase
from exporter.frozen import dataclass
from exporter.readings import Gpu, ServerKey, TokenKind
from exporter.tariff.rate import PRICE_BASES, PriceBasis
from exporter.units import NANOSECONDS_PER_HOUR, Nanoseconds, Picodollars

LEAST_HOURS: Final = 24
"""Hours of history from which anything is judged, and hours after which a silent server is deserted."""

WEEK_HOURS: Final = 168

RESTING_PARTS: Final = 100
"""An hour rests if less than one part in so many was busy or unobserved."""

UNCOUNTED_PARTS: Final = 10_000
"""The same for a server whose tokens are not known: a little work may be all of its requests.

It is not none at all: a past month has a trace of busy time in each hour of a held GPU.
"""

ODD_HOURS: Final = 10
"""A window may have one hour in so many that is not as the others."""

Release = Literal["gpu", "host", "owned", "lease", "unknown"]
"""The unit that can be given back, or why none can: the hardware is owned, or rented at all hours.

unknown: the terms of the price are not known, as in a ledger without its configuration.
"""


class HourUsage(NamedTuple):
    """GPU time and tokens of one hour."""

    gpu_time: Mapping[OwnerPhase, Nanoseconds]
    tokens: Mapping[tuple[CostOwner, TokenKind], int]


class PricedGpu(NamedTuple):
    """A GPU of a host now: who holds it, and the price of an hour of its hardware, `None` without one.

    `price_basis` is `None` where it is unknown, as of one of several GPUs whose server paid at several.
    `memory_bytes` is all of its memory, `None` until it was read. `divided`: it is in MIG mode.
    """

    gpu: Gpu
    holders: frozenset[ServerKey]
    per_hour: Picodollars | None
    release: Release
    price_basis: PriceBasis | None = None
    memory_bytes: int | None = None
    divided: bool = False


@dataclass(frozen=True, slots=True)
class HostUsage:
    """The last hours of one host, and its GPUs now.

    `first` and `last` are hours since 1970. `partial` are servers whose tokens are computed elsewhere too.
    `reported`: the host still reports. `unread` are servers of which no page answers now.
    `serving` are those with tokens since the last hour.
    `absent` counts GPUs that are paid for and not shown by NVML, and that no server held.
    `memory` is the most memory that each server held on a GPU in an hour, where it was read.
    """

    name: str
    first: int
    last: int
    hours: Mapping[int, HourUsage]
    gpus: tuple[PricedGpu, ...]
    partial: frozenset[ServerKey] = frozenset()
    unread: frozenset[ServerKey] = frozenset()
    serving: frozenset[ServerKey] = frozenset()
    absent: int = 0
    reported: bool = True
    memory: Mapping[int, Mapping[tuple[Gpu, ServerKey], int]] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Hours of the window, those without ticks included."""
        return max(0, self.last + 1 - self.first)

    def longest(self, is_usual: Callable[[int], bool]) -> int:
        """The most hours up to now that are as usual, but for one in `ODD_HOURS`."""
        window = odd = 0
        for count in range(1, self.length + 1):
            if not is_usual(self.last + 1 - count):
                odd += 1
            elif odd * ODD_HOURS <= count:
                window = count
        return window


class ServerHour(NamedTuple):
    """One hour of one server. `active` is busy or unobserved time, `unobserved` a part of it.

    `counted`: tokens would be known if there were any.
    """

    idle: Nanoseconds
    active: Nanoseconds
    tokens: int
    unobserved: Nanoseconds = 0
    counted: bool = True

    @property
    def gpu_time(self) -> Nanoseconds:
        """All GPU time."""
        return self.idle + self.active

    def limited(self, most: Nanoseconds) -> "ServerHour":
        """The hour with so much GPU time at most, of which busy time stays first."""
        active = min(self.active, most)
        return self._replace(idle=min(self.idle, most - active), active=active)

    @property
    def works(self) -> bool:
        """Whether it was busy or unobserved for more than a small part of it."""
        return self.active * (RESTING_PARTS if self.counted else UNCOUNTED_PARTS) > self.gpu_time

    @property
    def rests(self) -> bool:
        """Whether it held a GPU and served nothing."""
        return self.idle > 0 and not self.tokens and not self.works


ServerHours = Mapping[int, ServerHour]


@dataclass(frozen=True, slots=True)
class ServerGpus:
    """The GPUs that a server holds now. `per_hour` is the lowest of their prices."""

    gpus: tuple[PricedGpu, ...]
    per_hour: Picodollars | None

    @property
    def exclusive(self) -> bool:
        """Whether no other server holds one of them."""
        return all(len(gpu.holders) == 1 for gpu in self.gpus)


class JudgedServer(NamedTuple):
    """A server whose GPUs all have a price, with its hours of the window, at least one."""

    hours: ServerHours
    gpus: ServerGpus

    def age(self, host: HostUsage) -> int:
        """Hours of the window since its first."""
        return host.last + 1 - min(self.hours)


def by_server(host: HostUsage) -> dict[ServerKey, ServerHours]:
    """Hours of each server, and those of unallocated GPUs."""
    servers: dict[ServerKey, dict[int, ServerHour]] = {}
    counted = {
        owner.key for usage in host.hours.values() for (owner, _), count in usage.tokens.items() if count
    } - host.unread
    for hour, usage in host.hours.items():
        if not host.first <= hour <= host.last:
            continue
        idle: dict[ServerKey, int] = {}
        active: dict[ServerKey, int] = {}
        unobserved: dict[ServerKey, int] = {}
        tokens: dict[ServerKey, int] = {}
        for (owner, phase), time in usage.gpu_time.items():
            add(idle if phase == "idle" else active, owner.key, time)
            if phase == "unobserved":
                add(unobserved, owner.key, time)
        for (owner, _kind), count in usage.tokens.items():
            add(tokens, owner.key, count)
        for key in {*idle, *active, *tokens}:
            servers.setdefault(key, {})[hour] = ServerHour(
                max(0, idle.get(key, 0)),
                max(0, active.get(key, 0)),
                tokens.get(key, 0),
                max(0, unobserved.get(key, 0)),
                key in counted,
            )
    return {**servers}


def judged_server(host: HostUsage, key: ServerKey, hours: ServerHours) -> JudgedServer:
    """A server with its GPUs now, and the time of as many: what it held beyond them is spared already."""
    gpus = server_gpus(host, key)
    most = len(gpus.gpus) * NANOSECONDS_PER_HOUR
    return JudgedServer({hour: usage.limited(most) for hour, usage in hours.items()}, gpus)


def server_gpus(host: HostUsage, key: ServerKey) -> ServerGpus:
    """The GPUs that a server holds now."""
    gpus = tuple(gpu for gpu in host.gpus if key in gpu.holders)
    prices = [gpu.per_hour for gpu in gpus if gpu.per_hour is not None]
    return ServerGpus(gpus, min(prices) if len(prices) == len(gpus) else None)


def gpu_models(gpus: Iterable[PricedGpu]) -> tuple[str, ...]:
    """Models of GPUs, each once."""
    return tuple(sorted({gpu.gpu.gpu_model for gpu in gpus}))


def least_sure(bases: Iterable[PriceBasis | None]) -> PriceBasis | None:
    """The basis of prices together; `None` with an unknown one, and without any."""
    known: list[PriceBasis] = []
    for basis in bases:
        if basis is None:
            return None
        known.append(basis)
    return max(known, key=PRICE_BASES.index, default=None)


def local_minute(hour: int, zone: ZoneInfo) -> int:
    """The minute of the local clock at which an hour since 1970 begins: 30 in India."""
    return datetime.fromtimestamp(hour * 3600, zone).minute


def hour_of_week(hour: int, zone: ZoneInfo) -> int:
    """The hour of the local week, from Monday's midnight, in which an hour since 1970 begins."""
    local = datetime.fromtimestamp(hour * 3600, zone)
    return local.weekday() * 24 + local.hour

"""Usage of a host's last hours, by server. Pure."""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal, NamedTuple, Self
from zoneinfo import ZoneInfo

from exporter.cost.money import add
from exporter.cost.postings import CostOwner, OwnerPhase
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
    """A GPU of a host now."""

    gpu: Gpu
    holders: frozenset[ServerKey]
    per_hour: Picodollars | None
    """Price of an hour of its hardware, `None` without one."""
    release: Release
    price_basis: PriceBasis | None = None
    """`None` where it is unknown, as for one of several GPUs whose server paid at several."""
    memory_bytes: int | None = None
    """All of its memory, `None` until it was read."""
    divided: bool = False
    """Whether it is in MIG mode."""

    @property
    def price(self) -> Picodollars:
        """Price of an hour, 0 without one."""
        return self.per_hour or 0


@dataclass(frozen=True, slots=True)
class HostUsage:
    """The last hours of one host, and its GPUs now."""

    name: str
    first: int
    """The first hour of the window, since 1970."""
    last: int
    hours: Mapping[int, HourUsage]
    gpus: tuple[PricedGpu, ...]
    partial: frozenset[ServerKey] = frozenset()
    """Servers whose tokens are computed elsewhere too."""
    unread: frozenset[ServerKey] = frozenset()
    """Servers of which no page answers now."""
    serving: frozenset[ServerKey] = frozenset()
    """Servers with tokens since the last hour."""
    absent: int = 0
    """GPUs that are paid for, that NVML does not show, and that no server held."""
    reported: bool = True
    """Whether the host still reports."""
    memory: Mapping[int, Mapping[tuple[Gpu, ServerKey], int]] = field(default_factory=dict)
    """The most memory that each server held on a GPU in an hour, where it was read."""

    @property
    def length(self) -> int:
        """Hours of the window, those without ticks included."""
        return max(0, self.last + 1 - self.first)

    def last_hours(self, count: int) -> range:
        """So many hours, up to the last one."""
        return range(self.last + 1 - count, self.last + 1)

    def longest(self, usual: AbstractSet[int]) -> int:
        """The most hours up to now that are among the usual ones, but for one in `ODD_HOURS`."""
        window = odd = 0
        for count in range(1, self.length + 1):
            if self.last + 1 - count not in usual:
                odd += 1
            elif odd * ODD_HOURS <= count:
                window = count
        return window


class ServerHour(NamedTuple):
    """One hour of one server."""

    idle: Nanoseconds
    active: Nanoseconds
    """Busy or unobserved time."""
    phases: Mapping[str, Nanoseconds]
    """GPU time by phase, of GPUs that it holds no more too."""
    model_tokens: Mapping[tuple[str, TokenKind], int]
    """Tokens by model and kind."""
    counted: bool = True
    """Whether tokens would be known if there were any."""

    @property
    def unobserved(self) -> Nanoseconds:
        """The unobserved part of `active`."""
        return max(0, self.phases.get("unobserved", 0))

    @property
    def tokens(self) -> int:
        """Tokens of all kinds."""
        return sum(self.model_tokens.values())

    @property
    def gpu_time(self) -> Nanoseconds:
        """All GPU time."""
        return self.idle + self.active

    @property
    def works(self) -> bool:
        """Whether it was busy or unobserved for more than a small part of it."""
        return self.active * (RESTING_PARTS if self.counted else UNCOUNTED_PARTS) > self.gpu_time

    @property
    def rests(self) -> bool:
        """Whether it held a GPU and served nothing."""
        return self.idle > 0 and not self.tokens and not self.works


@dataclass(frozen=True, slots=True)
class JudgedServer:
    """A server with hours in the window, whose GPUs all have a price."""

    key: ServerKey
    hours: Mapping[int, ServerHour]
    gpus: tuple[PricedGpu, ...]
    """The GPUs that it holds now."""
    age: int
    """Hours of the window since its first."""
    silent: int
    """Hours in a row, up to the last one, in which it rested."""

    @classmethod
    def of(cls, host: HostUsage, key: ServerKey, hours: Mapping[int, ServerHour]) -> Self | None:
        """A server with its GPUs now, and the time of as many; `None` if it cannot be judged.

        What it held beyond them is spared already. Of that time busy time stays first.
        """
        gpus = tuple(gpu for gpu in host.gpus if key in gpu.holders)
        if not hours or any(gpu.per_hour is None for gpu in gpus):
            return None
        most = len(gpus) * NANOSECONDS_PER_HOUR
        limited: dict[int, ServerHour] = {}
        for hour, usage in hours.items():
            active = min(usage.active, most)
            limited[hour] = usage._replace(idle=min(usage.idle, most - active), active=active)
        silent = 0
        while host.last - silent in limited and limited[host.last - silent].rests:
            silent += 1
        return cls(key, limited, gpus, age=host.last + 1 - min(hours), silent=silent)

    @property
    def per_hour(self) -> Picodollars:
        """The lowest price of its GPUs."""
        return min(gpu.price for gpu in self.gpus)

    def is_silent(self, host: HostUsage) -> bool:
        """Whether it has served nothing for a day or more, which is no rest of each week, as a weekend is.

        A silence of a week or more is none of each week: it would not have begun.
        """
        before = (hour - WEEK_HOURS for hour in host.last_hours(self.silent))
        rests_weekly = all(hour in self.hours and self.hours[hour].rests for hour in before)
        return self.key not in host.serving and self.silent >= LEAST_HOURS and not rests_weekly


def by_server(host: HostUsage) -> dict[ServerKey, dict[int, ServerHour]]:
    """Hours of each server, and those of unallocated GPUs."""
    serving = {
        owner.key for usage in host.hours.values() for (owner, _), count in usage.tokens.items() if count
    }
    servers: dict[ServerKey, dict[int, ServerHour]] = {}
    for hour, usage in host.hours.items():
        if not host.first <= hour <= host.last:
            continue
        phases: dict[ServerKey, dict[str, Nanoseconds]] = {}
        tokens: dict[ServerKey, dict[tuple[str, TokenKind], int]] = {}
        for (owner, phase), time in usage.gpu_time.items():
            add(phases.setdefault(owner.key, {}), phase, time)
        for (owner, kind), count in usage.tokens.items():
            add(tokens.setdefault(owner.key, {}), (owner.model, kind), count)
        for key in {*phases, *tokens}:
            times = phases.get(key, {})
            idle = times.get("idle", 0)
            servers.setdefault(key, {})[hour] = ServerHour(
                idle=max(0, idle),
                active=max(0, sum(times.values()) - idle),
                phases=times,
                model_tokens=tokens.get(key, {}),
                counted=key in serving and key not in host.unread,
            )
    return servers


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

"""Claims: GPU time that findings take, each GPU-hour for one finding. Pure."""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from exporter.advice.hours import (
    LEAST_HOURS,
    WEEK_HOURS,
    HostUsage,
    JudgedServer,
    PricedGpu,
    ServerHours,
    by_server,
    gpu_models,
    is_silent,
    judged_server,
    least_sure,
)
from exporter.advice.saving import Lack, LackReason, Obstacle, Saving, SavingKind, SavingsPolicy
from exporter.cost.attribution import UNALLOCATED_KEY
from exporter.readings import ServerKey
from exporter.units import NANOSECONDS_PER_HOUR, Nanoseconds

SCHEDULE_HOURS = 2 * WEEK_HOURS
"""History from which a schedule is judged: each hour of the week twice."""


class Claim(NamedTuple):
    """A finding with what it takes, before it is known whether it is muted."""

    saving: Saving
    gpus: tuple[PricedGpu, ...] = ()
    """GPUs that it frees."""
    taken: Mapping[ServerKey, Mapping[int, Nanoseconds]] = {}
    """Idle time that it takes of servers that stay, by hour."""
    used: tuple[tuple["HostClaims", PricedGpu], ...] = ()
    """Free GPUs that it needs, with their hosts."""


@dataclass(slots=True)
class HostClaims:
    """One host: its servers, the findings about it, and what those that count have taken."""

    host: HostUsage
    policy: SavingsPolicy
    unallocated: ServerHours
    """Hours of GPUs that no server held."""
    serving: Mapping[ServerKey, JudgedServer]
    """Servers that serve."""
    silent: Mapping[ServerKey, JudgedServer]
    """Servers that have served nothing for a day or more."""
    judged: bool
    """Whether it reports, and has a day of history."""
    claims: list[Claim] = field(default_factory=list)
    lacks: list[Lack] = field(default_factory=list)
    freed: set[str] = field(default_factory=set)
    """UUIDs of GPUs that are free, or that findings free for good."""
    stopped: set[ServerKey] = field(default_factory=set)
    """Deserted servers: they take neither time nor memory."""
    settled: set[ServerKey] = field(default_factory=set)
    """Servers of which no finding claims more."""
    guests: dict[ServerKey, set[ServerKey]] = field(default_factory=dict)
    """Servers that move, by server onto whose GPUs they move."""
    taken: dict[ServerKey, dict[int, Nanoseconds]] = field(default_factory=dict)
    """Claimed time of servers that stay, by hour."""
    used: set[str] = field(default_factory=set)
    """UUIDs of freed GPUs that servers of the fleet are to move onto."""

    def saving(self, kind: SavingKind, server: JudgedServer, claimed: Nanoseconds, **evidence: Any) -> Saving:
        """A finding about all GPUs of a server, at the lowest of their prices, since its first hour."""
        values = {
            "amount": claimed * server.per_hour // NANOSECONDS_PER_HOUR,
            "window_hours": server.age,
            "price_basis": least_sure(gpu.price_basis for gpu in server.gpus),
        }
        return Saving(
            kind=kind,
            host=self.host.name,
            server=server.key,
            claimed=claimed,
            per_month=0,
            obstacle="",
            gpus=len(server.gpus),
            gpu_models=gpu_models(server.gpus),
            **(values | evidence),
        )

    def lack(self, reason: LackReason, subject: str = "", hours: int = 0) -> None:
        """Note what could not be judged."""
        self.lacks.append(Lack(reason, self.host.name, subject, hours))

    def left(self, server: JudgedServer) -> Nanoseconds:
        """GPU time of a server that no finding claims."""
        whole = sum(hour.gpu_time for hour in server.hours.values())
        return whole - sum(self.taken.get(server.key, {}).values())

    def obstacle(self, gpus: Iterable[PricedGpu], gone: AbstractSet[ServerKey] = frozenset()) -> Obstacle:
        """Why GPUs cannot be given back once some servers are gone; empty if they can."""
        gpus = tuple(gpus)
        if any(gpu.holders - gone for gpu in gpus):
            return "shared"
        freed = self.freed | {gpu.gpu.uuid for gpu in gpus}
        whole = freed.issuperset(gpu.gpu.uuid for gpu in self.host.gpus)
        for gpu in gpus:
            if gpu.release == "host" and not whole:
                return "host"
            if gpu.release != "gpu" and gpu.release != "host":  # noqa: PLR1714 - narrows the type
                return gpu.release
        return ""

    @property
    def free_gpus(self) -> list[PricedGpu]:
        """Priced GPUs that others may use. A host that is given back as a whole has none."""
        whole = self.freed.issuperset(gpu.gpu.uuid for gpu in self.host.gpus)
        free = self.freed - self.used
        return [
            gpu
            for gpu in self.host.gpus
            if gpu.gpu.uuid in free and gpu.per_hour is not None and not (whole and gpu.release == "host")
        ]


def host_claims(host: HostUsage, policy: SavingsPolicy) -> tuple[HostClaims, Nanoseconds]:
    """A host before any finding, and its idle and unallocated time.

    A host that cannot be judged has a lack and no GPU time that findings may claim.
    """
    hours = by_server(host)
    idle = sum(hour.idle for of_server in hours.values() for hour in of_server.values())
    judged = host.reported and host.length >= LEAST_HOURS
    holders = {key for gpu in host.gpus for key in gpu.holders}
    candidates = [judged_server(host, key, hours.get(key, {})) for key in sorted(holders - host.partial)]
    servers = [server for server in candidates if server is not None] if judged else []
    silent = {server.key: server for server in servers if is_silent(host, server)}
    claims = HostClaims(
        host,
        policy,
        unallocated=hours.get(UNALLOCATED_KEY, {}) if judged else {},
        serving={server.key: server for server in servers if server.key not in silent},
        silent=silent,
        judged=judged,
    )
    if not host.reported:
        claims.lack("silent")
    elif not judged:
        claims.lack("history", hours=host.length)
    else:
        for gpu in host.gpus:
            if gpu.per_hour is None:
                claims.lack("unpriced", f"{gpu.gpu.gpu_model} {gpu.gpu.uuid}")
        for key in sorted(host.partial & holders):
            claims.lack("partial", key.name)
        if host.length < SCHEDULE_HOURS:
            claims.lack("weeks", hours=host.length)
    return claims, idle

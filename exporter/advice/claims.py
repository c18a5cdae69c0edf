"""Claims: GPU time that findings take, each GPU-hour for one finding. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Final, NamedTuple, Self

from exporter.advice.hours import (
    LEAST_HOURS,
    WEEK_HOURS,
    HostUsage,
    JudgedServer,
    PricedGpu,
    ServerHour,
    by_server,
    gpu_models,
    least_sure,
)
from exporter.advice.saving import Lack, LackReason, Obstacle, Saving, SavingKind, SavingsPolicy
from exporter.cost.attribution import UNALLOCATED_KEY
from exporter.cost.money import add_all
from exporter.readings import ServerKey
from exporter.units import NANOSECONDS_PER_HOUR, Nanoseconds

SCHEDULE_HOURS = 2 * WEEK_HOURS
"""History from which a schedule is judged: each hour of the week twice."""

FOR_GOOD: Final[frozenset[SavingKind]] = frozenset({"unallocated", "deserted", "consolidation"})
"""Kinds that free GPUs for good and together: others, too, see them as free."""


class Claim(NamedTuple):
    """A finding with what it takes, before it is known whether it is muted."""

    host: "HostClaims"
    saving: Saving
    gpus: tuple[PricedGpu, ...]
    """GPUs that it frees."""
    servers: AbstractSet[ServerKey] = frozenset()
    """Servers that no longer use them: they stop, move or rest."""
    taken: Mapping[ServerKey, Mapping[int, Nanoseconds]] = {}
    """Idle time that it takes of servers that stay, by hour."""
    shared: bool = False
    """Whether another server moves onto its GPUs, and works in its hours."""
    used: tuple["FreeGpu", ...] = ()
    """Free GPUs that it needs."""


class FreeGpu(NamedTuple):
    """A GPU that a server of the fleet may move onto."""

    claims: "HostClaims"
    """The host of the GPU."""
    gpu: PricedGpu


@dataclass(slots=True)
class HostClaims:
    """One host: its servers, the findings about it, and what those that count have taken."""

    host: HostUsage
    policy: SavingsPolicy
    idle: Nanoseconds
    """Its idle and unallocated time."""
    judged: bool
    """Whether it reports, and has a day of history. Without, no finding claims anything."""
    unallocated: Mapping[int, ServerHour]
    """Hours of GPUs that no server held."""
    serving: Mapping[ServerKey, JudgedServer]
    """Servers that serve."""
    silent: Mapping[ServerKey, JudgedServer]
    """Servers that have served nothing for a day or more."""
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

    @classmethod
    def of(cls, host: HostUsage, policy: SavingsPolicy) -> Self:
        """A host before any finding, and what is missing to judge it."""
        hours = by_server(host)
        judged = host.reported and host.length >= LEAST_HOURS
        holders = {key for gpu in host.gpus for key in gpu.holders}
        servers = [JudgedServer.of(host, key, hours.get(key, {})) for key in sorted(holders - host.partial)]
        known = {server.key: server for server in servers if server is not None and judged}
        silent = {key: server for key, server in known.items() if server.is_silent(host)}
        claims = cls(
            host,
            policy,
            idle=sum(hour.idle for of_server in hours.values() for hour in of_server.values()),
            judged=judged,
            unallocated=hours.get(UNALLOCATED_KEY, {}),
            serving={key: server for key, server in known.items() if key not in silent},
            silent=silent,
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
        return claims

    def lack(self, reason: LackReason, subject: str = "", hours: int = 0) -> None:
        """Note what could not be judged."""
        self.lacks.append(Lack(reason, self.host.name, subject, hours))

    def claim(
        self,
        kind: SavingKind,
        server: JudgedServer,
        claimed: Nanoseconds,
        *,
        taken: Mapping[int, Nanoseconds] | None = None,
        shared: bool = False,
        used: tuple[FreeGpu, ...] = (),
        **evidence: Any,
    ) -> Claim:
        """A finding about all GPUs of a server, at the lowest of their prices, since its first hour."""
        saving = Saving(
            kind=kind,
            host=self.host.name,
            server=server.key,
            claimed=claimed,
            amount=claimed * server.per_hour // NANOSECONDS_PER_HOUR,
            gpus=len(server.gpus),
            gpu_models=gpu_models(server.gpus),
            window_hours=server.age,
            price_basis=least_sure(gpu.price_basis for gpu in server.gpus),
        )
        return Claim(
            self,
            replace(saving, **evidence),
            server.gpus,
            servers={server.key},
            taken={} if taken is None else {server.key: taken},
            shared=shared,
            used=used,
        )

    def add(self, claim: Claim) -> None:
        """Add a finding. One that is not muted takes servers, time and GPUs from those after it."""
        kind, fewer = claim.saving.kind, claim.saving.fewer
        ignored = self.policy.ignored_by(kind, claim.saving.server)
        self.claims.append(claim._replace(saving=replace(claim.saving, ignored=ignored)))
        if ignored is not None:
            return
        if kind == "deserted":
            self.stopped |= claim.servers
        if kind in FOR_GOOD:
            gone = self.stopped | claim.servers
            self.freed |= {gpu.gpu.uuid for gpu in claim.gpus if gpu.holders <= gone}
        if kind != "schedule":
            self.settled |= claim.servers
        for key in () if fewer is None else fewer.onto:
            self.guests.setdefault(key, set()).update(claim.servers)
        for key, hours in claim.taken.items():
            add_all(self.taken.setdefault(key, {}), hours)
        for free in claim.used:
            free.claims.used.add(free.gpu.gpu.uuid)

    def savings(self) -> Iterator[Saving]:
        """Findings with dollars, once all kinds have claimed."""
        for claim in self.claims:
            saving = claim.saving
            gone = self.stopped | claim.servers if saving.kind in FOR_GOOD else claim.servers
            obstacle = self.obstacle(claim.gpus, gone)
            if claim.shared and not obstacle:
                obstacle = "shared"
            per_month = int(saving.amount * Fraction(self.policy.hours_per_month) / saving.window_hours)
            if per_month > 0:
                yield replace(saving, per_month=per_month, obstacle=obstacle)

    def left(self, server: JudgedServer) -> Nanoseconds:
        """GPU time of a server that no finding claims."""
        whole = sum(hour.gpu_time for hour in server.hours.values())
        return whole - sum(self.taken.get(server.key, {}).values())

    def obstacle(self, gpus: Sequence[PricedGpu], gone: AbstractSet[ServerKey]) -> Obstacle:
        """Why GPUs cannot be given back once some servers are gone; empty if they can."""
        if any(gpu.holders - gone for gpu in gpus):
            return "shared"
        whole = self._all_freed({gpu.gpu.uuid for gpu in gpus})
        for gpu in gpus:
            if gpu.release == "host" and not whole:
                return "host"
            if gpu.release != "gpu" and gpu.release != "host":  # noqa: PLR1714 - narrows the type
                return gpu.release
        return ""

    @property
    def free_gpus(self) -> list[PricedGpu]:
        """Priced GPUs that others may use. A host that is given back as a whole has none."""
        whole = self._all_freed()
        free = self.freed - self.used
        return [
            gpu
            for gpu in self.host.gpus
            if gpu.gpu.uuid in free and gpu.per_hour is not None and not (whole and gpu.release == "host")
        ]

    def _all_freed(self, more: AbstractSet[str] = frozenset()) -> bool:
        """Whether all GPUs of the host are free, some more included."""
        return self.freed.union(more).issuperset(gpu.gpu.uuid for gpu in self.host.gpus)

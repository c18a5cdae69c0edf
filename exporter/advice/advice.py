"""Advice: findings of a fleet, in the order in which they take GPU time. Pure."""

from collections.abc import Iterator, Mapping, Sequence

from exporter.advice.cheaper_gpus import JudgedHost, cheaper_gpus
from exporter.advice.consolidation import Consolidations, consolidations
from exporter.advice.finding import Advice, Lack, Obstacle, Saving, SavingsPolicy, monthly, muted, names
from exporter.advice.free_gpus import unallocated
from exporter.advice.hours import (
    LEAST_HOURS,
    HostUsage,
    JudgedServer,
    by_server,
    judged_server,
)
from exporter.advice.obstacles import obstacle, stopping_obstacle, unit_obstacle
from exporter.advice.offers import current_offers, hosted
from exporter.advice.rests import SCHEDULE_HOURS, deserted, rests_weekly, schedule, silent_hours
from exporter.cost.attribution import UNALLOCATED_KEY
from exporter.cost.policy import SAVING_KINDS
from exporter.frozen import dataclass, replace
from exporter.readings import ServerKey
from exporter.units import Nanoseconds


def advice(hosts: Sequence[HostUsage], policy: SavingsPolicy) -> Advice:
    """Findings of hosts, which are judged one by one, but for cheaper GPUs elsewhere in the fleet."""
    offers, dated = current_offers(policy)
    judged = [_Judge(host, replace(policy, offers=offers)).judged() for host in hosts]
    moves, missing = cheaper_gpus([each.judged for each in judged if each.judged is not None], policy)
    savings_of_all = [*(saving for each in judged for saving in each.savings), *moves]
    savings = [
        saving for saving in (monthly(each, policy) for each in savings_of_all) if saving.per_month > 0
    ]
    savings.sort(key=lambda each: (-each.per_month, each.host, SAVING_KINDS.index(each.kind), each.server))
    lacks = [Lack("offer", subject=offer.reference) for offer in dated]
    lacks += [lack for each in judged for lack in each.lacks]
    return Advice(tuple(savings), (*lacks, *missing), sum(each.idle for each in judged))


@dataclass(frozen=True, slots=True)
class _HostAdvice:
    """Findings of one host. `judged` is `None` for a host that is not."""

    savings: tuple[Saving, ...] = ()
    lacks: tuple[Lack, ...] = ()
    idle: Nanoseconds = 0
    judged: JudgedHost | None = None


class _Judge:
    """Judges one host, one kind of finding after the other."""

    def __init__(self, host: HostUsage, policy: SavingsPolicy) -> None:
        self._host, self._policy = host, policy
        self._hours = by_server(host)
        self._idle = sum(hour.idle for hours in self._hours.values() for hour in hours.values())
        self._savings: list[Saving] = []
        self._lacks: list[Lack] = []

    def judged(self) -> _HostAdvice:
        """The host's findings."""
        host, policy = self._host, self._policy
        if not host.reported:
            return _HostAdvice(lacks=(Lack("silent", host.name),), idle=self._idle)
        if host.length < LEAST_HOURS:
            return _HostAdvice(lacks=(Lack("history", host.name, hours=host.length),), idle=self._idle)
        servers = self._judged_servers()
        free = self._unallocated()
        silent = [
            key
            for key, each in servers.items()
            if key not in host.serving
            and silent_hours(host, each.hours) >= LEAST_HOURS
            and not rests_weekly(host, each.hours)
        ]
        self._savings += [muted(deserted(host, key, servers[key]), policy) for key in silent]
        # What a muted finding is about stays.
        stopped = frozenset(
            each.server for each in self._savings if each.kind == "deserted" and each.ignored is None
        )
        freed = frozenset(gpu.gpu.uuid for gpu in host.gpus if gpu.holders and gpu.holders <= stopped)
        if any(each.kind == "unallocated" and each.ignored is None for each in self._savings):
            freed |= free
        self._savings = [
            replace(each, obstacle=self._stops(each, free, freed, stopped)) for each in self._savings
        ]
        self._lacks += _host_lacks(host)
        serving = {key: each for key, each in servers.items() if key not in silent}
        fewer = self._consolidations(serving, stopped, frozenset(silent) - stopped, freed)
        freed |= fewer.freed
        self._lacks += _young(host, serving)
        left: dict[ServerKey, tuple[Nanoseconds, Obstacle]] = {}
        for key, server in serving.items():
            time = self._left(key, server, fewer, freed)
            if time is not None:
                left[key] = time
        # A host that is given back as a whole has no GPU for others.
        whole = freed >= {gpu.gpu.uuid for gpu in host.gpus}
        gpus = tuple(
            gpu
            for gpu in host.gpus
            if gpu.gpu.uuid in freed and gpu.per_hour is not None and not (whole and gpu.release == "host")
        )
        judged = JudgedHost(host, serving, left, gpus)
        return _HostAdvice(tuple(self._savings), tuple(self._lacks), self._idle, judged)

    def _judged_servers(self) -> dict[ServerKey, JudgedServer]:
        host = self._host
        present = sorted({key for gpu in host.gpus for key in gpu.holders} - host.partial)
        servers = {key: judged_server(host, key, self._hours.get(key, {})) for key in present}
        return {key: each for key, each in servers.items() if each.hours and each.gpus.per_hour is not None}

    def _unallocated(self) -> frozenset[str]:
        free_gpus = unallocated(self._host, self._hours.get(UNALLOCATED_KEY, {}))
        if free_gpus is None:
            return frozenset()
        saving, free = free_gpus
        self._savings.append(muted(saving, self._policy))
        return free

    def _stops(
        self, saving: Saving, free: frozenset[str], freed: frozenset[str], stopped: frozenset[ServerKey]
    ) -> Obstacle:
        if saving.kind == "unallocated":
            gpus = tuple(gpu for gpu in self._host.gpus if gpu.gpu.uuid in free)
            return unit_obstacle(self._host, gpus, freed)
        return stopping_obstacle(self._host, saving.server, freed, stopped)

    def _consolidations(
        self,
        serving: dict[ServerKey, JudgedServer],
        stopped: frozenset[ServerKey],
        standby: frozenset[ServerKey],
        freed: frozenset[str],
    ) -> Consolidations:
        """Servers of muted findings neither move nor get company; what they would save is listed."""
        host, policy = self._host, self._policy
        alone = frozenset(key for key in serving if policy.ignored_by("consolidation", key))
        fewer, lacks = consolidations(host, serving, stopped, standby | alone)
        moves = list(fewer.savings)
        if alone:
            others, _ = consolidations(host, serving, stopped, standby)
            moves += [
                replace(each, server=key)
                for each in others.savings
                for key in (each.fewer.servers if each.fewer else ())
                if key in alone
            ]
        for each in moves:
            gpus = [gpu for gpu in host.gpus if each.fewer and gpu.holders - stopped <= {*each.fewer.servers}]
            gpus = [gpu for gpu in gpus if gpu.holders - stopped]
            blocked = unit_obstacle(host, gpus, freed | fewer.freed)
            self._savings.append(muted(replace(each, obstacle=blocked), policy))
        self._lacks += lacks
        return fewer

    def _left(
        self, key: ServerKey, server: JudgedServer, fewer: Consolidations, freed: frozenset[str]
    ) -> tuple[Nanoseconds, Obstacle] | None:
        """Judges the hours that a server has left; returns those that are left then, with their obstacle."""
        host, policy = self._host, self._policy
        if not any(hour.tokens for hour in server.hours.values()) and any(
            hour.works for hour in server.hours.values()
        ):
            self._lacks.append(Lack("tokens", host.name, key.name))
        if key in fewer.moved:
            return None
        blocked = obstacle(host, server.gpus, freed)
        taken = fewer.taken.get(key, {})
        left = sum(hour.gpu_time for hour in server.hours.values()) - sum(taken.values())
        if rests := schedule(host, key, server, policy.zone, taken):
            saving, hours = rests
            shared = blocked or ("shared" if self._works(fewer, key, hours) else "")
            saving = muted(replace(saving, obstacle=shared), policy)
            self._savings.append(saving)
            if saving.ignored is None:
                left -= saving.claimed
        if key in fewer.guests:
            blocked = blocked or "shared"
        offer = hosted(host, key, server, policy, left)
        if offer is not None and (age := server.age(host)) < LEAST_HOURS:
            self._lacks.append(Lack("history", host.name, key.name, age))
        elif offer is not None and blocked:
            self._lacks.append(Lack("capacity", host.name, f"{key.name} at {offer.reference}"))
        elif offer is not None:
            offer = muted(offer, policy)
            self._savings.append(offer)
            if offer.ignored is None:
                return None
        return None if key in fewer.guests else (left, blocked)

    def _works(self, fewer: Consolidations, key: ServerKey, hours: frozenset[int]) -> bool:
        """Whether a server that moves onto the GPUs of this one works in these hours."""
        return any(
            (usage := self._hours[guest].get(hour)) is not None and not usage.rests
            for guest in fewer.guests.get(key, ())
            for hour in hours
        )


def _young(host: HostUsage, serving: Mapping[ServerKey, JudgedServer]) -> Iterator[Lack]:
    """Servers too young for a schedule, on a host that is not."""
    ages = {key: age for key, each in serving.items() if (age := each.age(host)) < SCHEDULE_HOURS}
    if ages and host.length >= SCHEDULE_HOURS:
        yield Lack("weeks", host.name, names(sorted(ages)), min(ages.values()))


def _host_lacks(host: HostUsage) -> Iterator[Lack]:
    for gpu in host.gpus:
        if gpu.per_hour is None:
            yield Lack("unpriced", host.name, f"{gpu.gpu.gpu_model} {gpu.gpu.uuid}")
    for key in sorted(host.partial & {key for gpu in host.gpus for key in gpu.holders}):
        yield Lack("partial", host.name, key.name)
    if host.length < SCHEDULE_HOURS:
        yield Lack("weeks", host.name, hours=host.length)

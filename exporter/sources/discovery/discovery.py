"""Looks at a host at each tick, and remembers what it saw."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from exporter.clock import Clock
from exporter.config.settings import Config
from exporter.readings import GpuReading, ServerKey, Source, UnreadReason, UnreadServer
from exporter.sources.discovery.addresses import Moment, identity_of
from exporter.sources.discovery.cluster import Cluster, cluster
from exporter.sources.discovery.found import Found
from exporter.sources.discovery.joining import Seen, found
from exporter.sources.endpoints import Busy, Endpoints, Target
from exporter.sources.gather import Gather, Gathered
from exporter.sources.kubelet import Allocation, Allocations, PodResourcesSource, is_here
from exporter.sources.kubelet.allocations import located
from exporter.sources.processes import Processes, ProcessGroup, ProcessReading
from exporter.sources.server import ServerSource
from exporter.units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_MINUTE, Instant, Nanoseconds

log = logging.getLogger(__name__)

HELD: Final[Nanoseconds] = 5 * NANOSECONDS_PER_MINUTE
"""How long what a kubelet said stands while it cannot be asked: it restarts, or is upgraded."""

ABSENT: Final = "absent"
"""There is no socket. One that restarts takes it away for a moment; else the host has left its cluster."""

NOT_HERE: Final = frozenset({ABSENT, "unimplemented"})
"""Why a kubelet that is not there says nothing: then nobody was given anything by one."""

NOT_ALLOWED: Final = frozenset({"denied"})
"""Why a kubelet will not tell us, ever. Who computes is then all that is known, or else a server that ended
would hold its GPU for ever.
"""

LOADING: Final[Nanoseconds] = NANOSECONDS_PER_HOUR
"""How long a server may run before it is read and still have all its tokens counted: it loads its model."""


@dataclass(frozen=True, slots=True)
class _Unread:
    """A server's process that may be read much later, once it has loaded its model.

    `absent_at` is a moment at which it was not there, or since which it is read; `since` is when in boot time
    it was first seen, or last to be read.
    """

    absent_at: Instant | None
    since: Nanoseconds


@dataclass(frozen=True, slots=True)
class _Given:
    """What a kubelet gave out, and when it said so in boot time."""

    held: tuple[Allocation, ...]
    at: Nanoseconds


class _Asking:
    """The processes, asked about those that compute now."""

    def __init__(self, processes: Processes, pids: frozenset[int]) -> None:
        self._processes = processes
        self._pids = pids

    def __eq__(self, other: object) -> bool:
        """One that is still busy is not asked again, whatever about."""
        return isinstance(other, _Asking) and self._processes is other._processes

    def __hash__(self) -> int:
        """As equality has it."""
        return hash(id(self._processes))

    @property
    def name(self) -> str:
        """The value of the `source` label."""
        return self._processes.name

    @property
    def errors(self) -> tuple[tuple[str, int], ...]:
        """Failures that did not cost the last reading, by reason."""
        return self._processes.errors

    def read(self) -> ProcessReading:
        """The groups of these processes."""
        return self._processes.read(self._pids)

    def close(self) -> None:
        """Nothing is held here."""


class Discovery:
    """Finds who holds which GPU and where servers are read, without being told.

    A server that is found is read from the next tick on. What sources that fail said before stands for a
    while; after that, GPUs of which nothing else tells are held by who held them last.
    """

    def __init__(
        self,
        clock: Clock,
        endpoints: Endpoints,
        processes: Processes,
        kubelet: PodResourcesSource | None,
        cluster: Cluster | None = None,
    ) -> None:
        self._clock = clock
        self._endpoints = endpoints
        self._processes = processes
        self._kubelet = kubelet
        self._kubelet_seen = False
        self._kubelet_off = False
        self._cluster = cluster or Cluster(clock, None)
        self._given: _Given | None = None
        self._minors: Mapping[int, str] = {}
        self._targets: dict[str, Target] = {}
        self._looked: Instant | None = None
        self._listed: tuple[ProcessReading | None, Instant | None] = (None, None)
        self._unread: dict[str, _Unread] = {}
        self._body_bytes = Config().limits.body_bytes
        self._engines: tuple[str | None, ...] = ()
        self._refused: set[tuple[ServerKey, str]] = set()
        self._lost: set[tuple[ServerKey, UnreadReason]] = set()
        self.last = Found()
        """What the last look found."""

    def sources(self, config: Config) -> tuple[Source[Any], ...]:
        """What a configuration has read beside NVML: a cluster, and a kubelet once there is one."""
        self._cluster.go_by(config)
        self._kubelet_off = config.kubernetes == "off"
        if self._kubelet is not None and not self._kubelet_off:
            self._kubelet_seen = self._kubelet_seen or is_here(self._kubelet.path)
        kubelet = self._kubelet if self._kubelet_seen and not self._kubelet_off else None
        return tuple(source for source in (kubelet, self._cluster.source) if source is not None)

    @property
    def endpoints(self) -> tuple[ServerSource, ...]:
        """The sources of the servers that the last look found."""
        return self._endpoints.of(self._targets.values(), self._body_bytes, self._engines)

    def look(
        self,
        config: Config,
        gpus: tuple[GpuReading, ...],
        answers: Iterable[Gathered],
        gather: Gather,
        since: Instant | None,
    ) -> Found:
        """As `sampler.frames.Discovery.look`."""
        moment = Moment(self._clock.elapsed(), self._clock.wall())
        self._minors = {gpu.minor: gpu.gpu.uuid for gpu in gpus if gpu.minor is not None}
        self._body_bytes = config.limits.body_bytes
        self._engines = tuple(server.engine for server in config.servers)
        self._looked = since if self._looked is None else self._looked
        answers = tuple(answers)
        told = {answer.source: answer for answer in answers}
        listed = self._listed[0]
        groups: tuple[ProcessGroup, ...] | None = ()
        gathered: tuple[Gathered, ...] = ()
        if config.processes:
            groups, gathered = self._look_at_processes(gpus, gather, moment)
        else:
            gpus = tuple(replace(gpu, processes=()) for gpu in gpus)
        pods = self._cluster.pods(config, told)
        seen = Seen(groups, self._look_at_kubelet(told), pods)
        looked = found(config, gpus, seen, moment, self._targets.values())
        if self._listed[0] is not listed:
            gathered = self._with_refusals(looked, gathered)
        known = self._known(looked.targets, moment)
        if groups is None or pods is None:
            known = {**self._kept(running=groups is not None), **known}
        self._targets = known
        self._looked = moment.wall if groups is not None else self._looked
        targets = tuple(self._targets.values())
        blind = groups is None or pods is None
        self.last = replace(
            looked,
            targets=targets,
            unread=self._still_unread(looked.unread, targets, blind=blind),
            gathered=gathered,
            blind=blind,
            problems=tuple(self._problems((*told.values(), *gathered))),
            unasked=tuple((one.health.source, one.problem) for one in answers if not one.health.expected),
        )
        return self.last

    def _still_unread(
        self, unread: Iterable[UnreadServer], targets: tuple[Target, ...], *, blind: bool
    ) -> tuple[UnreadServer, ...]:
        """Those that are not read as they were before, either; each is logged once per change."""
        read = {target.about.identity for target in targets} - {""}
        found = tuple(one for one in unread if one.identity not in read)
        now = {(one.key, one.reason) for one in found}
        for key, reason in sorted(now - self._lost):
            words = {"server": key.server, "namespace": key.namespace, "reason": reason.value}
            log.warning("server not read", extra={**words, "problem": f"{reason.problem}. {reason.remedy}."})
        keys = {key for key, _ in now}
        for key in sorted({target.key for target in targets} & {key for key, _ in self._lost} - keys):
            log.info("server is read", extra={"server": key.server, "namespace": key.namespace})
        self._lost = now | self._lost if blind else now
        return found

    def _with_refusals(self, looked: Found, gathered: tuple[Gathered, ...]) -> tuple[Gathered, ...]:
        """Count the claims that a new list of processes made and did not get; each is logged once."""
        refused = {(sight.key, sight.refused) for sight in looked.sights if sight.refused}
        for key, why in sorted(refused - self._refused):
            log.warning(
                "claim refused", extra={"server": key.server, "namespace": key.namespace, "problem": why}
            )
        self._refused = refused
        if not refused or not gathered:
            return gathered
        health = gathered[0].health
        errors = (*health.errors, ("refused", len(refused)))
        return (replace(gathered[0], health=replace(health, errors=errors)),)

    def _problems(self, answers: Iterable[Gathered]) -> Iterator[tuple[str, str]]:
        for answer in answers:
            if answer.problem and answer.health.expected and answer.health.reason not in NOT_HERE:
                yield answer.health.source, answer.problem
        if self._processes.problem:
            yield self._processes.name, self._processes.problem

    def _look_at_processes(
        self, gpus: Iterable[GpuReading], gather: Gather, moment: Moment
    ) -> tuple[tuple[ProcessGroup, ...] | None, tuple[Gathered, ...]]:
        pids = frozenset(process.pid for gpu in gpus for process in gpu.processes or ())
        gathered = tuple(gather((_Asking(self._processes, pids),)))
        reading: ProcessReading | None = gathered[0].reading
        if reading is None:
            return None, gathered
        before, listed = self._listed
        if reading is not before:  # one that is kept does not say who is there now
            first = _Unread(self._looked if before is None else listed, moment.elapsed)
            running = [
                identity_of(group.server.process) for group in reading.groups if group.server is not None
            ]
            self._unread = {identity: self._unread.get(identity, first) for identity in running}
            self._listed = reading, moment.wall
        return reading.groups, gathered

    def _look_at_kubelet(self, told: Mapping[Source[Any], Gathered]) -> tuple[Allocation, ...] | None:
        """What was given out; `()` where there is no kubelet, `None` where it has been silent for long."""
        if self._kubelet_off:
            self._given = None
        if self._kubelet is None or self._kubelet_off or self._kubelet not in told:
            return ()
        answer = told[self._kubelet]
        now = self._clock.elapsed()
        reading: Allocations | None = answer.reading
        if reading is not None:
            self._given = _Given(located(reading, self._minors).held, now)
        elif self._restarts(answer.health.reason, now):
            pass
        elif answer.health.reason in NOT_HERE | NOT_ALLOWED:
            self._given = None
            return ()
        elif self._given is not None and now - self._given.at > HELD:
            self._given = None
        return None if self._given is None else self._given.held

    def _restarts(self, reason: str, now: Nanoseconds) -> bool:
        """Whether a kubelet that had a socket a moment ago, and has none, may just be starting again."""
        return reason == ABSENT and self._given is not None and now - self._given.at <= HELD

    def _known(self, targets: Iterable[Target], moment: Moment) -> dict[str, Target]:
        """The targets by URL. One that was there before stays as it was, so that its source is kept."""
        known: dict[str, Target] = {}
        for target in targets:
            identity = target.about.identity
            before = self._targets.get(target.url)
            if before is not None and before.about.identity == identity:
                about = replace(target.about, started=before.about.started, absent_at=before.about.absent_at)
            else:
                unread = self._unread.get(identity)
                recent = unread is not None and moment.elapsed - unread.since <= LOADING
                absent_at = unread.absent_at if unread is not None and recent else self._looked
                about = replace(target.about, absent_at=absent_at)
            if identity in self._unread:  # what is read from here on is not counted from zero again
                self._unread[identity] = _Unread(moment.wall, moment.elapsed)
            known[target.url] = replace(target, about=about)
        return known

    def _kept(self, *, running: bool) -> dict[str, Target]:
        """The targets of before.

        Without a look at the processes nothing is known to have ended, nor to have been absent; without one
        at the pods, what those are called that are still `running`.
        """
        return {
            url: target
            for url, target in self._targets.items()
            if not running or not target.about.identity or target.about.identity in self._unread
        }

    def close(self) -> None:
        """Let go of all that is held."""
        self._processes.close()
        if self._kubelet is not None:
            self._kubelet.close()
        self._cluster.close()
        self._endpoints.close()


def discovery(clock: Clock, config: Config, busy: Busy | None = None) -> Discovery:
    """Of this host, with its own processes, its own kubelet, and the cluster of this pod if it is in one."""
    own = cluster(clock)
    own.go_by(config)
    return Discovery(clock, Endpoints(clock, busy), Processes(clock), PodResourcesSource(clock), own)

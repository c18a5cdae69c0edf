"""Discovery at each tick: reads pods, kubelet and processes, and keeps their answers while they fail."""

import logging
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from exporter.clock import Clock
from exporter.config.settings import Config, KubernetesChoice
from exporter.readings import (
    ErrorCounts,
    FailureReason,
    GpuReading,
    QuickSource,
    ServerKey,
    Source,
    UnreadServer,
)
from exporter.sources import kubernetes
from exporter.sources.discovery.servers import (
    DiscoveryResult,
    HostSnapshot,
    ScanTime,
    find_servers,
)
from exporter.sources.endpoints import Busy, EndpointSources
from exporter.sources.gather import Gather, Gathered
from exporter.sources.kubelet import Allocation, Allocations, PodResourcesSource, is_here, pods_api
from exporter.sources.kubelet.pod_resources import located, without_monitors
from exporter.sources.kubernetes import Pod, Pods, PodSource, ServiceAccount, owner_of
from exporter.sources.processes import ProcessGroup, ProcessReading, ProcessSource
from exporter.sources.server import ServerSource
from exporter.sources.server.page_reader import Target
from exporter.units import NANOSECONDS_PER_HOUR, NANOSECONDS_PER_MINUTE, Instant, Nanoseconds

log = logging.getLogger(__name__)

ANSWER_TTL: Final[Nanoseconds] = 5 * NANOSECONDS_PER_MINUTE
"""How long the last answer of the kubelet or the cluster stands while it restarts or cannot be read."""

NOT_HERE: Final = frozenset({FailureReason.ABSENT, FailureReason.UNIMPLEMENTED})
"""Reasons that mean that there is no kubelet, and so no allocations."""

PODS_DENIED: Final = frozenset(
    {
        FailureReason.FORBIDDEN,
        FailureReason.UNAUTHORIZED,
        FailureReason.NODE_IP,
        FailureReason.NODE_NAME,
        FailureReason.TOKEN_FILE,
        FailureReason.DENIED,
        FailureReason.UNIMPLEMENTED,
    }
)
"""Permanent reasons that pods are not listed: servers then have names without their cluster."""

ALLOCATIONS_DENIED: Final = frozenset({FailureReason.DENIED, FailureReason.UNIMPLEMENTED})
"""Permanent reasons of a kubelet. Holders are then known by processes alone: with old allocations a server
that ended would hold its GPU for ever."""

LOADING: Final[Nanoseconds] = NANOSECONDS_PER_HOUR
"""How long a server may run before it is read and still have all its tokens counted: it loads its model."""

T = TypeVar("T")


@dataclass(slots=True)
class _LastAnswer(Generic[T]):
    """The last answer of a source, which stands while the source fails for a while."""

    denied: frozenset[FailureReason]
    """The permanent reasons, after which no earlier answer stands."""
    reading: T | None = None
    at: Nanoseconds = 0
    """The boot time of the answer."""
    missing: bool = False
    """The source is not here, or access to it is denied: there is nothing to wait for."""

    def take(self, answer: Gathered | None, now: Nanoseconds) -> None:
        """Take in the answer of a tick, `None` where the source was not read."""
        reason = None if answer is None else answer.health.reason
        if answer is not None and answer.reading is not None:
            self.reading, self.at = answer.reading, now
        elif reason in self.denied or now - self.at > ANSWER_TTL:
            self.reading = None
        # A kubelet without a socket has left this host, or is starting again.
        self.missing = self.reading is None and (reason in self.denied or reason == FailureReason.ABSENT)


class PodCache:
    """The last list of this node's pods; `account` is `None` outside a pod, and in a pod without a token.

    Without an account only the kubelet's socket is read, once there is one.
    """

    def __init__(self, clock: Clock, account: ServiceAccount | None, socket: Path = pods_api.SOCKET) -> None:
        self._clock = clock
        self._account = account
        self._socket = socket
        self._choice: tuple[KubernetesChoice, Path | None] = ("off", None)
        self._last: _LastAnswer[Pods] = _LastAnswer(PODS_DENIED)
        self._gone: dict[tuple[str, str], Nanoseconds] = {}
        self._source: PodSource | None = None

    @property
    def source(self) -> PodSource | None:
        """The source to read; `None` where there is none."""
        return self._source if self._source is not None and self._source.asks else None

    def go_by(self, config: Config) -> None:
        """Read as a configuration says. The last list stays if nothing changes for it."""
        choice = config.kubernetes, config.kubelet_ca_file
        if choice == self._choice:
            return
        self.close()
        self._choice, self._last = choice, _LastAnswer(PODS_DENIED)
        self._source = None
        if config.kubernetes != "off":
            self._source = PodSource(self._clock, self._account, *choice, socket=self._socket)

    def pods(self, config: Config, answers: Mapping[Source[Any], Gathered]) -> tuple[Pod, ...] | None:
        """The pods of this node: `()` without access to a source, `None` before the first answer."""
        source = self.source
        if source is None:
            return ()
        before = self._last.reading
        self._last.take(answers.get(source), self._clock.elapsed())
        now = self._last.reading
        if now is None:
            return () if self._last.missing else None
        if now is not before and now.at is not None and (before is None or now.at != before.at):
            # No answer of the kubelet lasts as long as it is remembered which pods have gone.
            gone = {name: at for name, at in self._gone.items() if now.at - at <= 2 * ANSWER_TTL}
            earlier = () if before is None else before.pods
            gone.update({(pod.namespace, pod.name): now.at for pod in earlier})
            there = {(pod.namespace, pod.name) for pod in now.pods}
            self._gone = {name: at for name, at in gone.items() if name not in there}
        owned: list[Pod] = []
        for pod in now.pods:
            product, team = owner_of(pod, config.pod_labels)
            owned.append(replace(pod, product=product, team=team))
        return tuple(owned)

    @property
    def listed(self) -> Nanoseconds | None:
        """The boot time as of which the pods are known."""
        return None if self._last.reading is None else self._last.reading.at

    def has_ended(self, namespace: str, name: str, at: Nanoseconds | None) -> bool:
        """Whether a pod that was there at a boot time has gone from the list since."""
        gone = self._gone.get((namespace, name))
        return gone is not None and at is not None and at < gone

    def outdated_by(self, groups: Iterable[ProcessGroup], given: Allocations | None) -> PodSource | None:
        """The source to read again, since a pod that its last answer lacks has begun after it."""
        source, last = self._source, self._last.reading
        if source is None or last is None or last.at is None or not source.asks:
            return None
        uids = {group.pod for group in groups if group.pod and group.started >= last.at}
        names: set[tuple[str, str]] = set()
        if given is not None and given.at is not None and given.at >= last.at:
            names = {(allocation.namespace, allocation.pod) for allocation in given.allocations}
        if uids <= {pod.uid for pod in last.pods} and names <= {
            (pod.namespace, pod.name) for pod in last.pods
        }:
            return None
        return source if source.renew() else None

    def close(self) -> None:
        """Close the source."""
        if self._source is not None:
            self._source.close()


@dataclass(frozen=True, slots=True)
class _Unread:
    """A server's process that is read later, once it has loaded its model."""

    absent_at: Instant | None
    """A moment at which it did not exist yet, or since which it is read."""
    since: Nanoseconds
    """The boot time at which it was first seen, or last a target."""


@dataclass(frozen=True)
class _ProcessQuery(QuickSource):
    """One read of the processes, for those that compute now.

    Queries with other `pids` are equal, so that no second read begins while one is busy.
    """

    processes: ProcessSource
    pids: frozenset[int] = field(compare=False)

    @property
    def errors(self) -> ErrorCounts:  # type: ignore[override]
        """Failures that did not cost the last reading, by reason."""
        return self.processes.errors

    @property
    def name(self) -> str:
        """The value of the `source` label."""
        return self.processes.name

    def read(self) -> ProcessReading:
        """The groups of these processes."""
        return self.processes.read(self.pids)


class Discovery:
    """Finds the holders of GPUs and the targets of servers.

    A discovered server is read in the same tick. The last answer of a failing source stands for a while;
    after that its GPUs are reported as unknown.
    """

    def __init__(
        self,
        clock: Clock,
        endpoints: EndpointSources,
        processes: ProcessSource,
        kubelet: PodResourcesSource | None,
        cluster: PodCache | None = None,
        own_pod: tuple[str, str] | None = None,
    ) -> None:
        """`own_pod`: namespace and name of the pod of this exporter.

        By a claim with admin access it is shown all GPUs, and the kubelet lists it as if they were its own.
        """
        self._clock = clock
        self._endpoints = endpoints
        self._processes = processes
        self._kubelet = kubelet
        self._kubelet_seen = False
        self._cluster = cluster or PodCache(clock, None)
        self._own_pod = own_pod
        self._config = Config()
        self._allocations: _LastAnswer[Allocations] = _LastAnswer(ALLOCATIONS_DENIED)
        self._running: dict[str, Pod] = {}
        self._targets: dict[str, Target] = {}
        self._looked: Instant | None = None
        self._listed: tuple[ProcessReading | None, Instant | None] = (None, None)
        self._unread: dict[str, _Unread] = {}
        self._refused: set[tuple[ServerKey, str]] = set()
        self._lost: set[tuple[ServerKey, FailureReason]] = set()
        self.last = DiscoveryResult()
        """Result of the last scan."""

    def sources(self, config: Config) -> tuple[Source[Any], ...]:
        """Sources to read before a scan: the kubelet, once there is one, and the cluster."""
        self._cluster.go_by(config)
        kubelet = None if config.kubernetes == "off" else self._kubelet
        if kubelet is not None:
            self._kubelet_seen = self._kubelet_seen or is_here(kubelet.path)
        here = (kubelet if self._kubelet_seen else None, self._cluster.source)
        return tuple(source for source in here if source is not None)

    @property
    def endpoints(self) -> tuple[ServerSource, ...]:
        """The sources of the servers of the last scan."""
        config = self._config
        engines = tuple(server.engine for server in config.servers)
        return self._endpoints.of(self._targets.values(), config.limits.body_bytes, engines, config.engines)

    def look(
        self,
        config: Config,
        gpus: tuple[GpuReading, ...],
        answers: Iterable[Gathered],
        gather: Gather,
        since: Instant | None,
    ) -> DiscoveryResult:
        """Scan the host.

        Args:
            config: servers and sources to read.
            gpus: readings of this tick, with their processes.
            answers: of `sources`, in this tick.
            gather: reads the processes.
            since: when this host was last scanned, by this daemon or by the one before it.
        """
        moment = ScanTime(self._clock.elapsed(), self._clock.wall())
        self._config = config
        self._looked = since if self._looked is None else self._looked
        by_source = {answer.source: answer for answer in answers}
        listed_before = self._listed[0]
        groups: tuple[ProcessGroup, ...] | None = ()
        gathered: tuple[Gathered, ...] = ()
        if config.processes:
            groups, gathered = self._look_at_processes(gpus, gather, moment)
        else:
            gpus = tuple(replace(gpu, processes=()) for gpu in gpus)
        pods = self._cluster.pods(config, by_source)
        given: Allocations | None = Allocations()
        if self._kubelet is None or self._kubelet not in by_source:
            self._allocations = _LastAnswer(ALLOCATIONS_DENIED)
        else:
            self._allocations.take(by_source[self._kubelet], moment.elapsed)
            given = Allocations() if self._allocations.missing else self._allocations.reading
        renewed: tuple[Gathered, ...] = ()
        outdated = self._cluster.outdated_by(groups or (), self._allocations.reading)
        if outdated is not None:
            renewed = tuple(gather((outdated,)))
            pods = self._cluster.pods(config, {answer.source: answer for answer in renewed})
        if groups is not None and pods is not None:
            pods = self._with_running(pods, groups)
        allocations = None if given is None else self._allocations_of_pods(given, pods or (), gpus)
        snapshot = HostSnapshot(groups, allocations, pods, self._cluster.listed)
        looked = find_servers(config, gpus, snapshot, moment, tuple(self._targets.values()))
        if self._listed[0] is not listed_before:
            gathered = self._with_refusals(looked, gathered)
        incomplete = groups is None or pods is None
        by_url = self._targets_by_url(looked.targets, moment)
        if incomplete:
            by_url = self._with_targets_before(by_url, running=groups is not None)
        self._targets = by_url
        if groups is not None:
            self._looked = moment.wall
        targets = tuple(by_url.values())
        problems = [
            (answer.health.source, answer.problem)
            for answer in (*by_source.values(), *gathered)
            if answer.problem and answer.health.expected and answer.health.reason not in NOT_HERE
        ]
        if self._processes.problem:
            problems.append((self._processes.name, self._processes.problem))
        self.last = replace(
            looked,
            targets=targets,
            unread=self._still_unread(looked.unread, targets, incomplete=incomplete),
            gathered=(*gathered, *renewed),
            incomplete=incomplete,
            problems=tuple(problems),
            unasked=tuple(
                (answer.health.source, answer.problem)
                for answer in by_source.values()
                if not answer.health.expected
            ),
        )
        return self.last

    def _with_running(self, pods: tuple[Pod, ...], groups: Iterable[ProcessGroup]) -> tuple[Pod, ...]:
        """The pods that are listed, behind those that no longer are and whose processes run on.

        A kubelet that starts again lists few at first (kubernetes#112119), and a pod that is deleted by force
        may run on.
        """
        if self._cluster.listed is None:  # there is no list by now, and all are named without it
            self._running = {}
            return pods
        listed = {pod.uid: pod for pod in pods}
        uids = {group.pod for group in groups if group.pod}
        self._running = {uid: pod for uid in uids if (pod := listed.get(uid) or self._running.get(uid))}
        return (*(pod for uid, pod in self._running.items() if uid not in listed), *pods)

    def _still_unread(
        self, unread: Iterable[UnreadServer], targets: tuple[Target, ...], *, incomplete: bool
    ) -> tuple[UnreadServer, ...]:
        """The unread servers that no kept target reads; each is logged once per change."""
        read = {target.server_context.identity for target in targets} - {""}
        unread_servers = tuple(server for server in unread if server.identity not in read)
        now = {(server.key, server.reason) for server in unread_servers}
        for key, reason in sorted(now - self._lost):
            words = {"server": key.server, "namespace": key.namespace, "reason": reason.value}
            log.warning("server not read", extra={**words, "problem": f"{reason.problem}. {reason.remedy}."})
        keys = {key for key, _ in now}
        for key in sorted({target.key for target in targets} & {key for key, _ in self._lost} - keys):
            log.info("server read", extra={"server": key.server, "namespace": key.namespace})
        self._lost = now | self._lost if incomplete else now
        return unread_servers

    def _with_refusals(self, looked: DiscoveryResult, gathered: tuple[Gathered, ...]) -> tuple[Gathered, ...]:
        """Count the refused claims of a new list of processes; each is logged once."""
        refused = {(server.key, server.refused) for server in looked.servers if server.refused}
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

    def _look_at_processes(
        self, gpus: Iterable[GpuReading], gather: Gather, moment: ScanTime
    ) -> tuple[tuple[ProcessGroup, ...] | None, tuple[Gathered, ...]]:
        pids = frozenset(process.pid for gpu in gpus for process in gpu.processes or ())
        gathered = tuple(gather((_ProcessQuery(self._processes, pids),)))
        reading: ProcessReading | None = gathered[0].reading
        if reading is None:
            return None, gathered
        before, listed = self._listed
        if reading is not before:  # a cached reading does not say which processes exist now
            first = _Unread(self._looked if before is None else listed, moment.elapsed)
            running = [group.server.process.identity for group in reading.groups if group.server is not None]
            self._unread = {identity: self._unread.get(identity, first) for identity in running}
            self._listed = reading, moment.wall
        return reading.groups, gathered

    def _allocations_of_pods(
        self, given: Allocations, pods: Iterable[Pod], gpus: Iterable[GpuReading]
    ) -> tuple[Allocation, ...]:
        """The allocations of workloads, without pods that have gone since: their names would be guesses."""
        uuids = {gpu.device: gpu.gpu.uuid for gpu in gpus if gpu.device}
        of_workloads = replace(given, allocations=without_monitors(given.allocations, self._own_pod))
        there = {(pod.namespace, pod.name) for pod in pods}
        return tuple(
            allocation
            for allocation in located(of_workloads, uuids).allocations
            if (allocation.namespace, allocation.pod) in there
            or not self._cluster.has_ended(allocation.namespace, allocation.pod, given.at)
        )

    def _targets_by_url(self, targets: Iterable[Target], moment: ScanTime) -> dict[str, Target]:
        """The targets by URL. An unchanged target keeps its context, and so its source."""
        by_url: dict[str, Target] = {}
        for target in targets:
            identity = target.server_context.identity
            before = self._targets.get(target.url)
            if before is not None and before.server_context.identity == identity:
                server_context = replace(
                    target.server_context,
                    started=before.server_context.started,
                    absent_at=before.server_context.absent_at,
                )
            else:
                unread = self._unread.get(identity)
                recent = unread is not None and moment.elapsed - unread.since <= LOADING
                absent_at = unread.absent_at if unread is not None and recent else self._looked
                server_context = replace(target.server_context, absent_at=absent_at)
            if identity in self._unread:  # from here on a read is not counted from zero
                self._unread[identity] = _Unread(moment.wall, moment.elapsed)
            after = replace(target, server_context=server_context)
            by_url[target.url] = before if before is not None and after == before else after
        return by_url

    def _with_targets_before(self, by_url: dict[str, Target], *, running: bool) -> dict[str, Target]:
        """The targets of this scan and the last ones, which stay while processes or pods are unknown.

        Without processes none is known to have ended. Without pods those stay whose processes run, since
        their names are unknown. None is read by two addresses, and counted twice: a pod's server is read
        where its pod said.
        """
        now = {target.server_context.identity: target for target in by_url.values()}
        lasting: dict[str, Target] = {}
        elsewhere: set[str] = set()
        for url, target in self._targets.items():
            identity = target.server_context.identity
            again = now.get(identity) if identity else None
            if url in by_url or (again is not None and not target.server_context.pod):
                continue
            if again is not None:
                lasting[url] = replace(target, key=again.key)
                elsewhere.add(again.url)
            elif not running or not identity or identity in self._unread:
                lasting[url] = target
        return {**lasting, **{url: target for url, target in by_url.items() if url not in elsewhere}}

    def close(self) -> None:
        """Close all sources."""
        with ExitStack() as closing:  # each is closed whatever the others raise
            closing.callback(self._endpoints.close)
            closing.callback(self._cluster.close)
            if self._kubelet is not None:
                closing.callback(self._kubelet.close)
            closing.callback(self._processes.close)


def discovery(clock: Clock, config: Config, busy: Busy = lambda _: True) -> Discovery:
    """For this host: its processes, its kubelet, and the cluster of this pod if it is in one."""
    own = PodCache(clock, kubernetes.account())
    own.go_by(config)
    namespace, pod = os.environ.get("POD_NAMESPACE"), os.environ.get("POD_NAME")
    return Discovery(
        clock,
        EndpointSources(clock, busy),
        ProcessSource(clock),
        PodResourcesSource(clock),
        own,
        (namespace, pod) if namespace and pod else None,
    )

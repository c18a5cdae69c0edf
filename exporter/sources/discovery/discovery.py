"""Discovery at each tick: reads pods, kubelet and processes, and keeps their answers while they fail."""

import logging
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Final

from exporter.clock import Clock
from exporter.config.settings import Config
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
from exporter.sources.discovery.answers import NOT_HERE, AllocationCache, PodCache, own_pod
from exporter.sources.discovery.endpoint_address import ScanTime
from exporter.sources.discovery.servers import (
    DiscoveredServer,
    DiscoveryResult,
    HostSnapshot,
    find_servers,
)
from exporter.sources.endpoints import Busy, EndpointSources
from exporter.sources.gather import Gather, Gathered
from exporter.sources.kubelet import PodResourcesSource
from exporter.sources.processes import ProcessGroup, ProcessReading, ProcessSource
from exporter.sources.server import ServerSource
from exporter.sources.server.page_reader import Target
from exporter.units import NANOSECONDS_PER_HOUR, Instant, Nanoseconds

log = logging.getLogger(__name__)

LOADING: Final[Nanoseconds] = NANOSECONDS_PER_HOUR
"""How long a server may run before it is read and still have all its tokens counted: it loads its model."""


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


class _ServerLog:
    """Logs servers that are not read, and names that are refused, once for each change."""

    def __init__(self) -> None:
        self._refused: set[tuple[ServerKey, str]] = set()
        self._unread: set[tuple[ServerKey, FailureReason]] = set()

    def with_refused(self, processes: Gathered, servers: Iterable[DiscoveredServer]) -> Gathered:
        """A new list of processes with the number of claims that are refused, which are logged."""
        refused = {(server.key, server.refused) for server in servers if server.refused}
        for key, why in sorted(refused - self._refused):
            log.warning(
                "claim refused", extra={"server": key.server, "namespace": key.namespace, "problem": why}
            )
        self._refused = refused
        if not refused:
            return processes
        errors = (*processes.health.errors, ("refused", len(refused)))
        return replace(processes, health=replace(processes.health, errors=errors))

    def unread(
        self, servers: Iterable[UnreadServer], targets: Iterable[Target], *, incomplete: bool
    ) -> tuple[UnreadServer, ...]:
        """The servers that no target reads, logged as they come, and as they are read again."""
        read = {target.server_context.identity for target in targets} - {""}
        unread = tuple(server for server in servers if server.identity not in read)
        now = {(server.key, server.reason) for server in unread}
        for key, reason in sorted(now - self._unread):
            problem = f"{reason.problem}. {reason.remedy}."
            keys = {"server": key.server, "namespace": key.namespace, "reason": reason.value}
            log.warning("server not read", extra={**keys, "problem": problem})
        unread_before = {key for key, _ in self._unread}
        read_again = unread_before & {target.key for target in targets} - {key for key, _ in now}
        for key in sorted(read_again):
            log.info("server read", extra={"server": key.server, "namespace": key.namespace})
        self._unread = now | self._unread if incomplete else now
        return unread


@dataclass(frozen=True, slots=True)
class _Unread:
    """A server's process that is read later, once it has loaded its model."""

    absent_at: Instant | None
    """A moment at which it did not exist yet, or since which it is read."""
    since: Nanoseconds
    """The boot time at which it was first seen, or last a target."""


class TargetHistory:
    """The targets of the last scan, and the processes of servers that run."""

    def __init__(self) -> None:
        self.targets: Mapping[str, Target] = {}
        """The targets of the last scan, by URL."""
        self._reading: ProcessReading | None = None
        """The last list of processes."""
        self._listed: Instant | None = None
        """When that was read."""
        self._scanned: Instant | None = None
        """When processes were last known."""
        self._unread: dict[str, _Unread] = {}
        """The processes of servers that run, by identity."""

    def begin(self, since: Instant | None) -> None:
        """Begin a scan; `since` is when the daemon before this one scanned last."""
        if self._scanned is None:
            self._scanned = since

    def list_processes(self, reading: ProcessReading, moment: ScanTime) -> bool:
        """Take in a list of processes; whether it is a new one. A cached one does not say which exist now."""
        if reading is self._reading:
            return False
        absent_at = self._scanned if self._reading is None else self._listed
        first = _Unread(absent_at, moment.elapsed)
        servers = [group.server for group in reading.groups if group.server is not None]
        running = [server.process.identity for server in servers]
        self._unread = {identity: self._unread.get(identity, first) for identity in running}
        self._reading = reading
        self._listed = moment.wall
        return True

    def update(
        self, current: Iterable[Target], moment: ScanTime, *, processes_known: bool, pods_known: bool
    ) -> tuple[Target, ...]:
        """The targets as of a scan, which shows the current ones.

        An unchanged target keeps its context, and so its source. The last targets stay while processes or
        pods are unknown.
        """
        by_url: dict[str, Target] = {}
        for target in current:
            identity = target.server_context.identity
            before = self.targets.get(target.url)
            if before is not None and before.server_context.identity == identity:
                started = before.server_context.started
                absent_at = before.server_context.absent_at
            else:
                unread = self._unread.get(identity)
                is_recent = unread is not None and moment.elapsed - unread.since <= LOADING
                started = target.server_context.started
                absent_at = unread.absent_at if unread is not None and is_recent else self._scanned
            if identity in self._unread:  # from here on a read is not counted from zero
                self._unread[identity] = _Unread(moment.wall, moment.elapsed)
            context = replace(target.server_context, started=started, absent_at=absent_at)
            after = replace(target, server_context=context)
            by_url[target.url] = before if before is not None and after == before else after
        if not processes_known or not pods_known:
            by_url = self._with_targets_before(by_url, processes_known=processes_known)
        self.targets = by_url
        if processes_known:
            self._scanned = moment.wall
        return tuple(by_url.values())

    def _with_targets_before(self, by_url: dict[str, Target], *, processes_known: bool) -> dict[str, Target]:
        """The targets of this scan and the last ones, which stay while processes or pods are unknown.

        Without processes none is known to have ended. Without pods those stay whose processes run, since
        their names are unknown. None is read by two addresses, and counted twice: a pod's server is read
        where its pod said.
        """
        now = {target.server_context.identity: target for target in by_url.values()}
        lasting: dict[str, Target] = {}
        elsewhere: set[str] = set()
        for url, target in self.targets.items():
            identity = target.server_context.identity
            again = now.get(identity) if identity else None
            if url in by_url or (again is not None and not target.server_context.pod):
                continue
            if again is not None:
                lasting[url] = replace(target, key=again.key)
                elsewhere.add(again.url)
            elif not processes_known or not identity or identity in self._unread:
                lasting[url] = target
        return {**lasting, **{url: target for url, target in by_url.items() if url not in elsewhere}}


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
        monitor: tuple[str, str] | None = None,
    ) -> None:
        """`monitor`: namespace and name of the pod of this exporter."""
        self._clock = clock
        self._endpoints = endpoints
        self._processes = processes
        self._cluster = cluster or PodCache(clock, None)
        self._allocations = AllocationCache(clock, kubelet, monitor)
        self._history = TargetHistory()
        self._log = _ServerLog()
        self._config = Config()
        self.last = DiscoveryResult()
        """Result of the last scan."""

    def sources(self, config: Config) -> tuple[Source[Any], ...]:
        """Sources to read before a scan: the kubelet, once there is one, and the cluster."""
        self._cluster.go_by(config)
        sources = (self._allocations.source(config), self._cluster.source)
        return tuple(source for source in sources if source is not None)

    @property
    def endpoints(self) -> tuple[ServerSource, ...]:
        """The sources of the servers of the last scan."""
        config = self._config
        engines = tuple(server.engine for server in config.servers)
        targets = self._history.targets.values()
        return self._endpoints.of(targets, config.limits.body_bytes, engines, config.engines)

    def look(
        self,
        config: Config,
        gpus: tuple[GpuReading, ...],
        answers: Iterable[Gathered],
        gather: Gather,
        since: Instant | None,
    ) -> DiscoveryResult:
        """Scan the host, by the answers of `sources` in this tick.

        `since` is when this host was last scanned, by this daemon or by the one before it.
        """
        moment = ScanTime(self._clock.elapsed(), self._clock.wall())
        self._config = config
        self._history.begin(since)
        by_source = {answer.source: answer for answer in answers}
        processes: Gathered | None = None
        is_new = False
        groups: tuple[ProcessGroup, ...] | None = ()
        known_gpus = tuple(gpu if config.processes else replace(gpu, processes=()) for gpu in gpus)
        if config.processes:
            pids = frozenset(process.pid for gpu in gpus for process in gpu.processes or ())
            (processes,) = gather((_ProcessQuery(self._processes, pids),))
            reading: ProcessReading | None = processes.reading
            groups = None if reading is None else reading.groups
            is_new = reading is not None and self._history.list_processes(reading, moment)
        snapshot, renewed = self._snapshot(groups, known_gpus, by_source, gather)
        scan = find_servers(config, known_gpus, snapshot, moment, tuple(self._history.targets.values()))
        if processes is not None and is_new:
            processes = self._log.with_refused(processes, scan.servers)
        incomplete = groups is None or snapshot.pods is None
        targets = self._history.update(
            scan.targets, moment, processes_known=groups is not None, pods_known=snapshot.pods is not None
        )
        unread = self._log.unread(scan.unread, targets, incomplete=incomplete)
        gathered = () if processes is None else (processes,)
        problems = [
            (answer.health.source, answer.problem)
            for answer in (*by_source.values(), *gathered)
            if answer.problem and answer.health.expected and answer.health.reason not in NOT_HERE
        ]
        if self._processes.problem:
            problems.append((self._processes.name, self._processes.problem))
        self.last = replace(
            scan,
            targets=targets,
            unread=unread,
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

    def _snapshot(
        self,
        groups: tuple[ProcessGroup, ...] | None,
        gpus: Iterable[GpuReading],
        answers: dict[Source[Any], Gathered],
        gather: Gather,
    ) -> tuple[HostSnapshot, tuple[Gathered, ...]]:
        """What is known of the host, and the pods' answer where they were read again."""
        pods = self._cluster.pods(self._config, answers)
        given = self._allocations.take(answers)
        renewed: tuple[Gathered, ...] = ()
        outdated = self._cluster.outdated_by(groups or (), given)
        if outdated is not None:
            renewed = tuple(gather((outdated,)))
            pods = self._cluster.pods(self._config, {answer.source: answer for answer in renewed})
        if groups is not None and pods is not None:
            pods = self._cluster.with_running(pods, groups)
        allocations = None
        if given is not None:
            allocations = self._allocations.of_workloads(given, pods or (), self._cluster, gpus)
        return HostSnapshot(groups, allocations, pods, self._cluster.listed), renewed

    def close(self) -> None:
        """Close all sources."""
        with ExitStack() as closing:  # each is closed whatever the others raise
            closing.callback(self._endpoints.close)
            closing.callback(self._cluster.close)
            closing.callback(self._allocations.close)
            closing.callback(self._processes.close)


def discovery(clock: Clock, config: Config, busy: Busy = lambda _: True) -> Discovery:
    """For this host: its processes, its kubelet, and the cluster of this pod if it is in one."""
    cluster = PodCache(clock, kubernetes.account())
    cluster.go_by(config)
    return Discovery(
        clock,
        EndpointSources(clock, busy),
        ProcessSource(clock),
        PodResourcesSource(clock),
        cluster,
        own_pod(),
    )

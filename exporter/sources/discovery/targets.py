"""The endpoints to read from one scan to the next, and since when the tokens of each are counted."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from exporter.sources.discovery.endpoint_address import ScanTime
from exporter.sources.processes import ProcessReading
from exporter.sources.server.page_reader import Target
from exporter.units import NANOSECONDS_PER_HOUR, Instant, Nanoseconds

LOADING: Final[Nanoseconds] = NANOSECONDS_PER_HOUR
"""How long a server may run before it is read and still have all its tokens counted: it loads its model."""


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

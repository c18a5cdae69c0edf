"""Location of this host, from cloud metadata and node labels that are polled in the background."""

import logging
import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Generic, Protocol, TypeVar

from exporter.clock import Clock
from exporter.config import Config
from exporter.readings import FailureReason, HostLocation, Source
from exporter.report import SourceRow
from exporter.sources import kubernetes
from exporter.sources.cloud import RENEWAL, CloudSource, MergedLocation, NoticeSource, merge_labels
from exporter.sources.gather import Gathered, read_source
from exporter.sources.kubernetes import NodeReading, NodeSource
from exporter.threads import start
from exporter.units import (
    NANOSECONDS_PER_HOUR,
    NANOSECONDS_PER_MINUTE,
    NANOSECONDS_PER_SECOND,
    Instant,
    Nanoseconds,
)

log = logging.getLogger(__name__)

BACKOFF_MIN: Final[Nanoseconds] = 5 * NANOSECONDS_PER_SECOND
BACKOFF_MAX: Final[Nanoseconds] = NANOSECONDS_PER_HOUR
"""Pauses between attempts, doubled each time. A host's network may come up after the daemon, and network
policies may keep a pod from the metadata service for good."""

SILENT: Final = frozenset({FailureReason.CONNECTION, FailureReason.TIMEOUT})
"""Failures without any answer, as before the network is up."""

SILENT_ATTEMPTS: Final = 3
"""Silent attempts at the start before the fallback counts, 15 seconds of pauses: what is posted at a lesser
location's price stays, and time without a price is charged when the location is known."""

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class PolledSource(Source[T_co], Protocol[T_co]):
    """A source whose answer is valid for long, with a fallback."""

    @property
    def asks(self) -> bool:
        """Whether it sends any request."""
        ...

    @property
    def fallback(self) -> T_co:
        """Value without a request."""
        ...

    @property
    def problem(self) -> str:
        """Problem behind `errors`, for people."""
        ...


class BackgroundPoller(Generic[T]):
    """One thread that reads a source until its answer is complete, and calls `changed` after each attempt.

    `value` is `None` during the first attempt, which its timeout bounds, and while nothing at all answers,
    for `SILENT_ATTEMPTS`. After another failure it is the fallback, until a later answer replaces it.
    With `renewal` it reads again that long after each answer; a failure then leaves the last answer in place.
    """

    def __init__(
        self,
        source: PolledSource[T],
        clock: Clock,
        changed: Callable[[], None],
        renewal: Nanoseconds | None = None,
    ) -> None:
        self._source = source
        self._clock = clock
        self._changed = changed
        self._renewal = renewal
        self._stop = threading.Event()
        self._started = False
        self._answered = False
        self._silent_attempts = 0
        self._value: T | None = None if source.asks else source.fallback
        self._row: SourceRow | None = None
        self._problem = ""
        self._errors: Counter[str] = Counter()
        self._last_success: Instant | None = None

    @property
    def value(self) -> T | None:
        """Last answer; `None` during the first attempt, or first ones."""
        return self._value

    @property
    def row(self) -> SourceRow | None:
        """Health of the source; `None` before the first attempt, and for a source without requests."""
        return self._row

    def start(self) -> None:
        """Begin to poll, once, if the source sends requests."""
        if self._source.asks and not self._started:
            self._started = True
            start(self._run, self._source.name)

    def close(self) -> None:
        """Poll no more. An attempt under way ends by its own timeout, and changes nothing any more."""
        self._stop.set()

    def _run(self) -> None:
        pause = BACKOFF_MIN
        while True:
            if not self._attempt():
                wait, pause = pause, min(2 * pause, BACKOFF_MAX)
            elif self._renewal is None:
                return
            else:
                wait, pause = self._renewal, BACKOFF_MIN
            if self._clock.wait(self._stop, wait):
                return

    def _attempt(self) -> bool:
        """Read once; true when the answer is whole."""
        answer = read_source(self._source, self._clock)
        if self._stop.is_set():
            return True
        value: T | None = answer.reading
        health = answer.health
        reasons = ((health.reason, 1),) if health.reason else health.errors
        problem = answer.problem or self._source.problem
        self._errors.update(dict(reasons))
        if value is not None:
            self._last_success = self._clock.wall()
        self._row = SourceRow(
            self._source.name, health.up, health.duration, self._last_success, dict(self._errors)
        )
        if problem and problem != self._problem:
            log.warning("source failed", extra={"source": self._source.name, "problem": problem})
        self._problem = problem
        silent = bool(reasons) and all(reason in SILENT for reason, _ in reasons)
        self._silent_attempts = self._silent_attempts + 1 if silent else SILENT_ATTEMPTS
        # Silence at the start is no reason yet to do without an answer.
        if self._answered or self._silent_attempts >= SILENT_ATTEMPTS:
            if value is not None:
                self._answered, self._value = True, value
            elif not self._answered:
                self._value = self._source.fallback
        self._changed()
        return not reasons


LABELS_RENEWAL: Final[Nanoseconds] = 10 * NANOSECONDS_PER_MINUTE
"""Labels are added and removed while a node runs; its instance type does not change."""


class LocationPoller:
    """Polls the cloud and the cluster by a configuration, and calls `changed` after each attempt of either.

    `location` is `None` until each of them has answered, or failed, once.
    """

    def __init__(self, clock: Clock, config: Config, changed: Callable[[], None]) -> None:
        self._clock = clock
        self._changed = changed
        self._config = config
        self._lock = threading.Lock()
        """One change is logged at a time."""
        self._logged: dict[str, str] = {}
        self._contradiction = ""
        self._logged_end: Instant | None = None
        self._cloud = self._cloud_poller(config)
        self._node = self._node_poller(config)
        notice = NoticeSource(clock, lambda: self.location)
        self._notice = BackgroundPoller(notice, clock, self._log_notice, RENEWAL)

    @property
    def location(self) -> HostLocation | None:
        """Location of this host; `None` during the first attempts."""
        merged = self._merged()
        return None if merged is None else merged.location

    def ends(self) -> Instant | None:
        """When the cloud ends this spot host, by its last notice; `None` without one."""
        notice = self._notice.value
        return None if notice is None else notice.end

    @property
    def rows(self) -> tuple[SourceRow, ...]:
        """Health of the sources that were polled."""
        return tuple(filter(None, (self._cloud.row, self._node.row)))

    def start(self) -> None:
        """Begin to poll."""
        for poller in (self._cloud, self._node, self._notice):
            poller.start()

    def go_by(self, config: Config) -> None:
        """Poll again the sources that another configuration changes; answers of the others stay."""
        before, cloud, node = self._config, self._cloud, self._node
        if config.cloud != before.cloud:
            cloud = self._cloud_poller(config)
        if (config.kubernetes == "off") != (before.kubernetes == "off"):
            node = self._node_poller(config)
        for was, is_ in ((self._cloud, cloud), (self._node, node)):
            if was is not is_:
                was.close()
        self._config, self._cloud, self._node = config, cloud, node
        self.start()

    def close(self) -> None:
        """Poll no more."""
        for poller in (self._cloud, self._node, self._notice):
            poller.close()

    def _cloud_poller(self, config: Config) -> BackgroundPoller[HostLocation]:
        return BackgroundPoller(CloudSource(self._clock, config.cloud), self._clock, self._note_change)

    def _node_poller(self, config: Config) -> BackgroundPoller[NodeReading]:
        source = node_source(self._clock, config)
        return BackgroundPoller(source, self._clock, self._note_change, LABELS_RENEWAL)

    def _merged(self) -> MergedLocation | None:
        """The last answers of both; `None` until each has one."""
        cloud, node = self._cloud.value, self._node.value
        return None if cloud is None or node is None else merge_labels(cloud, node.labels)

    def _note_change(self) -> None:
        """Log a location or a contradiction that the one before did not have, and call `changed`."""
        with self._lock:
            merged = self._merged()
            if merged is not None:
                if merged.contradiction and merged.contradiction != self._contradiction:
                    log.warning(
                        "node labels contradict cloud metadata", extra={"problem": merged.contradiction}
                    )
                self._contradiction = merged.contradiction
                location = merged.location
                fields = {
                    "cloud": location.cloud,
                    "instance_type": location.instance_type,
                    "region": location.region,
                    "zone": location.zone,
                    "lifecycle": location.lifecycle,
                    "told_by": location.source,
                }
                known = {name: text for name, text in fields.items() if text}
                if known != self._logged:
                    log.info("host location", extra=known)
                    self._logged = known
        self._changed()

    def _log_notice(self) -> None:
        ends = self.ends()
        if ends is not None and ends != self._logged_end:
            moment = datetime.fromtimestamp(ends // NANOSECONDS_PER_SECOND, UTC).isoformat()
            log.warning("host termination notice", extra={"ends": moment})
        self._logged_end = ends


def location_now(config: Config, clock: Clock) -> HostLocation:
    """Location of this host, read once: current prices may depend on it."""
    cloud, node = CloudSource(clock, config.cloud), node_source(clock, config)
    return merged_location(cloud, read_source(cloud, clock), node, read_source(node, clock)).location


def node_source(clock: Clock, config: Config) -> NodeSource:
    """Source of the node's labels, with the service account of this pod unless that is switched off."""
    return NodeSource(clock, None if config.kubernetes == "off" else kubernetes.account())


def merged_location(
    cloud: CloudSource, metadata: Gathered, node: NodeSource, labels: Gathered
) -> MergedLocation:
    """Location of this host by one read of each source."""
    location: HostLocation = metadata.reading or cloud.fallback
    reading: NodeReading = labels.reading or node.fallback
    return merge_labels(location, reading.labels)

"""Where this host runs: the cloud and the node's labels, asked beside every tick, and what they come to."""

import logging
import threading
from collections import Counter
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

from exporter.clock import Clock
from exporter.config import Config
from exporter.readings import HostLocation, ReadFailedError
from exporter.report import SourceRow
from exporter.sources import kubernetes
from exporter.sources.cloud import CloudSource, located
from exporter.sources.gather import Gathered, read
from exporter.sources.kubernetes import NodeReading, NodeSource
from exporter.threads import NoThreadError, Started, start
from exporter.units import (
    NANOSECONDS_PER_HOUR,
    NANOSECONDS_PER_MINUTE,
    NANOSECONDS_PER_SECOND,
    Instant,
    Nanoseconds,
)

log = logging.getLogger(__name__)

FIRST_PAUSE: Final[Nanoseconds] = 5 * NANOSECONDS_PER_SECOND
LONGEST_PAUSE: Final[Nanoseconds] = NANOSECONDS_PER_HOUR
"""Pauses between attempts, doubled each time: a host's network may come up after the daemon, and some pods
are kept from whom they ask on purpose."""

UNEXPECTED: Final = "internal"

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class PolledSource(Protocol[T_co]):
    """A source whose answer holds for long, and what is known without it."""

    @property
    def name(self) -> str:
        """The value of the `source` label."""
        ...

    @property
    def asks(self) -> bool:
        """Whether there is anybody to ask."""
        ...

    @property
    def known(self) -> T_co:
        """What is known without asking."""
        ...

    @property
    def errors(self) -> tuple[tuple[str, int], ...]:
        """Why the last reading is not whole, by reason."""
        ...

    @property
    def problem(self) -> str:
        """What `errors` counts, for people."""
        ...

    def read(self) -> T_co:
        """Ask once, within a time of its own.

        Raises:
            ReadFailedError: nothing was told this time.
        """
        ...


class BackgroundPoller(Generic[T]):
    """One thread that reads a source until it has told everything, and calls `changed` after each attempt.

    `told` is `None` while nothing was told yet: during the first attempt, which its timeout bounds. After a
    failure it is what is known without asking, and a later answer replaces it.
    With `renewal` it asks again so long after each answer; a failure then leaves what was told before.
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
        self._thread: Started | None = None
        self._finished = False
        self._answered = False
        self._told: T | None = None if source.asks else source.known
        self._row: SourceRow | None = None
        self._problem = ""
        self._errors: Counter[str] = Counter()
        self._last_success: Instant | None = None

    @property
    def told(self) -> T | None:
        """What the source told, as far as it is known; `None` while it is being asked for the first time."""
        return self._told

    @property
    def row(self) -> SourceRow | None:
        """The health of the source; `None` before the first attempt, and where nobody is asked."""
        return self._row

    def start(self) -> None:
        """Begin to ask, if there is anybody to ask, or go on where memory ran out. Idempotent.

        Where no thread is to be had nothing begins; whoever calls this again tries again.
        """
        if not self._source.asks or self._finished or self._stop.is_set():
            return
        if self._thread is None or not self._thread.alive:
            try:
                self._thread = start(self._run, self._source.name)
            except NoThreadError as error:
                self._tell(f"no thread to ask in: {error}")

    def close(self) -> None:
        """Ask no more. An attempt under way ends by its own timeout, and changes nothing any more."""
        self._stop.set()

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while True:
            if not self._attempt():
                wait, pause = pause, min(2 * pause, LONGEST_PAUSE)
            elif self._renewal is None:
                self._finished = True
                return
            else:
                wait, pause = self._renewal, FIRST_PAUSE
            if self._clock.wait(self._stop, wait):
                return

    def _attempt(self) -> bool:
        """Ask once; true when everything was told."""
        began = self._clock.elapsed()
        told: T | None = None
        reasons: tuple[tuple[str, int], ...]
        try:
            told = self._source.read()
            reasons, problem = self._source.errors, self._source.problem
        except ReadFailedError as failure:
            reasons, problem = ((failure.reason, 1),), str(failure)
        except Exception as slip:  # noqa: BLE001 - a slip of ours must not leave the host without any price
            reasons, problem = ((UNEXPECTED, 1),), f"{type(slip).__name__}: {slip}"
        if self._stop.is_set():
            return True
        self._errors.update(dict(reasons))
        if told is not None:
            self._last_success = self._clock.wall()
        self._row = SourceRow(
            self._source.name,
            told is not None,
            self._clock.elapsed() - began,
            self._last_success,
            dict(self._errors),
        )
        self._tell(problem)
        if told is not None:
            self._answered, self._told = True, told
        elif not self._answered:
            self._told = self._source.known
        self._changed()
        return not reasons

    def _tell(self, problem: str) -> None:
        if problem and problem != self._problem:
            log.warning("source failed", extra={"source": self._source.name, "problem": problem})
        self._problem = problem


LABELS_RENEWAL: Final[Nanoseconds] = 10 * NANOSECONDS_PER_MINUTE
"""Labels are put on and taken off while a node runs; its instance type is not changed."""


class LocationPoller:
    """Asks the cloud and the cluster as a configuration says, and calls `changed` when either has told.

    `place` is `None` until each of them has told, or has failed to, once.
    """

    def __init__(self, clock: Clock, config: Config, changed: Callable[[], None]) -> None:
        self._clock = clock
        self._changed = changed
        self._config = config
        self._lock = threading.Lock()
        self._logged: dict[str, str] = {}
        self._contradiction = ""
        self._cloud = self._ask_cloud(config)
        self._node = self._ask_node(config)

    @property
    def place(self) -> HostLocation | None:
        """Where this host runs, as far as it is known; `None` while not everyone has been asked once."""
        return self._located()[0]

    @property
    def rows(self) -> tuple[SourceRow, ...]:
        """The health of who was asked."""
        return tuple(filter(None, (self._cloud.row, self._node.row)))

    def start(self) -> None:
        """Begin to ask. Idempotent; called again, it tries again where no thread was to be had."""
        self._cloud.start()
        self._node.start()

    def go_by(self, config: Config) -> None:
        """Ask anew whom another configuration has asked otherwise; what the others told stays."""
        before, cloud, node = self._config, self._cloud, self._node
        if config.cloud != before.cloud:
            cloud = self._ask_cloud(config)
        if (config.kubernetes == "off") != (before.kubernetes == "off"):
            node = self._ask_node(config)
        for was, is_ in ((self._cloud, cloud), (self._node, node)):
            if was is not is_:
                was.close()
        self._config, self._cloud, self._node = config, cloud, node
        self.start()

    def close(self) -> None:
        """Ask no more."""
        self._cloud.close()
        self._node.close()

    def _ask_cloud(self, config: Config) -> BackgroundPoller[HostLocation]:
        return BackgroundPoller(CloudSource(self._clock, config.cloud), self._clock, self._told)

    def _ask_node(self, config: Config) -> BackgroundPoller[NodeReading]:
        return BackgroundPoller(node_source(self._clock, config), self._clock, self._told, LABELS_RENEWAL)

    def _located(self) -> tuple[HostLocation | None, str]:
        place, node = self._cloud.told, self._node.told
        if place is None or node is None:
            return None, ""
        return located(place, node.labels)

    def _told(self) -> None:
        with self._lock:
            self._log()
        self._changed()

    def _log(self) -> None:
        """What is new, once."""
        place, contradiction = self._located()
        if contradiction and contradiction != self._contradiction:
            log.warning("node labels are not the place's", extra={"problem": contradiction})
        self._contradiction = contradiction
        if place is not None and (fields := _fields(place)) != self._logged:
            log.info("place", extra=fields)
            self._logged = fields


def location_now(config: Config, clock: Clock) -> HostLocation:
    """Where this host runs, asked once: prices of now may depend on it."""
    cloud, node = CloudSource(clock, config.cloud), node_source(clock, config)
    return merged_location(cloud, read(cloud, clock), node, read(node, clock))[0]


def node_source(clock: Clock, config: Config) -> NodeSource:
    """The source of the node's labels, with the service account of this pod unless that is switched off."""
    return NodeSource(clock, None if config.kubernetes == "off" else kubernetes.account())


def merged_location(
    cloud: CloudSource, told: Gathered, node: NodeSource, labels: Gathered
) -> tuple[HostLocation, str]:
    """Where this host runs, of one read of each, and what contradicts it."""
    place: HostLocation = told.reading or cloud.known
    reading: NodeReading = labels.reading or node.known
    return located(place, reading.labels)


def _fields(place: HostLocation) -> dict[str, str]:
    told = {
        "cloud": place.cloud,
        "instance_type": place.instance_type,
        "region": place.region,
        "zone": place.zone,
        "lifecycle": place.lifecycle,
        "told_by": place.source,
    }
    return {name: text for name, text in told.items() if text}

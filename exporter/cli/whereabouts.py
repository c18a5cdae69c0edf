"""Where this host runs: the cloud and the node's labels, asked beside every tick, and what they come to."""

import logging
import threading
from collections.abc import Callable
from typing import Final

from exporter.clock import Clock
from exporter.config import Config
from exporter.readings import Place
from exporter.report import SourceRow
from exporter.sources import kubernetes
from exporter.sources.cloud import CloudSource, located
from exporter.sources.enquiry import Enquiry
from exporter.sources.gather import Gathered, read
from exporter.sources.kubernetes import NodeReading, NodeSource
from exporter.units import NANOSECONDS_PER_MINUTE, Nanoseconds

log = logging.getLogger(__name__)

LABELS_RENEWAL: Final[Nanoseconds] = 10 * NANOSECONDS_PER_MINUTE
"""Labels are put on and taken off while a node runs; its instance type is not changed."""


class Whereabouts:
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
    def place(self) -> Place | None:
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

    def _ask_cloud(self, config: Config) -> Enquiry[Place]:
        return Enquiry(CloudSource(self._clock, config.cloud), self._clock, self._told)

    def _ask_node(self, config: Config) -> Enquiry[NodeReading]:
        return Enquiry(node_source(self._clock, config), self._clock, self._told, LABELS_RENEWAL)

    def _located(self) -> tuple[Place | None, str]:
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


def place_now(config: Config, clock: Clock) -> Place:
    """Where this host runs, asked once: prices of now may depend on it."""
    cloud, node = CloudSource(clock, config.cloud), node_source(clock, config)
    return whereabouts(cloud, read(cloud, clock), node, read(node, clock))[0]


def node_source(clock: Clock, config: Config) -> NodeSource:
    """The source of the node's labels, with the service account of this pod unless that is switched off."""
    return NodeSource(clock, None if config.kubernetes == "off" else kubernetes.account())


def whereabouts(cloud: CloudSource, told: Gathered, node: NodeSource, labels: Gathered) -> tuple[Place, str]:
    """Where this host runs, of one read of each, and what contradicts it."""
    place: Place = told.reading or cloud.known
    reading: NodeReading = labels.reading or node.known
    return located(place, reading.labels)


def _fields(place: Place) -> dict[str, str]:
    told = {
        "cloud": place.cloud,
        "instance_type": place.instance_type,
        "region": place.region,
        "zone": place.zone,
        "lifecycle": place.lifecycle,
        "told_by": place.source,
    }
    return {name: text for name, text in told.items() if text}

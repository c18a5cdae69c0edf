"""The daemon's own process, platform and garbage collections, by the collectors of prometheus_client."""

from collections.abc import Iterable
from typing import Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from exporter.report import StandardFamily


class ProcessMetrics:
    """Reads the families that every Python client of Prometheus exports of its process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def read(self) -> tuple[StandardFamily, ...]:
        """The current families; those of the process are missing where /proc cannot be read."""
        return tuple(self._registry.collect())


LASTING: Final = ("process_start_time_seconds", "python_info")
"""Standard gauges that stay true without a tick."""


def lasting(families: Iterable[StandardFamily]) -> tuple[StandardFamily, ...]:
    """The families that are also served from an old report."""
    return tuple(family for family in families if family.type == "counter" or family.name in LASTING)

"""Engines: names, not code. `exposition` reads pages, `catalogue` whose, `interpretation` what they say.

`launch` reads command lines by the table in `commands`.
Pure: bytes in, readings out; nothing here asks, waits or logs.
"""

from exporter.engines.catalogue import (
    COUNTED,
    ENGINES,
    EVERYTHING,
    announces,
    match,
    mistaken_engine,
    recognize,
)
from exporter.engines.exposition import Page, SeriesCache, WantedSeries, read
from exporter.engines.gateway_counts import TALLIED, GatewayCounts, count_gateway
from exporter.engines.gateways import GatewaySpec
from exporter.engines.interpretation import Interpretation, began, interpret, process
from exporter.engines.spec import Engine, MetadataQuery, Way, begun_names, counted, wanted

__all__ = [
    "COUNTED",
    "ENGINES",
    "EVERYTHING",
    "TALLIED",
    "Engine",
    "GatewayCounts",
    "GatewaySpec",
    "Interpretation",
    "MetadataQuery",
    "Page",
    "SeriesCache",
    "WantedSeries",
    "Way",
    "announces",
    "began",
    "begun_names",
    "count_gateway",
    "counted",
    "interpret",
    "match",
    "mistaken_engine",
    "process",
    "read",
    "recognize",
    "wanted",
]

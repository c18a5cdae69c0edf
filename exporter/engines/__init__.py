"""Engines: names, not code. Pure: bytes in, readings out.

`spec` is the description of an engine, and each engine is a file. `catalogue` recognizes pages, `exposition`
parses them, `interpretation` makes readings of them, `launch` reads command lines.
"""

from exporter.engines.catalogue import (
    COUNTED,
    ENGINES,
    EVERYTHING,
    UNCOUNTED,
    announces,
    match,
    mistaken_engine,
    recognize,
)
from exporter.engines.exposition import Page, SeriesCache, WantedSeries, read
from exporter.engines.gateway_counts import TALLIED, GatewayCounts, count_gateway
from exporter.engines.gateways import GatewaySpec
from exporter.engines.interpretation import Interpretation, began, interpret, process
from exporter.engines.spec import Engine, MetadataQuery, Uncounted, Way, begun_names, counted, wanted

__all__ = [
    "COUNTED",
    "ENGINES",
    "EVERYTHING",
    "TALLIED",
    "UNCOUNTED",
    "Engine",
    "GatewayCounts",
    "GatewaySpec",
    "Interpretation",
    "MetadataQuery",
    "Page",
    "SeriesCache",
    "Uncounted",
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

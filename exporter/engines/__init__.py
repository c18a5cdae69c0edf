"""Engines: names, not code. Pure: bytes in, readings out.

`spec` is the description of an engine, and each engine is a file. `catalogue` recognizes pages, `exposition`
parses them, `interpretation` makes readings of them, `launch` reads command lines.
"""

from exporter.engines.catalogue import (
    COUNTED,
    ENGINES,
    EVERYTHING,
    TALLIED,
    UNCOUNTED,
    Described,
    announces,
    described,
    everything,
    everything_counted,
    match,
    matches,
    mistaken_engine,
    recognize,
)
from exporter.engines.exposition import Page, SeriesCache, WantedLine, WantedSeries, read
from exporter.engines.gateway_counts import GatewayCounts, TeamOf, count_gateway, count_shares
from exporter.engines.gateways import GATEWAYS, GatewaySpec, Shares, TokenSeries
from exporter.engines.interpretation import (
    Interpretation,
    created_by_digest,
    interpret,
    planned,
    process_identity,
)
from exporter.engines.layouts import PageSequence, SelectedLines
from exporter.engines.spec import (
    Engine,
    MetadataQuery,
    Uncounted,
    Way,
    counted,
    created_series,
    latency_series,
    wanted,
)

__all__ = [
    "COUNTED",
    "ENGINES",
    "EVERYTHING",
    "GATEWAYS",
    "TALLIED",
    "UNCOUNTED",
    "Described",
    "Engine",
    "GatewayCounts",
    "GatewaySpec",
    "Interpretation",
    "MetadataQuery",
    "Page",
    "PageSequence",
    "SelectedLines",
    "SeriesCache",
    "Shares",
    "TeamOf",
    "TokenSeries",
    "Uncounted",
    "WantedLine",
    "WantedSeries",
    "Way",
    "announces",
    "count_gateway",
    "count_shares",
    "counted",
    "created_by_digest",
    "created_series",
    "described",
    "everything",
    "everything_counted",
    "interpret",
    "latency_series",
    "match",
    "matches",
    "mistaken_engine",
    "planned",
    "process_identity",
    "read",
    "recognize",
    "wanted",
]

"""Engines: names, not code. Pure: bytes in, readings out.

`spec` is the description of an engine, and each engine is a file. `catalogue` recognizes pages, `exposition`
parses them, `interpretation` makes readings of them, `launch` reads command lines.
"""

from exporter.engines.catalogue import (
    ENGINES,
    EVERYTHING,
    TALLIED,
    UNCOUNTED_SERVERS,
    Described,
    announces,
    described,
    everything,
    match,
    matches,
    mistaken_engine,
    recognize,
)
from exporter.engines.exposition import Page, WantedSeries, read
from exporter.engines.gateway_counts import GatewayCounts, TeamOf, count_gateway, count_shares
from exporter.engines.gateways import GATEWAYS, GatewaySpec, Shares, TokenSeries
from exporter.engines.interpretation import Interpretation, interpret, process_identity
from exporter.engines.spec import Engine, MetadataQuery, Uncounted, Way, latency_series, wanted

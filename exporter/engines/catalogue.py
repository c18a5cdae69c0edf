"""The engines, in the order in which a page is tried against them."""

import re
from typing import Final

from exporter.engines.aphrodite import APHRODITE
from exporter.engines.dynamo import DYNAMO, DYNAMO_FRONTEND
from exporter.engines.exposition import Page, WantedSeries
from exporter.engines.gateways import GATEWAYS, GatewaySpec
from exporter.engines.infinity import INFINITY
from exporter.engines.kserve import KSERVE
from exporter.engines.llamacpp import LLAMACPP
from exporter.engines.lmdeploy import LMDEPLOY
from exporter.engines.localai import LOCALAI
from exporter.engines.mlc import MLC
from exporter.engines.nim import NIM
from exporter.engines.ray import RAY
from exporter.engines.sglang import SGLANG
from exporter.engines.spec import Engine, counted, wanted
from exporter.engines.tei import TEI
from exporter.engines.tgi import TGI
from exporter.engines.triton import TRITON
from exporter.engines.trtllm import TRTLLM
from exporter.engines.vllm import VLLM

ROWS: Final[tuple[Engine | GatewaySpec, ...]] = (
    *GATEWAYS,
    DYNAMO_FRONTEND,
    DYNAMO,
    TRITON,
    VLLM,
    RAY,
    SGLANG,
    TGI,
    TEI,
    TRTLLM,
    LLAMACPP,
    LMDEPLOY,
    APHRODITE,
    LOCALAI,
    NIM,
    MLC,
    KSERVE,
    INFINITY,  # last: what it writes, other programs write as well
)
"""The first hit wins: what looks like an engine comes before it, and what may carry one after it."""

ENGINES: Final = {row.name: row for row in ROWS if isinstance(row, Engine)}
"""Engines by name."""

COUNTED: Final = WantedSeries(
    {name for row in ROWS for name in row.fingerprint.names}.union(
        *(counted(engine).names for engine in ENGINES.values())
    )
)
"""Every name that recognition looks at, or that any engine counts by."""

EVERYTHING: Final = WantedSeries(COUNTED.names.union(*(wanted(engine).names for engine in ENGINES.values())))
"""These, and every other that the reading of any engine looks at."""


def match(page: Page) -> Engine | GatewaySpec | None:
    """The row of a page that was read for `EVERYTHING`; `None` for an unknown one."""
    return next((row for row in ROWS if row.fingerprint.matches(page)), None)


def recognize(page: Page) -> Engine | None:
    """The engine of a page that was read for `EVERYTHING`; `None` for an unknown one or a gateway's."""
    row = match(page)
    return row if isinstance(row, Engine) else None


def announces(engine: Engine, body: bytes) -> bool:
    """Whether a page has the type of a family that tells an engine, be there series of it or not.

    Python's client library writes it from the start, and series with labels once they are used.
    """
    families = {re.sub("_(count|sum|total)$", "", name) for name in engine.fingerprint.names}
    return any(f"# TYPE {name} ".encode() in body for name in families.union(engine.fingerprint.names))


def mistaken_engine(body: bytes) -> Engine | None:
    """The engine of which this body is a page that must not be read; `None` if it is of none."""
    for engine in ENGINES.values():
        if engine.mistaken and re.match(engine.mistaken.encode(), body, re.DOTALL):
            return engine
    return None

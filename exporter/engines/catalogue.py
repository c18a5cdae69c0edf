"""The engines, in the order in which a page is tried against them."""

from typing import Final

from exporter.engines.dynamo import DYNAMO, DYNAMO_FRONTEND
from exporter.engines.exposition import Page, Wanted
from exporter.engines.gateways import GATEWAYS, Gateway
from exporter.engines.kserve import KSERVE
from exporter.engines.llamacpp import LLAMACPP
from exporter.engines.localai import LOCALAI
from exporter.engines.nim import NIM
from exporter.engines.ray import RAY
from exporter.engines.spec import Engine, wanted
from exporter.engines.triton import TRITON
from exporter.engines.vllm import VLLM

ROWS: Final[tuple[Engine | Gateway, ...]] = (
    *GATEWAYS,
    DYNAMO_FRONTEND,
    DYNAMO,
    TRITON,
    VLLM,
    RAY,
    LLAMACPP,
    LOCALAI,
    NIM,
    KSERVE,
)
"""The first hit wins: what looks like an engine comes before it, and what may carry one after it."""

ENGINES: Final = {row.name: row for row in ROWS if isinstance(row, Engine)}
"""Engines by name."""

EVERYTHING: Final = Wanted(
    {name for row in ROWS for name in row.fingerprint.names}.union(
        *(wanted(engine).names for engine in ENGINES.values())
    )
)
"""Every name that recognition, or the reading of any engine, looks at."""


def match(page: Page) -> Engine | Gateway | None:
    """The row of a page that was read for `EVERYTHING`; `None` for an unknown one."""
    return next((row for row in ROWS if row.fingerprint.matches(page)), None)


def recognize(page: Page) -> Engine | None:
    """The engine of a page that was read for `EVERYTHING`; `None` for an unknown one or a gateway's."""
    row = match(page)
    return row if isinstance(row, Engine) else None

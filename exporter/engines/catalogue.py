"""The engines, in the order in which a page is tried against them."""

from dataclasses import dataclass
from typing import Final

from exporter.engines.exposition import Page, Wanted
from exporter.engines.llamacpp import LLAMACPP
from exporter.engines.spec import Engine, Fingerprint, wanted
from exporter.engines.vllm import VLLM


@dataclass(frozen=True, slots=True)
class Foreign:
    """A page that looks like an engine's and is not. `title` is what people call it."""

    title: str
    fingerprint: Fingerprint


_VLLM_NAMES: Final = VLLM.fingerprint.names

ROWS: Final[tuple[Engine | Foreign, ...]] = (
    Foreign("a Dynamo worker", Fingerprint(_VLLM_NAMES, labels=("dynamo_component",))),
    # Its numbers are its backends', under the same names.
    Foreign(
        "a production-stack router",
        Fingerprint(
            (*_VLLM_NAMES, "vllm:current_qps", "vllm:num_incoming_requests_total"),
            labels=("server",),
            without=("model_name",),
        ),
    ),
    Foreign("Triton's vLLM backend", Fingerprint(_VLLM_NAMES, labels=("model", "version"))),
    VLLM,
    LLAMACPP,
)
"""The first hit wins: what looks like an engine comes before it."""

ENGINES: Final = {row.name: row for row in ROWS if isinstance(row, Engine)}
"""Engines by name."""

EVERYTHING: Final = Wanted(
    {name for row in ROWS for name in row.fingerprint.names}.union(
        *(wanted(engine).names for engine in ENGINES.values())
    )
)
"""Every name that recognition, or the reading of any engine, looks at."""


def match(page: Page) -> Engine | Foreign | None:
    """The row of a page that was read for `EVERYTHING`; `None` for an unknown one."""
    return next((row for row in ROWS if row.fingerprint.matches(page)), None)


def recognize(page: Page) -> Engine | None:
    """The engine of a page that was read for `EVERYTHING`; `None` for an unknown or a foreign one."""
    row = match(page)
    return row if isinstance(row, Engine) else None

"""Aphrodite: `aphrodite run`.

Source: aphrodite-engine/aphrodite-engine b42eeec (0.20.0), `aphrodite/v1/metrics/loggers.py`: vLLM's table of
0.20 under its own prefix.
"""

from typing import Final

from exporter.engines.spec import Manual, MetadataQuery, under_prefix
from exporter.engines.vllm import VLLM

APHRODITE: Final = under_prefix(
    VLLM,
    "aphrodite:",
    name="aphrodite",
    default_port=2242,
    questions=(MetadataQuery("version", version=("version",)),),
    manual=Manual(
        title="Aphrodite",
        versions="0.20.0",
        reading="Renders counters of its API server; the engine is not asked.",
        deployment=VLLM.manual.deployment,
        cannot_tell=VLLM.manual.cannot_tell,
    ),
)

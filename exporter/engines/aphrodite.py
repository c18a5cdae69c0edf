"""Aphrodite: `aphrodite run`.

Source: aphrodite-engine/aphrodite-engine b42eeec (0.20.0), `aphrodite/v1/metrics/loggers.py`: vLLM's table of
0.20 under its own prefix.
"""

from typing import Final

from exporter.engines.spec import Command, Manual, MetadataQuery, under_prefix
from exporter.engines.vllm import KV_ROLE, MAX_NUM_SEQS, VLLM

_VLLM: Final = VLLM.commands[0]

APHRODITE: Final = under_prefix(
    VLLM,
    "aphrodite:",
    name="aphrodite",
    default_port=2242,
    metadata_queries=(MetadataQuery("version", version=("version",)),),
    commands=(
        Command(
            programs=("aphrodite run", "aphrodite serve"),
            modules=("aphrodite.endpoints.openai.api_server", "aphrodite.endpoints.cli run"),
            worker_patterns=_VLLM.worker_patterns,
            port=2242,
            tls_flags=("--ssl-keyfile", "--ssl-certfile"),
            metrics_off_flags=("--disable-log-stats",),
            model_flags=("--served-model-name", "--model"),
            positional_model=True,
            world_factors=_VLLM.world_factors,
            max_running=MAX_NUM_SEQS,
            role=KV_ROLE,
        ),
    ),
    manual=Manual(
        title="Aphrodite",
        versions="0.20.0",
        reading="Renders counters of its API server; the engine is not asked.",
        deployment=VLLM.manual.deployment,
        cannot_tell=VLLM.manual.cannot_tell,
    ),
)

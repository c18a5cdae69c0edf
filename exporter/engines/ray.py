"""Ray Serve LLM: the metrics of its engines as the agent of each Ray node shows them.

Source: ray 2.60.0 `ray/llm/_internal/serve` and `_private/telemetry/open_telemetry_metric_recorder.py`;
vllm-project/vllm `vllm/v1/metrics/ray_wrappers.py` (`vllm:x` becomes `ray_vllm_x`).

- One page per node holds all replicas: `ReplicaId` and `WorkerId` keep their series apart, and no page of a
  replica is read beside it.
- About 2.48 each counter stands there a second time without `_total`. Exact names leave that out.
- A counter appears with its first increment, since an increment of zero is skipped.
- The agent forgets series of workers that are silent for a while; they return with what they had counted.
"""

from dataclasses import replace
from typing import Final

from exporter.engines.spec import Engine, Fingerprint, Manual, under_prefix
from exporter.engines.vllm import VLLM

RAY: Final[Engine] = under_prefix(
    replace(VLLM, created=""),
    "ray_vllm_",
    name="ray",
    default_port=8080,
    fingerprint=Fingerprint(names=tuple("ray_" + name.replace(":", "_") for name in VLLM.fingerprint.names)),
    manual=Manual(
        title="Ray Serve LLM",
        versions="2.48 to 2.60, with vLLM",
        switch="On by default (`log_engine_metrics`). `ray start --metrics-export-port=8080` fixes the port.",
        deployment=(
            "Read the page of the node's Ray agent, once per node: it holds all replicas there.",
            "The HTTP proxy (8000) tells no tokens.",
        ),
        cannot_tell=("When the engines were started: the page is the agent's.",),
    ),
)

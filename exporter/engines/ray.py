"""Ray Serve LLM: the metrics of its engines as the agent of each Ray node shows them.

Source: ray 2.60.0 `ray/llm/_internal/serve` and `_private/telemetry/open_telemetry_metric_recorder.py`;
vllm-project/vllm `vllm/v1/metrics/ray_wrappers.py` (`vllm:x` becomes `ray_vllm_x`). Those of SGLang by Ray's
documentation.

- One page per node holds all replicas: `ReplicaId` and `WorkerId` keep their series apart, and no page of a
  replica is read beside it.
- About 2.48 each counter stands there a second time without `_total`. Exact names leave that out.
- A counter appears with its first increment, since an increment of zero is skipped. A page of a node without
  any is read all the same, so that the first tokens count.
- The agent forgets series of workers that are silent for a while; they return with what they had counted.
  Gauges of a replica at rest, its requests and its KV cache, leave the page after two of its reports (2.60).
"""

from typing import Final

from exporter.engines.sglang import SGLANG
from exporter.engines.spec import LOOPBACK, Command, Engine, Fingerprint, Manual, under_prefix
from exporter.engines.vllm import VLLM

_VLLM: Final = under_prefix(VLLM, "ray_vllm_")
_SGLANG: Final = under_prefix(SGLANG, "ray_sglang_")

RAY: Final = Engine(
    name="ray",
    prefix="ray_",
    default_port=8080,
    fingerprint=Fingerprint(
        names=(
            *_VLLM.fingerprint.names,
            *_SGLANG.fingerprint.names,
            "ray_node_mem_used",  # there before the first request
        )
    ),
    model_labels=("model_name",),
    groups=_VLLM.groups + _SGLANG.groups,
    running=_VLLM.running + _SGLANG.running,
    waiting=_VLLM.waiting + _SGLANG.waiting,
    kv_cache=_VLLM.kv_cache + _SGLANG.kv_cache,
    first_token=_VLLM.first_token + _SGLANG.first_token,
    per_token=_VLLM.per_token + _SGLANG.per_token,
    series_appear_late=True,
    # Of processes of replicas nothing is known to repeat another one.
    repeated=SGLANG.repeated - {"pid"},
    commands=(
        Command(  # replicas and engines are children of the raylet, beside this proxy
            title_patterns=(r"ray::ProxyActor", r"ray::HTTPProxyActor"),
            worker_patterns=(r"ray::ServeReplica", r"ray::RayWorker", *VLLM.commands[0].worker_patterns),
            port=8000,
            host=LOOPBACK,
            metrics="configured",
            metrics_apart=True,  # one page per node, of the node's agent
        ),
        Command(
            programs=("raylet",),
            modules=("ray.dashboard.agent",),
            part=True,
            port_flags=(),
            host_flags=(),
            metrics_port_flags=("--metrics-export-port",),
        ),
    ),
    manual=Manual(
        title="Ray Serve LLM",
        versions="2.48 to 2.60, with vLLM; with SGLang by its documentation",
        captured=("2.60.0",),
        reading="Renders what the node's agent got from its replicas; those are not asked.",
        deployment=(
            "Read the page of the node's Ray agent, once per node: it holds all replicas there.",
            "The HTTP proxy (8000) reports no tokens.",
            "The agent's port is any that is free, unless Ray is started with `--metrics-export-port=8080`.",
        ),
        cannot_tell=(
            "When the engines were started: the page is the agent's.",
            "The load of a replica at rest: its gauges leave the page.",
        ),
    ),
)

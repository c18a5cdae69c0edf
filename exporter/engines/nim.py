"""NVIDIA NIM for LLMs, 1.x: names of its own without a prefix. Later ones show the page of what they carry.

Source: docs.nvidia.com/nim/large-language-models `observability`, 24.05 to 1.14; no source is public. Of
2.0 to 2.1.6, `reference/architecture` says that a proxy passes `/v1/metrics` on to vLLM: it is read as
vLLM's.

- Names are so plain that only one is NIM's own: `num_request_max`. It tells the page.
- Whether the prompt counter includes cached tokens is not documented: all are prompt.
- The time to the first token holds the queue's; the time per output token is observed per token.
"""

from typing import Final

from exporter.engines import spec

_TTFT: Final = "time_to_first_token_seconds_sum"
_TPOT: Final = "time_per_output_token_seconds_sum"

NIM: Final = spec.Engine(
    name="nim",
    prefix="",
    default_port=8000,
    default_path="/v1/metrics",
    fingerprint=spec.Fingerprint(names=("num_request_max",)),
    model_labels=("model_name",),
    groups=(
        spec.counter("prompt_tokens_total", "prompt"),
        spec.counter("generation_tokens_total", "generation"),
        (
            spec.Alternative(("request_success_total",), (spec.Count("request_success_total", "requests"),)),
            spec.Alternative(("request_finish_total",), (spec.Count("request_finish_total", "requests"),)),
        ),
        (spec.phase_seconds(_TTFT, _TPOT),),
    ),
    running=(spec.Gauge("num_requests_running"),),
    waiting=(spec.Gauge("num_requests_waiting"),),
    max_running=(spec.Gauge("num_request_max"),),
    kv_cache=(spec.CacheGauge("gpu_cache_usage_perc"),),
    first_token=(spec.LatencyHistogram("time_to_first_token_seconds"),),
    per_token=(spec.LatencyHistogram("time_per_output_token_seconds", basis="tokens"),),
    series_appear_late=True,
    disguises=("vllm", "sglang", "trtllm", "dynamo"),
    commands=(
        spec.Command(  # which of these an image starts depends on its age
            programs=("/opt/nim/start_server.sh",),
            modules=(
                "nim_llm_sdk.entrypoints.launch",
                "nim_llm_sdk.entrypoints.openai.api_server",
                "vllm_nvext.entrypoints.openai.api_server",
            ),
            port=8000,
            metrics_path="/v1/metrics",
            model_flags=("--served-model-name", "--model"),
        ),
    ),
    manual=spec.Manual(
        title="NVIDIA NIM for LLMs",
        versions="24.05 to 1.14 by its documentation; later ones as the engine inside",
        reading="Renders counters of its API server; the engine is not asked.",
        deployment=("Read `/v1/metrics`; 24.05 and NIMs of vision models 1.0 have `/metrics`.",),
        cannot_tell=(
            "Which tokens of a prompt were cached, up to 1.x.",
            "That it is a NIM, from 2.x on: it is shown as the engine inside.",
        ),
    ),
)

"""LightLLM: `python -m lightllm.server.api_server`.

Source: ModelTC/lightllm main of 2026, `lightllm/server/metrics/metrics.py`, `httpserver/manager.py`,
`api_http.py` (`/metrics`).

- Tokens are sums of histograms, one observation for each request: the input when it arrives, whole prompts;
  cached and generated tokens when it has finished. A request that is aborted has only an input.
- No series has a label of the model.
- `lightllm_step_prefill_tokens` and others of steps have a `method`, and repeat the same tokens.
- `lightllm_request_queue_duration_bucket` is a histogram of that name, so that its sum ends in `_bucket_sum`.
"""

from typing import Final

from exporter.engines import spec

_PROMPT: Final = "lightllm_request_input_length_sum"
_GENERATION: Final = "lightllm_request_generated_tokens_sum"

LIGHTLLM: Final = spec.Engine(
    name="lightllm",
    prefix="lightllm_",
    default_port=8000,
    fingerprint=spec.Fingerprint(names=(_PROMPT, _GENERATION)),
    groups=(
        (spec.prompt_less_cached(_PROMPT, "lightllm_cache_length_sum"),),
        spec.counter(_GENERATION, "generation"),
        spec.counter("lightllm_request_success_total", "requests"),
    ),
    running=(spec.Gauge("lightllm_batch_current_size"),),
    waiting=(spec.Gauge("lightllm_queue_size"),),
    kv_cache=(spec.CacheGauge("lightllm_kv_cache_utilization_ratio"),),
    first_token=(spec.LatencyHistogram("lightllm_request_first_token_duration"),),
    per_token=(spec.LatencyHistogram("lightllm_request_mean_time_per_token_duration"),),
    commands=(
        spec.Command(
            modules=("lightllm.server.api_server",),
            port=8000,
            host=spec.LOOPBACK,
            model_flags=("--model-name", "--model-dir"),
            model_path_flags=("--model-dir",),
        ),
    ),
    manual=spec.Manual(
        title="LightLLM",
        versions="the sources of 2026",
        reading="Asks its process of metrics to render counters; the model is not asked.",
        cannot_tell=(
            "The model: its tokens are of a model without a name.",
            "Tokens of a request that is not finished, and those generated for one that is aborted.",
            "The time of each phase.",
        ),
    ),
)

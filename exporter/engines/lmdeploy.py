"""LMDeploy: `lmdeploy serve api_server`.

Source: InternLM/lmdeploy 1263d5c (0.16.0) and the wheel of 0.18.0, `lmdeploy/metrics/{loggers,stats,
metrics_processor}.py`.

- The prompt counter moves at a request's first token and holds cached tokens, which are counted when the
  request finishes: what is taken out of the prompt comes later than the prompt. Those of a request that is
  canceled are never told, and stay prompt.
- `engine` is the data-parallel rank; each rank is an API server with a port and a page of its own.
- `iteration_tokens_total` is a histogram, `num_requests_succeeded` a gauge that only grows: neither is read.
- Request seconds are of finished requests and overlap.
- `time_per_output_token_seconds` is observed at each output step (`time_per_output_tokens_iter`).
- `gpu_cache_usage_perc` is a ratio: 1 is all. `--max-batch-size` limits an engine; the page lacks it.
- The API server hands an engine as many requests as it may run (`serve/core/async_engine.py`). What waits
  there (`num_api_requests_waiting`) is added to what waits in the engine.
- It counts no preemptions (`stats.py`: "deal with preempted case").
"""

from typing import Final

from exporter.engines import spec

_PROMPT: Final = "lmdeploy:prompt_tokens_total"
_CACHED: Final = "lmdeploy:cached_tokens_total"
_GENERATION: Final = "lmdeploy:generation_tokens_total"
_REQUESTS: Final = "lmdeploy:request_success_total"
_PREFILL: Final = "lmdeploy:request_prefill_time_seconds_sum"
_DECODE: Final = "lmdeploy:request_decode_time_seconds_sum"

LMDEPLOY: Final = spec.Engine(
    name="lmdeploy",
    prefix="lmdeploy:",
    default_port=23333,
    fingerprint=spec.Fingerprint(
        names=(_PROMPT, _GENERATION, _REQUESTS, "lmdeploy:num_requests_running"), labels=("model_name",)
    ),
    model_labels=("model_name",),
    groups=(
        (spec.prompt_less_cached(_PROMPT, _CACHED),),
        spec.counter(_GENERATION, "generation"),
        spec.counter(_REQUESTS, "requests"),
        (spec.phase_seconds(_PREFILL, _DECODE),),
    ),
    running=(spec.Gauge("lmdeploy:num_requests_running"),),
    waiting=(spec.Gauge("lmdeploy:num_requests_waiting", also="lmdeploy:num_api_requests_waiting"),),
    kv_cache=(spec.CacheGauge("lmdeploy:gpu_cache_usage_perc"),),
    first_token=(spec.LatencyHistogram("lmdeploy:time_to_first_token_seconds"),),
    per_token=(spec.LatencyHistogram("lmdeploy:time_per_output_token_seconds", basis="tokens"),),
    commands=(
        spec.Command(
            programs=("lmdeploy serve api_server",),
            modules=("lmdeploy serve api_server", "lmdeploy.serve.openai.api_server"),
            port=23333,
            port_flags=("--server-port",),
            host_flags=("--server-name",),
            tls_flags=("--ssl",),
            metrics_off_flags=("--disable-metrics",),
            model_flags=("--model-name",),
            positional_model=True,
            world_factors=(spec.Factor(("--tp",)), spec.Factor(("--dp",), divides_others=True)),
            max_running=spec.SequenceFlags(("--max-batch-size",)),
        ),
    ),
    manual=spec.Manual(
        title="LMDeploy",
        versions="0.16.0",
        reading="Renders counters of its API server; the engine is not asked.",
        deployment=("With data parallelism each rank has a port of its own: read all of them.",),
        cannot_tell=(
            "Its version.",
            "Cached tokens of a request that is canceled: they are counted as computed.",
        ),
    ),
)

"""TensorRT-LLM: `trtllm-serve` with `return_perf_metrics: true`.

Source: NVIDIA/TensorRT-LLM 050f80d (2026), `tensorrt_llm/metrics/collector.py` and
`tensorrt_llm/serve/openai_server.py`.

- The text is at `/prometheus/metrics`. `/metrics` and `/perf_metrics` are JSON and drain a queue: what one
  reader takes no other one sees.
- The labels model_name and engine_type say undefined. `/v1/models` has the name that clients use, else the
  page has the one that was loaded.
- Counters move when a request finishes. The prompt holds cached tokens, which a counter of their own tells;
  `trtllm_prompt_cache_hit_tokens_total` counts them once more, by tier, and is not read.
- Gauges carry the `pid` of the process that set them, and need `enable_iter_perf_stats: true`.
- `trtllm_max_num_active_requests` is the limit of `trtllm_num_requests_running`, and
  `trtllm_kv_cache_utilization` a ratio: all of the last iteration (`iterLatencyMS` and its kin).
- `trtllm_num_paused_requests` is a gauge of the last iteration too: preemptions are not counted.
- `trtllm_time_per_output_token_seconds` is a mean per request, not decode time. Both latencies are observed
  when a request finishes, and not where they are 0 (an answer of one token).
- 1.1.0rc5 writes latencies only, without a prefix: no tokens, so it is not recognized.
"""

from typing import Final

from exporter.engines import spec

_PROMPT: Final = "trtllm_prompt_tokens_total"
_CACHED: Final = "trtllm_prompt_cached_tokens_total"
_GENERATION: Final = "trtllm_generation_tokens_total"
_PREFILL: Final = "trtllm_request_prefill_time_seconds_sum"
_DECODE: Final = "trtllm_request_decode_time_seconds_sum"
_DRAINS: Final = "it is JSON that is gone once it is read, and its other readers would miss it"

TRTLLM: Final = spec.Engine(
    name="trtllm",
    prefix="trtllm_",
    default_port=8000,
    default_path="/prometheus/metrics",
    fingerprint=spec.Fingerprint(
        names=(
            _PROMPT,
            _GENERATION,
            _CACHED,
            "trtllm_request_success_total",
            "trtllm_num_requests_running",
            "trtllm_model_config_info",
        ),
        without=("dynamo_component",),
    ),
    model_labels=("model_name",),
    groups=(
        (spec.prompt_less_cached(_PROMPT, _CACHED),),
        spec.counter(_GENERATION, "generation"),
        spec.counter("trtllm_request_success_total", "requests"),
        (
            spec.Alternative(  # an observation of zero is skipped: no answer had a second token yet
                (_PREFILL,),
                (spec.Count(_PREFILL, "prefill_seconds"), spec.Count(_DECODE, "decode_request_seconds")),
            ),
        ),
    ),
    running=(spec.Gauge("trtllm_num_requests_running"),),
    waiting=(spec.Gauge("trtllm_num_requests_waiting"),),
    max_running=(spec.Gauge("trtllm_max_num_active_requests"),),
    kv_cache=(spec.CacheGauge("trtllm_kv_cache_utilization"),),
    first_token=(spec.LatencyHistogram("trtllm_time_to_first_token_seconds"),),
    per_token=(spec.LatencyHistogram("trtllm_time_per_output_token_seconds"),),
    series_appear_late=True,
    nameless=("undefined", ""),
    named_by=(spec.ModelLabel("trtllm_model_config_info", "model"),),
    metadata_queries=(
        spec.MetadataQuery("v1/models", model=("data", 0, "id")),
        spec.MetadataQuery("version", version=("version",)),
    ),
    repeated=frozenset({"pid"}),
    role_label="engine_type",
    mistaken=r'\s*\[(\s*\]\s*\Z|.{0,4096}"iterLatencyMS")',
    commands=(
        spec.Command(
            programs=("trtllm-serve serve", "trtllm-serve"),
            modules=("tensorrt_llm.commands.serve serve", "tensorrt_llm.commands.serve"),
            worker_patterns=(r"mpi4py\.futures\.server",),
            foreign=("disaggregated", "disaggregated_mpi_worker", "mm_embedding_serve"),
            port=8000,
            host="localhost",
            metrics="configured",  # return_perf_metrics in its YAML
            metrics_path="/prometheus/metrics",
            model_flags=("--served-model-name",),
            positional_model=True,
            world_factors=(
                spec.Factor(("--tp-size", "--tp")),
                spec.Factor(("--pp-size", "--pp")),
                spec.Factor(("--cp-size",)),
            ),
        ),
    ),
    manual=spec.Manual(
        title="TensorRT-LLM",
        versions="the sources of 2026 (after 1.1)",
        switch="`return_perf_metrics: true`, and for requests at work `enable_iter_perf_stats: true`",
        reading="Adds up the files of its processes; the engine is not asked.",
        never_read=(("/metrics", _DRAINS), ("/perf_metrics", _DRAINS)),
        deployment=(
            "Name the engine: one that is not known is first read at `/metrics`, once.",
            "The server in front of a disaggregated pair is not read: it counts what its engines count.",
        ),
        cannot_tell=(
            "When its process started.",
            "Tokens of a request that is canceled.",
        ),
    ),
)

"""SGLang: `python -m sglang.launch_server --enable-metrics`.

Sources: the wheels of 0.4.2 to 0.5.23, `srt/metrics/collector.py` (to 0.5.6) and
`srt/observability/metrics_collector.py`, `managers/tokenizer_manager.py`,
`managers/scheduler_components/{metrics_reporter,batch_result_processor}.py`.

- The tokenizer's counters move when a request finishes, so that a long answer arrives at its end.
  `realtime_tokens_total` (0.5.10 and later) moves with every batch and is preferred: its modes tell
  computed and cached prompt apart, and decode counts accepted drafts. It leaves out a request's first token,
  which prefill makes. With the overlap scheduler, which is the default, the step that a finished request
  overshoots stands for it; from 0.5.22 on (`enable_skip_finishing_decode`) one that ends at its longest
  length overshoots no more. `generation_tokens_total` has them all, and counts the first token of a
  disaggregated pair on both sides.
- `cached_tokens_total` counts a request either by cache_source device, host and storage, or, where it has no
  details, under total: one or the other, so all of them are added up. They are inside of the prompt counter.
- `--enable-metrics-for-all-schedulers` writes the scheduler's series once per rank of tensor and pipeline
  parallelism, all counting the same work: they are one. Ranks of data parallelism (`dp_rank`) add up.
- With priority scheduling a gauge stands once as a total, with an empty `priority`, and once per priority.
- `forward_execution_seconds_total` (0.5.15 and later; `gpu_execution_seconds_total` in 0.5.10, its categories
  begin with forward_) are GPU seconds by the kind of batch, which a device timer measures. A mixed batch of
  chunked prefill counts as extend. Verifying and extending drafts is decode.
- Without it: seconds of `prefill_forward` per request, and those from its first token to its end. Seconds
  between tokens (`inter_token_latency_seconds`) are of streams: of an answer in one piece the scheduler sends
  the first token and every fiftieth (`SGLANG_FORCE_STREAM_INTERVAL`).
- The time to the first token is observed with the first output, so of an answer in one piece as well; the
  seconds between tokens count each new token (`observe_inter_token_latency`).
- `token_usage` is the part of the KV cache in use, without what may be evicted.
- `--max-running-requests` limits running requests, and its page lacks it. With attention in data parallel the
  ranks divide it (`max_running_requests // attn_dp_size`), with other data parallelism only in some versions.
- `num_retracted_requests_total` (0.5.10 and later) counts requests that gave back their KV cache and wait
  again. The gauge `num_retracted_reqs`, which is older, is of the last batch alone.
- `gen_throughput` and the histograms `*_tokens_histogram` are not read.
"""

from typing import Final

from exporter.engines import spec

_REALTIME: Final = "sglang:realtime_tokens_total"
_PROMPT: Final = "sglang:prompt_tokens_total"
_CACHED: Final = "sglang:cached_tokens_total"
_GENERATION: Final = "sglang:generation_tokens_total"
_STAGES: Final = "sglang:per_stage_req_latency_seconds_sum"
_QUEUE: Final = "sglang:queue_time_seconds_sum"
_FIRST: Final = "sglang:time_to_first_token_seconds_sum"
_WHOLE: Final = "sglang:e2e_request_latency_seconds_sum"

_PREFILL: Final = ("extend", "mixed", "split_prefill", "dllm_extend")
_DECODE: Final = ("decode", "target_verify", "draft_extend", "draft_extend_v2")

_DATA_PARALLEL: Final = ("--dp-size", "--data-parallel-size", "--dp")
_DIVIDED: Final = ("--enable-dp-attention",)


def _timed(name: str, before: str = "") -> spec.Alternative:
    """GPU seconds by category, whose names `before` begins."""
    return spec.Alternative(
        (name,),
        (
            spec.Count(
                name, "prefill_seconds", where=spec.label("category", *(before + each for each in _PREFILL))
            ),
            spec.Count(
                name, "decode_seconds", where=spec.label("category", *(before + each for each in _DECODE))
            ),
        ),
    )


DISAGGREGATION_MODE: Final = spec.RoleFlag(
    ("--disaggregation-mode",), (("prefill", "prefill"), ("decode", "decode"))
)
"""Also of Dynamo's workers, of each engine (components/src/dynamo/common/backend)."""

SGLANG: Final = spec.Engine(
    name="sglang",
    prefix="sglang:",
    default_port=30000,
    fingerprint=spec.Fingerprint(
        names=(
            _PROMPT,
            _GENERATION,
            _REALTIME,
            "sglang:num_running_reqs",
            "sglang:num_queue_reqs",
            "sglang:max_total_num_tokens",
        ),
        # Dynamo marks its workers, and the SGLang router those whose pages it collects.
        without=("dynamo_component", "worker_addr"),
    ),
    model_labels=("model_name",),
    groups=(
        (
            spec.Alternative(
                (_REALTIME,),
                (
                    spec.Count(_REALTIME, "prompt", where=spec.label("mode", "prefill_compute")),
                    spec.Count(_REALTIME, "cached_prompt", where=spec.label("mode", "prefill_cache")),
                ),
            ),
            spec.prompt_less_cached(_PROMPT, _CACHED),
        ),
        (
            spec.Alternative(
                (_REALTIME,), (spec.Count(_REALTIME, "generation", where=spec.label("mode", "decode")),)
            ),
            spec.Alternative((_GENERATION,), (spec.Count(_GENERATION, "generation"),)),
        ),
        spec.counter("sglang:num_requests_total", "requests"),
        (
            _timed("sglang:forward_execution_seconds_total"),
            _timed("sglang:gpu_execution_seconds_total", "forward_"),
            spec.Alternative(
                (_STAGES, _WHOLE, _FIRST),
                (
                    spec.Count(_STAGES, "prefill_seconds", where=spec.label("stage", "prefill_forward")),
                    spec.Count(_WHOLE, "decode_request_seconds"),
                    spec.Count(_FIRST, "decode_request_seconds", sign=-1),
                ),
            ),
            spec.Alternative(  # the first token's time holds the queue's where that is not told
                (_WHOLE, _FIRST),
                (
                    spec.Count(_FIRST, "prefill_seconds"),
                    spec.Count(_QUEUE, "prefill_seconds", sign=-1),
                    spec.Count(_WHOLE, "decode_request_seconds"),
                    spec.Count(_FIRST, "decode_request_seconds", sign=-1),
                ),
            ),
        ),
        spec.counter("sglang:num_retracted_requests_total", "preemptions"),
    ),
    running=(spec.Gauge("sglang:num_running_reqs", where=spec.label("priority", "")),),
    waiting=(spec.Gauge("sglang:num_queue_reqs", where=spec.label("priority", "")),),
    kv_cache=(spec.CacheGauge("sglang:token_usage"),),
    first_token=(spec.LatencyHistogram("sglang:time_to_first_token_seconds"),),
    per_token=(
        spec.LatencyHistogram("sglang:request_time_per_output_token_seconds"),  # 0.5.23
        spec.LatencyHistogram("sglang:inter_token_latency_seconds", basis="tokens"),
        spec.LatencyHistogram("sglang:time_per_output_token_seconds", basis="tokens"),  # 0.4.2
    ),
    series_appear_late=True,
    repeated=frozenset({"tp_rank", "pp_rank", "moe_ep_rank", "pid"}),
    role_label="engine_type",
    commands=(
        spec.Command(
            programs=("sglang serve",),
            modules=("sglang.launch_server",),
            worker_patterns=(r"sglang::",),
            port=30000,
            host=spec.LOOPBACK,
            tls_flags=("--ssl-keyfile", "--ssl-certfile"),
            metrics="off",
            metrics_on_flags=("--enable-metrics",),
            metrics_port_flags=("--smg-http-sidecar-port", "--grpc-http-sidecar-port"),
            metrics_at_next_port_flags=("--smg-grpc-mode", "--grpc-mode"),
            model_flags=("--served-model-name", "--model-path", "--model"),
            world_factors=(
                spec.Factor(("--tp-size", "--tensor-parallel-size", "--tp")),
                spec.Factor(("--pp-size", "--pipeline-parallel-size", "--pp")),
                # With attention in data parallel the ranks of tensor parallel are divided among it.
                spec.Factor(_DATA_PARALLEL, one_with=_DIVIDED),
            ),
            max_running=spec.SequenceFlags(
                ("--max-running-requests",), shared_with=_DIVIDED, unknown_with=_DATA_PARALLEL
            ),
            role=DISAGGREGATION_MODE,
        ),
    ),
    manual=spec.Manual(
        title="SGLang",
        versions="0.4.2 to 0.5.23",
        captured=("0.5.23",),
        switch="`--enable-metrics`",
        reading="Adds up the files of its processes; nothing is asked of the scheduler.",
        never_read=(
            ("/server_info", "it stops the scheduler for an answer, so the version is not asked for"),
        ),
        deployment=(
            "GPU seconds by phase need `SGLANG_ENABLE_METRICS_DEVICE_TIMER=1` in its environment.",
            "With `--enable-metrics-for-all-schedulers` every rank writes the same work; it is counted once.",
            "The page identifies a server of a disaggregated pair; each token is counted on one side.",
            "Its router, sglang-router, is not read: it counts what its engines count.",
        ),
        cannot_tell=(
            "Its version.",
            "Which LoRA adapter a token was for; [gateways](gateways.md) may.",
            "From 0.5.22 on, one token of each request that ends at its longest length (`max_tokens`).",
            "Without the overlap scheduler (`--disable-overlap-schedule`), the first token of each request.",
        ),
    ),
)

"""vLLM: `vllm serve`, V0 and V1, the Python API servers and the Rust frontend.

Source: vllm-project/vllm, the `versions` below: `vllm/engine/metrics.py` (V0),
`vllm/v1/metrics/loggers.py` (V1), `rust/src/metrics` (the Rust frontend).

- The prompt counter holds whole prompts, cached tokens included, and counts a prompt once per sample of n.
  Tokens of a prompt fetched from another engine (`external_kv_transfer`) were not computed here: cached.
- Prefix cache hits are tokens, not blocks. From 0.9.2 to 0.10.2 both families of them stand on the page with
  the same values; one is taken.
- `engine` is the data-parallel rank. Several API servers of one deployment answer with the same merged page,
  without `process_*` and `_created`: one of them is scraped.
- Beam search (0.6.3 and later, `vllm/entrypoints/openai/engine/serving.py`, `beam_search`; vllm #8726) is a
  request of one token per beam and step, each with the whole prompt and what the beam has said. Seen with
  0.32.0, a prompt of 46 tokens: 12 tokens by one beam count 12 x 46 + 66 = 618 and 12 requests; 10 tokens by
  four beams count 37 x 46 + 180 = 1882 and 37 requests.
- Request seconds are of finished requests and overlap. `request_time_per_output_token_seconds` is a mean per
  request, not decode time, and `iteration_tokens_total` is a histogram: neither is counted.
- `time_to_first_token_seconds` is observed live, from arrival on, also of requests that are aborted later;
  `request_time_per_output_token_seconds` at the end, as 0 for an answer of one token; the inter-token
  histograms once per output step, which with speculative decoding has several tokens.
- The Rust frontend creates series with the first request.
- `kv_cache_usage_perc` is a ratio of blocks in use, without cached ones that may be evicted. Its name was
  `gpu_cache_usage_perc` to 0.11.
- `--max-num-seqs` limits each data-parallel rank (`vllm/v1/core/sched/scheduler.py`, `max_num_running_reqs`).
  The page lacks it, and its default depends on the version and the GPU.
- `num_preemptions_total` (0.4.3 and later) counts requests that lost their KV cache and are computed again.
"""

from typing import Final

from exporter.engines import spec

_PORT: Final = 8000

_COMPUTED: Final = spec.label("source", "local_compute")

_BY_SOURCE: Final = spec.Alternative(
    requires=("vllm:prompt_tokens_by_source_total",),
    counts=(
        spec.Count("vllm:prompt_tokens_by_source_total", "prompt", where=_COMPUTED),
        spec.Count("vllm:prompt_tokens_by_source_total", "cached_prompt", unless=_COMPUTED),
    ),
)


def _prompts_less_hits(required: str, *optional: str) -> spec.Alternative:
    """Prompt tokens less those that counters of hits found in a cache, which are cached prompt tokens.

    A page without the required counter is of another version; it may lack the optional ones.
    """
    hits = (required, *optional)
    return spec.Alternative(
        requires=("vllm:prompt_tokens_total", required),
        counts=(
            spec.Count("vllm:prompt_tokens_total", "prompt"),
            *(spec.Count(name, "prompt", sign=-1) for name in hits),
            *(spec.Count(name, "cached_prompt") for name in hits),
        ),
    )


KV_ROLE: Final = spec.RoleFlag(
    flags=("--kv-transfer-config",),
    # kv_both says nothing.
    roles=(("kv_producer", "prefill"), ("kv_consumer", "decode")),
    key="kv_role",
)
"""The part of a disaggregated pair (vllm/config/kv_transfer.py). Aphrodite and KServe take this flag too."""

_WORLD_FACTORS: Final = (
    spec.Factor(("--tensor-parallel-size", "-tp")),
    spec.Factor(("--pipeline-parallel-size", "-pp")),
    spec.Factor(("--prefill-context-parallel-size", "-pcp")),
    spec.Factor(
        ("--data-parallel-size", "-dp"),
        # External load balancing: one server, and one page, per rank.
        unless=("--data-parallel-rank", "-dpn", "--data-parallel-external-lb", "-dpe"),
        # Hybrid: one page per host.
        narrow=("--data-parallel-hybrid-lb", "-dph", "--data-parallel-start-rank", "-dpr"),
        narrowed=("--data-parallel-size-local", "-dpl"),
    ),
)

MAX_NUM_SEQS: Final = spec.SequenceFlags(flags=("--max-num-seqs",))
"""Sequences of one engine at once. Aphrodite, Dynamo and KServe take this flag too."""

_ENGINE_CORE: Final = r"[\w.-]+::(EngineCore|Worker|DPCoordinator|DPEngineCore)|ray::RayWorker"
"""vllm/utils/system_utils.py; the prefix VLLM can be set (VLLM_PROCESS_NAME_PREFIX)."""

VLLM: Final = spec.Engine(
    name="vllm",
    prefix="vllm:",
    default_port=_PORT,
    fingerprint=spec.Fingerprint(
        names=(
            "vllm:prompt_tokens_total",
            "vllm:generation_tokens_total",
            "vllm:num_requests_running",
            "vllm:request_success_total",
        ),
        labels=("model_name",),
        # `server`: the production-stack router; `version`: Triton's vLLM backend; Dynamo marks its workers,
        # and the SGLang router those whose pages it collects.
        without=("server", "version", "dynamo_component", "worker_addr"),
    ),
    models=("model_name",),
    # Of vLLM-Omni.
    stage="stage",
    groups=(
        (
            # 0.16.0 and later.
            _BY_SOURCE,
            # 0.9.2 to 0.15. A connector's own hits (0.11.2 and later) are counted apart from the local ones.
            _prompts_less_hits("vllm:prefix_cache_hits_total", "vllm:external_prefix_cache_hits_total"),
            # V1, 0.7.3 to 0.9.1.
            _prompts_less_hits("vllm:gpu_prefix_cache_hits_total"),
            # V0.
            spec.Alternative(
                requires=("vllm:prompt_tokens_total",),
                counts=(spec.Count("vllm:prompt_tokens_total", "prompt"),),
            ),
        ),
        spec.counter("vllm:generation_tokens_total", "generation"),
        spec.counter("vllm:request_success_total", "requests"),
        (
            # 0.6.6 and later.
            spec.phase_seconds(
                "vllm:request_prefill_time_seconds_sum", "vllm:request_decode_time_seconds_sum"
            ),
            # 0.3.3 to 0.6.5. The first token's time includes the queue's, where no counter tells that.
            spec.Alternative(
                requires=("vllm:time_to_first_token_seconds_sum", "vllm:time_per_output_token_seconds_sum"),
                counts=(
                    spec.Count("vllm:time_to_first_token_seconds_sum", "prefill_seconds"),
                    spec.Count("vllm:request_queue_time_seconds_sum", "prefill_seconds", sign=-1),
                    spec.Count("vllm:time_per_output_token_seconds_sum", "decode_request_seconds"),
                ),
            ),
        ),
        spec.counter("vllm:num_preemptions_total", "preemptions"),
    ),
    # Part of the cached prompt tokens above; the first on the page is taken.
    transferred=(
        # 0.16.0 and later.
        spec.Count(
            "vllm:prompt_tokens_by_source_total", "prompt", where=spec.label("source", "external_kv_transfer")
        ),
        # 0.11.2 and later.
        spec.Count("vllm:external_prefix_cache_hits_total", "prompt"),
    ),
    running=(spec.Gauge("vllm:num_requests_running"),),
    waiting=(spec.Gauge("vllm:num_requests_waiting"),),
    kv_cache=(spec.CacheGauge("vllm:kv_cache_usage_perc"), spec.CacheGauge("vllm:gpu_cache_usage_perc")),
    first_token=(spec.LatencyHistogram("vllm:time_to_first_token_seconds"),),
    per_token=(
        # 0.11 and later.
        spec.LatencyHistogram("vllm:request_time_per_output_token_seconds"),
        # 0.10.2 and later.
        spec.LatencyHistogram("vllm:inter_token_latency_seconds", "tokens"),
        # 0.3.3 to 0.14.1.
        spec.LatencyHistogram("vllm:time_per_output_token_seconds", "tokens"),
    ),
    created="vllm:prompt_tokens_created",
    creates_late=True,
    questions=(spec.MetadataQuery("version", version=("version",)),),
    commands=(
        spec.Command(
            # The Rust frontend starts a headless Python server.
            programs=("vllm serve", "vllm-rs serve"),
            modules=("vllm.entrypoints.openai.api_server", "vllm.entrypoints.cli.main serve"),
            titles=(r"[\w.-]+::APIServer",),
            workers=(_ENGINE_CORE,),
            port=_PORT,
            unix=("--uds",),
            tls=("--ssl-keyfile", "--ssl-certfile"),
            metrics_off=("--disable-log-stats",),
            models=("--served-model-name", "--model"),
            positional=True,
            world_factors=_WORLD_FACTORS,
            nodes=("--nnodes", "-n"),
            ranks=("--node-rank", "-r"),
            followers=("--headless",),
            max_running=MAX_NUM_SEQS,
            role=KV_ROLE,
        ),
    ),
    manual=spec.Manual(
        title="vLLM",
        versions="0.3.3 to 0.33.0",
        captured=("0.32.0",),
        reading="Renders counters of its API server; the engine is not asked.",
        deployment=(
            "Several API servers of one deployment answer with one merged page: read one of them.",
            "With external load balancing each data-parallel rank has a page of its own: read all of them.",
            "The command line of a disaggregated pair has its `kv_role`; with `kv_both` configure `role`.",
        ),
        cannot_tell=(
            "Which LoRA adapter a token was for; a [gateway](#gateways) may.",
            "That a prompt was answered n times: it is counted n times.",
            "That beam search answered a prompt: it counts again for each beam and each token of the answer.",
            "With 0.32.0 a prompt of 46 tokens, answered by 12 with one beam, counted as 618.",
        ),
    ),
)

"""vLLM: `vllm serve`, V0 and V1, the Python API servers and the Rust frontend.

Source: vllm-project/vllm, at each named version: `vllm/engine/metrics.py` (V0),
`vllm/v1/metrics/loggers.py` (V1), `rust/src/metrics` (the Rust frontend).

- The prompt counter holds whole prompts, cached tokens included, and counts a prompt once per sample of n.
  Tokens of a prompt fetched from another engine (`external_kv_transfer`) were not computed here: cached.
- Prefix cache hits are tokens, not blocks. From 0.9.2 to 0.10.2 both families of them stand on the page with
  the same values; one is taken.
- `engine` is the data-parallel rank. Several API servers of one deployment answer with the same merged page,
  without `process_*` and `_created`: one of them is scraped.
- Beam search (0.6.3 and later, `vllm/entrypoints/openai/engine/serving.py`, `beam_search`; vllm #8726) is a
  request of one token per beam and step, each with the whole prompt and what the beam has said.
  `real-vllm-0.32.0-beam.json` among the captured pages of the tests has figures.
- Request seconds are of finished requests and overlap. `request_time_per_output_token_seconds` is a mean per
  request, not decode time, and `iteration_tokens_total` is a histogram: neither is counted.

Versions differ in names. Of several alternatives the first counts whose required names are all on the page;
of several gauges or histograms, the first on the page.
"""

from typing import Final

from exporter.engines import spec

_PORT: Final = 8000

_PROMPT: Final = "vllm:prompt_tokens_total"
_BY_SOURCE: Final = "vllm:prompt_tokens_by_source_total"
_GPU_HITS: Final = "vllm:gpu_prefix_cache_hits_total"
_LOCAL_HITS: Final = "vllm:prefix_cache_hits_total"
_CONNECTOR_HITS: Final = "vllm:external_prefix_cache_hits_total"
"""Tokens whose KV cache a connector had or fetched from another engine: `_LOCAL_HITS` has none of them."""

_COMPUTED: Final = spec.label("source", "local_compute")

_PROMPT_TOKENS: Final[spec.Group] = (
    # 0.16.0 and later.
    spec.Alternative(
        requires=(_BY_SOURCE,),
        counts=(
            spec.Count(_BY_SOURCE, "prompt", where=_COMPUTED),
            spec.Count(_BY_SOURCE, "cached_prompt", unless=_COMPUTED),
        ),
    ),
    # 0.9.2 to 0.15; the connector's hits are there from 0.11.2 on.
    spec.prompt_less_cached(_PROMPT, _LOCAL_HITS, _CONNECTOR_HITS, requires=(_LOCAL_HITS,)),
    # V1, 0.7.3 to 0.9.1.
    spec.prompt_less_cached(_PROMPT, _GPU_HITS, requires=(_GPU_HITS,)),
    # V0 counts no hits.
    spec.prompt_less_cached(_PROMPT),
)

_PHASE_SECONDS: Final[spec.Group] = (
    # 0.6.6 and later.
    spec.phase_seconds("vllm:request_prefill_time_seconds_sum", "vllm:request_decode_time_seconds_sum"),
    # 0.3.3 to 0.6.5. The first token's time includes the queue's, where no counter tells that.
    spec.Alternative(
        requires=("vllm:time_to_first_token_seconds_sum", "vllm:time_per_output_token_seconds_sum"),
        counts=(
            spec.Count("vllm:time_to_first_token_seconds_sum", "prefill_seconds"),
            spec.Count("vllm:request_queue_time_seconds_sum", "prefill_seconds", sign=-1),
            spec.Count("vllm:time_per_output_token_seconds_sum", "decode_request_seconds"),
        ),
    ),
)

KV_ROLE: Final = spec.RoleFlag(
    flags=("--kv-transfer-config",),
    roles=(("kv_producer", "prefill"), ("kv_consumer", "decode")),
    key="kv_role",
)
"""The part of a disaggregated pair (vllm/config/kv_transfer.py); `kv_both` names none.

Aphrodite and KServe take this flag too.
"""

_WORLD_FACTORS: Final = (
    spec.Factor(("--tensor-parallel-size", "-tp")),
    spec.Factor(("--pipeline-parallel-size", "-pp")),
    spec.Factor(("--prefill-context-parallel-size", "-pcp")),
    spec.Factor(
        ("--data-parallel-size", "-dp"),
        # External load balancing: each rank is a server with a page of its own.
        one_with=("--data-parallel-rank", "-dpn", "--data-parallel-external-lb", "-dpe"),
        # Hybrid load balancing: each host has one page, of its own ranks.
        per_host_with=("--data-parallel-hybrid-lb", "-dph", "--data-parallel-start-rank", "-dpr"),
        per_host_flags=("--data-parallel-size-local", "-dpl"),
    ),
)

MAX_NUM_SEQS: Final = spec.SequenceFlags(flags=("--max-num-seqs",))
"""Sequences of one engine at once: it limits each data-parallel rank.

Source: `vllm/v1/core/sched/scheduler.py`, `max_num_running_reqs`. The page lacks the limit, and its default
depends on the version and the GPU. Aphrodite, Dynamo and KServe take this flag too.
"""

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
        # Programs that show vLLM's names mark them by a label of their own.
        without=(
            "server",  # the production-stack router
            "version",  # Triton's vLLM backend
            "dynamo_component",  # a worker of Dynamo
            "worker_addr",  # a page that the SGLang router collects
        ),
    ),
    model_labels=("model_name",),
    stage_label="stage",  # vLLM-Omni: each stage on the page is a model
    groups=(
        _PROMPT_TOKENS,
        spec.counter("vllm:generation_tokens_total", "generation"),
        spec.counter("vllm:request_success_total", "requests"),
        _PHASE_SECONDS,
        # 0.4.3 and later: requests that lost their KV cache and are computed again.
        spec.counter("vllm:num_preemptions_total", "preemptions"),
    ),
    # These only check the server's role. `_PROMPT_TOKENS` counts the same tokens, as cached ones.
    prompts_from_other_engines=(
        # 0.16.0 and later.
        spec.Count(_BY_SOURCE, "prompt", where=spec.label("source", "external_kv_transfer")),
        # 0.11.2 and later.
        spec.Count(_CONNECTOR_HITS, "prompt"),
    ),
    running=(spec.Gauge("vllm:num_requests_running"),),
    waiting=(spec.Gauge("vllm:num_requests_waiting"),),
    # A ratio of blocks in use, without cached ones that may be evicted; to 0.11 by the second name.
    kv_cache=(spec.CacheGauge("vllm:kv_cache_usage_perc"), spec.CacheGauge("vllm:gpu_cache_usage_perc")),
    # Observed live, from arrival on, also of requests that are aborted later.
    first_token=(spec.LatencyHistogram("vllm:time_to_first_token_seconds"),),
    per_token=(
        # 0.11 and later: observed when a request ends, as 0 for an answer of one token.
        spec.LatencyHistogram("vllm:request_time_per_output_token_seconds"),
        # 0.10.2 and later: once per output step, which with speculative decoding has several tokens.
        spec.LatencyHistogram("vllm:inter_token_latency_seconds", basis="tokens"),
        # 0.3.3 to 0.14.1: the same under its former name.
        spec.LatencyHistogram("vllm:time_per_output_token_seconds", basis="tokens"),
    ),
    created="vllm:prompt_tokens_created",  # tells a restart where the page lacks the start of the process
    series_appear_late=True,  # with the first request, in the Rust frontend
    # /version answers {"version": "0.32.0"}.
    metadata_queries=(spec.MetadataQuery(path="version", version=("version",)),),
    commands=(
        spec.Command(
            # The Rust frontend starts a headless Python server.
            programs=("vllm serve", "vllm-rs serve"),
            modules=("vllm.entrypoints.openai.api_server", "vllm.entrypoints.cli.main serve"),
            title_patterns=(r"[\w.-]+::APIServer",),
            worker_patterns=(_ENGINE_CORE,),
            port=_PORT,
            unix_socket_flags=("--uds",),
            tls_flags=("--ssl-keyfile", "--ssl-certfile"),
            metrics_off_flags=("--disable-log-stats",),
            model_flags=("--served-model-name", "--model"),
            positional_model=True,
            world_factors=_WORLD_FACTORS,
            node_count_flags=("--nnodes", "-n"),
            node_rank_flags=("--node-rank", "-r"),
            follower_flags=("--headless",),
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
            "Which LoRA adapter a token was for; [gateways](gateways.md) may.",
            "That a prompt was answered n times: it is counted n times.",
            "That beam search answered a prompt: it counts again for each beam and each token of the answer.",
            "With 0.32.0 a prompt of 46 tokens, answered by 12 with one beam, counted as 618.",
        ),
    ),
)

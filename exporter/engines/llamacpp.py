"""llama.cpp: `llama-server --metrics`.

Source: ggml-org/llama.cpp `tools/server/server-context.cpp`, builds of 2025-12 and b10434.

- The prompt counter excludes cached tokens; builds that tell them do so in a counter of their own.
- Generated tokens move when a request ends; builds of 2025-12 do not count those of a cancelled one.
- Seconds of generation are those of requests, which overlap. Those of prompts are wall time of prompt batches
  in newer builds, and those of requests in older ones.
- `n_tokens_max` has the type of a counter and is a maximum. The throughput gauges are reset by every scrape.
- Numbers have six significant digits: above a million a counter moves in steps of ten, above ten million of
  a hundred. Nothing is lost, it arrives later.
- No labels, no counter of requests. The model is asked of `/v1/models`.
- Each slot runs one request: `/props` has their number (`total_slots`), else `--parallel`. The use of the KV
  cache is told by old builds only. A request keeps its slot to its end: nothing is preempted.
- `Process-Start-Time-Unix` is microseconds of a monotonic clock, not a Unix time; it survives sleeping.
- Reading `/metrics` is a task: it resets the idle timer and wakes a sleeping server, which loads its model.
  `/props` and `/v1/models` do neither (ggml-org/llama.cpp #20227, and seen with b10434).
"""

from typing import Final

from exporter.engines import spec

_PROMPT: Final = "llamacpp:prompt_tokens_total"
_CACHED: Final = "llamacpp:prompt_tokens_cached_total"
_GENERATION: Final = "llamacpp:tokens_predicted_total"
_PROMPT_SECONDS: Final = "llamacpp:prompt_seconds_total"
_GENERATION_SECONDS: Final = "llamacpp:tokens_predicted_seconds_total"

LLAMACPP: Final = spec.Engine(
    name="llamacpp",
    prefix="llamacpp:",
    default_port=8080,
    fingerprint=spec.Fingerprint(names=(_PROMPT, _GENERATION)),
    groups=(
        (
            spec.Alternative(
                (_PROMPT,), (spec.Count(_PROMPT, "prompt"), spec.Count(_CACHED, "cached_prompt"))
            ),
        ),
        spec.counter(_GENERATION, "generation"),
        (spec.phase_seconds(_PROMPT_SECONDS, _GENERATION_SECONDS),),
    ),
    running=(spec.Gauge("llamacpp:requests_processing"),),
    waiting=(spec.Gauge("llamacpp:requests_deferred"),),
    kv_cache=(spec.CacheGauge("llamacpp:kv_cache_usage_ratio"),),
    identity_header="process-start-time-unix",
    metadata_queries=(spec.MetadataQuery("v1/models", model=("data", 0, "id")),),
    six_digits=True,
    commands=(
        spec.Command(
            programs=("llama-server", "llama serve"),  # one binary for all commands since May 2026
            port=8080,
            host=spec.LOOPBACK,
            tls_flags=("--ssl-key-file",),
            metrics="off",
            metrics_on_flags=("--metrics",),
            model_flags=("--alias", "-a", "--model", "-m", "--hf-repo", "-hf", "-hfr"),
            model_path_flags=("--model", "-m"),
            router_flags=("--models-dir", "--models-preset"),
            max_running=spec.SequenceFlags(("--parallel", "-np")),
        ),
    ),
    manual=spec.Manual(
        title="llama.cpp",
        versions="builds of December 2025 and b10434",
        captured=("7e4c0a9",),
        switch="`--metrics`",
        reading="Is a task of the server's, which resets its idle timer and wakes a model that sleeps. "
        "A server that may sleep is therefore read after ticks in which its GPU was busy, and once when that "
        "falls idle. It also resets the throughput gauges, which are not read.",
        deployment=(
            "The largest number of requests running is its number of slots, from `/props`.",
            "Each model of a router is a server, found by the process that the router started for it.",
            "By `url` a router is read by model, with `?model=NAME`; it is never asked to load one.",
        ),
        cannot_tell=(
            "Requests finished.",
            "Cached tokens, in older builds.",
            "The use of its KV cache, in newer builds.",
            "Tokens of a request that is canceled, in older builds.",
        ),
    ),
)

"""Text Generation Inference: `text-generation-launcher`.

Source: huggingface/text-generation-inference db931fc (v3.3.7), `router/src/{server,validation}.rs`,
`backends/v3/src/{backend,lib,queue}.rs`.

- No series names the model; counters have no `_total`.
- The prompt is the sum of a histogram of every validated request, also of one that is dropped later. Cached
  tokens are inside of it, and no counter tells them: all are prompt.
- Generated tokens are the sum of a histogram of successful requests, and move when those end.
- `tgi_batch_forward_duration` are seconds of the model's forward passes by phase: engine seconds, not
  requests'. A prefill that is batched with decodes counts as prefill.
- `tgi_request_skipped_tokens` is a summary, which is not read. `tgi_request_mean_time_per_token_duration` is
  a mean per request: its inference time over its tokens, the prefill included. Nothing has the first token's.
- `tgi_batch_current_max_tokens` are the tokens that the batch may grow to, for which it reserves KV cache;
  `tgi_batch_max_total_tokens` is all of it (`backends/v3/src/backend.rs`).
- Nothing is preempted: a batch grows to what it reserved.
- The page lacks `--max-batch-size`, which is optional; `--max-concurrent-requests` counts those that wait.
- Every family appears with its first use; only `tgi_batch_max_total_tokens` is there from the start.
"""

from typing import Final

from exporter.engines import spec

_PROMPT: Final = "tgi_request_input_length_sum"
_GENERATION: Final = "tgi_request_generated_tokens_sum"
_FORWARD: Final = "tgi_batch_forward_duration_sum"

TGI: Final = spec.Engine(
    name="tgi",
    prefix="tgi_",
    default_port=3000,
    fingerprint=spec.Fingerprint(
        names=(
            _PROMPT,
            _GENERATION,
            "tgi_request_count",
            "tgi_queue_size",
            "tgi_batch_current_size",
            "tgi_batch_max_total_tokens",
        )
    ),
    groups=(
        spec.counter(_PROMPT, "prompt"),
        spec.counter(_GENERATION, "generation"),
        spec.counter("tgi_request_success", "requests"),
        (
            spec.Alternative(
                (_FORWARD,),
                (
                    spec.Count(_FORWARD, "prefill_seconds", where=spec.label("method", "prefill")),
                    spec.Count(_FORWARD, "decode_seconds", where=spec.label("method", "decode")),
                ),
            ),
        ),
    ),
    running=(spec.Gauge("tgi_batch_current_size"),),
    waiting=(spec.Gauge("tgi_queue_size"),),
    kv_cache=(spec.CacheGauge("tgi_batch_current_max_tokens", capacity="tgi_batch_max_total_tokens"),),
    per_token=(spec.LatencyHistogram("tgi_request_mean_time_per_token_duration"),),
    series_appear_late=True,
    metadata_queries=(spec.MetadataQuery("info", model=("model_id",), version=("version",)),),
    commands=(
        spec.Command(
            # its image sets the port through the environment; the router's command line has it
            programs=("text-generation-launcher", "text-generation-router"),
            worker_patterns=(r"text-generation-server",),
            port=3000,
            port_flags=("--port", "-p"),
            host_flags=("--hostname",),
            model_flags=("--model-id", "--tokenizer-name"),
            world_factors=(spec.Factor(("--num-shard",), required=True),),  # else every visible GPU
            max_running=spec.SequenceFlags(("--max-batch-size",)),
        ),
    ),
    manual=spec.Manual(
        title="TGI",
        versions="3.3.7",
        reading="Renders counters of its router; the model server is not asked.",
        deployment=("The image listens on port 80, the router by itself on 3000.",),
        cannot_tell=(
            "How many prompt tokens came from its prefix cache: all are counted as computed.",
            "When its process started.",
            "The tokens of a request that fails or is canceled.",
        ),
    ),
)
